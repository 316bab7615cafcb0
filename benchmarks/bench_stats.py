"""Counting motion: `flowstore.stats` against the same figures by NumPy from pixels, one core, and on several.

Both give the histograms of magnitude and direction, mean and deviation of x and y, and what lies beyond five bounds.
The counts are compared before anything is timed. Pages are warm.

    python benchmarks/bench_stats.py [--videos 12] [--flows 100] [--rounds 5] [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import functools
import tempfile
from pathlib import Path

import numpy as np
from measuring import alternate, describe_machine, format_table, summarize, write_results

import flowstore
from flowstore.format.record import VideoRecord
from flowstore.format.root import RootAttributes
from flowstore.format.settings import ExtractSettings
from flowstore.format.zarr_metadata import FORMAT
from flowstore.quantize import Quantizer
from flowstore.quantize.encoder import FlowEncoder
from flowstore.stats import stats
from flowstore.storage.local import LocalStorage
from flowstore.store.writer import VideoWriter, write_class, write_root

HEIGHT, WIDTH = 240, 320
BOUNDS = (5.0, 10.0, 15.0, 20.0, 32.0)


def make_store(root: Path, quantizer: Quantizer, n_videos: int, n_flows: int) -> str:
    """Write a store of smooth flow: a third of each picture stands still."""
    storage, settings = LocalStorage(str(root)), ExtractSettings(quantizer=quantizer)
    write_root(storage, RootAttributes(FORMAT, settings, {}, "2024-01-02T03:04:05Z"))
    write_class(storage, "class")
    generator = np.random.default_rng(0)
    for number in range(n_videos):
        place = storage, "class", f"video_{number:03d}", HEIGHT, WIDTH, quantizer, settings.compression
        encoder = FlowEncoder(quantizer, (2, HEIGHT, WIDTH), is_compiled=False)
        with VideoWriter(*place) as writer:
            for _ in range(n_flows):
                coarse = generator.normal(0, 4, (2, HEIGHT // 16, WIDTH // 16)).repeat(16, 1).repeat(16, 2)
                flow = (coarse + generator.normal(0, 0.2, coarse.shape)).astype(np.float32)
                flow[:, : HEIGHT // 3] = 0
                writer.append(encoder.encode(flow))
            writer.commit(
                VideoRecord("class", place[2], "ok", "", "video", n_flows=n_flows, statistics=encoder.statistics())
            )
    return str(root)


def count_by_numpy(root: str, edges: np.ndarray) -> dict[str, np.ndarray]:
    """Count from pixels, 16 flows at a time."""
    store = flowstore.open_store(root)
    totals: dict[str, np.ndarray] = {}
    for video in store.iter_videos():
        for start in range(0, len(video), 16):
            x, y = np.moveaxis(video[start : start + 16], 1, 0).reshape(2, -1).astype(np.float64)
            magnitude = np.sqrt(x * x + y * y)
            degrees = np.degrees(np.arctan2(y, x))[magnitude >= 0.5]
            counted = {
                "magnitudes": np.histogram(magnitude, [*edges, np.inf])[0],
                "angles": np.histogram((degrees + 7.5) % 360, 24, (0, 360))[0],
                "sums": np.array([x.sum(), y.sum(), (x * x).sum(), (y * y).sum()]),
                "beyond": np.array([np.sum(np.abs(x) > bound) + np.sum(np.abs(y) > bound) for bound in BOUNDS]),
            }
            totals = {name: values + totals.get(name, 0) for name, values in counted.items()}
    return totals


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=12)
    parser.add_argument("--flows", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few flows, one round")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    if options.quick:
        options.videos, options.flows, options.rounds = 4, 20, 1
    n_flows = options.videos * options.flows
    rows, results = [], {}
    with tempfile.TemporaryDirectory(prefix="bench_stats_") as folder:
        for quantizer in (Quantizer("centred", 20), Quantizer("float16", None)):
            root = make_store(Path(folder) / quantizer.encoding, quantizer, options.videos, options.flows)
            report = stats(root, bounds=BOUNDS, scheduler="sync")
            theirs = count_by_numpy(root, report.edges_px)
            assert report.overall.counts.histogram.tolist() == theirs["magnitudes"].tolist()
            assert report.overall.counts.angles.tolist() == theirs["angles"].tolist()
            contenders = {
                "NumPy, from pixels": lambda root=root, edges=report.edges_px: count_by_numpy(root, edges),
                "flowstore, sync": lambda root=root: stats(root, bounds=BOUNDS, scheduler="sync"),
            }
            for scheduler in ("threads", "processes"):
                contenders[f"flowstore, {options.workers} {scheduler}"] = functools.partial(
                    stats, root, bounds=BOUNDS, scheduler=scheduler, workers=options.workers
                )
            seconds = alternate(contenders, options.rounds)
            for name, values in seconds.items():
                spread = summarize([1e3 * value / n_flows for value in values])
                results[f"{quantizer.encoding}: {name}"] = {"ms_a_flow": spread}
                cells = [f"{spread[key]:.3f}" for key in ("median", "min", "max")]
                rows.append([quantizer.encoding, name, *cells, f"{1e3 / spread['median']:.0f}"])
    machine = describe_machine()
    print(f"{n_flows} flows of {WIDTH}×{HEIGHT}; {machine['processor']}, {options.rounds} rounds in turn\n")
    print(format_table(["store", "", "ms a flow", "min", "max", "flows/s"], rows))
    write_results(options.json, "stats", {"n_flows": n_flows, "results": results})


if __name__ == "__main__":
    main()
