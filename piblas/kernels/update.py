"""The skeleton of the rank-1 and rank-2 updates: A = A + x s^T, or A + x s^T + y t^T.

A is a :class:`~.storage.Storage`, of which only stored elements are read and written.  A tile is up
to ``vectors`` vectors of 16 rows high; its rows of x (and y) stay in registers::

    a column of the tile --TMU0, TMU1 in turns, up to 4 waiting in each--> a[v]
    a[v] + x[v] * s_j (+ y[v] * t_j) --> VPM (this QPU's rows) --VDW--> memory

A column of a tile is contiguous, so one transfer stores its whole vectors and a second one the
words behind them: exactly the tile's elements.  Where a column is stored in part only, at the
diagonal, it is a tile of its own, which begins with its first row; there are O(m + n) of these.

The store engine is the narrow place (see :mod:`.stream`): long transfers beat many QPUs, and four
QPUs with 16 rows of the VPM each keep it busy.  Each element is computed by itself, so the result
depends neither on the tiles nor on the number of QPUs.

Special values: the largest magnitude among the elements of A, old and new, is kept and stored; the
host looks at it, at the vectors and the factors, and lets the CPU compute where there is Inf or NaN
or an overflow.
"""

from __future__ import annotations

import dataclasses
from typing import Any, List, Sequence, Tuple

import numpy as np

from ..codegen import Assembler
from ..isa import setup_words as sw
from . import parts
from .spec import KernelSpec, register
from .storage import Storage, Tile, tiles
from .stream import (
    LANES, LINE, OVERFLOW, SMALLEST_NORMAL, TMU_DEPTH, UNIT_ROUNDOFF, VPM_ROWS, fill,
    from_uniforms, store, words_of,
)  # fmt: skip

__all__ = ["UpdateOptions", "UpdatePlan", "error_bound", "plan", "spec"]

QPUS = 12
WIDTH = 128
"""Columns of a tile."""


@dataclasses.dataclass(frozen=True)
class UpdateOptions:
    """``rank`` 1 or 2; ``vectors`` (1, 2, 4, 8, 16) make the height of a tile."""

    rank: int = 1
    vectors: int = 16

    def __post_init__(self) -> None:
        if self.rank not in (1, 2) or self.vectors not in (1, 2, 4, 8, 16):
            raise ValueError(f"level 2: no kernel has {self}: rank 1, 2; 1, 2, 4, 8, 16 vectors")

    @property
    def height(self) -> int:
        """Rows of a tile."""
        return LANES * self.vectors

    @property
    def units(self) -> Tuple[int, ...]:
        """TMUs that a column comes through."""
        return (0,) if self.vectors == 1 else (0, 1)

    @property
    def most_qpus(self) -> int:
        """How many QPUs have rows of the VPM."""
        return min(QPUS, VPM_ROWS // self.vectors)


# --- the program ---------------------------------------------------------------------------------


class _Columns:
    """The present column, and how far its vectors and the next one's have been asked for."""

    def __init__(self, asm: Assembler, options: UpdateOptions) -> None:
        self.asm, self.options = asm, options
        self.at, self.next = asm.reg("column"), asm.reg("next_column")
        self.ask, self.last = asm.reg("ask"), asm.reg("last")
        self.step, self.growth, self.span = (asm.reg(n) for n in ("step", "growth", "span"))
        self.ahead = min(TMU_DEPTH * len(options.units), options.vectors)
        self.line, self.lane = asm.reg("line"), asm.reg("lane")
        asm.ldi(self.line, LINE)
        asm.shl(self.lane, asm.elem_num, 2)

    def unit(self, v: int) -> int:
        return v % len(self.options.units)

    def begin(self) -> None:
        """The first column of a tile, from the uniforms."""
        asm = self.asm
        for register_ in (self.at, self.step, self.growth, self.span):
            asm.mov(register_, asm.unif)
        self.turn_to(self.at)
        for v in range(self.ahead):
            self.request(v)

    def turn_to(self, column: Any) -> None:
        """Ask for this column's vectors from now on."""
        self.asm.add(self.ask, column, self.lane)
        self.asm.add(self.last, column, self.span)

    def request(self, v: int) -> None:
        """Ask for the next vector, the v-th of its column."""
        asm = self.asm
        asm.min((asm.t0s, asm.t1s)[self.unit(v)], self.ask, self.last)
        asm.add(self.ask, self.ask, self.line)

    def advance(self, left: Any) -> None:
        """Work out the next column; it is the present one again where there is none left."""
        asm = self.asm
        asm.mov(self.next, self.at)
        asm.sub(left, left, 1, sf=True)
        asm.add(self.next, self.at, self.step, cond="zc")
        asm.add(self.step, self.step, self.growth)

    def take(self, v: int) -> Any:
        """The v-th vector of the present column; asks for the one that is ``ahead`` of it."""
        value, vectors = self.asm.reg("a"), self.options.vectors
        self.asm.ldtmu(self.unit(v), value)
        if v + self.ahead == vectors:
            self.turn_to(self.next)
        self.request((v + self.ahead) % vectors)
        return value

    def drop(self) -> None:
        for v in range(self.ahead):
            self.asm.ldtmu(self.unit(v))

    def load(self, at: Any, registers: List[Any]) -> None:
        """Contiguous vectors from an address on, with nothing waiting in the TMUs."""
        asm = self.asm
        asm.add(at, at, self.lane)
        for first in range(0, len(registers), TMU_DEPTH):
            some = registers[first : first + TMU_DEPTH]
            for v, _ in enumerate(some):
                asm.mov((asm.t0s, asm.t1s)[self.unit(v)], at)
                asm.add(at, at, self.line)
            for v, register_ in enumerate(some):
                asm.ldtmu(self.unit(v), register_)


def generate(asm: Assembler, options: UpdateOptions) -> None:
    """Write the program; :meth:`UpdatePlan.uniforms` makes the streams that it reads."""
    asm.mov(asm.tmu_noswap, 1)
    columns = _Columns(asm, options)
    largest = asm.reg("largest")
    asm.mov(largest, 0)
    vpm_rows, tiles_left = from_uniforms(asm, "vpm_rows", "tiles")
    names = ("x", "y")[: options.rank]
    vectors = {name: asm.regs(name, options.vectors) for name in names}
    asm.label("tile")
    for name in names:
        columns.load(*from_uniforms(asm, f"{name}_at"), vectors[name])
    columns.begin()
    left, count = from_uniforms(asm, "columns", "again")
    setup, rest_setup, rest_offset = from_uniforms(asm, "setup", "rest_setup", "rest_offset")
    asm.label("column")
    factors = from_uniforms(asm, *[f"factor_{name}" for name in names])
    columns.advance(left)
    asm.mov(asm.vpm_wr_setup, vpm_rows)
    for v in range(options.vectors):
        a = columns.take(v)
        asm.fmaxabs(largest, largest, a)
        for name, factor in zip(names, factors):
            product, total = asm.reg("product"), asm.reg("total")
            asm.fmul(product, vectors[name][v], factor)
            asm.fadd(total, a, product)
            a = total
        asm.fmaxabs(largest, largest, a)
        asm.mov(asm.vpm, a)
    store(asm, [(setup, columns.at)])
    asm.mov(asm.null, rest_offset, sf=True)
    asm.branch("stored", cond="all_zs")
    rest_at = asm.reg("rest_at")
    asm.add(rest_at, columns.at, rest_offset)
    store(asm, [(rest_setup, rest_at)])
    asm.label("stored")
    asm.mov(columns.at, columns.next)
    asm.sub(count, count, 1, sf=True)
    asm.branch("column", cond="any_zc")
    columns.drop()
    asm.sub(tiles_left, tiles_left, 1, sf=True)
    asm.branch("tile", cond="any_zc")
    fill(asm, vpm_rows, [largest])
    store(asm, [tuple(from_uniforms(asm, "watch_setup", "watch_at"))])
    parts.finish(asm)


def spec(name: str, routines: Tuple[str, ...], summary: str, **options: Any) -> KernelSpec:
    """Register a kernel."""
    return register(KernelSpec(name, routines, generate, UpdateOptions(**options), summary))


# --- its data ------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class UpdatePlan:
    """The tiles of an update, each of whose columns is stored in every row of the tile."""

    storage: Storage
    options: UpdateOptions
    tiles: List[Tile]

    @property
    def watch_words(self) -> int:
        """Room for the largest magnitude of each QPU."""
        return LANES * QPUS

    def uniforms(
        self,
        a: int,
        vectors: Sequence[int],
        factors: Sequence[np.ndarray],
        watch: int,
        n_qpus: int,
    ) -> List[np.ndarray]:
        """The streams of a launch, one a QPU that has work.

        ``a`` is A's bus address; ``vectors`` are those of x (and y), contiguous, with zeros behind
        up to a whole tile; ``factors`` hold the numbers by column that go with each, float32;
        ``watch`` has room for :attr:`watch_words`.
        """
        storage, most = self.storage, self.options.most_qpus
        n_qpus = max(1, min(n_qpus, most, len(self.tiles)))
        table = np.stack([np.ascontiguousarray(f, dtype=np.float32) for f in factors], axis=1)
        patterns = table.view(np.uint32)
        streams: List[List[int]] = []
        for index in range(n_qpus):
            own = len(range(index, len(self.tiles), n_qpus))
            streams.append([sw.vpm_write(index * self.options.vectors), own])
        for number, (i, rows, j, columns) in enumerate(self.tiles):
            index = number % n_qpus
            words, row = streams[index], index * self.options.vectors
            words += [address + 4 * i for address in vectors]
            words += [a + 4 * (storage.column(j) + i), 4 * storage.steps(j)]
            words += [4 * storage.growth, 4 * (rows - 1), columns, columns]
            whole, rest = divmod(rows, LANES)
            stores = [sw.vdw_store(whole, LANES, row)] if whole else []
            stores += [sw.vdw_store(1, rest, row + whole)] if rest else []
            words += [stores[0], stores[-1], LINE * whole if len(stores) == 2 else 0]
            words += patterns[j : j + columns].ravel().tolist()
        for index, words in enumerate(streams):
            row = index * self.options.vectors
            words += [sw.vdw_store(1, LANES, row), watch + LINE * index]
            words += parts.finish_words(index, n_qpus)
        return [words_of(words) for words in streams]

    def overflowed(self, watched: np.ndarray, n_qpus: int) -> bool:
        """Whether an element of A, old or new, is Inf, NaN or as large as an overflow."""
        n_qpus = min(n_qpus, self.options.most_qpus, len(self.tiles))
        return int(watched[: LANES * n_qpus].view(np.uint32).max()) >= OVERFLOW


def _whole(storage: Storage, height: int) -> List[Tile]:
    """Tiles whose columns are stored in every row of the tile."""
    found: List[Tile] = []
    everything = (0, storage.m), (0, storage.n)
    for i, rows, first, columns in tiles(storage, height, storage.n, *everything):
        # Columns first to last have elements here, those from start to stop in every row.
        start = min(max(first, i + rows - 1 - storage.high), first + columns)
        stop = max(start, min(first + columns, i - storage.low + 1))
        for j in range(start, stop, WIDTH):
            found.append(Tile(i, rows, j, min(WIDTH, stop - j)))
        for j in (*range(first, start), *range(stop, first + columns)):
            top, bottom = storage.rows(j)
            top, bottom = max(top, i), min(bottom, i + rows)
            found.append(Tile(top, bottom - top, j, 1))
    return found


def plan(storage: Storage, rank: int) -> UpdatePlan:
    """How to update what is stored of a matrix."""
    vectors = next((v for v in (1, 2, 4, 8) if storage.m <= LANES * v), 16)
    options = UpdateOptions(rank, vectors)
    return UpdatePlan(storage, options, _whole(storage, options.height))


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
