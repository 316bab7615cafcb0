"""Compiled loops of quantization and motion statistics: what `Quantizer` and `MotionAccumulator` do, in fewer passes.

They give the same codes to the bit and the same counts; sums differ in the last digits, because they are added in
another order. A flow of 320×240 takes 0.1 ms in place of 0.7: it stays in the cache between the two loops, and no
array is made on the way.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from numba import types

from flowstore.compiling import kernel
from flowstore.quantize.error_bounded import (
    FORBIDDEN,
    N_SLOTS,
    PLACE_BITS,
    ROWS_BELOW,
    ROWS_BELOW_COST,
)
from flowstore.quantize.motion import BIN_SHIFT
from flowstore.quantize.trellis import best_states

Flow = npt.NDArray[np.float32]
Codes = npt.NDArray[np.uint8]
Marks = npt.NDArray[np.uint16]
Places = npt.NDArray[np.int16]

# Penalties of so many rows are reckoned at once: loops over one row would spend their time on beginning.
ROWS_AT_A_TIME = 8


@kernel
def encode_centred(flow: Flow, bound: float, codes: Codes) -> None:
    """Encode flat flow as ``centred`` codes; see `flowstore.quantize.quantizer.Quantizer`."""
    for i in range(np.uintp(flow.size)):
        steps = np.rint(flow[i] * 127.0 / bound)
        codes[i] = np.uint8(np.int32(min(max(steps, -127.0), 127.0)) + 128)


@kernel
def encode_denseflow(flow: Flow, bound: float, codes: Codes) -> None:
    """Encode flat flow as ``denseflow`` codes, half to even."""
    for i in range(np.uintp(flow.size)):
        w = min(max(flow[i] * 255.0 / (2.0 * bound), -127.5), 127.5)
        upper = math.ceil(w)
        is_tie = (upper == w) & (math.floor(0.5 * w) == 0.5 * w)
        codes[i] = np.uint8(np.int32(min(max(upper + 127.0 + is_tie, 0.0), 255.0)))


@kernel
def encode_truncate(flow: Flow, bound: float, codes: Codes) -> None:
    """Encode flat flow as ``truncate`` codes, in float32 as the notebook has it."""
    limit = np.float32(bound)
    scale = np.float32(255.0 / (2.0 * bound))
    for i in range(np.uintp(flow.size)):
        shifted = (min(max(flow[i], -limit), limit) + limit) * scale
        codes[i] = np.uint8(np.int32(min(shifted, np.float32(255.0))))


@kernel
def measure(
    flow: Flow, bound: float, magnitude: Flow, histogram: npt.NDArray[np.int64], sums: npt.NDArray[np.float64]
) -> None:
    """Measure the magnitudes of flat flow, x before y.

    `flow`: float32 array (2·n,), pixels. `magnitude`: float32 array (n,), scratch. `histogram`: int64 array
    (n_bins,), added to. `sums`: float64 array (4,), filled with the sum of magnitudes, their maximum (nan where a
    value is not finite), and the clipped of x and of y.
    """
    n = np.uintp(magnitude.size)
    largest = np.float32(0)
    n_strange = np.int64(0)
    for i in range(n):
        x, y = flow[i], flow[i + n]
        m = np.sqrt(x * x + y * y)
        magnitude[i] = m
        largest = max(largest, m)
        n_strange += not (m <= np.float32(3.4e38))
    clipped_x = np.int64(0)
    clipped_y = np.int64(0)
    for i in range(n):
        clipped_x += abs(np.float64(flow[i])) > bound
        clipped_y += abs(np.float64(flow[i + n])) > bound
    # Four sums at a time: one alone would wait for itself at every addition.
    s0 = s1 = s2 = s3 = 0.0
    whole = n - n % np.uintp(4)
    for i in range(np.uintp(0), whole, np.uintp(4)):
        s0 += magnitude[i]
        s1 += magnitude[i + np.uintp(1)]
        s2 += magnitude[i + np.uintp(2)]
        s3 += magnitude[i + np.uintp(3)]
    for i in range(whole, n):
        s0 += magnitude[i]
    bits = magnitude.view(np.uint32)
    if n_strange == 0:
        for i in range(n):
            histogram[bits[i] >> np.uint32(BIN_SHIFT)] += 1
    sums[0] = (s0 + s1) + (s2 + s3)
    sums[1] = np.nan if n_strange else largest
    sums[2] = clipped_x
    sums[3] = clipped_y


@kernel
def find_ranges(
    flow: Flow,
    bound: float,
    scale: float,
    offset: float,
    steps: float,
    lowest: int,
    zero: int,
    bits: int,
    nearest: Codes,
    low: Codes,
    high: Codes,
    place: Places,
) -> None:
    """Fill the range of codes of each value and its place; see `flowstore.quantize.error_bounded.Tolerance`."""
    spare = np.int32((1 << bits) - 1)
    places = 2.0 ** (PLACE_BITS - bits)
    for i in range(np.uintp(flow.size)):
        value = np.float64(flow[i])
        at = min(max((value - offset) / scale, np.float64(lowest) - 1.0), 256.0)
        code = np.int32(nearest[i])
        within = 0.0 if (value == 0.0) | (abs(value) > bound) else steps
        first = max(min(np.int32(math.ceil(at - within)), code), np.int32(lowest))
        last = min(max(np.int32(math.floor(at + within)), code), np.int32(255))
        on_grid = first + ((np.int32(zero) - first) & spare)
        is_off = on_grid > last
        low[i] = np.uint8(code if is_off else on_grid)
        high[i] = np.uint8(code if is_off else last)
        place[i] = np.int16(np.rint(at * places))


@kernel
def _penalize_runs(low: Codes, high: Codes, place: Places, slot: int, bits: int, weight: int, penalty: Codes) -> None:
    # Of bytes only, which wrap: a code beyond 255 comes out below `low`.
    grid, slots, wanted = np.uint8(255 << bits), np.uint8(3 << bits), np.uint8(slot << bits)
    for x in range(np.uintp(low.size)):
        code = np.uint8(low[x] + (np.uint8(wanted - (low[x] & grid)) & slots))
        distance = np.int16((np.int16(code) << np.int16(PLACE_BITS) >> np.int16(bits)) - place[x])
        square = np.uint16(distance * distance)
        cost = np.uint8((np.uint32(square) * np.uint32(weight)) >> np.uint32(16))
        penalty[x] = cost if (code >= low[x]) & (code <= high[x]) else np.uint8(FORBIDDEN)


@kernel
def _narrow(low: Codes, high: Codes, lowest: Codes, highest: Codes) -> None:
    for x in range(np.uintp(low.size)):
        lowest[x] = max(lowest[x], low[x])
        highest[x] = min(highest[x], high[x])


@kernel
def _penalize_end(low: Codes, lowest: Codes, highest: Codes, slot: int, bits: int, penalty: Codes) -> None:
    grid, slots, wanted = np.uint8(255 << bits), np.uint8(3 << bits), np.uint8(slot << bits)
    for x in range(np.uintp(low.size)):
        code = np.uint8(low[x] + (np.uint8(wanted - (low[x] & grid)) & slots))
        ends = (code < lowest[x]) | (code > highest[x])
        penalty[x] = np.uint8(penalty[x] + (np.uint8(ROWS_BELOW_COST) if ends else np.uint8(0)))


@kernel
def _penalize_copy(low: Codes, high: Codes, copied: Codes, bits: int, runs: Codes, stride: int, penalty: Codes) -> None:
    spare, first_bit, second_bit = np.uint8((1 << bits) - 1), np.uint8(1 << bits), np.uint8(2 << bits)
    n = np.uintp(stride)
    for x in range(np.uintp(low.size)):
        code = copied[x]
        is_odd = np.uint8(code & first_bit) == first_bit
        is_upper = np.uint8(code & second_bit) == second_bit
        # All four are read: a loop that reads only what it needs is not vectorized.
        first, second, third, fourth = runs[x], runs[x + n], runs[x + n + n], runs[x + n + n + n]
        lower = second if is_odd else first
        upper = fourth if is_odd else third
        found = upper if is_upper else lower
        is_allowed = (code >= low[x]) & (code <= high[x]) & (np.uint8(np.uint8(code - low[x]) & spare) == np.uint8(0))
        penalty[x] = found if is_allowed else np.uint8(FORBIDDEN)


@kernel
def _write_row(state: int, marks: Marks, low: Codes, bits: int, above: Codes, codes: Codes) -> None:
    width = np.uintp(codes.size)
    for i in range(width):
        x = width - np.uintp(1) - i
        first = np.int64(low[x])
        run = first + (((state - (first >> bits)) & 3) << bits)
        from_x = x + np.uintp(1 if state == 4 else (0 if state == 5 else 2))
        codes[x] = np.uint8(run) if state < N_SLOTS else above[from_x]
        mark = int(marks[x])
        state = state if (mark >> (3 + state)) & 1 else mark & 7


@kernel
def choose_codes(
    height: int,
    bits: int,
    weight: int,
    start: Marks,
    low: Codes,
    high: Codes,
    place: Places,
    penalties: Codes,
    marks: Marks,
    rows: Codes,
    codes: Codes,
) -> None:
    """Choose the codes of a flow from their ranges; see `flowstore.quantize.error_bounded.choose_codes`.

    `low, high, place`: uint8, uint8 and int16 arrays (2·H·W,), what `find_ranges` filled. `penalties, marks,
    rows`: uint8 (14·B·W,), uint16 (2·W,) and uint8 (2·B·W + 2·W + 4,) arrays, scratch, B of `ROWS_AT_A_TIME`.
    `codes`: uint8 array (2·H·W,), filled.
    """
    width = marks.size // 2
    block = ROWS_AT_A_TIME * width
    lowest, highest = rows[:block], rows[block : 2 * block]
    above = rows[2 * block :].reshape((2, width + 2))
    for top in range(0, height, ROWS_AT_A_TIME):
        n_rows = min(ROWS_AT_A_TIME, height - top)
        for plane in range(2):
            a = (plane * height + top) * width
            b = a + n_rows * width
            own = penalties[7 * plane * block :]
            for slot in range(N_SLOTS):
                to = own[slot * block : slot * block + b - a]
                _penalize_runs(low[a:b], high[a:b], place[a:b], slot, bits, weight, to)
            lowest[: b - a] = low[a:b]
            highest[: b - a] = high[a:b]
            below = 0
            for distance in ROWS_BELOW:
                n = min(n_rows, height - top - distance) * width
                if n <= 0:
                    break
                while below < distance:
                    below += 1
                    c = a + below * width
                    _narrow(low[c : c + n], high[c : c + n], lowest[:n], highest[:n])
                for slot in range(N_SLOTS):
                    to = own[slot * block : slot * block + n]
                    _penalize_end(low[a : a + n], lowest[:n], highest[:n], slot, bits, to)
        for row in range(n_rows):
            first = row * width
            for plane in range(2):
                a = (plane * height + top + row) * width
                own = penalties[7 * plane * block :]
                if top + row == 0:
                    for state in range(N_SLOTS, 7):
                        own[state * block : state * block + width] = FORBIDDEN
                    continue
                over = above[plane]
                over[1 : width + 1] = codes[a - width : a]
                over[0], over[width + 1] = over[1], over[width]
                runs = own[first : first + 3 * block + width]
                for number in range(3):
                    shifted = over[1:] if number == 0 else (over if number == 1 else over[2:])
                    to = own[(N_SLOTS + number) * block + first :][:width]
                    _penalize_copy(low[a : a + width], high[a : a + width], shifted[:width], bits, runs, block, to)
            states = best_states(penalties, first, block, width, start, marks)
            for plane in range(2):
                a = (plane * height + top + row) * width
                state = (states >> 3) & 7 if plane else states & 7
                mark = marks[plane * width : (plane + 1) * width]
                _write_row(state, mark, low[a : a + width], bits, above[plane], codes[a : a + width])


_FLOW = types.Array(types.float32, 1, "C")
_CODES = types.Array(types.uint8, 1, "C")
_MARKS = types.Array(types.uint16, 1, "C")
_PLACES = types.Array(types.int16, 1, "C")
_ENCODE = types.void(_FLOW, types.float64, _CODES)
_COUNTS = types.Array(types.int64, 1, "C")
_SUMS = types.Array(types.float64, 1, "C")
KERNELS = (
    (encode_centred, _ENCODE),
    (encode_denseflow, _ENCODE),
    (encode_truncate, _ENCODE),
    (measure, types.void(_FLOW, types.float64, _FLOW, _COUNTS, _SUMS)),
)
CHOOSING_KERNELS = (
    (
        find_ranges,
        types.void(_FLOW, *4 * [types.float64], *3 * [types.int64], _CODES, _CODES, _CODES, _PLACES),
    ),
    (
        choose_codes,
        types.void(*3 * [types.int64], _MARKS, _CODES, _CODES, _PLACES, _CODES, _MARKS, _CODES, _CODES),
    ),
)
