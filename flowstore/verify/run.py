"""Verifying a store: everything in it is read once, every fault is named, and what can be mended is."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterable

from flowstore.errors import ArgumentError, StoreError
from flowstore.estimators.registry import make_estimator
from flowstore.format.record import VideoRecord
from flowstore.format.root import enclosing_store, read_root
from flowstore.format.settings import IMPORTED, ExtractSettings
from flowstore.jobs.job import Loss
from flowstore.jobs.operation import SMALL_FLOWS, Operation
from flowstore.jobs.progress import Progress
from flowstore.layouts.flow_names import flow_finder
from flowstore.layouts.templates import source_pattern
from flowstore.names import count_text, missing_text, printable_name, unescape_name, video_path
from flowstore.opencv import check_opencv
from flowstore.pipeline.clock import with_stored_clock
from flowstore.pipeline.plan import check_names
from flowstore.pipeline.run import needs_of_workers
from flowstore.pipeline.task import Comparison, VideoTask, compare_video
from flowstore.progress import choose_progress
from flowstore.sources.discovery import discover
from flowstore.sources.source import VideoSource
from flowstore.storage.keys import Storage
from flowstore.storage.places import open_storage
from flowstore.store.index import indexed_flows
from flowstore.store.open import Place
from flowstore.store.tree import class_paths, video_paths
from flowstore.verify.faults import Fault
from flowstore.verify.repair import Mended, Subject, extract_again, mend_in_place
from flowstore.verify.report import VerifyReport
from flowstore.verify.task import CheckTask, VideoFindings, check_video
from flowstore.verify.tree_checks import check_class, check_index, check_root

SAMPLE = 16
# Missing videos that are named one by one, where there are many.
_MOST_NAMED = 5
_UNKNOWN_FLOWS = 2**62
# Another version of a library, or another processor, may round a sum the other way: one code in a thousand, by one.
_ROUNDED_SHARE = 1e-3
# Where a point falls in or out of the picture by its last bit, it is by more.
_FAR_SHARE = 1e-5


def verify(
    store: Place,
    *,
    source: str | os.PathLike[str] | None = None,
    source_template: str | None = None,
    deep: bool = False,
    sample: int = SAMPLE,
    repair: bool = False,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: Progress | bool | None = None,
    repair_progress: Progress | bool | None = None,
) -> VerifyReport:
    """Read everything in a store once, and name every fault.

    Parameters
    ----------
    store : path, URL or zarr store
        To check.
    source : path, optional
        What it was extracted from: its videos are compared with the fingerprints in the store, and those that the
        store has not are faults.
    source_template : str, optional
        What a video's path below the source is, as for `flowstore.pipeline.extract`.
    deep : bool
        Extract a sample of the videos anew and compare the flow. Needs `source`.
    sample : int
        Videos of the sample.
    repair : bool
        Mend what is wrong: videos are extracted again where the source is at hand, and committed as failed ones where
        it is not; what killed runs left is removed.
    workers : int, optional
        Videos at a time; all cores by default.
    scheduler : {"auto", "processes", "threads", "sync"} or address
        Where tasks run.
    progress : Progress, bool or None
        Is told what happens: one of your own, True for a display on stderr, False for none. None displays it at a
        terminal and in a notebook.
    repair_progress : Progress, optional
        Is told of videos that are extracted again.

    Returns
    -------
    VerifyReport

    Raises
    ------
    ArgumentError
        If a choice cannot be used, or a run writes to the store; before any work.
    StoreNotFoundError, StoreFormatError
        If there is no store.
    SourceError
        If there is no source.

    Examples
    --------
    >>> from flowstore.verify import verify
    >>> verify("hmdb51.zarr", source="hmdb51/videos").is_all_well  # doctest: +SKIP
    True
    """
    progress = choose_progress(progress, "verify")
    repair_progress = choose_progress(repair_progress, "extract")
    operation = Operation(scheduler, workers, progress)
    if deep and source is None:
        raise ArgumentError("--deep extracts anew, so it needs --source")
    if sample < 1:
        raise ArgumentError(f"the sample is {sample} videos, expected 1 or more")
    storage = open_storage(store, is_written=repair)
    check_there(storage)
    sources = _find_sources(source, source_template, storage)
    operation.check_workers(storage.folder, *[source.path for source in list((sources or {}).values())[:1]])
    mended: Mended | None = None
    with storage.lock(advice="wait for it, since what it has under way would pass for damage"):
        run = _Run(storage, sources, operation)
        if (repair or deep) and source is not None and run.settings is not None:
            # To learn at the end of hours that nothing can be extracted here would be late.
            check_opencv()
            make_estimator(run.settings.algorithm, run.settings.engine, run.settings.params)
            operation.check_workers(needs=needs_of_workers(run.settings))
        if run.settings is not None:
            run.check(run.settings)
            if deep:
                run.compare(run.settings, sample)
            if repair:
                mended = mend_in_place(Subject(storage, run.settings, tuple(run.faults), run.records, sources or {}))
    if mended is not None:
        extract_again(mended, workers, scheduler, repair_progress)
    return run.report(mended, operation.seconds)


def check_there(storage: Storage) -> None:
    """Raise if there is no store at all; a damaged one passes."""
    if storage.size_bytes("zarr.json") is None or enclosing_store(storage) is not None:
        read_root(storage)


def _find_sources(
    source: str | os.PathLike[str] | None, source_template: str | None, storage: Storage
) -> dict[str, VideoSource] | None:
    """Return the sources by the path of their video, None where none are given."""
    if source is None:
        return None
    with contextlib.suppress(StoreError):
        if read_root(storage).settings.algorithm == IMPORTED:
            raise ArgumentError(
                f"{storage.url} was imported from flow files, which --source does not read: leave it out, and run "
                "flowstore import with the same folder again, which brings in what has changed or was marked as failed"
            )
    pattern = None if source_template is None else source_pattern(source_template)
    # Which frames were taken with gaps stands in the store's records; their order is the same.
    found = discover(source, find_flow=flow_finder(), pattern=pattern, allow_gaps=True).sources
    check_names(found, storage)
    return {video_path(one.class_name, one.name): one for one in found}


class _Run:
    """Gathers what a check finds."""

    def __init__(self, storage: Storage, sources: dict[str, VideoSource] | None, operation: Operation) -> None:
        self._storage = storage
        self._sources = sources
        self._operation = operation
        self._progress = operation.progress
        self._findings: dict[str, VideoFindings] = {}
        self._compared: list[tuple[str, Comparison]] = []
        root, faults = check_root(storage)
        self.faults: list[Fault] = []
        self.settings = None if root is None else root.settings
        self._n_planned = None if root is None else root.n_planned
        self.notes: list[str] = []
        self.doubts: list[str] = []
        self._tell(faults)
        if root is None:
            self.notes.append(
                "nothing else can be checked: what the videos were made with stands in the root; extract one video "
                "with the same settings into another store (--limit 1), and copy its zarr.json here"
            )

    @property
    def records(self) -> dict[str, VideoRecord]:
        """Every record that could be read, by path."""
        return {path: found.record for path, found in self._findings.items() if found.record is not None}

    def _tell(self, faults: Iterable[Fault]) -> None:
        for fault in faults:
            self.faults.append(fault)
            self._progress.note(str(fault))

    def check(self, settings: ExtractSettings) -> None:
        """Check every video, then the classes, the index and whether all sources are there."""
        paths = video_paths(self._storage)
        sources = self._sources or {}
        tasks = [CheckTask(self._storage, path, settings, sources.get(path)) for path in paths]
        n_flows = indexed_flows(self._storage)
        # Where the flows are not known, progress is that of the videos.
        with self._operation.telling(len(tasks), _UNKNOWN_FLOWS if n_flows is None else n_flows):
            self._operation.run(check_video, tasks, self._take, _report_lost, (n_flows or 0) < SMALL_FLOWS)
        self._check_tree()
        self._check_sources()
        n_old = sum(not found.has_digests for found in self._findings.values())
        if n_old:
            self.notes.append(
                f"{count_text(n_old, 'video')} written without digests: of those, damage is found, and files that were "
                "exchanged for others of their size are not"
            )

    def _take(self, task: CheckTask, found: VideoFindings) -> None:
        self._findings[task.path] = found
        self._tell(found.faults)
        self._progress.finish_video(printable_name(task.path), "")

    def _check_tree(self) -> None:
        with_videos = {path.partition("/")[0] for path, found in self._findings.items() if found.record is not None}
        for path in class_paths(self._storage):
            self._tell(check_class(self._storage, path, path in with_videos))
        damaged = {path for path, found in self._findings.items() if found.record is None}
        self._tell(check_index(self._storage, list(self.records.values()), damaged))

    def _check_sources(self) -> None:
        known = {path for path, found in self._findings.items() if found.record is not None}
        known |= {fault.path.removesuffix("/zarr.json") for fault in self.faults if fault.remedy == "extract"}
        if self._sources is None:
            # What was named as damaged or lost is not counted again.
            n_missing = max(0, (self._n_planned or 0) - len(known))
            if n_missing:
                self.doubts.append(missing_text(self._n_planned, n_missing))
            return
        missing = [
            Fault("missing", path, "not in the store", source.class_name, source.name, remedy="extract")
            for path, source in self._sources.items()
            if path not in known
        ]
        if missing:
            counted = f"{len(missing)} of {count_text(len(self._sources), 'video')} of the source"
            self._progress.note(f"missing: {counted}: not in the store; flowstore extract adds them")
        self._tell(missing[:_MOST_NAMED])
        if missing[_MOST_NAMED:]:
            self._progress.note(f"missing: ... and {len(missing) - _MOST_NAMED} more; --json names all")
            self.faults += missing[_MOST_NAMED:]
        good = [found for found in self._findings.values() if found.record is not None and found.record.is_ok]
        n_gone = sum(not found.is_source_readable for found in good)
        if n_gone:
            self.doubts.append(f"{count_text(n_gone, 'video')} without a readable source: only the flow was checked")

    def compare(self, settings: ExtractSettings, sample: int) -> None:
        """Extract a sample anew, and compare."""
        good = [
            path
            for path, found in sorted(self._findings.items())
            if found.record is not None and found.record.is_ok and found.is_source_readable and not found.faults
        ]
        chosen = random.Random(0).sample(good, min(sample, len(good)))
        sources = self._sources or {}
        clocked = [with_stored_clock(self._storage, sources[path], [self.records[path]]) for path in chosen]
        tasks = [VideoTask(source, settings, self._storage) for source in clocked]
        n_flows = sum(self.records[path].n_flows for path in chosen)
        with self._operation.telling(len(tasks), n_flows):
            self._operation.run(compare_video, tasks, self._take_comparison, _compare_lost, n_flows < SMALL_FLOWS)
        n_same = sum(not found.n_different and not found.problem for _, found in self._compared)
        same = "is the same to the last bit"
        if settings.max_error_px is not None:
            same = f"is within the {settings.max_error_px:g} px that its settings allow"
        self.notes.append(f"{count_text(len(tasks), 'video')} extracted again: the flow of {n_same} {same}")

    def _take_comparison(self, task: VideoTask, found: Comparison) -> None:
        path = video_path(task.source.class_name, task.source.name)
        self._compared.append((path, found))
        self._progress.finish_video(task.source.key, "")
        if found.problem:
            text = f"cannot be extracted anew: {found.problem}"
        elif found.n_different > _ROUNDED_SHARE * found.n_values or found.n_far > _FAR_SHARE * found.n_values:
            text = (
                f"{found.n_different} of {found.n_values} numbers are not those of its source, "
                f"by up to {found.max_difference_px:.3g} px"
            )
        elif found.n_different:
            self.notes.append(
                f"{task.source.key}: {found.n_different} of {found.n_values} numbers differ, by up to "
                f"{found.max_difference_px:.3g} px, as between versions of a library or processors"
            )
            return
        else:
            return
        self._tell([Fault("source", path, text, task.source.class_name, task.source.name, remedy="extract")])

    def report(self, mended: Mended | None, seconds: float) -> VerifyReport:
        """Return the report."""
        records = self.records.values()
        return VerifyReport(
            store_url=self._storage.url,
            n_videos=sum(record.is_ok for record in records),
            n_failed=sum(not record.is_ok for record in records),
            n_flows=sum(record.n_flows for record in records),
            size_bytes=sum(found.size_bytes for found in self._findings.values()),
            faults=tuple(sorted(self.faults, key=lambda fault: (fault.path, fault.flows or (0, 0)))),
            mended=tuple(mended.lines) if mended else (),
            n_left=mended.n_left if mended else len(self.faults),
            notes=(*self.notes, *self.doubts, *damage_notes(records)),
            seconds=seconds,
            doubts=tuple(self.doubts),
        )


def damage_notes(records: Iterable[VideoRecord]) -> list[str]:
    """Return a line where flow ends before the damage of its video."""
    damaged = sorted((record.key, record.damage) for record in records if record.damage)
    if not damaged:
        return []
    listed = "; ".join(f"{printable_name(key)} {damage}" for key, damage in damaged[:5])
    are_damaged = "video is damaged, its" if len(damaged) == 1 else "videos are damaged, their"
    more = "; ..." if damaged[5:] else ""
    return [f"{len(damaged)} {are_damaged} flow ends before the damage: {listed}{more}"]


def _report_lost(task: CheckTask, how: Loss) -> VideoFindings:
    class_name, _, name = task.path.partition("/")
    text = "its worker process was killed while it read this, perhaps for want of memory"
    names = unescape_name(class_name), unescape_name(name)
    return VideoFindings(task.path, None, (Fault("damaged", task.path, text, *names),))


def _compare_lost(task: VideoTask, how: Loss) -> Comparison:
    return Comparison(problem="the worker process was killed")
