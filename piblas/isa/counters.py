"""The performance counters of the V3D block that a compute program can move, by their numbers.

The numbers are those of the source fields PCTRS0 to PCTRS15 (guide, p. 82-101).  The counters of
the fixed-function pipeline (0 to 12, 14, 15, 18, 19) stand still in user programs: no rows.
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

__all__ = ["COUNTERS", "Counter", "ROWS"]


class Counter(NamedTuple):
    """A counter: its number, a short name, what it counts."""

    number: int
    name: str
    meaning: str


ROWS: Tuple[Counter, ...] = (
    Counter(13, "qpu_idle", "QPU clocks without a program"),
    Counter(16, "qpu_valid", "QPU clocks that executed instructions"),
    Counter(17, "qpu_tmu_stall", "QPU clocks that waited for a TMU"),
    Counter(20, "icache_hits", "instructions fetched; misses count as well (measured)"),
    Counter(21, "icache_misses", "lines that the instruction caches fetched"),
    Counter(22, "uniform_hits", "uniforms fetched; misses count as well (measured)"),
    Counter(23, "uniform_misses", "lines that the uniforms caches fetched"),
    Counter(24, "tmu_words", "words looked up, 16 a request (measured); quads of a texture"),
    Counter(25, "tmu_misses", "lines that the TMU caches fetched"),
    Counter(26, "vdw_stall", "clocks that DMA stores waited for the VPM"),
    Counter(27, "vdr_stall", "clocks that DMA loads waited for the VPM"),
    Counter(28, "l2_hits", "requests that L2 could answer"),
    Counter(29, "l2_misses", "lines that L2 fetched from memory"),
)
"""All rows, by number."""

COUNTERS: Dict[int, Counter] = {row.number: row for row in ROWS}
