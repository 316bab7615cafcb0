"""Carrying out a plan: one task a video, on whatever runs them; the root before, the index and the report after."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

from flowstore.arguments import check_progress
from flowstore.errors import FlowStoreError
from flowstore.estimators.registry import compile_engine, library_versions, needs_compiling
from flowstore.format.record import VideoRecord
from flowstore.jobs.clusters import check_cluster
from flowstore.jobs.job import Job, Tick
from flowstore.jobs.progress import Progress, SilentProgress
from flowstore.jobs.schedulers import choose_scheduler, run_job
from flowstore.names import now_utc, printable_name, video_path
from flowstore.pipeline.plan import ExtractPlan
from flowstore.pipeline.report import ExtractReport
from flowstore.pipeline.task import VideoTask, commit_failure, extract_video
from flowstore.quantize.encoder import are_loops_compiled, compile_loops
from flowstore.storage.locks import writers_lock
from flowstore.storage.places import LocalStorage, write_error
from flowstore.store.index import index_tree, is_indexed, remove_index
from flowstore.store.unfinished import remove_leftovers
from flowstore.store.writer import empty_store, write_class, write_root

# On two and four cores threads are some 15 % faster than processes at any length, and start 2 s sooner; but only a
# process of its own keeps a decoder that crashes from ending the run. Beyond so many frames, half a minute, that is
# worth it.
AUTO_PROCESSES_FRAMES = 10_000
# A video that gives no flow for so long is ended: a large one may have to come over a slow network first.
_STALL_S, _STALL_S_PER_FRAME = 300.0, 0.005


def resolve_scheduler(scheduler: str, workers: int | None, planned: ExtractPlan) -> tuple[str, int]:
    """Choose where the tasks of a plan run.

    Parameters
    ----------
    scheduler : str
        As asked for.
    workers : int or None
        As asked for; None for all cores this process may use.
    planned : ExtractPlan
        What is to be done.

    Returns
    -------
    tuple
        ``processes``, ``threads``, ``sync`` or an address, and the number of workers.

    Raises
    ------
    ArgumentError
        If there is no such scheduler, or the number cannot be used.
    """
    is_small = planned.estimate.n_frames < AUTO_PROCESSES_FRAMES
    return choose_scheduler(scheduler, workers, len(planned.todo), is_small)


def run_plan(
    planned: ExtractPlan,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: Progress | None = None,
    function: Callable[[VideoTask, Tick], VideoRecord] = extract_video,
) -> ExtractReport:
    """Carry out a plan.

    Parameters
    ----------
    planned : ExtractPlan
        From `plan`.
    workers, scheduler, progress
        See `extract`.
    function : callable
        What is done to each video; importable by name, for other processes.

    Returns
    -------
    ExtractReport

    Raises
    ------
    ArgumentError
        If no Dask cluster answers at the address; before anything is written.
    StoreError
        If the store cannot be written.
    KeyboardInterrupt
        If the run was interrupted; the store resumes.
    """
    check_progress(progress)
    where, n_workers = resolve_scheduler(scheduler, workers, planned)
    if planned.todo:
        check_cluster(where, _shared_paths(planned))
    progress = progress or SilentProgress()
    started = time.monotonic()
    run = _Run(planned, progress)
    if not planned.todo and (planned.is_part or _is_indexed(planned)):
        return run.report(0.0)
    with _writers_lock(planned) as is_locked:
        _run_locked(planned, run, where, n_workers, function)
        if is_locked and not planned.is_part:
            remove_leftovers(planned.storage)
    return run.report(time.monotonic() - started)


def _writers_lock(planned: ExtractPlan) -> contextlib.AbstractContextManager[bool]:
    if isinstance(planned.storage, LocalStorage):
        return writers_lock(planned.storage.root, is_shared=planned.is_part)
    return contextlib.nullcontext(False)


def _is_indexed(planned: ExtractPlan) -> bool:
    return is_indexed(planned.storage, (video_path(source.class_name, source.name) for source in planned.stored))


def _run_locked(
    planned: ExtractPlan,
    run: _Run,
    where: str,
    n_workers: int,
    function: Callable[[VideoTask, Tick], VideoRecord],
) -> None:
    progress = run.progress
    progress.start(len(planned.todo), planned.estimate.n_frames)
    try:
        if planned.todo:
            _prepare_engine(planned.settings.engine, planned.settings.algorithm, progress)
            _prepare_store(planned)
            tasks = [VideoTask(source, planned.settings, planned.storage) for source in planned.todo]
            job = Job(function, tasks, run.take, progress.add_flows, _commit_killed, _stall_limit_s, _commit_stalled)
            run_job(job, where, n_workers)
        _index_store(planned, progress)
    except KeyboardInterrupt:
        # Before the root there is no store, and a folder with nothing but an index would be refused the next time.
        if planned.storage.read("zarr.json"):
            _index_store(planned, progress)
        raise
    except OSError as error:
        if isinstance(error, FlowStoreError):
            raise
        raise write_error(planned.storage.url, error) from error
    finally:
        progress.stop()


class _Run:
    """Gathers what the tasks of one run return. Results come to one thread only; flows may come from any."""

    def __init__(self, planned: ExtractPlan, progress: Progress) -> None:
        self._plan = planned
        self.progress = progress
        self._total_cost = sum(source.cost for source in planned.todo) or 1.0
        self._n_good = self._n_flows = 0
        # Of the others nothing is kept: a run over a very large dataset must not grow with it.
        self._worth_saying: list[VideoRecord] = []

    def take(self, task: VideoTask, record: VideoRecord) -> None:
        """Take the record of a finished video."""
        self._n_good += record.is_ok
        self._n_flows += record.n_flows
        if record.warnings or not record.is_ok:
            self._worth_saying.append(record)
        share = task.source.cost / self._total_cost
        self.progress.finish_video(task.source.key, record.reason, record.warnings, share)

    def report(self, seconds: float) -> ExtractReport:
        """Return the report."""
        return ExtractReport(
            store_url=self._plan.storage.url,
            n_extracted=self._n_good,
            n_flows=self._n_flows,
            n_done=len(self._plan.done),
            n_failed_before=len(self._plan.failed),
            failures=tuple(record for record in self._worth_saying if not record.is_ok),
            warned=tuple(record for record in self._worth_saying if record.is_ok),
            seconds=seconds,
        )


def _commit_killed(task: VideoTask) -> VideoRecord:
    return commit_failure(task, "its worker process was killed, by the decoder or for want of memory")


def _stall_limit_s(task: VideoTask) -> float:
    return _STALL_S + task.source.cost * _STALL_S_PER_FRAME


def _commit_stalled(task: VideoTask) -> VideoRecord:
    return commit_failure(
        task, f"gave no flow for {_stall_limit_s(task):.0f} s: its decoder hangs, or its disk does not answer"
    )


def _shared_paths(planned: ExtractPlan) -> list[str]:
    """Return paths that every worker has to see: a source, and the folder that holds the store."""
    paths = [planned.todo[0].path]
    if isinstance(planned.storage, LocalStorage):
        root = planned.storage.root
        paths.append(root if os.path.exists(root) else os.path.dirname(root))
    return paths


def _prepare_engine(engine: str, algorithm: str, progress: Progress) -> None:
    # Once, here: the workers find what they need in the cache on disk.
    if engine != "numba":
        return
    if needs_compiling(engine, algorithm) or not are_loops_compiled():
        progress.note("compiling the kernels for this machine, once: some seconds")
    compile_engine(engine, algorithm)
    compile_loops()


def _prepare_store(planned: ExtractPlan) -> None:
    storage = planned.storage
    if planned.is_overwritten:
        empty_store(storage)
    else:
        remove_index(storage)
    if planned.is_new or planned.is_overwritten:
        write_root(storage, planned.settings, library_versions(), now_utc(), planned.is_new)
    for class_name in sorted({source.class_name for source in planned.todo}):
        write_class(storage, class_name)


def _index_store(planned: ExtractPlan, progress: Progress) -> None:
    if planned.is_part:
        return
    damaged: list[str] = []
    index = index_tree(planned.storage, lambda path, error: damaged.append(printable_name(path)))
    if damaged:
        listed = ", ".join(damaged[:5]) + (", ..." if len(damaged) > 5 else "")
        progress.note(f"{len(damaged)} videos are damaged, and not in the index: {listed} (flowstore verify says more)")
    if index is None:
        progress.note("another run changes the store, so it has no index now: a last run without --part writes it")
