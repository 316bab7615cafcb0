"""Arrows, legends and pages: where ink stands, and what it stands for."""

import numpy as np
import pytest

from flowstore.colour import flow_to_color, plane_to_color
from flowstore.render import drawing
from flowstore.render.text import LINE_HEIGHT


def white_ink(image):
    """Places of the arrows' white cores on a dark image: rows and columns."""
    return np.argwhere((image > 200).all(axis=-1))


def test_arrows_begin_at_their_pixel_and_point_along_the_flow():
    flow = np.zeros((2, 180, 180), np.float32)
    flow[0] = 4.0
    plain = np.full((180, 180, 3), 90, np.uint8)
    right = drawing.draw_arrows(plain, flow, 4.0)
    down = drawing.draw_arrows(plain, flow[::-1], 4.0)
    assert (plain == 90).all()
    # 10 arrows a side, 18 pixels apart, the first at 9, each 1.25 spacings long.
    for across, along in (white_ink(right).T, white_ink(down)[:, ::-1].T):
        assert set(across) >= set(range(9, 180, 18))
        # What begins at 9 begins there, what begins at 171 ends beyond the border.
        assert along.min() == pytest.approx(9, abs=1)
        assert along.max() == 179


def test_the_length_is_that_of_the_legend():
    flow = np.zeros((2, 12, 12), np.float32)
    flow[0, 5, 5] = 3.0
    panel = drawing.draw_arrows(np.full((240, 240, 3), 90, np.uint8), flow, 3.0)
    spacing = drawing.arrow_spacing(240, 240, 12)
    # An arrow a pixel of flow.
    assert spacing == 20
    row = np.flatnonzero((panel[110] > 200).all(axis=-1))
    in_row = row[(row > 105) & (row < 145)]
    legend = drawing.arrow_legend(spacing, ["= 3 px"])
    core = np.flatnonzero((legend[12] > 225).all(axis=-1) & (np.arange(legend.shape[1]) < 60))
    assert np.ptp(in_row) == pytest.approx(1.25 * 20, abs=2)
    assert np.ptp(core) == pytest.approx(1.25 * 20, abs=2)


def test_no_motion_is_a_dot():
    still = drawing.draw_arrows(np.full((90, 90, 3), 90, np.uint8), np.zeros((2, 90, 90), np.float32), 1.0)
    ink = (still != 90).any(axis=-1)
    assert 0 < ink.sum() < 90 * 90 * 0.1
    # Dark all over, and darkest in its middle: a light core would make a ring of it.
    assert still.max() == 90
    assert still[7, 7].max() < 20


def test_huge_flow_does_not_overflow():
    flow = np.full((2, 9, 9), 65504, np.float32)
    drawing.draw_arrows(np.zeros((90, 90, 3), np.uint8), flow, 0.001)
    drawing.draw_arrows(np.zeros((90, 90, 3), np.uint8), -flow, 0.001)


def test_the_wheel_of_the_legend_has_its_colors():
    legend = drawing.wheel_legend(["rim: 3 px"])
    center = 97 // 2
    assert tuple(legend[center, center]) == (255, 255, 255)
    expected = flow_to_color(np.array([[[0.9]], [[0.0]]], np.float32), 1.0)[0, 0].astype(int)
    found = legend[center, center + round(0.9 / 1.05 * center)].astype(int)
    assert np.abs(found - expected).max() <= 12


def test_the_bar_goes_from_its_scale_down_to_the_negative():
    legend = drawing.bar_legend(3.0, ["px"])
    top = LINE_HEIGHT // 2
    ends = [tuple(legend[row, 8]) for row in (top + 1, top + 60, top + 119)]
    expected = plane_to_color(np.array([[3 - 0.05, 0, -3 + 0.05]], np.float32), 3.0)[0]
    for found, color in zip(ends, expected, strict=True):
        assert np.abs(np.array(found, int) - color).max() <= 3


def test_a_page_keeps_what_it_is_given():
    panel = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    legend = np.random.default_rng(1).integers(0, 256, (50, 33, 3), np.uint8)
    page = drawing.Page("a title", 30, 41, 2, legend, "status", "a long caption")
    blank = page.blank()
    image = page.draw(blank, [panel, panel[::-1]], ["left", "right"], "status")
    assert image.shape == (page.height, page.width, 3)
    assert page.height % 2 == page.width % 2 == 0
    for part in (panel, panel[::-1], legend):
        windows = np.lib.stride_tricks.sliding_window_view(image, part.shape)[:, :, 0]
        assert (windows == part).all(axis=(2, 3, 4)).sum() == 1
    # The blank page is as it was.
    np.testing.assert_array_equal(blank, page.blank())
    # A white border on every side: nothing is cut.
    for edge in (image[:5], image[-5:], image[:, :5], image[:, -5:]):
        assert (edge == 255).all()


@pytest.mark.parametrize("title", ["x" * 400, "Fencing_[HD] " * 20, "é" * 30])
def test_a_long_title_takes_more_lines(title):
    page = drawing.Page(title, 20, 20, 1, np.zeros((10, 10, 3), np.uint8))
    blank = page.blank()
    assert (blank[:, -8:] == 255).all()
    assert page.height > 20 + 3 * LINE_HEIGHT
