"""Errors of the functions in units of the last place, over the whole range of float32, and what
they return at its ends."""

from __future__ import annotations

import numpy as np
import pytest
from front import FLOATS, interpreted

from piblas.vector import functions
from piblas.vector.ops import BY_NAME, ROWS

N = 60000
LONG = np.longdouble
OPS = {row.function: row.name for row in ROWS if row.form in ("none", "array") and row.function}
FLOAT = ("float32", "array")


def wide(n, seed, low=-126, high=127):
    """Numbers of any magnitude and sign."""
    rng = np.random.default_rng(seed)
    exponent = rng.integers(low + 127, high + 128, n).astype(np.uint32) << np.uint32(23)
    rest = rng.integers(0, 1 << 23, n, dtype=np.uint32)
    sign = rng.integers(0, 2, n, dtype=np.uint32) << np.uint32(31)
    return (exponent | rest | sign).view(np.float32)


def between(low, high, n=N, seed=3):
    return np.random.default_rng(seed).uniform(low, high, n).astype(np.float32)


NEAR_1 = np.concatenate((between(0.5, 2.0), 1 + wide(N // 4, 5, -23, -2)))
EXPONENTS = np.concatenate((between(-126, 128), between(-1, 1, N // 2)))
CASES = {
    "recip": (lambda x: 1 / x, wide(N, 1)),
    "rsqrt": (lambda x: 1 / np.sqrt(np.abs(x)), wide(N, 2)),
    "sqrt": (lambda x: np.sqrt(np.abs(x)), wide(N, 3)),
    "div": (lambda a, b: a / b, wide(N, 4), wide(N, 5)),
    "exp2": (np.exp2, EXPONENTS),
    "exp": (np.exp, EXPONENTS * np.float32(0.6931)),
    "log2": (lambda x: np.log2(np.abs(x)), np.concatenate((wide(N, 6), NEAR_1))),
    "log": (lambda x: np.log(np.abs(x)), np.concatenate((wide(N, 7), NEAR_1))),
    "sin": (np.sin, between(-3.14159, 3.14159)),
    "cos": (np.cos, between(-3.14159, 3.14159)),
    "tanh": (np.tanh, np.concatenate((wide(N, 8, -126, 4), between(-2, 2)))),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), between(-85, 85)),
}


def ulps(found, exact):
    """Errors in units of the last place of the exact results, of those that are normal numbers."""
    size = np.abs(exact)
    unit = np.exp2(np.floor(np.log2(np.where(size > 0, size, 1))) - 23)
    normal = (size >= LONG(2.0) ** -126) & (size < LONG(2.0) ** 128 * (1 - LONG(2.0) ** -24))
    return np.where(normal, (found.astype(LONG) - exact) / unit, 0)


def applied(function, precise, *operands):
    ops = ["VLOAD", OPS[function], "STORE"]
    types = [FLOAT] * len(operands) + [None]
    return interpreted(ops, types, operands, len(operands[0]), precise)[0]


@pytest.mark.parametrize("precise", [False, True])
@pytest.mark.parametrize("function", sorted(CASES))
def test_largest_error(function, precise):
    """At most what is documented, and no less than half of that."""
    exact, *operands = CASES[function]
    stated = functions.ERRORS[function][precise]
    if function == "div" and not precise:
        operands[1] = wide(N, 5, -126, 125)
    with np.errstate(all="ignore"):
        wanted = exact(*[each.astype(LONG) for each in operands])
    largest = np.abs(ulps(applied(function, precise, *operands), wanted)).max()
    assert stated / 2 < largest <= stated


def test_every_function_with_an_error_is_measured():
    assert set(functions.ERRORS) == set(CASES)


@pytest.mark.parametrize("function", ["sin", "cos"])
def test_large_angles(function):
    """Up to 2**13 the absolute error is at most 2**-22."""
    x = wide(N, 9, -10, 12)
    error = np.abs(applied(function, False, x) - getattr(np, function)(x.astype(np.float64)))
    assert error.max() <= 2.0**-22


# --- what differs from NumPy --------------------------------------------------------------------

INF, NAN, ONE = np.inf, np.nan, 1.0
TINY = 1e-40
# Statements of DIFFERS: (function, operands, result on the QPUs, precise or not, or both).
DIFFERENT = [
    ("fadd", (INF, -INF), -INF), ("fadd", (-INF, INF), INF), ("fadd", (NAN, 1.0), INF),
    ("fadd", (TINY, TINY), 0.0), ("fsub", (INF, INF), -INF), ("fadd", (1.0, 2.0**-24), 1.0),
    ("fadd", (-1.0, 2.0**-25), np.float32(-1.0) + np.float32(2.0**-24)),
    ("fmul", (0.0, INF), 0.0), ("fmul", (0.0, NAN), 0.0), ("fmul", (-1.0, 0.0), 0.0),
    ("fmul", (2.0**-100, 2.0**-40), 0.0),
    ("fmin", (NAN, 1.0), 1.0), ("fmax", (NAN, 1.0), NAN), ("fmin", (TINY, 1.0), TINY),
    ("fminabs", (-3.0, 2.0), 2.0), ("fmaxabs", (-3.0, 2.0), 3.0), ("fmaxabs", (NAN, 1.0), NAN),
    ("fminabs", (NAN, -1.0), 1.0),
    ("recip", (0.0,), INF), ("recip", (-0.0,), INF), ("recip", (NAN,), 0.0), ("recip", (INF,), 0.0),
    ("rsqrt", (0.0,), INF), ("rsqrt", (-4.0,), 0.5), ("rsqrt", (NAN,), 0.0), ("rsqrt", (INF,), 0.0),
    ("sqrt", (0.0,), 0.0), ("sqrt", (-4.0,), 2.0), ("sqrt", (INF,), INF),
    ("sqrt", (NAN,), INF, False), ("sqrt", (NAN,), NAN, True),
    ("exp2", (-126.5,), 0.0), ("exp2", (128.0,), INF), ("exp2", (0.0,), 1.0), ("exp2", (INF,), INF),
    ("exp2", (-INF,), 0.0), ("exp2", (NAN,), INF), ("exp2", (-NAN,), 0.0),
    ("log2", (0.0,), -INF), ("log2", (-0.0,), -INF), ("log2", (TINY,), -INF), ("log2", (INF,), INF),
    ("log2", (-4.0,), 2.0), ("log2", (NAN,), INF), ("log2", (1.0,), 0.0),
    ("exp", (0.0,), 1.0), ("exp", (89.0,), INF), ("exp", (-87.4,), 0.0), ("exp", (INF,), INF),
    ("exp", (-INF,), 0.0), ("exp", (NAN,), INF), ("exp", (-NAN,), 0.0),
    ("log", (0.0,), -INF), ("log", (INF,), INF), ("log", (1.0,), 0.0), ("log", (NAN,), INF),
    ("log", (TINY,), -INF),
    ("div", (1.0, 0.0), INF), ("div", (-1.0, 0.0), -INF), ("div", (1.0, -0.0), INF),
    ("div", (0.0, 0.0), 0.0), ("div", (INF, INF), 0.0), ("div", (INF, 2.0), INF),
    ("div", (1.0, INF), 0.0), ("div", (2.0**127, 2.0**127), 0.0, False),
    ("div", (2.0**127, 2.0**127), 1.0, True),
    ("tanh", (INF,), 1.0), ("tanh", (-INF,), -1.0), ("tanh", (NAN,), 1.0), ("tanh", (-NAN,), -1.0),
    ("tanh", (0.0,), 0.0), ("sigmoid", (INF,), 1.0), ("sigmoid", (-INF,), 0.0),
    ("sigmoid", (NAN,), 1.0), ("sigmoid", (-NAN,), 0.0),
    ("floor", (-0.5,), -1.0), ("floor", (-0.0,), 0.0), ("floor", (INF,), INF),
    ("floor", (3e9,), 3e9), ("ceil", (-0.5,), 0.0), ("ceil", (2.5,), 3.0), ("ceil", (-INF,), -INF),
]  # fmt: skip


@pytest.mark.parametrize("case", DIFFERENT, ids=lambda case: f"{case[0]}{case[1]}")
def test_results_that_differ_and_ends_of_the_range(case):
    function, operands, wanted, *only = case
    for precise in only or (False, True):
        given = [np.array([each], np.float32) for each in operands]
        for each, value in zip(given, operands):
            if value != value:  # NumPy's NaN may lose its sign
                each.view(np.uint32)[0] = 0x7FC00000 | (np.signbit(value) and 0x80000000)
        found = applied(function, precise, *given)[0]
        near = 0 if wanted in (0.0, INF, -INF) else 2e-4
        if wanted != wanted:
            assert np.isnan(found)
        else:
            assert found == pytest.approx(wanted, rel=near, abs=0), precise
            if wanted == 0.0:
                assert not np.signbit(found)


def test_every_operation_says_what_differs():
    wanted = {row.function for row in ROWS if row.function}
    wanted -= {"sum", "argmin", "argmax"}
    assert wanted <= set(functions.DIFFERS)
    assert set(functions.FUNCTIONS) <= set(functions.DIFFERS)


@pytest.mark.parametrize("function", ["fabs", "fneg"])
def test_nothing_differs(function):
    numpy = {"fabs": np.abs, "fneg": np.negative}[function]
    found, wanted = applied(function, False, FLOATS), numpy(FLOATS)
    assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))


def test_rows_name_functions():
    """Each op names an operation of the machine or a function."""
    from piblas.vector.interpret import MACHINE

    for row in BY_NAME.values():
        if row.function and row.form in ("none", "variable", "scalar", "array"):
            known = {*MACHINE, *functions.FUNCTIONS, "lt", "le", "eq", "ne", "bits"}
            assert row.function in known, row
