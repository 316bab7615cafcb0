"""The plan of an export: what is refused before anything is written, and what a dry run foretells."""

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from datasets import call
from store_factory import make_codes, settings_of, tree_files, write_store

import flowstore
from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.export.plan import ExportOptions, plan_export
from flowstore.export.run import MANIFEST, run_export
from flowstore.layouts import LAYOUTS, find_layout

FLAT = [name for name, layout in LAYOUTS.items() if not layout.has_class_folder]


def smooth(n, height=48, width=64):
    noise = np.random.default_rng(n).integers(0, 256, (n, 2, height, width), np.uint8)
    return np.stack([[cv2.GaussianBlur(plane, (0, 0), 3) for plane in flow] for flow in noise])


@pytest.fixture
def root(tmp_path):
    videos = {"wave/a": smooth(9), "wave/b": smooth(4), "jump/c": smooth(2, 32, 40)}
    write_store(tmp_path / "s.zarr", videos, {"jump/bad": "no frame"}, settings_of("centred"))
    return tmp_path / "s.zarr"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_files_and_bytes_are_foretold_and_nothing_is_written(root, tmp_path, layout):
    shown = call("export", root, tmp_path / "out", "--layout", layout, "--dry-run")
    assert shown.code == 0, shown.err
    assert not (tmp_path / "out").exists()
    values = json.loads(call("export", root, tmp_path / "out", "--layout", layout, "--dry-run", "--json").out)
    assert not (tmp_path / "out").exists()
    report = export(root, tmp_path / "out", layout, scheduler="sync")
    files = {name: data for name, data in tree_files(tmp_path / "out").items() if name != MANIFEST}
    assert values["files"] == len(files) == report.n_written
    assert re.search(rf"files: +{len(files)}, about [\d.]+ [kM]B", shown.out)
    n_bytes = sum(map(len, files.values()))
    assert abs(values["estimated_bytes"] - n_bytes) <= (0.01 if layout in ("npy", "i3d-npy", "flo") else 0.15) * n_bytes
    assert (values["videos"], values["flows"], values["left_out"]) == (3, 15, 1)


def test_the_plan_says_what_will_be_done(root, tmp_path):
    planned = plan_export(
        flowstore.open_store(root), tmp_path / "out", find_layout("tsn"),
        ExportOptions(short_side=24, pad_last=True, lists=("all",)),
    )  # fmt: skip
    text = str(planned)
    assert "tsn: a/flow_x_00001.jpg, a/flow_y_00001.jpg" in text
    assert "decoded from centred, resized and encoded as denseflow ±20 px, within 1 of the code" in text
    assert "3, 18 flows of 30×24, 32×24; 1 failed video left out" in " ".join(text.split())
    assert "annotations/all.txt" in text
    assert re.search(r"files: +36$", text)
    report = run_export(planned, scheduler="sync")
    assert (report.n_written, report.n_flows) == (36, 18)


@pytest.mark.parametrize("layout", FLAT)
def test_flat_layouts_refuse_two_videos_of_one_name(tmp_path, layout):
    write_store(tmp_path / "s.zarr", {"wave/a": make_codes(1, 8, 8), "jump/a": make_codes(1, 8, 8)})
    shown = call("export", tmp_path / "s.zarr", tmp_path / "out", "--layout", layout)
    assert shown.code == 2
    assert f"layout {layout} would put jump/a and wave/a into one folder: it has no class folders" in shown.err
    assert not (tmp_path / "out").exists()


def test_optional_class_folders(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/a": make_codes(1, 8, 8), "jump/a": make_codes(1, 8, 8)})
    for layout in ("denseflow", "i3d-npy"):
        with pytest.raises(ArgumentError, match="jump/a and wave/a into one"):
            export(tmp_path / "s.zarr", tmp_path / "out", layout, class_folder=False)
        assert not (tmp_path / "out").exists()
    with pytest.raises(ArgumentError, match="has class folders always"):
        export(tmp_path / "s.zarr", tmp_path / "out", "mmaction2", class_folder=False)


def test_resized(root, tmp_path):
    """The vectors are scaled with the picture: OpenCV's picture of the decoded flow, times the scales."""
    export(root, tmp_path / "out", "npy", size=(24, 32), scheduler="sync")
    flow = flowstore.open_store(root)["wave/a"][:]
    found = np.load(tmp_path / "out/wave/a.npy")
    assert found.shape == (9, 2, 24, 32)
    expected = [[cv2.resize(plane, (32, 24), interpolation=cv2.INTER_AREA) / 2 for plane in planes] for planes in flow]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    manifest = json.loads((tmp_path / "out" / MANIFEST).read_bytes())
    assert (manifest["size"], manifest["short_side"]) == ([24, 32], None)


@pytest.mark.parametrize("encoding", ["i3d-128", "mmcv", "centred"])
def test_another_encoding(root, tmp_path, encoding):
    report = export(root, tmp_path / "out", "mmaction2", encoding=encoding, image_format="png", scheduler="sync")
    flow = flowstore.open_store(root)["wave/a"][:].astype(np.float64)
    size = np.array([64, 48]).reshape(2, 1, 1)
    expected = {
        "i3d-128": np.minimum(np.rint(128 + 255 * flow / 40), 255),
        "mmcv": np.minimum(np.floor(255 * (np.clip(flow / size, -0.02, 0.02) + 0.02) / 0.04), 254),
        "centred": 128 + np.rint(flow * 127 / 20),
    }[encoding]
    for i, (x, y) in enumerate(expected, 1):
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"out/wave/a/x_{i:05d}.png"), cv2.IMREAD_GRAYSCALE), x)
        np.testing.assert_array_equal(cv2.imread(str(tmp_path / f"out/wave/a/y_{i:05d}.png"), cv2.IMREAD_GRAYSCALE), y)
    assert ("as stored" in report.encoding_note) == (encoding == "centred")


@pytest.mark.parametrize(
    ("layout", "options", "said"),
    [
        ("npy", {"encoding": "keep"}, "layout npy holds no codes"),
        ("npy", {"encoding": "denseflow"}, "layout npy holds no codes"),
        ("mmaction2", {"encoding": "i3d-float"}, "encoding is 'i3d-float', expected one of layout, keep, centred"),
        ("flo", {"encoding": "i3d-float"}, "flo files cannot hold encoding i3d-float"),
        ("kitti", {"encoding": "i3d-float"}, "kitti files cannot hold encoding i3d-float"),
        ("npy", {"bound": 10.0}, "takes no bound"),
        ("npy", {"quality": 90}, "quality is of JPEG files"),
        ("mmaction2", {"quality": 90, "image_format": "png"}, "quality is of JPEG files"),
        ("npy", {"image_format": "png"}, "they cannot be png"),
        ("mmaction2", {"encoding": "keep", "short_side": 20}, "resized flow has no stored codes"),
        ("mmaction2", {"encoding": "pixels"}, "encoding is 'pixels', expected one of layout, keep, centred"),
        ("mmaction2", {"short_side": 20, "size": (10, 10)}, "not both"),
        ("mmaction2", {"size": (0, 10)}, "size in pixels is 0, expected a whole number, 1 to"),
        ("mmaction2", {"select": ("class=none",)}, "no class 'none'"),
    ],
)
def test_choices_that_cannot_be_are_refused(root, tmp_path, layout, options, said):
    with pytest.raises(ArgumentError, match=said):
        export(root, tmp_path / "out", layout, **options)
    assert not (tmp_path / "out").exists()


def test_other_sizes_and_padding_are_other_settings(root, tmp_path):
    export(root, tmp_path / "out", "mmaction2", scheduler="sync")
    for options in ({"size": (24, 32)}, {"short_side": 24}, {"pad_last": True}, {"image_format": "png"}):
        with pytest.raises(ArgumentError, match="holds an export with other settings"):
            export(root, tmp_path / "out", "mmaction2", **options)


# The command


def test_the_command_takes_every_option(root, tmp_path):
    done = call(
        "export", root, tmp_path / "out", "--layout", "custom", "--x-template", "{class}-{video}/u{number:03d}.png",
        "--y-template", "{class}-{video}/v{number:03d}.png", "--first", "0", "--format", "png", "--size", "32x24",
        "--bound", "10", "--encoding", "truncate", "--select", "class=wave", "--select", "name=b", "--pad-last",
        "--lists", "all", "--workers", "1", "--json",
    )  # fmt: skip
    assert done.code == 0, done.err
    values = json.loads(done.out)
    assert (values["videos"], values["flows"], values["files_written"]) == (1, 5, 10)
    assert sorted(path.name for path in (tmp_path / "out/wave-b").iterdir()) == [
        f"{axis}{n:03d}.png" for axis in "uv" for n in range(5)
    ]
    assert cv2.imread(str(tmp_path / "out/wave-b/u000.png")).shape == (24, 32, 3)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--layout", "custom"], "--layout custom needs --x-template"),
        (["--layout", "tsn", "--x-template", "x", "--first", "0"], "--x-template, --first: of --layout custom only"),
        (["--layout", "tsn", "--format", "npy"], "--format npy is for --layout custom"),
        (["--layout", "custom", "--x-template", "{video}.npy"], "expected to end in .jpg"),
        (["--layout", "tsn", "--no-class-folder", "--select", "wave"], "expected class=NAME"),
        (["--layout", "mmaction2", "--no-class-folder"], "has class folders always"),
        (["--workers", "0"], "workers is 0"),
    ],
)
def test_wrong_usage(root, tmp_path, options, said):
    done = call("export", root, tmp_path / "out", *options)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()


def test_too_little_room_is_noted_in_the_plan_and_before_the_work(root, tmp_path, monkeypatch):
    usage = type("Usage", (), {"total": 1000, "free": 10})()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    for options in (["--dry-run"], []):
        done = call("export", root, tmp_path / "out", *options)
        assert re.search(r"[1-9][\d.]* kB are needed and 10 bytes are free at", done.out + done.err), options
    # What a run that goes on still needs is not known.
    assert "are needed" not in call("export", root, tmp_path / "out").err
    for dest in ("copy.zarr", "copy.zip"):
        assert "are needed and 10 bytes are free at" in call("copy", root, tmp_path / dest, "--dry-run").out


def test_what_could_not_be_exported_is_named_however_quiet(root, tmp_path):
    for path in (root / "wave" / "a" / "flow").glob("c.*"):
        path.write_bytes(bytes(len(path.read_bytes())))
    done = call("export", root, tmp_path / "out", "-q")
    assert (done.code, done.out) == (1, "")
    failure, left_out = done.err.splitlines()
    assert failure.startswith("failed wave/a: ")
    assert left_out == "1 failed video left out"
