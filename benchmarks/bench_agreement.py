"""How near the Farneback kernel's flow is to OpenCV's, over many clips, and how near OpenCV's is to its own.

    FLOWSTORE_DATA=clips python benchmarks/bench_agreement.py [--pairs 30] [--json FILE] [--quick]

Codes are those of the ``centred`` encoding at ±20 px. The yardstick is OpenCV's flow of the transposed frames,
transposed back, for every third pair: the same algorithm in another order of sums. A pixel counts in the sums in
another way once its displaced point lies outside the frame; where one lies on the border to the last bit, rounding
decides.

Clips: those of FLOWSTORE_DATA as they are and at two other sizes, every third frame of them, and parts of them packed
again as MPEG-4; videos cut from them at random, to and fro and mirrored, as `rehearse_hmdb51` makes them; a camera that
pans by 9 px a frame over a still frame of each, and a patch that moves over one; drawn scenes; and noise.
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
from rehearse_hmdb51 import cut_videos

from flowstore.estimators.farneback.stream import FarnebackStream
from flowstore.quantize import Quantizer
from flowstore.scenes import MOTIONS, Scene
from flowstore.sources.listing import VIDEO_SUFFIXES

SIZES = (640, 272), (333, 187)
PAN_PX = 9
N_CUT = 30
SIDES = "kernel", "OpenCV, transposed"
QUANTIZER = Quantizer("centred", 20)


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


def move_patch(picture: np.ndarray, n_frames: int) -> Iterator[np.ndarray]:
    """Yield the picture with an upside-down part of itself that goes 2 px right and 1 px down a frame."""
    patch = picture[60:140, 80:180][::-1]
    for number in range(n_frames):
        frame = picture.copy()
        frame[40 + number : 120 + number, 40 + 2 * number : 140 + 2 * number] = patch
        yield frame


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
        yield "a patch that moves", to_grays(move_patch(cv2.resize(frames[0], (320, 240)), n_frames))
    if data:
        for path, _ in cut_videos(Path(data), folder, N_CUT):
            yield "cut at random, packed", to_grays(read_frames(path))
    noise = np.random.default_rng(0).integers(0, 256, (min(n_frames, 15), 120, 160), np.uint8)
    yield "noise", list(noise)
    for name in MOTIONS:
        yield "drawn scenes", to_grays(Scene(name, 272, 640, speed=6.0).frames(min(n_frames, 15)))


def opencv_flow(previous: np.ndarray, current: np.ndarray) -> np.ndarray:
    flow = cv2.calcOpticalFlowFarneback(previous, current, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    return flow.transpose(2, 0, 1)


def compare(frames: list[np.ndarray]) -> dict[str, list[dict[str, float]]]:
    """Return what `count` says of each pair: of the kernel and OpenCV, and of OpenCV transposed and OpenCV."""
    stream = FarnebackStream(*frames[0].shape)
    stream.push(frames[0])
    sides: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
    for number, (previous, current) in enumerate(pairwise(frames)):
        flow = opencv_flow(previous, current)
        sides[SIDES[0]].append(count(stream.push(current), flow))
        if number % 3 == 0:
            turned = opencv_flow(*(np.ascontiguousarray(frame.T) for frame in (previous, current)))
            sides[SIDES[1]].append(count(turned[::-1].transpose(0, 2, 1), flow))
    return sides


def count(flow: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Return how many codes differ, how many by more than one, and the largest differences."""
    codes, expected_codes = (QUANTIZER.encode(np.ascontiguousarray(one)).astype(np.int16) for one in (flow, expected))
    difference = np.abs(codes - expected_codes)
    return {
        "codes": codes.size,
        "unequal": int((difference > 0).sum()),
        "above_one": int((difference > 1).sum()),
        "largest": int(difference.max()),
        "largest_px": float(np.abs(flow - expected).max()),
    }


def add(counts: list[dict[str, float]]) -> dict[str, float]:
    """Return the counts of many as one."""
    sums = {name: sum(one[name] for one in counts) for name in ("codes", "unequal", "above_one")}
    return sums | {name: max(one[name] for one in counts) for name in ("largest", "largest_px")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=30, help="pairs of a clip that is cut, at most")
    parser.add_argument("--quick", action="store_true", help="drawn scenes of few frames")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    if options.quick:
        os.environ.pop("FLOWSTORE_DATA", None)
        options.pairs = 3
    cv2.setNumThreads(1)
    clips = []
    with tempfile.TemporaryDirectory(prefix="bench_agreement_") as folder:
        for kind, frames in iter_clips(options.pairs + 1, Path(folder)):
            sides = {side: add(counts) for side, counts in compare(frames).items()}
            clips.append({"kind": kind, "pairs": len(frames) - 1, **sides})
    rows = []
    for kind in [*dict.fromkeys(clip["kind"] for clip in clips), "all"]:
        chosen = [clip for clip in clips if kind in (clip["kind"], "all")]
        for side in SIDES:
            found = [clip[side] for clip in chosen]
            total = add(found)
            equal = min(1 - one["unequal"] / one["codes"] for one in found)
            rows.append(
                [
                    kind,
                    str(len(chosen)),
                    side,
                    f"{total['codes'] / 1e6:.1f}",
                    str(total["unequal"]),
                    f"{100 * equal:.5f}",
                    f"{total['above_one']} in {sum(one['above_one'] > 0 for one in found)} clips",
                    str(total["largest"]),
                    f"{total['largest_px']:.1e}",
                ]
            )
    n_pairs = sum(clip["pairs"] for clip in clips)
    print(f"OpenCV {cv2.__version__}, default parameters, {len(clips)} clips, {n_pairs} pairs\n")
    header = ["clips", "n", "against OpenCV", "codes, million", "unequal", "equal in the worst clip, %"]
    print(format_table([*header, "off by 2 or more", "largest", "largest, px"], rows))
    write_results(options.json, "agreement", {"clips": clips})


if __name__ == "__main__":
    main()
