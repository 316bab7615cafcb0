"""TV-L1 flow, as OpenCV computes it, for the frames of one video.

Owns the order of the work and its memory; the loops are in `flowstore.estimators.tvl1.kernels`. Never imports cv2.
Pure: no path, no clock, no print.

The method: find the flow u that makes the second frame, moved back, equal to the first (L1), and itself has little
total variation. Around the flow so far the frames' difference is linear in u; a primal step moves u toward zero
difference, pixel by pixel, and along the divergence of four dual variables, a dual step moves these along the gradient
of u. Iterate until u changes by less than `epsilon` px a pixel (root mean square); warp the second frame anew, `warps`
times; from the coarsest level of a pyramid down, with a median of u before each round of iterations.

What makes it fast
------------------
OpenCV makes seven passes over the frame for one iteration, of loops that read and write forty planes. Here

- an iteration is one pass, said in vectors of sixteen: the squares of the change are added up on the way, the three
  cases of the data term are one clamp, and its division is made once a warp;
- up to eight iterations are one pass: each follows a row behind the one before, in rows that are still in the nearest
  cache. Whether to stop is known at the end, so a pass leaves the flow that it began with: where it went too far it is
  made again, shorter. How far to go is told by how far the last error is from the threshold: at most 5 % of the
  iterations of a pair are made twice;
- the three cubic warps of value and gradient are one: they share positions and weights, and four pixels side by side of
  four values each are one load, so that sixteen taps of three images are four loads and no gather;
- a median of 25 is 9 comparisons to sort each column, shared by five windows, some 35 to sort the rows, and the middle
  one of three candidates that are left;
- a frame is reduced once, and serves as the second of one pair and the first of the next; all scratch stays.

What it costs
-------------
A run of ``benchmarks/bench_tvl1.py`` on one Zen 5 core with AVX-512, on a busy machine: 320 by 240 pixels, default
parameters, a pair of 21.6 million pixel-iterations, CPU milliseconds. The floor is the counted arithmetic at the rates
measured in that run (140 G lanes/s, 16 G roots/s, 28 G divisions/s):

=============== ===== ===== ===== ============================================================================
part            ms    floor share what it spends the rest on
=============== ===== ===== ===== ============================================================================
pyramid         0.09  0.01  7 %   gathers
gradient        0.06  0.01  10 %  writing
warp            2.2   1.0   47 %  four loads a pixel that lie across cache lines; sixteen lanes added up to four
median          2.3   2.0   86 %  loads that lie across cache lines
iterations      15.6  6.4   41 %  sixteen planes from and to the second cache; rows of the nearest one take 75 %
upscaling       0.17  0.02  10 %  gathers
whole pair      23.5  9.5   40 %  (OpenCV 5: 835)
=============== ===== ===== ===== ============================================================================

With AVX2 alone a pair takes 1.4 times as long, with SSE2 2.4.

What did not pay: the primal step of a row and the dual step of the row above in one loop (1.2 times as slow: more
streams than the core follows); the last pair's flow as the first guess. From the coarsest level it saves nothing, since
each level has its warps to make; from the finest alone it is 0.97 to 1.6 times as fast, and the frames fit 2 to 50 %
worse.

How close to OpenCV
-------------------
Where frames say what the flow is, the two differ by some 0.000001 px. Where they do not, in a plain sky or behind what
has moved on, the iterations grow any rounding: a change of the frames by one part in ten million moves OpenCV's own
flow of a pair by 0.0001 to 0.024 px in the mean. On real clips (four pairs of each of five) the mean difference of a
pair is 0.00004 to 0.026 px, and 97.8 to 99.999 % of the codes of the ``centred`` encoding (bound 20) are within one: in
the benchmark's run as many as of OpenCV's own flow after that change, clip for clip. OpenCV without Intel's IPP differs
from itself by as much (0.00004 to 0.019 px), and so do OpenCV 5.0 and 4.14, whose cubic warp rounds positions to 1/32
of a pixel, which this one and 5.0's do not (0.006 to 0.019). The errors against true flow agree to three digits (KITTI
000010: 4.071 px, OpenCV 4.072).

Not taken over: `gamma`, a third variable for changes of illumination, which few use.

References
----------
C. Zach, T. Pock, H. Bischof, "A Duality Based Approach for Realtime TV-L1 Optical Flow", DAGM 2007.
J. Sánchez, E. Meinhardt-Llopis, G. Facciolo, "TV-L1 Optical Flow Estimation", IPOL 2013.
OpenCV contrib, ``modules/optflow/src/tvl1flow.cpp`` (the implementation whose results are matched).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from flowstore.arguments import ParameterValue, check_whole
from flowstore.compiling import are_compiled, compile_all
from flowstore.estimators.arrays import (
    N_LANES,
    Floats,
    Indices,
    check_frame,
    check_size,
    make_scratch,
    resize_tables,
    round_up,
)
from flowstore.estimators.protocol import FlowStream
from flowstore.estimators.tvl1.kernels import (
    BORDER,
    KERNELS,
    MOST_AT_ONCE,
    PAD,
    differentiate,
    resize,
    solve,
    take_frame,
)

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

    def __init__(self, height: int, width: int, params: Mapping[str, ParameterValue]) -> None:
        self.shape = height, width
        self.stride = round_up(width) + N_LANES
        self.quad_stride = round_up(width) + 2 * BORDER
        self.geometry: Indices = np.array([width, height, self.stride, self.quad_stride], np.int64)
        tau, theta, epsilon = float(params["tau"]), float(params["theta"]), float(params["epsilon"])
        constants = float(params["lambda"]) * theta, theta, tau / theta, epsilon * epsilon * height * width
        # Rounded as OpenCV rounds them.
        self.constants = np.array(constants, np.float32).astype(np.float64)
        self.flow: Floats = make_scratch(2 * PAD + 2 * (height + 1) * self.stride)

    @property
    def flow_pixels(self) -> Floats:
        """The flow as float32 (2, h, w), pixels of this level."""
        h, w = self.shape
        rows = self.flow[PAD + 2 * self.stride : -PAD].reshape(h, 2, self.stride)
        return rows[:, :, :w].transpose(1, 0, 2)

    def make_image(self) -> Floats:
        return make_scratch(2 * PAD + self.shape[0] * self.stride)


class _Engine:
    """Constants and scratch for the flow between frames of one size. One thread at a time."""

    def __init__(self, height: int, width: int, params: Mapping[str, ParameterValue]) -> None:
        self.shape = height, width
        scale_step = float(params["scale_step"])
        self.factor = 1 / scale_step
        shapes = level_shapes(height, width, int(params["nscales"]), scale_step)
        self.levels = [_Level(*shape, params) for shape in shapes]
        # Down by the step itself, as OpenCV goes, up by the ratio of the rounded sizes.
        self.down = [resize_tables(*sizes, rounded=False, scale=self.factor) for sizes in pairwise(shapes)]
        self.up = [resize_tables(small, large, rounded=False) for large, small in pairwise(shapes)]
        names = ("warps", "inner_iterations", "outer_iterations", "median_filtering")
        self.plan: Indices = np.array([int(params[name]) for name in names], np.int64)
        self.counts: Indices = np.zeros(4, np.int64)
        # Of the finest level's size, and every level's in turn.
        finest, rows = self.levels[0], height + 1
        self.frame: NDArray[np.uint8] = np.zeros(height * width + N_LANES, np.uint8)
        self.other_flow: Floats = make_scratch(2 * PAD + 2 * rows * finest.stride)
        self.dual: Floats = make_scratch(2 * PAD + 4 * rows * finest.stride)
        self.other_dual: Floats = make_scratch(2 * PAD + 4 * rows * finest.stride)
        self.model: Floats = make_scratch(2 * PAD + 4 * rows * finest.stride)
        self.quads: Floats = make_scratch(4 * (height + 2 * BORDER) * finest.quad_stride + 4 * N_LANES)
        self.corners = make_scratch(finest.stride, np.int32)
        self.lines: Floats = make_scratch(12 * finest.stride + MOST_AT_ONCE * N_LANES)

    def make_pyramid(self) -> list[Floats]:
        return [level.make_image() for level in self.levels]

    def reduce(self, frame: NDArray[np.uint8], pyramid: list[Floats]) -> None:
        """Put `frame` and its reductions into `pyramid`."""
        height, width = self.shape
        self.frame[: height * width].reshape(self.shape)[...] = frame
        take_frame(self.frame, pyramid[0], self.levels[0].geometry)
        for k, (large, small) in enumerate(pairwise(self.levels)):
            source, target = (pyramid[k], PAD, large.stride), (pyramid[k + 1], PAD, small.stride)
            resize(*source, *target, *self.down[k], 1.0, self.lines, large.geometry, small.geometry)

    def estimate(self, before: list[Floats], after: list[Floats]) -> Floats:
        """Estimate the flow between two reduced frames; return the engine's own, float32 (2, H, W)."""
        self.levels[-1].flow[...] = 0
        for k in reversed(range(len(self.levels))):
            if k < len(self.levels) - 1:
                self.enlarge_to(k)
            self.solve_at(k, before[k], after[k])
        return self.levels[0].flow_pixels

    def enlarge_to(self, k: int) -> None:
        small, large = self.levels[k + 1], self.levels[k]
        for plane in range(2):
            source = small.flow, PAD + (2 + plane) * small.stride, 2 * small.stride
            target = large.flow, PAD + (2 + plane) * large.stride, 2 * large.stride
            resize(*source, *target, *self.up[k], self.factor, self.lines, small.geometry, large.geometry)

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


class Tvl1Stream(FlowStream):
    """TV-L1 flow along one video: each frame is given once, in order, and each flow comes out once.

    All memory is allocated here, and none in `push`. A stream is for one thread at a time; any number of streams may
    work at once, and none holds the GIL while it computes. Nothing is shared between streams and no thread is started,
    so a stream also works on after a fork.

    Examples
    --------
    >>> import numpy as np
    >>> from flowstore.estimators.parameters import tvl1_params
    >>> stream = Tvl1Stream(48, 64, tvl1_params())
    >>> stream.push(np.zeros((48, 64), np.uint8)) is None
    True
    >>> stream.push(np.zeros((48, 64), np.uint8)).shape
    (2, 48, 64)
    """

    def __init__(self, height: int, width: int, params: Mapping[str, ParameterValue], step: int = 1) -> None:
        check_size(height, width, 4 * (height + 2 * BORDER) * (width + 2 * N_LANES))
        check_whole("step", step, 1)
        self.step = step
        self._engine = _Engine(height, width, params)
        self._pyramids = [self._engine.make_pyramid() for _ in range(step + 1)]
        self._flow = np.zeros((2, height, width), np.float32)
        self._n_pushed = 0

    def push(self, frame: NDArray[np.uint8]) -> Floats | None:
        """Take the next frame; see `flowstore.estimators.protocol.FlowStream.push`."""
        check_frame("frame", frame, self._engine.shape)
        n_slots = self.step + 1
        newest = self._pyramids[self._n_pushed % n_slots]
        oldest = self._pyramids[(self._n_pushed + 1) % n_slots]
        self._engine.reduce(frame, newest)
        self._n_pushed += 1
        if self._n_pushed <= self.step:
            return None
        np.copyto(self._flow, self._engine.estimate(oldest, newest))
        return self._flow


def compile_kernels() -> None:
    """Compile every kernel now, or load it from Numba's cache on disk; the first call does so otherwise."""
    compile_all(KERNELS)


def is_compiled() -> bool:
    """Whether every kernel is in this process or in Numba's cache, so that no call will have to compile."""
    return are_compiled(KERNELS)
