"""Extracts videos and frame folders mutated at random, and counts what came of them.

    python benchmarks/stress_inputs.py --count 2000

Each mutation takes a good file and changes some of its bytes, cuts it, repeats, removes or mixes a piece of it. A run
has to end by itself with exit code 0 or 1 and one row for each video; flow that was stored has to be readable.
"""

import argparse
import collections
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from datasets import command_line, frames_of, process_environment, video_bytes
from input_cases import CASES, jpegs, mp4_with_index_first, pillow
from PIL import Image

import flowstore

BATCH = 250
DEADLINE_S = 600
VIDEO_CASES = ("vp9.webm", "hevc.mp4", "mpeg1.mpg", "flash.flv", "windows_media.wmv", "transport_stream.ts",
               "animated_gif_that_loops.gif", "ten_bits.mp4", "with_sound.mp4", "with_alpha.mkv")  # fmt: skip


def seeds(folder):
    """Good files by name: what each mutation begins with."""
    found = {
        "mjpeg.avi": video_bytes(12),
        "mpeg4.mp4": video_bytes(12, suffix=".mp4"),
        "index.mp4": mp4_with_index_first(),
    }
    for name in VIDEO_CASES:
        path = Path(folder) / name
        CASES[name].make(str(path))
        found[name] = path.read_bytes()
        path.unlink()
    still = Image.fromarray(frames_of(1)[0])
    found |= {"still.jpg": jpegs(1)[0], "still.png": pillow(still, "PNG"), "still.webp": pillow(still, "WEBP")}
    found["progressive.jpg"] = pillow(still, "JPEG", progressive=True)
    return found


def mutate(data, random):
    """Change a file in one of several ways, some of its bytes at least."""
    data = bytearray(data)
    for _ in range(random.integers(1, 4)):
        at, other = sorted(random.integers(0, max(1, len(data)), 2))
        # The beginning of a file is what a decoder believes.
        at = at if random.random() < 0.5 else min(at, int(random.integers(0, 400)))
        kind = random.integers(6)
        if kind == 0:
            for place in random.integers(0, max(1, len(data)), random.integers(1, 30)):
                data[place : place + 1] = bytes([random.integers(256)])
        elif kind == 1:
            data[at : at + 4] = random.choice([b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\0\0\0\1"])
        elif kind == 2:
            del data[other:]
        elif kind == 3:
            del data[at : at + int(random.integers(1, 200))]
        elif kind == 4:
            data[at:at] = data[at:other] * int(random.integers(1, 4))
        else:
            data[at : at + 64] = random.bytes(64)
    return bytes(data)


def write_batch(root, good, count, random):
    """Write mutated videos, and frame folders with one mutated image each."""
    names = list(good)
    for number in range(count):
        name = names[number % len(names)]
        spoiled = mutate(good[name], random)
        if name.startswith(("still", "progressive")):
            folder = root / f"{number:05d}"
            folder.mkdir(parents=True)
            for frame in range(1, 5):
                (folder / f"img_{frame}{Path(name).suffix}").write_bytes(spoiled if frame == 2 else good[name])
        else:
            (root / f"{number:05d}_{name}").write_bytes(spoiled)


def stress(count, seed, scheduler="processes", workers=2):
    """Extract so many mutated inputs; return how often each outcome came."""
    outcomes = collections.Counter()
    random = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        good = seeds(folder)
        for done in range(0, count, BATCH):
            n_videos = min(BATCH, count - done)
            root = Path(folder) / f"batch{done}"
            (root / "videos" / "c").mkdir(parents=True)
            write_batch(root / "videos" / "c", good, n_videos, random)
            flags = ["--scheduler", scheduler, "--workers", str(workers), "--quiet"]
            ended = subprocess.run(
                command_line("extract", root / "videos", root / "flow.zarr", *flags),
                capture_output=True, text=True, env=process_environment(), timeout=DEADLINE_S,
            )  # fmt: skip
            assert ended.returncode in (0, 1), ended.stderr[-2000:]
            assert "Traceback" not in ended.stderr, ended.stderr[-2000:]
            store = flowstore.open_store(root / "flow.zarr")
            assert len(store.videos) == n_videos, f"{len(store.videos)} rows for {n_videos} videos"
            for name in store["c"]:
                video = store["c"][name]
                if video.record.is_ok:
                    assert video.codes[:].shape[0] == video.record.n_flows
                outcomes[re.sub(r"\d+", "N", video.record.reason) or "stored"] += 1
    return outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.monotonic()
    outcomes = stress(args.count, args.seed)
    print(f"{args.count} inputs, seed {args.seed}, {time.monotonic() - started:.0f} s: every one has its row")
    for reason, count in outcomes.most_common():
        print(f"{count:6}  {reason}")


if __name__ == "__main__":
    main()
