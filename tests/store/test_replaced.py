"""A store or a video that is replaced while it is open: what was read is right, or an error says what happened."""

import pickle
import shutil
import threading

import numpy as np
import pytest
from store_factory import make_codes, settings_of, write_store, write_video
from torch_tests import import_torch

import flowstore
from flowstore.copying import copy
from flowstore.errors import NameNotFoundError, ReplacedError, StoreFormatError
from flowstore.quantize import Quantizer
from flowstore.store.writer import remove_video

FIRST, SECOND = make_codes(4, seed=1), make_codes(4, seed=2)


def write(root, codes, bound=20.0, encoding="centred"):
    """A store whose files are of the same sizes whatever is in them."""
    shutil.rmtree(root, ignore_errors=True)
    settings = settings_of(encoding, bound, compression="none")
    return write_store(root, {"wave/a": codes}, settings=settings)


@pytest.mark.parametrize(("bound", "encoding"), [(10.0, "centred"), (20.0, "denseflow")])
@pytest.mark.parametrize("is_pickled", [False, True])
def test_codes_of_other_settings_are_never_taken_for_those_of_the_open_store(tmp_path, bound, encoding, is_pickled):
    write(tmp_path / "s.zarr", FIRST)
    store = flowstore.open_store(tmp_path / "s.zarr")
    video = store["wave/a"]
    np.testing.assert_array_equal(video[:], Quantizer("centred", 20.0).decode(FIRST))
    write(tmp_path / "s.zarr", SECOND, bound, encoding)
    if is_pickled:
        store, video = pickle.loads(pickle.dumps((store, video)))
    for read in (lambda: video[:], lambda: video.codes[1:3]):
        with pytest.raises(ReplacedError, match=r"wave/a of .*s\.zarr is another one than when it was opened"):
            read()
    for read in (lambda: store["wave/a"][:], lambda: store.read_clips(["wave/a"], [0], 2)):
        with pytest.raises(StoreFormatError, match="the store was made anew since it was opened, so open it again"):
            read()
    again = flowstore.open_store(tmp_path / "s.zarr")["wave/a"]
    np.testing.assert_array_equal(again[:], Quantizer(encoding, bound).decode(SECOND))


def test_a_video_of_the_same_settings_is_read_anew_by_its_store(tmp_path):
    write(tmp_path / "s.zarr", FIRST)
    store = flowstore.open_store(tmp_path / "s.zarr")
    video = store["wave/a"]
    assert video.codes[:].tobytes() == FIRST.tobytes()
    write(tmp_path / "s.zarr", SECOND)
    with pytest.raises(ReplacedError):
        video.codes[:]
    assert store["wave/a"].codes[:].tobytes() == SECOND.tobytes()


def test_a_commit_that_was_copied_over_itself_is_the_same(tmp_path):
    write(tmp_path / "s.zarr", FIRST)
    video = flowstore.open_store(tmp_path / "s.zarr")["wave/a"]
    commit = tmp_path / "s.zarr/wave/a/zarr.json"
    shutil.copy(commit, tmp_path / "kept")
    commit.unlink()
    shutil.copy(tmp_path / "kept", commit)
    assert video.codes[:].tobytes() == FIRST.tobytes()


def test_a_zip_that_was_replaced(tmp_path):
    for name, codes, bound in (("first", FIRST, 20.0), ("second", SECOND, 10.0)):
        write(tmp_path / name, codes, bound)
        copy(tmp_path / name, tmp_path / f"{name}.zip")
    (tmp_path / "first.zip").rename(tmp_path / "s.zip")
    store = flowstore.open_store(tmp_path / "s.zip")
    video = store["wave/a"]
    (tmp_path / "second.zip").rename(tmp_path / "s.zip")
    # The archive that is open here is still the first.
    assert video.codes[:].tobytes() == FIRST.tobytes()
    store, video = pickle.loads(pickle.dumps((store, video)))
    with pytest.raises(ReplacedError):
        video[:]
    with pytest.raises(StoreFormatError, match="open it again"):
        store["wave/a"][:]


def replaced_meanwhile(storage, read):
    """Read while a video is without its commit, until somebody has asked for it in vain."""
    data = storage.read("wave/a/zarr.json")
    storage.delete("wave/a/zarr.json")
    is_asked = threading.Event()
    asked = storage.list_children

    def ask(prefix):
        is_asked.set()
        return asked(prefix)

    def commit():
        assert is_asked.wait(60)
        storage.write("wave/a/zarr.json", data)

    thread = threading.Thread(target=commit)
    thread.start()
    try:
        return read(ask)
    finally:
        thread.join()


@pytest.mark.parametrize("is_loader", [False, True])
def test_a_video_that_is_being_replaced_is_waited_for(tmp_path, is_loader, monkeypatch):
    storage = write(tmp_path / "s.zarr", FIRST)
    store = flowstore.open_store(tmp_path / "s.zarr")
    if is_loader:
        import_torch()
        from flowstore.loaders import FlowClips

        dataset = FlowClips(store, 4, dtype="uint8", layout="time", sampling="uniform")

    def read(ask):
        opened = dataset._store if is_loader else store
        monkeypatch.setattr(opened.storage, "list_children", ask)
        return dataset[0][0].numpy() if is_loader else opened["wave/a"].codes[:]

    assert replaced_meanwhile(storage, read).tobytes() == FIRST.tobytes()


def test_a_video_that_does_not_come_back_is_said_to_be_in_the_making(tmp_path, monkeypatch):
    monkeypatch.setattr("flowstore.store.open._WAITS_S", (0.0, 0.0))
    storage = write(tmp_path / "s.zarr", FIRST)
    store = flowstore.open_store(tmp_path / "s.zarr")
    storage.delete("wave/a/zarr.json")
    said = r"no video 'a' in class 'wave': a run is writing it, or was killed while it did"
    with pytest.raises(NameNotFoundError, match=said):
        store["wave/a"]
    remove_video(storage, "wave", "a")
    with pytest.raises(NameNotFoundError, match=r"no video 'a' in class 'wave', though the index names it$"):
        store["wave/a"]


def test_a_clip_of_a_video_that_is_replaced_while_it_is_read(tmp_path, monkeypatch):
    """Its commit is another one after the read: it is looked up and read again."""
    storage = write(tmp_path / "s.zarr", FIRST)
    store = flowstore.open_store(tmp_path / "s.zarr")
    store["wave/a"]
    read_range, n_read = type(storage).read_range, []

    def replace_first(self, key, start, size):
        if not n_read:
            n_read.append(key)
            write_video(storage, "wave", "a", SECOND, settings=settings_of("centred", 20.0, compression="none"))
        return read_range(self, key, start, size)

    monkeypatch.setattr(type(storage), "read_range", replace_first)
    found = store.read_clips(["wave/a"], [0], 4, out=np.empty((1, *FIRST.shape), np.uint8))
    assert found[0].tobytes() == SECOND.tobytes()
