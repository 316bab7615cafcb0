"""Quantizers against their formulas in exact arithmetic: every tie, both ends, and the float32 values beside them."""

import math
from fractions import Fraction

import numpy as np
import pytest
from edge_values import BOUNDS, beside, grid
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.quantize import UINT8_ENCODINGS, Quantizer, check_bound
from flowstore.quantize.encoder import FlowEncoder

# A bound is a short decimal, as a person types it.
bounds = st.integers(1, 10**7).map(lambda thousandths: thousandths / 1000)


def encode_plainly(quantizer, values):
    return quantizer.encode(values)


def encode_compiled(quantizer, values):
    """Encode by the loops that the numba engine uses; they must give the same codes."""
    padded = np.zeros(values.size + values.size % 2, np.float32)
    padded[: values.size] = values
    encoder = FlowEncoder(quantizer, (2, 1, padded.size // 2), is_compiled=True)
    return encoder.encode(padded.reshape(2, 1, -1)).reshape(-1)[: values.size].copy()


both_ways = pytest.mark.parametrize("encode", [encode_plainly, encode_compiled])


def half_even(value):
    return round(value)  # of a Fraction: exact, half to even (Python's documentation of `fractions.Fraction.__round__`)


def exact_denseflow(value, bound):
    value, bound = Fraction(float(value)), Fraction(bound)
    return min(max(half_even(255 * (value + bound) / (2 * bound)), 0), 255)


def exact_centred(value, bound):
    value, bound = Fraction(float(value)), Fraction(bound)
    return min(max(128 + half_even(value * 127 / bound), 1), 255)


EXACT = {"denseflow": exact_denseflow, "centred": exact_centred}


@both_ways
@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("encoding", EXACT)
def test_codes_equal_the_formula_in_exact_arithmetic(encode, encoding, bound):
    values = grid(bound)
    expected = [EXACT[encoding](value, bound) for value in values]
    assert set(expected) == set(range(1 if encoding == "centred" else 0, 256))
    codes = encode(Quantizer(encoding, bound), values)
    assert codes.dtype == np.uint8
    assert codes.tolist() == expected


def test_the_grid_holds_real_ties():
    # With a bound of 127.5 each half is a float32, so half-to-even decides, in both directions.
    ties = np.arange(-127, 128, dtype=np.float32)
    codes = Quantizer("denseflow", 127.5).encode(ties)
    assert (codes % 2 == 0).all()
    assert codes.tolist() == [half_even(Fraction(255, 2) + int(tie)) for tie in ties]
    ties = np.arange(-126, 127, dtype=np.float32) + np.float32(0.5)
    assert (Quantizer("centred", 127).encode(ties) % 2 == 0).all()


@given(bounds, st.lists(st.floats(-2, 2), min_size=1, max_size=30), st.sampled_from(list(EXACT)))
def test_codes_equal_the_formula_for_any_bound(bound, shares, encoding):
    values = beside(np.array(shares) * bound)
    assert Quantizer(encoding, bound).encode(values).tolist() == [EXACT[encoding](value, bound) for value in values]


@both_ways
@pytest.mark.parametrize("bound", BOUNDS)
def test_truncate_is_the_notebook_bit_for_bit(encode, bound):
    rng = np.random.default_rng(0)
    random = (rng.uniform(-1.2, 1.2, 100_000) * bound).astype(np.float32)
    for values in (grid(bound), random):
        clipped = np.clip(values, -bound, bound)
        expected = ((clipped + bound) * (255 / (2 * bound))).astype(np.uint8)
        np.testing.assert_array_equal(encode(Quantizer("truncate", bound), values), expected)


def check_half_step(encoding, bound, values):
    quantizer = Quantizer(encoding, bound)
    values = values[np.abs(values.astype(np.float64)) <= bound]
    decoded = quantizer.decode(quantizer.encode(values))
    assert decoded.dtype == np.float32
    # Beyond half a step only the rounding of float32 at the bound: of the decoded value, and of truncate's own sum.
    allowed = Fraction(quantizer.scale) / 2 + 4 * Fraction(float(np.spacing(np.float32(bound))))
    pairs = zip(values.tolist(), decoded.tolist(), strict=True)
    assert max(abs(Fraction(value) - Fraction(pixel)) for value, pixel in pairs) <= allowed


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
def test_decoded_pixels_are_within_half_a_step(encoding, bound):
    check_half_step(encoding, bound, grid(bound))


@given(bounds, st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.sampled_from(UINT8_ENCODINGS))
def test_decoded_pixels_are_within_half_a_step_for_any_bound(bound, shares, encoding):
    check_half_step(encoding, bound, np.append(np.array(shares) * bound, 0).astype(np.float32))


@given(bounds)
def test_zero_is_exactly_zero(bound):
    zero = np.array([0.0, -0.0], np.float32)
    quantizer = Quantizer("centred", bound)
    assert quantizer.encode(zero).tolist() == [128, 128]
    assert quantizer.decode(quantizer.encode(zero)).tobytes() == np.zeros(2, np.float32).tobytes()


@pytest.mark.parametrize(
    ("encoding", "code"), [("centred", 128), ("denseflow", 128), ("truncate", 127), ("float16", 0)]
)
def test_code_of_zero(encoding, code):
    quantizer = Quantizer(encoding, None if encoding == "float16" else 20)
    assert quantizer.zero_code == code
    assert quantizer.encode(np.zeros(1, np.float32)).tolist() == [code]


@given(bounds, st.lists(st.floats(-2, 2), min_size=1, max_size=30))
def test_mirrored_flow_has_mirrored_codes(bound, shares):
    quantizer = Quantizer("centred", bound)
    values = np.array(shares, np.float32) * np.float32(bound)
    codes, mirrored = quantizer.encode(values), quantizer.encode(-values)
    np.testing.assert_array_equal(mirrored.astype(int), 256 - codes.astype(int))
    np.testing.assert_array_equal(quantizer.decode(mirrored), -quantizer.decode(codes))
    assert 0 not in codes


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
def test_every_code_survives_decoding_and_encoding(encoding, bound):
    quantizer = Quantizer(encoding, bound)
    codes = np.arange(1 if encoding == "centred" else 0, 256, dtype=np.uint8)
    np.testing.assert_array_equal(quantizer.encode(quantizer.decode(codes)), codes)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
def test_decoding_is_scale_and_offset(encoding, bound):
    quantizer = Quantizer(encoding, bound)
    codes = np.arange(256, dtype=np.uint8)
    by_paper = {
        "centred": lambda q: (q - 128) * bound / 127,
        "denseflow": lambda q: q * 2 * bound / 255 - bound,
        "truncate": lambda q: (q + 0.5) * 2 * bound / 255 - bound,
    }[encoding]
    pixels = quantizer.decode(codes)
    np.testing.assert_allclose(pixels, by_paper(codes.astype(float)), rtol=0, atol=bound * 1e-6)
    np.testing.assert_array_equal(pixels, (codes * quantizer.scale + quantizer.offset).astype(np.float32))


@both_ways
@given(
    values=st.lists(st.floats(-2.5, 2.5, width=32), min_size=2, max_size=40),
    bound=st.sampled_from([0.1, 1, 1.5, 2.3]),
)
def test_clipped_values_are_counted_by_component(encode, values, bound):
    half = len(values) // 2
    flow = np.array([values[:half], values[half : 2 * half]], np.float32).reshape(2, 1, half)
    expected = tuple(sum(abs(float(value)) > bound for value in component.flat) for component in flow)
    quantizer = Quantizer("centred", bound)
    assert quantizer.count_clipped(flow) == expected
    encoder = FlowEncoder(quantizer, flow.shape, is_compiled=encode is encode_compiled)
    encoder.encode(flow)
    assert (encoder.statistics().clipped_x, encoder.statistics().clipped_y) == expected


def test_the_bound_itself_is_not_clipped():
    bound = np.float32(20)
    flow = np.array([[bound, np.nextafter(bound, np.float32(21))], [-bound, 0]], np.float32).reshape(2, 1, 2)
    assert Quantizer("denseflow", 20).count_clipped(flow) == (1, 0)


def test_float16_is_numpys_half_precision_saturated():
    rng = np.random.default_rng(0)
    values = beside(np.concatenate([rng.normal(0, 50, 10_000), [0, 6e-8, 1e-9, 2047.5, 2048.5, 65503, 65504]]))
    quantizer = Quantizer("float16", None)
    codes = quantizer.encode(values)
    assert codes.dtype == np.float16
    np.testing.assert_array_equal(codes, np.minimum(values, np.float32(65504)).astype(np.float16))
    np.testing.assert_array_equal(quantizer.decode(codes), codes.astype(np.float32))
    far = np.array([65519, 65520, 1e6, 3e38], np.float32)
    assert quantizer.encode(far).tolist() == [65504] * 4
    assert quantizer.encode(-far).tolist() == [-65504] * 4
    assert quantizer.count_clipped(np.stack([far, -far / 2]).reshape(2, 1, 4)) == (4, 2)
    assert (quantizer.scale, quantizer.offset, quantizer.zero_code) == (1, 0, 0)


@pytest.mark.parametrize("encoding", [*UINT8_ENCODINGS, "float16"])
def test_arrays_of_any_stride_and_given_outputs(encoding):
    quantizer = Quantizer(encoding, None if encoding == "float16" else 20)
    flow = np.random.default_rng(0).normal(0, 9, (2, 12, 14)).astype(np.float32)
    codes = quantizer.encode(flow)
    strided = np.asfortranarray(flow)[:, ::-1][:, ::-1]
    np.testing.assert_array_equal(quantizer.encode(strided), codes)
    out = np.empty_like(codes)
    assert quantizer.encode(flow, out=out) is out
    np.testing.assert_array_equal(out, codes)
    pixels = quantizer.decode(codes)
    back = np.empty((14, 12, 2), np.float32).T
    assert quantizer.decode(codes, out=back) is back
    np.testing.assert_array_equal(back, pixels)


def test_encoding_leaves_its_input_as_it_was():
    for encoding in (*UINT8_ENCODINGS, "float16"):
        flow = np.linspace(-30, 30, 64, dtype=np.float32)
        Quantizer(encoding, None if encoding == "float16" else 20).encode(flow)
        np.testing.assert_array_equal(flow, np.linspace(-30, 30, 64, dtype=np.float32))


@pytest.mark.parametrize("bound", [0, -0.0, -20, math.nan, math.inf, -math.inf, None])
def test_bounds_that_mean_nothing_are_refused(bound):
    with pytest.raises(ArgumentError, match=r"bound is .*, expected a finite number of pixels above 0, such as 20"):
        check_bound(bound)
    for encoding in UINT8_ENCODINGS:
        with pytest.raises(ArgumentError, match="bound is"):
            Quantizer(encoding, bound)


@pytest.mark.parametrize("bound", [5e-324, 1e-40, 1e39, 1.7e308])
def test_bounds_beyond_float32_are_refused(bound):
    with pytest.raises(ArgumentError, match=r"expected 1e-30 to 1e\+30 pixels"):
        check_bound(bound)


@pytest.mark.parametrize("bound", [1e-30, 1e30])
@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
def test_the_smallest_and_the_largest_bound_work(encoding, bound):
    values = (np.array([-1, -0.5, 0, 0.25, 1, 2]) * bound).astype(np.float32)
    with np.errstate(all="raise"):
        codes = Quantizer(encoding, bound).encode(values)
    np.testing.assert_array_equal(codes, Quantizer(encoding, 1).encode((values / bound).astype(np.float32)))


def test_other_refusals():
    with pytest.raises(ArgumentError, match="encoding is 'linear', expected one of centred, denseflow, truncate"):
        Quantizer("linear", 20)
    with pytest.raises(ArgumentError, match="float16 stores pixels as they are and takes no bound; found bound 20"):
        Quantizer("float16", 20)
    with pytest.raises(ArgumentError, match="codes are float16, expected uint8 for encoding centred"):
        Quantizer().decode(np.zeros(3, np.float16))
    with pytest.raises(ArgumentError, match="codes are uint8, expected float16"):
        Quantizer("float16", None).decode(np.zeros(3, np.uint8))


@pytest.mark.parametrize("quantizer", [Quantizer("denseflow", 7.5), Quantizer("float16", None)])
def test_a_quantizer_is_a_value(quantizer):
    assert Quantizer(**quantizer.to_json()) == quantizer
    assert eval(repr(quantizer), {"Quantizer": Quantizer}) == quantizer
    assert len({quantizer, Quantizer(**quantizer.to_json())}) == 1
