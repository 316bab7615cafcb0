"""Batches for training: a store against a JPEG folder, both through `torch.utils.data.DataLoader`.

Two workers, batches of 32, random windows of 10 flows at 320×240, uint8 out of both: flow alone, and flow beside the
frame that it starts from; and from the folder the frame alone, which costs both sides the same. The JPEG dataset opens
20 files of flow a clip with `cv2.imread`, and one of its frame, and leaves batches to torch's own collate, as training
code does; the store is read by `FlowClips` with its own, and its frames from the same JPEG files. The same clips in
the same order, compared before any timing; the contenders take turns. Files are in the page cache: a round that does
not count sees to it. "torch's own collate" is the store without ``collate_fn=dataset.collate``.

What did not pay for a frame beside 10 flows at 224×224, in processor time of one process: LZ4 and the frame's JPEG
take seven tenths of the store's clip, and the folder's clip takes 3.1 times those two alone. Another build of
libjpeg-turbo (simplejpeg) gives the same pixels in 0.84 of OpenCV's time, 4 % of the clip, for one more dependency. A
JPEG decoded at half scale takes 0.79 of the time, and its pixels are not those of a whole one resized. Pillow takes
2.3 times as long. FFmpeg's MJPEG takes 0.9 before its colors are converted. OpenCV's own order of red, green, blue
saves nothing, nor do ``mixChannels`` and ``extractChannel`` against NumPy's copy. A chunk is one block of Blosc, so
that a crop cannot be unpacked alone.

    python benchmarks/bench_loader.py [--rounds 5] [--batches 40] [--json FILE] [--quick]

Real clips come from FLOWSTORE_DATA or ``--videos FOLDER`` (class/video files); else scenes of known motion are made
and the output says so.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from measuring import alternate, describe_machine, format_table, summarize, write_results
from torch.utils.data import DataLoader, Dataset

from flowstore.demo import write_video
from flowstore.export import export
from flowstore.layouts.flow_names import flow_finder
from flowstore.loaders import FlowClips
from flowstore.pipeline import extract
from flowstore.scenes import MOTIONS, Scene
from flowstore.sources.discovery import discover
from flowstore.transforms import Crop

SIZE = 240, 320
LENGTH, BATCH, N_WORKERS = 10, 32, 2
CROP = 224


class JpegClips(Dataset):
    """The same items from the folders that ``export --layout denseflow`` writes."""

    def __init__(
        self, folder: Path, frames: Path, clips: FlowClips, crop: int | None, has_flow: bool, has_frames: bool
    ) -> None:
        self.crop, self.has_flow, self.has_frames = crop, has_flow, has_frames
        drawn = [clips.flows_of(number) for number in range(len(clips))]
        self.items = [
            (str(folder / key), str(frames / key), int(flows[0, 0]), clips.class_to_idx[key.split("/")[0]])
            for key, flows in drawn
        ]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple:
        folder, frames, start, label = self.items[number]
        height, width = (self.crop, self.crop) if self.crop else SIZE
        top, left = (SIZE[0] - height) // 2, (SIZE[1] - width) // 2
        rgb = None
        if self.has_frames:
            image = cv2.imread(os.path.join(frames, f"{start:05d}.jpg"))[top : top + height, left : left + width]
            rgb = torch.from_numpy(np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1)))
        if not self.has_flow:
            return rgb, label
        clip = np.empty((2 * LENGTH, height, width), np.uint8)
        for channel in range(2 * LENGTH):
            name = f"flow_{'xy'[channel % 2]}_{start + channel // 2:05d}.jpg"
            image = cv2.imread(os.path.join(folder, name), cv2.IMREAD_GRAYSCALE)
            clip[channel] = image[top : top + height, left : left + width]
        flow = torch.from_numpy(clip)
        return (flow if rgb is None else (rgb, flow)), label


def make_data(videos: Path | None, root: Path) -> str:
    """Write a store and JPEG folders of the same codes; return where the videos came from."""
    origin = "real clips"
    if videos is None:
        origin, videos = "synthetic scenes (no FLOWSTORE_DATA)", root / "videos"
        for motion in MOTIONS:
            (videos / motion).mkdir(parents=True)
            write_video(str(videos / motion / f"{motion}.avi"), Scene(motion, *SIZE, speed=2.0), 120)
    for source in discover(videos, find_flow=flow_finder()).sources:
        folder = root / "frames" / source.key
        folder.mkdir(parents=True)
        for number, frame in enumerate(source.open_frames().read_color_frames()):
            cv2.imwrite(str(folder / f"{number:05d}.jpg"), cv2.resize(frame, SIZE[::-1]))
    extract(root / "frames", root / "flow.zarr", encoding="denseflow")
    export(root / "flow.zarr", root / "jpeg", "denseflow", quality=95)
    return origin


def compare(flow: DataLoader, jpeg: DataLoader, n_batches: int) -> dict[str, float]:
    """Raise unless both give the same labels, and codes as near as JPEG of quality 95 leaves them."""
    worst_mean = worst_p999 = 0.0
    for _, (mine, labels), (theirs, their_labels) in zip(range(n_batches), flow, jpeg, strict=False):
        if not isinstance(mine, torch.Tensor):
            (rgb, mine), (their_rgb, theirs) = mine, theirs
            if not torch.equal(rgb, their_rgb):
                raise SystemExit("frames differ")
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype or not torch.equal(labels, their_labels):
            raise SystemExit(f"outputs differ: {mine.dtype} {tuple(mine.shape)}, {theirs.dtype} {tuple(theirs.shape)}")
        difference = np.abs(mine.numpy().astype(np.int16) - theirs.numpy())
        worst_mean = max(worst_mean, float(difference.mean()))
        worst_p999 = max(worst_p999, float(np.percentile(difference[:4], 99.9)))
    if worst_mean > 1.5 or worst_p999 > 16:
        raise SystemExit(f"outputs differ by {worst_mean:.2f} codes in the mean, {worst_p999:.0f} at 99.9 %")
    return {"mean_difference_codes": worst_mean, "p99_9_difference_codes": worst_p999}


def run_epoch(loader: DataLoader, seconds: dict[str, list[float]]) -> None:
    """Take every batch; note the time to the first one, and that of each batch after it."""
    started = time.perf_counter()
    batches = iter(loader)
    next(batches)
    first = time.perf_counter()
    n_batches = sum(1 for _ in batches)
    seconds["first"].append(first - started)
    seconds["batch"].append((time.perf_counter() - first) / n_batches)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=40)
    parser.add_argument("--videos", type=Path, help="folder of class/video files")
    parser.add_argument("--quick", action="store_true", help="8 batches, one round")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.batches = 1, 8
    if options.videos is None and "FLOWSTORE_DATA" in os.environ:
        options.videos = Path(os.environ["FLOWSTORE_DATA"]) / "videos"
    crops = {"320×240": None, f"crop of {CROP}×{CROP}": CROP}
    cases = {
        f"{parts}, {name}": (crop, "flow" in parts, "frame" in parts)
        for parts in ("flow", "frame", "frame and flow")
        for name, crop in crops.items()
    }
    with tempfile.TemporaryDirectory(prefix="bench_loader_") as temporary:
        root = Path(temporary)
        origin = make_data(options.videos, root)
        contenders, timed, differences = {}, {}, {}
        for case, (crop, has_flow, has_frames) in cases.items():
            # With "all" an item is a clip, so that both sides are asked for the same ones.
            transform = Crop(crop, "center") if crop else None
            clips = FlowClips(
                root / "flow.zarr",
                LENGTH,
                sampling="all",
                short="drop",
                dtype="uint8",
                transform=transform,
                frames=root / "frames" if has_frames else None,
            )
            order = np.random.default_rng(0).integers(len(clips), size=BATCH * options.batches).tolist()
            shared = {"batch_size": BATCH, "sampler": order, "num_workers": N_WORKERS}
            folder = JpegClips(root / "jpeg", root / "frames", clips, crop, has_flow, has_frames)
            loaders = {"JPEG folder": DataLoader(folder, **shared)}
            if has_flow:
                loaders["store"] = DataLoader(clips, collate_fn=clips.collate, **shared)
                loaders["store, torch's own collate"] = DataLoader(clips, **shared)
                differences[case] = compare(loaders["store"], loaders["JPEG folder"], 4)
            for name, loader in loaders.items():
                seconds = timed[case, name] = {"first": [], "batch": []}
                contenders[case, name] = lambda loader=loader, seconds=seconds: run_epoch(loader, seconds)
        n_videos = clips.table.n_videos
        # A round that does not count: it fills the page cache.
        alternate(contenders, 1)
        for seconds in timed.values():
            for values in seconds.values():
                values.clear()
        alternate(contenders, options.rounds)
    rows, results = [], {}
    names = ("store", "store, torch's own collate", "JPEG folder")
    for case in cases:
        rates = {
            name: [BATCH / value for value in timed[case, name]["batch"]] for name in names if (case, name) in timed
        }
        if case in differences:
            results[case] = differences[case]
        for name, values in rates.items():
            rate, first = summarize(values), summarize(timed[case, name]["first"])
            ratio = summarize([mine / theirs for mine, theirs in zip(values, rates["JPEG folder"], strict=True)])
            results[f"{case}: {name}"] = {"clips_per_s": rate, "first_batch_s": first, "ratio": ratio}
            times = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if name != names[-1] else "1"
            rows.append([case, name, f"{rate['median']:.0f}", f"{first['median']:.2f}", times])
    print(
        f"{describe_machine()['processor']}, {options.rounds} rounds of {options.batches} batches of {BATCH}, medians; "
        f"{N_WORKERS} workers, {LENGTH} flows, uint8, warm page cache; {origin}, {n_videos} videos\n"
    )
    print(format_table(["", "from", "clips/s", "first batch, s", "times the JPEG folder"], rows))
    write_results(options.json, "loader", {"origin": origin, "n_videos": n_videos, "cases": results})


if __name__ == "__main__":
    main()
