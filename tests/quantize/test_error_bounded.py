"""Error-bounded codes: the error is bounded, zero and what is clipped stay, both paths agree, and LZ packs them."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from flowstore.errors import ArgumentError
from flowstore.format.codec import codec_for
from flowstore.quantize import UINT8_ENCODINGS, Quantizer
from flowstore.quantize.encoder import CodeChooser, FlowEncoder
from flowstore.quantize.error_bounded import Tolerance, check_max_error, choose_codes
from flowstore.scenes import Scene


def chosen_by_both(quantizer, max_error_px, flow):
    """Codes of the plain and of the compiled path, which must agree."""
    plain, compiled = quantizer.encode(flow), quantizer.encode(flow)
    choose_codes(Tolerance(quantizer, max_error_px), flow, plain)
    CodeChooser(quantizer, flow.shape, max_error_px).choose(flow, compiled)
    np.testing.assert_array_equal(compiled, plain)
    return compiled


def check_bound(quantizer, max_error_px, flow, codes):
    """The promise of ``--max-error``, value by value."""
    nearest = quantizer.encode(flow)
    is_clipped = np.abs(flow.astype(np.float64)) > quantizer.bound_px
    np.testing.assert_array_equal(codes[is_clipped], nearest[is_clipped])
    np.testing.assert_array_equal(codes[flow == 0], quantizer.zero_code)
    if quantizer.encoding == "centred":
        assert codes.min() >= 1
    error = np.abs(quantizer.decode(codes).astype(np.float64) - flow)[~is_clipped]
    # The nearest code itself may be off by half a step and what float32 rounds.
    allowed = max(max_error_px, quantizer.scale * (0.5 + 1e-4))
    assert error.size == 0 or error.max() <= allowed


def smooth_flow(draws, shape, bound):
    """Flow as estimators give it, with some zeros and some beyond the bound."""
    random = np.random.default_rng(draws)
    small = random.normal(size=(2, 4, 5)) * bound * random.choice([0.02, 0.1, 0.5, 1.5])
    flow = np.stack([cv2.resize(plane, shape[::-1], interpolation=cv2.INTER_CUBIC) for plane in small])
    flow += random.normal(size=flow.shape) * bound * random.choice([0, 1e-3, 0.02])
    flow[:, random.integers(shape[0]) :, : shape[1] // 3] = 0
    return np.ascontiguousarray(flow, np.float32)


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(1, 19), st.integers(1, 23)),
    encoding=st.sampled_from(UINT8_ENCODINGS),
    bound=st.sampled_from([20.0, 15.0, 0.3, 1000.0, 1e-30, 1e30]),
    steps=st.floats(0.5, 300),
)
@settings(max_examples=60, deadline=None)
def test_error_is_bounded_and_both_paths_agree(seed, shape, encoding, bound, steps):
    quantizer = Quantizer(encoding, bound)
    max_error = steps * quantizer.scale
    flow = smooth_flow(seed, shape, bound)
    check_bound(quantizer, max_error, flow, chosen_by_both(quantizer, max_error, flow))


@given(
    flow=arrays_of.arrays(np.float32, (2, 3, 5), elements=st.floats(-24, 24, width=32)),
    encoding=st.sampled_from(UINT8_ENCODINGS),
    steps=st.sampled_from([0.5, 0.51, 1.0, 1.5, 2.0, 4.0]),
)
@settings(max_examples=60, deadline=None)
def test_error_is_bounded_for_any_values(flow, encoding, steps):
    quantizer = Quantizer(encoding, 20)
    max_error = steps * quantizer.scale
    check_bound(quantizer, max_error, flow, chosen_by_both(quantizer, max_error, flow))


@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
@pytest.mark.parametrize("steps", [1.0, 1.5, 3.0])
def test_error_is_bounded_beside_the_bound(encoding, steps):
    quantizer = Quantizer(encoding, 20)
    edge = np.linspace(20 - 4 * quantizer.scale, 20.1, 40 * 30, dtype=np.float32).reshape(40, 30)
    flow = np.stack([edge, -edge])
    for turned in (flow, np.ascontiguousarray(flow[:, ::-1]), np.ascontiguousarray(flow.swapaxes(1, 2))):
        codes = chosen_by_both(quantizer, steps * quantizer.scale, turned)
        check_bound(quantizer, steps * quantizer.scale, turned, codes)


@pytest.mark.parametrize("encoding", UINT8_ENCODINGS)
def test_still_picture_stays_still(encoding):
    quantizer = Quantizer(encoding, 20)
    codes = chosen_by_both(quantizer, 0.5, np.zeros((2, 9, 11), np.float32))
    assert (codes == quantizer.zero_code).all()


@pytest.mark.parametrize(("steps", "share", "mean_steps"), [(1.016, 0.68, 0.6), (1.5, 0.5, 0.88), (3.0, 0.3, 1.8)])
@pytest.mark.parametrize("motion", ["right", "rotate", "zoom"])
def test_estimated_flow_packs_smaller_at_a_mean_error_far_below_the_largest(motion, steps, share, mean_steps):
    scene = Scene(motion, 120, 160, speed=3.0)
    first, second = (cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in scene.frames(2))
    estimated = cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 3, 5, 1.2, 0)
    flow = np.ascontiguousarray(np.moveaxis(estimated, 2, 0))
    quantizer = Quantizer("centred", 20)
    codes = quantizer.encode(flow)
    CodeChooser(quantizer, flow.shape, steps * quantizer.scale).choose(flow, codes)
    for compression in ("fast", "balanced"):
        packed = [len(codec_for(compression, "uint8").encode(some)) for some in (codes, quantizer.encode(flow))]
        assert packed[0] <= share * packed[1]
    error = np.hypot(*(quantizer.decode(codes) - np.clip(flow, -20, 20))) / quantizer.scale
    assert error.mean() <= mean_steps


def test_without_numba_the_codes_are_the_same(monkeypatch):
    quantizer, flow = Quantizer("centred", 20), smooth_flow(7, (17, 21), 20.0)
    compiled = FlowEncoder(quantizer, flow.shape, False, 0.3).encode(flow)
    monkeypatch.setattr("flowstore.quantize.encoder.has_numba", lambda: False)
    np.testing.assert_array_equal(FlowEncoder(quantizer, flow.shape, False, 0.3).encode(flow), compiled)


@pytest.mark.parametrize("is_compiled", [False, True])
def test_statistics_and_the_default_are_those_of_the_nearest_codes(is_compiled):
    quantizer = Quantizer("centred", 20)
    near, far = (FlowEncoder(quantizer, (2, 17, 21), is_compiled, error) for error in (None, 0.3))
    for seed in range(3):
        flow = smooth_flow(seed, (17, 21), 20.0)
        np.testing.assert_array_equal(near.encode(flow), quantizer.encode(flow))
        assert (far.encode(flow) != near.encode(flow)).any() or not flow.any()
        near.encode(flow), far.encode(flow)
    near, far = (FlowEncoder(quantizer, flow.shape, is_compiled, error) for error in (None, 0.3))
    near.encode(flow), far.encode(flow)
    assert far.statistics() == near.statistics()


def test_half_a_step_is_the_default_and_less_is_refused():
    quantizer = Quantizer("centred", 20)
    assert check_max_error(quantizer, None) is None
    assert check_max_error(quantizer, 20 / 127 / 2) is None
    assert check_max_error(quantizer, np.float32(0.16)) == pytest.approx(0.16)
    with pytest.raises(ArgumentError, match=r"0\.07 px, expected at least half a step: 0\.0787402 px for centred ±20"):
        check_max_error(quantizer, 0.07)
    with pytest.raises(ArgumentError, match="float16"):
        check_max_error(Quantizer("float16", None), 0.16)
    for wrong in (0, -1, float("nan"), float("inf"), "0.16", True):
        with pytest.raises(ArgumentError, match="max error"):
            check_max_error(quantizer, wrong)
