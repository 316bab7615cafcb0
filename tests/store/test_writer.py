"""Writing: what is left after every kind of death, and what the next run makes of it."""

import dataclasses
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import zarr
from store_factory import (
    CREATED,
    HEIGHT,
    VERSIONS,
    WIDTH,
    failed_record,
    make_codes,
    make_record,
    tree_files,
    write_avi,
    write_store,
    write_video,
)

import flowstore
from flowstore.errors import ArgumentError, StoreError
from flowstore.format import shards
from flowstore.format.root import RootAttributes
from flowstore.format.settings import ExtractSettings
from flowstore.format.zarr_metadata import FORMAT
from flowstore.names import video_path
from flowstore.pipeline import extract
from flowstore.quantize import Quantizer
from flowstore.storage.local import LocalStorage
from flowstore.storage.places import open_storage
from flowstore.store.index import write_index
from flowstore.store.tree import read_records
from flowstore.store.video_index import VideoIndex
from flowstore.store.writer import VideoWriter, is_intact, remove_video, write_class, write_failed, write_root

pytestmark = pytest.mark.system

N_FLOWS = 7
NEW = make_codes(N_FLOWS, 6, 8, seed=5)
OLD = make_codes(5, 6, 8, seed=6)


@pytest.fixture
def small_shards(monkeypatch):
    """Three shards for a video of seven flows of 6×8 pixels."""
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", 3 * 2 * 6 * 8)


class FaultyStorage(LocalStorage):
    """A folder whose n-th change of a file fails before it happens."""

    def __init__(self, root, fails_at: int, error: BaseException) -> None:
        super().__init__(root)
        self.changes: list[str] = []
        self._fails_at, self._error = fails_at, error

    def _change(self, text: str) -> None:
        self.changes.append(text)
        if len(self.changes) - 1 == self._fails_at:
            raise self._error

    def write(self, key, value, is_durable=False):
        self._change(f"write {key}")
        super().write(key, value, is_durable)

    def open_sink(self, key):
        self._change(f"sink {key}")
        return super().open_sink(key)

    def delete(self, key):
        self._change(f"delete {key}")
        super().delete(key)

    def delete_tree(self, prefix):
        self._change(f"delete_tree {prefix}")
        super().delete_tree(prefix)


CHANGES = [
    "delete wave/clip/zarr.json",
    "delete_tree wave/clip",
    "sink wave/clip/flow/c.0.0.0.0",
    "sink wave/clip/flow/c.1.0.0.0",
    "sink wave/clip/flow/c.2.0.0.0",
    "write wave/clip/flow/zarr.json",
    "write wave/clip/zarr.json",
]


def test_the_order_of_changes(tmp_path, small_shards):
    storage = FaultyStorage(str(tmp_path / "s.zarr"), -1, RuntimeError())
    write_video(storage, "wave", "clip", NEW)
    assert storage.changes == CHANGES


def test_a_video_on_disk(tmp_path, small_shards):
    root = tmp_path / "s.zarr"
    record = write_video(LocalStorage(str(root)), "wave", "clip", NEW)
    folder = root / "wave/clip"
    assert sorted(tree_files(folder)) == [f"flow/c.{n}.0.0.0" for n in range(3)] + ["flow/zarr.json", "zarr.json"]
    sizes = tuple((folder / f"flow/c.{n}.0.0.0").stat().st_size for n in range(3))
    assert (record.shard_sizes, record.size_bytes) == (sizes, sum(sizes))
    assert (record.n_flows, record.height, record.width) == (N_FLOWS, 6, 8)
    document = json.loads((folder / "flow/zarr.json").read_bytes())
    assert document["shape"] == [7, 2, 6, 8]
    assert document["chunk_grid"]["configuration"]["chunk_shape"] == [3, 2, 6, 8]
    (sharding,) = document["codecs"]
    assert sharding["name"] == "sharding_indexed"
    assert sharding["configuration"]["chunk_shape"] == [1, 2, 6, 8]
    assert sharding["configuration"]["index_location"] == "end"
    assert sharding["configuration"]["codecs"][-1] == {"name": "crc32c"}
    assert sharding["configuration"]["index_codecs"][-1] == {"name": "crc32c"}
    assert document["fill_value"] == 128
    assert document["dimension_names"] == ["frame", "component", "y", "x"]
    assert document["chunk_key_encoding"] == {"name": "default", "configuration": {"separator": "."}}
    assert document["attributes"]["scale_factor"] == 20 / 127
    assert document["attributes"]["add_offset"] == -128 * (20 / 127)
    stated = json.loads((folder / "zarr.json").read_bytes())["attributes"]["flowstore"]
    assert stated["status"] == "ok"
    assert stated["class_name"] == "wave"
    assert stated["name"] == "clip"
    assert stated["shard_sizes"] == list(sizes)


def test_chunks_of_zero_flow_are_written(tmp_path):
    still = np.full((3, 2, HEIGHT, WIDTH), 128, np.uint8)
    write_store(tmp_path / "s.zarr", {"a/still": still})
    (shard,) = (tmp_path / "s.zarr/a/still/flow").glob("c.*")
    index = np.frombuffer(shard.read_bytes()[-3 * 16 - 4 : -4], "<u8").reshape(3, 2)
    assert (index[:, 1] < 2**32).all()
    np.testing.assert_array_equal(flowstore.open_store(tmp_path / "s.zarr")["a/still"].codes[:], still)


# A fault inside the process


@pytest.mark.parametrize("number", range(len(CHANGES)), ids=lambda n: CHANGES[n].replace("/", "."))
@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), ValueError("bug"), KeyboardInterrupt()], ids=repr
)
def test_a_fault_at_any_change_leaves_no_video(tmp_path, small_shards, number, error):
    root = tmp_path / "s.zarr"
    write_store(root, {"wave/clip": OLD, "wave/other": OLD}, is_indexed=False)
    storage = FaultyStorage(str(root), number, error)
    expected = StoreError if isinstance(error, OSError) else type(error)
    with pytest.raises(expected) as caught:
        write_video(storage, "wave", "clip", NEW)
    if expected is StoreError:
        assert str(caught.value) == f"cannot write to {root}: No space left on device: free some room and run again"
    store = flowstore.open_store(root)
    # Only a fault before the first change leaves the former video; after it there is none.
    assert store["wave"].names == (["clip", "other"] if number == 0 else ["other"])
    if number == 0:
        np.testing.assert_array_equal(store["wave/clip"].codes[:], OLD)
    np.testing.assert_array_equal(store["wave/other"].codes[:], OLD)
    assert not list(root.rglob("*.partial"))
    if number > 1:
        assert not (root / "wave/clip").exists()
    write_video(LocalStorage(str(root)), "wave", "clip", NEW)
    np.testing.assert_array_equal(flowstore.open_store(root)["wave/clip"].codes[:], NEW)


def write_and_fail(storage, n_written: int):
    with VideoWriter(storage, "wave", "clip", 6, 8, Quantizer(), "fast") as writer:
        for flow in NEW[:n_written]:
            writer.append(flow)
        raise ZeroDivisionError


@pytest.mark.parametrize("n_written", [0, 1, 3, 4, 7])
def test_an_exception_between_flows_leaves_nothing(tmp_path, small_shards, n_written):
    root = tmp_path / "s.zarr"
    storage = write_store(root, {"wave/other": OLD}, is_indexed=False)
    before = tree_files(root)
    with pytest.raises(ZeroDivisionError):
        write_and_fail(storage, n_written)
    assert tree_files(root) == before
    assert not (root / "wave/clip").exists()


def test_leaving_without_a_commit_leaves_nothing(tmp_path):
    storage = write_store(tmp_path / "s.zarr", {}, is_indexed=False)
    with VideoWriter(storage, "wave", "clip", 6, 8, Quantizer(), "fast") as writer:
        writer.append(NEW[0])
    assert sorted(tree_files(tmp_path / "s.zarr")) == ["zarr.json"]


def test_a_commit_that_contradicts_itself_leaves_nothing(tmp_path):
    storage = write_store(tmp_path / "s.zarr", {}, is_indexed=False)
    with (
        pytest.raises(ArgumentError, match="needs flows"),
        VideoWriter(storage, "wave", "clip", 6, 8, Quantizer(), "fast") as writer,
    ):
        writer.commit(make_record("wave", "clip", 3))
    assert sorted(tree_files(tmp_path / "s.zarr")) == ["zarr.json"]


def test_memory_keeps_no_half_shard(small_shards):
    memory = zarr.storage.MemoryStore()
    storage = write_store(memory, {"wave/other": OLD}, is_indexed=False)
    before = set(memory._store_dict)
    with pytest.raises(ZeroDivisionError):
        write_and_fail(storage, 4)
    assert set(memory._store_dict) == before


# A process that dies. Each child dies by SIGKILL at the n-th step that touches the disk.

STEPS = ("makedirs", "fsync", "replace", "unlink", "rmdir")


def die_at(number: int) -> None:
    """Make the n-th call that changes the file system kill this process, before it takes effect."""
    count = -1

    def deadly(function):
        def call(*args, **options):
            nonlocal count
            count += 1
            if count == number:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **options)

        return call

    for name in STEPS:
        setattr(os, name, deadly(getattr(os, name)))


def run_and_die(work, number: int) -> bool:
    """Run `work` in a forked child that dies at a step; tell whether it died, so False is the end of the steps."""
    child = os.fork()
    if child == 0:
        try:
            die_at(number)
            work()
        finally:
            os._exit(3 if sys.exc_info()[0] else 0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0
    return os.WIFSIGNALED(status)


def test_a_writer_killed_at_any_step_leaves_no_half_video(tmp_path, small_shards):
    whole = tmp_path / "whole.zarr"
    write_store(whole, {"wave/clip": NEW, "wave/other": OLD}, is_indexed=False)
    number, states = 0, []
    while True:
        root = tmp_path / f"{number}.zarr"
        write_store(root, {"wave/clip": OLD, "wave/other": OLD}, is_indexed=False)
        storage = LocalStorage(str(root))
        is_killed = run_and_die(lambda storage=storage: write_video(storage, "wave", "clip", NEW), number)
        store = flowstore.open_store(root)
        names = store["wave"].names
        assert names == list(store["wave"]) == store.videos.column("video").tolist()
        if "clip" in names:
            codes = store["wave/clip"].codes[:]
            states.append("old" if np.array_equal(codes, OLD) else "new")
            np.testing.assert_array_equal(codes, OLD if states[-1] == "old" else NEW)
        else:
            states.append("none")
            # What is left is no node: zarr-python sees no video there either.
            assert not (root / "wave/clip/zarr.json").exists()
        np.testing.assert_array_equal(store["wave/other"].codes[:], OLD)
        # The next run replaces whatever is there, and nothing strays.
        write_video(storage, "wave", "clip", NEW)
        assert tree_files(root) == tree_files(whole)
        shutil.rmtree(root)
        if not is_killed:
            break
        number += 1
    # One way only: the old video, then none, then the new one, which exists from its last step on.
    assert states == sorted(states, key=["old", "none", "new"].index)
    assert number > 15
    assert states.count("none") > 10
    assert states[0] == "old"
    assert states[-1] == "new"


def test_a_new_video_killed_at_any_step_is_not_there(tmp_path, small_shards):
    number = 0
    while True:
        root = tmp_path / f"{number}.zarr"
        storage = write_store(root, {"wave/other": OLD}, is_indexed=False)
        is_killed = run_and_die(lambda storage=storage: write_video(storage, "wave", "clip", NEW), number)
        assert ("wave/clip" in flowstore.open_store(root)) is not is_killed
        if not is_killed:
            break
        # A reader that knows nothing of flowstore sees no video either.
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Object at clip is not recognized", UserWarning)
            members = dict(zarr.open_group(str(root), path="wave", mode="r").groups())
        assert set(members) == {"other"}
        number += 1
    assert number > 10


@pytest.mark.parametrize("how", ["os._exit(9)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_a_killed_run_is_finished_by_the_next(tmp_path, how):
    """The whole program, killed while it writes the second video, then run again."""
    for number in range(3):
        write_avi(tmp_path / "videos/wave" / f"v{number}.avi", 6 - number, seed=number)
    script = f"""
import os, signal, sys
from flowstore.store import writer as writing
from flowstore.pipeline import extract
append, count = writing.VideoWriter.append, 0
def deadly(self, codes):
    global count
    count += 1
    if count == 8:
        {how}
    append(self, codes)
writing.VideoWriter.append = deadly
extract(sys.argv[1], sys.argv[2], scheduler="sync", engine="opencv")
"""
    source, root = tmp_path / "videos", tmp_path / "s.zarr"
    environment = os.environ | {"PYTHONPATH": str(Path(flowstore.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", script, str(source), str(root)], env=environment, check=False)
    assert done.returncode in (9, -signal.SIGKILL)
    store = flowstore.open_store(root)
    assert store.videos.column("path").tolist() == ["wave/v0"]
    assert not (root / "index").exists()
    assert (root / "wave/v1/flow").is_dir()
    assert "wave/v1" not in store
    report = extract(source, root, scheduler="sync", engine="opencv")
    assert (report.n_done, report.n_extracted, report.failures) == (1, 2, ())
    extract(source, tmp_path / "fresh.zarr", scheduler="sync", engine="opencv")
    left, fresh = tree_files(root), tree_files(tmp_path / "fresh.zarr")
    assert set(left) == set(fresh)
    for name in fresh:
        if "/flow/" in name:
            assert left[name] == fresh[name]


def test_every_file_of_a_video_is_on_disk_before_it_has_its_name(tmp_path, small_shards, monkeypatch):
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda handle: (calls.append("fsync"), fsync(handle)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append(os.path.basename(paths[1])), replace(*paths)))
    write_video(LocalStorage(str(tmp_path / "s.zarr")), "wave", "clip", NEW)
    names = ["c.0.0.0.0", "c.1.0.0.0", "c.2.0.0.0", "zarr.json", "zarr.json"]
    assert calls == [call for name in names for call in ("fsync", name)]


# Failed videos, replacements, intactness


def test_a_failed_video_is_a_row_without_flow(tmp_path):
    root = tmp_path / "s.zarr"
    storage = write_store(root, {"wave/clip": OLD, "wave/other": OLD}, is_indexed=False)
    write_failed(storage, failed_record("wave", "clip", "no frame can be decoded"))
    assert sorted(tree_files(root / "wave/clip")) == ["zarr.json"]
    assert not (root / "wave/clip/flow").exists()
    store = flowstore.open_store(root)
    assert [(row["video"], row["status"], row["reason"]) for row in store.videos] == [
        ("clip", "failed", "no frame can be decoded"),
        ("other", "ok", ""),
    ]
    assert [video.name for video in store.iter_videos()] == ["other"]
    assert is_intact(storage, store["wave/clip"].record)


def test_a_good_video_is_not_committed_as_failed(tmp_path):
    storage = write_store(tmp_path / "s.zarr", {"wave/clip": OLD}, is_indexed=False)
    before = tree_files(tmp_path / "s.zarr")
    with pytest.raises(ArgumentError, match="is not a failed one"):
        write_failed(storage, make_record("wave", "clip", 3))
    assert tree_files(tmp_path / "s.zarr") == before


def test_a_shorter_video_leaves_no_shard_of_the_longer_one(tmp_path, small_shards):
    storage = write_store(tmp_path / "s.zarr", {"wave/clip": NEW}, is_indexed=False)
    write_video(storage, "wave", "clip", OLD[:2])
    assert sorted(os.listdir(tmp_path / "s.zarr/wave/clip/flow")) == ["c.0.0.0.0", "zarr.json"]
    np.testing.assert_array_equal(flowstore.open_store(tmp_path / "s.zarr")["wave/clip"].codes[:], OLD[:2])


def test_remove_video_takes_the_commit_first(tmp_path):
    storage = FaultyStorage(str(tmp_path / "s.zarr"), -1, RuntimeError())
    remove_video(storage, "wave", "clip")
    assert storage.changes == CHANGES[:2]


@pytest.mark.parametrize("name", ["c.0.0.0.0", "c.2.0.0.0", "zarr.json"])
@pytest.mark.parametrize("content", [None, b"", b"short"])
def test_a_video_with_lost_files_is_not_intact(tmp_path, small_shards, name, content):
    storage = write_store(tmp_path / "s.zarr", {"wave/clip": NEW}, is_indexed=False)
    record = flowstore.open_store(storage)["wave/clip"].record
    assert is_intact(storage, record)
    path = tmp_path / "s.zarr" / video_path("wave", "clip") / "flow" / name
    path.unlink() if content is None else path.write_bytes(content)
    assert not is_intact(storage, record)
    # In a store of before there were digests, the array's document has to hold something.
    old = dataclasses.replace(record, flow_digest="")
    assert is_intact(storage, old) is (name == "zarr.json" and content == b"short")


def test_a_store_that_cannot_be_written_says_so(tmp_path):
    (tmp_path / "s.zarr").mkdir()
    (tmp_path / "s.zarr" / "wave").write_text("a file where a folder has to be")
    with pytest.raises(StoreError, match=r"cannot write to .*s.zarr: (Not a directory|File exists)"):
        write_video(LocalStorage(str(tmp_path / "s.zarr")), "wave", "clip", NEW)


def test_root_and_class_documents(tmp_path):
    storage = LocalStorage(str(tmp_path / "s.zarr"))
    settings = ExtractSettings(params={"winsize": 15}, short_side=120)
    write_root(storage, RootAttributes(FORMAT, settings, VERSIONS, CREATED))
    write_class(storage, "wave")
    root = json.loads((tmp_path / "s.zarr/zarr.json").read_bytes())
    assert set(root) == {"zarr_format", "node_type", "attributes"}
    attributes = root["attributes"]["flowstore"]
    assert (attributes["format"], attributes["versions"], attributes["created"]) == (1, VERSIONS, CREATED)
    assert attributes["settings"] == {
        "algorithm": "farneback",
        "engine": "opencv",
        "params": {"winsize": 15},
        "encoding": "centred",
        "bound_px": 20.0,
        "step": 1,
        "short_side": 120,
        "size": None,
        "fps": None,
        "compression": "fast",
    }
    assert flowstore.open_store(storage).settings == settings
    assert zarr.open_group(str(tmp_path / "s.zarr"), path="wave", mode="r").attrs["flowstore"] == {
        "class_name": "wave",
        # BLAKE2b of {"class_name":"wave"}.
        "digest": hashlib.blake2b(b'{"class_name":"wave"}', digest_size=16).hexdigest(),
    }


def test_writing_the_index_leaves_no_stray_file(tmp_path):
    storage = write_store(tmp_path / "s.zarr", {"wave/clip": OLD})
    before = set(tree_files(tmp_path / "s.zarr"))
    write_index(storage, VideoIndex.from_records(read_records(storage)))
    assert set(tree_files(tmp_path / "s.zarr")) == before
    assert not [name for name in before if "partial" in name]


def test_a_sink_in_memory_takes_what_was_written():
    memory = zarr.storage.MemoryStore()
    storage = open_storage(memory, is_written=True)
    with storage.open_sink("a/b") as file:
        assert isinstance(file, io.BytesIO)
        file.write(b"abc")
        assert storage.read("a/b") is None
    assert storage.read("a/b") == b"abc"
    assert storage.size_bytes("a/b") == 3
    assert storage.read_range("a/b", 1, 5) == b"bc"
    assert storage.read_range("a/c", 1, 5) is None
