"""Many clips into one array: what a batch of training data is. Checks everything, and reads nothing."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_whole
from flowstore.errors import ArgumentError
from flowstore.store.reader import Crop, StoredFlow
from flowstore.store.video import Video


class ClipRequest(NamedTuple):
    """One clip to read: its video's flow, the first number, where to write it, and the part of the picture (or all)."""

    stored: StoredFlow
    start: int
    out: npt.NDArray[Any]
    crop: Crop | None


def plan_clips(
    videos: Sequence[Video],
    starts: Sequence[int],
    length: int,
    dtype: np.dtype[Any],
    crop: Crop | Sequence[Crop] | npt.NDArray[Any] | None = None,
    out: npt.NDArray[Any] | None = None,
) -> tuple[npt.NDArray[Any], list[ClipRequest]]:
    """Return the array (n_clips, length, 2, height, width) of some clips, float32 by default, and what fills it.

    Arguments are those of `FlowStore.read_clips`, and refused as it says.
    """
    check_whole("length", length, 0)
    try:
        firsts = [operator.index(start) for start in starts]
    except TypeError as error:
        raise ArgumentError(f"starts is {starts!r}, expected whole numbers") from error
    for video, start in zip(videos, firsts, strict=True):
        video.check_has_flow()
        video.check_range(start, start + length)
    crops = _crops(crop, videos)
    height, width = crops[0][2:] if crops else (0, 0)
    shape = len(videos), length, 2, height, width
    if out is None:
        try:
            out = np.empty(shape, np.float32)
        except (MemoryError, ValueError) as error:
            raise ArgumentError(
                f"{len(videos)} clips of {length} flows of {width}×{height} px take {4 * math.prod(shape)} bytes of "
                "memory, more than there is: read fewer at a time, or a crop"
            ) from error
    if not isinstance(out, np.ndarray):
        raise ArgumentError(f"out is a {type(out).__name__}, expected a NumPy array")
    if out.shape != shape or out.dtype not in (np.float32, dtype):
        raise ArgumentError(f"out is {out.dtype} {out.shape}, expected float32 or {dtype} {shape}")
    if not out.flags.writeable:
        raise ArgumentError("out is a read-only array")
    return out, [
        ClipRequest(video.stored, start, clip, None if part[2:] == video.shape[2:] else part)
        for clip, video, start, part in zip(out, videos, firsts, crops, strict=True)
    ]


def _crops(crop: Crop | Sequence[Crop] | npt.NDArray[Any] | None, videos: Sequence[Video]) -> list[Crop]:
    """Return the part of each video to read, checked: all of one size, none outside."""
    if crop is None:
        for video in videos:
            if video.shape[2:] != videos[0].shape[2:]:
                raise ArgumentError(
                    f"{video.key} is {video.size_text}, the clips before it are {videos[0].size_text}: "
                    "give a crop that fits into both"
                )
        return [(0, 0, *video.shape[2:]) for video in videos]
    try:
        values = np.asarray(crop)
    except ValueError as error:
        raise ArgumentError(f"crop is {crop!r}, expected (top, left, height, width), or one for each clip") from error
    if values.shape not in ((4,), (len(videos), 4)) or values.dtype.kind not in "iu":
        raise ArgumentError(
            f"crop is {values.dtype} {values.shape}, expected whole numbers (top, left, height, width), "
            f"or {len(videos)} of these"
        )
    crops: list[Crop] = [tuple(part) for part in np.broadcast_to(values, (len(videos), 4)).tolist()]
    for video, (top, left, height, width) in zip(videos, crops, strict=True):
        if (height, width) != crops[0][2:]:
            raise ArgumentError(f"a crop of {width}×{height}, those before it are {crops[0][3]}×{crops[0][2]}")
        is_inside = 0 <= top <= top + height <= video.shape[2] and 0 <= left <= left + width <= video.shape[3]
        if not is_inside or height < 1 or width < 1:
            raise ArgumentError(
                f"a crop of {width}×{height} at row {top}, column {left} leaves {video.key}, which is {video.size_text}"
            )
    return crops
