"""Options of an extraction to settings, and the engine that a store goes on with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flowstore.arguments import ParameterValue, our_spelling
from flowstore.errors import ArgumentError, StoreError
from flowstore.estimators.registry import make_estimator, resolve_engine
from flowstore.format.codec import Compression
from flowstore.format.root import read_root
from flowstore.format.settings import IMPORTED, ExtractSettings
from flowstore.quantize.error_bounded import check_below_bound
from flowstore.quantize.quantizer import Quantizer
from flowstore.storage.places import open_storage
from flowstore.store.open import Place


def choose_settings(store: Place, asked: Mapping[str, Any], overwrite: bool = False) -> tuple[ExtractSettings, str]:
    """Return the settings of an extraction into a store, and what is to be said of its engine.

    `asked`: options of `make_settings`; one that is None was not given. A store goes on with its own settings: what was
    not given is the store's. What was given is taken, and refused by the plan where the store has another value.
    """
    given = {name: value for name, value in asked.items() if value is not None and value != {}}
    if given.get("engine") == "auto":
        del given["engine"]
    stored = None if overwrite else _stored_settings(store)
    if stored is not None:
        return _complete(stored, given), ""
    algorithm, params = given.get("algorithm", "farneback"), given.get("params")
    engine, note = resolve_engine(algorithm, given.pop("engine", "auto"), params)
    return make_settings(engine=engine, **given), note


def _stored_settings(store: Place) -> ExtractSettings | None:
    """Return the settings that a store goes on with; None where there is no store, or one that was imported."""
    try:
        stored = read_root(open_storage(store)).settings
    except StoreError:
        return None
    return None if stored.algorithm == IMPORTED else stored


def _complete(stored: ExtractSettings, given: Mapping[str, Any]) -> ExtractSettings:
    """Return the settings of a store with those that were given in their place."""
    if not given:
        return stored
    options: dict[str, Any] = {"step": stored.step, "fps": stored.fps, "compression": stored.compression}
    if not {"short_side", "size"} & given.keys():
        options |= {"short_side": stored.short_side, "size": stored.size}
    if given.get("algorithm", stored.algorithm) == stored.algorithm:
        options |= {"algorithm": stored.algorithm, "engine": stored.engine}
        options["params"] = {**stored.params, **given.get("params", {})}
    quantizer = stored.quantizer
    if given.get("dtype", quantizer.dtype.name) == quantizer.dtype.name:
        options["dtype"] = quantizer.dtype.name
        if quantizer.bound_px is not None:
            options |= {"bound": quantizer.bound_px, "encoding": quantizer.encoding}
    made = make_settings(
        **options | {name: value for name, value in given.items() if name != "params" or "params" not in options}
    )
    if "max_error" not in given and made.quantizer == quantizer:
        return replace(made, max_error_px=stored.max_error_px)
    return made


def make_settings(
    algorithm: str = "farneback",
    engine: str = "auto",
    params: Mapping[str, ParameterValue] | None = None,
    dtype: str = "uint8",
    bound: float | None = None,
    encoding: str | None = None,
    step: int = 1,
    short_side: int | None = None,
    size: tuple[int, int] | None = None,
    fps: float | None = None,
    compression: Compression = "fast",
    max_error: float | None = None,
) -> ExtractSettings:
    """Make the settings of an extraction from options.

    Parameters
    ----------
    algorithm, engine, params
        See `flowstore.estimators.registry.make_estimator`.
    dtype : {"uint8", "float16"}
        Of the stored numbers.
    bound : float, optional
        In pixels; 20 for uint8. Not for float16.
    encoding : {"centred", "denseflow", "truncate"}, optional
        ``centred`` for uint8. Not for float16.
    step, short_side, size, fps, compression
        See `ExtractSettings`.
    max_error : float, optional
        The largest error of a component within the bound, in pixels: at least half a step, the default. With one step
        a store takes half the bytes, with one and a half a third. Not for float16.

    Returns
    -------
    ExtractSettings
        Complete: with every parameter of the algorithm.

    Raises
    ------
    ArgumentError
        If a value cannot be used.
    EstimatorError
        If the estimator is not installed.
    """
    estimator = make_estimator(algorithm, engine, params)
    if dtype == "float16":
        if bound is not None or encoding is not None:
            raise ArgumentError("float16 stores pixels as they are: leave out the bound and the encoding")
        quantizer = Quantizer("float16", None)
    elif dtype == "uint8":
        quantizer = Quantizer(our_spelling(encoding) or "centred", 20.0 if bound is None else bound)
        if quantizer.encoding == "float16":
            raise ArgumentError("encoding float16 is asked for with --dtype float16")
    else:
        raise ArgumentError(f"dtype is {dtype!r}, expected uint8 or float16")
    made = ExtractSettings(
        estimator.algorithm,
        estimator.engine,
        estimator.params,
        quantizer,
        step,
        short_side,
        size,
        fps,
        compression,
        max_error,
    )
    check_below_bound(made.quantizer, made.max_error_px)
    return made
