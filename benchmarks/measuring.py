"""What the benchmarks share: alternating runs, medians with their spread, the machine, tables and JSON."""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from flowstore.opencv import opencv_versions

LIBRARIES = (
    *("flowstore", "numpy", "numba", "zarr", "numcodecs", "dask", "torch", "torchvision"),
    # What others read flow with: alternatives.py.
    *("h5py", "hdf5plugin", "lmdb", "tensorstore", "zarrs"),
)


def describe_machine() -> dict[str, Any]:
    """Return processor, cores and library versions: what a figure depends on."""
    model = platform.processor() or platform.machine()
    if os.path.exists("/proc/cpuinfo"):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    versions |= opencv_versions()
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "cores_used": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
        "date": datetime.now(UTC).date().isoformat(),
        # Without the folders of the machine that ran it.
        "command": " ".join(["python", *(Path(word).name if os.path.isabs(word) else word for word in sys.argv)]),
    }


def alternate(contenders: Mapping[str, Callable[[], Any]], n_rounds: int) -> dict[str, list[float]]:
    """Run each contender once a round, in turn, and return its seconds; the order turns around every other round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for round_number in range(n_rounds):
        names = list(contenders)
        for name in names if round_number % 2 == 0 else reversed(names):
            started = time.perf_counter()
            contenders[name]()
            seconds[name].append(time.perf_counter() - started)
    return seconds


def summarize(values: Sequence[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns are aligned."""
    widths = [max(len(str(row[number])) for row in (header, *rows)) for number in range(len(header))]
    lines = [
        "| " + " | ".join(f"{cell!s:{width}}" for cell, width in zip(row, widths, strict=True)) + " |"
        for row in (header, *rows)
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]])


def write_results(path: str | None, name: str, results: Mapping[str, Any]) -> None:
    """Write results with the machine they were taken on, if a path is given."""
    if path:
        Path(path).write_text(
            json.dumps({"benchmark": name, "machine": describe_machine(), **results}, indent=1) + "\n"
        )
