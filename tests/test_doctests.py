"""Every example in a docstring gives what it says."""

import doctest
import importlib
import pkgutil

import pytest
from torch_tests import import_torch

import flowstore

MODULES = sorted(info.name for info in pkgutil.iter_modules(flowstore.__path__) if info.name != "__main__")
OPTIONS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    if name == "loaders":
        import_torch()
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(f"flowstore.{name}")
    failed, _ = doctest.testmod(module, optionflags=OPTIONS)
    assert failed == 0
    assert list(tmp_path.iterdir()) == []


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    with_examples = {
        name
        for name in set(MODULES) - {"loaders"}
        if any(test.examples for test in finder.find(importlib.import_module(f"flowstore.{name}")))
    }
    assert {"names", "quantize", "sampling", "layouts", "colour", "motion", "store", "index", "scenes"} <= with_examples
