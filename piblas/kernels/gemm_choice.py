"""Which member of the gemm family computes a product, by predicted time.

What the parts of a tile cost was simulated under the three timing sets and is kept in
``gemm_costs.json`` (``python -m bench costs`` makes it anew).  Nobody knows which set a board is
most like, so the member is chosen whose worst case is best: under the set that suits it least, it
loses the least against the member that is fastest there.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from .gemm import LANES, GemmOptions
from .gemm_data import FEW, LAGS, PANEL, QPUS

__all__ = ["FAMILY", "LAUNCH", "PATH", "choose", "choose_for", "clocks", "name_of"]

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

PATH = Path(__file__).with_name("gemm_costs.json")

LAUNCH = 3000
"""Clocks of a launch: the first fetch of the code, the end."""


def name_of(options: GemmOptions) -> str:
    """A member's name in the table of costs."""
    return f"{options.rows}x{options.columns}{' beta' if options.beta else ''}"


class _Family:
    """All members with all widths of edge tiles, as arrays of one element each."""

    def __init__(self, beta: bool, costs: Dict[str, Any]) -> None:
        self.options: List[GemmOptions] = [
            dataclasses.replace(tile, edge=edge, beta=beta)
            for tile in FAMILY
            for edge in range(tile.vectors)
        ]
        self.lag = LAGS[beta]
        self.number = {options: i for i, options in enumerate(self.options)}
        self.rows = np.array([options.rows for options in self.options])
        self.unroll = np.array([options.unroll for options in self.options])
        self.width = np.array([options.columns for options in self.options])
        self.edge = np.array([LANES * options.edge for options in self.options])
        # How many edge panels there may be; cover() says why not more.
        gcd = np.gcd(self.width, self.edge)
        self.most_edges = np.where(self.edge > 0, self.width // gcd, 1)
        self.edges = np.arange(self.most_edges.max())[:, None]
        # Timing set, member, (full width, edge).
        self.step, self.rest, self.store = (
            np.array(
                [
                    [
                        [members[name_of(options)][part][v - 1] for v in self._widths(options)]
                        for options in self.options
                    ]
                    for members in costs.values()
                ]
            )
            for part in ("step", "rest", "store")
        )

    @staticmethod
    def _widths(options: GemmOptions) -> Tuple[int, int]:
        return options.vectors, options.edge or options.vectors

    def panels(self, n: int) -> Tuple[np.ndarray, np.ndarray]:
        """:func:`.gemm_data.cover` of n columns by each member's widths."""
        wide = -(-np.maximum(n - self.edges * self.edge, 0) // self.width)
        cost = wide * (self.width + PANEL) + self.edges * (self.edge + PANEL)
        cost[self.edges >= self.most_edges] = np.inf
        edges = cost.argmin(axis=0)
        return np.take_along_axis(wide, edges[None], 0)[0], edges

    def clocks(self, m: int, n: int, k: int, n_qpus: int) -> np.ndarray:
        """Predicted clocks of the product of P (m x k) and Q (k x n): timing set, member."""
        steps = -(-k // self.unroll) * self.unroll
        high = -(-m // self.rows)
        wide, edges = self.panels(n)
        count = high * (wide + edges)
        # Tiles are dealt out in order, the wide ones first: none has more of them than the first.
        own, full = -(-count // n_qpus), -(-high * wide // n_qpus)
        tile = steps[:, None] * self.step + self.rest
        most = full * tile[..., 0] + (own - full) * tile[..., 1]
        # If the stores do not keep up, the first has to wait for a tile.
        store = self.store * (np.minimum(self.rows, m) / self.rows)[:, None]
        stores = high * (wide * store[..., 0] + edges * store[..., 1])
        first = np.where(wide > 0, tile[..., 0], tile[..., 1])
        lag = np.where(count <= FEW * QPUS, self.lag // 2, self.lag)
        lag = np.minimum(lag, steps // QPUS) // self.unroll * self.unroll
        late = (np.minimum(n_qpus, count) - 1) * lag * self.step[..., 0]
        return np.maximum(most, stores + first) + late + LAUNCH


@functools.lru_cache(maxsize=None)
def _families() -> Tuple[Tuple[str, ...], Tuple[_Family, _Family]]:
    costs = json.loads(PATH.read_text())
    return tuple(costs), (_Family(False, costs), _Family(True, costs))


def _family(beta: bool) -> _Family:
    return _families()[1][beta]


def clocks(
    options: GemmOptions, m: int, n: int, k: int, n_qpus: int = QPUS, timing: str = "calibrated"
) -> float:
    """Predicted clocks of the product of P (m x k) and Q (k x n) with a member of the family, at
    250 MHz."""
    family = _family(options.beta)
    by_set = family.clocks(m, n, k, n_qpus)
    return float(by_set[_families()[0].index(timing), family.number[options]])


def _safest(family: _Family, clocks: np.ndarray) -> GemmOptions:
    loss = clocks / clocks.min(axis=1, keepdims=True)
    return family.options[int(loss.max(axis=0).argmin())]


@functools.lru_cache(maxsize=256)
def choose_for(sizes: Tuple[Tuple[Tuple[int, int, int], int], ...], beta: bool) -> GemmOptions:
    """The kernel for several products in one launch, ``sizes`` being pairs of (m, n, k) and how
    many there are of that size: the one with the least work for all QPUs together."""
    family = _family(beta)
    return _safest(family, sum(count * family.clocks(*size, 1) for size, count in sizes))


@functools.lru_cache(maxsize=1024)
def choose(m: int, n: int, k: int, beta: bool) -> GemmOptions:
    """The kernel for D (m x n) = P (m x k) Q (k x n); the same for any number of QPUs, so that the
    result is too."""
    family = _family(beta)
    return _safest(family, family.clocks(m, n, k, QPUS))
