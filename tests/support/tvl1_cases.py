"""Pairs of frames and parameters for which OpenCV's TV-L1 flow is kept in ``golden/tvl1.npz``.

Imports nothing of flowstore: ``golden/make_tvl1.py`` runs it beside OpenCV's contrib modules, the tests without.
"""

from pathlib import Path

import cv2
import numpy as np
from synthetic import MOTIONS, scene

GOLDEN = Path(__file__).parent / "golden" / "tvl1.npz"
DEFAULTS = {
    "tau": 0.25,
    "lambda": 0.15,
    "theta": 0.3,
    "nscales": 5,
    "warps": 5,
    "epsilon": 0.01,
    "inner_iterations": 30,
    "outer_iterations": 10,
    "scale_step": 0.8,
    "gamma": 0.0,
    "median_filtering": 5,
}
# Of each flow every third pixel is kept, of a clip's every eighth.
SPARSE, SPARSER = 3, 8
# Each gives another flow than BRIEF alone, whose few iterations leave no room for rounding to grow.
BRIEF = {"nscales": 2, "warps": 2}
PARAMETERS = (
    {},
    {"tau": 0.125},
    {"lambda": 0.05},
    {"theta": 0.5},
    {"nscales": 1},
    {"nscales": 20, "warps": 1},
    {"warps": 1},
    {"epsilon": 0.001},
    {"epsilon": 0.1},
    {"inner_iterations": 1},
    {"inner_iterations": 7, "epsilon": 0.001},
    {"outer_iterations": 1, "epsilon": 0.001},
    {"scale_step": 0.5},
    {"scale_step": 0.93},
    {"median_filtering": 1},
    {"median_filtering": 3},
)
SIZES = ((2, 3), (5, 90), (15, 15), (16, 16), (17, 63), (33, 64), (64, 33), (41, 101))
CLIP_PAIR = 30


def uneven_pair(height: int, width: int) -> np.ndarray:
    """Return two frames of a scene that shrinks, turns and moves.

    Nothing is hidden in it: where there is nothing to find, OpenCV's flow follows its rounding, and none is like it.
    """
    return scene([[0.98, -0.03, 1.4], [0.03, 0.98, -2.2]], 2, height, width)[0]


def bright_spot(height: int, width: int, x: float, y: float) -> np.ndarray:
    """Return a frame with a bright spot of some 50 pixels."""
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    return np.rint(60 + 150 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 800)).astype(np.uint8)


def drawn_cases() -> dict[str, tuple[np.ndarray, dict]]:
    """Return pairs, uint8 (2, H, W), with the parameters that differ from the defaults."""
    cases = {f"motion {name}": (scene(name, 2, 96, 128)[0], {}) for name in MOTIONS}
    for size in SIZES:
        cases[f"size {size[1]}x{size[0]}"] = (uneven_pair(*size), BRIEF)
    for params in PARAMETERS:
        cases[f"params {params}"] = (uneven_pair(72, 90), BRIEF | params)
    # What has no counterpart, as far as its flow is more than rounding.
    once = {"nscales": 1, "warps": 1}
    random = np.random.default_rng(0)
    cases["noise"] = (random.integers(0, 256, (2, 60, 80), np.uint8), once)
    cases["constant"] = (np.full((2, 40, 50), 93, np.uint8), {})
    cases["constant, then not"] = (np.stack([np.full((40, 50), 93, np.uint8), uneven_pair(40, 50)[0]]), once)
    cases["40 px"] = (
        np.stack([bright_spot(120, 200, 80, 60), bright_spot(120, 200, 120, 55)]),
        {"nscales": 9, "warps": 10},
    )
    cases["out of the frame"] = (scene([[1, 0, 200], [0, 1, 0]], 2, 60, 80)[0], once | {"warps": 4, "lambda": 5})
    return cases


def clip_pair(path: Path) -> np.ndarray:
    """Return two frames, gray, from the middle of a clip."""
    capture = cv2.VideoCapture(str(path))
    frames = [capture.read()[1] for _ in range(CLIP_PAIR + 2)][-2:]
    return np.stack([cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY) for frame in frames])


def sparse(flow: np.ndarray, step: int = SPARSE) -> np.ndarray:
    """Return what is kept of a flow (2, H, W)."""
    return flow[:, step // 2 :: step, step // 2 :: step]
