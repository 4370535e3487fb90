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
from typing import Iterator, NamedTuple, Tuple

import numpy as np

from . import gemm_choice
from .gemm import GemmOptions
from .gemm_error import SMALLEST_NORMAL, UNIT_ROUNDOFF, error_bound
from .gemm_layout import PANEL, Packed, packed_words
from .gemm_schedule import QPUS, TileRanges, Tiles, all_tiles, packed_tiles

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


def half(options: GemmOptions, p: Packed, q: Packed, lower: bool) -> TileRanges:
    """The tiles of D with an element on the diagonal or on the wanted side of it."""
    ranges = all_tiles(p, q, 0, p.steps)
    i, j = ranges.p_panel, ranges.q_panel
    if lower:
        return ranges.take(np.minimum((i + 1) * p.width, p.length) - 1 >= q.first(j))
    return ranges.take(i * p.width <= np.minimum(q.first(j + 1), q.length) - 1)


def _steps_to(options: GemmOptions, p: Packed, i: np.ndarray) -> np.ndarray:
    """Steps of k to the diagonal element of the last row of panels i, in whole iterations."""
    rows = np.minimum((i + 1) * p.width, p.length)
    return -(-rows // options.unroll) * options.unroll


def ramp(options: GemmOptions, p: Packed, q: Packed) -> TileRanges:
    """The tiles of the product of a lower triangular P and any Q.

    QPUs share lines of Q as long as they are in step, so the tiles of a wave take the steps of its
    longest, beyond the diagonal, where P is zero.  So that a wave is of nearly one length where it
    goes over from one panel of Q to the next, every second one begins with the long tiles.
    """
    i, j, low, _ = all_tiles(p, q, 0, 0)
    i = np.where(j % 2, p.panels - 1 - i, i)
    longest = np.maximum.reduceat(_steps_to(options, p, i), np.arange(0, i.size, QPUS))
    return TileRanges(i, j, low, longest.repeat(QPUS)[: i.size])


# --- solving -------------------------------------------------------------------------------------


def _block_tiles(rows: range, columns: range) -> Tuple[np.ndarray, np.ndarray]:
    """These panels of P with these panels of Q, along a panel of Q first."""
    j, i = np.divmod(np.arange(len(columns) * len(rows)), len(rows))
    return i + rows.start, j + columns.start


def _within(options: GemmOptions, p: Packed, q: Packed, rows: range, low: int) -> TileRanges:
    """The tiles of a diagonal block's panels, from step ``low``, its first, to the diagonal.

    They are too short for QPUs to get out of step by much, and of different lengths.  So in each
    wave the QPU that has had least gets the longest.
    """
    i, j = _block_tiles(rows, range(q.panels))
    ranges = TileRanges(i, j, 0 * i + low, _steps_to(options, p, i))
    work = (ranges.high - low) * q.width_of(j)
    # By waves, the last one filled up with tiles that come last in order of work.
    by_wave = np.full(-(-work.size // QPUS) * QPUS, -1)
    by_wave[: work.size] = work
    by_wave = by_wave.reshape(-1, QPUS)
    longest_first = (-by_wave).argsort(axis=1, kind="stable")
    work_of = np.take_along_axis(by_wave, longest_first, 1)
    loads = np.zeros(QPUS, dtype=np.int64)
    order = np.zeros_like(by_wave)
    # The loads that a wave finds depend on all waves before it.
    for wave, begin in enumerate(range(0, work.size, QPUS)):
        # The QPUs of a last wave that is not full are the first.
        size = min(QPUS, work.size - begin)
        qpus = loads[:size].argsort(kind="stable")
        loads[qpus] += work_of[wave, :size]
        order[wave, qpus] = begin + longest_first[wave, :size]
    return ranges.take(order.reshape(-1)[: work.size])


def _rectangle(q: Packed, rows: range, steps: int) -> TileRanges:
    """The tiles of these panels of P with all of Q.

    As the launch is short, what counts is that QPUs end together, more than that those of a wave
    have tiles of one width (:func:`.gemm_schedule.waves`): where the wide ones do not come out
    even, the QPUs that would be without one in the last wave get narrow ones meanwhile, and of
    those one more.
    """
    i, j = _block_tiles(rows, range(q.panels))
    wide = len(rows) * q.wide
    last = wide // QPUS * QPUS
    spare = min((last - wide) % QPUS, i.size - wide)
    order = np.arange(i.size)
    order[last : last + spare] = np.arange(wide, wide + spare)
    order[last + spare : wide + spare] = np.arange(last, wide)
    return TileRanges(i, j, 0 * i, 0 * i + steps).take(order)


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
        columns = q.width_of(_rectangle(q, range(p.panels), steps).q_panel) + PANEL
        return float(np.bincount(np.arange(columns.size) % QPUS, columns).max())

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
    """A launch of a solve: its tiles, whether they are added to what is there (beta = 1), how many
    steps QPUs are apart, and the names of the addresses of P, Q and D."""

    tiles: Tiles
    added: bool
    skew: int
    names: Tuple[str, str, str]


def solve(options: GemmOptions, p: Packed, q: Packed, skew: int) -> Iterator[Step]:
    """The launches that turn R, which holds G at first, into X.

    P, called "p", is :func:`inverted` packed; R and X, called "r" and "x", have the layout ``q``.
    """
    block = block_of(options)

    def step(of: str, to: str, ranges: TileRanges, apart: int) -> Step:
        tiles = packed_tiles(options, p, q, apart, ranges)
        return Step(tiles, to == "r", max(apart, 1), ("p", of, to))

    for begin in range(0, p.length, block):
        rows = range(begin // p.width, -(-min(begin + block, p.length) // p.width))
        if begin:
            yield step("x", "r", _rectangle(q, rows, begin), skew)
        # Tiles that begin with the first step come in one run, which is half the setting out.
        yield step("r", "x", _within(options, p, q, rows, begin), 0)


def residual_bound(t: np.ndarray, x: np.ndarray, g: np.ndarray, block: int) -> np.ndarray:
    """Bound of |t @ x - g| for each element, where x (n, m) is what :func:`solve` makes of g.

    ``t`` is lower triangular (n, n), ``g`` the right-hand sides alpha * b before rounding; ``t``
    and ``x`` are float32.  With D the diagonal blocks of t, L what is left of them, gamma as in
    :func:`.gemm_error.error_bound`::

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
