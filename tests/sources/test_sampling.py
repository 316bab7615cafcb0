"""Which frames are taken, against exact arithmetic of rates."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.sources.sampling import Thinning, constant_rate, nearest_to_ticks, scaled_size

RATES = [
    Fraction(30),
    Fraction(25),
    Fraction(24),
    Fraction(60),
    Fraction(15),
    Fraction(10),
    Fraction(25, 2),
    Fraction(1),
    Fraction(1, 10),
    Fraction(7),
    Fraction(24000, 1001),
    Fraction(30000, 1001),
    Fraction(60000, 1001),
    Fraction(2997, 100),
    Fraction(5994, 100),
]


def taken(times, fps):
    return [index for _, index in nearest_to_ticks([(float(time), index) for index, time in enumerate(times)], fps)]


@pytest.mark.parametrize("source", RATES, ids=float)
def test_the_frame_nearest_to_each_tick_is_taken(source):
    for target in RATES:
        if target >= source:
            continue
        times = [5 + index / source for index in range(2000)]
        # In exact arithmetic: the nearest to tick k, the later of two that are as near.
        nearest = [math.floor(k * source / target + Fraction(1, 2)) for k in range(2000)]
        assert taken(times, float(target)) == [index for index in nearest if index < 2000], target


@pytest.mark.parametrize("source", RATES, ids=float)
def test_frames_of_a_constant_rate_have_one_when_thinned(source):
    for target in RATES:
        for n_frames in (2, 3, 2000):
            thinning = Thinning(float(target))
            numbers = list(thinning.take((index / float(source), index) for index in range(n_frames)))
            assert thinning.numbers == numbers
            assert thinning.clock(float(source), 0, 1 / float(source)) == (float(min(source, target)), []), target


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=60),
    st.sampled_from([Fraction(1), Fraction(7), Fraction(25, 2), Fraction(30)]),
)
def test_of_a_variable_rate_the_nearest_frames_are_taken_once(gaps_ms, target):
    times = [Fraction(sum(gaps_ms[:index]), 1000) for index in range(len(gaps_ms) + 1)]
    end = times[-1] + (times[-1] - times[-2]) / 2
    nearest, tick = set(), Fraction(0)
    while tick < end:
        # The later of two that are as near.
        nearest.add(min(range(len(times)), key=lambda index: (abs(times[index] - tick), -index)))
        tick += 1 / target
    assert taken(times, float(target)) == sorted(nearest)


def test_a_higher_rate_takes_every_frame():
    for target in (25.0, 25.000001, 1000.0):
        assert taken([index / 25 for index in range(100)], target) == list(range(100))
    assert taken([0.3], 1e-6) == [0]
    assert taken([], 10.0) == []
    assert taken([index / 30 for index in range(1000)], 1e-6) == [0]


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_rates_that_mean_nothing_are_refused(rate):
    with pytest.raises(ArgumentError, match=f"frame rate is {rate}, expected a finite number above 0"):
        taken([0, 1], rate)


def test_a_rate_is_constant_where_every_time_bears_it_out():
    milliseconds = [round(1000 * index / 30) / 1000 for index in range(1000)]
    assert constant_rate(milliseconds, 30.0, 0.001) == 30.0
    # A header that is wrong by a little is seen in the end; the times tell the rate.
    for claimed in (29.97, 1000.0, None):
        assert constant_rate(milliseconds, claimed, 0.001) == pytest.approx(30, abs=1e-3)
    assert constant_rate([*milliseconds[:500], *milliseconds[501:]], 30.0, 0.001) is None
    assert constant_rate([7.0], 30.0, 0.001) == 30.0
    assert constant_rate([], None, 0.001) is None


@pytest.mark.parametrize(
    ("height", "width", "short_side", "size", "expected"),
    [
        (240, 320, None, None, (240, 320)),
        (240, 320, 120, None, (120, 160)),
        (320, 240, 120, None, (160, 120)),
        (240, 320, 480, None, (480, 640)),
        (240, 427, 256, None, (256, 455)),  # 455.47
        (1080, 1920, 1, None, (1, 2)),  # 1.78
        (1, 1000, 1, None, (1, 1000)),
        (1000, 1, 3, None, (3000, 3)),
        (240, 320, None, (17, 19), (17, 19)),
    ],
)
def test_scaled_size(height, width, short_side, size, expected):
    assert scaled_size(height, width, short_side, size) == expected


def test_the_shorter_side_is_exact_and_the_other_nearest():
    for height in range(90, 700, 37):
        for width in range(100, 900, 41):
            for short_side in (64, 100, 224, 256, 341):
                scaled = scaled_size(height, width, short_side, None)
                assert min(scaled) == short_side
                exact = Fraction(max(height, width) * short_side, min(height, width))
                assert abs(max(scaled) - exact) <= Fraction(1, 2)
