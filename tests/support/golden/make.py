"""How the golden stores were written, once. They are never written again: see test_golden.py.

Run as ``python tests/golden/make.py FOLDER`` to see what the code of today writes.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from store_factory import settings_of, write_store

from flowstore.format import shards

HEIGHT, WIDTH, N_FLOWS = 6, 9, 5
SHARD_FLOWS = 2
ENCODINGS = {"centred": 20.0, "denseflow": 15.0, "truncate": 20.0, "float16": None}
COMPRESSIONS = ("fast", "balanced", "small", "none")


def golden_codes(encoding: str) -> np.ndarray:
    """Return the stored numbers: a formula, so that no random generator has to stay as it is."""
    t, c, y, x = np.ogrid[:N_FLOWS, :2, :HEIGHT, :WIDTH]
    codes = (37 * t + 101 * c + 11 * y + 5 * x + t * x * y) % 255 + 1
    return ((codes - 128) / 16).astype(np.float16) if encoding == "float16" else codes.astype(np.uint8)


def write_golden(folder: Path, encoding: str, compression: str) -> Path:
    """Write the store of one encoding and compression: three shards, a failed video, names with escapes."""
    root = folder / f"{encoding}-{compression}"
    itemsize = 2 if encoding == "float16" else 1
    before, shards.MAX_SHARD_BYTES = shards.MAX_SHARD_BYTES, SHARD_FLOWS * 2 * HEIGHT * WIDTH * itemsize
    try:
        write_store(
            root,
            {"__wave/clip [HD] 100%": golden_codes(encoding)},
            {"__wave/index": "1 frame: no flow"},
            settings_of(encoding, ENCODINGS[encoding], compression=compression),
            is_indexed=False,
        )
    finally:
        shards.MAX_SHARD_BYTES = before
    return root


def golden_pixels(encoding: str) -> np.ndarray:
    """Return the flow that the stored numbers stand for, by the formulas on paper and without flowstore."""
    codes, bound = golden_codes(encoding).astype(np.float64), ENCODINGS[encoding]
    flow = {
        "centred": lambda: (codes - 128) * bound / 127,
        "denseflow": lambda: codes * 2 * bound / 255 - bound,
        "truncate": lambda: (codes + 0.5) * 2 * bound / 255 - bound,
        "float16": lambda: codes,
    }[encoding]()
    return flow.astype(np.float32)


if __name__ == "__main__":
    for encoding in ENCODINGS:
        np.save(Path(sys.argv[1]) / f"{encoding}-codes.npy", golden_codes(encoding))
        np.save(Path(sys.argv[1]) / f"{encoding}-pixels.npy", golden_pixels(encoding))
        for compression in COMPRESSIONS if encoding == "centred" else ("fast",):
            print(write_golden(Path(sys.argv[1]), encoding, compression))
