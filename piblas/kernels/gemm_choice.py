"""Which member of the gemm family computes a product, by predicted time.

What the parts of a tile cost was simulated under the three timing sets and is kept in
``gemm_costs.json`` (``python -m bench costs`` makes it anew).  Nobody knows which set a board is
most like, so the member is chosen whose worst case is best: under the set that suits it least, it
loses the least against the member that is fastest there.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, Dict, List, Tuple

import numpy as np

from .. import tables
from .gemm import LANES, GemmOptions
from .gemm_layout import PANEL
from .gemm_schedule import FEW, QPUS, SKEWS, Tiles

__all__ = [
    "FAMILY",
    "LAUNCH",
    "PATH",
    "choose",
    "choose_for",
    "choose_parts",
    "clocks",
    "clocks_of_tiles",
    "name_of",
]

FAMILY: Tuple[GemmOptions, ...] = (
    GemmOptions(rows=8, vectors=6),
    GemmOptions(rows=9, vectors=5, single=3, reach=2),
    GemmOptions(rows=8, vectors=5, single=2, reach=3),
    GemmOptions(rows=10, vectors=4, single=2, reach=2),
    GemmOptions(rows=8, vectors=4, single=3, reach=2),
    GemmOptions(rows=12, vectors=3, single=3, reach=2),
    GemmOptions(rows=8, vectors=3, single=3, reach=2),
    GemmOptions(rows=14, vectors=2, single=4, reach=1),
    GemmOptions(rows=8, vectors=2, single=3, reach=1),
    GemmOptions(rows=16, vectors=1, single=3, reach=1),
    GemmOptions(rows=4, vectors=1, single=0, reach=1),
)
"""Tiles to choose from."""

PATH = Path(__file__).with_name("gemm_costs.json")

CLOCK = 250e6
"""The clock that the costs are for."""
SLICES = 3
LINE_CLOCKS = {
    "pessimistic": (10, 16.0),
    "calibrated": (6, 6.956521739130435),
    "optimistic": (4, 5.333333333333333),
}
"""Clocks that a line of Q takes of the port of L2, and of memory, by timing set.  A copy of what
:mod:`piblas.isa.timing` says (a test compares), whose import takes thousands of function calls."""
LAUNCH = 1000
"""Clocks of a launch: the first fetch of the code, the end."""


def name_of(options: GemmOptions) -> str:
    """A member's name in the table of costs."""
    return f"{options.rows}x{options.columns}{' beta' if options.beta else ''}"


class _Family:
    """All members with all widths of edge tiles, as arrays of one element each."""

    def __init__(self, beta: bool, costs: Dict[str, Any]) -> None:
        self.options: List[GemmOptions] = [
            GemmOptions(
                rows=tile.rows, vectors=tile.vectors, edge=edge, unroll=tile.unroll,
                single=tile.single, reach=tile.reach, beta=beta,
            )
            for tile in FAMILY
            for edge in range(tile.vectors)
        ]
        self.skew = SKEWS[beta]
        self.number = {options: i for i, options in enumerate(self.options)}
        self.rows = np.array([options.rows for options in self.options])
        self.unroll = np.array([options.unroll for options in self.options])
        self.width = np.array([options.columns for options in self.options])
        self.edge = np.array([LANES * options.edge for options in self.options])
        # How many edge panels there may be; cover() says why not more.
        gcd = np.gcd(self.width, self.edge)
        self.most_edges = np.where(self.edge > 0, self.width // gcd, 1)
        self.edges = np.arange(self.most_edges.max())[:, None]
        self.line = tuple(
            np.array([[LINE_CLOCKS[name][which]] for name in costs]) for which in range(2)
        )
        # Timing set, member, (full width, edge).
        kind = " beta" if beta else ""
        named = [(f"{tile.rows}x{tile.columns}{kind}", tile.vectors) for tile in FAMILY]
        names = [name for name, edges in named for _ in range(edges)]
        widths = [(each.vectors - 1, (each.edge or each.vectors) - 1) for each in self.options]
        self.step, self.rest, self.store = (
            np.array(
                [
                    [
                        [members[name][part][width] for width in both]
                        for name, both in zip(names, widths)
                    ]
                    for members in costs.values()
                ]
            )
            for part in ("step", "rest", "store")
        )

    def panels(self, n: int) -> Tuple[np.ndarray, np.ndarray]:
        """:func:`.gemm_layout.cover` of n columns by each member's widths."""
        wide = -(-np.maximum(n - self.edges * self.edge, 0) // self.width)
        cost = wide * (self.width + PANEL) + self.edges * (self.edge + PANEL)
        cost[self.edges >= self.most_edges] = np.inf
        edges = cost.argmin(axis=0)
        return np.take_along_axis(wide, edges[None], 0)[0], edges

    def clocks(self, m: int, n: int, k: int, n_qpus: int, parts: int = 1) -> np.ndarray:
        """Predicted clocks of the product of P (m x k) and Q (k x n), ``parts`` tiles sharing the
        steps of each: timing set, member."""
        steps = -(-k // parts // self.unroll) * self.unroll
        high = -(-m // self.rows)
        wide, edges = (parts * panels for panels in self.panels(n))
        count = high * (wide + edges)
        step = np.maximum(self.step, self._lines(high, np.minimum(count, n_qpus))[..., None])
        tile = steps[:, None] * step + self.rest
        most = self._longest(high * wide, high * edges, n_qpus, tile)
        # If the stores do not keep up, the first has to wait for a tile.
        store = self.store * (np.minimum(self.rows, m) / self.rows)[:, None]
        stores = high * (wide * store[..., 0] + edges * store[..., 1])
        first = np.where(wide > 0, tile[..., 0], tile[..., 1])
        skew = np.where(count <= FEW * QPUS, self.skew // 2, self.skew)
        skew = np.minimum(skew, steps // QPUS) // self.unroll * self.unroll
        waits = skew * self.step[..., 0] if parts == 1 else store[..., 0]
        late = (np.minimum(n_qpus, count) - 1) * waits
        return np.maximum(most + late, stores + first) + LAUNCH

    @staticmethod
    def _longest(wide: np.ndarray, narrow: np.ndarray, n_qpus: int, tile: np.ndarray) -> np.ndarray:
        """Clocks of the QPU with most work, tiles being dealt out as by
        :func:`.gemm_schedule.waves`."""
        of_wide, of_narrow = tile[..., 0], tile[..., 1]
        early, late = wide % n_qpus, narrow % n_qpus
        spare = n_qpus - early  # QPUs that have a narrow tile in the round of both widths
        more = late - spare  # tiles behind that round
        both = np.where(more <= spare, np.maximum(of_wide, 2 * of_narrow), of_wide + of_narrow)
        one = np.where(early > 0, of_wide, np.where(late > 0, of_narrow, 0.0))
        rest = np.where((early > 0) & (more > 0), both, one)
        return wide // n_qpus * of_wide + narrow // n_qpus * of_narrow + rest

    def _lines(self, high: np.ndarray, busy: np.ndarray) -> np.ndarray:
        """Clocks of a step that lines of Q take on their way, where QPUs do not share them because
        few tiles lie on a panel."""
        port, memory = self.line
        panels = -(-np.minimum(busy, QPUS) // high)
        a_slice = -(-np.minimum(busy / SLICES, QPUS // SLICES) // high)
        lines = self.width / LANES
        return np.maximum(port * lines * SLICES * a_slice, memory * lines * panels)


@functools.lru_cache(maxsize=None)
def _costs() -> Dict[str, Any]:
    found: Dict[str, Any] = tables.load(str(PATH))
    return found


@functools.lru_cache(maxsize=None)
def _family(beta: bool) -> _Family:
    return _Family(beta, _costs())


def clocks(
    options: GemmOptions,
    m: int,
    n: int,
    k: int,
    n_qpus: int = QPUS,
    timing: str = "calibrated",
    parts: int = 1,
) -> float:
    """Predicted clocks of the product of P (m x k) and Q (k x n) with a member of the family, at
    250 MHz."""
    family = _family(options.beta)
    by_set = family.clocks(m, n, k, n_qpus, parts)
    return float(by_set[list(_costs()).index(timing), family.number[options]])


def clocks_of_tiles(options: GemmOptions, tiles: Tiles) -> np.ndarray:
    """Predicted clocks of each tile, as a product of its size on one QPU."""
    steps = tiles.steps.sum(axis=0)
    radix, unroll = options.columns + 1, options.unroll
    keys, which = np.unique(tiles.rows * radix + tiles.columns, return_inverse=True)
    sizes = [divmod(key, radix) for key in keys.tolist()]
    # Linear in the steps, so two depths are enough for each size.
    shallow, deep = np.array(
        [[clocks(options, *size, k, n_qpus=1) for size in sizes] for k in (unroll, 2 * unroll)]
    )
    which = which.reshape(-1)
    return shallow[which] + (deep - shallow)[which] * (steps / unroll - 1)


def _safest(family: _Family, clocks: np.ndarray) -> GemmOptions:
    loss = clocks / clocks.min(axis=1, keepdims=True)
    return family.options[int(loss.max(axis=0).argmin())]


def members(beta: bool) -> List[GemmOptions]:
    """Every kernel that a product may get, with and without reading D."""
    return list(_family(beta).options)


@functools.lru_cache(maxsize=256)
def choose_for(sizes: Tuple[Tuple[Tuple[int, int, int], int], ...], beta: bool) -> GemmOptions:
    """The kernel for several products in one launch, ``sizes`` being pairs of (m, n, k) and how
    many there are of that size: the one with the least work for all QPUs together."""
    family = _family(beta)
    return _safest(family, sum(count * family.clocks(*size, 1) for size, count in sizes))


ADD = 1.5
"""Clocks in which the CPU adds a word of a part of D (derived: 1 GB/s of reading)."""
PARTS = 1, 2, 3, 4, 6, 8, 12
SPLIT = 1 << 16
"""Elements of D from which on there is work for all QPUs without parts of k."""
DEPTH = 64
"""Least steps of a part."""


@functools.lru_cache(maxsize=1024)
def choose_parts(m: int, n: int, k: int, beta: bool) -> Tuple[GemmOptions, int]:
    """The kernel as :func:`choose` has it, and into how many parts k is cut so that all QPUs have
    work though D is small.  The CPU adds the parts up, and beta D."""
    counts = [count for count in PARTS if count == 1 or m * n <= SPLIT and k >= count * DEPTH]
    ways = []
    for count in counts:
        clocks = _family(beta and count == 1).clocks(m, n, k, QPUS, count)
        ways.append(clocks + (ADD * m * n * (count + beta) if count > 1 else 0))
    best = np.min([way.min(axis=1) for way in ways], axis=0)[:, None]
    losses = [(way / best).max(axis=0) for way in ways]
    at = int(np.argmin([loss.min() for loss in losses]))
    options = _family(beta and counts[at] == 1).options[int(losses[at].argmin())]
    return options, counts[at]


ODD = 1.06
"""How much longer a product takes, at least, whose narrow tiles are an odd number of lines wide, if
Q is read in place (simulated: QPUs get out of step, and share fewer lines)."""

PACK_ROW = 20
"""Clocks of a row that packing stores (simulated)."""


@functools.lru_cache(maxsize=1024)
def choose(m: int, n: int, k: int, beta: bool, in_place: bool = False) -> GemmOptions:
    """The kernel for D (m x n) = P (m x k) Q (k x n); the same for any number of QPUs, so that the
    result is too.  ``in_place``: the QPUs pack P only and read Q where it lies."""
    family = _family(beta)
    clocks = family.clocks(m, n, k, QPUS)
    if in_place:
        # What packs P stores rows of 16 words, or of a step's where these do not fill them evenly.
        words = np.where(LANES % family.rows, family.rows, LANES)
        clocks = clocks * np.where(family.edge // LANES % 2, ODD, 1.0) + PACK_ROW * m * k / words
    return _safest(family, clocks)
