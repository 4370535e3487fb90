"""Where the lines of Q come from, if Q is read where it lies: which panels, which runs of a tile.

A panel of Q can be read in place if each of its lines is a line of 64 bytes of a row of the
operand, so no line outside the operand and no word that belongs to something else is ever fetched.
The last panel, if it is wider than what is left of Q, is packed.

Runs have whole iterations.  Where k is not a multiple of the unrolled steps, the last iteration
begins as many rows early as are missing, and in these steps the scalars of P are 0: a *repeat*.
P is packed that way (:attr:`.gemm_layout.Packed.fold`), and the pointer to Q goes back by a new
run.

The QPU's products with 0, or with a denormal, are 0 even if the other factor is Inf or NaN.  So a
line of Q leaves no trace in the result if all scalars of P of its step are such.  The program that
packs P writes the largest magnitude of each step, from which the CPU sees whether there is such a
line (:meth:`.gemm_segments.Operand.most_of_rows`), and looks at it.

Reading in place relies on QPUs that keep step with each other.  They do under the timing sets
"calibrated" and "optimistic"; under "pessimistic", and where TMUs stand still at a miss, lines are
fetched again for most QPUs, and packing Q can be faster.

All functions are pure: sizes, strides and addresses in, tiles out.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import NamedTuple, Tuple

import numpy as np

from .gemm import LANES, LINE, GemmOptions
from .gemm_layout import Packed
from .gemm_plan import KStep
from .gemm_schedule import QPUS, Tiles, all_tiles, waves

__all__ = ["BARRIER_WAVES", "InPlace", "aligned", "folded", "in_place", "tiles"]


BARRIER_WAVES = 1
"""Waves between barriers.  Rows of Q that are a multiple of 4 KiB apart share their sets
of the first-level caches, where a line then lives for two steps: QPUs that share it must not be
further apart."""


SETS = 64
"""Sets of a direct-mapped first-level cache."""
LOSS = {
    "pessimistic": (85, 0.0053),
    "calibrated": (85, 0.0053),
    "optimistic": (85, 0.0053),
}
"""Instruction words that a line has to stay in its cache, and what share of its time is lost for
each that is missing, by timing set (``python -m bench in_place`` fits them)."""
PACKING = 56
"""Rows of P whose product takes as long as packing Q (simulated)."""


class InPlace(NamedTuple):
    """Q (k x n), row-major with ``pitch`` bytes from row to row.

    ``layout`` cuts it into panels; the first ``count`` of them are read in place, the other one, if
    there is one, is packed (:attr:`rest`).
    """

    layout: Packed
    k: int
    pitch: int

    @property
    def count(self) -> int:
        """Panels that lie inside Q."""
        layout = self.layout
        last = layout.panels - 1
        return last + (layout.first(last) + layout.width_of(last) <= layout.length)

    @property
    def rest(self) -> Tuple[int, Packed]:
        """The first column of the panel that is packed, and its layout, which has no padding in k;
        of length 0 if there is none."""
        layout, last = self.layout, self.layout.panels - 1
        first = layout.first(last) if self.count == last else layout.length
        return first, Packed(layout.length - first, self.k, layout.width_of(last))


def aligned(address: int, strides: Tuple[int, int]) -> bool:
    """Whether the rows of Q, at a bus address with ``strides`` in bytes, are contiguous and begin
    on lines."""
    down, along = strides
    return along == 4 and address % LINE == 0 and down % LINE == 0


def in_place(options: GemmOptions, layout: Packed, m: int, k: int, pitch: int) -> bool:
    """Whether to read an :func:`aligned` Q (k x n) where it lies, ``pitch`` bytes from row to row.

    There is at least an iteration, and a panel inside Q; and what is lost in the caches
    (:func:`lost`) is less than packing costs, which is the less the more rows P has.
    """
    if k < options.unroll or not InPlace(layout, k, pitch).count:
        return False
    widths = {layout.width_of(j) // LANES for j in (0, layout.panels - 1)}
    return max(lost(options.step(vectors), pitch) for vectors in widths) * m < PACKING


def lost(plan: KStep, pitch: int, timing: str = "calibrated") -> float:
    """The share of the time of a product that is lost if Q's rows are ``pitch`` bytes apart.

    QPUs of a slice share a line as long as it stays in a first-level cache.  It goes when a line of
    the same set is requested from the same TMU.  The fewer requests there are between, the more
    often it is gone before all have had it.
    """
    life, loss = LOSS[timing]
    return loss * missing(plan, pitch // LINE, life)


def missing(plan: KStep, lines: int, life: int) -> float:
    """How many of ``life`` instruction words a line does not stay, on average, if rows are so many
    lines apart."""
    return _missing(plan, lines % SETS, life)


@functools.lru_cache(maxsize=256)
def _missing(plan: KStep, away: int, life: int) -> float:
    """As :func:`missing`, by the distance of rows in sets."""
    apart = plan.slots / plan.vectors  # words between two requests
    horizon = range(1, math.ceil(life / apart))
    total = 0.0
    for step in range(plan.unroll):
        for v in range(plan.vectors):
            own = plan.tmu(step, v), (step * away + v) % SETS
            for later in horizon:
                more, other = divmod(v + later, plan.vectors)
                if (plan.tmu(step + more, other), ((step + more) * away + other) % SETS) == own:
                    total += life - later * apart
                    break
    return total / (plan.unroll * plan.vectors)


def folded(p: Packed, k: int, unroll: int) -> Packed:
    """The layout of P for a Q that is read in place."""
    return dataclasses.replace(p, fold=p.steps - unroll if p.steps > k else 0)


def tiles(options: GemmOptions, p: Packed, q: InPlace, ldd: int, skew: int) -> Tiles:
    """All tiles of a row-major D, in the order of :func:`.gemm_schedule.dense_tiles`."""
    layout, steps = q.layout, p.steps
    ranges = all_tiles(p, layout, 0, steps)
    i, j, _, _ = ranges.take(waves(ranges.q_panel >= layout.wide))
    number, fold = np.arange(i.size), p.fold or steps
    first = 0 * number
    if skew:
        # Narrow tiles begin as much later in time as wide ones do.
        wide, narrow = (
            options.step(v).slots for v in (options.vectors, options.edge or options.vectors)
        )
        pace = np.where(j < layout.wide, 1, wide / narrow)
        turns = np.rint(skew * (number % QPUS) * pace / options.unroll).astype(np.int64) + 1
        first = options.unroll * turns % steps
    # All steps in a circle: from the first to the fold or the end, ..., up to the first.
    early = first < fold
    begin = [first, np.where(early, fold, 0)]
    end = [np.where(early, fold, steps), np.where(early, steps, fold)]
    if p.fold:
        begin, end = [*begin, np.where(early, 0, fold)], [*end, first]
    else:
        begin[1], end[1] = 0 * first, first
    low, high = np.array(begin), np.array(end)
    row, column, width = p.first(i), layout.first(j), layout.width_of(j)
    rest = j >= q.count
    # The repeated rows are before the fold's in Q, and not in P.
    at = low - np.where(low >= fold, steps - q.k, 0)
    pitch = np.where(rest, 4 * width, q.pitch) + 0 * low
    return Tiles(
        p_at=4 * (steps * row + p.width * low),
        q_at=np.where(rest, 0, 4 * column) + pitch * at,
        steps=high - low,
        pitch=pitch,
        d_at=4 * (row * ldd + column),
        rows=np.minimum(p.width, p.length - row),
        columns=np.minimum(width, layout.length - column),
        ldd=0 * i + ldd,
        factor=0 * i,
        rest=rest if q.count < layout.panels else None,
    )
