"""The color wheel against the published numbers and algorithm."""

import math

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstore.colour import automatic_scale_px, color_wheel, flow_to_color, plane_to_color, wheel_image
from flowstore.errors import ArgumentError

# The names and numbers of the published code (Baker et al. 2011, colorcode.cpp).
RY, YG, GC, CB, BM, MR = 15, 6, 4, 11, 13, 6


def published_wheel() -> list[tuple[int, int, int]]:
    """Return the 55 rows as `makecolorwheel` sets them, in its integer arithmetic."""
    rows = [(255, 255 * i // RY, 0) for i in range(RY)]
    rows += [(255 - 255 * i // YG, 255, 0) for i in range(YG)]
    rows += [(0, 255, 255 * i // GC) for i in range(GC)]
    rows += [(0, 255 - 255 * i // CB, 255) for i in range(CB)]
    rows += [(255 * i // BM, 0, 255) for i in range(BM)]
    rows += [(255, 0, 255 - 255 * i // MR) for i in range(MR)]
    return rows


def published_color(fx: float, fy: float) -> tuple[int, ...]:
    """Return the color of a flow of magnitude 1 at full scale, as `computeColor` computes it."""
    wheel = published_wheel()
    radius = math.hypot(fx, fy)
    angle = math.atan2(-fy, -fx) / math.pi
    position = (angle + 1.0) / 2.0 * (len(wheel) - 1)
    k0 = int(position)
    k1 = (k0 + 1) % len(wheel)
    f = position - k0
    channels = []
    for channel in range(3):
        color = (1 - f) * wheel[k0][channel] / 255 + f * wheel[k1][channel] / 255
        color = 1 - radius * (1 - color) if radius <= 1 else color * 0.75
        channels.append(255.0 * color)
    return tuple(channels)


def color_of(x: float, y: float, full_scale_px: float = 1.0) -> tuple[int, int, int]:
    return tuple(int(v) for v in flow_to_color(np.array([[[x]], [[y]]], np.float32), full_scale_px)[0, 0])


def test_the_wheel_is_the_published_one():
    wheel = color_wheel()
    assert wheel.shape == (55, 3)
    np.testing.assert_array_equal(wheel, published_wheel())


def test_the_corners():
    wheel = color_wheel()
    corners = {
        0: (255, 0, 0),
        15: (255, 255, 0),
        21: (0, 255, 0),
        25: (0, 255, 255),
        36: (0, 0, 255),
        49: (255, 0, 255),
    }
    for row, color in corners.items():
        assert tuple(wheel[row]) == color


def test_directions():
    # Image coordinates: y points down. The published picture: red right, yellow down, blue-green left, violet up.
    assert color_of(1, 0) == (255, 0, 0)
    red, green, blue = color_of(0, 1)
    assert (red, blue) == (255, 0)
    assert green > 200
    red, green, blue = color_of(-1, 0)
    assert (red, blue) == (0, 255)
    assert green > 150
    red, green, blue = color_of(0, -1)
    assert blue == 255
    assert green == 0
    assert 50 < red < 150


def test_no_motion_is_white_and_magnitude_is_saturation():
    assert color_of(0, 0) == (255, 255, 255)
    assert color_of(0.5, 0) == (255, 127, 127)
    assert color_of(4, 0, full_scale_px=8) == color_of(0.5, 0)
    # Beyond full scale colors are darker, as published.
    assert color_of(1.01, 0) == (191, 0, 0)
    assert color_of(100, 0) == (191, 0, 0)


@settings(deadline=None)
@given(st.floats(-1.5, 1.5, width=32), st.floats(-1.5, 1.5, width=32))
def test_any_flow_has_the_published_color(x, y):
    if abs(math.hypot(x, y) - 1) < 1e-5:
        return
    exact = published_color(x, y)
    for found, expected in zip(color_of(x, y), exact, strict=True):
        # The floor of a value on a whole number may fall to either side in single precision.
        assert math.floor(expected - 1e-3) <= found <= math.floor(expected + 1e-3)


def test_an_image_of_many_flows():
    flow = np.random.default_rng(0).normal(0, 5, (2, 7, 9)).astype(np.float32)
    image = flow_to_color(flow, 10.0)
    assert image.shape == (7, 9, 3)
    assert image.dtype == np.uint8
    for y in range(7):
        for x in range(9):
            assert tuple(image[y, x]) == color_of(flow[0, y, x], flow[1, y, x], 10.0)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan")])
def test_a_scale_that_is_none_is_refused(scale):
    with pytest.raises(ArgumentError, match="full scale is"):
        flow_to_color(np.zeros((2, 1, 1), np.float32), scale)


def test_the_legend():
    image = wheel_image(101)
    assert image.shape == (101, 101, 3)
    assert tuple(image[50, 50]) == (255, 255, 255)
    assert tuple(image[0, 0]) == tuple(image[-1, -1]) == (255, 255, 255)
    red, green, blue = (int(v) for v in image[50, 96])
    assert red == 255
    assert green < 40
    assert blue < 40


def test_a_plane_has_the_published_colors():
    # Matplotlib has ColorBrewer's scheme as a table of its own, with red first.
    reference = matplotlib.colormaps["RdBu_r"].resampled(2049)
    values = np.linspace(-1, 1, 2049, dtype=np.float32)
    found = plane_to_color(values[None] * 8, 8.0)[0].astype(int)
    assert np.abs(found - 255 * reference(np.arange(2049))[:, :3]).max() <= 1
    assert tuple(found[1024]) == (247, 247, 247)


def test_a_plane_beyond_full_scale_stays_at_its_ends():
    ends = plane_to_color(np.array([[-1e9, -2, 2, 1e9]], np.float32), 2.0)[0]
    assert tuple(ends[0]) == tuple(ends[1]) == (5, 48, 97)
    assert tuple(ends[2]) == tuple(ends[3]) == (103, 0, 31)
    with pytest.raises(ArgumentError, match="full scale is"):
        plane_to_color(np.zeros((1, 1), np.float32), 0.0)


@pytest.mark.parametrize(("p99", "scale"), [(0.0, 1.0), (12.345, 12.3), (0.00123456, 0.00123), (654.3, 654.0)])
def test_the_automatic_scale_is_what_can_be_stated(p99, scale):
    assert automatic_scale_px(p99) == scale
    assert float(f"{scale:g}") == scale
