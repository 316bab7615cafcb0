"""Finding the videos of a folder of flow files in some layout: its templates read backwards.

Looks at names and sizes only; reading is `flowstore.importer.source`.
"""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from flowstore.errors import ArgumentError, FlowStoreError, SourceError
from flowstore.importer.source import FlowSource, probe_flow
from flowstore.layouts.layout import LISTS_FOLDER, MANIFEST, Layout
from flowstore.layouts.manifest import video_key
from flowstore.layouts.presets import LAYOUTS
from flowstore.layouts.templates import PathPattern, component_pattern, fill_template, template_fields
from flowstore.names import count_text, printable_name
from flowstore.quantize.file_quantizer import FileQuantizer
from flowstore.sources.discovery import Discovery
from flowstore.sources.listing import is_of_system
from flowstore.sources.source import UNLABELED

# Of a file that holds a video: makes them comparable.
_TYPICAL_FLOW_BYTES = 8 * 320 * 240
# Files of a template that are looked at to see whether a layout fits.
_MOST_TRIED = 2000


@dataclass
class _Files:
    """The files of one template in one video."""

    n_files: int = 0
    lowest: int = -1
    highest: int = -1
    size_bytes: int = 0

    def add(self, number: int) -> None:
        self.lowest = number if self.n_files == 0 else min(self.lowest, number)
        self.highest = max(self.highest, number)
        self.n_files += 1

    def __str__(self) -> str:
        return f"{self.n_files} ({self.lowest} to {self.highest})" if self.n_files else "none"


@dataclass
class _Video:
    """What was found of one video, and where its files should be."""

    files: tuple[_Files, ...]
    patterns: tuple[PathPattern, ...]
    problem: str = ""


@dataclass(frozen=True)
class _Trail:
    """A template on its way down the folders: its number, the components left, and the fields found so far."""

    template: int
    components: tuple[str, ...]
    known: dict[str, str] = field(default_factory=dict)


# Class, video and step, as the names say them.
_Key = tuple[str, str, str]


class _Finder:
    """Walks down a folder along the templates of a layout."""

    def __init__(self, root: str, layout: Layout, most_files: float = math.inf) -> None:
        self._root = root
        self._n_left = [most_files] * len(layout.templates)
        self._real_root = os.path.realpath(root)
        self._layout = layout
        self.videos: dict[_Key, _Video] = {}
        self.n_files = 0
        self.others: list[str] = []
        self.n_others = 0
        self.n_links_out = 0

    def find(self) -> None:
        """Walk."""
        trails = [_Trail(number, tuple(template.split("/"))) for number, template in enumerate(self._layout.templates)]
        self._look_into(self._root, "", trails)
        lists = self.videos.get((UNLABELED, LISTS_FOLDER, ""))
        if lists and not self._layout.has_class_folder and not any(files.n_files for files in lists.files):
            del self.videos[UNLABELED, LISTS_FOLDER, ""]

    def _look_into(self, folder: str, relative: str, trails: list[_Trail]) -> None:
        if all(self._n_left[trail.template] <= 0 for trail in trails):
            return
        patterns = [(trail, component_pattern(trail.components[0], trail.known)) for trail in trails]
        try:
            with os.scandir(folder) as scanned:
                entries = sorted(scanned, key=lambda entry: entry.name)
        except OSError as error:
            if not any(map(self._is_named, trails)):
                raise SourceError(f"FOLDER {folder}: cannot be listed: {error.strerror or error}") from error
            self._take_problem(trails, f"{printable_name(relative)} cannot be listed: {error.strerror or error}")
            return
        for entry in entries:
            if is_of_system(entry.name):
                continue
            path = f"{relative}/{entry.name}" if relative else entry.name
            following = []
            for trail, pattern in patterns:
                match = pattern.fullmatch(entry.name)
                if match:
                    found = match.groupdict()
                    self._check_unambiguous(trail, entry.name, found, path)
                    following.append(_Trail(trail.template, trail.components[1:], trail.known | found))
            self._take(entry, path, following)

    def _check_unambiguous(self, trail: _Trail, name: str, found: Mapping[str, str], path: str) -> None:
        if "class" not in found or "video" not in found:
            return
        other = component_pattern(trail.components[0], trail.known, is_greedy=False).fullmatch(name)
        if other and other.groupdict() != found:
            first, second = (f"{names['class']} and {names['video']}" for names in (found, other.groupdict()))
            raise ArgumentError(
                f"{printable_name(path)}: class and video could be {printable_name(first)}, or "
                f"{printable_name(second)}: give a template in which a slash stands between them"
            )

    def _take(self, entry: os.DirEntry[str], path: str, trails: list[_Trail]) -> None:
        files = [trail for trail in trails if not trail.components]
        folders = [trail for trail in trails if trail.components]
        is_out = bool(trails) and entry.is_symlink() and not self._is_inside(entry.path)
        if folders and (is_out or _is(entry.is_dir)):
            if is_out:
                self.n_links_out += 1
                self._take_problem(folders, f"{printable_name(path)} is a link that leads out of the folder")
                return
            if os.path.isfile(os.path.join(entry.path, "zarr.json")):
                # A store, perhaps the one that is written.
                self._leave_out(path)
                return
            for trail in folders:
                # A folder that turns out to be empty is a video too, one that failed.
                if self._is_named(trail):
                    self._video(trail)
            self._look_into(entry.path, path, folders)
        elif files:
            for trail in files:
                self._take_file(entry, path, trail, is_out)
        elif path.partition("/")[0] not in (MANIFEST, LISTS_FOLDER):
            self._leave_out(path)

    def _leave_out(self, path: str) -> None:
        self.n_others += 1
        if len(self.others) < 3:
            self.others.append(printable_name(path))

    def _is_inside(self, path: str) -> bool:
        return os.path.realpath(path).startswith(self._real_root.rstrip(os.sep) + os.sep)

    def _take_problem(self, trails: list[_Trail], problem: str) -> None:
        for trail in trails:
            if self._is_named(trail):
                video = self._video(trail)
                video.problem = video.problem or problem

    def _is_named(self, trail: _Trail) -> bool:
        """Tell whether the way down so far says which video it leads to."""
        return "video" in trail.known and ("class" in trail.known or not self._layout.has_class_folder)

    def _video(self, trail: _Trail) -> _Video:
        key = trail.known.get("class", UNLABELED), trail.known["video"], trail.known.get("step", "")
        video = self.videos.get(key)
        if video is None:
            values = {"class": key[0], "video": key[1], "step": key[2]}
            templates = self._layout.templates
            patterns = tuple(fill_template(template, values) for template in templates)
            video = self.videos[key] = _Video(tuple(_Files() for _ in templates), patterns)
        return video

    def _take_file(self, entry: os.DirEntry[str], path: str, trail: _Trail, is_out: bool) -> None:
        video = self._video(trail)
        files = video.files[trail.template]
        number = int(trail.known.get("number", self._layout.first))
        files.add(number)
        self.n_files += 1
        self._n_left[trail.template] -= 1
        problem = ""
        if is_out:
            self.n_links_out += 1
            problem = "is a link that leads out of the folder"
        elif not _is(entry.is_file):
            problem = "is not a regular file"
        elif not self._layout.is_numbered:
            files.size_bytes = entry.stat().st_size
        if "number" in trail.known:
            expected = video.patterns[trail.template].path(number)
            if expected != path:
                problem = problem or f"is not named as the layout has it, {printable_name(os.path.basename(expected))}"
        if problem and not video.problem:
            video.problem = f"{printable_name(entry.name)} {problem}"


def _is(ask: Callable[[], bool]) -> bool:
    """Return an entry's answer; of a link that leads to itself, no."""
    try:
        return ask()
    except OSError:
        return False


def _step_of(text: str) -> int:
    return int(text.removeprefix("_p") or 1)


def find_flow(
    root: str, layout: Layout, quantizer: FileQuantizer, step: int | None, exported: Collection[str] | None = None
) -> tuple[Discovery, int]:
    """Find the videos of a folder of flow files.

    Notes
    -----
    Links inside the folder are followed. A link that leads out of it is a problem of its video.
    """
    choices = [layout]
    if layout.class_folder == "optional":
        choices.append(layout.without_class_folder())
    finders = []
    for choice in choices:
        finder = _Finder(root, choice)
        finder.find()
        finders.append((finder, choice))
        if finder.n_files:
            break
    finder, chosen = max(finders, key=lambda pair: pair[0].n_files)
    if not finder.n_files:
        found = f"; it has {', '.join(finders[0][0].others)}" if finders[0][0].others else "; it is empty"
        looked_for = " or ".join(choice.example for choice in choices)
        raise ArgumentError(
            f"FOLDER {root}: no file of layout {layout.name}, such as {looked_for}{found}"
            + (
                _root_above(root, choices, finders[0][0].others)
                or _fitting_text(fitting_layouts(root, layout, quantizer))
            )
        )
    chosen_step, notes = _choose_step(finder, chosen, step)
    sources = [
        _source(root, chosen, quantizer, key, video, chosen_step)
        for key, video in sorted(finder.videos.items())
        if not _tells_step(chosen) or _step_of(key[2]) == chosen_step
    ]
    if not any(_is_readable(source) for source in sources) and (fits := fitting_layouts(root, layout, quantizer)):
        raise ArgumentError(
            f"FOLDER {root}: none of {count_text(len(sources), 'video')} can be read as layout {layout.name} "
            f"({sources[0].key}: {_reason(sources[0])}){_fitting_text(fits)}"
        )
    if exported is not None:
        sources = [source if video_key(source.patterns) in exported else _of_others(source) for source in sources]
    if finder.n_others:
        notes.append(
            f"{count_text(finder.n_others, 'item')} left out, not being the layout's: {finder.others[0]}"
            + (", …" if finder.n_others > 1 else "")
        )
    if finder.n_links_out:
        notes.append(f"{finder.n_links_out} links lead out of the folder and are not followed")
    return Discovery(tuple(sources), tuple(notes)), chosen_step


def fitting_layouts(root: str, layout: Layout, quantizer: FileQuantizer) -> list[str]:
    """Return the options of the layouts as which a video of a folder can be read, of the first files that there are."""
    choices = [(f"--layout {name}", preset) for name, preset in LAYOUTS.items()]
    choices += [
        (f"--layout {name} --no-class-folder", preset.without_class_folder())
        for name, preset in LAYOUTS.items()
        if preset.class_folder == "optional"
    ]
    if layout.is_numbered:
        choices += [(f"--first {first}", replace(layout, first=first)) for first in (0, 1) if first != layout.first]
    fitting = []
    for options, choice in choices:
        finder = _Finder(root, choice, _MOST_TRIED)
        with contextlib.suppress(ArgumentError, SourceError):
            finder.find()
        sources = (_source(root, choice, quantizer, key, video, 1) for key, video in sorted(finder.videos.items()))
        if any(map(_is_readable, sources)):
            fitting.append(options)
    return fitting


def _root_above(root: str, layouts: Collection[Layout], others: Collection[str]) -> str:
    """Return a hint at the folder above whose layout these files are of: a class or a video was given for the whole."""
    above, below = root, ""
    for _ in range(2):
        above, name = os.path.split(above)
        below = f"{name}/{below}"
        if any(_is_of(layout, below + other) for layout in layouts for other in others):
            return f"; its files are the layout's below {above}: give that, and --include '{below}*' for these alone"
    return ""


def _is_of(layout: Layout, path: str) -> bool:
    for template in layout.templates:
        known: dict[str, str] = {}
        components, names = template.split("/"), path.split("/")
        for component, name in zip(components, names, strict=False):
            match = component_pattern(component, known).fullmatch(name)
            if match is None:
                break
            known |= match.groupdict()
        else:
            if len(components) == len(names):
                return True
    return False


def _fitting_text(fits: list[str]) -> str:
    return f"; what fits is {' or '.join(fits)}" if fits else ""


def _is_readable(source: FlowSource) -> bool:
    return not _reason(source)


def _reason(source: FlowSource) -> str:
    try:
        probe_flow(source)
    except FlowStoreError as error:
        return str(error)
    return ""


def _of_others(source: FlowSource) -> FlowSource:
    problem = f"is not of the export of which {MANIFEST} tells, and may be of other settings"
    return replace(source, problem=source.problem or f"{printable_name(source.relative_path)} {problem}")


def _tells_step(layout: Layout) -> bool:
    return any("step" in template_fields(template) for template in layout.templates)


def _choose_step(finder: _Finder, layout: Layout, step: int | None) -> tuple[int, list[str]]:
    if not _tells_step(layout):
        return step or 1, []
    steps = sorted({_step_of(key[2]) for key, video in finder.videos.items() if any(f.n_files for f in video.files)})
    if step is None:
        if len(steps) > 1:
            raise ArgumentError(f"files of the steps {', '.join(map(str, steps))}: choose one with --step")
        return steps[0], []
    if step not in steps:
        raise ArgumentError(f"no files of step {step}, there are those of step {', '.join(map(str, steps))}")
    others = [str(other) for other in steps if other != step]
    return step, [f"files of step {', '.join(others)} are left out"] if others else []


def _source(root: str, layout: Layout, quantizer: FileQuantizer, key: _Key, video: _Video, step: int) -> FlowSource:
    class_name, name, _ = key
    source = FlowSource(
        class_name,
        name,
        root,
        "",
        "flow",
        layout=layout,
        quantizer=quantizer,
        patterns=video.patterns,
        n_files=video.files[0].n_files,
        step=step,
    )
    return replace(
        source,
        relative_path=source.paths(0)[0],
        cost=float(source.n_files) if layout.is_numbered else video.files[0].size_bytes / _TYPICAL_FLOW_BYTES,
        problem=video.problem or (_numbering_problem(source, video.files) if layout.is_numbered else ""),
    )


def _numbering_problem(source: FlowSource, files: tuple[_Files, ...]) -> str:
    layout = source.layout
    if not any(one.n_files for one in files):
        return f"no flow files, expected such as {printable_name(source.paths(0)[0])}"
    if len(files) == 2 and (files[0].n_files, files[0].lowest, files[0].highest) != (
        files[1].n_files,
        files[1].lowest,
        files[1].highest,
    ):
        missing = _first_missing(source, files)
        return f"files without a partner: {files[0]} of x, {files[1]} of y; the first missing is {missing}"
    (one, *_) = files
    if one.lowest != layout.first:
        return (
            f"numbers begin at {one.lowest}, those of layout {layout.name} at {layout.first} "
            f"(--first {one.lowest} takes them as they are)"
        )
    n_missing = one.highest - one.lowest + 1 - one.n_files
    if n_missing:
        missing = _first_missing(source, files)
        return f"{n_missing} missing among the files {one.lowest} to {one.highest}, the first {missing}"
    if layout.is_padded and one.n_files <= source.step:
        return f"{one.n_files} flows only, where the last is said to stand {source.step + 1} times"
    return ""


def _first_missing(source: FlowSource, files: tuple[_Files, ...]) -> str:
    """Return the path of the lowest number that a file is missing of, from the lowest that there is."""
    start = min(one.lowest for one in files if one.n_files)
    stop = start + max(one.n_files for one in files) + 1
    paths = (pattern.path(number) for number in range(start, stop) for pattern in source.patterns)
    return printable_name(next((path for path in paths if not os.path.exists(os.path.join(source.path, path))), ""))
