"""Time: when each instruction issues, and what it waited for.

Every QPU has a clock of its own and runs ahead with it as long as it touches nothing shared.  What
is shared has a time at which it acts next (array E): six TMUs, a uniforms fetch of each QPU, the
two DMA engines.  The scheduler always lets the earliest of units and QPUs act, units first where
times are equal.  A QPU touches the mutex, semaphores, VPM, DMA, SFU or a line of code that is not
cached only when it is the earliest (``X_HORIZON``).  So all of that happens in the order of time,
and a launch with the same inputs always takes the same time.

What a unit does to others is a reservation: it holds the port from L2, or the memory, from when
they are free, for a time of the timing set (:mod:`piblas.isa.timing`).

- **Uniforms.**  A read waits for its line.  Each read asks for the line of the word K_FIFO further
  on; one line is in flight at a time for each QPU.  A write of the address starts a new stream
  behind the line in flight, which is lost (measured as stalls of published kernels).
- **TMU.**  A TMU serves requests in the order of their time, its results in the same order.  It
  looks up the lines of a request in the order of elements in its direct-mapped cache.
- **L2.**  4 ways, least recently used.  A line takes its turn at the port when it is asked for,
  then the memory's if L2 has not got it; a second request for a line in flight waits for that.
- **DMA.**  A row at a time, each takes memory time; a row does not wait for the one before.
- **Code.**  A 4-way cache a slice; the next lines are asked for when a line is entered.
- **Mutex.**  Goes to the waiting QPU that has had it least recently; of equals to the first.

:func:`before` runs before an instruction that touches a unit, :func:`after` behind it;
:func:`act` is what a unit does when its time has come.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import lanes, memory, ports, probe
from .clock_layout import (
    B_DOWN,
    B_MUTEX,
    B_NONE,
    B_TMU0,
    B_UNIFORM,
    B_UP,
    B_VDR,
    B_VDW,
    BY_CODE,
    BY_DMA,
    BY_MUTEX,
    BY_PORT,
    BY_SDRAM,
    BY_SEMAPHORE,
    BY_SFU,
    BY_TMU,
    BY_UNIFORM,
    BY_VPM,
    E_QPU,
    E_TMU,
    E_UNIFORM,
    E_VDR,
    E_VDW,
    K_CODE_AHEAD,
    K_CODE_L2,
    K_CODE_SDRAM,
    K_FIFO,
    K_L2_SETS,
    K_MUTEX,
    K_PORT,
    K_RESTART,
    K_SDRAM,
    K_SEMAPHORE,
    K_SFU,
    K_TMU_BLOCK,
    K_TMU_HIT,
    K_TMU_L2,
    K_TMU_RATE,
    K_TMU_SDRAM,
    K_UNIFORM_HIT,
    K_UNIFORM_L2,
    K_UNIFORM_LINES,
    K_UNIFORM_SDRAM,
    K_VDR_ROW,
    K_VDR_START,
    K_VDR_WORD,
    K_VDW_ROW,
    K_VDW_START,
    K_VDW_WORD,
    K_VPM,
    K_VPM_SETUP,
    L_AGE,
    L_PORT,
    L_READY,
    L_SDRAM,
    L_TAG,
    LINE_WIDTH,
    N_CODE_MISS,
    N_L2_MISS,
    N_PORT,
    N_STREAMS,
    N_TMU_MISS,
    N_TMU_WAIT,
    N_UNIFORM_MISS,
    NEVER,
    R_COUNT,
    R_LINES,
    R_PORT,
    R_PUSHED,
    R_READY,
    R_SDRAM,
    RING,
    RING_WIDTH,
    TM_BEGUN,
    TM_FREE,
    TM_LAST,
    TM_LAST_PORT,
    TM_LAST_SDRAM,
    TM_PORT,
    TM_QPU,
    TM_SDRAM,
    TM_STEP,
    TM_STOPPED,
    TM_THERE,
    TM_WIDTH,
    X_CODE_TAGS,
    X_END,
    X_HORIZON,
    X_HOT,
    X_L2_TAGS,
    X_LINES,
    X_PORT,
    X_RING_DONE,
    X_RING_HEAD,
    X_RING_TAIL,
    X_RINGS,
    X_ROW,
    X_SDRAM,
    X_SFU,
    X_TICK,
    X_TMU_TAGS,
    X_TMUS,
    X_UNIF_TAGS,
    X_VDR_BUSY,
    X_VDR_DONE,
    X_VDR_LEFT,
    X_VDR_LINES,
    X_VDR_REST,
    X_VDR_ROW,
    X_VDW_BUSY,
    X_VPM,
    Z_BLOCK,
    Z_CLOCK,
    Z_FETCH,
    Z_FETCH_FIRST,
    Z_FETCH_FREE,
    Z_FETCH_NEXT,
    Z_HELD,
    Z_LINE,
    Z_NEW,
    Z_NEW_AT,
    Z_NEW_PORT,
    Z_OLD,
    Z_OLD_AT,
    Z_OTHER,
    Z_SEMAPHORE,
    Z_SINCE,
    Z_STALL,
    Z_VPM_READY,
)  # fmt: skip
from .dma import finish_load, finish_store
from .fields import field
from .layout import (
    CLASS_SEMAPHORE,
    CODE_LINES,
    CODE_WAYS,
    G_BASE,
    G_NQPUS,
    G_SIZE,
    G_VDR_DUE,
    G_VDR_SETUP,
    G_VDW_DUE,
    G_VDW_SETUP,
    L2_WAYS,
    OK,
    PER_QPU,
    Q_LOOKUP,
    Q_PC,
    Q_RESULTS,
    Q_UNIF,
    QPU_WORDS,
    SLOT_TEXELS,
    SLOT_X,
    SLOT_Y,
    TMU_LINES,
    U_FILES,
    U_IMM,
    U_KIND,
    U_RADDR_A,
    U_RADDR_B,
    U_SIG,
    U_WADDR_ADD,
    U_WADDR_MUL,
    UNIF_LINES,
    WAIT_DOWN,
    WAIT_EVENT,
    WAIT_MUTEX,
    WAIT_TURN,
)  # fmt: skip
from .qpu import LDTMU0, LDTMU1
from .tmu import takes_uniform
from .tmu import which as which_tmu

_vdr_rowlen = field("vdr", "rowlen")
_vdr_nrows = field("vdr", "nrows")
_vdr_modew = field("vdr", "modew")
_vdw_units = field("vdw", "units")
_vdw_depth = field("vdw", "depth")
_vdw_modew = field("vdw", "modew")

WRITE_FIFO = 2  # VPM writes that wait for the port without holding up the QPU
LEFT, ROW, REST, LINES, DONE = (
    name - X_VDR_BUSY
    for name in (X_VDR_LEFT, X_VDR_ROW, X_VDR_REST, X_VDR_LINES, X_VDR_DONE)
)


# --- booking -------------------------------------------------------------------------------------


@njit
def _book(S, q, cause, until):
    """QPU ``q`` waits until a time."""
    Z, X = S.Z, S.X
    start = Z[q, Z_CLOCK]
    if until <= start:
        return
    Z[q, Z_STALL + cause] += until - start
    Z[q, Z_CLOCK] = until
    if X[X_HOT]:
        S.H[X[X_ROW], 2 + cause] += until - start
    if X[X_LINES]:
        probe.wait(S.TB, S.TS, q, 1 + cause, start, until, S.Q[q, Q_PC])


@njit
def _book_line(S, q, cause, until, port, sdram):
    """A wait for a line, of whose time ``sdram`` went to memory and ``port`` to the port."""
    start = S.Z[q, Z_CLOCK]
    if until > start:
        _book(S, q, BY_SDRAM, min(until, start + sdram))
        _book(S, q, BY_PORT, min(until, S.Z[q, Z_CLOCK] + port))
        _book(S, q, cause, until)


@njit
def _plan(S, unit, time):
    """A unit acts at a time."""
    S.E[unit] = time
    if time < S.X[X_HORIZON]:
        S.X[X_HORIZON] = time


@njit
def _block(S, q, what):
    """QPU ``q`` waits for something whose time is not known."""
    S.Z[q, Z_BLOCK] = what
    S.E[E_QPU + q] = NEVER
    return WAIT_EVENT


@njit
def _wake(S, q):
    S.Z[q, Z_BLOCK] = B_NONE
    S.E[E_QPU + q] = S.Z[q, Z_CLOCK]


# --- L2 and memory -------------------------------------------------------------------------------


@njit
def _fetch(S, now, line, more, memory_time):
    """A line from L2 on: (when it is there, wait for the port, time that memory took).

    L2 looks the line up at once, so the memory works while the line waits for its turn at the port.
    """
    K, X = S.K, S.X
    X[N_PORT] += 1
    X[X_TICK] += 1
    turn = max(now, X[X_PORT])
    X[X_PORT] = turn + K[K_PORT]
    first = X_L2_TAGS + (line & (K[K_L2_SETS] - 1)) * (L2_WAYS * LINE_WIDTH)
    entry, found = first, False
    for way in range(first, first + L2_WAYS * LINE_WIDTH, LINE_WIDTH):
        if X[way + L_TAG] == line:
            entry, found = way, True
            break
        if X[way + L_AGE] < X[entry + L_AGE]:
            entry = way
    X[entry + L_AGE] = X[X_TICK]
    if not found:
        X[N_L2_MISS] += 1
        start = max(now << 8, X[X_SDRAM])
        X[X_SDRAM] = start + K[K_SDRAM]
        X[entry + L_TAG], X[entry + L_READY] = line, (start >> 8) + memory_time
    there = X[entry + L_READY]
    if there > turn:
        return there + more, 0, there - now
    return turn + more, turn - now, 0


# --- code ----------------------------------------------------------------------------------------


@njit
def _code_entry(S, q, line):
    """The entry of the instruction cache with a line, or -1 - the one to replace."""
    X = S.X
    sets = CODE_LINES // CODE_WAYS
    first = q // PER_QPU * CODE_LINES + (line & (sets - 1)) * CODE_WAYS
    first = X_CODE_TAGS + first * LINE_WIDTH
    victim = first
    for way in range(first, first + CODE_WAYS * LINE_WIDTH, LINE_WIDTH):
        if X[way + L_TAG] == line:
            return way
        if X[way + L_AGE] < X[victim + L_AGE]:
            victim = way
    return -1 - victim


@njit
def _code_line(S, q, now, line):
    """Ask for a line of code, unless it is there: when it is."""
    X, K = S.X, S.K
    X[X_TICK] += 1
    entry = _code_entry(S, q, line)
    if entry < 0:
        entry = -1 - entry
        X[N_CODE_MISS] += 1
        ready, _, _ = _fetch(S, now, line, K[K_CODE_L2], K[K_CODE_SDRAM])
        X[entry + L_TAG], X[entry + L_READY] = line, ready
    X[entry + L_AGE] = X[X_TICK]
    return X[entry + L_READY]


@njit
def enter_line(S, q, line):
    """QPU ``q`` fetches from another line of code: OK, or WAIT_TURN."""
    Z = S.Z
    now = Z[q, Z_CLOCK]
    ahead = S.K[K_CODE_AHEAD]
    last = S.G[G_BASE] + S.G[G_SIZE] - 1 >> 6
    if now > S.X[X_HORIZON]:
        for i in range(1 + ahead):
            if _code_entry(S, q, line + i) < 0:
                return WAIT_TURN
    ready = _code_line(S, q, now, line)
    for i in range(ahead):
        if line + 1 + i <= last:
            _code_line(S, q, now, line + 1 + i)
    Z[q, Z_LINE] = line
    _book(S, q, BY_CODE, ready)
    return OK


# --- TMU -----------------------------------------------------------------------------------------


@njit
def request(S, q, tmu, source):
    """A request of the addresses at ``source`` joins its TMU's queue."""
    X = S.X
    unit = which_tmu(S.Q, q, tmu)
    ring = q * 2 + unit
    entry = X_RINGS + (ring * RING + (X[X_RING_TAIL + ring] & (RING - 1))) * RING_WIDTH
    X[X_RING_TAIL + ring] += 1
    now = S.Z[q, Z_CLOCK]
    X[entry + R_PUSHED] = now
    lines = lanes.shr(lanes.load(S.R, source), lanes.splat(6))
    latest = lanes.first(lines)
    X[entry + R_LINES] = latest << 4
    count = 1
    if lanes.mask_differ(lines, lanes.splat(latest)):
        for e in range(1, 16):
            line = np.int64(S.R[source + e]) >> 6
            if line != latest:
                X[entry + R_LINES + count] = line << 4 | e
                latest = line
                count += 1
    X[entry + R_COUNT] = count
    unit += q // PER_QPU * 2
    tmu_state = X_TMUS + unit * TM_WIDTH
    at = max(now, X[tmu_state + TM_FREE])
    if X[tmu_state + TM_QPU] < 0 and at < S.E[E_TMU + unit]:
        _plan(S, E_TMU + unit, at)


@njit
def _next_request(S, unit):
    """(QPU, time) of the earliest request that a TMU has not served; (-1, NEVER): none."""
    X = S.X
    who, when = -1, NEVER
    for q in range(unit // 2 * PER_QPU, min(unit // 2 * PER_QPU + PER_QPU, S.G[G_NQPUS])):
        ring = q * 2 + (unit & 1)
        done = X[X_RING_DONE + ring]
        if done < X[X_RING_TAIL + ring]:
            pushed = X[X_RINGS + (ring * RING + (done & (RING - 1))) * RING_WIDTH + R_PUSHED]
            if pushed < when:
                who, when = q, pushed
    return who, when


@njit
def _serve(S, unit, now):
    """A TMU begins its earliest request, or goes on with it: lines up to now."""
    K, X = S.K, S.X
    tmu = X_TMUS + unit * TM_WIDTH
    if X[tmu + TM_QPU] < 0:
        X[tmu + TM_QPU], _ = _next_request(S, unit)
        X[tmu + TM_BEGUN] = X[tmu + TM_THERE] = now
        X[tmu + TM_STEP] = X[tmu + TM_STOPPED] = X[tmu + TM_PORT] = X[tmu + TM_SDRAM] = 0
    q = X[tmu + TM_QPU]
    ring = q * 2 + (unit & 1)
    entry = X_RINGS + (ring * RING + (X[X_RING_DONE + ring] & (RING - 1))) * RING_WIDTH
    tags = X_TMU_TAGS + unit * TMU_LINES * LINE_WIDTH
    while X[tmu + TM_STEP] < X[entry + R_COUNT]:
        word = X[entry + R_LINES + X[tmu + TM_STEP]]
        at = X[tmu + TM_BEGUN] + (word & 15) + X[tmu + TM_STOPPED]
        if at > now:
            S.E[E_TMU + unit] = at
            return
        X[tmu + TM_STEP] += 1
        line = word >> 4
        tag = tags + (line & (TMU_LINES - 1)) * LINE_WIDTH
        if X[tag + L_TAG] != line:
            ready, waited, fetched = _fetch(S, now, line, K[K_TMU_L2], K[K_TMU_SDRAM])
            X[tag + L_TAG], X[tag + L_READY] = line, ready
            X[tag + L_PORT], X[tag + L_SDRAM] = waited, fetched
            X[N_TMU_MISS] += 1
            X[tmu + TM_STOPPED] += K[K_TMU_BLOCK]
        if X[tag + L_READY] > X[tmu + TM_THERE]:
            X[tmu + TM_THERE] = X[tag + L_READY]
            X[tmu + TM_PORT], X[tmu + TM_SDRAM] = X[tag + L_PORT], X[tag + L_SDRAM]
    ready = X[tmu + TM_THERE] + K[K_TMU_HIT]
    if X[tmu + TM_LAST] + K[K_TMU_RATE] > ready:
        # Results come in order: this one waits for what the one before waited for.
        ready = X[tmu + TM_LAST] + K[K_TMU_RATE]
    else:
        X[tmu + TM_LAST_PORT] = X[tmu + TM_PORT]
        X[tmu + TM_LAST_SDRAM] = X[tmu + TM_SDRAM]
    X[tmu + TM_LAST] = X[entry + R_READY] = ready
    X[entry + R_PORT], X[entry + R_SDRAM] = X[tmu + TM_LAST_PORT], X[tmu + TM_LAST_SDRAM]
    X[X_RING_DONE + ring] += 1
    X[tmu + TM_QPU] = -1
    X[tmu + TM_FREE] = X[tmu + TM_BEGUN] + K[K_TMU_RATE] + X[tmu + TM_STOPPED]
    _, pushed = _next_request(S, unit)
    S.E[E_TMU + unit] = NEVER if pushed == NEVER else max(pushed, X[tmu + TM_FREE], now)
    if S.Z[q, Z_BLOCK] == B_TMU0 + (unit & 1):
        _wake(S, q)


@njit
def take(S, q, tmu):
    """Wait for the oldest result of a TMU."""
    X, Z = S.X, S.Z
    ring = q * 2 + which_tmu(S.Q, q, tmu)
    head = X[X_RING_HEAD + ring]
    if head == X[X_RING_TAIL + ring]:
        return OK  # nothing was requested: not a question of time
    if head == X[X_RING_DONE + ring]:
        return _block(S, q, B_TMU0 + (ring & 1))
    entry = X_RINGS + (ring * RING + (head & (RING - 1))) * RING_WIDTH
    Z[q, N_TMU_WAIT] += max(0, X[entry + R_READY] - Z[q, Z_CLOCK])
    _book_line(S, q, BY_TMU, X[entry + R_READY], X[entry + R_PORT], X[entry + R_SDRAM])
    return OK


@njit
def taken(S, q, tmu):
    """The oldest result of a TMU is gone."""
    S.X[X_RING_HEAD + q * 2 + which_tmu(S.Q, q, tmu)] += 1


# --- uniforms ------------------------------------------------------------------------------------


@njit
def _begin_stream(S, q, address):
    """The uniforms come from an address from now on."""
    Z = S.Z
    line = address >> 6
    Z[q, Z_OLD] = Z[q, Z_NEW] = -1
    Z[q, N_STREAMS] += 1
    now = Z[q, Z_CLOCK]
    if Z[q, Z_FETCH] >= 0 and S.E[E_UNIFORM + q] <= now:
        Z[q, Z_FETCH_NEXT] = line  # behind the line that is in flight
        return
    Z[q, Z_FETCH], Z[q, Z_FETCH_FIRST] = line, 1
    _plan(S, E_UNIFORM + q, max(now, Z[q, Z_FETCH_FREE]))


@njit
def _want_line(S, q, line):
    """Ask for a line of uniforms, unless that has happened or another one is on its way."""
    Z = S.Z
    if line != Z[q, Z_OLD] and line != Z[q, Z_NEW] and Z[q, Z_FETCH] < 0:
        Z[q, Z_FETCH], Z[q, Z_FETCH_FIRST] = line, 0
        _plan(S, E_UNIFORM + q, max(Z[q, Z_CLOCK], Z[q, Z_FETCH_FREE]))


@njit
def want_next(S, q):
    """A uniform was read: ask for the line of the one that the FIFO now has room for."""
    _want_line(S, q, S.Q[q, Q_UNIF] - 4 + 4 * S.K[K_FIFO] >> 6)


@njit
def _fetch_uniforms(S, q, now):
    """The line that QPU ``q`` has asked for is on its way."""
    K, X, Z = S.K, S.X, S.Z
    line = Z[q, Z_FETCH]
    tag = q // PER_QPU * UNIF_LINES + (line & (K[K_UNIFORM_LINES] - 1))
    tag = X_UNIF_TAGS + tag * LINE_WIDTH
    port = 0
    if X[tag + L_TAG] == line:
        ready = max(now + K[K_UNIFORM_HIT], X[tag + L_READY])
    else:
        X[N_UNIFORM_MISS] += 1
        ready, port, _ = _fetch(S, now, line, K[K_UNIFORM_L2], K[K_UNIFORM_SDRAM])
        X[tag + L_TAG], X[tag + L_READY] = line, ready
    if Z[q, Z_FETCH_FIRST]:
        ready += K[K_RESTART]
    Z[q, Z_FETCH_FREE] = ready
    if Z[q, Z_FETCH_NEXT] >= 0:
        # The stream has moved: this line is lost.
        Z[q, Z_FETCH], Z[q, Z_FETCH_FIRST] = Z[q, Z_FETCH_NEXT], 1
        Z[q, Z_FETCH_NEXT] = -1
        S.E[E_UNIFORM + q] = ready
        return
    Z[q, Z_OLD], Z[q, Z_OLD_AT] = Z[q, Z_NEW], Z[q, Z_NEW_AT]
    Z[q, Z_NEW], Z[q, Z_NEW_AT], Z[q, Z_NEW_PORT] = line, ready, port
    Z[q, Z_FETCH] = -1
    S.E[E_UNIFORM + q] = NEVER
    if Z[q, Z_BLOCK] == B_UNIFORM:
        _wake(S, q)


@njit
def uniform(S, q):
    """Wait for the line of the next uniform."""
    Z = S.Z
    line = memory.unif_address(S.Q, q) >> 6
    if line == Z[q, Z_NEW]:
        _book_line(S, q, BY_UNIFORM, Z[q, Z_NEW_AT], Z[q, Z_NEW_PORT], 0)
    elif line == Z[q, Z_OLD]:
        _book(S, q, BY_UNIFORM, Z[q, Z_OLD_AT])
    else:
        _want_line(S, q, line)
        return _block(S, q, B_UNIFORM)
    return OK


@njit
def change_thread(S, q):
    """The other thread of QPU ``q`` goes on, whose uniforms have a FIFO of their own."""
    Z = S.Z
    for i in range(5):
        Z[q, Z_OLD + i], Z[q, Z_OTHER + i] = Z[q, Z_OTHER + i], Z[q, Z_OLD + i]
    address = memory.unif_address(S.Q, q)
    if address:
        _want_line(S, q, address >> 6)


# --- DMA -----------------------------------------------------------------------------------------


@njit
def _row_clk(words, word, row):
    """Time of a DMA row: between that of one word and that of 16; in proportion beyond."""
    if words > 16:
        return (row * words + 15) // 16
    return word + (row - word) * (words - 1) // 15


@njit
def _bytes(modew, elements):
    return elements * (1 if modew >= 4 else (2 if modew >= 2 else 4))


@njit
def _start_engine(S, engine, unit, at, rows, nbytes, word, row, rest):
    """A DMA engine begins a transfer."""
    X = S.X
    X[engine] = 1
    X[engine + LEFT] = rows
    X[engine + ROW] = _row_clk((nbytes + 3) // 4, word, row)
    X[engine + REST] = rest
    X[engine + LINES] = (nbytes + 63) // 64
    X[engine + DONE] = 0
    _plan(S, unit, at)


@njit
def _dma_row(S, engine, unit, what, now):
    """A DMA engine moves a row, or has moved the last one."""
    X = S.X
    if X[engine + LEFT] == 0:
        X[engine] = 0
        S.E[unit] = NEVER
        X[X_END] = max(X[X_END], now)
        for q in range(S.G[G_NQPUS]):
            if S.Z[q, Z_BLOCK] == what:
                X[X_ROW] = -1
                _wake(S, q)
                S.E[E_QPU + q] = max(S.E[E_QPU + q], now)
        return
    start = max(now << 8, X[X_SDRAM])
    X[X_SDRAM] = start + X[engine + LINES] * S.K[K_SDRAM]
    X[engine + LEFT] -= 1
    # The next row does not wait for the memory; the end of the transfer does.
    X[engine + DONE] = max(X[engine + DONE], start >> 8) + X[engine + ROW]
    S.E[unit] = now + X[engine + ROW]
    if X[engine + LEFT] == 0:
        S.E[unit] = X[engine + DONE] + X[engine + REST]


@njit
def _start_dma(S, q, store):
    """An address was written: the transfer begins behind this instruction."""
    G, K = S.G, S.K
    at = S.Z[q, Z_CLOCK] + 4
    if store:
        setup = G[G_VDW_SETUP]
        nbytes = _bytes(_vdw_modew(setup), _vdw_depth(setup))
        _start_engine(
            S, X_VDW_BUSY, E_VDW, max(at, S.X[X_VPM]), _vdw_units(setup), nbytes, K[K_VDW_WORD],
            K[K_VDW_ROW], K[K_VDW_START],
        )  # fmt: skip
    else:
        setup = G[G_VDR_SETUP]
        nbytes = _bytes(_vdr_modew(setup), _vdr_rowlen(setup))
        _start_engine(
            S, X_VDR_BUSY, E_VDR, at, _vdr_nrows(setup), nbytes, K[K_VDR_WORD], K[K_VDR_ROW],
            K[K_VDR_START],
        )  # fmt: skip


@njit
def _poll(S, q, store):
    """A read of a busy flag says what the clock says, not what instruction counts say."""
    due = G_VDW_DUE if store else G_VDR_DUE
    if S.X[X_VDW_BUSY if store else X_VDR_BUSY]:
        S.G[due] = NEVER
    elif store:
        finish_store(S)
    else:
        finish_load(S)


# --- mutex and semaphores ------------------------------------------------------------------------


@njit
def lose_turn(S, q, row, status):
    """The mutex or a semaphore holds QPU ``q`` up until another QPU changes that."""
    Z = S.Z
    if Z[q, Z_SINCE] < 0:
        Z[q, Z_SINCE] = Z[q, Z_CLOCK]
    what = B_MUTEX
    if status != WAIT_MUTEX:
        what = B_DOWN if status == WAIT_DOWN else B_UP
        Z[q, Z_SEMAPHORE] = S.U[row, U_IMM] & 15
    S.X[X_ROW] = row
    _block(S, q, what)


@njit
def _release(S, what, number, now):
    """Wake the QPU that has waited longest for a semaphore."""
    Z = S.Z
    who = -1
    for q in range(S.G[G_NQPUS]):
        if Z[q, Z_BLOCK] == what and Z[q, Z_SEMAPHORE] == number:
            if who < 0 or Z[q, Z_SINCE] < Z[who, Z_SINCE]:
                who = q
    if who >= 0:
        Z[who, Z_BLOCK] = B_NONE
        S.E[E_QPU + who] = max(now, Z[who, Z_CLOCK])


@njit
def _release_mutex(S, now):
    """Wake the waiting QPU that has had the mutex least recently; of equals the lowest number."""
    Z = S.Z
    who = -1
    for q in range(S.G[G_NQPUS]):
        if Z[q, Z_BLOCK] == B_MUTEX and (who < 0 or Z[q, Z_HELD] < Z[who, Z_HELD]):
            who = q
    if who >= 0:
        Z[who, Z_BLOCK] = B_NONE
        S.E[E_QPU + who] = max(now, Z[who, Z_CLOCK])


# --- around an instruction -----------------------------------------------------------------------


@njit
def _vpm_port(S, q, backlog):
    """Take the VPM's port; a QPU waits if more than ``backlog`` vectors are before it."""
    X, cost = S.X, S.K[K_VPM]
    _book(S, q, BY_VPM, X[X_VPM] - backlog * cost)
    X[X_VPM] = max(S.Z[q, Z_CLOCK], X[X_VPM]) + cost


@njit
def _configures(S, q, add, mul):
    """Whether a write of a TMU takes a uniform."""
    if max(add, mul) < ports.W_T0S:
        return False
    return takes_uniform(S.Q, q, add if add >= ports.W_T0S else mul)


@njit
def before(S, q, row):
    """Wait until the instruction can issue: OK, WAIT_TURN or WAIT_EVENT."""
    U, X, Z = S.U, S.X, S.Z
    X[X_ROW] = row
    read_a, read_b, sig = U[row, U_RADDR_A], U[row, U_RADDR_B], U[row, U_SIG]
    add, mul = U[row, U_WADDR_ADD], U[row, U_WADDR_MUL]
    kind = U[row, U_KIND]
    shared = kind == CLASS_SEMAPHORE
    # Time that passed while this QPU waited for others or for its turn.
    if Z[q, Z_CLOCK] < S.E[E_QPU + q] < NEVER:
        cause = BY_DMA
        if kind == CLASS_SEMAPHORE:
            cause = BY_SEMAPHORE
        elif read_a == ports.R_MUTEX or read_b == ports.R_MUTEX:
            cause = BY_MUTEX
        _book(S, q, cause, S.E[E_QPU + q])
    if sig == LDTMU0 or sig == LDTMU1:
        status = take(S, q, sig - LDTMU0)
        if status != OK:
            return status
    if read_a == ports.R_UNIF or read_b == ports.R_UNIF or _configures(S, q, add, mul):
        status = uniform(S, q)
        if status != OK:
            return status
    reads_vpm = read_a == ports.R_VPM or read_b == ports.R_VPM
    if reads_vpm:
        _book(S, q, BY_VPM, Z[q, Z_VPM_READY])
        shared = True
    for file_b in range(2):
        address = read_b if file_b else read_a
        if ports.R_BUSY <= address <= ports.R_MUTEX:
            shared = True
            engine = X_VDW_BUSY if file_b else X_VDR_BUSY
            if address == ports.R_WAIT and X[engine]:
                return _block(S, q, B_VDW if file_b else B_VDR)
    writes_vpm = writes_sfu = False
    for mul_unit in range(2):
        address = mul if mul_unit else add
        if address == ports.W_VPM:
            shared = writes_vpm = True
        elif address == ports.W_ADDR:
            shared = True
            store = U[row, U_FILES] & 1 ^ mul_unit
            if X[X_VDW_BUSY if store else X_VDR_BUSY]:
                return _block(S, q, B_VDW if store else B_VDR)
        elif address == ports.W_MUTEX:
            shared = True
        elif ports.W_SFU <= address < ports.W_T0S:
            shared = writes_sfu = True
    if not shared:
        return OK
    if Z[q, Z_CLOCK] > X[X_HORIZON]:
        return WAIT_TURN
    if reads_vpm:
        _vpm_port(S, q, 0)
    if writes_vpm:
        _vpm_port(S, q, WRITE_FIFO)
    if writes_sfu:
        unit = X_SFU + q // PER_QPU
        _book(S, q, BY_SFU, X[unit])
        X[unit] = Z[q, Z_CLOCK] + S.K[K_SFU]
    if read_a == ports.R_BUSY:
        _poll(S, q, False)
    if read_b == ports.R_BUSY:
        _poll(S, q, True)
    return OK


@njit
def _written(S, q, row, address, mul_unit):
    """What the write of a peripheral starts."""
    U, Z = S.U, S.Z
    source = q * QPU_WORDS + 16 * (SLOT_Y if mul_unit else SLOT_X)
    file_b = U[row, U_FILES] & 1 ^ mul_unit
    if address >= ports.W_T0S:
        # A texture lookup with two results is served like two requests.
        if address & 3 == 0:
            for _ in range(S.Q[q, Q_RESULTS]):
                addresses = q * QPU_WORDS + S.Q[q, Q_LOOKUP]
                request(S, q, 0 if address == ports.W_T0S else 1, addresses)
        if address & 3 or S.Q[q, Q_LOOKUP] == 16 * SLOT_TEXELS:
            want_next(S, q)
    elif address == ports.W_UNIF:
        _begin_stream(S, q, np.int64(S.R[source]))
    elif address == ports.W_ADDR:
        _start_dma(S, q, file_b)
    elif address == ports.W_SETUP:
        if not file_b and np.int64(S.R[source]) >> 30 == 0:
            Z[q, Z_VPM_READY] = Z[q, Z_CLOCK] + S.K[K_VPM_SETUP]
    elif address == ports.W_MUTEX:
        _release_mutex(S, Z[q, Z_CLOCK])


@njit
def after(S, q, row):
    """The instruction has issued at Z_CLOCK."""
    U, Z = S.U, S.Z
    read_a, read_b, sig = U[row, U_RADDR_A], U[row, U_RADDR_B], U[row, U_SIG]
    Z[q, Z_SINCE] = -1
    if sig == LDTMU0 or sig == LDTMU1:
        taken(S, q, sig - LDTMU0)
    if read_a == ports.R_UNIF or read_b == ports.R_UNIF:
        want_next(S, q)
    if read_a == ports.R_MUTEX or read_b == ports.R_MUTEX:
        Z[q, Z_HELD] = Z[q, Z_CLOCK]
        _book(S, q, BY_MUTEX, Z[q, Z_CLOCK] + S.K[K_MUTEX])
    if U[row, U_KIND] == CLASS_SEMAPHORE:
        word = U[row, U_IMM]
        now = Z[q, Z_CLOCK] + S.K[K_SEMAPHORE]
        _release(S, B_UP if word & 16 else B_DOWN, word & 15, now)
    address = U[row, U_WADDR_ADD]
    if address >= 0:
        _written(S, q, row, address, 0)
    address = U[row, U_WADDR_MUL]
    if address >= 0:
        _written(S, q, row, address, 1)


@njit
def act(S, unit, now):
    """The time of a unit has come."""
    if unit < E_UNIFORM:
        _serve(S, unit - E_TMU, now)
    elif unit < E_VDR:
        _fetch_uniforms(S, unit - E_UNIFORM, now)
    elif unit == E_VDR:
        _dma_row(S, X_VDR_BUSY, E_VDR, B_VDR, now)
    else:
        _dma_row(S, X_VDW_BUSY, E_VDW, B_VDW, now)
