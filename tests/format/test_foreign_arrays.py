"""Arrays that others laid out: what zarr-python writes is read the same, what cannot be known is refused."""

import copy
import json

import numpy as np
import pytest
import zarr
from store_factory import make_codes
from zarr.codecs import BytesCodec, Crc32cCodec, GzipCodec, ShardingCodec, TransposeCodec

from flowstore.errors import ChecksumError, StoreFormatError
from flowstore.format.foreign_arrays import read_foreign_array
from flowstore.storage.local import LocalStorage

SHAPE = (6, 2, 4, 5)
CODES = make_codes(6, 4, 5)


def write_array(root, codecs, values=CODES, chunks=(2, 2, 4, 5)):
    array = zarr.create(
        store=str(root / "flow"), shape=values.shape, chunks=chunks, dtype=values.dtype, codecs=codecs, fill_value=0
    )
    array[:] = values
    return root


def read(root, start=0, stop=6, data_type="uint8"):
    return read_foreign_array(LocalStorage(str(root)), "flow", SHAPE, data_type, start, stop)


def sharded(**options):
    return ShardingCodec(chunk_shape=(1, 2, 4, 5), codecs=[BytesCodec(), Crc32cCodec()], **options)


@pytest.mark.parametrize(
    "codecs",
    [
        [TransposeCodec(order=(3, 2, 1, 0)), BytesCodec()],
        [BytesCodec(), Crc32cCodec()],
        [BytesCodec(), GzipCodec(level=1)],
        [sharded(index_location="start")],
        [sharded()],
    ],
    ids=["transposed", "checksum", "gzip", "index first", "index last"],
)
def test_what_zarr_python_lays_out_is_read(tmp_path, codecs):
    root = write_array(tmp_path, codecs)
    np.testing.assert_array_equal(read(root), CODES)
    np.testing.assert_array_equal(read(root, 3, 4), CODES[3:4])


def test_the_other_order_of_bytes_is_read(tmp_path):
    values = CODES.astype(np.float16) / 8
    root = write_array(tmp_path, [BytesCodec(endian="big")], values)
    np.testing.assert_array_equal(read(root, data_type="float16"), values)


def test_a_flipped_bit_below_a_checksum_is_found(tmp_path):
    root = write_array(tmp_path, [BytesCodec(), Crc32cCodec()])
    path = root / "flow/c/1/0/0/0"
    data = bytearray(path.read_bytes())
    data[7] ^= 4
    path.write_bytes(data)
    np.testing.assert_array_equal(read(root, 0, 2), CODES[:2])
    with pytest.raises(ChecksumError, match="checksum differs"):
        read(root, 2, 4)
    path.write_bytes(b"abc")
    with pytest.raises(ChecksumError, match="checksum differs"):
        read(root, 2, 4)


def test_bytes_that_are_no_gzip_are_refused(tmp_path):
    root = write_array(tmp_path, [BytesCodec(), GzipCodec(level=1)])
    (root / "flow/c/0/0/0/0").write_bytes(b"no gzip at all")
    with pytest.raises(StoreFormatError, match="gzip does not know"):
        read(root)


def put(value, *path):
    """Return a change of a document: the value at a path of keys."""

    def change(document):
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


SHARDING = "codecs", 0, "configuration"
BYTES = {"name": "bytes"}
REFUSED = {
    "a grid of another kind": (put("rectilinear", "chunk_grid", "name"), "a grid of the kind 'rectilinear'"),
    "chunks of no size": (put([0, 2, 4, 5], "chunk_grid", "configuration", "chunk_shape"), "chunks of the shape"),
    "chunks of other axes": (put([2, 2, 4], "chunk_grid", "configuration", "chunk_shape"), "array of 4 dimensions"),
    "vast chunks": (put([2**20, 2, 4, 2**20], "chunk_grid", "configuration", "chunk_shape"), "bytes each, at most"),
    "shards not filled": (put([2, 2, 4, 3], *SHARDING, "chunk_shape"), r"that chunks of \(2, 2, 4, 3\) do not fill"),
    "an index without a checksum": (put([BYTES], *SHARDING, "index_codecs"), "a shard index packed by bytes,"),
    "an index in the middle": (put("middle", *SHARDING, "index_location"), "at its middle"),
    "a codec that nobody knows": (put([BYTES, {"name": "delta"}], *SHARDING, "codecs"), "codec 'delta', expected"),
    "axes that are none": (
        put([{"name": "transpose", "configuration": {"order": [0, 1, 2, 9]}}, BYTES], *SHARDING, "codecs"),
        r"axes in the order \[0, 1, 2, 9\]",
    ),
    "an order of bytes that is none": (
        put([{"name": "bytes", "configuration": {"endian": "middle"}}], *SHARDING, "codecs"),
        "bytes in the order 'middle'",
    ),
    "two compressors": (
        put([BYTES, {"name": "zstd"}, {"name": "gzip"}], *SHARDING, "codecs"),
        r"not known: bytes \+ zstd \+ gzip",
    ),
    "a checksum of nothing": (put([{"name": "crc32c"}], *SHARDING, "codecs"), "not known: crc32c"),
    "keys of another kind": (put("v2", "chunk_key_encoding", "name"), "chunk keys of the kind"),
    "keys that lead elsewhere": (
        put({"separator": "/../"}, "chunk_key_encoding", "configuration"),
        "chunk keys of the kind",
    ),
    "a fill value that is a text": (put("zero", "fill_value"), "the fill value 'zero' of uint8"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_known_is_refused(tmp_path, name):
    root = write_array(tmp_path, [sharded()])
    path = root / "flow/zarr.json"
    document = json.loads(path.read_text())
    before = copy.deepcopy(document)
    change, said = REFUSED[name]
    change(document)
    assert document != before
    path.write_text(json.dumps(document))
    with pytest.raises(StoreFormatError, match=said):
        read(root)
