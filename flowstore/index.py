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
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from flowstore import documents
from flowstore.errors import ArgumentError, ChecksumError, StoreError, StoreFormatError
from flowstore.foreign_arrays import read_foreign_array
from flowstore.limits import is_count
from flowstore.model import VideoRecord
from flowstore.names import display_name, escape_name, is_shortened, unescape_name, video_path
from flowstore.records import INDEX, OnDamaged, read_records, video_paths, warn_of_damage
from flowstore.storage import Storage, memory_storage
from flowstore.tables import videos_table

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
_INDEX_TRIES = 3
# More than all the videos of all the datasets that there are; a larger index is taken for damaged.
_MAX_VIDEOS, _MAX_FLOWS = 2**24, 2**30
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
        """Make an index of records.

        Parameters
        ----------
        records : iterable of VideoRecord
            In any order; each is let go once its row is made.
        encoding : str
            Of the store's flow, where it is known.

        Returns
        -------
        VideoIndex
            Sorted by class and name.
        """
        # A record is let go as soon as its row is made: of a very large store all of them would fill the memory.
        entries = [_entry(record) for record in records]
        entries.sort(key=lambda entry: entry[0])
        columns: dict[str, Column] = {
            name: np.array([row[number] for _, row, _ in entries], _NUMBERS.get(name, _STRING_TYPE))
            for number, name in enumerate(_NAMES)
        }
        means = [mean for _, _, mean in entries]
        return cls(columns, len(entries), np.concatenate(means or [np.empty(0, np.float32)]), encoding)

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

        Parameters
        ----------
        name : str
            One of those that `VideoIndex` lists.

        Returns
        -------
        array (n_videos,)
            In the order of the rows.

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
        """Return the row of a video by its original names.

        Parameters
        ----------
        class_name, name : str
            Original names, before any escape.

        Returns
        -------
        int or None
            Row number; None if there is no such video.
        """
        rows = self.rows_by_class.get(escape_name(class_name), range(0))
        place = bisect.bisect_left(rows, name, key=self.name)
        return rows[place] if place < len(rows) and self.name(rows[place]) == name else None

    def name(self, number: int) -> str:
        """Return the original name of a row's video: the column shows bytes that are not UTF-8 as escapes.

        Parameters
        ----------
        number : int
            Of the row.

        Returns
        -------
        str
            As the source had it.
        """
        component = self.columns["path"][number].partition("/")[2]
        return str(self.columns["video"][number]) if is_shortened(component) else unescape_name(component)

    def class_name(self, number: int) -> str:
        """Return the original name of a row's class.

        Parameters
        ----------
        number : int
            Of the row.

        Returns
        -------
        str
            As the source had it.
        """
        component = self.columns["path"][number].partition("/")[0]
        return str(self.columns["class"][number]) if is_shortened(component) else unescape_name(component)

    def where(self, mask: npt.NDArray[np.bool_]) -> VideoIndex:
        """Return some of the rows.

        Parameters
        ----------
        mask : bool array (n_videos,)
            True for each row to keep.

        Returns
        -------
        VideoIndex
            Of those rows; its columns are picked when they are first asked for.
        """
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


def _entry(record: VideoRecord) -> tuple[tuple[str, str], tuple[Any, ...], npt.NDArray[np.float32]]:
    """Return what a record is sorted by, its row in the order of the columns, and its flows' mean magnitudes."""
    values = _row(record)
    means = record.statistics.flow_means if record.statistics else ()
    row = tuple(values[name] for name in _NAMES)
    return (record.class_name, record.name), row, np.array(means, np.float32)


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
    """Gather the index from the tree and write it.

    Parameters
    ----------
    storage : Storage
        Of the store.
    on_damaged : callable, optional
        See `read_records`.

    Returns
    -------
    VideoIndex or None
        None where other runs changed the tree all the while: there is no index then.
    """
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
    # zarr-python packs the columns in memory, and the storage writes them as it does all else.
    memory = memory_storage()
    columns = {**index.columns, FLOW_MEANS: index.flow_means}
    with zarr.config.set({"array.write_empty_chunks": True}):
        for name, column in columns.items():
            _write_column(storage, memory, name, column)
    digests = {name: _digest(name, column) for name, column in columns.items()}
    attributes = {"n_videos": len(index), "n_flows": len(index.flow_means), "digests": digests}
    storage.write(f"{INDEX}/zarr.json", documents.to_bytes(documents.group_document(attributes)))


def _write_column(storage: Storage, memory: Storage, name: str, column: Column) -> None:
    chunk = min(_STRING_CHUNK if name in _STRINGS else _CHUNK, max(1, len(column)))
    array = zarr.create_array(
        memory.zarr_store(),
        name=f"{INDEX}/{name}",
        shape=column.shape,
        dtype=str if name in _STRINGS else column.dtype,
        chunks=(chunk,),
        dimension_names=["flow" if name == FLOW_MEANS else "video"],
    )
    if len(column):
        array[:] = column
    for key in ("zarr.json", *(f"c/{number}" for number in range(-(-len(column) // chunk)))):
        value = memory.read_range(f"{INDEX}/{name}/{key}", 0, 2**31)
        assert value is not None
        storage.write(f"{INDEX}/{name}/{key}", value)


def read_index(storage: Storage, encoding: str = "") -> VideoIndex:
    """Open the index, or gather it from the tree where the store has none, or one that is damaged.

    Parameters
    ----------
    storage : Storage
        Of the store.
    encoding : str
        Of the store's flow, which its index does not say.
    """
    try:
        columns = open_columns(storage)
    except StoreError:
        # Whatever is wrong with a cache, the tree still holds the truth.
        columns = None
    if columns is None:
        return VideoIndex.from_records(read_records(storage), encoding)
    return VideoIndex(LazyColumns(columns.load), columns.n_videos, encoding=encoding)


def is_indexed(storage: Storage, paths: Iterable[str]) -> bool:
    """Tell whether the store has an index, undamaged, in which all of some videos are."""
    try:
        columns = open_columns(storage)
        return columns is not None and {*columns.read("path").tolist()}.issuperset(paths)
    except StoreError:
        return False


def indexed_flows(storage: Storage) -> int | None:
    """Return how many flows the store has by its index, None where that cannot tell."""
    try:
        columns = open_columns(storage)
    except StoreError:
        return None
    return None if columns is None else columns.n_flows


def open_columns(storage: Storage) -> StoredColumns | None:
    """Return the columns of a store's index, None if it has none.

    Raises
    ------
    StoreError
        If they are damaged.
    """
    data = storage.read(f"{INDEX}/zarr.json")
    if not data:
        return None
    attributes = documents.group_attributes(documents.parse_document(data, INDEX), INDEX)
    try:
        return StoredColumns(storage, attributes["n_videos"], attributes["n_flows"], attributes["digests"])
    except (LookupError, ValueError, TypeError, AttributeError) as error:
        raise StoreFormatError("the index is damaged") from error


class StoredColumns:
    """The columns of a store's index; gathered from the tree as soon as one proves damaged.

    Parameters
    ----------
    storage : Storage
        Of the store.
    n_videos, n_flows : int
        Rows, and flows of all of them.
    digests : mapping of str to str
        Of each column.
    """

    def __init__(self, storage: Storage, n_videos: int, n_flows: int, digests: Mapping[str, str]) -> None:
        if not {*_NAMES, FLOW_MEANS} <= digests.keys() or not (is_count(n_videos) and is_count(n_flows)):
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
        """Return a column as it is stored.

        Raises
        ------
        StoreError
            If it is damaged.
        """
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
        data_type = "string" if name in _STRINGS else _NUMBERS.get(name, "float32")
        column = read_foreign_array(self._storage, f"{INDEX}/{name}", (n_rows,), data_type, 0, n_rows)
        return column.astype(_STRING_TYPE if name in _STRINGS else np.dtype(data_type), copy=False)


def _digest(name: str, column: Column) -> str:
    """Return the digest of a column's name and values."""
    digest = hashlib.blake2b(name.encode() + b"\0", digest_size=16)
    if name in _STRINGS:
        for start in range(0, len(column), _STRING_CHUNK):
            # No name holds a zero byte, so none can pass for two.
            digest.update("\0".join([*column[start : start + _STRING_CHUNK].tolist(), ""]).encode())
    else:
        digest.update(np.ascontiguousarray(column, column.dtype.newbyteorder("<")).data)
    return digest.hexdigest()
