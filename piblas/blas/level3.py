"""Level 3: matrix-matrix routines, with the signatures and semantics of ``scipy.linalg.blas``."""

from __future__ import annotations

import math
from typing import Any, List, Optional, Tuple

import numpy as np

from .. import log, record
from ..dispatch import choose, devices
from ..driver.device import RunReport
from ..errors import BlasError, OutOfDeviceMemory
from ..host import arrays
from . import arguments, launch, scipy_blas

__all__ = ["sgemm"]

_LARGEST = np.finfo(np.float32).max
NOT_FINITE = "an operand holds Inf or NaN, which QPUs do not treat as IEEE 754 does"
OVERFLOW = "the result overflows, which QPUs do not treat as IEEE 754 does"
NO_PRODUCT = "nothing to multiply"


def sgemm(
    alpha: Any,
    a: Any,
    b: Any,
    beta: Any = 0.0,
    c: Any = None,
    trans_a: Any = 0,
    trans_b: Any = 0,
    overwrite_c: Any = 0,
) -> np.ndarray:
    """alpha * op(a) @ op(b) + beta * c in single precision.

    Parameters are those of ``scipy.linalg.blas.sgemm``: op(x) is x, or its transpose where
    ``trans_a`` or ``trans_b`` is 1 or 2; operands are converted to float32; vectors count as
    columns.  The result is a Fortran-ordered float32 array.  It is ``c`` itself if ``overwrite_c``
    is set and ``c`` is float32, Fortran-ordered and writeable; in any other case ``c`` keeps its
    contents.  With ``beta`` = 0 ``c`` is not read, with ``alpha`` = 0 neither ``a`` nor ``b``;
    without ``c`` it counts as zero.

    Operands that are in device memory already (``piblas.array``) are not copied, and without ``c``
    the result is there, too.

    Error on the QPUs, element by element, with u = 2**-23 (their arithmetic truncates):
    ``gamma(k + 3) * (|alpha| |a| |b| + |beta| |c|)``, gamma(i) = i u / (1 - i u), and, because
    QPUs take numbers below 2**-126 for zero, a term of about that size for each operation; see
    ``piblas.kernels.gemm_error.error_bound``.  Operands with Inf or NaN, and results that overflow,
    are computed on the CPU, so that they are what IEEE 754 makes of them.

    The QPUs give the same bits for the same call, whatever ran before and however many QPUs the
    device has.

    A wrong argument raises :class:`piblas.BlasError`; whatever is raised, ``c`` is unchanged.
    """
    name = "sgemm"
    transposed_a = arguments.trans(name, "trans_a", trans_a)
    transposed_b = arguments.trans(name, "trans_b", trans_b)
    alpha = arguments.scalar(name, "alpha", alpha)
    a = arguments.matrix(name, "a", a)
    b = arguments.matrix(name, "b", b)
    if transposed_a:
        a = a.T
    if transposed_b:
        b = b.T
    (m, k), n = a.shape, b.shape[1]
    if b.shape[0] != k:
        raise BlasError(
            name, "b", b.shape, f"op(a) is {m} x {k}, so op(b) has to have {k} rows"
        )
    beta = arguments.scalar(name, "beta", 0.0 if beta is None else beta)
    overwrite = arguments.flag(name, "overwrite_c", overwrite_c)
    room = _room(c, a, b)
    result, out = arguments.result(name, "c", room, (m, n), beta != 0, overwrite or c is None)
    if m == 0 or n == 0 or k == 0 or alpha == 0:
        record.count("cpu", NO_PRODUCT)
        scipy_blas.scale(out, beta)
        return result
    target, device = devices.current()
    resident = _resident(device, a, b, out)
    call = choose.Call(name, {"m": m, "n": n, "k": k}, resident)
    choice = choose.choose(call, target, devices.board())
    if choice.backend != "cpu" and not resident and not _finite(alpha, a, b, beta, out):
        choice = choose.choose(
            choose.Call(name, call.sizes, bar=NOT_FINITE), target, devices.board()
        )
        log.info("sgemm on the CPU: %s", NOT_FINITE)
    reason: Optional[str] = choice.reason
    if choice.backend != "cpu":
        how = choice, target, device
        if resident:
            reason = _in_device_memory(*how, alpha, a, b, beta, out, c is not None)
        else:
            reason = _on_device(*how, alpha, a, b, beta, out)
    if reason is not None:
        record.count("cpu", reason)
        scipy_blas.sgemm(alpha, a, b, beta, out)
    return result


def _room(c: Any, a: np.ndarray, b: np.ndarray) -> Any:
    """c, or without one zeros in device memory where both operands are there."""
    home = arrays.home(a)
    if c is not None or home is None or arrays.home(b) is not home:
        return c
    if devices.current()[1] is not home or not (a.shape[0] and b.shape[1]):
        return c
    try:
        return arrays.zeros((a.shape[0], b.shape[1]), order="F", device=home)
    except OutOfDeviceMemory:
        return c


def _resident(device: Any, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> bool:
    """Whether the QPUs see all of them, and the result is none of the operands."""
    if 1 in c.shape:  # the kernel for vectors takes a matrix as it lies
        return False
    if device is None or any(arrays.place(x, device) is None for x in (a, b, c)):
        return False
    return not any(np.may_share_memory(x, c) for x in (a, b))


def _finite(alpha: float, a: np.ndarray, b: np.ndarray, beta: float, c: np.ndarray) -> bool:
    operands = (alpha, beta, a, b, c) if beta != 0 else (alpha, a, b)
    return all(bool(np.isfinite(operand).all()) for operand in operands)


def _on_device(
    choice: choose.Choice,
    target: choose.Target,
    device: Any,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: np.ndarray,
) -> Optional[str]:
    """Run the kernel; None if c holds the result, else why the CPU has to compute it."""
    # Here, because building kernels is nothing that a CPU-only process needs.
    from . import qpu, vectors

    run = vectors.sgemm if 1 in c.shape else qpu.sgemm
    # With beta = 0 the old contents are needed neither here nor on the CPU.
    work = c if beta == 0 else c.copy(order="F")
    reason, report = launch.attempt(
        "sgemm", target, device, lambda: run(device, alpha, a, b, beta, work)
    )
    if reason is not None:
        return reason
    if report is not None:
        record.report(report)
    # An overflow may also have stopped at the largest number: the chip's sum is not measured there.
    if report is None or not (np.abs(work) < _LARGEST).all():
        log.info("sgemm on the CPU after all: %s", OVERFLOW)
        return OVERFLOW
    record.count(choice.backend, choice.reason)
    if work is not c:
        c[...] = work
    return None


def _in_device_memory(
    choice: choose.Choice,
    target: choose.Target,
    device: Any,
    alpha: float,
    a: np.ndarray,
    b: np.ndarray,
    beta: float,
    c: np.ndarray,
    given: bool,
) -> Optional[str]:
    """As :func:`_on_device` without copies, but for one to go back to of a ``c`` that was given.

    The launches find Inf, NaN and overflow as they go; the CPU looks only to say which it was."""
    from ..kernels import gemm_error
    from . import resident

    if not (math.isfinite(alpha) and math.isfinite(beta)):
        return NOT_FINITE

    def run() -> Tuple[Optional[str], List[RunReport]]:
        reports: List[RunReport] = []
        if beta != 0 and min(abs(alpha), abs(beta)) < gemm_error.SMALLEST_NORMAL:
            # The kernel sees Inf and NaN in its results, but such a factor makes 0 of them.
            for operand in (a, b, c):
                fine, more = resident.below(device, operand, math.inf)
                reports += more
                if not fine:
                    return NOT_FINITE, reports
        fine, more = resident.product(device, alpha, a, b, beta if given else 0.0, c, given)
        reports += more
        if fine:
            return None, reports
        return (OVERFLOW if _finite(alpha, a, b, beta, c) else NOT_FINITE), reports

    failed, done = launch.attempt("sgemm", target, device, run)
    if failed is not None:
        return failed
    reason, reports = done
    for report in reports:
        record.report(report)
    if reason is None:
        record.count(choice.backend, choice.reason)
    else:
        record.log.info("sgemm on the CPU after all: %s", reason)
    return reason
