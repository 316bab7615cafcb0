"""Error-bounded codes: of all codes near enough to the flow, those that an LZ coder packs best. Pure.

The nearest codes of two pixels whose flow hardly differs fall on either side of a step, and that flicker is most of
what a chunk holds. Where a code may be off by more than half a step, a row can be made of two things that LZ4 and zstd
write as one match each: a run of one code, and a copy of the row above, straight or moved by a pixel. Which of them
each pixel belongs to is chosen row by row by the Viterbi algorithm: beginning a run or a copy costs what a match takes,
going on costs nothing, an error costs by its square, so that codes leave the nearest only where that saves bytes; and a
code costs less if the rows below can hold it too.

`choose_codes` is the definition, some hundred times slower than the loops of `flowstore.quantize.kernels`, which give
the same codes.

References
----------
The bound on each value's error is that of SZ (Di and Cappello, IPDPS 2016) and its kin; choosing codes of a tolerance
by what they cost to write, over a trellis, is rate-distortion optimized quantization (Ramchandran and Vetterli, IEEE
Trans. Image Processing 3(6), 1994).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from flowstore.arguments import check_positive
from flowstore.errors import ArgumentError
from flowstore.quantize.quantizer import Quantizer

# All costs are in 64ths of what beginning a run takes. These, and the squared error's, were chosen on flow of clips and
# scenes at one step by the bytes of `fast` and `balanced` against the mean error.
RUN, COPY, MOVED_COPY = 64, 32, 51
ERROR_AT_LIMIT = 9.6
# A code that the next so many rows cannot all hold costs so much more.
ROWS_BELOW = (1, 2, 4, 6)
ROWS_BELOW_COST = 6
# More than any path around a forbidden code costs, RUN + largest penalty + RUN: none is ever chosen. Penalties stay
# below 256.
FORBIDDEN = 200
# Places between codes are whole numbers, so many binary digits finer than the codes that are looked at.
PLACE_BITS = 4

N_SLOTS, N_STATES = 4, 8
# States of a pixel: runs of each of four codes, copies from above, above left and above right; the last is none.
START_COSTS = np.array([RUN] * N_SLOTS + [COPY, MOVED_COPY, MOVED_COPY, FORBIDDEN], np.uint16)
# Costs carry their state in the lowest bits, so that the least cost says which state it is.
START = (START_COSTS * N_STATES + np.arange(N_STATES)).astype(np.uint16)
_SHIFTS = (0, -1, 1)
# Rounding of decoded pixels to float32 stays below so many steps.
_ROUNDING_STEPS = 2e-5

Codes = npt.NDArray[np.uint8]
Flow = npt.NDArray[np.float32]
Places = npt.NDArray[np.int16]


def check_max_error(quantizer: Quantizer, max_error_px: float | None) -> float | None:
    """Return the largest error as it is recorded: None for half a step, the nearest codes."""
    if max_error_px is None:
        return None
    check_positive("max error in pixels", max_error_px)
    if quantizer.bound_px is None:
        raise ArgumentError("float16 stores pixels as they are and takes no max error: it is for uint8")
    half_px = quantizer.scale / 2
    if math.isclose(max_error_px, half_px, rel_tol=1e-6):
        return None
    if max_error_px < half_px:
        raise ArgumentError(
            f"max error is {max_error_px:.6g} px, expected at least half a step: {half_px:.6g} px for "
            f"{quantizer.encoding} ±{quantizer.bound_px:g} px"
        )
    return float(max_error_px)


def check_below_bound(quantizer: Quantizer, max_error_px: float | None) -> None:
    """Refuse to make a store whose flow could all be stored as none. Stores that were made so can be read."""
    if max_error_px is not None and quantizer.bound_px is not None and max_error_px >= quantizer.bound_px:
        raise ArgumentError(
            f"max error is {max_error_px:.6g} px, expected less than the bound, {quantizer.bound_px:g} px: "
            "any flow could be stored as none"
        )


@dataclass(frozen=True)
class Tolerance:
    """The codes that a quantizer's flow may take within an error, in steps.

    Parameters
    ----------
    quantizer : Quantizer
        Of uint8.
    max_error_px : float
        As `check_max_error` returned it.
    """

    quantizer: Quantizer
    max_error_px: float

    @property
    def steps(self) -> float:
        """The largest error, in steps."""
        return min(self.max_error_px / self.quantizer.scale, 127.0) - _ROUNDING_STEPS

    @property
    def grid_bits(self) -> int:
        """Two to this power is the distance of the codes that are looked at: at most four lie within the error."""
        return max(0, math.floor(math.log2(self.steps / 2)) + 1)

    @property
    def error_weight(self) -> int:
        """Cost of a squared distance of one place, in units of 2⁻¹⁶."""
        return round(ERROR_AT_LIMIT * 2**16 / (self.steps * 2 ** (PLACE_BITS - self.grid_bits)) ** 2)

    def ranges(self, flow: Flow, nearest: Codes) -> tuple[Places, Places, Places]:
        """Return the lowest and the highest code that each value may take, and its place on their scale.

        Zero and what is clipped keep the nearest code; the range holds it always.
        """
        quantizer = self.quantizer
        value = flow.astype(np.float64)
        place = np.clip((value - quantizer.offset) / quantizer.scale, quantizer.lowest_code - 1, 256)
        is_kept = (value == 0) | (np.abs(value) > quantizer.largest_kept)
        steps = np.where(is_kept, 0.0, self.steps)
        low = np.maximum(np.minimum(np.ceil(place - steps), nearest), quantizer.lowest_code).astype(np.int16)
        high = np.minimum(np.maximum(np.floor(place + steps), nearest), 255).astype(np.int16)
        return low, high, np.rint(place * 2.0 ** (PLACE_BITS - self.grid_bits)).astype(np.int16)


def choose_codes(tolerance: Tolerance, flow: Flow, codes: Codes) -> None:
    """Replace the nearest codes of a flow by those chosen.

    `flow`: float32 array (2, H, W), components in pixels, finite. `codes`: uint8 array (2, H, W), holds the
    nearest codes; overwritten.
    """
    low, high, place = tolerance.ranges(flow, codes)
    bits = tolerance.grid_bits
    on_grid = low + ((tolerance.quantizer.zero_code - low) & ((1 << bits) - 1))
    is_off = on_grid > high
    low, high = np.where(is_off, codes, on_grid), np.where(is_off, codes, high)
    for y in range(flow.shape[1]):
        candidates = _candidates(low[:, y], bits)
        penalties = np.full((2, N_STATES, flow.shape[2]), FORBIDDEN, np.uint16)
        penalties[:, :N_SLOTS] = _run_penalties(tolerance, low, high, place[:, y], y, candidates)
        above = np.pad(codes[:, y - 1].astype(np.int16), ((0, 0), (1, 1)), "edge") if y else None
        if above is not None:
            for number, shift in enumerate(_SHIFTS, N_SLOTS):
                copied = above[:, 1 + shift : above.shape[1] - 1 + shift]
                slots = (copied >> bits) & 3
                is_allowed = np.take_along_axis(candidates, slots[:, None], 1)[:, 0] == copied
                copied_penalties = np.take_along_axis(penalties, slots[:, None].astype(np.intp), 1)[:, 0]
                penalties[:, number] = np.where(is_allowed, copied_penalties, FORBIDDEN)
        states = _best_path(penalties)
        for plane in range(2):
            codes[plane, y] = _codes_of(states[plane], candidates[plane], above if above is None else above[plane])


def _candidates(low: npt.NDArray[Any], bits: int) -> npt.NDArray[np.int16]:
    """Return the code of each slot, (2, 4, W): the one that its bits above the grid's say, from `low` on."""
    slots = np.arange(N_SLOTS).reshape(-1, 1)
    result = low[:, None] + (((slots - (low[:, None] >> bits)) & 3) << bits)
    return result.astype(np.int16)


def _run_penalties(
    tolerance: Tolerance,
    low: npt.NDArray[Any],
    high: npt.NDArray[Any],
    place: Places,
    y: int,
    candidates: npt.NDArray[np.int16],
) -> npt.NDArray[np.uint16]:
    distance = ((candidates.astype(np.int64) << PLACE_BITS) >> tolerance.grid_bits) - place[:, None]
    cost = (distance * distance * tolerance.error_weight >> 16) & 255
    penalties = np.where(candidates <= high[:, y][:, None], cost, FORBIDDEN).astype(np.uint16)
    for rows in ROWS_BELOW:
        if y + rows >= low.shape[1]:
            break
        lowest = low[:, y : y + rows + 1].max(axis=1)[:, None]
        highest = high[:, y : y + rows + 1].min(axis=1)[:, None]
        penalties += np.where((candidates < lowest) | (candidates > highest), ROWS_BELOW_COST, 0).astype(np.uint16)
    return penalties


def _best_path(penalties: npt.NDArray[np.uint16]) -> npt.NDArray[np.intp]:
    """Return the state of each pixel on the path of least cost, (2, W)."""
    n_planes, _, width = penalties.shape
    penalties = penalties * N_STATES
    costs, best = np.tile(START, (n_planes, 1)), np.full(n_planes, N_STATES - 1, np.uint16)
    goes_on = np.empty((width, n_planes, N_STATES), bool)
    came_from = np.empty((width, n_planes), np.uint16)
    for x in range(width):
        came_from[x] = best
        np.less_equal(costs, START, out=goes_on[x])
        costs = np.minimum(costs, START) + penalties[:, :, x]
        least = costs.min(axis=1)
        best = least & (N_STATES - 1)
        costs -= (least - best)[:, None]
    states = np.empty((n_planes, width), np.intp)
    for plane in range(n_planes):
        state = int(best[plane])
        for x in range(width - 1, -1, -1):
            states[plane, x] = state
            if not goes_on[x, plane, state]:
                state = int(came_from[x, plane])
    return states


def _codes_of(
    states: npt.NDArray[np.intp], candidates: npt.NDArray[np.int16], above: npt.NDArray[np.int16] | None
) -> npt.NDArray[np.int16]:
    columns = np.arange(states.size)
    runs = candidates[np.minimum(states, N_SLOTS - 1), columns]
    if above is None:
        return runs
    shifts = np.array(_SHIFTS)[np.maximum(states - N_SLOTS, 0)]
    return np.where(states < N_SLOTS, runs, above[columns + 1 + shifts])
