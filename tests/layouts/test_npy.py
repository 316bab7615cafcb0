"""Videos in .npy files: what NumPy itself reads and writes, and headers that lie."""

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import DecodeError
from flowstore.layouts.npy import HEADER_MAX_BYTES, encode_npy_flow, npy_header, parse_npy_header

FLOW = np.random.default_rng(1).normal(0, 5, (3, 2, 4, 5)).astype(np.float32)


def saved(array, **options):
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def parsed(data):
    return parse_npy_header(data[:HEADER_MAX_BYTES], len(data))


def flows_of(data):
    video = parsed(data)
    starts = [video.data_start + video.flow_bytes * number for number in range(video.n_flows)]
    return np.stack([video.decode_flow(data[start : start + video.flow_bytes]) for start in starts])


@pytest.mark.parametrize("axes", ["t2hw", "1thw2"])
def test_numpy_writes_the_same_bytes(axes):
    array = FLOW if axes == "t2hw" else np.ascontiguousarray(FLOW.transpose(0, 2, 3, 1)[None])
    data = npy_header(3, 4, 5, axes) + b"".join(encode_npy_flow(flow, axes) for flow in FLOW)
    assert data == saved(array)
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    np.testing.assert_array_equal(loaded, array)


@given(st.integers(1, 10**7), st.integers(1, 8000), st.integers(1, 8000))
def test_any_header_is_numpys(n_flows, height, width):
    header = npy_header(n_flows, height, width, "1thw2")
    file = io.BytesIO(header)
    assert np.lib.format.read_magic(file) == (1, 0)
    assert np.lib.format.read_array_header_1_0(file) == ((1, n_flows, height, width, 2), False, np.dtype("<f4"))
    assert len(header) % 64 == 0
    video = parse_npy_header(header, len(header) + n_flows * 8 * height * width)
    assert (video.n_flows, video.height, video.width, video.axes) == (n_flows, height, width, "1thw2")


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8"])
@pytest.mark.parametrize("axes", ["t2hw", "thw2", "1thw2"])
def test_what_numpy_writes_is_read(dtype, axes):
    flow = FLOW.astype(dtype)
    array = {"t2hw": flow, "thw2": flow.transpose(0, 2, 3, 1), "1thw2": flow.transpose(0, 2, 3, 1)[None]}[axes]
    found = flows_of(saved(np.ascontiguousarray(array)))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, flow.astype(np.float32))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not a .npy file"),
        (saved(FLOW)[:50], "damaged .npy header"),
        (saved(FLOW)[:-1], "cut off: 607 bytes, expected 608"),
        (saved(FLOW) + b"\0", "too long"),
        (saved(FLOW.astype(np.int32)), "expected numbers of type"),
        (saved(FLOW.astype(">f4")), "expected numbers of type"),
        (saved(np.array([None]), allow_pickle=True), r"expected numbers of type .* found '\|O'"),
        (saved(np.asfortranarray(FLOW)), "Fortran order"),
        (saved(FLOW[0]), "expected the shape"),
        (saved(np.zeros((3, 1024), np.float32)), r"expected the shape .*, found \(3, 1024\)"),
        (saved(np.zeros((0, 2, 4, 5), np.float32)), "expected the shape of an array"),
        (saved(np.zeros((2, 3, 4, 5, 2), np.float32)), "expected the shape"),
    ],
)
def test_what_is_no_flow_is_refused(data, said):
    with pytest.raises(DecodeError, match=said):
        parsed(data)


def with_header(text):
    padded = text.ljust(118 - 1) + "\n"
    return b"\x93NUMPY\1\0" + len(padded).to_bytes(2, "little") + padded.encode()


@pytest.mark.parametrize(
    "text",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (10000000, 2, 8000, 8000)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2, 1000000, 1000000)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (True, 2, 4, 4)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 2, 4, 4)}",
        "{'descr': '<f4', 'fortran_order': False}",
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1, 2, 4, 4)}",
        "__import__('os').system('true')",
        "(" * 90,
    ],
)
def test_a_header_that_lies_is_refused_before_room_is_made(text):
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError):
            parsed(with_header(text) + bytes(1000))
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=300))
def test_any_bytes_are_refused(data):
    for beginning in (b"", b"\x93NUMPY\1\0", b"\x93NUMPY\2\0"):
        with pytest.raises(DecodeError):
            parsed(beginning + data)
