"""The flow of a video in an HDF5 file, written and read flow by flow. The only owner of h5py."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import DecodeError, ExportError, MissingExtraError
from flowstore.flow_files import MAX_PIXELS, check_size

HDF5_DATASET = "flow"
Flow = npt.NDArray[np.float32]


class Hdf5FlowWriter:
    """Writes the flow of a video to an HDF5 file, flow by flow; a context manager.

    Parameters
    ----------
    place : path or binary file
        Of the file, which is replaced; or one that is open for reading and writing.
    n_flows, height, width : int
        Of the video.

    Raises
    ------
    MissingExtraError
        If h5py is not installed.

    Notes
    -----
    One dataset ``flow``, float32 (T, 2, H, W), a chunk a flow, not compressed. The same flow gives the same bytes.
    """

    def __init__(self, place: Any, n_flows: int, height: int, width: int) -> None:
        self._file = import_h5py().File(place, "w", track_order=False)
        shape = (n_flows, 2, height, width)
        self._flows = self._file.create_dataset(HDF5_DATASET, shape, "<f4", chunks=(1, *shape[1:]), track_times=False)
        self._n_written = 0

    def append(self, values: Flow) -> None:
        """Write the next flow, float32 (2, H, W)."""
        self._flows[self._n_written] = values
        self._n_written += 1

    def __enter__(self) -> Hdf5FlowWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        n_flows = self._flows.shape[0]
        self._file.close()
        if kind is None and self._n_written != n_flows:
            raise ExportError(f"{self._n_written} flows were written to an HDF5 file for {n_flows}")


class Hdf5Flow:
    """The flow of a video in an HDF5 file: dataset ``flow``, (T, 2, H, W) of floats. Made by `open_hdf5`.

    Attributes
    ----------
    n_flows, height, width : int
        Of the video.
    """

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self.n_flows, _, self.height, self.width = (int(side) for side in dataset.shape)

    def read_flow(self, index: int) -> Flow:
        """Return a flow, float32 (2, H, W), as the file has it.

        Raises
        ------
        DecodeError
            If it cannot be read.
        """
        try:
            return np.asarray(self._dataset[index], np.float32)
        except (OSError, ValueError, RuntimeError) as error:
            raise DecodeError(f"flow {index} cannot be read: {error}") from error


@contextlib.contextmanager
def open_hdf5(path: str | os.PathLike[str]) -> Iterator[Hdf5Flow]:
    """Open an HDF5 file of the flow of a video.

    Parameters
    ----------
    path : path
        Of the file.

    Raises
    ------
    MissingExtraError
        If h5py is not installed.
    DecodeError
        If it is none, or has no dataset ``flow`` of floats and of shape ``(T, 2, H, W)``.
    """
    h5py = import_h5py()
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DecodeError(f"not an HDF5 file that can be read: {error}") from error
    with file:
        # A link to another file is not followed.
        link = file.get(HDF5_DATASET, getlink=True)
        dataset = file.get(HDF5_DATASET) if isinstance(link, h5py.HardLink) else None
        if not isinstance(dataset, h5py.Dataset):
            raise DecodeError(f"no dataset {HDF5_DATASET!r}; the file has {', '.join(list(file)[:5]) or 'nothing'}")
        shape: tuple[int, ...] = dataset.shape or ()
        if dataset.dtype.kind != "f" or len(shape) != 4 or shape[1] != 2 or not shape[0]:
            raise DecodeError(f"dataset {HDF5_DATASET!r} is {dataset.dtype} of shape {shape}, expected floats of shape "
                              "(T, 2, H, W)")  # fmt: skip
        if dataset.is_virtual or dataset.external:
            raise DecodeError(f"dataset {HDF5_DATASET!r} has its numbers in other files, which are not read")
        check_size(shape[2], shape[3])
        _check_hdf5_chunks(dataset)
        yield Hdf5Flow(dataset)


def _check_hdf5_chunks(dataset: Any) -> None:
    # A chunk is read whole, and one that is missing would be read as zeros.
    if dataset.chunks is None:
        return
    if int(np.prod(dataset.chunks, dtype=object)) > 8 * MAX_PIXELS:
        raise DecodeError(f"dataset {HDF5_DATASET!r} has chunks of {dataset.chunks}, too large to be read")
    n_chunks = int(np.prod([-(-side // chunk) for side, chunk in zip(dataset.shape, dataset.chunks, strict=True)]))
    n_found = dataset.id.get_num_chunks()
    if n_found != n_chunks:
        raise DecodeError(f"dataset {HDF5_DATASET!r} has {n_found} of its {n_chunks} chunks: not written whole")


def import_h5py() -> Any:
    """Return the module h5py.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import h5py
    except ImportError as error:
        raise MissingExtraError("HDF5 files need h5py: pip install 'flowstore[hdf5]'") from error
    return h5py
