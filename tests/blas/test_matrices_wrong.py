"""Levels 2 and 3 on the emulated QPUs: every argument wrong in every way, one at a time.

As :mod:`test_level1_wrong`: SciPy says whether a call is refused, with what words, or what it
gives, and a refused call has changed nothing.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.linalg import blas
from test_level1_wrong import NUMBERS, compare
from test_like_scipy import outcome

import piblas
from piblas import BlasError
from piblas.routines import KERNELS, ROUTINES

F32 = np.float32
N, K = 6, 2
NAMES = [name for name in KERNELS if ROUTINES[name].level > 1 and name != "sgemm"]
SOLVERS = [name for name in NAMES if name[1:3] in ("tr", "tb", "tp") and name[-2:] in ("sv", "sm")]


def whole(rows, columns, seed=0):
    """Small integers, with ones where a solver divides."""
    numbers = np.random.default_rng(seed).integers(-3, 4, (rows, columns)).astype(F32)
    if rows == columns:
        np.fill_diagonal(numbers, 1)
    return np.asfortranarray(numbers)


VECTOR = np.arange(1, 2 * N + 4, dtype=F32)


def base(name):
    """A right call by name of argument."""
    stem = name[1:]
    given = {
        "alpha": 2.0, "beta": -1.0, "n": N, "m": N, "k": K, "kl": 1, "ku": 2, "a": whole(N, N),
        "b": whole(N, N, 1), "c": whole(N, N, 2), "ap": np.ones(N * (N + 1) // 2, F32),
        "x": VECTOR, "y": VECTOR[::-1].copy(), "incx": 2, "incy": 2, "offx": 3, "offy": 1,
        "lower": 1, "trans": 1, "trans_a": 1, "diag": 0, "side": 1,
    }  # fmt: skip
    if stem[1] == "b":
        given["a"] = whole(K + 1 if stem != "gbmv" else 4, N)
        if name in SOLVERS:
            given["a"][0] = 1
    if stem == "ger":
        given.update(x=VECTOR[:N], y=VECTOR[1:][:N], incx=1, incy=-1)
    if name in ("strsm", "strmm"):
        given["a"] = np.asfortranarray(np.tril(whole(N, N)))
    row = ROUTINES[name]
    return {key: value for key, value in given.items() if key in row.arguments}


def unaligned():
    room = np.zeros(4 * N * N + 1, np.uint8)
    table = room[1:].view(F32).reshape((N, N), order="F")
    table[...] = whole(N, N)
    return table


def read_only():
    table = whole(N, N)
    table.flags.writeable = False
    return table


MATRICES = (
    np.zeros((0, 0), F32), np.zeros((0, N), F32), np.zeros((N, 0), F32), whole(N - 1, N),
    whole(N, N - 1), whole(N + 1, N), whole(N, N + 1), whole(1, N), whole(N, 1), whole(1, 1),
    VECTOR[:N], np.zeros((N, N, 2), F32), np.zeros((N, N, 1), F32), 3.0, None, "abc", object(),
    [["a"] * N] * N, [[1.0], [2.0, 3.0]], whole(N, N).tolist(), whole(N, N).astype(int),
    whole(N, N).astype(float), whole(N, N) * 1j, whole(N, N) > 0, whole(N, N).astype(">f4"),
    whole(N, N).astype(np.float16), np.full((N, N), np.nan, F32), np.full((N, N), np.inf, F32),
    np.ascontiguousarray(whole(N, N)), lambda: whole(2 * N, 2 * N)[::2, ::2],
    lambda: whole(N, N)[::-1, ::-1], unaligned, read_only,
    lambda: np.ma.masked_array(whole(N, N), whole(N, N) > 2),
)  # fmt: skip
VECTORS = (
    np.zeros(0, F32), [], VECTOR[:1], VECTOR[: N - 1], VECTOR.tolist(), VECTOR.reshape(1, -1),
    VECTOR.reshape(-1, 1), 3.0, None, "abc", object(), ["a"] * N, VECTOR * 1j, VECTOR > 3,
    VECTOR.astype(int), VECTOR.astype(">f4"), np.full(VECTOR.size, np.nan, F32),
    np.full(VECTOR.size, np.inf, F32), lambda: np.arange(2 * VECTOR.size, dtype=F32)[::2],
)  # fmt: skip
COUNTS = (
    -(2**31), -1, 0, 1, N - 1, N + 1, 10**6, 2**31, 10**12, 2.0, 2.5, "a", None, True, [3], 1j,
)  # fmt: skip
FLAGS = (-1, 0, 1, 2, 3, 10**12, 0.0, 1.0, 0.5, "a", None, True, [1])
STEPS = {
    "inc": (0, 1, -1, -2, 3, 100, 10**12, 1.0, "a", None, True),
    "off": (-1, 0, 5, VECTOR.size - 1, VECTOR.size, 10**12, 1.0, "a", None, True),
}


def wrong_values(argument):
    if argument in ("alpha", "beta"):
        return NUMBERS
    if argument in ("a", "b", "c"):
        return MATRICES
    if argument in ("x", "y", "ap"):
        return VECTORS
    if argument in ("lower", "trans", "trans_a", "diag", "side"):
        return FLAGS
    if argument.startswith("overwrite_"):
        return (1, 2, -1, "a", None, True, 1.0)
    return STEPS.get(argument[:3], COUNTS)


@pytest.fixture(autouse=True)
def emulator(device, fresh):
    with piblas.use(device), warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield


def short(a, b):
    """Whether b, a matrix with as many rows as a, has fewer columns."""
    if any(callable(value) or isinstance(value, (str, type(None))) for value in (a, b)):
        return False
    sizes = []
    for value in (a, b):
        try:
            array = np.asarray(value)
        except ValueError:
            return False
        if array.dtype.kind in "OU" or array.ndim > 2:
            return False
        sizes.append(array.shape if array.ndim == 2 else (array.size, 1))
    return sizes[0][0] == sizes[1][0] and sizes[1][1] < sizes[0][1]


@pytest.mark.parametrize("name", NAMES)
def test_each_argument_wrong(name):
    row, seen = ROUTINES[name], []
    for argument in row.arguments:
        for value in wrong_values(argument):
            given = base(name)
            given[argument] = value
            if name == "sger" and argument in ("x", "y") and hasattr(value, "__len__"):
                if len(value) == 0:  # SciPy crashes
                    with pytest.raises(BlasError, match=f"argument {argument}"):
                        piblas.sger(**given)
                    continue
            if name == "ssyr2k" and argument in ("a", "b") and short(given["a"], given["b"]):
                kept = given["c"].copy()
                with pytest.raises(BlasError, match="argument b = .* so b has to"):
                    piblas.ssyr2k(**given)  # SciPy reads beyond its end
                np.testing.assert_array_equal(given["c"], kept)
                continue
            try:
                seen.append(compare(name, given))
            except AssertionError as error:
                raise AssertionError(f"{name}: {argument} = {value!r}: {error}") from error
    assert seen.count("refused") >= 20 and seen.count("done") >= 20
    # A system of one block is solved without a launch.
    assert piblas.stats().get("emulator") or row.level == 2 and name in SOLVERS


IN_PLACE = [name for name in NAMES if any(a[:5] == "overw" for a in ROUTINES[name].arguments)]


@pytest.mark.parametrize("name", [name for name in IN_PLACE if ROUTINES[name].level == 2])
def test_overlap_of_input_and_result(name):
    """The result is part of an operand's memory: as SciPy does, whatever that is."""
    row = ROUTINES[name]
    flag = next(a for a in reversed(row.arguments) if a.startswith("overwrite_"))
    target = flag[10:]
    for other in ("a", "ap", "x"):
        if other not in row.arguments or other == target:
            continue
        results = []
        for library in (piblas, blas):
            given = base(name)
            words = np.arange(1, 101, dtype=F32) % 7
            source = np.asarray(given[other])
            given[other] = words[: source.size].reshape(source.shape, order="F")
            shape = np.shape(given[target])
            size = int(np.prod(shape))
            given[target] = words[4 : 4 + size].reshape(shape, order="F")
            given[flag] = 1
            if "trans" in given:
                given["diag" if "diag" in given else "trans"] = 1
            value, error = outcome(getattr(library, name), row, given, row.required)
            assert error is None, (name, error)
            results.append((value, words))
        (mine, ours), (wanted, theirs) = results
        np.testing.assert_array_equal(mine, wanted)
        np.testing.assert_array_equal(ours, theirs)
