"""The guide's config for mmaction2: its own classes read from an export what the store holds.

.ci/run installs mmaction2 beside the environment, since it asks for another package of OpenCV.
"""

import re
from pathlib import Path

import numpy as np
import pytest
from store_factory import settings_of, write_store

import flowstore
from flowstore.export import export

pytest.importorskip("mmaction", reason="mmaction2 is not installed: .ci/run installs it for this test")

from mmaction.registry import DATASETS
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

RECIPES = Path(__file__).parents[2] / "examples" / "guide" / "recipes.md"
LENGTHS = {"run/other": 9, "wave/some_video": 12, "wave/turn_left1": 3}


def blocks_of_codes(n_flows, seed):
    """Return codes that JPEG keeps to the bit: each of its blocks of 8×8 pixels holds one code."""
    blocks = np.random.default_rng(seed).integers(1, 256, (n_flows, 2, 6, 8), np.uint8)
    return blocks.repeat(8, axis=2).repeat(8, axis=3)


@pytest.fixture(params=["denseflow", "centred"])
def config(request, tmp_path, monkeypatch):
    """Export as the guide's command does; return its config as mmaction2 reads it."""
    monkeypatch.chdir(tmp_path)
    videos = {key: blocks_of_codes(n, seed) for seed, (key, n) in enumerate(LENGTHS.items())}
    write_store("hmdb51-videos.zarr", videos, settings=settings_of(request.param))
    Path("splits").mkdir()
    for class_name, lines in (("wave", "some_video.avi 1 \nturn_left1.avi 2 \n"), ("run", "other.avi 1 \n")):
        Path("splits", f"{class_name}_test_split1.txt").write_text(lines)
    export("hmdb51-videos.zarr", "data/hmdb51/rawframes", "mmaction2", lists=["hmdb51:splits/:1"], scheduler="sync")
    (text,) = re.findall(r"```python\n(.*?)```", RECIPES.read_text("utf-8").split("## mmaction2")[1], re.DOTALL)
    Path("config.py").write_text(text)
    init_default_scope("mmaction")
    return Config.fromfile("config.py")


@pytest.mark.parametrize(
    ("loader", "videos"),
    [
        ("train_dataloader", [("run/other", 0), ("wave/some_video", 1)]),
        ("val_dataloader", [("wave/turn_left1", 1)]),
        ("test_dataloader", [("wave/turn_left1", 1)]),
    ],
)
def test_it_reads_the_flow_of_the_store(config, loader, videos):
    store = flowstore.open_store("hmdb51-videos.zarr")
    dataset = DATASETS.build(config[loader].dataset)
    assert len(dataset) == len(videos)
    for number, (key, label) in enumerate(videos):
        info = dataset.get_data_info(number)
        assert (info["total_frames"], info["label"]) == (LENGTHS[key], label)
        # Every flow, and the clips that its sampling chooses.
        sample, decode = dataset.pipeline.transforms[:2]
        for indices in (np.arange(1, LENGTHS[key] + 1), sample(dict(info))["frame_inds"]):
            pictures = decode(info | {"frame_inds": indices})["imgs"]
            codes = store[key].codes[:][np.ravel(indices) - 1]
            if store.settings.quantizer.encoding == "centred":
                # 128 is no motion there and ±127 the bound; denseflow's 0 and 255 are the bound.
                codes = np.rint(255 * ((codes - 128.0) / 127 + 1) / 2)
            np.testing.assert_array_equal(np.moveaxis(pictures, -1, 1), codes)


def test_its_loader_gives_batches_for_the_network(config):
    loader = Runner.build_dataloader(config.train_dataloader | {"num_workers": 0, "persistent_workers": False})
    batch = next(iter(loader))
    # Three clips of five flows, x and y of each.
    assert [tuple(item.shape) for item in batch["inputs"]] == [(3, 10, 224, 224)] * 2
    assert sorted(int(sample.gt_label) for sample in batch["data_samples"]) == [0, 1]
