"""The CPU's way: ``scipy.linalg.blas``, called without a copy that the caller did not ask for."""

from __future__ import annotations

from typing import Tuple

import numpy as np
from scipy.linalg import blas as _blas

__all__ = ["scale", "sgemm"]


def scale(c: np.ndarray, beta: float) -> None:
    """c = beta * c; beta = 0 does not read c."""
    if beta == 0:
        c[...] = 0
    elif beta != 1:
        c *= np.float32(beta)


def _operand(x: np.ndarray) -> Tuple[np.ndarray, int]:
    """``x`` or its transpose, whichever SciPy takes as it is, and the code that undoes it."""
    if x.flags.c_contiguous and not x.flags.f_contiguous:
        return x.T, 1
    return x, 0


def sgemm(alpha: float, a: np.ndarray, b: np.ndarray, beta: float, c: np.ndarray) -> None:
    """c = alpha * a @ b + beta * c for c Fortran-ordered, with m, n, k >= 1 and alpha != 0."""
    a, trans_a = _operand(a)
    b, trans_b = _operand(b)
    target = c
    if np.may_share_memory(c, a) or np.may_share_memory(c, b):
        target = c.copy(order="F")
    done = _blas.sgemm(alpha, a, b, beta, target, trans_a, trans_b, 1)
    if done is not c:
        c[...] = done
