"""Taking videos out of a store."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from flowstore.format.root import drop_consolidated, read_root, state_plan
from flowstore.names import escape_name, unescape_name
from flowstore.storage.keys import writing
from flowstore.store.index import index_tree, removed_videos
from flowstore.store.open import FlowStore
from flowstore.store.unfinished import remove_leftovers
from flowstore.store.video_index import VideoIndex
from flowstore.store.writer import remove_video

Names = tuple[str, str]


def removed_inside(store: FlowStore, names: Sequence[str]) -> set[Names]:
    """Return class and name of the videos below a place that the index names, and whose folders are gone."""
    spellings = [(name, unescape_name(name)) for name in names]
    removed = names_of(removed_videos(store.storage))
    return {video for video in removed if all(part in spelled for part, spelled in zip(video, spellings, strict=False))}


def names_of(index: VideoIndex) -> list[Names]:
    """Return class and name of each row."""
    return [(index.class_name(row), index.name(row)) for row in range(len(index))]


def remove_videos(store: FlowStore, names: Collection[Names]) -> int:
    """Remove videos, failed ones too, and a class that is empty then."""
    with store.storage.lock(advice="wait for it") as is_locked, writing(store.storage.url):
        drop_consolidated(store.storage)
        for class_name, name in names:
            remove_video(store.storage, class_name, name)
        for class_path in sorted({escape_name(class_name) for class_name, _ in names}):
            if store.storage.list_children(class_path) == ["zarr.json"]:
                store.storage.delete_tree(class_path)
        root = read_root(store.storage)
        if root.n_planned is not None:
            state_plan(store.storage, replace(root, n_planned=max(0, root.n_planned - len(names))))
        if is_locked:
            remove_leftovers(store.storage)
        index_tree(store.storage)
    return len(names)
