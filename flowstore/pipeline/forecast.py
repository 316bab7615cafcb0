"""What an extraction will take, from a look at some of its videos: frames, bytes and memory. Writes nothing."""

from __future__ import annotations

import heapq
import os
from collections.abc import Sequence
from dataclasses import dataclass

from flowstore.estimators.registry import make_estimator
from flowstore.format.settings import IMPORTED, ExtractSettings
from flowstore.names import MIB, format_bytes
from flowstore.sources.images import configured_opencv
from flowstore.sources.sampling import scaled_size
from flowstore.sources.source import VideoSource

# Resident size of a worker that has loaded its libraries and compiled nothing yet, in MiB: about 190 was measured.
_WORKER_BASE_MIB = 260
# Bytes for each pixel of a frame: decoder with its reference frames, color and gray frame, estimator, quantizer, codec.
_BYTES_PER_PIXEL = 330
_BYTES_PER_PIXEL_AND_STEP = 30
_BYTES_OF_FLOW = 8
# So many videos are looked at one and all; of more, some: the longest, those of the largest frames, and a spread.
_N_PROBED_ALL = 64
_N_PROBED_EACH = 12
# Stored bytes over raw codes, on real clips.
_STORED_SHARE = {"fast": 0.22, "balanced": 0.18, "small": 0.17, "none": 1.0}


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
        Of the stored flow.
    largest_frame : tuple of int
        ``(height, width)`` of the largest frame seen, in pixels.
    memory_per_worker : int
        Bytes that one worker process may hold at most.
    memory_per_video : int
        The part of it that each video at work adds.
    """

    n_probed: int
    n_frames: int
    size_bytes: int
    largest_frame: tuple[int, int]
    memory_per_worker: int
    memory_per_video: int

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
    probed = list(sources)
    if len(sources) > _N_PROBED_ALL:
        heavy = heapq.nlargest(_N_PROBED_EACH, sources, key=_first_frame_bytes)
        spread = sources[:: len(sources) // _N_PROBED_EACH]
        probed = list(dict.fromkeys((*sources[:_N_PROBED_EACH], *heavy, *spread)))
    sizes: list[tuple[int, int]] = []
    cost = n_frames = raw_bytes = 0.0
    for source in probed:
        found = source.probe(settings.fps)
        if found is None:
            continue
        height, width, n_found = found
        sizes.append(found[:2])
        used = scaled_size(height, width, settings.short_side, settings.size)
        cost += source.cost
        n_frames += n_found
        n_flows = n_found if settings.algorithm == IMPORTED else max(0, n_found - settings.step)
        raw_bytes += 2 * used[0] * used[1] * n_flows * settings.quantizer.dtype.itemsize
    scale = sum(source.cost for source in sources) / cost if cost else 0.0
    largest = max(sizes, key=lambda size: size[0] * size[1], default=(0, 0))
    per_video = memory_per_video(largest, settings)
    return Estimate(
        n_probed=len(probed),
        n_frames=round(n_frames * scale),
        size_bytes=round(raw_bytes * scale * _STORED_SHARE[settings.compression]),
        largest_frame=largest,
        memory_per_worker=_WORKER_BASE_MIB * MIB + per_video,
        memory_per_video=per_video,
    )


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
