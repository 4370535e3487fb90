"""Which numbers float32 holds."""

from __future__ import annotations

from typing import Any

__all__ = ["BEYOND", "LARGEST", "ROUNDED_TO_0", "finite"]

BEYOND = 3.4028235677973366e38
"""The smallest magnitude that float32 rounds to infinity."""

LARGEST = float.fromhex("0x1.fffffep127")
"""The largest float32.  A sum as large as this may be an overflow: the chip may stop there."""

ROUNDED_TO_0 = 2.0**-150
"""The largest magnitude that float32 rounds to 0."""


def finite(*numbers: Any) -> bool:
    """Whether numbers stay finite when they are rounded to float32."""
    for number in numbers:
        # By way of double precision: NumPy has float32 numbers compared in float32.
        if not -BEYOND < float(number) < BEYOND:
            return False
    return True
