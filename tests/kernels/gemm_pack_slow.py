"""The streams of the packing program, segment by segment: what :mod:`piblas.kernels.gemm_pack`
makes by array operations."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from piblas.isa import setup_words as sw
from piblas.kernels.gemm import LANES, LINE
from piblas.kernels.gemm_pack import LONGEST, QPUS


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
    count: int


def _lines(own):
    step_words = LANES // math.gcd(own, LANES)
    steps = LANES * LANES // (step_words * own) * step_words
    word = np.arange(LANES * LANES).reshape(LANES, LANES)
    return (word // own, word % own), steps


def _segment(operand, cells, first, start, **how):
    steps, places = cells
    used = np.zeros((LANES, LANES), dtype=bool)
    used[: how["rows"], : how["depth"]] = True
    inside = used & (start + steps < operand.k) & (first + places < operand.layout.length)
    base = operand.address
    if start < operand.k:
        base += start * operand.step + first * operand.along
    offsets = np.where(inside, steps * operand.step + places * operand.along, 0)
    masks = np.where(inside, -1, 0)
    if how["vertical"]:
        offsets, masks = offsets.T, masks.T
    table = (np.concatenate((offsets, masks)) & 0xFFFFFFFF).astype(np.uint32)
    return Segment(table=table.tobytes(), base=base, **how)


def _run(
    operand, cells, block, first, out, step_bytes, width
):
    total, k = operand.layout.steps, operand.k
    start = 0
    while start < total:
        left = total - start
        whole = max(0, min(LONGEST, (k - start) // block))
        count, taken = (whole, block) if whole else (1, min(block, left))
        how = {
            "vertical": operand.vertical,
            "count": count,
            "advance": block * operand.step,
            "out_advance": block * step_bytes,
        }
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
                yield _segment(
                    operand, rest, first, start, rows=1, depth=words, gap=0,
                    out=at + LINE * lines, **how,
                )  # fmt: skip
        start += count * taken


def _segments(operand):
    layout = operand.layout
    y, x = np.indices((LANES, LANES))
    end = operand.out
    for panel in range(layout.panels):
        own, first = layout.width_of(panel), layout.first(panel)
        out = operand.out + layout.offset(panel)
        end = out + 4 * own * layout.steps
        if not operand.vertical or LANES % own == 0 and own < LANES:
            cells, block = _lines(own)
            yield from _run(operand, cells, block, first, out, 4 * own, 0)
        else:
            for column in range(0, own, LANES):
                width = min(LANES, own - column)
                cells = (y, x + column)
                yield from _run(operand, cells, LANES, first, out + 4 * column, 4 * own, width)
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
                out=end, advance=0, out_advance=step, count=count,
            )  # fmt: skip
            end, words = end + count * step, words - count * rows * depth


def words(operands, n_qpus, own):
    """All words as they lie at bus address ``own``, and the address of each stream."""
    loads = [0] * max(1, min(n_qpus, QPUS))
    dealt = [[] for _ in loads]
    for operand in operands:
        for segment in _segments(operand):
            qpu = loads.index(min(loads))
            dealt[qpu].append(segment)
            loads[qpu] += segment.count + 2
    dealt = [segments for segments in dealt if segments]
    tables = {}
    for segment in (segment for segments in dealt for segment in segments):
        tables.setdefault(segment.table, own + 2 * LINE * LANES * len(tables))
    front = np.frombuffer(b"".join(tables), dtype=np.uint32)
    found, starts = [], []
    for index, segments in enumerate(dealt):
        starts.append(own + 4 * (front.size + len(found)))
        found.append(len(segments))
        y = LANES * index
        for segment in segments:
            found += [
                tables[segment.table],
                sw.vpm_write(y, horizontal=not segment.vertical),
                sw.vdw_stride(segment.gap),
                sw.vdw_store(segment.rows, segment.depth, y),
                segment.base,
                segment.advance,
                segment.out,
                segment.out_advance,
                segment.count,
            ]
        found += [index, len(dealt) - 1]
    streams = np.array(found + [0] * LANES, dtype=np.int64) & 0xFFFFFFFF
    return np.concatenate((front, streams.astype(np.uint32))), starts
