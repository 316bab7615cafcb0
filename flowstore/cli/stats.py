"""``flowstore stats``."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from flowstore.cli.console import print_json, print_shown, say, say_doubts, stderr_console, working
from flowstore.cli.options import Place, output_options, select_option, worker_options
from flowstore.cli.tables import Table
from flowstore.stats.report import GroupStats, StatsReport
from flowstore.terminal import FittedText


class Sample(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A number of flows, or a share of them such as ``0.1`` or ``10%``."""

    name = "N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a number of flows, or a share of them as a float."""
        text = str(value)
        try:
            if text.endswith("%"):
                return float(text[:-1]) / 100
            return int(text) if text.isdigit() else float(text)
        except ValueError:
            self.fail(f"{text!r} is neither a number of flows, such as 10, nor a share, such as 0.1 or 10%", param, ctx)


class Bounds(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """Bounds in pixels, separated by commas."""

    name = "PX,…"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the bounds as a tuple of floats."""
        if isinstance(value, tuple):
            return value
        try:
            return tuple(float(part) for part in str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not a list of numbers, such as 10,20,32", param, ctx)


@click.command("stats")
@click.argument("store", type=Place())
@click.option("--sample", type=Sample(), help="Count N flows of each video, or a share: 0.1 or 10%.  [default: all]")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the sample.")
@click.option(
    "--bounds",
    type=Bounds(),
    default="5,10,15,20,32,64",
    show_default=True,
    help="Bounds in pixels whose clipping is asked for; the store's is added.",
)
@click.option(
    "--moving",
    type=float,
    default=0.5,
    show_default=True,
    metavar="PX",
    help="From so many pixels on something moves, and its direction counts.",
)
@click.option("--plot", metavar="FILE", type=Place(), help="Draw it: .png, .pdf or .svg.  [default: no picture]")
@select_option
@worker_options
@output_options
def command(
    store: str,
    sample: int | float | None,
    seed: int,
    bounds: tuple[float, ...],
    moving: float,
    plot: str | None,
    select: tuple[str, ...],
    workers: int | None,
    scheduler: str,
    is_json: bool,
    quiet: bool,
    verbose: bool,
) -> int:
    """Count the motion in STORE or STORE/CLASS: by class, for training, and what bounds clip.

    Reads every flow once, or a sample of them.
    """
    from flowstore.errors import ArgumentError
    from flowstore.progress import ConsoleProgress
    from flowstore.splits import select_videos
    from flowstore.stats.plot import check_plot, plot_stats
    from flowstore.stats.run import stats as count_store
    from flowstore.store.open import open_inside

    if plot:
        check_plot(plot)
    opened, names = open_inside(store)
    if len(names) > 1:
        raise ArgumentError(f"STORE {store}: a video; give a store or a class of one")
    chosen = select_videos(opened.select(names[0], status=None) if names else opened, select)
    progress = False if quiet else ConsoleProgress(stderr_console(), "stats")
    with working():
        report = count_store(
            chosen,
            sample=sample,
            seed=seed,
            bounds=bounds,
            moving=moving,
            workers=workers,
            scheduler=scheduler,
            progress=progress,
        )
    if plot:
        plot_stats(report, plot)
    if is_json:
        print_json(report.to_json())
    elif not quiet:
        _print_report(report, plot)
    if quiet:
        for key, reason in report.failures.items():
            say(f"failed {key}: {reason}")
        say_doubts(report.missing, report.n_left_out)
    return 0 if report.is_all_well else 1


def _print_report(report: StatsReport, plot: str | None) -> None:
    print_shown(
        FittedText(Text(f"{report}\n")),
        _class_table(report),
        "",
        _channel_table(report),
        "",
        _clipped_table(report),
        FittedText(Text(report.clipped_note(), style="dim")),
    )
    if plot:
        print_shown(FittedText(Text(f"drawn in {plot}")))


def _class_table(report: StatsReport) -> Table:
    moving = f"≥{report.rules.moving_px:g} px"
    table = Table("magnitude, px", "videos", "flows", "counted", "mean", "p50", "p99", "max", moving, "clipped")
    for name, group in report.classes.items():
        table.add(name, *_group_cells(group))
    if len(report.classes) > 1:
        table.add("all", *_group_cells(report.overall), style="bold")
    return table


def _group_cells(group: GroupStats) -> list[str]:
    counts = [str(group.n_videos), str(group.n_flows), str(group.counts.n_flows)]
    if not group.counts.n_pixels:
        return [*counts, *["-"] * 6]
    magnitudes = [group.mean_magnitude_px, group.percentile_px(0.5), group.percentile_px(0.99)]
    cells = [f"{value:.3f}" for value in magnitudes] + [f"{group.counts.magnitude_max:.1f}"]
    is_bounded = group.rules.quantizer.bound_px is not None
    clipped = f"{group.clipped_share:.3%}" if is_bounded else "-"
    return [*counts, *cells, f"{group.moving_share:.1%}", clipped]


def _channel_table(report: StatsReport) -> Table:
    channels = report.overall.channels
    table = Table("for training", "mean x", "mean y", "std x", "std y")
    if report.overall.counts.n_pixels:
        table.add("pixels", *(f"{value:.5f}" for value in (*channels.mean_px, *channels.std_px)))
    if channels.mean_normalized and channels.std_normalized and report.overall.counts.n_pixels:
        normalized = *channels.mean_normalized, *channels.std_normalized
        table.add("codes / 255", *(f"{value:.5f}" for value in normalized))
    return table


def _clipped_table(report: StatsReport) -> Table:
    table = Table("bound", "would clip, of values")
    for row in report.clipped:
        is_own = row.bound_px == report.rules.quantizer.bound_px
        table.add(f"±{row.bound_px:g} px{' (the store)' if is_own else ''}", str(row))
    return table
