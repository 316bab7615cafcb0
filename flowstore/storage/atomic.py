"""Files that appear whole or not at all, and what a killed process leaves of them."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from io import FileIO
from typing import IO

_PARTIAL = re.compile(r"flowstore-[0-9a-f]{12}\.partial")
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_BINARY", 0)


def making_path(path: str) -> str:
    """Return a name for a file in the making that no other process on any machine takes: ``PATH.<number>.partial``.

    The number of a process would be that of another one in the next container.
    """
    return f"{path}.{uuid.uuid4().int >> 80}.partial"


class WholeWriter:
    """Writes files one after another, each under a name that no other writer has until it is whole.

    Not for several threads at a time: a task has one of its own.
    """

    def __init__(self) -> None:
        self._partial = f"flowstore-{uuid.uuid4().hex[:12]}.partial"

    def write(self, path: str, parts: Iterable[bytes]) -> None:
        """Write a file."""
        partial = self._partial_path(path)
        try:
            handle = os.open(partial, _CREATE, 0o666)
            try:
                for part in parts:
                    written = os.write(handle, part)
                    while written < len(part):
                        written += os.write(handle, part[written:])
            finally:
                os.close(handle)
            os.replace(partial, path)
        except BaseException:
            remove_if_there(partial)
            raise

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[FileIO]:
        """Open a file for reading and writing; what is there is replaced when all went well."""
        partial = self._partial_path(path)
        try:
            with FileIO(partial, "w+") as file:
                yield file
            os.replace(partial, path)
        except BaseException:
            remove_if_there(partial)
            raise

    def _partial_path(self, path: str) -> str:
        return os.path.join(os.path.dirname(path), self._partial)


@contextlib.contextmanager
def replacing(path: str, is_durable: bool) -> Iterator[IO[bytes]]:
    """Open a file for reading and writing that replaces the one at a path when all went well; its folder is made."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    partial = making_path(path)
    try:
        with open(partial, "x+b") as file:
            yield file
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(partial)
        raise


class FaultKeepingFile:
    """A binary file for a library that does not survive a failed write: the error is kept, and all after it dropped.

    Notes
    -----
    HDF5 cannot close a file that it could not write to the end, and crashes when it is collected.
    """

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self._error: OSError | None = None
        self.seek, self.tell, self.readinto = file.seek, file.tell, file.readinto
        self.read, self.flush = file.read, file.flush

    def write(self, data: bytes | memoryview) -> int:
        """Write all of some bytes, or drop them if an earlier write failed."""
        view = memoryview(data).cast("B")
        try:
            n_written = 0
            while self._error is None and n_written < len(view):
                n_written += self._file.write(view[n_written:])
        except OSError as error:
            self._error = error
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        """Cut or extend the file; see `write`."""
        try:
            return self._file.truncate(size) if self._error is None else size or 0
        except OSError as error:
            self._error = error
            return size or 0

    def check(self) -> None:
        """Raise the error that was kept, if there is one."""
        if self._error is not None:
            raise self._error


def write_whole(path: str, data: bytes) -> None:
    """Write one file so that it appears whole or not at all."""
    WholeWriter().write(path, [data])


def write_new(path: str, data: bytes) -> bool:
    """Write a file that is not there yet, whole and durably; return False where it is: the file system decides."""
    partial = making_path(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    try:
        _create(partial, data)
        try:
            os.link(partial, path)
        except FileExistsError:
            return False
        except OSError:
            # FAT, exFAT and some network file systems have no second names.
            return _create_if_new(path, data)
        return True
    finally:
        remove_if_there(partial)


def _create(path: str, data: bytes) -> None:
    with open(path, "xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _create_if_new(path: str, data: bytes) -> bool:
    try:
        _create(path, data)
    except FileExistsError:
        return False
    return True


def is_stray(name: str) -> bool:
    """Tell whether a file's name is that of one which a `WholeWriter` had not finished."""
    return _PARTIAL.fullmatch(name) is not None


def remove_strays(folder: str) -> None:
    """Remove what killed writers left in a folder. Nobody may be writing there."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        for name in os.listdir(folder):
            if is_stray(name):
                os.unlink(os.path.join(folder, name))


def remove_if_there(path: str) -> None:
    """Remove a file, or be content that there is none."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
