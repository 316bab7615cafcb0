"""``flowstore import``."""

from __future__ import annotations

from typing import Any, get_args

import click

from flowstore.cli_options import Place, output_options, worker_options
from flowstore.cli_plan import carry_out
from flowstore.file_encodings import FileEncoding
from flowstore.layouts import FileFormat, Layout, Packing, custom_layout, find_layout
from flowstore.quantize import Encoding


def _choose_layout(layout: str | None, with_class: bool, **custom: Any) -> Layout | str | None:
    given = {name: value for name, value in custom.items() if value is not None}
    if layout == "custom":
        if "x_template" not in given:
            raise click.UsageError("--layout custom needs --x-template.")
        return custom_layout(**given)
    is_image = given.get("file_format") in ("jpg", "png")
    if given and not (is_image and len(given) == 1):
        raise click.UsageError("--x-template, --y-template, --packing and --format npy|flo|kitti|hdf5 go with "
                               "--layout custom.")  # fmt: skip
    if layout is None:
        if given or not with_class:
            raise click.UsageError("--format and --no-class-folder need --layout.")
        return None
    chosen = find_layout(layout)
    if not with_class:
        chosen = chosen.without_class_folder()
    return chosen.with_image_format(given["file_format"]) if is_image else chosen


@click.command(name="import")
@click.argument("folder", type=Place())
@click.argument("store", type=Place())
@click.option(
    "--layout",
    metavar="NAME",
    help="Where files stand and how they encode flow; flowstore export --list-layouts shows them, and custom is one's "
    "own.  [default: as flowstore-export.json in FOLDER says]",
)
@click.option("--x-template", metavar="PATH", help="custom: files of x, such as {class}/{video}/x_{number:05d}.jpg.")
@click.option("--y-template", metavar="PATH", help="custom: the files of y, where x and y have files of their own.")
@click.option(
    "--format", "file_format", type=click.Choice(get_args(FileFormat)), help="Of the files.  [default: the layout's]"
)
@click.option("--packing", type=click.Choice(get_args(Packing)), help="custom: what a file holds.")
@click.option("--class-folder/--no-class-folder", "with_class", default=True, help="Whether classes have folders.")
@click.option("--first", type=int, metavar="N", help="Number of the first flow.  [default: the layout's]")
@click.option(
    "--encoding", type=click.Choice(get_args(FileEncoding)), help="What the files hold.  [default: the layout's]"
)
@click.option("--bound", type=float, metavar="PX", help="Bound of the files' codes, and of the store.")
@click.option("--step", type=int, metavar="FRAMES", help="Flow is from frame i to i + step.  [default: 1]")
@click.option("--pad-last/--no-pad-last", default=None, help="The last flow stands twice: take it once.")
@click.option(
    "--store-encoding",
    type=click.Choice(get_args(Encoding)),
    help="Of the store.  [default: the files', where a store has it; else centred]",
)
@click.option(
    "--compression",
    type=click.Choice(["fast", "balanced", "small", "none"]),
    default="fast",
    show_default=True,
    help="Lossless packing of the store: fast to read against small on disk.",
)
@click.option("--include", multiple=True, metavar="PATTERN", help="Take only these; * and ? are special.")
@click.option("--exclude", multiple=True, metavar="PATTERN", help="Leave these out.")
@click.option("--limit", type=int, metavar="N", help="Take the first N videos only.")
@click.option("--retry-failed", is_flag=True, help="Try again what failed in a former run.")
@click.option("--overwrite", is_flag=True, help="Empty the store first and make everything anew.")
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.")
@worker_options
@output_options
def import_(
    folder: str,
    store: str,
    layout: str | None,
    x_template: str | None,
    y_template: str | None,
    file_format: str | None,
    packing: str | None,
    with_class: bool,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    limit: int | None,
    retry_failed: bool,
    overwrite: bool,
    dry_run: bool,
    workers: int | None,
    scheduler: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Turn FOLDER, flow files in some layout, into STORE; run again to resume.

    Codes are kept as they are where a store holds such codes; the plan says so, or by how much they can differ.
    """
    from flowstore.import_origin import ImportOptions
    from flowstore.importer import plan_import, run_import

    chosen = _choose_layout(
        layout,
        with_class,
        x_template=x_template,
        y_template=y_template,
        file_format=file_format,
        packing=packing,
    )
    plan = plan_import(
        folder,
        store,
        chosen,
        ImportOptions(**options),
        include=include,
        exclude=exclude,
        limit=limit,
        retry_failed=retry_failed,
        overwrite=overwrite,
    )
    return carry_out(plan, run_import, workers, scheduler, dry_run, is_json, quiet, verbose)
