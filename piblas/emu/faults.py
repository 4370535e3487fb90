"""How compiled code faults: see :mod:`piblas.emu.rules` for what the faults are."""

from __future__ import annotations

from numba import njit

from .layout import FIRST_FAULT, G_FAULT, G_FAULT_ADDR, G_FAULT_QPU, G_RULES
from .rules import FAULT

__all__ = ["FAULT", "fault", "on"]


@njit
def fault(S, q, code, address):
    """Note a fault and return its code."""
    S.G[G_FAULT] = code
    S.G[G_FAULT_QPU] = q
    S.G[G_FAULT_ADDR] = address
    return code


@njit
def on(S, code):
    """Whether a fault is in force; those of ``strict`` may be off, all or one by one."""
    index = code - FIRST_FAULT
    return S.G[G_RULES + (index >> 5)] >> (index & 31) & 1 != 0
