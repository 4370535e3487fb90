"""Lower triangular matrices on which solvers lose accuracy, and the measure of their accuracy."""

from __future__ import annotations

import functools

import numpy as np
from scipy import linalg, special

F32 = np.float32
U = 2.0**-23
LIMIT = 50
"""The backward error of a solve of order n is at most this times n u."""


def unit(rng, n):
    return np.tril(rng.standard_normal((n, n)), -1) + np.eye(n)


def wilkinson(rng, n):
    """-1 below a diagonal of ones: the inverse's elements grow up to 2**(n - 2)."""
    return 2 * np.eye(n) - np.tri(n)


def normal(rng, n):
    return np.tril(rng.standard_normal((n, n)))


def well_conditioned(rng, n):
    return np.tril(rng.standard_normal((n, n))) / n + np.diag(rng.choice([-1.0, 1.0], n))


def lu_lower(rng, n):
    return linalg.lu(rng.standard_normal((n, n)))[1]


def lu_upper(rng, n):
    return linalg.lu(rng.standard_normal((n, n)))[2].T


def _without_pivoting(rng, n):
    a = rng.standard_normal((n, n))
    for k in range(n - 1):
        a[k + 1 :, k] /= a[k, k]
        a[k + 1 :, k + 1 :] -= np.outer(a[k + 1 :, k], a[k, k + 1 :])
    return a


def lu_lower_without_pivoting(rng, n):
    return np.tril(_without_pivoting(rng, n), -1) + np.eye(n)


def lu_upper_without_pivoting(rng, n):
    return np.triu(_without_pivoting(rng, n)).T


def cholesky(rng, n):
    a = rng.standard_normal((n, n))
    return np.linalg.cholesky(a @ a.T)


def kahan(rng, n):
    """Upper triangular, here transposed: its smallest singular value is far below its diagonal."""
    sine, cosine = np.sin(1.2), np.cos(1.2)
    upper = np.eye(n) - cosine * np.triu(np.ones((n, n)), 1)
    return (sine ** np.arange(n)[:, None] * upper).T


def newton(rng, n):
    """Newton's polynomials at the points where they vanish in turn, on [-2, 2]: what is left of a
    Vandermonde matrix when its columns are made triangular.  Each point is the one where the next
    polynomial is largest (Leja's order), or the diagonal would leave the range of float32."""
    x = 2 * np.cos(np.pi * np.arange(n) / n)
    t = np.ones((n, n))
    for j in range(1, n):
        at = j - 1 + np.argmax(np.abs(t[j - 1 :, j - 1]))
        x[[j - 1, at]], t[[j - 1, at]] = x[[at, j - 1]], t[[at, j - 1]]
        t[:, j] = t[:, j - 1] * (x - x[j - 1])
    return np.tril(t)


def vandermonde(rng, n):
    """The triangular factor of a QR factorisation of a Vandermonde matrix on [0, 1], transposed."""
    return np.linalg.qr(np.vander(np.linspace(0, 1, n + 1)[1:], increasing=True))[1].T


def _grades(rng, n):
    return 10.0 ** np.linspace(-9, 9, n)


def graded_rows(rng, n):
    return well_conditioned(rng, n) * _grades(rng, n)[:, None]


def graded_columns(rng, n):
    return normal(rng, n) * _grades(rng, n)


def graded_down(rng, n):
    return lu_lower(rng, n) * np.outer(_grades(rng, n)[::-1], _grades(rng, n))


def hilbert(rng, n):
    """The Cholesky factor of the Hilbert matrix, in closed form: its last element is 4**(1 - 2 n)
    or so."""
    i, j = np.mgrid[1 : n + 1, 1 : n + 1]
    gamma = special.gammaln
    with np.errstate(all="ignore"):
        logs = 2 * gamma(i) - gamma(np.maximum(i - j, 0) + 1) - gamma(i + j)
        return np.tril(np.sqrt(2 * j - 1.0) * np.exp(logs))


SYSTEMS = {
    make.__name__: make
    for make in (
        unit,
        wilkinson,
        normal,
        well_conditioned,
        lu_lower,
        lu_upper,
        lu_lower_without_pivoting,
        lu_upper_without_pivoting,
        cholesky,
        kahan,
        newton,
        vandermonde,
        graded_rows,
        graded_columns,
        graded_down,
        hilbert,
    )
}
SCALED = ("graded_rows", "graded_columns", "graded_down", "newton")
"""Their columns are divided by the diagonal where that is to be ones, or solutions overflow."""
ORDERS = (16, 32, 48, 64, 96, 130, 200, 256)
LARGEST_HILBERT = 30
"""Beyond, elements on the diagonal of ``hilbert`` are denormal in float32."""


def cases():
    """(name, order) of the whole set."""
    for name in SYSTEMS:
        orders = (4, 8, 16, LARGEST_HILBERT) if name == "hilbert" else ORDERS
        yield from ((name, n) for n in orders)


@functools.lru_cache(maxsize=None)
def made(name, n):
    """One of SYSTEMS of order n, always the same."""
    matrix = SYSTEMS[name](np.random.default_rng([n, *name.encode()]), n)
    matrix.flags.writeable = False
    return matrix


def prepared(name, n, diag):
    """(a system, the same as a solver has to take it), float32: with ones on its diagonal if
    ``diag``."""
    t = made(name, n)
    scaled = diag and name in SCALED
    t = np.tril(t / np.diagonal(t) if scaled else t).astype(F32)
    seen = t.copy()
    if diag:
        np.fill_diagonal(seen, 1)
    return t, seen


def right_hand_sides(rng, t, width):
    """Products with random x, and random ones of any magnitude.

    A column with which float32 would overflow begins with as many zeros as that takes, which are
    not all of it.
    """
    n = len(t)
    t64 = t.astype(np.float64)
    free = rng.standard_normal((n, width)) * 10.0 ** rng.uniform(-6, 6, width)
    b = np.where(rng.random(width) < 0.5, t64 @ rng.standard_normal((n, width)), free).astype(F32)
    step = -(-n // 16)
    for first in range(0, n, step):
        with np.errstate(all="ignore"):
            x = linalg.solve_triangular(t64, b, lower=True, check_finite=False)
            wild = ~((np.abs(t64) @ np.abs(x) + np.abs(x)).max(axis=0) < 1e30)
        if not wild.any():
            return b
        b[: first + step, wild] = 0
    raise AssertionError("no right-hand side has a solution in float32")


def backward_error(t, x, b):
    """max |t x - b| / (||t|| max |x| + max |b|) for each column, in the norm of the maximum; NaN
    and Inf in x are errors too."""
    t, x, b = (each.astype(np.float64) for each in (t, x, b))
    norm = np.abs(t).sum(axis=1).max()
    with np.errstate(invalid="ignore"):
        off = np.abs(t @ x - b).max(axis=0)
        found = off / (norm * np.abs(x).max(axis=0) + np.abs(b).max(axis=0))
    return np.where(np.isfinite(found), found, np.inf)
