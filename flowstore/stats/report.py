"""What a pass over a store tells of its motion, as values, plain JSON and text. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flowstore.names import count_text
from flowstore.stats.counts import N_ANGLES, CountRules, MotionCounts

Origin = Literal["record", "flow", "codes"]


@dataclass(frozen=True)
class ChannelStats:
    """Mean and standard deviation of the stored components over all pixels counted, ``[x, y]``.

    Parameters
    ----------
    mean_px, std_px : list of float
        In pixels, for training on ``dtype="float32"``.
    mean_normalized, std_normalized : list of float or None
        Of codes divided by 255, for training on ``dtype="uint8"`` as on images; None for float16.
    """

    mean_px: list[float]
    std_px: list[float]
    mean_normalized: list[float] | None
    std_normalized: list[float] | None

    @classmethod
    def from_counts(cls, counts: MotionCounts, rules: CountRules) -> ChannelStats:
        """Make them of what was counted."""
        quantizer = rules.quantizer
        means, deviations = counts.moments()
        is_coded = quantizer.bound_px is not None
        return cls(
            [quantizer.scale * mean + quantizer.offset for mean in means],
            [quantizer.scale * deviation for deviation in deviations],
            [mean / 255 for mean in means] if is_coded else None,
            [deviation / 255 for deviation in deviations] if is_coded else None,
        )


@dataclass(frozen=True)
class ClippedShare:
    """How much of a store's values a bound would clip, as far as the store can tell.

    Parameters
    ----------
    bound_px : float
        The bound, in pixels.
    at_least, at_most : float
        Between which the share lies, 0 to 1; equal where it is known.
    origin : {"record", "flow", "codes"}
        ``record``: counted when the flow was computed, over all flows. ``flow``: counted now, of float16. ``codes``:
        counted now, of codes that each stand for a step.
    """

    bound_px: float
    at_least: float
    at_most: float
    origin: Origin

    def __str__(self) -> str:
        if self.at_most == 0:
            return "none"
        if self.at_least == self.at_most:
            return f"{self.at_least:.3%}"
        return f"{self.at_least:.3%} to {self.at_most:.3%}" if self.at_least else f"at most {self.at_most:.3%}"


@dataclass(frozen=True)
class GroupStats:
    """The motion of a class, or of all.

    Parameters
    ----------
    n_videos, n_flows : int
        In the store, with flow.
    clipped_share : float
        Values that the store's own bound clipped, over all flows, as their records have it; 0 to 1.
    counts : MotionCounts
        What was counted.
    rules : CountRules
        How.
    """

    n_videos: int
    n_flows: int
    clipped_share: float
    counts: MotionCounts
    rules: CountRules

    @property
    def mean_magnitude_px(self) -> float:
        """Mean magnitude over the pixels counted, in pixels; nan of none."""
        return self.counts.magnitude_sum / self.counts.n_pixels if self.counts.n_pixels else math.nan

    @property
    def moving_share(self) -> float:
        """Share of pixels that move, 0 to 1; nan of none."""
        return self.counts.n_moving / self.counts.n_pixels if self.counts.n_pixels else math.nan

    @property
    def channels(self) -> ChannelStats:
        """Mean and standard deviation of the components."""
        return ChannelStats.from_counts(self.counts, self.rules)

    def percentile_px(self, share: float) -> float:
        """Return the magnitude below which a share of the pixels lies, in pixels."""
        return self.counts.percentile_px(share, self.rules)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; None where nothing was counted."""
        channels = self.channels
        values = {
            "videos": self.n_videos,
            "flows": self.n_flows,
            "flows_counted": self.counts.n_flows,
            "pixels_counted": self.counts.n_pixels,
            "mean_magnitude_px": self.mean_magnitude_px,
            "p50_magnitude_px": self.percentile_px(0.5),
            "p99_magnitude_px": self.percentile_px(0.99),
            "max_magnitude_px": self.counts.magnitude_max,
            "moving_share": self.moving_share,
            "clipped_share": self.clipped_share,
            "mean_px": channels.mean_px,
            "std_px": channels.std_px,
            "mean_normalized": channels.mean_normalized,
            "std_normalized": channels.std_normalized,
            "magnitude_counts": self.counts.histogram.tolist(),
            "angle_counts": self.counts.angles.tolist(),
        }
        return {name: _without_nan(value) for name, value in values.items()}


@dataclass(frozen=True)
class StatsReport:
    """The motion of a store.

    Parameters
    ----------
    store_url : str
        Where the store is.
    rules : CountRules
        What was counted, and the store's quantizer.
    sample : str
        Which flows were counted, in words.
    is_sampled : bool
        Whether some flows were left out.
    overall : GroupStats
        Of all classes.
    classes : dict of str to GroupStats
        By name.
    clipped : tuple of ClippedShare
        By bound, ascending.
    failures : dict of str to str
        Why a video could not be counted, by ``class/name``.
    n_left_out : int
        Videos of the store that have no flow, because they failed.
    missing : str
        How many of the store's planned videos are missing, in words; empty where none is.
    seconds : float
        Wall-clock time.
    """

    store_url: str
    rules: CountRules
    sample: str
    is_sampled: bool
    overall: GroupStats
    classes: dict[str, GroupStats]
    clipped: tuple[ClippedShare, ...]
    failures: dict[str, str] = field(default_factory=dict)
    n_left_out: int = 0
    missing: str = ""
    seconds: float = 0.0

    @property
    def is_all_well(self) -> bool:
        """Whether every video with flow was counted."""
        return not self.failures

    @property
    def edges_px(self) -> npt.NDArray[np.float64]:
        """Lower ends of the bins of magnitude, in pixels; the last has no upper end."""
        return self.rules.edges_px

    @property
    def centers_deg(self) -> npt.NDArray[np.float64]:
        """Middles of the sectors of direction, in degrees clockwise on the screen from right."""
        return np.arange(N_ANGLES, dtype=np.float64) * (360 / N_ANGLES)

    def __str__(self) -> str:
        counted = self.overall.counts.n_flows
        failed = f"; {count_text(len(self.failures), 'video')} could not be counted" if self.failures else ""
        left_out = f"; {count_text(self.n_left_out, 'failed video')} left out" if self.n_left_out else ""
        missing = f"; {self.missing}" if self.missing else ""
        rate = f"{counted / self.seconds:.0f} flows/s" if self.seconds else "-"
        return (
            f"{count_text(self.overall.n_videos, 'video')}, "
            f"{counted} of {count_text(self.overall.n_flows, 'flow')} counted ({self.sample}) "
            f"in {self.seconds:.1f} s ({rate}){left_out}{failed}{missing}"
        )

    def __repr__(self) -> str:
        return f"<StatsReport: {self}>"

    def clipped_note(self) -> str:
        """Return how the clipped shares are known, in a sentence."""
        bound_px, sampled = self.rules.quantizer.bound_px, " of the sample" if self.is_sampled else ""
        if bound_px is None:
            return f"counted of the stored float16{sampled}, which has 11 bits"
        error_px = self.rules.error_px
        each = f"a step of {self.rules.quantizer.scale:.3g}" if error_px is None else f"up to {error_px:.3g}"
        return (
            f"±{bound_px:g} px and above: from the counts and maxima kept when the flow was computed, of all flows; "
            f"stored flow ends at ±{bound_px:g} px. Below: from codes{sampled}, each {each} px"
            f"{'' if error_px is None else ' off'}, so between two shares"
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "store": self.store_url,
            **self.rules.quantizer.to_json(),
            "sample": self.sample,
            "is_sampled": self.is_sampled,
            "moving_px": self.rules.moving_px,
            "magnitude_edges_px": self.edges_px.tolist(),
            "angle_centers_deg": self.centers_deg.tolist(),
            "all": self.overall.to_json(),
            "classes": {name: group.to_json() for name, group in self.classes.items()},
            "clipped": [
                {"bound_px": row.bound_px, "at_least": row.at_least, "at_most": row.at_most, "origin": row.origin}
                for row in self.clipped
            ],
            "clipped_note": self.clipped_note(),
            "left_out": self.n_left_out,
            "missing": self.missing,
            "failed": [{"video": key, "reason": reason} for key, reason in self.failures.items()],
            "seconds": round(self.seconds, 3),
        }


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
