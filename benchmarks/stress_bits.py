"""Flips bits of a store's files at random, one at a time, and counts what came of them.

    python benchmarks/stress_bits.py --count 1000

After each flip everything that a reader can ask for is asked for, and the store is verified. A flip has to be found by
`verify`, or be harmless: everything reads as before. And nothing may ever read otherwise than before in silence.
Half of the flips are spread evenly over the bytes, half evenly over the files: most bytes are flow.
"""

import argparse
import collections
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "support"))

from store_factory import make_codes, settings_of, write_store

import flowstore
from flowstore.errors import FlowStoreError
from flowstore.format import shards
from flowstore.verify import verify

LONG = "a name that is longer than a file system takes " * 6
VIDEOS = {"run/a": 5, "run/[HD] é 100%": 3, f"wave/{LONG}": 2, f"{LONG}/b": 4}
REFUSED = "refused"


def write_stores(folder):
    """Write a store of each way to keep numbers; each video has several shards."""
    roots = []
    for encoding, compression in (("centred", "fast"), ("truncate", "none"), ("float16", "balanced")):
        codes = {key: make_codes(n_flows, 6, 8, seed) for seed, (key, n_flows) in enumerate(VIDEOS.items())}
        bound = 20.0
        if encoding == "float16":
            codes, bound = {key: ((flow - 128.0) / 16).astype(np.float16) for key, flow in codes.items()}, None
        before, shards.MAX_SHARD_BYTES = shards.MAX_SHARD_BYTES, 2 * next(iter(codes.values()))[0].nbytes
        settings = settings_of(encoding, bound, compression=compression)
        root = Path(folder) / f"{encoding}-{compression}.zarr"
        write_store(root, codes, {"wave/broken": "no frame can be decoded"}, settings)
        shards.MAX_SHARD_BYTES = before
        roots.append(root)
    return roots


def read_everything(root):
    """Return each thing that a reader can ask for, by name; what is refused is `REFUSED`."""
    found = {}

    def ask(name, read):
        try:
            found[name] = read()
        except FlowStoreError:
            found[name] = REFUSED

    def video_of(key):
        return flowstore.open_store(root)[key]

    ask("root", lambda: repr(flowstore.open_store(root).root))
    ask("classes", lambda: flowstore.open_store(root).classes)
    for key in (*VIDEOS, "wave/broken"):
        ask(f"record {key}", lambda key=key: repr(video_of(key).record))
    for key in VIDEOS:
        ask(f"pixels {key}", lambda key=key: video_of(key)[:])
        ask(f"codes {key}", lambda key=key: video_of(key).codes[:])
        for number in range(VIDEOS[key]):
            ask(f"flow {number} of {key}", lambda key=key, number=number: video_of(key)[number])
    ask("index", lambda: list(flowstore.open_store(root).videos.columns))
    for name in (*flowstore.open_store(root).videos.columns, "flow means") if found["root"] != REFUSED else ():
        ask(f"column {name}", lambda name=name: column_of(flowstore.open_store(root).videos, name))
    return found


def column_of(index, name):
    return np.asarray(index.flow_means if name == "flow means" else index.column(name))


def is_same(one, other):
    """Tell whether two answers are the same, to the last bit."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return type(one) is type(other) and one == other


def flip(path, bit):
    """Turn one bit of a file around; twice is as before."""
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


def stress(count, seed):
    """Flip so many bits; return how often each outcome came, by kind of file."""
    random = np.random.default_rng(seed)
    outcomes = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        for number, root in enumerate(write_stores(folder)):
            files = sorted(path for path in root.rglob("*") if path.is_file())
            sizes = np.array([path.stat().st_size for path in files])
            before = read_everything(root)
            assert REFUSED not in [value for value in before.values() if isinstance(value, str)]
            for turn in range(count // 3 + (number < count % 3)):
                chances = sizes / sizes.sum() if turn % 2 else (sizes > 0) / (sizes > 0).sum()
                path = files[random.choice(len(files), p=chances)]
                bit = int(random.integers(8 * path.stat().st_size))
                flip(path, bit)
                outcomes[kind_of(path.relative_to(root)), outcome_of(root, before, f"{path} bit {bit}")] += 1
                flip(path, bit)
            assert verify(root, scheduler="sync").is_all_well
    return outcomes


def kind_of(path):
    """Return what a file of a store is."""
    if path.parts[0] == "index":
        return "index"
    if path.name.startswith("c."):
        return "shard"
    return {1: "root", 2: "class", 3: "record", 4: "flow/zarr.json"}[len(path.parts)]


def outcome_of(root, before, what):
    """Read and verify a store of which a bit was flipped; return what came of it."""
    after = read_everything(root)
    wrong = [name for name, value in after.items() if not is_same(value, REFUSED) and not is_same(value, before[name])]
    assert not wrong, f"{what}: {wrong} read otherwise than before, in silence"
    is_refused = any(is_same(value, REFUSED) for value in after.values())
    if verify(root, scheduler="sync").faults:
        return "found, and refused by the reader" if is_refused else "found, read as before"
    assert not is_refused, f"{what}: refused by the reader, and not found"
    return "harmless: read as before"


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    started = time.monotonic()
    outcomes = stress(args.count, args.seed)
    print(f"{args.count} flips, seed {args.seed}, {time.monotonic() - started:.0f} s: none was read in silence")
    for (kind, outcome), count in sorted(outcomes.items()):
        print(f"{count:6}  {kind:15} {outcome}")


if __name__ == "__main__":
    main()
