"""The skeleton of the matrix-vector kernels: every element of A is read once, by the TMUs.

A is a :class:`~.storage.Storage`, column by column.  A tile is ``vectors`` vectors of 16 rows high
and many columns wide; a QPU works through a list of tiles, column after column::

    a column of the tile --TMU0: upper half, TMU1: lower half--> a[v], masked by what is stored
    "n", A x:    acc[v] += a[v] * x_j           x_j from the uniforms
    "t", A^T x:  y_j = sum over v, lanes of a[v] * x[v]     x[v] in registers, by TMU
    "s":         both, so that a triangle of a symmetric matrix is read once for its two uses
    acc[v], and 16 y_j as a vector --VPM, VDW--> partial results of the tile

While a column is used the next one is asked for: 4 requests in each TMU with 8 vectors.  All
addresses lie between those of the column's first and last stored element in the tile (a ``max`` and
a ``min``, which is also the write to the TMU), so nothing else is read; lanes that hold no
stored element then count as 0.  A kernel for matrices that are stored in full has no masks.

The host adds the partial results of the tiles in double precision, and factors, the old y and a
main diagonal that is not read here come in there, too: O(m n / 128) numbers, in an order that
depends on the shape alone.  So a result does not depend on the number of QPUs.

Sums on the way: over 16 columns at a time, then over those sums; or over the vectors of a column,
then over the lanes as a tree.  A term is truncated :func:`depth` times.

Special values: as in :mod:`.stream`, the largest magnitude among the elements of A is kept and
stored (one instruction a vector, hidden by the memory's time); the host looks at it, at x and
at the partial results, which is O(m + n).  Where Inf, NaN or an overflow appear it lets the CPU
compute the routine.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, List, Optional, Tuple

import numpy as np

from . import macros, parts
from .spec import KernelSpec, register
from .stream import LANES, LINE, SMALLEST_NORMAL, UNIT_ROUNDOFF, fill, from_uniforms, store

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["BATCH", "GROUP", "PanelOptions", "depth", "error_bound", "spec"]

GROUP = 16
"""Columns whose products make one partial sum."""

BATCH = 4
"""Vectors that a transfer stores: a QPU has so many rows of the VPM to itself."""


VECTORS = 1, 2, 4, 8
"""Vectors that may make the height of a tile."""


@dataclasses.dataclass(frozen=True)
class PanelOptions:
    """``use``: "n" for A x, "t" for A^T x, "s" for both; ``vectors`` (1, 2, 4, 8) make the height
    of a tile; ``masked``: not every row of a tile's column is stored."""

    use: str = "n"
    vectors: int = 8
    masked: bool = False

    def __post_init__(self) -> None:
        if self.use not in ("n", "t", "s") or self.vectors not in VECTORS:
            raise ValueError(f"level 2: no kernel has {self}: use n, t, s; 1, 2, 4, 8 vectors")

    @property
    def height(self) -> int:
        """Rows of a tile."""
        return LANES * self.vectors

    @property
    def plain(self) -> bool:
        return self.use != "t"

    @property
    def transposed(self) -> bool:
        return self.use != "n"

    @property
    def units(self) -> Tuple[int, ...]:
        return (0,) if self.vectors == 1 else (0, 1)


# --- the program ---------------------------------------------------------------------------------


class _Column:
    """The column that is asked for, its addresses, and the masks of the one before."""

    def __init__(self, asm: Assembler, options: PanelOptions) -> None:
        self.asm, self.options = asm, options
        self.at, self.step, self.span = (asm.reg(n) for n in ("column", "step", "span"))
        self.first, self.last = asm.reg("first"), asm.reg("last")
        self.offset = asm.regs("offset", options.vectors)
        if options.masked:
            self.growth, self.low, self.high = (asm.reg(n) for n in ("growth", "low", "high"))
            self.mask_low, self.mask_high = asm.reg("mask_low"), asm.reg("mask_high")
            self.word = asm.reg("word_bytes")
            asm.ldi(self.word, 4)
        lane = asm.reg("lane")
        asm.shl(lane, asm.elem_num, 2)
        asm.mov(self.offset[0], lane)
        for v in range(1, options.vectors):
            asm.ldi(self.offset[v], LINE * v)
            asm.add(self.offset[v], self.offset[v], lane)

    def unit(self, v: int) -> int:
        """The TMU of a vector: neighbours share lines, and a TMU a cache."""
        return v * len(self.options.units) // self.options.vectors

    def order(self) -> List[int]:
        """The vectors in the order in which they are asked for: the TMUs take turns."""
        half = -(-self.options.vectors // 2)
        return [v for k in range(half) for v in range(k, self.options.vectors, half)]

    def begin(self) -> None:
        """The first column of a tile, from the uniforms."""
        asm = self.asm
        asm.mov(self.at, asm.unif)
        asm.mov(self.step, asm.unif)
        asm.mov(self.span, asm.unif)
        if self.options.masked:
            for register_ in (self.growth, self.low, self.high):
                asm.mov(register_, asm.unif)

    def limits(self) -> None:
        """Addresses of the first and last element of the column in the tile."""
        asm = self.asm
        if not self.options.masked:
            asm.add(self.last, self.at, self.span)
            return
        first, last = asm.reg("first_offset"), asm.reg("last_offset")
        asm.max(first, self.low, 0)
        asm.add(self.first, self.at, first)
        asm.min(last, self.high, self.span)
        asm.add(self.last, self.at, last)

    def advance(self, left: Any) -> None:
        """To the next column, unless there is none left; keeps the masks of the present one."""
        asm = self.asm
        if self.options.masked:
            asm.mov(self.mask_low, self.low)
            asm.min(self.mask_high, self.high, self.span)
        asm.sub(left, left, 1, sf=True)
        asm.add(self.at, self.at, self.step, cond="zc")
        if self.options.masked:
            asm.add(self.step, self.step, self.growth, cond="zc")
            asm.add(self.low, self.low, self.word, cond="zc")
            asm.add(self.high, self.high, self.word, cond="zc")
        self.limits()

    def request(self, v: int) -> None:
        asm = self.asm
        address, port = asm.reg("address"), (asm.t0s, asm.t1s)[self.unit(v)]
        asm.add(address, self.at, self.offset[v])
        if self.options.masked:
            inside = asm.reg("inside")
            asm.max(inside, address, self.first)
            address = inside
        asm.min(port, address, self.last)

    def mask(self, value: Any, v: int) -> None:
        """Lanes that hold no element of the present column become 0."""
        asm = self.asm
        above, below = asm.reg("above"), asm.reg("below")
        asm.sub(above, self.offset[v], self.mask_low)
        asm.sub(below, self.mask_high, self.offset[v])
        asm.or_(asm.null, above, below, sf=True)
        asm.mov(value, 0, cond="ns")


def generate(asm: Assembler, options: PanelOptions) -> None:
    """Write the program; :meth:`.panel_plan.Plan.streams` makes what it reads."""
    asm.mov(asm.tmu_noswap, 1)
    column = _Column(asm, options)
    largest = asm.reg("largest")
    asm.mov(largest, 0)
    vpm_rows, one_row, batch_rows, tiles_left = from_uniforms(
        asm, "vpm_rows", "one_row", "batch_rows", "tiles"
    )
    height = range(options.vectors)
    total, acc = asm.regs("total", options.vectors), asm.regs("acc", options.vectors)
    x = asm.regs("x", options.vectors)
    results, lane_of = asm.reg("results"), asm.reg("lane_of")
    line = asm.reg("line")
    asm.ldi(line, LINE)
    asm.label("tile")
    column.begin()
    left, groups = from_uniforms(asm, "columns", "groups")
    if options.transposed:
        x_at, out_t = from_uniforms(asm, "x_at", "out_t")
        for v in column.order():
            asm.add((asm.t0s, asm.t1s)[column.unit(v)], x_at, column.offset[v])
        for v in column.order():
            asm.ldtmu(column.unit(v), x[v])
    column.limits()
    for v in column.order():
        column.request(v)
    if options.plain:
        (out_n,) = from_uniforms(asm, "out_n")
        for v in height:
            asm.mov(total[v], 0)
    asm.label("group")
    (count,) = from_uniforms(asm, "count")
    for v in height if options.plain else ():
        asm.mov(acc[v], 0)
    if options.transposed:
        asm.add(lane_of, asm.elem_num, 1)
    asm.label("column")
    if options.plain:
        (factor,) = from_uniforms(asm, "factor")
    column.advance(left)
    dots: List[Any] = [None for _ in options.units]
    for v in column.order():
        unit, a = column.unit(v), asm.reg("a")
        asm.ldtmu(unit, a)
        column.request(v)
        if options.masked:
            column.mask(a, v)
        asm.fmaxabs(largest, largest, a)
        if options.plain:
            product = asm.reg("product")
            asm.fmul(product, a, factor)
            asm.fadd(acc[v], acc[v], product)
        if options.transposed:
            product = asm.reg("product")
            asm.fmul(product, a, x[v])
            if dots[unit] is not None:
                both = asm.reg("dot")
                asm.fadd(both, dots[unit], product)
                product = both
            dots[unit] = product
    if options.transposed:
        dot, joined = dots[0], asm.reg("joined")
        if len(dots) > 1:
            dot = asm.reg("halves")
            asm.fadd(dot, dots[0], dots[1])
        macros.reduce(asm, joined, dot)
        asm.sub(lane_of, lane_of, 1, sf=True)
        asm.mov(results, joined, cond="zs")
    asm.sub(count, count, 1, sf=True)
    asm.branch("column", cond="any_zc")
    for v in height if options.plain else ():
        asm.fadd(total[v], total[v], acc[v])
    if options.transposed:
        fill(asm, vpm_rows, [results])
        store(asm, [(one_row, out_t)])
        asm.add(out_t, out_t, line)
    asm.sub(groups, groups, 1, sf=True)
    asm.branch("group", cond="any_zc")
    for v in column.order():
        asm.ldtmu(column.unit(v))
    if options.plain:
        for first in range(0, options.vectors, BATCH):
            rows = total[first : first + BATCH]
            fill(asm, vpm_rows, rows)
            store(asm, [(batch_rows, out_n)])
            for _ in rows:
                asm.add(out_n, out_n, line)
    asm.sub(tiles_left, tiles_left, 1, sf=True)
    asm.branch("tile", cond="any_zc")
    fill(asm, vpm_rows, [largest])
    (watch_at,) = from_uniforms(asm, "watch_at")
    store(asm, [(one_row, watch_at)])
    parts.finish(asm)


def spec(name: str, routines: Tuple[str, ...], summary: str, **options: Any) -> KernelSpec:
    """Register a kernel."""
    return register(KernelSpec(name, routines, generate, PanelOptions(**options), summary))


# --- its error -----------------------------------------------------------------------------------


def depth(options: PanelOptions, columns: int) -> int:
    """How often a term of a product is truncated at most, in a tile of so many columns.

    A x: its product, 15 sums with the other columns of a group, one for each further group.
    A^T x: its product, the sums over half a column's vectors, over both halves, over the lanes.
    """
    plain = 1 + min(columns, GROUP) - 1 + max(0, -(-columns // GROUP) - 1)
    half = -(-options.vectors // len(options.units))
    transposed = 1 + (half - 1) + (len(options.units) - 1) + 4
    return max(plain if options.plain else 0, transposed if options.transposed else 0)


def error_bound(
    truncations: int,
    alpha: float,
    a: np.ndarray,
    x: np.ndarray,
    beta: float = 0.0,
    y: Optional[np.ndarray] = None,
) -> np.ndarray:
    """Bound of |computed - exact| for each element of alpha * a @ x + beta * y.

    ``a`` is the matrix as it is in the product, with zeros where nothing is stored;
    ``truncations`` is :attr:`.panel_plan.Plan.depth`.  With u = 2**-23 and
    gamma(i) = i u / (1 - i u): gamma(truncations) |alpha| |a| |x| for the kernel, u / 2 of the
    result for its one rounding.  What is flushed to zero (denormal elements of a and x, products,
    sums) adds 2**-126 for each term, times the factor that goes with it.
    """
    a, x = np.abs(a, dtype=np.float64), np.abs(x, dtype=np.float64)
    d, size = truncations * UNIT_ROUNDOFF, abs(float(alpha))
    product = size * (a @ x)
    flushed = size * SMALLEST_NORMAL * (x.sum() + a.sum(axis=1) + 2 * x.size)
    inner = d / (1 - d) * product + flushed
    magnitude = product + inner
    if beta:
        assert y is not None
        magnitude = magnitude + abs(float(beta)) * np.abs(y, dtype=np.float64)
    # 2**-149: a denormal result; 2**-50: what double precision rounds.
    return inner + (UNIT_ROUNDOFF / 2 + 2.0**-50) * magnitude + 2.0**-149
