"""Opening a store and finding classes and videos in it."""

import json
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import zarr
from store_factory import drop_digests, make_codes, settings_of, tree_files, write_store, write_video

import flowstore
from flowstore.errors import (
    ArgumentError,
    ChecksumError,
    FlowStoreError,
    NameNotFoundError,
    StoreFormatError,
    StoreNotFoundError,
)
from flowstore.names import escape_name
from flowstore.storage.local import LocalStorage
from flowstore.store.index import write_index
from flowstore.store.tree import read_records
from flowstore.store.video_index import VideoIndex
from flowstore.store.writer import write_class

NAMES = [
    "plain",
    "a b",
    "[HD]",
    "(x)!&;#'\"$",
    "100%",
    "50%25",
    "caf\u00e9",
    "cafe\u0301",
    "...",
    "-v",
    "__x",
    "..",
    ".",
    "index",
    "zarr.json",
    "a/b",
    "a\\b",
    "new\nline",
    "x" * 250,
    "é" * 200,
    "not utf-8 \udcff",
]


@pytest.fixture
def store(tmp_path):
    videos = {
        "wave/a": make_codes(5, seed=1),
        "wave/b": make_codes(40, 6, 8, seed=2),
        "run/a": make_codes(31, 6, 8, seed=3),
    }
    write_store(tmp_path / "s.zarr", videos, {"run/bad": "no frame can be decoded", "jump/bad": "empty file (0 bytes)"})
    return flowstore.open_store(tmp_path / "s.zarr")


def test_importing_flowstore_loads_no_heavy_library():
    heavy = ["cv2", "dask", "torch", "xarray", "pandas", "matplotlib", "numba", "distributed", "llvmlite"]
    script = (
        f"import sys, flowstore; at_once = sorted({{'numpy', 'zarr'}} & {{*sys.modules}}); flowstore.open_store; "
        f"print([name for name in {heavy} if name in sys.modules], at_once)"
    )
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(flowstore.__file__))}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[] []"


def test_every_name_at_the_top_is_the_one_of_its_room():
    assert flowstore.extract is flowstore.pipeline.extract
    assert flowstore.export_flow is flowstore.export.export
    assert flowstore.import_flow is flowstore.importer.import_flow
    assert flowstore.verify_store is flowstore.verify.verify
    assert flowstore.copy_store is flowstore.copying.copy
    assert flowstore.motion_stats is flowstore.stats.stats
    assert flowstore.render_flow is flowstore.render.render
    assert {*flowstore.__all__} <= {*dir(flowstore)}
    with pytest.raises(AttributeError, match="no attribute 'extracts'"):
        print(flowstore.extracts)


def test_reading_flow_loads_no_heavy_library(store):
    heavy = ["cv2", "dask", "torch", "xarray", "pandas", "matplotlib", "numba", "distributed"]
    script = f"""
import sys, flowstore
store = flowstore.open_store(sys.argv[1])
assert store["wave/a"][0:3].shape == (3, 2, 24, 32)
assert len(store.select(min_flows=31).videos) == 2
print([name for name in {heavy} if name in sys.modules])
"""
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(flowstore.__file__))}
    command = [sys.executable, "-c", script, store.url]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[]"


def test_classes_and_videos(store):
    assert list(store) == store.classes == ["jump", "run", "wave"]
    assert len(store) == 3
    assert (store.n_videos, store.n_flows) == (3, 76)
    assert list(store["run"]) == store["run"].names == ["a", "bad"]
    assert len(store["wave"]) == 2
    assert [video.key for video in store.iter_videos()] == ["run/a", "wave/a", "wave/b"]
    np.testing.assert_array_equal(store["wave/a"].codes[:], make_codes(5, seed=1))
    np.testing.assert_array_equal(store["wave"]["a"][2:4], store["wave/a"][2:4])
    assert store["wave/b"].fps == 30.0


def test_membership(store):
    assert "wave" in store
    assert "wave/a" in store
    assert "run/bad" in store
    assert "a" in store["wave"]
    for key in ("wav", "wave/c", "", "wave/", "/a", "index", "zarr.json", "index/n_flows", 3, "wave/a/flow", ".."):
        assert key not in store
    for key in ("c", "", "zarr.json", "..", 3):
        assert key not in store["wave"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("wav", r"no class 'wav' in .*s.zarr; did you mean 'wave'\?"),
        ("index", "no class 'index'"),
        ("wave/aa", r"no video 'aa' in class 'wave'; did you mean 'a'\?"),
        ("wave/flow", "no video 'flow' in class 'wave'"),
        ("../s.zarr", "no class '..'"),
    ],
)
def test_a_name_that_is_not_there_suggests_the_nearest(store, key, message):
    with pytest.raises(NameNotFoundError, match=message) as caught:
        store[key]
    assert isinstance(caught.value, LookupError)


def test_repr_tells_what_is_inside(store):
    assert repr(store) == (
        f"<FlowStore {store.url}: 3 classes, 3 videos with flow, 2 failed, 76 flows; "
        "farneback (opencv), uint8 centred ±20 px>"
    )
    assert repr(store["wave"]) == "<FlowClass wave: 2 videos>"


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_every_name_is_stored_listed_and_read_back(tmp_path, name):
    codes = make_codes(2, 4, 5)
    storage = LocalStorage(str(tmp_path / "s.zarr"))
    # Slashes part a class from a video in keys, so the video is written by its own name.
    write_store(storage, {"first/other": codes})
    write_class(storage, name)
    write_video(storage, name, name, codes)
    write_index(storage, VideoIndex.from_records(read_records(storage)))
    store = flowstore.open_store(storage)
    assert sorted(store.classes) == sorted(["first", name])
    assert store.select(min_flows=1).classes == store.classes
    for found in (flowstore.FlowClass(store, name), store.select(min_flows=1)._class(name)):
        assert found.names == [name]
        assert (found[name].class_name, found[name].name) == (name, name)
        np.testing.assert_array_equal(found[name].codes[:], codes)
    assert {video.name for video in store.iter_videos()} == {"other", name}
    assert os.listdir(tmp_path) == ["s.zarr"]
    component = escape_name(name)
    assert sorted(os.listdir(tmp_path / "s.zarr")) == sorted(["first", "index", "zarr.json", component])
    assert sorted(os.listdir(tmp_path / "s.zarr" / component)) == sorted(["zarr.json", component])


def test_names_that_only_case_keeps_apart(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/A": make_codes(2, seed=1), "wave/a": make_codes(3, seed=2)})
    store = flowstore.open_store(tmp_path / "s.zarr")
    assert (len(store["wave/A"]), len(store["wave/a"])) == (2, 3)


# Selections


def test_select(store):
    assert [row["video"] for row in store.select("wave").videos] == ["a", "b"]
    assert store.select(["run", "wave"], min_flows=31).classes == ["run", "wave"]
    assert [video.key for video in store.select(min_flows=31).iter_videos()] == ["run/a", "wave/b"]
    assert [row["path"] for row in store.select(status="failed").videos] == ["jump/bad", "run/bad"]
    assert len(store.select(status=None).videos) == 5
    assert len(store.select("jump").videos) == 0
    assert len(store.select(min_flows=1000).videos) == 0
    assert list(store.select(min_flows=1000)) == []


def test_a_selection_has_the_same_interface(store):
    chosen = store.select(min_flows=31)
    assert len(chosen["wave"]) == 1
    assert "wave/b" in chosen
    for key in ("wave/a", "jump", "run/bad"):
        assert key not in chosen
        with pytest.raises(NameNotFoundError):
            chosen[key]
    assert (chosen.n_videos, chosen.n_flows) == (2, 71)
    np.testing.assert_array_equal(chosen["wave/b"].codes[:], make_codes(40, 6, 8, seed=2))
    again = chosen.select("wave").select(min_flows=2)
    assert [video.key for video in again.iter_videos()] == ["wave/b"]
    assert again.videos.flow_means.tolist() == [float(n) for n in range(40)]


def test_selecting_an_unknown_class_is_an_error(store):
    with pytest.raises(NameNotFoundError, match=r"no class 'waves'.*did you mean 'wave'"):
        store.select(["run", "waves"])


def test_a_store_is_pickled(store):
    again = pickle.loads(pickle.dumps(store.select("wave")))
    assert [video.key for video in again.iter_videos()] == ["wave/a", "wave/b"]
    np.testing.assert_array_equal(again["wave/a"][:], store["wave/a"][:])


# Many clips


def test_read_clips(store):
    names, starts = ["wave/b", "run/a", "wave/b"], [0, 21, 30]
    clips = store.read_clips(names, starts, 10)
    assert clips.dtype == np.float32
    assert clips.shape == (3, 10, 2, 6, 8)
    for clip, name, start in zip(clips, names, starts, strict=True):
        np.testing.assert_array_equal(clip, store[name][start : start + 10])
    out = np.empty_like(clips)
    assert store.read_clips(names, starts, 10, out=out) is out
    np.testing.assert_array_equal(out, clips)


@pytest.mark.parametrize(
    ("names", "starts", "length", "message"),
    [
        (["wave/b"], [31], 10, r"flows \[31, 41\) leave wave/b, which has 40"),
        (["wave/b"], [-1], 10, r"flows \[-1, 9\) leave wave/b"),
        (["wave/b", "run/a"], [0], 10, "2 names but 1 starts"),
        (["wave/b", "wave/a"], [0, 0], 3, r"wave/a is 32×24, the clips before it are 8×6"),
    ],
)
def test_clips_that_cannot_be_read_are_refused(store, names, starts, length, message):
    with pytest.raises(ArgumentError, match=message):
        store.read_clips(names, starts, length)


@pytest.mark.parametrize("shape", [(1, 10, 2, 6, 8), (3, 10, 2, 6, 8), (2, 9, 2, 6, 8), (2, 10, 2, 6, 9)])
def test_clips_do_not_go_into_an_array_of_another_shape(store, shape):
    with pytest.raises(ArgumentError, match="out"):
        store.read_clips(["wave/b", "run/a"], [0, 0], 10, out=np.empty(shape, np.float32))


# What is no store


def test_nothing_there(tmp_path):
    with pytest.raises(StoreNotFoundError, match=r"nowhere.zarr: no store here.*flowstore extract") as caught:
        flowstore.open_store(tmp_path / "nowhere.zarr")
    assert isinstance(caught.value, FileNotFoundError)
    with pytest.raises(StoreNotFoundError):
        flowstore.open_store(zarr.storage.MemoryStore())


def test_a_folder_of_other_files(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(StoreFormatError, match=r"not a flowstore store \(it has no zarr.json\)"):
        flowstore.open_store(tmp_path)


def test_a_foreign_zarr_group(tmp_path):
    zarr.create_group(str(tmp_path / "g.zarr"), attributes={"title": "mine"})
    with pytest.raises(StoreFormatError, match=r"g.zarr/zarr.json: a Zarr node, but not one of flowstore's"):
        flowstore.open_store(tmp_path / "g.zarr")


def test_a_foreign_zarr_array(tmp_path):
    zarr.create_array(str(tmp_path / "a.zarr"), shape=(3,), dtype="uint8")
    with pytest.raises(StoreFormatError, match=r"a.zarr/zarr.json: a Zarr node, but not one of flowstore's"):
        flowstore.open_store(tmp_path / "a.zarr")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0",
        b"{",
        b"[]",
        b"null",
        b'{"zarr_format": 2}',
        b'{"zarr_format":3,"node_type":"group","attributes":null}',
    ],
)
def test_a_damaged_root_document(tmp_path, content):
    write_store(tmp_path / "s.zarr", {"a/b": make_codes(2)})
    (tmp_path / "s.zarr/zarr.json").write_bytes(content)
    with pytest.raises(StoreFormatError, match=r"s.zarr/zarr.json: "):
        flowstore.open_store(tmp_path / "s.zarr")


def change_root(root, change):
    document = json.loads((root / "zarr.json").read_bytes())
    change(document["attributes"]["flowstore"])
    (root / "zarr.json").write_text(json.dumps(document))


def test_a_newer_format_says_how_to_get_on(tmp_path):
    write_store(tmp_path / "s.zarr", {"a/b": make_codes(2)})
    change_root(tmp_path / "s.zarr", lambda attributes: attributes.update(format=2))
    with pytest.raises(StoreFormatError, match=r"a store of format 2, this flowstore reads up to 1: pip install -U"):
        flowstore.open_store(tmp_path / "s.zarr")


@pytest.mark.parametrize("value", [None, "1", 0, -1, 1.5, True])
def test_a_format_that_is_no_number(tmp_path, value):
    write_store(tmp_path / "s.zarr", {"a/b": make_codes(2)})
    change_root(tmp_path / "s.zarr", lambda attributes: attributes.update(format=value))
    with pytest.raises(StoreFormatError, match="must state its format"):
        flowstore.open_store(tmp_path / "s.zarr")


@pytest.mark.parametrize(
    "change",
    [
        lambda attributes: attributes.pop("settings"),
        lambda attributes: attributes["settings"].pop("encoding"),
        lambda attributes: attributes["settings"].update(step=0),
        lambda attributes: attributes["settings"].update(bound_px=-1),
        lambda attributes: attributes["settings"].update(color="red"),
        lambda attributes: attributes.update(settings=[]),
        lambda attributes: attributes.update(versions="new"),
    ],
)
def test_damaged_settings(tmp_path, change):
    write_store(tmp_path / "s.zarr", {"a/b": make_codes(2)})
    change_root(tmp_path / "s.zarr", change)
    with pytest.raises(ChecksumError, match=r"s\.zarr/zarr\.json: .* \(their digest differs\)"):
        flowstore.open_store(tmp_path / "s.zarr")
    drop_digests(tmp_path / "s.zarr")
    with pytest.raises(StoreFormatError, match="damaged settings"):
        flowstore.open_store(tmp_path / "s.zarr")


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"zarr_format":3,"node_type":"group","attributes":{}}'])
def test_a_damaged_record_names_the_video(tmp_path, content):
    write_store(tmp_path / "s.zarr", {"wave/clip": make_codes(2)})
    (tmp_path / "s.zarr/wave/clip/zarr.json").write_bytes(content)
    with pytest.raises(StoreFormatError, match=r"wave/clip/zarr\.json"):
        flowstore.open_store(tmp_path / "s.zarr")["wave/clip"]


def test_a_record_with_a_missing_field_names_the_video(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/clip": make_codes(2)})
    path = tmp_path / "s.zarr/wave/clip/zarr.json"
    path.write_bytes(path.read_bytes().replace(b'"n_flows": 2', b'"n_flows": 0'))
    with pytest.raises(ChecksumError, match=r"wave/clip/zarr.json: .* \(their digest differs\)"):
        flowstore.open_store(tmp_path / "s.zarr")["wave/clip"]
    drop_digests(tmp_path / "s.zarr", "wave/clip")
    with pytest.raises(StoreFormatError, match=r"wave/clip/zarr.json: video 'clip' is ok, so it needs flows"):
        flowstore.open_store(tmp_path / "s.zarr")["wave/clip"]


def test_a_commit_without_bytes_commits_nothing(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/clip": make_codes(2), "wave/other": make_codes(3)}, is_indexed=False)
    (tmp_path / "s.zarr/wave/clip/zarr.json").write_bytes(b"")
    store = flowstore.open_store(tmp_path / "s.zarr")
    assert store["wave"].names == ["other"]
    with pytest.raises(NameNotFoundError, match="no video 'clip'"):
        store["wave/clip"]


def test_files_of_the_system_are_no_classes(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/clip": make_codes(2)}, is_indexed=False)
    (tmp_path / "s.zarr/.DS_Store").write_bytes(b"x")
    (tmp_path / "s.zarr/wave/.DS_Store").write_bytes(b"x")
    store = flowstore.open_store(tmp_path / "s.zarr")
    assert store.classes == ["wave"]
    assert store["wave"].names == ["clip"]


def test_reading_changes_nothing(store):
    before = tree_files(store.url)
    store.videos.to_pandas()
    store.read_clips(["wave/b"], [0], 4)
    with pytest.raises(FlowStoreError):
        store["wave/zzz"]
    assert repr(store)
    assert tree_files(store.url) == before


@pytest.mark.parametrize("bound_px", [1.0, 20.0, 37.5])
def test_the_bound_of_a_store_is_the_bound_of_its_videos(tmp_path, bound_px):
    codes = np.full((1, 2, 4, 4), 255, np.uint8)
    write_store(tmp_path / "s.zarr", {"a/b": codes}, settings=settings_of("centred", bound_px))
    assert (flowstore.open_store(tmp_path / "s.zarr")["a/b"][0] == np.float32(bound_px)).all()


def test_a_file_url_and_a_zarr_store_are_the_same_place(store):
    for place in (f"file://{store.url}", zarr.storage.LocalStore(store.url), LocalStorage(store.url)):
        np.testing.assert_array_equal(flowstore.open_store(place)["wave/a"].codes[1], store["wave/a"].codes[1])


def test_a_damaged_zip_is_a_clear_error(tmp_path):
    (tmp_path / "s.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(flowstore.FlowStoreError, match=r"cannot open .*s.zip"):
        flowstore.open_store(tmp_path / "s.zip")


def test_a_video_that_lost_its_flow_is_an_error(store):
    shutil.rmtree(os.path.join(store.url, "wave", "a", "flow"))
    with pytest.raises(ChecksumError, match=r"wave/a: wave/a/flow/zarr.json is missing"):
        store["wave/a"][0]


def test_a_video_that_is_gone_is_not_suggested_for_itself(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/a": make_codes(3), "wave/b": make_codes(3)})
    store = flowstore.open_store(tmp_path / "s.zarr")
    assert store["wave"].names == ["a", "b"]
    shutil.rmtree(tmp_path / "s.zarr/wave/a")
    with pytest.raises(NameNotFoundError, match=r"no video 'a' in class 'wave', though the index names it$"):
        store["wave/a"]
