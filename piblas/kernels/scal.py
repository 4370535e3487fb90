"""sscal: x = alpha * x (:mod:`.elementwise`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Tuple

import numpy as np

from .elementwise import Elementwise
from .stream import SMALLEST_NORMAL, UNIT_ROUNDOFF

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["KERNEL", "SPEC", "error_bound"]


def _body(asm: Assembler, constants: List[Any], values: List[Any]) -> Tuple[List[Any], List[Any]]:
    made = asm.reg("made")
    asm.fmul(made, values[0], constants[0])
    return [made], []


KERNEL = Elementwise(inputs=1, outputs=1, body=_body, constants=("alpha",))
SPEC = KERNEL.spec("scal", ("sscal",), "x = alpha x")


def error_bound(alpha: float, x: np.ndarray) -> np.ndarray:
    """Bound of |computed - alpha * x| for each element: u |alpha x|, u = 2**-23 (one truncation);
    a denormal alpha or x counts as 0 and a denormal result becomes 0."""
    a, x = abs(float(alpha)), np.abs(x, dtype=np.float64)
    flushed = a * np.minimum(x, SMALLEST_NORMAL) * (x < SMALLEST_NORMAL) + SMALLEST_NORMAL
    return UNIT_ROUNDOFF * a * x + flushed + (a * x if a < SMALLEST_NORMAL else 0.0)
