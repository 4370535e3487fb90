"""Level 1 where calls are dispatched: from SciPy's arguments to the operands of a kernel.

Only plain calls go to a kernel: vectors of real numbers with one axis, increments and offsets that
fit, no operand that overlaps a result.  Anything else, right or wrong, is SciPy's to compute or to
refuse, so that this module need not know SciPy's every rule; it must only be strict in what it
takes.  For a routine that SciPy lacks, :mod:`.extensions` does that.

A result goes into the caller's array where SciPy would write there too: if the routine changes
that argument, or is allowed to by ``overwrite_x``, and :func:`.arguments.own` gives it.  Otherwise
it is a new one.  Both are written when the launch has succeeded, or not at all.
"""

from __future__ import annotations

from typing import Any, List, Optional

import numpy as np

from ..dispatch.devices import State
from ..host import arrays, vectors
from . import arguments
from .binding import Bound, integer, need
from .call import Job, job_of

__all__ = ["bind"]


def bind(bound: Bound, state: State) -> Job:
    """The job of a call."""
    row = bound.row
    names = [name for name in ("x", "y") if name in bound]
    changed = [n for n in names if n in row.modified or f"overwrite_{n}" in row.arguments]
    given = [bound.array(name, 1) for name in names]
    n = _length(bound, dict(zip(names, given)))
    operands: List[vectors.Operand] = []
    for name, array in zip(names, given):
        start, inc = integer(bound[f"off{name}"]), integer(bound[f"inc{name}"])
        own = False
        if name in changed:
            in_place = name in row.modified or bound.truth(f"overwrite_{name}")
            need(not arguments.left_to_scipy(bound[name], array, in_place))
            own = arguments.own(bound[name], in_place) is not None
        cut = slice(start, start + (n - 1) * abs(inc) + 1, abs(inc))
        resident = inc == 1 and _resident(array, cut, state) and (own or name not in changed)
        operands.append(vectors.Operand(cut, inc < 0, resident, name in changed, own))
    scalars = [name for name in ("a", "b", "c", "s", "param") if name in bound]
    for name in scalars:
        if name == "param":
            param = np.asarray(bound[name])
            need(param.shape == (5,) and param.dtype.kind in "fiub")
        else:
            arguments.real(bound[name])
    return job_of(
        bound, state, {"n": n}, all(operand.resident for operand in operands),
        (*names, *scalars), lambda: vectors.program(row.name, n, operands, state.runner),
    )  # fmt: skip


def _resident(array: np.ndarray, cut: slice, state: State) -> bool:
    view = array.view(np.ndarray)[cut]
    return view.strides == (4,) and arrays.place(view, state.device) is not None


def _length(bound: Bound, given: Any) -> int:
    """n, if it is at least 1 and fits each vector."""
    n: Optional[Any] = bound["n"]
    if n is None:
        length = given["x"].size - integer(bound["offx"])
        step = abs(integer(bound["incx"]))
        need(step != 0)
        n = (length - 1) // step + 1 if bound.row.name == "srot" else length // step
    n = integer(n)
    for name, vector in given.items():
        off, inc = integer(bound[f"off{name}"]), integer(bound[f"inc{name}"])
        need(inc != 0 and 0 <= off < vector.size and (n - 1) * abs(inc) < vector.size - off)
        # BLAS defines no such call; SciPy refuses it or gives 0, as it may be.
        need(inc > 0 or len(given) == 2)
    need(n >= 1)
    return n
