"""strsm, strsv, stbsv, stpsv on the emulated QPUs: the backward error on ill-conditioned triangles.

The bar is 50 n u, u = 2**-23, column by column in the norm of the maximum.
"""

from __future__ import annotations

import itertools
import logging

import numpy as np
import pytest
from test_triangles_random import check_solution
from triangular_systems import (
    F32,
    LIMIT,
    SYSTEMS,
    U,
    backward_error,
    cases,
    prepared,
    right_hand_sides,
)

import piblas
from piblas.blas import level3, triangles
from piblas.driver import Emulator
from piblas.kernels import triangle
from piblas.kernels.triangle import Method

ASKED = "the emulator was asked for"
FLAGS = list(itertools.product((0, 1), repeat=4))
WIDTHS = (1, 3, 16, 37, 100)


@pytest.fixture(scope="module")
def quick_device():
    with Emulator(memory=32 << 20, seed=13, timing="off") as dev:
        yield dev


@pytest.fixture
def emulator(quick_device, fresh):
    with piblas.use(quick_device):
        yield quick_device


def stored(rng, t, lower, trans):
    """(a, turn) for a lower triangle t: with op(a) = t[turn, turn]; what is not read is NaN."""
    turn = slice(None, None, 1 if bool(lower) != bool(trans) else -1)
    op = t[turn, turn]
    a = (op.T if trans else op).copy(order=rng.choice(["C", "F"]))
    read = np.tri(len(t), dtype=bool)
    a[~(read if lower else read.T)] = np.nan
    return a, turn


def solve(rng, name, n, width, side, lower, trans, diag):
    """The worst backward error of a call of strsm, over n u."""
    t, seen = prepared(name, n, diag)
    b = right_hand_sides(rng, seen, width)
    # On the right a transposed triangle does what one does on the left.
    a, turn = stored(rng, t, lower, bool(trans) != bool(side))
    given = b[turn].T if side else b[turn]
    x = piblas.strsm(1.0, a, given, side, lower, trans, diag)
    x = (x.T if side else x)[turn]
    return backward_error(seen, x, b).max() / (n * U)


def judge(name, n, error, *call):
    assert error <= LIMIT, f"{name} of order {n}, {call}: {error:.3g} n u"


def on_qpus():
    return piblas.stats().get("emulator", {}).get(ASKED, 0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_strsm(name, emulator):
    """Every order of a kind, and all flags, though not each with each."""
    rng = np.random.default_rng([1, *name.encode()])
    flags, widths = itertools.cycle(rng.permutation(FLAGS)), itertools.cycle(WIDTHS)
    for n in (n for kind, n in cases() if kind == name):
        for _ in range(2):
            call = next(widths), *(int(flag) for flag in next(flags))
            judge(name, n, solve(rng, name, n, *call), *call)
    assert on_qpus() >= (4 if name != "hilbert" else 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", SYSTEMS)
def test_strsm_with_all_flags(name, emulator):
    rng = np.random.default_rng([2, *name.encode()])
    worst = 0.0
    for (kind, n), flags, width in itertools.product(cases(), FLAGS, WIDTHS):
        if kind == name:
            error = solve(rng, name, n, width, *flags)
            judge(name, n, error, width, *flags)
            worst = max(worst, error)
    print(f"\n{name}: at most {worst:.3g} n u; {piblas.stats()}")


# --- how blocks are solved ------------------------------------------------------------------------


def three_kinds(m):
    """A triangle of three blocks, each for another method, and right-hand sides (n, m)."""
    rng, n = np.random.default_rng(5), 300
    block = triangle.block_of(triangle.choose(n, m))
    t = np.tril(rng.standard_normal((n, n))) / n
    for begin, name in zip(range(0, n, block), ("well_conditioned", "lu_upper", "unit")):
        own = slice(begin, min(begin + block, n))
        t[own, own] = SYSTEMS[name](rng, own.stop - begin)
    t = t.astype(F32)
    return t, right_hand_sides(rng, t, m)


def test_each_block_by_its_own_method(emulator, caplog):
    t, b = three_kinds(40)
    with caplog.at_level(logging.INFO, "piblas"), piblas.profile() as profile:
        x = piblas.strsm(1.0, t, b, lower=1)
    assert backward_error(t, x, b).max() <= LIMIT * len(t) * U
    check_solution(t, b, x, 1.0, 0, 1, 0, 0)
    # One for each rectangle and each product with an inverse, and two for a correction.
    assert len(profile.reports) == 2 + 2 + 2
    logged = [record.getMessage() for record in caplog.records if "diagonal blocks" in record.msg]
    assert [text.split("are solved ")[1] for text in logged] == [
        Method.REFINE.value, Method.SUBSTITUTE.value
    ]  # fmt: skip
    assert all(text.startswith("strsm: 1 of 3 ") for text in logged)
    assert piblas.stats() == {"emulator": {ASKED: 1}}


@pytest.mark.parametrize("name", SYSTEMS)
def test_bounds_of_elements(name, emulator):
    """The bound in the kernel's module holds too, whatever the method."""
    rng = np.random.default_rng([3, *name.encode()])
    n = 30 if name == "hilbert" else 140
    t, _ = prepared(name, n, 0)
    b = right_hand_sides(rng, t, 5)
    x = piblas.strsm(1.0, t, b, lower=1)
    if on_qpus():
        check_solution(t, b, x, 1.0, 0, 1, 0, 0)
    assert on_qpus() or name == "hilbert"


@pytest.mark.parametrize("options", (dict(n_qpus=1), dict(n_qpus=5), dict(incoherent=True)))
def test_the_same_bits_on_any_device(options, emulator):
    t, b = three_kinds(40)
    want = piblas.strsm(1.0, t, b, lower=1)
    with Emulator(memory=16 << 20, seed=2, **options) as other, piblas.use(other):
        got = piblas.strsm(1.0, t, b, lower=1)
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))


def test_launches_of_limited_length(emulator):
    t, b = three_kinds(400)
    with Emulator(memory=16 << 20, seed=2) as short, piblas.use(short):
        short.longest_launch = 2e-5
        with piblas.profile() as profile:
            x = piblas.strsm(1.0, t, b, lower=1)
    assert len(profile.reports) > 12
    assert backward_error(t, x, b).max() <= LIMIT * len(t) * U


def test_a_single_block_for_the_cpu(emulator):
    """The example that went wrong by a hundredth of b: nothing is left for the QPUs."""
    rng = np.random.default_rng(0)
    t = SYSTEMS["unit"](rng, 64).astype(F32)
    b = (t @ rng.standard_normal((64, 7))).astype(F32)
    x = piblas.strsm(1.0, t, b, lower=1, diag=1)
    assert np.abs(t.astype(float) @ x - b).max() <= 1e-6 * np.abs(b).max()
    assert piblas.stats() == {"cpu": {triangles.ILL_CONDITIONED: 1}}


def test_an_inverse_beyond_float32_among_other_blocks(emulator):
    """Its elements are up to 8**100; the other blocks are none the worse."""
    n, rng = 300, np.random.default_rng(1)
    t = np.eye(n, dtype=F32)
    t[100:200, 100:200] -= 8 * np.eye(100, k=-1, dtype=F32)
    b = t @ rng.integers(-3, 4, (n, 5)).astype(F32)
    x = piblas.strsm(1.0, t, b, lower=1)
    np.testing.assert_array_equal(t @ x, b)
    assert piblas.stats() == {"emulator": {ASKED: 1}}


def test_overflow_in_a_block_that_is_substituted(emulator):
    """The right-hand side of the last block overflows, or its solution: SciPy decides."""
    t, _ = three_kinds(1)
    for row, value in ((0, 1e37), (299, 1e38)):
        b = np.zeros((300, 1), F32)
        b[row] = value
        spoilt = t.copy()
        spoilt[299, :100] = 1e6
        spoilt[299, 299] = 1e-6
        piblas.reset_stats()
        got = piblas.strsm(1.0, spoilt, b, lower=1)
        assert not np.isfinite(got).all()
        assert piblas.stats() == {"cpu": {level3.OVERFLOW: 1}}


def test_the_check_bites(emulator, monkeypatch):
    """All blocks multiplied with their inverses: far beyond the bar."""
    monkeypatch.setattr(triangle, "methods", lambda t, factors, block: (Method.MULTIPLY,) * 9)
    rng = np.random.default_rng(0)
    assert solve(rng, "unit", 64, 7, 0, 1, 0, 1) > 10 * LIMIT


# --- one right-hand side -------------------------------------------------------------------------


@pytest.mark.parametrize("routine", ("strsv", "stbsv", "stpsv"))
@pytest.mark.parametrize("name", SYSTEMS)
def test_one_right_hand_side(name, routine, emulator):
    rng = np.random.default_rng([4, *name.encode()])
    flags = itertools.cycle(rng.permutation(list(itertools.product((0, 1), repeat=3))))
    for n in (n for kind, n in cases() if kind == name):
        for _ in range(2):
            lower, trans, diag = (int(flag) for flag in next(flags))
            k = int(rng.choice([1, 5, n // 2])) if routine == "stbsv" else n
            t, seen = (np.triu(x, -k) for x in prepared(name, n, diag))
            b = right_hand_sides(rng, seen, 1)
            a, turn = stored(rng, t, lower, trans)
            x = one(routine, a, k, b[turn, 0], lower, trans, diag)[turn, None]
            judge(name, n, backward_error(seen, x, b).max() / (n * U), lower, trans, diag, k)
    assert on_qpus() or name == "hilbert"


def one(routine, a, k, b, lower, trans, diag):
    if routine == "strsv":
        return piblas.strsv(a, b, lower=lower, trans=trans, diag=diag)
    n = len(a)
    if routine == "stpsv":
        ap = np.concatenate([a[j:, j] if lower else a[: j + 1, j] for j in range(n)])
        return piblas.stpsv(n, ap, b, lower=lower, trans=trans, diag=diag)
    ab = np.full((k + 1, n), np.nan, F32, order="F")
    for d in range(k + 1):
        along = np.diagonal(a, -d if lower else d)
        if lower:
            ab[d, : n - d] = along
        else:
            ab[k - d, d:] = along
    return piblas.stbsv(k, ab, b, lower=lower, trans=trans, diag=diag)
