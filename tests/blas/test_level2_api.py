"""Level 2 on the emulated QPUs through SciPy's signatures: what is computed, and what is written.

Calls with small integers are exact on both sides, so results compare equal; the others are held
against SciPy's double precision and the error bounds in the kernels' modules.
"""

from __future__ import annotations

import types

import numpy as np
import pytest
from scipy.linalg import blas
from test_like_scipy import aligned, outcome, vary, which

import piblas
from bench.null_device import NullDevice
from piblas import BlasError, DeviceTimeout, OutOfDeviceMemory
from piblas.blas import level2
from piblas.blas.binding import Bound
from piblas.blas.call import NO_LAUNCH
from piblas.dispatch import choose, devices
from piblas.driver import Emulator
from piblas.host.outcome import SORT_OUT, WATCHED
from piblas.kernels import trsv
from piblas.routines import KERNELS, ROUTINES

F32 = np.float32
NAMES = [name for name in KERNELS if ROUTINES[name].level == 2]
SOLVERS = [name for name in NAMES if name.endswith("sv")]
UPDATES = [name for name in NAMES if name[1:4] in ("ger", "syr", "spr")]
ASKED = "the emulator was asked for"
U = 2.0**-23


@pytest.fixture(scope="module")
def quick_device():
    with Emulator(memory=16 << 20, seed=41, timing="off") as dev:
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
                choices = [-2, -1, 0, 1, 3] if exact else [0, 1.5, -0.7]
                given[name] = float(rng.choice(choices))
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
            bound = Bound(self.row, (), {**self.given, name: a})
            held = level2._matrix(bound, types.SimpleNamespace(device=None))[0]
            along = np.arange(held.storage.n)
            held.source(a)[held.at(along, along)] += 1
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
        # Operands are float32 numbers of any type; factors become such.
        wide[key] = np.array(np.array(value, dtype=F32), dtype=float) if numeric else value
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


@pytest.mark.parametrize("ill", (False, True), ids=("well scaled", "ill scaled"))
@pytest.mark.parametrize("transposed", (0, 1))
def test_bounds_of_solutions_are_not_slack(transposed, ill, emulator):
    """The worst residual is at least a hundredth of what is documented; ill scaled, the numbers
    span 1e-28 to 1e28.  All are positive, so that truncation adds up."""
    n, rng = 300, np.random.default_rng(6)
    rows, inner = 10.0 ** (rng.uniform(-1, 1, (2, n)) * (14 if ill else 0))
    wide = np.tril(rng.uniform(0.5, 1, (n, n))) / n + np.eye(n)
    a = (wide * np.outer(rows, inner)).astype(F32)
    op = a.T if transposed else a
    b = (rng.uniform(1, 2, n) * (inner if transposed else rows)).astype(F32)
    x = piblas.strsv(a, b, lower=1, trans=transposed)
    assert launches() == 1
    truncations = 9 if transposed else 23
    bound = trsv.residual_bound(truncations, op, x)
    share = np.max(np.abs(op.astype(float) @ x.astype(float) - b) / bound)
    assert 0.01 < share <= 1


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
            sizes = kept.get("m", 1), kept.get("n", 1), *np.shape(kept.get("a", 1))
            assert isinstance(error, BlasError) and 0 in sizes, (kept, error)
        elif name in SOLVERS:
            check_residual(name, kept, result)
        else:
            check_bound(name, kept, result)
    return launches()


@pytest.mark.parametrize("name", NAMES)
def test_random_calls(name, emulator):
    # A system of one block is solved without a launch.
    assert sweep(name, 8, 1) >= (1 if name in SOLVERS else 3)


@pytest.mark.parametrize("name", NAMES)
def test_bounds_hold(name, emulator):
    assert bounded(name, 6, 1) >= 1


def test_caches_apart_from_memory(fresh):
    with Emulator(memory=16 << 20, seed=42, timing="off", incoherent=True) as dev:
        with piblas.use(dev):
            assert min(sweep(name, 4, 3) for name in ("sgemv", "ssymv", "ssyr2")) >= 1


@pytest.mark.slow
@pytest.mark.parametrize("incoherent, turns", ((False, 17), (True, 2)))
def test_many_random_calls(incoherent, turns, fresh, capsys):
    calls = total = 0
    with Emulator(memory=16 << 20, seed=43, timing="off", incoherent=incoherent) as dev:
        with piblas.use(dev):
            for name in NAMES:
                exact, rounded = sweep(name, 26 * turns, 2), bounded(name, 14 * turns, 2)
                assert exact >= 5 * turns and rounded >= 3 * turns
                calls, total = calls + 40 * turns, total + exact + rounded
    with capsys.disabled():
        print(f"\nlevel 2: {calls} random calls, {total} of them launches")


# --- what stays with SciPy ----------------------------------------------------------------------

A = np.asfortranarray(np.arange(1, 13, dtype=F32).reshape(3, 4))
S = np.asfortranarray(np.arange(1, 17, dtype=F32).reshape(4, 4))
T = np.asfortranarray(S + 16 * np.eye(4, dtype=F32))
P = np.arange(1, 11, dtype=F32)
X3, X4 = np.arange(1, 4, dtype=F32), np.arange(1, 5, dtype=F32)

WRONG = {
    "trans": lambda lib: lib.sgemv(1.0, A, X4, trans=3),
    "trans of a triangle": lambda lib: lib.strmv(S, X4, trans=-1),
    "lower": lambda lib: lib.ssymv(1.0, S, X4, lower=2),
    "lower of an update": lambda lib: lib.ssyr(1.0, X4, lower=-1),
    "diag": lambda lib: lib.strsv(T, X4, diag=2),
    "incx": lambda lib: lib.sgemv(1.0, A, X4, incx=0),
    "incy": lambda lib: lib.ssymv(1.0, S, X4, y=X4, incy=0),
    "incx of an update": lambda lib: lib.sspr2(4, 1.0, X4, X4, P, incx=0),
    "incx of ger": lambda lib: lib.sger(1.0, X3, X4, incx=2),
    "offx": lambda lib: lib.strmv(S, X4, offx=4),
    "negative offy": lambda lib: lib.sgemv(1.0, A, X4, y=X3, offy=-1),
    "short x": lambda lib: lib.sgemv(1.0, A, X3),
    "short x at an increment": lambda lib: lib.sspmv(4, 1.0, P, X4, incx=2),
    "short y": lambda lib: lib.sgemv(1.0, A, X4, y=X3[:2]),
    "a is not square": lambda lib: lib.ssymv(1.0, A, X4),
    "a of another shape": lambda lib: lib.sger(1.0, X3, X4, a=S),
    "short ap": lambda lib: lib.stpsv(4, P[:9], X4),
    "negative n": lambda lib: lib.sspmv(-1, 1.0, P, X4),
    "n too large": lambda lib: lib.ssyr(1.0, X4, n=5),
    "k too large": lambda lib: lib.ssbmv(4, 1.0, S, X4),
    "negative k": lambda lib: lib.stbsv(-1, S, X4),
    "too few columns": lambda lib: lib.sgbmv(5, 5, 1, 1, 1.0, A, np.ones(5, F32)),
    "band wider than m": lambda lib: lib.sgbmv(2, 4, 1, 1, 1.0, A, X4),
    "no number": lambda lib: lib.sgemv("q", A, X4),
    "no rows": lambda lib: lib.sgemv(1.0, A[:0], X4),
}


@pytest.mark.parametrize("call", WRONG.values(), ids=WRONG.keys())
def test_wrong_arguments(call, emulator):
    """SciPy's refusal, as a BlasError, with every operand as it was."""
    before = [v.copy() for v in (A, S, T, P, X3, X4)]
    with pytest.raises(Exception) as refused:
        call(blas)
    with pytest.raises(BlasError) as caught:
        call(piblas)
    assert str(refused.value) in str(caught.value)
    assert piblas.stats() == {}
    for array, old in zip((A, S, T, P, X3, X4), before):
        np.testing.assert_array_equal(array, old)


def overlapping(lib):
    both = np.arange(1, 29, dtype=F32)
    a = both[:16].reshape(4, 4, order="F")
    return lib.sgemv(1.0, a, X4, beta=1.0, y=both[12:16], overwrite_y=1)


def read_only(lib):
    y = X3.copy()
    y.flags.writeable = False
    return lib.sgemv(1.0, A, X4, y=y, overwrite_y=1)


SORTED_OUT = {
    "vector as a matrix": lambda lib: lib.sgemv(1.0, X3, X3[:1]),
    "matrix as a vector": lambda lib: lib.sgemv(1.0, A, X4.reshape(4, 1)),
    "complex": lambda lib: lib.ssymv(1.0, S + 1j, X4),
    "complex factor": lambda lib: lib.sgemv(1j, A, X4),
    "no columns": lambda lib: lib.sgemv(1.0, A[:, :0], X4),
    "overlap": overlapping,
    "read only": read_only,
    "trans of a packed solve": lambda lib: lib.stpsv(4, P, X4, trans=5),
    "overwriting nothing": lambda lib: lib.sgemv(1.0, A, X4, overwrite_y="yes"),
    "overwriting nothing, an update": lambda lib: lib.ssyr(1.0, X4, overwrite_a=0.5),
    "overwriting a vector": lambda lib: lib.sger(1.0, X3, X4, overwrite_x="no"),
}


@pytest.mark.parametrize("call", SORTED_OUT.values(), ids=SORTED_OUT.keys())
@pytest.mark.filterwarnings("ignore:Casting complex")
def test_what_only_scipy_sorts_out(call, emulator):
    try:
        wanted = call(blas)
    except Exception as refused:
        with pytest.raises(BlasError) as caught:
            call(piblas)
        assert str(refused) in str(caught.value)
        return
    np.testing.assert_array_equal(call(piblas), wanted)
    assert piblas.stats() == {"cpu": {SORT_OUT: 1}}


# --- factors of 0, special values ----------------------------------------------------------------

NAN = np.full((40, 40), np.nan, F32, order="F")
ONES = np.ones(40, F32)


def test_no_beta_no_y(emulator):
    got = piblas.sgemv(1.0, np.eye(40, dtype=F32), ONES, beta=0.0, y=NAN[0].copy(), overwrite_y=1)
    np.testing.assert_array_equal(got, ONES)
    got = piblas.sspmv(40, 1.0, np.zeros(820, F32), ONES, beta=0.0, y=NAN[0])
    np.testing.assert_array_equal(got, 0 * ONES)
    assert launches() == 2


def test_no_alpha_no_matrix(emulator):
    """As the reference BLAS, neither A nor x is read."""
    for call in (
        lambda: piblas.sgemv(0.0, NAN, NAN[0], beta=2.0, y=ONES),
        lambda: piblas.ssymv(0.0, NAN, NAN[0], beta=2.0, y=ONES),
        lambda: piblas.sgbmv(40, 40, 1, 1, 0.0, NAN[:3], NAN[0], beta=2.0, y=ONES),
    ):
        np.testing.assert_array_equal(call(), 2 * ONES)
    a = np.eye(40, dtype=F32, order="F")
    assert piblas.sger(0.0, NAN[0], NAN[0], a=a, overwrite_a=1) is a
    np.testing.assert_array_equal(a, np.eye(40, dtype=F32))
    assert piblas.stats() == {"cpu": {NO_LAUNCH: 4}}


def test_the_other_triangle_is_not_used(emulator):
    rng = np.random.default_rng(1)
    full = rng.integers(-3, 4, (40, 40)).astype(F32)
    for lower in (0, 1):
        keep = np.tril if lower else np.triu
        a = np.where(keep(np.ones((40, 40))), full, np.nan).astype(F32)
        clean = keep(full) + 64 * np.eye(40, dtype=F32)
        a[np.diag_indices(40)] += 64
        for order in "CF":
            one = np.array(a, order=order)
            got = piblas.ssymv(1.0, one, ONES, lower=lower)
            np.testing.assert_array_equal(got, blas.ssymv(1.0, clean, ONES, lower=lower))
            got = piblas.strmv(one, ONES, lower=lower)
            np.testing.assert_array_equal(got, blas.strmv(clean, ONES, lower=lower))
            got = piblas.ssyr(1.0, ONES, a=one, lower=lower)
            np.testing.assert_array_equal(keep(got), keep(clean + 1))
            assert np.isnan(got[~keep(np.ones((40, 40), bool))]).all()
            unit = one.copy()
            unit[np.diag_indices(40)] = np.nan
            got = piblas.strmv(unit, ONES, lower=lower, diag=1)
            clean_unit = clean - np.diag(np.diag(clean)) + np.eye(40, dtype=F32)
            np.testing.assert_array_equal(got, blas.strmv(clean_unit, ONES, lower=lower))
            got = piblas.strsv(unit / 64, ONES, lower=lower, diag=1)
            small = (clean_unit + 63 * np.eye(40)) / 64
            np.testing.assert_allclose(got, np.linalg.solve(small, ONES), rtol=1e-5)
    assert WATCHED not in piblas.stats().get("cpu", {})


@pytest.mark.parametrize("bad", (np.inf, -np.inf, np.nan, 3.3e38))
@pytest.mark.parametrize("name", NAMES)
def test_special_values_are_as_on_the_cpu(name, bad, emulator, caplog):
    """In a matrix or a vector: SciPy computes, and the log says why."""
    caplog.set_level("INFO", "piblas")
    row, rng = ROUTINES[name], np.random.default_rng(5)
    n = 150  # a solver has two blocks
    a = rng.uniform(1, 2, (n, n)).astype(F32, order="F")
    diagonal = np.s_[-1] if "b" in name[2:] else np.diag_indices(n)
    a[diagonal] += 200
    given = {
        "m": n, "n": n, "k": n - 1, "kl": 0, "ku": n - 1, "alpha": 4.0, "a": a, "lower": 0,
        "x": rng.uniform(1, 2, n).astype(F32), "y": rng.uniform(1, 2, n).astype(F32),
        "ap": rng.uniform(200, 201, n * (n + 1) // 2).astype(F32),
    }  # fmt: skip
    given = {key: value for key, value in given.items() if key in row.arguments}
    for place, where in (("x", 17), ("a", (5, -1)), ("ap", -140)):
        # A large number overflows in products with x only, and not in a solution.
        if place not in given or (np.isfinite(bad) and (place != "x" or name in SOLVERS)):
            continue
        spoiled = dict(given, **{place: given[place].copy(order="F")})
        spoiled[place][where] = bad
        wanted = getattr(blas, name)(**spoiled)
        got = getattr(piblas, name)(**spoiled)
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-3, equal_nan=True)
        assert WATCHED in piblas.stats()["cpu"] and WATCHED in caplog.text
        piblas.reset_stats()


def test_a_singular_triangle_is_as_on_the_cpu(emulator):
    a = np.eye(200, dtype=F32)
    a[150, 150] = 0
    with np.errstate(all="ignore"):
        wanted = blas.strsv(a, np.ones(200, F32))
    np.testing.assert_array_equal(piblas.strsv(a, np.ones(200, F32)), wanted)
    assert piblas.stats() == {"cpu": {WATCHED: 1}}


def test_special_factors_are_as_on_the_cpu(emulator):
    for alpha, beta in ((np.inf, 0.0), (np.nan, 1.0), (1.0, np.inf)):
        wanted = blas.sgemv(alpha, A, X4, beta=beta, y=X3)
        np.testing.assert_array_equal(piblas.sgemv(alpha, A, X4, beta=beta, y=X3), wanted)
    wanted = blas.sger(3e38, 3 * X3, 3 * X4)
    np.testing.assert_array_equal(piblas.sger(3e38, 3 * X3, 3 * X4), wanted)
    assert piblas.stats() == {"cpu": {WATCHED: 4}}


# --- devices that fail, dispatch -----------------------------------------------------------------


def test_reports(emulator):
    a = np.eye(200, dtype=F32)
    with piblas.profile() as profile:
        piblas.sgemv(1.0, A, X4)
        piblas.sger(1.0, X3, X4)
        piblas.strsv(a, np.ones(200, F32))
    assert [report.kernel for report in profile.reports] == ["gemv", "ger", "trsv"]


def test_a_demanded_device_that_fails(emulator, monkeypatch):
    """The error reaches the caller and every array is as it was."""

    def fails(*args, **kwargs):
        raise DeviceTimeout("too long")

    monkeypatch.setattr(type(emulator), "execute_list", fails)
    y, s, x = X3.copy(), S.copy(order="F"), np.ones(200, F32)
    for call in (
        lambda: piblas.sgemv(1.0, A, X4, beta=1.0, y=y, overwrite_y=1),
        lambda: piblas.ssyr(1.0, X4, a=s, overwrite_a=1),
        lambda: piblas.strsv(np.eye(200, dtype=F32), x, overwrite_x=1),
    ):
        with pytest.raises(DeviceTimeout, match="too long"):
            call()
    for array, old in ((y, X3), (s, S), (x, np.ones(200, F32))):
        np.testing.assert_array_equal(array, old)


def test_a_found_device_that_is_full(fresh, monkeypatch):
    """The call goes to the CPU."""
    found = NullDevice()
    monkeypatch.setattr(devices, "_open", lambda name: found)
    choice = choose.Choice("qpu", "gemv", "so")
    monkeypatch.setattr(choose, "choose", lambda *args: choice)

    def fails(*args, **kwargs):
        raise OutOfDeviceMemory("full")

    monkeypatch.setattr(found, "alloc", fails)
    np.testing.assert_array_equal(piblas.sgemv(1.0, A, X4), A @ X4)
    assert piblas.stats() == {"cpu": {"the GPU failed: OutOfDeviceMemory": 1}}


@pytest.mark.parametrize("n_qpus", (1, 2, 5))
def test_results_do_not_depend_on_qpus(n_qpus, emulator):
    rng = np.random.default_rng(2)
    a = rng.uniform(-1, 1, (200, 200)).astype(F32)
    x = rng.uniform(-1, 1, 200).astype(F32)
    calls = (
        lambda: piblas.sgemv(1.5, a, x),
        lambda: piblas.sgemv(1.5, a, x, trans=1),
        lambda: piblas.ssymv(1.5, a, x),
        lambda: piblas.strmv(a, x),
        lambda: piblas.strsv(a + 50 * np.eye(200, dtype=F32), x),
        lambda: piblas.ssyr2(1.5, x, x[::-1], a=a),
    )
    twelve = [call() for call in calls]
    with Emulator(memory=4 << 20, n_qpus=n_qpus, seed=5, timing="off") as small:
        with piblas.use(small):
            for call, wanted in zip(calls, twelve):
                np.testing.assert_array_equal(call(), wanted)
