"""Docstrings name what the code has: each parameter in its order, what is returned, what is raised."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Iterator
from typing import Any

import pytest
from public_names import ENTRIES
from torch_tests import import_torch

import flowstore

MODULES = sorted(
    info.name.removeprefix("flowstore.")
    for info in pkgutil.walk_packages(flowstore.__path__, "flowstore.")
    if not re.match(r"flowstore\.(__main__|cli)\b", info.name)
)
# What is called first, and what those calls give back.
CALLED = {
    **ENTRIES,
    "store.video_index": ["VideoIndex"],
    "store.flow_index": ["FlowIndex"],
    "store.video": ["VideoCodes"],
}


def load(module: str) -> Any:
    if module in ("loaders", "datasets"):
        import_torch()
    return importlib.import_module(f"flowstore.{module}")


def documented(module: str) -> Iterator[tuple[str, Any, bool]]:
    """Yield the name, the object and whether it is a property, of each public function, class and method."""
    loaded = load(module)
    handed_on = getattr(loaded, "__all__", ())
    for name, thing in vars(loaded).items():
        is_own = getattr(thing, "__module__", None) == f"flowstore.{module}"
        if name.startswith("_") or not (is_own or name in handed_on):
            continue
        if inspect.isfunction(thing):
            yield name, thing, False
        elif inspect.isclass(thing):
            yield name, thing, False
            for key, method in vars(thing).items():
                function = getattr(method, "__func__", method)
                if key.startswith("_"):
                    continue
                if isinstance(method, property):
                    yield f"{name}.{key}", method.fget, True
                elif inspect.isfunction(function):
                    yield f"{name}.{key}", function, False


def section(thing: Any, title: str) -> str | None:
    """Return the text below a title of numpydoc, up to the next one; None where there is none."""
    text = inspect.getdoc(thing) or ""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=\n[A-Z][A-Za-z ]+\n-{{3,}}\n|\Z)", text, re.MULTILINE | re.DOTALL)
    return found and found[1]


def entries(text: str) -> list[str]:
    """Return the names that stand at the left margin: `a : int`, or `a, b : int`."""
    lines = [line.partition(" : ")[0] for line in text.splitlines() if line and not line[0].isspace()]
    return [name.strip().lstrip("*") for line in lines for name in line.split(",")]


def parameters(thing: Any) -> list[str]:
    if dataclasses.is_dataclass(thing) and any(map(dataclasses.is_dataclass, thing.__bases__)):
        # The base class says what it takes.
        return list(thing.__annotations__)
    return [name for name in inspect.signature(thing).parameters if name not in {"self", "cls"}]


def raised(thing: Any) -> set[str]:
    """Return the names of the errors that a function's own body makes and raises."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    made = [node.exc.func for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    names = {ast.unparse(function).rpartition(".")[2] for function in made}
    return {name for name in names if name.endswith("Error") and name not in {"NotImplementedError", "AssertionError"}}


def is_said(name: str, listed: list[str]) -> bool:
    """Say whether an error, or a class that it is of, is among those listed."""
    kind = getattr(flowstore.errors, name, None) or getattr(importlib.import_module("builtins"), name, None)
    return name in listed or any(base.__name__ in listed for base in getattr(kind, "__mro__", ()))


@pytest.mark.parametrize("module", MODULES)
def test_parameters_are_those_of_the_signature(module):
    for name, thing, _ in documented(module):
        text = section(thing, "Parameters")
        if text is not None:
            assert entries(text) == parameters(thing), name


@pytest.mark.parametrize("module", MODULES)
def test_all_public_is_documented(module):
    assert [name for name, thing, _ in documented(module) if not inspect.getdoc(thing)] == []


@pytest.mark.parametrize("module", MODULES)
def test_errors_listed_are_those_raised(module):
    for name, thing, _ in documented(module):
        text = section(thing, "Raises")
        if text is not None and inspect.isfunction(thing):
            assert [error for error in raised(thing) if not is_said(error, entries(text))] == [], name


@pytest.mark.parametrize("module", CALLED)
def test_what_people_call_says_what_it_takes_gives_and_raises(module):
    for name, thing, is_property in documented(module):
        if name.partition(".")[0] not in CALLED[module] or is_property:
            continue
        if "; see `" in inspect.getdoc(thing):
            # An override of a method that says it all.
            continue
        if parameters(thing):
            assert section(thing, "Parameters") is not None, name
        if inspect.isfunction(thing):
            gives = inspect.signature(thing).return_annotation not in {"None", None}
            assert not gives or section(thing, "Returns") or section(thing, "Yields"), name
            assert not raised(thing) or section(thing, "Raises"), name


def test_the_checks_see_what_is_missing():
    def one(a: int, b: int, *c: int) -> int:
        """Say it.

        Parameters
        ----------
        a, b : int
            Two.
        *c : int
            More.

        Raises
        ------
        ValueError
            Always.
        """
        raise flowstore.errors.ArgumentError("text")

    assert entries(section(one, "Parameters")) == parameters(one) == ["a", "b", "c"]
    assert section(one, "Returns") is None
    assert raised(one) == {"ArgumentError"}
    assert is_said("ArgumentError", entries(section(one, "Raises")))
    assert not is_said("ValueError", ["OSError"])
