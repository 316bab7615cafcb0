"""The index: equal to the records, readable by others, and never believed when it is damaged."""

import pickle
import shutil

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr
from store_factory import failed_record, make_codes, make_record, write_store, write_video

import flowstore
from flowstore.errors import ArgumentError, StoreError
from flowstore.names import escape_name
from flowstore.storage.local import LocalStorage
from flowstore.storage.places import open_storage
from flowstore.store.index import read_index, remove_index, write_index
from flowstore.store.tree import read_records, video_paths
from flowstore.store.video_index import VideoIndex

VIDEOS = {
    "wave/a": make_codes(5, seed=1),
    "wave/b [HD] é": make_codes(3, 6, 8, seed=2),
    "run/a": make_codes(4, seed=3),
}
FAILED = {"run/bad": "no frame can be decoded", "jump/bad": "1 frame: no flow"}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("index") / "s.zarr"
    write_store(root, VIDEOS, FAILED)
    return root


def assert_same(found: VideoIndex, expected: VideoIndex):
    assert list(found.columns) == list(expected.columns)
    for name, column in expected.columns.items():
        assert found.columns[name].dtype == column.dtype, name
        np.testing.assert_array_equal(found.columns[name], column, err_msg=name)
    np.testing.assert_array_equal(found.flow_means, expected.flow_means)


def from_tree(root) -> VideoIndex:
    return VideoIndex.from_records(read_records(LocalStorage(str(root))))


def test_rows_are_the_records(written):
    index = flowstore.open_store(written).videos
    # Written out by hand, sorted by class and name.
    assert index.column("class").tolist() == ["jump", "run", "run", "wave", "wave"]
    assert index.column("video").tolist() == ["bad", "a", "bad", "a", "b [HD] é"]
    assert index.column("path").tolist() == ["jump/bad", "run/a", "run/bad", "wave/a", "wave/b [HD] é"]
    assert index.column("status").tolist() == ["failed", "ok", "failed", "ok", "ok"]
    assert index.column("reason").tolist() == ["1 frame: no flow", "", "no frame can be decoded", "", ""]
    assert index.column("n_flows").tolist() == [0, 4, 0, 5, 3]
    assert index.column("n_frames").tolist() == [0, 5, 0, 6, 4]
    assert index.column("height").tolist() == [0, 24, 0, 24, 6]
    assert index.column("width").tolist() == [0, 32, 0, 32, 8]
    np.testing.assert_array_equal(index.column("fps"), [np.nan, 30, np.nan, 30, 30])
    np.testing.assert_array_equal(index.column("p99_magnitude"), [np.nan, 7.25, np.nan, 7.25, 7.25])
    assert index.column("clipped_y").tolist() == [0, 4, 0, 4, 4]
    assert index.column("source_path").tolist()[4] == "wave/b [HD] é.avi"
    assert index.flow_means.tolist() == [0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 1, 2]
    sizes = [
        sum(file.stat().st_size for file in (written / path / "flow").glob("c.*")) for path in index.column("path")
    ]
    assert index.column("size_bytes").tolist() == sizes
    assert len(index) == len(list(index)) == 5
    assert index[3]["video"] == "a"
    assert type(index[3]["n_flows"]) is int
    assert repr(index).startswith("<VideoIndex: 5 videos; columns class, video,")


def test_the_stored_index_is_the_gathered_one(written):
    assert_same(read_index(LocalStorage(str(written))), from_tree(written))


def test_an_unknown_column_is_refused(written):
    with pytest.raises(ArgumentError, match="no column 'label' in the index; it has class, video"):
        flowstore.open_store(written).videos.column("label")


def test_where_keeps_the_means_of_its_flows(written):
    index = from_tree(written)
    chosen = index.where(np.array([False, True, True, False, True]))
    assert chosen.column("path").tolist() == ["run/a", "run/bad", "wave/b [HD] é"]
    assert chosen.flow_means.tolist() == [0, 1, 2, 3, 0, 1, 2]


def test_xarray_and_zarr_read_the_columns(written):
    index = from_tree(written)
    group = zarr.open_group(str(written), path="index", mode="r")
    assert set(group.array_keys()) == {*index.columns, "flow_mean_magnitude"}
    with xr.open_zarr(written, group="index", consolidated=False) as dataset:
        assert dict(dataset.sizes) == {"video": 5, "flow": 12}
        for name, column in index.columns.items():
            np.testing.assert_array_equal(group[name][:], column)
            np.testing.assert_array_equal(dataset[name].values, column)
        np.testing.assert_array_equal(dataset["flow_mean_magnitude"].values, index.flow_means)


def test_to_pandas(written):
    frame = flowstore.open_store(written).videos.to_pandas()
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 5
    assert frame.groupby("class", observed=True)["n_flows"].sum().to_dict() == {"jump": 0, "run": 4, "wave": 8}
    assert frame["n_flows"].dtype == np.int64
    assert frame.loc[frame["status"] == "failed", "reason"].tolist() == ["1 frame: no flow", "no frame can be decoded"]


def test_an_empty_index(tmp_path):
    write_store(tmp_path / "s.zarr", {})
    store = flowstore.open_store(tmp_path / "s.zarr")
    assert (len(store.videos), store.classes, store.n_flows) == (0, [], 0)
    assert_same(store.videos, VideoIndex.from_records([]))
    assert store.videos.to_pandas().empty
    assert "0 classes, 0 videos, 0 flows" in repr(store)


def test_an_index_of_only_failed_videos(tmp_path):
    write_store(tmp_path / "s.zarr", {}, FAILED)
    store = flowstore.open_store(tmp_path / "s.zarr")
    assert (store.n_videos, len(store.videos), len(store.videos.flow_means)) == (0, 2, 0)


def test_names_that_are_not_utf8(tmp_path):
    name = "caf\udce9"
    storage = LocalStorage(str(tmp_path / "s.zarr"))
    write_store(storage, {f"wave/{name}": make_codes(2)}, {f"wave/bad{name}": f"cannot open {name}"})
    store = flowstore.open_store(storage)
    index = store.videos
    assert index.column("video").tolist() == ["bad" + r"caf\xe9", r"caf\xe9"]
    assert index.column("path").tolist() == ["wave/badcaf%E9", "wave/caf%E9"]
    assert [index.name(number) for number in range(2)] == [f"bad{name}", name]
    assert index.column("reason")[0] == r"cannot open caf\xe9"
    assert store["wave"].names == [f"bad{name}", name]
    assert store[f"wave/{name}"].name == name
    assert store.select("wave", min_flows=1)["wave"].names == [name]
    assert_same(index, from_tree(storage.root))
    assert index.to_pandas()["name"].tolist() == index.column("video").tolist()


def test_shortened_names_come_from_the_record(tmp_path):
    name, class_name = "é" * 200, "ß" * 150
    assert len(escape_name(name).encode()) <= 255
    storage = LocalStorage(str(tmp_path / "s.zarr"))
    write_store(storage, {f"{class_name}/{name}": make_codes(2)})
    index = flowstore.open_store(storage).videos
    assert (index.class_name(0), index.name(0)) == (class_name, name)


def test_order_is_by_original_name_and_not_by_path():
    records = [make_record("wave", name, 2) for name in ("b", "a/b", "a", "a b", "ab")]
    index = VideoIndex.from_records([*records, failed_record("a", "z", "bad")])
    assert index.column("video").tolist() == ["z", "a", "a b", "a/b", "ab", "b"]


# What is gathered


def test_only_committed_videos_are_gathered(written, tmp_path):
    root = shutil.copytree(written, tmp_path / "s.zarr")
    (root / "wave/a/zarr.json").unlink()
    (root / "run/a/zarr.json").write_bytes(b"")
    (root / "wave/left/flow").mkdir(parents=True)
    (root / "wave/left/flow/c.0.0.0.0.123.partial").write_bytes(b"half")
    (root / "stray/dir").mkdir(parents=True)
    shutil.rmtree(root / "index")
    index = flowstore.open_store(root).videos
    assert index.column("path").tolist() == ["jump/bad", "run/bad", "wave/b [HD] é"]
    assert "wave/left" in video_paths(LocalStorage(str(root)))


def test_an_index_is_gathered_from_memory_as_from_disk(written):
    memory = zarr.storage.MemoryStore()
    write_store(memory, VIDEOS, FAILED)
    stored = read_index(open_storage(memory))
    assert_same(stored, from_tree(written))
    remove_index(open_storage(memory))
    assert not [key for key in memory._store_dict if key.startswith("index")]
    assert_same(flowstore.open_store(memory).videos, stored)


def test_a_rewritten_index_follows_the_tree(written, tmp_path):
    root = shutil.copytree(written, tmp_path / "s.zarr")
    storage = LocalStorage(str(root))
    write_video(storage, "wave", "c", make_codes(7, seed=9))
    write_index(storage, from_tree(root))
    assert_same(read_index(storage), from_tree(root))
    assert flowstore.open_store(root).n_flows == 19


def index_files(root):
    return sorted(str(path.relative_to(root)) for path in (root / "index").rglob("*") if path.is_file())


def test_a_removed_index_is_gathered(written, tmp_path):
    root = shutil.copytree(written, tmp_path / "s.zarr")
    shutil.rmtree(root / "index")
    assert_same(flowstore.open_store(root).videos, from_tree(root))


def test_any_damaged_file_of_the_index_is_noticed(written, tmp_path):
    root = shutil.copytree(written, tmp_path / "s.zarr")
    storage, expected = LocalStorage(str(root)), from_tree(written)
    files = index_files(root)
    assert len(files) == 1 + 2 * 20
    for name in files:
        whole = (root / name).read_bytes()
        for damaged in (None, b"", whole[: len(whole) // 2], b"\0" * len(whole), b"{}"):
            (root / name).unlink() if damaged is None else (root / name).write_bytes(damaged)
            assert_same(read_index(storage), expected)
            (root / name).write_bytes(whole)
    assert_same(read_index(storage), expected)


def test_any_flipped_bit_of_a_column_is_noticed(written, tmp_path):
    root = shutil.copytree(written, tmp_path / "s.zarr")
    storage, expected = LocalStorage(str(root)), from_tree(written)
    for name in ("index/n_flows/c/0", "index/clipped_share/c/0"):
        whole = (root / name).read_bytes()
        for offset in range(len(whole)):
            damaged = bytearray(whole)
            damaged[offset] ^= 1 << (offset % 8)
            (root / name).write_bytes(bytes(damaged))
            assert_same(read_index(storage), expected)
        (root / name).write_bytes(whole)


def test_an_index_of_another_store_is_not_believed_silently(written, tmp_path):
    """A column swapped for that of another index of the same length."""
    root, other = shutil.copytree(written, tmp_path / "s.zarr"), tmp_path / "other.zarr"
    write_store(other, {key: codes[:2] for key, codes in VIDEOS.items()}, FAILED)
    shutil.copytree(other / "index/n_flows", root / "index/n_flows", dirs_exist_ok=True)
    assert flowstore.open_store(root).videos.column("n_flows").tolist() == [0, 4, 0, 5, 3]


# Reading by column


def test_only_the_columns_asked_for_are_read(written, monkeypatch):
    opened = []
    original = flowstore.store.index.read_column
    monkeypatch.setattr(
        "flowstore.store.index.read_column",
        lambda storage, path, *rest: opened.append(path) or original(storage, path, *rest),
    )
    store = flowstore.open_store(written)
    assert (len(store.videos), opened) == (5, ["index/path"])
    for _ in range(2):
        assert store.videos.column("n_flows").tolist() == [0, 4, 0, 5, 3]
    assert opened == ["index/path", "index/n_flows"]
    chosen = store.select("wave", min_flows=4)
    assert (len(chosen.videos), chosen.n_flows) == (1, 5)
    assert sorted(opened) == ["index/class", "index/n_flows", "index/path", "index/status"]
    assert chosen.videos.flow_means.tolist() == [0, 1, 2, 3, 4]
    assert "index/flow_mean_magnitude" in opened


def test_an_index_and_a_selection_are_pickled_without_what_was_read(written):
    index = flowstore.open_store(written).videos
    size = len(pickle.dumps(index))
    chosen = index.where(index.column("status") == "ok")
    assert chosen.column("video").tolist() == ["a", "a", "b [HD] é"]
    assert len(pickle.dumps(index)) < size + 100
    again = pickle.loads(pickle.dumps(chosen))
    assert_same(again, chosen)


def test_strings_are_kept_compactly(written):
    column = flowstore.open_store(written).videos.column("path")
    assert column.dtype != object
    assert [type(path) for path in column.tolist()] == [str] * 5


def test_rows_by_class(written):
    index = flowstore.open_store(written).videos
    assert index.rows_by_class == {"jump": range(1), "run": range(1, 3), "wave": range(3, 5)}
    assert VideoIndex.from_records([]).rows_by_class == {}


def test_classes_that_are_shown_alike_are_kept_apart():
    # A byte that is not UTF-8, and the four characters by which it is shown.
    names = ["caf\udce9", r"caf\xe9", "wave"]
    index = VideoIndex.from_records([make_record(name, video, 2) for name in names for video in "ab"])
    assert index.column("class").tolist() == [r"caf\xe9"] * 4 + ["wave"] * 2
    assert {index.class_name(rows[0]): len(rows) for rows in index.rows_by_class.values()} == dict.fromkeys(names, 2)
    for path, rows in index.rows_by_class.items():
        assert {str(index.column("path")[row]).partition("/")[0] for row in rows} == {path}


def test_rows_are_found_by_name():
    names = ["a", "a b", "a/b", "b", "é" * 200, "caf\udce9", "%41", "zz"]
    index = VideoIndex.from_records([make_record(c, name, 2) for c in ("run", "wave") for name in names])
    for row in range(len(index)):
        assert index.row_of(index.class_name(row), index.name(row)) == row
    for absent in ("", "A", "a c", "zzz", "é" * 199):
        assert index.row_of("wave", absent) is None
    assert index.row_of("jump", "a") is None


def test_a_damaged_column_of_a_store_that_changed_is_an_error(written, tmp_path):
    """Half of the columns would be of yesterday's videos and half of today's."""
    root = shutil.copytree(written, tmp_path / "s.zarr")
    index = flowstore.open_store(root).videos
    assert len(index.column("n_flows")) == 5
    write_video(LocalStorage(str(root)), "wave", "c", make_codes(7, seed=9))
    assert not (root / "index").exists()
    with pytest.raises(StoreError, match="column height of its index is damaged or gone, and the store has changed"):
        index.column("height")
