"""A store in the hand: opened, looked up, read and written.

Owns reading and writing of format 1 and the index of videos. Knows nothing of extraction, export or training. Begin
with
`open` (what a user holds) for reading and `writer`, whose order of writing is the header, for writing; `reader` gets
chunks, `tree` and `index` say which videos there are.
"""

from flowstore.store.open import FlowClass, FlowStore, open_store
from flowstore.store.video import Video

__all__ = ["FlowClass", "FlowStore", "Video", "open_store"]
