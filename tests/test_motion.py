"""Statistics of motion against NumPy on whole arrays."""

import json

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from flowstore.errors import ArgumentError, EstimatorError
from flowstore.model import MotionStatistics
from flowstore.motion import BIN_SHIFT, N_BINS, MotionAccumulator, histogram_percentile

P99_TOLERANCE = 0.008


def add_all(flows, bound=20.0):
    accumulator = MotionAccumulator()
    for flow in flows:
        clipped = (np.abs(flow) > bound).sum(axis=(1, 2))
        accumulator.add(flow, (int(clipped[0]), int(clipped[1])))
    return accumulator


def exact_magnitudes(flows):
    x, y = np.moveaxis(np.asarray(flows, np.float64), 1, 0)
    return np.hypot(x, y)


def flows_of(kind, seed=0):
    random = np.random.default_rng(seed)
    shape = (6, 2, 40, 50)
    if kind == "normal":
        flows = random.normal(0, 4, shape)
    elif kind == "heavy tail":
        flows = random.standard_cauchy(shape)
    elif kind == "mostly still":
        flows = random.normal(0, 9, shape) * (random.uniform(size=shape) < 0.02)
    elif kind == "tiny":
        flows = random.normal(0, 1e-6, shape)
    else:
        flows = random.uniform(-25, 25, shape)
    return flows.astype(np.float32)


@pytest.mark.parametrize("kind", ["normal", "heavy tail", "mostly still", "tiny", "uniform"])
def test_statistics_are_those_of_the_whole_arrays(kind):
    flows = flows_of(kind)
    magnitudes = exact_magnitudes(flows)
    result = add_all(flows).result()
    assert result.mean_magnitude == pytest.approx(magnitudes.mean(), rel=1e-6)
    assert result.max_magnitude == pytest.approx(magnitudes.max(), rel=1e-6)
    # The value below which 99 % lie, as an observed one: no interpolation between two.
    p99 = np.percentile(magnitudes, 99, method="inverted_cdf")
    assert result.p99_magnitude == pytest.approx(p99, rel=P99_TOLERANCE)
    assert result.flow_means == pytest.approx(magnitudes.mean(axis=(1, 2)), rel=5.1e-4)
    assert all(float(f"{mean:.4g}") == mean for mean in result.flow_means)
    clipped = (np.abs(flows) > 20).sum(axis=(0, 2, 3))
    assert (result.clipped_x, result.clipped_y) == tuple(clipped)
    assert result.clipped_share == pytest.approx((np.abs(flows) > 20).mean(), rel=1e-12)


@given(
    arrays_of.arrays(
        np.float32, (2, 2, 3, 7), elements=st.floats(-1e4, 1e4, width=32, allow_subnormal=False).map(np.float32)
    )
)
def test_statistics_of_any_flow(flows):
    magnitudes = np.sqrt(flows[:, 0] * flows[:, 0] + flows[:, 1] * flows[:, 1])
    result = add_all(flows).result()
    assert result.mean_magnitude == pytest.approx(magnitudes.mean(dtype=np.float64), rel=1e-9)
    assert result.max_magnitude == magnitudes.max()
    p99 = np.percentile(magnitudes, 99, method="inverted_cdf")
    # A zero bin reaches up to the smallest normal number or so.
    assert result.p99_magnitude == pytest.approx(p99, rel=P99_TOLERANCE, abs=1e-37)
    assert result.p99_magnitude <= result.max_magnitude


@pytest.mark.parametrize("length", [0.0, 1.0, 5.0, 20.0, 1e-3, 1e6])
def test_equal_motion_everywhere(length):
    flow = np.zeros((2, 8, 8), np.float32)
    flow[0], flow[1] = 0.6 * length, -0.8 * length
    result = add_all([flow, flow], bound=1e9).result()
    for value in (result.mean_magnitude, result.max_magnitude, result.p99_magnitude):
        assert value == pytest.approx(length, rel=1e-6)
    assert result.flow_means == pytest.approx((length, length), rel=1e-6)
    assert (result.clipped_x, result.clipped_y, result.clipped_share) == (0, 0, 0)


def test_no_motion_is_exactly_zero():
    result = add_all([np.zeros((2, 3, 4), np.float32)]).result()
    assert result == MotionStatistics(0.0, 0.0, 0.0, 0, 0, 0.0, (0.0,))


@given(
    st.lists(st.floats(2.0**-100, 2.0**100, width=32), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 1])
)
@example([1.0], 0.99)
def test_percentile_of_a_histogram_is_within_a_bin(values, share):
    magnitudes = np.array(values, np.float32)
    histogram = np.bincount(magnitudes.view(np.uint32) >> BIN_SHIFT, minlength=N_BINS)
    exact = float(np.percentile(magnitudes, 100 * share, method="inverted_cdf"))
    # Upper edge of its bin: never below, above by less than a bin's relative width.
    assert exact <= histogram_percentile(histogram, share) <= exact * (1 + 1 / 128)


def test_bins_reach_the_largest_float32():
    largest = np.array([np.finfo(np.float32).max])
    assert largest.view(np.uint32)[0] >> BIN_SHIFT == N_BINS - 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("component", [0, 1])
def test_flow_that_is_not_finite_is_refused_by_number(value, component):
    accumulator = add_all([np.ones((2, 4, 4), np.float32)] * 3)
    flow = np.ones((2, 4, 4), np.float32)
    flow[component, 1, 2] = value
    with pytest.raises(EstimatorError, match="flow 3 holds values that are not finite"):
        accumulator.add(flow, (0, 0))


def test_nothing_added_states_nothing():
    with pytest.raises(ArgumentError, match="no flow was added"):
        MotionAccumulator().result()


def test_result_goes_through_json():
    result = add_all(flows_of("normal")).result()
    assert MotionStatistics.from_json(json.loads(json.dumps(result.to_json()))) == result
