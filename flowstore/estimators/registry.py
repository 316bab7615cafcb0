"""Estimators of dense optical flow behind one protocol.

Frames in, flow out: knows nothing of files, stores or Dask.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, Protocol

import numpy as np

from flowstore.errors import ArgumentError, EstimatorError, FlowStoreError
from flowstore.estimators.parameters import Flow, Frame, Params, farneback_params, tvl1_params


class FlowStream(Protocol):
    """Flow along the frames of one video, all of one size. Not thread-safe: one a video."""

    def push(self, frame: Frame) -> Flow | None:
        """Take the next frame.

        Parameters
        ----------
        frame : uint8 array (H, W)
            Gray levels, any stride; the caller's again after the call.

        Returns
        -------
        float32 array (2, H, W) or None
            Motion in pixels from the frame `step` earlier to this one, component 0 = x (right), 1 = y (down),
            C-contiguous; None for the first `step` frames. The array belongs to the stream, which overwrites it at
            the next call.
        """
        ...


class Estimator(Protocol):
    """An algorithm with all its parameters, ready to be run over any number of videos."""

    algorithm: str
    engine: str
    params: Params

    def stream(self, height: int, width: int, step: int = 1) -> FlowStream:
        """Return a stream for one video of ``height × width`` pixels."""
        ...


class NumbaFarneback:
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
        return self._make_stream(height, width, step=step, **self.params)


class NumbaTvl1:
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
    if algorithm not in ALGORITHMS:
        raise ArgumentError(f"algorithm is {algorithm!r}, expected one of {', '.join(ALGORITHMS)}")
    if engine not in ("auto", "numba", "opencv"):
        raise ArgumentError(f"engine is {engine!r}, expected one of auto, numba, opencv")
    if engine != "auto":
        if (algorithm, engine) not in _ESTIMATORS:
            raise ArgumentError(f"algorithm {algorithm} has no {engine} engine: use --engine opencv")
        return engine, ""
    if (algorithm, "numba") not in _ESTIMATORS:
        return "opencv", ""
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


def make_estimator(algorithm: str = "farneback", engine: str = "auto", params: Params | None = None) -> Estimator:
    """Make an estimator.

    Parameters
    ----------
    algorithm : {"farneback", "dis", "tvl1"}
        What to compute.
    engine : {"auto", "numba", "opencv"}
        With which implementation.
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
        If the implementation is not installed.

    Examples
    --------
    >>> make_estimator("farneback", "opencv", {"winsize": 21}).params["winsize"]
    21
    """
    resolved, _ = resolve_engine(algorithm, engine, params)
    return _ESTIMATORS[algorithm, resolved](params)


def estimator_versions() -> dict[str, str]:
    """Return the versions of the libraries that estimators stand on."""
    from flowstore.estimators.opencv import OPENCV_VERSION

    versions = {"opencv": OPENCV_VERSION, "numpy": np.__version__}
    if importlib.util.find_spec("numba"):
        versions["numba"] = version("numba")
    return versions


def library_versions() -> dict[str, str]:
    """Return the versions of flowstore and of the libraries that make a store."""
    return {name: version(name) for name in ("flowstore", "zarr", "numcodecs")} | estimator_versions()
