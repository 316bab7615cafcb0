"""The plan: what is to be done, said before anything is, and nothing written."""

import json
import os
import shutil

import cv2
import numpy as np
import pytest
from store_factory import HEIGHT, WIDTH, make_frames, tree_files, write_avi

import flowstore
from flowstore.errors import ArgumentError, SettingsMismatchError, StoreFormatError
from flowstore.layouts.flow_names import flow_finder
from flowstore.pipeline import extract, plan_extract
from flowstore.pipeline import plan as planning
from flowstore.pipeline.plan import check_names, format_bytes
from flowstore.pipeline.run import resolve_scheduler
from flowstore.pipeline.settings import make_settings
from flowstore.sources.discovery import discover
from flowstore.sources.selection import select_sources
from flowstore.sources.source import VideoSource
from flowstore.storage.local import LocalStorage
from flowstore.verify import verify

OPTIONS = {"engine": "opencv"}


def settings(**options):
    return make_settings(**OPTIONS | options)


@pytest.fixture
def videos(tmp_path):
    """Three videos and a frame folder in two classes; the longest is wave/b."""
    write_avi(tmp_path / "videos/wave/a.avi", 4, seed=1)
    write_avi(tmp_path / "videos/wave/b.avi", 40, seed=2)
    write_avi(tmp_path / "videos/run/c.avi", 6, seed=3)
    folder = tmp_path / "videos/run/frames"
    folder.mkdir()
    for number, frame in enumerate(make_frames(3, seed=4)):
        cv2.imwrite(str(folder / f"img_{number}.jpg"), frame)
    return tmp_path / "videos"


def write_frames(folder, n_frames, size=(WIDTH, HEIGHT)):
    folder.mkdir(parents=True)
    for number in range(n_frames):
        frame = np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), np.uint8)
        cv2.imwrite(str(folder / f"img_{number}.jpg"), frame)


def keys(sources) -> list[str]:
    return [source.key for source in sources]


def test_a_new_store(videos, tmp_path):
    planned = plan_extract(videos, tmp_path / "s.zarr", settings())
    assert keys(planned.todo)[0] == "wave/b"
    assert [source.cost for source in planned.todo] == sorted((s.cost for s in planned.todo), reverse=True)
    assert set(keys(planned.todo)) == {"wave/a", "wave/b", "run/c", "run/frames"}
    assert (planned.is_new, planned.is_overwritten, planned.n_videos) == (True, False, 4)
    assert (planned.done, planned.failed, planned.changed) == ((), (), ())
    assert planned.estimate.n_frames == 4 + 40 + 6 + 3
    assert planned.estimate.largest_frame == (HEIGHT, WIDTH)
    assert not (tmp_path / "s.zarr").exists()


def test_the_printed_plan(videos, tmp_path):
    options = {"bound": 15, "step": 2, "compression": "small", "short_side": 24, "params": {"winsize": 9}}
    planned = plan_extract(videos, tmp_path / "s.zarr", settings(**options))
    estimate = planned.estimate
    assert str(planned).splitlines() == [
        f"store:    {tmp_path}/s.zarr (new)",
        "settings: farneback (opencv), uint8 centred ±15 px, short side 24 px, step 2, compression small",
        "params:   winsize 9",
        "videos:   4 in 2 classes: 4 to extract, 0 done",
        f"estimate: 53 frames, about {format_bytes(estimate.size_bytes)} of flow, a rough estimate",
        f"memory:   at most {format_bytes(estimate.memory_per_worker)} per worker process "
        f"(frames up to 32×24; {format_bytes(estimate.memory_per_video)} per video)",
    ]
    values = json.loads(json.dumps(planned.to_json()))
    assert (values["n_todo"], values["n_done"], values["n_frames"]) == (4, 0, 53)
    assert values["todo"][0] == {"class": "wave", "video": "b"}


def test_the_states_of_a_resumed_run(videos, tmp_path):
    root = tmp_path / "s.zarr"
    (videos / "wave/text.avi").write_text("this is no video")
    extract(videos, root, scheduler="sync", **OPTIONS)
    # One more, one changed, one removed from the store, the others as they were.
    write_avi(videos / "run/new.avi", 5, seed=9)
    write_avi(videos / "run/c.avi", 7, seed=10)
    (root / "wave/a/zarr.json").unlink()
    before = tree_files(root)
    planned = plan_extract(videos, root, settings())
    assert set(keys(planned.todo)) == {"wave/a", "run/new", "run/c"}
    assert keys(planned.changed) == ["run/c"]
    assert keys(planned.done) == ["run/frames", "wave/b"]
    assert keys(planned.failed) == ["wave/text"]
    assert not planned.is_new
    assert (
        "videos:   6 in 2 classes: 3 to extract, 2 done, 1 failed before (--retry-failed tries them again); "
        "1 changed since and extracted again"
    ) in str(planned)
    retried = plan_extract(videos, root, settings(), retry_failed=True)
    assert set(keys(retried.todo)) == {"wave/a", "run/new", "run/c", "wave/text"}
    assert retried.failed == ()
    assert tree_files(root) == before


def test_nothing_to_do(videos, tmp_path):
    extract(videos, tmp_path / "s.zarr", scheduler="sync", **OPTIONS)
    before = tree_files(tmp_path / "s.zarr")
    planned = plan_extract(videos, tmp_path / "s.zarr", settings())
    assert planned.todo == ()
    assert len(planned.done) == 4
    assert str(planned).splitlines()[2:] == ["videos:   4 in 2 classes: 0 to extract, 4 done"]
    report = extract(videos, tmp_path / "s.zarr", scheduler="sync", **OPTIONS)
    assert str(report) == f"nothing to do: 4 videos already in {tmp_path}/s.zarr"
    assert tree_files(tmp_path / "s.zarr") == before


def test_a_touched_video_is_not_changed(videos, tmp_path):
    extract(videos, tmp_path / "s.zarr", scheduler="sync", **OPTIONS)
    os.utime(videos / "wave/a.avi", ns=(1, 1))
    assert plan_extract(videos, tmp_path / "s.zarr", settings()).todo == ()


def test_a_failed_video_whose_file_changed_is_tried_again(videos, tmp_path):
    (videos / "wave/text.avi").write_text("this is no video")
    extract(videos, tmp_path / "s.zarr", scheduler="sync", **OPTIONS)
    write_avi(videos / "wave/text.avi", 3, seed=11)
    planned = plan_extract(videos, tmp_path / "s.zarr", settings())
    assert keys(planned.todo) == keys(planned.changed) == ["wave/text"]


@pytest.mark.parametrize("damage", ["remove shard", "cut shard", "empty flow document", "empty commit"])
def test_a_video_that_lost_files_is_made_again(videos, tmp_path, damage):
    root = tmp_path / "s.zarr"
    extract(videos, root, scheduler="sync", **OPTIONS)
    whole = {name: data for name, data in tree_files(root).items() if "/flow/" in name}
    shard = root / "wave/b/flow/c.0.0.0.0"
    if damage == "remove shard":
        shard.unlink()
    elif damage == "cut shard":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        (root / ("wave/b/flow/zarr.json" if "flow" in damage else "wave/b/zarr.json")).write_bytes(b"")
    assert keys(plan_extract(videos, root, settings()).todo) == ["wave/b"]
    assert extract(videos, root, scheduler="sync", **OPTIONS).n_extracted == 1
    assert {name: data for name, data in tree_files(root).items() if "/flow/" in name} == whole


def test_other_settings_are_refused_with_their_values(videos, tmp_path):
    root = tmp_path / "s.zarr"
    extract(videos, root, scheduler="sync", **OPTIONS)
    before = tree_files(root)
    with pytest.raises(SettingsMismatchError) as caught:
        plan_extract(videos, root, settings(bound=15, params={"winsize": 21}))
    for part in ("bound_px: 20.0 against 15.0", "param winsize: 15 against 21", "--overwrite"):
        assert part in str(caught.value)
    planned = plan_extract(videos, root, settings(bound=15), overwrite=True)
    assert (planned.is_new, planned.is_overwritten, len(planned.todo)) == (False, True, 4)
    assert "(emptied first)" in str(planned)
    assert tree_files(root) == before
    extract(videos, root, bound=15, overwrite=True, scheduler="sync", **OPTIONS)
    assert flowstore.open_store(root).settings.quantizer.bound_px == 15.0


def test_two_sources_of_one_name_are_refused_by_name(videos, tmp_path):
    shutil.copy(videos / "wave/a.avi", videos / "wave/a.mp4")
    with pytest.raises(ArgumentError, match=r"one name: wave/a\.(avi|mp4) and wave/a\.(avi|mp4)\. Rename one of each"):
        plan_extract(videos, tmp_path / "s.zarr", settings())
    (videos / "wave/a.mp4").unlink()
    (videos / "wave/b").mkdir()
    cv2.imwrite(str(videos / "wave/b/img_0.jpg"), make_frames(1)[0])
    with pytest.raises(ArgumentError, match=r"wave/b(\.avi)? and wave/b(\.avi)?"):
        plan_extract(videos, tmp_path / "s.zarr", settings())
    # Taken one at a time they have a name each.
    assert plan_extract(videos, tmp_path / "s.zarr", settings(), exclude=["wave/b"]).n_videos == 3


def make_source(class_name, name, suffix=".avi"):
    return VideoSource(class_name, name, f"/v/{class_name}/{name}{suffix}", f"{class_name}/{name}{suffix}", "video")


def test_many_shared_names_are_counted(tmp_path):
    sources = [make_source("c", str(n), suffix) for n in range(8) for suffix in (".avi", ".mp4")]
    with pytest.raises(ArgumentError, match=r"c/4\.avi and c/4\.mp4; and 3 more"):
        check_names(sources, LocalStorage(str(tmp_path)))


CLOSE = [
    ("wave", "A", "wave", "a"),
    ("Wave", "x", "wave", "x"),
    ("Wave", "x", "wave", "y"),
    ("c", "caf\u00e9", "c", "cafe\u0301"),
]


@pytest.mark.parametrize("names", CLOSE, ids=ascii)
def test_names_that_differ_only_in_case_are_noted(tmp_path, monkeypatch, names):
    sources = [make_source(*names[:2]), make_source(*names[2:])]
    storage = LocalStorage(str(tmp_path))
    monkeypatch.setattr(planning, "is_case_blind", lambda path: False)
    (note,) = check_names(sources, storage)
    assert note.startswith("2 names differ only in case or Unicode form; a Mac or Windows disk cannot hold both: ")
    monkeypatch.setattr(planning, "is_case_blind", lambda path: True)
    with pytest.raises(ArgumentError, match="which this file system does not keep apart"):
        check_names(sources, storage)


def test_names_that_differ_in_more_are_not_noted(tmp_path):
    sources = [make_source("wave", "a"), make_source("wave", "b"), make_source("run", "a")]
    assert check_names(sources, LocalStorage(str(tmp_path))) == []


def test_two_names_in_case_only_make_two_videos(tmp_path):
    write_avi(tmp_path / "videos/wave/Clip.avi", 4, seed=1)
    write_avi(tmp_path / "videos/wave/clip.avi", 5, seed=2)
    planned = plan_extract(tmp_path / "videos", tmp_path / "s.zarr", settings())
    assert "note:     2 names differ only in case" in str(planned)
    extract(tmp_path / "videos", tmp_path / "s.zarr", scheduler="sync", **OPTIONS)
    store = flowstore.open_store(tmp_path / "s.zarr")
    assert (len(store["wave/Clip"]), len(store["wave/clip"])) == (3, 4)


def test_a_place_that_cannot_be_a_store_is_refused(videos, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ArgumentError, match=r"STORE .*/file: a file; give the path of a folder to make"):
        plan_extract(videos, tmp_path / "file", settings())
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder/thesis.tex").write_text("mine")
    for options in ({}, {"overwrite": True}):
        with pytest.raises(StoreFormatError, match="not a flowstore store"):
            plan_extract(videos, tmp_path / "folder", settings(), **options)
    (tmp_path / "empty").mkdir()
    assert plan_extract(videos, tmp_path / "empty", settings()).is_new


def test_a_choice_that_leaves_nothing_is_refused(videos, tmp_path):
    with pytest.raises(ArgumentError, match="no video is left to extract"):
        plan_extract(videos, tmp_path / "s.zarr", settings(), include=["nothing*"])


def test_fps_needs_a_clock(videos, tmp_path):
    with pytest.raises(ArgumentError, match=r"--fps 10 takes frames by a clock, which folders of .* by --source-fps"):
        plan_extract(videos, tmp_path / "s.zarr", settings(fps=10.0))
    assert plan_extract(videos, tmp_path / "s.zarr", settings(fps=10.0), source_fps=25).n_videos == 4
    assert plan_extract(videos, tmp_path / "s.zarr", settings(fps=10.0), exclude=["frames"]).n_videos == 3


def test_parts_are_disjoint_and_together_everything(videos, tmp_path):
    parts = [keys(plan_extract(videos, tmp_path / "s.zarr", settings(), part=(i, 3)).todo) for i in (1, 2, 3)]
    assert sorted(key for part in parts for key in part) == ["run/c", "run/frames", "wave/a", "wave/b"]


def test_an_unreadable_video_is_in_the_plan(videos, tmp_path):
    (videos / "wave/empty.avi").write_bytes(b"")
    planned = plan_extract(videos, tmp_path / "s.zarr", settings())
    assert "wave/empty" in keys(planned.todo)
    assert planned.estimate.n_frames == 53


def test_too_little_room_is_noted(videos, tmp_path, monkeypatch):
    usage = type("Usage", (), {"total": 1000, "free": 10})()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert "are needed and 10 bytes are free at" in str(plan_extract(videos, tmp_path / "s.zarr", settings()))


def test_memory_grows_with_the_frame_and_not_with_the_length(videos, tmp_path):
    planned = plan_extract(videos, tmp_path / "s.zarr", settings())
    large = plan_extract(videos, tmp_path / "s.zarr", settings(size=(480, 640)))
    assert large.estimate.memory_per_video > 300 * planned.estimate.memory_per_video
    write_avi(videos / "wave/b.avi", 90, seed=2)
    assert (
        plan_extract(videos, tmp_path / "s.zarr", settings()).estimate.memory_per_video
        == planned.estimate.memory_per_video
    )


def test_auto_takes_threads_for_a_small_plan(videos, tmp_path, monkeypatch):
    planned = plan_extract(videos, tmp_path / "s.zarr", settings())
    assert resolve_scheduler("auto", 2, planned) == ("threads", 2)
    assert resolve_scheduler("auto", 64, planned) == ("threads", 4)
    assert resolve_scheduler("sync", None, planned)[0] == "sync"
    assert resolve_scheduler("tcp://h:1", 64, planned) == ("tcp://h:1", 64)
    monkeypatch.setattr("flowstore.pipeline.run.AUTO_PROCESSES_FRAMES", 53)
    assert resolve_scheduler("auto", 2, planned) == ("processes", 2)
    assert resolve_scheduler("auto", 1, planned) == ("threads", 1)


def test_notes_of_the_discovery_are_in_the_plan(videos, tmp_path):
    (videos / "empty").mkdir()
    note = "left out, folders without videos: empty"
    assert discover(videos, find_flow=flow_finder()).notes == (note,)
    assert f"note:     {note}" in str(plan_extract(videos, tmp_path / "s.zarr", settings()))


def test_flow_is_kept_when_its_frames_are_removed(tmp_path):
    """To delete the frames once their flow is stored is the usual saving of disk."""
    source, place = tmp_path / "videos", tmp_path / "s.zarr"
    for name in ("a", "b"):
        write_frames(source / "wave" / name, n_frames=3)
    extract(source, place, engine="opencv", scheduler="sync")
    before = flowstore.open_store(place)["wave/b"].codes[:]
    for image in (source / "wave" / "b").iterdir():
        image.unlink()
    report = extract(source, place, engine="opencv", scheduler="sync")
    assert (report.n_extracted, report.n_done, report.failures) == (0, 2, ())
    np.testing.assert_array_equal(flowstore.open_store(place)["wave/b"].codes[:], before)
    planned = plan_extract(source, place, make_settings(engine="opencv"))
    assert any("1 sources cannot be read any more; their stored flow is kept: wave/b" in note for note in planned.notes)


def test_overwrite_of_a_choice_does_not_empty_the_rest(tmp_path):
    source, place = tmp_path / "videos", tmp_path / "s.zarr"
    for name in ("a", "b"):
        write_frames(source / "wave" / name, n_frames=3)
    extract(source, place, engine="opencv", scheduler="sync")
    with pytest.raises(ArgumentError, match="1 of its videos are not among those chosen"):
        extract(source, place, engine="opencv", overwrite=True, limit=1)
    assert len(flowstore.open_store(place)["wave"]) == 2
    assert extract(source, place, engine="opencv", bound=10, overwrite=True, scheduler="sync").n_extracted == 2


def test_every_one_of_a_few_videos_is_looked_at_for_memory(tmp_path):
    """A short folder of large frames costs little time and most memory."""
    for number in range(30):
        write_frames(tmp_path / "videos" / "c" / f"small_{number:02d}", n_frames=6)
    write_frames(tmp_path / "videos" / "c" / "large", n_frames=3, size=(400, 300))
    planned = plan_extract(tmp_path / "videos", tmp_path / "s.zarr", make_settings(engine="opencv"))
    assert planned.estimate.largest_frame == (300, 400)
    assert planned.estimate.n_probed == 31


def test_a_pattern_may_be_a_plain_string():
    sources = [make_source("c", "a"), make_source("c", "b")]
    assert [source.name for source in select_sources(sources, include="c/a")] == ["a"]
    assert select_sources(sources, exclude="*mov*") == tuple(sources)


@pytest.mark.parametrize("kind", ["video", "frames"])
def test_the_estimate_counts_frames_as_they_are_thinned(tmp_path, kind):
    if kind == "video":
        write_avi(tmp_path / "videos/c/a.avi", 40, seed=1)
    else:
        write_frames(tmp_path / "videos/c/a", 40)
    source_fps = None if kind == "video" else 25
    every = plan_extract(tmp_path / "videos", tmp_path / "s.zarr", settings()).estimate
    options = settings(fps=5, step=2)
    thinned = plan_extract(tmp_path / "videos", tmp_path / "s.zarr", options, source_fps=source_fps).estimate
    extract(tmp_path / "videos", tmp_path / "s.zarr", engine="opencv", fps=5, step=2, source_fps=source_fps)
    n_frames = flowstore.open_store(tmp_path / "s.zarr")["c/a"].record.n_frames
    assert abs(thinned.n_frames - n_frames) <= 1
    raw_bytes = 2 * HEIGHT * WIDTH
    assert every.stored_bytes(1.0) - thinned.stored_bytes(1.0) == (39 - (thinned.n_frames - 2)) * (raw_bytes + 16)


def test_frames_of_a_known_rate_have_times(videos, tmp_path):
    report = extract(videos, tmp_path / "s.zarr", source_fps=12.5, include=["run/*"], scheduler="sync")
    assert report.is_all_well
    store = flowstore.open_store(tmp_path / "s.zarr")
    frames, film = store["run/frames"], store["run/c"]
    assert frames.record.fps == 12.5
    assert frames.record.flow_times_s == [number / 12.5 for number in range(frames.n_flows)]
    # A video file keeps its own clock.
    assert film.record.fps == 25.0
    for wrong in (0, -1.0, float("nan")):
        with pytest.raises(ArgumentError, match="source fps"):
            plan_extract(videos, tmp_path / "t.zarr", settings(), source_fps=wrong)
    with pytest.raises(ArgumentError, match="--source-fps is for folders of frames, here are none"):
        plan_extract(videos / "wave", tmp_path / "t.zarr", settings(), source_fps=30)


def test_a_store_goes_on_with_the_clock_of_its_folders_of_frames(tmp_path):
    source, store = tmp_path / "in", tmp_path / "s.zarr"
    for name in ("c/a", "c/b", "d/a", "d/b"):
        write_frames(source / name, 3)

    def go_on(**options):
        plan = plan_extract(source, store, settings(), **options)
        assert extract(source, store, **OPTIONS, scheduler="sync", **options).is_all_well
        return "\n".join(plan.notes)

    assert "frame rate" not in go_on(source_fps=25, include=["c/a"])
    assert "folders of frames get the store's frame rate, 25" in go_on(include=["c/*"])
    assert flowstore.open_store(store)["c/b"].record.fps == 25.0
    assert "get the store's frame rate, 25" in "\n".join(plan_extract(source, store, settings(), include=["d/b"]).notes)
    # Nothing is to do: nothing is said.
    assert "frame rate" not in go_on(include=["c/*"])
    assert "that are done keep the frame rate that they were stored with: 25" in go_on(source_fps=30, include=["?/a"])
    assert [flowstore.open_store(store)[key].record.fps for key in ("c/a", "d/a")] == [25.0, 30.0]
    assert "stored with several frame rates, and get none here: --source-fps says it" in go_on()
    assert flowstore.open_store(store)["d/b"].record.fps is None
    assert "they were stored with: 25 or none" in go_on(source_fps=30)
    go_on(overwrite=True)
    assert flowstore.open_store(store)["c/a"].record.fps is None


@pytest.mark.parametrize("fps", [None, 10.0])
def test_the_clock_of_a_run_that_was_stopped_before_its_first_folder_is_kept(tmp_path, fps):
    source, store = tmp_path / "in", tmp_path / "s.zarr"
    write_avi(source / "c/film.avi", 12)
    write_frames(source / "c/a", 12)
    assert extract(source, store, **OPTIONS, fps=fps, source_fps=25, scheduler="sync").is_all_well
    # What is left where the run is killed while the first folder is under way.
    (store / "c/a/zarr.json").unlink()
    assert "folders of frames get the store's frame rate, 25" in plan_extract(source, store, settings(fps=fps)).notes
    assert extract(source, store, scheduler="sync").is_all_well
    record = flowstore.open_store(store)["c/a"].record
    assert (record.fps, record.frame_numbers) == ((10.0, (0, 3, 5, 8, 10)) if fps else (25.0, ()))
    assert verify(store, source=source).is_all_well
    assert extract(source, store, overwrite=True, **OPTIONS, scheduler="sync").is_all_well
    assert flowstore.open_store(store)["c/a"].record.fps is None


def test_a_store_of_thinned_folders_goes_on_with_the_rate_of_their_frames(tmp_path):
    source, store = tmp_path / "in", tmp_path / "s.zarr"
    for name in ("a", "b", "d"):
        write_frames(source / "c" / name, 12)
    options = {"scheduler": "sync"}
    assert extract(source, store, **OPTIONS, **options, fps=10, source_fps=25, include=["c/a"]).is_all_well
    # 25 and not the 10 that are left of them.
    assert "folders of frames get the store's frame rate, 25" in plan_extract(source, store, settings(fps=10.0)).notes
    assert extract(source, store, **options, include=["c/b"]).is_all_well
    records = [flowstore.open_store(store)[f"c/{name}"].record for name in "ab"]
    assert [record.frame_numbers for record in records] == 2 * [(0, 3, 5, 8, 10)]
    assert [(record.fps, record.source_fps, record.n_source_frames) for record in records] == 2 * [(10.0, 25.0, 12)]
    # Another rate is for those that are not done.
    assert extract(source, store, **options, source_fps=20).is_all_well
    records = [flowstore.open_store(store)[f"c/{name}"].record for name in "abd"]
    assert [record.source_fps for record in records] == [25.0, 25.0, 20.0]
    assert records[2].frame_numbers == (0, 2, 4, 6, 8, 10)
    # With two rates there, a new folder needs to be told; when nothing is to do, nothing does.
    assert extract(source, store, **options).is_all_well
    write_frames(source / "c/e", 12)
    with pytest.raises(ArgumentError, match="--fps 10 takes frames by a clock"):
        extract(source, store, **options)
