"""Copying a store: to another place, into one ``.zip``, or with another compression.

Carries out a plan: one task per video, commits last, then the index.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flowstore.copying.plan import CopyPlan, check_same, plan_copy
from flowstore.copying.task import CopyTask, VideoCopy, copy_lost, copy_video
from flowstore.errors import ChecksumError, StoreError
from flowstore.format.codec import Compression
from flowstore.format.record import VideoRecord
from flowstore.jobs.operation import Operation
from flowstore.jobs.progress import Progress
from flowstore.names import count_text, format_bytes, printable_name
from flowstore.progress import choose_progress
from flowstore.quantize.encoder import are_loops_compiled, compile_loops, has_numba
from flowstore.storage.keys import Storage, writing
from flowstore.storage.zips import writing_zip
from flowstore.store.index import index_tree, is_indexed, write_index
from flowstore.store.open import FlowStore, Place
from flowstore.store.unfinished import remove_leftovers
from flowstore.store.video_index import VideoIndex
from flowstore.store.writer import settle_root, write_class, write_classes, write_root


@dataclass(frozen=True)
class CopyReport:
    """What a copy did.

    Parameters
    ----------
    dest : str
        Where the copy is.
    n_videos, n_flows, size_bytes : int
        Videos copied with their flows, and the bytes of these in the copy.
    n_failed_rows : int
        Of the videos copied, those that are failed ones and have no flow.
    n_done : int
        Videos that were there already.
    failures : tuple of VideoCopy
        Videos that could not be copied.
    seconds : float
        Wall-clock time.
    missing : str
        How many of the store's planned videos are missing, in words; empty where none is.
    """

    dest: str
    n_videos: int
    n_flows: int
    size_bytes: int
    n_failed_rows: int
    n_done: int
    failures: tuple[VideoCopy, ...]
    seconds: float
    missing: str = ""

    @property
    def is_all_well(self) -> bool:
        """Whether every video is there now."""
        return not self.failures

    def __str__(self) -> str:
        rows = f" ({self.n_failed_rows} of them failed rows)" if self.n_failed_rows else ""
        done = f", {self.n_done} were there" if self.n_done else ""
        failed = f"; {len(self.failures)} could not be copied" if self.failures else ""
        missing = f"; {self.missing}" if self.missing else ""
        return (
            f"{count_text(self.n_videos, 'video')}{rows}, {count_text(self.n_flows, 'flow')}, "
            f"{format_bytes(self.size_bytes)} copied and compared"
            f"{done} in {self.seconds:.1f} s -> {self.dest}{failed}{missing}"
        )

    def __repr__(self) -> str:
        return f"<CopyReport: {self}>"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "dest": self.dest,
            "videos": self.n_videos,
            "flows": self.n_flows,
            "bytes": self.size_bytes,
            "failed_rows": self.n_failed_rows,
            "done_before": self.n_done,
            "missing": self.missing,
            "failed": [{"video": failure.key, "reason": failure.problem} for failure in self.failures],
            "seconds": round(self.seconds, 3),
        }


def copy(
    store: Place | FlowStore,
    dest: Place,
    *,
    compression: Compression | None = None,
    max_error: float | None = None,
    select: Sequence[str] = (),
    overwrite: bool = False,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: Progress | bool | None = None,
) -> CopyReport:
    """Copy a store; run again, it does what is missing.

    Parameters
    ----------
    store : path, URL, zarr store or FlowStore
        What to copy; a selection copies its own videos.
    dest : path, URL or zarr store
        Where to; a path that ends in ``.zip`` becomes one file, whole or not at all.
    compression : {"fast", "balanced", "small", "none"}, optional
        By default the source's, whose chunks are then copied as they are.
    max_error : float, optional
        Choose codes anew that pack smaller, each up to so many pixels from the stored flow, at least a step. It comes
        on top of the error that is there already; the copy's settings say the sum.
    select : sequence of str
        Only these classes.
    overwrite : bool
        Whether the target is emptied first.
    workers : int, optional
        Videos at a time; all cores by default. A zip takes one.
    scheduler : {"auto", "processes", "threads", "sync"} or address
        Where tasks run.
    progress : Progress, bool or None
        Is told what happens: one of your own, True for a display on stderr, False for none. None displays it at a
        terminal and in a notebook.

    Returns
    -------
    CopyReport

    Raises
    ------
    FlowStoreError
        If something cannot be used, before any work; or if the target cannot be written.

    Examples
    --------
    >>> from flowstore.copying import copy
    >>> copy("hmdb51.zarr", "hmdb51.zip", compression="small")  # doctest: +SKIP
    """
    progress = choose_progress(progress, "copy")
    planned = plan_copy(store, dest, compression, select, overwrite, max_error)
    return run_copy(planned, workers, scheduler, progress)


def run_copy(
    planned: CopyPlan,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: Progress | None = None,
) -> CopyReport:
    """Carry out a plan."""
    operation = Operation(scheduler, workers, progress)
    gathered = _Gathered(planned, operation.progress)
    dest = planned.dest
    if not planned.todo and planned.n_done and (isinstance(dest, str) or is_indexed(dest, planned.done)):
        return gathered.report(0.0)
    if planned.added_error_px is not None and has_numba():
        if not are_loops_compiled(is_choosing=True):
            operation.progress.note("compiling the kernels for this machine, once: some seconds")
        compile_loops(is_choosing=True)
    with operation.telling(len(planned.todo), planned.n_flows), writing(planned.dest_url):
        if isinstance(dest, str):
            _make_zip(planned, dest, operation, gathered)
        else:
            operation.check_workers(planned.source.storage.folder, dest.folder and os.path.dirname(dest.folder))
            with dest.lock() as is_locked:
                settle_root(
                    dest,
                    planned.root,
                    lambda found: check_same(dest, found, planned.root),
                    is_new=planned.is_new,
                    is_overwritten=planned.is_overwritten,
                    may_join=is_locked,
                )
                _fill_store(planned, dest, operation, gathered)
                if is_locked:
                    remove_leftovers(dest)
    return gathered.report(operation.seconds)


class _Gathered:
    """What comes of the videos of one run."""

    def __init__(self, planned: CopyPlan, progress: Progress) -> None:
        self._plan = planned
        self._progress = progress
        self.copied: list[VideoRecord] = []
        self.failures = list(planned.damaged)

    def take(self, task: CopyTask, result: VideoCopy) -> None:
        """Take the result of a video."""
        if result.record:
            self.copied.append(result.record)
        else:
            self.failures.append(result)
        self._progress.finish_video(result.key, result.problem)

    def take_or_raise(self, task: CopyTask, result: VideoCopy) -> None:
        """Take the result of a video that must be good."""
        if result.problem:
            raise _incomplete(self._plan, result)
        self.take(task, result)

    def report(self, seconds: float) -> CopyReport:
        """Return the report."""
        return CopyReport(
            dest=self._plan.dest_url,
            n_videos=len(self.copied),
            n_flows=sum(record.n_flows for record in self.copied),
            size_bytes=sum(record.size_bytes for record in self.copied),
            n_failed_rows=sum(not record.is_ok for record in self.copied),
            n_done=self._plan.n_done,
            failures=tuple(self.failures),
            seconds=seconds,
            missing=self._plan.missing,
        )


def _incomplete(planned: CopyPlan, failure: VideoCopy) -> ChecksumError:
    return ChecksumError(
        f"{planned.dest_url} is not made, a zip is whole or not at all: {failure.key}: {failure.problem}; "
        "extract that video again, or copy to a folder, which leaves it out"
    )


def _fill_store(planned: CopyPlan, dest: Storage, operation: Operation, gathered: _Gathered) -> None:
    refused = write_classes(dest, sorted((record.class_name, record.name) for record in planned.todo))
    tasks = []
    for task in _tasks(planned, dest, is_replacing=True):
        if reason := refused.get((task.record.class_name, task.record.name)):
            gathered.take(task, VideoCopy(printable_name(task.record.key), problem=reason))
        else:
            tasks.append(task)
    try:
        operation.run(copy_video, tasks, gathered.take, copy_lost, is_small=True)
    except KeyboardInterrupt:
        index_tree(dest, _leave_out)
        raise
    index_tree(dest, _leave_out)


def _leave_out(path: str, error: StoreError) -> None:
    """Say nothing of a damaged record: the plan has it copied again, or it is not this run's."""


def _tasks(planned: CopyPlan, dest: Storage, is_replacing: bool) -> list[CopyTask]:
    source, settings = planned.source.storage, planned.source.settings
    how = planned.compression, is_replacing, planned.added_error_px
    return [CopyTask(source, dest, record, settings, *how) for record in planned.todo]


def _make_zip(planned: CopyPlan, path: str, operation: Operation, gathered: _Gathered) -> None:
    for failure in planned.damaged:
        raise _incomplete(planned, failure)
    with writing_zip(path) as target:
        write_root(target, planned.root)
        for class_name in sorted({record.class_name for record in planned.todo}):
            write_class(target, class_name)
        tasks = _tasks(planned, target, is_replacing=False)
        Operation("sync", 1, operation.progress).run(
            copy_video, tasks, gathered.take_or_raise, copy_lost, is_small=True
        )
        write_index(target, VideoIndex.from_records(gathered.copied))
