"""What the chip delays, and the next instruction sees (guide, p. 20-23).

- A file register is written too late for the next instruction, which still reads the old value.
- A rotation takes quads that lie above the one it is working on before the previous instruction has
  written them (inferred: rotations towards higher quads are measured to be harmless).
- The amount of a rotation by r5 is read before the previous instruction writes r5.
- The SFU's result appears in r4 for the third instruction behind.

:func:`record` keeps old values for the next instruction.  ``strict`` faults where old and new
differ and matter.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import alu, lanes, threads
from .faults import FAULT, fault, on
from .layout import (
    ACC,
    FILE_B,
    OK,
    Q_HAZ_A,
    Q_HAZ_ACC,
    Q_HAZ_B,
    Q_SFU,
    Q_SPECIAL,
    Q_UNDEF,
    QPU_WORDS,
    R4,
    R5,
    SLOT_OLD_A,
    SLOT_OLD_ACC,
    SLOT_OLD_B,
    SLOT_SFU,
    SP_HAZARD,
    SP_THREADS,
    U_DA,
    U_DM,
    U_FILES,
    U_OP_MUL,
    U_ROT,
)  # fmt: skip

NO_PLACE = -2  # unlike -1, no operand is there


@njit
def _differ(R, one, other):
    return lanes.mask_differ(lanes.load(R, one), lanes.load(R, other))


@njit
def check_operand(S, q, place, needed):
    """Faults of an operand whose value the chip does not define at this moment.

    ``needed`` are the elements of it that reach a result.
    """
    R, Q = S.R, S.Q
    if not needed:
        return OK
    base = q * QPU_WORDS
    if Q[q, Q_SPECIAL] & SP_HAZARD:
        if place == Q[q, Q_HAZ_A] and _differ(R, base + place, base + 16 * SLOT_OLD_A) & needed:
            if on(S, FAULT.LATE_A):
                return fault(S, q, FAULT.LATE_A, -1)
        if place == Q[q, Q_HAZ_B] and _differ(R, base + place, base + 16 * SLOT_OLD_B) & needed:
            if on(S, FAULT.LATE_B):
                return fault(S, q, FAULT.LATE_B, -1)
    if place == 16 * R4 and Q[q, Q_SFU] > 0 and on(S, FAULT.R4_BUSY):
        if _differ(R, base + place, base + 16 * SLOT_SFU) & needed:
            return fault(S, q, FAULT.R4_BUSY, -1)
    if Q[q, Q_SPECIAL] & SP_THREADS and place >= 0 and threads.is_others(Q, q, place):
        if on(S, FAULT.OTHER_THREAD):
            return fault(S, q, FAULT.OTHER_THREAD, -1)
    if 16 * ACC <= place <= 16 * R5 and Q[q, Q_UNDEF] >> (place // 16 - ACC) & 1:
        if on(S, FAULT.LOST):
            return fault(S, q, FAULT.LOST, -1)
    return OK


@njit
def late_place(Q, q, place):
    """Where an operand is read from: a register just written still has its old value."""
    if place == Q[q, Q_HAZ_A]:
        return 16 * SLOT_OLD_A
    if place == Q[q, Q_HAZ_B]:
        return 16 * SLOT_OLD_B
    return place


@njit
def _old_accumulator(Q, q, place):
    """Where a rotation finds quads of an accumulator that are not written yet."""
    number = place // 16 - ACC
    if 0 <= number <= 3 and Q[q, Q_HAZ_ACC] >> number & 1:
        return 16 * (SLOT_OLD_ACC + number)
    return place


@njit
def rotated(S, q, row, value, sc, sd, counts):
    """The rotated mul result: (status, vector).  ``counts`` are the elements that are used."""
    R, Q, U = S.R, S.Q, S.U
    base = q * QPU_WORDS
    code = U[row, U_ROT]
    amount = code & 31
    hazard = Q[q, Q_SPECIAL] & SP_HAZARD
    if amount == 16:
        if Q[q, Q_UNDEF] >> 5 & 1 and on(S, FAULT.LOST):
            return fault(S, q, FAULT.LOST, -1), value
        amount = np.int64(R[base + 16 * R5]) & 15
        if hazard and Q[q, Q_HAZ_ACC] >> 5 & 1:
            old = np.int64(R[base + 16 * (SLOT_OLD_ACC + 5)]) & 15
            if old != amount and counts and on(S, FAULT.LATE_R5):
                return fault(S, q, FAULT.LATE_R5, -1), value
            amount = old
    if code & 32:
        result = alu.rotate_quads(R, base, value, amount)
        if code & 64 and on(S, FAULT.MIXED_ROTATE):
            full = alu.rotate(R, base, value, amount)
            if lanes.mask_differ(full, result) & counts:
                return fault(S, q, FAULT.MIXED_ROTATE, -1), value
        return OK, result
    result = alu.rotate(R, base, value, amount)
    if hazard:
        old_c, old_d = _old_accumulator(Q, q, sc), _old_accumulator(Q, q, sd)
        if old_c != sc or old_d != sd:
            a, b = lanes.load(R, base + old_c), lanes.load(R, base + old_d)
            old = alu.rotate(R, base, alu.mul_result(U[row, U_OP_MUL], a, b), amount)
            early = 0
            for e in range(16):
                if ((e - amount) & 15) >> 2 > e >> 2:
                    early |= 1 << e
            seen = lanes.select(early, old, result)
            if lanes.mask_differ(seen, result) & counts and on(S, FAULT.LATE_ROTATE):
                return fault(S, q, FAULT.LATE_ROTATE, -1), value
            return OK, seen
    return OK, result


@njit
def record(S, q, row):
    """Keep what this instruction is about to overwrite, for the next one."""
    R, Q, U = S.R, S.Q, S.U
    base = q * QPU_WORDS
    da, dm = U[row, U_DA], U[row, U_DM]
    Q[q, Q_HAZ_A] = Q[q, Q_HAZ_B] = NO_PLACE
    touched = 0
    for place in (da, dm):
        if place < 16 * FILE_B:
            Q[q, Q_HAZ_A] = place
            lanes.store(R, base + 16 * SLOT_OLD_A, lanes.load(R, base + place))
        elif place < 16 * ACC:
            Q[q, Q_HAZ_B] = place
            lanes.store(R, base + 16 * SLOT_OLD_B, lanes.load(R, base + place))
        elif place < 16 * R4:
            touched |= 1 << (place // 16 - ACC)
    if U[row, U_FILES] > 1:
        touched |= 1 << 5
    for number in range(6):
        if touched >> number & 1:
            value = lanes.load(R, base + 16 * (ACC + number))
            lanes.store(R, base + 16 * (SLOT_OLD_ACC + number), value)
    Q[q, Q_HAZ_ACC] = touched
    Q[q, Q_SPECIAL] |= SP_HAZARD
