"""Where an export may write: nowhere but below its target, never into a store, and no two videos into one file."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable

from flowstore.arguments import existing_place
from flowstore.errors import ArgumentError
from flowstore.export.task import ExportTask
from flowstore.layouts.file_kind import MAX_PIXELS
from flowstore.layouts.layout import LISTS_FOLDER, MANIFEST
from flowstore.names import fold_name
from flowstore.storage.local import is_case_blind
from flowstore.store.open import FlowStore


def check_dest(target: str, store: FlowStore) -> None:
    """Refuse a target that is a file, a store, or inside one, that which is exported or another."""
    if os.path.exists(target) and not os.path.isdir(target):
        raise ArgumentError(f"DEST {target}: a file; give the path of a folder")
    nearest = existing_place(target)
    if not os.path.isdir(nearest):
        raise ArgumentError(f"DEST {target}: {nearest} is a file; give the path of a folder")
    if os.path.isfile(os.path.join(target, "zarr.json")):
        raise ArgumentError(f"DEST {target}: a Zarr store; give another folder")
    if _is_inside_store(target, store):
        raise ArgumentError(f"DEST {target}: inside the store; give a folder outside it")
    folder = os.path.realpath(target)
    while folder != os.path.dirname(folder):
        folder = os.path.dirname(folder)
        if os.path.isfile(os.path.join(folder, "zarr.json")):
            raise ArgumentError(f"DEST {target}: inside the Zarr store {folder}; give a folder outside it")


def check_outside_store(tasks: Iterable[ExportTask], target: str, store: FlowStore) -> None:
    """Refuse an export that would write into the store, though the target is outside: a class may have its name."""
    for task in tasks:
        for pattern in task.patterns():
            if _is_inside_store(os.path.dirname(pattern.path(0)), store):
                raise ArgumentError(
                    f"DEST {target}: {task.video.key} would go into the store {store.url}; give another folder"
                )


def _is_inside_store(path: str, store: FlowStore) -> bool:
    if store.storage.folder is None:
        return False
    root = os.path.realpath(store.storage.folder)
    return os.path.commonpath([os.path.realpath(path), root]) == root


def check_paths(tasks: Iterable[ExportTask], target: str, has_lists: bool = False) -> None:
    """Refuse an export in which two videos would get one file, or a name would leave the target."""
    own = {MANIFEST, *([LISTS_FOLDER] if has_lists else [])}
    fold = fold_name if is_case_blind(target) else str
    by_path: defaultdict[str, list[ExportTask]] = defaultdict(list)
    for task in tasks:
        video = task.video
        for path in task.layout.paths(video.class_name, video.name, 0, video.settings.step):
            if fold(path.partition("/")[0]) in own:
                raise ArgumentError(f"{video.key} would go to {path}, where the export keeps its own files")
            by_path[path].append(task)
    for sharing in by_path.values():
        if len(sharing) > 1:
            first, second = sharing[:2]
            what = "folder" if first.layout.has_own_folders else "file"
            flat = "" if first.layout.has_class_folder else ": it has no class folders"
            raise ArgumentError(
                f"layout {first.layout.name} would put {first.video.key} and {second.video.key} into one {what}{flat}"
            )
    folded: defaultdict[str, list[str]] = defaultdict(list)
    for path, sharing in by_path.items():
        folded[fold_name(path)].append(sharing[0].video.key)
    close = [keys for keys in folded.values() if len(keys) > 1]
    if close and is_case_blind(target):
        raise ArgumentError(f"names that this file system does not keep apart: {' and '.join(close[0])}")


def check_sizes(tasks: Iterable[ExportTask]) -> None:
    """Refuse pictures that no file of the layout can hold, or that no reader would make room for."""
    for task in tasks:
        height, width = task.picture_size
        longest = task.layout.kind.longest_side
        if longest is not None and max(height, width) > longest:
            raise ArgumentError(
                f"{task.video.key} would be {width}×{height} px, {task.layout.file_format} files have sides of at most "
                f"{longest}: choose a smaller size or another format"
            )
        if height * width > MAX_PIXELS:
            raise ArgumentError(
                f"{task.video.key} would be {width}×{height} px, expected at most {MAX_PIXELS} pixels: choose a "
                "smaller size"
            )
