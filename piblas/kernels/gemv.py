"""sgemv, sgbmv: y = alpha op(A) x + beta y (:mod:`.panel`).

Error, element by element, with u = 2**-23: ``gamma(c) |alpha| |op(A)| |x| + u / 2 |result|``,
gamma(i) = i u / (1 - i u), and about 2**-126 a term for denormals, which count as zero.  c is 9 for
op(A) = A^T whatever the shape, and 23 for op(A) = A up to some 98,000 tile columns (n times the
number of 128-row blocks); beyond that it grows by one for each 12,288.  See
:func:`.panel.error_bound`.

The result does not depend on the number of QPUs.  An operand with Inf or NaN, or an overflow, sends
the call to the CPU: the kernel notices at no simulated cost, where a look at A beforehand would
read it once more.
"""

from __future__ import annotations

from .panel import error_bound, spec

__all__ = ["SPEC", "error_bound"]

SPEC = spec("gemv", ("sgemv", "sgbmv"), "y = alpha op(A) x + beta y", use="n")
