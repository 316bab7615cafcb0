"""How tvl1.npz was written: OpenCV's own TV-L1 flow of the cases in tvl1_cases.py, and of real clips.

Needs OpenCV's contrib modules, which cannot stand beside opencv-python: an environment of its own, in which flowstore
need not be installed.

    python -m venv contrib && contrib/bin/pip install opencv-contrib-python-headless
    contrib/bin/python tests/support/golden/make_tvl1.py CLIPS [FILE]

CLIPS is the folder that FLOWSTORE_DATA names. Written with OpenCV 5.0.0 on x86-64. OpenCV 4 gives another flow: its
cubic remap rounds positions to 1/32 of a pixel.
"""

import sys
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from tvl1_cases import DEFAULTS, GOLDEN, SPARSER, clip_pair, drawn_cases, sparse


def opencv_flow(pair, params):
    """Return DualTVL1OpticalFlow's flow, float32 (2, H, W)."""
    tvl1 = cv2.optflow.DualTVL1OpticalFlow_create(*(DEFAULTS | params).values())
    return tvl1.calc(pair[0], pair[1], None).transpose(2, 0, 1)


def main():
    """Write the file."""
    cv2.setNumThreads(1)
    flows = {name: sparse(opencv_flow(pair, params)) for name, (pair, params) in drawn_cases().items()}
    folder = Path(sys.argv[1])
    for clip in sorted((folder / "videos").glob("*/*")):
        flows[f"clip {clip.name}"] = sparse(opencv_flow(clip_pair(clip), {}), SPARSER)
    road = [cv2.imread(str(folder / f"truth/kitti/kitti_000010_1{i}.png"), cv2.IMREAD_GRAYSCALE) for i in (0, 1)]
    flows["road"] = sparse(opencv_flow(np.stack(road), {}), SPARSER)
    np.savez_compressed(sys.argv[2] if len(sys.argv) > 2 else GOLDEN, **flows)


if __name__ == "__main__":
    main()
