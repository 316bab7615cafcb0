"""The loops of the Farneback kernel, compiled by Numba.

Owns what is done to each pixel; `flowstore.estimators.farneback.stream` owns the order and the memory. Imports numpy,
numba, `flowstore.estimators.simd` and names of types only.

Layout. Arrays are one-dimensional and begin and end with `PAD` values. A row of pixels takes ``level[2]``
values, its stride: the width rounded up to whole vectors, and one vector more. What lies beyond the width
is finite and means nothing, so loops run in whole vectors and look-ups may reach past an edge. An image is
its rows; flow is the rows of x, then the rows of y; coefficients and products have five rows for each row
of pixels, next to each other. A level is described by ``[width, height, stride]``.

Coefficients of a pixel's polynomial, in the order of OpenCV's: the linear ones of y and x, then those of
y², x², xy. Products, in the same way: with A = [[r4, r6], [r6, r5]] and b = (r2, r3), the entries (1,1),
(1,2), (2,2) of AᵀA and the two of Aᵀb.

Order of rounding. Where a displaced point lies on the border of the frame its last bit decides whether it is
inside, and where a picture stands still whole borders lie there. So all rounds as OpenCV does on x86-64, float32
where that has float32: with fused multiply-adds to blur, shrink and enlarge, without them elsewhere. The sums
over a window alone are in another order, in float64.
"""

import numpy as np
from numba import types
from numpy.typing import NDArray

from flowstore.compiling import kernel
from flowstore.estimators.arrays import Floats, Indices
from flowstore.estimators.simd import (
    floor,
    fma,
    gather,
    lane_bits,
    lane_numbers,
    largest,
    load,
    load_bytes,
    load_indices,
    select,
    smallest,
    splat,
    store,
    store_where,
    to_f32,
    to_f64,
    to_i32,
)

PAD = 32

_F0 = np.float32(0)
_F1 = np.float32(1)
_HALF = np.float32(0.5)
_QUARTER = np.float32(0.25)
_REGULARIZATION = 1e-3
_FAR = np.int32(1 << 28)
_NEAR = np.int32(-(1 << 28))
_MOST_TAPS = 40


@kernel
def blur_rows(
    frame: NDArray[np.uint8], blur: Floats, edge: Indices, line: Floats, blurred: Floats, full: Indices
) -> None:
    """Blur each row of a frame."""
    w, h, stride = full[0], full[1], full[2]
    n = blur.size
    reach = n // 2
    left = PAD + reach
    for y in range(h):
        for x in range(0, w, 16):
            store(line, left + x, load_bytes(frame, y * w + x))
        for k in range(reach):
            line[PAD + k] = line[left + edge[k]]
            line[left + w + k] = line[left + edge[reach + k]]
        row = PAD + y * stride
        if n == 3:
            side, center = splat(blur[0]), splat(blur[1])
            for x in range(0, w, 16):
                total = (load(line, PAD + x) + load(line, PAD + x + 2)) * side
                store(blurred, row + x, fma(load(line, PAD + x + 1), center, total))
        elif n == 5:
            side, center, outer = splat(blur[1]), splat(blur[2]), splat(blur[0])
            for x in range(0, w, 16):
                total = (load(line, PAD + x + 1) + load(line, PAD + x + 3)) * side
                total = fma(load(line, PAD + x + 2), center, total)
                total = fma(load(line, PAD + x) + load(line, PAD + x + 4), outer, total)
                store(blurred, row + x, total)
        else:
            for x in range(0, w, 16):
                total = load(line, PAD + x) * splat(blur[0])
                for k in range(1, n):
                    total = fma(load(line, PAD + x + k), splat(blur[k]), total)
                store(blurred, row + x, total)


@kernel
def blur_column(blurred: Floats, blur: Floats, fold: Indices, y: int, line: Floats, full: Indices) -> None:
    """Blur one row of a frame, whose rows are blurred already, across rows."""
    w, stride = full[0], full[2]
    reach = blur.size // 2
    middle = y + reach
    for x in range(0, w, 16):
        total = load(blurred, PAD + fold[middle] * stride + x) * splat(blur[reach])
        for k in range(1, reach + 1):
            above = load(blurred, PAD + fold[middle - k] * stride + x)
            below = load(blurred, PAD + fold[middle + k] * stride + x)
            total = fma(above + below, splat(blur[reach + k]), total)
        store(line, x, total)


@kernel
def pick_columns(line: Floats, x_index: NDArray[np.int32], x_weight: Floats, row: Floats, w: int) -> None:
    """Sample one blurred row at the columns of a level."""
    every = lane_numbers() < splat(np.float32(99))
    for x in range(0, w, 16):
        index = load_indices(x_index, x)
        value = gather(line, 0, index, every)
        store(row, x, fma(gather(line, 1, index, every) - value, load(x_weight, x), value))


@kernel
def shrink(
    frame: NDArray[np.uint8],
    blur: Floats,
    edge: Indices,
    fold: Indices,
    x_index: NDArray[np.int32],
    x_weight: Floats,
    y_index: Indices,
    y_weight: Floats,
    line: Floats,
    rows: Floats,
    blurred: Floats,
    image: Floats,
    full: Indices,
    level: Indices,
) -> None:
    """Blur a frame and sample one pyramid level from it."""
    w, h, stride = level[0], level[1], level[2]
    same = w == full[0] and h == full[1]
    upper, lower = rows[: rows.size // 2], rows[rows.size // 2 :]
    blur_rows(frame, blur, edge, line, blurred, full)
    for y in range(h):
        at = PAD + y * stride
        if same:
            blur_column(blurred, blur, fold, y, line, full)
            for x in range(0, w, 16):
                store(image, at + x, load(line, x))
        else:
            weight = splat(y_weight[y])
            blur_column(blurred, blur, fold, y_index[y], line, full)
            pick_columns(line, x_index, x_weight, upper, w)
            blur_column(blurred, blur, fold, min(y_index[y] + 1, full[1] - 1), line, full)
            pick_columns(line, x_index, x_weight, lower, w)
            for x in range(0, w, 16):
                value = load(upper, x)
                store(image, at + x, fma(load(lower, x) - value, weight, value))


@kernel
def expand(
    image: Floats,
    level: Indices,
    taps: Floats,
    inverse: NDArray[np.float64],
    lines: Floats,
    coefficients: Floats,
) -> None:
    """Fit a quadratic polynomial around each pixel."""
    w, h, stride = level[0], level[1], level[2]
    n = taps.size // 3 - 1
    g, xg, xxg = taps[: n + 1], taps[n + 1 : 2 * n + 2], taps[2 * n + 2 :]
    reach = lines.size // 3
    left = (n + 15) // 16 * 16
    ig11, ig03, ig33, ig55 = splat(inverse[0]), splat(inverse[1]), splat(inverse[2]), splat(inverse[3])
    for y in range(h):
        for x in range(0, w, 16):
            t0 = load(image, PAD + y * stride + x) * splat(g[0])
            t1 = splat(_F0)
            t2 = splat(_F0)
            for k in range(1, n + 1):
                above = load(image, PAD + max(y - k, 0) * stride + x)
                below = load(image, PAD + min(y + k, h - 1) * stride + x)
                both = above + below
                t0 = t0 + both * splat(g[k])
                t1 = t1 + (below - above) * splat(xg[k])
                t2 = t2 + both * splat(xxg[k])
            store(lines, left + x, t0)
            store(lines, reach + left + x, t1)
            store(lines, 2 * reach + left + x, t2)
        for plane in range(3):
            at = plane * reach + left
            for k in range(n):
                lines[at - 1 - k] = lines[at]
                lines[at + w + k] = lines[at + w - 1]
        row = PAD + y * 5 * stride
        for x in range(0, w, 16):
            at0, at1, at2 = left + x, reach + left + x, 2 * reach + left + x
            b1 = to_f64(load(lines, at0) * splat(g[0]))
            b2 = splat(0.0)
            b3 = to_f64(load(lines, at1) * splat(g[0]))
            b4 = splat(0.0)
            b5 = to_f64(load(lines, at2) * splat(g[0]))
            b6 = splat(0.0)
            for k in range(1, n + 1):
                gk, xgk, xxgk = splat(g[k]), splat(xg[k]), splat(xxg[k])
                before, after = load(lines, at0 - k), load(lines, at0 + k)
                both = to_f64(after + before)
                # Products of two float32 are exact in float64, so these two round alike fused or not.
                b1 = fma(both, to_f64(gk), b1)
                b4 = fma(both, to_f64(xxgk), b4)
                b2 = b2 + to_f64((after - before) * xgk)
                before, after = load(lines, at1 - k), load(lines, at1 + k)
                b3 = b3 + to_f64((after + before) * gk)
                b6 = b6 + to_f64((after - before) * xgk)
                b5 = b5 + to_f64((load(lines, at2 + k) + load(lines, at2 - k)) * gk)
            b1 = b1 * ig03
            store(coefficients, row + x, to_f32(b3 * ig11))
            store(coefficients, row + stride + x, to_f32(b2 * ig11))
            store(coefficients, row + 2 * stride + x, to_f32(b1 + b5 * ig33))
            store(coefficients, row + 3 * stride + x, to_f32(b1 + b4 * ig33))
            store(coefficients, row + 4 * stride + x, to_f32(b6 * ig55))


@kernel
def enlarge(
    small: Floats,
    small_level: Indices,
    flow: Floats,
    level: Indices,
    x_index: NDArray[np.int32],
    x_weight: Floats,
    y_index: Indices,
    y_weight: Floats,
    factor: float,
    rows: Floats,
) -> None:
    """Take the flow of one level to the next finer one."""
    small_h, small_stride = small_level[1], small_level[2]
    w, h, stride = level[0], level[1], level[2]
    every = lane_numbers() < splat(np.float32(99))
    scale = splat(np.float32(factor))
    one = splat(_F1)
    half = rows.size // 2
    for plane in range(2):
        n_widened = 0
        for y in range(h):
            last = min(y_index[y] + 1, small_h - 1)
            while n_widened <= last:
                at = PAD + (plane * small_h + n_widened) * small_stride
                to = (n_widened % 2) * half
                for x in range(0, w, 16):
                    index = load_indices(x_index, x)
                    right = load(x_weight, x)
                    value = gather(small, at, index, every) * (one - right)
                    store(rows, to + x, value + gather(small, at + 1, index, every) * right)
                n_widened += 1
            top, bottom = (y_index[y] % 2) * half, (last % 2) * half
            below = splat(y_weight[y])
            above = one - below
            row = PAD + (plane * h + y) * stride
            for x in range(0, w, 16):
                value = (load(rows, top + x) * above + load(rows, bottom + x) * below) * scale
                store_where(flow, row + x, value, lane_numbers() < splat(np.float32(w - x)))


@kernel
def update_row(
    r0: Floats,
    r1: Floats,
    flow: Floats,
    fade: Floats,
    fade_row: Indices,
    ring: Floats,
    slot: int,
    y: int,
    level: Indices,
) -> None:
    """Put one row of the five products into the ring."""
    # Long, because a row is walked once: a part of its own would take and give back a dozen vectors.
    w, h, stride = level[0], level[1], level[2]
    row0 = PAD + y * 5 * stride
    row_x = PAD + y * stride
    row_y = PAD + (h + y) * stride
    out = slot * 5 * stride
    zero, one, half, quarter = splat(_F0), splat(_F1), splat(_HALF), splat(_QUARTER)
    last_x, last_y = splat(np.float32(w - 1)), splat(np.float32(h - 1))
    row_number = splat(np.float32(y))
    fade_at = fade_row[y] * stride
    for x in range(0, w, 16):
        dx = load(flow, row_x + x)
        dy = load(flow, row_y + x)
        column = lane_numbers() + splat(np.float32(x))
        fx = column + dx
        fy = row_number + dy
        x1 = floor(fx)
        y1 = floor(fy)
        fx = fx - x1
        fy = fy - y1
        inside = (x1 >= zero) & (x1 < last_x) & (y1 >= zero) & (y1 < last_y)
        ox = to_i32(select(inside, x1 - column, zero))
        oy = to_i32(select(inside, y1, zero))
        s2, s3, s4, s5, s6 = zero, zero, zero, zero, zero
        bits = lane_bits(inside)
        if bits:
            left = smallest(select(inside, ox, splat(_FAR)))
            right = largest(select(inside, ox, splat(_NEAR)))
            top = smallest(select(inside, oy, splat(_FAR)))
            bottom = largest(select(inside, oy, splat(_NEAR)))
            if (right - left + 2) * (bottom - top + 2) <= _MOST_TAPS:
                for j in range(top, bottom + 2):
                    across = select(oy == splat(np.int32(j)), one - fy, zero)
                    across = select(oy == splat(np.int32(j - 1)), fy, across)
                    across = select(inside, across, zero)
                    for i in range(left, right + 2):
                        weight = select(ox == splat(np.int32(i)), one - fx, zero)
                        weight = select(ox == splat(np.int32(i - 1)), fx, weight) * across
                        at = PAD + j * 5 * stride + x + i
                        s2 = s2 + weight * load(r1, at)
                        s3 = s3 + weight * load(r1, at + stride)
                        s4 = s4 + weight * load(r1, at + 2 * stride)
                        s5 = s5 + weight * load(r1, at + 3 * stride)
                        s6 = s6 + weight * load(r1, at + 4 * stride)
            else:
                index = oy * splat(np.int32(5 * stride)) + ox + to_i32(column)
                for j in range(2):
                    across = one - fy
                    if j == 1:
                        across = fy
                    for i in range(2):
                        weight = (one - fx) * across
                        if i == 1:
                            weight = fx * across
                        at = PAD + j * 5 * stride + i
                        s2 = s2 + weight * gather(r1, at, index, inside)
                        s3 = s3 + weight * gather(r1, at + stride, index, inside)
                        s4 = s4 + weight * gather(r1, at + 2 * stride, index, inside)
                        s5 = s5 + weight * gather(r1, at + 3 * stride, index, inside)
                        s6 = s6 + weight * gather(r1, at + 4 * stride, index, inside)
                s2 = select(inside, s2, zero)
                s3 = select(inside, s3, zero)
                s4 = select(inside, s4, zero)
                s5 = select(inside, s5, zero)
                s6 = select(inside, s6, zero)
        share = select(inside, half, one)
        r4 = (load(r0, row0 + 2 * stride + x) + s4) * share
        r5 = (load(r0, row0 + 3 * stride + x) + s5) * share
        r6 = (load(r0, row0 + 4 * stride + x) + s6) * select(inside, quarter, half)
        r2 = (load(r0, row0 + x) - s2) * half + (r4 * dy + r6 * dx)
        r3 = (load(r0, row0 + stride + x) - s3) * half + (r6 * dy + r5 * dx)
        weight = load(fade, fade_at + x)
        r2 = r2 * weight
        r3 = r3 * weight
        r4 = r4 * weight
        r5 = r5 * weight
        r6 = r6 * weight
        square = r6 * r6
        store(ring, out + x, r4 * r4 + square)
        store(ring, out + stride + x, (r4 + r5) * r6)
        store(ring, out + 2 * stride + x, r5 * r5 + square)
        store(ring, out + 3 * stride + x, r4 * r2 + r6 * r3)
        store(ring, out + 4 * stride + x, r6 * r2 + r5 * r3)


@kernel
def start_sums(ring: Floats, slot: int, sums: NDArray[np.float64], times: int, level: Indices) -> None:
    """Add `times` one row of products to the vertical sums."""
    stride = level[2]
    factor = splat(np.float32(times))
    for x in range(0, 5 * stride, 16):
        value = load(ring, slot * 5 * stride + x) * factor
        store(sums, x, load(sums, x) + to_f64(value))


@kernel
def slide_down(
    ring: Floats,
    new_slot: int,
    old_slot: int,
    sums: NDArray[np.float64],
    lines: NDArray[np.float64],
    span: int,
    left: int,
    level: Indices,
) -> None:
    """Move the vertical box sums one row down."""
    w, stride = level[0], level[2]
    new, old = new_slot * 5 * stride, old_slot * 5 * stride
    for plane in range(5):
        at = plane * stride
        to = plane * span + left
        for x in range(0, w, 16):
            total = load(sums, at + x) + to_f64(load(ring, new + at + x) - load(ring, old + at + x))
            store(sums, at + x, total)
            store(lines, to + x, total)


@kernel
def weigh_down(
    ring: Floats,
    n_slots: int,
    y: int,
    window: Floats,
    lines: NDArray[np.float64],
    span: int,
    left: int,
    level: Indices,
) -> None:
    """Sum products vertically under the Gaussian window."""
    w, h, stride = level[0], level[1], level[2]
    for plane in range(5):
        at = plane * stride
        for x in range(0, w, 16):
            total = load(ring, (y % n_slots) * 5 * stride + at + x) * splat(window[0])
            for k in range(1, window.size):
                above = load(ring, (max(y - k, 0) % n_slots) * 5 * stride + at + x)
                below = load(ring, (min(y + k, h - 1) % n_slots) * 5 * stride + at + x)
                total = total + (above + below) * splat(window[k])
            store(lines, plane * span + left + x, to_f64(total))


@kernel
def solve_row(
    lines: NDArray[np.float64],
    span: int,
    left: int,
    m: int,
    run: int,
    window: Floats,
    scale: float,
    out: Floats,
    out_x: int,
    out_y: int,
    level: Indices,
) -> None:
    """Sum horizontally and solve for the flow of one row."""
    # Long, because the kinds of window share their lines and the solution: they differ in the sums alone.
    w = level[0]
    for plane in range(5):
        at = plane * span + left
        for k in range(1, m + 1):
            lines[at - k] = lines[at]
            lines[at + w - 1 + k] = lines[at + w - 1]
    gaussian = window.size > 0
    n_runs = (2 * m + 1) // run
    n_single = 2 * m + 1 - n_runs * run
    if not gaussian:
        for plane in range(5):
            at = plane * span + left - m
            for x in range(0, w + 2 * m, 16):
                total = load(lines, at + x)
                for k in range(1, run):
                    total = total + load(lines, at + x + k)
                store(lines, at + 5 * span + x, total)
    factor = splat(scale)
    zero = splat(0.0)
    for x in range(0, w, 16):
        g11, g12, g22, h1, h2 = zero, zero, zero, zero, zero
        at = left + x
        if gaussian:
            center = splat(window[0])
            w1 = to_f32(load(lines, at)) * center
            w2 = to_f32(load(lines, at + span)) * center
            w3 = to_f32(load(lines, at + 2 * span)) * center
            w4 = to_f32(load(lines, at + 3 * span)) * center
            w5 = to_f32(load(lines, at + 4 * span)) * center
            for k in range(1, m + 1):
                weight = splat(window[k])
                w1 = w1 + (to_f32(load(lines, at - k)) + to_f32(load(lines, at + k))) * weight
                w2 = w2 + (to_f32(load(lines, at + span - k)) + to_f32(load(lines, at + span + k))) * weight
                w3 = w3 + (to_f32(load(lines, at + 2 * span - k)) + to_f32(load(lines, at + 2 * span + k))) * weight
                w4 = w4 + (to_f32(load(lines, at + 3 * span - k)) + to_f32(load(lines, at + 3 * span + k))) * weight
                w5 = w5 + (to_f32(load(lines, at + 4 * span - k)) + to_f32(load(lines, at + 4 * span + k))) * weight
            g11, g12, g22, h1, h2 = to_f64(w1), to_f64(w2), to_f64(w3), to_f64(w4), to_f64(w5)
        else:
            for k in range(n_runs):
                piece = at + 5 * span - m + k * run
                g11 = g11 + load(lines, piece)
                g12 = g12 + load(lines, piece + span)
                g22 = g22 + load(lines, piece + 2 * span)
                h1 = h1 + load(lines, piece + 3 * span)
                h2 = h2 + load(lines, piece + 4 * span)
            for k in range(n_single):
                piece = at + m - k
                g11 = g11 + load(lines, piece)
                g12 = g12 + load(lines, piece + span)
                g22 = g22 + load(lines, piece + 2 * span)
                h1 = h1 + load(lines, piece + 3 * span)
                h2 = h2 + load(lines, piece + 4 * span)
        a = g11 * factor
        b = g12 * factor
        c = g22 * factor
        d = h1 * factor
        e = h2 * factor
        inverse = splat(1.0) / (a * c - b * b + splat(_REGULARIZATION))
        flow_x = to_f32((a * e - b * d) * inverse)
        flow_y = to_f32((c * d - b * e) * inverse)
        if x + 16 <= w:
            store(out, out_x + x, flow_x)
            store(out, out_y + x, flow_y)
        else:
            valid = lane_numbers() < splat(np.float32(w - x))
            store_where(out, out_x + x, flow_x, valid)
            store_where(out, out_y + x, flow_y, valid)


@kernel
def iterate(
    r0: Floats,
    r1: Floats,
    flow: Floats,
    out: Floats,
    fade: Floats,
    fade_row: Indices,
    ring: Floats,
    sums: NDArray[np.float64],
    lines: NDArray[np.float64],
    window: Floats,
    scale: float,
    plan: Indices,
    level: Indices,
) -> None:
    """Refine the flow of one level `iterations` times, row by row."""
    w, h, stride = level[0], level[1], level[2]
    m, n_slots, left, span, run, iterations = plan[0], plan[1], plan[2], plan[3], plan[4], plan[5]
    gaussian = window.size > 0
    for iteration in range(iterations):
        target, to_x, to_y, to_stride = flow, PAD, PAD + h * stride, stride
        if out.size > 0 and iteration == iterations - 1:
            target, to_x, to_y, to_stride = out, 0, h * w, w
        for x in range(0, 5 * stride, 16):
            store(sums, x, splat(0.0))
        for ahead in range(h + m):
            newest = min(ahead, h - 1)
            if ahead < h:
                update_row(r0, r1, flow, fade, fade_row, ring, ahead % n_slots, ahead, level)
            y = ahead - m
            if not gaussian:
                if ahead == 0:
                    start_sums(ring, 0, sums, m + 2, level)
                elif y < 0:
                    start_sums(ring, newest % n_slots, sums, 1, level)
            if y >= 0:
                if gaussian:
                    weigh_down(ring, n_slots, y, window, lines, span, left, level)
                else:
                    oldest = max(y - m - 1, 0)
                    slide_down(ring, newest % n_slots, oldest % n_slots, sums, lines, span, left, level)
                row_x, row_y = to_x + y * to_stride, to_y + y * to_stride
                solve_row(lines, span, left, m, run, window, scale, target, row_x, row_y, level)


_U8, _F32, _F64 = types.uint8[::1], types.float32[::1], types.float64[::1]
_I32, _I64, _INT, _REAL = types.int32[::1], types.int64[::1], types.int64, types.float64

KERNELS = (
    (shrink, (_U8, _F32, _I64, _I64, _I32, _F32, _I64, _F32, _F32, _F32, _F32, _F32, _I64, _I64)),
    (expand, (_F32, _I64, _F32, _F64, _F32, _F32)),
    (enlarge, (_F32, _I64, _F32, _I64, _I32, _F32, _I64, _F32, _REAL, _F32)),
    (iterate, (_F32, _F32, _F32, _F32, _F32, _I64, _F32, _F64, _F64, _F32, _REAL, _I64, _I64)),
)
