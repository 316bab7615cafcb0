"""Reading one video: every index against numpy, every reader, every kind of damage."""

import json
import multiprocessing
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from store_factory import drop_digests, make_codes, settings_of, write_store

import flowstore
from flowstore.errors import ArgumentError, ChecksumError, FailedVideoError, StoreFormatError
from flowstore.format import shards

N_FLOWS = 11
KEY = "wave/clip [HD] 1"
SHARD_FLOWS = 4
CODES = make_codes(N_FLOWS, 6, 7)


@pytest.fixture
def small_shards(monkeypatch):
    """Let a shard hold four flows of 6×7 pixels, so that a video of eleven has three, the last one padded."""
    monkeypatch.setattr(shards, "MAX_SHARD_BYTES", SHARD_FLOWS * 2 * 6 * 7)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Write the video once, in three shards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "MAX_SHARD_BYTES", SHARD_FLOWS * 2 * 6 * 7)
        root = tmp_path_factory.mktemp("video") / "s.zarr"
        write_store(root, {KEY: CODES}, {"wave/broken": "no frame can be decoded"})
    assert sorted(os.listdir(root / KEY / "flow")) == ["c.0.0.0.0", "c.1.0.0.0", "c.2.0.0.0", "zarr.json"]
    return root


@pytest.fixture(scope="module")
def zipped(stored, tmp_path_factory):
    path = tmp_path_factory.mktemp("zip") / "s.zarr.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(stored.rglob("*")):
            if file.is_file():
                archive.write(file, str(file.relative_to(stored)))
    return path


def memory_copy(root: Path) -> zarr.storage.MemoryStore:
    """Return the same store as keys in memory, which only zarr-python can read."""
    buffer = zarr.core.buffer.default_buffer_prototype().buffer
    files = (path for path in root.rglob("*") if path.is_file())
    return zarr.storage.MemoryStore({str(p.relative_to(root)): buffer.from_bytes(p.read_bytes()) for p in files})


@pytest.fixture(scope="module", params=["folder", "memory", "zip"])
def video(request, stored, zipped):
    """Open the video where the direct reader reads it, and where zarr-python does."""
    place = {"folder": lambda: stored, "memory": lambda: memory_copy(stored), "zip": lambda: str(zipped)}
    return flowstore.open_store(place[request.param]())[KEY]


def test_codes_are_the_ones_written(video):
    assert video.codes.dtype == np.uint8
    assert video.codes.shape == video.shape == CODES.shape
    assert len(video) == len(video.codes) == video.n_flows == N_FLOWS
    np.testing.assert_array_equal(video.codes[:], CODES)


def test_zarr_reads_the_same(stored):
    array = zarr.open_array(str(stored), path=f"{KEY}/flow", mode="r")
    np.testing.assert_array_equal(array[:], CODES)
    np.testing.assert_array_equal(array[:], flowstore.open_store(stored)[KEY].codes[:])
    assert array.shards == (SHARD_FLOWS, 2, 6, 7)
    assert array.chunks == (1, 2, 6, 7)
    assert array.metadata.dimension_names == ("frame", "component", "y", "x")
    assert array.fill_value == 128


def test_pixels_are_decoded_codes(video):
    # The centred rule on paper: (code - 128) · 20/127 px.
    expected = (CODES.astype(np.float64) - 128) * 20 / 127
    flow = video[:]
    assert flow.dtype == np.float32
    np.testing.assert_allclose(flow, expected, rtol=1e-6, atol=1e-6)
    assert (flow[CODES == 128] == 0).all()
    np.testing.assert_array_equal(np.stack(list(video)), flow)


axis_ints = st.integers(-N_FLOWS, N_FLOWS - 1)
slices = st.slices(N_FLOWS)
first_keys = st.one_of(
    axis_ints,
    axis_ints.map(np.int16),
    slices,
    st.lists(axis_ints, max_size=6),
    st.lists(axis_ints, max_size=6).map(lambda numbers: np.array(numbers, np.int32)),
    st.lists(st.lists(axis_ints, min_size=2, max_size=2), min_size=1, max_size=2).map(np.array),
    st.lists(st.booleans(), min_size=N_FLOWS, max_size=N_FLOWS),
    st.lists(st.booleans(), min_size=N_FLOWS, max_size=N_FLOWS).map(np.array),
)


def rest_keys(side: int):
    return st.one_of(st.integers(-side, side - 1), st.slices(side), st.just(slice(None)))


keys = st.one_of(
    first_keys,
    st.just(Ellipsis),
    st.just(()),
    st.tuples(first_keys, rest_keys(2)),
    st.tuples(first_keys, rest_keys(2), rest_keys(6)),
    st.tuples(first_keys, rest_keys(2), rest_keys(6), rest_keys(7)),
    st.tuples(first_keys, st.just(Ellipsis), rest_keys(7)),
    st.tuples(first_keys, rest_keys(2), rest_keys(6), rest_keys(7), st.just(Ellipsis)),
    st.tuples(st.just(Ellipsis), rest_keys(7)),
    st.tuples(st.just(Ellipsis), first_keys, rest_keys(2), rest_keys(6), rest_keys(7)),
    st.tuples(first_keys, st.lists(st.integers(-2, 1), min_size=1, max_size=1)),
    st.tuples(st.integers(-N_FLOWS, N_FLOWS - 1), st.just(slice(None)), st.lists(st.integers(0, 5), max_size=3)),
)


@settings(max_examples=150, deadline=None)
@given(key=keys)
def test_every_index_is_numpys(video, key):
    expected = CODES[key]
    found = video.codes[key]
    np.testing.assert_array_equal(found, expected)
    assert np.shape(found) == expected.shape
    assert found.dtype == np.uint8
    flow = video[key]
    assert flow.dtype == np.float32
    np.testing.assert_array_equal(flow, video[:][key])


@pytest.mark.parametrize("key", [N_FLOWS, -N_FLOWS - 1, [0, N_FLOWS], (0, 2), (slice(None), 0, 6), (0, 0, 0, 0, 0)])
def test_an_index_outside_is_an_error(video, key):
    with pytest.raises(IndexError):
        video[key]


@pytest.mark.parametrize("key", [1.5, [0.5, 1.5], "0", None, np.ones(3, bool), np.ones((N_FLOWS, 2), bool), (..., ...)])
def test_what_is_no_index_is_an_error(video, key):
    with pytest.raises((IndexError, TypeError)):
        video.codes[key]


def test_ranges_over_shard_borders(video):
    for start in range(N_FLOWS + 1):
        for stop in range(start, N_FLOWS + 1):
            np.testing.assert_array_equal(video.read_codes(start, stop), CODES[start:stop])


def test_read_into_an_array(video):
    codes = np.full((5, 2, 6, 7), 77, np.uint8)
    assert video.read_codes(2, 7, out=codes) is codes
    np.testing.assert_array_equal(codes, CODES[2:7])
    flow = np.full((5, 2, 6, 7), np.nan, np.float32)
    assert video.read(2, 7, out=flow) is flow
    np.testing.assert_array_equal(flow, video[2:7])


@pytest.mark.parametrize(("start", "stop"), [(-1, 3), (3, 2), (0, N_FLOWS + 1)])
def test_a_range_that_leaves_the_video_is_refused(video, start, stop):
    with pytest.raises(ArgumentError, match=r"\[.*\) leave wave/clip \[HD\] 1, which has 11"):
        video.read_codes(start, stop)


def test_a_float16_video(tmp_path, small_shards):
    values = np.random.default_rng(1).normal(0, 30, (9, 2, 6, 7)).astype(np.float16)
    write_store(tmp_path / "s.zarr", {"a/b": values}, settings=settings_of("float16", None))
    video = flowstore.open_store(tmp_path / "s.zarr")["a/b"]
    assert len(list((tmp_path / "s.zarr/a/b/flow").glob("c.*"))) == 5
    assert video.codes.dtype == np.float16
    np.testing.assert_array_equal(video.codes[::-2], values[::-2])
    np.testing.assert_array_equal(video[:], values.astype(np.float32))
    np.testing.assert_array_equal(zarr.open_array(str(tmp_path / "s.zarr"), path="a/b/flow", mode="r")[:], values)


@pytest.mark.parametrize("compression", ["fast", "balanced", "small", "none"])
def test_every_compression_is_lossless(tmp_path, compression):
    codes = make_codes(3, seed=2)
    write_store(tmp_path / "s.zarr", {"a/b": codes}, settings=settings_of("denseflow", compression=compression))
    np.testing.assert_array_equal(flowstore.open_store(tmp_path / "s.zarr")["a/b"].codes[:], codes)
    np.testing.assert_array_equal(zarr.open_array(str(tmp_path / "s.zarr"), path="a/b/flow", mode="r")[:], codes)


def test_a_store_written_to_memory_is_the_one_on_disk(tmp_path):
    codes, memory = make_codes(3), zarr.storage.MemoryStore()
    write_store(memory, {"a/b": codes})
    write_store(tmp_path / "s.zarr", {"a/b": codes}, is_indexed=False)
    assert flowstore.open_store(memory)["a/b"].codes[:].tobytes() == codes.tobytes()
    for path in (tmp_path / "s.zarr").rglob("*.*"):
        if path.is_file():
            key = str(path.relative_to(tmp_path / "s.zarr"))
            assert memory._store_dict[key].to_bytes() == path.read_bytes()


def test_a_video_is_pickled_without_its_flow(video):
    data = pickle.dumps(video)
    again = pickle.loads(data)
    assert (again.key, again.shape, again.record) == (video.key, video.shape, video.record)
    np.testing.assert_array_equal(again.codes[3:9], CODES[3:9])


def test_a_pickled_store_opens_anew_in_a_zip(zipped):
    store = pickle.loads(pickle.dumps(flowstore.open_store(str(zipped))))
    assert store.classes == ["wave"]
    np.testing.assert_array_equal(store[KEY].codes[:], CODES)


def read_sums(video, numbers):
    return [int(video.codes[number].astype(np.int64).sum()) for number in numbers]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_reading_in_other_processes(stored, method):
    opened = flowstore.open_store(stored)[KEY]
    assert opened.codes[0].shape == (2, 6, 7)
    context = multiprocessing.get_context(method)
    parts = [[0, 3, 4], [10, 7, 8], list(range(N_FLOWS))]
    with context.Pool(2) as pool:
        found = pool.starmap(read_sums, [(opened, numbers) for numbers in parts])
    assert found == [[int(CODES[n].astype(np.int64).sum()) for n in numbers] for numbers in parts]


def test_a_failed_video_says_why(stored):
    video = flowstore.open_store(stored)["wave/broken"]
    assert (len(video), video.shape) == (0, (0, 2, 0, 0))
    for read in (lambda: video[:], lambda: video.codes[0:0], lambda: video.read(0, 0)):
        with pytest.raises(FailedVideoError, match="wave/broken has no flow: it failed \\(no frame can be decoded\\)"):
            read()
    assert repr(video) == "<Video wave/broken: failed (no frame can be decoded)>"


def test_repr_shows_shapes_and_no_pixels(stored):
    video = flowstore.open_store(stored)[KEY]
    assert repr(video) == (
        "<Video wave/clip [HD] 1: 11 flows of 7×6, 30 fps; farneback (opencv), uint8 centred ±20 px>"
    )
    assert repr(video.codes) == "<VideoCodes wave/clip [HD] 1: uint8 (11, 2, 6, 7)>"


# Damage. Shard 1 holds flows 4 to 7.


def shard_file(root: Path, number: int = 1) -> Path:
    return root / KEY / "flow" / f"c.{number}.0.0.0"


def remove_shard(root):
    shard_file(root).unlink()


def empty_shard(root):
    shard_file(root).write_bytes(b"")


def truncate_shard(root):
    shard_file(root).write_bytes(shard_file(root).read_bytes()[:-30])


def cut_shard_head(root):
    shard_file(root).write_bytes(shard_file(root).read_bytes()[30:])


def flip_bit(offset):
    def damage(root):
        data = bytearray(shard_file(root).read_bytes())
        data[offset] ^= 1
        shard_file(root).write_bytes(bytes(data))

    damage.__name__ = f"flip_a_bit_at_{offset}"
    return damage


DAMAGES = [remove_shard, empty_shard, truncate_shard, cut_shard_head]
FLIPS = [flip_bit(offset) for offset in (0, 30, -1, -4, -5, -40)]


@pytest.mark.parametrize("damage", [*DAMAGES, *FLIPS], ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("place", ["folder", "memory"])
def test_damage_is_an_error_that_names_the_video(stored, tmp_path, damage, place):
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    damage(root)
    video = flowstore.open_store(root if place == "folder" else memory_copy(root))[KEY]
    for read in (lambda: video.codes[4], lambda: video[:], lambda: video.read_codes(0, 5)):
        with pytest.raises(ChecksumError, match=r"wave/clip \[HD\] 1"):
            read()
    # The others are read as before.
    np.testing.assert_array_equal(video.codes[0:4], CODES[0:4])
    np.testing.assert_array_equal(video.codes[8:], CODES[8:])


def test_a_cut_shard_says_how_much_is_left(stored, tmp_path):
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    shard_file(root).write_bytes(shard_file(root).read_bytes()[:-30])
    with pytest.raises(
        ChecksumError,
        match=r"flows \[4, 6\), shard 1 from flow 4 on: the file is cut off: 38 bytes from \d+ on where 68",
    ):
        flowstore.open_store(root)[KEY].codes[4:6]


def test_a_chunk_that_was_never_written_is_an_error(stored, tmp_path):
    """A whole shard with a valid index that says that flow 5 is missing, as a create-then-fill writer leaves it."""
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    drop_digests(root, KEY)
    array = zarr.open_array(str(root), path=f"{KEY}/flow", mode="r+")
    array[5] = 128
    size = shard_file(root).stat().st_size
    record = root / KEY / "zarr.json"
    document = json.loads(record.read_bytes())
    document["attributes"]["flowstore"]["shard_sizes"][1] = size
    record.write_text(json.dumps(document))
    # zarr-python leaves out a chunk of nothing but the fill value, and reads it as that.
    assert (array[5] == 128).all()
    video = flowstore.open_store(root)[KEY]
    np.testing.assert_array_equal(video.codes[6:8], CODES[6:8])
    with pytest.raises(
        ChecksumError, match=r"wave/clip \[HD\] 1: flows \[4, 8\), shard 1 from flow 4 on: chunk 1 is missing"
    ):
        video.codes[4:8]


def test_every_flipped_bit_of_a_shard_is_noticed(stored, tmp_path):
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    data = shard_file(root).read_bytes()
    video = flowstore.open_store(root)[KEY]
    for offset in range(len(data)):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << (offset % 8)
        shard_file(root).write_bytes(bytes(damaged))
        with pytest.raises(ChecksumError):
            video.codes[4:8]
    shard_file(root).write_bytes(data)
    np.testing.assert_array_equal(video.codes[4:8], CODES[4:8])


@pytest.mark.parametrize("place", ["folder", "memory"])
@pytest.mark.parametrize("content", [None, b"", b'{"zarr_format": 3, "node_ty', b"{}", b'{"zarr_format": 2}', b"[]"])
def test_a_damaged_flow_document_is_an_error(stored, tmp_path, content, place):
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    document = root / KEY / "flow" / "zarr.json"
    document.unlink() if content is None else document.write_bytes(content)
    video = flowstore.open_store(root if place == "folder" else memory_copy(root))[KEY]
    with pytest.raises((ChecksumError, StoreFormatError), match=r"wave/clip \[HD\] 1.*flow/zarr.json"):
        video[0]


@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_flow_document_of_another_shape_is_an_error(stored, tmp_path, place):
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    drop_digests(root, KEY)
    document = root / KEY / "flow" / "zarr.json"
    # Twelve flows, where the record says eleven: the twelfth chunk of the array was never written.
    document.write_bytes(document.read_bytes().replace(b"  11,", b"  12,", 1))
    video = flowstore.open_store(root if place == "folder" else memory_copy(root))[KEY]
    with pytest.raises(StoreFormatError, match=r"wave/clip \[HD\] 1: flow of shape \(12, 2, 6, 7\)"):
        video[0]


# Layouts of others.


def rewrite_flow(root: Path, key: str = KEY, **layout) -> Path:
    """Write a video's flow again with zarr-python and of another layout; return the flow's folder."""
    drop_digests(root, key)
    folder = root / key / "flow"
    codes = zarr.open_array(folder, mode="r")[:]
    shutil.rmtree(folder)
    with zarr.config.set({"array.write_empty_chunks": True}):
        array = zarr.create_array(folder, shape=codes.shape, dtype=codes.dtype, fill_value=128, **layout)
        array[:] = codes
    return folder


FOREIGN = {
    "small chunks": {"chunks": (3, 1, 4, 5)},
    "gzip": {"chunks": (4, 2, 6, 7), "compressors": zarr.codecs.GzipCodec()},
    "shards of ten flows a chunk": {"chunks": (5, 2, 6, 7), "shards": (10, 2, 6, 7)},
    "no checksum": {"chunks": (1, 2, 6, 7), "shards": (4, 2, 6, 7), "compressors": None},
}


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize("place", ["folder", "memory"])
def test_a_layout_of_others_is_refused_and_zarr_reads_it(stored, tmp_path, name, place):
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    folder = rewrite_flow(root, **FOREIGN[name])
    video = flowstore.open_store(root if place == "folder" else memory_copy(root))[KEY]
    with pytest.raises(StoreFormatError, match=r"wave/clip \[HD\] 1/flow/zarr.json: .*xarray and zarr read it"):
        video.read_codes(0, 1)
    np.testing.assert_array_equal(zarr.open_array(folder, mode="r")[:], CODES)


def test_a_layout_that_nobody_knows_is_an_error(stored, tmp_path):
    root = Path(shutil.copytree(stored, tmp_path / "s.zarr"))
    drop_digests(root, KEY)
    document = root / KEY / "flow" / "zarr.json"
    document.write_bytes(document.read_bytes().replace(b"sharding_indexed", b"sharding_of_nobody"))
    with pytest.raises(StoreFormatError, match=r"wave/clip \[HD\] 1.*flow/zarr.json: laid out by another program"):
        flowstore.open_store(root)[KEY][0]
