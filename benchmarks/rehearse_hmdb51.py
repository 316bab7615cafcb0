"""A dataset of HMDB51's shape through every command, from video files to a trained epoch, every answer checked.

    FLOWSTORE_DATA=clips python benchmarks/rehearse_hmdb51.py [--share 0.05] [--work FOLDER] [--json FILE]
    python benchmarks/rehearse_hmdb51.py --tell FILE      # print again what such a FILE holds

6,766 videos of 320×240 in 51 classes, of HMDB51's lengths: 18 to 1,063 frames, about 93 on average. They are cut from
the real clips (other starts, directions and mirrored pictures, played to and fro where a clip is shorter) into some
hundreds of different videos; the others are copies of these under names of their own. Sixteen names hold ``[`` and
``]``; three files are truncated and one is text. ``--share`` takes a part of the videos.

A step is a process of its own. Its memory is the largest sum over it and its children, shared pages counted once (PSS;
RSS where the system has no PSS). Its CPU seconds tell what it would take on a machine that nobody else uses.

What a flow costs in the whole is compared with the same commands on every twentieth video. What they take for one
video, which is mostly starting up, is taken off both sides: a twentieth would promise too much otherwise.

The loop that people write runs over every twentieth video, decoded to frame folders before (not counted), and its time
is scaled to all flows. Cold clips are read after every file of the side was evicted from the page cache by
``posix_fadvise``; a virtual machine's disk may keep a cache of its own, which nothing here can empty.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
from bench_extract import read_frames
from clips import HEIGHT, WIDTH, evict, find_videos
from measuring import describe_machine, format_table, write_results

import flowstore
from flowstore.sources.listing import VIDEO_SUFFIXES

N_FLOWS = 632_000
N_VIDEOS, N_CLASSES, N_BRACKETS, N_DAMAGED, N_ADDED = 6766, 51, 16, 4, 10
SHORTEST, LONGEST, MEDIAN, SIGMA = 18, 1063, 80, 0.55
N_DIFFERENT = 400
LENGTH, N_COLD = 10, 400
# Of earlier runs: bytes a flow of what is there at the same time, and flows/s of one free core.
DISK_PER_FLOW = {"videos": 3_500, "the store": 28_000, "JPEG folders or a copy": 28_000, "a store to kill": 7_000}
FLOWS_PER_S, LOOP_FLOWS_PER_S = 150, 60
HERE = Path(__file__).parent


@dataclass
class Step:
    """What a process took, and what it printed."""

    name: str
    exit_code: int
    seconds: float
    cpu_s: float
    peak_bytes: int
    printed: Any = None
    n_flows: int = 0
    size_bytes: int = 0
    n_files: int = 0

    def row(self) -> list[str]:
        rate = f"{self.n_flows / self.seconds:.0f}" if self.n_flows else ""
        per_cpu = f"{self.n_flows / self.cpu_s:.0f}" if self.n_flows else ""
        size = f"{self.size_bytes / 1e6:.0f}" if self.size_bytes else ""
        return [
            self.name,
            f"{self.seconds:.1f}",
            f"{self.cpu_s:.1f}",
            rate,
            per_cpu,
            f"{self.peak_bytes / 2**20:.0f}",
            size,
            str(self.n_files or ""),
            str(self.exit_code),
        ]


def require(is_right: bool, what: str) -> None:
    """End the rehearsal where an answer is not what it has to be."""
    if not is_right:
        raise SystemExit(f"wrong: {what}")


def tree_memory(pid: int) -> int:
    """Return the bytes of memory of a process and those below it."""
    total = 0
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                info = one.memory_full_info()
                total += getattr(info, "pss", info.rss)
    return total


def run(name: str, command: Sequence[object], exit_code: int = 0, until: Callable[[], bool] | None = None) -> Step:
    """Run a process to its end, or kill it once `until` holds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak, started = 0, time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen([sys.executable, *map(str, command)], stdout=out, stderr=err, start_new_session=True)
        try:
            while process.poll() is None:
                peak = max(peak, tree_memory(process.pid))
                if until is not None and until():
                    process.kill()
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.2)
            seconds = time.perf_counter() - started
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        out.seek(0)
        err.seek(0)
        printed, said = out.read(), err.read()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    require(process.returncode == exit_code, f"{name} ended with {process.returncode}, not {exit_code}: {said}")
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Step(name, process.returncode, seconds, cpu_s, peak, json.loads(printed) if printed else None)


def run_flowstore(*arguments: object, name: str = "", **options: Any) -> Step:
    """Run a command of flowstore."""
    return run(name or str(arguments[0]), ["-m", "flowstore", *arguments, "--json"], **options)


def weigh(step: Step, place: Path) -> None:
    """Note bytes and files of what a step left."""
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    step.size_bytes, step.n_files = sum(path.stat().st_size for path in files), len(files)


def draw_lengths(n_videos: int) -> list[int]:
    """Return numbers of frames spread like HMDB51's: a log-normal's quantiles, with the two ends."""
    normal = statistics.NormalDist(np.log(MEDIAN), SIGMA)
    lengths = [round(float(np.exp(normal.inv_cdf((number + 0.5) / n_videos)))) for number in range(n_videos)]
    return [SHORTEST, *(min(max(length, SHORTEST), LONGEST) for length in lengths[1:-1]), LONGEST]


def cut_videos(clips: Path, folder: Path, n_videos: int) -> list[tuple[Path, int]]:
    """Write different videos of the real clips; return each with its number of frames."""
    footage = [
        [cv2.resize(frame, (WIDTH, HEIGHT)) for frame in read_frames(path)]
        for path in sorted(clips.rglob("*"))
        if path.suffix.lower() in VIDEO_SUFFIXES
    ]
    chance = random.Random(0)
    written = []
    for number, length in enumerate(draw_lengths(n_videos)):
        frames = footage[number % len(footage)]
        # To and fro through the clip: at the ends the motion turns, and no frame comes twice in a row.
        there_and_back = [*range(len(frames)), *range(len(frames) - 2, 0, -1)]
        start, direction, is_mirrored = chance.randrange(len(frames)), chance.choice((1, -1)), chance.random() < 0.5
        path = folder / f"{number}.avi"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"XVID"), 30.0, (WIDTH, HEIGHT))
        for place in range(length):
            frame = frames[there_and_back[(start + direction * place) % len(there_and_back)]]
            writer.write(cv2.flip(frame, 1) if is_mirrored else frame)
        writer.release()
        written.append((path, length))
    return written


def lay_out(different: list[tuple[Path, int]], folder: Path, n_videos: int) -> tuple[dict[str, int], list[str]]:
    """Write class/video.avi; return the number of frames of each whole video, and the names of the damaged."""
    lengths, damaged = {}, []
    for number in range(n_videos):
        source, length = different[number % len(different)]
        name = f"Some_Film_[HD]_{number:04d}" if number < N_BRACKETS else f"some_film_clip_{number:04d}"
        key = f"class_{number % N_CLASSES:02d}/{name}"
        path = folder / f"{key}.avi"
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, path)
        if number >= n_videos - N_DAMAGED:
            damaged.append(key)
            if number == n_videos - 1:
                path.write_text("this is no video\n" * 100)
            else:
                os.truncate(path, path.stat().st_size // 2)
        else:
            lengths[key] = length
    return lengths, sorted(damaged)


def compare_with_opencv(store: Path, videos: Path, keys: Sequence[str]) -> dict[str, float]:
    """Return the share of codes that are those of OpenCV's decoder, gray, flow and the formula of `centred`."""
    equal, n_codes, largest = 0, 0, 0
    opened = flowstore.open_store(store)
    for key in keys:
        grays = [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in read_frames(videos / f"{key}.avi")]
        codes = opened[key].codes[:]
        require(len(codes) == len(grays) - 1, f"{key} has {len(codes)} flows of {len(grays)} frames")
        for previous, current, mine in zip(grays, grays[1:], codes, strict=False):
            flow = cv2.calcOpticalFlowFarneback(previous, current, None, 0.5, 3, 15, 3, 5, 1.2, 0)
            theirs = np.clip(128 + np.rint(flow.transpose(2, 0, 1) * (127 / 20)), 1, 255)
            difference = np.abs(mine - theirs)
            equal += int((difference == 0).sum())
            n_codes += difference.size
            largest = max(largest, int(difference.max()))
    require(equal > 0.999 * n_codes, f"{n_codes - equal} of {n_codes} codes are not OpenCV's")
    return {"videos": len(keys), "equal_codes": equal / n_codes, "largest_difference": largest}


def read_cold(store: Path, jpeg: Path, lengths: dict[str, int]) -> dict[str, float]:
    """Return the median milliseconds of a random clip of either side, its files evicted before and then in memory."""
    chance = random.Random(1)
    keys = chance.sample(sorted(lengths), min(N_COLD, len(lengths)))
    windows = [(key, chance.randrange(lengths[key] - LENGTH)) for key in keys]
    opened, out = flowstore.open_store(store), np.empty((LENGTH, 2, HEIGHT, WIDTH), np.uint8)

    def read_jpegs(key: str, start: int) -> None:
        for number, flow in enumerate(out, start + 1):
            for component, name in zip(flow, "xy", strict=True):
                path = str(jpeg / key / f"{name}_{number:05d}.jpg")
                component[...] = cv2.imread(path, cv2.IMREAD_GRAYSCALE)

    readers = {
        "store": lambda key, start: opened[key].read_codes(start, start + LENGTH, out=out),
        "JPEG folder": read_jpegs,
    }
    milliseconds: dict[str, list[float]] = {}
    os.sync()
    evict(store, jpeg)
    for state in ("cold", "warm"):
        for number, window in enumerate(windows):
            for name in list(readers)[:: 1 if number % 2 else -1]:
                started = time.perf_counter()
                readers[name](*window)
                milliseconds.setdefault(f"{name}, {state}", []).append(1e3 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in milliseconds.items()}


def rehearse(options: argparse.Namespace, work: Path) -> dict[str, Any]:
    """Run every step and check it; return what was measured."""
    clips, origin = find_videos(None, work)
    n_videos = max(round(N_VIDEOS * options.share), N_BRACKETS + N_DAMAGED)
    cut, videos = work / "cut", work / "hmdb51"
    cut.mkdir()
    different = cut_videos(clips, cut, min(N_DIFFERENT, n_videos))
    lengths, damaged = lay_out(different, videos, n_videos)
    n_flows = sum(length - 1 for length in lengths.values())
    print(f"{len(different)} different videos, {n_videos} files, {n_flows} flows", file=sys.stderr, flush=True)
    store, jpeg, killed, packed = (work / name for name in ("flow.zarr", "jpeg", "killed.zarr", "flow.zip"))
    steps: list[Step] = []

    def add(step: Step, flows: int = 0, place: Path | None = None) -> Any:
        step.n_flows = flows
        if place is not None:
            weigh(step, place)
        print(f"{step.name}: {step.seconds:.1f} s", file=sys.stderr, flush=True)
        steps.append(step)
        return step.printed

    made = add(run_flowstore("extract", videos, store, exit_code=1), n_flows, store)
    require(made["flows"] == n_flows, f"extract counts {made['flows']} flows, not {n_flows}")
    failed = sorted(f"{row['class']}/{row['video']}" for row in made["failed"])
    require(failed == damaged, f"failed are {failed}, not {damaged}")
    again = add(run_flowstore("extract", videos, store, name="extract again", exit_code=1))
    require((again["extracted"], again["done_before"]) == (0, len(lengths)), f"extract again did {again}")
    told = add(run_flowstore("info", store))
    require(
        (told["videos"], told["failed"], told["flows"]) == (len(lengths), N_DAMAGED, n_flows),
        f"info says {[told[k] for k in ('videos', 'failed', 'flows')]}",
    )
    counted = add(run_flowstore("stats", store), n_flows)
    require(counted["all"]["flows_counted"] == n_flows, f"stats counts {counted['all']['flows_counted']} flows")
    found = add(run_flowstore("verify", store, "--source", videos, name="verify --source"), n_flows)
    require(found["faults"] == [] and found["flows"] == n_flows, f"verify finds {found['faults']}")
    written = add(run_flowstore("export", store, jpeg, "--layout", "mmaction2", "--lists", "all"), n_flows, jpeg)
    require(written["files_written"] == 2 * n_flows, f"export wrote {written['files_written']} files")
    agreement = compare_with_opencv(store, videos, sorted(lengths)[:: max(1, len(lengths) // 12)])
    # As many clips as HMDB51 has videos, whatever the share.
    script, epoch = HERE / "training_epoch.py", ("--clips", 100 if options.quick else N_VIDEOS)
    mine = add(run("epoch from the store", [script, store, *epoch]))
    theirs = add(run("epoch from the JPEG folder", [script, store, "--jpeg", jpeg, *epoch]))
    require(mine["clips"] == theirs["clips"], f"{mine['clips']} and {theirs['clips']} clips")
    difference_px = abs(mine["mean_px"] - theirs["mean_px"])
    require(difference_px < 0.1, f"the first batches are {difference_px} px apart in the mean")
    reading = read_cold(store, jpeg, lengths)
    shutil.rmtree(jpeg)
    copied = add(run_flowstore("copy", store, packed), n_flows, packed)
    require((copied["flows"], copied["failed_rows"]) == (n_flows, N_DAMAGED), f"copy says {copied}")
    packed.unlink()
    for number, (path, _) in enumerate(different[:N_ADDED]):
        shutil.copyfile(path, videos / "class_00" / f"added_{number}.avi")
    n_added_flows = sum(length - 1 for _, length in different[:N_ADDED])
    added = add(run_flowstore("extract", videos, store, name="extract ten added", exit_code=1), n_added_flows)
    require((added["extracted"], added["flows"]) == (N_ADDED, n_added_flows), f"of ten added, {added}")

    # A quarter of the dataset, killed once half of it is done.
    n_part = n_videos // 4
    part = ("extract", videos, killed, "--limit", n_part)

    def is_half_done() -> bool:
        return sum(1 for _ in killed.glob("*/*/zarr.json")) >= n_part // 2

    add(run_flowstore(*part, name="extract a quarter, killed", exit_code=-signal.SIGKILL, until=is_half_done))
    n_done = sum(1 for _ in killed.glob("*/*/zarr.json"))
    resumed = add(run_flowstore(*part, name="resume"))
    require(resumed["done_before"] + resumed["extracted"] == n_part, f"resuming did {resumed}")
    require(abs(resumed["done_before"] - n_done) <= 2, f"{resumed['done_before']} were done, {n_done} are on disk")
    whole, mended = flowstore.open_store(store), flowstore.open_store(killed)
    for video in mended.iter_videos():
        require(np.array_equal(video.codes[:], whole[video.key].codes[:]), f"{video.key} differs after a kill")
    shutil.rmtree(killed)

    # The loop, and flowstore on the very same frames.
    frames, loop_out, twentieth = work / "frames", work / "loop", work / "twentieth.zarr"
    keys = sorted(lengths)[:: min(20, len(lengths) // 3)]
    for key in keys:
        (frames / key).mkdir(parents=True)
        for number, frame in enumerate(read_frames(videos / f"{key}.avi"), 1):
            cv2.imwrite(str(frames / key / f"img_{number:05d}.jpg"), frame)
    n_loop = sum(lengths[key] - 1 for key in keys)
    loop = run("the loop on a twentieth", [HERE / "notebook_loop.py", frames, loop_out])
    require(add(loop, n_loop, loop_out) == n_loop, "the loop makes another number of flows")
    ours = run_flowstore("extract", frames, twentieth, name="extract of the same frames")
    require(add(ours, n_loop, twentieth)["flows"] == n_loop, "extract makes another number of flows")

    # What a small dataset promises: the same commands on every twentieth video file, and on one.
    for part, chosen in (("a twentieth", keys), ("one video", keys[:1])):
        few, small, out = (work / f"{name} of {part}" for name in ("videos", "store", "export"))
        for key in chosen:
            (few / key).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(videos / f"{key}.avi", few / f"{key}.avi")
        of_few: dict[str, Sequence[object]] = {
            "extract": (few, small),
            "stats": (small,),
            "verify --source": (small, "--source", few),
            "export": (small, out, "--layout", "mmaction2", "--lists", "all"),
            "copy": (small, out.with_suffix(".zip")),
        }
        for name, arguments in of_few.items():
            step = run_flowstore(name.split()[0], *arguments, name=f"{name}, {part}")
            add(step, sum(lengths[key] - 1 for key in chosen))
    return {
        "origin": origin,
        "share": n_videos / N_VIDEOS,
        "videos": n_videos,
        "different_videos": len(different),
        "flows": n_flows,
        "steps": {
            step.name: {name: value for name, value in vars(step).items() if name not in ("name", "printed")}
            for step in steps
        },
        "agreement_with_opencv": agreement,
        "epochs": {"store": mine, "JPEG folder": theirs},
        "clip_ms": reading,
        "cpu_ms_a_flow": {"the loop": 1e3 * loop.cpu_s / n_loop, "flowstore": 1e3 * steps[0].cpu_s / n_flows},
        "rows": [step.row() for step in steps],
    }


def compare_sizes(steps: dict[str, dict[str, Any]]) -> list[list[str]]:
    """Return the rows of what a flow of the whole costs beside one of a twentieth; older results have none."""
    rows = []
    for name in ("extract", "stats", "verify --source", "export", "copy"):
        whole, part, one = (steps.get(key) for key in (name, f"{name}, a twentieth", f"{name}, one video"))
        if whole is None or part is None:
            continue
        row = [name, f"{one['cpu_s']:.2f}" if one else "not run"]
        for key in ("cpu_s", "seconds"):
            start, n_first = (one[key], one["n_flows"]) if one else (0.0, 0)
            large, small = (1e3 * (step[key] - start) / (step["n_flows"] - n_first) for step in (whole, part))
            row += [f"{large:.3f}", f"{small:.3f}", f"{large / small:.2f}" if small > 0 else "too small"]
        rows.append(row)
    return rows


def tell(results: dict[str, Any], machine: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    header = ["step", "s", "CPU s", "flows/s", "per CPU s", "peak MiB", "MB", "files", "exit"]
    cores = machine["cores_used"]
    agreement, epochs, clip, cpu = (
        results[key] for key in ("agreement_with_opencv", "epochs", "clip_ms", "cpu_ms_a_flow")
    )
    rates = {name: epoch["clips"] / epoch["seconds"] for name, epoch in epochs.items()}
    reading = [[state, *(f"{clip[f'{side}, {state}']:.2f}" for side in rates)] for state in ("cold", "warm")]
    return "\n".join(
        [
            f"{results['origin']}: {results['different_videos']} different videos; {results['videos']} files, share "
            f"{results['share']:g} of HMDB51's {N_VIDEOS}; {results['flows']} flows; "
            f"{machine['processor']}, {cores} cores",
            "",
            format_table(header, results["rows"]),
            "",
            f"s far above CPU s / {cores}: others used the machine",
            "",
            f"codes equal to OpenCV's: {100 * agreement['equal_codes']:.4f} % in {agreement['videos']} videos, "
            f"largest difference {agreement['largest_difference']}",
            f"training, two workers, {epochs['store']['clips']} clips: {rates['store']:.0f} clips/s from the store, "
            f"{rates['JPEG folder']:.0f} from the JPEG folder: {rates['store'] / rates['JPEG folder']:.1f} ×",
            f"CPU ms a flow: {cpu['flowstore']:.1f} of flowstore, {cpu['the loop']:.1f} of the loop",
            f"HMDB51's {N_FLOWS} flows, estimated from CPU time, all cores free: flowstore "
            f"{cpu['flowstore'] * N_FLOWS / 3.6e6 / cores:.2f} hours on {cores} cores, the loop "
            f"{cpu['the loop'] * N_FLOWS / 3.6e6:.2f} (it uses one)",
            "",
            format_table(["ms a random clip of 10 flows, median", *rates], reading),
            "",
            format_table(
                [
                    *("ms a flow", "CPU s of one video, taken off"),
                    *("CPU, all videos", "a twentieth", "ratio", "wall, all videos", "a twentieth", "ratio"),
                ],
                compare_sizes(results["steps"]),
            ),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--share", type=float, default=1.0, help="of the 6,766 videos; 1 by default")
    parser.add_argument("--work", type=Path, help="folder on the disk to use; the system's temporary one by default")
    parser.add_argument("--quick", action="store_true", help="the fewest videos that hold every case")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--tell", type=Path, metavar="FILE", help="print such a file again, and run nothing")
    options = parser.parse_args()
    if options.tell:
        results = json.loads(options.tell.read_text())
        print(tell(results, results["machine"]))
        return
    options.share = 0.0 if options.quick else options.share
    n_flows = max(N_VIDEOS * options.share, 20) * 92
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    needed = sum(DISK_PER_FLOW.values()) * n_flows + 2e8
    minutes = (2 * n_flows / FLOWS_PER_S / cores + n_flows / 20 / LOOP_FLOWS_PER_S) / 60 + 2
    # Told to stop, it ends its step and leaves no gigabytes behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="rehearse_", dir=options.work) as folder:
        free = shutil.disk_usage(folder).free
        print(f"takes about {minutes:.0f} minutes on {cores} free cores and {needed / 1e9:.1f} GB", file=sys.stderr)
        if free < needed:
            raise SystemExit(f"{free / 1e9:.1f} GB are free, {needed / 1e9:.1f} GB are needed: choose another --work")
        results = rehearse(options, Path(folder))
    print(tell(results, describe_machine()))
    write_results(options.json, "rehearse_hmdb51", results)


if __name__ == "__main__":
    main()
