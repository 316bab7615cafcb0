"""Carrying out an extraction: the root before, one task for each video, the index and the report after."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from flowstore.arguments import ParameterValue
from flowstore.errors import FlowStoreError
from flowstore.estimators.guests import guest_versions
from flowstore.estimators.registry import compile_engine, is_guest, library_versions, make_estimator, needs_compiling
from flowstore.format.codec import Compression
from flowstore.format.record import VideoRecord
from flowstore.format.root import RootAttributes, read_root, state_plan
from flowstore.format.settings import IMPORTED, ExtractSettings
from flowstore.format.zarr_metadata import FORMAT
from flowstore.jobs.job import Loss, Tick
from flowstore.jobs.operation import Operation
from flowstore.jobs.progress import Progress, SilentProgress
from flowstore.jobs.schedulers import choose_scheduler
from flowstore.names import count_text, now_utc, printable_name, video_path
from flowstore.pipeline.forecast import EncodePart, measure
from flowstore.pipeline.plan import ExtractPlan, check_settings, estimator_of, plan_extract
from flowstore.pipeline.report import ExtractReport
from flowstore.pipeline.settings import choose_settings
from flowstore.pipeline.task import VideoTask, commit_failure, encode_part, extract_video, failed_record
from flowstore.progress import choose_progress
from flowstore.quantize.encoder import are_loops_compiled, compile_loops, has_numba
from flowstore.storage.keys import writing
from flowstore.storage.locks import SHARE_ADVICE
from flowstore.storage.places import room_notes
from flowstore.store.index import index_tree, is_indexed
from flowstore.store.open import Place
from flowstore.store.unfinished import remove_leftovers
from flowstore.store.writer import settle_root, write_classes

# On two and four cores threads are some 15 % faster than processes at any length, and start 2 s sooner; but only a
# process of its own keeps a decoder that crashes from ending the run. Beyond so many frames, half a minute, that is
# worth it.
AUTO_PROCESSES_FRAMES = 10_000
# A video that gives no flow for so long is ended: a large one may have to come over a slow network first.
_STALL_S, _STALL_S_PER_FRAME = 300.0, 0.005


def resolve_scheduler(scheduler: str, workers: int | None, planned: ExtractPlan) -> tuple[str, int]:
    """Choose where the tasks of a plan run."""
    return choose_scheduler(scheduler, _workers_of(planned, workers), len(planned.todo), _is_small(planned))


def _is_small(planned: ExtractPlan) -> bool:
    return planned.estimate.n_frames < AUTO_PROCESSES_FRAMES


def extract(
    source: str | os.PathLike[str],
    store: Place,
    *,
    algorithm: str | None = None,
    engine: str | None = None,
    params: Mapping[str, ParameterValue] | None = None,
    dtype: str | None = None,
    bound: float | None = None,
    encoding: str | None = None,
    step: int | None = None,
    short_side: int | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    compression: Compression | None = None,
    max_error: float | None = None,
    workers: int | None = None,
    scheduler: str = "auto",
    list_file: str | os.PathLike[str] | None = None,
    source_template: str | None = None,
    allow_gaps: bool = False,
    source_fps: float | None = None,
    select: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
    keep_damaged: bool = False,
    overwrite: bool = False,
    progress: Progress | bool | None = None,
) -> ExtractReport:
    """Extract the flow of a dataset into a store; run again, it does what is missing.

    Parameters
    ----------
    source : path
        A folder of class folders, of videos or of frame folders, one video, one frame folder, or a list file.
    store : path, URL or zarr store
        Made where there is none.
    algorithm, engine, params, dtype, bound, encoding, step, short_side, size, fps, compression, max_error
        What to compute; see `flowstore.pipeline.settings.make_settings`. A store that exists goes on with its own
        settings: give none of them again. One that differs from the store's is refused.
    workers : int, optional
        Videos at a time; all cores by default.
    scheduler : {"auto", "processes", "threads", "sync"} or address
        Where tasks run; an address such as ``tcp://host:8786`` is a running Dask cluster's.
    list_file, source_template, allow_gaps, source_fps
        Which videos there are, and how they are read; see `plan_extract`.
    select, include, exclude, limit, part
        Which of them to take; see `flowstore.sources.selection.select_sources`.
    retry_failed, keep_damaged
        What becomes of those that fail; see `plan_extract`.
    overwrite : bool
        Whether the store is emptied first.
    progress : Progress, bool or None
        Is told what happens: one of your own, True for a display on stderr, False for none. None displays it at a
        terminal and in a notebook.

    Returns
    -------
    ExtractReport

    Raises
    ------
    FlowStoreError
        If something cannot be used, before any work; or if the store cannot be written.
    KeyboardInterrupt
        If the run was interrupted; the store resumes.

    Examples
    --------
    >>> from flowstore.pipeline import extract
    >>> report = extract("hmdb51/videos", "hmdb51.zarr", workers=4)  # doctest: +SKIP
    """
    progress = choose_progress(progress, "extract")
    asked = {
        "algorithm": algorithm,
        "engine": engine,
        "params": params,
        "dtype": dtype,
        "bound": bound,
        "encoding": encoding,
        "step": step,
        "short_side": short_side,
        "size": size,
        "fps": fps,
        "compression": compression,
        "max_error": max_error,
    }
    settings, engine_note = choose_settings(store, asked, overwrite)
    if engine_note and progress:
        progress.note(engine_note)
    planned = plan_extract(
        source,
        store,
        settings,
        list_file=list_file,
        source_template=source_template,
        allow_gaps=allow_gaps,
        source_fps=source_fps,
        select=select,
        include=include,
        exclude=exclude,
        limit=limit,
        part=part,
        retry_failed=retry_failed,
        keep_damaged=keep_damaged,
        overwrite=overwrite,
    )
    return run_plan(planned, workers, scheduler, progress)


def run_plan(
    planned: ExtractPlan,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: Progress | None = None,
    function: Callable[[VideoTask, Tick], VideoRecord] = extract_video,
) -> ExtractReport:
    """Carry out a plan."""
    operation = Operation(scheduler, _workers_of(planned, workers), progress)
    if planned.todo:
        needs = needs_of_workers(planned.settings)
        operation.check_workers(planned.todo[0].path, planned.storage.folder, needs=needs)
    gathered = _Gathered(planned, operation.progress)
    if not planned.todo and (planned.is_part or _is_indexed(planned)):
        if _has_old_plan(planned):
            _state_again(planned, operation.progress)
        return gathered.report(0.0)
    with planned.storage.lock(is_shared=planned.is_part, advice=SHARE_ADVICE) as is_locked:
        _run_locked(planned, is_locked, operation, gathered, function)
        if is_locked and not planned.is_part:
            remove_leftovers(planned.storage)
    return gathered.report(operation.seconds)


def measure_plan(
    planned: ExtractPlan, progress: Progress | None = None, encode_part: EncodePart = encode_part
) -> ExtractPlan:
    """Return a plan whose bytes and time are foretold from some flows, made now; kernels are compiled for them."""
    if not planned.todo:
        return planned
    _prepare_engine(planned.settings, progress or SilentProgress())
    return replace(planned, estimate=measure(planned.estimate, planned.settings, encode_part))


def is_worth_measuring(planned: ExtractPlan) -> bool:
    """Tell whether a run is so long that a measurement does not lengthen it, or may fill the disk.

    A guest is not measured before a run: it may load models, or hold a device's memory that workers need.
    """
    algorithm = planned.settings.algorithm
    if algorithm != IMPORTED and is_guest(algorithm):
        return False
    return not _is_small(planned) or bool(room_notes(planned.storage, planned.estimate.stored_bytes(1.0)))


def _workers_of(planned: ExtractPlan, workers: int | None) -> int | None:
    return estimator_of(planned.settings).max_workers if workers is None else workers


def needs_of_workers(settings: ExtractSettings) -> Callable[[], dict[str, str]] | None:
    """Return what makes a guest on a worker and gives its version; None for the house's own estimators."""
    if settings.algorithm == IMPORTED or not is_guest(settings.algorithm):
        return None
    return partial(_make_guest, settings.algorithm, settings.engine, settings.params)


def _make_guest(algorithm: str, engine: str, params: Mapping[str, ParameterValue]) -> dict[str, str]:
    make_estimator(algorithm, engine, params)
    return guest_versions(algorithm)


def _has_old_plan(planned: ExtractPlan) -> bool:
    """Tell whether the store names other sources or another number of videos, though nothing is left to do."""
    stated = read_root(planned.storage)
    if None in (stated.n_planned, planned.n_planned):
        return False
    return stated.n_planned != planned.n_planned or {*stated.sources} != {*planned.sources}


def _state_again(planned: ExtractPlan, progress: Progress) -> None:
    """Bring up to date what the store says of its sources and its plan, where it can be written: it is whole anyhow."""
    try:
        with planned.storage.lock(is_shared=planned.is_part, advice=SHARE_ADVICE), writing(planned.storage.url):
            _state_plan(planned)
    except FlowStoreError as error:
        progress.note(f"what the store says of its sources and its plan stays as it was: {error}")


def _state_plan(planned: ExtractPlan) -> None:
    root = read_root(planned.storage)
    state_plan(planned.storage, replace(root, sources=planned.sources, n_planned=planned.n_planned))


def _is_indexed(planned: ExtractPlan) -> bool:
    return is_indexed(planned.storage, (video_path(source.class_name, source.name) for source in planned.stored))


def _run_locked(
    planned: ExtractPlan,
    is_locked: bool,
    operation: Operation,
    gathered: _Gathered,
    function: Callable[[VideoTask, Tick], VideoRecord],
) -> None:
    telling = operation.telling(len(planned.todo), planned.estimate.n_frames)
    with telling, writing(planned.storage.url):
        try:
            if planned.todo:
                _prepare_engine(planned.settings, operation.progress)
                refused = _prepare_store(planned, is_locked)
                tasks = []
                for source in planned.todo:
                    task = VideoTask(source, planned.settings, planned.storage, planned.keep_damaged)
                    if reason := refused.get((source.class_name, source.name)):
                        # No record can be kept of it: it is told at each run.
                        gathered.take(task, failed_record(task, reason))
                    else:
                        tasks.append(task)
                operation.run(function, tasks, gathered.take, _commit_lost, _is_small(planned), _stall_limit_s)
            else:
                _state_plan(planned)
        except KeyboardInterrupt:
            # Before the root there is no store, and a folder with nothing but an index would be refused the next time.
            if planned.storage.size_bytes("zarr.json"):
                _index_store(planned, operation.progress)
            raise
        _index_store(planned, operation.progress)


class _Gathered:
    """What the tasks of one run return. Results come to one thread only."""

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


def _stall_limit_s(task: VideoTask) -> float:
    return _STALL_S + task.source.cost * _STALL_S_PER_FRAME


def _commit_lost(task: VideoTask, how: Loss) -> VideoRecord:
    if how == "killed":
        return commit_failure(task, "its worker process was killed, by the decoder or for want of memory")
    limit_s = _stall_limit_s(task)
    reason = f"gave no flow for {limit_s:.0f} s: its decoder or estimator hangs, or its disk does not answer"
    return commit_failure(task, reason)


def _prepare_engine(settings: ExtractSettings, progress: Progress) -> None:
    # Once, here: the workers find what they need in the cache on disk.
    engine, algorithm = settings.engine, settings.algorithm
    is_choosing = settings.max_error_px is not None and has_numba()
    if engine != "numba" and not is_choosing:
        return
    if needs_compiling(engine, algorithm) or not are_loops_compiled(is_choosing):
        progress.note("compiling the kernels for this machine, once: some seconds")
    compile_engine(engine, algorithm)
    compile_loops(is_choosing)


def _prepare_store(planned: ExtractPlan, is_locked: bool) -> dict[tuple[str, str], str]:
    """Make ready for the videos; return why those cannot be written whose names the file system refuses."""
    storage = planned.storage
    versions = library_versions(planned.settings.algorithm)
    settle_root(
        storage,
        RootAttributes(
            FORMAT,
            planned.settings,
            versions,
            now_utc(),
            planned.sources,
            planned.n_planned,
            planned.source_fps,
        ),
        lambda found: check_settings(storage, found, planned.settings),
        is_new=planned.is_new,
        is_overwritten=planned.is_overwritten,
        may_join=is_locked or planned.is_part,
    )
    return write_classes(storage, sorted((source.class_name, source.name) for source in planned.todo))


def _index_store(planned: ExtractPlan, progress: Progress) -> None:
    if planned.is_part:
        return
    damaged: list[str] = []
    index = index_tree(planned.storage, lambda path, error: damaged.append(printable_name(path)))
    if damaged:
        listed = ", ".join(damaged[:5]) + (", ..." if len(damaged) > 5 else "")
        progress.note(
            f"{count_text(len(damaged), 'damaged video')} not in the index: {listed} (flowstore verify says more)"
        )
    if index is None:
        progress.note("another run changes the store, so it has no index now: a last run without --part writes it")
