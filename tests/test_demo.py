"""The demo: a folder that holds what it says, right flow in it, and no other file touched."""

import json

import cv2
import numpy as np
import pytest
from store_factory import tree_files

import flowstore
from flowstore import demo
from flowstore.errors import ArgumentError
from flowstore.scenes import Scene

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    return folder, demo.run_demo(folder)


def test_what_is_in_the_folder(made):
    folder, report = made
    assert sorted(path.name for path in folder.iterdir()) == [
        "flow.mp4",
        "flow.png",
        "flow.zarr",
        "flow_images",
        "videos",
    ]
    assert (report.folder, report.videos, report.store) == (
        str(folder),
        str(folder / "videos"),
        str(folder / "flow.zarr"),
    )
    names = {f"{name}/{name}_{number}" for name in demo.CLASSES for number in (1, 2)}
    assert {f"{path.parent.name}/{path.stem}" for path in (folder / "videos").rglob("*.avi")} == names
    store = flowstore.open_store(report.store)
    assert {video.key for video in store.iter_videos()} == names == set(report.errors_px)
    assert {video.shape for video in store.iter_videos()} == {(demo.N_FRAMES - 1, 2, 120, 160)}
    for name in names:
        assert len(list((folder / "flow_images" / name).glob("flow_[xy]_*.jpg"))) == 2 * (demo.N_FRAMES - 1)
    assert json.loads((folder / "flow_images/flowstore-export.json").read_bytes())["complete"] is True
    assert report.extracted.is_all_well
    assert report.exported.is_all_well


def test_the_flow_is_the_true_motion(made):
    _, report = made
    assert max(report.errors_px.values()) < demo.ERROR_ALLOWED_PX
    store = flowstore.open_store(report.store)
    inner = np.s_[:, :, 20:-20, 20:-20]
    for motion, x, y in (("right", 3.0, 0.0), ("down", 0.0, 3.0), ("still", 0.0, 0.0)):
        flow = store[f"{motion}/{motion}_2"][:][inner]
        assert np.median(flow[:, 0]) == pytest.approx(x, abs=0.25)
        assert np.median(flow[:, 1]) == pytest.approx(y, abs=0.25)


def test_wrong_flow_would_be_seen(made, monkeypatch):
    _, report = made
    monkeypatch.setattr(demo, "scene_of", lambda name, number: Scene("right", 120, 160, speed=-3.0))
    assert demo._error_px(flowstore.open_store(report.store), "right/right_2") > 5


def test_the_picture(made):
    _, report = made
    picture = cv2.imread(report.picture)
    height, width = picture.shape[:2]
    assert width > 4 * 160
    assert height > 3 * 120
    assert tuple(picture[-1, 0]) == (255, 255, 255)
    frames = list(demo.scene_of("street", 1).frames(demo.N_FRAMES // 2 + 1))
    found = cv2.matchTemplate(picture, frames[-1], cv2.TM_SQDIFF)
    _, _, (left, top), _ = cv2.minMaxLoc(found)
    np.testing.assert_array_equal(picture[top : top + 120, left : left + 160], frames[-1])
    # Below the road the camera pans right, so x is negative, which is blue, and y is nothing.
    x, y = (picture[top + 112 : top + 118, left + n * 166 + 4 : left + n * 166 + 20].reshape(-1, 3) for n in (2, 3))
    assert x[:, 0].mean() > x[:, 2].mean() + 40
    assert y.min() > 220


def test_the_film(made):
    _, report = made
    capture, pictures = cv2.VideoCapture(report.film), []
    while True:
        is_read, picture = capture.read()
        if not is_read:
            break
        pictures.append(picture)
    assert len(pictures) == demo.N_FRAMES - 1
    height, width = pictures[0].shape[:2]
    assert height > 120
    assert width > 4 * 160
    # The car moves in the frame; the wheel beside stands.
    first, last = (picture.astype(int) for picture in (pictures[0], pictures[-1]))
    assert np.abs(first - last)[:, :160].mean() > 10 > 3 > np.abs(first - last)[:, 4 * 166 + 10 :].mean()


def test_a_second_run_has_nothing_to_do(made):
    folder, _ = made
    before = tree_files(folder / "flow.zarr")
    report = demo.run_demo(folder)
    assert (report.extracted.n_done, report.extracted.n_extracted) == (12, 0)
    assert report.exported.n_written == 0
    assert tree_files(folder / "flow.zarr") == before


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(ArgumentError, match="holds other files; give a new folder"):
        demo.run_demo(tmp_path)
    with pytest.raises(ArgumentError, match="holds other files"):
        demo.run_demo(tmp_path / "thesis.tex")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["thesis.tex"]
