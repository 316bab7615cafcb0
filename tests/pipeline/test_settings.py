"""A store goes on with its own settings, whoever resumes it; what is said against them is refused."""

import pytest
from datasets import call, tree, write_dataset

import flowstore
from flowstore.errors import SettingsMismatchError
from flowstore.pipeline import extract

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
