"""Checks of arguments that Python lets through: a text or a truth value where a number belongs. Pure."""

from __future__ import annotations

import contextlib
import difflib
import math
import operator
import os
from typing import Any, get_args

from flowstore.errors import ArgumentError
from flowstore.names import printable_name, suggest_name

ParameterValue = int | float | bool | str
# Of the folder above a path that does not exist: of more names none is looked for that is near.
_MOST_NAMES = 10_000


def check_whole(name: str, value: Any, least: int, most: int | None = None) -> None:
    """Refuse anything but a whole number in a range.

    Examples
    --------
    >>> check_whole("limit", "3", 1)
    Traceback (most recent call last):
    ...
    flowstore.errors.ArgumentError: limit is '3', expected a whole number, 1 or more
    """
    if not _is_whole(value) or value < least or (most is not None and value > most):
        expected = f"{least} or more" if most is None else f"{least} to {most}"
        raise ArgumentError(f"{name} is {value!r}, expected a whole number, {expected}")


def _is_whole(value: Any) -> bool:
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def check_progress(progress: Any) -> None:
    """Refuse what cannot be told of progress, such as True; None tells nobody."""
    if progress is not None and not all(callable(getattr(progress, name, None)) for name in ("start", "stop")):
        raise ArgumentError(f"progress is {progress!r}, expected None or such as flowstore.progress.ConsoleProgress")


def check_path(name: str, value: Any) -> str:
    """Return a path as text; ``~/`` is the home folder, as in a shell."""
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str) or not path:
        raise ArgumentError(f"{name} is {value!r}, expected a path")
    # A name such as ~backup is a name like any other.
    return os.path.expanduser(path) if path.startswith("~/") else path


def check_folder(name: str, value: Any) -> str:
    """Return the path of a folder of this machine, absolute; see `check_path`.

    Examples
    --------
    >>> check_folder("DEST", "s3://bucket/images")
    Traceback (most recent call last):
    ...
    flowstore.errors.ArgumentError: DEST s3://bucket/images: a URL, expected the path of a folder: flow files are local
    """
    path = check_path(name, value).removeprefix("file://")
    if "://" in path:
        raise ArgumentError(f"{name} {path}: a URL, expected the path of a folder: flow files are local")
    if "\0" in path:
        raise ArgumentError(f"{name} is {path!r}, expected a path without null characters")
    return os.path.abspath(path)


def check_texts(name: str, value: Any) -> tuple[str, ...]:
    """Return several texts as a tuple; one alone counts as one, not as its letters."""
    texts = (value,) if isinstance(value, str) else value
    if not isinstance(texts, tuple | list) or not all(isinstance(text, str) for text in texts):
        raise ArgumentError(f"{name} is {value!r}, expected a list of texts")
    return tuple(texts)


def check_part(part: Any) -> None:
    """Refuse anything but ``(i, n)``, the i-th of n parts, counted from 1."""
    if not (isinstance(part, tuple | list) and len(part) == 2):
        raise ArgumentError(f"part is {part!r}, expected a pair such as (1, 4)")
    check_whole("the number of parts", part[1], 1)
    check_whole("the part", part[0], 1, part[1])


def check_flag(name: str, value: Any) -> None:
    """Refuse anything but a truth value: a text such as ``"no"`` would count as true."""
    if not isinstance(value, bool):
        raise ArgumentError(f"{name} is {value!r}, expected True or False")


def check_positive(name: str, value: Any) -> None:
    """Refuse anything but a finite number above 0."""
    is_number = not isinstance(value, bool) and hasattr(value, "__float__")
    if not is_number or not (math.isfinite(value) and value > 0):
        raise ArgumentError(f"{name} is {value!r}, expected a finite number above 0")


_SPELLINGS = {"centered": "centred", "centre": "center", "colour": "color"}


def our_spelling(value: Any) -> Any:
    """Return a name as flowstore spells it: what is British here has an American spelling, and the other way round.

    Examples
    --------
    >>> our_spelling("centered"), our_spelling("colour"), our_spelling("truncate"), our_spelling(None)
    ('centred', 'color', 'truncate', None)
    """
    return _SPELLINGS.get(value, value) if isinstance(value, str) else value


def check_choice(name: str, value: str, choices: object) -> None:
    """Raise unless a value is one of a ``Literal``'s."""
    if value not in get_args(choices):
        nearest = suggest_name(value, get_args(choices)) if isinstance(value, str) else ""
        raise ArgumentError(f"{name} is {value!r}, expected one of {', '.join(get_args(choices))}{nearest}")


def existing_place(path: str) -> str:
    """Return a path, or of those above it the nearest that exists."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path


def suggest_path(path: str) -> str:
    """Return a hint at the path that was meant by one that does not exist; empty where none is near."""
    path = os.path.abspath(path)
    above = existing_place(path)
    wrong, _, below = os.path.relpath(path, above).partition(os.sep)
    with contextlib.suppress(OSError):
        for name in difflib.get_close_matches(wrong, os.listdir(above)[:_MOST_NAMES], n=1):
            found = os.path.join(above, name)
            whole = os.path.join(found, below) if below else found
            return f"; did you mean {printable_name(whole if os.path.exists(whole) else found)}?"
    return ""
