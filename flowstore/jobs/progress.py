"""What a long operation tells of itself while it goes on: one protocol for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class Progress(Protocol):
    """What is told about a run while it goes on; every method is called from the caller's thread or one other."""

    def start(self, n_videos: int, n_flows: int) -> None:
        """Hear that the run begins, and how much there is to do; the flows may be an estimate."""
        ...

    def add_flows(self, n_flows: int) -> None:
        """Hear that so many more flows were computed, written or read."""
        ...

    def finish_video(
        self, key: str, problem: str = "", warnings: Sequence[str] = (), share: float | None = None
    ) -> None:
        """Hear that a video is done.

        Parameters
        ----------
        key : str
            ``class/name``, printable.
        problem : str
            Why it failed; empty for a good one.
        warnings : sequence of str
            What is worth saying of a good one.
        share : float, optional
            What part of the whole it was, 0 to 1; as large as every other by default.
        """
        ...

    def note(self, text: str) -> None:
        """Hear something that the user should know."""
        ...

    def stop(self) -> None:
        """Hear that the run ended, whichever way."""
        ...


class SilentProgress:
    """Says nothing."""

    def start(self, n_videos: int, n_flows: int) -> None:
        """Ignore it."""

    def add_flows(self, n_flows: int) -> None:
        """Ignore it."""

    def finish_video(
        self, key: str, problem: str = "", warnings: Sequence[str] = (), share: float | None = None
    ) -> None:
        """Ignore it."""

    def note(self, text: str) -> None:
        """Ignore it."""

    def stop(self) -> None:
        """Ignore it."""
