"""What an MP4 or MOV file says of its video track beyond what OpenCV tells: which share of it is meant to be shown.

Reads box headers and a few numbers, never pictures.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_CONTAINERS = {b"moov", b"trak", b"mdia", b"edts"}
# Far more boxes than a video has; a file that is made of boxes without content ends here.
_MAX_BOXES = 10_000


def shown_share(path: str) -> float:
    """Return the share of a video track's duration that its edit list shows.

    Parameters
    ----------
    path : str
        Of an MP4 or MOV file.

    Returns
    -------
    float
        1.0 where there is no edit list, or no box that can be read.

    Notes
    -----
    A clip that was cut without encoding it again keeps the frames back to the last key frame, counts them in its
    header, and hides them by an edit list: decoders leave them out.

    References
    ----------
    ISO/IEC 14496-12:2022, §8.2.2 ``mvhd``, §8.4.2 ``mdhd``, §8.4.3 ``hdlr``, §8.6.6 ``elst``.
    """
    try:
        with open(path, "rb") as file:
            return _shown_share(file)
    except (OSError, struct.error, OverflowError):
        return 1.0


def _shown_share(file: BinaryIO) -> float:
    movie_scale, track = 0, _Track()
    for kind, start in _walk(file, 0, os.fstat(file.fileno()).st_size):
        if kind == b"mvhd":
            movie_scale, _ = _read_scale_and_duration(file, start)
        elif kind == b"trak":
            track = _Track()
        elif kind == b"mdhd":
            track.media_scale, track.media_duration = _read_scale_and_duration(file, start)
        elif kind == b"elst":
            track.edited_duration = _read_edited_duration(file, start)
        elif kind == b"hdlr":
            track.is_video = _read(file, start + 8, 4) == b"vide"
        if track.is_video and track.edited_duration and track.media_scale and track.media_duration and movie_scale:
            media_s = track.media_duration / track.media_scale
            return min(1.0, track.edited_duration / movie_scale / media_s)
    return 1.0


class _Track:
    """Numbers of one track, 0 where they are not known yet."""

    def __init__(self) -> None:
        self.media_scale = 0
        self.media_duration = 0
        self.edited_duration = 0
        self.is_video = False


def _walk(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Yield the kind of each box and where its content starts, boxes in containers after their container."""
    waiting, n_boxes = [(start, end)], 0
    while waiting and n_boxes < _MAX_BOXES:
        start, end = waiting.pop()
        n_boxes += 1
        if start + 8 > end:
            continue
        size, kind = struct.unpack(">I4s", _read(file, start, 8))
        content = start + 8
        if size == 1:
            (size,) = struct.unpack(">Q", _read(file, content, 8))
            content += 8
        elif size == 0:
            size = end - start
        if size < content - start:
            continue
        yield kind, content
        waiting.append((start + size, end))
        if kind in _CONTAINERS:
            waiting.append((content, min(start + size, end)))


def _read(file: BinaryIO, start: int, size: int) -> bytes:
    file.seek(start)
    return file.read(size)


def _read_scale_and_duration(file: BinaryIO, start: int) -> tuple[int, int]:
    is_long = _read(file, start, 1) == b"\x01"
    return struct.unpack(
        ">IQ" if is_long else ">II", _read(file, start + (20 if is_long else 12), 12 if is_long else 8)
    )


def _read_edited_duration(file: BinaryIO, start: int) -> int:
    is_long = _read(file, start, 1) == b"\x01"
    entry = struct.Struct(">QqI" if is_long else ">IiI")
    (count,) = struct.unpack(">I", _read(file, start + 4, 4))
    data = _read(file, start + 8, min(count, _MAX_BOXES) * entry.size)
    # A media time of -1 is an empty edit, which shows nothing.
    return sum(duration for duration, time, _ in entry.iter_unpack(data) if time >= 0)
