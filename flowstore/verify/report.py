"""What a check of a store says: its progress while it goes on, and its report at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowstore.names import count_text, format_bytes, videos_text
from flowstore.verify.faults import Fault


@dataclass(frozen=True)
class VerifyReport:
    """What a check of a store found.

    Parameters
    ----------
    store_url : str
        Where the store is.
    n_videos, n_failed, n_flows, size_bytes : int
        Videos with flow, rows of failed videos, flows and bytes of flow that were read.
    faults : tuple of Fault
        All that was wrong, by path.
    mended : tuple of str
        What was done about it, a line each.
    n_left : int
        Faults that are still there, or cost a video its flow.
    notes : tuple of str
        What could not be checked, and what is no fault but worth saying.
    seconds : float
        Wall-clock time.
    doubts : tuple of str
        Those of the notes that say what is missing or was not checked.
    """

    store_url: str
    n_videos: int
    n_failed: int
    n_flows: int
    size_bytes: int
    faults: tuple[Fault, ...]
    mended: tuple[str, ...]
    n_left: int
    notes: tuple[str, ...]
    seconds: float
    doubts: tuple[str, ...] = ()

    @property
    def is_all_well(self) -> bool:
        """Whether nothing is wrong, or nothing any more."""
        return not self.n_left

    def __str__(self) -> str:
        rate = self.size_bytes / 1e6 / self.seconds if self.seconds else 0.0
        text = (
            f"{videos_text(self.n_videos, self.n_failed)}, {count_text(self.n_flows, 'flow')}, "
            f"{format_bytes(self.size_bytes)} read in {self.seconds:.1f} s ({rate:.0f} MB/s)"
        )
        if not self.faults:
            return f"{text}: nothing is wrong with {self.store_url}"
        text += f": {count_text(len(self.faults), 'fault')} in {self.store_url}"
        if self.mended:
            text += f", {len(self.faults) - self.n_left} mended" + (f", {self.n_left} left" if self.n_left else "")
        return text

    def __repr__(self) -> str:
        return f"<VerifyReport: {self}>"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "store": self.store_url,
            "videos": self.n_videos,
            "failed_videos": self.n_failed,
            "flows": self.n_flows,
            "size_bytes": self.size_bytes,
            "faults": [fault.to_json() for fault in self.faults],
            "mended": list(self.mended),
            "left": self.n_left,
            "notes": list(self.notes),
            "seconds": round(self.seconds, 3),
        }
