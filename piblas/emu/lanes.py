"""Vectors of 16 elements in compiled code, and the arithmetic of both ALUs on them.

A :data:`V16` is one LLVM value ``<16 x i32>``, so an operation is a few SIMD instructions on any
host.  Everything is exact on every host, and no fast-math flag is set.

Float rules (measured; the guide is silent): fadd, fsub and fmul round toward zero, take operands
with exponent 0 as +0, return +0 for a result with exponent below 1, and treat exponent 255 as an
infinity whatever the mantissa.  No NaN is ever produced.

An x86-64 processor does all of that but the overflows and the sign of zero itself, in the mode that
:func:`chip_mode` switches to (:data:`HAS_CHIP_MODE`): toward zero, denormals flushed.  Adding +0
then leaves the right zero, and a second block sorts out what is as large as the largest number.
On other processors:

- fadd: the float32 sum ``s``, rounded to nearest, and its exact error ``e`` (Knuth's TwoSum).
  Where ``e`` points toward zero, ``s`` was rounded away from it and its pattern is one too large.
- fmul: the product is exact in float64; clearing the low 29 bits of the mantissa leaves 24.
- Where an exponent is 255, a second block sorts out infinities.
"""

from __future__ import annotations

import platform

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel, register_default
from numba.extending import intrinsic

from .flat import Flat

__all__ = [
    "HAS_CHIP_MODE", "chip_mode", "nearest_mode", "set_mode", "V16", "load", "store", "splat",
    "select", "first", "word_offsets", "mask_zero", "mask_negative", "mask_positive", "mask_below",
    "mask_differ", "mask_float_greater", "fadd", "fsub", "fmul", "fadd_nearest", "fmul_nearest",
    "fmin", "fmax", "fminabs", "fmaxabs", "ftoi", "itof", "add", "sub", "shr", "asr", "ror", "shl",
    "imin", "imax", "band", "bor", "bxor", "bnot", "clz", "v8adds", "v8subs", "v8muld", "v8min",
    "v8max", "mul24",
]  # fmt: skip

_I1, _I8, _I16 = ir.IntType(1), ir.IntType(8), ir.IntType(16)
_I32, _I64 = ir.IntType(32), ir.IntType(64)
_LANES = 16
_V32 = ir.VectorType(_I32, _LANES)
_V64 = ir.VectorType(_I64, _LANES)
_VF32 = ir.VectorType(ir.FloatType(), _LANES)
_VF64 = ir.VectorType(ir.DoubleType(), _LANES)
_VI1 = ir.VectorType(_I1, _LANES)
_BYTES = ir.VectorType(_I8, 4 * _LANES)
_HALVES = ir.VectorType(_I16, 4 * _LANES)

_EXPONENT = 0x7F800000
_SIGN = 0x80000000
_LARGEST = 0x7F7FFFFF


class _V16(types.Type):
    def __init__(self) -> None:
        super().__init__(name="V16")


V16 = _V16()


@register_default(_V16)
class _V16Model(PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _V32)


def _all(vector_type, value):
    return ir.Constant(vector_type, [value] * vector_type.count)


def _const(value):
    return _all(_V32, value)


def _bits_of(builder, mask):
    """<16 x i1> -> i64 with bit e = element e."""
    return builder.zext(builder.bitcast(mask, _I16), _I64)


def _any(builder, mask):
    word = builder.bitcast(mask, _I16)
    return builder.icmp_unsigned("!=", word, ir.Constant(_I16, 0))


def _call(builder, name, result, args):
    """Call an LLVM intrinsic function."""
    fnty = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, fnty, name), args)


def _element_pointer(context, builder, array_type, array, index):
    if not isinstance(array_type, Flat):
        array = context.make_array(array_type)(context, builder, array).data
    return builder.bitcast(builder.gep(array, [index]), _V32.as_pointer())


# --- moving vectors ------------------------------------------------------------------------------


@intrinsic
def load(typingctx, array, index):
    """The 16 words of a flat uint32 array that start at ``index``."""
    sig = V16(array, types.int64)

    def codegen(context, builder, sig, args):
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1])
        return builder.load(pointer, align=4)

    return sig, codegen


@intrinsic
def store(typingctx, array, index, value):
    """Put a vector into a flat uint32 array at ``index``."""
    sig = types.void(array, types.int64, V16)

    def codegen(context, builder, sig, args):
        pointer = _element_pointer(context, builder, sig.args[0], args[0], args[1])
        builder.store(args[2], pointer, align=4)
        return context.get_dummy_value()

    return sig, codegen


@intrinsic
def splat(typingctx, value):
    """A vector whose elements all are the low 32 bits of an integer."""

    def codegen(context, builder, sig, args):
        word = builder.trunc(args[0], _I32)
        empty = ir.Constant(_V32, ir.Undefined)
        one = builder.insert_element(empty, word, ir.Constant(_I32, 0))
        return builder.shuffle_vector(one, empty, _all(ir.VectorType(_I32, _LANES), 0))

    return V16(types.int64), codegen


@intrinsic
def select(typingctx, mask, yes, no):
    """Element e of ``yes`` where bit e of ``mask`` is set, else of ``no``."""

    def codegen(context, builder, sig, args):
        bits = builder.bitcast(builder.trunc(args[0], _I16), _VI1)
        return builder.select(bits, args[1], args[2])

    return V16(types.int64, V16, V16), codegen


@intrinsic
def first(typingctx, value):
    """Element 0 as an unsigned integer."""

    def codegen(context, builder, sig, args):
        return builder.zext(builder.extract_element(args[0], ir.Constant(_I32, 0)), _I64)

    return types.int64(V16), codegen


@intrinsic
def word_offsets(typingctx):
    """The addresses 0, 4, ..., 60 of 16 words in a row."""

    def codegen(context, builder, sig, args):
        return ir.Constant(_V32, [4 * lane for lane in range(_LANES)])

    return V16(), codegen


# --- element-wise functions from small builders --------------------------------------------------


def _vector_function(nargs, build, doc):
    """An intrinsic V16 x nargs -> V16 whose code ``build(builder, *args)`` makes."""

    def codegen(context, builder, sig, args):
        return build(builder, *args)

    if nargs == 1:

        def typer(typingctx, a):
            return V16(V16), codegen

    else:

        def typer(typingctx, a, b):
            return V16(V16, V16), codegen

    typer.__doc__ = doc
    typer.__name__ = build.__name__.lstrip("_")
    return intrinsic(typer)


def _mask_function(nargs, build, doc):
    """An intrinsic V16 x nargs -> int whose bits come from ``build``'s <16 x i1>."""

    def codegen(context, builder, sig, args):
        return _bits_of(builder, build(builder, *args))

    if nargs == 1:

        def typer(typingctx, a):
            return types.int64(V16), codegen

    else:

        def typer(typingctx, a, b):
            return types.int64(V16, V16), codegen

    typer.__doc__ = doc
    typer.__name__ = build.__name__.lstrip("_")
    return intrinsic(typer)


def _key(builder, v):
    """The order of the float comparisons: the magnitude pattern, negated under a sign bit."""
    magnitude = builder.and_(v, _const(0x7FFFFFFF))
    negative = builder.icmp_signed("<", v, _const(0))
    return builder.select(negative, builder.neg(magnitude), magnitude)


def _float_greater(builder, a, b):
    return builder.icmp_signed(">", _key(builder, a), _key(builder, b))


mask_zero = _mask_function(
    1, lambda b, v: b.icmp_unsigned("==", v, _const(0)), "Bit e: element e is zero."
)
mask_negative = _mask_function(
    1, lambda b, v: b.icmp_signed("<", v, _const(0)), "Bit e: element e has bit 31 set."
)
mask_positive = _mask_function(
    1, lambda b, v: b.icmp_signed(">", v, _const(0)), "Bit e: element e is > 0 as an int32."
)
mask_below = _mask_function(
    2, lambda b, x, y: b.icmp_unsigned("<", x, y), "Bit e: element e of a < that of b, unsigned."
)
mask_differ = _mask_function(
    2, lambda b, x, y: b.icmp_unsigned("!=", x, y), "Bit e: the elements e differ."
)
mask_float_greater = _mask_function(
    2, _float_greater, "Bit e: element e of a > that of b in the order of fmin and fmax."
)


# --- the processor's rounding --------------------------------------------------------------------

HAS_CHIP_MODE = platform.machine().lower() in ("x86_64", "amd64")
"""Whether the processor can be told to round and flush as the chip does."""

# MXCSR.  No exception traps; then: flush results, round toward zero, flush operands.
_NEAREST = 0x1F80
_CHIP = _NEAREST | 0x8000 | 0x6000 | 0x0040


def _mode_function(mode, doc):
    """An intrinsic that sets MXCSR, to its argument if ``mode`` is None, and returns the old."""

    def codegen(context, builder, sig, args):
        if not HAS_CHIP_MODE:
            return ir.Constant(_I64, 0)
        place = cgutils.alloca_once(builder, _I32)
        pointer = builder.bitcast(place, _I8.as_pointer())
        _call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [pointer])
        before = builder.load(place)
        new = builder.trunc(args[0], _I32) if mode is None else ir.Constant(_I32, mode)
        builder.store(new, place)
        _call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [pointer])
        return builder.zext(before, _I64)

    if mode is None:

        def typer(typingctx, before):
            return types.int64(types.int64), codegen

    else:

        def typer(typingctx):
            return types.int64(), codegen

    typer.__doc__ = doc
    return intrinsic(typer)


chip_mode = _mode_function(_CHIP, "Round and flush as the chip does; returns the mode before.")
nearest_mode = _mode_function(_NEAREST, "Round to nearest; returns the mode before.")
set_mode = _mode_function(None, "Back to a mode that one of these returned.")


# --- float arithmetic ----------------------------------------------------------------------------


def _exponent_0(builder, v):
    return builder.icmp_unsigned("==", builder.and_(v, _const(_EXPONENT)), _const(0))


def _flush(builder, v):
    """Patterns with exponent 0 become +0."""
    return builder.select(_exponent_0(builder, v), _const(0), v)


def _exponent_255(builder, v):
    return builder.icmp_unsigned("==", builder.and_(v, _const(_EXPONENT)), _const(_EXPONENT))


def _infinity(builder, v):
    """Infinity with the sign of v."""
    return builder.or_(builder.and_(v, _const(_SIGN)), _const(_EXPONENT))


def _rarely(builder, name, mask, plain, sort_out):
    """``plain``; if any element of a mask is set, what ``sort_out()`` builds in a block aside."""
    before = builder.block
    rare = builder.append_basic_block(name)
    done = builder.append_basic_block(name + ".done")
    builder.cbranch(_any(builder, mask), rare, done)
    builder.position_at_end(rare)
    result = sort_out()
    builder.branch(done)
    builder.position_at_end(done)
    phi = builder.phi(_V32)
    phi.add_incoming(plain, before)
    phi.add_incoming(result, rare)
    return phi


def _below(builder, wide, limit):
    """Whether elements of a float64 vector are of a magnitude below a limit; NaNs are not."""
    magnitude = builder.and_(builder.bitcast(wide, _V64), _all(_V64, (1 << 63) - 1))
    return builder.fcmp_ordered("<", builder.bitcast(magnitude, _VF64), _all(_VF64, limit))


def _fadd_nearest(builder, a, b):
    a_bits, b_bits = _flush(builder, a), _flush(builder, b)
    x, y = builder.bitcast(a_bits, _VF32), builder.bitcast(b_bits, _VF32)
    total = builder.fadd(x, y)
    y_part = builder.fsub(total, x)
    x_part = builder.fsub(total, y_part)
    error = builder.fadd(builder.fsub(x, x_part), builder.fsub(y, y_part))
    total_bits, error_bits = builder.bitcast(total, _V32), builder.bitcast(error, _V32)
    opposed = builder.icmp_signed("<", builder.xor(total_bits, error_bits), _const(0))
    inexact = builder.icmp_unsigned(
        "!=", builder.and_(error_bits, _const(0x7FFFFFFF)), _const(0)
    )
    away = builder.and_(opposed, inexact)
    plain = _flush(builder, builder.add(total_bits, builder.sext(away, _V32)))

    infinite = _exponent_255(builder, total_bits)

    def sort_out():
        # Both operands of a finite overflow are multiples of 2**80 below 2**128, so their sum is
        # exact in float64 and tells whether truncation stays below 2**128.
        exact = builder.fadd(builder.fpext(x, _VF64), builder.fpext(y, _VF64))
        fits = _below(builder, exact, 2.0**128)
        sign = builder.and_(total_bits, _const(_SIGN))
        limit = builder.select(fits, _const(_LARGEST), _const(_EXPONENT))
        result = builder.select(infinite, builder.or_(sign, limit), plain)
        return _add_infinities(builder, a, b, result)

    return _rarely(builder, "fadd.infinite", infinite, plain, sort_out)


def _truncate_double(builder, wide):
    """float64 -> float32 toward zero (24 bits of mantissa); too small gives +0, too large inf."""
    bits = builder.and_(builder.bitcast(wide, _V64), _all(_V64, (1 << 64) - (1 << 29)))
    wide = builder.bitcast(bits, _VF64)
    narrow = builder.bitcast(builder.fptrunc(wide, _VF32), _V32)
    return builder.select(_below(builder, wide, 2.0**-126), _const(0), narrow)


def _fmul_nearest(builder, a, b):
    a_bits, b_bits = _flush(builder, a), _flush(builder, b)
    wide = builder.fmul(
        builder.fpext(builder.bitcast(a_bits, _VF32), _VF64),
        builder.fpext(builder.bitcast(b_bits, _VF32), _VF64),
    )
    plain = _truncate_double(builder, wide)
    return _rarely(
        builder, "fmul.infinite", _exponent_255(builder, plain), plain,
        lambda: _multiply_infinities(builder, a, b, plain),
    )  # fmt: skip


def _in_chip_mode(name, compute, special):
    """A float operation in chip mode.

    ``compute`` is that of the processor; on float64 it says whether a result as large as the
    largest number is truncated or an overflow.  ``special`` decides where an operand is infinite.
    """

    def build(builder, a, b):
        x, y = builder.bitcast(a, _VF32), builder.bitcast(b, _VF32)
        result = compute(builder, x, y)
        plain = builder.bitcast(builder.fadd(result, _all(_VF32, 0.0)), _V32)
        large = builder.icmp_signed(">=", _magnitude(builder, plain), _const(_LARGEST))

        def sort_out():
            exact = compute(builder, builder.fpext(x, _VF64), builder.fpext(y, _VF64))
            fits = _below(builder, exact, 2.0**128)
            finite = builder.select(fits, plain, _infinity(builder, plain))
            return special(builder, a, b, builder.select(large, finite, plain))

        return _rarely(builder, name + ".large", large, plain, sort_out)

    build.__name__ = name
    return build


def _add_infinities(builder, a, b, result):
    result = builder.select(_exponent_255(builder, a), _infinity(builder, a), result)
    return builder.select(_exponent_255(builder, b), _infinity(builder, b), result)


def _multiply_infinities(builder, a, b, result):
    infinite = builder.or_(_exponent_255(builder, a), _exponent_255(builder, b))
    result = builder.select(infinite, _infinity(builder, builder.xor(a, b)), result)
    zero = builder.or_(_exponent_0(builder, a), _exponent_0(builder, b))
    return builder.select(zero, _const(0), result)


if HAS_CHIP_MODE:
    _fadd = _in_chip_mode("_fadd", ir.IRBuilder.fadd, _add_infinities)
    _fmul = _in_chip_mode("_fmul", ir.IRBuilder.fmul, _multiply_infinities)
else:
    _fadd, _fmul = _fadd_nearest, _fmul_nearest


def _fsub(builder, a, b):
    return _fadd(builder, a, builder.xor(b, _const(_SIGN)))


def _magnitude(builder, v):
    return builder.and_(v, _const(0x7FFFFFFF))


def _fmin(builder, a, b):
    return builder.select(_float_greater(builder, a, b), b, a)


def _fmax(builder, a, b):
    return builder.select(_float_greater(builder, a, b), a, b)


def _fminabs(builder, a, b):
    return _fmin(builder, _magnitude(builder, a), _magnitude(builder, b))


def _fmaxabs(builder, a, b):
    return _fmax(builder, _magnitude(builder, a), _magnitude(builder, b))


def _ftoi(builder, a):
    """Toward zero; 0 where the value fits no int32 (measured for infinities and 2**97)."""
    x = builder.bitcast(a, _VF32)
    fits = builder.and_(
        builder.fcmp_ordered(">=", x, _all(_VF32, -(2.0**31))),
        builder.fcmp_ordered("<", x, _all(_VF32, 2.0**31)),
    )
    # The conversion of a value out of range is undefined in LLVM, even if not selected later.
    safe = builder.select(fits, x, _all(_VF32, 0.0))
    return builder.fptosi(safe, _V32)


def _itof(builder, a):
    return _truncate_double(builder, builder.sitofp(a, _VF64))


fadd = _vector_function(2, _fadd, "a + b; in chip mode if the processor has it")
fadd_nearest = _vector_function(2, _fadd_nearest, "a + b where the processor rounds to nearest")
fmul_nearest = _vector_function(2, _fmul_nearest, "a * b where the processor rounds to nearest")
fsub = _vector_function(2, _fsub, "a - b, like fadd")
fmul = _vector_function(2, _fmul, "a * b, like fadd")
fmin = _vector_function(2, _fmin, "The smaller of a and b; infinities and NaNs are patterns.")
fmax = _vector_function(2, _fmax, "The larger of a and b; infinities and NaNs are patterns.")
fminabs = _vector_function(2, _fminabs, "The smaller of |a| and |b|.")
fmaxabs = _vector_function(2, _fmaxabs, "The larger of |a| and |b|.")
ftoi = _vector_function(1, _ftoi, "int32 of a float, toward zero.")
itof = _vector_function(1, _itof, "float of an int32, toward zero.")


# --- integer arithmetic --------------------------------------------------------------------------


def _amount(builder, b):
    return builder.and_(b, _const(31))


def _ror(builder, a, b):
    return _call(builder, "llvm.fshr.v16i32", _V32, [a, a, b])


def _imin(builder, a, b):
    return builder.select(builder.icmp_signed(">", a, b), b, a)


def _imax(builder, a, b):
    return builder.select(builder.icmp_signed(">", a, b), a, b)


def _clz(builder, a):
    return _call(builder, "llvm.ctlz.v16i32", _V32, [a, ir.Constant(_I1, 0)])


def _mul24(builder, a, b):
    low = _const(0xFFFFFF)
    return builder.mul(builder.and_(a, low), builder.and_(b, low))


def _on_bytes(operation):
    def build(builder, a, b):
        x, y = builder.bitcast(a, _BYTES), builder.bitcast(b, _BYTES)
        return builder.bitcast(operation(builder, x, y), _V32)

    build.__name__ = operation.__name__
    return build


def _v8adds(builder, x, y):
    return _call(builder, "llvm.uadd.sat.v64i8", _BYTES, [x, y])


def _v8subs(builder, x, y):
    return _call(builder, "llvm.usub.sat.v64i8", _BYTES, [x, y])


def _v8min(builder, x, y):
    return builder.select(builder.icmp_unsigned("<", x, y), x, y)


def _v8max(builder, x, y):
    return builder.select(builder.icmp_unsigned("<", x, y), y, x)


def _v8muld(builder, x, y):
    product = builder.mul(builder.zext(x, _HALVES), builder.zext(y, _HALVES))
    product = builder.add(product, _all(_HALVES, 127))
    return builder.trunc(builder.udiv(product, _all(_HALVES, 255)), _BYTES)


add = _vector_function(2, lambda b, x, y: b.add(x, y), "a + b modulo 2**32")
sub = _vector_function(2, lambda b, x, y: b.sub(x, y), "a - b modulo 2**32")
shr = _vector_function(2, lambda b, x, y: b.lshr(x, _amount(b, y)), "a >> (b & 31), zero fill")
asr = _vector_function(2, lambda b, x, y: b.ashr(x, _amount(b, y)), "a >> (b & 31), sign fill")
ror = _vector_function(2, _ror, "a rotated right by b & 31 bits")
shl = _vector_function(2, lambda b, x, y: b.shl(x, _amount(b, y)), "a << (b & 31)")
imin = _vector_function(2, _imin, "signed minimum")
imax = _vector_function(2, _imax, "signed maximum")
band = _vector_function(2, lambda b, x, y: b.and_(x, y), "a & b")
bor = _vector_function(2, lambda b, x, y: b.or_(x, y), "a | b")
bxor = _vector_function(2, lambda b, x, y: b.xor(x, y), "a ^ b")
bnot = _vector_function(1, lambda b, x: b.not_(x), "~a")
clz = _vector_function(1, _clz, "leading zero bits, 32 for 0")
mul24 = _vector_function(2, _mul24, "low 32 bits of the product of the low 24 bits")
v8adds = _vector_function(2, _on_bytes(_v8adds), "bytes: min(a + b, 255)")
v8subs = _vector_function(2, _on_bytes(_v8subs), "bytes: max(a - b, 0)")
v8muld = _vector_function(2, _on_bytes(_v8muld), "bytes: (a * b + 127) // 255")
v8min = _vector_function(2, _on_bytes(_v8min), "bytes: unsigned minimum")
v8max = _vector_function(2, _on_bytes(_v8max), "bytes: unsigned maximum")
