"""The compression presets over real flow: bytes a frame, encode and decode time, disk use against JPEG folders.

A frame is one flow, x and y, of 320×240 in uint8 codes. What comes back from every codec is compared with what went
in. Beside the presets stand the levels they were chosen from. JPEG is of quality 95, two files a frame, lossy; its
times are those of cv2.imwrite and cv2.imread, files in the page cache. Disk use counts whole blocks of 4 KiB, as file
systems give them out: a store has one file a video and some metadata. It is that of each video's first 60 flows, long
videos weighing more; kB a frame are of frames spread over each video, and may lie above or below it.

The presets stand there a second time for codes that may be off by 0.16 px, some one step, as `extract --max-error 0.16`
chooses them; choosing comes on top of the nearest codes.

Where imagecodecs is installed JPEG-LS stands beside them. It is a quarter smaller than `small` and packs quickly, and
no preset all the same: it unpacks some four times slower, and a reader without that library could not read the store.

    python benchmarks/bench_compression.py [--video FILE]... [--frames 20] [--plot FILE.png] [--json FILE] [--quick]

Real clips come from --video or FLOWSTORE_DATA; else scenes are drawn and the output says so.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Container, Mapping
from pathlib import Path
from typing import get_args

import numpy as np
from clips import extract_store, find_videos, read_jpegs, write_jpegs
from measuring import describe_machine, format_table, write_results

from flowstore.format.codec import ChunkCodec, Compression, codec_for
from flowstore.quantize import Quantizer
from flowstore.quantize.encoder import CodeChooser, compile_loops
from flowstore.store.writer import VideoWriter

try:
    import imagecodecs
except ImportError:
    imagecodecs = None

JPEG = "JPEG q95 folder"
BLOCK = 4096
MAX_ERROR_PX = 0.16
OTHERS = [
    *(("lz4", level) for level in (1, 9)),
    *(("lz4hc", level) for level in (1, 3, 5, 9)),
    *(("zstd", level) for level in (1, 3, 6, 9)),
]


class JpegLs:
    """Lossless JPEG, x above y as one picture."""

    name = "JPEG-LS"

    def encode(self, frame: np.ndarray) -> bytes:
        """Return the packed frame."""
        return imagecodecs.jpegls_encode(frame.reshape(-1, frame.shape[-1]))

    def decode_into(self, data: bytes, out: np.ndarray) -> None:
        """Fill an array with the frame."""
        imagecodecs.jpegls_decode(data, out=out.reshape(-1, out.shape[-1]))


def blocks(folder: Path) -> int:
    """Return the bytes of the blocks that the files below a folder fill."""
    return sum(-(-path.stat().st_size // BLOCK) * BLOCK for path in folder.rglob("*") if path.is_file())


def time_codec(codec: ChunkCodec | JpegLs, frames: list[np.ndarray], n_rounds: int) -> dict[str, float]:
    """Return bytes a frame and milliseconds a frame, medians over rounds."""
    out = np.empty_like(frames[0])
    encode, decode = [], []
    for round_number in range(n_rounds):
        # The slow levels are encoded once: their figure needs no more.
        if round_number == 0 or encode[0] < 5e-3:
            started = time.perf_counter()
            packed = [codec.encode(frame) for frame in frames]
            encode.append((time.perf_counter() - started) / len(frames))
        started = time.perf_counter()
        for data in packed:
            codec.decode_into(data, out)
        decode.append((time.perf_counter() - started) / len(frames))
    for data, frame in zip(packed, frames, strict=True):
        codec.decode_into(data, out)
        if not np.array_equal(out, frame):
            raise SystemExit(f"{codec} is not lossless")
    size = statistics.mean(len(data) for data in packed)
    return {
        "bytes": size,
        "encode_ms": 1e3 * statistics.median(encode),
        "decode_ms": 1e3 * statistics.median(decode),
    }


def time_jpeg(frames: list[np.ndarray], folder: Path, n_rounds: int) -> dict[str, float]:
    """Return the same of JPEG files."""
    out = np.empty((len(frames), *frames[0].shape), np.uint8)
    encode, decode = [], []
    for _ in range(n_rounds):
        shutil.rmtree(folder, ignore_errors=True)
        started = time.perf_counter()
        size = write_jpegs(frames, folder)
        encode.append((time.perf_counter() - started) / len(frames))
        started = time.perf_counter()
        read_jpegs(folder, 0, out)
        decode.append((time.perf_counter() - started) / len(frames))
    return {
        "bytes": size / len(frames),
        "encode_ms": 1e3 * statistics.median(encode),
        "decode_ms": 1e3 * statistics.median(decode),
    }


def disk_use(store, bounded_store, work: Path) -> dict[str, float]:
    """Return the blocks a frame of whole videos in each preset, of nearest and of chosen codes, and as JPEG folders."""
    sizes: dict[str, float] = {}
    rows = {preset: (preset, store) for preset in get_args(Compression)}
    rows |= {bounded(preset): (preset, bounded_store) for preset in ("fast", "balanced")}
    for name, (preset, coded) in rows.items():
        root = work / name
        for video in coded.iter_videos():
            place = store.storage.__class__(str(root)), video.class_name, video.name, *video.shape[2:]
            with VideoWriter(*place, video.quantizer, preset) as writer:
                # The slow preset is measured on each video's beginning.
                for flow in video.codes[:60]:
                    writer.append(flow)
                writer.commit(video.record)
        sizes[name] = blocks(root) / sum(min(60, len(video)) for video in store.iter_videos())
    n_frames = 0
    for video in store.iter_videos():
        codes = video.codes[:60]
        write_jpegs(codes, work / JPEG / video.class_name / video.name)
        n_frames += len(codes)
    return sizes | {JPEG: blocks(work / JPEG) / n_frames}


def bounded(preset: str) -> str:
    """Return the name of a preset's row with codes that may be off by more than half a step."""
    return f"{preset}, max error {MAX_ERROR_PX:g}"


def choose(quantizer: Quantizer, pixels: list[np.ndarray]) -> tuple[list[np.ndarray], float]:
    """Return codes within `MAX_ERROR_PX` of flow, and the milliseconds that choosing takes, a median."""
    compile_loops(is_choosing=True)
    chooser = CodeChooser(quantizer, pixels[0].shape, MAX_ERROR_PX)
    chosen, seconds = [], []
    for flow in pixels:
        codes = quantizer.encode(flow)
        started = time.perf_counter()
        chooser.choose(flow, codes)
        seconds.append(time.perf_counter() - started)
        chosen.append(codes)
    return chosen, 1e3 * statistics.median(seconds)


def plot(results: Mapping[str, Mapping[str, float]], path: str) -> None:
    """Draw size against decode and encode time: a line a codec, its levels along it, and the presets named."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import patheffects, pyplot
    from matplotlib.ticker import LogLocator, StrMethodFormatter

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 5), sharey=True, layout="constrained")
    sizes = {name: values["bytes"] / 1e3 for name, values in results.items()}
    for axes, key, label in ((left, "decode_ms", "decode, ms a frame"), (right, "encode_ms", "encode, ms a frame")):
        for cname in dict.fromkeys(cname for cname, _ in OTHERS):
            levels_by_name = _levels(results, cname)
            by_level = {level: (results[name][key], sizes[name]) for name, level in levels_by_name.items()}
            levels = sorted(by_level)
            if not levels:
                continue
            axes.plot(*zip(*map(by_level.get, levels), strict=True), "o-", markersize=4, label=cname)
            # The levels between the ends stand in order along the line: where it is short their numbers would collide.
            for level, offset, va in ((levels[0], 4, "bottom"), (levels[-1], -5, "top")):
                where = {"textcoords": "offset points", "ha": "center", "va": va, "fontsize": 9}
                axes.annotate(str(level), by_level[level], (0, offset), **where)
        for name in (*get_args(Compression), JPEG):
            is_preset = name != JPEG
            point, color = (results[name][key], sizes[name]), "black" if is_preset else "C3"
            axes.plot(*point, "D" if is_preset else "s", color=color, markersize=6, zorder=3)
            where = {"ha": "left", "va": "bottom"} if is_preset else {"ha": "right", "va": "center"}
            offset = (5, 4) if is_preset else (-8, 0)
            # Lines run behind the names.
            halo = [patheffects.withStroke(linewidth=3, foreground="white")]
            place = {"textcoords": "offset points", "weight": "bold", "path_effects": halo}
            axes.annotate(name, point, offset, color=color, **place, **where)
        axes.set(xscale="log", yscale="log", xlabel=label)
        axes.margins(x=0.15, y=0.1)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 3)))
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axis.set_minor_formatter("")
        axes.grid(True, color="0.92")
    right.axvline(2, color="0.5", linestyle=":", linewidth=1, label="2 ms, the limit of fast")
    right.legend(title="numbers: the first and last level", loc="upper right")
    left.set_ylabel("kB a frame of 320×240 (x and y)")
    figure.suptitle("What a frame of flow takes: presets (diamonds), codecs by level, JPEG folder")
    figure.savefig(path, dpi=150)


def _levels(names: Container[str], cname: str) -> dict[str, int]:
    """Return the level of each name, preset or ``cname-level``, that stands for a codec."""
    codecs = {preset: codec_for(preset, "uint8") for preset in get_args(Compression)}
    levels = {preset: codec.clevel for preset, codec in codecs.items() if codec.cname == cname}
    return levels | {
        f"{cname}-{level}": level for other, level in OTHERS if other == cname and f"{cname}-{level}" in names
    }


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, action="append", help="a video file; may be given again")
    parser.add_argument("--frames", type=int, default=20, help="frames of each video, spread over it")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--quick", action="store_true", help="few frames, few rounds, presets only")
    parser.add_argument("--plot", help="draw the trade to this PNG")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    if options.quick:
        options.frames, options.rounds = 4, 2
    codecs = {preset: codec_for(preset, "uint8") for preset in get_args(Compression)}
    if not options.quick:
        codecs |= {f"{cname}-{level}": ChunkCodec("uint8", cname, level) for cname, level in OTHERS}
        if imagecodecs:
            codecs[JpegLs.name] = JpegLs()
    with tempfile.TemporaryDirectory(prefix="bench_compression_") as folder:
        work = Path(folder)
        videos, origin = find_videos(options.video, work)
        store = extract_store(videos, work / "flow.zarr", compression="none")
        exact = extract_store(videos, work / "float.zarr", compression="none", dtype="float16")
        places = [
            (video.key, int(number))
            for video in store.iter_videos()
            for number in np.linspace(0, len(video) - 1, options.frames)
        ]
        frames = [store[key].codes[number] for key, number in places]
        pixels = [np.ascontiguousarray(exact[key][number]) for key, number in places]
        chosen, choosing_ms = choose(store.settings.quantizer, pixels)
        results = {name: time_codec(codec, frames, options.rounds) for name, codec in codecs.items()}
        for preset in ("fast", "balanced"):
            results[bounded(preset)] = time_codec(codecs[preset], chosen, options.rounds)
        results[JPEG] = time_jpeg(frames, work / "images", min(3, options.rounds))
        disk = {}
        if not options.quick:
            bounded_store = extract_store(videos, work / "near.zarr", compression="none", max_error=MAX_ERROR_PX)
            disk = disk_use(store, bounded_store, work / "disk")
    rows = []
    for name, values in sorted(results.items(), key=lambda item: item[1]["bytes"]):
        codec = codecs.get(name)
        is_preset = name in get_args(Compression) and codec.cname
        what = f"{codec.cname}-{codec.clevel}" if is_preset else ""
        rows.append(
            [
                name,
                what,
                f"{values['bytes'] / 1e3:.1f}",
                f"{values['encode_ms']:.2f}",
                f"{values['decode_ms']:.3f}",
                f"{disk[name] / 1e3:.1f}" if name in disk else "",
                f"{disk[name] / disk[JPEG]:.2f}" if name in disk else "",
            ]
        )
    machine = describe_machine()
    print(f"{len(frames)} frames of {origin}; {machine['processor']}, one thread, medians")
    print(f"choosing codes takes {choosing_ms:.2f} ms a frame\n")
    header = ["", "codec", "kB a frame", "encode ms", "decode ms", "kB on disk a frame", "× JPEG folder"]
    print(format_table(header, rows))
    if options.plot:
        plot(results, options.plot)
    found = {"origin": origin, "codecs": results, "choosing_ms": choosing_ms, "disk_bytes_per_frame": disk}
    write_results(options.json, "compression", found)


if __name__ == "__main__":
    main()
