"""Finding videos: what SOURCE is, which videos it holds, what they are called.

Looks at names and sizes only; decoding is `flowstore.sources.videos`. `tree` looks through folders, `readings` tries
what the parts of a path may be.
"""

from __future__ import annotations

import codecs
import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from flowstore.arguments import check_path, suggest_path
from flowstore.errors import SourceError
from flowstore.names import count_text
from flowstore.sources.listing import (
    VIDEO_SUFFIXES,
    FindFlow,
    FlowNames,
    list_folder,
    split_suffix,
    without_flow,
)
from flowstore.sources.readings import Reading, by_depth, try_readings
from flowstore.sources.source import UNLABELED, VideoSource
from flowstore.sources.tree import Entry, LeftOut, TreeWalk, settle_mixtures

LIST_SUFFIXES = frozenset((".txt", ".lst"))
# Bytes of one frame in common video files: makes videos and frame folders comparable where only sizes are known.
_TYPICAL_FRAME_BYTES = 5000
# Names that parts of datasets have, and classes have not.
PARTS = frozenset(("train", "training", "trainval", "val", "valid", "validation", "test", "testing"))

SourcePattern = tuple[re.Pattern[str], ...]


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


def discover(
    source: str | os.PathLike[str],
    list_file: str | os.PathLike[str] | None = None,
    *,
    find_flow: FindFlow,
    pattern: SourcePattern | None = None,
    allow_gaps: bool = False,
) -> Discovery:
    """Find the videos of a source by looking."""
    root = os.path.abspath(check_path("SOURCE", source))
    if not os.path.lexists(root):
        raise SourceError(f"SOURCE {root}: no such file or folder{suggest_path(root)}")
    if list_file is None and os.path.isfile(root) and split_suffix(os.path.basename(root))[1] in LIST_SUFFIXES:
        root, list_file = os.path.dirname(root), root
    if list_file is not None:
        discovery = _ListedVideos(root, check_path("list file", list_file), find_flow, pattern).discover()
    elif os.path.isdir(root):
        discovery = _discover_folder(root, find_flow, pattern)
    elif split_suffix(os.path.basename(root))[1] in VIDEO_SUFFIXES:
        discovery = Discovery((_video_source(root, UNLABELED, root),))
    else:
        raise SourceError(f"SOURCE {root}: neither a folder nor, by its suffix, a video file such as .avi or .mp4")
    sources = sorted(discovery.sources, key=lambda found: (found.class_name, found.name))
    if allow_gaps:
        sources = [replace(found, allow_gaps=found.kind == "frames") for found in sources]
    return Discovery(tuple(sources), discovery.notes)


def _discover_folder(root: str, find_flow: FindFlow, pattern: SourcePattern | None) -> Discovery:
    walk = TreeWalk(root, find_flow)
    entries, left_out = walk.entries, walk.left_out
    if pattern is not None:
        return Discovery(tuple(_take_matching(root, entries, pattern, left_out)), tuple(left_out.notes()))
    entries = settle_mixtures(entries, left_out, root)
    found = [entry for entry in entries if entry.kind != "empty"]
    shallow, deep = (
        [entry for entry in found if len(entry.parts) <= 2],
        [entry for entry in found if len(entry.parts) > 2],
    )
    notes = []
    sources = [_source_of(entry, root, *_shallow_names(entry, root)) for entry in shallow]
    for entries_there in by_depth(deep).values():
        readings = try_readings(entries_there)
        if len(readings) == 1 and not readings[0].twice and not {*readings[0].classes} <= PARTS:
            notes.append(f"{_counted(entries_there)} read as {readings[0].template}")
            sources += [_source_of(entry, root, *readings[0].name(entry)) for entry in entries_there]
        elif len(entries_there) > len(shallow):
            raise SourceError(f"SOURCE {root}: {_several_ways(entries_there, readings)}")
        else:
            left_out.add("deeper than class/video (--source-template says what is the class)", _counted(entries_there))
    is_flat = len(sources) == len(shallow)
    for entry in entries:
        if entry.kind == "empty" and is_flat and len(entry.parts) == 2 and _is_failed_video(entry, found):
            sources.append(_source_of(entry, root, *entry.parts))
        elif entry.kind == "empty":
            left_out.add("folders without videos", entry.where)
    if not any(entry.kind != "empty" for entry in found) and not sources:
        raise SourceError(f"SOURCE {root}: {_why_empty(left_out)}")
    classes = {one.class_name for one in sources}
    if classes and classes <= PARTS:
        notes.append(
            f"the classes are {', '.join(sorted(classes))}, which name parts of a dataset: --source-template "
            "'*/{video}' takes videos without a class, --list those of a part"
        )
    return Discovery(tuple(sources), (*notes, *left_out.notes()))


def _shallow_names(entry: Entry, root: str) -> tuple[str, str]:
    names = entry.names
    return (names[0], names[1]) if len(names) == 2 else (UNLABELED, names[0] if names else os.path.basename(root))


def _several_ways(entries: Sequence[Entry], readings: Sequence[Reading]) -> str:
    where = f"{_counted(entries)} stand{'s' if len(entries) == 1 else ''} deeper than class/video"
    return f"{where}, and which part is the class is not clear: {'; '.join(map(str, readings))}"


def _counted(entries: Sequence[Entry]) -> str:
    plural, more = ("", "") if len(entries) == 1 else ("s", ", ...")
    return f"{len(entries)} video{plural} ({entries[0].where}{more})"


def _is_failed_video(entry: Entry, found: Sequence[Entry]) -> bool:
    """Tell whether an empty folder was to hold frames: not one of flow alone, nor of other files beside video files."""
    if entry.flow.patterns:
        return any(other.parts[0] == entry.parts[0] for other in found if other.parts)
    return not entry.n_images or any(other.kind == "frames" for other in found)


def _why_empty(left_out: LeftOut) -> str:
    flow = (
        f"; {left_out.n_flow_images} flow images are not frames, `flowstore import` reads them"
        if left_out.n_flow_images
        else ""
    )
    notes = "; ".join(note for note in left_out.notes() if "flow beside" not in note)
    return (
        "no videos found: expected class/video.avi, class/video/*.jpg, a folder of videos, or a folder of frames"
        f"{flow}{'; ' if notes else ''}{notes}"
    )


def _take_matching(root: str, entries: Sequence[Entry], pattern: SourcePattern, left_out: LeftOut) -> list[VideoSource]:
    sources = []
    for entry in entries:
        names = match_parts(entry, pattern) if entry.kind != "empty" else None
        if names is not None:
            sources.append(_source_of(entry, root, *names))
        elif entry.kind != "empty":
            left_out.add("not as --source-template has it", entry.where)
    if not sources:
        raise SourceError(f"SOURCE {root}: no video is as --source-template has it; {'; '.join(left_out.notes())}")
    return sources


def match_parts(entry: Entry, pattern: SourcePattern) -> tuple[str, str] | None:
    """Return the class and the name that a pattern finds in the path of a video; None where it does not fit."""
    if len(pattern) != len(entry.parts):
        return None
    known: dict[str, str] = {}
    for name, whole, part in zip(entry.names, entry.parts, pattern, strict=True):
        # A template may have the suffix of a file or not.
        found = part.fullmatch(name) or part.fullmatch(whole)
        if found is None or any(known.get(key, value) != value for key, value in found.groupdict().items()):
            return None
        known |= found.groupdict()
    return known.get("class", UNLABELED), known["video"]


def _source_of(entry: Entry, root: str, class_name: str, name: str) -> VideoSource:
    if entry.kind == "video":
        return replace(_video_source(entry.path, class_name, root), name=name)
    relative = os.path.relpath(entry.path, root)
    n_frames = 0 if entry.kind == "empty" else entry.n_images
    return VideoSource(
        class_name, name, entry.path, relative, "frames", n_frames, entry.problem, flow_patterns=entry.flow.patterns
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


@dataclass(frozen=True)
class _ListedVideos:
    """The videos of a list file."""

    root: str
    list_file: str
    find_flow: FindFlow
    pattern: SourcePattern | None

    def discover(self) -> Discovery:
        found = [self._entry(line, where) for where, line in self._lines()]
        if not found:
            raise SourceError(f"list file {self.list_file}: it names no video")
        if all(problem for _, _, problem in found):
            raise SourceError(
                f"list file {self.list_file}: none of its {count_text(len(found), 'video')} is found under {self.root}"
            )
        unique = {entry.path: (entry, label, problem) for entry, label, problem in found}
        repeated = len(found) - len(unique)
        notes = [f"{self.list_file}: {repeated} repeated lines, taken once"] if repeated else []
        readings = {}
        deep = [
            (entry, label)
            for entry, label, _ in unique.values()
            if len(entry.parts) > 2 and entry.parts[0] != os.pardir
        ]
        if self.pattern is None:
            for depth, entries in by_depth([entry for entry, _ in deep]).items():
                labels = {entry.parts: label for entry, label in deep}
                readings[depth], note = self._choose(entries, [labels[entry.parts] for entry in entries])
                notes += note
        sources = []
        for entry, _, problem in unique.values():
            class_name, name = self._names(entry, readings)
            source = _source_of(entry, self.root, class_name, name)
            sources.append(replace(source, problem=problem or source.problem))
        return Discovery(tuple(sources), tuple(notes))

    def _lines(self) -> list[tuple[str, str]]:
        try:
            text = Path(self.list_file).read_bytes()
        except OSError as error:
            hint = suggest_path(self.list_file) if isinstance(error, FileNotFoundError) else ""
            raise SourceError(f"list file {self.list_file}: {error.strerror}{hint}") from error
        if b"\0" in text:
            raise SourceError(f"list file {self.list_file}: not plain text, it holds null bytes; save it as UTF-8")
        lines = [os.fsdecode(line.rstrip(b"\r")) for line in text.removeprefix(codecs.BOM_UTF8).split(b"\n")]
        return [(f"{self.list_file}, line {i}", line) for i, line in enumerate(lines, 1) if line.strip()]

    def _entry(self, line: str, where: str) -> tuple[Entry, str, str]:
        """Return what a line names, its label (empty where it has none) and what is wrong with it."""
        # A line may end in "total_frames label" or "label"; a path may end in such numbers too, so the whole line goes
        # first.
        candidates = [
            (line, ""),
            (line.strip(), ""),
            *re.findall(r"\A(.*\S)\s+(\d+)\Z", line.strip()),
            *re.findall(r"\A(.*\S)\s+\d+\s+(\d+)\Z", line.strip()),
        ]
        relative, label = next(
            (found for found in candidates if os.path.exists(os.path.join(self.root, found[0]))), candidates[-1]
        )
        path = os.path.normpath(os.path.join(self.root, relative))
        parts = tuple(os.path.relpath(path, self.root).split(os.sep))
        if not os.path.isdir(path):
            problem = _video_source(path, UNLABELED, self.root).problem
            return Entry(parts, path, "video"), label, f"{problem} ({where})" if problem else ""
        try:
            images = list_folder(path).images
            flow = self.find_flow(path, images) if images else FlowNames()
            n_frames = len(without_flow(images, flow.patterns))
            problem = "" if n_frames else "no frame images in this folder"
        except SourceError as error:
            n_frames, flow, problem = 0, FlowNames(), str(error)
        return Entry(parts, path, "frames", n_frames, flow, problem=problem), label, problem

    def _choose(self, entries: list[Entry], labels: list[str]) -> tuple[Reading | None, list[str]]:
        """Choose the part that is the class: the one that goes with the labels, or whose names are found again."""
        readings = [reading for reading in try_readings(entries) if not reading.twice]
        if len(readings) < 2:
            return (readings[0] if readings else None), []
        if all(labels):
            pairs = [
                {(reading.name(entry)[0], label) for entry, label in zip(entries, labels, strict=True)}
                for reading in readings
            ]
            fitting = [
                reading
                for reading, found in zip(readings, pairs, strict=True)
                if len(found) == len(reading.classes) == len(set(labels))
            ]
            if len(fitting) == 1:
                return fitting[0], []
        # Below each part of a dataset the same classes stand; groups of a class are below that class alone.
        inner = [reading for reading in readings if self._is_repeated(entries, reading.class_at)]
        chosen = inner[-1] if inner else readings[0]
        others = "; ".join(str(reading) for reading in readings if reading is not chosen)
        return chosen, [f"{self.list_file}: classes by '{chosen.template}'; {others}"]

    def _is_repeated(self, entries: list[Entry], at: int) -> bool:
        above: dict[str, tuple[str, ...]] = {}
        return at > 0 and any(
            above.setdefault(entry.parts[at], entry.parts[:at]) != entry.parts[:at] for entry in entries
        )

    def _names(self, entry: Entry, readings: dict[int, Reading | None]) -> tuple[str, str]:
        if self.pattern is not None:
            found = match_parts(entry, self.pattern)
            if found is None:
                raise SourceError(f"list file {self.list_file}: {entry.where} is not as --source-template has it")
            return found
        name, is_outside = entry.names[-1], entry.parts[0] == os.pardir
        if not is_outside and (reading := readings.get(len(entry.parts))) is not None:
            return reading.name(entry)
        if is_outside:
            return os.path.basename(os.path.dirname(entry.path)) or UNLABELED, name
        return (entry.parts[-2] if len(entry.parts) > 1 else UNLABELED), name
