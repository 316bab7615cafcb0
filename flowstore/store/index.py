"""The index in a store: a cache, made of the videos' own records.

Kept in the store as plain one-dimensional Zarr arrays below ``index/`` (`flowstore.format.columns`), each read when it
is first asked for; where one is missing or damaged, all are gathered from the tree.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import warnings
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from flowstore.errors import ChecksumError, FlowStoreWarning, StoreError, StoreFormatError
from flowstore.format import zarr_metadata
from flowstore.format.columns import TEXT_CHUNK, TEXT_TYPE, Column, read_column, write_column
from flowstore.limits import is_count
from flowstore.names import count_text, printable_name
from flowstore.storage.keys import Storage
from flowstore.store.tree import INDEX, OnDamaged, read_records, video_paths, warn_of_damage
from flowstore.store.video_index import (
    COLUMNS,
    FLOW_MEANS,
    NUMBER_COLUMNS,
    TEXT_COLUMNS,
    LazyColumns,
    VideoIndex,
)

_INDEX_TRIES = 3
# More than all the videos of all the datasets that there are; a larger index is taken for damaged.
_MAX_VIDEOS, _MAX_FLOWS = 2**24, 2**30


def remove_index(storage: Storage) -> None:
    """Remove the index: what a run does before it changes the tree, so that no index is ever behind it."""
    storage.delete(f"{INDEX}/zarr.json")
    storage.delete_tree(INDEX)


def has_index(storage: Storage) -> bool:
    """Tell whether the store has an index that was finished."""
    return storage.size_bytes(f"{INDEX}/zarr.json") is not None


def forget_index(storage: Storage) -> None:
    """Remove the index if there is one: whoever adds or removes a video does so before and after it.

    Runs on several machines cannot lock one another out. A run that wrote the index while another one committed a video
    either finds that one in the tree afterwards (`index_tree`), or its index is found here.
    """
    if has_index(storage):
        remove_index(storage)


def index_tree(storage: Storage, on_damaged: OnDamaged | None = None) -> VideoIndex | None:
    """Gather the index from the tree and write it."""
    for _ in range(_INDEX_TRIES):
        before = _tree_stamps(storage)
        damaged: dict[str, StoreError] = {}
        index = VideoIndex.from_records(read_records(storage, damaged.__setitem__))
        write_index(storage, index)
        if _tree_stamps(storage) == before:
            for path, error in damaged.items():
                (on_damaged or warn_of_damage)(path, error)
            return index
    remove_index(storage)
    return None


def _tree_stamps(storage: Storage) -> dict[str, tuple[int, ...] | None]:
    return {path: storage.stamp(f"{path}/zarr.json") for path in video_paths(storage)}


def write_index(storage: Storage, index: VideoIndex) -> None:
    """Write the index into the store; its group's metadata goes last."""
    remove_index(storage)
    columns = {**index.columns, FLOW_MEANS: index.flow_means}
    for name, column in columns.items():
        write_column(storage, f"{INDEX}/{name}", column, "flow" if name == FLOW_MEANS else "video")
    digests = {name: _digest(name, column) for name, column in columns.items()}
    attributes = {"n_videos": len(index), "n_flows": len(index.flow_means), "digests": digests}
    storage.write(f"{INDEX}/zarr.json", zarr_metadata.to_bytes(zarr_metadata.group_document(attributes)))


def read_index(storage: Storage, encoding: str = "") -> VideoIndex:
    """Open the index, or gather it from the tree where the store has none, or one that is damaged."""
    try:
        columns = open_columns(storage)
    except StoreError:
        # Whatever is wrong with a cache, the tree still holds the truth.
        columns = None
    if columns is not None:
        index = VideoIndex(LazyColumns(columns.load), columns.n_videos, encoding=encoding)
        is_gone = _removed_rows(storage, index)
        if not is_gone.any():
            return index
        if has_index(storage):
            _warn_of_removed(storage, index.where(is_gone))
            return index.where(~is_gone)
    return VideoIndex.from_records(read_records(storage), encoding)


def removed_videos(storage: Storage) -> VideoIndex:
    """Return the rows of the index whose videos are gone: somebody removed their folders, and the index names them."""
    with contextlib.suppress(StoreError):
        if (columns := open_columns(storage)) is not None:
            index = VideoIndex(LazyColumns(columns.load), columns.n_videos)
            return index.where(_removed_rows(storage, index))
    return VideoIndex.from_records([])


def _removed_rows(storage: Storage, index: VideoIndex) -> npt.NDArray[np.bool_]:
    """Return for each row whether its video's folder is gone: a list for each class, and not a look at each video.

    Of 6 800 videos in 51 classes that is as long as reading a column or two. Where it would take requests over a
    network, a store is taken to be what its index says.
    """
    is_gone = np.zeros(len(index), bool)
    if storage.folder is None:
        return is_gone
    with contextlib.suppress(StoreError):
        listed, there = "", set[str]()
        for row, path in enumerate(index.column("path").tolist()):
            class_path, _, name = path.partition("/")
            if class_path == os.pardir:
                # Somebody else's index: what leads out of a store is refused where it is read.
                continue
            if class_path != listed:
                listed, there = class_path, {*storage.list_children(class_path)}
            is_gone[row] = name not in there
    return is_gone


def _warn_of_removed(storage: Storage, removed: VideoIndex) -> None:
    names = [f"{removed.column('class')[row]}/{removed.column('video')[row]}" for row in range(min(3, len(removed)))]
    listed = ", ".join(map(printable_name, names)) + (", ..." if len(removed) > 3 else "")
    warnings.warn(
        f"{storage.url}: {count_text(len(removed), 'video')} of its index left out, whose files are gone: {listed}; "
        "flowstore remove takes them out of the index, extract makes them again",
        FlowStoreWarning,
        stacklevel=4,
    )


def is_indexed(storage: Storage, paths: Iterable[str]) -> bool:
    """Tell whether the store has an index, undamaged, in which all of some videos are, and none that is gone."""
    try:
        columns = open_columns(storage)
        if columns is None or not {*columns.read("path").tolist()}.issuperset(paths):
            return False
    except StoreError:
        return False
    return not len(removed_videos(storage))


def indexed_flows(storage: Storage) -> int | None:
    """Return how many flows the store has by its index, None where that cannot tell."""
    try:
        columns = open_columns(storage)
    except StoreError:
        return None
    return None if columns is None else columns.n_flows


def open_columns(storage: Storage) -> StoredColumns | None:
    """Return the columns of a store's index, None if it has none."""
    data = storage.read(f"{INDEX}/zarr.json")
    if not data:
        return None
    attributes = zarr_metadata.group_attributes(zarr_metadata.parse_document(data, INDEX), INDEX)
    try:
        return StoredColumns(storage, attributes["n_videos"], attributes["n_flows"], attributes["digests"])
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise StoreFormatError("the index is damaged") from error


class StoredColumns:
    """The columns of a store's index; gathered from the tree as soon as one proves damaged."""

    def __init__(self, storage: Storage, n_videos: int, n_flows: int, digests: Mapping[str, str]) -> None:
        if not {*COLUMNS, FLOW_MEANS} <= digests.keys() or not (is_count(n_videos) and is_count(n_flows)):
            raise StoreFormatError("the index is damaged")
        if n_videos > _MAX_VIDEOS or n_flows > _MAX_FLOWS:
            raise StoreFormatError(
                f"an index of {n_videos} videos and {n_flows} flows, at most {_MAX_VIDEOS} and {_MAX_FLOWS} can be"
            )
        self._storage = storage
        self.n_videos = n_videos
        self.n_flows = n_flows
        self._digests = digests
        self._gathered: VideoIndex | None = None

    def load(self, name: str) -> Column:
        """Return a column, from the tree where the stored one is damaged."""
        if self._gathered is None:
            with contextlib.suppress(StoreError):
                return self.read(name)
            self._gathered = VideoIndex.from_records(read_records(self._storage))
        if len(self._gathered) != self.n_videos:
            raise StoreError(
                f"{self._storage.url}: column {name} of its index is damaged or gone, and the store has changed since "
                f"it was opened: open it again; if that does not help, remove {INDEX}/, which the next run makes anew"
            )
        return self._gathered.flow_means if name == FLOW_MEANS else self._gathered.columns[name]

    def read(self, name: str) -> Column:
        """Return a column as it is stored."""
        try:
            column = self._read(name)
        except (StoreFormatError, ChecksumError) as error:
            raise StoreFormatError(f"column {name} of the index is damaged ({error})") from error
        # Its codec has no checksum.
        if self._digests[name] != _digest(name, column):
            raise ChecksumError(f"column {name} of the index is damaged: its digest differs")
        return column

    def _read(self, name: str) -> Column:
        n_rows = self.n_flows if name == FLOW_MEANS else self.n_videos
        dtype = TEXT_TYPE if name in TEXT_COLUMNS else np.dtype(NUMBER_COLUMNS.get(name, "float32"))
        return read_column(self._storage, f"{INDEX}/{name}", n_rows, dtype)


def _digest(name: str, column: Column) -> str:
    """Return the digest of a column's name and values."""
    digest = hashlib.blake2b(name.encode() + b"\0", digest_size=16)
    if name in TEXT_COLUMNS:
        for start in range(0, len(column), TEXT_CHUNK):
            # No name holds a zero byte, so none can pass for two.
            digest.update("\0".join([*column[start : start + TEXT_CHUNK].tolist(), ""]).encode())
    else:
        digest.update(np.ascontiguousarray(column, column.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
