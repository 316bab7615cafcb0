"""Batches of clips: both readers give the same over windows, shards, crops, types and compressions."""

import itertools
import multiprocessing
import os
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from store_factory import make_codes, settings_of, write_store, write_video

import flowstore
from flowstore.errors import ArgumentError, ChecksumError, FailedVideoError, NameNotFoundError
from flowstore.format import shards
from flowstore.storage.local import LocalStorage

HEIGHT, WIDTH, SHARD_FLOWS = 7, 9, 4
LENGTHS = {"wave/a": 11, "wave/b [HD]": 5, "run/c": 4, "run/d": 1}
FORMS = list(itertools.product(("uint8", "float16"), ("fast", "balanced", "small", "none")))


@pytest.fixture(scope="module", params=FORMS, ids="-".join)
def stored(request, tmp_path_factory):
    """Write a store of videos in several shards; return it with zarr-python's arrays of its videos."""
    dtype, compression = request.param
    root = tmp_path_factory.mktemp("clips") / "s.zarr"
    codes = {key: make_codes(n, HEIGHT, WIDTH, seed) for seed, (key, n) in enumerate(LENGTHS.items())}
    if dtype == "float16":
        codes = {key: ((value.astype(np.float32) - 128) / 9).astype(np.float16) for key, value in codes.items()}
    encoding = ("centred", 20.0) if dtype == "uint8" else ("float16", None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "MAX_SHARD_BYTES", SHARD_FLOWS * 2 * HEIGHT * WIDTH * np.dtype(dtype).itemsize)
        write_store(root, codes, {"run/bad": "no frame"}, settings_of(*encoding, compression=compression))
    assert len(list((root / "wave/a/flow").glob("c.*"))) == 3
    return flowstore.open_store(root), {key: zarr.open_array(root / key / "flow", mode="r") for key in codes}


@st.composite
def batches(draw):
    """Draw clips of one length, both ends of each video included, and no crop, one for all, or one for each."""
    length = draw(st.integers(0, 6))
    names = draw(st.lists(st.sampled_from([key for key, n in LENGTHS.items() if n >= length]), min_size=1, max_size=4))
    starts = [draw(st.integers(0, LENGTHS[name] - length)) for name in names]
    kind = draw(st.sampled_from(["none", "one", "each"]))
    height, width = draw(st.integers(1, HEIGHT)), draw(st.integers(1, WIDTH))
    crops = [(draw(st.integers(0, HEIGHT - height)), draw(st.integers(0, WIDTH - width)), height, width) for _ in names]
    return names, starts, length, {"none": None, "one": crops[0], "each": crops}[kind]


@settings(max_examples=60, deadline=None)
@given(batch=batches(), is_codes=st.booleans())
def test_the_direct_reader_gives_what_zarr_python_gives(stored, batch, is_codes):
    store, arrays = stored
    names, starts, length, crop = batch
    parts = [(0, 0, HEIGHT, WIDTH)] * len(names) if crop is None else [crop] * len(names)
    parts = crop if isinstance(crop, list) else parts
    expected = np.stack(
        [
            arrays[name][start : start + length, :, top : top + height, left : left + width]
            for name, start, (top, left, height, width) in zip(names, starts, parts, strict=True)
        ]
    )
    quantizer = store.settings.quantizer
    if is_codes:
        out = np.full(expected.shape, 77, quantizer.dtype)
        assert store.read_clips(names, starts, length, crop=crop, out=out) is out
        assert out.tobytes() == expected.tobytes()
    else:
        flow = store.read_clips(names, starts, length, crop=crop)
        assert flow.dtype == np.float32
        np.testing.assert_array_equal(flow, quantizer.decode(expected))


def test_a_batch_goes_into_an_array_of_any_stride(stored):
    store, _ = stored
    dtype = store.settings.quantizer.dtype
    expected = store.read_clips(["wave/a"] * 2, [0, 3], 4, out=np.empty((2, 4, 2, HEIGHT, WIDTH), dtype))
    wide = np.zeros((2, 4, 2, HEIGHT, 2 * WIDTH), dtype)
    store.read_clips(["wave/a"] * 2, [0, 3], 4, out=wide[..., ::2])
    np.testing.assert_array_equal(wide[..., ::2], expected)
    assert not wide[..., 1::2].any()
    turned = np.zeros((2, 2, 4, HEIGHT, WIDTH), np.float32).swapaxes(1, 2)
    store.read_clips(["wave/a"] * 2, [0, 3], 4, out=turned)
    np.testing.assert_array_equal(turned, store.settings.quantizer.decode(expected))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    root = tmp_path_factory.mktemp("mixed") / "s.zarr"
    write_store(root, {"a/small": make_codes(6, 7, 9), "a/large": make_codes(6, 12, 10)}, {"a/bad": "no frame"})
    return root


def test_videos_of_different_sizes_need_a_crop(mixed):
    store = flowstore.open_store(mixed)
    names = ["a/small", "a/large"]
    with pytest.raises(ArgumentError, match=r"a/large is 10×12, the clips before it are 9×7: give a crop"):
        store.read_clips(names, [0, 0], 3)
    out = np.empty((2, 3, 2, 7, 9), np.uint8)
    store.read_clips(names, [1, 2], 3, crop=[(0, 0, 7, 9), (5, 1, 7, 9)], out=out)
    np.testing.assert_array_equal(out[0], store["a/small"].codes[1:4])
    np.testing.assert_array_equal(out[1], store["a/large"].codes[2:5, :, 5:12, 1:10])
    crops = np.array([(0, 0, 7, 9), (5, 1, 7, 9)])
    np.testing.assert_array_equal(store.read_clips(names, [1, 2], 3, crop=crops), store.settings.quantizer.decode(out))


@pytest.mark.parametrize(
    ("crop", "message"),
    [
        ((0, 0, 8, 9), r"a crop of 9×8 at row 0, column 0 leaves a/small, which is 9×7"),
        ((-1, 0, 3, 3), "at row -1, column 0 leaves a/small"),
        ((0, 7, 3, 3), "at row 0, column 7 leaves a/small"),
        ((0, 0, 0, 3), "a crop of 3×0"),
        ([(0, 0, 3, 3), (0, 0, 3, 4)], "a crop of 4×3, those before it are 3×3"),
        ([(0, 0, 3, 3)], r"crop is int64 \(1, 4\), expected whole numbers \(top, left, height, width\), or 2 of these"),
        ((0, 0, 3), r"crop is int64 \(3,\)"),
        ((0, 0, 3.0, 3), "crop is float64"),
    ],
)
def test_a_crop_that_does_not_fit_is_refused_before_anything_is_read(mixed, crop, message):
    out = np.full((2, 2, 2, 3, 3), 7, np.uint8)
    with pytest.raises(ArgumentError, match=message):
        flowstore.open_store(mixed).read_clips(["a/small", "a/large"], [0, 0], 2, crop=crop, out=out)
    assert (out == 7).all()


def test_other_refusals(mixed):
    store = flowstore.open_store(mixed)
    with pytest.raises(FailedVideoError, match="no frame"):
        store.read_clips(["a/bad"], [0], 0)
    with pytest.raises(FailedVideoError, match="a/bad has no flow: it failed"):
        store.read_clips(["a/bad"], [0], 3)
    with pytest.raises(NameNotFoundError, match="'a' is a class"):
        store.read_clips(["a"], [0], 1)
    with pytest.raises(ArgumentError, match="length is -1, expected a whole number, 0 or more"):
        store.read_clips(["a/small"], [2], -1)
    for names, starts, message in [
        (["a/small"], [0.5], r"starts is \[0.5\], expected whole numbers"),
        (["a/small"], [[0]], r"starts is \[\[0\]\], expected whole numbers"),
        (["a/small"], 0, "starts is 0, expected a list of whole numbers"),
        ("a/small", [0] * 7, "names is 'a/small', expected a list of class/video"),
        ([3], [0], r"names is \[3\]"),
    ]:
        with pytest.raises(ArgumentError, match=message):
            store.read_clips(names, starts, 1)
    for length in ("3", 3.0, None, True):
        with pytest.raises(ArgumentError, match=r"length is .*, expected a whole number, 0 or more"):
            store.read_clips(["a/small"], [0], length)
    with pytest.raises(ArgumentError, match=r"crop is .*, or one for each clip"):
        store.read_clips(["a/small"], [0], 1, crop=[(0, 0, 4), (0, 0, 4, 4)])
    with pytest.raises(ArgumentError, match="out is a list, expected a NumPy array"):
        store.read_clips(["a/small"], [0], 1, out=[1])
    with pytest.raises(ArgumentError, match="out is a list, expected a NumPy array"):
        store["a/small"].read(0, 1, out=[1])
    with pytest.raises(ArgumentError, match=r"flows \[0.0, 1\) of a/small: expected whole numbers"):
        store["a/small"].read(0.0, 1)
    with pytest.raises(ArgumentError, match=r"out is int16 .*, expected float32 or uint8"):
        store.read_clips(["a/small"], [0], 1, out=np.empty((1, 1, 2, 7, 9), np.int16))
    locked = np.empty((1, 1, 2, 7, 9), np.uint8)
    locked.flags.writeable = False
    with pytest.raises(ArgumentError, match="read-only"):
        store.read_clips(["a/small"], [0], 1, out=locked)
    assert store.read_clips([], [], 3).shape == (0, 3, 2, 0, 0)


# What is remembered


def test_a_flipped_bit_names_video_and_flow(mixed, tmp_path):
    root = Path(shutil.copytree(mixed, tmp_path / "s.zarr"))
    store = flowstore.open_store(root)
    out = np.empty((1, 6, 2, 7, 9), np.uint8)
    store.read_clips(["a/small"], [0], 6, out=out)
    shard = root / "a/small/flow/c.0.0.0.0"
    data = bytearray(shard.read_bytes())
    offset = int.from_bytes(data[-(6 * 16 + 4) + 3 * 16 :][:8], "little")
    data[offset + 20] ^= 4
    shard.write_bytes(bytes(data))
    for opened in (store, flowstore.open_store(root)):
        with pytest.raises(ChecksumError, match=r"a/small: flows \[2, 5\), shard 0 from flow 0 on: chunk 3: checksum"):
            opened.read_clips(["a/small"], [2], 3, out=out[:, :3])
        opened.read_clips(["a/small"], [0], 3, out=out[:, :3])


def test_a_video_that_was_replaced_is_read_anew(mixed, tmp_path):
    root = Path(shutil.copytree(mixed, tmp_path / "s.zarr"))
    store = flowstore.open_store(root)
    held = store["a/small"]
    np.testing.assert_array_equal(held.codes[:], make_codes(6, 7, 9))
    codes = make_codes(6, 7, 9, seed=5)
    write_video(LocalStorage(str(root)), "a", "small", codes)
    np.testing.assert_array_equal(store["a/small"].codes[2:5], codes[2:5])
    longer = make_codes(8, 7, 9, seed=6)
    write_video(LocalStorage(str(root)), "a", "small", longer)
    assert len(store["a/small"]) == 8
    np.testing.assert_array_equal(
        store.read_clips(["a/small"], [4], 4, out=np.empty((1, 4, 2, 7, 9), np.uint8))[0], longer[4:]
    )
    shutil.rmtree(root / "a/small")
    with pytest.raises(NameNotFoundError):
        store["a/small"]


def test_a_held_video_survives_flow_that_is_packed_in_another_way(mixed, tmp_path):
    """Its shard index is of yesterday: the bytes do not fit, so the index is read again."""
    root = Path(shutil.copytree(mixed, tmp_path / "s.zarr"))
    video = flowstore.open_store(root)["a/small"]
    expected = video.codes[:]
    index = video._cache.get(("a/small/flow/c.0.0.0.0", video.record.shard_sizes[0]))
    index = index.copy()
    index[:, 0] += 1
    video._cache.put(("a/small/flow/c.0.0.0.0", video.record.shard_sizes[0]), index, 100)
    np.testing.assert_array_equal(video.codes[:], expected)


def test_what_is_remembered_spares_reading_and_is_bounded(tmp_path, monkeypatch):
    root = tmp_path / "s.zarr"
    keys = [f"a/{number}" for number in range(20)]
    write_store(root, {key: make_codes(3, 4, 5, seed) for seed, key in enumerate(keys)})
    store = flowstore.open_store(root)
    reads = []
    for name in ("read", "read_range"):
        original = getattr(LocalStorage, name)
        monkeypatch.setattr(
            LocalStorage, name, lambda self, key, *rest, _do=original: reads.append(key) or _do(self, key, *rest)
        )
    store.read_clips(keys[:1], [0], 2)
    assert reads == ["a/0/zarr.json", "a/0/flow/zarr.json", "a/0/flow/c.0.0.0.0", "a/0/flow/c.0.0.0.0"]
    reads.clear()
    store.read_clips(keys[:1] * 3, [0, 1, 0], 2)
    assert reads == ["a/0/flow/c.0.0.0.0"] * 3
    store._cache.limit_bytes = 40_000
    for _ in range(2):
        store.read_clips(keys, [0] * 20, 2)
    assert 0 < store._cache.size_bytes <= 40_000


def test_no_file_stays_open_and_no_thread_is_started(mixed):
    store = flowstore.open_store(mixed)
    n_threads, files = threading.active_count(), set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc") else set()
    tasks = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc") else 0
    for _ in range(20):
        store.read_clips(["a/small"], [0], 6)
    assert threading.active_count() == n_threads
    if os.path.isdir("/proc"):
        assert set(os.listdir("/proc/self/fd")) == files
        assert len(os.listdir("/proc/self/task")) == tasks


def read_sum(store, start):
    return int(store.read_clips(["a/small"], [start], 2, out=np.empty((1, 2, 2, 7, 9), np.uint8)).astype(int).sum())


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_other_processes_read_the_same(mixed, method):
    store = flowstore.open_store(mixed)
    expected = [read_sum(store, start) for start in range(5)]
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.starmap(read_sum, [(store, start) for start in range(5)]) == expected


def test_many_threads_read_the_same(mixed):
    store = flowstore.open_store(mixed)
    expected, wrong = [read_sum(store, start) for start in range(5)], []

    def work(shift):
        for number in range(100):
            start = (number + shift) % 5
            if read_sum(store, start) != expected[start]:
                wrong.append(start)

    threads = [threading.Thread(target=work, args=(shift,)) for shift in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_store_is_pickled_as_a_path(mixed):
    store = flowstore.open_store(mixed)
    size = len(pickle.dumps(store))
    store.read_clips(["a/small", "a/large"], [0, 0], 2, crop=(0, 0, 4, 4))
    assert store.videos.column("path").tolist() == ["a/bad", "a/large", "a/small"]
    assert len(pickle.dumps(store)) < size + 1500
    assert pickle.loads(pickle.dumps(store)).videos.column("n_flows").tolist() == [0, 6, 6]
