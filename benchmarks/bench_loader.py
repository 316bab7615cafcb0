"""Batches for training through a `DataLoader`: a store, a JPEG folder, and what people might take instead.

Two workers, batches of 32, random windows of 10 flows at 320×240, uint8 out of both: flow alone, and flow beside the
frame that it starts from; and from the folder the frame alone, which costs both sides the same. The JPEG dataset opens
20 files of flow a clip with `cv2.imread`, and one of its frame, and leaves batches to torch's own collate, as training
code does; the store is read by `FlowClips` with its own, and its frames from the same JPEG files. The same clips in
the same order, compared before any timing; the contenders take turns. Files are in the page cache: a round that does
not count sees to it. "torch's own collate" is the store without ``collate_fn=dataset.collate``.

Whole flow is also read by what else a person might pick (alternatives.py, which says what has to be installed), from
the same codes: opened in each worker at its first clip, for what one process opened no other may use, and left to
torch's own collate. What is lossless has to give the store's codes. Bytes are those of the disk's blocks.

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
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import torch
from alternatives import FLOWSTORE, JPEG, Alternative, find_installed
from clips import disk_use
from measuring import alternate, describe_machine, format_table, summarize, write_results
from torch.utils.data import DataLoader, Dataset

import flowstore
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
OWN_COLLATE = f"{FLOWSTORE}, torch's own collate"
WHOLE_FLOW = "flow, 320×240"


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


class AlternativeClips(Dataset):
    """The clips of whole flow as another reader gives them; every worker opens it for itself."""

    def __init__(self, alternative: Alternative, place: Path, clips: FlowClips) -> None:
        self.alternative, self.place, self.read = alternative, place, None
        drawn = [clips.flows_of(number) for number in range(len(clips))]
        self.items = [(key, int(flows[0, 0]), clips.class_to_idx[key.split("/")[0]]) for key, flows in drawn]

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> tuple[torch.Tensor, int]:
        if self.read is None:
            self.read = self.alternative.open(self.place)
        key, start, label = self.items[number]
        clip = np.empty((LENGTH, 2, *SIZE), np.uint8)
        self.read(key, start, clip)
        return torch.from_numpy(clip.reshape(2 * LENGTH, *SIZE)), label


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


def compare(flow: DataLoader, other: DataLoader, n_batches: int, is_lossy: bool) -> dict[str, float]:
    """Raise unless both give the same labels and codes, or codes as near as JPEG of quality 95 leaves them."""
    worst_mean = worst_p999 = 0.0
    for _, (mine, labels), (theirs, their_labels) in zip(range(n_batches), flow, other, strict=False):
        if not isinstance(mine, torch.Tensor):
            (rgb, mine), (their_rgb, theirs) = mine, theirs
            if not torch.equal(rgb, their_rgb):
                raise SystemExit("frames differ")
        if mine.shape != theirs.shape or mine.dtype != theirs.dtype or not torch.equal(labels, their_labels):
            raise SystemExit(f"outputs differ: {mine.dtype} {tuple(mine.shape)}, {theirs.dtype} {tuple(theirs.shape)}")
        difference = np.abs(mine.numpy().astype(np.int16) - theirs.numpy())
        worst_mean = max(worst_mean, float(difference.mean()))
        worst_p999 = max(worst_p999, float(np.percentile(difference[:4], 99.9)))
    if (worst_mean > 1.5 or worst_p999 > 16) if is_lossy else worst_mean:
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
    parser.add_argument("--quick", action="store_true", help="3 batches, one round")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.batches = 1, 3
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
        installed, left_out = find_installed()
        others = {one.name: one for one in installed if one.name not in (FLOWSTORE, JPEG)}
        store = flowstore.open_store(root / "flow.zarr")
        codes = {video.key: video.codes[:] for video in store.iter_videos()}
        places = {FLOWSTORE: root / "flow.zarr", JPEG: root / "jpeg"}
        places |= {name: one.lay_out(codes, places[FLOWSTORE], root) for name, one in others.items()}
        n_flows = sum(map(len, codes.values()))
        bytes_per_flow = {name: disk_use(place) / n_flows for name, place in places.items()}
        bytes_per_flow[OWN_COLLATE] = bytes_per_flow[FLOWSTORE]
        lossy = {JPEG, *(one.name for one in others.values() if one.is_lossy)}
        del codes
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
            loaders = {JPEG: DataLoader(folder, **shared)}
            if has_flow:
                loaders[FLOWSTORE] = DataLoader(clips, collate_fn=clips.collate, **shared)
                loaders[OWN_COLLATE] = DataLoader(clips, **shared)
            if case == WHOLE_FLOW:
                for name, one in others.items():
                    loaders[name] = DataLoader(AlternativeClips(one, places[name], clips), **shared)
            for name, loader in loaders.items():
                if has_flow and name != FLOWSTORE:
                    differences[case, name] = compare(loaders[FLOWSTORE], loader, 4, name in lossy)
                seconds = timed[case, name] = {"first": [], "batch": []}
                contenders[case, name] = lambda loader=loader, seconds=seconds: run_epoch(loader, seconds)
        n_videos = clips.table.n_videos
        # A round that does not count: it fills the page cache.
        alternate(contenders, 1)
        for seconds in timed.values():
            for values in seconds.values():
                values.clear()
        alternate(contenders, options.rounds)
    load = os.getloadavg()[0]
    rows, results = [], {}
    for case in cases:
        rates = {name: [BATCH / value for value in timed[case, name]["batch"]] for at, name in timed if at == case}
        results[case] = {}
        for name in sorted(rates, key=lambda name: -statistics.median(rates[name])):
            rate, first = summarize(rates[name]), summarize(timed[case, name]["first"])
            ratio = summarize([mine / theirs for mine, theirs in zip(rates[name], rates[JPEG], strict=True)])
            difference = differences.get((case, name), {})
            results[case][name] = {"clips_per_s": rate, "first_batch_s": first, "ratio": ratio, **difference}
            times = f"{ratio['median']:.2f} ({ratio['min']:.2f} to {ratio['max']:.2f})" if name != JPEG else "1"
            said = f"{name} (lossy)" if name in lossy and cases[case][1] else name
            size = f"{bytes_per_flow[name] / 1e3:.1f}" if case == WHOLE_FLOW else ""
            rows.append([case, said, f"{rate['median']:.0f}", f"{first['median']:.2f}", times, size])
    for line in left_out:
        print(line)
    print(
        f"{describe_machine()['processor']}, {options.rounds} rounds of {options.batches} batches of {BATCH}, medians; "
        f"{N_WORKERS} workers, {LENGTH} flows, uint8, warm page cache; {origin}, {n_videos} videos; "
        f"load average of the machine {load:.0f}\n"
    )
    header = ["", "from", "clips/s", "first batch, s", "times the JPEG folder", "kB per flow on disk"]
    print(format_table(header, rows))
    results = {
        "origin": origin,
        "n_videos": n_videos,
        "cases": results,
        "bytes_per_flow": bytes_per_flow,
        "lossy": sorted(lossy),
        "left_out": left_out,
        "load": load,
    }
    write_results(options.json, "loader", results)


if __name__ == "__main__":
    main()
