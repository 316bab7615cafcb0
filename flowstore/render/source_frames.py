"""The frames that a stored video was made of, in color, where its source is still at hand."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_path, suggest_path
from flowstore.errors import DecodeError, SourceError
from flowstore.format.root import read_root
from flowstore.layouts.flow_names import flow_finder
from flowstore.names import printable_name
from flowstore.opencv import cv2
from flowstore.sources.discovery import LIST_SUFFIXES
from flowstore.sources.frames import FrameReader
from flowstore.sources.listing import list_folder
from flowstore.sources.source import VideoSource
from flowstore.store.video import Video

Image = npt.NDArray[np.uint8]


class SourceFrames:
    """Frames of a source, numbered as the extraction numbered them."""

    def __init__(self, source: VideoSource, fps: float | None, keep_damaged: bool = False) -> None:
        self.path = source.path
        self._reader: FrameReader = source.open_frames(keep_damaged)
        self._fps = fps

    def read(self, numbers: Sequence[int]) -> Iterator[Image]:
        """Yield some frames; holds one at a time.

        Gives uint8 array (H, W, 3), red, green, blue, in the size of the source.
        """
        wanted = iter(numbers)
        following = next(wanted, None)
        number = 0
        for frame in self._reader.read_color_frames(self._fps):
            if following is None:
                return
            if number == following:
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
                following = next(wanted, None)
            number += 1
        if following is not None:
            raise DecodeError(f"{printable_name(self.path)}: ends after {number} frames, frame {following} is wanted")


def find_source_frames(video: Video, source: str | os.PathLike[str] | None = None) -> tuple[SourceFrames | None, str]:
    """Look for the frames of a video."""
    problem = ""
    for path in _candidates(video, source):
        if not os.path.exists(path):
            continue
        found = _source_of(video, os.path.abspath(path))
        if not found.is_unchanged(video.record.fingerprint):
            problem = f"{printable_name(path)} is not the source that was extracted, it differs"
            continue
        try:
            return SourceFrames(found, video.settings.fps, bool(video.record.damage)), ""
        except DecodeError as error:
            problem = f"{printable_name(path)}: {error}"
    if source is not None:
        where = f"SOURCE {os.fspath(source)}"
        if not os.path.lexists(place := check_path("SOURCE", source)):
            raise SourceError(f"{where}: no such file or folder{suggest_path(place)}")
        raise SourceError(f"{where}: {problem or f'{printable_name(video.record.source_path)} is not in it'}")
    missing = (
        f"{printable_name(video.record.source_path)} is not in the recorded source, this folder or beside the store"
    )
    return None, f"without frames: {problem or missing}; --source gives the folder that was extracted"


def _source_of(video: Video, path: str) -> VideoSource:
    kind = video.record.source_kind
    found = VideoSource(video.class_name, video.name, path, video.record.source_path, kind)
    if kind != "frames" or not os.path.isdir(path):
        return found
    # What was extracted with gaps is read in the same order.
    flow = flow_finder()(path, list_folder(path).images)
    return dataclasses.replace(found, flow_patterns=flow.patterns, allow_gaps=True, fps=video.record.source_fps)


def _candidates(video: Video, source: str | os.PathLike[str] | None) -> list[str]:
    relative = video.record.source_path
    if source is not None:
        return [_below(check_path("SOURCE", source), relative)]
    # The latest source first; what an import was made of has no frames.
    stated = () if video.record.source_kind == "flow" else read_root(video.storage).sources
    # Paths in a list file are from its folder.
    places = [
        os.path.dirname(place) if place.lower().endswith(tuple(LIST_SUFFIXES)) else place for place in reversed(stated)
    ]
    places.append(os.getcwd())
    if video.storage.folder is not None:
        places.append(os.path.dirname(video.storage.folder))
    return [_below(place, relative) for place in places]


def _below(place: str, relative: str) -> str:
    is_file = os.path.isfile(place) and os.path.basename(place) == os.path.basename(relative)
    return place if is_file else os.path.join(place, relative)
