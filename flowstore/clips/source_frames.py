"""The frames that flow starts from: where they are on disk, and how a view falls on them. Loads the decoders."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from flowstore.arguments import check_path
from flowstore.clips.table import ClipTable, TextColumn
from flowstore.errors import DecodeError, SourceError
from flowstore.layouts.flow_names import flow_finder
from flowstore.names import video_path
from flowstore.sources.discovery import LIST_SUFFIXES, discover
from flowstore.sources.frames import Frame
from flowstore.sources.images import configured_opencv, read_image, resize_frame
from flowstore.sources.listing import list_folder, list_frames, natural_key, split_suffix
from flowstore.sources.series import order_frames
from flowstore.sources.source import VideoSource
from flowstore.sources.videos import read_frames
from flowstore.store.video_index import VideoIndex
from flowstore.transforms import View

_N_NAMINGS = 1000
_NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL | re.ASCII)


@dataclass(frozen=True)
class _Naming:
    """Names of images that are numbered without a gap, such as ``img_00001.jpg``."""

    prefix: str
    first: int
    n_digits: int
    suffix: str

    @classmethod
    def of(cls, names: Sequence[str]) -> _Naming | None:
        """Return what gives these names in natural order, None where no such rule does."""
        found = _NUMBERED.fullmatch(min(names, key=lambda name: (len(name), name)))
        if found is None:
            return None
        naming = cls(found[1], int(found[2]), len(found[2]), found[3])
        return naming if {naming.name(number) for number in range(len(names))} == set(names) else None

    def name(self, number: int) -> str:
        return f"{self.prefix}{self.first + number:0{self.n_digits}d}{self.suffix}"


class SourceFrames:
    """Where the source frames of a table's videos are. Holds paths and numbers; may be sent to another process."""

    def __init__(self, source: str | os.PathLike[str], index: VideoIndex, table: ClipTable, is_thinned: bool) -> None:
        self.source = os.path.abspath(check_path("frames", source))
        found = _find(self.source, index, table)
        self._paths = TextColumn(video.path for video in found)
        self._is_folder = np.array([video.kind == "frames" for video in found])
        self._namings: list[_Naming] = []
        self._naming_of = np.full(len(found), -1, np.int32)
        self._flow_patterns: dict[int, tuple[str, ...]] = {}
        known: dict[_Naming, int] = {}
        n_frames = index.column("n_frames")[table.index_rows].tolist()
        for row in np.flatnonzero(self._is_folder).tolist():
            names = found[row].frame_names()
            if not is_thinned and len(names) != n_frames[row]:
                raise SourceError(f"{found[row].key}: {_wrong_number(found[row].path, names, n_frames[row])}")
            naming = _Naming.of(names)
            if naming is not None and (naming in known or len(known) < _N_NAMINGS):
                self._naming_of[row] = known.setdefault(naming, len(known))
            else:
                self._flow_patterns[row] = found[row].flow_patterns
        self._namings = list(known)

    @configured_opencv()
    def read(self, row: int, numbers: Sequence[int]) -> list[Frame]:
        """Read frames of a video of the table, each uint8 (H, W, 3): red, green, blue."""
        wanted = sorted(set(numbers))
        frames = dict(zip(wanted, self._read(row, wanted), strict=True))
        return [frames[number] for number in numbers]

    def _read(self, row: int, numbers: Sequence[int]) -> Iterable[Frame]:
        path = self._paths[row]
        if not self._is_folder[row]:
            return read_frames(path, numbers)
        naming = int(self._naming_of[row])
        if naming >= 0:
            names = [self._namings[naming].name(number) for number in numbers]
        else:
            every, _ = order_frames(list_frames(path, self._flow_patterns[row]))
            if numbers[-1] >= len(every):
                raise DecodeError(f"frame {numbers[-1]} is missing: {path} holds {len(every)} images")
            names = [every[number] for number in numbers]
        return [read_image(os.path.join(path, name))[..., ::-1] for name in names]


def _find(source: str, index: VideoIndex, table: ClipTable) -> list[VideoSource]:
    """Return the source of each video: where the record says, else by class and name."""
    root = source
    if os.path.isfile(source) and split_suffix(os.path.basename(source))[1] in LIST_SUFFIXES:
        root = os.path.dirname(source)
    columns = [index.column(name)[table.index_rows] for name in ("source_kind", "source_path")]
    found: list[VideoSource] = []
    by_path: dict[str, VideoSource] | None = None
    missing: list[str] = []
    for row, (kind, relative) in enumerate(zip(*columns, strict=True)):
        number = int(table.index_rows[row])
        video = _recorded(root, str(kind), str(relative), index.class_name(number), index.name(number))
        if video is None:
            by_path = _discovered(source) if by_path is None else by_path
            video = by_path.get(table.path(row))
        if video is None:
            missing.append(table.path(row))
        elif video.problem:
            raise SourceError(f"{video.key}: {video.problem}")
        else:
            found.append(video)
    if missing:
        raise SourceError(f"frames: {source} has no frames of {len(missing)} videos, the first is {missing[0]}")
    return found


def _recorded(root: str, kind: str, relative: str, class_name: str, name: str) -> VideoSource | None:
    path = os.path.normpath(os.path.join(root, relative))
    if kind == "video" and os.path.isfile(path):
        return VideoSource(class_name, name, path, relative, "video")
    if kind == "frames" and os.path.isdir(path):
        flow = flow_finder()(path, list_folder(path).images)
        return VideoSource(class_name, name, path, relative, "frames", flow_patterns=flow.patterns)
    return None


def _discovered(source: str) -> dict[str, VideoSource]:
    found: dict[str, VideoSource] = {}
    for video in discover(source, find_flow=flow_finder()).sources:
        other = found.setdefault(video_path(video.class_name, video.name), video)
        if other is not video:
            raise SourceError(f"frames: {video.key} is both {other.path} and {video.path}")
    return found


def _wrong_number(folder: str, names: list[str], n_expected: int) -> str:
    said = f"{folder} holds {len(names)} frames, its flow was made of {n_expected}"
    parts = [_NUMBERED.fullmatch(name) for name in sorted(names, key=natural_key)]
    for one, other in pairwise(part for part in parts if part is not None):
        if one[1] == other[1] and int(other[2]) > int(one[2]) + 1:
            return f"{said}; {one[1]}{int(one[2]) + 1:0{len(one[2])}d}{one[3]} is missing"
    return said


def frame_view_size(view: View, frame: Frame) -> tuple[int, int]:
    """Return ``(height, width)`` of a view in a frame's own pixels: as much larger as the frame is than the flow."""
    down, across = (side / whole for side, whole in zip(frame.shape, view.whole, strict=False))
    return max(1, round(view.size[0] * down)), max(1, round(view.size[1] * across))


def view_frame(frame: Frame, view: View, size: tuple[int, int] | None = None) -> Frame:
    """Return what is seen of a frame through a view of the flow that starts from it.

    `frame`: uint8 array (H', W', 3), of the flow's size or another. Gives uint8 array (height, width, 3), the
    window in the frame's own pixels, to the nearest whole one; resampled once where its size is another, by area
    where both sides shrink, bilinearly otherwise; mirrored.
    """
    scales = [side / whole for side, whole in zip(frame.shape, view.whole, strict=False)]
    (top, height), (left, width) = (
        _whole_pixels(view.window[axis] * scale, view.window[axis + 2] * scale, frame.shape[axis])
        for axis, scale in enumerate(scales)
    )
    part = frame[top : top + height, left : left + width]
    part = resize_frame(part, *(size or frame_view_size(view, frame)))
    return part[:, ::-1] if view.is_mirrored else part


def _whole_pixels(start: float, length: float, side: int) -> tuple[int, int]:
    whole = min(side, max(1, round(length)))
    return min(round(start), side - whole), whole
