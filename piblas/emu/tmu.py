"""Memory lookups through the TMUs (guide, p. 37-40): requests, results in order, and which TMU.

A request reads its words at once and puts them into the ring of its TMU; ``ldtmu`` takes the
oldest.  S alone is a direct lookup of 16 addresses and takes one of the eight slots of the queue
(more than four are unreliable on the chip: the peak is counted); a texture lookup takes one for
each coordinate.  Two threads share the queue, half of it for each, and results come in the order of
requests whichever thread asks.  QPUs 2 and 3 of a slice have TMU0 and TMU1 swapped unless
TMU_NOSWAP is set.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..isa.texture import TYPES
from . import lanes, races
from .dma import settle
from .faults import FAULT, fault, on
from .layout import (
    ACC,
    END_TEXTURE,
    G_INCOHERENT,
    G_NQPUS,
    G_STRICT,
    G_TRAP,
    G_VDW_OWNER,
    N_TMU,
    N_TMU_PEAK,
    OK,
    Q_AGAIN,
    Q_CONFIGS,
    Q_COORDS0,
    Q_COORDS1,
    Q_COUNT,
    Q_EXTRA0,
    Q_EXTRA1,
    Q_FILL0,
    Q_FILL1,
    Q_HEAD0,
    Q_LOOKUP,
    Q_NOSWAP,
    Q_NOSWAP_AT,
    Q_NOSWAP_NEW,
    Q_OWNER0,
    Q_RESULTS,
    Q_SPECIAL,
    Q_THREAD,
    QPU_WORDS,
    SLOT_COORDS,
    SLOT_TEXELS,
    SP_TEXTURE,
    SP_THREADS,
    WAIT_TMU,
    WAIT_TMU_FULL,
)  # fmt: skip
from .memory import inside, live, next_uniform, poison, tmu_line, tmu_word

DEPTH = 8
S_ALONE = 0
_RGBA64 = TYPES.index("rgba64")


@njit
def which(Q, q, tmu):
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
    which(Q, q, 0)
    new = 1 if word else 0
    busy = Q[q, Q_FILL0] + Q[q, Q_FILL1] + Q[q, Q_COORDS0] + Q[q, Q_COORDS1]
    if q & 2 and new != Q[q, Q_NOSWAP] and busy and on(S, FAULT.TMU_SWAP_BUSY):
        return fault(S, q, FAULT.TMU_SWAP_BUSY, -1)
    Q[q, Q_NOSWAP_NEW] = new
    Q[q, Q_NOSWAP_AT] = Q[q, Q_COUNT]
    return OK


@njit
def _bits(coords):
    return (coords & 1) + (coords >> 1 & 1) + (coords >> 2 & 1)


# --- room ----------------------------------------------------------------------------------------


@njit
def _taken(Q, q, unit, thread):
    """(Slots of the request queue, results) that are taken, by one thread or by both (-1)."""
    slots = count = 0
    for i in range(Q[q, Q_FILL0 + unit]):
        entry = Q[q, Q_HEAD0 + unit] + i & (DEPTH - 1)
        if thread < 0 or Q[q, Q_OWNER0 + unit] >> entry & 1 == thread:
            slots += 1 + (Q[q, Q_EXTRA0 + unit] >> 4 * entry & 15)
            count += 1
    return slots, count


@njit
def results(Q, q, tmu):
    """How many results the texture lookup under way has: type rgba64 has two."""
    return 2 if Q[q, Q_CONFIGS + 4 * tmu] >> 4 & 15 == _RGBA64 else 1


@njit
def _crowded(S, q, tmu, address):
    """:func:`request_wait` where textures or two threads make it a matter of counting."""
    Q = S.Q
    unit = which(Q, q, tmu)
    coords = Q[q, Q_COORDS0 + tmu]
    more = 0
    if address == S_ALONE:
        more = results(Q, q, tmu) if coords else 1
    slots, there = _taken(Q, q, unit, -1)
    need = 1 + _bits(coords)
    if slots + need > DEPTH or there + more > DEPTH:
        return fault(S, q, FAULT.TMU_FULL, -1) if on(S, FAULT.TMU_FULL) else WAIT_TMU_FULL
    if Q[q, Q_SPECIAL] & SP_THREADS:
        slots, there = _taken(Q, q, unit, Q[q, Q_THREAD])
        half = DEPTH // 2
        if (slots + need > half or there + more > half) and on(S, FAULT.TMU_HALF):
            return fault(S, q, FAULT.TMU_HALF, -1)
    return OK


@njit
def request_wait(S, q, tmu, address):
    """Whether there is no room for a write of S, T, R or B (``address`` 0 to 3).

    Only the same QPU could make room.
    """
    if S.Q[q, Q_SPECIAL] & (SP_TEXTURE | SP_THREADS) or address != S_ALONE:
        return _crowded(S, q, tmu, address)
    if S.Q[q, Q_FILL0 + which(S.Q, q, tmu)] < DEPTH:
        return OK
    return fault(S, q, FAULT.TMU_FULL, -1) if on(S, FAULT.TMU_FULL) else WAIT_TMU_FULL


# --- requests ------------------------------------------------------------------------------------


@njit
def _push(Q, q, unit):
    """The ring's next entry is filled."""
    entry = Q[q, Q_HEAD0 + unit] + Q[q, Q_FILL0 + unit] & (DEPTH - 1)
    if Q[q, Q_SPECIAL] & SP_THREADS:
        owners = Q[q, Q_OWNER0 + unit] & ~(1 << entry)
        Q[q, Q_OWNER0 + unit] = owners | Q[q, Q_THREAD] << entry
    Q[q, Q_FILL0 + unit] += 1
    Q[q, N_TMU_PEAK] = max(Q[q, N_TMU_PEAK], Q[q, Q_FILL0 + unit])
    return entry


@njit
def _target(Q, q, unit):
    """Place in ``S.T`` of the ring's next entry."""
    entry = Q[q, Q_HEAD0 + unit] + Q[q, Q_FILL0 + unit] & (DEPTH - 1)
    return 16 * ((q * 2 + unit) * DEPTH + entry)


@njit
def _swap_early(S, q):
    Q = S.Q
    if Q[q, Q_NOSWAP_AT] >= 0 and q & 2 and on(S, FAULT.TMU_SWAP_EARLY):
        return Q[q, Q_NOSWAP_NEW] != Q[q, Q_NOSWAP]
    return False


@njit
def _one_by_one(S, q, unit, source, target):
    """The words at any 16 addresses."""
    G = S.G
    strict = G[G_STRICT] != 0
    for e in range(16):
        address = np.int64(S.R[source + e]) & 0xFFFFFFFC
        if strict and not live(S, address, 4) and on(S, FAULT.TMU):
            return fault(S, q, FAULT.TMU, address)
        if strict and races.reads_stored(S, q, address, address + 4):
            return fault(S, q, FAULT.RACE_LOAD, address)
        word = tmu_word(S, q, unit, address) if inside(S, address) else 0
        if G[G_TRAP] and word == poison(address):
            return fault(S, q, FAULT.UNINITIALISED, address)
        S.T[target + e] = word
    return OK


@njit
def request(S, q, tmu, source):
    """Look up the 16 addresses at ``source`` of ``S.R``."""
    Q, G = S.Q, S.G
    unit = which(Q, q, tmu)
    strict = G[G_STRICT] != 0
    if _swap_early(S, q):
        return fault(S, q, FAULT.TMU_SWAP_EARLY, -1)
    if G[G_VDW_OWNER] >= 0:
        settle(S)
    target = _target(Q, q, unit)
    addresses = lanes.band(lanes.load(S.R, source), lanes.splat(0xFFFFFFFC))
    start = lanes.first(addresses)
    in_a_row = lanes.add(lanes.splat(start), lanes.word_offsets())
    scattered = lanes.mask_differ(addresses, in_a_row) != 0 or G[G_INCOHERENT] and start & 63
    if not scattered and strict:
        scattered = races.reads_stored(S, q, start, start + 64)
    if scattered or G[G_TRAP] or not live(S, start, 64):
        status = _one_by_one(S, q, unit, source, target)
        if status != OK:
            return status
        if strict and G[G_NQPUS] > 1:
            races.looks_up_single(S, q, addresses)
    else:
        lanes.store(S.T, target, tmu_line(S, q, unit, start))
        if strict and G[G_NQPUS] > 1:
            races.looks_up(S, q, start)
    _push(Q, q, unit)
    Q[q, N_TMU] += 1
    return OK


@njit
def texture(S, q, tmu, source):
    """S behind T, R or B, before the instruction writes anything: the host carries it out."""
    Q = S.Q
    if _swap_early(S, q):
        return fault(S, q, FAULT.TMU_SWAP_EARLY, -1)
    status = _configure(S, q, tmu)
    if status != OK:
        return status
    place = q * QPU_WORDS + 16 * (SLOT_COORDS + 3 * tmu)
    lanes.store(S.R, place, lanes.load(S.R, source))
    Q[q, Q_AGAIN] = 1 + tmu
    return END_TEXTURE


@njit
def _texture_done(S, q, tmu):
    """The results are in the ring's next entries."""
    Q = S.Q
    unit = which(Q, q, tmu)
    count = results(Q, q, tmu)
    for result in range(count):
        extra = _bits(Q[q, Q_COORDS0 + tmu]) if result == 0 else 0
        entry = _push(Q, q, unit)
        Q[q, Q_EXTRA0 + unit] |= extra << 4 * entry
        Q[q, N_TMU] += 1
    Q[q, Q_LOOKUP], Q[q, Q_RESULTS] = 16 * SLOT_TEXELS, count
    Q[q, Q_COORDS0 + tmu] = Q[q, Q_AGAIN] = 0


@njit
def _configure(S, q, tmu):
    """Take a uniform as the next configuration word."""
    if S.G[G_VDW_OWNER] >= 0:
        settle(S)
    status, word = next_uniform(S, q)
    S.Q[q, Q_CONFIGS + 4 * tmu + _bits(S.Q[q, Q_COORDS0 + tmu])] = word
    return status


@njit
def write(S, q, tmu, address, source):
    """A write of S, T, R or B (``address`` 0 to 3) of the vector at ``source``."""
    Q = S.Q
    coords = Q[q, Q_COORDS0 + tmu]
    if address == S_ALONE:
        if coords:
            _texture_done(S, q, tmu)
            return OK
        Q[q, Q_LOOKUP], Q[q, Q_RESULTS] = source - q * QPU_WORDS, 1
        return request(S, q, tmu, source)
    if _swap_early(S, q):
        return fault(S, q, FAULT.TMU_SWAP_EARLY, -1)
    status = _configure(S, q, tmu)
    if status != OK:
        return status
    if coords >> (address - 1) & 1 and on(S, FAULT.TEX_TWICE):
        return fault(S, q, FAULT.TEX_TWICE, -1)
    Q[q, Q_COORDS0 + tmu] |= 1 << (address - 1)
    Q[q, Q_SPECIAL] |= SP_TEXTURE
    if address < 3:
        place = q * QPU_WORDS + 16 * (SLOT_COORDS + 3 * tmu + address)
        lanes.store(S.R, place, lanes.load(S.R, source))
    return OK


@njit
def takes_uniform(Q, q, address):
    """Whether a write to I/O address 56..63 takes a uniform."""
    return address & 3 != S_ALONE or Q[q, Q_COORDS0 + (address >> 2 & 1)] != 0


# --- results -------------------------------------------------------------------------------------


@njit
def pop_wait(S, q, tmu):
    """Whether there is no result to take."""
    Q = S.Q
    unit = which(Q, q, tmu)
    if Q[q, Q_FILL0 + unit] == 0:
        return fault(S, q, FAULT.TMU_POP, -1) if on(S, FAULT.TMU_POP) else WAIT_TMU
    if Q[q, Q_SPECIAL] & SP_THREADS:
        others = Q[q, Q_OWNER0 + unit] >> Q[q, Q_HEAD0 + unit] & 1 != Q[q, Q_THREAD]
        if others and on(S, FAULT.TMU_OTHER):
            return fault(S, q, FAULT.TMU_OTHER, -1)
    return OK


@njit
def pop(S, q, tmu):
    """Move the oldest result to r4."""
    Q = S.Q
    unit = which(Q, q, tmu)
    head = Q[q, Q_HEAD0 + unit]
    source = 16 * ((q * 2 + unit) * DEPTH + head)
    lanes.store(S.R, q * QPU_WORDS + 16 * (ACC + 4), lanes.load(S.T, source))
    Q[q, Q_HEAD0 + unit] = head + 1 & (DEPTH - 1)
    Q[q, Q_FILL0 + unit] -= 1
    if Q[q, Q_SPECIAL] & SP_TEXTURE:
        Q[q, Q_EXTRA0 + unit] &= ~(15 << 4 * head)
        busy = Q[q, Q_EXTRA0] | Q[q, Q_EXTRA1] | Q[q, Q_COORDS0] | Q[q, Q_COORDS1]
        if busy == 0:
            Q[q, Q_SPECIAL] &= ~SP_TEXTURE


@njit
def left(S, q):
    """Whether the running thread has not taken all of its results."""
    Q = S.Q
    if Q[q, Q_SPECIAL] & SP_THREADS:
        return _taken(Q, q, 0, Q[q, Q_THREAD])[1] + _taken(Q, q, 1, Q[q, Q_THREAD])[1] > 0
    return Q[q, Q_FILL0] + Q[q, Q_FILL1] > 0
