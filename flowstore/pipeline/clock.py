"""The frame rate of folders of frames, which have no clock: said by who extracts, and kept by the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from flowstore.arguments import check_positive
from flowstore.errors import ArgumentError, ChecksumError, StoreError, StoreFormatError
from flowstore.format.record import VideoRecord
from flowstore.format.root import read_root
from flowstore.names import video_path
from flowstore.sources.source import VideoSource
from flowstore.storage.keys import Storage
from flowstore.store.tree import read_record


def with_clock(sources: Iterable[VideoSource], fps: float | None) -> tuple[VideoSource, ...]:
    """Give folders of frames a frame rate; a video file has its own."""
    return tuple(replace(source, fps=fps) if source.kind == "frames" else source for source in sources)


def with_stored_clock(storage: Storage, source: VideoSource, records: Iterable[VideoRecord]) -> VideoSource:
    """Give a folder of frames the frame rate that the folders of some records of a store share, or else the store's."""
    return with_clock((source,), store_rate(storage, rates_of(records)))[0]


def check_clock(fps: float, sources: Sequence[VideoSource]) -> None:
    """Refuse a frame rate that is none, or that no source needs."""
    check_positive("source fps", fps)
    if not any(source.kind == "frames" for source in sources):
        raise ArgumentError("--source-fps is for folders of frames, here are none: video files have a clock")


def stored_rates(storage: Storage, sources: Iterable[VideoSource]) -> set[float | None]:
    """Return the frame rates with which a store has folders of frames among some sources; None is one unknown."""
    folders = [source for source in sources if source.kind == "frames"]
    records = storage.map(lambda source: _read(storage, source), folders)
    return rates_of(record for record in records if record is not None)


def rates_of(records: Iterable[VideoRecord]) -> set[float | None]:
    """Return the frame rates of the folders of frames among the sources of some records; None is one unknown."""
    folders = [record for record in records if record.is_ok and record.source_kind == "frames"]
    return {record.fps if record.source_fps is None else record.source_fps for record in folders}


def store_rate(storage: Storage, rates: set[float | None]) -> float | None:
    """Return the frame rate that all folders share whose rate is known; where none is, what the store states."""
    known = rates - {None}
    if known:
        return known.pop() if len(known) == 1 else None
    try:
        # Of a run that was stopped before its first folder.
        return read_root(storage).source_fps
    except StoreError:
        return None


def _read(storage: Storage, source: VideoSource) -> VideoRecord | None:
    try:
        return read_record(storage, video_path(source.class_name, source.name))
    except (ChecksumError, StoreFormatError):
        return None
