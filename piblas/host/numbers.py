"""Which numbers float32 holds, and whether arrays hold only such."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["BEYOND", "LARGEST", "ROUNDED_TO_0", "all_below", "all_finite", "finite", "largest"]

BEYOND = 3.4028235677973366e38
"""The smallest magnitude that float32 rounds to infinity."""

LARGEST = float.fromhex("0x1.fffffep127")
"""The largest float32.  A sum as large as this may be an overflow: the chip may stop there."""

ROUNDED_TO_0 = 2.0**-150
"""The largest magnitude that float32 rounds to 0."""

_all = np.logical_and.reduce
_maximum, _minimum = np.maximum.reduce, np.minimum.reduce


def all_finite(x: Any) -> bool:
    """Whether an array holds neither Inf nor NaN."""
    return bool(_all(np.isfinite(x), axis=None))


def all_below(x: np.ndarray) -> bool:
    """Whether all magnitudes in an array are below :data:`LARGEST` (so, no NaN)."""
    return bool(_all(np.abs(x) < LARGEST, axis=None))


def largest(x: np.ndarray) -> float:
    """The largest magnitude in an array that is not empty; NaN where there is one."""
    high, low = float(_maximum(x, axis=None)), -float(_minimum(x, axis=None))
    return low if low > high else high


def finite(*numbers: Any) -> bool:
    """Whether numbers stay finite when they are rounded to float32."""
    for number in numbers:
        # By way of double precision: NumPy has float32 numbers compared in float32.
        if not -BEYOND < float(number) < BEYOND:
            return False
    return True
