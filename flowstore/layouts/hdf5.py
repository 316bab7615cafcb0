"""The kind of file that holds the flow of a video as HDF5, written and read flow by flow. The only owner of h5py."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, Any

import numpy as np

from flowstore.errors import DecodeError, ExportError, MissingExtraError
from flowstore.layouts.file_kind import MAX_PIXELS, Flow, VideoFile, VideoFlow, check_size

HDF5_DATASET = "flow"
_PLANE = re.compile(r"flow_([xy])((?:_p[0-9]+)?)_([0-9]{5,})")


class Hdf5File(VideoFile):
    """HDF5: one dataset ``flow``, float32 (T, 2, H, W), one chunk per flow, not compressed.

    The same flow gives the same bytes.
    """

    name, suffixes, overhead_bytes = "hdf5", (".h5", ".hdf5"), 4096

    def check_usable(self) -> None:
        """Raise `MissingExtraError` unless h5py is installed."""
        import_h5py()

    def write(self, file: Any, shape: Sequence[int], flows: Iterable[Flow], encoding: str) -> None:
        """Write each flow as it comes."""
        del encoding
        n_flows, height, width = shape
        n_written = 0
        with import_h5py().File(file, "w", track_order=False) as h5_file:
            chunk = 2, height, width
            dataset = h5_file.create_dataset(
                HDF5_DATASET, (n_flows, *chunk), "<f4", chunks=(1, *chunk), track_times=False
            )
            for flow in flows:
                dataset[n_written] = flow
                n_written += 1
        if n_written != n_flows:
            raise ExportError(f"{n_written} flows were written to an HDF5 file for {n_flows}")

    def open(self, path: str, file: IO[bytes]) -> contextlib.AbstractContextManager[VideoFlow]:
        """Open it by its path: through a file of Python's, HDF5 would not notice where bytes are missing."""
        del file
        return open_hdf5(path)


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[VideoFlow]:
    """Open an HDF5 file of the flow of a video.

    Read are a dataset ``flow`` of floats and of shape ``(T, 2, H, W)``, and what open-mmlab/denseflow writes: pixels
    in datasets ``flow_x_00000`` and ``flow_y_00000``, of floats and of shape ``(H, W)``, numbered from 0, with ``_p2``
    before the number for step 2. Links to other files are not followed.

    References
    ----------
    open-mmlab/denseflow, ``writeHDF5`` in ``src/common.cpp``.
    """
    h5py = import_h5py()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DecodeError(f"not an HDF5 file that can be read: {error}") from error
    with file:
        names = [name for name in file if _PLANE.fullmatch(name)] if HDF5_DATASET not in file else []
        yield _open_planes(h5py, file, names) if names else _open_array(h5py, file)


def _video_flow(n_flows: int, height: int, width: int, read: Callable[[int], Any]) -> VideoFlow:
    def read_flow(index: int) -> Flow:
        try:
            return np.asarray(read(index), np.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise DecodeError(f"flow {index} cannot be read: {error}") from error

    return VideoFlow(n_flows, height, width, read_flow)


def _open_array(h5py: Any, file: Any) -> VideoFlow:
    dataset = _dataset(h5py, file, HDF5_DATASET, 4)
    n_flows, n_components, height, width = dataset.shape
    if n_components != 2:
        raise DecodeError(f"dataset {HDF5_DATASET!r} is of shape {dataset.shape}, expected (T, 2, H, W)")
    return _video_flow(n_flows, height, width, dataset.__getitem__)


def _open_planes(h5py: Any, file: Any, names: list[str]) -> VideoFlow:
    found = [_PLANE.fullmatch(name) for name in names]
    (prefix, *others) = sorted({match[2] for match in found if match})
    if others:
        raise DecodeError(f"datasets of several steps: flow_x{prefix} and flow_x{others[0]}")
    numbers = {axis: sorted(int(match[3]) for match in found if match and match[1] == axis) for axis in "xy"}
    n_flows = len(names) // 2
    if numbers["x"] != numbers["y"] or numbers["x"] != list(range(n_flows)):
        raise DecodeError(
            f"{len(numbers['x'])} datasets of x and {len(numbers['y'])} of y, expected as many of each, numbered from 0"
        )

    def plane(axis: str, index: int) -> Any:
        return _dataset(h5py, file, f"flow_{axis}{prefix}_{index:05d}", 2)

    height, width = plane("x", 0).shape

    def read(index: int) -> Any:
        planes = [plane(axis, index) for axis in "xy"]
        if any(found.shape != (height, width) for found in planes):
            raise DecodeError(f"flow {index} is of another size than the first, {width}×{height}")
        return np.stack([found[()] for found in planes])

    return _video_flow(n_flows, height, width, read)


def _dataset(h5py: Any, file: Any, name: str, n_axes: int) -> Any:
    """Return a dataset of floats whose last two axes are those of a picture, checked before anything of it is read."""
    # A link to another file is not followed.
    link = file.get(name, getlink=True)
    dataset = file.get(name) if isinstance(link, h5py.HardLink) else None
    if not isinstance(dataset, h5py.Dataset):
        raise DecodeError(f"no dataset {name!r}; the file has {', '.join(list(file)[:5]) or 'nothing'}")
    shape: tuple[int, ...] = dataset.shape or ()
    if dataset.dtype.kind != "f" or len(shape) != n_axes or not all(shape):
        expected = "(T, 2, H, W)" if n_axes == 4 else "(H, W)"
        raise DecodeError(f"dataset {name!r} is {dataset.dtype} of shape {shape}, expected floats of shape {expected}")
    if dataset.is_virtual or dataset.external:
        raise DecodeError(f"dataset {name!r} has its numbers in other files, which are not read")
    check_size(shape[-2], shape[-1])
    _check_chunks(dataset, name)
    return dataset


def _check_chunks(dataset: Any, name: str) -> None:
    # A chunk is read whole, and one that is missing would be read as zeros.
    if dataset.chunks is None:
        if dataset.id.get_storage_size() < dataset.nbytes:
            raise DecodeError(f"dataset {name!r} has no room for its numbers: never written")
        return
    if int(np.prod(dataset.chunks, dtype=object)) > 8 * MAX_PIXELS:
        raise DecodeError(f"dataset {name!r} has chunks of {dataset.chunks}, too large to be read")
    n_chunks = int(np.prod([-(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks, strict=True)]))
    n_found = dataset.id.get_num_chunks()
    if n_found != n_chunks:
        raise DecodeError(f"dataset {name!r} has {n_found} of its {n_chunks} chunks: not written whole")


def import_h5py() -> Any:
    """Return the module h5py; raises `MissingExtraError` if it is not installed."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("HDF5 files need h5py: pip install 'flowstore[hdf5]'") from error
    return h5py
