"""The assembler: kernel generators call :class:`Assembler`, which makes a :class:`Program`."""

from __future__ import annotations

from .asm import Assembler
from .check import Finding, check
from .program import Program

__all__ = ["Assembler", "Program", "Finding", "check"]
