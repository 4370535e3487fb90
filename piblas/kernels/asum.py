"""sasum: the sum of |x|, compensated (:mod:`.reduce`)."""

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
        size = asm.reg("size")
        asm.fmaxabs(size, values[0], values[0])
        reader.watch(size)
        return size

    return CompensatedSum(asm, term)


KERNEL = Reduction(inputs=1, rows=CompensatedSum.ROWS, state=_state)
SPEC = KERNEL.spec("asum", ("sasum",), "sum of |x|")


def error_bound(x: np.ndarray) -> float:
    """Bound of |computed - exact|: about 2.5 u sum |x| with u = 2**-23, whatever n is:
    :func:`~piblas.kernels.reduce.sum_bound` and the last rounding.  Denormals count as 0."""
    x = np.abs(x, dtype=np.float64)
    magnitude = float(np.sum(x))
    inner = sum_bound(x.size, magnitude) + x.size * SMALLEST_NORMAL
    return inner + UNIT_ROUNDOFF / 2 * (magnitude + inner) + SMALLEST_NORMAL
