"""Which frames to take: pure rules on indices, with both ends of every range stated."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from flowstore.errors import ArgumentError

# Rounding of time stamps in seconds.
_SLACK_S = 1e-9


T = TypeVar("T")


def nearest_to_ticks(frames: Iterable[tuple[float, T]], fps: float) -> Iterator[tuple[float, T]]:
    """Yield the frames nearest to the ticks of a clock that starts with the first frame; holds one frame back.

    Examples
    --------
    >>> [time for time, _ in nearest_to_ticks([(i / 30, None) for i in range(10)], 10)]
    [0.0, 0.1, 0.2, 0.3]
    >>> [time for time, _ in nearest_to_ticks([(time, None) for time in (0, 0.1, 0.2, 0.9, 1.0, 2.5)], 1)]
    [0, 1.0, 2.5]
    """
    if not (math.isfinite(fps) and fps > 0):
        raise ArgumentError(f"frame rate is {fps}, expected a finite number above 0")
    held: tuple[float, T] | None = None
    start = before = 0.0
    tick = 0
    for time, frame in frames:
        if held is None:
            start = before = time
        else:
            middle = (held[0] + time) / 2 - start - _SLACK_S
            if tick / fps < middle:
                yield held
                tick = math.ceil(middle * fps)
            before = held[0]
        held = time, frame
    # The last frame stands for as long as the one before it did.
    if held is not None and (tick == 0 or tick / fps < held[0] + (held[0] - before) / 2 - start - _SLACK_S):
        yield held


class Thinning:
    """One pass through the frames of a source that has a clock: gives those wanted, and keeps which and when.

    `fps`: take the frames nearest to the ticks of a clock of so many frames per second; None takes all.
    """

    def __init__(self, fps: float | None) -> None:
        self._fps = fps
        self.times_s: list[float] = []
        self.numbers: list[int] = []

    def take(self, frames: Iterable[tuple[float, T]]) -> Iterator[T]:
        """Yield the frames wanted of ``(seconds, frame)``; holds one back."""
        numbered = ((time, (number, frame)) for number, (time, frame) in enumerate(frames))
        for time, (number, frame) in numbered if self._fps is None else nearest_to_ticks(numbered, self._fps):
            self.times_s.append(time)
            if self._fps is not None:
                self.numbers.append(number)
            yield frame

    def clock(self, nominal: float | None, tick_s: float, longest_s: float) -> tuple[float | None, list[float]]:
        """Return frames per second of those taken, and the seconds from the first to each where the rate varies.

        `nominal`: the rate that the source states; `tick_s`: seconds by which its times may be off; `longest_s`: the
        longest time from one of its frames to the next.
        """
        times = self.times_s
        if self._fps is not None and (nominal is None or self._fps < nominal):
            # Each frame is the one nearest to its tick, at most half a frame of the source away.
            nominal, tick_s = self._fps, max(tick_s, 0.5 * longest_s)
        rate = constant_rate(times, nominal, tick_s)
        if rate is not None or len(times) < 2:
            return rate, []
        return (len(times) - 1) / (times[-1] - times[0]), [time - times[0] for time in times]


def constant_rate(times_s: Sequence[float], nominal: float | None, tolerance_s: float) -> float | None:
    """Return the rate at which frames come where it is constant, None where it is not or cannot be told.

    Examples
    --------
    >>> constant_rate([0, 0.033, 0.067, 0.1], 30.0, 0.001), constant_rate([0, 0.033, 0.1, 0.133], 30.0, 0.001)
    (30.0, None)
    """
    if len(times_s) < 2:
        return nominal
    span = times_s[-1] - times_s[0]
    # A frame taken lies up to half a frame and the slack of a tick from it; and the sums here are rounded too.
    allowed_s = tolerance_s + 2 * _SLACK_S
    for rate in (nominal, (len(times_s) - 1) / span):
        if rate and all(abs(time - times_s[0] - i / rate) <= allowed_s for i, time in enumerate(times_s)):
            return rate
    return None


def scaled_size(height: int, width: int, short_side: int | None, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the size at which frames are processed.

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
