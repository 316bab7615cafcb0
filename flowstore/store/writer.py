"""Writing a store: its root, its classes, and one video at a time.

One video is one group, one task and one writer. Shards first, then ``flow/zarr.json``, then the video's
``zarr.json``, which is the commit: a folder without it is no node and counts as absent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from types import TracebackType
from typing import IO, Any

import numpy.typing as npt

from flowstore.errors import ArgumentError, StoreError, StoreFormatError
from flowstore.format import zarr_metadata
from flowstore.format.codec import Compression, codec_for
from flowstore.format.record import VideoRecord
from flowstore.format.root import RootAttributes, drop_consolidated, read_root, state_plan
from flowstore.format.shards import ShardWriter, frames_per_shard
from flowstore.format.zarr_metadata import FLOW
from flowstore.names import escape_name, is_portable, video_path
from flowstore.quantize.quantizer import Quantizer
from flowstore.storage.keys import Storage, writing
from flowstore.store.index import forget_index, remove_index
from flowstore.store.tree import class_paths


def write_root(storage: Storage, root: RootAttributes) -> None:
    """Write the root of a store, in place of the one that is there."""
    storage.write("zarr.json", _root_bytes(root), is_durable=True)


def _root_bytes(root: RootAttributes) -> bytes:
    return zarr_metadata.to_bytes(zarr_metadata.group_document(root.to_json()))


def settle_root(
    storage: Storage,
    root: RootAttributes,
    check: Callable[[RootAttributes], None],
    *,
    is_new: bool,
    is_overwritten: bool,
    may_join: bool,
) -> None:
    """Make the root of a store, or look at the one that is there: under the lock, before any video is changed.

    A plan was made before the lock was held: another run may have made the store since, or made it anew.
    """
    if is_overwritten:
        empty_store(storage)
        write_root(storage, root)
        return
    if is_new and storage.write_new("zarr.json", _root_bytes(root)):
        return
    check(read_root(storage))
    if is_new and not may_join:
        raise ArgumentError(
            f"another run has just made a store at {storage.url}: run again when it has ended, or share the work by "
            "--part I/N"
        )
    drop_consolidated(storage)
    state_plan(storage, root)
    remove_index(storage)


def write_class(storage: Storage, class_name: str) -> None:
    """Write the group of a class."""
    document = zarr_metadata.group_document({"class_name": class_name})
    storage.write(f"{escape_name(class_name)}/zarr.json", zarr_metadata.to_bytes(document))


def write_classes(storage: Storage, names: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Write the classes of videos that are to be written."""
    classes: dict[str, str] = {}
    refused = {}
    for class_name, name in names:
        component = escape_name(class_name)
        if class_name not in classes:
            classes[class_name] = "" if is_portable(component) else storage.refusal(component)
            if not classes[class_name]:
                write_class(storage, class_name)
        reason = classes[class_name]
        if not reason and not is_portable(escape_name(name)):
            reason = storage.refusal(video_path(class_name, name))
        if reason:
            refused[class_name, name] = (
                f"the file system of {storage.url} refuses its name ({reason}): rename it, or use a store elsewhere"
            )
    return refused


def remove_video(storage: Storage, class_name: str, name: str) -> None:
    """Remove what is at a video's place; its commit goes first, so that no moment shows half a video."""
    path = video_path(class_name, name)
    forget_index(storage)
    storage.delete(f"{path}/zarr.json")
    storage.delete_tree(path)


def empty_store(storage: Storage) -> None:
    """Remove every class; the root stays: until it is replaced the store is one of its settings with fewer videos."""
    remove_index(storage)
    for class_path in class_paths(storage):
        storage.delete_tree(class_path)


def write_failed(storage: Storage, record: VideoRecord) -> None:
    """Commit a failed video: a group with its reason and no flow."""
    if record.is_ok:
        raise ArgumentError(f"video {record.name!r} is not a failed one")
    with writing(storage.url):
        remove_video(storage, record.class_name, record.name)
        commit_record(storage, record)


def commit_record(storage: Storage, record: VideoRecord) -> None:
    """Commit a video whose files are all there: the last that is written of it."""
    path = video_path(record.class_name, record.name)
    document = zarr_metadata.group_document(record.to_json())
    storage.write(f"{path}/zarr.json", zarr_metadata.to_bytes(document), is_durable=True)
    forget_index(storage)


def is_intact(storage: Storage, record: VideoRecord) -> bool:
    """Tell whether the files of a committed video are there in their recorded sizes; no flow is read.

    A power cut can keep a commit and lose what was written before it, on file systems that reorder.
    """
    folder = f"{video_path(record.class_name, record.name)}/{FLOW}"
    if not record.is_ok:
        return True
    sizes = [storage.size_bytes(f"{folder}/c.{number}.0.0.0") for number in range(len(record.shard_sizes))]
    if sizes != list(record.shard_sizes):
        return False
    key = f"{folder}/zarr.json"
    data = storage.read(key)
    if not record.flow_digest:
        return bool(data)
    try:
        return zarr_metadata.flow_digest(zarr_metadata.parse_document(data or b"", key)) == record.flow_digest
    except StoreFormatError:
        return False


class VideoWriter:
    """Writes the flow of one video; a context manager. What is not committed in it is removed.

    Notes
    -----
    On a local disk each encoded flow goes straight to the shard's file, so memory is that of one flow; elsewhere it
    is that of one shard, at most 64 MiB and what does not compress.
    """

    def __init__(
        self,
        storage: Storage,
        class_name: str,
        name: str,
        height: int,
        width: int,
        quantizer: Quantizer,
        compression: Compression,
    ) -> None:
        self._storage = storage
        self._names = class_name, name
        self._path = video_path(class_name, name)
        self._size = height, width
        self._quantizer = quantizer
        self._codec = codec_for(compression, quantizer.dtype.name)
        self._shard_frames = frames_per_shard(height, width, quantizer.dtype.name)
        self._shard: ShardWriter | None = None
        self._sink = contextlib.ExitStack()
        self._shard_sizes: list[int] = []
        self._shard_digests: list[str] = []
        self._is_committed = False
        self.n_flows = 0

    def __enter__(self) -> VideoWriter:
        with writing(self._storage.url):
            remove_video(self._storage, *self._names)
        return self

    def append(self, codes: npt.NDArray[Any]) -> None:
        """Write the next flow.

        `codes`: uint8 or float16 array (2, H, W), as the quantizer gives them.
        """
        with writing(self._storage.url):
            self._append(codes)

    def _append(self, codes: npt.NDArray[Any]) -> None:
        if self._shard is None:
            key = f"{self._path}/{FLOW}/c.{len(self._shard_sizes)}.0.0.0"
            file: IO[bytes] = self._sink.enter_context(self._storage.open_sink(key))
            self._shard = ShardWriter(file, self._codec)
        self._shard.append(codes)
        self.n_flows += 1
        if self._shard.n_chunks == self._shard_frames:
            self._finish_shard(self._shard)

    def _finish_shard(self, shard: ShardWriter) -> None:
        # A video of less than one shard has a shard of just its length; only a last one of several is padded.
        shard.finish(self._shard_frames if self._shard_sizes else shard.n_chunks)
        self._sink.close()
        self._shard_sizes.append(shard.size_bytes)
        self._shard_digests.append(shard.digest)
        self._shard = None

    def commit(self, record: VideoRecord) -> VideoRecord:
        """Finish the flow and commit the video."""
        with writing(self._storage.url):
            return self._finish(record)

    def _finish(self, record: VideoRecord) -> VideoRecord:
        if self._shard is not None:
            self._finish_shard(self._shard)
        height, width = self._size
        flow_document = zarr_metadata.flow_document(
            self.n_flows, height, width, min(self._shard_frames, self.n_flows), self._quantizer, self._codec
        )
        self._storage.write(f"{self._path}/{FLOW}/zarr.json", zarr_metadata.to_bytes(flow_document), is_durable=True)
        for number, size in enumerate(self._shard_sizes):
            if self._storage.size_bytes(f"{self._path}/{FLOW}/c.{number}.0.0.0") != size:
                raise StoreError(
                    f"{self._path}: another run removed what this one wrote; let one run at a time write it"
                )
        record = replace(
            record,
            n_flows=self.n_flows,
            height=height,
            width=width,
            size_bytes=sum(self._shard_sizes),
            shard_sizes=tuple(self._shard_sizes),
            shard_digests=tuple(self._shard_digests),
            flow_digest=zarr_metadata.flow_digest(flow_document),
        )
        commit_record(self._storage, record)
        self._is_committed = True
        return record

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._is_committed:
            return
        # The sink must see an error, or it would take what is there for a whole shard.
        with contextlib.suppress(OSError):
            self._sink.__exit__(RuntimeError, RuntimeError("not committed"), None)
        with contextlib.suppress(OSError):
            remove_video(self._storage, *self._names)
