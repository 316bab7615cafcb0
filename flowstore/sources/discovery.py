"""Finding videos: what SOURCE is, which videos it holds.

Looks at names and sizes only; decoding is `flowstore.sources.videos`.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path

from flowstore.arguments import check_path
from flowstore.errors import SourceError
from flowstore.names import count_text
from flowstore.sources.listing import (
    FLOW_FOLDER,
    VIDEO_SUFFIXES,
    Listing,
    is_ignored,
    list_folder,
    list_frames,
    split_suffix,
)
from flowstore.sources.source import UNLABELED, VideoSource

LIST_SUFFIXES = frozenset((".txt", ".lst"))
# Bytes of one frame in common video files: makes videos and frame folders comparable where only sizes are known.
_TYPICAL_FRAME_BYTES = 5000


@dataclass(frozen=True)
class Discovery:
    """What was found under a source.

    Parameters
    ----------
    sources : tuple of VideoSource
        Sorted by class and name.
    notes : tuple of str
        What was left out and why, a line each.
    """

    sources: tuple[VideoSource, ...]
    notes: tuple[str, ...] = ()


def discover(source: str | os.PathLike[str], list_file: str | os.PathLike[str] | None = None) -> Discovery:
    """Find the videos of a source by looking.

    Parameters
    ----------
    source : path
        A folder of class folders whose entries are video files or folders of frame images; a folder of either without
        classes; one video; one folder of frames; or a list file (``.txt``, ``.lst``), whose folder is then the source.
    list_file : path, optional
        Takes only the videos of this file: a path a line, relative to the source or absolute, with or without the
        numbers that mmaction2 and TSN lists append.

    Returns
    -------
    Discovery
        Videos outside class folders have the class ``unlabeled``.

    Raises
    ------
    SourceError
        If the source does not exist, cannot be listed, or holds no video.
    """
    root = os.path.abspath(check_path("SOURCE", source))
    if not os.path.lexists(root):
        raise SourceError(f"SOURCE {root}: no such file or folder")
    if list_file is None and os.path.isfile(root) and split_suffix(os.path.basename(root))[1] in LIST_SUFFIXES:
        root, list_file = os.path.dirname(root), root
    if list_file is not None:
        discovery = _discover_listed(root, check_path("list file", list_file))
    elif os.path.isdir(root):
        discovery = _discover_folder(root)
    elif split_suffix(os.path.basename(root))[1] in VIDEO_SUFFIXES:
        discovery = Discovery((_video_source(root, UNLABELED, root),))
    else:
        raise SourceError(f"SOURCE {root}: neither a folder nor a video file ({' '.join(sorted(VIDEO_SUFFIXES))})")
    return Discovery(
        tuple(sorted(discovery.sources, key=lambda found: (found.class_name, found.name))), discovery.notes
    )


def _discover_folder(root: str) -> Discovery:
    top = list_folder(root)
    if top.is_zarr:
        raise SourceError(f"SOURCE {root}: this is a Zarr store, not a dataset of videos")
    finder = _Finder(root)
    for folder in sorted(top.folders, key=lambda entry: entry.name):
        # In a folder of frames this is the flow of a former run, not a video.
        if not (top.images and folder.name == FLOW_FOLDER):
            finder.look_into(folder)
    for video in top.videos:
        finder.sources.append(_video_source(video.path, UNLABELED, root))
    if top.images and not finder.sources:
        name = os.path.basename(root)
        return Discovery((VideoSource(UNLABELED, name, root, ".", "frames", len(top.images)),), tuple(finder.notes))
    if top.images:
        finder.notes.append(f"{len(top.images)} images directly in {root} are ignored: they belong to no video folder")
    if not finder.sources:
        raise SourceError(f"SOURCE {root}: {finder.why_empty(top)}")
    return Discovery(tuple(finder.sources), tuple(finder.notes))


class _Finder:
    """Walks a folder of classes and gathers videos and notes."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.sources: list[VideoSource] = []
        self.notes: list[str] = []
        self._deeper: list[str] = []

    def look_into(self, folder: os.DirEntry[str]) -> None:
        """Take a folder of the first level as a class, or as one video without a class."""
        listing = list_folder(folder.path)
        if listing.is_zarr:
            self.notes.append(f"{folder.name}: a Zarr store, ignored")
            return
        if folder.name == FLOW_FOLDER and listing.images and not listing.videos and not listing.folders:
            self._ignore_flow(folder.name, listing)
            return
        inner = [(entry, self._list_inner(entry)) for entry in sorted(listing.folders, key=lambda entry: entry.name)]
        has_inner_frames = any(found.images and entry.name != FLOW_FOLDER for entry, found in inner)
        if listing.images and not listing.videos and not has_inner_frames:
            self.sources.append(self._frame_source(folder.path, UNLABELED, len(listing.images)))
            return
        if listing.images:
            self.notes.append(f"{folder.name}: {len(listing.images)} images beside videos are ignored")
        for video in listing.videos:
            self.sources.append(_video_source(video.path, folder.name, self.root))
        for entry, found in inner:
            self._take_inner(folder.name, entry, found)
        if not listing.videos and not inner:
            self.notes.append(f"{folder.name}: no videos in this folder")

    def _list_inner(self, entry: os.DirEntry[str]) -> Listing:
        try:
            return list_folder(entry.path)
        except SourceError as error:
            return Listing(problem=str(error))

    def _take_inner(self, class_name: str, entry: os.DirEntry[str], found: Listing) -> None:
        where = f"{class_name}/{entry.name}"
        if found.is_zarr:
            self.notes.append(f"{where}: a Zarr store, ignored")
        elif found.problem:
            self.sources.append(self._frame_source(entry.path, class_name, 0, found.problem))
        elif entry.name == FLOW_FOLDER and not found.videos and not found.folders:
            self._ignore_flow(where, found)
        elif found.images:
            self.sources.append(self._frame_source(entry.path, class_name, len(found.images)))
        elif found.videos or any(not is_ignored(inner.name) and inner.name != FLOW_FOLDER for inner in found.folders):
            self._deeper.append(where)
            self.notes.append(f"{where}: deeper than class/video, ignored")
        else:
            flow = f" ({found.n_flow_images} flow images of a former run are not frames)" if found.n_flow_images else ""
            self.sources.append(self._frame_source(entry.path, class_name, 0, f"no frame images in this folder{flow}"))

    def _ignore_flow(self, where: str, found: Listing) -> None:
        n_images = len(found.images) + found.n_flow_images
        self.notes.append(f"{where}: {n_images} flow images of a former run, ignored")

    def _frame_source(self, path: str, class_name: str, n_images: int, problem: str = "") -> VideoSource:
        relative = os.path.relpath(path, self.root)
        return VideoSource(class_name, os.path.basename(path), path, relative, "frames", n_images, problem)

    def why_empty(self, top: Listing) -> str:
        """Say why nothing was found, and what to do."""
        if self._deeper:
            deeper = os.path.join(self.root, self._deeper[0].split("/")[0])
            return f"videos stand deeper than class/video: give the folder of class folders, such as {deeper}"
        flow = f"; {top.n_flow_images} flow images of a former run are not frames" if top.n_flow_images else ""
        return (
            "no videos found: expected class/video.avi, class/video/*.jpg, a folder of videos, or a folder of frames"
            f"{flow}"
        )


def _video_source(path: str, class_name: str, root: str) -> VideoSource:
    problem, cost = "", 0.0
    try:
        info = os.stat(path)
        cost = info.st_size / _TYPICAL_FRAME_BYTES
        if not stat.S_ISREG(info.st_mode):
            problem = "not a regular file"
    except OSError as error:
        problem = f"cannot be opened: {error.strerror}"
    except ValueError as error:
        # A zero byte, in a list file that is no text.
        problem = f"cannot be opened: {error}"
    base = os.path.basename(path)
    relative = os.path.relpath(path, root) if path != root else base
    return VideoSource(class_name, split_suffix(base)[0], path, relative, "video", cost, problem)


def _discover_listed(root: str, list_file: str) -> Discovery:
    try:
        text = Path(list_file).read_bytes()
    except OSError as error:
        raise SourceError(f"list file {list_file}: {error.strerror}") from error
    if b"\0" in text:
        raise SourceError(f"list file {list_file}: not plain text, it holds null bytes; save it as UTF-8")
    lines = [os.fsdecode(line.rstrip(b"\r")) for line in text.removeprefix(codecs.BOM_UTF8).split(b"\n")]
    sources = [_listed_source(root, line, f"{list_file}, line {i}") for i, line in enumerate(lines, 1) if line.strip()]
    if not sources:
        raise SourceError(f"list file {list_file}: it names no video")
    if all(source.problem for source in sources):
        raise SourceError(
            f"list file {list_file}: none of its {count_text(len(sources), 'video')} is found under {root}"
        )
    unique = {source.path: source for source in sources}
    repeated = len(sources) - len(unique)
    return Discovery(
        tuple(unique.values()), (f"{list_file}: {repeated} repeated lines, taken once",) if repeated else ()
    )


def _listed_source(root: str, line: str, where: str) -> VideoSource:
    # A line may end in "total_frames label" or "label"; a path may end in such numbers too, so the whole line goes
    # first.
    candidates = [
        line,
        line.strip(),
        *re.findall(r"\A(.*\S)\s+\d+\Z", line.strip()),
        *re.findall(r"\A(.*\S)\s+\d+\s+\d+\Z", line.strip()),
    ]
    relative = next((text for text in candidates if os.path.exists(os.path.join(root, text))), candidates[-1])
    path = os.path.normpath(os.path.join(root, relative))
    parts = os.path.relpath(path, root).split(os.sep)
    if parts[0] == os.pardir:
        class_name = os.path.basename(os.path.dirname(path)) or UNLABELED
    else:
        class_name = parts[-2] if len(parts) > 1 else UNLABELED
    if os.path.isdir(path):
        try:
            n_images = len(list_frames(path))
            problem = "" if n_images else "no frame images in this folder"
        except SourceError as error:
            n_images, problem = 0, str(error)
        return VideoSource(
            class_name,
            os.path.basename(path),
            path,
            os.path.relpath(path, root),
            "frames",
            n_images,
            problem,
        )
    source = _video_source(path, class_name, root)
    if source.problem:
        return VideoSource(
            class_name, source.name, path, source.relative_path, "video", 0.0, f"{source.problem} ({where})"
        )
    return source
