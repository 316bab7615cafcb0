"""Choosing videos of a store by words: ``class=wave``, ``name=*[HD]*``, ``split=hmdb51:splits/:1:train``."""

from __future__ import annotations

import re
import warnings
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from flowstore.errors import ArgumentError, FlowStoreWarning
from flowstore.names import printable_name, suggest_name
from flowstore.splits import Part, Split, SplitList, read_hmdb51, read_kinetics, read_mmaction2, read_ucf101
from flowstore.store import FlowStore
from flowstore.video_index import VideoIndex

_FORMS = "class=NAME, name=PATTERN or split=KIND:PATH[:NUMBER][:PART]"
_N_SHOWN = 5
_SPLIT_FORMS = "hmdb51:FOLDER:1:train, ucf101:FOLDER:1:test, kinetics:FILE[:PART] or mmaction2:FILE"


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
