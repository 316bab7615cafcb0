"""Recognizing a source again without reading it whole."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Iterator

from flowstore.errors import SourceError
from flowstore.flow_folders import FlowSource
from flowstore.model import Fingerprint
from flowstore.sources import VideoSource, list_frames

_DIGEST_SPAN = 65536


def fingerprint(source: VideoSource) -> Fingerprint:
    """Return what recognizes a source again.

    Raises
    ------
    SourceError
        If the source cannot be read.
    """
    try:
        if isinstance(source, FlowSource):
            return _fingerprint_flow(source)
        return _fingerprint_folder(source.path) if source.kind == "frames" else _fingerprint_file(source.path)
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from error


def _fingerprint_file(path: str) -> Fingerprint:
    if not stat.S_ISREG(os.stat(path).st_mode):
        # Opening a pipe would wait for its other end.
        raise SourceError("not a regular file")
    digest = hashlib.blake2b(digest_size=16)
    with open(path, "rb") as file:
        info = os.fstat(file.fileno())
        digest.update(file.read(_DIGEST_SPAN))
        if info.st_size > 2 * _DIGEST_SPAN:
            file.seek(-_DIGEST_SPAN, os.SEEK_END)
        digest.update(file.read(_DIGEST_SPAN))
    return Fingerprint(info.st_size, info.st_mtime_ns, digest.hexdigest())


def _fingerprint_flow(source: FlowSource) -> Fingerprint:
    if source.layout.packing == "video":
        return _fingerprint_file(os.path.join(source.path, source.paths(0)[0]))
    return _fingerprint_names(source.path, source.iter_paths())


def _fingerprint_folder(path: str) -> Fingerprint:
    return _fingerprint_names(path, list_frames(path))


def _fingerprint_names(path: str, names: Iterable[str]) -> Fingerprint:
    digest = hashlib.blake2b(digest_size=16)
    size_bytes = mtime_ns = 0
    for name, info in _stat_files(path, names):
        digest.update(os.fsencode(name) + b"\0%d\n" % info.st_size)
        size_bytes += info.st_size
        mtime_ns = max(mtime_ns, info.st_mtime_ns)
    return Fingerprint(size_bytes, mtime_ns, digest.hexdigest())


def _stat_files(path: str, names: Iterable[str]) -> Iterator[tuple[str, os.stat_result]]:
    for name in names:
        try:
            info = os.stat(os.path.join(path, name))
        except OSError as error:
            raise SourceError(f"{name} cannot be opened: {error.strerror or error}") from error
        yield name, info


def is_readable(source: VideoSource) -> bool:
    """Tell whether a source is there and can be read, whatever it holds."""
    try:
        return not source.problem and bool(fingerprint(source))
    except SourceError:
        return False


def is_unchanged(source: VideoSource, recorded: Fingerprint | None) -> bool:
    """Tell whether a source is the one that a record was made of.

    Size and time stamp decide where they agree; where only the time stamp differs the content does.
    """
    if recorded is None or source.problem:
        return False
    try:
        if source.kind == "video":
            info = os.stat(source.path)
            if info.st_size != recorded.size_bytes:
                return False
            if info.st_mtime_ns == recorded.mtime_ns:
                return True
        return fingerprint(source).is_same(recorded)
    except OSError:
        return False
