"""examples/convert_dataset.py as a user runs it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from datasets import write_video

import flowstore

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


def run(*arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, ROOT / "examples" / "convert_dataset.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


@pytest.fixture
def source(tmp_path):
    for number in range(4):
        for label in ("run", "wave"):
            write_video(tmp_path / "videos" / label / f"v{number}.avi", n_frames=6, width=48, height=40, seed=number)
    return tmp_path / "videos"


def test_videos_become_a_store_lists_and_images(source, tmp_path):
    outcome = run(source, tmp_path / "out", "--hold-out", "4", "--workers", "1")
    assert outcome.returncode == 0, outcome.stderr
    for word in ("extracted: 8 videos, 40 flows", "nothing is wrong", "±20 px clips", "normalize: mean", "exported:"):
        assert word in outcome.stdout
    images, store = tmp_path / "out" / "flow_images", flowstore.open_store(tmp_path / "out" / "flow.zarr")
    assert (images / "annotations" / "mmaction2_train.txt").read_text().splitlines() == [
        f"{label}/v{number} 5 {code}" for code, label in enumerate(("run", "wave")) for number in range(3)
    ]
    assert (images / "annotations" / "mmaction2_test.txt").read_text().splitlines() == ["run/v3 5 0", "wave/v3 5 1"]
    # mmaction2's images hold codes of denseflow, decoded here by its formula; JPEG may be off by some steps.
    for video in store.iter_videos():
        for number, flow in enumerate(video, 1):
            for component, name in zip(flow, "xy", strict=True):
                image = cv2.imread(str(images / video.class_name / video.name / f"{name}_{number:05d}.jpg"), 0)
                assert np.abs(image * (40 / 255) - 20 - component).max() < 1.5
    again = run(source, tmp_path / "out", "--hold-out", "4", "--workers", "1")
    assert again.returncode == 0
    assert "nothing to do: 8 videos" in again.stdout
    assert re.search(r", 0 \w+ written, 80 were there", again.stdout)


def test_a_broken_video_is_named_and_the_others_go_on(source, tmp_path):
    (source / "run" / "broken.avi").write_bytes(b"no video")
    outcome = run(source, tmp_path / "out", "--workers", "1")
    assert outcome.returncode == 1
    assert "failed: run/broken" in outcome.stdout
    assert flowstore.open_store(tmp_path / "out" / "flow.zarr").n_flows == 40
    assert (tmp_path / "out" / "flow_images" / "wave" / "v3" / "y_00005.jpg").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "mmaction2:list.txt", "--hold-out", "4"], "exclude each other"),
        (["--hold-out", "1"], "2 or more"),
        (["--bound", "-1"], "bound is -1"),
    ],
)
def test_what_cannot_be_used_is_refused(source, tmp_path, arguments, words):
    outcome = run(source, tmp_path / "out", *arguments)
    assert outcome.returncode == 2
    assert words in outcome.stderr
    assert not (tmp_path / "out").exists()
