"""Export and import refuse values of the wrong kind in one line, before anything is written."""

import os

import numpy as np
import pytest
from datasets import tree
from store_factory import make_codes, settings_of, write_store

import flowstore
from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.importer import import_flow
from flowstore.layouts import custom_layout

TEMPLATES = "{video}/x_{number:05d}.jpg", "{video}/y_{number:05d}.jpg"
EXPORT = [
    *({"quality": value} for value in ("9", 95.5, True, 101)),
    *({"bound": value} for value in ("20", True, -1, float("nan"))),
    *({"workers": value} for value in ("3", 2.5, 0)),
    *({"short_side": value} for value in ("20", 2.5, 0)),
    *({"size": value} for value in ("32x24", (24,), (24, 32, 3), 24, (1.5, 2), (0, 2))),
    *({"select": value} for value in (3, [3])),
    *({"lists": value} for value in (3, [3])),
    *({"encoding": value} for value in (3, "other")),
    *({"image_format": value} for value in ("gif", "npy", 3)),
    *({name: "no"} for name in ("pad_last", "class_folder", "overwrite")),
    *({"layout": value} for value in (3, None, ["npy"])),
    {"scheduler": 3},
]
LAYOUT = [
    *({"first": value} for value in ("1", 1.5, True, -1)),
    *({"quality": value} for value in ("95", 95.5, True)),
    *({"file_format": value} for value in (3, ["jpg"])),
    {"packing": 3},
    {"encoding": 3},
    {"x_template": 3},
    {"y_template": 3},
]
IMPORT = [
    *({"bound": value} for value in ("20", True, 0)),
    *({"first": value} for value in ("1", 1.5, True, -1)),
    *({"step": value} for value in ("1", 1.5, True, 0)),
    *({"layout": value} for value in (3, ["tsn"])),
    *({"encoding": value} for value in (3, "other")),
    *({"store_encoding": value} for value in (3, "other")),
    *({"compression": value} for value in (3, "other")),
    *({name: "no"} for name in ("pad_last", "retry_failed", "overwrite")),
    {"workers": "3"},
    {"scheduler": 3},
]


@pytest.fixture
def root(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/a": make_codes(3), "run/b": make_codes(2)}, settings=settings_of("centred"))
    return tmp_path / "s.zarr"


def refuses(tmp_path, function):
    before = tree(tmp_path)
    with pytest.raises(ArgumentError) as raised:
        function()
    assert "\n" not in str(raised.value)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("wrong", EXPORT, ids=str)
def test_export_refuses(root, tmp_path, wrong):
    refuses(tmp_path, lambda: export(root, tmp_path / "out", **wrong))


@pytest.mark.parametrize("wrong", LAYOUT, ids=str)
def test_a_custom_layout_refuses(wrong):
    with pytest.raises(ArgumentError) as raised:
        custom_layout(**{"x_template": TEMPLATES[0], "y_template": TEMPLATES[1]} | wrong)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("wrong", IMPORT, ids=str)
def test_import_refuses(root, tmp_path, wrong):
    export(root, tmp_path / "files", "tsn", scheduler="sync")
    (tmp_path / "files" / "flowstore-export.json").unlink()
    given = {"layout": "tsn", "bound": 20} | wrong
    refuses(tmp_path, lambda: import_flow(tmp_path / "files", tmp_path / "t.zarr", **given))


@pytest.mark.parametrize("place", [None, 5, "", b"bytes", ["list"]])
def test_places_that_are_none(root, tmp_path, monkeypatch, place):
    monkeypatch.chdir(tmp_path)
    for call in (
        lambda: export(root, place),
        lambda: import_flow(place, tmp_path / "t.zarr", "tsn", bound=20),
    ):
        with pytest.raises(ArgumentError, match="expected a path"):
            call()
    assert os.listdir(tmp_path) == ["s.zarr"]


def test_what_numpy_gives_is_taken_and_one_text_is_one_choice(root, tmp_path):
    numbers = {"quality": np.int64(90), "bound": np.float32(10), "size": [np.int32(12), 16]}
    report = export(root, tmp_path / "out", "tsn", select="class=wave", lists="all", scheduler="sync", **numbers)
    assert (report.n_videos, report.lists["annotations/all.txt"]) == (1, 1)
    import_flow(tmp_path / "out", tmp_path / "t.zarr", step=np.int64(1), first=np.int64(1), scheduler="sync")
    assert flowstore.open_store(tmp_path / "t.zarr")["unlabeled/a"].shape == (3, 2, 12, 16)
