"""Values that stand for arrays while a Python function is traced, and what NumPy does with them.

:class:`Traced` is an element of each array: a node of the graph with NumPy's dtype.  bool is a
mask; uint8, int16 and int32 are int32 registers whose values are wrapped at the type's width after
each operation; float16 is computed as float32 and rounded when it is stored.  :class:`Host` is a
number that Python computes: before the launch from scalars among the arguments, or after it from
results of reductions.

Result types are NumPy's: they are asked for with empty arrays.  Numbers of Python are weak, and so
are those of float64 and int64.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, Dict, List, NoReturn, Optional, Sequence, Tuple

import numpy as np

from ..errors import VectorError, brief
from .functions import Code
from .graph import Argument, Graph, Reduction

__all__ = ["Host", "Traced", "Tracer", "source_line"]

KINDS = {
    "bool": "m", "uint8": "i", "int16": "i", "int32": "i", "uint32": "u", "float16": "f",
    "float32": "f",
}  # fmt: skip
_OURS = os.path.dirname(os.path.abspath(__file__))
_NUMPYS = os.path.dirname(os.path.abspath(np.__file__))


def source_line() -> Optional[str]:
    """ "file:line" of the innermost caller outside of this package and NumPy."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        name = os.path.abspath(frame.f_code.co_filename)
        if not name.startswith((_OURS + os.sep, _NUMPYS + os.sep)):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return None


class Host(np.lib.mixins.NDArrayOperatorsMixin):
    """A number that Python computes: ``evaluate(arguments, results, n)``.

    ``sample`` is a number of its type.  ``after`` tells that it depends on results; ``place`` is
    the argument that it is, unchanged.
    """

    def __init__(
        self, tracer: "Tracer", evaluate: Callable[..., Any], sample: Any, after: bool = False,
        place: Optional[int] = None,
    ) -> None:  # fmt: skip
        self.tracer, self.evaluate, self.sample, self.after = tracer, evaluate, sample, after
        self.place = place

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self.tracer.ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.tracer.function(function, args, kwargs)

    def __bool__(self) -> bool:
        what = "a result" if self.after else "an argument"
        self.tracer.fail(
            f"the value of {what} is not known while the function is traced: write np.where(...) "
            "instead of if, and, or, not"
        )

    def _number(self) -> NoReturn:
        self.tracer.fail(
            "an argument's value is not known while the function is traced: use NumPy's functions "
            "instead of math's, float() and int()"
        )

    __float__ = __int__ = __index__ = __complex__ = _number
    __hash__ = None  # type: ignore[assignment]


class Traced(np.lib.mixins.NDArrayOperatorsMixin):
    """An element of an array: a node, and NumPy's dtype of it."""

    def __init__(self, tracer: "Tracer", node: int, dtype: Any, argument: str = "") -> None:
        self.tracer, self.node, self.dtype, self.argument = tracer, node, np.dtype(dtype), argument

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        return self.tracer.ufunc(ufunc, method, inputs, kwargs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return self.tracer.function(function, args, kwargs)

    def __bool__(self) -> bool:
        self.tracer.fail(
            "an array has no single truth value: write np.where(condition, a, b) instead of if, "
            "and & | ~ instead of and, or, not"
        )

    def _number(self) -> NoReturn:
        self.tracer.fail("an array is no number: use NumPy's functions instead of math's")

    def _whole(self, *args: Any) -> NoReturn:
        self.tracer.fail(
            "elements are computed one by one: no index, shape or order of an array can be used; "
            "cut and reshape arrays before the call"
        )

    __float__ = __int__ = __index__ = __complex__ = _number
    __getitem__ = __setitem__ = __iter__ = __len__ = _whole
    __hash__ = None  # type: ignore[assignment]
    shape = ndim = T = strides = property(_whole)
    reshape = ravel = flatten = transpose = cumsum = sort = _whole

    @property
    def size(self) -> Host:
        """The number of elements."""
        return Host(self.tracer, lambda arguments, results, n: n, 1)

    def astype(self, dtype: Any, **kwargs: Any) -> "Traced":
        """The value converted as NumPy does."""
        return self.tracer.converted(self, np.dtype(dtype))

    def copy(self) -> "Traced":
        """The same value."""
        return Traced(self.tracer, self.node, self.dtype)

    def clip(self, min: Any = None, max: Any = None) -> Any:
        """The value between two others."""
        return self.tracer.clip(self, min, max)

    def sum(self, axis: Any = None, dtype: Any = None) -> Host:
        """The sum of all elements."""
        return self.tracer.reduced("sum", self, axis, dtype)

    def mean(self, axis: Any = None) -> Any:
        """The mean of all elements."""
        return self.tracer.mean(self, axis)

    def min(self, axis: Any = None) -> Host:
        """The smallest element."""
        return self.tracer.reduced("min", self, axis)

    def max(self, axis: Any = None) -> Host:
        """The largest element."""
        return self.tracer.reduced("max", self, axis)

    def argmin(self, axis: Any = None) -> Host:
        """The number of the first smallest element."""
        return self.tracer.reduced("argmin", self, axis)

    def argmax(self, axis: Any = None) -> Host:
        """The number of the first largest element."""
        return self.tracer.reduced("argmax", self, axis)

    def any(self, axis: Any = None) -> Any:
        """Whether any element is not 0."""
        return self.tracer.reduced("max", self.tracer.converted(self, np.dtype(bool)), axis)

    def all(self, axis: Any = None) -> Any:
        """Whether no element is 0."""
        return self.tracer.reduced("min", self.tracer.converted(self, np.dtype(bool)), axis)

    def dot(self, other: Any) -> Any:
        """The sum of products."""
        return self.tracer.dot(self, other)


class Tracer:
    """Makes the graph of one call with values of certain types."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.graph = Graph()
        self.code = Code(self.graph)
        self.arguments: List[Argument] = []
        self.makes: List[Callable[..., Any]] = []
        self.reductions: List[Reduction] = []
        self._scalars: Dict[Tuple[int, str], Tuple[Host, int]] = {}

    def fail(self, message: str) -> NoReturn:
        """An error at the line that is traced."""
        raise VectorError(self.name, message, where=source_line())

    # --- arguments -----------------------------------------------------------------------------

    def argument(self, name: str, dtype: str, array: bool, make: Callable[..., Any]) -> int:
        """The node of a new argument of the graph; dtype "bool" is stored as uint8."""
        stored = "uint8" if dtype == "bool" else dtype
        if not array and stored not in ("float32", "uint32"):
            stored = "float32" if stored == "float16" else "int32"
        number = len(self.arguments)
        self.arguments.append(Argument(name, stored, array))
        self.makes.append(make)
        kind = "u" if stored == "uint8" else KINDS[stored]
        node = self.graph.add("load" if array else "scalar", kind, data=number)
        if dtype == "bool":
            return self.code.ne(self.code.cast(node, "i"), self.code.i(0))
        return self.code.cast(node, KINDS[dtype])

    def node(self, value: Any, dtype: np.dtype) -> int:
        """A value as a node of a dtype."""
        if isinstance(value, Traced):
            return self.converted(value, dtype).node
        if isinstance(value, Host):
            return self._scalar(value, dtype)
        return self._constant(value, dtype)

    def _constant(self, value: Any, dtype: np.dtype) -> int:
        with np.errstate(over="ignore"):
            exact = np.asarray(value).astype(dtype)
        kind = KINDS[dtype.name]
        if kind == "m":
            return self.code.eq(self.code.i(int(bool(exact))), self.code.i(1))
        if kind == "f":
            return self.code.f(float(exact))
        return self.code.i(int(exact), kind)

    def _scalar(self, value: Host, dtype: np.dtype) -> int:
        """A number that Python computes, as an argument of the graph."""
        if value.after:
            self.fail(
                "a number from all elements cannot go into another array in the same pass: return "
                "it, and pass it to a second function"
            )
        found = self._scalars.get((id(value), dtype.name))
        if found is None:
            node = self.argument(f"scalar of {dtype}", dtype.name, False, _number(value, dtype))
            found = self._scalars[id(value), dtype.name] = value, node
        return found[1]

    # --- conversion ----------------------------------------------------------------------------

    def converted(self, value: Traced, dtype: np.dtype) -> Traced:
        """A value of another type, as ``astype`` has it."""
        name, was = dtype.name, value.dtype.name
        if name not in KINDS:
            self.fail(
                f"there is no {name} on the QPUs: use float32, int32 or uint32 (.astype(np."
                f"{'float32' if dtype.kind == 'f' else 'int32'}))"
            )
        if name == was:
            return value
        code, node = self.code, value.node
        kind, old = KINDS[name], KINDS[was]
        if old == "m":
            node = code.select(node, code.i(1), code.i(0))
            old = "i"
        if kind == "m":
            zero = code.f(0.0) if old == "f" else code.i(0, old)
            node = code.ne(node, zero)
        elif kind == "f" and old != "f":
            node = self.graph.add("itof", "f", node)
        elif kind == "u" and old == "f":
            node = self.graph.add("ftou", "u", node)
        elif kind == "i" and old == "f":
            node = self._wrapped(code.ftoi(node), name)
        elif kind in ("i", "u"):
            node = code.cast(node, kind)
            if _width(name) < 32 and not (was == "uint8" and name == "int16"):
                node = self._wrapped(node, name)
        return Traced(self, node, dtype)

    def _wrapped(self, node: int, dtype: str) -> int:
        """An int32 register wrapped at the width of a smaller type."""
        code = self.code
        if dtype == "uint8":
            return code.op("and", node, code.i(255))
        if dtype == "int16":
            return code.asr(code.shl(node, code.i(16)), code.i(16))
        return node

    # --- what NumPy calls ----------------------------------------------------------------------

    def ufunc(self, ufunc: Any, method: str, inputs: Sequence[Any], kwargs: Dict[str, Any]) -> Any:
        """What a ufunc is called with here."""
        from .numpy_ops import REDUCTIONS, apply

        out = kwargs.pop("out", None)
        where = kwargs.pop("where", True)
        if method == "reduce" and ufunc.__name__ in REDUCTIONS:
            kwargs.pop("initial", None), kwargs.pop("keepdims", None)
            how = REDUCTIONS[ufunc.__name__]
            axis = kwargs.pop("axis", None)
            if axis not in (0, None):
                kwargs["axis"] = axis
            return getattr(inputs[0], how)(**kwargs)
        if method != "__call__":
            self.fail(f"np.{ufunc.__name__}.{method} works on whole arrays, not on elements")
        if where is not True:
            self.fail("where= leaves elements undefined: write np.where(condition, a, b)")
        dtype = kwargs.pop("dtype", None)
        if kwargs:
            self.fail(f"np.{ufunc.__name__}: {', '.join(kwargs)}= is not known here")
        for each in inputs:
            if isinstance(each, np.ndarray) and each.ndim:
                self.fail(
                    "an array that is no argument of the function: pass it as one, so that each "
                    "call reads it"
                )
        inputs = [_weak(each) for each in inputs]
        if not any(isinstance(each, Traced) for each in inputs):
            made: Any = self._on_host(ufunc, inputs)
        else:
            made = apply(self, ufunc, inputs)
        if dtype is not None:
            made = self.converted(made, np.dtype(dtype))
        if out is None:
            return made
        (target,) = out
        if not isinstance(target, Traced) or target.argument:
            self.fail(
                "this would change an argument: write x = x + 1 instead of x += 1, and pass out= "
                "in the call"
            )
        if not np.can_cast(made.dtype, target.dtype, "same_kind"):
            self.fail(f"{made.dtype} does not go into {target.dtype}: write .astype first")
        target.node = self.converted(made, target.dtype).node
        return target

    def _on_host(self, ufunc: Any, inputs: Sequence[Any]) -> Host:
        samples = [each.sample if isinstance(each, Host) else each for each in inputs]
        after = any(isinstance(each, Host) and each.after for each in inputs)
        with np.errstate(all="ignore"):
            sample = _weak(ufunc(*samples))

        def evaluate(arguments: Any, results: Any, n: int) -> Any:
            values = [
                each.evaluate(arguments, results, n) if isinstance(each, Host) else each
                for each in inputs
            ]
            return _weak(ufunc(*values))

        return Host(self, evaluate, sample, after)

    def function(self, function: Any, args: Any, kwargs: Any) -> Any:
        """What a NumPy function that is no ufunc is called with here."""
        from .numpy_ops import FUNCTIONS

        found = FUNCTIONS.get(function.__name__)
        if found is None:
            self.fail(f"np.{function.__name__} does not compute element by element")
        try:
            return found(self, *args, **kwargs)
        except TypeError as error:
            self.fail(f"np.{function.__name__}: {error}")

    def clip(self, value: Any, low: Any, high: Any) -> Any:
        """np.clip."""
        if low is not None:
            value = np.maximum(value, low)
        return value if high is None else np.minimum(value, high)

    # --- reductions ----------------------------------------------------------------------------

    def reduced(self, how: str, value: Any, axis: Any = None, dtype: Any = None) -> Host:
        """A number from all elements."""
        if axis is not None:
            self.fail("reductions are over all elements: axis= is not known here")
        name = value.dtype.name
        if how == "sum":
            if name == "bool" and dtype is None:
                value, returned = self.converted(value, np.dtype(np.int32)), np.dtype(np.intp)
            else:
                if dtype is None and KINDS[name] != "f":
                    self.fail(
                        f"NumPy sums {name} in 64 bits, which QPUs lack: write "
                        ".sum(dtype=np.int32), which wraps, or .astype(np.float32).sum()"
                    )
                returned = np.dtype(dtype or value.dtype)
                wanted = np.dtype(np.float32) if returned.name == "float16" else returned
                if wanted.name not in ("float32", "int32", "uint32"):
                    self.fail(f"sums are float32, int32 or uint32, not {wanted}")
                value = self.converted(value, wanted)
        else:
            returned = np.dtype(np.intp) if how.startswith("arg") else value.dtype
            if name == "bool":
                value = self.converted(value, np.dtype(np.int32))
        kind = KINDS[value.dtype.name]
        stored = {"f": "float32", "i": "int32", "u": "uint32"}[kind]
        place = len(self.reductions)
        self.reductions.append(Reduction(how, value.node, stored))

        def evaluate(arguments: Any, results: Any, n: int) -> Any:
            return returned.type(results[place])

        return Host(self, evaluate, returned.type(1), True)

    def mean(self, value: Any, axis: Any = None) -> Any:
        """The mean of all elements, float32 of floats and float64 of integers."""
        if KINDS[value.dtype.name] != "f":
            self.fail(f"the mean of {value.dtype} is one of 64 bits: write .astype(np.float32)")
        total = self.reduced("sum", value, axis)
        kind = value.dtype.type

        def evaluate(arguments: Any, results: Any, n: int) -> Any:
            return kind(total.evaluate(arguments, results, n) / kind(n))

        return Host(self, evaluate, kind(1), True)

    def dot(self, a: Any, b: Any) -> Any:
        """The sum of products of two arrays."""
        products = a * b
        if KINDS[products.dtype.name] == "f":
            return self.reduced("sum", products)
        return self.reduced("sum", self.converted(products, products.dtype), None, products.dtype)


def _width(name: str) -> int:
    return {"uint8": 8, "int16": 16}.get(name, 32)


def _weak(value: Any) -> Any:
    """Numbers of float64, int64 and bool as Python's."""
    if isinstance(value, (np.float64, np.int64, np.bool_)):
        return value.item()
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _weak(value[()])
    return value


def _number(value: Host, dtype: np.dtype) -> Callable[[Sequence[Any]], Any]:
    """Makes an argument of the graph from the arguments of a call."""
    from .calls import as_float, number_of

    evaluate = value.evaluate
    convert: Callable[[Any], Any]
    plain: type
    if dtype.kind == "f":
        plain, low, high, convert = float, -1e38, 1e38, as_float
    elif dtype.kind == "b":
        plain, low, high = int, 0, 1

        def convert(number: Any) -> int:
            return int(bool(number))

    else:
        info = np.iinfo(dtype)
        plain, low, high = int, info.min, info.max

        def convert(number: Any) -> int:
            found = int(number)
            if not low <= found <= high:
                what = f"the number {brief(found)} does not fit {dtype}"
                raise VectorError(value.tracer.name, what)
            return found

    if value.place is not None:
        return number_of(value.place, low, high, plain, convert)
    return lambda arguments: convert(evaluate(arguments, (), 0))
