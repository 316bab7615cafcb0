"""What a plan foretells, bytes and seconds, against the store that is made then."""

import math
import os
import shutil

import numpy as np
import pytest
from datasets import call
from store_factory import make_frames, write_avi
from video_files import encode

import flowstore
from flowstore.export import export
from flowstore.importer import import_flow
from flowstore.importer.run import measure_import, plan_import
from flowstore.pipeline import extract, forecast, plan_extract
from flowstore.pipeline.run import is_worth_measuring, measure_plan
from flowstore.pipeline.settings import make_settings
from flowstore.sources.videos import VideoFile


@pytest.fixture(autouse=True)
def unhurried(monkeypatch):
    """A machine with other work gets through few looks in a second."""
    monkeypatch.setattr(forecast, "_MEASURING_S", math.inf)
    monkeypatch.setattr(forecast, "_MOST_LOOK_S", math.inf)


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    """A long still video, a busy one that begins still, and two short ones, one of small and one of large frames."""
    folder = tmp_path_factory.mktemp("forecast")
    write_avi(folder / "c/still.avi", frames=make_frames(1, 1, 96, 128) * 80)
    moving = make_frames(40, 2, 96, 128)
    write_avi(folder / "c/late.avi", frames=moving[:1] * 30 + moving)
    write_avi(folder / "c/small.avi", frames=make_frames(12, 3, 48, 64))
    encode(folder / "c/large.mp4", make_frames(20, 4, 192, 256), "mp4", "libx264")
    return folder


def stored_bytes(root) -> int:
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": "small"},
        {"compression": "none"},
        {"dtype": "float16"},
        {"max_error": 0.16},
        {"fps": 5},
        {"step": 3, "short_side": 40},
        {"algorithm": "dis"},
    ],
    ids=lambda options: " ".join(options) or "default",
)
def test_bytes_are_foretold_within_a_quarter(videos, tmp_path, options):
    root = tmp_path / "s.zarr"
    settings = make_settings(**{"engine": "opencv"} | options)
    planned = measure_plan(plan_extract(videos, root, settings))
    assert not root.exists()
    report = extract(videos, root, engine="opencv", scheduler="sync", **options)
    assert report.is_all_well
    assert planned.estimate.size_bytes == pytest.approx(stored_bytes(root), rel=0.25)
    assert " of one worker, as measured on " in str(planned)


def test_many_videos_are_foretold_from_some(videos, tmp_path):
    """The largest files are still, and the longest: what stands for all is spread over all."""
    source = tmp_path / "in"
    (source / "c").mkdir(parents=True)
    for name, n_copies in (("still.avi", 8), ("small.avi", 62)):
        for number in range(n_copies):
            os.link(videos / "c" / name, source / "c" / f"{number}_{name}")
    planned = measure_plan(plan_extract(source, tmp_path / "s.zarr", make_settings(engine="opencv")))
    extract(source, tmp_path / "s.zarr", engine="opencv", scheduler="sync")
    assert planned.estimate.n_probed < 70
    assert planned.estimate.n_frames == pytest.approx(8 * 80 + 62 * 12, rel=0.1)
    assert planned.estimate.size_bytes == pytest.approx(stored_bytes(tmp_path / "s.zarr"), rel=0.25)


def test_videos_that_cannot_be_read_take_nothing_and_where_none_can_the_estimate_is_rough(videos, tmp_path):
    source, settings = tmp_path / "in", make_settings(engine="opencv")
    (source / "c").mkdir(parents=True)
    (source / "c/text.avi").write_bytes(bytes(2**20))
    # Its header is whole, and no frame can be decoded.
    bad = bytearray((videos / "c/small.avi").read_bytes())
    for at in range(len(bad)):
        if bad[at : at + 2] == b"\xff\xd8":
            bad[at : at + 400] = bytes(400)
    (source / "c/bad.avi").write_bytes(bad)
    planned = measure_plan(plan_extract(source, tmp_path / "s.zarr", settings))
    assert planned.estimate.n_frames == 12
    assert planned.estimate.n_measured == 0
    assert planned.estimate.seconds is None
    assert "of flow, a rough estimate (nothing could be measured: " in str(planned)


def test_seconds_are_those_of_a_flow_once_everything_is_loaded(videos, tmp_path, monkeypatch):
    """Of a clock that the estimator drives: 9 s to load, 3 for a video's first frames, then 0.25 a flow of 128×96."""
    now, loading = [0.0], [9.0]
    monkeypatch.setattr(forecast, "perf_counter", lambda: now[0])

    def encode_part(source, settings, start, n_flows):
        found = source.probe()
        now[0] += loading.pop() if loading else 0.0
        now[0] += 3.0
        for _ in range(n_flows):
            now[0] += 0.25 * found[0] * found[1] / (96 * 128)
            yield np.zeros((2, *found[:2]), np.uint8)

    planned = plan_extract(videos, tmp_path / "s.zarr", make_settings(engine="opencv"))
    measured = measure_plan(planned, encode_part=encode_part)
    assert measured.estimate.seconds == pytest.approx(0.25 * (79 + 69 + 11 / 4 + 19 * 4))
    assert measured.describe_time("threads", 1) == ", about 57 s"
    # Of a slow estimator two flows are made, and no more.
    monkeypatch.setattr(forecast, "_MOST_LOOK_S", 3.0)
    assert measure_plan(planned, encode_part=encode_part).estimate.n_measured == 2


@pytest.mark.parametrize("name", ["small.avi", "large.mp4"])
def test_a_look_begins_where_it_is_asked_to(videos, name):
    path = str(videos / "c" / name)
    every = list(VideoFile(path).read_frames())
    for share in (0.0, 0.26, 0.5, 0.9):
        found = next(VideoFile(path, start=share).read_frames())
        number = min(range(len(every)), key=lambda n: np.abs(every[n].astype(int) - found).sum())
        assert number == pytest.approx(share * len(every), abs=1)
        np.testing.assert_array_equal(found, every[number])


def test_where_a_video_cannot_be_begun_in_the_middle_its_beginning_is_looked_at(tmp_path):
    """A transport stream has no index: FFmpeg finds no key frame behind the only one."""
    (tmp_path / "in/c").mkdir(parents=True)
    encode(tmp_path / "in/c/a.ts", make_frames(40, 5, 96, 128), "mpegts", "libx264", options={"g": "40"})
    planned = measure_plan(plan_extract(tmp_path / "in", tmp_path / "s.zarr", make_settings(engine="opencv")))
    extract(tmp_path / "in", tmp_path / "s.zarr", engine="opencv", scheduler="sync")
    assert planned.estimate.size_bytes == pytest.approx(stored_bytes(tmp_path / "s.zarr"), rel=0.25)


def test_an_import_is_foretold_within_a_quarter(videos, tmp_path):
    extract(videos, tmp_path / "a.zarr", engine="opencv", scheduler="sync")
    export(flowstore.open_store(tmp_path / "a.zarr"), tmp_path / "out", "tsn", scheduler="sync")
    planned = measure_import(plan_import(tmp_path / "out", tmp_path / "b.zarr"))
    import_flow(tmp_path / "out", tmp_path / "b.zarr", scheduler="sync")
    assert planned.estimate.size_bytes == pytest.approx(stored_bytes(tmp_path / "b.zarr"), rel=0.25)


def test_a_small_run_is_not_measured_unless_the_disk_may_be_too_small(videos, tmp_path, monkeypatch):
    planned = plan_extract(videos, tmp_path / "s.zarr", make_settings(engine="opencv"))
    assert not is_worth_measuring(planned)
    assert "a rough estimate" in str(planned)
    room = planned.estimate.stored_bytes(1.0) - 1
    monkeypatch.setattr(shutil, "disk_usage", lambda path: type("Usage", (), {"total": room, "free": room}))
    assert is_worth_measuring(planned)


def test_a_dry_run_tells_bytes_and_time(videos, tmp_path):
    done = call("extract", videos, tmp_path / "s.zarr", "--engine", "opencv", "--dry-run")
    assert "s of one worker, as measured on" in done.out
    assert ", about " in done.out.splitlines()[-1]
