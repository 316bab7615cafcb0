"""Labelled arrays: equal to what xarray reads of the same group by itself, lazy, and told where they come from."""

import json
import os
import pickle
import subprocess
import sys

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from store_factory import CREATED, VERSIONS, make_codes, make_record, settings_of, write_store

import flowstore
from flowstore.errors import ChecksumError, FailedVideoError, NameNotFoundError
from flowstore.format.record import VideoRecord
from flowstore.format.settings import ExtractSettings
from flowstore.store.writer import VideoWriter

KEYS = ("wave/a", "wave/clip [HD] é", "run/100%")
CODES = (make_codes(5, seed=1), make_codes(3, 17, 19, seed=2), make_codes(4, seed=3))


@pytest.fixture(scope="module", params=["centred", "denseflow", "truncate", "float16"])
def root(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("labelled") / "s.zarr"
    videos, bound = dict(zip(KEYS, CODES, strict=True)), 15.0
    if request.param == "float16":
        bound, videos = None, {key: (codes.astype(np.float16) - 100) / 8 for key, codes in videos.items()}
    write_store(root, videos, {"wave/broken": "0 frames"}, settings_of(request.param, bound))
    return str(root)


@pytest.mark.parametrize("key", KEYS)
def test_a_video_is_what_xarray_reads(root, key):
    found = flowstore.open_store(root)[key].to_xarray()
    with xr.open_zarr(root, group=key, consolidated=False) as dataset:
        theirs = dataset["flow"]
        assert (found.dims, found.shape, found.name) == (theirs.dims, theirs.shape, theirs.name)
        assert found.attrs["units"] == theirs.attrs["units"]
        np.testing.assert_array_equal(found.values, theirs.values.astype(np.float32))
    assert found.dtype == found.values.dtype == np.float32
    assert isinstance(found.data, da.Array)


def test_zero_is_exact_and_nothing_is_missing(tmp_path):
    codes = np.full((3, 2, 8, 8), 128, np.uint8)
    codes[1, 0, 2, 3] = 1
    write_store(tmp_path / "s.zarr", {"a/still": codes})
    values = flowstore.open_store(tmp_path / "s.zarr")["a/still"].to_xarray().values
    assert values[1, 0, 2, 3] == -20
    assert np.count_nonzero(values) == 1
    assert np.isfinite(values).all()
    with xr.open_zarr(tmp_path / "s.zarr", group="a/still", consolidated=False) as dataset:
        np.testing.assert_array_equal(dataset["flow"].values.astype(np.float32), values)


def test_coordinates(root):
    flow = flowstore.open_store(root)["wave/a"].to_xarray()
    assert flow["frame"].values.tolist() == [0, 1, 2, 3, 4]
    np.testing.assert_allclose(flow["time"], np.arange(5) / 30, rtol=1e-15)
    assert flow["time"].attrs["units"] == "s"
    assert flow["component"].values.tolist() == ["x", "y"]
    np.testing.assert_array_equal(flow.sel(component="y", frame=2), flow.values[2, 1])


def test_attributes_tell_the_origin(root):
    flow = flowstore.open_store(root)["wave/clip [HD] é"].to_xarray()
    encoding = flow.attrs["encoding"]
    assert flow.attrs.get("bound_px") == (None if encoding == "float16" else 15.0)
    expected = {
        "algorithm": "farneback", "class": "wave", "video": "clip [HD] é", "source": "wave/clip [HD] é.avi",
        "source_kind": "video", "created": CREATED, "frame_step": 1,
    }  # fmt: skip
    assert {name: flow.attrs[name] for name in expected} == expected
    assert json.loads(flow.attrs["versions"]) == VERSIONS
    assert json.loads(flow.attrs["parameters"]) == {}


# zarr-python says so of any fixed-length text.
@pytest.mark.filterwarnings("ignore:The data type")
def test_it_can_be_saved_and_loaded_again(root, tmp_path):
    flow = flowstore.open_store(root)["wave/a"].to_xarray()
    flow.to_dataset().to_zarr(tmp_path / "copy.zarr", consolidated=False)
    with xr.open_zarr(tmp_path / "copy.zarr", consolidated=False) as copy:
        xr.testing.assert_identical(copy["flow"].load(), flow.load())


def write_record(storage, record: VideoRecord, codes, settings):
    place = storage, record.class_name, record.name, *codes.shape[2:], settings.quantizer, settings.compression
    with VideoWriter(*place) as writer:
        for flow in codes:
            writer.append(flow)
        writer.commit(record)


def test_without_a_clock_there_is_no_time(tmp_path):
    storage = write_store(tmp_path / "s.zarr", {"a/video": CODES[0]})
    write_record(storage, make_record("a", "frames", 5, fps=None), CODES[0], ExtractSettings())
    store = flowstore.open_store(tmp_path / "s.zarr")
    assert "time" not in store["a/frames"].to_xarray().coords
    assert "time" in store["a/video"].to_xarray().coords


def test_nothing_is_read_before_it_is_computed_and_then_only_what_is_asked_for(tmp_path, monkeypatch):
    write_store(tmp_path / "s.zarr", {"a/long": make_codes(200, 120, 160)})
    video = flowstore.open_store(tmp_path / "s.zarr")["a/long"]
    read = []
    original = type(video.stored).read_into
    monkeypatch.setattr(
        type(video.stored),
        "read_into",
        lambda self, start, out, crop=None: read.append((start, start + len(out))) or original(self, start, out, crop),
    )
    flow = video.to_xarray()
    assert read == []
    assert flow.data.chunksize == (27, 2, 120, 160)
    assert flow.data.nbytes / flow.data.npartitions < 4.2e6
    np.testing.assert_array_equal(flow.isel(frame=30).values, video[30])
    assert read[0] == (30, 31)
    del read[:]
    means = flow.mean(("component", "y", "x")).compute(scheduler="sync")
    assert sorted(read) == [(start, min(start + 27, 200)) for start in range(0, 200, 27)]
    np.testing.assert_allclose(means, video[:].mean((1, 2, 3)), rtol=1e-4)


def test_it_travels_to_other_processes(root):
    flow = flowstore.open_store(root)["wave/a"].to_xarray()
    again = pickle.loads(pickle.dumps(flow))
    np.testing.assert_array_equal(again.values, flow.values)
    np.testing.assert_array_equal(flow.compute(scheduler="processes").values, flow.values)


def test_names_in_graphs_are_those_of_the_content(root, tmp_path):
    store = flowstore.open_store(root)
    names = {store[key].to_xarray().data.name for key in KEYS}
    assert len(names) == 3
    assert names == {flowstore.open_store(root)[key].to_xarray().data.name for key in KEYS}


def test_damage_is_an_error_and_no_zeros(tmp_path):
    write_store(tmp_path / "s.zarr", {"a/b": CODES[0]})
    shard = tmp_path / "s.zarr/a/b/flow/c.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[30] ^= 1
    shard.write_bytes(bytes(data))
    flow = flowstore.open_store(tmp_path / "s.zarr")["a/b"].to_xarray()
    with pytest.raises(ChecksumError, match="a/b"):
        flow.values  # noqa: B018


def test_a_failed_video_has_no_flow(root):
    with pytest.raises(FailedVideoError, match="0 frames"):
        flowstore.open_store(root)["wave/broken"].to_xarray()


def test_a_class_is_a_tree_of_its_videos(root):
    store = flowstore.open_store(root)
    tree = store.to_xarray("wave")
    assert isinstance(tree, xr.DataTree)
    assert list(tree.children) == ["a", "clip [HD] é"]
    assert tree.attrs == {"store": root, "class": "wave"}
    for name in tree.children:
        xr.testing.assert_identical(tree[name]["flow"], store[f"wave/{name}"].to_xarray())
        assert isinstance(tree[name]["flow"].data, da.Array)


def test_a_store_is_a_tree_of_classes_as_xarray_opens_it(root):
    store = flowstore.open_store(root)
    tree = store.to_xarray()
    with xr.open_datatree(root, engine="zarr", consolidated=False) as theirs:
        for node in tree.leaves:
            np.testing.assert_array_equal(node["flow"], theirs[node.path]["flow"].astype(np.float32))
    assert [node.path for node in tree.leaves] == ["/run/100%", "/wave/a", "/wave/clip [HD] é"]
    assert [node.path for node in store.to_xarray(["run"]).leaves] == ["/run/100%"]
    assert [node.path for node in store.select(min_flows=5).to_xarray().leaves] == ["/wave/a"]


def test_names_that_a_path_cannot_hold(tmp_path):
    write_store(tmp_path / "s.zarr", {"__w/index": CODES[0]})
    tree = flowstore.open_store(tmp_path / "s.zarr").to_xarray("__w")
    assert list(tree.children) == ["%69ndex"]
    assert tree["%69ndex"]["flow"].attrs["video"] == "index"


def test_an_empty_class_and_an_unknown_one(tmp_path):
    write_store(tmp_path / "s.zarr", {}, {"jump/bad": "no"})
    store = flowstore.open_store(tmp_path / "s.zarr")
    assert list(store.to_xarray("jump").children) == []
    with pytest.raises(NameNotFoundError, match="no class 'wave'"):
        store.to_xarray("wave")


BLOCKED = """
import sys
sys.modules["xarray"] = None
import flowstore
store = flowstore.open_store(sys.argv[1])
for call in (store["wave/a"].to_xarray, store.to_xarray, lambda: store.to_xarray("wave")):
    try:
        call()
    except flowstore.FlowStoreError as error:
        print(error)
"""


def test_without_xarray_the_install_line_is_named(root):
    environment = os.environ | {"PYTHONPATH": os.path.dirname(os.path.dirname(flowstore.__file__))}
    command = [sys.executable, "-c", BLOCKED, root]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines() == 3 * ["to_xarray needs xarray: pip install 'flowstore[notebook]'"]


def test_names_that_are_no_unicode_can_be_shown(tmp_path):
    write_store(tmp_path / "s.zarr", {"c\udcff/v\udcfe": make_codes(2)})
    store = flowstore.open_store(tmp_path / "s.zarr")
    for labelled in (store["c\udcff/v\udcfe"].to_xarray(), store.to_xarray(), store.to_xarray("c\udcff")):
        assert "\\xf" in labelled._repr_html_().encode().decode()
        assert str(labelled).encode()
