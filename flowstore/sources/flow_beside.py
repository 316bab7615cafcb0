"""Flow that stands beside frames: which images of a dataset's folder an export or another tool wrote there.

An image is flow where it has the name of one component and the file of the other exists too: an ``x_00001.jpg`` alone
is a frame like any other. Where one file holds both, or x and y stand in folders of their own, a look at the first
picture decides. What flow is called is the layouts' to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.opencv import cv2
from flowstore.sources.listing import FlowNames

_DIGITS = re.compile(r"\d+", re.ASCII)
# Folders from a manifest down to the files of a template.
_HIGHEST = 6
# JPEG leaves the constant third channel of a flow picture as near to 128, in the mean; a photograph has others.
_BLUE_TOLERANCE = 4.0


@dataclass(frozen=True)
class FlowKind:
    """Where a layout has images of flow.

    Parameters
    ----------
    files : tuple of re.Pattern
        What files of x and of y are called, or those that hold both.
    folders : tuple of str
        The folders of each, with ``{class}`` and ``{video}``.
    parts : tuple of tuple of re.Pattern
        The same as expressions, one for each folder that has not any name.
    n_bits : int
        Bits per channel of a picture that holds both.
    """

    files: tuple[re.Pattern[str], ...]
    folders: tuple[str, ...]
    parts: tuple[tuple[re.Pattern[str], ...], ...]
    n_bits: int = 8

    def find(self, folder: str, names: Collection[str]) -> FlowNames:
        """Return the expressions of the files among the images of a folder."""
        # One name of each form: a folder has thousands of names of one.
        forms = {_DIGITS.sub("0", name): name for name in names}
        fitting = [[name for name in forms.values() if file.fullmatch(name)] for file in self.files]
        known = [_fit_folder(parts, folder) for parts in self.parts]
        patterns = tuple(file.pattern for file in self.files)
        if len(self.files) == 1:
            is_flow = fitting[0] and known[0] is not None
            return FlowNames(
                patterns if is_flow and _holds_both(os.path.join(folder, fitting[0][0]), self.n_bits) else ()
            )
        if self.folders[0] == self.folders[1]:
            if known[0] is None or not all(fitting):
                return FlowNames()
            of_x, of_y = ({found.groups() for name in names if (found := file.fullmatch(name))} for file in self.files)
            return FlowNames(patterns if of_x & of_y else ())
        for at in (0, 1):
            fields = known[at]
            has_pair = fitting[at] and fields is not None and self._has_other(at, folder, fields, names)
            # Sign languages spell U and V: a class of that name is in color.
            if has_pair and not _is_color(os.path.join(folder, fitting[at][0])):
                return FlowNames((patterns[at],), is_apart=True)
        return FlowNames()

    def _has_other(self, at: int, folder: str, fields: dict[str, str], names: Collection[str]) -> bool:
        root = folder
        for _ in self.folders[at].split("/"):
            root = os.path.dirname(root)
        try:
            beside = os.listdir(os.path.join(root, self.folders[1 - at].format(**fields)))
        except OSError:
            return False
        return any(name in names and self.files[at].fullmatch(name) for name in beside)


class FlowFinder:
    """Tells flow among the images of folders; see `flowstore.sources.listing.FindFlow`."""

    def __init__(
        self, kinds: tuple[FlowKind, ...], manifest: str, read_kind: Callable[[bytes], FlowKind | None]
    ) -> None:
        self._kinds, self._manifest, self._read_kind = kinds, manifest, read_kind
        self._by_folder: dict[str, FlowKind | None] = {}

    def __call__(self, folder: str, names: Collection[str]) -> FlowNames:
        """Return what the flow among the images of a folder is called."""
        found = [kind.find(folder, names) for kind in (*self._kinds, *self._exported(folder))]
        patterns = dict.fromkeys(pattern for one in found for pattern in one.patterns)
        return FlowNames(tuple(patterns), any(one.is_apart for one in found))

    def _exported(self, folder: str) -> Iterator[FlowKind]:
        """Yield the layouts of exports into the folder or one above it."""
        for _ in range(_HIGHEST):
            if folder not in self._by_folder:
                try:
                    with open(os.path.join(folder, self._manifest), "rb") as file:
                        self._by_folder[folder] = self._read_kind(file.read())
                except OSError:
                    self._by_folder[folder] = None
            kind = self._by_folder[folder]
            if kind is not None:
                yield kind
            folder = os.path.dirname(folder)


def _fit_folder(parts: tuple[re.Pattern[str], ...], folder: str) -> dict[str, str] | None:
    """Return the fields of folders where a folder's path ends in them; None where it does not."""
    names = folder.split(os.sep)[-len(parts) :] if parts else []
    known: dict[str, str] = {}
    if len(names) != len(parts):
        return None
    for part, name in zip(parts, names, strict=True):
        found = part.fullmatch(name)
        if found is None or any(known.get(key, value) != value for key, value in found.groupdict().items()):
            return None
        known |= found.groupdict()
    return known


def _read(path: str) -> npt.NDArray[Any] | None:
    try:
        with open(path, "rb") as file:
            return cv2.imdecode(np.frombuffer(file.read(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        return None


def _is_color(path: str) -> bool:
    """Tell whether a picture has colors; one that cannot be read has none."""
    picture = _read(path)
    return picture is not None and picture.ndim == 3 and bool((picture[..., :1] != picture[..., 1:3]).any())


def _holds_both(path: str, n_bits: int) -> bool:
    """Tell whether a picture can hold both components: three channels, the blue one a constant or a mask."""
    picture = _read(path)
    if picture is None or picture.shape[2:] != (3,) or 8 * picture.dtype.itemsize != n_bits:
        return False
    blue = picture[..., 0]
    if n_bits == 16:
        return int(blue.max()) <= 1
    return float(np.abs(blue.astype(np.int16) - 128).mean()) <= _BLUE_TOLERANCE
