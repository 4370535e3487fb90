"""strmv, stbmv, stpmv: x = op(A) x for a triangular A (:mod:`.panel`).

Without a diagonal of its own (diag = 1) A's is not read, and the host adds x.

Error as in :mod:`.gemv` with alpha = 1: c = 9 for op(A) = A^T, 23 for op(A) = A with n up to some
3,500 and slowly more beyond; independent of the number of QPUs; Inf, NaN and overflows as there.
"""

from __future__ import annotations

from .panel import error_bound, spec

__all__ = ["SPEC", "error_bound"]

SPEC = spec("trmv", ("strmv", "stbmv", "stpmv"), "x = op(A) x, A triangular", masked=True)
