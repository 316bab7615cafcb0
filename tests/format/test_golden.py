"""Format 1 for ever: stores written once are read the same, and the same input is written the same.

The stores in golden/ are never written again. If a test here fails, the code changed the format: that is another
format number, not new golden stores.
"""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from store_factory import tree_files, write_video

import flowstore
from flowstore.storage.local import LocalStorage

GOLDEN = Path(__file__).parents[1] / "support" / "golden"
sys.path.insert(0, str(GOLDEN))

from make import COMPRESSIONS, ENCODINGS, write_golden  # noqa: E402

STORES = [
    *(("centred", compression) for compression in COMPRESSIONS),
    *((encoding, "fast") for encoding in ENCODINGS if encoding != "centred"),
]
KEY = "__wave/clip [HD] 100%"
FOLDER = "%5F_wave/clip [HD] 100%"


def root_of(encoding: str, compression: str) -> Path:
    return GOLDEN / f"{encoding}-{compression}"


def recorded(encoding: str) -> tuple[np.ndarray, np.ndarray]:
    return np.load(GOLDEN / f"{encoding}-codes.npy"), np.load(GOLDEN / f"{encoding}-pixels.npy")


def flow_files(root: Path) -> dict[str, bytes]:
    return {name: data for name, data in tree_files(root).items() if "/flow/" in name}


def test_every_golden_store_is_tested():
    assert sorted(path.name for path in GOLDEN.iterdir() if path.is_dir() and path.name != "__pycache__") == sorted(
        f"{encoding}-{compression}" for encoding, compression in STORES
    )


@pytest.mark.parametrize(("encoding", "compression"), STORES)
def test_reading(encoding, compression):
    codes, pixels = recorded(encoding)
    store = flowstore.open_store(root_of(encoding, compression))
    assert store.classes == ["__wave"]
    assert store["__wave"].names == ["clip [HD] 100%", "index"]
    video = store[KEY]
    assert video.codes.dtype == codes.dtype
    np.testing.assert_array_equal(video.codes[:], codes)
    np.testing.assert_allclose(video[:], pixels, rtol=0, atol=2e-6)
    np.testing.assert_array_equal(video.codes[::-2], codes[::-2])
    assert (video.n_flows, video.record.n_frames, video.fps) == (5, 6, 30.0)
    assert video.record.statistics.flow_means == (0.0, 1.0, 2.0, 3.0, 4.0)
    assert video.record.fingerprint.digest == "00ff"
    assert store["__wave/index"].record.reason == "1 frame: no flow"
    assert store.settings.quantizer.encoding == encoding
    assert store.settings.quantizer.bound_px == ENCODINGS[encoding]
    assert store.settings.compression == compression


@pytest.mark.parametrize(("encoding", "compression"), STORES)
def test_reading_by_others(encoding, compression):
    codes, pixels = recorded(encoding)
    root = root_of(encoding, compression)
    np.testing.assert_array_equal(zarr.open_array(str(root), path=f"{FOLDER}/flow", mode="r")[:], codes)
    with xr.open_zarr(root, group=FOLDER, consolidated=False) as dataset:
        np.testing.assert_allclose(dataset["flow"].values, pixels, rtol=0, atol=2e-6)


@pytest.mark.parametrize(("encoding", "compression"), STORES)
def test_writing_the_same_gives_the_same_bytes(tmp_path, encoding, compression):
    expected = flow_files(root_of(encoding, compression))
    assert flow_files(write_golden(tmp_path, encoding, compression)) == expected
    assert sorted(expected) == [
        f"{FOLDER}/flow/{name}" for name in ("c.0.0.0.0", "c.1.0.0.0", "c.2.0.0.0", "zarr.json")
    ]


def test_a_golden_store_without_compression_byte_for_byte():
    """The layout by hand: each flow's bytes and their CRC-32C, then offsets and sizes, then the index's CRC-32C."""

    def crc32c(data: bytes) -> bytes:
        # RFC 3720, bit by bit: the reflected polynomial of Castagnoli.
        value = 0xFFFFFFFF
        for byte in data:
            value ^= byte
            for _ in range(8):
                value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        return (value ^ 0xFFFFFFFF).to_bytes(4, "little")

    assert crc32c(b"123456789") == bytes.fromhex("839206e3")
    codes, _ = recorded("centred")
    folder = root_of("centred", "none") / FOLDER / "flow"
    for shard, flows in enumerate((codes[0:2], codes[2:4], codes[4:5])):
        chunks = [flow.tobytes() + crc32c(flow.tobytes()) for flow in flows]
        entries = [[0, 112], [112, 112]][: len(chunks)] + [[2**64 - 1, 2**64 - 1]] * (2 - len(chunks))
        index = np.array(entries, "<u8").tobytes()
        expected = b"".join(chunks) + index + crc32c(index)
        assert (folder / f"c.{shard}.0.0.0").read_bytes() == expected


def test_the_format_number():
    for encoding, compression in STORES:
        document = json.loads((root_of(encoding, compression) / "zarr.json").read_bytes())
        assert document["attributes"]["flowstore"]["format"] == 1
        assert document["zarr_format"] == 3


def test_a_golden_store_can_be_added_to(tmp_path):
    """Old stores resume: what today's code writes beside old videos is read with them."""
    root = Path(shutil.copytree(root_of("centred", "fast"), tmp_path / "s"))
    codes, _ = recorded("centred")
    storage = LocalStorage(str(root))
    write_video(storage, "__wave", "new", codes[:2])
    store = flowstore.open_store(root)
    assert store["__wave"].names == ["clip [HD] 100%", "index", "new"]
    np.testing.assert_array_equal(store["__wave/new"].codes[:], codes[:2])
