"""Reading and writing keys of a store, on a local disk or wherever zarr-python reaches.

Owns the file system below a store. Keys are relative paths with ``/``; a value is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Protocol, TypeVar

import zarr
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from flowstore.arguments import check_path
from flowstore.errors import ArgumentError, FlowStoreError, StoreError
from flowstore.limits import check_document_size
from flowstore.names import format_bytes
from flowstore.storage.atomic import replacing
from flowstore.storage.objects import ObjectStorage
from flowstore.storage.zips import ZipStorage

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_N_WAITING = 32
# Not on Windows.
_DO_NOT_WAIT = getattr(os, "O_NONBLOCK", 0)


class Storage(Protocol):
    """Where a store's keys are. Picklable; holds no open file."""

    @property
    def url(self) -> str:
        """Where it is, for messages."""
        ...

    def read(self, key: str) -> bytes | None:
        """Return the value of a key, None if there is none."""
        ...

    def read_range(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes of a key's value from `start` on, fewer where it ends before, None if there is none."""
        ...

    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Set a key, whole or not at all; durable: it outlasts a power cut once this returns."""
        ...

    def open_sink(self, key: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Return a file to write a key's value to; the key is set, durably, when the context ends without an error."""
        ...

    def list_children(self, prefix: str) -> list[str]:
        """Return the names right below a prefix (``""`` for the root), sorted."""
        ...

    def list_folders(self, prefix: str) -> list[str]:
        """Return the names right below a prefix that can have keys below them, sorted."""
        ...

    def list_keys(self, prefix: str) -> list[str]:
        """Return every key below a prefix, relative to it, sorted; a folder with no file in it ends in ``/``."""
        ...

    def is_file(self, key: str) -> bool:
        """Tell whether a key has a value."""
        ...

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens if there is none."""
        ...

    def delete_tree(self, prefix: str) -> None:
        """Remove every key below a prefix."""
        ...

    def size_bytes(self, key: str) -> int | None:
        """Return the size of a key's value, None if there is none."""
        ...

    def stamp(self, key: str) -> tuple[int, ...] | None:
        """Return what changes whenever a key is set anew, None if there is none."""
        ...

    def zarr_store(self) -> Store:
        """Return the same place as a store of zarr-python."""
        ...


class LocalStorage:
    """A folder.

    Parameters
    ----------
    root : str
        Path of the store's folder; need not exist.
    """

    def __init__(self, root: str) -> None:
        self.root = os.path.abspath(root)

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
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        try:
            status = os.fstat(file)
            if not stat.S_ISREG(status.st_mode):
                what = os.strerror(errno.EISDIR) if stat.S_ISDIR(status.st_mode) else "not a file"
                raise StoreError(f"cannot read {path}: {what}")
            if size is None:
                check_document_size(path, status.st_size)
            rest = max(0, status.st_size - start)
            return os.pread(file, rest if size is None else min(size, rest), start)
        except OSError as error:
            if isinstance(error, FlowStoreError):
                raise
            raise StoreError(f"cannot read {path}: {error.strerror}") from error
        finally:
            os.close(file)

    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Set a key, whole or not at all."""
        with replacing(self._own_path(key), is_durable) as file:
            file.write(value)

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
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise StoreError(f"cannot list {self.path(prefix)}: {error.strerror}") from error

    def list_folders(self, prefix: str) -> list[str]:
        """Return the names of the folders right below a prefix, sorted."""
        try:
            with os.scandir(self.path(prefix)) as entries:
                return sorted(entry.name for entry in entries if entry.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
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
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.unlink(self._own_path(key))

    def delete_tree(self, prefix: str) -> None:
        """Remove every key below a prefix."""
        path = self._own_path(prefix)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if os.path.islink(path):
                os.unlink(path)
            else:
                shutil.rmtree(path)

    def size_bytes(self, key: str) -> int | None:
        """Return the size of a key's value, None if there is none."""
        try:
            return os.stat(self.path(key)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.path(key)}: {error.strerror}") from error

    def stamp(self, key: str) -> tuple[int, ...] | None:
        """Return number, size and time of change of a key's file, None if there is none."""
        try:
            status = os.stat(f"{self.root}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.path(key)}: {error.strerror}") from error
        return status.st_ino, status.st_size, status.st_mtime_ns

    def zarr_store(self) -> Store:
        """Return the same folder as a store of zarr-python."""
        return zarr.storage.LocalStore(self.root)


class ZarrStorage:
    """Any store of zarr-python, such as one in memory.

    Parameters
    ----------
    store : zarr.abc.store.Store
        Opened where it is not yet.
    """

    def __init__(self, store: Store) -> None:
        sync(store._ensure_open())
        self._store = store

    @property
    def url(self) -> str:
        """The store's own name for itself."""
        return str(self._store)

    def read(self, key: str) -> bytes | None:
        """Return the value of a key, None if there is none."""
        value = sync(self._store.get(key, default_buffer_prototype()))
        if value is None:
            return None
        check_document_size(f"{self.url}/{key}", len(value))
        return value.to_bytes()

    def read_range(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes of a key's value from `start` on, fewer where it ends before, None if there is none."""
        value = sync(self._store.get(key, default_buffer_prototype(), RangeByteRequest(start, start + size)))
        return None if value is None else value.to_bytes()

    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Set a key, whole or not at all as the store promises it."""
        del is_durable
        sync(self._store.set(key, default_buffer_prototype().buffer.from_bytes(value)))

    @contextlib.contextmanager
    def open_sink(self, key: str) -> Iterator[IO[bytes]]:
        """Return a file in memory that becomes the key's value when the context ends without an error."""
        sink = io.BytesIO()
        yield sink
        self.write(key, sink.getvalue())

    def list_children(self, prefix: str) -> list[str]:
        """Return the names right below a prefix, sorted."""

        async def gather() -> list[str]:
            return [name async for name in self._store.list_dir(prefix)]

        return sorted({name.rstrip("/") for name in sync(gather())})

    def list_folders(self, prefix: str) -> list[str]:
        """Return the names right below a prefix, but for that of a node's metadata, sorted."""
        return [name for name in self.list_children(prefix) if name != "zarr.json"]

    def list_keys(self, prefix: str) -> list[str]:
        """Return every key below a prefix, relative to it, sorted."""
        top = f"{prefix}/" if prefix else ""

        async def gather() -> list[str]:
            return [key async for key in self._store.list_prefix(top)]

        return sorted(key.removeprefix(top) for key in sync(gather()))

    def is_file(self, key: str) -> bool:
        """Tell whether a key has a value."""
        return self.size_bytes(key) is not None

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens if there is none."""
        sync(self._store.delete(key))

    def delete_tree(self, prefix: str) -> None:
        """Remove every key below a prefix."""
        sync(self._store.delete_dir(prefix))

    def size_bytes(self, key: str) -> int | None:
        """Return the size of a key's value, None if there is none."""
        try:
            return sync(self._store.getsize(key))
        except FileNotFoundError:
            return None

    def stamp(self, key: str) -> tuple[int, ...] | None:
        """Return the same for every key: what is far away is taken not to change while it is open."""
        del key
        return ()

    def zarr_store(self) -> Store:
        """Return the store itself."""
        return self._store


def write_error(url: str, error: OSError) -> StoreError:
    """Return what to raise where a store's place refuses to be written."""
    hint = ": free some room and run again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    return StoreError(f"cannot write to {url}: {error.strerror or error}{hint}")


def open_storage(place: str | os.PathLike[str] | Store | Storage, is_written: bool = False) -> Storage:
    """Return the storage at a place.

    Parameters
    ----------
    place : path, URL, zarr store or Storage
        A URL has ``://``; a path that ends in ``.zip`` and is a file is a zip.
    is_written : bool
        Whether keys will be set; a zip is refused then.

    Raises
    ------
    StoreError
        If what is there cannot be opened.
    MissingExtraError
        If a URL needs a package that is not installed.
    """
    if isinstance(place, LocalStorage | ZarrStorage | ZipStorage | ObjectStorage):
        return place
    if isinstance(place, zarr.storage.LocalStore):
        return LocalStorage(str(place.root))
    if isinstance(place, zarr.storage.FsspecStore):
        return _of_fsspec_store(place)
    if isinstance(place, Store):
        return ZarrStorage(place)
    path = check_path("STORE", place)
    path = path.removeprefix("file://")
    if "://" in path:
        return ObjectStorage(path)
    if path.endswith(".zip") and os.path.isfile(path):
        archive = ZipStorage(path)
        if is_written:
            archive.refuse_writing()
        return archive
    return LocalStorage(path)


def _of_fsspec_store(store: zarr.storage.FsspecStore) -> Storage:
    options = {name: value for name, value in store.fs.storage_options.items() if name != "asynchronous"}
    try:
        return ObjectStorage(store.fs.unstrip_protocol(store.path), options)
    except TypeError:
        # Options that cannot be written down, such as a session: only this process can use them.
        return ZarrStorage(store)


def map_waiting(storage: Storage, function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
    """Call a function that asks a storage on each item, in order: many at a time where each goes over a network.

    Parameters
    ----------
    storage : Storage
        That it asks.
    function : callable
        Of one item.
    items : sequence
        For the function.

    Yields
    ------
    object
        What the function returns.
    """
    if isinstance(storage, LocalStorage | ZipStorage):
        yield from map(function, items)
        return
    with ThreadPoolExecutor(_N_WAITING) as pool:
        yield from pool.map(function, items)


def is_case_blind(path: str) -> bool:
    """Tell whether the file system at a path, which need not exist, takes names that differ in case for one."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    while path.swapcase() == path and path != os.path.dirname(path):
        path = os.path.dirname(path)
    swapped = path.swapcase()
    return swapped != path and os.path.exists(swapped) and os.path.samefile(path, swapped)


def check_place(role: str, storage: Storage) -> None:
    """Refuse a place on a disk where there can be no folder.

    Raises
    ------
    ArgumentError
        If the place is a file, or lies below one.
    """
    if isinstance(storage, LocalStorage):
        place = _existing_place(storage.root)
        if not os.path.isdir(place):
            what = "a file" if place == storage.root else f"{place} is a file"
            raise ArgumentError(f"{role} {storage.url}: {what}; give the path of a folder to make")


def room_notes(storage: Storage, size_bytes: int) -> list[str]:
    """Return a note where a disk has less room than so many bytes take."""
    if not isinstance(storage, LocalStorage):
        return []
    path = _existing_place(storage.root)
    free = shutil.disk_usage(path).free
    if free >= size_bytes:
        return []
    return [f"{format_bytes(size_bytes)} are needed and {format_bytes(free)} are free at {path}"]


def _existing_place(path: str) -> str:
    while not os.path.exists(path):
        path = os.path.dirname(path)
    return path
