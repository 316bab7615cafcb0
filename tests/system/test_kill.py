"""Killed anywhere: the same command, run again, ends where one that was not killed does, and nothing stray is left."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from datasets import call, process_environment, write_dataset
from dying import JOBS, content
from store_factory import make_codes, tree_files, write_store, write_video

import flowstore
from flowstore.errors import ChecksumError, FlowStoreWarning, StoreFormatError
from flowstore.export import export
from flowstore.pipeline import extract
from flowstore.storage.local import LocalStorage
from flowstore.store.index import index_tree, is_indexed, read_index
from flowstore.verify import verify

SUPPORT = Path(__file__).parents[1] / "support"

pytestmark = pytest.mark.system


def kill_in_processes(folder, job, every, n_processes=1, *how):
    """Have a job die at every n-th change of the file system; return what came of each."""
    started = [
        subprocess.Popen(
            [sys.executable, str(SUPPORT / "dying.py"), str(folder / str(first)), job, str(first), str(every), *how],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=process_environment(),
        )
        for first in range(n_processes)
    ]
    results = []
    for process in started:
        out, err = process.communicate(timeout=1200)
        assert process.returncode == 0, err
        results += [json.loads(line) for line in out.splitlines()]
    return sorted(results, key=lambda result: result["number"])


def test_killed_here_and_there(tmp_path):
    """Deaths, each of which leaves what the copy at that change says."""
    results = kill_in_processes(tmp_path, "new", 19, 1, "killed")
    assert {(result["before"], problem) for result in results for problem in result["problems"]} == set()
    assert len(results) > 8


@pytest.mark.slow
@pytest.mark.parametrize("job", JOBS)
def test_killed_at_every_single_change(tmp_path, job):
    results = kill_in_processes(tmp_path, job, every=2, n_processes=2)
    assert {(result["before"], problem) for result in results for problem in result["problems"]} == set()
    assert [result["number"] for result in results] == list(range(len(results)))
    before = {re.sub(r"\.\d+\.partial", "", result["before"]) for result in results}
    assert "os.rename index/zarr.json" in before
    assert len(results) > 150


# Random moments, and workers killed: benchmarks/stress_kill.py, whose short form is a test of the benchmarks.
# Here, what was left by a death that no run of today would leave.


@pytest.fixture
def source(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=2)
    return tmp_path / "videos"


@pytest.fixture
def store(source, tmp_path):
    extract(source, tmp_path / "s.zarr", engine="opencv", scheduler="sync")
    return tmp_path / "s.zarr"


def again(source, store, **options):
    return extract(source, store, engine="opencv", scheduler="sync", **options)


@pytest.mark.parametrize("size", [1, 40, 400])
@pytest.mark.parametrize("file", ["zarr.json", "flow/zarr.json"])
def test_a_document_cut_off_is_a_damaged_video_and_no_end(source, store, file, size):
    whole = content(store)
    os.truncate(store / "wave/v0" / file, size)
    (found,) = verify(store).faults
    assert (found.kind, found.key) == ("damaged", "wave/v0")
    with pytest.raises((ChecksumError, StoreFormatError), match="wave/v0"):
        flowstore.open_store(store)["wave/v0"][:]
    planned = call("extract", source, store, "--dry-run", "--engine", "opencv")
    assert planned.code == 0
    assert "1 to extract, 3 done" in planned.out
    assert "1 damaged video in the store, extracted again: wave/v0" in planned.out
    assert again(source, store).n_extracted == 1
    assert content(store) == whole


def test_a_damaged_record_ends_neither_the_index_nor_an_export(source, store, tmp_path):
    os.truncate(store / "wave/v0/zarr.json", 200)
    report = export(store, tmp_path / "out", scheduler="sync")
    assert (report.n_videos, [failure.key for failure in report.failures]) == (3, ["wave/v0"])
    shutil.rmtree(store / "index")
    with pytest.warns(FlowStoreWarning, match="wave/v0 is left out: wave/v0/zarr.json: not a JSON document"):
        assert len(flowstore.open_store(store).videos) == 3
    outcome = call("extract", source, store, "--include", "run", "--engine", "opencv")
    assert outcome.code == 0
    assert "1 damaged video not in the index: wave/v0 (flowstore verify says more)" in outcome.err
    assert len(flowstore.open_store(store).videos) == 3


def leave(store):
    """What kills of former runs may leave, besides a video that is to be extracted."""
    for name in ("zarr.json.77.partial", "run/zarr.json.77.partial", "wave/gone/flow/c.0.0.0.0.77.partial"):
        (store / name).parent.mkdir(parents=True, exist_ok=True)
        (store / name).write_bytes(b"half")
    (store / "wave/gone/flow/c.0.0.0.0").write_bytes(b"whole")
    (store / "wave/mine").mkdir()
    (store / "wave/mine/notes.txt").write_text("mine")


def test_the_next_run_removes_what_killed_runs_left(source, store):
    whole = set(tree_files(store))
    shutil.rmtree(store / "run/v0")
    leave(store)
    assert again(source, store).n_extracted == 1
    # Not what no run has made.
    assert set(tree_files(store)) == {*whole, "wave/mine/notes.txt"}
    assert not (store / "wave/gone").exists()


def test_a_part_removes_nothing_of_what_others_may_be_writing(source, store):
    shutil.rmtree(store / "run/v0")
    leave(store)
    there = {name for name in tree_files(store) if "partial" in name or "gone" in name}
    for number in (1, 2):
        again(source, store, part=(number, 2))
    assert there <= set(tree_files(store))
    assert not again(source, store).n_extracted
    assert not there & set(tree_files(store))


# The index against runs elsewhere, which no lock keeps apart


class Meanwhile(LocalStorage):
    """A folder in which something else happens just before the index is finished, so many times."""

    def __init__(self, root, work, times=1):
        super().__init__(root)
        self.work, self.times = work, times

    def write(self, key, value, is_durable=False):
        if key == "index/zarr.json" and self.times:
            self.times -= 1
            self.work(self.times)
        super().write(key, value, is_durable)


def test_a_video_that_is_committed_while_the_index_is_made_is_in_it(tmp_path):
    root = str(tmp_path / "s.zarr")
    other = write_store(root, {"wave/a": make_codes(2), "wave/b": make_codes(3)}, is_indexed=False)
    storage = Meanwhile(root, lambda n: write_video(other, "wave", ("c", "b")[n], make_codes(5)), times=2)
    assert len(index_tree(storage)) == 3
    assert dict(zip(*(read_index(storage).column(name) for name in ("video", "n_flows")), strict=True)) == {
        "a": 2,
        "b": 5,
        "c": 5,
    }
    assert verify(root).is_all_well


def test_a_tree_that_does_not_hold_still_has_no_index(tmp_path):
    root = str(tmp_path / "s.zarr")
    other = write_store(root, {"wave/a": make_codes(2)}, is_indexed=False)
    storage = Meanwhile(root, lambda n: write_video(other, "wave", f"v{n}", make_codes(2)), times=99)
    assert index_tree(storage) is None
    assert not (tmp_path / "s.zarr/index").exists()
    assert verify(root).is_all_well


@pytest.mark.parametrize("change", ["commit", "replace", "fail", "remove"])
def test_whoever_changes_a_video_takes_the_index_away(tmp_path, change):
    from store_factory import failed_record

    from flowstore.store.writer import remove_video, write_failed

    storage = write_store(tmp_path / "s.zarr", {"wave/a": make_codes(2), "wave/b": make_codes(3)})
    assert is_indexed(storage, ["wave/a", "wave/b"])
    {
        "commit": lambda: write_video(storage, "wave", "c", make_codes(2)),
        "replace": lambda: write_video(storage, "wave", "a", make_codes(4)),
        "fail": lambda: write_failed(storage, failed_record("wave", "a", "gone")),
        "remove": lambda: remove_video(storage, "wave", "a"),
    }[change]()
    assert not is_indexed(storage, [])
    rows = {row["video"]: row["n_flows"] for row in flowstore.open_store(storage).videos}
    assert (
        rows
        == {
            "commit": {"a": 2, "b": 3, "c": 2},
            "replace": {"a": 4, "b": 3},
            "fail": {"a": 0, "b": 3},
            "remove": {"b": 3},
        }[change]
    )


def test_a_run_with_nothing_to_do_writes_an_index_that_lacks_its_videos(source, store):
    whole = content(store)
    shutil.copytree(store / "index", store.with_name("old"))
    write_dataset(source, classes=("new",), n_videos=1)
    again(source, store, part=(1, 2))
    again(source, store, part=(2, 2))
    shutil.copytree(store.with_name("old"), store / "index")
    assert len(flowstore.open_store(store).videos) == 4
    assert again(source, store).n_extracted == 0
    assert len(flowstore.open_store(store).videos) == 5
    shutil.rmtree(source / "new")
    shutil.rmtree(store / "new")
    (store / "index/zarr.json").unlink()
    again(source, store)
    assert content(store) == whole
    np.testing.assert_array_equal(flowstore.open_store(store).videos.column("video"), ["v0", "v1", "v0", "v1"])
