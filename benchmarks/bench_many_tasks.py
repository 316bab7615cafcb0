"""What the coordinator of a very large run takes: seconds to plan, and memory to plan and to schedule.

Videos of two tiny frames, hard links of a few files, are planned (``extract --dry-run``) and extracted by
``flowstore extract`` as a process of its own, whose memory and whose workers' memory are looked at on the way: the
difference between the two numbers of videos is what a video costs the coordinator.

    python benchmarks/bench_many_tasks.py [--videos 100000] [--workers 2] [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import psutil
from measuring import describe_machine, format_table, write_results

import flowstore
from flowstore.scenes import Scene

# File systems bound the names of one file: ext4 at 65 000.
LINKS_PER_FILE = 20_000
VIDEOS_PER_CLASS = 1000
LOOK_EVERY_S = 0.1


def make_dataset(root: Path, n_videos: int) -> Path:
    """Make class folders of videos that are hard links of a few files."""
    frames = list(Scene("zoom", 24, 32, speed=1.5).frames(2))
    original = root / "video.avi"
    for number in range(n_videos):
        if number % LINKS_PER_FILE == 0:
            original = root / f"original{number}.avi"
            writer = cv2.VideoWriter(str(original), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (32, 24))
            for frame in frames:
                writer.write(frame)
            writer.release()
        folder = root / "videos" / f"class_{number // VIDEOS_PER_CLASS:03d}"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(original, folder / f"video_{number:06d}.avi")
    return root / "videos"


def watch(arguments: list[str]) -> dict[str, float]:
    """Run flowstore; return seconds and the largest memory of the process and of any of its workers, in MiB."""
    started = time.monotonic()
    process = psutil.Popen([sys.executable, "-m", "flowstore", *arguments], stdout=subprocess.DEVNULL)
    own = worker = 0
    while process.poll() is None:
        try:
            own = max(own, process.memory_info().rss)
            worker = max([worker, *(child.memory_info().rss for child in process.children(recursive=True))])
        except psutil.NoSuchProcess:
            pass
        time.sleep(LOOK_EVERY_S)
    if process.returncode != 0:
        raise SystemExit(f"flowstore {' '.join(arguments)} ended with {process.returncode}")
    return {"seconds": time.monotonic() - started, "own_mib": own / 2**20, "worker_mib": worker / 2**20}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--quick", action="store_true", help="1 000 videos")
    options = parser.parse_args()
    counts = [options.videos // 10, options.videos] if not options.quick else [100, 1000]
    rows, results = [], {}
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="bench_many_tasks_") as folder:
            source = make_dataset(Path(folder), count)
            store = Path(folder) / "flow.zarr"
            arguments = ["extract", str(source), str(store), "--quiet"]
            planned = watch([*arguments, "--dry-run"])
            done = watch([*arguments, "--scheduler", "processes", "--workers", str(options.workers)])
            assert flowstore.open_store(store).n_flows == count
        results[str(count)] = {"plan": planned, "extract": done}
        rows.append(
            [
                f"{count}",
                f"{planned['seconds']:.1f}",
                f"{planned['own_mib']:.0f}",
                f"{done['seconds']:.0f}",
                f"{count / done['seconds']:.0f}",
                f"{done['own_mib']:.0f}",
                f"{done['worker_mib']:.0f}",
            ]
        )
    few, many = (results[str(count)]["extract"]["own_mib"] for count in counts)
    per_video_kib = (many - few) * 1024 / (counts[1] - counts[0])
    print(f"{describe_machine()['processor']}, {options.workers} worker processes, one flow of 32×24 a video\n")
    header = ["videos", "plan, s", "plan, MiB", "extract, s", "videos/s", "coordinator, MiB", "largest worker, MiB"]
    print(format_table(header, rows))
    print(f"\na video costs the coordinator {per_video_kib:.2f} KiB")
    write_results(options.json, "many_tasks", {"runs": results, "kib_per_video": per_video_kib})


if __name__ == "__main__":
    main()
