"""Decoding: the right frames, upright and gray as OpenCV has it, and a clear line for all that is damaged."""

import os
import re
import struct
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from synthetic import scene, to_color, write_frames, write_video
from video_files import CONDITIONS, CONTAINERS, make

from flowstore.errors import DecodeError, SourceError
from flowstore.layouts.flow_names import flow_finder
from flowstore.sources import videos
from flowstore.sources.discovery import discover
from flowstore.sources.images import FrameFolder, check_frame_shape, is_whole_image, read_image, resize_frame, to_gray
from flowstore.sources.source import VideoSource
from flowstore.sources.videos import VideoFile, count_frames, read_frames

HEIGHT, WIDTH = 48, 64
WRITERS = {"avi": "MJPG", "mp4": "mp4v", "mkv": "MJPG"}
IMAGE_FORMATS = ("jpg", "jpeg", "png", "bmp", "webp")


@pytest.fixture(scope="module")
def frames():
    return to_color(scene("translation", 12, HEIGHT, WIDTH)[0])


def read_all(reader):
    return [frame.copy() for frame in reader.read_frames()]


def opencv_grays(path):
    capture = cv2.VideoCapture(str(path))
    grays = []
    while True:
        is_read, frame = capture.read()
        if not is_read:
            return grays
        grays.append(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY))


def check_decoded_alike(grays, known):
    """Check frames against OpenCV's: the same where it carries PyAV's FFmpeg, else as near as two releases are."""
    ours = av.library_versions["libavcodec"][0]
    theirs = re.search(r"avcodec: +YES \((\d+)\.", cv2.getBuildInformation())
    assert len(grays) == len(known)
    # FFmpeg 5.1, which OpenCV 4 carries, rounds some colors of these clips otherwise than FFmpeg 8.
    most = 0 if theirs is not None and int(theirs[1]) == ours else 2
    np.testing.assert_allclose(np.int16(grays), np.int16(known), rtol=0, atol=most)


def refused(read, *arguments):
    """Return the message with which a reader refuses."""
    with pytest.raises(DecodeError) as error:
        read_all(read(*arguments))
    assert "\n" not in str(error.value)
    return str(error.value)


def check_reader(reader, expected):
    """Check what every reader of frames promises, against frames known from elsewhere."""
    grays = read_all(reader)
    assert len(grays) == len(expected)
    for gray, known in zip(grays, expected, strict=True):
        assert gray.dtype == np.uint8
        assert gray.ndim == 2
        np.testing.assert_array_equal(gray, known)
    again = next(iter(reader.read_frames()))
    np.testing.assert_array_equal(again, expected[0])
    assert reader.fps is None or reader.fps > 0
    assert all(isinstance(warning, str) for warning in reader.warnings)


@pytest.mark.parametrize("suffix", WRITERS)
def test_a_video_is_read_as_opencv_reads_it(tmp_path, frames, suffix):
    path = write_video(tmp_path / f"a.{suffix}", frames, 12.5, WRITERS[suffix])
    reader = VideoFile(str(path))
    check_reader(reader, opencv_grays(path))
    assert len(read_all(reader)) == 12
    assert reader.fps == pytest.approx(12.5)
    assert (reader.height, reader.width) == (HEIGHT, WIDTH)
    assert reader.warnings == []


@pytest.mark.parametrize("suffix", IMAGE_FORMATS)
def test_a_frame_folder_is_read_as_opencv_reads_it(tmp_path, frames, suffix):
    folder = write_frames(tmp_path / "frames", frames, f"img_{{}}.{suffix}")
    expected = [
        cv2.cvtColor(cv2.imread(str(folder / f"img_{number}.{suffix}")), cv2.COLOR_BGR2GRAY) for number in range(1, 13)
    ]
    reader = FrameFolder(str(folder))
    check_reader(reader, expected)
    assert reader.fps is None
    if suffix in ("png", "bmp"):
        np.testing.assert_array_equal(expected, [cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames])


def test_gray_is_the_weighted_sum_of_the_colors(frames):
    blue, green, red = np.moveaxis(frames[0].astype(float), 2, 0)
    np.testing.assert_allclose(to_gray(frames[0]), 0.299 * red + 0.587 * green + 0.114 * blue, atol=0.51)
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(to_gray(np.dstack([levels] * 3)), levels)


def test_gray_and_transparent_images(tmp_path, frames):
    gray = frames[0][..., 1]
    (tmp_path / "f").mkdir()
    for name, image in (
        ("1.png", gray),
        ("2.png", np.dstack([gray, gray, gray, 255 - gray])),
        ("3.bmp", gray),
    ):
        (tmp_path / "f" / name).write_bytes(cv2.imencode(f".{name[-3:]}", image)[1].tobytes())
    for frame in FrameFolder(str(tmp_path / "f")).read_frames():
        np.testing.assert_array_equal(frame, gray)


def write_images(folder, **images):
    folder.mkdir()
    for name, image in images.items():
        stem, suffix = name.split("_")
        (folder / f"{stem[1:]}.{suffix}").write_bytes(cv2.imencode(f".{suffix}", image)[1].tobytes())
    return FrameFolder(str(folder))


def test_levels_of_16_bits_are_scaled_alike_in_the_whole_video_and_named(tmp_path):
    depth = np.random.default_rng(0).integers(500, 4500, (3, 40, 50)).astype(np.uint16)
    depth[1, 0, 0], depth[2, 0, :3] = 65535, 0
    reader = write_images(tmp_path / "f", n1_png=depth[0], n2_png=depth[1], n3_tif=depth[2])
    found = read_all(reader)
    low, high = np.sort(depth, None)[[6, -6]]
    expected = np.clip((depth.astype(float) - low) * 255 / (high - low), 0, 255)
    # A dead pixel does not take the others their levels.
    assert np.abs(found - expected).max() < 3
    assert len(np.unique(found)) == 256
    (warning,) = reader.warnings
    assert re.fullmatch(
        r"frames of 16 bits per channel: levels 50\d to 449\d became 0 to 255 in the whole video", warning
    )


def test_frames_of_8_and_16_bits_or_of_no_levels_are_refused(tmp_path, frames):
    gray = frames[0][..., 1]
    with pytest.raises(DecodeError, match=r"2\.png has 16 bits per channel, the frames before it 8"):
        read_all(write_images(tmp_path / "a", n1_png=gray, n2_png=gray.astype(np.uint16)))
    with pytest.raises(DecodeError, match=r"1\.tif holds float32 numbers, expected levels of 8 or 16 bits"):
        read_all(write_images(tmp_path / "b", n1_tif=frames[0].astype(np.float32)))
    (tmp_path / "c").mkdir()
    cv2.imwritemulti(str(tmp_path / "c" / "1.tif"), [gray, gray])
    with pytest.raises(DecodeError, match=r"1\.tif holds several pages, not one frame"):
        read_all(FrameFolder(str(tmp_path / "c")))


@pytest.mark.parametrize(("kind", "bits"), [("gray16le", 16), ("gray12le", 12), ("gbrp16le", 16)])
def test_films_of_depth_or_heat_are_refused_and_never_cut_to_8_bits(tmp_path, kind, bits):
    path = str(tmp_path / "a.mkv")
    with av.open(path, "w") as file:
        stream = file.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = 24, 32, kind
        for number in range(3):
            frame = av.VideoFrame(32, 24, kind)
            frame.pts = number
            file.mux(stream.encode(frame))
        file.mux(stream.encode(None))
    with pytest.raises(DecodeError, match=rf"has levels of {bits} bits \({kind}\), of which 8 bits would keep few"):
        read_all(VideoFile(path))


def test_frames_of_several_suffixes_are_one_series(tmp_path, frames):
    grays = [frame[..., 1] for frame in frames[:3]]
    found = read_all(write_images(tmp_path / "f", n1_png=grays[0], n2_tif=grays[1], n3_bmp=grays[2]))
    np.testing.assert_array_equal(found, grays)


def test_gaps_are_refused_or_allowed_with_a_warning(tmp_path, frames):
    folder = write_frames(tmp_path / "f", frames)
    sorted(folder.iterdir())[5].unlink()
    with pytest.raises(DecodeError, match=r"^after .* comes .*, 2 on where others are 1 on; .*--allow-gaps$"):
        FrameFolder(str(folder))
    reader = FrameFolder(str(folder), allow_gaps=True)
    assert len(read_all(reader)) == 11
    assert len(reader.warnings) == 1


def test_a_folder_of_frames_is_thinned_by_the_clock_that_was_said(tmp_path, frames):
    folder = write_frames(tmp_path / "f", frames, "img_{}.png")
    with pytest.raises(DecodeError, match=r"frames without a clock cannot be thinned by --fps: .* by --source-fps"):
        next(FrameFolder(str(folder)).read_frames(10))
    reader = FrameFolder(str(folder), source_fps=25)
    # Ticks at 0, 2.5, 5, 7.5 and 10; the later of two that are as near.
    for fps, numbers, rate in ((10.0, [0, 3, 5, 8, 10], 10.0), (50.0, list(range(12)), 25.0), (None, [], 25.0)):
        found = list(reader.read_color_frames(fps))
        np.testing.assert_array_equal(found, frames[numbers] if fps else frames)
        assert (reader.frame_numbers, reader.times_s, reader.fps) == (numbers, [], rate)
    # By place in the order, as times are counted: a gap takes none.
    (folder / "img_2.png").unlink()
    reader = FrameFolder(str(folder), allow_gaps=True, source_fps=25)
    np.testing.assert_array_equal(list(reader.read_color_frames(12.5)), frames[[0, 3, 5, 7, 9, 11]])
    assert reader.frame_numbers == [0, 2, 4, 6, 8, 10]
    # A frame that is not wanted tells of the folder, too, as it does in a video file.
    data = (folder / "img_3.png").read_bytes()
    (folder / "img_3.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(DecodeError, match=r"img_3\.png is cut off"):
        list(reader.read_frames(12.5))


def with_exif_orientation(jpeg, orientation):
    """Return a JPEG with an Exif segment (TIFF 6.0, tag 0x0112) put behind its first marker."""
    tiff = b"MM\x00\x2a" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]


def test_exif_rotation_is_honored_as_by_imread(tmp_path, frames):
    path = tmp_path / "1.jpg"
    plain = cv2.imencode(".jpg", frames[0])[1].tobytes()
    path.write_bytes(with_exif_orientation(plain, 6))
    turned = cv2.rotate(cv2.imdecode(np.frombuffer(plain, np.uint8), cv2.IMREAD_COLOR), cv2.ROTATE_90_CLOCKWISE)
    np.testing.assert_array_equal(read_image(str(path)), turned)
    np.testing.assert_array_equal(read_image(str(path)), cv2.imread(str(path)))


NAMES = [
    "with space [HD] (1) & ; # ' \" $ !",
    "-rf",
    "frame_%04d",
    "a:b,c=d|e",
    "file:x",
    "*?{}~",
    "caf\u00e9 cafe\u0301 动画",
    "x" * 250,
    "line\nbreak",
    os.fsdecode(b"caf\xe9_\xff"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_every_name_is_read(tmp_path, frames, name):
    folder = tmp_path / name
    folder.mkdir()
    plain = write_video(tmp_path / "plain.avi", frames)
    plain.rename(folder / f"{name}.avi")
    assert len(read_all(VideoFile(str(folder / f"{name}.avi")))) == 12
    (folder / f"{name}.avi").unlink()
    (folder / f"{name}.png").write_bytes(cv2.imencode(".png", frames[0])[1].tobytes())
    np.testing.assert_array_equal(read_all(FrameFolder(str(folder))), [to_gray(frames[0])])


def test_frames_of_a_folder_come_in_natural_order(tmp_path):
    folder = write_frames(tmp_path / "f", [np.full((8, 8, 3), 10 * n, np.uint8) for n in range(1, 13)], "img_{}.png")
    assert [int(frame[0, 0]) for frame in FrameFolder(str(folder)).read_frames()] == [10 * n for n in range(1, 13)]


def test_flow_images_beside_the_frames_are_not_read(tmp_path, frames):
    folder = write_frames(tmp_path / "f", frames)
    for number in range(1, 12):
        for name in (f"flow_x_{number:04}.jpg", f"flow_y_{number:04}.jpg"):
            (folder / name).write_bytes(b"not an image")
    assert len(read_all(FrameFolder(str(folder), ("flow_[xy]_[0-9]+.jpg",)))) == 12


@pytest.mark.parametrize("suffix", WRITERS)
def test_one_frame_is_a_video(tmp_path, frames, suffix):
    path = write_video(tmp_path / f"a.{suffix}", frames[:1], fourcc=WRITERS[suffix])
    assert len(read_all(VideoFile(str(path)))) == 1


def test_one_image_is_a_folder_of_frames(tmp_path, frames):
    assert len(read_all(FrameFolder(str(write_frames(tmp_path / "f", frames[:1]))))) == 1


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mkv", "webm", "mov", "gif"])
def test_what_is_no_video_is_refused(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(b"")
    assert refused(VideoFile, str(path)) == "empty file (0 bytes)"
    path.write_text("This is a text file, and not a short one.\n" * 200)
    assert refused(VideoFile, str(path)) == "not a video that can be decoded, or damaged at its beginning"
    path.write_bytes(bytes(5000))
    assert refused(VideoFile, str(path)) == "not a video that can be decoded, or damaged at its beginning"


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    assert refused(VideoFile, str(tmp_path / "no.avi")) == "cannot be opened: No such file or directory"
    (tmp_path / "loop.avi").symlink_to("loop.avi")
    assert refused(VideoFile, str(tmp_path / "loop.avi")) == "cannot be opened: Too many levels of symbolic links"
    os.mkfifo(tmp_path / "pipe.avi")
    with pytest.raises(DecodeError):
        VideoFile(str(tmp_path / "pipe.avi"))


def test_a_pipe_among_the_frames_is_refused_and_not_waited_for(tmp_path, frames):
    folder = write_frames(tmp_path / "f", frames[:2])
    os.mkfifo(folder / "img_00003.jpg")
    assert refused(FrameFolder, str(folder)) == "img_00003.jpg is not a regular file"


@pytest.mark.parametrize("name", ["img_00003.jpg", "img_00003.png"])
def test_frames_that_cannot_be_opened_are_named(tmp_path, frames, name):
    folder = write_frames(tmp_path / "f", frames[:2])
    (folder / name).symlink_to("nowhere.jpg")
    assert refused(FrameFolder, str(folder)) == f"{name} cannot be opened: No such file or directory"


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
@pytest.mark.parametrize(("suffix", "fourcc"), [("avi", "MJPG"), ("mkv", "MJPG"), ("mp4", "mp4v")])
def test_a_truncated_file_is_found(tmp_path, suffix, fourcc, share):
    path = write_video(tmp_path / f"a.{suffix}", scene("translation", 40, HEIGHT, WIDTH)[0], fourcc=fourcc)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    said = refused(VideoFile, str(path))
    if suffix == "mp4":
        # OpenCV writes the index behind the pictures.
        assert said == "not a video that can be decoded, or damaged at its beginning"
        return
    # What is left is what stood before the cut, and is kept if it is asked for.
    reader = VideoFile(str(path), keep_damaged=True)
    n_frames = len(read_all(reader))
    assert 16 * share < n_frames < 40 * share + 2
    assert re.match(rf"stops at {n_frames / 25:.2f} of 1.60 s: ", reader.damage), reader.damage
    assert reader.damage == said


def with_header_count(path, n_frames):
    """Make the header of an AVI file claim another number of frames (avih dwTotalFrames, strh dwLength)."""
    data = bytearray(path.read_bytes())
    for tag, offset in ((b"avih", 8 + 16), (b"strh", 8 + 32)):
        struct.pack_into("<I", data, data.index(tag) + offset, n_frames)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("claimed", "outcome"),
    [
        (100, "silence"),
        # HMDB51's headers count one frame too many, which says nothing.
        (101, "silence"),
        (102, "warning"),
        (103, "refusal"),
        (150, "refusal"),
        # A header that counts too few loses nothing.
        (40, "silence"),
    ],
)
def test_the_time_reached_is_held_against_the_header(tmp_path, claimed, outcome):
    path = write_video(tmp_path / "a.avi", scene("none", 100, 16, 16)[0])
    with_header_count(path, claimed)
    reader = VideoFile(str(path))
    assert reader.n_frames_header == claimed
    if outcome == "refusal":
        with pytest.raises(DecodeError, match=rf"^stops at 4\.00 of {claimed / 25:.2f} s$"):
            read_all(reader)
    else:
        assert len(read_all(reader)) == 100
        said = [f"the header tells of {claimed / 25:.2f} s, its frames take 4.00 s"]
        assert reader.warnings == (said if outcome == "warning" else [])


def made_file(folder, suffix, condition):
    made = make(suffix, condition)
    path = folder / f"{condition}.{suffix}"
    path.write_bytes(made.data)
    return str(path), made


# These containers begin at zero; their first frame is shown until the second comes.
FIRST_FRAME_STANDS_LONG = (("motion_jpeg.avi", "late"), ("fragmented.mp4", "late"))
CASES = [(suffix, condition) for suffix in CONTAINERS for condition in CONDITIONS if make(suffix, condition)]


@pytest.mark.parametrize(("suffix", "condition"), CASES)
def test_a_file_is_judged_by_what_it_holds(tmp_path, suffix, condition):
    path, made = made_file(tmp_path, suffix, condition)
    reader = VideoFile(path)
    if made.is_whole:
        assert len(read_all(reader)) == made.n_frames
        # Of a file that is longer than its last frame tells, or lacks its index, one line may say so.
        said = "the file ends too early, after its last frame" if condition == "no_index" else "the header tells of"
        assert all(said in line for line in reader.warnings)
        is_variable = condition in ("variable_rate", "dropped") or (suffix, condition) in FIRST_FRAME_STANDS_LONG
        assert bool(reader.times_s) == is_variable, (reader.fps, reader.times_s)
        if not reader.times_s:
            assert reader.fps == pytest.approx(30, rel=2e-3)
    else:
        assert re.match(r"(stops|damaged) (at \d\.\d\d of \d\.\d\d s|near its beginning)", refused(VideoFile, path))


@pytest.mark.parametrize("suffix", ["avi", "mp4", "mov", "mkv", "webm", "flv", "asf", "3gp", "fragmented.mp4"])
@pytest.mark.parametrize("share", [0.24, 0.37, 0.51, 0.69])
def test_a_cut_is_found_where_the_sound_is_longer(tmp_path, suffix, share):
    path, made = made_file(tmp_path, suffix, "long_audio")
    Path(path).write_bytes(made.data[: int(share * len(made.data))])
    reader = VideoFile(path)
    try:
        frames = read_all(reader)
    except DecodeError:
        return
    # The cut is in the sound: every picture is there. Of an AVI its frame count may say so.
    assert len(frames) == made.n_frames or reader.warnings


@pytest.mark.parametrize("share", [0.2, 0.21, 0.37, 0.39, 0.5])
def test_packets_that_an_avi_file_lost_are_counted(tmp_path, share):
    path, made = made_file(tmp_path, "avi", "long_audio")
    data = bytearray(made.data)
    start = int(share * len(data))
    data[start : start + 2048] = bytes(2048)
    Path(path).write_bytes(data)
    said = refused(VideoFile, path)
    assert re.match(r"(stops|damaged)", said), said


def test_a_blank_packet_is_damage(tmp_path):
    path, _made = made_file(tmp_path, "mp4", "bad_packet")
    assert re.fullmatch(r"damaged at 0\.\d\d of 1\.33 s: 1 damaged packet", refused(VideoFile, path))
    # Black pictures that are not compressed are zeros, and whole.
    black = tmp_path / "black.avi"
    with av.open(str(black), "w") as output:
        stream = output.add_stream("rawvideo", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "bgr24"
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((24, 32, 3), np.uint8), "bgr24")))
        output.mux(stream.encode(None))
    assert len(read_all(VideoFile(str(black)))) == 3


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_suffix_says_nothing(tmp_path, suffix):
    path, made = made_file(tmp_path, suffix, "whole")
    for other in ("avi", "mp4", "mkv", "flv"):
        renamed = tmp_path / f"renamed.{other}"
        os.replace(path, renamed)
        assert len(read_all(VideoFile(str(renamed)))) == made.n_frames
        path = renamed


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "webm", "ts", "avi", "gif", "fragmented.mp4"])
@pytest.mark.parametrize("condition", ["whole", "variable_rate"])
def test_frames_that_are_sought_are_those_of_sequential_decoding(tmp_path, suffix, condition):
    path, made = made_file(tmp_path, suffix, condition)
    frames = [frame[..., ::-1] for frame in VideoFile(path).read_color_frames()]
    random = np.random.default_rng(0)
    for numbers in ([0], [made.n_frames - 1], [7, 7, 3], range(11, 25), random.integers(0, made.n_frames, 9), []):
        found = read_frames(path, numbers)
        assert len(found) == len(numbers)
        for number, frame in zip(numbers, found, strict=True):
            np.testing.assert_array_equal(frame, frames[number])
    with pytest.raises(DecodeError, match=r"ends after 40 frames, frame 40 is wanted"):
        read_frames(path, [3, 40])
    with pytest.raises(DecodeError, match=r"there is no frame -1"):
        read_frames(path, [-1])
    assert count_frames(path) in (None, made.n_frames)


def test_packets_are_read_once_while_a_file_is_the_same(tmp_path):
    path, made = made_file(tmp_path, "mp4", "whole")
    found, n_kept = read_frames(path, [5, 30]), len(videos._INDICES)
    np.testing.assert_array_equal(read_frames(path, [5, 30]), found)
    assert count_frames(path) == made.n_frames
    assert len(videos._INDICES) == n_kept
    # The same name, with other frames.
    with av.open(path, "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for number in range(20):
            picture = np.full((48, 64, 3), 10 * number, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        output.mux(stream.encode(None))
    frames = [frame[..., ::-1] for frame in VideoFile(path).read_color_frames()]
    np.testing.assert_array_equal(read_frames(path, [19, 5]), [frames[19], frames[5]])
    assert count_frames(path) == 20


# The matrix of ISO/IEC 14496-12 §8.3.2 in tkhd, (a b u c d v x y w), and what it does to a picture.
MATRICES = {
    "mirrored": ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
    "upside down": ((1, 0, 0, -1), lambda frame: frame[::-1]),
    "half turn": ((-1, 0, 0, -1), lambda frame: frame[::-1, ::-1]),
    "right": ((0, 1, -1, 0), lambda frame: frame.T[:, ::-1]),
    "left": ((0, -1, 1, 0), lambda frame: frame.T[::-1]),
    "transposed": ((0, 1, 1, 0), lambda frame: frame.T),
    "transverse": ((0, -1, -1, 0), lambda frame: frame.T[::-1, ::-1]),
}


@pytest.mark.parametrize("name", MATRICES)
def test_the_display_matrix_is_honored(tmp_path, name):
    path, _ = made_file(tmp_path, "mp4", "whole")
    plain = read_all(VideoFile(path))
    (a, b, c, d), turn = MATRICES[name]
    data = bytearray(Path(path).read_bytes())
    one = 1 << 16
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a * one, b * one, 0, c * one, d * one, 0, 0, 0, 1 << 30)
    Path(path).write_bytes(data)
    np.testing.assert_array_equal(read_all(VideoFile(path)), [turn(frame) for frame in plain])
    np.testing.assert_array_equal([to_gray(frame[..., ::-1]) for frame in read_frames(path, [5])], [turn(plain[5])])


def test_an_unknown_codec_is_named(tmp_path, frames):
    path = write_video(tmp_path / "a.avi", frames)
    path.write_bytes(path.read_bytes().replace(b"MJPG", b"ZZZZ"))
    assert re.fullmatch(
        r"FFmpeg \S+ has no decoder for its video track: codec none \(ZZZZ / 0x5A5A5A5A\)",
        refused(VideoFile, str(path)),
    )


def test_a_title_in_any_encoding_does_no_harm(tmp_path):
    path, made = made_file(tmp_path, "mkv", "whole")
    data = Path(path).read_bytes()
    assert data.count(b"Lavf") >= 1
    Path(path).write_bytes(data.replace(b"Lavf", b"\xe9\xff\xfe\xe9"))
    assert len(read_all(VideoFile(path))) == made.n_frames


def test_a_stream_may_begin_in_the_middle_of_a_group_of_pictures(tmp_path):
    path, made = made_file(tmp_path, "ts", "whole")
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[188 * (len(data) // 188 // 4) :])
    reader = VideoFile(path)
    assert 0 < len(read_all(reader)) < made.n_frames
    assert reader.warnings == []


def test_the_size_of_frames_may_not_change(tmp_path):
    """Two Motion JPEG videos in one AVI file, whose packets are changed for those of the other size."""
    small, large = (cv2.imencode(".jpg", np.full((size, size, 3), 90, np.uint8))[1].tobytes() for size in (16, 32))
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("mjpeg", rate=25)
        stream.width = stream.height = 16
        stream.pix_fmt = "yuvj420p"
        for number, data in enumerate([small] * 5 + [large] * 5):
            packet = av.Packet(data)
            packet.stream, packet.pts, packet.dts, packet.time_base = stream, number, number, Fraction(1, 25)
            packet.is_keyframe = True
            output.mux(packet)
    assert refused(VideoFile, str(path)) == "frame 5 at 0.20 s is 32×32, the frames before it are 16×16"


def test_two_videos_are_listened_to_at_once(tmp_path):
    """FFmpeg's messages are the whole process's; each thread hears its own, also those that another just had."""
    paths = [made_file(tmp_path, *case)[0] for case in (("mkv", "cut"), ("mkv", "whole"), ("webm", "cut"))] * 3
    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(lambda path: VideoFile(path, keep_damaged=True), paths))
        list(pool.map(read_all, said))
    assert [bool(reader.damage) for reader in said] == [True, False, True] * 3
    assert av.logging.get_level() is None


def test_nothing_that_ffmpeg_says_reaches_stderr(tmp_path):
    """Four threads open, decode and close files of which its scaler says something, again and again."""
    write_video(tmp_path / "v.avi", to_color(scene("translation", 3)[0]))
    code = """
import sys
from concurrent.futures import ThreadPoolExecutor
from flowstore.sources.videos import VideoFile

def read(_):
    return [len(list(VideoFile(sys.argv[1]).read_frames())) for _ in range(40)]

with ThreadPoolExecutor(4) as pool:
    assert list(pool.map(read, range(4))) == [[3] * 40] * 4
"""
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "v.avi"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def cut(data, share):
    return data[: int(len(data) * share)]


@pytest.mark.parametrize("suffix", IMAGE_FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_a_truncated_image_in_the_middle_is_named(tmp_path, frames, suffix, share):
    folder = write_frames(tmp_path / "f", frames, f"img_{{:02}}.{suffix}")
    path = folder / f"img_06.{suffix}"
    path.write_bytes(cut(path.read_bytes(), share))
    read = []
    with pytest.raises(DecodeError, match=f"^img_06.{suffix} is cut off after {path.stat().st_size} bytes$"):
        read.extend(FrameFolder(str(folder)).read_frames())
    path.write_bytes(b"")
    assert refused(FrameFolder, str(folder)) == f"img_06.{suffix} is empty (0 bytes)"
    path.write_text("text")
    assert refused(FrameFolder, str(folder)) == f"img_06.{suffix} is not an image that can be decoded"


@pytest.mark.parametrize("parameters", [[], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]])
def test_a_jpeg_cut_anywhere_is_found(tmp_path, frames, parameters):
    whole = cv2.imencode(".jpg", frames[0][:16, :24], parameters)[1].tobytes()
    path = tmp_path / "a.jpg"
    path.write_bytes(whole)
    read_image(str(path))
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DecodeError):
            read_image(str(path))


@pytest.mark.parametrize("place", [20, 0.5, -30])
def test_a_png_with_a_flipped_byte_is_found(tmp_path, frames, place):
    data = bytearray(cv2.imencode(".png", frames[0])[1].tobytes())
    data[place if isinstance(place, int) else int(place * len(data))] ^= 0xFF
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DecodeError, match=r"^a\.png is not an image that can be decoded$"):
        read_image(str(tmp_path / "a.png"))


def test_a_thumbnail_does_not_pass_for_the_end_of_its_picture(frames):
    thumbnail = cv2.imencode(".jpg", frames[0][::4, ::4])[1].tobytes()
    picture = cv2.imencode(".jpg", frames[0])[1].tobytes()
    whole = picture[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + picture[2:]
    assert is_whole_image(whole)
    scan = whole.rindex(b"\xff\xda")
    assert not any(is_whole_image(whole[:length]) for length in range(scan + 2, len(whole)))


@pytest.mark.parametrize("tail", [b"\x00" * 100, b"\n", b"trailing bytes of a camera"])
def test_bytes_behind_an_image_do_no_harm(tmp_path, frames, tail):
    for suffix in ("jpg", "png", "bmp", "webp"):
        path = tmp_path / f"a.{suffix}"
        path.write_bytes(cv2.imencode(f".{suffix}", frames[0])[1].tobytes() + tail)
        np.testing.assert_array_equal(read_image(str(path)), cv2.imread(str(path)))


def test_a_change_of_size_is_named(tmp_path, frames):
    folder = write_frames(tmp_path / "f", frames, "img_{:02}.png")
    (folder / "img_05.png").write_bytes(cv2.imencode(".png", frames[0][:, :-2])[1].tobytes())
    read = []
    said = f"img_05.png is {WIDTH - 2}×{HEIGHT}, the frames before it are {WIDTH}×{HEIGHT}"
    with pytest.raises(DecodeError, match=said):
        read.extend(FrameFolder(str(folder)).read_frames())
    with pytest.raises(DecodeError, match="frame 3 is 5×4, the frames before it are 4×5"):
        check_frame_shape((4, 5, 3), (5, 4, 3), "frame 3")


def test_two_images_for_one_frame_are_named(tmp_path, frames):
    folder = write_frames(tmp_path / "f", frames[:3], "img_{}.jpg")
    write_frames(folder, frames[1:2], "img_{}.png", first=2)
    assert refused(FrameFolder, str(folder)) == "two images for one frame: img_2.jpg and img_2.png"


def test_a_folder_without_frames(tmp_path):
    assert refused(FrameFolder, str(tmp_path)) == "no frame images in this folder"
    with pytest.raises(SourceError, match=r"cannot list folder .*No such file"):
        FrameFolder(str(tmp_path / "missing"))


def test_frames_are_streamed(tmp_path):
    frames = to_color(scene("translation", 3, 240, 320)[0])
    folder = write_frames(tmp_path / "f", frames[np.arange(60) % 3], "img_{}.bmp")
    video = write_video(tmp_path / "a.avi", frames[np.arange(60) % 3])
    (folder / "img_60.bmp").write_bytes(b"damaged")
    frame_bytes = 240 * 320 * 3
    for reader in (FrameFolder(str(folder)), VideoFile(str(video))):
        stream = iter(reader.read_frames())
        next(stream)
        tracemalloc.start()
        try:
            for _ in range(58):
                next(stream)
            # One frame in color and in gray, its file, and what is about to take their places.
            assert tracemalloc.get_traced_memory()[1] < 5 * frame_bytes
        finally:
            tracemalloc.stop()
            stream.close()


def test_a_source_is_opened_by_its_kind(tmp_path, frames):
    video = write_video(tmp_path / "c" / "a.avi", frames)
    write_frames(tmp_path / "c" / "b", frames)
    readers = [source.open_frames() for source in discover(tmp_path, find_flow=flow_finder()).sources]
    assert [type(reader) for reader in readers] == [VideoFile, FrameFolder]
    with pytest.raises(DecodeError, match=r"^because$"):
        VideoSource("c", "a", str(video), "c/a.avi", "video", problem="because").open_frames()


@pytest.mark.parametrize(("height", "width"), [(24, 32), (48, 64), (96, 128), (24, 128), (1, 1)])
def test_resizing(frames, height, width):
    gray = to_gray(frames[0])
    resized = resize_frame(gray, height, width)
    assert resized.shape == (height, width)
    assert resized.dtype == np.uint8
    if (height, width) == (48, 64):
        assert resized is gray
    if (height, width) == (24, 32):
        blocks = gray.reshape(24, 2, 32, 2).mean(axis=(1, 3))
        np.testing.assert_allclose(resized, blocks, atol=0.51)
    if (height, width) == (96, 128):
        np.testing.assert_array_equal(resized, cv2.resize(gray, (128, 96), interpolation=cv2.INTER_LINEAR))


@pytest.mark.parametrize(
    ("path", "n_frames", "shape"),
    [
        ("videos/wave/RATRACE_wave_f_nm_np1_fr_goo_37.avi", 72, (240, 560)),
        ("videos/wave/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi", 74, (240, 320)),
        ("videos/cartwheel/Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi", 83, (240, 320)),
        ("videos/SoccerJuggling/v_SoccerJuggling_g23_c01.avi", 240, (240, 320)),
        ("videos/kinetics/R6llTwEh07w.mp4", 303, (256, 340)),
    ],
)
def test_real_clips_have_the_frames_that_their_readme_counts(real_data, path, n_frames, shape):
    reader = VideoFile(str(real_data / path))
    grays = read_all(reader)
    assert len(grays) == n_frames
    assert {gray.shape for gray in grays} == {shape}
    assert reader.warnings == []
    check_decoded_alike(grays, opencv_grays(real_data / path))


def test_a_rotated_clip_is_upright(real_data):
    path = real_data / "odd" / "rotated_90.mov"
    upright = read_all(VideoFile(str(path)))
    assert {frame.shape for frame in upright} == {(568, 320)}
    lying = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    lying.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)
    assert lying.get(cv2.CAP_PROP_ORIENTATION_META) == 90
    frame = lying.read()[1]
    assert frame.shape[:2] == (320, 568)
    check_decoded_alike(upright[:1], [to_gray(cv2.rotate(frame, cv2.ROTATE_90_CLOCKWISE))])


def test_a_real_folder_of_frames(real_data):
    frames = read_all(FrameFolder(str(real_data / "frames" / "mmaction2"), ("[xy]_[0-9]+.jpg",)))
    assert [frame.shape for frame in frames] == [(240, 320)] * 10
