"""saxpy: y = alpha * x + y (:mod:`.elementwise`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Tuple

import numpy as np

from .elementwise import Elementwise
from .stream import SMALLEST_NORMAL, UNIT_ROUNDOFF

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["KERNEL", "SPEC", "error_bound"]


def _body(asm: Assembler, constants: List[Any], values: List[Any]) -> Tuple[List[Any], List[Any]]:
    x, y = values
    product, made = asm.reg("product"), asm.reg("made")
    asm.fmul(product, x, constants[0])
    asm.fadd(made, product, y)
    return [made], []


KERNEL = Elementwise(inputs=2, outputs=1, body=_body, constants=("alpha",))
SPEC = KERNEL.spec("axpy", ("saxpy",), "y = alpha x + y", ahead=1, asked=0)


def error_bound(alpha: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bound of |computed - exact| for each element: (2 u + u**2) |alpha x| + u |y|, u = 2**-23
    (two truncations of the product, one of y); denormals count as 0."""
    a = abs(float(alpha))
    x, y = np.abs(x, dtype=np.float64), np.abs(y, dtype=np.float64)
    relative = (2 + UNIT_ROUNDOFF) * UNIT_ROUNDOFF * a * x + UNIT_ROUNDOFF * y
    # Flushed: x, the product, y, the sum; or alpha.
    flushed = SMALLEST_NORMAL * (a * (x < SMALLEST_NORMAL) + 3)
    return relative + flushed + (a * x if a < SMALLEST_NORMAL else 0.0)
