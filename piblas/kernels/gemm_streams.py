"""The uniform streams of the gemm kernel: what :mod:`.gemm_schedule` decides, as words.

A table has a record for each tile, or for each block of a tile, with columns for all words that its
part of a stream may hold; those that it does hold are written one after the other.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, Sequence, Tuple

import numpy as np

from . import parts, uniforms
from .gemm import KINDS, LANES, LINE, GemmOptions
from .gemm_schedule import Tiles
from .parts import QPUS

__all__ = [
    "BARRIER_WAVES", "DELAY_WORDS", "LIMIT", "REST", "SUMS", "streams", "sums_words",
    "watched_words",
]  # fmt: skip

BARRIER_WAVES = 4
"""Waves between barriers."""

LIMIT = 2.0**126
"""Sums that QPUs report, together with alpha."""

SUMS = "sums"
"""The name of the address of the QPUs' own memory, where the blocks of a tile are added up
(:func:`sums_words`)."""

REST = "rest"
"""The name of the address of what is packed of a Q that is read in place otherwise."""

DELAY_WORDS = 5
"""Instruction words of the loop that spends a QPU's delay at the beginning."""


RUNS = ("run", "run 2", "run 3")
"""The runs of a tile; where no tile has three, the last one's columns are not used."""


class _Record:
    """The words of a tile in a QPU's stream: name -> columns of the table of records.

    The delay comes before a QPU's first tile only, the end after its last one.
    """

    def __init__(self, options: GemmOptions) -> None:
        vectors, beta = options.vectors, int(options.beta)
        self.columns: Dict[str, slice] = {}
        self.width = 0
        for name, size in (
            ("delay", 1),
            # kind, iterations, where the stream goes on, address in Q, pitch of Q, address in P
            ("run", 6),
            ("barrier", 3),  # kind, arrivals to wait for, which semaphore
            ("run 2", 6),
            ("run 3", 6),
            ("own", 2 * options.blocks),  # kind, address
            ("store", 1),  # kind
            ("alpha", 1),
            ("beta", beta),
            ("pitch", 1),
            ("load", 2 * beta),  # pitch, vectors
            ("loads", 4 * beta * vectors),
            ("stores", 5 * vectors),
            ("end", 5),  # kind, limit, address of the report, QPU, others
        ):
            self.columns[name] = slice(self.width, self.width + size)
            self.width += size
        self.of_p = self._mask(*((run, 5, 6) for run in RUNS))
        self.of_q = self._mask(*((run, 3, 6) for run in RUNS))
        self.of_d = self._mask(("loads", 2, 4), ("stores", 2, 5))
        self.of_own = self._mask(("own", 1, 2))
        self.of_watch = self._mask(("end", 2, 5))
        self.going_on = [self.columns[name].start + 2 for name in RUNS]
        names = ("alpha", "beta") if beta else ("alpha",)
        self.values = {name: self._mask((name, 0, 1)) for name in names}
        self.of_limit = self._mask(("end", 1, 5))

    def _mask(self, *columns: Tuple[str, int, int]) -> np.ndarray:
        """Marks (bool, one element per column) words: name, the first, every how many."""
        found = np.zeros(self.width, dtype=bool)
        for name, first, every in columns:
            found[self.columns[name]][first::every] = True
        return found


_record = functools.lru_cache(maxsize=64)(_Record)


@functools.lru_cache(maxsize=256)
def _delay(options: GemmOptions, skew: int) -> int:
    """Turns of the delay loop between one QPU and the next."""
    return int(skew * options.step(options.vectors).slots / DELAY_WORDS)


def streams(
    options: GemmOptions,
    tiles: Tiles,
    n_qpus: int,
    skew: int,
    barriers: int = BARRIER_WAVES,
    names: Tuple[str, ...] = ("p", "q", "d", "watch"),
    block: int = 0,
    reads: bool = True,
) -> uniforms.Streams:
    """The uniform streams of a launch, one for each QPU that has work.

    QPU i of n computes tiles i, i + n, ...; ``skew`` is the distance of QPUs in steps of k;
    ``barriers`` is the number of waves after which they wait for each other, 0 for never.
    With ``options.blocks``, the steps of a tile are cut into blocks of at most about ``block``, at
    least four iterations, or not if that is 0, and D is read only with ``reads``.

    ``names`` are those of the addresses of P, Q, D and of :func:`watched_words`; the values are
    "alpha", if D is read "beta", and "limit", the sum from which on one is reported
    (:data:`LIMIT` divided by the largest |alpha|, if that is more than 1).
    """
    record, count = _record(options), len(tiles)
    n_qpus = min(n_qpus, count)
    reads = options.beta and (reads or not options.blocks)
    number = np.arange(count)
    wave, owner = np.divmod(number, n_qpus)
    narrow = tiles.columns <= LANES * options.edge
    kind = np.where(narrow, KINDS["edge"], KINDS["run"])
    wait = turn = np.zeros(count, dtype=bool)
    if barriers and skew > 0 and n_qpus == QPUS:
        wait = _in_step(tiles, kind, tiles.steps[1] > 0, barriers)
        turn = wait[::QPUS].cumsum()[wave] - 1

    # Where blocks are added up, a record is a block of a tile.
    begins = ends = np.ones(count, dtype=bool)
    if block:
        tiles, of, wraps = _cut(options, tiles, block)
        narrow, kind, turn, wait = narrow[of], kind[of], turn[of], wait[of] & wraps
        owner, number = owner[of], number[of]
        begins = np.concatenate(([True], of[1:] != of[:-1]))
        ends = np.concatenate((begins[1:], [True]))
    size = number.size
    words = np.zeros((size, record.width), dtype=np.int64)
    kept = np.ones(words.shape, dtype=bool)

    def lay(name: str, columns: Sequence[Any]) -> None:
        first = record.columns[name].start
        for column, value in enumerate(columns, first):
            words[:, column] = value

    iterations = LINE * (tiles.steps // options.unroll)
    for name in RUNS[len(iterations) :]:
        kept[:, record.columns[name]] = False
    for run, name in enumerate(RUNS[: len(iterations)]):
        # The stream goes on four words after the one that says so, when all of the run is read.
        lay(name, (kind, iterations[run], 4, tiles.q_at[run], tiles.pitch[run], tiles.p_at[run]))
        if run:
            kept[:, record.columns[name]] = (tiles.steps[run] > 0)[:, None]
    if barriers and skew > 0 and n_qpus == QPUS:
        lay("barrier", (KINDS["barrier"], *parts.barrier_words(owner, n_qpus, turn)))
    kept[:, record.columns["barrier"]] = wait[:, None]

    widths = tiles.columns[:, None] - LANES * np.arange(options.vectors)
    widths = np.minimum(np.maximum(widths, 0), LANES)
    pitch = 4 * tiles.ldd
    tile = tiles.rows, widths, options.rows, tiles.d_at, pitch
    used = widths > 0
    lay("store", (KINDS["store" if reads or not options.blocks else "plain"],))
    lay("pitch", (pitch,))
    if reads:
        head, loads = parts.load_words(*tile)
        words[:, record.columns["load"]] = head
        words[:, record.columns["loads"]] = loads.reshape(size, -1)
        kept[:, record.columns["loads"]] = used.repeat(4, axis=1)
    else:
        for name in ("beta", "load", "loads"):
            kept[:, record.columns[name]] = False
    words[:, record.columns["stores"]] = parts.store_words(*tile).reshape(size, -1)
    kept[:, record.columns["stores"]] = used.repeat(5, axis=1)
    if options.blocks:
        last = KINDS["gather" if reads else "last"]
        does = np.where(ends, last, np.where(begins, KINDS["keep"], KINDS["fold"]))
        lay("own", (does, 4 * sums_words(options, 1) * owner))
        kept[:, record.columns["own"]] = ~(begins & ends)[:, None]
        kept[:, record.columns["store"].start : record.columns["end"].start] &= ends[:, None]
        if not reads:
            kept[:, record.columns["store"]] &= begins[:, None]

    lay("delay", (1 + owner * _delay(options, skew),))
    kept[:, record.columns["delay"]] = (begins & (number < n_qpus))[:, None]
    lay("end", (KINDS["end"], 0, LINE * owner, *parts.finish_words(owner, n_qpus)))
    kept[:, record.columns["end"]] = (ends & (number >= count - n_qpus))[:, None]

    of_p, of_q, of_d, of_watch = names
    addresses = {of_p: record.of_p, of_q: record.of_q, of_d: record.of_d}
    if options.blocks:
        addresses[SUMS] = record.of_own
    addresses[of_watch] = record.of_watch
    if tiles.rest is not None:
        addresses[of_q] = record.of_q & ~tiles.rest[:, None]
        addresses[REST] = record.of_q & tiles.rest[:, None]
    names = ("alpha", "beta") if reads else ("alpha",)
    values = {name: (record.values[name], tiles.factor) for name in names}
    values["limit"] = record.of_limit, 0 * tiles.factor
    return uniforms.flatten(words, kept, owner, addresses, values, record.going_on)


def _cut(
    options: GemmOptions, tiles: Tiles, block: int
) -> Tuple[Tiles, np.ndarray, np.ndarray]:
    """Blocks of at most about ``block`` steps, all of a tile's of one size, one after the other: as
    tiles, the number of the tile that each belongs to, and whether the tile's second run, if it has
    one, begins in the middle of it (in one of its blocks that is so)."""
    unit, total = options.unroll, tiles.steps.sum(axis=0)
    size = -(-total // -(-total // block)) + unit - 1
    size -= size % unit
    counts = -(-total // size)
    of = np.arange(total.size).repeat(counts)
    low = (np.arange(of.size) - (counts.cumsum() - counts)[of]) * size[of]
    # A block that would end with the first run ends an iteration earlier, so that all QPUs of a
    # wave have a block with a second run, where their barrier is.
    wrap = tiles.steps[0, of]
    low -= unit * ((low == wrap) & (low > 0))
    high = np.concatenate((low[1:], low[:1]))
    high = np.where(high > low, high, total[of])
    steps = tiles.steps[:, of]
    ends = steps.cumsum(axis=0)
    begins = ends - steps
    first = np.maximum(begins, low)
    own = np.maximum(np.minimum(ends, high) - first, 0)
    ahead = (first - begins) * (own > 0)
    pitch = tiles.pitch[:, of]
    # Runs without steps come last.
    order = (own == 0).argsort(axis=0, kind="stable")
    p_at = tiles.p_at[:, of] + 4 * options.rows * ahead
    runs = (p_at, tiles.q_at[:, of] + pitch * ahead, own, pitch)
    p_at, q_at, own, pitch = (np.take_along_axis(column, order, 0) for column in runs)
    cut = Tiles(
        p_at, q_at, own, pitch,
        *(column[of] for column in (
            tiles.d_at, tiles.rows, tiles.columns, tiles.ldd, tiles.factor,
        )),
        None if tiles.rest is None else tiles.rest[of],
    )  # fmt: skip
    return cut, of, (low < wrap) & (wrap < high)


def watched_words(n_qpus: int) -> int:
    """Words that a launch on ``n_qpus`` may write: 16 for each, which hold the largest magnitude of
    the sums of products, before alpha, that it has had, as float32, Inf if a sum of what holds Inf
    or NaN.  They are left alone if that is below the limit, so they are 0 before the launch."""
    return LANES * min(n_qpus, QPUS)


def sums_words(options: GemmOptions, n_qpus: int) -> int:
    """Words of the memory that a launch with ``options.blocks`` has at :data:`SUMS`."""
    return LANES * options.vectors * options.rows * min(n_qpus, QPUS)


def _in_step(tiles: Tiles, kind: np.ndarray, two: np.ndarray, every: int) -> np.ndarray:
    """Which tiles (bool) begin their second run with a barrier: every so many waves, if all QPUs
    compute tiles of the same width and number of steps, and so begin it together."""
    waves_, rest = divmod(len(tiles), QPUS)
    whole = len(tiles) - rest
    alike = two[:whole].reshape(waves_, QPUS).all(axis=1)
    for column in (kind, tiles.steps.sum(axis=0)):
        of_wave = column[:whole].reshape(waves_, QPUS)
        alike &= (of_wave == of_wave[:, :1]).all(axis=1)
    turn = np.arange(waves_)
    alike &= (turn % every == 0) & (turn > 0)
    wait = np.zeros(len(tiles), dtype=bool)
    wait[:whole] = alike.repeat(QPUS)
    return wait
