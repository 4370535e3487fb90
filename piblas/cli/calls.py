"""Sample calls of routines on random operands, for commands that run a routine once.

``CALLS`` holds one row a routine: what makes a call of a function with SciPy's signature, given a
source of random arrays, the sizes by name and the options.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, NamedTuple

import numpy as np

from ..blas.routines import ROUTINES

__all__ = ["CALLS", "Options", "TRANS", "prepare", "routines"]

TRANS = ("nn", "nt", "tn", "tt")
_SEED = 2835


class Options(NamedTuple):
    """What may be chosen beside the sizes: factors, and which operands are transposed."""

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


def _trmm(f: Any, array: Array, o: Options, m: int, n: int) -> Any:
    # Far from singular, as strsm divides by it.
    a = array(m, m) / np.float32(m) + np.eye(m, dtype=np.float32)
    b = array(m, n)
    return lambda: f(o.alpha, a, b)


def _gemv(f: Any, array: Array, o: Options, m: int, n: int) -> Any:
    a, x = array(m, n), array(n)
    y = array(m) if o.beta else None
    return lambda: f(o.alpha, a, x, beta=o.beta, y=y)


def _ger(f: Any, array: Array, o: Options, m: int, n: int) -> Any:
    x, y, a = array(m), array(n), array(m, n)
    return lambda: f(o.alpha, x, y, a=a)


def _of_x(f: Any, array: Array, o: Options, n: int) -> Any:
    x = array(n)
    return lambda: f(x)


def _of_x_y(f: Any, array: Array, o: Options, n: int) -> Any:
    x, y = array(n), array(n)
    return lambda: f(x, y)


def _axpy(f: Any, array: Array, o: Options, n: int) -> Any:
    x, y = array(n), array(n)
    return lambda: f(x, y, a=o.alpha)


def _scal(f: Any, array: Array, o: Options, n: int) -> Any:
    x = array(n)
    return lambda: f(o.alpha, x)


def _rot(f: Any, array: Array, o: Options, n: int) -> Any:
    x, y = array(n), array(n)
    return lambda: f(x, y, 0.8, 0.6)


def _rotm(f: Any, array: Array, o: Options, n: int) -> Any:
    x, y = array(n), array(n)
    param = np.array([-1.0, 0.8, -0.6, 0.6, 0.8], dtype=np.float32)
    return lambda: f(x, y, param)


CALLS: Dict[str, Callable[..., Any]] = {
    "saxpy": _axpy,
    "scopy": _of_x_y,
    "sswap": _of_x_y,
    "sscal": _scal,
    "sdot": _of_x_y,
    "sasum": _of_x,
    "snrm2": _of_x,
    "isamax": _of_x,
    "srot": _rot,
    "srotm": _rotm,
    "sgemv": _gemv,
    "sger": _ger,
    "sgemm": _gemm,
    "ssymm": _symm,
    "ssyrk": _syrk,
    "ssyr2k": _syr2k,
    "strmm": _trmm,
    "strsm": _trmm,
}


def routines() -> List[str]:
    """The routines of :data:`CALLS` that have a QPU kernel."""
    return [name for name in CALLS if name in ROUTINES and ROUTINES[name].kernel]


def prepare(
    routine: str, function: Any, sizes: Mapping[str, int], options: Options
) -> Callable[[], Any]:
    """A call of ``function``, which has the signature of ``routine``, with its operands ready."""
    rng = np.random.default_rng(_SEED)

    def array(*shape: int) -> np.ndarray:
        return np.asfortranarray(rng.standard_normal(shape, dtype=np.float32))

    made: Callable[[], Any] = CALLS[routine](function, array, options, **sizes)
    return made
