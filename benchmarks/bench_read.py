"""Random windows of 10 flows of 320×240 in one process, files in the page cache: clips a second of each reader.

Everything is read as stored, uint8, into an array that is there already. Before anything is timed, each reader's output
is compared with the codes that were written; the JPEGs, which are lossy, must be near. Readers take turns, window by
window, so that a busy machine hurts all alike; the table gives medians over windows. "decoding alone" is the same
windows decoded from memory, without reading, checking or looking anything up; "raw codes" is np.memmap of a file of
uncompressed codes, the limit.

    python benchmarks/bench_read.py [--video FILE]... [--windows 300] [--json FILE] [--quick]

Real clips come from --video or FLOWSTORE_DATA; else scenes are drawn and the output says so.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import zarr
from clips import HEIGHT, WIDTH, extract_store, find_videos, read_jpegs, write_jpegs
from measuring import describe_machine, format_table, summarize, write_results
from numcodecs import blosc

import flowstore
from flowstore.format.codec import codec_for
from flowstore.format.root import RootAttributes
from flowstore.format.zarr_metadata import FORMAT
from flowstore.storage.local import LocalStorage
from flowstore.store.writer import VideoWriter, write_root

LENGTH = 10
JPEG, ZARR, DIRECT, DECODING, MEMMAP = (
    "JPEG folder, cv2.imread",
    "zarr-python, default pipeline",
    "flowstore",
    "decoding alone",
    "raw codes, np.memmap",
)
PIXELS = "flowstore, pixels in float32"
UNPACKED = "flowstore, compression none"
TENSORSTORE = "tensorstore"

Reader = Callable[[str, int, np.ndarray], None]


def make_readers(store: flowstore.FlowStore, root: Path, work: Path) -> dict[str, Reader]:
    """Write what the readers read and return them."""
    arrays, codes, raw, packed = {}, {}, {}, {}
    codec = codec_for(store.settings.compression, "uint8")
    if codec.cname is None:
        raise SystemExit("there is nothing to decode without compression")
    write_root(LocalStorage(str(work / "plain.zarr")), RootAttributes(FORMAT, store.settings, {}, ""))
    plain = flowstore.open_store(work / "plain.zarr")
    for video in store.iter_videos():
        key = f"{video.class_name}/{video.name}"
        codes[key] = video.codes[:]
        arrays[key] = zarr.open_array(root / key / "flow", mode="r")
        write_jpegs(codes[key], work / "jpeg" / key)
        path = work / "raw" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        codes[key].tofile(path)
        raw[key] = np.memmap(path, np.uint8, "r", shape=codes[key].shape)
        with VideoWriter(plain.storage, video.class_name, video.name, HEIGHT, WIDTH, video.quantizer, "none") as writer:
            for flow in codes[key]:
                writer.append(flow)
            writer.commit(video.record)
        packed[key] = [codec.encode(flow) for flow in codes[key]]

    def read_zarr(key: str, start: int, out: np.ndarray) -> None:
        out[:] = arrays[key][start : start + LENGTH]

    def read_flowstore(key: str, start: int, out: np.ndarray) -> None:
        store[key].read_codes(start, start + LENGTH, out=out)

    def read_unpacked(key: str, start: int, out: np.ndarray) -> None:
        plain[key].read_codes(start, start + LENGTH, out=out)

    def decode(key: str, start: int, out: np.ndarray) -> None:
        for data, flow in zip(packed[key][start : start + LENGTH], out, strict=True):
            blosc.decompress(data, flow)

    def read_memmap(key: str, start: int, out: np.ndarray) -> None:
        out[:] = raw[key][start : start + LENGTH]

    readers: dict[str, Reader] = {
        JPEG: lambda key, start, out: read_jpegs(work / "jpeg" / key, start, out),
        ZARR: read_zarr,
        DIRECT: read_flowstore,
        UNPACKED: read_unpacked,
        DECODING: decode,
        MEMMAP: read_memmap,
    }
    try:
        import tensorstore
    except ImportError:
        print("tensorstore is not installed: it is left out")
    else:
        opened = {
            key: tensorstore.open(
                {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(root / key / "flow")}}
            ).result()
            for key in codes
        }

        def read_tensorstore(key: str, start: int, out: np.ndarray) -> None:
            out[:] = opened[key][start : start + LENGTH].read().result()

        readers[TENSORSTORE] = read_tensorstore
    check_readers(readers, codes)
    pixels = np.empty((LENGTH, 2, HEIGHT, WIDTH), np.float32)

    def read_pixels(key: str, start: int, out: np.ndarray) -> None:
        store[key].read(start, start + LENGTH, out=pixels)

    readers[PIXELS] = read_pixels
    return readers


def check_readers(readers: dict[str, Reader], codes: dict[str, np.ndarray]) -> None:
    """Compare every reader with the codes that were written."""
    for key, expected in codes.items():
        for start in {0, len(expected) // 2, len(expected) - LENGTH}:
            window = expected[start : start + LENGTH]
            for name, read in readers.items():
                out = np.zeros_like(window)
                read(key, start, out)
                error = np.abs(out.astype(int) - window)
                if (name == JPEG and error.mean() > 2) or (name != JPEG and error.any()):
                    raise SystemExit(f"{name} does not give what was written: {key} from {start} on")


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
    parser.add_argument("--compression", default="fast")
    parser.add_argument("--quick", action="store_true", help="few windows")
    parser.add_argument("--json", help="write the results to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench_read_") as folder:
        work = Path(folder)
        videos, origin = find_videos(options.video, work)
        root = work / "flow.zarr"
        store = extract_store(videos, root, compression=options.compression)
        readers = make_readers(store, root, work)
        out = np.empty((LENGTH, 2, HEIGHT, WIDTH), np.uint8)
        seconds: dict[str, list[float]] = {name: [] for name in readers}
        shuffler = random.Random(1)
        for key, start in draw_windows(store, 30 if options.quick else options.windows):
            # Who follows whom in the processor's caches must not matter.
            for name in shuffler.sample(list(readers), len(readers)):
                started = time.perf_counter()
                readers[name](key, start, out)
                seconds[name].append(time.perf_counter() - started)
    summaries = {name: summarize(values) for name, values in seconds.items()}
    direct = summaries[DIRECT]["median"]
    rows = [
        [
            name,
            f"{1e3 * summary['median']:.3f}",
            f"{1 / summary['median']:.0f}",
            f"{summaries[JPEG]['median'] / summary['median']:.1f}",
        ]
        for name, summary in sorted(summaries.items(), key=lambda item: -item[1]["median"])
    ]
    ratios = {
        "flowstore against the JPEG folder": summaries[JPEG]["median"] / direct,
        "flowstore against zarr-python": summaries[ZARR]["median"] / direct,
        "flowstore's time over decoding alone": direct / summaries[DECODING]["median"],
    }
    machine = describe_machine()
    print(f"{origin}, warm page cache, {options.compression}; {machine['processor']}, one process\n")
    print(format_table(["windows of 10 flows", "ms, median", "clips/s", "× JPEG"], rows))
    print("\n" + "\n".join(f"{name}: {ratio:.2f}" for name, ratio in ratios.items()))
    write_results(options.json, "read", {"origin": origin, "seconds": summaries, "ratios": ratios})


if __name__ == "__main__":
    main()
