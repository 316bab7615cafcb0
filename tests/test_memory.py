"""Memory does not grow with the length of a video, and stays below what the plan printed."""

import json
import os
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


def run_flowstore(*arguments):
    """Run the command; return its output and the peak resident size in bytes of it and its children."""
    process = subprocess.Popen([sys.executable, "-m", "flowstore", *map(str, arguments)], stdout=subprocess.PIPE)
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return output, usage.ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["threads", "processes"])
def test_a_long_video_stays_below_the_planned_memory(tmp_path, scheduler):
    write_long_video(tmp_path / "long.mp4", 2000)
    common = ("extract", tmp_path / "long.mp4", tmp_path / "flow.zarr", "--scheduler", scheduler, "--json", "--quiet")
    plan, _ = run_flowstore(*common, "--dry-run")
    report, peak_bytes = run_flowstore(*common)
    assert json.loads(report)["flows"] == 1999
    planned_bytes = json.loads(plan)["memory_per_worker"]
    print(f"{scheduler}: peak {peak_bytes / 2**20:.0f} MiB, planned {planned_bytes / 2**20:.0f} MiB")
    assert peak_bytes < planned_bytes
    # 2000 flows of 640x480 are 1.1 GiB of codes: the plan itself must be far below what holding them would take.
    assert planned_bytes < 500 * 2**20
