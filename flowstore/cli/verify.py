"""``flowstore verify``."""

from __future__ import annotations

import click

from flowstore.cli.console import print_result, say, stderr_console, working
from flowstore.cli.options import Place, output_options, worker_options


@click.command("verify")
@click.argument("store", type=Place())
@click.option(
    "--source", type=Place(), metavar="SOURCE", help="Also compare with what it was extracted from.  [default: not]"
)
@click.option(
    "--source-template", metavar="TEMPLATE", help="As it was for extract, such as '{class}/*/{video}'.  [default: none]"
)
@click.option("--deep", is_flag=True, help="Extract a sample of SOURCE anew, and compare the flow.")
@click.option(
    "--sample", type=int, default=16, show_default=True, metavar="N", help="Videos that --deep extracts anew."
)
@click.option(
    "--repair",
    is_flag=True,
    help="Extract again what is damaged where SOURCE has it, or mark it as failed; remove what killed runs left.",
)
@worker_options
@output_options
def command(
    store: str,
    source: str | None,
    source_template: str | None,
    deep: bool,
    sample: int,
    repair: bool,
    workers: int | None,
    scheduler: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Read everything in STORE once, and name what is damaged, missing, exchanged or foreign.

    Exits with 0 where nothing is wrong, or nothing any more after --repair; with 1 where something is.
    """
    from flowstore.progress import ConsoleProgress
    from flowstore.storage.places import open_storage
    from flowstore.verify.run import check_there
    from flowstore.verify.run import verify as verify_store

    check_there(open_storage(store))
    with working():
        report = verify_store(
            store,
            source=source,
            source_template=source_template,
            deep=deep,
            sample=sample,
            repair=repair,
            workers=workers,
            scheduler=scheduler,
            progress=False if quiet else ConsoleProgress(stderr_console(), "verify"),
            repair_progress=False if quiet else ConsoleProgress(stderr_console(), "extract"),
        )
    for line in [*report.faults, *report.doubts] if quiet else [*report.mended, *report.notes]:
        say(str(line))
    print_result(report, is_json, quiet)
    return 0 if report.is_all_well else 1
