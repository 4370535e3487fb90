"""Products with triangles on the gemm kernel: which tiles, over which steps of k.

``half`` has the tiles of a product of which one triangle is wanted (syrk, syr2k).  ``ramp`` has
those of a lower triangular P, each with the steps up to its last row's diagonal element only
(trmm).  ``solve`` has the launches that solve T X = G for a lower triangular T (trsm), block by
block of rows, in pairs::

    R[i] = G[i] - T[i, :i] X[:i]        a ramp's rectangle, added to what is there
    X[i] = inverse(T[i, i]) R[i]        a ramp of its own

The inverses of the diagonal blocks are the CPU's work, in float64 (:func:`inverted`): about
block**2 n / 3 multiply-adds against n**2 m / 2 on the QPUs.  R and X have the layout of a packed Q,
so that what one launch has stored is an operand of the next as it lies.

An upper triangle is a lower one read from its end, and a triangle on the right is one on the left
of the transposes; callers see to both.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Callable, Iterable, Iterator, List, NamedTuple, Tuple

import numpy as np

from . import gemm_choice
from .gemm import GemmOptions
from .gemm_data import (
    PANEL,
    QPUS,
    SMALLEST_NORMAL,
    UNIT_ROUNDOFF,
    Packed,
    Place,
    Tile,
    error_bound,
    packed_words,
    tiles,
)

__all__ = [
    "BLOCK",
    "Step",
    "block_of",
    "choose",
    "half",
    "inverted",
    "ramp",
    "residual_bound",
    "solve",
]

BLOCK = 128
"""Most rows of a block of a solve.  Larger ones take fewer launches, but more of the CPU, and make
the error bound's factor |T[i, i]| |inverse(T[i, i])| larger."""


def half(options: GemmOptions, p: Packed, q: Packed, lower: bool) -> Iterator[Place]:
    """The tiles of D with an element on the diagonal or on the wanted side of it."""
    for j in range(q.panels):
        left, right = q.first(j), min(q.first(j + 1), q.length) - 1
        for i in range(p.panels):
            top, bottom = i * p.width, min((i + 1) * p.width, p.length) - 1
            if bottom >= left if lower else top <= right:
                yield i, j, 0, p.steps


def _steps_to(options: GemmOptions, p: Packed, i: int) -> int:
    """Steps of k to the diagonal element of the last row of panel i, in whole iterations."""
    rows = min((i + 1) * p.width, p.length)
    return -(-rows // options.unroll) * options.unroll


def ramp(options: GemmOptions, p: Packed, q: Packed) -> Iterator[Place]:
    """The tiles of the product of a lower triangular P and any Q.

    QPUs share lines of Q as long as they are in step, so each group of tiles that are computed at
    the same time takes the steps of its longest, beyond the diagonal, where P is zero.  So that
    a group is of nearly one length where it goes over from one panel of Q to the next, every second
    one begins with the long tiles.
    """
    rows = range(p.panels)
    order = [(i, j) for j in range(q.panels) for i in (reversed(rows) if j % 2 else rows)]
    for at in range(0, len(order), QPUS):
        group = order[at : at + QPUS]
        steps = max(_steps_to(options, p, i) for i, _ in group)
        yield from ((i, j, 0, steps) for i, j in group)


# --- solving -------------------------------------------------------------------------------------


def _within(
    options: GemmOptions, p: Packed, q: Packed, rows: range, low: int
) -> Iterator[Place]:
    """The tiles of a diagonal block's panels, from step ``low``, its first, to the diagonal.

    They are too short for QPUs to get out of step by much, and of different lengths.  So in each
    round the QPU that has had least gets the longest.
    """
    places = [(i, j, low, _steps_to(options, p, i)) for j in range(q.panels) for i in rows]
    loads = [0] * QPUS

    def work(place: Place) -> int:
        return (place[3] - low) * q.width_of(place[1])

    for at in range(0, len(places), QPUS):
        group = sorted(places[at : at + QPUS], key=work, reverse=True)
        # The QPUs of a last round that is not full are the first.
        order = sorted(range(len(group)), key=loads.__getitem__)
        for qpu, place in zip(order, group):
            loads[qpu] += work(place)
        yield from (place for _, place in sorted(zip(order, group)))


def _rectangle(q: Packed, rows: range, steps: int) -> List[Place]:
    """The tiles of these panels of P with all of Q.

    As the launch is short, what counts is that QPUs end together, more than that those of a round
    have tiles of one width (:func:`.gemm_data.rounds`): where the wide ones do not come out even,
    the QPUs that would be without one in the last round get narrow ones meanwhile, and of those one
    more.
    """
    wide = [(i, j, 0, steps) for j in range(q.wide) for i in rows]
    narrow = [(i, j, 0, steps) for j in range(q.wide, q.panels) for i in rows]
    last = len(wide) // QPUS * QPUS
    spare = (last - len(wide)) % QPUS
    return wide[:last] + narrow[:spare] + wide[last:] + narrow[spare:]


def block_of(options: GemmOptions) -> int:
    """Rows of a block: whole panels and whole iterations."""
    unit = math.lcm(options.rows, options.unroll)
    return max(BLOCK // unit, 1) * unit


@functools.lru_cache(maxsize=256)
def choose(n: int, m: int) -> GemmOptions:
    """The kernel for a solve of n x n by m: of those that suit the whole product and a launch in
    the middle, the one that takes less for a row of a block; its narrow tiles as wide as makes
    QPUs end together."""

    def clocks_a_row(options: GemmOptions) -> float:
        rows = min(block_of(options), n)
        return gemm_choice.clocks(options, rows, m, max(n // 2, 1)) / rows

    def longest(options: GemmOptions) -> float:
        """The most columns that a QPU has in a launch, a tile counted as a few more."""
        rows, steps = min(block_of(options), n), options.unroll
        p, q = packed_words(options, rows, m, steps)
        columns = [q.width_of(place[1]) + PANEL for place in _rectangle(q, range(p.panels), steps)]
        return max(sum(columns[qpu::QPUS]) for qpu in range(QPUS))

    rows, steps = min(BLOCK, n), max(n // 2, 1)
    candidates = [gemm_choice.choose(*size, True) for size in ((rows, m, steps), (n, m, n))]
    best = min(candidates, key=clocks_a_row)
    edges = (dataclasses.replace(best, edge=edge) for edge in range(best.vectors))
    return min(edges, key=longest)


def inverted(t: np.ndarray, block: int) -> np.ndarray:
    """The factors of a solve in float32: T with the opposite sign, its diagonal blocks inverted.

    ``t`` is lower triangular (n, n) float32, with zeros above and no zero on the diagonal.  An
    inverse is computed in float64 and rounded once; what float32 cannot hold becomes Inf.
    """
    from scipy.linalg.lapack import dtrtri

    factors = -t
    for begin in range(0, t.shape[0], block):
        own = slice(begin, begin + block)
        inverse, _ = dtrtri(t[own, own].astype(np.float64), lower=1)
        with np.errstate(over="ignore"):
            factors[own, own] = inverse
    return factors


class Step(NamedTuple):
    """A launch of a solve: its tiles, whether they are added to what is there (beta = 1), and how
    many steps QPUs are apart."""

    tiles: List[Tile]
    added: bool
    lag: int


def solve(
    options: GemmOptions, p: Packed, q: Packed, p_addr: int, r_addr: int, x_addr: int, lag: int
) -> Iterator[Step]:
    """The launches that turn R, which holds G at first, into X.

    P is :func:`inverted` packed, R and X lie at these addresses in the layout ``q``.
    """
    block = block_of(options)

    def corner(base: int) -> Callable[[int, int], Tuple[int, int]]:
        def at(i: int, j: int) -> Tuple[int, int]:
            width = q.width_of(j)
            return base + q.offset(j) + 4 * p.first(i) * width, width

        return at

    def step(q_addr: int, base: int, places: Iterable[Place], apart: int) -> Step:
        of = list(tiles(options, p, q, p_addr, q_addr, apart, places, corner(base)))
        return Step(of, base == r_addr, max(apart, 1))

    for begin in range(0, p.length, block):
        rows = range(begin // p.width, -(-min(begin + block, p.length) // p.width))
        if begin:
            yield step(x_addr, r_addr, _rectangle(q, rows, begin), lag)
        # Tiles that begin with the first step come in one run, which is half the setting out.
        yield step(r_addr, x_addr, _within(options, p, q, rows, begin), 0)


def residual_bound(t: np.ndarray, x: np.ndarray, g: np.ndarray, block: int) -> np.ndarray:
    """Bound of |t @ x - g| for each element, where x (n, m) is what :func:`solve` makes of g.

    ``t`` is lower triangular (n, n), ``g`` the right-hand sides alpha * b before rounding; ``t``
    and ``x`` are float32.  With D the diagonal blocks of t, L what is left of them, gamma as in
    :func:`.gemm_data.error_bound`::

        gamma(n + 4) (|L| |x| + |g|) + gamma(block + 6) |D| |inverse(D)| (|L| |x| + |g|)

    R has at most n + 3 truncations a term and the rounding of g, X block + 3 more, and two for the
    rounding of the inverse and the error of R.  The float64 inverse itself adds
    2**-53 block |D| |inverse(D)| |D| |inverse(D)| times the same.  As there, numbers below 2**-126
    count as 0 in each of the two products.
    """
    n = t.shape[0]
    t64, size = np.abs(t.astype(np.float64)), np.abs(g).astype(np.float64)
    bound = np.zeros(g.shape)
    for begin in range(0, n, block):
        own = slice(begin, min(begin + block, n))
        before, solved = t[own, :begin], x[:begin]
        left = t64[own, :begin] @ np.abs(solved.astype(np.float64)) + size[own]
        first = error_bound(1.0, before, solved, 1.0, size[own]) + UNIT_ROUNDOFF * left
        inverse = np.abs(np.linalg.inv(t[own, own].astype(np.float64)))
        second = error_bound(1.0, inverse, left + first, 0.0, left)
        second += 2 * UNIT_ROUNDOFF * (inverse @ left) + SMALLEST_NORMAL * left.sum(axis=0)
        second += 2.0**-53 * block * (inverse @ (t64[own, own] @ (inverse @ left)))
        bound[own] = first + t64[own, own] @ second
    return bound
