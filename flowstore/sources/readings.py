"""Which part of a path is the class and which the video, where videos stand deeper than ``class/video``. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from flowstore.sources.tree import Entry

_N_SHOWN = 3


@dataclass(frozen=True)
class Reading:
    """One way to read the paths of videos that stand equally deep.

    Parameters
    ----------
    class_at, video_at : int
        Which part of a path names the class and the video.
    template : str
        What ``--source-template`` calls it.
    classes : tuple of str
        That it gives, in order.
    twice : tuple of str
        Two videos that would have one name; empty where each has its own.
    """

    class_at: int
    video_at: int
    template: str
    classes: tuple[str, ...]
    twice: tuple[str, ...] = ()

    def name(self, entry: Entry) -> tuple[str, str]:
        """Return the class and the name of a video."""
        return entry.names[self.class_at], entry.names[self.video_at]

    def __str__(self) -> str:
        shown = ", ".join(self.classes[:_N_SHOWN]) + (", ..." if len(self.classes) > _N_SHOWN else "")
        plural = "" if len(self.classes) == 1 else "es"
        clash = f", but {' and '.join(self.twice)} one name" if self.twice else ""
        return f"--source-template '{self.template}' gives {len(self.classes)} class{plural} ({shown}){clash}"


def try_readings(entries: Sequence[Entry]) -> list[Reading]:
    """Return the ways to read the paths of videos, one for each result; first those that give each its own name."""
    found: dict[tuple[tuple[str, str], ...], Reading] = {}
    # A folder that is called the same in every video, such as frames/, does not name it.
    if len(entries) > 1 and len({entry.names[-1] for entry in entries}) == 1:
        _try_video_at(len(entries[0].parts) - 2, entries, found)
    if len(found) != 1:
        _try_video_at(len(entries[0].parts) - 1, entries, found)
    return sorted(found.values(), key=lambda reading: bool(reading.twice))


def _try_video_at(video_at: int, entries: Sequence[Entry], found: dict[tuple[tuple[str, str], ...], Reading]) -> None:
    depth = len(entries[0].parts)
    for class_at in range(video_at):
        named = tuple((entry.names[class_at], entry.names[video_at]) for entry in entries)
        if len(entries) > 1 and all(class_name == name for class_name, name in named):
            continue
        parts = ["*"] * depth
        parts[class_at], parts[video_at] = "{class}", "{video}"
        if video_at < depth - 1:
            parts[-1] = entries[0].names[-1].replace("{", "{{").replace("}", "}}")
        classes = tuple(sorted({class_name for class_name, _ in named}))
        found.setdefault(named, Reading(class_at, video_at, "/".join(parts), classes, _find_twice(entries, named)))


def _find_twice(entries: Sequence[Entry], named: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    first: dict[tuple[str, str], Entry] = {}
    for entry, name in zip(entries, named, strict=True):
        other = first.setdefault(name, entry)
        if other is not entry:
            return other.where, entry.where
    return ()


def by_depth(entries: Sequence[Entry]) -> dict[int, list[Entry]]:
    """Return entries by the number of their parts."""
    found: defaultdict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        found[len(entry.parts)].append(entry)
    return dict(sorted(found.items()))
