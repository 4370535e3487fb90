"""Readable listings: address, word, text, source line.

The source line names the file without its folder, so that a listing is the same on every machine.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Dict, List

from ..isa import modes
from ..isa.disasm import to_text
from ..isa.instr import encode

if TYPE_CHECKING:
    from .program import Program

__all__ = ["listing"]

_TEXT_WIDTH = 60


def listing(program: "Program") -> str:
    """The listing of a program, without the nops that pad it."""
    labels: Dict[int, List[str]] = {}
    for label, index in program.labels.items():
        labels.setdefault(index, []).append(label)
    lines = [f"# {program.name}: {program.length} words"]
    lines += [f"# {name}: {places}" for name, places in program.registers.items()]
    for i, instr in enumerate(program.instrs[: program.length]):
        lines += [f"{label}:" for label in labels.get(i, ())]
        lines += [f"    # {text}" for text in program.comments.get(i, ())]
        text = to_text(instr)
        if instr.sig == modes.SIG_BRANCH and instr.rel and not instr.reg:
            offset = instr.imm - ((instr.imm & 0x80000000) << 1)
            names = labels.get(i + 4 + offset // 8, ())
            text += f"  # -> {names[0]}" if names else ""
        source = program.source_map.get(i, "")
        source = os.path.basename(source)
        row = f"{8 * i:04x}  {encode(instr):016x}  {text:<{_TEXT_WIDTH}}  {source}"
        lines.append(row.rstrip())
    return "\n".join(lines) + "\n"
