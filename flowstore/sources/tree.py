"""What stands in a folder and all folders below it: video files and folders of frames, and what is left out and why."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Literal

from flowstore.errors import SourceError
from flowstore.sources.listing import FLOW_FOLDER, FindFlow, FlowNames, Listing, list_folder, split_suffix, without_flow
from flowstore.sources.series import order_frames

_N_SHOWN = 3
_NO_FLOW = FlowNames()
_DIGITS = re.compile(r"\d+", re.ASCII)
# What says outright that videos stand so many folders below the source.
_TEMPLATES = ("", "{video}", "{class}/{video}", *(f"{{class}}{'/*' * n}/{{video}}" for n in range(1, 16)))
# Of folders below the source: no dataset goes as deep.
_DEEPEST = 16


@dataclass(frozen=True)
class Entry:
    """A video file, a folder of frames, or a folder that holds neither and might have.

    Parameters
    ----------
    parts : tuple of str
        Names of the folders below the root that lead to it, and its own.
    path : str
        Absolute.
    kind : {"video", "frames", "empty"}
        What it is.
    n_images : int
        Frames of a folder.
    flow : FlowNames
        Images among them that are flow.
    inner : {"none", "beside", "stray", "unclear"}
        What other videos below a folder of frames make of it: there are none; they have the frames' numbers and stand
        beside them (masks, thumbnails); the images are strays among videos; or it may be either.
    problem : str
        Why it cannot be extracted.
    """

    parts: tuple[str, ...]
    path: str
    kind: Literal["video", "frames", "empty"]
    n_images: int = 0
    flow: FlowNames = _NO_FLOW
    inner: Literal["none", "beside", "stray", "unclear"] = "none"
    problem: str = ""

    @property
    def where(self) -> str:
        """Its path below the root, for messages."""
        return "/".join(self.parts) or "SOURCE"

    @property
    def names(self) -> tuple[str, ...]:
        """Its parts, the file's without its suffix."""
        return (*self.parts[:-1], split_suffix(self.parts[-1])[0]) if self.kind == "video" else self.parts

    def is_inside(self, other: Entry) -> bool:
        """Tell whether it stands below another one."""
        return len(self.parts) > len(other.parts) and self.parts[: len(other.parts)] == other.parts


@dataclass
class LeftOut:
    """What a source holds and a run does not take, told once for each reason."""

    reasons: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    suffixes: Counter[str] = field(default_factory=Counter)
    n_flow_images: int = 0

    def add(self, reason: str, where: str) -> None:
        """Note one folder or file."""
        self.reasons[reason].append(where)

    def notes(self) -> list[str]:
        """Return a line for each reason."""
        lines = [f"left out, {reason}: {_some(places)}" for reason, places in sorted(self.reasons.items())]
        if self.suffixes:
            counted = ", ".join(
                f"{n} {suffix}" for suffix, n in sorted(self.suffixes.items(), key=lambda item: -item[1])[:12]
            )
            more = ", ..." if len(self.suffixes) > 12 else ""
            lines.append(f"left out, neither videos nor frames by their suffix: {counted}{more}")
        return lines


def _some(places: list[str]) -> str:
    more = f", ... ({len(places)} in all)" if len(places) > _N_SHOWN else ""
    return ", ".join(places[:_N_SHOWN]) + more


class TreeWalk:
    """Looks through a folder."""

    def __init__(self, root: str, find_flow: FindFlow) -> None:
        self.root = root
        self.left_out = LeftOut()
        self._find_flow = find_flow
        top = list_folder(root)
        if top.is_zarr:
            raise SourceError(f"SOURCE {root}: this is a Zarr store, not a dataset of videos")
        self.entries = self._look(root, (), top, frozenset())

    def _look(
        self, path: str, parts: tuple[str, ...], listing: Listing, above: frozenset[tuple[int, int]]
    ) -> list[Entry]:
        where = "/".join(parts)
        if listing.is_zarr:
            self.left_out.add("Zarr stores", where)
            return []
        for name in listing.hidden:
            self.left_out.add("hidden or a system's own", "/".join((*parts, name)))
        self.left_out.suffixes += listing.others
        flow = self._find_flow(path, listing.images) if listing.images else _NO_FLOW
        frames = without_flow(listing.images, flow.patterns)
        if parts and parts[-1] == FLOW_FOLDER and listing.images and not listing.videos and not listing.folders:
            frames, flow = [], FlowNames((".*",), is_apart=True)
        n_flow = len(listing.images) - len(frames)
        if n_flow:
            self.left_out.n_flow_images += n_flow
            self.left_out.add("flow beside frames", f"{where or '.'} ({n_flow} images)")
        info = os.stat(path)
        within = above | {(info.st_dev, info.st_ino)}
        below = [entry for name in listing.folders for entry in self._enter(path, parts, name, within)]
        videos = [Entry((*parts, name), os.path.join(path, name), "video") for name in listing.videos]
        inside = [entry for entry in below if entry.kind != "empty"] + videos
        if frames:
            inner = self._weigh(frames, inside) if inside else "none"
            return [Entry(parts, path, "frames", len(frames), flow, inner), *videos, *below]
        if not inside and not listing.folders and not flow.is_apart:
            is_bare = not listing.others
            problem = f" ({n_flow} flow images are not frames)" if n_flow else ""
            entry = Entry(
                parts, path, "empty", int(not is_bare), flow, problem=f"no frame images in this folder{problem}"
            )
            return [entry] if parts else []
        return [*videos, *below]

    def _enter(self, path: str, parts: tuple[str, ...], name: str, above: frozenset[tuple[int, int]]) -> list[Entry]:
        inner_path, inner_parts = os.path.join(path, name), (*parts, name)
        try:
            info = os.stat(inner_path)
            if (info.st_dev, info.st_ino) in above or len(inner_parts) > _DEEPEST:
                self.left_out.add("links to a folder that they stand in", "/".join(inner_parts))
                return []
            listing = list_folder(inner_path)
        except (SourceError, OSError) as error:
            if len(inner_parts) == 1:
                raise
            return [Entry(inner_parts, inner_path, "frames", problem=str(error))]
        return self._look(inner_path, inner_parts, listing, above)

    def _weigh(self, frames: list[str], inside: list[Entry]) -> Literal["beside", "stray", "unclear"]:
        """Say what the images that stand directly in a folder are, where there are videos below it too."""
        ordered, problem = order_frames(frames)
        n_videos = sum(entry.kind == "video" for entry in inside)
        folders = [entry for entry in inside if entry.kind == "frames"]
        if len(frames) == 1 or problem.startswith("no number"):
            return "stray"
        if n_videos:
            # A picture for each video is no series of frames.
            return "stray" if len(frames) <= len(inside) else "unclear"
        numbers = set(map(_last_number, ordered))
        are_beside = len(folders) < len(frames) and all(
            {*map(_last_number, list_folder(folder.path).images)} <= numbers for folder in folders if not folder.problem
        )
        return "beside" if are_beside else "unclear"


def _last_number(name: str) -> int:
    digits = _DIGITS.findall(split_suffix(name)[0])
    return int(digits[-1]) if digits else -1


def settle_mixtures(entries: list[Entry], left_out: LeftOut, root: str) -> list[Entry]:
    """Decide between frames that stand directly in a folder and videos below it.

    Frames win where what is below has their numbers; images that are no series are strays.
    """
    unclear = next((entry for entry in entries if entry.inner == "unclear"), None)
    if unclear is not None:
        inside = [entry for entry in entries if entry.is_inside(unclear) and entry.kind != "empty"]
        depth = len(unclear.parts)
        ways = [template for template in _TEMPLATES[depth : depth + 2] if template]
        raise SourceError(
            f"SOURCE {root}: {unclear.where} holds {unclear.n_images} images and also {inside[0].where} "
            f"({len(inside)} in all): it may be one video of frames or a folder of videos. Move the one or the other "
            f"out, or say which by --source-template {' or '.join(map(repr, ways))}"
        )
    winners = [entry for entry in entries if entry.inner == "beside"]
    kept = []
    for entry in entries:
        if any(entry.is_inside(winner) for winner in winners) and entry.inner != "beside":
            if entry.kind != "empty":
                left_out.add("beside the frames of their folder", entry.where)
        elif entry.inner == "stray":
            left_out.add("images beside videos", f"{entry.where} ({entry.n_images})")
        else:
            kept.append(entry)
    return kept
