"""The root of a store: what it says of itself, read and checked."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

from flowstore.errors import ArgumentError, StoreError, StoreFormatError, StoreNotFoundError
from flowstore.format import zarr_metadata
from flowstore.format.settings import ExtractSettings
from flowstore.format.zarr_metadata import FORMAT
from flowstore.limits import is_count, is_number, is_text_list, is_text_mapping
from flowstore.storage.keys import Storage
from flowstore.storage.local import LocalStorage

# A root's own document has some kB.
_HEAD_BYTES = 2**20


@dataclasses.dataclass(frozen=True)
class RootAttributes:
    """What a store's root says of all that is below.

    Parameters
    ----------
    format : int
        Of the store, from 1 on.
    settings : ExtractSettings
        What the flow was made with.
    versions : dict of str to str
        Of flowstore and the libraries that made the root.
    created : str
        When, ISO 8601 in UTC.
    sources : tuple of str
        What the flow was extracted or imported from: absolute paths, the latest last. None stand in a root of before
        they were stated.
    n_planned : int or None
        Videos that the runs which fill the store meant it to hold, failed ones among them; None where none said so.
    source_fps : float or None
        Frames per second of folders of frames, as the latest run said that did; None where none did.
    """

    format: int
    settings: ExtractSettings
    versions: dict[str, str]
    created: str
    # Two stores are of one make whatever was left to do in them.
    sources: tuple[str, ...] = dataclasses.field(default=(), compare=False)
    n_planned: int | None = dataclasses.field(default=None, compare=False)
    source_fps: float | None = dataclasses.field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Return the attributes as plain JSON values."""
        values: dict[str, Any] = {
            "format": self.format,
            "settings": self.settings.to_json(),
            "versions": self.versions,
            "created": self.created,
        }
        return values | self.plan_to_json()

    def plan_to_json(self) -> dict[str, Any]:
        """Return those of the attributes that a run brings up to date."""
        values: dict[str, Any] = {"sources": list(self.sources)} if self.sources else {}
        stated = {"n_planned": self.n_planned, "source_fps": self.source_fps}
        return values | {name: value for name, value in stated.items() if value is not None}


def read_root(storage: Storage) -> RootAttributes:
    """Read and check the root of a store."""
    document = _read_document(storage)
    if document is None:
        # All that a run leaves that was killed before it wrote the root.
        if any(not name.endswith(".partial") for name in storage.list_children("")):
            raise StoreFormatError(f"{storage.url}: a folder that is not a flowstore store (it has no zarr.json)")
        raise StoreNotFoundError(f"{storage.url}: no store here; check the path, or make one with: flowstore extract")
    where = f"{storage.url}/zarr.json"
    found = zarr_metadata.stated_attributes(document, where).get("format")
    if found is None and (root := enclosing_store(storage)) is not None:
        raise StoreFormatError(f"{storage.url}: a part of the store {root}; give the path of the store")
    if type(found) is not int or found < 1:
        raise StoreFormatError(f"{where}: the root of a store must state its format, found {found!r}")
    if found > FORMAT:
        raise StoreFormatError(
            f"{storage.url}: a store of format {found}, this flowstore reads up to {FORMAT}: pip install -U flowstore"
        )
    attributes = zarr_metadata.group_attributes(document, where)
    try:
        settings = ExtractSettings.from_json(attributes["settings"])
        if not is_text_mapping(attributes["versions"]):
            raise StoreFormatError(f"{where}: versions that are no texts")
        sources, n_planned = attributes.get("sources", []), attributes.get("n_planned")
        if not is_text_list(sources) or not (n_planned is None or is_count(n_planned)):
            raise StoreFormatError(f"{where}: sources that are no texts, or a plan that is no number of videos")
        source_fps = attributes.get("source_fps")
        if source_fps is not None and not (is_number(source_fps) and source_fps > 0):
            raise StoreFormatError(f"{where}: a frame rate of folders that is no number above 0")
        created = str(attributes["created"])
        return RootAttributes(found, settings, attributes["versions"], created, tuple(sources), n_planned, source_fps)
    except (KeyError, TypeError, ValueError) as error:
        raise StoreFormatError(f"{where}: damaged settings ({error})") from error


def _read_document(storage: Storage) -> dict[str, Any] | None:
    where = f"{storage.url}/zarr.json"
    try:
        data = storage.read("zarr.json")
    except StoreFormatError:
        head = storage.read_range("zarr.json", 0, _HEAD_BYTES) or b""
        document = zarr_metadata.parse_before_consolidated(head, where)
        if document is None:
            raise
        return document
    return None if data is None else zarr_metadata.parse_document(data, where)


def is_consolidated(storage: Storage, key: str = "zarr.json") -> bool:
    """Tell whether a group holds a copy of the metadata below, which every change leaves behind."""
    try:
        data = storage.read(key)
    except StoreFormatError:
        return True
    return data is not None and zarr_metadata.parse_document(data, key).get(zarr_metadata.CONSOLIDATED) is not None


def drop_consolidated(storage: Storage) -> None:
    """Take the copy of all metadata out of a root: before a change, or other readers would see the store as it was."""
    if is_consolidated(storage):
        document = _read_document(storage) or {}
        document.pop(zarr_metadata.CONSOLIDATED, None)
        storage.write("zarr.json", zarr_metadata.to_bytes(document), is_durable=True)


def state_plan(storage: Storage, root: RootAttributes) -> None:
    """Bring the sources and the number of planned videos of a root up to date; what else stands there stays."""
    document = _read_document(storage) or {}
    where = f"{storage.url}/zarr.json"
    stated = zarr_metadata.stated_attributes(document, where)
    own = zarr_metadata.group_attributes(document, where)
    changed = own | root.plan_to_json()
    if changed != own:
        # A store of before there were digests may be one that others have changed.
        digest = {zarr_metadata.DIGEST: zarr_metadata.json_digest(changed)} if zarr_metadata.DIGEST in stated else {}
        document["attributes"] |= {zarr_metadata.ATTRIBUTE: changed | digest}
        storage.write("zarr.json", zarr_metadata.to_bytes(document), is_durable=True)


def enclosing_store(storage: Storage) -> str | None:
    """Return the path of the store that a folder lies inside of, None where there is none."""
    path = storage.folder
    while path is not None and (parent := os.path.dirname(path)) != path:
        path = parent
        # By the storage, which waits for no pipe.
        with contextlib.suppress(StoreError):
            head = LocalStorage(path).read_range("zarr.json", 0, _HEAD_BYTES) or b""
            document = zarr_metadata.parse_before_consolidated(head, path) or zarr_metadata.parse_document(head, path)
            if zarr_metadata.stated_attributes(document, path).get("format") is not None:
                return path
    return None


def check_outside_stores(role: str, storage: Storage) -> None:
    """Refuse a place inside a store for another one."""
    if (root := enclosing_store(storage)) is not None:
        raise ArgumentError(f"{role} {storage.url}: inside the store {root}; give a path outside it")
