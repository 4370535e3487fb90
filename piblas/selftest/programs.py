"""Text to programs: how lines of QPU text are assembled and end."""

from __future__ import annotations

from typing import List, Sequence

from ..isa.source import assemble

__all__ = ["FINISH", "assembled"]

FINISH = [
    "mov.sf ra31, unif",
    "nop",
    "br.all_ns rel follow",
    "nop",
    "nop",
    "nop",
    "br.all_zs rel last",
    "nop",
    "nop",
    "nop",
    "wait:",
    "sema_down 15",
    "sub.sf ra31, ra31, 1",
    "nop",
    "br.any_zc rel wait",
    "nop",
    "nop",
    "nop",
    "last:",
    "mov host_int, 1",
    "nop; thrend",
    "nop",
    "nop",
    "follow:",
    "sema_up 15",
    "nop; thrend",
    "nop",
    "nop",
]
"""The end of every program: the QPU whose last uniform is n >= 0 waits for n others and interrupts
the host; the others' last uniform is -1."""


def assembled(lines: Sequence[str], name: str) -> List[int]:
    """The words of a program that ends with :data:`FINISH`."""
    return assemble("\n".join([*lines, *FINISH]), name).words
