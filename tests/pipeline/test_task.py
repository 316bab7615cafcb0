"""The task of a video: what it commits, what it leaves, and what it lets pass."""

import errno
import os
import pickle

import cv2
import numpy as np
import pytest
from synthetic import scene, write_frames

from flowstore.errors import MachineError, StoppedError, StoreError
from flowstore.format.root import RootAttributes
from flowstore.format.settings import ExtractSettings
from flowstore.format.zarr_metadata import FORMAT
from flowstore.layouts.flow_names import flow_finder
from flowstore.pipeline.task import VideoTask, compare_video, extract_video
from flowstore.sources.discovery import discover
from flowstore.storage.places import open_storage
from flowstore.store.tree import read_record
from flowstore.store.video import Video
from flowstore.store.writer import write_class, write_root

# OpenCV's function is the answer from outside, so its engine is the one that is run.
SETTINGS = ExtractSettings(engine="opencv")


@pytest.fixture
def frames():
    return scene("translation", n_frames=5)[0]


@pytest.fixture
def task(tmp_path, frames):
    write_frames(tmp_path / "dataset" / "wave" / "v", frames, "img_{:05d}.png")
    storage = open_storage(tmp_path / "s.zarr", is_written=True)
    write_root(storage, RootAttributes(FORMAT, SETTINGS, {}, "2024-01-02T03:04:05Z"))
    write_class(storage, "wave")
    (source,) = discover(tmp_path / "dataset", find_flow=flow_finder()).sources
    return VideoTask(source, SETTINGS, storage)


def test_codes_are_those_of_opencvs_flow(task, frames):
    ticks = []
    record = extract_video(task, ticks.append)
    assert record == read_record(task.storage, "wave/v")
    assert (record.n_frames, record.n_flows, ticks) == (5, 4, [1, 1, 1, 1])
    stored = Video(task.storage, "wave/v", record, SETTINGS).codes[:]
    for number, codes in enumerate(stored):
        flow = cv2.calcOpticalFlowFarneback(*frames[number : number + 2], None, 0.5, 3, 15, 3, 5, 1.2, 0)
        expected = np.clip(128 + np.rint(np.moveaxis(flow, 2, 0) * np.float32(127 / 20)), 1, 255)
        assert np.abs(codes.astype(int) - expected).max() <= 1
    assert compare_video(task).n_different == 0


def test_a_task_travels(task):
    found = pickle.loads(pickle.dumps(task))
    assert (found.source, found.settings, found.storage.url) == (task.source, task.settings, task.storage.url)


def test_a_video_at_fault_is_a_failed_row(task):
    with open(os.path.join(task.source.path, "img_00003.png"), "wb") as file:
        file.write(b"no picture")
    record = extract_video(task)
    assert (record.status, record.n_flows) == ("failed", 0)
    assert "img_00003.png" in record.reason
    assert record == read_record(task.storage, "wave/v")
    assert "no flow in the store" in compare_video(task).problem


@pytest.mark.parametrize("fault", [StoppedError("stopped"), StoreError("full"), MachineError("no library")])
def test_what_is_no_fault_of_the_video_passes_and_commits_nothing(task, fault):
    def tick(amount):
        raise fault

    with pytest.raises(type(fault)):
        extract_video(task, tick)
    assert read_record(task.storage, "wave/v") is None


def test_a_disk_that_is_full_is_the_stores_fault(task, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(type(task.storage), "open_sink", refuse)
    with pytest.raises(StoreError, match="free some room"):
        extract_video(task)
    assert read_record(task.storage, "wave/v") is None


def test_a_source_that_changes_while_it_is_read_fails(task):
    def tick(amount):
        path = os.path.join(task.source.path, "img_00009.png")
        with open(os.path.join(task.source.path, "img_00005.png"), "rb") as file, open(path, "wb") as other:
            other.write(file.read())

    record = extract_video(task, tick)
    assert record.status == "failed"
    assert "changed while it was read" in record.reason
