"""Options of an extraction to settings, and the engine that a store goes on with."""

from __future__ import annotations

from collections.abc import Mapping

from flowstore.arguments import ParameterValue, our_spelling
from flowstore.errors import ArgumentError, StoreError
from flowstore.estimators.registry import make_estimator, resolve_engine
from flowstore.format.codec import Compression
from flowstore.format.root import read_root
from flowstore.format.settings import ExtractSettings
from flowstore.quantize.quantizer import Quantizer
from flowstore.storage.places import open_storage
from flowstore.store.open import Place


def choose_engine(
    store: Place,
    algorithm: str,
    engine: str,
    params: Mapping[str, ParameterValue] | None = None,
    overwrite: bool = False,
) -> tuple[str, str]:
    """Choose the implementation of an algorithm for a store: ``auto`` goes on with the one that made it."""
    if engine == "auto" and not overwrite:
        try:
            made_with = read_root(open_storage(store)).settings
        except StoreError:
            return resolve_engine(algorithm, engine, params)
        if made_with.algorithm == algorithm:
            return made_with.engine, ""
    return resolve_engine(algorithm, engine, params)


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
    return ExtractSettings(
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
