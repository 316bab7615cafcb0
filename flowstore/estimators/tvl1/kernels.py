"""The loops of the TV-L1 kernel, compiled by Numba.

Owns what is done to each pixel; `flowstore.estimators.tvl1.stream` owns the order and the memory.

Layout. Arrays are one-dimensional and begin with `PAD` values. A row of pixels takes `stride` values: the width rounded
up to whole vectors, and one vector more. What lies beyond the width is finite and means nothing, so loops run in whole
vectors. The planes of one purpose lie row by row, one row of each next to the other, so that a pass reads few streams:

- *flow*: x, y; one row above the first;
- *dual*: the dual variables p11, p12 of x, p21, p22 of y; one row of zeros above the first, and the last vector of
  every row stays zero: what a backward difference finds there is the zero of the border;
- *model*: the data term of one warp, linear in the flow: the gradient gx, gy of the warped frame, the residual at zero
  flow, and -1 / (gx² + gy²);
- *quads*: value, gx, gy and 0 of each pixel of a frame side by side, `BORDER` zero pixels around.

A level is described by ``[width, height, stride, quad_stride]``, the last in pixels.
"""

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from flowstore.compiling import kernel
from flowstore.estimators.arrays import Floats, Indices
from flowstore.estimators.simd import (
    first_of_four,
    floor,
    fma,
    gather,
    high,
    lane_numbers,
    load,
    load_bytes,
    load_each_four_times,
    load_indices,
    low,
    second_of_four,
    select,
    splat,
    sqrt,
    store,
    store_indices,
    store_interleaved,
    store_sum_of_fours,
    third_of_four,
    to_i32,
    total,
)

Reals = NDArray[np.float64]

PAD = 32
BORDER = 4
MOST_AT_ONCE = 8

_F0 = np.float32(0)
_F1 = np.float32(1)
_HALF = np.float32(0.5)
_CUBIC = np.float32(-0.75)
_FLATTEST = np.float32(1e-30)
_ENDLESS = np.float32(3e38)


@kernel
def take_frame(frame: NDArray[np.uint8], image: Floats, level: Indices) -> None:
    """Convert a frame to float32."""
    w, h, stride = level[0], level[1], level[2]
    for y in range(h):
        for x in range(0, w, 16):
            store(image, PAD + y * stride + x, load_bytes(frame, y * w + x))


@kernel
def resize(
    source: Floats,
    source_at: int,
    source_step: int,
    target: Floats,
    target_at: int,
    target_step: int,
    x_index: NDArray[np.int32],
    x_weight: Floats,
    y_index: Indices,
    y_weight: Floats,
    factor: float,
    lines: Floats,
    source_level: Indices,
    level: Indices,
) -> None:
    """Sample one plane linearly and multiply it; its rows begin at ``*_at``, ``*_step`` from each other."""
    w, h, last_row = level[0], level[1], source_level[1] - 1
    every = lane_numbers() < splat(np.float32(99))
    scale = splat(np.float32(factor))
    half = lines.size // 2
    n_widened = 0
    for y in range(h):
        upper, lower = y_index[y], min(y_index[y] + 1, last_row)
        n_widened = max(n_widened, upper)
        while n_widened <= lower:
            at = source_at + n_widened * source_step
            to = (n_widened % 2) * half
            for x in range(0, w, 16):
                index = load_indices(x_index, x)
                value = gather(source, at, index, every)
                store(lines, to + x, fma(gather(source, at + 1, index, every) - value, load(x_weight, x), value))
            n_widened += 1
        top, bottom = (upper % 2) * half, (lower % 2) * half
        weight = splat(y_weight[y])
        for x in range(0, w, 16):
            value = load(lines, top + x)
            value = fma(load(lines, bottom + x) - value, weight, value)
            store(target, target_at + y * target_step + x, value * scale)


@kernel
def differentiate(image: Floats, quads: Floats, level: Indices) -> None:
    """Put each pixel beside its central differences; a border pixel stands in for the neighbor that it lacks."""
    w, h, stride, quad_stride = level[0], level[1], level[2], level[3]
    half, zero = splat(_HALF), splat(_F0)
    for at in range(0, (h + 2 * BORDER) * quad_stride * 4, 16):
        store(quads, at, zero)
    for y in range(h):
        at = PAD + y * stride
        above, below = PAD + max(y - 1, 0) * stride, PAD + min(y + 1, h - 1) * stride
        image[at - 1] = image[at]
        image[at + w] = image[at + w - 1]
        to = ((y + BORDER) * quad_stride + BORDER) * 4
        for x in range(0, w, 16):
            inside = lane_numbers() < splat(np.float32(w - x))
            value = select(inside, load(image, at + x), zero)
            across = select(inside, (load(image, at + x + 1) - load(image, at + x - 1)) * half, zero)
            down = select(inside, (load(image, below + x) - load(image, above + x)) * half, zero)
            store_interleaved(quads, to + 4 * x, value, across, down, zero)


@kernel
def place_row(
    flow: Floats,
    y: int,
    corners: NDArray[np.int32],
    weights_x: Floats,
    weights_y: Floats,
    level: Indices,
) -> None:
    """Find, for each pixel of a row, the four by four pixels that it is sampled from, and their weights."""
    w, h, stride, quad_stride = level[0], level[1], level[2], level[3]
    row = PAD + (y + 1) * 2 * stride
    one, a = splat(_F1), splat(_CUBIC)
    # Keys' cubic: from the middle taps on; the outer ones are products, the last is what is left of one.
    a2, a3 = splat(_CUBIC + np.float32(2)), splat(-_CUBIC - np.float32(3))
    # A corner farther out has zeros alone under its taps.
    left, right = splat(np.float32(1 - BORDER)), splat(np.float32(w + 1))
    top, bottom = left, splat(np.float32(h + 1))
    inset = splat(np.int32(BORDER - 1))
    for x in range(0, w, 16):
        fx = lane_numbers() + splat(np.float32(x)) + load(flow, row + x)
        fy = splat(np.float32(y)) + load(flow, row + stride + x)
        x0, y0 = floor(fx), floor(fy)
        fx, fy = fx - x0, fy - y0
        column = to_i32(low(high(x0, left), right)) + inset
        line = to_i32(low(high(y0, top), bottom)) + inset
        store_indices(corners, x, (line * splat(np.int32(quad_stride)) + column) * splat(np.int32(4)))
        gx, gy = one - fx, one - fy
        w0, w3 = a * fx * gx * gx, a * gx * fx * fx
        w1 = fma(fma(a2, fx, a3) * fx, fx, one)
        store_interleaved(weights_x, 4 * x, w0, w1, one - w0 - w1 - w3, w3)
        w0, w3 = a * fy * gy * gy, a * gy * fy * fy
        w1 = fma(fma(a2, fy, a3) * fy, fy, one)
        store_interleaved(weights_y, 4 * x, w0, w1, one - w0 - w1 - w3, w3)


@kernel
def warp(
    flow: Floats,
    image: Floats,
    quads: Floats,
    model: Floats,
    corners: NDArray[np.int32],
    lines: Floats,
    level: Indices,
) -> None:
    """Sample the second frame and its gradient where the first has moved to: the data term of the next iterations."""
    w, h, stride, quad_stride = level[0], level[1], level[2], level[3]
    part = 4 * stride
    weights_x, weights_y, sampled = lines[:part], lines[part : 2 * part], lines[2 * part : 3 * part]
    below = 4 * quad_stride
    for y in range(h):
        place_row(flow, y, corners, weights_x, weights_y, level)
        for x in range(w):
            # Four pixels of four values are one vector: value, gx and gy share loads and weights.
            at = np.intp(corners[x])
            quad = load(quads, at) * splat(weights_y[4 * x])
            quad = fma(load(quads, at + below), splat(weights_y[4 * x + 1]), quad)
            quad = fma(load(quads, at + 2 * below), splat(weights_y[4 * x + 2]), quad)
            quad = fma(load(quads, at + 3 * below), splat(weights_y[4 * x + 3]), quad)
            store_sum_of_fours(sampled, 4 * x, quad * load_each_four_times(weights_x, 4 * x))
        row, row_u, to = PAD + y * stride, PAD + (y + 1) * 2 * stride, PAD + y * 4 * stride
        for x in range(0, w, 16):
            gx, gy = second_of_four(sampled, 4 * x), third_of_four(sampled, 4 * x)
            moved = fma(gx, load(flow, row_u + x), gy * load(flow, row_u + stride + x))
            store(model, to + x, gx)
            store(model, to + stride + x, gy)
            store(model, to + 2 * stride + x, first_of_four(sampled, 4 * x) - moved - load(image, row + x))
            square = high(fma(gx, gx, gy * gy), splat(_FLATTEST))
            store(model, to + 3 * stride + x, splat(-_F1) / square)


@kernel
def primal_row(
    flow: Floats,
    dual: Floats,
    model: Floats,
    to_flow: Floats,
    y: int,
    constants: Reals,
    errors: Floats,
    slot: int,
    level: Indices,
) -> None:
    """Move a row of the flow toward the frames, then along the dual variables; add up the squares of its change."""
    w, stride = level[0], level[2]
    row_u, row_p, row_m = PAD + (y + 1) * 2 * stride, PAD + (y + 1) * 4 * stride, PAD + y * 4 * stride
    most, least = splat(np.float32(constants[0])), splat(np.float32(-constants[0]))
    theta = splat(np.float32(constants[1]))
    error = load(errors, slot * 16)
    for x in range(0, w, 16):
        u1, u2 = load(flow, row_u + x), load(flow, row_u + stride + x)
        gx, gy = load(model, row_m + x), load(model, row_m + stride + x)
        rho = fma(gx, u1, fma(gy, u2, load(model, row_m + 2 * stride + x)))
        # The three cases of the thresholding are one clamp.
        d = low(high(rho * load(model, row_m + 3 * stride + x), least), most)
        at, above = row_p + x, row_p - 4 * stride + x
        div1 = load(dual, at) - load(dual, at - 1) + (load(dual, at + stride) - load(dual, above + stride))
        at, above = at + 2 * stride, above + 2 * stride
        div2 = load(dual, at) - load(dual, at - 1) + (load(dual, at + stride) - load(dual, above + stride))
        new1, new2 = fma(theta, div1, fma(d, gx, u1)), fma(theta, div2, fma(d, gy, u2))
        store(to_flow, row_u + x, new1)
        store(to_flow, row_u + stride + x, new2)
        e1, e2 = new1 - u1, new2 - u2
        if x + 16 > w:
            inside = lane_numbers() < splat(np.float32(w - x))
            e1, e2 = select(inside, e1, splat(_F0)), select(inside, e2, splat(_F0))
        error = fma(e1, e1, fma(e2, e2, error))
    store(errors, slot * 16, error)


@kernel
def dual_row(flow: Floats, dual: Floats, to_dual: Floats, y: int, constants: Reals, level: Indices) -> None:
    """Move a row of the dual variables along the gradient of the flow."""
    w, h, stride = level[0], level[1], level[2]
    row_u, row_p = PAD + (y + 1) * 2 * stride, PAD + (y + 1) * 4 * stride
    below = row_u
    if y + 1 < h:
        below += 2 * stride
    step, one = splat(np.float32(constants[2])), splat(_F1)
    for x in range(0, w, 16):
        at = row_u + x
        u1, u2 = load(flow, at), load(flow, at + stride)
        x1, x2 = load(flow, at + 1) - u1, load(flow, at + stride + 1) - u2
        y1, y2 = load(flow, below + x) - u1, load(flow, below + stride + x) - u2
        if x + 16 >= w:
            inside = lane_numbers() < splat(np.float32(w - 1 - x))
            x1, x2 = select(inside, x1, splat(_F0)), select(inside, x2, splat(_F0))
        n1, n2 = fma(step, sqrt(fma(x1, x1, y1 * y1)), one), fma(step, sqrt(fma(x2, x2, y2 * y2)), one)
        # One division for both: it and the roots are half of this row's time.
        inverse = one / (n1 * n2)
        i1, i2 = n2 * inverse, n1 * inverse
        at = row_p + x
        store(to_dual, at, fma(step, x1, load(dual, at)) * i1)
        store(to_dual, at + stride, fma(step, y1, load(dual, at + stride)) * i1)
        at += 2 * stride
        store(to_dual, at, fma(step, x2, load(dual, at)) * i2)
        store(to_dual, at + stride, fma(step, y2, load(dual, at + stride)) * i2)


@kernel
def sweep(
    flow: Floats,
    dual: Floats,
    model: Floats,
    to_flow: Floats,
    to_dual: Floats,
    n: int,
    constants: Reals,
    errors: Floats,
    level: Indices,
) -> None:
    """Iterate `n` times in one pass over the rows; ``errors[:n]`` becomes each iteration's sum of squared changes.

    Each iteration follows a row behind the one before it, while its rows are in the nearest cache. `flow` and `dual`
    stay as they were.
    """
    h = level[1]
    for j in range(n):
        store(errors, 16 * j, splat(_F0))
    for ahead in range(h + n):
        for j in range(n):
            y = ahead - j
            from_flow, from_dual = to_flow, to_dual
            if j == 0:
                from_flow, from_dual = flow, dual
            if 0 <= y < h:
                primal_row(from_flow, from_dual, model, to_flow, y, constants, errors, j, level)
            if 0 < y <= h:
                dual_row(to_flow, from_dual, to_dual, y - 1, constants, level)
    for j in range(n):
        errors[j] = total(load(errors, 16 * j))


@kernel
def sort_five(a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    """Sort five values, lane by lane, with nine comparisons."""
    a, d = low(a, d), high(a, d)
    b, e = low(b, e), high(b, e)
    a, c = low(a, c), high(a, c)
    b, d = low(b, d), high(b, d)
    a, b = low(a, b), high(a, b)
    c, e = low(c, e), high(c, e)
    b, c = low(b, c), high(b, c)
    d, e = low(d, e), high(d, e)
    c, d = low(c, d), high(c, d)
    return a, b, c, d, e


@kernel
def sort_across(lines: Floats, at: int) -> Any:
    """Sort each value of a line with two neighbors to each side."""
    return sort_five(
        load(lines, at - 2), load(lines, at - 1), load(lines, at), load(lines, at + 1), load(lines, at + 2)
    )


@kernel
def middle(a: Any, b: Any, c: Any) -> Any:
    """Return the median of three values, lane by lane."""
    return high(low(a, b), low(high(a, b), c))


@kernel
def repeat_ends(lines: Floats, n_lines: int, span: int, w: int) -> None:
    """Repeat the first and the last value of each line twice beyond its ends."""
    for line in range(n_lines):
        at = 16 + line * span
        lines[at - 1] = lines[at]
        lines[at - 2] = lines[at]
        lines[at + w] = lines[at + w - 1]
        lines[at + w + 1] = lines[at + w - 1]


@kernel
def median_five(flow: Floats, to_flow: Floats, lines: Floats, level: Indices) -> None:
    """Median of both planes over windows of five by five, the border repeated."""
    w, h, stride = level[0], level[1], level[2]
    span, step = stride + 16, 2 * stride
    for plane in range(2):
        first = PAD + (2 + plane) * stride
        for y in range(h):
            r0, r1, r2 = first + max(y - 2, 0) * step, first + max(y - 1, 0) * step, first + y * step
            r3, r4 = first + min(y + 1, h - 1) * step, first + min(y + 2, h - 1) * step
            for x in range(0, w, 16):
                a, b, c, d, e = sort_five(
                    load(flow, r0 + x), load(flow, r1 + x), load(flow, r2 + x), load(flow, r3 + x), load(flow, r4 + x)
                )
                store(lines, 16 + x, a)
                store(lines, 16 + span + x, b)
                store(lines, 16 + 2 * span + x, c)
                store(lines, 16 + 3 * span + x, d)
                store(lines, 16 + 4 * span + x, e)
            repeat_ends(lines, 5, span, w)
            for x in range(0, w, 16):
                # Columns are sorted; once the rows are, the median is the middle one of three: the largest of the
                # diagonal below the anti-diagonal, the median of that, and the smallest of the diagonal above it.
                at = 16 + x
                _, _, _, a3, a4 = sort_across(lines, at)
                _, _, b2, b3, b4 = sort_across(lines, at + span)
                _, c1, c2, c3, _ = sort_across(lines, at + 2 * span)
                d0, d1, d2, _, _ = sort_across(lines, at + 3 * span)
                e0, e1, _, _, _ = sort_across(lines, at + 4 * span)
                lower = high(high(a3, b2), high(c1, d0))
                upper = low(low(b4, c3), low(d2, e1))
                _, _, between, _, _ = sort_five(a4, b3, c2, d1, e0)
                store(to_flow, r2 + x, middle(lower, upper, between))


@kernel
def median_three(flow: Floats, to_flow: Floats, lines: Floats, level: Indices) -> None:
    """Median of both planes over windows of three by three, the border repeated."""
    w, h, stride = level[0], level[1], level[2]
    span, step = stride + 16, 2 * stride
    for plane in range(2):
        first = PAD + (2 + plane) * stride
        for y in range(h):
            r0, r1, r2 = first + max(y - 1, 0) * step, first + y * step, first + min(y + 1, h - 1) * step
            for x in range(0, w, 16):
                a, b, c = load(flow, r0 + x), load(flow, r1 + x), load(flow, r2 + x)
                store(lines, 16 + x, low(low(a, b), c))
                store(lines, 16 + span + x, middle(a, b, c))
                store(lines, 16 + 2 * span + x, high(high(a, b), c))
            repeat_ends(lines, 3, span, w)
            for x in range(0, w, 16):
                at = 16 + x
                lower = high(high(load(lines, at - 1), load(lines, at)), load(lines, at + 1))
                at += span
                between = middle(load(lines, at - 1), load(lines, at), load(lines, at + 1))
                at += span
                upper = low(low(load(lines, at - 1), load(lines, at)), load(lines, at + 1))
                store(to_flow, r1 + x, middle(lower, between, upper))


@kernel
def choose_iterations(error: Any, threshold: Any, is_first: bool) -> Any:
    """How many iterations to run before the error is looked at again.

    One too many costs the pass again. The error falls to less than half with the second iteration and by some five
    to thirty percent with each later one.
    """
    if is_first:
        return 2
    if error < np.float32(1.25) * threshold:
        return 1
    if error < np.float32(2) * threshold:
        return 2
    if error < np.float32(4) * threshold:
        return 4
    return MOST_AT_ONCE


@kernel
def solve(
    flow: Floats,
    other_flow: Floats,
    dual: Floats,
    other_dual: Floats,
    image: Floats,
    quads: Floats,
    model: Floats,
    corners: NDArray[np.int32],
    lines: Floats,
    plan: Indices,
    constants: Reals,
    counts: Indices,
    level: Indices,
) -> None:
    """Estimate the flow of one level, in `flow` before and after.

    `counts` grows by the iterations that were needed and that were run, both times pixels, the warps and the medians
    times pixels.
    """
    w, h, stride = level[0], level[1], level[2]
    warps, inner, outer, median = plan[0], plan[1], plan[2], plan[3]
    threshold = np.float32(constants[3])
    # The errors of a sweep lie behind the lines of the warp and of the median.
    errors = lines[12 * stride :]
    for at in range(0, 2 * PAD + 4 * (h + 1) * stride, 16):
        store(dual, at, splat(_F0))
        store(other_dual, at, splat(_F0))
    now, then, p, q = flow, other_flow, dual, other_dual
    n_flips = 0
    for _ in range(warps):
        warp(now, image, quads, model, corners, lines, level)
        counts[2] += w * h
        error, n_outer = _ENDLESS, 0
        while error > threshold and n_outer < outer:
            if median > 1:
                if median == 5:
                    median_five(now, then, lines, level)
                else:
                    median_three(now, then, lines, level)
                now, then = then, now
                n_flips += 1
                counts[3] += w * h
            n_inner = 0
            while error > threshold and n_inner < inner:
                n = min(choose_iterations(error, threshold, n_inner == 0), inner - n_inner)
                sweep(now, p, model, then, q, n, constants, errors, level)
                counts[1] += n * w * h
                n_needed = 1
                while n_needed < n and errors[n_needed - 1] > threshold:
                    n_needed += 1
                if n_needed < n:
                    sweep(now, p, model, then, q, n_needed, constants, errors, level)
                    counts[1] += n_needed * w * h
                error = errors[n_needed - 1]
                now, then, p, q = then, now, q, p
                n_flips += 1
                n_inner += n_needed
                counts[0] += n_needed * w * h
            n_outer += 1
    if n_flips % 2:
        for at in range(0, 2 * PAD + 2 * (h + 1) * stride, 16):
            store(flow, at, load(other_flow, at))


_U8, _F32, _F64 = types.uint8[::1], types.float32[::1], types.float64[::1]
_I32, _I64, _INT, _REAL = types.int32[::1], types.int64[::1], types.int64, types.float64

KERNELS = (
    (take_frame, (_U8, _F32, _I64)),
    (
        resize,
        (_F32, _INT, _INT, _F32, _INT, _INT, _I32, _F32, _I64, _F32, _REAL, _F32, _I64, _I64),
    ),
    (differentiate, (_F32, _F32, _I64)),
    (solve, (_F32, _F32, _F32, _F32, _F32, _F32, _F32, _I32, _F32, _I64, _F64, _I64, _I64)),
)
