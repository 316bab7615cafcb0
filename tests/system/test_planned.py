"""What a store says of a run that has not done all that it planned, everywhere a person looks."""

import errno
import json
import os
import shutil
import warnings

import pytest
from datasets import call, tree, write_dataset
from interrupted import SLOW
from processes import started, wait_until

import flowstore
from flowstore.errors import FlowStoreWarning
from flowstore.format.root import read_root
from flowstore.storage.local import LocalStorage
from flowstore.storage.places import open_storage

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "videos"
    write_dataset(folder, n_videos=3)
    return folder


@pytest.fixture
def begun(source, tmp_path):
    """A store of six planned videos, two of them missing as after a run that was stopped."""
    store = tmp_path / "s.zarr"
    assert call("extract", source, store, "--scheduler", "sync").code == 0
    shutil.rmtree(store / "wave" / "v1")
    shutil.rmtree(store / "run" / "v2")
    shutil.rmtree(store / "index")
    return store


def planned(store):
    return read_root(open_storage(store)).n_planned


def said(store, tmp_path):
    """Everything that is said of a store, by who says it."""
    texts = {
        "info": call("info", store).out,
        "info --json": str(json.loads(call("info", store, "--json").out)["missing"]),
        "stats": call("stats", store).out,
        "stats --json": json.loads(call("stats", store, "--json").out)["missing"],
        "export --dry-run": call("export", store, tmp_path / "out", "--dry-run").out,
        "export": call("export", store, tmp_path / "out", "--overwrite").out,
        "verify": (done := call("verify", store)).out + done.err,
        "copy": call("copy", store, tmp_path / f"copy{len(list(tmp_path.iterdir()))}.zarr").out,
        "copy -q": call("copy", store, tmp_path / f"copy{len(list(tmp_path.iterdir()))}.zarr", "-q").err,
        "stats -q": call("stats", store, "-q").err,
        "export -q": call("export", store, tmp_path / "out", "--overwrite", "-q").err,
        "verify -q": call("verify", store, "-q").err,
        "repr": repr(flowstore.open_store(store)),
        "HTML": flowstore.open_store(store)._repr_html_(),
    }
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        from flowstore.loaders import FlowClips

        FlowClips(flowstore.open_store(store).select("wave"), length=2)
    return texts | {"FlowClips": "".join(str(one.message) for one in caught if one.category is FlowStoreWarning)}


def test_missing_videos_are_said_everywhere_until_they_are_there(source, begun, tmp_path):
    for who, text in said(begun, tmp_path).items():
        expected = (
            "2" if who == "info --json" else "2 missing" if who == "repr" else "2 of 6 planned videos are missing"
        )
        assert expected in text, who
    assert call("extract", source, begun, "--scheduler", "sync").code == 0
    for who, text in said(begun, tmp_path).items():
        assert "planned" not in text.replace(str(tmp_path), ""), who
        assert who != "repr" or " missing" not in text
        assert who != "info --json" or text == "0"


def test_a_run_that_is_killed_has_said_what_it_planned(source, tmp_path):
    store = tmp_path / "s.zarr"
    with started("extract", source, store, "--scheduler", "sync", *SLOW) as process:
        wait_until(lambda: list(store.glob("*/*/zarr.json")), process)
        process.kill()
        process.wait()
    opened = flowstore.open_store(store)
    assert 0 < opened.n_missing == 6 - opened.n_videos


@pytest.mark.parametrize("choice", [["--include", "wave/*"], ["--select", "class=wave"]])
def test_a_selection_leaves_what_an_earlier_run_has_not_done(source, begun, choice):
    assert call("extract", source, begun, *choice, "--scheduler", "sync").code == 0
    assert (planned(begun), flowstore.open_store(begun).n_missing) == (6, 1)


def test_a_source_that_shrank_leaves_nothing_missing(source, begun, tmp_path):
    smaller = tmp_path / "smaller"
    shutil.copytree(source, smaller)
    store = tmp_path / "t.zarr"
    assert call("extract", smaller, store, "--scheduler", "sync").code == 0
    shutil.rmtree(store / "wave" / "v1")
    shutil.rmtree(store / "index")
    (smaller / "wave" / "v1.avi").unlink()
    assert flowstore.open_store(store).n_missing == 1
    for _ in range(2):
        assert call("extract", smaller, store, "--scheduler", "sync").code == 0
        assert (planned(store), flowstore.open_store(store).n_missing) == (5, 0)


def sources_of(store):
    return [os.path.basename(place) for place in flowstore.open_store(store).root.sources]


def test_a_source_that_was_moved_is_recorded_though_there_is_nothing_to_do(source, tmp_path, monkeypatch):
    first, store = shutil.copytree(source, tmp_path / "first"), tmp_path / "s.zarr"
    assert call("extract", first, store, "--scheduler", "sync").code == 0
    moved = first.rename(tmp_path / "moved")

    def refuse(*arguments, **more):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "write", refuse)
        before = tree(store)
        done = call("extract", moved, store)
        assert (done.code, sources_of(store)) == (0, ["first"])
        assert "stays as it was: cannot write to" in done.err
        assert tree(store) == before
    assert call("extract", moved, store, "-q").code == 0
    assert (sources_of(store), planned(store)) == (["moved"], 6)
    before = tree(store)
    assert call("extract", moved, store, "-q").code == 0
    assert tree(store) == before


def test_what_one_of_two_sources_lost_when_it_was_moved_is_not_missing_and_what_the_other_has_is(source, tmp_path):
    store, places = tmp_path / "s.zarr", {}
    for name in ("wave", "run"):
        places[name] = tmp_path / f"of_{name}"
        shutil.copytree(source / name, places[name] / name)
        assert call("extract", places[name], store, "--scheduler", "sync").code == 0
    for path in ("run/v1", "wave/v2", "index"):
        shutil.rmtree(store / path)
    assert (planned(store), flowstore.open_store(store).n_missing) == (6, 2)
    moved = places["run"].rename(tmp_path / "moved")
    (moved / "run" / "v1.avi").unlink()
    for _ in range(2):
        assert call("extract", moved, store, "--scheduler", "sync").code == 0
        assert (planned(store), flowstore.open_store(store).n_missing) == (5, 1)
        assert sources_of(store) == ["of_wave", "moved"]


def test_what_is_removed_by_command_is_not_missing(begun):
    assert call("remove", begun / "wave" / "v0").code == 0
    assert (planned(begun), flowstore.open_store(begun).n_missing) == (5, 2)


def test_parts_state_the_whole_and_a_copy_what_its_store_does(source, tmp_path):
    store, copied, part = tmp_path / "s.zarr", tmp_path / "copy.zarr", tmp_path / "part.zarr"
    assert call("extract", source, store, "--part", "1/2", "--scheduler", "sync").code == 0
    opened = flowstore.open_store(store)
    assert (planned(store), opened.n_missing) == (6, 6 - opened.n_videos)
    for select, place, expected in (([], copied, 6), (["--select", "wave"], part, len(opened["wave"]))):
        assert call("copy", store, place, *select).code == 0
        assert planned(place) == expected
        assert flowstore.open_store(place).root.sources == (str(source),)


def test_a_store_of_before_plans_were_stated_says_nothing_and_states_the_next(source, begun):
    storage = open_storage(begun, is_written=True)
    document = json.loads(storage.read("zarr.json"))
    for name in ("sources", "n_planned", "digest"):
        document["attributes"]["flowstore"].pop(name)
    document["attributes"]["mine"] = 1
    storage.write("zarr.json", json.dumps(document).encode())
    opened = flowstore.open_store(begun)
    assert (opened.root.sources, opened.n_missing, opened.n_videos) == ((), 0, 4)
    assert call("verify", begun).code == 0
    assert call("extract", source, begun, "--scheduler", "sync").code == 0
    after = json.loads(storage.read("zarr.json"))["attributes"]
    assert (after["mine"], after["flowstore"]["n_planned"], after["flowstore"]["sources"]) == (1, 6, [str(source)])


def test_the_source_is_shown_and_used(source, begun, tmp_path, monkeypatch):
    assert f"of {source}\n" in call("info", begun).out
    assert json.loads(call("info", begun, "--json").out)["sources"] == [str(source)]
    assert str(source) in flowstore.open_store(begun)._repr_html_()
    # Neither beside the store nor in the folder in which the command runs.
    monkeypatch.chdir(tmp_path)
    done = call("render", begun / "wave" / "v0", "-o", tmp_path / "picture.png")
    assert (done.code, "without frames" in done.out + done.err) == (0, False)


def test_many_videos_that_are_not_in_the_store_are_summed_up(source, begun):
    for name in ("wave/v0", "wave/v2", "run/v0", "run/v1"):
        shutil.rmtree(begun / name)
    done = call("verify", begun, "--source", source)
    lines = [line for line in done.err.splitlines() if line.startswith("missing: ")]
    assert done.code == 1
    assert lines[0] == "missing: 6 of 6 videos of the source: not in the store; flowstore extract adds them"
    assert lines[1] == "missing: run/v0: not in the store"
    assert lines[-1] == "missing: ... and 1 more; --json names all"
    assert len(lines) == 7
    values = json.loads(call("verify", begun, "--source", source, "--json").out)
    assert sum(fault["kind"] == "missing" for fault in values["faults"]) == 6
