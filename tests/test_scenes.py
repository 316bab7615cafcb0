"""Scenes: the stated flow is the one that the frames show, by OpenCV's own remapping and by geometry."""

import cv2
import numpy as np
import pytest

from flowstore.errors import ArgumentError
from flowstore.scenes import MOTIONS, Scene, Street

HEIGHT, WIDTH, MARGIN = 60, 80, 10


def warp_back(frame, flow):
    """Return, at each point, what stands where the flow leads to in a later frame."""
    y, x = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(np.float32)
    return cv2.remap(frame, x + flow[0], y + flow[1], cv2.INTER_LINEAR)


@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("motion", MOTIONS)
def test_the_flow_leads_from_frame_to_frame(motion, step):
    scene = Scene(motion, HEIGHT, WIDTH, speed=1.5, seed=3)
    frames = list(scene.frames(8))
    flow = scene.flow(step)
    assert flow.shape == (2, HEIGHT, WIDTH)
    assert flow.dtype == np.float32
    inner = np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    for first, second in zip(frames, frames[step:], strict=False):
        assert first.shape == (HEIGHT, WIDTH, 3)
        assert first.dtype == np.uint8
        difference = np.abs(warp_back(second, flow)[inner].astype(int) - first[inner].astype(int))
        # Two bilinear samplings and two roundings lie between.
        assert difference.mean() < 1.5
        assert np.percentile(difference, 99) <= 8
        if motion != "still":
            unmoved = np.abs(second[inner].astype(int) - first[inner].astype(int))
            assert unmoved.mean() > 4 * difference.mean()


def same_surface(flow, reach):
    """Return the points around which nothing moves otherwise, so that no edge of a figure passes over them."""
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    spread = [cv2.dilate(component, kernel) - cv2.erode(component, kernel) for component in flow]
    return np.maximum(*spread) < 0.02 * (2 * reach + 1) * max(1.0, float(np.abs(flow).max()))


@pytest.mark.parametrize(("first", "step"), [(0, 1), (9, 1), (4, 3)])
def test_the_flow_of_a_street_leads_from_frame_to_frame(first, step):
    street = Street(180, 240, speed=1.6, seed=5)
    frames = list(street.frames(first + step + 1))
    flow = street.flow(step, first)
    assert (flow.shape, flow.dtype) == ((2, 180, 240), np.float32)
    seen, later = frames[first].astype(int), warp_back(frames[first + step], flow).astype(int)
    chosen = same_surface(flow, 4 * step)
    chosen[:MARGIN], chosen[-MARGIN:], chosen[:, :MARGIN], chosen[:, -MARGIN:] = (False,) * 4
    assert chosen.mean() > 0.3
    difference = np.abs(later - seen)[chosen]
    # Edges are a unit wide, so that bilinear sampling blurs them.
    assert difference.mean() < 3
    unmoved = np.abs(frames[first + step].astype(int) - seen)[chosen]
    assert unmoved.mean() > 4 * difference.mean()


def test_what_moves_on_the_street():
    street = Street(120, 160, speed=2.0)
    flow = street.flow(first=6)
    # A unit is a pixel here and the origin is the middle; the car has gone 6 times 1.2 px to the right.
    places = {"road": (50, 40), "balloon": (-36, -4), "car": (-22.8, 38), "hub": (-36.8, 44), "tread": (-36.8, 51)}
    found = {name: flow[:, round(y + 59.5), round(x + 79.5)] for name, (x, y) in places.items()}
    np.testing.assert_allclose(found["road"], [-0.8, 0], atol=1e-6)
    np.testing.assert_allclose(found["balloon"], [0.3, -1.0], atol=1e-6)
    np.testing.assert_allclose(found["car"], [1.2, 0], atol=1e-6)
    # Wheels roll: the hub goes with the car, and what touches the road goes with the road.
    np.testing.assert_allclose(found["hub"], [1.2, 0], atol=0.3)
    np.testing.assert_allclose(found["tread"], [-0.8, 0], atol=0.3)


def test_a_street_of_twice_the_size_moves_twice_as_far():
    small, large = Street(60, 80, speed=2.0).flow(), Street(120, 160, speed=2.0).flow()
    np.testing.assert_allclose(2 * small[:, 55, 2], large[:, 110, 4], rtol=1e-6)
    assert [frame.shape for frame in Street(60, 80).frames(2)] == [(60, 80, 3)] * 2


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_landscape_moves_as_a_texture_does(motion):
    scene = Scene(motion, 120, 160, speed=1.5, seed=3, view="landscape")
    np.testing.assert_array_equal(scene.flow(2), Scene(motion, 120, 160, speed=1.5).flow(2))
    frames, inner = list(scene.frames(5)), np.s_[MARGIN:-MARGIN, MARGIN:-MARGIN]
    difference = np.abs(warp_back(frames[3], scene.flow(2))[inner].astype(int) - frames[1][inner].astype(int))
    assert np.median(difference) <= 2
    assert difference.mean() < 4
    if motion != "still":
        assert np.abs(frames[3][inner].astype(int) - frames[1][inner].astype(int)).mean() > 3 * difference.mean()


def test_translations_are_exact():
    np.testing.assert_allclose(Scene("right", 20, 30, speed=2.5).flow(2)[0], 5.0, atol=1e-6)
    np.testing.assert_array_equal(Scene("right", 20, 30, speed=2.5).flow()[1], 0)
    np.testing.assert_allclose(Scene("down", 20, 30, speed=2.5).flow()[1], 2.5, atol=1e-6)
    np.testing.assert_array_equal(Scene("down", 20, 30, speed=2.5).flow()[0], 0)


def test_whole_pixel_translations_move_whole_pixels():
    frames = list(Scene("right", 20, 30, speed=2.0).frames(3))
    np.testing.assert_array_equal(frames[1][:, 2:], frames[0][:, :-2])
    frames = list(Scene("down", 20, 30, speed=3.0).frames(3))
    np.testing.assert_array_equal(frames[2][3:], frames[1][:-3])


def test_still_is_exactly_still():
    assert not Scene("still", 20, 30).flow().any()
    first, *others = Scene("still", 20, 30).frames(4)
    for frame in others:
        np.testing.assert_array_equal(frame, first)


def test_a_rotation_is_clockwise_on_the_screen_and_keeps_distances():
    flow = Scene("rotate", 61, 81, speed=1.0).flow()
    # Right of the center points go down, above it they go right.
    assert flow[1, 30, 80] > 0
    assert flow[0, 0, 40] > 0
    np.testing.assert_allclose(flow[:, 30, 40], 0, atol=1e-6)
    y, x = np.mgrid[:61, :81]
    x, y = x - 40.0, y - 30.0
    np.testing.assert_allclose(np.hypot(x + flow[0], y + flow[1]), np.hypot(x, y), atol=1e-4)
    # The chord of a turn by speed/radius at the middle of the longer sides, 30 px from the center.
    assert np.hypot(*flow[:, 0, 40]) == pytest.approx(2 * 30 * np.sin(1.0 / 30.5 / 2), rel=1e-4)


def test_a_zoom_points_away_from_the_center():
    flow = Scene("zoom", 61, 81, speed=1.0).flow()
    np.testing.assert_allclose(flow[:, 30, 40], 0, atol=1e-6)
    assert flow[0, 30, 80] > 0 > flow[0, 30, 0]
    assert flow[1, 60, 40] > 0 > flow[1, 0, 40]
    y, x = np.mgrid[:61, :81]
    np.testing.assert_allclose(flow[0] * (y - 30), flow[1] * (x - 40), atol=1e-3)
    assert flow[1, 60, 40] == pytest.approx(30 * (np.exp(1.0 / 30.5) - 1), rel=1e-4)


def test_frames_are_the_same_every_time_and_differ_by_seed():
    one, again, other = (list(Scene("zoom", 20, 30, seed=seed).frames(2)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert (one[0] != other[0]).any()


def test_an_unknown_motion_is_refused():
    with pytest.raises(ArgumentError, match="motion is 'left', expected one of right, down, rotate, zoom, still"):
        Scene("left")
    with pytest.raises(ArgumentError, match="view is 'sea', expected one of texture, landscape"):
        Scene("right", view="sea")
