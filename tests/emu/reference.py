"""A model of the QPU in plain Python integers and fractions, written from the facts alone.

It shares nothing with the emulator: every function computes one element, slowly and exactly.
Facts are those of the guide (p. 18-36) and of published measurements of the chip.
"""

from __future__ import annotations

import math
import random
import struct
from fractions import Fraction
from typing import List, Optional, Tuple

M32 = 0xFFFFFFFF
SIGN = 0x80000000
INF = 0x7F800000

# Operands whose results were captured on the chip, and some neighbours of them.
EDGES = [
    0x00000000, 0x80000000, 0x00000001, 0x7FFFFFFF, 0xFFFFFFFF, 0x3F800000, 0xBF800000, 0x70000000,
    0xF0000000, 0x00007FFF, 0x00008000, 0xFFFF8000, 0x000000FF, 0x00000080, 0x0000001F, 0x00000020,
    0x7F800000, 0xFF800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x00800000, 0x80800000, 0x007FFFFF, 0x807FFFFF,
    0x3F7FFFFF, 0x40000000, 0x4B000001, 0x4EFFFFFF, 0xCE800000, 0x00FFFFFF, 0x01000000, 0x3EFEFEFE,
]  # fmt: skip


def signed(value: int) -> int:
    return value - (1 << 32) if value & SIGN else value


def bits(value: float) -> int:
    """The float32 pattern nearest to ``value``."""
    return struct.unpack("<I", struct.pack("<f", value))[0]


def number(pattern: int) -> float:
    return struct.unpack("<f", struct.pack("<I", pattern))[0]


def exponent(pattern: int) -> int:
    return pattern >> 23 & 255


def exact(pattern: int) -> Fraction:
    """The value of a finite pattern; denormals count as zero."""
    if exponent(pattern) == 0:
        return Fraction(0)
    value = Fraction((pattern & 0x7FFFFF) | 0x800000) * Fraction(2) ** (exponent(pattern) - 150)
    return -value if pattern & SIGN else value


def truncated(value: Fraction, flush: bool = True) -> int:
    """Float32 pattern of an exact value rounded toward zero; denormals to +0, overflow to Inf."""
    if value == 0:
        return 0
    sign = SIGN if value < 0 else 0
    value = abs(value)
    exp = value.numerator.bit_length() - value.denominator.bit_length()
    if Fraction(2) ** exp > value:
        exp -= 1
    elif Fraction(2) ** (exp + 1) <= value:
        exp += 1
    mantissa = int(value / Fraction(2) ** (exp - 23))
    assert 1 << 23 <= mantissa < 1 << 24
    if exp + 127 > 254:
        return sign | INF
    if exp + 127 < 1:
        return 0
    return sign | (exp + 127) << 23 | (mantissa & 0x7FFFFF)


def fadd(a: int, b: int) -> int:
    if exponent(b) == 255:
        return (b & SIGN) | INF
    if exponent(a) == 255:
        return (a & SIGN) | INF
    return truncated(exact(a) + exact(b))


def fmul(a: int, b: int) -> int:
    if exponent(a) == 0 or exponent(b) == 0:
        return 0
    if exponent(a) == 255 or exponent(b) == 255:
        return ((a ^ b) & SIGN) | INF
    return truncated(exact(a) * exact(b))


def key(pattern: int) -> int:
    """Order of float patterns: the magnitude as an integer, negated by the sign."""
    magnitude = pattern & 0x7FFFFFFF
    return -magnitude if pattern & SIGN else magnitude


def ftoi(a: int) -> int:
    if exponent(a) == 255:
        return 0
    value = int(exact(a))  # int() drops the fraction
    return value & M32 if -(1 << 31) <= value < 1 << 31 else 0


def ftoi_is_known(a: int) -> bool:
    """Out-of-range results were measured for Inf, NaN patterns and +-2**97 only."""
    return exponent(a) == 255 or exponent(a) == 224 or exponent(a) < 158


def bytes_of(value: int) -> Tuple[int, ...]:
    return tuple(value >> shift & 255 for shift in (0, 8, 16, 24))


def from_bytes(values) -> int:
    return sum(value << 8 * index for index, value in enumerate(values))


def per_byte(a: int, b: int, func) -> int:
    return from_bytes([func(x, y) for x, y in zip(bytes_of(a), bytes_of(b))])


def add_op(name: str, a: int, b: int) -> Tuple[int, int]:
    """Result and carry flag of an op of the add unit."""
    n = b & 31
    if name == "fadd" or name == "fsub":
        result = fadd(a, b if name == "fadd" else b ^ SIGN)
        return result, int(key(result) > 0)
    if name in ("fmin", "fmax", "fminabs", "fmaxabs"):
        if name.endswith("abs"):
            a, b = a & 0x7FFFFFFF, b & 0x7FFFFFFF
        greater = key(a) > key(b)
        smaller = name.startswith("fmin")
        return (b if greater == smaller else a), int(greater)
    if name == "ftoi":
        return ftoi(a), 0
    if name == "itof":
        return truncated(Fraction(signed(a))), int(signed(a) > 0)
    if name == "add":
        return (a + b) & M32, a + b >> 32
    if name == "sub":
        return (a - b) & M32, int(a < b)
    if name == "shr":
        return a >> n, a >> (n - 1) & 1 if n else 0
    if name == "asr":
        return signed(a) >> n & M32, a >> (n - 1) & 1 if n else 0
    if name == "ror":
        return (a >> n | a << (32 - n)) & M32, 0
    if name == "shl":
        return a << n & M32, a >> (32 - n) & 1 if n else 0
    if name in ("min", "max"):
        greater = signed(a) > signed(b)
        return (b if greater == (name == "min") else a), int(greater)
    if name == "clz":
        return 32 - a.bit_length(), 0
    plain = {"and": a & b, "or": a | b, "xor": a ^ b, "not": a ^ M32}
    if name in plain:
        return plain[name], 0
    if name == "v8adds":
        return per_byte(a, b, lambda x, y: min(x + y, 255)), 0
    if name == "v8subs":
        return per_byte(a, b, lambda x, y: max(x - y, 0)), 0
    raise KeyError(name)


def mul_op(name: str, a: int, b: int) -> Tuple[int, Optional[int]]:
    """Result and carry flag of an op of the mul unit; None where the flag is not known."""
    if name == "fmul":
        return fmul(a, b), None
    if name == "mul24":
        return (a & 0xFFFFFF) * (b & 0xFFFFFF) & M32, None
    funcs = {
        "v8muld": lambda x, y: (x * y + 127) // 255,
        "v8min": min,
        "v8max": max,
        "v8adds": lambda x, y: min(x + y, 255),
        "v8subs": lambda x, y: max(x - y, 0),
    }
    return per_byte(a, b, funcs[name]), 0


def flags(result: int, carry: Optional[int]) -> Tuple[int, int, Optional[int]]:
    """Z, N, C."""
    return int(result == 0), result >> 31, carry


def holds(cond: str, zero: int, negative: int, carry: int) -> bool:
    """Whether a condition of a register write holds for an element with these flags."""
    return {
        "never": False,
        "always": True,
        "zs": zero == 1,
        "zc": zero == 0,
        "ns": negative == 1,
        "nc": negative == 0,
        "cs": carry == 1,
        "cc": carry == 0,
    }[cond]


def half_to_float(half: int) -> int:
    """f16 to f32 as measured: f16 denormals keep their sign but get exponent field 0."""
    sign, exp, mantissa = (half >> 15) << 31, half >> 10 & 31, half & 0x3FF
    if exp == 0:
        return sign | mantissa << 13
    if exp == 31:
        return sign | INF | mantissa << 13
    return sign | (exp + 112) << 23 | mantissa << 13


def float_to_half(pattern: int) -> int:
    """f32 to f16, rounded away from zero; what is too small becomes +0."""
    sign, exp = pattern >> 31 << 15, exponent(pattern)
    if exp == 255:
        return sign | 0x7C00
    if exp - 112 <= 0:
        return 0
    value = (exp - 112) << 10 | (pattern & 0x7FFFFF) >> 13
    if pattern & 0x1FFF:
        value += 1
    return sign | min(value, 0x7C00)


def byte_to_float(byte: int) -> int:
    return truncated(Fraction(byte, 255))


def unpack(mode: int, value: int, as_float: bool) -> int:
    """An operand of file A (pm = 0), or with ``as_float`` r4 (pm = 1)."""
    if mode == 0:
        return value
    if mode in (1, 2):
        half = value >> 16 * (mode - 1) & 0xFFFF
        if as_float:
            return half_to_float(half)
        return half | 0xFFFF0000 if half & 0x8000 else half
    if mode == 3:
        return (value >> 24) * 0x01010101
    byte = value >> 8 * (mode - 4) & 255
    return byte_to_float(byte) if as_float else byte


def clamp(value: int, low: int, high: int) -> int:
    return max(low, min(high, value))


def overflows(name: str, a: int, b: int) -> bool:
    """Whether an add or sub leaves the signed 32-bit range; other ops never count."""
    if name not in ("add", "sub"):
        return False
    exact_result = signed(a) + signed(b) if name == "add" else signed(a) - signed(b)
    return not -(1 << 31) <= exact_result < 1 << 31


def pack(mode: int, result: int, old: int, is_float: bool, over: bool, carry: int) -> int:
    """What file A holds after a packed write (pm = 0) over the value ``old``."""
    limit = SIGN if carry else 0x7FFFFFFF
    s = signed(result)
    if mode == 0:
        return result
    if mode == 8:
        return limit if over else result
    if mode in (1, 2, 9, 10):
        if is_float:
            half = float_to_half(result)
        elif mode in (1, 2):
            half = limit >> 16 if over else result & 0xFFFF
        elif not over:
            half = clamp(s, -32768, 32767) & 0xFFFF
        elif -32768 <= s <= 32767:
            half = limit >> 16
        else:
            half = clamp(s, -32768, 32767) & (limit >> 16) & 0xFFFF
        shift = 16 if mode in (2, 10) else 0
        return old & ~(0xFFFF << shift) & M32 | half << shift
    if mode < 8:
        byte = limit & 255 if over else result & 255
    elif not over:
        byte = clamp(s, 0, 255)
    elif 0 <= s <= 255:
        byte = limit & 255
    else:
        byte = clamp(s, 0, 255) & limit & 255
    if mode in (3, 11):
        return byte * 0x01010101
    shift = 8 * (mode & 3)
    return old & ~(0xFF << shift) & M32 | byte << shift


def colour(pattern: int) -> int:
    """The byte of a mul result that is packed as a colour (pm = 1)."""
    if exponent(pattern) == 255:
        return 0 if pattern & SIGN else 255
    return clamp(math.floor(exact(pattern) * 255 + Fraction(1, 2)), 0, 255)


def rotate(values: List[int], amount: int) -> List[int]:
    """Up by ``amount``: element e moves to element e + amount."""
    return [values[(element - amount) % 16] for element in range(16)]


def rotate_quads(values: List[int], amount: int) -> List[int]:
    return [values[e // 4 * 4 + (e % 4 - amount) % 4] for e in range(16)]


def small_imm(code: int) -> int:
    """The operand of a small immediate code."""
    if code < 16:
        return code
    if code < 32:
        return code - 32 & M32
    if code < 48:
        step = code - 32
        return 127 + (step if step < 8 else step - 16) << 23
    return code - 64 & M32


def branch_taken(code: int, zeros: List[int], negatives: List[int], carries: List[int]) -> bool:
    """Whether a branch condition holds for the flags of 16 elements."""
    if code == 15:
        return True
    chosen = (zeros, negatives, carries)[code >> 2]
    wanted = [flag == (0 if code & 1 else 1) for flag in chosen]
    return any(wanted) if code & 2 else all(wanted)


def random_patterns(count: int, seed: int) -> List[int]:
    """Uniform patterns, floats of like exponents, small integers and one-bit patterns."""
    rng = random.Random(seed)
    out = []
    for _ in range(count):
        kind = rng.randrange(5)
        if kind == 0:
            out.append(rng.getrandbits(32))
        elif kind == 1:
            out.append(rng.getrandbits(1) << 31 | rng.randint(115, 140) << 23 | rng.getrandbits(23))
        elif kind == 2:
            out.append(rng.randint(-300, 300) & M32)
        elif kind == 3:
            out.append(1 << rng.randrange(32))
        else:
            exp = rng.choice((0, 1, 2, 63, 64, 65, 126, 127, 190, 253, 254, 255))
            out.append(rng.getrandbits(1) << 31 | exp << 23 | rng.getrandbits(23))
    return out


def operand_pairs(seed: int, extra: int = 512) -> Tuple[List[int], List[int]]:
    """Every pair of edge operands and ``extra`` random pairs; a multiple of 16 in all."""
    a = [x for x in EDGES for _ in EDGES] + random_patterns(extra, seed)
    b = [y for _ in EDGES for y in EDGES] + random_patterns(extra, seed + 1)
    assert len(a) % 16 == 0
    return a, b


# --- VPM and DMA -----------------------------------------------------------------------------


def vpm_cell(size: int, horizontal: bool, laned: bool, addr: int, element: int) -> Tuple[int, int]:
    """(word index 16 * Y + X, byte in it) of an element of a generic access (guide, p. 53-55)."""
    sub_bits = {8: 2, 16: 1, 32: 0}[size]
    sub = addr & ((1 << sub_bits) - 1)
    place = addr >> sub_bits
    per_word = 32 // size
    if size == 32:
        word_step, byte = element, 0
    elif laned:
        word_step, byte = element, sub * size // 8
    else:
        word_step = 16 // per_word * sub + element // per_word
        byte = element % per_word * size // 8
    if horizontal:
        return (place % 64) * 16 + word_step, byte
    y, x = (place >> 4) % 4 * 16, place & 15
    return (y + word_step) * 16 + x, byte


def vpm_addresses(size: int, horizontal: bool, start: int, stride: int, count: int) -> List[int]:
    """ADDR of each vector of an access; the sum wraps within the 64 rows."""
    sub_bits = {8: 2, 16: 1, 32: 0}[size]
    wrap = 64 << sub_bits
    return [(start + index * stride) % wrap for index in range(count)]
