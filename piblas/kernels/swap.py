"""sswap: x, y = y, x, bit for bit (:mod:`.elementwise`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Tuple

from .elementwise import Elementwise

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["KERNEL", "SPEC"]


def _body(asm: Assembler, constants: List[Any], values: List[Any]) -> Tuple[List[Any], List[Any]]:
    x, y = values
    return [y, x], []


KERNEL = Elementwise(inputs=2, outputs=2, body=_body)
SPEC = KERNEL.spec("swap", ("sswap",), "x, y = y, x", watch=False)
