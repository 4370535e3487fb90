"""Sample calls of routines on random operands, for commands that run a routine once.

A call of level 1 follows from the routine's row.  For levels 2 and 3 ``_CALLS`` has what makes a
call of a function with SciPy's signature, given a source of random arrays, the sizes by name and
the options.
"""

from __future__ import annotations

import functools
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

import numpy as np

from ..kernels.reference import SCALARS
from ..routines import KERNELS, ROUTINES

__all__ = ["Options", "TRANS", "prepare", "routines"]

TRANS = ("nn", "nt", "tn", "tt")
_SEED = 2835


class Options(NamedTuple):
    """What may be chosen besides the sizes: factors, and which operands are transposed.

    saxpby's b is ``beta``, or another factor where that is 0, as it would not read y then.
    """

    alpha: float = 1.0
    beta: float = 0.0
    trans: str = "nn"


Array = Callable[..., np.ndarray]


def _gemm(f: Any, array: Array, o: Options, m: int, n: int, k: int) -> Any:
    trans_a, trans_b = (letter == "t" for letter in o.trans)
    a = array(k, m) if trans_a else array(m, k)
    b = array(n, k) if trans_b else array(k, n)
    c = array(m, n) if o.beta else None
    return lambda: f(o.alpha, a, b, beta=o.beta, c=c, trans_a=int(trans_a), trans_b=int(trans_b))


def _symm(f: Any, array: Array, o: Options, m: int, n: int) -> Any:
    a, b = array(m, m), array(m, n)
    c = array(m, n) if o.beta else None
    return lambda: f(o.alpha, a, b, beta=o.beta, c=c)


def _syrk(f: Any, array: Array, o: Options, n: int, k: int) -> Any:
    a = array(n, k)
    c = array(n, n) if o.beta else None
    return lambda: f(o.alpha, a, beta=o.beta, c=c)


def _syr2k(f: Any, array: Array, o: Options, n: int, k: int) -> Any:
    a, b = array(n, k), array(n, k)
    c = array(n, n) if o.beta else None
    return lambda: f(o.alpha, a, b, beta=o.beta, c=c)


def _far_from_singular(a: np.ndarray) -> np.ndarray:
    n = a.shape[0]
    made: np.ndarray = a / np.float32(n) + np.eye(n, dtype=np.float32)
    return made


def _trmm(f: Any, array: Array, o: Options, m: int, n: int) -> Any:
    a, b = _far_from_singular(array(m, m)), array(m, n)
    return lambda: f(o.alpha, a, b)


def _gemv(f: Any, array: Array, o: Options, m: int, n: int) -> Any:
    a, x = array(m, n), array(n)
    y = array(m) if o.beta else None
    return lambda: f(o.alpha, a, x, beta=o.beta, y=y)


def _ger(f: Any, array: Array, o: Options, m: int, n: int) -> Any:
    x, y, a = array(m), array(n), array(m, n)
    return lambda: f(o.alpha, x, y, a=a)


def _gbmv(f: Any, array: Array, o: Options, m: int, n: int, kl: int, ku: int) -> Any:
    a, x = array(kl + ku + 1, n), array(n)
    y = array(m) if o.beta else None
    return lambda: f(m, n, kl, ku, o.alpha, a, x, beta=o.beta, y=y)


def _symv(f: Any, array: Array, o: Options, n: int) -> Any:
    a, x = array(n, n), array(n)
    y = array(n) if o.beta else None
    return lambda: f(o.alpha, a, x, beta=o.beta, y=y)


def _sbmv(f: Any, array: Array, o: Options, n: int, k: int) -> Any:
    a, x = array(k + 1, n), array(n)
    y = array(n) if o.beta else None
    return lambda: f(k, o.alpha, a, x, beta=o.beta, y=y)


def _spmv(f: Any, array: Array, o: Options, n: int) -> Any:
    ap, x = array(n * (n + 1) // 2), array(n)
    y = array(n) if o.beta else None
    return lambda: f(n, o.alpha, ap, x, beta=o.beta, y=y)


def _syr(f: Any, array: Array, o: Options, n: int) -> Any:
    x, a = array(n), array(n, n)
    return lambda: f(o.alpha, x, a=a)


def _syr2(f: Any, array: Array, o: Options, n: int) -> Any:
    x, y, a = array(n), array(n), array(n, n)
    return lambda: f(o.alpha, x, y, a=a)


def _spr(f: Any, array: Array, o: Options, n: int) -> Any:
    x, ap = array(n), array(n * (n + 1) // 2)
    return lambda: f(n, o.alpha, x, ap)


def _spr2(f: Any, array: Array, o: Options, n: int) -> Any:
    x, y, ap = array(n), array(n), array(n * (n + 1) // 2)
    return lambda: f(n, o.alpha, x, y, ap)


def _trmv(f: Any, array: Array, o: Options, n: int) -> Any:
    a, x = _far_from_singular(array(n, n)), array(n)
    return lambda: f(a, x, lower=1)


def _tbmv(f: Any, array: Array, o: Options, n: int, k: int) -> Any:
    a, x = array(k + 1, n) / np.float32(k + 1), array(n)
    a[0] = 1  # the diagonal, where the lower triangle is stored
    return lambda: f(k, a, x, lower=1)


def _tpmv(f: Any, array: Array, o: Options, n: int) -> Any:
    a, x = _far_from_singular(array(n, n)), array(n)
    ap = a.T[np.triu_indices(n)]  # column by column of the lower triangle
    return lambda: f(n, ap, x, lower=1)


def _level_1(routine: str, f: Any, array: Array, o: Options, n: int) -> Any:
    """A call of a routine of level 1, by the arguments of its row."""
    row = ROUTINES[routine]
    scalars = {**SCALARS, "a": o.alpha, "b": o.beta or SCALARS["b"]}
    given = {name: array(n) for name in ("x", "y") if name in row.arguments}
    given.update((name, scalars[name]) for name in row.arguments if name in scalars)
    return lambda: f(**given)


_CALLS: Dict[str, Callable[..., Any]] = {
    "sgemv": _gemv,
    "sgbmv": _gbmv,
    "ssymv": _symv,
    "ssbmv": _sbmv,
    "sspmv": _spmv,
    "strmv": _trmv,
    "stbmv": _tbmv,
    "stpmv": _tpmv,
    "strsv": _trmv,
    "stbsv": _tbmv,
    "stpsv": _tpmv,
    "sger": _ger,
    "ssyr": _syr,
    "sspr": _spr,
    "ssyr2": _syr2,
    "sspr2": _spr2,
    "sgemm": _gemm,
    "ssymm": _symm,
    "ssyrk": _syrk,
    "ssyr2k": _syr2k,
    "strmm": _trmm,
    "strsm": _trmm,
}


def routines() -> List[str]:
    """The routines that have a QPU kernel."""
    return list(KERNELS)


def prepare(
    routine: str,
    function: Any,
    sizes: Mapping[str, int],
    options: Options,
    place: Optional[Callable[[np.ndarray], np.ndarray]] = None,
) -> Callable[[], Any]:
    """A call of ``function``, which has the signature of ``routine``, with its operands ready.

    ``place`` is given each array that is an operand, and returns what is passed in its place: a
    copy in device memory, say.
    """
    if place is not None:
        return _placed(routine, function, sizes, options, place)
    rng = np.random.default_rng(_SEED)

    def array(*shape: int) -> np.ndarray:
        return np.asfortranarray(rng.standard_normal(shape, dtype=np.float32))

    call = _CALLS[routine] if routine in _CALLS else functools.partial(_level_1, routine)
    made: Callable[[], Any] = call(function, array, options, **sizes)
    return made


def _placed(
    routine: str,
    function: Any,
    sizes: Mapping[str, int],
    options: Options,
    place: Callable[[np.ndarray], np.ndarray],
) -> Callable[[], Any]:
    given: List[Any] = []
    prepare(routine, lambda *args, **kwargs: given.append((args, kwargs)), sizes, options)()

    def moved(value: Any) -> Any:
        return place(value) if isinstance(value, np.ndarray) else value

    ((found, named),) = given
    args = tuple(moved(value) for value in found)
    kwargs = {name: moved(value) for name, value in named.items()}
    return lambda: function(*args, **kwargs)
