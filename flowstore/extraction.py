"""One video from frames to a committed record: the task that runs on a worker.

Holds the package's one broad ``except``: whatever is wrong with a video becomes its record, and the other videos go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from itertools import chain

import numpy as np
import numpy.typing as npt

from flowstore import shards
from flowstore.decoding import FrameReader, configure_opencv, open_frames, resize_frame
from flowstore.errors import DecodeError, FlowStoreError, StoppedError, StoreError
from flowstore.estimators import FlowStream, estimator_versions, make_estimator
from flowstore.fingerprints import fingerprint
from flowstore.flow_encoder import FlowEncoder
from flowstore.model import Fingerprint, VideoRecord
from flowstore.names import printable_name
from flowstore.sampling import is_frame_kept, scaled_size
from flowstore.settings import ExtractSettings
from flowstore.sources import VideoSource
from flowstore.storage import Storage
from flowstore.writing import VideoWriter, write_failed

Tick = Callable[[int], None]


@dataclass(frozen=True)
class VideoTask:
    """Everything a worker needs for one video. Picklable.

    Parameters
    ----------
    source : VideoSource
        Where the frames are.
    settings : ExtractSettings
        What to compute.
    storage : Storage
        Of the store.
    """

    source: VideoSource
    settings: ExtractSettings
    storage: Storage


def extract_video(task: VideoTask, tick: Tick | None = None) -> VideoRecord:
    """Extract one video and commit it, as a failed one if it has to be.

    Parameters
    ----------
    task : VideoTask
        What to do.
    tick : callable, optional
        Called with 1 after each flow; what it raises as `StoppedError` ends the video, uncommitted.

    Returns
    -------
    VideoRecord
        As committed.

    Raises
    ------
    StoreError
        If the store cannot be written: a fault that other videos will meet too.
    StoppedError
        If `tick` raised it.
    """
    configure_opencv()
    shards.set_single_threaded()
    try:
        return _extract(task, tick or _nothing)
    except (StoreError, StoppedError):
        raise
    except Exception as error:
        return commit_failure(task, describe_error(error))


def _nothing(amount: int) -> None:
    return None


def describe_error(error: BaseException) -> str:
    """Return what went wrong in one line."""
    text = printable_name(" ".join(str(error).split()))
    if isinstance(error, FlowStoreError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def commit_failure(task: VideoTask, reason: str) -> VideoRecord:
    """Commit a video as failed.

    Parameters
    ----------
    task : VideoTask
        The video's.
    reason : str
        One line.

    Returns
    -------
    VideoRecord
        As committed.
    """
    try:
        # What cannot be opened is not tried again here: a pipe would wait for a writer.
        found: Fingerprint | None = None if task.source.problem else fingerprint(task.source)
    except OSError:
        found = None
    record = VideoRecord(
        class_name=task.source.class_name,
        name=task.source.name,
        status="failed",
        reason=reason,
        source_path=task.source.relative_path,
        source_kind=task.source.kind,
        fingerprint=found,
        created=now_utc(),
        versions=library_versions(),
    )
    write_failed(task.storage, record)
    return record


def now_utc() -> str:
    """Return the time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def library_versions() -> dict[str, str]:
    """Return the versions of flowstore and of the libraries that make a store."""
    return {name: version(name) for name in ("flowstore", "zarr", "numcodecs")} | estimator_versions()


def _extract(task: VideoTask, tick: Tick) -> VideoRecord:
    source, settings, quantizer = task.source, task.settings, task.settings.quantizer
    before = fingerprint(source) if not source.problem else None
    reader = open_frames(source)
    frames = _FrameStream(reader, settings)
    flows = frames.flows()
    first = next(flows, None)
    if first is None:
        plural = "" if frames.n_frames == 1 else "s"
        step = f" at step {settings.step}" if settings.step > 1 else ""
        raise DecodeError(f"{frames.n_frames} frame{plural}: no flow{step}")
    encoder = FlowEncoder(quantizer, first.shape, is_compiled=settings.engine == "numba")
    _, height, width = first.shape
    with VideoWriter(
        task.storage, source.class_name, source.name, height, width, quantizer, settings.compression
    ) as writer:
        for flow in chain((first,), flows):
            writer.append(encoder.encode(flow))
            tick(1)
        after = fingerprint(source)
        if before is None or not after.is_same(before):
            raise DecodeError("the source changed while it was read")
        return writer.commit(
            VideoRecord(
                class_name=source.class_name,
                name=source.name,
                status="ok",
                source_path=source.relative_path,
                source_kind=source.kind,
                fingerprint=after,
                n_frames=frames.n_frames,
                n_flows=writer.n_flows,
                fps=frames.fps,
                statistics=encoder.statistics(),
                warnings=tuple(reader.warnings),
                created=now_utc(),
                versions=library_versions(),
            )
        )


@dataclass
class _FrameStream:
    """Frames of a reader, thinned and resized, through an estimator."""

    reader: FrameReader
    settings: ExtractSettings
    n_frames: int = 0
    _stream: FlowStream | None = field(default=None, repr=False)

    @property
    def fps(self) -> float | None:
        """Frame rate of the stored sequence."""
        if self.reader.fps is None or self.settings.fps is None:
            return self.reader.fps
        return min(self.reader.fps, self.settings.fps)

    def flows(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each flow, float32 (2, H, W) in pixels; the array is overwritten by the next."""
        for frame in self._frames():
            if self._stream is None:
                settings = self.settings
                estimator = make_estimator(settings.algorithm, settings.engine, settings.params)
                self._stream = estimator.stream(frame.shape[0], frame.shape[1], settings.step)
            self.n_frames += 1
            flow = self._stream.push(frame)
            if flow is not None:
                yield flow

    def _frames(self) -> Iterator[npt.NDArray[np.uint8]]:
        settings = self.settings
        if settings.fps is not None and self.reader.fps is None:
            raise DecodeError("no frame rate is known, so it cannot be thinned to another: leave out --fps")
        for index, frame in enumerate(self.reader.read_frames()):
            if settings.fps is not None and not is_frame_kept(index, self.reader.fps or 0.0, settings.fps):
                continue
            yield resize_frame(frame, *scaled_size(frame.shape[0], frame.shape[1], settings.short_side, settings.size))
