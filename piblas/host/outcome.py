"""What may come of a call on a device other than its result."""

from __future__ import annotations

from typing import Any, Sequence, Tuple

from ..dispatch.choose import NO_PRODUCT
from ..driver.device import RunReport

__all__ = [
    "BY_ZERO", "CpuNeeded", "ILL_CONDITIONED", "NOT_FINITE", "NO_PRODUCT", "NO_ROOM", "OVERFLOW",
    "Outcome", "SINGULAR", "SORT_OUT", "TINY", "WATCHED",
]  # fmt: skip

SORT_OUT = "arguments that only SciPy sorts out"
WATCHED = "Inf, NaN or an overflow, which QPUs do not treat as IEEE 754 does"
NOT_FINITE = "an operand holds Inf or NaN, which QPUs do not treat as IEEE 754 does"
OVERFLOW = "an overflow, or numbers near one, which QPUs do not treat as IEEE 754 does"
ILL_CONDITIONED = "an ill-conditioned triangle, all of which is one block for the CPU to solve"
SINGULAR = "a triangle with a diagonal element that is 0, or whose reciprocal float32 cannot hold"
TINY = "a norm of numbers too small for the QPUs, which take denormals for 0"
NO_ROOM = "there is no room for the result in device memory"
BY_ZERO = "0 times Inf or NaN in device memory would be 0 on the QPUs, with nothing left to tell"

Outcome = Tuple[Any, Sequence[RunReport]]
"""A call's result, and the reports of its launches."""


class CpuNeeded(Exception):
    """The CPU has to compute the call after all: ``reason`` says why, ``reports`` are those of the
    launches that took place.  The caller's arrays are as before."""

    def __init__(self, reason: str, reports: Sequence[RunReport] = ()) -> None:
        super().__init__(reason)
        self.reason, self.reports = reason, reports
