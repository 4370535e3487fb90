"""NumPy's ufuncs and functions as nodes: one row each, by the kind of the operands."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from .tracing import KINDS, Host, Traced, Tracer

__all__ = ["FUNCTIONS", "REDUCTIONS", "apply", "ufuncs"]

REDUCTIONS = {
    "add": "sum", "minimum": "min", "maximum": "max", "logical_or": "any", "logical_and": "all",
}  # fmt: skip
"""Ufuncs whose ``reduce`` is known, and the method."""

_FLOAT, _INTEGER, _MASK = "f", "iu", "m"
_BOTH = _FLOAT + _INTEGER

Make = Callable[..., int]


def _node(op: str) -> Make:
    """The function or operation ``op`` of nodes, of the kind of the first."""

    def make(tracer: Tracer, dtype: str, *nodes: int) -> int:
        return tracer.graph.add(op, KINDS[dtype], *nodes)

    return make


def _wrapping(op: str) -> Make:
    """An integer operation whose result is wrapped at the type's width."""

    def make(tracer: Tracer, dtype: str, *nodes: int) -> int:
        return tracer._wrapped(tracer.graph.add(op, KINDS[dtype], *nodes), dtype)

    return make


def _compared(op: str, swap: bool = False) -> Make:
    def make(tracer: Tracer, dtype: str, a: int, b: int) -> int:
        return tracer.code.op(op, *((b, a) if swap else (a, b)))

    return make


def _negative(t: Tracer, dtype: str, x: int) -> int:
    c = t.code
    return t._wrapped(c.sub(c.i(0, c.kind(x)), x), dtype)


def _absolute(t: Tracer, dtype: str, x: int) -> int:
    return x if dtype in ("uint8", "uint32") else t._wrapped(t.graph.add("abs", "i", x), dtype)


def _shift(left: bool) -> Make:
    """Distances from the width on give 0, or the sign, as in NumPy."""

    def make(t: Tracer, dtype: str, x: int, by: int) -> int:
        c, kind = t.code, KINDS[dtype]
        width = {"uint8": 8, "int16": 16}.get(dtype, 32)
        # As unsigned: negative distances, which NumPy leaves open, count as large ones.
        fits = c.lt(c.cast(by, "u"), c.i(width, "u"))
        if left:
            return t._wrapped(c.select(fits, c.shl(x, by), c.i(0, kind)), dtype)
        if kind == "u" or dtype == "uint8":
            return c.select(fits, c.shr(x, by), c.i(0, kind))
        return c.asr(x, c.select(fits, by, c.i(31)))

    return make


def _sign(t: Tracer, dtype: str, x: int) -> int:
    c, kind = t.code, KINDS[dtype]
    if kind == "f":
        one, zero, less = c.f(1.0), c.f(0.0), c.f(-1.0)
    else:
        one, zero, less = c.i(1, kind), c.i(0, kind), c.i(-1, kind)
    made = c.select(c.lt(zero, x), one, zero)
    return made if kind == "u" else c.select(c.lt(x, zero), less, made)


def _square(t: Tracer, dtype: str, x: int) -> int:
    return _multiply(t, dtype, x, x)


def _multiply(t: Tracer, dtype: str, a: int, b: int) -> int:
    if KINDS[dtype] == "f":
        return t.code.fmul(a, b)
    # Products of 8 bits need the low 24 bits of both only.
    op = "mul24" if dtype == "uint8" else "mul"
    return t._wrapped(t.graph.add(op, KINDS[dtype], a, b), dtype)


def _log10(t: Tracer, dtype: str, x: int) -> int:
    return t.code.fmul(t.graph.add("log2", "f", x), t.code.f(0.30102999566398120))


def _tan(t: Tracer, dtype: str, x: int) -> int:
    return t.graph.add("div", "f", t.graph.add("sin", "f", x), t.graph.add("cos", "f", x))


def _hypot(t: Tracer, dtype: str, a: int, b: int) -> int:
    c = t.code
    return t.graph.add("sqrt", "f", c.fadd(c.fmul(a, a), c.fmul(b, b)))


def _size(t: Tracer, x: int) -> int:
    return t.code.fmaxabs(x, x)


def _inf(t: Tracer) -> int:
    return t.code.cast(t.code.i(0x7F800000), "f")


def _isnan(t: Tracer, dtype: str, x: int) -> int:
    return t.code.lt(_inf(t), _size(t, x))


def _isinf(t: Tracer, dtype: str, x: int) -> int:
    return t.code.eq(_inf(t), _size(t, x))


def _isfinite(t: Tracer, dtype: str, x: int) -> int:
    return t.code.lt(_size(t, x), _inf(t))


def _signbit(t: Tracer, dtype: str, x: int) -> int:
    return t.code.lt(t.code.cast(x, "i"), t.code.i(0))


def _copysign(t: Tracer, dtype: str, x: int, y: int) -> int:
    c = t.code
    sign = c.op("and", c.cast(y, "u"), c.i(0x80000000, "u"))
    return c.cast(c.op("or", c.cast(_size(t, x), "u"), sign), "f")


def _same(t: Tracer, dtype: str, x: int) -> int:
    return x


def _mask(op: str) -> Make:
    def make(t: Tracer, dtype: str, *nodes: int) -> int:
        return t.graph.add(op, "m", *nodes)

    return make


def _mask_xor(t: Tracer, dtype: str, a: int, b: int) -> int:
    both, either = t.graph.add("mand", "m", a, b), t.graph.add("mor", "m", a, b)
    return t.graph.add("mand", "m", either, t.graph.add("mnot", "m", both))


_TABLE: Dict[str, Dict[str, Make]] = {
    "add": {"f": _node("fadd"), "iu": _wrapping("add"), "m": _mask("mor")},
    "subtract": {"f": _node("fsub"), "iu": _wrapping("sub")},
    "multiply": {"fiu": _multiply, "m": _mask("mand")},
    "divide": {"f": _node("div")},
    "negative": {"f": _node("fneg"), "iu": _negative},
    "positive": {"fiu": _same},
    "absolute": {"f": _node("fabs"), "iu": _absolute},
    "fabs": {"f": _node("fabs")},
    "minimum": {"f": _node("fmin"), "iu": _node("min"), "m": _mask("mand")},
    "maximum": {"f": _node("fmax"), "iu": _node("max"), "m": _mask("mor")},
    "square": {"fiu": _square},
    "sign": {"fiu": _sign},
    "reciprocal": {"f": _node("recip")},
    "sqrt": {"f": _node("sqrt")},
    "exp": {"f": _node("exp")}, "exp2": {"f": _node("exp2")}, "log": {"f": _node("log")},
    "log2": {"f": _node("log2")}, "log10": {"f": _log10}, "sin": {"f": _node("sin")},
    "cos": {"f": _node("cos")}, "tan": {"f": _tan}, "tanh": {"f": _node("tanh")},
    "floor": {"f": _node("floor"), "iu": _same}, "ceil": {"f": _node("ceil"), "iu": _same},
    "trunc": {"f": _node("trunc"), "iu": _same}, "rint": {"f": _node("rint")},
    "hypot": {"f": _hypot},
    "isnan": {"f": _isnan}, "isinf": {"f": _isinf}, "isfinite": {"f": _isfinite},
    "signbit": {"f": _signbit}, "copysign": {"f": _copysign},
    "less": {"fiu": _compared("lt")}, "less_equal": {"fiu": _compared("le")},
    "greater": {"fiu": _compared("lt", True)}, "greater_equal": {"fiu": _compared("le", True)},
    "equal": {"fiu": _compared("eq")}, "not_equal": {"fiu": _compared("ne"), "m": _mask_xor},
    "bitwise_and": {"iu": _node("and"), "m": _mask("mand")},
    "bitwise_or": {"iu": _node("or"), "m": _mask("mor")},
    "bitwise_xor": {"iu": _node("xor"), "m": _mask_xor},
    "invert": {"iu": _wrapping("not"), "m": _mask("mnot")},
    "left_shift": {"iu": _shift(True)}, "right_shift": {"iu": _shift(False)},
    "logical_and": {"m": _mask("mand")}, "logical_or": {"m": _mask("mor")},
    "logical_xor": {"m": _mask_xor}, "logical_not": {"m": _mask("mnot")},
}  # fmt: skip
_ALIASES = {"true_divide": "divide", "fmin": "minimum", "fmax": "maximum", "abs": "absolute"}
_LOGICAL = frozenset(("logical_and", "logical_or", "logical_xor", "logical_not"))


def ufuncs() -> List[str]:
    """The names of the ufuncs that are known."""
    return sorted([*_TABLE, "power"])


def apply(tracer: Tracer, ufunc: Any, inputs: Sequence[Any]) -> Traced:
    """A ufunc of values, some of which are arrays'."""
    name = _ALIASES.get(ufunc.__name__, ufunc.__name__)
    if name == "power":
        return _power(tracer, *inputs)
    if name == "clip":
        return tracer.clip(*inputs)
    if name == "matmul":
        return tracer.dot(*inputs)
    if name not in _TABLE:
        tracer.fail(f"np.{name} is not known on the QPUs; known are {', '.join(ufuncs())}")
    samples = [_sample(each) for each in inputs]
    try:
        with np.errstate(all="ignore"):
            result = ufunc(*samples).dtype
            common = np.dtype(bool) if name in _LOGICAL else np.result_type(*samples)
    except (TypeError, OverflowError) as error:
        tracer.fail(f"np.{name}: {error}")
    # int16 becomes float32 for sqrt, a bool an int8 for negative.
    loop = result if result.kind == "f" and common.kind != "f" else common
    if result.kind == "b" and common.name == "int64" and _bools(inputs):
        loop = np.dtype(np.int32)  # comparisons of a mask with a whole number
    for each in (loop, result):
        if each.name not in KINDS:
            types = ", ".join(str(getattr(each, "dtype", type(each).__name__)) for each in samples)
            wanted = "float32" if each.kind in "fc" else "int32"
            tracer.fail(
                f"np.{name} of {types} is {each} in NumPy, which QPUs lack: convert with "
                f".astype(np.{wanted}) before"
            )
    kind = KINDS[loop.name]
    make = next((make for kinds, make in _TABLE[name].items() if kind in kinds), None)
    if make is None and kind == "m":  # of comparisons: False < True
        loop = np.dtype(np.int32)
        make = next((make for kinds, make in _TABLE[name].items() if "i" in kinds), None)
    if make is None:
        tracer.fail(f"np.{name} is not known for {loop}")
    nodes = [tracer.node(each, loop) for each in inputs]
    return Traced(tracer, make(tracer, loop.name, *nodes), result)


def _bools(inputs: Sequence[Any]) -> bool:
    """Whether all arrays are masks, and all numbers Python's."""
    return all(each.dtype.kind == "b" for each in inputs if isinstance(each, Traced))


def _sample(value: Any) -> Any:
    """What NumPy decides a type by."""
    if isinstance(value, Traced):
        return np.empty(0, value.dtype)
    return value.sample if isinstance(value, Host) else value


def _power(tracer: Tracer, x: Any, y: Any) -> Any:
    """Small whole exponents multiply; others are powers of 2."""
    if isinstance(y, (int, float)) and float(y).is_integer() and abs(y) <= 16:
        if isinstance(x, Traced) and (y >= 0 or KINDS[x.dtype.name] == "f"):
            count, base, made = abs(int(y)), x, None
            while count:
                if count & 1:
                    made = base if made is None else made * base
                count >>= 1
                base = base * base if count else base
            if made is None:
                return x * 0 + 1
            return made if y > 0 else np.reciprocal(made)
    if isinstance(y, float) and y == 0.5:
        return np.sqrt(x)
    common = np.result_type(_sample(x), _sample(y))
    if common.name not in KINDS or KINDS[common.name] != "f":
        tracer.fail(f"a power of {common} wants a whole exponent from 0 to 16, written as a number")
    nodes = [tracer.node(each, common) for each in (x, y)]
    return Traced(tracer, tracer.graph.add("pow", "f", *nodes), common)


# --- functions that are no ufuncs ---------------------------------------------------------------


def _where(t: Tracer, condition: Any, *choices: Any) -> Any:
    if len(choices) != 2:
        t.fail("np.where(condition, a, b) wants both a and b: it finds no places of elements here")
    if not isinstance(condition, Traced):
        t.fail("the condition of np.where is no array")
    for each in choices:
        if isinstance(each, np.ndarray) and each.ndim:
            t.fail("an array that is no argument of the function: pass it as one")
    a, b = choices
    common = np.result_type(_sample(a), _sample(b))
    if not isinstance(a, Traced) and not isinstance(b, Traced):
        if common.name in ("float64", "int64"):
            t.fail(f"np.where of two numbers is {common} in NumPy: write np.float32(...) for one")
    if common.name not in KINDS:
        t.fail(f"np.where gives {common} in NumPy, which QPUs lack: convert with .astype before")
    mask = t.converted(condition, np.dtype(bool)).node
    first, second = t.node(a, common), t.node(b, common)
    if common.name == "bool":
        add = t.graph.add
        made = add(
            "mor", "m", add("mand", "m", mask, first),
            add("mand", "m", add("mnot", "m", mask), second),
        )  # fmt: skip
    else:
        made = t.code.select(mask, first, second)
    return Traced(t, made, common)


def _of_method(name: str) -> Callable[..., Any]:
    def called(t: Tracer, value: Any, *args: Any, **kwargs: Any) -> Any:
        if not isinstance(value, Traced):
            t.fail(f"np.{name} of a number")
        return getattr(value, name)(*args, **kwargs)

    return called


FUNCTIONS: Dict[str, Callable[..., Any]] = {
    "where": _where,
    "clip": lambda t, a, a_min=None, a_max=None, **kw: t.clip(
        a, kw.get("min", a_min), kw.get("max", a_max)
    ),
    "dot": lambda t, a, b: t.dot(a, b),
    "vdot": lambda t, a, b: t.dot(a, b),
    "inner": lambda t, a, b: t.dot(a, b),
    "zeros_like": lambda t, a, dtype=None: Traced(
        t, t.node(0, np.dtype(dtype or a.dtype)), dtype or a.dtype
    ),
    "ones_like": lambda t, a, dtype=None: Traced(
        t, t.node(1, np.dtype(dtype or a.dtype)), dtype or a.dtype
    ),
    "copy": _of_method("copy"),
    "round": lambda t, a, decimals=0: np.rint(a) if decimals == 0 else t.fail(
        "np.round to whole numbers only"
    ),
    **{
        name: _of_method(method) for name, method in (
            ("sum", "sum"), ("mean", "mean"), ("min", "min"), ("max", "max"), ("amin", "min"),
            ("amax", "max"), ("argmin", "argmin"), ("argmax", "argmax"), ("any", "any"),
            ("all", "all"), ("astype", "astype"),
        )
    },
}  # fmt: skip
"""By name."""
