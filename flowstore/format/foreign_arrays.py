"""Arrays that others laid out, read by zarr-python: checked before it sees them.

zarr-python takes whatever an array's document says: any codec that is installed, chunks of any size, compressed bytes
that claim to hold any number. Here only codecs of a short list pass, no chunk unpacks to more than its shape, and what
zarr-python is given is a document written anew, and chunks in memory. Older documents, whose filters can hold code
(Zarr v2's ``pickle``), are never looked at.
"""

from __future__ import annotations

import itertools
import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from numcodecs.zstd import Zstd

from flowstore.errors import ChecksumError, FlowStoreError, StoreFormatError
from flowstore.format import zarr_metadata as documents
from flowstore.format.codec import blosc_size, checksum
from flowstore.format.shards import chunk_span, index_size, parse_shard_index
from flowstore.limits import MAX_FLOW_BYTES, is_count
from flowstore.storage.keys import Storage
from flowstore.storage.zarr_stores import memory_storage

# What unpacking depends on is in the bytes; the rest of a codec's settings is how they were made.
_COMPRESSORS: dict[str, dict[str, Any]] = {
    "blosc": {"typesize": 1, "cname": "lz4", "clevel": 5, "shuffle": "noshuffle", "blocksize": 0},
    "zstd": {"level": 0, "checksum": False},
    "gzip": {"level": 1},
}
_KNOWN = ("transpose", "bytes", "vlen-utf8", *_COMPRESSORS, "crc32c", "sharding_indexed")
_CHECKSUM_BYTES = 4
_MISSING = 2**64 - 1
# The part of a chunk that is asked for: start and stop along each axis, counted from the chunk's corner.
Box = Sequence[tuple[int, int]]
# Texts have no size that a shape says: a chunk of names and reasons has at most so many bytes.
_MAX_TEXT_BYTES = 2**26
_N_INFLATED = 2**20


@dataclass(frozen=True)
class _Packing:
    """How the bytes of one chunk are made of its numbers.

    Parameters
    ----------
    shape : tuple of int
        Of the chunk.
    n_raw : int
        Its bytes, unpacked; -1 for texts.
    codecs : list
        As the document says, checked and without what unpacking does not need.
    inner : _Packing, optional
        Of the chunks of a shard.
    is_index_first : bool
        Whether a shard's index stands before its chunks.
    """

    shape: tuple[int, ...]
    n_raw: int
    codecs: list[dict[str, Any]]
    inner: _Packing | None = None
    is_index_first: bool = False

    def check(self, data: bytes, needed: Box) -> None:
        """Refuse the bytes of a chunk that would unpack to another size than its shape's, or lack a part needed."""
        if self.inner is not None:
            self._check_shard(data, self.inner, needed)
            return
        names = [codec["name"] for codec in self.codecs]
        if names[-1] == "crc32c":
            if len(data) < _CHECKSUM_BYTES or checksum(data[:-_CHECKSUM_BYTES]) != data[-_CHECKSUM_BYTES:]:
                raise ChecksumError("checksum differs: the bytes are not the ones that were written")
            data, names = data[:-_CHECKSUM_BYTES], names[:-1]
        size = _unpacked_size(data, names[-1], max(self.n_raw, _MAX_TEXT_BYTES))
        if self.n_raw >= 0 and size != self.n_raw:
            raise StoreFormatError(f"a chunk of {size} bytes where {self.n_raw} are expected")
        if self.n_raw < 0:
            self._check_texts(data, size, is_packed=names[-1] == "zstd")

    def _check_texts(self, data: bytes, size: int, is_packed: bool) -> None:
        if size > _MAX_TEXT_BYTES:
            raise StoreFormatError(f"a chunk of {size} bytes of text, at most {_MAX_TEXT_BYTES} can be")
        texts = Zstd().decode(data) if is_packed else data
        (count,) = struct.unpack_from("<I", texts) if len(texts) >= 4 else (0,)
        if count != math.prod(self.shape):
            raise StoreFormatError(f"a chunk of {count} texts where {math.prod(self.shape)} are expected")

    def _check_shard(self, data: bytes, inner: _Packing, needed: Box) -> None:
        counts = [outer // side for outer, side in zip(self.shape, inner.shape, strict=True)]
        n_chunks = math.prod(counts)
        n_bytes = index_size(n_chunks)
        index = parse_shard_index(data[:n_bytes] if self.is_index_first else data[-n_bytes:], n_chunks)
        for number, (offset, size) in enumerate(index.tolist()):
            if offset == size == _MISSING:
                place = [int(step) for step in np.unravel_index(number, counts)]
                if all(
                    step * side < stop and start < (step + 1) * side
                    for step, side, (start, stop) in zip(place, inner.shape, needed, strict=True)
                ):
                    raise ChecksumError(f"its part {number} is missing, which Zarr would read as the fill value")
                continue
            chunk_span(index, number, number + 1, len(data))
            inner.check(data[offset : offset + size], [(0, side) for side in inner.shape])


def _unpacked_size(data: bytes, codec: str, limit: int) -> int:
    """Return the number of bytes that packed bytes claim to hold, or do hold; nothing of that size is made."""
    if codec == "blosc":
        return blosc_size(data)
    if codec == "zstd":
        return _zstd_size(data)
    return _gzip_size(data, limit) if codec == "gzip" else len(data)


def _zstd_size(data: bytes) -> int:
    """Return the size that the header of a frame states (RFC 8878, 3.1.1.1), -1 where it does not."""
    if len(data) < 6 or data[:4] != b"\x28\xb5\x2f\xfd":
        return -1
    flags = data[4]
    is_single = flags >> 5 & 1
    start = 5 + (1 - is_single) + (0, 1, 2, 4)[flags & 3]
    n_bytes = (is_single, 2, 4, 8)[flags >> 6]
    if n_bytes == 0 or len(data) < start + n_bytes:
        return -1
    return int.from_bytes(data[start : start + n_bytes], "little") + (256 if n_bytes == 2 else 0)


def _gzip_size(data: bytes, limit: int) -> int:
    """Return the size of what gzip members hold, by unpacking piece by piece; something above `limit` if it is more."""
    size, rest = 0, data
    try:
        while rest and size <= limit:
            member = zlib.decompressobj(31)
            while rest and not member.eof and size <= limit:
                size += len(member.decompress(rest, _N_INFLATED))
                rest = member.unconsumed_tail
            rest = member.unused_data if member.eof else rest
    except zlib.error as error:
        raise StoreFormatError(f"bytes that gzip does not know ({error})") from error
    return size


def _packing(document: Mapping[str, Any], shape: Sequence[int], data_type: str) -> _Packing:
    """Return how the chunk files of an array are packed.

    Raises
    ------
    StoreFormatError
        If that is not on the list, or a chunk would be larger than any flow.
    """
    grid = document["chunk_grid"]
    if grid["name"] != "regular":
        raise StoreFormatError(f"a grid of the kind {grid['name']!r}, expected regular")
    chunk = _chunk_shape(grid["configuration"]["chunk_shape"], shape, data_type)
    codecs = document["codecs"]
    if len(codecs) != 1 or codecs[0]["name"] != "sharding_indexed":
        return _plain_packing(codecs, chunk, data_type)
    configuration = codecs[0]["configuration"]
    inner_shape = _chunk_shape(configuration["chunk_shape"], shape, data_type)
    if any(outer % side for outer, side in zip(chunk, inner_shape, strict=True)):
        raise StoreFormatError(f"shards of {chunk} that chunks of {inner_shape} do not fill")
    names = [codec["name"] for codec in configuration["index_codecs"]]
    location = configuration.get("index_location", "end")
    endian = configuration["index_codecs"][0].get("configuration", {}).get("endian", "little")
    if names != ["bytes", "crc32c"] or endian != "little" or location not in ("start", "end"):
        raise StoreFormatError(f"a shard index packed by {' + '.join(map(str, names))}, {endian}, at its {location}")
    inner = _plain_packing(configuration["codecs"], inner_shape, data_type)
    sharding = {
        "chunk_shape": list(inner_shape),
        "codecs": inner.codecs,
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": "crc32c"}],
        "index_location": location,
    }
    outer = [{"name": "sharding_indexed", "configuration": sharding}]
    return _Packing(chunk, _n_raw(chunk, data_type), outer, inner, location == "start")


def _chunk_shape(stated: Any, shape: Sequence[int], data_type: str) -> tuple[int, ...]:
    if not isinstance(stated, list) or len(stated) != len(shape) or not all(is_count(side) and side for side in stated):
        raise StoreFormatError(f"chunks of the shape {str(stated)[:80]} in an array of {len(shape)} dimensions")
    n_bytes = math.prod(stated) * (8 if data_type == "string" else np.dtype(data_type).itemsize)
    if n_bytes > 2 * MAX_FLOW_BYTES:
        raise StoreFormatError(f"chunks of {stated} take {n_bytes} bytes each, at most {2 * MAX_FLOW_BYTES} can be")
    return tuple(stated)


def _n_raw(chunk: tuple[int, ...], data_type: str) -> int:
    return -1 if data_type == "string" else math.prod(chunk) * np.dtype(data_type).itemsize


def _plain_packing(codecs: Sequence[Mapping[str, Any]], chunk: tuple[int, ...], data_type: str) -> _Packing:
    checked: list[dict[str, Any]] = []
    for codec in codecs:
        name = codec["name"]
        if name not in _KNOWN[:-1]:
            raise StoreFormatError(f"codec {str(name)[:80]!r}, expected one of {', '.join(_KNOWN)}")
        configuration = codec.get("configuration", {})
        if name == "transpose":
            order = configuration["order"]
            if not isinstance(order, list) or sorted(order) != list(range(len(chunk))):
                raise StoreFormatError(f"axes in the order {str(order)[:80]}")
            checked.append({"name": name, "configuration": {"order": order}})
        elif name == "bytes":
            endian = configuration.get("endian", "little")
            if endian not in ("little", "big"):
                raise StoreFormatError(f"bytes in the order {str(endian)[:80]!r}")
            checked.append({"name": name, "configuration": {"endian": endian}})
        else:
            checked.append({"name": name, "configuration": _COMPRESSORS.get(name, {})})
    names = [codec["name"] for codec in checked if codec["name"] != "transpose"]
    serializer = "vlen-utf8" if data_type == "string" else "bytes"
    middle = names[1:-1] if names[-1:] == ["crc32c"] else names[1:]
    is_usual = names[:1] == [serializer] and (middle == [] or (len(middle) == 1 and middle[0] in _COMPRESSORS))
    if not is_usual or (data_type == "string" and middle not in ([], ["zstd"])):
        raise StoreFormatError(f"codecs in an order that is not known: {' + '.join(names)}")
    return _Packing(chunk, _n_raw(chunk, data_type), checked)


def _key_of(document: Mapping[str, Any]) -> Any:
    encoding = document["chunk_key_encoding"]
    separator = encoding.get("configuration", {}).get("separator", "/")
    if encoding["name"] != "default" or separator not in ("/", "."):
        raise StoreFormatError(f"chunk keys of the kind {str(encoding)[:80]}")
    return lambda place: separator.join(("c", *map(str, place)))


def _fill_value(value: Any, data_type: str) -> Any:
    is_text = isinstance(value, str)
    if is_text if data_type == "string" else type(value) in (int, float) or value in ("NaN", "Infinity", "-Infinity"):
        return value
    raise StoreFormatError(f"the fill value {str(value)[:80]!r} of {data_type}")


def read_foreign_array(
    storage: Storage,
    path: str,
    shape: tuple[int, ...],
    data_type: str,
    start: int,
    stop: int,
) -> npt.NDArray[Any]:
    """Read part of an array through zarr-python, however it is laid out.

    Parameters
    ----------
    storage : Storage
        Of the store.
    path : str
        Of the array.
    shape : tuple of int
        That it must have.
    data_type : str
        That it must have, as Zarr names it: that of numpy, or ``string``.
    start, stop : int
        Range along its first axis.

    Returns
    -------
    array (stop - start, *shape[1:])

    Raises
    ------
    ChecksumError
        If a chunk that the range needs is missing or damaged.
    StoreFormatError
        If it is of another shape or type, packed by a codec that is not on the list, or would unpack to more than its
        shape says.

    Notes
    -----
    A chunk that is missing, also inside a shard, is an error: Zarr takes it for one of nothing but the fill value, and
    it cannot be told from one that was never written. Who writes flow by zarr-python's own means asks for these chunks
    too (``write_empty_chunks``). Whole chunk files are read, also where a shard would give a part of itself.
    """
    key = f"{path}/zarr.json"
    # What zarr-python and its codecs raise on bytes that they do not understand, and documents of another form.
    try:
        document = documents.parse_document(storage.read(key) or b"", key)
        found = document["data_type"], tuple(document["shape"])
        if document["node_type"] != "array" or found != (data_type, shape):
            raise StoreFormatError(
                f"values of shape {found[1]} and type {str(found[0])[:80]}, its record says {shape} and {data_type}"
            )
        packing = _packing(document, shape, data_type)
        memory = memory_storage()
        memory.write("zarr.json", documents.to_bytes(_document(document, packing, data_type)))
        key_of = _key_of(document)
        first, last = start // packing.shape[0], -(-stop // packing.shape[0])
        rest = (range(-(-side // step)) for side, step in zip(shape[1:], packing.shape[1:], strict=True))
        asked = [(start, stop), *((0, side) for side in shape[1:])]
        for place in itertools.product(range(first, last), *rest):
            corner = [step * side for step, side in zip(place, packing.shape, strict=True)]
            needed = [(begin - edge, end - edge) for (begin, end), edge in zip(asked, corner, strict=True)]
            memory.write(key_of(place), _read_chunk(storage, path, key_of(place), packing, needed))
        array = zarr.open_array(memory.zarr_store(), mode="r", zarr_format=3)
        return np.asarray(array[start:stop])
    except (LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError, OSError) as error:
        if isinstance(error, FlowStoreError):
            raise
        raise StoreFormatError(f"zarr-python cannot read it ({type(error).__name__}: {error})") from error


def _document(document: Mapping[str, Any], packing: _Packing, data_type: str) -> dict[str, Any]:
    """Return the document that zarr-python is given: of what was checked, and nothing else."""
    separator = document["chunk_key_encoding"].get("configuration", {}).get("separator", "/")
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": document["shape"],
        "data_type": data_type,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(packing.shape)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
        "fill_value": _fill_value(document["fill_value"], data_type),
        "codecs": packing.codecs,
        "attributes": {},
        "storage_transformers": [],
    }


def _read_chunk(storage: Storage, path: str, name: str, packing: _Packing, needed: Box) -> bytes:
    # No codec of the list makes bytes larger by more than an eighth.
    limit = max(packing.n_raw, _MAX_TEXT_BYTES if packing.n_raw < 0 else 0)
    limit += limit // 8 + 2**16 + (16 * math.prod(packing.shape) if packing.inner is not None else 0)
    chunk = storage.read_range(f"{path}/{name}", 0, limit + 1)
    if chunk is None:
        raise ChecksumError(f"chunk {name} is missing, which Zarr would read as its fill value")
    if len(chunk) > limit:
        raise StoreFormatError(f"chunk {name} has more than {limit} bytes, for {packing.n_raw} unpacked")
    try:
        packing.check(chunk, needed)
    except (ChecksumError, StoreFormatError) as error:
        raise type(error)(f"chunk {name}: {error}") from error
    return chunk
