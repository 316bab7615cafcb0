"""Memory does not grow with the length of a video, and stays below what the plan printed."""

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

SIZE = (640, 480)
N_FRAMES = 800


@pytest.fixture(scope="module")
def long_video(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "long.mp4"
    noise = np.random.default_rng(0).integers(0, 256, (600, 900, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 3)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 25, SIZE)
    for number in range(N_FRAMES):
        x, y = int(100 + 90 * np.sin(number / 20)), int(50 + 45 * np.cos(number / 31))
        writer.write(np.ascontiguousarray(texture[y : y + SIZE[1], x : x + SIZE[0]]))
    writer.release()
    return path


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
def test_a_long_video_stays_below_the_planned_memory(long_video, tmp_path, scheduler):
    # One iteration takes the same arrays as three.
    options = ("--param", "iterations=1", "--scheduler", scheduler, "--json", "--quiet")
    common = ("extract", long_video, tmp_path / "flow.zarr", *options)
    plan, _ = run_flowstore(tmp_path, *common, "--dry-run")
    report, peak_bytes = run_flowstore(tmp_path, *common)
    assert json.loads(report)["flows"] == N_FRAMES - 1
    planned_bytes = json.loads(plan)["memory_per_worker"]
    print(f"{scheduler}: peak {peak_bytes / 2**20:.0f} MiB, planned {planned_bytes / 2**20:.0f} MiB")
    assert peak_bytes < planned_bytes
    # Holding the codes would take more than the plan, besides what a process takes that holds none.
    assert planned_bytes < 2 * SIZE[0] * SIZE[1] * (N_FRAMES - 1)
