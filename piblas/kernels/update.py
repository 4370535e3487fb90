"""The skeleton of the rank-1 and rank-2 updates: A = A + x s^T, or A + x s^T + y t^T.

A is a :class:`~.storage.Storage`, of which only stored elements are read and written.  A tile is a
range of rows, up to ``vectors`` vectors of 16, of many columns::

    a column of the tile --TMU0, TMU1--> a[v];  x[v], y[v] in registers, s_j, t_j from the uniforms
    a[v] + x[v] * s_j (+ y[v] * t_j) --> VPM --VDW--> memory

The store engine is the narrow place: 14 clocks a row of 64 bytes and 40 a transfer (measured by
others).  So, as for vectors at level 1, it must not wait, and its transfers must be long: eight
QPUs fill one half of the VPM, four rows each, while a ninth has the other half stored.  A *phase*
is one half filled and stored: 32 vectors of one column, or of 2, 4, 8 columns if the tile is less
high.  A column of a tile is contiguous, so one transfer stores its whole vectors and a second one
the words behind them: exactly the tile's elements.  Where a column is stored in part only, at the
diagonal, it is a tile of its own, which begins with its first row; there are O(m + n) of these.

A QPU that fills has its results ready; it waits until it may write its rows (semaphore
``FREE[half]``, one for each half, so that nobody takes what was meant for a slower one), reads a
vector of the VPM, which drains its writes, and reports (semaphore ``FILLED``).  The QPU that stores
lets the others fill one after the other, so that their requests do not come in bursts, which would
hold up the rows of a transfer; collects the reports; waits for the transfer before, which frees
that half; and starts this phase's.

Each element is computed by itself, so the result depends neither on the tiles nor on the number of
QPUs.

Special values: the largest magnitude among the elements of A, old and new, is kept and stored; the
host looks at it, at the vectors and the factors, and lets the CPU compute where there is Inf or NaN
or an overflow.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Callable, Sequence, Tuple

import numpy as np

from ..codegen import Assembler, macros
from ..isa import setup_words as sw
from . import parts
from .spec import KernelSpec, register
from .stream import LANES, LINE, SMALLEST_NORMAL, UNIT_ROUNDOFF, fill, from_uniforms

__all__ = ["HALF", "ROWS", "UpdateOptions", "error_bound", "spec"]

HALF = 32
"""Rows of a half of the VPM, as far as user programs see it."""

ROWS = 4
"""Vectors that a QPU fills in a phase."""

HELD = 1
"""Vectors of the next column that a QPU asks for when it may fill; the others when it computes."""

PACE, BEHIND = 12, 1
"""Idle instructions between letting two QPUs fill; how many may be at it when the next begins."""

FILLED, FREE, CLOSE = 3, (4, 5), 6
"""Semaphores: a QPU has filled its rows; it may fill those of a half; all columns are stored."""

ROW_FIELD = 7
"""Bit of a store's setup word where the row of the VPM begins (guide, p. 58)."""


@dataclasses.dataclass(frozen=True)
class UpdateOptions:
    """``rank`` 1 or 2; ``vectors`` make the height of a tile; ``workers`` QPUs fill (both powers of
    two, four vectors a worker); ``alone``: one QPU fills and stores."""

    rank: int = 1
    vectors: int = 32
    workers: int = 8
    alone: bool = False

    def __post_init__(self) -> None:
        if (
            self.rank not in (1, 2)
            or self.workers not in (1, 2, 4, 8)
            or self.vectors not in (4, 8, 16, 32)
            or self.vectors > ROWS * self.workers
            or (self.alone and self.workers > 1)
        ):
            raise ValueError(
                f"level 2: no kernel has {self}: rank 1, 2; 1, 2, 4, 8 workers, 1 if alone; 4, 8, "
                f"16, 32 vectors, at most {ROWS} a worker"
            )

    @property
    def height(self) -> int:
        """Rows of a tile."""
        return LANES * self.vectors

    @property
    def together(self) -> int:
        """Columns of a phase."""
        return ROWS * self.workers // self.vectors

    @property
    def n_qpus(self) -> int:
        """QPUs of a launch."""
        return self.workers + (not self.alone)


# --- the program ---------------------------------------------------------------------------------


def generate(asm: Assembler, options: UpdateOptions) -> None:
    """Write the program; :meth:`.update_plan.UpdatePlan.streams` makes what it reads."""
    asm.mov(asm.tmu_noswap, 1)
    if options.alone:
        _Role(asm, options, fills=True, stores=True).write()
    else:
        asm.mov(asm.null, asm.unif, sf=True)
        asm.branch("fills", cond="all_zc")
        _Role(asm, options, fills=False, stores=True).write()
        asm.branch("end")
        asm.label("fills")
        _Role(asm, options, fills=True, stores=False).write()
        asm.label("end")
    parts.finish(asm)


class _Role:
    """The program of the QPU that stores, of those that fill, or of one that does both alone."""

    def __init__(self, asm: Assembler, options: UpdateOptions, fills: bool, stores: bool) -> None:
        self.asm, self.options, self.fills, self.stores = asm, options, fills, stores

    def _label(self, name: str) -> str:
        return f"{'fill' if self.fills else 'store'}_{name}"

    def write(self) -> None:
        """From the constants to the last transfer."""
        asm = self.asm
        if self.fills:
            self._constants()
        if self.stores:
            asm.ldi(asm.vpm_wr_setup, sw.vdw_stride(0))
            self.half_rows = asm.reg("half_rows")
            asm.ldi(self.half_rows, HALF << ROW_FIELD)
        (tiles_left,) = from_uniforms(asm, "tiles")
        asm.label(self._label("tile"))
        self.phases, enter = from_uniforms(asm, "phases", "enter")
        if self.stores:
            self.out, self.step, self.growth, self.columns = from_uniforms(
                asm, "out", "out_step", "out_growth", "columns"
            )
            self.setup, self.rest_setup, self.rest_offset = from_uniforms(
                asm, "setup", "rest_setup", "rest_offset"
            )
        if self.fills:
            self._begin()
            self._compute()
        asm.mov(asm.null, enter, sf=True)
        asm.branch(self._label("half1"), cond="any_zc")
        for half in range(2):
            asm.label(self._label(f"half{half}"))
            self._phase(half)
        asm.label(self._label("stored"))
        if self.fills:
            for v in range(ROWS):
                asm.ldtmu(self._unit(v))
        asm.sub(tiles_left, tiles_left, 1, sf=True)
        asm.branch(self._label("tile"), cond="any_zc")
        self._watched()

    # --- what fills ------------------------------------------------------------------------------

    def _constants(self) -> None:
        asm = self.asm
        self.line, self.lane, self.largest = (asm.reg(n) for n in ("line", "lane", "largest"))
        asm.ldi(self.line, LINE)
        asm.shl(self.lane, asm.elem_num, 2)
        asm.mov(self.largest, 0)
        self.rows = from_uniforms(asm, "half0_rows", "half1_rows", "watch_row")
        self.results = asm.regs("result", ROWS, undefined=True)
        names = ("x", "y")[: self.options.rank]
        self.vectors = {name: asm.regs(name, ROWS) for name in names}
        self.ask, self.last, self.idle = (asm.reg(n) for n in ("ask", "last", "idle"))

    def _unit(self, v: int) -> int:
        """The TMU of a vector: neighbours may share a line, and a TMU has a cache of its own."""
        return v * 2 // ROWS

    def _request(self, v: int) -> None:
        """Ask for the next vector of a column, the v-th of this QPU's."""
        asm = self.asm
        asm.min((asm.t0s, asm.t1s)[self._unit(v)], self.ask, self.last)
        asm.add(self.ask, self.ask, self.line)

    def _begin(self) -> None:
        """A tile's rows of the vectors, and requests for its first column."""
        asm = self.asm
        for name, registers in self.vectors.items():
            (at,) = from_uniforms(asm, f"{name}_at")
            if name == "x":
                asm.mov(self.idle, at)
            asm.add(at, at, self.lane)
            for v in range(ROWS):
                asm.mov((asm.t0s, asm.t1s)[self._unit(v)], at)
                asm.add(at, at, self.line)
            for v, register_ in enumerate(registers):
                asm.ldtmu(self._unit(v), register_)
        self.at, self.leap, self.leap_growth, self.span, self.own = from_uniforms(
            asm, "column", "leap", "leap_growth", "span", "own"
        )
        asm.add(self.ask, self.at, self.lane)
        asm.add(self.last, self.at, self.span)
        for v in range(ROWS):
            self._request(v)

    def _compute(self) -> None:
        """Take this QPU's vectors of a phase, compute the results, turn to the next phase's column.

        Where there is none it turns to x: another QPU's column may be on its way to memory.
        """
        asm = self.asm
        factors = from_uniforms(asm, *[f"factor_{name}" for name in self.vectors])
        asm.sub(self.own, self.own, 1, sf=True)
        asm.add(self.at, self.at, self.leap, cond="zc")
        asm.mov(self.at, self.idle, cond="zs")
        asm.add(self.leap, self.leap, self.leap_growth)
        asm.max(self.own, self.own, 1)
        asm.add(self.ask, self.at, self.lane)
        asm.add(self.last, self.at, self.span)
        for v, result in enumerate(self.results):
            a = asm.reg("a")
            asm.ldtmu(self._unit(v), a)
            if v >= HELD:
                self._request(v - HELD)
            asm.fmaxabs(self.largest, self.largest, a)
            for registers, factor in zip(self.vectors.values(), factors):
                product, total = asm.reg("product"), asm.reg("total")
                asm.fmul(product, registers[v], factor)
                asm.fadd(total, a, product)
                a = total
            asm.fmaxabs(self.largest, self.largest, a)
            asm.mov(result, a)

    # --- phases ----------------------------------------------------------------------------------

    def _phase(self, half: int) -> None:
        """Fill this QPU's rows of a half, or store the half; compute for the next one."""
        asm = self.asm
        if self.fills:
            self._may_fill(FREE[half])
            fill(asm, self.rows[half], self.results)
            self._filled(ask=True)
        if self.stores:
            self._let_fill(FREE[half], lambda: self._prepare(half))
            self._store_columns(half)
        asm.sub(self.phases, self.phases, 1, sf=True)
        if not self.fills:
            label, cond = ("half0", "any_zc") if half else ("stored", "all_zs")
            asm.branch(self._label(label), cond=cond)
            return
        asm.branch(self._label("stored"), cond="all_zs")
        self._compute()
        if half:
            asm.branch(self._label("half0"))

    def _may_fill(self, free: int) -> None:
        if not self.stores:
            self.asm.sema_down(free)

    def _let_fill(self, free: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """Let the others fill one after the other, and wait until all have."""
        asm, workers = self.asm, self.options.workers
        if self.fills:
            meanwhile()
            return
        for worker in range(workers):
            asm.sema_up(free)
            if worker:
                with asm.fixed():
                    for _ in range(PACE):
                        asm.nop()
            else:
                meanwhile()
            if worker >= BEHIND:
                asm.sema_down(FILLED)
        for _ in range(min(BEHIND, workers)):
            asm.sema_down(FILLED)

    def _filled(self, ask: bool = False) -> None:
        """Say that this QPU's rows are filled."""
        asm = self.asm
        if not self.stores:
            macros.vpm_read_setup(asm, 1)
        for v in range(ROWS - HELD, ROWS) if ask else ():
            self._request(v)
        if not self.stores:
            asm.read(asm.vpm)
            asm.sema_up(FILLED)

    def _start(self, setup: Any, address: Any) -> None:
        """Start a transfer when the one before has ended."""
        asm = self.asm
        with asm.fixed():
            asm.read(asm.vdw_wait)
            asm.mov(asm.vpm_wr_setup, setup)
            asm.mov(asm.vdw_addr, address)

    def _prepare(self, half: int) -> None:
        """What the transfers of a phase need, while the others fill."""
        asm, together = self.asm, self.options.together
        names = ("next_setup", "next_rest", "next_at", "next_rest_at", "count")
        self.next_setup, self.next_rest, self.next_at, self.next_rest_at, self.count = (
            asm.reg(name) for name in names
        )
        if half:
            asm.add(self.next_setup, self.setup, self.half_rows)
            asm.add(self.next_rest, self.rest_setup, self.half_rows)
        else:
            asm.mov(self.next_setup, self.setup)
            asm.mov(self.next_rest, self.rest_setup)
        if together > 1:
            asm.min(self.count, self.columns, together)
            asm.sub(self.columns, self.columns, together)
        self._next_column()

    def _next_column(self) -> None:
        asm = self.asm
        asm.mov(self.next_at, self.out)
        asm.add(self.next_rest_at, self.out, self.rest_offset)
        asm.add(self.out, self.out, self.step)
        asm.add(self.step, self.step, self.growth)

    def _store_columns(self, half: int) -> None:
        """Store the columns of a phase."""
        asm, together = self.asm, self.options.together
        asm.label(self._label(f"column{half}"))
        self._start(self.next_setup, self.next_at)
        asm.mov(asm.null, self.rest_offset, sf=True)
        asm.branch(self._label(f"whole{half}"), cond="all_zs")
        self._start(self.next_rest, self.next_rest_at)
        asm.label(self._label(f"whole{half}"))
        if together > 1:
            rows = asm.reg("column_rows")
            asm.ldi(rows, self.options.vectors << ROW_FIELD)
            asm.add(self.next_setup, self.next_setup, rows)
            asm.add(self.next_rest, self.next_rest, rows)
            asm.sub(self.count, self.count, 1, sf=True)
            asm.branch(self._label(f"stored{half}"), cond="all_zs")
            self._next_column()
            asm.branch(self._label(f"column{half}"))
            asm.label(self._label(f"stored{half}"))

    def _watched(self) -> None:
        """Store the largest magnitude of each QPU that fills."""
        asm = self.asm
        if self.stores:
            asm.read(asm.vdw_wait)
        if self.fills:
            self._may_fill(CLOSE)
            fill(asm, self.rows[2], [self.largest])
            self._filled()
        if self.stores:
            self._let_fill(CLOSE)
            self._start(*from_uniforms(asm, "watch_setup", "watch_at"))
            asm.read(asm.vdw_wait)


def spec(name: str, routines: Tuple[str, ...], summary: str, **options: Any) -> KernelSpec:
    """Register a kernel."""
    return register(KernelSpec(name, routines, generate, UpdateOptions(**options), summary))


# --- its error -----------------------------------------------------------------------------------


def error_bound(
    a: np.ndarray, alpha: float, pairs: Sequence[Sequence[np.ndarray]]
) -> np.ndarray:
    """Bound of |computed - exact| for each element of a + alpha * sum of x y^T over ``pairs``.

    With u = 2**-23: alpha y_j is rounded (u / 2), each product truncated (u), and each of the p =
    1 or 2 sums (u): ((1 + p) u + u / 2) |alpha x y| + p u |a|, and terms of second order.
    Flushed to zero are denormals among a and x, the products, sums and alpha y_j: 2**-126 each,
    times the factor that goes with it.
    """
    p, u = len(pairs), UNIT_ROUNDOFF
    first = (1.5 + p) * u
    bound = p * u * (1 + p * u) * np.abs(a, dtype=np.float64) + SMALLEST_NORMAL * (1 + 2 * p)
    for x, y in pairs:
        x, y = np.abs(x, dtype=np.float64), np.abs(y, dtype=np.float64)
        bound = bound + (first + first**2) * np.outer(x, abs(alpha) * y)
        bound = bound + SMALLEST_NORMAL * (x[:, None] + abs(alpha) * y[None, :])
    return bound
