"""Reading and writing keys of a store, on a local disk or wherever zarr-python reaches.

Owns the file system below a store. Keys are relative paths with ``/``; a value is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import io
import itertools
import os
import shutil
from collections.abc import Iterator
from typing import IO, Any, Protocol

import numpy as np
import numpy.typing as npt
import zarr
from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from flowstore.archives import ZipStorage
from flowstore.arguments import check_path
from flowstore.errors import ChecksumError, FlowStoreError, StoreError, StoreFormatError
from flowstore.object_stores import ObjectStorage


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
        try:
            with open(self.path(key), "rb") as file:
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise StoreError(f"cannot read {self.path(key)}: {error.strerror}") from error

    def read_range(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes of a key's value from `start` on, fewer where it ends before, None if there is none."""
        try:
            file = os.open(self.path(key), os.O_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return os.pread(file, size, start)
        finally:
            os.close(file)

    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Set a key, whole or not at all."""
        with self._replaced(key, is_durable) as file:
            file.write(value)

    def open_sink(self, key: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Return a file that becomes the key's value, durably, when the context ends without an error."""
        return self._replaced(key, is_durable=True)

    @contextlib.contextmanager
    def _replaced(self, key: str, is_durable: bool) -> Iterator[IO[bytes]]:
        path = self.path(key)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        partial = f"{path}.{os.getpid()}.partial"
        try:
            with open(partial, "wb") as file:
                yield file
                if is_durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial)
            raise

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
            os.unlink(self.path(key))

    def delete_tree(self, prefix: str) -> None:
        """Remove every key below a prefix."""
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            shutil.rmtree(self.path(prefix))

    def size_bytes(self, key: str) -> int | None:
        """Return the size of a key's value, None if there is none."""
        try:
            return os.stat(self.path(key)).st_size
        except (FileNotFoundError, NotADirectoryError):
            return None

    def stamp(self, key: str) -> tuple[int, ...] | None:
        """Return number, size and time of change of a key's file, None if there is none."""
        try:
            status = os.stat(f"{self.root}/{key}")
        except (FileNotFoundError, NotADirectoryError):
            return None
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
        return None if value is None else value.to_bytes()

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


def memory_storage() -> ZarrStorage:
    """Return an empty storage in this process's memory."""
    return ZarrStorage(zarr.storage.MemoryStore())


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
        Whether keys will be set.

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
        return ZipStorage(path)
    return LocalStorage(path)


def _of_fsspec_store(store: zarr.storage.FsspecStore) -> Storage:
    options = {name: value for name, value in store.fs.storage_options.items() if name != "asynchronous"}
    try:
        return ObjectStorage(store.fs.unstrip_protocol(store.path), options)
    except TypeError:
        # Options that cannot be written down, such as a session: only this process can use them.
        return ZarrStorage(store)


def read_foreign_array(
    storage: Storage, path: str, shape: tuple[int, ...], dtype: np.dtype[Any], start: int, stop: int
) -> npt.NDArray[Any]:
    """Read part of an array through zarr-python, however it is laid out.

    Parameters
    ----------
    storage : Storage
        Of the store.
    path : str
        Of the array.
    shape : tuple of int
        That it must have.
    dtype : numpy dtype
        That it must have.
    start, stop : int
        Range along its first axis.

    Returns
    -------
    array (stop - start, *shape[1:])

    Raises
    ------
    ChecksumError
        If a chunk that the range needs is missing: Zarr would give the fill value.
    StoreFormatError
        If zarr-python cannot read it, or it is of another shape or type.

    Notes
    -----
    Chunks that are missing inside a shard read as the fill value, as in every reader of Zarr.
    """
    # What zarr-python and its codecs raise on bytes that they do not understand.
    try:
        array = zarr.open_array(storage.zarr_store(), path=path, mode="r")
        if array.shape != shape or array.dtype != dtype:
            raise StoreFormatError(
                f"flow of shape {array.shape} and type {array.dtype}, its record says {shape} and {dtype}"
            )
        file_shape = array.shards or array.chunks
        for chunk in itertools.product(
            range(start // file_shape[0], -(-stop // file_shape[0])),
            *(range(-(-side // step)) for side, step in zip(shape[1:], file_shape[1:], strict=True)),
        ):
            key = array.metadata.encode_chunk_key(chunk)
            if storage.size_bytes(f"{path}/{key}") is None:
                raise ChecksumError(f"chunk {key} is missing, which Zarr would read as zero motion")
        return np.asarray(array[start:stop])
    except (LookupError, ValueError, TypeError, RuntimeError, OSError) as error:
        if isinstance(error, FlowStoreError):
            raise
        raise StoreFormatError(f"zarr-python cannot read it ({error})") from error


def is_case_blind(path: str) -> bool:
    """Tell whether the file system at a path, which need not exist, takes names that differ in case for one."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    while path.swapcase() == path and path != os.path.dirname(path):
        path = os.path.dirname(path)
    swapped = path.swapcase()
    return swapped != path and os.path.exists(swapped) and os.path.samefile(path, swapped)
