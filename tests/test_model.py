"""Records of videos: what they refuse, and through JSON and back."""

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstore.errors import ArgumentError
from flowstore.model import Fingerprint, MotionStatistics, VideoRecord

STATISTICS = MotionStatistics(1.5, 9.25, 7.0, 3, 4, 0.001, (1.0, 2.0))
FINGERPRINT = Fingerprint(1000, 1_700_000_000_000_000_000, "ab" * 16)
GOOD = VideoRecord(
    class_name="wave",
    name="v.avi",
    status="ok",
    source_path="wave/v.avi",
    source_kind="video",
    fingerprint=FINGERPRINT,
    n_frames=3,
    n_flows=2,
    height=24,
    width=32,
    fps=10.0,
    size_bytes=3072,
    shard_sizes=(2000, 1072),
    statistics=STATISTICS,
    warnings=("2 frames fewer than announced",),
    created="2024-05-01T12:00:00Z",
    versions={"flowstore": "0.1.0"},
)
FAILED = VideoRecord("wave", "w.avi", "failed", "wave/w.avi", "video", reason="no frame could be decoded")

finite = st.floats(0, 1e9)
statistics = st.builds(
    MotionStatistics,
    finite,
    finite,
    finite,
    st.integers(0, 2**50),
    st.integers(0, 2**50),
    st.floats(0, 1),
    st.lists(finite).map(tuple),
)
fingerprints = st.builds(Fingerprint, st.integers(0), st.integers(0, 2**63), st.text("0123456789abcdef"))
# Names may hold bytes that are not UTF-8, as surrogate escapes.
names = st.text(st.characters() | st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF, categories=["Cs"]))
good_records = st.builds(
    VideoRecord,
    class_name=names,
    name=names,
    status=st.just("ok"),
    source_path=names,
    source_kind=st.sampled_from(["video", "frames"]),
    fingerprint=fingerprints,
    n_frames=st.integers(2, 2**40),
    n_flows=st.integers(1, 2**40),
    height=st.integers(1, 65535),
    width=st.integers(1, 65535),
    fps=st.none() | st.floats(0.1, 1000),
    size_bytes=st.integers(0, 2**60),
    shard_sizes=st.lists(st.integers(0, 2**40)).map(tuple),
    statistics=statistics,
    warnings=st.lists(st.text()).map(tuple),
    created=st.text(),
    versions=st.dictionaries(st.text(), st.text()),
)
failed_records = st.builds(
    VideoRecord,
    class_name=names,
    name=names,
    status=st.just("failed"),
    source_path=names,
    source_kind=st.sampled_from(["video", "frames"]),
    reason=st.text(min_size=1),
    fingerprint=st.none() | fingerprints,
)


@given(st.one_of(good_records, failed_records))
def test_json_gives_the_same_record_back(record):
    assert VideoRecord.from_json(json.loads(json.dumps(record.to_json()))) == record


@given(st.one_of(good_records, failed_records))
def test_tuples_in_place_of_lists_do_as_well(record):
    assert VideoRecord.from_json(record.to_json()) == record


def test_json_holds_every_field_by_name():
    values = GOOD.to_json()
    assert list(values) == [field.name for field in dataclasses.fields(VideoRecord)]
    assert values["fingerprint"] == {"size_bytes": 1000, "mtime_ns": 1_700_000_000_000_000_000, "digest": "ab" * 16}
    assert values["statistics"]["p99_magnitude"] == 7.0


def test_statistics_go_through_json():
    values = json.loads(json.dumps(STATISTICS.to_json()))
    assert values["flow_means"] == [1.0, 2.0]
    assert MotionStatistics.from_json(values) == STATISTICS


def test_records_of_an_older_version_lack_what_has_a_default():
    values = {key: FAILED.to_json()[key] for key in ("class_name", "name", "status", "source_path", "source_kind")}
    assert VideoRecord.from_json(values | {"reason": FAILED.reason}) == FAILED


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"name": "v"},
        GOOD.to_json() | {"color": "red"},
        GOOD.to_json() | {"fingerprint": {"size_bytes": 1}},
        GOOD.to_json() | {"fingerprint": {"size_bytes": 1, "mtime_ns": 2, "digest": "", "more": 3}},
        GOOD.to_json() | {"statistics": {"mean_magnitude": 1.0}},
        GOOD.to_json() | {"statistics": STATISTICS.to_json() | {"more": 1}},
        GOOD.to_json() | {"shard_sizes": 5},
    ],
)
def test_json_that_is_no_record_is_refused(values):
    with pytest.raises(ArgumentError, match="not the record of a video"):
        VideoRecord.from_json(values)


@pytest.mark.parametrize(
    ("record", "change", "message"),
    [
        (GOOD, {"status": "done"}, "status is 'done', expected 'ok' or 'failed'"),
        (GOOD, {"status": ""}, "status is ''"),
        (GOOD, {"reason": "strange"}, "'v.avi' is ok, so it needs flows and statistics and no reason"),
        (GOOD, {"n_flows": 0}, "'v.avi' is ok"),
        (GOOD, {"n_flows": -1}, "'v.avi' is ok"),
        (GOOD, {"statistics": None}, "'v.avi' is ok"),
        (GOOD, {"status": "failed"}, "'v.avi' failed, so it needs a reason and no flows"),
        (FAILED, {"reason": ""}, "'w.avi' failed"),
        (FAILED, {"n_flows": 1}, "'w.avi' failed"),
        (FAILED, {"status": "ok"}, "'w.avi' is ok"),
    ],
)
def test_records_that_contradict_themselves_are_refused(record, change, message):
    with pytest.raises(ArgumentError, match=message):
        dataclasses.replace(record, **change)


def test_the_smallest_good_record_has_one_flow():
    assert dataclasses.replace(GOOD, n_flows=1, n_frames=2).is_ok
    assert GOOD.is_ok
    assert not FAILED.is_ok


@pytest.mark.parametrize(("fps", "n_frames", "seconds"), [(10.0, 25, 2.5), (29.97, 2997, 100.0), (None, 25, None)])
def test_duration(fps, n_frames, seconds):
    assert dataclasses.replace(GOOD, fps=fps, n_frames=n_frames).duration_s == pytest.approx(seconds)


def test_a_copy_with_another_time_stamp_is_the_same_content():
    assert FINGERPRINT.is_same(dataclasses.replace(FINGERPRINT, mtime_ns=1))
    assert not FINGERPRINT.is_same(dataclasses.replace(FINGERPRINT, size_bytes=1001))
    assert not FINGERPRINT.is_same(dataclasses.replace(FINGERPRINT, digest="cd" * 16))


@pytest.mark.parametrize("value", [GOOD, STATISTICS, FINGERPRINT])
def test_values_cannot_be_changed(value):
    name = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, name, "new")
