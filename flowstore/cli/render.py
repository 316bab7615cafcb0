"""``flowstore render``."""

from __future__ import annotations

from typing import Any

import click

from flowstore.cli.console import print_result, say, stderr_console, working
from flowstore.cli.options import Place, SpelledChoice, output_options


@click.command("render")
@click.argument("place", type=Place(), metavar="STORE/CLASS[/VIDEO]")
@click.option("-o", "--output", required=True, type=Place(), metavar="FILE", help="A .png, .gif or .mp4.")
@click.option(
    "--style",
    type=SpelledChoice(["color", "arrows", "planes"]),
    default="color",
    show_default=True,
    help="The color wheel, arrows over the frame, or x and y apart.",
)
@click.option("--frame", type=int, metavar="N", help="The flow of a picture, from 0.  [default: a lively one]")
@click.option("--start", type=int, metavar="N", help="First flow of a film.  [default: 0]")
@click.option("--stop", type=int, metavar="N", help="The one after its last.  [default: the end]")
@click.option("--every", type=int, metavar="N", help="Take each N-th.  [default: 1]")
@click.option(
    "--scale",
    type=float,
    metavar="PX",
    help="Full scale.  [default: 95 % of the flow is below; of a film, 99 %]",
)
@click.option("--fps", type=float, metavar="F", help="Of a film.  [default: the video's]")
@click.option("--zoom", type=float, metavar="Z", help="Size of the drawing over the flow's.  [default: by its size]")
@click.option("--source", type=Place(), help="What was extracted, to show its frames.  [default: looked for]")
@click.option("--limit", type=int, metavar="N", help="Videos on the sheet of a class.  [default: 60]")
@output_options
def command(
    place: str,
    output: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
    **options: Any,
) -> int:
    """Draw a video's flow as a picture or a film, or a class as a sheet with one thumbnail per video."""
    from flowstore.progress import ConsoleProgress
    from flowstore.render.run import render as draw
    from flowstore.sources.images import configured_opencv
    from flowstore.store.open import open_place

    progress = False if quiet else ConsoleProgress(stderr_console(), "render")
    found = open_place(place)
    with working(), configured_opencv():
        report = draw(found, output, progress=progress, **options)
    print_result(report, is_json, quiet)
    if not quiet:
        for note in report.notes:
            say(note)
    return 0
