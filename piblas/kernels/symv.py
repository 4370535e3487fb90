"""ssymv, ssbmv, sspmv: y = alpha A x + beta y for a symmetric A of which a triangle is stored.

The kernel (:mod:`.panel`) reads the triangle without its diagonal once and uses each element twice,
in A x and in A^T x.  The diagonal's n products are the host's, in double precision.

Error as in :mod:`.gemv` with c = 23 for n up to some 3,500 (a full triangle) and slowly more
beyond; independent of the number of QPUs; Inf, NaN and overflows as there.
"""

from __future__ import annotations

from .panel import error_bound, spec

__all__ = ["SPEC", "error_bound"]

SPEC = spec(
    "symv", ("ssymv", "ssbmv", "sspmv"), "y = alpha A x + beta y, A symmetric", use="s", masked=True
)
