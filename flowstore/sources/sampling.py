"""Which frames to take: pure rules on indices, with both ends of every range stated."""

from __future__ import annotations

import math

from flowstore.errors import ArgumentError


def is_frame_kept(index: int, source_fps: float, target_fps: float | None) -> bool:
    """Tell whether a decoded frame belongs to a sequence thinned to a lower frame rate.

    Parameters
    ----------
    index : int
        Number of the decoded frame, from 0.
    source_fps, target_fps : float
        Frames a second of the video, and wanted. None, or a target at or above the source, keeps every frame.

    Returns
    -------
    bool
        The first frame of each target interval ``[k/target_fps, (k+1)/target_fps)`` is kept, frame 0 always.

    Raises
    ------
    ArgumentError
        If a rate is not a positive finite number.

    Examples
    --------
    >>> [i for i in range(10) if is_frame_kept(i, 30, 10)]
    [0, 3, 6, 9]
    """
    for rate in (source_fps, target_fps):
        if rate is not None and not (math.isfinite(rate) and rate > 0):
            raise ArgumentError(f"frame rate is {rate}, expected a finite number above 0")
    if target_fps is None or target_fps >= source_fps or index == 0:
        return True
    # The small shift keeps rates such as 29.97 of 59.94 from landing just below a whole number.
    ratio = target_fps / source_fps
    return math.floor(index * ratio + 1e-9) > math.floor((index - 1) * ratio + 1e-9)


def scaled_size(height: int, width: int, short_side: int | None, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size at which frames are processed.

    Parameters
    ----------
    height, width : int
        Of the decoded frame, in pixels.
    short_side : int or None
        Wanted length of the shorter side; the other follows, rounded to the nearest pixel.
    size : tuple of int or None
        Wanted ``(height, width)``.

    Returns
    -------
    tuple of int
        ``(height, width)``, in pixels.

    Examples
    --------
    >>> scaled_size(240, 320, 120, None)
    (120, 160)
    """
    if size is not None:
        return size
    if short_side is None:
        return height, width
    scale = short_side / min(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
