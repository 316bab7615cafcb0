"""Counting the motion of some videos of a class: the task of a pass over a store that runs on a worker."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_whole
from flowstore.errors import ArgumentError, ChecksumError, StoreError, StoreFormatError
from flowstore.format.settings import ExtractSettings
from flowstore.jobs.job import Tick
from flowstore.names import count_text
from flowstore.stats.counts import CountRules, MotionCounts, count_flows, count_joint
from flowstore.storage.keys import Storage
from flowstore.store.tree import read_record
from flowstore.store.video import Video

_BATCH_BYTES = 4 * 2**20


@dataclass(frozen=True)
class FlowSample:
    """Which flows of a video are counted.

    Parameters
    ----------
    size : int, float or None
        So many flows of each video, or this share of them, above 0 and below 1 and at least one flow; None for all.
    seed : int
        Of the choice, 0 or more; the same seed chooses the same flows, whatever runs beside.

    Raises
    ------
    ArgumentError
        If the size or the seed cannot be used.
    """

    size: int | float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_whole("seed", self.seed, 0)
        size = self.size
        is_number = isinstance(size, int | float) and not isinstance(size, bool)
        if size is not None and not (is_number and (size >= 1 if isinstance(size, int) else 0 < size < 1)):
            raise ArgumentError(
                f"sample is {size!r}, expected a number of flows by video (1 or more) or a share above 0 and below 1"
            )

    def count(self, n_flows: int) -> int:
        """Return how many flows are counted of a video of so many.

        Examples
        --------
        >>> [FlowSample(size).count(50) for size in (None, 8, 80, 0.1, 0.001)]
        [50, 8, 50, 5, 1]
        """
        if self.size is None:
            return n_flows
        return min(n_flows, self.size if isinstance(self.size, int) else max(1, round(self.size * n_flows)))

    def choose(self, path: str, n_flows: int) -> npt.NDArray[np.int64]:
        """Return the numbers of a video's flows that are counted, ascending, each at most once."""
        n_chosen = self.count(n_flows)
        if n_chosen == n_flows:
            return np.arange(n_flows)
        generator = np.random.default_rng([self.seed, zlib.crc32(path.encode())])
        return np.sort(generator.choice(n_flows, n_chosen, replace=False, shuffle=False))

    def __str__(self) -> str:
        if self.size is None:
            return "all flows"
        flows = count_text(self.size, "flow") if isinstance(self.size, int) else f"{self.size:.4g} of the flows"
        return f"a sample: {flows} of each video, seed {self.seed}"


@dataclass(frozen=True)
class StatTask:
    """Videos of one class to count. Picklable.

    Parameters
    ----------
    number : int
        Of the task among all, from 0.
    row : int
        First row of the class in the index.
    paths : tuple of str
        Of the videos.
    storage, settings, rules, sample
        Of the store, and what is counted of it.
    is_compiled : bool
        Whether to use Numba.
    """

    number: int
    row: int
    paths: tuple[str, ...]
    storage: Storage
    settings: ExtractSettings
    rules: CountRules
    sample: FlowSample
    is_compiled: bool


@dataclass(frozen=True)
class VideoProblem:
    """A video that could not be counted: its path in the store, and why."""

    path: str
    reason: str


@dataclass(frozen=True)
class StatResult:
    """What was counted of a task's videos, and which could not be."""

    counts: MotionCounts
    problems: tuple[VideoProblem, ...]


def count_videos(task: StatTask, tick: Tick) -> StatResult:
    """Count the motion of some videos."""
    total, problems = MotionCounts.empty(task.rules), []
    joint = np.zeros(2**16, np.int64)
    for path in task.paths:
        counts, pairs = MotionCounts.empty(task.rules), np.zeros_like(joint)
        try:
            _count_video(task, path, counts, pairs, tick)
        except StoreError as error:
            is_of_video = isinstance(error, ChecksumError | StoreFormatError)
            # What a disk cannot read is one file; a place far away that cannot be read is gone as a whole.
            if not is_of_video and task.storage.folder is None:
                raise
            problems.append(VideoProblem(path, str(error)))
            continue
        joint += pairs
        total.add(counts)
    if task.settings.quantizer.bound_px is not None:
        count_joint(joint, task.rules, total)
    return StatResult(total, tuple(problems))


def _count_video(task: StatTask, path: str, counts: MotionCounts, joint: npt.NDArray[np.int64], tick: Tick) -> None:
    record = read_record(task.storage, path)
    if record is None or not record.is_ok:
        raise StoreFormatError(f"{path}: in the index, but no video with flow in the store any more")
    video = Video(task.storage, path, record, task.settings)
    numbers = task.sample.choose(path, video.n_flows)
    flow_bytes = 2 * record.height * record.width * video.quantizer.dtype.itemsize
    n_batch = max(1, _BATCH_BYTES // flow_bytes)
    for first in range(0, len(numbers), n_batch):
        chosen = numbers[first : first + n_batch]
        count_flows(video.codes[chosen], task.rules, joint, counts, task.is_compiled)
        tick(len(chosen))
