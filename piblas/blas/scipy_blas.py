"""The CPU's way: ``scipy.linalg.blas``, called without a copy that the caller did not ask for.

SciPy's functions are looked up once, all together, so that replacing names in ``scipy.linalg.blas``
later cannot send a call of piblas back to piblas.  Importing SciPy takes longer than importing the
rest of piblas; it waits for the first call.
"""

from __future__ import annotations

import functools
from typing import Any, Dict, Tuple

import numpy as np

__all__ = ["functions", "helpers", "scale", "sgemm"]


@functools.lru_cache(maxsize=None)
def _all() -> Tuple[Dict[str, Any], Dict[str, Any]]:
    from scipy.linalg import blas

    # The wrappers of Fortran routines, as against SciPy's helpers written in Python.
    kinds = ("fortran", "builtin_function_or_method")
    wrappers = {
        name: value
        for name, value in vars(blas).items()
        if not name.startswith("_") and type(value).__name__ in kinds
    }
    return wrappers, {name: getattr(blas, name) for name in blas.__all__}


def functions() -> Dict[str, Any]:
    """SciPy's BLAS routines by name: what the installed SciPy has."""
    return _all()[0]


def helpers() -> Dict[str, Any]:
    """``get_blas_funcs`` and ``find_best_blas_type`` of SciPy."""
    return _all()[1]


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
    done = functions()["sgemm"](alpha, a, b, beta, target, trans_a, trans_b, 1)
    if done is not c:
        c[...] = done
