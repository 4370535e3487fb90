"""The assembler's macros (:mod:`piblas.codegen.macros`), imported when a kernel is generated.

Whoever launches kept programs (:mod:`.store`) needs what kernels say of their data, and no
assembler, whose import takes a second on a small board.
"""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from ..codegen import macros

    return getattr(macros, name)
