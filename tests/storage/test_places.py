"""One check for every storage, and what a folder promises beyond it."""

import errno
import json
import os
import pickle
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import zarr

from flowstore.errors import StoreError
from flowstore.storage.local import LocalStorage, is_case_blind
from flowstore.storage.objects import ObjectStorage
from flowstore.storage.places import open_storage
from flowstore.storage.zarr_stores import ZarrStorage

KINDS = ("folder", "memory", "zarr's local store", "url", "s3")


@pytest.fixture(params=KINDS)
def storage(request, tmp_path):
    if request.param == "folder":
        return LocalStorage(str(tmp_path / "store"))
    if request.param == "memory":
        return ZarrStorage(zarr.storage.MemoryStore())
    if request.param == "s3":
        return open_storage(request.getfixturevalue("s3"))
    if request.param == "url":
        return open_storage(f"memory://{tmp_path.name}", is_written=True)
    return ZarrStorage(zarr.storage.LocalStore(tmp_path / "store"))


def test_values_come_back(storage):
    assert storage.read("zarr.json") is None
    assert storage.size_bytes("zarr.json") is None
    assert storage.list_children("") == []
    storage.write("zarr.json", b"{}")
    storage.write("wave/a/zarr.json", b"\x00\xff" * 500, is_durable=True)
    storage.write("wave/a/flow/c.0.0.0.0", b"")
    assert storage.read("zarr.json") == b"{}"
    assert storage.read("wave/a/zarr.json") == b"\x00\xff" * 500
    assert storage.read("wave/a/flow/c.0.0.0.0") == b""
    assert storage.size_bytes("wave/a/zarr.json") == 1000
    storage.write("zarr.json", b"longer than before")
    assert storage.read("zarr.json") == b"longer than before"


def test_ranges_are_those_of_the_value(storage):
    value = bytes(range(100))
    storage.write("a/c.0", value)
    for start in range(100):
        for size in {1, 2, 99 - start, 100 - start, 101 - start, 1000} - {0}:
            assert storage.read_range("a/c.0", start, size) == value[start : start + size]
    assert storage.read_range("a/missing", 0, 10) is None
    assert storage.read_range("missing/c.0", 5, 10) is None


def test_folders_are_listed_without_metadata(storage):
    for key in ("zarr.json", "b/zarr.json", "a/x/zarr.json", "ab/y/flow/c.0.0.0.0"):
        storage.write(key, b"{}")
    assert storage.list_folders("") == ["a", "ab", "b"]
    assert storage.list_folders("a") == ["x"]
    assert storage.list_folders("b") == []
    assert storage.list_folders("missing") == []


def test_children_are_listed_sorted_and_by_whole_names(storage):
    for key in ("zarr.json", "b/zarr.json", "a/x/zarr.json", "a/zarr.json", "ab/zarr.json", "Z [1] é/zarr.json"):
        storage.write(key, b"{}")
    assert storage.list_children("") == ["Z [1] é", "a", "ab", "b", "zarr.json"]
    assert storage.list_children("a") == ["x", "zarr.json"]
    assert storage.list_children("missing") == []
    assert storage.list_children("a/missing/deep") == []


def test_a_tree_is_deleted_and_its_neighbors_are_not(storage):
    for key in ("a/zarr.json", "a/x/flow/c.0.0.0.0", "ab/zarr.json", "b/zarr.json"):
        storage.write(key, b"{}")
    storage.delete_tree("a")
    storage.delete_tree("missing")
    assert storage.list_children("") == ["ab", "b"]
    assert storage.read("a/x/flow/c.0.0.0.0") is None
    storage.delete("b/zarr.json")
    storage.delete("b/zarr.json")
    assert storage.read("b/zarr.json") is None
    assert storage.read("ab/zarr.json") == b"{}"


def test_a_sink_sets_its_key_when_it_ends_well(storage):
    storage.write("flow/c.0.0.0.0", b"old")
    with storage.open_sink("flow/c.0.0.0.0") as file:
        file.write(b"new ")
        assert storage.read("flow/c.0.0.0.0") == b"old"
        file.write(b"value")
    assert storage.read("flow/c.0.0.0.0") == b"new value"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, GeneratorExit])
def test_a_sink_that_fails_leaves_what_was_there(storage, error):
    storage.write("flow/c.0.0.0.0", b"old")

    def write_half(key):
        with storage.open_sink(key) as file:
            file.write(b"half")
            raise error

    for key in ("flow/c.0.0.0.0", "flow/c.1.0.0.0"):
        with pytest.raises(error):
            write_half(key)
    assert storage.list_children("flow") == ["c.0.0.0.0"]
    assert storage.read("flow/c.0.0.0.0") == b"old"


def test_zarr_python_sees_the_same_place(storage):
    storage.write("zarr.json", b'{"zarr_format": 3, "node_type": "group", "attributes": {"a": 1}}')
    theirs = {
        LocalStorage: lambda: storage.root,
        ZarrStorage: lambda: storage._store,
        ObjectStorage: lambda: zarr.storage.FsspecStore.from_url(
            storage._url, storage_options=json.loads(storage._options)
        ),
    }[type(storage)]()
    assert dict(zarr.open_group(theirs, mode="r").attrs) == {"a": 1}


def test_a_storage_names_its_place(storage):
    assert storage.url


def test_a_folder_crosses_processes(tmp_path):
    storage = LocalStorage(str(tmp_path))
    storage.write("a", b"1")
    assert pickle.loads(pickle.dumps(storage)).read("a") == b"1"


def test_a_folder_that_cannot_be_read_is_an_error_that_names_it(tmp_path):
    (tmp_path / "a").mkdir()
    storage = LocalStorage(str(tmp_path))
    with pytest.raises(StoreError, match=re.escape(f"cannot read {tmp_path / 'a'}: Is a directory")):
        storage.read("a")


def test_files_in_the_making_have_a_name_that_readers_pass_over(tmp_path):
    storage = LocalStorage(str(tmp_path))
    with storage.open_sink("wave/a/flow/c.0.0.0.0") as file:
        file.write(b"half")
        (name,) = os.listdir(tmp_path / "wave/a/flow")
        assert name.endswith(".partial")
        with storage.open_sink("wave/a/flow/c.1.0.0.0"):
            assert len(os.listdir(tmp_path / "wave/a/flow")) == 2
    assert storage.list_children("wave/a/flow") == ["c.0.0.0.0", "c.1.0.0.0"]


def test_a_key_below_a_file_is_absent(tmp_path):
    storage = LocalStorage(str(tmp_path))
    storage.write("a", b"1")
    assert storage.read("a/b") is None
    assert storage.size_bytes("a/b") is None
    assert storage.list_children("a") == []
    storage.delete("a/b")
    storage.delete_tree("a/b")
    assert storage.read("a") == b"1"


def test_a_value_is_never_seen_half_written(tmp_path, monkeypatch):
    storage = LocalStorage(str(tmp_path))
    storage.write("a", b"old")
    seen = []

    def replace(source, target):
        seen.append((storage.read("a"), Path(source).read_bytes()))
        os.rename(source, target)

    monkeypatch.setattr("flowstore.storage.local.os.replace", replace)
    storage.write("a", b"new")
    assert seen == [(b"old", b"new")]
    assert storage.read("a") == b"new"


def test_a_full_disk_leaves_what_was_there(tmp_path, monkeypatch):
    storage = LocalStorage(str(tmp_path))
    storage.write("a", b"old")

    def fsync(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("flowstore.storage.local.os.fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        storage.write("a", b"new", is_durable=True)
    assert storage.list_children("") == ["a"]
    assert storage.read("a") == b"old"


@pytest.mark.parametrize("has_links", [True, False])
def test_a_key_is_made_once_however_many_try(tmp_path, monkeypatch, has_links):
    def refuse(*paths):
        raise PermissionError(errno.EPERM, "Operation not permitted")

    if not has_links:
        monkeypatch.setattr(os, "link", refuse)
    storage = LocalStorage(str(tmp_path / "s.zarr"))
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: storage.write_new("zarr.json", b"%d" % number), range(8)))
    assert made.count(True) == 1
    assert storage.read("zarr.json") == b"%d" % made.index(True)
    assert storage.list_children("") == ["zarr.json"]


def test_durable_values_are_flushed_before_they_are_named(tmp_path, monkeypatch):
    storage = LocalStorage(str(tmp_path))
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr("flowstore.storage.local.os.fsync", lambda file: calls.append("fsync") or fsync(file))
    monkeypatch.setattr("flowstore.storage.local.os.replace", lambda *paths: calls.append("replace") or replace(*paths))
    storage.write("a", b"1")
    assert calls == ["replace"]
    storage.write("a", b"2", is_durable=True)
    with storage.open_sink("b") as file:
        file.write(b"3")
    assert calls == ["replace", "fsync", "replace", "fsync", "replace"]


def test_places(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s"
    for place in (path, str(path), "s", f"file://{path}", zarr.storage.LocalStore(path)):
        storage = open_storage(place)
        assert isinstance(storage, LocalStorage)
        assert storage.url == str(path)
        assert open_storage(storage) is storage
    memory = zarr.storage.MemoryStore()
    assert open_storage(memory)._store is memory
    # A name that only looks like an archive is a folder to be made.
    assert isinstance(open_storage(tmp_path / "new.zip"), LocalStorage)


def test_a_zip_is_read(tmp_path):
    with zarr.storage.ZipStore(tmp_path / "store.zip", mode="w") as store:
        zarr.create_group(store, attributes={"a": 1})
    storage = open_storage(tmp_path / "store.zip")
    assert b'"node_type": "group"' in storage.read("zarr.json")
    assert storage.list_children("") == ["zarr.json"]
    assert storage.read("missing") is None


def test_a_place_that_cannot_be_opened_is_named():
    with pytest.raises(StoreError, match="cannot open nowhere://bucket/store"):
        open_storage("nowhere://bucket/store")


def test_case_blindness_is_looked_up_and_not_guessed(tmp_path):
    (tmp_path / "probe").mkdir()
    expected = (tmp_path / "PROBE").exists()
    assert is_case_blind(str(tmp_path / "probe")) is expected
    assert is_case_blind(str(tmp_path / "probe" / "missing" / "deep")) is expected
    (tmp_path / "12").mkdir()
    assert is_case_blind(str(tmp_path / "12")) is expected


def test_both_cases_of_one_name_are_no_sign_of_blindness(tmp_path):
    (tmp_path / "name").mkdir()
    (tmp_path / "NAME").mkdir(exist_ok=True)
    is_one = (tmp_path / "name").samefile(tmp_path / "NAME")
    assert is_case_blind(str(tmp_path / "name")) is is_one
