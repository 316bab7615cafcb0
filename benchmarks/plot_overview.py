"""Draws results/rehearse_hmdb51.json, loader.json and read.json as one picture, results/overview.png.

    python benchmarks/plot_overview.py

Above: the whole job as it was rehearsed, the loop and a JPEG folder against flowstore; hours are from CPU time, as if
nobody else used the machine. Below: what else a person might pick, on a few clips. Titles say what is scaled.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
from alternatives import FLOWSTORE
from matplotlib.axes import Axes

N_FLOWS = 632_000
OURS, LOOP, OTHERS = "tab:blue", "tab:red", "0.6"
WHOLE_FLOW = "flow, 320×240"


def color_of(name: str) -> str:
    if name.startswith(FLOWSTORE):
        return OURS
    return LOOP if name.startswith(("JPEG folder", "the loop")) else OTHERS


def draw_bars(axis: Axes, title: str, values: dict[str, float], text: Callable[[float], str]) -> None:
    """Draw a bar for each name."""
    bars = axis.barh(list(values), list(values.values()), color=[color_of(name) for name in values])
    axis.bar_label(bars, [text(value) for value in values.values()], padding=3)
    axis.invert_yaxis()
    axis.margins(x=0.2)
    axis.set_title(title, fontsize=10)
    axis.set_xticks([])
    axis.spines[["top", "right", "bottom"]].set_visible(False)


def draw(results: Path) -> None:
    """Draw what is in a folder of results."""
    job, loader, read = (
        json.loads((results / f"{name}.json").read_text()) for name in ("rehearse_hmdb51", "loader", "read")
    )
    figure = plt.figure(figsize=(15, 6.4), layout="constrained")
    above, below = figure.subfigures(2, 1, height_ratios=(1, 2))

    cores, steps = job["machine"]["cores_used"], job["steps"]
    hours = {name: ms * N_FLOWS / 3.6e6 for name, ms in job["cpu_ms_a_flow"].items()}
    sides = {"JPEG folder (lossy)": ("export", "JPEG folder"), FLOWSTORE: ("extract", "store")}
    is_whole = job["share"] > 0.99
    scale = 1 if is_whole else N_FLOWS / job["flows"]
    panels = [
        (
            "hours to compute HMDB51, from CPU time",
            {
                "the loop, which uses one core": hours["the loop"],
                f"{FLOWSTORE}, 1 core": hours["flowstore"],
                f"{FLOWSTORE}, {cores} cores": hours["flowstore"] / cores,
            },
            "{:.2f}".format,
        ),
        (
            "training: random clips of 10 flows\nper second, two DataLoader workers",
            {name: job["epochs"][side]["clips"] / job["epochs"][side]["seconds"] for name, (_, side) in sides.items()},
            "{:.0f}".format,
        ),
        (
            "the same, one process, files not in memory",
            {name: 1e3 / job["clip_ms"][f"{side}, cold"] for name, (_, side) in sides.items()},
            "{:.0f}".format,
        ),
        (
            "GB of files",
            {
                f"{name}\n{steps[step]['n_files'] * scale:,.0f} files": steps[step]["size_bytes"] * scale / 1e9
                for name, (step, _) in sides.items()
            },
            "{:.1f}".format,
        ),
    ]
    rehearsed = f"The whole job as rehearsed, {job['videos']:,} videos with {job['flows']:,} flows"
    above.suptitle(rehearsed if is_whole else f"{rehearsed}, scaled to HMDB51's {N_FLOWS:,}", fontsize=11)
    for axis, panel in zip(above.subplots(1, 4), panels, strict=True):
        draw_bars(axis, *panel)

    names = [name for name in loader["cases"][WHOLE_FLOW] if name in read["cold_seconds"]]
    said = {name: f"{name} (lossy)" if name in loader["lossy"] else name for name in names}
    cold = {name: 1 / read["cold_seconds"][name]["median"] for name in names}
    rates = {name: loader["cases"][WHOLE_FLOW][name]["clips_per_s"]["median"] for name in names}
    sizes = {name: loader["bytes_per_flow"][name] * N_FLOWS / 1e9 for name in names}
    panels = [
        ("random clips of 10 flows per second,\ntwo DataLoader workers, files in memory", rates, "{:.0f}".format),
        ("the same, one process, files not in memory", cold, "{:.0f}".format),
        ("GB of disk blocks", sizes, "{:.0f}".format),
    ]
    below.suptitle(f"What else one might pick, on {loader['n_videos']} clips, scaled to HMDB51's flows", fontsize=11)
    for number, (axis, (title, values, text)) in enumerate(zip(below.subplots(1, 3), panels, strict=True)):
        draw_bars(axis, title, {said[name]: value for name, value in values.items()}, text)
        if number:
            axis.set_yticklabels([])
    figure.savefig(results / "overview.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).parent / "results")
