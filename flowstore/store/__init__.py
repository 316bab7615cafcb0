"""A store in the hand: opened, looked up, read and written.

Owns reading and writing of format 1 and the index of videos. Knows nothing of extraction, export or training. Begin
with `open` (what a user holds) for reading, and for writing with `writer`, whose header is the order of writing: its
`VideoWriter` fills shards (`flowstore.format.shards`). `reader` gets chunks, `tree` and `index` say which videos there
are.
"""

from flowstore.store.open import FlowClass, FlowStore, open_store
from flowstore.store.video import Video

__all__ = ["FlowClass", "FlowStore", "Video", "open_store"]
