"""Where the lines of Q come from, if Q is read where it lies: which panels, which runs of a tile.

A panel of Q can be read in place if each of its lines is a line of 64 bytes of a row of the
operand, so no line outside the operand and no word that belongs to something else is ever fetched.
The last panel, if it is wider than what is left of Q, is packed.

Runs have whole iterations.  Where k is not a multiple of the unrolled steps, the last iteration
begins as many rows early as are missing, and in these steps the scalars of P are 0: a *repeat*.
P is packed that way (:attr:`.gemm_data.Packed.fold`), and the pointer to Q goes back by a new
run.

The QPU's products with 0, or with a denormal, are 0 even if the other factor is Inf or NaN.  So a
line of Q leaves no trace in the result if all of P that it meets is such.  The program that packs P
writes the largest magnitude of each step, from which the CPU sees whether there is such a line
(:meth:`.gemm_pack.Operand.most_of_rows`), and looks at it.

Reading in place relies on QPUs that keep step with each other.  They do under the timing sets
"calibrated" and "optimistic"; under "pessimistic", and where TMUs stand still at a miss, lines are
fetched again for most QPUs, and packing Q can be faster.

All functions are pure: sizes, strides and addresses in, runs out.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Iterator, Tuple

from .gemm import LANES, LINE, GemmOptions
from .gemm_data import QPUS, Packed, Place, Run, Tile, panels, rounds
from .gemm_plan import KStep

__all__ = ["MEET", "InPlace", "aligned", "folded", "in_place", "tiles"]


MEET = 1
"""Tiles of a QPU between meetings.  Rows of Q that are a multiple of 4 KiB apart share their sets
of the first-level caches, where a line then lives for two steps: QPUs that share it must not be
further apart."""


SETS = 64
"""Sets of a direct-mapped first-level cache."""
LIFE, LOSS = 85, 0.0053
"""Instruction words that a line has to stay in its cache, and what share of its time is lost for
each that is missing (fits simulated products at pitches of 64 to 127 lines)."""
PACKING = 56
"""Rows of P whose product takes as long as packing Q (simulated)."""


@dataclasses.dataclass(frozen=True)
class InPlace:
    """Q (k x n), row-major at bus address ``address`` with ``pitch`` bytes from row to row.

    ``layout`` cuts it into panels; the first ``count`` of them are read in place, the other one, if
    there is one, is packed (:attr:`rest`) to ``rest_address``.
    """

    layout: Packed
    k: int
    address: int
    pitch: int
    rest_address: int = 0

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

    def panel(self, j: int) -> Tuple[int, int]:
        """Bus address of the first line of a panel, and the bytes from row to row."""
        if j < self.count:
            return self.address + 4 * self.layout.first(j), self.pitch
        return self.rest_address, 4 * self.layout.width_of(j)


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
    if k < options.unroll or not InPlace(layout, k, 0, pitch).count:
        return False
    widths = {layout.width_of(j) // LANES for j in (0, layout.panels - 1)}
    return max(lost(options.step(vectors), pitch) for vectors in widths) * m < PACKING


def lost(plan: KStep, pitch: int) -> float:
    """The share of the time of a product that is lost if Q's rows are ``pitch`` bytes apart.

    QPUs of a slice share a line as long as it stays in a first-level cache.  It goes when a line of
    the same set is requested from the same TMU.  The fewer requests there are between, the more
    often it is gone before all have had it.
    """
    away = pitch // LINE % SETS
    apart = plan.slots / plan.vectors  # words between two requests
    horizon = range(1, math.ceil(LIFE / apart))
    total = 0.0
    for step in range(plan.unroll):
        for v in range(plan.vectors):
            own = plan.tmu(step, v), (step * away + v) % SETS
            for later in horizon:
                more, other = divmod(v + later, plan.vectors)
                if (plan.tmu(step + more, other), ((step + more) * away + other) % SETS) == own:
                    total += LOSS * (LIFE - later * apart)
                    break
    return total / (plan.unroll * plan.vectors)


def folded(p: Packed, k: int, unroll: int) -> Packed:
    """The layout of P for a Q that is read in place."""
    return dataclasses.replace(p, fold=p.steps - unroll if p.steps > k else 0)


def _runs(p: Packed, p_addr: int, q: InPlace, place: Place, first: int) -> Iterator[Run]:
    """The runs of a tile: all steps in a circle, beginning ``first`` steps after the lowest."""
    i, j, low, high = place
    first = low + first % (high - low)
    address, pitch = q.panel(j)
    cuts = sorted({low, first, p.fold or high, high})
    parts = list(zip(cuts, cuts[1:]))
    start = cuts.index(first)
    for begin, end in parts[start:] + parts[:start]:
        back = p.steps - q.k if p.fold and begin >= p.fold else 0
        yield Run(
            p_addr + p.offset(i) + 4 * p.width_of(i) * begin,
            address + pitch * (begin - back),
            end - begin,
            pitch,
        )


def tiles(
    options: GemmOptions,
    p: Packed,
    p_addr: int,
    q: InPlace,
    d_addr: int,
    ldd: int,
    lag: int,
) -> Iterator[Tile]:
    """All tiles of D, as :func:`.gemm_data.grid` has them."""
    # Narrow tiles begin as much later in time as wide ones do.
    widths = options.vectors, options.edge or options.vectors
    wide, narrow = (options.step(vectors).slots for vectors in widths)
    for index, place in enumerate(rounds(q.layout, panels(p, q.layout, 0, p.steps))):
        pace = 1 if place[1] < q.layout.wide else wide / narrow
        first = options.unroll * (round(lag * (index % QPUS) * pace / options.unroll) + 1)
        first = first if lag else 0
        runs = tuple(_runs(p, p_addr, q, place, first))
        i, j = place[:2]
        row, column = p.first(i), q.layout.first(j)
        yield Tile(
            runs,
            d_addr + 4 * (row * ldd + column),
            min(p.width_of(i), p.length - row),
            min(q.layout.width_of(j), q.layout.length - column),
            ldd=ldd,
        )
