"""Which TMU lookup each pop receives, so that pops are not scheduled long before their data.

A pop stalls the QPU until its lookup is done, 9 to 20 words after the request (measured).  Results
come in the order of the requests, hence a pop belongs to a request of its own block once the
lookups that were under way when the block was entered have been popped.  Their number is the least
over all paths to the block; a wrong guess costs time only, never a wrong result.
"""

from __future__ import annotations

from typing import Dict, List, Sequence, Tuple

from ..isa import hazards
from .code import RAW, Block, Bundle, Code

__all__ = ["LATENCY", "under_way", "requests_of_pops"]

LATENCY = 20
"""Words from a request until its result is there, if it comes from memory."""

_REQUESTS = (hazards.mask("request_tmu0"), hazards.mask("request_tmu1"))
_EITHER = _REQUESTS[0] | _REQUESTS[1]
_POP = {10: 0, 11: 1}
_DEPTH = 8

_Traffic = List[Tuple[int, List[int], List[int]]]


def _traffic(bundles: Sequence[Bundle]) -> _Traffic:
    """The bundles that use a TMU: number, TMUs that they ask, and those that they pop."""
    found: _Traffic = []
    for i, bundle in enumerate(bundles):
        requests, popped = 0, []
        for op in bundle.ops:
            if op.kind == RAW:
                assert op.instr is not None
                requests |= hazards.events(op.instr)
            elif op.dst is not None:
                requests |= op.dst.writes
            if op.signal in _POP:
                popped.append(_POP[op.signal])
        if requests & _EITHER or popped:
            found.append((i, [unit for unit in (0, 1) if requests & _REQUESTS[unit]], popped))
    return found


def _after(block: Block, counts: Tuple[int, int]) -> Tuple[int, int]:
    left = list(counts)
    for _, asked, popped in _traffic(block.bundles):
        for unit in asked:
            left[unit] = min(left[unit] + 1, _DEPTH)
        for unit in popped:
            left[unit] = max(left[unit] - 1, 0)
    return left[0], left[1]


def under_way(code: Code, follow: Sequence[Sequence[int]]) -> List[Tuple[int, int]]:
    """For each block the least number of lookups under way at its top, for each TMU."""
    found: Dict[int, Tuple[int, int]] = {0: (0, 0)}
    work = [0]
    while work:
        i = work.pop()
        after = _after(code.blocks[i], found[i])
        for k in follow[i]:
            old = found.get(k)
            new = after if old is None else (min(old[0], after[0]), min(old[1], after[1]))
            if new != old:
                found[k] = new
                work.append(k)
    return [found.get(i, (0, 0)) for i in range(len(code.blocks))]


def requests_of_pops(bundles: Sequence[Bundle], counts: Tuple[int, int]) -> Dict[int, int]:
    """Pop to request, by bundle, for lookups that begin and end in one block."""
    queues: Tuple[List[int], List[int]] = ([-1] * counts[0], [-1] * counts[1])
    found = {}
    for i, asked, popped in _traffic(bundles):
        for unit in popped:
            if queues[unit]:
                request = queues[unit].pop(0)
                if request >= 0:
                    found[i] = request
        for unit in asked:
            queues[unit].append(i)
    return found
