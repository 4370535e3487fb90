"""Place labels: fill in the offsets of branches and check that the program ends.

A branch at word i reaches label word t with the offset 8 * (t - (i + 4)), since the hardware counts
from the word behind its three delay slots (guide, p. 34).
"""

from __future__ import annotations

from typing import Dict, List

from .code import Line, fail
from .program import Program

__all__ = ["link"]


def link(name: str, lines: List[Line], registers: Dict[str, str]) -> Program:
    """The program of finished words."""
    labels = {label: i for i, line in enumerate(lines) for label in line.labels}
    if not any(line.instr.sig in (3, 9) for line in lines):
        fail(f"{name} has no end", lines[-1].wheres[0] if lines and lines[-1].wheres else None)
    for i, line in enumerate(lines):
        if line.target is None:
            continue
        offset = 8 * (labels[line.target] - (i + 4))
        line.instr = line.instr.but(imm=(line.instr.imm + offset) & 0xFFFFFFFF)
    return Program.of(name, lines, registers)
