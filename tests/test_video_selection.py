"""Choosing videos by class, by name and by split files."""

import pytest
from store_factory import make_codes, write_store

import flowstore
from flowstore.errors import ArgumentError, FlowStoreWarning, SourceError
from flowstore.splits import read_split, select_videos

KEYS = ["brush hair/a_2", "brush hair/a_[HD]_1", "wave/a_1", "wave/b_1", "wave/b_2"]


@pytest.fixture
def store(tmp_path):
    write_store(tmp_path / "s.zarr", {key: make_codes(1, 8, 8) for key in KEYS}, {"wave/bad": "no frame"})
    return flowstore.open_store(tmp_path / "s.zarr")


def keys(store):
    return [video.key for video in store.iter_videos()]


@pytest.mark.parametrize(
    ("choices", "expected"),
    [
        ([], KEYS),
        (["class=wave"], KEYS[2:]),
        (["class=wave", "class=brush hair"], KEYS),
        (["name=a_*"], KEYS[:3]),
        (["name=?_1"], KEYS[2:4]),
        (["name=*[HD]*"], KEYS[1:2]),
        (["name=brush*/a_2"], KEYS[:1]),
        (["class=wave", "name=*_1"], KEYS[2:4]),
        (["class=wave", "name=a_1", "name=b_2"], [KEYS[2], KEYS[4]]),
    ],
)
def test_choices(store, choices, expected):
    assert keys(select_videos(store, choices)) == expected


def test_choices_of_a_selection(store):
    assert keys(select_videos(store.select("wave"), ["name=a_*"])) == ["wave/a_1"]
    assert select_videos(store, []) is store


def test_splits(store, tmp_path):
    (tmp_path / "wave_test_split1.txt").write_text("a_1.avi 1 \nb_1.avi 2 \nb_2.avi 0 \n")
    (tmp_path / "brush hair_test_split1.txt").write_text("a_[HD]_1.avi 2 \na_2.avi 1 \n")
    assert keys(select_videos(store, [f"split=hmdb51:{tmp_path}:1:train"])) == ["brush hair/a_2", "wave/a_1"]
    both = [f"split=hmdb51:{tmp_path}:1:train", f"split=hmdb51:{tmp_path}:1:test"]
    assert keys(select_videos(store, both)) == KEYS[:4]
    assert keys(select_videos(store, [both[1], "class=wave"])) == ["wave/b_1"]
    (tmp_path / "list.txt").write_text("wave/b_2 12 1\n")
    assert keys(select_videos(store, [f"split=mmaction2:{tmp_path}/list.txt"])) == ["wave/b_2"]
    (tmp_path / "k.csv").write_text(
        "label,youtube_id,time_start,time_end,split\nwave,a_1,0,10,val\nwave,b_1,0,10,train\n"
    )
    assert keys(select_videos(store, [f"split=kinetics:{tmp_path}/k.csv:val"])) == ["wave/a_1"]
    assert keys(select_videos(store, [f"split=kinetics:{tmp_path}/k.csv"])) == ["wave/a_1", "wave/b_1"]
    (tmp_path / "classInd.txt").write_text("1 wave\n2 brush hair\n")
    (tmp_path / "testlist02.txt").write_text("wave/b_1.avi\n")
    assert keys(select_videos(store, [f"split=ucf101:{tmp_path}:2:test"])) == ["wave/b_1"]


def test_lines_that_name_no_video_are_said(store, tmp_path):
    (tmp_path / "list.txt").write_text("wave/b_2 12 1\nwave/gone 12 1\nwave/bad 3 1\n")
    with pytest.warns(FlowStoreWarning, match=r"(?s)2 lines of the split.*wave/gone 12 1.*no such.*has no flow"):
        select_videos(store, [f"split=mmaction2:{tmp_path}/list.txt"])


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        ("wave", "expected class=NAME, name=PATTERN or split="),
        ("label=wave", "expected class=NAME"),
        ("class=", "expected class=NAME"),
        ("class=wav", "no class 'wav' in .*; did you mean 'wave'"),
        ("name=c_*", r"selection 'name=c_\*': no video of"),
        ("name=[a]*", "no video of"),
        ("split=hmdb:x", "expected hmdb51:FOLDER:1:train, .*did you mean 'hmdb51'"),
        ("split=hmdb51:x:1", "expected its part too, such as hmdb51:x:1:train"),
        ("split=hmdb51:x:4:train", "expected hmdb51:FOLDER"),
        ("split=hmdb51:x", "expected hmdb51:FOLDER"),
        ("split=kinetics:", "expected hmdb51:FOLDER"),
    ],
)
def test_choices_that_cannot_be_are_refused(store, choice, said):
    with pytest.raises(ArgumentError, match=said):
        select_videos(store, [choice])


def test_choices_that_leave_nothing_are_refused(store):
    with pytest.raises(ArgumentError, match="is of each"):
        select_videos(store, ["class=brush hair", "name=b_*"])


def test_a_split_file_that_is_not_there(tmp_path):
    for text in (f"hmdb51:{tmp_path}/none:1:train", f"mmaction2:{tmp_path}/none.txt", f"kinetics:{tmp_path}/k.csv:val"):
        with pytest.raises(SourceError):
            read_split(text)
