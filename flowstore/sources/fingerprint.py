"""How a source is recognized again without reading it whole."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from flowstore.errors import SourceError

SourceKind = Literal["video", "frames", "flow"]

_DIGEST_SPAN = 65536


@dataclass(frozen=True)
class Fingerprint:
    """How a source is recognized again without reading it whole.

    Parameters
    ----------
    size_bytes : int
        Size of the video file, or of all frame files or flow files together.
    mtime_ns : int
        Time of the last change, of the newest file where there are several, in nanoseconds since 1970.
    digest : str
        Hexadecimal BLAKE2b of the first and last 64 KiB of a file that holds a video, or of the names and sizes of the
        files of single frames or flows.
    """

    size_bytes: int
    mtime_ns: int
    digest: str

    def is_same(self, other: Fingerprint) -> bool:
        """Tell whether two fingerprints are of the same content: a copy with another time stamp still is."""
        return self.size_bytes == other.size_bytes and self.digest == other.digest


def fingerprint_file(path: str) -> Fingerprint:
    """Return the fingerprint of one file that holds a video.

    Raises
    ------
    SourceError
        If it cannot be read.
    """
    try:
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
    except SourceError:
        raise
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from error
    return Fingerprint(info.st_size, info.st_mtime_ns, digest.hexdigest())


def fingerprint_files(folder: str, names: Iterable[str]) -> Fingerprint:
    """Return the fingerprint of the files of single frames or flows, in order.

    Raises
    ------
    SourceError
        If one of them is not there.
    """
    digest = hashlib.blake2b(digest_size=16)
    size_bytes = mtime_ns = 0
    for name in names:
        try:
            info = os.stat(os.path.join(folder, name))
        except OSError as error:
            raise SourceError(f"{name} cannot be opened: {error.strerror or error}") from error
        digest.update(os.fsencode(name) + b"\0%d\n" % info.st_size)
        size_bytes += info.st_size
        mtime_ns = max(mtime_ns, info.st_mtime_ns)
    return Fingerprint(size_bytes, mtime_ns, digest.hexdigest())
