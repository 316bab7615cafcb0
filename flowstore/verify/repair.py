"""Mending what a check of a store found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

from flowstore.errors import ArgumentError, DecodeError
from flowstore.estimators.registry import library_versions
from flowstore.format import zarr_metadata
from flowstore.format.record import VideoRecord
from flowstore.format.root import drop_consolidated
from flowstore.format.settings import ExtractSettings
from flowstore.jobs.progress import Progress
from flowstore.names import is_shortened, now_utc, printable_name, unescape_name
from flowstore.pipeline.clock import with_stored_clock
from flowstore.pipeline.plan import ExtractPlan
from flowstore.pipeline.run import run_plan
from flowstore.sources.source import VideoSource
from flowstore.storage.keys import Storage
from flowstore.store.index import has_index, index_tree
from flowstore.store.writer import write_class, write_failed
from flowstore.verify.faults import Fault
from flowstore.verify.task import expected_flow_document


@dataclass(frozen=True)
class Subject:
    """What is to be mended.

    Parameters
    ----------
    storage : Storage
        Of the store.
    settings : ExtractSettings
        Of the store.
    faults : tuple of Fault
        What is wrong.
    records : mapping of str to VideoRecord
        Every record that can be read, by path.
    sources : mapping of str to VideoSource
        What is at hand of the sources, by the path of their video.
    """

    storage: Storage
    settings: ExtractSettings
    faults: tuple[Fault, ...]
    records: Mapping[str, VideoRecord]
    sources: Mapping[str, VideoSource]


@dataclass
class Mended:
    """What became of the faults.

    Parameters
    ----------
    subject : Subject
        What was to be mended.
    lines : list of str
        What was done, a line each.
    n_left : int
        Faults that are still there, or cost a video its flow.
    to_extract : dict of str to list of Fault
        What is still to be extracted again, by the path of the video.
    """

    subject: Subject
    lines: list[str] = field(default_factory=list)
    n_left: int = 0
    to_extract: dict[str, list[Fault]] = field(default_factory=dict)


def mend_in_place(subject: Subject) -> Mended:
    """Do all that takes no extraction; only for who holds the right to change the store alone."""
    mended = Mended(subject)
    by_video: defaultdict[str, list[Fault]] = defaultdict(list)
    for fault in subject.faults:
        if fault.remedy == "extract":
            by_video["/".join(fault.path.split("/")[:2])].append(fault)
    for fault in subject.faults:
        if fault.remedy == "remove":
            _remove(subject.storage, fault)
            mended.lines.append(f"removed {printable_name(fault.path)}")
        elif fault.remedy == "rewrite":
            _rewrite(mended, fault, by_video)
        elif not fault.remedy:
            mended.n_left += 1
    for path, faults in by_video.items():
        source = subject.sources.get(path)
        if source is not None and source.is_readable() and (not _is_flow_whole(faults) or _gives_frames(source)):
            mended.to_extract[path] = faults
        else:
            _give_up(mended, path, faults)
    # To have none is no fault; but who was killed while he mended a store may have left it so.
    is_index_bad = any(fault.remedy == "index" for fault in subject.faults) or not has_index(subject.storage)
    if not mended.to_extract and (mended.lines or is_index_bad):
        index_tree(subject.storage)
    if is_index_bad:
        # Who extracts again writes it too.
        mended.lines.append("wrote the index anew")
    return mended


def _remove(storage: Storage, fault: Fault) -> None:
    parent, _, name = fault.path.rpartition("/")
    if name in storage.list_folders(parent):
        storage.delete_tree(fault.path)
    else:
        storage.delete(fault.path)
    if parent and not storage.list_children(parent):
        # A class in which nothing was ever finished.
        storage.delete_tree(parent)


def _rewrite(mended: Mended, fault: Fault, by_video: Mapping[str, list[Fault]]) -> None:
    """Write a document anew that follows from others."""
    subject = mended.subject
    place, _, _ = fault.path.rpartition("/")
    if not place:
        drop_consolidated(subject.storage)
    elif place.endswith(f"/{zarr_metadata.FLOW}"):
        path = place.removesuffix(f"/{zarr_metadata.FLOW}")
        if path in by_video:
            # It is extracted again anyway.
            by_video[path].append(fault)
            return
        document = expected_flow_document(subject.records[path], subject.settings)
        assert document is not None
        subject.storage.write(fault.path, zarr_metadata.to_bytes(document), is_durable=True)
    else:
        names = {record.class_name for path, record in subject.records.items() if path.startswith(f"{place}/")}
        if is_shortened(place) and not names:
            mended.n_left += 1
            return
        write_class(subject.storage, names.pop() if names else unescape_name(place))
    mended.lines.append(f"wrote {printable_name(fault.path)} anew")


def _give_up(mended: Mended, path: str, faults: list[Fault]) -> None:
    """Commit a video as a failed one whose flow cannot be made again here."""
    subject, first = mended.subject, faults[0]
    mended.n_left += len(faults)
    if _is_flow_whole(faults):
        return
    class_path, _, component = path.partition("/")
    record = subject.records.get(path)
    if record is None and (is_shortened(class_path) or is_shortened(component)) and not first.name:
        return
    try:
        failed = VideoRecord(
            class_name=record.class_name if record else first.class_name,
            name=record.name if record else first.name,
            status="failed",
            reason=f"its stored flow was lost: {first.text}",
            source_path=record.source_path if record else "",
            source_kind=record.source_kind if record else "video",
            created=now_utc(),
            versions=library_versions(),
        )
        if subject.storage.size_bytes(f"{class_path}/zarr.json") is None:
            write_class(subject.storage, failed.class_name)
        write_failed(subject.storage, failed)
    except ArgumentError:
        return
    mended.lines.append(f"marked {first.key} as failed: its source is not at hand")


def _with_stored_clock(subject: Subject, path: str) -> VideoSource:
    """Return a source; a folder of frames with the frame rate of its record, or else with that of the others."""
    record = subject.records.get(path)
    records = subject.records.values() if record is None else [record]
    return with_stored_clock(subject.storage, subject.sources[path], records)


def _is_flow_whole(faults: list[Fault]) -> bool:
    """Tell whether the flow is as it was written, if not that of the source."""
    return all(fault.kind == "source" for fault in faults)


def _gives_frames(source: VideoSource) -> bool:
    """Tell whether there is something to decode: flow that is whole is not given up for a file that is none."""
    try:
        return next(source.open_frames().read_frames(), None) is not None
    except DecodeError:
        return False


def extract_again(mended: Mended, workers: int | None, scheduler: str, progress: Progress | None) -> None:
    """Extract what has to be extracted again."""
    if not mended.to_extract:
        return
    subject = mended.subject
    damaged = {path for path in mended.to_extract if path in subject.records and subject.records[path].damage}
    failed: set[tuple[str, str]] = set()
    # Flow up to the damage of its video was asked for once: it is made again as it was.
    for keep_damaged, paths in (False, mended.to_extract.keys() - damaged), (True, damaged):
        if paths:
            sources = [_with_stored_clock(subject, path) for path in paths]
            plan = ExtractPlan.again(subject.storage, subject.settings, sources, keep_damaged)
            failed |= {
                (record.class_name, record.name) for record in run_plan(plan, workers, scheduler, progress).failures
            }
    for path, faults in mended.to_extract.items():
        source = subject.sources[path]
        if (source.class_name, source.name) in failed:
            mended.n_left += len(faults)
            mended.lines.append(f"could not extract {source.key} again: it is a failed video now")
        else:
            mended.lines.append(f"extracted {source.key} again")
