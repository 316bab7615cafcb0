"""``flowstore remove``, and places inside a store."""

import json
import shutil

import pytest
from datasets import call, write_video
from store_factory import make_codes, write_store

import flowstore
from flowstore.errors import StoreFormatError
from flowstore.names import count_text
from flowstore.storage.locks import writers_lock


@pytest.fixture
def store(tmp_path):
    videos = {"wave/a": make_codes(3), "wave/b [HD]": make_codes(2), "run/c": make_codes(4)}
    write_store(tmp_path / "s.zarr", videos)
    return tmp_path / "s.zarr"


def keys(store):
    return sorted(f"{row['class']}/{row['video']}" for row in flowstore.open_store(store).videos)


def test_a_video_is_removed_and_the_store_is_whole(store):
    done = call("remove", store / "wave" / "b [HD]")
    assert (done.code, done.out) == (0, "removed 1 video\n")
    assert keys(store) == ["run/c", "wave/a"]
    assert not (store / "wave" / "b [HD]").exists()
    assert call("verify", store).code == 0


def test_a_class_goes_with_its_folder(store):
    assert call("remove", store / "wave", store / "run" / "c").out == "removed 3 videos\n"
    assert keys(store) == []
    assert sorted(path.name for path in store.iterdir()) == ["index", "zarr.json"]


@pytest.mark.filterwarnings("always:.* of its index left out")
@pytest.mark.parametrize("place", ["wave/a", "wave"])
def test_what_was_removed_by_hand_is_not_counted_and_its_row_can_be_removed(store, place):
    shutil.rmtree(store / place)
    n_gone = 1 if place == "wave/a" else 2
    done = call("info", store, "--json")
    assert json.loads(done.out)["videos"] == 3 - n_gone
    assert f"{count_text(n_gone, 'video')} of its index left out, whose files are gone: wave/a" in done.err
    assert call("verify", store).code == 1
    assert call("remove", store / place).out == f"removed {count_text(n_gone, 'video')}\n"
    assert (call("verify", store).code, call("info", store).err) == (0, "")
    assert call("remove", store / place).code == 2


def test_a_dry_run_names_and_keeps(store):
    done = call("remove", "--dry-run", store / "wave", "--json")
    assert json.loads(done.out) == {"removed": 0, "found": 2}
    assert done.err.splitlines() == ["wave/a", "wave/b [HD]"]
    assert len(keys(store)) == 3


@pytest.mark.parametrize(
    ("place", "message"),
    [("", "a whole store"), ("wave/none", "no video 'none'"), ("jump", "no class 'jump'")],
)
def test_what_is_not_there_is_refused_before_anything_goes(store, place, message):
    done = call("remove", store / "run", store / place)
    assert done.code == 2
    assert message in done.err
    assert len(keys(store)) == 3


def test_a_store_that_is_written_is_not_changed(store):
    with writers_lock(str(store), is_shared=False):
        done = call("remove", store / "wave")
    assert done.code != 0
    assert "another run is writing" in done.err
    assert len(keys(store)) == 3


def test_a_class_is_exported_and_copied_by_its_path(store, tmp_path):
    assert call("export", store / "wave", tmp_path / "out", "--layout", "npy").code == 0
    assert sorted(path.stem for path in (tmp_path / "out").rglob("*.npy")) == ["a", "b [HD]"]
    assert call("copy", store / "wave" / "a", tmp_path / "one.zarr").code == 0
    assert keys(tmp_path / "one.zarr") == ["wave/a"]


@pytest.mark.parametrize("place", ["wave", "wave/a"])
def test_a_part_of_a_store_is_no_store(store, place, tmp_path):
    with pytest.raises(StoreFormatError, match="a part of the store"):
        flowstore.open_store(store / place)
    done = call("verify", store / place)
    assert done.code == 2
    assert f"a part of the store {store}; give the path of the store" in done.err


@pytest.mark.parametrize("place", ["wave", "wave/a/flow", "new", "new/deep"])
def test_no_store_is_made_inside_another(store, place, tmp_path):
    write_video(tmp_path / "videos" / "c" / "v.avi", 4)
    write_store(tmp_path / "other.zarr", {"wave/a": make_codes(2)})
    for source, command in ((tmp_path / "other.zarr", "copy"), (tmp_path / "videos", "extract")):
        done = call(command, source, store / place)
        assert done.code == 2
        assert f"inside the store {store}" in done.err
    assert call("verify", store).code == 0


def test_every_command_selects_alike(store, tmp_path):
    for number, choice in enumerate(["class=wave", "name=[a-b]*", "name=b*"]):
        expected = {"class=wave": 2, "name=[a-b]*": 0, "name=b*": 1}[choice]
        copied, code = tmp_path / f"{number}.zarr", 0 if expected else 2
        done = call("stats", store, "--select", choice, "--json")
        assert done.code == code
        assert call("copy", store, copied, "--select", choice).code == code
        assert call("export", store, tmp_path / f"out{number}", "--layout", "npy", "--select", choice).code == code
        if expected:
            assert json.loads(done.out)["all"]["videos"] == len(keys(copied)) == expected
            assert len(list((tmp_path / f"out{number}").rglob("*.npy"))) == expected
    assert call("copy", store, tmp_path / "word.zarr", "--select", "wave").code == 0
    assert len(keys(tmp_path / "word.zarr")) == 2
