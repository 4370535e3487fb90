"""The data of the matrix-vector kernels (:mod:`.panel`): tiles, uniform streams, partial results.

A plan depends on the storage of the matrix and on what is asked of it, so it can be kept, and so
can the streams that it makes.  Everything is computed by array operations over all tiles.
"""

from __future__ import annotations

import dataclasses
from typing import Optional, Tuple

import numpy as np

from ..isa import setup_words as sw
from . import parts
from .panel import BATCH, GROUP, PanelOptions, depth
from .parts import QPUS
from .storage import Storage, tiles
from .stream import LANES, LINE, OVERFLOW
from .uniforms import INDEX, Streams, placed, put, runs

__all__ = ["Plan", "QPUS", "TILES", "plan"]

TILES = 768
"""The most tiles, roughly, so that the host's share stays small."""


@dataclasses.dataclass(frozen=True, eq=False)
class Plan:
    """The tiles of a product, and where their partial results go in a buffer of ``words`` words:
    a vector for each QPU's largest magnitude, then for each tile its sums over columns and over
    rows.

    ``tiles`` is the table of :func:`.storage.tiles`.  ``used`` are the words of the buffer that
    are partial results, all sums over columns and then all over rows, tile by tile; ``element`` is
    the element of the product that each of them is a part of.
    """

    storage: Storage
    options: PanelOptions
    tiles: np.ndarray
    used: np.ndarray
    element: np.ndarray

    @property
    def groups(self) -> np.ndarray:
        """Groups of columns of each tile."""
        return -(-self.tiles[:, 3] // GROUP)

    @property
    def words(self) -> int:
        of_columns = GROUP * int(self.groups.sum()) if self.options.transposed else 0
        return LANES * QPUS + _plain_words(self.options, len(self.tiles)) + of_columns

    @property
    def kept_bytes(self) -> int:
        """Host memory that this object takes."""
        return self.tiles.nbytes + self.used.nbytes + self.element.nbytes

    @property
    def depth(self) -> int:
        """How often a term is truncated at most."""
        return depth(self.options, int(self.tiles[:, 3].max(initial=1)))

    def clocks(self) -> np.ndarray:
        """A QPU's clocks for each tile, so that 12 of them take no less than the memory (a byte in
        a quarter of a clock, as the slowest timing set has it) and an instruction 4."""
        words = 30 + 14 * self.options.vectors + (40 if self.options.transposed else 0)
        rows = LINE * self.options.vectors
        return (self.tiles[:, 3] + 2) * max(4.0 * words, 0.25 * QPUS * rows) + 4000

    def streams(self, n_qpus: int, part: Optional[range] = None) -> Streams:
        """The streams of a launch on up to ``n_qpus`` QPUs, of all tiles or of those in ``part``,
        whose results go to the same place.

        Addresses: "a", the matrix; "out", which has room for :attr:`words`; for A^T x "x", a
        contiguous vector whose element i belongs to row i, followed by zeros up to a whole tile.
        Values: for A x "x", whose element j belongs to column j.
        """
        options, storage = self.options, self.storage
        part = range(len(self.tiles)) if part is None else part
        n_qpus = max(1, min(n_qpus, QPUS, len(part)))
        mine = slice(part.start, part.stop)
        i, rows, j, columns = self.tiles[mine].T
        groups = self.groups
        out_n = LINE * QPUS + LINE * options.vectors * np.arange(len(groups), dtype=np.int64)
        out_t = LINE * (QPUS + groups.cumsum() - groups)
        out_t += 4 * _plain_words(options, len(groups))
        groups = groups[mine]

        # The streams: what a QPU begins with, then a record for each tile, then the end.
        qpus = np.arange(n_qpus, dtype=np.int64)
        owner = np.arange(len(part), dtype=np.int64) % n_qpus
        fixed = 5 + 3 * options.masked + 2 * options.transposed + options.plain
        lengths = fixed + groups + (columns if options.plain else 0)
        ends = np.full_like(qpus, 3)
        places, starts, counts, size = placed(
            np.concatenate((qpus, owner, qpus)), np.concatenate((ends + 1, lengths, ends)), n_qpus
        )
        head, at, end = places[:n_qpus], places[n_qpus:-n_qpus], places[-n_qpus:]
        words = np.zeros(size, dtype=np.int64)
        row, batch = BATCH * qpus, min(BATCH, options.vectors)
        own = (len(part) - 1 - qpus) // n_qpus + 1
        setups = sw.vpm_writes(row), sw.vdw_stores(1, LANES, row), sw.vdw_stores(batch, LANES, row)
        put(words, head, *setups, own)
        put(words, end, LINE * qpus, *parts.finish_words(qpus, n_qpus))

        put(words, at, 4 * (storage.column(j) + i), 4 * storage.steps(j), 4 * (rows - 1))
        addresses, after = {"a": at.astype(INDEX)}, at + 3
        if options.masked:
            low, high = j + storage.low - i, j + storage.high - i
            put(words, after, 4 * storage.growth, 4 * low, 4 * high)
            after = after + 3
        put(words, after, columns, groups)
        after = after + 2
        out = [end]
        if options.transposed:
            put(words, after, 4 * i, out_t[mine])
            addresses["x"] = after.astype(INDEX)
            out.append(after + 1)
            after = after + 2
        if options.plain:
            words[after] = out_n[mine]
            out.append(after)
            after = after + 1
        addresses["out"] = np.concatenate(out).astype(INDEX)

        # A group is its number of columns and, for A x, the elements of x for these.
        every = 1 + GROUP if options.plain else 1
        counted = runs(np.zeros_like(columns), groups, GROUP)
        left = columns.repeat(groups.astype(np.intp)) - counted
        words[runs(after, groups, every)] = np.minimum(GROUP, left)
        values = {}
        if options.plain:
            column = runs(np.zeros_like(columns), columns)
            spaced = (after - j).repeat(columns.astype(np.intp)) + 1 + column // GROUP
            source = runs(j, columns)
            values["x"] = (spaced + source).astype(INDEX), source.astype(INDEX)
        return Streams(words.astype(np.uint32), starts, addresses, values, counts)

    # --- what comes back ---------------------------------------------------------------------

    def watched(self, stored: np.ndarray, n_qpus: int, part: range) -> bool:
        """Whether the launch of these tiles met an element of A that is Inf or NaN, or so large."""
        n_qpus = min(n_qpus, QPUS, len(part))
        return int(stored[: LANES * n_qpus].view(np.uint32).max()) >= OVERFLOW

    def overflowed(self, stored: np.ndarray, n_qpus: int) -> bool:
        """Whether an element of A or a partial result is Inf, NaN or as large as an overflow."""
        return self.watched(stored, n_qpus, range(len(self.tiles))) or self.too_large(stored)

    def too_large(self, stored: np.ndarray) -> bool:
        """Whether a partial result is Inf, NaN or as large as an overflow."""
        patterns = stored.view(np.uint32)[self.used] & 0x7FFFFFFF
        return int(patterns.max(initial=0)) >= OVERFLOW

    def join(self, stored: np.ndarray) -> np.ndarray:
        """A x, A^T x, or for "s" the sum of both, in double precision.

        An element's partial results are added in the order of the tiles, first those over columns,
        whatever the number of QPUs and the cut into launches.
        """
        length = self.storage.m if self.options.plain else self.storage.n
        return np.bincount(self.element, stored[self.used], length)


def _plain_words(options: PanelOptions, n_tiles: int) -> int:
    """Words of the sums over columns."""
    return options.height * n_tiles if options.plain else 0


def _options(storage: Storage, use: str) -> PanelOptions:
    """The kernel for a shape: tiles no higher than the columns, or than the band is wide."""
    rows = min(storage.m, max(1, storage.high - storage.low))
    vectors = next((v for v in (1, 2, 4) if rows <= LANES * v), 8)
    return PanelOptions(use, vectors, not storage.is_full)


def _width(options: PanelOptions, m: int, n: int) -> int:
    """Columns of a tile: 128, or more where that would be too many tiles."""
    columns = n * -(-m // options.height)
    return GROUP * max(8, -(-columns // (GROUP * TILES)))


def plan(
    storage: Storage,
    use: str,
    rows: Optional[Tuple[int, int]] = None,
    columns: Optional[Tuple[int, int]] = None,
) -> Plan:
    """How to multiply with A, or with what lies in a range of its rows and columns."""
    rows, columns = rows or (0, storage.m), columns or (0, storage.n)
    options = _options(storage, use)
    width = _width(options, storage.m, storage.n)
    table = tiles(storage, options.height, width, rows, columns)
    top, high, left, wide = table.T
    used, element = [], []
    if options.plain:
        number = np.arange(len(table), dtype=np.int64)
        used.append(runs(LANES * QPUS + options.height * number, high))
        element.append(runs(top, high))
    if options.transposed:
        groups = -(-wide // GROUP)
        before = LANES * QPUS + _plain_words(options, len(table))
        used.append(runs(before + GROUP * (groups.cumsum() - groups), wide))
        element.append(runs(left, wide))
    made = (np.concatenate(each).astype(INDEX) for each in (used, element))
    return Plan(storage, options, table, *made)
