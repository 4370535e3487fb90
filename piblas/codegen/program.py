"""A finished program: its words and what is known about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ..isa.instr import NOP, Instr, encode
from .code import Line
from .listing import listing

__all__ = ["Program", "LINE_WORDS"]

LINE_WORDS = 8
"""Words of an instruction-cache line: code is fetched 64 bytes at a time (measured)."""


@dataclass
class Program:
    """Machine code with its origin.

    ``words`` is padded with nops to whole cache lines; ``source_map`` gives "file:line" of the
    generator for a word's index; ``registers`` the places of each declared virtual register;
    ``findings`` what the checker warns of.
    """

    name: str
    words: Any  # one-dimensional uint64 array
    instrs: Tuple[Instr, ...]
    source_map: Dict[int, str]
    labels: Dict[str, int]
    comments: Dict[int, Tuple[str, ...]]
    registers: Dict[str, str]
    length: int  # words before the padding
    findings: List[Any] = field(default_factory=list)

    @classmethod
    def of(cls, name: str, lines: Sequence[Line], registers: Dict[str, str]) -> "Program":
        """The program of linked words."""
        instrs = [line.instr for line in lines]
        instrs += [NOP] * (-len(instrs) % LINE_WORDS)
        words = np.array([encode(instr) for instr in instrs], dtype=np.uint64)
        words.setflags(write=False)
        return cls(
            name=name,
            words=words,
            instrs=tuple(instrs),
            source_map={
                i: f"{where[0]}:{where[1]}"
                for i, line in enumerate(lines)
                for where in line.wheres[:1]
                if where is not None
            },
            labels={label: i for i, line in enumerate(lines) for label in line.labels},
            comments={i: line.comments for i, line in enumerate(lines) if line.comments},
            registers=dict(registers),
            length=len(lines),
        )

    def listing(self) -> str:
        """Address, word, text and source line of every instruction."""
        return listing(self)
