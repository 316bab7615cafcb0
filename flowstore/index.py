"""The index: one row a video, as columns. A cache, made of the videos' own records.

Kept in the store as plain one-dimensional Zarr arrays below ``index/``; where it is missing it is gathered from the
tree.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from flowstore import documents
from flowstore.errors import ArgumentError, MissingExtraError, StoreFormatError
from flowstore.model import VideoRecord
from flowstore.names import is_shortened, unescape_name, video_path
from flowstore.storage import LocalStorage, Storage

INDEX = "index"
FLOW_MEANS = "flow_mean_magnitude"
_STRINGS = ("class", "video", "path", "status", "reason", "source_path", "source_kind")
_NUMBERS: dict[str, str] = {
    "n_frames": "int64",
    "n_flows": "int64",
    "height": "int32",
    "width": "int32",
    "fps": "float64",
    "mean_magnitude": "float32",
    "p99_magnitude": "float32",
    "max_magnitude": "float32",
    "clipped_x": "int64",
    "clipped_y": "int64",
    "clipped_share": "float64",
    "size_bytes": "int64",
}
_CHUNK = 2**20
_N_REMOTE_READERS = 32

Column = npt.NDArray[Any]


class VideoIndex:
    """The videos of a store, a row each, sorted by class and name.

    Parameters
    ----------
    columns : mapping of str to array
        One-dimensional, all of one length: ``class``, ``video``, ``path`` (of its group), ``status``, ``reason``,
        ``source_path``, ``source_kind`` (str); ``n_frames``, ``n_flows``, ``height``, ``width``, ``fps`` (nan where
        unknown), ``mean_magnitude``, ``p99_magnitude``, ``max_magnitude`` (pixels; nan for a failed video),
        ``clipped_x``, ``clipped_y``, ``clipped_share``, ``size_bytes``.
    flow_means : float32 array (sum of n_flows,)
        Mean magnitude of each flow in pixels, video after video.

    Examples
    --------
    >>> index = VideoIndex.from_records([])
    >>> len(index)
    0
    """

    def __init__(self, columns: Mapping[str, Column], flow_means: npt.NDArray[np.float32]) -> None:
        self.columns = dict(columns)
        self.flow_means = flow_means

    @classmethod
    def from_records(cls, records: Iterable[VideoRecord]) -> VideoIndex:
        """Make an index of records in any order."""
        ordered = sorted(records, key=lambda record: (record.class_name, record.name))
        rows = [_row(record) for record in ordered]
        columns: dict[str, Column] = {name: np.array([row[name] for row in rows], object) for name in _STRINGS}
        columns |= {name: np.array([row[name] for row in rows], dtype) for name, dtype in _NUMBERS.items()}
        means = [record.statistics.flow_means for record in ordered if record.statistics]
        return cls(
            columns,
            np.concatenate([np.array(mean, np.float32) for mean in means] or [np.empty(0, np.float32)]),
        )

    def __len__(self) -> int:
        return len(self.columns["class"])

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return a row as a dict of plain values."""
        return {
            name: column[number].item() if name in _NUMBERS else column[number] for name, column in self.columns.items()
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return f"<VideoIndex: {len(self)} videos; columns {', '.join(self.columns)}>"

    def column(self, name: str) -> Column:
        """Return one column.

        Raises
        ------
        ArgumentError
            If there is no column of that name.
        """
        if name not in self.columns:
            raise ArgumentError(f"no column {name!r} in the index; it has {', '.join(self.columns)}")
        return self.columns[name]

    @cached_property
    def rows_by_class(self) -> dict[str, list[int]]:
        """Row numbers of each class, by the class's path."""
        rows: defaultdict[str, list[int]] = defaultdict(list)
        for number, path in enumerate(self.columns["path"]):
            rows[path.partition("/")[0]].append(number)
        return dict(rows)

    def name(self, number: int) -> str:
        """Return the original name of a row's video: the column shows bytes that are not UTF-8 as escapes."""
        component = self.columns["path"][number].partition("/")[2]
        return str(self.columns["video"][number]) if is_shortened(component) else unescape_name(component)

    def class_name(self, number: int) -> str:
        """Return the original name of a row's class."""
        component = self.columns["path"][number].partition("/")[0]
        return str(self.columns["class"][number]) if is_shortened(component) else unescape_name(component)

    def where(self, mask: npt.NDArray[np.bool_]) -> VideoIndex:
        """Return the rows for which a boolean array of shape (n_videos,) is true."""
        flow_mask = np.repeat(mask, self.columns["n_flows"])
        return VideoIndex({name: column[mask] for name, column in self.columns.items()}, self.flow_means[flow_mask])

    def to_pandas(self) -> Any:
        """Return the index as a `pandas.DataFrame`, a row a video.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError("to_pandas needs pandas: pip install 'flowstore[notebook]'") from error
        return pd.DataFrame({name: column.tolist() for name, column in self.columns.items()})


def _row(record: VideoRecord) -> dict[str, Any]:
    statistics = record.statistics
    return {
        "class": display_name(record.class_name),
        "video": display_name(record.name),
        "path": video_path(record.class_name, record.name),
        "status": record.status,
        "reason": display_name(record.reason),
        "source_path": display_name(record.source_path),
        "source_kind": record.source_kind,
        "n_frames": record.n_frames,
        "n_flows": record.n_flows,
        "height": record.height,
        "width": record.width,
        "fps": np.nan if record.fps is None else record.fps,
        "mean_magnitude": statistics.mean_magnitude if statistics else np.nan,
        "p99_magnitude": statistics.p99_magnitude if statistics else np.nan,
        "max_magnitude": statistics.max_magnitude if statistics else np.nan,
        "clipped_x": statistics.clipped_x if statistics else 0,
        "clipped_y": statistics.clipped_y if statistics else 0,
        "clipped_share": statistics.clipped_share if statistics else 0.0,
        "size_bytes": record.size_bytes,
    }


def display_name(name: str) -> str:
    r"""Return a name that can be written as UTF-8: bytes that are not become ``\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def video_paths(storage: Storage) -> list[str]:
    """Return the path of every folder that may be a video, committed or not: ``class/video``, escaped, sorted."""
    return [f"{path}/{child}" for path in class_paths(storage) for child in storage.list_folders(path)]


def class_paths(storage: Storage) -> list[str]:
    """Return the path of every folder that may be a class, escaped, sorted."""
    return [name for name in storage.list_folders("") if name != INDEX]


def read_record(storage: Storage, path: str) -> VideoRecord | None:
    """Read the record of a video.

    Parameters
    ----------
    storage : Storage
        Of the store.
    path : str
        ``class/video``, escaped.

    Returns
    -------
    VideoRecord or None
        None where no video was committed.

    Raises
    ------
    StoreFormatError
        If what is there is damaged or is not a video.
    """
    key = f"{path}/zarr.json"
    data = storage.read(key)
    # A power cut can leave a commit with no bytes; it says nothing, so it commits nothing.
    if not data:
        return None
    try:
        return VideoRecord.from_json(documents.group_attributes(documents.parse_document(data, key), key))
    except ArgumentError as error:
        raise StoreFormatError(f"{key}: {error}") from error


def read_records(storage: Storage) -> Iterator[VideoRecord]:
    """Yield the record of every committed video of the tree, in the order of paths."""
    paths = video_paths(storage)
    if isinstance(storage, LocalStorage):
        yield from (record for path in paths if (record := read_record(storage, path)) is not None)
        return
    with ThreadPoolExecutor(_N_REMOTE_READERS) as pool:
        yield from (record for record in pool.map(lambda path: read_record(storage, path), paths) if record is not None)


def remove_index(storage: Storage) -> None:
    """Remove the index: what a run does before it changes the tree, so that no index is ever behind it."""
    storage.delete(f"{INDEX}/zarr.json")
    storage.delete_tree(INDEX)


def write_index(storage: Storage, index: VideoIndex) -> None:
    """Write the index into the store; its group's metadata goes last."""
    remove_index(storage)
    store = storage.zarr_store()
    columns = index.columns | {FLOW_MEANS: index.flow_means}
    for name, column in columns.items():
        array = zarr.create_array(
            store,
            name=f"{INDEX}/{name}",
            shape=column.shape,
            dtype=str if name in _STRINGS else column.dtype,
            chunks=(min(_CHUNK, max(1, len(column))),),
            dimension_names=["flow" if name == FLOW_MEANS else "video"],
        )
        if len(column):
            array[:] = column
    attributes = {"n_videos": len(index), "n_flows": len(index.flow_means), "digest": _digest(index)}
    storage.write(f"{INDEX}/zarr.json", documents.to_bytes(documents.group_document(attributes)))


def read_index(storage: Storage) -> VideoIndex:
    """Read the index, or gather it from the tree where the store has none, or one that is damaged."""
    data = storage.read(f"{INDEX}/zarr.json")
    if data:
        # Whatever is wrong with a cache, the tree still holds the truth. These are what zarr-python and its codecs
        # raise on damaged bytes.
        with contextlib.suppress(LookupError, ValueError, TypeError, RuntimeError, OSError):
            return _read_columns(storage, documents.group_attributes(documents.parse_document(data, INDEX), INDEX))
    return VideoIndex.from_records(read_records(storage))


def _read_columns(storage: Storage, attributes: Mapping[str, Any]) -> VideoIndex:
    group = zarr.open_group(storage.zarr_store(), path=INDEX, mode="r")
    columns = {name: _read_column(group, name, attributes["n_videos"]) for name in (*_STRINGS, *_NUMBERS)}
    columns |= {name: columns[name].astype(object) for name in _STRINGS}
    index = VideoIndex(columns, _read_column(group, FLOW_MEANS, attributes["n_flows"]))
    # A chunk that is missing reads as zeros, and its codec has no checksum.
    if attributes["digest"] != _digest(index):
        raise StoreFormatError("the index is damaged")
    return index


def _read_column(group: zarr.Group, name: str, length: int) -> Column:
    array = group[name]
    if not isinstance(array, zarr.Array) or array.shape != (length,):
        raise StoreFormatError(f"the index is damaged: column {name}")
    return np.asarray(array[:])


def _digest(index: VideoIndex) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name in _STRINGS:
        digest.update(json.dumps([name, *index.columns[name]]).encode())
    for name, dtype in _NUMBERS.items():
        digest.update(name.encode() + index.columns[name].astype(np.dtype(dtype).newbyteorder("<")).tobytes())
    digest.update(index.flow_means.astype("<f4").tobytes())
    return digest.hexdigest()
