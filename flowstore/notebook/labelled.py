"""Flow as labelled, lazy arrays. Owns xarray and Dask's arrays, loaded when one is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from flowstore.errors import MissingExtraError
from flowstore.format.record import VideoRecord
from flowstore.format.settings import ExtractSettings
from flowstore.names import display_name

# Of pixels: large against the cost of a task, small against memory.
_CHUNK_BYTES = 4 * 2**20


def label_flow(flow: Any, record: VideoRecord, settings: ExtractSettings, place: str) -> Any:
    """Return a video's flow as a labelled, lazy array.

    `flow`: array-like (n_flows, 2, H, W), gives pixels when it is indexed; picklable. Gives xarray.DataArray, see
    `flowstore.store.video.Video.to_xarray`.
    """
    xr = _import_xarray()
    import dask.array as da
    from dask.base import tokenize

    n_flows, _, height, width = flow.shape
    chunk_flows = max(1, _CHUNK_BYTES // (8 * height * width))
    # Nothing is read to name it: a video that is made anew has other dates or sizes.
    token = tokenize(place, record.created, record.shard_sizes, settings.to_json())
    chunks = chunk_flows, 2, height, width
    meta = np.empty((0, 0, 0, 0), np.float32)
    values = da.from_array(flow, chunks, name=f"flow-{token}", asarray=False, inline_array=True, meta=meta)
    coordinates: dict[str, Any] = {
        "frame": ("frame", range(n_flows), {"long_name": "frame that the flow starts from"}),
        "component": ("component", ["x", "y"], {"long_name": "x: right, y: down"}),
    }
    times = record.flow_times_s
    if times is not None:
        coordinates["time"] = ("frame", times, {"units": "s", "long_name": "time of that frame"})
    return xr.DataArray(
        values,
        coordinates,
        ("frame", "component", "y", "x"),
        name="flow",
        attrs=_attributes(record, settings),
    )


def label_videos(flows: Mapping[str, Any], attributes: Mapping[str, Any]) -> Any:
    """Return labelled videos as a tree.

    Gives xarray.DataTree.
    """
    xr = _import_xarray()
    root = {"/": xr.Dataset(attrs=dict(attributes))}
    return xr.DataTree.from_dict(root | {path: flow.to_dataset() for path, flow in flows.items()})


def _attributes(record: VideoRecord, settings: ExtractSettings) -> dict[str, Any]:
    """Return units and origin as text and numbers, which every file format takes."""
    quantizer = settings.quantizer
    attributes: dict[str, Any] = {"units": "pixel", "long_name": "optical flow", "encoding": quantizer.encoding}
    if quantizer.bound_px is not None:
        attributes |= {"bound_px": quantizer.bound_px, "step_px": quantizer.scale}
    return attributes | {
        "frame_step": settings.step,
        "algorithm": settings.algorithm,
        "engine": settings.engine,
        "parameters": json.dumps(dict(settings.params)),
        "class": display_name(record.class_name),
        "video": display_name(record.name),
        "source": display_name(record.source_path),
        "source_kind": record.source_kind,
        "created": record.created,
        "versions": json.dumps(record.versions),
    }


def _import_xarray() -> Any:
    try:
        import xarray as xr
    except ImportError as error:
        raise MissingExtraError("to_xarray needs xarray: pip install 'flowstore[notebook]'") from error
    return xr
