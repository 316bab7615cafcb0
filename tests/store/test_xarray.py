"""A store opens in plain xarray and zarr-python, with pixels, where flowstore cannot be imported."""

import json
import subprocess
import sys

import numpy as np
import pytest
import xarray as xr
import zarr
from store_factory import make_codes, settings_of, tree_files, write_store

import flowstore

# Runs without flowstore: the finder refuses the name, and the script proves that it does.
SCRIPT = """
import importlib.abc, json, sys, warnings

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "flowstore":
            raise ModuleNotFoundError(f"refused: {name}", name=name)

sys.meta_path.insert(0, Refuse())
try:
    import flowstore
except ModuleNotFoundError as error:
    assert str(error) == "refused: flowstore"
else:
    raise SystemExit("flowstore was imported")

import numpy as np
import xarray as xr
import zarr

store, out, *keys = sys.argv[1:]
arrays = {}
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    tree = xr.open_datatree(store, engine="zarr")
    for number, key in enumerate(keys):
        dataset = xr.open_zarr(store, group=key)
        assert dataset["flow"].dims == ("frame", "component", "y", "x"), dataset
        assert dataset["flow"].attrs["component"] == ["x", "y"]
        assert dataset["flow"].attrs["units"] == "pixel"
        arrays[f"group{number}"] = dataset["flow"].values
        arrays[f"tree{number}"] = tree[key]["flow"].values
        arrays[f"codes{number}"] = zarr.open_array(store, path=f"{key}/flow", mode="r")[:]
        arrays[f"slice{number}"] = dataset["flow"].isel(frame=slice(1, 3), x=4).values
    arrays["index_flows"] = tree["index"]["n_flows"].values
    names = [str(name) for name in tree["index"]["video"].values]
assert not any(name.partition(".")[0] == "flowstore" for name in sys.modules)
np.savez(out, **arrays)
print(json.dumps({"groups": sorted(tree.groups), "names": names, "warnings": [str(w.message) for w in caught]}))
"""

KEYS = ["wave/plain", "wave/clip [HD] (1) & 'quotes' ünïcode", "run__fast/100%"]
CODES = [make_codes(5, seed=1), make_codes(3, 17, 19, seed=2), make_codes(4, seed=3)]


@pytest.fixture(scope="module", params=["centred", "denseflow", "truncate", "float16"])
def store(request, tmp_path_factory):
    root = tmp_path_factory.mktemp("xarray") / "s.zarr"
    videos = dict(zip(KEYS, CODES, strict=True))
    bound = 15.0
    if request.param == "float16":
        bound, videos = None, {key: (codes.astype(np.float16) - 100) / 8 for key, codes in videos.items()}
    write_store(root, videos, {"wave/broken": "0 frames"}, settings_of(request.param, bound))
    return root


def test_xarray_gives_pixels_without_flowstore(store, tmp_path):
    out = tmp_path / "arrays.npz"
    command = [sys.executable, "-I", "-c", SCRIPT, str(store), str(out), *KEYS]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    groups = {"/", "/index", "/wave", "/run__fast", "/wave/broken", *(f"/{key}" for key in KEYS)}
    assert set(said["groups"]) == groups
    # Names in the order of the index: by class, then by name.
    assert said["names"] == ["100%", "broken", KEYS[1].partition("/")[2], "plain"]
    # xarray says that there is no consolidated metadata, and nothing else.
    assert {text.partition(",")[0] for text in said["warnings"]} == {
        "Failed to open Zarr store with consolidated metadata"
    }
    arrays, opened = np.load(out), flowstore.open_store(store)
    for number, key in enumerate(KEYS):
        video = opened[key]
        expected = video[:]
        np.testing.assert_array_equal(arrays[f"codes{number}"], video.codes[:])
        for kind in ("group", "tree"):
            found = arrays[f"{kind}{number}"]
            assert found.shape == video.shape
            assert np.isfinite(found).all()
            np.testing.assert_array_equal(found.astype(np.float32), expected)
        np.testing.assert_array_equal(arrays[f"slice{number}"].astype(np.float32), expected[1:3, ..., 4])
    assert arrays["index_flows"].tolist() == [4, 0, 3, 5]


def test_pixels_are_those_of_the_formula(store):
    settings = json.loads((store / "zarr.json").read_bytes())["attributes"]["flowstore"]["settings"]
    codes = CODES[0].astype(np.float64)
    expected = {
        "centred": (codes - 128) * 15 / 127,
        "denseflow": codes * 30 / 255 - 15,
        "truncate": (codes + 0.5) * 30 / 255 - 15,
        "float16": (codes - 100) / 8,
    }[settings["encoding"]]
    with xr.open_zarr(store, group=KEYS[0], consolidated=False) as dataset:
        np.testing.assert_allclose(dataset["flow"].values, expected, rtol=0, atol=1e-6)


def test_zero_flow_is_zero_in_xarray_and_not_missing(tmp_path):
    write_store(tmp_path / "s.zarr", {"a/still": np.full((2, 2, 8, 8), 128, np.uint8)})
    with xr.open_zarr(tmp_path / "s.zarr", group="a/still", consolidated=False) as dataset:
        assert (dataset["flow"].values == 0.0).all()


def test_there_is_no_consolidated_metadata(store):
    for name, data in tree_files(store).items():
        if name.endswith("zarr.json"):
            assert "consolidated_metadata" not in json.loads(data), name


def test_zarr_walks_the_tree_without_a_warning(store, recwarn):
    members = dict(zarr.open_group(str(store), mode="r").members(max_depth=None))
    assert [str(warning.message) for warning in recwarn] == []
    flows = {name for name in members if name.endswith("/flow")}
    assert flows == {f"{key}/flow" for key in KEYS}
    assert all(isinstance(members[name], zarr.Array) for name in flows)
