"""Split files, written here as the datasets write them, matched to stores of several habits."""

import pytest
from store_factory import failed_record, make_record

from flowstore.errors import ArgumentError, SourceError
from flowstore.splits import read_hmdb51, read_kinetics, read_mmaction2, read_ucf101
from flowstore.store.video_index import VideoIndex


def index_of(*keys, failed=()):
    """Return the index of videos ``class/name``, without a store."""
    records = [make_record(*key.split("/"), 3, height=4, width=4) for key in keys]
    return VideoIndex.from_records([*records, *(failed_record(*key.split("/"), "broken") for key in failed)])


def unmatched(split):
    return {line.line.text: line.reason for line in split.unmatched}


@pytest.fixture
def hmdb51(tmp_path):
    texts = {
        "brush_hair_test_split1.txt": "a_[HD]_b.avi 1 \nb.avi 2 \nc.avi 0 \n\n",
        "wave_test_split1.txt": "d.avi 2 \ne.avi 1 \n",
        "wave_test_split2.txt": "d.avi 1 \n",
        "notes.txt": "not a split",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("split", "part", "expected"),
    [
        (1, "train", {"brush_hair/a_[HD]_b", "wave/e"}),
        (1, "test", {"brush_hair/b", "wave/d"}),
        (1, "unused", {"brush_hair/c"}),
        (2, "train", {"wave/d"}),
        (2, "test", set()),
    ],
)
def test_hmdb51(hmdb51, split, part, expected):
    index = index_of("brush_hair/a_[HD]_b", "brush_hair/b", "brush_hair/c", "wave/d", "wave/e")
    matched = read_hmdb51(hmdb51, split, part).match(index)
    assert set(matched.rows) == expected
    assert matched.unmatched == ()
    assert len(matched) == len(expected)


def test_names_that_kept_their_extension_are_found(hmdb51):
    matched = read_hmdb51(hmdb51, 1, "test").match(index_of("brush_hair/b.avi", "wave/d.mp4", "wave/d"))
    assert set(matched.rows) == {"brush_hair/b.avi", "wave/d"}


def test_every_line_without_a_video_is_reported(hmdb51):
    lines = read_hmdb51(hmdb51, 1, "train")
    matched = lines.match(index_of("wave/other", failed=["brush_hair/a_[HD]_b"]))
    assert len(matched) == 0
    assert unmatched(matched) == {
        "a_[HD]_b.avi 1": "the video brush_hair/a_[HD]_b failed: it has no flow",
        "e.avi 1": "no such video in class 'wave'",
    }
    report = matched.report()
    assert report.splitlines()[0] == "2 lines of the split without a video in the store"
    assert f"{hmdb51 / 'wave_test_split1.txt'}:2: 'e.avi 1': no such video" in report
    assert matched.report(1).splitlines()[-1] == "… and 1 more"
    assert repr(matched) == "<Split: 0 videos, 2 lines unmatched>"


def test_a_video_named_twice_is_reported(tmp_path):
    (tmp_path / "a_test_split1.txt").write_text("x.avi 1 \nx.mp4 1 \n")
    matched = read_hmdb51(tmp_path, 1, "train").match(index_of("a/x"))
    assert set(matched.rows) == {"a/x"}
    assert "x.mp4 1" in unmatched(matched)
    assert "is named by" in unmatched(matched)["x.mp4 1"]


def test_hmdb51_refuses_what_it_cannot_read(hmdb51, tmp_path):
    for split, part, message in [(4, "train", "split is 4"), (1, "val", "found 'val', expected one of train, test")]:
        with pytest.raises(ArgumentError, match=message):
            read_hmdb51(hmdb51, split, part)
    with pytest.raises(SourceError, match=r"no file of the form brush_hair_test_split3.txt"):
        read_hmdb51(hmdb51, 3, "train")
    with pytest.raises(SourceError):
        read_hmdb51(tmp_path / "nowhere", 1, "train")
    for line in ("x.avi 3", "x.avi", "1"):
        (hmdb51 / "z_test_split1.txt").write_text(line)
        with pytest.raises(ArgumentError, match=r"z_test_split1.txt:1: .* expected a file name and 0, 1 or 2"):
            read_hmdb51(hmdb51, 1, "train")


@pytest.fixture
def ucf101(tmp_path):
    (tmp_path / "classInd.txt").write_bytes(b"1 ApplyEyeMakeup\r\n2 HandstandPushups\r\n")
    (tmp_path / "trainlist01.txt").write_bytes(
        b"ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01.avi 1\r\nHandstandPushups/v_HandStandPushups_g08_c01.avi 2\r\n"
    )
    (tmp_path / "testlist01.txt").write_text("HandstandPushups/v_HandStandPushups_g01_c01.avi\n")
    return tmp_path


@pytest.mark.parametrize(
    "keys",
    [
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "HandstandPushups/v_HandStandPushups_g08_c01"),
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "HandStandPushups/v_HandStandPushups_g08_c01"),
        ("ApplyEyeMakeup/v_ApplyEyeMakeup_g08_c01", "HandstandPushups/v_HandstandPushups_g08_c01"),
        ("unlabeled/v_ApplyEyeMakeup_g08_c01", "unlabeled/v_HandStandPushups_g08_c01"),
    ],
)
def test_ucf101(ucf101, keys):
    lines = read_ucf101(ucf101, 1, "train")
    matched = lines.match(index_of(*keys, "other/v_HandStandPushups_g01_c01"))
    assert set(matched.rows) == set(keys)
    assert [matched.rows[key].label for key in keys] == [0, 1]
    assert matched.classes == ("ApplyEyeMakeup", "HandstandPushups")


def test_ucf101_test_lists_have_no_label_and_get_that_of_the_class(ucf101):
    (line,) = read_ucf101(ucf101, 1, "test").lines
    assert (line.class_name, line.label) == ("HandstandPushups", 1)
    assert line.names == ("v_HandStandPushups_g01_c01.avi", "v_HandStandPushups_g01_c01")


def test_ucf101_refuses_what_it_cannot_read(ucf101):
    with pytest.raises(SourceError, match=r"trainlist02.txt: No such file"):
        read_ucf101(ucf101, 2, "train")
    for text, message in [
        ("ApplyEyeMakeup/x.avi 2", "label '2', but ApplyEyeMakeup is 1 in classInd.txt"),
        ("Nothing/x.avi 1", "expected Class/video.avi"),
        ("x.avi 1", "expected Class/video.avi"),
    ]:
        (ucf101 / "trainlist01.txt").write_text(text)
        with pytest.raises(ArgumentError, match=rf"trainlist01.txt:1: .*{message}"):
            read_ucf101(ucf101, 1, "train")
    (ucf101 / "classInd.txt").write_text("0 A\n")
    with pytest.raises(ArgumentError, match=r"classInd.txt:1: '0 A', expected class number 1"):
        read_ucf101(ucf101, 1, "test")


KINETICS = """label,youtube_id,time_start,time_end,split,is_cc
"abseiling, high",-abc_D1234e,20,30,train,0
testifying,0QrSTuvw_xy,5,15,val,0
testifying,zzzzzzzzzzz,100000,100010,val,1
"""


@pytest.mark.parametrize(
    "keys",
    [
        ("abseiling,_high/-abc_D1234e_000020_000030", "testifying/0QrSTuvw_xy_000005_000015"),
        ("abseiling, high/-abc_D1234e_000020_000030", "testifying/0QrSTuvw_xy_000005_000015"),
        ("abseiling, high/-abc_D1234e", "unlabeled/0QrSTuvw_xy"),
        ("unlabeled/-abc_D1234e_000020_000030", "unlabeled/0QrSTuvw_xy_000005_000015"),
    ],
)
def test_kinetics(tmp_path, keys):
    path = tmp_path / "k400.csv"
    path.write_text(KINETICS)
    matched = read_kinetics(path).match(index_of(*keys))
    assert set(matched.rows) == set(keys)
    assert list(unmatched(matched)) == ["zzzzzzzzzzz,100000,100010"]
    assert [len(read_kinetics(path, part)) for part in ("train", "val")] == [1, 2]


def test_kinetics_without_labels_and_without_a_split(tmp_path):
    path = tmp_path / "test.csv"
    path.write_text("youtube_id,time_start,time_end\nabc,1.0,11.0\n")
    assert set(read_kinetics(path).match(index_of("any/abc_000001_000011")).rows) == {"any/abc_000001_000011"}
    matched = read_kinetics(path).match(index_of("a/abc", "b/abc"))
    assert unmatched(matched) == {"abc,1,11": "may be any of a/abc, b/abc"}


def test_kinetics_refuses_what_it_cannot_read(tmp_path):
    path = tmp_path / "k.csv"
    path.write_text("label,id\nx,y\n")
    with pytest.raises(ArgumentError, match="no column time_end, time_start, youtube_id; found label, id"):
        read_kinetics(path)
    path.write_text(KINETICS)
    with pytest.raises(ArgumentError, match="no line of split 'dev'; splits in it: train, val"):
        read_kinetics(path, "dev")
    path.write_text(KINETICS + "x,y,soon,later,train,0\n")
    with pytest.raises(ArgumentError, match=r"k.csv:5: times are 'soon' and 'later'"):
        read_kinetics(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SourceError, match="not a text file"):
        read_kinetics(path)


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("wave/a 120 1\nrun/b 30 0\n", {"wave/a": 1, "run/b": 0}),
        ("wave/a.mp4 1\nrun/b.avi 0\n", {"wave/a": 1, "run/b": 0}),
        ("/data/frames/wave/a 120 1\n./run/b/ 30 0\n", {"wave/a": 1, "run/b": 0}),
        ("a.mp4 1\nb 0\n", {"wave/a": 1, "run/b": 0}),
        ("a 5 1\nb 6 0\n", {"wave/a": 1, "run/b": 0}),
        ("wave/two words.mp4 1\n", {"wave/two words": 1}),
        ("wave/two words 40 1\n", {"wave/two words": 1}),
    ],
)
def test_mmaction2(tmp_path, text, labels):
    path = tmp_path / "list.txt"
    path.write_text(text)
    matched = read_mmaction2(path).match(index_of("wave/a", "run/b", "wave/two words"))
    assert {key: line.label for key, line in matched.rows.items()} == labels
    assert matched.unmatched == ()


def test_mmaction2_where_a_name_ends_in_a_number(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("wave/take 2 1\n")
    assert read_mmaction2(path).lines[0].names == ("take",)
    assert read_mmaction2(path, "videos").lines[0].names == ("take 2",)


def test_mmaction2_refuses_what_it_cannot_read(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("wave/a 120 1\nwave/b 120 one\n")
    for kind in ("auto", "rawframes"):
        with pytest.raises(ArgumentError, match=r"list.txt:2: 'wave/b 120 one', expected frame_dir total_frames label"):
            read_mmaction2(path, kind)
    with pytest.raises(ArgumentError, match=r"list.txt:2: 'wave/b 120 one', expected path label"):
        read_mmaction2(path, "videos")
    with pytest.raises(ArgumentError, match="found 'flow', expected one of auto, rawframes, videos"):
        read_mmaction2(path, "flow")
    with pytest.raises(ArgumentError, match=r"; did you mean 'videos'\?"):
        read_mmaction2(path, "video")


@pytest.mark.parametrize(
    "text", ["wave/a.mp4 3 5 6\n", "wave/a.mp4 3\nrun/b.avi 0 1\n", "wave/a.MP4 3 5 6 7\nrun/b.avi 0\n"]
)
def test_several_labels_are_refused_and_none_is_taken_for_a_name(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=r"list.txt:\d: .* has several labels, expected one a video"):
        read_mmaction2(path)


@pytest.mark.parametrize(
    "text",
    [
        "wave/a 163 1 3 5\n",
        "wave/a 163 1\nwave/b 122 1 2\n",
        "wave/a 12 163 3\nwave/b 213 122 4\n",
        "wave/a 1 2 3 4 5 6\n",
        "wave/a 3\nwave/b 0 1\n",
    ],
)
def test_several_labels_or_offsets_of_raw_frames_are_refused_and_no_line_is_lost(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    with pytest.raises(ArgumentError, match=r"list.txt:\d: .* has several labels, expected one a video; or an offset"):
        read_mmaction2(path)


@pytest.mark.parametrize(("label", "message"), [("²", "expected path label"), ("1" * 30, "expected at most 999999")])
def test_labels_that_no_class_has(tmp_path, label, message):
    path = tmp_path / "list.txt"
    path.write_text(f"wave/a.mp4 {label}\n", encoding="utf-8")
    with pytest.raises(ArgumentError, match=message):
        read_mmaction2(path)


def test_arguments_of_another_kind_are_refused(hmdb51, ucf101):
    for split in ("1", 1.0, True):
        with pytest.raises(ArgumentError, match=r"split is .*, expected a whole number, 1 to 3"):
            read_hmdb51(hmdb51, split, "train")
        with pytest.raises(ArgumentError, match=r"split is .*, expected a whole number, 1 to 3"):
            read_ucf101(ucf101, split, "train")
    with pytest.raises(ArgumentError, match=r"found \['train'\], expected one of train, test, unused"):
        read_hmdb51(hmdb51, 1, ["train"])
    for read in (lambda: read_hmdb51(None, 1, "train"), lambda: read_kinetics(None), lambda: read_mmaction2(3)):
        with pytest.raises(ArgumentError, match="expected a path"):
            read()


def test_spaces_that_people_leave(tmp_path):
    (tmp_path / "classInd.txt").write_text("1  Brush\n")
    (tmp_path / "testlist01.txt").write_text(" Brush/a b c.avi \n")
    assert read_ucf101(tmp_path, 1, "test").lines[0].names == ("a b c.avi", "a b c")
    path = tmp_path / "k.csv"
    path.write_text("label, youtube_id, time_start, time_end, split\nwave, x, 1, 2, train \n")
    assert len(read_kinetics(path, "train")) == 1
    path.write_text("label,youtube_id,time_start,time_end,split\nwave,x,inf,2,train\n")
    with pytest.raises(ArgumentError, match=r"k.csv:2: times are 'inf' and '2'"):
        read_kinetics(path)
    path.write_text("label,youtube_id,time_start,time_end,split\nwave , x ,1,2,train\n")
    assert set(read_kinetics(path).match(index_of("wave/x_000001_000002")).rows) == {"wave/x_000001_000002"}


def test_a_store_of_some_classes_lends_no_video_to_the_others(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("wave/v1.avi 0\njump/v0.avi 1\njump/v2.avi 1\n")
    matched = read_mmaction2(path).match(index_of("wave/v0", "wave/v1", "other/v2"))
    assert set(matched.rows) == {"wave/v1", "other/v2"}
    assert unmatched(matched) == {"jump/v0.avi 1": "no such video"}


def test_what_ends_in_a_number_has_no_extension(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("wave/v.9 120 0\nwave/u.3gp 30 0\n")
    matched = read_mmaction2(path).match(index_of("wave/v", "wave/u"))
    assert set(matched.rows) == {"wave/u"}
    assert list(unmatched(matched)) == ["wave/v.9 120 0"]


@pytest.mark.parametrize("character", ["\u2028", "\x85", "\x0c"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_end_where_the_file_ends_them(tmp_path, character, end):
    path, name = tmp_path / "list.txt", f"a{character}b"
    path.write_bytes(f"wave/{name}.avi 0{end}wave/c.avi 1{end}".encode())
    assert set(read_mmaction2(path).match(index_of(f"wave/{name}", "wave/c")).rows) >= {"wave/c"}
    assert read_mmaction2(path).lines[0].names[1] == name
    path.write_bytes(f"label,youtube_id,time_start,time_end{end}wave,{name},1,2{end}".encode())
    assert [line.names[1] for line in read_kinetics(path).lines] == [name]
