"""What exactly is on disk: format 1, on one page.

::

    STORE/zarr.json                        attributes.flowstore: format, the extraction settings, versions;
                                           what it was made of, and how many videos were planned
    STORE/<class>/zarr.json
    STORE/<class>/<video>/zarr.json        the commit, written last: source, fingerprint, counts, statistics, status
    STORE/<class>/<video>/flow/zarr.json   (T, 2, H, W) uint8 | float16; dims frame, component, y, x;
                                           scale_factor, add_offset
    STORE/<class>/<video>/flow/c.0.0.0.0   shards: inner chunk (1, 2, H, W); index and chunks carry crc32c
    STORE/index/...                        one-dimensional columns over videos: a cache, rebuilt from the tree

An ordinary Zarr v3 hierarchy. One video is one group, one task and one writer: shards first, then ``flow/zarr.json``,
then the video's ``zarr.json``; a folder without it is no node. A failed video is a group with a reason and no ``flow``.
Each ``attributes.flowstore`` has a ``digest`` of its other keys.

Owns the documents (`zarr_metadata`), chunks, shards and columns (`codec`, `shards`, `columns`), and the values that the
attributes hold (`settings`, `record`, `root`). Knows nothing of a store in the hand, of the index, or of how flow is
made. Begin with `shards`: it says which specification it follows. What writes all this is
`flowstore.store.writer`; a copy writes its shards by itself, in the same order (`flowstore.copying.task`).
"""
