"""What the add and the mul unit compute, with flags, pack and unpack (guide, p. 30-36).

One function a table: results (:func:`add_result`, :func:`mul_result`), carries
(:func:`add_carry`), unpacked operands and packed results.  Facts beyond the guide are measured: the
shift counts and carries, the wrong end to which a saturated sub goes, the rounding of the float16
conversions.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numba import njit

from ..isa.ops import BY_NAME
from . import lanes as v
from .layout import SLOT_SCRATCH

(
    FADD, FSUB, FMIN, FMAX, FMINABS, FMAXABS, FTOI, ITOF, ADD, SUB, SHR, ASR, ROR, SHL, MIN, MAX,
    AND, OR, XOR, NOT, CLZ, V8ADDS, V8SUBS,
) = (
    BY_NAME["add", name].code for name in (
        "fadd fsub fmin fmax fminabs fmaxabs ftoi itof add sub shr asr ror shl min max "
        "and or xor not clz v8adds v8subs"
    ).split()
)  # fmt: skip
M_FMUL, M_MUL24, M_V8MULD, M_V8MIN, M_V8MAX, M_V8ADDS, M_V8SUBS = (
    BY_NAME["mul", name].code for name in "fmul mul24 v8muld v8min v8max v8adds v8subs".split()
)

_ALL = 0xFFFF


def _byte_to_float(byte: int) -> int:
    """The float32 pattern of byte / 255, rounded toward zero."""
    if byte == 0:
        return 0
    value, exponent = Fraction(byte, 255), 0
    while value < 1:
        value, exponent = value * 2, exponent - 1
    mantissa = int(value * (1 << 23)) - (1 << 23)
    return (127 + exponent) << 23 | mantissa


BYTE_TO_FLOAT = np.array([_byte_to_float(byte) for byte in range(256)], dtype=np.uint32)


@njit
def add_result(op, a, b):
    """The result of an op of the add unit."""
    if op == FADD:
        return v.fadd(a, b)
    if op == FSUB:
        return v.fsub(a, b)
    if op == FMIN:
        return v.fmin(a, b)
    if op == FMAX:
        return v.fmax(a, b)
    if op == FMINABS:
        return v.fminabs(a, b)
    if op == FMAXABS:
        return v.fmaxabs(a, b)
    if op == FTOI:
        return v.ftoi(a)
    if op == ITOF:
        return v.itof(a)
    if op == ADD:
        return v.add(a, b)
    if op == SUB:
        return v.sub(a, b)
    if op == SHR:
        return v.shr(a, b)
    if op == ASR:
        return v.asr(a, b)
    if op == ROR:
        return v.ror(a, b)
    if op == SHL:
        return v.shl(a, b)
    if op == MIN:
        return v.imin(a, b)
    if op == MAX:
        return v.imax(a, b)
    if op == AND:
        return v.band(a, b)
    if op == OR:
        return v.bor(a, b)
    if op == XOR:
        return v.bxor(a, b)
    if op == NOT:
        return v.bnot(a)
    if op == CLZ:
        return v.clz(a)
    if op == V8ADDS:
        return v.v8adds(a, b)
    if op == V8SUBS:
        return v.v8subs(a, b)
    return a


@njit
def mul_result(op, a, b):
    """The result of an op of the mul unit."""
    if op == M_FMUL:
        return v.fmul(a, b)
    if op == M_MUL24:
        return v.mul24(a, b)
    if op == M_V8MULD:
        return v.v8muld(a, b)
    if op == M_V8MIN:
        return v.v8min(a, b)
    if op == M_V8MAX:
        return v.v8max(a, b)
    if op == M_V8ADDS:
        return v.v8adds(a, b)
    if op == M_V8SUBS:
        return v.v8subs(a, b)
    return a


@njit
def _greater(a, b):
    """Bit e: element e of a > that of b, signed."""
    sign = v.splat(0x80000000)
    return v.mask_below(v.bxor(b, sign), v.bxor(a, sign))


@njit
def _shifted_out(moved, b):
    """Bit 0 of ``moved`` where the shift count b is not 0."""
    zero = v.mask_zero(v.band(moved, v.splat(1))) | v.mask_zero(v.band(b, v.splat(31)))
    return ~zero & _ALL


@njit
def add_carry(op, a, b, x):
    """Flag C of an op of the add unit with result x, one bit an element."""
    if op == FADD or op == FSUB:
        return v.mask_positive(x)
    if op == FMIN or op == FMAX:
        return v.mask_float_greater(a, b)
    if op == FMINABS or op == FMAXABS:
        low = v.splat(0x7FFFFFFF)
        return v.mask_float_greater(v.band(a, low), v.band(b, low))
    if op == ITOF:
        return v.mask_positive(a)
    if op == ADD:
        return v.mask_below(x, a)
    if op == SUB:
        return v.mask_below(a, b)
    if op == SHR or op == ASR:
        return _shifted_out(v.shr(a, v.sub(b, v.splat(1))), b)
    if op == SHL:
        return _shifted_out(v.shr(a, v.sub(v.splat(0), b)), b)
    if op == MIN or op == MAX:
        return _greater(a, b)
    return 0


@njit
def overflow(op, a, b, x):
    """Bit e: the int32 sum or difference x overflowed in element e."""
    if op == ADD:
        return v.mask_negative(v.band(v.bxor(a, x), v.bxor(b, x)))
    if op == SUB:
        return v.mask_negative(v.band(v.bxor(a, b), v.bxor(a, x)))
    return 0


@njit
def rotate(R, base, value, amount):
    """Element e moves to element (e + amount) modulo 16."""
    scratch = base + 16 * SLOT_SCRATCH
    v.store(R, scratch, value)
    v.store(R, scratch + 16, value)
    return v.load(R, scratch + 16 - amount)


@njit
def rotate_quads(R, base, value, amount):
    """The same within each group of four elements, by ``amount`` modulo 4."""
    scratch = base + 16 * SLOT_SCRATCH
    v.store(R, scratch, value)
    for e in range(16):
        R[scratch + 16 + e] = R[scratch + (e & 12) + ((e - amount) & 3)]
    return v.load(R, scratch + 16)


# --- unpack --------------------------------------------------------------------------------------


@njit
def half_to_float(half):
    """float32 pattern of a float16; denormals keep their mantissa under exponent 0 (measured)."""
    sign = (half & 0x8000) << 16
    exponent = half >> 10 & 31
    mantissa = (half & 0x3FF) << 13
    if exponent == 0:
        return sign | mantissa
    if exponent == 31:
        return sign | 0x7F800000 | mantissa
    return sign | (exponent + 112) << 23 | mantissa


@njit
def unpack(R, source, target, mode, as_float):
    """The vector at ``target`` becomes that at ``source``, unpacked."""
    for e in range(16):
        word = np.int64(R[source + e])
        if mode == 1 or mode == 2:
            half = word & 0xFFFF if mode == 1 else word >> 16
            if as_float:
                word = half_to_float(half)
            else:
                word = half | (0xFFFF0000 if half & 0x8000 else 0)
        elif mode == 3:
            word = (word >> 24) * 0x01010101
        elif mode >= 4:
            byte = word >> (8 * (mode - 4)) & 0xFF
            word = np.int64(BYTE_TO_FLOAT[byte]) if as_float else byte
        R[target + e] = word


# --- pack ----------------------------------------------------------------------------------------


@njit
def float_to_half(word):
    """float16 of a float32 pattern, away from zero; what is too small is +0 (measured)."""
    sign = word >> 16 & 0x8000
    exponent = word >> 23 & 0xFF
    if exponent == 255:
        return sign | 0x7C00
    if exponent <= 112:
        return 0
    half = (exponent - 112) << 10 | (word >> 13 & 0x3FF)
    if word & 0x1FFF:
        half += 1
    return sign | min(half, 0x7C00)


@njit
def _half(word, saturate, overflowed, limit):
    if not saturate:
        return limit >> 16 if overflowed else word & 0xFFFF
    value = word - ((word & 0x80000000) << 1)
    clamped = min(max(value, -0x8000), 0x7FFF) & 0xFFFF
    if not overflowed:
        return clamped
    return limit >> 16 if -0x8000 <= value <= 0x7FFF else clamped & (limit >> 16)


@njit
def _byte(word, saturate, overflowed, limit):
    if not saturate:
        return limit & 0xFF if overflowed else word & 0xFF
    value = word - ((word & 0x80000000) << 1)
    clamped = min(max(value, 0), 255)
    if not overflowed:
        return clamped
    return limit & 0xFF if 0 <= value <= 255 else clamped & limit & 0xFF


@njit
def pack_a(R, target, source, mode, as_float, overflows, carries, mask):
    """Write a result into a register of file A with pack ``mode``.

    ``overflows`` and ``carries`` are those of an add or sub: the chip packs an overflowed result by
    rules of its own (measured), the wrong limit of sub among them.
    """
    saturate = mode >= 8
    for e in range(16):
        if not mask >> e & 1:
            continue
        word = np.int64(R[source + e])
        old = np.int64(R[target + e])
        overflowed = overflows >> e & 1
        limit = 0x80000000 if carries >> e & 1 else 0x7FFFFFFF
        kind = mode & 7
        if kind == 0:
            word = limit if overflowed else word
        elif kind <= 2:
            if as_float:
                half = float_to_half(word)
            else:
                half = _half(word, saturate, overflowed, limit)
            word = old & 0xFFFF0000 | half if kind == 1 else old & 0xFFFF | half << 16
        elif kind == 3:
            word = _byte(word, saturate, overflowed, limit) * 0x01010101
        else:
            shift = 8 * (kind - 4)
            word = old & ~(0xFF << shift) | _byte(word, saturate, overflowed, limit) << shift
        R[target + e] = word


@njit
def _colour(word):
    """A float as a byte: 0..1 becomes 0..255, rounded, the rest is clamped."""
    exponent = word >> 23 & 0xFF
    if word & 0x80000000 or exponent == 0:
        return 0
    if exponent >= 127:
        return 255
    value = np.float64((word & 0x7FFFFF) | 0x800000) * 2.0 ** (exponent - 150)
    return np.int64(value * 255.0 + 0.5)


@njit
def pack_colour(R, target, source, mode):
    """The mul result at ``source`` becomes a colour, kept in other bytes by ``target``'s."""
    for e in range(16):
        colour = _colour(np.int64(R[source + e]))
        if mode == 3:
            R[source + e] = colour * 0x01010101
        else:
            shift = 8 * (mode - 4)
            R[source + e] = np.int64(R[target + e]) & ~(0xFF << shift) | colour << shift
