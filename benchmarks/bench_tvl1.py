"""How fast the TV-L1 kernel is: against OpenCV, part by part, against what one core can do, and for a whole dataset.

One thread, timed in CPU seconds, to which a busy machine adds little. Clips come from ``--video``, else from the folder
in FLOWSTORE_DATA, else a scene is drawn (and the output says so). OpenCV's TV-L1 is in its contrib modules, which
cannot be installed beside opencv-python. So FLOWSTORE_CONTRIB_PYTHON names the Python of another environment that has
them,

    python -m venv contrib && contrib/bin/pip install opencv-contrib-python-headless
    FLOWSTORE_CONTRIB_PYTHON=contrib/bin/python python benchmarks/bench_tvl1.py

and a process of it takes turns with the kernel, round by round, timing itself. Without it OpenCV is left out. Flows are
compared before anything is timed: the mean difference, and the share of codes at bound 20 within one of OpenCV's.
Beside them stands how far OpenCV's flow is from its own when the frames are changed by one part in ten million: where
a picture says little TV-L1 lets any rounding grow, and no other code can be nearer than that.

The floor of a part is its arithmetic at the rates measured in the same run: float32 lanes (a fused multiply-add is
one), and roots and divisions, which have a unit of their own. No loads and no shuffles are counted. A part is the least
of several tries.

    python benchmarks/bench_tvl1.py [--video FILE]... [--rounds 5] [--pairs 6] [--json FILE] [--plot FILE] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from bench_farneback import draw_clip, multiply_and_add
from measuring import describe_machine, format_table, summarize, write_results
from numba import njit

from flowstore.estimators import compile_engine, make_estimator
from flowstore.estimators.parameters import tvl1_params
from flowstore.estimators.simd import load, splat, sqrt, store
from flowstore.estimators.tvl1 import kernels
from flowstore.estimators.tvl1.stream import Tvl1Stream
from flowstore.pipeline import extract
from flowstore.scenes import Scene

CLIPS = (
    "videos/SoccerJuggling/v_SoccerJuggling_g23_c01.avi",
    "videos/cartwheel/Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi",
    "videos/wave/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi",
    "videos/kinetics/R6llTwEh07w.mp4",
)
ROAD = "truth/kitti/kitti_000010"
HMDB51_PAIRS = 632_000
REQUIRED_RATIO = 10.0
MARGIN = 32
NUDGE = 1e-7
ALGORITHMS = {
    "Farneback, OpenCV": ("farneback", "opencv", {}),
    "Farneback": ("farneback", "numba", {}),
    "DIS fast": ("dis", "opencv", {"preset": "fast"}),
    "DIS medium": ("dis", "opencv", {}),
    "TV-L1": ("tvl1", "numba", {}),
}
OPENCV = "TV-L1, OpenCV"


class OpenCV:
    """OpenCV's TV-L1 in the environment that has it."""

    def __init__(self, python: str, folder: Path) -> None:
        script = Path(__file__).with_name("opencv_tvl1.py")
        self._folder = folder
        self._process = subprocess.Popen(
            [python, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": ""},
        )
        self.version = self._answer()["opencv"]

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("FLOWSTORE_CONTRIB_PYTHON: OpenCV's process ended; has it cv2.optflow?")
        return json.loads(line)

    def flows(self, frames: np.ndarray, nudge: float = 0.0) -> np.ndarray:
        """Return the flow of every pair, float32 (n, 2, H, W); `nudge` changes each gray value by such a share."""
        np.save(self._folder / "frames.npy", frames)
        self._run(len(frames) - 1, str(self._folder / "flows.npy"), nudge)
        return np.load(self._folder / "flows.npy")

    def seconds(self, n_pairs: int) -> float:
        """Return what the first pairs of the frames last given take."""
        return self._run(n_pairs, None)

    def _run(self, n_pairs: int, flows: str | None, nudge: float = 0.0) -> float:
        task = {"frames": str(self._folder / "frames.npy"), "n_pairs": n_pairs, "flows": flows, "nudge": nudge}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        return self._answer()["seconds"]


def read_clip(path: Path, n_frames: int) -> np.ndarray:
    """Return gray frames from the middle of a clip."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        good, frame = capture.read()
        if not good:
            break
        frames.append(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))
    if len(frames) < 2:
        raise SystemExit(f"{path}: fewer than two frames could be read")
    start = max(0, len(frames) // 2 - n_frames // 2)
    return np.stack(frames[start : start + n_frames])


def find_clips(videos: list[str] | None, n_frames: int) -> list[tuple[str, np.ndarray]]:
    """Return name and frames of each clip to measure."""
    if videos:
        return [(Path(video).name, read_clip(Path(video), n_frames)) for video in videos]
    if "FLOWSTORE_DATA" in os.environ:
        folder = Path(os.environ["FLOWSTORE_DATA"])
        return [(Path(clip).name, read_clip(folder / clip, n_frames)) for clip in CLIPS]
    print("No --video and no FLOWSTORE_DATA: measuring drawn scenes, not real clips.\n")
    sizes = ((240, 320), (256, 340))
    return [(f"drawn {w}x{h}", np.stack(draw_clip(h, w, n_frames))) for h, w in sizes]


def push_all(stream: Any, frames: np.ndarray) -> None:
    """Compute the flow of every pair."""
    for frame in frames[1:]:
        stream.push(frame)


def codes(flow: np.ndarray) -> np.ndarray:
    """Return centred codes at bound 20."""
    return np.clip(128 + np.rint(flow * np.float32(127 / 20)), 1, 255).astype(int)


def compare(flows: np.ndarray, expected: np.ndarray) -> dict[str, float]:
    """Return how far flows (n, 2, H, W) are from others."""
    difference = np.abs(flows - expected).mean(axis=(1, 2, 3))
    within = (np.abs(codes(flows) - codes(expected)) <= 1).mean(axis=(1, 2, 3))
    return {
        "mean_px": float(difference.mean()),
        "worst_pair_px": float(difference.max()),
        "within_one": float(within.mean()),
        "worst_pair_within_one": float(within.min()),
    }


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Return the CPU time of one call."""
    started = time.process_time()
    function(*arguments)
    return time.process_time() - started


def take_turns(contenders: dict[str, Callable[[], float]], n_rounds: int) -> dict[str, list[float]]:
    """Ask each contender for its seconds once a round; the order turns around every other round."""
    taken: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(n_rounds):
        for name in list(contenders)[:: 1 if number % 2 == 0 else -1]:
            taken[name].append(contenders[name]())
    return taken


@njit(nogil=True, error_model="numpy")
def take_roots(values, n):
    a, b, c, d = load(values, 0), load(values, 16), load(values, 32), load(values, 48)
    for _ in range(n):
        a, b, c, d = sqrt(a), sqrt(b), sqrt(c), sqrt(d)
    store(values, 0, (a + b) + (c + d))


@njit(nogil=True, error_model="numpy")
def divide(values, n):
    a, b, c, d, x = load(values, 0), load(values, 16), load(values, 32), load(values, 48), splat(np.float32(1.5))
    for _ in range(n):
        a, b, c, d = x / a, x / b, x / c, x / d
    store(values, 0, (a + b) + (c + d))


def measure_machine() -> dict[str, float]:
    """Return the peak rates of this core, the best of several tries, in lanes of float32 a second."""
    rates = {}
    for name, loop, n_chains in (
        ("operations_per_s", multiply_and_add, 12),
        ("roots_per_s", take_roots, 4),
        ("divisions_per_s", divide, 4),
    ):
        values = np.full(64, 1.2, np.float32)
        loop(values, 10)
        n = 50_000
        rates[name] = max(n_chains * 16 * n / seconds(loop, values, n) for _ in range(15))
    return rates


def measure_parts(stream: Tvl1Stream, frames: np.ndarray, rounds: int, machine: dict[str, float]) -> dict[str, Any]:
    """Return the least milliseconds of each part for a pair, summed over levels and warps, and the floors."""
    engine = stream._engine
    before, after = stream._pyramids[:2]
    engine.counts[:] = 0
    engine.reduce(frames[0], before)
    least = {"pyramid": min(seconds(engine.reduce, frames[1], after) for _ in range(rounds))}
    least |= dict.fromkeys(("gradient", "warp", "median", "iterations", "upscaling"), 0.0)
    engine.levels[-1].flow[...] = 0
    for k in reversed(range(len(engine.levels))):
        level = engine.levels[k]
        if k < len(engine.levels) - 1:
            least["upscaling"] += min(seconds(engine.enlarge_to, k) for _ in range(rounds))
        start, counted = level.flow.copy(), engine.counts.copy()
        solve_s = []
        for _ in range(rounds):
            level.flow[...], engine.counts[...] = start, counted
            solve_s.append(seconds(engine.solve_at, k, before[k], after[k]))
        found = level.flow.copy()
        _, _, n_warps, n_medians = (engine.counts - counted) // (level.shape[0] * level.shape[1])
        warp = (level.flow, before[k], engine.quads, engine.model, engine.corners, engine.lines, level.geometry)
        median = (level.flow, engine.other_flow, engine.lines, level.geometry)
        parts = {
            "gradient": min(
                seconds(kernels.differentiate, after[k], *warp[2:3], level.geometry) for _ in range(rounds)
            ),
            "warp": n_warps * min(seconds(kernels.warp, *warp) for _ in range(rounds)),
            "median": n_medians * min(seconds(kernels.median_five, *median) for _ in range(rounds)),
        }
        parts["iterations"] = min(solve_s) - sum(parts.values())
        for name, value in parts.items():
            least[name] += value
        level.flow[...] = found
    needed, _, warped, filtered = engine.counts
    pixels = sum(level.shape[0] * level.shape[1] for level in engine.levels)
    operation, root, division = (1e3 / machine[name] for name in ("operations_per_s", "roots_per_s", "divisions_per_s"))
    floors = {
        "pyramid": 5 * pixels * operation,
        "gradient": 4 * pixels * operation,
        # 45 to place, 16 lanes by 4 rows, one column and two sums, 9 for the data term.
        "warp": warped * ((45 + 16 * 5 + 12 + 9) * operation + division),
        "median": filtered * 2 * 106 * operation,
        # The primal step in lanes alone; of the dual one the slower of its two units.
        "iterations": needed * (19 * operation + max(20 * operation, 2 * root + division)),
        "upscaling": 2 * 6 * pixels * operation,
    }
    return {
        name: {"least": 1e3 * value, "floor": floors[name], "share_of_floor": floors[name] / (1e3 * value)}
        for name, value in least.items()
    } | {"million_pixel_iterations": float(needed / 1e6)}


def is_as_close(difference: dict[str, float], opencvs_own: dict[str, float]) -> bool:
    """Tell whether flow is OpenCV's as nearly as OpenCV's is its own."""
    if difference["mean_px"] <= 0.01 and difference["within_one"] >= 0.99:
        return True
    outside, own = 1 - difference["within_one"], 1 - opencvs_own["within_one"]
    return difference["mean_px"] <= 1.5 * opencvs_own["mean_px"] and outside <= 1.5 * own


def measure_clip(
    name: str, frames: np.ndarray, rounds: int, machine: dict[str, float], opencv: OpenCV | None
) -> dict[str, Any]:
    """Compare and time one clip."""
    height, width = frames[0].shape
    n_pairs = len(frames) - 1
    stream = Tvl1Stream(height, width, tvl1_params())
    stream.push(frames[0])
    flows = np.stack([stream.push(frame).copy() for frame in frames[1:]])
    result: dict[str, Any] = {"clip": name, "width": width, "height": height, "pairs": n_pairs}
    contenders = {"kernel": lambda: seconds(push_all, stream, frames)}
    if opencv:
        expected = opencv.flows(frames)
        result["difference"] = compare(flows, expected)
        result["opencv_nudged"] = compare(opencv.flows(frames, NUDGE), expected)
        contenders = {"OpenCV": lambda: opencv.seconds(n_pairs)} | contenders
    taken = take_turns(contenders, rounds)
    for side, values in taken.items():
        result[f"{side}_ms"] = summarize([1e3 * value / n_pairs for value in values])
    if opencv:
        result["ratio"] = summarize([a / b for a, b in zip(taken["OpenCV"], taken["kernel"], strict=True)])
    result["parts_ms"] = measure_parts(stream, frames, max(rounds, 7), machine)
    return result


def print_clip(result: dict[str, Any]) -> None:
    """Print one clip's figures."""
    print(f"{result['clip']}, {result['width']}x{result['height']}, {result['pairs']} pairs")
    if "ratio" in result:
        for what, key in (("the kernel", "difference"), ("OpenCV on nudged frames", "opencv_nudged")):
            c = result[key]
            print(
                f"{what} against OpenCV: mean {c['mean_px']:.4f} px, worst pair {c['worst_pair_px']:.4f}; "
                f"codes within one {100 * c['within_one']:.2f} %, worst pair {100 * c['worst_pair_within_one']:.2f} %"
            )
        print()
    rows = []
    for side in ("OpenCV", "kernel"):
        if f"{side}_ms" in result:
            s = result[f"{side}_ms"]
            rows.append(
                [side, f"{s['median']:.1f}", f"{s['min']:.1f} to {s['max']:.1f}", f"{1e3 / s['median']:.1f}", "", ""]
            )
    for part, s in result["parts_ms"].items():
        if part != "million_pixel_iterations":
            rows.append(
                [
                    f"- {part}",
                    f"{s['least']:.2f}",
                    "",
                    "",
                    f"{s['floor']:.2f}",
                    f"{100 * s['share_of_floor']:.0f} %",
                ]
            )
    print(format_table(["", "ms a pair", "spread", "pairs/s", "floor ms", "share"], rows))
    print(f"{result['parts_ms']['million_pixel_iterations']:.1f} million pixel-iterations in the pair of the parts")
    if "ratio" in result:
        r = result["ratio"]
        print(f"kernel / OpenCV: {r['median']:.1f} times the pairs/s ({r['min']:.1f} to {r['max']:.1f})")
    print()


def known_motion() -> list[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Return name, two gray frames, flow and where it is known, of drawn scenes and of a road."""
    known = []
    for motion, speed in (("rotate", 2.3), ("zoom", 2.3), ("rotate", 6.3), ("zoom", 6.3)):
        scene = Scene(motion, 240, 320, speed, seed=3)
        frames = np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in scene.frames(2)])
        inside = np.zeros((240, 320), bool)
        inside[MARGIN:-MARGIN, MARGIN:-MARGIN] = True
        known.append((f"{motion} {speed} px", frames, scene.flow(), inside))
    folder = Path(os.environ.get("FLOWSTORE_DATA", ""), ROAD).parent
    if "FLOWSTORE_DATA" in os.environ and folder.exists():
        frames = [cv2.imread(str(folder / f"{Path(ROAD).name}_1{i}.png"), cv2.IMREAD_GRAYSCALE) for i in (0, 1)]
        picture = cv2.imread(str(folder / "kitti_occ_000010_10.png"), cv2.IMREAD_UNCHANGED).astype(np.float32)
        truth = (picture[..., 2:0:-1].transpose(2, 0, 1) - 2**15) / 64
        known.append(("KITTI 000010", np.stack(frames), truth, picture[..., 0] > 0))
    return known


def measure_accuracy(frames: np.ndarray, rounds: int, opencv: OpenCV | None) -> dict[str, Any]:
    """Return each algorithm's milliseconds a pair of a clip, and its end-point errors."""
    estimators = {name: make_estimator(*choice) for name, choice in ALGORITHMS.items()}
    known = known_motion()
    errors: dict[str, dict[str, float]] = {}
    for scene, pair, truth, where in known:
        flows = {}
        for name, estimator in estimators.items():
            stream = estimator.stream(*pair[0].shape)
            stream.push(pair[0])
            flows[name] = stream.push(pair[1]).copy()
        if opencv:
            flows[OPENCV] = opencv.flows(pair)[0]
        for name, flow in flows.items():
            errors.setdefault(name, {})[scene] = float(np.hypot(*(flow - truth))[where].mean())
    streams = {name: estimator.stream(*frames[0].shape) for name, estimator in estimators.items()}
    for stream in streams.values():
        stream.push(frames[0])
    n_pairs = len(frames) - 1
    contenders: dict[str, Callable[[], float]] = {
        name: lambda stream=stream: seconds(push_all, stream, frames) for name, stream in streams.items()
    }
    if opencv:
        opencv.flows(frames)
        contenders[OPENCV] = lambda: opencv.seconds(n_pairs)
    taken = take_turns(contenders, rounds)
    return {
        name: {"ms": 1e3 * summarize(values)["median"] / n_pairs, "error_px": errors[name]}
        for name, values in taken.items()
    }


def print_accuracy(accuracy: dict[str, Any]) -> None:
    """Print the algorithms' table."""
    scenes = list(next(iter(accuracy.values()))["error_px"])
    rows = [
        [name, f"{row['ms']:.1f}", *(f"{row['error_px'][scene]:.3f}" for scene in scenes)]
        for name, row in accuracy.items()
    ]
    print("mean end-point error in pixels, and milliseconds a pair of the first clip\n")
    print(format_table(["algorithm", "ms a pair", *scenes], rows))
    print()


def draw(path: str, accuracy: dict[str, Any]) -> None:
    """Draw milliseconds a pair against end-point error."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    scenes = list(next(iter(accuracy.values()))["error_px"])
    shown = {"small motion (turn and zoom, 2.3 px)": [scene for scene in scenes if scene.endswith("2.3 px")]}
    if scenes[-1].startswith("KITTI"):
        shown["large motion (KITTI 000010)"] = scenes[-1:]
    figure, axes = plt.subplots(1, len(shown), figsize=(5 * len(shown), 4), squeeze=False, layout="constrained")
    for axis, (title, names) in zip(axes[0], shown.items(), strict=True):
        for number, (name, row) in enumerate(accuracy.items()):
            error = float(np.mean([row["error_px"][scene] for scene in names]))
            color = {"F": "C0", "D": "C1", "T": "C2"}[name[0]]
            axis.plot(row["ms"], error, "o" if "OpenCV" not in name else "s", color=color)
            # Two of one error lie side by side: the names take turns above and below.
            up = 7 if number % 2 == 0 else -13
            axis.annotate(name, (row["ms"], error), xytext=(0, up), textcoords="offset points", ha="center", fontsize=8)
        axis.set(
            title=title, xscale="log", xlabel="milliseconds per pair of 320×240", ylabel="mean end-point error, px"
        )
        axis.margins(x=0.3, y=0.15)
        axis.set_ylim(bottom=0, top=1.15 * axis.dataLim.ymax)
        axis.grid(color="0.9")
    figure.savefig(path, dpi=110)


def cpu_seconds() -> float:
    """Return the CPU time of this process and of those that it has seen end."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def measure_job(work: Path, opencv_ms: float | None) -> dict[str, Any] | None:
    """Extract the real clips with one worker and two; compute from the CPU time the hours of HMDB51."""
    if "FLOWSTORE_DATA" not in os.environ:
        return None
    result: dict[str, Any] = {}
    videos = Path(os.environ["FLOWSTORE_DATA"]) / "videos"
    for workers in (1, 2):
        started = cpu_seconds()
        report = extract(
            videos, work / f"{workers}.zarr", algorithm="tvl1", workers=workers, scheduler="processes", size=(240, 320)
        )
        cpu_ms = 1e3 * (cpu_seconds() - started) / report.n_flows
        result[str(workers)] = {
            "flows": report.n_flows,
            "flows_per_s": report.n_flows / report.seconds,
            "cpu_ms_a_flow": cpu_ms,
        }
    for cores in (2, 8):
        result[f"hours_on_{cores}"] = HMDB51_PAIRS * result["2"]["cpu_ms_a_flow"] / 3.6e6 / cores
        if opencv_ms:
            result[f"opencv_hours_on_{cores}"] = HMDB51_PAIRS * opencv_ms / 3.6e6 / cores
    return result


def print_job(job: dict[str, Any]) -> None:
    """Print the whole job's figures."""
    rows = [
        [workers, f"{row['flows']}", f"{row['flows_per_s']:.1f}", f"{row['cpu_ms_a_flow']:.1f}"]
        for workers, row in job.items()
        if workers in ("1", "2")
    ]
    print("extract --algorithm tvl1 of the real clips at 320×240, from video file to store\n")
    print(format_table(["workers", "flows", "flows/s of this busy machine", "CPU ms a flow"], rows))
    print(f"\nan estimate for HMDB51's {HMDB51_PAIRS} pairs, from CPU time, every core free:")
    for cores in (2, 8):
        beside = (
            f"; OpenCV's flow alone {job[f'opencv_hours_on_{cores}']:.0f}" if f"opencv_hours_on_{cores}" in job else ""
        )
        print(f"- {cores} cores: {job[f'hours_on_{cores}']:.1f} hours{beside}")


def main() -> int:
    """Measure, print, and tell whether the kernel is as fast and as close as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", action="append", help="measure this file (may be repeated)")
    parser.add_argument("--rounds", type=int, default=5, help="how often OpenCV and the kernel take turns")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of frames a clip")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--plot", metavar="FILE", help="draw time against error there")
    parser.add_argument("--quick", action="store_true", help="one clip, two pairs, two rounds, no whole job")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.rounds, arguments.pairs = 2, 2
    if arguments.rounds < 2 or arguments.pairs < 1:
        parser.error("--rounds must be 2 or more and --pairs 1 or more")
    cv2.setNumThreads(1)
    clips = find_clips(arguments.video, arguments.pairs + 1)[: 1 if arguments.quick else None]
    compile_engine("numba")
    machine = measure_machine()
    with tempfile.TemporaryDirectory() as folder:
        python = os.environ.get("FLOWSTORE_CONTRIB_PYTHON")
        opencv = OpenCV(python, Path(folder)) if python else None
        print(f"{describe_machine()['processor']}, one thread; ", end="")
        print(
            f"OpenCV {opencv.version}" if opencv else "FLOWSTORE_CONTRIB_PYTHON is not set: OpenCV's TV-L1 is left out"
        )
        rates = ", ".join(f"{value / 1e9:.0f} G {name.partition('_')[0]}/s" for name, value in machine.items())
        print(f"peak in float32 lanes: {rates}\n")
        results = []
        for name, frames in clips:
            results.append(measure_clip(name, frames, arguments.rounds, machine, opencv))
            print_clip(results[-1])
        accuracy = measure_accuracy(clips[0][1], arguments.rounds, opencv)
        print_accuracy(accuracy)
        # HMDB51's frames are 240 high, as those of all clips but the last.
        alike = [r for r in results if r["height"] == 240] or results
        opencv_ms = float(np.mean([r["OpenCV_ms"]["median"] for r in alike])) if opencv else None
        job = None if arguments.quick else measure_job(Path(folder), opencv_ms)
        if job:
            print_job(job)
    figures = {"rates": machine, "parameters": tvl1_params(), "clips": results, "algorithms": accuracy, "job": job}
    write_results(arguments.json, "tvl1", figures)
    if arguments.plot:
        draw(arguments.plot, accuracy)
    wrong = [r["clip"] for r in results if "difference" in r and not is_as_close(r["difference"], r["opencv_nudged"])]
    slow = [r["clip"] for r in results if "ratio" in r and r["ratio"]["median"] < REQUIRED_RATIO]
    for clip in wrong:
        print(f"{clip}: not OpenCV's flow", file=sys.stderr)
    for clip in slow:
        print(f"{clip}: less than {REQUIRED_RATIO} times OpenCV's speed", file=sys.stderr)
    return 1 if slow or wrong else 0


if __name__ == "__main__":
    sys.exit(main())
