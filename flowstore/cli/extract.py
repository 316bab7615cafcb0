"""``flowstore extract``."""

from __future__ import annotations

from typing import Any

import click
from click.shell_completion import CompletionItem

from flowstore.cli.console import print_text, say
from flowstore.cli.options import (
    Part,
    Place,
    Size,
    SpelledChoice,
    compression_option,
    max_error_option,
    output_options,
    plan_options,
    selection_options,
    worker_options,
)
from flowstore.cli.plan import carry_out


def _parse_params(context: click.Context, param: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    params = {}
    for value in values:
        key, equals, text = value.partition("=")
        if not equals:
            raise click.BadParameter(f"{value!r} is not of the form KEY=VALUE, such as winsize=21")
        params[key.strip()] = text.strip()
    return params


class Algorithm(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """The name of an estimator of the house or of an installed package, or its path."""

    name = "algorithm"

    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        """Return all names, which are looked up only when asked for."""
        return "|".join(_algorithms())

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the names that begin so."""
        return [CompletionItem(name) for name in _algorithms() if name.startswith(incomplete)]


def _algorithms() -> tuple[str, ...]:
    from flowstore.estimators.guests import guest_names
    from flowstore.estimators.registry import ALGORITHMS

    return tuple(dict.fromkeys((*ALGORITHMS, *guest_names())))


def _list_params(context: click.Context, param: click.Parameter, algorithm: str | None) -> None:
    if algorithm is None:
        return
    from flowstore.estimators.registry import default_params

    for key, value in default_params(algorithm).items():
        print_text(f"{key}={value}")
    context.exit(0)


@click.command("extract")
@click.argument("source", type=Place())
@click.argument("store", type=Place())
@click.option(
    "--algorithm",
    type=Algorithm(),
    help="How flow is computed; package.module:Class is an estimator of your own.  [default: farneback]",
)
@click.option("--engine", metavar="auto|numba|opencv", help="Implementation of the algorithm.  [default: auto]")
@click.option(
    "--param",
    "params",
    multiple=True,
    callback=_parse_params,
    metavar="KEY=VALUE",
    help="A parameter of the algorithm, such as winsize=21; may be repeated.  [default: the algorithm's own]",
)
@click.option(
    "--list-params",
    type=Algorithm(),
    is_eager=True,
    expose_value=False,
    callback=_list_params,
    metavar="ALGORITHM",
    help="Print the parameters of this algorithm with their defaults, and do nothing.  [default: none]",
)
@click.option("--dtype", type=click.Choice(["uint8", "float16"]), help="Stored numbers.  [default: uint8]")
@click.option("--bound", type=float, metavar="PX", help="Largest flow kept, in pixels (uint8).  [default: 20]")
@click.option(
    "--encoding",
    type=SpelledChoice(["centred", "denseflow", "truncate"]),
    help="How pixels become uint8.  [default: centred]",
)
@max_error_option
@click.option("--step", type=int, metavar="FRAMES", help="Flow from frame i to i + step.  [default: 1]")
@click.option(
    "--short-side", type=int, metavar="PX", help="Resize frames to this shorter side.  [default: as they are]"
)
@click.option(
    "--size", type=Size(), metavar="WxH", help="Resize frames to this size in pixels.  [default: as they are]"
)
@click.option(
    "--fps",
    type=float,
    metavar="FPS",
    help="Thin videos to so many frames per second; folders of frames by --source-fps.  [default: all frames]",
)
@compression_option
@click.option(
    "--list",
    "list_file",
    type=click.Path(),
    metavar="FILE",
    help="Take only the videos of this file, one path per line.  [default: all]",
)
@click.option(
    "--source-template",
    metavar="TEMPLATE",
    help="What the path of a video below SOURCE is, such as '{class}/*/{video}'.  [default: found by looking]",
)
@click.option(
    "--source-fps",
    type=float,
    metavar="F",
    help="Frame rate of folders of frames, for the times of their flows and --fps.  [default: the store's, or none]",
)
@click.option(
    "--allow-gaps", is_flag=True, help="Take frames whose numbers have gaps or are of several series, with a warning."
)
@selection_options
@click.option(
    "--part", type=Part(), help="Take the I-th of N parts, to share a dataset among machines.  [default: all]"
)
@click.option("--retry-failed", is_flag=True, help="Try again what failed in a former run.")
@click.option("--keep-damaged", is_flag=True, help="Store the flow of damaged videos up to the damage, marked as such.")
@plan_options
@worker_options
@output_options
def command(
    source: str,
    store: str,
    list_file: str | None,
    source_template: str | None,
    allow_gaps: bool,
    source_fps: float | None,
    select: tuple[str, ...],
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    limit: int | None,
    part: tuple[int, int] | None,
    retry_failed: bool,
    keep_damaged: bool,
    overwrite: bool,
    dry_run: bool,
    workers: int | None,
    scheduler: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
    **settings_options: Any,
) -> int:
    """Compute the flow of SOURCE into STORE; run again to resume.

    SOURCE is a folder of class folders, of videos or of frame folders, one video, one frame folder, or a list file.
    A STORE that exists goes on with its own settings; defaults are those of a new one.
    """
    from flowstore.pipeline.plan import plan_extract
    from flowstore.pipeline.run import measure_plan, run_plan
    from flowstore.pipeline.settings import choose_settings

    settings, engine_note = choose_settings(store, settings_options, overwrite)
    if engine_note and not quiet:
        say(engine_note)
    plan = plan_extract(
        source,
        store,
        settings,
        list_file=list_file,
        source_template=source_template,
        allow_gaps=allow_gaps,
        source_fps=source_fps,
        select=select,
        include=include,
        exclude=exclude,
        limit=limit,
        part=part,
        retry_failed=retry_failed,
        keep_damaged=keep_damaged,
        overwrite=overwrite,
    )
    return carry_out(plan, measure_plan, run_plan, workers, scheduler, dry_run, is_json, quiet, verbose)
