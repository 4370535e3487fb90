"""strsv, stbsv, stpsv: solve op(A) x' = x for a triangular A, in blocks.

Of n (n + 1) / 2 elements of A the QPUs use all but those of the diagonal blocks.  The host goes
through the blocks of :data:`BLOCK` unknowns in the order of substitution: a launch multiplies the
rows of the block with what has been solved (:mod:`.panel`), the host takes that from the right-hand
side and solves the block in double precision: n * BLOCK / 2 products, which are one after the other
by nature.  So a solve takes a launch for each block but the first, and one of up to BLOCK unknowns
none: it runs on the CPU, and is counted there.  A band's blocks use the band only.

Error: the residual of each row is bounded by ``gamma(c + 1/2) |op(A)| |x'|`` with u = 2**-23 and c
as in :mod:`.trmv`, and by 2**-126 a term for denormals, which count as zero: the x' that comes out
solves a system that is as near as that, element by element.

Independent of the number of QPUs; Inf, NaN, a zero on the diagonal and overflows send the call to
the CPU.
"""

from __future__ import annotations

from typing import List, Tuple

import numpy as np

from .panel import spec
from .stream import SMALLEST_NORMAL, UNIT_ROUNDOFF

__all__ = ["BLOCK", "SPEC", "blocks", "residual_bound"]

BLOCK = 128
"""Unknowns of a diagonal block."""

SPEC = spec("trsv", ("strsv", "stbsv", "stpsv"), "solve op(A) x' = x, A triangular", masked=True)


def blocks(n: int, forward: bool) -> List[Tuple[Tuple[int, int], Tuple[int, int]]]:
    """(unknowns of a block, unknowns solved before) in the order of substitution."""
    steps = [(first, min(n, first + BLOCK)) for first in range(0, n, BLOCK)]
    if forward:
        return [(step, (0, step[0])) for step in steps]
    return [(step, (step[1], n)) for step in reversed(steps)]


def residual_bound(truncations: int, a: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Bound of |a x - b| for each row; ``a`` is op(A), ``x`` the solution that was computed and
    ``truncations`` :attr:`.panel_plan.Plan.depth` of the products."""
    a, x = np.abs(a, dtype=np.float64), np.abs(x, dtype=np.float64)
    d = (truncations + 0.5) * UNIT_ROUNDOFF
    flushed = SMALLEST_NORMAL * (x.sum() + a.sum(axis=1) + 2 * x.size)
    return d / (1 - d) * (a @ x) + flushed
