"""One video from its flow files to a committed record: the task of an import that runs on a worker."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError, DecodeError
from flowstore.estimators.registry import library_versions
from flowstore.format.record import VideoRecord
from flowstore.format.settings import ExtractSettings
from flowstore.importer.source import FlowSource, read_flows, read_part
from flowstore.jobs.job import Tick
from flowstore.names import now_utc
from flowstore.pipeline.task import VideoError, VideoTask, commit_failure, ignore, one_video
from flowstore.quantize.encoder import CodeChooser
from flowstore.quantize.file_quantizer import FileQuantizer
from flowstore.quantize.motion import MotionAccumulator
from flowstore.quantize.quantizer import Quantizer
from flowstore.sources.source import VideoSource
from flowstore.store.writer import VideoWriter

# Rounding to float32 may take a value a little beyond the bound that it was clipped to.
_UNIT_TOLERANCE = 1e-3

Values = npt.NDArray[Any]


def import_video(task: VideoTask, tick: Tick = ignore) -> VideoRecord:
    """Import one video and commit it, as a failed one if it has to be."""
    try:
        with one_video():
            return _import(task, tick)
    except VideoError as fault:
        return commit_failure(task, str(fault))


def _import(task: VideoTask, tick: Tick) -> VideoRecord:
    source, settings = task.source, task.settings
    if not isinstance(source, FlowSource):
        raise ArgumentError(f"{source.key} is no source of flow files")
    if source.problem:
        raise DecodeError(source.problem)
    before = source.files().stamp()
    flows = read_flows(source)
    first = next(flows)
    _, height, width = first.values.shape
    requantizer = Requantizer(source.quantizer, settings.quantizer, settings.max_error_px)
    n_unknown = 0
    writing = task.storage, source.class_name, source.name, height, width, settings.quantizer, settings.compression
    with VideoWriter(*writing) as writer:
        for flow in chain((first,), flows):
            writer.append(requantizer.encode(flow.values))
            n_unknown += flow.n_unknown
            tick(1)
        after = source.files().fingerprint()
        if not after.has_stamps_of(before):
            raise DecodeError("the source changed while it was read")
        return writer.commit(
            VideoRecord(
                class_name=source.class_name,
                name=source.name,
                status="ok",
                source_path=source.relative_path,
                source_kind=source.kind,
                fingerprint=after,
                n_frames=writer.n_flows + settings.step,
                n_flows=writer.n_flows,
                statistics=requantizer.motion.result(),
                warnings=_warnings(n_unknown, requantizer.n_reserved),
                created=now_utc(),
                versions=library_versions(),
            )
        )


def encode_part(source: VideoSource, settings: ExtractSettings, start: float, n_flows: int) -> Iterator[Values]:
    """Yield what would be stored of some flows; see `flowstore.pipeline.task.encode_part`."""
    if not isinstance(source, FlowSource):
        raise ArgumentError(f"{source.key} is no source of flow files")
    requantizer = Requantizer(source.quantizer, settings.quantizer, settings.max_error_px)
    for flow in read_part(source, start, n_flows):
        yield requantizer.encode(flow.values)


def _warnings(n_unknown: int, n_reserved: int) -> tuple[str, ...]:
    warnings = []
    if n_unknown:
        warnings.append(f"{n_unknown} pixels of unknown flow are stored as zero")
    if n_reserved:
        warnings.append(f"{n_reserved} codes 0, which centred does not have, are stored as 1")
    return tuple(warnings)


class Requantizer:
    """Turns the numbers of files into those of a store and gathers the statistics of their motion."""

    def __init__(self, read: FileQuantizer, stored: Quantizer, max_error_px: float | None = None) -> None:
        self._read = read
        self._stored = stored
        self._is_kept = is_kept(read, stored)
        self._max_error_px = max_error_px
        self._chooser: CodeChooser | None = None
        self.motion = MotionAccumulator()
        self.n_reserved = 0

    def encode(self, values: Values) -> Values:
        """Return the stored numbers of the next flow, (2, H, W)."""
        if self._read.encoding == "i3d-float":
            _check_unit(values)
        row = self._read.row
        if row and row.lowest > 0:
            n_reserved = int(np.count_nonzero(values < row.lowest))
            if n_reserved:
                self.n_reserved += n_reserved
                values = np.maximum(values, row.lowest)
        flow = self._read.decode(values)
        is_clipped = self._is_at_end(values)
        if not self._is_kept:
            is_clipped |= np.abs(flow) > self._stored.largest_kept
        clipped_x, clipped_y = (int(np.count_nonzero(component)) for component in is_clipped)
        self.motion.add(flow, (clipped_x, clipped_y))
        if self._is_kept:
            return values
        codes = self._stored.encode(flow)
        if self._max_error_px is not None:
            self._chooser = self._chooser or CodeChooser(self._stored, flow.shape, self._max_error_px)
            self._chooser.choose(np.ascontiguousarray(flow), codes)
        return codes

    def _is_at_end(self, values: Values) -> npt.NDArray[np.bool_]:
        row = self._read.row
        if row:
            return (values <= row.lowest) | (values >= row.highest)
        if self._read.encoding == "i3d-float":
            return np.abs(values) >= 1
        return np.zeros(values.shape, bool)


def is_kept(read: FileQuantizer, stored: Quantizer) -> bool:
    """Tell whether a store holds the codes of files as they are."""
    return read.stored == stored


def _check_unit(values: Values) -> None:
    largest = float(np.abs(values).max())
    if largest > 1 + _UNIT_TOLERANCE:
        raise DecodeError(f"values up to {largest:.4g}, expected -1 to 1: pixels, perhaps (layout npy)")
