"""ssyr, sspr: A = alpha x x^T + A; ssyr2, sspr2: A = alpha (x y^T + y x^T) + A (:mod:`.update`).

A is symmetric, and of it one triangle is stored, read and written.  Error as in :mod:`.ger`, for
rank 2 ``3.5 u |alpha| (|x y^T| + |y x^T|) + 2 u |A|``; the rest is as there, too.
"""

from __future__ import annotations

from .update import error_bound, spec

__all__ = ["SPEC", "error_bound"]

SPEC = spec("syr", ("ssyr", "sspr", "ssyr2", "sspr2"), "A = alpha x x^T + A, one triangle")
