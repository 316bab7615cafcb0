"""Reading the flow files of one video, flow by flow, whatever their layout. Memory is that of one flow."""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.errors import DecodeError, FlowStoreError
from flowstore.layouts.hdf5 import open_hdf5
from flowstore.layouts.images import MAX_PIXELS, Mask, decode_flo, decode_kitti, decode_pair, decode_plane
from flowstore.layouts.layout import Layout
from flowstore.layouts.npy import HEADER_MAX_BYTES, parse_npy_header
from flowstore.layouts.templates import PathPattern
from flowstore.names import printable_name
from flowstore.quantize.file_quantizer import FileQuantizer
from flowstore.sources.fingerprint import SourceFiles, one_file, several_files
from flowstore.sources.images import check_frame_shape
from flowstore.sources.source import VideoSource


@dataclass(frozen=True, kw_only=True)
class FlowSource(VideoSource):
    """The flow files of one video.

    Parameters
    ----------
    layout : Layout
        Where they stand and how they encode flow.
    quantizer : FileQuantizer
        What their numbers mean.
    patterns : tuple of PathPattern
        Their paths below `path`, which is the root of the layout: of x and of y, or of the one file of both.
    n_files : int
        How many of each.
    step : int
        Distance of a flow's frames: where the layout is padded, so often the last flow stands again.
    """

    layout: Layout
    quantizer: FileQuantizer
    patterns: tuple[PathPattern, ...]
    n_files: int
    step: int = 1

    def paths(self, index: int) -> tuple[str, ...]:
        """Return the paths of a flow's files, relative to `path`."""
        return tuple(pattern.path(self.layout.first + index) for pattern in self.patterns)

    def iter_paths(self) -> Iterator[str]:
        """Yield the path of every file, relative to `path`."""
        for index in range(self.n_files):
            yield from self.paths(index)

    def files(self) -> SourceFiles:
        """Return the files that hold the flow."""
        if self.layout.packing == "video":
            return one_file(os.path.join(self.path, self.paths(0)[0]))
        return several_files(self.path, self.iter_paths())

    def decoder_versions(self) -> dict[str, str]:
        """Return nothing: no decoder of others is asked."""
        return {}

    def probe(self) -> tuple[int, int, int] | None:
        """Return ``(height, width, frames)`` as the first file says, None if it cannot be read."""
        try:
            return None if self.problem else probe_flow(self)
        except FlowStoreError:
            return None


Values = npt.NDArray[Any]
# No file of one flow is larger: eight bytes a pixel in .flo, and room for headers.
_MAX_FILE_BYTES = 8 * MAX_PIXELS + 2**20


@dataclass(frozen=True)
class FlowValues:
    """The numbers of one flow as its files have them.

    Parameters
    ----------
    values : uint8 or float32 array (2, H, W)
        Of x and y; what they mean is said by the source's quantizer. 0 where nothing is known.
    n_unknown : int
        Pixels of which nothing is known.
    """

    values: Values
    n_unknown: int = 0


def read_flows(source: FlowSource) -> Iterator[FlowValues]:
    """Yield the flows of a video in order; a last one that stands again, for as many flows as frames, once.

    Parameters
    ----------
    source : FlowSource
        Where they are.

    Yields
    ------
    FlowValues
        All of one size.

    Raises
    ------
    DecodeError
        If a file cannot be read or decoded, has another size than those before it, or the last flow should stand
        again and does not.
    """
    if source.problem:
        raise DecodeError(source.problem)
    flows = _checked(_READERS.get(source.layout.file_format, _read_numbered)(source))
    if not source.layout.is_padded:
        yield from flows
        return
    # As many flows as frames: of step 2, the last one stands three times.
    n_added = source.step
    latest: deque[FlowValues] = deque()
    for flow in flows:
        latest.append(flow)
        if len(latest) > n_added + 1:
            yield latest.popleft()
    last = latest.popleft()
    yield last
    if len(latest) < n_added or not all(np.array_equal(last.values, added.values) for added in latest):
        times = "twice" if n_added == 1 else f"{n_added + 1} times, as it has to for step {n_added}"
        raise DecodeError(f"the last flow does not stand {times}: leave out --pad-last")


def _checked(flows: Iterator[tuple[str, FlowValues]]) -> Iterator[FlowValues]:
    shape: tuple[int, ...] | None = None
    for name, flow in flows:
        shape = shape or flow.values.shape[1:]
        check_frame_shape(flow.values.shape[1:], shape, name)
        yield flow


def _read_numbered(source: FlowSource) -> Iterator[tuple[str, FlowValues]]:
    for index in range(source.n_files):
        paths = source.paths(index)
        yield printable_name(os.path.basename(paths[0])), _read_one(source, paths)


def _read_one(source: FlowSource, paths: tuple[str, ...]) -> FlowValues:
    if source.layout.packing == "planes":
        x, y = (_decode_file(source.path, path, decode_plane) for path in paths)
        if x.shape != y.shape:
            raise DecodeError(
                f"{printable_name(os.path.basename(paths[1]))} is {y.shape[1]}×{y.shape[0]}, "
                f"its x is {x.shape[1]}×{x.shape[0]}"
            )
        return FlowValues(np.stack([x, y]))
    (path,) = paths
    if source.layout.packing == "rgb":
        return FlowValues(_decode_file(source.path, path, decode_pair))
    decode: Callable[[bytes], tuple[Values, Mask]] = decode_flo if source.layout.file_format == "flo" else decode_kitti
    values, is_known = _decode_file(source.path, path, decode)
    return FlowValues(values, int(is_known.size - np.count_nonzero(is_known)))


def _decode_file(root: str, path: str, decode: Callable[[bytes], Any]) -> Any:
    name = printable_name(os.path.basename(path))
    try:
        with open(_regular_file(root, path), "rb") as file:
            size_bytes = os.fstat(file.fileno()).st_size
            if size_bytes > _MAX_FILE_BYTES:
                raise DecodeError(f"{size_bytes} bytes, expected at most {_MAX_FILE_BYTES} for one flow")
            return decode(file.read())
    except DecodeError as error:
        raise DecodeError(f"{name}: {error}") from error
    except OSError as error:
        raise DecodeError(f"{name} cannot be read: {error.strerror or error}") from error


def _regular_file(root: str, path: str) -> str:
    whole = os.path.join(root, path)
    # Opening a pipe would wait for its other end.
    if not stat.S_ISREG(os.stat(whole).st_mode):
        raise DecodeError("not a regular file")
    return whole


def _read_npy(source: FlowSource) -> Iterator[tuple[str, FlowValues]]:
    (path,) = source.paths(0)
    name = printable_name(os.path.basename(path))
    try:
        with open(_regular_file(source.path, path), "rb") as file:
            video = parse_npy_header(file.read(HEADER_MAX_BYTES), os.fstat(file.fileno()).st_size)
            file.seek(video.data_start)
            for _ in range(video.n_flows):
                yield name, FlowValues(video.decode_flow(file.read(video.flow_bytes)))
    except DecodeError as error:
        raise DecodeError(f"{name}: {error}") from error
    except OSError as error:
        raise DecodeError(f"{name} cannot be read: {error.strerror or error}") from error


def _read_hdf5(source: FlowSource) -> Iterator[tuple[str, FlowValues]]:
    (path,) = source.paths(0)
    name = printable_name(os.path.basename(path))
    try:
        with open_hdf5(_regular_file(source.path, path)) as video:
            for index in range(video.n_flows):
                yield name, FlowValues(video.read_flow(index))
    except DecodeError as error:
        raise DecodeError(f"{name}: {error}") from error
    except OSError as error:
        raise DecodeError(f"{name} cannot be read: {error.strerror or error}") from error


_READERS: dict[str, Callable[[FlowSource], Iterator[tuple[str, FlowValues]]]] = {"npy": _read_npy, "hdf5": _read_hdf5}


def probe_flow(source: FlowSource) -> tuple[int, int, int]:
    """Return ``(height, width, flows)`` of a video, from its first flow and its headers.

    Raises
    ------
    DecodeError
        If it cannot be read.
    """
    if source.problem:
        raise DecodeError(source.problem)
    n_flows = source.n_files
    if source.layout.file_format == "npy":
        whole = _regular_file(source.path, source.paths(0)[0])
        with open(whole, "rb") as file:
            video = parse_npy_header(file.read(HEADER_MAX_BYTES), os.fstat(file.fileno()).st_size)
        return video.height, video.width, video.n_flows
    if source.layout.file_format == "hdf5":
        with open_hdf5(_regular_file(source.path, source.paths(0)[0])) as file_of_video:
            return file_of_video.height, file_of_video.width, file_of_video.n_flows
    height, width = _read_one(source, source.paths(0)).values.shape[1:]
    return height, width, n_flows
