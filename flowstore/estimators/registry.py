"""The table of estimators of dense optical flow.

A row is what makes an estimator, by its algorithm and engine. Engines are ``numba`` and ``opencv`` only, the second for
whatever needs no compiling: `resolve_engine` takes the first where it can be had. One to compile is named in
`_COMPILED` too, after its folder. What a row needs is imported when it is called. Estimators of other packages have no
row (`flowstore.estimators.guests`).
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import EntryPoint, version
from typing import Any

import numpy as np

from flowstore.errors import ArgumentError, EstimatorError, FlowStoreError
from flowstore.estimators.guests import (
    declared,
    find_guest,
    guest_engine,
    guest_names,
    guest_versions,
    is_extra,
    load_guest,
    make_guest,
)
from flowstore.estimators.parameters import Params, farneback_params, tvl1_params
from flowstore.estimators.protocol import Estimator, FlowStream
from flowstore.opencv import opencv_versions


class NumbaFarneback(Estimator):
    """Farnebäck's polynomial expansion by the kernel of `flowstore.estimators.farneback.stream`: OpenCV's flow."""

    algorithm = "farneback"
    engine = "numba"

    def __init__(self, params: Params | None = None) -> None:
        self.params = farneback_params(params)
        farneback = _import_kernel("farneback")
        farneback.kernel_parameters(self.params)
        self._make_stream = farneback.FarnebackStream

    def stream(self, height: int, width: int, step: int = 1) -> FlowStream:
        """Return a stream for one video of ``height × width`` pixels."""
        stream: FlowStream = self._make_stream(height, width, step=step, **self.params)
        return stream


class NumbaTvl1(Estimator):
    """Duality-based TV-L1 by the kernel of `flowstore.estimators.tvl1.stream`: OpenCV's flow."""

    algorithm = "tvl1"
    engine = "numba"

    def __init__(self, params: Params | None = None) -> None:
        self.params = tvl1_params(params)
        if self.params["gamma"]:
            raise ArgumentError(
                f"tvl1: gamma is {self.params['gamma']}, which the engine opencv alone takes, expected 0"
            )
        self._make_stream = _import_kernel("tvl1").Tvl1Stream

    def stream(self, height: int, width: int, step: int = 1) -> FlowStream:
        """Return a stream for one video of ``height × width`` pixels."""
        stream: FlowStream = self._make_stream(height, width, self.params, step=step)
        return stream


_COMPILED = ("farneback", "tvl1")


def _import_kernel(algorithm: str) -> Any:
    # Numba is loaded by those who use it only, and may not exist for the newest Python.
    try:
        return importlib.import_module(f"flowstore.estimators.{algorithm}.stream")
    except ImportError as error:
        hint = "" if isinstance(error, FlowStoreError) else "; if Numba is missing: pip install numba"
        raise EstimatorError(f"the numba engine cannot be had here: {error}{hint}") from error


def needs_compiling(engine: str, algorithm: str) -> bool:
    """Tell whether the first use of an algorithm's engine on this machine has yet to compile its loops."""
    return engine == "numba" and not _import_kernel(algorithm).is_compiled()


def compile_engine(engine: str, algorithm: str | None = None) -> None:
    """Compile an engine's loops, or load them from the cache on disk: nothing is compiled later.

    Parameters
    ----------
    engine : {"numba", "opencv"}
        OpenCV has nothing to compile.
    algorithm : str, optional
        The one to be used; every one of the engine's unless given.
    """
    if engine == "numba":
        for name in _COMPILED if algorithm is None else (algorithm,):
            _import_kernel(name).compile_kernels()


def _opencv(class_name: str) -> Callable[[Params | None], Estimator]:
    """Return what makes an estimator of OpenCV's, which is loaded only then."""

    def make(params: Params | None) -> Estimator:
        from flowstore.estimators import opencv

        made: Estimator = getattr(opencv, class_name)(params)
        return made

    return make


_ESTIMATORS: dict[tuple[str, str], Callable[[Params | None], Estimator]] = {
    ("farneback", "opencv"): _opencv("OpenCVFarneback"),
    ("farneback", "numba"): NumbaFarneback,
    ("dis", "opencv"): _opencv("OpenCVDis"),
    ("tvl1", "opencv"): _opencv("OpenCVTvl1"),
    ("tvl1", "numba"): NumbaTvl1,
}
ALGORITHMS = tuple(dict.fromkeys(algorithm for algorithm, _ in _ESTIMATORS))


def resolve_engine(algorithm: str, engine: str, params: Params | None = None) -> tuple[str, str]:
    """Choose the implementation of an algorithm."""
    if not isinstance(algorithm, str):
        raise ArgumentError(f"algorithm is {algorithm!r}, expected a name such as farneback")
    if algorithm not in ALGORITHMS:
        return _guest_engine(algorithm, engine), ""
    known = {name for _, name in _ESTIMATORS}
    if engine != "auto" and engine not in known:
        raise ArgumentError(f"engine is {engine!r}, expected one of auto, {', '.join(sorted(known))}")
    engines = [name for own, name in _ESTIMATORS if own == algorithm]
    if engine != "auto":
        if engine not in engines:
            raise ArgumentError(f"algorithm {algorithm} has no {engine} engine: use --engine {engines[0]}")
        return engine, ""
    if len(engines) == 1:
        return engines[0], ""
    try:
        _ESTIMATORS[algorithm, "numba"](params)
    except (EstimatorError, ArgumentError) as error:
        # What no engine takes is refused by OpenCV's too; what only OpenCV takes is said.
        try:
            _ESTIMATORS[algorithm, "opencv"](params)
        except EstimatorError:
            # It is not installed: the reason why the other cannot be taken says more.
            raise error from None
        return "opencv", f"engine: opencv in place of the faster numba ({error})"
    return "numba", ""


def _find_guest(algorithm: str) -> EntryPoint:
    entry = find_guest(algorithm)
    if entry is None:
        known = ", ".join((*ALGORITHMS, *guest_names()))
        raise ArgumentError(
            f"algorithm is {algorithm!r}, expected one of {known}, or an estimator's path such as package.module:Class"
        )
    return entry


def _guest_engine(algorithm: str, engine: str) -> str:
    found = guest_engine(_find_guest(algorithm))
    if engine not in ("auto", found):
        raise ArgumentError(f"engine is {engine!r}, but {algorithm} comes from {found}: leave out --engine")
    return found


def is_guest(algorithm: str) -> bool:
    """Tell whether an algorithm is none of the house's own."""
    return algorithm not in ALGORITHMS


def name_notes(algorithm: str) -> list[str]:
    """Say how the estimators of other packages are asked for whose name one of the house's own has."""
    hidden = [] if is_guest(algorithm) and not is_extra(algorithm) else declared(algorithm)
    return [
        f"algorithm {algorithm} is flowstore's own; that of {guest_engine(entry)} is asked for as {entry.value}"
        for entry in hidden
    ]


def make_estimator(algorithm: str = "farneback", engine: str = "auto", params: Params | None = None) -> Estimator:
    """Make an estimator.

    Parameters
    ----------
    algorithm : {"farneback", "dis", "tvl1"} or str
        What to compute; or ``raft_small`` or ``raft_large``, the name of an estimator that another package declares, or
        ``package.module:Class``.
    engine : {"auto", "numba", "opencv"} or str
        With which implementation; of another package's estimator the package.
    params : mapping, optional
        Parameters of the algorithm that differ from its defaults.

    Returns
    -------
    Estimator
        With `params` complete.

    Raises
    ------
    ArgumentError
        If a name or a value cannot be used.
    EstimatorError
        If the implementation is not installed, or cannot be imported.

    Examples
    --------
    >>> make_estimator("farneback", "opencv", {"winsize": 21}).params["winsize"]
    21
    """
    resolved, _ = resolve_engine(algorithm, engine, params)
    if is_guest(algorithm):
        return make_guest(_find_guest(algorithm), params)
    return _ESTIMATORS[algorithm, resolved](params)


def default_params(algorithm: str, engine: str = "auto") -> Params:
    """Return every parameter of an algorithm with its default; an engine's modules alone are loaded."""
    if is_guest(algorithm):
        return load_guest(_find_guest(algorithm)).defaults
    return make_estimator(algorithm, engine).params


def estimator_versions() -> dict[str, str]:
    """Return the versions of the libraries that estimators stand on."""
    versions = opencv_versions() | {"numpy": np.__version__}
    if importlib.util.find_spec("numba"):
        versions["numba"] = version("numba")
    return versions


@functools.cache
def _store_versions() -> dict[str, str]:
    # Asked for with each video: looking through what is installed takes longer than a small video.
    return {name: version(name) for name in ("flowstore", "zarr", "numcodecs")} | estimator_versions()


def library_versions(algorithm: str = "") -> dict[str, str]:
    """Return the versions of flowstore, of the libraries that make a store, and of the guest that an algorithm is."""
    return _store_versions() | (guest_versions(algorithm) if algorithm and is_guest(algorithm) else {})
