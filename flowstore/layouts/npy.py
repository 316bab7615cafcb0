"""The kind of file that holds the flow of a video as ``.npy``: its header and its flows. Pure: no path."""

from __future__ import annotations

import ast
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any, Literal

import numpy as np

from flowstore.errors import DecodeError
from flowstore.layouts.file_kind import Flow, VideoFile, VideoFlow, check_bytes, check_size
from flowstore.layouts.images import interleaved, planar

HEADER_MAX_BYTES = 4096 + 12
_MAGIC = b"\x93NUMPY"
_TYPES = ("<f2", "<f4", "<f8")

Axes = Literal["t2hw", "thw2", "1thw2"]
WrittenAxes = Literal["t2hw", "1thw2"]


class NpyFile(VideoFile):
    """NumPy's ``.npy``: float32 (T, 2, H, W), or (1, T, H, W, 2) as kinetics-i3d has it."""

    name, suffixes, overhead_bytes = "npy", (".npy",), 128

    def write(self, file: Any, shape: Sequence[int], flows: Iterable[Flow], encoding: str) -> None:
        """Write the header, then each flow."""
        axes: WrittenAxes = "1thw2" if encoding == "i3d-float" else "t2hw"
        n_flows, height, width = shape
        file.write(npy_header(n_flows, height, width, axes))
        for flow in flows:
            file.write(encode_npy_flow(flow, axes))

    @contextmanager
    def open(self, path: str, file: IO[bytes]) -> Iterator[VideoFlow]:
        """Read the header; flows are read as they are asked for."""
        del path
        video = parse_npy_header(file.read(HEADER_MAX_BYTES), os.fstat(file.fileno()).st_size)

        def read_flow(index: int) -> Flow:
            file.seek(video.data_start + index * video.flow_bytes)
            return video.decode_flow(file.read(video.flow_bytes))

        yield VideoFlow(video.n_flows, video.height, video.width, read_flow)


@dataclass(frozen=True)
class NpyVideo:
    """The header of a ``.npy`` file that holds the flow of a video.

    Parameters
    ----------
    n_flows, height, width : int
        Of the video.
    axes : {"t2hw", "thw2", "1thw2"}
        What its axes are.
    dtype : numpy.dtype
        Little-endian float16, float32 or float64.
    data_start : int
        Where the first flow's bytes begin.
    """

    n_flows: int
    height: int
    width: int
    axes: Axes
    dtype: np.dtype[Any]
    data_start: int

    @property
    def flow_bytes(self) -> int:
        """Length of a flow in the file; they follow one another."""
        return 2 * self.height * self.width * self.dtype.itemsize

    def decode_flow(self, data: bytes) -> Flow:
        """Return a flow of its `flow_bytes` bytes: float32 (2, H, W), the numbers of the file."""
        check_bytes(len(data), self.flow_bytes, "a flow")
        values = np.frombuffer(data, self.dtype)
        if self.axes == "t2hw":
            return values.reshape(2, self.height, self.width).astype(np.float32)
        return planar(values.reshape(self.height, self.width, 2))


def npy_header(n_flows: int, height: int, width: int, axes: WrittenAxes) -> bytes:
    """Return the header of a ``.npy`` file of float32; the bytes of each flow by `encode_npy_flow` follow it.

    References
    ----------
    ``numpy.lib.format``, version 1.0.
    """
    shape = (n_flows, 2, height, width) if axes == "t2hw" else (1, n_flows, height, width, 2)
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    # The data begin at a multiple of 64 bytes, after ten of magic, version and length and a line feed.
    padded = text + " " * (-(len(text) + 11) % 64) + "\n"
    return _MAGIC + bytes((1, 0)) + struct.pack("<H", len(padded)) + padded.encode("latin1")


def encode_npy_flow(values: Flow, axes: WrittenAxes) -> bytes:
    """Return the bytes of one flow, float32 (2, H, W), of a ``.npy`` file."""
    return (values if axes == "t2hw" else interleaved(values)).astype("<f4").tobytes()


def parse_npy_header(head: bytes, size_bytes: int) -> NpyVideo:
    """Return what a ``.npy`` file of `size_bytes` holds, from its first `HEADER_MAX_BYTES` bytes.

    Objects are never loaded. Shapes are ``(T, 2, H, W)``, ``(T, H, W, 2)`` and ``(1, T, H, W, 2)``; ``(T, 2, H, 2)``
    could be either of the first two, and is taken for the first.
    """
    start, fields = _parse_npy_fields(head)
    shape, dtype = fields["shape"], fields["descr"]
    if dtype not in _TYPES:
        raise DecodeError(f"expected numbers of type {', '.join(_TYPES)}, found {dtype!r}")
    if fields["fortran_order"]:
        raise DecodeError("its array is in Fortran order; save it again with numpy.ascontiguousarray")
    if not (isinstance(shape, tuple) and all(type(side) is int and side > 0 for side in shape)):
        raise DecodeError(f"expected the shape of an array, found {shape!r}")
    axes, (n_flows, height, width) = _find_axes(shape)
    check_size(height, width)
    found = NpyVideo(n_flows, height, width, axes, np.dtype(dtype), start)
    check_bytes(size_bytes, start + n_flows * found.flow_bytes, f"shape {shape} of {dtype}")
    return found


def _parse_npy_fields(head: bytes) -> tuple[int, dict[str, Any]]:
    if len(head) < 10 or head[:6] != _MAGIC:
        raise DecodeError("not a .npy file")
    is_short = head[6] == 1
    start = 10 if is_short else 12
    (length,) = struct.unpack("<H" if is_short else "<I", head[8:start].ljust(start - 8, b"\0"))
    if head[6] not in (1, 2, 3) or start + length > min(len(head), HEADER_MAX_BYTES):
        raise DecodeError(f"damaged .npy header: version {head[6]}, {length} bytes of it, in a file of {len(head)}")
    try:
        fields = ast.literal_eval(head[start : start + length].decode("latin1").strip())
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise DecodeError(f"damaged .npy header: {error}") from error
    if not isinstance(fields, dict) or set(fields) != {"descr", "fortran_order", "shape"}:
        raise DecodeError("damaged .npy header: expected descr, fortran_order and shape")
    return start + length, fields


def _find_axes(shape: tuple[int, ...]) -> tuple[Axes, tuple[int, int, int]]:
    if len(shape) == 4 and shape[1] == 2:
        return "t2hw", (shape[0], shape[2], shape[3])
    if len(shape) == 4 and shape[3] == 2:
        return "thw2", (shape[0], shape[1], shape[2])
    if len(shape) == 5 and shape[0] == 1 and shape[4] == 2:
        return "1thw2", (shape[1], shape[2], shape[3])
    raise DecodeError(f"expected the shape (T, 2, H, W), (T, H, W, 2) or (1, T, H, W, 2), found {shape}")
