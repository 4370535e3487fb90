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

A product with an inverse is backward stable only where the block is well conditioned.  So
:func:`methods` bounds the error of each block and has the others corrected once on the QPUs
(:attr:`Method.REFINE`), by two more launches, or solved by substitution on the CPU
(:attr:`Method.SUBSTITUTE`)::

    R[i] = R[i] - T[i, i] X[i]
    X[i] = X[i] + inverse(T[i, i]) R[i]

An upper triangle is a lower one read from its end, and a triangle on the right is one on the left
of the transposes; callers see to both.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from typing import Iterator, NamedTuple, Sequence, Tuple, Union

import numpy as np

from . import gemm_choice
from .gemm import GemmOptions
from .gemm_error import SMALLEST_NORMAL, UNIT_ROUNDOFF, error_bound
from .gemm_layout import PANEL, Packed, packed_words
from .gemm_schedule import QPUS, TileRanges, Tiles, all_tiles, packed_tiles

__all__ = [
    "BLOCK",
    "Method",
    "Step",
    "Substitution",
    "block_of",
    "choose",
    "diagonal_layout",
    "diagonals",
    "half",
    "inverted",
    "methods",
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
    count = -(-t.shape[0] // block)
    size = 1 << (block - 1).bit_length()
    # What is given, and the inverses: of a size that is a power of two, the identity beyond T.
    both = np.zeros((2, count, size, size))
    along = _ALONG[:size]
    both[:, :, along, along] = 1
    for number in range(count):
        own = slice(number * block, (number + 1) * block)
        part = t[own, own]
        both[0, number, : part.shape[0], : part.shape[0]] = part
    factors = -t
    with np.errstate(all="ignore"):
        _invert(both)
        inverses = both[1].astype(np.float32)
    for number in range(count):
        own = slice(number * block, (number + 1) * block)
        part = factors[own, own]
        part[...] = inverses[number, : part.shape[0], : part.shape[0]]
    return factors


_ALONG = np.arange(256)
"""Indices along a block."""


def _invert(both: np.ndarray) -> None:
    """Lower triangular matrices ``both[0]`` (count, size, size), inverted to ``both[1]``.

    The inverse of [[a, 0], [c, b]] is [[1/a, 0], [-1/b c 1/a, 1/b]]: from the diagonal on, blocks
    of twice the size each time, of all matrices at once.  NumPy alone, as importing SciPy takes
    seconds on a small board.
    """
    _, count, size, _ = both.shape
    along = _ALONG[:size]
    both[1, :, along, along] = 1 / both[0, :, along, along]
    half, blocks = 1, size // 2
    while blocks:
        at = _ALONG[:blocks]
        given, made = both.reshape(2, count, blocks, 2 * half, blocks, 2 * half)
        a, b = made[:, at, :half, at, :half], made[:, at, half:, at, half:]
        made[:, at, half:, at, :half] = -(b @ given[:, at, half:, at, :half] @ a)
        half, blocks = 2 * half, blocks // 2


# --- how a diagonal block is solved --------------------------------------------------------------

BACKWARD_ERROR = 50
"""The normwise backward error of a solution of order n is at most this times n u."""


class Method(enum.Enum):
    """How a diagonal block is solved."""

    MULTIPLY = "by its inverse, on the QPUs"
    REFINE = "by its inverse and one correction, on the QPUs"
    SUBSTITUTE = "by substitution in float64, on the CPU"


def methods(t: np.ndarray, factors: np.ndarray, block: int) -> Tuple[Method, ...]:
    """How to solve each diagonal block of ``t``, so that for each column x of X and g of G::

        max |t x - g| <= BACKWARD_ERROR n u (||t|| max |x| + max |g|),  u = 2**-23

    with the norm that belongs to the maximum, the largest sum of magnitudes of a row.  ``factors``
    is :func:`inverted` of ``t`` (n, n).  Only the blocks' values are looked at, never G.

    With D a block, B = |D| |inverse(D)| and c = gamma(rows of D + 6), and R exact, a product with
    the rounded inverse leaves a residual of at most c B |R|.  Let w be the sums of |D|'s rows, and
    c B w <= theta w element by element.  From |R| <= |D| |X| + c B |R| follows that it is at most
    c B w max |X| / (1 - theta).

    The correction leaves the rounding of two residuals and of a sum, and the same share of the
    first residual as the first product did of R: with s = c B w, at most
    (4 c (w + s) + c B s) max |X| / (1 - 3 theta), if theta <= 1/4.

    What the rectangle of rows adds, gamma(n + 4) (||t|| max |x| + max |g|), is part of the limit.
    """
    n = t.shape[0]
    rows, begins = min(block, n), range(0, n, block)
    blocks = np.zeros((2, len(begins), rows, rows))
    for index, begin in enumerate(begins):
        own = slice(begin, begin + block)
        inside = slice(n - begin)
        blocks[0, index, inside, inside] = t[own, own]
        blocks[1, index, inside, inside] = factors[own, own]
    # The last block is filled up with a diagonal that is no worse than its last row.
    missing = range(n - begins[-1], rows)
    blocks[0, -1, missing, missing] = t[-1, -1]
    blocks[1, -1, missing, missing] = factors[-1, -1]
    sizes, inverses = np.abs(blocks, out=blocks)
    c = _gamma(rows + 6)
    np.divide(inverses, c, out=inverses, where=inverses < SMALLEST_NORMAL)  # flushed: all is error
    limit = BACKWARD_ERROR * n * UNIT_ROUNDOFF - _gamma(n + 4)
    most = np.maximum.reduce
    with np.errstate(all="ignore"):  # an inverse with Inf gives NaN, which passes no test below
        w = np.add.reduce(sizes, axis=2, keepdims=True)
        first = c * (sizes @ (inverses @ w))
        # Usually all blocks are well conditioned, which is seen without a pass over all of t.
        theta = most(first / w, axis=None)
        if theta < 0.5 and most(first, axis=None) <= limit * (1 - theta) * most(w, axis=None):
            return (Method.MULTIPLY,) * len(begins)
        second = 4 * c * (w + first) + c * (sizes @ (inverses @ first))
        thetas, once, twice = (most(x, axis=(1, 2)) for x in (first / w, first, second))
        limit *= float(np.abs(t).sum(axis=1, dtype=np.float64).max())
        well = (thetas < 0.5) & (once <= limit * (1 - thetas))
        better = (thetas <= 0.25) & (twice <= limit * (1 - 3 * thetas))
    return tuple(
        Method.MULTIPLY if one else Method.REFINE if two else Method.SUBSTITUTE
        for one, two in zip(well, better)
    )


def _gamma(operations: int) -> float:
    return operations * UNIT_ROUNDOFF / (1 - operations * UNIT_ROUNDOFF)


def diagonal_layout(options: GemmOptions, p: Packed) -> Packed:
    """How :func:`diagonals` are packed for a solve whose factors have the layout ``p``."""
    return Packed(p.length, min(block_of(options), p.steps), p.width)


def diagonals(t: np.ndarray, block: int) -> np.ndarray:
    """The diagonal blocks of -T, transposed, next to each other: (rows of a block, n)."""
    n = t.shape[0]
    found = np.zeros((min(block, n), n), dtype=np.float32)
    for begin in range(0, n, block):
        own = slice(begin, min(begin + block, n))
        np.negative(t[own, own].T, out=found[: own.stop - begin, own])
    return found


class Step(NamedTuple):
    """A launch of a solve: its tiles, whether they are added to what is there (beta = 1), how many
    steps QPUs are apart, and the names of the addresses of P, Q, D and the watched words."""

    tiles: Tiles
    added: bool
    skew: int
    names: Tuple[str, ...]


class Substitution(NamedTuple):
    """The CPU's turn: solve the diagonal block of these rows, from R into X."""

    begin: int
    end: int


def solve(
    options: GemmOptions, p: Packed, q: Packed, skew: int, methods: Sequence[Method] = ()
) -> Iterator[Union[Step, Substitution]]:
    """What turns R, which holds G at first, into X, in order.

    P, called "p", is :func:`inverted` packed; R and X, called "r" and "x", have the layout ``q``.
    ``methods`` has one for each diagonal block; without, all are multiplied with their inverses.
    Where one is refined, "diagonals" are :func:`diagonals` packed, and the rows of X that fill up
    the last iteration of k hold zeros.
    """
    block = block_of(options)
    d = diagonal_layout(options, p)

    def step(
        of: str, to: str, ranges: TileRanges, apart: int = 0, added: bool = False
    ) -> Step:
        tiles = packed_tiles(options, p, q, apart, ranges)
        return Step(tiles, added, max(apart, 1), ("p", of, to, "watch"))

    def correction(ranges: TileRanges, begin: int) -> Step:
        # A panel of the diagonal blocks begins with step ``begin``.
        tiles = packed_tiles(options, d, q, 0, ranges, -4 * d.width * begin)
        return Step(tiles, True, 1, ("diagonals", "x", "r", "watch"))

    for index, begin in enumerate(range(0, p.length, block)):
        end = min(begin + block, p.length)
        rows = range(begin // p.width, -(-end // p.width))
        method = methods[index] if methods else Method.MULTIPLY
        if begin:
            yield step("x", "r", _rectangle(q, rows, begin), skew, True)
        if method is Method.SUBSTITUTE:
            yield Substitution(begin, end)
            continue
        # Tiles that begin with the first step come in one run, which is half the setting out.
        own = _within(options, p, q, rows, begin)
        yield step("r", "x", own)
        if method is Method.REFINE:
            yield correction(own, begin)
            yield step("r", "x", own, added=True)


def residual_bound(t: np.ndarray, x: np.ndarray, g: np.ndarray, block: int) -> np.ndarray:
    """Bound of |t @ x - g| for each element, where x (n, m) is what :func:`solve` makes of g.

    ``t`` is lower triangular (n, n), ``g`` the right-hand sides alpha * b before rounding; ``t``
    and ``x`` are float32.  With D the diagonal blocks of t, L what is left of them, gamma as in
    :func:`.gemm_error.error_bound`, it is for blocks that are multiplied with their inverse::

        gamma(n + 4) (|L| |x| + |g|) + gamma(block + 6) |D| |inverse(D)| (|L| |x| + |g|)

    R has at most n + 3 truncations a term and the rounding of g, X block + 3 more, and two for the
    rounding of the inverse and the error of R.  The float64 inverse itself adds
    2**-53 block |D| |inverse(D)| |D| |inverse(D)| times the same.  As there, numbers below 2**-126
    count as 0 in each of the two products.

    Where a block is refined, the second term is that of the correction, whose right-hand side is
    the residual so far; to it comes the rounding of that residual and of the sum.  Where a block is
    solved by substitution, it is u |D| |x|.
    """
    n = t.shape[0]
    t64, size = np.abs(t.astype(np.float64)), np.abs(g).astype(np.float64)
    solved = np.abs(x.astype(np.float64))
    bound = np.zeros(g.shape)
    ways = methods(t, inverted(t, block), block)
    for begin, method in zip(range(0, n, block), ways):
        own = slice(begin, min(begin + block, n))
        left = t64[own, :begin] @ solved[:begin] + size[own]
        first = error_bound(1.0, t[own, :begin], x[:begin], 1.0, size[own]) + UNIT_ROUNDOFF * left
        bound[own] = first
        d = t64[own, own]
        if method is Method.SUBSTITUTE:
            bound[own] += UNIT_ROUNDOFF * (d @ solved[own]) + SMALLEST_NORMAL
            continue
        inverse = np.abs(np.linalg.inv(t[own, own].astype(np.float64)))
        off = _product_bound(d, inverse, left, first)
        if method is Method.REFINE:
            made = inverse @ (left + first) + off
            rounded = error_bound(1.0, d, made, 1.0, left + first)
            left = d @ off + rounded
            off = _product_bound(d, inverse, left, 0 * left) + UNIT_ROUNDOFF * solved[own]
            bound[own] += rounded
        bound[own] += d @ off
    return bound


def _product_bound(
    d: np.ndarray, inverse: np.ndarray, left: np.ndarray, off: np.ndarray
) -> np.ndarray:
    """Bound of the error of inverse(D) R, for |R| up to ``left`` that is known up to ``off``."""
    bound = error_bound(1.0, inverse, left + off, 0.0, left)
    bound += 2 * UNIT_ROUNDOFF * (inverse @ left) + SMALLEST_NORMAL * left.sum(axis=0)
    bound += 2.0**-53 * len(d) * (inverse @ (d @ (inverse @ left)))
    return bound
