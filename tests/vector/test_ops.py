"""Every op in every form, on the emulated chip: the bits of the interpreter, and what NumPy or
exact arithmetic says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from front import floats, integers, interpreted, same

import piblas
from piblas import vector
from piblas.vector import Function
from piblas.vector.functions import DIFFERS
from piblas.vector.ops import BY_NAME, ROWS, VARIABLES

N = 320
VAR_0, VAR_1 = VARIABLES["VAR_0"], VARIABLES["VAR_1"]
BINARY = [row for row in ROWS if row.form == "variable"]
UNARY = [row for row in ROWS if row.form == "none"]


def u(x):
    return x.view(np.uint32)


def distance(b):
    return u(b) & np.uint32(31)


def shifted(a, b, function):
    return function(a, distance(b)).astype(np.uint32)


def asr(a, b):
    return u(a.view(np.int32) >> distance(b).astype(np.int32))


def product24(a, b):
    low = np.uint64(0xFFFFFF)
    return ((u(a).astype(np.uint64) & low) * (u(b).astype(np.uint64) & low)).astype(np.uint32)


def ror(a, b):
    wide = u(a).astype(np.uint64) * np.uint64(0x100000001)
    return (wide >> distance(b).astype(np.uint64)).astype(np.uint32)


# By function, from arrays of the op's type to the result; float results within some ulp.
EXACT = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "min": np.minimum, "max": np.maximum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.invert,
    "abs": np.abs, "mul24": product24, "ror": ror, "asr": asr,
    "shl": lambda a, b: shifted(u(a), b, np.left_shift),
    "shr": lambda a, b: shifted(u(a), b, np.right_shift),
    "clz": lambda a: np.array([32 - int(x).bit_length() for x in u(a)], np.uint32),
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal, "eq": np.equal,
    "ne": np.not_equal, "bits": lambda a: a,
}  # fmt: skip
ROUNDED = {
    "fadd": np.add, "fsub": np.subtract, "fmul": np.multiply, "fmin": np.minimum,
    "fmax": np.maximum, "fminabs": lambda a, b: np.minimum(np.abs(a), np.abs(b)),
    "fmaxabs": lambda a, b: np.maximum(np.abs(a), np.abs(b)), "div": np.divide,
    "ftoi": np.trunc, "itof": lambda a: a, "exp2": np.exp2, "log2": lambda x: np.log2(np.abs(x)),
    "recip": lambda x: 1 / x, "rsqrt": lambda x: 1 / np.sqrt(np.abs(x)),
    "sqrt": lambda x: np.sqrt(np.abs(x)), "exp": np.exp, "log": lambda x: np.log(np.abs(x)),
    "sin": np.sin, "cos": np.cos, "tanh": np.tanh, "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "fabs": np.abs, "fneg": np.negative, "floor": np.floor, "ceil": np.ceil,
}  # fmt: skip


def check(row, found, *operands):
    """A result against NumPy or exact arithmetic."""
    with np.errstate(all="ignore"):
        if row.function in EXACT and operands[0].dtype.kind in "iu":
            wanted = EXACT[row.function](*operands)
            assert np.array_equal(u(wanted) if wanted.dtype != bool else wanted,
                                  u(found) if found.dtype != bool else found)  # fmt: skip
            return
        wide = [each.astype(np.float64) for each in operands]
        fair = np.ones(len(found), bool)
        for each in wide:
            fair &= (
                np.isfinite(each) & (np.abs(each) < 1e4) & ((np.abs(each) > 1e-30) | (each == 0))
            )
        if row.function in ("recip", "log2", "log", "rsqrt", "div"):
            fair &= wide[-1] != 0
        if row.function in EXACT:
            wanted = EXACT[row.function](*wide)
            assert np.array_equal(found[fair], wanted[fair])
            return
        wanted = ROUNDED[row.function](*wide)
        fair &= np.abs(wanted) < 1e30
        assert np.count_nonzero(fair) > 20
        error = 2.0**-11 if row.function not in ("fadd", "fsub", "fmul", "itof") else 2.0**-22
        size = np.maximum(np.abs(wanted[fair]), np.max(np.abs(np.stack(wide)), 0)[fair] * 1e-3)
        assert (np.abs(found[fair] - wanted[fair]) <= error * size + 1e-30).all()


def kinds_of(row):
    """The types of arrays that an op is tried with."""
    return {"float": ("float32",), "int": ("int32", "uint32"), "bits": ("int32", "float32"),
            "same": ("int32", "uint32", "float32")}[row.takes]  # fmt: skip


def operands_of(row, dtype):
    make = floats if dtype == "float32" else integers
    a, b = make(N, 1), make(N, 2)
    if dtype == "uint32":
        a, b = u(a), u(b)
    if row.takes == "bits":
        b = integers(N, 3)
    if a.dtype == b.dtype:
        b[:10] = a[:10]  # comparisons find equal ones
    return a, b


NUMBERS = {
    "float32": (1.5, -0.37, 3e38),
    "int32": (3, -7, 40, 0x7FFFFFFF),
    "uint32": (3, 0xFFFFFFF0),
}


@pytest.mark.parametrize("row", BINARY, ids=lambda row: row.name)
def test_forms_with_an_operand(row, on_chip):
    """V, S, variable, number: one function stores all four."""
    name = row.name
    for dtype in kinds_of(row):
        a, b = operands_of(row, dtype)
        written = "int32" if row.takes == "bits" else dtype
        for number in NUMBERS[written][:2]:
            ops = [
                "VLOAD", "SAVE0", "V" + name, "STORE", ("OPEN", VAR_0), "S" + name, "STORE",
                "VLOAD", "SAVE1", "OPEN0", (name, VAR_1), "STORE", "OPEN0", (name, number), "STORE",
            ]  # fmt: skip
            given = (a, b, number, b)
            found = Function(ops)(*given)
            typed = {"float32": "float32"}.get(written, "int32")
            types = [(dtype, "array"), (b.dtype.name, "array"), None, (typed, "number"), None,
                     (b.dtype.name, "array"), None, None]  # fmt: skip
            wanted = interpreted(ops, types, (a, b, number, b), N)
            scalar = np.full(N, number, {"int32": np.int32}.get(written, written))
            for each, exact, other in zip(found, wanted, (b, scalar, b, scalar)):
                if each.dtype == bool:
                    exact = exact.view(bool)
                assert same(each, exact), (dtype, number)
                if not (row.takes == "bits" and dtype == "float32"):
                    check(row, each, a, other)


@pytest.mark.parametrize("row", UNARY, ids=lambda row: row.name)
def test_forms_without_an_operand(row, on_chip):
    for dtype in kinds_of(row):
        a, _ = operands_of(row, dtype)
        for precise in (False, True):
            found = Function(["VLOAD", row.name, "STORE"], precise)(a)
            wanted = interpreted(["VLOAD", row.name, "STORE"], [(dtype, "array"), None], (a,), N,
                                 precise)  # fmt: skip
            assert same(found, wanted[0])
            if not (row.takes == "bits" and dtype == "float32") and row.name != "ITOF":
                check(row, found, a)
        if row.name == "ITOF":
            assert (np.abs(found.astype(float) - a) <= np.abs(a.astype(float)) * 2.0**-23).all()


@pytest.mark.parametrize("name", ["SABS", "VABS"])
def test_abs_takes_an_argument_and_ignores_it_as_pimd_does(name, on_chip):
    x = integers(N, 4)
    other = 5 if name == "SABS" else integers(N, 5)
    with np.errstate(over="ignore"):
        assert same(Function(["VLOAD", name, "STORE"])(x, other), np.abs(x))


COMPARISONS = {"LT": np.less, "LE": np.less_equal, "GT": np.greater, "GE": np.greater_equal,
               "EQ": np.equal, "NE": np.not_equal}  # fmt: skip


@pytest.mark.parametrize("name", COMPARISONS)
@pytest.mark.parametrize("dtype", ["int32", "float32"])
def test_if(name, dtype, on_chip):
    """In all forms, with and without ELSE."""
    a, b = (
        (integers(N, 6), integers(N, 7))
        if dtype == "int32"
        else (
            np.round(np.random.default_rng(seed).standard_normal(N).astype(np.float32) * 2)
            for seed in (6, 7)
        )
    )
    add, number = ("ADD", 3) if dtype == "int32" else ("FADD", 3.0)
    ops = [
        "VLOAD", "SAVE0", "VIF_" + name, (add, number), "END_IF", "STORE",
        "OPEN0", "SIF_" + name, (add, number), "ELSE", (add, 2 * number), "END_IF", "STORE",
        "VLOAD", "SAVE1", "OPEN0", ("IF_" + name, VAR_1), "OPEN1", "END_IF", "STORE",
        "OPEN0", ("IF_" + name, number), "SAVE1", (add, number), "END_IF", "STORE", "OPEN1",
        "STORE",
    ]  # fmt: skip
    found = Function(ops)(a, b, number, b)
    compare, three = COMPARISONS[name], a.dtype.type(number)
    with np.errstate(over="ignore"):
        more = a + three
        assert same(found[0], np.where(compare(a, b), more, a))
        assert same(found[1], np.where(compare(a, three), more, more + three))
        assert same(found[2], np.where(compare(a, b), b, a))
        assert same(found[3], np.where(compare(a, three), more, a))
        assert same(found[4], np.where(compare(a, three), a, b))


@pytest.mark.parametrize("dtype", ["float32", "int32", "uint32"])
def test_reductions(dtype, on_chip):
    rng = np.random.default_rng(8)
    x = (rng.standard_normal(N) * 1000).astype(np.float32)
    x = x if dtype == "float32" else (x * 1e6).astype(np.int64).astype(dtype)
    y = x[::-1].copy()
    ops = ["VLOAD", "SUM", "REDUCE_MIN", "REDUCE_MAX", "ARGMIN", "ARGMAX", "VDOT", ("DOT", 2),
           "SDOT"]  # fmt: skip
    found = Function(ops)(x, y, 3)
    with np.errstate(over="ignore"):
        if dtype == "float32":
            assert found[0] == pytest.approx(float(x.astype(float).sum()), rel=1e-4)
            assert found[5] == pytest.approx(float((x.astype(float) * y).sum()), rel=1e-4)
            assert found[6] == pytest.approx(2 * float(x.astype(float).sum()), rel=1e-4)
            assert found[7] == pytest.approx(3 * float(x.astype(float).sum()), rel=1e-4)
        else:
            three = np.dtype(dtype).type(3)
            wanted = x.sum(dtype=dtype), (x * y).sum(dtype=dtype), x.sum(dtype=dtype) * 2
            assert (found[0], found[5], found[6]) == wanted
            assert found[7] == (x * three).sum(dtype=dtype)
    assert found[1:5] == (x.min(), x.max(), x.argmin(), x.argmax())
    assert np.asarray(found[0]).dtype == dtype and np.asarray(found[1]).dtype == dtype


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float16", "uint32", "int32", "float32"])
def test_types_of_arrays(dtype, on_chip):
    """Loaded as NumPy widens them; stored by out= as NumPy wraps and rounds."""
    rng = np.random.default_rng(9)
    if dtype.startswith("float"):
        x = (rng.standard_normal(N) * 100).astype(dtype)
        found = Function(["VLOAD", "STORE"])(x)
        assert same(found, x.astype(np.float32))
        narrow = np.empty(N, dtype)
        assert Function(["VLOAD", ("FMUL", 3.0), "STORE"])(x, out=narrow) is narrow
        wanted = x.astype(np.float32) * np.float32(3)
        assert np.allclose(narrow.astype(float), wanted, rtol=2e-3 if dtype == "float16" else 1e-6)
        return
    info = np.iinfo(dtype)
    x = rng.integers(info.min, int(info.max) + 1, N).astype(dtype)
    found = Function(["VLOAD", "STORE"])(x)
    assert same(found, x if dtype == "uint32" else x.astype(np.int32))
    narrow = np.empty(N, dtype)
    Function(["VLOAD", ("MUL", 37), ("SUB", 5), "STORE"])(x, out=narrow)
    with np.errstate(over="ignore"):
        assert same(narrow, (x.astype(np.int64) * 37 - 5).astype(dtype))


def test_masks(on_chip):
    a, b = integers(N, 10), integers(N, 11)
    ops = [
        "VLOAD", "SAVE0", ("LT", 10), "SAVE1", "OPEN0", "VGT", "SAVE2",
        ("AND", VAR_1), "STORE", "OPEN2", ("OR", VAR_1), "STORE", "OPEN2", ("XOR", VAR_1), "STORE",
        "NOT", "STORE", ("SELECT", VAR_0, 7), "STORE", "OPEN2", ("SELECT", 1.5, -2.5), "STORE",
    ]  # fmt: skip
    found = Function(ops)(a, b)
    p, q = a < 10, a > b
    for each, wanted in zip(found, (p & q, p | q, p ^ q, ~(p ^ q))):
        assert each.dtype == bool and same(each, wanted)
    assert same(found[4], np.where(~(p ^ q), a, np.int32(7)))
    assert same(found[5], np.where(q, np.float32(1.5), np.float32(-2.5)))


def test_bits_of_a_float_may_be_taken_for_either(on_chip):
    x = floats(N, 12)
    ops = ["VLOAD", ("AND", 0x7FFFFFFF), ("FMUL", 1.0), "STORE", "VLOAD", ("SHR", 23), ("AND", 255),
           ("SUB", 127), "STORE"]  # fmt: skip
    found = Function(ops)(x, x)
    assert found[0].dtype == np.float32 and found[1].dtype == np.uint32
    assert np.array_equal(found[1].view(np.int32), (u(x) >> 23 & 255).astype(np.int32) - 127)


def test_all_names_are_there():
    for name in BY_NAME:
        assert getattr(vector, name) == name and name in vector.__all__
    for prefix in ("", "OP_"):
        for form in "SV":
            for (
                name
            ) in "ADD SUB MIN MAX ABS AND OR XOR SHL SHR ASR ROR MUL24 MUL FADD FSUB".split():
                assert prefix + form + name in BY_NAME
    assert vector.VAR_3 == 3 and repr(vector.VAR_3) == "VAR_3"
    assert {row.function for row in BINARY} <= set(DIFFERS)


@pytest.mark.parametrize("row", [*BINARY, *UNARY], ids=lambda row: row.name)
def test_the_cpu_computes_each_op(row, fresh):
    """With NumPy's semantics."""
    with piblas.use("cpu"), warnings.catch_warnings():
        warnings.simplefilter("error")
        for dtype in kinds_of(row):
            a, b = operands_of(row, dtype)
            if row.form == "variable":
                found = Function(["VLOAD", "V" + row.name, "STORE"])(a, b)
                operands = (a, b)
            else:
                found, operands = Function(["VLOAD", row.name, "STORE"])(a), (a,)
            if not (row.takes == "bits" and dtype == "float32"):
                check(row, found, *operands)
