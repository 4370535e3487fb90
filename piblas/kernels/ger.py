"""sger: A = alpha x y^T + A (:mod:`.update`).

Error, element by element, with u = 2**-23: ``2.5 u |alpha x y| + u |A|``, and about 2**-126 for
denormals, which count as zero; see :func:`.update.error_bound`.  The result does not depend on the
number of QPUs.  Inf, NaN and overflows, which the kernel notices at no simulated cost, send the
call to the CPU.
"""

from __future__ import annotations

from .update import error_bound, spec

__all__ = ["SPEC", "error_bound"]

SPEC = spec("ger", ("sger",), "A = alpha x y^T + A")
