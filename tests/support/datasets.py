"""Tiny datasets of videos and frame folders, and the command line called in this process or in another."""

import contextlib
import functools
import io
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from flowstore.cli.program import main


def frames_of(n_frames, width=32, height=24, seed=0):
    """Frames of a texture that moves one pixel to the left a frame: uint8 (n, H, W, 3)."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width + n_frames, 3), np.uint8)
    texture = cv2.GaussianBlur(noise, (5, 5), 0)
    return np.stack([texture[:, start : start + width] for start in range(n_frames)])


@functools.cache
def video_bytes(n_frames=6, width=32, height=24, seed=0, suffix=".avi"):
    """A video file's content: JPEG frames in AVI, MPEG-4 in anything else."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "video" + suffix)
        code = cv2.VideoWriter_fourcc(*("MJPG" if suffix == ".avi" else "mp4v"))
        writer = cv2.VideoWriter(path, code, 10.0, (width, height))
        assert writer.isOpened()
        for frame in frames_of(n_frames, width, height, seed):
            writer.write(frame)
        writer.release()
        return Path(path).read_bytes()


def write_video(path, n_frames=6, width=32, height=24, seed=0):
    """Write a video, whatever its name; the suffix chooses the container."""
    path = os.fspath(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(video_bytes(n_frames, width, height, seed, os.path.splitext(path)[1]))


def write_frames(folder, n_frames=6, width=32, height=24, seed=0, suffix=".jpg"):
    """Write a folder of frames, numbered from 1."""
    os.makedirs(folder)
    for number, frame in enumerate(frames_of(n_frames, width, height, seed), 1):
        _, data = cv2.imencode(suffix, frame)
        with open(os.path.join(folder, f"img_{number:05d}{suffix}"), "wb") as file:
            file.write(data)


def write_dataset(root, classes=("wave", "run"), n_videos=3, n_frames=6):
    """Write class folders of videos `v0.avi` and on."""
    for number in range(n_videos):
        for label in classes:
            write_video(os.path.join(root, label, f"v{number}.avi"), n_frames, seed=number)


def tree(folder):
    """Every file below a folder with its bytes and time stamp; every folder with None."""
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(parent, name), folder)] = None
        for name in files:
            path = os.path.join(parent, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = os.stat(path).st_mtime_ns, file.read()
    return found


def partial_files(folder):
    """What an interrupted writer would leave."""
    return [name for _, _, files in os.walk(folder) for name in files if name.endswith(".partial")]


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def error_line(self):
        """The only line on standard error."""
        (line,) = self.err.splitlines()
        return line


class Screen(io.StringIO):
    """What a terminal shows; COLUMNS says how wide it is."""

    def isatty(self):
        return True


def screen_lines(text):
    """What is left on a screen, one line each."""
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", text.replace("\r\n", "\n"))
    return [line.rpartition("\r")[2] for line in plain.split("\n")]


def call(*args, stream=io.StringIO):
    """Run a command in this process, whose output goes to two such streams."""
    out, err = stream(), stream()
    argv, handler = sys.argv, signal.getsignal(signal.SIGTERM)
    sys.argv = ["flowstore", *map(os.fspath, args)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
    except SystemExit as end:
        return Outcome(end.code or 0, out.getvalue(), err.getvalue())
    finally:
        sys.argv = argv
        signal.signal(signal.SIGTERM, handler)
    raise AssertionError("main() returned")


def command_line(*args):
    """The same as arguments of a process."""
    return [sys.executable, "-m", "flowstore", *map(os.fspath, args)]


def process_environment(**more):
    """An environment in which another Python finds the package under test."""
    package_parent = str(Path(sys.modules["flowstore"].__file__).parents[1])
    path = os.pathsep.join(filter(None, (package_parent, os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path} | more


def run(*args, **more):
    """Run a command in a process of its own."""
    environment = process_environment(**more)
    done = subprocess.run(command_line(*args), capture_output=True, text=True, env=environment, timeout=120)
    return Outcome(done.returncode, done.stdout, done.stderr)
