"""Every name that a file system takes goes in, is found, and comes out as it was; nothing leaves the store."""

import json
import os
import unicodedata

import numpy as np
import pytest
from datasets import call, tree, write_frames, write_video

import flowstore
from flowstore.errors import ArgumentError
from flowstore.export import export
from flowstore.names import printable_name
from flowstore.pipeline.plan import make_plan
from flowstore.pipeline.run import run_plan
from flowstore.pipeline.settings import make_settings
from flowstore.sources.discovery import Discovery
from flowstore.sources.source import VideoSource
from flowstore.storage.places import open_storage

pytestmark = pytest.mark.system

NAMES = {
    "spaces": " two  spaces ",
    "brackets": "Die_Another_Day_-_Fencing_[HD]_avi_(1)",
    "shell": "a!&;#%'\"$`*?<>|~^{}=,@+:",
    "backslash": "a\\b",
    "nfc": unicodedata.normalize("NFC", "caf\u00e9"),
    "nfd": unicodedata.normalize("NFD", "caf\u00e9"),
    "unicode": "打球🏀ß",
    "right to left": "\u202ever\u202c",
    "dots": "a.b.c",
    "trailing dot": "a.",
    "dash": "-rf",
    "double dash": "--help",
    "underscores": "__x",
    "dunder": "__xarray__",
    "index": "index",
    "INDEX": "INDEX",
    "zarr.json": "zarr.json",
    "c": "c.0.0.0.0",
    "long": "x" * 250,
    "long unicode": "é" * 125,
    "shortened": "\n" * 120,
    "another shortened": "\n" * 119 + "\t",
    "newline": "two\nlines",
    "control": "\x01\x1b[31m\x7f",
    "escape": "%41",
    "escaped slash": "%2F",
    "escaped dots": "%2e%2e",
    "shortening mark": "%~" + "0" * 32,
    "not utf-8": os.fsdecode(b"caf\xe9\xff"),
    "flow": "flow",
    "partial": "a.partial",
}
PLAIN = "plain"
# What begins with a dot is hidden: such as .cache, .snapshot and .Trash-1000 it is left out, and said.
HIDDEN = (".a", "...", "..x")


def _clips():
    """(class, video) of each name as a class, as a video file and as a frame folder."""
    clips = [(name, "v") for name in NAMES.values()]
    for name in NAMES.values():
        clips += [(PLAIN, name), ("frames", name)]
    return clips


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a dataset of every name, its store and its export."""
    root = tmp_path_factory.mktemp("names")
    source = os.path.join(root, "source")
    for number, (label, name) in enumerate(_clips()):
        if label == "frames":
            write_frames(os.path.join(source, label, name), 3, seed=number)
        else:
            write_video(os.path.join(source, label, name + ".avi"), 3, seed=number)
        # Each clip has a seed of its own, so a clip that lies in another's place has another's flow.
        if label == "frames":
            write_frames(os.path.join(root, "numbered", "c", f"{number}"), 3, seed=number)
        else:
            write_video(os.path.join(root, "numbered", "c", f"{number}.avi"), 3, seed=number)
    for name in HIDDEN:
        write_video(os.path.join(source, name, "v.avi"), 3)
        write_frames(os.path.join(source, "frames", name), 3)
    before = tree(source)
    extracted = call("extract", source, root / "flow.zarr", "--scheduler", "threads")
    assert extracted.code == 0, extracted.err
    (note,) = (line for line in extracted.err.splitlines() if "left out" in line)
    assert all(name in note for name in HIDDEN), note
    exported = call("export", root / "flow.zarr", root / "images")
    assert exported.code == 0, exported.err
    assert sorted(os.listdir(root)) == ["flow.zarr", "images", "numbered", "source"]
    assert tree(source) == before
    assert call("extract", root / "numbered", root / "numbered.zarr").code == 0
    return root


@pytest.fixture(scope="module")
def store(place):
    return flowstore.open_store(place / "flow.zarr")


def test_store_lists_every_class_under_its_own_name(store):
    assert sorted(store.classes) == sorted([*NAMES.values(), PLAIN, "frames"])
    assert sorted(store["frames"]) == sorted(NAMES.values())


@pytest.mark.parametrize("label", NAMES)
def test_class_is_found_by_its_name(store, label):
    name = NAMES[label]
    assert name in store
    assert list(store[name]) == ["v"]
    assert store[f"{name}/v"].class_name == name


@pytest.mark.parametrize("clip", _clips(), ids=lambda clip: printable_name("-".join(clip))[:40])
def test_video_is_read_under_its_name_and_is_its_own(place, store, clip):
    label, name = clip
    video = store[f"{label}/{name}"]
    assert (video.class_name, video.name) == clip
    assert len(video) == 2
    expected = flowstore.open_store(place / "numbered.zarr")[f"c/{_clips().index(clip)}"]
    np.testing.assert_array_equal(video.codes[:], expected.codes[:])


@pytest.mark.parametrize("clip", _clips(), ids=lambda clip: printable_name("-".join(clip))[:40])
def test_info_takes_and_shows_the_name_in_one_line(place, clip):
    shown = call("info", f"{place}/flow.zarr/{clip[0]}/{clip[1]}")
    assert shown.code == 0, shown.err
    assert shown.out.splitlines()[0].rstrip() == "/".join(map(printable_name, clip)).rstrip()
    values = json.loads(call("info", f"{place}/flow.zarr/{clip[0]}/{clip[1]}", "--json").out)
    assert (values["class_name"], values["name"]) == clip


def test_info_lists_every_name_in_one_line(place):
    lines = call("info", place / "flow.zarr").out.splitlines()
    for name in NAMES.values():
        assert any(line.startswith(printable_name(name) + " ") for line in lines)


def test_index_gives_original_names(store):
    index = store.videos
    assert sorted((index.class_name(row), index.name(row)) for row in range(len(index))) == sorted(_clips())


def test_export_puts_each_video_under_its_own_name(place):
    expected = {"flowstore-export.json"}
    for label, name in _clips():
        expected |= {label, f"{label}/{name}"}
        expected |= {f"{label}/{name}/flow_{axis}_000{number}.jpg" for axis in "xy" for number in (1, 2)}
    assert set(tree(place / "images")) == expected


def test_every_file_of_the_store_has_a_name_that_others_take(place):
    for path in tree(place / "flow.zarr"):
        for part in path.split("/"):
            raw = os.fsencode(part)
            assert len(raw) <= 255
            raw.decode("utf-8")
            assert part not in (".", "..")
            assert not part.startswith("__")
            assert not any(character < " " or character in "\x7f\\" for character in part)


def test_store_opens_in_zarr_without_warnings(place, recwarn):
    import zarr

    group = zarr.open_group(place / "flow.zarr", mode="r")
    assert len(list(group.group_keys())) == len(NAMES) + 3  # plain, frames, index
    assert not recwarn.list


def _source_at(path, label, name):
    return VideoSource(label, name, str(path), "v.avi", "video", 1.0)


# What no file system gives, but a caller of the Python interface can.
@pytest.mark.parametrize("name", ["..", ".", "a/b", "../../up", "/etc", "a\0b"])
@pytest.mark.parametrize("is_class", [True, False])
def test_names_that_lead_elsewhere_stay_inside(tmp_path, name, is_class):
    write_video(tmp_path / "in" / "v.avi", 3)
    source = _source_at(tmp_path / "in" / "v.avi", *((name, "v") if is_class else ("c", name)))
    before = tree(tmp_path / "in")
    place = tmp_path / "deep" / "deeper" / "flow.zarr"
    plan = make_plan(Discovery((source,)), [source], open_storage(place), make_settings())
    assert run_plan(plan, scheduler="sync").is_all_well
    store = flowstore.open_store(place)
    assert store.classes == [source.class_name]
    assert list(store[source.class_name]) == [source.name] if not is_class or "/" not in name else True
    (video,) = store.iter_videos()
    assert (video.class_name, video.name) == (source.class_name, source.name)
    assert video[:].shape == (2, 2, 24, 32)
    with pytest.raises(ArgumentError, match="cannot be a file name"):
        export(store, tmp_path / "deep" / "images")
    assert tree(tmp_path / "in") == before
    assert sorted(os.listdir(tmp_path)) == ["deep", "in"]
    assert os.listdir(tmp_path / "deep") == ["deeper"]
    assert os.listdir(place.parent) == ["flow.zarr"]


@pytest.mark.parametrize("clip", [("", "v"), ("c", "")])
def test_an_empty_name_is_refused_in_the_plan(tmp_path, clip):
    source = _source_at(tmp_path / "v.avi", *clip)
    with pytest.raises(ArgumentError, match="empty name"):
        make_plan(Discovery((source,)), [source], open_storage(tmp_path / "flow.zarr"), make_settings())
    assert os.listdir(tmp_path) == []


def test_a_long_name_that_no_escape_can_reverse_is_refused_in_the_plan(tmp_path):
    write_video(os.path.join(tmp_path, "in", "c", os.fsdecode(b"\xff" * 200) + ".avi"), 3)
    refused = call("extract", tmp_path / "in", tmp_path / "flow.zarr")
    assert refused.code == 2
    assert "longer than 255 bytes and is not valid UTF-8: rename it" in refused.error_line
    assert os.listdir(tmp_path) == ["in"]


def test_names_of_one_place_are_refused_by_name(tmp_path):
    write_video(tmp_path / "in" / "c" / "a.avi", 3)
    write_video(tmp_path / "in" / "c" / "a.mp4", 3)
    write_frames(tmp_path / "in" / "c" / "a", 3)
    refused = call("extract", tmp_path / "in", tmp_path / "flow.zarr")
    assert refused.code == 2
    for path in ("c/a.avi", "c/a.mp4", "c/a"):
        assert path in refused.error_line
    assert os.listdir(tmp_path) == ["in"]
    chosen = call("extract", tmp_path / "in", tmp_path / "flow.zarr", "--include", "a.avi")
    assert chosen.code == 0, chosen.err


def test_names_that_differ_in_case_only_are_kept_apart_and_said(tmp_path):
    for number, name in enumerate(("Wave", "wave", "WAVE")):
        write_video(tmp_path / "in" / "c" / f"{name}.avi", 3 + number)
    done = call("extract", tmp_path / "in", tmp_path / "flow.zarr")
    assert done.code == 0
    assert "3 names differ only in case" in done.err
    store = flowstore.open_store(tmp_path / "flow.zarr")
    assert [len(store[f"c/{name}"]) for name in ("Wave", "wave", "WAVE")] == [2, 3, 4]
