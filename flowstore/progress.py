"""Showing how a long command goes on: a bar on a terminal, plain lines elsewhere. Owns rich's progress."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text

from flowstore.jobs.progress import Progress as Shown
from flowstore.names import count_text, printable_name
from flowstore.terminal import FittedText

_PLAIN_LINE_EVERY_S = 10.0
_NARROWEST_BAR, _WIDEST_BAR = 4, 24
_COLUMNS_OF_COUNTS = 66


def format_eta(seconds: float | None) -> str:
    """Return a remaining time for people.

    Examples
    --------
    >>> format_eta(3725), format_eta(None)
    ('1:02:05', '-:--')
    """
    if seconds is None:
        return "-:--"
    text = str(timedelta(seconds=round(seconds)))
    return text.removeprefix("0:") if seconds < 3600 else text


class Meter:
    """Counts what was done of a job and estimates what is left. Thread-safe.

    Parameters
    ----------
    n_videos : int
        To do.
    n_flows : int
        To do, an estimate or exact.
    """

    def __init__(self, n_videos: int, n_flows: int) -> None:
        self.n_videos = n_videos
        self._n_flows = max(1, n_flows)
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self.videos_done = self.flows_done = self.n_failed = 0
        self._share_by_videos = 0.0

    def add_flows(self, n_flows: int) -> None:
        """Count flows."""
        with self._lock:
            self.flows_done += n_flows

    def finish_video(self, is_failed: bool, share: float) -> None:
        """Count a video that makes up a share, 0 to 1, of the job."""
        with self._lock:
            self.videos_done += 1
            self.n_failed += is_failed
            self._share_by_videos += share

    @property
    def share_done(self) -> float:
        """What was done of the whole, 0 to 1."""
        if self.videos_done >= self.n_videos:
            return 1.0
        return max(self._share_by_videos, min(0.99, self.flows_done / self._n_flows))

    @property
    def flows_per_s(self) -> float:
        """Rate since the start."""
        elapsed = time.monotonic() - self._started
        return self.flows_done / elapsed if elapsed > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Estimated seconds to go; None while nothing was done."""
        share = self.share_done
        return None if share <= 0.001 else (time.monotonic() - self._started) * (1 - share) / share

    def describe(self) -> str:
        """Return the state in one line."""
        failed = f", {self.n_failed} failed" if self.n_failed else ""
        return (
            f"{self.videos_done}/{count_text(self.n_videos, 'video')}{failed}, {count_text(self.flows_done, 'flow')}, "
            f"{self.flows_per_s:.0f} flows/s, ETA {format_eta(self.eta_s)}"
        )


class _MeterColumn(ProgressColumn):
    """Videos, flows per second, time to go and failures, from the meter."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        meter = self._meter
        text = Text(f"{meter.videos_done}/{count_text(meter.n_videos, 'video')}  {meter.flows_per_s:.0f} flows/s  ")
        text.append(f"ETA {format_eta(meter.eta_s)}", style="cyan")
        if meter.n_failed:
            text.append(f"  {meter.n_failed} failed", style="red")
        return text


class ConsoleProgress:
    """Progress of a long operation on a console.

    Parameters
    ----------
    console : rich.console.Console
        Of standard error.
    verb : str
        What goes on, such as ``extract``.
    """

    def __init__(self, console: Console, verb: str) -> None:
        self._console = console
        self._verb = verb
        self._bar: Progress | None = None
        self._meter = Meter(0, 0)
        self._stopped = threading.Event()
        self._ticker: threading.Thread | None = None

    def start(self, n_videos: int, n_flows: int) -> None:
        """Begin, with the number of videos and of flows to do; without a video nothing is shown."""
        if not n_videos:
            return
        meter = self._meter = Meter(n_videos, n_flows)
        if self._console.is_terminal:
            columns: list[ProgressColumn] = [SpinnerColumn(), TextColumn("{task.description}"), _MeterColumn(meter)]
            # What is left beside the counts.
            if (bar_width := self._console.width - _COLUMNS_OF_COUNTS) >= _NARROWEST_BAR:
                columns.insert(2, BarColumn(bar_width=min(bar_width, _WIDEST_BAR)))
                columns.append(TimeElapsedColumn())
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._bar.add_task(self._verb, total=1.0)
            self._bar.start()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._ticker.start()

    def _tick(self) -> None:
        while not self._stopped.wait(0.2 if self._bar else _PLAIN_LINE_EVERY_S):
            self._refresh()

    def _refresh(self) -> None:
        if self._bar:
            self._bar.update(self._bar.tasks[0].id, completed=self._meter.share_done)
        else:
            self._console.print(f"{self._verb}: {self._meter.describe()}", highlight=False, soft_wrap=True)

    def add_flows(self, n_flows: int) -> None:
        """Count flows."""
        self._meter.add_flows(n_flows)

    def finish_video(
        self, key: str, problem: str = "", warnings: Sequence[str] = (), share: float | None = None
    ) -> None:
        """Count a video; name it where it failed or has something worth saying."""
        self._meter.finish_video(bool(problem), 1 / max(1, self._meter.n_videos) if share is None else share)
        if problem:
            self._say("failed", "red", f"{key}: {problem}")
        for warning in warnings:
            self._say("warning", "yellow", f"{key}: {warning}")

    def _say(self, label: str, style: str, text: str) -> None:
        # A `Text` is shown as it is: file names hold what would be markup or emoji codes.
        self._show(Text.assemble((label, style), " ", printable_name(text)))

    def note(self, text: str) -> None:
        """Show a line."""
        self._show(Text(printable_name(text)))

    def _show(self, text: Text) -> None:
        if not self._console.is_terminal:
            self._console.print(text, soft_wrap=True)
            return
        self._console.print(FittedText(text))

    def stop(self) -> None:
        """End the display."""
        self._stopped.set()
        if self._bar:
            self._refresh()
            self._bar.stop()
        if self._ticker:
            self._ticker.join()


def choose_progress(progress: Shown | bool | None, verb: str) -> Shown | None:
    """Return what is told how an operation goes on.

    Parameters
    ----------
    progress : Progress, bool or None
        What was given: a progress of the caller's own, True for one on stderr, False for none, None for one where a
        person looks on: at a terminal, in a notebook.
    verb : str
        What goes on, such as ``extract``.
    """
    if progress is None:
        progress = sys.stderr.isatty() or _is_in_notebook()
    if isinstance(progress, bool):
        return ConsoleProgress(Console(stderr=True, highlight=False), verb) if progress else None
    return progress


def _is_in_notebook() -> bool:
    # As rich does: a kernel of Jupyter has this class of shell.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return type(shell).__name__ == "ZMQInteractiveShell"
