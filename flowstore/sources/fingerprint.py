"""How a source is recognized again: by size and time stamp of each file and, where those differ, by all it holds."""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from flowstore.errors import SourceError

SourceKind = Literal["video", "frames", "flow"]
_BLOCK_BYTES = 2**20
# Fingerprints of earlier stores, of 16 bytes: of the first and last 64 KiB of one file, of names and sizes of several.
_FORMER_DIGITS = 32
_FORMER_SPAN = 65536


@dataclass(frozen=True)
class Fingerprint:
    """What recognizes a source again.

    Parameters
    ----------
    size_bytes : int
        Size of the video file, or of all frame files or flow files together.
    mtime_ns : int
        Time of the last change, of the newest file where there are several, in nanoseconds since 1970.
    digest : str
        Hexadecimal BLAKE2b, 32 bytes, of a file that holds a video, or of names and contents of the files of single
        frames or flows. In stores of earlier releases 16 bytes, of parts of that. Empty where nothing was read.
    stamps : str
        Hexadecimal BLAKE2b, 16 bytes, of name, size and time stamp of each of several files; empty for one.
    """

    size_bytes: int
    mtime_ns: int
    digest: str
    stamps: str = ""

    def is_same(self, other: Fingerprint) -> bool:
        """Tell whether two fingerprints are of the same content: a copy with another time stamp still is."""
        return self.size_bytes == other.size_bytes and self.digest == other.digest

    def has_stamps_of(self, other: Fingerprint) -> bool:
        """Tell whether every file has the size and the time stamp that it had."""
        return (self.size_bytes, self.mtime_ns, self.stamps) == (other.size_bytes, other.mtime_ns, other.stamps)


@dataclass(frozen=True)
class SourceFiles:
    """The files of a source: one that holds a video, or several of single frames or flows, in order.

    Parameters
    ----------
    folder : str
        Absolute.
    names : tuple of str
        Below it.
    is_one : bool
        Whether it is one file that holds a video.
    """

    folder: str
    names: tuple[str, ...]
    is_one: bool = False

    def stamp(self) -> Fingerprint:
        """Return sizes and time stamps, with no digest."""
        size_bytes = mtime_ns = 0
        stamps = hashlib.blake2b(digest_size=16)
        for name in self.names:
            with self._naming(name):
                info = os.stat(os.path.join(self.folder, name))
            if not stat.S_ISREG(info.st_mode):
                # Opening a pipe would wait for its other end.
                raise SourceError("not a regular file" if self.is_one else f"{name} is not a regular file")
            stamps.update(os.fsencode(name) + b"\0%d %d\n" % (info.st_size, info.st_mtime_ns))
            size_bytes += info.st_size
            mtime_ns = max(mtime_ns, info.st_mtime_ns)
        return Fingerprint(size_bytes, mtime_ns, "", "" if self.is_one else stamps.hexdigest())

    def are_readable(self) -> bool:
        """Tell whether this process may read every file."""
        return all(os.access(os.path.join(self.folder, name), os.R_OK) for name in self.names)

    def fingerprint(self) -> Fingerprint:
        """Return what recognizes the files again; reads all of them."""
        stamp = self.stamp()
        digest = hashlib.blake2b(digest_size=32)
        for name in self.names:
            if not self.is_one:
                digest.update(os.fsencode(name) + b"\0%d\n" % os.path.getsize(os.path.join(self.folder, name)))
            for block in self._blocks(name):
                digest.update(block)
        return Fingerprint(stamp.size_bytes, stamp.mtime_ns, digest.hexdigest(), stamp.stamps)

    def hold(self, recorded: Fingerprint) -> bool:
        """Tell whether the files hold what they held when a fingerprint was made; reads all of them.

        Of the fingerprint of an earlier store only what that recorded can be compared.
        """
        if self.stamp().size_bytes != recorded.size_bytes:
            return False
        if len(recorded.digest) == _FORMER_DIGITS:
            return self._former_digest() == recorded.digest
        return self.fingerprint().is_same(recorded)

    def _former_digest(self) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name in self.names:
            path = os.path.join(self.folder, name)
            size = os.path.getsize(path)
            if not self.is_one:
                digest.update(os.fsencode(name) + b"\0%d\n" % size)
                continue
            with self._naming(name), open(path, "rb") as file:
                digest.update(file.read(_FORMER_SPAN))
                if size > 2 * _FORMER_SPAN:
                    file.seek(-_FORMER_SPAN, os.SEEK_END)
                digest.update(file.read(_FORMER_SPAN))
        return digest.hexdigest()

    def _blocks(self, name: str) -> Iterator[bytes]:
        with self._naming(name), open(os.path.join(self.folder, name), "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                yield block

    @contextlib.contextmanager
    def _naming(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            what = "cannot be read" if self.is_one else f"{name} cannot be opened"
            raise SourceError(f"{what}: {error.strerror or error}") from error


def one_file(path: str) -> SourceFiles:
    """Return the files of a source that is one."""
    return SourceFiles(os.path.dirname(path), (os.path.basename(path),), is_one=True)


def several_files(folder: str, names: Iterable[str]) -> SourceFiles:
    """Return the files of a source that are several, in order."""
    return SourceFiles(folder, tuple(names))
