"""The target "numpy.dot": ``np.dot`` under every name that modules have for it.

NumPy's own ``tensordot``, ``linalg.multi_dot`` and ``cov`` call it by such names.  The method
``ndarray.dot`` is out of reach, as are ``np.inner``, ``np.vdot`` and ``np.einsum`` without
``optimize``.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, List

import numpy as np

from . import products
from .names import Replaced

__all__ = ["Dot"]

_FLOAT32 = np.dtype(np.float32)


class Dot:
    """``np.dot``, replaced until :meth:`remove`."""

    def __init__(self, least: int) -> None:
        limit.set_least(least)
        original = np.dot
        self._replaced = Replaced([(original, _made(original))])

    def set_least(self, least: int) -> None:
        limit.set_least(least)

    def names(self) -> List[str]:
        return self._replaced.names()

    def remove(self) -> List[str]:
        return self._replaced.restore()


limit = products.Limit("dot")


@functools.lru_cache(maxsize=None)
def _made(original: Callable[..., Any]) -> Callable[..., Any]:
    """What stands in for ``np.dot``: always the same function, as it may be kept anywhere."""
    array = np.ndarray

    @functools.wraps(original)
    def dot(*args: Any, **kwargs: Any) -> Any:
        if len(args) != 2 or kwargs:
            return original(*args, **kwargs)
        a, b = args
        if not (
            type(a) is array is type(b)
            and a.dtype == b.dtype == _FLOAT32
            and 0 < a.ndim < 3
            and 0 < b.ndim < 3
        ):
            return original(a, b)
        size = a.size if b.ndim == 1 else a.size * b.shape[1]
        if size < limit.multiplications:
            result = original(a, b)
            limit.count()
            return result
        if not size or a.shape[-1] != b.shape[0]:
            return original(a, b)
        if not limit.multiplications:
            limit.refresh()
            if size < limit.multiplications:
                return dot(a, b)
        if products.busy():
            return original(a, b)
        return products.dot(limit, a, b, lambda: original(a, b))

    inner: Any = dot
    if hasattr(original, "_implementation"):  # what some libraries look at
        inner._implementation = original._implementation
    return inner
