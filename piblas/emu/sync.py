"""Mutex, semaphores and the host interrupt (guide, p. 24, 33, 37-38)."""

from __future__ import annotations

from numba import njit

from . import races
from .layout import G_INTERRUPTS, G_MUTEX, G_SEMAPHORE, OK, WAIT_DOWN, WAIT_MUTEX, WAIT_UP


@njit
def mutex_wait(S, q):
    """Whether an acquire has to wait; the owner itself waits for ever."""
    return WAIT_MUTEX if S.G[G_MUTEX] >= 0 else OK


@njit
def mutex_acquire(S, q):
    S.G[G_MUTEX] = q
    races.acquired(S, q)


@njit
def mutex_release(S, q):
    """The chip does not check who releases."""
    S.G[G_MUTEX] = -1
    races.released(S, q)


@njit
def semaphore_wait(S, word):
    """Whether a semaphore instruction has to wait; ``word`` is its immediate."""
    count = S.G[G_SEMAPHORE + (word & 15)]
    if word & 16:
        return WAIT_DOWN if count == 0 else OK
    return WAIT_UP if count == 15 else OK


@njit
def semaphore_count(S, q, word):
    S.G[G_SEMAPHORE + (word & 15)] += -1 if word & 16 else 1
    races.counted(S, q, word & 15, word >> 4 & 1)


@njit
def interrupt(S, q):
    S.G[G_INTERRUPTS] |= 1 << q
