"""``flowstore demo``."""

from __future__ import annotations

import click

from flowstore.cli.console import print_json, print_text, say, stderr_console, working
from flowstore.cli.options import Place, output_options


@click.command("demo")
@click.argument("folder", type=Place(), default="flowstore-demo", metavar="[DIR]")
@output_options
def command(folder: str, is_json: bool, quiet: bool, verbose: bool) -> int:
    """Make a small dataset of known motion in DIR, extract, check, export and draw it.

    DIR is flowstore-demo by default.
    """
    from flowstore.demo import ERROR_ALLOWED_PX, run_demo
    from flowstore.progress import ConsoleProgress

    with working(resumes=True):
        report = run_demo(folder, False if quiet else ConsoleProgress(stderr_console(), "extract"))
    worst = max(report.errors_px.values())
    if is_json:
        print_json({"folder": report.folder, "errors_px": report.errors_px, "extract": report.extracted.to_json()})
    elif not quiet:
        print_text(f"videos    {report.videos}")
        print_text(f"store     {report.extracted}")
        for key, error in sorted(report.errors_px.items()):
            print_text(f"          {key:20} mean error {error:.3f} px against the true motion")
        print_text(f"images    {report.exported}")
        print_text(f"picture   {report.picture}")
        print_text(f"film      {report.film}")
        print_text("\nNow in Python:\n")
        print_text("  import flowstore")
        print_text(f"  store = flowstore.open_store({report.store!r})")
        print_text('  store["zoom/zoom_2"][5:15]  # pixels, (10, 2, 120, 160)')
    if worst > ERROR_ALLOWED_PX:
        say(f"the flow is off by {worst:.2f} px, more than {ERROR_ALLOWED_PX} px: please report this")
        return 1
    return 0
