"""saxpby: y = alpha * x + beta * y (:mod:`.elementwise`).

Both products are rounded, so that neither factor may be 0 where its operand must not be read: the
host takes :mod:`.scal` then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Tuple

import numpy as np

from .elementwise import Elementwise
from .stream import SMALLEST_NORMAL, UNIT_ROUNDOFF

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["KERNEL", "SPEC", "combined", "error_bound"]


def combined(asm: Assembler, x: Any, alpha: Any, y: Any, beta: Any) -> Any:
    """A register with alpha * x + beta * y."""
    one, other, total = asm.reg("one"), asm.reg("other"), asm.reg("total")
    asm.fmul(one, x, alpha)
    asm.fmul(other, y, beta)
    asm.fadd(total, one, other)
    return total


def _body(asm: Assembler, constants: List[Any], values: List[Any]) -> Tuple[List[Any], List[Any]]:
    (x, y), (alpha, beta) = values, constants
    return [combined(asm, x, alpha, y, beta)], []


KERNEL = Elementwise(inputs=2, outputs=1, body=_body, constants=("alpha", "beta"))
SPEC = KERNEL.spec("axpby", ("saxpby",), "y = alpha x + beta y", ahead=1, asked=0)


def error_bound(alpha: float, beta: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bound of |computed - exact| for each element: two truncations, (2 u + u**2) (|alpha x| +
    |beta y|) with u = 2**-23; denormals count as 0."""
    bound = np.full(np.shape(x), 3 * SMALLEST_NORMAL)
    for factor, operand in ((alpha, x), (beta, y)):
        size, magnitude = abs(float(factor)), np.abs(operand, dtype=np.float64)
        lost = (magnitude < SMALLEST_NORMAL) | (size < SMALLEST_NORMAL)
        bound += np.where(lost, 1.0, (2 + UNIT_ROUNDOFF) * UNIT_ROUNDOFF) * size * magnitude
    return bound
