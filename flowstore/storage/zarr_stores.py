"""A store in any store of zarr-python, such as one in memory."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from typing import IO

from zarr.abc.store import RangeByteRequest, Store
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from flowstore.limits import check_document_size
from flowstore.storage.keys import Storage


class ZarrStorage(Storage):
    """Any store of zarr-python, such as one in memory."""

    is_near = False

    def __init__(self, store: Store) -> None:
        sync(store._ensure_open())
        self._store = store

    @property
    def url(self) -> str:
        """The store's own name for itself."""
        return str(self._store)

    def read(self, key: str) -> bytes | None:
        """Return the value of a key, None if there is none."""
        value = sync(self._store.get(key, default_buffer_prototype()))
        if value is None:
            return None
        check_document_size(f"{self.url}/{key}", len(value))
        return value.to_bytes()

    def read_range(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes of a key's value from `start` on, fewer where it ends before, None if there is none."""
        value = sync(self._store.get(key, default_buffer_prototype(), RangeByteRequest(start, start + size)))
        return None if value is None else value.to_bytes()

    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Set a key, whole or not at all as the store promises it."""
        del is_durable
        sync(self._store.set(key, default_buffer_prototype().buffer.from_bytes(value)))

    @contextlib.contextmanager
    def open_sink(self, key: str) -> Iterator[IO[bytes]]:
        """Return a file in memory that becomes the key's value when the context ends without an error."""
        sink = io.BytesIO()
        yield sink
        self.write(key, sink.getvalue())

    def list_children(self, prefix: str) -> list[str]:
        """Return the names right below a prefix, sorted."""

        async def gather() -> list[str]:
            return [name async for name in self._store.list_dir(prefix)]

        return sorted({name.rstrip("/") for name in sync(gather())})

    def list_folders(self, prefix: str) -> list[str]:
        """Return the names right below a prefix, but for that of a node's metadata, sorted."""
        return [name for name in self.list_children(prefix) if name != "zarr.json"]

    def list_keys(self, prefix: str) -> list[str]:
        """Return every key below a prefix, relative to it, sorted."""
        top = f"{prefix}/" if prefix else ""

        async def gather() -> list[str]:
            return [key async for key in self._store.list_prefix(top)]

        return sorted(key.removeprefix(top) for key in sync(gather()))

    def is_file(self, key: str) -> bool:
        """Tell whether a key has a value."""
        return self.size_bytes(key) is not None

    def delete(self, key: str) -> None:
        """Remove a key; nothing happens if there is none."""
        sync(self._store.delete(key))

    def delete_tree(self, prefix: str) -> None:
        """Remove every key below a prefix."""
        sync(self._store.delete_dir(prefix))

    def size_bytes(self, key: str) -> int | None:
        """Return the size of a key's value, None if there is none."""
        try:
            return sync(self._store.getsize(key))
        except FileNotFoundError:
            return None

    def stamp(self, key: str) -> tuple[int, ...] | None:
        """Return the same for every key: what is far away is taken not to change while it is open."""
        del key
        return ()
