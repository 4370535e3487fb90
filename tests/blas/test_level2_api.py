"""Level 2 on the emulated QPUs through SciPy's signatures: what is computed, and what is written.

Calls with small integers are exact on both sides, so results compare equal; the others are held
against SciPy's double precision and the error bounds in the kernels' modules.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.linalg import blas
from test_like_scipy import aligned, outcome, vary, which

import piblas
from piblas import BlasError
from piblas.blas import level2
from piblas.blas.routines import KERNELS, ROUTINES
from piblas.driver import Emulator

F32 = np.float32
NAMES = [name for name in KERNELS if ROUTINES[name].level == 2]
SOLVERS = [name for name in NAMES if name.endswith("sv")]
UPDATES = [name for name in NAMES if name[1:4] in ("ger", "syr", "spr")]
ASKED = "the emulator was asked for"
U = 2.0**-23


@pytest.fixture(scope="module")
def quick_device():
    with Emulator(memory=16 << 20, seed=41, timing="off", incoherent=True) as dev:
        yield dev


@pytest.fixture
def emulator(quick_device, fresh):
    with piblas.use(quick_device):
        yield quick_device


# --- random calls -------------------------------------------------------------------------------


def size(rng):
    """0 to 300, often near a multiple of 16."""
    if rng.random() < 0.5:
        return int(rng.integers(0, 301))
    return int(rng.choice([1, 2, 15, 16, 17, 33, 64, 127, 128, 129, 256, 300]))


class Call:
    """Arguments by name of a call that is right, or wrong in one argument if ``wrong``."""

    def __init__(self, rng, row, exact, spread=0.0, wrong=False):
        self.rng, self.row, self.stem = rng, row, row.name[1:]
        self.exact, self.spread = exact, spread
        self.m, self.n = size(rng), size(rng)
        self.flags = {name: int(rng.integers(0, 2)) for name in ("lower", "diag")}
        self.flags["trans"] = int(rng.integers(0, 3))
        self.k = int(rng.choice([0, 1, 5, 40]))
        self.kl, self.ku = (int(v) for v in rng.choice([0, 1, 7, 60], 2))
        self.lengths = {"x": self.n, "y": self.n}
        self.matrices()
        given = dict(self.given)
        for name in ("x", "y"):
            if name in row.arguments and name in self.lengths:
                given.update(self.vector(name))
        for name in ("alpha", "beta"):
            if name in row.arguments:
                given[name] = float(rng.integers(-3, 4)) if exact else float(rng.choice([0, 1.5]))
        given.update({k: v for k, v in self.flags.items() if k in row.arguments})
        given.update({k: int(rng.integers(0, 2)) for k in row.arguments if k[:4] == "over"})
        if "beta" in given and rng.random() < 0.3:
            del given["y"], given["overwrite_y"]
        if wrong:
            self.spoil(given)
        self.given = {name: given[name] for name in row.arguments if name in given}

    def numbers(self, shape):
        if self.exact:
            return self.rng.integers(-4, 5, shape).astype(F32)
        scale = 10.0 ** self.rng.uniform(-self.spread / 2, self.spread / 2, shape)
        return (self.rng.uniform(-1, 1, shape) * scale).astype(F32)

    def array(self, shape):
        return vary(self.rng, "s", self.numbers(shape))

    def vector(self, name):
        rng, n = self.rng, self.lengths[name]
        if self.stem == "ger":  # SciPy takes no offsets here
            return {name: self.array(n), f"inc{name}": int(rng.choice([1, -1]))}
        inc, off = int(rng.choice([1, 1, 2, 3, -1, -2, -3])), int(rng.choice([0, 0, 1, 5]))
        words = off + max(n - 1, 0) * abs(inc) + 1 + int(rng.choice([0, 3]))
        return {name: self.array(words), f"inc{name}": inc, f"off{name}": off}

    def matrices(self):
        stem, n, spare = self.stem, self.n, int(self.rng.choice([0, 0, 2]))
        self.given = {}
        if stem == "ger":
            self.m, self.n = max(self.m, 1), max(n, 1)  # SciPy crashes without elements
            self.lengths = {"x": self.m, "y": self.n}
            self.update_of("a", (self.m, self.n))
        elif stem in ("syr", "syr2"):
            self.n = n = max(n, 1)  # SciPy complains on stderr
            self.lengths = {"x": n, "y": n}
            self.given["n"] = n
            self.update_of("a", (n, n))
        elif stem[1:2] == "p":
            self.given.update(n=n, ap=self.array(n * (n + 1) // 2 + max(spare, n == 0)))
        elif stem == "gemv":
            self.given["a"] = self.array((self.m, n))
            self.of_product()
        elif stem == "gbmv":
            self.kl, self.ku = min(self.kl, max(self.m - 1, 0)), min(self.ku, max(self.m - 1, 0))
            self.ku = max(0, min(self.ku, self.m - 1 - self.kl))
            shape = (self.kl + self.ku + 1 + spare, n)
            self.given.update(m=self.m, n=n, kl=self.kl, ku=self.ku, a=self.array(shape))
            self.of_product()
        elif stem[1:2] == "b":
            self.given.update(k=self.k, a=self.array((self.k + 1 + spare, n)))
        else:
            self.given["a"] = self.array((n, n))

    def of_product(self):
        x, y = (self.n, self.m) if not self.flags["trans"] else (self.m, self.n)
        self.lengths = {"x": x, "y": y}

    def update_of(self, name, shape):
        if self.rng.random() < 0.8:
            self.given[name] = self.array(shape)

    def spoil(self, given):
        names = [n for n in given if n[:3] in ("inc", "off") or n in ("trans", "lower", "diag")]
        name = str(self.rng.choice(names))
        given[name] = {"inc": 0, "off": 2000}.get(name[:3], 7)

    def easy_to_solve(self):
        """Make a solver's result exact, or at least no larger than what it is made from."""
        name = "ap" if "ap" in self.given else "a"
        a = np.array(self.given[name], dtype=F32)
        if self.exact:
            self.given["diag"] = 1
            a = np.where(self.rng.random(a.shape) < 0.02, np.sign(a), 0).astype(F32)
        elif a.size:
            a = a / F32(a.shape[-1])
            dense = level2._matrix(self.stem, dict(self.given, a=a, ap=a))[0]
            along = np.arange(dense.storage.n)
            at = dense.storage.first + (dense.storage.step + 1) * along
            at = at + dense.storage.growth * (along * (along - 1) // 2)
            table = dense.source
            if table.ndim == 1:
                table[at] += 1
            else:
                table[at % dense.ld, at // dense.ld] += 1
        self.given[name] = a


def make(rng, row, exact, **how):
    call = Call(rng, row, exact, **how)
    if row.name in SOLVERS:
        call.easy_to_solve()
    return call


# --- the comparisons -----------------------------------------------------------------------------


def compare(row, given):
    """Make the call both ways; whether SciPy took it."""
    ours, theirs = ({k: aligned(v) for k, v in given.items()} for _ in range(2))
    wanted, refused = outcome(getattr(blas, row.name), row, theirs, row.required)
    done, error = outcome(getattr(piblas, row.name), row, ours, row.required)
    if refused is not None:
        assert isinstance(error, BlasError) and str(refused) in str(error), (given, error)
    else:
        assert error is None, (given, error)
        assert (done.dtype, done.shape) == (wanted.dtype, wanted.shape)
        assert done.flags.f_contiguous
        np.testing.assert_array_equal(done, wanted)
        assert which(done, ours) == which(wanted, theirs)
    for argument, value in theirs.items():
        np.testing.assert_array_equal(ours[argument], value, f"{argument} afterwards: {given}")
    return refused is None


def launches():
    return piblas.stats().get("emulator", {}).get(ASKED, 0)


def sweep(name, calls, seed):
    """Compare this many calls on integers; returns how many of them were launches."""
    row = ROUTINES[name]
    rng = np.random.default_rng([seed, *name.encode()])
    piblas.reset_stats()
    for _ in range(calls):
        compare(row, make(rng, row, True, wrong=rng.random() < 0.1).given)
    return launches()


def in_double(name, given, result):
    """The call by SciPy in double precision, and the same of all magnitudes."""
    wide, sizes = {}, {}
    for key, value in given.items():
        numeric = key in ("a", "ap", "x", "y", "alpha", "beta")
        wide[key] = np.array(value, dtype=float) if numeric else value
        sizes[key] = np.abs(wide[key]) if numeric else value
    double = getattr(blas, "d" + name[1:])
    return double(**wide), double(**sizes), sizes


def largest(*arrays):
    return max((float(np.max(np.abs(np.array(a)), initial=0)) for a in arrays), default=0.0)


def check_bound(name, given, result):
    """|computed - exact| is at most what the kernels' docstrings say (c = 23, rank 2)."""
    exact, magnitude, sizes = in_double(name, given, result)
    if name in UPDATES:
        bound = 3.5 * U * (1 + 4 * U) * magnitude
    else:
        bound = 23.6 * U * (1 + 24 * U) * magnitude
    n = max(np.shape(sizes.get("a", sizes.get("ap")))) if "a" in sizes or "ap" in sizes else 1
    factor = 1 + abs(given.get("alpha", 1.0))
    others = largest(*(sizes[k] for k in ("a", "ap", "x", "y") if k in sizes))
    bound = bound + 2.0**-126 * factor * 4 * (n + 1) * (1 + others)
    assert np.all(np.abs(result - exact) <= bound), given


def check_residual(name, given, result):
    """op(A) x' reproduces b but for (c + 1/2) u |op(A)| |x'|."""
    product = getattr(blas, "d" + name[1:-2] + "mv")
    off, inc = given["offx"], given["incx"]
    mine = {k: np.array(v, dtype=float) if k in ("a", "ap") else v for k, v in given.items()}
    mine.pop("overwrite_x")
    back = product(**dict(mine, x=result.astype(float)))
    for key in ("a", "ap"):
        if key in mine:
            mine[key] = np.abs(mine[key])
    sizes = product(**dict(mine, x=np.abs(result.astype(float))))
    there = np.zeros(result.size, dtype=bool)
    n = given.get("n", np.shape(given.get("a"))[-1] if "a" in given else None)
    there[off : off + (n - 1) * abs(inc) + 1 : abs(inc)] = n > 0
    error = np.abs(back - np.array(given["x"], dtype=float))[there]
    assert np.all(error <= 23.6 * U * (1 + 24 * U) * sizes[there] + 2.0**-120 * (n + 1)), given


def bounded(name, calls, seed):
    """Hold this many calls on other numbers against float64; returns how many were launches."""
    row = ROUTINES[name]
    rng = np.random.default_rng([seed, 1, *name.encode()])
    piblas.reset_stats()
    for _ in range(calls):
        spread = 0.0 if name in SOLVERS else float(rng.choice([0, 8, 30]))
        given = make(rng, row, False, spread=spread).given
        given.pop("overwrite_x", 0) if name not in SOLVERS else None
        kept = {k: v.copy() if isinstance(v, np.ndarray) else v for k, v in given.items()}
        result, error = outcome(getattr(piblas, name), row, given, row.required)
        if error is not None:
            assert isinstance(error, BlasError) and not min(
                np.size(v) for k, v in kept.items() if k in ("a", "ap", "x", "y")
            ) or "n" in kept and kept["n"] == 0, (kept, error)
        elif name in SOLVERS:
            check_residual(name, kept, result)
        else:
            check_bound(name, kept, result)
    return launches()


@pytest.mark.parametrize("name", NAMES)
def test_random_calls(name, emulator):
    assert sweep(name, 16, 1) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_bounds_hold(name, emulator):
    assert bounded(name, 8, 1) >= 1


@pytest.mark.slow
def test_many_random_calls(emulator, capsys):
    exact = {name: sweep(name, 500, 2) for name in NAMES}
    rounded = {name: bounded(name, 260, 2) for name in NAMES}
    calls = (500 + 260) * len(NAMES)
    with capsys.disabled():
        total = sum(exact.values()) + sum(rounded.values())
        print(f"\nlevel 2: {calls} random calls, {total} of them launches")
    assert min(exact.values()) >= 200 and min(rounded.values()) >= 60
