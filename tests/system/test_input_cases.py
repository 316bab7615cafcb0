"""Every named case of bad, odd and hostile input ends in its row: stored whole, or failed for the true reason."""

import os
import re

import pytest
from datasets import call, write_video
from input_cases import CASES

import flowstore

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Extract all cases in one run; return its outcome and the store's record of each case."""
    folder = tmp_path_factory.mktemp("cases")
    (folder / "videos" / "c").mkdir(parents=True)
    for name, case in CASES.items():
        case.make(os.path.join(folder, "videos", "c", name))
    outcome = call("extract", folder / "videos", folder / "flow.zarr", "--scheduler", "processes", "--workers", "2")
    store = flowstore.open_store(folder / "flow.zarr")
    return outcome, store


def test_there_are_enough(rows):
    assert len(CASES) >= 60


def test_the_run_goes_to_its_end(rows):
    outcome, _ = rows
    n_bad = sum(bool(case.reason) for case in CASES.values())
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert f" with flow, {n_bad} failed, " in outcome.out


@pytest.mark.parametrize("name", CASES)
def test_case(rows, name):
    case = CASES[name]
    video = rows[1]["c"][case.name]
    if case.reason:
        assert video.record.status == "failed"
        assert re.fullmatch(case.reason, video.record.reason), video.record.reason
    else:
        assert video.record.status == "ok", video.record.reason
        assert video[:].shape[0] == case.n_flows


def test_folders_that_lead_back_to_themselves_are_said_and_left(tmp_path):
    write_video(tmp_path / "videos" / "c" / "good.avi", 6)
    os.symlink("..", tmp_path / "videos" / "c" / "up")
    os.symlink(".", tmp_path / "videos" / "c" / "here")
    os.symlink(".", tmp_path / "videos" / "top")
    outcome = call("extract", tmp_path / "videos", tmp_path / "flow.zarr")
    assert outcome.code == 0, outcome
    assert [row["video"] for row in flowstore.open_store(tmp_path / "flow.zarr").videos] == ["good"]
    assert "links to a folder that they stand in: c/here, c/up, top" in outcome.err
