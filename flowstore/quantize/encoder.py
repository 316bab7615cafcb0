"""Flow of one video to stored numbers and statistics, flow by flow. Pure."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.quantize.motion import MotionAccumulator, MotionStatistics
from flowstore.quantize.quantizer import Quantizer


class FlowEncoder:
    """Quantizes the flows of a video and gathers the statistics of their motion. Not thread-safe: one a video.

    Parameters
    ----------
    quantizer : Quantizer
        How pixels become stored numbers.
    shape : tuple of int
        ``(2, H, W)`` of each flow.
    is_compiled : bool
        Whether to use the loops of `flowstore.quantize.kernels`, which need Numba and give the same codes.
    """

    def __init__(self, quantizer: Quantizer, shape: tuple[int, ...], is_compiled: bool) -> None:
        self._quantizer = quantizer
        self._motion = MotionAccumulator()
        self._codes: npt.NDArray[Any] = np.empty(shape, quantizer.dtype)
        self._compiled = _CompiledLoops(quantizer, shape, self._motion) if is_compiled else None

    def encode(self, flow: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
        """Return the stored numbers of the next flow.

        Parameters
        ----------
        flow : float32 array (2, H, W)
            Components x and y in pixels, C-contiguous.

        Returns
        -------
        uint8 or float16 array (2, H, W)
            The encoder's own array, overwritten by the next call.

        Raises
        ------
        EstimatorError
            If the flow is not finite.
        """
        if self._compiled:
            self._compiled.run(flow, self._codes)
        else:
            self._motion.add(flow, self._quantizer.count_clipped(flow))
            self._quantizer.encode(flow, out=self._codes)
        return self._codes

    def statistics(self) -> MotionStatistics:
        """Return the statistics of the flows so far.

        Raises
        ------
        ArgumentError
            If there was none.
        """
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


def are_loops_compiled() -> bool:
    """Tell whether the compiled loops are in this process or in the cache on disk."""
    from flowstore.compiling import are_compiled
    from flowstore.quantize.kernels import KERNELS

    return are_compiled(KERNELS)


def compile_loops() -> None:
    """Compile the loops, or load them from the cache on disk: nothing is compiled later."""
    from flowstore.compiling import compile_all
    from flowstore.quantize.kernels import KERNELS

    compile_all(KERNELS)
