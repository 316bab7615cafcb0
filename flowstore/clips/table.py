"""The videos that clips are drawn from, as columns, and what each item of a dataset holds. Free of any framework.

Holds numbers and one string of paths, no object per video: a table of 300 000 videos is made in a fraction of a second,
and is cheap to send to another process.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_choice, check_flag, check_whole
from flowstore.clips.sampling import Sampling, Short, clip_flows, clip_span, draw_starts
from flowstore.errors import ArgumentError, NameNotFoundError
from flowstore.names import count_text, printable_name, video_path
from flowstore.splits import Split
from flowstore.store.video_index import VideoIndex

Labels = Literal["class", "split"]
Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ClipRule:
    """How clips are cut out of videos.

    Parameters
    ----------
    length, clips, stride : int
        Flows in a clip, clips in an item, and the distance of a clip's flows in the video.
    sampling : {"random", "uniform", "tsn", "dense", "all"}
        Where clips start.
    short : {"repeat", "loop", "drop", "error"}
        What is done with videos shorter than a clip.
    seed : int
        Of all draws.
    is_training : bool
        Whether ``tsn`` and ``dense`` draw, or take centers.

    Raises
    ------
    ArgumentError
        If a value cannot be used.
    """

    length: int = 10
    clips: int = 1
    stride: int = 1
    sampling: Sampling = "random"
    short: Short = "repeat"
    seed: int = 0
    is_training: bool = True

    def __post_init__(self) -> None:
        check_choice("sampling", self.sampling, Sampling)
        check_choice("short", self.short, Short)
        clip_span(self.length, self.stride)
        check_whole("clips", self.clips, 1)
        if self.sampling == "all" and self.clips != 1:
            raise ArgumentError(f"clips is {self.clips}, expected 1 with sampling all")
        check_whole("seed", self.seed, 0)
        check_flag("training", self.is_training)

    @property
    def span(self) -> int:
        """Flows of a video that a clip covers, first to last."""
        return clip_span(self.length, self.stride)


class TextColumn:
    """Texts in one string, so that very many are cheap to keep and to send. File names of any bytes, too.

    Examples
    --------
    >>> TextColumn(["a", "", "b/c"])[2]
    'b/c'
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self._data = b"\0".join(map(os.fsencode, texts))

    @cached_property
    def _ends(self) -> Numbers:
        breaks = np.flatnonzero(np.frombuffer(self._data, np.uint8) == 0)
        return np.append(breaks, len(self._data)).astype(np.int64)

    def __getitem__(self, row: int) -> str:
        start = int(self._ends[row - 1]) + 1 if row else 0
        return os.fsdecode(self._data[start : int(self._ends[row])])

    def __getstate__(self) -> dict[str, Any]:
        return {"_data": self._data}


@dataclass(frozen=True)
class ClipDraw:
    """What an item holds.

    Parameters
    ----------
    row : int
        Of the video in the table.
    path : str
        Of the video's group, escaped.
    flows : int64 array (clips, length)
        Numbers of the flows of each clip.
    size : tuple of int
        ``(height, width)`` of the video, in pixels.
    target : int
        The label.
    rng : numpy.random.Generator
        For what else is drawn for the item.
    """

    row: int
    path: str
    flows: Numbers
    size: tuple[int, int]
    target: int
    rng: np.random.Generator


class ClipTable:
    """Items and the clips they hold.

    `targets`: int64 array (n_videos,), the label of each video.
    """

    def __init__(
        self,
        index: VideoIndex,
        rule: ClipRule,
        split: Split | Iterable[str] | None = None,
        labels: Labels = "class",
    ) -> None:
        check_choice("labels", labels, Labels)
        self.rule = rule
        rows = np.flatnonzero(index.column("status") == "ok") if split is None else _rows_of(index, split)
        n_flows = index.column("n_flows")
        is_short = n_flows[rows] < rule.span
        if rule.short == "error" and is_short.any():
            first = rows[is_short][0]
            raise ArgumentError(
                f"{count_text(int(is_short.sum()), 'video')} shorter than a clip of {rule.span} flows, the first is "
                f"{index.column('path')[first]} with {n_flows[first]}; choose short='repeat', 'loop' or 'drop'"
            )
        if rule.short == "drop":
            rows = rows[~is_short]
        if len(rows) == 0:
            raise ArgumentError("no video is left to draw clips from; look at the split, and at short='drop'")
        self.n_flows: Numbers = n_flows[rows].astype(np.int64)
        self.sizes: Numbers = np.stack([index.column(name)[rows] for name in ("height", "width")], 1).astype(np.int64)
        paths = index.column("path")[rows]
        # Not sent on: an index is large, and only the places of source frames are looked up in it.
        self.index_rows: Numbers = rows
        self._paths = TextColumn(paths)
        self.targets: Numbers
        if labels == "class":
            numbers, self.classes = _number_classes(index)
            self.targets = numbers[rows]
        else:
            self.targets, self.classes = _split_targets(split, paths)

    @cached_property
    def _stops(self) -> Numbers:
        """With sampling ``all``: the item after the last one of each video."""
        return np.cumsum(np.maximum(self.n_flows - self.rule.span + 1, 1))

    @property
    def item_targets(self) -> Numbers:
        """The label of each item, int64 array (n_items,): with sampling ``all`` a video's once for each start."""
        if self.rule.sampling != "all":
            return self.targets
        return np.repeat(self.targets, np.diff(self._stops, prepend=0))

    @property
    def n_videos(self) -> int:
        """Videos that clips are drawn from."""
        return len(self.targets)

    def __len__(self) -> int:
        return int(self._stops[-1]) if self.rule.sampling == "all" else self.n_videos

    def path(self, row: int) -> str:
        """Return the path of a video's group, escaped."""
        return self._paths[row]

    def draw(self, number: int, epoch: int, fetch: int = 0, rank: int = 0) -> ClipDraw:
        """Return what an item holds in an epoch."""
        rule = self.rule
        again = [fetch, rank] if rule.is_training and (fetch or rank) else []
        rng = np.random.default_rng([rule.seed, epoch if rule.is_training else 0, number, *again])
        row = number
        if rule.sampling == "all":
            row = int(np.searchsorted(self._stops, number, side="right"))
        n_flows = int(self.n_flows[row])
        n_starts = max(1, n_flows - rule.span + 1)
        if rule.sampling == "all":
            starts = np.array([number - int(self._stops[row]) + n_starts])
        else:
            starts = draw_starts(rule.sampling, n_starts, rule.clips, rule.span, rng, rule.is_training)
        flows = clip_flows(starts, rule.length, rule.stride, n_flows, rule.short)
        height, width = self.sizes[row].tolist()
        return ClipDraw(row, self.path(row), flows, (height, width), int(self.targets[row]), rng)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("index_rows", "_stops")}


def _number_classes(index: VideoIndex) -> tuple[Numbers, list[str]]:
    """Return the number of each row's class, and the names of the classes, sorted."""
    column = index.column("class")
    # Rows are sorted by class, so that a class is named once and not for each of its videos.
    firsts = np.flatnonzero(np.concatenate([[True], column[1:] != column[:-1]]))
    names = [index.class_name(int(first)) for first in firsts]
    classes = sorted(set(names))
    numbers = {name: number for number, name in enumerate(classes)}
    counts = np.diff(np.append(firsts, len(column)))
    return np.repeat(np.array([numbers[name] for name in names], np.int64), counts), classes


def _rows_of(index: VideoIndex, split: Split | Iterable[str]) -> Numbers:
    """Return the rows of a split's videos, ascending."""
    if isinstance(split, Split):
        wanted = {path: path for path in split.rows}
    elif isinstance(split, str) or not isinstance(split, Iterable):
        raise ArgumentError(
            f"split is {split!r}, expected names of videos, or what flowstore.splits makes of a split file"
        )
    else:
        wanted = {video_path(*_class_and_name(name)): name for name in split}
    rows = [number for number, path in enumerate(index.column("path")) if path in wanted]
    is_ok = index.column("status")[rows] == "ok"
    if len(rows) < len(wanted) or not is_ok.all():
        found = {str(path) for path in index.column("path")[rows][is_ok]}
        missing = next(name for path, name in wanted.items() if path not in found)
        raise NameNotFoundError(
            f"{count_text(len(wanted) - len(found), 'video')} of the split without flow here, "
            f"the first is {printable_name(missing)}"
        )
    return np.array(rows, np.int64)


def _class_and_name(key: str) -> tuple[str, str]:
    class_name, _, name = key.partition("/") if isinstance(key, str) else ("", "", "")
    if not class_name or not name:
        raise NameNotFoundError(f"split names {key!r}, expected class/video")
    return class_name, name


def _split_targets(split: Split | Iterable[str] | None, paths: npt.NDArray[Any]) -> tuple[Numbers, list[str]]:
    """Return the label of each path in the split's file, and the names of the labels."""
    found = [split.rows[path].label for path in paths] if isinstance(split, Split) else [None]
    numbers = [label for label in found if label is not None]
    if not isinstance(split, Split) or len(numbers) < len(found):
        raise ArgumentError("labels is 'split', but the split has none; choose labels='class'")
    return np.array(numbers, np.int64), list(split.classes) or [str(n) for n in range(max(numbers) + 1)]
