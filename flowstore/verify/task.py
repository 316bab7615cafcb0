"""Checking one video of a store: every byte of it is read once, and every fault is named. Writes nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import ChecksumError, StoreError, StoreFormatError
from flowstore.format import zarr_metadata
from flowstore.format.codec import codec_for, set_single_threaded
from flowstore.format.record import VideoRecord
from flowstore.format.settings import ExtractSettings
from flowstore.format.shards import chunk_span, frames_per_shard, index_size, parse_shard_index, shard_digest
from flowstore.format.zarr_metadata import FLOW
from flowstore.names import unescape_name
from flowstore.sources.source import VideoSource
from flowstore.storage.keys import Storage
from flowstore.store.tree import parse_record
from flowstore.store.unfinished import is_partial, is_unfinished_video
from flowstore.verify.faults import Fault, FaultKind, Remedy

Tick = Callable[[int], None]

_READ_BYTES = 8 * 2**20
_CHECKSUM_BYTES = 4


@dataclass(frozen=True)
class CheckTask:
    """A video to check. Picklable.

    Parameters
    ----------
    storage : Storage
        Of the store.
    path : str
        Of what may be a video, below the root.
    settings : ExtractSettings
        Of the store.
    source : VideoSource, optional
        Of the video's frames, to be compared with the record's fingerprint.
    """

    storage: Storage
    path: str
    settings: ExtractSettings
    source: VideoSource | None = None


@dataclass(frozen=True)
class VideoFindings:
    """What a check found of one video.

    Parameters
    ----------
    path : str
        Of the video, below the root.
    record : VideoRecord or None
        None where there is none, or none that can be read.
    faults : tuple of Fault
        All that is wrong.
    size_bytes : int
        Bytes of flow that were read.
    has_digests : bool
        Whether files that were exchanged would have been noticed: the record has digests, or no flow.
    is_source_readable : bool
        Whether there is a source, and it can be read; no fault where it cannot: the flow is what is left of it.
    """

    path: str
    record: VideoRecord | None
    faults: tuple[Fault, ...]
    size_bytes: int = 0
    has_digests: bool = True
    is_source_readable: bool = False


@dataclass
class _Findings:
    """Gathers the faults of one video."""

    task: CheckTask
    names: tuple[str, str]
    faults: list[Fault] = field(default_factory=list)
    size_bytes: int = 0

    def add(
        self,
        kind: FaultKind,
        file: str,
        text: str,
        flows: tuple[int, int] | None = None,
        remedy: Remedy = "extract",
    ) -> None:
        path = f"{self.task.path}/{file}" if file else self.task.path
        self.faults.append(Fault(kind, path, text, *self.names, flows, remedy))


def check_video(task: CheckTask, tick: Tick) -> VideoFindings:
    """Read every byte of a video and compare it with what its record and its checksums say."""
    set_single_threaded()
    class_name, _, name = task.path.partition("/")
    findings = _Findings(task, (unescape_name(class_name), unescape_name(name)))
    record, has_source = None, False
    try:
        record = _check_record(findings)
        if record is not None:
            _check_files(findings, record)
            if record.is_ok:
                _check_flow(findings, record, tick)
            has_source = _check_source(findings, record)
    except OSError as error:
        findings.add("damaged", "", f"cannot be read: {error.strerror or error}")
    is_whole = record is None or not record.is_ok or bool(record.shard_digests and record.flow_digest)
    return VideoFindings(task.path, record, tuple(findings.faults), findings.size_bytes, is_whole, has_source)


def _check_record(findings: _Findings) -> VideoRecord | None:
    task, key = findings.task, f"{findings.task.path}/zarr.json"
    data = task.storage.read(key)
    if not data:
        _check_no_video(findings)
        return None
    try:
        record, own_path = parse_record(data, key)
    except (ChecksumError, StoreFormatError) as error:
        findings.add("damaged", "zarr.json", _reason(error, task.path))
        return None
    if own_path != task.path:
        findings.add("swapped", "zarr.json", f"the record of another video, {record.key}")
        return None
    findings.names = record.class_name, record.name
    return record


def _check_source(findings: _Findings, record: VideoRecord) -> bool:
    source = findings.task.source
    if source is None or not source.is_readable():
        return False
    if record.is_ok and not source.holds(record.fingerprint):
        findings.add("source", "", f"its source has changed since it was extracted: {source.relative_path}")
    return True


def _reason(error: StoreError, path: str) -> str:
    return str(error).removeprefix(f"{path}/zarr.json: ").removeprefix(f"{path}/{FLOW}/zarr.json: ")


def _check_no_video(findings: _Findings) -> None:
    storage, path = findings.task.storage, findings.task.path
    if is_unfinished_video(storage, path):
        findings.add("leftover", "", "a video that was never committed: what a killed run left", remedy="remove")
    elif storage.is_file(path):
        # Where there are no folders, whatever stands beside the videos may be one.
        findings.names = "", ""
        findings.add("foreign", "", "no file of flowstore's", remedy="")
    elif storage.size_bytes(f"{path}/zarr.json") is None:
        for key in storage.list_keys(path):
            findings.add("foreign", key, f"no file of flowstore's ({key})", remedy="")


def _check_files(findings: _Findings, record: VideoRecord) -> None:
    """Look for files that do not belong there; what is missing shows when it is read."""
    storage, path = findings.task.storage, findings.task.path
    expected = {"zarr.json"}
    if record.is_ok:
        expected |= {f"{FLOW}/zarr.json", *(f"{FLOW}/{_shard_name(n)}" for n in range(len(record.shard_sizes)))}
    for key in storage.list_keys(path):
        if is_partial(key):
            findings.add("leftover", key, f"{key}: a file in the making that a killed run left", remedy="remove")
        elif key not in expected:
            findings.add("foreign", key, f"{key}: no file of this video", remedy="")


def _shard_name(number: int) -> str:
    return f"c.{number}.0.0.0"


def expected_flow_document(record: VideoRecord, settings: ExtractSettings) -> dict[str, Any] | None:
    """Return the document of a video's flow array as it was written, if it follows from the record and the settings."""
    dtype = settings.quantizer.dtype.name
    shard_frames = min(frames_per_shard(record.height, record.width, dtype), record.n_flows)
    codec = codec_for(settings.compression, dtype)
    document = zarr_metadata.flow_document(
        record.n_flows, record.height, record.width, shard_frames, settings.quantizer, codec
    )
    return document if zarr_metadata.flow_digest(document) == record.flow_digest else None


def _check_flow(findings: _Findings, record: VideoRecord, tick: Tick) -> None:
    document = _check_flow_document(findings, record)
    if document is None:
        return
    where = f"{findings.task.path}/{FLOW}/zarr.json"
    try:
        layout = zarr_metadata.parse_flow_document(document, where)
    except StoreFormatError as error:
        findings.add("damaged", f"{FLOW}/zarr.json", str(error))
        return
    shape = (record.n_flows, 2, record.height, record.width)
    if layout.shape != shape or layout.n_shards != len(record.shard_sizes):
        findings.add(
            "damaged",
            f"{FLOW}/zarr.json",
            f"flow of shape {layout.shape} in {layout.n_shards} shards, "
            f"its record says {shape} in {len(record.shard_sizes)}",
        )
        return
    expected = zarr_metadata.flow_document(
        *shape[:1], *shape[2:], layout.shard_frames, _quantizer(findings), layout.codec
    )
    if zarr_metadata.flow_digest(document) != zarr_metadata.flow_digest(expected):
        names = [name for name in expected if document.get(name) != expected[name]]
        findings.add("damaged", f"{FLOW}/zarr.json", f"not what follows from the settings: {', '.join(names)}")
        return
    for number, size in enumerate(record.shard_sizes):
        start = number * layout.shard_frames
        shard = _Shard(findings, layout, number, size, (start, min(start + layout.shard_frames, record.n_flows)))
        shard.check(record.shard_digests[number] if record.shard_digests else "", tick)


def _quantizer(findings: _Findings) -> Any:
    return findings.task.settings.quantizer


def _check_flow_document(findings: _Findings, record: VideoRecord) -> dict[str, Any] | None:
    """Return the document of the flow array, the one that was written where that is known."""
    file = f"{FLOW}/zarr.json"
    key = f"{findings.task.path}/{file}"
    data = findings.task.storage.read(key)
    document, problem = None, "" if data else f"{file} is missing" if data is None else f"{file} is empty"
    if data:
        try:
            document = zarr_metadata.parse_document(data, key)
            if record.flow_digest and zarr_metadata.flow_digest(document) != record.flow_digest:
                problem = f"{file} is not the one that was written"
        except StoreFormatError as error:
            problem = f"{file}: {_reason(error, findings.task.path)}"
    if not problem:
        return document
    written = expected_flow_document(record, findings.task.settings)
    kind: FaultKind = "damaged" if data else "missing"
    findings.add(kind, file, problem, remedy="extract" if written is None else "rewrite")
    return written


@dataclass
class _Shard:
    """One shard, read from its beginning to its end."""

    findings: _Findings
    layout: zarr_metadata.FlowLayout
    number: int
    size_bytes: int
    flows: tuple[int, int]

    @property
    def _file(self) -> str:
        return f"{FLOW}/{_shard_name(self.number)}"

    def _add(self, kind: FaultKind, text: str, flows: tuple[int, int] | None = None) -> None:
        self.findings.add(kind, self._file, f"{self._file} {text}", flows or self.flows)

    def check(self, digest: str, tick: Tick) -> None:
        storage, key = self.findings.task.storage, f"{self.findings.task.path}/{self._file}"
        n_chunks = self.flows[1] - self.flows[0]
        found = storage.size_bytes(key)
        index_bytes = index_size(self.layout.shard_frames)
        if found is None:
            return self._add("missing", "is missing")
        if found != self.size_bytes:
            what = "is cut off" if found < self.size_bytes else "is another file"
            return self._add(
                "damaged" if found < self.size_bytes else "swapped",
                f"{what}: {found} bytes where {self.size_bytes} were written",
            )
        if index_bytes > found:
            return self._add("damaged", f"has {found} bytes, less than its index takes")
        index_data = storage.read_range(key, found - index_bytes, index_bytes) or b""
        try:
            index = parse_shard_index(index_data, self.layout.shard_frames)
        except ChecksumError as error:
            return self._add("damaged", str(error))
        checksums: list[bytes] = []
        broken: dict[int, str] = {}
        scratch = np.empty(self.layout.shape[1:], self.layout.codec.dtype)
        for chunk, data in self._read_chunks(key, index, n_chunks, broken):
            checksums.append(data[-_CHECKSUM_BYTES:])
            try:
                self.layout.codec.decode_into(data, scratch)
            except ChecksumError as error:
                broken[chunk] = str(error)
            self.findings.size_bytes += len(data)
            tick(1)
        for first, last in _runs(sorted(broken)):
            start = self.flows[0] + first
            self._add("damaged", f"is damaged: {broken[first]}", (start, start + last - first + 1))
        if not broken and digest and shard_digest(checksums, index_data) != digest:
            self._add("swapped", "is whole, but not the one that was written here")
        return None

    def _read_chunks(
        self, key: str, index: npt.NDArray[np.uint64], n_chunks: int, broken: dict[int, str]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the number and the bytes of each chunk that is there; the others go to `broken`."""
        group: list[tuple[int, int, int]] = []
        for chunk in range(n_chunks):
            try:
                begin, end = chunk_span(index, chunk, chunk + 1, self.size_bytes)
            except ChecksumError as error:
                broken[chunk] = str(error)
                continue
            if group and (begin != group[-1][2] or end - group[0][1] > _READ_BYTES):
                yield from self._read_group(key, group)
                group = []
            group.append((chunk, begin, end))
        if group:
            yield from self._read_group(key, group)

    def _read_group(self, key: str, group: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, bytes]]:
        first, last = group[0][1], group[-1][2]
        data = self.findings.task.storage.read_range(key, first, last - first) or b""
        for chunk, begin, end in group:
            yield chunk, data[begin - first : end - first]


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of each run of consecutive numbers.

    Examples
    --------
    >>> list(_runs([1, 2, 3, 7]))
    [(1, 3), (7, 7)]
    """
    if not numbers:
        return
    starts = [numbers[0], *(b for a, b in pairwise(numbers) if b != a + 1)]
    ends = [*(a for a, b in pairwise(numbers) if b != a + 1), numbers[-1]]
    yield from zip(starts, ends, strict=True)
