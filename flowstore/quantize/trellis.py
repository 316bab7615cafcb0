"""The forward pass of `flowstore.quantize.error_bounded` over one row of both components, for Numba.

One LLVM loop over the pixels, each component's eight costs in one vector register. x and y do not wait for each other,
so both together take the time of one. A Numba loop of scalars takes three times as long.

Imports numba and llvmlite only.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic as numba_intrinsic

N_STATES = 8
_I8, _I16, _I32, _I64 = (ir.IntType(bits) for bits in (8, 16, 32, 64))
_BYTES, _COSTS = ir.VectorType(_I8, N_STATES), ir.VectorType(_I16, N_STATES)
_STATE_BITS = 3
# Numba annotates some of what it exports; this it does not.
_declare: Any = cgutils.get_or_insert_function


def _intrinsic(function: Any) -> Any:
    # Typed so that callers see a function of values, not of Numba's typing context.
    return numba_intrinsic(function)


def _all(value: int) -> Any:
    return ir.Constant(_COSTS, [value] * N_STATES)


def _emit_pixel(builder: Any, x: Any, penalties: list[Any], start: Any, costs: Any, best: Any, marks: Any) -> Any:
    """Emit one component's step to pixel `x`; return its costs there and the state of the least."""
    column = ir.Constant(_BYTES, [255] * N_STATES)
    for state, row in enumerate(penalties):
        column = builder.insert_element(column, builder.load(builder.gep(row, [x])), ir.Constant(_I32, state))
    goes_on = builder.icmp_unsigned("<=", costs, start)
    reached = builder.add(
        builder.select(goes_on, costs, start), builder.shl(builder.zext(column, _COSTS), _all(_STATE_BITS))
    )
    least = builder.call(
        _declare(builder.module, ir.FunctionType(_I16, [_COSTS]), f"llvm.vector.reduce.umin.v{N_STATES}i16"), [reached]
    )
    bits = builder.zext(builder.bitcast(goes_on, _I8), _I16)
    mark = builder.or_(builder.shl(bits, ir.Constant(_I16, _STATE_BITS)), best)
    builder.store(mark, builder.gep(marks, [x]), align=2)
    state = builder.and_(least, ir.Constant(_I16, N_STATES - 1))
    undefined = ir.Constant(_COSTS, ir.Undefined)
    one = builder.insert_element(undefined, builder.sub(least, state), ir.Constant(_I32, 0))
    base = builder.shuffle_vector(one, undefined, ir.Constant(ir.VectorType(_I32, N_STATES), [0] * N_STATES))
    return builder.sub(reached, base), state


@_intrinsic
def best_states(typingctx: Any, penalties: Any, first: Any, stride: Any, width: Any, start: Any, marks: Any) -> Any:
    """Run over a row of x and y; return the best last state of x, and eight times that of y added.

    `penalties`: uint8 array (2·7·stride,), of each component's seven states. `start`: uint16 array (8,), costs of
    beginning each state, the state in the lowest three bits. `marks`: uint16 array (2·width,), filled for each
    pixel: the best state before it, and above its three bits one for each state that goes on.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        all_penalties, start_data, all_marks = (
            context.make_array(sig.args[number])(context, builder, args[number]).data for number in (0, 4, 5)
        )
        _, first, stride, width, _, _ = args

        def row(data: Any, number: int, distance: Any) -> Any:
            return builder.gep(data, [builder.mul(ir.Constant(_I64, number), distance)])

        origin, n_rows = builder.gep(all_penalties, [first]), N_STATES - 1
        penalties = [[row(origin, n_rows * plane + state, stride) for state in range(n_rows)] for plane in (0, 1)]
        marks = [row(all_marks, plane, width) for plane in (0, 1)]
        start = builder.load(builder.bitcast(start_data, _COSTS.as_pointer()), align=2)
        before, loop, after = builder.block, builder.append_basic_block("row"), builder.append_basic_block("end")
        builder.branch(loop)
        builder.position_at_end(loop)
        x = builder.phi(_I64)
        x.add_incoming(ir.Constant(_I64, 0), before)
        carried = [(builder.phi(_COSTS), builder.phi(_I16)) for _ in (0, 1)]
        results = []
        for (costs, best), rows, mark in zip(carried, penalties, marks, strict=True):
            costs.add_incoming(start, before)
            best.add_incoming(ir.Constant(_I16, N_STATES - 1), before)
            results.append(_emit_pixel(builder, x, rows, start, costs, best, mark))
        for (costs, best), (new_costs, new_best) in zip(carried, results, strict=True):
            costs.add_incoming(new_costs, loop)
            best.add_incoming(new_best, loop)
        following = builder.add(x, ir.Constant(_I64, 1))
        x.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, width), loop, after)
        builder.position_at_end(after)
        (_, last_x), (_, last_y) = results
        return builder.zext(builder.or_(last_x, builder.shl(last_y, ir.Constant(_I16, _STATE_BITS))), _I64)

    return types.int64(penalties, types.intp, types.intp, types.intp, start, marks), codegen
