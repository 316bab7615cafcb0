"""How much RAFT costs through flowstore, beside torchvision's model by hand: from frames on disk to flow on disk.

By hand is the loop that people write: read a folder of frames, give the model batches of pairs, save float16 arrays.
flowstore extracts the same frames to a float16 store, of one worker. Both flows are compared before anything is timed.
Weights are random, of a seed: time does not depend on them. Every device that PyTorch sees here is measured, the CPU
always. Frames come from ``--video``, else from a clip in FLOWSTORE_DATA, else a scene is drawn (and the output says
so). Needs ``flowstore[raft]``.

    python benchmarks/bench_raft.py [--video FILE] [--rounds 5] [--pairs 32] [--batch 8] [--json FILE] [--quick]
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from bench_farneback import draw_clip
from measuring import alternate, describe_machine, format_table, summarize, write_results
from torchvision.models import optical_flow

import flowstore
from flowstore.pipeline import extract

CLIP = "videos/SoccerJuggling/v_SoccerJuggling_g23_c01.avi"
HEIGHT, WIDTH = 240, 320
NAMES = ("raft_small", "raft_large")
# One unit in the last place of a float16 between 16 and 32 px.
TOLERANCE_PX = 2.0**-6


def write_frames(video: str | None, n_frames: int, folder: Path) -> str:
    """Write the first frames of a clip as PNG; return what they are."""
    data = os.environ.get("FLOWSTORE_DATA")
    path = video or (data and str(Path(data) / CLIP))
    if path:
        capture = cv2.VideoCapture(path)
        frames = [frame for good, frame in (capture.read() for _ in range(n_frames)) if good]
        if len(frames) < n_frames:
            raise SystemExit(f"{path}: {len(frames)} frames, expected {n_frames}: take fewer --pairs")
    else:
        frames = [cv2.cvtColor(frame, cv2.COLOR_GRAY2BGR) for frame in draw_clip(HEIGHT, WIDTH, n_frames)]
    for number, frame in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:04d}.png"), cv2.resize(frame, (WIDTH, HEIGHT)))
    return Path(path).name if path else "a drawn scene, not a real clip"


def devices() -> list[str]:
    """Return every kind of device that there is."""
    found = ["cpu"]
    found += ["cuda:0"] if torch.cuda.is_available() else []
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def by_hand(model: Any, device: str, folder: Path, batch: int, iterations: int, destination: Path) -> None:
    """Compute the flow of a folder of frames, and save it."""
    frames = np.stack([cv2.imread(str(path))[..., ::-1] for path in sorted(folder.glob("*.png"))])
    flows = []
    for start in range(0, len(frames) - 1, batch):
        images = torch.from_numpy(frames[start : start + batch + 1].copy()).to(device)
        images = images.permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.5).contiguous()
        with torch.inference_mode():
            flow = model(images[:-1], images[1:], num_flow_updates=iterations)[-1]
        flows.append(flow.half().cpu().numpy())
    np.save(destination, np.concatenate(flows))


def through_flowstore(name: str, params: dict[str, Any], source: Path, store: Path) -> None:
    """Extract the same frames to a store."""
    shutil.rmtree(store, ignore_errors=True)
    report = extract(source, store, algorithm=name, params=params, dtype="float16", scheduler="sync", progress=False)
    if report.failures:
        raise SystemExit(report.failures[0].reason)


def measure(name: str, device: str, folder: Path, work: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Compare and time one model on one device."""
    torch.manual_seed(0)
    model = getattr(optical_flow, name)().eval()
    weights = work / f"{name}.pth"
    torch.save(model.state_dict(), weights)
    model = model.to(device)
    params = {"weights": str(weights), "device": device, "batch": options.batch, "iterations": options.iterations}
    saved, store = work / "hand.npy", work / "flow.zarr"
    contenders = {
        "by hand": partial(by_hand, model, device, folder, options.batch, options.iterations, saved),
        "flowstore": partial(through_flowstore, name, params, folder.parents[1], store),
    }
    # Once before the clock: libraries and kernels are loaded, and the outputs compared.
    for run in contenders.values():
        run()
    found = flowstore.open_store(store)["clip/frames"].codes[:].astype(np.float32)
    difference = float(np.abs(found - np.load(saved).astype(np.float32)).max())
    if not difference <= TOLERANCE_PX:
        raise SystemExit(f"{name} on {device}: flows differ by {difference:g} px")
    seconds = alternate(contenders, options.rounds)
    shown = (
        device if device == "cpu" else f"{device} {torch.cuda.get_device_name(device)}" if "cuda" in device else device
    )
    return {
        "model": name,
        "device": shown,
        "difference_px": difference,
        "pairs_per_s": {side: summarize([options.pairs / value for value in taken]) for side, taken in seconds.items()},
        "ratio": summarize([a / b for a, b in zip(seconds["by hand"], seconds["flowstore"], strict=True)]),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=32)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--iterations", type=int, default=12)
    parser.add_argument("--json")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.pairs, options.batch, options.iterations = 1, 2, 2, 1
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = work / "videos" / "clip" / "frames"
        folder.mkdir(parents=True)
        clip = write_frames(options.video, options.pairs + 1, folder)
        results = [measure(name, device, folder, work, options) for device in devices() for name in NAMES]
    machine = describe_machine()
    print(f"{machine['processor']}, {torch.get_num_threads()} threads; torch {torch.__version__}")
    print(
        f"{clip}, {options.pairs} pairs of {WIDTH}×{HEIGHT}, batches of {options.batch}, "
        f"{options.iterations} iterations\n"
    )
    rows = [
        [
            row["model"],
            row["device"],
            *(
                f"{rate['median']:.3g} ({rate['min']:.3g} to {rate['max']:.3g})"
                for rate in (row["pairs_per_s"][side] for side in ("by hand", "flowstore"))
            ),
            f"{row['ratio']['median']:.2f} ({row['ratio']['min']:.2f} to {row['ratio']['max']:.2f})",
            f"{row['difference_px']:.2g}",
        ]
        for row in results
    ]
    header = ["model", "device", "by hand, pairs/s", "flowstore, pairs/s", "flowstore / by hand", "difference, px"]
    print(format_table(header, rows))
    if devices() == ["cpu"]:
        print("\nPyTorch sees no GPU here, so none was measured.")
    asked = {name: getattr(options, name) for name in ("rounds", "pairs", "batch", "iterations")}
    write_results(options.json, "raft", {"clip": clip, "options": asked, "results": results})


if __name__ == "__main__":
    main()
