"""Which storage a place has: a path, a URL, a zip, or a store of zarr-python."""

from __future__ import annotations

import os

import zarr
from zarr.abc.store import Store

from flowstore.arguments import check_path, existing_place
from flowstore.errors import ArgumentError
from flowstore.names import format_bytes
from flowstore.storage.keys import Storage
from flowstore.storage.local import LocalStorage
from flowstore.storage.objects import ObjectStorage
from flowstore.storage.zarr_stores import ZarrStorage
from flowstore.storage.zips import ZipStorage


def open_storage(place: str | os.PathLike[str] | Store | Storage, is_written: bool = False) -> Storage:
    """Return the storage at a place."""
    if isinstance(place, Storage):
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


def check_place(role: str, storage: Storage) -> None:
    """Refuse a place on a disk where there can be no folder."""
    if storage.folder is not None:
        try:
            os.stat(storage.folder)
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise ArgumentError(f"{role} {storage.url}: {error.strerror}; give another path") from error
        place = existing_place(storage.folder)
        if not os.path.isdir(place):
            what = "a file" if place == storage.folder else f"{place} is a file"
            raise ArgumentError(f"{role} {storage.url}: {what}; give the path of a folder to make")


def room_notes(storage: Storage, size_bytes: int) -> list[str]:
    """Return a note where a disk has less room than so many bytes take."""
    free = storage.room()
    if free is None or storage.folder is None or free >= size_bytes:
        return []
    place = existing_place(storage.folder)
    return [f"{format_bytes(size_bytes)} are needed and {format_bytes(free)} are free at {place}"]
