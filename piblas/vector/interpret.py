"""What a graph computes, node by node: a walk that two ways of computing share.

:class:`Walk` goes through a graph's nodes; what the operations are is said by its arithmetic:
:class:`Exact` computes the bits that QPUs compute, from the facts about them, and is what tests
compare programs with; :mod:`.on_cpu` computes with NumPy's ufuncs.

Facts of :class:`Exact`: ``fadd fsub fmul`` round toward zero, take numbers below 2**-126 for +0 and
return +0 for such results; an exponent of 255 is an infinity whatever the mantissa, and no NaN is
ever made; ``fmin fmax`` compare sign and magnitude of the bits.  The special function unit's tables
are not public: its results are taken for the exact ones rounded to 13 bits after the leading one,
as the emulator does.
"""

from __future__ import annotations

import math
from typing import Any, Callable, Dict, List, Optional, Sequence

import numpy as np

from .graph import STORAGE, Graph, Node, Reduction, Store

__all__ = ["Exact", "Walk", "last_uses", "machine", "run"]

_EXPONENT = np.uint32(0x7F800000)
_SIGN = np.uint32(0x80000000)
_MAGNITUDE = np.uint32(0x7FFFFFFF)
_ONES = np.uint32(0xFFFFFFFF)
_LOG2_E = 1.4426950408889634


# --- arithmetic on words ------------------------------------------------------------------------


def _double(words: Any) -> Any:
    """Values of float32 words; those with exponent 0 are 0, those with 255 are infinities."""
    flushed = np.where(words & _EXPONENT == 0, np.uint32(0), words)
    flushed = np.where(flushed & _EXPONENT == _EXPONENT, flushed & ~np.uint32(0x7FFFFF), flushed)
    return flushed.astype(np.uint32).view(np.float32).astype(np.float64)


def _truncated(value: Any) -> Any:
    """Words of float64 values, toward zero; too small is +0, too large an infinity."""
    kept = (value.view(np.uint64) & np.uint64(0xFFFFFFFFE0000000)).view(np.float64)
    small = np.abs(kept) < 2.0**-126
    with np.errstate(over="ignore"):
        words = np.where(small, 0.0, kept).astype(np.float32).view(np.uint32)
    return np.where(small, np.uint32(0), words)


def _infinite(words: Any) -> Any:
    return words & _EXPONENT == _EXPONENT


def fadd(a: Any, b: Any) -> Any:
    """The sum of float32 words."""
    a, b = np.broadcast_arrays(a, b)
    x, y = _double(a), _double(b)
    with np.errstate(invalid="ignore"):
        total = x + y
        part = total - x
        lost = (x - (total - part)) + (y - part)
        # Rounded up to what 24 bits can hold: the exact sum is below that.
        up = (lost != 0) & (np.signbit(lost) != np.signbit(total))
        total = np.where(up, np.nextafter(total, 0.0), total)
    words = _truncated(np.where(np.isfinite(total), total, 0.0))
    words = np.where(_infinite(a), a & _SIGN | _EXPONENT, words)
    return np.where(_infinite(b), b & _SIGN | _EXPONENT, words)


def fsub(a: Any, b: Any) -> Any:
    """The difference of float32 words."""
    return fadd(a, b ^ _SIGN)


def fmul(a: Any, b: Any) -> Any:
    """The product of float32 words."""
    a, b = np.broadcast_arrays(a, b)
    zero = (a & _EXPONENT == 0) | (b & _EXPONENT == 0)
    infinite = _infinite(a) | _infinite(b)
    finite = ~(zero | infinite)
    x = np.where(finite, a, 0).astype(np.uint32).view(np.float32).astype(np.float64)
    y = np.where(finite, b, 0).astype(np.uint32).view(np.float32).astype(np.float64)
    words = _truncated(x * y)
    words = np.where(infinite, (a ^ b) & _SIGN | _EXPONENT, words)
    return np.where(zero, np.uint32(0), words)


def order(words: Any, kind: str) -> Any:
    """Integers (int64) in the order in which QPUs compare the words."""
    if kind == "u":
        return words.astype(np.int64)
    signed = words.view(np.int32).astype(np.int64)
    return signed if kind == "i" else np.where(signed < 0, -(signed & 0x7FFFFFFF), signed)


def _extreme(kind: str, larger: bool, bits: int = 0xFFFFFFFF) -> Callable[[Any, Any], Any]:
    def extreme(a: Any, b: Any) -> Any:
        a, b = a & np.uint32(bits), b & np.uint32(bits)
        greater = order(a, kind) > order(b, kind)
        return np.where(greater, a, b) if larger else np.where(greater, b, a)

    return extreme


def _ftoi(a: Any) -> Any:
    value = np.where(_infinite(a), 0.0, _double(a))
    fits = (value >= -(2.0**31)) & (value < 2.0**31)
    return np.where(fits, value, 0.0).astype(np.int64).astype(np.uint32)


def _itof(a: Any) -> Any:
    return _truncated(a.view(np.int32).astype(np.float64))


def _clz(a: Any) -> Any:
    return (32 - np.frexp(a.astype(np.float64))[1]).astype(np.uint32)


def _wide(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operation on 64-bit integers, whose low 32 bits count."""

    def applied(a: Any, b: Any) -> Any:
        return (function(a.astype(np.int64), b.astype(np.int64)) & 0xFFFFFFFF).astype(np.uint32)

    return applied


def _bytes(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """An operation on each of the four bytes, in int64."""

    def applied(a: Any, b: Any) -> Any:
        result: Any = 0
        for shift in (0, 8, 16, 24):
            x, y = (each.astype(np.int64) >> shift & 255 for each in (a, b))
            result = result | function(x, y) << shift
        return result.astype(np.uint32)

    return applied


def _shr(a: Any, b: Any) -> Any:
    return a >> (b & np.uint32(31))


def _shl(a: Any, b: Any) -> Any:
    return a << (b & np.uint32(31))


def _asr(a: Any, b: Any) -> Any:
    return (a.view(np.int32) >> (b & np.uint32(31)).astype(np.int32)).view(np.uint32)


def _ror(a: Any, b: Any) -> Any:
    return _shr(a, b) | _shl(a, np.uint32(0) - (b & np.uint32(31)))


def _special(function: str) -> Callable[[Any], Any]:
    """A function of the special function unit."""

    def evaluated(words: Any) -> Any:
        value = _double(words)
        zero, infinite = words & _EXPONENT == 0, _infinite(words)
        with np.errstate(all="ignore"):
            if function == "recip":
                exact = 1.0 / value
            elif function == "rsqrt":
                exact = 1.0 / np.sqrt(np.abs(value))
            elif function == "exp2":
                exact = np.where(value < -126.0, 0.0, np.exp2(value))
                exact = np.where(value >= 128.0, np.inf, exact)
            else:
                exact = np.log(np.abs(value)) * _LOG2_E
        mantissa, exponent = np.frexp(np.where(np.isfinite(exact), exact, 0.0))
        rounded = np.ldexp(np.copysign(np.floor(np.abs(mantissa) * 16384.0 + 0.5), mantissa),
                           exponent - 14)  # fmt: skip
        result = _truncated(rounded)
        if function == "exp2":
            overflow = np.isinf(exact)
            return np.where(overflow, _EXPONENT, np.where(zero, np.uint32(0x3F800000), result))
        if function == "log2":
            return np.where(zero, _SIGN | _EXPONENT, np.where(infinite, _EXPONENT, result))
        return np.where(zero, _EXPONENT, np.where(infinite, np.uint32(0), result))

    return evaluated


MACHINE: Dict[str, Callable[..., Any]] = {
    "fadd": fadd, "fsub": fsub, "fmul": fmul, "ftoi": _ftoi, "itof": _itof,
    "fmin": _extreme("f", False), "fmax": _extreme("f", True),
    "fminabs": _extreme("f", False, 0x7FFFFFFF), "fmaxabs": _extreme("f", True, 0x7FFFFFFF),
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "shr": _shr, "asr": _asr, "ror": _ror,
    "shl": _shl, "min": _extreme("i", False), "max": _extreme("i", True),
    "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
    "not": lambda a: ~a, "clz": _clz,
    "mul24": _wide(lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF)),
    "v8adds": _bytes(lambda a, b: np.minimum(a + b, 255)),
    "v8subs": _bytes(lambda a, b: np.maximum(a - b, 0)),
    "v8min": _bytes(np.minimum), "v8max": _bytes(np.maximum),
    "v8muld": _bytes(lambda a, b: (a * b + 127) // 255),
    "recip": _special("recip"), "rsqrt": _special("rsqrt"),
    "exp2": _special("exp2"), "log2": _special("log2"),
}  # fmt: skip
"""Operations on arrays of uint32 words."""


def machine(op: str, *words: Any) -> Any:
    """The words that a machine operation computes from words."""
    with np.errstate(over="ignore"):
        return MACHINE[op](*words)


def _half_to_float(halves: Any) -> Any:
    """A float16 loaded: its denormals keep their mantissa under exponent 0."""
    word = halves.astype(np.uint32)
    sign, exponent, mantissa = (word & 0x8000) << 16, word >> 10 & 31, (word & 0x3FF) << 13
    exponent = np.where(exponent == 31, 255, np.where(exponent == 0, 0, exponent + 112))
    return (sign | exponent.astype(np.uint32) << 23 | mantissa).astype(np.uint32)


def _float_to_half(words: Any) -> Any:
    """A float16 stored: away from zero, +0 where it is below 2**-14."""
    sign, exponent = words >> 16 & 0x8000, (words >> 23 & 255).astype(np.int64)
    half = (np.maximum(exponent - 112, 0) << 10) + (words >> 13 & 0x3FF)
    half = np.minimum(half + (words & 0x1FFF != 0), 0x7C00)
    half = np.where(exponent == 255, 0x7C00, half)
    return np.where(exponent <= 112, 0, sign | half).astype(np.uint16)


class Exact:
    """Values are words (uint32), masks are bool."""

    def load(self, array: np.ndarray) -> Any:
        kind = array.dtype.name
        if kind == "float16":
            return _half_to_float(array.view(np.uint16))
        if STORAGE[kind] == "i":
            return array.astype(np.int32).view(np.uint32)
        return array.view(np.uint32) if array.dtype.itemsize == 4 else array.astype(np.uint32)

    def constant(self, bits: int, kind: str) -> Any:
        return np.array(bits, np.uint32)

    def index(self, n: int) -> Any:
        return np.arange(n, dtype=np.uint32)

    def bits(self, value: Any, kind: str) -> Any:
        return value

    def compare(self, op: str, kind: str, a: Any, b: Any) -> Any:
        x, y = order(a, kind), order(b, kind)
        return {"lt": x < y, "le": x <= y, "eq": x == y, "ne": x != y}[op]

    def compute(self, node: Node, values: Sequence[Any]) -> Any:
        return machine(node.op, *values)

    def store(self, value: Any, kind: str, dtype: str) -> np.ndarray:
        if dtype == "float16":
            return _float_to_half(value).view(np.float16)
        if dtype == "uint8":
            return value.astype(np.uint8)
        if dtype == "int16":
            return value.astype(np.uint16).view(np.int16)
        return value.view(dtype)

    def reduce(self, each: Reduction, value: Any, kind: str) -> Any:
        """A sum of floats is the exact one, rounded once: programs come near it."""
        if each.how == "sum":
            if kind == "f":
                return np.float32(math.fsum(value.view(np.float32).astype(np.float64).tolist()))
            return value.sum(dtype=np.uint32).view({"i": np.int32, "u": np.uint32}[kind])
        keys = order(value, kind)
        at = int(keys.argmin() if each.how.endswith("min") else keys.argmax())
        return at if each.how.startswith("arg") else self.store(value, kind, each.dtype)[at]


# --- the walk -----------------------------------------------------------------------------------


def _references(graph: Graph, number: int) -> List[int]:
    """The nodes that a node reads, those that a loop's body refers to among them."""
    node = graph.nodes[number]
    if node.op != "loop":
        return list(node.args)
    body = node.data.body
    last = last_uses(body, node.data.carried)
    outer = [each.data for i, each in enumerate(body.nodes) if each.op == "outer" and last[i] >= 0]
    return [*node.args, *outer]


def last_uses(graph: Graph, results: Sequence[int]) -> List[int]:
    """For each node the number of its last reader; -1 where no result depends on it, and the number
    of nodes for results."""
    n = len(graph.nodes)
    last = [-1] * n
    for number in results:
        last[number] = n
    for number in range(n - 1, -1, -1):
        if last[number] >= 0:
            for each in _references(graph, number):
                last[each] = max(last[each], number)
    return last


class Walk:
    """A graph applied to arguments of n elements each (arrays of one dimension, or numbers)."""

    def __init__(self, arithmetic: Any, arguments: Sequence[Any], n: int) -> None:
        self.arithmetic, self.arguments, self.n = arithmetic, arguments, n
        self._ends: Dict[int, Any] = {}

    def run(
        self,
        graph: Graph,
        results: Sequence[int],
        around: Optional[Sequence[Any]] = None,
        carried: Sequence[Any] = (),
    ) -> List[Any]:
        """The values of nodes.  Others are forgotten after their last use."""
        nodes = graph.nodes
        values: List[Any] = [None] * len(nodes)
        if id(graph) not in self._ends:
            last = last_uses(graph, results)
            ends: Dict[int, List[int]] = {}
            for number, end in enumerate(last):
                if 0 <= end < len(nodes):
                    ends.setdefault(end, []).append(number)
            self._ends[id(graph)] = last, ends
        last, ends = self._ends[id(graph)]
        for number, node in enumerate(nodes):
            if last[number] < 0:
                continue
            values[number] = self._value(graph, node, values, around, carried)
            for each in ends.get(number, ()):
                values[each] = None
        return [values[number] for number in results]

    def _value(
        self,
        graph: Graph,
        node: Node,
        values: List[Any],
        around: Optional[Sequence[Any]],
        carried: Sequence[Any],
    ) -> Any:
        op, arithmetic = node.op, self.arithmetic
        if op in ("load", "scalar"):
            return arithmetic.load(self.arguments[node.data])
        if op == "const":
            return arithmetic.constant(node.data, node.kind)
        if op == "index":
            return arithmetic.index(self.n)
        if op == "carried":
            return carried[node.data]
        if op == "outer":
            assert around is not None
            return around[node.data]
        if op == "loop":
            state = [values[each] for each in node.args]
            for _ in range(node.data.count):
                state = self.run(node.data.body, node.data.carried, values, state)
            return state
        if op == "result":
            return values[node.args[0]][node.data]
        args = [values[each] for each in node.args]
        if op == "bits":
            return arithmetic.bits(args[0], node.kind)
        if op == "select":
            return np.where(*args)
        if op == "mand":
            return args[0] & args[1]
        if op == "mor":
            return args[0] | args[1]
        if op == "mnot":
            return ~args[0]
        if op in ("lt", "le", "eq", "ne"):
            return arithmetic.compare(op, graph.kind(node.args[0]), *args)
        return arithmetic.compute(node, args)


def run(graph: Graph, arguments: Sequence[Any], n: int, arithmetic: Any = None) -> List[Any]:
    """The results of a graph: arrays of n elements for stores, numbers for reductions.

    ``arguments`` are NumPy arrays of one dimension, or numbers, of the types of the graph's.
    """
    arithmetic = arithmetic or Exact()
    given = [np.asarray(value, each.dtype) for value, each in zip(arguments, graph.arguments)]
    values = Walk(arithmetic, given, n).run(graph, [each.node for each in graph.results])
    made: List[Any] = []
    for each, value in zip(graph.results, values):
        kind = graph.kind(each.node)
        full = np.ascontiguousarray(np.broadcast_to(value, (n,)))
        if isinstance(each, Store):
            made.append(arithmetic.store(full, kind, each.dtype))
        else:
            made.append(arithmetic.reduce(each, full, kind))
    return made
