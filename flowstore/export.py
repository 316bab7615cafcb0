"""Writing a store out as folders of flow images, in the layouts that existing code reads."""

from __future__ import annotations

import json
import os
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from flowstore.errors import ArgumentError, ExportError, StoreError
from flowstore.file_encodings import FileQuantizer
from flowstore.flow_images import ExportTask, VideoExport, export_video, write_whole
from flowstore.layouts import Layout, find_layout
from flowstore.names import fold_name, printable_name
from flowstore.quantize import Quantizer
from flowstore.scheduling import Job, check_scheduler, choose_scheduler, run_job
from flowstore.storage import LocalStorage, is_case_blind
from flowstore.store import FlowStore, Place, open_store
from flowstore.video import Video

MANIFEST = "flowstore-export.json"
# Below so many flows the start of worker processes costs more than threads lose.
AUTO_PROCESSES_FLOWS = 20_000


class ExportProgress(Protocol):
    """What is told about an export while it goes on."""

    def start(self, n_videos: int, n_flows: int) -> None:
        """Hear that the export begins."""
        ...

    def add_flows(self, n_flows: int) -> None:
        """Hear that so many more flows were written."""
        ...

    def finish_item(self, key: str, problem: str) -> None:
        """Hear that a video is done; `problem` is empty for a good one."""
        ...

    def stop(self) -> None:
        """Hear that the export ended, whichever way."""
        ...


@dataclass(frozen=True)
class ExportReport:
    """What an export did.

    Parameters
    ----------
    dest : str
        Where the images are.
    layout : str
        Name of the layout.
    encoding_note : str
        Whether codes went out unchanged, and if not by how much they can differ.
    n_videos, n_flows, n_written, n_present : int
        Videos and flows exported, images written, images that were there already.
    n_left_out : int
        Videos of the store that have no flow, because they failed.
    failures : tuple of VideoExport
        Videos that could not be exported whole.
    seconds : float
        Wall-clock time.
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

    @property
    def is_all_well(self) -> bool:
        """Whether every video with flow was exported whole."""
        return not self.failures

    def __str__(self) -> str:
        rate = self.n_written / 2 / self.seconds if self.seconds else 0.0
        present = f", {self.n_present} were there" if self.n_present else ""
        left_out = f"; {self.n_left_out} failed videos of the store have no flow" if self.n_left_out else ""
        failed = f"; {len(self.failures)} failed" if self.failures else ""
        return (
            f"{self.n_videos} videos, {self.n_flows} flows, {self.n_written} images written{present} "
            f"in {self.seconds:.1f} s ({rate:.0f} flows/s) -> {self.dest} "
            f"({self.layout}; {self.encoding_note}){left_out}{failed}"
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
            "images_written": self.n_written,
            "images_present": self.n_present,
            "left_out": self.n_left_out,
            "failed": [{"video": failure.key, "reason": failure.problem} for failure in self.failures],
            "seconds": round(self.seconds, 3),
        }


@dataclass
class _Run:
    progress: ExportProgress | None
    results: list[VideoExport] = field(default_factory=list)

    def take(self, task: ExportTask, result: VideoExport) -> None:
        self._add(result)

    def take_damaged(self, path: str, error: StoreError) -> None:
        self._add(VideoExport(printable_name(path), problem=str(error)))

    def _add(self, result: VideoExport) -> None:
        self.results.append(result)
        if self.progress:
            self.progress.finish_item(result.key, result.problem)

    def add_flows(self, n_flows: int) -> None:
        if self.progress:
            self.progress.add_flows(n_flows)


def export(
    store: Place | FlowStore,
    dest: str | os.PathLike[str],
    layout: str | Layout = "notebook",
    *,
    encoding: Literal["layout", "keep"] = "layout",
    bound: float | None = None,
    quality: int | None = None,
    overwrite: bool = False,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: ExportProgress | None = None,
) -> ExportReport:
    """Export a store as folders of flow images.

    Parameters
    ----------
    store : path, URL, zarr store or FlowStore
        A selection exports its own videos.
    dest : path
        Folder to write to; made where there is none.
    layout : str or Layout
        Where images stand and how they are encoded; a name of `flowstore.layouts.LAYOUTS`.
    encoding : {"layout", "keep"}
        ``layout`` encodes with the layout's quantizer; ``keep`` writes the stored codes. Where the two are the same,
        the stored codes go out unchanged.
    bound : float, optional
        In pixels; the store's own by default, 20 for a float16 store.
    quality : int, optional
        JPEG quality, 0 to 100; the layout's own by default.
    overwrite : bool
        Write images anew that are there already, whatever they were made with.
    workers : int, optional
        Videos at a time; all cores by default.
    scheduler : {"auto", "processes", "threads", "sync"} or address
        Where tasks run.
    progress : ExportProgress, optional
        Is told what happens.

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
    An image appears whole or not at all, so running again writes what is missing.
    """
    opened = store if isinstance(store, FlowStore) else open_store(store)
    chosen = layout if isinstance(layout, Layout) else find_layout(layout)
    check_scheduler(scheduler, workers)
    jpeg_quality = chosen.quality if quality is None else quality
    if not 0 <= jpeg_quality <= 100:
        raise ArgumentError(f"quality is {jpeg_quality}, expected 0 to 100")
    quantizer = choose_quantizer(opened.settings.quantizer, chosen, encoding, bound)
    target = os.path.abspath(os.fspath(dest))
    _check_dest(target, opened)
    run = _Run(progress)
    videos = list(opened.iter_videos(run.take_damaged))
    check_folders(videos, chosen, target)
    for video in videos:
        folder = os.path.join(target, os.path.dirname(chosen.paths(video.class_name, video.name)[0]))
        if _is_inside_store(folder, opened):
            raise ArgumentError(f"DEST {target}: {video.key} would go into the store {opened.url}; give another folder")
    n_flows = sum(video.n_flows for video in videos)
    manifest = {
        "layout": chosen.name,
        "encoding": quantizer.encoding,
        "bound_px": quantizer.bound_px,
        "quality": jpeg_quality,
        "first": chosen.first,
        "step": opened.settings.step,
        "source_settings": opened.settings.to_json(),
        "versions": opened.root.versions | {"opencv": cv2.__version__},
    }
    is_resumed = _start_manifest(target, manifest, overwrite)
    # Images that no manifest tells of can be anything.
    is_overwriting = overwrite or not is_resumed
    tasks = [ExportTask(video, target, chosen, quantizer, jpeg_quality, is_overwriting) for video in videos]
    tasks.sort(key=lambda task: -task.video.n_flows)
    if progress:
        progress.start(len(videos), n_flows)
    started = time.monotonic()
    try:
        where, n_workers = choose_scheduler(scheduler, workers, len(tasks), n_flows < AUTO_PROCESSES_FLOWS)
        run_job(Job(export_video, tasks, run.take, run.add_flows, _report_killed), where, n_workers)
    finally:
        if progress:
            progress.stop()
    good = [result for result in run.results if not result.problem]
    n_exported = sum(result.n_written + result.n_present for result in good) // 2
    _write_manifest(
        target, manifest | {"n_videos": len(good), "n_flows": n_exported, "complete": len(good) == len(run.results)}
    )
    return ExportReport(
        dest=target,
        layout=chosen.name,
        encoding_note=describe_encoding(opened.settings.quantizer, quantizer),
        n_videos=len(good),
        n_flows=n_exported,
        n_written=sum(result.n_written for result in run.results),
        n_present=sum(result.n_present for result in run.results),
        n_left_out=int((opened.videos.column("status") == "failed").sum()),
        failures=tuple(result for result in run.results if result.problem),
        seconds=time.monotonic() - started,
    )


def choose_quantizer(stored: Quantizer, layout: Layout, encoding: str, bound: float | None) -> Quantizer:
    """Return the quantizer of the exported images.

    Raises
    ------
    ArgumentError
        If stored codes are to be kept, and are no gray levels or have another bound.
    """
    bound_px = bound if bound is not None else stored.bound_px or 20.0
    if encoding == "keep":
        if stored.encoding == "float16":
            raise ArgumentError("a float16 store has no codes to keep: use the layout's encoding")
        if bound_px != stored.bound_px:
            raise ArgumentError(f"stored codes have the bound {stored.bound_px:g} px: leave out the bound to keep them")
        return stored
    if encoding != "layout":
        raise ArgumentError(f"encoding is {encoding!r}, expected 'layout' or 'keep'")
    quantizer = FileQuantizer(layout.encoding, bound_px).stored
    if quantizer is None or layout.packing != "planes":
        raise ArgumentError(f"layout {layout.name} cannot be exported yet")
    return quantizer


def describe_encoding(stored: Quantizer, exported: Quantizer) -> str:
    """Say whether codes went out unchanged, and if not by how much they can differ."""
    if stored == exported:
        return f"{exported.encoding} codes as stored"
    stored_step = 0.0 if stored.encoding == "float16" else stored.scale
    differ = int(np.ceil(0.5 * stored_step / exported.scale + 0.5))
    return (
        f"decoded from {stored.encoding} and encoded as {exported.encoding} ±{exported.bound_px:g} px, "
        f"within {differ} of the code of the float flow"
    )


def _check_dest(target: str, store: FlowStore) -> None:
    if os.path.exists(target) and not os.path.isdir(target):
        raise ArgumentError(f"DEST {target}: a file; give the path of a folder")
    if os.path.exists(os.path.join(target, "zarr.json")):
        raise ArgumentError(f"DEST {target}: a Zarr store; give another folder")
    if _is_inside_store(target, store):
        raise ArgumentError(f"DEST {target}: inside the store; give a folder outside it")


def _is_inside_store(path: str, store: FlowStore) -> bool:
    if not isinstance(store.storage, LocalStorage):
        return False
    root = os.path.realpath(store.storage.root)
    return os.path.commonpath([os.path.realpath(path), root]) == root


def check_folders(videos: list[Video], layout: Layout, target: str) -> None:
    """Refuse an export in which two videos would write into one folder, or one out of the target.

    Raises
    ------
    ArgumentError
        If one would.
    """
    by_folder: defaultdict[str, list[str]] = defaultdict(list)
    for video in videos:
        by_folder[layout.paths(video.class_name, video.name)[0]].append(video.key)
    shared = [keys for keys in by_folder.values() if len(keys) > 1]
    if shared:
        raise ArgumentError(f"layout {layout.name} would put {' and '.join(shared[0])} into one folder")
    folded: defaultdict[str, list[str]] = defaultdict(list)
    for folder, keys in by_folder.items():
        folded[fold_name(folder)] += keys
    close = [keys for keys in folded.values() if len(keys) > 1]
    if close and is_case_blind(target):
        raise ArgumentError(f"names that this file system does not keep apart: {' and '.join(close[0])}")


def _start_manifest(target: str, manifest: dict[str, Any], is_overwriting: bool) -> bool:
    """Write the manifest of an unfinished export; tell whether one was there, of the same settings."""
    path = os.path.join(target, MANIFEST)
    try:
        with open(path, encoding="utf-8") as file:
            before = json.load(file)
    except FileNotFoundError:
        before = {}
    except (OSError, ValueError) as error:
        raise ExportError(f"{path}: cannot be read ({error}); remove it or use --overwrite") from error
    compared = ("layout", "encoding", "bound_px", "quality", "step", "source_settings")
    differences = [
        f"{name}: {before[name]} against {manifest[name]}"
        for name in compared
        if name in before and before[name] != manifest[name]
    ]
    if differences and not is_overwriting:
        raise ArgumentError(
            f"DEST {target} holds an export with other settings (there against here): {'; '.join(differences)}. "
            "Use another folder or --overwrite"
        )
    _write_manifest(target, manifest | {"complete": False})
    return bool(before)


def _write_manifest(target: str, manifest: dict[str, Any]) -> None:
    try:
        os.makedirs(target, exist_ok=True)
        write_whole(os.path.join(target, MANIFEST), json.dumps(manifest, indent=1).encode())
    except OSError as error:
        raise ExportError(f"cannot write to {target}: {error.strerror}") from error


def _report_killed(task: ExportTask) -> VideoExport:
    return VideoExport(task.video.key, problem="its worker process was killed, perhaps for want of memory")
