"""Stores in one ``.zip``: read in place, and written whole or not at all.

Owns the zip format. Nothing is ever unpacked to a disk: names of an archive are keys and no paths.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import IO, Any, NoReturn

from flowstore.errors import ArgumentError, ChecksumError, StoreError
from flowstore.limits import check_document_size
from flowstore.storage.atomic import replacing
from flowstore.storage.keys import Storage

# Of a member's own header: behind its 30 bytes stand the name and the extra field, whose lengths are at byte 26.
_HEADER_BYTES = 30
_LENGTHS = struct.Struct("<26xHH")
_EPOCH = (1980, 1, 1, 0, 0, 0)


class ZipStorage(Storage):
    """A zip, to read. Picklable; every process opens it for itself.

    Notes
    -----
    Members that are stored, as `writing_zip` stores them, are read by ``pread`` at their place in the file; deflated
    ones are unpacked up to the range that is asked for.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self._start()
        self._open()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._archive: zipfile.ZipFile | None = None
        self._offsets: dict[str, int] = {}
        self._children: dict[str, set[str]] = {}

    def _open(self) -> zipfile.ZipFile:
        if self._pid != os.getpid():
            # A forked process must not move the place at which its parent reads.
            self._start()
        with self._lock:
            if self._archive is None:
                try:
                    self._archive = zipfile.ZipFile(self.path)
                except (OSError, zipfile.BadZipFile, NotImplementedError) as error:
                    raise StoreError(f"cannot open {self.path}: {error}") from error
            return self._archive

    def __reduce__(self) -> tuple[type[ZipStorage], tuple[str]]:
        return ZipStorage, (self.path,)

    @property
    def url(self) -> str:
        """The file's absolute path."""
        return self.path

    def _find(self, key: str) -> tuple[zipfile.ZipFile, zipfile.ZipInfo] | None:
        archive = self._open()
        info = archive.NameToInfo.get(key)
        return None if info is None else (archive, info)

    def read(self, key: str) -> bytes | None:
        """Return the value of a key, None if there is none."""
        found = self._find(key)
        if found is None:
            return None
        archive, info = found
        check_document_size(f"{self.path}/{key}", info.file_size)
        return self._unpack(key, lambda: archive.read(info))

    def read_range(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes of a key's value from `start` on, fewer where it ends before, None if there is none."""
        found = self._find(key)
        if found is None:
            return None
        archive, info = found
        size = max(0, min(size, info.file_size - start))
        if info.compress_type == zipfile.ZIP_STORED and not info.flag_bits & 1:
            return self._unpack(key, lambda: os.pread(_descriptor(archive), size, self._offset(archive, info) + start))

        def unpack() -> bytes:
            with archive.open(info) as member:
                member.seek(start)
                return member.read(size)

        return self._unpack(key, unpack)

    def _offset(self, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> int:
        offset = self._offsets.get(info.filename)
        if offset is None:
            header = os.pread(_descriptor(archive), _HEADER_BYTES, info.header_offset)
            offset = info.header_offset + _HEADER_BYTES + sum(_LENGTHS.unpack(header))
            self._offsets[info.filename] = offset
        return offset

    def _unpack(self, key: str, read: Callable[[], bytes]) -> bytes:
        try:
            return read()
        except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise ChecksumError(f"{self.path}: member {key} is damaged or cannot be unpacked ({error})") from error
        except OSError as error:
            raise StoreError(f"cannot read {self.path}: {error.strerror or error}") from error

    def list_children(self, prefix: str) -> list[str]:
        """Return the names right below a prefix, sorted."""
        archive = self._open()
        with self._lock:
            if not self._children:
                self._children = _tree_of(archive.namelist())
        return sorted(self._children.get(prefix, ()))

    def list_folders(self, prefix: str) -> list[str]:
        """Return the names right below a prefix that have keys below them, sorted."""
        below = f"{prefix}/" if prefix else ""
        return [name for name in self.list_children(prefix) if below + name in self._children]

    def list_keys(self, prefix: str) -> list[str]:
        """Return every key below a prefix, relative to it, sorted."""
        below = f"{prefix}/" if prefix else ""
        names = self._open().namelist()
        return sorted({name.removeprefix(below) for name in names if name.startswith(below)})

    def is_file(self, key: str) -> bool:
        """Tell whether a key has a value."""
        return self._find(key) is not None

    def size_bytes(self, key: str) -> int | None:
        """Return the size of a key's value, None if there is none."""
        found = self._find(key)
        return None if found is None else found[1].file_size

    def stamp(self, key: str) -> tuple[int, ...] | None:
        """Return number, size and time of change of the archive that is open here, None if it has no such key."""
        found = self._find(key)
        if found is None:
            return None
        status = os.fstat(_descriptor(found[0]))
        return status.st_ino, status.st_size, status.st_mtime_ns

    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Refuse."""
        del value, is_durable
        self.refuse_writing(key)

    def open_sink(self, key: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Refuse."""
        self.refuse_writing(key)

    def delete(self, key: str) -> None:
        """Refuse."""
        self.refuse_writing(key)

    def delete_tree(self, prefix: str) -> None:
        """Refuse."""
        self.refuse_writing(prefix)

    def refuse_writing(self, key: str = "") -> NoReturn:
        """Raise."""
        raise ArgumentError(
            f"cannot write {key or 'a store'} into {self.path}: a zip is never changed in place; write to a folder, "
            "then make a new zip of it with: flowstore copy STORE DEST.zip"
        )


def _descriptor(archive: zipfile.ZipFile) -> int:
    assert archive.fp is not None
    return archive.fp.fileno()


def _tree_of(names: list[str]) -> dict[str, set[str]]:
    children: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        while name:
            parent, _, child = name.rpartition("/")
            if child:
                if child in children[parent]:
                    break
                children[parent].add(child)
            name = parent
    return dict(children)


class ZipTarget:
    """A zip in the making, to write each key once; see `writing_zip`."""

    folder = None
    is_near = True

    def __init__(self, path: str, archive: zipfile.ZipFile) -> None:
        self.path = path
        self._archive = archive

    @property
    def url(self) -> str:
        """The path that it will have."""
        return self.path

    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Set a key, once."""
        del is_durable
        # Of one time and one system, so that two copies of a store are the same bytes.
        info = zipfile.ZipInfo(key, _EPOCH)
        info.create_system = 3
        info.external_attr = 0o644 << 16
        self._archive.writestr(info, value)

    def write_new(self, key: str, value: bytes) -> bool:
        """Add a member; nobody else can."""
        self.write(key, value)
        return True

    def read(self, key: str) -> bytes | None:
        """Return the value of a key that was set, None if it was not."""
        return self._archive.read(key) if key in self._archive.NameToInfo else None

    def read_range(self, key: str, start: int, size: int) -> bytes | None:
        """Return a range of a value that was set, None if it was not."""
        if key not in self._archive.NameToInfo:
            return None
        with self._archive.open(key) as member:
            member.seek(start)
            return member.read(size)

    def size_bytes(self, key: str) -> int | None:
        """Return the size of a value that was set, None if it was not."""
        info = self._archive.NameToInfo.get(key)
        return None if info is None else info.file_size

    def delete(self, key: str) -> None:
        """Do nothing where nothing was set; what was set stays."""
        assert key not in self._archive.NameToInfo

    def delete_tree(self, prefix: str) -> None:
        """Do nothing: a zip in the making has nothing that is to be replaced."""


@contextlib.contextmanager
def writing_zip(path: str) -> Iterator[Any]:
    """Write a zip: it appears whole when the context ends without an error, and not at all otherwise."""
    path = os.path.abspath(path)
    with replacing(path, is_durable=True) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        yield ZipTarget(path, archive)
