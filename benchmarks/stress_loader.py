"""A long training, a killed one, and one in a container with 64 MB of ``/dev/shm``: what a DataLoader of clips leaves.

The memory of the main process and its workers (what they share counted once) is taken every so many batches, and that
of the last third compared with that of the third before it; with it the main process's descriptors. Then a training is
killed by SIGKILL between two batches: its workers have to end by themselves, and nothing of it be in ``/dev/shm``.
Last, batches of several sizes go through a mount of 64 MB there, in a namespace of its own (``unshare``, Linux): by
torch's own collate, and by the dataset's.

    python benchmarks/stress_loader.py [--batches 2000]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import torch
from measuring import format_table
from torch.utils.data import DataLoader, RandomSampler

from flowstore.demo import write_video
from flowstore.loaders import FlowClips
from flowstore.pipeline import extract
from flowstore.scenes import Scene
from flowstore.transforms import Compose, Crop, HorizontalFlip, Resize

N_WORKERS, BATCH = 2, 8
# Growth that is no leak: of buffers, and of what the allocator keeps.
ALLOWED_MB = 8
# Of the batches on their way, of which torch's own collate has one for each tensor; a leak would be hundreds.
ALLOWED_DESCRIPTORS = 32
DEADLINE_S = 120
SHM_MB = 64


def make_dataset(root: Path) -> None:
    """Write videos of moving textures and extract their flow."""
    (root / "videos/a").mkdir(parents=True)
    for number in range(6):
        write_video(str(root / f"videos/a/{number}.avi"), Scene("right", 64, 96, speed=1.0, seed=number), 30)
    extract(root / "videos", root / "flow.zarr", engine="opencv")


def make_loader(root: Path, n_batches: int, is_own: bool) -> DataLoader:
    """Return batches of flow and the frames beside it, cropped and flipped."""
    dataset = FlowClips(
        root / "flow.zarr", transform=Compose(Crop(48), HorizontalFlip()), frames=root / "videos", return_info=True
    )
    sampler = RandomSampler(dataset, replacement=True, num_samples=n_batches * BATCH)
    collate = dataset.collate if is_own else None
    return DataLoader(dataset, BATCH, sampler=sampler, num_workers=N_WORKERS, collate_fn=collate)


def memory_mb() -> float:
    """Return what this process and its children take, shared memory once."""
    processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
    return sum(process.memory_full_info().pss for process in processes) / 2**20


def soak(root: Path, n_batches: int, is_own: bool) -> tuple[str, bool]:
    """Take many batches; say how memory and descriptors went, and whether they stayed."""
    every = max(1, n_batches // 60)
    memory, descriptors = [], []
    for number, _ in enumerate(make_loader(root, n_batches, is_own)):
        if number % every == 0:
            memory.append(memory_mb())
            descriptors.append(psutil.Process().num_fds())
    third = len(memory) // 3
    before, after = (statistics.median(part) for part in (memory[third : 2 * third], memory[2 * third :]))
    n_before, n_after = (
        int(statistics.median(part)) for part in (descriptors[third : 2 * third], descriptors[2 * third :])
    )
    told = f"{before:.0f} MB, then {after:.0f} MB; {n_before} descriptors, then {n_after}"
    return told, after <= before + ALLOWED_MB and n_after <= n_before + ALLOWED_DESCRIPTORS


def kill(root: Path, is_own: bool) -> tuple[str, bool]:
    """Kill a training's main process; say what is left of it."""
    before = set(os.listdir("/dev/shm"))
    command = [sys.executable, __file__, "--train", str(root), *(["--own"] if is_own else [])]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(5):
        if not process.stdout.readline():
            raise SystemExit("the training that was to be killed ended by itself")
    children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=DEADLINE_S)
    left = sorted(set(os.listdir("/dev/shm")) - before)
    told = f"{len(children)} workers, {len(alive)} of them left; in /dev/shm {', '.join(left) or 'nothing'}"
    return told, len(children) == N_WORKERS and not alive and not left


def train(root: Path, is_own: bool) -> None:
    """Train until killed, with a line for each batch."""
    for number, _ in enumerate(make_loader(root, 10**6, is_own)):
        print(number, flush=True)


def in_container(root: Path, side: int, is_own: bool) -> str:
    """Return how 6 batches went with 64 MB in /dev/shm; empty where no such mount may be made."""
    mount = f'mount -t tmpfs -o size={SHM_MB}m tmpfs /dev/shm && exec "$@"'
    namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", mount, "sh"]
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        return ""
    command = [sys.executable, __file__, "--take", str(root), "--side", str(side), *(["--own"] if is_own else [])]
    done = subprocess.run([*namespace, *command], capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    return "passes" if done.returncode == 0 else "fails"


def take(root: Path, side: int, is_own: bool) -> None:
    """Take 6 batches of two items, of float32 flow of some size, from one worker."""
    room = os.statvfs("/dev/shm")
    assert room.f_blocks * room.f_frsize == SHM_MB * 2**20
    dataset = FlowClips(root / "flow.zarr", transform=Resize((side, side)))
    loader = DataLoader(
        dataset, 2, num_workers=1, collate_fn=dataset.collate if is_own else None, prefetch_factor=2, shuffle=True
    )
    held = None
    for _ in range(2):
        for flow, _ in loader:
            assert flow.shape == (2, 20, side, side)
            # As a training step does, which works on one batch while the next ones are made.
            held = flow.sum(), flow
    assert held is not None


def main() -> int:
    """Run the stress; 1 where something leaks or is left."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batches", type=int, default=2000)
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--take", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--side", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--own", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.train:
        train(options.train, options.own)
    elif options.take:
        take(options.take, options.side, options.own)
    else:
        return stress(options.batches)
    return 0


def stress(n_batches: int) -> int:
    """Run everything and print the table."""
    rows, is_well = [], True
    collates = {"dataset.collate": True, "torch's own": False}
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_dataset(root)
        for what, run in (
            (f"{n_batches} batches", lambda is_own: soak(root, n_batches, is_own)),
            ("SIGKILL", lambda is_own: kill(root, is_own)),
        ):
            for name, is_own in collates.items():
                told, is_good = run(is_own)
                is_well = is_well and is_good
                rows.append([what, name, told, "yes" if is_good else "NO"])
        for side in (128, 256, 512):
            size = f"{2 * 20 * side**2 * 4 / 2**20:.1f} MB a batch, {SHM_MB} MB of /dev/shm"
            found = {name: in_container(root, side, is_own) for name, is_own in collates.items()}
            for name, told in found.items():
                # What torch can do there is asked of the dataset; what torch cannot is its own affair.
                is_asked = bool(told) and collates[name]
                is_well = is_well and (told == "passes" or not is_asked)
                answer = "yes" if told == "passes" else "NO" if is_asked else "-"
                rows.append([size, name, told or "no mount is allowed here", answer])
    print(f"{N_WORKERS} workers, batches of {BATCH} clips of 10 flows at 48×48 and a frame\n")
    print(format_table(["", "collate", "found", "as it should be"], rows))
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
