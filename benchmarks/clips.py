"""What the benchmarks of reading share: clips as codes of 320×240, a JPEG folder, bytes on disk, cold files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

import flowstore
from flowstore.pipeline import extract
from flowstore.scenes import MOTIONS, Scene
from flowstore.sources.listing import VIDEO_SUFFIXES

HEIGHT, WIDTH = 240, 320


def find_videos(given: list[Path] | None, work: Path) -> tuple[Path, str]:
    """Return a folder of class/video files and where they came from: given, FLOWSTORE_DATA, or drawn."""
    data = os.environ.get("FLOWSTORE_DATA")
    if given:
        folder = work / "given" / "clips"
        folder.mkdir(parents=True)
        for path in given:
            (folder / path.name).symlink_to(path.resolve())
        return folder.parent, "given clips"
    if data and any(path.suffix.lower() in VIDEO_SUFFIXES for path in (Path(data) / "videos").rglob("*")):
        return Path(data) / "videos", "real clips"
    for name in MOTIONS:
        path = work / "drawn" / name / f"{name}.avi"
        path.parent.mkdir(parents=True)
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 25.0, (WIDTH, HEIGHT))
        for frame in Scene(name, HEIGHT, WIDTH, speed=2.0).frames(60):
            writer.write(frame)
        writer.release()
    return work / "drawn", "synthetic scenes (no FLOWSTORE_DATA)"


def extract_store(videos: Path, store: Path, **options) -> flowstore.FlowStore:
    """Extract flow of 320×240 and open it."""
    extract(videos, store, size=(HEIGHT, WIDTH), **options)
    return flowstore.open_store(store)


def write_jpegs(codes: Iterable[np.ndarray], folder: Path) -> int:
    """Write flow_x_%05d.jpg and flow_y_%05d.jpg of quality 95; return their size in bytes."""
    folder.mkdir(parents=True)
    size = 0
    for number, flow in enumerate(codes):
        for component, name in zip(flow, "xy", strict=True):
            path = folder / f"flow_{name}_{number + 1:05d}.jpg"
            cv2.imwrite(str(path), component, [cv2.IMWRITE_JPEG_QUALITY, 95])
            size += path.stat().st_size
    return size


def read_jpegs(folder: Path, start: int, out: np.ndarray) -> None:
    """Fill (n, 2, H, W) from a JPEG folder."""
    for number, flow in enumerate(out, start + 1):
        for component, name in zip(flow, "xy", strict=True):
            component[...] = cv2.imread(str(folder / f"flow_{name}_{number:05d}.jpg"), cv2.IMREAD_GRAYSCALE)


def disk_use(folder: Path) -> int:
    """Return the bytes of the disk's blocks that the files take: a small file takes more than it holds."""
    os.sync()
    return sum(512 * path.stat().st_blocks for path in folder.rglob("*") if path.is_file())


def evict(*folders: Path) -> None:
    """Drop every file below these folders from the page cache; what is not yet written to disk stays (`os.sync`)."""
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
                os.close(descriptor)
