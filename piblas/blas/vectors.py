"""sgemm where one side of the result is 1: a product of a matrix and a vector, on the gemv kernel.

That takes the matrix as it lies, in device memory too (:mod:`.arrays`); the gemm kernel would pack
it and fill the vector up to a tile.
"""

from __future__ import annotations

from typing import Optional

import numpy as np

from ..driver.device import Device, RunReport
from ..host import limits
from ..kernels import gemv
from . import qpu2

__all__ = ["sgemm"]


def sgemm(
    device: Device, alpha: float, a: np.ndarray, b: np.ndarray, beta: float, c: np.ndarray
) -> Optional[RunReport]:
    """c = alpha * a @ b + beta * c for float32 a (m, k), b (k, n), c (m, n) with m or n equal to 1.

    None, and ``c`` as it was, where a sum may have overflowed.
    """
    if b.shape[1] == 1:
        matrix, x, result = a, b[:, 0], c[:, 0]
    else:
        matrix, x, result = b.T, a[0], c[0]
    transposed = abs(matrix.strides[1]) < abs(matrix.strides[0])
    source = qpu2.located(device, qpu2.full(matrix.T if transposed else matrix))
    with qpu2.staged(device, gemv.SPEC, source) as panel:
        product = panel.multiply("t" if transposed else "n", x, source.storage)
    if product is None:
        return None
    total = alpha * product
    if beta:
        total += beta * result.astype(np.float64)
    with np.errstate(over="ignore"):  # the caller looks at the largest
        result[...] = total
    return limits.combined(panel.reports)
