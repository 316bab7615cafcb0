"""The frames that flow starts from: where they are on disk, and how a view falls on them. Loads the decoders."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from flowstore.arguments import check_path
from flowstore.clips.table import ClipTable, TextColumn
from flowstore.errors import DecodeError, SourceError
from flowstore.format.record import VideoRecord
from flowstore.layouts.flow_names import flow_finder
from flowstore.names import count_text, video_path
from flowstore.sources.discovery import LIST_SUFFIXES, discover
from flowstore.sources.fingerprint import SourceFiles, one_file, several_files
from flowstore.sources.frames import Frame
from flowstore.sources.images import configured_opencv, read_image, resize_frame
from flowstore.sources.listing import list_folder, list_frames, natural_key, split_suffix
from flowstore.sources.series import order_frames
from flowstore.sources.source import VideoSource
from flowstore.sources.videos import count_frames, read_frames
from flowstore.store.video_index import VideoIndex
from flowstore.transforms import View

_N_NAMINGS = 1000
# Videos whose files are looked at before training.
_N_SAMPLED = 16
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
    """Where the source frames of a table's videos are. Holds paths and numbers; may be sent to another process.

    If any of some videos is the very one that its flow was made of, all must be: one of another size has changed.
    Otherwise this is another dataset of the same frames, of which only the number of frames is compared.
    """

    def __init__(
        self,
        source: str | os.PathLike[str],
        index: VideoIndex,
        table: ClipTable,
        is_thinned: bool,
        record_of: Callable[[int], VideoRecord | None],
    ) -> None:
        self.source = os.path.abspath(check_path("frames", source))
        found = _find(self.source, index, table)
        self._paths = TextColumn(video.path for video in found)
        self._is_folder = np.array([video.kind == "frames" for video in found])
        self._namings: list[_Naming] = []
        self._naming_of = np.full(len(found), -1, np.int32)
        self._n_images = np.zeros(len(found), np.int64)
        self._flow_patterns: dict[int, tuple[str, ...]] = {}
        known: dict[_Naming, int] = {}
        n_frames = index.column("n_frames")[table.index_rows].tolist()
        for row in np.flatnonzero(self._is_folder).tolist():
            names = found[row].frame_names()
            self._n_images[row] = len(names)
            if not is_thinned and len(names) != n_frames[row]:
                raise SourceError(f"{found[row].key}: {_wrong_number(found[row].path, names, n_frames[row])}")
            naming = _Naming.of(names)
            if naming is not None and (naming in known or len(known) < _N_NAMINGS):
                self._naming_of[row] = known.setdefault(naming, len(known))
            else:
                self._flow_patterns[row] = found[row].flow_patterns
        self._namings = list(known)
        self.checked: set[int] = set()
        sampled = np.unique(np.linspace(0, len(found) - 1, _N_SAMPLED).astype(int)).tolist()
        changes: dict[str, str | None] = {}
        for video, row in ((found[row], row) for row in sampled):
            try:
                changes[video.key] = _size_change(video.files(), record_of(row), video.kind)
            except SourceError as error:
                raise SourceError(f"{video.key}: {error}") from error
        self._is_own = "" in changes.values()
        for key, change in changes.items():
            if self._is_own and change:
                raise SourceError(f"{key}: {change}")

    def check_same(self, row: int, record: VideoRecord) -> None:
        """Refuse a video that is not of the frames that its flow was made of; to be called once for each."""
        path, is_folder, n_images = self._paths[row], self._is_folder[row], int(self._n_images[row])
        if self._is_own:
            names = self._frame_names(row, range(n_images)) if is_folder else ()
            files = several_files(path, names) if is_folder else one_file(path)
            if change := _size_change(files, record, "frames" if is_folder else "video"):
                raise SourceError(change)
        else:
            n_found, n_made = n_images if is_folder else count_frames(path), record.n_frames
            is_part = bool(record.frame_numbers or record.damage)
            if record.n_source_frames:
                n_made, is_part = record.n_source_frames, False
            elif record.frame_numbers:
                n_made = record.frame_numbers[-1] + 1
            if n_found is not None and (n_found < n_made or (n_found > n_made and not is_part)):
                raise SourceError(f"{path} holds {count_text(n_found, 'frame')}, its flow was made of {n_made}")
        self.checked.add(row)

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
        names = self._frame_names(row, numbers)
        return [read_image(os.path.join(path, name))[..., ::-1] for name in names]

    def _frame_names(self, row: int, numbers: Sequence[int]) -> list[str]:
        naming, path = int(self._naming_of[row]), self._paths[row]
        if naming >= 0:
            return [self._namings[naming].name(number) for number in numbers]
        every, _ = order_frames(list_frames(path, self._flow_patterns[row]))
        if numbers[-1] >= len(every):
            raise DecodeError(f"frame {numbers[-1]} is missing: {path} holds {len(every)} images")
        return [every[number] for number in numbers]


def _size_change(files: SourceFiles, record: VideoRecord | None, kind: str) -> str | None:
    """Return how a source differs in bytes from what its flow was made of, empty if it does not, None if unknown."""
    if record is None or record.fingerprint is None or record.source_kind != kind:
        return None
    n_bytes, n_made = files.stamp().size_bytes, record.fingerprint.size_bytes
    if n_bytes == n_made:
        return ""
    where = os.path.join(files.folder, *files.names) if files.is_one else files.folder
    return (
        f"{where} has changed since its flow was made: {n_bytes} bytes now, {n_made} then; extract it again, or give "
        "frames that are all of another dataset"
    )


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
        videos = count_text(len(missing), "video")
        raise SourceError(f"frames: {source} has no frames of {videos}, the first is {missing[0]}")
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
    said = f"{folder} holds {count_text(len(names), 'frame')}, its flow was made of {n_expected}"
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
