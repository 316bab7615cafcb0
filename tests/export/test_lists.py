"""Lists for training code: what their readers make of each line, and labels that the classes beside them name."""

import pytest
from store_factory import make_codes, write_store

import flowstore
from flowstore.errors import ArgumentError, FlowStoreWarning
from flowstore.export import export
from flowstore.export.lists import frame_dir_of, plan_lists
from flowstore.export.plan import ExportOptions, plan_export
from flowstore.export.run import run_export
from flowstore.layouts import LAYOUTS
from flowstore.splits import read_mmaction2

LENGTHS = {"wave/b": 5, "jump/a": 3, "wave/c": 2, "Run/d": 1}


@pytest.fixture
def root(tmp_path):
    write_store(tmp_path / "s.zarr", {key: make_codes(n, 8, 8) for key, n in LENGTHS.items()}, {"wave/bad": "no frame"})
    return tmp_path / "s.zarr"


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def test_all(root, tmp_path):
    report = export(root, tmp_path / "out", "mmaction2", lists=("all",), scheduler="sync")
    folder = tmp_path / "out" / "annotations"
    assert lines(folder / "all.txt") == ["Run/d 1 0", "jump/a 3 1", "wave/b 5 2", "wave/c 2 2"]
    assert lines(folder / "all_classes.txt") == ["0 Run", "1 jump", "2 wave"]
    assert "annotations/all.txt: 4 lines" in str(report)
    assert report.to_json()["lists"] == {"annotations/all.txt": 4, "annotations/all_classes.txt": 3}
    # The project's own reader of such lists finds the videos again.
    assert len(read_mmaction2(folder / "all.txt").match(flowstore.open_store(root).videos).rows) == 4


def test_a_list_counts_what_was_written(root, tmp_path):
    export(root, tmp_path / "out", "tsn", lists=("all",), pad_last=True, select=("class=wave",), scheduler="sync")
    # Labels do not change with the selection. TSN's reader opens paths as they stand.
    assert lines(tmp_path / "out/annotations/all.txt") == [f"{tmp_path}/out/b 6 2", f"{tmp_path}/out/c 3 2"]


def test_a_damaged_video_is_in_no_list(root, tmp_path):
    (root / "wave/b/flow/c.0.0.0.0").write_bytes(b"damaged")
    report = export(root, tmp_path / "out", "mmaction2", lists=("all",), scheduler="sync")
    assert len(report.failures) == 1
    assert lines(tmp_path / "out/annotations/all.txt") == ["Run/d 1 0", "jump/a 3 1", "wave/c 2 2"]


def test_official_splits(root, tmp_path):
    splits = tmp_path / "splits"
    splits.mkdir()
    for name, text in (("wave", "b.avi 1 \nc.avi 2 \n"), ("jump", "a.avi 1 \n"), ("Run", "d.avi 0 \n")):
        (splits / f"{name}_test_split1.txt").write_text(text)
    export(root, tmp_path / "out", "mmaction2", lists=(f"hmdb51:{splits}:1",), scheduler="sync")
    folder = tmp_path / "out" / "annotations"
    assert lines(folder / "hmdb51_train_split_1.txt") == ["jump/a 3 1", "wave/b 5 2"]
    assert lines(folder / "hmdb51_test_split_1.txt") == ["wave/c 2 2"]
    assert lines(folder / "hmdb51_test_split_1_classes.txt") == ["0 Run", "1 jump", "2 wave"]


def test_labels_of_the_files_themselves(root, tmp_path):
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "classInd.txt").write_text("1 wave\n2 jump\n3 Run\n")
    (splits / "trainlist01.txt").write_text("wave/b.avi 1\njump/a.avi 2\n")
    (splits / "testlist01.txt").write_text("Run/d.avi\nwave/c.avi\n")
    (splits / "mine.txt").write_text("wave/b 99 7\n")
    requests = (f"ucf101:{splits}:1", f"mmaction2:{splits}/mine.txt")
    export(root, tmp_path / "out", "mmaction2", lists=requests, scheduler="sync")
    folder = tmp_path / "out" / "annotations"
    assert lines(folder / "ucf101_train_split_1.txt") == ["jump/a 3 1", "wave/b 5 0"]
    assert lines(folder / "ucf101_test_split_1.txt") == ["Run/d 1 2", "wave/c 2 0"]
    assert lines(folder / "ucf101_test_split_1_classes.txt") == ["0 wave", "1 jump", "2 Run"]
    # Numbers without names stay, and nothing claims to name them.
    assert lines(folder / "mmaction2_mine.txt") == ["wave/b 5 7"]
    assert not (folder / "mmaction2_mine_classes.txt").exists()


def test_lines_that_name_no_video_are_said(root, tmp_path):
    (tmp_path / "k.csv").write_text("label,youtube_id,time_start,time_end,split\nwave,b,0,1,val\nwave,gone,0,1,val\n")
    with pytest.warns(FlowStoreWarning, match=r"(?s)1 line of the split.*gone"):
        found = plan_lists(flowstore.open_store(root), (f"kinetics:{tmp_path}/k.csv:val",))
    assert [wanted.name for wanted in found] == ["kinetics_k_val"]


def test_a_list_without_a_video_is_left_out_and_said_and_never_holds_all(root, tmp_path):
    splits = tmp_path / "splits"
    splits.mkdir()
    (splits / "wave_test_split1.txt").write_text("gone.avi 1 \nb.avi 2 \n")
    with pytest.warns(
        FlowStoreWarning, match="list hmdb51_train_split_1: none of the videos that .*:train names is in"
    ):
        export(root, tmp_path / "out", "mmaction2", lists=(f"hmdb51:{splits}:1",), scheduler="sync")
    assert lines(tmp_path / "out/annotations/hmdb51_test_split_1.txt") == ["wave/b 5 2"]
    assert not (tmp_path / "out/annotations/hmdb51_train_split_1.txt").exists()


@pytest.mark.parametrize(
    ("line", "select", "why"), [("nowhere/x", (), "is in"), ("wave/b", ("class=jump",), "is exported")]
)
def test_a_list_without_a_video_is_refused_where_it_was_all_that_was_asked_for(root, tmp_path, line, select, why):
    (tmp_path / "other.txt").write_text(f"{line} 6 7\n")
    with pytest.raises(ArgumentError, match=f"list mmaction2_other: none of the videos that .* names {why}"):
        export(root, tmp_path / "out", "mmaction2", lists=(f"mmaction2:{tmp_path}/other.txt",), select=select)
    assert not (tmp_path / "out").exists()


def test_lists_of_tsm_count_the_files_of_both_components(tmp_path):
    write_store(tmp_path / "s.zarr", {"wave/000012": make_codes(4, 8, 8), "jump/1000003": make_codes(3, 8, 8)})
    export(tmp_path / "s.zarr", tmp_path / "out", "tsm-sthv1", lists=("all",), scheduler="sync")
    found = [line.split() for line in lines(tmp_path / "out/annotations/all.txt")]
    assert found == [["1000003", "6", "0"], ["000012", "8", "1"]]
    # What TSM's ops/dataset.py does with a line: the count is halved, the path becomes a number of six digits.
    for path, count, _ in found:
        folder, last = f"{int(path):06d}", int(int(count) / 2)
        names = [f"{int(path):06d}-{axis}_{number:05d}.jpg" for axis in "xy" for number in range(1, last + 1)]
        assert sorted(names) == sorted(file.name for file in (tmp_path / "out" / folder).iterdir())


@pytest.mark.parametrize("name", ["42", "00042", "0000042", "some_video"])
def test_lists_of_tsm_refuse_names_that_its_reader_changes(tmp_path, name):
    write_store(tmp_path / "s.zarr", {f"wave/{name}": make_codes(1, 8, 8)})
    with pytest.raises(ArgumentError, match="opens folders of numbers with six digits, such as 000042"):
        export(tmp_path / "s.zarr", tmp_path / "out", "tsm-sthv1", lists=("all",))


def test_a_folder_with_white_space_is_refused_where_lists_hold_it(root, tmp_path):
    with pytest.raises(ArgumentError, match="a list cannot hold the folder of the export with white space"):
        export(root, tmp_path / "my out", "tsn", lists=("all",))
    export(root, tmp_path / "my out", "mmaction2", lists=("all",), scheduler="sync")


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        ("mmaction2", "wave/v"),
        ("notebook-tidy", "wave/v/flows"),
        ("tsn", "v"),
        ("twostream", "v"),
        ("gpu-flow", "wave/v"),
        ("flowty", "v"),
        ("charades", "v"),
        ("coclr", "wave/v"),
        ("npy", "wave/v.npy"),
    ],
)
def test_where_a_video_is(layout, expected):
    assert frame_dir_of(LAYOUTS[layout], "wave", "v") == expected


@pytest.mark.parametrize("name", ["a b", "a\tb", "a\u2028b", "a\nb"], ids=ascii)
def test_names_that_no_line_can_hold_are_refused_before_writing(tmp_path, name):
    write_store(tmp_path / "s.zarr", {f"wave/{name}": make_codes(1, 8, 8)})
    with pytest.raises(ArgumentError, match="cannot hold a name with white space"):
        export(tmp_path / "s.zarr", tmp_path / "out", "mmaction2", lists=("all",))
    assert not (tmp_path / "out").exists()
    export(tmp_path / "s.zarr", tmp_path / "out", "mmaction2", scheduler="sync")


def test_names_that_no_line_can_hold_are_left_out_by_choice(tmp_path):
    """Of the lists alone, whose every line mmaction2's, TSN's and TSM's ways to split take apart alike."""
    videos = {"wave/a b": 2, "wave/c\u2003d": 1, "wave/e": 3, "a jump/f": 1}
    write_store(tmp_path / "s.zarr", {key: make_codes(n, 8, 8) for key, n in videos.items()})
    with pytest.raises(ArgumentError, match=r"a list cannot hold a name .*\(and 2 more videos\); rename, leave such"):
        export(tmp_path / "s.zarr", tmp_path / "out", "mmaction2", lists=("all",))
    options = ExportOptions(lists=("all",), skip_unlisted=True)
    planned = plan_export(flowstore.open_store(tmp_path / "s.zarr"), tmp_path / "out", LAYOUTS["mmaction2"], options)
    assert "unlisted: 3 videos with names that no list can hold, the first is " in str(planned)
    assert sorted(planned.to_json()["unlisted"]) == ["a jump/f", "wave/a b", r"wave/c\u2003d"]
    report = run_export(planned, scheduler="sync")
    found = lines(tmp_path / "out/annotations/all.txt")
    # Labels do not change with what is left out.
    assert found == ["wave/e 3 1"]
    assert found[0].split() == found[0].split(" ")
    assert (report.n_videos, report.lists["annotations/all.txt"]) == (4, 1)
    assert "; 3 videos in no list" in str(report)
    assert len(list((tmp_path / "out").glob("*/*/x_00001.jpg"))) == 4
    # Where nothing would be left, there is no list to write.
    with pytest.raises(ArgumentError, match="rename, or leave out the lists"):
        export(tmp_path / "s.zarr", tmp_path / "my out", "tsn", lists=("all",), skip_unlisted=True)


@pytest.mark.parametrize("requests", [("some",), ("all", "all"), ("hmdb51:x",), ("hmdb51:nowhere:1",)])
def test_requests_that_cannot_be_are_refused_before_writing(root, tmp_path, requests):
    with pytest.raises((ArgumentError, OSError)):
        export(root, tmp_path / "out", "mmaction2", lists=requests)
    assert not (tmp_path / "out").exists()


def test_a_class_of_the_lists_name_is_refused(tmp_path):
    write_store(tmp_path / "s.zarr", {"annotations/a": make_codes(1, 8, 8)})
    with pytest.raises(ArgumentError, match="where the export keeps its own files"):
        export(tmp_path / "s.zarr", tmp_path / "out", "mmaction2", lists=("all",))
    export(tmp_path / "s.zarr", tmp_path / "out", "mmaction2", scheduler="sync")
