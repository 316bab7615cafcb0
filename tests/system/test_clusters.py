"""Working on a Dask cluster of processes of its own; what is wrong with a cluster is found before the work."""

import os
import re
import signal
import socket

import cv2
import pytest
from datasets import call, partial_files, tree, write_dataset, write_video
from processes import DEADLINE_S, cluster, started, wait_until

import flowstore

pytestmark = pytest.mark.system

# Some 5 ms a flow on frames of 32×24.
SLOW = ["--engine", "opencv", "--param", "iterations=400"]


def _same_flow(one, other):
    flows = [
        {path: data[1] for path, data in tree(store).items() if data and "/flow/" in path} for store in (one, other)
    ]
    assert flows[0] == flows[1]
    assert flows[0]


@pytest.mark.slow
def test_a_cluster_that_loses_a_worker_does_the_whole_work(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=4, n_frames=60)
    alone = call("extract", tmp_path / "videos", tmp_path / "alone.zarr", "--scheduler", "sync", *SLOW)
    assert alone.code == 0
    store = tmp_path / "flow.zarr"
    with cluster(tmp_path) as (address, (_, _, worker)):
        with started("extract", tmp_path / "videos", store, "--scheduler", address, *SLOW) as process:
            wait_until(lambda: len(partial_files(store)) == 2, process)
            os.killpg(worker.pid, signal.SIGKILL)
            _, err = process.communicate(timeout=2 * DEADLINE_S)
        assert process.returncode == 0, err
        assert f"({address})" in err
        _same_flow(store, tmp_path / "alone.zarr")
        assert flowstore.open_store(store).n_flows == 8 * 59
        assert partial_files(store) == []
        exported = call("export", store, tmp_path / "images", "--scheduler", address)
        assert exported.code == 0, exported.err
        assert f"{2 * 8 * 59} files written" in exported.out


@pytest.mark.slow
def test_every_command_takes_a_cluster_and_says_what_it_says_alone(tmp_path):
    source = tmp_path / "videos"
    write_dataset(source, n_videos=3, n_frames=8)
    assert call("extract", source, tmp_path / "flow.zarr").code == 0
    (tmp_path / "torn.zarr").mkdir()
    assert call("copy", tmp_path / "flow.zarr", tmp_path / "torn.zarr").code == 0
    shard = tmp_path / "torn.zarr" / "wave" / "v1" / "flow" / "c.0.0.0.0"
    shard.write_bytes(shard.read_bytes()[:-100])
    commands = [
        ["verify", tmp_path / "flow.zarr", "--source", source, "--deep"],
        ["verify", tmp_path / "torn.zarr"],
        ["stats", tmp_path / "flow.zarr"],
        ["export", tmp_path / "flow.zarr", tmp_path / "PLACE" / "images"],
        ["import", tmp_path / "PLACE" / "images", tmp_path / "PLACE" / "imported.zarr"],
        ["copy", tmp_path / "flow.zarr", tmp_path / "PLACE" / "small.zarr", "--compression", "small"],
    ]
    with cluster(tmp_path) as (address, _):
        for command in commands:
            outcomes = []
            for place, scheduler in (("alone", "sync"), ("many", address)):
                (tmp_path / place).mkdir(exist_ok=True)
                placed = [str(word).replace("PLACE", place) for word in command]
                outcome = call(*placed, "--scheduler", scheduler)
                lines = re.sub(r"[\d.]+ s\b( \(.*?/s\))?|alone|many", "", outcome.out).splitlines()
                outcomes.append((outcome.code, lines))
            assert outcomes[0] == outcomes[1], command
            assert outcomes[0][0] == (1 if "torn" in str(command) else 0), command
    _same_flow(tmp_path / "alone" / "imported.zarr", tmp_path / "many" / "imported.zarr")
    _same_flow(tmp_path / "alone" / "small.zarr", tmp_path / "many" / "small.zarr")
    images = [
        {path: data and data[1] for path, data in tree(tmp_path / place / "images" / "wave").items()}
        for place in ("alone", "many")
    ]
    assert images[0] == images[1]
    assert len(images[0]) == 3 + 3 * 14


@pytest.mark.slow
def test_ctrl_c_stops_the_tasks_on_a_cluster_and_leaves_the_cluster(tmp_path):
    for number in range(4):
        write_video(tmp_path / "videos" / "c" / f"long{number}.avi", 250, seed=number)
    store = tmp_path / "flow.zarr"
    with cluster(tmp_path) as (address, processes):
        with started("extract", tmp_path / "videos", store, "--scheduler", address, *SLOW) as process:
            wait_until(lambda: len(partial_files(store)) == 2, process)
            os.killpg(process.pid, signal.SIGINT)
            _, err = process.communicate(timeout=DEADLINE_S)
            assert process.returncode == 130
            assert "Traceback" not in err
        assert partial_files(store) == []
        assert [path for path in store.glob("c/*") if path.is_dir()] == []
        assert all(process.poll() is None for process in processes)


@pytest.mark.slow
def test_a_scheduler_that_goes_away_ends_the_run_in_one_line(tmp_path):
    for number in range(4):
        write_video(tmp_path / "videos" / "c" / f"long{number}.avi", 250, seed=number)
    store = tmp_path / "flow.zarr"
    arguments = ["extract", tmp_path / "videos", store, *SLOW]
    with cluster(tmp_path) as (address, (scheduler, *_)):
        with started(*arguments, "--scheduler", address, "--quiet") as process:
            wait_until(lambda: len(partial_files(store)) == 2, process)
            os.killpg(scheduler.pid, signal.SIGKILL)
            out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 1, err
        assert out == ""
        (line,) = err.splitlines()
        assert line == (
            f"flowstore: lost the Dask scheduler at {address}; what was finished is kept: "
            "start it again, and the same command goes on from there"
        )
    assert call(*arguments, "--limit", "1", "--scheduler", "sync").code == 0


@pytest.mark.slow
def test_a_worker_over_its_memory_limit_is_one_failed_row(tmp_path):
    write_dataset(tmp_path / "videos", classes=("c",), n_videos=2)
    # Its flow alone is larger than the worker's limit.
    write_video(tmp_path / "videos" / "c" / "large.avi", 3, 6000, 4500)
    limits = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    with cluster(tmp_path, n_workers=1, worker_flags=["--memory-limit", "600MB"], **limits) as (address, _):
        outcome = call("extract", tmp_path / "videos", tmp_path / "flow.zarr", "--scheduler", address)
    assert outcome.code == 1, outcome
    records = {row["video"]: row for row in flowstore.open_store(tmp_path / "flow.zarr").videos}
    assert {name: row["status"] for name, row in records.items()} == {"large": "failed", "v0": "ok", "v1": "ok"}
    assert records["large"]["reason"] == "its worker process was killed, by the decoder or for want of memory"


def refusal(tmp_path, address):
    """The line of a run that was refused before any work."""
    before = tree(tmp_path / "videos")
    outcome = call("extract", tmp_path / "videos", tmp_path / "flow.zarr", "--scheduler", address, "--quiet")
    assert outcome.code == 2, outcome
    assert outcome.out == ""
    assert not (tmp_path / "flow.zarr").exists()
    assert tree(tmp_path / "videos") == before
    return outcome.error_line


@pytest.mark.slow
def test_another_version_on_a_worker_is_refused(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=1)
    other = tmp_path / "site" / "flowstore-9.9.9.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: flowstore\nVersion: 9.9.9\n")
    path = os.pathsep.join([str(tmp_path / "site"), str(flowstore.__path__[0]).removesuffix("flowstore")])
    with cluster(tmp_path, n_workers=1, worker_environment={"PYTHONPATH": path}) as (address, _):
        line = refusal(tmp_path, address)
    assert "has other versions: flowstore 9.9.9 there, " in line
    assert line.endswith("Install the same everywhere")


@pytest.mark.slow
def test_another_opencv_on_a_worker_is_refused_by_what_is_imported(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=1)
    (tmp_path / "site").mkdir()
    # Whichever package a worker has it from, the module's version counts.
    (tmp_path / "site" / "cv2.py").write_text("__version__ = '4.0.1'\n")
    path = os.pathsep.join([str(tmp_path / "site"), str(flowstore.__path__[0]).removesuffix("flowstore")])
    with cluster(tmp_path, n_workers=1, worker_environment={"PYTHONPATH": path}) as (address, _):
        line = refusal(tmp_path, address)
    assert line.endswith(f"has other versions: opencv 4.0.1 there, {cv2.__version__} here. Install the same everywhere")


@pytest.mark.slow
def test_a_path_that_a_worker_does_not_see_is_refused(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=1)
    (tmp_path / "site").mkdir()
    # On one machine every process sees the same paths; this one is made blind to those of the source.
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os.path\nreal = os.path.exists\n"
        "os.path.exists = lambda path: '/videos/' not in str(path) and real(path)\n"
    )
    path = os.pathsep.join([str(tmp_path / "site"), str(flowstore.__path__[0]).removesuffix("flowstore")])
    with cluster(tmp_path, n_workers=1, worker_environment={"PYTHONPATH": path}) as (address, _):
        line = refusal(tmp_path, address)
    assert f"does not see {tmp_path}/videos/run/v0.avi: give a path on a file system that all workers share" in line


@pytest.mark.slow
@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        # The store, the folder of files; and a target that would be made on the worker's own disk.
        ("flow.zarr", {"export": "/flow.zarr", "import": ""}),
        ("images", {"export": "/new/images/flowstore-export.json", "import": "/images"}),
    ],
)
def test_export_and_import_refuse_a_worker_that_does_not_see_their_paths(tmp_path, hidden, said):
    write_dataset(tmp_path / "videos", n_videos=1)
    assert call("extract", tmp_path / "videos", tmp_path / "flow.zarr").code == 0
    assert call("export", tmp_path / "flow.zarr", tmp_path / "images").code == 0
    (tmp_path / "site").mkdir()
    # On one machine every process sees the same paths; this one is made blind to some.
    (tmp_path / "site" / "sitecustomize.py").write_text(
        "import os.path\nreal = os.path.exists\n"
        f"os.path.exists = lambda path: '/{hidden}' not in str(path) and real(path)\n"
    )
    path = os.pathsep.join([str(tmp_path / "site"), str(flowstore.__path__[0]).removesuffix("flowstore")])
    with cluster(tmp_path, n_workers=1, worker_environment={"PYTHONPATH": path}) as (address, _):
        exported = call("export", tmp_path / "flow.zarr", tmp_path / "new" / "images", "--scheduler", address)
        imported = call("import", tmp_path / "images", tmp_path / "new.zarr", "--scheduler", address, "--quiet")
    for outcome, place in ((exported, said["export"]), (imported, said["import"])):
        if place:
            assert outcome.code == 2, outcome
            assert f"does not see {tmp_path}{place}: give a path on a file system" in outcome.error_line
    assert not list((tmp_path / "new").rglob("*.jpg"))
    assert (tmp_path / "new.zarr").exists() == (not said["import"])


@pytest.mark.slow
def test_a_cluster_without_workers_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("flowstore.jobs.clusters._JOIN_TIMEOUT", "500ms")
    write_dataset(tmp_path / "videos", n_videos=1)
    with cluster(tmp_path, n_workers=0) as (address, _):
        line = refusal(tmp_path, address)
    assert line == (
        f"flowstore: no worker has joined the Dask scheduler at {address}: start some with: dask worker {address}"
    )


def test_a_wrong_address_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("flowstore.jobs.clusters._CONNECT_TIMEOUT", "500ms")
    write_dataset(tmp_path / "videos", n_videos=1)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
        refused = call("extract", tmp_path / "videos", tmp_path / "flow.zarr", "--scheduler", address, "--quiet")
    assert refused.code == 2
    assert refused.error_line.startswith(f"flowstore: no Dask scheduler answers at {address} (")
    assert refused.out == ""
    assert os.listdir(tmp_path) == ["videos"]
