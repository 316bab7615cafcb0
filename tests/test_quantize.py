"""Quantizers against exact arithmetic, against the notebook's own line, and against their stated error."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from flowstore.errors import ArgumentError, FlowStoreError
from flowstore.quantize import UINT8_ENCODINGS, Quantizer, check_bound

# 127.5 and 15.9375 have every tie of denseflow as an exact float32, 63.5 and 127 every tie of centred.
BOUNDS = [20.0, 32.0, 127.5, 15.9375, 63.5, 127.0, 1.0, 0.1, 1e-3, 7.3, 512.0, 1e-30, 1e30]
TINY = np.finfo(np.float32).smallest_subnormal
ALL_ENCODINGS = (*UINT8_ENCODINGS, "float16")


def make(encoding, bound=20.0):
    return Quantizer(encoding, None if encoding == "float16" else bound)


def neighbours(values, reach=2):
    """Float32 values with those next to them on both sides."""
    below = above = center = np.asarray(values, np.float64).astype(np.float32)
    found = [center]
    for _ in range(reach):
        below, above = np.nextafter(below, np.float32(-np.inf)), np.nextafter(above, np.float32(np.inf))
        found += [below, above]
    return np.unique(np.concatenate(found))


def grid(bound):
    """Every tie and every code of each encoding, both ends and beyond, zeros and denormals, with their neighbours."""
    largest = np.finfo(np.float32).max
    edges = np.concatenate(
        [
            bound * np.arange(-260, 261) / 255,
            bound * np.arange(-260, 261) / 254,
            [-bound, bound, -2 * bound, 2 * bound, -largest / 2, largest / 2],
            np.random.default_rng(0).uniform(-1.2 * bound, 1.2 * bound, 1000),
        ]
    )
    denormals = np.array([0, -0.0, TINY, -TINY, 7 * TINY, -7 * TINY, 1e-38, -1e-38], np.float32)
    return np.concatenate([neighbours(edges), denormals])


def exact_denseflow(v, bound):
    # `round` of a Fraction is half to even and exact.
    v, bound = Fraction(float(v)), Fraction(bound)
    return min(max(round(255 * (v + bound) / (2 * bound)), 0), 255)


def exact_centred(v, bound):
    return 128 + min(max(round(127 * Fraction(float(v)) / Fraction(bound)), -127), 127)


def notebook_codes(flow, bound):
    return ((np.clip(flow, -bound, bound) + bound) * (255 / (2 * bound))).astype(np.uint8)


EXACT = {"denseflow": exact_denseflow, "centred": exact_centred}


@pytest.mark.parametrize("encoding", EXACT)
@pytest.mark.parametrize("bound", BOUNDS)
def test_codes_are_those_of_exact_arithmetic(encoding, bound):
    flow = grid(bound)
    expected = [EXACT[encoding](v, bound) for v in flow]
    codes = Quantizer(encoding, bound).encode(flow)
    wrong = np.flatnonzero(codes != expected)
    assert not wrong.size, [(flow[i], codes[i], expected[i]) for i in wrong[:5]]


@pytest.mark.parametrize("bound", [127.5, 15.9375])
def test_denseflow_rounds_every_tie_to_even(bound):
    ties = (bound * np.arange(-254, 256, 2) / 255).astype(np.float32)
    assert all((255 * (Fraction(float(v)) + Fraction(bound)) / (2 * Fraction(bound))).denominator == 2 for v in ties)
    codes = Quantizer("denseflow", bound).encode(ties)
    assert (codes % 2 == 0).all()
    np.testing.assert_array_equal(codes, 2 * np.rint((np.arange(255) + 0.5) / 2))


@pytest.mark.parametrize("bound", [63.5, 127.0])
def test_centred_rounds_every_tie_to_even(bound):
    ties = (bound * np.arange(-253, 255, 2) / 254).astype(np.float32)
    codes = Quantizer("centred", bound).encode(ties).astype(int)
    assert (codes % 2 == 0).all()
    np.testing.assert_array_equal(codes + codes[::-1], 256)


@pytest.mark.parametrize("encoding", EXACT)
@given(
    bound=st.floats(2.0**-126, 2.0**126, width=32),
    v=st.floats(-(2.0**126), 2.0**126, width=32),
    share=st.floats(-1.125, 1.125, width=32),
)
@example(bound=20.0, v=0.0, share=-0.0)
@example(bound=20.0, v=float(TINY), share=1.0)
def test_any_float32_gets_the_code_of_exact_arithmetic(encoding, bound, v, share):
    flow = np.array([v, np.float32(share) * np.float32(bound)], np.float32)
    expected = [EXACT[encoding](value, bound) for value in flow]
    assert Quantizer(encoding, bound).encode(flow).tolist() == expected


@pytest.mark.parametrize("bound", [20, *BOUNDS])
def test_truncate_is_the_notebooks_line_bit_for_bit(bound):
    flow = grid(bound)
    np.testing.assert_array_equal(Quantizer("truncate", bound).encode(flow), notebook_codes(flow, bound))


@given(
    flow=arrays_of.arrays(np.float32, st.integers(1, 50), elements=st.floats(-60, 60, width=32)),
    bound=st.one_of(st.integers(1, 1000), st.floats(0.01, 1000)),
)
def test_truncate_is_the_notebooks_line_for_any_bound(flow, bound):
    np.testing.assert_array_equal(Quantizer("truncate", bound).encode(flow), notebook_codes(flow, bound))


@pytest.mark.parametrize(
    ("encoding", "codes"),
    [
        # By hand, bound 20: rint(v·127/20) + 128; rint(255(v + 20)/40); floor of the same.
        ("centred", [1, 1, 64, 122, 128, 134, 192, 255, 255]),
        ("denseflow", [0, 0, 64, 121, 128, 134, 191, 255, 255]),
        ("truncate", [0, 0, 63, 121, 127, 133, 191, 255, 255]),
    ],
)
def test_codes_by_hand(encoding, codes):
    flow = np.array([-99, -20, -10, -1, 0, 1, 10, 20, 99], np.float32)
    result = Quantizer(encoding, 20).encode(flow)
    assert result.dtype == np.uint8
    assert result.tolist() == codes


@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
@given(
    bound=st.floats(1e-3, 1e4),
    shares=arrays_of.arrays(np.float64, st.integers(1, 50), elements=st.floats(-1, 1)),
)
def test_error_is_at_most_half_a_step(encoding, bound, shares):
    quantizer = Quantizer(encoding, bound)
    flow = np.clip((shares * bound).astype(np.float32), -np.float32(bound), np.float32(bound))
    error = np.abs(quantizer.decode(quantizer.encode(flow)).astype(np.float64) - flow)
    assert error.max() <= quantizer.scale / 2 + 4 * np.spacing(np.float32(bound))


@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
@pytest.mark.parametrize("bound", BOUNDS)
def test_clipped_flow_decodes_to_the_bound(encoding, bound):
    quantizer = Quantizer(encoding, bound)
    low, high = quantizer.decode(quantizer.encode(np.array([-3, 3], np.float32) * np.float32(bound)))
    assert low == pytest.approx(-bound, abs=quantizer.scale * 0.5001)
    assert high == pytest.approx(bound, abs=quantizer.scale * 0.5001)


@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
@pytest.mark.parametrize("bound", BOUNDS)
def test_decoding_is_linear_by_scale_and_offset(encoding, bound):
    quantizer = Quantizer(encoding, bound)
    b = Fraction(bound)
    step = b / 127 if encoding == "centred" else 2 * b / 255
    start = {"centred": -128 * step, "denseflow": -b, "truncate": step / 2 - b}[encoding]
    assert quantizer.scale == pytest.approx(float(step), rel=1e-15)
    assert quantizer.offset == pytest.approx(float(start), rel=1e-15)
    codes = np.arange(256, dtype=np.uint8)
    expected = np.array([float(code * step + start) for code in range(256)])
    flow = quantizer.decode(codes)
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, expected, rtol=2**-23, atol=bound * 1e-15)
    np.testing.assert_array_equal(flow, quantizer.decode_table)


@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
@pytest.mark.parametrize("bound", BOUNDS)
def test_codes_survive_decoding_and_encoding(encoding, bound):
    quantizer = Quantizer(encoding, bound)
    first = 1 if encoding == "centred" else 0
    codes = np.arange(first, 256, dtype=np.uint8)
    np.testing.assert_array_equal(quantizer.encode(quantizer.decode(codes)), codes)


@given(st.floats(1e-30, 1e30))
@example(20.0)
@example(1 / 3)
def test_zero_is_exactly_zero_in_centred(bound):
    quantizer = Quantizer("centred", bound)
    zeros = np.array([0.0, -0.0], np.float32)
    codes = quantizer.encode(zeros)
    assert codes.tolist() == [128, 128]
    np.testing.assert_array_equal(quantizer.decode(codes), [0, 0])
    for dtype in (np.float32, np.float64):
        # As readers of scale_factor and add_offset compute it.
        decoded = codes.astype(dtype) * dtype(quantizer.scale) + dtype(quantizer.offset)
        assert decoded.dtype == dtype
        assert decoded.tolist() == [0.0, 0.0]


@pytest.mark.parametrize("encoding", ALL_ENCODINGS)
@pytest.mark.parametrize("bound", BOUNDS)
def test_zero_code(encoding, bound):
    quantizer = make(encoding, bound)
    zeros = np.array([0.0, -0.0, TINY], np.float32)
    assert quantizer.encode(zeros).tolist() == [quantizer.zero_code] * 3


@pytest.mark.parametrize(("encoding", "zero"), [("denseflow", 20 / 255), ("truncate", 0.0), ("float16", 0.0)])
def test_zero_of_the_other_encodings(encoding, zero):
    quantizer = make(encoding)
    decoded = quantizer.decode(quantizer.encode(np.zeros(1, np.float32)))
    assert decoded[0] == pytest.approx(zero, abs=1e-6)


@pytest.mark.parametrize("bound", BOUNDS)
def test_mirrored_flow_has_mirrored_codes_in_centred(bound):
    quantizer = Quantizer("centred", bound)
    flow = grid(bound)
    codes = quantizer.encode(flow).astype(int)
    np.testing.assert_array_equal(quantizer.encode(-flow), 256 - codes)
    assert codes.min() == 1
    np.testing.assert_array_equal(
        quantizer.decode((256 - codes).astype(np.uint8)), -quantizer.decode(codes.astype(np.uint8))
    )


def test_float16_is_half_precision_that_saturates():
    quantizer = Quantizer("float16", None)
    flow = np.concatenate([neighbours(np.linspace(-300, 300, 501)), [65504, 65519, -65519, 1e6, -1e30, TINY]]).astype(
        np.float32
    )
    codes = quantizer.encode(flow)
    assert codes.dtype == np.float16
    np.testing.assert_array_equal(codes[:-5], flow[:-5].astype(np.float16))
    assert codes[-5:].tolist() == [65504, -65504, 65504, -65504, 0]
    decoded = quantizer.decode(codes)
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, codes.astype(np.float64))
    assert (quantizer.scale, quantizer.offset, quantizer.largest_kept) == (1, 0, 65504)


@given(arrays_of.arrays(np.float32, 20, elements=st.floats(-65504, 65504, width=32)))
def test_float16_error_is_half_a_unit_of_its_last_place(flow):
    quantizer = Quantizer("float16", None)
    error = np.abs(quantizer.decode(quantizer.encode(flow)).astype(np.float64) - flow)
    assert (error <= np.maximum(np.abs(flow.astype(np.float64)) * 2.0**-11, 2.0**-25)).all()


@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
def test_clipped_values_are_counted_by_component(encoding):
    flow = np.zeros((2, 3, 4), np.float32)
    flow[0, 0] = [20, -20, np.nextafter(np.float32(20), np.float32(99)), -20.5]
    flow[1, 1] = [19.99, 1e30, -1e30, 21]
    assert Quantizer(encoding, 20).count_clipped(flow) == (2, 3)


@given(
    flow=arrays_of.arrays(np.float32, (2, 3, 5), elements=st.floats(-3, 3, width=32)),
    bound=st.one_of(st.floats(0.1, 2.9), st.floats(0.125, 2.875, width=32)),
)
@example(flow=np.full((2, 3, 5), 0.1, np.float32), bound=0.1)
def test_clipped_counts_are_exact(flow, bound):
    expected = tuple(sum(abs(Fraction(float(v))) > Fraction(bound) for v in part.ravel()) for part in flow)
    assert Quantizer("centred", bound).count_clipped(flow) == expected


def test_clipped_values_of_float16():
    flow = np.array([[[65504, 65504.1]], [[-65505, 1e9]]], np.float32)
    assert Quantizer("float16", None).count_clipped(flow) == (int(flow[0, 0, 1] > 65504), 2)


@pytest.mark.parametrize("encoding", ALL_ENCODINGS)
def test_one_contract_for_all(encoding):
    quantizer = make(encoding)
    flow = np.random.default_rng(1).uniform(-25, 25, (2, 7, 9)).astype(np.float32)
    before = flow.copy()
    codes = quantizer.encode(flow)
    assert (codes.shape, codes.dtype) == (flow.shape, quantizer.dtype)
    np.testing.assert_array_equal(flow, before)
    # A given array is filled and returned; strides do not matter.
    out = np.zeros(flow.shape, quantizer.dtype)
    assert quantizer.encode(flow, out=out) is out
    np.testing.assert_array_equal(out, codes)
    np.testing.assert_array_equal(quantizer.encode(flow[:, ::2, ::-1]), codes[:, ::2, ::-1])
    decoded = quantizer.decode(codes)
    assert (decoded.shape, decoded.dtype) == (flow.shape, np.float32)
    flow_out = np.zeros(flow.shape, np.float32)
    assert quantizer.decode(codes, out=flow_out) is flow_out
    np.testing.assert_array_equal(flow_out, decoded)
    np.testing.assert_array_equal(quantizer.decode(codes[:, ::2, ::-1]), decoded[:, ::2, ::-1])
    # A value: equal, hashable, made again of its JSON and of its repr.
    assert Quantizer(**json.loads(json.dumps(quantizer.to_json()))) == quantizer
    assert eval(repr(quantizer), {"Quantizer": Quantizer}) == quantizer
    assert hash(make(encoding)) == hash(quantizer)
    wrong = np.zeros(3, np.float16 if encoding != "float16" else np.uint8)
    with pytest.raises(ArgumentError, match=f"expected {quantizer.dtype}"):
        quantizer.decode(wrong)


def test_encodings_and_bounds_tell_quantizers_apart():
    made = {make(encoding, bound) for encoding in ALL_ENCODINGS for bound in (20, 32)}
    assert len(made) == 7


def test_default_is_centred_at_20():
    assert Quantizer() == Quantizer("centred", 20.0)
    assert Quantizer("centred", 20).to_json() == {"encoding": "centred", "bound_px": 20.0}


@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
@pytest.mark.parametrize("bound", [0, 0.0, -0.0, -1, -20.0, math.nan, math.inf, -math.inf, None])
def test_bounds_that_are_no_length_are_refused(encoding, bound):
    with pytest.raises(ArgumentError, match=f"bound is {bound}, expected"):
        Quantizer(encoding, bound)
    with pytest.raises(ArgumentError, match="finite number of pixels above 0"):
        check_bound(bound)


@pytest.mark.parametrize("bound", [TINY, 1e-3, 20, 1e30])
def test_positive_bounds_are_taken(bound):
    check_bound(float(bound))


def test_float16_takes_no_bound():
    with pytest.raises(ArgumentError, match="float16 stores pixels as they are and takes no bound; found bound 20"):
        Quantizer("float16", 20.0)


@pytest.mark.parametrize("encoding", ["centered", "uint8", "", None])
def test_unknown_encodings_are_refused(encoding):
    with pytest.raises(ArgumentError, match="expected one of centred, denseflow, truncate, float16"):
        Quantizer(encoding, 20.0)
    assert issubclass(ArgumentError, FlowStoreError)
