"""Importing a folder of flow files in some layout into a store: a plan, and its run."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flowstore.arguments import ParameterValue, check_folder, suggest_path
from flowstore.errors import ArgumentError, SourceError, StoreError
from flowstore.format.root import read_root
from flowstore.format.settings import IMPORTED, ExtractSettings
from flowstore.importer.folders import find_flow
from flowstore.importer.origin import ImportOptions, Origin, find_origin
from flowstore.importer.task import encode_part, import_video, is_kept
from flowstore.jobs.progress import Progress
from flowstore.layouts.layout import Layout
from flowstore.pipeline.plan import ExtractPlan, make_plan, stating_target
from flowstore.pipeline.report import ExtractReport
from flowstore.pipeline.run import measure_plan, run_plan
from flowstore.progress import choose_progress
from flowstore.quantize.error_bounded import check_below_bound
from flowstore.quantize.file_quantizer import FileQuantizer
from flowstore.sources.selection import select_sources
from flowstore.storage.keys import Storage
from flowstore.storage.places import open_storage
from flowstore.store.open import Place


def import_flow(
    folder: str | os.PathLike[str],
    store: Place,
    layout: str | Layout | None = None,
    *,
    workers: int | None = None,
    scheduler: str = "auto",
    progress: Progress | bool | None = None,
    select: Sequence[str] = (),
    retry_failed: bool = False,
    overwrite: bool = False,
    **options: Any,
) -> ExtractReport:
    """Import a folder of flow files into a store; run again, it does what is missing.

    Parameters
    ----------
    folder : path
        Root of the layout.
    store : path, URL or zarr store
        Made where there is none.
    layout : str or Layout, optional
        A name of `flowstore.layouts.presets.LAYOUTS` or what `flowstore.layouts.layout.custom_layout` gives; may be
        left out where the folder has a ``flowstore-export.json``.
    workers, scheduler, progress
        As `flowstore.pipeline.run.extract` has them.
    select : sequence of str
        Which videos to take: ``class=NAME`` or ``name=PATTERN``.
    retry_failed, overwrite
        As `plan_import` has them.
    **options
        What `ImportOptions` takes.

    Returns
    -------
    ExtractReport

    Raises
    ------
    FlowStoreError
        If something cannot be used, before any work; or if the store cannot be written.

    Examples
    --------
    >>> from flowstore.importer import import_flow
    >>> report = import_flow("hmdb51_flow/", "hmdb51.zarr", "notebook", bound=20)  # doctest: +SKIP
    """
    progress = choose_progress(progress, "import")
    planned = plan_import(
        folder,
        store,
        layout,
        ImportOptions(**options),
        select=select,
        retry_failed=retry_failed,
        overwrite=overwrite,
    )
    return run_import(planned, workers, scheduler, progress)


def run_import(
    planned: ExtractPlan, workers: int | None = None, scheduler: str = "auto", progress: Progress | None = None
) -> ExtractReport:
    """Carry out the plan of an import; see `flowstore.pipeline.run.run_plan`."""
    return run_plan(planned, workers, scheduler, progress, import_video)


def measure_import(planned: ExtractPlan, progress: Progress | None = None) -> ExtractPlan:
    """Return the plan of an import with bytes and time from a measurement."""
    return measure_plan(planned, progress, encode_part)


def plan_import(
    folder: str | os.PathLike[str],
    store: Place,
    layout: str | Layout | None = None,
    options: ImportOptions | None = None,
    *,
    select: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    limit: int | None = None,
    retry_failed: bool = False,
    overwrite: bool = False,
) -> ExtractPlan:
    """Look at a folder of flow files and a store and say what an import would do; writes nothing."""
    options = options or ImportOptions()
    root = check_folder("FOLDER", folder)
    if not os.path.isdir(root):
        what = "not a folder" if os.path.lexists(root) else f"no such folder{suggest_path(root)}"
        raise SourceError(f"FOLDER {root}: {what}")
    if os.path.isfile(os.path.join(root, "zarr.json")):
        raise ArgumentError(f"FOLDER {root}: a Zarr store; give a folder of flow files")
    place = open_storage(store, is_written=True)
    stored = None if overwrite else _stored_settings(place)
    origin = find_origin(root, layout, options, stored)
    origin.layout.kind.check_usable()
    discovery, step = find_flow(root, origin.layout, origin.read, origin.step, origin.exported)
    discovery = replace(discovery, notes=(*origin.notes, *discovery.notes))
    chosen = select_sources(discovery.sources, include, exclude, limit, None, select)
    settings = _settings(origin, step, _packed_as(stored, origin, options))
    planned = make_plan(discovery, chosen, place, settings, retry_failed, overwrite, "import")
    note = describe_encoding(origin.layout, origin.read, settings, planned.estimate.largest_frame)
    planned = replace(planned, notes=(note, *planned.notes))
    return stating_target(
        planned,
        root,
        chosen,
        discovery.sources,
        lambda other: find_flow(other, origin.layout, origin.read, step)[0].sources,
    )


def _stored_settings(place: Storage) -> ExtractSettings | None:
    """Return the settings that a store goes on with; None where there is none, or one that was extracted."""
    try:
        stored = read_root(place).settings
    except StoreError:
        return None
    return stored if stored.algorithm == IMPORTED else None


def _packed_as(stored: ExtractSettings | None, origin: Origin, options: ImportOptions) -> ImportOptions:
    """Return options with the packing of a store that goes on, where none was asked for: no file tells it."""
    if stored is None:
        return options
    compression = stored.compression if options.compression is None else options.compression
    is_said = options.max_error is not None or bool(origin.read.row)
    max_error = options.max_error if is_said else stored.max_error_px
    return replace(options, compression=compression, max_error=max_error)


def _settings(origin: Origin, step: int, options: ImportOptions) -> ExtractSettings:
    layout, read = origin.layout, origin.read
    if options.max_error is not None and read.row:
        raise ArgumentError(
            f"max error is for files of pixels, and those of layout {layout.name} hold {read.encoding} codes: import "
            "them without, then copy the store with a max error"
        )
    params: dict[str, ParameterValue] = {
        "format": layout.file_format,
        "encoding": read.encoding,
        "computed_by": origin.computed_by,
    }
    if read.bound_px is not None:
        params["bound_px"] = read.bound_px
    check_below_bound(origin.stored, options.max_error)
    return ExtractSettings(
        IMPORTED,
        layout.name,
        params,
        origin.stored,
        step,
        compression=options.compression or "fast",
        max_error_px=options.max_error,
    )


def describe_encoding(layout: Layout, read: FileQuantizer, settings: ExtractSettings, size: tuple[int, int]) -> str:
    """Say whether codes are kept as they are, and if not by how much they can differ."""
    stored = settings.quantizer
    lossy = "" if layout.kind.is_lossless else "; JPEG has changed them before"
    bound = "" if read.bound_px is None else f" ±{read.bound_px:g} px"
    if is_kept(read, stored):
        return f"{read.encoding}{bound} codes are kept as the files have them{lossy}"
    target = stored.encoding + ("" if stored.bound_px is None else f" ±{stored.bound_px:g} px")
    step_px = layout.kind.step_px or read.step_px(*size)
    within = f"within {step_px / 2:.3g} px of the float flow"
    if settings.max_error_px is not None:
        within = f"within {settings.max_error_px + step_px / 2:.3g} px of the float flow"
    elif stored.bound_px is not None:
        differ = int(np.ceil(0.5 * step_px / stored.scale + 0.5))
        within = f"within {differ} of the code of the float flow" if step_px else "each the code of the file's value"
    elif not step_px:
        within = "rounded to 11 bits"
    return f"decoded from {read.encoding}{bound} and encoded as {target}, {within}{lossy}"
