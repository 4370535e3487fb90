"""ssymm, ssyrk, ssyr2k, strmm, strsm where calls are dispatched: from arguments to operands.

As at level 1 (:mod:`.level1`), only plain calls go to a kernel: matrices of real numbers with two
axes and at least one element, shapes that fit.  Anything else, right or wrong, is SciPy's to
compute or to refuse.

Every operand counts as it was before the call, whether or not it overlaps the result.  Only the
stored triangle is looked at.  The result goes into the caller's array where SciPy would write there
too (``overwrite_c``, ``overwrite_b`` with a writeable float32 array in Fortran order), else into a
new one, when the last launch has succeeded.

Operands with Inf or NaN, results that overflow, and singular triangles are SciPy's.  Diagonal
blocks of strsm that are too ill-conditioned for a product with their inverse are solved on the CPU
(:mod:`piblas.kernels.triangle`), and so is the whole call if there is no other block.
"""

from __future__ import annotations

import operator
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple, cast

import numpy as np

from .. import log, record
from ..dispatch import choose, devices
from ..driver.device import Device, RunReport
from ..host.outcome import SORT_OUT
from ..routines import Routine
from . import arguments, docstrings, launch, scipy_blas
from .launch import ILL_CONDITIONED, SINGULAR, Elsewhere
from .level3 import NO_PRODUCT, NOT_FINITE, OVERFLOW

__all__ = ["ILL_CONDITIONED", "SINGULAR", "call"]

_LARGEST = np.finfo(np.float32).max
_STEEP = 2.0**126
"""A diagonal element beyond this or below its reciprocal has no normal reciprocal."""


class Refused(Exception):
    """SciPy has to look at the call."""


Computed = Tuple[np.ndarray, List[RunReport]]


class _Plain(NamedTuple):
    """A call that a kernel takes.

    ``compute`` gives the result as a matrix and the reports; of it goes ``wanted`` into ``given``,
    which is the argument ``name``, or all where that is None; ``beta`` is what without a product is
    left of it.
    """

    sizes: Dict[str, int]
    compute: Callable[[Device], Computed]
    name: str
    given: Any
    shape: Tuple[int, int]
    overwrite: bool
    alpha: float
    beta: float
    wanted: Optional[np.ndarray] = None

    def out(self, routine: str) -> Tuple[np.ndarray, np.ndarray]:
        read = self.wanted is not None or self.beta != 0
        return arguments.result(
            routine, self.name, self.given, self.shape, read, self.overwrite
        )


def call(
    row: Routine, args: Tuple[Any, ...], kwargs: Mapping[str, Any], on_cpu: Callable[[], Any]
) -> Any:
    """The result of a call whose target is no CPU; ``on_cpu`` has SciPy compute it."""
    target, device = devices.current()
    plain = _plain(row, args, kwargs)
    reason: str = SORT_OUT
    if plain is not None:
        if plain.alpha == 0:
            return _without_product(row, plain)
        choice = choose.choose(
            choose.Call(row.name, plain.sizes), target, devices.board()
        )
        reason = choice.reason
        if choice.backend != "cpu":
            compute, where = plain.compute, cast(Device, device)
            try:
                failed, done = launch.attempt(row.name, target, device, lambda: compute(where))
                if failed is None:
                    return _deliver(row, plain, choice, done)
                reason = failed
            except Elsewhere as barred:
                reason = str(barred)
    result = on_cpu()
    log.info("%s on the CPU: %s", row.name, reason)
    record.count("cpu", reason)
    return result


def _plain(row: Routine, args: Tuple[Any, ...], kwargs: Mapping[str, Any]) -> Optional[_Plain]:
    """The call in a kernel's terms, or None where SciPy has to look at it."""
    try:
        bound = docstrings.signature(row).bind(*args, **kwargs)
        bound.apply_defaults()
        return _FAMILIES[row.name](bound.arguments)
    except (Refused, TypeError, ValueError, OverflowError):
        return None  # whatever is wrong, SciPy finds it again and says so


def _deliver(row: Routine, plain: _Plain, choice: choose.Choice, done: Computed) -> np.ndarray:
    found, reports = done
    for report in reports:
        record.report(report)
    if not _below(found if plain.wanted is None else found[plain.wanted], _LARGEST):
        raise Elsewhere(OVERFLOW)
    result, out = plain.out(row.name)
    if plain.wanted is None:
        out[...] = found
    else:
        np.copyto(out, found, where=plain.wanted)
    record.count(choice.backend, choice.reason)
    return result


def _without_product(row: Routine, plain: _Plain) -> np.ndarray:
    result, out = plain.out(row.name)
    if plain.wanted is None:
        scipy_blas.scale(out, plain.beta)
    else:
        kept = out.copy()
        scipy_blas.scale(kept, plain.beta)
        np.copyto(out, kept, where=plain.wanted)
    record.count("cpu", NO_PRODUCT)
    return result


# --- arguments -----------------------------------------------------------------------------------


def _need(condition: bool) -> None:
    if not condition:
        raise Refused


def _flag(given: Dict[str, Any], name: str, most: int = 1) -> int:
    value = operator.index(given[name])
    _need(0 <= value <= most)
    return value


def _number(given: Dict[str, Any], name: str) -> float:
    value = given[name]
    _need(isinstance(value, (int, float, np.floating, np.integer)))
    return arguments.scalar("", name, value)


def _matrix(given: Dict[str, Any], name: str) -> np.ndarray:
    value = given[name]
    array = value if isinstance(value, np.ndarray) else np.asarray(value)
    _need(array.ndim == 2 and array.dtype.kind in "fiub" and array.size > 0)
    with np.errstate(over="ignore"):
        return np.asarray(array, dtype=np.float32)


def _square(given: Dict[str, Any], name: str, order: int) -> np.ndarray:
    matrix = _matrix(given, name)
    _need(matrix.shape == (order, order))
    return matrix


def _old(given: Dict[str, Any], shape: Tuple[int, int], beta: float) -> Optional[np.ndarray]:
    """c where it is read, else None."""
    if given["c"] is None:
        return None
    old = _matrix(given, "c")
    _need(old.shape == shape)
    return old if beta != 0 else None


def _below(x: np.ndarray, limit: float) -> bool:
    return bool((np.abs(x) < limit).all())


def _finite(*operands: Any) -> None:
    if not all(bool(np.isfinite(x).all()) for x in operands if x is not None):
        raise Elsewhere(NOT_FINITE)


def _triangle(n: int, lower: bool) -> np.ndarray:
    """Which elements of an n x n matrix lie in the triangle, with the diagonal."""
    mask = np.tri(n, dtype=bool)
    return mask if lower else mask.T


# --- symmetric -----------------------------------------------------------------------------------


def _symm(given: Dict[str, Any]) -> _Plain:
    """The stored triangle mirrored, then a product of two full matrices."""
    alpha, beta = _number(given, "alpha"), _number(given, "beta")
    lower, side = _flag(given, "lower") == 1, _flag(given, "side") == 1
    b = _matrix(given, "b")
    m, n = b.shape
    order, other = (n, m) if side else (m, n)
    a = _square(given, "a", order)
    old = _old(given, (m, n), beta)

    def compute(device: Device) -> Computed:
        from . import qpu

        full = np.where(_triangle(order, lower), a, a.T)
        _finite(alpha, beta, full, b, old)
        out = np.empty((m, n), np.float32, order="F")
        if old is not None:
            out[...] = old
        factors = (b, full) if side else (full, b)
        report = qpu.sgemm(device, alpha, *factors, 0.0 if old is None else beta, out)
        return out, [report]

    overwrite = operator.index(given["overwrite_c"]) != 0
    sizes = {"m": order, "n": other}
    return _Plain(sizes, compute, "c", given["c"], (m, n), overwrite, alpha, beta)


def _rank_k(given: Dict[str, Any], pair: bool) -> _Plain:
    """One product: a times its transpose, or [a b] times the transpose of [b a]."""
    alpha, beta = _number(given, "alpha"), _number(given, "beta")
    lower, transposed = _flag(given, "lower") == 1, _flag(given, "trans", 2) != 0
    a = _matrix(given, "a")
    b = _matrix(given, "b") if pair else a
    _need(a.shape == b.shape)
    if transposed:
        a, b = a.T, b.T
    n, k = a.shape
    old = _old(given, (n, n), beta)
    wanted = _triangle(n, lower)

    def compute(device: Device) -> Computed:
        from . import qpu3

        left = np.hstack((a, b)) if pair else a
        right = np.hstack((b, a)) if pair else a
        # The result is symmetric but for the triangle that is wanted: with rows and columns
        # exchanged it lies in Fortran order.
        start = None if old is None else np.where(wanted, old, np.float32(0)).T
        _finite(alpha, beta, left, start)
        found, reports = qpu3.half_product(
            device, alpha, left, right.T, 0.0 if old is None else beta, start, not lower
        )
        return found.T, reports

    overwrite = operator.index(given["overwrite_c"]) != 0
    sizes = {"n": n, "k": k}
    return _Plain(sizes, compute, "c", given["c"], (n, n), overwrite, alpha, beta, wanted)


def _syrk(given: Dict[str, Any]) -> _Plain:
    return _rank_k(given, pair=False)


def _syr2k(given: Dict[str, Any]) -> _Plain:
    return _rank_k(given, pair=True)


# --- triangular ----------------------------------------------------------------------------------

_Work = Callable[[Device, float, np.ndarray, np.ndarray], Computed]


def _with_triangle(given: Dict[str, Any], work: _Work) -> _Plain:
    """A routine on t (lower triangular, zeros above) and b, ``t`` standing left.

    On the right it is the transposes' affair, and what is upper is lower read from its end.
    """
    alpha = _number(given, "alpha")
    upper, side = _flag(given, "lower") == 0, _flag(given, "side") == 1
    transposed, unit = _flag(given, "trans_a", 2) != 0, _flag(given, "diag") == 1
    b = _matrix(given, "b")
    shape = b.shape
    order, other = shape[::-1] if side else shape
    a = _square(given, "a", order)
    if transposed != side:
        a, upper = a.T, not upper

    def compute(device: Device) -> Computed:
        turn = slice(None, None, -1 if upper else 1)
        t = np.where(_triangle(order, True), a[turn, turn], np.float32(0))
        if unit:
            np.fill_diagonal(t, 1)
        _finite(alpha, t, b)
        found, reports = work(device, alpha, t, (b.T if side else b)[turn])
        found = found[turn]
        return found.T if side else found, reports

    overwrite = operator.index(given["overwrite_b"]) != 0
    sizes = {"m": order, "n": other}
    return _Plain(sizes, compute, "b", given["b"], (shape[0], shape[1]), overwrite, alpha, 0.0)


def _multiply(device: Device, alpha: float, t: np.ndarray, b: np.ndarray) -> Computed:
    from . import qpu3

    return qpu3.triangular_product(device, alpha, t, b)


def _solve(device: Device, alpha: float, t: np.ndarray, b: np.ndarray) -> Computed:
    from . import qpu3

    diagonal = np.abs(np.diagonal(t))
    if not ((diagonal >= 1 / _STEEP) & (diagonal <= _STEEP)).all():
        raise Elsewhere(SINGULAR)
    with np.errstate(over="ignore"):
        g = b * np.float32(alpha)
    if not _below(g, _LARGEST):
        raise Elsewhere(OVERFLOW)
    x, rest, reports = qpu3.solve(device, t, g)
    # Where a block's right-hand side has overflowed the result need not show it.
    if not _below(rest, _LARGEST):
        for report in reports:
            record.report(report)
        raise Elsewhere(OVERFLOW)
    return x, reports


def _trmm(given: Dict[str, Any]) -> _Plain:
    return _with_triangle(given, _multiply)


def _trsm(given: Dict[str, Any]) -> _Plain:
    return _with_triangle(given, _solve)


_FAMILIES: Dict[str, Callable[[Dict[str, Any]], _Plain]] = {
    "ssymm": _symm,
    "ssyrk": _syrk,
    "ssyr2k": _syr2k,
    "strmm": _trmm,
    "strsm": _trsm,
}
