"""Export, then import: the same codes where files lose nothing, and within the stated error where they are JPEG."""

import json

import numpy as np
import pytest
from datasets import call
from layout_files import smooth_flow
from store_factory import make_codes, settings_of, write_store

import flowstore
from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.importer import import_flow
from flowstore.layouts import LAYOUTS, custom_layout
from flowstore.quantize import Quantizer

pytestmark = pytest.mark.system

LOSSY = [name for name, layout in LAYOUTS.items() if layout.file_format == "jpg" and layout.packing == "planes"]
LOSSLESS = [name for name, layout in LAYOUTS.items() if layout.kind.is_lossless]
# Codes are off by no more than this on flow of a real clip, JPEG of quality 95; on noise, the worst there is, by more.
JPEG_95_CODES = 8
JPEG_95_MEAN_CODES = 1.0


def smooth_store(place, quantizer, **changes):
    """Write a store of three videos whose flow is smooth, and return the codes by key."""
    videos = {
        f"{class_name}/{name}": quantizer.encode(smooth_flow(n_flows, 40, 56, seed=n_flows))
        for class_name, name, n_flows in (("run", "a [HD] b", 3), ("wave", "c", 6), ("wave", "d", 1))
    }
    write_store(place, videos, settings=settings_of(quantizer.encoding, quantizer.bound_px, **changes))
    return videos


def flat_key(key, layout):
    return key if LAYOUTS[layout].has_class_folder else f"unlabeled/{key.partition('/')[2]}"


def codes_by_key(place):
    return {video.key: video.codes[:] for video in flowstore.open_store(place).iter_videos()}


def assert_same(place, videos, layout=None):
    found = codes_by_key(place)
    expected = {flat_key(key, layout) if layout else key: codes for key, codes in videos.items()}
    assert found.keys() == expected.keys()
    for key, codes in expected.items():
        np.testing.assert_array_equal(found[key], codes)


@pytest.mark.parametrize("scheduler", ["sync", "processes"])
def test_what_the_manifest_says_need_not_be_said(tmp_path, scheduler):
    videos = smooth_store(tmp_path / "a", Quantizer("denseflow", 15), step=2)
    export(tmp_path / "a", tmp_path / "files", "denseflow", image_format="png", scheduler="sync")
    result = call("import", tmp_path / "files", tmp_path / "b", "--scheduler", scheduler, "--workers", "2")
    assert result.code == 0, result.err
    assert "denseflow ±15 px codes are kept as the files have them" in result.err
    assert_same(tmp_path / "b", videos)
    settings = flowstore.open_store(tmp_path / "b").settings
    assert settings.quantizer == Quantizer("denseflow", 15)
    assert (settings.step, settings.algorithm, settings.engine) == (2, "imported", "denseflow")
    assert settings.params["computed_by"] == "farneback (opencv)"


@pytest.mark.parametrize("encoding", ["centred", "denseflow", "truncate"])
@pytest.mark.parametrize("layout", LOSSY)
def test_png_gives_back_the_same_codes(tmp_path, layout, encoding):
    """Every code there is stands in the store, in noise."""
    videos = {"c/v": make_codes(3), "d/w": make_codes(2, seed=1)}
    write_store(tmp_path / "a", videos, settings=settings_of(encoding))
    export(tmp_path / "a", tmp_path / "files", layout, image_format="png", encoding="keep", scheduler="sync")
    assert import_flow(tmp_path / "files", tmp_path / "b", scheduler="sync").is_all_well
    assert_same(tmp_path / "b", videos, layout)


@pytest.mark.parametrize("encoding", ["centred", "denseflow", "truncate"])
@pytest.mark.parametrize("layout", LOSSLESS)
def test_float_files_give_back_the_same_codes(tmp_path, layout, encoding):
    """A decoded code stands in the middle of its step: rounding to float32, or to 1/64 px, does not leave it."""
    codes = make_codes(3)
    videos = {"c/v": codes, "d/w": codes[:1]}
    write_store(tmp_path / "a", videos, settings=settings_of(encoding))
    export(tmp_path / "a", tmp_path / "files", layout, scheduler="sync")
    # What I3D's files hold is clipped to ±20 px, which the store's bound is too.
    assert import_flow(tmp_path / "files", tmp_path / "b", scheduler="sync").is_all_well
    assert flowstore.open_store(tmp_path / "b").settings.quantizer == Quantizer(encoding, 20)
    assert_same(tmp_path / "b", videos, layout)


def test_float16_comes_back_through_float_files(tmp_path):
    flow = smooth_flow(3, largest=300).astype(np.float16)
    write_store(tmp_path / "a", {"c/v": flow}, settings=settings_of("float16", None))
    for layout in ("npy", "flo", "hdf5"):
        export(tmp_path / "a", tmp_path / layout, layout, scheduler="sync")
        assert import_flow(tmp_path / layout, tmp_path / f"{layout}.zarr", scheduler="sync").is_all_well
        assert_same(tmp_path / f"{layout}.zarr", {"c/v": flow})


@pytest.mark.parametrize("layout", [*LOSSY, "coclr"])
def test_jpeg_keeps_codes_within_its_error(tmp_path, layout):
    videos = smooth_store(tmp_path / "a", Quantizer(LAYOUTS[layout].encoding, 20))
    report = export(tmp_path / "a", tmp_path / "files", layout, scheduler="sync")
    assert "codes as stored" in report.encoding_note
    assert import_flow(tmp_path / "files", tmp_path / "b", scheduler="sync").is_all_well
    found = codes_by_key(tmp_path / "b")
    errors = np.concatenate(
        [np.abs(found[flat_key(key, layout)].astype(int) - codes).ravel() for key, codes in videos.items()]
    )
    assert 0 < errors.max() <= JPEG_95_CODES
    assert errors.mean() <= JPEG_95_MEAN_CODES


def test_jpeg_of_a_real_clip_stays_within_the_stated_error(tmp_path, real_data):
    call("extract", real_data / "videos/wave", tmp_path / "a", "--encoding", "truncate", "--limit", "1", "--engine",
         "opencv")  # fmt: skip
    export(tmp_path / "a", tmp_path / "files", "notebook")
    assert import_flow(tmp_path / "files", tmp_path / "b").is_all_well
    before, after = codes_by_key(tmp_path / "a"), codes_by_key(tmp_path / "b")
    errors = np.concatenate([np.abs(after[key].astype(int) - codes).ravel() for key, codes in before.items()])
    assert errors.max() <= JPEG_95_CODES
    assert errors.mean() <= 0.5


@pytest.mark.parametrize("layout", ["notebook", "npy"])
def test_a_last_flow_that_was_written_twice_comes_back_once(tmp_path, layout):
    videos = smooth_store(tmp_path / "a", Quantizer("truncate", 20))
    export(tmp_path / "a", tmp_path / "files", layout, pad_last=True, scheduler="sync")
    assert import_flow(tmp_path / "files", tmp_path / "b", scheduler="sync").is_all_well
    found = codes_by_key(tmp_path / "b")
    assert {key: len(codes) for key, codes in found.items()} == {key: len(codes) for key, codes in videos.items()}


@pytest.mark.parametrize(("layout", "encoding"), [("npy", "i3d-float"), ("i3d-npy", "pixels"), ("npy", "pixels")])
def test_float_files_of_another_encoding_come_back(tmp_path, layout, encoding):
    root = tmp_path / "s.zarr"
    write_store(root, {"wave/v": make_codes(3)}, settings=settings_of("centred"))
    export(root, tmp_path / "out", layout, encoding=encoding, scheduler="sync")
    (path,) = (tmp_path / "out").rglob("*.npy")
    flow = flowstore.open_store(root)["wave/v"][:]
    expected = flow[None].transpose(0, 1, 3, 4, 2) / 20 if encoding == "i3d-float" else flow
    np.testing.assert_allclose(np.load(path), expected, atol=1e-6)
    assert import_flow(tmp_path / "out", tmp_path / "back.zarr", scheduler="sync").is_all_well
    np.testing.assert_array_equal(flowstore.open_store(tmp_path / "back.zarr")["wave/v"][:], flow)


def test_a_custom_layout_comes_back_by_its_manifest(tmp_path):
    videos = smooth_store(tmp_path / "a", Quantizer("centred", 20))
    layout = custom_layout("f/{video}/{class}-{number:03d}.png", first=7, file_format="png", encoding="i3d-128")
    export(tmp_path / "a", tmp_path / "files", layout, scheduler="sync")
    assert import_flow(tmp_path / "files", tmp_path / "b", scheduler="sync").is_all_well
    found = codes_by_key(tmp_path / "b")
    assert found.keys() == videos.keys()
    for key, codes in videos.items():
        # Each of the two steps is half a code off at most: 128 levels in 127.5 steps.
        assert np.abs(found[key].astype(int) - codes).max() <= 1


def test_lists_and_manifest_are_no_files_left_out(tmp_path):
    write_store(tmp_path / "a", {"c/v": make_codes(3)}, settings=settings_of("truncate"))
    for layout in ("notebook", "tsn", "twostream"):
        export(tmp_path / "a", tmp_path / layout, layout, lists=("all",), scheduler="sync")
        assert (tmp_path / layout / "annotations").is_dir()
        result = call("import", tmp_path / layout, tmp_path / f"{layout}.zarr")
        assert result.code == 0
        assert "left out" not in result.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layout": "denseflow"}, "layout: notebook against denseflow"),
        ({"bound": 15.0}, r"bound: 20\.0 against 15\.0"),
        ({"step": 3}, "step: 1 against 3"),
        ({"first": 0}, "first: 1 against 0"),
        ({"encoding": "denseflow"}, "encoding: truncate against denseflow"),
        ({"pad_last": True}, "padded: False against True"),
    ],
)
def test_what_is_asked_against_the_manifest_is_refused_with_both_values(tmp_path, options, said):
    smooth_store(tmp_path / "a", Quantizer("truncate", 20))
    export(tmp_path / "a", tmp_path / "files", "notebook", scheduler="sync")
    with pytest.raises(ArgumentError, match=said):
        import_flow(tmp_path / "files", tmp_path / "b", **options)
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("name", ["bound_px", "step", "first", "padded", "x_template", "source_settings", "packing"])
@pytest.mark.parametrize("value", ["x", -1, [1], {"a": {}}, 1e400, True])
def test_a_manifest_of_nonsense_is_one_line(tmp_path, name, value):
    (tmp_path / "files/c/v").mkdir(parents=True)
    whole = {
        "layout": "notebook",
        "x_template": LAYOUTS["notebook"].x_template,
        "y_template": LAYOUTS["notebook"].y_template,
        "format": "jpg",
        "packing": "planes",
        "first": 1,
        "padded": False,
        "encoding": "truncate",
        "bound_px": 20.0,
        "step": 1,
    }
    (tmp_path / "files/flowstore-export.json").write_text(json.dumps(whole | {name: value}))
    result = call("import", tmp_path / "files", tmp_path / "b")
    assert result.code == 2
    assert result.error_line.startswith("flowstore: ")


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "", "[]", "{}", '{"layout": "nothing"}', '{"layout": "notebook", "x_template": 3}']
)
def test_a_manifest_that_says_nothing_is_refused(tmp_path, text):
    smooth_store(tmp_path / "a", Quantizer("truncate", 20))
    export(tmp_path / "a", tmp_path / "files", "notebook", scheduler="sync")
    (tmp_path / "files/flowstore-export.json").write_text(text)
    result = call("import", tmp_path / "files", tmp_path / "b")
    assert result.code == 2
    assert "flowstore-export.json" in result.error_line or "no layout 'nothing'" in result.error_line


def test_an_export_that_was_not_finished_is_said(tmp_path):
    smooth_store(tmp_path / "a", Quantizer("truncate", 20))
    export(tmp_path / "a", tmp_path / "files", "notebook", scheduler="sync")
    path = tmp_path / "files/flowstore-export.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"complete": False}))
    assert "says that the export was not finished" in call("import", tmp_path / "files", tmp_path / "b").err


def test_what_verify_marks_as_damaged_is_imported_again(tmp_path):
    videos = smooth_store(tmp_path / "a", Quantizer("truncate", 20))
    export(tmp_path / "a", tmp_path / "files", "notebook", image_format="png", scheduler="sync")
    assert call("import", tmp_path / "files", tmp_path / "b").code == 0
    shard = tmp_path / "b/wave/c/flow/c.0.0.0.0"
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    assert call("verify", tmp_path / "b").code == 1
    assert "marked wave/c as failed" in call("verify", tmp_path / "b", "--repair").err
    again = call("import", tmp_path / "files", tmp_path / "b")
    assert again.code == 0
    assert "1 video, 6 flows" in again.out
    assert call("verify", tmp_path / "b").code == 0
    assert_same(tmp_path / "b", videos)


def test_all_that_reads_a_store_reads_an_imported_one(tmp_path):
    smooth_store(tmp_path / "a", Quantizer("truncate", 20))
    export(tmp_path / "a", tmp_path / "files", "notebook", scheduler="sync")
    assert call("import", tmp_path / "files", tmp_path / "b").code == 0
    assert "imported (notebook): format jpg, encoding truncate" in call("info", tmp_path / "b").out
    assert "wave/c/flow_x_0001.jpg (flow)" in call("info", tmp_path / "b/wave/c").out
    assert call("verify", tmp_path / "b").code == 0
    refused = call("verify", tmp_path / "b", "--source", tmp_path / "files")
    assert refused.code == 2
    assert "was imported from flow files" in refused.error_line
    assert call("copy", tmp_path / "b", tmp_path / "b.zip").code == 0
    assert call("export", tmp_path / "b.zip", tmp_path / "again", "--layout", "notebook", "--format", "png").code == 0
    assert call("import", tmp_path / "again", tmp_path / "c").code == 0
    assert_same(tmp_path / "c", codes_by_key(tmp_path / "b"))
    assert flowstore.open_store(tmp_path / "c").settings.params["computed_by"] == "farneback (opencv)"
    first, *_ = flowstore.open_store(tmp_path / "b").iter_videos()
    assert first.record.source_kind == "flow"
