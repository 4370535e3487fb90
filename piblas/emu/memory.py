"""Memory as the units of the chip reach it, and the caches on the way (guide, p. 13-14).

Memory is one flat array behind the bus address in ``G[G_BASE]``.  ``L`` says for each
4096-byte page how many of its bytes, from its start, belong to a buffer: buffers start on pages and
never share one, so one comparison decides whether an access is inside.

With ``incoherent`` set, lines of 64 bytes are held as on the chip until something evicts or clears
them: TMU cache (4 KiB, direct mapped, one per TMU), instruction cache (4 KiB, 4 ways, one per
slice), L2 (32 KiB, 4 ways, least recently used); the uniforms cache is undocumented and taken as
4 KiB, direct mapped, one per slice.  All are read only: clearing one loses nothing.  Behind the
uniforms cache each QPU (each of two threads) has a FIFO of two words, filled at the start, after a
write of the address and by each read: what changes in memory or caches later does not reach them.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import lanes, races
from .faults import FAULT, fault, on
from .layout import (
    C_AGE,
    C_CODE,
    C_L2,
    C_TMU,
    C_UNIF,
    CODE_LINES,
    CODE_WAYS,
    G_BASE,
    G_CLOCK,
    G_FRESH,
    G_INCOHERENT,
    G_L2_LINES,
    G_NQPUS,
    G_SDRAM_LINES,
    G_SIZE,
    G_STRICT,
    G_TRAP,
    L2_SETS,
    L2_WAYS,
    N_UNIFORMS,
    OK,
    PER_QPU,
    Q_AHEAD,
    Q_AHEAD_2,
    Q_AHEAD_NEW,
    Q_AHEAD_NEW_2,
    Q_COUNT,
    Q_OTHER,
    Q_SUSPENDED,
    Q_UNIF,
    Q_UNIF_AT,
    Q_UNIF_NEW,
    TMU_LINES,
    UNIF_LINES,
)  # fmt: skip


@njit
def live(S, address, nbytes):
    """Whether ``nbytes`` (1..4096) bytes from a bus address on belong to a buffer."""
    offset = address - S.G[G_BASE]
    if offset < 0 or offset + nbytes > S.G[G_SIZE]:
        return False
    page = offset >> 12
    end = (offset & 4095) + nbytes
    if end <= 4096:
        return end <= S.L[page]
    return S.L[page] == 4096 and end - 4096 <= S.L[page + 1]


@njit
def poison(address):
    """The pattern of a word that was never written."""
    x = (address >> 2) * 0x9E3779B1 & 0xFFFFFFFF
    x ^= x >> 15
    x = x * 0x85EBCA77 & 0xFFFFFFFF
    return x ^ x >> 13


@njit
def fill_poison(M, base, first, last):
    """Poison the words first..last-1 of memory."""
    for index in range(first, last):
        M[index] = poison(base + 4 * index)


# --- caches --------------------------------------------------------------------------------------


@njit
def _l2_line(S, line):
    """Index of the L2 entry that holds the 64-byte line number ``line``, fetched if need be."""
    G, CT = S.G, S.CT
    G[G_CLOCK] += 1
    G[G_L2_LINES] += 1
    first = C_L2 + (line & (L2_SETS - 1)) * L2_WAYS
    victim = first
    for entry in range(first, first + L2_WAYS):
        if CT[entry] == line:
            CT[C_AGE + entry] = G[G_CLOCK]
            return entry
        if CT[C_AGE + entry] < CT[C_AGE + victim]:
            victim = entry
    G[G_SDRAM_LINES] += 1
    CT[victim] = line
    CT[C_AGE + victim] = G[G_CLOCK]
    word = 16 * (line - (G[G_BASE] >> 6))
    for i in range(16):
        S.CD[16 * victim + i] = S.M[word + i]
    return victim


@njit
def _fill(S, entry, line):
    """Put a line into a first-level entry."""
    source = 16 * _l2_line(S, line)
    S.CT[entry] = line
    for i in range(16):
        S.CD[16 * entry + i] = S.CD[source + i]


@njit
def _through(S, entry, address):
    """The word at an address that maps to a direct-mapped entry."""
    line = address >> 6
    if S.CT[entry] != line:
        _fill(S, entry, line)
    return np.int64(S.CD[16 * entry + (address >> 2 & 15)])


@njit
def code_entry(S, q, address):
    """The entry of the instruction cache that holds an address; -1 - entry if just fetched."""
    G, CT = S.G, S.CT
    G[G_CLOCK] += 1
    line = address >> 6
    sets = CODE_LINES // CODE_WAYS
    first = C_CODE + q // PER_QPU * CODE_LINES + (line & (sets - 1)) * CODE_WAYS
    victim = first
    for entry in range(first, first + CODE_WAYS):
        if CT[entry] == line:
            CT[C_AGE + entry] = G[G_CLOCK]
            return entry
        if CT[C_AGE + entry] < CT[C_AGE + victim]:
            victim = entry
    _fill(S, victim, line)
    CT[C_AGE + victim] = G[G_CLOCK]
    return -1 - victim


# --- reads ---------------------------------------------------------------------------------------


@njit
def inside(S, address):
    """Whether the word at an address is inside memory, in a buffer or not."""
    offset = address - S.G[G_BASE]
    return 0 <= offset and offset + 4 <= S.G[G_SIZE]


@njit
def tmu_word(S, q, tmu, address):
    """The word that a TMU returns for an aligned address inside memory."""
    if S.G[G_INCOHERENT]:
        cache = (q // PER_QPU * 2 + tmu) * TMU_LINES
        return _through(S, C_TMU + cache + (address >> 6 & (TMU_LINES - 1)), address)
    return np.int64(S.M[(address - S.G[G_BASE]) >> 2])


@njit
def tmu_line(S, q, tmu, address):
    """The 16 words that a TMU returns for 16 addresses in a row, all in one line of a buffer.

    Without caches the line need not be aligned.
    """
    if S.G[G_INCOHERENT]:
        line = address >> 6
        entry = C_TMU + (q // PER_QPU * 2 + tmu) * TMU_LINES + (line & (TMU_LINES - 1))
        if S.CT[entry] != line:
            _fill(S, entry, line)
        return lanes.load(S.CD, 16 * entry)
    return lanes.load(S.M, (address - S.G[G_BASE]) >> 2)


# --- uniforms ------------------------------------------------------------------------------------


@njit
def _uniform_word(S, q, address):
    """What is at an aligned address for the uniforms of a QPU; 0 outside memory."""
    if not inside(S, address):
        return 0
    if S.G[G_INCOHERENT]:
        entry = C_UNIF + q // PER_QPU * UNIF_LINES + (address >> 6 & (UNIF_LINES - 1))
        return _through(S, entry, address)
    return np.int64(S.M[(address - S.G[G_BASE]) >> 2])


@njit
def _fetch_ahead(S, q, address, column):
    """Fill a FIFO, two columns of ``Q``, with the words at an address."""
    address &= ~3
    S.Q[q, column] = _uniform_word(S, q, address)
    S.Q[q, column + 1] = _uniform_word(S, q, address + 4)


@njit
def begin_uniforms(S):
    """The FIFOs fill as the launch begins."""
    G, Q = S.G, S.Q
    G[G_FRESH] = 0
    if G[G_INCOHERENT]:
        for q in range(G[G_NQPUS]):
            _fetch_ahead(S, q, Q[q, Q_UNIF], Q_AHEAD)
            if Q[q, Q_SUSPENDED]:
                _fetch_ahead(S, q, Q[q, Q_OTHER + Q_UNIF], Q_OTHER + Q_AHEAD)


@njit
def unif_address(Q, q):
    """Address of the next uniform: a rewritten one holds from the third instruction on."""
    if Q[q, Q_UNIF_AT] >= 0 and Q[q, Q_COUNT] - Q[q, Q_UNIF_AT] >= 3:
        Q[q, Q_UNIF] = Q[q, Q_UNIF_NEW]
        Q[q, Q_AHEAD], Q[q, Q_AHEAD_2] = Q[q, Q_AHEAD_NEW], Q[q, Q_AHEAD_NEW_2]
        Q[q, Q_UNIF_AT] = -1
    return Q[q, Q_UNIF]


@njit
def rewrite_unif_address(S, q, address):
    """A write of the uniforms address."""
    Q = S.Q
    unif_address(Q, q)
    Q[q, Q_UNIF_NEW] = address
    Q[q, Q_UNIF_AT] = Q[q, Q_COUNT]
    if S.G[G_INCOHERENT]:
        _fetch_ahead(S, q, address, Q_AHEAD_NEW)


@njit
def next_uniform(S, q):
    """Pop a uniform: (status, word).

    Less than 3 instructions after a rewrite the old stream still answers.
    """
    Q, G = S.Q, S.G
    address = unif_address(Q, q)
    if G[G_STRICT]:
        if Q[q, Q_UNIF_AT] >= 0 and on(S, FAULT.UNIF_EARLY):
            return fault(S, q, FAULT.UNIF_EARLY, address), 0
        if address & 3 and on(S, FAULT.UNIF_ALIGN):
            return fault(S, q, FAULT.UNIF_ALIGN, address), 0
        if not live(S, address, 4) and on(S, FAULT.UNIF):
            return fault(S, q, FAULT.UNIF, address), 0
        if races.reads_stored(S, q, address, address + 4):
            return fault(S, q, FAULT.RACE_LOAD, address), 0
    address &= ~3
    Q[q, Q_UNIF] = address + 4
    Q[q, N_UNIFORMS] += 1
    if G[G_INCOHERENT]:
        word = Q[q, Q_AHEAD]
        Q[q, Q_AHEAD] = Q[q, Q_AHEAD_2]
        Q[q, Q_AHEAD_2] = _uniform_word(S, q, address + 8)
    else:
        word = _uniform_word(S, q, address)
    if G[G_TRAP] and word == poison(address):
        return fault(S, q, FAULT.UNINITIALISED, address), 0
    return OK, word
