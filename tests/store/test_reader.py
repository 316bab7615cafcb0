"""The reader of one video against zarr-python and NumPy, over every shape of request."""

import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from store_factory import make_codes, write_store

import flowstore
from flowstore.errors import ChecksumError
from flowstore.format import shards

N_FLOWS, HEIGHT, WIDTH = 11, 6, 8


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    codes = make_codes(N_FLOWS, HEIGHT, WIDTH)
    path = tmp_path_factory.mktemp("reader") / "s.zarr"
    with pytest.MonkeyPatch.context() as patch:
        # Three flows to a shard: requests cross their borders.
        patch.setattr(shards, "MAX_SHARD_BYTES", 3 * 2 * HEIGHT * WIDTH)
        write_store(path, {"wave/a": codes})
    return path, codes


@given(start=st.integers(0, N_FLOWS), stop=st.integers(0, N_FLOWS))
def test_any_range_is_what_zarr_python_reads(place, start, stop):
    path, codes = place
    stop = max(start, stop)
    array = zarr.open_array(str(path), path="wave/a/flow", mode="r")
    video = flowstore.open_store(path)["wave/a"]
    np.testing.assert_array_equal(video.codes[start:stop], codes[start:stop])
    np.testing.assert_array_equal(array[start:stop], codes[start:stop])


@pytest.mark.parametrize("shard", range(4))
def test_damage_is_an_error_in_its_shard_alone(place, shard, tmp_path):
    path, codes = place
    flowstore.copy_store(path, tmp_path / "s.zarr", progress=False)
    file = tmp_path / "s.zarr" / "wave" / "a" / "flow" / f"c.{shard}.0.0.0"
    data = bytearray(file.read_bytes())
    data[0] ^= 1
    file.write_bytes(data)
    video = flowstore.open_store(tmp_path / "s.zarr")["wave/a"]
    for number in range(N_FLOWS):
        if number == 3 * shard:
            with pytest.raises(ChecksumError):
                video.codes[number]
        else:
            np.testing.assert_array_equal(video.codes[number], codes[number])
