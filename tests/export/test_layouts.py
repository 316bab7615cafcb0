"""Each layout as the tool that it is for reads it: the reading rules are written out here, from the tools' own code."""

import json
import os

import cv2
import h5py
import numpy as np
import pytest
from PIL import Image
from store_factory import settings_of, tree_files, write_store

import flowstore
from flowstore.export import export
from flowstore.export.run import MANIFEST
from flowstore.layouts import LAYOUTS, custom_layout

HEIGHT, WIDTH, BOUND = 24, 40, 20.0
LENGTHS = {"wave/v_01": 7, "wave/v_02": 1, "run fast/v_03": 12}


def smooth_codes(n_flows: int, seed: int) -> np.ndarray:
    """Return codes that JPEG keeps to within a few levels; each flow differs much from every other, x from y."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    codes = np.empty((n_flows, 2, HEIGHT, WIDTH), np.uint8)
    for number in range(n_flows):
        for component in range(2):
            wave = np.sin(x / 9 + number + 2 * component) + np.cos(y / 7 + seed)
            codes[number, component] = np.rint(128 + 40 * wave + 3 * (number % 9))
    return codes


VIDEOS = {key: smooth_codes(n, seed) for seed, (key, n) in enumerate(LENGTHS.items())}


def read_gray(path) -> np.ndarray:
    """Return a gray image as PIL's users read it: ``Image.open(...).convert('L')``."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L"))


def read_planes(paths) -> np.ndarray:
    return np.stack([[read_gray(x), read_gray(y)] for x, y in paths])


def numbered(x, y, numbers):
    return [(x.format(n), y.format(n)) for n in numbers]


# What a reader does: (root, class, video, number of flows) -> paths of x and y, in order.


def mmaction2(root, label, video, n):
    """RawFrameDecode: ``osp.join(directory, filename_tmpl.format('x', frame_idx))``, from start_index 1."""
    return [[f"{root}/{label}/{video}/" + f"{axis}_{idx:05d}.jpg" for axis in "xy"] for idx in range(1, n + 1)]


def mmaction2_activitynet(root, label, video, n):
    return [[f"{root}/{video}/" + f"flow_{a}_{idx:05d}.jpg" for a in "xy"] for idx in range(1, n + 1)]


def tsn(root, label, video, n):
    """TSNDataSet._load_image with flow_prefix ``flow_``: ``image_tmpl.format('x', idx)``, indices from 1."""
    image_tmpl = "flow_" + "{}_{:05d}.jpg"
    return [[os.path.join(root, video, image_tmpl.format(axis, idx)) for axis in "xy"] for idx in range(1, n + 1)]


def tsm_sthv1(root, label, video, n):
    return [[f"{root}/{video}/{video}-{axis}_{idx:05d}.jpg" for axis in "xy"] for idx in range(1, n + 1)]


def notebook(root, label, video, n):
    """The loop's own reader sorts what it finds."""
    folder = f"{root}/{label}/{video}"
    names = sorted(name for name in os.listdir(folder) if name.startswith("flow_x_"))
    return [(f"{folder}/{name}", f"{folder}/{name.replace('flow_x', 'flow_y')}") for name in names]


def notebook_tidy(root, label, video, n):
    folder = f"{root}/{label}/{video}/flows"
    return numbered(f"{folder}/flow_x_{{:04d}}.jpg", f"{folder}/flow_y_{{:04d}}.jpg", range(1, n + 1))


def denseflow(root, label, video, n):
    """Denseflow writes ``flow_x_%05d.jpg`` from 0."""
    return [[f"{root}/{label}/{video}/flow_{axis}_%05d.jpg" % i for axis in "xy"] for i in range(n)]


def twostream(root, label, video, n):
    """Twostreamfusion: ``tvl1_flow/u/VIDEO/frame000001.jpg``, ``v`` beside ``u``."""
    return [[f"{root}/{axis}/{video}/frame%06d.jpg" % i for axis in "uv"] for i in range(1, n + 1)]


def gpu_flow(root, label, video, n):
    return [[f"{root}/{axis}/{label}/{video}/frame%06d.jpg" % i for axis in "xy"] for i in range(1, n + 1)]


def flowty(root, label, video, n):
    return [[f"{root}/{video}/{axis}/frame_%05d.jpg" % i for axis in "uv"] for i in range(1, n + 1)]


def epic(root, label, video, n):
    return [[f"{root}/{video}/{axis}/frame_%010d.jpg" % i for axis in "uv"] for i in range(1, n + 1)]


def charades(root, label, video, n):
    return [[f"{root}/{video}/{video}-{i:06d}{axis}.jpg" for axis in "xy"] for i in range(1, n + 1)]


def mars(root, label, video, n):
    """MARS: ``os.path.join(frame_path, 'TVL1jpg_x_%05d.jpg' % (i + 1))`` for i from 0."""
    folder = f"{root}/{label}/{video}"
    return [[os.path.join(folder, f"TVL1jpg_{axis}_%05d.jpg" % (i + 1)) for axis in "xy"] for i in range(n)]


IMAGES = {
    "notebook": (notebook, "truncate"),
    "notebook-tidy": (notebook_tidy, "truncate"),
    "denseflow": (denseflow, "denseflow"),
    "tsn": (tsn, "denseflow"),
    "mmaction2": (mmaction2, "denseflow"),
    "mmaction2-activitynet": (mmaction2_activitynet, "denseflow"),
    "twostream": (twostream, "denseflow"),
    "gpu-flow": (gpu_flow, "denseflow"),
    "flowty": (flowty, "truncate"),
    "epic": (epic, "denseflow"),
    "charades": (charades, "denseflow"),
    "tsm-sthv1": (tsm_sthv1, "denseflow"),
    "mars": (mars, "truncate"),
}
OTHERS = {"coclr", "i3d-npy", "npy", "flo", "kitti", "hdf5"}


def test_each_layout_has_its_reader():
    assert {*IMAGES, *OTHERS} == set(LAYOUTS)


def write(root, encoding):
    write_store(root, VIDEOS, settings=settings_of(encoding, BOUND))
    return root


def pixels(encoding):
    """Return the flow of the stored codes by the formulas on paper."""
    scale, offset = {"denseflow": (40 / 255, -20), "truncate": (40 / 255, -20 + 20 / 255)}[encoding]
    return {key: (codes * np.float64(scale) + offset).astype(np.float32) for key, codes in VIDEOS.items()}


@pytest.mark.parametrize("layout", IMAGES)
def test_its_reader_gets_every_flow_in_order(tmp_path, layout):
    reader, encoding = IMAGES[layout]
    report = export(write(tmp_path / "s.zarr", encoding), tmp_path / "out", layout, scheduler="sync")
    assert report.encoding_note == f"{encoding} codes as stored"
    for key, codes in VIDEOS.items():
        label, _, video = key.partition("/")
        paths = reader(str(tmp_path / "out"), label, video, len(codes))
        assert len(paths) == len(codes)
        check_order(read_planes(paths), codes)
    # And nothing else: readers count files.
    assert len(tree_files(tmp_path / "out")) == 2 * sum(LENGTHS.values()) + 1


def check_order(found, codes, tolerance=6):
    """Check that each flow found is the one of its place, first and last included, and no other's."""
    assert found.shape == codes.shape
    assert np.abs(found.astype(int) - codes).max() <= tolerance
    for number, flow in enumerate(found.astype(int)):
        distances = np.abs(codes.astype(int) - flow).mean(axis=(1, 2, 3))
        assert distances.argmin() == number


def test_coclr_is_read_by_channel(tmp_path):
    """CoCLR opens the picture as RGB and takes its first two channels."""
    export(write(tmp_path / "s.zarr", "denseflow"), tmp_path / "out", "coclr", scheduler="sync")
    for key, codes in VIDEOS.items():
        found = []
        for i in range(len(codes)):
            with Image.open(tmp_path / "out" / key / f"flow_{i + 1:05d}.jpg") as image:
                rgb = np.asarray(image.convert("RGB"))
            assert np.abs(rgb[..., 2].astype(int) - 128).max() <= 5
            found.append(rgb[..., :2].transpose(2, 0, 1))
        check_order(np.stack(found), codes)
    assert len(tree_files(tmp_path / "out")) == sum(LENGTHS.values()) + 1


def test_i3d_npy_is_one_array_in_minus_one_to_one(tmp_path):
    """kinetics-i3d's evaluate_sample.py: ``np.load(path)``, (1, T, H, W, 2), fed as it is."""
    export(write(tmp_path / "s.zarr", "denseflow"), tmp_path / "out", "i3d-npy", scheduler="sync")
    for key, flow in pixels("denseflow").items():
        found = np.load(tmp_path / "out" / f"{key}.npy", allow_pickle=False)
        assert (found.dtype, found.shape) == (np.float32, (1, len(flow), HEIGHT, WIDTH, 2))
        np.testing.assert_allclose(found[0].transpose(0, 3, 1, 2), np.clip(flow, -20, 20) / 20, rtol=0, atol=1e-6)


def test_npy_and_hdf5_are_pixels(tmp_path):
    root = write(tmp_path / "s.zarr", "denseflow")
    export(root, tmp_path / "npy", "npy", scheduler="sync")
    export(root, tmp_path / "hdf5", "hdf5", scheduler="sync")
    for key in VIDEOS:
        flow = flowstore.open_store(root)[key][:]
        found = np.load(tmp_path / "npy" / f"{key}.npy", allow_pickle=False)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, flow)
        with h5py.File(tmp_path / "hdf5" / f"{key}.h5") as file:
            assert list(file) == ["flow"]
            assert file["flow"].chunks == (1, 2, HEIGHT, WIDTH)
            np.testing.assert_array_equal(file["flow"][:], flow)


def test_flo_is_what_opencv_reads(tmp_path):
    root = write(tmp_path / "s.zarr", "truncate")
    export(root, tmp_path / "out", "flo", scheduler="sync")
    for key, codes in VIDEOS.items():
        for i, flow in enumerate(flowstore.open_store(root)[key][:]):
            found = cv2.readOpticalFlow(str(tmp_path / "out" / key / f"{i + 1:06d}.flo"))
            np.testing.assert_array_equal(found.transpose(2, 0, 1), flow)
        assert not (tmp_path / "out" / key / f"{len(codes) + 1:06d}.flo").exists()


def test_kitti_is_what_its_devkit_reads(tmp_path):
    """io_flow.h: u = (R - 2^15)/64 where B is not 0; OpenCV gives channels as B, G, R."""
    root = write(tmp_path / "s.zarr", "truncate")
    export(root, tmp_path / "out", "kitti", scheduler="sync")
    for key in VIDEOS:
        for i, flow in enumerate(flowstore.open_store(root)[key][:]):
            image = cv2.imread(str(tmp_path / "out" / key / f"{i + 1:06d}_10.png"), cv2.IMREAD_UNCHANGED)
            assert image.dtype == np.uint16
            assert (image[..., 0] == 1).all()
            u, v = ((image[..., channel].astype(np.float64) - 2**15) / 64 for channel in (2, 1))
            assert np.abs(np.stack([u, v]) - flow).max() <= 1 / 128


# Changes of a layout


def test_png_is_without_loss(tmp_path):
    root = write(tmp_path / "s.zarr", "denseflow")
    export(root, tmp_path / "out", "mmaction2", image_format="png", scheduler="sync")
    export(root, tmp_path / "rgb", "coclr", image_format="png", scheduler="sync")
    for key, codes in VIDEOS.items():
        for i, (x, y) in enumerate(codes, 1):
            np.testing.assert_array_equal(read_gray(tmp_path / "out" / key / f"x_{i:05d}.png"), x)
            np.testing.assert_array_equal(read_gray(tmp_path / "out" / key / f"y_{i:05d}.png"), y)
            with Image.open(tmp_path / "rgb" / key / f"flow_{i:05d}.png") as image:
                np.testing.assert_array_equal(np.asarray(image), np.stack([x, y, np.full_like(x, 128)], axis=-1))


@pytest.mark.parametrize("layout", ["mmaction2", "npy", "hdf5", "flo"])
@pytest.mark.parametrize("step", [1, 3])
def test_the_last_flow_again_gives_as_many_flows_as_frames(tmp_path, layout, step):
    """AFSD repeats the last flow."""
    write_store(tmp_path / "s.zarr", VIDEOS, settings=settings_of("denseflow", BOUND, step=step))
    report = export(tmp_path / "s.zarr", tmp_path / "out", layout, pad_last=True, scheduler="sync")
    assert report.n_flows == sum(n + step for n in LENGTHS.values())
    for key, codes in VIDEOS.items():
        flow = flowstore.open_store(tmp_path / "s.zarr")[key][:]
        padded = np.concatenate([flow, np.repeat(flow[-1:], step, axis=0)])
        if layout == "npy":
            np.testing.assert_array_equal(np.load(tmp_path / "out" / f"{key}.npy"), padded)
        elif layout == "hdf5":
            with h5py.File(tmp_path / "out" / f"{key}.h5") as file:
                np.testing.assert_array_equal(file["flow"][:], padded)
        elif layout == "flo":
            for i, expected in enumerate(padded, 1):
                found = cv2.readOpticalFlow(str(tmp_path / "out" / key / f"{i:06d}.flo"))
                np.testing.assert_array_equal(found.transpose(2, 0, 1), expected)
        else:
            folder = tmp_path / "out" / key
            assert len(list(folder.iterdir())) == 2 * len(padded)
            last = (folder / f"x_{len(codes):05d}.jpg").read_bytes()
            assert (folder / f"x_{len(padded):05d}.jpg").read_bytes() == last
    again = export(tmp_path / "s.zarr", tmp_path / "out", layout, pad_last=True, scheduler="sync")
    assert again.n_written == 0


def test_denseflow_without_class_folders(tmp_path):
    export(write(tmp_path / "s.zarr", "denseflow"), tmp_path / "out", "denseflow", class_folder=False, scheduler="sync")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [MANIFEST, "v_01", "v_02", "v_03"]
    assert (tmp_path / "out/v_01/flow_x_00000.jpg").is_file()


def test_a_custom_layout(tmp_path):
    layout = custom_layout("{class}/u{step}/{video}_{number}.png", "{class}/v{step}/{video}_{number}.png", 5, "png")
    root = write(tmp_path / "s.zarr", "denseflow")
    export(root, tmp_path / "out", layout, scheduler="sync")
    for key, codes in VIDEOS.items():
        label, _, video = key.partition("/")
        for i, (x, y) in enumerate(codes, 5):
            np.testing.assert_array_equal(read_gray(tmp_path / "out" / label / "u" / f"{video}_{i}.png"), x)
            np.testing.assert_array_equal(read_gray(tmp_path / "out" / label / "v" / f"{video}_{i}.png"), y)
    assert len(tree_files(tmp_path / "out")) == 2 * sum(LENGTHS.values()) + 1
    # Files of several videos stand in one folder: those of a longer flow are still told from another video's.
    (tmp_path / "out" / "wave" / "u" / "v_02_6.png").write_bytes(b"of a longer flow")
    (tmp_path / "out" / "wave" / "u" / "v_02_x.png").write_bytes(b"mine")
    again = export(root, tmp_path / "out", layout, scheduler="sync")
    assert (again.n_written, again.n_present) == (0, 2 * sum(LENGTHS.values()))
    names = {path.name for path in (tmp_path / "out" / "wave" / "u").iterdir()}
    assert names == {*(f"v_01_{i}.png" for i in range(5, 12)), "v_02_5.png", "v_02_x.png"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_running_again_finishes_any_layout(tmp_path, layout):
    root = write(tmp_path / "s.zarr", "truncate")
    first = export(root, tmp_path / "out", layout, scheduler="threads", workers=2)
    whole = tree_files(tmp_path / "out")
    for number, name in enumerate(sorted(set(whole) - {MANIFEST})):
        if number % 3 == 0:
            (tmp_path / "out" / name).unlink()
        elif number % 3 == 1:
            # What a power cut can leave.
            (tmp_path / "out" / name).write_bytes(b"")
    n_files = len(whole) - 1
    again = export(root, tmp_path / "out", layout, scheduler="sync")
    assert tree_files(tmp_path / "out") == whole
    assert (first.n_written, first.n_present) == (n_files, 0)
    assert (again.n_written, again.n_present) == (n_files - n_files // 3, n_files // 3)
    assert again.n_flows == first.n_flows == sum(LENGTHS.values())
    manifest = json.loads(whole[MANIFEST])
    assert (manifest["n_files"], manifest["n_flows"], manifest["complete"]) == (n_files, first.n_flows, True)
    assert manifest["x_template"] == LAYOUTS[layout].x_template


# mmaction2 and TSN, from the lists that they are given


@pytest.mark.parametrize("layout", ["mmaction2", "tsn"])
def test_lists_lead_their_readers_to_every_flow(tmp_path, layout):
    videos = {key.replace(" ", "_"): codes for key, codes in VIDEOS.items()}
    write_store(tmp_path / "s.zarr", videos, settings=settings_of("denseflow", BOUND))
    report = export(tmp_path / "s.zarr", tmp_path / "out", layout, lists=("all",), scheduler="sync")
    assert report.lists == {"annotations/all.txt": 3, "annotations/all_classes.txt": 2}
    names = {}
    for line in (tmp_path / "out/annotations/all_classes.txt").read_text().splitlines():
        label, name = line.split()
        names[int(label)] = name
    seen = set()
    for line in (tmp_path / "out/annotations/all.txt").read_text().splitlines():
        frame_dir, total_frames, label = line.strip().split()
        directory = tmp_path / "out" / frame_dir
        template = "{}_{:05d}.jpg" if layout == "mmaction2" else "flow_{}_{:05d}.jpg"
        # Frames 1 to total_frames, the last included, for a clip of any length.
        numbers = range(1, int(total_frames) + 1)
        paths = [[directory / template.format(axis, idx) for axis in "xy"] for idx in numbers]
        key = f"{names[int(label)]}/{directory.name}"
        check_order(read_planes(paths), videos[key])
        seen.add(key)
    assert seen == set(videos)
