"""snrm2: the sum of (scale * x)**2, compensated (:mod:`.reduce`), and its square root on the host.

The norm must not overflow or underflow where its value does not.  The first launch has scale 1 and
keeps the largest |x|.  If that is so large that squares may overflow, or so small that squares
lost to underflow may count, a second launch scales by the power of two that brings it near 1.
Where even the elements that count may be denormal, which the QPUs take for 0, the host computes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, List

import numpy as np

from .reduce import CompensatedSum, Reduction, sum_bound
from .stream import UNIT_ROUNDOFF, Reader

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["KERNEL", "SPEC", "error_bound", "largest", "scale_for"]


def _state(asm: Assembler, reader: Reader, constants: List[Any]) -> CompensatedSum:
    def term(values: List[Any]) -> Any:
        scaled, square = asm.reg("scaled"), asm.reg("square")
        reader.watch(values[0])
        asm.fmul(scaled, values[0], constants[0])
        asm.fmul(square, scaled, scaled)
        return square

    return CompensatedSum(asm, term)


KERNEL = Reduction(inputs=1, rows=CompensatedSum.ROWS, state=_state, constants=("scale",))
SPEC = KERNEL.spec("nrm2", ("snrm2",), "sum of (scale x) ** 2")


def largest(results: np.ndarray) -> np.float32:
    """The largest |x| that the parts met; NaN if there was one."""
    patterns = np.ascontiguousarray(results[:, CompensatedSum.ROWS]).view(np.uint32)
    return patterns.max().view(np.float32)


def scale_for(n: int, size: float) -> float:
    """The scale for n elements of which ``size`` > 0 is the largest magnitude; 0: none will do.

    With scale 1, n squares must stay below 2**126, and those below 2**-126 must not add up to more
    than 2**-26 of the largest: sqrt(n) 2**-50 <= size <= 2**63 / sqrt(n).  With another scale,
    the same holds by itself as long as n < 2**100.  A denormal element changes the norm by less
    than 2**-26 of itself if size >= sqrt(n) 2**-100.
    """
    root = math.sqrt(n)
    if root * 2.0**-50 <= size <= 2.0**63 / root:
        return 1.0
    if size < root * 2.0**-100:
        return 0.0
    return 2.0 ** max(-126, 1 - math.frexp(size)[1])


def error_bound(x: np.ndarray) -> float:
    """Bound of |computed - exact|: about 2.3 u times the norm with u = 2**-23.

    The squares have one truncation (scaling is exact), their sum :func:`~.reduce.sum_bound`, the
    root halves that to 1.5 u; losses to underflow are below 2**-25 of the norm; the last rounding
    adds u / 2.  Where the norm is denormal the spacing of the denormals counts.
    """
    norm = math.sqrt(float(np.sum(np.square(x, dtype=np.float64))))
    relative = (sum_bound(x.size, 1.0) + UNIT_ROUNDOFF) / 2 + 2.0**-25 + UNIT_ROUNDOFF / 2
    return (relative + UNIT_ROUNDOFF**2) * norm + 2.0**-149
