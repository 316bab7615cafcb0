"""Keys and bytes: where a store is kept, and what may happen to it there.

Owns the file system, object stores and zips below a store, replacing files whole, names of files in the making, and
locks. Knows nothing of flow or of what the keys mean. Begin with `keys`: what a storage can do; `places` says which one
a place has, `locks` who may write at the same time.
"""
