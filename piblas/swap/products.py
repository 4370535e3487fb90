"""Products that NumPy's users ask for, handed to dispatch; NumPy computes what stays on the CPU.

Operands are plain float32 arrays in ordinary memory, of any strides.  Every function takes what
computes the product in NumPy, ``original``, and calls it where dispatch keeps the call from the
device, where the device fails, and where an operand holds Inf or NaN or the result overflows: so
results, warnings and errors are NumPy's.
"""

from __future__ import annotations

from typing import Any, Callable, Optional, Tuple

import numpy as np

from .. import record
from ..blas import batch, call, level1, level2, level3
from ..dispatch import choose, devices
from ..routines import ROUTINES

__all__ = ["HUGE", "Limit", "busy", "dot", "folded", "matmul", "stacked"]

HUGE = 1 << 62
_HELD = 1 << 15
_SGEMM, _SGEMV, _SDOT = (ROUTINES[name] for name in ("sgemm", "sgemv", "sdot"))
_NOTHING: Any = {}


class Limit:
    """What a redirected function needs to know of the target to leave a small call alone.

    A product of less than ``multiplications`` stays with NumPy, and is counted by ``count()``.  0:
    look anew (:meth:`refresh`); that is so after each change of the target.  ``held``: the same,
    but no more than what may be computed without giving other threads a turn.
    """

    def __init__(self, name: str) -> None:
        self.name, self.least = name, 0
        self.multiplications = self.held = 0
        self.count: Callable[[], Any] = int
        devices.on_change(self.forget)

    def forget(self) -> None:
        self.multiplications = self.held = 0

    def set_least(self, least: int) -> None:
        self.least = least
        self.forget()

    def refresh(self) -> None:
        """Work it out for the present target."""
        with devices.steady():
            reason, limit = devices.cpu_reason(3), HUGE
            if not reason:
                state = devices.offered(self.least)
                # A call is at most four times as large as the number of its multiplications.
                limit = -(-self.least // 4)
                if state.device is None:
                    reason, limit = state.target.missing, HUGE
                elif state.target.demanded:
                    reason = choose.TOO_SMALL
                else:
                    reason = choose.FASTER_ON_CPU
                    limit = max(limit, choose.least_product(state.board))
            self.count = record.tally(self.name, "cpu", reason).counter.__next__
            if not record.timing:  # else each call is timed, where dispatch is
                self.multiplications, self.held = max(1, limit), min(limit, _HELD)


def busy() -> bool:
    """Whether this thread is within a call of piblas that uses the device: the products that such
    a call computes on the CPU are not for the device."""
    state = devices.offered(0)
    lock: Any = state.lock
    return lock is not None and lock._is_owned()


class _Left:
    """What NumPy made of a call that dispatch left to it."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


def _run(
    name: str, least: int, row: Any, given: Tuple[Any, ...], bind: Any, original: Callable[[], Any]
) -> Any:
    def on_cpu(*args: Any) -> _Left:
        return _Left(original())

    return call.run(devices.offered(least), row, given, _NOTHING, bind, on_cpu, name)


def matmul(
    limit: Limit, a: np.ndarray, b: np.ndarray, out: np.ndarray, original: Callable[[], Any]
) -> None:
    """out = a @ b for matrices, none of which is empty; ``out`` overlaps neither operand."""
    m, k = a.shape
    n = b.shape[1]
    made: Any
    given: Tuple[Any, ...]
    if m == n == 1:
        made = _run(limit.name, limit.least, _SDOT, (a[0], b[:, 0]), level1.bind, original)
    elif n == 1:
        given = 1.0, a, b[:, 0]
        made = _run(limit.name, limit.least, _SGEMV, given, level2.bind, original)
        if type(made) is not _Left:
            made = made.reshape(m, 1)
    elif m == 1:
        given = 1.0, b.T, a[0]
        made = _run(limit.name, limit.least, _SGEMV, given, level2.bind, original)
    else:
        # Results of sgemm are Fortran-ordered, as the transpose of a C-ordered one is.
        turned = out.flags.f_contiguous
        room = out if turned else out.T
        if not room.flags.f_contiguous:
            room = None
        left, right = (a, b) if turned else (b.T, a.T)
        given = 1.0, left, right, 0.0, room, 0, 0, 1
        made = _run(limit.name, limit.least, _SGEMM, given, level3.bind, original)
        if made is room:
            return
        if type(made) is not _Left and not turned:
            made = made.T
    if type(made) is not _Left:
        out[...] = made


def stacked(
    limit: Limit, a: np.ndarray, b: np.ndarray, out: np.ndarray, original: Callable[[], Any]
) -> None:
    """out[i] = a[i] @ b[i] for each i, in one launch."""
    products = [batch.Each(1.0, y.T, x.T, 0.0, z.T) for x, y, z in zip(a, b, out)]
    row = batch.row("sgemm_batch", "products")
    _run(limit.name, limit.least, row, (products,), batch.bind, original)


def dot(
    limit: Limit, a: np.ndarray, b: np.ndarray, original: Callable[[], Any]
) -> Any:
    """a . b for vectors and matrices, none of which is empty, whose inner lengths agree."""
    made: Any
    if a.ndim == b.ndim == 1:
        made = _run(limit.name, limit.least, _SDOT, (a, b), level1.bind, original)
        return made.value if type(made) is _Left else np.float32(made)
    if b.ndim == 1:
        made = _run(limit.name, limit.least, _SGEMV, (1.0, a, b), level2.bind, original)
    elif a.ndim == 1:
        made = _run(limit.name, limit.least, _SGEMV, (1.0, b.T, a), level2.bind, original)
    else:
        given = 1.0, b.T, a.T, 0.0, None, 0, 0, 0
        made = _run(limit.name, limit.least, _SGEMM, given, level3.bind, original)
        return made.value if type(made) is _Left else made.T
    return made.value if type(made) is _Left else made


def folded(
    a: np.ndarray, b: np.ndarray, out: np.ndarray
) -> Optional[Tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """The one product that a stack of products amounts to, if they share the right operand and the
    rows of the others follow each other evenly; else None."""
    count, m, k = a.shape
    if b.strides[0] != 0 or a.strides[0] != m * a.strides[1]:
        return None
    if out.strides[0] != m * out.strides[1]:
        return None
    as_strided = np.lib.stride_tricks.as_strided
    tall = as_strided(a, (count * m, k), a.strides[1:])
    return tall, b[0], as_strided(out, (count * m, out.shape[2]), out.strides[1:])
