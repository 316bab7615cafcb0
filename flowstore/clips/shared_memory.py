"""Memory that processes share: batches that come back for the next batch, and numbers that all workers see.

New shared memory is slow: the system hands it out page by page, which for a batch of flow takes longer than reading and
decoding it. Here a worker fills a slot, the main process sees the same pages as an array, and when that array is gone
the worker fills the slot again. No file stands for it, and on Linux none of it lies in ``/dev/shm``, of which a
container has 64 MB. Knows bytes and processes; imports nothing of flowstore.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import weakref
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import DupFd
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Slots that one worker keeps. A DataLoader has two or three batches of a worker on their way; who collects more than
# this in a list gets memory that is used once.
MAX_SLOTS = 16
# Received arrays that a process holds where they lie: each has a file descriptor, of which there are often 1024.
MAX_HELD = 128
# The first byte says whether the main process holds the slot; the batch begins on the next page.
_HEADER_BYTES = mmap.PAGESIZE
_FREE, _SENT = 0, 1


class Slot:
    """A piece of memory that another process can map. Unnamed: it is gone with the processes that hold it."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self.fd = _open_memory(_HEADER_BYTES + size_bytes)
        weakref.finalize(self, os.close, self.fd).atexit = False
        self._memory = mmap.mmap(self.fd, _HEADER_BYTES + size_bytes)
        self._n_lent = 0

    @property
    def is_free(self) -> bool:
        """Whether neither this process nor the one it was sent to holds an array of it."""
        return self._n_lent == 0 and self._memory[0] == _FREE

    def lend(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        """Return an array of the memory; the slot is not free before it and all views of it are gone."""
        self._n_lent += 1
        return _array_of(self._memory, shape, dtype, self._take_back)

    def _take_back(self) -> None:
        self._n_lent -= 1

    def send(self) -> tuple[Any, int]:
        """Return what `receive` needs in another process; from now on the slot is that one's."""
        self._memory[0] = _SENT
        return DupFd(self.fd), _HEADER_BYTES + self.size_bytes


def _open_memory(size_bytes: int) -> int:
    """Return the descriptor of new memory that other processes can map."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("flowstore")
        os.ftruncate(fd, size_bytes)
        return fd
    with tempfile.TemporaryFile(prefix="flowstore-") as file:
        # Not only cut to length: where there is no room, this raises, and a write into it would crash.
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        file.truncate(size_bytes)
        return os.dup(file.fileno())


class SharedNumbers:
    """Whole numbers that this process and its workers see alike; int32, 0 at first.

    A forked worker has them without any file. For a spawned one they move into memory that is sent; a copy by pickle
    alone is a copy.
    """

    def __init__(self, n: int) -> None:
        self._fd: int | None = None
        self._map(n, mmap.mmap(-1, max(1, 4 * n)))

    def _map(self, n: int, memory: mmap.mmap) -> None:
        self.values: npt.NDArray[np.int32] = np.frombuffer(memory, np.int32, n)

    def copy(self) -> SharedNumbers:
        """Return the same numbers, shared with nobody yet."""
        return _copy_numbers(self.values)

    def __reduce__(self) -> tuple[Any, ...]:
        if get_spawning_popen() is None:
            return _copy_numbers, (self.values.copy(),)
        if self._fd is None:
            values, size_bytes = self.values, max(1, self.values.nbytes)
            self._fd = _open_memory(size_bytes)
            weakref.finalize(self, os.close, self._fd).atexit = False
            self._map(len(values), mmap.mmap(self._fd, size_bytes))
            self.values[:] = values
        return _receive_numbers, (DupFd(self._fd), len(self.values))


def _copy_numbers(values: npt.NDArray[np.int32]) -> SharedNumbers:
    numbers = SharedNumbers(len(values))
    numbers.values[:] = values
    return numbers


def _receive_numbers(handle: Any, n: int) -> SharedNumbers:
    numbers = SharedNumbers(0)
    fd = handle.detach()
    try:
        numbers._map(n, mmap.mmap(fd, max(1, 4 * n)))
    finally:
        os.close(fd)
    return numbers


def receive(handle: Any, size_bytes: int, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return the array that another process wrote into a slot and sent.

    When the array and all views of it are gone, the slot is the sender's again. Who holds `MAX_HELD` of them gets
    copies from then on, and the slot is the sender's at once.
    """
    fd = handle.detach()
    try:
        memory = mmap.mmap(fd, size_bytes)
    finally:
        os.close(fd)
    # What is gone since is taken out by another thread's finalizer at any time: a set's own steps are whole.
    place = id(memory)
    _HELD.add(place)

    def give_back() -> None:
        memory[0] = _FREE
        _HELD.discard(place)

    array = _array_of(memory, shape, dtype, give_back)
    return array if len(_HELD) <= MAX_HELD else array.copy()


# The mappings of received arrays that are alive in this process.
_HELD: set[int] = set()


def _array_of(memory: mmap.mmap, shape: tuple[int, ...], dtype: np.dtype[Any], on_gone: Any) -> Array:
    # Every view, torch's included, holds this one array and not the memory below it.
    owner = np.frombuffer(memory, dtype, math.prod(shape), _HEADER_BYTES)
    process = os.getpid()
    # A forked child drops a copy, which says nothing of the array here.
    weakref.finalize(owner, lambda: on_gone() if os.getpid() == process else None).atexit = False
    return owner.reshape(shape)


class SlotPool:
    """The slots of one process."""

    def __init__(self, max_slots: int = MAX_SLOTS) -> None:
        self._max_slots = max_slots
        self._slots: list[Slot] = []

    def take(self, size_bytes: int) -> Slot:
        """Return a free slot of at least that size, a new one where there is none."""
        free = [slot for slot in self._slots if slot.is_free]
        for slot in free:
            if slot.size_bytes >= size_bytes:
                return slot
        # Those that are too small will not be wanted again.
        self._slots = [slot for slot in self._slots if slot not in free]
        slot = Slot(size_bytes)
        if len(self._slots) < self._max_slots:
            self._slots.append(slot)
        return slot


_POOLS: dict[tuple[int, str], SlotPool] = {}


def process_pool(name: str) -> SlotPool:
    """Return this process's pool of slots for one part of a batch; a forked child has its own."""
    return _POOLS.setdefault((os.getpid(), name), SlotPool())
