"""Which member of the gemm family computes a product: the one with the least predicted time.

The prediction counts instruction words, and what the stores and the TMUs take where that is more;
``python -m bench sgemm`` compares it with the emulator's clock.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import List, Tuple

from .gemm import LANES, GemmOptions
from .gemm_data import QPUS, cover

__all__ = ["FAMILY", "choose", "choose_for", "clocks"]

FAMILY: Tuple[GemmOptions, ...] = (
    GemmOptions(rows=8, vectors=6, chain=3),
    GemmOptions(rows=9, vectors=5, chain=3),
    GemmOptions(rows=8, vectors=5, chain=3),
    GemmOptions(rows=10, vectors=4, chain=3),
    GemmOptions(rows=8, vectors=4, chain=3),
    GemmOptions(rows=12, vectors=3, chain=3),
    GemmOptions(rows=8, vectors=3, chain=3),
    GemmOptions(rows=14, vectors=2, chain=2),
    GemmOptions(rows=8, vectors=2, chain=2),
    GemmOptions(rows=16, vectors=1, chain=1),
    GemmOptions(rows=4, vectors=1, chain=1, single=0),
)
"""Tiles to choose from."""

# Clocks of the parts of a tile, read off the emulator's profile under ``calibrated``.
GAPS = 0.5
LOOP = 2
"""Words of a step in which a unit idles, and what is lost where the loop closes."""
LAUNCH = 3000
"""Of a launch: the first fetch of the code, the end."""
RUN = 1200
"""Of setting out on a tile's steps, two runs' worth."""
STORE = 500
"""Of a store, beside its rows."""
ROW = 14
TRANSFER = 40
"""Of the DMA store: a row of 16 words, and a transfer."""
UNIFORM = 57
"""From the request of a line of the uniform stream, two words ahead, to its first word."""
TMU = 16
"""Of a request, in a TMU that serves half of the requests of 4 QPUs."""


@functools.lru_cache(maxsize=None)
def _tile(options: GemmOptions, vectors: int) -> Tuple[float, float]:
    """Clocks of a step of a tile of that many vectors, and of what a tile takes beside its steps
    and its store's rows."""
    step = 4 * (options.step(vectors).slots + GAPS + LOOP / options.unroll)
    late = max(0.0, UNIFORM - 2 * step / options.rows) * options.rows / LANES
    return max(step + late, 2 * TMU * vectors), RUN + STORE + vectors * TRANSFER


def clocks(options: GemmOptions, m: int, n: int, k: int, n_qpus: int = QPUS) -> float:
    """Predicted clocks of the product of P (m x k) and Q (k x n)."""
    steps = -(-k // options.unroll) * options.unroll
    high = -(-m // options.rows)
    wide, edges = cover(n, options.columns, LANES * options.edge)
    row = ROW * min(options.rows, m)
    total = high * (wide + edges)

    def tile(vectors: int) -> float:
        step, rest = _tile(options, vectors)
        return steps * step + rest + row * vectors

    def store(vectors: int) -> float:
        return vectors * (row + TRANSFER)

    # Tiles are dealt out in order, the wide ones first: no QPU has more of either than the first.
    own, full = -(-total // n_qpus), -(-high * wide // n_qpus)
    most = full * tile(options.vectors)
    if edges:
        most += (own - full) * tile(options.edge)
    first = options.vectors if wide else options.edge
    stores = high * (wide * store(options.vectors) + edges * store(options.edge))
    # The first store has to wait for a tile, the last QPU for the stores of the others.
    return max(most, stores + tile(first)) + min(n_qpus, total) * store(first) + LAUNCH


def _variants(beta: bool) -> List[GemmOptions]:
    return [
        dataclasses.replace(options, edge=edge, beta=beta)
        for options in FAMILY
        for edge in range(options.vectors)
    ]


_CANDIDATES = {beta: _variants(beta) for beta in (False, True)}


@functools.lru_cache(maxsize=256)
def choose_for(sizes: Tuple[Tuple[Tuple[int, int, int], int], ...], beta: bool) -> GemmOptions:
    """The kernel for several products in one launch, ``sizes`` being pairs of (m, n, k) and how
    many there are of that size: the one with the least work for all QPUs together."""

    def work(options: GemmOptions) -> float:
        return sum(count * clocks(options, *size, n_qpus=1) for size, count in sizes)

    return min(_CANDIDATES[beta], key=work)


@functools.lru_cache(maxsize=1024)
def choose(m: int, n: int, k: int, beta: bool) -> GemmOptions:
    """The kernel for D (m x n) = P (m x k) Q (k x n); the same for any number of QPUs, so that the
    result is too."""
    return min(_CANDIDATES[beta], key=lambda options: clocks(options, m, n, k))
