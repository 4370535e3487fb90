"""The vector arithmetic against an exact model in Python integers and fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

numba = pytest.importorskip("numba")

from piblas.emu import lanes  # noqa: E402

INF = 0x7F800000
EDGES = [
    0x00000000, 0x00000001, 0x007FFFFF, 0x00800000, 0x00800001, 0x00FFFFFF, 0x01000000, 0x33800000,
    0x34000000, 0x3F000000, 0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x40000000, 0x4B7FFFFF, 0x4B800000,
    0x4EFFFFFF, 0x4F000000, 0x5F000000, 0x73000000, 0x73800000, 0x7E800000, 0x7EFFFFFF, 0x7F000000,
    0x7F7FFFFF, 0x7F7FFFFE, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF, 0x1F800000, 0x20000000,
]  # fmt: skip
EDGES = np.array(EDGES + [edge | 0x80000000 for edge in EDGES], dtype=np.uint32)


def fields(word):
    return word >> 31, word >> 23 & 255, word & 0x7FFFFF


def value(word):
    """The exact value of a finite pattern; exponent 0 counts as zero."""
    sign, exponent, mantissa = fields(word)
    if exponent == 0:
        return Fraction(0)
    return (-1) ** sign * Fraction(mantissa | 1 << 23) * Fraction(2) ** (exponent - 150)


def toward_zero(exact):
    """The pattern of an exact value: 24 bits of mantissa, toward zero; tiny gives +0."""
    if exact == 0:
        return 0
    sign = 0x80000000 if exact < 0 else 0
    top, bottom = abs(exact).numerator, abs(exact).denominator
    exponent = top.bit_length() - bottom.bit_length()
    if Fraction(2) ** exponent > abs(exact):
        exponent -= 1
    if exponent < -126:
        return 0
    if exponent > 127:
        return sign | INF
    mantissa = int(abs(exact) / Fraction(2) ** (exponent - 23))
    return sign | (exponent + 127) << 23 | mantissa & 0x7FFFFF


def fadd(a, b):
    for word in (b, a):
        if fields(word)[1] == 255:
            return word & 0x80000000 | INF
    return toward_zero(value(a) + value(b))


def fsub(a, b):
    return fadd(a, b ^ 0x80000000)


def fmul(a, b):
    if fields(a)[1] == 0 or fields(b)[1] == 0:
        return 0
    if 255 in (fields(a)[1], fields(b)[1]):
        return (a ^ b) & 0x80000000 | INF
    return toward_zero(value(a) * value(b))


def itof(a, _):
    return toward_zero(Fraction(a - ((a & 0x80000000) << 1)))


MODELS = {
    "fadd": fadd, "fsub": fsub, "fmul": fmul, "itof": itof,
    "fadd_nearest": fadd, "fmul_nearest": fmul,
}  # fmt: skip


def compiled(name):
    """A loop over a function, in chip mode unless the name says that the host rounds to nearest."""
    function = getattr(lanes, name)
    chip = not name.endswith("nearest")
    if name in ("itof", "ftoi", "clz", "bnot"):

        @numba.njit
        def run(a, b, out):
            before = lanes.chip_mode() if chip else lanes.nearest_mode()
            for i in range(0, len(a), 16):
                lanes.store(out, i, function(lanes.load(a, i)))
            lanes.set_mode(before)

    else:

        @numba.njit
        def run(a, b, out):
            before = lanes.chip_mode() if chip else lanes.nearest_mode()
            for i in range(0, len(a), 16):
                lanes.store(out, i, function(lanes.load(a, i), lanes.load(b, i)))
            lanes.set_mode(before)

    return run


def operands(count, seed):
    """All pairs of edge values; random patterns; random ones with close exponents."""
    rng = np.random.default_rng(seed)
    a, b = (grid.ravel() for grid in np.meshgrid(EDGES, EDGES))
    x = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    y = rng.integers(0, 1 << 32, count, dtype=np.uint32)
    exponent = (x >> 23 & 255).astype(np.int64)
    near = np.clip(exponent + rng.integers(-30, 31, count), 0, 255)
    close = (y & np.uint32(0x807FFFFF)) | (near << 23).astype(np.uint32)
    inverse = np.clip(254 - exponent + rng.integers(-3, 4, count), 0, 255)
    small = (y & np.uint32(0x807FFFFF)) | (np.abs(inverse - 127) << 23).astype(np.uint32)
    return np.concatenate([a, x, x, x]), np.concatenate([b, y, close, small])


def check(name, count, seed):
    a, b = operands(count, seed)
    size = len(a) // 16 * 16
    a, b = np.ascontiguousarray(a[:size]), np.ascontiguousarray(b[:size])
    out = np.zeros(size, dtype=np.uint32)
    compiled(name)(a, b, out)
    expected = [MODELS[name](int(p), int(q)) for p, q in zip(a, b)]
    wrong = np.flatnonzero(out != np.array(expected, dtype=np.uint32))
    shown = [f"{a[i]:08x} {b[i]:08x}: {out[i]:08x}, exact {expected[i]:08x}" for i in wrong[:5]]
    assert not len(wrong), shown


@pytest.mark.parametrize("name", MODELS)
def test_float_arithmetic_is_exact(name):
    check(name, 4000, 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_float_arithmetic_is_exact_on_many_patterns(name):
    check(name, 300_000, 2)


def test_a_special_element_leaves_the_others_alone():
    """One infinity sends all 16 elements through the rare block."""
    rng = np.random.default_rng(3)
    plain = rng.integers(0x20000000, 0x60000000, (2, 16), dtype=np.uint32)
    for name in ("fadd", "fsub", "fmul", "fadd_nearest", "fmul_nearest"):
        run, out, mixed = compiled(name), np.zeros(16, np.uint32), np.zeros(16, np.uint32)
        run(plain[0], plain[1], out)
        for place in range(16):
            a = plain[0].copy()
            a[place] = INF
            run(a, plain[1], mixed)
            assert (np.delete(mixed, place) == np.delete(out, place)).all()
            assert mixed[place] == MODELS[name](INF, int(plain[1, place]))


INTEGER = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "shr": lambda a, b: a >> (b & 31),
    "asr": lambda a, b: (a - ((a & 0x80000000) << 1)) >> (b & 31),
    "ror": lambda a, b: a >> (b & 31) | a << (32 - (b & 31)),
    "shl": lambda a, b: a << (b & 31),
    "mul24": lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF),
    "clz": lambda a, b: 32 - a.bit_length(),
    "bnot": lambda a, b: ~a,
}


@pytest.mark.parametrize("name", INTEGER)
def test_integer_arithmetic(name):
    a, b = operands(200, 4)
    size = len(a) // 16 * 16
    a, b = np.ascontiguousarray(a[:size]), np.ascontiguousarray(b[:size])
    out = np.zeros(size, dtype=np.uint32)
    compiled(name)(a, b, out)
    expected = [INTEGER[name](int(p), int(q)) & 0xFFFFFFFF for p, q in zip(a, b)]
    assert out.tolist() == expected


def test_selection_and_masks():
    @numba.njit
    def run(a, b, out):
        x, y = lanes.load(a, 0), lanes.load(b, 0)
        lanes.store(out, 0, lanes.select(0b1010000000000101, x, y))
        lanes.store(out, 16, lanes.splat(lanes.first(y)))
        return (
            lanes.mask_zero(x), lanes.mask_negative(x), lanes.mask_positive(x),
            lanes.mask_below(x, y), lanes.mask_differ(x, y),
        )  # fmt: skip

    a = np.array([0, 1, 0x80000000, 0xFFFFFFFF, 7] + [9] * 11, dtype=np.uint32)
    b = np.array([5, 1, 0x7FFFFFFF, 0, 8] + [9] * 11, dtype=np.uint32)
    out = np.zeros(32, dtype=np.uint32)
    zero, negative, positive, below, differ = run(a, b, out)
    taken = [0, 2, 13, 15]
    assert out[:16].tolist() == [int(a[e] if e in taken else b[e]) for e in range(16)]
    assert out[16:].tolist() == [5] * 16
    bits = range(16)
    assert [zero >> e & 1 for e in bits] == [int(x == 0) for x in a]
    assert [negative >> e & 1 for e in bits] == [int(x >> 31) for x in a]
    assert [positive >> e & 1 for e in bits] == [int(0 < x < 1 << 31) for x in a]
    assert [below >> e & 1 for e in bits] == [int(x < y) for x, y in zip(a, b)]
    assert [differ >> e & 1 for e in bits] == [int(x != y) for x, y in zip(a, b)]


def test_the_mode_of_the_processor_is_as_before():
    """What computes in chip mode leaves the thread's mode alone."""
    tiny = np.full(1, 1.2e-38, dtype=np.float32)
    third = np.float32(1) / np.float32(3)
    compiled("fadd")(EDGES, EDGES, np.zeros(len(EDGES), np.uint32))
    assert (tiny * np.float32(0.25))[0] != 0
    assert np.float32(1) / np.float32(3) == third and third.view(np.uint32) == 0x3EAAAAAB
