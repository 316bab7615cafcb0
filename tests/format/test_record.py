"""The values that pass between modules: checked on making, whole after JSON."""

import json
import os
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.format.record import VideoRecord
from flowstore.quantize.motion import MotionStatistics
from flowstore.sources.fingerprint import Fingerprint

finite = st.floats(0, 1e6)
names = st.text(min_size=1, max_size=20) | st.binary(min_size=1, max_size=20).map(os.fsdecode)
fingerprints = st.builds(Fingerprint, st.integers(0, 2**50), st.integers(0, 2**63), st.text("0123456789abcdef"))
statistics = st.builds(
    MotionStatistics,
    finite,
    finite,
    finite,
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.floats(0, 1),
    st.lists(finite, max_size=5).map(tuple),
)
common = {
    "class_name": names,
    "name": names,
    "source_path": names,
    "source_kind": st.sampled_from(["video", "frames"]),
    "fingerprint": st.none() | fingerprints,
    "n_frames": st.integers(0, 10**6),
    "fps": st.none() | st.floats(0.1, 1000),
    "source_fps": st.none() | st.floats(0.1, 1000),
    "n_source_frames": st.integers(0, 10**6),
    "warnings": st.lists(st.text(), max_size=3).map(tuple),
    "versions": st.dictionaries(st.text(), st.text(), max_size=3),
}
good_records = st.builds(
    VideoRecord,
    status=st.just("ok"),
    n_flows=st.integers(1, 10**6),
    height=st.integers(1, 9999),
    width=st.integers(1, 9999),
    size_bytes=st.integers(0, 2**50),
    shard_sizes=st.lists(st.integers(1, 2**26), max_size=4).map(tuple),
    statistics=statistics,
    **common,
)
failed_records = st.builds(VideoRecord, status=st.just("failed"), reason=st.text(min_size=1), **common)


def good_record():
    motion = MotionStatistics(1.0, 9.0, 7.0, 3, 4, 0.5, (1.0, 2.0))
    return VideoRecord("wave", "a", "ok", "wave/a.avi", "video", n_frames=50, n_flows=49, fps=25.0, statistics=motion)


@given(good_records | failed_records)
def test_a_record_survives_json(record):
    text = json.dumps(record.to_json(), allow_nan=False)
    assert VideoRecord.from_json(json.loads(text)) == record


@given(statistics)
def test_statistics_survive_json(motion):
    assert MotionStatistics.from_json(json.loads(json.dumps(motion.to_json()))) == motion


def test_a_record_is_a_value():
    record = good_record()
    assert record.is_ok
    assert record.duration_s == 2
    assert replace(record, fps=None).duration_s is None
    with pytest.raises(FrozenInstanceError):
        record.n_flows = 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"status": "half"}, "status is 'half', expected 'ok' or 'failed'"),
        ({"reason": "why"}, "video 'a' is ok, so it needs flows and statistics and no reason"),
        ({"n_flows": 0}, "video 'a' is ok, so it needs flows"),
        ({"statistics": None}, "video 'a' is ok, so it needs flows and statistics"),
        ({"status": "failed"}, "video 'a' failed, so it needs a reason and no flows"),
        ({"status": "failed", "reason": "why"}, "video 'a' failed, so it needs a reason and no flows"),
        ({"status": "failed", "n_flows": 0}, "video 'a' failed, so it needs a reason"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(changes, message):
    with pytest.raises(ArgumentError, match=message):
        replace(good_record(), **changes)


GOOD = good_record().to_json()


@pytest.mark.parametrize(
    "values",
    [
        {name: value for name, value in GOOD.items() if name != "class_name"},
        {name: value for name, value in GOOD.items() if name != "source_kind"},
        GOOD | {"color": "red"},
        GOOD | {"source_fps": 0},
        GOOD | {"shard_sizes": 5},
        GOOD | {"shard_sizes": None},
        GOOD | {"fingerprint": {"size_bytes": 1}},
        GOOD | {"statistics": {"mean_magnitude": 1.0}},
        GOOD | {"statistics": [1]},
        GOOD | {"status": None},
        {},
    ],
    ids=lambda values: ", ".join(f"{k}={v}" for k, v in values.items() if GOOD.get(k) != v) or f"{len(values)} fields",
)
def test_what_is_no_record_is_refused(values):
    with pytest.raises(ArgumentError):
        VideoRecord.from_json(values)


def test_a_fingerprint_knows_a_copy_by_its_content():
    print_ = Fingerprint(100, 1, "aa")
    assert print_.is_same(Fingerprint(100, 2, "aa"))
    assert not print_.is_same(Fingerprint(101, 1, "aa"))
    assert not print_.is_same(Fingerprint(100, 1, "ab"))
