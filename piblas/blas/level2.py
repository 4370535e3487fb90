"""Level 2 where calls are dispatched: from SciPy's arguments to matrices, vectors and back.

As at level 1 (:mod:`.level1`), only plain calls go to a kernel: real matrices of two axes and
vectors of one, sizes, increments and offsets that fit, no operand that overlaps the result.
Anything else, right or wrong, is SciPy's to compute or to refuse.

The result goes into the caller's array where SciPy would write there too (``overwrite_y`` and the
like with a float32 array in Fortran order), otherwise into a new one; it is written when all
launches have succeeded, or not at all.  alpha = 0 reads neither matrix nor vector, beta = 0 not y.
"""

from __future__ import annotations

import operator
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, cast

import numpy as np

from .. import record
from ..dispatch import choose, devices
from ..dispatch.choose import WATCHED
from ..driver.device import Device, RunReport
from ..kernels import gemv, ger, symv, syr, trmv, trsv
from ..routines import Routine
from . import arguments, docstrings, launch, qpu2
from ..host.outcome import SORT_OUT
from .call import NO_LAUNCH

__all__ = ["call"]

_FLOAT32 = np.dtype(np.float32)


class Refused(Exception):
    """SciPy has to look at the call."""


class Plain(NamedTuple):
    """A call that a kernel takes: its sizes, its matrix, and what runs it on a device.

    ``run`` returns the result, or None where SciPy has to compute it after all, and the launches'
    reports.
    """

    sizes: Dict[str, int]
    matrix: qpu2.Matrix
    run: Callable[[Device], Tuple[Optional[np.ndarray], List[RunReport]]]


def call(
    row: Routine, args: Tuple[Any, ...], kwargs: Mapping[str, Any], on_cpu: Callable[[], Any]
) -> Any:
    """The result of a call whose target is no CPU; ``on_cpu`` has SciPy compute it."""
    target, device = devices.current()
    plain = _plain(row, args, kwargs)
    reason: Optional[str] = SORT_OUT
    if plain is not None:
        asked = choose.Call(row.name, plain.sizes, _resident(plain, device))
        choice = choose.choose(asked, target, devices.board())
        reason = choice.reason
        if choice.backend != "cpu":
            run, where = plain.run, cast(Device, device)
            reason, done = launch.attempt(row.name, target, device, lambda: run(where))
            if reason is None:
                result, reports = done
                for report in reports:
                    record.report(report)
                if result is not None:
                    backend = choice.backend if reports else "cpu"
                    record.count(backend, choice.reason if reports else NO_LAUNCH)
                    return result
                reason = WATCHED
    result = on_cpu()
    record.log.info("%s on the CPU: %s", row.name, reason)
    record.count("cpu", str(reason))
    return result


def _resident(plain: Plain, device: Optional[Device]) -> bool:
    """Whether the matrix need not be copied; vectors are, as they are small beside it."""
    if device is None:
        return False
    return qpu2.resident(device, qpu2.located(device, plain.matrix)) is not None


def _plain(row: Routine, args: Tuple[Any, ...], kwargs: Mapping[str, Any]) -> Optional[Plain]:
    """The call in a kernel's terms, or None where SciPy has to look at it."""
    try:
        bound = docstrings.signature(row).bind(*args, **kwargs)
        bound.apply_defaults()
        return _FAMILIES[row.name[1:]](row.name[1:], bound.arguments)
    except (Refused, TypeError, ValueError, OverflowError):
        return None  # whatever is wrong, SciPy finds it again and says so


# --- arguments -----------------------------------------------------------------------------------


def _need(condition: bool) -> None:
    if not condition:
        raise Refused


def _integer(given: Dict[str, Any], name: str, low: int = 0) -> int:
    value = operator.index(given[name])
    _need(value >= low)
    return value


def _flag(given: Dict[str, Any], name: str, most: int = 1) -> int:
    value = _integer(given, name)
    _need(value <= most)
    return value


def _array(given: Dict[str, Any], name: str, axes: int) -> np.ndarray:
    value = given[name]
    array = value if isinstance(value, np.ndarray) else np.asarray(value)
    _need(array.ndim == axes and array.dtype.kind in "fiub" and array.size > 0)
    return array.view(np.ndarray)


def _elements(given: Dict[str, Any], name: str, array: np.ndarray, n: int) -> np.ndarray:
    """The n >= 1 elements of a vector in BLAS order, as a view of the array."""
    off, inc = _integer(given, f"off{name}"), operator.index(given[f"inc{name}"])
    _need(n >= 1 and inc != 0 and off < array.size and (n - 1) * abs(inc) < array.size - off)
    view = array[off : off + (n - 1) * abs(inc) + 1 : abs(inc)]
    return view if inc > 0 else view[::-1]


def _float32(elements: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(elements, dtype=np.float32)


class _Result:
    """Where the result goes: the caller's array if SciPy would write there, too, else a copy,
    which is made when the result is there."""

    def __init__(
        self, given: Dict[str, Any], name: str, axes: int, others: Sequence[np.ndarray]
    ) -> None:
        value = given[name]
        old = _array(given, name, axes)
        self.old = old
        in_place = _integer(given, f"overwrite_{name}", -(2**31)) != 0
        _need(not arguments.left_to_scipy(value, old, in_place))
        self.own = arguments.own(value, in_place)
        if self.own is not None:
            _need(not any(np.may_share_memory(old, other) for other in others))

    def array(self) -> np.ndarray:
        if self.own is not None:
            return self.own
        return np.array(self.old, dtype=_FLOAT32, order="F", subok=False)

    def room(self) -> np.ndarray:
        """The same without its old contents, if it is a copy."""
        return self.own if self.own is not None else np.empty(self.old.shape, _FLOAT32, order="F")


def _finite(*values: Any) -> bool:
    with np.errstate(over="ignore", invalid="ignore"):
        return all(bool(np.isfinite(np.asarray(v, dtype=np.float32)).all()) for v in values)


# --- products ------------------------------------------------------------------------------------


def _matrix(stem: str, given: Dict[str, Any]) -> Tuple[qpu2.Matrix, Dict[str, int], bool]:
    """(the matrix as its columns lie in memory, the call's sizes, whether it is the transpose).

    A table in C order is the transpose of one in Fortran order, which is cheaper to copy.
    """
    if stem == "gemv":
        a = _array(given, "a", 2)
        turned = _rows_lie_together(a)
        return qpu2.full(a.T if turned else a), dict(zip("mn", a.shape)), turned
    if stem == "gbmv":
        m, n, kl, ku = (_integer(given, name) for name in ("m", "n", "kl", "ku"))
        a = _array(given, "a", 2)
        _need(a.shape[0] >= kl + ku + 1 and a.shape[1] == n and m >= kl + ku + 1)
        return qpu2.band(a, m, kl, ku), dict(m=m, n=n, kl=kl, ku=ku), False
    lower = _flag(given, "lower") == 1
    if stem[1] == "p":
        n, ap = _integer(given, "n", 1), _array(given, "ap", 1)
        _need(ap.size >= n * (n + 1) // 2)
        return qpu2.packed(ap, n, lower), dict(n=n), False
    a = _array(given, "a", 2)
    n = a.shape[1]
    if stem[1] == "b":
        k = _integer(given, "k")
        _need(a.shape[0] >= k + 1)
        return qpu2.band(a, n, k if lower else 0, 0 if lower else k), dict(n=n, k=k), False
    _need(a.shape[0] == n)
    turned = _rows_lie_together(a)
    return qpu2.triangle(a.T if turned else a, lower != turned), dict(n=n), turned


def _rows_lie_together(a: np.ndarray) -> bool:
    return abs(a.strides[1]) < abs(a.strides[0])


def _product(stem: str, given: Dict[str, Any]) -> Plain:
    """y = alpha op(A) x + beta y."""
    matrix, sizes, transposed = _matrix(stem, given)
    symmetric = stem[0] == "s"
    if not symmetric:
        transposed ^= _flag(given, "trans", 2) != 0
    rows, columns = matrix.storage.m, matrix.storage.n
    if transposed and not symmetric:
        rows, columns = columns, rows
    alpha, beta = arguments.real(given["alpha"]), arguments.real(given["beta"])
    x = _elements(given, "x", _array(given, "x", 1), columns)
    if given["y"] is None:
        length = 1 + _integer(given, "offy") + (rows - 1) * abs(operator.index(given["incy"]))
        given = dict(given, y=np.zeros(length, dtype=np.float32), overwrite_y=1)
    result = _Result(given, "y", 1, (matrix.source, x))
    _elements(given, "y", result.old, rows)

    def run(device: Device) -> Tuple[Optional[np.ndarray], List[RunReport]]:
        if not _finite(alpha, beta):
            return None, []
        total: Any = np.zeros(rows)
        reports: List[RunReport] = []
        if alpha != 0:
            here = qpu2.located(device, matrix)
            total, reports = _multiply(device, stem, here, transposed, _float32(x))
            if total is None:
                return None, reports
            total *= alpha
        array = result.array()
        y = _elements(given, "y", array.view(np.ndarray), rows)
        if beta != 0:
            total += beta * y.astype(np.float64)
        _round(total, y)
        return array, reports

    return Plain(sizes, matrix, run)


def _round(values: np.ndarray, out: np.ndarray) -> None:
    with np.errstate(over="ignore"):
        out[...] = values


def _multiply(
    device: Device, stem: str, matrix: qpu2.Matrix, transposed: bool, x: np.ndarray
) -> Tuple[Optional[np.ndarray], List[RunReport]]:
    """op(A) x in double precision."""
    if not _finite(x):
        return None, []
    symmetric = stem[0] == "s"
    use = "s" if symmetric else "t" if transposed else "n"
    spec = symv.SPEC if symmetric else gemv.SPEC
    kept = matrix.storage
    if symmetric:
        diagonal, kept = matrix.diagonal(), kept.without_diagonal()
        if not _finite(diagonal):
            return None, []
    with qpu2.staged(device, spec, matrix) as panel:
        product = panel.multiply(use, x, kept)
    if symmetric and product is not None:
        product += diagonal * x.astype(np.float64)
    return product, panel.reports


# --- triangles -----------------------------------------------------------------------------------


def _triangle(stem: str, given: Dict[str, Any]) -> Plain:
    """x = op(A) x, or x' with op(A) x' = x."""
    matrix, sizes, transposed = _matrix(stem, given)
    transposed ^= _flag(given, "trans", 2) != 0
    unit, n = _flag(given, "diag") == 1, matrix.storage.n
    result = _Result(given, "x", 1, (matrix.source,))
    x = _elements(given, "x", result.old, n)

    def run(device: Device) -> Tuple[Optional[np.ndarray], List[RunReport]]:
        values, here = _float32(x), qpu2.located(device, matrix)
        if not _finite(values):
            return None, []
        if stem.endswith("sv"):
            total, reports = qpu2.solve(device, trsv.SPEC, here, transposed, unit, values)
        else:
            kept = here.storage.without_diagonal() if unit else here.storage
            with qpu2.staged(device, trmv.SPEC, here) as panel:
                total = panel.multiply("t" if transposed else "n", values, kept)
            reports = panel.reports
            if unit and total is not None:
                total += values
        if total is None:
            return None, reports
        array = result.array()
        _round(total, _elements(given, "x", array.view(np.ndarray), n))
        return array, reports

    return Plain(sizes, matrix, run)


# --- updates -------------------------------------------------------------------------------------


def _update(stem: str, given: Dict[str, Any]) -> Plain:
    """A = A + alpha x y^T, alpha x x^T or alpha (x y^T + y x^T)."""
    names = ("x",) if stem in ("syr", "spr") else ("x", "y")
    raw = {name: _array(given, name, 1) for name in names}
    alpha = arguments.real(given["alpha"])
    if stem == "ger":
        _need(all(operator.index(given[f"inc{name}"]) in (1, -1) for name in names))
        for name in names:  # SciPy wants integers, and reads no more into them
            _integer(given, f"overwrite_{name}", -(2**31))
        given = dict(given, offx=0, offy=0)
        shape = raw["x"].size, raw["y"].size
        sizes = dict(zip("mn", shape))
    else:
        n = given["n"]
        if n is None:
            _need(not stem.startswith("sp"))  # n comes first there and may not be left out
            n = min(
                (raw[name].size - 1 - _integer(given, f"off{name}"))
                // abs(operator.index(given[f"inc{name}"])) + 1
                for name in names
            )  # fmt: skip
        shape = (operator.index(n),) * 2
        sizes = dict(n=shape[0])
    views = {name: _elements(given, name, raw[name], n) for name, n in zip(names, shape)}
    target = "ap" if stem.startswith("sp") else "a"
    if given[target] is None:
        fresh = np.zeros(shape, dtype=np.float32, order="F")
        given = dict(given, a=fresh, overwrite_a=1)
    result = _Result(given, target, 3 - len(target), list(views.values()))
    lower = stem != "ger" and _flag(given, "lower") == 1
    if target == "ap":
        _need(result.old.size >= shape[0] * (shape[0] + 1) // 2)
    else:
        _need(result.old.shape == shape)
    if stem == "ger":
        matrix, spec = qpu2.full(result.old), ger.SPEC
    elif target == "a":
        matrix, spec = qpu2.triangle(result.old, lower), syr.SPEC
    else:
        matrix, spec = qpu2.packed(result.old, shape[0], lower), syr.SPEC

    def run(device: Device) -> Tuple[Optional[np.ndarray], List[RunReport]]:
        if alpha == 0:
            return result.array(), []
        vectors = [_float32(view) for view in views.values()]
        with np.errstate(over="ignore"):
            factors = [np.float32(alpha) * vector for vector in vectors[::-1]]
        if not _finite(alpha, *vectors, *factors):
            return None, []
        if stem == "ger":
            vectors, factors = vectors[:1], factors[:1]
        room = result.room()
        out = room.view(np.ndarray)
        if target == "ap":  # words behind the triangle
            used = matrix.source.size
            out, behind = out[:used], out[used:]
            behind[...] = result.old[used:]
        here = qpu2.located(device, matrix)
        done, reports = qpu2.update(
            device, spec, here, out, vectors, factors, f"s{stem}"
        )
        return (room if done else None), reports

    return Plain(sizes, matrix, run)


_FAMILIES: Dict[str, Callable[[str, Dict[str, Any]], Plain]] = {
    **dict.fromkeys(("gemv", "gbmv", "symv", "sbmv", "spmv"), _product),
    **dict.fromkeys(("trmv", "tbmv", "tpmv", "trsv", "tbsv", "tpsv"), _triangle),
    **dict.fromkeys(("ger", "syr", "spr", "syr2", "spr2"), _update),
}
