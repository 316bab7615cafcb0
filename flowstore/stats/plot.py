"""A picture of a store's motion. Owns matplotlib, loaded when a picture is asked for."""

from __future__ import annotations

import io
import os
from typing import Any

import numpy as np

from flowstore.arguments import check_path
from flowstore.errors import ArgumentError, MissingExtraError
from flowstore.names import is_unicode
from flowstore.stats.report import GroupStats, StatsReport
from flowstore.storage.atomic import write_whole

_MOST_LINES = 8
_MOST_BARS = 20
_LONGEST_LABEL = 26
_SUFFIXES = (".png", ".pdf", ".svg")


def check_plot(path: str | os.PathLike[str]) -> None:
    """Refuse a picture that could not be written, before the work that it is to show."""
    _import_figure()
    name = check_path("plot", path)
    if not name.lower().endswith(_SUFFIXES):
        raise ArgumentError(f"plot {name}: expected a name that ends in {', '.join(_SUFFIXES)}")
    folder = os.path.dirname(os.path.abspath(name))
    if not os.path.isdir(folder):
        raise ArgumentError(f"plot {name}: there is no folder {folder}")
    if os.path.isdir(name):
        raise ArgumentError(f"plot {name}: a folder")
    if not os.access(folder, os.W_OK):
        raise ArgumentError(f"plot {name}: nothing can be written to the folder {folder}")


def plot_stats(report: StatsReport, path: str | os.PathLike[str]) -> None:
    """Draw the histograms of magnitude and direction, the classes by motion, and what bounds clip."""
    check_plot(path)
    figure = _import_figure()(figsize=(13, 9), layout="constrained")
    axes = figure.subplot_mosaic(
        [["magnitude", "direction"], ["classes", "clipped"]], per_subplot_kw={"direction": {"projection": "polar"}}
    )
    figure.get_layout_engine().set(w_pad=0.15, h_pad=0.12)
    lines = _choose_lines(report)
    _draw_magnitudes(axes["magnitude"], report, lines)
    _draw_directions(axes["direction"], report, lines)
    _draw_classes(axes["classes"], report)
    _draw_clipped(axes["clipped"], report)
    handles, labels = axes["magnitude"].get_legend_handles_labels()
    axes["direction"].legend(
        handles, labels, loc="center left", bbox_to_anchor=(1.15, 0.5), frameon=False, title=_lines_title(report, lines)
    )
    name = _shorten(os.path.basename(report.store_url.rstrip("/")), 60)
    counted = f"{report.overall.counts.n_flows:,} of {report.overall.n_flows:,} flows counted"
    noun = "video" if report.overall.n_videos == 1 else "videos"
    figure.suptitle(f"{name}: {report.overall.n_videos:,} {noun}, {counted} ({report.sample})", parse_math=False)
    target = check_path("plot", path)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120, format=target.rpartition(".")[2].lower())
    write_whole(target, picture.getvalue())


def _import_figure() -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("a plot needs matplotlib: pip install 'flowstore[notebook]'") from error
    return Figure


def _choose_lines(report: StatsReport) -> dict[str, GroupStats]:
    """Return the classes that have a line of their own: all of few, else those that move most and least."""
    counted = {name: group for name, group in report.classes.items() if group.counts.n_pixels}
    if len(counted) <= _MOST_LINES:
        return counted
    by_motion = sorted(counted, key=lambda name: -counted[name].mean_magnitude_px)
    half = _MOST_LINES // 2
    return {name: counted[name] for name in (*by_motion[:half], *by_motion[-half:])}


def _lines_title(report: StatsReport, lines: dict[str, GroupStats]) -> str:
    n_counted = sum(group.counts.n_pixels > 0 for group in report.classes.values())
    return "class" if len(lines) == n_counted else f"the classes that move\nmost and least, of {n_counted}"


def _draw_magnitudes(axes: Any, report: StatsReport, lines: dict[str, GroupStats]) -> None:
    edges = report.edges_px
    for name, group, style in _styled(report, lines):
        counts = group.counts.histogram
        if not group.counts.n_pixels:
            continue
        beyond = np.append(counts[::-1].cumsum()[::-1], 0)[: len(edges)] / group.counts.n_pixels
        # On a logarithmic axis there is no zero: the line ends where the pixels do.
        shown = beyond > 0
        # A point alone is no line.
        marker = "o" if shown.sum() == 1 else ""
        axes.plot(edges[shown], beyond[shown], marker=marker, clip_on=False, label=_legend_label(name), **style)
    bound_px = report.rules.quantizer.bound_px
    if bound_px is not None:
        axes.axvline(bound_px, color="gray", linestyle=":")
        axes.annotate(
            f"bound ±{bound_px:g} px", (bound_px, 1), (-4, -4), xycoords=("data", "axes fraction"),
            textcoords="offset points", ha="right", va="top", color="gray",
        )  # fmt: skip
    axes.set_yscale("log")
    axes.set_xlim(0, edges[-1])
    axes.set_ylim(top=1.5)
    axes.set_xlabel("magnitude m (pixels a flow)")
    axes.set_ylabel("share of pixels that move m or more")
    axes.set_title("How far pixels move")
    axes.grid(alpha=0.3)


def _draw_directions(axes: Any, report: StatsReport, lines: dict[str, GroupStats]) -> None:
    centers = np.deg2rad(report.centers_deg)
    for name, group, style in _styled(report, lines):
        if group.counts.n_moving:
            shares = group.counts.angles / group.counts.n_moving
            axes.plot(np.append(centers, centers[0]), np.append(shares, shares[0]), label=_legend_label(name), **style)
    # As on the screen, where y grows downward.
    axes.set_theta_direction(-1)
    axes.set_xticks(np.deg2rad(np.arange(0, 360, 45)), ["right", "", "down", "", "left", "", "up", ""])
    # Between the axes of the picture, along which most things move.
    axes.set_rlabel_position(67.5)
    axes.tick_params(axis="y", labelsize=9)
    for label in axes.get_yticklabels():
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5})
    tallest = max([0.05, *(share for line in axes.lines for share in line.get_ydata())])
    step = next(step for step in (0.02, 0.05, 0.1, 0.2, 0.25) if 5 * step >= tallest)
    axes.set_yticks(np.arange(step, tallest, step))
    axes.set_ylim(0, 1.05 * tallest)
    axes.yaxis.set_major_formatter(lambda share, _: f"{share:.0%}")
    axes.set_title(f"Where pixels go that move {report.rules.moving_px:g} px or more\n(share by 15°)")


def _draw_classes(axes: Any, report: StatsReport) -> None:
    counted = {name: group for name, group in report.classes.items() if group.counts.n_pixels}
    by_motion = sorted(counted, key=lambda name: counted[name].mean_magnitude_px)
    title = "Motion by class"
    if len(by_motion) > _MOST_BARS:
        half = _MOST_BARS // 2
        title += f":\nthe {half} most and the {half} least moving of {len(by_motion)}"
        by_motion = by_motion[:half] + by_motion[-half:]
    numbers = np.arange(len(by_motion))
    means = [counted[name].mean_magnitude_px for name in by_motion]
    highs = [counted[name].percentile_px(0.99) for name in by_motion]
    axes.barh(numbers, means, height=0.7, color="tab:blue", label="mean")
    axes.plot(highs, numbers, "k|", markersize=9, label="99th percentile")
    axes.set_yticks(numbers, [_shorten(name) for name in by_motion], parse_math=False)
    axes.set_ylim(-0.7, max(len(by_motion), 1) - 0.3)
    axes.set_xlim(0, 1.05 * max([*means, *highs, 0.1]))
    axes.set_xlabel("magnitude (pixels a flow)")
    axes.set_title(title)
    axes.grid(axis="x", alpha=0.3)
    if by_motion:
        axes.legend(loc="lower right")


def _draw_clipped(axes: Any, report: StatsReport) -> None:
    rows = report.clipped
    numbers = np.arange(len(rows))
    axes.barh(numbers, [100 * row.at_most for row in rows], color="tab:orange", alpha=0.4, label="at most")
    axes.barh(numbers, [100 * row.at_least for row in rows], color="tab:orange", label="at least")
    for number, row in enumerate(rows):
        axes.annotate(f" {row}", (100 * row.at_most, number), va="center")
    axes.set_yticks(numbers, [f"±{row.bound_px:g} px" for row in rows])
    axes.invert_yaxis()
    # Room for the text beside the longest bar.
    axes.set_xlim(0, 1.9 * max([100 * row.at_most for row in rows] + [1e-3]))
    axes.set_xlabel("clipped values (% of x and y components)")
    axes.set_title(f"What a bound would clip (the store is {_describe_store(report)})")
    axes.grid(axis="x", alpha=0.3)
    if any(row.at_least != row.at_most for row in rows):
        axes.legend(loc="lower right")


def _describe_store(report: StatsReport) -> str:
    quantizer = report.rules.quantizer
    return "float16" if quantizer.bound_px is None else f"uint8, ±{quantizer.bound_px:g} px"


def _styled(report: StatsReport, lines: dict[str, GroupStats]) -> list[tuple[str, GroupStats, dict[str, Any]]]:
    """Return what has a line, with its look: all classes together in black."""
    styled = [(name, group, {"color": f"C{number}", "lw": 1.2}) for number, (name, group) in enumerate(lines.items())]
    if len(report.classes) == 1:
        return styled
    return [*styled, ("all classes", report.overall, {"color": "black", "lw": 2.2})]


def _shorten(name: str, longest: int = _LONGEST_LABEL) -> str:
    text = name if is_unicode(name) else ascii(name)[1:-1]
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _legend_label(name: str) -> str:
    # A dollar sign would begin a formula, and a label with a leading underscore is left out.
    text = _shorten(name).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text
