"""The compiled loop: QPUs take turns until all have ended, or something needs the host.

Without a clock, a turn ends after a number of instructions, or when the QPU has to wait.  A whole
round in which no QPU issues is a deadlock, because everything that a QPU can wait for is done by
another QPU.  With a clock (:mod:`piblas.emu.clock`), whoever is earliest acts next.
Instructions that only compute on registers run right here; everything else goes to
:func:`piblas.emu.qpu.careful`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import tempfile
from pathlib import Path

from numba import config, njit

from . import clock, fast, lanes, memory, qpu
from .clock_layout import (
    E_QPU,
    E_WIDTH,
    H_WIDTH,
    K_ISSUE,
    K_TIMED,
    NEVER,
    X_END,
    X_HORIZON,
    X_HOT,
    X_ROW,
    Z_CLOCK,
    Z_LINE,
    Z_WIDTH,
)  # fmt: skip
from .faults import FAULT, fault
from .flat import pointer, rows
from .layout import (
    END_ALL,
    END_BUDGET,
    END_DEADLOCK,
    END_DECODE,
    END_LIMIT,
    END_STEP,
    F_READS_IO,
    FIRST_FAULT,
    G_BASE,
    G_CURRENT,
    G_DECODE_ADDR,
    G_DECODE_TABLE,
    G_FRESH,
    G_INCOHERENT,
    G_LEFT,
    G_LIMIT,
    G_MOVED,
    G_NOISE,
    G_NQPUS,
    G_QUANTUM,
    G_SIZE,
    LAST_WAIT,
    OK,
    PER_QPU,
    Q_BR,
    Q_COUNT,
    Q_PC,
    Q_SPECIAL,
    Q_STATE,
    Q_THREAD,
    Q_WAIT,
    Q_WIDTH,
    QPU_WORDS,
    U_FLAGS,
    U_WADDR_ADD,
    U_WADDR_MUL,
    U_WIDTH,
    WAIT_DOWN,
    WAIT_TURN,
    State,
)  # fmt: skip

_q_rows, _u_rows, _w_rows = rows(Q_WIDTH), rows(U_WIDTH), rows(2)
_z_rows, _h_rows = rows(Z_WIDTH), rows(H_WIDTH)

log = logging.getLogger("piblas.emu")

_LONGEST = 4096  # instructions of a turn by time


@njit
def _row(S, q, pc):
    """The decoded row of an address: -1 if the decoder is wanted, -2 if there is no memory."""
    G = S.G
    offset = pc - G[G_BASE]
    if offset < 0 or offset + 8 > G[G_SIZE] or offset & 7:
        return -2
    table = 0
    if G[G_INCOHERENT]:
        table = q // PER_QPU
        entry = memory.code_entry(S, q, pc)
        first = S.P[table * (G[G_SIZE] >> 12) + (offset >> 12)]
        if entry < 0:
            # A line that was fetched anew may differ from what was decoded.
            entry = -1 - entry
            same = first >= 0
            if same:
                row = first + (offset >> 3 & 504)
                for i in range(16):
                    same = same and S.W[row + (i >> 1), i & 1] == S.CD[16 * entry + i]
            if not same:
                if first >= 0:
                    for i in range(8):
                        S.F[first + (offset >> 3 & 504) + i] = 0
                G[G_DECODE_ADDR], G[G_DECODE_TABLE] = pc, table
                return -1
    first = S.P[table * (G[G_SIZE] >> 12) + (offset >> 12)]
    if first >= 0:
        row = first + (offset >> 3 & 511)
        if fast.kind_of(S.F[row]) != fast.NONE:
            return row
    G[G_DECODE_ADDR], G[G_DECODE_TABLE] = pc, table
    return -1


@njit
def _turn(S, q, limit, timed):
    """Up to ``limit`` instructions of one QPU: (number issued, OK or why it stopped)."""
    Q, U, F, P = S.Q, S.U, S.F, S.P
    incoherent = S.G[G_INCOHERENT] != 0
    base = q * QPU_WORDS
    size = S.G[G_SIZE]
    pc, br, bottom = Q[q, Q_PC], Q[q, Q_BR], S.G[G_BASE]
    special = Q[q, Q_SPECIAL]
    X, Z, H = S.X, S.Z, S.H
    now, line = Z[q, Z_CLOCK], Z[q, Z_LINE]
    hot = timed and X[X_HOT] != 0
    clk = S.K[K_ISSUE] if timed else 0
    done = 0
    row = -1
    while done < limit:
        offset = pc - bottom
        if row < 0 and not incoherent and 0 <= offset < size and offset & 7 == 0:
            row = P[offset >> 12]
            if row >= 0:
                row += offset >> 3 & 511
        if row < 0 or fast.kind_of(F[row]) == fast.NONE:
            Q[q, Q_PC] = pc
            row = _row(S, q, pc)
            if row < 0:
                Q[q, Q_BR], Z[q, Z_CLOCK] = br, now
                if row == -1:
                    return done, END_DECODE
                return done, fault(S, q, FAULT.FETCH_ALIGN if pc & 7 else FAULT.FETCH, pc)
        if timed and pc >> 6 != line:
            Q[q, Q_PC], Q[q, Q_BR], Z[q, Z_CLOCK] = pc, br, now
            X[X_ROW] = row
            status = clock.enter_line(S, q, pc >> 6)
            if status != OK:
                return done, status
            now, line = Z[q, Z_CLOCK], pc >> 6
        kind = fast.kind_of(F[row])
        if kind != fast.CAREFUL and special == 0 and br != 1:
            count = 1
            if kind == fast.REGISTERS:
                if not incoherent:  # there every word is looked up in the instruction cache
                    # To the end of the page, or of the line, whose fetch takes time.
                    count = 8 - (pc >> 3 & 7) if timed else 512 - (offset >> 3 & 511)
                    count = min(count, limit - done)
                    if br > 0:
                        count = min(count, br - 1)
            elif kind != fast.MOVE:
                Q[q, Q_PC], Q[q, Q_BR], Z[q, Z_CLOCK] = pc, br, now
                status = fast.begin(S, q, row, timed)
                if status != OK:
                    return done, status
                now = Z[q, Z_CLOCK]
            count, x, y = fast.execute(S, base, row, count, hot)
            if kind > fast.MOVE:
                status = fast.end(S, q, row, x, y, timed)
                if status != OK:
                    return done, status
            pc += 8 * count
            row = row + count if pc & 4095 and not incoherent else -1
            if br > 0:
                br -= count
            done += count
            now += clk * count
            Q[q, Q_COUNT] += count
            continue
        Q[q, Q_PC], Q[q, Q_BR], Z[q, Z_CLOCK] = pc, br, now
        io = U[row, U_FLAGS] & F_READS_IO or U[row, U_WADDR_ADD] >= 0 or U[row, U_WADDR_MUL] >= 0
        if timed and io:
            status = clock.before(S, q, row)
            if status != OK:
                return done, status
        thread = Q[q, Q_THREAD]
        status = qpu.careful(S, q, row)
        if status != OK:
            if timed and status <= WAIT_DOWN:
                clock.lose_turn(S, q, row, status)
            return done, status
        if timed:
            if io:
                clock.after(S, q, row)
            now = Z[q, Z_CLOCK] + clk
            if hot:
                H[row, 0] += 1
            if Q[q, Q_THREAD] != thread:
                Z[q, Z_CLOCK] = now
                clock.change_thread(S, q)
        pc, br, special = Q[q, Q_PC], Q[q, Q_BR], Q[q, Q_SPECIAL]
        row = -1
        done += 1
        if Q[q, Q_STATE] == 0:
            break
    Q[q, Q_PC], Q[q, Q_BR], Z[q, Z_CLOCK] = pc, br, now
    return done, OK


@njit
def _earliest(E):
    """(Who acts next, when): of equals the first.  No branches, for SIMD instructions."""
    when = NEVER
    for i in range(E_WIDTH):
        when = min(when, E[i])
    who = E_WIDTH
    for i in range(E_WIDTH):
        who = min(who, i if E[i] == when else E_WIDTH)
    return who, when


@njit
def _earliest_beside(E, who):
    """When the one acts that is next after ``who``."""
    when = NEVER
    for i in range(E_WIDTH):
        when = min(when, NEVER if i == who else E[i])
    return when


@njit(inline="always")
def _by_time(S, budget):
    """Units and QPUs act in the order of time, for about ``budget`` instructions."""
    G, Q, E, X, Z = S.G, S.Q, S.E, S.X, S.Z
    spent = 0
    while spent < budget:
        who, when = _earliest(E)
        if when == NEVER:
            for q in range(G[G_NQPUS]):
                if Q[q, Q_STATE] != 0:
                    return END_DEADLOCK
            return END_ALL
        if who < E_QPU:
            clock.act(S, who, when)
            spent += 1
            continue
        q = who - E_QPU
        if Q[q, Q_STATE] == 0:
            E[who] = NEVER  # it has ended in single steps
            continue
        room = G[G_LIMIT] - Q[q, Q_COUNT]
        if room <= 0:
            return END_LIMIT
        G[G_CURRENT] = q
        X[X_HORIZON] = _earliest_beside(E, who)
        done, status = _turn(S, q, min(_LONGEST, room), True)
        spent += done + 1
        if Q[q, Q_STATE] == 0:
            E[who] = NEVER
            X[X_END] = max(X[X_END], Z[q, Z_CLOCK])
        elif status == OK or status == WAIT_TURN or LAST_WAIT < status:
            E[who] = Z[q, Z_CLOCK]
        else:
            E[who] = NEVER  # until somebody wakes it
        if LAST_WAIT < status:
            return status
        Q[q, Q_WAIT] = status
    return END_BUDGET


@njit
def _quantum(G):
    """Instructions of a turn; with noise on, a number that varies from turn to turn."""
    if G[G_NOISE] == 0:
        return G[G_QUANTUM]
    G[G_NOISE] = G[G_NOISE] * 1103515245 + 12345 & 0x7FFFFFFF | 1 << 31
    return 1 + (G[G_NOISE] >> 16) % (2 * G[G_QUANTUM])


@njit(inline="always")
def _by_turns(S, budget):
    """QPUs take turns, for about ``budget`` instructions."""
    G, Q = S.G, S.Q
    spent = 0
    while True:
        q = G[G_CURRENT]
        if q >= G[G_NQPUS]:
            alive = False
            for i in range(G[G_NQPUS]):
                alive = alive or Q[i, Q_STATE] != 0
            if not alive:
                return END_ALL
            if G[G_MOVED] == 0:
                return END_DEADLOCK
            G[G_CURRENT], G[G_LEFT], G[G_MOVED] = 0, 0, 0
            if spent >= budget:
                return END_BUDGET
            continue
        if Q[q, Q_STATE] != 0:
            if G[G_LEFT] == 0:
                G[G_LEFT] = _quantum(G)
            room = G[G_LIMIT] - Q[q, Q_COUNT]
            if room <= 0:
                return END_LIMIT
            done, status = _turn(S, q, min(G[G_LEFT], room), False)
            spent += done
            G[G_LEFT] -= done
            if done:
                G[G_MOVED] = 1
            if FIRST_FAULT <= status or LAST_WAIT < status:
                return status
            Q[q, Q_WAIT] = status
            if status == OK and Q[q, Q_STATE] != 0 and G[G_LEFT] > 0:
                continue  # only the limit stopped it
            if Q[q, Q_STATE] == 0:
                G[G_MOVED] = 1
        G[G_CURRENT] = q + 1
        G[G_LEFT] = 0


def _make_run(stamp, cache):
    @njit(cache=cache, nogil=True)
    def run(arrays, budget, only):
        """Run all QPUs for about ``budget`` instructions, or one instruction of QPU ``only``."""
        S = State(
            pointer(arrays.R), _q_rows(arrays.Q), pointer(arrays.G), pointer(arrays.T),
            pointer(arrays.V), pointer(arrays.M), pointer(arrays.M8), pointer(arrays.L),
            _u_rows(arrays.U), pointer(arrays.F), _w_rows(arrays.W), pointer(arrays.P),
            pointer(arrays.CT), pointer(arrays.CD), pointer(arrays.E), pointer(arrays.K),
            pointer(arrays.X), _z_rows(arrays.Z), pointer(arrays.HB), _h_rows(arrays.H),
            pointer(arrays.TB), pointer(arrays.TS),
        )  # fmt: skip
        budget -= len(stamp) * 0
        if S.G[G_FRESH]:
            memory.begin_uniforms(S)
        mode = lanes.chip_mode()
        if only < 0:
            status = _by_time(S, budget) if S.K[K_TIMED] else _by_turns(S, budget)
        elif S.Q[only, Q_STATE] == 0:
            status = END_ALL
        else:  # the caller's budget is 1; a literal would compile another variant of _turn
            done, status = _turn(S, only, budget, False)
            if status == OK:
                status = END_STEP
        lanes.set_mode(mode)
        return status

    return run


SOURCES = (
    *(f"emu/{name}.py" for name in (
        "alu clock clock_layout dma fast faults fields flat lanes late layout memory ports probe "
        "qpu races rules scheduler sfu sync threads tmu vpm"
    ).split()),
    *(f"isa/{name}.py" for name in "modes ops regs setup_words texture".split()),
)  # fmt: skip
"""The files that the compiled loop comes from."""


def _stamp():
    """A digest of these files.

    numba's cache looks only at the file of the function that it keeps; as a captured value, the
    digest makes a change in any of the files a new function.
    """
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for name in SOURCES:
        digest.update((package / name).read_bytes())
    return digest.hexdigest()


def _private_directory():
    """A directory for compiled code that nobody else can write to, in the temporary directory."""
    path = Path(tempfile.gettempdir()) / f"piblas-{os.getuid()}"
    try:
        path.mkdir(mode=0o700, exist_ok=True)
        status = path.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        return path if ours and not status.st_mode & 0o022 and os.access(path, os.W_OK) else None
    except OSError:
        return None


def _cached_run(stamp):
    """The loop with numba's cache, wherever there is a place for it.

    numba tries NUMBA_CACHE_DIR, the package's own directory and the user's cache; an installation
    that is read-only, used by somebody without a home, has none of them.
    """
    try:
        return _make_run(stamp, True)
    except RuntimeError as error:  # "no locator available"
        reason = error
    directory = _private_directory()
    if directory is not None:
        before = config.CACHE_DIR
        config.CACHE_DIR = str(directory)
        try:
            return _make_run(stamp, True)
        except RuntimeError as error:
            reason = error
        finally:
            config.CACHE_DIR = before
    log.warning(
        "compiled code of the emulator cannot be kept, so that each process compiles it anew: set "
        "NUMBA_CACHE_DIR to a directory that can be written to (%s)",
        reason,
    )
    return _make_run(stamp, False)


run = _cached_run(_stamp())


def kept_in():
    """The directory of the compiled code; None if it is not kept."""
    return run.stats.cache_path
