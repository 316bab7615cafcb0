"""How fast the Farneback kernel is: against OpenCV, part by part, and against what one core can do.

One thread. Clips come from ``--video``, else from the folder in FLOWSTORE_DATA, else a scene is drawn (and
the table says so). Before anything is timed the two flows are compared. OpenCV and the kernel take turns,
round by round, so that a busy machine hurts both; the table gives medians over rounds and the quartiles.

The floor of a part is the time that its arithmetic would take at the peak rate, or its memory traffic at the
rate of the last-level cache, whichever is longer; both rates are measured in the same run. Arithmetic is
counted in single lanes of float32 instructions (a fused multiply-add is one, a float64 instruction two), as
the algorithm needs them: no loads, no shuffles, no pixels that a lane reads and does not use.

    python benchmarks/bench_farneback.py [--video FILE]... [--rounds 9] [--pairs 24] [--json FILE]
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import cv2
import numba
import numpy as np
from numba import njit

from flowstore.estimators.farneback import kernels as kernels
from flowstore.estimators.farneback.stream import FarnebackStream, compile_kernels
from flowstore.estimators.simd import fma, load, splat, store

PARAMETERS = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}
CLIPS = (
    "videos/SoccerJuggling/v_SoccerJuggling_g23_c01.avi",
    "videos/wave/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi",
    "videos/kinetics/R6llTwEh07w.mp4",
)
REQUIRED_RATIO = 2.5


def read_clip(path, n_frames):
    capture, frames = cv2.VideoCapture(str(path)), []
    while len(frames) < n_frames:
        good, frame = capture.read()
        if not good:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
    if len(frames) < 2:
        raise SystemExit(f"{path}: fewer than two frames could be read")
    return frames


def draw_clip(height, width, n_frames):
    """A textured background that drifts and turns, and two textured patches that move over it."""
    random = np.random.default_rng(0)
    side = height + width
    noise = cv2.GaussianBlur(random.integers(0, 256, (side, side)).astype(np.float32), (0, 0), 2.5)
    scene = cv2.normalize(noise, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)
    patch = scene[: height // 3, : width // 4][::-1].copy()
    frames = []
    for index in range(n_frames):
        turn = cv2.getRotationMatrix2D((side / 2, side / 2), 0.3 * index, 1 + 0.002 * index)
        turn[:, 2] += (0.7 * index, -0.4 * index)
        view = cv2.warpAffine(scene, turn, (side, side))
        frame = view[width // 2 : width // 2 + height, height // 2 : height // 2 + width].copy()
        for x, y in ((3 * index, index), (width // 2 - 2 * index, height // 2)):
            x, y = x % (width - patch.shape[1]), y % (height - patch.shape[0])
            frame[y : y + patch.shape[0], x : x + patch.shape[1]] = patch
        frames.append(frame)
    return frames


def find_clips(videos, n_frames):
    """Name and frames of each clip to measure."""
    if videos:
        return [(Path(video).name, read_clip(video, n_frames)) for video in videos]
    if "FLOWSTORE_DATA" in os.environ:
        folder = Path(os.environ["FLOWSTORE_DATA"])
        return [(Path(clip).name, read_clip(folder / clip, n_frames)) for clip in CLIPS]
    print("No --video and no FLOWSTORE_DATA: measuring drawn scenes, not real clips.\n")
    return [
        (f"drawn {width}x{height}", draw_clip(height, width, n_frames)) for height, width in ((240, 320), (256, 340))
    ]


def opencv_flows(frames):
    return [cv2.calcOpticalFlowFarneback(a, b, None, *PARAMETERS.values()) for a, b in pairwise(frames)]


def codes(flow):
    return np.clip(128 + np.rint(flow * np.float32(127 / 20)), 1, 255).astype(int)


def compare(stream, frames):
    """Share of equal codes at bound 20 over all pairs, and the largest difference."""
    expected = opencv_flows(frames)
    stream.push(frames[0])
    equal, largest = [], 0
    for frame, flow in zip(frames[1:], expected, strict=True):
        difference = np.abs(codes(stream.push(frame)) - codes(flow.transpose(2, 0, 1)))
        equal.append((difference == 0).mean())
        largest = max(largest, int(difference.max()))
    return float(np.mean(equal)), largest


def seconds(function, *arguments):
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def summary(samples_ms):
    quartiles = statistics.quantiles(samples_ms, n=4)
    return {"median": statistics.median(samples_ms), "q1": quartiles[0], "q3": quartiles[2]}


@njit(nogil=True, error_model="numpy")
def update_all(r0, r1, flow, fade, fade_row, ring, n_slots, level):
    for y in range(level[1]):
        kernels.update_row(r0, r1, flow, fade, fade_row, ring, y % n_slots, y, level)


@njit(nogil=True, error_model="numpy")
def solve_all(ring, sums, lines, window, scale, plan, out, level):
    m, n_slots, left, span, run = plan[0], plan[1], plan[2], plan[3], plan[4]
    h, stride = level[1], level[2]
    for y in range(h):
        kernels.slide_down(ring, (y + m) % n_slots, y % n_slots, sums, lines, span, left, level)
        row = kernels.PAD + y * stride
        kernels.solve_row(lines, span, left, m, run, window, scale, out, row, row + h * stride, level)


@njit(nogil=True, error_model="numpy")
def multiply_and_add(values, n):
    a, b, x = load(values, 0), load(values, 16), splat(np.float32(1e-3))
    c0, c1, c2, c3, c4, c5, c6, c7, c8, c9, c10, c11 = a, b, a, b, a, b, a, b, a, b, a, b
    for _ in range(n):
        c0, c1, c2, c3 = fma(c0, x, a), fma(c1, x, a), fma(c2, x, a), fma(c3, x, a)
        c4, c5, c6, c7 = fma(c4, x, a), fma(c5, x, a), fma(c6, x, a), fma(c7, x, a)
        c8, c9, c10, c11 = fma(c8, x, a), fma(c9, x, a), fma(c10, x, a), fma(c11, x, a)
    store(values, 0, (((c0 + c1) + (c2 + c3)) + ((c4 + c5) + (c6 + c7))) + ((c8 + c9) + (c10 + c11)))


@njit(nogil=True, error_model="numpy")
def read_all(values, sums):
    a, b, c, d = load(sums, 0), load(sums, 0), load(sums, 0), load(sums, 0)
    for x in range(0, values.size - 63, 64):
        a, b = a + load(values, x), b + load(values, x + 16)
        c, d = c + load(values, x + 32), d + load(values, x + 48)
    store(sums, 0, (a + b) + (c + d))


def measure_machine():
    """Peak rates of this core, the best of several tries: lanes of float32 arithmetic, bytes read from L3."""
    values, n = np.ones(64, np.float32), 200_000
    large, sums = np.zeros(1 << 20, np.float32), np.zeros(16, np.float32)
    multiply_and_add(values, 10)
    read_all(large, sums)
    lanes = max(12 * 16 * n / seconds(multiply_and_add, values, n) for _ in range(15))
    read = max(large.nbytes / seconds(read_all, large, sums) for _ in range(30))
    return {"lane_operations_per_s": lanes, "bytes_per_s": read}


def count_work(stream):
    """Lane operations and bytes that each part needs for one pair."""
    engine, p = stream._engine, stream.parameters
    height, width = engine.shape
    work = {name: [0.0, 0.0] for name in ("pyramid", "expansion", "update", "blur and solve", "upscaling")}

    def add(name, operations, n_bytes):
        work[name][0] += operations
        work[name][1] += n_bytes

    window = 2 * (p.winsize // 2) + 1
    run = int(engine.plan[4])
    for level in engine.levels:
        h, w = level.shape
        pixels, n_blur = h * w, level.blur.size
        sampled = 1 if level is engine.levels[0] else 2
        blurred_rows = min(sampled * h, height)
        add(
            "pyramid",
            height * width * n_blur + blurred_rows * width * n_blur,
            height * width * 5 + pixels * 4,
        )
        # Float64 counts twice. A tap is 8 down, 9 across and 6 across in float64; 4 to begin, 8 in float64 to end.
        add("expansion", pixels * ((8 + 9 + 2 * 6) * p.poly_n + 4 + 2 * 8), pixels * 24)
        # 10 for positions and weights, 40 to sample, 32 for the equations; both frames and flow are read.
        add("update", p.iterations * pixels * 82, p.iterations * pixels * 48)
        # Float64 counts twice: 5 sums down (1 + 4), 5 across, 22 to solve and one division as 16.
        across = 2 * 5 * (run + window // run + window % run - 2)
        add("blur and solve", p.iterations * pixels * (25 + across + 2 * (22 + 16)), p.iterations * pixels * 8)
        if level is not engine.levels[-1]:
            add("upscaling", pixels * 2 * 6, pixels * 8)
    return work


def measure_parts(stream, frames, rounds):
    """Milliseconds of each part for one pair: medians over `rounds`, summed over levels and iterations."""
    engine, iterations = stream._engine, stream.parameters.iterations
    samples = {name: [] for name in ("pyramid", "expansion", "update", "blur and solve", "upscaling")}
    before, after = engine.make_pyramid(), engine.make_pyramid()
    engine.expand(frames[0], before)
    engine.expand(frames[1], after)
    out = np.zeros(2 * frames[0].size, np.float32)
    engine.estimate(before, after, out)
    final = [level.flow.copy() for level in engine.levels]
    final[0][kernels.PAD : -kernels.PAD].reshape(2, engine.levels[0].shape[0], -1)[:, :, : frames[0].shape[1]] = (
        out.reshape(2, *frames[0].shape)
    )
    n_slots = int(engine.plan[1])
    for index in range(rounds + 1):
        spent = dict.fromkeys(samples, 0.0)
        for k, level in enumerate(engine.levels):
            spent["pyramid"] += seconds(engine.shrink_to, level)
            spent["expansion"] += seconds(engine.expand_image, level, before[k])
            if k < len(engine.levels) - 1:
                spent["upscaling"] += seconds(engine.enlarge_to, k)
            common = (level.fade, level.fade_row, engine.ring, n_slots, level.geometry)
            spent["update"] += iterations * seconds(update_all, before[k], after[k], final[k], *common)
            engine.sums[...] = 0
            solve = (engine.ring, engine.sums, engine.lines, engine.window, engine.scale, engine.plan)
            spent["blur and solve"] += iterations * seconds(solve_all, *solve, level.flow, level.geometry)
        if index:
            for name, value in spent.items():
                samples[name].append(value * 1e3)
    return {name: summary(values) for name, values in samples.items()}


def measure_clip(name, frames, rounds, machine):
    height, width = frames[0].shape
    stream = FarnebackStream(height, width, **PARAMETERS)
    equal, largest = compare(stream, frames)
    n_pairs = len(frames) - 1
    opencv_ms, kernel_ms = [], []
    for index in range(rounds + 1):
        opencv_s = seconds(opencv_flows, frames)
        kernel_s = seconds(lambda: [stream.push(frame) for frame in frames[1:]])
        if index:
            opencv_ms.append(opencv_s / n_pairs * 1e3)
            kernel_ms.append(kernel_s / n_pairs * 1e3)
    parts = measure_parts(stream, frames, max(rounds, 15))
    for part, (operations, n_bytes) in count_work(stream).items():
        floor_ms = 1e3 * max(operations / machine["lane_operations_per_s"], n_bytes / machine["bytes_per_s"])
        parts[part] |= {"operations": operations, "bytes": n_bytes, "floor": floor_ms}
        parts[part]["share_of_floor"] = floor_ms / parts[part]["median"]
    ratios = [a / b for a, b in zip(opencv_ms, kernel_ms, strict=True)]
    return {
        "clip": name,
        "width": width,
        "height": height,
        "pairs": n_pairs,
        "equal_codes": equal,
        "largest_difference": largest,
        "opencv_ms": summary(opencv_ms),
        "kernel_ms": summary(kernel_ms),
        "ratio": summary(ratios),
        "parts_ms": parts,
    }


def print_clip(result):
    print(f"{result['clip']}, {result['width']}x{result['height']}, {result['pairs']} pairs")
    print(f"  same codes {100 * result['equal_codes']:.4f} %, largest difference {result['largest_difference']}")
    print(f"  {'':16}{'ms a pair':>10}{'quartiles':>16}{'pairs/s':>10}{'floor ms':>10}{'share':>8}")
    for label, key in (("OpenCV", "opencv_ms"), ("kernel", "kernel_ms")):
        s = result[key]
        spread = f"{s['q1']:.3f}-{s['q3']:.3f}"
        floor = sum(part["floor"] for part in result["parts_ms"].values()) if key == "kernel_ms" else None
        end = f"{floor:>10.3f}{100 * floor / s['median']:>7.0f}%" if floor else ""
        print(f"  {label:16}{s['median']:>10.3f}{spread:>16}{1e3 / s['median']:>10.0f}{end}")
    for label, s in result["parts_ms"].items():
        spread = f"{s['q1']:.3f}-{s['q3']:.3f}"
        share = f"{s['floor']:>10.3f}{100 * s['share_of_floor']:>7.0f}%"
        print(f"    {label:14}{s['median']:>10.3f}{spread:>16}{'':>10}{share}")
    r = result["ratio"]
    print(f"  kernel / OpenCV: {r['median']:.2f} times the pairs/s (quartiles {r['q1']:.2f}-{r['q3']:.2f})\n")


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", action="append", help="measure this file (may be repeated)")
    parser.add_argument("--rounds", type=int, default=9, help="how often OpenCV and the kernel take turns")
    parser.add_argument("--pairs", type=int, default=24, help="pairs of frames a clip")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    arguments = parser.parse_args()
    if arguments.rounds < 2 or arguments.pairs < 1:
        parser.error("--rounds must be 2 or more and --pairs 1 or more")
    cv2.setNumThreads(1)
    clips = find_clips(arguments.video, arguments.pairs + 1)
    compile_kernels()
    machine = measure_machine()
    host = {
        "processor": processor(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "opencv": cv2.__version__,
        **machine,
    }
    print(f"{host['processor']}, one thread; Python {host['python']}, NumPy {host['numpy']}, ", end="")
    print(f"Numba {host['numba']}, OpenCV {host['opencv']}")
    print(
        f"peak {machine['lane_operations_per_s'] / 1e9:.0f} G multiply-adds/s in float32 lanes, "
        f"{machine['bytes_per_s'] / 1e9:.0f} GB/s read over 4 MB\n"
    )
    results = [measure_clip(name, frames, arguments.rounds, machine) for name, frames in clips]
    for result in results:
        print_clip(result)
    if arguments.json:
        report = {"machine": host, "parameters": PARAMETERS, "clips": results}
        Path(arguments.json).write_text(json.dumps(report, indent=1) + "\n")
    slow = [r["clip"] for r in results if r["ratio"]["median"] < REQUIRED_RATIO]
    wrong = [r["clip"] for r in results if r["equal_codes"] < 0.999]
    for clip in wrong:
        print(f"{clip}: not OpenCV's flow", file=sys.stderr)
    for clip in slow:
        print(f"{clip}: less than {REQUIRED_RATIO} times OpenCV's speed", file=sys.stderr)
    return 1 if slow or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
