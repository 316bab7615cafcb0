"""Parameters of algorithms: defaults, and one check of what is given in their place."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from flowstore.arguments import ParameterValue
from flowstore.errors import ArgumentError
from flowstore.names import suggest_name

Frame = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]
Params = Mapping[str, ParameterValue]


_LEAST_POLY_SIGMA = 0.2
# Of any parameter: more is a slip of the pen that would keep a core busy for years.
_LARGEST_WHOLE = 10_000
GAUSSIAN_WINDOW = 256  # OPTFLOW_FARNEBACK_GAUSSIAN
_FARNEBACK_DEFAULTS: Params = {
    "pyr_scale": 0.5,
    "levels": 3,
    "winsize": 15,
    "iterations": 3,
    "poly_n": 5,
    "poly_sigma": 1.2,
    "flags": 0,
}

_TVL1_DEFAULTS: Params = {
    "tau": 0.25,
    "lambda": 0.15,
    "theta": 0.3,
    "nscales": 5,
    "warps": 5,
    "epsilon": 0.01,
    "inner_iterations": 30,
    "outer_iterations": 10,
    "scale_step": 0.8,
    "gamma": 0.0,
    "median_filtering": 5,
}


def farneback_params(params: Params | None = None) -> Params:
    """Return all parameters of Farneback, checked, in the order in which OpenCV takes them."""
    merged = merge_params("farneback", _FARNEBACK_DEFAULTS, params)
    pyr_scale, poly_n, flags = merged["pyr_scale"], merged["poly_n"], merged["flags"]
    if not 0 < float(pyr_scale) < 1:
        raise ArgumentError(f"farneback: pyr_scale is {pyr_scale}, expected above 0 and below 1")
    for name, least in (("levels", 0), ("winsize", 1), ("iterations", 1)):
        if int(merged[name]) < least:
            raise ArgumentError(f"farneback: {name} is {merged[name]}, expected {least} or more")
    if not 1 <= int(poly_n) <= 31:
        raise ArgumentError(f"farneback: poly_n is {poly_n}, expected 1 to 31 (5 and 7 are usual)")
    # Below, the expansion sees one pixel: OpenCV finds its moments singular and gives zero flow without a word.
    if not _LEAST_POLY_SIGMA <= float(merged["poly_sigma"]) < math.inf:
        raise ArgumentError(
            f"farneback: poly_sigma is {merged['poly_sigma']}, expected {_LEAST_POLY_SIGMA} or more (1.2 is usual)"
        )
    if flags not in (0, GAUSSIAN_WINDOW):
        raise ArgumentError(
            f"farneback: flags is {flags}, expected 0 (box window) or {GAUSSIAN_WINDOW} (Gaussian window)"
        )
    return merged


def tvl1_params(params: Params | None = None) -> Params:
    """Return all parameters of TV-L1, checked, in the order in which OpenCV takes them."""
    merged = merge_params("tvl1", _TVL1_DEFAULTS, params)
    for name in ("tau", "lambda", "theta", "epsilon"):
        if float(merged[name]) <= 0:
            raise ArgumentError(f"tvl1: {name} is {merged[name]}, expected above 0")
    for name in ("nscales", "warps", "inner_iterations", "outer_iterations"):
        if int(merged[name]) < 1:
            raise ArgumentError(f"tvl1: {name} is {merged[name]}, expected 1 or more")
    if not 0 < float(merged["scale_step"]) < 1:
        raise ArgumentError(f"tvl1: scale_step is {merged['scale_step']}, expected above 0 and below 1")
    if merged["median_filtering"] not in (1, 3, 5):
        raise ArgumentError(f"tvl1: median_filtering is {merged['median_filtering']}, expected 1, 3 or 5")
    return merged


def check_params(params: Params | None) -> Params:
    """Return the parameters, none for None."""
    if params is None:
        return {}
    if not (isinstance(params, Mapping) and all(isinstance(name, str) for name in params)):
        raise ArgumentError(f"params are {params!r}, expected a mapping of names to values")
    return params


def merge_params(algorithm: str, defaults: Params, params: Params | None, also: tuple[str, ...] = ()) -> Params:
    """Return the defaults with the given parameters in their place, each as the type of its default."""
    merged = dict(defaults)
    for name, value in check_params(params).items():
        if name not in defaults:
            known = (*also, *defaults)
            raise ArgumentError(
                f"{algorithm} has no parameter {name!r}{suggest_name(name, known)}; it has {', '.join(known)}"
            )
        merged[name] = _as_type_of(defaults[name], value, f"{algorithm}: {name}")
    return merged


def _as_type_of(default: ParameterValue, value: ParameterValue, what: str) -> ParameterValue:
    kind = type(default)
    try:
        if kind is bool:
            return {"true": True, "false": False, "1": True, "0": False}[str(value).lower()]
        number = kind(float(value)) if kind is int else kind(value)
    except (TypeError, ValueError, KeyError, OverflowError):
        number = None
    if number is None or (isinstance(number, float) and not math.isfinite(number)):
        raise ArgumentError(f"{what} is {value!r}, expected a value such as {default}")
    if kind is int and number != float(value):
        raise ArgumentError(f"{what} is {value!r}, expected a whole number")
    if kind is int and float(number) > _LARGEST_WHOLE:
        raise ArgumentError(f"{what} is {value!r}, expected at most {_LARGEST_WHOLE}")
    return number
