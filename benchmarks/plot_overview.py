"""Draws the figures of results/extract.json and results/read.json as one picture, results/overview.png.

    python benchmarks/plot_overview.py

Hours and gigabytes are those of HMDB51's number of flows at the rates and sizes measured; the title says so.
"""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
from alternatives import FLOWSTORE, JPEG

N_FLOWS = 632_000
OURS, LOOP, OTHERS = "tab:blue", "tab:red", "0.6"


def color_of(name: str) -> str:
    if name.startswith(FLOWSTORE):
        return OURS
    return LOOP if name.startswith((JPEG, "notebook loop")) else OTHERS


def draw(results: Path) -> None:
    """Draw what is in a folder of results."""
    extract, read = (json.loads((results / f"{name}.json").read_text()) for name in ("extract", "read"))
    hours = {name: N_FLOWS / side["flows_per_s"] / 3600 for name, side in extract["sides"].items()}
    names = sorted(read["bytes_a_flow"], key=lambda name: read["seconds"][name]["min"])
    labels = [f"{name} (lossy)" if name in read["lossy"] else name for name in names]
    sizes_gb = [read["bytes_a_flow"][name] * N_FLOWS / 1e9 for name in names]

    def rates(seconds: dict) -> list[float]:
        return [1 / seconds[name]["min"] for name in names]

    figure, axes = plt.subplots(1, 4, figsize=(15, 4.2), layout="constrained")
    panels = [
        ("hours to compute HMDB51\n(scaled from flows/s)", list(hours), list(hours.values())),
        ("random clips of 10 flows per second,\nfiles in memory (the fastest)", labels, rates(read["seconds"])),
        ("the same, files not in memory", labels, rates(read["cold_seconds"])),
        ("GB of HMDB51's flow on disk\n(scaled from kB per flow)", labels, sizes_gb),
    ]
    for number, (axis, (title, ticks, values)) in enumerate(zip(axes, panels, strict=True)):
        bars = axis.barh(ticks, values, color=[color_of(tick) for tick in ticks])
        axis.bar_label(bars, [f"{value:.{0 if number else 1}f}" for value in values], padding=3)
        axis.invert_yaxis()
        axis.margins(x=0.18)
        axis.set_title(title, fontsize=10)
        axis.set_xticks([])
        axis.spines[["top", "right", "bottom"]].set_visible(False)
        if number > 1:
            axis.set_yticklabels([])
    figure.savefig(results / "overview.png", dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    draw(Path(__file__).parent / "results")
