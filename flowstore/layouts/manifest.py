"""``flowstore-export.json``: what an export says of its files, to its next run and to an import. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flowstore.errors import ArgumentError
from flowstore.layouts.layout import Layout
from flowstore.layouts.presets import find_layout
from flowstore.layouts.templates import PathPattern

# What has to be the same for files that are there to be left as they are.
COMPARED = (
    "layout", "x_template", "y_template", "format", "packing", "first", "padded", "encoding", "bound_px", "quality",
    "short_side", "size", "step", "source_settings",
)  # fmt: skip
_TYPES = {
    "layout": (str,),
    "x_template": (str,),
    "y_template": (str,),
    "first": (int,),
    "padded": (bool,),
    "bound_px": (int, float),
    "step": (int,),
    "source_settings": (dict,),
}
_VIDEOS, _STORES = "videos", "stores_created"


@dataclass(frozen=True)
class Manifest:
    """What an export says of its files.

    Parameters
    ----------
    said : mapping
        Settings, versions and counts, as plain JSON values.
    videos : mapping of str to str or None, optional
        What the files of each video are of: the digest of its flow; None where they are of before, and are being
        removed. By `video_key`. None as a whole where the manifest is of a release that wrote down no digests.
    stores : tuple of str, optional
        When the stores were made whose videos are there; None where it does not say.
    """

    said: Mapping[str, Any] = field(default_factory=dict)
    videos: Mapping[str, str | None] | None = None
    stores: tuple[str, ...] | None = None

    @classmethod
    def parse(cls, text: str) -> Manifest:
        """Return what a manifest says; what it says of videos and stores in another form vouches for nothing."""
        try:
            said = json.loads(text)
        except RecursionError as error:
            raise ValueError("nested too deep") from error
        if not isinstance(said, dict):
            raise ValueError("not of an export")
        for name, types in _TYPES.items():
            if said.get(name) is not None and type(said[name]) not in types:
                raise ValueError(f"{name} is {said[name]!r}")
        videos, stores = said.pop(_VIDEOS, None), said.pop(_STORES, None)
        if isinstance(videos, dict):
            videos = {key: digest if isinstance(digest, str) else None for key, digest in videos.items()}
        elif videos is not None or "files_since_ns" in said:
            # Releases before digests noted so that there are files of something else too.
            videos = {}
        return cls(said, videos, tuple(map(str, stores)) if isinstance(stores, list) else None)

    def to_text(self) -> str:
        """Return the manifest as it is written."""
        videos = dict(sorted((self.videos or {}).items()))
        return json.dumps({**self.said, _STORES: sorted(self.stores or ()), _VIDEOS: videos}, indent=1)

    def saying(self, **values: Any) -> Manifest:
        """Return the manifest with something more to say, or something else."""
        return replace(self, said={**self.said, **values})

    def differences(self, other: Manifest) -> dict[str, tuple[Any, Any]]:
        """Return by name what another one says otherwise, of what files depend on: what stands here, and there."""
        return {
            name: (self.said[name], other.said.get(name))
            for name in COMPARED
            if name in self.said and self.said[name] != other.said.get(name)
        }

    def layout(self) -> Layout:
        """Return the layout of its files."""
        said = self.said
        try:
            # The first releases wrote down no templates.
            if "x_template" not in said:
                return replace(find_layout(said["layout"]), encoding=said["encoding"], first=said["first"])
            return Layout(
                said["layout"],
                said["x_template"],
                said["y_template"] or "",
                said["first"],
                said["format"],
                said["packing"],
                said["encoding"],
                class_folder="always" if "{class}" in said["x_template"] else "never",
                is_padded=said["padded"],
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ArgumentError(str(error)) from error


def video_key(patterns: tuple[PathPattern, ...]) -> str:
    """Return by what name a manifest has a video: the path of its first files, relative to the root.

    Examples
    --------
    >>> from flowstore.layouts import LAYOUTS
    >>> [video_key(LAYOUTS[name].path_patterns("wave", "v1")) for name in ("notebook", "npy")]
    ['wave/v1/flow_x_*.jpg', 'wave/v1.npy']
    """
    first = patterns[0]
    return first.before if first.n_digits is None else f"{first.before}*{first.after}"
