"""Random windows of 10 flows of 320×240 in one process, warm and cold: flowstore and what people might take instead.

Everything is read as stored, uint8, into an array that is there already. Before anything is timed, each reader's output
is compared with the codes that were written; the JPEGs, which are lossy, must be near. Readers take turns, window by
window. Where others use the machine, readers that hand work to threads of their own (tensorstore, zarrs, zarr-python)
wait longest, and the median says more of the machine than of them: the fastest window is what to compare then.
"decoding alone" is the same windows decoded from memory, without reading, checking or looking anything up.

Cold: before each window a reader is opened anew and its files are evicted from the page cache, so that it also reads
what it has to know of the video. Mapped files are opened anew too: what is mapped cannot be evicted. A virtual
machine's disk may have a cache of its own.

    python benchmarks/bench_read.py [--video FILE]... [--windows 300] [--cold 100] [--json FILE] [--quick]

Real clips come from --video or FLOWSTORE_DATA; else scenes are drawn and the output says so. What is read, and what has
to be installed for it: alternatives.py.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

import numpy as np
from alternatives import FLOWSTORE, JPEG, ZARR, Alternative, Codes, Reader, find_installed
from clips import HEIGHT, WIDTH, disk_use, evict, extract_store, find_videos
from measuring import describe_machine, format_table, summarize, write_results
from numcodecs import blosc

import flowstore
from flowstore.copying import copy
from flowstore.format.codec import codec_for

LENGTH = 10
DECODING, PIXELS, UNPACKED = "decoding alone", "flowstore, pixels in float32", "flowstore, compression none"


def make_decoder(store: flowstore.FlowStore, codes: Codes) -> Reader:
    """Return what decodes the store's chunks from memory."""
    codec = codec_for(store.settings.compression, "uint8")
    if codec.cname is None:
        raise SystemExit("there is nothing to decode without compression")
    packed = {key: [codec.encode(flow) for flow in flows] for key, flows in codes.items()}

    def decode(key: str, start: int, out: np.ndarray) -> None:
        for data, flow in zip(packed[key][start : start + LENGTH], out, strict=True):
            blosc.decompress(data, flow)

    return decode


def make_pixel_reader(store: flowstore.FlowStore) -> Reader:
    """Return what reads pixels instead of codes, into an array of its own."""
    pixels = np.empty((LENGTH, 2, HEIGHT, WIDTH), np.float32)
    return lambda key, start, out: store[key].read(start, start + LENGTH, out=pixels)


def check_reader(alternative: Alternative, read: Reader, codes: Codes) -> None:
    """Compare what a reader gives with the codes that were written."""
    for key, expected in codes.items():
        for start in {0, len(expected) // 2, len(expected) - LENGTH}:
            window = expected[start : start + LENGTH]
            out = np.zeros_like(window)
            read(key, start, out)
            error = np.abs(out.astype(int) - window)
            if error.mean() > 2 if alternative.is_lossy else error.any():
                raise SystemExit(f"{alternative.name} does not give what was written: {key} from {start} on")


def draw_windows(store: flowstore.FlowStore, n_windows: int) -> list[tuple[str, int]]:
    """Draw windows of videos drawn by their number of flows, both ends of every video included."""
    generator = random.Random(0)
    places = [
        (f"{video.class_name}/{video.name}", start)
        for video in store.iter_videos()
        for start in range(len(video) - LENGTH + 1)
    ]
    return generator.choices(places, k=n_windows)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, action="append", help="a video file; may be given again")
    parser.add_argument("--windows", type=int, default=300)
    parser.add_argument("--cold", type=int, default=100, help="windows read with cold files")
    parser.add_argument("--compression", default="fast")
    parser.add_argument("--quick", action="store_true", help="few windows")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    if options.quick:
        options.windows, options.cold = 30, 3
    chosen, left_out = find_installed()
    with tempfile.TemporaryDirectory(prefix="bench_read_") as folder:
        work = Path(folder)
        videos, origin = find_videos(options.video, work)
        root, unpacked = work / "flow.zarr", work / "unpacked.zarr"
        store = extract_store(videos, root, compression=options.compression)
        copy(root, unpacked, compression="none")
        codes = {video.key: video.codes[:] for video in store.iter_videos()}
        places, readers = {one.name: one.lay_out(codes, root, work) for one in chosen}, {}
        chosen.append(Alternative(UNPACKED, chosen[0].open))
        places[UNPACKED] = unpacked
        for one in chosen:
            readers[one.name] = one.open(places[one.name])
            check_reader(one, readers[one.name], codes)
        sizes = {name: disk_use(place) for name, place in places.items()}
        readers |= {DECODING: make_decoder(store, codes), PIXELS: make_pixel_reader(store)}
        out = np.empty((LENGTH, 2, HEIGHT, WIDTH), np.uint8)
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        cold: dict[str, list[float]] = {one.name: [] for one in chosen}
        shuffler = random.Random(1)
        for key, start in draw_windows(store, options.windows):
            # Who follows whom in the processor's caches must not matter.
            for name in shuffler.sample(list(readers), len(readers)):
                started = time.perf_counter()
                readers[name](key, start, out)
                seconds[name].append(time.perf_counter() - started)
        del readers
        os.sync()
        for key, start in draw_windows(store, options.cold):
            for one in shuffler.sample(chosen, len(chosen)):
                read = one.open(places[one.name])
                evict(places[one.name])
                started = time.perf_counter()
                read(key, start, out)
                cold[one.name].append(time.perf_counter() - started)
    load = os.getloadavg()[0]
    n_flows = sum(map(len, codes.values()))
    warm = {name: summarize(values) for name, values in seconds.items()}
    cold_summaries = {name: summarize(values) for name, values in cold.items()}
    lossy = {one.name for one in chosen if one.is_lossy}
    rows = [
        [
            f"{name} (lossy)" if name in lossy else name,
            *(f"{1e3 * summary[kind]:.3f}" for kind in ("median", "min")),
            *(f"{1e3 * cold_summaries[name][kind]:.2f}" if name in cold else "" for kind in ("median", "min")),
            f"{sizes[name] / n_flows / 1e3:.1f}" if name in sizes else "",
        ]
        for name, summary in sorted(warm.items(), key=lambda item: -item[1]["min"])
    ]
    ratios = {
        name: {kind: slow[kind] / fast[kind] for kind in ("median", "min")}
        for name, slow, fast in (
            ("the JPEG folder's time over flowstore's", warm[JPEG], warm[FLOWSTORE]),
            ("the same with cold files", cold_summaries[JPEG], cold_summaries[FLOWSTORE]),
            ("zarr-python's time over flowstore's", warm[ZARR], warm[FLOWSTORE]),
            ("flowstore's time over decoding alone", warm[FLOWSTORE], warm[DECODING]),
        )
    }
    for line in left_out:
        print(line)
    print(
        f"{origin}, {options.compression}; {describe_machine()['processor']}, one process, milliseconds a window; "
        f"load average of the machine {load:.0f}\n"
    )
    header = ["windows of 10 flows", "warm, median", "fastest", "cold, median", "fastest", "kB per flow on disk"]
    print(format_table(header, rows) + "\n")
    for name, ratio in ratios.items():
        print(f"{name}: {ratio['median']:.2f}, of the fastest windows {ratio['min']:.2f}")
    results = {
        "origin": origin,
        "seconds": warm,
        "cold_seconds": cold_summaries,
        "bytes_a_flow": {name: size / n_flows for name, size in sizes.items()},
        "lossy": sorted(lossy),
        "left_out": left_out,
        "ratios": ratios,
        "load": load,
    }
    write_results(options.json, "read", results)


if __name__ == "__main__":
    main()
