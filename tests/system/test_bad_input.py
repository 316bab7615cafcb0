"""Bad input ends in one clear line and the right exit code, and what is good beside it goes on."""

import errno
import json
import os
import re
import shutil
import stat

import numpy as np
import pytest
from datasets import call, tree, video_bytes, write_dataset, write_frames, write_video

import flowstore
from flowstore.errors import FailedVideoError

pytestmark = pytest.mark.system


@pytest.fixture
def source(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=1, n_frames=4)
    return tmp_path / "videos"


def refused(tmp_path, *args):
    """Run a command that has to be refused: exit code 2, one line, nothing on stdout and nothing written."""
    before = tree(tmp_path)
    outcome = call(*args)
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert tree(tmp_path) == before
    assert "Traceback" not in outcome.err
    return outcome.error_line


# ---- SOURCE


def test_missing_source(tmp_path):
    line = refused(tmp_path, "extract", tmp_path / "nowhere", tmp_path / "flow.zarr")
    assert line == f"flowstore: SOURCE {tmp_path}/nowhere: no such file or folder"


def test_source_below_a_file(source, tmp_path):
    line = refused(tmp_path, "extract", source / "run" / "v0.avi" / "x", tmp_path / "flow.zarr")
    assert "v0.avi/x: no such file or folder" in line


def test_empty_source(tmp_path):
    (tmp_path / "empty").mkdir()
    line = refused(tmp_path, "extract", tmp_path / "empty", tmp_path / "flow.zarr")
    assert "no videos found: expected class/video.avi" in line


def test_source_of_flow_images_only(tmp_path):
    (tmp_path / "flow").mkdir()
    for component in "xy":
        (tmp_path / "flow" / f"flow_{component}_0001.jpg").write_bytes(b"")
    line = refused(tmp_path, "extract", tmp_path / "flow", tmp_path / "flow.zarr")
    assert "flow" in line.partition("no videos")[2]


def test_source_too_deep(source, tmp_path):
    (tmp_path / "data" / "set").mkdir(parents=True)
    shutil.move(source, tmp_path / "data" / "set" / "videos")
    line = refused(tmp_path, "extract", tmp_path / "data", tmp_path / "flow.zarr")
    assert "--source-template '*/*/{class}/{video}' gives 2 classes (run, wave)" in line
    assert call("extract", tmp_path / "data", tmp_path / "f.zarr", "--source-template", "*/*/{class}/{video}").code == 0
    assert sorted(flowstore.open_store(tmp_path / "f.zarr")) == ["run", "wave"]


def test_source_that_is_a_store(source, tmp_path):
    assert call("extract", source, tmp_path / "flow.zarr").code == 0
    line = refused(tmp_path, "extract", tmp_path / "flow.zarr", tmp_path / "other.zarr")
    assert "this is a Zarr store, not a dataset of videos" in line


def test_source_that_is_no_video(tmp_path):
    (tmp_path / "notes.md").write_text("x")
    line = refused(tmp_path, "extract", tmp_path / "notes.md", tmp_path / "flow.zarr")
    assert "neither a folder nor, by its suffix, a video file" in line


def _deny(monkeypatch, denied):
    real = os.scandir

    def scandir(path="."):
        if os.fspath(path) == str(denied):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


def test_unreadable_source(source, tmp_path, monkeypatch):
    before = tree(tmp_path)
    _deny(monkeypatch, source)
    outcome = call("extract", source, tmp_path / "flow.zarr")
    monkeypatch.undo()
    assert outcome.code == 2
    assert outcome.error_line == f"flowstore: cannot list folder {source}: Permission denied"
    assert tree(tmp_path) == before


def test_unreadable_frame_folder_is_a_failed_video(source, tmp_path, monkeypatch):
    write_frames(source / "run" / "shut", 3)
    _deny(monkeypatch, source / "run" / "shut")
    outcome = call("extract", source, tmp_path / "flow.zarr", "--scheduler", "sync")
    monkeypatch.undo()
    assert outcome.code == 1
    assert "failed run/shut: " in outcome.err
    assert flowstore.open_store(tmp_path / "flow.zarr").n_videos == 2
    # Once it can be read it is extracted, without a flag.
    assert call("extract", source, tmp_path / "flow.zarr").code == 0
    assert flowstore.open_store(tmp_path / "flow.zarr").n_videos == 3


def test_list_file_that_is_missing_or_names_nothing(source, tmp_path):
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "wrong.txt").write_text("run/v9.avi\nwalk/v0.avi\n")
    for name, reason in (
        ("missing.txt", "No such file or directory"),
        ("empty.txt", "it names no video"),
        ("wrong.txt", "none of its 2 videos is found under"),
    ):
        line = refused(tmp_path, "extract", source, tmp_path / "flow.zarr", "--list", tmp_path / name)
        assert reason in line


# ---- STORE


@pytest.mark.parametrize("place", ["", "file", "full", "full/inner.txt", "zarr", "newer", "damaged"])
def test_store_that_is_none(source, tmp_path, place):
    (tmp_path / "file").write_text("x")
    for name, document in (
        ("zarr", {"zarr_format": 3, "node_type": "group", "attributes": {}}),
        ("newer", {"zarr_format": 3, "node_type": "group", "attributes": {"flowstore": {"format": 2}}}),
        ("damaged", {"zarr_format": 3, "node_type": "group", "attributes": {"flowstore": {"format": 1}}}),
        ("full", None),
    ):
        (tmp_path / name).mkdir()
        (tmp_path / name / "inner.txt").write_text("mine")
        if document:
            (tmp_path / name / "zarr.json").write_text(json.dumps(document))
    reason = {
        "": "an empty path",
        "file": "a file; give the path of a folder to make",
        "full": "a folder that is not a flowstore store",
        "full/inner.txt": "a file; give the path of a folder to make",
        "zarr": "not one of flowstore's",
        "newer": "a store of format 2, this flowstore reads up to 1: pip install -U flowstore",
        "damaged": "damaged settings",
    }[place]
    target = tmp_path / place if place else ""
    assert reason in refused(tmp_path, "extract", source, target)
    # Not even --overwrite empties what is no store of this version.
    assert reason in refused(tmp_path, "extract", source, target, "--overwrite")
    if place:
        reading = {"file": "no store here", "full/inner.txt": "no store here"}.get(place, reason)
        assert reading in refused(tmp_path, "info", target)
        assert reading in refused(tmp_path, "export", target, tmp_path / "images")


def test_store_inside_a_file_or_with_too_long_a_name(source, tmp_path):
    (tmp_path / "file").write_text("x")
    line = refused(tmp_path, "extract", source, tmp_path / "file" / "flow.zarr")
    assert f"{tmp_path}/file is a file; give the path of a folder to make" in line
    assert "File name too long" in refused(tmp_path, "extract", source, tmp_path / ("x" * 300))


def test_store_inside_the_source_is_no_video(source):
    assert call("extract", source, source / "flow.zarr").code == 0
    again = call("extract", source, source / "flow.zarr")
    assert again.code == 0
    assert "left out, Zarr stores: flow.zarr" in again.err
    assert "nothing to do: 2 videos" in again.out


def test_read_only_target(source, tmp_path, monkeypatch):
    def makedirs(path, *rest, **named):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    monkeypatch.setattr(os, "makedirs", makedirs)
    outcome = call("extract", source, tmp_path / "flow.zarr", "--quiet")
    assert outcome.code == 1
    assert outcome.error_line == f"flowstore: cannot write to {tmp_path}/flow.zarr: Permission denied"


def test_missing_store_class_and_video(source, tmp_path):
    assert "no store here; check the path" in refused(tmp_path, "info", tmp_path / "nowhere")
    assert call("extract", source, tmp_path / "flow.zarr").code == 0
    assert "no class 'runn' in" in refused(tmp_path, "info", tmp_path / "flow.zarr" / "runn")
    assert "did you mean 'run'?" in refused(tmp_path, "info", tmp_path / "flow.zarr" / "runn")
    assert "no video 'v1' in class 'run'" in refused(tmp_path, "info", tmp_path / "flow.zarr/run/v1")


# ---- options


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--bound", "0"], "bound is 0.0, expected a finite number of pixels above 0"),
        (["--bound", "-3"], "bound is -3.0, expected a finite number"),
        (["--bound", "nan"], "bound is nan, expected a finite number"),
        (["--bound", "inf"], "bound is inf, expected a finite number"),
        (["--bound", "big"], "Invalid value for '--bound': 'big'"),
        (["--dtype", "float16", "--bound", "20"], "leave out the bound"),
        (["--size", "0x0"], "size in pixels is 0, expected a whole number, 1 to 65535"),
        (["--size", "0x24"], "size in pixels is 0, expected a whole number, 1 to 65535"),
        (["--size", "-1x24"], "'-1x24' is not of the form WIDTHxHEIGHT"),
        (["--size", "32"], "'32' is not of the form WIDTHxHEIGHT"),
        (["--short-side", "0"], "short side in pixels is 0"),
        (["--size", "8x8", "--short-side", "8"], "choose one"),
        (["--step", "0"], "step in frames is 0, expected a whole number, 1 or more"),
        (["--fps", "0"], "fps is 0.0, expected a finite number above 0"),
        (["--fps", "nan"], "fps is nan, expected a finite number above 0"),
        (["--limit", "0"], "limit is 0, expected a whole number, 1 or more"),
        (["--part", "0/2"], "the part is 0, expected a whole number, 1 to 2"),
        (["--part", "3/2"], "the part is 3, expected"),
        (["--part", "half"], "'half' is not of the form I/N"),
        (["--include", "v[0]"], "no video is left to extract"),
        (["--workers", "0"], "workers is 0, expected a whole number, 1 or more"),
        (["--scheduler", "dask"], "scheduler is 'dask', expected one of auto, processes, threads, sync or an address"),
        (["--algorithm", "raft"], "algorithm is 'raft', expected one of farneback, dis, tvl1"),
        (["--engine", "cuda"], "engine is 'cuda', expected one of auto, numba, opencv"),
        (["--param", "winsz=15"], "farneback has no parameter 'winsz'; did you mean 'winsize'?"),
        (["--param", "winsize=big"], "farneback: winsize is 'big', expected a value such as 15"),
        (["--param", "winsize=1.5"], "winsize is '1.5', expected a whole number"),
        (["--param", "winsize=0"], "winsize is 0, expected 1 or more"),
        (["--param", "winsize"], "'winsize' is not of the form KEY=VALUE"),
        (["--encoding", "middle"], "'middle' is not one of 'centred'"),
        (["--compression", "best"], "'best' is not one of"),
        (["--bund", "3"], "Did you mean"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_options_that_cannot_be_used(source, tmp_path, options, reason):
    assert reason in refused(tmp_path, "extract", source, tmp_path / "flow.zarr", *options)


def test_fps_with_frame_folders(tmp_path):
    write_frames(tmp_path / "in" / "c" / "v", 4)
    line = refused(tmp_path, "extract", tmp_path / "in", tmp_path / "flow.zarr", "--fps", "5")
    assert "--fps 5 takes frames by a clock, which folders of frames do not have: give their frame rate by" in line
    assert "--source-fps" in line


def test_export_options_that_cannot_be_used(source, tmp_path):
    assert call("extract", source, tmp_path / "flow.zarr").code == 0
    (tmp_path / "file").write_text("x")
    for args, reason in (
        (["images", "--layout", "notebok"], "no layout 'notebok'; did you mean 'notebook'?"),
        (["images", "--bound", "nan"], "bound is nan"),
        (["images", "--quality", "101"], "quality is 101, expected a whole number, 0 to 100"),
        (["images", "--encoding", "keep", "--bound", "10"], "leave out the bound to keep them"),
        (["images", "--workers", "0"], "workers is 0"),
        (["file"], "a file; give the path of a folder"),
        (["flow.zarr"], "a Zarr store; give another folder"),
        (["flow.zarr/run"], "give another folder"),
        (["flow.zarr/images"], "inside the store; give a folder outside it"),
        ([], "Missing argument 'DEST'"),
    ):
        dest = [tmp_path / args[0], *args[1:]] if args else []
        assert reason in refused(tmp_path, "export", tmp_path / "flow.zarr", *dest)


# ---- videos


def _cut(path):
    size = os.path.getsize(path)
    os.truncate(path, size // 2)


@pytest.fixture
def bad_source(tmp_path):
    """Two good videos among every kind of bad one; and why each is bad."""
    folder = tmp_path / "videos" / "c"
    write_video(folder / "good.avi", 5)
    write_frames(folder / "good_frames", 5)
    (folder / "text.mp4").write_text("not a video\n" * 100)
    (folder / "zero.avi").write_bytes(b"")
    write_video(folder / "cut.avi", 40)
    _cut(folder / "cut.avi")
    write_video(folder / "cut_mp4.mp4", 40)
    _cut(folder / "cut_mp4.mp4")
    write_video(folder / "one.avi", 1)
    write_frames(folder / "one_frame", 1)
    for name, spoil in (("cut_jpeg", _cut), ("empty_jpeg", lambda path: path.write_bytes(b""))):
        write_frames(folder / name, 6)
        spoil(folder / name / "img_00004.jpg")
    write_frames(folder / "text_png", 6, suffix=".png")
    (folder / "text_png" / "img_00004.png").write_text("not an image")
    write_frames(folder / "two_sizes", 3)
    shutil.copy(folder / "good_frames" / "img_00001.jpg", folder / "two_sizes" / "img_00004.jpg")
    write_frames(folder / "other", 1, width=64)
    shutil.move(folder / "other" / "img_00001.jpg", folder / "two_sizes" / "img_00005.jpg")
    (folder / "other").rmdir()
    (folder / "no_frames").mkdir()
    os.mkfifo(folder / "pipe.avi")
    (folder / "dangling.avi").symlink_to(tmp_path / "nowhere")
    return tmp_path / "videos"


REASONS = {
    "text": "not a video that can be decoded, or damaged at its beginning",
    "zero": r"empty file \(0 bytes\)",
    "cut": r"stops at \d\.\d\d of 4\.00 s: .*",
    "cut_mp4": "not a video that can be decoded, or damaged at its beginning",
    "one": "1 frame: no flow",
    "one_frame": "1 frame: no flow",
    "cut_jpeg": r"img_00004.jpg is cut off after \d+ bytes",
    "empty_jpeg": r"img_00004.jpg is empty \(0 bytes\)",
    "text_png": "img_00004.png is not an image that can be decoded",
    "two_sizes": "img_00005.jpg is 64×24, the frames before it are 32×24",
    "no_frames": "no frame images in this folder",
    "pipe": "not a regular file",
    "dangling": "cannot be opened: No such file or directory",
}


@pytest.mark.parametrize("scheduler", ["sync", "threads"])
def test_a_bad_video_is_a_failed_row_and_stops_no_other(bad_source, tmp_path, scheduler):
    outcome = call("extract", bad_source, tmp_path / "flow.zarr", "--scheduler", scheduler)
    assert outcome.code == 1
    said = dict(re.findall(r"(?m)^failed c/(\w+): (.*)$", outcome.err))
    assert said.keys() == REASONS.keys()
    for name, reason in REASONS.items():
        assert re.fullmatch(reason, said[name])
    assert outcome.out.count("\n") == 1
    assert outcome.out.startswith(f"2 videos with flow, {len(REASONS)} failed, 8 flows in ")

    store = flowstore.open_store(tmp_path / "flow.zarr")
    assert {name for name in store["c"] if store["c"][name].record.is_ok} == {"good", "good_frames"}
    for name, reason in said.items():
        record = store["c"][name].record
        assert (record.status, record.reason, record.n_flows) == ("failed", reason, 0)
        assert os.listdir(tmp_path / "flow.zarr" / "c" / name) == ["zarr.json"]
        with pytest.raises(FailedVideoError, match=re.escape(reason)):
            store["c"][name][0]
    rows = {row["video"]: row for row in store.videos}
    assert {name for name, row in rows.items() if row["status"] == "failed"} == REASONS.keys()

    info = call("info", tmp_path / "flow.zarr")
    assert info.code == 0
    for name, reason in said.items():
        assert f"  c/{name}: {reason}\n" in info.out
    values = json.loads(call("info", tmp_path / "flow.zarr", "--json").out)
    assert {row["video"]: row["reason"] for row in values["failures"]} == said
    exported = call("export", tmp_path / "flow.zarr", tmp_path / "images")
    assert exported.code == 0
    assert f"{len(REASONS)} failed videos left out" in exported.out
    assert sorted(os.listdir(tmp_path / "images" / "c")) == ["good", "good_frames"]


def test_failed_videos_are_left_retried_or_replaced(bad_source, tmp_path):
    store = tmp_path / "flow.zarr"
    assert call("extract", bad_source, store).code == 1
    before = tree(store)

    again = call("extract", bad_source, store)
    assert again.code == 1
    assert f"{len(REASONS)} failed before, not tried again (--retry-failed)" in again.out
    assert "failed c/" not in again.err
    assert tree(store) == before
    quiet = call("extract", bad_source, store, "--quiet")
    assert quiet.code == 1
    assert quiet.out == ""
    assert "failed before, not tried again" in quiet.error_line

    retried = call("extract", bad_source, store, "--retry-failed")
    assert retried.code == 1
    assert retried.err.count("\nfailed c/") == len(REASONS)
    good = os.path.join("c", "good")
    after = tree(store)
    assert {path: after[path] for path in after if path.startswith(good)} == {
        path: before[path] for path in before if path.startswith(good)
    }

    # A file that was replaced by a good one needs no flag.
    (bad_source / "c" / "zero.avi").write_bytes(video_bytes(5))
    replaced = call("extract", bad_source, store)
    assert replaced.code == 1
    assert "1 video, 4 flows in" in replaced.out
    opened = flowstore.open_store(store)
    np.testing.assert_array_equal(opened["c/zero"].codes[:], opened["c/good"].codes[:])
    assert opened.n_videos == 3


def test_failures_in_processes_and_json(bad_source, tmp_path):
    outcome = call(
        "extract", bad_source, tmp_path / "flow.zarr", "--scheduler", "processes", "--workers", "2", "--json"
    )
    assert outcome.code == 1
    report = json.loads(outcome.out)
    assert {row["video"] for row in report["failed"]} == REASONS.keys()
    assert (report["extracted"], report["flows"]) == (2, 8)
    for row in report["failed"]:
        assert re.fullmatch(REASONS[row["video"]], row["reason"])


def test_a_good_video_that_was_replaced_by_a_bad_one_becomes_a_failed_row(source, tmp_path):
    assert call("extract", source, tmp_path / "flow.zarr").code == 0
    (source / "run" / "v0.avi").write_bytes(b"")
    outcome = call("extract", source, tmp_path / "flow.zarr")
    assert outcome.code == 1
    assert "failed run/v0: empty file (0 bytes)" in outcome.err
    store = flowstore.open_store(tmp_path / "flow.zarr")
    assert store["run/v0"].record.status == "failed"
    assert store.n_videos == 1


def test_step_longer_than_the_video(source, tmp_path):
    outcome = call("extract", source, tmp_path / "flow.zarr", "--step", "9")
    assert outcome.code == 1
    assert "failed run/v0: 4 frames: no flow at step 9" in outcome.err


def test_sources_are_never_written(bad_source, tmp_path):
    before = {path: os.lstat(bad_source / "c" / path) for path in os.listdir(bad_source / "c")}
    call("extract", bad_source, tmp_path / "flow.zarr")
    after = {path: os.lstat(bad_source / "c" / path) for path in os.listdir(bad_source / "c")}
    assert {path: (info.st_mtime_ns, info.st_size, stat.S_IFMT(info.st_mode)) for path, info in after.items()} == {
        path: (info.st_mtime_ns, info.st_size, stat.S_IFMT(info.st_mode)) for path, info in before.items()
    }
