"""Arrays as the kernels take them: frames that are checked, rows of whole vectors, positions of a linear resize."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowstore.errors import ArgumentError

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]

N_LANES = 16
_LINE_BYTES = 64


def check_frame(name: str, frame: Any, shape: tuple[int, int] | None = None) -> None:
    """Refuse what is no gray frame of uint8, or not of the given height and width."""
    if not isinstance(frame, np.ndarray):
        raise ArgumentError(f"{name} must be a NumPy array, not {type(frame).__name__}")
    if frame.dtype != np.uint8:
        raise ArgumentError(f"{name} must be uint8, not {frame.dtype}")
    if frame.ndim != 2:
        raise ArgumentError(f"{name} must be gray, of shape (height, width), not {frame.shape}")
    if shape is not None and frame.shape != shape:
        raise ArgumentError(f"{name} must have shape {shape}, not {frame.shape}")


def check_size(height: int, width: int, n_values: int) -> None:
    """Refuse frames without pixels, and those whose largest array, of `n_values`, has positions beyond an int32."""
    if height < 1 or width < 1:
        raise ArgumentError(f"height and width must be 1 or more, not {height} and {width}")
    if n_values >= 2**31:
        raise ArgumentError(f"height {height} and width {width} are too large: use the engine `opencv`")


def round_up(value: int) -> int:
    """Return the size of the whole vectors that hold so many values."""
    return -(-value // N_LANES) * N_LANES


def make_scratch(size: int, dtype: type = np.float32) -> NDArray[Any]:
    """Return zeros that begin at a cache line.

    Zeros, because vectors reach past the ends of rows and what they find there must be finite; aligned, because a
    vector that lies across two cache lines costs two loads.
    """
    item = np.dtype(dtype).itemsize
    raw: NDArray[Any] = np.zeros(size + _LINE_BYTES // item, dtype)
    start = -raw.ctypes.data % _LINE_BYTES // item
    return raw[start : start + size]


def pad_rows(values: NDArray[Any], size: int) -> NDArray[Any]:
    """Return the rows one after another, each filled up with zeros to `size`."""
    result = np.zeros((*values.shape[:-1], size), values.dtype)
    result[..., : values.shape[-1]] = values
    return result.ravel()


def linear_positions(size: int, target: int, rounded: bool, scale: float | None = None) -> tuple[Indices, Floats]:
    """Where a linear resize from `size` to `target` samples reads."""
    position = (np.arange(target) + 0.5) * (scale or size / target) - 0.5
    if rounded:
        position = position.astype(np.float32).astype(np.float64)
    index = np.floor(position).astype(np.int64)
    weight = (position - index).astype(np.float32)
    weight[(index < 0) | (index >= size - 1)] = 0
    return np.clip(index, 0, size - 1), weight


def resize_tables(
    source: tuple[int, int], target: tuple[int, int], *, rounded: bool, scale: float | None = None
) -> tuple[NDArray[np.int32], Floats, Indices, Floats]:
    """Return columns and rows, with weights, of a linear resize between two (height, width); see `linear_positions`."""
    columns, x_weight = linear_positions(source[1], target[1], rounded, scale)
    rows, y_weight = linear_positions(source[0], target[0], rounded, scale)
    size = round_up(columns.size)
    return pad_rows(columns.astype(np.int32), size), pad_rows(x_weight, size), rows, y_weight
