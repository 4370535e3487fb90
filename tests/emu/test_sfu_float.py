"""The special function unit and the float behaviour of the ALUs (guide, p. 23; measured)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import reference as ref

POSITIVE = np.float32(
    [2.0**e * m for e in (-20, -3, -1, 0, 1, 2, 10, 40) for m in (1, 1.3, 1.9, 1.999)]
)
SFU = {
    "recip": (lambda x: 1 / x, np.concatenate([POSITIVE, -POSITIVE]), 1e-4),
    "rsqrt": (lambda x: 1 / math.sqrt(x), POSITIVE, 1e-4),
    "exp2": (lambda x: 2.0**x, np.float32(np.linspace(-20, 20, 64)), 1e-4),
    "log2": (lambda x: math.log2(x), POSITIVE, 1e-2),
}
INF, NINF = 0x7F800000, 0xFF800000


def sfu(lab, name, values):
    got = lab.vectors([f"mov {name}, r0", "nop", "nop", "mov r1, r4"], {"r0": values}, ["r1"])
    return got["r1"].ravel()


@pytest.mark.parametrize("name", sorted(SFU))
def test_accuracy(lab, name):
    func, values, rtol = SFU[name]
    got = sfu(lab, name, values).view(np.float32).astype(float)
    want = np.array([func(float(x)) for x in values])
    assert np.allclose(got, want, rtol=rtol, atol=2e-5 if name == "log2" else 0)


@pytest.mark.parametrize(
    "name, value, want",
    [
        ("recip", 0.0, INF),
        ("rsqrt", 0.0, INF),
        ("exp2", 1000.0, INF),
        ("exp2", -1e5, 0),
        ("log2", 0.0, NINF),
    ],
)
def test_special_values(lab, name, value, want):
    assert (sfu(lab, name, np.float32([value] * 16)) == want).all()


@pytest.mark.parametrize("name", ["rsqrt", "log2"])
def test_the_sign_of_the_operand_is_ignored(lab, name):
    values = POSITIVE[:16]
    assert np.array_equal(sfu(lab, name, -values), sfu(lab, name, values))


# Outputs measured on a chip; the tables inside are not public, so only their accuracy is asked.
@pytest.mark.parametrize(
    "name, value, measured",
    [
        ("exp2", 0.0, 1.000031), ("exp2", 1.0, 2.000061), ("exp2", 2.0, 4.000122),
        ("exp2", 0.5, 1.414246), ("exp2", 0.25, 1.189240), ("exp2", -1.0, 0.4999847),
        ("exp2", 100.0, 1.267689e30), ("log2", 1.0, 0.0), ("log2", 2.0, 1.0),
        ("log2", 2.7182817, 1.442627), ("log2", 3.1415927, 1.651428), ("log2", 100.0, 6.643829),
        ("log2", 0.5, -0.9999847), ("log2", 0.25, -1.999985),
    ],
)  # fmt: skip
def test_close_to_measured_outputs(lab, name, value, measured):
    got = sfu(lab, name, np.float32([value] * 16)).view(np.float32)
    assert np.allclose(got, measured, rtol=2e-4, atol=1e-5)


def test_the_result_is_there_in_the_third_word(lab):
    body = ["mov recip, r0", "nop", "nop", "mov r1, r4", "nop", "mov r2, r4"]
    got = lab.vectors(body, {"r0": np.float32([4.0] * 16), "r4": 5}, ["r1", "r2"])
    assert np.allclose(got["r1"].view(np.float32), 0.25, rtol=1e-4)
    assert np.array_equal(got["r1"], got["r2"])


def test_each_element_has_a_result_of_its_own(lab):
    values = np.float32(2.0 ** np.arange(16))
    got = sfu(lab, "recip", values).view(np.float32)
    assert np.allclose(got, 1 / values.astype(float), rtol=1e-4)


# --- arithmetic --------------------------------------------------------------------------------

P97, ONE, DENORMAL, NDENORMAL = 0x70000000, 0x3F800000, 0x007FFFFF, 0x807FFFFF
NAN, NNAN, TINY, NTINY, MAX = 0x7FC00001, 0xFFC00001, 0x00800000, 0x80800000, 0x7F7FFFFF
NZERO, NONE = 0x80000000, 0xBF800000

CASES = [
    # rounding toward zero of the exact result
    ("fsub", P97, ONE, 0x6FFFFFFF),
    ("fadd", P97, ONE, 0x70000000),
    ("fadd", ONE, 0x33FFFFFF, 0x3F800000),
    ("fadd", NONE, 0xB3FFFFFF, 0xBF800000),
    ("fsub", ONE, 0x00800000, 0x3F7FFFFF),
    ("fsub", 0x43B35546, 0x4043378E, None),  # 358.666... - 3.050...: checked by the model
    ("fmul", 0x3F800001, 0x3F800001, 0x3F800002),
    ("fmul", 0x3FFFFFFF, 0x3FFFFFFF, 0x407FFFFE),
    ("fmul", 0xBFFFFFFF, 0x3FFFFFFF, 0xC07FFFFE),
    # denormal operands count as +0
    ("fadd", DENORMAL, ONE, ONE),
    ("fadd", DENORMAL, DENORMAL, 0),
    ("fadd", NDENORMAL, NDENORMAL, 0),
    ("fsub", DENORMAL, ONE, NONE),
    ("fmul", DENORMAL, P97, 0),
    # denormal results become +0
    ("fsub", 0x00800001, TINY, 0),
    ("fsub", TINY, 0x00800001, 0),
    ("fmul", TINY, 0x3F000000, 0),
    ("fmul", NTINY, 0x3F000000, 0),
    ("fmul", 0x00FFFFFF, 0x3F000000, 0),  # just below the smallest normal
    ("fmul", 0x01000000, 0x3F000000, TINY),
    # zeros
    ("fadd", NZERO, NZERO, 0),
    ("fadd", NZERO, 0, 0),
    ("fsub", NZERO, 0, 0),
    ("fsub", ONE, ONE, 0),
    ("fadd", ONE, NONE, 0),
    ("fmul", NZERO, ONE, 0),
    ("fmul", 0, NONE, 0),
    ("fmul", 0, INF, 0),
    ("fmul", NAN, NZERO, 0),
    ("fmul", NDENORMAL, NINF, 0),
    # exponent 255 is infinity, b first
    ("fadd", INF, NINF, NINF),
    ("fadd", NINF, INF, INF),
    ("fadd", INF, INF, INF),
    ("fadd", NAN, ONE, INF),
    ("fadd", ONE, NNAN, NINF),
    ("fadd", 0, NAN, INF),
    ("fsub", INF, INF, NINF),
    ("fsub", NINF, NINF, INF),
    ("fsub", NAN, ONE, INF),
    ("fsub", ONE, NAN, NINF),
    ("fmul", INF, NONE, NINF),
    ("fmul", NAN, ONE, INF),
    ("fmul", NNAN, NINF, INF),
    # overflow
    ("fmul", P97, P97, INF),
    ("fmul", P97, P97 | NZERO, NINF),
    ("fadd", MAX, MAX, INF),
    ("fsub", MAX | NZERO, MAX, NINF),
    ("fadd", MAX, ONE, MAX),
]


@pytest.mark.parametrize("op, a, b, want", CASES)
def test_float_arithmetic(lab, op, a, b, want):
    model = ref.mul_op(op, a, b)[0] if op == "fmul" else ref.add_op(op, a, b)[0]
    assert want is None or f"{model:08x}" == f"{want:08x}"
    got = lab.vectors([f"{op} r2, r0, r1"], {"r0": a, "r1": b}, ["r2"])["r2"]
    assert [f"{value:08x}" for value in got[0]] == [f"{model:08x}"] * 16


@pytest.mark.parametrize(
    "line, x, want",
    [
        ("fadd r2, r0, r0", 0x7F7FFFFF, 0x7F800000),  # infinities, as fmul is measured to give
        ("fadd r2, r0, r0", 0xFF7FFFFF, 0xFF800000),
        ("fsub r2, r0, r1", 0x7F7FFFFF, 0x7F800000),
        ("ftoi r2, r0", 0x4F000000, 0),  # 2**31 and more: 0, as 2**97 is measured to give
        ("ftoi r2, r0", 0x7F7FFFFF, 0),
        ("ftoi r2, r0", 0xFF7FFFFF, 0),
        ("ftoi r2, r0", 0xCF000000, 0x80000000),
        ("ftoi r2, r0", 0x4EFFFFFF, 0x7FFFFF80),
    ],
)
def test_results_that_nobody_measured_are_guesses(both, line, x, want):
    got = both.vectors([line], {"r0": x, "r1": 0xFF7FFFFF}, ["r2"])["r2"]
    assert (got == want).all()


def test_a_difference_published_from_a_board(lab):
    a, b = np.float32(358.6662292480469), np.float32(3.0502657890319824)
    got = lab.vectors(["fsub r2, r0, r1"], {"r0": [a] * 16, "r1": [b] * 16}, ["r2"])["r2"]
    assert (got == 0x43B1CED7).all()  # the nearest float would end in d8


@pytest.mark.parametrize("op", ["fadd", "fsub", "fmul"])
def test_truncation_over_many_random_operands(lab, op):
    a, b = ref.random_patterns(8192, 91), ref.random_patterns(8192, 92)
    model = [(ref.mul_op if op == "fmul" else ref.add_op)(op, x, y)[0] for x, y in zip(a, b)]
    got = lab.vectors([f"{op} r2, r0, r1"], {"r0": a, "r1": b}, ["r2"])["r2"].ravel()
    bad = np.flatnonzero(got != np.array(model, np.uint32))
    assert not len(bad), f"{len(bad)}: {a[bad[0]]:08x} {b[bad[0]]:08x}: {got[bad[0]]:08x}"


@pytest.mark.slow
@pytest.mark.parametrize("op", ["fadd", "fsub", "fmul"])
@pytest.mark.parametrize("seed", range(4))
def test_truncation_over_very_many_random_operands(lab, op, seed):
    a, b = ref.random_patterns(65536, 2 * seed), ref.random_patterns(65536, 2 * seed + 1)
    model = [(ref.mul_op if op == "fmul" else ref.add_op)(op, x, y)[0] for x, y in zip(a, b)]
    got = lab.vectors([f"{op} r2, r0, r1"], {"r0": a, "r1": b}, ["r2"])["r2"].ravel()
    assert np.array_equal(got, np.array(model, np.uint32))


MINMAX = [
    ("fmin", NZERO, 0, NZERO), ("fmin", 0, NZERO, 0), ("fmax", NZERO, 0, 0),
    ("fmax", 0, NZERO, NZERO), ("fmin", NNAN, NINF, NNAN), ("fmax", NAN, INF, NAN),
    ("fmin", INF, MAX, MAX), ("fmax", NINF, MAX | NZERO, MAX | NZERO), ("fmin", 1, 2, 1),
    ("fmax", 1, 2, 2), ("fmin", DENORMAL, ONE, DENORMAL), ("fminabs", NONE, 0x40000000, ONE),
    ("fmaxabs", NONE, 0x40000000, 0x40000000), ("fminabs", NZERO, 0, 0),
    ("fmaxabs", NNAN, ONE, 0x7FC00001),
]  # fmt: skip


@pytest.mark.parametrize("op, a, b, want", MINMAX)
def test_minimum_and_maximum_compare_patterns_and_flush_nothing(lab, op, a, b, want):
    got = lab.vectors([f"{op} r2, r0, r1"], {"r0": a, "r1": b}, ["r2"])["r2"]
    assert (got == want).all()
