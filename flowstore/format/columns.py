"""The columns of the index: one-dimensional Zarr arrays, packed by Zstandard, to bytes and back.

Written as zarr-python 3.1 writes them, and read only in that form, so that each chunk has a size that is known before
it is unpacked. What is wrong with a column is an error; that the tree can replace it is known to its caller.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from numcodecs import VLenUTF8
from numcodecs.zstd import Zstd

from flowstore.errors import ChecksumError, StoreFormatError
from flowstore.format.zarr_metadata import parse_document
from flowstore.storage.keys import Storage

# NumPy 2 keeps a short string in 16 bytes, a fifth of what a Python object takes.
TEXT_TYPE: np.dtype[Any] = np.dtypes.StringDType()
# Strings become Python objects on their way out of a chunk: few at a time.
_CHUNK, TEXT_CHUNK = 2**20, 2**16
# Texts have no size that a shape says: a chunk of names and reasons has at most so many bytes.
_MAX_TEXT_BYTES = 2**26
# What a reader depends on; the rest of a document may be written in other words.
_COMPARED = ("node_type", "shape", "data_type", "chunk_grid", "chunk_key_encoding")
Column = npt.NDArray[Any]


def _column_document(n_rows: int, dtype: np.dtype[Any], dimension: str) -> dict[str, Any]:
    is_text = dtype == TEXT_TYPE
    serializer = {"name": "vlen-utf8", "configuration": {}}
    if not is_text:
        serializer = {"name": "bytes", "configuration": {"endian": "little"}}
    return {
        "shape": [n_rows],
        "data_type": "string" if is_text else dtype.name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [_chunk_rows(n_rows, dtype)]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": "" if is_text else dtype.type(0).item(),
        "codecs": [serializer, {"name": "zstd", "configuration": {"level": 0, "checksum": False}}],
        "attributes": {},
        "dimension_names": [dimension],
        "zarr_format": 3,
        "node_type": "array",
        "storage_transformers": [],
    }


def _chunk_rows(n_rows: int, dtype: np.dtype[Any]) -> int:
    return min(TEXT_CHUNK if dtype == TEXT_TYPE else _CHUNK, max(1, n_rows))


def _chunks(n_rows: int, n_chunk: int) -> Iterator[tuple[str, slice]]:
    """Yield the key of each chunk, and its rows; the last one is filled up to the size of the others."""
    for number, start in enumerate(range(0, n_rows, n_chunk)):
        yield f"c/{number}", slice(start, min(start + n_chunk, n_rows))


def write_column(storage: Storage, path: str, column: Column, dimension: str) -> None:
    """Write an array (n_rows,) of numbers or of `TEXT_TYPE`; `dimension` is the name of its axis."""
    dtype, n_rows = column.dtype, len(column)
    n_chunk = _chunk_rows(n_rows, dtype)
    document = json.dumps(_column_document(n_rows, dtype, dimension), indent=2)
    storage.write(f"{path}/zarr.json", document.encode())
    for key, rows in _chunks(n_rows, n_chunk):
        chunk = np.zeros(n_chunk, dtype)
        chunk[: rows.stop - rows.start] = column[rows]
        raw = VLenUTF8().encode(chunk.astype(object)) if dtype == TEXT_TYPE else chunk.astype(dtype.newbyteorder("<"))
        storage.write(f"{path}/{key}", bytes(Zstd(level=0).encode(raw)))


def read_column(storage: Storage, path: str, n_rows: int, dtype: np.dtype[Any]) -> Column:
    """Return what `write_column` wrote, an array (n_rows,) of `dtype`."""
    key = f"{path}/zarr.json"
    document, expected = parse_document(storage.read(key) or b"", key), _column_document(n_rows, dtype, "")
    stated = {name: document.get(name) for name in _COMPARED}
    stated["codecs"] = [codec.get("name") for codec in _dicts(document.get("codecs"))]
    for name, value in stated.items():
        of_ours = [codec["name"] for codec in expected["codecs"]] if name == "codecs" else expected[name]
        if value != of_ours:
            raise StoreFormatError(f"{key}: {name} is {str(value)[:80]}, expected {of_ours}")
    column = np.empty(n_rows, dtype)
    n_chunk = _chunk_rows(n_rows, dtype)
    for name, rows in _chunks(n_rows, n_chunk):
        try:
            column[rows] = _read_chunk(storage, f"{path}/{name}", n_chunk, dtype)[: rows.stop - rows.start]
        except (ValueError, RuntimeError, TypeError, struct.error) as error:
            raise StoreFormatError(f"{path}/{name}: bytes that its codecs do not know ({error})") from error
    return column


def _dicts(values: Any) -> list[dict[str, Any]]:
    return [value for value in values if isinstance(value, dict)] if isinstance(values, list) else []


def _read_chunk(storage: Storage, key: str, n_rows: int, dtype: np.dtype[Any]) -> Any:
    is_text = dtype == TEXT_TYPE
    most = _MAX_TEXT_BYTES if is_text else n_rows * dtype.itemsize
    # Zstandard makes nothing larger by more than a two hundred and fifty-sixth.
    limit = most + most // 128 + 2**10
    data = storage.read_range(key, 0, limit + 1)
    if data is None:
        raise ChecksumError(f"{key} is missing")
    size = _zstd_size(data)
    if len(data) > limit or size > most or size < (4 if is_text else most):
        raise StoreFormatError(f"{key}: {len(data)} bytes for {size} unpacked, at most {most} can be")
    raw = Zstd().decode(data)
    if not is_text:
        return np.frombuffer(raw, dtype.newbyteorder("<"))
    (count,) = struct.unpack_from("<I", raw)
    if count != n_rows:
        raise StoreFormatError(f"{key}: {count} texts where {n_rows} are expected")
    return VLenUTF8().decode(raw)


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
