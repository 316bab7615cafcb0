"""Statistics of a store's motion, in one parallel pass: what `flowstore stats` does."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np

from flowstore.jobs.job import Loss
from flowstore.jobs.operation import SMALL_FLOWS, Operation
from flowstore.jobs.progress import Progress
from flowstore.names import printable_name, unescape_name
from flowstore.progress import choose_progress
from flowstore.stats.counts import CountRules, MotionCounts, choose_bins
from flowstore.stats.report import ClippedShare, GroupStats, Origin, StatsReport
from flowstore.stats.task import FlowSample, StatResult, StatTask, VideoProblem, count_videos
from flowstore.store.open import FlowStore, Place, open_store
from flowstore.store.video_index import VideoIndex

BOUNDS_PX = (5.0, 10.0, 15.0, 20.0, 32.0, 64.0)
MOVING_PX = 0.5
# Below so many flows Numba takes longer to load than it saves.
_COMPILED_FLOWS = 4000
# Compiled counting lets threads run beside each other, so that it takes more to make up for the start of processes.
_THREADS_FLOWS = 100_000
# Enough tasks for all workers, but of many small videos, so that hundreds of thousands do not drown in tasks.
_TASKS_WANTED = 64
_FEWEST_TASK_FLOWS, _MOST_TASK_FLOWS, _MOST_TASK_VIDEOS = 50, 2000, 64
# Magnitudes were computed in float32, so one can be less than its larger component by so much of it.
_FLOAT32_ERROR = 1e-6


def stats(
    store: Place | FlowStore,
    *,
    sample: int | float | None = None,
    seed: int = 0,
    bounds: Sequence[float] = BOUNDS_PX,
    moving: float = MOVING_PX,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: Progress | bool | None = None,
) -> StatsReport:
    """Count the motion of a store: histograms, moments for training, and what bounds would clip.

    Parameters
    ----------
    store : path, URL, zarr store or FlowStore
        A selection counts its own videos.
    sample : int or float, optional
        So many flows of each video, drawn at random, or a share of them above 0 and below 1; by default all.
    seed : int
        Of the sample.
    bounds : sequence of float
        Bounds in pixels whose clipping is asked for; the store's own is always among them.
    moving : float
        Magnitude in pixels from which on a pixel counts as moving and its direction is counted.
    workers : int, optional
        Tasks at a time; all cores by default.
    scheduler : {"auto", "processes", "threads", "sync"} or address
        Where tasks run.
    progress : Progress, bool or None
        Is told what happens: one of your own, True for a display on stderr, False for none. None displays it at a
        terminal and in a notebook.

    Returns
    -------
    StatsReport

    Raises
    ------
    ArgumentError
        If a choice cannot be used; before anything is read.
    StoreError
        If the store cannot be read. A damaged video is named in the report, and the others are counted.

    Notes
    -----
    Exact over the flows counted: of uint8 every pair of codes is counted, of float16 every pixel. Magnitudes are those
    of stored flow, so of uint8 they end at the bound.

    Examples
    --------
    >>> from flowstore.stats import stats
    >>> stats("hmdb51.zarr", sample=10).overall.channels.std_px  # doctest: +SKIP
    [1.62, 1.21]
    """
    progress = choose_progress(progress, "stats")
    chosen = FlowSample(sample, seed)
    operation = Operation(scheduler, workers, progress)
    opened = store if isinstance(store, FlowStore) else open_store(store)
    index = opened.videos
    rules = _choose_rules(opened, bounds, moving)
    n_flows = sum(chosen.count(int(count)) for count in index.column("n_flows") if count)
    tasks = _plan_tasks(opened, rules, chosen, n_flows)
    is_small = n_flows < (_THREADS_FLOWS if tasks and tasks[0].is_compiled else SMALL_FLOWS)
    operation.check_workers(opened.storage.folder)
    gathered = _Gathered(rules, index, operation.progress)
    with operation.telling(int((index.column("status") == "ok").sum()), n_flows):
        operation.run(count_videos, tasks, gathered.take, _report_lost, is_small)
    return gathered.report(opened, chosen, operation.seconds)


def _choose_rules(store: FlowStore, bounds: Sequence[float], moving: float) -> CountRules:
    quantizer, index = store.settings.quantizer, store.videos
    if quantizer.bound_px is None:
        # A few wild pixels must not make every bin wide: what lies above has one of its own.
        limits = index.column("p99_magnitude")[index.column("status") == "ok"]
        limit_px = 2 * float(limits.max(initial=0.0))
        chosen = {*bounds}
    else:
        limit_px = float(np.hypot(*2 * [np.abs(quantizer.decode_table).max()]))
        chosen = {*bounds, quantizer.bound_px}
    bin_px, n_bins = choose_bins(limit_px)
    bounds_px = tuple(sorted(float(bound) for bound in chosen))
    return CountRules(quantizer, bin_px, n_bins, float(moving), bounds_px, store.settings.max_error_px)


def _plan_tasks(store: FlowStore, rules: CountRules, sample: FlowSample, n_flows: int) -> list[StatTask]:
    """Return tasks, each of neighbors of one class; the same ones however many workers there are."""
    index = store.videos
    is_ok, paths = (index.column("status") == "ok").tolist(), index.column("path").tolist()
    counts = index.column("n_flows").tolist()
    is_coded = rules.quantizer.bound_px is not None
    is_compiled = is_coded and n_flows >= _COMPILED_FLOWS and _has_numba()
    task_flows = min(max(n_flows // _TASKS_WANTED, _FEWEST_TASK_FLOWS), _MOST_TASK_FLOWS)
    tasks: list[StatTask] = []
    for rows in index.rows_by_class.values():
        group: list[str] = []
        size = 0
        for row in rows:
            if is_ok[row]:
                group.append(paths[row])
                size += sample.count(counts[row])
            if group and (size >= task_flows or len(group) == _MOST_TASK_VIDEOS or row == rows[-1]):
                place = store.storage, store.settings, rules, sample, is_compiled
                tasks.append(StatTask(len(tasks), rows[0], tuple(group), *place))
                group, size = [], 0
    return tasks


def _has_numba() -> bool:
    # Found, it can still fail to load. NumPy gives the same counts.
    try:
        import_module("flowstore.stats.kernels")
    except ImportError:
        return False
    return True


@dataclass
class _Gathered:
    """What the tasks counted, by the first row of their class in the index."""

    rules: CountRules
    index: VideoIndex
    progress: Progress
    counts: dict[int, MotionCounts] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    early: dict[int, tuple[int, MotionCounts]] = field(default_factory=dict)
    n_added: int = 0

    def take(self, task: StatTask, result: StatResult) -> None:
        self.early[task.number] = task.row, result.counts
        # In the order of the tasks, or the last digits of sums would depend on which ended first.
        while self.n_added in self.early:
            row, counts = self.early.pop(self.n_added)
            self.counts.setdefault(row, MotionCounts.empty(self.rules)).add(counts)
            self.n_added += 1
        reasons = {_key(problem.path): problem.reason for problem in result.problems}
        self.problems |= reasons
        for key in map(_key, task.paths):
            self.progress.finish_video(key, reasons.get(key, ""))

    def report(self, store: FlowStore, sample: FlowSample, seconds: float) -> StatsReport:
        index, total = self.index, MotionCounts.empty(self.rules)
        classes = {}
        for rows in index.rows_by_class.values():
            counts = self.counts.get(rows[0], MotionCounts.empty(self.rules))
            total.add(counts)
            classes[printable_name(index.class_name(rows[0]))] = self._group(rows, counts)
        overall = self._group(range(len(index)), total)
        return StatsReport(
            store_url=store.url,
            rules=self.rules,
            sample=str(sample),
            is_sampled=sample.size is not None and total.n_flows < overall.n_flows,
            overall=overall,
            classes=dict(sorted(classes.items())),
            clipped=tuple(_clipped_shares(index, self.rules, total)),
            failures=dict(sorted(self.problems.items())),
            n_left_out=int((index.column("status") == "failed").sum()),
            missing=store.missing,
            seconds=seconds,
        )

    def _group(self, rows: range, counts: MotionCounts) -> GroupStats:
        part = slice(rows.start, rows.stop)
        columns = {name: self.index.column(name)[part] for name in ("n_flows", "status", "clipped_x", "clipped_y")}
        n_values = int(_n_values(self.index)[part].sum())
        n_clipped = int(columns["clipped_x"].sum() + columns["clipped_y"].sum())
        return GroupStats(
            n_videos=int((columns["status"] == "ok").sum()),
            n_flows=int(columns["n_flows"].sum()),
            clipped_share=n_clipped / n_values if n_values else 0.0,
            counts=counts,
            rules=self.rules,
        )


def _key(path: str) -> str:
    return "/".join(printable_name(unescape_name(part)) for part in path.split("/"))


def _n_values(index: VideoIndex) -> Any:
    """Return the values of each video: two a pixel of each flow."""
    return 2 * index.column("n_flows") * index.column("height").astype(np.int64) * index.column("width")


def _clipped_shares(index: VideoIndex, rules: CountRules, counts: MotionCounts) -> Iterator[ClippedShare]:
    own_px, n_all, n_counted = rules.quantizer.bound_px, int(_n_values(index).sum()), 2 * counts.n_pixels
    n_clipped = index.column("clipped_x") + index.column("clipped_y")
    for bound_px, (surely, perhaps) in zip(rules.bounds_px, counts.beyond.tolist(), strict=True):
        if own_px is not None and bound_px >= own_px:
            # Where no magnitude of a video exceeds a bound, no component does. What exceeds it was clipped before.
            may_exceed = index.column("max_magnitude") > bound_px * (1 - _FLOAT32_ERROR)
            least = int(n_clipped.sum()) if bound_px == own_px else 0
            most = max(least, int(n_clipped[may_exceed].sum()))
            yield ClippedShare(bound_px, least / n_all if n_all else 0.0, most / n_all if n_all else 0.0, "record")
        elif n_counted:
            origin: Origin = "flow" if own_px is None else "codes"
            yield ClippedShare(bound_px, surely / n_counted, perhaps / n_counted, origin)


def _report_lost(task: StatTask, how: Loss) -> StatResult:
    reason = "a worker process was killed that counted it or a video beside it, perhaps for want of memory"
    problems = tuple(VideoProblem(path, reason) for path in task.paths)
    return StatResult(MotionCounts.empty(task.rules), problems)
