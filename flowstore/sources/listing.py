"""What stands in one folder, by its names: videos, frame images, flow of a former run, what systems leave about."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field

from flowstore.errors import SourceError

VIDEO_SUFFIXES = frozenset(
    [
        ".avi",
        ".mp4",
        ".mkv",
        ".webm",
        ".mov",
        ".m4v",
        ".mpg",
        ".mpeg",
        ".wmv",
        ".asf",
        ".flv",
        ".3gp",
        ".ts",
        ".m2ts",
        ".mts",
        ".ogv",
        ".gif",
        ".apng",
    ]
)
IMAGE_SUFFIXES = frozenset([".jpg", ".jpeg", ".png", ".bmp", ".webp"])
FLOW_FOLDER = "flows"
_FLOW_IMAGE = re.compile(r"(flow_)?[xy]_")
_IGNORED = re.compile(
    r"(\._.*|\.DS_Store|__MACOSX|Thumbs\.db|desktop\.ini|\.ipynb_checkpoints|\.git|@eaDir|lost\+found)\Z", re.IGNORECASE
)
_DIGITS = re.compile(r"(\d+)", re.ASCII)


@dataclass
class Listing:
    """What stands in one folder, by what it means here."""

    videos: list[os.DirEntry[str]] = field(default_factory=list)
    images: list[str] = field(default_factory=list)
    n_flow_images: int = 0
    folders: list[os.DirEntry[str]] = field(default_factory=list)
    n_others: int = 0
    is_zarr: bool = False
    problem: str = ""


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


def is_ignored(name: str) -> bool:
    """Tell whether a file or folder is one that systems leave about, such as ``.DS_Store`` or ``@eaDir``."""
    return _IGNORED.match(name) is not None


def is_flow_image(name: str) -> bool:
    """Tell whether an image is flow of a former run: ``flow_x_*``, ``flow_y_*``, ``x_*``, ``y_*``."""
    return _FLOW_IMAGE.match(name) is not None


def list_frames(folder: str) -> list[str]:
    """Return the file names of a frame folder's images in natural order, flow images left out.

    Raises
    ------
    SourceError
        If the folder cannot be listed.
    """
    return sorted(list_folder(folder).images, key=natural_key)


def list_folder(folder: str) -> Listing:
    """Return what stands in a folder; SourceError where it cannot be listed."""
    listing = Listing()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                _file_entry(listing, entry)
    except OSError as error:
        raise SourceError(f"cannot list folder {folder}: {error.strerror}") from error
    return listing


def _file_entry(listing: Listing, entry: os.DirEntry[str]) -> None:
    if is_ignored(entry.name):
        return
    suffix = split_suffix(entry.name)[1]
    if _is_folder(entry):
        listing.folders.append(entry)
    elif suffix in VIDEO_SUFFIXES:
        listing.videos.append(entry)
    elif suffix in IMAGE_SUFFIXES:
        if is_flow_image(entry.name):
            listing.n_flow_images += 1
        else:
            listing.images.append(entry.name)
    elif entry.name == "zarr.json":
        listing.is_zarr = True
    else:
        listing.n_others += 1


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads to itself, or through a folder that may not be entered.
        return False
