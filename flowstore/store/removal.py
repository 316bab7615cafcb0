"""Taking videos out of a store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from flowstore.format.root import drop_consolidated, read_root, state_plan
from flowstore.names import escape_name
from flowstore.storage.keys import writing
from flowstore.store.index import index_tree
from flowstore.store.open import FlowStore
from flowstore.store.unfinished import remove_leftovers
from flowstore.store.writer import remove_video


def remove_videos(store: FlowStore, rows: Iterable[int]) -> int:
    """Remove videos, failed ones too, and a class that is empty then."""
    names = [(store.videos[row]["class"], store.videos[row]["video"]) for row in rows]
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
