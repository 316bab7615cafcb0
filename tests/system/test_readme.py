"""Every command and every piece of Python in the README runs, as it stands, on a dataset of the names it uses."""

import os
import re
import shlex
import sys
import types
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from datasets import call, write_frames, write_video
from distributed import LocalCluster
from s3_server import BUCKET, CREDENTIALS

import flowstore

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
# Test in test_examples.py, where PyTorch is installed, and in .ci/run, which runs them in clean environments.
ELSEWHERE = ("### Train from it", "## Try it")
# What a person types beside flowstore.
OTHER_PROGRAMS = {"dask", "pip", "#SBATCH"}


def blocks(language):
    """The README's blocks of a language, each with its section's heading."""
    found = []
    for section in re.split(r"(?m)^(?=##+ )", README):
        heading = section.partition("\n")[0]
        found += [(heading, text) for text in re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)]
    return [block for block in found if block[0] not in ELSEWHERE]


@pytest.fixture(scope="module")
def address():
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def home(tmp_path, monkeypatch, s3_server):
    """A working folder with the dataset of which the README speaks."""
    for number, place in enumerate(
        ("hmdb51/wave/some_video.avi", "data/kinetics/c/v.avi", "hmdb51/wave/turn_left1.avi", "hmdb51/run/other.avi")
    ):
        write_video(tmp_path / place, 60 - number, 64, 48, seed=number)
    for number, place in enumerate(
        (
            "hmdb51_org/wave/some_video.avi", "hmdb51_org/wave/turn_left1.avi", "hmdb51_org/run/other.avi",
            "UCF-101/Archery/v_Archery_g01_c01.avi", "UCF-101/Archery/v_Archery_g08_c01.avi",
            "data/kinetics/train/abseiling/0347ZoDXyP0_000095_000105.mp4",
        )
    ):  # fmt: skip
        write_video(tmp_path / place, 12 + number, 64, 48, seed=number)
    write_frames(tmp_path / "hmdb51_frames/wave/some_video", 12, 64, 48)
    (tmp_path / "ucfTrainTestlist").mkdir()
    for name, line in (
        ("classInd", "1 Archery"), ("trainlist01", "Archery/v_Archery_g08_c01.avi 1"),
        ("testlist01", "Archery/v_Archery_g01_c01.avi"),
    ):  # fmt: skip
        (tmp_path / "ucfTrainTestlist" / f"{name}.txt").write_text(line + "\r\n")
    for name, value in {**CREDENTIALS, "AWS_ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    assert call("extract", "hmdb51", "former.zarr").code == 0
    assert call("export", "former.zarr", "hmdb51_flow").code == 0
    os.mkdir("splits")
    for class_name, lines in (("wave", "some_video.avi 1 \nturn_left1.avi 2 \n"), ("run", "other.avi 1 \n")):
        Path("splits", f"{class_name}_test_split1.txt").write_text(lines)
    os.makedirs("raft/wave")
    np.save("raft/wave/some_video_raft.npy", np.zeros((9, 2, 24, 32), np.float32))
    return tmp_path


def commands():
    """The lines that call flowstore; every other line has to be of a program that is known."""
    found = []
    for _, text in blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=not line.startswith("#SBATCH"))
            variables = [word for word in words[:1] if re.fullmatch(r"[A-Z_0-9]+=.*", word)]
            words = words[len(variables) :]
            if words[:1] == ["flowstore"]:
                found.append(words[1:])
            else:
                assert not words or words[0] in OTHER_PROGRAMS, line
    return found


@pytest.mark.system
def test_every_command_runs(home, address):
    names = {"HOST:8786": address.removeprefix("tcp://"), "/data/": f"{home}/data/", "$SLURM_ARRAY_TASK_ID": "1"}
    names["s3://flows/"] = f"s3://{BUCKET}/readme-"
    ran = set()
    for words in commands():
        for name, value in names.items():
            words = [word.replace(name, value) for word in words]
        outcome = call(*words)
        assert outcome.code == 0, (words, outcome)
        assert "Traceback" not in outcome.err
        ran.add(words[0])
    assert {"extract", "info", "export", "import", "verify", "stats", "render", "copy"} <= ran


def test_every_piece_of_python_runs(home, address, monkeypatch):
    monkeypatch.setattr(matplotlib, "get_backend", lambda: "agg")
    matplotlib.use("agg")
    assert call("extract", "hmdb51", "hmdb51.zarr").code == 0

    class SLURMCluster:
        """Stands for a cluster whose jobs a queue starts: one worker process of this machine."""

        scheduler_address = address

        def __init__(self, **options):
            self.options = options

        def scale(self, jobs):
            assert jobs > 0

    monkeypatch.setitem(sys.modules, "dask_jobqueue", types.SimpleNamespace(SLURMCluster=SLURMCluster))
    scope = {}
    for _, text in blocks("python"):
        exec(text.replace("/data/", f"{home}/data/"), scope)
    assert scope["flow"].dtype == "float32"
    assert flowstore.open_store(f"{home}/data/kinetics.zarr").n_flows == 58
    assert os.path.isdir("jpeg")


def test_links_lead_somewhere():
    root = Path(__file__).parents[2]
    targets = re.findall(r"\]\(([^)#]+)\)", README)
    assert targets
    for target in targets:
        assert target.startswith("https://") or (root / target).exists(), target


def test_files_that_are_named_are_there():
    root = Path(__file__).parents[2]
    named = set(re.findall(r"`((?:tests|benchmarks|examples|flowstore)/[\w/.]+)`", README))
    assert len(named) > 15
    assert [name for name in sorted(named) if not (root / name).exists()] == []
