"""Registers of the V3D block that a launch needs, by their offset from its base (guide, p. 82-101).
"""

from __future__ import annotations

from typing import Dict, NamedTuple, Tuple

__all__ = [
    "CLEAR_L2",
    "CLEAR_SLICES",
    "COUNTERS",
    "COUNTERS_ON",
    "IDENT",
    "POWERED_OFF",
    "REGISTERS",
    "REQUEST_RESET",
    "ROWS",
    "Register",
    "completed",
    "requested",
]


class Register(NamedTuple):
    """A register: its name, its offset in bytes, what it is for."""

    name: str
    offset: int
    meaning: str


ROWS: Tuple[Register, ...] = (
    Register("IDENT0", 0x000, '"V3D" in the low bytes, version 2 in the high one'),
    Register("IDENT1", 0x004, "how many slices, QPUs, TMUs; revision"),
    Register("IDENT2", 0x008, "sizes of the tile buffer"),
    Register("L2CACTL", 0x020, "bit 0 on, 1 off, 2 clear"),
    Register("SLCACTL", 0x024, "clear instruction, uniforms and TMU caches, a bit a slice"),
    Register("SRQPC", 0x430, "address of a program; the write queues the request"),
    Register("SRQUA", 0x434, "address of the next request's uniforms"),
    Register("SRQUL", 0x438, "most uniforms of a program"),
    Register("SRQCS", 0x43C, "23:16 completed, 15:8 requested, 7 error, 5:0 queue length"),
    Register("VPMBASE", 0x504, "4:0 VPM for user programs, in units of 256 bytes"),
    Register("PCTRC", 0x670, "write 1 to clear a counter"),
    Register("PCTRE", 0x674, "enables; bit 31 all"),
    Register("DBCFG", 0xE00, "debugging and interrupts"),
    Register("DBQITE", 0xE2C, "QPU interrupts that are on"),
    Register("DBQITC", 0xE30, "QPU interrupts that came, write 1 to clear"),
    Register("ERRSTAT", 0xF20, "errors of L2, VCD, VDW, VPM"),
)
REGISTERS: Dict[str, int] = {row.name: row.offset for row in ROWS}

COUNTERS = tuple((0x680 + 8 * n, 0x684 + 8 * n) for n in range(16))
"""(count, source) registers of the sixteen performance counters."""
COUNTERS_ON = 1 << 31

IDENT = 0x02443356
POWERED_OFF = 0xDEADBEEF
CLEAR_L2 = 1 << 2
CLEAR_SLICES = 0x0F0F0F0F
REQUEST_RESET = 1 << 7 | 1 << 8 | 1 << 16
"""Written to SRQCS: error and both counts to 0."""
VPM_ROWS_64 = 16
"""VPMBASE that leaves 64 rows of VPM to user programs."""


def completed(srqcs: int) -> int:
    """Programs that have ended since the reset, modulo 256."""
    return srqcs >> 16 & 0xFF


def requested(srqcs: int) -> int:
    """Programs that were queued since the reset, modulo 256."""
    return srqcs >> 8 & 0xFF
