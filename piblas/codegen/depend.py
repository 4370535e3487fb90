"""The dependence graph of the bundles of a block.

What a bundle reads and writes follows from its events (:mod:`piblas.isa.hazards`), registers and
peripherals alike: every peripheral is a resource that its accesses "write", which keeps them in
program order.  A reader comes at least as many words after the writer as the distance rules ask; a
writer may stand in the word of the last reader, since a word reads before it writes.
"""

from __future__ import annotations

import functools
from typing import Dict, List, Sequence, Tuple

from ..isa import hazards
from ..isa.hazards import EVENTS, mask

__all__ = ["resources", "graph", "BARRIER"]

# Resources 0..67 are the registers, in the order of the places of .operand.
_R4, _R5, _FLAGS, _UNIF, _TMU0, _TMU1, _VPM, _WAIT, _START, _TLB, _VARY, _NOSWAP = range(68, 80)

_SYNC = "read_mutex write_mutex semaphore host_int"
_READS: Tuple[Tuple[int, int], ...] = (
    (mask("read_r4"), _R4),
    (mask("read_r5 rotate_by_r5"), _R5),
    (mask("read_flags"), _FLAGS),
    (mask("request_tmu0 request_tmu1"), _WAIT),
    (mask("request_tmu0 request_tmu1"), _START),
)
_WRITES: Tuple[Tuple[int, int], ...] = (
    (mask("load_r4 write_sfu"), _R4),
    (mask("write_r5"), _R5),
    (mask("write_flags"), _FLAGS),
    (mask("uniform write_unif_addr config_tmu0 config_tmu1"), _UNIF),
    (mask("request_tmu0 config_tmu0 pop_tmu0 noswap " + _SYNC), _TMU0),
    (mask("request_tmu1 config_tmu1 pop_tmu1 noswap " + _SYNC), _TMU1),
    (
        mask(
            "read_vpm write_vpm rd_setup wr_setup vdr_start vdw_start vdr_wait vdw_wait vdr_busy"
            " vdw_busy " + _SYNC
        ),
        _VPM,
    ),
    (mask("vdw_wait " + _SYNC), _WAIT),
    (mask("vdw_start"), _START),
    (mask("tlb_read tlb_write scoreboard read_ms_flags fragment " + _SYNC), _TLB),
    (mask("varying"), _VARY),
)
# Behind T, R or B, a write of S takes a uniform, too.
_TEXTURES = tuple((mask(f"config_tmu{n}"), mask(f"request_tmu{n}")) for n in (0, 1))
_COORDINATES = mask("config_tmu0 config_tmu1")
BARRIER = mask("thrsw lthrsw thrend bkpt")
"""Events that nothing moves across."""

_PERIPHERALS = 0
for _row in _READS + _WRITES:
    _PERIPHERALS |= _row[0]
_RF, _WF = EVENTS["read_file"], EVENTS["write_file"]
_RACC, _WACC = EVENTS["read_acc"], EVENTS["write_acc"]
_READ_VPM, _WRITE_VPM = mask("read_vpm"), mask("write_vpm")


def resources(events: int) -> Tuple[int, int]:
    """What a set of events reads and writes, as masks of resources."""
    reads = (events & _RF.mask) >> _RF.offset | (events & _RACC.mask) >> _RACC.offset << 64
    writes = (events & _WF.mask) >> _WF.offset | (events & _WACC.mask) >> _WACC.offset << 64
    if events & _PERIPHERALS:
        more_reads, more_writes = _peripherals(events & _PERIPHERALS)
        return reads | more_reads, writes | more_writes
    return reads, writes


@functools.lru_cache(maxsize=256)
def _peripherals(events: int) -> Tuple[int, int]:
    reads = writes = 0
    for bits, resource in _READS:
        if events & bits:
            reads |= 1 << resource
    for bits, resource in _WRITES:
        if events & bits:
            writes |= 1 << resource
    return reads, writes


def _bits(value: int) -> List[int]:
    found = []
    while value:
        low = value & -value
        found.append(low.bit_length() - 1)
        value ^= low
    return found


def graph(events: Sequence[int], uses: Sequence[Tuple[int, int]]) -> List[Dict[int, int]]:
    """For each bundle its successors, with the least distance in words (0: same word or later).

    ``uses`` are the :func:`resources` of the events.
    """
    follow: List[Dict[int, int]] = [{} for _ in events]
    writer: Dict[int, int] = {}
    readers: Dict[int, List[int]] = {}
    bans = [hazards.forbidden(bits) for bits in events]
    barrier = -1
    textures = 0

    def latency(first: int, later: int) -> int:
        bits, ban = events[later], bans[first]
        return 4 if bits & ban[3] else 3 if bits & ban[2] else 2 if bits & ban[1] else 1

    for i, bits in enumerate(events):
        reads, writes = uses[i]
        if bits & _COORDINATES:
            textures |= bits & _COORDINATES
        elif textures:
            for config, request in _TEXTURES:
                if bits & request and textures & config:
                    writes |= 1 << _UNIF
                    textures &= ~config
        if bits & BARRIER:
            for k in range(i):
                follow[k][i] = max(follow[k].get(i, 0), latency(k, i))
            barrier = i
        elif barrier >= 0:
            follow[barrier][i] = latency(barrier, i)
        for resource in _bits(reads):
            first = writer.get(resource)
            if first is not None and resource != _START:
                edges = follow[first]
                wait = latency(first, i)
                if edges.get(i, -1) < wait:
                    edges[i] = wait
            readers.setdefault(resource, []).append(i)
        for resource in _bits(writes):
            first = writer.get(resource)
            if first is not None:
                wait = latency(first, i)
                if resource == _VPM and wait == 1:
                    # A VPM read and a later VPM write use different queues.
                    only_data = events[first] & _READ_VPM and bits & _WRITE_VPM
                    wait = 0 if only_data else 1
                edges = follow[first]
                if edges.get(i, -1) < wait:
                    edges[i] = wait
            # A lookup of what a store will overwrite must have left before the store starts.
            wait = 1 if resource == _START else 0
            for reader in readers.pop(resource, ()):
                if reader != i and follow[reader].get(i, -1) < wait:
                    follow[reader][i] = wait
            writer[resource] = i
    return follow
