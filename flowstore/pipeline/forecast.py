"""What an extraction will take: frames and memory from a look at some of its videos, bytes and time from a measurement.

The measurement makes some flows, spread over all, as they would be stored. Writes nothing.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import FlowStoreError
from flowstore.estimators.registry import make_estimator
from flowstore.format.codec import codec_for
from flowstore.format.settings import IMPORTED, ExtractSettings
from flowstore.format.shards import frames_per_shard, index_size
from flowstore.names import MIB, format_bytes
from flowstore.pipeline.task import VideoError, one_video
from flowstore.sources.images import configured_opencv
from flowstore.sources.sampling import scaled_size
from flowstore.sources.source import VideoSource

# Resident size of a worker that has loaded its libraries and compiled nothing yet, in MiB: about 190 was measured.
_WORKER_BASE_MIB = 260
# Bytes for each pixel of a frame: decoder with its reference frames, color and gray frame, estimator, quantizer, codec.
_BYTES_PER_PIXEL = 330
_BYTES_PER_PIXEL_AND_STEP = 30
_BYTES_OF_FLOW = 8
# So many videos are looked at one and all; of more, a spread, and for memory the longest and those of the largest
# frames.
_N_PROBED_ALL = 64
_N_SPREAD = 40
_N_PROBED_EACH = 12
# Stored bytes over raw codes where nothing was measured: between 0.1 and 0.7 on real clips.
_ROUGH_SHARE = 0.3
# Of a store: its root and the documents of its index; and of a video: its group, its array, its row of the index.
_ROOT_BYTES = 16_000
_DOCUMENT_BYTES = 3000
# Looks of a measurement, how long it goes on once it is warm, and what one look at two batches may take: that is
# foretold from a look at one flow, with the way to it.
_N_LOOKS = 40
_MEASURING_S = 1.2
_MOST_LOOK_S = 3.0
# Multiples of the golden section are spread evenly over all, however many are taken.
_GOLDEN_SECTION = (math.sqrt(5) - 1) / 2

# What gives the stored numbers of some flows, from about a share of a video's length on.
EncodePart = Callable[[VideoSource, ExtractSettings, float, int], Iterator[npt.NDArray[Any]]]


@dataclass(frozen=True)
class _Part:
    """A part of the flow to come, and the video that stands for it.

    `n_frames`, `raw_bytes` and `file_bytes` are of the part: frames, raw numbers, and what is stored besides them.
    `n_used` frames are those of the video, `pair_bytes` the raw numbers of one of its flows.
    """

    source: VideoSource
    n_frames: float
    raw_bytes: float
    file_bytes: float
    n_used: int
    pair_bytes: int


@dataclass(frozen=True)
class Estimate:
    """What a plan will take, from a look at a few of its videos.

    Parameters
    ----------
    n_probed : int
        Videos that were looked at.
    n_frames : int
        Frames of all videos to do, by their headers.
    size_bytes : int
        Of the stored flow, with its files.
    largest_frame : tuple of int
        ``(height, width)`` of the largest frame seen, in pixels.
    memory_per_worker : int
        Bytes that one worker process may hold at most.
    memory_per_video : int
        The part of it that each video at work adds.
    n_measured : int
        Flows that were made to see what they take; of none, `size_bytes` is a rough estimate.
    seconds : float or None
        Of one worker for all; None where that was not measured.
    problem : str
        Why nothing could be measured, if that was tried.
    parts : tuple
        Of the flow to come: what a measurement looks at.
    """

    n_probed: int
    n_frames: int
    size_bytes: int
    largest_frame: tuple[int, int]
    memory_per_worker: int
    memory_per_video: int
    n_measured: int = 0
    seconds: float | None = None
    problem: str = ""
    parts: tuple[_Part, ...] = field(default=(), repr=False)

    @property
    def raw_bytes(self) -> float:
        """Raw numbers of all flow."""
        return sum(part.raw_bytes for part in self.parts)

    def stored_bytes(self, share: float) -> int:
        """Return what the flow takes with its files, if packing leaves such a share of it."""
        if not self.parts:
            return 0
        return round(share * self.raw_bytes + _ROOT_BYTES + sum(part.file_bytes for part in self.parts))

    def describe_memory(self, scheduler: str, n_workers: int) -> str:
        """Return the memory of all workers together: threads share one process, a cluster's are its own."""
        if "://" in scheduler:
            return "a cluster's"
        if scheduler == "processes":
            return f"at most {format_bytes(n_workers * self.memory_per_worker)} in all"
        others = (n_workers - 1) * self.memory_per_video
        return f"at most {format_bytes(self.memory_per_worker + others)} in all"


@configured_opencv()
def estimate_work(sources: Sequence[VideoSource], settings: ExtractSettings) -> Estimate:
    """Estimate what some videos take by looking at all of a few, or some of many."""
    shares = [(source, 1.0) for source in sources]
    largest_ones: list[VideoSource] = []
    if len(sources) > _N_PROBED_ALL:
        shares = _spread(sources)
        heavy = heapq.nlargest(_N_PROBED_EACH, sources, key=_first_frame_bytes)
        largest_ones = [*sources[:_N_PROBED_EACH], *heavy]
    probed = dict.fromkeys((*(source for source, _ in shares), *largest_ones))
    # What cannot be read gives no flow, nor does a header that states frames without a pixel.
    seen = ((source, source.probe(settings.fps)) for source in probed)
    found = {source: shape for source, shape in seen if shape is not None and min(shape[:2]) > 0}
    parts = tuple(_part(source, found[source], share, settings) for source, share in shares if source in found)
    sizes = [(height, width) for height, width, _ in found.values()]
    largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    per_video = memory_per_video(largest, settings)
    estimate = Estimate(
        n_probed=len(probed),
        n_frames=round(sum(part.n_frames for part in parts)),
        size_bytes=0,
        largest_frame=largest,
        memory_per_worker=_WORKER_BASE_MIB * MIB + per_video,
        memory_per_video=per_video,
        parts=parts,
    )
    return replace(estimate, size_bytes=estimate.stored_bytes(_ROUGH_SHARE if settings.compression != "none" else 1.0))


def _spread(sources: Sequence[VideoSource]) -> list[tuple[VideoSource, float]]:
    """Return videos at even distances along all of their frames, and how many such videos each stands for."""
    stops = np.cumsum([source.cost for source in sources])
    each = float(stops[-1]) / _N_SPREAD
    if not each:
        return []
    places = np.searchsorted(stops, (np.arange(_N_SPREAD) + 0.5) * each, side="right")
    return [(sources[place], each / sources[place].cost) for place in places.tolist()]


def _part(source: VideoSource, found: tuple[int, int, int], share: float, settings: ExtractSettings) -> _Part:
    height, width = scaled_size(*found[:2], settings.short_side, settings.size)
    # A container that does not tell its length: by the size of the file.
    n_used = found[2] or round(source.cost)
    n_flows = n_used if settings.algorithm == IMPORTED else max(0, n_used - settings.step)
    pair_bytes = 2 * height * width * settings.quantizer.dtype.itemsize
    per_shard = frames_per_shard(height, width, settings.quantizer.dtype.name)
    n_entries = n_flows if n_flows <= per_shard else per_shard * math.ceil(n_flows / per_shard)
    file_bytes = index_size(n_entries) + _DOCUMENT_BYTES
    return _Part(source, share * n_used, share * pair_bytes * n_flows, share * file_bytes, n_used, pair_bytes)


@dataclass(frozen=True)
class _Look:
    """What a few flows of one video took: stored bytes and seconds, each for a byte of raw numbers."""

    n_flows: int
    share: float
    pace: float


@configured_opencv()
def measure(estimate: Estimate, settings: ExtractSettings, encode_part: EncodePart) -> Estimate:
    """Make some flows, spread over all, and return the estimate with what they take.

    Each look is at one video. The first two are at a single flow: the first warms up whatever is loaded or made once,
    and the second tells whether there is time for more.
    """
    stops = np.cumsum([part.raw_bytes for part in estimate.parts])
    if not len(stops) or not stops[-1]:
        return estimate
    is_imported = settings.algorithm == IMPORTED
    batch = 1 if is_imported else make_estimator(settings.algorithm, settings.engine, settings.params).batch
    looks: list[_Look] = []
    n_failed, problem = 0, ""
    n_flows, until = 1, perf_counter() + _MEASURING_S
    for number in range(_N_LOOKS):
        at = (0.5 + number * _GOLDEN_SECTION) % 1.0 * float(stops[-1])
        index = int(np.searchsorted(stops, at, side="right"))
        part = estimate.parts[index]
        inside = 1.0 - (float(stops[index]) - at) / part.raw_bytes
        try:
            look = _look(part, inside, settings, encode_part, n_flows, batch)
        except FlowStoreError as error:
            n_failed, problem = n_failed + 1, str(error)
        else:
            looks.append(look)
            if len(looks) == 2:
                if 2 * batch * look.pace * part.pair_bytes > _MOST_LOOK_S:
                    break
                n_flows, until = 2 * batch, perf_counter() + _MEASURING_S
        if len(looks) != 1 and perf_counter() > until:
            break
    if not looks:
        return replace(estimate, problem=problem)
    # What cannot be read takes nothing.
    share_read = len(looks) / (len(looks) + n_failed)
    pace = float(np.mean([look.pace for look in looks[2:] or looks[-1:]]))
    return replace(
        estimate,
        size_bytes=estimate.stored_bytes(share_read * float(np.mean([look.share for look in looks]))),
        seconds=share_read * pace * estimate.raw_bytes,
        n_measured=sum(look.n_flows for look in looks),
    )


def _look(
    part: _Part, inside: float, settings: ExtractSettings, encode_part: EncodePart, n_flows: int, batch: int
) -> _Look:
    """Look at some flows of a video, from about a share of its length on."""
    start = inside * max(0.0, 1 - (n_flows + settings.step) / part.n_used)
    try:
        return _look_from(start, part, settings, encode_part, n_flows, batch)
    except VideoError:
        # Not every file can be begun everywhere.
        return _look_from(0.0, part, settings, encode_part, n_flows, batch)


def _look_from(
    start: float, part: _Part, settings: ExtractSettings, encode_part: EncodePart, n_flows: int, batch: int
) -> _Look:
    codec = codec_for(settings.compression, settings.quantizer.dtype.name)
    times, size_bytes = [perf_counter()], 0
    with one_video():
        for codes in encode_part(part.source, settings, start, n_flows):
            size_bytes += len(codec.encode(codes))
            times.append(perf_counter())
    n_made = len(times) - 1
    if not n_made:
        raise VideoError(f"{part.source.key} gave no flow")
    # The flows before the last batch wait for the first frames, and for what a stream makes once.
    n_timed = batch if n_made >= 2 * batch else n_made
    seconds = (times[-1] - times[-1 - n_timed]) / n_timed
    return _Look(n_made, size_bytes / n_made / part.pair_bytes, seconds / part.pair_bytes)


def _first_frame_bytes(source: VideoSource) -> int:
    # The size of a file tells where large frames may be, at the cost of no look into it.
    if source.problem or source.kind != "frames":
        return 0
    try:
        with os.scandir(source.path) as entries:
            return next((entry.stat().st_size for entry in entries if entry.is_file()), 0)
    except OSError:
        return 0


def memory_per_video(frame_size: tuple[int, int], settings: ExtractSettings) -> int:
    """Return the bytes that a worker holds for a video of some frame size, at most."""
    used = scaled_size(*frame_size, settings.short_side, settings.size) if min(frame_size) else (0, 0)
    pixels = max(frame_size[0] * frame_size[1], used[0] * used[1])
    base = pixels * (_BYTES_PER_PIXEL + _BYTES_PER_PIXEL_AND_STEP * settings.step)
    if settings.algorithm == IMPORTED:
        return base
    estimator = make_estimator(settings.algorithm, settings.engine, settings.params)
    # A batch's frames and flows, besides those of one pair.
    held = (estimator.batch - 1) * used[0] * used[1] * (_BYTES_OF_FLOW + (1 if estimator.frames == "gray" else 3))
    return base + held + estimator.batch * estimator.pair_bytes(*used)
