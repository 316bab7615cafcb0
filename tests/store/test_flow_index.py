"""Tables of videos and flows: what the records say, and nothing else is read for them."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from store_factory import failed_record, make_codes, make_record, write_store

import flowstore
from flowstore.notebook.tables import flow_frames, flow_videos
from flowstore.storage.local import LocalStorage
from flowstore.store.index import write_index
from flowstore.store.tree import read_record, video_paths
from flowstore.store.video_index import VideoIndex

VIDEOS = {"wave/a": make_codes(5, 6, 8), "wave/b [HD] é": make_codes(3, 6, 8), "run/a": make_codes(4, 12, 16)}
FAILED = {"run/bad": "no frame can be decoded", "jump/bad": "1 frame: no flow"}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables") / "s.zarr"
    write_store(root, VIDEOS, FAILED)
    return str(root)


def rows_of_the_records(root):
    """The flows of a store, gathered from the videos' own records in plain loops."""
    storage, rows = LocalStorage(root), []
    for path in video_paths(storage):
        record = read_record(storage, path)
        for frame, mean in enumerate(record.statistics.flow_means if record.is_ok else ()):
            rows.append(
                (record.class_name, f"{record.class_name}/{record.name}", frame, frame / record.fps, np.float32(mean))
            )
    return rows


def test_a_row_a_flow(root):
    flows = flowstore.open_store(root).flows
    table = flows.to_pandas()
    assert list(table) == ["class", "video", "frame", "time_s", "mean_magnitude_px"]
    assert [tuple(row) for row in table.itertuples(index=False)] == rows_of_the_records(root)
    assert (len(flows), len(table)) == (12, 12)
    assert [str(table[name].dtype) for name in ("class", "video")] == ["category", "category"]
    assert table["mean_magnitude_px"].dtype == np.float32
    assert repr(flows) == "<FlowIndex: 12 flows of 5 videos>"


def test_the_columns_are_those_of_the_table(root):
    store = flowstore.open_store(root)
    table = store.flows.to_pandas()
    np.testing.assert_array_equal(store.flows.mean_magnitude_px, table["mean_magnitude_px"])
    np.testing.assert_array_equal(store.flows.frames, table["frame"])
    assert [f"{store.videos[row]['class']}/{store.videos[row]['video']}" for row in store.flows.video_numbers] == list(
        table["video"]
    )


def test_the_flows_of_a_selection(root):
    store = flowstore.open_store(root)
    table = store.select("wave", min_flows=4).flows.to_pandas()
    assert table["video"].unique().tolist() == ["wave/a"]
    assert table["frame"].tolist() == [0, 1, 2, 3, 4]
    assert store.select(status="failed").flows.to_pandas().empty
    assert len(store.select("jump").flows.to_pandas()) == 0


def test_a_video_of_the_table_is_one_of_the_store(root):
    store = flowstore.open_store(root)
    top = store.flows.to_pandas().nlargest(1, "mean_magnitude_px").iloc[0]
    assert store[top["video"]][top["frame"]].shape == (2, 6, 8)


def test_a_row_a_video(root):
    table = flowstore.open_store(root).videos.to_pandas()
    assert list(table) == [
        "class", "name", "n_frames", "n_flows", "height", "width", "fps", "duration_s", "mean_magnitude_px",
        "p99_magnitude_px", "max_magnitude_px", "clipped_share", "encoding", "size_bytes", "status", "reason",
    ]  # fmt: skip
    assert table.index.name == "video"
    row = table.loc["wave/b [HD] é"]
    expected = {"class": "wave", "name": "b [HD] é", "n_frames": 4, "n_flows": 3, "height": 6, "width": 8, "fps": 30.0}
    expected |= {"mean_magnitude_px": 1.5, "p99_magnitude_px": 7.25, "max_magnitude_px": 9.0, "clipped_share": 0.125}
    expected |= {"duration_s": 4 / 30, "encoding": "centred", "status": "ok", "reason": ""}
    assert {name: row[name] for name in expected} == expected
    assert row["size_bytes"] == sum(
        file.stat().st_size for file in Path(root, "wave/b [HD] é/flow").iterdir() if file.name != "zarr.json"
    )
    failed = table[table["status"] == "failed"]
    assert failed["reason"].tolist() == ["1 frame: no flow", "no frame can be decoded"]
    assert failed[["fps", "duration_s", "mean_magnitude_px"]].isna().all().all()
    assert [str(table[name].dtype) for name in ("class", "encoding", "status")] == 3 * ["category"]


def test_both_tables_join(root):
    store = flowstore.open_store(root)
    joined = store.flows.to_pandas().join(store.videos.to_pandas()["n_flows"], on="video")
    assert joined["n_flows"].tolist() == [4] * 4 + [5] * 5 + [3] * 3


def test_without_a_clock_there_is_no_time():
    index = VideoIndex.from_records([make_record("a", "frames", 2, fps=None), make_record("a", "video", 2, fps=10.0)])
    videos = index.to_pandas()
    assert videos["duration_s"].isna().tolist() == [True, False]
    assert videos["duration_s"].iloc[1] == 0.3


def test_the_time_of_a_flow_is_that_of_its_first_frame(tmp_path):
    storage = LocalStorage(str(tmp_path / "s.zarr"))
    write_store(storage, {})
    for name in ("frames", "video"):
        (tmp_path / "s.zarr" / "a" / name).mkdir(parents=True)
    write_index(
        storage,
        VideoIndex.from_records([make_record("a", "frames", 2, fps=None), make_record("a", "video", 3, fps=12.5)]),
    )
    table = flowstore.open_store(storage).flows.to_pandas()
    np.testing.assert_array_equal(table["time_s"], [np.nan, np.nan, 0, 0.08, 0.16])


def test_videos_and_classes_that_are_shown_alike_are_kept_apart():
    # A byte that is not UTF-8, and the four characters by which it is shown; between them one that sorts there.
    names = ["caf\udce9", r"caf\xe9", "cafz"]
    index = VideoIndex.from_records([make_record(name, "v", 2) for name in names])
    table = index.to_pandas()
    assert sorted(table["class"]) == [r"caf\xe9", r"caf\xe9", "cafz"]
    assert sorted(table.index) == ["caf%5Cxe9/v", "caf%E9/v", "cafz/v"]


def test_numbers_of_flows():
    generator = np.random.default_rng(3)
    for n_videos in (0, 1, 2, 50):
        n_flows = generator.integers(0, 4, n_videos)
        assert flow_frames(n_flows).tolist() == [frame for n in n_flows for frame in range(n)]
        assert flow_videos(n_flows).tolist() == [row for row, n in enumerate(n_flows) for _ in range(n)]


def test_only_failed_videos_and_none():
    for records in ([], [failed_record("a", "b", "bad")]):
        index = VideoIndex.from_records(records)
        assert isinstance(index.to_pandas(), pd.DataFrame)
        assert len(index.to_pandas()) == len(records)


def test_no_flow_and_no_record_is_read_for_a_table(root, tmp_path):
    """With everything but the root, the index and empty folders gone, the tables are the same."""
    import shutil

    store = flowstore.open_store(root)
    bare = tmp_path / "bare.zarr"
    shutil.copytree(os.path.join(root, "index"), bare / "index")
    shutil.copy(os.path.join(root, "zarr.json"), bare)
    for path in store.videos.column("path"):
        (bare / path).mkdir(parents=True)
    opened = flowstore.open_store(bare)
    pd.testing.assert_frame_equal(opened.flows.to_pandas(), store.flows.to_pandas())
    pd.testing.assert_frame_equal(opened.videos.to_pandas(), store.videos.to_pandas())


BLOCKED = """
import sys
sys.modules["pandas"] = None
import flowstore
store = flowstore.open_store(sys.argv[1])
for table in (store.videos, store.flows):
    try:
        table.to_pandas()
    except flowstore.FlowStoreError as error:
        print(error)
"""


def test_without_pandas_the_install_line_is_named(root):
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(flowstore.__file__))}
    command = [sys.executable, "-c", BLOCKED, root]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == 2 * ["to_pandas needs pandas: pip install 'flowstore[notebook]'"]
