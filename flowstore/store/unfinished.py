"""What killed runs leave in a store on a local disk: files in the making, and folders of videos without a commit.

Nothing here looks at what a file holds. What no run of flowstore would have left is somebody's, and stays.
"""

from __future__ import annotations

import re

from flowstore.storage.keys import Storage
from flowstore.store.tree import class_paths

_PARTIAL = re.compile(r".+\.[0-9]+\.partial\Z")
_OF_A_VIDEO = re.compile(r"(flow/)?(zarr\.json|c\.[0-9]+\.0\.0\.0)(\.[0-9]+\.partial)?\Z")


def is_partial(name: str) -> bool:
    """Tell whether a file's name is that of one in the making."""
    return _PARTIAL.match(name.rpartition("/")[2]) is not None


def is_unfinished_video(storage: Storage, path: str) -> bool:
    """Tell whether a folder is what a run left that was killed before it committed the video, and nothing else."""
    if storage.size_bytes(f"{path}/zarr.json") or storage.is_file(path):
        return False
    keys = storage.list_keys(path)
    return all(key == "flow/" or _OF_A_VIDEO.match(key) for key in keys)


def remove_leftovers(storage: Storage) -> None:
    """Remove what killed runs left. Only for who may change the store alone: see `flowstore.storage.locks`."""
    if storage.folder is None:
        # There is nothing in the making elsewhere, and looking for folders without a commit takes a request each.
        return
    _remove_partial(storage, "")
    for class_path in class_paths(storage):
        _remove_partial(storage, f"{class_path}/")
        for name in storage.list_folders(class_path):
            path = f"{class_path}/{name}"
            if not storage.size_bytes(f"{path}/zarr.json") and is_unfinished_video(storage, path):
                storage.delete_tree(path)
        if not storage.list_children(class_path):
            storage.delete_tree(class_path)


def _remove_partial(storage: Storage, prefix: str) -> None:
    for name in storage.list_children(prefix):
        if is_partial(name):
            storage.delete(prefix + name)
