"""One reversible escape between the name of a class or a video and a component of a store's path.

Pure. A name keeps every character that Zarr, file systems and object stores can take; the others become percent
escapes of their UTF-8 bytes, as in RFC 3986 §2.1, and a literal ``%`` is escaped only where it would read as an escape.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from flowstore.errors import ArgumentError

MIB = 2**20

MAX_COMPONENT_BYTES = 255
_DIGEST_LENGTH = 32
# Of the places of which a store is made, that many are shown.
_MOST_SOURCES = 3
_SHORTENED = re.compile(rb"%~[0-9a-f]{32}\Z")
# "zarr.json" is where Zarr keeps a node's metadata; "index" is where a store keeps its own.
_RESERVED = frozenset({"index", "zarr.json"})
# Control characters (those above DEL take two bytes), the path separators of every system, and a "%" that begins what
# reads as an escape.
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f/\\]|\xc2[\x80-\x9f]|%(?=[0-9A-Fa-f]{2}|~)")


_UNPORTABLE = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]|[. ]\Z|\A(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.|\Z)', re.IGNORECASE)


def _percent(data: bytes) -> bytes:
    return b"".join(b"%%%02X" % byte for byte in data)


def escape_name(name: str) -> str:
    r"""Return the path component under which a store keeps a class or a video.

    Notes
    -----
    Escaped are control characters, ``/``, ``\``, bytes that are not UTF-8, a leading ``__`` (its first underscore),
    names of dots only (their first dot), and the reserved ``index`` and ``zarr.json`` in any case. A result beyond 255
    bytes is cut and ends in ``%~`` and 32 hexadecimal digits of the name's SHA-256; the original then stands in the
    attributes only.

    Examples
    --------
    >>> escape_name("Fencing_[HD]_100%")
    'Fencing_[HD]_100%'
    >>> escape_name("a/b"), escape_name(".."), escape_name("__x"), escape_name("50%25")
    ('a%2Fb', '%2E.', '%5F_x', '50%2525')
    """
    if not name:
        raise ArgumentError("a class or a video cannot have an empty name")
    raw = _UNSAFE.sub(lambda match: _percent(match[0]), os.fsencode(name))
    if raw.startswith(b"__") or not name.strip(".") or name.casefold() in _RESERVED:
        raw = _percent(raw[:1]) + raw[1:]
    component = "".join(
        character if not "\udc80" <= character <= "\udcff" else _percent(os.fsencode(character)).decode()
        for character in os.fsdecode(raw)
    )
    if len(component.encode()) <= MAX_COMPONENT_BYTES:
        return component
    if not is_unicode(name):
        raise ArgumentError(
            f"name {name!r} is longer than {MAX_COMPONENT_BYTES} bytes and is not valid UTF-8: rename it"
        )
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGEST_LENGTH]
    head = component.encode()[: MAX_COMPONENT_BYTES - _DIGEST_LENGTH - 2]
    head = re.sub(rb"%[0-9A-Fa-f]?\Z", b"", head)
    return head.decode(errors="ignore") + "%~" + digest


def video_path(class_name: str, name: str) -> str:
    """Return the path of a video's group below the root."""
    return f"{escape_name(class_name)}/{escape_name(name)}"


def unescape_name(component: str) -> str:
    r"""Return the name that `escape_name` made a path component of.

    Examples
    --------
    >>> unescape_name("a%2Fb"), unescape_name("100%")
    ('a/b', '100%')
    """
    return os.fsdecode(unquote_to_bytes(component))


def is_shortened(component: str) -> bool:
    """Tell whether a path component was cut, so that only the attributes hold the whole name."""
    return _SHORTENED.search(component.encode()) is not None


def is_unicode(name: str) -> bool:
    """Tell whether a name is free of surrogate escapes, that is of bytes that are not UTF-8."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def is_portable(component: str) -> bool:
    """Tell whether every file system takes a name: FAT, exFAT, NTFS and SMB are narrower than those of Unix.

    References
    ----------
    Microsoft, "Naming Files, Paths, and Namespaces". eCryptfs has names of at most 143 bytes.

    Examples
    --------
    >>> [is_portable(name) for name in ("v_001", "a [HD]", "What is love?", "con.avi", "end.")]
    [True, True, False, False, False]
    """
    return component.isascii() and len(component) <= 143 and _UNPORTABLE.search(component) is None


def fold_name(name: str) -> str:
    """Return the key under which a case-blind or normalizing file system would file a name (APFS, NTFS).

    Examples
    --------
    >>> fold_name("Wave") == fold_name("wave")
    True
    """
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def printable_name(name: str) -> str:
    r"""Return a name fit for one line of a terminal: control characters and undecodable bytes are shown as escapes.

    Examples
    --------
    >>> printable_name("a\nb")
    'a\\nb'
    """
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def display_name(name: str) -> str:
    r"""Return a name that can be written as UTF-8: bytes that are not become ``\xNN``."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def suggest_name(name: str, candidates: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the candidate nearest to a mistyped name, or an empty string.

    Examples
    --------
    >>> suggest_name("wav", ["wave", "run"])
    "; did you mean 'wave'?"
    """
    matches = difflib.get_close_matches(name, candidates, n=1)
    return f"; did you mean {printable_name(matches[0])!r}?" if matches else ""


def format_bytes(size: float) -> str:
    """Return a number of bytes for people, in powers of 1000, as disks are sold and rates are told.

    Examples
    --------
    >>> format_bytes(1536), format_bytes(5e6), format_bytes(999_999)
    ('1.5 kB', '5.0 MB', '1.0 MB')
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if round(size, 1) < 1000:
            return count_text(round(size), "byte") if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def format_duration(seconds: float) -> str:
    """Return a length of time for people, in two digits or in hours and minutes.

    Examples
    --------
    >>> format_duration(0.4), format_duration(42.3), format_duration(320), format_duration(9000)
    ('1 s', '42 s', '5 min', '2 h 30 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def count_text(count: int, noun: str) -> str:
    """Return a count with its noun.

    Examples
    --------
    >>> count_text(1, "video"), count_text(0, "flow"), count_text(3, "class")
    ('1 video', '0 flows', '3 classes')
    """
    return f"{count} {noun}" + ("" if count == 1 else "es" if noun.endswith("s") else "s")


def videos_text(n_videos: int, n_failed: int) -> str:
    """Return how many videos have flow, and how many failed.

    Examples
    --------
    >>> videos_text(6, 0), videos_text(6, 6)
    ('6 videos', '6 videos with flow, 6 failed')
    """
    return count_text(n_videos, "video") + (f" with flow, {n_failed} failed" if n_failed else "")


def missing_text(n_planned: int | None, n_missing: int) -> str:
    """Return how many of a store's planned videos are missing; nothing where none is.

    Examples
    --------
    >>> missing_text(36, 32)
    '32 of 36 planned videos are missing: wait for the run to end, or extract, import or copy again without --part'
    >>> missing_text(36, 0)
    ''
    """
    if not n_missing:
        return ""
    verb = "is" if n_missing == 1 else "are"
    # A store does not know which command fills it, nor whether that took a part only.
    what_to_do = "wait for the run to end, or extract, import or copy again without --part"
    return f"{n_missing} of {n_planned} planned videos {verb} missing: {what_to_do}"


def sources_texts(sources: Sequence[str]) -> list[str]:
    """Return the latest of many sources for people, and before them how many others there are.

    Examples
    --------
    >>> sources_texts(["/v/1.avi", "/v/2.avi", "/v/3.avi", "/v/4.avi", "/v/5.avi"])
    ['2 earlier sources', '/v/3.avi', '/v/4.avi', '/v/5.avi']
    """
    n_others = len(sources) - _MOST_SOURCES
    others = [count_text(n_others, "earlier source")] if n_others > 0 else []
    return others + [printable_name(place) for place in sources[-_MOST_SOURCES:]]


def now_utc() -> str:
    """Return the time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
