"""The compiled loop: QPUs take turns until all have ended, or something needs the host.

Without a clock, a turn ends after a number of instructions, or when the QPU has to wait.  A whole
round in which no QPU issues is a deadlock, because everything that a QPU can wait for is done by
another QPU.  With a clock (:mod:`piblas.emu.clock`), whoever is earliest acts next.
Instructions that only compute on registers run right here; everything else goes to
:func:`piblas.emu.qpu.careful`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numba import njit

from . import alu, clock, lanes, memory, ports, qpu, tmu
from .clock_layout import (
    E_QPU, H_WIDTH, K_ISSUE, K_TIMED, NEVER, X_END, X_HORIZON, X_HOT, X_ROW, Z_CLOCK, Z_LINE,
    Z_WIDTH,
)  # fmt: skip
from .flat import pointer, rows
from .layout import (
    CLASS_FAST, CLASS_NONE, CLASS_TMU, END_ALL, END_BUDGET, END_DEADLOCK, END_DECODE, END_LIMIT,
    END_STEP, FAULT, FIRST_FAULT, F_READS_IO, G_BASE, G_CURRENT, G_DECODE_ADDR, G_DECODE_TABLE,
    G_FRESH, G_INCOHERENT, G_LEFT, G_LIMIT, G_MOVED, G_NOISE, G_NQPUS, G_QUANTUM, G_SIZE,
    LAST_WAIT, OK, PER_QPU, QPU_WORDS, Q_BR, Q_COUNT, Q_PC, Q_SPECIAL, Q_STATE, Q_THREAD, Q_WAIT,
    Q_WIDTH, R5, SLOT_X, SLOT_Y, State, U_CLASS, U_DA, U_DM, U_FILES, U_FLAGS, U_OP_ADD, U_OP_MUL,
    U_ROT, U_SA, U_SB, U_SC, U_SD, U_SIG, U_WADDR_ADD, U_WADDR_MUL, U_WIDTH, WAIT_DOWN, WAIT_TURN,
)  # fmt: skip

_FADD, _FMUL = alu.FADD, alu.M_FMUL
_q_rows, _u_rows, _w_rows = rows(Q_WIDTH), rows(U_WIDTH), rows(2)
_z_rows, _h_rows = rows(Z_WIDTH), rows(H_WIDTH)

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
                        S.U[first + (offset >> 3 & 504) + i, U_CLASS] = CLASS_NONE
                G[G_DECODE_ADDR], G[G_DECODE_TABLE] = pc, table
                return -1
    first = S.P[table * (G[G_SIZE] >> 12) + (offset >> 12)]
    if first >= 0:
        row = first + (offset >> 3 & 511)
        if S.U[row, U_CLASS] != CLASS_NONE:
            return row
    G[G_DECODE_ADDR], G[G_DECODE_TABLE] = pc, table
    return -1


@njit
def _move(S, base, row, x, y):
    """Results of a word that may rotate or write r5; the mul unit's is returned."""
    R, U = S.R, S.U
    amount = U[row, U_ROT]
    if amount:
        if amount == 16:
            amount = np.int64(R[base + 16 * R5]) & 15
        y = alu.rotate(R, base, y, amount)
    files = U[row, U_FILES]
    lanes.store(R, base + U[row, U_DA], x)
    lanes.store(R, base + U[row, U_DM], y)
    if files & 16:
        lanes.store(R, base + 16 * R5, lanes.splat(lanes.first(y)))
    elif files > 1:
        lanes.store(R, base + 16 * SLOT_X, x)
        lanes.store(R, base + 16 * SLOT_Y, y)
        if files & 6:
            ports.write_r5(R, base, files & 2 != 0, base + 16 * SLOT_X, 0xFFFF)
        if files & 8:
            ports.write_r5(R, base, True, base + 16 * SLOT_Y, 0xFFFF)
    return y


@njit
def _tmu_ready(S, q, row):
    """Whether the TMU has the result, or room for the request, of a word."""
    U = S.U
    sig = U[row, U_SIG]
    if sig == qpu.LDTMU0 or sig == qpu.LDTMU1:
        return tmu.pop_wait(S, q, sig - qpu.LDTMU0)
    address = max(U[row, U_WADDR_ADD], U[row, U_WADDR_MUL])
    return tmu.request_wait(S, q, 0 if address == ports.W_T0S else 1, tmu.S_ALONE)


@njit
def _tmu_access(S, q, row, x, y):
    """The TMU's part of a word: a request with one of the results, or a result into r4."""
    R, U = S.R, S.U
    sig = U[row, U_SIG]
    if sig == qpu.LDTMU0 or sig == qpu.LDTMU1:
        tmu.pop(S, q, sig - qpu.LDTMU0)
        return OK
    place = q * QPU_WORDS + 16 * SLOT_X
    address = U[row, U_WADDR_ADD]
    if address == ports.W_T0S or address == ports.W_T1S:
        lanes.store(R, place, x)
    else:
        address = U[row, U_WADDR_MUL]
        lanes.store(R, place, y)
    return tmu.request(S, q, 0 if address == ports.W_T0S else 1, place)


@njit
def _turn(S, q, limit, timed):
    """Up to ``limit`` instructions of one QPU: (number issued, OK or why it stopped)."""
    R, Q, U, P = S.R, S.Q, S.U, S.P
    incoherent = S.G[G_INCOHERENT] != 0
    base = q * QPU_WORDS
    pages = S.G[G_SIZE] >> 12
    pc, br, bottom = Q[q, Q_PC], Q[q, Q_BR], S.G[G_BASE]
    special = Q[q, Q_SPECIAL]
    X, Z, H = S.X, S.Z, S.H
    now, line = Z[q, Z_CLOCK], Z[q, Z_LINE]
    hot = timed and X[X_HOT] != 0
    clk = S.K[K_ISSUE] if timed else 0
    done = 0
    while done < limit:
        row = -1
        offset = pc - bottom
        if not incoherent and 0 <= offset >> 12 < pages and offset & 7 == 0:
            row = P[offset >> 12]
            if row >= 0:
                row += offset >> 3 & 511
                if U[row, U_CLASS] == CLASS_NONE:
                    row = -1
        if row < 0:
            Q[q, Q_PC] = pc
            row = _row(S, q, pc)
            if row < 0:
                Q[q, Q_BR], Z[q, Z_CLOCK] = br, now
                if row == -1:
                    return done, END_DECODE
                return done, memory.fault(S, q, FAULT.FETCH_ALIGN if pc & 7 else FAULT.FETCH, pc)
        if timed and pc >> 6 != line:
            Q[q, Q_PC], Q[q, Q_BR], Z[q, Z_CLOCK] = pc, br, now
            X[X_ROW] = row
            status = clock.enter_line(S, q, pc >> 6)
            if status != OK:
                return done, status
            now, line = Z[q, Z_CLOCK], pc >> 6
        kind = U[row, U_CLASS]
        if kind <= CLASS_TMU and special == 0 and br != 1:
            if kind == CLASS_TMU:
                Q[q, Q_PC], Q[q, Q_BR] = pc, br
                status = _tmu_ready(S, q, row)
                if timed:
                    Z[q, Z_CLOCK] = now
                    if status == OK:
                        status = clock.before_tmu(S, q, row)
                    now = Z[q, Z_CLOCK]
                if status != OK:
                    return done, status
            op_add, op_mul = U[row, U_OP_ADD], U[row, U_OP_MUL]
            a, b = lanes.load(R, base + U[row, U_SA]), lanes.load(R, base + U[row, U_SB])
            c, d = lanes.load(R, base + U[row, U_SC]), lanes.load(R, base + U[row, U_SD])
            if op_add == _FADD:
                x = lanes.fadd(a, b)
            else:
                x = alu.add_result(op_add, a, b)
            if op_mul == _FMUL:
                y = lanes.fmul(c, d)
            else:
                y = alu.mul_result(op_mul, c, d)
            if kind == CLASS_FAST:
                lanes.store(R, base + U[row, U_DA], x)
                lanes.store(R, base + U[row, U_DM], y)
            else:
                y = _move(S, base, row, x, y)
            if kind == CLASS_TMU:
                status = _tmu_access(S, q, row, x, y)
                if status != OK:
                    return done, status
                if timed:
                    clock.after_tmu(S, q, row)
            pc += 8
            if br > 0:
                br -= 1
            done += 1
            now += clk
            Q[q, Q_COUNT] += 1
            if hot:
                H[row, 0] += 1
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
        done += 1
        if Q[q, Q_STATE] == 0:
            break
    Q[q, Q_PC], Q[q, Q_BR], Z[q, Z_CLOCK] = pc, br, now
    return done, OK


@njit
def _earliest(E, count):
    """(Who acts next, when, when the one after it acts)."""
    who, when, then = 0, E[0], NEVER
    for i in range(1, count):
        time = E[i]
        if time < when:
            who, when, then = i, time, when
        elif time < then:
            then = time
    return who, when, then


@njit
def _by_time(S, budget):
    """Units and QPUs act in the order of time, for about ``budget`` instructions."""
    G, Q, E, X, Z = S.G, S.Q, S.E, S.X, S.Z
    spent = 0
    count = E_QPU + G[G_NQPUS]
    while spent < budget:
        who, when, then = _earliest(E, count)
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
        X[X_HORIZON] = then
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


def _make_run(stamp):
    @njit(cache=True, nogil=True)
    def run(arrays, budget, only):
        """Run all QPUs for about ``budget`` instructions, or one instruction of QPU ``only``."""
        S = State(
            pointer(arrays.R), _q_rows(arrays.Q), pointer(arrays.G), pointer(arrays.T),
            pointer(arrays.V), pointer(arrays.M), pointer(arrays.M8), pointer(arrays.L),
            _u_rows(arrays.U), _w_rows(arrays.W), pointer(arrays.P), pointer(arrays.CT),
            pointer(arrays.CD), pointer(arrays.E), pointer(arrays.K), pointer(arrays.X),
            _z_rows(arrays.Z), _h_rows(arrays.H), pointer(arrays.TB), pointer(arrays.TS),
        )  # fmt: skip
        G, Q = S.G, S.Q
        spent = -len(stamp) * 0
        if G[G_FRESH]:
            memory.begin_uniforms(S)
        if only >= 0:
            if Q[only, Q_STATE] == 0:
                return END_ALL
            done, status = _turn(S, only, 1, False)
            return END_STEP if status == OK else status
        if S.K[K_TIMED]:
            return _by_time(S, budget)
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

    return run


SOURCES = (
    *(f"emu/{name}.py" for name in (
        "alu clock clock_layout dma fields flat lanes late layout memory ports probe qpu scheduler "
        "sfu sync threads tmu vpm"
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


run = _make_run(_stamp())
