"""The bytes of one chunk: packed by Blosc or not, and followed by their CRC-32C. Owns numcodecs.

References
----------
Zarr v3, codecs ``bytes``, ``blosc`` and ``crc32c``, each version 1.0; CRC-32C is that of RFC 3720.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import google_crc32c
import numpy as np
import numpy.typing as npt
from numcodecs import blosc

from flowstore.errors import ChecksumError, StoreFormatError

Compression = Literal["fast", "balanced", "small", "none"]

Codes = npt.NDArray[Any]

CHECKSUM_BYTES = 4
_RESIDUE = 0x48674BC7
# Version, format version, flags and typesize, then three sizes: of the raw bytes, a block, and the packed bytes.
_BLOSC_HEADER = struct.Struct("<4xIII")
# Chosen by benchmarks/bench_compression.py. Reading: lz4hc decodes three times as fast as zstd, and its level 4 is both
# smaller and faster to read than 3 at the same cost; 5 takes 2 ms per frame of 320×240 and saves 3 %. zstd's level 5
# decodes faster than 3. Level 8 takes 20 ms per frame, 9 takes 70 and saves 3 %.
_PRESETS: dict[Compression, tuple[str, int] | None] = {
    "fast": ("lz4hc", 4),
    "balanced": ("zstd", 5),
    "small": ("zstd", 8),
    "none": None,
}


@dataclass(frozen=True)
class ChunkCodec:
    """How the bytes of one chunk are packed: Blosc or nothing, then a checksum.

    Parameters
    ----------
    dtype : str
        ``uint8`` or ``float16``.
    cname : str or None
        Blosc's compressor; None stores the bytes as they are.
    clevel : int
        Its level, 0 to 9.
    shuffle : str
        Blosc's filter: ``noshuffle``, ``shuffle`` or ``bitshuffle``.
    """

    dtype: str
    cname: str | None = None
    clevel: int = 0
    shuffle: str = "noshuffle"

    def encode(self, codes: Codes) -> bytes:
        """Return a chunk's bytes with their checksum."""
        data: bytes = codes.tobytes() if self.cname is None else self._compress(codes)
        return data + checksum(data)

    def _compress(self, codes: Codes) -> bytes:
        shuffle = ("noshuffle", "shuffle", "bitshuffle").index(self.shuffle)
        assert self.cname is not None
        return bytes(blosc.compress(np.ascontiguousarray(codes), self.cname.encode(), self.clevel, shuffle, 0))

    def decode_into(self, data: bytes | memoryview, out: Codes) -> None:
        """Unpack a chunk.

        `out`: array, C-contiguous, where to write the chunk, of its exact size.
        """
        if not isinstance(data, bytes):
            data = bytes(data)
        self.check(data, out.nbytes)
        if self.cname is None:
            out.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8, out.nbytes)
        else:
            blosc.decompress(data, out)

    def check(self, data: bytes, n_raw: int) -> None:
        """Compare a chunk with its checksum and the size of what it holds; nothing is unpacked."""
        # The CRC-32C of bytes with their own behind them is the same for all bytes.
        if len(data) < CHECKSUM_BYTES or google_crc32c.value(data) != _RESIDUE:
            raise ChecksumError("checksum differs: the bytes on disk are not the ones that were written")
        size = len(data) - CHECKSUM_BYTES if self.cname is None else blosc_size(data, CHECKSUM_BYTES)
        if size != n_raw:
            raise ChecksumError(f"a chunk of {size} bytes where {n_raw} are expected")

    def to_json(self) -> list[dict[str, Any]]:
        """Return the chunk's codecs as Zarr metadata has them."""
        is_bytes = self.dtype == "uint8"
        codecs: list[dict[str, Any]] = [
            {"name": "bytes"} if is_bytes else {"name": "bytes", "configuration": {"endian": "little"}}
        ]
        if self.cname is not None:
            configuration = {
                "cname": self.cname,
                "clevel": self.clevel,
                "shuffle": self.shuffle,
                "blocksize": 0,
            }
            codecs.append(
                {
                    "name": "blosc",
                    "configuration": {"typesize": np.dtype(self.dtype).itemsize} | configuration,
                }
            )
        return [*codecs, {"name": "crc32c"}]

    @classmethod
    def from_json(cls, dtype: str, codecs: list[Mapping[str, Any]]) -> ChunkCodec:
        """Return the codec of a store's metadata."""
        names = [codec["name"] for codec in codecs]
        endian = codecs[0].get("configuration", {}).get("endian", "little") if codecs else ""
        if dtype not in ("uint8", "float16") or endian != "little":
            raise StoreFormatError(f"chunks of {dtype}, {endian}-endian")
        if names == ["bytes", "crc32c"]:
            return cls(dtype)
        if names == ["bytes", "blosc", "crc32c"]:
            configuration = codecs[1]["configuration"]
            return cls(dtype, configuration["cname"], configuration["clevel"], configuration["shuffle"])
        raise StoreFormatError(f"chunk codecs {' + '.join(names)}")


def codec_for(compression: Compression, dtype: str) -> ChunkCodec:
    """Return the codec of a compression preset."""
    preset = _PRESETS[compression]
    if preset is None:
        return ChunkCodec(dtype)
    return ChunkCodec(dtype, *preset, "noshuffle" if dtype == "uint8" else "shuffle")


def checksum(data: bytes | memoryview) -> bytes:
    """Return the CRC-32C of some bytes, little-endian."""
    return struct.pack("<I", google_crc32c.value(bytes(data) if isinstance(data, memoryview) else data))


def blosc_size(data: bytes, n_behind: int = 0) -> int:
    """Return the size of what a buffer of Blosc holds, -1 if it is not one with so many bytes behind it."""
    if len(data) < _BLOSC_HEADER.size + n_behind:
        return -1
    n_raw, _, n_packed = _BLOSC_HEADER.unpack_from(data)
    return int(n_raw) if n_packed == len(data) - n_behind else -1


def set_single_threaded(is_default: bool = False) -> None:
    """Keep Blosc to the calling thread: tasks run beside one another already."""
    if not is_default or blosc.use_threads is None:
        blosc.use_threads = False
