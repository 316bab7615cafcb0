"""Counts of motion against NumPy on the whole arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.quantize import Quantizer
from flowstore.stats.counts import FINE, N_ANGLES, CountRules, MotionCounts, choose_bins, count_flows, count_joint

QUANTIZERS = [
    Quantizer("centred", 20),
    Quantizer("denseflow", 15),
    Quantizer("truncate", 7.5),
    Quantizer("float16", None),
]
BOUNDS = (2.0, 5.0, 7.5, 15.0, 20.0)


def flows(quantizer, n=3, height=20, width=30, seed=0):
    generator = np.random.default_rng(seed)
    flow = generator.normal(0, 5, (n, 2, height, width)).astype(np.float32)
    # Much of a picture stands still, and some of it saturates.
    flow[:, :, :6] = 0
    flow[:, 0, 7] = 300
    flow[:, 1, 8] = -300
    flow[:, :, 9] = 2.5
    return quantizer.encode(flow)


def count(codes, rules, cuts=()):
    counts, joint = MotionCounts.empty(rules), np.zeros(2**16, np.int64)
    for part in np.split(codes, cuts):
        count_flows(part, rules, joint, counts)
    if codes.dtype == np.uint8:
        count_joint(joint, rules, counts)
    return counts


def rules_of(quantizer, moving_px=0.5):
    return CountRules(quantizer, 0.25, 60, moving_px, BOUNDS)


@pytest.fixture(params=QUANTIZERS, ids=lambda quantizer: quantizer.encoding)
def quantizer(request):
    return request.param


def test_histograms_are_those_of_numpy(quantizer):
    codes, rules = flows(quantizer), rules_of(quantizer)
    counts = count(codes, rules)
    x, y = np.moveaxis(quantizer.decode(codes), 1, 0).astype(np.float64)
    magnitudes = np.abs(x + 1j * y)
    expected, _ = np.histogram(magnitudes, [*rules.edges_px, np.inf])
    assert counts.histogram.tolist() == expected.tolist()
    assert (counts.histogram[-1] > 0) == (quantizer.encoding != "truncate")
    fine = np.arange(60 * FINE + 1) * 0.25 / FINE
    assert counts.magnitudes.tolist() == np.histogram(magnitudes, [*fine, np.inf])[0].tolist()
    # Sectors of 15° around 0°, 15°, …: turned by half a sector they begin at 0.
    moving = magnitudes >= 0.5
    degrees = np.degrees(np.angle(x + 1j * y)[moving])
    expected, _ = np.histogram((degrees + 7.5) % 360, N_ANGLES, (0, 360))
    assert counts.angles.tolist() == expected.tolist()
    assert counts.n_moving == moving.sum()
    assert (counts.n_flows, counts.n_pixels) == (3, 3 * 600)


def test_moments_are_those_of_numpy(quantizer):
    codes = flows(quantizer)
    counts = count(codes, rules_of(quantizer))
    numbers = codes.astype(np.float64)
    means, deviations = counts.moments()
    assert means == pytest.approx(numbers.mean((0, 2, 3)), rel=1e-12)
    assert deviations == pytest.approx(numbers.std((0, 2, 3)), rel=1e-12)
    pixels = quantizer.decode(codes).astype(np.float64)
    magnitudes = np.hypot(pixels[:, 0], pixels[:, 1])
    assert counts.magnitude_sum == pytest.approx(magnitudes.sum(), rel=1e-12)
    assert counts.magnitude_max == pytest.approx(magnitudes.max(), rel=1e-12)


def test_what_lies_beyond_a_bound_is_counted(quantizer):
    codes, rules = flows(quantizer), rules_of(quantizer)
    counts = count(codes, rules)
    pixels = np.abs(quantizer.decode(codes).astype(np.float64))
    half = 0 if quantizer.bound_px is None else quantizer.scale / 2
    for (surely, perhaps), bound in zip(counts.beyond.tolist(), BOUNDS, strict=True):
        if quantizer.bound_px is None:
            assert surely == perhaps == (pixels > bound).sum()
        else:
            assert surely == (pixels - half >= bound).sum()
            assert perhaps == (pixels + half > bound).sum()


@pytest.mark.parametrize("quantizer", QUANTIZERS[:3], ids=lambda quantizer: quantizer.encoding)
@given(bound=st.floats(0.1, 40), seed=st.integers(0, 100))
def test_the_clipped_share_of_the_flow_lies_between_the_two_of_its_codes(quantizer, bound, seed):
    flow = np.random.default_rng(seed).normal(0, 6, (1, 2, 8, 9)).astype(np.float32)
    # Below the store's own bound only: what lies beyond it is no longer in the codes.
    bound = min(bound, 0.99 * quantizer.bound_px)
    counts = count(quantizer.encode(flow), CountRules(quantizer, 0.25, 60, 0.5, (bound,)))
    ((surely, perhaps),) = counts.beyond.tolist()
    assert surely <= (np.abs(flow) > bound).sum() <= perhaps


def test_counts_add_up(quantizer):
    codes, rules = flows(quantizer, n=5), rules_of(quantizer)
    whole, parts = count(codes, rules), count(codes[:2], rules)
    parts.add(count(codes[2:], rules))
    in_batches = count(codes, rules, cuts=(1, 3))
    for other in (parts, in_batches):
        for name, value in vars(whole).items():
            np.testing.assert_allclose(getattr(other, name), value, rtol=1e-12, err_msg=name)


def test_the_compiled_loop_counts_the_same():
    for seed, shape in enumerate([(3, 2, 20, 30), (1, 2, 1, 1), (2, 2, 5, 7)]):
        codes = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
        codes[:, :, 0] = 128
        found, expected = np.zeros(2**16, np.int64), np.zeros(2**16, np.int64)
        for part in (codes, codes[..., ::-1]):
            count_flows(part, rules_of(QUANTIZERS[0]), found, MotionCounts.empty(rules_of(QUANTIZERS[0])), True)
            for x, y in zip(part[:, 0].ravel().tolist(), part[:, 1].ravel().tolist(), strict=True):
                expected[256 * y + x] += 1
        np.testing.assert_array_equal(found, expected)


def test_percentiles(quantizer):
    codes, rules = flows(quantizer), CountRules(quantizer, 0.25, 120, 0.5, ())
    counts = count(codes, rules)
    pixels = quantizer.decode(codes).astype(np.float64)
    magnitudes = np.hypot(pixels[:, 0], pixels[:, 1]).ravel()
    # What lies above all bins has the maximum for its percentile.
    for share in (0.1, 0.5, 0.85):
        exact = np.quantile(magnitudes, share, method="inverted_cdf")
        assert exact <= counts.percentile_px(share, rules) <= exact + 0.25 / FINE + 1e-12
    assert counts.percentile_px(1, rules) == counts.magnitude_max


def test_of_nothing_nothing_is_known(quantizer):
    rules = rules_of(quantizer)
    counts = MotionCounts.empty(rules)
    assert np.isnan([*counts.moments()[0], *counts.moments()[1], counts.percentile_px(0.5, rules)]).all()


def test_still_flow_has_no_direction():
    codes = np.full((2, 2, 4, 5), 128, np.uint8)
    counts = count(codes, rules_of(QUANTIZERS[0]))
    assert (counts.n_moving, counts.magnitude_max, counts.angles.sum()) == (0, 0, 0)
    assert counts.percentile_px(0.5, rules_of(QUANTIZERS[0])) == 0
    assert counts.histogram[0] == 40


@pytest.mark.parametrize(("vector", "sector"), [((9, 0), 0), ((9, 9), 3), ((0, 9), 6), ((-9, 0), 12), ((0, -9), 18)])
def test_sectors_go_clockwise_from_the_right(vector, sector):
    for quantizer in QUANTIZERS:
        codes = quantizer.encode(np.array(vector, np.float32).reshape(1, 2, 1, 1))
        assert count(codes, rules_of(quantizer)).angles.argmax() == sector


@given(st.floats(1e-6, 1e6))
def test_bins_are_about_as_many_as_wanted_and_round(limit):
    width, n_bins = choose_bins(limit)
    assert (n_bins - 1) * width < limit <= n_bins * width * (1 + 1e-12)
    assert 70 <= n_bins <= 200
    assert float(f"{width:.2g}") == pytest.approx(width)


def test_bins_of_no_motion():
    assert choose_bins(0.0) == choose_bins(float("nan")) == (1.0, 1)


@pytest.mark.parametrize(("moving", "bounds"), [(0, ()), (-1, ()), (float("nan"), ()), (1, (0.0,)), (1, (-5.0,))])
def test_rules_that_cannot_be_used(moving, bounds):
    with pytest.raises(ArgumentError, match="expected a finite number"):
        CountRules(Quantizer(), 0.25, 10, moving, bounds)
