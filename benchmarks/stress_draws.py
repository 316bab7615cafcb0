"""How many different clips a training draws: for ranks, samplers, and trainers that say which epoch it is or do not.

Each rank has a dataset of its own, as each training process has; the last rows are of two real processes in a group
over gloo, each with a `DistributedSampler` and a spawned worker that stays. Counted are the fetches of 8 epochs over
all ranks, and how many different clips (flows and crop) were drawn of each item; below the table, what chance alone
would leave.

    python benchmarks/stress_draws.py
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch.distributed
import torch.multiprocessing
from measuring import format_table
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler

from flowstore.demo import write_video
from flowstore.loaders import FlowClips
from flowstore.pipeline import extract
from flowstore.scenes import Scene
from flowstore.transforms import Crop

N_VIDEOS, N_EPOCHS = 24, 8
# Whether the dataset and the sampler are told which epoch it is; trainers such as Lightning tell the sampler.
TRAINERS = {
    "plain loop": (True, True),
    "tells the sampler alone": (False, True),
    "a loop that forgets": (False, False),
}


def make_store(root: Path) -> Path:
    """Write videos of moving textures and extract their flow."""
    for number in range(N_VIDEOS):
        (root / "videos/a").mkdir(parents=True, exist_ok=True)
        write_video(str(root / f"videos/a/{number}.avi"), Scene("right", 64, 96, speed=1.0, seed=number), 60)
    extract(root / "videos", root / "flow.zarr", engine="opencv")
    return root / "flow.zarr"


def count(store: Path, n_ranks: int, is_replaced: bool, tells_dataset: bool, tells_sampler: bool) -> tuple[int, int]:
    """Return the fetches of all ranks, and the different clips among them."""
    datasets = [FlowClips(store, 10, transform=Crop(32), dtype="uint8", return_info=True) for _ in range(n_ranks)]
    drawn = defaultdict(list)
    samplers = [
        RandomSampler(dataset, replacement=True, num_samples=N_VIDEOS // n_ranks)
        if is_replaced
        else DistributedSampler(dataset, n_ranks, rank)
        for rank, dataset in enumerate(datasets)
    ]
    for epoch in range(N_EPOCHS):
        for rank, (dataset, sampler) in enumerate(zip(datasets, samplers, strict=True)):
            os.environ["RANK"] = str(rank)
            if tells_dataset:
                dataset.set_epoch(epoch)
            if tells_sampler and not is_replaced:
                sampler.set_epoch(epoch)
            for *_, info in DataLoader(dataset, 6, sampler=sampler, collate_fn=dataset.collate):
                for number, flows, crop in zip(info["number"], info["flows"], info["crop"], strict=True):
                    drawn[int(number)].append((*flows.flatten().tolist(), *crop.tolist()))
    del os.environ["RANK"]
    return sum(map(len, drawn.values())), sum(len(set(clips)) for clips in drawn.values())


def train(rank: int, n_ranks: int, folder: Path, tells_dataset: bool, tells_sampler: bool) -> None:
    """Be one process of a group: write down what was drawn in all epochs."""
    place = (folder / "meeting").as_uri()
    torch.distributed.init_process_group("gloo", init_method=place, rank=rank, world_size=n_ranks)
    dataset = FlowClips(folder / "flow.zarr", 10, transform=Crop(32), dtype="uint8", return_info=True)
    sampler = DistributedSampler(dataset)
    loader = DataLoader(dataset, 6, sampler=sampler, num_workers=1, persistent_workers=True, collate_fn=dataset.collate)
    drawn = []
    for epoch in range(N_EPOCHS):
        if tells_dataset:
            dataset.set_epoch(epoch)
        if tells_sampler:
            sampler.set_epoch(epoch)
        for *_, info in loader:
            drawn += [
                (int(number), *flows.flatten().tolist(), *crop.tolist())
                for number, flows, crop in zip(info["number"], info["flows"], info["crop"], strict=True)
            ]
    (folder / f"drawn_{rank}.json").write_text(json.dumps(drawn))
    torch.distributed.destroy_process_group()


def count_processes(folder: Path, n_ranks: int, tells_dataset: bool, tells_sampler: bool) -> tuple[int, int]:
    """Return the fetches of a group of processes, and the different clips among them."""
    arguments = n_ranks, folder, tells_dataset, tells_sampler
    torch.multiprocessing.start_processes(train, arguments, n_ranks, start_method="spawn")
    (folder / "meeting").unlink(missing_ok=True)
    drawn = [tuple(clip) for rank in range(n_ranks) for clip in json.loads((folder / f"drawn_{rank}.json").read_text())]
    return len(drawn), len(set(drawn))


def main() -> None:
    """Print the table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder))
        for name, (tells_dataset, tells_sampler) in TRAINERS.items():
            for is_replaced in (False, True):
                counts = [count(store, n, is_replaced, tells_dataset, tells_sampler) for n in (1, 2, 4, 8)]
                sampler = "with replacement" if is_replaced else "without replacement"
                rows.append([name, sampler, *(f"{n_different} of {n_fetched}" for n_fetched, n_different in counts)])
        for name, told in TRAINERS.items():
            n_fetched, n_different = count_processes(Path(folder), 2, *told)
            counted = f"{n_different} of {n_fetched}"
            rows.append([f"{name}, processes", "without replacement", "", counted, "", ""])
        fetched = np.random.default_rng(0)
        n_possible = 50 * 33 * 65
        chance = [len(set(fetched.integers(n_possible, size=N_EPOCHS).tolist())) for _ in range(N_VIDEOS)]
    print(f"{N_VIDEOS} items, {N_EPOCHS} epochs: different clips of all that were fetched\n")
    print(format_table(["trainer", "sampler", "1 rank", "2 ranks", "4 ranks", "8 ranks"], rows))
    print(f"\nby chance alone: {sum(chance)} of {N_EPOCHS * N_VIDEOS}")


if __name__ == "__main__":
    main()
