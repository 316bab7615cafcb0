"""Pictures as frames: one image file, or a folder of them."""

from __future__ import annotations

import contextlib
import os
import stat
import struct
import threading
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from flowstore.errors import DecodeError
from flowstore.opencv import cv2, has_opencv
from flowstore.sources.frames import Frame
from flowstore.sources.listing import list_frames
from flowstore.sources.sampling import Thinning
from flowstore.sources.series import order_frames

# OpenCV's LOG_LEVEL_SILENT.
_SILENT = 0
# Share of the pixels of a 16-bit video above and below the range that is kept: dead pixels, and depth that is unknown.
_OUTLIERS = 1e-3
# What OpenCV was set to, once for each that wants it configured now.
_FOUND_BEFORE: list[tuple[int, int]] = []
_CONFIGURING = threading.Lock()


class FrameFolder:
    """A folder of images, in the order of the numbers in their names.

    Levels of 16 bits, of depth or heat, are scaled to 8 alike in the whole folder, with a warning that names the range.
    With `source_fps` the frames have a clock of so many per second: the nth in that order, counted from 0, is at
    ``n / source_fps`` seconds, whatever its number.
    """

    def __init__(
        self, path: str, flow_patterns: Iterable[str] = (), allow_gaps: bool = False, source_fps: float | None = None
    ) -> None:
        self.path = path
        self.source_fps = source_fps
        self.warnings: list[str] = []
        self.fps = source_fps
        self.times_s: list[float] = []
        self.frame_numbers: list[int] = []
        self.damage = ""
        self.names, problem = order_frames(list_frames(path, flow_patterns))
        if not self.names:
            raise DecodeError("no frame images in this folder")
        by_stem: dict[str, str] = {}
        for name in self.names:
            other = by_stem.setdefault(os.path.splitext(name)[0], name)
            if other != name:
                raise DecodeError(f"two images for one frame: {other} and {name}")
        if problem and not allow_gaps:
            raise DecodeError(f"{problem}; flow across it would be wrong: mend the names, or use --allow-gaps")
        if problem:
            self.warnings.append(problem)

    def read_frames(self, fps: float | None = None) -> Iterator[Frame]:
        """Yield the frames in order; see `FrameReader.read_frames`."""
        for frame in self.read_color_frames(fps):
            yield to_gray(frame)

    def read_color_frames(self, fps: float | None = None) -> Iterator[Frame]:
        """Yield the frames in order as decoded; see `FrameReader.read_color_frames`."""
        rate, thinning = self.source_fps, Thinning(fps)
        self.times_s, self.frame_numbers, self.fps = [], thinning.numbers, rate
        if fps is None:
            yield from self._decoded()
        elif rate is None:
            raise DecodeError("frames without a clock cannot be thinned by --fps: give their rate by --source-fps")
        else:
            yield from thinning.take((number / rate, frame) for number, frame in enumerate(self._decoded()))
            self.fps, self.times_s = thinning.clock(rate, 0.0, 1 / rate)

    def _decoded(self) -> Iterator[Frame]:
        """Yield all frames: what is wrong with one tells of the folder, also where the frame is not wanted."""
        shape: tuple[int, ...] | None = None
        scale: npt.NDArray[np.uint8] | None = None
        n_bits = 0
        for name in self.names:
            levels = read_levels(os.path.join(self.path, name))
            bits = 8 * levels.dtype.itemsize
            shape, n_bits = shape or levels.shape, n_bits or bits
            check_frame_shape(levels.shape, shape, name)
            if bits != n_bits:
                raise DecodeError(f"{name} has {bits} bits per channel, the frames before it {n_bits}")
            if bits == 16 and scale is None:
                scale = self._scale()
            yield np.asarray(levels if scale is None else scale[levels], np.uint8)

    def _scale(self) -> npt.NDArray[np.uint8]:
        """Return the 8-bit level of each 16-bit one: the range that the whole video uses, but for outliers."""
        counts = np.zeros(1 << 16, np.int64)
        for name in self.names:
            counts += np.bincount(read_levels(os.path.join(self.path, name)).reshape(-1), minlength=1 << 16)[: 1 << 16]
        below = np.cumsum(counts)
        low, high = (int(np.searchsorted(below, share * below[-1])) for share in (_OUTLIERS, 1 - _OUTLIERS))
        warning = f"frames of 16 bits per channel: levels {low} to {high} became 0 to 255 in the whole video"
        self.warnings += [] if warning in self.warnings else [warning]
        levels = (np.arange(1 << 16) - low) * (255 / max(1, high - low))
        return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)


def to_gray(frame: Frame) -> Frame:
    """Return gray levels of a decoded frame.

    `frame`: uint8 array (H, W, 3), blue, green, red. Gives uint8 array (H, W), ``0.299 R + 0.587 G + 0.114 B`` in
    OpenCV's fixed-point arithmetic.
    """
    return cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)


def to_rgb(frame: Frame) -> Frame:
    """Return a decoded frame, uint8 (H, W, 3) of blue, green, red, as red, green, blue."""
    return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


def check_frame_shape(found: tuple[int, ...], expected: tuple[int, ...], what: str) -> None:
    """Raise unless a frame has the size of those before it."""
    if found != expected:
        raise DecodeError(f"{what} is {found[1]}×{found[0]}, the frames before it are {expected[1]}×{expected[0]}")


def read_image(path: str) -> Frame:
    """Read one image of 8 bits per channel whole: uint8 (H, W, 3); see `read_levels`."""
    frame = read_levels(path)
    if frame.dtype != np.uint8:
        raise DecodeError(f"{os.path.basename(path)} has 16 bits per channel, expected 8")
    return np.asarray(frame, np.uint8)


def read_levels(path: str) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Read one image whole.

    Gives uint8 or uint16 array (H, W, 3), blue, green, red; EXIF rotation applied.
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
    if has_pages(data):
        raise DecodeError(f"{name} holds several pages, not one frame: give each a file of its own")
    try:
        frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        raise DecodeError(f"{name} cannot be decoded: {error.err}") from error
    if frame is None:
        raise DecodeError(f"{name} is not an image that can be decoded")
    if frame.dtype not in (np.uint8, np.uint16):
        raise DecodeError(
            f"{name} holds {frame.dtype} numbers, expected levels of 8 or 16 bits: scale all frames of the video alike"
        )
    return frame


def is_whole_image(data: bytes) -> bool:
    """Tell whether an image file has its end: decoders fill in what a cut-off file lacks and say nothing.

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
    """Tell whether a file is an animated WebP or PNG, of which a decoder of pictures gives the first frame only.

    References
    ----------
    RFC 9649 §2.7.1, the flag A of the chunk VP8X. PNG third edition §11.3.3.1, a chunk acTL before the picture.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return 0 < data.find(b"acTL") < data.find(b"IDAT")
    return data[:4] == b"RIFF" and data[8:16] == b"WEBPVP8X" and len(data) > 20 and bool(data[20] & 2)


def has_pages(data: bytes) -> bool:
    """Tell whether a TIFF file holds several pictures, of which a decoder gives the first only.

    References
    ----------
    TIFF 6.0 §2: the entries of a directory, 12 bytes each, are followed by the place of the next one, or 0.
    """
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    if order is None:
        return False
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (n_entries,) = struct.unpack_from(f"{order}H", data, at)
        return bool(struct.unpack_from(f"{order}I", data, at + 2 + 12 * n_entries)[0])
    except struct.error:
        return False


def resize_frame(frame: Frame, height: int, width: int) -> Frame:
    """Return a frame of another size; the same array if it has that size.

    `frame`: uint8 array (H, W) or (H, W, 3), gray levels, or colors. Gives uint8 array (height, width) or
    (height, width, 3), by area when both sides shrink, bilinear otherwise.
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
    if not has_opencv():
        yield
        return
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
