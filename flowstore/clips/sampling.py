"""Which flows a clip holds: pure rules on indices, free of any framework, with both ends of every range drawn.

A clip of `length` flows with a stride of `stride` spans ``(length - 1)·stride + 1`` flows of its video; a video of n
flows has ``n_starts = n - span + 1`` possible starts, of which the last one reaches the video's last flow.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_whole
from flowstore.errors import ArgumentError

Sampling = Literal["random", "uniform", "tsn", "dense", "all"]
Short = Literal["repeat", "loop", "drop", "error"]
Starts = npt.NDArray[np.int64]

DENSE_WINDOW = 64
# Of lengths and strides; no clip of so many flows fits into memory.
_LARGEST = 10**6


def clip_span(length: int, stride: int = 1) -> int:
    """Return how many flows of a video a clip covers, first to last.

    Examples
    --------
    >>> clip_span(10), clip_span(10, stride=3)
    (10, 28)
    """
    for name, value in (("length", length), ("stride", stride)):
        check_whole(name, value, 1, _LARGEST)
    return (length - 1) * stride + 1


def random_starts(n_starts: int, n_clips: int, rng: np.random.Generator) -> Starts:
    """Return starts drawn each by itself, every start alike, the last included.

    Gives int64 array (n_clips,).
    """
    return rng.integers(n_starts, size=n_clips)


def uniform_starts(n_starts: int, n_clips: int) -> Starts:
    """Return equally spaced starts: the first is 0, the last the video's last one; a single clip is in the middle.

    Gives int64 array (n_clips,).

    Notes
    -----
    ``starts[k] = floor(k·(n_starts - 1)/(n_clips - 1) + 1/2)``.

    Examples
    --------
    >>> uniform_starts(9, 3), uniform_starts(9, 1), uniform_starts(2, 4)
    (array([0, 4, 8]), array([4]), array([0, 0, 1, 1]))
    """
    if n_clips == 1:
        return np.array([(n_starts - 1) // 2], np.int64)
    steps = 2 * np.arange(n_clips, dtype=np.int64) * (n_starts - 1)
    return (steps + n_clips - 1) // (2 * (n_clips - 1))


def tsn_starts(n_starts: int, n_clips: int, rng: np.random.Generator | None) -> Starts:
    """Return one start from each of `n_clips` segments of a video.

    Gives int64 array (n_clips,), ascending.

    Notes
    -----
    With ``avg = n_starts // n_clips``, training draws ``k·avg + randint(avg)``; where a video has fewer starts than
    segments, sorted random starts. Testing takes ``floor((k + 1/2)·n_starts/n_clips)``. As in the original, training
    never draws the last ``n_starts mod n_clips`` starts: `random_starts` draws them all.

    References
    ----------
    Wang et al., Temporal Segment Networks, ECCV 2016; mmaction2 ``SampleFrames``.

    Examples
    --------
    >>> tsn_starts(12, 3, None)
    array([ 2,  6, 10])
    """
    segments = np.arange(n_clips, dtype=np.int64)
    if rng is None:
        return (2 * segments + 1) * n_starts // (2 * n_clips)
    average = n_starts // n_clips
    if average == 0:
        return np.sort(rng.integers(n_starts, size=n_clips))
    return segments * average + rng.integers(average, size=n_clips)


def dense_starts(n_starts: int, n_clips: int, span: int, rng: np.random.Generator | None) -> Starts:
    """Return clips spread equally over a window of 64 flows.

    Gives int64 array (n_clips,), ascending. The first clip begins with the window and the last ends with it.

    Notes
    -----
    A video shorter than the window is the window. A single clip is spread over nothing: it starts anywhere in training,
    in the middle in testing. Where TSM wraps around the end of a short video, every clip here stays whole.

    References
    ----------
    Lin et al., TSM, ICCV 2019, ``dense_sample``; mmaction2 ``DenseSampleFrames``.

    Examples
    --------
    >>> dense_starts(91, 3, 10, None)
    array([18, 45, 72])
    """
    n_inside = 1 if n_clips == 1 else min(n_starts, max(1, DENSE_WINDOW - span + 1))
    n_windows = n_starts - n_inside + 1
    first = (n_windows - 1) // 2 if rng is None else int(rng.integers(n_windows))
    return first + uniform_starts(n_inside, n_clips)


def draw_starts(
    sampling: Sampling, n_starts: int, n_clips: int, span: int, rng: np.random.Generator, is_training: bool
) -> Starts:
    """Return the starts of one video's clips by the rule of that name.

    Gives int64 array (n_clips,).
    """
    if sampling == "random":
        return random_starts(n_starts, n_clips, rng)
    if sampling == "uniform":
        return uniform_starts(n_starts, n_clips)
    drawn = rng if is_training else None
    if sampling == "tsn":
        return tsn_starts(n_starts, n_clips, drawn)
    return dense_starts(n_starts, n_clips, span, drawn)


def clip_flows(starts: Starts, length: int, stride: int, n_flows: int, short: Short) -> Starts:
    """Return the flows of clips, number by number.

    `starts`: int64 array (n_clips,), first flow of each. Gives int64 array (n_clips, length), in ``[0,
    n_flows)``.

    Examples
    --------
    >>> clip_flows(np.array([0]), 5, 1, 3, "repeat"), clip_flows(np.array([0]), 5, 1, 3, "loop")
    (array([[0, 1, 2, 2, 2]]), array([[0, 1, 2, 0, 1]]))
    """
    flows = starts[:, None] + stride * np.arange(length, dtype=np.int64)
    if short == "repeat":
        return np.minimum(flows, n_flows - 1)
    if short == "loop":
        return flows % n_flows
    if flows.max() >= n_flows:
        raise ArgumentError(f"a clip of {clip_span(length, stride)} flows leaves a video of {n_flows}")
    return flows
