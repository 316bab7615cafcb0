"""What SOURCE may be, what is found in it, and what never is."""

import errno
import os
import re
import socket
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError, SourceError
from flowstore.layouts.flow_names import flow_finder
from flowstore.layouts.templates import source_pattern
from flowstore.sources.discovery import discover as discover_with
from flowstore.sources.listing import VIDEO_SUFFIXES, list_frames, natural_key
from flowstore.sources.selection import select_sources
from flowstore.sources.source import VideoSource


def discover(source, list_file=None, **options):
    return discover_with(source, list_file, find_flow=flow_finder(), **options)


def touch(root, *names):
    """Make files that discovery looks at and never opens."""
    for name in names:
        path = os.path.join(root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"x" * 10)
    return root


def found(discovery):
    return [(source.class_name, source.name, source.kind) for source in discovery.sources]


def good(discovery):
    return [(source.class_name, source.name) for source in discovery.sources if not source.problem]


def problems(discovery):
    return {source.name: source.problem for source in discovery.sources if source.problem}


def test_class_folders_of_both_kinds(tmp_path):
    touch(tmp_path, "wave/a.avi", "wave/b.MP4", "wave/frames_c/img_1.jpg", "wave/frames_c/img_2.jpg", "run/d/0001.PNG")
    discovery = discover(tmp_path)
    assert found(discovery) == [
        ("run", "d", "frames"),
        ("wave", "a", "video"),
        ("wave", "b", "video"),
        ("wave", "frames_c", "frames"),
    ]
    assert discovery.notes == ()
    assert problems(discovery) == {}
    for source in discovery.sources:
        assert os.path.isabs(source.path)
        assert Path(source.path).samefile(tmp_path / source.relative_path)


def test_a_folder_of_videos_without_classes(tmp_path):
    touch(tmp_path, "b.avi", "a.mkv", "notes.txt")
    assert found(discover(tmp_path)) == [("unlabeled", "a", "video"), ("unlabeled", "b", "video")]


def test_a_folder_of_frame_folders_without_classes(tmp_path):
    touch(tmp_path, "b/1.jpg", "a/1.bmp", "a/flows/flow_x_0001.jpg")
    assert found(discover(tmp_path)) == [("unlabeled", "a", "frames"), ("unlabeled", "b", "frames")]


def test_one_video(tmp_path):
    touch(tmp_path, "clip.v1.avi")
    (source,) = discover(tmp_path / "clip.v1.avi").sources
    assert (source.class_name, source.name, source.kind) == ("unlabeled", "clip.v1", "video")
    assert (source.path, source.relative_path) == (str(tmp_path / "clip.v1.avi"), "clip.v1.avi")


@pytest.mark.parametrize(
    "beside", [[], ["flows/flow_x_0001.jpg"], ["flows/0001.jpg"], ["flow_x_0001.jpg", "flow_y_0001.jpg"]]
)
def test_one_folder_of_frames(tmp_path, beside):
    touch(tmp_path / "clip", "img_1.jpg", "img_2.jpg", *beside)
    (source,) = discover(tmp_path / "clip").sources
    assert (source.class_name, source.name, source.kind) == ("unlabeled", "clip", "frames")
    assert source.path == str(tmp_path / "clip")
    assert source.cost == 2


def test_a_source_may_be_relative_and_end_in_a_slash(tmp_path, monkeypatch):
    touch(tmp_path, "data/wave/a.avi")
    monkeypatch.chdir(tmp_path)
    for given_ in ("data", "data/", "./data/.", Path("data")):
        assert [source.path for source in discover(given_).sources] == [str(tmp_path / "data/wave/a.avi")]


@pytest.mark.parametrize("suffix", sorted(VIDEO_SUFFIXES))
def test_every_video_suffix_in_any_case(tmp_path, suffix):
    touch(tmp_path, f"c/a{suffix}", f"c/b{suffix.upper()}")
    assert found(discover(tmp_path)) == [("c", "a", "video"), ("c", "b", "video")]


def test_a_folder_may_have_the_suffix_of_a_video(tmp_path):
    touch(tmp_path, "wave/a.avi/img_1.jpg", "wave/b.avi")
    assert found(discover(tmp_path)) == [("wave", "a.avi", "frames"), ("wave", "b", "video")]


def test_flow_of_a_former_run_is_not_frames(tmp_path):
    frames = ["img_1.jpg", "img_2.jpg"]
    flow = ["flow_x_0001.jpg", "flow_y_0001.jpg", "x_00001.jpg", "y_00001.jpg", "flows/flow_x_0001.jpg"]
    touch(tmp_path / "wave" / "a", *frames, *flow)
    (source,) = discover(tmp_path).sources
    assert (source.name, source.cost) == ("a", 2)
    assert list_frames(source.path, source.flow_patterns) == frames


def test_a_folder_of_nothing_but_flow_has_no_frames(tmp_path):
    touch(tmp_path, "wave/a/flow_x_0001.jpg", "wave/a/flow_y_0001.jpg", "wave/b.avi")
    assert problems(discover(tmp_path)) == {"a": "no frame images in this folder (2 flow images are not frames)"}
    with pytest.raises(SourceError, match="2 flow images are not frames, `flowstore import` reads them"):
        discover(tmp_path / "wave" / "a")


@pytest.mark.parametrize("image", ["flow_x_0001.jpg", "0001.jpg", "rgb_1.png"])
def test_a_flows_folder_is_never_a_video(tmp_path, image):
    touch(tmp_path, "wave/b.avi", f"wave/flows/{image}", "wave/c/img_1.jpg", f"wave/c/flows/{image}")
    discovery = discover(tmp_path)
    assert found(discovery) == [("wave", "b", "video"), ("wave", "c", "frames")]
    assert any("flows" in note for note in discovery.notes)
    touch(tmp_path, "wave/c/img_2.jpg")
    assert found(discover(tmp_path / "wave")) == [("unlabeled", "b", "video"), ("unlabeled", "c", "frames")]


def test_flows_may_be_the_name_of_a_class(tmp_path):
    touch(tmp_path, "flows/a.avi", "flows/b/img_1.jpg")
    assert found(discover(tmp_path)) == [("flows", "a", "video"), ("flows", "b", "frames")]


def test_frames_are_in_natural_order(tmp_path):
    names = ["img_2.jpg", "img_10.jpg", "img_1.jpg", "img_010.jpg", "img_9.webp", "b_1.jpg"]
    touch(tmp_path, *names, "img_10b10.jpg", "img_10b2.jpg")
    assert list_frames(str(tmp_path)) == [
        "b_1.jpg",
        "img_1.jpg",
        "img_2.jpg",
        "img_9.webp",
        "img_010.jpg",
        "img_10.jpg",
        "img_10b2.jpg",
        "img_10b10.jpg",
    ]


@given(st.lists(st.integers(0, 10**12), unique=True), st.text(st.characters(exclude_categories=["Nd"]), max_size=5))
def test_numbers_order_names(numbers, prefix):
    names = [f"{prefix}_{number}.jpg" for number in numbers]
    assert sorted(names, key=natural_key) == [f"{prefix}_{number}.jpg" for number in sorted(numbers)]


@given(st.lists(st.text("0129ab٣²._-", max_size=8), unique=True))
def test_the_natural_order_is_total(names):
    ordered = sorted(names, key=natural_key)
    ordered.reverse()
    ordered.sort(key=natural_key)
    assert ordered == sorted(names, key=natural_key)
    assert len({str(natural_key(name)) for name in names}) == len(names)


NAMES = [
    "Die_Another_Day_-_Fencing_Scene_Part_1_[HD]_avi_fencing_f_cm_np2_le_goo_0",
    "Ab_Workout__(_6_pack_abs_)_[_ab_exercises_]_situp",
    "two  words ",
    "! & ; # % ' \" $ `",
    "-rf",
    "__x",
    "index",
    "zarr.json",
    "a.b..c.",
    "x" * 250,
    "line\nbreak",
    unicodedata.normalize("NFC", "caf\u00e9_가"),
    unicodedata.normalize("NFD", "naïve_가"),
    "动画🎬",
    "*?[a-z]{1}",
    "\\",
    os.fsdecode(b"caf\xe9_\xff"),
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: ascii(name[:20]))
def test_every_name_of_a_file_system_is_taken(tmp_path, name):
    # Some file systems normalize; what the folder lists is what must be found.
    touch(tmp_path, os.path.join(name, f"{name}.avi"), os.path.join(name, f"{name}_", "img_1.jpg"))
    (listed,) = os.listdir(tmp_path)
    discovery = discover(tmp_path)
    assert found(discovery) == [(listed, name, "video"), (listed, f"{name}_", "frames")]
    assert problems(discovery) == {}
    assert [os.path.exists(source.path) for source in discovery.sources] == [True, True]
    assert all("\n" not in source.key for source in discovery.sources)
    line = os.fsencode(os.path.join(name, f"{name}.avi"))
    if b"\n" not in line:
        (tmp_path / "list.txt").write_bytes(line + b" 3\n")
        assert found(discover(tmp_path / "list.txt")) == [(listed, name, "video")]


def test_what_systems_leave_behind_is_ignored(tmp_path):
    touch(tmp_path, "wave/a.avi", "wave/._a.avi", "wave/.DS_Store", "wave/Thumbs.db")
    touch(tmp_path, "__MACOSX/wave/a.avi", ".DS_Store", "wave/.avi", "wave/__MACOSX/._a.avi")
    touch(tmp_path, "wave/b/img_1.jpg", "wave/b/._img_1.jpg", "wave/b/desktop.ini")
    assert found(discover(tmp_path)) == [("wave", "a", "video"), ("wave", "b", "frames")]


def test_what_cannot_be_a_video_is_listed_with_its_reason_and_never_waited_for(tmp_path, monkeypatch):
    touch(tmp_path, "wave/good.avi")
    wave = tmp_path / "wave"
    os.mkfifo(wave / "pipe.avi")
    (wave / "dangling.avi").symlink_to("nowhere.avi")
    (wave / "loop.avi").symlink_to("loop.avi")
    (wave / "loop_a").symlink_to("loop_b")
    (wave / "loop_b").symlink_to("loop_a")
    (wave / "parent").symlink_to("..")
    (wave / "linked.avi").symlink_to("good.avi")
    # A socket's whole path has to be short.
    monkeypatch.chdir(wave)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.avi")
        discovery = discover(tmp_path)
    assert good(discovery) == [("wave", "good"), ("wave", "linked")]
    assert problems(discovery) == {
        "pipe": "not a regular file",
        "socket": "not a regular file",
        "dangling": "cannot be opened: No such file or directory",
        "loop": "cannot be opened: Too many levels of symbolic links",
    }


def test_a_loop_of_links_beside_the_classes_stops_nothing(tmp_path):
    touch(tmp_path, "wave/a.avi")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "self").symlink_to(".")
    assert ("wave", "a") in good(discover(tmp_path))


def test_linked_folders_are_followed(tmp_path):
    touch(tmp_path / "elsewhere", "a.avi", "b/img_1.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "wave").symlink_to(tmp_path / "elsewhere")
    assert found(discover(tmp_path / "data")) == [("wave", "a", "video"), ("wave", "b", "frames")]


def test_a_store_inside_the_source_is_ignored(tmp_path):
    touch(tmp_path, "wave/a.avi", "flow.zarr/zarr.json", "flow.zarr/wave/zarr.json", "flow.zarr/wave/a/zarr.json")
    touch(tmp_path, "wave/inner.zarr/zarr.json", "wave/inner.zarr/x/zarr.json")
    discovery = discover(tmp_path)
    assert found(discovery) == [("wave", "a", "video")]
    assert discovery.notes == ("left out, Zarr stores: flow.zarr, wave/inner.zarr",)
    with pytest.raises(SourceError, match="this is a Zarr store, not a dataset of videos"):
        discover(tmp_path / "flow.zarr")


def test_what_is_left_out_is_noted(tmp_path):
    touch(tmp_path, "wave/a.avi", "wave/stray.jpg", "top.png", "empty_class/readme.txt", "deep/class/video/img_1.jpg")
    discovery = discover(tmp_path)
    assert found(discovery) == [("wave", "a", "video")]
    assert discovery.notes == (
        "left out, deeper than class/video (--source-template says what is the class): 1 video (deep/class/video)",
        "left out, folders without videos: empty_class",
        "left out, images beside videos: SOURCE (1), wave (1)",
        "left out, neither videos nor frames by their suffix: 1 .txt",
    )


def test_an_empty_video_folder_is_a_failed_video_and_no_silence(tmp_path):
    touch(tmp_path, "wave/a.avi", "run/c/img_1.jpg", "run/d/notes.txt")
    (tmp_path / "wave" / "b").mkdir()
    missing = "no frame images in this folder"
    assert problems(discover(tmp_path)) == {"b": missing, "d": missing}


def test_a_folder_of_annotations_beside_video_files_is_no_video(tmp_path):
    touch(tmp_path, "biking/a.avi", "biking/Annotation/a.xgtf")
    discovery = discover(tmp_path)
    assert found(discovery) == [("biking", "a", "video")]
    assert discovery.notes == (
        "left out, folders without videos: biking/Annotation",
        "left out, neither videos nor frames by their suffix: 1 .xgtf",
    )


def test_sources_that_hold_nothing(tmp_path):
    with pytest.raises(SourceError, match="missing: no such file or folder"):
        discover(tmp_path / "missing")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(SourceError, match="dangling: neither a folder nor, by its suffix, a video file"):
        discover(tmp_path / "dangling")
    (tmp_path / "empty").mkdir()
    with pytest.raises(SourceError, match=r"no videos found: expected class/video\.avi, class/video/\*\.jpg"):
        discover(tmp_path / "empty")
    touch(tmp_path, "text.pdf")
    with pytest.raises(SourceError, match="neither a folder nor, by its suffix, a video file"):
        discover(tmp_path / "text.pdf")


@pytest.fixture
def listed(tmp_path):
    videos = ("wave/a.avi", "wave/b 1 2.avi", "top.mp4", "d 7.avi")
    return touch(tmp_path / "data", *videos, "run/c/img_1.jpg", "run/c/img_2.jpg")


def write_list(root, *lines, name="list.txt", end="\n"):
    path = root / name
    path.write_bytes("".join(f"{line}{end}" for line in lines).encode())
    return path


def test_lists_in_the_forms_of_mmaction2_and_tsn(listed):
    write_list(listed, "wave/a.avi 3", "run/c 2 0", "wave/b 1 2.avi", "", "top.mp4", "d 7.avi 12")
    assert found(discover(listed / "list.txt")) == [
        ("run", "c", "frames"),
        ("unlabeled", "d 7", "video"),
        ("unlabeled", "top", "video"),
        ("wave", "a", "video"),
        ("wave", "b 1 2", "video"),
    ]


@pytest.mark.parametrize(
    "line", ["wave/a.avi", "wave/a.avi 17", "wave/a.avi 120 17", "./wave//a.avi\t17", "  wave/a.avi  "]
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_one_line_in_every_form(listed, line, end):
    write_list(listed, line, end=end)
    (source,) = discover(listed / "list.txt").sources
    assert (source.class_name, source.name, source.problem) == ("wave", "a", "")
    assert source.relative_path == "wave/a.avi"


def test_a_list_may_stand_elsewhere_and_hold_absolute_paths(listed, tmp_path):
    other = touch(tmp_path / "other", "jump/e.avi")
    path = write_list(tmp_path, "wave/a.avi 1", str(other / "jump/e.avi"), str(listed / "run/c"), name="my list.lst")
    discovery = discover(listed, path)
    assert found(discovery) == [("jump", "e", "video"), ("run", "c", "frames"), ("wave", "a", "video")]
    # A list without a source stands in the source.
    with pytest.raises(SourceError, match="none of its 1 video is found under"):
        discover(write_list(tmp_path, "wave/a.avi 1"))


def test_lines_without_a_video_are_named_by_their_number(listed):
    path = write_list(listed, "wave/a.avi 3", "", "wave/missing.avi 5", "wave 1", "wave/gone 10 5")
    discovery = discover(path)
    assert good(discovery) == [("wave", "a")]
    assert problems(discovery) == {
        "missing": f"cannot be opened: No such file or directory ({path}, line 3)",
        "wave": "no frame images in this folder",
        "gone": f"cannot be opened: No such file or directory ({path}, line 5)",
    }


def test_a_list_with_the_byte_order_mark_of_windows(listed):
    (listed / "list.txt").write_bytes(b"\xef\xbb\xbfwave/a.avi 1\r\ntop.mp4 2\r\n")
    assert good(discover(listed / "list.txt")) == [("unlabeled", "top"), ("wave", "a")]


def test_a_list_that_is_no_text_is_refused_in_one_line(listed):
    (listed / "list.txt").write_bytes("wave/a.avi 1\n".encode("utf-16"))
    with pytest.raises(SourceError, match=r"list\.txt: not plain text"):
        discover(listed / "list.txt")


def test_repeated_lines_are_taken_once_and_said(listed):
    path = write_list(listed, "wave/a.avi 3", "./wave/a.avi", "top.mp4")
    discovery = discover(path)
    assert good(discovery) == [("unlabeled", "top"), ("wave", "a")]
    assert discovery.notes == (f"{path}: 1 repeated lines, taken once",)


UCF11 = [f"{name}/v_{name}_0{group}/v_{name}_0{group}_01.avi" for name in ("biking", "diving") for group in (1, 2)]
KINETICS = ["train/wave/a.avi", "train/run/b.avi", "val/wave/c.avi", "val/run/d.avi"]


@pytest.mark.parametrize(
    ("paths", "labels", "template", "classes"),
    [
        (UCF11, None, None, ["biking", "diving"]),
        (KINETICS, None, None, ["run", "wave"]),
        (UCF11, [0, 1, 2, 3], None, ["v_biking_01", "v_biking_02", "v_diving_01", "v_diving_02"]),
        (KINETICS, [0, 0, 1, 1], None, ["train", "val"]),
        (KINETICS, None, "{class}/*/{video}", ["train", "val"]),
        (KINETICS, None, "*/*/{video}", ["unlabeled"]),
    ],
)
def test_the_class_of_a_deep_path_in_a_list(tmp_path, paths, labels, template, classes):
    touch(tmp_path, *paths)
    ends = [""] * len(paths) if labels is None else [f" {label}" for label in labels]
    path = write_list(tmp_path, *(f"{path}{end}" for path, end in zip(paths, ends, strict=True)))
    discovery = discover(path, pattern=None if template is None else source_pattern(template))
    assert sorted({source.class_name for source in discovery.sources}) == classes
    assert len(discovery.sources) == 4
    # What was chosen without labels is said.
    assert len(discovery.notes) == (labels is None and template is None)


@pytest.mark.parametrize("where", [".", "v0", "wave/v0"])
def test_frames_that_stand_directly_in_a_folder_win(tmp_path, where):
    frames = [f"img_{number}.jpg" for number in range(1, 7)]
    inner = [f"{folder}/{number}.jpg" for folder in ("u", "v", "x", "y", "thumbs", "masks") for number in range(1, 6)]
    touch(tmp_path, *(os.path.join(where, name) for name in [*frames, *inner[:20]]))
    (source,) = discover(tmp_path).sources
    assert (source.path, source.cost) == (os.path.normpath(tmp_path / where), 6)


def test_lists_that_hold_nothing(listed):
    with pytest.raises(SourceError, match="it names no video"):
        discover(write_list(listed, "", "  "))
    with pytest.raises(SourceError, match=r"list file .*no\.txt: No such file or directory"):
        discover(listed, listed / "no.txt")


def make_sources(*keys):
    return [VideoSource(*key.split("/", 1), f"/data/{key}.avi", f"{key}.avi", "video") for key in keys]


def keys(sources):
    return [f"{source.class_name}/{source.name}" for source in sources]


ALL = make_sources("run/a", "run/a[HD]", "run/aH", "wave/a", "wave/b*", "wave/bb", "wave/line\nbreak", "wave/Ünï")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["run"], ["run/a", "run/a[HD]", "run/aH"]),
        (["a[HD]"], ["run/a[HD]"]),
        (["*[HD]*"], ["run/a[HD]"]),
        (["a?"], ["run/aH"]),
        (["run/*"], ["run/a", "run/a[HD]", "run/aH"]),
        (["*/a"], ["run/a", "wave/a"]),
        (["a"], ["run/a", "wave/a"]),
        (["b*"], ["wave/b*", "wave/bb"]),
        (["line*"], ["wave/line\nbreak"]),
        (["Ü*", "bb"], ["wave/bb", "wave/Ünï"]),
        (["un"], []),
        (["RUN"], []),
        (["a.avi|.*"], []),
        (["*"], keys(ALL)),
    ],
)
def test_patterns_know_only_star_and_question_mark(patterns, expected):
    assert keys(select_sources(ALL, include=patterns)) == expected
    assert keys(select_sources(ALL, exclude=patterns)) == [key for key in keys(ALL) if key not in expected]


def test_exclusion_wins():
    assert keys(select_sources(ALL, include=["run"], exclude=["a"])) == ["run/a[HD]", "run/aH"]


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        (["class=run"], ["run/a", "run/a[HD]", "run/aH"]),
        (["name=a[HD]"], ["run/a[HD]"]),
        (["name=run/a?"], ["run/aH"]),
        (["class=run", "name=a"], ["run/a"]),
        (["class=run", "class=wave"], keys(ALL)),
    ],
)
def test_a_dataset_is_selected_as_a_store_is(choices, expected):
    assert keys(select_sources(ALL, select=choices)) == expected
    assert set(keys(select_sources(ALL, select=choices, exclude=["a"]))) == {*expected} - {"run/a", "wave/a"}


@given(st.integers(0, 40), st.integers(1, 12))
def test_parts_are_disjoint_and_complete(n_sources, n_parts):
    sources = make_sources(*(f"c/{number:03}" for number in range(n_sources)))
    parts = [select_sources(sources, part=(number, n_parts)) for number in range(1, n_parts + 1)]
    assert sorted(key for part in parts for key in keys(part)) == keys(sources)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_limit_counts_what_is_left():
    assert keys(select_sources(ALL, include=["run"], part=(1, 2), limit=1)) == ["run/a"]
    assert len(select_sources(ALL, limit=1000)) == len(ALL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"limit": 0}, "limit is 0, expected a whole number, 1 or more"),
        ({"limit": -1}, "limit is -1"),
        ({"part": (0, 3)}, "the part is 0, expected a whole number, 1 to 3"),
        ({"part": (4, 3)}, "the part is 4"),
        ({"part": (1, 0)}, "the number of parts is 0"),
        ({"select": ["class=wav"]}, "selection 'class=wav': no video is of it; did you mean 'wave'?"),
        ({"select": "split=hmdb51:a:1"}, "expected class=NAME or name=PATTERN"),
    ],
)
def test_selections_that_cannot_be_used_are_refused(arguments, message):
    with pytest.raises(ArgumentError, match=message):
        select_sources(ALL, **arguments)


def test_real_clips_are_found(real_data):
    discovery = discover(real_data / "videos")
    assert sorted({source.class_name for source in discovery.sources}) == [
        "SoccerJuggling",
        "cartwheel",
        "kinetics",
        "wave",
    ]
    assert len(discovery.sources) == 5
    # A raw-frames folder of another tool: its x_ and y_ images are flow.
    (frames,) = discover(real_data / "frames").sources
    assert (frames.name, frames.cost) == ("mmaction2", 10)
    assert list_frames(frames.path, frames.flow_patterns) == [f"img_{number:05}.jpg" for number in range(1, 11)]


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


def test_a_class_that_cannot_be_listed_is_refused(tmp_path, no_permission):
    touch(tmp_path, "wave/a.avi", "run/a.avi")
    no_permission(tmp_path / "run")
    with pytest.raises(SourceError, match=re.escape(f"cannot list folder {tmp_path / 'run'}: Permission denied")):
        discover(tmp_path)


def test_a_frame_folder_that_cannot_be_listed_is_a_problem_of_its_own(tmp_path, no_permission):
    touch(tmp_path, "wave/a/img_1.jpg", "wave/b/img_1.jpg")
    no_permission(tmp_path / "wave/a")
    found_problems = {source.key: source.problem for source in discover(tmp_path).sources if source.problem}
    assert found_problems == {"wave/a": f"cannot list folder {tmp_path / 'wave/a'}: Permission denied"}
