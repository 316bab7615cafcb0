"""An import that is killed: what it leaves, and that the next run ends where one would that was not."""

import contextlib
import os
import random
import shutil
import signal
import subprocess

import pytest
from datasets import call, partial_files
from interrupted import commits, content, unfinished
from layout_files import denseflow_codes, smooth_flow, write_video
from processes import DEADLINE_S, started, wait_until

pytestmark = pytest.mark.system

N_VIDEOS = 8


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Eight videos in the layout of mmaction2, of pictures large enough that an import takes a moment."""
    root = tmp_path_factory.mktemp("files")
    for number in range(N_VIDEOS):
        write_video(root, "mmaction2", "c", f"v{number}", denseflow_codes(smooth_flow(60, 120, 160, seed=number)))
    return root


def command(files, store, scheduler):
    return [
        "import",
        files,
        store,
        "--layout",
        "mmaction2",
        "--bound",
        "20",
        "--scheduler",
        scheduler,
        "--workers",
        "2",
    ]


@pytest.fixture(scope="module")
def whole(files, tmp_path_factory):
    store = tmp_path_factory.mktemp("whole") / "s"
    assert call(*command(files, store, "sync")).code == 0
    return content(store)


@pytest.mark.parametrize("scheduler", ["sync", "threads", "processes"])
def test_a_killed_import_resumes_to_the_store_of_one_that_was_not(files, whole, tmp_path, scheduler):
    store = tmp_path / "s"
    with started(*command(files, store, scheduler)) as process:
        wait_until(lambda: commits(store), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=DEADLINE_S)
    there = commits(store)
    assert 0 < len(there) < N_VIDEOS
    result = call(*command(files, store, scheduler))
    assert result.code == 0, result.err
    assert f"; {len(there)} were there already" in result.out
    assert content(store) == whole


@pytest.mark.slow
def test_killed_at_random_until_it_is_done(files, whole, tmp_path):
    store, generator = tmp_path / "s", random.Random(5)
    for _ in range(20):
        before = {*partial_files(store), *commits(store)}
        with started(*command(files, store, "threads")) as process:
            # Work is under way; how far it gets from there is left to chance.
            wait_until(lambda before=before: {*partial_files(store), *commits(store)} - before, process)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=generator.uniform(0, 0.1))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate(timeout=DEADLINE_S)
        if len(commits(store)) == N_VIDEOS:
            shutil.rmtree(store)
    assert call(*command(files, store, "threads")).code == 0
    assert unfinished(store) == []
    assert partial_files(store) == []
    assert content(store) == whole
