"""From stored codes to a file's numbers: by table as by arithmetic, and resized as OpenCV resizes."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.export.conversion import Conversion, resize_flow
from flowstore.quantize import UINT8_ENCODINGS, FileQuantizer, Quantizer
from flowstore.quantize.code_encodings import CODE_ENCODINGS


def file_quantizer(encoding, bound=20.0):
    return FileQuantizer(encoding, None if encoding in ("mmcv", "pixels") else bound)


@pytest.mark.parametrize("bound", [20.0, 7.5])
@pytest.mark.parametrize("exported", CODE_ENCODINGS)
@pytest.mark.parametrize("stored", UINT8_ENCODINGS)
def test_codes_by_table_are_codes_by_arithmetic(stored, exported, bound):
    # Code 0 of centred is reserved, and is no code that encoding gives.
    codes = np.random.default_rng(0).integers(1, 256, (3, 2, 20, 30), np.uint8)
    conversion = Conversion(Quantizer(stored, 20.0), file_quantizer(exported, bound))
    expected = file_quantizer(exported, bound).encode(Quantizer(stored, 20.0).decode(codes))
    found = conversion.convert(codes)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected)
    assert conversion.is_identity == (stored == exported and bound == 20.0)
    if conversion.is_identity:
        assert found is codes


@given(st.sampled_from(UINT8_ENCODINGS), st.sampled_from([*CODE_ENCODINGS]), st.sampled_from([5.0, 20.0, 31.5]))
def test_the_stated_difference_of_codes_holds(stored, exported, bound):
    """Against the codes of the float flow itself, within the smaller bound, where nothing is clipped."""
    height, width = 30, 500
    conversion = Conversion(Quantizer(stored, 20.0), file_quantizer(exported, bound))
    largest = 0.02 * height if exported == "mmcv" else min(bound, 20.0)
    flow = np.linspace(-largest, largest, 2 * height * width, dtype=np.float32).reshape(1, 2, height, width)
    found = conversion.convert(Quantizer(stored, 20.0).encode(flow)).astype(int)
    direct = file_quantizer(exported, bound).encode(flow).astype(int)
    assert np.abs(found - direct).max() <= conversion.largest_code_difference(height, width)


@pytest.mark.parametrize("exported", ["centred", "denseflow", "truncate", "i3d-128"])
@pytest.mark.parametrize("max_error_px", [0.16, 0.32, 1.0])
def test_the_stated_difference_allows_for_the_errors_of_the_store(exported, max_error_px):
    height, width = 30, 500
    quantizer = Quantizer("centred", 20.0)
    conversion = Conversion(quantizer, file_quantizer(exported), max_error_px=max_error_px)
    flow = np.random.default_rng(0).uniform(-18, 18, (1, 2, height, width)).astype(np.float32)
    # As far off as the store may be, in either direction.
    shift = max_error_px - quantizer.scale / 2
    for off in (shift, -shift):
        found = conversion.convert(quantizer.encode((flow + off).astype(np.float32))).astype(int)
        difference = np.abs(found - file_quantizer(exported).encode(flow).astype(int)).max()
        assert difference <= conversion.largest_code_difference(height, width)


@pytest.mark.parametrize(("height", "width"), [(10, 15), (20, 15), (40, 60), (10, 60), (20, 30), (1, 1)])
def test_resized_is_opencvs_picture_and_scaled_vectors(height, width):
    flow = np.random.default_rng(0).normal(0, 5, (3, 2, 20, 30)).astype(np.float32)
    how = cv2.INTER_AREA if height <= 20 and width <= 30 else cv2.INTER_LINEAR
    expected = np.stack(
        [
            [cv2.resize(x, (width, height), interpolation=how) * (width / 30),
             cv2.resize(y, (width, height), interpolation=how) * (height / 20)]
            for x, y in flow
        ]
    )  # fmt: skip
    found = resize_flow(flow, height, width)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_the_mean_of_what_falls_into_a_pixel():
    flow = np.arange(32, dtype=np.float32).reshape(1, 2, 4, 4)
    means = flow.reshape(1, 2, 2, 2, 2, 2).mean(axis=(3, 5)) / 2
    np.testing.assert_allclose(resize_flow(flow, 2, 2), means, rtol=1e-6)


def test_a_resized_translation_is_the_translation_of_the_resized_picture():
    flow = np.empty((1, 2, 48, 64), np.float32)
    flow[:, 0], flow[:, 1] = 8.0, -4.0
    conversion = Conversion(Quantizer("centred", 20.0), FileQuantizer("pixels", None), short_side=24)
    found = conversion.convert(Quantizer("centred", 20.0).encode(flow))
    assert found.shape == (1, 2, 24, 32)
    np.testing.assert_allclose(found[:, 0], 4.0, atol=20 / 127 / 2)
    np.testing.assert_allclose(found[:, 1], -2.0, atol=20 / 127 / 2)


def test_float16_is_decoded():
    flow = np.random.default_rng(0).normal(0, 9, (2, 2, 4, 6)).astype(np.float16)
    conversion = Conversion(Quantizer("float16", None), FileQuantizer("pixels", None))
    np.testing.assert_array_equal(conversion.convert(flow), flow.astype(np.float32))


def test_refusals():
    parts = Quantizer(), FileQuantizer("denseflow")
    with pytest.raises(ArgumentError, match="not both"):
        Conversion(*parts, short_side=100, size=(10, 10))
    for options in ({"short_side": 0}, {"size": (0, 10)}, {"size": (10, -1)}):
        with pytest.raises(ArgumentError, match=r"in pixels is .*, expected a whole number, 1 to 65535"):
            Conversion(*parts, **options)
