"""What each routine means, in plain NumPy and float64."""

from __future__ import annotations

import numpy as np

__all__ = ["sgemm", "sgemm_magnitude"]


def sgemm(alpha: float, a: np.ndarray, b: np.ndarray, beta: float, c: np.ndarray) -> np.ndarray:
    """alpha * a @ b + beta * c in float64; a is (m, k), b is (k, n), c is (m, n).

    As in BLAS, beta = 0 does not read c and alpha = 0 reads neither a nor b.
    """
    result = np.zeros(c.shape, dtype=np.float64)
    if alpha != 0:
        result += alpha * (a.astype(np.float64) @ b.astype(np.float64))
    if beta != 0:
        result += beta * c.astype(np.float64)
    return result


def sgemm_magnitude(
    alpha: float, a: np.ndarray, b: np.ndarray, beta: float, c: np.ndarray
) -> np.ndarray:
    """The same with every number replaced by its magnitude: what error bounds are multiples of."""
    return sgemm(abs(alpha), np.abs(a), np.abs(b), abs(beta), np.abs(c))
