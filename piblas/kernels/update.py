"""The skeleton of the rank-1 and rank-2 updates: A = A + x s^T, or A + x s^T + y t^T.

A is a :class:`~.storage.Storage`, of which only stored elements are read and written.  A tile is a
range of rows, up to ``vectors`` vectors of 16, of many columns::

    a column of the tile --TMU0, TMU1--> a[v];  x[v], y[v] in registers, s_j, t_j from the uniforms
    a[v] + x[v] * s_j (+ y[v] * t_j) --> VPM --VDW--> memory

QPUs work as a store pipeline (:mod:`.store_pipeline`): eight producers fill four rows each of a
half buffer, and a ninth QPU, the consumer, has them stored.  A phase is 32 vectors of one column,
or of 2, 4, 8 columns if the tile is less high.  A column of a tile is contiguous, so one transfer
stores its whole vectors and a second one the words after them: exactly the tile's elements.  Where
only a part of a column is stored, at the diagonal, it is a tile of its own, which begins with its
first row; there are O(m + n) of these.

Each element is computed by itself, so the result depends neither on the tiles nor on the number of
QPUs.

Special values: the largest magnitude among the elements of A, old and new, is kept and stored; the
host looks at it, at the vectors and the factors, and lets the CPU compute where there is Inf or NaN
or an overflow.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Callable, Sequence, Tuple

import numpy as np

from ..isa import setup_words as sw
from . import parts
from .spec import KernelSpec, register
from .store_pipeline import DRAIN, EMPTY, FULL, HALF, Role, write_roles
from .stream import LANES, LINE, SMALLEST_NORMAL, UNIT_ROUNDOFF, fill, from_uniforms

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["ROWS", "UpdateOptions", "error_bound", "spec"]

ROWS = 4
"""Vectors that a producer fills in a phase."""

HELD = 1
"""Vectors of the next column that a producer requests when its rows are filled; it requests the
others when it computes."""

PACE, BEHIND = 12, 1
"""Idle instructions between two grants; producers that may be filling when the next one begins."""

ROW_FIELD = 7
"""Bit of a store's setup word where the row of the VPM begins (guide, p. 58)."""


VECTORS = 4, 8, 16, 32
"""Vectors that may make the height of a tile."""


@dataclasses.dataclass(frozen=True)
class UpdateOptions:
    """``rank`` 1 or 2; ``vectors`` make the height of a tile; ``workers`` producers (both powers of
    two, four vectors per producer); ``alone``: one QPU produces and consumes."""

    rank: int = 1
    vectors: int = 32
    workers: int = 8
    alone: bool = False

    def __post_init__(self) -> None:
        if (
            self.rank not in (1, 2)
            or self.workers not in (1, 2, 4, 8)
            or self.vectors not in VECTORS
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
    write_roles(asm, options.alone, lambda *role: _Role(asm, options, *role).write())
    parts.finish(asm)


class _Role(Role):
    """The program of a producer, of the consumer, or of one QPU that is both."""

    def __init__(
        self, asm: Assembler, options: UpdateOptions, produces: bool, consumes: bool
    ) -> None:
        super().__init__(asm, produces, consumes)
        self.options = options

    def write(self) -> None:
        """From the constants to the last transfer."""
        asm = self.asm
        if self.produces:
            self._constants()
        if self.consumes:
            asm.ldi(asm.vpm_wr_setup, sw.vdw_stride(0))
            self.half_rows = asm.reg("half_rows")
            asm.ldi(self.half_rows, HALF << ROW_FIELD)
        (tiles_left,) = from_uniforms(asm, "tiles")
        asm.label(self.label("tile"))
        self.left, enter = from_uniforms(asm, "phases", "enter")
        if self.consumes:
            self.out, self.step, self.growth, self.columns = from_uniforms(
                asm, "out", "out_step", "out_growth", "columns"
            )
            self.setup, self.rest_setup, self.rest_offset = from_uniforms(
                asm, "setup", "rest_setup", "rest_offset"
            )
        if self.produces:
            self._begin()
            self._compute()
        self.phases(enter)
        if self.produces:
            for v in range(ROWS):
                asm.ldtmu(self._unit(v))
        asm.sub(tiles_left, tiles_left, 1, sf=True)
        asm.branch(self.label("tile"), cond="any_zc")
        self._watched()

    # --- what a producer does --------------------------------------------------------------------

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

    def phase(self, half: int) -> None:
        if self.produces:
            self._fill(EMPTY[half], self.rows[half], self.results, ask=True)
        if self.consumes:
            self._grant(EMPTY[half], lambda: self._prepare(half))
            self._store_columns(half)
        self.next_phase(half, self.left, self._compute)

    def _fill(self, empty: int, rows: Any, values: Sequence[Any], ask: bool = False) -> None:
        """A producer fills its rows; with ``ask`` it requests vectors of the next column."""

        def request() -> None:
            for v in range(ROWS - HELD, ROWS) if ask else ():
                self._request(v)

        self.wait_until_empty(empty)
        fill(self.asm, rows, values)
        self.report_full(request)

    def _grant(self, empty: int, meanwhile: Callable[[], None] = lambda: None) -> None:
        """The consumer grants rows to one producer after the other, and waits until all are full.

        On a single QPU they are.
        """
        asm, workers = self.asm, self.options.workers
        if self.produces:
            meanwhile()
            return
        for worker in range(workers):
            asm.sema_up(empty)
            if worker:
                with asm.fixed():
                    for _ in range(PACE):
                        asm.nop()
            else:
                meanwhile()
            if worker >= BEHIND:
                asm.sema_down(FULL)
        for _ in range(min(BEHIND, workers)):
            asm.sema_down(FULL)

    def _prepare(self, half: int) -> None:
        """What the transfers of a phase need, while the producers fill."""
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
        asm.label(self.label(f"column{half}"))
        self.start_store(self.next_setup, self.next_at)
        asm.mov(asm.null, self.rest_offset, sf=True)
        asm.branch(self.label(f"whole{half}"), cond="all_zs")
        self.start_store(self.next_rest, self.next_rest_at)
        asm.label(self.label(f"whole{half}"))
        if together > 1:
            rows = asm.reg("column_rows")
            asm.ldi(rows, self.options.vectors << ROW_FIELD)
            asm.add(self.next_setup, self.next_setup, rows)
            asm.add(self.next_rest, self.next_rest, rows)
            asm.sub(self.count, self.count, 1, sf=True)
            asm.branch(self.label(f"stored{half}"), cond="all_zs")
            self._next_column()
            asm.branch(self.label(f"column{half}"))
            asm.label(self.label(f"stored{half}"))

    def _watched(self) -> None:
        """Store the largest magnitude of each producer."""
        asm = self.asm
        if self.consumes:
            asm.read(asm.vdw_wait)
        if self.produces:
            self._fill(DRAIN, self.rows[2], [self.largest])
        if self.consumes:
            self._grant(DRAIN)
            self.start_store(*from_uniforms(asm, "watch_setup", "watch_at"))
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
