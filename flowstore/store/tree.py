"""The videos of a store as its tree tells them: their paths, and their records."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

from flowstore.errors import ArgumentError, ChecksumError, FlowStoreWarning, StoreError, StoreFormatError
from flowstore.format import zarr_metadata
from flowstore.format.record import VideoRecord
from flowstore.names import display_name, printable_name, video_path
from flowstore.storage.keys import Storage

INDEX = "index"

# Told the path of a video and why its record cannot be read.
OnDamaged = Callable[[str, StoreError], None]


def video_paths(storage: Storage) -> list[str]:
    """Return the path of every folder that may be a video, committed or not: ``class/video``, escaped, sorted."""
    return [f"{path}/{child}" for path in class_paths(storage) for child in storage.list_folders(path)]


def class_paths(storage: Storage) -> list[str]:
    """Return the path of every folder that may be a class, escaped, sorted."""
    return [name for name in storage.list_folders("") if name != INDEX]


def read_record(storage: Storage, path: str) -> VideoRecord | None:
    """Read the record of a video."""
    key = f"{path}/zarr.json"
    data = storage.read(key)
    # A power cut can leave a commit with no bytes; it says nothing, so it commits nothing.
    if not data:
        return None
    record, own_path = parse_record(data, key)
    if own_path != path:
        raise StoreFormatError(f"{key}: the record of another video, {display_name(record.key)}")
    return record


def parse_record(data: bytes, key: str) -> tuple[VideoRecord, str]:
    """Return the record that a video's ``zarr.json`` holds, and the path at which its video belongs."""
    try:
        record = VideoRecord.from_json(zarr_metadata.group_attributes(zarr_metadata.parse_document(data, key), key))
        record.check_stated()
        return record, video_path(record.class_name, record.name)
    except ArgumentError as error:
        raise StoreFormatError(f"{key}: {error}") from error


def read_records(storage: Storage, on_damaged: OnDamaged | None = None) -> Iterator[VideoRecord]:
    """Yield the record of every committed video of the tree, in the order of paths."""

    def read(path: str) -> VideoRecord | StoreError | None:
        try:
            return read_record(storage, path)
        except (ChecksumError, StoreFormatError) as error:
            return error

    tell = on_damaged or warn_of_damage
    paths = video_paths(storage)
    for path, record in zip(paths, storage.map(read, paths), strict=True):
        if isinstance(record, StoreError):
            tell(path, record)
        elif record is not None:
            yield record


def warn_of_damage(path: str, error: StoreError) -> None:
    """Warn that a video is left out."""
    warnings.warn(f"{printable_name(path)} is left out: {error}", FlowStoreWarning, stacklevel=3)
