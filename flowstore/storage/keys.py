"""Keys and bytes: what every place of a store can do.

Keys are relative paths with ``/``; a value is written whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TypeVar

from flowstore.errors import StoreError, translated

Item = TypeVar("Item")
Answer = TypeVar("Answer")

_N_WAITING = 32


class Storage(ABC):
    """Where a store's keys are. Picklable; holds no open file.

    Attributes
    ----------
    folder : str or None
        Absolute path of the folder that holds the keys, where they are files on a disk of this machine.
    is_near : bool
        Whether a look takes no request over a network.
    """

    folder: str | None = None
    is_near = True

    @property
    @abstractmethod
    def url(self) -> str:
        """Where it is, for messages."""

    @abstractmethod
    def read(self, key: str) -> bytes | None:
        """Return the value of a key, None if there is none."""

    @abstractmethod
    def read_range(self, key: str, start: int, size: int) -> bytes | None:
        """Return `size` bytes of a key's value from `start` on, fewer where it ends before, None if there is none."""

    @abstractmethod
    def write(self, key: str, value: bytes, is_durable: bool = False) -> None:
        """Set a key, whole or not at all; durable: it outlasts a power cut once this returns."""

    @abstractmethod
    def open_sink(self, key: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Return a file to write a key's value to; the key is set, durably, when the context ends without an error."""

    @abstractmethod
    def list_children(self, prefix: str) -> list[str]:
        """Return the names right below a prefix (``""`` for the root), sorted."""

    @abstractmethod
    def list_folders(self, prefix: str) -> list[str]:
        """Return the names right below a prefix that can have keys below them, sorted."""

    @abstractmethod
    def list_keys(self, prefix: str) -> list[str]:
        """Return every key below a prefix, relative to it, sorted; a folder with no file in it ends in ``/``."""

    @abstractmethod
    def is_file(self, key: str) -> bool:
        """Tell whether a key has a value."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove a key; nothing happens if there is none."""

    @abstractmethod
    def delete_tree(self, prefix: str) -> None:
        """Remove every key below a prefix."""

    @abstractmethod
    def size_bytes(self, key: str) -> int | None:
        """Return the size of a key's value, None if there is none."""

    @abstractmethod
    def stamp(self, key: str) -> tuple[int, ...] | None:
        """Return what changes whenever a key is set anew, None if there is none."""

    def write_new(self, key: str, value: bytes) -> bool:
        """Set a key that nobody has set, durably; return whether this caller did."""
        if self.size_bytes(key):
            return False
        self.write(key, value, is_durable=True)
        return True

    def refusal(self, path: str) -> str:
        """Return why there can be no keys below a path, for its last name; empty where there can be. It is tried."""
        del path
        return ""

    def lock(self, is_shared: bool = False, advice: str = "") -> contextlib.AbstractContextManager[bool]:
        """Hold the right to change the store where there are locks; the context gives whether it is held."""
        del is_shared, advice
        return contextlib.nullcontext(False)

    def map(self, function: Callable[[Item], Answer], items: Sequence[Item]) -> Iterator[Answer]:
        """Call a function that asks this storage on each item, in order: many at a time where each takes a request."""
        if self.is_near:
            yield from map(function, items)
            return
        with ThreadPoolExecutor(_N_WAITING) as pool:
            yield from pool.map(function, items)

    def room(self) -> int | None:
        """Return the free bytes of the disk, None where that is not known."""
        return None


def writing(url: str) -> contextlib.AbstractContextManager[None]:
    """Say of an `OSError` inside that the place at `url` refuses to be written."""

    def explain(error: OSError) -> StoreError:
        hint = ": free some room and run again" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return StoreError(f"cannot write to {url}: {error.strerror or error}{hint}")

    return translated(explain)
