"""Extraction of a dataset, as it is called: options become settings, settings and a source a plan, which is run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace

from flowstore.arguments import ParameterValue, check_part
from flowstore.errors import ArgumentError, StoreError
from flowstore.estimators.registry import make_estimator, resolve_engine
from flowstore.format.codec import Compression
from flowstore.format.root import read_root
from flowstore.format.settings import ExtractSettings
from flowstore.jobs.progress import Progress
from flowstore.pipeline.execution import run_plan
from flowstore.pipeline.plan import ExtractPlan, make_plan
from flowstore.pipeline.report import ExtractReport
from flowstore.quantize.quantizer import Quantizer
from flowstore.sources.discovery import discover
from flowstore.sources.selection import select_sources
from flowstore.storage.places import open_storage
from flowstore.store.open import Place


def choose_engine(
    store: Place,
    algorithm: str,
    engine: str,
    params: Mapping[str, ParameterValue] | None = None,
    overwrite: bool = False,
) -> tuple[str, str]:
    """Choose the implementation of an algorithm for a store: ``auto`` goes on with the one that made it.

    Parameters
    ----------
    store : path, URL or zarr store
        Existing or not.
    algorithm, engine, params
        See `flowstore.estimators.registry.resolve_engine`.
    overwrite : bool
        Whether what the store was made with is of no account.

    Returns
    -------
    tuple of str
        The engine, and a line to show the user where it is not the fastest one (else empty).

    Raises
    ------
    ArgumentError, EstimatorError
        As `flowstore.estimators.registry.resolve_engine`.
    """
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
        quantizer = Quantizer(encoding or "centred", 20.0 if bound is None else bound)  # type: ignore[arg-type]
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
    )


def plan_extract(
    source: str | os.PathLike[str],
    store: Place,
    settings: ExtractSettings,
    *,
    list_file: str | os.PathLike[str] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
) -> ExtractPlan:
    """Look at a source and a store and say what an extraction would do; writes nothing.

    Parameters
    ----------
    source : path
        See `flowstore.sources.discovery.discover`.
    store : path, URL or zarr store
        Existing or not.
    settings : ExtractSettings
        What to compute.
    list_file, include, exclude, limit, part
        Which videos to take; see `flowstore.sources.selection.select_sources`.
    retry_failed : bool
        Whether failed videos are tried again.
    overwrite : bool
        Whether the store is emptied first.

    Returns
    -------
    ExtractPlan

    Raises
    ------
    FlowStoreError
        If the source, the store or a choice cannot be used.
    """
    if part is not None:
        check_part(part)
    is_part = part is not None and part[1] > 1
    if is_part and overwrite:
        raise ArgumentError(
            "--overwrite with --part would empty what the other parts have made: remove the store first"
        )
    discovery = discover(source, list_file)
    chosen = select_sources(discovery.sources, include, exclude, limit, part)
    if is_part:
        note = "a part leaves the index to a last run without --part, which also says whether anything is missing"
        discovery = replace(discovery, notes=(*discovery.notes, note))
    planned = make_plan(discovery, chosen, open_storage(store, is_written=True), settings, retry_failed, overwrite)
    return replace(planned, is_part=is_part)


def extract(
    source: str | os.PathLike[str],
    store: Place,
    *,
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
    workers: int | None = None,
    scheduler: str = "auto",
    list_file: str | os.PathLike[str] | None = None,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    part: tuple[int, int] | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ExtractReport:
    """Extract the flow of a dataset into a store; run again, it does what is missing.

    Parameters
    ----------
    source : path
        A folder of class folders, of videos or of frame folders, one video, one frame folder, or a list file.
    store : path, URL or zarr store
        Made where there is none.
    algorithm, engine, params, dtype, bound, encoding, step, short_side, size, fps, compression
        What to compute; see `make_settings`.
    workers : int, optional
        Videos at a time; all cores by default.
    scheduler : {"auto", "processes", "threads", "sync"} or address
        Where tasks run; an address such as ``tcp://host:8786`` is a running Dask cluster's.
    list_file, include, exclude, limit, part, retry_failed, overwrite
        Which videos to take; see `plan_extract`.
    progress : Progress, optional
        Is told what happens.

    Returns
    -------
    ExtractReport

    Raises
    ------
    FlowStoreError
        If something cannot be used, before any work; or if the store cannot be written.
    KeyboardInterrupt
        If the run was interrupted; the store resumes.

    Examples
    --------
    >>> from flowstore.pipeline import extract
    >>> report = extract("hmdb51/videos", "hmdb51.zarr", workers=4)  # doctest: +SKIP
    """
    engine, engine_note = choose_engine(store, algorithm, engine, params, overwrite)
    if engine_note and progress:
        progress.note(engine_note)
    settings = make_settings(
        algorithm, engine, params, dtype, bound, encoding, step, short_side, size, fps, compression
    )
    planned = plan_extract(
        source,
        store,
        settings,
        list_file=list_file,
        include=include,
        exclude=exclude,
        limit=limit,
        part=part,
        retry_failed=retry_failed,
        overwrite=overwrite,
    )
    return run_plan(planned, workers, scheduler, progress)
