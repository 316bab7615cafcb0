"""``flowstore export``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import click

from flowstore.cli.console import (
    print_json,
    print_result,
    print_shown,
    print_text,
    say,
    say_doubts,
    stderr_console,
    working,
)
from flowstore.cli.layouts import CUSTOM, choose_layout, layout_options
from flowstore.cli.options import Place, Size, SpelledChoice, output_options, select_option, worker_options
from flowstore.errors import ArgumentError
from flowstore.layouts.presets import LAYOUTS
from flowstore.names import format_bytes
from flowstore.quantize.file_quantizer import FileEncoding


def _list_layouts(context: click.Context, param: click.Parameter, is_asked: bool) -> None:
    if not is_asked:
        return
    from flowstore.cli.tables import Table

    table = Table(is_text=True)
    for layout in LAYOUTS.values():
        table.add(layout.name, layout.example, layout.encoding, layout.used_by)
    print_shown(table)
    context.exit(0)


def conversion_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what changes flow on its way out, and how files hold it."""
    for option in (
        click.option("--pad-last", is_flag=True, help="Write the last flow twice: as many flows as frames."),
        click.option("--size", type=Size(), metavar="WxH", help="Resize pictures and vectors.  [default: as stored]"),
        click.option(
            "--short-side",
            type=int,
            metavar="PX",
            help="Resize them so that the shorter side has so many pixels.  [default: as stored]",
        ),
        click.option("--quality", type=int, metavar="0-100", help="JPEG quality.  [default: the layout's, mostly 95]"),
        click.option("--bound", type=float, metavar="PX", help="Encode for this bound.  [default: the store's]"),
        click.option(
            "--encoding",
            type=SpelledChoice(["layout", "keep", *get_args(FileEncoding)]),
            metavar="NAME",
            default="layout",
            show_default=True,
            help=f"The layout's own (layout), the codes as stored (keep), or {', '.join(get_args(FileEncoding))}.",
        ),
    ):
        function = option(function)
    return function


@click.command("export")
@click.argument("store", type=Place())
@click.argument("dest", type=Place(), required=False)
@layout_options(
    "Where files go and how flow is encoded.",
    "Number of a custom layout's first flow.  [default: 1]",
    "Leave out the folders of classes, where the layout allows it.",
    default="notebook",
)
@click.option(
    "--list-layouts",
    is_flag=True,
    is_eager=True,
    help="Print the layouts with an example path each.",
    callback=_list_layouts,
    expose_value=False,
)
@conversion_options
@select_option
@click.option(
    "--lists",
    multiple=True,
    metavar="all|SPLIT",
    help="Write 'frame_dir total_frames label' too, of all or of a split: hmdb51:splits/:1. May be repeated.  "
    "[default: none]",
)
@click.option(
    "--skip-unlisted",
    is_flag=True,
    help="Leave out of lists the videos that none can hold, such as with spaces; else they are refused.",
)
@click.option("--overwrite", is_flag=True, help="Write anew what is there already.")
@click.option("--dry-run", is_flag=True, help="Print the plan, files and bytes, and write nothing.")
@worker_options
@output_options
def command(
    store: str,
    dest: str | None,
    layout_name: str,
    x_template: str | None,
    y_template: str | None,
    first: int | None,
    file_format: str | None,
    dry_run: bool,
    workers: int | None,
    scheduler: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
    **chosen: Any,
) -> int:
    """Write STORE as files of flow below DEST; run again to finish what is missing."""
    from flowstore.export.manifest import check_target
    from flowstore.export.plan import ExportOptions, plan_export
    from flowstore.export.run import run_export
    from flowstore.jobs.schedulers import check_scheduler
    from flowstore.progress import ConsoleProgress
    from flowstore.splits import select_inside
    from flowstore.store.open import open_inside

    if dest is None:
        raise click.UsageError("Missing argument 'DEST'.")
    check_scheduler(scheduler, workers)
    is_custom = layout_name == CUSTOM
    layout = choose_layout(
        layout_name,
        x_template=x_template,
        y_template=y_template,
        first=first,
        file_format=file_format if is_custom else None,
    )
    options = ExportOptions(image_format=None if is_custom else _image_format(file_format), **chosen)
    opened, names = open_inside(store)
    planned = plan_export(select_inside(opened, names), dest, layout, options)
    if dry_run:
        check_target(planned, options.overwrite)
        with working():
            size_bytes = planned.estimate_bytes()
        if is_json:
            print_json(planned.to_json() | {"estimated_bytes": size_bytes})
        else:
            print_text(f"{planned}, about {format_bytes(size_bytes)}")
            for note in planned.room_notes():
                print_text(f"note:     {note}")
        return 0
    progress = None if quiet else ConsoleProgress(stderr_console(), "export")
    with working(resumes=True):
        report = run_export(planned, options.overwrite, workers, scheduler, progress)
    print_result(report, is_json, quiet)
    if quiet:
        for failure in report.failures:
            say(f"failed {failure.key}: {failure.problem}")
        say_doubts(report.missing, report.n_left_out)
    return 0 if report.is_all_well else 1


def _image_format(file_format: str | None) -> Any:
    if file_format not in (None, "jpg", "png"):
        raise ArgumentError(f"--format {file_format} is for --layout custom; presets take jpg or png")
    return file_format
