"""What a person might read clips of flow from instead: written from codes, opened, read into an array that is there.

Each is a row of `ALTERNATIVES`. One whose packages are not installed is left out and said to be:

    pip install h5py hdf5plugin lmdb tensorstore zarrs
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import zarr

import flowstore

Codes = Mapping[str, np.ndarray]  # class/video: uint8 (T, 2, H, W)
Reader = Callable[[str, int, np.ndarray], None]  # class/video, first flow, out: uint8 (n, 2, H, W)


@dataclass(frozen=True)
class Alternative:
    """One way to keep flow and read it; without `write` it reads the store."""

    name: str
    open: Callable[[Path], Reader]
    write: Callable[[Codes, Path], None] | None = None
    needs: tuple[str, ...] = ()
    is_lossy: bool = False

    @property
    def missing(self) -> list[str]:
        return [package for package in self.needs if importlib.util.find_spec(package) is None]

    def lay_out(self, codes: Codes, store: Path, work: Path) -> Path:
        """Return what `open` takes: the store, or a folder below `work` that the codes were written into."""
        if self.write is None:
            return store
        folder = work / f"alternative {self.name}"
        folder.mkdir()
        self.write(codes, folder)
        return folder


def _iter_jpegs(codes: Codes) -> Iterator[tuple[str, bytes]]:
    for key, flows in codes.items():
        for number, flow in enumerate(flows, 1):
            for component, name in zip(flow, "xy", strict=True):
                encoded = cv2.imencode(".jpg", component, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
                yield f"{key}/flow_{name}_{number:05d}.jpg", encoded.tobytes()


def _jpeg_reader(load: Callable[[str], np.ndarray]) -> Reader:
    """Make a reader of what gives the picture of a name."""

    def read(key: str, start: int, out: np.ndarray) -> None:
        for number, flow in enumerate(out, start + 1):
            for component, name in zip(flow, "xy", strict=True):
                component[...] = load(f"{key}/flow_{name}_{number:05d}.jpg")

    return read


def _decode(data: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)


def _array_reader(open_array: Callable[[str], np.ndarray]) -> Reader:
    """Make a reader of what opens the array of a video, once."""
    opened = cache(open_array)

    def read(key: str, start: int, out: np.ndarray) -> None:
        out[:] = opened(key)[start : start + len(out)]

    return read


def _write_folder(codes: Codes, folder: Path) -> None:
    for name, data in _iter_jpegs(codes):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def _open_folder(folder: Path) -> Reader:
    return _jpeg_reader(lambda name: cv2.imread(str(folder / name), cv2.IMREAD_GRAYSCALE))


def _write_zip(codes: Codes, folder: Path) -> None:
    with zipfile.ZipFile(folder / "flow.zip", "w", zipfile.ZIP_STORED) as archive:
        for name, data in _iter_jpegs(codes):
            archive.writestr(name, data)


def _open_zip(folder: Path) -> Reader:
    archive = zipfile.ZipFile(folder / "flow.zip")
    return _jpeg_reader(lambda name: _decode(archive.read(name)))


def _write_lmdb(codes: Codes, folder: Path) -> None:
    import lmdb

    # No compressed codes are larger than raw ones.
    size = sum(flows.nbytes for flows in codes.values()) + 2**26
    with lmdb.open(str(folder), map_size=size) as database, database.begin(write=True) as transaction:
        for name, data in _iter_jpegs(codes):
            transaction.put(name.encode(), data)


def _open_lmdb(folder: Path) -> Reader:
    import lmdb

    transaction = lmdb.open(str(folder), readonly=True, lock=False, readahead=False).begin(buffers=True)
    return _jpeg_reader(lambda name: _decode(transaction.get(name.encode())))


def _write_hdf5(codes: Codes, folder: Path) -> None:
    import h5py
    import hdf5plugin

    with h5py.File(folder / "flow.h5", "w") as file:
        for key, flows in codes.items():
            file.create_dataset(key, data=flows, chunks=(1, *flows.shape[1:]), **hdf5plugin.LZ4())


def _open_hdf5(folder: Path) -> Reader:
    import h5py
    import hdf5plugin  # noqa: F401  (registers the filter)

    file = h5py.File(folder / "flow.h5")

    def read(key: str, start: int, out: np.ndarray) -> None:
        file[key].read_direct(out, np.s_[start : start + len(out)])

    return read


def _write_npy(codes: Codes, folder: Path) -> None:
    for key, flows in codes.items():
        (folder / key).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{key}.npy", flows)


def _open_npy(folder: Path) -> Reader:
    return _array_reader(lambda key: np.load(folder / f"{key}.npy", mmap_mode="r"))


def _open_zarr(folder: Path) -> Reader:
    return _array_reader(lambda key: zarr.open_array(folder / key / "flow", mode="r"))


def _open_zarrs(folder: Path) -> Reader:
    def open_array(key: str) -> np.ndarray:
        with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
            return zarr.open_array(folder / key / "flow", mode="r")

    return _array_reader(open_array)


def _open_tensorstore(folder: Path) -> Reader:
    import tensorstore

    @cache
    def opened(key: str) -> tensorstore.TensorStore:
        place = {"driver": "file", "path": str(folder / key / "flow")}
        return tensorstore.open({"driver": "zarr3", "kvstore": place}).result()

    def read(key: str, start: int, out: np.ndarray) -> None:
        out[:] = opened(key)[start : start + len(out)].read().result()

    return read


def _open_flowstore(folder: Path) -> Reader:
    store = flowstore.open_store(folder)

    def read(key: str, start: int, out: np.ndarray) -> None:
        store[key].read_codes(start, start + len(out), out=out)

    return read


FLOWSTORE, JPEG, ZARR = "flowstore", "JPEG folder, cv2.imread", "zarr-python, default pipeline"

ALTERNATIVES = (
    Alternative(FLOWSTORE, _open_flowstore),
    Alternative(ZARR, _open_zarr),
    Alternative("zarr-python with zarrs", _open_zarrs, needs=("zarrs",)),
    Alternative("tensorstore", _open_tensorstore, needs=("tensorstore",)),
    Alternative("HDF5, a chunk per flow, LZ4", _open_hdf5, _write_hdf5, ("h5py", "hdf5plugin")),
    Alternative(".npy files, mmap", _open_npy, _write_npy),
    Alternative(JPEG, _open_folder, _write_folder, is_lossy=True),
    Alternative("JPEGs in one .zip", _open_zip, _write_zip, is_lossy=True),
    Alternative("JPEGs in LMDB", _open_lmdb, _write_lmdb, ("lmdb",), is_lossy=True),
)


def find_installed() -> tuple[list[Alternative], list[str]]:
    """Return the alternatives whose packages are here, and a line about each of the others."""
    left_out = [
        f"{one.name} is left out: {' and '.join(one.missing)} not installed" for one in ALTERNATIVES if one.missing
    ]
    return [one for one in ALTERNATIVES if not one.missing], left_out
