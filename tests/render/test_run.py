"""Pictures and films: their pixels, their legend's statement, what is refused, and that films are streamed."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from datasets import call, partial_files, process_environment
from PIL import Image as PillowImage
from store_factory import make_codes, picture_scale, write_store

import flowstore
from flowstore.colour import flow_to_color, plane_to_color
from flowstore.errors import ArgumentError, FailedVideoError
from flowstore.quantize import Quantizer
from flowstore.quantize.motion import MotionStatistics
from flowstore.render import render, render_class, render_video
from flowstore.render.pictures import FlowPainter, choose_zoom

# What `store_factory.make_record` states as the 99th percentile.
P99 = 7.25


@pytest.fixture
def store(tmp_path):
    videos = {"wave/a": make_codes(6, 12, 16), "wave/b": make_codes(3, 16, 12, seed=1), "run/c": make_codes(2, 8, 8)}
    write_store(tmp_path / "flow.zarr", videos, failed={"wave/broken": "ends early or is damaged"})
    return flowstore.open_store(tmp_path / "flow.zarr")


def read_rgb(path):
    return cv2.imread(str(path))[..., ::-1]


def read_film(path):
    """Every picture of a film, by OpenCV: RGB."""
    capture, pictures = cv2.VideoCapture(str(path)), []
    while True:
        is_read, picture = capture.read()
        if not is_read:
            return pictures
        pictures.append(picture[..., ::-1])


def find_panel(picture, panel):
    """Where a panel stands in a picture: the number of places at which every pixel is equal."""
    difference = cv2.matchTemplate(picture.astype(np.float32), panel.astype(np.float32), cv2.TM_SQDIFF)
    # OpenCV's sums are rounded.
    likely = np.argwhere(difference < 1 + 1e-6 * (panel.astype(float) ** 2).sum())
    height, width = panel.shape[:2]
    is_equal = [np.array_equal(picture[top : top + height, left : left + width], panel) for top, left in likely]
    return likely[np.array(is_equal, bool)]


# ---- pictures


@pytest.mark.parametrize(("encoding", "bound"), [("centred", 20), ("denseflow", 7), ("truncate", 20)])
def test_looked_up_colors_are_those_of_the_decoded_flow(encoding, bound):
    quantizer = Quantizer(encoding, bound)
    codes = np.random.default_rng(0).integers(0, 256, (2, 40, 50), np.uint8)
    painter = FlowPainter(quantizer, 6.5)
    pixels = quantizer.decode(codes)
    np.testing.assert_array_equal(painter.color(codes), flow_to_color(pixels, 6.5))
    np.testing.assert_array_equal(painter.plane(codes[1]), plane_to_color(pixels[1], 6.5))


def test_float16_has_the_same_colors():
    flow = np.random.default_rng(0).normal(0, 4, (2, 9, 8)).astype(np.float16)
    painter = FlowPainter(Quantizer("float16", None), 6.5)
    np.testing.assert_array_equal(painter.color(flow), flow_to_color(flow.astype(np.float32), 6.5))
    np.testing.assert_array_equal(painter.plane(flow[0]), plane_to_color(flow[0].astype(np.float32), 6.5))


def test_a_picture_holds_the_colors_of_its_flow_at_the_stated_scale(store, tmp_path):
    report = render_video(store["wave/a"], tmp_path / "a.png", frame=2, zoom=1)
    flow = store["wave/a"][2]
    scale = picture_scale(flow)
    assert (report.scale_px, report.scale_origin, report.n_pictures) == (scale, "p95 of the flow", 1)
    picture = read_rgb(tmp_path / "a.png")
    assert picture.shape == (report.height, report.width, 3)
    assert len(find_panel(picture, flow_to_color(flow, scale))) == 1
    # At any other scale the colors are others.
    assert len(find_panel(picture, flow_to_color(flow, 2 * scale))) == 0


def test_a_lively_moment_is_drawn_and_neither_a_still_one_nor_a_cut():
    flow = np.zeros((21, 2, 12, 16), np.float32)
    flow[4:8, 0] = 3.0
    flow[15] = 18.0
    statistics = MotionStatistics(1, 25, 3, 0, 0, 0.0, tuple(float(np.hypot(*one).mean()) for one in flow))
    assert statistics.lively_flow == 7
    assert replace(statistics, flow_means=(1.0,)).lively_flow == 0
    assert replace(statistics, flow_means=(2.0,) * 9).lively_flow == 4


@pytest.mark.parametrize(("frame", "number"), [(None, 4), (0, 0), (5, 5), (-1, 5), (-6, 0)])
def test_the_flow_that_is_drawn(store, tmp_path, frame, number):
    report = render_video(store["wave/a"], tmp_path / "a.png", frame=frame, zoom=1, scale=9.0)
    assert report.what == f"flow {number} of wave/a"
    assert (report.scale_px, report.scale_origin) == (9.0, "given")
    assert len(find_panel(read_rgb(tmp_path / "a.png"), flow_to_color(store["wave/a"][number], 9.0))) == 1


def test_planes_are_drawn_apart(store, tmp_path):
    render_video(store["wave/a"], tmp_path / "a.png", style="planes", frame=1, zoom=2, scale=5.0)
    picture, flow = read_rgb(tmp_path / "a.png"), store["wave/a"][1]
    places = [find_panel(picture, plane_to_color(plane, 5.0).repeat(2, axis=0).repeat(2, axis=1)) for plane in flow]
    assert [len(found) for found in places] == [1, 1]
    # On one line, x left of y.
    assert places[0][0][0] == places[1][0][0]
    assert places[0][0][1] + 32 < places[1][0][1]


def test_zoom(store, tmp_path):
    small, large = (render_video(store["wave/a"], tmp_path / f"{zoom}.png", zoom=zoom).width for zoom in (1, 10))
    assert large - small == pytest.approx(9 * 16, abs=80)
    assert [choose_zoom(*size) for size in ((240, 320), (320, 240), (1080, 1920), (1, 1), (100, 5000))] == [
        1, 1, 1 / 3, 240, 0.128,
    ]  # fmt: skip
    for zoom in (0, -1, float("nan"), float("inf"), 2000):
        with pytest.raises(ArgumentError, match=r"zoom is .*, expected above 0 and at most 1024 for flow of 16×12"):
            render_video(store["wave/a"], tmp_path / "no.png", zoom=zoom)


def test_a_flow_of_one_pixel(tmp_path):
    write_store(tmp_path / "one.zarr", {"c/v": make_codes(1, 1, 1)})
    video = flowstore.open_store(tmp_path / "one.zarr")["c/v"]
    for style in ("color", "arrows", "planes"):
        render_video(video, tmp_path / "one.png", style=style)
        assert read_rgb(tmp_path / "one.png").size


# ---- films


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_film_has_each_picture(store, tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    report = render_video(store["wave/a"], path, zoom=4, fps=10)
    pictures = read_film(path)
    assert len(pictures) == report.n_pictures == 6
    assert {picture.shape for picture in pictures} == {(report.height, report.width, 3)}
    assert report.height % 2 == report.width % 2 == 0
    assert partial_files(tmp_path) == []
    assert sorted(file.name for file in tmp_path.iterdir()) == [path.name, "flow.zarr"]


def test_a_film_is_the_pictures_one_after_the_other(store, tmp_path):
    render_video(store["wave/a"], tmp_path / "film.gif", start=1, stop=6, every=2, zoom=4, fps=10)
    film = PillowImage.open(tmp_path / "film.gif")
    assert film.n_frames == 3
    for place, number in enumerate((1, 3, 5)):
        film.seek(place)
        render_video(store["wave/a"], tmp_path / "one.png", frame=number, zoom=4, scale=P99)
        # 256 colors for a picture of noise.
        difference = np.abs(np.asarray(film.convert("RGB"), int) - read_rgb(tmp_path / "one.png"))
        assert difference.mean() < 2.5


def test_the_scale_is_one_for_a_whole_film(tmp_path):
    # One flow moves much, the others little: with a scale for each all would be alike.
    codes = np.full((4, 2, 16, 16), 128, np.uint8)
    codes[:, 0] = np.array([130, 140, 200, 130], np.uint8)[:, None, None]
    write_store(tmp_path / "flow.zarr", {"c/v": codes})
    video = flowstore.open_store(tmp_path / "flow.zarr")["c/v"]
    report = render_video(video, tmp_path / "film.mp4", zoom=4, scale=20.0)
    center = slice(60, 80), slice(30, 50)
    found = [picture[center].reshape(-1, 3).mean(axis=0) for picture in read_film(tmp_path / "film.mp4")]
    expected = [flow_to_color(video[n], 20.0)[0, 0] for n in range(4)]
    # mp4v is lossy.
    np.testing.assert_allclose(found, expected, atol=6)
    assert report.scale_px == 20.0


def test_the_rate_of_a_film(store, tmp_path):
    def fps_of(suffix, **options):
        report = render_video(store["wave/a"], tmp_path / f"film{suffix}", **options)
        return report.fps, report.notes[1:]

    # The store's videos have 30 frames a second.
    assert fps_of(".mp4") == (30.0, ())
    assert fps_of(".mp4", every=3) == (10.0, ())
    assert fps_of(".gif", fps=12.5) == (12.5, ())
    film = PillowImage.open(tmp_path / "film.gif")
    assert film.info["duration"] == 80
    assert film.info["loop"] == 0
    capture = cv2.VideoCapture(str(tmp_path / "film.mp4"))
    assert capture.get(cv2.CAP_PROP_FPS) == pytest.approx(10.0)
    for fps, suffix, most in ((0, ".mp4", 1000), (-1, ".gif", 50), (60, ".gif", 50), (float("nan"), ".mp4", 1000)):
        with pytest.raises(ArgumentError, match=f"fps is .*, expected above 0 and at most {most} for a {suffix}"):
            fps_of(suffix, fps=fps)


def test_the_times_of_a_gif_add_up(store, tmp_path):
    render_video(store["wave/a"], tmp_path / "film.gif", fps=30)
    film, total = PillowImage.open(tmp_path / "film.gif"), 0
    for number in range(film.n_frames):
        film.seek(number)
        total += film.info["duration"]
    # 3.33 hundredths each.
    assert total == 200


def test_what_was_there_stays_until_a_film_is_whole(store, tmp_path):
    (tmp_path / "film.mp4").write_bytes(b"mine")
    (tmp_path / "film.gif").write_bytes(b"mine")
    video = store["wave/a"]
    shard = next(Path(store.url).glob("wave/a/flow/c.0*"))
    shard.write_bytes(bytes(len(shard.read_bytes())))
    for name in ("film.mp4", "film.gif", "film.png"):
        with pytest.raises(flowstore.FlowStoreError, match="flows"):
            render_video(video, tmp_path / name)
    assert (tmp_path / "film.mp4").read_bytes() == (tmp_path / "film.gif").read_bytes() == b"mine"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["film.gif", "film.mp4", "flow.zarr"]


FULL_DISK = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))
from flowstore.cli import main
sys.argv[:] = ["flowstore", *sys.argv[1:]]
main()
"""


@pytest.mark.parametrize("suffix", [".png", ".gif", ".mp4"])
def test_a_file_that_does_not_fit_is_no_file(store, tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    command = [sys.executable, "-c", FULL_DISK, "render", f"{store.url}/wave/a", "-o", path, "-q"]
    done = subprocess.run(command, capture_output=True, text=True, env=process_environment())
    assert done.returncode == 1, done.stderr
    assert f"cannot write {path}" in done.stderr or "pictures were written" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["flow.zarr"]


# ---- the sheet of a class


def test_a_sheet_shows_every_video_and_why_one_is_not_there(store, tmp_path):
    report = render_class(store["wave"], tmp_path / "sheet.png")
    assert (report.what, report.scale_px) == ("3 videos of wave", None)
    sheet = read_rgb(tmp_path / "sheet.png")
    assert sheet.shape == (report.height, report.width, 3)
    # 16 by 12 becomes 176 by 132: each pixel a square of 11, in the colors of the flow's own scale.
    flow = store["wave/a"][4]
    lively = flow_to_color(flow, picture_scale(flow)).repeat(11, axis=0).repeat(11, axis=1)
    assert len(find_panel(sheet, lively)) == 1
    # The failed one is gray, with its reason upon it.
    assert (sheet == 225).all(axis=-1).sum() > 10_000


def test_a_sheet_of_fewer_videos_says_so(store, tmp_path):
    report = render_class(store["wave"], tmp_path / "sheet.png", limit=2, scale=3.0)
    assert report.notes == ("the first 2 of 3 videos are drawn (--limit)",)
    assert (report.what, report.scale_px) == ("2 videos of wave", 3.0)


def test_what_a_sheet_refuses(store, tmp_path):
    wave = store["wave"]
    with pytest.raises(ArgumentError, match=r"a class is drawn as a \.png; a \.gif shows one video"):
        render(wave, tmp_path / "sheet.gif")
    with pytest.raises(ArgumentError, match="--start, --source: for one video, not for the sheet of a class"):
        render(wave, tmp_path / "sheet.png", style="color", start=0, source="x")
    with pytest.raises(ArgumentError, match="--style: for one video"):
        render(wave, tmp_path / "sheet.png", style="arrows")
    with pytest.raises(ArgumentError, match="limit is 0, expected 1 or more"):
        render(wave, tmp_path / "sheet.png", limit=0)
    with pytest.raises(ArgumentError, match=r"a store; give STORE/CLASS or STORE/CLASS/VIDEO \(classes: run, wave"):
        render(store, tmp_path / "sheet.png")
    with pytest.raises(ArgumentError, match="--limit: for a class"):
        render(store["wave/a"], tmp_path / "a.png", limit=3)
    assert [file.name for file in tmp_path.iterdir()] == ["flow.zarr"]


# ---- refusals


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("a.jpg", {}, r"must end in \.png, \.gif or \.mp4, found '\.jpg'"),
        ("a", {}, r"must end in \.png, \.gif or \.mp4, found ''"),
        ("none/a.png", {}, "there is no folder .*none"),
        ("flow.zarr/a.png", {}, "inside the store"),
        ("flow.zarr/wave/a.png", {}, "inside the store"),
        ("a.png", {"frame": 6}, "frame 6: wave/a has flows 0 to 5"),
        ("a.png", {"frame": -7}, "frame -7: wave/a has flows 0 to 5"),
        ("a.png", {"start": 1, "fps": 3}, r"--start, --fps: for a film; of a video's flows a \.png shows one"),
        ("a.gif", {"frame": 1}, r"--frame: for a picture; of a video's flows a \.gif shows those from --start to"),
        ("a.mp4", {"start": 4, "stop": 4}, r"flows \[4, 4\): wave/a has \[0, 6\)"),
        ("a.mp4", {"stop": 7}, r"flows \[0, 7\): wave/a has \[0, 6\)"),
        ("a.mp4", {"start": -1}, r"flows \[-1, 6\)"),
        ("a.mp4", {"every": 0}, "every is 0, expected 1 or more"),
        ("a.png", {"scale": 0}, "full scale is 0 px, expected above 0"),
        ("a.png", {"scale": float("nan")}, "full scale is nan px, expected above 0"),
        ("a.png", {"style": "stars"}, "style is 'stars', expected one of color, arrows, planes"),
    ],
)
def test_what_is_refused(store, tmp_path, name, options, message):
    with pytest.raises(ArgumentError, match=message):
        render_video(store["wave/a"], tmp_path / name, **options)
    assert [file.name for file in tmp_path.iterdir()] == ["flow.zarr"]


def test_a_failed_video_has_no_picture(store, tmp_path):
    with pytest.raises(FailedVideoError, match="wave/broken has no flow: it failed"):
        render_video(store["wave/broken"], tmp_path / "a.png")


# ---- the command


def test_the_command(store, tmp_path):
    done = call("render", f"{store.url}/wave/a", "-o", tmp_path / "a.png")
    assert done.code == 0
    height, width, _ = read_rgb(tmp_path / "a.png").shape
    scale = picture_scale(store["wave/a"][4])
    what = f"flow 4 of wave/a, {width}x{height}, full scale {scale:g} px (p95 of the flow)"
    assert done.out == f"{tmp_path / 'a.png'}: {what}\n"
    assert done.error_line.startswith(
        "without frames: wave/a.avi is not in the recorded source, this folder or beside the store"
    )
    values = json.loads(call("render", f"{store.url}/wave/a", "-o", tmp_path / "a.mp4", "--json", "--stop", "4").out)
    assert (values["n_pictures"], values["fps"], values["scale_px"]) == (4, 30.0, P99)
    quiet = call("render", f"{store.url}/wave", "-o", tmp_path / "sheet.png", "-q")
    assert (quiet.code, quiet.out, quiet.err) == (0, "", "")
    assert read_rgb(tmp_path / "sheet.png").size


@pytest.mark.parametrize(
    ("place", "options", "line"),
    [
        ("wave/broken", ("-o", "a.png"), "wave/broken has no flow: it failed (ends early or is damaged)"),
        ("wave/a", ("-o", "a.tiff"), "must end in .png, .gif or .mp4, found '.tiff'"),
        ("wave/none", ("-o", "a.png"), "no video 'none' in class 'wave'"),
        ("wave/a", ("-o", "a.png", "--frame", "99"), "frame 99: wave/a has flows 0 to 5"),
        ("wave/a", ("-o", "a.png", "--source", "/nowhere"), "SOURCE /nowhere: no such file or folder"),
        ("wave/a", (), "Missing option '-o'"),
    ],
)
def test_one_line_says_what_is_wrong(store, place, options, line):
    done = call("render", f"{store.url}/{place}", *options)
    assert done.code == 2
    assert line in done.error_line
    assert done.out == ""


def test_an_error_on_the_way_is_no_refusal(store, tmp_path):
    shard = next(Path(store.url).glob("wave/a/flow/c.0*"))
    shard.write_bytes(bytes(len(shard.read_bytes())))
    assert call("render", f"{store.url}/wave/a", "-o", tmp_path / "a.png").code == 1
