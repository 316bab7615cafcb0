"""Transforms of flow: against numpy on pixels, OpenCV's resize, and the codes of the mirrored pixels."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.quantize import Quantizer
from flowstore.transforms import Compose, Crop, HorizontalFlip, Normalize, Resize, mirror_codes

ENCODINGS = ["centred", "denseflow", "truncate"]


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pixels(shape=(3, 2, 6, 8), seed=0):
    return np.random.default_rng(seed).normal(0, 5, shape).astype(np.float32)


@pytest.mark.parametrize("where", ["random", "center"])
@pytest.mark.parametrize("size", [3, (3, 3), (1, 8), (6, 8)])
def test_a_crop_is_a_part_of_the_flow(size, where, rng):
    flow = pixels()
    height, width = (size, size) if isinstance(size, int) else size
    cropped = Crop(size, where)(flow, rng)
    parts = [
        flow[..., top : top + height, left : left + width]
        for top in range(6 - height + 1)
        for left in range(8 - width + 1)
    ]
    assert any(np.array_equal(cropped, part) for part in parts)


def test_crops_are_at_every_place_and_at_both_ends():
    windows = {Crop((4, 6)).draw(6, 8, np.random.default_rng(seed)).window for seed in range(200)}
    assert windows == {(top, left, 4, 6) for top in range(3) for left in range(3)}


@pytest.mark.parametrize(("size", "top", "left"), [((6, 8), 0, 0), ((5, 7), 0, 0), ((4, 6), 1, 1), ((3, 3), 1, 2)])
def test_the_center(size, top, left, rng):
    assert Crop(size, "center").draw(6, 8, rng).window == (top, left, *size)


@pytest.mark.parametrize("size", [(7, 8), (6, 9)])
def test_a_crop_that_does_not_fit_is_refused(size, rng):
    with pytest.raises(ArgumentError, match=f"a crop of {size[1]}×{size[0]} does not fit into flow of 8×6"):
        Crop(size)(pixels(), rng)


def test_impossible_sizes_are_refused():
    for make in (Crop, Resize):
        with pytest.raises(ArgumentError, match="size is 0, expected a whole number, 1 or more"):
            make(0)
    with pytest.raises(ArgumentError, match="where is 'left', expected one of random, center"):
        Crop(3, "left")


@pytest.mark.parametrize("size", [(12, 16), (3, 4), (7, 5), (6, 16), (1, 1), (6, 8)])
def test_resize_is_opencvs_with_scaled_vectors(size, rng):
    flow = pixels()
    resized = Resize(size)(flow, rng)
    assert resized.shape == (3, 2, *size)
    assert resized.dtype == np.float32
    for number, component in np.ndindex(3, 2):
        scale = size[1] / 8 if component == 0 else size[0] / 6
        expected = cv2.resize(flow[number, component], size[::-1], interpolation=cv2.INTER_LINEAR) * scale
        np.testing.assert_allclose(resized[number, component], expected, rtol=1e-5, atol=1e-4)


def test_resize_by_the_shorter_side(rng):
    assert Resize(3)(pixels(), rng).shape == (3, 2, 3, 4)
    assert Resize(3)(pixels((2, 8, 6)), rng).shape == (2, 4, 3)


def test_a_uniform_motion_stays_one_when_resized(rng):
    flow = np.broadcast_to(np.float32([3, -2])[:, None, None], (2, 6, 8))
    resized = Resize((9, 4))(flow, rng)
    np.testing.assert_allclose(resized[0], 1.5, rtol=1e-6)
    np.testing.assert_allclose(resized[1], -3, rtol=1e-6)
    assert not Resize((9, 4))(np.zeros((2, 6, 8), np.float32), rng).any()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_codes_are_resized_as_their_pixels(encoding, rng):
    quantizer = Quantizer(encoding, 20)
    codes = quantizer.encode(pixels())
    resized = Resize((12, 10))(codes, rng, quantizer)
    assert resized.dtype == np.uint8
    exact = np.clip(Resize((12, 10))(quantizer.decode(codes), rng), -20, 20)
    np.testing.assert_allclose(quantizer.decode(resized), exact, atol=quantizer.scale * 0.51)


def test_a_flip_mirrors_the_picture_and_turns_x_around(rng):
    flow = pixels()
    flipped = HorizontalFlip(1)(flow, rng)
    assert flipped.dtype == np.float32
    for number in range(3):
        np.testing.assert_array_equal(flipped[number, 0], -np.fliplr(flow[number, 0]))
        np.testing.assert_array_equal(flipped[number, 1], np.fliplr(flow[number, 1]))
    np.testing.assert_array_equal(HorizontalFlip(1)(flipped, rng), flow)


def test_a_flip_keeps_zero_without_a_sign(rng):
    assert not np.signbit(HorizontalFlip(1)(np.zeros((2, 3, 4), np.float32), rng)).any()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_flip_of_codes_is_the_flip_of_their_pixels(encoding, rng):
    quantizer = Quantizer(encoding, 20)
    top = 254 if encoding == "truncate" else 255
    bottom = 1 if encoding == "centred" else 0
    codes = np.random.default_rng(1).integers(bottom, top + 1, (4, 2, 16, 16), np.uint8)
    flipped = HorizontalFlip(1)(codes, rng, quantizer)
    assert flipped.dtype == np.uint8
    expected = HorizontalFlip(1)(quantizer.decode(codes), rng)
    np.testing.assert_allclose(quantizer.decode(flipped), expected, atol=1e-5)
    np.testing.assert_array_equal(HorizontalFlip(1)(flipped, rng, quantizer), codes)


def test_centred_codes_of_mirrored_pixels_are_the_mirrored_codes(rng):
    quantizer = Quantizer("centred", 20)
    flow = pixels((10, 2, 30, 40))
    mirrored = HorizontalFlip(1)(flow, rng)
    np.testing.assert_array_equal(HorizontalFlip(1)(quantizer.encode(flow), rng, quantizer), quantizer.encode(mirrored))
    every = np.arange(1, 256, dtype=np.uint8)
    assert mirror_codes(every, quantizer).tolist() == [256 - code for code in range(1, 256)]
    assert mirror_codes(np.array([0], np.uint8), quantizer).tolist() == [0]


@pytest.mark.parametrize(
    ("encoding", "pairs"),
    [
        ("centred", {1: 255, 128: 128, 255: 1}),
        ("denseflow", {0: 255, 127: 128, 128: 127, 255: 0}),
        ("truncate", {0: 254, 127: 127, 254: 0, 255: 0}),
    ],
)
def test_mirrored_codes_at_the_ends(encoding, pairs):
    codes = np.array(list(pairs), np.uint8)
    assert mirror_codes(codes, Quantizer(encoding, 20)).tolist() == list(pairs.values())


def test_float16_has_no_codes_to_mirror():
    with pytest.raises(ArgumentError, match="float16 has no codes"):
        mirror_codes(np.zeros(1, np.uint8), Quantizer("float16", None))


def test_the_label_follows_the_flip_both_ways(rng):
    flip = HorizontalFlip(1, swap={"left": "right"})
    flow = pixels()
    for before, after in (("left", "right"), ("right", "left"), ("zoom", "zoom"), (None, None)):
        assert flip.apply(flow, before, rng)[1] == after
    still, label = HorizontalFlip(0, swap={"left": "right"}).apply(flow, "left", rng)
    assert label == "left"
    assert still is flow


def test_the_chance_of_a_flip():
    rng, flow = np.random.default_rng(0), pixels((2, 1, 2))
    flips = [HorizontalFlip(0.25)(flow, rng) is not flow for _ in range(4000)]
    assert np.mean(flips) == pytest.approx(0.25, abs=0.02)


def test_impossible_flips_are_refused():
    with pytest.raises(ArgumentError, match="p is 2, expected a chance"):
        HorizontalFlip(2)
    with pytest.raises(ArgumentError, match="class 'a' is swapped with 'b' and with 'c'"):
        HorizontalFlip(swap={"a": "b", "c": "a"})
    assert HorizontalFlip(swap={"a": "b", "b": "a"}).swap == {"a": "b", "b": "a"}


def test_normalize(rng):
    flow = pixels()
    normalized = Normalize((1, -2), (2, 4))(flow, rng)
    assert normalized.dtype == np.float32
    np.testing.assert_allclose(normalized[:, 0], (flow[:, 0] - 1) / 2, rtol=1e-6)
    np.testing.assert_allclose(normalized[:, 1], (flow[:, 1] + 2) / 4, rtol=1e-6)
    np.testing.assert_array_equal(Normalize(0, 2)(flow, rng), flow / 2)
    with pytest.raises(ArgumentError, match="Normalize takes pixels"):
        Normalize()(np.zeros((2, 2, 2), np.uint8), rng, Quantizer())
    for std in (0, (1, -1)):
        with pytest.raises(ArgumentError, match="expected finite numbers above 0"):
            Normalize(0, std)
    for mean, std in [(np.nan, 1), (0, np.nan), (0, (1, np.inf)), ((1, 2, 3), 1), ([0] * 20, [1] * 20), ("a", 1)]:
        with pytest.raises(ArgumentError, match=r"(mean|std) is .* or one for x and one for y"):
            Normalize(mean, std)


def test_compose_does_one_after_another(rng):
    flow = pixels()
    composed = Compose(Compose(Crop((4, 4), "center")), HorizontalFlip(1, {"a": "b"}), lambda array: array * 2)
    result, label = composed.apply(flow, "a", rng)
    np.testing.assert_array_equal(result, HorizontalFlip(1)(flow[..., 1:5, 2:6], rng) * 2)
    assert label == "b"
    assert len(list(composed)) == 3


@given(st.integers(0, 2**32), st.sampled_from(ENCODINGS))
def test_the_same_generator_gives_the_same_result_and_the_input_is_kept(seed, encoding):
    quantizer = Quantizer(encoding, 20)
    transform = Compose(Resize((8, 9)), Crop(5), HorizontalFlip())
    flow = pixels(seed=seed)
    for array in (flow, quantizer.encode(flow)):
        before = array.copy()
        first, second = (transform(array, np.random.default_rng(seed), quantizer) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        np.testing.assert_array_equal(array, before)
        assert first.shape == (3, 2, 5, 5)


@pytest.mark.parametrize("transform", [Crop(1), Resize(1), HorizontalFlip(), Normalize()])
def test_what_is_no_flow_is_refused(transform, rng):
    with pytest.raises(ArgumentError, match=r"shape \(20, 4, 4\), expected \(…, 2, H, W\)"):
        transform(np.zeros((20, 4, 4), np.float32), rng)
    with pytest.raises(ArgumentError, match="codes need the quantizer"):
        transform(np.zeros((2, 4, 4), np.uint8), rng)
    with pytest.raises(ArgumentError, match="flow is int64"):
        transform(np.zeros((2, 4, 4), np.int64), rng)


@pytest.mark.parametrize(
    "transform",
    [Crop((3, 4)), Resize(7), Resize((3, 4)), HorizontalFlip(0.5, {"a": "b"}), Normalize(0.0, 2.0), Compose(Crop(2))],
)
def test_a_repr_makes_the_same_again(transform):
    assert repr(eval(repr(transform))) == repr(transform)


@pytest.mark.parametrize(
    ("transforms", "is_refused"),
    [
        ((Normalize(1), HorizontalFlip()), True),
        ((Normalize(1), Compose(Crop(2), Resize(3))), True),
        ((Normalize((0, 1)), Resize(3)), True),
        ((Normalize((0, 1)), HorizontalFlip()), False),
        ((Normalize(0, 3), HorizontalFlip(), Resize(3)), False),
        ((HorizontalFlip(), Resize(3), Normalize(1)), False),
    ],
)
def test_a_mean_is_subtracted_after_what_changes_vectors(transforms, is_refused, rng):
    # Right is what the other order gives: vectors are mirrored and scaled as pixels.
    flow = pixels().astype(np.float64)
    if is_refused:
        with pytest.raises(ArgumentError, match="put Normalize last"):
            Compose(*transforms)
        return
    first, *rest = transforms
    right = Compose(*rest, first) if isinstance(first, Normalize) else Compose(*transforms)
    one, other = (composed(flow, np.random.default_rng(1)) for composed in (Compose(*transforms), right))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_an_array_is_no_size():
    for kind in (Crop, Resize):
        with pytest.raises(ArgumentError, match=r"size is .*, expected a whole number"):
            kind(np.array([3, 4]))
