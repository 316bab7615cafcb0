"""The whole job against the notebook's loop: frame folders in; JPEG folders out of the one, a store out of the other.

Each side is a process of its own, and all of it is counted: start, planning, loading of compiled code, the index. Both
have the same two cores; the loop is one process, as the notebook is, and flowstore has two workers.

    python benchmarks/bench_extract.py [--rounds 3] [--json FILE] [--quick]

Real clips come from FLOWSTORE_DATA or ``--videos FOLDER`` (class/video files); else scenes of known motion are made and
the output says so.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from measuring import alternate, describe_machine, format_table, summarize, write_results

import flowstore
from flowstore.format import codec as chunk_codecs
from flowstore.format import shards
from flowstore.pipeline import task as extraction
from flowstore.quantize import encoder as flow_encoder
from flowstore.scenes import MOTIONS, Scene
from flowstore.sources import images
from flowstore.sources.listing import VIDEO_SUFFIXES

LOOP = Path(__file__).with_name("notebook_loop.py")
N_CORES = 2


def make_frame_folders(videos: Path | None, root: Path, n_flows: int, n_clips: int | None) -> tuple[int, str]:
    """Write class/video/*.jpg folders with at least `n_flows` flows; return their number and where they came from."""
    made = 0
    if videos is None:
        origin = "synthetic scenes (no FLOWSTORE_DATA)"
        clips = {f"{name}/{name}": Scene(name, 240, 320, speed=2.0).frames(150) for name in MOTIONS}
    else:
        origin = "real clips"
        files = [path for path in sorted(videos.rglob("*")) if path.suffix.lower() in VIDEO_SUFFIXES]
        clips = {f"{path.parent.name}/{path.stem}": read_frames(path) for path in files}
    folders = []
    for key, frames in itertools.islice(clips.items(), n_clips):
        folder = root / key
        folder.mkdir(parents=True)
        number = -1
        for number, frame in enumerate(frames):
            cv2.imwrite(str(folder / f"img_{number + 1:05d}.jpg"), frame)
        made += number
        folders.append((folder, number))
    copy = 0
    while made < n_flows:
        copy += 1
        for folder, n_folder_flows in folders:
            shutil.copytree(folder, folder.with_name(f"{folder.name}_{copy}"), copy_function=os.link)
            made += n_folder_flows
    return made, origin


def read_frames(path: Path):
    """Yield the color frames of a video."""
    capture = cv2.VideoCapture(str(path))
    while True:
        is_read, frame = capture.read()
        if not is_read:
            return
        yield frame


def run_loop(frames: Path, out: Path) -> None:
    """Run the notebook's loop as a process."""
    shutil.rmtree(out, ignore_errors=True)
    subprocess.run([sys.executable, LOOP, frames, out], check=True, stdout=subprocess.DEVNULL)


def run_flowstore(frames: Path, store: Path, *options: str) -> None:
    """Run `flowstore extract` as a process."""
    shutil.rmtree(store, ignore_errors=True)
    command = [sys.executable, "-m", "flowstore", "extract", frames, store, "--quiet", *options]
    subprocess.run(command, check=True)


def check_outputs(store: Path, images: Path) -> dict[str, float]:
    """Compare the flow of the two sides, one JPEG of 25: JPEG and both quantizers leave some tenths of a pixel."""
    n_near = n_values = 0
    worst = 0
    opened = flowstore.open_store(store)
    for video in opened.iter_videos():
        for number in range(0, len(video), 25):
            pixels = video[number]
            for component, name in enumerate("xy"):
                path = images / video.class_name / video.name / f"flow_{name}_{number + 1:04d}.jpg"
                levels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE).astype(float)
                difference = np.abs((levels + 0.5) * 40 / 255 - 20 - pixels[component])
                n_near += int((difference <= 0.5).sum())
                n_values += difference.size
                worst = max(worst, float(np.percentile(difference, 99.9)))
    return {"share_within_half_pixel": n_near / n_values, "p99_9_difference_px": worst}


def profile_stages(frames: Path, store: Path, engine: str) -> dict[str, float]:
    """Return milliseconds a flow of each stage, from one run in this process with a clock around each."""
    spent: dict[str, float] = {}
    originals = []

    def clock(owner, name: str, stage: str) -> None:
        function = getattr(owner, name)

        def timed(*args, **kwargs):
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - started

        originals.append((owner, name, function))
        setattr(owner, name, timed)

    from flowstore.pipeline import extract

    stream_type = type(extraction.make_estimator("farneback", engine).stream(240, 320))
    clock(images, "read_levels", "decode")
    clock(images, "to_gray", "gray")
    clock(stream_type, "push", "flow")
    clock(flow_encoder.FlowEncoder, "encode", "quantize and statistics")
    clock(chunk_codecs.ChunkCodec, "encode", "compress")
    clock(shards.ShardWriter, "append", "compress and write")
    shutil.rmtree(store, ignore_errors=True)
    started = time.perf_counter()
    report = extract(frames, store, engine=engine, scheduler="sync")
    total = time.perf_counter() - started
    for owner, name, function in originals:
        setattr(owner, name, function)
    spent["write"] = spent.pop("compress and write") - spent["compress"]
    spent["the rest"] = total - sum(spent.values())
    return {stage: 1e3 * seconds / report.n_flows for stage, seconds in spent.items()}


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=Path, help="folder of class/video files")
    parser.add_argument("--flows", type=int, default=3000, help="at least so many flows")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", default="auto")
    parser.add_argument("--quick", action="store_true", help="two clips, one round")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    if options.quick:
        options.flows, options.rounds = 1, 1
    data = os.environ.get("FLOWSTORE_DATA")
    videos = options.videos or (Path(data) / "videos" if data else None)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:N_CORES])
    with tempfile.TemporaryDirectory(prefix="bench_extract_") as folder:
        work = Path(folder)
        frames, images, store = work / "frames", work / "images", work / "flow.zarr"
        n_flows, origin = make_frame_folders(videos, frames, options.flows, 2 if options.quick else None)
        engine = ("--engine", options.engine)
        run_loop(frames, images)
        run_flowstore(frames, store, *engine)
        agreement = check_outputs(store, images)
        seconds = alternate(
            {
                "notebook loop": lambda: run_loop(frames, images),
                "flowstore, 1 worker": lambda: run_flowstore(frames, store, *engine, "--workers", "1"),
                "flowstore, 2 workers": lambda: run_flowstore(frames, store, *engine, "--workers", "2"),
            },
            options.rounds,
        )
        stages = profile_stages(frames, store, options.engine)
    loop = summarize(seconds["notebook loop"])["median"]
    rows, results = [], {}
    for name, values in seconds.items():
        summary = summarize(values)
        results[name] = {
            "seconds": summary,
            "flows_per_s": n_flows / summary["median"],
            "ratio": loop / summary["median"],
        }
        spread = f"{summary['min']:.1f} to {summary['max']:.1f}"
        rows.append(
            [
                name,
                f"{summary['median']:.1f}",
                spread,
                f"{n_flows / summary['median']:.0f}",
                f"{loop / summary['median']:.2f}",
            ]
        )
    machine = describe_machine()
    print(f"{n_flows} flows of {origin}; {machine['processor']}, {N_CORES} cores, {options.rounds} rounds\n")
    print(format_table(["", "s, median", "spread", "flows/s", "× the loop"], rows))
    print(f"\nagreement: {agreement}\n")
    print(
        format_table(["stage, one worker", "ms a flow"], [[stage, f"{value:.3f}"] for stage, value in stages.items()])
    )
    write_results(
        options.json,
        "extract",
        {"n_flows": n_flows, "origin": origin, "sides": results, "stages_ms": stages, "agreement": agreement},
    )


if __name__ == "__main__":
    main()
