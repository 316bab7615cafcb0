"""Statistics of motion, gathered flow by flow. Pure.

Magnitudes are of float flow before quantization, ``sqrt(x² + y²)`` in pixels.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError, EstimatorError

# A float32 shifted right by 16 keeps its exponent and 7 bits of its mantissa: bins of a relative width below 1/128.
BIN_SHIFT = 16
N_BINS = 0x7F80_0000 >> BIN_SHIFT


class MotionAccumulator:
    """Gathers `MotionStatistics` over a video. Not thread-safe: one a video.

    Examples
    --------
    >>> import numpy as np
    >>> accumulator = MotionAccumulator()
    >>> flow = np.zeros((2, 4, 4), np.float32); flow[0] = 3; flow[1] = 4
    >>> accumulator.add(flow, clipped=(0, 0))
    >>> accumulator.result().mean_magnitude
    5.0
    """

    def __init__(self) -> None:
        self.histogram = np.zeros(N_BINS, np.int64)
        self._flow_means: list[float] = []
        self._maximum = 0.0
        self._clipped = [0, 0]
        self._n_pixels = 0
        self._sum = 0.0

    def add(self, flow: npt.NDArray[np.float32], clipped: tuple[int, int]) -> None:
        """Add one flow.

        `flow`: float32 array (2, H, W), components x and y in pixels.
        """
        # What overflows is refused below, as what is not finite is.
        with np.errstate(over="ignore"):
            magnitude = np.sqrt(flow[0] * flow[0] + flow[1] * flow[1]).ravel()
        maximum = float(magnitude.max())
        if np.isfinite(maximum):
            self.histogram += np.bincount(magnitude.view(np.uint32) >> BIN_SHIFT, minlength=N_BINS)
        self.add_counted(float(magnitude.sum(dtype=np.float64)), maximum, magnitude.size, clipped)

    def add_counted(self, total: float, maximum: float, n_pixels: int, clipped: tuple[int, int]) -> None:
        """Add the sums of one flow whose magnitudes were counted in `histogram` already; see `add`."""
        if not np.isfinite(maximum):
            raise EstimatorError(f"flow {len(self._flow_means)} holds values that are not finite, or above 1e19 px")
        self._sum += total
        self._maximum = max(self._maximum, maximum)
        self._n_pixels += n_pixels
        self._clipped[0] += clipped[0]
        self._clipped[1] += clipped[1]
        self._flow_means.append(float(f"{total / n_pixels:.4g}"))

    def result(self) -> MotionStatistics:
        """Return the statistics of the flows added so far."""
        if not self._flow_means:
            raise ArgumentError("no flow was added, so there is nothing to state")
        return MotionStatistics(
            mean_magnitude=self._sum / self._n_pixels,
            max_magnitude=self._maximum,
            p99_magnitude=min(histogram_percentile(self.histogram, 0.99), self._maximum),
            clipped_x=self._clipped[0],
            clipped_y=self._clipped[1],
            clipped_share=sum(self._clipped) / (2 * self._n_pixels),
            flow_means=tuple(self._flow_means),
        )


def histogram_percentile(histogram: npt.NDArray[np.int64], share: float) -> float:
    """Return the magnitude below which a share of a histogram lies.

    `histogram`: int64 array (n_bins,), counts by the upper 16 bits of the float32 magnitude.
    """
    cumulated = np.cumsum(histogram)
    bin_number = int(np.searchsorted(cumulated, share * cumulated[-1]))
    if bin_number == 0:
        return 0.0
    return float(np.array([(bin_number + 1) << BIN_SHIFT], np.uint32).view(np.float32)[0])


@dataclass(frozen=True)
class MotionStatistics:
    """What a video's record says of its motion; magnitudes in pixels a flow.

    Parameters
    ----------
    mean_magnitude, max_magnitude : float
        Over all pixels of all flows.
    p99_magnitude : float
        99th percentile, from a histogram with bins of a relative width below 1/128: within 0.8 % of the exact value.
    clipped_x, clipped_y : int
        How many values of a component exceed the bound.
    clipped_share : float
        Clipped values of both components over all values, 0 to 1.
    flow_means : tuple of float
        Mean magnitude of each flow, rounded to four significant digits.
    """

    mean_magnitude: float
    max_magnitude: float
    p99_magnitude: float
    clipped_x: int
    clipped_y: int
    clipped_share: float
    flow_means: tuple[float, ...]

    @property
    def lively_flow(self) -> int:
        """The number of a flow that shows the video's motion.

        Its mean magnitude is the 90th percentile of all: neither a still moment nor a cut between scenes.
        """
        wanted = float(np.percentile(self.flow_means, 90))
        middle = len(self.flow_means) // 2
        return min(
            range(len(self.flow_means)),
            key=lambda number: (abs(self.flow_means[number] - wanted), abs(number - middle)),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the statistics as plain JSON values."""
        return asdict(self) | {"flow_means": list(self.flow_means)}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> MotionStatistics:
        """Make statistics of what `to_json` gave."""
        return cls(**values | {"flow_means": tuple(values["flow_means"])})
