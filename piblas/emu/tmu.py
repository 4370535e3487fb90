"""Memory lookups through the TMUs (guide, p. 37-40): requests, results in order, and which TMU.

A request reads its 16 words at once and puts them into the ring of its TMU; ``ldtmu`` takes the
oldest.  Eight requests fit (more than four are unreliable on the chip: the peak is counted).
QPUs 2 and 3 of a slice have TMU0 and TMU1 swapped unless TMU_NOSWAP is set.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import lanes
from .dma import settle
from .layout import (
    ACC, FAULT, G_STRICT, G_TRAP, G_VDW_HIGH, G_VDW_LOW, G_VDW_OWNER, N_TMU, N_TMU_PEAK, OK,
    QPU_WORDS, Q_COUNT, Q_FILL0, Q_FILL1, Q_HEAD0, Q_NOSWAP, Q_NOSWAP_AT, Q_NOSWAP_NEW, WAIT_TMU,
    WAIT_TMU_FULL,
)  # fmt: skip
from .memory import fault, inside, live, poison, tmu_word

DEPTH = 8


@njit
def _which(Q, q, tmu):
    """The TMU reached as TMU 0 or 1; a new TMU_NOSWAP holds from the third instruction on."""
    if Q[q, Q_NOSWAP_AT] >= 0 and Q[q, Q_COUNT] - Q[q, Q_NOSWAP_AT] >= 3:
        Q[q, Q_NOSWAP] = Q[q, Q_NOSWAP_NEW]
        Q[q, Q_NOSWAP_AT] = -1
    if q & 2 and not Q[q, Q_NOSWAP]:
        return 1 - tmu
    return tmu


@njit
def noswap(S, q, word):
    """A write to TMU_NOSWAP."""
    Q = S.Q
    _which(Q, q, 0)
    new = 1 if word else 0
    if S.G[G_STRICT] and q & 2 and new != Q[q, Q_NOSWAP] and Q[q, Q_FILL0] + Q[q, Q_FILL1]:
        return fault(S, q, FAULT.TMU_SWAP_BUSY, -1)
    Q[q, Q_NOSWAP_NEW] = new
    Q[q, Q_NOSWAP_AT] = Q[q, Q_COUNT]
    return OK


@njit
def request_wait(S, q, tmu):
    """Whether the request ring is full; only the same QPU could make room."""
    if S.Q[q, Q_FILL0 + _which(S.Q, q, tmu)] < DEPTH:
        return OK
    return fault(S, q, FAULT.TMU_FULL, -1) if S.G[G_STRICT] else WAIT_TMU_FULL


@njit
def request(S, q, tmu, source):
    """Look up the 16 addresses at ``source`` of ``S.R``."""
    Q, G = S.Q, S.G
    unit = _which(Q, q, tmu)
    strict = G[G_STRICT] != 0
    if strict and Q[q, Q_NOSWAP_AT] >= 0 and q & 2 and Q[q, Q_NOSWAP_NEW] != Q[q, Q_NOSWAP]:
        return fault(S, q, FAULT.TMU_SWAP_EARLY, -1)
    if G[G_VDW_OWNER] >= 0:
        settle(S)
    racing = strict and G[G_VDW_OWNER] >= 0
    fill = Q[q, Q_FILL0 + unit]
    ring = (q * 2 + unit) * DEPTH
    target = 16 * (ring + (Q[q, Q_HEAD0 + unit] + fill & (DEPTH - 1)))
    for e in range(16):
        address = np.int64(S.R[source + e]) & 0xFFFFFFFC
        if strict and not live(S, address, 4):
            return fault(S, q, FAULT.TMU, address)
        if racing and G[G_VDW_LOW] <= address < G[G_VDW_HIGH]:
            return fault(S, q, FAULT.RACE_LOAD, address)
        word = tmu_word(S, q, unit, address) if inside(S, address) else 0
        if G[G_TRAP] and word == poison(address):
            return fault(S, q, FAULT.UNINITIALISED, address)
        S.T[target + e] = word
    Q[q, Q_FILL0 + unit] = fill + 1
    Q[q, N_TMU] += 1
    Q[q, N_TMU_PEAK] = max(Q[q, N_TMU_PEAK], fill + 1)
    return OK


@njit
def pop_wait(S, q, tmu):
    """Whether there is no result to take."""
    if S.Q[q, Q_FILL0 + _which(S.Q, q, tmu)] > 0:
        return OK
    return fault(S, q, FAULT.TMU_POP, -1) if S.G[G_STRICT] else WAIT_TMU


@njit
def pop(S, q, tmu):
    """Move the oldest result to r4."""
    Q = S.Q
    unit = _which(Q, q, tmu)
    head = Q[q, Q_HEAD0 + unit]
    source = 16 * ((q * 2 + unit) * DEPTH + head)
    lanes.store(S.R, q * QPU_WORDS + 16 * (ACC + 4), lanes.load(S.T, source))
    Q[q, Q_HEAD0 + unit] = head + 1 & (DEPTH - 1)
    Q[q, Q_FILL0 + unit] -= 1
