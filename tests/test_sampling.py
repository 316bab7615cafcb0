"""Which frames are kept and at what size, by enumeration at both ends."""

import math
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.sampling import is_frame_kept, scaled_size

RATES = [1, 5, 7, 10, 12.5, 15, 23.976, 24, 25, 29.97, 30, 50, 59.94, 60, 120]


def kept(source_fps, target_fps, n_frames=300):
    return [i for i in range(n_frames) if is_frame_kept(i, source_fps, target_fps)]


@pytest.mark.parametrize(
    ("source_fps", "target_fps", "expected"),
    [
        (30, 30, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]),
        (30, 15, [0, 2, 4, 6, 8, 10]),
        (30, 10, [0, 3, 6, 9]),
        (30, 20, [0, 2, 3, 5, 6, 8, 9, 11]),
        (30, 29, [0, *range(2, 12)]),
        (30, 1, [0]),
        (12, 5, [0, 3, 5, 8, 10]),
        (59.94, 29.97, [0, 2, 4, 6, 8, 10]),
        (29.97, 9.99, [0, 3, 6, 9]),
    ],
)
def test_frames_by_hand(source_fps, target_fps, expected):
    assert kept(source_fps, target_fps, 12) == expected


@pytest.mark.parametrize("source_fps", RATES)
@pytest.mark.parametrize("target_fps", [None, *RATES])
def test_a_target_at_or_above_the_source_keeps_all(source_fps, target_fps):
    is_all = kept(source_fps, target_fps) == list(range(300))
    assert is_all is (target_fps is None or target_fps >= source_fps)


@pytest.mark.parametrize(
    ("source_fps", "target_fps"), [(source, target) for source in RATES for target in RATES if target < source]
)
def test_the_first_frame_of_each_interval_is_kept(source_fps, target_fps):
    # Exactly, from the rates as they are written down.
    ratio = Fraction(str(target_fps)) / Fraction(str(source_fps))
    intervals = [math.floor(i * ratio) for i in range(300)]
    expected = [i for i, interval in enumerate(intervals) if i == 0 or interval != intervals[i - 1]]
    assert kept(source_fps, target_fps) == expected


@given(st.integers(1, 240), st.integers(1, 240))
@example(240, 1)
@example(1, 240)
@example(240, 239)
def test_a_second_holds_as_many_frames_as_asked(source_fps, target_fps):
    assert len(kept(source_fps, target_fps, source_fps)) == min(source_fps, target_fps)
    assert len(kept(source_fps, target_fps, 7 * source_fps)) == 7 * min(source_fps, target_fps)


def test_no_drift_in_a_long_video():
    hour = 3600 * 60
    assert sum(is_frame_kept(i, 59.94, 29.97) for i in range(hour)) == hour // 2
    assert is_frame_kept(10_000_002, 30, 10)
    assert not is_frame_kept(10_000_001, 30, 10)


@pytest.mark.parametrize("rate", [0, -1.0, math.nan, math.inf, -math.inf])
def test_rates_that_are_none_are_refused(rate):
    for source_fps, target_fps in ((rate, 10), (30, rate), (rate, None)):
        with pytest.raises(ArgumentError, match=f"frame rate is {rate}, expected a finite number above 0"):
            is_frame_kept(0, source_fps, target_fps)


@pytest.mark.parametrize(
    ("height", "width", "short_side", "size", "expected"),
    [
        (240, 320, None, None, (240, 320)),
        (240, 320, 120, None, (120, 160)),
        (320, 240, 120, None, (160, 120)),
        (240, 320, 256, None, (256, 341)),
        (1080, 1920, 256, None, (256, 455)),
        (240, 240, 1, None, (1, 1)),
        (240, 320, 240, None, (240, 320)),
        (1, 1000, 1, None, (1, 1000)),
        (1000, 1, 2, None, (2000, 2)),
        (240, 320, None, (224, 224), (224, 224)),
        (240, 320, None, (1, 1), (1, 1)),
    ],
)
def test_sizes_by_hand(height, width, short_side, size, expected):
    assert scaled_size(height, width, short_side, size) == expected


@given(st.integers(1, 8192), st.integers(1, 8192), st.integers(1, 4096))
def test_the_short_side_is_as_asked_and_the_shape_is_kept(height, width, short_side):
    new_height, new_width = scaled_size(height, width, short_side, None)
    assert min(new_height, new_width) == short_side
    exact = Fraction(short_side * max(height, width), min(height, width))
    assert abs(max(new_height, new_width) - exact) <= Fraction(1, 2) + Fraction(1, 10**6)
    assert scaled_size(width, height, short_side, None) == (new_width, new_height)
