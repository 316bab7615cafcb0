"""The layouts of other tools, one row each."""

from __future__ import annotations

import dataclasses

from flowstore.errors import ArgumentError
from flowstore.layouts.layout import ClassFolder, Layout
from flowstore.names import suggest_name
from flowstore.quantize.file_quantizer import FileEncoding


def _planes(name: str, template: str, used_by: str, encoding: FileEncoding = "denseflow", first: int = 1) -> Layout:
    """Return a layout of two JPEG files a flow; ``#`` stands for x and y."""
    class_folder: ClassFolder = "always" if "{class}" in template else "never"
    return Layout(
        name,
        template.replace("#", "x"),
        template.replace("#", "y"),
        first,
        encoding=encoding,
        class_folder=class_folder,
        used_by=used_by,
    )


_ROWS = (
    _planes(
        "notebook", "{class}/{video}/flow_#_{number:04d}.jpg", "the common OpenCV loop over frame folders", "truncate"
    ),
    _planes(
        "notebook-tidy",
        "{class}/{video}/flows/flow_#_{number:04d}.jpg",
        "the same after its files were moved into flows/",
        "truncate",
    ),
    dataclasses.replace(
        _planes("denseflow", "{class}/{video}/flow_#{step}_{number:05d}.jpg", "open-mmlab/denseflow", first=0),
        class_folder="optional",
    ),
    _planes("tsn", "{video}/flow_#_{number:05d}.jpg", "temporal-segment-networks, TSM, yjxiong/dense_flow"),
    _planes("mmaction2", "{class}/{video}/#_{number:05d}.jpg", "mmaction2 raw frames, '{}_{:05d}.jpg'"),
    _planes(
        "mmaction2-activitynet", "{video}/flow_#_{number:05d}.jpg", "mmaction2 on ActivityNet, 'flow_{}_{:05d}.jpg'"
    ),
    Layout(
        "twostream",
        "u/{video}/frame{number:06d}.jpg",
        "v/{video}/frame{number:06d}.jpg",
        class_folder="never",
        used_by="feichtenhofer/twostreamfusion, tvl1_flow/",
    ),
    _planes("gpu-flow", "#/{class}/{video}/frame{number:06d}.jpg", "feichtenhofer/gpu_flow"),
    Layout(
        "flowty",
        "{video}/u/frame_{number:05d}.jpg",
        "{video}/v/frame_{number:05d}.jpg",
        encoding="truncate",
        class_folder="never",
        used_by="flowty",
    ),
    Layout(
        "epic",
        "{video}/u/frame_{number:010d}.jpg",
        "{video}/v/frame_{number:010d}.jpg",
        class_folder="never",
        used_by="EPIC-KITCHENS",
    ),
    _planes("charades", "{video}/{video}-{number:06d}#.jpg", "Charades"),
    _planes("tsm-sthv1", "{video}/{video}-#_{number:05d}.jpg", "TSM on Something-Something v1"),
    _planes("mars", "{class}/{video}/TVL1jpg_#_{number:05d}.jpg", "MARS", "truncate"),
    Layout("coclr", "{class}/{video}/flow_{number:05d}.jpg", packing="rgb", quality=100, used_by="CoCLR"),
    Layout(
        "i3d-npy",
        "{class}/{video}.npy",
        file_format="npy",
        packing="video",
        encoding="i3d-float",
        class_folder="optional",
        used_by="kinetics-i3d: float32 (1, T, H, W, 2)",
    ),
    Layout(
        "npy",
        "{class}/{video}.npy",
        file_format="npy",
        packing="video",
        encoding="pixels",
        used_by="NumPy: float32 (T, 2, H, W)",
    ),
    Layout(
        "flo",
        "{class}/{video}/{number:06d}.flo",
        file_format="flo",
        packing="pair",
        encoding="pixels",
        used_by="Middlebury, OpenCV, RAFT",
    ),
    Layout(
        "kitti",
        "{class}/{video}/{number:06d}_10.png",
        file_format="kitti",
        packing="pair",
        encoding="pixels",
        used_by="the KITTI devkit",
    ),
    Layout(
        "hdf5",
        "{class}/{video}.h5",
        file_format="hdf5",
        packing="video",
        encoding="pixels",
        used_by="h5py: dataset flow (T, 2, H, W)",
    ),
)


LAYOUTS = {layout.name: layout for layout in _ROWS}


def find_layout(name: str) -> Layout:
    """Return a preset.

    Parameters
    ----------
    name : str
        A key of `LAYOUTS`.

    Returns
    -------
    Layout

    Raises
    ------
    ArgumentError
        If there is none of that name; the message lists them.

    Examples
    --------
    >>> find_layout("mmaction2").example
    'wave/some_video/x_00001.jpg'
    """
    if not isinstance(name, str):
        raise ArgumentError(f"layout is {name!r}, expected a name, such as notebook, or a Layout")
    if name not in LAYOUTS:
        raise ArgumentError(f"no layout {name!r}{suggest_name(name, LAYOUTS)}; there are {', '.join(LAYOUTS)}")
    return LAYOUTS[name]
