"""One video from one store to another: the task of a copy that runs on a worker.

Every chunk is compared with its checksum on the way, and what was written is read back before the video is committed.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from flowstore.errors import ChecksumError, StoreError, StoreFormatError, StoreUnreachableError
from flowstore.format import shards, zarr_metadata
from flowstore.format.codec import Compression, codec_for, set_single_threaded
from flowstore.format.record import VideoRecord
from flowstore.format.settings import ExtractSettings
from flowstore.format.zarr_metadata import FLOW
from flowstore.jobs.job import Loss, Tick
from flowstore.names import printable_name, video_path
from flowstore.quantize.encoder import CodeChooser
from flowstore.quantize.quantizer import Quantizer
from flowstore.storage.keys import Storage, writing
from flowstore.store.video import Video
from flowstore.store.writer import commit_record, remove_video

_READ_BACK_BYTES = 8 * 2**20


@dataclass(frozen=True)
class CopyTask:
    """One video to copy. Picklable if both storages are.

    Parameters
    ----------
    source, dest : Storage
        Of the two stores.
    record : VideoRecord
        As the source has it.
    settings : ExtractSettings
        Of the source.
    compression : {"fast", "balanced", "small", "none"} or None
        To pack chunks anew with; None leaves them as they are.
    is_replacing : bool
        Whether something can be at the video's place, which is removed first.
    added_error_px : float, optional
        How far from the stored flow codes may be that are chosen anew; they stay as they are by default.
    """

    source: Storage
    dest: Storage
    record: VideoRecord
    settings: ExtractSettings
    compression: Compression | None
    is_replacing: bool = True
    added_error_px: float | None = None


@dataclass(frozen=True)
class VideoCopy:
    """What came of one video: its record as committed, or why it could not be copied."""

    key: str
    record: VideoRecord | None = None
    problem: str = ""


def is_same_video(ours: VideoRecord, theirs: VideoRecord) -> bool:
    """Tell whether two records are of one video, however its flow is packed."""
    return _unpacked(ours) == _unpacked(theirs)


def _unpacked(record: VideoRecord) -> VideoRecord:
    return replace(record, size_bytes=0, shard_sizes=(), shard_digests=(), flow_digest="")


def copy_video(task: CopyTask, tick: Tick) -> VideoCopy:
    """Copy one video and commit it."""
    set_single_threaded()
    record, dest = task.record, task.dest
    key = f"{printable_name(record.class_name)}/{printable_name(record.name)}"
    try:
        if task.is_replacing:
            with writing(dest.url):
                remove_video(dest, record.class_name, record.name)
        copied = _copy_flow(task, tick) if record.is_ok else record
        with writing(dest.url):
            commit_record(dest, copied)
    except (ChecksumError, StoreFormatError) as error:
        if task.is_replacing:
            with writing(dest.url):
                remove_video(dest, record.class_name, record.name)
        return VideoCopy(key, problem=str(error))
    return VideoCopy(key, copied)


def _copy_flow(task: CopyTask, tick: Tick) -> VideoRecord:
    folder = f"{video_path(task.record.class_name, task.record.name)}/{FLOW}"
    sizes: list[int] = []
    digests: list[str] = []
    document = b""
    for packed in _pack(task, folder):
        if not packed.n_flows:
            document = packed.data
            break
        _write_checked(task.dest, f"{folder}/c.{len(sizes)}.0.0.0", packed.data)
        sizes.append(len(packed.data))
        digests.append(packed.digest)
        tick(packed.n_flows)
    _write_checked(task.dest, f"{folder}/zarr.json", document)
    return replace(
        task.record,
        size_bytes=sum(sizes),
        shard_sizes=tuple(sizes),
        shard_digests=tuple(digests),
        flow_digest=zarr_metadata.flow_digest(zarr_metadata.parse_document(document, folder)),
    )


@dataclass(frozen=True)
class _Packed:
    """One file of a video's flow: a shard with its digest, or, without flows, the array's document."""

    data: bytes
    n_flows: int = 0
    digest: str = ""


def _pack(task: CopyTask, folder: str) -> Iterator[_Packed]:
    """Yield each shard, then the document of the array."""
    record = task.record
    video = Video(task.source, video_path(record.class_name, record.name), record, task.settings)
    try:
        layout = video.stored.read_layout()
        if task.compression is not None or task.added_error_px is not None:
            yield from _pack_anew(video, task.compression or task.settings.compression, task.added_error_px)
        else:
            yield from _pack_as_is(task.source, folder, video, layout)
    except (ChecksumError, StoreFormatError, StoreUnreachableError):
        raise
    except StoreError as error:
        # One file that a failing disk does not give back says nothing of the others.
        raise ChecksumError(f"{video.key}: {error}") from error


def _pack_as_is(source: Storage, folder: str, video: Video, layout: zarr_metadata.FlowLayout) -> Iterator[_Packed]:
    record = video.record
    n_raw = video.quantizer.dtype.itemsize * 2 * record.height * record.width
    for number, size in enumerate(record.shard_sizes):
        first = number * layout.shard_frames
        n_flows = min(layout.shard_frames, video.n_flows - first)
        try:
            data = source.read_range(f"{folder}/c.{number}.0.0.0", 0, size + 1)
            if data is None:
                raise ChecksumError("the file is missing")
            if len(data) != size:
                found = f"{len(data)} bytes" if len(data) < size else "more bytes"
                raise ChecksumError(f"the file has {found}, its record says {size}")
            digest = shards.check_shard(data, layout.shard_frames, n_flows, layout.codec, n_raw)
            if record.shard_digests and digest != record.shard_digests[number]:
                raise ChecksumError("it is not the shard that was written (the digest differs)")
        except ChecksumError as error:
            raise ChecksumError(f"{video.key}: shard {number} from flow {first} on: {error}") from error
        yield _Packed(data, n_flows, digest)
    yield _Packed(source.read(f"{folder}/zarr.json") or b"")


def packed_size(video: Video, number: int, compression: Compression, added_error_px: float | None) -> int:
    """Return the bytes of one flow of a video as a copy packs it anew, with its entry in a shard's index."""
    (codes,) = video.read_codes(number, number + 1)
    if added_error_px is not None:
        _Requantizer(video.quantizer, codes.shape, added_error_px).change(codes)
    return len(codec_for(compression, video.quantizer.dtype.name).encode(codes)) + shards.index_size(1)


class _Requantizer:
    """Chooses codes anew for flow that is stored already, within an error that comes on top."""

    def __init__(self, quantizer: Quantizer, shape: tuple[int, ...], added_error_px: float) -> None:
        self._quantizer = quantizer
        self._chooser = CodeChooser(quantizer, shape, added_error_px)
        self._flow = np.empty(shape, np.float32)

    def change(self, codes: npt.NDArray[np.uint8]) -> None:
        """Change the codes of a flow (2, H, W) in place."""
        flow = self._quantizer.decode(codes, self._flow)
        # The outermost codes may stand for flow that was clipped, and that of zero for flow that was none.
        flow[(codes <= self._quantizer.lowest_code) | (codes == 255)] = np.inf
        flow[codes == self._quantizer.zero_code] = 0
        self._chooser.choose(flow, codes)


def _pack_anew(video: Video, compression: Compression, added_error_px: float | None) -> Iterator[_Packed]:
    _, _, height, width = video.shape
    quantizer = video.quantizer
    codec = codec_for(compression, quantizer.dtype.name)
    requantizer = None if added_error_px is None else _Requantizer(quantizer, video.shape[1:], added_error_px)
    shard_frames = min(shards.frames_per_shard(height, width, quantizer.dtype.name), video.n_flows)
    for first in range(0, video.n_flows, shard_frames):
        file = io.BytesIO()
        writer = shards.ShardWriter(file, codec)
        stop = min(first + shard_frames, video.n_flows)
        for codes in video.read_codes(first, stop):
            if requantizer:
                requantizer.change(codes)
            writer.append(codes)
        writer.finish(shard_frames)
        yield _Packed(file.getvalue(), stop - first, writer.digest)
    document = zarr_metadata.flow_document(video.n_flows, height, width, shard_frames, quantizer, codec)
    yield _Packed(zarr_metadata.to_bytes(document))


def _write_checked(dest: Storage, key: str, data: bytes) -> None:
    """Write a value and read it back."""
    with writing(dest.url):
        dest.write(key, data, is_durable=True)
        for start in range(0, len(data), _READ_BACK_BYTES):
            expected = data[start : start + _READ_BACK_BYTES]
            if dest.read_range(key, start, _READ_BACK_BYTES) != expected:
                raise StoreError(
                    f"{dest.url}/{key}: bytes [{start}, {start + len(expected)}) are not the ones that were just "
                    "written: another run writes there, or the disk is failing"
                )


def copy_lost(task: CopyTask, how: Loss) -> VideoCopy:
    """Return what comes of a video whose worker process died."""
    key = f"{printable_name(task.record.class_name)}/{printable_name(task.record.name)}"
    return VideoCopy(key, problem="its worker process was killed, perhaps for want of memory")
