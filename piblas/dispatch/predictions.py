"""What kernels take by the emulator's clock, stored, so that a Pi can predict without an emulator.

``predictions.json`` holds simulated clocks of each routine that has a kernel, over a grid of its
sizes and some clocks of the V3D block, and how many launches a call takes; ``python -m bench
predict`` makes it anew, and a test fails when a kernel or the timing set is no longer the one that
it names.  What a launch itself takes, staging, and what the host computes (:mod:`.host_calls`) are
not part of it.

Between the points of the grid the logarithm is interpolated along the logarithm of each size;
before the first point the values stay; beyond the last, clocks grow as the routine's arithmetic (a
routine without any: as its words), launches as between the last two points.
"""

from __future__ import annotations

import bisect
import functools
import math
import os
from typing import Any, Dict, List, Mapping, Optional, Tuple

from .. import tables
from ..routines import ROUTINES

__all__ = ["PATH", "clocks", "entry", "interpolated", "launches", "seconds", "stored"]

PATH = os.path.join(os.path.dirname(__file__), "predictions.json")


@functools.lru_cache(maxsize=None)
def stored() -> Dict[str, Any]:
    """The file: ``timing`` and ``fingerprint`` of the set, ``routines`` by name."""
    data: Dict[str, Any] = tables.load(PATH)
    return data


def entry(routine: str) -> Optional[Dict[str, Any]]:
    """A routine's kernel, hashes of its programs, axes (name: sizes), launches, and clocks by V3D
    clock in MHz; and "resident", launches and clocks where operands that lie in device memory are
    computed with in another way than those that were copied there.

    Launches and clocks are flat lists, the last axis fastest.
    """
    found: Optional[Dict[str, Any]] = stored()["routines"].get(routine)
    return found


def _weights(points: List[int], size: int) -> List[Tuple[int, float]]:
    """(index, weight) of the points next to a size."""
    right = min(bisect.bisect_left(points, size), len(points) - 1)
    if right == 0:
        return [(0, 1.0)]
    low, high = points[right - 1], points[right]
    share = math.log(size / low) / math.log(high / low)
    return [(right - 1, 1.0 - share), (right, share)]


def interpolated(
    axes: Mapping[str, List[int]], table: List[int], sizes: Mapping[str, int]
) -> float:
    """The value of a table, flat and the last axis fastest, between its points and beyond them."""
    places: List[Tuple[int, float]] = [(0, 1.0)]
    for name, points in axes.items():
        places = [
            (index * len(points) + step, weight * share)
            for index, weight in places
            for step, share in _weights(points, max(1, sizes[name]))
        ]
    return math.exp(sum(weight * math.log(table[index]) for index, weight in places))


def clocks(row: Mapping[str, Any], mhz: int, sizes: Mapping[str, int]) -> float:
    """Clocks of an entry at one of its V3D clocks, for sizes up to the grid's last points."""
    return interpolated(row["axes"], row["clocks"][str(mhz)], sizes)


def _way(row: Mapping[str, Any], resident: bool) -> Mapping[str, Any]:
    """The row with the launches and clocks that hold for such operands."""
    other = row.get("resident") if resident else None
    return {**row, **other} if other else row


def _work(routine: str, sizes: Mapping[str, int]) -> int:
    row = ROUTINES[routine]
    return max(1, row.flops(**sizes) or row.staged(**sizes))


def seconds(
    routine: str, mhz: float, sizes: Mapping[str, int], resident: bool = False
) -> Optional[float]:
    """Simulated seconds of a routine's launches at a V3D clock; None if none are stored."""
    found = entry(routine)
    if found is None:
        return None
    row = _way(found, resident)
    known = sorted(int(each) for each in row["clocks"])
    held = {name: min(sizes[name], points[-1]) for name, points in row["axes"].items()}
    beyond = _work(routine, sizes) / _work(routine, held) if held != sizes else 1.0
    # Times of memory do not scale with the clock, so seconds are straight between two clocks.
    right = min(max(bisect.bisect_left(known, mhz), 1), len(known) - 1)
    low, high = known[right - 1], known[right]
    share = min(max((mhz - low) / (high - low), 0.0), 1.0)
    at = [1e-6 * clocks(row, each, held) / each for each in (low, high)]
    return beyond * (at[0] + share * (at[1] - at[0]))


def launches(routine: str, sizes: Mapping[str, int], resident: bool = False) -> float:
    """Launches of a call by a device that takes launches of any length; 1 if none are stored."""
    row = entry(routine)
    if row is None:
        return 1.0
    return interpolated(row["axes"], _way(row, resident)["launches"], sizes)
