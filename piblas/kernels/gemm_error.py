"""The bound of the gemm kernel's error, for each accuracy of :mod:`.gemm_accuracy`.

The bound holds for each element and any operands.  It is about the worst case, in which every
addition loses a unit in the last place of the largest partial sum.  On average it is half a unit of
the sum so far, so that the norm-wise relative errors that are found are several times smaller:
``python -m bench accuracy`` prints them.
"""

from __future__ import annotations

import numpy as np

from .parts import SMALLEST_NORMAL, UNIT_ROUNDOFF

__all__ = ["SMALLEST_NORMAL", "UNIT_ROUNDOFF", "error_bound"]


def error_bound(
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: np.ndarray,
    accuracy: str = "fast",
) -> np.ndarray:
    """Bound of |computed - exact| for each element of alpha * a @ b + beta * c on the QPU.

    Every term passes through at most s + 3 truncations (its product, s sums, the products with
    alpha or beta and the last sum), each with a relative error below u = 2**-23, hence
    gamma(s + 3) * (|alpha| |a| |b| + |beta| |c|) with gamma(i) = i u / (1 - i u).  With "fast" s is
    k; for the others :func:`.gemm_accuracy.sums` has it: 215 with "default" and 53 with "high"
    where k is 1024, 252 and 81 where it is 8192.  Denormal
    operands count as 0 and denormal results become 0; that adds at most 2**-126 per operation,
    times the factors applied later, times the other factor of a product whose operand was flushed.
    """
    from . import gemm_accuracy, reference  # here, as a product itself needs none of it

    k = a.shape[1]
    truncations = gemm_accuracy.sums(accuracy, k) + 3
    relative = truncations * UNIT_ROUNDOFF / (1 - truncations * UNIT_ROUNDOFF)
    bound = relative * reference.sgemm_magnitude(alpha, a, b, beta, c)
    big_a = np.abs(a, dtype=np.float64).sum(axis=1)[:, None] if alpha else 0.0
    big_b = np.abs(b, dtype=np.float64).sum(axis=0)[None, :] if alpha else 0.0
    # Flushed operands: each denormal of a costs |b|, each of b costs |a|; flushed products, sums:
    # two an element of k; flushed alpha or beta and the products with them.
    flushes = abs(alpha) * (big_a + big_b + 2 * k) + (abs(beta) + 3.0)
    if abs(alpha) < SMALLEST_NORMAL:
        flushes = flushes + big_a * np.max(np.abs(b), initial=0.0)
    if beta and abs(beta) < SMALLEST_NORMAL:
        flushes = flushes + np.abs(c)
    return bound + SMALLEST_NORMAL * flushes
