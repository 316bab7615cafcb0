"""How near the Farneback kernel's codes are to OpenCV's, over many clips, and how near OpenCV's are to its own.

    FLOWSTORE_DATA=clips python benchmarks/bench_agreement.py [--pairs 60] [--json FILE] [--quick]

Codes are those of the ``centred`` encoding at ±20 px. The yardstick is OpenCV's flow of the transposed frames,
transposed back: the same algorithm in another order of sums. A pixel counts in the sums in another way once its
displaced point lies outside the frame; where one lies on the border to the last bit, rounding decides.

Clips: those of FLOWSTORE_DATA as they are and at two other sizes, every third frame of them, and parts of them packed
again as MPEG-4; a camera that pans by 9 px a frame over a still frame of each; and drawn scenes.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from bench_extract import read_frames
from measuring import format_table, write_results

from flowstore.estimators.farneback.stream import FarnebackStream
from flowstore.quantize import Quantizer
from flowstore.scenes import MOTIONS, Scene
from flowstore.sources.listing import VIDEO_SUFFIXES

SIZES = (640, 272), (333, 187)
PAN_PX = 9


def to_grays(frames) -> list[np.ndarray]:
    return [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames]


def pack_again(frames: list[np.ndarray], folder: Path) -> list[np.ndarray]:
    """Return the frames as the MPEG-4 encoder leaves them."""
    path = folder / "packed.avi"
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 30.0, (width, height))
    for frame in frames:
        writer.write(frame)
    writer.release()
    return list(read_frames(path))


def iter_clips(n_frames: int, folder: Path) -> Iterator[tuple[str, list[np.ndarray]]]:
    """Yield the kind and the gray frames of every clip."""
    data = os.environ.get("FLOWSTORE_DATA")
    paths = sorted(Path(data).rglob("*")) if data else []
    for path in paths:
        if path.suffix.lower() not in VIDEO_SUFFIXES:
            continue
        frames = list(read_frames(path))
        yield "as they are", to_grays(frames)
        if len(frames) < n_frames:
            continue
        yield "every third frame", to_grays(frames[::3])
        for size in SIZES:
            yield f"{size[0]}×{size[1]}", to_grays(cv2.resize(frame, size) for frame in frames[:n_frames])
        for start in range(0, len(frames) - n_frames + 1, n_frames):
            part = [cv2.resize(frame, (320, 240)) for frame in frames[start : start + n_frames]]
            yield "packed again", to_grays(pack_again(part, folder))
            yield "packed again", to_grays(pack_again([cv2.flip(frame, 1) for frame in part[::-1]], folder))
        still = cv2.resize(frames[0], (320 + PAN_PX * n_frames, 240 + 3 * n_frames), interpolation=cv2.INTER_CUBIC)
        places = [(3 * number, PAN_PX * (n_frames - number)) for number in range(n_frames)]
        yield "a fast pan", to_grays(np.ascontiguousarray(still[y : y + 240, x : x + 320]) for y, x in places)
    for name in MOTIONS:
        yield "drawn scenes", to_grays(Scene(name, 272, 640, speed=6.0).frames(min(n_frames, 15)))


def opencv_flow(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    flow = cv2.calcOpticalFlowFarneback(previous, current, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return flow.transpose(2, 0, 1)


def compare(frames: list[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return differences in codes, a pair each: of the kernel from OpenCV, and of OpenCV transposed from OpenCV."""
    quantizer = Quantizer("centred", 20)
    stream = FarnebackStream(*frames[0].shape)
    stream.push(frames[0])
    kernel, transposed = [], []
    for previous, current in pairwise(frames):
        codes = quantizer.encode(opencv_flow(previous, current)).astype(np.int16)
        kernel.append(np.abs(quantizer.encode(stream.push(current)) - codes))
        turned = opencv_flow(*(np.ascontiguousarray(frame.T) for frame in (previous, current)))
        turned = np.ascontiguousarray(turned[::-1].transpose(0, 2, 1))
        transposed.append(np.abs(quantizer.encode(turned) - codes))
    return kernel, transposed


def count(differences: list[np.ndarray]) -> dict[str, int]:
    return {
        "codes": sum(one.size for one in differences),
        "unequal": sum(int((one > 0).sum()) for one in differences),
        "above_one": sum(int((one > 1).sum()) for one in differences),
        "largest": max(int(one.max()) for one in differences),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=60, help="pairs of a clip that is cut, at most")
    parser.add_argument("--quick", action="store_true", help="drawn scenes of few frames")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    if options.quick:
        os.environ.pop("FLOWSTORE_DATA", None)
        options.pairs = 3
    cv2.setNumThreads(1)
    sides = ("kernel", "OpenCV, transposed")
    clips = []
    with tempfile.TemporaryDirectory(prefix="bench_agreement_") as folder:
        for kind, frames in iter_clips(options.pairs + 1, Path(folder)):
            both = dict(zip(sides, map(count, compare(frames)), strict=True))
            clips.append({"kind": kind, "pairs": len(frames) - 1, **both})
    rows = []
    for kind in [*dict.fromkeys(clip["kind"] for clip in clips), "all"]:
        chosen = [clip for clip in clips if kind in (clip["kind"], "all")]
        for side in sides:
            found = [clip[side] for clip in chosen]
            equal = [1 - one["unequal"] / one["codes"] for one in found]
            all_equal = 1 - sum(one["unequal"] for one in found) / sum(one["codes"] for one in found)
            above = [one["above_one"] for one in found]
            rows.append(
                [
                    kind,
                    str(len(chosen)),
                    str(sum(clip["pairs"] for clip in chosen)),
                    side,
                    f"{100 * all_equal:.4f}",
                    f"{100 * min(equal):.4f}",
                    f"{sum(above)} in {sum(map(bool, above))} clips",
                    str(max(one["largest"] for one in found)),
                ]
            )
    print(f"OpenCV {cv2.__version__}, default parameters, {sum(one['codes'] for one in found)} codes\n")
    header = ["clips", "n", "pairs", "against OpenCV", "equal codes, %", "worst clip, %", "off by 2 or more", "largest"]
    print(format_table(header, rows))
    write_results(options.json, "agreement", {"clips": clips})


if __name__ == "__main__":
    main()
