"""The compiled loop of counting pairs of codes: what `flowstore.stats.counts.count_flows` does, without the GIL.

A flow of 320×240 takes 0.02 ms in place of NumPy's 0.14, and threads do not wait for each other.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import types

from flowstore.compiling import kernel


@kernel
def count_pairs(codes: npt.NDArray[np.uint8], joint: npt.NDArray[np.int64]) -> None:
    """Count the pairs of codes of some flows.

    `codes`: uint8 array (n, 2, H·W), components x and y. `joint`: int64 array (65536,), pixels by ``256·code of y
    + code of x``; added to.
    """
    for flow in range(codes.shape[0]):
        x, y = codes[flow, 0], codes[flow, 1]
        for i in range(np.uintp(codes.shape[2])):
            joint[(np.uintp(y[i]) << np.uintp(8)) | np.uintp(x[i])] += 1


KERNELS = ((count_pairs, types.void(types.Array(types.uint8, 3, "C"), types.Array(types.int64, 1, "C"))),)
