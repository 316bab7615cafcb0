"""Checking what a store has beside its videos: the root, the classes, the index. Writes nothing."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from flowstore.errors import ChecksumError, StoreError, StoreFormatError
from flowstore.format import zarr_metadata
from flowstore.format.record import VideoRecord
from flowstore.format.root import RootAttributes, is_consolidated, read_root
from flowstore.names import count_text, escape_name
from flowstore.storage.keys import Storage
from flowstore.store.index import StoredColumns, open_columns
from flowstore.store.tree import INDEX
from flowstore.store.unfinished import is_partial
from flowstore.store.video_index import FLOW_MEANS, VideoIndex
from flowstore.verify.faults import Fault, FaultKind, Remedy

_ROOT_KEYS = {"format", "settings", "versions", "created", "sources", "n_planned", "source_fps"}
_INDEX_KEYS = {"n_videos", "n_flows", "digests"}
_OF_THE_INDEX = re.compile(r"zarr\.json|(?P<column>[^/]+)/(zarr\.json|c|c/|c/[0-9]+)")


def check_root(storage: Storage) -> tuple[RootAttributes | None, list[Fault]]:
    """Check the root's document and the files beside it."""
    faults = [*_stray_files(storage, "", storage.list_folders(""))]
    try:
        root = read_root(storage)
        if is_consolidated(storage):
            faults.append(_consolidated("zarr.json"))
        else:
            faults += _check_keys(storage, "zarr.json", _ROOT_KEYS)
    except (ChecksumError, StoreFormatError) as error:
        return None, [*faults, Fault("damaged", "zarr.json", str(error).removeprefix(f"{storage.url}/zarr.json: "))]
    return root, faults


def _consolidated(key: str) -> Fault:
    text = "it has consolidated metadata: a copy of all metadata below, which other readers take for the store"
    return Fault("foreign", key, text, remedy="rewrite")


def _check_keys(storage: Storage, key: str, expected: Collection[str]) -> Iterator[Fault]:
    """Find a key whose name was damaged; where it was that of the digest, nothing else would show it."""
    document = zarr_metadata.parse_document(storage.read(key) or b"", key)
    unknown = zarr_metadata.stated_attributes(document, key).keys() - {*expected, zarr_metadata.DIGEST}
    if unknown:
        remedy: Remedy = "index" if key.startswith(f"{INDEX}/") else "rewrite" if "/" in key else ""
        text = f"it has attributes of no meaning: {', '.join(sorted(unknown))}"
        yield Fault("damaged", key, text, remedy=remedy)


def _stray_files(storage: Storage, prefix: str, folders: Collection[str]) -> Iterator[Fault]:
    for name in storage.list_children(prefix.rstrip("/")):
        if name == "zarr.json" or name in folders:
            continue
        if is_partial(name):
            text = "a file in the making that a killed run left"
            yield Fault("leftover", prefix + name, text, remedy="remove")
        else:
            yield Fault("foreign", prefix + name, "no file of flowstore's")


def check_class(storage: Storage, path: str, has_videos: bool) -> Iterator[Fault]:
    """Find what is wrong with a class, apart from its videos."""
    key = f"{path}/zarr.json"
    yield from _stray_files(storage, f"{path}/", storage.list_folders(path))
    data = storage.read(key)
    if data is None:
        if has_videos:
            yield Fault("missing", key, "the class has no document", remedy="rewrite")
        elif storage.is_file(path):
            yield Fault("foreign", path, "no file of flowstore's")
        elif not storage.list_children(path):
            yield Fault("leftover", path, "an empty folder that a killed run left", remedy="remove")
        return
    try:
        name = zarr_metadata.group_attributes(zarr_metadata.parse_document(data, key), key).get("class_name")
        if not isinstance(name, str) or not name or escape_name(name) != path:
            yield Fault("swapped", key, f"the document of another class, {name!r}", remedy="rewrite")
        yield from _check_keys(storage, key, {"class_name"})
        if is_consolidated(storage, key):
            yield _consolidated(key)
    except (ChecksumError, StoreFormatError) as error:
        yield Fault("damaged", key, str(error).removeprefix(f"{key}: "), remedy="rewrite")


def check_index(storage: Storage, records: Sequence[VideoRecord], unreadable: Collection[str]) -> Iterator[Fault]:
    """Compare the index, where there is one, with the videos' own records."""
    for key in storage.list_keys(INDEX):
        match = _OF_THE_INDEX.fullmatch(key)
        column = match["column"] if match else None
        if match is None or (column is not None and column not in {*VideoIndex.from_records([]).columns, FLOW_MEANS}):
            kind: FaultKind = "leftover" if is_partial(key) else "foreign"
            yield Fault(kind, f"{INDEX}/{key}", "no file of the index", remedy="index")
    try:
        columns = open_columns(storage)
        if columns is None:
            if storage.list_children(INDEX):
                yield Fault("leftover", INDEX, "an index that was never finished", remedy="index")
            return
        yield from _check_keys(storage, f"{INDEX}/zarr.json", _INDEX_KEYS)
        yield from _compare(columns, VideoIndex.from_records(records), unreadable)
    except StoreError as error:
        yield Fault("damaged", INDEX, str(error), remedy="index")


def _compare(columns: StoredColumns, tree: VideoIndex, unreadable: Collection[str]) -> Iterator[Fault]:
    stored = {}
    for name in (*tree.columns, FLOW_MEANS):
        try:
            stored[name] = columns.read(name)
        except StoreError as error:
            yield Fault("damaged", f"{INDEX}/{name}", str(error), remedy="index")
    if not {"class", "video", "path"} <= stored.keys():
        return
    index = VideoIndex({name: stored[name] for name in ("class", "video", "path")}, columns.n_videos)
    paths, tree_paths = stored["path"].tolist(), tree.column("path").tolist()
    there, indexed = set(tree_paths), set(paths)
    for row, path in enumerate(paths):
        if path not in there and path not in unreadable:
            text = "in the index, and not in the store"
            yield Fault("missing", path, text, index.class_name(row), index.name(row), remedy="extract")
    absent = [path for path in tree_paths if path not in indexed]
    if absent:
        listed = ", ".join(absent[:3]) + (", ..." if len(absent) > 3 else "")
        yield Fault("index", INDEX, f"{count_text(len(absent), 'video')} missing in it: {listed}", remedy="index")
    masks = (
        np.array([path in there for path in paths], bool),
        np.array([path in indexed for path in tree_paths], bool),
    )
    for name, found in stored.items():
        if name != FLOW_MEANS:
            expected = tree.column(name)[masks[1]]
            found = found[masks[0]]
        elif "n_flows" in stored:
            expected = tree.flow_means[np.repeat(masks[1], tree.column("n_flows"))]
            found = found[np.repeat(masks[0], stored["n_flows"])]
        else:
            continue
        if not _are_equal(found, expected):
            yield Fault("index", f"{INDEX}/{name}", "a column that is not that of the videos' records", remedy="index")


def _are_equal(found: npt.NDArray[np.generic], expected: npt.NDArray[np.generic]) -> bool:
    return np.array_equal(found, expected, equal_nan=found.dtype.kind == "f")
