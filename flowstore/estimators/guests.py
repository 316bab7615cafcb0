"""Estimators of other packages: found by entry point or by path, imported when asked for, and looked at.

A guest is a class like the house's own (`flowstore.estimators.protocol.Estimator`). Its engine is the distribution
that it comes from, whose version stands in each record.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, packages_distributions, version
from pathlib import Path
from typing import Any, get_args

from flowstore.arguments import ParameterValue, check_whole
from flowstore.errors import EstimatorError, FlowStoreError
from flowstore.estimators.parameters import Params
from flowstore.estimators.protocol import Estimator, FrameKind

GROUP = "flowstore.estimators"
# Those that flowstore brings for a library that is an extra, by which their engine is called.
_EXTRA = {
    name: EntryPoint(name, f"flowstore.estimators.raft:{class_name}", GROUP)
    for name, class_name in (("raft_small", "RaftSmall"), ("raft_large", "RaftLarge"))
}
_EXTRA_ENGINE = "torchvision"
# The engine of a class that no installed distribution holds.
UNPACKAGED = "unpackaged"
# What importing a module and making an object of its class raise, short of what a user does to end a process.
_FAULTS = (
    ImportError, AttributeError, SyntaxError, NameError, TypeError, ValueError, ArithmeticError, LookupError, OSError,
    RuntimeError, AssertionError, SystemExit,
)  # fmt: skip


def guest_names() -> tuple[str, ...]:
    """Return the names of the estimators of extras, and of those that installed packages declare."""
    return (*_EXTRA, *sorted({entry.name for entry in entry_points(group=GROUP)} - set(_EXTRA)))


def is_extra(algorithm: str) -> bool:
    """Tell whether a name is that of an estimator of an extra."""
    return algorithm in _EXTRA


def declared(algorithm: str) -> list[EntryPoint]:
    """Return the estimators of a name that installed packages declare."""
    return list({entry.value: entry for entry in entry_points(group=GROUP, name=algorithm)}.values())


def find_guest(algorithm: str) -> EntryPoint | None:
    """Return where a guest is: by its name, or ``package.module:Class``; None if it is neither.

    Raises
    ------
    EstimatorError
        If two packages declare the name.
    """
    if algorithm in _EXTRA:
        return _EXTRA[algorithm]
    found = declared(algorithm)
    if len(found) > 1:
        owners = " and ".join(f"{entry.dist.name if entry.dist else '?'} ({entry.value})" for entry in found)
        raise EstimatorError(f"two installed packages name an estimator {algorithm}: {owners}; use the path of one")
    if found:
        return found[0]
    module, colon, name = algorithm.partition(":")
    if colon and all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        return EntryPoint(algorithm, algorithm, GROUP)
    return None


def guest_engine(entry: EntryPoint) -> str:
    """Return the name of the distribution that a guest comes from."""
    if entry in _EXTRA.values():
        return _EXTRA_ENGINE
    if entry.dist is not None:
        return entry.dist.name
    owners = _owners(tuple(sys.path)).get(entry.module.partition(".")[0])
    return owners[0] if owners else UNPACKAGED


@functools.cache
def _owners(path: tuple[str, ...]) -> Mapping[str, list[str]]:
    # Asked for with each video: looking through what is installed takes longer than a small video.
    return packages_distributions()


def guest_versions(algorithm: str) -> dict[str, str]:
    """Return the versions of what a guest comes from and of its libraries; of a lone module a digest."""
    entry = find_guest(algorithm)
    if entry is None:
        return {}
    return _own_version(entry) | _library_versions(entry)


def _library_versions(entry: EntryPoint) -> dict[str, str]:
    found = {}
    # What cannot be imported is said where it is made.
    with contextlib.suppress(EstimatorError):
        for name in getattr(load_guest(entry), "libraries", ()):
            with contextlib.suppress(PackageNotFoundError):
                found[name] = version(name)
    return found


def _own_version(entry: EntryPoint) -> dict[str, str]:
    engine = guest_engine(entry)
    if engine != UNPACKAGED:
        with contextlib.suppress(PackageNotFoundError):
            return {engine: version(engine)}
        return {}
    try:
        spec = importlib.util.find_spec(entry.module)
        data = Path(spec.origin).read_bytes() if spec and spec.origin else b""
    except (ImportError, OSError, ValueError):
        return {}
    return {entry.module: f"sha256 {hashlib.sha256(data).hexdigest()[:16]}"} if data else {}


def load_guest(entry: EntryPoint) -> type[Estimator]:
    """Import a guest's class.

    Raises
    ------
    EstimatorError
        If it cannot be imported, or is no class of an estimator.
    """
    name, engine = entry.name, guest_engine(entry)
    try:
        found = entry.load()
    except _FAULTS as error:
        hint = f"; it comes from {engine}" if engine != UNPACKAGED else "; PYTHONPATH says where modules are found"
        raise EstimatorError(f"estimator {name} cannot be imported ({type(error).__name__}: {error}){hint}") from error
    if not isinstance(found, type):
        raise EstimatorError(f"estimator {name} is {type(found).__name__}, expected a class")
    if not issubclass(found, Estimator):
        raise EstimatorError(
            f"estimator {name} is {found.__name__}, expected a class made of flowstore.estimators.Estimator"
        )
    return found


def make_guest(entry: EntryPoint, params: Params | None) -> Estimator:
    """Import a guest and make an estimator of it.

    Raises
    ------
    ArgumentError
        If it refuses a parameter.
    EstimatorError
        If it cannot be imported or made, or is no estimator.
    """
    name, engine, found = entry.name, guest_engine(entry), load_guest(entry)
    try:
        estimator = found(params)
        estimator.algorithm, estimator.engine = name, engine
    except FlowStoreError:
        raise
    except _FAULTS as error:
        raise EstimatorError(f"estimator {name} cannot be made ({type(error).__name__}: {error})") from error
    _check_guest(name, estimator)
    return estimator


def _check_guest(name: str, estimator: Any) -> None:
    if estimator.frames not in get_args(FrameKind):
        raise EstimatorError(f"estimator {name} wants frames {estimator.frames!r}, expected gray or rgb")
    check_whole(f"batch of estimator {name}", estimator.batch, 1)
    if estimator.max_workers is not None:
        check_whole(f"max_workers of estimator {name}", estimator.max_workers, 1)
    for what in ("libraries", "incidental", "notes"):
        words = getattr(estimator, what)
        # A lone word, for want of a comma, would be taken for its letters.
        if not isinstance(words, tuple | list) or not all(isinstance(word, str) and word for word in words):
            raise EstimatorError(f"{what} of estimator {name} is {words!r}, expected a tuple of words")
    params = getattr(estimator, "params", None)
    if not isinstance(params, Mapping) or not all(
        isinstance(key, str) and isinstance(value, get_args(ParameterValue)) for key, value in params.items()
    ):
        raise EstimatorError(f"estimator {name} has params {params!r}, expected names with numbers and words")
