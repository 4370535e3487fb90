"""What routines mean, in plain NumPy and float64, and how far the QPUs may be from it."""

from __future__ import annotations

from typing import Any, Callable, Dict, NamedTuple, Tuple

import numpy as np

from . import asum, axpby, axpy, dot, nrm2, rot, scal

__all__ = ["LEVEL_1", "Reference", "SCALARS", "sgemm", "sgemm_magnitude"]


class Reference(NamedTuple):
    """A routine of level 1, whose vectors (float32 or float64) and then scalars are passed in the
    order of its arguments: ``value`` gives the results, ``bound`` what each may be off by, element
    by element."""

    value: Callable[..., Tuple[Any, ...]]
    bound: Callable[..., Tuple[Any, ...]]


def _exact(*operands: Any) -> Tuple[Any, ...]:
    return 0.0, 0.0


def _rotm(param: np.ndarray) -> Tuple[float, float, float, float]:
    """The rows of H by its flag."""
    flag, h11, h21, h12, h22 = (float(each) for each in param)
    if flag == -2:
        return 1.0, 0.0, 0.0, 1.0
    if flag == 0:
        return 1.0, h12, h21, 1.0
    return (h11, 1.0, -1.0, h22) if flag > 0 else (h11, h12, h21, h22)


def _mixed(
    h: Tuple[float, float, float, float], x: np.ndarray, y: np.ndarray
) -> Tuple[Any, ...]:
    return h[0] * x + h[1] * y, h[2] * x + h[3] * y


LEVEL_1: Dict[str, Reference] = {
    "saxpy": Reference(
        lambda x, y, a: (a * x + y,), lambda x, y, a: (axpy.error_bound(a, x, y),)
    ),
    "saxpby": Reference(
        lambda x, y, a, b: (a * x + b * y,), lambda x, y, a, b: (axpby.error_bound(a, b, x, y),)
    ),
    "scopy": Reference(lambda x, y: (x,), _exact),
    "sswap": Reference(lambda x, y: (y, x), _exact),
    "sscal": Reference(lambda x, a: (a * x,), lambda x, a: (scal.error_bound(a, x),)),
    "sdot": Reference(lambda x, y: (x @ y,), lambda x, y: (dot.error_bound(x, y),)),
    "sasum": Reference(lambda x: (np.abs(x).sum(),), lambda x: (asum.error_bound(x),)),
    "snrm2": Reference(lambda x: (np.sqrt(x @ x),), lambda x: (nrm2.error_bound(x),)),
    "isamax": Reference(lambda x: (np.argmax(np.abs(x)),), _exact),
    "srot": Reference(
        lambda x, y, c, s: _mixed((c, s, -s, c), x, y),
        lambda x, y, c, s: rot.error_bound((c, s, -s, c), x, y),
    ),
    "srotm": Reference(
        lambda x, y, param: _mixed(_rotm(param), x, y),
        lambda x, y, param: rot.error_bound(_rotm(param), x, y),
    ),
}

SCALARS: Dict[str, Any] = {
    "a": 2.6875,
    "b": -0.375,
    "c": 0.8,
    "s": 0.6,
    "param": np.array([-1.0, 0.8, -0.6, 0.6, 0.8], dtype=np.float32),
}
"""Scalars of sample calls."""


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
