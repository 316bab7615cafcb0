"""``flowstore export``."""

from __future__ import annotations

from typing import Any

import click

from flowstore.cli_options import Place, output_options, worker_options
from flowstore.console import ERRORS, print_json, working
from flowstore.layouts import LAYOUTS


def _list_layouts(context: click.Context, param: click.Parameter, is_asked: bool) -> None:
    if not is_asked:
        return
    width = max(len(name) for name in LAYOUTS)
    for layout in LAYOUTS.values():
        click.echo(f"{layout.name:{width}}  {layout.example:42}  {layout.encoding:9}  {layout.used_by}")
    context.exit(0)


@click.command(name="export")
@click.argument("store", type=Place())
@click.argument("dest", type=Place(), required=False)
@click.option(
    "--layout", default="notebook", show_default=True, metavar="NAME", help="Where files go and how flow is encoded."
)
@click.option(
    "--list-layouts",
    is_flag=True,
    is_eager=True,
    help="Print the layouts with an example path each.",
    callback=_list_layouts,
    expose_value=False,
)
@click.option(
    "--encoding",
    type=click.Choice(["layout", "keep"]),
    default="layout",
    show_default=True,
    help="The layout's encoding, or the codes as stored.",
)
@click.option("--bound", type=float, metavar="PX", help="Encode for this bound.  [default: the store's]")
@click.option("--quality", type=int, metavar="0-100", help="JPEG quality.  [default: the layout's, 95]")
@click.option("--overwrite", is_flag=True, help="Write anew what is there already.")
@worker_options
@output_options
def export(
    store: str,
    dest: str | None,
    layout: str,
    encoding: Any,
    bound: float | None,
    quality: int | None,
    overwrite: bool,
    workers: int | None,
    scheduler: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Write STORE as folders of flow images below DEST; run again to finish what is missing."""
    from flowstore.export import export as export_store
    from flowstore.progress import ConsoleProgress
    from flowstore.store import open_store

    if dest is None:
        raise click.UsageError("Missing argument 'DEST'.")
    progress = None if quiet else ConsoleProgress(ERRORS, "export")
    options: dict[str, Any] = {"encoding": encoding, "bound": bound, "quality": quality, "overwrite": overwrite}
    opened = open_store(store)
    with working():
        report = export_store(opened, dest, layout, workers=workers, scheduler=scheduler, progress=progress, **options)
    if is_json:
        print_json(report.to_json())
    elif not quiet:
        click.echo(str(report))
    return 0 if report.is_all_well else 1
