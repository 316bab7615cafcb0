"""A store goes on with its own settings, whoever resumes it; what is said against them is refused."""

import pytest
from datasets import call, tree, write_dataset

import flowstore
from flowstore.errors import ArgumentError, SettingsMismatchError
from flowstore.pipeline import extract
from flowstore.pipeline.settings import make_settings

OTHERS = {
    "step": 2,
    "short_side": 24,
    "fps": 5.0,
    "compression": "small",
    "max_error": 0.3,
    "bound": 10.0,
    "encoding": "denseflow",
    "engine": "opencv",
    "params": {"winsize": 9},
}


@pytest.fixture
def source(tmp_path):
    write_dataset(tmp_path / "videos", n_videos=2)
    return tmp_path / "videos"


@pytest.mark.parametrize(
    "begun",
    [OTHERS, {"dtype": "float16", "size": (24, 32)}, {"algorithm": "dis", "params": {"preset": "fast"}}, {}],
)
def test_a_store_goes_on_with_its_own_settings(source, tmp_path, begun):
    store = tmp_path / "flow.zarr"
    extract(source, store, limit=1, **begun)
    settings = flowstore.open_store(store).settings
    resumed = call("extract", source, store)
    assert (resumed.code, "(the store's)" in resumed.err) == (0, True)
    whole = tree(store)
    assert extract(source, store).n_extracted == 0
    assert extract(source, store, **begun).n_extracted == 0
    assert tree(store) == whole
    assert flowstore.open_store(store).settings == settings


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("step", 1),
        ("short_side", 30),
        ("size", (24, 32)),
        ("fps", 7.0),
        ("compression", "fast"),
        ("max_error", 0.4),
        ("bound", 20.0),
        ("encoding", "centred"),
        ("dtype", "float16"),
        ("engine", "numba"),
        ("algorithm", "dis"),
        ("params", {"winsize": 15}),
    ],
)
def test_what_is_said_against_the_stores_settings_is_refused(source, tmp_path, name, value):
    store = tmp_path / "flow.zarr"
    extract(source, store, limit=1, **OTHERS)
    with pytest.raises(SettingsMismatchError, match=r"made with other settings .* against"):
        extract(source, store, **{name: value})


def test_a_store_made_anew_takes_the_defaults(source, tmp_path):
    store = tmp_path / "flow.zarr"
    extract(source, store, step=2)
    extract(source, store, overwrite=True)
    assert flowstore.open_store(store).settings.step == 1


@pytest.mark.parametrize("max_error", [20.0, 25.0])
def test_an_error_as_large_as_the_bound_is_refused(max_error):
    with pytest.raises(ArgumentError, match=f"max error is {max_error:g} px, expected less than the bound, 20 px"):
        make_settings(max_error=max_error)
    assert make_settings(max_error=19.5).max_error_px == 19.5


def test_a_copy_and_an_import_refuse_it_too(source, tmp_path):
    store = tmp_path / "flow.zarr"
    extract(source, store)
    flowstore.export_flow(store, tmp_path / "npy", "npy")
    words = "--layout", "npy", "--max-error", "25"
    for command in (
        ("copy", store, tmp_path / "n.zarr", *words[2:]),
        ("import", tmp_path / "npy", tmp_path / "n.zarr", *words),
    ):
        refused = call(*command)
        assert (refused.code, "expected less than the bound, 20 px" in refused.err) == (2, True)
        assert len(refused.err.splitlines()) == 1
