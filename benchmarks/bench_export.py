"""Measure export to JPEG folders against a loop of `cv2.imwrite` from arrays that are in memory already.

Both sides write the layout ``mmaction2``; their files are compared before anything is timed. The loop runs on one core,
the export with one worker and with two. It is measured twice: with codes as stored (a store of encoding ``denseflow``),
and with every code decoded and encoded again (the default store). The processor's time beside the clock's tells, on a
machine with other work to do, what the wall clock cannot.

    python benchmarks/bench_export.py [--work FOLDER] [--rounds N] [--repeat N] [--json FILE] [VIDEO ...]
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from clips import extract_store, find_videos
from measuring import alternate, format_table, summarize, write_results

import flowstore
from flowstore.export import export
from flowstore.quantize import Quantizer

LAYOUT, ENCODING = "mmaction2", "denseflow"
WORKERS = (1, 2)
ASKED = {1: 0.9, 2: 1.6}


def imwrite_loop(videos: dict[str, np.ndarray], folder: Path) -> None:
    """Write x_%05d.jpg and y_%05d.jpg of codes in memory."""
    for key, codes in videos.items():
        (folder / key).mkdir(parents=True)
        for number, flow in enumerate(codes, 1):
            for plane, axis in zip(flow, "xy", strict=True):
                cv2.imwrite(f"{folder}/{key}/{axis}_{number:05d}.jpg", plane, [cv2.IMWRITE_JPEG_QUALITY, 95])


def export_to(store: flowstore.FlowStore, folder: Path, workers: int, scheduler: str) -> None:
    """Export the store."""
    export(store, folder, LAYOUT, workers=workers, scheduler=scheduler)


def check_same(one: Path, other: Path) -> None:
    """Compare the images of two folders, byte for byte."""
    names = [{path.relative_to(root) for path in root.rglob("*.jpg")} for root in (one, other)]
    assert names[0] == names[1], "the two sides wrote other files"
    for name in names[0]:
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


def repeat_classes(videos: Path, folder: Path, n_times: int) -> Path:
    """Return a folder that holds each class several times, so that starting up does not count."""
    folder.mkdir()
    for number, path in itertools.product(range(n_times), sorted(videos.iterdir())):
        (folder / f"{path.name}_{number}").symlink_to(path.resolve())
    return folder


def measure(store: flowstore.FlowStore, work: Path, n_rounds: int, scheduler: str) -> dict[str, dict[str, float]]:
    """Return flows/s of each side, and the ratio to the loop of the same round."""
    exported = Quantizer(ENCODING, 20.0)
    videos = {
        f"{video.class_name}/{video.name}": video.codes[:] if video.quantizer == exported else exported.encode(video[:])
        for video in store.iter_videos()
    }
    n_flows = sum(map(len, videos.values()))
    folders = (work / f"out{number}" for number in itertools.count())
    first, second = next(folders), next(folders)
    imwrite_loop(videos, first)
    export_to(store, second, 2, scheduler)
    check_same(first, second)
    cpu_s: defaultdict[str, list[float]] = defaultdict(list)

    def counted(name: str, function: Callable[[Path], None]) -> Callable[[], None]:
        def run() -> None:
            started = time.process_time()
            function(next(folders))
            cpu_s[name].append(time.process_time() - started)

        return run

    contenders = {"imwrite": counted("imwrite", lambda folder: imwrite_loop(videos, folder))}
    for workers in WORKERS:
        contenders[f"{workers}"] = counted(
            f"{workers}", lambda folder, workers=workers: export_to(store, folder, workers, scheduler)
        )
    seconds = alternate(contenders, n_rounds)
    cpu_us = {name: summarize([s / n_flows * 1e6 for s in found]) for name, found in cpu_s.items()}
    results = {
        "imwrite": {
            "flows_per_s": summarize([n_flows / s for s in seconds["imwrite"]]),
            "cpu_us_per_flow": cpu_us["imwrite"],
        }
    }
    for workers in WORKERS:
        own = seconds[f"{workers}"]
        results[f"export, {workers}"] = {
            "flows_per_s": summarize([n_flows / s for s in own]),
            "cpu_us_per_flow": cpu_us[f"{workers}"],
            "ratio": summarize([loop / s for loop, s in zip(seconds["imwrite"], own, strict=True)]),
        }
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="*", type=Path)
    parser.add_argument("--work", type=Path, help="a folder on the disk to measure; by default of temporary files")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--repeat", type=int, default=4, metavar="N", help="export each video so many times")
    parser.add_argument("--scheduler", default="threads", choices=["threads", "processes", "sync"])
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    results, rows = {}, []
    with tempfile.TemporaryDirectory(dir=options.work) as folder:
        work = Path(folder)
        found, origin = find_videos(options.videos, work)
        source = repeat_classes(found, work / "repeated", options.repeat)
        for name, encoding in (("codes as stored", ENCODING), ("encoded again", "centred")):
            store = extract_store(source, work / f"{encoding}.zarr", encoding=encoding)
            results[name] = measure(store, work / encoding, options.rounds, options.scheduler)
            for side, found in results[name].items():
                rate, ratio = found["flows_per_s"], found.get("ratio")
                asked = ASKED[int(side[-1])] if ratio else None
                rows.append(
                    (
                        name,
                        side,
                        f"{found['cpu_us_per_flow']['median']:.0f}",
                        f"{rate['median']:.0f} ({rate['min']:.0f}-{rate['max']:.0f})",
                        f"{ratio['median']:.2f} ({ratio['min']:.2f}-{ratio['max']:.2f})" if ratio else "1",
                        f"{asked} x" if asked else "",
                    )
                )
    print(f"{origin}, {options.rounds} rounds, median (min-max)\n")
    print(format_table(("flow", "side, workers", "CPU µs a flow", "flows/s", "against imwrite", "asked"), rows))
    write_results(options.json, "export", {"source": origin, "results": results})


if __name__ == "__main__":
    main()
