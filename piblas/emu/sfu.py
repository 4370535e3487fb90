"""The special function unit: 1/x, 1/sqrt|x|, 2**x, log2|x| (guide, p. 23).

The chip's tables are not public.  The model: the exact result, rounded to 13 bits behind the
leading one.  Its relative error is at most 2**-14, which is what measured values show (up to about
5e-5), but bit patterns differ from the chip's, which for one does not return 2**0 = 1 exactly.
Operands follow the ALUs: exponent 0 is zero, exponent 255 an infinity.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from . import lanes

_INF = 0x7F800000
_LOG2_E = 1.4426950408889634

RECIP, RSQRT, EXP2, LOG2 = range(4)


@njit
def _to_double(word):
    """The value of a finite pattern with exponent > 0."""
    magnitude = np.float64((word & 0x7FFFFF) | 0x800000) * 2.0 ** ((word >> 23 & 0xFF) - 150)
    return -magnitude if word & 0x80000000 else magnitude


@njit
def _round(value):
    """float32 pattern of a float64, to 13 bits behind the leading one."""
    sign = 0
    if value < 0.0:
        sign, value = 0x80000000, -value
    if value == 0.0:
        return 0
    mantissa, exponent = math.frexp(value)  # value = mantissa * 2**exponent, 0.5 <= mantissa < 1
    bits = np.int64(math.floor(mantissa * 16384.0 + 0.5))
    if bits == 16384:
        bits, exponent = 8192, exponent + 1
    biased = exponent + 126
    if biased < 1:
        return 0
    if biased > 254:
        return sign | _INF
    return sign | biased << 23 | (bits - 8192) << 10


@njit
def evaluate(function, word):
    """The SFU's result for one element's pattern."""
    exponent = word >> 23 & 0xFF
    negative = word & 0x80000000
    if exponent == 0:
        if function == EXP2:
            return 0x3F800000
        return _INF if function != LOG2 else 0x80000000 | _INF
    if exponent == 255:
        if function == LOG2:
            return _INF
        if function == EXP2:
            return 0 if negative else _INF
        return 0
    value = _to_double(word)
    if function == RECIP:
        return _round(1.0 / value)
    if function == RSQRT:
        return _round(1.0 / math.sqrt(abs(value)))
    if function == LOG2:
        return _round(math.log(abs(value)) * _LOG2_E)
    if value >= 128.0:
        return _INF
    if value < -126.0:
        return 0
    return _round(2.0**value)


@njit
def apply(R, function, source, target):
    """Evaluate all 16 elements; the host's functions expect its own rounding."""
    mode = lanes.nearest_mode()
    for e in range(16):
        R[target + e] = evaluate(function, np.int64(R[source + e]))
    lanes.set_mode(mode)
