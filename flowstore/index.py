"""The index: one row a video, as columns. A cache, made of the videos' own records.

Kept in the store as plain one-dimensional Zarr arrays below ``index/``, each read when it is first asked for; where
one is missing or damaged, all are gathered from the tree.
"""

from __future__ import annotations

import bisect
import contextlib
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from flowstore import documents
from flowstore.errors import ArgumentError, StoreError, StoreFormatError
from flowstore.model import VideoRecord
from flowstore.names import escape_name, is_shortened, unescape_name, video_path
from flowstore.storage import LocalStorage, Storage
from flowstore.tables import videos_table

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
_NAMES = (*_STRINGS, *_NUMBERS)
# Strings become Python objects on their way out of a chunk: few at a time.
_CHUNK, _STRING_CHUNK = 2**20, 2**16
_N_REMOTE_READERS = 32
# NumPy 2 keeps a short string in 16 bytes, a fifth of what a Python object takes.
_STRING_TYPE: np.dtype[Any] = np.dtypes.StringDType() if hasattr(np.dtypes, "StringDType") else np.dtype(object)

Column = npt.NDArray[Any]


class LazyColumns(Mapping[str, Column]):
    """Columns that are read when they are first asked for. Pickled without what was read.

    Parameters
    ----------
    load : callable
        Returns the column of a name; picklable. Also the flow means, which are no column.
    """

    def __init__(self, load: Callable[[str], Column]) -> None:
        self._load = load
        self._loaded: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in (*_NAMES, FLOW_MEANS):
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_NAMES)

    def __len__(self) -> int:
        return len(_NAMES)

    def __reduce__(self) -> tuple[type[LazyColumns], tuple[Callable[[str], Column]]]:
        return LazyColumns, (self._load,)


class VideoIndex:
    """The videos of a store, a row each, sorted by class and name.

    Parameters
    ----------
    columns : mapping of str to array
        One-dimensional, all of one length: ``class``, ``video``, ``path`` (of its group), ``status``, ``reason``,
        ``source_path``, ``source_kind`` (str); ``n_frames``, ``n_flows``, ``height``, ``width``, ``fps`` (nan where
        unknown), ``mean_magnitude``, ``p99_magnitude``, ``max_magnitude`` (pixels; nan for a failed video),
        ``clipped_x``, ``clipped_y``, ``clipped_share``, ``size_bytes``.
    n_videos : int
        Number of rows.
    flow_means : float32 array (sum of n_flows,), optional
        Mean magnitude of each flow in pixels, video after video; by default the columns give them.
    encoding : str
        Of the store's flow, where it is known.

    Examples
    --------
    >>> index = VideoIndex.from_records([])
    >>> len(index)
    0
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        n_videos: int,
        flow_means: npt.NDArray[np.float32] | None = None,
        encoding: str = "",
    ) -> None:
        self.columns = columns
        self._encoding = encoding
        self._n_videos = n_videos
        self._flow_means = flow_means

    @property
    def flow_means(self) -> npt.NDArray[np.float32]:
        """Mean magnitude of each flow in pixels, video after video: float32 (sum of n_flows,)."""
        return self.columns[FLOW_MEANS] if self._flow_means is None else self._flow_means

    @classmethod
    def from_records(cls, records: Iterable[VideoRecord], encoding: str = "") -> VideoIndex:
        """Make an index of records in any order."""
        ordered = sorted(records, key=lambda record: (record.class_name, record.name))
        rows = [_row(record) for record in ordered]
        columns: dict[str, Column] = {name: np.array([row[name] for row in rows], _STRING_TYPE) for name in _STRINGS}
        columns |= {name: np.array([row[name] for row in rows], dtype) for name, dtype in _NUMBERS.items()}
        means = [record.statistics.flow_means for record in ordered if record.statistics]
        return cls(
            columns,
            len(rows),
            np.concatenate([np.array(mean, np.float32) for mean in means] or [np.empty(0, np.float32)]),
            encoding,
        )

    def __len__(self) -> int:
        return self._n_videos

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
    def rows_by_class(self) -> dict[str, range]:
        """Row numbers of each class, by the class's path."""
        names, paths = self.columns["class"], self.columns["path"]
        if len(self) == 0:
            return {}
        rows: dict[str, range] = {}
        borders = [0, *(np.flatnonzero(names[1:] != names[:-1]) + 1).tolist(), len(self)]
        for start, stop in itertools.pairwise(borders):
            first, last = (str(paths[row]).partition("/")[0] for row in (start, stop - 1))
            if first == last:
                rows[first] = range(start, stop)
                continue
            # Two classes that are shown alike: the one with a byte that is not UTF-8, the other with its escape.
            run = itertools.groupby(range(start, stop), key=lambda row: str(paths[row]).partition("/")[0])
            for path, group in run:
                numbers = list(group)
                rows[path] = range(numbers[0], numbers[-1] + 1)
        return rows

    def row_of(self, class_name: str, name: str) -> int | None:
        """Return the row of a video by its original names, None if there is none."""
        rows = self.rows_by_class.get(escape_name(class_name), range(0))
        place = bisect.bisect_left(rows, name, key=self.name)
        return rows[place] if place < len(rows) and self.name(rows[place]) == name else None

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
        return VideoIndex(
            LazyColumns(_Selection(self, mask).load), int(np.count_nonzero(mask)), encoding=self._encoding
        )

    def to_pandas(self) -> Any:
        """Return the index as a `pandas.DataFrame`, a row a video; what `column` has besides is left out.

        Returns
        -------
        pandas.DataFrame
            Indexed by ``video``, which is ``class/name`` and what ``store[...]`` takes; with columns ``class``,
            ``name``, ``n_frames``, ``n_flows``, ``height``, ``width``, ``fps`` and ``duration_s`` (NaN where the frame
            rate is unknown), ``mean_magnitude_px``, ``p99_magnitude_px`` and ``max_magnitude_px`` (NaN for a failed
            video), ``clipped_share`` (0 to 1, of values), ``encoding``, ``size_bytes``, ``status``, ``reason``. Class,
            encoding and status are categorical.

        Raises
        ------
        MissingExtraError
            If pandas is not installed.
        """
        return videos_table(self.columns, self._encoding)


class _Selection:
    """Some rows of an index."""

    def __init__(self, index: VideoIndex, mask: npt.NDArray[np.bool_]) -> None:
        self._index = index
        self._mask = mask

    def load(self, name: str) -> Column:
        if name == FLOW_MEANS:
            return self._index.flow_means[np.repeat(self._mask, self._index.column("n_flows"))]
        return self._index.column(name)[self._mask]


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
    columns = {**index.columns, FLOW_MEANS: index.flow_means}
    for name, column in columns.items():
        array = zarr.create_array(
            store,
            name=f"{INDEX}/{name}",
            shape=column.shape,
            dtype=str if name in _STRINGS else column.dtype,
            chunks=(min(_STRING_CHUNK if name in _STRINGS else _CHUNK, max(1, len(column))),),
            dimension_names=["flow" if name == FLOW_MEANS else "video"],
        )
        if len(column):
            array[:] = column
    digests = {name: _digest(name, column) for name, column in columns.items()}
    attributes = {"n_videos": len(index), "n_flows": len(index.flow_means), "digests": digests}
    storage.write(f"{INDEX}/zarr.json", documents.to_bytes(documents.group_document(attributes)))


def read_index(storage: Storage, encoding: str = "") -> VideoIndex:
    """Open the index, or gather it from the tree where the store has none, or one that is damaged.

    Parameters
    ----------
    storage : Storage
        Of the store.
    encoding : str
        Of the store's flow, which its index does not say.
    """
    data = storage.read(f"{INDEX}/zarr.json")
    if data:
        # Whatever is wrong with a cache, the tree still holds the truth.
        with contextlib.suppress(LookupError, ValueError, TypeError):
            attributes = documents.group_attributes(documents.parse_document(data, INDEX), INDEX)
            columns = _StoredColumns(storage, attributes["n_videos"], attributes["n_flows"], attributes["digests"])
            return VideoIndex(LazyColumns(columns.load), columns.n_videos, encoding=encoding)
    return VideoIndex.from_records(read_records(storage), encoding)


class _StoredColumns:
    """The columns of a store's index; gathered from the tree as soon as one proves damaged."""

    def __init__(self, storage: Storage, n_videos: int, n_flows: int, digests: Mapping[str, str]) -> None:
        if not {*_NAMES, FLOW_MEANS} <= digests.keys() or n_videos < 0:
            raise StoreFormatError("the index is damaged")
        self._storage = storage
        self.n_videos = n_videos
        self._n_flows = n_flows
        self._digests = digests
        self._gathered: VideoIndex | None = None

    def load(self, name: str) -> Column:
        if self._gathered is None:
            # What zarr-python and its codecs raise on damaged bytes.
            with contextlib.suppress(LookupError, ValueError, TypeError, RuntimeError, OSError):
                return self._read(name)
            self._gathered = VideoIndex.from_records(read_records(self._storage))
        if len(self._gathered) != self.n_videos:
            raise StoreError(
                f"{self._storage.url}: column {name} of its index is damaged, and the store has changed since it was "
                f"opened: open it again; if that does not help, remove {INDEX}/, which the next run makes anew"
            )
        return self._gathered.flow_means if name == FLOW_MEANS else self._gathered.columns[name]

    def _read(self, name: str) -> Column:
        array = zarr.open_array(self._storage.zarr_store(), path=f"{INDEX}/{name}", mode="r")
        if array.shape != ((self._n_flows if name == FLOW_MEANS else self.n_videos),):
            raise StoreFormatError(f"the index is damaged: column {name}")
        dtype = _STRING_TYPE if name in _STRINGS else np.dtype(_NUMBERS.get(name, "float32"))
        column = np.asarray(array[:]).astype(dtype, copy=False)
        # A chunk that is missing reads as zeros, and its codec has no checksum.
        if self._digests[name] != _digest(name, column):
            raise StoreFormatError(f"the index is damaged: column {name}")
        return column


def _digest(name: str, column: Column) -> str:
    """Return the digest of a column's name and values."""
    digest = hashlib.blake2b(name.encode() + b"\0", digest_size=16)
    if name in _STRINGS:
        for start in range(0, len(column), _STRING_CHUNK):
            # No name holds a zero byte, so none can pass for two.
            digest.update("".join(f"{text}\0" for text in column[start : start + _STRING_CHUNK].tolist()).encode())
    else:
        digest.update(np.ascontiguousarray(column, column.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()
