"""The columns of the index: the bytes that zarr-python writes, read by zarr-python, and refused in any other form."""

import contextlib
import json

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.storage import MemoryStore

from flowstore.errors import ChecksumError, StoreFormatError
from flowstore.format.columns import TEXT_TYPE, read_column, write_column
from flowstore.storage.places import open_storage

NUMBERS = np.array([3, -1, 2**40], np.int64)
TEXTS = np.array(["", "b [HD] é", "☃" * 300], TEXT_TYPE)


def write(column):
    store = MemoryStore()
    write_column(open_storage(store), "index/c", column, "video")
    return store


def read(store, column):
    return read_column(open_storage(store), "index/c", len(column), column.dtype)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=20)
    | st.lists(st.floats(width=32), max_size=20)
    | st.lists(st.integers(-(2**63), 2**63 - 1), max_size=20),
    st.sampled_from(["f4", "f8"]),
)
def test_a_column_comes_back_and_zarr_python_reads_the_same(values, floats):
    kind = (
        TEXT_TYPE
        if values and isinstance(values[0], str)
        else floats
        if values and isinstance(values[0], float)
        else "i8"
    )
    column = np.array(values, kind)
    store = write(column)
    found = read(store, column)
    assert found.dtype == column.dtype
    np.testing.assert_array_equal(found, column)
    array = zarr.open_array(store, path="index/c", mode="r")
    np.testing.assert_array_equal(array[:], column)
    assert array.metadata.dimension_names == ("video",)


@pytest.mark.parametrize(
    "column", [NUMBERS, TEXTS, np.full(2**16 + 3, "x", TEXT_TYPE)], ids=["numbers", "texts", "chunks"]
)
def test_its_bytes_are_those_of_zarr_python(column):
    theirs, ours = MemoryStore(), write(column)
    chunks = (min(len(column), 2**16),)
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.create_array(
            theirs,
            name="index/c",
            shape=column.shape,
            dtype=str if column.dtype == TEXT_TYPE else column.dtype,
            chunks=chunks,
            dimension_names=["video"],
        )
        array[:] = column
    found, expected = (
        {key: value.to_bytes() for key, value in s._store_dict.items() if "/c/" in key} for s in (ours, theirs)
    )
    documents = [json.loads(found.pop("index/c/zarr.json")), json.loads(expected.pop("index/c/zarr.json"))]
    assert found == expected
    # Later versions of zarr-python leave out what is empty.
    keys = ("shape", "data_type", "chunk_grid", "chunk_key_encoding", "fill_value", "dimension_names", "node_type")
    assert [[document[key] for key in keys] for document in documents[:1]] == [[documents[1][key] for key in keys]]
    np.testing.assert_array_equal(read(theirs, column), column)


REFUSED = {
    "another shape": ({"shape": [4]}, r"shape is \[4\], expected \[3\]"),
    "another type": ({"data_type": "object"}, "data_type is object"),
    "vast chunks": ({"chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2**40]}}}, "chunk_grid is"),
    "keys that lead elsewhere": ({"chunk_key_encoding": {"name": "default", "separator": "/../"}}, "chunk_key"),
    "a codec that runs code": ({"codecs": [{"name": "numcodecs.pickle"}]}, "codecs is"),
    "codecs of no form": ({"codecs": 7}, r"codecs is \[\]"),
    "a group": ({"node_type": "group"}, "node_type is group"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("column", [NUMBERS, TEXTS], ids=["numbers", "texts"])
def test_another_form_is_refused(column, name):
    store = write(column)
    change, said = REFUSED[name]
    storage = open_storage(store)
    document = json.loads(storage.read("index/c/zarr.json"))
    storage.write("index/c/zarr.json", json.dumps(document | change).encode())
    with pytest.raises(StoreFormatError, match=said):
        read(store, column)


@pytest.mark.parametrize("column", [NUMBERS, TEXTS], ids=["numbers", "texts"])
def test_no_flipped_byte_makes_another_error(column):
    store = write(column)
    storage = open_storage(store)
    whole = storage.read("index/c/c/0")
    for at in range(len(whole)):
        storage.write("index/c/c/0", whole[:at] + bytes([whole[at] ^ 255]) + whole[at + 1 :])
        with contextlib.suppress(StoreFormatError):
            assert len(read(store, column)) == 3
    storage.delete("index/c/c/0")
    with pytest.raises(ChecksumError, match="index/c/c/0 is missing"):
        read(store, column)
