"""Random clips through a DataLoader with two workers, as a process: from a store, or from its JPEG export.

    python benchmarks/training_epoch.py STORE [--jpeg FOLDER] [--clips N]

FOLDER is what `flowstore export STORE FOLDER --layout mmaction2` wrote. Both sides take the same clips of 10 flows in
the same order, uint8, in batches of 32. Prints clips, seconds and the mean of the first batch in pixels, as JSON.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from flowstore.loaders import FlowClips
from flowstore.quantize import Quantizer

LENGTH, BATCH, N_WORKERS = 10, 32, 2


class JpegClips(Dataset):
    """The clips that `FlowClips` draws, from the export: 20 files a clip."""

    def __init__(self, folder: Path, clips: FlowClips) -> None:
        self.folder, self.clips = folder, clips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        key, flows = self.clips.flows_of(number)
        planes = [
            cv2.imread(str(self.folder / key / f"{name}_{flow + 1:05d}.jpg"), cv2.IMREAD_GRAYSCALE)
            for flow in flows[0]
            for name in "xy"
        ]
        return torch.from_numpy(np.stack(planes)), self.clips.targets[number]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", type=Path)
    parser.add_argument("--jpeg", type=Path, help="read this export instead")
    parser.add_argument("--clips", type=int, default=6766)
    options = parser.parse_args()
    clips = FlowClips(options.store, LENGTH, sampling="all", dtype="uint8")
    dataset = JpegClips(options.jpeg, clips) if options.jpeg else clips
    quantizer = Quantizer("denseflow", clips.quantizer.bound_px) if options.jpeg else clips.quantizer
    collate = {} if options.jpeg else {"collate_fn": clips.collate}
    order = np.random.default_rng(0).integers(len(clips), size=options.clips).tolist()
    loader = DataLoader(dataset, BATCH, sampler=order, num_workers=N_WORKERS, **collate)
    n_clips, mean_px = 0, None
    started = time.perf_counter()
    for flow, labels in loader:
        n_clips += len(labels)
        if mean_px is None:
            mean_px = float(np.abs(quantizer.decode(flow.numpy())).mean())
    seconds = time.perf_counter() - started
    print(json.dumps({"clips": n_clips, "seconds": seconds, "mean_px": mean_px}))


if __name__ == "__main__":
    main()
