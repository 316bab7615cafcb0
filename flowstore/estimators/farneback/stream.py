"""Dense optical flow by Farnebäck's method, as OpenCV computes it, for the frames of one video.

Owns the order of the work and its memory. The loops are in `flowstore.estimators.farneback.kernels`, the vectors that
they are made of in `flowstore.estimators.simd`, the constants in `flowstore.estimators.farneback.tables`. Imports
numpy, numba and these; never cv2. Pure: no path, no clock, no print.

The method: fit a quadratic polynomial around each pixel of both frames; a displacement that maps one
polynomial on the other solves a 2 by 2 linear system; average the systems over a window, solve, look up
the second frame's polynomials at the displaced points and repeat; from the coarsest level of a pyramid down.

What makes it fast
------------------
OpenCV expands both frames of each pair, the horizontal half in double precision one pixel at a time, and
keeps products for the whole frame. Here

- each frame is expanded once: a ring of ``step + 1`` pyramids of coefficients stays for the whole video;
- one iteration is one pass: a row of products goes into a ring of ``winsize + 1`` rows, the vertical sums
  move down by one row, the horizontal sums are made of sums over runs, and the solution replaces a row of
  flow that no later row needs. Nothing larger than the ring is written but the flow;
- neighbors are displaced alike. All pixels that any of sixteen neighbors samples are loaded side by side,
  and each lane weighs its own four, the others with zero: where the displacements have one whole part that is
  twenty loads for five coefficients of sixteen pixels, and no gather. Only displacements that differ wildly
  go through gather instructions.

What it costs
-------------
Median of a run of ``benchmarks/bench_farneback.py`` on one Zen 5 core with AVX-512, 320 by 240 pixels,
default parameters, milliseconds a pair; the floor is the counted arithmetic at the peak rate measured in
that run (130 G lanes/s), which memory traffic does not exceed in any part:

=============== ===== ===== ===== ============================================================================
part            ms    floor share what it spends the rest on
=============== ===== ===== ===== ============================================================================
pyramid         0.10  0.015 15 %  full-size blur for each level; a chain of dependent multiply-adds; gathers
expansion       0.15  0.07  45 %  three loads for each four operations; loads that straddle cache lines
update          0.64  0.12  19 %  finding the range of whole parts; mispredicted branches; taps of weight zero
blur and solve  0.70  0.36  52 %  nine straddling float64 loads a value for the sums; division
upscaling       0.06  0.01  15 %  gathers
whole pair      1.8   0.58  32 %  (OpenCV 5: 10.3)
=============== ===== ===== ===== ============================================================================

The generated code of an iteration has 2226 instructions on 512-bit registers against 64 on 256-bit ones, and
scalar ones only for edges; the sums stay in registers. With AVX2 alone it takes 1.3 times as long, with
SSE2 3.

What paid: vectors said outright instead of loops that LLVM may or may not vectorize (all of the above rests
on it: a prototype in plain loops was 1.8-2 times as fast as OpenCV); loads side by side instead of gathers
(a whole pair takes 1.6 times as long with gathers alone, the update three times); windows summed from runs of
about the square root of their width instead of runs of 1, 2, 4, ... (a third of "blur and solve"), and from a
whole vector on (a tenth). What did not: a path of its own for neighbors displaced by one and the same whole
part, and one for whole parts that differ by one at most (both within 3 % of the loop over taps). What is left
out: float32 for the horizontal sums, 0.1 ms per pair less, and for the expansion, 0.06, for the reason below.

How close to OpenCV
-------------------
With the default parameters the flow is OpenCV's but for float64 sums in another order. In 13 videos re-cut from real
clips, packed again and half of them mirrored, all 176 million codes of the ``centred`` encoding (bound 20) were equal,
and the largest difference was 0.02 px, in a patch without a second direction. On many more clips:
``benchmarks/bench_agreement.py``.

What OpenCV rounds to float32 is rounded here in the same order, its constants included. It has to be: a pixel whose
displaced point lies outside the frame counts in another way, and where a picture stands still the flow at its left
and upper border is ±1e-9 px, so that the last bit decides. With fused multiply-adds and an expansion in float32 alone,
1 code in 100 000 of real clips differed by one, and in 3 of 13 videos some at the border by 2 or 3; that saved 3 % of
the time. The order is that of OpenCV's builds for x86-64. Builds for other processors may fuse, and then are as far
from this flow as that. Two things are left:

- *small windows, many iterations.* Averaged over few pixels, systems along any straight edge are nearly
  singular and every iteration multiplies the rounding of the one before. OpenCV then gives another flow for
  the transposed frames: with ``winsize=5`` one that differs by up to 132 codes. Such combinations are refused
  (`kernel_parameters`);
- *images without a second direction*, such as drawn diagonal stripes, where every window is singular. No
  parameter tells these, so they are computed, and the flow along the stripes means as little as it does in
  OpenCV, which gives another for the frames turned by 180 degrees.

References
----------
G. Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003, LNCS 2749, pp. 363-370.
OpenCV, ``modules/video/src/optflowgf.cpp`` (the implementation whose results are matched).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flowstore.arguments import ParameterValue, check_whole
from flowstore.compiling import are_compiled, compile_all
from flowstore.errors import ArgumentError
from flowstore.estimators.arrays import (
    N_LANES,
    Floats,
    Indices,
    check_frame,
    check_size,
    make_scratch,
    pad_rows,
    resize_tables,
    round_up,
)
from flowstore.estimators.farneback import tables as tables
from flowstore.estimators.farneback.kernels import KERNELS, PAD, enlarge, expand, iterate, shrink
from flowstore.estimators.parameters import GAUSSIAN_WINDOW, Params, farneback_params
from flowstore.estimators.protocol import FlowStream

# Smallest window for 1, 2, 3 and more iterations whose flow is more than rounding: measured on real clips as the
# smallest that, all rounded in another order than OpenCV's, kept every code within one of its and 99.9 % equal.
_SMALLEST_BOX = (4, 6, 8, 12)
_SMALLEST_GAUSSIAN = (6, 10, 15, 21)


@dataclass(frozen=True)
class FarnebackParameters:
    """The parameters of ``cv2.calcOpticalFlowFarneback``, as `kernel_parameters` checked them.

    As in OpenCV, levels with a side under 32 pixels are left out, and an even window averages over ``winsize + 1``
    pixels.
    """

    pyr_scale: float
    levels: int
    winsize: int
    iterations: int
    poly_n: int
    poly_sigma: float
    flags: int


def kernel_parameters(params: Params | None = None) -> FarnebackParameters:
    """Return all parameters, checked as `farneback_params` does, and of those only such as give more than rounding."""
    checked: Mapping[str, Any] = farneback_params(params)
    parameters = FarnebackParameters(**checked)
    is_gaussian = parameters.flags == GAUSSIAN_WINDOW
    smallest = (_SMALLEST_GAUSSIAN if is_gaussian else _SMALLEST_BOX)[min(parameters.iterations, 4) - 1]
    if parameters.winsize < smallest:
        raise ArgumentError(
            f"winsize {parameters.winsize} is too small for iterations {parameters.iterations}"
            f"{' with the Gaussian window' if is_gaussian else ''}: the flow would depend on OpenCV's own "
            f"rounding. Use winsize {smallest} or more, or the engine `opencv`"
        )
    return parameters


class _Level:
    """Sizes, constants and flow of one pyramid level."""

    def __init__(self, height: int, width: int, scale: float) -> None:
        self.scale = scale
        self.shape = h, w = round(height * scale), round(width * scale)
        self.stride = round_up(w) + N_LANES
        self.geometry: Indices = np.array([w, h, self.stride], np.int64)
        self.blur = tables.blur_weights(scale)
        reach = self.blur.size // 2
        self.fold = tables.reflect(np.arange(-reach, height + reach), height)
        outside = np.arange(reach)
        self.edge = tables.reflect(np.concatenate([outside - reach, width + outside]), width)
        self.shrink_tables = resize_tables((height, width), self.shape, rounded=False)
        fade, self.fade_row = tables.fade_tables(h, w)
        self.fade = pad_rows(fade, self.stride)
        self.flow: Floats = make_scratch(2 * PAD + 2 * h * self.stride)

    def make_coefficients(self) -> Floats:
        """Room for five coefficients a pixel: row by row, each row five times `stride` values."""
        return make_scratch(2 * PAD + 5 * self.shape[0] * self.stride)


class _Engine:
    """Constants and scratch for the flow between frames of one size. One thread at a time."""

    def __init__(self, height: int, width: int, parameters: FarnebackParameters) -> None:
        p = parameters
        self.parameters = p
        self.shape = height, width
        scales = tables.level_scales(height, width, p.pyr_scale, p.levels)
        self.levels = [_Level(height, width, scale) for scale in scales]
        self.enlarge_tables = [
            resize_tables(small.shape, large.shape, rounded=True)
            for large, small in zip(self.levels[:-1], self.levels[1:], strict=True)
        ]
        self.taps, self.inverse = tables.polynomial_taps(p.poly_n, p.poly_sigma)
        m = p.winsize // 2
        gaussian = p.flags == GAUSSIAN_WINDOW and m > 0
        self.window: Floats = tables.gaussian_window(m) if gaussian else np.zeros(0, np.float32)
        self.scale = 1.0 if gaussian else 1.0 / p.winsize**2
        stride = self.levels[0].stride
        # The window of the first pixel begins at a whole vector: a tenth of the time of these sums.
        left = m
        span = round_up(left + stride + m + N_LANES)
        n_slots = 2 * m + 2
        # A sum over a window is made of sums over runs: the square root of the window reads least.
        run = math.isqrt(2 * m + 1)
        self.plan: Indices = np.array([m, n_slots, left, span, run, p.iterations], np.int64)
        self.ring: Floats = make_scratch(n_slots * 5 * stride)
        self.sums = make_scratch(5 * stride, np.float64)
        self.lines = make_scratch(2 * 5 * span, np.float64)
        self.frame: NDArray[np.uint8] = np.zeros(height * width + N_LANES, np.uint8)
        reach = max(level.blur.size // 2 for level in self.levels)
        self.line: Floats = make_scratch(2 * PAD + 2 * reach + round_up(width) + 2 * N_LANES)
        self.blurred: Floats = make_scratch(2 * PAD + height * stride)
        self.picked: Floats = make_scratch(2 * stride)
        self.image: Floats = make_scratch(2 * PAD + height * stride)
        self.rows: Floats = make_scratch(3 * (2 * round_up(p.poly_n) + stride))
        self.nowhere: Floats = np.zeros(0, np.float32)

    def make_pyramid(self) -> list[Floats]:
        return [level.make_coefficients() for level in self.levels]

    def expand(self, frame: NDArray[np.uint8], pyramid: list[Floats]) -> None:
        """Put the polynomial coefficients of `frame` into `pyramid`."""
        height, width = self.shape
        self.frame[: height * width].reshape(self.shape)[...] = frame
        for level, coefficients in zip(self.levels, pyramid, strict=True):
            self.shrink_to(level)
            self.expand_image(level, coefficients)

    def shrink_to(self, level: _Level) -> None:
        shrink(
            self.frame,
            level.blur,
            level.edge,
            level.fold,
            *level.shrink_tables,
            self.line,
            self.picked,
            self.blurred,
            self.image,
            self.levels[0].geometry,
            level.geometry,
        )

    def expand_image(self, level: _Level, coefficients: Floats) -> None:
        expand(self.image, level.geometry, self.taps, self.inverse, self.rows, coefficients)

    def estimate(self, before: list[Floats], after: list[Floats], out: Floats) -> None:
        """Put the flow between two expanded frames into `out`, float32 (2 * height * width,)."""
        self.levels[-1].flow[...] = 0
        for k in reversed(range(len(self.levels))):
            if k < len(self.levels) - 1:
                self.enlarge_to(k)
            self.iterate_at(k, before[k], after[k], self.nowhere if k else out)

    def enlarge_to(self, k: int) -> None:
        small, large = self.levels[k + 1], self.levels[k]
        factor = 1 / self.parameters.pyr_scale
        enlarge(
            small.flow,
            small.geometry,
            large.flow,
            large.geometry,
            *self.enlarge_tables[k],
            factor,
            self.picked,
        )

    def iterate_at(self, k: int, before: Floats, after: Floats, out: Floats) -> None:
        level = self.levels[k]
        iterate(
            before,
            after,
            level.flow,
            out,
            level.fade,
            level.fade_row,
            self.ring,
            self.sums,
            self.lines,
            self.window,
            self.scale,
            self.plan,
            level.geometry,
        )


class FarnebackStream(FlowStream):
    """Farnebäck flow along one video: each frame is given once, in order, and each flow comes out once.

    Notes
    -----
    All memory is allocated here, and none in `push`. A stream is for one thread at a time; any number of
    streams may work at once, and none holds the GIL while it computes. Nothing is shared between streams
    and no thread is started, so a stream also works on after a fork.

    Examples
    --------
    >>> import numpy as np
    >>> stream = FarnebackStream(48, 64)
    >>> stream.push(np.zeros((48, 64), np.uint8)) is None
    True
    >>> stream.push(np.zeros((48, 64), np.uint8)).shape
    (2, 48, 64)
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        step: int = 1,
        **params: ParameterValue,
    ) -> None:
        parameters = kernel_parameters(params)
        for name, value in (("height", height), ("width", width), ("step", step)):
            check_whole(name, value, 1)
        check_size(height, width, height * (width + 2 * N_LANES) * 5)
        self.parameters = parameters
        self.step = step
        self._engine = _Engine(height, width, parameters)
        self._pyramids = [self._engine.make_pyramid() for _ in range(step + 1)]
        self._flow = np.zeros((2, height, width), np.float32)
        self._n_pushed = 0

    def __repr__(self) -> str:
        height, width = self._engine.shape
        return f"FarnebackStream({height}, {width}, step={self.step}, {self.parameters})"

    def push(self, frame: NDArray[np.uint8]) -> Floats | None:
        """Take the next frame and give the flow that leads to it."""
        check_frame("frame", frame, self._engine.shape)
        n_slots = self.step + 1
        newest = self._pyramids[self._n_pushed % n_slots]
        oldest = self._pyramids[(self._n_pushed + 1) % n_slots]
        self._engine.expand(frame, newest)
        self._n_pushed += 1
        if self._n_pushed <= self.step:
            return None
        self._engine.estimate(oldest, newest, self._flow.reshape(-1))
        return self._flow


def compile_kernels() -> None:
    """Compile every kernel now, or load it from Numba's cache on disk; the first call does so otherwise.

    Notes
    -----
    Cold some four seconds on one core, once for a machine, Python and version of this package; from the
    cache a fifth of a second. Numba keeps the cache beside the package or, where that cannot be written, in
    the user's cache folder (``NUMBA_CACHE_DIR`` overrides both). Where no folder can be written, each
    process compiles for itself.
    """
    compile_all(KERNELS)


def is_compiled() -> bool:
    """Whether every kernel is in this process or in Numba's cache, so that no call will have to compile."""
    return are_compiled(KERNELS)
