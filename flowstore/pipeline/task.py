"""One video from frames to a committed record: the task that runs on a worker.

Holds the package's one broad ``except``: whatever is wrong with a video becomes its record, and the other videos go on.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import DecodeError, FlowStoreError, MachineError, StoppedError, StoreError
from flowstore.estimators.checked import CheckedStream
from flowstore.estimators.protocol import FrameKind
from flowstore.estimators.registry import is_guest, library_versions, make_estimator
from flowstore.format.codec import set_single_threaded
from flowstore.format.record import VideoRecord
from flowstore.format.settings import ExtractSettings
from flowstore.jobs.job import WORKER, Tick
from flowstore.names import count_text, now_utc, printable_name, video_path
from flowstore.quantize.encoder import FlowEncoder
from flowstore.quantize.error_bounded import Tolerance
from flowstore.sources.containers import raise_if_machine
from flowstore.sources.fingerprint import Fingerprint
from flowstore.sources.frames import FrameReader
from flowstore.sources.images import configured_opencv, resize_frame, to_rgb
from flowstore.sources.sampling import scaled_size
from flowstore.sources.source import VideoSource
from flowstore.storage.keys import Storage
from flowstore.store.tree import read_record
from flowstore.store.video import Video
from flowstore.store.writer import VideoWriter, write_failed

# Microseconds: finer than any container's clock that a frame is timed by.
_TIME_DIGITS = 6
# The step of float16 from 16 to 32 px.
_FLOAT16_STEP_PX = 2**-6


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
    keep_damaged : bool
        Whether a damaged video's flow is stored up to the damage.
    """

    source: VideoSource
    settings: ExtractSettings
    storage: Storage
    keep_damaged: bool = False


class VideoError(FlowStoreError):
    """What is wrong with one video, in one line."""


@contextlib.contextmanager
def one_video() -> Iterator[None]:
    """Raise a `VideoError` for whatever is wrong with the video at work, but not with the store or the machine."""
    set_single_threaded()
    try:
        with configured_opencv():
            yield
    except (StoreError, StoppedError, MachineError):
        raise
    except (Exception, SystemExit) as error:
        # An estimator of another package may call sys.exit.
        raise_if_machine(error)
        raise VideoError(describe_error(error)) from error


def ignore(amount: int) -> None:
    """Hear of progress, and do nothing."""


def extract_video(task: VideoTask, tick: Tick = ignore) -> VideoRecord:
    """Extract one video and commit it, as a failed one if it has to be."""
    try:
        with one_video():
            return _extract(task, tick)
    except VideoError as fault:
        return commit_failure(task, str(fault))


def describe_error(error: BaseException) -> str:
    """Return what went wrong in one line."""
    text = printable_name(" ".join(str(error).split()))
    if isinstance(error, FlowStoreError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def encode_part(
    source: VideoSource, settings: ExtractSettings, start: float, n_flows: int
) -> Iterator[npt.NDArray[Any]]:
    """Yield what would be stored of some flows, (2, H, W), from about a share of a video's length on; writes nothing.

    Each array is overwritten by the next.
    """
    n_frames = n_flows + settings.step
    frames = _FrameStream(source.open_part(start, n_frames, settings.fps), settings, n_most=n_frames)
    encoder: FlowEncoder | None = None
    for flow in frames.flows():
        encoder = encoder or FlowEncoder(
            settings.quantizer, flow.shape, settings.engine == "numba", settings.max_error_px
        )
        yield encoder.encode(flow)


def commit_failure(task: VideoTask, reason: str) -> VideoRecord:
    """Commit a video as failed."""
    record = failed_record(task, reason)
    write_failed(task.storage, record)
    return record


def failed_record(task: VideoTask, reason: str) -> VideoRecord:
    """Return the record of a video that failed; it is not committed."""
    try:
        # What cannot be opened is not tried again here: a pipe would wait for a writer.
        found: Fingerprint | None = None if task.source.problem else task.source.files().fingerprint()
    except OSError:
        found = None
    return VideoRecord(
        class_name=task.source.class_name,
        name=task.source.name,
        status="failed",
        reason=reason,
        source_path=task.source.relative_path,
        source_kind=task.source.kind,
        fingerprint=found,
        created=now_utc(),
        versions=library_versions(task.settings.algorithm) | task.source.decoder_versions(),
    )


@dataclass(frozen=True)
class Comparison:
    """How the stored flow of a video differs from flow that was extracted anew.

    Parameters
    ----------
    n_values, n_different, n_far : int
        Stored numbers, those that differ, or that the settings' largest error does not allow, and those of them that
        differ by more than a step of the codes.
    max_difference_px : float
        Largest difference, in pixels.
    problem : str
        Why the two could not be compared to the end; empty where they could.
    """

    n_values: int = 0
    n_different: int = 0
    n_far: int = 0
    max_difference_px: float = 0.0
    problem: str = ""


def compare_video(task: VideoTask, tick: Tick = ignore) -> Comparison:
    """Extract a video anew, and compare it with what is stored; writes nothing."""
    try:
        with one_video():
            return _compare(task, tick)
    except VideoError as fault:
        return Comparison(problem=str(fault))


def _compare(task: VideoTask, tick: Tick) -> Comparison:
    source, quantizer = task.source, task.settings.quantizer
    path = video_path(source.class_name, source.name)
    record = read_record(task.storage, path)
    if record is None or not record.is_ok:
        return Comparison(problem="there is no flow in the store")
    video = Video(task.storage, path, record, task.settings)
    frames = _FrameStream(source.open_frames(keep_damaged=bool(record.damage)), task.settings)
    step_px = quantizer.scale if quantizer.bound_px else _FLOAT16_STEP_PX
    number = n_different = n_far = 0
    largest = 0.0
    encoder: FlowEncoder | None = None
    for number, flow in enumerate(frames.flows(), 1):
        if flow.shape != video.shape[1:] or number > video.n_flows:
            break
        encoder = encoder or FlowEncoder(quantizer, flow.shape, is_compiled=task.settings.engine == "numba")
        codes, stored = encoder.encode(flow), video.read_codes(number - 1, number)[0]
        if task.settings.max_error_px is not None:
            # What was chosen among several depends on the whole flow: it is asked whether it could be chosen.
            low, high, _ = Tolerance(quantizer, task.settings.max_error_px).ranges(flow, codes)
            codes = np.clip(stored, low, high, dtype=np.uint8, casting="unsafe")
        different = codes != stored
        if different.any():
            difference_px = np.abs(quantizer.decode(codes) - quantizer.decode(stored))
            n_different += int(different.sum())
            n_far += int((difference_px > 1.01 * step_px).sum())
            largest = max(largest, float(difference_px.max()))
        tick(1)
    if number != video.n_flows:
        return Comparison(problem=f"its source gives other frames than those of its {video.n_flows} flows")
    return Comparison(int(np.prod(video.shape)), n_different, n_far, largest)


def _extract(task: VideoTask, tick: Tick) -> VideoRecord:
    source, settings, quantizer = task.source, task.settings, task.settings.quantizer
    before = source.files().stamp() if not source.problem else None
    reader = source.open_frames(task.keep_damaged)
    frames = _FrameStream(reader, settings)
    flows = frames.flows()
    first = next(flows, None)
    if first is None:
        step = f" at step {settings.step}" if settings.step > 1 else ""
        raise DecodeError(f"{count_text(frames.n_frames, 'frame')}: no flow{step}")
    is_compiled = settings.engine == "numba"
    encoder = FlowEncoder(quantizer, first.shape, is_compiled, settings.max_error_px)
    _, height, width = first.shape
    with VideoWriter(
        task.storage, source.class_name, source.name, height, width, quantizer, settings.compression
    ) as writer:
        for flow in chain((first,), flows):
            writer.append(encoder.encode(flow))
            tick(1)
        files = source.files()
        after = files.fingerprint()
        if before is None or not after.has_stamps_of(before):
            raise DecodeError("the source changed while it was read")
        is_thinned_folder = source.kind == "frames" and settings.fps is not None
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
                fps=reader.fps,
                times_s=tuple(round(time, _TIME_DIGITS) for time in reader.times_s),
                frame_numbers=tuple(reader.frame_numbers),
                source_fps=source.fps if is_thinned_folder else None,
                n_source_frames=len(files.names) if is_thinned_folder else 0,
                damage=reader.damage,
                statistics=encoder.statistics(),
                warnings=(*reader.warnings, *frames.warnings),
                created=now_utc(),
                versions=library_versions(settings.algorithm) | source.decoder_versions(),
            )
        )


@dataclass
class _FrameStream:
    """Frames of a reader, thinned and resized, through an estimator."""

    reader: FrameReader
    settings: ExtractSettings
    n_most: int | None = None
    n_frames: int = 0
    warnings: tuple[str, ...] = ()

    def flows(self) -> Iterator[npt.NDArray[np.float32]]:
        """Yield each flow, float32 (2, H, W) in pixels; the array is overwritten by the next."""
        settings = self.settings
        estimator = make_estimator(settings.algorithm, settings.engine, settings.params)
        estimator.worker = WORKER.get()
        stream: CheckedStream | None = None
        for frame in self._frames(estimator.frames):
            if stream is None:
                height, width = frame.shape[:2]
                stream = CheckedStream(estimator, height, width, settings.step, is_guest(settings.algorithm))
            self.n_frames += 1
            yield from stream.push(frame)
        if stream is not None:
            yield from stream.finish()
            self.warnings = stream.warnings

    def _frames(self, kind: FrameKind) -> Iterator[npt.NDArray[np.uint8]]:
        settings, reader = self.settings, self.reader
        is_gray = kind == "gray"
        frames = reader.read_frames(settings.fps) if is_gray else map(to_rgb, reader.read_color_frames(settings.fps))
        for frame in islice(frames, self.n_most):
            yield resize_frame(frame, *scaled_size(frame.shape[0], frame.shape[1], settings.short_side, settings.size))
