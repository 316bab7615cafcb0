"""Decoding: the frames are OpenCV's, all of them, or an error that says what is wrong."""

import os
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from datasets import frames_of, video_bytes, write_frames, write_video
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from flowstore import decoding
from flowstore.decoding import FrameFolder, VideoFile, is_whole_image, open_frames, read_image, resize_frame, to_gray
from flowstore.errors import DecodeError, SourceError
from flowstore.sources import VideoSource

CLIPS = {
    "videos/wave/RATRACE_wave_f_nm_np1_fr_goo_37.avi": (72, 240, 560),
    "videos/wave/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi": (74, 240, 320),
    "videos/cartwheel/Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi": (83, 240, 320),
    "videos/SoccerJuggling/v_SoccerJuggling_g23_c01.avi": (240, 240, 320),
    "videos/kinetics/R6llTwEh07w.mp4": (303, 256, 340),
}
KINETICS = "videos/kinetics/R6llTwEh07w.mp4"
ROTATED = "odd/rotated_90.mov"


def read_all(path) -> np.ndarray:
    return np.stack(list(VideoFile(str(path)).read_frames()))


def captured(path, *options) -> list[np.ndarray]:
    """Frames as OpenCV decodes them: uint8 (H, W, 3)."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    for option, value in options:
        capture.set(option, value)
    frames = []
    while capture.grab():
        frames.append(capture.retrieve()[1])
    return frames


def write(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


# Video files.


@pytest.mark.parametrize("clip", CLIPS)
def test_every_frame_of_a_real_clip(real_data, clip):
    n_frames = 0
    for frame in VideoFile(str(real_data / clip)).read_frames():
        assert frame.shape == CLIPS[clip][1:]
        assert frame.dtype == np.uint8
        n_frames += 1
    assert n_frames == CLIPS[clip][0]


@pytest.mark.parametrize("clip", ["videos/cartwheel/Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi", KINETICS])
def test_gray_is_opencvs_bit_for_bit(real_data, clip):
    expected = captured(real_data / clip)
    frames = read_all(real_data / clip)
    assert len(frames) == len(expected)
    for frame, color in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(frame, cv2.cvtColor(color, cv2.COLOR_BGR2GRAY))


def test_a_rotated_clip_is_upright(real_data):
    reader = VideoFile(str(real_data / ROTATED))
    frames = np.stack(list(reader.read_frames()))
    assert frames.shape[1:] == (568, 320)
    assert (reader.height, reader.width) == (568, 320)
    lying = captured(real_data / ROTATED, (cv2.CAP_PROP_ORIENTATION_AUTO, 0))
    assert lying[0].shape == (320, 568, 3)
    for frame, color in zip(frames, lying, strict=True):
        np.testing.assert_array_equal(frame, np.rot90(cv2.cvtColor(color, cv2.COLOR_BGR2GRAY), -1))


@pytest.mark.parametrize("clip", [clip for clip in CLIPS if clip.endswith(".avi")])
def test_the_rate_is_the_headers(real_data, clip):
    data = (real_data / clip).read_bytes()
    # AVISTREAMHEADER: dwScale and dwRate stand 20 bytes into it.
    scale, rate = struct.unpack_from("<II", data, data.index(b"strh") + 8 + 20)
    assert VideoFile(str(real_data / clip)).fps == pytest.approx(rate / scale, rel=1e-6)


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_video_is_what_was_written(tmp_path, suffix):
    write_video(tmp_path / f"v{suffix}", n_frames=9)
    reader = VideoFile(str(tmp_path / f"v{suffix}"))
    frames = np.stack(list(reader.read_frames()))
    written = np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames_of(9)])
    assert frames.shape == written.shape
    # The codec loses something; another frame differs by far more.
    error = np.abs(frames.astype(float) - written).mean(axis=(1, 2))
    assert error.max() < 5 < np.abs(frames[1:].astype(float) - written[:-1]).mean(axis=(1, 2)).min()
    assert (reader.fps, reader.n_frames_header, reader.warnings) == (10.0, 9, [])


def test_a_reader_can_be_read_again(tmp_path):
    write_video(tmp_path / "v.avi")
    reader = VideoFile(str(tmp_path / "v.avi"))
    np.testing.assert_array_equal(list(reader.read_frames()), list(reader.read_frames()))


def test_a_video_of_one_frame(tmp_path):
    write_video(tmp_path / "v.avi", n_frames=1)
    assert read_all(tmp_path / "v.avi").shape == (1, 24, 32)


@pytest.mark.parametrize("name", [b"caf\xe9.avi", b"\xff\xfe.mp4", "ünï.avi".encode(), b"v%04d.avi", b"a b'\"#?&.avi"])
def test_odd_file_names(tmp_path, name):
    path = tmp_path / os.fsdecode(name)
    write_video(path, n_frames=5)
    plain = tmp_path / f"plain{path.suffix}"
    write_video(plain, n_frames=5)
    np.testing.assert_array_equal(read_all(path), read_all(plain))


@pytest.mark.parametrize("n_read", [0, 1, 6])
def test_no_file_stays_open(tmp_path, n_read):
    write_video(tmp_path / "v.avi")
    before = os.listdir("/dev/fd")
    frames = VideoFile(str(tmp_path / "v.avi")).read_frames()
    for _ in range(n_read):
        next(frames)
    frames.close()
    assert os.listdir("/dev/fd") == before


def test_a_video_is_read_a_frame_at_a_time(tmp_path, monkeypatch):
    write_video(tmp_path / "v.avi", n_frames=6)
    n_read = 0

    class CountingCapture:
        def __init__(self, *args) -> None:
            self._capture = cv2_capture(*args)

        def __getattr__(self, name):
            return getattr(self._capture, name)

        def read(self):
            nonlocal n_read
            n_read += 1
            return self._capture.read()

    cv2_capture = cv2.VideoCapture
    monkeypatch.setattr(decoding.cv2, "VideoCapture", CountingCapture)
    frames = VideoFile(str(tmp_path / "v.avi")).read_frames()
    assert n_read == 0
    for number in range(1, 7):
        next(frames)
        assert n_read == number


# Damaged video files.


def test_an_empty_video(tmp_path):
    with pytest.raises(DecodeError, match=r"empty file \(0 bytes\)"):
        VideoFile(write(tmp_path / "v.mp4", b""))


def test_a_video_that_is_not_there(tmp_path):
    with pytest.raises(DecodeError, match="cannot be opened: No such file or directory"):
        VideoFile(str(tmp_path / "v.mp4"))


@pytest.mark.parametrize("suffix", [".mp4", ".avi", ".mkv", ".ts", ".gif"])
def test_a_text_file_named_like_a_video(tmp_path, suffix):
    with pytest.raises(DecodeError, match=r"not a video that can be decoded|no frame can be decoded"):
        read_all(write(tmp_path / f"v{suffix}", b"this is no video\n" * 1000))


@pytest.mark.parametrize("suffix", [".avi", ".mp4"])
def test_a_truncated_video_loses_two_frames_at_most_or_fails(tmp_path, suffix):
    whole = video_bytes(20, suffix=suffix)
    path = tmp_path / f"v{suffix}"
    expected = read_all(write(path, whole))
    for size in range(0, len(whole), 97):
        try:
            frames = read_all(write(path, whole[:size]))
        except DecodeError:
            continue
        assert len(frames) >= 18
        np.testing.assert_array_equal(frames[:-1], expected[: len(frames) - 1])


@pytest.mark.parametrize("clip", [KINETICS, "videos/SoccerJuggling/v_SoccerJuggling_g23_c01.avi"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9])
def test_a_truncated_real_clip_fails(tmp_path, real_data, clip, share):
    data = (real_data / clip).read_bytes()
    path = write(tmp_path / Path(clip).name, data[: int(share * len(data))])
    with pytest.raises(DecodeError, match=r"ends early or is damaged: \d+ frames decoded|not a video|no frame can"):
        read_all(path)


def test_a_header_that_counts_too_many_frames(tmp_path):
    data = bytearray(video_bytes(10))
    place = data.index(b"avih") + 8 + 16
    assert struct.unpack_from("<I", data, place) == (10,)
    stream = data.index(b"strh") + 8 + 32
    for n_frames, is_good in ((12, True), (13, False), (2**31 - 1, False)):
        for offset in (place, stream):
            struct.pack_into("<I", data, offset, n_frames)
        path = write(tmp_path / "v.avi", bytes(data))
        if is_good:
            assert len(read_all(path)) == 10
        else:
            with pytest.raises(DecodeError, match=f"10 frames decoded, {n_frames} according to the file's header"):
                read_all(path)


@pytest.mark.parametrize(("suffix", "is_failed"), [(".mp4", True), (".mkv", False), (".webm", False)])
def test_an_estimated_count_is_a_warning(tmp_path, monkeypatch, suffix, is_failed):
    """Containers that count frames are held to it; in the others the number is duration times rate."""
    reader = VideoFile(write(tmp_path / f"v{suffix}", video_bytes(6, suffix=".mp4")))
    monkeypatch.setattr(reader, "n_frames_header", 20)
    if is_failed:
        with pytest.raises(DecodeError, match="ends early"):
            list(reader.read_frames())
    else:
        assert len(list(reader.read_frames())) == 6
        assert reader.warnings == ["6 frames decoded, 20 according to the file's header"]


def test_a_video_that_changes_size(tmp_path, monkeypatch):
    write_video(tmp_path / "v.avi", n_frames=3)
    reader = VideoFile(str(tmp_path / "v.avi"))

    class ChangingCapture:
        def __init__(self, *_args) -> None:
            self._frames = iter([np.zeros((24, 32, 3), np.uint8), np.zeros((32, 24, 3), np.uint8)])

        def set(self, *_args) -> None: ...

        def release(self) -> None: ...

        def isOpened(self) -> bool:  # noqa: N802
            return True

        def read(self):
            return True, next(self._frames)

    monkeypatch.setattr(decoding.cv2, "VideoCapture", ChangingCapture)
    frames = reader.read_frames()
    assert next(frames).shape == (24, 32)
    with pytest.raises(DecodeError, match="frame 1 is 24×32, the frames before it are 32×24"):
        next(frames)


# Folders of frames.


def test_a_real_frame_folder(real_data):
    folder = real_data / "frames" / "mmaction2"
    frames = list(FrameFolder(str(folder)).read_frames())
    assert len(frames) == 10
    for number, frame in enumerate(frames, 1):
        color = cv2.imread(str(folder / f"img_{number:05d}.jpg"))
        np.testing.assert_array_equal(frame, cv2.cvtColor(color, cv2.COLOR_BGR2GRAY))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".webp"])
def test_every_image_format(tmp_path, suffix):
    write_frames(tmp_path / "v", 12, suffix=suffix)
    reader = FrameFolder(str(tmp_path / "v"))
    frames = list(reader.read_frames())
    assert (reader.fps, reader.warnings, len(frames)) == (None, [], 12)
    for number, frame in enumerate(frames, 1):
        color = cv2.imread(str(tmp_path / "v" / f"img_{number:05d}{suffix}"))
        np.testing.assert_array_equal(frame, cv2.cvtColor(color, cv2.COLOR_BGR2GRAY))


def test_a_folder_is_read_a_frame_at_a_time(tmp_path, monkeypatch):
    write_frames(tmp_path / "v", 5)
    opened = []

    def open_counted(path, *args):
        opened.append(os.path.basename(path))
        return open(path, *args)

    monkeypatch.setattr(decoding, "open", open_counted, raising=False)
    frames = FrameFolder(str(tmp_path / "v")).read_frames()
    assert opened == []
    for number in range(1, 6):
        next(frames)
        assert opened == [f"img_{one:05d}.jpg" for one in range(1, number + 1)]


def test_two_images_for_one_frame(tmp_path):
    write_frames(tmp_path / "v", 3)
    (tmp_path / "v/img_00002.png").write_bytes(b"")
    with pytest.raises(DecodeError, match=r"two images for one frame: img_00002\.jpg and img_00002\.png"):
        FrameFolder(str(tmp_path / "v"))


def test_a_frame_of_another_size(tmp_path):
    write_frames(tmp_path / "v", 3)
    cv2.imwrite(str(tmp_path / "v/img_00003.jpg"), np.zeros((24, 31, 3), np.uint8))
    frames = FrameFolder(str(tmp_path / "v")).read_frames()
    next(frames), next(frames)
    with pytest.raises(DecodeError, match=r"img_00003\.jpg is 31×24, the frames before it are 32×24"):
        next(frames)


def test_a_folder_without_frames(tmp_path):
    (tmp_path / "flow_x_00001.jpg").write_bytes(b"")
    with pytest.raises(DecodeError, match="no frame images in this folder"):
        FrameFolder(str(tmp_path))
    with pytest.raises(SourceError, match="cannot list folder"):
        FrameFolder(str(tmp_path / "gone"))


def test_a_fifo_among_the_frames_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "img_1.jpg")
    with pytest.raises(DecodeError, match=r"img_1\.jpg is not a regular file"):
        next(FrameFolder(str(tmp_path)).read_frames())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"img\.jpg is empty \(0 bytes\)"),
        (b"this is no image", r"img\.jpg is not an image that can be decoded"),
        (b"\xff\xd8\xff\xda\xff\xd9", r"img\.jpg is not an image that can be decoded"),
        (b"\xff\xd8", r"img\.jpg is cut off after 2 bytes"),
    ],
)
def test_a_file_that_is_no_image(tmp_path, data, message):
    with pytest.raises(DecodeError, match=message):
        read_image(write(tmp_path / "img.jpg", data))


def test_an_image_that_is_not_there(tmp_path):
    with pytest.raises(DecodeError, match=r"img\.jpg cannot be opened: No such file or directory"):
        read_image(str(tmp_path / "img.jpg"))


# Truncated images.


def picture(height=40, width=56) -> np.ndarray:
    return frames_of(1, width, height)[0]


def encode(suffix: str, *options: int, image=None) -> bytes:
    is_encoded, data = cv2.imencode(suffix, picture() if image is None else image, options)
    assert is_encoded
    return data.tobytes()


def exif(*, orientation: int = 1, thumbnail: bytes = b"") -> bytes:
    """An EXIF segment made by hand: TIFF 6.0 header, orientation, and a thumbnail in the second directory."""
    first = struct.pack("<HHHIHH", 1, 0x0112, 3, 1, orientation, 0)
    start = 8 + len(first) + 4
    second = struct.pack("<H", 3) + struct.pack("<HHII", 0x0103, 3, 1, 6)
    offset = start + 2 + 3 * 12 + 4
    second += struct.pack("<HHII", 0x0201, 4, 1, offset) + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    tiff = (
        b"II*\0" + struct.pack("<I", 8) + first + struct.pack("<I", start) + second + struct.pack("<I", 0) + thumbnail
    )
    segment = b"Exif\0\0" + tiff
    return b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment


def with_exif(jpeg: bytes, segment: bytes) -> bytes:
    return jpeg[:2] + segment + jpeg[2:]


WHOLE_IMAGES = {
    "baseline.jpg": encode(".jpg", cv2.IMWRITE_JPEG_QUALITY, 60),
    "progressive.jpg": encode(".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    "restarts.jpg": encode(".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 4),
    "thumbnail.jpg": with_exif(
        encode(".jpg", cv2.IMWRITE_JPEG_QUALITY, 60), exif(thumbnail=encode(".jpg", image=picture(8, 8)))
    ),
    "plain.png": encode(".png", image=picture(12, 16)),
    "plain.bmp": encode(".bmp", image=picture(12, 16)),
    "lossy.webp": encode(".webp", cv2.IMWRITE_WEBP_QUALITY, 60),
    "lossless.webp": encode(".webp", cv2.IMWRITE_WEBP_QUALITY, 101, image=picture(12, 16)),
}


@pytest.mark.parametrize("name", WHOLE_IMAGES)
def test_a_whole_image_is_opencvs(tmp_path, name):
    path = write(tmp_path / name, WHOLE_IMAGES[name])
    np.testing.assert_array_equal(read_image(path), cv2.imread(path))


@pytest.mark.parametrize("name", WHOLE_IMAGES)
def test_an_image_cut_anywhere_is_an_error_or_whole(tmp_path, name):
    whole = WHOLE_IMAGES[name]
    path = tmp_path / name
    expected = read_image(write(path, whole))
    n_errors = 0
    for size in range(len(whole)):
        try:
            np.testing.assert_array_equal(read_image(write(path, whole[:size])), expected)
        except DecodeError:
            n_errors += 1
    # Only an end that says nothing, such as a checksum of nothing, may be missing.
    assert n_errors >= len(whole) - 8


@pytest.mark.parametrize("name", WHOLE_IMAGES)
def test_bytes_after_an_image_do_not_matter(tmp_path, name):
    path = tmp_path / name
    expected = read_image(write(path, WHOLE_IMAGES[name]))
    np.testing.assert_array_equal(read_image(write(path, WHOLE_IMAGES[name] + b"\0" * 100)), expected)


def test_a_thumbnail_is_no_end_of_the_picture():
    whole = WHOLE_IMAGES["thumbnail.jpg"]
    scan = whole.rindex(b"\xff\xda")
    assert whole.index(b"\xff\xd9") < scan
    assert is_whole_image(whole)
    assert not any(is_whole_image(whole[:size]) for size in range(scan + 2, len(whole)))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_orientation_tag_is_honored(tmp_path, orientation):
    image = picture(40, 56)
    path = write(tmp_path / "a.jpg", with_exif(encode(".jpg", image=image), exif(orientation=orientation)))
    frame = read_image(path).astype(float)
    # Exif 2.32, table 6: what the zeroth row and the zeroth column are.
    upright = {
        1: image,
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: image.swapaxes(0, 1),
        6: np.rot90(image, -1),
        7: image[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(image),
    }[orientation]
    assert frame.shape == upright.shape
    assert np.abs(frame - upright).mean() < 8


def test_a_gray_png_and_one_with_transparency(tmp_path):
    gray = picture()[..., 0]
    path = write(tmp_path / "a.png", encode(".png", image=gray))
    np.testing.assert_array_equal(to_gray(read_image(path)), gray)
    color = np.dstack([picture(), gray])
    path = write(tmp_path / "b.png", encode(".png", image=color))
    np.testing.assert_array_equal(read_image(path), picture())


def test_a_png_that_claims_to_be_huge_is_an_error(tmp_path):
    header = b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    end = b"IEND"
    chunks = b"".join(
        struct.pack(">I", len(one) - 4) + one + struct.pack(">I", zlib.crc32(one)) for one in (header, end)
    )
    with pytest.raises(DecodeError, match=r"a\.png"):
        read_image(write(tmp_path / "a.png", b"\x89PNG\r\n\x1a\n" + chunks))


# Opening.


def test_open_frames_takes_either_kind(tmp_path):
    write_video(tmp_path / "v.avi")
    write_frames(tmp_path / "f")
    for name, kind, reader in (("v.avi", "video", VideoFile), ("f", "frames", FrameFolder)):
        opened = open_frames(VideoSource("c", "v", str(tmp_path / name), name, kind))
        assert isinstance(opened, reader)
        assert len(list(opened.read_frames())) == 6


def test_a_known_problem_is_not_tried(tmp_path):
    os.mkfifo(tmp_path / "v.avi")
    source = VideoSource("c", "v", str(tmp_path / "v.avi"), "v.avi", "video", problem="not a regular file")
    with pytest.raises(DecodeError, match="not a regular file"):
        open_frames(source)


# Gray levels and sizes.


@given(hnp.arrays(np.uint8, (3, 4, 3)))
def test_gray_is_the_formula_of_bt601(frame):
    blue, green, red = np.moveaxis(frame.astype(float), -1, 0)
    exact = 0.299 * red + 0.587 * green + 0.114 * blue
    assert np.abs(to_gray(frame) - exact).max() <= 0.51


@pytest.mark.parametrize("value", [0, 1, 127, 128, 255])
def test_gray_of_gray_is_itself(value):
    assert (to_gray(np.full((2, 2, 3), value, np.uint8)) == value).all()


def test_a_frame_of_the_wanted_size_is_not_copied():
    frame = picture()[..., 0]
    assert resize_frame(frame, *frame.shape) is frame


@given(hnp.arrays(np.uint8, (12, 20)), st.sampled_from([(6, 10), (4, 5), (3, 20), (12, 4), (1, 1)]))
def test_shrinking_by_whole_numbers_is_the_mean_of_each_area(frame, size):
    height, width = size
    blocks = frame.reshape(height, 12 // height, width, 20 // width).mean(axis=(1, 3))
    resized = resize_frame(frame, height, width)
    assert resized.shape == size
    assert np.abs(resized - blocks).max() <= 0.51


@given(st.integers(0, 255), st.integers(1, 40), st.integers(1, 40))
def test_a_plain_frame_stays_plain(value, height, width):
    resized = resize_frame(np.full((17, 23), value, np.uint8), height, width)
    assert resized.shape == (height, width)
    assert resized.dtype == np.uint8
    assert (resized == value).all()


def test_enlarging_is_bilinear():
    frame = np.array([[0, 100], [200, 100]], np.uint8)
    # Pixel centers at (i + 0.5)/2 - 0.5; beyond the outermost centers the frame is continued.
    weights = np.array([[1, 0], [0.75, 0.25], [0.25, 0.75], [0, 1]])
    np.testing.assert_allclose(resize_frame(frame, 4, 4), weights @ frame @ weights.T, atol=0.51)
    # One side shorter, the other longer: bilinear too.
    assert resize_frame(frame, 1, 4).tolist() == cv2.resize(frame, (4, 1), interpolation=cv2.INTER_LINEAR).tolist()
