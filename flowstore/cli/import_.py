"""``flowstore import``."""

from __future__ import annotations

from typing import Any, get_args

import click

from flowstore.cli.layouts import CUSTOM, choose_layout, layout_options
from flowstore.cli.options import (
    Place,
    SpelledChoice,
    compression_option,
    max_error_option,
    output_options,
    plan_options,
    selection_options,
    worker_options,
)
from flowstore.cli.plan import carry_out
from flowstore.errors import ArgumentError
from flowstore.layouts.layout import Layout
from flowstore.quantize.file_quantizer import FileEncoding
from flowstore.quantize.quantizer import Encoding


def _choose_layout(name: str | None, class_folder: bool, file_format: Any, **templates: str | None) -> Layout | None:
    if name is None:
        if file_format or not class_folder or any(templates.values()):
            described = "--x-template, --y-template, --format and --no-class-folder"
            raise ArgumentError(f"{described} describe a layout: name it with --layout")
        return None
    layout = choose_layout(name, **templates, file_format=file_format if name == CUSTOM else None)
    if not class_folder:
        layout = layout.without_class_folder()
    return layout.with_image_format(file_format) if file_format and file_format != layout.file_format else layout


@click.command("import")
@click.argument("folder", type=Place())
@click.argument("store", type=Place())
@layout_options(
    "Where files stand and how they encode flow; export --list-layouts shows them.  "
    "[default: as flowstore-export.json in FOLDER says]",
    "Number of the first flow.  [default: the layout's]",
    "There are no folders of classes, where the layout allows it.",
    default=None,
)
@click.option(
    "--encoding",
    type=SpelledChoice(get_args(FileEncoding)),
    metavar="NAME",
    help=f"Of the files' numbers: {', '.join(get_args(FileEncoding))}.  [default: the layout's]",
)
@click.option(
    "--bound",
    type=float,
    metavar="PX",
    help="Of the files' codes, and of the store.  [default: as flowstore-export.json says; 20 for I3D's]",
)
@click.option(
    "--step", type=int, metavar="FRAMES", help="Flow is from frame i to i + step.  [default: as names say, or 1]"
)
@click.option(
    "--pad-last/--no-pad-last",
    default=None,
    help="The last flow stands twice: take it once.  [default: as flowstore-export.json says, or no]",
)
@click.option(
    "--store-encoding",
    type=SpelledChoice(get_args(Encoding)),
    help="Of the store.  [default: the files', or centred where no store has theirs]",
)
@max_error_option
@compression_option
@selection_options
@click.option("--retry-failed", is_flag=True, help="Try again what failed in a former run.")
@plan_options
@worker_options
@output_options
def command(
    folder: str,
    store: str,
    layout_name: str | None,
    x_template: str | None,
    y_template: str | None,
    file_format: str | None,
    class_folder: bool,
    select: tuple[str, ...],
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
    from flowstore.importer.origin import ImportOptions
    from flowstore.importer.run import measure_import, plan_import, run_import

    chosen = _choose_layout(
        layout_name,
        class_folder,
        file_format,
        x_template=x_template,
        y_template=y_template,
    )
    plan = plan_import(
        folder,
        store,
        chosen,
        ImportOptions(**options),
        select=select,
        include=include,
        exclude=exclude,
        limit=limit,
        retry_failed=retry_failed,
        overwrite=overwrite,
    )
    return carry_out(plan, measure_import, run_import, workers, scheduler, dry_run, is_json, quiet, verbose)
