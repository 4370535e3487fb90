"""QPU programs for the tests of the virtual Pi, as 32-bit words."""

from __future__ import annotations

from typing import List

from piblas.isa.instr import encode
from piblas.isa.parse import parse

_COPY = [
    "mov r0, elem_num",
    "shl r0, r0, 2",
    "add t0s, unif, r0",
    "nop",
    "nop; ldtmu0",
    "mov r1, qpu_num",
    "mov -, mutex",
    "ldi -, vpm_wr_setup, 0x00001a00",
    "mov vpm, r4",
    "ldi -, vpm_wr_setup, 0x80904000",
    "ldi -, vpm_wr_setup, 0xc0000000",
    "mov vdw_addr, unif",
    "mov -, vdw_wait",
    "mov mutex, 0",
]
_END = ["nop; thrend", "nop", "nop"]
_INTERRUPT = ["mov host_int, 1"]


def assemble(lines: List[str]) -> List[int]:
    """Two words an instruction, low half first."""
    words = [encode(parse(line)) for line in lines]
    return [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]


COPY = assemble(_COPY + _INTERRUPT + _END)
"""Copies 16 words by TMU and DMA, interrupts the host, ends."""

COPY_SILENT = assemble(_COPY + _END)
"""The same without an interrupt."""

EARLY = assemble(_COPY + _INTERRUPT + _END)
LATE = assemble(["nop"] * 100 + _COPY + _END)
"""A leader that does not wait for its workers, and workers that take their time."""

WORKER = assemble(_COPY + ["sema_up 0"] + _END)
"""Copies, tells the leader, ends."""

LEADER = assemble(_COPY + ["sema_down 0"] * 11 + _INTERRUPT + _END)
"""Copies, waits for 11 workers, interrupts the host."""


def text(words: List[int]) -> str:
    """For a command line."""
    return ",".join(f"{word:x}" for word in words)
