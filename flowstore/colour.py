"""Flow as color: the Middlebury wheel. Pure.

References
----------
Baker et al., "A Database and Evaluation Methodology for Optical Flow", IJCV 2011; the color code that comes with the
Middlebury evaluation (``colorcode.cpp``): hue is direction, saturation is magnitude.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError

Image = npt.NDArray[np.uint8]

# Steps from one corner color to the next: red to yellow to green to cyan to blue to magenta to red.
_TRANSITIONS = (15, 6, 4, 11, 13, 6)
_CORNERS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 255, 255), (0, 0, 255), (255, 0, 255))


def color_wheel() -> npt.NDArray[np.float64]:
    """Return the wheel's colors.

    Returns
    -------
    float64 array (55, 3)
        Red, green, blue, 0 to 255, by direction; the six corner colors stand at 0, 15, 21, 25, 36 and 49.

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
    if not full_scale_px > 0:
        raise ArgumentError(f"full scale is {full_scale_px} px, expected above 0")
    wheel = color_wheel() / 255
    radius = np.hypot(flow[0], flow[1])[..., None] / full_scale_px
    position = (np.arctan2(-flow[1], -flow[0]) / np.pi + 1) / 2 * (len(wheel) - 1)
    lower = np.floor(position).astype(np.intp)
    weight = (position - lower)[..., None]
    color = (1 - weight) * wheel[lower] + weight * wheel[(lower + 1) % len(wheel)]
    color = np.where(radius <= 1, 1 - radius * (1 - color), color * 0.75)
    return np.floor(255 * color).astype(np.uint8)


def wheel_image(size: int) -> Image:
    """Return a picture of the wheel, for a legend.

    Parameters
    ----------
    size : int
        Side in pixels.

    Returns
    -------
    uint8 array (size, size, 3)
        The color at a point is that of the flow from the center to it; white outside the circle.
    """
    axis = np.linspace(-1.05, 1.05, size, dtype=np.float32)
    flow = np.stack(np.meshgrid(axis, axis))
    image = flow_to_color(flow, 1.0)
    image[np.hypot(flow[0], flow[1]) > 1] = 255
    return image
