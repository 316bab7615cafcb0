"""What is left after Ctrl-C, SIGTERM, kill -9, a dead worker, a lost cluster and a full disk."""

import os
import resource
import signal
import subprocess
import time

import psutil
import pytest
from datasets import (
    call,
    command_line,
    partial_files,
    process_environment,
    run,
    tree,
    write_dataset,
    write_frames,
    write_video,
)
from interrupted import SLOW, commits, small_disk, unfinished
from processes import DEADLINE_S, started, wait_until

import flowstore
from flowstore.names import count_text

pytestmark = pytest.mark.system

# After the empty line that keeps it from the terminal's ^C.
STOPPED = "stopped; what was finished is kept, and the same command goes on from there"
SCHEDULERS = ["sync", "threads", "processes"]


def is_running(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def lines_after_plan(err):
    """What stands on standard error below the plan."""
    return err.partition("workers:  ")[2].splitlines()[1:]


@pytest.fixture
def long_source(tmp_path):
    """Four videos that take seconds each; and one, the last to start by its size, that takes none."""
    for number in range(4):
        write_video(tmp_path / "videos" / "c" / f"long{number}.avi", 250, seed=number)
    write_video(tmp_path / "videos" / "c" / "short.avi", 3)
    return tmp_path / "videos"


@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("number", ["ctrl-c", "SIGTERM"])
def test_an_interrupted_run_stops_cleanly_and_resumes(long_source, tmp_path, scheduler, number):
    store = tmp_path / "flow.zarr"
    n_workers = 1 if scheduler == "sync" else 2
    # The short video first: something is committed, something is under way.
    assert call("extract", long_source, store, "--include", "short", *SLOW).code == 0
    with started("extract", long_source, store, "--scheduler", scheduler, "--workers", "2", *SLOW) as process:
        wait_until(lambda: len(partial_files(store)) == n_workers, process)
        family = psutil.Process(process.pid).children(recursive=True)
        assert bool(family) is (scheduler == "processes")
        if number == "ctrl-c":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.terminate()
        asked = time.monotonic()
        out, err = process.communicate(timeout=DEADLINE_S)
        assert time.monotonic() - asked < 8
        assert process.returncode == 130
        assert out == ""
        # The plan, then nothing but the one line: no traceback, no word of Dask.
        assert lines_after_plan(err) == ["", STOPPED]
        wait_until(lambda: not any(map(is_running, family)))
    assert partial_files(store) == []
    assert unfinished(store) == []
    assert commits(store) == ["short"]
    assert [row["video"] for row in flowstore.open_store(store).videos] == ["short"]

    resumed = call("extract", long_source, store, "--include", "long0", "--include", "short", *SLOW)
    assert resumed.code == 0
    assert "1 video, 249 flows in" in resumed.out
    assert "1 were there already" in resumed.out


@pytest.mark.parametrize("stage", ["starting", "processes"])
def test_ctrl_c_while_processes_start(long_source, tmp_path, stage):
    store = tmp_path / "flow.zarr"
    with started("extract", long_source, store, "--scheduler", "processes", *SLOW) as process:
        family = psutil.Process(process.pid)
        if stage == "starting":
            wait_until((store / "zarr.json").exists, process)
        else:
            wait_until(lambda: len(family.children(recursive=True)) >= 3, process)
        children = family.children(recursive=True)
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
        assert lines_after_plan(err) == ["", STOPPED]
        wait_until(lambda: not any(map(is_running, children)))
    assert partial_files(store) == []
    assert unfinished(store) == []


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_an_interrupted_export_leaves_whole_images(tmp_path, scheduler):
    write_video(tmp_path / "videos" / "c" / "v.avi", 900)
    assert call("extract", tmp_path / "videos", tmp_path / "flow.zarr").code == 0
    images = tmp_path / "images"
    with started("export", tmp_path / "flow.zarr", images, "--scheduler", scheduler) as process:
        wait_until(lambda: len(list(images.glob("c/v/flow_y_*.jpg"))) > 3, process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 130
        assert out == ""
        assert err == f"\n{STOPPED}\n"
    assert partial_files(images) == []
    n_there = len(list(images.glob("c/v/*.jpg")))
    assert n_there < 2 * 899
    done = call("export", tmp_path / "flow.zarr", images)
    assert done.code == 0
    assert f"{2 * 899 - n_there} files written, {n_there} were there in" in done.out


def test_kill_9_of_the_coordinator_leaves_nothing_half_and_no_worker(long_source, tmp_path):
    store = tmp_path / "flow.zarr"
    with started("extract", long_source, store, "--scheduler", "processes", "--workers", "2", *SLOW) as process:
        wait_until(lambda: len(partial_files(store)) == 2, process)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.communicate(timeout=DEADLINE_S)
        wait_until(lambda: not any(map(is_running, workers)))
    opened = flowstore.open_store(store)
    assert len(opened.videos) == len(commits(store))
    # What was under way is there as folders that are no nodes; whoever reads the store does not see them.
    assert list(opened.iter_videos()) == []
    resumed = call("extract", long_source, store, "--include", "long*", "--limit", "1", *SLOW)
    assert resumed.code == 0, resumed.err
    assert "1 video, 249 flows in" in resumed.out
    assert commits(store) == ["long0"]
    assert [row["video"] for row in flowstore.open_store(store).videos] == ["long0"]


# Sent to the package's own estimator in every process of the run: a decoder's or an estimator's crash.
CRASH = """
import os, signal
from flowstore.estimators import opencv, registry

class Crashing(opencv.OpenCVFarneback):
    def stream(self, height, width, step=1):
        if width == 40:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().stream(height, width, step)

registry._ESTIMATORS["farneback", "opencv"] = Crashing
"""


def test_a_killed_worker_is_one_failed_row(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=4)
    write_video(tmp_path / "videos" / "run" / "deadly.avi", 60, width=40)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(
        # At the start of the interpreter the package is not yet to be found in full: the crash waits for its import.
        "import sys, importlib.abc, importlib.util\n"
        "class Hook(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name != 'flowstore.pipeline.task' or self not in sys.meta_path: return None\n"
        f"        sys.meta_path.remove(self); exec({CRASH!r}, {{}}); return None\n"
        "sys.meta_path.insert(0, Hook())\n"
    )
    path = os.pathsep.join([str(tmp_path / "site"), process_environment()["PYTHONPATH"]])
    store = tmp_path / "flow.zarr"
    arguments = ["extract", tmp_path / "videos", store, "--scheduler", "processes", "--workers", "2"]
    done = run(*arguments, "--engine", "opencv", PYTHONPATH=path)
    assert done.code == 1, done.err
    reason = "its worker process was killed, by the decoder or for want of memory"
    assert lines_after_plan(done.err) == [f"failed run/deadly: {reason}"]
    assert "8 videos with flow, 1 failed, 40 flows in" in done.out
    opened = flowstore.open_store(store)
    assert opened["run/deadly"].record.reason == reason
    assert partial_files(store) == []
    assert {row["video"] for row in opened.videos if row["status"] == "failed"} == {"deadly"}
    # Without the crash it is tried again when asked.
    retried = call("extract", tmp_path / "videos", store, "--retry-failed", "--engine", "opencv")
    assert retried.code == 0
    assert len(flowstore.open_store(store)["run/deadly"]) == 59


def _check_full(full, store):
    assert full.returncode == 1, full
    assert full.stdout == ""
    (line,) = lines_after_plan(full.stderr)
    assert line.startswith(f"flowstore: cannot write to {store}: ")
    assert partial_files(store) == []
    assert unfinished(store) == []
    return line


def _check_every_commit_whole(store, n_flows):
    for video in flowstore.open_store(store).iter_videos():
        assert video[:].shape == (n_flows, 2, 96, 128)


@pytest.mark.parametrize("scheduler", ["sync", "threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_full_disk_or_the_largest_file(tmp_path, scheduler):
    """On a small disk where one may be mounted; and everywhere with files limited to a size."""
    for number in range(6):
        write_video(tmp_path / "videos" / "c" / f"v{number}.avi", 20, 128, 96, seed=number)
    arguments = ["extract", tmp_path / "videos"]
    options = ["--scheduler", scheduler, "--workers", "2", "--compression", "none"]
    kilobytes = 19 * 2 * 96 * 128 // 1024

    # Kernels that are compiled now are not to be written to the cache under the limit.
    assert call(*arguments, tmp_path / "before.zarr", "--limit", "1").code == 0
    store = tmp_path / "limited.zarr"
    limited = subprocess.run(
        command_line(*arguments, store, *options),
        capture_output=True,
        text=True,
        env=process_environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes * 512, kilobytes * 512)),
        check=False,
    )
    assert "File too large" in _check_full(limited, store)
    assert commits(store) == []

    with small_disk(tmp_path / "disk", 1024 * (3 * kilobytes + kilobytes // 2)) as disk:
        if disk is not None:
            store = disk / "flow.zarr"
            full = subprocess.run(
                command_line(*arguments, store, *options),
                capture_output=True,
                text=True,
                env=process_environment(),
                check=False,
            )
            line = _check_full(full, store)
            assert line.endswith("No space left on device: free some room and run again")
            assert "are needed and" in full.stderr  # the plan said so
            _check_every_commit_whole(store, 19)
            subprocess.run(["mount", "-o", "remount,size=100m", str(disk)], check=True)
            n_there = len(commits(store))
            resumed = call(*arguments, store, "--compression", "none")
            assert resumed.code == 0, resumed.err
            assert f"{count_text(6 - n_there, 'video')}" in resumed.out
            _check_every_commit_whole(store, 19)

    store = tmp_path / "limited.zarr"
    assert call(*arguments, store, "--compression", "none").code == 0
    assert len(commits(store)) == 6
    _check_every_commit_whole(store, 19)


def test_a_full_disk_ends_an_export_in_one_line(tmp_path):
    for number in range(4):
        # Frames that have nothing in common, for flow that does not pack well.
        write_frames(tmp_path / "frames" / f"{number}", 1, 320, 240, seed=number)
        (tmp_path / "videos" / "c" / "v").mkdir(parents=True, exist_ok=True)
        os.rename(tmp_path / "frames" / f"{number}" / "img_00001.jpg", tmp_path / "videos/c/v" / f"{number}.jpg")
    assert call("extract", tmp_path / "videos", tmp_path / "flow.zarr").code == 0
    images = tmp_path / "images"
    limited = subprocess.run(
        command_line("export", tmp_path / "flow.zarr", images),
        capture_output=True,
        text=True,
        env=process_environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000)),
        check=False,
    )
    assert limited.returncode == 1
    assert limited.stderr == f"flowstore: cannot write to {images}: File too large\n"
    assert [path for path in tree(images) if path.endswith(".jpg")] == []
    assert partial_files(images) == []
