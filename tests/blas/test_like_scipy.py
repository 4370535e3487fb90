"""Every routine on the CPU does what SciPy's does, bit for bit: random calls of both, compared.

A call is made twice, on copies of the same arguments: once of SciPy, once of piblas.  Equal must
be the results (bits, type, memory order), the arguments afterwards (what a routine changes in
place), which argument the result is, and, where SciPy refuses, the refusal.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
import pytest
from scipy.linalg import blas

import piblas
from piblas import BlasError
from piblas.blas.docstrings import TYPES
from piblas.routines import ROUTINES

# sgemm has checks of its own and is compared in test_sgemm*.py.
NAMES = [name for name in ROUTINES if hasattr(blas, name) and name != "sgemm"]
CALLS = 30


@pytest.fixture(autouse=True)
def on_the_cpu(fresh):
    with piblas.use("cpu"):
        yield


# --- random arguments ---------------------------------------------------------------------------


def aligned(array):
    """A copy of equal layout at a multiple of 64 bytes, where kernels see the same alignment."""
    if not isinstance(array, np.ndarray):
        return copy.copy(array)
    base = array.base if array.base is not None else array
    room = np.empty(base.nbytes + 64, np.uint8)
    start = -room.ctypes.data % 64
    order = "F" if base.flags.f_contiguous else "C"
    made = room[start : start + base.nbytes].view(base.dtype).reshape(base.shape, order=order)
    made[...] = base
    return made if base is array else made[tuple(slice(0, n * 2, 2) for n in array.shape)]


def numbers(rng, kind, shape):
    values = rng.standard_normal(shape)
    if kind in "cz":
        values = values + 1j * rng.standard_normal(shape)
    return values.astype(TYPES[kind])


def vary(rng, kind, array):
    """An array as a caller may have it: as it is, in another order or type, strided, a list."""
    what = rng.integers(0, 10)
    if what == 0:
        return array.tolist()
    if what == 1:
        return array.astype({"s": "d", "d": "f", "c": "D", "z": "F"}[kind])
    if what == 2:
        wide = np.zeros([2 * n for n in array.shape], array.dtype)
        view = wide[tuple(slice(None, None, 2) for _ in array.shape)]
        view[...] = array
        return view
    if what == 3:
        return np.array(array, order="C")
    return np.array(array, order="F")


def random_call(rng, row):
    """Arguments by name, mostly right, and how many of them go by position."""
    kind, names = row.type, row.arguments
    wrong = rng.random() < 0.15
    m, n, k = (int(rng.integers(0 if rng.random() < 0.1 else 1, 7)) for _ in range(3))
    kl, ku = (int(rng.integers(0, 3)) for _ in range(2))
    inc = {v: int(rng.choice([1, 1, 1, 2, 3, -1, -2])) for v in "xy"}
    off = {v: int(rng.choice([0, 0, 1, 3])) for v in "xy"}
    flags = {name: int(rng.integers(0, 2)) for name in ("lower", "diag", "side")}
    flags.update({name: int(rng.integers(0, 3)) for name in ("trans", "trans_a", "trans_b")})
    flags.update({name: 0 for name in flags if name not in names})
    spare = [0, 0, 2]
    length = {"x": n, "y": m if "m" in row.sizes and row.level == 2 else n}
    if row.level == 2 and "m" in row.sizes and flags["trans"]:
        length = {"x": m, "y": n}
    if row.name[1:4] == "ger":  # SciPy takes no offsets here, and crashes without elements
        m, n = max(m, 2), max(n, 2)
        inc = {v: int(rng.choice([1, -1])) for v in "xy"}
        off, length, spare = {"x": 0, "y": 0}, {"x": m, "y": n}, [0]
    if row.name in ("cspr", "zspr"):  # with a stride their results differ from call to call
        inc = {"x": 1, "y": 1}

    def vector(name):
        short = 1 if wrong and rng.random() < 0.5 else 0
        size = off[name] + max(length[name] - 1, 0) * abs(inc[name]) + 1 - short
        return numbers(rng, kind, max(size, 0) + int(rng.choice(spare)))

    def matrix(name):
        stem, square = row.name[1:], (n, n)
        if stem.startswith("gbmv"):
            shape = (kl + ku + 1, n)
        elif stem[1:3] == "bm" or stem[1:3] == "bs":
            shape = (k + 1, n)
        elif row.level == 2:
            shape = (m, n) if "m" in row.sizes else square
        elif stem == "gemm":
            shape = {"a": (m, k), "b": (k, n), "c": (m, n)}[name]
            if flags.get(f"trans_{name}"):
                shape = shape[::-1]
        elif "k" in row.sizes:
            shape = square if name == "c" else (k, n) if flags["trans"] else (n, k)
        elif name == "a":
            shape = square if flags["side"] else (m, m)
        else:
            shape = (m, n)
        if wrong and rng.random() < 0.5:
            shape = (shape[0] + 1, shape[1])
        return numbers(rng, kind, shape)

    def scalar():
        value = rng.choice([0.0, 1.0, -1.0, rng.standard_normal()])
        return complex(value, rng.standard_normal()) if kind in "cz" else float(value)

    given = {}
    for position, name in enumerate(names):
        if position >= row.required and rng.random() < 0.4:
            continue
        if name in ("x", "y"):
            given[name] = vary(rng, kind, vector(name))
        elif name == "param":
            flag = float(rng.choice([-2, -1, 0, 1]))
            given[name] = np.array([flag, *rng.standard_normal(4)], TYPES[kind])
        elif name == "ap":
            given[name] = vary(rng, kind, numbers(rng, kind, n * (n + 1) // 2))
        elif name in ("a", "b", "c") and row.level > 1:
            given[name] = vary(rng, kind, matrix(name))
        elif name in ("m", "n", "k", "kl", "ku"):
            given[name] = {"m": m, "n": n, "k": k, "kl": kl, "ku": ku}[name]
        elif name.startswith(("inc", "off")):
            values = inc if name[:3] == "inc" else off
            given[name] = 0 if wrong and rng.random() < 0.3 else values[name[3]]
        elif name in flags:
            given[name] = 7 if wrong and rng.random() < 0.3 else flags[name]
        elif name.startswith("overwrite_"):
            given[name] = int(rng.integers(0, 2))
        else:
            given[name] = scalar()
    # What stands before the first argument left out may go by position.
    leading = next((i for i, name in enumerate(names) if name not in given), len(names))
    return given, int(rng.integers(row.required, leading + 1))


# --- the comparison -----------------------------------------------------------------------------


def outcome(function, row, given, positional):
    args = [given[name] for name in row.arguments[:positional]]
    rest = {name: value for name, value in given.items() if name not in row.arguments[:positional]}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return function(*args, **rest), None
    except Exception as error:
        return None, error


def bits(value):
    if isinstance(value, np.ndarray):
        return value.dtype, value.shape, value.strides, value.tobytes("A")
    return type(value), np.array(value).tobytes()


def which(result, given):
    """The arguments that the result shares its memory with, and whether it is the object itself."""
    return [
        (name, result is value)
        for name, value in given.items()
        if isinstance(value, np.ndarray) and np.shares_memory(result, value)
    ]


def compare(row, given, positional):
    """Make the call both ways; returns whether SciPy took it."""
    theirs_given = {name: aligned(value) for name, value in given.items()}
    mine_given = {name: aligned(value) for name, value in given.items()}
    theirs, refused = outcome(getattr(blas, row.name), row, theirs_given, positional)
    mine, error = outcome(getattr(piblas, row.name), row, mine_given, positional)
    for name, value in theirs_given.items():
        assert bits(mine_given[name]) == bits(value), f"argument {name} afterwards"
    if row.name[1:] in ("syr2k", "her2k") and error is not None and error.argument == "b":
        # SciPy reads beyond the end of a b that is shorter than a, or refuses what follows from it.
        assert np.shape(given["b"]) != np.shape(given["a"])
        return False
    if refused is not None:
        assert isinstance(error, BlasError), (refused, error)
        assert error.routine == row.name
        assert str(refused) in str(error)
        return False
    assert error is None, error
    if row.name in ("crotg", "zrotg"):  # SciPy leaves the imaginary part of the real c unset
        mine, theirs = (mine[0].real, mine[1]), (theirs[0].real, theirs[1])
    for one, other in zip(*(x if isinstance(x, tuple) else (x,) for x in (mine, theirs))):
        assert bits(one) == bits(other)
        if isinstance(other, np.ndarray):
            assert which(one, mine_given) == which(other, theirs_given)
    return True


def sweep(name, calls, seed):
    row = ROUTINES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    taken = 0
    for number in range(calls):
        given, positional = random_call(rng, row)
        try:
            taken += compare(row, given, positional)
        except AssertionError as error:
            raise AssertionError(f"{name}, call {number}: {given}") from error
    return taken


@pytest.mark.parametrize("name", NAMES)
def test_random_calls(name):
    # Most calls have to be right, or this compares refusals with refusals.
    assert sweep(name, CALLS, 1) >= CALLS / 2


@pytest.mark.slow
def test_many_random_calls():
    taken = {name: sweep(name, 150, 2) for name in NAMES}
    print(f"\n{150 * len(taken)} calls, {sum(taken.values())} of them taken")
    assert 150 * len(taken) >= 20_000 and min(taken.values()) >= 75
