"""What a video costs beyond its flow, and whether ten times the videos take ten times the time.

Small videos (frame folders of 96×72 pixels) are extracted by ``flowstore extract`` as a process of its own: 50 and 500
videos of 9 frames, and the same flows as the 500 in 5 long videos, which shows what the videos themselves cost.

    python benchmarks/bench_scaling.py [--rounds 3] [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
from measuring import alternate, describe_machine, format_table, summarize, write_results

from flowstore.scenes import Scene

FLOWS_PER_VIDEO = 8


def write_folder(folder: Path, images: list[bytes], n_frames: int) -> None:
    """Write a frame folder of so many frames, going back and forth through the images."""
    folder.mkdir(parents=True)
    cycle = images + images[-2:0:-1]
    for number in range(n_frames):
        (folder / f"img_{number + 1:05d}.jpg").write_bytes(cycle[number % len(cycle)])


def make_datasets(root: Path, n_videos: int) -> dict[str, Path]:
    """Make the three datasets and return their folders."""
    frames = Scene("rotate", 72, 96, speed=1.5).frames(FLOWS_PER_VIDEO + 1)
    images = [cv2.imencode(".jpg", frame)[1].tobytes() for frame in frames]
    shapes = {
        "few": (n_videos // 10, FLOWS_PER_VIDEO),
        "many": (n_videos, FLOWS_PER_VIDEO),
        "long": (5, n_videos * FLOWS_PER_VIDEO // 5),
    }
    for name, (count, n_flows) in shapes.items():
        for number in range(count):
            write_folder(root / name / f"class_{number % 5}" / f"video_{number:04d}", images, n_flows + 1)
    return {name: root / name for name in shapes}


def run_flowstore(source: Path, store: Path, *options: str) -> None:
    """Run `flowstore extract` as a process."""
    shutil.rmtree(store, ignore_errors=True)
    command = [sys.executable, "-m", "flowstore", "extract", source, store, "--quiet", *options]
    subprocess.run(command, check=True)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--videos", type=int, default=500)
    parser.add_argument("--quick", action="store_true", help="20 videos, one round")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    if options.quick:
        options.videos, options.rounds = 20, 1
    with tempfile.TemporaryDirectory(prefix="bench_scaling_") as folder:
        work = Path(folder)
        datasets = make_datasets(work / "data", options.videos)
        modes = {
            "1 worker, sync": ("--scheduler", "sync"),
            "2 threads": ("--scheduler", "threads", "--workers", "2"),
            "2 processes": ("--scheduler", "processes", "--workers", "2"),
        }
        run_flowstore(datasets["few"], work / "warm.zarr")
        contenders = {
            (mode, name): (
                lambda source=source, arguments=arguments: run_flowstore(source, work / "flow.zarr", *arguments)
            )
            for mode, arguments in modes.items()
            for name, source in datasets.items()
        }
        seconds = alternate(contenders, options.rounds)
    rows, results = [], {}
    for mode in modes:
        few, many, long = (summarize(seconds[mode, name])["median"] for name in ("few", "many", "long"))
        n_workers = 1 if "sync" in mode else 2
        per_video_ms = 1e3 * (many - long) / (options.videos - 5) * n_workers
        results[mode] = {
            "few_s": few,
            "many_s": many,
            "long_s": long,
            "per_video_ms": per_video_ms,
            "ratio": many / few,
        }
        rows.append([mode, f"{few:.2f}", f"{many:.2f}", f"{long:.2f}", f"{per_video_ms:.1f}", f"{many / few:.2f}"])
    n_videos = options.videos
    header = [
        "",
        f"{n_videos // 10} videos, s",
        f"{n_videos} videos, s",
        "same flows in 5, s",
        "ms of a worker a video",
        "ratio of 10× the videos",
    ]
    print(f"{describe_machine()['processor']}, {options.rounds} rounds, medians; 8 flows of 96×72 a video\n")
    print(format_table(header, rows))
    write_results(options.json, "scaling", {"n_videos": n_videos, "modes": results})


if __name__ == "__main__":
    main()
