"""Whose memory a result goes to: the caller's array, a new one, or, left to SciPy, what an object
shares with NumPy.  On the QPUs as on the CPU."""

from __future__ import annotations

import array

import numpy as np
import pytest
from scipy.linalg import blas

import piblas
from piblas.host.outcome import SORT_OUT
from piblas.routines import KERNELS, ROUTINES

F32 = np.float32
N, K = 20, 3
ASKED = {"emulator": {"the emulator was asked for": 1}}
NAMES = [
    name
    for name in KERNELS
    if ROUTINES[name].level < 3
    and ROUTINES[name].family.scipy
    and (ROUTINES[name].modified or any(a[:5] == "overw" for a in ROUTINES[name].arguments))
]


class Wrapped:
    """An object with an array of its own, as those of other libraries."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values


KINDS = {
    "list of numbers": lambda values: [float(v) for v in values.ravel()],
    "list of float32": lambda values: list(values.ravel()),
    "tuple of float32": lambda values: tuple(values.ravel()),
    "memoryview": memoryview,
    "array.array": lambda values: array.array("f", values.ravel()),
    "__array__": Wrapped,
    "float64": lambda values: values.astype(np.float64),
    "read-only": lambda values: np.frombuffer(values.tobytes("A"), F32).reshape(
        values.shape, order="F"
    ),
    "a part": lambda values: np.repeat(values, 2, axis=0)[::2],
    "its own": lambda values: values,
}


def base(name):
    """A right call, its result one of the arguments."""
    stem = name[1:]
    rng = np.random.default_rng(3)
    square = np.asfortranarray(np.tril(rng.integers(1, 4, (N, N))).astype(F32))
    np.fill_diagonal(square, 1)
    given = {
        "alpha": 2.0, "beta": 3.0, "n": N, "m": N, "k": K, "kl": 1, "ku": 2, "lower": 1, "incx": 1,
        "a": square if stem[1] != "b" else np.ones((K + 1, N), F32, order="F"),
        "ap": np.ones(N * (N + 1) // 2, F32), "x": np.arange(1, N + 1, dtype=F32),
        "y": np.arange(N, dtype=F32)[::-1].copy(), "c": 0.5, "s": 2.0, "param": [-1, 2, 3, 4, 5],
    }  # fmt: skip
    if ROUTINES[name].level == 1:
        given["a"] = 2.0
    return {key: value for key, value in given.items() if key in ROUTINES[name].arguments}


def results(row):
    """The arguments that a result may go to."""
    if row.name == "sger":  # whose overwrite_x and overwrite_y change nothing
        return ["a"]
    names = ("a", "ap", "x", "y")
    return [n for n in names if n in row.modified or f"overwrite_{n}" in row.arguments]


def words(value):
    return np.array(value.values if isinstance(value, Wrapped) else value, copy=True)


@pytest.fixture(autouse=True)
def emulator(device, fresh):
    with piblas.use(device):
        yield


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", NAMES)
def test_results_go_where_scipy_writes(name, kind):
    row = ROUTINES[name]
    for target in results(row):
        for overwrite in (0, 1) if f"overwrite_{target}" in row.arguments else (None,):
            if kind.startswith(("list", "tuple", "array")) and target == "a":
                continue  # of numbers in a row, which are no matrix
            outcomes, counted = [], {}
            for library in (piblas, blas):
                given = base(name)
                given[target] = KINDS[kind](given[target])
                if overwrite is not None:
                    given[f"overwrite_{target}"] = overwrite
                piblas.reset_stats()
                order = [given.pop(n) for n in row.arguments[: row.required]]
                at = row.arguments.index(target)
                held = order[at] if at < row.required else given[target]
                got = getattr(library, name)(*order, **given)
                counted = piblas.stats() if library is piblas else counted
                got = got if isinstance(got, tuple) else (got,)
                own = any(one is held for one in got)
                outcomes.append(([np.array(one) for one in got], words(held), own))
            (mine, after, same), (theirs, wanted, same_there) = outcomes
            for one, other in zip(mine, theirs):
                np.testing.assert_allclose(one, other, rtol=1e-5)
            np.testing.assert_allclose(after, wanted, rtol=1e-5)
            assert same == same_there
            shared = kind in ("memoryview", "array.array", "__array__")
            if shared or kind == "read-only" and overwrite != 0:
                assert counted == {"cpu": {SORT_OUT: 1}}
            elif not name.endswith("sv"):  # a system of one block takes no launch
                assert counted == ASKED


@pytest.mark.parametrize("kind", KINDS)
def test_level_3_writes_to_arrays_only(kind):
    """``c`` keeps its contents unless it is the caller's own array."""
    a = np.eye(4, dtype=F32)
    for overwrite in (0, 1):
        c = KINDS[kind](np.ones((4, 4), F32, order="F"))
        if kind.startswith(("list", "tuple", "array")):
            c = [list(c)[:4] for _ in range(4)]
        before = words(c)
        got = piblas.sgemm(2.0, a, a, 1.0, c, overwrite_c=overwrite)
        np.testing.assert_array_equal(got, 2 * a + 1)
        own = kind == "its own" and overwrite == 1
        assert (got is c) == own
        np.testing.assert_array_equal(words(c), 2 * a + 1 if own else before)
