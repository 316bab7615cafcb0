"""What is found in flow whose digests are not known, as in older stores, or that others have laid out."""

import json
import shutil
import struct
from pathlib import Path

import google_crc32c
import numpy as np
import pytest
import zarr
from store_factory import drop_digests, make_codes, settings_of, write_store

import flowstore
from flowstore.format import shards
from flowstore.verify import verify

N_FLOWS, HEIGHT, WIDTH = 5, 6, 8
CODES = make_codes(N_FLOWS, HEIGHT, WIDTH)
# A checksum follows each chunk; an offset, a size and a checksum make the index.
CHUNK = 2 * HEIGHT * WIDTH + 4


@pytest.fixture
def store(tmp_path):
    """One video in one shard of raw codes, of before there were digests."""
    root = tmp_path / "s.zarr"
    write_store(root, {"run/a": CODES}, settings=settings_of("centred", compression="none"))
    for key in ("", "run", "run/a"):
        drop_digests(root, key)
    assert verify(root).is_all_well
    return root


def found(store):
    return [(fault.kind, fault.key, fault.flows, fault.text) for fault in verify(store).faults]


def shard_of(store: Path) -> Path:
    return store / "run/a/flow/c.0.0.0.0"


def rewrite_index(store, entries):
    path = shard_of(store)
    index = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    data = path.read_bytes()[: N_FLOWS * CHUNK]
    path.write_bytes(data + index + struct.pack("<I", google_crc32c.value(index)))


def test_chunks_may_stand_in_any_order(store):
    path = shard_of(store)
    data = path.read_bytes()
    chunks = [data[n * CHUNK : (n + 1) * CHUNK] for n in range(N_FLOWS)]
    order = [2, 0, 4, 3, 1]
    path.write_bytes(b"".join(chunks[number] for number in order))
    rewrite_index(store, [(order.index(number) * CHUNK, CHUNK) for number in range(N_FLOWS)])
    assert found(store) == []
    for number in range(N_FLOWS):
        np.testing.assert_array_equal(flowstore.open_store(store)["run/a"].codes[number], CODES[number])


@pytest.mark.parametrize("entry", [(10**6, CHUNK), (2 * CHUNK, 10**6), (2**64 - 1, 2**64 - 1)])
def test_a_chunk_that_the_index_puts_elsewhere_is_found(store, entry):
    entries = [(number * CHUNK, CHUNK) for number in range(N_FLOWS)]
    entries[2] = entry
    rewrite_index(store, entries)
    ((kind, key, flows, _),) = found(store)
    assert (kind, key, flows) == ("damaged", "run/a", (2, 3))


def test_a_shard_shorter_than_its_index_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", 3 * 2 * HEIGHT * WIDTH)
    root = tmp_path / "three.zarr"
    write_store(root, {"run/a": CODES}, settings=settings_of("centred", compression="none"))
    drop_digests(root, "run/a")
    path = root / "run/a/zarr.json"
    document = json.loads(path.read_text())
    assert len(document["attributes"]["flowstore"]["shard_sizes"]) == 2
    # The index of three flows takes 52 bytes, also where there are two.
    document["attributes"]["flowstore"]["shard_sizes"][1] = 30
    path.write_text(json.dumps(document))
    (root / "run/a/flow/c.1.0.0.0").write_bytes(bytes(30))
    ((kind, key, flows, text),) = [fault for fault in found(root) if fault[0] == "damaged"]
    assert (kind, key, flows) == ("damaged", "run/a", (3, 5))
    assert "has 30 bytes, less than its index takes" in text


def test_a_flow_document_of_another_kind_is_found(store):
    (store / "run/a/flow/zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    ((kind, key, _, text),) = found(store)
    assert (kind, key) == ("damaged", "run/a")
    assert "flow/zarr.json" in text


def test_a_flow_document_of_another_shape_is_found(store, tmp_path):
    write_store(tmp_path / "other.zarr", {"run/a": CODES[:4]}, settings=settings_of("centred", compression="none"))
    shutil.copy(tmp_path / "other.zarr/run/a/flow/zarr.json", store / "run/a/flow/zarr.json")
    ((kind, key, _, text),) = found(store)
    assert (kind, key) == ("damaged", "run/a")
    assert text.endswith("flow of shape (4, 2, 6, 8) in 1 shards, its record says (5, 2, 6, 8) in 1")


def test_a_layout_of_others_is_found(store):
    folder = store / "run/a/flow"
    attributes = json.loads((folder / "zarr.json").read_text())["attributes"]
    shutil.rmtree(folder)
    array = zarr.create_array(folder, shape=CODES.shape, dtype="uint8", chunks=(2, 2, 6, 8), attributes=attributes)
    array[:] = CODES
    damaged, *others = sorted(verify(store).faults, key=lambda fault: fault.kind)
    assert (damaged.kind, damaged.key) == ("damaged", "run/a")
    assert "xarray and zarr read it" in damaged.text
    assert {(fault.kind, fault.key) for fault in others} == {("foreign", "run/a")}
