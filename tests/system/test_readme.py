"""Every command and every piece of Python in the README and the guide runs, as it stands, on a dataset of its names."""

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

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "examples" / "guide"
# In the order of the guide's contents.
PAGES = (
    ROOT / "README.md",
    GUIDE / "README.md",
    *(GUIDE / name for name in re.findall(r"^\| \[\w+\]\((\w+\.md)\)", (GUIDE / "README.md").read_text("utf-8"), re.M)),
)
# Training is tested in test_examples.py, where PyTorch is installed; .ci/run runs the lines that install in clean
# environments.
ELSEWHERE = {("README.md", "## Install"), ("README.md", "## Develop"), ("README.md", "## Train")}
# What a person types beside flowstore.
OTHER_PROGRAMS = {"dask", "pip", "#SBATCH"}


def blocks(page, language):
    """A page's blocks of a language."""
    found = []
    for section in re.split(r"(?m)^(?=##+ )", page.read_text("utf-8")):
        if page.name != "training.md" and (page.name, section.partition("\n")[0]) not in ELSEWHERE:
            found += re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)
    return found


@pytest.fixture(scope="module")
def address():
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster.scheduler_address


@pytest.fixture
def home(tmp_path, monkeypatch, s3_server, guest_estimator):
    """A working folder with the dataset of which the pages speak."""
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
    monkeypatch.syspath_prepend(guest_estimator)
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
    for text in [text for page in PAGES for text in blocks(page, "sh")]:
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
    scopes = {}
    for page in PAGES:
        scope = scopes.setdefault(str(page.relative_to(ROOT)), {})
        for text in blocks(page, "python"):
            exec(compile(text.replace("/data/", f"{home}/data/"), str(page), "exec"), scope)
    notebooks = scopes["examples/guide/notebooks.md"]
    assert notebooks["flow"].dtype == "float32"
    assert (len(notebooks["videos"]), len(notebooks["flows"])) == (3, 59 + 57 + 56)
    assert list(notebooks["tree"].children) == ["some_video", "turn_left1"]
    assert len(scopes["examples/guide/statistics.md"]["channels"].std_px) == 2
    assert flowstore.open_store(f"{home}/data/kinetics.zarr").n_flows == 58
    assert os.path.isdir("denseflow")


def test_links_lead_somewhere():
    for page in PAGES:
        targets = re.findall(r"\]\(([^)]+)\)", page.read_text("utf-8"))
        assert targets or page.parent == GUIDE
        for target in targets:
            path, _, anchor = target.partition("#")
            linked = page.parent / path if path else page
            assert target.startswith("https://") or linked.exists(), (page, target)
            if anchor and not target.startswith("https://"):
                headings = re.findall(r"(?m)^#+ (.*)$", linked.read_text("utf-8"))
                slugs = [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
                assert anchor in slugs, (page, target)


def test_every_page_is_in_the_contents():
    assert sorted(GUIDE.glob("*.md")) == sorted(PAGES[1:])


def test_files_that_are_named_are_there():
    text = "".join(page.read_text("utf-8") for page in PAGES)
    named = set(re.findall(r"`((?:tests|benchmarks|examples|flowstore)/[\w/.]+)`", text))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_readme_names_every_room():
    text = (ROOT / "README.md").read_text("utf-8").split("## Develop")[1]
    rooms = {path.name for path in (ROOT / "flowstore").iterdir() if (path / "__init__.py").exists()}
    files = {path.stem for path in (ROOT / "flowstore").glob("*.py") if not path.stem.startswith("_")}
    assert rooms == set(re.findall(r"`(\w+)/`", text)) & rooms
    assert files == set(re.findall(r"`(\w+)`", text)) & files
    for room, name in re.findall(r"`(\w+)/(\w+)`", text):
        if room not in ("tests",):
            assert (ROOT / "flowstore" / room / f"{name}.py").exists(), (room, name)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 300
