"""The streams of the gemm kernel, tile by tile and word by word: what
:mod:`piblas.kernels.gemm_schedule` and :mod:`piblas.kernels.triangle` make by array operations."""

from __future__ import annotations

import dataclasses
from typing import Optional, Tuple

import numpy as np

from piblas.isa import setup_words as sw
from piblas.kernels import gemm_streams, parts, triangle
from piblas.kernels.gemm import KINDS, LANES, LINE

QPUS = 12


@dataclasses.dataclass(frozen=True)
class Tile:
    """Runs of (address in P, address in Q, steps, pitch of Q); the rest is as in
    ``gemm_schedule.Tiles``."""

    runs: Tuple[Tuple[int, int, int, int], ...]
    d_addr: int
    rows: int
    columns: int
    ldd: int
    alpha: Optional[float] = None
    beta: Optional[float] = None


def rotated(p, p_addr, q, q_addr, place, first):
    i, j, low, high = place
    first = low + first % (high - low)
    p_addr += p.offset(i)
    q_addr += q.offset(j)

    def run(begin, end):
        pitch = 4 * q.width_of(j)
        return p_addr + 4 * p.width_of(i) * begin, q_addr + pitch * begin, end - begin, pitch

    return (run(first, high), run(low, first)) if first > low else (run(low, high),)


def panels(p, q, low, high):
    for j in range(q.panels):
        for i in range(p.panels):
            yield i, j, low, high


def waves(q, places):
    wide, narrow = [], []
    for place in places:
        (wide if place[1] < q.wide else narrow).append(place)
    last, whole = (len(part) // QPUS * QPUS for part in (wide, narrow))
    early, late = wide[last:], narrow[whole:]
    spare = QPUS - len(early) if early and len(early) + len(late) > QPUS else 0
    return wide[:last] + narrow[:whole] + late[:spare] + early + late[spare:]


def grid(options, p, q, p_addr, q_addr, d_addr, ldd, skew, places=None, split_k=1):
    unit = options.unroll
    bounds = [part * (p.steps // unit) // split_k * unit for part in range(split_k + 1)]
    found = []
    for part, (low, high) in enumerate(zip(bounds, bounds[1:])):
        base = d_addr + 4 * part * p.length * ldd

        def corner(i, j):
            return base + 4 * (p.first(i) * ldd + q.first(j)), ldd

        own = waves(q, panels(p, q, low, high)) if places is None else places
        found += tiles(options, p, q, p_addr, q_addr, skew, own, corner)
    return found


def tiles(options, p, q, p_addr, q_addr, skew, places, corner):
    for index, place in enumerate(places):
        i, j = place[:2]
        first = skew * (index % QPUS) + options.unroll if skew else 0
        address, ldd = corner(i, j)
        yield Tile(
            rotated(p, p_addr, q, q_addr, place, first),
            address,
            min(p.width_of(i), p.length - p.first(i)),
            min(q.width_of(j), q.length - q.first(j)),
            ldd,
        )


def words(
    options, tiles, alpha, beta, n_qpus, skew, barriers, own, limit=0.0, watch=0, block=0,
    reads=True, sums=0,
):
    """All words as they lie at bus address ``own``, and the address of each stream."""
    reads = options.beta and (reads or not options.blocks)
    found, starts = [], []
    n_qpus = min(n_qpus, len(tiles))
    delay = int(skew * options.step(options.vectors).slots / gemm_streams.DELAY_WORDS)
    for index in range(n_qpus):
        starts.append(own + 4 * len(found))
        found.append(1 + index * delay)
        number = 0
        for turn, tile in enumerate(tiles[index::n_qpus]):
            others = tiles[turn * n_qpus : (turn + 1) * n_qpus]
            due = barriers > 0 and skew > 0 and turn > 0 and turn % barriers == 0
            wait = []
            if due and in_step(options, others):
                wait = [KINDS["barrier"], 0 if index else n_qpus - 1, number % 2]
                number += 1
            pieces = blocks(options, tile.runs, block)
            for before, (runs, second) in enumerate(pieces):
                run_words(found, options, tile, runs, own, second and wait)
                last = before + 1 == len(pieces)
                if len(pieces) > 1:
                    does = "fold" if before else "keep"
                    does = ("gather" if reads else "last") if last else does
                    found += [KINDS[does], sums + 64 * options.vectors * options.rows * index]
            if reads or len(pieces) == 1:
                found.append(KINDS["plain" if options.blocks and not reads else "store"])
            store_words(found, options, tile, alpha, beta, reads)
        found += [KINDS["end"], parts.float_word(limit), watch + 64 * index, index, n_qpus - 1]
    words = np.array(found + [0] * LANES, dtype=np.int64)
    return (words & 0xFFFFFFFF).astype(np.uint32), starts


def kind_of(options, tile):
    return "edge" if tile.columns <= LANES * options.edge else "run"


def in_step(options, tiles):
    alike = {(kind_of(options, tile), sum(run[2] for run in tile.runs)) for tile in tiles}
    return len(tiles) == QPUS and all(len(tile.runs) >= 2 for tile in tiles) and len(alike) == 1


def blocks(options, runs, block):
    """The runs of each block of a tile, and whether the tile's second run begins inside of it."""
    total, unit = sum(run[2] for run in runs), options.unroll
    if not block:
        return [(runs, True)]
    count = -(-total // block)
    size = -(-total // count)
    size = -(-size // unit) * unit
    cuts = [*range(0, total, size), total]
    if len(runs) > 1:
        cuts = [cut - unit if cut == runs[0][2] else cut for cut in cuts]
    found = []
    for low, high in zip(cuts, cuts[1:]):
        begin, own = 0, []
        for p_addr, q_addr, steps, pitch in runs:
            first, last = max(low, begin), min(high, begin + steps)
            if first < last:
                ahead = first - begin
                own.append(
                    (p_addr + 4 * options.rows * ahead, q_addr + pitch * ahead, last - first, pitch)
                )
            begin += steps
        found.append((tuple(own), low < runs[0][2] < high))
    return found


def run_words(found, options, tile, runs, own, wait):
    for number, (p_addr, q_addr, steps, pitch) in enumerate(runs):
        if number == 1 and wait:
            found += wait
        found += [KINDS[kind_of(options, tile)], LINE * (steps // options.unroll)]
        found.append(own + 4 * (len(found) + 4))
        found += [q_addr, pitch, p_addr]


def store_words(found, options, tile, alpha, beta, reads):
    alpha = alpha if tile.alpha is None else tile.alpha
    beta = beta if tile.beta is None else tile.beta
    found.append(parts.float_word(alpha))
    if reads:
        found.append(parts.float_word(beta))
    pitch = 4 * tile.ldd
    found.append(pitch)
    widths = [min(LANES, tile.columns - at) for at in range(0, tile.columns, LANES)]
    if reads:
        found += [pitch, len(widths)]
        for v, width in enumerate(widths):
            together = tile.rows if pitch <= parts.MAX_VDR_PITCH else 1
            found.append(sw.vdr_pitch(pitch if together > 1 else 0))
            found.append(sw.vdr_load(together, width, v * options.rows))
            found += [tile.d_addr + 64 * v, tile.rows // together]
    for v, width in enumerate(widths):
        gap = pitch - 4 * width
        together = tile.rows if gap <= parts.MAX_VDW_STRIDE else 1
        found.append(sw.vdw_stride(gap if together > 1 else 0))
        found.append(sw.vdw_store(together, width, v * options.rows))
        found += [tile.d_addr + 64 * v, tile.rows // together, int(v + 1 < len(widths))]


def in_place(options, p, q, p_addr, q_addr, rest_addr, d_addr, ldd, skew):
    """The tiles of :mod:`piblas.kernels.gemm_sources`."""
    layout = q.layout
    widths = options.vectors, options.edge or options.vectors
    wide, narrow = (options.step(v).slots for v in widths)
    found = []
    for index, (i, j, low, high) in enumerate(waves(layout, panels(p, layout, 0, p.steps))):
        pace = 1 if j < layout.wide else wide / narrow
        first = options.unroll * (round(skew * (index % QPUS) * pace / options.unroll) + 1)
        first = low + (first if skew else 0) % (high - low)
        address, pitch = rest_addr, 4 * layout.width_of(j)
        if j < q.count:
            address, pitch = q_addr + 4 * layout.first(j), q.pitch
        cuts = sorted({low, first, p.fold or high, high})
        pieces = list(zip(cuts, cuts[1:]))
        start, runs = cuts.index(first), []
        for begin, end in pieces[start:] + pieces[:start]:
            back = p.steps - q.k if p.fold and begin >= p.fold else 0
            at = p_addr + p.offset(i) + 4 * p.width_of(i) * begin
            runs.append((at, address + pitch * (begin - back), end - begin, pitch))
        row, column = p.first(i), layout.first(j)
        found.append(
            Tile(
                tuple(runs),
                d_addr + 4 * (row * ldd + column),
                min(p.width_of(i), p.length - row),
                min(layout.width_of(j), layout.length - column),
                ldd,
            )
        )
    return found


# --- triangles -----------------------------------------------------------------------------------


def half(options, p, q, lower):
    for j in range(q.panels):
        left, right = q.first(j), min(q.first(j + 1), q.length) - 1
        for i in range(p.panels):
            top, bottom = i * p.width, min((i + 1) * p.width, p.length) - 1
            if bottom >= left if lower else top <= right:
                yield i, j, 0, p.steps


def _steps_to(options, p, i):
    rows = min((i + 1) * p.width, p.length)
    return -(-rows // options.unroll) * options.unroll


def ramp(options, p, q):
    rows = range(p.panels)
    order = [(i, j) for j in range(q.panels) for i in (reversed(rows) if j % 2 else rows)]
    for at in range(0, len(order), QPUS):
        group = order[at : at + QPUS]
        steps = max(_steps_to(options, p, i) for i, _ in group)
        yield from ((i, j, 0, steps) for i, j in group)


def _within(
    options, p, q, rows, low: int
):
    places = [(i, j, low, _steps_to(options, p, i)) for j in range(q.panels) for i in rows]
    loads = [0] * QPUS

    def work(place):
        return (place[3] - low) * q.width_of(place[1])

    for at in range(0, len(places), QPUS):
        group = sorted(places[at : at + QPUS], key=work, reverse=True)
        # The QPUs of a last round that is not full are the first.
        order = sorted(range(len(group)), key=loads.__getitem__)
        for qpu, place in zip(order, group):
            loads[qpu] += work(place)
        yield from (place for _, place in sorted(zip(order, group)))


def _rectangle(q, rows, steps):
    wide = [(i, j, 0, steps) for j in range(q.wide) for i in rows]
    narrow = [(i, j, 0, steps) for j in range(q.wide, q.panels) for i in rows]
    last = len(wide) // QPUS * QPUS
    spare = (last - len(wide)) % QPUS
    return wide[:last] + narrow[:spare] + wide[last:] + narrow[spare:]


def solve(options, p, q, p_addr, r_addr, x_addr, skew):
    block = triangle.block_of(options)

    def corner(base):
        def at(i, j):
            width = q.width_of(j)
            return base + q.offset(j) + 4 * p.first(i) * width, width

        return at

    def step(q_addr, base, places, apart):
        of = list(tiles(options, p, q, p_addr, q_addr, apart, places, corner(base)))
        return of, base == r_addr, max(apart, 1)

    for begin in range(0, p.length, block):
        rows = range(begin // p.width, -(-min(begin + block, p.length) // p.width))
        if begin:
            yield step(x_addr, r_addr, _rectangle(q, rows, begin), skew)
        # Tiles that begin with the first step come in one run, which is half the setting out.
        yield step(r_addr, x_addr, _within(options, p, q, rows, begin), 0)
