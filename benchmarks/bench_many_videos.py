"""A store of 300 000 videos against one of 100: opening, the index, random items, memory, tables.

The videos are real ones of 320×240 codes, some of them, and the flow of the others links to theirs: what is read is
read from the page cache, and only the number of names and rows is large. Each store is measured in a process of its
own.

    python benchmarks/bench_many_videos.py [--videos 300000] [--items 300] [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import describe_machine, format_table, write_results

import flowstore
from flowstore.format import zarr_metadata
from flowstore.format.record import VideoRecord
from flowstore.format.root import RootAttributes
from flowstore.format.settings import ExtractSettings
from flowstore.format.zarr_metadata import FORMAT
from flowstore.quantize.motion import MotionStatistics
from flowstore.storage.local import LocalStorage
from flowstore.store.index import write_index
from flowstore.store.video_index import VideoIndex
from flowstore.store.writer import VideoWriter, write_class, write_root

LENGTH, HEIGHT, WIDTH = 10, 240, 320
N_REAL, N_FLOWS, N_CLASSES = 100, 60, 400
# What a dataset needs of every video before the first item.
NEEDED = ("status", "class", "path", "n_flows", "height", "width")
LIMITS = {
    "open_store, s": 0.5,
    "index memory, MB": 150,
    "item, ms more than in the small store": 1,
    "FlowClips made, s": 1,
    "videos.to_pandas, s": 2,
    "flows.to_pandas, s": 2,
}


def make_codes(generator: np.random.Generator) -> np.ndarray:
    """Return smooth codes that move: about as compressible as flow."""
    coarse = generator.normal(128, 30, (N_FLOWS, 2, HEIGHT // 16, WIDTH // 16))
    return np.clip(coarse.repeat(16, 2).repeat(16, 3), 1, 255).astype(np.uint8)


def make_store(root: Path, n_videos: int) -> None:
    """Write a store whose videos but for the first hundred are links to these, and its index."""
    storage, settings = LocalStorage(str(root)), ExtractSettings(compression="fast")
    write_root(storage, RootAttributes(FORMAT, settings, {}, "2024-01-02T03:04:05Z"))
    n_classes = min(N_CLASSES, n_videos // 10)
    classes = [f"class_{number:03d}" for number in range(n_classes)]
    for name in classes:
        write_class(storage, name)
    records, generator = [], np.random.default_rng(0)
    for number in range(n_videos):
        class_name, name = classes[number % n_classes], f"some_video_of_a_usual_name_{number:06d}"
        if number < N_REAL:
            statistics_ = MotionStatistics(1.0, 9.0, 5.0, 0, 0, 0.0, (1.0,) * N_FLOWS)
            record = VideoRecord(
                class_name,
                name,
                "ok",
                f"{class_name}/{name}.avi",
                "video",
                n_flows=N_FLOWS,
                fps=30.0,
                statistics=statistics_,
            )
            place = storage, class_name, name, HEIGHT, WIDTH, settings.quantizer, settings.compression
            with VideoWriter(*place) as writer:
                for flow in make_codes(generator):
                    writer.append(flow)
                records.append(writer.commit(record))
        else:
            real = records[number % N_REAL]
            link_video(root, real, class_name, name)
    small = VideoIndex.from_records(records)
    numbers = sorted((classes[number % n_classes], number) for number in range(n_videos))
    rows = np.array([number % N_REAL for _, number in numbers])
    columns = {name: column[rows] for name, column in small.columns.items()}
    names = [f"some_video_of_a_usual_name_{number:06d}" for _, number in numbers]
    text = columns["class"].dtype
    columns["class"] = np.array([class_name for class_name, _ in numbers], text)
    columns["video"] = np.array(names, text)
    paths = [f"{class_name}/{name}" for (class_name, _), name in zip(numbers, names, strict=True)]
    columns["path"] = np.array(paths, text)
    columns["source_path"] = np.array([f"{path}.avi" for path in paths], text)
    write_index(storage, VideoIndex(columns, n_videos, np.ones(N_FLOWS * n_videos, np.float32)))


def link_video(root: Path, real: VideoRecord, class_name: str, name: str) -> None:
    """Make a video with a record of its own and the flow of another."""
    folder = root / class_name / name
    folder.mkdir()
    os.symlink(root / real.class_name / real.name / "flow", folder / "flow")
    record = dataclasses.replace(real, class_name=class_name, name=name, source_path=f"{class_name}/{name}.avi")
    (folder / "zarr.json").write_bytes(zarr_metadata.to_bytes(zarr_metadata.group_document(record.to_json())))


def resident_mb() -> float:
    """Return what this process holds of memory now."""
    if sys.platform != "linux":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def peak_mb() -> float:
    """Return what this process held at most, 0 where the system does not tell it apart from its parent's."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) / 1e3 for line in lines if line.startswith("VmHWM")), 0.0)


def measure(root: str, n_items: int) -> dict[str, float]:
    """Open a store as a training process does and read random items; the process is a fresh one."""
    import zarr

    # What zarr-python itself takes the first time it reads anything is not the index's.
    zarr.create_array({}, shape=(1,), dtype="int64")[:]
    started = time.perf_counter()
    store = flowstore.open_store(root)
    opened = time.perf_counter() - started
    before = resident_mb()
    started = time.perf_counter()
    index = store.videos
    columns = {name: index.column(name) for name in NEEDED}
    n_classes = len(index.rows_by_class)
    loaded = time.perf_counter() - started
    memory, peak = resident_mb() - before, peak_mb() - before
    generator = random.Random(1)
    out = np.empty((1, LENGTH, 2, HEIGHT, WIDTH), np.uint8)
    seconds = []
    for _ in range(n_items):
        row = generator.randrange(len(index))
        started = time.perf_counter()
        start = generator.randrange(int(columns["n_flows"][row]) - LENGTH + 1)
        store.read_clips([f"{index.class_name(row)}/{index.name(row)}"], [start], LENGTH, out=out)
        seconds.append(time.perf_counter() - started)
    results = {
        "videos": len(index),
        "classes": n_classes,
        "open_store, s": opened,
        "index columns for a dataset, s": loaded,
        "index memory, MB": memory,
        "index memory at its peak, MB": peak,
        "random item, ms": 1e3 * statistics.median(seconds),
        "memory after all items, MB": resident_mb() - before,
    }
    results |= measure_tables(root)
    try:
        from flowstore.loaders import FlowClips
    except ImportError:
        return results
    started = time.perf_counter()
    FlowClips(flowstore.open_store(root))
    return results | {"FlowClips made, s": time.perf_counter() - started}


def measure_tables(root: str) -> dict[str, float]:
    """Make both tables, each from a store just opened; nothing where pandas is not installed."""
    if importlib.util.find_spec("pandas") is None:
        return {}
    importlib.import_module("pandas")
    results = {}
    for name in ("videos", "flows"):
        started = time.perf_counter()
        table = getattr(flowstore.open_store(root), name).to_pandas()
        results[f"{name}.to_pandas, s"] = time.perf_counter() - started
        results[f"{name}.to_pandas, rows"] = len(table)
        results[f"{name}.to_pandas, MB"] = table.memory_usage(deep=True).sum() / 1e6
    return results


def _number(value: float) -> str:
    return f"{value:.0f}" if value == int(value) or abs(value) >= 100 else f"{value:.2g}"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=300_000)
    parser.add_argument("--items", type=int, default=300)
    parser.add_argument("--quick", action="store_true", help="2 000 videos, few items")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.items)))
        return
    if options.quick:
        options.videos, options.items = 2000, 50
    runs: dict[int, list[dict[str, float]]] = {N_REAL: [], options.videos: []}
    with tempfile.TemporaryDirectory(prefix="bench_many_") as folder:
        for n_videos in runs:
            make_store(Path(folder) / f"{n_videos}.zarr", n_videos)
        for _ in range(3):
            for n_videos, results in runs.items():
                place = ["--measure", str(Path(folder) / f"{n_videos}.zarr"), "--items", str(options.items)]
                output = subprocess.run([sys.executable, __file__, *place], check=True, stdout=subprocess.PIPE).stdout
                results.append(json.loads(output))
    small, large = (
        {name: statistics.median(run[name] for run in results) for name in results[0]} for results in runs.values()
    )
    large["item, ms more than in the small store"] = large["random item, ms"] - small["random item, ms"]
    machine = describe_machine()
    print(f"{options.videos} videos, warm page cache; {machine['processor']}, medians of three processes\n")
    rows = [
        [name, _number(small[name]) if name in small else "", _number(value), str(LIMITS.get(name, ""))]
        for name, value in large.items()
    ]
    print(format_table(["", f"{N_REAL} videos", f"{options.videos} videos", "at most"], rows))
    write_results(options.json, "many_videos", {"small": small, "large": large, "limits": LIMITS})


if __name__ == "__main__":
    main()
