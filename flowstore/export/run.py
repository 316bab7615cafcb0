"""Writing a store out as files of flow, in the layouts that existing code reads."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from flowstore.export.lists import list_files
from flowstore.export.manifest import start_manifest, write_manifest, write_own_file
from flowstore.export.plan import ExportOptions, ExportPlan, plan_export
from flowstore.export.task import ExportTask, VideoExport, export_video
from flowstore.jobs.job import Loss
from flowstore.jobs.operation import SMALL_FLOWS, Operation
from flowstore.jobs.progress import Progress
from flowstore.layouts.layout import LISTS_FOLDER, MANIFEST, Layout
from flowstore.layouts.presets import find_layout
from flowstore.names import count_text
from flowstore.opencv import opencv_versions
from flowstore.progress import choose_progress
from flowstore.storage.atomic import remove_strays
from flowstore.storage.locks import writers_lock
from flowstore.store.open import FlowStore, Place, open_store


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Parameters
    ----------
    dest : str
        Where the files are.
    layout : str
        Name of the layout.
    encoding_note : str
        Whether codes went out unchanged, and if not by how much they can differ.
    n_videos, n_flows, n_written, n_present : int
        Videos and flows exported, files written, files that were there already.
    n_left_out : int
        Videos of the store that have no flow, because they failed.
    failures : tuple of VideoExport
        Videos that could not be exported whole.
    seconds : float
        Wall-clock time.
    lists : dict of str to int
        Lists that were written, and the lines of each.
    flows_per_second : float
        Rate at which flows were written, those that were there not counted.
    missing : str
        How many of the store's planned videos are missing, in words; empty where none is.
    unlisted : tuple of str
        Videos that no list can hold, for their names, by ``class/name``.
    """

    dest: str
    layout: str
    encoding_note: str
    n_videos: int
    n_flows: int
    n_written: int
    n_present: int
    n_left_out: int
    failures: tuple[VideoExport, ...]
    seconds: float
    lists: dict[str, int] = field(default_factory=dict)
    flows_per_second: float = 0.0
    missing: str = ""
    unlisted: tuple[str, ...] = ()

    @property
    def is_all_well(self) -> bool:
        """Whether every video with flow was exported whole."""
        return not self.failures

    def __str__(self) -> str:
        present = f", {self.n_present} were there" if self.n_present else ""
        left_out = f"; {count_text(self.n_left_out, 'failed video')} left out" if self.n_left_out else ""
        failed = f"; {count_text(len(self.failures), 'video')} could not be exported" if self.failures else ""
        missing = f"; {self.missing}" if self.missing else ""
        lists = "".join(f"; {path}: {count_text(n_lines, 'line')}" for path, n_lines in self.lists.items())
        if self.unlisted:
            lists += f"; {count_text(len(self.unlisted), 'video')} in no list"
        return (
            f"{count_text(self.n_videos, 'video')}, {count_text(self.n_flows, 'flow')}, "
            f"{count_text(self.n_written, 'file')} written{present} "
            f"in {self.seconds:.1f} s ({self.flows_per_second:.0f} flows/s) -> {self.dest} "
            f"({self.layout}; {self.encoding_note}){lists}{left_out}{failed}{missing}"
        )

    def __repr__(self) -> str:
        return f"<ExportReport: {self}>"

    def to_json(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "dest": self.dest,
            "layout": self.layout,
            "encoding": self.encoding_note,
            "videos": self.n_videos,
            "flows": self.n_flows,
            "files_written": self.n_written,
            "files_present": self.n_present,
            "left_out": self.n_left_out,
            "missing": self.missing,
            "lists": self.lists,
            "unlisted": list(self.unlisted),
            "failed": [{"video": failure.key, "reason": failure.problem} for failure in self.failures],
            "seconds": round(self.seconds, 3),
        }


@dataclass
class _Gathered:
    progress: Progress
    results: list[VideoExport] = field(default_factory=list)

    def take(self, task: ExportTask, result: VideoExport) -> None:
        self.add(result)

    def add(self, result: VideoExport) -> None:
        self.results.append(result)
        self.progress.finish_video(result.key, result.problem)


def export(
    store: Place | FlowStore,
    dest: str | os.PathLike[str],
    layout: str | Layout = "notebook",
    *,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: Progress | bool | None = None,
    **options: Any,
) -> ExportReport:
    """Export a store as files of flow.

    Parameters
    ----------
    store : path, URL, zarr store or FlowStore
        A selection exports its own videos.
    dest : path
        Folder to write to; made where there is none.
    layout : str or Layout
        Where files stand and how they are encoded; a name of `flowstore.layouts.presets.LAYOUTS`, or what
        `flowstore.layouts.layout.custom_layout` gives.
    workers : int, optional
        Videos at a time; all cores by default.
    scheduler : {"auto", "processes", "threads", "sync"} or address
        Where tasks run.
    progress : Progress, bool or None
        Is told what happens: one of your own, True for a display on stderr, False for none. None displays it at a
        terminal and in a notebook.
    **options
        What `flowstore.export.plan.ExportOptions` takes: ``encoding``, ``bound``, ``quality``, ``image_format``,
        ``short_side``, ``size``, ``pad_last``, ``class_folder``, ``select``, ``lists``,
        ``skip_unlisted``, ``overwrite``.

    Returns
    -------
    ExportReport

    Raises
    ------
    ArgumentError
        If a choice cannot be used, or two videos would get one folder; before anything is written.
    ExportError
        If `dest` cannot be written, or holds an export with other settings.

    Notes
    -----
    A file appears whole or not at all, so running again writes what is missing.

    Examples
    --------
    >>> from flowstore.export import export
    >>> report = export("hmdb51.zarr", "jpeg/", "mmaction2", lists=["all"])  # doctest: +SKIP
    """
    progress = choose_progress(progress, "export")
    opened = store if isinstance(store, FlowStore) else open_store(store)
    chosen = layout if isinstance(layout, Layout) else find_layout(layout)
    asked = ExportOptions(**options)
    planned = plan_export(opened, dest, chosen, asked)
    return run_export(planned, asked.overwrite, workers, scheduler, progress)


def run_export(
    planned: ExportPlan,
    overwrite: bool = False,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: Progress | None = None,
) -> ExportReport:
    """Do what was planned."""
    operation = Operation(scheduler, workers, progress)
    if planned.tasks:
        operation.check_workers(planned.store.storage.folder, planned.dest)
    for note in planned.room_notes():
        operation.progress.note(note)
    versions = planned.store.root.versions | opencv_versions()
    with writers_lock(planned.dest, is_shared=False, advice="wait for it"):
        manifest = start_manifest(planned, versions, overwrite)
        if planned.tasks:
            # Every machine may have a folder of the name in which the target is made; this file, only those that share.
            operation.check_workers(os.path.join(planned.dest, MANIFEST))
        _remove_strays(planned)
        gathered = _Gathered(operation.progress)
        with operation.telling(len(planned.tasks), planned.n_flows):
            for damaged in planned.damaged:
                gathered.add(damaged)
            operation.run(export_video, planned.tasks, gathered.take, _report_lost, planned.n_flows < SMALL_FLOWS)
        good = [result for result in gathered.results if not result.problem]
        lists = _write_lists(planned, good)
        n_flows = sum(result.n_flows for result in good)
        counts = {
            "n_videos": len(good),
            "n_flows": n_flows,
            "n_files": sum(result.n_written + result.n_present for result in good),
            "lists": lists,
            "complete": len(good) == len(gathered.results),
        }
        write_manifest(planned.dest, manifest.saying(**counts))
    seconds = operation.seconds
    n_written = sum(result.n_written for result in gathered.results)
    return ExportReport(
        dest=planned.dest,
        layout=planned.layout.name,
        encoding_note=planned.encoding_note,
        n_videos=len(good),
        n_flows=n_flows,
        n_written=n_written,
        n_present=sum(result.n_present for result in gathered.results),
        n_left_out=planned.n_left_out,
        failures=tuple(result for result in gathered.results if result.problem),
        seconds=seconds,
        lists=lists,
        flows_per_second=n_written * planned.n_flows / max(1, planned.n_files) / max(seconds, 1e-9),
        missing=planned.missing,
        unlisted=tuple(planned.unlisted.values()),
    )


def _write_lists(planned: ExportPlan, good: list[VideoExport]) -> dict[str, int]:
    """Write the lists of the videos that went out; return the lines of each."""
    exported = {result.path for result in good} - planned.unlisted.keys()
    tasks = {task.path: task for task in planned.tasks if task.path in exported}
    files = list_files(planned.lists, tasks, planned.classes)
    for path, (text, _) in files.items():
        write_own_file(planned.dest, path, text)
    return {path: n_lines for path, (_, n_lines) in files.items()}


def _remove_strays(planned: ExportPlan) -> None:
    """Remove what a killed run left in the folders that videos share; each task sees to those of its own."""
    folders = {planned.dest, os.path.join(planned.dest, LISTS_FOLDER)}
    if not planned.layout.has_own_folders:
        folders |= {os.path.dirname(pattern.path(0)) for task in planned.tasks for pattern in task.patterns()}
    for folder in folders:
        remove_strays(folder)


def _report_lost(task: ExportTask, how: Loss) -> VideoExport:
    return VideoExport(task.video.key, problem="its worker process was killed, perhaps for want of memory")
