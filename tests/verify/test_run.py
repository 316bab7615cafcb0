"""Verifying: whatever is done to a store is found and named, and mended where it can be."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from datasets import call, write_dataset
from store_factory import (
    drop_digests,
    make_codes,
    make_frames,
    settings_of,
    tree_files,
    write_avi,
    write_store,
    write_video,
)

import flowstore
from flowstore.errors import ArgumentError, StoreFormatError, StoreNotFoundError
from flowstore.format import shards
from flowstore.pipeline import extract
from flowstore.storage.local import LocalStorage
from flowstore.storage.locks import writers_lock
from flowstore.verify import verify

N_FLOWS, HEIGHT, WIDTH = 7, 6, 8
SHARD_FLOWS = 3
VIDEOS = {key: make_codes(N_FLOWS, HEIGHT, WIDTH, seed) for seed, key in enumerate(["run/a", "run/b", "wave/a"])}
GOLDEN = Path(__file__).parents[1] / "support" / "golden"


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Two classes, three videos of three shards of one size each, and a failed one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "MAX_SHARD_BYTES", SHARD_FLOWS * 2 * HEIGHT * WIDTH)
        root = tmp_path_factory.mktemp("verify") / "s.zarr"
        write_store(root, VIDEOS, {"wave/broken": "no frame"}, settings_of("centred", compression="none"))
    return root


@pytest.fixture
def store(stored, tmp_path):
    return Path(shutil.copytree(stored, tmp_path / "s.zarr"))


def exchange(one: Path, other: Path) -> None:
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(bytes(data))


def change(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    assert data.count(old) >= 1
    path.write_bytes(data.replace(old, new, 1))


def found(report) -> list[tuple]:
    return [(fault.kind, fault.key, fault.flows) for fault in report.faults]


def test_nothing_is_found_in_a_store_as_it_was_written(stored):
    before = tree_files(stored)
    report = verify(stored)
    assert report.is_all_well
    assert (report.n_videos, report.n_failed, report.n_flows) == (3, 1, 21)
    assert (report.faults, report.notes) == ((), ())
    # Chunks and their checksums; the index of a shard is read too, and is no flow.
    assert report.size_bytes == 21 * (2 * HEIGHT * WIDTH + 4)
    assert tree_files(stored) == before
    assert os.listdir(stored.parent) == ["s.zarr"]


CHUNK = 2 * HEIGHT * WIDTH + 4
DAMAGE = {
    "a bit of a flow": (
        lambda root: flip(root / "run/a/flow/c.1.0.0.0", CHUNK + 5),
        [("damaged", "run/a", (4, 5))],
    ),
    "bits of flows side by side and apart": (
        lambda root: [flip(root / f"run/a/flow/c.{n // 3}.0.0.0", n % 3 * CHUNK) for n in (0, 1, 6)],
        [("damaged", "run/a", (0, 2)), ("damaged", "run/a", (6, 7))],
    ),
    "the checksum of a flow": (
        lambda root: flip(root / "run/a/flow/c.2.0.0.0", CHUNK - 1),
        [("damaged", "run/a", (6, 7))],
    ),
    "the index of a shard": (
        lambda root: flip(root / "run/a/flow/c.1.0.0.0", 3 * CHUNK + 2),
        [("damaged", "run/a", (3, 6))],
    ),
    "a shard cut off": (
        lambda root: os.truncate(root / "run/a/flow/c.1.0.0.0", 100),
        [("damaged", "run/a", (3, 6))],
    ),
    "a shard without bytes": (
        lambda root: os.truncate(root / "run/a/flow/c.1.0.0.0", 0),
        [("damaged", "run/a", (3, 6))],
    ),
    "a shard that is gone": (
        lambda root: (root / "run/a/flow/c.2.0.0.0").unlink(),
        [("missing", "run/a", (6, 7))],
    ),
    "two shards of a video": (
        lambda root: exchange(root / "run/a/flow/c.0.0.0.0", root / "run/a/flow/c.1.0.0.0"),
        [("swapped", "run/a", (0, 3)), ("swapped", "run/a", (3, 6))],
    ),
    "shards of two videos": (
        lambda root: exchange(root / "run/a/flow/c.1.0.0.0", root / "wave/a/flow/c.1.0.0.0"),
        [("swapped", "run/a", (3, 6)), ("swapped", "wave/a", (3, 6))],
    ),
    "the flow of two videos": (
        lambda root: exchange(root / "run/a/flow", root / "run/b/flow"),
        [("swapped", f"run/{name}", flows) for name in "ab" for flows in ((0, 3), (3, 6), (6, 7))],
    ),
    "two videos": (
        lambda root: exchange(root / "run/a", root / "run/b"),
        [("swapped", "run/a", None), ("swapped", "run/b", None)],
    ),
    "a copy of another video": (
        lambda root: shutil.copytree(root / "run/a", root / "run/c"),
        [("swapped", "run/c", None)],
    ),
    "the array's document is gone": (
        lambda root: (root / "run/a/flow/zarr.json").unlink(),
        [("missing", "run/a", None)],
    ),
    "scale_factor": (
        lambda root: change(root / "run/a/flow/zarr.json", b'"scale_factor": 0.1', b'"scale_factor": 0.3'),
        [("damaged", "run/a", None)],
    ),
    "fill_value": (
        lambda root: change(root / "run/a/flow/zarr.json", b'"fill_value": 128', b'"fill_value": 129'),
        [("damaged", "run/a", None)],
    ),
    "statistics": (
        lambda root: change(root / "run/a/zarr.json", b'"mean_magnitude": 1.5', b'"mean_magnitude": 1.7'),
        [("damaged", "run/a", None)],
    ),
    "fps": (
        lambda root: change(root / "run/a/zarr.json", b'"fps": 30.0', b'"fps": 38.0'),
        [("damaged", "run/a", None)],
    ),
    "half a record": (lambda root: os.truncate(root / "run/a/zarr.json", 300), [("damaged", "run/a", None)]),
    "the reason of a failed video": (
        lambda root: change(root / "wave/broken/zarr.json", b"no frame", b"no frome"),
        [("damaged", "wave/broken", None)],
    ),
    "a video without a record": (
        lambda root: (root / "run/a/zarr.json").unlink(),
        [("leftover", "run/a", None)],
    ),
    "a video that is gone": (lambda root: shutil.rmtree(root / "run/a"), [("missing", "run/a", None)]),
    "a class that is gone": (
        lambda root: shutil.rmtree(root / "run"),
        [("missing", "run/a", None), ("missing", "run/b", None)],
    ),
    "the name of a class": (
        lambda root: change(root / "run/zarr.json", b'"run"', b'"ran"'),
        [("damaged", "run/zarr.json", None)],
    ),
    "a class without a document": (
        lambda root: (root / "run/zarr.json").unlink(),
        [("missing", "run/zarr.json", None)],
    ),
    "two classes' documents": (
        lambda root: exchange(root / "run/zarr.json", root / "wave/zarr.json"),
        [("swapped", "run/zarr.json", None), ("swapped", "wave/zarr.json", None)],
    ),
    "the bound": (
        lambda root: change(root / "zarr.json", b'"bound_px": 20.0', b'"bound_px": 28.0'),
        [("damaged", "zarr.json", None)],
    ),
    "the name of the root's digest": (
        lambda root: change(root / "zarr.json", b'"digest"', b'"digest_"'),
        [("damaged", "zarr.json", None)],
    ),
    "foreign files": (
        lambda root: [
            (root / name).write_text("mine")
            for name in ("README", "run/notes", "run/a/x.txt", "run/a/flow/c.9.0.0.0", "wave/broken/c.0.0.0.0")
        ],
        [
            ("foreign", "run/a", None),
            ("foreign", "run/a", None),
            ("foreign", "wave/broken", None),
            ("foreign", "README", None),
            ("foreign", "run/notes", None),
        ],
    ),
    "a foreign folder": (
        lambda root: ((root / "run/mine").mkdir(), (root / "run/mine/notes.txt").write_text("mine")),
        [("foreign", "run/mine", None)],
    ),
    "what a killed run left": (
        lambda root: [
            (path.parent.mkdir(exist_ok=True, parents=True), path.write_bytes(b"half"))
            for path in (
                root / "zarr.json.77.partial",
                root / "run/zarr.json.77.partial",
                root / "run/a/flow/c.0.0.0.0.77.partial",
                root / "run/new/flow/c.0.0.0.0.77.partial",
            )
        ],
        [
            ("leftover", "run/a", None),
            ("leftover", "run/new", None),
            ("leftover", "run/zarr.json.77.partial", None),
            ("leftover", "zarr.json.77.partial", None),
        ],
    ),
    "a column of the index": (
        lambda root: os.truncate(root / "index/n_flows/c/0", 5),
        [("damaged", "index/n_flows", None)],
    ),
    "the index's document": (
        lambda root: change(root / "index/zarr.json", b'"n_videos": 4', b'"n_videos": 5'),
        [("damaged", "index", None)],
    ),
    "an index that was never finished": (
        lambda root: (root / "index/zarr.json").unlink(),
        [("leftover", "index", None)],
    ),
    "a foreign file in the index": (
        lambda root: (root / "index/notes").write_text("mine"),
        [("foreign", "index/notes", None)],
    ),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found_and_named(store, name):
    damage, expected = DAMAGE[name]
    damage(store)
    report = verify(store, scheduler="sync")
    assert sorted(found(report), key=str) == sorted(expected, key=str)
    assert not report.is_all_well


def test_an_index_of_other_videos_is_found(store):
    old = store.with_name("index")
    shutil.copytree(store / "index", old)
    write_video(LocalStorage(str(store)), "wave", "new", VIDEOS["run/a"][:2], settings_of("centred"))
    write_video(LocalStorage(str(store)), "run", "a", VIDEOS["run/a"][:2], settings_of("centred"))
    # Whoever changes a video removes the index.
    assert not (store / "index").exists()
    shutil.copytree(old, store / "index")
    faults = found(verify(store))
    assert {kind for kind, _, _ in faults} == {"index"}
    assert [key for _, key, _ in faults] == [
        "index",
        *(f"index/{name}" for name in ("flow_mean_magnitude", "n_flows", "n_frames", "size_bytes")),
    ]


def test_a_store_without_digests_is_checked_as_far_as_it_goes(stored, tmp_path):
    store = Path(shutil.copytree(stored, tmp_path / "old.zarr"))
    for key in ("", "run", "wave", *VIDEOS, "wave/broken", "index"):
        drop_digests(store, key)
    report = verify(store)
    assert report.is_all_well
    (note,) = report.notes
    assert note.startswith("3 videos written without digests")
    change(store / "run/a/flow/zarr.json", b'"scale_factor": 0.1', b'"scale_factor": 0.3')
    flip(store / "run/b/flow/c.0.0.0.0", 3)
    assert found(verify(store)) == [("damaged", "run/a", None), ("damaged", "run/b", (0, 1))]


@pytest.mark.parametrize("name", sorted(path.name for path in GOLDEN.iterdir() if path.is_dir() and "-" in path.name))
def test_golden_stores_are_whole(name, tmp_path):
    report = verify(shutil.copytree(GOLDEN / name, tmp_path / name))
    assert report.is_all_well
    assert (report.n_videos, report.n_failed, report.n_flows) == (1, 1, 5)


@pytest.mark.parametrize("scheduler", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_schedulers_find_the_same(store, scheduler):
    DAMAGE["shards of two videos"][0](store)
    DAMAGE["a bit of a flow"][0](store)
    expected = sorted(map(str, verify(store, scheduler="sync").faults))
    assert sorted(map(str, verify(store, scheduler=scheduler, workers=2).faults)) == expected
    assert len(expected) == 2


def test_a_store_in_memory_is_checked_too(store):
    import zarr

    flip(store / "run/a/flow/c.0.0.0.0", 3)
    buffer = zarr.core.buffer.default_buffer_prototype().buffer
    files = tree_files(store) | {"README": b"mine", "run/notes": b"mine"}
    memory = zarr.storage.MemoryStore({name: buffer.from_bytes(data) for name, data in files.items()})
    assert sorted(found(verify(memory)), key=str) == [
        ("damaged", "run/a", (0, 1)),
        ("foreign", "README", None),
        ("foreign", "run/notes", None),
    ]


def test_no_store_is_refused(tmp_path):
    with pytest.raises(StoreNotFoundError):
        verify(tmp_path / "nowhere")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/notes").write_text("mine")
    with pytest.raises(StoreFormatError, match="not a flowstore store"):
        verify(tmp_path / "folder")
    assert call("verify", tmp_path / "nowhere").code == 2


def test_a_store_that_is_written_to_is_refused(store):
    with writers_lock(str(store), is_shared=True), pytest.raises(ArgumentError, match="what it has under way"):
        verify(store)


# Against the source, and mending


@pytest.fixture
def source(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=2)
    return tmp_path / "videos"


@pytest.fixture
def extracted(source, tmp_path):
    extract(source, tmp_path / "flow.zarr", engine="opencv", scheduler="sync")
    return tmp_path / "flow.zarr"


def test_the_source_agrees(source, extracted):
    report = verify(extracted, source=source, deep=True)
    assert report.is_all_well
    assert report.notes == ("4 videos extracted again: the flow of 4 is the same to the last bit",)


def test_what_the_source_has_and_the_store_has_not(source, extracted):
    write_avi(source / "wave/new.avi", 4)
    write_avi(source / "wave/v0.avi", 4, seed=8)
    (source / "run/v0.avi").unlink()
    report = verify(extracted, source=source)
    assert found(report) == [("missing", "wave/new", None), ("source", "wave/v0", None)]
    assert "has changed since it was extracted: wave/v0.avi" in str(report.faults[1])
    assert report.notes == ("1 video without a readable source: only the flow was checked",)
    assert verify(extracted).is_all_well


def test_flow_that_is_not_that_of_the_source_is_found_by_extracting_anew(source, extracted):
    store = flowstore.open_store(extracted)
    record = store["run/v1"].record
    codes = store["run/v1"].codes[:].copy()
    codes[3, 0, 4:9] += 9
    write_video(LocalStorage(str(extracted)), "run", "v1", codes, store.settings)
    path = extracted / "run/v1/zarr.json"
    # Its fingerprint is that of the source, so only the flow itself can tell.
    document = json.loads(path.read_bytes())
    document["attributes"]["flowstore"]["fingerprint"] = record.to_json()["fingerprint"]
    path.write_text(json.dumps(document))
    drop_digests(extracted, "run/v1")
    assert verify(extracted, source=source).is_all_well
    report = verify(extracted, source=source, deep=True)
    assert found(report) == [("source", "run/v1", None)]
    assert f"{5 * 32} of {codes.size} numbers are not those of its source" in str(report.faults[0])
    repaired = verify(extracted, source=source, deep=True, repair=True)
    assert repaired.is_all_well
    assert verify(extracted, source=source, deep=True).faults == ()


def test_a_lone_number_that_is_far_off_is_no_other_flow(tmp_path):
    write_avi(tmp_path / "in/wave/v.avi", frames=make_frames(6, 0, 120, 160))
    store = tmp_path / "s.zarr"
    extract(tmp_path / "in", store, scheduler="sync")
    video = flowstore.open_store(store)["wave/v"]
    codes = video.codes[:].copy()
    codes[3, 0, 4, 5] ^= 9
    fingerprint = video.record.to_json()["fingerprint"]
    write_video(LocalStorage(str(store)), "wave", "v", codes, flowstore.open_store(store).settings)
    path = store / "wave/v/zarr.json"
    document = json.loads(path.read_bytes())
    document["attributes"]["flowstore"]["fingerprint"] = fingerprint
    path.write_text(json.dumps(document))
    drop_digests(store, "wave/v")
    report = verify(store, source=tmp_path / "in", deep=True)
    assert report.faults == ()
    assert f"wave/v: 1 of {codes.size} numbers differ, by up to " in "".join(report.notes)


def test_deep_needs_the_source(extracted):
    assert call("verify", extracted, "--deep").code == 2


def ruin(extracted: Path) -> None:
    flip(extracted / "run/v0/flow/c.0.0.0.0", 20)
    os.truncate(extracted / "run/v1/zarr.json", 200)
    shutil.rmtree(extracted / "wave/v0")
    change(extracted / "wave/v1/flow/zarr.json", b'"scale_factor": 0.1', b'"scale_factor": 0.3')
    change(extracted / "wave/zarr.json", b"wave", b"wake")
    os.truncate(extracted / "index/height/c/0", 5)
    (extracted / "zarr.json.77.partial").write_bytes(b"half")
    (extracted / "wave/lost/flow").mkdir(parents=True)
    (extracted / "wave/lost/flow/c.0.0.0.0").write_bytes(b"whole")


def content(root: Path) -> dict[str, bytes | dict]:
    """Every file of a store; the times of records left out, and with them their digests."""
    files: dict[str, bytes | dict] = {}
    for name, data in tree_files(root).items():
        files[name] = data
        if name.endswith("zarr.json") and "created" in (own := _own(json.loads(data))):
            files[name] = {key: value for key, value in own.items() if key not in ("created", "digest")}
    return files


def _own(document: dict) -> dict:
    return document.get("attributes", {}).get("flowstore", {})


def test_repair_with_the_source_makes_the_store_whole(source, extracted):
    before = content(extracted)
    untouched = (extracted / "wave/v1/flow/c.0.0.0.0").stat().st_mtime_ns
    ruin(extracted)
    report = verify(extracted, source=source, repair=True)
    assert len(report.faults) == 8
    assert report.is_all_well
    assert set(report.mended) == {
        "removed zarr.json.77.partial",
        "removed wave/lost",
        "wrote wave/zarr.json anew",
        "wrote wave/v1/flow/zarr.json anew",
        "wrote the index anew",
        "extracted run/v0 again",
        "extracted run/v1 again",
        "extracted wave/v0 again",
    }
    assert content(extracted) == before
    # Shards that are whole are not computed again for a document that follows from the record.
    assert (extracted / "wave/v1/flow/c.0.0.0.0").stat().st_mtime_ns == untouched
    assert verify(extracted, source=source, deep=True).faults == ()


def test_repair_extracts_what_a_killed_run_left_and_writes_an_index_that_is_not_there(source, extracted):
    before = content(extracted)
    (extracted / "run/v0/zarr.json").unlink()
    shutil.rmtree(extracted / "index")
    report = verify(extracted, source=source, repair=True)
    assert report.mended == ("removed run/v0", "wrote the index anew", "extracted run/v0 again")
    assert report.is_all_well
    assert content(extracted) == before


def test_repair_without_the_source_marks_what_is_lost(source, extracted):
    ruin(extracted)
    report = verify(extracted, repair=True)
    assert not report.is_all_well
    assert report.n_left == 3
    again = verify(extracted)
    assert again.is_all_well
    assert (again.n_videos, again.n_failed) == (1, 3)
    store = flowstore.open_store(extracted)
    assert [row["video"] for row in store.videos if row["status"] == "ok"] == ["v1"]
    assert store["run/v0"].record.reason.startswith("its stored flow was lost: flow/c.0.0.0.0 is damaged")
    # The next extraction has the source, and does them again without being asked to.
    assert extract(source, extracted, engine="opencv", scheduler="sync").n_extracted == 3
    assert verify(extracted, source=source, deep=True).faults == ()


def test_what_is_not_flowstores_stays(extracted, source):
    (extracted / "run/mine").mkdir()
    for name in ("notes.txt", "run/mine/notes.txt", "run/v0/notes.txt"):
        (extracted / name).write_text("mine")
    report = verify(extracted, source=source, repair=True)
    assert {fault.kind for fault in report.faults} == {"foreign"}
    assert (report.n_left, report.mended) == (3, ())
    assert [(extracted / name).read_text() for name in ("notes.txt", "run/mine/notes.txt")] == ["mine", "mine"]


def test_the_command(source, extracted):
    well = call("verify", extracted, "--source", source)
    assert well.code == 0
    assert "4 videos, 20 flows" in well.out
    assert well.out.endswith(f"nothing is wrong with {extracted}\n")
    flip(extracted / "run/v0/flow/c.0.0.0.0", 20)
    bad = call("verify", extracted, "--quiet")
    assert (bad.code, bad.out) == (1, "")
    assert bad.error_line.startswith("damaged: run/v0, flows [0, 1): flow/c.0.0.0.0 is damaged: ")
    values = call("verify", extracted, "--json")
    assert values.code == 1
    (fault,) = json.loads(values.out)["faults"]
    assert (fault["class"], fault["video"], fault["flows"], fault["kind"]) == ("run", "v0", [0, 1], "damaged")
    assert fault["path"] == "run/v0/flow/c.0.0.0.0"
    mended = call("verify", extracted, "--source", source, "--repair")
    assert mended.code == 0
    assert "1 fault in" in mended.out
    assert ", 1 mended" in mended.out
    assert "extracted run/v0 again" in mended.err
    np.testing.assert_array_equal(flowstore.open_store(extracted)["run/v0"].codes[:].shape, (5, 2, 24, 32))


def test_a_damaged_root_is_a_fault_and_ends_the_check(extracted):
    change(extracted / "zarr.json", b'"bound_px": 20.0', b'"bound_px": 28.0')
    for options in ([], ["--repair"]):
        outcome = call("verify", extracted, "--json", *options)
        assert outcome.code == 1
        assert [fault["path"] for fault in json.loads(outcome.out)["faults"]] == ["zarr.json"]


@pytest.mark.parametrize("damage", [b"{", b"", None])
def test_a_root_is_mended_by_that_of_a_store_of_the_same_settings(tmp_path, damage):
    write_dataset(tmp_path / "videos", n_videos=2)
    settings = ["--bound", "10", "--encoding", "denseflow"]
    store, other = tmp_path / "flow.zarr", tmp_path / "other.zarr"
    assert call("extract", tmp_path / "videos", store, *settings).code == 0
    flow = flowstore.open_store(store)["wave/v1"][:]
    (store / "zarr.json").unlink() if damage is None else (store / "zarr.json").write_bytes(damage)
    refused = call("verify", store)
    assert refused.code != 0
    assert "--limit 1" in refused.err or damage is None
    assert call("extract", tmp_path / "videos", other, *settings, "--limit", "1").code == 0
    shutil.copy(other / "zarr.json", store)
    assert call("verify", store, "--source", tmp_path / "videos").code == 0
    np.testing.assert_array_equal(flowstore.open_store(store)["wave/v1"][:], flow)
