"""Split files of public datasets: read, and matched to the videos of a store.

Reads text files. Matching is by names, whatever the extension; a line that finds no video, or more than one, is
reported, never skipped in silence.
"""

from __future__ import annotations

import csv
import os
import re
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_path, check_whole
from flowstore.errors import ArgumentError, FlowStoreWarning, SourceError
from flowstore.names import count_text, fold_name, printable_name, suggest_name, video_path
from flowstore.store.open import FlowClass, FlowStore, look_up
from flowstore.store.video import Video
from flowstore.store.video_index import VideoIndex

_FORMS = "class=NAME, name=PATTERN or split=KIND:PATH[:NUMBER][:PART]"
_N_SHOWN = 5
_SPLIT_FORMS = "hmdb51:FOLDER:1:train, ucf101:FOLDER:1:test, kinetics:FILE[:PART] or mmaction2:FILE"

Part = Literal["train", "test"]
PathLike = str | os.PathLike[str]
# A list of several labels a video, of which the last alone would be taken: ``video.mp4 3 5``, read as path and label.
_NUMBERS_LEFT = re.compile(r"\.(avi|mkv|mov|mp4|webm)(\s+\d+)+$", re.IGNORECASE)
# Labels count classes; a name is made for each up to the largest.
_LARGEST_LABEL = 999_999
_HMDB51_PARTS = {"train": "1", "test": "2", "unused": "0"}


@dataclass(frozen=True)
class SplitLine:
    """One video that a split file names.

    Parameters
    ----------
    where : str
        ``file:line``, for messages.
    text : str
        What stands there.
    class_name : str or None
        Class; None where the file names none.
    names : tuple of str
        What the video may be called in a store, the likeliest first.
    label : int or None
        Number of the class that the file gives, as it stands there.
    """

    where: str
    text: str
    class_name: str | None
    names: tuple[str, ...]
    label: int | None = None


@dataclass(frozen=True)
class Unmatched:
    """A line that led to no video, and why."""

    line: SplitLine
    reason: str

    def __str__(self) -> str:
        return f"{self.line.where}: {self.line.text!r}: {self.reason}"


@dataclass(frozen=True)
class Split:
    """The videos of a store that belong to a split.

    Parameters
    ----------
    rows : dict of str to SplitLine
        The line that named each, by the path of the video's group in the store.
    unmatched : tuple of Unmatched
        Lines that led to none.
    classes : tuple of str
        Names of the file's labels from 0 on; empty where it has none.
    """

    rows: Mapping[str, SplitLine]
    unmatched: tuple[Unmatched, ...] = ()
    classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<Split: {count_text(len(self), 'video')}, {count_text(len(self.unmatched), 'line')} unmatched>"

    def report(self, n_shown: int | None = None) -> str:
        """Return what was not matched, a line each; at most `n_shown` of them."""
        shown = [str(line) for line in self.unmatched[:n_shown]]
        if len(shown) < len(self.unmatched):
            shown.append(f"… and {len(self.unmatched) - len(shown)} more")
        return "\n".join(
            [f"{count_text(len(self.unmatched), 'line')} of the split without a video in the store", *shown]
        )


@dataclass(frozen=True)
class SplitList:
    """What split files say, before any store is looked at.

    Parameters
    ----------
    lines : tuple of SplitLine
        In the order of the files.
    classes : tuple of str
        Names of the labels from 0 on; empty where the files have none.
    """

    lines: tuple[SplitLine, ...]
    classes: tuple[str, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        return len(self.lines)

    def match(self, index: VideoIndex) -> Split:
        """Find the videos.

        Parameters
        ----------
        index : VideoIndex
            Of a store: ``store.videos``.

        Returns
        -------
        Split

        Notes
        -----
        A line means the video of its class and name; else the one that is the same but for case and for ``_`` in place
        of spaces (Kinetics' folders; UCF101's ``HandstandPushups`` holds ``v_HandStandPushups_…``); else, where no
        class stands in the line or the store has none of that name, the only video of that name, but for videos of
        other classes that the lines name: ``jump/v0`` is never ``wave/v0`` where there is a line of ``wave``. Each is
        tried with the name as it stands and without its extension, which has a letter: the end of ``clip.1`` is none.
        """
        finder = _Finder(index, self.lines)
        rows: dict[str, SplitLine] = {}
        unmatched = []
        for line in self.lines:
            found, reason = finder.find(line)
            if found is None:
                unmatched.append(Unmatched(line, reason))
            elif found in rows:
                unmatched.append(Unmatched(line, f"the video {found} is named by {rows[found].where} already"))
            elif index.column("status")[finder.numbers[found]] != "ok":
                unmatched.append(Unmatched(line, f"the video {found} failed: it has no flow"))
            else:
                rows[found] = line
        return Split(rows, tuple(unmatched), self.classes)


def _fold(name: str) -> str:
    return fold_name(name).replace(" ", "_")


class _Finder:
    """Looks names up: exactly, then folded, then by the name alone."""

    def __init__(self, index: VideoIndex, lines: Iterable[SplitLine]) -> None:
        self.numbers: dict[str, int] = {}
        self._exact: dict[tuple[str, str], str] = {}
        self._folded: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
        self._by_name: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        self._classes: set[str] = set()
        for number in range(len(index)):
            path, class_name, name = str(index.column("path")[number]), index.class_name(number), index.name(number)
            self.numbers[path] = number
            self._exact[class_name, name] = path
            self._folded[_fold(class_name), _fold(name)].append(path)
            self._by_name[_fold(name)].append((_fold(class_name), path))
            self._classes.add(_fold(class_name))
        self._named = {_fold(line.class_name) for line in lines if line.class_name}

    def find(self, line: SplitLine) -> tuple[str | None, str]:
        """Return the path of a line's video, or None and the reason."""
        for name in line.names:
            if line.class_name is not None and (path := self._exact.get((line.class_name, name))):
                return path, ""
        has_class = line.class_name is not None and _fold(line.class_name) in self._classes
        # Where the store has some of the classes only, a video of another one may have the same name.
        taken = self._named if line.class_name is not None else ()
        for name in line.names:
            if has_class:
                found = self._folded.get((_fold(line.class_name or ""), _fold(name)), [])
            else:
                found = [path for class_name, path in self._by_name.get(_fold(name), []) if class_name not in taken]
            if len(found) == 1:
                return found[0], ""
            if found:
                return None, f"may be any of {', '.join(sorted(found))}"
        return None, f"no such video in class {line.class_name!r}" if has_class else "no such video"


def read_hmdb51(folder: PathLike, split: int, part: Literal["train", "test", "unused"]) -> SplitList:
    """Read HMDB51's files ``{class}_test_split{split}.txt``.

    Parameters
    ----------
    folder : path
        Holds the files, one a class.
    split : {1, 2, 3}
        Number of the split.
    part : {"train", "test", "unused"}
        Lines that end in 1, in 2, in 0.

    Returns
    -------
    SplitList

    Raises
    ------
    ArgumentError
        If a choice is none, or a line is not ``name.avi 0|1|2``.
    SourceError
        If there is no such file.

    Examples
    --------
    >>> train = read_hmdb51("splits/", split=1, part="train")
    >>> [line.names[0] for line in train.lines]
    ['some_video.avi']
    """
    _check_split(folder, split)
    wanted = _choose(part, _HMDB51_PARTS)
    suffix = f"_test_split{split}.txt"
    files = (
        [path for path in sorted(Path(folder).iterdir()) if path.name.endswith(suffix)] if os.path.isdir(folder) else []
    )
    if not files:
        raise SourceError(f"{folder}: no file of the form brush_hair{suffix}")
    lines = []
    for path in files:
        class_name = path.name.removesuffix(suffix)
        for where, text in _read_lines(path):
            name, _, number = text.rpartition(" ")
            if not name.strip() or number not in _HMDB51_PARTS.values():
                raise ArgumentError(f"{where}: {text!r}, expected a file name and 0, 1 or 2")
            if number == wanted:
                lines.append(SplitLine(where, text, class_name, _names(name.strip())))
    return SplitList(tuple(lines))


def read_ucf101(folder: PathLike, split: int, part: Part) -> SplitList:
    """Read UCF101's ``classInd.txt`` and ``trainlist0{split}.txt`` or ``testlist0{split}.txt``.

    Parameters
    ----------
    folder : path
        Holds the files.
    split : {1, 2, 3}
        Number of the split.
    part : {"train", "test"}
        Which list.

    Returns
    -------
    SplitList
        Labels count from 0; the files count from 1.

    Raises
    ------
    ArgumentError
        If a choice is none, a line is not of that form, or names an unknown class or one that its label contradicts.
    SourceError
        If there is no such file.

    Examples
    --------
    >>> read_ucf101("ucfTrainTestlist/", split=1, part="test").lines[0].label
    0
    """
    _check_split(folder, split)
    name = _choose(part, {"train": f"trainlist0{split}.txt", "test": f"testlist0{split}.txt"})
    classes: list[str] = []
    for where, text in _read_lines(Path(folder) / "classInd.txt"):
        number, _, class_name = text.partition(" ")
        class_name = class_name.strip()
        if number != str(len(classes) + 1) or not class_name:
            raise ArgumentError(f"{where}: {text!r}, expected class number {len(classes) + 1} and its name")
        classes.append(class_name)
    labels = {class_name: number for number, class_name in enumerate(classes)}
    lines = []
    for where, text in _read_lines(Path(folder) / name):
        path, _, number = text.rpartition(" ") if part == "train" else (text, "", "")
        class_name, slash, file_name = path.partition("/")
        if not slash or class_name not in labels:
            raise ArgumentError(f"{where}: {text!r}, expected Class/video.avi with a class of classInd.txt")
        if part == "train" and number != str(labels[class_name] + 1):
            raise ArgumentError(
                f"{where}: label {number!r}, but {class_name} is {labels[class_name] + 1} in classInd.txt"
            )
        lines.append(SplitLine(where, text, class_name, _names(file_name), labels[class_name]))
    return SplitList(tuple(lines), tuple(classes))


def read_kinetics(path: PathLike, part: str | None = None) -> SplitList:
    """Read a csv of Kinetics: ``label,youtube_id,time_start,time_end,split[,is_cc]``.

    Parameters
    ----------
    path : path
        The file. Without a column ``label``, as test lists are, videos are found by their names alone.
    part : str, optional
        Only lines of this ``split`` (``train``, ``val``, ``test``, …).

    Returns
    -------
    SplitList
        Videos ``{label with _}/{id}_{start:06d}_{end:06d}``, or ``{id}`` where the store's names are without times.

    Raises
    ------
    ArgumentError
        If a column is missing, a time is not a number, or no line is of that split.
    SourceError
        If there is no such file.

    Examples
    --------
    >>> read_kinetics("kinetics.csv", part="val").lines[0].names[0]
    '0347ZoDXyP0_000095_000105'
    """
    text = _read_text(Path(check_path("path", path)))
    reader = csv.DictReader(text.split("\n"), skipinitialspace=True)
    missing = {"youtube_id", "time_start", "time_end"} - set(reader.fieldnames or ())
    if missing:
        raise ArgumentError(
            f"{path}:1: no column {', '.join(sorted(missing))}; found {', '.join(reader.fieldnames or ())}"
        )
    lines, parts = [], set()
    for row in reader:
        where = f"{path}:{reader.line_num}"
        its_part = (row.get("split") or "").strip()
        parts.add(its_part)
        if part is not None and its_part != part:
            continue
        video_id = (row["youtube_id"] or "").strip()
        try:
            start, end = int(float(row["time_start"])), int(float(row["time_end"]))
        except (TypeError, ValueError, OverflowError) as error:
            raise ArgumentError(f"{where}: times are {row['time_start']!r} and {row['time_end']!r}") from error
        label = (row.get("label") or "").strip()
        names = f"{video_id}_{start:06d}_{end:06d}", video_id
        lines.append(SplitLine(where, f"{video_id},{start},{end}", label.replace(" ", "_") if label else None, names))
    if part is not None and not lines:
        found = ", ".join(sorted(parts - {""})) or "none"
        raise ArgumentError(f"{path}: no line of split {part!r}; splits in it: {found}")
    return SplitList(tuple(lines))


def read_mmaction2(path: PathLike, kind: Literal["auto", "rawframes", "videos"] = "auto") -> SplitList:
    """Read a list of mmaction2: lines ``frame_dir total_frames label`` or ``path label``.

    Parameters
    ----------
    path : path
        The file.
    kind : {"auto", "rawframes", "videos"}
        Which of the two; ``auto`` takes the first where every line ends in two whole numbers, and the second where
        none does or names have an extension.

    Returns
    -------
    SplitList
        Class and name are the last two parts of a path; with one part only, the name. Labels as they stand.

    Raises
    ------
    ArgumentError
        If a line is not of that form, has several labels or an offset (``with_offset``), or may be of both forms.
    SourceError
        If there is no such file.

    Examples
    --------
    >>> read_mmaction2("train.txt").lines[0].label
    3
    """
    _choose(kind, {"auto": "", "rawframes": "", "videos": ""})
    texts = list(_read_lines(Path(check_path("path", path))))
    if kind != "videos":
        _check_one_label(texts)
    if kind == "auto":
        has_counts = all(len(tail) == 3 and _is_count(tail[1]) for _, text in texts for tail in [text.rsplit(None, 2)])
        kind = "rawframes" if has_counts else "videos"
    n_numbers = 2 if kind == "rawframes" else 1
    lines = []
    for where, text in texts:
        first, *numbers = text.rsplit(None, n_numbers)
        if len(numbers) != n_numbers or not all(map(_is_count, numbers)):
            form = "frame_dir total_frames label" if n_numbers == 2 else "path label"
            raise ArgumentError(f"{where}: {text!r}, expected {form}")
        if _NUMBERS_LEFT.search(first):
            raise ArgumentError(f"{where}: {text!r} has several labels, expected one a video")
        if int(numbers[-1]) > _LARGEST_LABEL:
            raise ArgumentError(f"{where}: label {numbers[-1]}, expected at most {_LARGEST_LABEL}")
        *parents, name = first.rstrip("/").split("/")
        class_name = parents[-1] if parents and parents[-1] not in ("", ".", "..") else None
        lines.append(SplitLine(where, text, class_name, _names(name), int(numbers[-1])))
    return SplitList(tuple(lines))


def _check_one_label(texts: Iterable[tuple[str, str]]) -> None:
    """Refuse lines in which more numbers follow the path than a count and a label, or not equally many."""
    fewest = 2
    for where, text in texts:
        path, *words = text.split()
        n_numbers = next((n for n, word in enumerate(reversed(words)) if not _is_count(word)), len(words))
        if n_numbers > 2 or (n_numbers == 2 > fewest and "." not in path):
            raise ArgumentError(
                f"{where}: {text!r} has several labels, expected one a video; or an offset, or a name that ends in a "
                f"number, which cannot be told from them: {n_numbers} numbers follow"
            )
        fewest = min(fewest, n_numbers or fewest)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _names(name: str) -> tuple[str, ...]:
    """Return a file's name as it stands, then without its extension."""
    stem, extension = os.path.splitext(name)
    return (name, stem) if any(map(str.isalpha, extension)) else (name,)


def _check_split(folder: PathLike, split: int) -> None:
    check_path("folder", folder)
    check_whole("split", split, 1, 3)


def _choose(value: str, choices: Mapping[str, str]) -> str:
    if not isinstance(value, str) or value not in choices:
        nearest = suggest_name(value, choices) if isinstance(value, str) else ""
        raise ArgumentError(f"found {value!r}, expected one of {', '.join(choices)}{nearest}")
    return choices[value]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SourceError(f"{path}: not a text file in UTF-8 ({error})") from error


def _read_lines(path: Path) -> Iterable[tuple[str, str]]:
    """Yield ``file:line`` and the text of every line that is not blank."""
    # Not `splitlines`, which ends a line at characters that a name may hold; the file's own ends were made one already.
    for number, line in enumerate(_read_text(path).split("\n"), 1):
        if line.strip():
            yield f"{path}:{number}", line.strip()


def select_videos(store: FlowStore, choices: Sequence[str]) -> FlowStore:
    """Return a store over the videos that are chosen.

    Parameters
    ----------
    store : FlowStore
        Of all videos, or a selection.
    choices : sequence of str
        ``class=NAME``; ``name=PATTERN``, where ``*`` and ``?`` stand for any characters and any one, and all else for
        itself, compared with a video's name or, with a ``/``, with ``class/name``; ``split=SPLIT`` (see `read_split`).
        Of one kind any may hold, of several kinds each must.

    Returns
    -------
    FlowStore
        Over fewer videos; the store itself where there is no choice.

    Raises
    ------
    ArgumentError
        If a choice is of no such form, or leaves no video.
    SourceError
        If a split file cannot be read.
    """
    if not choices:
        return store
    index = store.videos
    chosen: defaultdict[str, npt.NDArray[np.bool_]] = defaultdict(lambda: np.zeros(len(index), bool))
    for choice in choices:
        kind, equals, value = choice.partition("=")
        if kind not in ("class", "name", "split") or not equals or not value:
            raise ArgumentError(f"selection {printable_name(choice)!r}: expected {_FORMS}")
        if kind == "class":
            rows = _rows_of_class(store, value)
        elif kind == "name":
            rows = _rows_of_names(index, value)
        else:
            split = read_split(value).match(index)
            warn_of_unmatched(split)
            rows = np.fromiter((path in split.rows for path in index.column("path")), bool, len(index))
        if not rows.any():
            raise ArgumentError(f"selection {printable_name(choice)!r}: no video of {store.url} is of it")
        chosen[kind] |= rows
    mask = np.logical_and.reduce(list(chosen.values()))
    if not mask.any():
        raise ArgumentError(f"selections {', '.join(map(repr, choices))}: no video of {store.url} is of each")
    return FlowStore(store.storage, store.root, index.where(mask))


def select_inside(store: FlowStore, names: Sequence[str]) -> FlowStore:
    """Return a store over what a path inside it names: everything, a class, or one video of a class.

    Raises
    ------
    NameNotFoundError
        If the store has no such class or video.
    """
    if not names:
        return store
    found = look_up(store, names)
    rows = np.zeros(len(store.videos), bool)
    if isinstance(found, Video):
        path = video_path(found.record.class_name, found.record.name)
        rows[store.videos.column("path").tolist().index(path)] = True
    elif isinstance(found, FlowClass):
        rows |= _rows_of_class(store, found.name)
    return FlowStore(store.storage, store.root, store.videos.where(rows))


def read_split(text: str) -> SplitList:
    """Read the split that words name.

    Parameters
    ----------
    text : str
        ``hmdb51:FOLDER:1:train``, ``ucf101:FOLDER:1:test``, ``kinetics:FILE[:PART]`` or ``mmaction2:FILE``.

    Returns
    -------
    SplitList

    Raises
    ------
    ArgumentError
        If the words are not of that form, or a line of a file is none.
    SourceError
        If a file cannot be read.
    """
    kind, _, rest = text.partition(":")
    if kind in ("hmdb51", "ucf101"):
        folder, number, part = split_fields(text)
        if part is None:
            raise ArgumentError(f"split {text!r}: expected its part too, such as {text}:train")
        return read_hmdb51(folder, number, part) if kind == "hmdb51" else read_ucf101(folder, number, part)
    if kind == "kinetics" and rest:
        path, kinetics_part = kinetics_fields(rest)
        return read_kinetics(path, kinetics_part)
    if kind == "mmaction2" and rest:
        return read_mmaction2(rest)
    raise ArgumentError(
        f"split {text!r}: expected {_SPLIT_FORMS}{suggest_name(kind, ['hmdb51', 'ucf101', 'kinetics'])}"
    )


def split_fields(text: str) -> tuple[str, int, Part | None]:
    """Return folder, number and part (None where there is none) of ``KIND:FOLDER:NUMBER[:PART]``.

    Raises
    ------
    ArgumentError
        If it is not of that form.

    Examples
    --------
    >>> split_fields("hmdb51:my:splits:1:train"), split_fields("ucf101:splits:3")
    (('my:splits', 1, 'train'), ('splits', 3, None))
    """
    found = re.fullmatch(r"\w+:(.+?):([123])(?::(train|test))?", text, re.DOTALL)
    if not found:
        raise ArgumentError(f"split {text!r}: expected {_SPLIT_FORMS}")
    part: Part | None = "train" if found[3] == "train" else "test" if found[3] else None
    return found[1], int(found[2]), part


def kinetics_fields(text: str) -> tuple[str, str | None]:
    """Return the file and the part (None where there is none) of ``FILE[:PART]``.

    Examples
    --------
    >>> kinetics_fields("lists/k400.csv:val"), kinetics_fields("lists/k400.csv")
    (('lists/k400.csv', 'val'), ('lists/k400.csv', None))
    """
    path, _, part = text.rpartition(":")
    return (path, part) if path and re.fullmatch(r"\w+", part) else (text, None)


def warn_of_unmatched(split: Split) -> None:
    """Warn of the lines of a split that name no video of the store."""
    if split.unmatched:
        warnings.warn(split.report(_N_SHOWN), FlowStoreWarning, stacklevel=2)


def _rows_of_class(store: FlowStore, name: str) -> npt.NDArray[np.bool_]:
    index = store.videos
    rows = np.zeros(len(index), bool)
    classes = {index.class_name(found.start): found for found in index.rows_by_class.values()}
    if name not in classes:
        raise ArgumentError(f"no class {printable_name(name)!r} in {store.url}{suggest_name(name, classes)}")
    rows[classes[name].start : classes[name].stop] = True
    return rows


def _rows_of_names(index: VideoIndex, pattern: str) -> npt.NDArray[np.bool_]:
    regex = re.compile(re.escape(pattern).replace(r"\*", ".*").replace(r"\?", "."), re.DOTALL)
    names = (
        f"{index.class_name(number)}/{index.name(number)}" if "/" in pattern else index.name(number)
        for number in range(len(index))
    )
    return np.fromiter((regex.fullmatch(name) is not None for name in names), bool, len(index))
