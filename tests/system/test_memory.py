"""Memory does not grow with the length of a video, and stays below what the plan printed."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

SIZE = (640, 480)


def write_long_video(path, n_frames):
    noise = np.random.default_rng(0).integers(0, 256, (600, 900, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 3)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, SIZE)
    for number in range(n_frames):
        x, y = int(100 + 90 * np.sin(number / 20)), int(50 + 45 * np.cos(number / 31))
        writer.write(np.ascontiguousarray(texture[y : y + SIZE[1], x : x + SIZE[0]]))
    writer.release()


MEASURE = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, "-m", "flowstore", *sys.argv[2:]]).returncode
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def run_flowstore(tmp_path, *arguments):
    """Run the command; return its output and the peak resident size in bytes of its largest process.

    On Linux a process inherits the peak of the one that starts it, so a small one stands between it and pytest.
    """
    peak = tmp_path / "peak"
    command = [sys.executable, "-c", MEASURE, peak, *map(str, arguments)]
    output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
    unit = 1 if sys.platform == "darwin" else 1024
    return output, int(peak.read_text()) * unit


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_a_long_video_stays_below_the_planned_memory(tmp_path, scheduler):
    write_long_video(tmp_path / "long.mp4", 2000)
    common = ("extract", tmp_path / "long.mp4", tmp_path / "flow.zarr", "--scheduler", scheduler, "--json", "--quiet")
    plan, _ = run_flowstore(tmp_path, *common, "--dry-run")
    report, peak_bytes = run_flowstore(tmp_path, *common)
    assert json.loads(report)["flows"] == 1999
    planned_bytes = json.loads(plan)["memory_per_worker"]
    print(f"{scheduler}: peak {peak_bytes / 2**20:.0f} MiB, planned {planned_bytes / 2**20:.0f} MiB")
    assert peak_bytes < planned_bytes
    # 2000 flows of 640x480 are 1.1 GiB of codes: the plan itself must be far below what holding them would take.
    assert planned_bytes < 500 * 2**20
