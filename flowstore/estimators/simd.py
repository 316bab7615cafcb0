"""Sixteen-lane vectors for Numba: the values that the kernels compute with.

Owns four Numba types, each one LLVM vector: ``lanes_f32`` (``<16 x float>``), ``lanes_f64``
(``<16 x double>``), ``lanes_i32`` (``<16 x i32>``) and ``lanes_mask`` (``<16 x i1>``), with ``+ - * /``,
comparisons, ``& |`` and the functions below. They exist only inside jitted functions. LLVM lowers them to
what the machine has: one register with AVX-512, two with AVX2, four with SSE or NEON. No code here is for
one machine.

Why: LLVM vectorizes an ordinary Numba loop only while it stays small, and then with a run-time check for each
pair of arrays. A loop with five sums that stay in registers and twenty unaligned loads is out of its reach.
Said in vectors, the loop is what it says.

Offsets count elements of a one-dimensional C-contiguous array. Nothing checks bounds: whoever calls keeps to
arrays that are padded at both ends. Numba's cache on disk looks at the file of the kernel alone: after a
change here in a working copy, touch each ``kernels.py``.

Imports numba and llvmlite, and of flowstore the number of lanes.
"""

import operator
from collections.abc import Callable
from typing import Any, ClassVar

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models
from numba.core.datamodel.registry import register_default
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic as numba_intrinsic
from numba.extending import lower_builtin

from flowstore.estimators.arrays import N_LANES

# Numba annotates some of what it exports; these it does not.
_declare: Any = cgutils.get_or_insert_function
_infer_global: Any = infer_global
_lower_builtin: Any = lower_builtin
_signature: Any = signature

_F32 = ir.VectorType(ir.FloatType(), N_LANES)
_F64 = ir.VectorType(ir.DoubleType(), N_LANES)
_I32 = ir.VectorType(ir.IntType(32), N_LANES)
_U8 = ir.VectorType(ir.IntType(8), N_LANES)
_MASK = ir.VectorType(ir.IntType(1), N_LANES)


class LanesF32(types.Type):
    """Sixteen float32."""

    def __init__(self) -> None:
        super().__init__(name="lanes_f32")


class LanesF64(types.Type):
    """Sixteen float64."""

    def __init__(self) -> None:
        super().__init__(name="lanes_f64")


class LanesI32(types.Type):
    """Sixteen int32."""

    def __init__(self) -> None:
        super().__init__(name="lanes_i32")


class LanesMask(types.Type):
    """Sixteen booleans."""

    def __init__(self) -> None:
        super().__init__(name="lanes_mask")


lanes_f32 = LanesF32()
lanes_f64 = LanesF64()
lanes_i32 = LanesI32()
lanes_mask = LanesMask()


def _intrinsic(function: Callable[..., Any]) -> Any:
    # Typed so that callers see a function of values, not of Numba's typing context.
    return numba_intrinsic(function)


def _register_model(kind: type, vector: ir.VectorType) -> None:
    class Model(models.PrimitiveModel):
        def __init__(self, dmm: Any, fe_type: Any) -> None:
            model: Any = super()
            model.__init__(dmm, fe_type, vector)

    register_default(kind)(Model)


for _kind, _vector in ((LanesF32, _F32), (LanesF64, _F64), (LanesI32, _I32), (LanesMask, _MASK)):
    _register_model(_kind, _vector)


def _splat_value(builder: Any, value: Any, vector: ir.VectorType) -> Any:
    one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
    mask = ir.Constant(ir.VectorType(ir.IntType(32), N_LANES), [0] * N_LANES)
    return builder.shuffle_vector(one, ir.Constant(vector, ir.Undefined), mask)


def _register_operator(function: Any, cases: list[tuple[Any, Any, Any]]) -> None:
    signatures = [_signature(result, kind, kind) for kind, result, _ in cases]

    class Template(ConcreteTemplate):
        key = function
        cases: ClassVar[list[Any]] = signatures

    _infer_global(function)(Template)
    for kind, _result, emit in cases:

        def lower(context: Any, builder: Any, sig: Any, args: Any, emit: Any = emit) -> Any:
            return emit(builder, *args)

        _lower_builtin(function, kind, kind)(lower)


def _compare(sign: str) -> list[tuple[Any, Any, Any]]:
    def floats(builder: Any, a: Any, b: Any) -> Any:
        return builder.fcmp_ordered(sign, a, b)

    def integers(builder: Any, a: Any, b: Any) -> Any:
        return builder.icmp_signed(sign, a, b)

    return [(lanes_f32, lanes_mask, floats), (lanes_i32, lanes_mask, integers)]


def _arithmetic(float_op: str, int_op: str | None) -> list[tuple[Any, Any, Any]]:
    def floats(builder: Any, a: Any, b: Any) -> Any:
        return getattr(builder, float_op)(a, b)

    def integers(builder: Any, a: Any, b: Any) -> Any:
        return getattr(builder, str(int_op))(a, b)

    cases = [(lanes_f32, lanes_f32, floats), (lanes_f64, lanes_f64, floats)]
    return cases + ([(lanes_i32, lanes_i32, integers)] if int_op else [])


_register_operator(operator.add, _arithmetic("fadd", "add"))
_register_operator(operator.sub, _arithmetic("fsub", "sub"))
_register_operator(operator.mul, _arithmetic("fmul", "mul"))
_register_operator(operator.truediv, _arithmetic("fdiv", None))
_register_operator(operator.and_, [(lanes_mask, lanes_mask, lambda builder, a, b: builder.and_(a, b))])
_register_operator(operator.or_, [(lanes_mask, lanes_mask, lambda builder, a, b: builder.or_(a, b))])
for _function, _sign in (
    (operator.eq, "=="),
    (operator.lt, "<"),
    (operator.le, "<="),
    (operator.gt, ">"),
    (operator.ge, ">="),
):
    _register_operator(_function, _compare(_sign))


def _element_pointer(context: Any, builder: Any, array_type: Any, array: Any, offset: Any, vector: Any) -> Any:
    # No wrap-around and no bounds check: the callers keep to arrays whose ends are padded.
    data = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [offset]), vector.as_pointer())


def _call(builder: Any, name: str, result: Any, args: list[Any]) -> Any:
    function = _declare(builder.module, ir.FunctionType(result, [arg.type for arg in args]), name)
    return builder.call(function, args)


@_intrinsic
def load(typingctx: Any, array: Any, offset: Any) -> Any:
    """Load ``array[offset:offset + 16]`` of a one-dimensional float32 or float64 array."""
    vector, result = {types.float32: (_F32, lanes_f32), types.float64: (_F64, lanes_f64)}[array.dtype]

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], vector)
        return builder.load(pointer, align=array.dtype.bitwidth // 8)

    return result(array, types.intp), codegen  # type: ignore[operator, unused-ignore]


@_intrinsic
def load_bytes(typingctx: Any, array: Any, offset: Any) -> Any:
    """Load ``array[offset:offset + 16]`` of a one-dimensional uint8 array, as float32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], _U8)
        return builder.uitofp(builder.load(pointer, align=1), _F32)

    return lanes_f32(array, types.intp), codegen


@_intrinsic
def load_indices(typingctx: Any, array: Any, offset: Any) -> Any:
    """Load ``array[offset:offset + 16]`` of a one-dimensional int32 array."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], _I32)
        return builder.load(pointer, align=4)

    return lanes_i32(array, types.intp), codegen


@_intrinsic
def store(typingctx: Any, array: Any, offset: Any, value: Any) -> Any:
    """Put sixteen values at ``array[offset:offset + 16]``."""
    vector = {lanes_f32: _F32, lanes_f64: _F64}[value]

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], vector)
        builder.store(args[2], pointer, align=array.dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@_intrinsic
def store_where(typingctx: Any, array: Any, offset: Any, value: Any, mask: Any) -> Any:
    """Put the lanes of float32 `value` where `mask` holds at ``array[offset:offset + 16]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], _F32)
        align = ir.Constant(ir.IntType(32), 4)
        function = _declare(
            builder.module,
            ir.FunctionType(ir.VoidType(), [_F32, _F32.as_pointer(), ir.IntType(32), _MASK]),
            f"llvm.masked.store.v{N_LANES}f32.p0",
        )
        builder.call(function, [args[2], pointer, align, args[3]])
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes_f32, lanes_mask), codegen


@_intrinsic
def gather(typingctx: Any, array: Any, offset: Any, indices: Any, mask: Any) -> Any:
    """Load ``array[offset + indices]`` of a float32 array in the lanes where `mask` holds, zero elsewhere."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        base = builder.gep(data, [args[1]])
        wide = builder.sext(args[2], ir.VectorType(ir.IntType(64), N_LANES))
        # llvmlite's builder has no vector of pointers: make the scalar instruction and widen it.
        pointers = builder.gep(base, [ir.Constant(ir.IntType(64), 0)])
        pointers.operands = [base, wide]
        pointers.indices = [wide]
        pointers.type = ir.VectorType(base.type, N_LANES)
        align = ir.Constant(ir.IntType(32), 4)
        return _call(
            builder,
            f"llvm.masked.gather.v{N_LANES}f32.v{N_LANES}p0",
            _F32,
            [pointers, align, args[3], ir.Constant(_F32, None)],
        )

    return lanes_f32(array, types.intp, lanes_i32, lanes_mask), codegen


@_intrinsic
def splat(typingctx: Any, value: Any) -> Any:
    """Put one float32, float64 or int32 in all sixteen lanes."""
    vector, result = {
        types.float32: (_F32, lanes_f32),
        types.float64: (_F64, lanes_f64),
        types.int32: (_I32, lanes_i32),
    }[value]

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat_value(builder, args[0], vector)

    return result(value), codegen  # type: ignore[operator, unused-ignore]


@_intrinsic
def fma(typingctx: Any, a: Any, b: Any, c: Any) -> Any:
    """Return ``a * b + c``, rounded once where the machine can."""
    vector, bits = {lanes_f32: (_F32, 32), lanes_f64: (_F64, 64)}[a]

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, f"llvm.fmuladd.v{N_LANES}f{bits}", vector, list(args))

    return a(a, a, a), codegen


@_intrinsic
def floor(typingctx: Any, value: Any) -> Any:
    """Return the largest whole number not above each lane, as float32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, f"llvm.floor.v{N_LANES}f32", _F32, list(args))

    return lanes_f32(lanes_f32), codegen


@_intrinsic
def select(typingctx: Any, mask: Any, if_true: Any, if_false: Any) -> Any:
    """Take, lane by lane, `if_true` where `mask` holds, else `if_false`."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return if_true(lanes_mask, if_true, if_true), codegen


@_intrinsic
def to_f64(typingctx: Any, value: Any) -> Any:
    """Convert float32 lanes to float64."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fpext(args[0], _F64)

    return lanes_f64(lanes_f32), codegen


@_intrinsic
def to_f32(typingctx: Any, value: Any) -> Any:
    """Convert float64 lanes to float32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptrunc(args[0], _F32)

    return lanes_f32(lanes_f64), codegen


@_intrinsic
def to_i32(typingctx: Any, value: Any) -> Any:
    """Convert float32 lanes to int32, toward zero; each must fit."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.fptosi(args[0], _I32)

    return lanes_i32(lanes_f32), codegen


@_intrinsic
def smallest(typingctx: Any, value: Any) -> Any:
    """Return the smallest of sixteen int32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, f"llvm.vector.reduce.smin.v{N_LANES}i32", ir.IntType(32), list(args))

    return types.int32(lanes_i32), codegen


@_intrinsic
def largest(typingctx: Any, value: Any) -> Any:
    """Return the largest of sixteen int32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, f"llvm.vector.reduce.smax.v{N_LANES}i32", ir.IntType(32), list(args))

    return types.int32(lanes_i32), codegen


@_intrinsic
def lane_bits(typingctx: Any, mask: Any) -> Any:
    """Return the mask as the low sixteen bits of a number; bit 0 is lane 0."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.zext(builder.bitcast(args[0], ir.IntType(N_LANES)), ir.IntType(64))

    return types.int64(lanes_mask), codegen


@_intrinsic
def lane_numbers(typingctx: Any) -> Any:
    """Return the vector 0, 1, ..., 15 as float32."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(_F32, [float(lane) for lane in range(N_LANES)])

    return lanes_f32(), codegen


@_intrinsic
def sqrt(typingctx: Any, value: Any) -> Any:
    """Return the square root of each lane."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _call(builder, "llvm.sqrt.v16f32", _F32, list(args))

    return lanes_f32(lanes_f32), codegen


@_intrinsic
def low(typingctx: Any, a: Any, b: Any) -> Any:
    """Return the smaller of each two lanes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered("<", *args), *args)

    return lanes_f32(lanes_f32, lanes_f32), codegen


@_intrinsic
def high(typingctx: Any, a: Any, b: Any) -> Any:
    """Return the larger of each two lanes."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(builder.fcmp_ordered(">", *args), *args)

    return lanes_f32(lanes_f32, lanes_f32), codegen


@_intrinsic
def total(typingctx: Any, value: Any) -> Any:
    """Return the sum of sixteen float32, pairwise."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value, width = args[0], 16
        while width > 1:
            width //= 2
            mask = [ir.Constant(ir.IntType(32), i) for i in range(width)]
            mask2 = [ir.Constant(ir.IntType(32), i + width) for i in range(width)]
            kind = ir.VectorType(ir.IntType(32), width)
            undefined = ir.Constant(value.type, ir.Undefined)
            a = builder.shuffle_vector(value, undefined, ir.Constant(kind, mask))
            b = builder.shuffle_vector(value, undefined, ir.Constant(kind, mask2))
            value = builder.fadd(a, b)
        return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

    return types.float32(lanes_f32), codegen


def _indices(values: list[int]) -> Any:
    return ir.Constant(ir.VectorType(ir.IntType(32), len(values)), values)


@_intrinsic
def load_each_four_times(typingctx: Any, array: Any, offset: Any) -> Any:
    """Load four float32 and repeat each four times."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        four = ir.VectorType(ir.FloatType(), 4)
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], four)
        value = builder.load(pointer, align=4)
        return builder.shuffle_vector(value, ir.Constant(four, ir.Undefined), _indices([i // 4 for i in range(16)]))

    return lanes_f32(array, types.intp), codegen


@_intrinsic
def store_sum_of_fours(typingctx: Any, array: Any, offset: Any, value: Any) -> Any:
    """Put lane i + lane i + 4 + lane i + 8 + lane i + 12, for i of 0 to 3, at ``array[offset:offset + 4]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        four = ir.VectorType(ir.FloatType(), 4)
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], four)
        value = args[2]
        for width in (8, 4):
            undefined = ir.Constant(value.type, ir.Undefined)
            a = builder.shuffle_vector(value, undefined, _indices(list(range(width))))
            b = builder.shuffle_vector(value, undefined, _indices(list(range(width, 2 * width))))
            value = builder.fadd(a, b)
        builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes_f32), codegen


@_intrinsic
def store_interleaved(typingctx: Any, array: Any, offset: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Put ``a[0] b[0] c[0] d[0] a[1] ...`` at ``array[offset:offset + 64]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        wide = ir.VectorType(ir.FloatType(), 64)
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], wide)
        join = _indices(list(range(32)))
        ab = builder.shuffle_vector(args[2], args[3], join)
        cd = builder.shuffle_vector(args[4], args[5], join)
        order = [16 * part + i for i in range(16) for part in range(4)]
        value = builder.shuffle_vector(ab, cd, _indices(order))
        builder.store(value, pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes_f32, lanes_f32, lanes_f32, lanes_f32), codegen


def _every_fourth(part: int) -> Any:
    def every_fourth(typingctx: Any, array: Any, offset: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            wide = ir.VectorType(ir.FloatType(), 64)
            pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], wide)
            value = builder.load(pointer, align=4)
            undefined = ir.Constant(wide, ir.Undefined)
            return builder.shuffle_vector(value, undefined, _indices([4 * i + part for i in range(16)]))

        return lanes_f32(array, types.intp), codegen

    every_fourth.__name__ = f"every_fourth_{part}"
    return _intrinsic(every_fourth)


first_of_four, second_of_four, third_of_four = _every_fourth(0), _every_fourth(1), _every_fourth(2)


@_intrinsic
def store_indices(typingctx: Any, array: Any, offset: Any, value: Any) -> Any:
    """Put sixteen int32 at ``array[offset:offset + 16]``."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1], _I32)
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, lanes_i32), codegen
