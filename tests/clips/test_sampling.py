"""Sampling of clips: every rule against an enumeration of what it may give, on small numbers."""

import itertools

import numpy as np
import pytest

from flowstore.arguments import check_choice
from flowstore.clips import sampling as clip_sampling
from flowstore.clips.sampling import clip_flows, clip_span, dense_starts, draw_starts, tsn_starts, uniform_starts
from flowstore.errors import ArgumentError


def drawn(rule, n_draws=400):
    """Return every result of a rule over many generators, as a set of tuples."""
    return {tuple(rule(np.random.default_rng(seed)).tolist()) for seed in range(n_draws)}


@pytest.mark.parametrize(("length", "stride", "covered"), [(1, 1, 1), (1, 9, 1), (10, 1, 10), (3, 2, 5), (4, 5, 16)])
def test_the_span_is_that_of_the_flows_counted(length, stride, covered):
    flows = list(range(0, 1000, stride))[:length]
    assert clip_span(length, stride) == flows[-1] - flows[0] + 1 == covered


@pytest.mark.parametrize("n_starts", [1, 2, 5])
def test_random_draws_every_start_and_no_other(n_starts):
    found = drawn(lambda rng: clip_sampling.random_starts(n_starts, 2, rng))
    assert found == set(itertools.product(range(n_starts), repeat=2))


def test_random_draws_every_start_alike():
    starts = clip_sampling.random_starts(5, 100_000, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(starts) / len(starts), 0.2, atol=0.01)


@pytest.mark.parametrize("n_starts", range(1, 20))
@pytest.mark.parametrize("n_clips", range(1, 8))
def test_uniform_reaches_both_ends_in_equal_steps(n_starts, n_clips):
    starts = uniform_starts(n_starts, n_clips)
    assert starts.shape == (n_clips,)
    assert starts.dtype == np.int64
    if n_clips == 1:
        assert starts[0] == (n_starts - 1) // 2
        return
    assert (starts[0], starts[-1]) == (0, n_starts - 1)
    # Half up, in exact arithmetic.
    assert starts.tolist() == [(2 * k * (n_starts - 1) + n_clips - 1) // (2 * (n_clips - 1)) for k in range(n_clips)]
    steps = np.diff(starts)
    assert steps.max() - steps.min() <= 1


@pytest.mark.parametrize(("n_starts", "n_clips"), [(6, 3), (7, 3), (8, 3), (4, 1), (3, 3)])
def test_tsn_draws_each_place_of_each_segment(n_starts, n_clips):
    average = n_starts // n_clips
    segments = [range(k * average, (k + 1) * average) for k in range(n_clips)]
    assert drawn(lambda rng: tsn_starts(n_starts, n_clips, rng)) == set(itertools.product(*segments))


@pytest.mark.parametrize(("n_starts", "n_clips"), [(1, 3), (2, 3), (2, 4)])
def test_tsn_falls_back_to_sorted_random_starts(n_starts, n_clips):
    every = set(itertools.combinations_with_replacement(range(n_starts), n_clips))
    assert drawn(lambda rng: tsn_starts(n_starts, n_clips, rng)) == every


@pytest.mark.parametrize("n_starts", range(1, 30))
@pytest.mark.parametrize("n_clips", [1, 2, 3, 7])
def test_tsn_tests_at_the_centers(n_starts, n_clips):
    starts = tsn_starts(n_starts, n_clips, None)
    # The segment [k, k + 1)·n/K has its center at (k + 1/2)·n/K.
    expected = [int(np.floor((k + 0.5) * n_starts / n_clips + 1e-9)) for k in range(n_clips)]
    assert starts.tolist() == expected
    assert 0 <= starts.min() <= starts.max() < n_starts


@pytest.mark.parametrize("span", [1, 10, 64, 70])
@pytest.mark.parametrize("n_clips", [1, 2, 5])
@pytest.mark.parametrize("n_flows", [70, 74, 90])
def test_dense_fills_a_window_of_64_anywhere(span, n_clips, n_flows):
    n_starts = n_flows - span + 1
    found = drawn(lambda rng: dense_starts(n_starts, n_clips, span, rng), 1000)
    window = span if n_clips == 1 else min(n_flows, max(64, span))
    inner = uniform_starts(window - span + 1, n_clips)
    assert found == {tuple((first + inner).tolist()) for first in range(n_flows - window + 1)}
    assert min(starts[0] for starts in found) == 0
    assert max(starts[-1] for starts in found) == n_starts - 1
    for starts in found:
        assert n_clips == 1 or starts[-1] + span - starts[0] == window


@pytest.mark.parametrize("n_flows", [10, 11, 40, 64, 65])
def test_dense_tests_in_the_middle_window(n_flows):
    span, n_starts = 10, n_flows - 9
    starts = dense_starts(n_starts, 4, span, None)
    before, behind = starts[0], n_flows - (starts[-1] + span)
    assert 0 <= behind - before <= 1
    assert dense_starts(n_starts, 1, span, None)[0] == (n_starts - 1) // 2


def test_the_name_chooses_the_rule():
    def rule(name, is_training=True):
        return draw_starts(name, 91, 3, 10, np.random.default_rng(1), is_training).tolist()

    rng = np.random.default_rng
    assert rule("random") == clip_sampling.random_starts(91, 3, rng(1)).tolist()
    assert rule("uniform") == uniform_starts(91, 3).tolist() == rule("uniform", False)
    assert rule("tsn") == tsn_starts(91, 3, rng(1)).tolist()
    assert rule("tsn", False) == tsn_starts(91, 3, None).tolist()
    assert rule("dense") == dense_starts(91, 3, 10, rng(1)).tolist()
    assert rule("dense", False) == dense_starts(91, 3, 10, None).tolist()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("short", ["repeat", "loop", "drop", "error"])
def test_every_clip_of_a_long_video_is_its_flows(stride, length, short):
    n_flows = 12
    starts = np.arange(n_flows - clip_span(length, stride) + 1)
    flows = clip_flows(starts, length, stride, n_flows, short)
    assert flows.tolist() == [
        list(range(n_flows))[start : start + 1 + (length - 1) * stride : stride] for start in starts
    ]
    assert flows.max() == n_flows - 1


@pytest.mark.parametrize("n_flows", range(1, 9))
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_short_videos(n_flows, stride):
    start = np.array([0])
    wanted = [stride * number for number in range(4)]
    assert clip_flows(start, 4, stride, n_flows, "repeat").tolist() == [[min(n, n_flows - 1) for n in wanted]]
    assert clip_flows(start, 4, stride, n_flows, "loop").tolist() == [[n % n_flows for n in wanted]]
    if n_flows <= wanted[-1]:
        for short in ("drop", "error"):
            with pytest.raises(ArgumentError, match=f"a clip of {wanted[-1] + 1} flows leaves a video of {n_flows}"):
                clip_flows(start, 4, stride, n_flows, short)


@pytest.mark.parametrize(("length", "stride", "name"), [(0, 1, "length"), (1, 0, "stride"), (-1, 1, "length")])
def test_no_clip_is_empty_and_none_stands_still(length, stride, name):
    with pytest.raises(ArgumentError, match=f"{name} is .*, expected a whole number, 1 to 1000000"):
        clip_span(length, stride)


def test_an_unknown_choice_is_refused():
    with pytest.raises(ArgumentError, match="sampling is 'x', expected one of random, uniform, tsn, dense, all"):
        check_choice("sampling", "x", clip_sampling.Sampling)
