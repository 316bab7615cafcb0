"""Kills runs at random moments, again and again, and compares what they come to with a run that was left alone.

    python benchmarks/stress_kill.py --kills 200

A round extracts a dataset into a new store. Its command is killed at random moments, either its coordinator or one of
its worker processes by SIGKILL, and run again, until it ends by itself. Then the store has to equal that of a run that
was not disturbed (codes, records without their times, the index), `verify` has to find nothing, and nothing stray may
be left, in the store or beside it. On the way, whatever can be read has to be right.
"""

import argparse
import collections
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from datasets import command_line, process_environment, write_dataset, write_frames
from dying import content

import flowstore
from flowstore.verify import verify

N_VIDEOS, N_FRAMES = 5, 40
# Some 2 ms a flow on frames of 32×24.
SLOW = ["--engine", "opencv", "--param", "iterations=150"]
DEADLINE_S = 300


def start(source, store, scheduler):
    """Start the command, in a group of its own that nothing of survives."""
    flags = ["--scheduler", scheduler, "--workers", "2", "--quiet", *SLOW]
    return subprocess.Popen(
        command_line("extract", source, store, *flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=process_environment(),
        start_new_session=True,
    )


def is_worker(process):
    """Tell a worker from the helpers of multiprocessing beside it."""
    with contextlib.suppress(psutil.Error):
        return "spawn_main" in " ".join(process.cmdline())
    return False


def kill(process, chance):
    """Kill the coordinator or, half of the time, one of its workers; return what was killed."""
    workers = []
    with contextlib.suppress(psutil.Error):
        workers = [child for child in psutil.Process(process.pid).children(recursive=True) if is_worker(child)]
    if workers and chance.random() < 0.5:
        with contextlib.suppress(psutil.Error):
            chance.choice(workers).kill()
        return "worker"
    process.kill()
    return "coordinator"


def disturb(source, store, scheduler, chance, longest_s):
    """Run the command, kill something of it at a random moment; return what was killed, and whether it ended well."""
    process = start(source, store, scheduler)
    try:
        # What begins at a random moment has to be killed at one: there is no state of the world to wait for.
        try:
            process.communicate(timeout=chance.uniform(0, longest_s))
        except subprocess.TimeoutExpired:
            killed = kill(process, chance)
            if killed == "coordinator":
                process.communicate()
                # Its workers notice by themselves that it is gone.
                wait_for_group(process.pid)
                return killed, False
            _, err = process.communicate(timeout=DEADLINE_S)
            if process.returncode == 1 and "the worker processes did not start" in err and "Traceback" not in err:
                return killed, False
            assert process.returncode == 0, f"with a worker killed the run ended with {process.returncode}: {err}"
            return killed, True
        assert process.returncode == 0, process.returncode
        return None, True
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_for_group(number):
    """Wait until no process of a group is left that could still write."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            os.killpg(number, 0)
        except ProcessLookupError:
            return
        time.sleep(0.02)
    raise AssertionError("workers outlive their coordinator")


def check_readable(store, expected):
    """Compare every video that can be read half-way with what it has to be."""
    if not (store / "zarr.json").exists():
        return
    for video in flowstore.open_store(store).iter_videos():
        assert np.array_equal(video.codes[:], expected[video.key]), f"{video.key} reads wrong after a kill"


def check_whole(folder, store, source, whole):
    """Compare a finished store with one that was left alone."""
    left = content(store)
    assert left.keys() == whole.keys(), f"files differ: {sorted(left.keys() ^ whole.keys())}"
    assert left == whole, f"another content: {[name for name in left if left[name] != whole[name]]}"
    faults = verify(store, source=source).faults
    assert not faults, faults
    stray = set(os.listdir(folder)) - {"videos", "whole.zarr", store.name}
    assert not stray, stray


def stress(n_kills, seed, scheduler="processes"):
    """Kill so often; return how often what was killed, and the number of rounds."""
    chance = random.Random(seed)
    counts = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        source = folder / "videos"
        write_dataset(source, n_videos=N_VIDEOS, n_frames=N_FRAMES)
        write_frames(source / "wave" / "frames", 10, seed=9)
        started = time.monotonic()
        undisturbed = start(source, folder / "whole.zarr", scheduler)
        _, err = undisturbed.communicate(timeout=DEADLINE_S)
        assert undisturbed.returncode == 0, err
        longest_s = time.monotonic() - started
        whole = content(folder / "whole.zarr")
        expected = {video.key: video.codes[:] for video in flowstore.open_store(folder / "whole.zarr").iter_videos()}
        while counts["coordinator"] + counts["worker"] < n_kills:
            counts["rounds"] += 1
            store = folder / f"killed{counts['rounds']}.zarr"
            is_done = False
            while not is_done:
                killed, is_done = disturb(source, store, scheduler, chance, longest_s)
                if killed:
                    counts[killed] += 1
                    check_readable(store, expected)
            # A killed lock file's run leaves the file, which the next one takes away with its own.
            check_whole(folder, store, source, whole)
            for path in sorted(store.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            store.rmdir()
    return counts


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--scheduler", default="processes", choices=["processes", "threads", "sync"])
    args = parser.parse_args()
    started = time.monotonic()
    counts = stress(args.kills, args.seed, args.scheduler)
    print(
        f"{counts['coordinator']} coordinators and {counts['worker']} workers killed in {counts['rounds']} rounds "
        f"({args.scheduler}), seed {args.seed}, {time.monotonic() - started:.0f} s: every store came out whole"
    )


if __name__ == "__main__":
    main()
