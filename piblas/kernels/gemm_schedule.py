"""What the gemm kernel computes, in which order, on which QPU: tiles.  The streams that drive the
program are made of them by :mod:`.gemm_streams`.

Tiles are tables: arrays of one element per tile, in the order in which they are dealt out, tile t
to QPU t modulo the number of QPUs.  So the tiles of a *wave*, one for each QPU, are computed at the
same time.  :class:`TileRanges` names tiles by their panels, :class:`Tiles` by addresses.

QPUs run a *skew* apart in k, so that each finds the mutex free when it stores a tile.  Tiles of a
wave begin that much further on in k (their range is *rotated*), so that all QPUs need the same
lines of Q at the same time.  Every few waves there is a barrier, or what stores and memory delay
the QPUs would add up.
"""

from __future__ import annotations

import collections
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from .gemm import LANES, GemmOptions
from .gemm_layout import Packed, packed_words, panel_start, panel_width
from .parts import QPUS

__all__ = [
    "Batch",
    "QPUS",
    "TileRanges",
    "Tiles",
    "all_tiles",
    "batch",
    "dense_tiles",
    "packed_tiles",
    "skew_of",
    "waves",
]

SKEWS = {False: 8, True: 16}
"""Steps of k between QPUs, without and with beta.  QPUs further apart than a store, which holds the
mutex, do not wait for each other.  It takes about 5 steps, 10 at the pessimistic rates of the
timing model, and with beta 12 and 18."""

FEW = 3
"""Tiles of a QPU up to which half the skew costs less: fewer stores to wait for, an earlier end."""


def skew_of(options: GemmOptions, p: Packed, q: Packed, reads: Optional[bool] = None) -> int:
    """Steps of k that a QPU is behind the one before it, a multiple of the unrolled ones;
    ``reads``: whether D is read, if not as ``options.beta`` has it."""
    skew = SKEWS[options.beta if reads is None else reads]
    if p.panels * q.panels <= FEW * QPUS:
        skew //= 2
    return min(skew, p.steps // QPUS) // options.unroll * options.unroll


# --- tiles ---------------------------------------------------------------------------------------


class TileRanges(collections.namedtuple("TileRanges", "p_panel q_panel low high")):
    """Tiles by panels and steps: integer arrays of one element per tile.

    Tile t is the product of a panel of P and one of Q over the steps of k from ``low[t]`` to before
    ``high[t]``.
    """

    __slots__ = ()

    def take(self, order: np.ndarray) -> "TileRanges":
        """The tiles with these numbers, or those marked, in this order."""
        return TileRanges(*(column[order] for column in self))


class Tiles:
    """Tiles of D by addresses: int64 arrays of one element per tile, or per run (runs x tiles).

    The products of a tile are added up in two or three runs of ``steps`` steps of k, which read P
    and Q at these byte offsets; lines of Q of a step and the next are ``pitch`` bytes apart.  Only
    the first run has steps in any case; those without come last.  ``d_at`` is the byte offset of
    the tile's corner in D, whose rows are ``ldd`` words apart; ``rows`` and ``columns`` of it lie
    inside D.  alpha and beta are numbers ``factor`` of those that a launch is given.  Tiles marked
    in ``rest``, if there is one, read Q at the address :data:`.gemm_streams.REST`.
    """

    __slots__ = (
        "p_at", "q_at", "steps", "pitch", "d_at", "rows", "columns", "ldd", "factor", "rest",
    )  # fmt: skip

    def __init__(
        self,
        p_at: np.ndarray,
        q_at: np.ndarray,
        steps: np.ndarray,
        pitch: np.ndarray,
        d_at: np.ndarray,
        rows: np.ndarray,
        columns: np.ndarray,
        ldd: np.ndarray,
        factor: np.ndarray,
        rest: Optional[np.ndarray] = None,
    ) -> None:
        self.p_at, self.q_at, self.d_at, self.pitch = p_at, q_at, d_at, pitch
        self.steps, self.rows, self.columns, self.ldd = steps, rows, columns, ldd
        self.factor, self.rest = factor, rest

    def __len__(self) -> int:
        return int(self.d_at.size)

    def part(self, of: range) -> "Tiles":
        """Some neighbours."""
        own = slice(of.start, of.stop)
        columns = (getattr(self, field) for field in self.__slots__)
        return Tiles(*(None if column is None else column[..., own] for column in columns))


def all_tiles(p: Packed, q: Packed, low: int, high: int) -> TileRanges:
    """All tiles of D with these steps, along a panel of Q first, so that neighbours share their
    panel of Q."""
    j, i = np.divmod(np.arange(p.panels * q.panels), p.panels)
    return TileRanges(i, j, 0 * i + low, 0 * i + high)


def waves(narrow: np.ndarray, starts: Sequence[int] = (0,)) -> np.ndarray:
    """The order in which tiles make waves of one width, as far as that goes.

    ``narrow`` (bool) says which tiles are narrower than the others; those of each product, which
    begin at ``starts``, are ordered apart.

    QPUs with narrower tiles than the others' get ahead, and then fetch lines of Q for themselves
    that all could share.  So the wave of both widths comes late.  If it is the last one, the QPUs
    that begin first have the wide tiles; else those that have one tile more have narrow ones.
    """
    first = np.asarray(starts)
    count = np.concatenate((first[1:], [narrow.size])) - first
    of = np.arange(first.size).repeat(count)
    # Within each product: a tile's number among those of its width, how many there are of each.
    before = narrow.cumsum() - narrow
    number = before - before[first][of]
    number = np.where(narrow, number, np.arange(narrow.size) - first[of] - number)
    n_narrow = np.add.reduceat(narrow.astype(np.int64), first)
    n_wide = count - n_narrow
    early, late = n_wide % QPUS, n_narrow % QPUS
    mixed = (early > 0) & (early + late > QPUS)
    spare = np.where(mixed, QPUS - early, 0)
    whole = n_wide - early, n_narrow - late
    # wide waves, narrow waves, ``spare`` late narrow ones, the early wide ones, the other late ones
    past = number - np.where(narrow, whole[1][of], whole[0][of])
    in_wave = np.where(narrow, number + whole[0][of], number)
    of_rest = (whole[0] + whole[1])[of] + past
    of_rest += np.where(narrow, (past >= spare[of]) * early[of], spare[of])
    place = first[of] + np.where(past < 0, in_wave, of_rest)
    order = np.empty_like(place)
    order[place] = np.arange(place.size)
    return order


def _rotated(
    ranges: TileRanges, unroll: int, skew: int, number: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """First step and number of steps (2 x tiles) of both runs: the ranges in a circle, beginning
    further on by the skew of the QPU that has tile ``number`` of a product."""
    low, high = ranges.low, ranges.high
    # All but very short tiles come in two runs, or those in one would get ahead.
    turn = (skew * (number % QPUS) + unroll) % (high - low) if skew else 0 * low
    return np.array((low + turn, low)), np.array((high - low - turn, turn))


def _tiles(
    options: GemmOptions,
    ranges: TileRanges,
    skew: int,
    number: np.ndarray,
    sizes: Tuple[Any, ...],
    at: Tuple[Any, Any, Any],
    ldd: Optional[Any],
    factor: np.ndarray,
) -> Tiles:
    """Tiles with numbers of their products, (m, n, steps of a panel of P, and of Q, wide panels of
    Q), byte offsets of P, Q and D, and ``ldd``, or None where D has the layout of Q: numbers or
    arrays."""
    i, j, _, _ = ranges
    m, n, p_steps, q_steps, wide = sizes
    edge = LANES * options.edge
    row, column = i * options.rows, panel_start(j, wide, options.columns, edge)
    width = panel_width(j, wide, options.columns, edge)
    first, own = _rotated(ranges, options.unroll, skew, number)
    if ldd is None:
        pitch = width
        corner = q_steps * column + row * width
    else:
        pitch = 0 * i + ldd
        corner = row * ldd + column
    return Tiles(
        p_at=at[0] + 4 * (p_steps * row + options.rows * first),
        q_at=at[1] + 4 * (q_steps * column + width * first),
        steps=own,
        pitch=4 * np.array((width, width)),
        d_at=at[2] + 4 * corner,
        rows=np.minimum(options.rows, m - row),
        columns=np.minimum(width, n - column),
        ldd=pitch,
        factor=factor,
    )


def dense_tiles(
    options: GemmOptions,
    p: Packed,
    q: Packed,
    ldd: int,
    skew: int,
    ranges: Optional[TileRanges] = None,
    split_k: int = 1,
) -> Tiles:
    """The tiles of a row-major D (``ldd`` words from row to row): those of ``ranges``, by default
    all of them, in :func:`waves`.

    With ``split_k`` the steps are cut into so many parts, and there are as many matrices D one
    after the other, whose sum is the product; it goes with all tiles only.

    Where a tile begins depends on its place only, and so does the result, to the last bit.
    """
    if ranges is None:
        ranges = all_tiles(p, q, 0, p.steps)
        ranges = ranges.take(waves(ranges.q_panel >= q.wide))
    elif split_k != 1:
        raise ValueError("gemm: split_k is for all tiles")
    number, d_at = np.arange(ranges.low.size), 0
    if split_k > 1:
        unit = options.unroll
        bounds = np.arange(split_k + 1) * (p.steps // unit) // split_k * unit
        if bounds[1] == 0:
            raise ValueError(f"gemm: split_k = {split_k} leaves parts of {p.steps} steps empty")
        part, number = np.divmod(np.arange(split_k * number.size), number.size)
        d_at = 4 * part * p.length * ldd
        panels = ranges.p_panel[number], ranges.q_panel[number]
        ranges = TileRanges(*panels, bounds[part], bounds[part + 1])
    sizes = p.length, q.length, p.steps, q.steps, q.wide
    return _tiles(options, ranges, skew, number, sizes, (0, 0, d_at), ldd, 0 * number)


def packed_tiles(
    options: GemmOptions, p: Packed, q: Packed, skew: int, ranges: TileRanges, p_at: int = 0
) -> Tiles:
    """The tiles of a D that has the layout of Q.  P begins ``p_at`` bytes further on."""
    sizes = p.length, q.length, p.steps, q.steps, q.wide
    number = np.arange(ranges.low.size)
    return _tiles(options, ranges, skew, number, sizes, (p_at, 0, 0), None, 0 * number)


class Batch(collections.namedtuple("Batch", "layouts kind p_at q_at d_at skew tiles")):
    """Products of any sizes in one launch.

    Product i has the layouts ``layouts[kind[i]]`` of its P and Q, which begin at words ``p_at[i]``
    and ``q_at[i]`` of their buffers, each on a line; its D (m x n) begins at word ``d_at[i]``.  The
    last elements, one more than products, are the buffers' sizes.  Its alpha and beta have number
    i.
    """

    __slots__ = ()


def batch(options: GemmOptions, sizes: Sequence[Tuple[int, int, int]]) -> Batch:
    """The tiles of products of these sizes (m, n, k), product after product."""
    of_kind, kind = np.unique(np.array(sizes), axis=0, return_inverse=True)
    kind = kind.reshape(-1)
    layouts = tuple(packed_words(options, *size) for size in of_kind.tolist())
    skew = min(skew_of(options, p, q) for p, q in layouts)
    rows = [
        (p.words, q.words, p.length * q.length, p.length, q.length, p.steps, q.wide, p.panels,
         q.panels)
        for p, q in layouts
    ]  # fmt: skip
    table = np.array(rows)[kind].T
    ends = np.cumsum(-(-table[:3] // LANES) * LANES, axis=1)
    at = np.concatenate((np.zeros((3, 1), dtype=np.int64), ends), axis=1)
    high, count = table[7], table[7] * table[8]
    starts = np.cumsum(count) - count
    of = np.repeat(np.arange(count.size), count)
    j, i = np.divmod(np.arange(of.size) - starts[of], high[of])
    order = waves(j >= table[6][of], starts)
    m, n, steps, wide = table[3:7, of]
    ranges = TileRanges(i, j, np.zeros_like(i), steps).take(order)
    number = np.arange(of.size) - starts[of]
    corners = tuple(4 * column[of] for column in at)
    tiles = _tiles(options, ranges, skew, number, (m, n, steps, steps, wide), corners, n, of)
    return Batch(layouts, kind, *at, skew, tiles)
