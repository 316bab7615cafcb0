"""Flow files read one by one: what OpenCV, NumPy and h5py read, in order, with the memory of one flow."""

import os
import tracemalloc

import numpy as np
import pytest
from layout_files import denseflow_codes, file_values, read_files, smooth_flow, write_image, write_video

from flowstore.errors import DecodeError
from flowstore.importer.folders import find_flow
from flowstore.importer.source import probe_flow, read_flows
from flowstore.layouts import LAYOUTS
from flowstore.quantize import FileQuantizer
from flowstore.quantize.file_quantizer import has_bound


def source_of(root, layout):
    quantizer = FileQuantizer(layout.encoding, 20 if has_bound(layout.encoding) else None)
    (source,) = find_flow(str(root), layout, quantizer, None)[0].sources
    return source


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_is_read_in_order(tmp_path, layout):
    layout = LAYOUTS[layout]
    # More than nine: names sort as numbers.
    write_video(tmp_path, layout, "c", "v", file_values(layout, smooth_flow(12)))
    source = source_of(tmp_path, layout)
    assert probe_flow(source) == (24, 32, 12)
    found = list(read_flows(source))
    np.testing.assert_array_equal(
        np.stack([flow.values for flow in found]), read_files(tmp_path, layout, source.class_name, "v", 12)
    )
    assert {flow.values.dtype for flow in found} == {source.quantizer.dtype}
    assert {flow.n_unknown for flow in found} == {0}


@pytest.mark.parametrize("layout", ["npy", "i3d-npy", "hdf5"])
def test_a_video_in_one_file_is_not_read_whole(tmp_path, layout):
    layout = LAYOUTS[layout]
    write_video(tmp_path, layout, "c", "v", file_values(layout, np.tile(smooth_flow(1, 120, 160), (60, 1, 1, 1))))
    source = source_of(tmp_path, layout)
    flow_bytes = 8 * 120 * 160
    assert os.path.getsize(tmp_path / source.paths(0)[0]) > 60 * flow_bytes
    next(read_flows(source))
    tracemalloc.start()
    try:
        assert sum(1 for _ in read_flows(source)) == 60
        assert tracemalloc.get_traced_memory()[1] < 8 * flow_bytes
    finally:
        tracemalloc.stop()


def test_a_file_that_is_cut_off_while_it_is_read_is_found(tmp_path):
    write_video(tmp_path, "npy", "c", "v", smooth_flow(4))
    source = source_of(tmp_path, LAYOUTS["npy"])
    flows = read_flows(source)
    next(flows)
    os.truncate(tmp_path / "c/v.npy", 9000)
    with pytest.raises(DecodeError, match=r"v\.npy: cut off"):
        list(flows)


def test_a_huge_file_is_not_read(tmp_path):
    write_video(tmp_path, "flo", "c", "v", smooth_flow(1))
    path = tmp_path / "c/v/000001.flo"
    os.truncate(path, 2**40)
    tracemalloc.start()
    try:
        with pytest.raises(DecodeError, match=r"000001\.flo: 1099511627776 bytes, expected at most"):
            list(read_flows(source_of(tmp_path, LAYOUTS["flo"])))
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


def test_a_file_that_vanished_is_named(tmp_path):
    write_video(tmp_path, "mmaction2", "c", "v", denseflow_codes(smooth_flow(3)))
    source = source_of(tmp_path, LAYOUTS["mmaction2"])
    (tmp_path / "c/v/y_00002.jpg").unlink()
    with pytest.raises(DecodeError, match=r"y_00002\.jpg cannot be read: No such file"):
        list(read_flows(source))


def test_another_size_is_named(tmp_path):
    write_video(tmp_path, "coclr", "c", "v", denseflow_codes(smooth_flow(3)))
    write_image(tmp_path / "c/v/flow_00003.jpg", np.zeros((24, 30, 3), np.uint8))
    with pytest.raises(DecodeError, match=r"flow_00003\.jpg is 30×24, the frames before it are 32×24"):
        list(read_flows(source_of(tmp_path, LAYOUTS["coclr"])))
