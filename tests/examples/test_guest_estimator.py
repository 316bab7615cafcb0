"""The example of an estimator in a package of its own, installed as one."""

import os
import subprocess
import sys

import numpy as np
from datasets import write_dataset
from synthetic import scene

import flowstore
from flowstore.estimators import check_estimator, make_estimator


def test_it_keeps_the_protocol_and_finds_a_known_motion(guest_estimator, monkeypatch):
    monkeypatch.syspath_prepend(guest_estimator)
    estimator = make_estimator("horn_schunck")
    assert (estimator.algorithm, estimator.engine) == ("horn_schunck", "guest-estimator")
    check_estimator(type(estimator))
    frames, truth = scene([[1, 0, 0.8], [0, 1, -0.6]], 2, 96, 128)
    stream = make_estimator("horn_schunck", params={"alpha": 2, "iterations": 400}).stream(96, 128)
    stream.push(frames[0])
    inside = np.s_[:, 12:-12, 12:-12]
    assert np.hypot(*(stream.push(frames[1]) - truth)[inside]).mean() < 0.25


def test_the_command_line_knows_it_in_processes_of_its_own(guest_estimator, tmp_path):
    write_dataset(tmp_path / "videos", n_videos=1)
    path = os.pathsep.join((str(guest_estimator), os.environ.get("PYTHONPATH", "")))

    def run(*words):
        command = [sys.executable, "-m", "flowstore", *map(str, words)]
        ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    assert "farneback|dis|tvl1|raft_small|raft_large|horn_schunck" in run("extract", "--help")
    store = tmp_path / "s.zarr"
    run("extract", tmp_path / "videos", store, "--algorithm", "horn_schunck", "--scheduler", "processes")
    opened = flowstore.open_store(store)
    assert (opened.settings.algorithm, opened.settings.engine) == ("horn_schunck", "guest-estimator")
    assert opened.settings.params == {"alpha": 10.0, "iterations": 100}
    assert opened["wave/v0"].record.versions["guest-estimator"] == "0.1.0"
    assert opened.n_flows == 2 * 5
