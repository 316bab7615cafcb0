"""Recoding: statistics against plain NumPy, codes at the ends, and what is kept."""

import numpy as np
import pytest
from layout_files import smooth_flow

from flowstore.errors import DecodeError
from flowstore.importer.task import Requantizer
from flowstore.quantize import FileQuantizer, Quantizer


@pytest.mark.parametrize("encoding", ["centred", "denseflow", "truncate"])
def test_kept_codes_are_the_same_and_statistics_are_of_the_decoded_flow(encoding):
    quantizer = Quantizer(encoding, 20)
    codes = quantizer.encode(smooth_flow(3))
    requantizer = Requantizer(FileQuantizer(encoding, 20), quantizer)
    for flow_codes in codes:
        np.testing.assert_array_equal(requantizer.encode(flow_codes), flow_codes)
    statistics = requantizer.motion.result()
    magnitudes = np.hypot(*(codes.astype(np.float64) * quantizer.scale + quantizer.offset).transpose(1, 0, 2, 3))
    assert statistics.mean_magnitude == pytest.approx(magnitudes.mean(), rel=1e-5)
    assert statistics.max_magnitude == pytest.approx(magnitudes.max(), rel=1e-5)


@pytest.mark.parametrize(
    ("encoding", "bound_px", "ends"),
    [
        ("centred", 20, (1, 255)),
        ("denseflow", 20, (0, 255)),
        ("truncate", 20, (0, 255)),
        ("i3d-128", 20, (0, 255)),
        ("mmcv", None, (0, 254)),
    ],
)
def test_the_codes_of_flow_beyond_the_bound_count_as_clipped(encoding, bound_px, ends):
    read = FileQuantizer(encoding, bound_px)
    assert tuple(read.encode(np.array([[[-1e6]], [[1e6]]], np.float32)).ravel()) == ends
    codes = np.full((2, 4, 4), 128, np.uint8)
    codes[0, 0, :3], codes[1, 1, :2] = ends
    # A bound that nothing else exceeds.
    stored = read.stored or Quantizer("centred", 1000)
    requantizer = Requantizer(read, stored)
    requantizer.encode(codes)
    statistics = requantizer.motion.result()
    assert (statistics.clipped_x, statistics.clipped_y) == (3, 2)


def test_values_beyond_the_bound_of_the_store_count_once():
    requantizer = Requantizer(FileQuantizer("pixels", None), Quantizer("centred", 20))
    flow = np.zeros((2, 4, 4), np.float32)
    flow[0, 0], flow[1, 0, 0] = 20.5, -20
    codes = requantizer.encode(flow)
    assert codes[0, 0].tolist() == [255] * 4
    statistics = requantizer.motion.result()
    assert (statistics.clipped_x, statistics.clipped_y) == (4, 0)


def test_shares_of_the_bound_at_the_bound_count_as_clipped():
    requantizer = Requantizer(FileQuantizer("i3d-float", 20), Quantizer("centred", 20))
    values = np.zeros((2, 2, 2), np.float32)
    values[0, 0, 0], values[1, 1, 1] = 1, -1
    assert requantizer.encode(values).ravel().tolist() == [255, 128, 128, 128, 128, 128, 128, 1]
    assert requantizer.motion.result().clipped_x == requantizer.motion.result().clipped_y == 1
    with pytest.raises(DecodeError, match=r"values up to 1\.5, expected -1 to 1"):
        requantizer.encode(np.full((2, 2, 2), 1.5, np.float32))
