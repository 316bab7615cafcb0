"""Magnitude, angle, divergence and curl: known motions, NumPy by hand, and the same of labelled and lazy arrays."""

import dask.array as da
import numpy as np
import pytest
import xarray as xr
from store_factory import make_codes, write_store
from synthetic import scene

import flowstore
from flowstore.errors import ArgumentError
from flowstore.motion_fields import angle, curl, divergence, magnitude
from flowstore.scenes import Scene

FIELDS = (magnitude, angle, divergence, curl)


def flow_of(matrix, height=40, width=56):
    return scene(np.array(matrix, float), height=height, width=width)[1]


def test_divergence_of_a_zoom():
    flow = flow_of([[1.03, 0, 0], [0, 1.03, 0]])
    np.testing.assert_allclose(divergence(flow), 0.06, atol=1e-6)
    np.testing.assert_allclose(curl(flow), 0, atol=1e-6)


@pytest.mark.parametrize("degrees", [-2.0, 1.5])
def test_curl_of_a_rotation(degrees):
    turn = np.deg2rad(degrees)
    flow = flow_of([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0]])
    np.testing.assert_allclose(curl(flow), 2 * np.sin(turn), atol=1e-6)
    np.testing.assert_allclose(divergence(flow), 2 * (np.cos(turn) - 1), atol=1e-6)


def test_positive_curl_is_clockwise_on_the_screen():
    """A scene that turns clockwise: what is right of the center goes down."""
    flow = Scene("rotate", 48, 64).flow()
    assert flow[1, 24, -1] > 0
    assert (curl(flow) > 0).all()
    assert angle(flow)[24, -1] > 0


def test_a_shear_has_both_signs():
    # x = 0.1·row: its curl is -0.1, its divergence 0.
    rows, columns = np.mgrid[:5, :7].astype(np.float32)
    flow = np.stack([np.float32(0.1) * rows, 0 * columns])
    np.testing.assert_allclose(curl(flow), -0.1, atol=1e-7)
    np.testing.assert_allclose(divergence(flow), 0, atol=1e-7)


@pytest.mark.parametrize(
    ("vector", "expected"), [((2, 0), 0), ((0, 2), np.pi / 2), ((-2, 0), np.pi), ((0, -2), -np.pi / 2), ((0, 0), 0)]
)
def test_angles_of_the_four_directions(vector, expected):
    assert angle(np.array(vector, np.float32).reshape(2, 1, 1))[0, 0] == np.float32(expected)


def by_hand(flow):
    """Every field of (n, 2, H, W), element by element or with `numpy.gradient` of one plane."""
    planes = []
    for x, y in flow.astype(np.float64):
        x_by_row, x_by_column = np.gradient(x)
        y_by_row, y_by_column = np.gradient(y)
        planes.append((np.sqrt(x * x + y * y), np.angle(x + 1j * y), x_by_column + y_by_row, y_by_column - x_by_row))
    return np.stack(planes, axis=1)


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    root = tmp_path_factory.mktemp("fields") / "s.zarr"
    write_store(root, {"wave/a": make_codes(7, 20, 30)})
    return flowstore.open_store(root)["wave/a"]


@pytest.mark.parametrize("number", range(4), ids=[field.__name__ for field in FIELDS])
def test_arrays_lazy_arrays_and_labelled_ones_give_the_same(video, number):
    field, flow = FIELDS[number], video[:]
    expected = by_hand(flow)[number]
    found = field(flow)
    assert (found.dtype, found.shape) == (np.float32, (7, 20, 30))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(field(flow[3]), found[3])
    lazy = field(da.from_array(flow, chunks=(2, 2, 20, 30)))
    assert isinstance(lazy, da.Array)
    np.testing.assert_array_equal(lazy.compute(), found)
    labelled = field(video.to_xarray())
    assert isinstance(labelled.data, da.Array)
    assert labelled.dtype == np.float32
    assert labelled.dims == ("frame", "y", "x")
    assert (labelled.name, set(labelled.coords)) == (field.__name__, {"frame", "time"})
    assert labelled.attrs["units"] == {"magnitude": "pixel", "angle": "radian"}.get(field.__name__, "1")
    np.testing.assert_array_equal(labelled.values, found)
    turned = field(video.to_xarray().transpose("x", "component", "frame", "y"))
    np.testing.assert_allclose(turned.transpose("frame", "y", "x").values, found, rtol=1e-6)
    one = field(video.to_xarray().isel(frame=2).compute())
    np.testing.assert_array_equal(one.values, found[2])


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("shape", [(3, 4, 5), (4, 5), (2, 5)])
def test_what_has_not_two_components_is_refused(field, shape):
    with pytest.raises(ArgumentError, match=r"flow has the shape .*expected \(\.\.\., 2, H, W\)"):
        field(np.zeros(shape, np.float32))


def test_labelled_arrays_of_other_dimensions_are_refused(video):
    with pytest.raises(ArgumentError, match="expected 2 of component, and y and x"):
        magnitude(xr.DataArray(np.zeros((2, 3, 4)), dims=("frame", "y", "x")))
    with pytest.raises(ArgumentError, match="expected 2 of component"):
        magnitude(video.to_xarray().isel(component=[0]))


@pytest.mark.parametrize("field", [divergence, curl])
@pytest.mark.parametrize("shape", [(2, 1, 5), (2, 5, 1)])
def test_one_pixel_has_no_derivative(field, shape):
    with pytest.raises(ArgumentError, match="needs 2 or more pixels"):
        field(np.zeros(shape, np.float32))
