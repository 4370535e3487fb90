"""The data of the gemm kernel: packed operands, tiles, the streams that drive the program, the
bound of its error."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Callable, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from . import parts, reference
from .gemm import KINDS, LANES, LINE, GemmOptions

__all__ = [
    "Packed",
    "Place",
    "Run",
    "Streams",
    "Tile",
    "cover",
    "error_bound",
    "grid",
    "lag_of",
    "pack",
    "packed_words",
    "panels",
    "rounds",
    "tiles",
    "unpack",
]


# --- packed operands ---------------------------------------------------------------------------


PANEL = LANES / 2
"""What a step of a panel costs beside its words, in words: the scalars of P, a unit of an
instruction each, as a multiply-add takes two."""


@functools.lru_cache(maxsize=1024)
def cover(length: int, width: int, edge: int) -> Tuple[int, int]:
    """How many panels ``width`` wide, and how many ``edge`` wide behind them, hold ``length`` words
    at the least cost."""
    if not edge:
        return -(-length // width), 0

    def cost(edges: int) -> float:
        wide = -(-max(0, length - edges * edge) // width)
        return wide * (width + PANEL) + edges * (edge + PANEL)

    edges = min(range(width // math.gcd(width, edge)), key=cost)
    return -(-max(0, length - edges * edge) // width), edges


@dataclasses.dataclass(frozen=True)
class Packed:
    """How an operand of ``k`` x ``length`` is laid out.

    It is cut into panels of ``steps`` steps of ``width`` words each, padded with zeros; the last
    ones are ``edge`` words wide, as many as suit (:func:`cover`).  The padding of k comes last, or,
    with ``fold``, just before the rows of k that follow step ``fold`` (:meth:`rows`).
    """

    length: int
    steps: int
    width: int
    edge: int = 0
    fold: int = 0

    def rows(self, k: int) -> np.ndarray:
        """For each step, the row of k that it holds; k itself for those of zeros."""
        rows = np.arange(self.steps)
        if self.fold:
            missing = self.steps - k
            rows[self.fold :] -= missing
            rows[self.fold : self.fold + missing] = k
        return np.minimum(rows, k)

    @functools.cached_property
    def wide(self) -> int:
        """Panels of full width; those behind them are ``edge`` wide."""
        return cover(self.length, self.width, self.edge)[0]

    @functools.cached_property
    def panels(self) -> int:
        return sum(cover(self.length, self.width, self.edge))

    def width_of(self, panel: int) -> int:
        """Words of a step of a panel."""
        return self.width if panel < self.wide else self.edge

    def first(self, panel: int) -> int:
        """Place in the operand of the first word of a panel's step."""
        return panel * self.width - max(0, panel - self.wide) * (self.width - self.edge)

    def offset(self, panel: int) -> int:
        """Bytes in front of a panel."""
        return 4 * self.steps * self.first(panel)

    @property
    def words(self) -> int:
        """Size of the buffer: the panels, and behind them what the chip fetches ahead of a stream
        of uniforms and some lines more."""
        return self.steps * self.first(self.panels) + self.width + 2 * LANES


def packed_words(options: GemmOptions, m: int, n: int, k: int) -> Tuple[Packed, Packed]:
    """The layouts of P (m x k) and Q (k x n); k is padded with zeros to whole iterations."""
    steps = -(-k // options.unroll) * options.unroll
    return (
        Packed(m, steps, options.rows),
        Packed(n, steps, options.columns, LANES * options.edge),
    )


def pack(layout: Packed, operand: np.ndarray, out: np.ndarray) -> None:
    """Write ``operand`` (k x length float32, any strides) into ``out`` (``layout.words`` float32).

    Padding is zeros, so that it adds nothing to the product.
    """
    k, length = operand.shape
    steps, rows = layout.steps, layout.rows(k)
    used = rows < k
    for panel in range(layout.panels):
        first, own = layout.first(panel), layout.width_of(panel)
        inside = min(own, length - first)
        at = first * steps
        lines = out[at : at + own * steps].reshape(steps, own)
        lines[used, :inside] = operand[rows[used], first : first + inside]
        lines[used, inside:] = 0
        lines[~used] = 0
    out[at + own * steps :] = 0


def unpack(layout: Packed, packed: np.ndarray) -> np.ndarray:
    """The operand (k x length, k = ``layout.steps``) that lies ``packed`` in a buffer."""
    steps = layout.steps
    operand = np.empty((steps, layout.length), dtype=np.float32)
    for panel in range(layout.panels):
        first, own = layout.first(panel), layout.width_of(panel)
        at = first * steps
        lines = packed[at : at + own * steps].reshape(steps, own)
        inside = min(own, layout.length - first)
        operand[:, first : first + inside] = lines[:, :inside]
    return operand


# --- tiles and streams -------------------------------------------------------------------------


class Run(NamedTuple):
    """Some steps of a tile: the addresses of their words in packed P and of their lines in Q, how
    many steps, and the bytes from one step's lines to the next's."""

    p_addr: int
    q_addr: int
    steps: int
    pitch: int


@dataclasses.dataclass(frozen=True)
class Tile:
    """A tile of D: ``runs`` that are added up, the address of its corner in D, and how many of its
    rows and columns lie inside D.

    ``alpha``, ``beta`` and ``ldd`` stand for the launch's where they are not None.
    """

    runs: Tuple[Run, ...]
    d_addr: int
    rows: int
    columns: int
    alpha: Optional[float] = None
    beta: Optional[float] = None
    ldd: Optional[int] = None


Place = Tuple[int, int, int, int]
"""A panel of P, one of Q, and the steps of k from the third number to before the fourth."""


def turned(
    p: Packed, p_addr: int, q: Packed, q_addr: int, place: Place, first: int
) -> Tuple[Run, ...]:
    """The runs of a tile of operands packed at these addresses: all of its steps, in a circle,
    beginning ``first`` steps behind the lowest."""
    i, j, low, high = place
    first = low + first % (high - low)
    p_addr += p.offset(i)
    q_addr += q.offset(j)

    def run(begin: int, end: int) -> Run:
        pitch = 4 * q.width_of(j)
        return Run(p_addr + 4 * p.width_of(i) * begin, q_addr + pitch * begin, end - begin, pitch)

    return (run(first, high), run(low, first)) if first > low else (run(low, high),)


QPUS = 12

LAGS = {False: 8, True: 16}
"""Steps of k between QPUs, without and with beta.  QPUs further apart than a store, which holds the
mutex, do not wait for each other.  It takes about 5 steps, 10 at the pessimistic rates of the
timing model, and with beta 12 and 18."""

MEET = 4
"""Tiles of a QPU between meetings."""


FEW = 3
"""Tiles of a QPU up to which half the lag costs less: fewer stores to wait for, an earlier end."""


def lag_of(options: GemmOptions, p: Packed, q: Packed) -> int:
    """Steps of k that a QPU is behind the one before it, a multiple of the unrolled ones."""
    lag = LAGS[options.beta]
    if p.panels * q.panels <= FEW * QPUS:
        lag //= 2
    return min(lag, p.steps // QPUS) // options.unroll * options.unroll


def panels(p: Packed, q: Packed, low: int, high: int) -> Iterator[Place]:
    """All tiles of D with these steps, along a panel of Q first, so that neighbours share their
    panel of Q."""
    for j in range(q.panels):
        for i in range(p.panels):
            yield i, j, low, high


def rounds(q: Packed, places: Iterable[Place]) -> List[Place]:
    """The same places, in rounds of a tile for each QPU and of one width, as far as that goes.

    QPUs with narrower tiles than the others' get ahead, and then fetch lines of Q for themselves
    that all could share.  So the round of both widths comes late.  If it is the last one, the QPUs
    that begin first have the wide tiles; else those that have one tile more have narrow ones.
    """
    wide: List[Place] = []
    narrow: List[Place] = []
    for place in places:
        (wide if place[1] < q.wide else narrow).append(place)
    last, whole = (len(part) // QPUS * QPUS for part in (wide, narrow))
    early, late = wide[last:], narrow[whole:]
    spare = QPUS - len(early) if early and len(early) + len(late) > QPUS else 0
    return wide[:last] + narrow[:whole] + late[:spare] + early + late[spare:]


def grid(
    options: GemmOptions,
    p: Packed,
    q: Packed,
    p_addr: int,
    q_addr: int,
    d_addr: int,
    ldd: int,
    lag: int,
    places: Optional[Iterable[Place]] = None,
    parts: int = 1,
) -> Iterator[Tile]:
    """The tiles of D (``ldd`` words from row to row) at ``places``, by default all of them, in
    :func:`rounds`.

    With ``parts``, k is cut: there are so many matrices D behind each other, whose sum is the
    product.

    Tiles that are computed at the same time, a lag apart, begin that much further on in k, so that
    they need the same lines of Q at the same time.  Where a tile begins depends on ``places`` only,
    and so does the result, to the last bit.
    """
    unit = options.unroll
    bounds = [part * (p.steps // unit) // parts * unit for part in range(parts + 1)]
    for part, (low, high) in enumerate(zip(bounds, bounds[1:])):
        base = d_addr + 4 * part * p.length * ldd
        own = rounds(q, panels(p, q, low, high)) if places is None else places
        yield from tiles(
            options, p, q, p_addr, q_addr, lag, own,
            lambda i, j: (base + 4 * (p.first(i) * ldd + q.first(j)), ldd),
        )  # fmt: skip


def tiles(
    options: GemmOptions,
    p: Packed,
    q: Packed,
    p_addr: int,
    q_addr: int,
    lag: int,
    places: Iterable[Place],
    corner: Callable[[int, int], Tuple[int, int]],
) -> Iterator[Tile]:
    """As :func:`grid`, for any layout of D: ``corner`` of a panel of P and one of Q is the address
    of the tile's first word and the distance of its rows in words."""
    for index, place in enumerate(places):
        i, j = place[:2]
        # All but very short tiles come in two runs, or those in one would get ahead.
        first = lag * (index % QPUS) + options.unroll if lag else 0
        address, ldd = corner(i, j)
        yield Tile(
            turned(p, p_addr, q, q_addr, place, first),
            address,
            min(p.width_of(i), p.length - p.first(i)),
            min(q.width_of(j), q.length - q.first(j)),
            ldd=ldd,
        )


LIMIT = 2.0**126
"""QPUs report sums of products from this on, or less if alpha is large."""


class Streams:
    """The uniform streams of a launch, one a QPU that has work.

    QPU i of n computes tiles i, i + n, ...; ``ldd`` is the distance of rows of D in words, ``lag``
    that of QPUs in steps of k, ``meet`` the tiles between meetings, 0 for none.  The streams hold
    addresses of their own words, so they are written for the place where they will lie
    (:meth:`at`).
    """

    def __init__(
        self,
        options: GemmOptions,
        tiles: Sequence[Tile],
        alpha: float,
        beta: float,
        ldd: int,
        n_qpus: int,
        lag: int,
        meet: int = MEET,
    ) -> None:
        self._options, self._ldd = options, ldd
        self._alpha, self._beta = alpha, beta
        self._words: List[int] = []
        self._own: List[int] = []
        self._starts: List[int] = []
        n_qpus = min(n_qpus, len(tiles))
        reports: List[int] = []
        self._limit = float(np.float32(LIMIT / max(1.0, abs(alpha))))
        limit = parts.float_word(self._limit)
        delay = int(lag * options.step(options.vectors).slots / STAGGER_WORDS)
        for index in range(n_qpus):
            self._starts.append(len(self._words))
            self._words.append(1 + index * delay)
            meetings = 0
            for turn, tile in enumerate(tiles[index::n_qpus]):
                others = tiles[turn * n_qpus : (turn + 1) * n_qpus]
                due = meet > 0 and lag > 0 and turn > 0 and turn % meet == 0
                meets = due and _in_step(options, others)
                words = parts.meet_words(index, n_qpus, meetings) if meets else []
                meetings += meets
                self._tile(tile, words)
            reports.append(len(self._words) + 2)
            self._words += [KINDS["end"], limit, 0, *parts.finish_words(index, n_qpus)]
        self._words += [0] * LANES  # the line after the last word is fetched too
        self._words += [0] * (-len(self._words) % LANES)
        self._watch = range(len(self._words), len(self._words) + LANES * n_qpus)
        for at, line in zip(reports, self._watch[::LANES]):
            self._words[at] = 4 * line
        self._own += reports
        self._words += [0] * len(self._watch)

    @property
    def nbytes(self) -> int:
        """Size of all streams."""
        return 4 * len(self._words)

    def at(self, address: int) -> Tuple[np.ndarray, List[int]]:
        """The words as they lie at bus address ``address``, and the address of each stream."""
        words = np.array(self._words, dtype=np.int64)
        words[self._own] += address
        return words.astype(np.uint32), [address + 4 * start for start in self._starts]

    def largest(self, words: np.ndarray) -> float:
        """A bound of the magnitude of sums of products, before alpha and beta, from the ``words``
        (uint32) of all streams as they are after the launch.  It is exact if it is not below
        ``LIMIT / max(1, |alpha|)``, and Inf where the sum of what holds Inf or NaN is."""
        seen = words[self._watch.start : self._watch.stop].max(initial=0)
        return max(float(seen.view(np.float32)), self._limit)

    def _tile(self, tile: Tile, meet: List[int]) -> None:
        """The words of a tile; its second run begins with a meeting if ``meet`` has its words."""
        options, words = self._options, self._words
        kind = KINDS[_kind(options, tile)]
        for number, run in enumerate(tile.runs):
            if number == 1 and meet:
                words += [KINDS["meet"], *meet]
            counted = LINE * (run.steps // options.unroll)
            self._own.append(len(words) + 2)  # where the stream goes on
            words += [kind, counted, 4 * (len(words) + 6)]
            words += [run.q_addr, run.pitch & 0xFFFFFFFF, run.p_addr]
        alpha = self._alpha if tile.alpha is None else tile.alpha
        beta = self._beta if tile.beta is None else tile.beta
        pitch = 4 * (self._ldd if tile.ldd is None else tile.ldd)
        words += [KINDS["store"], parts.float_word(alpha)]
        if options.beta:
            words.append(parts.float_word(beta))
        columns = [min(LANES, tile.columns - at) for at in range(0, tile.columns, LANES)]
        block = (tile.rows, columns, options.rows, tile.d_addr, pitch)
        words.append(pitch)
        if options.beta:
            words += parts.block_words(False, *block)
        words += parts.store_words(*block)


def _kind(options: GemmOptions, tile: Tile) -> str:
    """Which of the two loops computes a tile."""
    return "edge" if tile.columns <= LANES * options.edge else "run"


def _in_step(options: GemmOptions, tiles: Sequence[Tile]) -> bool:
    """Whether all QPUs compute one of these at the same time, a lag apart, in as many steps of the
    same width, and so begin their second run together."""
    alike = {(_kind(options, tile), sum(run.steps for run in tile.runs)) for tile in tiles}
    two = all(len(tile.runs) >= 2 for tile in tiles)
    return len(tiles) == QPUS and two and len(alike) == 1


STAGGER_WORDS = 5
"""Instruction words of the loop that spends a QPU's delay."""


# --- error -------------------------------------------------------------------------------------

UNIT_ROUNDOFF = 2.0**-23
"""Relative error of one truncating operation of the QPU."""

SMALLEST_NORMAL = 2.0**-126
"""Smaller operands count as 0, smaller results become 0."""


def error_bound(
    alpha: float, a: np.ndarray, b: np.ndarray, beta: float, c: np.ndarray
) -> np.ndarray:
    """Bound of |computed - exact| for each element of alpha * a @ b + beta * c on the QPU.

    Every term passes through at most k + 3 truncations (its product, k sums, the products with
    alpha or beta and the last sum), each with a relative error below u = 2**-23, hence
    gamma(k + 3) * (|alpha| |a| |b| + |beta| |c|) with gamma(i) = i u / (1 - i u).  Denormal
    operands count as 0 and denormal results become 0; that adds at most 2**-126 per operation,
    times the factors applied later, times the other factor of a product whose operand was flushed.
    """
    k = a.shape[1]
    relative = (k + 3) * UNIT_ROUNDOFF / (1 - (k + 3) * UNIT_ROUNDOFF)
    bound = relative * reference.sgemm_magnitude(alpha, a, b, beta, c)
    big_a = np.abs(a, dtype=np.float64).sum(axis=1)[:, None] if alpha else 0.0
    big_b = np.abs(b, dtype=np.float64).sum(axis=0)[None, :] if alpha else 0.0
    # Flushed operands: each denormal of a costs |b|, each of b costs |a|; flushed products, sums:
    # two an element of k; flushed alpha or beta and the products with them.
    flushes = abs(alpha) * (big_a + big_b + 2 * k) + (abs(beta) + 3.0)
    if abs(alpha) < SMALLEST_NORMAL:
        flushes = flushes + big_a * np.max(np.abs(b), initial=0.0)
    if beta and abs(beta) < SMALLEST_NORMAL:
        flushes = flushes + np.abs(c)
    return bound + SMALLEST_NORMAL * flushes
