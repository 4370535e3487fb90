"""ssymm, ssyrk, ssyr2k, strmm, strsm on the emulated QPUs against float64: random calls.

Operands lie inside larger arrays of guard words, in any order and with strides; what a routine must
not read holds NaN.  GPU memory starts as noise, and the emulator faults on any access outside the
buffers.
"""

from __future__ import annotations

import numpy as np
import pytest
from test_sgemm_random import F32, Guarded, values

import piblas
from piblas.kernels import gemm_error, reference, triangle

NAMES = ("ssymm", "ssyrk", "ssyr2k", "strmm", "strsm")


def size(rng):
    """1 to 300, mostly small, and the neighbours of a vector's and a tile's length more often."""
    draw = rng.random()
    if draw < 0.5:
        return int(rng.choice([1, 2, 7, 8, 9, 15, 16, 17, 31, 33, 48, 95, 96, 97]))
    return int(rng.integers(1, 301 if draw > 0.95 else 80))


def half(n, lower):
    mask = np.tri(n, dtype=bool)
    return mask if lower else mask.T


def hide(operand, mask):
    """NaN wherever the mask is not set."""
    operand.matrix[~mask] = np.nan
    operand.before = operand.matrix.copy()


def factor(rng, *often):
    return float(F32(rng.choice([*often, 1.0, -1.0, rng.standard_normal()])))


def within(got, want, bound):
    error = np.abs(got - want)
    if not (error <= bound).all():
        worst = np.unravel_index(np.argmax(error - bound), error.shape)
        pytest.fail(f"at {worst}: error {error[worst]}, bound {bound[worst]}")


def given_result(rng, shape, beta):
    """(the operand c, what goes into the call, whether it may be overwritten)."""
    c = Guarded(rng, shape)
    if beta == 0 and rng.random() < 0.5:
        hide(c, np.zeros(shape, bool))
    overwrite = bool(rng.integers(2))
    fit = overwrite and rng.random() < 0.5
    return c, c.before.copy(order="F") if fit else c.matrix, overwrite


def finish(got, given, overwrite, c, operands):
    """What holds after every call: the result's kind, and what must be as before."""
    assert got.dtype == F32 and got.flags.f_contiguous and got.shape == c.before.shape
    fits = given.flags.f_contiguous and overwrite
    assert (got is given) == fits
    for operand in operands:
        operand.check()
    c.check(changed=got is given)


# --- one random call of each ----------------------------------------------------------------------


def ssymm(rng):
    m, n = size(rng), size(rng)
    side, lower = (int(x) for x in rng.integers(0, 2, 2))
    alpha, beta = factor(rng, 0.0), factor(rng, 0.0, 0.0)
    order = n if side else m
    a, b = Guarded(rng, (order, order)), Guarded(rng, (m, n))
    hide(a, half(order, lower))
    c, given, overwrite = given_result(rng, (m, n), beta)
    got = piblas.ssymm(
        alpha, a.matrix, b.matrix, beta, given, side=side, lower=lower, overwrite_c=overwrite
    )
    finish(got, given, overwrite, c, (a, b))
    full = np.where(half(order, lower), a.before, a.before.T)
    left, right = (b.before, full) if side else (full, b.before)
    want = reference.sgemm(alpha, left, right, beta, c.before)
    within(got, want, gemm_error.error_bound(alpha, left, right, beta, c.before))


def rank_k(rng, pair):
    n, k = size(rng), size(rng)
    trans, lower = int(rng.integers(0, 3)), int(rng.integers(0, 2))
    alpha, beta = factor(rng, 0.0), factor(rng, 0.0, 0.0)
    operands = [Guarded(rng, (k, n) if trans else (n, k)) for _ in range(1 + pair)]
    wanted = half(n, lower)
    c, given, overwrite = given_result(rng, (n, n), beta)
    if beta and given is c.matrix:
        hide(c, wanted)
    routine = piblas.ssyr2k if pair else piblas.ssyrk
    got = routine(
        alpha, *(x.matrix for x in operands), beta, given, trans, lower, overwrite_c=overwrite
    )
    finish(got, given, overwrite, c, operands)
    np.testing.assert_array_equal(got[~wanted], c.before[~wanted])
    first, last = (x.before.T if trans else x.before for x in (operands[0], operands[-1]))
    left, right = (np.hstack(x) for x in ((first, last), (last, first))) if pair else (first, last)
    old = np.where(wanted, c.before, 0)
    want = reference.sgemm(alpha, left, right.T, beta, old)
    bound = gemm_error.error_bound(alpha, left, right.T, beta, old)
    within(got[wanted], want[wanted], bound[wanted])


def ssyrk(rng):
    rank_k(rng, False)


def ssyr2k(rng):
    rank_k(rng, True)


def op_of(a, lower, trans, diag):
    """op of the triangle: what is not referenced as zeros and ones."""
    full = np.where(half(len(a), lower), a, F32(0))
    if diag:
        np.fill_diagonal(full, 1)
    return full.T if trans else full


def options(rng):
    side, lower, diag = (int(x) for x in rng.integers(0, 2, 3))
    return side, lower, int(rng.integers(0, 3)), diag


def seen(order, lower, diag):
    mask = half(order, lower).copy()
    if diag:
        np.fill_diagonal(mask, False)
    return mask


def strmm(rng):
    m, n = size(rng), size(rng)
    side, lower, trans, diag = options(rng)
    alpha, order = factor(rng, 0.0), n if side else m
    a = Guarded(rng, (order, order))
    hide(a, seen(order, lower, diag))
    b, given, overwrite = given_result(rng, (m, n), 1.0)
    got = piblas.strmm(
        alpha, a.matrix, given, side, lower, trans_a=trans, diag=diag, overwrite_b=overwrite
    )
    finish(got, given, overwrite, b, (a,))
    t, none = op_of(a.before, lower, trans, diag), np.zeros((m, n))
    left, right = (b.before, t) if side else (t, b.before)
    want = reference.sgemm(alpha, left, right, 0.0, none)
    within(got, want, gemm_error.error_bound(alpha, left, right, 0.0, none))


def scaled(rng, shape):
    """Magnitudes over many powers of ten in half of the cases."""
    x = rng.standard_normal(shape)
    return x * 10.0 ** rng.uniform(-15, 15, shape) if rng.integers(2) else x


def solvable(rng, order, diag):
    """A triangle's values whose inverse has no huge elements, with rows of any magnitude."""
    x = rng.standard_normal((order, order)) / order
    if not diag:
        x += np.diag(rng.choice([-1, 1], order) * rng.uniform(1, 2, order))
        if rng.integers(2):
            x *= 10.0 ** rng.uniform(-12, 12, (order, 1))
    return x.astype(F32)


def as_lower(t, lower):
    """The triangle as a lower one, and the order of rows that makes it so."""
    turn = slice(None, None, 1 if lower else -1)
    return t[turn, turn], turn


def strsm(rng):
    m, n = size(rng), size(rng)
    side, lower, trans, diag = options(rng)
    alpha, order = factor(rng, 0.0), n if side else m
    a = Guarded(rng, (order, order))
    a.matrix[...] = solvable(rng, order, diag)
    hide(a, seen(order, lower, diag))
    b, given, overwrite = given_result(rng, (m, n), 1.0)
    start = scaled(rng, (m, n)).astype(F32)
    b.matrix[...] = b.before[...] = given[...] = start
    got = piblas.strsm(
        alpha, a.matrix, given, side, lower, trans_a=trans, diag=diag, overwrite_b=overwrite
    )
    finish(got, given, overwrite, b, (a,))
    check_solution(a.before, start, got, alpha, side, lower, trans, diag)


def check_solution(a, b, x, alpha, side, lower, trans, diag):
    """The residual is within the documented bound; the largest share of the bound that it takes."""
    t = op_of(a, lower, trans, diag)
    if side:  # x t = b is the same as t' x' = b'
        t, b, x = t.T, b.T, x.T
    t, turn = as_lower(t, bool(lower) == ((trans == 0) == (side == 0)))
    x, g = x[turn].astype(np.float64), alpha * b[turn].astype(np.float64)
    choice = triangle.choose(*g.shape)
    bound = triangle.residual_bound(t, x.astype(F32), g, triangle.block_of(choice))
    residual = t.astype(np.float64) @ x
    within(residual, g, bound)
    return np.max(np.abs(residual - g) / bound)


CASES = {"ssymm": ssymm, "ssyrk": ssyrk, "ssyr2k": ssyr2k, "strmm": strmm, "strsm": strsm}


@pytest.mark.parametrize("name", NAMES)
def test_random(device, fresh, name):
    rng = np.random.default_rng([7, *name.encode()])
    with piblas.use(device):
        for _ in range(40):
            CASES[name](rng)
    assert piblas.stats()["emulator"]["the emulator was asked for"] > 20


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize("name", NAMES)
def test_random_many(device, fresh, name, part):
    """100 calls of each of 5 routines in 10 parts: 5,000."""
    rng = np.random.default_rng([8, part, *name.encode()])
    with piblas.use(device):
        for _ in range(100):
            CASES[name](rng)
    on_qpus = piblas.stats()["emulator"]["the emulator was asked for"]
    print(f"\n{name}: 100 calls, {on_qpus} on the emulated QPUs")
    assert on_qpus > 50


@pytest.mark.parametrize("name", NAMES)
def test_caches_apart(fresh, name):
    """With the CPU's view, the caches and memory kept apart, as on the chip."""
    rng = np.random.default_rng([9, *name.encode()])
    with piblas.driver.Emulator(memory=16 << 20, incoherent=True, seed=3) as chip:
        with piblas.use(chip):
            for _ in range(5):
                CASES[name](rng)
    assert piblas.stats()["emulator"]


@pytest.mark.parametrize("name", NAMES)
def test_any_number_of_qpus_gives_the_same_bits(device, fresh, name):
    rng = np.random.default_rng(4)
    a, b = solvable(rng, 150, 0), values(np.random.default_rng(2), (150, 150))
    operands = (a,) if name == "ssyrk" else (a, b)
    with piblas.use(device):
        twelve = getattr(piblas, name)(1.5, *operands)
    for n_qpus in (1, 5):
        with piblas.driver.Emulator(memory=8 << 20, n_qpus=n_qpus, seed=2) as few:
            with piblas.use(few):
                got = getattr(piblas, name)(1.5, *operands)
        np.testing.assert_array_equal(got.view(np.uint32), twelve.view(np.uint32))


# --- the bounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("ill", (False, True), ids=("well scaled", "ill scaled"))
def test_bounds_are_not_slack(device, fresh, ill):
    """The worst error of each routine is at least a hundredth of what is documented for it.

    All numbers are positive, so that truncation adds up; ill scaled they span 1e-28 to 1e28.
    """
    rng = np.random.default_rng(5)
    n = 120
    rows, inner, columns = 10.0 ** (rng.uniform(-1, 1, (3, n)) * ([[14], [14], [7]] if ill else 0))

    def operand(row_scale, column_scale):
        scale = np.outer(row_scale, column_scale)
        return (rng.uniform(1, 2, (n, n)) * scale).astype(F32)

    none = np.zeros((n, n))
    a, b = operand(inner, inner), operand(1 / inner, columns)
    c, d = operand(rows, none[0] + 1), operand(1 / rows, none[0] + 1)
    lower = np.tril(a)
    with piblas.use(device):
        results = {
            "ssymm": (piblas.ssymm(1, a, b, lower=1), lower + np.tril(a, -1).T, b),
            "ssyrk": (piblas.ssyrk(1, c, lower=1), c, c.T),
            "ssyr2k": (piblas.ssyr2k(1, c, d, lower=1), np.hstack((c, d)), np.hstack((d, c)).T),
            "strmm": (piblas.strmm(1, a, b, lower=1), lower, b),
        }
        for name, (got, left, right) in results.items():
            error = np.abs(got - reference.sgemm(1, left, right, 0, none))
            bound = gemm_error.error_bound(1, left, right, 0, none)
            half_of = np.tril(np.ones((n, n), bool)) if name.startswith("ssyr") else slice(None)
            share = np.max((error / bound)[half_of])
            assert 0.01 < share <= 1, (name, share)
        assert piblas.stats() == {"emulator": {"the emulator was asked for": 4}}
        t = (np.tril(rng.uniform(0.5, 1, (n, n))) / n + np.eye(n)) * np.outer(rows, inner)
        t, g = t.astype(F32), operand(rows, columns)
        x = piblas.strsm(1, t, g, lower=1)
        assert 0.01 < check_solution(t, g, x, 1.0, 0, 1, 0, 0) <= 1


def test_the_check_bites(device, fresh):
    """A solution rounded to 12 bits is outside the bound."""
    rng = np.random.default_rng(1)
    t, g = np.tril(solvable(rng, 50, 0)), rng.standard_normal((50, 3)).astype(F32)
    with piblas.use(device):
        x = piblas.strsm(1, t, g, lower=1)
    check_solution(t, g, x, 1.0, 0, 1, 0, 0)
    coarse = (x.view(np.uint32) & np.uint32(0xFFFFF000)).view(F32)
    with pytest.raises(pytest.fail.Exception, match="error .*, bound"):
        check_solution(t, g, coarse, 1.0, 0, 1, 0, 0)
