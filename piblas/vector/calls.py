"""A call of a vector function: what it depends on is worked out once, and kept as a job.

Arguments become a flat list, the arrays that results go to last.  What a call depends on besides
values and addresses (:func:`key_of`) finds the job; without one, :class:`Callable` asks the front
end for the graph of these types (:meth:`Callable.compiled`), has dispatch choose, and makes one.
The rest is the way of every routine (:mod:`piblas.blas.call`): lock, launch, count, fall back.
"""

from __future__ import annotations

import itertools
import math
import operator
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple
from typing import Callable as Function

import numpy as np

from ..blas import call
from ..dispatch import devices
from ..dispatch.choose import Choice, decide
from ..dispatch.devices import State
from ..dispatch.why import aimed
from ..errors import VectorError, brief
from ..host.arrays import DeviceArray, Memory
from ..host.numbers import BEYOND
from ..host.runner import Runner
from ..kernels.parts import QPUS
from . import on_cpu
from .costs import costs
from .functions import expand
from .graph import Argument, Graph, Store
from . import lower
from .lower import TooManyValues
from .parse import is_number
from .run import Job as Launches
from .run import is_resident

__all__ = ["Callable", "Compiled", "Operand", "Value", "key_of"]

NO_ELEMENTS = "no elements"
TOO_MANY = "a vector function keeps more values at a time than the QPUs have room for"
KERNEL = "vector"

_numbers = itertools.count()
_ARRAYS = (np.ndarray, DeviceArray)
_TYPED = frozenset((
    float, np.float32, np.float64, np.float16, np.int32, np.uint32, np.int16, np.uint8, np.bool_,
))  # fmt: skip
"""Types of numbers whose value does not decide the types of a function."""


def key_of(first: Tuple[Any, ...], values: Sequence[Any]) -> Optional[Tuple[Any, ...]]:
    """What a job depends on; None where an argument is looked at anew in each call."""
    key = first
    for value in values:
        kind = type(value)
        if kind in _ARRAYS:
            base, home = value.base, 0
            while type(base) in _ARRAYS:
                base = base.base
            if type(base) is Memory:
                home = base.device_key
            elif base is not None and isinstance(base, np.ndarray):
                return None
            dtype = value.dtype
            if not dtype.isnative:
                return None
            key += (value.shape, dtype, value.flags.num, home)
        elif kind in _TYPED:
            key += (kind,)
        elif kind is int:
            key += (kind, -0x80000000 <= value < 0x80000000)
        else:
            return None
    return key


class Operand(NamedTuple):
    """An argument of the graph: how its value is made from the arguments of a call (a sequence)."""

    argument: Argument
    make: Function[..., Any]


class Value(NamedTuple):
    """What a front end sees of an argument: "array", "number" or "variable"; the dtype's name;
    for a variable itself."""

    kind: str
    dtype: str
    variable: Any = None


class Compiled(NamedTuple):
    """A function for certain types.

    ``source`` is its graph; the value of its argument i is ``operands[i]`` applied to the
    arguments of a call.  ``dtypes`` are those of the results (of a store "bool" for 0 and 1 in
    uint8).  ``on_cpu(arguments, arrays for results, shape)`` computes what is returned; None: by
    the graph.  ``finish(results, arguments, n)`` makes what is returned of all results.
    """

    source: Graph
    operands: Tuple[Operand, ...]
    dtypes: Tuple[str, ...]
    on_cpu: Optional[Function[..., Any]] = None
    finish: Optional[Function[..., Any]] = None


class _Program(NamedTuple):
    """A compiled function's programs, and its arguments' places among the operands."""

    lowered: lower.Function
    kept: List[int]


class _Job(call.Job):
    """A job with how the CPU computes the call."""

    __slots__ = ("on_cpu",)
    on_cpu: Any


class _Row(NamedTuple):
    name: str


class Callable:
    """The base of vector functions: calls them, predicts them."""

    def __init__(self, name: str, precise: bool) -> None:
        self.__name__ = name
        self.precise = bool(precise)
        self._row: Any = _Row(name)
        self._number = next(_numbers)
        self._compiled: Dict[Any, Compiled] = {}
        self._programs: Dict[Any, _Program] = {}
        self._last: Optional[Tuple[Any, ...]] = None

    # --- what front ends say -------------------------------------------------------------------

    def arranged(self, args: Tuple[Any, ...], out: Any) -> Tuple[Tuple[Any, ...], Tuple[Any, ...]]:
        """(arguments, arrays for results) of a call."""
        raise NotImplementedError

    def compiled(self, values: Tuple[Value, ...], outs: Tuple[str, ...]) -> Compiled:
        """The function for arguments of these types, and results that go to such arrays."""
        raise NotImplementedError

    def place(self, number: int) -> str:
        """How errors name an argument."""
        raise NotImplementedError

    def fail(self, message: str) -> NoReturn:
        """An error in a call."""
        raise VectorError(self.__name__, message)

    # --- calls ---------------------------------------------------------------------------------

    def __call__(self, *args: Any, out: Any = None) -> Any:
        outs: Tuple[Any, ...] = ()
        given = args
        if type(out) in _ARRAYS and self.expected in (-1, len(args)):
            outs = (out,)
        elif out is not None or (self.expected >= 0 and len(args) != self.expected):
            given, outs = self.arranged(args, out)
        if outs:
            _check_overlap(self, given, outs)
        state = devices.now()
        if outs:
            values = given + outs
            key = key_of((self._number, len(outs)), values)
        else:
            values, key = given, key_of((self._number, 0), given)
        job = None
        if key is not None and state.jobs is not None:
            job = state.jobs.get(key)
        if job is None:
            given = tuple(_plain(each) for each in given)
            values = given + outs
            job = self._job(state, given, outs)
            if key is not None and state.jobs is not None:
                if len(state.jobs) >= call.KEPT_JOBS:
                    state.jobs.clear()
                state.jobs[key] = job
        return call.run(state, self._row, values, {}, None, job.on_cpu, job=job)

    expected = -1
    """How many positional arguments there are where no array for results is among them; -1: any
    number, and none is."""

    def _job(self, state: State, given: Tuple[Any, ...], outs: Tuple[Any, ...]) -> Any:
        values = tuple(self._value(number, each) for number, each in enumerate(given))
        shape = self._shape(given, values, outs)
        n = math.prod(shape)
        names = tuple(each.dtype.name for each in outs)
        kept = self._compile(values, names)
        for number, each in enumerate(outs):
            if each.shape != shape:
                self.fail(
                    f"the array for result {number} has the shape {each.shape}, the arguments "
                    f"{shape}"
                )
            if not each.flags.writeable or not each.dtype.isnative:
                what = "read-only" if each.dtype.isnative else "of another byte order"
                self.fail(f"the array for result {number} is {what}")
        stores = sum(isinstance(each, Store) for each in kept.source.results)
        if outs and len(outs) != stores:
            self.fail(f"out is {len(outs)} arrays, and {stores} are stored")
        if n == 0 and any(getattr(each, "how", "sum") != "sum" for each in kept.source.results):
            self.fail("the extreme of no elements")
        resident = self._resident(state, given, values, outs)
        self._last = values
        program = None
        bar = "" if n else NO_ELEMENTS
        if not bar and (state.target.backend != "cpu" and not state.target.missing):
            program, bar = self._program(kept, state, n, values, names)
        parts = costs(kept.source, program and program.lowered, n, resident, state.board)
        chosen = decide(parts, state.target, state.board, KERNEL, bar)
        cpu = _OnCpu(self, kept, shape, len(given))
        if chosen.backend == "cpu" or program is None:
            job = _Job(chosen.reason)
        else:
            device = _OnDevice(self, kept, program, shape, state, given, outs, resident)
            job = _Job(
                chosen.reason, chosen.backend, device, range(len(given) + len(outs))
            )
        job.on_cpu = cpu
        return job.counted_as(self.__name__)

    def _compile(self, values: Tuple[Value, ...], outs: Tuple[str, ...]) -> Compiled:
        found = self._compiled.get((values, outs))
        if found is None:
            found = self._compiled[values, outs] = self.compiled(values, outs)
        return found

    def _program(
        self, kept: Compiled, state: State, n: int, *key: Any
    ) -> Tuple[Optional[_Program], str]:
        """The programs, with that for n elements assembled; or why there is none."""
        n_qpus = state.device.n_qpus
        key = n_qpus, *key
        found = self._programs.get(key)
        if found is None:
            found = self._programs[key] = self._lowered(kept, n_qpus)
        try:
            found.lowered.program(n).words()
        except TooManyValues:
            if state.target.demanded:
                raise
            return None, TOO_MANY
        return found, ""

    def _lowered(self, kept: Compiled, n_qpus: int) -> _Program:
        graph, places = expand(kept.source, self.precise)
        return _Program(lower.Function(graph, n_qpus), places)

    def _resident(self, state: State, given: Any, values: Any, outs: Any) -> bool:
        if state.device is None:
            return False
        taken = [each for each, value in zip(given, values) if value.kind == "array"]
        return all(is_resident(each, state.device) for each in (*taken, *outs))

    def _value(self, number: int, given: Any) -> Value:
        """The type of an argument."""
        if isinstance(given, np.ndarray) and given.ndim:
            if isinstance(given, np.ma.MaskedArray):
                self.fail(f"{self.place(number)} is a masked array, whose mask would be lost")
            return Value("array", given.dtype.name)
        if is_number(given):
            return Value("number", _number_type(given))
        return self.other_value(number, given)

    def other_value(self, number: int, given: Any) -> Value:
        """The type of an argument that is neither array nor number."""
        self.fail(f"{self.place(number)} is {brief(given)}: wants an array or a number")

    def _shape(
        self, given: Sequence[Any], values: Sequence[Value], outs: Sequence[Any]
    ) -> Tuple[int, ...]:
        shape: Optional[Tuple[int, ...]] = None
        first = 0
        for number, (each, value) in enumerate(zip(given, values)):
            if value.kind != "array":
                continue
            if shape is None:
                shape, first = each.shape, number
            elif each.shape != shape:
                self.fail(
                    f"arguments differ in shape: {self.place(first)} has {shape}, "
                    f"{self.place(number)} {each.shape}"
                )
        if shape is None:
            shape = outs[0].shape if outs else ()
        return shape

    # --- predictions ---------------------------------------------------------------------------

    def why(
        self,
        *args: Any,
        n: Optional[int] = None,
        device: Optional[str] = None,
        board: Optional[str] = None,
        resident: bool = False,
    ) -> Choice:
        """What dispatch would decide for a call with these arguments, or with ``n`` elements of the
        types of the last call (or of those that the function wants), and the predicted times
        (:func:`piblas.why`)."""
        target, figures = aimed(device, board)
        if args:
            given = tuple(_plain(each) for each in args)
            values = tuple(self._value(number, each) for number, each in enumerate(given))
            length = math.prod(self._shape(given, values, ()))
            kept = self._compile(values, ())
        else:
            kept = self._compile(*self._assumed())
            length = 1
        try:
            length = length if n is None else operator.index(n)
        except TypeError:
            length = -1
        if length < 0 or (n is None and not args):
            self.fail(f"why wants the arguments, or a number of elements n=; n = {brief(n)}")
        program = self._lowered(kept, QPUS)
        parts = costs(kept.source, program.lowered, length, resident, figures)
        return decide(parts, target, figures, KERNEL, "" if length else NO_ELEMENTS)

    def _assumed(self) -> Tuple[Tuple[Value, ...], Tuple[str, ...]]:
        """Types of arguments for a prediction without any."""
        if self._last is not None:
            return self._last, ()
        return self.usual(), ()

    def usual(self) -> Tuple[Value, ...]:
        """The types that arguments usually have."""
        raise NotImplementedError


def _plain(given: Any) -> Any:
    """An argument as a plain array or a number, if it is a list of such, or of another class."""
    if isinstance(given, np.ndarray):
        if not given.dtype.isnative:
            return given.astype(given.dtype.newbyteorder("="))
        known = type(given) in _ARRAYS or isinstance(given, np.ma.MaskedArray)
        return given if known else np.asarray(given)
    if isinstance(given, (list, tuple)) or (
        hasattr(given, "__array__") and not is_number(given)
    ):
        return np.asarray(given)
    return given


def _number_type(given: Any) -> str:
    """The dtype's name of a number: Python's are "int" and "float", as those of float64 are."""
    kind = type(given)
    if kind is int:
        return "int" if -(1 << 31) <= given < 1 << 31 else "bigint"
    if kind is float or kind is np.float64:
        return "float"
    if kind is bool:
        return "bool"
    dtype = getattr(given, "dtype", None)
    if dtype is not None:
        return "float" if dtype == np.float64 else str(dtype.name)
    return "float"


def number_of(place: int, low: float, high: float, plain: type, convert: Any) -> Any:
    """Makes the number at a place among a call's arguments: Python's own within bounds stay as they
    are, others are converted."""

    def number(values: Sequence[Any]) -> Any:
        value = values[place]
        kind: Any = type(value)
        if kind is plain and low <= value <= high:
            return value
        return convert(value)

    return number


def as_float(value: Any) -> float:
    """A number that float32 may hold; too large ones are infinite."""
    number = float(value)
    if -BEYOND < number < BEYOND or number != number:
        return number
    return math.copysign(math.inf, number)


def as_int(value: Any) -> int:
    """The low 32 bits of an integer, signed."""
    return ((int(value) + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def as_uint(value: Any) -> int:
    """The low 32 bits of an integer, unsigned."""
    return int(value) & 0xFFFFFFFF


def _same_memory(a: np.ndarray, b: np.ndarray) -> bool:
    return (
        a.__array_interface__["data"][0] == b.__array_interface__["data"][0]
        and a.shape == b.shape
        and a.strides == b.strides
        and a.dtype.itemsize == b.dtype.itemsize
    )


def _check_overlap(function: Callable, given: Sequence[Any], outs: Sequence[Any]) -> None:
    """Refuse a result's array that shares elements with another array, but for an argument that is
    the very same elements."""
    before: List[Any] = []
    for out in outs:
        first = out.__array_interface__["data"][0]
        last = first + out.nbytes if out.flags.c_contiguous else -1
        for each in (*given, *before):
            kind = type(each)
            if kind is float or kind is int:
                continue
            if kind not in _ARRAYS and not isinstance(each, np.ndarray):
                continue
            if last >= 0 and each.flags.c_contiguous:
                start = each.__array_interface__["data"][0]
                if start >= last or first >= start + each.nbytes:
                    continue
            _refuse_overlap(function, out, each, given, before)
        before += [out]


def _refuse_overlap(
    function: Callable, out: np.ndarray, each: Any, given: Sequence[Any], before: Sequence[Any]
) -> None:
    """An error if two arrays share elements; an argument may be the result itself."""
    if not np.shares_memory(out, each):
        return
    if any(each is other for other in before):
        function.fail("two of the arrays for results overlap")
    if not _same_memory(out, each):
        place = next(i for i, other in enumerate(given) if other is each)
        function.fail(f"the array for result {len(before)} overlaps {function.place(place)}")


class _OnCpu:
    """A call computed by NumPy; called with the arguments, then the arrays for results."""

    def __init__(
        self, function: Callable, kept: Compiled, shape: Tuple[int, ...], count: int
    ) -> None:
        self.function, self.kept, self.shape, self.count = function, kept, shape, count

    def __call__(self, *values: Any) -> Any:
        kept, shape = self.kept, self.shape
        given, outs = values[: self.count], iter(values[self.count :])
        if kept.on_cpu is not None:
            return kept.on_cpu(given, list(outs), shape)
        n = math.prod(shape)
        operands = [
            np.ravel(each.make(given)) if each.argument.array else each.make(given)
            for each in kept.operands
        ]
        found = on_cpu.run(kept.source, operands, n)
        results: List[Any] = []
        for each, dtype, made in zip(kept.source.results, kept.dtypes, found):
            if isinstance(each, Store):
                array = np.reshape(made, shape).astype(dtype, copy=False)
                out = next(outs, None)
                if out is not None:
                    out[...] = array
                    array = out
                results.append(array if shape else array[()])
            else:
                results.append(made)
        return _finished(kept, results, given, n)


def _finished(kept: Compiled, results: List[Any], given: Sequence[Any], n: int) -> Any:
    if kept.finish is not None:
        return kept.finish(results, given, n)
    return results[0] if len(results) == 1 else tuple(results)


class _OnDevice:
    """A call on a device: ``(runner, values) -> (result, reports)``."""

    def __init__(
        self,
        function: Callable,
        kept: Compiled,
        program: _Program,
        shape: Tuple[int, ...],
        state: State,
        given: Sequence[Any],
        outs: Sequence[Any],
        resident: bool,
    ) -> None:
        self.kept, self.shape, self.count, self.n = kept, shape, len(given), math.prod(shape)
        self.makes = [kept.operands[place].make for place in program.kept]
        self.given_outs = len(outs)
        graph = program.lowered.graph
        device = state.device
        self.device: Any = device  # the state that keeps the job keeps it, too
        self.stored = []
        for each, dtype in zip(graph.results, kept.dtypes):
            if isinstance(each, Store):
                stored = np.dtype(each.dtype)
                nbytes = max(4, stored.itemsize * self.n)
                self.stored.append((stored, dtype == "bool", nbytes))
        made = [make(given) for make in self.makes]
        there = [
            is_resident(value, device)
            for value, argument in zip(made, graph.arguments)
            if argument.array
        ]
        # What is computed from device memory only stays there.
        self.fresh_there = bool(there) and all(there) and not outs
        self.copied = [False] * len(self.stored)
        if outs:
            for number, out in enumerate(outs):
                lies = is_resident(out, device)
                # In place in device memory: lookups of later elements may be under way.
                self.copied[number] = lies and any(
                    isinstance(each, np.ndarray) and np.may_share_memory(each, out)
                    for each in made
                )
                there.append(lies)
        else:
            there += [self.fresh_there] * len(self.stored)
        self.changed = any(self.copied) or any(boolean for _, boolean, _ in self.stored)
        self.launches = Launches(program.lowered, self.n, there)

    def __call__(self, runner: Runner, values: Sequence[Any]) -> Tuple[Any, Any]:
        taken: List[Any] = []
        for make in self.makes:
            taken += [make(values)]
        outs: List[Any] = []
        for number, (dtype, boolean, nbytes) in enumerate(self.stored):
            if self.given_outs and not self.copied[number]:
                out = values[self.count + number]
                if boolean:
                    out = out.view(np.uint8)
            elif self.given_outs or self.fresh_there:
                memory = Memory(self.device, self.device.alloc(nbytes))
                out = DeviceArray(self.shape, dtype, np.asarray(memory))
            else:
                out = np.empty(self.shape, dtype)
            outs += [out]
        taken += outs
        results, reports = self.launches(runner, taken)
        if self.changed:
            results = self._returned(results, values)
        if not self.shape:
            results = [np.asarray(each)[()] for each in results]
        if self.kept.finish is None:
            return (results[0] if len(results) == 1 else tuple(results)), reports
        return self.kept.finish(results, values, self.n), reports

    def _returned(self, results: Sequence[Any], values: Sequence[Any]) -> List[Any]:
        """The arrays of the caller in place of those that were computed into."""
        made, number = [], 0
        for each, result in zip(self.kept.source.results, results):
            if not isinstance(each, Store):
                made.append(result)
                continue
            boolean = self.stored[number][1]
            if self.given_outs:
                out = values[self.count + number]
                if self.copied[number]:
                    out[...] = result.view(np.bool_) if boolean else result
                result = out
            elif boolean:
                result = result.view(np.bool_)
            made.append(result)
            number += 1
        return made

