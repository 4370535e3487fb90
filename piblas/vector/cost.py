"""What a function takes on the QPUs, from the counts of its operations: for the choice of a kernel,
and for that between QPUs and CPU.

A vector costs issue slots of the QPU that works on it, turns of the DMA store engine and bytes of
the memory; the launch takes as long as what is busiest, and a while before the first and after the
last vector.  The figures of the engine and the memory are the rows of :mod:`piblas.isa.timing`;
how many slots operations share and what a group takes besides were measured on the emulator, and
tests hold the estimate against simulated cycles.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from ..isa import ops
from ..isa.timing import memory_rate, timing_set
from ..kernels.parts import LANES, QPUS
from ..kernels.reduce import PARTS
from .body import COMPARISONS, SIZES, SPECIAL, Body, of_graph, reductions, stores
from .graph import Graph
from .reduction import rows_of

__all__ = ["KINDS", "PIPES", "Work", "cycles", "pace", "whole_rows", "work_of"]

PIPES = {"stream": (8, 4), "wide": (11, 2)}
"""Producers of the pipelines, and rows that each fills of a half buffer."""

KINDS = ("stream", "wide", "own4", "own2", "own1")
"""Kernels: pipelines of eight and of eleven producers, and QPUs on their own with so many vectors
in a group."""

_ADD, _MUL, _EITHER = range(3)
_UNITS: Dict[str, int] = {}
for _row in ops.ADD_OPS:
    _UNITS[_row.name] = _ADD
for _row in ops.MUL_OPS:
    _UNITS[_row.name] = _EITHER if _row.name in _UNITS else _MUL


class Work(NamedTuple):
    """Of a vector: operations of the add unit, the mul unit and of either; how many the program
    has of them (loops once); bytes read and written; bytes of an element of each array that is
    stored; vectors of the states of reductions; operations of the special function unit."""

    add: float
    mul: float
    either: float
    code: float
    read: int
    written: int
    sizes: Tuple[int, ...]
    states: int
    special: float

    @property
    def slots(self) -> float:
        """Instructions with perfect pairing."""
        return max(self.add, self.mul, (self.add + self.mul + self.either) / 2)

    @property
    def total(self) -> float:
        """Instructions without pairing."""
        return self.add + self.mul + self.either


def _counted(body: Body, most: int) -> Tuple[List[float], float]:
    """Operations of each kind that a vector takes, and how many there are in the program."""
    nodes = body.graph.nodes
    counts, code = [0.0, 0.0, 0.0, 0.0], 0.0
    for number in body.steps:
        node = nodes[number]
        if number in body.uniform or number in body.direct or node.op == "result":
            continue
        own = [0, 0, 0, 0]
        if node.op == "loop":
            inner, text = _counted(body.loops[number], most)
            turns = min(node.data.count, most)
            for unit in range(4):
                counts[unit] += turns * inner[unit]
            counts[_ADD] += turns
            counts[_EITHER] += len(node.args)
            code += text + 4
            continue
        if node.op == "load":
            own = [2, 0, 1, 0]
            if SIZES[body.graph.arguments[node.data].dtype] < 4:
                own = [3, 0, 1, 0]
        elif node.op in COMPARISONS:
            own = [_flags(body, number), 0, 2, 0]
        elif node.op == "select":
            own = [0, 0, 2, 0]
            mask = node.args[0]
            own[_ADD if mask in body.direct else _EITHER] += _flags(body, mask)
        elif node.op in SPECIAL:
            own = [0, 0, 2, 1]
        else:
            name = {"mand": "and", "mor": "or", "mnot": "not"}.get(node.op, node.op)
            own[_UNITS[name]] = 1
        for unit in range(4):
            counts[unit] += own[unit]
        code += sum(own[:3])
    return counts, code


def _flags(body: Body, number: int) -> int:
    node = body.graph.nodes[number]
    floats = node.op in ("eq", "ne") and body.graph.nodes[node.args[0]].kind == "f"
    return 2 if floats and number in body.direct else 1


def work_of(graph: Graph, body: Any = None) -> Work:
    """The work of a graph."""
    body = body or of_graph(graph)
    counts, code = _counted(body, 1 << 30)
    sizes = tuple(SIZES[each.dtype] for _, each in stores(graph))
    counts[_EITHER] += 2 * len(sizes)
    states = 0
    for _, each in reductions(graph):
        counts[_ADD] += 5 if each.how == "sum" else 2
        counts[_EITHER] += 1 if each.how in ("sum", "min", "max") else 2
        states += rows_of(each.how, graph.nodes[each.node].kind)
    read = sum(SIZES[graph.arguments[number].dtype] for number in body.loads)
    add, mul, either, special = counts
    return Work(
        add, mul, either, code, LANES * read, LANES * sum(sizes), sizes, states, special
    )


_PAIRED = {"own1": 1.5, "own2": 1.3, "own4": 1.15, "stream": 1.25, "wide": 1.35}
"""Instructions in units of those with perfect pairing: independent operations lie further apart the
fewer vectors there are."""


_COLD = 4
"""Clocks that an instruction waits for its line to come from memory, the first time."""


@functools.lru_cache(maxsize=64)
def _rates(timing: Any, clock: float) -> Tuple[float, float, float, float]:
    """Clocks of a byte of memory, of a row, of a transfer, of a special function."""
    return clock / memory_rate(timing), timing.dma_store_row, timing.dma_store_start, timing.sfu


_GRANT = 2
"""Instructions of the consumer for a grant and a report."""


def whole_rows(kind: str, sizes: Sequence[int]) -> bool:
    """Whether the blocks of a pipeline are whole rows of the VPM for results of these sizes."""
    workers, rows = PIPES[kind]
    return workers * rows * min(sizes, default=4) % 4 == 0


def pace(kind: str, size: int) -> int:
    """Idle instructions between two grants, so that those of a half buffer take as long as its
    transfer of elements of ``size`` bytes: then producers ask for operands evenly.  (The 2 that a
    grant needs less was found by trying.)"""
    timing = timing_set()
    workers, rows = PIPES[kind]
    transfer = workers * rows * size / 4 * timing.dma_store_row + timing.dma_store_start
    return max(0, int(transfer / workers / 4 - 1.9))


def cycles(
    work: Work,
    n: int,
    kind: str,
    n_qpus: int = QPUS,
    timing: Any = None,
    clock: float = 250e6,
) -> float:
    """Cycles of a launch of ``n`` elements with a kernel of :data:`KINDS`."""
    byte, row, start, sfu = _rates(timing or timing_set(), clock)
    vectors = -(-n // LANES)
    memory = byte * (work.read + work.written)
    issue = 4 * min(work.slots * _PAIRED[kind], max(work.total, work.slots))
    if kind in PIPES:
        workers, rows = PIPES[kind]
        grant = _GRANT + pace(kind, max(work.sizes))
        workers = min(workers, max(n_qpus - 1, 1))
        block = workers * rows
        stored = sum(row * size / 4 + start / block + 0.5 for size in work.sizes)
        granted = (4 * grant * workers + 36) / block * len(work.sizes)
        # Four QPUs share a special function unit.
        special = sfu * work.special * min(4, workers) / workers
        each = max(memory, stored, granted, special, (issue + 4 * 16 / rows) / workers)
        # Lines of code come from memory at first; a block is computed before the first is stored.
        cold = _COLD * 2 * rows * min(work.code, 400) / 2
        return 1000 + cold + issue * rows + each * -(-vectors // block) * block
    unroll = int(kind[3:])
    qpus = min(n_qpus, QPUS)
    groups = -(-vectors // unroll)
    rounds = -(-groups // qpus)
    transfer = sum(unroll * row * max(size / 4, 0.4) + start + 28 for size in work.sizes)
    group = issue * unroll + 4 * (12 + 6 * len(work.sizes)) + transfer
    engine = groups * transfer
    special = sfu * work.special * min(4, qpus) * rounds * unroll
    total = max(rounds * group, engine, special, memory * vectors)
    cold = _COLD * unroll * min(work.code, 400) / 2
    # The states of each part are stored one after the other.
    states = min(PARTS, groups) * work.states * unroll * (row + start + 40)
    return 800 + cold + states + total

