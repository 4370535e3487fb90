"""sgemm on a device: C = alpha op(A) op(B) + beta C.

Operands in ordinary memory go through :mod:`.gemm_staged`, those in device memory through
:mod:`.gemm_resident`; where one side of the result is 1, the kernels for vectors compute it.
"""

from __future__ import annotations

import ctypes
import math
from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from ..driver.device import Device, RunReport
from ..errors import OutOfDeviceMemory
from . import arrays, limits
from .gemm_staged import Dense, staged
from .numbers import all_below, all_finite
from .outcome import NO_PRODUCT, NOT_FINITE, OVERFLOW, CpuNeeded, Outcome
from .runner import Runner

__all__ = ["Product"]

_FLOAT32 = np.dtype(np.float32)


class _Vectors:
    """A product of which one side is 1, on the kernel for vectors, which takes the matrix as it
    lies.  ``a`` is op(A), m x k, ``b`` is op(B), k x n."""

    def __init__(self, a: np.ndarray, b: np.ndarray, device: Device) -> None:
        from . import matvec  # here, as products of matrices need none of it

        self.first = b.shape[1] == 1
        matrix = a if self.first else b.T
        transposed = abs(matrix.strides[1]) < abs(matrix.strides[0])
        source = matrix.T if transposed else matrix
        self.held = matvec.held(matrix, device, matvec.full(*source.shape), transposed)
        self.use = "t" if transposed else "n"
        self.multiply = matvec.Multiply("gemv", self.held, device)

    def __call__(
        self, runner: Runner, a: np.ndarray, b: np.ndarray, reports: List[RunReport]
    ) -> np.ndarray:
        """op(A) op(B) in double precision, as a vector."""
        matrix, x = (a, b[:, 0]) if self.first else (b.T, a[0])
        source = self.held.source(matrix)
        address = self.multiply.placed(runner, source)
        x = np.ascontiguousarray(x)
        return self.multiply(runner, address, self.use, x, self.held.storage, reports)


class Product:
    """C = alpha op(A) op(B) + beta C.  Values: alpha, A, B, beta, C (or None).

    ``transposed`` says so of A and B; ``own``: the result goes into C, else into a new array.
    ``resident``: A and B lie in device memory, and C does where it is written.  ``accuracy`` is a
    name of :mod:`piblas.kernels.gemm_accuracy`.
    """

    def __init__(
        self,
        a: np.ndarray,
        b: np.ndarray,
        transposed: Tuple[bool, bool],
        given: bool,
        own: bool,
        resident: Tuple[bool, bool],
        device: Device,
        accuracy: str,
    ) -> None:
        self.transposed, self.given, self.own = transposed, given, own
        self.accuracy = accuracy
        self.there, self.resident = resident
        self.in_device_memory: Any = None
        if self.resident:
            from .gemm_resident import in_device_memory  # here, as the first call need not pack

            self.in_device_memory = in_device_memory
        a, b = self._operands(a, b)
        (m, k), n = a.shape, b.shape[1]
        self.sizes = m, n, k
        self.device = limits.of(device)
        self.vectors = _Vectors(a, b, device) if 1 in (m, n) else None

    def _operands(self, a: np.ndarray, b: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        a = a if type(a) is np.ndarray else a.view(np.ndarray)
        b = b if type(b) is np.ndarray else b.view(np.ndarray)
        return a.T if self.transposed[0] else a, b.T if self.transposed[1] else b

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Outcome:
        alpha, beta = ctypes.c_float(values[0]).value, ctypes.c_float(values[3]).value
        c = values[4]
        if alpha == 0:
            raise CpuNeeded(NO_PRODUCT)
        if not (-math.inf < alpha < math.inf and -math.inf < beta < math.inf):
            raise CpuNeeded(NOT_FINITE)
        a, b = self._operands(values[1], values[2])
        beta = beta if self.given else 0.0
        reports: List[RunReport] = []
        result = c
        if not self.own:
            result = self._room(runner)
        out = result if type(result) is np.ndarray else result.view(np.ndarray)
        if self.resident and not self.vectors and (
            self.own or type(result) is arrays.DeviceArray
        ):
            apart = not self.own or not (
                np.may_share_memory(a, out) or np.may_share_memory(b, out)
            )
            if apart:
                self.in_device_memory(
                    runner, self.device, alpha, b.T, a.T, beta, out.T, self.own, reports,
                    self.accuracy,
                )  # fmt: skip
                return result, reports
        old = None
        if beta != 0:
            old = c if type(c) is np.ndarray else c.view(np.ndarray)
        if not (all_finite(a) and all_finite(b)):
            raise CpuNeeded(NOT_FINITE)
        if self.vectors is not None:
            if old is not None and not all_finite(old):
                raise CpuNeeded(NOT_FINITE)
            out[...] = self._by_vectors(runner, alpha, a, b, beta, old, reports)
        else:
            m, n, k = self.sizes
            shape = Dense(n, m, k, old is not None, "all", self.accuracy, *self.device)
            before = None if old is None else old.T
            out.T[...] = staged(runner, shape, alpha, b, a.T, beta, before, reports)
        return result, reports

    def _room(self, runner: Runner) -> np.ndarray:
        """A new result: in device memory where both operands are there and nothing is given."""
        m, n, _ = self.sizes
        if self.there and not self.given:
            try:
                return arrays.fresh(runner.device, m, n)
            except OutOfDeviceMemory:
                pass
        return np.empty((m, n), dtype=_FLOAT32, order="F")

    def _by_vectors(
        self,
        runner: Runner,
        alpha: float,
        a: np.ndarray,
        b: np.ndarray,
        beta: float,
        old: Optional[np.ndarray],
        reports: List[RunReport],
    ) -> np.ndarray:
        assert self.vectors is not None
        try:
            total = alpha * self.vectors(runner, a, b, reports)
        except CpuNeeded:
            raise CpuNeeded(OVERFLOW, reports) from None
        m, n, _ = self.sizes
        total = total.reshape(m, n)
        if old is not None:
            total += beta * old.astype(np.float64)
        if not all_below(total):
            raise CpuNeeded(OVERFLOW, reports)
        return total
