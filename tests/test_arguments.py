"""Values of the wrong kind, which Python lets through, are refused in one line before any work."""

import os

import numpy as np
import pytest
from datasets import call, tree, write_dataset

import flowstore
from flowstore.copying import copy
from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.export.plan import ExportOptions
from flowstore.importer import import_flow
from flowstore.importer.origin import ImportOptions
from flowstore.layouts.layout import custom_layout
from flowstore.pipeline import extract
from flowstore.pipeline.settings import make_settings
from flowstore.quantize.file_quantizer import FileQuantizer
from flowstore.quantize.quantizer import Quantizer
from flowstore.render import render
from flowstore.stats import stats
from flowstore.stats.plot import plot_stats
from flowstore.transforms import Crop

WRONG = [
    {"part": "1/2"},
    {"part": 1},
    {"part": (1.0, 2)},
    {"part": (True, 2)},
    {"limit": 1.5},
    {"limit": "3"},
    {"limit": True},
    {"workers": "2"},
    {"workers": 2.0},
    {"workers": True},
    {"workers": np.array([1, 2])},
    {"progress": "yes"},
    {"progress": "yes"},
    {"scheduler": None},
    {"scheduler": 3},
    {"bound": "20"},
    {"bound": True},
    {"bound": [20]},
    {"bound": float("nan")},
    {"step": "1"},
    {"step": 1.0},
    {"step": True},
    {"short_side": "24"},
    {"short_side": 2.5},
    {"size": "32x24"},
    {"size": (24,)},
    {"size": (24.5, 32)},
    {"fps": "10"},
    {"fps": True},
    {"dtype": 8},
    {"encoding": 3},
    {"algorithm": 3},
    {"engine": 1},
    {"compression": 3},
    {"params": "winsize=3"},
    {"params": {3: 4}},
    {"params": {"winsize": "wide"}},
    {"params": {"winsize": None}},
    {"params": {"winsize": 1e8}},
    {"params": {"levels": 10**9}},
    {"params": {"iterations": 10**12}},
    {"algorithm": "dis", "params": {"variational_refinement_alpha": -1}},
    {"include": 5},
    {"include": [5]},
    {"list_file": 7},
    {"overwrite": "no"},
    {"retry_failed": "no"},
]


@pytest.fixture
def source(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=1)
    return tmp_path / "videos"


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_extract_refuses(source, tmp_path, wrong):
    before = tree(tmp_path)
    with pytest.raises(ArgumentError) as raised:
        extract(source, tmp_path / "flow.zarr", **wrong)
    assert "\n" not in str(raised.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("place", [None, 5, "", b"bytes", ["list"]])
def test_places_that_are_none(source, tmp_path, place):
    with pytest.raises(ArgumentError, match="expected a path"):
        extract(place, tmp_path / "flow.zarr")
    with pytest.raises(ArgumentError, match="expected a path"):
        extract(source, place)
    with pytest.raises(ArgumentError, match="expected a path"):
        flowstore.open_store(place)
    with pytest.raises(ArgumentError, match="expected a path"):
        export(place, tmp_path / "images")
    assert os.listdir(tmp_path) == ["videos"]


@pytest.mark.parametrize(
    "wrong", [{"label": 3}, {"label": ["run", 3]}, {"min_flows": "3"}, {"min_flows": 1.5}, {"status": "good"}], ids=str
)
def test_select_refuses(source, tmp_path, wrong):
    extract(source, tmp_path / "flow.zarr")
    store = flowstore.open_store(tmp_path / "flow.zarr")
    with pytest.raises(ArgumentError):
        store.select(**wrong)


EXPORT_AND_IMPORT = [
    {"bound": "20"},
    {"encoding": 3},
    {"layout": 3},
    {"workers": "x"},
    {"scheduler": 1},
    {"progress": "yes"},
    {"overwrite": "no"},
    {"pad_last": "no"},
]
WRONG_EXPORT = [
    {"quality": "9"},
    {"quality": 9.5},
    {"quality": np.array([9, 9])},
    {"short_side": "9"},
    {"size": "9x9"},
    {"size": 9},
    {"image_format": 3},
    {"class_folder": "no"},
    {"select": 3},
    {"lists": True},
]
WRONG_IMPORT = [{"first": "0"}, {"step": 1.0}, {"store_encoding": 3}, {"compression": 3}, {"retry_failed": 1}]


@pytest.mark.parametrize("wrong", EXPORT_AND_IMPORT + WRONG_EXPORT, ids=str)
def test_export_refuses(source, tmp_path, wrong):
    extract(source, tmp_path / "flow.zarr", scheduler="sync")
    with pytest.raises(ArgumentError) as raised:
        export(tmp_path / "flow.zarr", tmp_path / "images", **wrong)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "images").exists()


@pytest.mark.parametrize("wrong", EXPORT_AND_IMPORT + WRONG_IMPORT, ids=str)
def test_import_refuses(source, tmp_path, wrong):
    extract(source, tmp_path / "flow.zarr", scheduler="sync")
    export(tmp_path / "flow.zarr", tmp_path / "images", scheduler="sync")
    (tmp_path / "images" / "flowstore-export.json").unlink()
    with pytest.raises(ArgumentError) as raised:
        import_flow(tmp_path / "images", tmp_path / "back.zarr", **{"layout": "notebook", "bound": 20} | wrong)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "back.zarr").exists()


def test_numpy_numbers_are_numbers(source, tmp_path):
    report = extract(source, tmp_path / "flow.zarr", limit=np.int64(1), bound=np.float32(10), step=np.int32(1))
    assert report.n_extracted == 1
    assert flowstore.open_store(tmp_path / "flow.zarr").settings.quantizer.bound_px == 10


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    home = tmp_path / "home"
    write_dataset(home / "videos", classes=("wave",), n_videos=1)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(tmp_path)
    extract("~/videos", "~/flow.zarr")
    export("~/flow.zarr", "~/images")
    copy("~/flow.zarr", "~/copy.zip")
    plot_stats(stats("~/copy.zip"), "~/motion.png")
    render(flowstore.open_store("~/flow.zarr")["wave/v0"], "~/flow.png", source="~/videos", style="arrows")
    assert {"images", "copy.zip", "motion.png", "flow.png"} <= {path.name for path in home.iterdir()}
    assert [path.name for path in tmp_path.iterdir()] == ["home"]


def test_a_folder_whose_name_begins_with_a_tilde_is_itself(tmp_path, monkeypatch):
    write_dataset(tmp_path / "~root", classes=("wave",), n_videos=1)
    monkeypatch.chdir(tmp_path)
    assert extract("~root", "~s.zarr").n_extracted == 1
    assert (tmp_path / "~s.zarr" / "wave").is_dir()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (("--encoding", "centered"), "centred"),
        (("--encoding", "centred"), "centred"),
    ],
)
def test_either_spelling_is_taken_on_the_command_line(tmp_path, words, found):
    write_dataset(tmp_path / "videos")
    assert call("extract", tmp_path / "videos", tmp_path / "flow.zarr", *words, "-q").code == 0
    assert flowstore.open_store(tmp_path / "flow.zarr").settings.quantizer.encoding == found


def test_either_spelling_is_taken_from_python():
    assert make_settings(encoding="centered") == make_settings(encoding="centred")
    assert Crop(4, "centre").where == "center"
    assert Quantizer("centered", 15) == Quantizer("centred", 15)
    assert FileQuantizer("centered", 15) == FileQuantizer("centred", 15)
    assert custom_layout("{class}/{video}/{number:04d}.jpg", packing="rgb", encoding="centered").encoding == "centred"
    assert ExportOptions(encoding="centered").encoding == "centred"
    assert ImportOptions(encoding="centered", store_encoding="centered").store_encoding == "centred"
    with pytest.raises(ArgumentError, match="encoding is 'centring'"):
        make_settings(encoding="centring")
