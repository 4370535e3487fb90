"""How accurate a product is: in which order its sums are added up, and by which kernel.

An addition on the QPU truncates, which on average takes half a unit in the last place from the sum
so far, always towards zero.  So the relative error of a sum of k terms grows with k; 2.5e-8 k was
found for operands of either sign.  It grows less if k is cut into blocks: with one error for the
terms of a block, and one for the blocks.

fast      all of k in one sum
default   blocks of up to :data:`BLOCK` steps
high      a second level of sums in the registers, of a kernel whose tile is half as large, after
          every :data:`FOLD` iterations, and a third of blocks

Integers and their sums stay exact as long as they are below 2**24.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import NamedTuple, Tuple

from . import gemm_choice
from .gemm import LANES, GemmOptions
from .gemm_layout import PANEL, Packed, cover
from .gemm_schedule import FEW, QPUS, SKEWS, skew_of

__all__ = [
    "DEEPEST", "FOLDED", "SLOWER", "Way", "skew", "sums", "way", "way_of_batch", "way_of_parts",
]  # fmt: skip

BLOCK = {"default": 192, "high": 256}
"""Most steps of a block."""

FOLD = 4
"""Iterations between additions to the second level of sums."""

SHALLOW = 40
"""Steps of k up to which a product is as accurate as "high" is, however it is summed."""

DEEPEST = 8192
"""Steps of k from which on more than one product is added up, in double precision or on the CPU,
where accuracy is asked for: there would be so many blocks that their sum is inaccurate."""

FOLDED = tuple(
    GemmOptions(rows=8, vectors=3, edge=edge, single=5, reach=2, beta=True, blocks=True, fold=FOLD)
    for edge in range(3)
)
"""Kernels with two levels of sums in the registers."""

SKEWS_OF_BLOCKS = {False: 12, True: 8}
"""Steps of k between QPUs, where they keep or add up blocks, which takes about 8 steps; the second
where Q is read in place, so that lines live shortly in the caches."""

SLOWER = {"fast": 1.0, "default": 1.1, "high": 1.4}
"""How much longer a product takes at most, calibrated (``python -m bench accuracy``)."""


class Way(NamedTuple):
    """The kernel of a product, and the most steps of a block, or 0 for all in one sum."""

    options: GemmOptions
    block: int


def _folded(n: int) -> GemmOptions:
    """The one whose panels hold n columns at the least cost."""

    def cost(options: GemmOptions) -> float:
        edge = LANES * options.edge
        wide, edges = cover(n, options.columns, edge)
        return wide * (options.columns + PANEL) + edges * (edge + PANEL)

    return min(FOLDED, key=cost)


def _blocked(accuracy: str, options: GemmOptions, n: int, k: int) -> Way:
    """In blocks where ``options`` would not be accurate with k steps in one sum."""
    if accuracy == "high" and k > SHALLOW:
        return Way(_folded(n), BLOCK["high"] if k > BLOCK["high"] else 0)
    if accuracy == "default" and k > BLOCK["default"]:
        return Way(dataclasses.replace(options, beta=True, blocks=True), BLOCK["default"])
    return Way(options, 0)


@functools.lru_cache(maxsize=1024)
def way(accuracy: str, m: int, n: int, k: int, beta: bool, in_place: bool = False) -> Way:
    """How D (m x n) = P (m x k) Q (k x n) is computed; ``beta`` and ``in_place`` as for
    :func:`.gemm_choice.choose`."""
    return _blocked(accuracy, gemm_choice.choose(m, n, k, beta, in_place), n, k)


@functools.lru_cache(maxsize=1024)
def way_of_parts(accuracy: str, m: int, n: int, k: int, beta: bool) -> Tuple[Way, int]:
    """The same, and into how many parts k is cut that the CPU adds up
    (:func:`.gemm_choice.choose_parts`)."""
    options, parts = gemm_choice.choose_parts(m, n, k, beta)
    if accuracy != "fast" and k > DEEPEST:
        parts = max(parts, -(-k // DEEPEST))
        options = dataclasses.replace(options, beta=False)
    return _blocked(accuracy, options, n, -(-k // parts)), parts


def sums(accuracy: str, k: int) -> int:
    """The most additions that a term of a sum of k passes through, whatever the sizes of D."""
    if k <= {"fast": k, "default": BLOCK["default"], "high": SHALLOW}[accuracy]:
        return k
    unit = FOLDED[0].unroll
    steps = min(-(-k // unit) * unit, DEEPEST)
    # A block may be an iteration longer than its size; parts are added up, and products of DEEPEST.
    own = min(steps, BLOCK[accuracy] + unit)
    others = -(-steps // BLOCK[accuracy]) + gemm_choice.PARTS[-1] + -(-k // DEEPEST)
    if accuracy == "high":
        # Up to three runs of a block begin with fewer iterations than are added up later.
        own = unit * FOLD + -(-own // (unit * FOLD)) + 3
    return own + others


def way_of_batch(accuracy: str, options: GemmOptions, n: int, k: int) -> Way:
    """For products of up to n columns and k steps in one launch, for which ``options`` suit."""
    return _blocked(accuracy, options, n, k)


def skew(chosen: Way, p: Packed, q: Packed, reads: bool, in_place: bool = False) -> int:
    """As :func:`.gemm_schedule.skew_of`; ``reads`` and ``in_place`` say whether D is read, and Q
    where it lies."""
    options, block = chosen
    if not block:
        return skew_of(options, p, q, reads)
    apart = SKEWS[True] if reads else SKEWS_OF_BLOCKS[in_place]
    if p.panels * q.panels <= FEW * QPUS:
        apart = min(apart, SKEWS_OF_BLOCKS[True])
    size = p.steps // -(-p.steps // block)
    return min(apart, size // QPUS) // options.unroll * options.unroll
