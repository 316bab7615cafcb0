"""TV-L1.

Draft.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowstore.compiling import are_compiled, compile_all
from flowstore.errors import ArgumentError
from flowstore.farneback import _check_frame, _padded, _round_up, _scratch, _whole
from flowstore.farneback_tables import Floats, Indices, linear_positions
from flowstore.lanes import N_LANES
from flowstore.tvl1_kernels import BORDER, KERNELS, MOST_AT_ONCE, PAD, differentiate, resize, solve, take_frame

_SMALLEST_SIDE = 16


def level_shapes(height: int, width: int, nscales: int, scale_step: float) -> list[tuple[int, int]]:
    """Height and width of each level of the pyramid, finest first; none but the first has a side under 16 pixels."""
    shapes = [(height, width)]
    while len(shapes) < nscales:
        height, width = round(height * scale_step), round(width * scale_step)
        if min(height, width) < _SMALLEST_SIDE:
            break
        shapes.append((height, width))
    return shapes


class _Level:
    """Sizes, constants and flow of one pyramid level."""

    def __init__(self, height: int, width: int, params: Mapping[str, Any]) -> None:
        self.shape = height, width
        self.stride = _round_up(width) + N_LANES
        self.quad_stride = width + 2 * BORDER + N_LANES
        self.geometry: Indices = np.array([width, height, self.stride, self.quad_stride], np.int64)
        theta = params["theta"]
        # In float32, as OpenCV has them.
        constants = (params["lambda"] * theta, theta, params["tau"] / theta, params["epsilon"] ** 2 * height * width)
        self.constants = np.array(constants, np.float32).astype(np.float64)
        self.flow: Floats = _scratch(2 * PAD + 2 * (height + 1) * self.stride)

    @property
    def flow_pixels(self) -> Floats:
        """The flow as float32 (h, 2, w), pixels of this level."""
        h, w = self.shape
        return self.flow[PAD + 2 * self.stride : -PAD].reshape(h, 2, self.stride)[:, :, :w]

    def make_image(self) -> Floats:
        return _scratch(2 * PAD + self.shape[0] * self.stride)


def _positions(source: tuple[int, int], target: tuple[int, int], scale: float | None) -> tuple[Any, Any, Any, Any]:
    columns, x_weight = linear_positions(source[1], target[1], rounded=False, scale=scale)
    rows, y_weight = linear_positions(source[0], target[0], rounded=False, scale=scale)
    size = _round_up(columns.size)
    return _padded(columns.astype(np.int32), size), _padded(x_weight, size), rows, y_weight


class _Engine:
    """Constants and scratch for the flow between frames of one size. One thread at a time."""

    def __init__(self, height: int, width: int, params: Mapping[str, Any]) -> None:
        self.shape = height, width
        self.factor = 1 / params["scale_step"]
        shapes = level_shapes(height, width, params["nscales"], params["scale_step"])
        self.levels = [_Level(*shape, params) for shape in shapes]
        self.down = [_positions(a, b, self.factor) for a, b in zip(shapes, shapes[1:])]
        self.up = [_positions(b, a, None) for a, b in zip(shapes, shapes[1:])]
        names = ("warps", "inner_iterations", "outer_iterations", "median_filtering")
        self.plan: Indices = np.array([params[name] for name in names], np.int64)
        self.counts: Indices = np.zeros(4, np.int64)
        finest = self.levels[0]
        stride, rows = finest.stride, height + 1
        self.frame: NDArray[np.uint8] = np.zeros(height * width + N_LANES, np.uint8)
        self.other_flow: Floats = _scratch(2 * PAD + 2 * rows * stride)
        self.dual: Floats = _scratch(2 * PAD + 4 * rows * stride)
        self.other_dual: Floats = _scratch(2 * PAD + 4 * rows * stride)
        self.model: Floats = _scratch(2 * PAD + 4 * rows * stride)
        self.quads: Floats = _scratch(4 * (height + 2 * BORDER) * finest.quad_stride + 4 * N_LANES)
        self.corners = _scratch(stride, np.int32)
        self.lines: Floats = _scratch(12 * stride + MOST_AT_ONCE * N_LANES)

    def make_pyramid(self) -> list[Floats]:
        return [level.make_image() for level in self.levels]

    def reduce(self, frame: NDArray[np.uint8], pyramid: list[Floats]) -> None:
        """Put `frame` and its reductions into `pyramid`."""
        height, width = self.shape
        self.frame[: height * width].reshape(self.shape)[...] = frame
        take_frame(self.frame, pyramid[0], self.levels[0].geometry)
        for k, (large, small) in enumerate(zip(self.levels, self.levels[1:])):
            geometry = large.geometry, small.geometry
            resize(
                pyramid[k], PAD, large.stride, pyramid[k + 1], PAD, small.stride, *self.down[k], 1.0, self.lines, *geometry
            )

    def estimate(self, before: list[Floats], after: list[Floats]) -> None:
        """Estimate the flow between two frames at every level."""
        self.levels[-1].flow[...] = 0
        for k in reversed(range(len(self.levels))):
            if k < len(self.levels) - 1:
                self.enlarge_to(k)
            self.solve_at(k, before[k], after[k])

    def enlarge_to(self, k: int) -> None:
        small, large = self.levels[k + 1], self.levels[k]
        for plane in range(2):
            source = PAD + (2 + plane) * small.stride, 2 * small.stride
            target = PAD + (2 + plane) * large.stride, 2 * large.stride
            geometry = small.geometry, large.geometry
            resize(small.flow, *source, large.flow, *target, *self.up[k], self.factor, self.lines, *geometry)

    def solve_at(self, k: int, before: Floats, after: Floats) -> None:
        level = self.levels[k]
        differentiate(after, self.quads, level.geometry)
        solve(
            level.flow,
            self.other_flow,
            self.dual,
            self.other_dual,
            before,
            self.quads,
            self.model,
            self.corners,
            self.lines,
            self.plan,
            level.constants,
            self.counts,
            level.geometry,
        )


class Tvl1Stream:
    def __init__(self, height: int, width: int, params: Mapping[str, Any], step: int = 1) -> None:
        self.step = step
        self._engine = _Engine(height, width, params)
        self._pyramids = [self._engine.make_pyramid() for _ in range(step + 1)]
        self._flow = np.zeros((2, height, width), np.float32)
        self._n_pushed = 0

    def push(self, frame: NDArray[np.uint8]) -> Floats | None:
        """Take the next frame and give the flow that leads to it; see `flowstore.estimators.FlowStream.push`."""
        _check_frame("frame", frame, self._engine.shape)
        n_slots = self.step + 1
        newest = self._pyramids[self._n_pushed % n_slots]
        oldest = self._pyramids[(self._n_pushed + 1) % n_slots]
        self._engine.reduce(frame, newest)
        self._n_pushed += 1
        if self._n_pushed <= self.step:
            return None
        self._engine.estimate(oldest, newest)
        np.copyto(self._flow, self._engine.levels[0].flow_pixels.transpose(1, 0, 2))
        return self._flow


def compile_kernels() -> None:
    compile_all(KERNELS)


def is_compiled() -> bool:
    return are_compiled(KERNELS)
