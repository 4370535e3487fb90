"""The fast path: words that compute on registers, read a uniform or look up memory.

They have no condition, set no flags and pack nothing, and no neighbour makes a delayed write
visible (:mod:`piblas.emu.decode` says which they are).  All that their execution needs is packed
into one integer a word, so that a loop of hundreds of words stays in the host's first cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..isa.modes import SIGNAL_BY_NAME
from . import alu, clock, lanes, ports, tmu
from .clock_layout import X_ROW
from .layout import (
    CLASS_FAST,
    CLASS_IO,
    CLASS_MOVE,
    CLASS_NONE,
    OK,
    QPU_WORDS,
    R5,
    SLOT_PORT_A,
    SLOT_PORT_B,
    SLOT_X,
    SLOT_Y,
    U_CLASS,
    U_DA,
    U_DM,
    U_FILES,
    U_OP_ADD,
    U_OP_MUL,
    U_RADDR_A,
    U_RADDR_B,
    U_ROT,
    U_SA,
    U_SB,
    U_SC,
    U_SD,
    U_SIG,
    U_WADDR_ADD,
    U_WADDR_MUL,
)  # fmt: skip

# --- the packed form -----------------------------------------------------------------------------

# Bytes 0 to 5: the slots of the operands of add and mul, and of both results.
_SA, _SB, _SC, _SD, _DA, _DM = range(0, 48, 8)
_OP_ADD, _OP_MUL, _KIND = 48, 53, 56
# Rotates or writes r5; reads a uniform; uses what it calls TMU 1.
_MOVES, _UNIFORM, _TMU1 = 1 << 59, 1 << 60, 1 << 61

NONE, REGISTERS, MOVE, UNIFORM, POP, REQUEST_ADD, REQUEST_MUL, CAREFUL = range(8)
"""Kinds of words: not decoded; on registers alone; the same with a rotation or a write of r5; with
a uniform; with a TMU's result; with a TMU request by the add unit, by the mul unit; not for here.
"""


@njit(inline="always")
def kind_of(packed):
    return packed >> _KIND & 7


def pack_rows(rows: np.ndarray) -> np.ndarray:
    """The packed form (int64) of decoded rows."""
    u = rows.astype(np.int64)
    kind = np.full(len(u), CAREFUL)
    for row_class, fast in (
        (CLASS_NONE, NONE), (CLASS_FAST, REGISTERS), (CLASS_MOVE, MOVE), (CLASS_IO, UNIFORM)
    ):  # fmt: skip
        kind[u[:, U_CLASS] == row_class] = fast
    io = kind == UNIFORM
    packed = u[:, U_OP_ADD] << _OP_ADD | u[:, U_OP_MUL] << _OP_MUL
    for column, shift in (
        (U_SA, _SA), (U_SB, _SB), (U_SC, _SC), (U_SD, _SD), (U_DA, _DA), (U_DM, _DM)
    ):  # fmt: skip
        packed |= u[:, column] // 16 << shift
    packed |= np.where((u[:, U_ROT] != 0) | (u[:, U_FILES] > 1), _MOVES, 0)
    uniform = (u[:, U_RADDR_A] == ports.R_UNIF) | (u[:, U_RADDR_B] == ports.R_UNIF)
    packed |= np.where(uniform, _UNIFORM, 0)
    for column, values, name in (
        (U_SIG, [SIGNAL_BY_NAME[f"ldtmu{i}"].code for i in range(2)], POP),
        (U_WADDR_ADD, (ports.W_T0S, ports.W_T1S), REQUEST_ADD),
        (U_WADDR_MUL, (ports.W_T0S, ports.W_T1S), REQUEST_MUL),
    ):
        for number, value in enumerate(values):
            hit = io & (u[:, column] == value)
            kind[hit] = name
            packed |= np.where(hit & (number == 1), _TMU1, 0)
    return packed | kind << _KIND


# --- execution -----------------------------------------------------------------------------------


@njit(inline="always")
def _vector(R, base, packed, shift):
    return lanes.load(R, base + ((packed >> shift & 255) << 4))


@njit(inline="always")
def _results(R, base, packed):
    """The results of both units."""
    a, b = _vector(R, base, packed, _SA), _vector(R, base, packed, _SB)
    c, d = _vector(R, base, packed, _SC), _vector(R, base, packed, _SD)
    op_add, op_mul = packed >> _OP_ADD & 31, packed >> _OP_MUL & 7
    if op_add == alu.FADD:
        x = lanes.fadd(a, b)
    elif op_add == 0:
        x = a
    else:
        x = alu.add_result(op_add, a, b)
    if op_mul == alu.M_FMUL:
        y = lanes.fmul(c, d)
    elif op_mul == 0:
        y = c
    else:
        y = alu.mul_result(op_mul, c, d)
    return x, y


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


@njit(inline="always")
def execute(S, base, row, most, hot):
    """Run a word, and as many of kind REGISTERS behind it, ``most`` in all.

    Returns (how many, results of the last one).
    """
    R, F, H = S.R, S.F, S.H
    packed = F[row]
    count = 0
    while True:
        x, y = _results(R, base, packed)
        if packed & _MOVES:
            y = _move(S, base, row + count, x, y)
        else:
            lanes.store(R, base + ((packed >> _DA & 255) << 4), x)
            lanes.store(R, base + ((packed >> _DM & 255) << 4), y)
        if hot:
            H[row + count, 0] += 1
        count += 1
        if count >= most:
            break
        packed = F[row + count]
        if kind_of(packed) != REGISTERS:
            break
    return count, x, y


# --- input and output ----------------------------------------------------------------------------


@njit(inline="always")
def begin(S, q, row, timed):
    """Before a word of kind UNIFORM to REQUEST_MUL: OK with its uniform read, or what stops it."""
    packed = S.F[row]
    kind = kind_of(packed)
    number = 1 if packed & _TMU1 else 0
    if timed:
        S.X[X_ROW] = row
    if kind >= REQUEST_ADD:
        status = tmu.request_wait(S, q, number, tmu.S_ALONE)
        if status != OK:
            return status
    elif kind == POP:
        status = tmu.pop_wait(S, q, number)
        if status != OK:
            return status
        if timed:
            status = clock.take(S, q, number)
            if status != OK:
                return status
    if packed & _UNIFORM:
        if timed:
            status = clock.uniform(S, q)
            if status != OK:
                return status
        place = q * QPU_WORDS
        status = ports.read_uniform(S, q, place + 16 * SLOT_PORT_A)
        if status != OK:
            return status
        lanes.store(S.R, place + 16 * SLOT_PORT_B, lanes.load(S.R, place + 16 * SLOT_PORT_A))
        if timed:
            clock.want_next(S, q)
    return OK


@njit(inline="always")
def end(S, q, row, x, y, timed):
    """Behind such a word, whose results are x and y: the TMU's part."""
    packed = S.F[row]
    kind = kind_of(packed)
    number = 1 if packed & _TMU1 else 0
    if kind == POP:
        tmu.pop(S, q, number)
        if timed:
            clock.taken(S, q, number)
    elif kind >= REQUEST_ADD:
        place = q * QPU_WORDS + 16 * SLOT_X
        lanes.store(S.R, place, x if kind == REQUEST_ADD else y)
        status = tmu.request(S, q, number, place)
        if status != OK:
            return status
        if timed:
            clock.request(S, q, number, place)
    return OK
