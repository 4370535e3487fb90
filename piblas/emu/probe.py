"""When each QPU waited, and for what: bins over time, and a list of single long waits.

A launch may take any number of clocks, and a QPU may wait millions of times, so the bins are
bounded: ``BINS`` of them for each QPU, as wide as the launch so far needs.  Where a wait lies
beyond the last bin, pairs of bins become one of twice the width.  Only waits are booked: what is
left of a bin is issue, and after a QPU's end it is idle (:func:`timeline`).

``TB`` holds a few numbers (``TB_*``) and then clocks[qpu][bin][cause]; ``TS`` holds segments, five
numbers each: QPU, cause, first clock, clock after the last, bus address.  Both are int64.
"""

from __future__ import annotations

from typing import Any, Dict, Sequence, Tuple

import numpy as np
from numba import njit

__all__ = ["BINS", "SEGMENTS", "SHORTEST", "new", "timeline", "wait"]

BINS = 1024
SEGMENTS = 200_000
SHORTEST = 16
"""A wait of so many clocks gets a segment of its own."""

TB_SHIFT, TB_CAUSES, TB_QPUS, TB_COUNT, TB_DROPPED, TB_ROOM = range(6)
_HEAD = 8
_FIRST_SHIFT = 6


def new(n_qpus: int, n_causes: int, segments: int = SEGMENTS) -> Tuple[np.ndarray, np.ndarray]:
    """Fresh (TB, TS) for a launch."""
    bins = np.zeros(_HEAD + n_qpus * BINS * n_causes, dtype=np.int64)
    bins[TB_SHIFT], bins[TB_CAUSES], bins[TB_QPUS] = _FIRST_SHIFT, n_causes, n_qpus
    bins[TB_ROOM] = segments
    return bins, np.zeros(5 * max(segments, 1), dtype=np.int64)


@njit
def _widen(TB):
    """Make two bins one."""
    causes = TB[TB_CAUSES]
    for q in range(TB[TB_QPUS]):
        base = _HEAD + q * BINS * causes
        for i in range(BINS):
            for cause in range(causes):
                to = base + i * causes + cause
                if 2 * i < BINS:
                    source = base + 2 * i * causes + cause
                    TB[to] = TB[source] + TB[source + causes]
                else:
                    TB[to] = 0
    TB[TB_SHIFT] = TB[TB_SHIFT] + 1


@njit
def wait(TB, TS, q, cause, start, end, address):
    """QPU ``q`` waits from clock ``start`` to clock ``end`` with the instruction at ``address``."""
    if end <= start:
        return
    while (end - 1) >> TB[TB_SHIFT] >= BINS:
        _widen(TB)
    shift, causes = TB[TB_SHIFT], TB[TB_CAUSES]
    base = _HEAD + q * BINS * causes + cause
    at = start
    while at < end:
        i = at >> shift
        until = min(end, (i + 1) << shift)
        TB[base + i * causes] = TB[base + i * causes] + until - at
        at = until
    if end - start >= SHORTEST:
        row = TB[TB_COUNT]
        if row < TB[TB_ROOM]:
            TS[5 * row], TS[5 * row + 1], TS[5 * row + 2] = q, cause, start
            TS[5 * row + 3], TS[5 * row + 4] = end, address
            TB[TB_COUNT] = row + 1
        else:
            TB[TB_DROPPED] = TB[TB_DROPPED] + 1


def timeline(
    TB: np.ndarray,
    TS: np.ndarray,
    cycles: int,
    ends: Sequence[int],
    causes: Sequence[str],
) -> Dict[str, Any]:
    """The arguments of a ``Timeline`` of ``cycles`` clocks.

    ``ends`` holds the clock at which each QPU's program ended.  "issue" and "idle", which nobody
    books, are filled in: what no wait took before the end, and everything after it.
    """
    while cycles - 1 >> int(TB[TB_SHIFT]) >= BINS:
        _widen(TB)
    width = 1 << int(TB[TB_SHIFT])
    n_qpus, n_causes = int(TB[TB_QPUS]), int(TB[TB_CAUSES])
    used = max(1, -(-cycles // width))
    clocks = TB[_HEAD:].reshape(n_qpus, BINS, n_causes)[: len(ends), :used].copy()
    edges = np.minimum(np.arange(used + 1, dtype=np.int64) * width, cycles)
    alive = np.minimum(edges, np.asarray(ends, dtype=np.int64)[:, None])
    clocks[:, :, causes.index("idle")] = np.diff(edges) - np.diff(alive, axis=1)
    issue = causes.index("issue")
    clocks[:, :, issue] = 0
    clocks[:, :, issue] = np.diff(edges) - clocks.sum(axis=2)
    return {
        "width": width,
        "clocks": clocks,
        "causes": tuple(causes),
        "segments": TS[: 5 * int(TB[TB_COUNT])].reshape(-1, 5).copy(),
        "dropped": int(TB[TB_DROPPED]),
    }
