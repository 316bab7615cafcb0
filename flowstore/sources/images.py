"""Pictures as frames: one image file, or a folder of them."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import threading
from collections.abc import Iterator

import cv2
import numpy as np

from flowstore.errors import DecodeError
from flowstore.sources.frames import Frame
from flowstore.sources.listing import list_frames

# OpenCV's LOG_LEVEL_SILENT.
_SILENT = 0
# What OpenCV was set to, once for each that wants it configured now.
_FOUND_BEFORE: list[tuple[int, int]] = []
_CONFIGURING = threading.Lock()


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
        self.times_s: list[float] = []
        self.frame_numbers: list[int] = []
        self.damage = ""
        self.names = list_frames(path)
        if not self.names:
            raise DecodeError("no frame images in this folder")
        by_stem: dict[str, str] = {}
        for name in self.names:
            other = by_stem.setdefault(os.path.splitext(name)[0], name)
            if other != name:
                raise DecodeError(f"two images for one frame: {other} and {name}")

    def read_frames(self, fps: float | None = None) -> Iterator[Frame]:
        """Yield the frames in order; see `FrameReader.read_frames`."""
        for frame in self.read_color_frames(fps):
            yield to_gray(frame)

    def read_color_frames(self, fps: float | None = None) -> Iterator[Frame]:
        """Yield the frames in order as decoded; see `FrameReader.read_color_frames`."""
        if fps is not None:
            raise DecodeError(
                "a folder of frames has no frame rate, so it cannot be thinned to another: leave out --fps"
            )
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
    """Return a frame of another size; the same array if it has that size.

    Parameters
    ----------
    frame : uint8 array (H, W) or (H, W, 3)
        Gray levels, or colors.
    height, width : int
        Wanted size in pixels.

    Returns
    -------
    uint8 array (height, width) or (height, width, 3)
        By area when both sides shrink, bilinear otherwise.
    """
    if frame.shape[:2] == (height, width):
        return frame
    is_shrunk = height <= frame.shape[0] and width <= frame.shape[1]
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if is_shrunk else cv2.INTER_LINEAR)


@contextlib.contextmanager
def configured_opencv() -> Iterator[None]:
    """Keep OpenCV to the calling thread and off the terminal for a while, in the whole process; then as it was before.

    Tasks run beside one another already; and what OpenCV would print stands in the videos' records. The last of those
    that run at once puts back what the first one found.
    """
    # OpenCV 5 moved them.
    logging = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging
    with _CONFIGURING:
        if not _FOUND_BEFORE:
            found = cv2.getNumThreads(), logging.getLogLevel()
            cv2.setNumThreads(1)
            logging.setLogLevel(_SILENT)
        else:
            found = _FOUND_BEFORE[0]
        _FOUND_BEFORE.append(found)
    try:
        yield
    finally:
        with _CONFIGURING:
            n_threads, level = _FOUND_BEFORE.pop()
            if not _FOUND_BEFORE:
                cv2.setNumThreads(n_threads)
                logging.setLogLevel(level)
