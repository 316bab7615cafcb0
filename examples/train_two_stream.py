"""Train a small temporal-stream network on flow: on a dataset of motions that it makes itself, or on a store of yours.

    pip install 'flowstore[torch]'
    python examples/train_two_stream.py                         # makes videos, extracts, trains; under a minute
    python examples/train_two_stream.py hmdb51.zarr --epochs 60 --short-side 128 --crop 112

The temporal stream of a two-stream network (Simonyan and Zisserman, NIPS 2014) sees no picture, only the flow of ten
frames in a row as twenty channels. Flips double the training data, with a trap: mirrored, a motion to the left *is* a
motion to the right. `HorizontalFlip` negates x, so that the flow is right, and with ``swap`` it changes the label too.
Without the swap half of what the network is told about left and right is wrong, and it learns to tell neither.
On a store of yours say which classes mirror each other: ``--swap turn_left=turn_right``.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from flowstore.demo import write_video
from flowstore.loaders import FlowClips
from flowstore.pipeline import extract
from flowstore.scenes import Scene
from flowstore.splits import read_mmaction2
from flowstore.store import FlowStore, open_store
from flowstore.transforms import Compose, Crop, HorizontalFlip, Resize

LENGTH = 10
# How each class moves: the scene, and the signs its speed may have. A rotation and a zoom go both ways.
MOTIONS = {
    "left": ("right", (-1,)),
    "right": ("right", (1,)),
    "zoom": ("zoom", (-1, 1)),
    "rotate": ("rotate", (-1, 1)),
    "still": ("still", (1,)),
}


def make_store(folder: str, n_videos: int = 24, side: int = 64, n_frames: int = 20) -> str:
    """Write videos of each class, every one of its own texture and speed, and extract their flow."""
    rng = np.random.default_rng(0)
    videos = os.path.join(folder, "videos")
    for number, (name, (motion, signs)) in enumerate(MOTIONS.items()):
        os.makedirs(os.path.join(videos, name))
        for video in range(n_videos):
            speed = rng.uniform(0.8, 2.5) * signs[video % len(signs)]
            scene = Scene(motion, side, side, speed=speed, seed=1000 * number + video)
            write_video(os.path.join(videos, name, f"{name}_{video:02d}.avi"), scene, n_frames)
    store = os.path.join(folder, "flow.zarr")
    # OpenCV's own kernel starts at once, which is what counts for videos as short as these.
    extract(videos, store, engine="opencv")
    return store


def hold_out(store: FlowStore, every: int = 4) -> tuple[list[str], list[str]]:
    """Return the names of training videos, and of one in `every` of each class that is kept for testing."""
    train, test = [], []
    for class_name in store:
        names = [f"{class_name}/{name}" for name in store.select(label=class_name)[class_name]]
        test += names[::every]
        train += [name for number, name in enumerate(names) if number % every]
    return train, test


class TemporalStream(nn.Sequential):
    """Flow (n, 20, H, W) in pixels to scores (n, n_classes)."""

    def __init__(self, n_classes: int) -> None:
        super().__init__(
            nn.BatchNorm2d(2 * LENGTH),
            nn.Conv2d(2 * LENGTH, 32, 5, stride=2, padding=2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            # Where in the picture a motion is tells a zoom from a rotation: keep a coarse grid of places.
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(64 * 4 * 4, n_classes),
        )


def train(model: nn.Module, dataset: FlowClips, epochs: int, workers: int) -> None:
    """Train; every epoch draws other windows, crops and flips."""
    loader = DataLoader(
        dataset,
        batch_size=16,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=dataset.collate,
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * len(loader))
    model.train()
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        losses = []
        for flow, labels in loader:
            loss = nn.functional.cross_entropy(model(flow), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        if epoch % 5 == 4 or epoch == epochs - 1:
            print(f"epoch {epoch + 1:3d}: loss {np.mean(losses):.3f}", flush=True)


@torch.inference_mode()
def test(model: nn.Module, dataset: FlowClips) -> np.ndarray:
    """Return the counts of true class (rows) against found class, each video judged by the mean over its clips."""
    model.eval()
    confusion = np.zeros((len(dataset.classes), len(dataset.classes)), int)
    for flow, labels in DataLoader(dataset, batch_size=16, collate_fn=dataset.collate):
        n_videos, n_clips = flow.shape[:2]
        scores = model(flow.flatten(0, 1)).view(n_videos, n_clips, -1).mean(1)
        np.add.at(confusion, (labels.numpy(), scores.argmax(1).numpy()), 1)
    return confusion


def run(place: str, options: argparse.Namespace) -> float:
    """Train on a store and return the share of held-out videos that are found right."""
    store = open_store(place)
    if options.train_list:
        train_split, test_split = read_mmaction2(options.train_list), read_mmaction2(options.test_list)
    else:
        train_split, test_split = hold_out(store)
    swap = dict(pair.split("=", 1) for pair in options.swap)
    training = Compose(Resize(options.short_side), Crop(options.crop), HorizontalFlip(0.5, swap))
    testing = Compose(Resize(options.short_side), Crop(options.crop, "center"))
    train_set = FlowClips(store, LENGTH, split=train_split, transform=training)
    test_set = FlowClips(store, LENGTH, 3, sampling="tsn", split=test_split, transform=testing, training=False)
    print(train_set, test_set, sep="\n", flush=True)
    model = TemporalStream(len(train_set.classes))
    train(model, train_set, options.epochs, options.workers)
    confusion = test(model, test_set)
    width = max(map(len, test_set.classes))
    for name, row in zip(test_set.classes, confusion, strict=True):
        print(f"{name:>{width}}", *(f"{count:4d}" for count in row))
    return float(confusion.trace() / confusion.sum())


def main(arguments: list[str] | None = None) -> float:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", nargs="?", help="a store of yours; by default one of moving textures is made")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--short-side", type=int, default=64, help="frames are resized to it, flow scaled with them")
    parser.add_argument("--crop", type=int, default=56)
    parser.add_argument("--swap", action="append", metavar="CLASS=CLASS", help="classes that a mirror makes each other")
    parser.add_argument("--train-list", help="lists of mmaction2; by default one video in four is held out")
    parser.add_argument("--test-list")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    if bool(options.train_list) != bool(options.test_list):
        parser.error("--train-list and --test-list go together")
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    started = time.perf_counter()
    if options.store:
        options.swap = options.swap or []
        accuracy = run(options.store, options)
    else:
        options.swap = options.swap or ["left=right"]
        with tempfile.TemporaryDirectory() as folder:
            accuracy = run(make_store(folder), options)
    print(f"{100 * accuracy:.1f} % of held-out videos right, {time.perf_counter() - started:.0f} s")
    return accuracy


if __name__ == "__main__":
    main()
