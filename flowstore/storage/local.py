"""A store in a folder of this machine's disk."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
from typing import IO

from flowstore.arguments import existing_place
from flowstore.errors import StoreError, translated
from flowstore.limits import check_document_size
from flowstore.storage.atomic import replacing, write_new
from flowstore.storage.keys import Storage
from flowstore.storage.locks import SHARE_ADVICE, writers_lock

# Not on Windows.
_DO_NOT_WAIT = getattr(os, "O_NONBLOCK", 0)
# Besides what is not there, what no file system of its kind could hold.
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ)


class LocalStorage(Storage):
    """A folder."""

    def __init__(self, root: str) -> None:
        self.root = self.folder = os.path.abspath(root)

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return self.root

    def path(self, key: str) -> str:
        """Return the path of a key's file."""
        return os.path.join(self.root, key) if key else self.root

    def read(self, key: str) -> bytes | None:
        """Return the value of a key, None if there is none."""
        return self._read(key, 0, None)

    def read_range(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes of a key's value from `start` on, fewer where it ends before, None if there is none."""
        return self._read(key, start, size)

    def _read(self, key: str, start: int, size: int | None) -> bytes | None:
        path = self.path(key)
        try:
            # A pipe would wait for who writes to it, and a device has no end.
            file = os.open(path, os.O_RDONLY | _DO_NOT_WAIT)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        try:
            with translated(lambda error: StoreError(f"cannot read {path}: {error.strerror}")):
                status = os.fstat(file)
                if not stat.S_ISREG(status.st_mode):
                    what = os.strerror(errno.EISDIR) if stat.S_ISDIR(status.st_mode) else "not a file"
                    raise StoreError(f"cannot read {path}: {what}")
                if size is None:
                    check_document_size(path, status.st_size)
                rest = max(0, status.st_size - start)
                return os.pread(file, rest if size is None else min(size, rest), start)
        finally:
            os.close(file)

    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Set a key, whole or not at all."""
        with replacing(self._own_path(key), is_durable) as file:
            file.write(value)

    def write_new(self, key: str, value: bytes) -> bool:
        """Set a key that nobody has set, durably; return whether this caller did. The file system decides."""
        return write_new(self._own_path(key), value)

    def open_sink(self, key: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Return a file that becomes the key's value, durably, when the context ends without an error."""
        return replacing(self._own_path(key), is_durable=True)

    def _own_path(self, key: str) -> str:
        """Return the path of a key that is to be changed, which no link may lead out of the store."""
        folders = key.split("/")[:-1]
        if ".." in folders or os.path.isabs(key):
            raise StoreError(f"{self.root}: {key!r} leads out of the store")
        for depth in range(1, len(folders) + 1):
            folder = os.path.join(self.root, *folders[:depth])
            if os.path.islink(folder):
                raise StoreError(
                    f"{folder} is a symbolic link, and nothing is written through a link inside a store: put the "
                    "folder itself there"
                )
        return self.path(key)

    def list_children(self, prefix: str) -> list[str]:
        """Return the names right below a prefix, sorted."""
        try:
            return sorted(os.listdir(self.path(prefix)))
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise StoreError(f"cannot list {self.path(prefix)}: {error.strerror}") from error

    def list_folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right below a prefix, sorted."""
        try:
            with os.scandir(self.path(prefix)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except OSError as error:
            if error.errno in _ABSENT:
                return []
            raise StoreError(f"cannot list {self.path(prefix)}: {error.strerror}") from error

    def list_keys(self, prefix: str) -> list[str]:
        """Return every file below a prefix, relative to it, sorted; a folder with nothing in it ends in ``/``."""
        top, keys = self.path(prefix), []
        for folder, folders, files in os.walk(top):
            here = "" if folder == top else os.path.relpath(folder, top) + "/"
            keys += [here + name for name in files]
            if here and not folders and not files:
                keys.append(here)
        return sorted(keys)

    def is_file(self, key: str) -> bool:
        """Tell whether a key has a value, and is no folder."""
        return os.path.isfile(self.path(key))

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens if there is none."""
        try:
            os.unlink(self._own_path(key))
        except OSError as error:
            if error.errno not in _ABSENT:
                raise

    def delete_tree(self, prefix: str) -> None:
        """Remove every key below a prefix."""
        path = self._own_path(prefix)
        try:
            if os.path.islink(path):
                os.unlink(path)
            else:
                shutil.rmtree(path)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise

    def size_bytes(self, key: str) -> int | None:
        """Return the size of a key's value, None if there is none."""
        try:
            return os.stat(self.path(key)).st_size
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise StoreError(f"cannot read {self.path(key)}: {error.strerror}") from error

    def stamp(self, key: str) -> tuple[int, ...] | None:
        """Return number, size and time of change of a key's file, None if there is none."""
        try:
            status = os.stat(f"{self.root}/{key}")
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise StoreError(f"cannot read {self.path(key)}: {error.strerror}") from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def refusal(self, path: str) -> str:
        """Return why there can be no folder of a name, empty where there can be: one is made and removed."""
        place = self._own_path(path)
        try:
            os.mkdir(place)
            os.rmdir(place)
        except OSError as error:
            # What stands above it was made before.
            return error.strerror or str(error) if error.errno in _ABSENT else ""
        return ""

    def lock(self, is_shared: bool = False, advice: str = SHARE_ADVICE) -> contextlib.AbstractContextManager[bool]:
        """Hold the right to change the store; see `flowstore.storage.locks.writers_lock`."""
        return writers_lock(self.root, is_shared, advice)

    def room(self) -> int | None:
        """Return the free bytes of the disk that holds the folder, or that would; None where no disk does."""
        usage = shutil.disk_usage(existing_place(self.root))
        return usage.free if usage.total else None


def is_case_blind(path: str) -> bool:
    """Tell whether the file system at a path, which need not exist, takes names that differ in case for one."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    while path.swapcase() == path and path != os.path.dirname(path):
        path = os.path.dirname(path)
    swapped = path.swapcase()
    return swapped != path and os.path.exists(swapped) and os.path.samefile(path, swapped)
