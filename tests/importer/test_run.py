"""Flow files that other tools made, imported: the codes, the names, and what becomes of files that are not in order."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest
from datasets import call, tree
from layout_files import denseflow_codes, file_values, read_files, smooth_flow, truncate_codes, write_image, write_video

import flowstore
from flowstore.errors import ArgumentError, MissingExtraError, SettingsMismatchError
from flowstore.importer import import_flow
from flowstore.layouts import LAYOUTS, custom_layout
from flowstore.layouts.templates import template_fields
from flowstore.quantize import Quantizer

IMAGE_LAYOUTS = [name for name, layout in LAYOUTS.items() if layout.file_format == "jpg"]
FLOAT_LAYOUTS = [name for name in LAYOUTS if name not in IMAGE_LAYOUTS]


def classes_of(layout):
    return ["run", "wave"] if "class" in template_fields(LAYOUTS[layout].x_template) else ["unlabeled"]


def keys_of(store):
    return [video.key for video in store.iter_videos()]


def write_videos(root, layout):
    """Write two videos of other lengths a class, and return what their files hold."""
    written = {}
    for seed, class_name in enumerate(classes_of(layout)):
        for n_flows in (3, 5):
            name = f"v{n_flows}_{class_name}"
            values = file_values(LAYOUTS[layout], smooth_flow(n_flows, seed=10 * seed + n_flows))
            write_video(root, layout, class_name, name, values)
            written[f"{class_name}/{name}"] = values
    return written


@pytest.mark.parametrize("layout", IMAGE_LAYOUTS)
def test_images_of_every_layout_give_the_codes_that_opencv_reads(tmp_path, layout):
    written = write_videos(tmp_path / "files", layout)
    report = import_flow(tmp_path / "files", tmp_path / "s", layout, bound=20, scheduler="sync")
    assert report.is_all_well, report.failures
    store = flowstore.open_store(tmp_path / "s")
    assert keys_of(store) == sorted(written)
    assert store.settings.quantizer == Quantizer(LAYOUTS[layout].encoding, 20)
    for key, codes in written.items():
        class_name, _, name = key.partition("/")
        expected = read_files(tmp_path / "files", layout, class_name, name, len(codes))
        np.testing.assert_array_equal(store[key].codes[:], expected)
        # The files were smooth: JPEG left the codes near what was written; colors are kept at half the resolution.
        assert np.abs(expected.astype(int) - codes).max() <= (10 if layout == "coclr" else 6)
        assert store[key].record.n_frames == len(codes) + 1


@pytest.mark.parametrize("layout", FLOAT_LAYOUTS)
def test_float_files_of_every_layout_are_encoded_once(tmp_path, layout):
    written = write_videos(tmp_path / "files", layout)
    report = import_flow(tmp_path / "files", tmp_path / "s", layout, bound=20, scheduler="sync")
    assert report.is_all_well, report.failures
    store = flowstore.open_store(tmp_path / "s")
    assert keys_of(store) == sorted(written)
    for key, values in written.items():
        class_name, _, name = key.partition("/")
        flow = read_files(tmp_path / "files", layout, class_name, name, len(values))
        pixels = flow * 20 if LAYOUTS[layout].encoding == "i3d-float" else flow
        expected = np.clip(128 + np.rint(pixels.astype(np.float64) * 127 / 20), 1, 255)
        np.testing.assert_array_equal(store[key].codes[:], expected)


def test_float_files_can_be_stored_as_float16(tmp_path):
    flow = smooth_flow(3, largest=90)
    write_video(tmp_path / "files", "npy", "c", "v", flow)
    import_flow(tmp_path / "files", tmp_path / "s", "npy", store_encoding="float16", scheduler="sync")
    stored = flowstore.open_store(tmp_path / "s")["c/v"]
    np.testing.assert_array_equal(stored[:], flow.astype(np.float16).astype(np.float32))


@pytest.mark.parametrize("encoding", ["i3d-128", "mmcv"])
def test_codes_that_no_store_holds_are_encoded_again_and_differ_as_said(tmp_path, encoding):
    flow = smooth_flow(4, height=40, width=640, largest=0.7)
    if encoding == "i3d-128":
        flow *= 20
        codes = np.minimum(np.rint(128 + 255 * np.clip(flow.astype(np.float64), -20, 20) / 40), 255).astype(np.uint8)
    else:
        sizes = np.array([640.0, 40.0])[:, None, None]
        codes = np.clip(np.floor(255 * (flow / sizes + 0.02) / 0.04), 0, 254).astype(np.uint8)
    layout = custom_layout("{class}/{video}/x_{number}.png", "{class}/{video}/y_{number}.png", 0,
                           "png", encoding=encoding)  # fmt: skip
    write_video(tmp_path / "files", layout, "c", "v", codes)
    import_flow(tmp_path / "files", tmp_path / "s", layout, bound=20, scheduler="sync")
    stored = flowstore.open_store(tmp_path / "s")["c/v"].codes[:]
    errors = np.abs(stored.astype(int) - Quantizer("centred", 20).encode(flow))
    plan = call("import", tmp_path / "files", tmp_path / "other", "--layout", "custom", "--x-template",
                layout.x_template, "--y-template", layout.y_template, "--first", "0", "--format", "png",
                "--encoding", encoding, "--bound", "20", "--dry-run").out  # fmt: skip
    within = int(plan.partition("within ")[2].split()[0])
    assert errors.max() <= within <= 2


def test_a_folder_that_another_tool_made_is_imported(tmp_path, real_data):
    shutil.copytree(real_data / "frames/mmaction2", tmp_path / "files/class/video")
    result = call("import", tmp_path / "files", tmp_path / "s", "--layout", "mmaction2", "--bound", "20")
    assert result.code == 0, result.err
    assert "1 video, 5 flows" in result.out
    assert "10 items left out, not being the layout's: class/video/img_00001.jpg" in result.err
    video = flowstore.open_store(tmp_path / "s")["class/video"]
    for index in range(5):
        for component, axis in enumerate("xy"):
            path = tmp_path / f"files/class/video/{axis}_{index + 1:05d}.jpg"
            np.testing.assert_array_equal(video.codes[index, component], cv2.imread(str(path), cv2.IMREAD_GRAYSCALE))
    assert video.record.n_frames == 6


def test_denseflows_own_hdf5_is_imported(tmp_path):
    import h5py

    flow = smooth_flow(3)
    (tmp_path / "files/c").mkdir(parents=True)
    with h5py.File(tmp_path / "files/c/v.h5", "w") as file:
        for number, (x, y) in enumerate(flow):
            file[f"flow_x_{number:05d}"], file[f"flow_y_{number:05d}"] = x, y
    import_flow(tmp_path / "files", tmp_path / "s", "hdf5", bound=20, store_encoding="denseflow")
    stored = flowstore.open_store(tmp_path / "s")["c/v"].codes[:]
    np.testing.assert_array_equal(stored, denseflow_codes(flow))


def test_rafts_npy_of_video_features_is_imported(tmp_path):
    flow = smooth_flow(3)
    tmp_path.joinpath("files").mkdir()
    np.save(tmp_path / "files/v_raft.npy", flow)
    np.save(tmp_path / "files/v_fps.npy", np.array(25.0))
    np.save(tmp_path / "files/v_timestamps_ms.npy", np.arange(3.0))
    result = call("import", tmp_path / "files", tmp_path / "s", "--layout", "custom", "--format", "npy",
                  "--x-template", "{video}_raft.npy", "--bound", "20")  # fmt: skip
    assert result.code == 0, result.err
    assert keys_of(flowstore.open_store(tmp_path / "s")) == ["unlabeled/v"]


NAMES = ["brush [HD] it", "ünï ☃", "a%2Fb", "x\udcff\udc80y", ".hidden", "it's -dash", "flow_x_00001"]


@pytest.mark.parametrize("layout", ["notebook", "denseflow", "gpu-flow", "charades", "tsm-sthv1", "npy", "hdf5"])
def test_names_come_back_from_paths(tmp_path, layout):
    codes = file_values(LAYOUTS[layout], smooth_flow(2))
    has_class = LAYOUTS[layout].has_class_folder
    for name in NAMES:
        write_video(tmp_path / "files", layout, f"{name} class", name, codes)
    report = import_flow(tmp_path / "files", tmp_path / "s", layout, bound=20, scheduler="sync")
    assert report.is_all_well, report.failures
    store = flowstore.open_store(tmp_path / "s")
    for name in NAMES:
        assert store[f"{name} class" if has_class else "unlabeled"][name].n_flows == 2
    assert len(store.videos) == len(NAMES)


def image_of(value=100, height=24, width=32):
    return np.full((height, width), value, np.uint8)


def break_gap(folder):
    for axis in "xy":
        (folder / f"flow_{axis}_0003.jpg").unlink()


def break_partner(folder):
    (folder / "flow_y_0005.jpg").unlink()


def break_no_y(folder):
    for path in folder.glob("flow_y_*"):
        path.unlink()


def break_base(folder):
    for number in range(1, 6):
        for axis in "xy":
            os.rename(folder / f"flow_{axis}_{number:04d}.jpg", folder / f"flow_{axis}_{number - 1:04d}.jpg")


def break_padding(folder):
    for axis in "xy":
        os.rename(folder / f"flow_{axis}_0001.jpg", folder / f"flow_{axis}_1.jpg")


def break_size(folder):
    for axis in "xy":
        write_image(folder / f"flow_{axis}_0004.jpg", image_of(width=40))


def break_y_size(folder):
    write_image(folder / "flow_y_0001.jpg", image_of(width=40))


def break_image(folder):
    (folder / "flow_x_0002.jpg").write_bytes(b"\xff\xd8 no image")


def break_half(folder):
    path = folder / "flow_y_0004.jpg"
    path.write_bytes(path.read_bytes()[:200])


def break_empty(folder):
    (folder / "flow_y_0004.jpg").write_bytes(b"")


def break_color(folder):
    write_image(folder / "flow_x_0001.jpg", np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8))


def break_folder(folder):
    (folder / "flow_x_0001.jpg").unlink()
    (folder / "flow_x_0001.jpg").mkdir()


def break_pipe(folder):
    (folder / "flow_x_0001.jpg").unlink()
    os.mkfifo(folder / "flow_x_0001.jpg")


def break_link(folder):
    (folder / "flow_x_0001.jpg").unlink()
    (folder / "flow_x_0001.jpg").symlink_to("/etc/hostname")


def break_all(folder):
    for path in folder.iterdir():
        path.unlink()


FAULTS = [
    (break_gap, "1 missing among the files 1 to 5, the first broken/v/flow_x_0003.jpg"),
    (
        break_partner,
        "files without a partner: 5 (1 to 5) of x, 4 (1 to 4) of y; the first missing is broken/v/flow_y_0005.jpg",
    ),
    (break_no_y, "files without a partner: 5 (1 to 5) of x, none of y; the first missing is broken/v/flow_y_0001.jpg"),
    (break_base, "numbers begin at 0, those of layout notebook at 1 (--first 0 takes them as they are)"),
    (break_padding, "flow_x_1.jpg is not named as the layout has it, flow_x_0001.jpg"),
    (break_size, "flow_x_0004.jpg is 40×24, the frames before it are 32×24"),
    (break_y_size, "flow_y_0001.jpg is 40×24, its x is 32×24"),
    (break_image, "flow_x_0002.jpg: cut off"),
    (break_half, "flow_y_0004.jpg: cut off"),
    (break_empty, "flow_y_0004.jpg: empty file (0 bytes)"),
    (break_color, "flow_x_0001.jpg: a picture in color"),
    (break_folder, "flow_x_0001.jpg is not a regular file"),
    (break_pipe, "flow_x_0001.jpg is not a regular file"),
    (break_link, "flow_x_0001.jpg is a link that leads out of the folder"),
    (break_all, "no flow files, expected such as broken/v/flow_x_0001.jpg"),
]


@pytest.mark.parametrize(("fault", "said"), FAULTS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_video_that_is_not_in_order_is_a_failed_row_and_the_others_go_on(tmp_path, fault, said):
    codes = truncate_codes(smooth_flow(5))
    for class_name in ("broken", "good"):
        write_video(tmp_path / "files", "notebook", class_name, "v", codes)
    fault(tmp_path / "files/broken/v")
    result = call("import", tmp_path / "files", tmp_path / "s", "--layout", "notebook", "--bound", "20")
    assert result.code == 1
    store = flowstore.open_store(tmp_path / "s")
    assert store["good/v"].n_flows == 5
    (failed,) = (row for row in store.videos if row["status"] == "failed")
    assert failed["reason"].startswith(said)
    assert f"failed broken/v: {said}" in result.err
    before = tree(tmp_path / "s")
    again = call("import", tmp_path / "files", tmp_path / "s", "--layout", "notebook", "--bound", "20")
    assert again.code == 1
    assert "1 failed before, not tried again" in again.out
    assert tree(tmp_path / "s") == before


def test_a_mended_video_is_imported_by_the_next_run(tmp_path):
    codes = truncate_codes(smooth_flow(5))
    write_video(tmp_path / "files", "notebook", "c", "v", codes)
    write_video(tmp_path / "files", "notebook", "c", "w", codes)
    break_gap(tmp_path / "files/c/v")
    break_image(tmp_path / "files/c/w")
    assert call("import", tmp_path / "files", tmp_path / "s", "--layout", "notebook", "--bound", "20").code == 1
    for name in "vw":
        write_video(tmp_path / "files", "notebook", "c", name, codes)
    result = call("import", tmp_path / "files", tmp_path / "s", "--layout", "notebook", "--bound", "20")
    assert result.code == 0
    assert "2 videos, 10 flows" in result.out


def test_wrong_base_is_taken_when_it_is_asked_for(tmp_path):
    write_video(tmp_path / "files", "notebook", "c", "v", truncate_codes(smooth_flow(5)))
    break_base(tmp_path / "files/c/v")
    options = ["--layout", "notebook", "--bound", "20", "--first", "0"]
    assert call("import", tmp_path / "files", tmp_path / "s", *options).code == 0
    assert flowstore.open_store(tmp_path / "s")["c/v"].n_flows == 5


def test_a_second_run_does_nothing_and_a_longer_video_is_done_again(tmp_path):
    codes = truncate_codes(smooth_flow(5))
    for name in "vw":
        write_video(tmp_path / "files", "notebook", "c", name, codes[:4])
    command = "import", tmp_path / "files", tmp_path / "s", "--layout", "notebook", "--bound", "20"
    assert call(*command).code == 0
    before = tree(tmp_path / "s")
    assert "nothing to do: 2 videos" in call(*command).out
    assert tree(tmp_path / "s") == before
    write_video(tmp_path / "files", "notebook", "c", "v", codes)
    again = call(*command)
    assert "1 video, 5 flows" in again.out
    assert "1 changed since and imported again" in again.err
    assert flowstore.open_store(tmp_path / "s")["c/v"].n_flows == 5


def test_the_store_may_stand_in_the_folder(tmp_path):
    write_video(tmp_path, "notebook", "c", "v", truncate_codes(smooth_flow(3)))
    command = "import", tmp_path, tmp_path / "s", "--layout", "notebook", "--bound", "20"
    assert call(*command).code == 0
    assert "nothing to do: 1 video " in call(*command).out


def test_flow_stays_when_its_files_are_gone(tmp_path):
    codes = truncate_codes(smooth_flow(3))
    for name in "vw":
        write_video(tmp_path / "files", "notebook", "c", name, codes)
    command = "import", tmp_path / "files", tmp_path / "s", "--layout", "notebook", "--bound", "20"
    assert call(*command).code == 0
    shutil.rmtree(tmp_path / "files/c/v")
    break_all(tmp_path / "files/c/w")
    write_video(tmp_path / "files", "notebook", "c", "u", codes)
    assert call(*command).code == 0
    assert keys_of(flowstore.open_store(tmp_path / "s")) == ["c/u", "c/v", "c/w"]


def test_a_dry_run_says_all_and_writes_nothing(tmp_path):
    write_video(tmp_path / "files", "i3d-npy", "c", "v", file_values(LAYOUTS["i3d-npy"], smooth_flow(3)))
    before = tree(tmp_path)
    result = call("import", tmp_path / "files", tmp_path / "s", "--layout", "i3d-npy", "--dry-run")
    assert result.code == 0
    assert tree(tmp_path) == before
    assert "1 in 1 class: 1 to import" in result.out
    assert (
        "decoded from i3d-float ±20 px and encoded as centred ±20 px, each the code of the file's value" in result.out
    )
    as_json = json.loads(call("import", tmp_path / "files", tmp_path / "s", "--layout", "i3d-npy", "--dry-run",
                              "--json").out)  # fmt: skip
    assert as_json["n_todo"] == 1
    assert as_json["settings"]["algorithm"] == "imported"
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("layout", "options", "said"),
    [
        ("notebook", {}, "layout notebook does not say the bound of its codes: give it with --bound PX"),
        ("flo", {}, "layout flo has no bound, and the codes of a store need one"),
        (None, {}, "give its layout with --layout"),
        ("notebok", {}, "did you mean 'notebook'"),
        ("notebook", {"bound": -1}, "bound is -1"),
        ("notebook", {"bound": 20, "step": 0}, "step is 0"),
        ("notebook", {"bound": 20, "encoding": "pixels"}, "jpg files cannot hold encoding pixels"),
        ("kitti", {"bound": 20}, "no file of layout kitti, such as wave/some_video/000001_10.png; it has"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, layout, options, said):
    write_video(tmp_path / "files", "notebook", "c", "v", truncate_codes(smooth_flow(2)))
    with pytest.raises(ArgumentError, match=said):
        import_flow(tmp_path / "files", tmp_path / "s", layout, **options)
    assert not (tmp_path / "s").exists()


def test_hdf5_without_h5py_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    write_video(tmp_path / "files", "hdf5", "c", "v", smooth_flow(2))
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(MissingExtraError, match=r"flowstore\[hdf5\]"):
        import_flow(tmp_path / "files", tmp_path / "s", "hdf5", bound=20)
    assert not (tmp_path / "s").exists()


def test_a_store_of_other_settings_is_refused(tmp_path):
    write_video(tmp_path / "files", "notebook", "c", "v", truncate_codes(smooth_flow(2)))
    import_flow(tmp_path / "files", tmp_path / "s", "notebook", bound=20)
    with pytest.raises(SettingsMismatchError, match=r"param bound_px: 20\.0 against 15\.0"):
        import_flow(tmp_path / "files", tmp_path / "s", "notebook", bound=15)
    again = import_flow(tmp_path / "files", tmp_path / "s", "notebook", bound=15, overwrite=True)
    assert again.n_extracted == 1
    assert call("extract", tmp_path / "files", tmp_path / "s").code == 2


def test_a_store_goes_on_with_its_own_settings(tmp_path):
    write_video(
        tmp_path / "files", LAYOUTS["mmaction2"].with_image_format("png"), "c", "v", truncate_codes(smooth_flow(2))
    )
    said = {"encoding": "truncate", "bound": 15, "store_encoding": "centred", "step": 2, "compression": "small"}
    layout = LAYOUTS["mmaction2"].with_image_format("png")
    import_flow(tmp_path / "files", tmp_path / "s", layout, **said)
    write_video(tmp_path / "files", layout, "c", "w", truncate_codes(smooth_flow(2)))
    report = import_flow(tmp_path / "files", tmp_path / "s")
    assert (report.n_extracted, report.n_done) == (1, 1)
    store = flowstore.open_store(tmp_path / "s")
    np.testing.assert_array_equal(store["c/v"].codes[:], store["c/w"].codes[:])
    for other, difference in (
        ({"bound": 20}, "bound_px: 15.0 against 20.0"),
        ({"store_encoding": "float16"}, "encoding: centred against float16"),
        ({"encoding": "denseflow"}, "param encoding: truncate against denseflow"),
        ({"step": 1}, "step: 2 against 1"),
    ):
        with pytest.raises(SettingsMismatchError, match=difference):
            import_flow(tmp_path / "files", tmp_path / "s", **other)


def test_codes_at_the_ends_count_as_clipped(tmp_path):
    codes = np.full((2, 2, 24, 32), 100, np.uint8)
    codes[0, 0, :2] = 255
    codes[1, 1, :3] = 0
    write_video(tmp_path / "files", LAYOUTS["notebook"].with_image_format("png"), "c", "v", codes)
    layout = LAYOUTS["notebook"].with_image_format("png")
    import_flow(tmp_path / "files", tmp_path / "s", layout, bound=20)
    statistics = flowstore.open_store(tmp_path / "s")["c/v"].record.statistics
    assert (statistics.clipped_x, statistics.clipped_y) == (2 * 32, 3 * 32)


def test_the_code_that_centred_does_not_have_is_stored_as_the_next_and_said(tmp_path):
    layout = custom_layout(
        "{class}/{video}/x_{number:05d}.png", "{class}/{video}/y_{number:05d}.png", 1, "png", encoding="centred"
    )
    codes = np.full((1, 2, 24, 32), 128, np.uint8)
    codes[0, 0, 0, :3] = 0
    write_video(tmp_path / "files", layout, "c", "v", codes)
    import_flow(tmp_path / "files", tmp_path / "s", layout, bound=20)
    video = flowstore.open_store(tmp_path / "s")["c/v"]
    assert video.codes[0, 0, 0, :4].tolist() == [1, 1, 1, 128]
    assert video.record.warnings == ("3 codes 0, which centred does not have, are stored as 1",)


def test_kitti_says_how_many_pixels_are_unknown(tmp_path):
    write_video(tmp_path / "files", "kitti", "c", "v", smooth_flow(1))
    path = tmp_path / "files/c/v/000001_10.png"
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    image[:2] = 0
    write_image(path, image)
    import_flow(tmp_path / "files", tmp_path / "s", "kitti", bound=20)
    video = flowstore.open_store(tmp_path / "s")["c/v"]
    assert video.record.warnings == ("64 pixels of unknown flow are stored as zero",)
    assert (video.codes[0, :, :2] == 128).all()


def test_pixels_taken_for_shares_of_the_bound_are_refused(tmp_path):
    write_video(tmp_path / "files", "i3d-npy", "c", "v", smooth_flow(2))
    report = import_flow(tmp_path / "files", tmp_path / "s", "i3d-npy")
    assert "expected -1 to 1" in report.failures[0].reason


def test_flow_that_is_not_finite_is_a_failed_row(tmp_path):
    flow = smooth_flow(2)
    flow[1, 0, 3, 3] = np.nan
    write_video(tmp_path / "files", "npy", "c", "v", flow)
    report = import_flow(tmp_path / "files", tmp_path / "s", "npy", bound=20)
    assert "flow 1 holds values that are not finite" in report.failures[0].reason


@pytest.mark.filterwarnings("error")
def test_flow_beyond_all_motion_is_a_failed_row_without_noise(tmp_path):
    write_video(tmp_path / "files", "npy", "c", "v", np.full((2, 2, 24, 32), 1e30, np.float32))
    report = import_flow(tmp_path / "files", tmp_path / "s", "npy", bound=20, scheduler="sync")
    assert report.failures[0].reason == "flow 0 holds values that are not finite, or above 1e19 px"


@pytest.mark.parametrize("layout", ["notebook", "npy"])
def test_a_last_flow_that_stands_twice_is_taken_once(tmp_path, layout):
    values = file_values(LAYOUTS[layout], smooth_flow(4))
    write_video(tmp_path / "files", layout, "c", "padded", np.concatenate([values, values[-1:]]))
    write_video(tmp_path / "files", layout, "c", "plain", values)
    report = import_flow(tmp_path / "files", tmp_path / "s", layout, bound=20, pad_last=True)
    (failed,) = report.failures
    assert failed.name == "plain"
    assert failed.reason == "the last flow does not stand twice: leave out --pad-last"
    assert flowstore.open_store(tmp_path / "s")["c/padded"].n_flows == 4


def test_steps_are_told_apart_by_names(tmp_path):
    codes = denseflow_codes(smooth_flow(4))
    write_video(tmp_path / "files", "denseflow", "c", "v", codes)
    write_video(tmp_path / "files", "denseflow", "c", "v", codes[:3], step=2)
    with pytest.raises(ArgumentError, match="files of the steps 1, 2: choose one with --step"):
        import_flow(tmp_path / "files", tmp_path / "s", "denseflow", bound=20)
    import_flow(tmp_path / "files", tmp_path / "s", "denseflow", bound=20, step=2)
    store = flowstore.open_store(tmp_path / "s")
    assert store.settings.step == 2
    assert (store["c/v"].n_flows, store["c/v"].record.n_frames) == (3, 5)


@pytest.mark.parametrize("layout", ["denseflow", "i3d-npy"])
def test_an_optional_class_folder_may_be_missing(tmp_path, layout):
    flat = LAYOUTS[layout].without_class_folder()
    for name in "vw":
        write_video(tmp_path / "files", flat, "none", name, file_values(flat, smooth_flow(2)))
    import_flow(tmp_path / "files", tmp_path / "s", layout, bound=20)
    assert keys_of(flowstore.open_store(tmp_path / "s")) == ["unlabeled/v", "unlabeled/w"]


def test_links_inside_are_followed_and_links_that_lead_out_are_not(tmp_path):
    codes = truncate_codes(smooth_flow(3))
    for root in ("files", "secret"):
        write_video(tmp_path / root, "notebook", "c", "v", codes)
    (tmp_path / "files/c/inside").symlink_to(tmp_path / "files/c/v")
    (tmp_path / "files/c/out").symlink_to(tmp_path / "secret/c/v")
    (tmp_path / "files/class_out").symlink_to(tmp_path / "secret/c")
    (tmp_path / "files/c/loop").symlink_to(tmp_path / "files/c")
    result = call("import", tmp_path / "files", tmp_path / "s", "--layout", "notebook", "--bound", "20")
    assert result.code == 1
    assert "2 links lead out of the folder and are not followed" in result.err
    reasons = {row["video"]: row["reason"] for row in flowstore.open_store(tmp_path / "s").videos}
    assert reasons.pop("loop").startswith("no flow files")
    assert reasons == {"v": "", "inside": "", "out": "c/out is a link that leads out of the folder"}


def test_names_that_one_template_cannot_tell_apart_are_refused(tmp_path):
    layout = custom_layout("{class}_{video}.npy", file_format="npy")
    write_video(tmp_path / "files", layout, "brush_hair", "v", smooth_flow(2))
    with pytest.raises(ArgumentError, match="class and video could be brush_hair and v, or brush and hair_v"):
        import_flow(tmp_path / "files", tmp_path / "s", layout, bound=20)


def test_a_store_goes_on_with_its_own_packing(tmp_path):
    write_videos(tmp_path / "files", "npy")
    options = {"bound": 20, "scheduler": "sync"}
    import_flow(tmp_path / "files", tmp_path / "s", "npy", compression="small", max_error=0.5, **options)
    shutil.rmtree(tmp_path / "s/run")
    assert import_flow(tmp_path / "files", tmp_path / "s", "npy", **options).is_all_well
    found = flowstore.open_store(tmp_path / "s")
    assert len(keys_of(found)) == 4
    assert (found.settings.compression, found.settings.max_error_px) == ("small", 0.5)
    with pytest.raises(SettingsMismatchError, match="compression: small against fast"):
        import_flow(tmp_path / "files", tmp_path / "s", "npy", compression="fast", **options)
    import_flow(tmp_path / "files", tmp_path / "s", "npy", overwrite=True, **options)
    assert flowstore.open_store(tmp_path / "s").settings.compression == "fast"
