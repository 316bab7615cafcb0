"""What a run of an extraction says: its progress while it goes on, and its report at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flowstore.format.record import VideoRecord
from flowstore.names import count_text, videos_text


@dataclass(frozen=True)
class ExtractReport:
    """What an extraction did.

    Parameters
    ----------
    store_url : str
        Where the store is.
    n_extracted, n_flows : int
        Videos and flows made by this run.
    n_done : int
        Videos that the store had already.
    n_failed_before : int
        Videos that failed in a former run and were not tried again.
    failures : tuple of VideoRecord
        Videos that failed in this run.
    warned : tuple of VideoRecord
        Good videos of this run with something worth saying.
    seconds : float
        Wall-clock time.
    """

    store_url: str
    n_extracted: int
    n_flows: int
    n_done: int
    n_failed_before: int
    failures: tuple[VideoRecord, ...]
    warned: tuple[VideoRecord, ...]
    seconds: float

    @property
    def is_all_well(self) -> bool:
        """Whether every video that was asked for is in the store with flow."""
        return not self.failures and not self.n_failed_before

    def __str__(self) -> str:
        if not self.n_extracted and not self.failures:
            text = f"nothing to do: {count_text(self.n_done, 'video')} already in {self.store_url}"
        else:
            rate = self.n_flows / self.seconds if self.seconds else 0.0
            text = (
                f"{videos_text(self.n_extracted, len(self.failures))}, "
                f"{count_text(self.n_flows, 'flow')} in {self.seconds:.1f} s ({rate:.0f} flows/s)"
                f" -> {self.store_url}" + (f"; {self.n_done} were there already" if self.n_done else "")
            )
        if self.n_failed_before:
            text += f"; {self.n_failed_before} failed before, not tried again (--retry-failed)"
        return text

    def __repr__(self) -> str:
        return f"<ExtractReport: {self}>"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "store": self.store_url,
            "extracted": self.n_extracted,
            "flows": self.n_flows,
            "done_before": self.n_done,
            "failed_before": self.n_failed_before,
            "failed": [
                {"class": record.class_name, "video": record.name, "reason": record.reason} for record in self.failures
            ],
            "warnings": [
                {"class": record.class_name, "video": record.name, "warnings": list(record.warnings)}
                for record in self.warned
            ],
            "seconds": round(self.seconds, 3),
        }
