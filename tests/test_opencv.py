"""What to type where the OpenCV that is there does not serve; the packages of a machine are folders on its path."""

import sys

import pytest

from flowstore.opencv import replace_command

PLAIN, CONTRIB = "opencv-python", "opencv-contrib-python"


@pytest.mark.parametrize(
    ("installed", "headless", "contrib"),
    [
        ([], "pip install opencv-python-headless", "pip install opencv-contrib-python"),
        (
            [PLAIN],
            "pip uninstall -y opencv-python && pip install opencv-python-headless",
            "pip uninstall -y opencv-python && pip install opencv-contrib-python",
        ),
        (
            [CONTRIB],
            "pip uninstall -y opencv-contrib-python && pip install opencv-contrib-python-headless",
            "pip uninstall -y opencv-contrib-python && pip install opencv-contrib-python",
        ),
        (
            [f"{PLAIN}-headless"],
            "pip uninstall -y opencv-python-headless && pip install opencv-python-headless",
            "pip uninstall -y opencv-python-headless && pip install opencv-contrib-python-headless",
        ),
        # One overwrote files of the other: both go, or pip takes the one that stays for whole.
        (
            [PLAIN, f"{PLAIN}-headless"],
            "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-python-headless",
            "pip uninstall -y opencv-python opencv-python-headless && pip install opencv-contrib-python",
        ),
    ],
)
def test_the_command_names_what_is_installed(tmp_path, monkeypatch, installed, headless, contrib):
    for name in installed:
        folder = tmp_path / f"{name.replace('-', '_')}-5.0.0.93.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 5.0.0.93\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert replace_command(is_headless=True) == headless
    assert replace_command(is_contrib=True) == contrib
