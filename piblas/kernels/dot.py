"""sdot: the sum of x * y, compensated (:mod:`.reduce`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

import numpy as np

from .reduce import CompensatedSum, Reduction, sum_bound
from .stream import SMALLEST_NORMAL, UNIT_ROUNDOFF, Reader

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["KERNEL", "SPEC", "error_bound"]


def _state(asm: Assembler, reader: Reader, constants: List[Any]) -> CompensatedSum:
    def term(values: List[Any]) -> Any:
        product = asm.reg("product")
        asm.fmul(product, *values)
        reader.watch(*values, product)
        return product

    return CompensatedSum(asm, term)


KERNEL = Reduction(inputs=2, rows=CompensatedSum.ROWS, state=_state)
SPEC = KERNEL.spec("dot", ("sdot",), "sum of x y")


def error_bound(x: np.ndarray, y: np.ndarray) -> float:
    """Bound of |computed - exact|: about 3.5 u sum |x y| with u = 2**-23, whatever n is.

    One truncation a product, :func:`~piblas.kernels.reduce.sum_bound` for the sum, and the last
    rounding, u / 2 of the result.  Denormals count as 0.
    """
    x, y = np.abs(x, dtype=np.float64), np.abs(y, dtype=np.float64)
    magnitude = float(np.sum(x * y))
    flushed = float(np.sum(x * (y < SMALLEST_NORMAL) * y + y * (x < SMALLEST_NORMAL) * x))
    flushed += x.size * SMALLEST_NORMAL
    inner = sum_bound(x.size, magnitude) + UNIT_ROUNDOFF * magnitude + flushed
    return inner + UNIT_ROUNDOFF / 2 * (magnitude + inner) + SMALLEST_NORMAL
