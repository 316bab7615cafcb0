"""Every example in a docstring gives what it says, and what people call first has one."""

import doctest
import importlib
import inspect
import pkgutil

import pytest
from public_names import ENTRIES
from store_factory import make_codes, write_store
from torch_tests import import_torch

import flowstore

MODULES = sorted(
    info.name.removeprefix("flowstore.")
    for info in pkgutil.walk_packages(flowstore.__path__, "flowstore.")
    if info.name != "flowstore.__main__"
)
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the examples speak of."""
    root = tmp_path_factory.mktemp("examples")
    write_store(root / "hmdb51.zarr", {"wave/some_video": make_codes(29, 24, 32), "run/other": make_codes(29, 24, 32)})
    for name, text in {
        "splits/wave_test_split1.txt": "some_video.avi 1 \nother_video.avi 2 \n",
        "ucfTrainTestlist/classInd.txt": "1 Archery\n",
        "ucfTrainTestlist/testlist01.txt": "Archery/v_Archery_g01_c01.avi\n",
        "kinetics.csv": "label,youtube_id,time_start,time_end,split\nabseiling,0347ZoDXyP0,95,105,val\n",
        "train.txt": "wave/some_video 29 3\n",
    }.items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, place, monkeypatch):
    if name in ("loaders", "datasets"):
        import_torch()
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    module = importlib.import_module(f"flowstore.{name}")
    failed, _ = doctest.testmod(module, optionflags=OPTIONS)
    assert failed == 0
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize("module", ENTRIES)
def test_what_people_call_has_an_example(module):
    if module in ("loaders", "datasets"):
        import_torch()
    for name in ENTRIES[module]:
        documented = inspect.getdoc(getattr(importlib.import_module(f"flowstore.{module}"), name))
        for section in ("Parameters", "Examples"):
            assert f"{section}\n{'-' * len(section)}\n" in documented, (name, section)
