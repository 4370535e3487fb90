"""Work cut into launches that are predicted to take no longer than the device allows.

A launch through the firmware is cut off after a second (:mod:`piblas.driver.launchers`), so a
device says how long a launch should be predicted to take (``Device.longest_launch``), and whoever
has a result of m x n to compute takes it in blocks, whoever has a list of tiles to work through in
runs of neighbours, and whoever has vectors in slices.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np

from ..driver.device import Device, RunReport

__all__ = ["blocks", "combined", "of", "runs", "slices"]

UNIT = 192
"""Blocks are multiples of this, which every kernel's tile divides: they add no ragged tiles."""


def of(device: Device) -> Tuple[int, float, Optional[float]]:
    """What plans depend on: (QPUs, clock rate in Hz, seconds of the longest launch or None)."""
    return device.n_qpus, device.clock_hz, device.longest_launch


def _cuts(length: int, parts: int) -> List[slice]:
    step = -(-length // parts)
    step = -(-step // UNIT) * UNIT
    return [slice(start, min(start + step, length)) for start in range(0, length, step)]


def blocks(
    m: int, n: int, seconds: float, longest: Optional[float]
) -> List[Tuple[slice, slice]]:
    """(rows, columns) of blocks of an m x n result that takes ``seconds`` in one launch.

    Columns are cut first, then, where one block of columns is still too much, rows.  A block is not
    cut below 192 x 192, however long that takes.
    """
    if longest is None or seconds <= longest:
        return [(slice(0, m), slice(0, n))]
    columns = _cuts(n, min(math.ceil(seconds / longest), -(-n // UNIT)))
    width = columns[0].stop - columns[0].start
    rows = _cuts(m, max(1, min(math.ceil(seconds * width / n / longest), -(-m // UNIT))))
    return [(row, column) for column in columns for row in rows]


def runs(
    costs: Union[Sequence[float], np.ndarray], longest: Optional[float], unit: int = 1
) -> List[range]:
    """Ranges of neighbours that take ``longest`` seconds at most; ``costs`` has each one's.

    A range begins at a multiple of ``unit``, and has at least so many, however long they take.
    """
    n = len(costs)
    if longest is None or n == 0:
        return [range(n)]
    ends = np.add.reduceat(costs, np.arange(0, n, unit)).cumsum()
    found, begin, before = [], 0, 0.0
    while begin < n:
        units = max(int(ends.searchsorted(before + longest, side="right")), begin // unit + 1)
        end = min(unit * units, n)
        found.append(range(begin, end))
        begin, before = end, ends[units - 1]
    return found


SLICE = 16384
"""Elements of which slices of vectors are multiples: whole blocks of every kernel."""


def slices(n: int, seconds: float, longest: Optional[float]) -> List[slice]:
    """Slices of vectors of n elements, which take ``seconds`` in one launch."""
    if longest is None or seconds <= longest:
        return [slice(0, n)]
    step = max(int(n * longest / seconds) // SLICE, 1) * SLICE
    return [slice(start, min(start + step, n)) for start in range(0, n, step)]


def _sum(values: Sequence[Any]) -> Any:
    if any(value is None for value in values):
        return None
    if isinstance(values[0], (int, float)):
        return sum(values)
    total: Dict[Any, int] = {}
    for mapping in values:
        for key, count in mapping.items():
            total[key] = total.get(key, 0) + count
    return total


def combined(reports: Sequence[RunReport]) -> RunReport:
    """One report for the launches of one call: counts and times add up.

    What belongs to single launches (counts of each QPU, hot instructions, timelines) is left out
    where there were several.
    """
    if len(reports) == 1:
        return reports[0]
    names = "seconds", "cycles", "instructions", "issue_cycles", "stalls", "bytes", "counters"
    return reports[0].replaced(
        n_qpus=max(report.n_qpus for report in reports),
        per_qpu=(),
        interrupts=(),
        hot=None,
        timeline=None,
        **{name: _sum([getattr(report, name) for report in reports]) for name in names},
    )
