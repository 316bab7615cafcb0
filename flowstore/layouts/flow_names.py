"""What layouts call flow, for telling it from the frames that it stands beside. Pure."""

from __future__ import annotations

import json
import re

from flowstore.errors import ArgumentError
from flowstore.layouts.layout import MANIFEST
from flowstore.layouts.presets import LAYOUTS
from flowstore.layouts.templates import component_pattern
from flowstore.sources.flow_beside import FlowFinder, FlowKind

_IMAGE = re.compile(r"\.(jpe?g|png)\Z", re.IGNORECASE)


def flow_finder() -> FlowFinder:
    """Return what tells flow from frames, for one look at a dataset."""
    return FlowFinder(_KNOWN, MANIFEST, read_kind)


def read_kind(manifest: bytes) -> FlowKind | None:
    """Return the layout of an export as its manifest says it; None where it is none of images, or no manifest."""
    try:
        found = json.loads(manifest)
        return flow_kind(tuple(found[key] for key in ("x_template", "y_template") if found.get(key)), found["format"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError, ArgumentError):
        return None


def flow_kind(templates: tuple[str, ...], file_format: str) -> FlowKind | None:
    """Return where a layout has images of flow; None where it has other files."""
    if file_format not in ("jpg", "png", "kitti"):
        return None
    files, folders, parts = [], [], []
    for template in templates:
        folder, _, file = template.rpartition("/")
        # Whatever the format: a PNG export of a layout of JPEG is flow too.
        pattern = component_pattern(_IMAGE.sub("", file), {}).pattern
        files.append(re.compile(rf"{pattern}\.(?:jpg|jpeg|png)", re.DOTALL))
        folders.append(folder)
        components = folder.split("/") if folder else []
        has_names = any(component_pattern(part, {}).pattern.startswith("(?P<") is False for part in components)
        parts.append(tuple(component_pattern(part, {}) for part in components) if has_names else ())
    if parts[0] and len(templates) == 2 and folders[0] == folders[1]:
        parts = [_from_first_name(found) for found in parts]
    return FlowKind(tuple(files), tuple(folders), tuple(parts), 16 if file_format == "kitti" else 8)


def _from_first_name(parts: tuple[re.Pattern[str], ...]) -> tuple[re.Pattern[str], ...]:
    """Return the folders without those before the first that has a name: they may be missing."""
    while parts and parts[0].pattern.startswith("(?P<"):
        parts = parts[1:]
    return parts


_KNOWN = tuple(
    kind for layout in LAYOUTS.values() if (kind := flow_kind(layout.templates, layout.file_format)) is not None
)
