"""Accesses that nothing orders: DMA transfers, and what QPUs and other transfers do meanwhile.

A transfer is under way from the write of its address until a QPU has waited for it, whatever the
clock says, and other QPUs know of the wait only by the mutex or a semaphore.  Two accesses race if
the program orders them in neither way, even if they happened one after the other in this run.  So
races depend neither on timing, nor on how turns of the QPUs fall, nor on tracing.

The method is vector clocks.  Each QPU counts steps of its own; a new one begins with every release
(mutex, semaphore) and every transfer.  A clock (``CLOCK`` words) holds, for each QPU p,

- the step of p up to which everything that p did is known,
- the steps of p up to which its DMA loads, and its stores, are known to be complete.

Each QPU has a clock; the mutex and the latest counts of each semaphore keep that of who released.
A semaphore goes down for the n-th time only after n - (its first count) have gone up, and up for
the n-th time at 15 only after somebody went down: these are what a QPU learns from.  Waiting for an
engine, or starting it anew, completes all of its transfers that are known to have begun.

Kept for comparison: the latest ``KEPT`` transfers of each QPU and engine, the latest read and
write of each row and column of the VPM, the latest ``LOOKUPS`` lookups of each QPU.  Uniforms and
textures are compared with stores before them only.
"""

from __future__ import annotations

from typing import Any, Callable

from numba import njit

from . import lanes
from .faults import FAULT, fault, on
from .layout import (
    G_NQPUS,
    G_SEMAPHORE,
    G_STORED_FROM,
    G_STORED_TO,
    G_STRICT,
    LOOKUPS,
    MAX_QPUS,
    OK,
    Q_PC,
    T_LOOKUPS,
    VPM_ROWS,
)  # fmt: skip

LOAD, STORE = 0, 1
N = MAX_QPUS
STEP, DONE = 0, N  # DONE + N * engine
CLOCK = 3 * N
KEPT = 8
DEPTH = 16  # counts of a semaphore that are kept: a semaphore goes to 15

# A transfer: the step that it began; VPM rows and columns as bits; memory; bus address of the
# instruction.
T_STEP, T_ROWS, T_COLUMNS, T_ADDRESS, T_PITCH, T_COUNT, T_BYTES, T_PC, T_WIDTH = range(9)
# A lookup: the step, and the first of 16 addresses in a row; -1: single ones, kept in T.
L_STEP, L_START, L_WIDTH = range(3)
# Lines of the VPM: rows, then columns of each block of 16 rows.
LINES = VPM_ROWS + VPM_ROWS
# What was found, for the message.
BY_LOAD, BY_STORE, BY_READ, BY_WRITE, BY_LOOKUP = range(5)
(
    FOUND_QPU, FOUND_WHAT, FOUND_ROWS, FOUND_COLUMNS, FOUND_LOW, FOUND_HIGH, FOUND_PC,
    FOUND_MY_ROWS, FOUND_MY_COLUMNS, FOUND_MY_LOW, FOUND_MY_HIGH, FOUND_WIDTH,
) = range(12)  # fmt: skip

O_MUTEX = N * CLOCK  # behind the clocks of the QPUs
O_DOWNS = O_MUTEX + CLOCK
O_UPS = O_DOWNS + 16 * DEPTH * CLOCK
O_COUNTS = O_UPS + 16 * DEPTH * CLOCK  # of each semaphore: times up, times down, count at first
O_LATEST = O_COUNTS + 3 * 16  # step of the latest transfer of [QPU][engine], and their number
O_NUMBER = O_LATEST + 2 * N
O_TRANSFERS = O_NUMBER + 2 * N
O_TOUCHED = O_TRANSFERS + 2 * N * KEPT * T_WIDTH  # step of a QPU's latest access of the VPM
O_ROWS = O_TOUCHED + N  # VPM rows that a QPU has accessed in this launch
O_LINES = O_ROWS + N  # [QPU][line][read, write]: step << 16 | cells
O_LOOKUPS = O_LINES + 2 * N * LINES
O_LOOKED = O_LOOKUPS + N * LOOKUPS * L_WIDTH  # number of lookups of a QPU
O_FOUND = O_LOOKED + N
HB_WIDTH = O_FOUND + FOUND_WIDTH

_NOWHERE = 1 << 62


def begin(G: Any, HB: Any) -> None:
    """A launch begins: nothing has happened."""
    HB[:] = 0
    for q in range(N):
        HB[q * CLOCK + STEP + q] = 1
    HB[O_COUNTS + 32 : O_COUNTS + 48] = G[G_SEMAPHORE : G_SEMAPHORE + 16]
    G[G_STORED_FROM], G[G_STORED_TO] = _NOWHERE, 0


# --- what orders ---------------------------------------------------------------------------------


@njit
def _join(HB, place, other):
    for i in range(CLOCK):
        HB[place + i] = max(HB[place + i], HB[other + i])


@njit
def acquired(S, q):
    """QPU ``q`` has got the mutex."""
    if S.G[G_STRICT]:
        _join(S.HB, q * CLOCK, O_MUTEX)


@njit
def released(S, q):
    """QPU ``q`` has released the mutex."""
    HB = S.HB
    if S.G[G_STRICT]:
        _join(HB, O_MUTEX, q * CLOCK)
        HB[q * CLOCK + STEP + q] += 1


@njit
def counted(S, q, number, down):
    """QPU ``q`` has counted semaphore ``number`` up, or down (1)."""
    HB = S.HB
    if not S.G[G_STRICT]:
        return
    own = q * CLOCK
    HB[O_COUNTS + 16 * down + number] += 1
    n, first = HB[O_COUNTS + 16 * down + number], HB[O_COUNTS + 32 + number]
    mine = (O_DOWNS if down else O_UPS) + number * (DEPTH * CLOCK)
    others = (O_UPS if down else O_DOWNS) + number * (DEPTH * CLOCK)
    needed = n - first if down else n + first - 15
    if needed > 0:
        _join(HB, own, others + (needed & DEPTH - 1) * CLOCK)
    place, before = mine + (n & DEPTH - 1) * CLOCK, mine + (n - 1 & DEPTH - 1) * CLOCK
    for i in range(CLOCK):
        HB[place + i] = max(HB[before + i], HB[own + i])
    HB[own + STEP + q] += 1


@njit
def completed(S, q, engine):
    """QPU ``q`` has seen that a DMA engine is idle."""
    HB = S.HB
    if S.G[G_STRICT]:
        own = q * CLOCK
        done = own + DONE + N * engine
        for p in range(N):
            HB[done + p] = max(HB[done + p], HB[own + STEP + p])


# --- what races ----------------------------------------------------------------------------------


@njit
def _row_of(first, end, address, pitch, count, nbytes):
    """Whether first..end-1 has a byte of ``count`` rows of ``nbytes``, ``pitch`` apart."""
    if pitch < nbytes:  # rows that overlap leave no gaps
        return first < address + (count - 1) * pitch + nbytes and end > address
    if end <= address or first >= address + (count - 1) * pitch + nbytes:
        return False
    row = max(first - address, 0) // pitch
    start = address + row * pitch
    if row < count and first < start + nbytes and end > start:
        return True
    return row + 1 < count and end > start + pitch


@njit
def _within(HB, t, first, end):
    """Whether a transfer's memory has a byte of first..end-1."""
    return _row_of(first, end, HB[t + T_ADDRESS], HB[t + T_PITCH], HB[t + T_COUNT], HB[t + T_BYTES])


@njit
def _share_memory(HB, t, address, pitch, count, nbytes):
    """Whether a transfer's memory has a byte of these rows."""
    for r in range(count):
        if _within(HB, t, address + r * pitch, address + r * pitch + nbytes):
            return True
    return False


@njit
def _blame(HB, p, what, t):
    """Note a transfer of QPU ``p`` for the message."""
    HB[O_FOUND + FOUND_QPU], HB[O_FOUND + FOUND_WHAT] = p, what
    HB[O_FOUND + FOUND_ROWS], HB[O_FOUND + FOUND_COLUMNS] = HB[t + T_ROWS], HB[t + T_COLUMNS]
    last = (HB[t + T_COUNT] - 1) * HB[t + T_PITCH]
    HB[O_FOUND + FOUND_LOW] = HB[t + T_ADDRESS]
    HB[O_FOUND + FOUND_HIGH] = HB[t + T_ADDRESS] + last + HB[t + T_BYTES]
    HB[O_FOUND + FOUND_PC] = HB[t + T_PC]


@njit
def _blame_access(HB, p, what, rows, columns, low, high):
    """Note an access of QPU ``p``."""
    HB[O_FOUND + FOUND_QPU], HB[O_FOUND + FOUND_WHAT], HB[O_FOUND + FOUND_PC] = p, what, -1
    HB[O_FOUND + FOUND_ROWS], HB[O_FOUND + FOUND_COLUMNS] = rows, columns
    HB[O_FOUND + FOUND_LOW], HB[O_FOUND + FOUND_HIGH] = low, high


@njit
def _mine(HB, rows, columns, low, high):
    """Note the access that found it."""
    HB[O_FOUND + FOUND_MY_ROWS], HB[O_FOUND + FOUND_MY_COLUMNS] = rows, columns
    HB[O_FOUND + FOUND_MY_LOW], HB[O_FOUND + FOUND_MY_HIGH] = low, high


@njit
def _transfer(HB, p, engine, number):
    """Place of a QPU's transfer."""
    return O_TRANSFERS + ((2 * p + engine) * KEPT + (number & KEPT - 1)) * T_WIDTH


@njit
def _is_open(HB, q, p, engine):
    """Whether a transfer of QPU ``p`` is not known to ``q`` to be complete."""
    return HB[O_LATEST + 2 * p + engine] > HB[q * CLOCK + DONE + N * engine + p]


@njit
def _open(HB, q, p, engine):
    """How many of the kept transfers of QPU ``p`` that is true of; the latest is one of them."""
    known = HB[q * CLOCK + DONE + N * engine + p]
    number = HB[O_NUMBER + 2 * p + engine]
    count = 1
    while count < min(number, KEPT):
        if HB[_transfer(HB, p, engine, number - 1 - count) + T_STEP] <= known:
            break
        count += 1
    return count


@njit
def _against_transfers(S, q, engine, address, pitch, count, nbytes, rows, columns):
    """A new transfer against those of the other engine."""
    HB = S.HB
    other = 1 - engine
    for p in range(S.G[G_NQPUS]):
        if not _is_open(HB, q, p, other):
            continue
        latest = HB[O_NUMBER + 2 * p + other] - 1
        for i in range(_open(HB, q, p, other)):
            t = _transfer(HB, p, other, latest - i)
            code = FAULT.RACE_STORE if engine == STORE else FAULT.RACE_LOAD
            if on(S, code) and _share_memory(HB, t, address, pitch, count, nbytes):
                _blame(HB, p, other, t)
                return fault(S, q, code, address)
            if HB[t + T_ROWS] & rows and HB[t + T_COLUMNS] & columns and on(S, FAULT.VPM_RACE):
                _blame(HB, p, other, t)
                return fault(S, q, FAULT.VPM_RACE, address)
    return OK


@njit
def _touched(HB, p, kind, known, rows, columns):
    """Whether QPU ``p`` has touched cells of the VPM in a step after ``known``; notes it."""
    for y in range(VPM_ROWS):
        if rows >> y & 1:
            line = HB[O_LINES + (p * LINES + y) * 2 + kind]
            if line >> 16 > known and line & columns:
                _blame_access(HB, p, BY_READ + kind, 1 << y, line & 0xFFFF, -1, -1)
                return True
    for block in range(VPM_ROWS // 16):
        part = rows >> 16 * block & 0xFFFF
        for x in range(16):
            if part and columns >> x & 1:
                line = HB[O_LINES + (p * LINES + VPM_ROWS + 16 * block + x) * 2 + kind]
                if line >> 16 > known and line & part:
                    cells = (line & 0xFFFF) << 16 * block
                    _blame_access(HB, p, BY_READ + kind, cells, 1 << x, -1, -1)
                    return True
    return False


@njit
def _looked_up(S, p, known, address, pitch, count, nbytes):
    """Whether QPU ``p`` has looked memory up that these rows cover, in a step after ``known``."""
    HB = S.HB
    number = HB[O_LOOKED + p]
    end = address + (count - 1) * pitch + nbytes
    for i in range(min(number, LOOKUPS)):
        place = p * LOOKUPS + (number - 1 - i & LOOKUPS - 1)
        k = O_LOOKUPS + place * L_WIDTH
        if HB[k + L_STEP] <= known:
            return False
        low = HB[k + L_START]
        if low >= 0:
            near = low < end and low + 64 > address
            if near and _row_of(low, low + 64, address, pitch, count, nbytes):
                _blame_access(HB, p, BY_LOOKUP, 0, 0, low, low + 64)
                return True
            continue
        for e in range(16):
            word = S.T[16 * (T_LOOKUPS + place) + e]
            if _row_of(word, word + 4, address, pitch, count, nbytes):
                _blame_access(HB, p, BY_LOOKUP, 0, 0, word, word + 4)
                return True
    return False


@njit
def _against_accesses(S, q, engine, address, pitch, count, nbytes, rows, columns):
    """A new transfer against what other QPUs have done before."""
    HB = S.HB
    for p in range(S.G[G_NQPUS]):
        known = HB[q * CLOCK + STEP + p]
        if p == q:
            continue
        near = HB[O_TOUCHED + p] > known and HB[O_ROWS + p] & rows != 0
        if near and on(S, FAULT.VPM_ORDER):
            found = _touched(HB, p, 1, known, rows, columns)
            if not found and engine == LOAD:
                found = _touched(HB, p, 0, known, rows, columns)
            if found:
                return fault(S, q, FAULT.VPM_ORDER, address)
        if engine == STORE and on(S, FAULT.RACE_READ):
            if _looked_up(S, p, known, address, pitch, count, nbytes):
                return fault(S, q, FAULT.RACE_READ, address)
    return OK


@njit
def transfer(S, q, engine, address, pitch, count, nbytes, rows, columns):
    """QPU ``q`` starts a transfer of ``count`` rows of ``nbytes``: OK, or a race."""
    HB = S.HB
    completed(S, q, engine)  # it would wait for the one before
    _mine(HB, rows, columns, address, address + (count - 1) * pitch + nbytes)
    status = _against_transfers(S, q, engine, address, pitch, count, nbytes, rows, columns)
    if status == OK:
        status = _against_accesses(S, q, engine, address, pitch, count, nbytes, rows, columns)
    if status != OK:
        return status
    HB[q * CLOCK + STEP + q] += 1
    step = HB[q * CLOCK + STEP + q]
    t = _transfer(HB, q, engine, HB[O_NUMBER + 2 * q + engine])
    HB[O_NUMBER + 2 * q + engine] += 1
    HB[O_LATEST + 2 * q + engine] = step
    HB[t + T_STEP], HB[t + T_ROWS], HB[t + T_COLUMNS] = step, rows, columns
    HB[t + T_ADDRESS], HB[t + T_PITCH], HB[t + T_PC] = address, pitch, S.Q[q, Q_PC]
    HB[t + T_COUNT], HB[t + T_BYTES] = count, nbytes
    if engine == STORE:
        G = S.G
        G[G_STORED_FROM] = min(G[G_STORED_FROM], address)
        G[G_STORED_TO] = max(G[G_STORED_TO], address + (count - 1) * pitch + nbytes)
    return OK


@njit
def vpm_access(S, q, rows, columns, vertical, writes):
    """QPU ``q`` reads (0) or writes (1) a vector in these cells: OK, or a race."""
    HB = S.HB
    if on(S, FAULT.VPM_RACE):
        for p in range(S.G[G_NQPUS]):
            for engine in range(1 + writes):  # a store is harmed by writes only
                if not _is_open(HB, q, p, engine):
                    continue
                latest = HB[O_NUMBER + 2 * p + engine] - 1
                for i in range(_open(HB, q, p, engine)):
                    t = _transfer(HB, p, engine, latest - i)
                    if HB[t + T_ROWS] & rows and HB[t + T_COLUMNS] & columns:
                        _blame(HB, p, engine, t)
                        _mine(HB, rows, columns, -1, -1)
                        return fault(S, q, FAULT.VPM_RACE, -1)
    row = 0
    while not rows >> row & 1:
        row += 1
    line, cells = row, columns
    if vertical:
        column = 0
        while not columns >> column & 1:
            column += 1
        block = row & 48
        line, cells = VPM_ROWS + block + column, rows >> block & 0xFFFF
    step = HB[q * CLOCK + STEP + q]
    place = O_LINES + (q * LINES + line) * 2 + writes
    if HB[place] >> 16 == step:
        cells |= HB[place] & 0xFFFF
    HB[place] = step << 16 | cells
    HB[O_TOUCHED + q] = step
    HB[O_ROWS + q] |= rows
    return OK


@njit
def reads_stored(S, q, first, end):
    """Whether a DMA store that is under way for QPU ``q`` writes to first..end-1; notes it.

    On the path of every uniform and lookup, so what is no matter for most programs comes first.
    """
    G = S.G
    return first < G[G_STORED_TO] and end > G[G_STORED_FROM] and _search_stores(S, q, first, end)


@njit
def _search_stores(S, q, first, end):
    HB = S.HB
    if not on(S, FAULT.RACE_LOAD):
        return False
    for p in range(S.G[G_NQPUS]):
        if not _is_open(HB, q, p, STORE):
            continue
        latest = HB[O_NUMBER + 2 * p + STORE] - 1
        for i in range(_open(HB, q, p, STORE)):
            t = _transfer(HB, p, STORE, latest - i)
            if _within(HB, t, first, end):
                _blame(HB, p, STORE, t)
                _mine(HB, 0, 0, first, end)
                return True
    return False


@njit
def looks_up(S, q, start):
    """QPU ``q`` looks up the 16 words from an address on."""
    HB = S.HB
    number = HB[O_LOOKED + q]
    HB[O_LOOKED + q] = number + 1
    k = O_LOOKUPS + (q * LOOKUPS + (number & LOOKUPS - 1)) * L_WIDTH
    HB[k + L_STEP], HB[k + L_START] = HB[q * CLOCK + STEP + q], start


@njit
def looks_up_single(S, q, addresses):
    """QPU ``q`` looks up the words at 16 addresses."""
    place = q * LOOKUPS + (S.HB[O_LOOKED + q] & LOOKUPS - 1)
    lanes.store(S.T, 16 * (T_LOOKUPS + place), addresses)
    looks_up(S, q, -1)


# --- what it is called ---------------------------------------------------------------------------


def _bits(word: int, name: str) -> str:
    places = [i for i in range(64) if word >> i & 1]
    first, last = places[0], places[-1]
    return f"{name} {first}" if first == last else f"{name}s {first}-{last}"


def _cells(rows: int, columns: int) -> str:
    text = _bits(rows, "row")
    return text if columns & 0xFFFF == 0xFFFF else f"{text}, {_bits(columns, 'column')}"


def description(HB: Any, qpu: int, index: Callable[[int, int], int]) -> str:
    """The two sides of the race that QPU ``qpu`` found: QPUs, rows of the VPM, bus addresses.

    ``index(qpu, address)`` is the number of an instruction in a QPU's program.
    """
    found = [int(word) for word in HB[O_FOUND : O_FOUND + FOUND_WIDTH]]
    other, what = found[FOUND_QPU], found[FOUND_WHAT]
    mine = []
    if found[FOUND_MY_ROWS]:
        mine.append(f"VPM {_cells(found[FOUND_MY_ROWS], found[FOUND_MY_COLUMNS])}")
    if found[FOUND_MY_HIGH] >= 0:
        mine.append(f"{found[FOUND_MY_LOW]:#010x}..{found[FOUND_MY_HIGH] - 1:#010x}")
    rows = _cells(found[FOUND_ROWS], found[FOUND_COLUMNS]) if found[FOUND_ROWS] else ""
    memory = f"{found[FOUND_LOW]:#010x}..{found[FOUND_HIGH] - 1:#010x}"
    if what in (BY_LOAD, BY_STORE):
        route = (f"{memory} to VPM {rows}", f"VPM {rows} to {memory}")[what]
        pc = index(other, found[FOUND_PC])
        theirs = f"QPU {other}'s DMA {('load', 'store')[what]} of {route}, started at pc {pc}"
    elif what == BY_LOOKUP:
        theirs = f"QPU {other}'s lookup of {memory}"
    else:
        theirs = f"QPU {other} {('reads', 'writes')[what - BY_READ]} VPM {rows}"
    return f"QPU {qpu}: {', '.join(mine)}; {theirs}"
