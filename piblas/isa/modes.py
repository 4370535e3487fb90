"""Signals, conditions, pack and unpack modes, small immediates: one row a code.

Guide, p. 28-34; section and page of each table stand beside it.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Dict, Optional, Tuple, Union

__all__ = [
    "Signal",
    "SIGNALS",
    "SIGNAL_BY_NAME",
    "SIG_NONE",
    "SIG_SMALL_IMM",
    "SIG_LDI",
    "SIG_BRANCH",
    "CONDITIONS",
    "COND_NEVER",
    "COND_ALWAYS",
    "BRANCH_CONDITIONS",
    "BRANCH_ALWAYS",
    "UNPACK_A",
    "UNPACK_R4",
    "PACK_A",
    "PACK_MUL",
    "LOAD_32",
    "LOAD_SIGNED",
    "LOAD_UNSIGNED",
    "LOAD_SEMAPHORE",
    "LOAD_KINDS",
    "ROTATE_BY_R5",
    "SmallImm",
    "SMALL_IMMS",
    "small_imm_code",
    "rotate_code",
]


@dataclass(frozen=True)
class Signal:
    """``loads_r4``: the signal writes r4 at the end of its instruction."""

    code: int
    name: str
    loads_r4: bool = False


# Signals (guide, p. 29).
SIGNALS: Tuple[Signal, ...] = (
    Signal(0, "bkpt"),
    Signal(1, "none"),
    Signal(2, "thrsw"),
    Signal(3, "thrend"),
    Signal(4, "sbwait"),
    Signal(5, "sbdone"),
    Signal(6, "lthrsw"),
    Signal(7, "loadcv", loads_r4=True),
    Signal(8, "loadc", loads_r4=True),
    Signal(9, "ldcend", loads_r4=True),
    Signal(10, "ldtmu0", loads_r4=True),
    Signal(11, "ldtmu1", loads_r4=True),
    Signal(12, "loadam", loads_r4=True),
    Signal(13, "small_imm"),
    Signal(14, "ldi"),
    Signal(15, "branch"),
)
SIGNAL_BY_NAME: Dict[str, Signal] = {row.name: row for row in SIGNALS}
SIG_NONE, SIG_SMALL_IMM, SIG_LDI, SIG_BRANCH = 1, 13, 14, 15

# Conditions of a register write (guide, p. 28): index = code; code ^ 1 is the inverse.
CONDITIONS: Tuple[str, ...] = ("never", "always", "zs", "zc", "ns", "nc", "cs", "cc")
COND_NEVER, COND_ALWAYS = 0, 1

# Conditions of a branch over all 16 elements (guide, p. 34); None is reserved.
BRANCH_CONDITIONS: Tuple[Optional[str], ...] = (
    "all_zs",
    "all_zc",
    "any_zs",
    "any_zc",
    "all_ns",
    "all_nc",
    "any_ns",
    "any_nc",
    "all_cs",
    "all_cc",
    "any_cs",
    "any_cc",
    None,
    None,
    None,
    "always",
)
BRANCH_ALWAYS = 15

# Unpack of a file-A operand (pm = 0) or of r4 (pm = 1), p. 32.  Sub-words: "a" is the lowest.
UNPACK_A: Tuple[str, ...] = ("32", "16a", "16b", "8dr", "8a", "8b", "8c", "8d")
UNPACK_R4: Tuple[str, ...] = UNPACK_A

# Pack of the file-A result (pm = 0) or of the mul result as a colour (pm = 1), p. 31.
PACK_A: Tuple[str, ...] = (
    "32",
    "16a",
    "16b",
    "8888",
    "8a",
    "8b",
    "8c",
    "8d",
    "32s",
    "16as",
    "16bs",
    "8888s",
    "8as",
    "8bs",
    "8cs",
    "8ds",
)
PACK_MUL: Tuple[Optional[str], ...] = (
    "32",
    None,
    None,
    "8888c",
    "8ac",
    "8bc",
    "8cc",
    "8dc",
) + (None,) * 8

# Kinds of load immediate (bits 59:57 of a word with signal 14), p. 33; None is reserved.
LOAD_32, LOAD_SIGNED, LOAD_UNSIGNED, LOAD_SEMAPHORE = 0, 1, 3, 4
LOAD_KINDS: Tuple[Optional[str], ...] = (
    "ldi",
    "ldi_signed",
    None,
    "ldi_unsigned",
    "semaphore",
    None,
    None,
    None,
)

ROTATE_BY_R5 = 48
"""Small-immediate code that rotates the mul result by element 0 of r5."""


@dataclass(frozen=True)
class SmallImm:
    """Code of a small immediate: ``bits`` is the operand, ``rotate`` the rotation of the mul result
    (1..15, ``"r5"`` or None)."""

    code: int
    bits: int
    rotate: Union[int, str, None]
    text: str


def _small_imms() -> Tuple[SmallImm, ...]:
    rows = []
    for code in range(64):
        if code < 32 or code >= 48:
            value = code if code < 16 else (code - 32 if code < 32 else code - 64)
            bits = value & 0xFFFFFFFF
            text = str(value)
        else:
            exponent = code - 32 if code < 40 else code - 48
            bits = (127 + exponent) << 23
            text = repr(struct.unpack("<f", struct.pack("<I", bits))[0])
        rotate: Union[int, str, None] = None
        if code == ROTATE_BY_R5:
            rotate = "r5"
        elif code > ROTATE_BY_R5:
            rotate = code - 48
        rows.append(SmallImm(code, bits, rotate, text))
    return tuple(rows)


# Small immediates and rotations (guide, p. 30).
SMALL_IMMS: Tuple[SmallImm, ...] = _small_imms()
_CODE_BY_BITS: Dict[int, int] = {row.bits: row.code for row in reversed(SMALL_IMMS[:48])}


def small_imm_code(value: Union[int, float]) -> Optional[int]:
    """The code (0..47) whose operand is ``value``, or None.

    An ``int`` stands for its 32-bit pattern (-2**31 .. 2**32 - 1), a ``float`` for its float32
    pattern; 0.0 is the integer 0, -0.0 has no code.
    """
    if isinstance(value, float):
        bits = struct.unpack("<I", struct.pack("<f", value))[0]
    else:
        bits = int(value) & 0xFFFFFFFF
    return _CODE_BY_BITS.get(bits)


def rotate_code(amount: Union[int, str]) -> int:
    """The small-immediate code that rotates up by ``amount`` (1..15, or ``"r5"``)."""
    if amount == "r5":
        return ROTATE_BY_R5
    if not isinstance(amount, int) or not 1 <= amount <= 15:
        raise ValueError(f"rotation {amount!r} is neither 1..15 nor 'r5'")
    return ROTATE_BY_R5 + amount
