"""The main job on real clips: HMDB51, UCF101 and Kinetics files as they come."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

import flowstore

pytestmark = pytest.mark.system

N_FLOWS = {
    "wave/RATRACE_wave_f_nm_np1_fr_goo_37": 71,
    "wave/SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0": 73,
    "cartwheel/Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6": 82,
    "SoccerJuggling/v_SoccerJuggling_g23_c01": 239,
    "kinetics/R6llTwEh07w": 302,
}


def run(*arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flowstore", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def store_path(tmp_path_factory, request):
    return tmp_path_factory.mktemp("real") / "flow.zarr"


def test_five_clips_become_five_videos_and_a_second_run_does_nothing(real_data, store_path):
    first = run("extract", real_data / "videos", store_path)
    assert first.returncode == 0, first.stderr
    assert "5 videos, 767 flows" in first.stdout
    store = flowstore.open_store(store_path)
    assert {video.key: len(video) for video in store.iter_videos()} == N_FLOWS
    assert sorted(store.classes) == ["SoccerJuggling", "cartwheel", "kinetics", "wave"]
    before = {path: path.stat().st_mtime_ns for path in store_path.rglob("*")}
    second = run("extract", real_data / "videos", store_path)
    assert second.returncode == 0
    assert "nothing to do: 5 videos" in second.stdout
    assert {path: path.stat().st_mtime_ns for path in store_path.rglob("*")} == before
    described = json.loads(run("info", store_path, "--json").stdout)
    assert (described["videos"], described["flows"], described["failed"]) == (5, 767, 0)
    shown = run("info", store_path).stdout
    assert all(name in shown for name in store.classes)
    assert "767" in shown


def test_stored_flow_is_opencvs_within_half_a_step(real_data, tmp_path):
    """OpenCV's own function on OpenCV's own frames, for the clip with the fastest motion."""
    path = real_data / "videos" / "wave" / "RATRACE_wave_f_nm_np1_fr_goo_37.avi"
    assert run("extract", path, tmp_path / "flow.zarr", "--engine", "opencv", "--bound", "64").returncode == 0
    video = flowstore.open_store(tmp_path / "flow.zarr")["unlabeled"][path.stem]
    capture = cv2.VideoCapture(str(path))
    frames = [cv2.cvtColor(capture.read()[1], cv2.COLOR_BGR2GRAY) for _ in range(len(video) + 1)]
    for number in range(0, len(video), 7):
        flow = cv2.calcOpticalFlowFarneback(frames[number], frames[number + 1], None, 0.5, 3, 15, 3, 5, 1.2, 0)
        assert np.abs(np.moveaxis(flow, 2, 0) - video[number]).max() <= 0.5 * 64 / 127 * (1 + 1e-5)


def test_a_rotated_clip_is_stored_upright(real_data, tmp_path):
    assert run("extract", real_data / "odd" / "rotated_90.mov", tmp_path / "flow.zarr").returncode == 0
    assert flowstore.open_store(tmp_path / "flow.zarr")["unlabeled/rotated_90"].shape == (2, 2, 568, 320)


def test_frames_beside_another_tools_flow_are_found(real_data, tmp_path):
    """The folder holds img_ frames with x_ and y_ flow of another tool beside them."""
    assert run("extract", real_data / "frames" / "mmaction2", tmp_path / "flow.zarr").returncode == 0
    height, width, _ = cv2.imread(str(real_data / "frames" / "mmaction2" / "img_00001.jpg")).shape
    assert flowstore.open_store(tmp_path / "flow.zarr")["unlabeled/mmaction2"].shape == (9, 2, height, width)
