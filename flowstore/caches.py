"""A bounded memory of what was read lately. Knows nothing of stores: keys and values are anything."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any


class RecentCache:
    """Keeps the values used last, up to a limit in bytes. Safe for threads and after a fork; pickled empty.

    Notes
    -----
    A forked process starts empty and with a lock of its own: the parent's may have been held by a thread that the child
    does not have.

    Examples
    --------
    >>> cache = RecentCache(limit_bytes=100)
    >>> cache.put("a", 1, size_bytes=60)
    >>> cache.put("b", 2, size_bytes=60)
    >>> cache.get("a"), cache.get("b"), cache.size_bytes
    (None, 2, 60)
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._start_empty()

    def _start_empty(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._size_bytes = 0
        self._pid = os.getpid()

    @property
    def size_bytes(self) -> int:
        """What the values take, as they were said to."""
        return self._size_bytes

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Hashable) -> Any:
        """Return a value, None if it is not kept (any more)."""
        if self._pid != os.getpid():
            self._start_empty()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            self._entries.move_to_end(key)
            return entry[0]

    def put(self, key: Hashable, value: Any, size_bytes: int) -> None:
        """Keep a value; those used longest ago go."""
        if self._pid != os.getpid():
            self._start_empty()
        with self._lock:
            self._remove(key)
            if size_bytes > self.limit_bytes:
                return
            self._entries[key] = value, size_bytes
            self._size_bytes += size_bytes
            while self._size_bytes > self.limit_bytes:
                self._remove(next(iter(self._entries)))

    def drop(self, key: Hashable) -> None:
        """Forget a value."""
        if self._pid != os.getpid():
            self._start_empty()
        with self._lock:
            self._remove(key)

    def _remove(self, key: Hashable) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._size_bytes -= entry[1]

    def __reduce__(self) -> tuple[Callable[[int], RecentCache], tuple[int]]:
        return RecentCache, (self.limit_bytes,)
