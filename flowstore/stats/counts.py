"""Counting motion: histograms, sums and shares over many flows, which add up in any order. Pure.

Stored uint8 codes are counted as pairs, a flow's 65 536 possible ones; every figure follows from these counts through
tables, exactly. Stored float16 is counted pixel by pixel.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError
from flowstore.quantize.quantizer import Codes, Quantizer, check_bound

# Sectors of 15°: 45° is the middle of one, and no edge is an angle that two rational components can have.
N_ANGLES = 24
# Percentiles are read from finer bins than are shown.
FINE = 16
_N_BINS_WANTED = 120
_N_CODES = 256


@dataclass(frozen=True)
class CountRules:
    """What is counted.

    Parameters
    ----------
    quantizer : Quantizer
        Of the store.
    bin_px : float
        Width of the bins of magnitude, in pixels.
    n_bins : int
        Their number; one more, without an upper end, takes what lies above.
    moving_px : float
        Magnitude from which on a pixel counts as moving; only then its angle is counted.
    bounds_px : tuple of float
        Bounds to count what lies beyond.
    error_px : float, optional
        Largest distance of a code's pixels from the flow it stands for; half a step by default.

    Raises
    ------
    ArgumentError
        If a number cannot be used.
    """

    quantizer: Quantizer
    bin_px: float
    n_bins: int
    moving_px: float
    bounds_px: tuple[float, ...]
    error_px: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.moving_px) and self.moving_px > 0):
            raise ArgumentError(f"moving is {self.moving_px:g} px, expected a finite number above 0, such as 0.5")
        for bound_px in self.bounds_px:
            check_bound(bound_px)

    @property
    def edges_px(self) -> npt.NDArray[np.float64]:
        """Lower ends of the bins of magnitude, float64 (n_bins + 1,), in pixels."""
        return self.bin_px * np.arange(self.n_bins + 1, dtype=np.float64)


def choose_bins(limit_px: float) -> tuple[float, int]:
    """Return width and number of bins for magnitudes up to a limit.

    Examples
    --------
    >>> choose_bins(28.3)
    (0.25, 114)
    """
    if not limit_px > 0:
        return 1.0, 1
    exponent = math.floor(math.log10(limit_px / _N_BINS_WANTED))
    widths = [digits * 10.0**power for power in (exponent, exponent + 1) for digits in (1, 2, 2.5, 5)]
    width = min(widths, key=lambda width: abs(math.log(limit_px / _N_BINS_WANTED / width)))
    return width, math.ceil(limit_px / width)


@dataclass
class MotionCounts:
    """What was counted of some flows. Counts of other flows, by the same rules, are added with `add`.

    Parameters
    ----------
    n_flows, n_pixels : int
        Flows, and pixels of them all.
    magnitudes : int64 array (FINE·n_bins + 1,)
        Pixels by magnitude, in bins `FINE` times as fine as those of the rules; the last takes what lies above.
    angles : int64 array (N_ANGLES,)
        Moving pixels by direction; the first sector lies around 0 (right), and angles grow clockwise on the screen.
    n_moving : int
        Moving pixels.
    magnitude_sum, magnitude_max : float
        Over pixels, in pixels.
    sums, squares : array (2,)
        Of the stored numbers of x and y and of their squares: int64 for codes, float64 for float16.
    beyond : int64 array (n_bounds, 2)
        Values of both components beyond each bound: surely, and at most (a code stands for a step).
    """

    n_flows: int
    n_pixels: int
    magnitudes: npt.NDArray[np.int64]
    angles: npt.NDArray[np.int64]
    n_moving: int
    magnitude_sum: float
    magnitude_max: float
    sums: npt.NDArray[Any]
    squares: npt.NDArray[Any]
    beyond: npt.NDArray[np.int64]

    @classmethod
    def empty(cls, rules: CountRules) -> MotionCounts:
        """Return the counts of no flow."""
        number = np.int64 if rules.quantizer.bound_px is not None else np.float64
        return cls(
            0,
            0,
            np.zeros(FINE * rules.n_bins + 1, np.int64),
            np.zeros(N_ANGLES, np.int64),
            0,
            0.0,
            0.0,
            np.zeros(2, number),
            np.zeros(2, number),
            np.zeros((len(rules.bounds_px), 2), np.int64),
        )

    def add(self, other: MotionCounts) -> None:
        """Add the counts of other flows."""
        self.n_flows += other.n_flows
        self.n_pixels += other.n_pixels
        self.magnitudes += other.magnitudes
        self.angles += other.angles
        self.n_moving += other.n_moving
        self.magnitude_sum += other.magnitude_sum
        self.magnitude_max = max(self.magnitude_max, other.magnitude_max)
        self.sums += other.sums
        self.squares += other.squares
        self.beyond += other.beyond

    @property
    def histogram(self) -> npt.NDArray[np.int64]:
        """Pixels by magnitude in the bins of the rules, int64 (n_bins + 1,); the last bin has no upper end."""
        return np.append(self.magnitudes[:-1].reshape(-1, FINE).sum(1), self.magnitudes[-1])

    def percentile_px(self, share: float, rules: CountRules) -> float:
        """Return the magnitude below which a share of the pixels lies, to a `FINE`-th of a bin."""
        if not self.n_pixels:
            return math.nan
        number = int(np.searchsorted(np.cumsum(self.magnitudes), share * self.n_pixels))
        is_open = number >= len(self.magnitudes) - 1
        return self.magnitude_max if is_open else min((number + 1) * rules.bin_px / FINE, self.magnitude_max)

    def moments(self) -> tuple[list[float], list[float]]:
        """Return mean and standard deviation of the stored numbers of x and y, over all pixels; nan of no pixel."""
        if not self.n_pixels:
            return [math.nan] * 2, [math.nan] * 2
        n = self.n_pixels
        pairs = list(zip(self.sums.tolist(), self.squares.tolist(), strict=True))
        # Of whole numbers Python's arithmetic is exact up to the last division.
        variances = [(n * square - total * total) / (n * n) for total, square in pairs]
        return [total / n for total, _ in pairs], [math.sqrt(max(0.0, variance)) for variance in variances]


def count_flows(
    codes: Codes, rules: CountRules, joint: npt.NDArray[np.int64], counts: MotionCounts, is_compiled: bool = False
) -> None:
    """Count flows: codes into `joint`, from which `count_joint` makes counts, and float16 into `counts`.

    `codes`: uint8 or float16 array (n, 2, H, W), as stored. `joint`: int64 array (65536,), pixels by ``256·code
    of y + code of x``; added to.
    """
    counts.n_flows += len(codes)
    counts.n_pixels += codes[:, 0].size
    if is_compiled and codes.dtype == np.uint8:
        # Numba is loaded by those who chose it only.
        from flowstore.stats.kernels import count_pairs

        count_pairs(np.ascontiguousarray(codes).reshape(len(codes), 2, -1), joint)
        return
    for x, y in codes:
        if codes.dtype == np.uint8:
            pairs = y.astype(np.uint16)
            pairs <<= 8
            pairs |= x
            joint += np.bincount(pairs.ravel(), minlength=_N_CODES**2)
        else:
            _count_pixels(x.ravel().astype(np.float64), y.ravel().astype(np.float64), rules, counts)


def count_joint(joint: npt.NDArray[np.int64], rules: CountRules, counts: MotionCounts) -> None:
    """Add what follows from the counts of pairs of codes.

    `joint`: int64 array (65536,), pixels by ``256·code of y + code of x``.
    """
    tables = _code_tables(rules)
    counts.magnitudes += _weighted_count(tables.magnitude_bins, joint, len(counts.magnitudes))
    moving = _weighted_count(tables.angle_bins, joint, N_ANGLES + 1)[:N_ANGLES]
    counts.angles += moving
    counts.n_moving += int(moving.sum())
    # Not a dot product, for which NumPy's library takes threads that a worker does not have.
    counts.magnitude_sum += float((joint * tables.magnitudes).sum())
    counts.magnitude_max = max(counts.magnitude_max, float(tables.magnitudes[joint > 0].max(initial=0.0)))
    square = joint.reshape(_N_CODES, _N_CODES)
    by_code = np.stack([square.sum(0), square.sum(1)])
    numbers = np.arange(_N_CODES)
    counts.sums += by_code @ numbers
    counts.squares += by_code @ numbers**2
    counts.beyond += (tables.beyond @ by_code.sum(0)).reshape(-1, 2)


def _weighted_count(bins: npt.NDArray[np.int32], joint: npt.NDArray[np.int64], n_bins: int) -> npt.NDArray[np.int64]:
    # Weights are float64, in which counts below 2⁵³ are exact.
    return np.bincount(bins, joint, n_bins).astype(np.int64)


@dataclass(frozen=True)
class _CodeTables:
    """What a pair of codes, or a code, stands for."""

    magnitudes: npt.NDArray[np.float64]
    magnitude_bins: npt.NDArray[np.int32]
    angle_bins: npt.NDArray[np.int32]
    beyond: npt.NDArray[np.int64]


@functools.lru_cache(maxsize=4)
def _code_tables(rules: CountRules) -> _CodeTables:
    pixels = rules.quantizer.decode_table.astype(np.float64)
    y, x = (plane.ravel() for plane in np.meshgrid(pixels, pixels, indexing="ij"))
    magnitudes = np.sqrt(x * x + y * y)
    angles = np.where(magnitudes >= rules.moving_px, _angle_bins(x, y), N_ANGLES)
    # A code stands for what lies within its error around its pixels; the outermost ones for all beyond, too.
    error = rules.quantizer.scale / 2 if rules.error_px is None else rules.error_px
    bounds = np.array(rules.bounds_px).reshape(-1, 1)
    surely, perhaps = np.abs(pixels) - error >= bounds, np.abs(pixels) + error > bounds
    return _CodeTables(
        magnitudes,
        _magnitude_bins(magnitudes, rules).astype(np.int32),
        angles.astype(np.int32),
        np.stack([surely, perhaps], axis=1).reshape(-1, _N_CODES).astype(np.int64),
    )


def _magnitude_bins(magnitudes: npt.NDArray[np.float64], rules: CountRules) -> npt.NDArray[np.int64]:
    """Return the fine bin of each magnitude."""
    width, last = rules.bin_px / FINE, FINE * rules.n_bins
    bins = np.minimum(magnitudes / width, last).astype(np.int64)
    # The quotient is rounded: what lies at an edge may have fallen on its wrong side.
    bins -= magnitudes < width * bins
    bins += (magnitudes >= width * (bins + 1)) & (bins < last)
    return bins


def _angle_bins(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Return the sector of each direction."""
    sectors = np.rint(np.arctan2(y, x) * (N_ANGLES / (2 * np.pi))).astype(np.int64)
    sectors[sectors < 0] += N_ANGLES
    return sectors


def _count_pixels(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], rules: CountRules, counts: MotionCounts
) -> None:
    x_squares, y_squares = x * x, y * y
    magnitudes = np.sqrt(x_squares + y_squares)
    counts.magnitudes += np.bincount(_magnitude_bins(magnitudes, rules), minlength=len(counts.magnitudes))
    is_moving = magnitudes >= rules.moving_px
    counts.angles += np.bincount(_angle_bins(x[is_moving], y[is_moving]), minlength=N_ANGLES)
    counts.n_moving += int(np.count_nonzero(is_moving))
    counts.magnitude_sum += float(magnitudes.sum())
    counts.magnitude_max = max(counts.magnitude_max, float(magnitudes.max()))
    counts.sums += [x.sum(), y.sum()]
    counts.squares += [x_squares.sum(), y_squares.sum()]
    # Few pixels lie beyond a bound: only those are looked at again.
    is_far = magnitudes > min(rules.bounds_px, default=np.inf)
    far = np.abs(np.stack([x[is_far], y[is_far]]))
    for number, bound_px in enumerate(rules.bounds_px):
        counts.beyond[number] += int(np.count_nonzero(far > bound_px))
