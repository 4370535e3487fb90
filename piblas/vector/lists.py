"""``piblas.vector.Function``: a list of operations as a function of arrays."""

from __future__ import annotations

import operator
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from ..errors import VectorError, brief
from .calls import Callable, Compiled, Operand, Value, as_float, as_int, as_uint, number_of
from .graph import STORAGE
from .ops import Variable
from .parse import Builder, Slot, parsed, slots_of

__all__ = ["Function"]

_LARGE = 1e38
_NUMBERS = {
    "float": "float32", "float32": "float32", "float16": "float32", "int": "int32",
    "bigint": "uint32", "bool": "int32", "int32": "int32", "uint32": "uint32", "int16": "int32",
    "uint8": "int32", "int8": "int32", "uint16": "int32", "int64": "int32", "uint64": "uint32",
}  # fmt: skip
"""The type of a number of each type as a value."""


class Function(Callable):
    """A function made of a list of operations, as in PiMD.

    ``ops`` is a list of ops (:mod:`piblas.vector.ops` has them all): constants of this package or
    their names, with operands in tuples or calls::

        saxpy = Function([VLOAD, SFMUL, VFADD, STORE])
        z = saxpy(x, 2.0, y)                 # a * x + y of float32 arrays
        saxpy(x, 2.0, y, out=z)
        saxpy(x, 2.0, y, z)                  # as in PiMD, with the array to store in its turn
        Function([VLOAD, SAVE0, REPEAT(10), (FMUL, VAR_0), (FADD, 1.0), END, STORE])

    Arguments are those of the ops in their order: numbers for S ops, arrays for V ops, all arrays
    of one shape, in ordinary or device memory, with any strides; a number may be in an array's
    place.  Types: float32, int32, uint32; float16, int16, uint8 are widened when they are loaded.
    ``precise``: quotients, roots, powers and logarithms are within 2 ulp
    (:data:`piblas.vector.functions.ERRORS`).

    ``f(*args, out=None)`` returns an array for each STORE (float32, int32, uint32 as the value is,
    bool of a comparison) and a number for each reduction: one alone, or a tuple in their order.
    ``out``, an array or several, is what STOREs write to, and may be float16, int16 or uint8, which
    numbers are rounded or wrapped to; it may be an argument itself but not overlap one otherwise.

    What is wrong with the list raises VectorError when the function is made, what is wrong with
    arguments when it is called, naming op and position, before any array is touched.
    """

    def __init__(self, ops: Sequence[Any], precise: bool = False, name: str = "Function") -> None:
        super().__init__(name, precise)
        if isinstance(ops, str) or not hasattr(ops, "__iter__"):
            raise VectorError(name, f"wants a list of ops, not {brief(ops)}")
        self._steps = parsed(name, list(ops))
        self._slots = slots_of(self._steps)
        self._stores = [i for i, slot in enumerate(self._slots) if slot.kind == "store"]
        self._inputs = [i for i, slot in enumerate(self._slots) if slot.kind != "store"]
        self.expected = len(self._inputs)
        Builder(name, self._steps).build()

    def __repr__(self) -> str:
        texts = [step.text for step in self._steps]
        shown = ", ".join(texts if len(texts) <= 12 else [*texts[:6], "...", *texts[-5:]])
        return f"{self.__name__}([{shown}])"

    def arranged(self, args: Tuple[Any, ...], out: Any) -> Tuple[Tuple[Any, ...], Tuple[Any, ...]]:
        outs: Tuple[Any, ...]
        if len(args) == len(self._slots) and self._stores:
            if out is not None:
                self.fail("the arrays to store in are among the arguments, and in out, too")
            outs = tuple(args[i] for i in self._stores)
            args = tuple(args[i] for i in self._inputs)
        elif len(args) != len(self._inputs):
            self._wrong_number(len(args))
        else:
            outs = tuple(out) if isinstance(out, (tuple, list)) else (out,)
            if len(outs) != len(self._stores):
                self.fail(f"out is {len(outs)} arrays, and {len(self._stores)} are stored")
        for number, each in zip(self._stores, outs):
            if not isinstance(each, np.ndarray):
                step = self._slots[number].step
                raise VectorError(
                    self.__name__, f"wants an array to store in, not {brief(each)}",
                    position=step.position, op=step.text,
                )  # fmt: skip
        return args, outs

    def _wrong_number(self, given: int) -> None:
        wanted = [
            f"{slot.kind} of op {slot.step.position} {slot.step.text}"
            for slot in (self._slots[i] for i in self._inputs)
        ]
        if len(wanted) > 8:
            wanted[7:] = [f"... {len(wanted)} in all"]
        shown = ", ".join(wanted)
        more = f", or {len(self._slots)} with those to store in" if self._stores else ""
        self.fail(f"wants {len(self._inputs)} arguments{more}, not {given}: {shown}")

    def _slot(self, number: int) -> Slot:
        return self._slots[self._inputs[number]]

    def place(self, number: int) -> str:
        step = self._slot(number).step
        return f"argument {number} of op {step.position} {step.text}"

    def _refuse(self, number: int, message: str) -> None:
        step = self._slot(number).step
        raise VectorError(self.__name__, message, position=step.position, op=step.text)

    def other_value(self, number: int, given: Any) -> Value:
        if isinstance(given, Variable):
            return Value("variable", "", given)
        if self._slot(number).kind == "variable":
            self._refuse(number, f"wants a variable, such as VAR_0, not {brief(given)}")
        self._refuse(number, f"wants an array or a number, not {brief(given)}")
        raise AssertionError

    def _value(self, number: int, given: Any) -> Value:
        if isinstance(given, Variable):
            given = Value("variable", "", given)
        else:
            given = super()._value(number, given)
        wanted = self._slot(number).kind
        if wanted == "variable" and given.kind != "variable":
            self._refuse(number, f"wants a variable, such as VAR_0, not a {given.kind}")
        if wanted != "variable" and given.kind == "variable":
            self._refuse(number, f"wants {wanted}, not {given.variable!r}")
        if wanted == "scalar" and given.kind == "array":
            self._refuse(number, "wants a number, not an array: its name with V takes an array")
        if given.kind == "array" and given.dtype not in STORAGE:
            fits = ", ".join(STORAGE)
            self._refuse(
                number, f"argument {number} is an array of {given.dtype}: wants one of {fits}; "
                "convert it with .astype"
            )  # fmt: skip
        if given.kind == "number" and given.dtype not in _NUMBERS:
            self._refuse(number, f"argument {number} is a number of {given.dtype}")
        return given

    def compiled(self, values: Tuple[Value, ...], outs: Tuple[str, ...]) -> Compiled:
        types: List[Any] = [None] * len(self._slots)
        for slot, value in zip(self._inputs, values):
            if value.kind == "variable":
                types[slot] = value.variable
            elif value.kind == "number":
                types[slot] = (_NUMBERS[value.dtype], "number")
            else:
                types[slot] = (value.dtype, "array")
        for slot, dtype in zip(self._stores, outs):
            types[slot] = dtype
        built = Builder(self.__name__, self._steps, types).build()
        places: Dict[int, int] = {slot: place for place, slot in enumerate(self._inputs)}
        operands = tuple(
            Operand(argument, _maker(places[each.slot], each.dtype, each.array))
            for argument, each in zip(built.graph.arguments, built.inputs)
        )
        return Compiled(built.graph, operands, built.dtypes)

    def usual(self) -> Tuple[Value, ...]:
        found = []
        for i in self._inputs:
            slot = self._slots[i]
            takes = slot.step.row.takes
            if slot.kind == "variable":
                self.fail("why wants the arguments: which variables it takes decides")
            kind = "int" if takes in ("int", "bits") else "float"
            if slot.kind == "scalar":
                found.append(Value("number", kind))
            else:
                found.append(Value("array", "int32" if kind == "int" else "float32"))
        return tuple(found)


def _maker(place: int, dtype: str, array: bool) -> Any:
    if array:
        return operator.itemgetter(place)
    if dtype == "float32":
        return number_of(place, -_LARGE, _LARGE, float, as_float)
    info = np.iinfo(dtype)
    return number_of(place, info.min, info.max, int, as_int if dtype == "int32" else as_uint)
