"""Level 1 on the emulated QPUs: every argument wrong in every way, one at a time.

SciPy, given copies of the same arguments, says whether a call is refused, with what words, or what
it gives.  A refused call has changed nothing.
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from scipy.linalg import blas
from test_level1_api import NAMES
from test_like_scipy import outcome, which

import piblas
from piblas import BlasError
from piblas.routines import ROUTINES

F32 = np.float32
SIZE = 24
BASE = {
    "x": np.arange(1, SIZE + 1, dtype=F32),
    "y": np.arange(SIZE, dtype=F32) - 7,
    "n": 9,
    "incx": 2,
    "incy": 2,
    "offx": 3,
    "offy": 1,
    "a": 2.0,
    "c": 3.0,
    "s": -2.0,
    "param": np.array([-1, 1, 2, 3, 4], F32),
}


def read_only():
    array = BASE["x"].copy()
    array.flags.writeable = False
    return array


def strided():
    return np.arange(2 * SIZE, dtype=F32)[::2]


def unaligned():
    room = np.zeros(4 * SIZE + 1, np.uint8)
    room[1:].view(F32)[...] = BASE["x"]
    return room[1:].view(F32)


def masked():
    return np.ma.masked_array(BASE["x"].copy(), BASE["x"] > 3)


NUMBERS = (0.0, -0.0, 2.0**9, np.inf, np.nan, 2, True, "q", None, 1j, [2.0], [1.0, 2.0],
           np.float64(2), np.array(2.0), np.array([2.0]))  # fmt: skip
VECTORS = (
    [], [1.0] * SIZE, np.zeros(0, F32), np.zeros((2, SIZE), F32), np.zeros((SIZE, 1), F32),
    np.array(1.0, F32), 3.0, None, "abc", object(), ["a"] * SIZE, [[1.0], [2.0, 3.0]],
    np.arange(SIZE), np.arange(SIZE, dtype=float), np.arange(SIZE) * 1j, np.ones(SIZE, bool),
    np.arange(SIZE, dtype=">f4"), np.arange(SIZE, dtype=np.float16), np.full(SIZE, np.nan, F32),
    np.full(SIZE, np.inf, F32), masked, read_only,
    strided, lambda: strided()[::-1], unaligned,
)  # fmt: skip
WRONG = {
    "n": (-(2**31), -1, 0, 1, 12, 13, 10**6, 2**31, 10**12, 2.0, 2.5, "a", None, True, [3], 1j),
    "inc": (0, 1, -1, -2, 3, 100, 10**12, 1.0, "a", None, True),
    "off": (-1, 0, 5, SIZE - 1, SIZE, SIZE + 1, 10**12, 1.0, "a", None, True),
    "param": ([], [1.0], np.zeros(6), np.zeros((5, 1)), np.zeros(5) * 1j, "abcde", None,
              [7.0, 1, 2, 3, 4], [np.nan] * 5, [-1, np.inf, 0, 0, 1], np.arange(5)),
}  # fmt: skip


def wrong_values(argument):
    if argument in ("x", "y"):
        return VECTORS
    if argument in ("a", "c", "s"):
        return NUMBERS
    if argument.startswith("overwrite_"):
        return (1, 2, -1, "a", None, True, 1.0)
    return WRONG[argument if argument in WRONG else argument[:3]]


def compare(name, given):
    """Both calls on copies; returns "refused" or "done"."""
    row = ROUTINES[name]
    ours, theirs = (
        {k: fresh_copy(v) for k, v in given.items()} for _ in range(2)
    )
    wanted, refused = outcome(getattr(blas, name), row, theirs, row.required)
    done, error = outcome(getattr(piblas, name), row, ours, row.required)
    for argument, value in theirs.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_array_equal(ours[argument], value, f"{name}: {argument} afterwards")
    if refused is not None:
        assert isinstance(error, BlasError), (name, given, refused, error)
        assert error.routine == name and str(refused) in str(error)
        for argument, value in given.items():
            if isinstance(ours[argument], np.ndarray):
                np.testing.assert_array_equal(ours[argument], fresh_copy(value))
        return "refused"
    assert error is None, (name, given, error)
    pairs = zip(done, wanted) if isinstance(wanted, tuple) else [(done, wanted)]
    for one, other in pairs:
        same(one, other, name)
        if isinstance(other, np.ndarray):
            assert which(one, ours) == which(other, theirs)
    return "done"


def same(mine, theirs, routine):
    assert type(mine) is type(theirs)
    if isinstance(theirs, np.ndarray):
        assert (mine.dtype, mine.strides) == (theirs.dtype, theirs.strides)
        # Where a solver divides, one of two may round the other way.
        rtol = 1e-5 if routine[-2:] in ("sv", "sm") else 0
        np.testing.assert_allclose(mine, theirs, rtol=rtol, atol=rtol)
    else:
        np.testing.assert_allclose(mine, theirs, rtol=1e-6 if routine == "snrm2" else 0)


def fresh_copy(value):
    """Layouts that a copy would lose are made anew."""
    if callable(value):
        return value()
    return value.copy() if isinstance(value, np.ndarray) else value


@pytest.fixture(autouse=True)
def emulator(device, fresh):
    with piblas.use(device), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", NAMES)
def test_each_argument_wrong(name):
    row = ROUTINES[name]
    seen = set()
    for argument in row.arguments:
        for value in wrong_values(argument):
            given = {k: v for k, v in BASE.items() if k in row.arguments}
            given[argument] = value
            try:
                seen.add(compare(name, given))
            except AssertionError as error:
                raise AssertionError(f"{name}: {argument} = {value!r}: {error}") from error
    assert seen == {"refused", "done"}


@pytest.mark.parametrize("name", [name for name in NAMES if "y" in ROUTINES[name].arguments])
def test_overlapping_operands(name):
    """x and y share words, wholly or in part: as SciPy does, whatever that is."""
    row = ROUTINES[name]
    plain = {k: v for k, v in BASE.items() if k in row.arguments and k[:3] not in ("inc", "off")}
    for first, second in ((0, 0), (0, 1), (1, 0), (0, 12), (5, 0)):
        for flags in ({}, {k: 1 for k in row.arguments if k.startswith("overwrite_")}):
            results = []
            for library in (piblas, blas):
                words = np.arange(40, dtype=F32)
                given = {**plain, **flags, "x": words[first:][:SIZE], "y": words[second:][:SIZE]}
                value, error = outcome(getattr(library, name), row, given, row.required)
                assert error is None
                results.append((value, words))
            (mine, ours), (wanted, theirs) = results
            np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_array_equal(mine, wanted)
