"""The table of clips: what each item holds, and that it is small and quickly made."""

import pickle
import time

import numpy as np
import pytest
from store_factory import failed_record, make_record

from flowstore.clips.table import ClipRule, ClipTable
from flowstore.errors import ArgumentError, NameNotFoundError
from flowstore.splits import Split, SplitLine
from flowstore.store.video_index import VideoIndex

LENGTHS = {"b/x": 5, "b/y": 3, "a/z": 12, "c/w": 1}


@pytest.fixture
def index():
    records = [make_record(*key.split("/"), n, height=4 + n, width=9) for key, n in LENGTHS.items()]
    return VideoIndex.from_records([*records, failed_record("b", "broken", "no frame"), failed_record("d", "v", "no")])


class LargeIndex:
    """What a table takes of the index of many videos, of 400 classes."""

    def __init__(self, n_videos):
        numbers = np.arange(n_videos)
        classes = [f"class_{number * 400 // n_videos:03d}" for number in numbers]
        paths = [f"{name}/video_of_some_length_{number:07d}" for name, number in zip(classes, numbers, strict=True)]
        self._columns = {
            "class": np.array(classes, object),
            "path": np.array(paths, object),
            "status": np.full(n_videos, "ok", object),
            "n_flows": np.full(n_videos, 250),
            "height": np.full(n_videos, 240, np.int32),
            "width": np.full(n_videos, 320, np.int32),
        }

    def column(self, name):
        return self._columns[name]

    def class_name(self, number):
        return self._columns["class"][number]


def test_one_item_a_video_labels_from_all_classes(index):
    table = ClipTable(index, ClipRule(length=2))
    assert [table.path(row) for row in range(len(table))] == ["a/z", "b/x", "b/y", "c/w"]
    # A class whose videos all failed still has its number: labels do not move when a video is mended.
    assert table.classes == ["a", "b", "c", "d"]
    assert table.targets.tolist() == [0, 1, 1, 2]
    assert [table.draw(n, 0).size for n in range(4)] == [(16, 9), (9, 9), (7, 9), (5, 9)]


def test_all_has_an_item_for_each_start(index):
    table = ClipTable(index, ClipRule(length=2, stride=2, sampling="all"))
    items = [table.draw(number, 0) for number in range(len(table))]
    expected = [
        (path, [start, min(start + 2, n - 1)]) for path, n in sorted(LENGTHS.items()) for start in range(max(1, n - 2))
    ]
    assert [(item.path, item.flows[0].tolist()) for item in items] == expected


@pytest.mark.parametrize("sampling", ["random", "tsn", "dense"])
def test_seed_epoch_and_number_decide_alone(sampling):
    index = LargeIndex(3)

    def flows(seed=0, epoch=0, number=0):
        return ClipTable(index, ClipRule(2, clips=3, sampling=sampling, seed=seed)).draw(number, epoch).flows.tolist()

    assert flows() == flows()
    assert len({str(flows(epoch=epoch)) for epoch in range(20)}) > 10
    assert len({str(flows(seed=seed)) for seed in range(20)}) > 10
    assert len({str(flows(number=number)) for number in range(3)}) == 3


def test_both_ends_are_drawn(index):
    table = ClipTable(index, ClipRule(length=3))
    starts = {int(table.draw(0, epoch).flows[0, 0]) for epoch in range(200)}
    assert starts == set(range(12 - 3 + 1))


def test_short_videos(index):
    assert len(ClipTable(index, ClipRule(length=4, short="drop"))) == 2
    assert ClipTable(index, ClipRule(length=4, short="repeat")).draw(3, 0).flows.tolist() == [[0, 0, 0, 0]]
    assert ClipTable(index, ClipRule(length=4, short="loop")).draw(2, 0).flows.tolist() == [[0, 1, 2, 0]]
    with pytest.raises(ArgumentError, match="2 videos shorter than a clip of 4 flows, the first is b/y with 3"):
        ClipTable(index, ClipRule(length=4, short="error"))
    with pytest.raises(ArgumentError, match="no video is left"):
        ClipTable(index, ClipRule(length=40, short="drop"))


def test_a_split_by_names(index):
    table = ClipTable(index, ClipRule(1), ["c/w", "b/x"])
    assert [table.path(row) for row in range(len(table))] == ["b/x", "c/w"]
    assert table.classes == ["a", "b", "c", "d"]
    assert table.targets.tolist() == [1, 2]
    with pytest.raises(NameNotFoundError, match="2 videos of the split without flow here, the first is b/broken"):
        ClipTable(index, ClipRule(1), ["b/x", "b/broken", "b/none"])
    with pytest.raises(ArgumentError, match="split is 'b/x', expected names of videos"):
        ClipTable(index, ClipRule(1), "b/x")
    with pytest.raises(NameNotFoundError, match="split names 'x', expected class/video"):
        ClipTable(index, ClipRule(1), ["x"])


def test_labels_of_the_split(index):
    rows = {"b/y": SplitLine("f:1", "", None, ("y",), 7), "a/z": SplitLine("f:2", "", None, ("z",), 0)}
    table = ClipTable(index, ClipRule(1), Split(rows), "split")
    assert [(table.path(n), table.targets[n]) for n in range(2)] == [("a/z", 0), ("b/y", 7)]
    assert table.classes == [str(number) for number in range(8)]
    for split in (None, ["b/x"], Split({"b/y": SplitLine("f:1", "", None, ("y",))})):
        with pytest.raises(ArgumentError, match="labels is 'split', but the split has none"):
            ClipTable(index, ClipRule(1), split, "split")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"length": 0}, "length is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"clips": 0}, "clips is 0, expected a whole number, 1 or more"),
        ({"clips": 2, "sampling": "all"}, "clips is 2, expected 1 with sampling all"),
        ({"sampling": "best"}, "sampling is 'best'"),
        ({"short": "pad"}, "short is 'pad'"),
        ({"seed": -1}, "seed is -1"),
    ],
)
def test_rules_are_checked(changes, message):
    with pytest.raises(ArgumentError, match=message):
        ClipRule(**changes)


def test_a_table_of_300_000_videos_is_made_in_a_second_and_is_small():
    index = LargeIndex(300_000)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        table = ClipTable(index, ClipRule())
        table.draw(0, 0)
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1
    assert table.path(123_456) == index.column("path")[123_456]
    assert table.path(299_999) == index.column("path")[299_999]
    data = pickle.dumps(table)
    assert len(data) < 25e6
    copy = pickle.loads(data)
    assert copy.draw(299_999, 3).flows.tolist() == table.draw(299_999, 3).flows.tolist()
