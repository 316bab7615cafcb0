"""Sources: what a place on disk is taken for. Only names and sizes matter, so most files here are stubs."""

import errno
import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError, SourceError
from flowstore.sources import (
    IMAGE_SUFFIXES,
    VIDEO_SUFFIXES,
    VideoSource,
    discover,
    list_frames,
    natural_key,
    select_sources,
)

FRAMES = ("img_1.jpg", "img_2.jpg", "img_3.jpg")
FLOW_IMAGES = ("flow_x_00001.jpg", "flow_y_00001.jpg", "x_00001.jpg", "y_00001.jpg")


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"stub")
    return root


def touch_frames(root: Path, *folders: str, names=FRAMES) -> Path:
    return touch(root, *(f"{folder}/{name}" for folder in folders for name in names))


def found(source, list_file=None):
    """Class, name and kind of each source, in order."""
    return [(one.class_name, one.name, one.kind) for one in discover(source, list_file).sources]


def problems(source, list_file=None):
    return {one.key: one.problem for one in discover(source, list_file).sources if one.problem}


@pytest.fixture
def no_permission(monkeypatch):
    """Make folders unlistable, for any user."""
    refused = set()
    scandir = os.scandir

    def refuse(path="."):
        if os.fspath(path) in refused:
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return lambda path: refused.add(os.fspath(path))


# The forms of SOURCE.


def test_class_folders_of_videos(tmp_path):
    touch(tmp_path, "wave/b.avi", "wave/a.mp4", "run/a.avi")
    assert found(tmp_path) == [("run", "a", "video"), ("wave", "a", "video"), ("wave", "b", "video")]
    assert discover(tmp_path).notes == ()


def test_class_folders_of_frame_folders(tmp_path):
    touch_frames(tmp_path, "wave/b", "wave/a", "run/a")
    assert found(tmp_path) == [("run", "a", "frames"), ("wave", "a", "frames"), ("wave", "b", "frames")]


def test_videos_and_frame_folders_in_one_tree(tmp_path):
    touch(tmp_path, "wave/a.avi", "top.mkv")
    touch_frames(tmp_path, "wave/b", "run/c", "loose")
    assert found(tmp_path) == [
        ("run", "c", "frames"),
        ("unlabeled", "loose", "frames"),
        ("unlabeled", "top", "video"),
        ("wave", "a", "video"),
        ("wave", "b", "frames"),
    ]


def test_a_folder_of_videos(tmp_path):
    touch(tmp_path, "b.avi", "a.webm")
    assert found(tmp_path) == [("unlabeled", "a", "video"), ("unlabeled", "b", "video")]


def test_a_folder_of_frame_folders(tmp_path):
    touch_frames(tmp_path, "b", "a")
    assert found(tmp_path) == [("unlabeled", "a", "frames"), ("unlabeled", "b", "frames")]


def test_one_video(tmp_path):
    (source,) = discover(touch(tmp_path, "clip.one.mp4") / "clip.one.mp4").sources
    assert (source.class_name, source.name, source.kind) == ("unlabeled", "clip.one", "video")
    assert source.relative_path == "clip.one.mp4"
    assert source.path == str(tmp_path / "clip.one.mp4")


def test_one_frame_folder(tmp_path):
    (source,) = discover(touch_frames(tmp_path, "clip") / "clip").sources
    assert (source.class_name, source.name, source.kind) == ("unlabeled", "clip", "frames")
    assert (source.path, source.relative_path, source.cost) == (str(tmp_path / "clip"), ".", 3)


def test_a_relative_source_gives_absolute_paths(tmp_path, monkeypatch):
    touch(tmp_path, "data/wave/a.avi")
    monkeypatch.chdir(tmp_path)
    (source,) = discover("data").sources
    assert (source.path, source.relative_path) == (str(tmp_path / "data/wave/a.avi"), "wave/a.avi")


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_every_video_suffix_in_any_case(tmp_path, suffix):
    touch(tmp_path, f"wave/a{suffix}", f"wave/b{suffix.upper()}")
    assert found(tmp_path) == [("wave", "a", "video"), ("wave", "b", "video")]


@pytest.mark.parametrize("suffix", sorted(IMAGE_SUFFIXES))
def test_every_image_suffix_in_any_case(tmp_path, suffix):
    touch(tmp_path, f"wave/a/1{suffix}", f"wave/a/2{suffix.upper()}")
    (source,) = discover(tmp_path).sources
    assert (source.kind, source.cost) == ("frames", 2)


def test_a_folder_named_like_a_video_is_a_folder(tmp_path):
    touch_frames(tmp_path, "wave/a.mp4")
    assert found(tmp_path) == [("wave", "a.mp4", "frames")]


def test_other_files_and_files_of_the_system_are_no_videos(tmp_path):
    touch(tmp_path, "wave/a.avi", "wave/labels.csv", "wave/._a.avi", "README.txt", "__MACOSX/wave/a.avi", ".DS_Store")
    assert found(tmp_path) == [("wave", "a", "video")]


def test_images_beside_class_folders_are_named(tmp_path):
    touch(tmp_path, "wave/a.avi", "wave/cover.jpg", "cover.jpg")
    discovery = discover(tmp_path)
    assert [source.key for source in discovery.sources] == ["wave/a"]
    assert discovery.notes == (
        "wave: 1 images beside videos are ignored",
        f"1 images directly in {tmp_path} are ignored: they belong to no video folder",
    )


def test_the_real_clips(real_data):
    assert [source.key for source in discover(real_data / "videos").sources] == [
        "SoccerJuggling/v_SoccerJuggling_g23_c01",
        "cartwheel/Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6",
        "kinetics/R6llTwEh07w",
        "wave/RATRACE_wave_f_nm_np1_fr_goo_37",
        "wave/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0",
    ]
    (frames,) = discover(real_data / "frames" / "mmaction2").sources
    assert frames.cost == 10
    assert list_frames(frames.path) == [f"img_{number:05d}.jpg" for number in range(1, 11)]


# Nothing to find.


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(SourceError, match=re.escape(f"SOURCE {tmp_path / 'gone'}: no such file or folder")):
        discover(tmp_path / "gone")


def test_a_file_that_is_no_video(tmp_path):
    touch(tmp_path, "table.csv")
    with pytest.raises(SourceError, match="neither a folder nor a video file"):
        discover(tmp_path / "table.csv")


@pytest.mark.parametrize("names", [(), ("notes.md",), ("wave/notes.md",)])
def test_a_folder_without_videos_says_what_is_expected(tmp_path, names):
    with pytest.raises(SourceError, match=r"no videos found: expected class/video\.avi"):
        discover(touch(tmp_path, *names))


def test_an_empty_class_is_named(tmp_path):
    touch(tmp_path, "wave/a.avi", "empty/notes.md")
    assert discover(tmp_path).notes == ("empty: no videos in this folder",)


def test_a_tree_that_is_too_deep_names_the_folder_to_give(tmp_path):
    touch(tmp_path, "UCF101/split/wave/a.avi")
    with pytest.raises(SourceError, match=re.escape(f"such as {tmp_path / 'UCF101'}")):
        discover(tmp_path)
    touch(tmp_path, "other/a.avi")
    discovery = discover(tmp_path)
    assert [source.key for source in discovery.sources] == ["other/a"]
    assert discovery.notes == ("UCF101/split: deeper than class/video, ignored",)


def test_a_zarr_store_is_no_dataset(tmp_path):
    with pytest.raises(SourceError, match="this is a Zarr store"):
        discover(touch(tmp_path, "zarr.json", "wave/a.avi"))


@pytest.mark.parametrize("folder", ["flow.zarr", "wave/flow.zarr"])
def test_a_zarr_store_inside_a_dataset_is_ignored(tmp_path, folder):
    touch(tmp_path, "wave/a.avi", f"{folder}/zarr.json", f"{folder}/wave/zarr.json")
    discovery = discover(tmp_path)
    assert [source.key for source in discovery.sources] == ["wave/a"]
    assert discovery.notes == (f"{folder}: a Zarr store, ignored",)


# Flow of a former run.


@pytest.mark.parametrize("flow_image", FLOW_IMAGES)
def test_flow_images_are_no_frames(tmp_path, flow_image):
    touch_frames(tmp_path, "wave/a", names=(*FRAMES, flow_image))
    (source,) = discover(tmp_path).sources
    assert source.cost == 3
    assert list_frames(source.path) == list(FRAMES)


@pytest.mark.parametrize("name", ["fx_1.jpg", "xray_1.jpg", "flow_1.jpg", "my_x_1.jpg"])
def test_names_that_only_resemble_flow_images_are_frames(tmp_path, name):
    touch(tmp_path, f"wave/a/{name}")
    assert list_frames(str(tmp_path / "wave/a")) == [name]


def test_a_folder_of_flow_images_only_is_a_video_with_a_problem(tmp_path):
    touch_frames(tmp_path, "wave/a", names=FLOW_IMAGES)
    touch_frames(tmp_path, "wave/b")
    assert problems(tmp_path) == {
        "wave/a": "no frame images in this folder (4 flow images of a former run are not frames)"
    }


def test_a_source_of_flow_images_only_says_so(tmp_path):
    with pytest.raises(SourceError, match="4 flow images of a former run are not frames"):
        discover(touch(tmp_path, *FLOW_IMAGES))


@pytest.mark.parametrize("depth", ["class/video", "video", "one"])
@pytest.mark.parametrize("flow_name", ["flow_x_00001.jpg", "00001.png"])
def test_a_folder_of_flow_beside_the_frames_is_no_video(tmp_path, depth, flow_name):
    folder = {"class/video": tmp_path / "wave/a", "video": tmp_path / "a", "one": tmp_path}[depth]
    touch(folder, *FRAMES, f"flows/{flow_name}")
    (source,) = discover(tmp_path).sources
    assert (source.path, source.kind, source.cost) == (str(folder), "frames", 3)


def test_a_folder_of_flow_beside_videos_is_no_video(tmp_path):
    touch(tmp_path, "wave/a.avi", "wave/flows/flow_x_00001.jpg", "wave/flows/flow_y_00001.jpg")
    discovery = discover(tmp_path)
    assert [source.key for source in discovery.sources] == ["wave/a"]
    assert discovery.notes == ("wave/flows: 2 flow images of a former run, ignored",)


# The order of frames.


def test_frames_stand_in_natural_order(tmp_path):
    touch(tmp_path, *(f"img_{number}.jpg" for number in (10, 9, 100, 1)))
    assert list_frames(str(tmp_path)) == ["img_1.jpg", "img_9.jpg", "img_10.jpg", "img_100.jpg"]


@given(st.lists(st.integers(0, 10**30), unique=True), st.text("ab_-²٣", max_size=4), st.text("ab_-²٣.", max_size=4))
def test_natural_order_is_the_order_of_numbers(numbers, before, after):
    names = {number: f"{before}{number}{after}" for number in numbers}
    assert sorted(names.values(), key=natural_key) == [names[number] for number in sorted(numbers)]


@given(st.lists(st.text("01²٣aB._é", max_size=6), unique=True))
def test_natural_order_is_total(names):
    assert sorted(names[1:] + names[:1], key=natural_key) == sorted(names, key=natural_key)
    assert len({str(natural_key(name)) for name in names}) == len(names)


# What is no plain file.


@pytest.mark.parametrize("is_source", [False, True])
def test_a_fifo_is_a_problem(tmp_path, is_source):
    touch(tmp_path, "wave/a.avi")
    os.mkfifo(tmp_path / "wave/pipe.avi")
    source = tmp_path / "wave/pipe.avi" if is_source else tmp_path
    assert list(problems(source).values()) == ["not a regular file"]


def test_a_device_is_a_problem(tmp_path):
    touch(tmp_path, "wave/a.avi")
    os.symlink(os.devnull, tmp_path / "wave/null.avi")
    assert problems(tmp_path) == {"wave/null": "not a regular file"}


def test_a_dangling_link_is_a_problem(tmp_path):
    touch(tmp_path, "wave/a.avi")
    os.symlink("gone.avi", tmp_path / "wave/b.avi")
    os.symlink("gone", tmp_path / "wave/c")
    assert problems(tmp_path) == {"wave/b": "cannot be opened: No such file or directory"}


@pytest.mark.parametrize("place", ["loop", "wave/loop"])
def test_a_link_to_itself_does_not_stop_the_others(tmp_path, place):
    touch(tmp_path, "wave/a.avi")
    os.symlink("loop", tmp_path / place)
    os.symlink("loop.avi", tmp_path / f"{place}.avi")
    assert list(problems(tmp_path).values()) == ["cannot be opened: Too many levels of symbolic links"]
    assert ("wave", "a", "video") in found(tmp_path)


@pytest.mark.parametrize("link", ["loop", "wave/loop", "wave/b/loop"])
def test_a_link_to_a_parent_ends(tmp_path, link):
    touch(tmp_path, "wave/a.avi")
    touch_frames(tmp_path, "wave/b")
    os.symlink(tmp_path, tmp_path / link)
    assert {("wave", "a", "video"), ("wave", "b", "frames")} <= set(found(tmp_path))


def test_links_are_followed(tmp_path):
    touch(tmp_path, "elsewhere/a.avi")
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "data/wave")
    assert found(tmp_path / "data") == [("wave", "a", "video")]


def test_a_source_that_cannot_be_listed(tmp_path, no_permission):
    no_permission(touch(tmp_path, "wave/a.avi"))
    with pytest.raises(SourceError, match=re.escape(f"cannot list folder {tmp_path}: Permission denied")):
        discover(tmp_path)


def test_a_class_that_cannot_be_listed(tmp_path, no_permission):
    touch(tmp_path, "wave/a.avi", "run/a.avi")
    no_permission(tmp_path / "run")
    with pytest.raises(SourceError, match=re.escape(f"cannot list folder {tmp_path / 'run'}: Permission denied")):
        discover(tmp_path)


def test_a_frame_folder_that_cannot_be_listed_is_a_problem_of_its_own(tmp_path, no_permission):
    touch_frames(tmp_path, "wave/a", "wave/b")
    no_permission(tmp_path / "wave/a")
    assert problems(tmp_path) == {"wave/a": f"cannot list folder {tmp_path / 'wave/a'}: Permission denied"}


# Lists.


@pytest.fixture
def listed(tmp_path):
    """A dataset, and a function that writes a list of it."""
    touch(tmp_path, "wave/a.avi", "wave/b.avi", "run/c.avi")
    touch_frames(tmp_path, "run/d")

    def write(*lines: str, end="\n", name="list.txt") -> Path:
        (tmp_path / name).write_bytes(os.fsencode("".join(line + end for line in lines)))
        return tmp_path / name

    return write


@pytest.mark.parametrize("name", ["list.txt", "list.lst", "LIST.TXT"])
def test_a_list_as_source(listed, name):
    path = listed("wave/b.avi", "run/d", name=name)
    assert found(path) == [("run", "d", "frames"), ("wave", "b", "video")]


def test_a_list_beside_the_source(listed, tmp_path):
    path = listed("wave/b.avi").rename(tmp_path.parent / f"{tmp_path.name}.csv")
    (source,) = discover(tmp_path, path).sources
    assert (source.key, source.relative_path, source.path) == ("wave/b", "wave/b.avi", str(tmp_path / "wave/b.avi"))


def test_absolute_and_outside_paths(listed, tmp_path):
    outside = tmp_path.parent / f"{tmp_path.name}-outside"
    touch(outside, "jump/e.avi")
    path = listed(str(tmp_path / "wave/a.avi"), str(outside / "jump/e.avi"), f"../{outside.name}/jump/e.avi", "x.avi")
    touch(tmp_path, "x.avi")
    assert found(path) == [("jump", "e", "video"), ("unlabeled", "x", "video"), ("wave", "a", "video")]


@pytest.mark.parametrize("numbers", ["", " 3", " 120 3", "\t120\t3", "  120  3  "])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_numbers_that_tools_append(listed, numbers, end):
    path = listed(f"wave/b.avi{numbers}", "", f"run/d{numbers}", "   ", end=end)
    assert found(path) == [("run", "d", "frames"), ("wave", "b", "video")]
    assert problems(path) == {}


def test_a_name_that_ends_in_numbers_is_taken_whole(listed, tmp_path):
    touch_frames(tmp_path, "run/take 2", "run/take", "run/take 2 7")
    path = listed("run/take 2", "run/take 2 7 1", "run/take 10 4")
    assert [name for _, name, _ in found(path)] == ["take", "take 2", "take 2 7"]


@pytest.mark.parametrize("name", [" a.avi", "a .avi", "wave ", "ü 1"])
def test_names_with_blanks(listed, tmp_path, name):
    touch(tmp_path, f"{name}/v.avi", "v.avi")
    path = listed(f"{name}/v.avi", "v.avi")
    assert found(path) == sorted([(name, "v", "video"), ("unlabeled", "v", "video")])


def test_a_name_that_is_not_utf8(tmp_path):
    name = os.fsdecode(b"caf\xe9.avi")
    touch(tmp_path, name)
    (tmp_path / "list.txt").write_bytes(b"caf\xe9.avi 1\n")
    assert found(tmp_path / "list.txt") == [("unlabeled", name.removesuffix(".avi"), "video")]


def test_lines_that_are_not_found_are_problems(listed):
    path = listed("wave/a.avi", "wave/gone.avi 12 3", "run/gone")
    where = "cannot be opened: No such file or directory"
    assert problems(path) == {"wave/gone": f"{where} ({path}, line 2)", "run/gone": f"{where} ({path}, line 3)"}
    assert ("wave", "a", "video") in found(path)


def test_a_listed_folder_without_frames_is_a_problem(listed, tmp_path):
    touch_frames(tmp_path, "run/flow", names=FLOW_IMAGES)
    assert problems(listed("wave/a.avi", "run/flow")) == {"run/flow": "no frame images in this folder"}


def test_a_listed_folder_that_cannot_be_listed_is_a_problem(listed, tmp_path, no_permission):
    no_permission(tmp_path / "run/d")
    assert problems(listed("wave/a.avi", "run/d")) == {
        "run/d": f"cannot list folder {tmp_path / 'run/d'}: Permission denied"
    }


def test_a_byte_order_mark_is_no_part_of_a_name(listed):
    assert found(listed("\ufeffwave/a.avi", "wave/b.avi")) == [("wave", "a", "video"), ("wave", "b", "video")]


def test_a_list_that_is_not_utf8_text_is_refused(listed):
    path = listed("wave/a.avi")
    path.write_bytes("wave/a.avi\nwave/b.avi\n".encode("utf-16"))
    with pytest.raises(SourceError, match="not plain text, it holds null bytes; save it as UTF-8"):
        discover(path)


def test_repeated_lines_are_taken_once(listed):
    path = listed("wave/a.avi", "wave/a.avi 3", "./wave/a.avi", "wave/b.avi")
    discovery = discover(path)
    assert [source.key for source in discovery.sources] == ["wave/a", "wave/b"]
    assert discovery.notes == (f"{path}: 2 repeated lines, taken once",)


def test_lists_that_name_nothing(listed, tmp_path):
    with pytest.raises(SourceError, match="it names no video"):
        discover(listed("", " "))
    with pytest.raises(SourceError, match=r"none of its 2 videos is found under"):
        discover(listed("gone.avi", "gone too.avi"))
    with pytest.raises(SourceError, match=r"no_list\.txt: No such file or directory"):
        discover(tmp_path, tmp_path / "no_list.txt")


# Choosing.


def make_sources(*keys: str) -> list[VideoSource]:
    return [VideoSource(*key.split("/"), f"/data/{key}.avi", f"{key}.avi", "video") for key in keys]


KEYS = ("run/a[1]", "run/a1", "run/b", "wave/a1", "wave/x*y")


@pytest.mark.parametrize(
    ("pattern", "chosen"),
    [
        ("run", {"run/a[1]", "run/a1", "run/b"}),
        ("a[1]", {"run/a[1]"}),
        ("a[1].avi", {"run/a[1]"}),
        ("run/a[1]", {"run/a[1]"}),
        ("run/a[1].avi", {"run/a[1]"}),
        ("a?", {"run/a1", "wave/a1"}),
        ("*/a1", {"run/a1", "wave/a1"}),
        ("r*", {"run/a[1]", "run/a1", "run/b"}),
        ("*", set(KEYS)),
        ("x*y", {"wave/x*y"}),
        ("RUN", set()),
        ("a", set()),
        ("[ab]1", set()),
        ("a.1", set()),
    ],
)
def test_only_star_and_question_mark_are_special(pattern, chosen):
    sources = make_sources(*KEYS)
    assert {source.key for source in select_sources(sources, include=[pattern])} == chosen
    assert {source.key for source in select_sources(sources, exclude=[pattern])} == set(KEYS) - chosen


@given(st.text(min_size=1, max_size=8).filter(lambda text: "/" not in text))
def test_every_name_is_a_pattern_of_itself(name):
    source = VideoSource("class", name, f"/data/class/{name}.avi", f"class/{name}.avi", "video")
    for pattern in (name, f"class/{name}"):
        assert select_sources([source], include=[pattern]) == (source,)
        assert select_sources([source], exclude=[pattern]) == ()


def test_several_patterns():
    sources = make_sources(*KEYS)
    chosen = select_sources(sources, include=["wave", "b"], exclude=["x*", "a1"])
    assert [source.key for source in chosen] == ["run/b"]


def test_parts_are_disjoint_and_together_everything():
    for n_sources in range(12):
        sources = make_sources(*(f"c/v{number:02d}" for number in range(n_sources)))
        for n_parts in range(1, 14):
            parts = [select_sources(sources, part=(part, n_parts)) for part in range(1, n_parts + 1)]
            assert sorted((one for part in parts for one in part), key=sources.index) == sources
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_limit():
    sources = make_sources(*KEYS)
    for limit in range(1, len(KEYS) + 2):
        assert list(select_sources(sources, limit=limit)) == sources[:limit]
    assert [source.key for source in select_sources(sources, ["a1"], (), 1, (2, 2))] == ["wave/a1"]


@pytest.mark.parametrize("limit", [0, -1])
def test_a_limit_that_cannot_be_used(limit):
    with pytest.raises(ArgumentError, match=f"limit is {limit}, expected 1 or more"):
        select_sources([], limit=limit)


@pytest.mark.parametrize("part", [(0, 2), (3, 2), (-1, 2), (0, 0), (1, 0)])
def test_a_part_that_cannot_be_used(part):
    with pytest.raises(ArgumentError, match=f"part is {part[0]}/{part[1]}, expected I/N"):
        select_sources([], part=part)
