"""Video files as streams of frames.

A reader holds one frame at a time, so memory does not grow with a video's length.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import cv2

from flowstore.errors import DecodeError
from flowstore.names import is_unicode
from flowstore.sources.edit_lists import shown_share
from flowstore.sources.frames import Frame
from flowstore.sources.images import check_frame_shape, to_gray

# Containers whose header counts frames; in the others the count is duration times rate, an estimate.
_COUNTING_SUFFIXES = frozenset((".avi", ".mp4", ".mov", ".m4v", ".3gp"))
# Among them those whose edit list can hide frames that the header counts.
_EDITING_SUFFIXES = _COUNTING_SUFFIXES - {".avi"}
# HMDB51's AVI headers count one frame more than there is.
_MISSING_FRAMES_ALLOWED = 2
_MISSING_SHARE_ALLOWED = 0.02
# OpenCV 4 takes a header's count for true, and stops one frame later.
_STOPS_AFTER_HEADER = int(cv2.__version__.partition(".")[0]) < 5
# Besides one frame a byte: a file that gives more is one that makes a decoder go round in circles.
_FRAMES_ALWAYS_POSSIBLE = 1000


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
