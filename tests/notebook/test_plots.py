"""Plots: what stands on the axes, as Matplotlib itself tells."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest
from datasets import process_environment
from matplotlib.figure import Figure
from store_factory import make_codes, picture_scale, write_store

import flowstore
from flowstore.colour import flow_to_color
from flowstore.errors import ArgumentError, FailedVideoError

matplotlib.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    matplotlib.pyplot.close("all")


@pytest.fixture
def video(tmp_path):
    write_store(tmp_path / "flow.zarr", {"wave/a $x$": make_codes(6, 12, 40)}, failed={"wave/bad": "no"})
    return flowstore.open_store(tmp_path / "flow.zarr")["wave/a $x$"]


def texts(ax):
    """Every text on a figure."""
    ax.figure.canvas.draw()
    return [text.get_text() for text in ax.figure.findobj(matplotlib.text.Text) if text.get_text()]


def test_color(video):
    ax, scale = video.plot(), picture_scale(video[4])
    np.testing.assert_array_equal(ax.images[0].get_array(), flow_to_color(video[4], scale))
    assert {"wave/a $x$, flow 4", f"rim: {scale:g}\npx per frame", "x (px)", "y (px)"} <= set(texts(ax))
    # y points down, pixels lie on their numbers.
    assert ax.get_xlim() == (-0.5, 39.5)
    assert ax.get_ylim() == (11.5, -0.5)


def test_arrows_point_where_things_move(video):
    ax = video.plot(0, "arrows", scale=5.0)
    (quiver,) = [item for item in ax.collections if isinstance(item, matplotlib.quiver.Quiver)]
    flow = video[0]
    x, y = quiver.XY.T.astype(int)
    np.testing.assert_array_equal(quiver.U, flow[0, y, x])
    np.testing.assert_array_equal(quiver.V, flow[1, y, x])
    assert quiver.angles == quiver.scale_units == "xy"
    (key,) = ax.findobj(matplotlib.quiver.QuiverKey)
    assert (key.text.get_text(), key.U) == ("5\npx per frame", 5.0)
    assert (ax.get_xlim(), ax.get_ylim()) == ((-0.5, 39.5), (11.5, -0.5))


def test_arrows_over_a_frame_of_another_size(video):
    frame = np.zeros((24, 80, 3), np.uint8)
    ax = video.plot(style="arrows", image=frame)
    np.testing.assert_array_equal(ax.images[0].get_array(), frame)
    assert ax.get_xlim() == (-0.5, 39.5)
    assert [list(child.images) for child in ax.child_axes] == [[]]


def test_planes(video):
    axes = video.plot(-1, "planes", scale=9.0)
    assert axes.shape == (2,)
    for ax, plane in zip(axes, video[5], strict=True):
        np.testing.assert_array_equal(ax.images[0].get_array(), plane)
        assert ax.images[0].get_clim() == (-9, 9)
        assert ax.images[0].get_cmap().name == "RdBu_r"
    assert {"wave/a $x$, flow 5\nx, right is red", "y, down is red", "px per frame"} <= set(texts(axes[0]))


def test_axes_of_ones_own(video):
    figure = Figure()
    ax = figure.add_subplot()
    assert video.plot(ax=ax) is ax
    pair = figure.subplots(1, 2)
    assert video.plot(style="planes", ax=pair)[1] is pair[1]
    with pytest.raises(ArgumentError, match="ax: 1 given, style 'planes' takes 2"):
        video.plot(style="planes", ax=ax)


def test_what_is_refused(video, tmp_path):
    with pytest.raises(ArgumentError, match=r"frame 6: wave/a \$x\$ has flows 0 to 5"):
        video.plot(6)
    with pytest.raises(ArgumentError, match="style is 'dots', expected one of color, arrows, planes"):
        video.plot(style="dots")
    with pytest.raises(ArgumentError, match="full scale is 0 px"):
        video.plot(scale=0)
    with pytest.raises(ArgumentError, match="image: goes under arrows"):
        video.plot(image=np.zeros((2, 2, 3), np.uint8))
    with pytest.raises(FailedVideoError, match="wave/bad has no flow"):
        flowstore.open_store(tmp_path / "flow.zarr")["wave/bad"].plot()


WITHOUT = """
import sys
sys.modules[sys.argv[1]] = None
import flowstore
from flowstore.errors import MissingExtraError
from flowstore.render import render_video
video = flowstore.open_store(sys.argv[2])["wave/a $x$"]
try:
    video.plot() if sys.argv[1] == "matplotlib" else render_video(video, sys.argv[3] + "/a.gif")
except MissingExtraError as error:
    print(error)
render_video(video, sys.argv[3] + "/a.png")
render_video(video, sys.argv[3] + "/a.mp4")
"""


@pytest.mark.parametrize(
    ("library", "message"),
    [
        ("matplotlib", "plot needs Matplotlib: pip install 'flowstore[notebook]'\n"),
        ("PIL", "a .gif needs Pillow: pip install 'flowstore[notebook]'; an .mp4 needs nothing more\n"),
    ],
)
def test_without_the_extra_it_is_named(video, tmp_path, library, message):
    command = [sys.executable, "-c", WITHOUT, library, tmp_path / "flow.zarr", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, env=process_environment())
    assert (done.stdout, done.stderr) == (message, "")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.mp4", "a.png", "flow.zarr"]


def drawn_on(figure):
    return [[type(artist).__name__ for artist in (*ax.images, *ax.collections, *ax.child_axes)] for ax in figure.axes]


@pytest.mark.parametrize(("style", "n_axes"), [("color", 1), ("arrows", 1), ("planes", 2)])
def test_a_second_plot_replaces_the_first_on_the_same_axes(video, style, n_axes):
    figure, axes = matplotlib.pyplot.subplots(1, n_axes)
    (first := np.atleast_1d(axes)[0]).plot([1, 2], [3, 4], label="mine")
    video.plot(0, style=style, scale=3, ax=axes)
    before = drawn_on(figure)
    video.plot(1, style=style, scale=5, ax=axes)
    assert drawn_on(figure) == before
    assert not any("3 " in text or "3\n" in text for text in texts(first) if "px" in text)
    assert first.lines[0].get_label() == "mine"


@pytest.mark.parametrize("frame", [1.5, "a", np.float32(1)])
def test_a_frame_that_is_no_whole_number(video, frame):
    with pytest.raises(ArgumentError, match="expected a whole number"):
        video.plot(frame)
