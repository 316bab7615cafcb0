"""Statistics of motion against NumPy on whole arrays."""

import numpy as np
import pytest

from flowstore.errors import ArgumentError, EstimatorError
from flowstore.quantize import Quantizer
from flowstore.quantize.encoder import FlowEncoder
from flowstore.quantize.motion import MotionAccumulator


def gather_plainly(flows, clipped=(0, 0)):
    accumulator = MotionAccumulator()
    for flow in flows:
        accumulator.add(flow, clipped)
    return accumulator.result()


def gather_compiled(flows, clipped=(0, 0)):
    """Gather by the loops that the numba engine uses; nothing is clipped at this bound."""
    encoder = FlowEncoder(Quantizer("centred", 1e6), flows[0].shape, is_compiled=True)
    for flow in flows:
        encoder.encode(flow)
    return encoder.statistics()


def make_flows(kind):
    rng = np.random.default_rng(7)
    shape = (9, 2, 31, 37)
    flows = {
        "normal": rng.normal(0, 3, shape),
        "tiny": rng.normal(0, 1e-6, shape),
        "huge": rng.normal(0, 1e4, shape),
        "heavy tail": rng.standard_cauchy(shape).clip(-1e5, 1e5),
        "a still scene with one moving corner": np.where(np.arange(37) > 35, rng.normal(8, 1, shape), 0),
        "all the same": np.full(shape, 2.5),
        "zero": np.zeros(shape),
        "each flow faster": rng.normal(0, 1, shape) * np.arange(1, 10).reshape(9, 1, 1, 1) ** 3,
    }[kind]
    return flows.astype(np.float32)


both_ways = pytest.mark.parametrize("gather", [gather_plainly, gather_compiled])
KINDS = (
    "normal",
    "tiny",
    "huge",
    "heavy tail",
    "a still scene with one moving corner",
    "all the same",
    "zero",
    "each flow faster",
)


@both_ways
@pytest.mark.parametrize("kind", KINDS)
def test_statistics_equal_numpy_on_the_whole_array(gather, kind):
    flows = make_flows(kind)
    magnitude = np.hypot(flows[:, 0].astype(np.float64), flows[:, 1].astype(np.float64))
    found = gather(flows)
    assert found.mean_magnitude == pytest.approx(magnitude.mean(), rel=1e-6)
    assert found.max_magnitude == pytest.approx(magnitude.max(), rel=1e-6)
    assert found.p99_magnitude == pytest.approx(np.percentile(magnitude, 99, method="inverted_cdf"), rel=0.008)
    assert found.p99_magnitude <= found.max_magnitude
    # Four significant digits: half a unit of the fourth, 5e-4 of a leading 1.
    assert found.flow_means == pytest.approx(magnitude.mean(axis=(1, 2)), rel=5.1e-4)
    assert len(found.flow_means) == len(flows)


@pytest.mark.parametrize("share", [0.5, 0.985, 0.9899, 0.99, 0.9901, 0.995])
def test_the_percentile_lands_on_the_right_side_of_a_jump(share):
    magnitude = np.where(np.arange(10_000) < share * 10_000, 1.0, 100.0).astype(np.float32)
    found = gather_plainly([np.stack([magnitude, np.zeros_like(magnitude)]).reshape(2, 100, 100)])
    assert found.p99_magnitude == pytest.approx(np.percentile(magnitude, 99, method="inverted_cdf"), rel=0.008)


def test_a_known_triangle():
    flow = np.zeros((2, 4, 5), np.float32)
    flow[0], flow[1] = -3, 4
    found = gather_plainly([flow, 0 * flow], clipped=(2, 1))
    assert (found.mean_magnitude, found.max_magnitude, found.flow_means) == (2.5, 5.0, (5.0, 0.0))
    assert (found.clipped_x, found.clipped_y, found.clipped_share) == (4, 2, 6 / 80)


def test_one_pixel_counts():
    flow = np.zeros((2, 8, 8), np.float32)
    flow[1, 7, 7] = -64
    found = gather_compiled([flow])
    assert (found.max_magnitude, found.mean_magnitude, found.p99_magnitude) == (64, 1, pytest.approx(64, rel=0.008))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
@pytest.mark.parametrize("component", [0, 1])
@both_ways
def test_flow_that_is_not_finite_is_refused_by_its_number(gather, component, value):
    good = np.ones((2, 5, 6), np.float32)
    bad = good.copy()
    bad[component, 4, 5] = value
    with pytest.raises(EstimatorError, match="flow 1 holds values that are not finite"):
        gather([good, bad])


def test_no_flow_has_no_statistics():
    with pytest.raises(ArgumentError, match="no flow was added"):
        MotionAccumulator().result()
