"""What the packing program (:mod:`.gemm_pack`) does: operands, their segments, and the tables and
streams that drive it."""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ..isa import setup_words as sw
from . import parts, uniforms
from .gemm import LANES, LINE
from .gemm_layout import Packed

__all__ = ["Operand", "QPUS", "Segments", "segments", "streams", "watched_words"]

QPUS = 4
"""Each has 16 of the 64 rows of the VPM, because vertical vectors begin at multiples of 16."""
WIDEST = (1 << 14) + LANES
"""More than the words of a step of any panel: the store engine's stride has 16 bits."""
ENOUGH = 256
"""Steps of k with which all QPUs have blocks of each panel to pack."""
LONGEST = 16
"""Blocks of a segment, so that the work can be dealt evenly."""


@dataclasses.dataclass(frozen=True)
class Operand:
    """An operand of ``k`` x ``layout.length`` words, and where it is packed to.

    Element (s, i) lies ``address + s * step + i * along`` bytes, any sign, after the address called
    ``source``; the packed buffer, which does not overlap the operand, lies ``out`` bytes after the
    address called ``packed``.  Only with ``look`` do its elements count for the largest magnitude.

    If ``most`` is the name of an address, the largest magnitudes that the panels hold at each place
    are written there (:attr:`most_words`, :meth:`most_of_rows`); all panels have one width then.
    """

    layout: Packed
    k: int
    address: int
    step: int
    along: int
    out: int
    source: str = "source"
    packed: str = "packed"
    look: bool = True
    most: str = ""

    def __post_init__(self) -> None:
        if self.k < 1 or self.layout.length < 1 or self.k > self.layout.steps:
            raise ValueError(f"gemm_pack: {self.k} x {self.layout.length} does not fit its layout")
        if (self.address | self.step | self.along | self.out) & 3:
            raise ValueError("gemm_pack: addresses and strides are multiples of 4 bytes")
        if not self.vertical and self.layout.width > LANES * LANES:
            raise ValueError(f"gemm_pack: panels of {self.layout.width} words need step = 4")

    @property
    def vertical(self) -> bool:
        """Whether the VPM transposes."""
        return self.step == 4 and self.along != 4

    @functools.cached_property
    def groups(self) -> List[int]:
        """The first panel of each group of panels that are read alike, and the number of panels:
        whole ones, and the last if it is not.  The whole ones are several groups if k is too short
        for all QPUs to have work otherwise."""
        panels, layout = self.layout.panels, self.layout
        whole = panels - (layout.first(panels - 1) + layout.width > layout.length)
        count = min(whole, -(-ENOUGH // layout.steps))
        cuts = [part * whole // count for part in range(count)]
        return cuts + ([whole, panels] if whole < panels else [whole])

    @functools.cached_property
    def most_words(self) -> int:
        """Words that are written to ``most``: a panel for each of the groups."""
        return (len(self.groups) - 1) * self.layout.steps * self.layout.width

    def most_of_rows(self, words: np.ndarray) -> np.ndarray:
        """For each row of k the largest magnitude in it, from what was written to ``most``
        (float32); NaN where it holds one."""
        layout = self.layout
        panels = words[: self.most_words].reshape(-1, layout.steps, layout.width)
        return np.maximum.reduce(panels, axis=(0, 2))[self._steps_of_k]

    @functools.cached_property
    def _steps_of_k(self) -> np.ndarray:
        """The steps that hold a row of k, and not padding."""
        return self.layout.rows(self.k) < self.k


_Segments = collections.namedtuple(
    "_Segments",
    "base advance out out_advance count gap rows depth lines roll own column inside_k "
    "inside start late most vertical step along operand",
)


class Segments(_Segments):
    """Segments of an operand: integer arrays of one element per segment.

    A segment is ``count`` blocks, whose bases are ``advance`` bytes apart and which are stored to
    places ``out_advance`` bytes apart, as ``rows`` rows of ``depth`` words with ``gap`` bytes in
    between.  The largest magnitudes at its places go to ``most``, if its operand asks for them.

    The rest says what the table of offsets and masks holds.  If ``lines``, word x of row y of a
    block is word 16 (y + roll) + x of its packed words, ``own`` of them in a step, in a circle;
    else it belongs to step y and to column ``column + x`` of the panel.  Up to ``inside_k`` steps
    and ``inside`` columns of the panel belong to the operand.  Blocks of which a step holds another
    row of k than that of its number are ``late``: the last ones of a panel, counted from 1.
    """

    __slots__ = ()


def _stack(shape: Tuple[int, ...], fields: Sequence[Any]) -> np.ndarray:
    """Numbers, and arrays that broadcast to a shape, as rows of one array (fields x segments)."""
    rows = np.empty((len(fields), *shape), dtype=np.int64)
    for row, field in enumerate(fields):
        rows[row] = field
    return rows.reshape(len(fields), -1)


def _panels(operand: Operand, number: int, panel: np.ndarray, panels: np.ndarray) -> np.ndarray:
    """The segments of groups of ``panels`` panels, all of one width, that begin with ``panel``, as
    rows in the order of :class:`Segments`.

    A segment of a group of several panels has the same steps of each, a block of each; one of a
    single panel has several blocks.
    """
    layout, k = operand.layout, operand.k
    own = layout.width_of(panel[0])
    lines = not operand.vertical or LANES % own == 0 and own < LANES
    if lines:
        line_steps = LANES // math.gcd(own, LANES)
        block = LANES * LANES // (line_steps * own) * line_steps
    else:
        block = LANES
    regular = min(layout.fold or layout.steps, k)  # steps that hold the row of their number
    if operand.most:
        start = np.arange(0, layout.steps, block)
        count, advance, out_advance = 1, layout.width * operand.along, 4 * own * layout.steps
    else:
        # Up to LONGEST whole blocks in a segment, then what is left of k and the padding, block by
        # block.
        whole = regular // block
        first, tails = np.arange(0, whole, LONGEST), np.arange(whole * block, layout.steps, block)
        start = np.concatenate((block * first, tails))
        count = np.concatenate((np.minimum(LONGEST, whole - first), np.ones_like(tails)))
        advance, out_advance = block * operand.step, 4 * block * own
    taken = np.minimum(block, layout.steps - start)
    if lines:
        # Whole lines, and of a last block perhaps what is less than one.
        full, rest = np.divmod(taken * own, LANES)
        used = np.array((full, rest)).T.reshape(-1) > 0
        columns = np.array((start, count + 0 * start, full, rest)).repeat(2, axis=1)
        start, count, full, rest = columns[:, used]
        second = (np.arange(used.size) % 2 == 1)[used]
        rows, depth = np.where(second, 1, full), np.where(second, rest, LANES)
        roll, column, gap = np.where(second, full, 0), 0, 0
        inner = 4 * own * start + LINE * roll
    else:
        # Sixteen columns after the other.
        column = np.arange(0, own, LANES)[:, None]
        rows, depth, roll = taken, np.minimum(LANES, own - column), 0
        gap = 4 * (own - depth)
        inner = 4 * own * start + 4 * column
    # The row of k of the first step that holds one; none where that is k.
    begin, late = np.minimum(start, k), 0
    if layout.fold:
        missing = layout.steps - k
        begin = np.where(start <= layout.fold, begin, np.maximum(start - missing, layout.fold))
        ends_late = start + block > layout.fold
        late = np.where(ends_late, (layout.steps - 1 - start) // block + 1, 0)
    shape = (-1, *(1,) * np.ndim(inner))
    panel, panels = panel.reshape(shape), panels.reshape(shape)
    group = np.arange(panel.size).reshape(shape)
    at = layout.first(panel)
    base = np.where(begin < k, begin * operand.step + at * operand.along, 0)
    return _stack(
        np.broadcast(panel, inner).shape,
        Segments(
            base=operand.address + base,
            advance=advance,
            out=operand.out + 4 * layout.steps * at + inner,
            out_advance=out_advance,
            count=count * panels,
            gap=gap,
            rows=rows,
            depth=depth,
            lines=lines,
            roll=roll,
            own=own,
            column=column,
            inside_k=np.minimum(np.maximum(k - start, 0), block),
            inside=np.minimum(layout.length - at, own),
            start=start,
            late=late,
            most=4 * own * layout.steps * group + inner if operand.most else 0,
            vertical=operand.vertical,
            step=operand.step,
            along=operand.along,
            operand=number,
        ),
    )


def _spare(operand: Operand, number: int) -> np.ndarray:
    """The segments that fill what is fetched past the end with zeros."""
    layout = operand.layout
    found = []
    end = layout.offset(layout.panels)
    words = layout.words - end // 4
    for rows, depth in ((LANES, LANES), (1, LANES), (1, words % LANES)):
        size = rows * depth
        count = words // size if size else 0
        if count:
            found.append((end, 4 * size, count, rows, depth))
            end, words = end + 4 * count * size, words - count * size
    out, advance, count, rows, depth = np.array(found).T
    return _stack(
        out.shape,
        Segments(
            base=operand.address, advance=0, out=operand.out + out, out_advance=advance,
            count=count, gap=0, rows=rows, depth=depth, lines=False, roll=0, own=1, column=0,
            inside_k=0, inside=0, start=0, late=0, most=0, vertical=False, step=0, along=0,
            operand=number,
        ),
    )  # fmt: skip


def segments(operands: Sequence[Operand]) -> Segments:
    """The segments of all operands, in the order in which they are dealt out."""
    found = []
    for number, operand in enumerate(operands):
        if operand.most:
            cuts = np.array(operand.groups)
            found.append(_panels(operand, number, cuts[:-1], np.diff(cuts)))
        else:
            wide, panels = operand.layout.wide, operand.layout.panels
            for low, high in ((0, wide), (wide, panels)):
                if low < high:
                    each = np.arange(low, high)
                    found.append(_panels(operand, number, each, np.ones_like(each)))
        found.append(_spare(operand, number))
    return Segments(*np.concatenate(found, axis=1))


def _tables(of: Segments, operands: Sequence[Operand]) -> Tuple[np.ndarray, np.ndarray]:
    """Tables (tables x 512 words: 16 vectors of offsets, 16 of masks), each different from the
    others, and which of them each segment has."""
    # What a table depends on, as one number of less than 64 bits; an operand's widths differ in
    # ``own``, and the store engine's stride, which is checked, does not allow more than WIDEST.
    key = (of.operand * WIDEST + of.own) * WIDEST + of.inside
    key = (key * WIDEST + of.column) // LANES * (LANES * LANES + 1) + of.inside_k
    key = ((key * (LANES + 1) + of.rows) * (LANES + 1) + of.depth) * (LANES + 1) + of.roll
    key = key * LATE + of.late
    _, first, which = np.unique(key, return_index=True, return_inverse=True)
    of = Segments(*np.array(of)[:, first, None, None])
    y, x = np.indices((LANES, LANES))
    word = (y + of.roll) % LANES * LANES + x
    steps = np.where(of.lines, word // of.own, y)
    places = np.where(of.lines, word % of.own, x + of.column)
    rows, inside_k = steps, of.inside_k
    if any(operand.layout.fold for operand in operands):
        sizes = [(each.layout.fold, each.layout.steps - each.k, each.k) for each in operands]
        fold, missing, k = np.array(sizes).T[:, of.operand]
        at = of.start + steps
        held = np.where(at < fold, at, np.where(at < fold + missing, k, at - missing))
        begin = np.where(of.start <= fold, of.start, np.maximum(of.start - missing, fold))
        rows = np.where(of.late, held - begin, steps)
        inside_k = np.where(of.late, k - begin, inside_k)
    inside = (y < of.rows) & (x < of.depth) & (rows < inside_k) & (places < of.inside)
    offsets = np.where(inside, rows * of.step + places * of.along, 0)
    table = np.array((offsets, -inside.astype(np.int64))).transpose(1, 0, 2, 3)
    table = np.where(of.vertical[:, None], table.transpose(0, 1, 3, 2), table)
    words = (table & 0xFFFFFFFF).astype(np.uint32).reshape(first.size, -1)
    # Tables that were made for different reasons may be equal.
    as_bytes = words.view(np.dtype((np.void, words.itemsize * words.shape[1]))).reshape(-1)
    _, different, same = np.unique(as_bytes, return_index=True, return_inverse=True)
    return words[different], same.reshape(-1)[which.reshape(-1)]


def _deal(count: np.ndarray, n_qpus: int) -> np.ndarray:
    """The QPU of each segment: the one with least work so far, of equals the first.

    Each choice depends on all before it, so there is a loop; a few comparisons for a segment of
    some thousand words take less than any array operation would.
    """
    loads = [0] * n_qpus
    # A table and the largest cost about three blocks.
    others, costs = range(1, n_qpus), (count + 3).tolist()
    for at, cost in enumerate(costs):
        least = 0
        for qpu in others:
            if loads[qpu] < loads[least]:
                least = qpu
        loads[least] += cost
        costs[at] = least
    return np.array(costs)


LATE = 8
"""More than the late blocks of a panel."""

END = ("end fill", "end setup", "report", "finish", "finish 2")

RECORD = ("segments", "table", "fill", "gap", "setup", "base", "advance", "out", "out_advance",
          "look", "most", "count", *END)  # fmt: skip
"""The words of a segment in a QPU's stream.  How many segments there are comes before the first
one only, how the program ends after the last one."""


@functools.lru_cache(maxsize=None)
def _end_setup() -> np.ndarray:
    """Setup words of each QPU that store the largest magnitude: of the VPM, of the store engine."""
    rows = range(0, LANES * QPUS, LANES)
    return np.array([[sw.vpm_write(y) for y in rows], [sw.vdw_store(1, LANES, y) for y in rows]])


def watched_words(n_qpus: int) -> int:
    """Words that a launch on ``n_qpus`` writes to its address ``watch``: 16 per QPU that works,
    whose largest is the largest magnitude in the operands that were to be looked at (as float32;
    NaN counts as larger than Inf).  Where fewer QPUs have work the last words are left alone."""
    return LANES * max(1, min(n_qpus, QPUS))


def streams(
    operands: Sequence[Operand], n_qpus: int, watch: str = "watch"
) -> uniforms.Streams:
    """The tables and uniform streams of a launch that packs these operands.

    They lie on a line of 64 bytes, and name the addresses that :class:`Operand` names, and
    ``watch``, where :func:`watched_words` are written.
    """
    of = segments(operands)
    size = of.base.size
    n_qpus = max(1, min(n_qpus, QPUS, size))
    owner = _deal(of.count, n_qpus)
    tables, which = _tables(of, operands)
    # In the order in which the QPUs' streams, one after the other, first name them.
    named = np.empty(len(tables), dtype=np.int64)
    dealt, number = owner.argsort(kind="stable"), np.arange(size)
    named[which[dealt[::-1]]] = number[::-1]  # of several times, the last of these counts
    order = named.argsort()
    place = np.empty_like(order)
    place[order] = number[: order.size]

    words = np.zeros((size, len(RECORD)), dtype=np.int64)
    kept = np.ones(words.shape, dtype=bool)
    column = {name: at for at, name in enumerate(RECORD)}
    y = LANES * owner  # rows of the VPM; an address of 32 bits is the same across
    words[:, column["segments"]] = np.bincount(owner)[owner]
    words[:, column["table"]] = tables.itemsize * tables.shape[1] * place[which]
    words[:, column["fill"]] = sw.pack_arrays(
        "vpm_write", stride=1, horiz=1 - of.vertical, size=2, addr=y
    )
    words[:, column["gap"]] = sw.pack_arrays("vdw_stride", stride=of.gap)
    words[:, column["setup"]] = sw.pack_arrays(
        "vdw", units=of.rows, depth=of.depth, horiz=1, y=y
    )
    for name in ("base", "advance", "out", "out_advance", "most", "count"):
        words[:, column[name]] = getattr(of, name)
    looked = np.array([-1 if operand.look else 0 for operand in operands])[of.operand]
    words[:, column["look"]] = np.where(of.inside, looked, 0)
    words[:, column["end fill"]], words[:, column["end setup"]] = _end_setup()[:, owner]
    words[:, column["report"]] = LINE * owner
    words[:, column["finish"]], words[:, column["finish 2"]] = parts.finish_words(owner, n_qpus)
    # The first segments go to one QPU each.
    kept[n_qpus:, column["segments"]] = False
    last = np.zeros(n_qpus, dtype=np.int64)
    last[owner] = number
    end = slice(column[END[0]], None)
    kept[:, end] = False
    kept[last, end] = True

    addresses: Dict[str, np.ndarray] = {
        uniforms.OWN: np.array([n == "table" for n in RECORD]),
        watch: np.array([n == "report" for n in RECORD]),
    }
    for number, operand in enumerate(operands):
        fields = [(operand.source, "base"), (operand.packed, "out")]
        if operand.most:
            fields.append((operand.most, "most"))
        for name, field in fields:
            marked = addresses.setdefault(name, np.zeros(words.shape, dtype=bool))
            own = of.operand == number
            marked[:, column[field]] |= own & (of.inside > 0) if field == "most" else own
    return uniforms.flatten(words, kept, owner, addresses, {}, front=tables[order].reshape(-1))
