"""OpenCV's TV-L1 in a process of its own, for bench_tvl1.py: its contrib modules cannot stand beside opencv-python.

Reads one JSON line a task from standard input: ``frames``, a .npy file of gray frames (N, H, W), ``n_pairs``, and
perhaps ``flows``, where to put the flow of those pairs, float32 (n, 2, H, W), and ``nudge``, a share of each gray value
by which the frames are changed at random. Answers each with the CPU seconds it took. Needs cv2 and numpy alone.
"""

import json
import sys
import time

import cv2
import numpy as np

cv2.setNumThreads(1)
print(json.dumps({"opencv": cv2.__version__}), flush=True)
tvl1 = cv2.optflow.DualTVL1OpticalFlow_create()
for line in sys.stdin:
    task = json.loads(line)
    frames = np.load(task["frames"])
    if task.get("nudge"):
        noise = np.random.default_rng(0).standard_normal(frames.shape)
        # OpenCV takes float32 frames from 0 to 1, and multiplies them.
        frames = (frames / 255 * (1 + task["nudge"] * noise)).astype(np.float32)
    started = time.process_time()
    flows = [tvl1.calc(frames[k], frames[k + 1], None) for k in range(task["n_pairs"])]
    seconds = time.process_time() - started
    if task.get("flows"):
        np.save(task["flows"], np.stack(flows).transpose(0, 3, 1, 2))
    print(json.dumps({"seconds": seconds}), flush=True)
