"""The index as it is worked with: one row per video, as columns. How a store keeps it is `flowstore.store.index`'s."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError
from flowstore.format.columns import TEXT_TYPE, Column
from flowstore.format.record import VideoRecord
from flowstore.names import count_text, display_name, escape_name, is_shortened, unescape_name, video_path
from flowstore.notebook.tables import videos_table
from flowstore.notebook.views import MAX_ROWS, index_html

FLOW_MEANS = "flow_mean_magnitude"
TEXT_COLUMNS = ("class", "video", "path", "status", "reason", "source_path", "source_kind")
NUMBER_COLUMNS: dict[str, str] = {
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
COLUMNS = (*TEXT_COLUMNS, *NUMBER_COLUMNS)


class LazyColumns(Mapping[str, Column]):
    """Columns that are read when they are first asked for. Pickled without what was read."""

    def __init__(self, load: Callable[[str], Column]) -> None:
        self._load = load
        self._loaded: dict[str, Column] = {}

    def __getitem__(self, name: str) -> Column:
        if name not in (*COLUMNS, FLOW_MEANS):
            raise KeyError(name)
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(COLUMNS)

    def __len__(self) -> int:
        return len(COLUMNS)

    def __reduce__(self) -> tuple[type[LazyColumns], tuple[Callable[[str], Column]]]:
        return LazyColumns, (self._load,)


class VideoIndex:
    """The videos of a store, a row each, sorted by class and name.

    Parameters
    ----------
    columns : mapping of str to array
        One-dimensional, all of one length: ``class``, ``video``, ``path`` (of its group), ``status``, ``reason``,
        ``source_path``, ``source_kind`` (str); ``n_frames``, ``n_flows``, ``height``, ``width``, ``fps`` (nan where
        unknown or not constant), ``mean_magnitude``, ``p99_magnitude``, ``max_magnitude`` (pixels; nan for a failed
        video), ``clipped_x``, ``clipped_y``, ``clipped_share``, ``size_bytes``.
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
            name: np.array([row[number] for _, row, _ in entries], NUMBER_COLUMNS.get(name, TEXT_TYPE))
            for number, name in enumerate(COLUMNS)
        }
        means = [mean for _, _, mean in entries]
        return cls(columns, len(entries), np.concatenate(means or [np.empty(0, np.float32)]), encoding)

    def __len__(self) -> int:
        return self._n_videos

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return a row as a dict of plain values."""
        return {
            name: column[number].item() if name in NUMBER_COLUMNS else column[number]
            for name, column in self.columns.items()
        }

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[number] for number in range(len(self)))

    def __repr__(self) -> str:
        return f"<VideoIndex: {count_text(len(self), 'video')}; columns {', '.join(self.columns)}>"

    def _repr_html_(self) -> str:
        return index_html([self[number] for number in range(min(len(self), MAX_ROWS))], len(self))

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
        """Return the index as a `pandas.DataFrame`, one row per video; what `column` has besides is left out.

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
    row = tuple(values[name] for name in COLUMNS)
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
        # Times made of a mean rate would be wrong; the record has them.
        "fps": np.nan if record.fps is None or record.times_s else record.fps,
        "mean_magnitude": statistics.mean_magnitude if statistics else np.nan,
        "p99_magnitude": statistics.p99_magnitude if statistics else np.nan,
        "max_magnitude": statistics.max_magnitude if statistics else np.nan,
        "clipped_x": statistics.clipped_x if statistics else 0,
        "clipped_y": statistics.clipped_y if statistics else 0,
        "clipped_share": statistics.clipped_share if statistics else 0.0,
        "size_bytes": record.size_bytes,
    }
