"""Writing the flow files of one video: the task of an export that runs on a worker."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import ChecksumError, ExportError, FlowStoreError, StoreFormatError, translated
from flowstore.export.conversion import Conversion
from flowstore.format.zarr_metadata import json_digest
from flowstore.jobs.job import Tick
from flowstore.layouts.file_kind import FlowFile, VideoFile
from flowstore.layouts.layout import Layout
from flowstore.layouts.manifest import video_key
from flowstore.layouts.templates import PathPattern
from flowstore.names import is_portable, printable_name, video_path
from flowstore.sources.images import configured_opencv
from flowstore.storage.atomic import FaultKeepingFile, WholeWriter, is_stray, remove_if_there
from flowstore.store.video import Video

# Flows that are decoded together stay in the processor's cache until they are encoded: twice as fast as sixteen.
_READ_AT_ONCE_BYTES = 2**19
# What file systems say of a name that is none of theirs; exFAT and FUSE the first.
_REFUSED_NAME = (errno.ENOENT, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ)

Values = npt.NDArray[Any]


@dataclass(frozen=True)
class ExportTask:
    """One video to export. Picklable."""

    video: Video
    dest: str
    layout: Layout
    conversion: Conversion

    @property
    def path(self) -> str:
        """Path of the video's group in the store."""
        return video_path(self.video.class_name, self.video.name)

    @property
    def n_flows(self) -> int:
        """Flows that are written: those of the video, and the last one again where the layout is padded."""
        video = self.video
        return video.record.n_frames if self.layout.is_padded and video.n_flows else video.n_flows

    @property
    def n_files(self) -> int:
        """Files that are written."""
        return self.n_flows * len(self.layout.templates) if self.layout.is_numbered else 1

    @property
    def key(self) -> str:
        """What a manifest calls the video: the path of its first files."""
        return video_key(self.layout.path_patterns(self.video.class_name, self.video.name, self.video.settings.step))

    @property
    def digest(self) -> str:
        """What tells the flow of the video from every other."""
        record = self.video.record
        # Older stores have no digests: there the whole record stands for the flow.
        return json_digest([record.flow_digest, *record.shard_digests] if record.shard_digests else record.to_json())

    @property
    def picture_size(self) -> tuple[int, int]:
        """``(height, width)`` of what is written, in pixels."""
        return self.conversion.new_size(*self.video.shape[2:])

    def patterns(self) -> tuple[PathPattern, ...]:
        """Return the paths of its files, with the root."""
        video = self.video
        return tuple(
            PathPattern(os.path.join(self.dest, pattern.before), pattern.n_digits, pattern.after)
            for pattern in self.layout.path_patterns(video.class_name, video.name, video.settings.step)
        )


@dataclass(frozen=True)
class VideoExport:
    """What came of one video: flows, files written, files that were there, and why it failed (else empty)."""

    key: str
    n_flows: int = 0
    n_written: int = 0
    n_present: int = 0
    problem: str = ""
    path: str = ""


@configured_opencv()
def export_video(task: ExportTask, tick: Tick) -> VideoExport:
    """Export one video."""
    writer = _FlowFiles(task, tick) if task.layout.is_numbered else _VideoFile(task, tick)
    problem = ""
    try:
        with translated(lambda error: _write_error(task.dest, error)):
            writer.write()
    except (ChecksumError, StoreFormatError, _RefusedNameError) as error:
        problem = str(error)
    done = writer.n_written, writer.n_present
    return VideoExport(task.video.key, 0 if problem else task.n_flows, *done, problem, task.path)


class _RefusedNameError(FlowStoreError):
    """The target's file system has no such name: no fault of the target as a whole."""


def _write_error(dest: str, error: OSError) -> FlowStoreError:
    place = error.filename2 or error.filename
    if error.errno not in _REFUSED_NAME or not isinstance(place, str) or not os.path.isdir(dest):
        return cannot_write(dest, error)
    if all(map(is_portable, os.path.relpath(place, dest).split(os.sep))):
        return cannot_write(dest, error)
    return _RefusedNameError(f"the file system of {dest} refuses its name ({error.strerror}): export to another disk")


def cannot_write(dest: str, error: OSError) -> ExportError:
    """Return the error that says that the target of an export cannot be written, and what to do."""
    is_full = error.errno == errno.ENOSPC
    hint = ": free some room and run again" if is_full else ""
    # Of a file that is moved into place, the place.
    place = error.filename2 or error.filename
    where = printable_name(os.path.relpath(os.fsdecode(place), dest)) if isinstance(place, str | bytes) else ""
    what = f" ({where})" if where not in ("", ".") else ""
    return ExportError(f"cannot write to {dest}{what}: {error.strerror or error}{hint}")


def read_values(task: ExportTask, start: int, stop: int) -> Values:
    """Return what files hold of the flows ``[start, stop)`` of a task, uint8 or float32 (n, 2, height, width)."""
    n_flows = task.video.n_flows
    values = task.conversion.convert(task.video.read_codes(min(start, n_flows - 1), min(stop, n_flows)))
    if stop <= n_flows:
        return values
    # The last flow again: one index too far for each that a padded layout adds.
    return values[np.minimum(np.arange(start, stop), n_flows - 1) - min(start, n_flows - 1)]


class _Writer:
    """What the two ways of writing a video share: counts, and batches."""

    def __init__(self, task: ExportTask, tick: Tick) -> None:
        self.task = task
        self.tick = tick
        self.n_written = self.n_present = 0
        self._whole = WholeWriter()

    def batches(self) -> Iterator[tuple[int, int]]:
        flow_bytes = int(np.prod(self.task.video.shape[1:])) * self.task.video.quantizer.dtype.itemsize
        n = max(1, min(16, _READ_AT_ONCE_BYTES // max(1, flow_bytes)))
        for start in range(0, self.task.n_flows, n):
            yield start, min(start + n, self.task.n_flows)


class _FlowFiles(_Writer):
    """A file or two for each flow."""

    def write(self) -> None:
        layout, kind = self.task.layout, self.task.layout.kind
        assert isinstance(kind, FlowFile)
        patterns = self.task.patterns()
        present = [self._open_folder(pattern) for pattern in patterns]
        for start, stop in self.batches():
            numbers = range(layout.first + start, layout.first + stop)
            if all(number in found for number in numbers for found in present):
                self.n_present += len(numbers) * len(patterns)
                self.tick(len(numbers))
                continue
            for number, values in zip(numbers, read_values(self.task, start, stop), strict=True):
                files = kind.encode(values, layout.packing, layout.quality)
                for pattern, found, data in zip(patterns, present, files, strict=True):
                    if number in found:
                        self.n_present += 1
                    else:
                        self._whole.write(pattern.path(number), [data])
                        self.n_written += 1
                self.tick(1)

    def _open_folder(self, pattern: PathPattern) -> frozenset[int]:
        """Make a folder, or clear it of what is stray and of what lies beyond; return the numbers that are there."""
        folder, prefix = os.path.split(pattern.before)
        try:
            os.makedirs(folder)
            return frozenset()
        except FileExistsError:
            pass
        first, stop = self.task.layout.first, self.task.layout.first + self.task.n_flows
        current = set()
        is_shared = not self.task.layout.has_own_folders
        with os.scandir(folder) as entries:
            for entry in entries:
                number = _number_of(entry.name, prefix, pattern)
                if number is None:
                    # In a folder of several videos it may be another task's, at work now.
                    if not is_shared and is_stray(entry.name):
                        remove_if_there(entry.path)
                elif not first <= number < stop:
                    # Readers count files: those of another flow that was here would be taken for this video's.
                    remove_if_there(entry.path)
                elif entry.stat().st_size:
                    # An empty file is what a power cut leaves.
                    current.add(number)
        return frozenset(current)


def _number_of(name: str, prefix: str, pattern: PathPattern) -> int | None:
    """Return the number in a file's name, None if it is not of the pattern."""
    if not (name.startswith(prefix) and name.endswith(pattern.after)):
        return None
    digits = name[len(prefix) : len(name) - len(pattern.after)]
    if not (digits.isascii() and digits.isdigit()):
        return None
    return int(digits) if pattern.path(int(digits)).endswith(f"{prefix}{digits}{pattern.after}") else None


def find_present(task: ExportTask) -> Iterator[str]:
    """Yield the paths of what is there of a task's files, whatever their numbers."""
    for pattern in task.patterns():
        if pattern.n_digits is None:
            if os.path.lexists(pattern.path(0)):
                yield pattern.path(0)
            continue
        folder, prefix = os.path.split(pattern.before)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            for entry in entries:
                if _number_of(entry.name, prefix, pattern) is not None:
                    yield entry.path


class _VideoFile(_Writer):
    """One file for the video."""

    def write(self) -> None:
        task = self.task
        (pattern,) = task.patterns()
        path = pattern.path(0)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path) and os.stat(path).st_size:
            self.n_present += 1
            self.tick(task.n_flows)
            return
        kind = task.layout.kind
        assert isinstance(kind, VideoFile)
        with self._whole.open(path) as file:
            guarded = FaultKeepingFile(file)
            flows = self._flows(guarded)
            kind.write(guarded, (task.n_flows, *task.picture_size), flows, task.layout.encoding)
            guarded.check()
        self.n_written += 1

    def _flows(self, guarded: FaultKeepingFile) -> Iterator[Values]:
        for start, stop in self.batches():
            for values in read_values(self.task, start, stop):
                yield values
                guarded.check()
                self.tick(1)
