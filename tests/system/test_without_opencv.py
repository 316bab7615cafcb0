"""A machine where OpenCV cannot be loaded: what reads a store works, what needs OpenCV says so in a line first."""

import json
import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from datasets import call
from video_files import make

import flowstore

pytestmark = pytest.mark.system

NO_LIBRARY = "libGL.so.1: cannot open shared object file: No such file or directory"
# What a test environment may have: any of the four packages.
INSTALLED = sorted(
    {found.name for found in distributions() if found.name.startswith("opencv-")},
    key=lambda name: ("headless" in name, "contrib" in name),
)
HEADLESS = "opencv-contrib-python-headless" if "contrib" in str(INSTALLED) else "opencv-python-headless"
REPLACE = f"pip uninstall -y {' '.join(INSTALLED)} && pip install {HEADLESS}"
WAYS_OUT = {
    NO_LIBRARY: "install the system's libraries (libgl1 and libglib2.0-0 on Debian and Ubuntu), "
    f"or {REPLACE}, which needs none",
    "No module named 'cv2'": REPLACE,
}
READING = (
    "--help",
    "info s.zarr",
    "verify s.zarr",
    "verify s.zarr --source videos",
    "verify s.zarr --repair",
    "stats s.zarr",
    "copy s.zarr copied.zarr",
    "copy s.zarr small.zarr --compression small",
    "export s.zarr npy --layout npy --dry-run",
    "export s.zarr npy --layout npy",
    "export s.zarr flo --layout flo",
    "import npy imported.zarr --layout npy",
    "remove copied.zarr/c/whole --dry-run",
    "remove copied.zarr/c",
)
NEEDING = (
    "extract videos new.zarr",
    "demo new",
    "export s.zarr new --layout denseflow",
    "export s.zarr new --layout kitti",
    "export s.zarr new --layout npy --short-side 24",
    "import jpeg new.zarr --layout denseflow",
    "render s.zarr/c/whole -o new.png",
    "verify s.zarr --source videos --deep",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bare")
    (folder / "videos" / "c").mkdir(parents=True)
    (folder / "videos" / "c" / "whole.mkv").write_bytes(make("mkv", "whole").data)
    assert call("extract", folder / "videos", folder / "s.zarr").code == 0
    assert call("export", folder / "s.zarr", folder / "jpeg", "--layout", "denseflow").code == 0
    return folder


RUN_ALL = """
import json, sys
from contextlib import redirect_stderr
from io import StringIO
from flowstore.cli.program import main

done = []
for command in json.loads(sys.argv[1]):
    sys.argv = ["flowstore", *command.split()]
    with redirect_stderr(StringIO()) as stderr:
        try:
            main()
        except SystemExit as end:
            done.append((end.code, stderr.getvalue()))
sys.__stdout__.write("\\n" + json.dumps(done))
"""


def run_without_opencv(folder, commands, reason):
    """Return exit code and stderr of each command, all in one process in which cv2 cannot be imported."""
    lacking = folder / "lacking" / "cv2"
    lacking.mkdir(parents=True, exist_ok=True)
    (lacking / "__init__.py").write_text(f"raise ImportError({reason!r}, name='cv2')")
    path = os.pathsep.join([str(folder / "lacking"), str(Path(flowstore.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-c", RUN_ALL, json.dumps(commands)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(commands, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_what_reads_a_store_needs_no_opencv(folder):
    done = run_without_opencv(folder, READING, NO_LIBRARY)
    assert {command: (code, said) for command, (code, said) in done.items() if code or "OpenCV" in said} == {}


def test_what_needs_opencv_is_refused_in_a_line(folder):
    line = f"flowstore: OpenCV cannot be loaded ({NO_LIBRARY}): {WAYS_OUT[NO_LIBRARY]}\n"
    done = run_without_opencv(folder, NEEDING, NO_LIBRARY)
    assert done == {command: [2, line] for command in NEEDING}
    assert list(folder.glob("new*")) == []


def test_opencv_that_is_not_installed_is_named_with_its_package(folder):
    reason = "No module named 'cv2'"
    line = f"flowstore: OpenCV cannot be loaded ({reason}): {WAYS_OUT[reason]}\n"
    assert run_without_opencv(folder, NEEDING[:1], reason) == {NEEDING[0]: [2, line]}
