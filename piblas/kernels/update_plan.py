"""The data of the rank-1 and rank-2 updates (:mod:`.update`): tiles and uniform streams.

A plan depends on the storage of the matrix, the rank and the number of QPUs, so it can be kept, and
so can the streams that it makes.  Everything is computed by array operations over all tiles.
"""

from __future__ import annotations

import dataclasses
from typing import Optional, Tuple

import numpy as np

from ..isa import setup_words as sw
from . import parts
from .storage import Storage, tiles
from .store_pipeline import HALF
from .stream import LANES, LINE, OVERFLOW
from .uniforms import INDEX, Streams, aligned, put, runs
from .update import ROWS, UpdateOptions

__all__ = ["UpdatePlan", "WIDTH", "plan"]

WIDTH = 4096
"""Columns of a tile at most: a launch that has to be short takes some tiles only."""


@dataclasses.dataclass(frozen=True, eq=False)
class UpdatePlan:
    """The tiles of an update, each of whose columns is stored in every row of the tile, as the
    table of :func:`.storage.tiles`."""

    storage: Storage
    options: UpdateOptions
    tiles: np.ndarray

    @property
    def watch_words(self) -> int:
        """Room for the largest magnitude of each producer."""
        return LANES * self.options.workers

    @property
    def kept_bytes(self) -> int:
        """Host memory that this object takes."""
        return int(self.tiles.nbytes)

    def clocks(self) -> np.ndarray:
        """Clocks of each tile on all QPUs, more than the slowest timing set has them take."""
        return 1500.0 * -(-self.tiles[:, 3] // self.options.together) + 2000

    def streams(self, part: Optional[range] = None) -> Streams:
        """The streams of a launch, one for each QPU, of all tiles or of those in ``part``.

        Addresses: "a", the matrix; "x" (and "y"), the vectors, contiguous, followed by zeros up to
        a whole tile; "watch", which has room for :attr:`watch_words`.  Values: "s" (and "t"), the
        numbers by column that go with each vector.
        """
        options, storage = self.options, self.storage
        rank, workers, together = options.rank, options.workers, options.together
        part = range(len(self.tiles)) if part is None else part
        i, rows, j, columns = self.tiles[part.start : part.stop].T
        phases = -(-columns // together)
        own = 0 if options.alone else 1

        # A stream: what a QPU begins with, then a record for each tile, then the end.  All
        # producers have records of the same lengths.  One QPU alone reads both kinds of words.
        head = own + 4
        fixed = 2 + 7 * (1 - own) + rank + 5
        lengths = fixed + rank * phases
        body = int(lengths.sum())
        counts = np.full(options.n_qpus, head + body + 2, dtype=np.int64)
        counts[0] = own + 1 + 9 * len(i) + 4 if own else head + body + 4
        starts, size = aligned(counts)
        words = np.zeros(size, dtype=np.int64)
        qpus = np.arange(options.n_qpus, dtype=np.int64)
        worker = np.arange(workers, dtype=np.int64)
        start, end = starts[own:], starts + counts - 2
        put(words, end, *parts.finish_words(qpus, options.n_qpus))
        put(words, end[:1] - 2, sw.vdw_stores(workers, LANES, 0))
        if own:
            put(words, starts, qpus > 0)
            words[starts[0] + 1] = len(i)
        halves = [sw.vpm_writes(half * HALF + ROWS * worker) for half in range(2)]
        put(words, start + own, *halves, sw.vpm_writes(worker), len(i))

        # Which half buffer a tile begins with: they alternate from phase to phase.
        enter = (phases.cumsum() - phases) % 2
        at = start[:, None] + (head + lengths.cumsum() - lengths)
        put(words, at, phases, enter)
        if own:
            store = starts[0] + 2 + 9 * np.arange(len(i), dtype=np.int64)
            put(words, store, phases, enter)
        else:
            store = at[0]
        whole, rest = np.divmod(rows, LANES)
        first = storage.column(j) + i
        short = sw.vdw_stores(1, rest, whole)
        setup = np.where(whole > 0, sw.vdw_stores(whole, LANES, 0), short)
        put(
            words, store + 2,
            4 * first, 4 * storage.steps(j), 4 * storage.growth, columns,
            setup, np.where(rest > 0, short, setup),
            np.where((whole > 0) & (rest > 0), LINE * whole, 0),
        )  # fmt: skip

        # A producer's columns of a tile: the first is its `column`, every `together`-th is next.
        column, vector = np.divmod(ROWS * worker[:, None], options.vectors)
        mine = -(-(columns - column) // together)
        has = mine > 0
        rows_at = 4 * i + LINE * vector
        at = at + fixed - rank - 5
        put(words, at, *[rows_at] * rank)
        begin = storage.column(j + column)
        leap = 4 * (storage.column(j + column + together) - begin)
        # Without a column of its own it computes with x, and nobody stores that.
        column_at = 4 * (begin + i) + LINE * vector
        put(
            words, at + rank,
            np.where(has, column_at, rows_at), np.where(has, leap, 0),
            4 * storage.growth * together**2, 4 * (rows - 1) - LINE * vector, np.maximum(mine, 1),
        )  # fmt: skip
        addresses = {
            "a": np.concatenate((store + 2, at[has] + rank)).astype(INDEX),
            "x": np.concatenate((at.ravel(), at[~has] + rank)).astype(INDEX),
            "watch": (end[:1] - 1).astype(INDEX),
        }
        if rank == 2:
            addresses["y"] = (at.ravel() + 1).astype(INDEX)

        source = runs(j, phases, together) + column
        inside = source < (j + columns).repeat(phases.astype(np.intp))
        index = (start[:, None] + runs(at[0] - start[0] + rank + 5, phases, rank))[inside]
        source = source[inside].astype(INDEX)
        values = {"st"[r]: ((index + r).astype(INDEX), source) for r in range(rank)}
        return Streams(words.astype(np.uint32), starts, addresses, values, counts)

    def overflowed(self, watched: np.ndarray) -> bool:
        """Whether an element of A, old or new, is Inf, NaN or as large as an overflow."""
        return int(watched.view(np.uint32).max()) >= OVERFLOW


def _whole(storage: Storage, height: int, among: Tuple[int, int]) -> np.ndarray:
    """Tiles whose columns, ``among`` these, are stored in every row of the tile."""
    table = tiles(storage, height, WIDTH, (0, storage.m), among)
    i, rows, first, columns = table.T
    # Columns first to last have elements here, those from start to stop in every row; each of the
    # others is a tile of its own.
    last = first + columns
    start = np.minimum(np.maximum(first, i + rows - 1 - storage.high), last)
    stop = np.maximum(start, np.minimum(last, i - storage.low + 1))
    whole = (start < stop).astype(np.int64)
    many = whole + columns - (stop - start)
    of = np.arange(len(table)).repeat(many.astype(np.intp))
    number = runs(-whole, many)  # -1: the columns that are stored in every row
    j = first[of] + number
    j = np.where(j < start[of], j, j + (stop - start)[of])
    top, bottom = storage.rows(j)
    top, bottom = np.maximum(top, i[of]), np.minimum(bottom, (i + rows)[of])
    single = np.stack((top, bottom - top, j, np.ones_like(j)), axis=1)
    wide = np.stack((i, rows, start, stop - start), axis=1)[of]
    return np.where((number < 0)[:, None], wide, single)


def plan(
    storage: Storage, rank: int, n_qpus: int, columns: Optional[Tuple[int, int]] = None
) -> UpdatePlan:
    """How to update what is stored of a matrix, or of a range of its columns, on up to ``n_qpus``
    QPUs."""
    workers = next(w for w in (8, 4, 2, 1) if w == 1 or w < n_qpus)
    most = ROWS * workers
    vectors = next((v for v in (4, 8, 16) if storage.m <= LANES * v and v <= most), most)
    options = UpdateOptions(rank, vectors, workers, n_qpus == 1)
    table = _whole(storage, options.height, columns or (0, storage.n))
    return UpdatePlan(storage, options, table)
