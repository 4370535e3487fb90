"""Which member of the gemm family computes a product: the one with the least predicted time.

The prediction counts instruction words, and what the stores and the TMUs take where that is more;
``python -m bench sgemm`` compares it with the emulator's clock.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Tuple

from .gemm import LANES, GemmOptions
from .gemm_data import QPUS

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


def clocks(options: GemmOptions, m: int, n: int, k: int, n_qpus: int = QPUS) -> float:
    """Predicted clocks of the product of P (m x k) and Q (k x n)."""
    steps = -(-k // options.unroll) * options.unroll
    high = -(-m // options.rows)
    wide, left = divmod(-(-n // LANES), options.vectors)
    widths = [options.vectors] * wide
    if left:
        widths.append(options.edge if left <= options.edge else options.vectors)

    def tile(vectors: int) -> float:
        step = 4 * options.step(vectors).slots
        late = max(0.0, UNIFORM - 2 * step / options.rows) * options.rows / LANES
        return steps * max(step + late, 2 * TMU * vectors) + RUN + STORE + store(vectors)

    def store(vectors: int) -> float:
        rows = min(options.rows, m)
        return vectors * (rows * ROW + TRANSFER)

    # Tiles are dealt out in order; the last are edges.
    most = 0.0
    total = high * len(widths)
    edges = high if left and widths[-1] != options.vectors else 0
    for qpu in range(min(n_qpus, total)):
        all_own = len(range(qpu, total, n_qpus))
        full = len(range(qpu, total - edges, n_qpus))
        own = full * tile(options.vectors)
        if edges:
            own += (all_own - full) * tile(widths[-1])
        most = max(most, own)
    stores = high * sum(store(vectors) for vectors in widths)
    # The first store has to wait for a tile, the last QPU for the stores of the others.
    return max(most, stores + tile(widths[0])) + min(n_qpus, total) * store(widths[0]) + LAUNCH


@functools.lru_cache(maxsize=256)
def choose_for(sizes: Tuple[Tuple[Tuple[int, int, int], int], ...], beta: bool) -> GemmOptions:
    """The kernel for several products in one launch, ``sizes`` being pairs of (m, n, k) and how
    many there are of that size: the one with the least work for all QPUs together."""
    vectors = max(-(-n // LANES) for (_, n, _), _ in sizes)
    candidates = [
        dataclasses.replace(options, edge=edge, beta=beta)
        for options in FAMILY
        if options.vectors <= vectors
        for edge in sorted({-(-n // LANES) % options.vectors for (_, n, _), _ in sizes})
    ]

    def work(options: GemmOptions) -> float:
        return sum(count * clocks(options, *size, n_qpus=1) for size, count in sizes)

    return min(candidates, key=work)


@functools.lru_cache(maxsize=1024)
def choose(m: int, n: int, k: int, beta: bool) -> GemmOptions:
    """The kernel for D (m x n) = P (m x k) Q (k x n); the same for any number of QPUs, so that the
    result is too."""
    vectors = -(-n // LANES)
    candidates = [
        dataclasses.replace(options, edge=vectors % options.vectors, beta=beta)
        for options in FAMILY
        if options.vectors <= vectors
    ]
    return min(candidates, key=lambda options: clocks(options, m, n, k))
