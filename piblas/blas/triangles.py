"""ssymm, ssyrk, ssyr2k, strmm, strsm where calls are dispatched: from arguments to operands.

As at level 1 (:mod:`.level1`), only plain calls go to a kernel: matrices of real numbers with two
axes and at least one element, shapes that fit.  Anything else, right or wrong, is SciPy's to
compute or to refuse.

The result goes into the caller's array where SciPy would write there too (``overwrite_c``,
``overwrite_b`` with a writeable float32 array in Fortran order), else into a new one, when the last
launch has succeeded.  Operands with Inf or NaN, results that overflow, and singular triangles are
SciPy's.  Diagonal blocks of strsm that are too ill-conditioned for a product with their inverse are
solved on the CPU (:mod:`piblas.kernels.triangle`), and so is the whole call if there is no other
block.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

from ..dispatch.devices import State
from ..host import triangles
from ..host.outcome import ILL_CONDITIONED, SINGULAR
from . import arguments
from .binding import Bound, need
from .call import Job, job_of

__all__ = ["ILL_CONDITIONED", "SINGULAR", "bind"]


def bind(bound: Bound, state: State) -> Job:
    """The job of a call."""
    return _FAMILIES[bound.row.name](bound, state)


def _target(bound: Bound, name: str, shape: Any) -> triangles.Target:
    value = bound[name]
    overwrite = bound.truth(f"overwrite_{name}")
    if value is None:
        return triangles.Target(False, False, shape)
    need(bound.array(name, 2).shape == shape)
    own = arguments.own(value, overwrite) is not None
    return triangles.Target(True, own, shape)


def _where(state: State) -> Tuple[Any, str]:
    """The device and the accuracy of products."""
    return state.device, state.accuracy or "fast"


def _symm(bound: Bound, state: State) -> Job:
    arguments.real(bound["alpha"]), arguments.real(bound["beta"])
    lower, right = bound.flag("lower") == 1, bound.flag("side") == 1
    m, n = bound.array("b", 2).shape
    order, other = (n, m) if right else (m, n)
    need(bound.array("a", 2).shape == (order, order))
    target = _target(bound, "c", (m, n))
    return job_of(
        bound, state, {"m": order, "n": other}, False, ("alpha", "a", "b", "beta", "c"),
        lambda: triangles.Symmetric(order, lower, right, target, *_where(state)),
    )  # fmt: skip


def _rank_k(bound: Bound, state: State) -> Job:
    arguments.real(bound["alpha"]), arguments.real(bound["beta"])
    lower, transposed = bound.flag("lower") == 1, bound.flag("trans", 2) != 0
    pair = "b" in bound
    n, k = bound.array("a", 2).shape
    need(not pair or bound.array("b", 2).shape == (n, k))
    if transposed:
        n, k = k, n
    target = _target(bound, "c", (n, n))
    names = ("alpha", "a", "beta", "c", *(("b",) if pair else ()))
    return job_of(
        bound, state, {"n": n, "k": k}, False, names,
        lambda: triangles.RankK(n, k, lower, transposed, pair, target, *_where(state)),
    )  # fmt: skip


def _with_triangle(bound: Bound, state: State) -> Job:
    arguments.real(bound["alpha"])
    lower, right = bound.flag("lower") == 1, bound.flag("side") == 1
    transposed, unit = bound.flag("trans_a", 2) != 0, bound.flag("diag") == 1
    shape = bound.array("b", 2).shape
    order, other = shape[::-1] if right else shape
    need(bound.array("a", 2).shape == (order, order))
    target = _target(bound, "b", shape)
    made = triangles.Triangular if bound.row.name == "strmm" else triangles.Solve
    return job_of(
        bound, state, {"m": order, "n": other}, False, ("alpha", "a", "b"),
        lambda: made(order, other, lower, right, transposed, unit, target, *_where(state)),
    )  # fmt: skip


_FAMILIES: Dict[str, Callable[[Bound, State], Job]] = {
    "ssymm": _symm,
    "ssyrk": _rank_k,
    "ssyr2k": _rank_k,
    "strmm": _with_triangle,
    "strsm": _with_triangle,
}
