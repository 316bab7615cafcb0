"""The compiled loops against plain NumPy: the same codes to the bit, the same counts."""

from dataclasses import asdict

import numpy as np
import pytest
from edge_values import BOUNDS, grid
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from flowstore.errors import ArgumentError, EstimatorError
from flowstore.quantize import UINT8_ENCODINGS, Quantizer
from flowstore.quantize.encoder import FlowEncoder

KINDS = [*((encoding, bound) for encoding in UINT8_ENCODINGS for bound in BOUNDS), ("float16", None)]
USUAL = [*((encoding, 20.0) for encoding in UINT8_ENCODINGS), ("float16", None)]


def encode_both(quantizer, flows):
    """Codes and statistics of the plain and of the compiled encoder, which must agree."""
    found = []
    for is_compiled in (False, True):
        encoder = FlowEncoder(quantizer, flows[0].shape, is_compiled)
        codes = [encoder.encode(flow).copy() for flow in flows]
        found.append((codes, encoder.statistics(), encoder._motion.histogram))
    (plain, plain_statistics, plain_histogram), (compiled, compiled_statistics, compiled_histogram) = found
    np.testing.assert_array_equal(compiled, plain)
    assert compiled[0].dtype == plain[0].dtype == quantizer.dtype
    np.testing.assert_array_equal(compiled_histogram, plain_histogram)
    ours, theirs = asdict(compiled_statistics), asdict(plain_statistics)
    assert ours.pop("mean_magnitude") == pytest.approx(theirs.pop("mean_magnitude"), rel=1e-9)
    # Four digits of a sum that differs in the ninth may fall on two sides of a tie.
    assert ours.pop("flow_means") == pytest.approx(theirs.pop("flow_means"), rel=1.001e-3)
    assert ours == theirs
    return plain, plain_statistics


def moderate(flow):
    """Without the values whose square is beyond float32: their magnitude is not finite."""
    return flow[np.abs(flow) < 1e18]


@pytest.mark.parametrize(("encoding", "bound"), KINDS)
def test_compiled_codes_are_equal_on_every_tie_and_edge(encoding, bound):
    values = moderate(grid(20.0 if bound is None or bound > 1e18 else bound))
    values = values[: 4 * (values.size // 4)]
    flow = values.reshape(2, 2, -1)
    quantizer = Quantizer(encoding, bound)
    codes, _ = encode_both(quantizer, [flow, flow[::-1].copy()])
    np.testing.assert_array_equal(codes[0], quantizer.encode(flow))


@pytest.mark.parametrize(("encoding", "bound"), USUAL)
@pytest.mark.parametrize("shape", [(2, 1, 1), (2, 1, 3), (2, 5, 1), (2, 3, 3), (2, 37, 41)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 20.0, 1e6])
def test_compiled_and_plain_agree_on_random_flow(encoding, bound, shape, scale):
    random = np.random.default_rng(3)
    flows = [(random.standard_normal(shape) * scale).astype(np.float32) for _ in range(5)]
    _, statistics = encode_both(Quantizer(encoding, bound), flows)
    magnitudes = np.hypot(*np.moveaxis(np.asarray(flows, np.float64), 1, 0))
    assert statistics.mean_magnitude == pytest.approx(magnitudes.mean(), rel=1e-6)
    assert statistics.max_magnitude == pytest.approx(magnitudes.max(), rel=1e-6)
    limit = 65504 if bound is None else bound
    clipped = (np.abs(np.asarray(flows, np.float64)) > limit).sum(axis=(0, 2, 3))
    assert (statistics.clipped_x, statistics.clipped_y) == tuple(clipped)


@settings(deadline=None)
@given(
    flow=arrays_of.arrays(np.float32, (2, 3, 5), elements=st.floats(-(2.0**60), 2.0**60, width=32)),
    encoding=st.sampled_from(UINT8_ENCODINGS),
    bound=st.floats(1e-3, 1e4),
)
def test_compiled_and_plain_agree_on_any_flow(flow, encoding, bound):
    encode_both(Quantizer(encoding, bound), [flow])


@pytest.mark.parametrize("is_compiled", [False, True])
@pytest.mark.parametrize(("encoding", "bound"), USUAL)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [(0, 0, 0), (1, 4, 5), (0, 2, 3)])
def test_flow_that_is_not_finite_is_refused(is_compiled, encoding, bound, value, place):
    flow = np.random.default_rng(0).uniform(-5, 5, (2, 5, 6)).astype(np.float32)
    encoder = FlowEncoder(Quantizer(encoding, bound), flow.shape, is_compiled)
    encoder.encode(flow)
    flow[place] = value
    with pytest.raises(EstimatorError, match="flow 1 holds values that are not finite"):
        encoder.encode(flow)


@pytest.mark.parametrize("is_compiled", [False, True])
def test_the_codes_array_is_the_encoders_own(is_compiled):
    encoder = FlowEncoder(Quantizer(), (2, 4, 4), is_compiled)
    first = encoder.encode(np.full((2, 4, 4), 20, np.float32))
    assert (first == 255).all()
    assert encoder.encode(np.zeros((2, 4, 4), np.float32)) is first
    assert (first == 128).all()


@pytest.mark.parametrize("is_compiled", [False, True])
def test_flow_is_left_as_it_was(is_compiled):
    flow = np.random.default_rng(0).uniform(-30, 30, (2, 5, 6)).astype(np.float32)
    before = flow.copy()
    FlowEncoder(Quantizer("truncate"), flow.shape, is_compiled).encode(flow)
    np.testing.assert_array_equal(flow, before)


@pytest.mark.parametrize("is_compiled", [False, True])
def test_no_flow_gives_no_statistics(is_compiled):
    with pytest.raises(ArgumentError, match="no flow was added"):
        FlowEncoder(Quantizer(), (2, 4, 4), is_compiled).statistics()
