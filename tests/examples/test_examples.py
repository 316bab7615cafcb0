"""The examples and the README's training code do what they say, as a user runs them."""

import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from store_factory import make_codes, write_store
from torch_tests import import_torch

ROOT = Path(__file__).parents[2]


def run_example(*arguments):
    import_torch()
    command = [sys.executable, ROOT / "examples" / "train_two_stream.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
def test_neither_stream_tells_the_classes_and_both_do():
    output = run_example()
    shares = {name: float(share) for name, share in re.findall(r"^(\w+): ([\d.]+) % right$", output, re.MULTILINE)}
    assert set(shares) == {"frames", "flow", "both"}
    assert shares["both"] >= 95
    # A color, or a direction, leaves two classes, of which a guess is right half the time.
    assert max(shares["frames"], shares["flow"]) <= 75
    (percent,) = re.findall(r"([\d.]+) % of held-out videos right, \d+ s$", output.strip())
    assert float(percent) == shares["both"]


@pytest.mark.system
def test_it_takes_a_store_of_ones_own_and_lists(tmp_path):
    keys = [f"{class_name}/v{number}" for class_name in ("up", "down") for number in range(4)]
    write_store(tmp_path / "own.zarr", {key: make_codes(6, seed=seed) for seed, key in enumerate(keys)})
    for name, wanted in (("train", keys[1:4] + keys[5:]), ("test", [keys[0], keys[4]])):
        (tmp_path / f"{name}.txt").write_text("".join(f"{key}.avi 0\n" for key in wanted))
    options = "--epochs", "1", "--short-side", "24", "--crop", "20", "--workers", "0"
    lists = "--train-list", tmp_path / "train.txt", "--test-list", tmp_path / "test.txt"
    for extra in ((), lists):
        output = run_example(tmp_path / "own.zarr", *options, *extra)
        assert "6 items, 6 videos in 2 classes; 10 flows" in output
        assert "2 items, 2 videos in 2 classes; 3 clips of 10 flows" in output
        assert "% of held-out videos right" in output


def test_the_index_names_every_example():
    index = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\((.+?\.py)\)", index)) == {path.name for path in (ROOT / "examples").glob("*.py")}


def python_of(text):
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def test_the_training_code_of_the_readme_and_the_guide_runs(tmp_path, monkeypatch):
    torch = import_torch()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (short,) = python_of(readme.split("## Train\n")[1].split("\n## ")[0])
    blocks = python_of((ROOT / "examples" / "guide" / "training.md").read_text(encoding="utf-8"))
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    keys = [f"{class_name}/v{number}" for class_name in ("brush_hair", "wave") for number in range(3)]
    codes = {key: make_codes(12, 240, 320 + 8 * n, seed=n) for n, key in enumerate(keys)}
    write_store("hmdb51.zarr", codes)
    Path("splits").mkdir()
    for class_name in ("brush_hair", "wave"):
        Path("splits", f"{class_name}_test_split1.txt").write_text("v0.avi 1 \nv1.avi 1 \nv2.avi 2 \n")
    seen = []
    scope = {"train_step": lambda flow, labels: seen.append((tuple(flow.shape), sorted(labels.tolist())))}
    for text in (short, blocks[0]):
        seen.clear()
        exec(text, scope)
        assert seen == [((4, 20, 224, 224), [0, 0, 1, 1])] * 10
    exec(blocks[1], scope)
    flow, label = scope["test"][1]
    assert (tuple(flow.shape), label) == ((25, 20, 224, 224), 1)
    name, flows = scope["test"].flows_of(1)
    assert name == "wave/v2"
    assert np.array_equal(flows, np.sort(flows, axis=0))
    for key, flow in codes.items():
        (tmp_path / "hmdb51" / key).mkdir(parents=True)
        for number in range(13):
            cv2.imwrite(f"hmdb51/{key}/{number}.png", np.full((*flow.shape[2:], 3), number, np.uint8))
    exec(blocks[2], scope)
    assert tuple(scope["rgb"].shape) == (3, 224, 224)
    assert scope["rgb"].unique().tolist() == scope["info"]["frames"].flatten().tolist()
    exec(blocks[3], scope)
    name, flows = scope["told"].flows_of(0)
    assert (name, flows[0, 0]) == (scope["info"]["name"], scope["info"]["flows"][0, 0])
    scope["train"].set_epoch(4)
    scope["train"][2]
    state = scope["train"].state_dict()
    exec(blocks[4], scope | {"model": torch.nn.Linear(1, 1)})
    assert scope["train"].epoch == 4
    assert torch.equal(scope["train"].state_dict()["fetched"], state["fetched"])
