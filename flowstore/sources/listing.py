"""What stands in one folder, by its names: videos, frame images, folders, and what systems leave about."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from flowstore.errors import SourceError

# What FFmpeg's demuxers are called by, and OpenCV's picture decoders; a name with another suffix is left out and said.
VIDEO_SUFFIXES = frozenset((
    ".apng",
    ".3g2", ".3gp", ".amv", ".asf", ".avi", ".divx", ".dv", ".f4v", ".flv", ".gif", ".h264", ".h265", ".hevc", ".ivf",
    ".m1v", ".m2t", ".m2ts", ".m2v", ".m4v", ".mjpeg", ".mjpg", ".mkv", ".mod", ".mov", ".mp4", ".mpe", ".mpeg", ".mpg",
    ".mpv", ".mts", ".mxf", ".nut", ".ogg", ".ogm", ".ogv", ".rm", ".rmvb", ".tod", ".ts", ".vob", ".webm", ".wmv",
    ".wtv", ".xvid", ".y4m",
))  # fmt: skip
IMAGE_SUFFIXES = frozenset((
    ".bmp", ".dib", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
))  # fmt: skip
FLOW_FOLDER = "flows"
_SYSTEM = re.compile(
    r"(__MACOSX|Thumbs\.db|desktop\.ini|\.DS_Store|\._.*|\.ipynb_checkpoints|\.git|"
    r"@eaDir|@Recycle|@Recently-Snapshot|@tmp|#recycle|#snapshot|\$RECYCLE\.BIN|RECYCLER|System Volume Information|"
    r"lost\+found|found\.\d{3}|Network Trash Folder|Temporary Items|__pycache__)\Z",
    re.IGNORECASE,
)
_SILENT = re.compile(r"(\._.*|\.DS_Store|__MACOSX|Thumbs\.db|desktop\.ini)\Z", re.IGNORECASE)
_DIGITS = re.compile(r"(\d+)", re.ASCII)


class FlowNames(NamedTuple):
    """Which images of a folder are flow beside frames: expressions of their names, and whether x and y stand apart."""

    patterns: tuple[str, ...] = ()
    is_apart: bool = False


class FindFlow(Protocol):
    """Tells which images of a folder are flow: what flow is called is known where layouts are."""

    def __call__(self, folder: str, names: Collection[str]) -> FlowNames:
        """Return what the flow among the images of a folder is called."""
        ...


@dataclass
class Listing:
    """What stands in one folder, by what it means here."""

    videos: list[str] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    is_zarr: bool = False


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Return a sort key under which ``img_2`` comes before ``img_10``.

    Examples
    --------
    >>> sorted(["img_10", "img_2", "img_02"], key=natural_key)
    ['img_02', 'img_2', 'img_10']
    """
    parts = _DIGITS.split(name)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)], name


def split_suffix(name: str) -> tuple[str, str]:
    """Return a file's name without its suffix, and the suffix in lower case; a name that is all suffix has none.

    Examples
    --------
    >>> split_suffix("a.b.AVI"), split_suffix("....avi"), split_suffix(".avi")
    (('a.b', '.avi'), ('...', '.avi'), ('.avi', ''))
    """
    # os.path.splitext takes every leading dot for part of the name, and would overlook "....avi".
    stem, _, suffix = name.rpartition(".")
    return (stem, f".{suffix.lower()}") if stem else (name, "")


def is_of_system(name: str) -> bool:
    """Tell whether a file or folder is one that systems leave about, such as ``@eaDir`` or ``$RECYCLE.BIN``."""
    return _SYSTEM.match(name) is not None


def is_ignored(name: str) -> bool:
    """Tell whether a file or folder is hidden or a system's own."""
    return name.startswith(".") or is_of_system(name)


def list_frames(folder: str, flow_patterns: Iterable[str] = ()) -> list[str]:
    """Return the file names of a frame folder's images in natural order, those of flow left out."""
    return sorted(without_flow(list_folder(folder).images, flow_patterns), key=natural_key)


def without_flow(names: Iterable[str], flow_patterns: Iterable[str]) -> list[str]:
    """Return the names that no expression fits."""
    compiled = [re.compile(pattern, re.DOTALL) for pattern in flow_patterns]
    return [name for name in names if not any(pattern.fullmatch(name) for pattern in compiled)]


def list_folder(folder: str) -> Listing:
    """Return what stands in a folder; SourceError where it cannot be listed."""
    listing = Listing()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                _file_entry(listing, entry)
    except OSError as error:
        raise SourceError(f"cannot list folder {folder}: {error.strerror}") from error
    for names in (listing.videos, listing.folders, listing.hidden):
        names.sort()
    return listing


def _file_entry(listing: Listing, entry: os.DirEntry[str]) -> None:
    name = entry.name
    suffix = split_suffix(name)[1]
    if is_ignored(name):
        is_told = not _SILENT.match(name) and (_is_folder(entry) or suffix in VIDEO_SUFFIXES | IMAGE_SUFFIXES)
        listing.hidden += [name] if is_told else []
    elif _is_folder(entry):
        listing.folders.append(name)
    elif suffix in VIDEO_SUFFIXES:
        listing.videos.append(name)
    elif suffix in IMAGE_SUFFIXES:
        listing.images.append(name)
    elif name == "zarr.json":
        listing.is_zarr = True
    else:
        listing.others[suffix or name] += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads to itself, or through a folder that may not be entered.
        return False
