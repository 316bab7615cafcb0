"""Frames beside the flow: every picture spells its number and its place, and so does the flow that starts from it."""

import itertools
import pickle
import shutil
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from store_factory import write_store
from torch_tests import import_torch

from flowstore.errors import ArgumentError, DecodeError, SourceError
from flowstore.format.settings import ExtractSettings
from flowstore.pipeline import extract
from flowstore.transforms import Compose, Crop, FlowTransform, HorizontalFlip, Move, Normalize, Resize

torch = import_torch()

from torch.utils.data import DataLoader  # noqa: E402

from flowstore.loaders import FlowClips  # noqa: E402

HEIGHT, WIDTH = 24, 40
N_FLOWS = {"a/short": 4, "a/long": 31, "b/[HD] x": 17}


def spelled_frames(n_frames, scale=1):
    """RGB frames (n, H, W, 3) of their number, column and row; each pixel of a frame `scale` times as large."""
    frames = np.empty((n_frames, HEIGHT, WIDTH, 3), np.uint8)
    frames[..., 0] = np.arange(n_frames)[:, None, None]
    frames[..., 1] = np.arange(WIDTH)
    frames[..., 2] = np.arange(HEIGHT)[:, None]
    return frames.repeat(scale, 1).repeat(scale, 2)


def spelled_codes(n_flows):
    """Codes of x that spell the column, and of y that spell the row and the number (mod 7)."""
    codes = np.empty((n_flows, 2, HEIGHT, WIDTH), np.uint8)
    codes[:, 0] = 1 + np.arange(WIDTH)
    codes[:, 1] = 1 + np.arange(HEIGHT)[:, None] + 32 * (np.arange(n_flows) % 7)[:, None, None]
    return codes


def write_folder(folder, frames, name="img_{:05d}.png", first=1):
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, first):
        assert cv2.imwrite(str(folder / name.format(number)), frame[..., ::-1])


def write_dataset(root, scale=1, step=1, names=("img_{:05d}.png", "{}.png", "f{:03d}.bmp")):
    for (key, n_flows), name in zip(N_FLOWS.items(), names, strict=True):
        write_folder(root / key, spelled_frames(n_flows + step, scale), name, first=len(key))


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("frames")
    write_store(root / "flow.zarr", {key: spelled_codes(n_flows) for key, n_flows in N_FLOWS.items()})
    write_dataset(root / "same")
    write_dataset(root / "twice", scale=2)
    for key, n_flows in N_FLOWS.items():
        write_rgb_video(root / f"videos/{key}.mkv", spelled_frames(n_flows + 1, 2))
    return root


def check_spelling(rgb, flow, scale=1):
    """Raise unless frames (n, 3, H', W') and flow codes (n, 2, H, W) are of one moment, window and flip; return it."""
    assert rgb.shape[0] == flow.shape[0]
    assert rgb.shape[2:] == tuple(scale * side for side in flow.shape[2:])
    is_mirrored = flow[0, 0, 0, 0] > 128
    columns = (256 - flow[:, 0].astype(int) if is_mirrored else flow[:, 0].astype(int)) - 1
    rows, numbers = (flow[:, 1].astype(int) - 1) % 32, (flow[:, 1].astype(int) - 1) // 32
    for offset in range(scale):
        seen = rgb[..., offset::scale, offset::scale].astype(int)
        np.testing.assert_array_equal(seen[:, 0] % 7, numbers)
        np.testing.assert_array_equal(seen[:, 1], columns)
        np.testing.assert_array_equal(seen[:, 2], rows)
    return bool(is_mirrored), int(rows[0, 0, 0]), int(columns[0].min())


TRANSFORMS = {
    "none": None,
    "crop": Crop((16, 20)),
    "crops and flip": Compose(Crop((20, 30)), HorizontalFlip(0.5), Crop((10, 14)), HorizontalFlip(0.5)),
}


@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize(("folder", "scale"), [("same", 1), ("twice", 2)])
@pytest.mark.parametrize("sampling", ["random", "uniform", "tsn", "dense", "all"])
def test_frames_and_flow_are_of_one_moment_crop_and_flip(places, sampling, folder, scale, transform):
    seen = set()
    choices = ("first", "middle", "all"), (1,) if sampling == "all" else (1, 3), (1, 3), ("repeat", "loop")
    for seed, (at, clips, stride, short) in enumerate(itertools.product(*choices)):
        dataset = FlowClips(
            places / "flow.zarr",
            5,
            clips,
            stride,
            sampling,
            transform=transform,
            dtype="uint8",
            layout="time",
            short=short,
            seed=seed,
            frames=places / folder,
            frames_at=at,
            return_info=True,
        )
        for number in range(0, len(dataset), 7 if sampling == "all" else 1):
            (rgb, flow), label, info = dataset[number]
            assert rgb.dtype == torch.uint8
            assert rgb.shape[:-2] == ((3,) if clips == 1 and at != "all" else (clips * (5 if at == "all" else 1), 3))
            chosen = {"first": [0], "middle": [2], "all": range(5)}[at]
            of_frames = flow.numpy().reshape(clips, 5, *flow.shape[-3:])[:, chosen].reshape(-1, *flow.shape[-3:])
            rgb = rgb.numpy().reshape(-1, *rgb.shape[-3:])
            flip, top, left = check_spelling(rgb, of_frames, scale)
            seen.add((flip, top, left))
            assert (info["flip"], *info["crop"].tolist()) == (flip, top, left, *flow.shape[-2:])
            assert info["frames"].flatten().tolist() == rgb[:, 0, 0, 0].tolist()
            name, flows = dataset.flows_of(number)
            assert info["name"] == name
            assert dataset.classes[label] == name[0]
            np.testing.assert_array_equal(info["flows"], flows)
            np.testing.assert_array_equal(info["frames"], flows[:, chosen])
    if transform is not None:
        assert len(seen) > 8


@pytest.mark.system
@pytest.mark.parametrize(("context", "n_workers"), [("fork", 0), ("fork", 2), ("spawn", 1), ("forkserver", 1)])
@pytest.mark.parametrize(("source", "is_own"), [("twice", True), ("twice", False), ("videos", True)])
def test_workers_give_the_same_frames(places, context, n_workers, source, is_own):
    def made():
        return FlowClips(
            places / "flow.zarr",
            5,
            transform=TRANSFORMS["crops and flip"],
            dtype="uint8",
            layout="time",
            frames=places / source,
            frames_at="all",
            frame_dtype="float32",
            return_info=True,
        )

    dataset = made()
    expected = [dataset[number] for _ in range(2) for number in range(3)]
    dataset = made()
    loader = DataLoader(
        dataset,
        3,
        num_workers=n_workers,
        multiprocessing_context=context if n_workers else None,
        collate_fn=dataset.collate if is_own else None,
    )
    found = []
    for _ in range(2):
        ((rgb, flow), labels, info) = next(iter(loader))
        assert isinstance(info["name"], list)
        assert info["crop"].shape == (3, 4)
        for row in range(3):
            check_spelling(np.rint(rgb[row].numpy() * 255), flow[row].numpy(), 2)
            found.append(((rgb[row], flow[row]), labels[row], {name: told[row] for name, told in info.items()}))
    for ((rgb, flow), label, info), ((its_rgb, its_flow), its_label, its_info) in zip(found, expected, strict=True):
        assert torch.equal(rgb, its_rgb)
        assert torch.equal(flow, its_flow)
        assert label == its_label
        assert info.keys() == its_info.keys()
        assert all(np.array_equal(info[name], its_info[name]) for name in info)


def test_a_resize_falls_on_frames_as_opencv_has_it(places):
    transform = Compose(Resize((12, 20)), Crop((8, 10), "center"), HorizontalFlip(1))
    for folder, scale in (("same", 1), ("twice", 2)):
        dataset = FlowClips(places / "flow.zarr", 3, transform=transform, frames=places / folder, return_info=True)
        (rgb, flow), _, info = dataset[1]
        assert flow.shape == (6, 8, 10)
        assert info["crop"].tolist() == [4, 10, 16, 20]
        frame = spelled_frames(32, scale)[int(info["frames"][0, 0])]
        part = frame[4 * scale : 20 * scale, 10 * scale : 30 * scale]
        expected = cv2.resize(part, (10 * scale, 8 * scale), interpolation=cv2.INTER_AREA)[:, ::-1]
        np.testing.assert_array_equal(rgb, expected.transpose(2, 0, 1))
    dataset = FlowClips(places / "flow.zarr", 3, frames=places / "twice", frame_size=(30, 50), frame_dtype="float32")
    (rgb, flow), _ = dataset[0]
    assert (rgb.shape, rgb.dtype, flow.shape) == ((3, 30, 50), torch.float32, (6, HEIGHT, WIDTH))
    assert rgb[1].max() == np.float32(WIDTH - 1) * np.float32(1 / 255)


def test_info_without_frames_tells_where_each_flow_starts(places):
    dataset = FlowClips(places / "flow.zarr", 3, 2, stride=2, return_info=True)
    flow, _, info = dataset[1]
    assert flow.shape == (2, 6, HEIGHT, WIDTH)
    np.testing.assert_array_equal(info["frames"], info["flows"])
    assert [info[name] for name in ("name", "number", "epoch", "fetch", "rank", "flip")] == [
        "a/short",
        1,
        0,
        0,
        0,
        False,
    ]


def test_sources_by_name_and_by_another_tree(places, tmp_path):
    # The record names a/long.avi, which is not there: found by class and name; and a video that is not is said to be.
    assert "frames of" in repr(FlowClips(places / "flow.zarr", frames=places / "same"))
    shutil.copytree(places / "same" / "a", tmp_path / "a")
    with pytest.raises(SourceError, match=r"has no frames of 1 video, the first is b/\[HD\] x"):
        FlowClips(places / "flow.zarr", frames=tmp_path)
    assert len(FlowClips(places / "flow.zarr", split=["a/long"], frames=tmp_path)) == 1
    with pytest.raises(SourceError, match="no such file or folder"):
        FlowClips(places / "flow.zarr", frames=tmp_path / "nowhere")


def test_a_missing_frame_is_named_before_training(places, tmp_path):
    shutil.copytree(places / "same", tmp_path / "frames")
    dataset = FlowClips(places / "flow.zarr", 31, frames=tmp_path / "frames", frames_at="all", split=["a/long"])
    (tmp_path / "frames/a/long/15.png").unlink()
    message = r"a/long: .* holds 31 frames, its flow was made of 32; 15.png is missing"
    with pytest.raises(SourceError, match=message):
        FlowClips(places / "flow.zarr", frames=tmp_path / "frames")
    with pytest.raises(DecodeError, match=r"a/long: 15.png cannot be opened"):
        dataset[0]
    # Two videos whose names follow no one rule.
    (tmp_path / "frames/a/long/6.png").rename(tmp_path / "frames/a/long/15.png")
    (tmp_path / "frames/a/long/x.png").write_bytes((tmp_path / "frames/a/long/7.png").read_bytes())
    dataset = FlowClips(places / "flow.zarr", 31, frames=tmp_path / "frames", frames_at="all", split=["a/long"])
    assert dataset[0][0][0].shape[0] == 31


def test_frames_follow_a_transform_of_ones_own_that_says_what_it_draws(places):
    class UpperHalf(FlowTransform):
        def draw(self, height, width, rng):
            return Move((0, 0, height // 2, width), size=(height, 2 * width), is_mirrored=True)

    dataset = FlowClips(
        places / "flow.zarr",
        4,
        transform=Compose(UpperHalf(), Normalize(0, 2)),
        frames=places / "same",
        return_info=True,
    )
    (rgb, flow), _, info = dataset[0]
    assert flow.shape == (8, HEIGHT, 2 * WIDTH)
    assert info["crop"].tolist() == [0, 0, HEIGHT // 2, WIDTH]
    frame = spelled_frames(32)[int(info["frames"][0, 0])][: HEIGHT // 2]
    expected = cv2.resize(frame, (2 * WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)[:, ::-1]
    np.testing.assert_array_equal(rgb, expected.transpose(2, 0, 1))
    for transform in (lambda flow: flow, Compose(Crop(8), np.ascontiguousarray)):
        with pytest.raises(ArgumentError, match="moves flow alone, and may leave its frames behind"):
            FlowClips(places / "flow.zarr", transform=transform, frames=places / "same")


def test_frames_of_different_sizes_need_a_frame_size(places, tmp_path):
    write_folder(tmp_path / "a/short", spelled_frames(5))
    write_folder(tmp_path / "a/long", spelled_frames(32, 2))
    options = {"split": ["a/long", "a/short"], "frames": tmp_path}
    with pytest.raises(ArgumentError, match="a/long gives 80×48, a/short 40×24; give frame_size"):
        FlowClips(places / "flow.zarr", **options).__getitems__([0, 1])
    batch = FlowClips(places / "flow.zarr", **options, frame_size=20).__getitems__([0, 1])
    assert batch.tensors[0].shape == (2, 3, 20, 20)


def test_a_dataset_with_frames_travels_as_paths_and_numbers(places):
    dataset = FlowClips(places / "flow.zarr", 4, frames=places / "same")
    data = pickle.dumps(dataset)
    assert len(data) < 10_000
    assert torch.equal(pickle.loads(data)[1][0][0], FlowClips(places / "flow.zarr", 4, frames=places / "same")[1][0][0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames_at": "last"}, "frames_at is 'last', expected one of first, middle, all"),
        ({"frame_dtype": "float16"}, "frame_dtype is 'float16', expected one of float32, uint8"),
        ({"frame_size": 0}, "size is 0, expected a whole number"),
        ({"return_info": 1}, "return_info is 1, expected True or False"),
        ({"frames": 3}, "frames is 3"),
        ({"frame_size": 16}, "frame_size is 16, but an item has no frames: say where they are by frames"),
        ({"frames_at": "all"}, "frames_at is 'all', but an item has no frames"),
        ({"frame_dtype": "float32"}, "frame_dtype is 'float32', but an item has no frames"),
    ],
)
def test_choices_are_checked(places, options, message):
    with pytest.raises(ArgumentError, match=message):
        FlowClips(places / "flow.zarr", **options)


def write_rgb_video(path, frames, times=None, rate=30, codec="libx264rgb", pix_fmt="rgb24"):
    """Write, by default lossless H.264 of RGB, with frames that refer to later ones and a key frame in nine."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as output:
        stream = output.add_stream(codec, rate=rate, options={"qp": "0", "g": "9", "bf": "2"})
        stream.height, stream.width, stream.pix_fmt = *frames[0].shape[:2], pix_fmt
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), "rgb24")
            picture.pts, picture.time_base = number if times is None else times[number], Fraction(1, rate)
            output.mux(stream.encode(picture))
        output.mux(stream.encode(None))


@pytest.mark.parametrize("at", ["middle", "all"])
@pytest.mark.parametrize("sampling", ["random", "uniform", "tsn", "dense", "all"])
def test_frames_of_video_files_are_those_of_folders(places, sampling, at):
    for clips, stride in ((1, 1), (1, 3)) if sampling == "all" else ((1, 1), (2, 3)):
        options = {"transform": TRANSFORMS["crops and flip"], "frames_at": at, "dtype": "uint8", "layout": "time"}
        made = [
            FlowClips(places / "flow.zarr", 5, clips, stride, sampling, frames=frames, **options)
            for frames in (places / "videos", places / "twice")
        ]
        numbers = list(range(0, len(made[0]), 9 if sampling == "all" else 1))
        (rgb, flow), (its_rgb, its_flow) = (dataset.__getitems__(numbers).tensors for dataset in made)
        assert torch.equal(flow, its_flow)
        assert torch.equal(rgb, its_rgb)


def spelled_scene(n_frames, seed):
    """Frames whose upper left corner is as bright as their number, of a texture that moves otherwise each time.

    Returns
    -------
    frames : uint8 array (n, 64, 96, 3)
    places : int array (n,)
        Where the texture is, in pixels: flow from frame i to j is ``places[i] - places[j]`` in x.
    """
    rng = np.random.default_rng(seed)
    texture = cv2.GaussianBlur(rng.integers(0, 256, (64, 400), np.uint8), (0, 0), 2)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    places = 200 + np.cumsum(rng.choice([-2, -1, 1, 2], n_frames))
    frames = np.stack([texture[:, place : place + 96] for place in places])[..., None].repeat(3, 3)
    frames[:, :8, :8] = 2 * np.arange(n_frames)[:, None, None, None]
    return frames, places


@pytest.mark.parametrize(
    ("kind", "step", "fps"),
    [
        (kind, step, fps)
        for kind in ("folder", "constant rate", "variable rate")
        for step, fps in [(1, None), (2, None), (1, 10.0), (2, 12.5)]
    ],
)
def test_extracted_flow_starts_from_the_frames_given(tmp_path, kind, step, fps):
    n_frames = 60
    frames, places = spelled_scene(n_frames, seed=step)
    times = np.arange(n_frames)
    if kind == "variable rate":
        times = np.cumsum(np.random.default_rng(1).integers(1, 4, n_frames))
    if kind == "folder":
        write_folder(tmp_path / "videos/a/x", frames)
    else:
        write_rgb_video(tmp_path / "videos/a/x.mkv", frames, times)
    options = {"step": step, "fps": fps, "engine": "opencv", "scheduler": "sync"}
    if kind == "folder":
        options["source_fps"] = 30
    extract(tmp_path / "videos", tmp_path / "flow.zarr", **options)
    taken = list(range(n_frames))
    if fps is not None:
        ticks = np.arange(0, (times[-1] + 1) / 30, 1 / fps)
        shown = (times - times[0]) / 30
        # The later of two that are as near.
        taken = sorted({n_frames - 1 - int(np.abs(shown[::-1] - tick).round(6).argmin()) for tick in ticks})
    dataset = FlowClips(tmp_path / "flow.zarr", 1, sampling="all", frames=tmp_path / "videos", return_info=True)
    assert len(dataset) == len(taken) - step
    for number in range(len(dataset)):
        (rgb, flow), _, info = dataset[number]
        start, end = taken[number], taken[number + step]
        assert int(info["frames"]) == start
        assert abs(int(rgb[:, 2:6, 2:6].float().mean()) - 2 * start) <= 1
        np.testing.assert_array_equal(rgb.permute(1, 2, 0), frames[start])
        measured = float(flow[0, 20:44, 30:66].median())
        if abs(places[start] - places[end]) <= 4:
            assert measured == pytest.approx(places[start] - places[end], abs=0.6)


def test_a_store_that_does_not_say_which_frames_it_took(tmp_path):
    settings = ExtractSettings(fps=10.0)
    write_store(tmp_path / "s.zarr", {"a/x": spelled_codes(6)}, settings=settings)
    write_rgb_video(tmp_path / "videos/a/x.mkv", spelled_frames(21))
    for options in ({"frames": tmp_path / "videos"}, {"return_info": True}):
        dataset = FlowClips(tmp_path / "s.zarr", 3, **options)
        with pytest.raises(
            ArgumentError, match="a/x: the store does not say which frames were taken for 10 per second"
        ):
            dataset[0]


@pytest.mark.parametrize("missing", [8, 20])
def test_a_frame_that_a_thinned_folder_lacks_is_not_passed_over(tmp_path, missing):
    """Frames of another size than those that were extracted: told apart by their number alone."""
    for name in ("x", "y"):
        write_folder(tmp_path / "videos/a" / name, spelled_frames(21), "{}.png", first=0)
        write_folder(tmp_path / "twice/a" / name, spelled_frames(21, 2), "{}.png", first=0)
    options = {"engine": "opencv", "scheduler": "sync", "source_fps": 30, "fps": 10}
    extract(tmp_path / "videos", tmp_path / "s.zarr", **options)
    (tmp_path / f"twice/a/x/{missing}.png").unlink()
    dataset = FlowClips(tmp_path / "s.zarr", 3, frames=tmp_path / "twice")
    with pytest.raises(SourceError, match=r"a/x: .*x holds 20 frames, its flow was made of 21"):
        dataset[0]
    assert dataset[1][0][0].shape == (3, 2 * HEIGHT, 2 * WIDTH)
    # Nor in the folder that was extracted, where the frames have the size that they had.
    dataset = FlowClips(tmp_path / "s.zarr", 3, frames=tmp_path / "videos")
    (tmp_path / "videos/a/x/20.png").write_bytes(b"")
    with pytest.raises(SourceError, match=r"a/x: .* has changed since its flow was made"):
        dataset[0]


@pytest.mark.parametrize("n_frames", [20, 33])
def test_a_video_with_another_number_of_frames_than_its_flow_is_named(places, tmp_path, n_frames):
    write_rgb_video(tmp_path / "a/long.mkv", spelled_frames(n_frames))
    dataset = FlowClips(places / "flow.zarr", 3, frames=tmp_path, split=["a/long"])
    with pytest.raises(SourceError, match=rf"a/long: .*long.mkv holds {n_frames} frames, its flow was made of 32"):
        dataset[0]


def test_a_video_of_no_index_with_fewer_frames_than_its_flow_is_named(places, tmp_path):
    write_rgb_video(tmp_path / "a/long.avi", spelled_frames(20), codec="mpeg4", pix_fmt="yuv420p")
    dataset = FlowClips(places / "flow.zarr", 31, frames=tmp_path, frames_at="all", split=["a/long"])
    with pytest.raises(DecodeError, match="a/long: ends after 20 frames, frame 30 is wanted"):
        dataset[0]


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_a_source_that_changed_since_its_flow_was_made_is_named(tmp_path, kind):
    def write(key, seed):
        frames = spelled_scene(12, seed)[0]
        if kind == "folder":
            write_folder(tmp_path / "videos" / key, frames)
        else:
            write_rgb_video(tmp_path / "videos" / f"{key}.mkv", frames)

    for seed, key in enumerate(("a/x", "a/y", "b/z")):
        write(key, seed)
    extract(tmp_path / "videos", tmp_path / "flow.zarr", engine="opencv", scheduler="sync")
    # A copy with other time stamps is the same.
    shutil.copytree(tmp_path / "videos", tmp_path / "copy", copy_function=shutil.copyfile)
    options = {"length": 3, "frames": tmp_path / "videos"}
    dataset = FlowClips(tmp_path / "flow.zarr", **options)
    copied = FlowClips(tmp_path / "flow.zarr", length=3, frames=tmp_path / "copy")
    if kind == "folder":
        shutil.rmtree(tmp_path / "videos/a/y")
    write("a/y", seed=7)
    message = r"a/y: \S*/videos/a/y\S* has changed since its flow was made: \d+ bytes now, \d+ then; extract it again"
    assert torch.equal(dataset[0][0][0], copied[0][0][0])
    with pytest.raises(SourceError, match=message):
        dataset[1]
    with pytest.raises(SourceError, match=message):
        FlowClips(tmp_path / "flow.zarr", **options)
    assert torch.equal(dataset[2][0][0], copied[2][0][0])
