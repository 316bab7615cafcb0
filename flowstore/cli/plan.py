"""What the commands that fill a store do with their plan: print it, run it, print what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from flowstore.cli.console import print_result, say, say_failure, stderr_console, working
from flowstore.names import printable_name

if TYPE_CHECKING:
    from flowstore.jobs.progress import Progress
    from flowstore.pipeline.plan import ExtractPlan
    from flowstore.pipeline.report import ExtractReport


def carry_out(
    plan: ExtractPlan,
    measure: Callable[[ExtractPlan, Progress | None], ExtractPlan],
    run: Callable[[ExtractPlan, int | None, str, Progress | None], ExtractReport],
    workers: int | None,
    scheduler: str,
    dry_run: bool,
    is_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Print a plan, carry it out unless it is a dry run, and return the exit code."""
    from flowstore.pipeline.run import is_worth_measuring, resolve_scheduler
    from flowstore.progress import ConsoleProgress

    where, n_workers = resolve_scheduler(scheduler, workers, plan)
    progress = None if quiet else ConsoleProgress(stderr_console(), plan.verb)
    is_shown = not quiet or (dry_run and is_json)
    if is_shown and (dry_run or is_worth_measuring(plan)):
        plan = measure(plan, progress)
    lines = plan.lines()
    if plan.todo:
        memory, time = plan.estimate.describe_memory(where, n_workers), plan.describe_time(where, n_workers)
        lines.append(f"workers:  {n_workers} ({where}), {memory}{time}")
    if verbose:
        lines += [f"to do:    {video.key} ({printable_name(video.relative_path)})" for video in plan.todo]
    if dry_run:
        print_result(plan, is_json, quiet, "\n".join(lines))
        return 0
    if not quiet:
        for line in lines:
            say(line)
    with working(resumes=True):
        report = run(plan, workers, scheduler, progress)
    print_result(report, is_json, quiet)
    if quiet or is_json:
        for record in report.failures:
            say_failure(record.class_name, record.name, record.reason)
    if quiet and report.n_failed_before:
        say(f"{report.n_failed_before} failed before, not tried again (--retry-failed)")
    return 0 if report.is_all_well else 1
