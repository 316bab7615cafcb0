"""Encodings of files against their formulas: every tie, both ends, and the float32 values beside them."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.quantize import FileQuantizer, Quantizer
from flowstore.quantize.code_encodings import CODE_ENCODINGS
from flowstore.quantize.file_quantizer import FLOAT_ENCODINGS

BOUNDS = [20, 15.0, 1, 127.5, 32.0, 0.1, 7.3]
bounds = st.integers(1, 10**7).map(lambda thousandths: thousandths / 1000)


def beside(values):
    """Return float32 values with their neighbors on both sides."""
    values = np.asarray(values, np.float64).astype(np.float32)
    return np.unique(np.concatenate([values, np.nextafter(values, -np.inf), np.nextafter(values, np.inf)]))


def planes(values):
    """Return values as flow: an even number of them, half in x and half in y, of a picture one pixel high."""
    padded = np.zeros(values.size + values.size % 2, np.float32)
    padded[: values.size] = values
    return padded.reshape(2, 1, -1)


def exact_i3d(value, bound):
    """Return the code by video_features' formula, in exact arithmetic; Python's round is half to even."""
    value, bound = Fraction(float(value)), Fraction(bound)
    clipped = min(max(value, -bound), bound)
    return min(128 + round(255 * clipped / (2 * bound)), 255)


@pytest.mark.parametrize("bound", BOUNDS)
def test_i3d_128_is_the_formula_in_exact_arithmetic(bound):
    ties = np.arange(-260, 261) / 2 * 2 * bound / 255
    values = beside([*ties, 0.0, 1e-20, -1e-20, bound, -bound, 3 * bound, -3 * bound, 1e18])
    codes = FileQuantizer("i3d-128", bound).encode(planes(values)).ravel()[: values.size]
    expected = [exact_i3d(value, bound) for value in values]
    assert set(expected) == set(range(256))
    assert codes.tolist() == expected


@given(bounds, st.lists(st.floats(-2, 2), min_size=1, max_size=30))
def test_i3d_128_is_the_formula_for_any_bound(bound, shares):
    values = beside(np.array(shares) * bound)
    codes = FileQuantizer("i3d-128", bound).encode(planes(values)).ravel()[: values.size]
    assert codes.tolist() == [exact_i3d(value, bound) for value in values]


def test_i3d_128_ties_go_to_even_and_the_top_is_held():
    # With a bound of 127.5 a code is a pixel, so each half is a float32 and a tie.
    halves = np.arange(-127, 127, dtype=np.float32) + np.float32(0.5)
    codes = FileQuantizer("i3d-128", 127.5).encode(planes(halves)).ravel()
    assert (codes % 2 == 0).all()
    ends = FileQuantizer("i3d-128", 20).encode(np.array([-20, -19.93, 19.9, 20], np.float32).reshape(2, 1, 2))
    # 128 - 127.5 = 0.5 is a tie to 0; 128 + 127.5 = 255.5 one to 256, which no uint8 holds.
    assert ends.ravel().tolist() == [0, 1, 255, 255]


def mmcv_quantize(values, size):
    """Return what mmcv's ``quantize(flow / size, -0.02, 0.02, 255, np.uint8)`` computes, as it is written there."""
    shares = np.clip(values / size, -0.02, 0.02) - -0.02
    return np.minimum(np.floor(255 * shares / (0.02 - -0.02)).astype(np.uint8), 255 - 1)


@pytest.mark.parametrize(("height", "width"), [(240, 320), (7, 1000)])
def test_mmcv_is_its_own_arithmetic_bit_for_bit(height, width):
    rng = np.random.default_rng(0)
    flow = rng.uniform(-0.03, 0.03, (3, 2, height, width)).astype(np.float32) * np.float32(width)
    borders = np.arange(-1, 257) / 255 * 0.04 - 0.02
    flow[0, 0].flat[: 3 * len(borders)][:] = np.resize(beside(borders * width), 3 * len(borders))
    expected = np.stack([mmcv_quantize(flow[:, 0], width), mmcv_quantize(flow[:, 1], height)], axis=1)
    assert expected.min() == 0
    assert expected.max() == 254
    np.testing.assert_array_equal(FileQuantizer("mmcv", None).encode(flow), expected)


def test_mmcv_decodes_to_the_middle_of_a_level():
    codes = np.tile(np.arange(255, dtype=np.uint8), (2, 40, 1))
    pixels = FileQuantizer("mmcv", None).decode(codes)
    by_paper = (codes.astype(float) + 0.5) * (0.02 - -0.02) / 255 + -0.02
    np.testing.assert_allclose(pixels[0], by_paper[0] * 255, rtol=0, atol=1e-6)
    np.testing.assert_allclose(pixels[1], by_paper[1] * 40, rtol=0, atol=1e-6)
    assert (pixels[:, :, 127] == 0).all()


def test_i3d_float_is_clipped_and_divided():
    flow = np.array([-99, -20, -0.0, 5, 20, 20.1], np.float32).reshape(2, 1, 3)
    values = FileQuantizer("i3d-float").encode(flow)
    assert values.dtype == np.float32
    assert values.ravel().tolist() == [-1, -1, 0, 0.25, 1, 1]
    np.testing.assert_array_equal(FileQuantizer("i3d-float", 8).decode(values), values * 8)


def test_pixels_are_as_they_are():
    flow = np.random.default_rng(0).normal(0, 100, (4, 2, 3, 5)).astype(np.float32)
    quantizer = FileQuantizer("pixels", None)
    np.testing.assert_array_equal(quantizer.decode(quantizer.encode(flow)), flow)


@pytest.mark.parametrize("encoding", ["centred", "denseflow", "truncate"])
def test_encodings_of_stores_are_theirs(encoding):
    flow = np.random.default_rng(0).normal(0, 9, (2, 2, 12, 14)).astype(np.float32)
    quantizer, stored = FileQuantizer(encoding, 15), Quantizer(encoding, 15)
    assert quantizer.stored == stored
    np.testing.assert_array_equal(quantizer.encode(flow), stored.encode(flow))
    np.testing.assert_array_equal(quantizer.decode(quantizer.encode(flow)), stored.decode(stored.encode(flow)))
    assert quantizer.step_px(12, 14) == stored.scale


@pytest.mark.parametrize("encoding", ["i3d-128", "mmcv", "i3d-float", "pixels"])
def test_others_have_no_place_in_a_store(encoding):
    assert FileQuantizer(encoding, None if encoding in ("mmcv", "pixels") else 20).stored is None


@pytest.mark.parametrize("encoding", CODE_ENCODINGS)
def test_every_code_survives_and_is_within_half_a_step(encoding):
    quantizer = FileQuantizer(encoding, None if encoding == "mmcv" else 20)
    values = np.arange(1 if encoding == "centred" else 0, 255 if encoding == "mmcv" else 256, dtype=np.uint8)
    codes = np.broadcast_to(values, (2, 30, values.size))
    np.testing.assert_array_equal(quantizer.encode(quantizer.decode(codes)), codes)
    largest = 0.02 * 30 if encoding == "mmcv" else 19.9
    flow = np.random.default_rng(0).uniform(-largest, largest, (2, 30, 400)).astype(np.float32)
    error = np.abs(quantizer.decode(quantizer.encode(flow)) - flow).max()
    assert error <= quantizer.step_px(30, 400) / 2 + 4e-6
    assert quantizer.dtype == np.uint8


@pytest.mark.parametrize("encoding", CODE_ENCODINGS)
def test_zero(encoding):
    quantizer = FileQuantizer(encoding, None if encoding == "mmcv" else 20)
    codes = quantizer.encode(np.zeros((2, 3, 4), np.float32))
    assert set(codes.ravel().tolist()) == {{"mmcv": 127, "truncate": 127}.get(encoding, 128)}
    assert (quantizer.decode(codes) == 0).all() == (encoding != "denseflow")


def test_refusals():
    with pytest.raises(ArgumentError, match="encoding is 'linear', expected one of centred"):
        FileQuantizer("linear")
    for encoding in ("mmcv", "pixels"):
        with pytest.raises(ArgumentError, match=f"encoding {encoding} takes no bound; found bound 20"):
            FileQuantizer(encoding, 20.0)
    with pytest.raises(ArgumentError, match="bound is None"):
        FileQuantizer("i3d-128", None)
    for encoding in FLOAT_ENCODINGS:
        with pytest.raises(ArgumentError, match=f"values are uint8, expected float32 for encoding {encoding}"):
            FileQuantizer(encoding, 20.0 if encoding == "i3d-float" else None).decode(np.zeros((2, 1, 1), np.uint8))


def test_a_quantizer_is_a_value():
    quantizer = FileQuantizer("i3d-128", 15)
    assert FileQuantizer(**quantizer.to_json()) == quantizer
    assert eval(repr(quantizer), {"FileQuantizer": FileQuantizer}) == quantizer
