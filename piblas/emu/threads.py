"""Two threads of a QPU, of which one runs (guide, p. 20-21).

``thrsw`` and ``lthrsw`` hand the QPU to the other thread behind two delay slots, ``thrend`` does at
the end of a program; a thread that is alone goes on itself.  Program counter, jumps and uniforms
are a thread's own.  Accumulators, flags and the peripherals' state belong to the QPU: a thread
finds what the other one left, and ``strict`` faults where it uses accumulators or flags all the
same.  In the register files bit 4 of a number is inverted for the second thread, so each thread
uses either 0..15 or 16..31 and has these for itself; ``strict`` faults where a thread reads a
register that the other one wrote.

The halves of the files change places with the threads: the running thread's ra3 always is ra3.
"""

from __future__ import annotations

from numba import njit

from . import lanes
from .faults import FAULT, fault, on
from .layout import (
    FILE_B,
    G_STRICT,
    LOST_ALL,
    LOST_SFU,
    OK,
    Q_COORDS0,
    Q_COORDS1,
    Q_END,
    Q_HAZ_A,
    Q_HAZ_B,
    Q_OTHER,
    Q_OURS_A,
    Q_OURS_B,
    Q_PC,
    Q_SFU,
    Q_SPECIAL,
    Q_SUSPENDED,
    Q_THEIRS_A,
    Q_THEIRS_B,
    Q_THREAD,
    Q_THRSW,
    Q_UNDEF,
    QPU_WORDS,
    SP_END,
    SP_THREADS,
    SP_THRSW,
    SP_UNDEF,
    U_DA,
    U_DM,
)  # fmt: skip

_HALF = 16  # registers of half a file


@njit
def _turned(bits):
    """A mask of registers as the other thread numbers them."""
    return (bits << _HALF | bits >> _HALF) & 0xFFFFFFFF


@njit
def _exchange(S, q):
    """The suspended thread becomes the running one."""
    R, Q = S.R, S.Q
    Q[q, Q_THREAD] ^= 1
    for column in range(Q_OTHER):
        Q[q, column], Q[q, Q_OTHER + column] = Q[q, Q_OTHER + column], Q[q, column]
    base = q * QPU_WORDS
    for file in (0, FILE_B):
        for number in range(file, file + _HALF):
            low, high = base + 16 * number, base + 16 * (number + _HALF)
            vector = lanes.load(R, low)
            lanes.store(R, low, lanes.load(R, high))
            lanes.store(R, high, vector)
    for column in (Q_HAZ_A, Q_HAZ_B):
        if Q[q, column] >= 0:
            Q[q, column] ^= 16 * _HALF
    ours_a, ours_b = Q[q, Q_OURS_A], Q[q, Q_OURS_B]
    Q[q, Q_OURS_A], Q[q, Q_OURS_B] = _turned(Q[q, Q_THEIRS_A]), _turned(Q[q, Q_THEIRS_B])
    Q[q, Q_THEIRS_A], Q[q, Q_THEIRS_B] = _turned(ours_a), _turned(ours_b)


@njit
def _lose(S, q):
    """Nothing in accumulators and flags is to be relied on."""
    Q = S.Q
    if S.G[G_STRICT]:
        Q[q, Q_UNDEF] = LOST_ALL | (LOST_SFU if Q[q, Q_SFU] > 0 else 0)
        Q[q, Q_SPECIAL] |= SP_UNDEF


@njit
def switch(S, q):
    """A thread switch comes into force."""
    Q = S.Q
    if (Q[q, Q_COORDS0] or Q[q, Q_COORDS1]) and on(S, FAULT.TEX_SWITCH):
        Q[q, Q_PC] -= 8  # the fault belongs to the last instruction
        return fault(S, q, FAULT.TEX_SWITCH, -1)
    _lose(S, q)
    if Q[q, Q_SUSPENDED]:
        _exchange(S, q)
        Q[q, Q_SPECIAL] = Q[q, Q_SPECIAL] & ~SP_END | (SP_END if Q[q, Q_END] > 0 else 0)
    return OK


@njit
def resume(S, q):
    """The running thread's program has ended: the other one's goes on."""
    Q = S.Q
    _lose(S, q)
    _exchange(S, q)
    Q[q, Q_SUSPENDED] = Q[q, Q_THRSW] = 0
    Q[q, Q_SPECIAL] &= ~(SP_THRSW | SP_END)
    if Q[q, Q_END] > 0:
        Q[q, Q_SPECIAL] |= SP_END


@njit
def is_others(Q, q, place):
    """Whether the register at a place was last written by the other thread."""
    number = place // 16
    if number < FILE_B:
        return Q[q, Q_THEIRS_A] >> number & 1
    return Q[q, Q_THEIRS_B] >> (number - FILE_B) & 1 if number < 2 * FILE_B else 0


@njit
def note_writes(S, q, row):
    """The destinations of an instruction are the running thread's registers from now on."""
    Q = S.Q
    if not Q[q, Q_SPECIAL] & SP_THREADS:
        return
    for column in (U_DA, U_DM):
        number = S.U[row, column] // 16
        if number < FILE_B:
            Q[q, Q_OURS_A] |= 1 << number
            Q[q, Q_THEIRS_A] &= ~(1 << number)
        elif number < 2 * FILE_B:
            Q[q, Q_OURS_B] |= 1 << (number - FILE_B)
            Q[q, Q_THEIRS_B] &= ~(1 << (number - FILE_B))
