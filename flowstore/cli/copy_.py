"""``flowstore copy``."""

from __future__ import annotations

from typing import Any

import click

from flowstore.cli.console import print_result, say, say_doubts, stderr_console, working
from flowstore.cli.options import Place, output_options, select_option, worker_options


@click.command("copy")
@click.argument("store", type=Place())
@click.argument("dest", type=Place())
@click.option(
    "--compression",
    type=click.Choice(["fast", "balanced", "small", "none"]),
    help="Pack chunks anew.  [default: the store's, chunks as they are]",
)
@click.option(
    "--max-error",
    type=float,
    metavar="PX",
    help="Choose codes that pack smaller, so many pixels off the stored flow at most.  [default: codes as they are]",
)
@select_option
@click.option("--overwrite", is_flag=True, help="Empty DEST first.")
@click.option("--dry-run", is_flag=True, help="Print the plan and do nothing.")
@worker_options
@output_options
def command(
    store: str,
    dest: str,
    compression: Any,
    max_error: float | None,
    select: tuple[str, ...],
    overwrite: bool,
    dry_run: bool,
    workers: int | None,
    scheduler: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Copy STORE to DEST, a folder, a URL or a .zip; run again to finish what is missing.

    Every chunk is compared with its checksum, and what is written is read back.
    """
    from flowstore.copying.plan import plan_copy
    from flowstore.copying.run import run_copy
    from flowstore.jobs.schedulers import check_scheduler
    from flowstore.progress import ConsoleProgress
    from flowstore.splits import select_inside, select_videos
    from flowstore.store.open import open_inside

    check_scheduler(scheduler, workers)
    opened, names = open_inside(store)
    source = select_inside(opened, names) if names else store
    if any("=" in choice for choice in select):
        source = select_videos(select_inside(opened, names), select)
        select = ()
    # A word alone is a class.
    planned = plan_copy(source, dest, compression, select, overwrite, max_error)
    lines = [] if quiet else planned.lines()
    if verbose:
        lines += [f"to do:  {key}" for key in planned.keys]
    if dry_run:
        lines += [f"note:   {planned.missing}"] if planned.missing else []
        print_result(planned, is_json, quiet, "\n".join(lines))
        return 0
    if not quiet:
        for line in lines:
            say(line)
    progress = None if quiet else ConsoleProgress(stderr_console(), "copy")
    # A zip is whole or not at all.
    with working(resumes=not isinstance(planned.dest, str)):
        report = run_copy(planned, workers, scheduler, progress)
    print_result(report, is_json, quiet)
    if quiet or is_json:
        for failure in report.failures:
            say(f"failed {failure.key}: {failure.problem}")
    if quiet:
        say_doubts(report.missing)
    return 0 if report.is_all_well else 1
