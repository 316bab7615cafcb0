"""Farneback."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flowstore.errors import ArgumentError
from flowstore.farneback_kernels import PAD, enlarge, expand, iterate, shrink

FLAG_INITIAL_FLOW = 4
FLAG_GAUSSIAN = 256
_SMALLEST_SIDE = 32
_BORDER = np.array([0.14, 0.14, 0.4472, 0.4472, 0.4472], np.float32)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FarnebackParameters:
    """Parameters."""

    pyr_scale: float = 0.5
    levels: int = 3
    winsize: int = 15
    iterations: int = 3
    poly_n: int = 5
    poly_sigma: float = 1.2
    flags: int = 0


def _gaussian_window(m: int) -> Floats:
    x = np.arange(m + 1)
    weights = np.exp(-x * x / (2 * (m * 0.3) ** 2)) if m else np.ones(1)
    weights = weights.astype(np.float32)
    weights = weights * (1 / (weights[0] + 2 * weights[1:].sum(dtype=np.float64)))
    return weights.astype(np.float32)



def _round_up(value: int) -> int:
    return (value + 15) // 16 * 16


def _aligned(size: int, dtype: type = np.float32) -> NDArray:
    item = np.dtype(dtype).itemsize
    raw = np.zeros(size + 64 // item, dtype)
    start = -raw.ctypes.data % 64 // item
    return raw[start : start + size]


def _reflect(index: NDArray, size: int) -> NDArray:
    if size == 1:
        return np.zeros_like(index)
    index = np.abs(index) % (2 * size - 2)
    return np.minimum(index, 2 * size - 2 - index)


def _linear(size: int, target: int) -> tuple[NDArray, NDArray]:
    position = ((np.arange(target) + 0.5) * (size / target) - 0.5).astype(np.float32)
    index = np.floor(position).astype(np.int64)
    weight = position - index.astype(np.float32)
    weight[(index < 0) | (index >= size - 1)] = 0
    return np.clip(index, 0, size - 1), weight


def _area(size: int, target: int) -> NDArray:
    ratio = size / target
    matrix = np.zeros((target, size))
    for row in range(target):
        start, stop = row * ratio, (row + 1) * ratio
        for column in range(int(start), min(math.ceil(stop), size)):
            matrix[row, column] = max(min(stop, column + 1) - max(start, column), 0)
    return matrix / matrix.sum(axis=1, keepdims=True)


def _blur_weights(sigma: float) -> NDArray:
    size = max(int(np.rint(sigma * 5)) | 1, 3)
    if sigma <= 0:
        return np.array([0.25, 0.5, 0.25])
    x = np.arange(size) - size // 2
    weights = np.exp(-x * x / (2 * sigma * sigma))
    return weights / weights.sum()


def _shrink_taps(size: int, target: int, blur: NDArray) -> tuple[NDArray, NDArray]:
    index, weight = _linear(size, target)
    taps = np.zeros((blur.size + 1, target))
    taps[:-1] += blur[:, None] * (1 - weight)
    taps[1:] += blur[:, None] * weight
    return index - blur.size // 2, taps.astype(np.float32)


def _polynomial(n: int, sigma: float) -> tuple[NDArray, NDArray]:
    if sigma < np.finfo(np.float32).eps:
        sigma = n * 0.3
    x = np.arange(-n, n + 1)
    g = np.exp(-x * x / (2 * sigma * sigma)).astype(np.float32)
    g = (g * (1 / g.sum(dtype=np.float64))).astype(np.float32)
    wide = g.astype(np.float64)
    m0, m2, m4 = wide.sum(), (wide * x**2).sum(), (wide * x**4).sum()
    moments = np.zeros((6, 6))
    moments[0, 0] = m0 * m0
    moments[1, 1] = moments[2, 2] = m0 * m2
    moments[0, 3] = moments[0, 4] = moments[3, 0] = moments[4, 0] = m0 * m2
    moments[3, 3] = moments[4, 4] = m0 * m4
    moments[3, 4] = moments[4, 3] = moments[5, 5] = m2 * m2
    inverse = np.linalg.inv(moments)
    half = slice(n, None)
    taps = np.concatenate([g[half], (x * g).astype(np.float32)[half], (x * x * g).astype(np.float32)[half]])
    picked = np.array([inverse[1, 1], inverse[0, 3], inverse[3, 3], inverse[5, 5]], np.float32)
    return taps.astype(np.float32), picked


class _Level:
    """Sizes, tables and scratch of one pyramid level."""

    def __init__(self, full: tuple[int, int], scale: float) -> None:
        full_height, full_width = full
        height, width = int(np.rint(full_height * scale)), int(np.rint(full_width * scale))
        self.scale = scale
        self.shape = height, width
        self.stride = _round_up(width) + 16
        self.geometry = np.array([width, height, self.stride], np.int64)
        blur = _blur_weights((1 / scale - 1) * 0.5)
        radius = blur.size // 2
        self.margin = radius + 1
        rows, row_weight = _shrink_taps(full_height, height, blur)
        self.row_index = _reflect(rows[:, None] + np.arange(row_weight.shape[0]), full_height).ravel()
        self.row_weight = np.ascontiguousarray(row_weight.T).ravel()
        columns, column_weight = _shrink_taps(full_width, width, blur)
        self.adjacent = width == full_width
        outside = np.arange(self.margin)
        self.edge = _reflect(np.concatenate([outside - self.margin, full_width + outside]), full_width)
        self.starts = np.zeros(_round_up(width), np.int32)
        self.starts[:width] = columns + self.margin
        weights = np.zeros((column_weight.shape[0], self.starts.size), np.float32)
        weights[:, :width] = column_weight
        self.column_weight = weights.ravel()
        self.border = np.ones(self.stride + height, np.float32)
        for side in (self.border[:width], self.border[self.stride :]):
            count = min(_BORDER.size, side.size)
            side[:count] *= _BORDER[:count]
            side[::-1][:count] *= _BORDER[:count]

    @property
    def n_coefficients(self) -> int:
        return 2 * PAD + 5 * self.shape[0] * self.stride

    def make_flow(self) -> Floats:
        return _aligned(2 * PAD + 2 * self.shape[0] * self.stride)


def _enlarge_tables(small: _Level, large: _Level) -> tuple[NDArray[np.int32], Floats, NDArray[np.int64], Floats]:
    columns, x_weight = _linear(small.shape[1], large.shape[1])
    rows, y_weight = _linear(small.shape[0], large.shape[0])
    x_index = np.zeros(_round_up(columns.size), np.int32)
    x_index[: columns.size] = columns
    weights = np.zeros(x_index.size, np.float32)
    weights[: columns.size] = x_weight
    return x_index, weights, rows, y_weight


class _Engine:
    """Everything that one thread needs to compute flow between frames of one size."""

    def __init__(self, height: int, width: int, parameters: FarnebackParameters) -> None:
        self.parameters = p = parameters
        self.shape = height, width
        scales = [1.0]
        while len(scales) <= p.levels:
            scale = scales[-1] * p.pyr_scale
            if width * scale < _SMALLEST_SIDE or height * scale < _SMALLEST_SIDE:
                break
            scales.append(scale)
        self.levels = [_Level(self.shape, scale) for scale in scales]
        self.taps, self.inverse = _polynomial(p.poly_n, p.poly_sigma)
        m = p.winsize // 2
        largest = self.levels[0]
        stride = largest.stride
        self.n_slots = 2 * m + 2
        left = _round_up(m + 1)
        length = 2 * m + 1
        n_doublings = length.bit_length()
        self.span = _round_up(left + stride + m + (1 << n_doublings) + 32)
        pieces = []
        reached = 0
        for bit in range(n_doublings):
            if length >> bit & 1:
                pieces.append((bit, reached - m))
                reached += 1 << bit
        self.pieces = np.array(pieces, np.int64).ravel()
        self.window = np.zeros(0, np.float32)
        self.scale = 1.0 / (p.winsize * p.winsize)
        if p.flags & FLAG_GAUSSIAN:
            self.window = _gaussian_window(m)
            self.scale = 1.0
        self.plan = np.array([m, self.n_slots, left, self.span, p.iterations], np.int64)
        self.ring = _aligned(self.n_slots * 5 * stride)
        self.sums = _aligned(5 * stride, np.float64)
        self.lines = _aligned(5 * n_doublings * self.span)
        self.frame = np.zeros(height * width + 16, np.uint8)
        margin = max(level.margin for level in self.levels)
        self.line = _aligned(2 * PAD + 2 * margin + _round_up(width) + 32)
        self.image = _aligned(2 * PAD + height * stride)
        self.expansion = _aligned(3 * (2 * _round_up(p.poly_n) + _round_up(width) + 16))
        self.flows = [level.make_flow() for level in self.levels]
        self.tables = [
            _enlarge_tables(small, large) for large, small in zip(self.levels, self.levels[1:], strict=False)
        ]
        self.nothing = np.zeros(0, np.float32)

    def make_pyramid(self) -> list[Floats]:
        return [_aligned(level.n_coefficients) for level in self.levels]

    def expand(self, frame: NDArray[np.uint8], pyramid: list[Floats]) -> None:
        height, width = self.shape
        self.frame[: height * width].reshape(self.shape)[...] = frame
        for level, coefficients in zip(self.levels, pyramid, strict=True):
            shrink(
                self.frame,
                width,
                level.row_index,
                level.row_weight,
                level.edge,
                level.starts,
                level.column_weight,
                level.adjacent,
                self.line,
                self.image,
                level.geometry,
            )
            expand(self.image, level.geometry, self.taps, self.inverse, self.expansion, coefficients)

    def estimate(self, before: list[Floats], after: list[Floats], out: Floats, initial: Floats | None = None) -> None:
        height, width = self.shape
        coarsest = len(self.levels) - 1
        for k in range(coarsest, -1, -1):
            level, flow = self.levels[k], self.flows[k]
            if k == coarsest:
                flow[...] = 0
                if initial is not None:
                    self._put_initial(initial)
            else:
                small = self.levels[k + 1]
                enlarge(
                    self.flows[k + 1],
                    small.geometry,
                    flow,
                    level.geometry,
                    *self.tables[k],
                    1 / self.parameters.pyr_scale,
                    self.line,
                )
            iterate(
                before[k],
                after[k],
                flow,
                self.nothing if k else out,
                level.border,
                self.ring,
                self.sums,
                self.lines,
                self.pieces,
                self.window,
                self.scale,
                self.plan,
                level.geometry,
            )
        if self.parameters.iterations == 0:
            out.reshape(2, height, width)[...] = self._rows(0)

    def _rows(self, k: int) -> Floats:
        height, width = self.levels[k].shape
        stride = self.levels[k].stride
        return self.flows[k][PAD : PAD + 2 * height * stride].reshape(2, height, stride)[:, :, :width]

    def _put_initial(self, initial: Floats) -> None:
        level = self.levels[-1]
        rows = _area(self.shape[0], level.shape[0])
        columns = _area(self.shape[1], level.shape[1])
        self._rows(-1)[...] = (rows @ initial @ columns.T) * level.scale


class FarnebackStream:
    """Flow between the frames of one video."""

    def __init__(
        self,
        height: int,
        width: int,
        *,
        step: int = 1,
        pyr_scale: float = 0.5,
        levels: int = 3,
        winsize: int = 15,
        iterations: int = 3,
        poly_n: int = 5,
        poly_sigma: float = 1.2,
        flags: int = 0,
    ) -> None:
        parameters = FarnebackParameters(pyr_scale, levels, winsize, iterations, poly_n, poly_sigma, flags)
        self._engine = _Engine(height, width, parameters)
        self._pyramids = [self._engine.make_pyramid() for _ in range(step + 1)]
        self._n_pushed = 0
        self._out = np.zeros(2 * height * width, np.float32)
        self.step = step

    def push(self, frame: NDArray[np.uint8]) -> Floats | None:
        """Take the next frame; give the flow to it."""
        engine = self._engine
        count = len(self._pyramids)
        newest = self._pyramids[self._n_pushed % count]
        engine.expand(frame, newest)
        oldest = self._pyramids[(self._n_pushed + 1) % count]
        self._n_pushed += 1
        if self._n_pushed < count:
            return None
        engine.estimate(oldest, newest, self._out)
        return self._out.reshape(2, *engine.shape)


def farneback_flow(
    prev: NDArray[np.uint8],
    next: NDArray[np.uint8],
    flow: Floats | None = None,
    *,
    pyr_scale: float = 0.5,
    levels: int = 3,
    winsize: int = 15,
    iterations: int = 3,
    poly_n: int = 5,
    poly_sigma: float = 1.2,
    flags: int = 0,
) -> Floats:
    """Flow from one frame to another."""
    parameters = FarnebackParameters(pyr_scale, levels, winsize, iterations, poly_n, poly_sigma, flags)
    engine = _Engine(*prev.shape, parameters)
    before, after = engine.make_pyramid(), engine.make_pyramid()
    engine.expand(prev, before)
    engine.expand(next, after)
    out = np.zeros(2 * prev.size, np.float32)
    engine.estimate(before, after, out, flow if flags & FLAG_INITIAL_FLOW else None)
    return out.reshape(2, *prev.shape)
