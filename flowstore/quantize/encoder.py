"""Flow of one video to stored numbers and statistics, flow by flow. Pure."""

from __future__ import annotations

import importlib.util
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.quantize.error_bounded import START, Tolerance, choose_codes
from flowstore.quantize.motion import MotionAccumulator, MotionStatistics
from flowstore.quantize.quantizer import Quantizer


class FlowEncoder:
    """Quantizes the flows of a video and gathers the statistics of their motion. Not thread-safe: one a video.

    `shape`: tuple of int, ``(2, H, W)`` of each flow.
    """

    def __init__(
        self, quantizer: Quantizer, shape: tuple[int, ...], is_compiled: bool, max_error_px: float | None = None
    ) -> None:
        self._quantizer = quantizer
        self._motion = MotionAccumulator()
        self._codes: npt.NDArray[Any] = np.empty(shape, quantizer.dtype)
        self._compiled = _CompiledLoops(quantizer, shape, self._motion) if is_compiled else None
        self._chooser = None if max_error_px is None else CodeChooser(quantizer, shape, max_error_px)

    def encode(self, flow: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return the stored numbers of the next flow.

        `flow`: float32 array (2, H, W), components x and y in pixels, C-contiguous. Gives uint8 or float16 array (2,
        H, W), the encoder's own array, overwritten by the next call.
        """
        if self._compiled:
            self._compiled.run(flow, self._codes)
        else:
            self._motion.add(flow, self._quantizer.count_clipped(flow))
            self._quantizer.encode(flow, out=self._codes)
        if self._chooser:
            self._chooser.choose(flow, self._codes)
        return self._codes

    def statistics(self) -> MotionStatistics:
        """Return the statistics of the flows so far."""
        return self._motion.result()


class _CompiledLoops:
    """The loops of `flowstore.quantize.kernels` with their scratch."""

    def __init__(self, quantizer: Quantizer, shape: tuple[int, ...], motion: MotionAccumulator) -> None:
        # Numba is loaded by those who chose it only.
        from flowstore.quantize import kernels as motion_kernels

        self._measure = motion_kernels.measure
        self._encode = {
            "centred": motion_kernels.encode_centred,
            "denseflow": motion_kernels.encode_denseflow,
            "truncate": motion_kernels.encode_truncate,
        }.get(quantizer.encoding)
        self._quantizer = quantizer
        self._motion = motion
        self._magnitude = np.empty(shape[1] * shape[2], np.float32)
        self._sums = np.empty(4)

    def run(self, flow: npt.NDArray[np.float32], codes: npt.NDArray[Any]) -> None:
        flat = flow.reshape(-1)
        self._measure(flat, self._quantizer.largest_kept, self._magnitude, self._motion.histogram, self._sums)
        total, maximum, clipped_x, clipped_y = self._sums
        self._motion.add_counted(float(total), float(maximum), self._magnitude.size, (int(clipped_x), int(clipped_y)))
        if self._encode:
            self._encode(flat, self._quantizer.largest_kept, codes.reshape(-1))
        else:
            self._quantizer.encode(flow, out=codes)


class CodeChooser:
    """Replaces nearest codes by ones that pack better; see `flowstore.quantize.error_bounded`. Not thread-safe.

    `shape`: tuple of int, ``(2, H, W)`` of each flow.
    """

    def __init__(self, quantizer: Quantizer, shape: tuple[int, ...], max_error_px: float) -> None:
        self._tolerance = Tolerance(quantizer, max_error_px)
        self._kernels: Any = None
        if not has_numba():
            return
        from flowstore.quantize import kernels

        self._kernels = kernels
        _, self._height, width = shape
        n_values = int(np.prod(shape))
        self._low, self._high = np.empty(n_values, np.uint8), np.empty(n_values, np.uint8)
        self._place = np.empty(n_values, np.int16)
        block = kernels.ROWS_AT_A_TIME * width
        sizes = (14 * block, np.uint8), (2 * width, np.uint16), (2 * block + 2 * width + 4, np.uint8)
        self._scratch = [np.empty(size, dtype) for size, dtype in sizes]

    def choose(self, flow: npt.NDArray[np.float32], codes: npt.NDArray[np.uint8]) -> None:
        """Replace the nearest codes of a flow (2, H, W) in place; both arrays are C-contiguous."""
        tolerance = self._tolerance
        if not self._kernels:
            choose_codes(tolerance, flow, codes)
            return
        quantizer, bits = tolerance.quantizer, tolerance.grid_bits
        ranges = self._low, self._high, self._place
        self._kernels.find_ranges(
            flow.reshape(-1),
            quantizer.largest_kept,
            quantizer.scale,
            quantizer.offset,
            tolerance.steps,
            quantizer.lowest_code,
            quantizer.zero_code,
            bits,
            codes.reshape(-1),
            *ranges,
        )
        weight = tolerance.error_weight
        self._kernels.choose_codes(self._height, bits, weight, START, *ranges, *self._scratch, codes.reshape(-1))


def has_numba() -> bool:
    """Tell whether Numba is installed."""
    return importlib.util.find_spec("numba") is not None


def are_loops_compiled(is_choosing: bool) -> bool:
    """Tell whether the compiled loops, a `CodeChooser`'s too if asked, are in this process or in the cache on disk."""
    from flowstore.compiling import are_compiled
    from flowstore.quantize.kernels import CHOOSING_KERNELS, KERNELS

    return are_compiled(KERNELS) and not (is_choosing and not are_compiled(CHOOSING_KERNELS))


def compile_loops(is_choosing: bool) -> None:
    """Compile the loops, or load them from the cache on disk: nothing is compiled later."""
    from flowstore.compiling import compile_all
    from flowstore.quantize.kernels import CHOOSING_KERNELS, KERNELS

    compile_all((*KERNELS, *CHOOSING_KERNELS) if is_choosing else KERNELS)
