"""Which frames are taken, against exact arithmetic of rates."""

import math
from fractions import Fraction

import pytest

from flowstore.errors import ArgumentError
from flowstore.sources.sampling import is_frame_kept, scaled_size

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


@pytest.mark.parametrize("source", RATES, ids=float)
def test_the_first_frame_of_each_interval_is_kept(source):
    for target in RATES:
        if target >= source:
            continue
        # Frame i stands at i/source seconds, in the interval number floor(i·target/source).
        intervals = [math.floor(i * target / source) for i in range(3000)]
        expected = [i for i, number in enumerate(intervals) if i == 0 or number != intervals[i - 1]]
        assert [i for i in range(3000) if is_frame_kept(i, float(source), float(target))] == expected, target


@pytest.mark.parametrize(("source", "target"), [(30, 29.97), (29.97, 10), (59.94, 29.97), (25, 0.04)])
def test_no_interval_is_lost_far_into_a_video(source, target):
    ratio = Fraction(str(target)) / Fraction(str(source))
    start = 10**6
    for i in range(start, start + 2000):
        expected = math.floor(i * ratio) != math.floor((i - 1) * ratio)
        assert is_frame_kept(i, source, target) is expected


@pytest.mark.parametrize("target", [None, 25.0, 25.000001, 1000.0])
def test_every_frame_is_kept_without_a_lower_rate(target):
    assert all(is_frame_kept(i, 25.0, target) for i in range(100))


def test_frame_0_is_always_kept():
    assert is_frame_kept(0, 30, 1e-6)
    assert not any(is_frame_kept(i, 30, 1e-6) for i in range(1, 1000))


@pytest.mark.parametrize("rate", [0, -1, math.nan, math.inf])
def test_rates_that_mean_nothing_are_refused(rate):
    for source, target in ((30, rate), (rate, 10), (rate, None)):
        with pytest.raises(ArgumentError, match=f"frame rate is {rate}, expected a finite number above 0"):
            is_frame_kept(5, source, target)


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
