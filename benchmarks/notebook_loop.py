"""The loop that people come from, as a reference: frames in, ``flow_x_0001.jpg`` and ``flow_y_0001.jpg`` out.

One process, one pair after another, as the common notebook has it. It is given the list of files and does not look for
them by `glob`, which takes ``[HD]`` in a name for a character class and finds nothing.

    python benchmarks/notebook_loop.py FRAMES_ROOT OUT_ROOT     # FRAMES_ROOT/class/video/*.jpg
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence

import cv2
import numpy as np

BOUND_PX = 20


def to_gray_level(flow: np.ndarray) -> np.ndarray:
    """Return one component of flow, float32 (H, W) in pixels, as the notebook's uint8 gray levels."""
    flow[flow > BOUND_PX] = BOUND_PX
    flow[flow < -BOUND_PX] = -BOUND_PX
    return ((flow + BOUND_PX) * (255 / (2 * BOUND_PX))).astype(np.uint8)


def convert_folder(frame_files: Sequence[str], out_folder: str) -> int:
    """Write the flow images of one video; return the number of flows."""
    os.makedirs(out_folder, exist_ok=True)
    previous = cv2.cvtColor(cv2.imread(frame_files[0]), cv2.COLOR_BGR2GRAY)
    for number, file in enumerate(frame_files[1:], start=1):
        current = cv2.cvtColor(cv2.imread(file), cv2.COLOR_BGR2GRAY)
        flow = cv2.calcOpticalFlowFarneback(previous, current, None, 0.5, 3, 15, 3, 5, 1.2, 0)
        cv2.imwrite(os.path.join(out_folder, f"flow_x_{number:04d}.jpg"), to_gray_level(flow[..., 0]))
        cv2.imwrite(os.path.join(out_folder, f"flow_y_{number:04d}.jpg"), to_gray_level(flow[..., 1]))
        previous = current
    return len(frame_files) - 1


def frames_of(folder: str) -> list[str]:
    """Return the frame files of a folder by number."""
    names = sorted(os.listdir(folder), key=lambda name: [int(digits) for digits in re.findall(r"\d+", name)])
    return [os.path.join(folder, name) for name in names]


def main() -> None:
    """Convert every class/video folder of FRAMES_ROOT."""
    frames_root, out_root = sys.argv[1:]
    n_flows = 0
    for class_name in sorted(os.listdir(frames_root)):
        for video in sorted(os.listdir(os.path.join(frames_root, class_name))):
            frames = frames_of(os.path.join(frames_root, class_name, video))
            n_flows += convert_folder(frames, os.path.join(out_root, class_name, video))
    print(n_flows)


if __name__ == "__main__":
    main()
