"""Train a small two-stream network on frames and flow: on a dataset that it draws itself, or on a store of yours.

    pip install 'flowstore[torch]'
    python examples/train_two_stream.py                         # makes videos, extracts, trains; a minute or two
    python examples/train_two_stream.py hmdb51.zarr --frames hmdb51/ --epochs 60 --short-side 128 --crop 112

A two-stream network (Simonyan and Zisserman, NIPS 2014) judges a frame by one network and the flow of ten frames in a
row, as twenty channels, by another; their scores are added. The videos drawn here need both: red and blue textures move
to the left and to the right, so a frame tells the color alone, and flow the direction alone.

Flips double the training data, with a trap: mirrored, a motion to the left *is* a motion to the right. `HorizontalFlip`
negates x, so that the flow is right, mirrors the frame beside it, and with ``swap`` it changes the label too. Without
the swap half of what the network is told about left and right is wrong, and it learns to tell neither.
On a store of yours say which classes mirror each other: ``--swap turn_left=turn_right``. Without ``--frames`` the flow
is judged alone.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time

import cv2
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from flowstore.loaders import FlowClips
from flowstore.pipeline import extract
from flowstore.scenes import Scene
from flowstore.splits import read_mmaction2
from flowstore.store import FlowStore, open_store
from flowstore.transforms import Compose, Crop, HorizontalFlip, Resize

LENGTH = 10
# Blue, green, red of the texture, and the sign of its speed to the right.
COLORS = {"red": (0.3, 0.3, 1.0), "blue": (1.0, 0.3, 0.3)}
SIGNS = {"left": -1, "right": 1}


def make_store(folder: str, n_videos: int = 24, side: int = 64, n_frames: int = 20) -> tuple[str, str]:
    """Draw videos of each class, every one of its own texture and speed, and extract their flow; return both places."""
    rng = np.random.default_rng(0)
    videos = os.path.join(folder, "videos")
    for color, scale in COLORS.items():
        for direction, sign in SIGNS.items():
            os.makedirs(os.path.join(videos, f"{color}_{direction}"))
            for number in range(n_videos):
                scene = Scene("right", side, side, speed=sign * rng.uniform(0.8, 2.5), seed=int(rng.integers(2**31)))
                path = os.path.join(videos, f"{color}_{direction}", f"{number:02d}.avi")
                writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 25, (side, side))
                for frame in scene.frames(n_frames):
                    writer.write((frame * np.array(scale)).astype(np.uint8))
                writer.release()
    store = os.path.join(folder, "flow.zarr")
    # OpenCV's own kernel starts at once, which is what counts for videos as short as these.
    extract(videos, store, engine="opencv")
    return store, videos


def hold_out(store: FlowStore, every: int = 4) -> tuple[list[str], list[str]]:
    """Return the names of training videos, and of one in `every` of each class that is kept for testing."""
    train, test = [], []
    for class_name in store:
        names = [f"{class_name}/{name}" for name in store.select(label=class_name)[class_name]]
        test += names[::every]
        train += [name for number, name in enumerate(names) if number % every]
    return train, test


class Stream(nn.Sequential):
    """Pictures (n, n_channels, H, W) to scores (n, n_classes)."""

    def __init__(self, n_channels: int, n_classes: int) -> None:
        super().__init__(
            nn.BatchNorm2d(n_channels),
            nn.Conv2d(n_channels, 32, 5, stride=2, padding=2),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            # Where in the picture something is may tell: keep a coarse grid of places.
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(64 * 4 * 4, n_classes),
        )


def pictures_of(batch: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what each stream sees of a batch."""
    return {"flow": batch} if isinstance(batch, torch.Tensor) else dict(zip(("frames", "flow"), batch, strict=True))


def train(streams: nn.ModuleDict, dataset: FlowClips, epochs: int, workers: int) -> None:
    """Train each stream by itself; every epoch draws other windows, crops and flips, the same for both streams."""
    loader = DataLoader(
        dataset,
        batch_size=16,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=dataset.collate,
    )
    optimizer = torch.optim.AdamW(streams.parameters(), lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=epochs * len(loader))
    streams.train()
    for epoch in range(epochs):
        dataset.set_epoch(epoch)
        losses = []
        for batch, labels in loader:
            scores = {name: streams[name](pictures) for name, pictures in pictures_of(batch).items()}
            loss = sum(nn.functional.cross_entropy(its_scores, labels) for its_scores in scores.values())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses.append(loss.item())
        if epoch % 5 == 4 or epoch == epochs - 1:
            print(f"epoch {epoch + 1:3d}: loss {np.mean(losses):.3f}", flush=True)


@torch.inference_mode()
def test(streams: nn.ModuleDict, dataset: FlowClips) -> dict[str, np.ndarray]:
    """Return for each stream and for both the counts of true class (rows) against found class.

    Each video is judged by the mean over its clips, of the logarithm of each class's chance; both streams by the sum.
    """
    streams.eval()
    n_classes = len(dataset.classes)
    confusions: dict[str, np.ndarray] = {}
    for batch, labels in DataLoader(dataset, batch_size=16, collate_fn=dataset.collate):
        scores = {}
        for name, pictures in pictures_of(batch).items():
            # A video's clips one after another, each a picture.
            found = streams[name](pictures.flatten(0, 1)).log_softmax(1)
            scores[name] = found.view(len(labels), -1, n_classes).mean(1)
        if len(scores) > 1:
            scores["both"] = scores["frames"] + scores["flow"]
        for name, its_scores in scores.items():
            confusion = confusions.setdefault(name, np.zeros((n_classes, n_classes), int))
            np.add.at(confusion, (labels.numpy(), its_scores.argmax(1).numpy()), 1)
    return confusions


def run(place: str, frames: str | None, options: argparse.Namespace) -> float:
    """Train on a store and return the share of held-out videos that are found right by all that there is."""
    store = open_store(place)
    if options.train_list:
        train_split, test_split = read_mmaction2(options.train_list), read_mmaction2(options.test_list)
    else:
        train_split, test_split = hold_out(store)
    swap = dict(pair.split("=", 1) for pair in options.swap)
    training = Compose(Resize(options.short_side), Crop(options.crop), HorizontalFlip(0.5, swap))
    testing = Compose(Resize(options.short_side), Crop(options.crop, "center"))
    seen = {}
    if frames:
        seen = {"frames": frames, "frames_at": "middle", "frame_size": options.crop, "frame_dtype": "float32"}
    train_set = FlowClips(store, LENGTH, split=train_split, transform=training, **seen)
    test_set = FlowClips(store, LENGTH, 3, sampling="tsn", split=test_split, transform=testing, training=False, **seen)
    print(train_set, test_set, sep="\n", flush=True)
    streams = nn.ModuleDict({"flow": Stream(2 * LENGTH, len(train_set.classes))})
    if frames:
        streams["frames"] = Stream(3, len(train_set.classes))
    train(streams, train_set, options.epochs, options.workers)
    width = max(map(len, test_set.classes))
    for stream, confusion in test(streams, test_set).items():
        share = float(confusion.trace() / confusion.sum())
        print(f"{stream}: {100 * share:.1f} % right")
        for name, row in zip(test_set.classes, confusion, strict=True):
            print(f"{name:>{width}}", *(f"{count:4d}" for count in row))
    return share


def main(arguments: list[str] | None = None) -> float:
    """Run the example."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", nargs="?", help="a store of yours; by default one of moving textures is made")
    parser.add_argument("--frames", help="what the store was extracted from, for the stream of frames")
    parser.add_argument("--epochs", type=int, default=15)
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
        accuracy = run(options.store, options.frames, options)
    else:
        options.swap = options.swap or [f"{color}_left={color}_right" for color in COLORS]
        with tempfile.TemporaryDirectory() as folder:
            accuracy = run(*make_store(folder), options)
    print(f"{100 * accuracy:.1f} % of held-out videos right, {time.perf_counter() - started:.0f} s")
    return accuracy


if __name__ == "__main__":
    main()
