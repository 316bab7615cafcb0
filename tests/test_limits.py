"""The limits refuse what no store holds, and nothing that one does."""

import numpy as np
import pytest
from datasets import write_video
from hypothesis import given
from hypothesis import strategies as st

import flowstore
from flowstore.errors import ArgumentError, StoreFormatError
from flowstore.format.codec import codec_for
from flowstore.limits import (
    MAX_DOCUMENT_BYTES,
    check_document_size,
    check_flow_size,
    is_count,
    is_number,
    is_text_mapping,
)
from flowstore.pipeline import extract


@pytest.mark.parametrize("preset", ["fast", "balanced", "small", "none"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (8, 8), (240, 320), (2160, 3840)])
@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_the_flow_that_packs_best_passes(preset, height, width, dtype):
    # Nothing is smaller than flow of one value.
    packed = codec_for(preset, dtype).encode(np.full((2, height, width), 128, dtype))
    check_flow_size(height, width, 100, 100 * (len(packed) + 16))


def test_sizes_at_both_ends():
    check_flow_size(23_170, 23_170, 1, 2**30)
    check_flow_size(1, 65_535, 1, 2**20)
    for height, width in ((0, 5), (5, -1), (1, 65_536), (23_171, 23_171)):
        with pytest.raises(ArgumentError, match=f"flow of {width}×{height} px"):
            check_flow_size(height, width, 1, 2**30)
    check_flow_size(10, 10, 100, 2100)
    with pytest.raises(ArgumentError, match="100 flows of 10×10 px in 2099 bytes"):
        check_flow_size(10, 10, 100, 2099)
    check_document_size("x", MAX_DOCUMENT_BYTES)
    with pytest.raises(StoreFormatError, match="x: 33554433 bytes or more, a document has at most 33554432"):
        check_document_size("x", MAX_DOCUMENT_BYTES + 1)


@given(st.integers(-(2**70), 2**70))
def test_counts_are_those_of_53_bits(value):
    assert is_count(value) is (0 <= value < 2**53)


@pytest.mark.parametrize("value", [True, 1.0, "1", None, [1]])
def test_what_is_no_count(value):
    assert not is_count(value)


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_numbers_are_finite(value):
    assert is_number(value) is bool(np.isfinite(value) and abs(value) < 1e300)


def test_texts():
    assert is_text_mapping({"a": "b"})
    assert not is_text_mapping({"a": 1})
    assert not is_text_mapping([])


def test_a_video_too_long_to_be_read_again_is_a_failed_one(tmp_path, monkeypatch):
    write_video(tmp_path / "source/wave/long.avi", n_frames=300)
    write_video(tmp_path / "source/wave/short.avi", n_frames=5)
    monkeypatch.setattr("flowstore.limits.MAX_DOCUMENT_BYTES", 3500)
    report = extract(tmp_path / "source", tmp_path / "s.zarr", scheduler="sync")
    (failure,) = report.failures
    assert failure.name == "long"
    assert failure.reason.startswith("too long a video: its document: ")
    assert flowstore.open_store(tmp_path / "s.zarr")["wave/short"].n_flows == 4
