"""Worker processes where callers do not expect them: scripts without a main guard, processes that may start none."""

import multiprocessing
import os
import subprocess
import sys

import pytest
from datasets import process_environment, write_dataset

import flowstore
from flowstore.jobs.job import WORKER
from flowstore.jobs.operation import Operation

pytestmark = pytest.mark.slow

SCRIPT = """
print("run")
from flowstore.pipeline import extract
print(extract("videos", "s.zarr", engine="opencv", workers=2, scheduler="processes").n_extracted, __file__, __spec__)
"""


@pytest.mark.parametrize("is_piped", [False, True])
def test_a_script_without_a_main_guard(tmp_path, is_piped):
    write_dataset(tmp_path / "videos", classes=("wave",), n_videos=2)
    (tmp_path / "script.py").write_text(SCRIPT)
    with open(tmp_path / "script.py") as script:
        done = subprocess.run(
            [sys.executable, "-" if is_piped else "script.py"],
            stdin=script if is_piped else None,
            cwd=tmp_path,
            env=process_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    name = "<stdin>" if is_piped else str(tmp_path / "script.py")
    assert done.stdout.split() == ["run", "2", name, "None"]
    assert flowstore.open_store(tmp_path / "s.zarr").n_videos == 2


def square(task, tick):
    return task**2


def numbered(task, tick):
    return WORKER.get(), [name for name in os.environ if name.startswith("FLOWSTORE_W")]


def test_a_task_knows_its_process_and_nothing_is_left_in_the_environment():
    found = []
    operation = Operation("processes", 2, Noted())
    operation.run(numbered, list(range(8)), lambda task, result: found.append(result), lambda task, how: None, False)
    assert {number for number, _ in found} <= {0, 1}
    assert not any(names for _, names in found)
    assert WORKER.get() is None


class Noted:
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)

    def add_flows(self, n_flows):
        pass

    def start(self, n_videos, n_flows):
        pass

    def stop(self):
        pass

    def finish_video(self, key, problem="", warnings=(), share=None):
        pass


def run_there(queue):
    progress, found = Noted(), []
    operation = Operation("processes", 2, progress)
    operation.run(square, [1, 2, 3], lambda task, result: found.append(result), lambda task, how: None, False)
    queue.put((sorted(found), progress.notes))


def test_a_daemonic_process_has_threads_and_says_so():
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=run_there, args=(queue,), daemon=True)
    process.start()
    found, notes = queue.get(timeout=60)
    process.join()
    assert found == [1, 4, 9]
    assert notes == ["threads in place of processes: this process is daemonic, and may start none"]
