"""Reading frames: video files and folders of images as streams of gray frames.

Owns OpenCV's decoders. A reader holds one frame at a time, so memory does not grow with a video's length.
"""

from __future__ import annotations

import contextlib
import os
import stat
import struct
from collections.abc import Iterator
from typing import Protocol

import cv2
import numpy as np
import numpy.typing as npt

from flowstore.errors import DecodeError
from flowstore.mp4_boxes import shown_share
from flowstore.names import is_unicode
from flowstore.sources import VideoSource, list_frames

Frame = npt.NDArray[np.uint8]

# Containers whose header counts frames; in the others the count is duration times rate, an estimate.
_COUNTING_SUFFIXES = frozenset((".avi", ".mp4", ".mov", ".m4v", ".3gp"))
# Among them those whose edit list can hide frames that the header counts.
_EDITING_SUFFIXES = _COUNTING_SUFFIXES - {".avi"}
# HMDB51's AVI headers count one frame more than there is.
_MISSING_FRAMES_ALLOWED = 2
_MISSING_SHARE_ALLOWED = 0.02
# OpenCV 4 takes a header's count for true, and stops one frame later.
_STOPS_AFTER_HEADER = int(cv2.__version__.partition(".")[0]) < 5
# OpenCV's LOG_LEVEL_SILENT.
_SILENT = 0
# Besides one frame a byte: a file that gives more is one that makes a decoder go round in circles.
_FRAMES_ALWAYS_POSSIBLE = 1000


class FrameReader(Protocol):
    """The frames of one video.

    Attributes
    ----------
    fps : float or None
        Frames a second; None where the source has no clock.
    warnings : list of str
        What was worth saying, complete once the frames were read.
    """

    fps: float | None
    warnings: list[str]

    def read_frames(self) -> Iterator[Frame]:
        """Yield the frames in order.

        Yields
        ------
        uint8 array (H, W)
            Gray levels, OpenCV's ``COLOR_BGR2GRAY`` of the decoded frame, upright. All of one size.

        Raises
        ------
        DecodeError
            If a frame cannot be decoded or has another size, or the video ends early.
        """
        ...

    def read_color_frames(self) -> Iterator[Frame]:
        """Yield the frames in order as decoded.

        Yields
        ------
        uint8 array (H, W, 3)
            Blue, green, red, upright. All of one size.

        Raises
        ------
        DecodeError
            See `read_frames`.
        """
        ...


def open_frames(source: VideoSource) -> FrameReader:
    """Return a reader for the frames of a source.

    Raises
    ------
    DecodeError
        If there is nothing to decode.
    """
    if source.problem:
        raise DecodeError(source.problem)
    return FrameFolder(source.path) if source.kind == "frames" else VideoFile(source.path)


class VideoFile:
    """A video file, decoded by OpenCV's FFmpeg on one thread, rotation tags honored.

    Parameters
    ----------
    path : str
        Absolute.

    Raises
    ------
    DecodeError
        If the file cannot be opened as a video.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.warnings: list[str] = []
        self._n_frames_possible = _FRAMES_ALWAYS_POSSIBLE
        with self._open() as capture:
            self._n_frames_possible += os.stat(path).st_size
            rate = capture.get(cv2.CAP_PROP_FPS)
            self.fps: float | None = rate if 0 < rate < 1e5 else None
            self.n_frames_header = max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
            self.width = int(capture.get(cv2.CAP_PROP_FRAME_WIDTH))
            self.height = int(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))

    @contextlib.contextmanager
    def _open(self) -> Iterator[cv2.VideoCapture]:
        try:
            if os.stat(self.path).st_size == 0:
                raise DecodeError("empty file (0 bytes)")
            handle = os.open(self.path, os.O_RDONLY)
        except OSError as error:
            if isinstance(error, DecodeError):
                raise
            raise DecodeError(f"cannot be opened: {error.strerror}") from error
        try:
            # OpenCV takes file names as UTF-8 only; the descriptor serves for those that are not.
            path = self.path if is_unicode(self.path) else f"/dev/fd/{handle}"
            capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
            if not capture.isOpened():
                raise DecodeError("not a video that can be decoded, or damaged at its beginning")
            try:
                yield capture
            finally:
                capture.release()
        finally:
            os.close(handle)

    def read_frames(self) -> Iterator[Frame]:
        """Yield the frames in order; see `FrameReader.read_frames`."""
        for frame in self.read_color_frames():
            yield to_gray(frame)

    def read_color_frames(self) -> Iterator[Frame]:
        """Yield the frames in order as decoded; see `FrameReader.read_color_frames`."""
        n_frames = 0
        shape: tuple[int, ...] | None = None
        with self._open() as capture:
            while True:
                try:
                    is_read, frame = capture.read()
                except cv2.error as error:
                    raise DecodeError(f"frame {n_frames} cannot be decoded: {error.err}") from error
                if not is_read:
                    break
                shape = shape or frame.shape
                check_frame_shape(frame.shape, shape, f"frame {n_frames}")
                n_frames += 1
                if n_frames > self._n_frames_possible:
                    raise DecodeError(f"does not end: more frames than bytes, {n_frames}")
                yield frame
        self._check_end(n_frames)

    def _check_end(self, n_frames: int) -> None:
        if n_frames == 0:
            raise DecodeError("no frame can be decoded")
        suffix = os.path.splitext(self.path)[1].lower()
        is_counted = suffix in _COUNTING_SUFFIXES
        if _STOPS_AFTER_HEADER and is_counted and 0 < self.n_frames_header < n_frames:
            raise DecodeError(
                f"has more frames than the {self.n_frames_header} of its header, and OpenCV {cv2.__version__} reads no "
                "more: use OpenCV 5"
            )
        n_expected = self.n_frames_header
        allowed = max(_MISSING_FRAMES_ALLOWED, n_expected * _MISSING_SHARE_ALLOWED)
        if n_expected - n_frames > allowed and suffix in _EDITING_SUFFIXES:
            n_expected = round(n_expected * shown_share(self.path))
        missing = n_expected - n_frames
        said = f"{n_frames} frames decoded, {n_expected} according to the file's header"
        if missing > allowed and is_counted:
            raise DecodeError(f"ends early or is damaged: {said}")
        # One frame too many is HMDB51's usual header, and says nothing.
        if missing > (1 if is_counted else allowed):
            self.warnings.append(said)


class FrameFolder:
    """A folder of images, in natural order of their names.

    Parameters
    ----------
    path : str
        Absolute.

    Raises
    ------
    DecodeError
        If the folder cannot be listed, holds no frame images, or holds two images for one frame.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.warnings: list[str] = []
        self.fps: float | None = None
        self.names = list_frames(path)
        if not self.names:
            raise DecodeError("no frame images in this folder")
        by_stem: dict[str, str] = {}
        for name in self.names:
            other = by_stem.setdefault(os.path.splitext(name)[0], name)
            if other != name:
                raise DecodeError(f"two images for one frame: {other} and {name}")

    def read_frames(self) -> Iterator[Frame]:
        """Yield the frames in order; see `FrameReader.read_frames`."""
        for frame in self.read_color_frames():
            yield to_gray(frame)

    def read_color_frames(self) -> Iterator[Frame]:
        """Yield the frames in order as decoded; see `FrameReader.read_color_frames`."""
        shape: tuple[int, ...] | None = None
        for name in self.names:
            frame = read_image(os.path.join(self.path, name))
            shape = shape or frame.shape
            check_frame_shape(frame.shape, shape, name)
            yield frame


def to_gray(frame: Frame) -> Frame:
    """Return gray levels of a decoded frame.

    Parameters
    ----------
    frame : uint8 array (H, W, 3)
        Blue, green, red.

    Returns
    -------
    uint8 array (H, W)
        ``0.299 R + 0.587 G + 0.114 B`` in OpenCV's fixed-point arithmetic.
    """
    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)


def check_frame_shape(found: tuple[int, ...], expected: tuple[int, ...], what: str) -> None:
    """Raise unless a frame has the size of those before it.

    Raises
    ------
    DecodeError
        If it has another.
    """
    if found != expected:
        raise DecodeError(f"{what} is {found[1]}×{found[0]}, the frames before it are {expected[1]}×{expected[0]}")


def read_image(path: str) -> Frame:
    """Read one image whole.

    Parameters
    ----------
    path : str
        Of a JPEG, PNG, BMP or WebP file.

    Returns
    -------
    uint8 array (H, W, 3)
        Blue, green, red; EXIF rotation applied.

    Raises
    ------
    DecodeError
        If the file cannot be read or decoded, or is cut off.
    """
    name = os.path.basename(path)
    try:
        is_regular = stat.S_ISREG(os.stat(path).st_mode)
        if is_regular:
            with open(path, "rb") as file:
                data = file.read()
    except OSError as error:
        raise DecodeError(f"{name} cannot be opened: {error.strerror}") from error
    if not is_regular:
        # Opening a pipe would wait for its other end.
        raise DecodeError(f"{name} is not a regular file")
    if not data:
        raise DecodeError(f"{name} is empty (0 bytes)")
    if not is_whole_image(data):
        raise DecodeError(f"{name} is cut off after {len(data)} bytes")
    if is_animation(data):
        raise DecodeError(f"{name} is an animation, not one frame: give it as a video, such as a .gif or .mp4")
    try:
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise DecodeError(f"{name} cannot be decoded: {error.err}") from error
    if frame is None:
        raise DecodeError(f"{name} is not an image that can be decoded")
    return frame


def is_whole_image(data: bytes) -> bool:
    """Tell whether an image file has its end: decoders fill in what a cut-off file lacks and say nothing.

    Parameters
    ----------
    data : bytes
        The file. A format other than JPEG, PNG, BMP or WebP counts as whole.

    Returns
    -------
    bool

    References
    ----------
    JPEG: ITU-T T.81 §B.1.1.3, an EOI marker follows the last scan. PNG: RFC 2083 §3.2, an IEND chunk. WebP: RFC 9649
    §2.3.
    """
    if data.startswith(b"\xff\xd8"):
        # An embedded thumbnail has an EOI of its own, which stands before the picture's scan.
        return data.rfind(b"\xff\xd9") > data.rfind(b"\xff\xda") > 0
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return data.rfind(b"IEND") > 0
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return len(data) >= 8 + int(struct.unpack_from("<I", data, 4)[0])
    if data.startswith(b"BM") and len(data) >= 6:
        return len(data) >= int(struct.unpack_from("<I", data, 2)[0])
    return True


def is_animation(data: bytes) -> bool:
    """Tell whether a file is an animated WebP, of which a decoder of pictures gives the first frame only.

    References
    ----------
    RFC 9649 §2.7.1, the flag A of the chunk VP8X.
    """
    return data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and len(data) > 20 and bool(data[20] & 2)


def resize_frame(frame: Frame, height: int, width: int) -> Frame:
    """Return a gray frame of another size; the same array if it has that size.

    Parameters
    ----------
    frame : uint8 array (H, W)
        Gray levels.
    height, width : int
        Wanted size in pixels.

    Returns
    -------
    uint8 array (height, width)
        By area when both sides shrink, bilinear otherwise.
    """
    if frame.shape == (height, width):
        return frame
    is_shrunk = height <= frame.shape[0] and width <= frame.shape[1]
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if is_shrunk else cv2.INTER_LINEAR)


def configure_opencv() -> None:
    """Keep OpenCV to the calling thread and off the terminal, for the whole process.

    Tasks run beside one another already; and what FFmpeg and OpenCV would print stands in the videos' records.
    """
    cv2.setNumThreads(1)
    # OpenCV 5 moved it.
    set_log_level = cv2.setLogLevel if hasattr(cv2, "setLogLevel") else cv2.utils.logging.setLogLevel
    set_log_level(_SILENT)
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
