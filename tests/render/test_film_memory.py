"""A film of a long video does not hold it: its memory is that of a short one."""

import subprocess
import sys

import cv2
import numpy as np
import pytest
from datasets import process_environment
from store_factory import make_codes, write_store

import flowstore

N_FLOWS = 4000
HEIGHT, WIDTH = 48, 64

# On Linux a process inherits the peak of the one that starts it, so a small one stands between it and pytest.
MEASURE = """
import resource, subprocess, sys
subprocess.run([sys.executable, "-m", "flowstore", "render", *sys.argv[1:], "-q"], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


def peak_bytes(*arguments):
    command = [sys.executable, "-c", MEASURE, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=process_environment())
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    place = tmp_path_factory.mktemp("long") / "flow.zarr"
    codes = np.concatenate([make_codes(100, HEIGHT, WIDTH)] * (N_FLOWS // 100))
    write_store(place, {"c/long": codes})
    return flowstore.open_store(place)


@pytest.mark.slow
@pytest.mark.parametrize(("suffix", "n_flows"), [(".mp4", 2000), (".gif", 1000)])
def test_a_film_of_a_long_video_takes_the_memory_of_a_short_one(store, tmp_path, suffix, n_flows):
    place, path = f"{store.url}/c/long", tmp_path / f"film{suffix}"
    short = peak_bytes(place, "-o", path, "--zoom", "1", "--stop", "20")
    long = peak_bytes(place, "-o", path, "--zoom", "1", "--stop", n_flows)
    print(f"{suffix}: {short / 2**20:.0f} MiB for 20 flows, {long / 2**20:.0f} MiB for {n_flows}")
    capture = cv2.VideoCapture(str(path))
    n_found = 0
    while capture.grab():
        n_found += 1
    assert n_found == n_flows
    # Its pictures are more than 40 MiB as a .gif has them, and 200 as an .mp4 does.
    assert long - short < 16 * 2**20


@pytest.mark.slow
def test_one_picture_of_a_long_video_reads_one_flow(store, tmp_path):
    place = f"{store.url}/c/long"
    first, last = (peak_bytes(place, "-o", tmp_path / "a.png", "--frame", n) for n in (0, N_FLOWS - 1))
    assert abs(last - first) < 8 * 2**20
