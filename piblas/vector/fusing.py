"""``piblas.vector.fuse``: a Python function of arrays as one pass over memory."""

from __future__ import annotations

import functools
import inspect
import operator
from typing import Any, Callable as Function, List, Optional, Sequence, Tuple

import numpy as np

from ..errors import PiblasError, VectorError, brief
from .calls import Callable, Compiled, Operand, Value
from .graph import Store
from .tracing import KINDS, Host, Traced, Tracer

__all__ = ["Fused", "fuse"]

_WEAK = {"float": 1.0, "int": 1, "bigint": 1 << 31, "bool": True, "int64": 1}


def fuse(function: Optional[Function[..., Any]] = None, *, precise: bool = False) -> Any:
    """A Python function of a few arrays and numbers, computed in one pass over memory::

        @piblas.vector.fuse
        def saxpy(a, x, y):
            return a * x + y

        z = saxpy(2.0, x, y)
        saxpy(2.0, x, y, out=z)
        norm = fuse(lambda x: np.sqrt((x * x).sum()))

    It is called once for each combination of types with values that record what is done to them:
    operators, NumPy's ufuncs, ``np.where``, ``np.clip``, comparisons, ``astype``, and as its end
    reductions (``sum mean min max argmin argmax any all``, ``np.dot``) and what is computed from
    their numbers.  It returns a value, or a tuple or list of values.

    Arrays have one shape; they may be plain arrays or device arrays, views with an offset or a
    stride; types bool, uint8, int16, int32, uint32, float16 and float32.  Results have NumPy's
    types; numbers of Python, and those of float64 and int64, are weak.  Arithmetic of float16 is
    float32's, rounded where an array is stored.  Where the CPU computes the call, the function
    itself is called.  What differs on the QPUs: :data:`piblas.vector.functions.DIFFERS`.

    VectorError names the line of the function, and what to write instead.
    """
    if function is None:
        return functools.partial(fuse, precise=precise)
    if not callable(function):
        raise VectorError("fuse", f"wants a function, not {brief(function)}")
    return Fused(function, precise)


class Fused(Callable):
    """What :func:`fuse` returns."""

    def __init__(self, function: Function[..., Any], precise: bool) -> None:
        super().__init__(getattr(function, "__name__", type(function).__name__), precise)
        self.__wrapped__ = function
        self.__doc__ = function.__doc__
        try:
            self._names = list(inspect.signature(function).parameters)
        except (TypeError, ValueError):
            self._names = []

    def __repr__(self) -> str:
        return f"fuse({self.__wrapped__!r})"

    def place(self, number: int) -> str:
        return f"argument {self._names[number] if number < len(self._names) else number}"

    def arranged(self, args: Tuple[Any, ...], out: Any) -> Tuple[Tuple[Any, ...], Tuple[Any, ...]]:
        outs = tuple(out) if isinstance(out, (tuple, list)) else (out,)
        for each in outs:
            if not isinstance(each, np.ndarray):
                self.fail(f"out = {brief(each)}: wants arrays to store in")
        return args, outs

    def usual(self) -> Tuple[Value, ...]:
        self.fail("why wants the arguments of a call, or a call before it")
        raise AssertionError

    def compiled(self, values: Tuple[Value, ...], outs: Tuple[str, ...]) -> Compiled:
        tracer = Tracer(self.__name__)
        given = [self._traced(tracer, number, value) for number, value in enumerate(values)]
        try:
            returned = self.__wrapped__(*given)
        except PiblasError:
            raise
        except (TypeError, ValueError, AttributeError) as error:
            raise VectorError(
                self.__name__, f"{type(error).__name__}: {error}", where=_line_of(error)
            ) from error
        return self._compiled_of(tracer, returned, outs)

    def _traced(self, tracer: Tracer, number: int, value: Value) -> Any:
        name = self.place(number)
        take = operator.itemgetter(number)
        dtype = value.dtype
        if value.kind == "array":
            if dtype not in KINDS:
                wanted = "float32" if dtype.startswith(("float", "complex")) else "int32"
                self.fail(
                    f"{name} is an array of {dtype}: wants one of {', '.join(KINDS)}; pass "
                    f".astype(np.{wanted})"
                )
            make = take if dtype != "bool" else lambda arguments: take(arguments).view(np.uint8)
            return Traced(tracer, tracer.argument(name, dtype, True, make), dtype, name)
        if dtype in _WEAK:

            def evaluate(arguments: Any, results: Any, n: int) -> Any:
                return _python(take(arguments))

            return Host(tracer, evaluate, _WEAK[dtype], place=number)
        if dtype not in KINDS:
            self.fail(f"{name} is a number of {dtype}: wants one of {', '.join(KINDS)}")
        convert = float if KINDS[dtype] == "f" else int
        node = tracer.argument(name, dtype, False, lambda arguments: convert(take(arguments)))
        return Traced(tracer, node, dtype, name)

    def _compiled_of(self, tracer: Tracer, returned: Any, outs: Tuple[str, ...]) -> Compiled:
        several = isinstance(returned, (tuple, list))
        parts: List[Any] = list(returned) if several else [returned]
        stores: List[Store] = []
        dtypes: List[str] = []
        places: List[Any] = []
        for each in parts:
            if isinstance(each, Traced):
                place = len(stores)
                node, dtype = self._stored(tracer, each, outs[place] if place < len(outs) else "")
                stores.append(Store(node, "uint8" if dtype == "bool" else dtype))
                dtypes.append(dtype)
                places.append(place)
            elif isinstance(each, Host) or isinstance(each, (int, float, np.number)):
                places.append(each)
            else:
                raise VectorError(
                    self.__name__, f"returns {brief(each)}: wants arrays and numbers computed from "
                    "the arguments"
                )  # fmt: skip
        if not stores and not tracer.reductions:
            raise VectorError(self.__name__, "returns nothing that is computed from arrays")
        graph = tracer.graph
        graph.arguments = tuple(tracer.arguments)
        graph.results = [*stores, *tracer.reductions]
        dtypes += [each.dtype for each in tracer.reductions]
        count, kind = len(stores), type(returned)

        def finish(results: Sequence[Any], arguments: Sequence[Any], n: int) -> Any:
            made = []
            for each in places:
                if type(each) is int:
                    made.append(results[each])
                elif isinstance(each, Host):
                    with np.errstate(all="ignore"):
                        made.append(each.evaluate(arguments, results[count:], n))
                else:
                    made.append(each)
            return kind(made) if several else made[0]

        operands = tuple(map(Operand, tracer.arguments, tracer.makes))
        simple = not several and count == 1 and not tracer.reductions
        return Compiled(graph, operands, tuple(dtypes), self._on_cpu, None if simple else finish)

    def _stored(self, tracer: Tracer, value: Traced, out: str) -> Tuple[int, str]:
        """The node and the type that are stored: that of the array it goes to, if that may hold
        it."""
        name = value.dtype.name
        if out and out != name:
            if out not in KINDS or not np.can_cast(value.dtype, np.dtype(out), "same_kind"):
                raise VectorError(self.__name__, f"the result is {name}, and out {out}")
            value, name = tracer.converted(value, np.dtype(out)), out
        if name == "bool":
            value = tracer.converted(value, np.dtype(np.uint8))
        return value.node, name

    def _on_cpu(self, given: Sequence[Any], outs: List[Any], shape: Tuple[int, ...]) -> Any:
        """The function itself, on plain arrays."""
        plain = [
            each.view(np.ndarray) if isinstance(each, np.ndarray) and each.ndim else _python(each)
            for each in given
        ]
        returned = self.__wrapped__(*plain)
        several = isinstance(returned, (tuple, list))
        made, stored = [], 0
        for each in returned if several else [returned]:
            if isinstance(each, np.ndarray) and each.shape == shape and shape:
                if outs:
                    np.copyto(outs[stored], each, casting="same_kind")
                    each, stored = outs[stored], stored + 1
                elif any(each is other for other in plain):
                    each = each.copy()
            made.append(each)
        return type(returned)(made) if several else made[0]


def _python(value: Any) -> Any:
    """Numbers of float64 and int64, which are weak, as Python's."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return value.item() if isinstance(value, (np.float64, np.int64, np.bool_)) else value


def _line_of(error: BaseException) -> Optional[str]:
    """ "file:line" of the innermost frame of a traced function that an error came from."""
    from .tracing import _NUMPYS, _OURS

    found, at = None, error.__traceback__
    while at is not None:
        name = at.tb_frame.f_code.co_filename
        if not name.startswith((_OURS, _NUMPYS)):
            found = f"{name}:{at.tb_lineno}"
        at = at.tb_next
    return found
