"""A store on which `zarr.consolidate_metadata` was called, as xarray advises: read as it is, and never left behind."""

import json
import warnings

import pytest
import zarr
from store_factory import make_codes, write_avi, write_store

import flowstore
from flowstore.format import root
from flowstore.pipeline import extract
from flowstore.store.removal import remove_videos
from flowstore.verify import verify

pytestmark = pytest.mark.system


def consolidate(place, path=None):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        zarr.consolidate_metadata(str(place), path=path)


def is_consolidated(place):
    return "consolidated_metadata" in json.loads((place / "zarr.json").read_bytes())


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/a": make_codes(3), "wave/b": make_codes(5), "run/c": make_codes(2)})
    return tmp_path / "s.zarr"


@pytest.mark.parametrize("is_larger_than_any_document", [False, True])
def test_it_is_read_named_and_taken_out(store, monkeypatch, is_larger_than_any_document):
    plain = (store / "zarr.json").read_bytes()
    consolidate(store)
    if is_larger_than_any_document:
        monkeypatch.setattr("flowstore.limits.MAX_DOCUMENT_BYTES", (store / "zarr.json").stat().st_size - 1)
    assert flowstore.open_store(store)["wave/a"].codes[:].tobytes() == make_codes(3).tobytes()
    (found,) = verify(store).faults
    assert (found.kind, found.path, found.remedy) == ("foreign", "zarr.json", "rewrite")
    assert "consolidated metadata" in str(found)
    report = verify(store, repair=True)
    assert (report.n_left, report.mended[0]) == (0, "wrote zarr.json anew")
    assert json.loads((store / "zarr.json").read_bytes()) == json.loads(plain)
    assert verify(store).faults == ()


def test_that_of_a_class_too(store):
    consolidate(store, "wave")
    assert [fault.path for fault in verify(store).faults] == ["wave/zarr.json"]
    assert verify(store, repair=True).n_left == 0
    assert not is_consolidated(store / "wave")
    assert verify(store).faults == ()


@pytest.mark.parametrize("change", ["extract", "remove"])
def test_no_change_is_hidden_by_it(tmp_path, change):
    for name in ("a", "b"):
        write_avi(tmp_path / f"videos/wave/{name}.avi", 4)
    options = {"engine": "opencv", "scheduler": "sync"}
    extract(tmp_path / "videos", tmp_path / "s.zarr", **options)
    consolidate(tmp_path / "s.zarr")
    extract(tmp_path / "videos", tmp_path / "s.zarr", **options)
    assert is_consolidated(tmp_path / "s.zarr")  # nothing was changed
    if change == "extract":
        write_avi(tmp_path / "videos/wave/a.avi", 7, seed=3)
        write_avi(tmp_path / "videos/wave/new.avi", 5)
        extract(tmp_path / "videos", tmp_path / "s.zarr", **options)
        expected = {"a": 6, "b": 3, "new": 4}
    else:
        opened = flowstore.open_store(tmp_path / "s.zarr")
        remove_videos(opened, [("wave", "a")])
        expected = {"b": 3}
    group = zarr.open_group(tmp_path / "s.zarr", mode="r")["wave"]
    assert {name: group[name]["flow"].shape[0] for name in sorted(group.group_keys())} == expected


def test_what_is_too_large_for_another_reason_is_refused(store, monkeypatch):
    monkeypatch.setattr(root, "_HEAD_BYTES", 50)
    monkeypatch.setattr("flowstore.limits.MAX_DOCUMENT_BYTES", 100)
    with pytest.raises(flowstore.FlowStoreError, match="a document has at most 100"):
        flowstore.open_store(store)
