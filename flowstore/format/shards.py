"""Shards: files that hold one encoded chunk per flow, and an index of them at the end.

The layout is that of Zarr's ``sharding_indexed`` codec with the index at the end: chunks ``(1, 2, H, W)`` one after
another, each compressed and followed by its CRC-32C, then offset and size of each as little-endian 64-bit integers,
then the index's CRC-32C. Knows bytes and arrays, and nothing of names, records or zarr-python.

References
----------
Zarr v3, codec ``sharding_indexed`` version 1.0.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import ChecksumError
from flowstore.format.codec import CHECKSUM_BYTES, ChunkCodec, checksum, set_single_threaded

Codes = npt.NDArray[Any]

MAX_SHARD_BYTES = 64 * 2**20
_ENTRY_BYTES = 16
# What does not pack at all takes a header of Blosc and the checksum more.
MAX_OVERHEAD_BYTES = 32
_MISSING = 2**64 - 1


def frames_per_shard(height: int, width: int, dtype: str) -> int:
    """Return how many flows a shard holds at most: 64 MiB of raw numbers, and at least one flow."""
    return max(1, MAX_SHARD_BYTES // (2 * height * width * np.dtype(dtype).itemsize))


class ShardWriter:
    """Writes one shard to a file, chunk by chunk."""

    def __init__(self, file: IO[bytes], codec: ChunkCodec) -> None:
        self._file = file
        self._codec = codec
        self._entries: list[tuple[int, int]] = []
        self._checksums: list[bytes] = []
        self.size_bytes = 0
        self.digest = ""

    @property
    def n_chunks(self) -> int:
        """Chunks written so far."""
        return len(self._entries)

    def append(self, codes: Codes) -> None:
        """Write the next chunk.

        `codes`: uint8 or float16 array (2, H, W), one flow.
        """
        data = self._codec.encode(codes)
        self._file.write(data)
        self._entries.append((self.size_bytes, len(data)))
        self._checksums.append(data[-CHECKSUM_BYTES:])
        self.size_bytes += len(data)

    def finish(self, n_entries: int) -> None:
        """Write the index."""
        entries = self._entries + [(_MISSING, _MISSING)] * (n_entries - len(self._entries))
        index = np.array(entries, "<u8").tobytes()
        index += checksum(index)
        self._file.write(index)
        self.size_bytes += len(index)
        self.digest = shard_digest(self._checksums, index)


def shard_digest(checksums: Iterable[bytes], index: bytes) -> str:
    """Return what tells a shard from every other: hexadecimal BLAKE2b, of 128 bits, of its checksums and its index.

    Notes
    -----
    Not a CRC-32C of the file: that of chunks with their own CRC-32C behind them depends on their lengths alone.
    """
    return hashlib.blake2b(b"".join((*checksums, index)), digest_size=16).hexdigest()


def index_size(n_entries: int) -> int:
    """Return the size in bytes of the index at the end of a shard that has room for so many chunks."""
    return n_entries * _ENTRY_BYTES + CHECKSUM_BYTES


def parse_shard_index(data: bytes, n_entries: int) -> npt.NDArray[np.uint64]:
    """Return where each chunk of a shard is.

    Gives uint64 array (n_entries, 2), offset and size in bytes; ``2**64 - 1`` for a chunk that is not there.
    """
    if len(data) != index_size(n_entries) or checksum(data[:-CHECKSUM_BYTES]) != data[-CHECKSUM_BYTES:]:
        raise ChecksumError("its index is damaged: the checksum differs")
    return np.frombuffer(data, "<u8", 2 * n_entries).reshape(n_entries, 2)


def chunk_span(
    index: npt.NDArray[np.uint64], start: int, stop: int, size_bytes: int, n_raw: int | None = None
) -> tuple[int, int]:
    """Return the bytes ``[first, last)`` of a shard that hold the chunks ``[start, stop)``.

    `index`: uint64 array (n_entries, 2), from `parse_shard_index`.
    """
    # Whole numbers of Python: offset and size may add up to more than 64 bits.
    entries = index[start:stop].tolist()
    for number, (offset, size) in enumerate(entries, start):
        if _MISSING in (offset, size):
            raise ChecksumError(f"chunk {number} is missing")
        if offset + size > size_bytes:
            raise ChecksumError(
                f"chunk {number}: its index is damaged: bytes [{offset}, {offset + size}) of a shard of {size_bytes}"
            )
    first, last = min(offset for offset, _ in entries), max(offset + size for offset, size in entries)
    if n_raw is not None and last - first > len(entries) * (n_raw + MAX_OVERHEAD_BYTES):
        raise ChecksumError(
            f"its index is damaged: bytes [{first}, {last}) for {len(entries)} chunks of at most {n_raw} bytes"
        )
    return first, last


def iter_chunks(
    data: bytes,
    first: int,
    index: npt.NDArray[np.uint64],
    start: int,
    stop: int,
    codec: ChunkCodec,
    targets: Iterable[Codes],
) -> Iterator[int]:
    """Decode consecutive chunks of a shard, one a step.

    `index`: uint64 array (n_entries, 2), from `parse_shard_index`. `targets`: iterable of uint8 or float16 arrays
    (2, H, W), C-contiguous, where to write each chunk; all may be the same array.

    Notes
    -----
    Unless somebody told Blosc otherwise, it is kept to the calling thread: a chunk is too small to share, and threads
    do not outlive a fork.
    """
    set_single_threaded(is_default=True)
    for number, (target, (offset, size)) in enumerate(zip(targets, index[start:stop].tolist(), strict=False)):
        try:
            codec.decode_into(data[offset - first : offset - first + size], target)
        except ChecksumError as error:
            raise ChecksumError(f"chunk {start + number}: {error}") from error
        yield number


def check_shard(data: bytes, n_entries: int, n_chunks: int, codec: ChunkCodec, n_raw: int) -> str:
    """Compare every chunk of a whole shard with its checksum; nothing is unpacked."""
    index_bytes = data[-index_size(n_entries) :]
    index = parse_shard_index(index_bytes, n_entries)
    chunk_span(index, 0, n_chunks, len(data), n_raw)
    checksums = []
    for number, (offset, size) in enumerate(index[:n_chunks].tolist()):
        chunk = data[offset : offset + size]
        try:
            codec.check(chunk, n_raw)
        except ChecksumError as error:
            raise ChecksumError(f"chunk {number}: {error}") from error
        checksums.append(chunk[-CHECKSUM_BYTES:])
    return shard_digest(checksums, index_bytes)
