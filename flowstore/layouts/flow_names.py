"""Flow that stands beside frames: which images of a dataset's folder an export or another tool wrote there.

An image is flow where a layout has its name and that of the other component exists too: an ``x_00001.jpg`` alone is a
frame like any other. Where one file holds both, or x and y stand in folders of their own, a look at the first picture
decides. Layouts of one's own are known from the ``flowstore-export.json`` of the folder or of one above it.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from flowstore.layouts.layout import MANIFEST
from flowstore.layouts.presets import LAYOUTS
from flowstore.layouts.templates import component_pattern, fill_template
from flowstore.sources.listing import FlowNames

_IMAGE = re.compile(r"\.(jpe?g|png)\Z", re.IGNORECASE)
_DIGITS = re.compile(r"\d+", re.ASCII)
# Folders from a manifest down to the files of a template.
_HIGHEST = 6
# JPEG leaves the constant third channel of a flow picture this near to 128.
_BLUE_TOLERANCE = 6


@dataclass(frozen=True)
class _Kind:
    """Where a layout has images of flow: x and y, or one template of both and how many bits they have."""

    templates: tuple[str, ...]
    n_bits: int = 8


_KNOWN = tuple(
    _Kind(layout.templates, 16 if layout.file_format == "kitti" else 8)
    for layout in LAYOUTS.values()
    if layout.file_format in ("jpg", "png", "kitti")
)


class FlowFinder:
    """Tells flow among the images of folders; see `flowstore.sources.listing.FindFlow`. Reads each manifest once."""

    def __init__(self) -> None:
        self._manifests: dict[str, _Kind | None] = {}

    def __call__(self, folder: str, names: Collection[str]) -> FlowNames:
        """Return what the flow among the images of a folder is called."""
        patterns: list[str] = []
        is_apart = False
        for kind in (*_KNOWN, *self._custom(folder)):
            found, apart = _find(kind, folder, names)
            patterns += [pattern for pattern in found if pattern not in patterns]
            is_apart |= apart
        return FlowNames(tuple(patterns), is_apart)

    def _custom(self, folder: str) -> Iterator[_Kind]:
        for _ in range(_HIGHEST):
            if folder not in self._manifests:
                self._manifests[folder] = _read_kind(os.path.join(folder, MANIFEST))
            kind = self._manifests[folder]
            if kind is not None and kind not in _KNOWN:
                yield kind
            folder, inner = os.path.dirname(folder), folder
            if folder == inner:
                return


def _read_kind(path: str) -> _Kind | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
        templates = tuple(found[key] for key in ("x_template", "y_template") if found.get(key))
        for template in templates:
            component_pattern(os.path.basename(template), {})
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        # No manifest, or one of something else.
        return None
    if not templates or not _IMAGE.search(templates[0]):
        return None
    return _Kind(templates, 16 if found.get("format") == "kitti" else 8)


def _find(kind: _Kind, folder: str, names: Collection[str]) -> tuple[list[str], bool]:
    """Return the expressions of a layout's files among names, and whether x and y stand in folders of their own."""
    folders = [os.path.dirname(template) for template in kind.templates]
    files = [_file_pattern(template) for template in kind.templates]
    # One name of each form: a folder has thousands of names of one.
    forms = {_DIGITS.sub("0", name): name for name in names}
    if len(files) == 1:
        fitting = [name for name in forms.values() if files[0].fullmatch(name)]
        known = _fit_folder(folders[0], folder)
        is_flow = bool(fitting) and known is not None and _holds_both(os.path.join(folder, fitting[0]), kind.n_bits)
        return ([files[0].pattern] if is_flow else []), False
    if folders[0] == folders[1]:
        if _fit_folder(folders[0], folder) is None or any(
            not any(file.fullmatch(name) for name in forms.values()) for file in files
        ):
            return [], False
        of_x, of_y = ({found.groups() for name in names if (found := file.fullmatch(name))} for file in files)
        return ([file.pattern for file in files] if of_x & of_y else []), False
    for at, other in ((0, 1), (1, 0)):
        known = _fit_folder(folders[at], folder)
        fitting = [name for name in names if files[at].fullmatch(name)] if known is not None else []
        if fitting and known is not None:
            beside = _other_folder(kind.templates[other], folders[at], folder, known)
            if _has_any(beside, fitting) and not _is_color(os.path.join(folder, fitting[0])):
                return [files[at].pattern], True
    return [], False


def _file_pattern(template: str) -> re.Pattern[str]:
    """Return what a template's files are called, as any format that holds images."""
    pattern = component_pattern(_IMAGE.sub("", os.path.basename(template)), {}).pattern
    return re.compile(rf"{pattern}\.(?:jpg|jpeg|png)", re.DOTALL)


def _fit_folder(template: str, folder: str) -> dict[str, str] | None:
    """Return the fields of a template's folders where a folder's path ends in them; None where it does not."""
    parts = template.split("/")
    while parts and re.fullmatch(r"\{\w+\}", parts[0]) and not any("{" not in part for part in parts):
        # Folders that may have any name.
        parts = parts[1:]
    known: dict[str, str] = {}
    names = folder.split(os.sep)[-len(parts) :] if parts and parts != [""] else []
    if parts != [""] and len(names) != len(parts):
        return None
    for part, name in zip(parts, names, strict=bool(names)):
        found = component_pattern(part, known).fullmatch(name)
        if found is None:
            return None
        known |= found.groupdict()
    return known


def _other_folder(template: str, own: str, folder: str, known: Mapping[str, str]) -> str:
    """Return the folder of the other component."""
    root = folder
    for _ in own.split("/"):
        root = os.path.dirname(root)
    values = {"class": "", "video": "", "step": ""} | dict(known)
    return os.path.join(root, os.path.dirname(fill_template(template, values).path(0)))


def _has_any(folder: str, names: Collection[str]) -> bool:
    try:
        return not set(os.listdir(folder)).isdisjoint(names)
    except OSError:
        return False


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
    return int(np.abs(blue.astype(np.int16) - 128).max()) <= _BLUE_TOLERANCE
