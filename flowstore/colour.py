"""Flow as color: the Middlebury wheel for vectors, blue to red for one component. Pure.

References
----------
Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011; the color code that comes with the
Middlebury evaluation (``colorcode.cpp``): hue is direction, saturation is magnitude.

Brewer, "ColorBrewer 2.0", the diverging scheme RdBu of 11 classes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError

Image = npt.NDArray[np.uint8]

# Steps from one corner color to the next: red to yellow to green to cyan to blue to magenta to red.
_TRANSITIONS = (15, 6, 4, 11, 13, 6)
_CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))

# From the most negative to the most positive.
_BLUE_TO_RED = np.array(
    [
        (5, 48, 97),
        (33, 102, 172),
        (67, 147, 195),
        (146, 197, 222),
        (209, 229, 240),
        (247, 247, 247),
        (253, 219, 199),
        (244, 165, 130),
        (214, 96, 77),
        (178, 24, 43),
        (103, 0, 31),
    ],
    float,
)


def color_wheel() -> npt.NDArray[np.float64]:
    """Return the wheel's colors by direction: float64 array (55, 3), red, green, blue, 0 to 255.

    Examples
    --------
    >>> color_wheel()[[0, 15, 25]]
    array([[255.,   0.,   0.],
           [255., 255.,   0.],
           [  0., 255., 255.]])
    """
    parts = []
    for number, steps in enumerate(_TRANSITIONS):
        start = np.array(_CORNERS[number], float)
        end = np.array(_CORNERS[(number + 1) % len(_CORNERS)], float)
        # A rising channel is rounded down and a falling one up, as the reference does.
        ramp = np.floor(255 * np.arange(steps) / steps)[:, None] / 255
        parts.append(start + (end - start) * ramp)
    return np.concatenate(parts)


def flow_to_color(flow: npt.NDArray[np.float32], full_scale_px: float) -> Image:
    """Return flow as colors.

    Parameters
    ----------
    flow : float32 array (2, H, W)
        Components x and y in pixels.
    full_scale_px : float
        Magnitude of full saturation, above 0; larger ones are shown darker.

    Returns
    -------
    uint8 array (H, W, 3)
        Red, green, blue; no motion is white.

    Raises
    ------
    ArgumentError
        If the scale is not above 0.

    Examples
    --------
    >>> flow_to_color(np.zeros((2, 1, 1), np.float32), 10.0)
    array([[[255, 255, 255]]], dtype=uint8)
    """
    check_scale(full_scale_px)
    wheel = color_wheel() / 255
    radius = np.hypot(flow[0], flow[1])[..., None] / full_scale_px
    position = (np.arctan2(-flow[1], -flow[0]) / np.pi + 1) / 2 * (len(wheel) - 1)
    lower = np.floor(position).astype(np.intp)
    weight = (position - lower)[..., None]
    color = (1 - weight) * wheel[lower] + weight * wheel[(lower + 1) % len(wheel)]
    color = np.where(radius <= 1, 1 - radius * (1 - color), color * 0.75)
    return np.floor(255 * color).astype(np.uint8)


def wheel_image(size: int) -> Image:
    """Return a picture of the wheel, for a legend: uint8 array (size, size, 3).

    The color at a point is that of the flow from the center to it; white outside the circle.
    """
    axis = np.linspace(-1.05, 1.05, size, dtype=np.float32)
    flow = np.stack(np.meshgrid(axis, axis))
    image = flow_to_color(flow, 1.0)
    image[np.hypot(flow[0], flow[1]) > 1] = 255
    return image


def plane_to_color(plane: npt.NDArray[np.float32], full_scale_px: float) -> Image:
    """Return one component of flow (H, W), in pixels, as colors: uint8 array (H, W, 3).

    Blue is negative, near white is zero, red is positive; what exceeds the full scale is shown like it.

    Examples
    --------
    >>> plane_to_color(np.array([[-9, 0, 3]], np.float32), 3.0)
    array([[[  5,  48,  97],
            [247, 247, 247],
            [103,   0,  31]]], dtype=uint8)
    """
    check_scale(full_scale_px)
    stops = len(_BLUE_TO_RED) - 1
    position = (np.clip(plane / full_scale_px, -1, 1) + 1) / 2 * stops
    channels = [np.interp(position, np.arange(stops + 1), channel) for channel in _BLUE_TO_RED.T]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def flow_scale_px(flow: npt.NDArray[np.float32]) -> float:
    """Return the full scale of a picture of flow (2, H, W): the 95th percentile of its magnitudes, to three digits.

    Examples
    --------
    >>> flow_scale_px(np.full((2, 3, 4), 1.5, np.float32))
    2.12
    """
    return automatic_scale_px(float(np.percentile(np.hypot(flow[0], flow[1]), 95)))


def automatic_scale_px(p99_magnitude_px: float) -> float:
    """Return the full scale of a film: the 99th percentile of its magnitudes to three digits; 1 where nothing moves.

    Examples
    --------
    >>> automatic_scale_px(4.12345), automatic_scale_px(0.0)
    (4.12, 1.0)
    """
    return float(f"{p99_magnitude_px:.3g}") if p99_magnitude_px > 0 else 1.0


def check_scale(full_scale_px: float) -> None:
    """Raise unless a full scale is a finite number above 0."""
    if not 0 < full_scale_px < float("inf"):
        raise ArgumentError(f"full scale is {full_scale_px} px, expected above 0")
