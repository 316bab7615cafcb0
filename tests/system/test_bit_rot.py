"""No flipped bit is read in silence: the short form of benchmarks/stress_bits.py, and the documents bit by bit."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import stress_bits
from store_factory import drop_digests, make_codes, settings_of, write_store

import flowstore
from flowstore.errors import ChecksumError, FlowStoreError, StoreFormatError
from flowstore.format import shards
from flowstore.verify import verify

pytestmark = pytest.mark.system


def test_every_flipped_bit_is_found_or_harmless():
    outcomes = stress_bits.stress(45, seed=3)
    assert sum(outcomes.values()) == 45
    assert {kind for kind, _ in outcomes} >= {"shard", "record", "flow/zarr.json", "index"}
    assert sum(count for (_, outcome), count in outcomes.items() if outcome.startswith("found")) > 35


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    root = tmp_path_factory.mktemp("rot") / "s.zarr"
    write_store(root, {"wave/a": make_codes(2, 6, 8)})
    return root


def answers(root):
    """What the root and the record say, and the pixels; or the error."""
    try:
        video = flowstore.open_store(root)["wave/a"]
        return repr(video.settings), repr(video.record), video[:].tobytes()
    except FlowStoreError as error:
        return type(error)


@pytest.mark.parametrize("name", ["zarr.json", "wave/a/zarr.json", "wave/a/flow/zarr.json"])
def test_every_byte_of_a_document(stored, tmp_path, name):
    """A flipped bit in each byte: refused, or nothing that is said is another."""
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    before = answers(root)
    path = root / name
    data = path.read_bytes()
    random = np.random.default_rng(0)
    outcomes = []
    for offset in range(len(data)):
        stress_bits.flip(path, 8 * offset + int(random.integers(8)))
        outcomes.append(answers(root))
        path.write_bytes(data)
    assert set(outcomes) <= {before, ChecksumError, StoreFormatError}
    # Half of a document is the room between its values.
    assert sum(outcome != before for outcome in outcomes) > 0.4 * len(data)


def test_without_digests_a_flipped_bit_would_be_read(stored, tmp_path):
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    drop_digests(root)
    path = root / "zarr.json"
    path.write_bytes(path.read_bytes().replace(b'"step": 1', b'"step": 3'))
    assert flowstore.open_store(root).settings.step == 3
    shutil.copy(stored / "zarr.json", path)
    path.write_bytes(path.read_bytes().replace(b'"step": 1', b'"step": 3'))
    assert answers(root) is ChecksumError


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_documents_that_others_have_written_down_anew_are_the_same(stored, tmp_path):
    """A digest is of what a document says: zarr-python may write it in its own way, and add attributes."""
    import zarr

    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    before = answers(root)
    for path in ("", "wave", "wave/a"):
        zarr.open_group(root, path=path, mode="r+").attrs["mine"] = {"note": path}
    zarr.open_array(root, path="wave/a/flow", mode="r+").attrs["mine"] = "note"
    assert (root / "wave/a/zarr.json").read_bytes() != (stored / "wave/a/zarr.json").read_bytes()
    assert answers(root) == before
    assert verify(root).is_all_well
    zarr.consolidate_metadata(str(root))
    assert answers(root) == before


def blake2b(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def test_the_digests_by_hand(tmp_path, monkeypatch):
    """Format 1 for ever: digests as the README has them, from the bytes on disk."""
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", 2 * 2 * 6 * 8)
    root = tmp_path / "s.zarr"
    write_store(root, {"wave/a": make_codes(3, 6, 8)}, settings=settings_of("centred", compression="none"))
    for name in ("zarr.json", "wave/zarr.json", "wave/a/zarr.json", "index/zarr.json"):
        own = json.loads((root / name).read_bytes())["attributes"]["flowstore"]
        stated = own.pop("digest")
        assert stated == blake2b(json.dumps(own, sort_keys=True, separators=(",", ":")).encode()), name
    record = flowstore.open_store(root)["wave/a"].record
    document = json.loads((root / "wave/a/flow/zarr.json").read_bytes())
    assert record.flow_digest == blake2b(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    chunk = 2 * 6 * 8 + 4
    for number, n_chunks in enumerate((2, 1)):
        data = (root / f"wave/a/flow/c.{number}.0.0.0").read_bytes()
        checksums = b"".join(data[end - 4 : end] for end in range(chunk, (n_chunks + 1) * chunk, chunk))
        assert record.shard_digests[number] == blake2b(checksums + data[-(2 * 16 + 4) :])
