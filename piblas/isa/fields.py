"""Bit fields of the instruction word, one row a field, for each of its formats (guide, p. 26-35).

Every format covers the 64 bits exactly once.  Bits that the guide leaves unused are rows too:
``must_be`` gives the only value that is accepted there, so no word is decoded with a loss.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Dict, Optional, Tuple

__all__ = ["Field", "FORMATS", "ALU", "SMALL_IMM", "LDI", "SEMAPHORE", "BRANCH"]


@dataclass(frozen=True)
class Field:
    """Bits ``hi``..``lo`` of a word; ``must_be`` marks bits that hold a constant."""

    name: str
    hi: int
    lo: int
    must_be: Optional[int] = None

    @functools.cached_property
    def width(self) -> int:
        return self.hi - self.lo + 1

    @functools.cached_property
    def mask(self) -> int:
        return (1 << self.width) - 1

    def get(self, word: int) -> int:
        return (word >> self.lo) & self.mask


ALU = "alu"
SMALL_IMM = "small_imm"
LDI = "ldi"
SEMAPHORE = "semaphore"
BRANCH = "branch"

_DESTINATIONS = (
    Field("ws", 44, 44),
    Field("waddr_add", 43, 38),
    Field("waddr_mul", 37, 32),
)

_MODES = (
    Field("sig", 63, 60),
    Field("unpack", 59, 57),
    Field("pm", 56, 56),
    Field("pack", 55, 52),
    Field("cond_add", 51, 49),
    Field("cond_mul", 48, 46),
    Field("sf", 45, 45),
) + _DESTINATIONS

_OPERANDS = (
    Field("op_mul", 31, 29),
    Field("op_add", 28, 24),
    Field("raddr_a", 23, 18),
)

_MUXES = (
    Field("add_a", 11, 9),
    Field("add_b", 8, 6),
    Field("mul_a", 5, 3),
    Field("mul_b", 2, 0),
)

# In LDI and semaphore words bits 59:57 hold the kind of load; the name differs so that no pass
# mistakes it for an unpack mode.
_LOAD_MODES = (
    Field("sig", 63, 60),
    Field("load_kind", 59, 57),
) + _MODES[2:]

FORMATS: Dict[str, Tuple[Field, ...]] = {
    ALU: _MODES + _OPERANDS + (Field("raddr_b", 17, 12),) + _MUXES,
    SMALL_IMM: _MODES + _OPERANDS + (Field("small_imm", 17, 12),) + _MUXES,
    LDI: _LOAD_MODES + (Field("imm", 31, 0),),
    SEMAPHORE: _LOAD_MODES + (Field("imm", 31, 0),),
    BRANCH: (
        Field("sig", 63, 60),
        Field("unused_59_56", 59, 56, must_be=0),
        Field("cond_br", 55, 52),
        Field("rel", 51, 51),
        Field("reg", 50, 50),
        Field("raddr_a", 49, 45),
    )
    + _DESTINATIONS
    + (Field("imm", 31, 0),),
}
