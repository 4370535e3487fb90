"""Routines that SciPy lacks, on the CPU: plain NumPy in float32, in the manner of SciPy's wrappers.

Where calls are dispatched, these are called as SciPy's functions are (:mod:`.functions`), so that
they bind and refuse every argument themselves.  As in SciPy, None stands for an argument's default.
"""

from __future__ import annotations

from typing import Any, Tuple

import numpy as np

from ..errors import BlasError
from . import arguments

__all__ = ["saxpby"]


def saxpby(
    x: Any,
    y: Any,
    n: Any = None,
    a: Any = 1.0,
    b: Any = 1.0,
    offx: Any = 0,
    incx: Any = 1,
    offy: Any = 0,
    incy: Any = 1,
) -> np.ndarray:
    """y = a x + b y, each operation rounded to float32; a = 0 does not read x, b = 0 does not read
    y.  Returns y, changed in place if it is a contiguous float32 array, else a copy."""
    name = "saxpby"
    a = arguments.scalar(name, "a", 1.0 if a is None else a)
    b = arguments.scalar(name, "b", 1.0 if b is None else b)
    of_x, of_y = arguments.vector(name, "x", x), arguments.vector(name, "y", y)
    offx, incx = _place(name, "x", of_x.size, offx, incx)
    offy, incy = _place(name, "y", of_y.size, offy, incy)
    given = n
    n = (of_x.size - offx) // abs(incx) if n is None else arguments.integer(name, "n", n)
    for vector, array, off, inc in (("x", of_x, offx, incx), ("y", of_y, offy, incy)):
        if (n - 1) * abs(inc) >= array.size - off:
            raise BlasError(
                name, "n", n,
                f"{vector} has {array.size} elements, and this many from off{vector} = {off} with "
                f"inc{vector} = {inc} need {off + (n - 1) * abs(inc) + 1}"
                + ("; without n, as many as x has" if given is None else ""),
            )  # fmt: skip
    made = arguments.own(y, True)
    if made is None:
        made = np.array(y, dtype=np.float32, order="C")
    if n > 0:
        target = np.asarray(made).reshape(-1)[_cut(n, offy, incy)]
        _combine(a, of_x[_cut(n, offx, incx)], b, target)
    return made


def _place(routine: str, vector: str, size: int, off: Any, inc: Any) -> Tuple[int, int]:
    """Offset and increment of a vector in an array of ``size`` elements."""
    off = arguments.integer(routine, f"off{vector}", 0 if off is None else off)
    inc = arguments.integer(routine, f"inc{vector}", 1 if inc is None else inc)
    if inc == 0:
        raise BlasError(routine, f"inc{vector}", inc, "wants a step that is not 0")
    if not 0 <= off < size:
        where = f"wants an element of {vector}, which has {size}"
        raise BlasError(routine, f"off{vector}", off, where)
    return off, inc


def _cut(n: int, off: int, inc: int) -> slice:
    """n >= 1 elements in the order of BLAS: from the far end if ``inc`` is negative."""
    last = off + (n - 1) * abs(inc)
    if inc > 0:
        return slice(off, last + 1, inc)
    return slice(last, off - 1 if off else None, inc)


def _combine(a: float, x: np.ndarray, b: float, y: np.ndarray) -> None:
    """y = a x + b y; x may overlap y."""
    with np.errstate(all="ignore"):
        if a == 0:
            if b == 0:
                y[...] = 0
            elif b != 1:
                y *= np.float32(b)
            return
        of_x = np.float32(a) * x
        if b == 0:
            y[...] = of_x
        else:
            if b != 1:
                y *= np.float32(b)
            y += of_x
