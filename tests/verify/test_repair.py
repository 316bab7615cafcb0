"""What becomes of faults that few stores have: in classes without videos, names cut short, sources that changed."""

import json
import shutil

import cv2
import numpy as np
import pytest
from store_factory import make_codes, make_frames, write_avi, write_store

import flowstore
from flowstore.errors import FlowStoreWarning
from flowstore.names import escape_name, is_shortened
from flowstore.pipeline import extract
from flowstore.verify import verify

LONG = "a name that no file system takes " * 10


@pytest.fixture
def source(tmp_path):
    for number in range(2):
        write_avi(tmp_path / "videos/run" / f"v{number}.avi", 4, seed=number)
    return tmp_path / "videos"


@pytest.fixture
def extracted(source, tmp_path):
    extract(source, tmp_path / "s.zarr", engine="opencv", scheduler="sync")
    return tmp_path / "s.zarr"


def flip(path, offset):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def test_a_class_in_which_nothing_was_finished_goes(extracted):
    folder = extracted / "wave/v/flow"
    folder.mkdir(parents=True)
    (folder / "c.0.0.0.0").write_bytes(b"half")
    report = verify(extracted, repair=True)
    assert report.is_all_well
    assert "removed wave/v" in report.mended
    assert not (extracted / "wave").exists()
    assert verify(extracted).faults == ()


def test_a_video_whose_shard_and_document_are_both_damaged_is_extracted_once(source, extracted):
    codes = flowstore.open_store(extracted)["run/v0"].codes[:]
    flip(extracted / "run/v0/flow/c.0.0.0.0", 20)
    path = extracted / "run/v0/flow/zarr.json"
    path.write_bytes(path.read_bytes().replace(b'"scale_factor": 0.1', b'"scale_factor": 0.3', 1))
    report = verify(extracted, source=source, repair=True)
    assert len(report.faults) == 2
    assert report.mended == ("extracted run/v0 again",)
    np.testing.assert_array_equal(flowstore.open_store(extracted)["run/v0"].codes[:], codes)
    assert verify(extracted).faults == ()


def test_a_lost_video_of_a_lost_class_is_marked_with_its_class(extracted):
    (extracted / "run/zarr.json").unlink()
    flip(extracted / "run/v1/flow/c.0.0.0.0", 20)
    report = verify(extracted, repair=True)
    assert "marked run/v1 as failed: its source is not at hand" in report.mended
    store = flowstore.open_store(extracted)
    assert store.classes == ["run"]
    assert store["run/v1"].record.status == "failed"
    assert verify(extracted).is_all_well


def test_a_name_cut_short_that_nothing_tells_any_more_is_left(tmp_path):
    root = tmp_path / "s.zarr"
    write_store(root, {f"{LONG}/a": make_codes(3), f"run/{LONG}": make_codes(3)})
    component = escape_name(LONG)
    assert is_shortened(component)
    (root / component / "zarr.json").write_bytes(b"{")
    shutil.rmtree(root / component / "a")
    (root / "run" / component / "zarr.json").write_bytes(b"{")
    before = (root / "run" / component / "zarr.json").read_bytes()
    with pytest.warns(FlowStoreWarning, match="is left out"):
        report = verify(root, repair=True)
    assert not report.is_all_well
    assert report.n_left >= 2
    assert (root / component / "zarr.json").read_bytes() == b"{"
    assert (root / "run" / component / "zarr.json").read_bytes() == before


def test_the_class_of_a_name_cut_short_is_written_anew_from_a_video(tmp_path):
    root = tmp_path / "s.zarr"
    write_store(root, {f"{LONG}/a": make_codes(3)})
    path = root / escape_name(LONG) / "zarr.json"
    before = json.loads(path.read_bytes())
    path.write_bytes(b"{")
    assert verify(root, repair=True).is_all_well
    assert json.loads(path.read_bytes()) == before
    assert flowstore.open_store(root).classes == [LONG]


@pytest.mark.parametrize("content", [b"", b"no video"])
def test_flow_that_is_whole_is_not_given_up_for_a_file_that_is_none(source, extracted, content):
    codes = flowstore.open_store(extracted)["run/v0"].codes[:]
    (source / "run/v0.avi").write_bytes(content)
    report = verify(extracted, source=source, repair=True)
    assert [fault.kind for fault in report.faults] == ["source"]
    assert (report.n_left, report.mended) == (1, ())
    np.testing.assert_array_equal(flowstore.open_store(extracted)["run/v0"].codes[:], codes)


@pytest.mark.parametrize("fps", [None, 10])
def test_a_folder_of_frames_that_is_extracted_again_keeps_its_clock(tmp_path, fps):
    for name in ("v0", "v1"):
        folder = tmp_path / "videos/run" / name
        folder.mkdir(parents=True)
        for number, frame in enumerate(make_frames(8, seed=1)):
            cv2.imwrite(str(folder / f"{number}.png"), frame)
    store = tmp_path / "s.zarr"
    extract(tmp_path / "videos", store, engine="opencv", scheduler="sync", source_fps=25, fps=fps)
    before = flowstore.open_store(store)["run/v0"]
    codes, numbers = before.codes[:], before.record.frame_numbers
    assert numbers == ((0, 3, 5) if fps else ())
    flip(store / "run/v0/flow/c.0.0.0.0", 20)
    (store / "run/v1/zarr.json").write_bytes(b"lost")
    report = verify(store, source=tmp_path / "videos", repair=True)
    assert sorted(report.mended)[:2] == ["extracted run/v0 again", "extracted run/v1 again"]
    for name in ("v0", "v1"):
        video = flowstore.open_store(store)[f"run/{name}"]
        assert (video.record.fps, video.record.frame_numbers) == (fps or 25, numbers)
        np.testing.assert_array_equal(video.codes[:], codes)


def test_a_change_in_a_thinned_folder_is_found_whether_the_frame_is_used_or_not(tmp_path):
    """As a video file is another one wherever its bytes differ."""
    frames = make_frames(9, seed=1)
    for name in ("used", "unused"):
        (tmp_path / "videos/run" / name).mkdir(parents=True)
        for number, frame in enumerate(frames):
            cv2.imwrite(str(tmp_path / f"videos/run/{name}/{number}.png"), frame)
    store = tmp_path / "s.zarr"
    extract(tmp_path / "videos", store, engine="opencv", scheduler="sync", source_fps=30, fps=10)
    before = flowstore.open_store(store)["run/used"]
    codes, numbers = before.codes[:], before.record.frame_numbers
    assert numbers == (0, 3, 6)
    for name, number in (("used", 3), ("unused", 4)):
        cv2.imwrite(str(tmp_path / f"videos/run/{name}/{number}.png"), 255 - frames[number])
    report = verify(store, source=tmp_path / "videos", deep=True)
    assert [(fault.kind, fault.path) for fault in report.faults] == [("source", "run/unused"), ("source", "run/used")]
    assert verify(store, source=tmp_path / "videos", repair=True).is_all_well
    after = flowstore.open_store(store)
    assert [after[f"run/{name}"].record.frame_numbers for name in ("used", "unused")] == [numbers, numbers]
    assert (after["run/used"].codes[:] != codes).any()
    np.testing.assert_array_equal(after["run/unused"].codes[:], codes)
    assert verify(store, source=tmp_path / "videos", deep=True).faults == ()


def test_a_damaged_record_is_not_counted_as_missing_too(extracted):
    (extracted / "run/v1/zarr.json").write_bytes(b"lost")
    report = verify(extracted)
    assert len(report.faults) == 1
    assert not any("missing" in note for note in report.notes)
    shutil.rmtree(extracted / "run/v1")
    shutil.rmtree(extracted / "index")
    assert any("1 of 2 planned videos is missing" in note for note in verify(extracted).notes)
