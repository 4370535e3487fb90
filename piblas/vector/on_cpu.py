"""Vector functions computed by NumPy, with NumPy's semantics: the arithmetic of :mod:`.interpret`
for calls that do not go to the QPUs."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from . import interpret
from .graph import STORAGE, Graph, Node, Reduction

__all__ = ["Ufuncs", "run"]

_DTYPES = {"f": np.dtype(np.float32), "i": np.dtype(np.int32), "u": np.dtype(np.uint32)}
_COMPARE = {"lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal}
_ONE = np.float32(1.0)


def _distance(x: Any) -> Any:
    return x.view(np.uint32) & np.uint32(31)


def _by_words(name: str) -> Callable[..., Any]:
    """An operation on bits, which are the same on both processors."""

    def computed(*values: Any) -> Any:
        words = interpret.machine(name, *[value.view(np.uint32) for value in values])
        return words.view(values[0].dtype)

    return computed


def _tanh_of_half(x: Any) -> Any:
    return np.tanh(x * np.float32(0.5)) * np.float32(0.5) + np.float32(0.5)


_UFUNCS: Dict[str, Callable[..., Any]] = {
    "fadd": np.add, "fsub": np.subtract, "fmul": np.multiply, "fmin": np.minimum,
    "fmax": np.maximum, "fminabs": lambda a, b: np.minimum(np.abs(a), np.abs(b)),
    "fmaxabs": lambda a, b: np.maximum(np.abs(a), np.abs(b)),
    "ftoi": lambda a: a.astype(np.int32), "itof": lambda a: a.astype(np.float32),
    "ftou": lambda a: a.astype(np.int64).astype(np.uint32),
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "min": np.minimum, "max": np.maximum,
    "abs": np.abs, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor,
    "not": np.invert, "shl": lambda a, b: (a.view(np.uint32) << _distance(b)).view(a.dtype),
    "shr": lambda a, b: (a.view(np.uint32) >> _distance(b)).view(a.dtype),
    "asr": _by_words("asr"), "ror": _by_words("ror"), "clz": _by_words("clz"),
    "mul24": _by_words("mul24"),
    "recip": lambda x: _ONE / x, "rsqrt": lambda x: _ONE / np.sqrt(np.abs(x)), "exp2": np.exp2,
    "log2": lambda x: np.log2(np.abs(x)), "sqrt": lambda x: np.sqrt(np.abs(x)),
    "div": np.divide, "exp": np.exp, "log": lambda x: np.log(np.abs(x)), "sin": np.sin,
    "cos": np.cos, "tanh": np.tanh, "sigmoid": _tanh_of_half, "fabs": np.abs, "fneg": np.negative,
    "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
    "pow": lambda x, y: np.power(np.abs(x), y), "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
"""By name of a node's operation."""


class Ufuncs:
    """Values are arrays of float32, int32 and uint32, masks are bool."""

    def load(self, array: np.ndarray) -> Any:
        return array.astype(_DTYPES[STORAGE[array.dtype.name]], copy=False)

    def constant(self, bits: int, kind: str) -> Any:
        return np.array(bits, np.uint32).view(_DTYPES[kind])

    def index(self, n: int) -> Any:
        return np.arange(n, dtype=np.uint32)

    def bits(self, value: Any, kind: str) -> Any:
        return value.view(_DTYPES[kind])

    def compare(self, op: str, kind: str, a: Any, b: Any) -> Any:
        return _COMPARE[op](a, b)

    def compute(self, node: Node, values: Sequence[Any]) -> Any:
        made = _UFUNCS[node.op](*values)
        return np.asarray(made)  # of two numbers NumPy makes a scalar

    def store(self, value: Any, kind: str, dtype: str) -> np.ndarray:
        return value.astype(dtype, copy=False)

    def reduce(self, each: Reduction, value: Any, kind: str) -> Any:
        if each.how == "sum":
            return value.sum(dtype=value.dtype)
        return getattr(value, each.how)()


def run(graph: Graph, arguments: Sequence[Any], n: int) -> List[Any]:
    """The results of a graph whose operations may be functions (:func:`.interpret.run`)."""
    with np.errstate(all="ignore"):
        return interpret.run(graph, arguments, n, Ufuncs())
