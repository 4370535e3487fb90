"""Level 2 where calls are dispatched: from SciPy's arguments to matrices, vectors and back.

As at level 1 (:mod:`.level1`), only plain calls go to a kernel: real matrices of two axes and
vectors of one, sizes, increments and offsets that fit, no operand that overlaps the result.
Anything else, right or wrong, is SciPy's to compute or to refuse.

The result goes into the caller's array where SciPy would write there too (``overwrite_y`` and the
like, and :func:`.arguments.own` gives it), otherwise into a new one; it is written when all
launches have succeeded, or not at all.  alpha = 0 reads neither matrix nor vector, beta = 0 not y.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Tuple

import numpy as np

from ..dispatch.devices import State
from ..host import matvec
from ..host.matvec import Held, Target, Vector
from ..host.runner import Runner
from . import arguments
from .binding import Bound, integer, need
from .call import Job, job_of

__all__ = ["bind"]


def bind(bound: Bound, state: State) -> Job:
    """The job of a call."""
    for name in bound.row.arguments:
        if name.startswith("overwrite_"):  # SciPy wants integers, of those without effect as well
            bound.truth(name)
    return _FAMILIES[bound.row.name[1:]](bound, state)


# --- arguments -----------------------------------------------------------------------------------


def _vector(bound: Bound, name: str, size: int, n: int) -> Vector:
    """The n >= 1 elements of a vector in BLAS order, of an array of ``size`` elements."""
    off = bound.integer(f"off{name}") if f"off{name}" in bound else 0
    inc = integer(bound[f"inc{name}"])
    need(n >= 1 and inc != 0 and off < size and (n - 1) * abs(inc) < size - off)
    return Vector(slice(off, off + (n - 1) * abs(inc) + 1, abs(inc)), inc < 0)


def _target(bound: Bound, name: str, axes: int) -> Target:
    """Where the result goes: the caller's array if SciPy would write there, too, else a copy."""
    value = bound[name]
    array = bound.array(name, axes)
    overwrite = bound.truth(f"overwrite_{name}")
    need(not arguments.left_to_scipy(value, array, overwrite))
    return Target(arguments.own(value, overwrite) is not None)


def _rows_lie_together(a: np.ndarray) -> bool:
    return abs(a.strides[1]) < abs(a.strides[0])


def _matrix(bound: Bound, state: State) -> Tuple[Held, Dict[str, int], bool]:
    """(how the matrix is held, the call's sizes, whether that is the transpose).

    A table in C order is the transpose of one in Fortran order, which is cheaper to copy.
    """
    stem, device = bound.row.name[1:], state.device
    if stem == "gemv":
        a = bound.array("a", 2)
        m, n = a.shape
        rotated = _rows_lie_together(a)
        made = matvec.full(n, m) if rotated else matvec.full(m, n)
        return matvec.held(a, device, made, rotated), dict(m=m, n=n), rotated
    if stem == "gbmv":
        m, n, kl, ku = (bound.integer(name) for name in ("m", "n", "kl", "ku"))
        a = bound.array("a", 2)
        need(a.shape[0] >= kl + ku + 1 and a.shape[1] == n and m >= kl + ku + 1)
        made, cut = matvec.band(m, n, kl, ku), slice(kl + ku + 1)
        return matvec.held(a, device, made, cut=cut), dict(m=m, n=n, kl=kl, ku=ku), False
    lower = bound.flag("lower") == 1
    if stem[1] == "p":
        n, ap = bound.integer("n", 1), bound.array("ap", 1)
        words = n * (n + 1) // 2
        need(ap.size >= words)
        made = matvec.packed(n, lower)
        return matvec.held(ap, device, made, cut=slice(words)), dict(n=n), False
    a = bound.array("a", 2)
    n = a.shape[1]
    if stem[1] == "b":
        k = bound.integer("k")
        need(a.shape[0] >= k + 1)
        made = matvec.band(n, n, k if lower else 0, 0 if lower else k)
        return matvec.held(a, device, made, cut=slice(k + 1)), dict(n=n, k=k), False
    need(a.shape[0] == n)
    rotated = _rows_lie_together(a)
    made = matvec.triangle(n, lower != rotated)
    return matvec.held(a, device, made, rotated), dict(n=n), rotated


# --- the routines --------------------------------------------------------------------------------


def _product(bound: Bound, state: State) -> Job:
    """y = alpha op(A) x + beta y."""
    matrix, sizes, transposed = _matrix(bound, state)
    symmetric = bound.row.name[1] == "s"
    if not symmetric:
        transposed ^= bound.flag("trans", 2) != 0
    rows, columns = matrix.storage.m, matrix.storage.n
    if transposed and not symmetric:
        rows, columns = columns, rows
    arguments.real(bound["alpha"]), arguments.real(bound["beta"])
    x = _vector(bound, "x", bound.array("x", 1).size, columns)
    if bound["y"] is None:
        length = 1 + bound.integer("offy") + (rows - 1) * abs(integer(bound["incy"]))
        target, size = Target(False, (length,)), length
    else:
        target, size = _target(bound, "y", 1), bound.array("y", 1).size
    y = _vector(bound, "y", size, rows)
    use = "s" if symmetric else "t" if transposed else "n"
    names = ("alpha", "ap" if "ap" in bound else "a", "x", "beta", "y")
    return job_of(
        bound, state, sizes, matrix.resident, names,
        lambda: matvec.Product(matrix, use, x, y, target, rows, state.runner.device),
    )  # fmt: skip


def _triangle(bound: Bound, state: State) -> Job:
    """x = op(A) x, or x' with op(A) x' = x."""
    matrix, sizes, transposed = _matrix(bound, state)
    transposed ^= bound.flag("trans", 2) != 0
    unit = bound.flag("diag") == 1
    target = _target(bound, "x", 1)
    x = _vector(bound, "x", bound.array("x", 1).size, matrix.storage.n)
    solve = bound.row.name.endswith("sv")
    names = ("ap" if "ap" in bound else "a", "x")
    return job_of(
        bound, state, sizes, matrix.resident, names,
        lambda: matvec.Triangle(matrix, transposed, unit, solve, x, target, state.runner.device),
    )  # fmt: skip


def _update(bound: Bound, state: State) -> Job:
    """A = A + alpha x y^T, alpha x x^T or alpha (x y^T + y x^T)."""
    stem = bound.row.name[1:]
    names = ("x",) if stem in ("syr", "spr") else ("x", "y")
    sizes_of = {name: bound.array(name, 1).size for name in names}
    arguments.real(bound["alpha"])
    if stem == "ger":
        need(all(integer(bound[f"inc{name}"]) in (1, -1) for name in names))
        shape = sizes_of["x"], sizes_of["y"]
        sizes = dict(zip("mn", shape))
    else:
        n = bound["n"]
        if n is None:
            need(not stem.startswith("sp"))  # n comes first there and may not be left out
            need(all(integer(bound[f"inc{name}"]) != 0 for name in names))
            n = min(
                (sizes_of[name] - 1 - bound.integer(f"off{name}"))
                // abs(integer(bound[f"inc{name}"])) + 1
                for name in names
            )  # fmt: skip
        shape = (integer(n),) * 2
        sizes = dict(n=shape[0])
    vectors = [_vector(bound, name, sizes_of[name], n) for name, n in zip(names, shape)]
    name = "ap" if stem.startswith("sp") else "a"
    lower = stem != "ger" and bound.flag("lower") == 1
    words = shape[0] * (shape[0] + 1) // 2
    if bound[name] is None:
        need(name == "a")  # which may be left out; a packed matrix may not
        target = Target(False, shape)
        old: Any = np.broadcast_to(np.float32(0), shape[::-1]).T
    else:
        target = _target(bound, name, 3 - len(name))
        old = bound.array(name, 3 - len(name))
    if name == "ap":
        need(old.size >= words)
    else:
        need(old.shape == shape)
    cut = slice(words) if name == "ap" else slice(None)
    made = (
        matvec.full(*shape) if stem == "ger"
        else matvec.triangle(shape[0], lower) if name == "a"
        else matvec.packed(shape[0], lower)
    )  # fmt: skip
    matrix = matvec.held(old, state.device, made, cut=cut)
    if not target.own:  # a new array is in ordinary memory, in Fortran order
        matrix = matvec.held(np.empty(old.shape, np.float32, order="F"), None, made, cut=cut)

    def compute() -> Callable[[Runner, Any], Any]:
        from ..host import updates  # here, as products need none of it

        return updates.Update(bound.row.name, matrix, vectors, target, state.runner.device)

    return job_of(bound, state, sizes, matrix.resident, ("alpha", name, *names), compute)


_FAMILIES: Dict[str, Callable[[Bound, State], Job]] = {
    **dict.fromkeys(("gemv", "gbmv", "symv", "sbmv", "spmv"), _product),
    **dict.fromkeys(("trmv", "tbmv", "tpmv", "trsv", "tbsv", "tpsv"), _triangle),
    **dict.fromkeys(("ger", "syr", "spr", "syr2", "spr2"), _update),
}
