"""The streams of the packing program, segment by segment: what :mod:`piblas.kernels.gemm_pack`
makes by array operations."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from piblas.isa import setup_words as sw
from piblas.kernels.gemm import LANES, LINE
from piblas.kernels.gemm_segments import LONGEST, QPUS


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


def _lines(own):
    step_words = LANES // math.gcd(own, LANES)
    steps = LANES * LANES // (step_words * own) * step_words
    word = np.arange(LANES * LANES).reshape(LANES, LANES)
    return (word // own, word % own), steps


def _segment(operand, cells, first, start, **how):
    steps, places = cells
    used = np.zeros((LANES, LANES), dtype=bool)
    used[: how["rows"], : how["depth"]] = True
    k, layout = operand.k, operand.layout
    rows = np.append(layout.rows(k), k)
    held = rows[np.minimum(start + steps, layout.steps)]
    inside = used & (held < k) & (first + places < layout.length)
    base = operand.address
    later = [row for row in rows[start:] if row < k]
    begin = later[0] if later else 0
    if later:
        base += begin * operand.step + first * operand.along
    offsets = np.where(inside, (held - begin) * operand.step + places * operand.along, 0)
    masks = np.where(inside, -1, 0)
    if how["vertical"]:
        offsets, masks = offsets.T, masks.T
    table = (np.concatenate((offsets, masks)) & 0xFFFFFFFF).astype(np.uint32)
    return Segment(table=table.tobytes(), base=base, **how)


def _run(
    operand, cells, block, first, out, step_bytes, width, panels, most
):
    total = operand.layout.steps
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
                    operand, rest, first, start, rows=1, depth=words, gap=0,
                    out=at + LINE * lines, **how,
                )  # fmt: skip
        start += taken if panels else count * taken


def _segments(operand, most_at):
    layout = operand.layout
    y, x = np.indices((LANES, LANES))
    end = operand.out
    cuts = operand.groups if operand.most else list(range(layout.panels + 1))
    for number, (panel, after) in enumerate(zip(cuts, cuts[1:])):
        own, first = layout.width_of(panel), layout.first(panel)
        out = operand.out + layout.offset(panel)
        panels = after - panel if operand.most else 0
        most = most_at + 4 * own * layout.steps * number
        end = out + 4 * own * layout.steps * (after - panel)
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
                operand, nowhere, 0, layout.steps, vertical=False, rows=rows, depth=depth, gap=0,
                out=end, advance=0, out_advance=step, look=False, most=0, count=count,
            )  # fmt: skip
            end, words = end + count * step, words - count * rows * depth


def words(operands, n_qpus, own, most=0, watch=0):
    """All words as they lie at bus address ``own``, and the address of each stream."""
    loads = [0] * max(1, min(n_qpus, QPUS))
    dealt = [[] for _ in loads]
    for operand in operands:
        for segment in _segments(operand, most):
            qpu = loads.index(min(loads))
            dealt[qpu].append(segment)
            loads[qpu] += segment.count + 3
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
                0xFFFFFFFF if segment.look else 0,
                segment.most,
                segment.count,
            ]
        found += [sw.vpm_write(y), sw.vdw_store(1, LANES, y), watch + LINE * index]
        found += [index, len(dealt) - 1]
    streams = np.array(found + [0] * LANES, dtype=np.int64) & 0xFFFFFFFF
    return np.concatenate((front, streams.astype(np.uint32))), starts
