"""The constants of the Farneback kernel: filters, positions and weights for given sizes and parameters.

Everything here is computed once for a video, in NumPy; nothing reads a frame. The values are those that
OpenCV computes (``modules/video/src/optflowgf.cpp``, and ``cv::GaussianBlur`` and ``cv::resize`` that it
calls), float32 where it has float32. Never imports numba.
"""

import numpy as np
from numpy.typing import NDArray

from flowstore.estimators.arrays import Floats, Indices

SMALLEST_SIDE = 32
_FADE = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)


def level_scales(height: int, width: int, pyr_scale: float, levels: int) -> list[float]:
    """Scale of each pyramid level, finest (1) first.

    Notes
    -----
    A level is left out, and all coarser ones with it, when either side would be under 32 pixels.
    """
    scales = [1.0]
    while len(scales) <= levels:
        scale = scales[-1] * pyr_scale
        if width * scale < SMALLEST_SIDE or height * scale < SMALLEST_SIDE:
            break
        scales.append(scale)
    return scales


def reflect(index: Indices, size: int) -> Indices:
    """Fold positions outside ``[0, size)`` back inside without repeating the border pixel."""
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)


def blur_weights(scale: float) -> Floats:
    """Weights of the Gaussian that comes before a frame is reduced to `scale`; odd length, sum 1."""
    sigma = (1 / scale - 1) * 0.5
    size = max(round(sigma * 5) | 1, 3)
    if sigma <= 0:
        return np.array([0.25, 0.5, 0.25], np.float32)
    x = np.arange(size) - size // 2
    weights = np.exp(-x * x / (2 * sigma * sigma))
    return np.asarray((weights / weights.sum()).astype(np.float32))


def polynomial_taps(n: int, sigma: float) -> tuple[Floats, NDArray[np.float64]]:
    """Make the filters of the polynomial expansion over a window of ``2 * n + 1`` pixels.

    References
    ----------
    G. Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003, section 2.
    """
    x = np.arange(-n, n + 1)
    rough = np.exp(-x * x / (2 * sigma * sigma)).astype(np.float32).astype(np.float64)
    g = (rough * (1 / rough.sum())).astype(np.float32)
    # In OpenCV moments are sums in float64 of products in float32, multiplied from left to right.
    x32 = x.astype(np.float32)
    y32 = x32[:, None]
    weight = g[:, None] * g
    square = weight * x32 * x32
    m0, m2, m4, m22 = (
        product.sum(dtype=np.float64) for product in (weight, square, square * x32 * x32, square * y32 * y32)
    )
    moments = np.diag([m0, m2, m2, m4, m4, m22])
    moments[0, 3:5] = moments[3:5, 0] = m2
    moments[3, 4] = moments[4, 3] = m22
    inverse = np.linalg.inv(moments)
    taps = np.stack([g, x32 * g, x32 * x32 * g])[:, n:]
    picked = [inverse[1, 1], inverse[0, 3], inverse[3, 3], inverse[5, 5]]
    return taps.ravel(), np.array(picked)


def gaussian_window(m: int) -> Floats:
    """Right half of the Gaussian window over ``2 * m + 1`` products; float32, (m + 1,)."""
    x = np.arange(m + 1)
    weights = np.exp(-x * x / (2 * (m * 0.3) ** 2)).astype(np.float32).astype(np.float64)
    total = weights[0] + 2 * weights[1:].sum()
    return np.asarray((weights * (1 / total)).astype(np.float32))


def _near_border(size: int) -> NDArray[np.bool_]:
    # OpenCV compares as unsigned, which under ten pixels leaves out positions near a border. So does this.
    position = np.arange(size) - _FADE.size
    return (position % 2**32) >= ((size - 2 * _FADE.size) % 2**32)


def _fade_side(size: int) -> Floats:
    side = np.ones(size, np.float32)
    count = min(_FADE.size, size)
    side[:count] *= _FADE[:count]
    side[::-1][:count] *= _FADE[:count]
    return side


def fade_tables(height: int, width: int) -> tuple[Floats, Indices]:
    """Trust in the equations near the border, where the expansion had to invent pixels."""
    across, down = _fade_side(width), _fade_side(height)
    near_x, near_y = _near_border(width), _near_border(height)
    _, sample, row = np.unique(np.where(near_y, down, 2 + down), return_index=True, return_inverse=True)
    table = [np.where(near_x | near_y[y], down[y] * across, np.float32(1)) for y in sample]
    return np.stack(table).astype(np.float32), row.astype(np.int64)
