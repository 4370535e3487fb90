"""NumPy's products of arrays in device memory, by calls of BLAS routines.

:class:`piblas.DeviceArray` asks here first.  A function that returns None leaves the call to NumPy:
because of types, shapes or keywords that no routine takes, because something is wrong and NumPy
says best what, or because there is no device.

- ``matmul(inputs, kwargs)``: the universal function;
- ``FUNCTIONS``: by NumPy's function, what takes its arguments;
- ``AS_THEY_ARE``: functions that NumPy runs on the device arrays themselves, either because they do
  their work by the functions above, or because they print the name of the class.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, FrozenSet

import numpy as np

from . import contractions, likes, products
from .products import matmul

__all__ = ["AS_THEY_ARE", "FUNCTIONS", "matmul"]

FUNCTIONS: Dict[Any, Callable[..., Any]] = {
    np.dot: products.dot,
    np.vdot: products.vdot,
    np.inner: products.inner,
    np.outer: products.outer,
    np.tensordot: contractions.tensordot,
    np.einsum: contractions.einsum,
    np.linalg.norm: products.norm,
    np.empty_like: likes.empty_like,
    np.zeros_like: likes.zeros_like,
    np.ones_like: likes.ones_like,
    np.full_like: likes.full_like,
}

AS_THEY_ARE: FrozenSet[Any] = frozenset(
    getattr(module, name)
    for module, names in (
        (np, ("array_repr", "array_str", "array2string")),
        (
            np.linalg,
            ("multi_dot", "matrix_power", "matmul", "tensordot", "outer", "vector_norm",
             "matrix_norm"),
        ),
    )
    for name in names
    if hasattr(module, name)  # the last five came with NumPy 2
)  # fmt: skip
