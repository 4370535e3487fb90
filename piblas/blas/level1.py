"""Level 1 where calls are dispatched: from SciPy's arguments to a kernel's operands.

Only plain calls go to a kernel: vectors of real numbers with one axis, increments and offsets that
fit, no operand that overlaps a result.  Anything else, right or wrong, is SciPy's to compute or to
refuse, so that this module need not know SciPy's every rule; it must only be strict in what it
takes.

A result goes into the caller's array where SciPy would write there too: if the routine changes
that argument, or is allowed to by ``overwrite_x``, and :func:`.args.own` gives it.  Otherwise it is
a new one.  Both are written when the launch has succeeded, or not at all.
"""

from __future__ import annotations

import operator
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np

from .. import record
from ..dispatch import choose, devices
from ..host import arrays
from ..routines import Routine
from . import arguments, docstrings, launch

__all__ = ["NO_LAUNCH", "SORT_OUT", "call"]

SORT_OUT = "arguments that only SciPy sorts out"
NO_LAUNCH = "it takes no launch, as with a factor of 0 or a system of one block"

_FLOAT32 = np.dtype(np.float32)


class _Plain(NamedTuple):
    """A call as a kernel takes it: n, the function's further arguments, the results' arrays, and of
    the arguments the vectors with their increments."""

    n: int
    operands: Tuple[Any, ...]
    results: Tuple[Any, ...]
    vectors: Tuple[Tuple[np.ndarray, int], ...]

    def resident(self, device: Any) -> bool:
        """Whether nothing has to be copied to the device."""
        return all(inc == 1 and arrays.place(v, device) is not None for v, inc in self.vectors)


def call(
    row: Routine, args: Tuple[Any, ...], kwargs: Mapping[str, Any], on_cpu: Callable[[], Any]
) -> Any:
    """The routine's result, from the device that calls are aimed at, or from ``on_cpu``."""
    target, device = devices.current()
    plain = _plain(row, args, kwargs)
    reason: Optional[str] = SORT_OUT
    if plain is not None:
        asked = choose.Call(row.name, {"n": plain.n}, plain.resident(device))
        choice = choose.choose(asked, target, devices.board())
        reason = choice.reason
        if choice.backend != "cpu":
            reason, launched, value = _launch(row, plain, target, device)
            if reason is None:
                if launched:
                    record.count(choice.backend, choice.reason)
                else:
                    record.count("cpu", NO_LAUNCH)
                return value
    result = on_cpu()
    record.log.info("%s on the CPU: %s", row.name, reason)
    record.count("cpu", str(reason))
    return result


def _launch(
    row: Routine, plain: _Plain, target: choose.Target, device: Any
) -> Tuple[Optional[str], bool, Any]:
    """(None, whether there was a launch, the result), or why the CPU has to compute it first."""
    from . import qpu1  # here, because kernels are nothing that a CPU-only process needs

    kernel = getattr(qpu1, row.name)
    try:
        reason, done = launch.attempt(
            row.name, target, device, lambda: kernel(device, plain.n, *plain.operands)
        )
    except qpu1.Watched as watched:
        if watched.report is not None:
            record.report(watched.report)
        return watched.reason, False, None
    if reason is not None:
        return reason, False, None
    value, report = (None, done) if plain.results else done
    if report is not None:
        record.report(report)
    if plain.results:
        value = plain.results[0] if len(plain.results) == 1 else plain.results
    return None, report is not None, value


def _plain(
    row: Routine, args: Tuple[Any, ...], kwargs: Mapping[str, Any]
) -> Optional[_Plain]:
    """The call in a kernel's terms, or None where SciPy has to look at it."""
    try:
        bound = docstrings.signature(row).bind(*args, **kwargs)
        bound.apply_defaults()
        return _operands(row, bound.arguments)
    except (TypeError, ValueError, OverflowError):
        return None  # whatever is wrong, SciPy finds it again and says so


def _operands(row: Routine, given: Dict[str, Any]) -> Optional[_Plain]:
    names: List[str] = [name for name in ("x", "y") if name in given]
    changed = [
        name
        for name in names
        if name in row.modified or f"overwrite_{name}" in row.arguments
    ]
    vectors: Dict[str, np.ndarray] = {}
    returned: Dict[str, Any] = {}
    for name in names:
        value = given[name]
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        if array.ndim != 1 or array.dtype.kind not in "fiub":
            return None
        if name in changed:
            in_place = name in row.modified or _integer(given[f"overwrite_{name}"]) != 0
            if arguments.left_to_scipy(value, array, in_place):
                return None
            own = arguments.own(value, in_place)
            if own is None:
                own = np.array(array, dtype=_FLOAT32, order="C", subok=False)
            returned[name] = own
            vectors[name] = own.view(np.ndarray)
        else:
            vectors[name] = np.asarray(array, dtype=_FLOAT32)
    for name in changed:
        for other in names:
            if other != name and np.may_share_memory(vectors[name], vectors[other]):
                return None
    n = _length(row, given, vectors)
    if n is None:
        return None
    operands: List[Any] = []
    found: List[Tuple[np.ndarray, int]] = []
    for name in row.arguments[: row.required]:
        if name in names:
            start, inc = _integer(given[f"off{name}"]), _integer(given[f"inc{name}"])
            found.append((vectors[name][start:], inc))
            operands += found[-1]
        elif name == "param":
            param = np.asarray(given[name], dtype=_FLOAT32)
            if param.shape != (5,) or np.asarray(given[name]).dtype.kind not in "fiub":
                return None
            operands.append(param)
        else:
            operands.append(arguments.real(given[name]))
    if row.name == "saxpy":  # the one factor that may be left out, and comes first in BLAS
        operands.insert(0, arguments.real(given["a"]))
    return _Plain(
        n, tuple(operands), tuple(returned[name] for name in changed), tuple(found)
    )


def _length(
    row: Routine, given: Dict[str, Any], vectors: Dict[str, np.ndarray]
) -> Optional[int]:
    """n, if it is at least 1 and fits each vector."""
    n = given["n"]
    if n is None:
        length = vectors["x"].size - _integer(given["offx"])
        step = abs(_integer(given["incx"]))
        if not step:
            return None
        n = (length - 1) // step + 1 if row.name == "srot" else length // step
    n = _integer(n)
    for name, vector in vectors.items():
        off, inc = _integer(given[f"off{name}"]), _integer(given[f"inc{name}"])
        if not inc or not 0 <= off < vector.size or vector.size - off <= (n - 1) * abs(inc):
            return None
        if inc < 0 and len(vectors) == 1:
            return None  # BLAS defines no such call; SciPy refuses it or gives 0, as it may be
    return n if n >= 1 else None


def _integer(value: Any) -> int:
    return operator.index(value)
