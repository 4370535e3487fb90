"""Packs the operands of the gemm kernel, which lie in memory with any strides, on up to 4 QPUs.

A *block* is what 16 rows of the VPM hold.  Each of its 16 vectors is one TMU request, of addresses
that differ from the block's base by a fixed vector of offsets; a mask clears what is padding, and
the address of such an element is the base, which is always one of the operand's::

    operand --TMU0/1 (base + offset[j]), 8 requests ahead--> and mask[j] --> VPM --VDW--> packed

Where the operand is contiguous along its length, vectors are written horizontally, 16 packed
words each.  Where it is contiguous in k, a request is (almost) one line of 16 steps of one column,
written vertically, so that the VPM transposes.  Widths that divide 16 put several steps into a row
of the VPM, so that the store engine, the narrow place, moves whole lines; it needs 14 clocks for 16
words.

The largest magnitude at each place of the blocks of a segment is kept.  At its end these go into
the largest of the QPU, which it stores at the end of the launch (:meth:`Streams.largest`), and, if
asked for, to memory (:attr:`Operand.most`).

Offsets, masks, setup words and strides come from the uniforms and from tables beside them
(:class:`Streams`), so that one program packs every operand.  Blocks that are alike and follow each
other are one *segment*.  The rows of the VPM are private; the mutex is held for a transfer.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Dict, Iterator, List, Sequence, Tuple

import numpy as np

from ..codegen import Assembler, macros
from ..codegen.operand import Reg
from ..isa import setup_words as sw
from . import parts
from .gemm import LANES, LINE
from .gemm_data import Packed
from .spec import KernelSpec, register

__all__ = ["Operand", "PackOptions", "QPUS", "SPEC", "Streams"]

AHEAD = 8
"""Requests on their way: 4 in each TMU (measured; the guide says 8)."""
QPUS = 4
"""Each has 16 of the 64 rows of the VPM, because vertical vectors begin at multiples of 16."""
ENOUGH = 256
"""Steps of k with which all QPUs have blocks of each panel to pack."""
LONGEST = 16
"""Blocks of a segment, so that the work can be dealt evenly."""


@dataclasses.dataclass(frozen=True)
class PackOptions:
    """There is one program."""


# --- program -------------------------------------------------------------------------------------


def _table(asm: Assembler, lane: object) -> Tuple[list, list]:
    """The offsets and masks of a segment, from memory."""
    values = [asm.reg(f"table{i}") for i in range(2 * LANES)]
    at, line = asm.reg("table_at"), asm.reg("line")
    asm.ldi(line, LINE)
    asm.add(at, asm.unif, lane)
    ports = asm.t0s, asm.t1s
    for i in range(2 * LANES + AHEAD):
        if i >= AHEAD:
            asm.ldtmu(i % 2, values[i - AHEAD])
        if i < 2 * LANES:
            asm.mov(ports[i % 2], at)
            asm.add(at, at, line)
    return values[:LANES], values[LANES:]


def generate(asm: Assembler, options: PackOptions) -> None:
    """Write the kernel; :class:`Streams` makes what it reads."""
    asm.mov(asm.tmu_noswap, 1)
    lane, segments = asm.reg("lane"), asm.reg("segments")
    asm.shl(lane, asm.elem_num, 2)
    asm.mov(segments, asm.unif)
    watch = asm.reg("watch")
    asm.mov(watch, 0)
    ports = asm.t0s, asm.t1s
    asm.label("segment")
    offsets, masks = _table(asm, lane)
    names = (
        "fill", "gap", "setup", "base", "advance", "out", "out_advance", "look", "most", "left",
    )  # fmt: skip
    registers = [asm.reg(name) for name in names]
    fill, gap, setup, base, advance, out, out_advance, look, most, left = registers
    for register_ in registers:
        asm.mov(register_, asm.unif)
    largest = [asm.reg(f"largest{j}") for j in range(LANES)]
    for register_ in largest:
        asm.mov(register_, 0)
    for j in range(AHEAD):
        asm.add(ports[j % 2], base, offsets[j])
    asm.label("block")
    following = asm.reg("following")
    asm.mov(following, base)
    asm.sub(left, left, 1, sf=True)
    # Behind the last block, what is asked for ahead is that block once more.
    asm.add(following, base, advance, cond="zc")
    asm.mov(asm.vpm_wr_setup, fill)
    for j in range(LANES):
        value = asm.reg("value")
        asm.ldtmu(j % 2, value)
        masked = asm.reg("masked")
        asm.and_(masked, value, masks[j])
        asm.mov(asm.vpm, masked)
        asm.fmaxabs(largest[j], largest[j], masked)
        asked = j + AHEAD
        asm.add(ports[j % 2], base if asked < LANES else following, offsets[asked % LANES])
    asm.mov(base, following)
    _store(asm, gap, setup, out)
    asm.add(out, out, out_advance)
    asm.mov(asm.null, left, sf=True)
    asm.branch("block", cond="any_zc")
    for j in range(AHEAD):
        asm.ldtmu(j % 2)
    for register_ in largest:
        looked = asm.reg("looked")
        asm.and_(looked, register_, look)
        asm.fmaxabs(watch, watch, looked)
    asm.mov(asm.null, most, sf=True)
    asm.branch("no_most", cond="all_zs")
    asm.mov(asm.vpm_wr_setup, fill)
    for register_ in largest:
        asm.mov(asm.vpm, register_)
    _store(asm, gap, setup, most)
    asm.label("no_most")
    asm.sub(segments, segments, 1, sf=True)
    asm.branch("segment", cond="any_zc")
    asm.mov(asm.vpm_wr_setup, asm.unif)
    asm.mov(asm.vpm, watch)
    setup, out = asm.reg("report_setup"), asm.reg("report")
    asm.ldi(gap, sw.vdw_stride(0))
    asm.mov(setup, asm.unif)
    asm.mov(out, asm.unif)
    _store(asm, gap, setup, out)
    parts.finish(asm)


def _store(asm: Assembler, gap: Reg, setup: Reg, address: Reg) -> None:
    """Store rows of the VPM, and wait."""
    asm.mov(asm.vpm_wr_setup, gap)
    asm.mov(asm.vpm_wr_setup, setup)
    with asm.fixed():
        with macros.holding_mutex(asm):
            asm.mov(asm.vdw_addr, address)
            asm.read(asm.vdw_wait)


SPEC = register(
    KernelSpec(
        name="gemm_pack",
        routines=("sgemm",),
        generate=generate,
        defaults=PackOptions(),
        summary="packs operands of any strides for the gemm kernel; TMU reads, VPM, DMA stores",
    )
)


# --- data ----------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Operand:
    """An operand of ``k`` x ``layout.length`` words, and where it is packed to.

    Element (s, i) lies at bus address ``address + s * step + i * along``, in bytes, any sign;
    ``out`` is the bus address of the packed buffer, which does not overlap the operand.  Only with
    ``look`` do its elements count for :meth:`Streams.largest`.

    If ``most`` is a bus address, not 0, the largest magnitudes that the panels hold at each place
    are written there (:attr:`most_words`, :meth:`most_of_rows`); all panels have one width then.
    """

    layout: Packed
    k: int
    address: int
    step: int
    along: int
    out: int
    look: bool = True
    most: int = 0

    def __post_init__(self) -> None:
        if self.k < 1 or self.layout.length < 1 or self.k > self.layout.steps:
            raise ValueError(f"gemm_pack: {self.k} x {self.layout.length} does not fit its layout")
        if (self.address | self.step | self.along | self.out) & 3:
            raise ValueError("gemm_pack: addresses and strides are multiples of 4 bytes")

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """The row of k that each step holds, ``k`` for zeros, and ``k`` behind the last step."""
        return np.append(self.layout.rows(self.k), self.k)

    @property
    def groups(self) -> List[range]:
        """Panels that are read alike: whole ones, and the last if it is not.  The whole ones are
        several groups if k is too short for all QPUs to have work otherwise."""
        panels, layout = self.layout.panels, self.layout
        whole = panels - (layout.first(panels - 1) + layout.width > layout.length)
        count = min(whole, -(-ENOUGH // layout.steps))
        cuts = [part * whole // count for part in range(count)] if count else []
        cuts += [whole, panels] if whole < panels else [whole]
        return [range(low, high) for low, high in zip(cuts, cuts[1:])]

    @property
    def most_words(self) -> int:
        """Words that are written to ``most``: a panel for each of the groups."""
        return len(self.groups) * self.layout.steps * self.layout.width

    def most_of_rows(self, words: np.ndarray) -> np.ndarray:
        """For each row of k the largest magnitude in it, from what was written to ``most``
        (float32); NaN where it holds one."""
        by_step = words.reshape(-1, self.layout.steps, self.layout.width).max(axis=(0, 2))
        return by_step[self.layout.rows(self.k) < self.k]

    @property
    def vertical(self) -> bool:
        """Whether the VPM transposes."""
        return self.step == 4 and self.along != 4


@dataclasses.dataclass(frozen=True)
class Segment:
    """``count`` blocks; ``table`` holds 16 vectors of offsets and 16 of masks."""

    table: bytes
    vertical: bool
    rows: int
    depth: int
    gap: int
    base: int
    advance: int
    out: int
    out_advance: int
    look: bool
    most: int
    count: int


Cells = Tuple[np.ndarray, np.ndarray]
"""For each of 16 vectors and 16 elements: step of the block, place in the panel."""


def _lines(own: int) -> Tuple[Cells, int]:
    """Word 16 y + x of a block's packed words: (cells by [y, x], steps of a block)."""
    step_words = LANES // math.gcd(own, LANES)
    steps = LANES * LANES // (step_words * own) * step_words
    word = np.arange(LANES * LANES).reshape(LANES, LANES)
    return (word // own, word % own), steps


def _segment(operand: Operand, cells: Cells, first: int, start: int, **how: int) -> Segment:
    """A segment whose first block begins at step ``start`` of the panel at ``first``; ``cells`` are
    as they lie in the VPM."""
    steps, places = cells
    rows = operand.rows
    used = np.zeros((LANES, LANES), dtype=bool)
    used[: how["rows"], : how["depth"]] = True
    held = rows[np.minimum(start + steps, len(rows) - 1)]
    inside = used & (held < operand.k) & (first + places < operand.layout.length)
    begin = int(held[inside].min(initial=operand.k)) if inside.any() else 0
    base = operand.address
    if inside.any():
        base += begin * operand.step + first * operand.along
    offsets = np.where(inside, (held - begin) * operand.step + places * operand.along, 0)
    masks = np.where(inside, -1, 0)
    if how["vertical"]:
        offsets, masks = offsets.T, masks.T
    table = (np.concatenate((offsets, masks)) & 0xFFFFFFFF).astype(np.uint32)
    return Segment(table=table.tobytes(), base=base, **how)  # type: ignore[arg-type]


def _run(
    operand: Operand,
    cells: Cells,
    block: int,
    first: int,
    out: int,
    step_bytes: int,
    width: int,
    panels: int = 0,
    most: int = 0,
) -> Iterator[Segment]:
    """All steps of a panel, or of 16 of its columns, ``block`` steps at a time.

    ``width`` is the number of words of a row of the VPM if that is a step, 0 if rows follow each
    other without a gap.  With ``panels`` a segment holds the same steps of as many of them, and
    what they have at most goes to ``most``.
    """
    total = operand.layout.steps
    # Steps that hold the row of their number.
    regular = min(operand.layout.fold or total, operand.k)
    start = 0
    while start < total:
        left = total - start
        whole = 0 if panels else max(0, min(LONGEST, (regular - start) // block))
        count, taken = (whole, block) if whole else (panels or 1, min(block, left))
        how = {
            "vertical": operand.vertical,
            "count": count,
            "advance": block * operand.step,
            "out_advance": block * step_bytes,
            "look": operand.look,
            "most": 0,
        }
        if panels:
            how["advance"] = operand.layout.width * operand.along
            how["out_advance"] = 4 * operand.layout.width * total
            how["most"] = most + start * step_bytes
        at = out + start * step_bytes
        if width:
            gap = step_bytes - 4 * width
            yield _segment(
                operand, cells, first, start, rows=taken, depth=width, gap=gap, out=at, **how
            )
        else:
            lines, words = divmod(taken * step_bytes // 4, LANES)
            if lines:
                yield _segment(
                    operand, cells, first, start, rows=lines, depth=LANES, gap=0, out=at, **how
                )
            if words:  # of a single block: whole ones are lines
                rest = tuple(np.roll(cell, -lines, axis=0) for cell in cells)
                how["most"] += LINE * lines if panels else 0
                yield _segment(
                    operand, rest, first, start, rows=1, depth=words, gap=0,  # type: ignore[arg-type]
                    out=at + LINE * lines, **how,
                )  # fmt: skip
        start += taken if panels else count * taken


def _segments(operand: Operand) -> Iterator[Segment]:
    layout = operand.layout
    y, x = np.indices((LANES, LANES))
    end = operand.out
    groups = operand.groups if operand.most else [range(j, j + 1) for j in range(layout.panels)]
    for number, group in enumerate(groups):
        panel = group[0]
        own, first = layout.width_of(panel), layout.first(panel)
        out = operand.out + layout.offset(panel)
        panels = len(group) if operand.most else 0
        most = operand.most + 4 * own * layout.steps * number
        end = out + 4 * own * layout.steps * len(group)
        if not operand.vertical or LANES % own == 0 and own < LANES:
            cells, block = _lines(own)
            yield from _run(operand, cells, block, first, out, 4 * own, 0, panels, most)
        else:
            for column in range(0, own, LANES):
                width = min(LANES, own - column)
                cells = (y, x + column)
                yield from _run(
                    operand, cells, LANES, first, out + 4 * column, 4 * own, width, panels,
                    most + 4 * column,
                )  # fmt: skip
    # What is fetched past the end.
    words = (operand.out + 4 * layout.words - end) // 4
    nowhere = (np.full_like(y, operand.k), x)
    for rows, depth in ((LANES, LANES), (1, LANES), (1, 0)):
        count = words // (rows * depth) if depth else int(words > 0)
        if count:
            depth = depth or words
            step = 4 * rows * depth
            yield _segment(
                operand, nowhere, 0, operand.k, vertical=False, rows=rows, depth=depth, gap=0,
                out=end, advance=0, out_advance=step, look=False, most=0,
                count=count,
            )  # fmt: skip
            end, words = end + count * step, words - count * rows * depth


class Streams:
    """The tables and uniform streams of a launch that packs these operands.

    They hold addresses of their own words, so they are written for the place where they will lie
    (:meth:`at`), which is on a line of 64 bytes.
    """

    def __init__(self, operands: Sequence[Operand], n_qpus: int) -> None:
        n_qpus = max(1, min(n_qpus, QPUS))
        loads = [0] * n_qpus
        dealt: List[List[Segment]] = [[] for _ in loads]
        for operand in operands:
            for segment in _segments(operand):
                qpu = loads.index(min(loads))
                dealt[qpu].append(segment)
                loads[qpu] += segment.count + 3  # a table and the largest cost about three blocks
        dealt = [own for own in dealt if own]
        tables: Dict[bytes, int] = {}
        for own in dealt:
            for segment in own:
                tables.setdefault(segment.table, 2 * LINE * LANES * len(tables))
        words: List[int] = []
        reports: List[int] = []
        self._tables = b"".join(tables)
        self._own: List[int] = []
        self._starts: List[int] = []
        for index, own in enumerate(dealt):
            self._starts.append(len(self._tables) + 4 * len(words))
            words.append(len(own))
            y = LANES * index
            for segment in own:
                self._own.append(len(words))
                words += [
                    tables[segment.table],
                    sw.vpm_write(y, horizontal=not segment.vertical),
                    sw.vdw_stride(segment.gap),
                    sw.vdw_store(segment.rows, segment.depth, y),
                    segment.base,
                    segment.advance,
                    segment.out,
                    segment.out_advance,
                    0xFFFFFFFF if segment.look else 0,
                    segment.most,
                    segment.count,
                ]
            words += [sw.vpm_write(y), sw.vdw_store(1, LANES, y)]
            reports.append(len(words))
            words += [0, *parts.finish_words(index, len(dealt))]
        words += [0] * LANES  # the line after the last word is fetched too
        words += [0] * (-len(words) % LANES)
        before = len(self._tables) // 4
        for report in reports:
            words[report] = 4 * (before + len(words))
            words += [0] * LANES
        self._own += reports
        self._watch = before + len(words) - LANES * len(reports), before + len(words)
        self._words = words

    @property
    def nbytes(self) -> int:
        """Size of all tables and streams."""
        return len(self._tables) + 4 * len(self._words)

    def largest(self, words: np.ndarray) -> float:
        """The largest magnitude in the operands that were to be looked at, from the ``words``
        (uint32) of tables and streams after the launch; NaN counts as larger than Inf, and as
        NaN."""
        return float(words[slice(*self._watch)].max(initial=0).view(np.float32))

    def at(self, address: int) -> Tuple[np.ndarray, List[int]]:
        """The words as they lie at bus address ``address``, and the address of each stream."""
        words = np.array(self._words, dtype=np.int64)
        words[self._own] += address
        streams = (words & 0xFFFFFFFF).astype(np.uint32)
        tables = np.frombuffer(self._tables, dtype=np.uint32)
        return np.concatenate((tables, streams)), [address + start for start in self._starts]
