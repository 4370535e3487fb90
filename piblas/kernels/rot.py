"""srot and srotm: x, y = h11 * x + h12 * y, h21 * x + h22 * y (:mod:`.elementwise`).

A plane rotation is h11 = h22 = c, h12 = s, h21 = -s; a modified one has units among its elements,
by which products are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Sequence, Tuple

import numpy as np

from .elementwise import Elementwise
from .stream import SMALLEST_NORMAL, UNIT_ROUNDOFF

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["KERNEL", "SPEC", "error_bound"]


def _body(asm: Assembler, constants: List[Any], values: List[Any]) -> Tuple[List[Any], List[Any]]:
    x, y = values
    made = []
    for of_x, of_y in (constants[:2], constants[2:]):
        one, other, total = asm.reg("one"), asm.reg("other"), asm.reg("total")
        asm.fmul(one, x, of_x)
        asm.fmul(other, y, of_y)
        asm.fadd(total, one, other)
        made.append(total)
    return made, []


KERNEL = Elementwise(inputs=2, outputs=2, body=_body, constants=("h11", "h12", "h21", "h22"))
SPEC = KERNEL.spec("rot", ("srot", "srotm"), "x, y = h11 x + h12 y, h21 x + h22 y")


def error_bound(h: Sequence[float], x: np.ndarray, y: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Bounds of |computed - exact| of both results for h = (h11, h12, h21, h22): two truncations,
    (2 u + u**2) (|h11 x| + |h12 y|) with u = 2**-23; denormals count as 0."""
    x, y = np.abs(x, dtype=np.float64), np.abs(y, dtype=np.float64)
    bounds = []
    for row in (h[:2], h[2:]):
        bound = np.full(x.shape, 3 * SMALLEST_NORMAL)
        for value, operand in zip(row, (x, y)):
            size = abs(float(value))
            lost = (operand < SMALLEST_NORMAL) | (size < SMALLEST_NORMAL)
            relative = np.where(lost, 1.0, (2 + UNIT_ROUNDOFF) * UNIT_ROUNDOFF)
            bound += relative * size * operand
        bounds.append(bound)
    return bounds[0], bounds[1]
