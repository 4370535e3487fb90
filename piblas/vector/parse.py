"""From a list of operations to a graph.

:func:`parsed` looks up the ops and checks what each is written with.  :class:`Builder` then goes
through them with the current value, the variables, and a stack of what IF and REPEAT have opened,
and adds nodes (their operations may be functions of :mod:`.functions`).  Types of arguments decide
kinds, so there is a graph for each combination of them; when a function is made, one pass with
unknown types (kind ``"?"``) finds what is wrong with it in any case.
"""

from __future__ import annotations

import difflib
import numbers
import operator
from typing import Any, Dict, List, NamedTuple, NoReturn, Optional, Sequence, Tuple

from ..errors import VectorError, brief
from .functions import bits_of
from .graph import STORAGE, Argument, Graph, Loop, Reduction, Store
from .ops import BY_NAME, Row, Variable

__all__ = ["Builder", "Built", "Slot", "Step", "parsed", "slots_of"]

UNKNOWN = "?"
_TYPES = {"f": "float32", "i": "int32", "u": "uint32", "m": "a comparison", UNKNOWN: "unknown"}
_KINDS = {"float": "f", "int": "i", "uint": "u", "mask": "m"}
_STORED = {"f": ("float32", "float16"), "i": ("int32", "uint32", "int16", "uint8")}
_STORED["u"] = _STORED["i"]
_MASKED = ("bool", "uint8", "int16", "int32", "uint32")


class Step(NamedTuple):
    """An entry of the list: its place, row, operands, and the text that errors quote."""

    position: int
    row: Row
    operands: Tuple[Any, ...]

    @property
    def text(self) -> str:
        if not self.operands:
            return self.row.name
        return f"({', '.join([self.row.name, *map(repr, self.operands)])})"


class Slot(NamedTuple):
    """What an argument of the call is for: "scalar", "array", "variable" or "store" of a step."""

    kind: str
    step: Step


def is_number(value: Any) -> bool:
    """Whether it is a real number, of Python or NumPy."""
    return isinstance(value, numbers.Real) or (
        getattr(value, "shape", None) == () and getattr(value, "dtype", "O") != "O"
    )


def _fail(name: str, position: int, op: Any, message: str) -> NoReturn:
    raise VectorError(name, message, position=position, op=op)


def parsed(name: str, ops: Sequence[Any]) -> List[Step]:
    """The steps of a list of operations."""
    steps: List[Step] = []
    for position, entry in enumerate(ops):
        head, *operands = entry if isinstance(entry, (tuple, list)) and entry else (entry,)
        row = BY_NAME.get(head) if isinstance(head, str) else None
        if row is None:
            near = difflib.get_close_matches(str(head).upper(), list(BY_NAME), 3)
            hint = f"; near it: {', '.join(near)}" if near and isinstance(head, str) else ""
            shown = head if isinstance(head, str) else brief(head)
            _fail(name, position, shown, f"there is no such op{hint}")
        step = Step(position, row, tuple(operands))
        _check_operands(name, step)
        steps.append(step)
    return steps


def _check_operands(name: str, step: Step) -> None:
    row, operands = step.row, step.operands
    form = row.takes if row.form in ("if", "reduce") else row.form
    count = len(operands)
    if form == "count":
        if count != 1 or isinstance(operands[0], Variable) or not _is_count(operands[0]):
            _fail(name, step.position, step.text, "wants how often: an integer from 0 on")
    elif form == "select":
        if count != 2:
            _fail(name, step.position, step.text, "wants two operands, as in (SELECT, VAR_0, 0.0)")
    elif form == "variable" or row.name in ("OPEN", "SAVE"):
        if count > 1:
            _fail(name, step.position, step.text, "wants one operand")
        if count and row.name in ("OPEN", "SAVE") and not isinstance(operands[0], Variable):
            _fail(name, step.position, step.text, "wants a variable, such as VAR_0")
    elif count:
        _fail(name, step.position, step.text, "takes no operand in the list")
    for each in operands:
        if not isinstance(each, Variable) and not is_number(each):
            _fail(name, step.position, step.text, f"{each!r} is no variable and no number")


def _is_count(value: Any) -> bool:
    try:
        return 0 <= operator.index(value) < 1 << 31
    except TypeError:
        return False


def slots_of(steps: Sequence[Step]) -> List[Slot]:
    """What the arguments of a call are for, in their order."""
    found = []
    for step in steps:
        row = step.row
        form = row.takes if row.form in ("if", "reduce", "load") else row.form
        if form in ("scalar", "array", "store"):
            found.append(Slot(form, step))
        elif not step.operands and (form == "variable" or row.name in ("OPEN", "SAVE")):
            found.append(Slot("variable", step))
    return found


class Value(NamedTuple):
    """A node of ``graph``; ``loose`` ones are bits that may be taken for a float or an integer."""

    node: int
    kind: str
    graph: Graph
    loose: bool = False


class Input(NamedTuple):
    """An argument of the graph: the slot that it comes from, and its type."""

    slot: int
    dtype: str
    array: bool


class Built(NamedTuple):
    """A graph for certain types, its arguments' sources, and the types of its results (of a store
    "bool" where the graph stores 0 and 1 as uint8)."""

    graph: Graph
    inputs: Tuple[Input, ...]
    dtypes: Tuple[str, ...]


class _Frame:
    """What an IF or REPEAT has opened."""

    def __init__(self, step: Step, value: Optional[Value], variables: Dict[int, Value]) -> None:
        self.step, self.value, self.variables = step, value, variables
        self.mask: Optional[Value] = None
        self.then: Optional[Tuple[Optional[Value], Dict[int, Value]]] = None
        self.otherwise: Optional[Step] = None
        self.carried: List[Optional[int]] = []


class Builder:
    """Makes the graph of a list of steps.

    ``types`` has for each slot: the dtype's name of a number or array, with "array" or "number"; a
    Variable; or the dtype that a store goes to (None: as the value is).  Without it types are
    unknown.
    """

    def __init__(
        self, name: str, steps: Sequence[Step], types: Optional[Sequence[Any]] = None
    ) -> None:
        self.name, self.steps, self.types = name, steps, types
        self.graph = self.root = Graph()
        self.value: Optional[Value] = None
        self.variables: Dict[int, Value] = {}
        self.partly: Dict[int, Step] = {}  # variables that only one branch has set
        self.frames: List[_Frame] = []
        self.arguments: List[Argument] = []
        self.inputs: List[Input] = []
        self.results: List[Any] = []
        self.dtypes: List[str] = []
        self.slot = -1
        self.any_variable = False  # a variable that only the call will name
        self.step = steps[0] if steps else None

    def build(self) -> Built:
        """Go through all steps."""
        for step in self.steps:
            self.step = step
            _FORMS[step.row.form](self, step.row)
        if self.frames:
            self.step = self.frames[-1].step
            wanted = "END" if self.step.row.form == "count" else "END_IF"
            self.fail(f"no {wanted} closes it")
        if not self.results:
            raise VectorError(self.name, "nothing is stored: no STORE and no reduction")
        self.root.arguments = tuple(self.arguments)
        self.root.results = self.results
        return Built(self.root, tuple(self.inputs), tuple(self.dtypes))

    def fail(self, message: str) -> NoReturn:
        """An error at the present step."""
        assert self.step is not None
        _fail(self.name, self.step.position, self.step.text, message)

    # --- values --------------------------------------------------------------------------------

    def add(
        self, op: str, kind: str, *values: Value, data: Any = None, loose: bool = False
    ) -> Value:
        """A node in the present graph."""
        nodes = [self.here(value, self.graph) for value in values]
        return Value(self.graph.add(op, kind, *nodes, data=data), kind, self.graph, loose)

    def here(self, value: Value, graph: Graph) -> int:
        """The node of a value in a graph, which may be a loop's body within the value's."""
        if value.graph is graph:
            return value.node
        assert graph.around is not None
        return graph.add("outer", value.kind, data=self.here(value, graph.around))

    def current(self) -> Value:
        """The value, which must be there."""
        if self.value is None:
            self.fail("there is no value yet: begin with SLOAD, VLOAD or OPEN")
        return self.value

    def cast(self, value: Value, kind: str) -> Value:
        if kind in (value.kind, UNKNOWN) or value.kind == UNKNOWN:
            return value
        return self.add("bits", kind, value)

    def need(self, value: Value, takes: str, what: str) -> Value:
        """The value as an op wants it: "float", "int", "bits", or one of the kinds."""
        kind = value.kind
        if kind == UNKNOWN:
            return value
        if kind == "m" and takes != "m":
            self.fail(f"{what} is a comparison's result: SELECT by it, or store it")
        if takes == "bits":
            return self.cast(value, "u") if kind == "f" else value
        wanted = _KINDS.get(takes, takes)
        if wanted == "f":
            if kind != "f" and not value.loose:
                self.fail(
                    f"{what} is {_TYPES[kind]}, not float32: ITOF converts it, ASFLOAT takes its "
                    "bits"
                )
            return self.cast(value, "f")
        if wanted in ("i", "u"):
            if kind == "f":
                self.fail(
                    f"{what} is float32, not an integer: FTOI converts it, ASINT takes its bits"
                )
            return value if takes == "int" else self.cast(value, wanted)
        if kind != wanted:
            self.fail(f"{what} is {_TYPES[kind]}, not {_TYPES[wanted]}")
        return value

    def open(self, variable: int) -> Value:
        found, variable = self.variables.get(variable), int(variable)
        if found is None:
            if self.any_variable:
                return self.unknown()
            partly = self.partly.get(variable)
            if partly is not None:
                self.fail(
                    f"VAR_{variable} is set only in some elements, by op {partly.position} "
                    f"{partly.text}"
                )
            self.fail(f"VAR_{variable} was not set by a SAVE before")
        return found

    def unknown(self, kind: str = UNKNOWN) -> Value:
        """In place of a value of unknown type."""
        return self.add("const", kind, data=0)

    def constant(self, number: Any, kind: str) -> Value:
        """A number written in the list, as a kind."""
        if kind == "f":
            return self.add("const", "f", data=bits_of(float(number)))
        if kind == "m":
            self.fail("a comparison's result goes with others, not with numbers")
        if float(number) != int(number):
            self.fail(f"{number!r} is no integer, and the value is one")
        if not -(1 << 31) <= int(number) < 1 << 32:
            self.fail(f"{number!r} does not fit 32 bits")
        return self.add("const", kind, data=int(number) & 0xFFFFFFFF)

    def next_slot(self) -> Any:
        """The type of the next argument of the call; None while types are unknown."""
        self.slot += 1
        return None if self.types is None else self.types[self.slot]

    def argument(self, kind: str, array: bool) -> Value:
        """The next argument: for an op that works on ``kind`` ("" for whatever it is)."""
        given = self.next_slot()
        if given is None:
            return self.unknown(kind or UNKNOWN)
        dtype, how = given
        if how == "number":
            if dtype.startswith("float") and kind in ("i", "u"):
                self.fail(f"argument {self.slot} is a float, and the op works on integers")
            if kind:
                dtype = _TYPES[kind]
            return self._input("scalar", dtype, False)
        value = self._input("load", dtype, True)
        if not kind or (kind == "f") == (value.kind == "f"):
            return value
        wanted = "a float32 or float16" if kind == "f" else "an integer"
        self.fail(f"argument {self.slot} is {dtype}, and the op works on {wanted} array")

    def _input(self, op: str, dtype: str, array: bool) -> Value:
        number = len(self.arguments)
        self.arguments.append(Argument(f"argument {self.slot}", dtype, array))
        self.inputs.append(Input(self.slot, dtype, array))
        made = self.add(op, STORAGE[dtype], data=number)
        return self.cast(made, "i") if dtype == "uint8" else made

    def operand(self, form: str, kind: str) -> Value:
        """The operand of the present step: for a value of ``kind``; "" for any bits."""
        if form == "scalar" and not kind:
            return self.argument("i", False)
        if form in ("scalar", "array"):
            return self.argument(kind if kind != UNKNOWN else "", form == "array")
        assert self.step is not None
        return self.written(self.step.operands[0] if self.step.operands else None, kind)

    def written(self, operand: Any, kind: str) -> Value:
        """An operand in the list, or the variable that the call names."""
        if operand is None:
            operand = self.named_by_call()
            if operand is None:
                return self.unknown()
        if isinstance(operand, Variable):
            return self.open(operand)
        return self.constant(operand, {"": "i", UNKNOWN: "f"}.get(kind, kind))

    def named_by_call(self) -> Optional[Variable]:
        given: Optional[Variable] = self.next_slot()
        return given

    # --- forms ---------------------------------------------------------------------------------

    def on_none(self, row: Row) -> None:
        value = self.current()
        if row.function == "bits":
            kind = _KINDS[row.gives]
            if value.kind == "m":
                self.need(value, "bits", "the value")
            self.value = self.cast(value, kind)._replace(loose=False)
            if value.kind == UNKNOWN:
                self.value = value._replace(kind=kind)
            return
        if row.function == "not" and value.kind == "m":
            self.value = self.add("mnot", "m", value)
            return
        loose = value.loose or value.kind == "f"
        value = self.need(value, row.takes, "the value")
        kind = _KINDS.get(row.gives) or (value.kind if row.takes != "float" else "f")
        self.value = self.add(row.function, kind, value, loose=row.takes == "bits" and loose)

    def on_binary(self, row: Row) -> None:
        value = self.current()
        if row.function == "abs":  # an argument is taken and not looked at
            self.next_slot()
            made = self.need(value, "int", "the value")
            self.value = self.add("abs", made.kind, made)
            return
        if row.takes == "bits" and value.kind == "m":
            self.value = self._masks(row, value)
            return
        if row.takes == "same":
            self._check_comparable(value)
            other = self.operand(row.form, value.kind)
            other = self.need(other, value.kind if value.kind != UNKNOWN else other.kind, "x")
            self.value = self.add(row.function, "m", value, other)
            return
        loose = value.loose or value.kind == "f"
        made = self.need(value, row.takes, "the value")
        if row.takes == "bits":
            other = self.operand(row.form, "")
            other = self.cast(self.need(other, "bits", "x"), made.kind)
            self.value = self.add(row.function, made.kind, made, other, loose=loose)
            return
        kind = "f" if row.takes == "float" else made.kind
        wanted = "i" if kind == UNKNOWN else kind
        other = self.need(self.operand(row.form, wanted), wanted, "x")
        self.value = self.add(row.function, kind, made, other)

    def _check_comparable(self, value: Value) -> None:
        if value.loose:
            self.fail("the value is bits of a float: say ASFLOAT or ASINT before it is compared")
        if value.kind == "m":
            self.need(value, "bits", "the value")

    def _masks(self, row: Row, value: Value) -> Value:
        if row.function not in ("and", "or", "xor"):
            self.need(value, "bits", "the value")
        other = self.operand(row.form, "m")
        other = self.need(other, "m", "x")
        if row.function != "xor":
            return self.add("m" + row.function, "m", value, other)
        both, either = self.add("mand", "m", value, other), self.add("mor", "m", value, other)
        return self.add("mand", "m", either, self.add("mnot", "m", both))

    def on_load(self, row: Row) -> None:
        self.value = self.argument("", row.takes == "array")

    def on_open(self, row: Row) -> None:
        assert self.step is not None
        if row.name != "OPEN":
            self.value = self.open(int(row.name[-1]))
        else:
            self.value = self.written(self.step.operands[0] if self.step.operands else None, "")

    def on_save(self, row: Row) -> None:
        value = self.current()
        variable = self._saved()
        if variable is not None:
            self.variables[variable] = value
            self.partly.pop(variable, None)

    def _saved(self) -> Optional[int]:
        assert self.step is not None
        if self.step.row.name != "SAVE":
            return int(self.step.row.name[-1])
        if self.step.operands:
            return int(self.step.operands[0])
        found = self.named_by_call()
        self.any_variable |= found is None
        return found

    def on_select(self, row: Row) -> None:
        assert self.step is not None
        value = self.need(self.current(), "m", "the value")
        a, b = self.step.operands
        kinds = [self.open(each).kind for each in (a, b) if isinstance(each, Variable)]
        kind = kinds[0] if kinds else ("f" if any(isinstance(e, float) for e in (a, b)) else "i")
        first, second = (self.written(each, kind) for each in (a, b))
        if kind != UNKNOWN and second.kind != UNKNOWN:
            second = self._same(second, first, "the second operand", "the first")
        self.value = self.add("select", kind, value, first, second)

    def _same(self, value: Value, other: Value, what: str, of: str) -> Value:
        """The value as the other's kind."""
        if value.kind == other.kind or UNKNOWN in (value.kind, other.kind):
            return value
        if "m" not in (value.kind, other.kind):
            if value.loose or {value.kind, other.kind} == {"i", "u"}:
                return self.cast(value, other.kind)
        self.fail(f"{what} is {_TYPES[value.kind]}, {of} {_TYPES[other.kind]}")

    # --- results -------------------------------------------------------------------------------

    def _at_top(self) -> None:
        if self.frames:
            opened = self.frames[-1].step
            self.fail(
                f"results are taken after the end of what op {opened.position} {opened.text} opened"
            )

    def on_store(self, row: Row) -> None:
        value, dtype = self.current(), self.next_slot()
        self._at_top()
        kind = value.kind
        if kind == UNKNOWN:
            self.results.append(Store(value.node, "float32"))
            self.dtypes.append("float32")
            return
        allowed = _MASKED if kind == "m" else _STORED[kind]
        if dtype is not None and dtype not in allowed and not value.loose:
            self.fail(
                f"the value is {_TYPES[kind]}, and the array to store it in {dtype}: wants "
                f"{' or '.join(allowed)}"
            )
        if value.loose and dtype in ("float32", "float16"):
            value = self.cast(value, "f")
        named = dtype or ("bool" if kind == "m" else _TYPES[kind])
        stored = "uint8" if named == "bool" else named
        if kind == "m":
            value = self._as_integer(value)
        self.results.append(Store(value.node, stored))
        self.dtypes.append(named)

    def _as_integer(self, value: Value) -> Value:
        one, zero = self.constant(1, "i"), self.constant(0, "i")
        return self.add("select", "i", value, one, zero)

    def on_reduce(self, row: Row) -> None:
        value = self.current()
        how = row.function
        if how == "dot":
            if value.kind == "m":
                self.need(value, "int", "the value")
            kind = "f" if value.loose else value.kind
            value = self.need(value, kind, "the value") if kind != UNKNOWN else value
            other = self.operand(row.takes, kind)
            other = self.need(other, kind if kind != UNKNOWN else other.kind, "x")
            value = self.add("fmul" if kind == "f" else "mul", kind, value, other)
            how = "sum"
        self._at_top()
        if value.kind == "m":
            value = self._as_integer(value)
        dtype = {UNKNOWN: "float32"}.get(value.kind) or _TYPES[value.kind]
        self.results.append(Reduction(how, value.node, dtype))
        self.dtypes.append(dtype)

    # --- control flow --------------------------------------------------------------------------

    def on_if(self, row: Row) -> None:
        assert self.step is not None
        value = self.current()
        self._check_comparable(value)
        other = self.operand(row.takes, value.kind)
        other = self.need(other, value.kind if value.kind != UNKNOWN else other.kind, "x")
        frame = _Frame(self.step, value, dict(self.variables))
        frame.mask = self.add(row.function, "m", value, other)
        self.frames.append(frame)

    def _frame(self, form: str, name: str) -> _Frame:
        if not self.frames or self.frames[-1].step.row.form != form:
            if not self.frames:
                self.fail(f"no {name} is open")
            opened = self.frames[-1].step
            self.fail(f"what is open is op {opened.position} {opened.text}, no {name}")
        return self.frames[-1]

    def on_else(self, row: Row) -> None:
        frame = self._frame("if", "IF")
        if frame.otherwise is not None:
            self.fail(f"op {frame.otherwise.position} is the ELSE of that IF already")
        frame.otherwise = self.step
        frame.then = self.value, self.variables
        self.value, self.variables = frame.value, dict(frame.variables)

    def on_end_if(self, row: Row) -> None:
        frame = self._frame("if", "IF")
        self.frames.pop()
        if frame.then is None:
            then, otherwise = (self.value, self.variables), (frame.value, frame.variables)
        else:
            then, otherwise = frame.then, (self.value, self.variables)
        assert frame.mask is not None
        self.value = self._merged(frame.mask, then[0], otherwise[0], "the value")
        variables: Dict[int, Value] = {}
        for number in {**then[1], **otherwise[1]}:
            made = self._merged(
                frame.mask, then[1].get(number), otherwise[1].get(number), f"VAR_{number}"
            )
            if made is None:
                self.partly[number] = frame.step
            else:
                variables[number] = made
        self.variables = variables

    def _merged(
        self, mask: Value, then: Optional[Value], otherwise: Optional[Value], what: str
    ) -> Optional[Value]:
        if then is None or otherwise is None:
            return None
        if then == otherwise:
            return then
        if UNKNOWN in (then.kind, otherwise.kind):
            return then if then.kind == UNKNOWN else otherwise
        if then.loose and not otherwise.loose:
            then = self._same(then, otherwise, f"{what} where the IF holds", "and else")
        otherwise = self._same(otherwise, then, f"{what} where the IF does not hold", "and else")
        if then.kind == "m":
            return self.add(
                "mor", "m", self.add("mand", "m", mask, then),
                self.add("mand", "m", self.add("mnot", "m", mask), otherwise),
            )  # fmt: skip
        return self.add(
            "select", then.kind, mask, then, otherwise, loose=then.loose and otherwise.loose
        )

    def on_repeat(self, row: Row) -> None:
        assert self.step is not None
        frame = _Frame(self.step, self.value, dict(self.variables))
        self.frames.append(frame)
        self.graph = Graph(around=self.graph)
        if self.value is not None:
            frame.carried.append(None)
            self.value = self._carried(self.value, 0)
        for number in sorted(self._saved_within(self.step.position)):
            before = self.variables.get(number)
            if before is not None:
                self.variables[number] = self._carried(before, len(frame.carried))
                frame.carried.append(number)

    def _carried(self, before: Value, place: int) -> Value:
        return self.add("carried", before.kind, data=place, loose=before.loose)

    def _saved_within(self, position: int) -> List[int]:
        """Variables that are saved between a REPEAT and its END."""
        depth, found, slot = 0, set(), self.slot
        for step in self.steps[position + 1 :]:
            form = step.row.form
            if form == "count":
                depth += 1
            elif form == "end":
                depth -= 1
                if depth < 0:
                    break
            elif form == "save" and (step.operands or step.row.name != "SAVE"):
                found.add(int(step.operands[0]) if step.operands else int(step.row.name[-1]))
            if self.types is not None:
                for _ in slots_of((step,)):
                    slot += 1
                    if form == "save":
                        found.add(int(self.types[slot]))
        return sorted(found)

    def on_end(self, row: Row) -> None:
        frame = self._frame("count", "REPEAT")
        self.frames.pop()
        assert self.step is not None
        body, around = self.graph, self.graph.around
        assert around is not None
        self.graph = around
        count = operator.index(frame.step.operands[0])
        value, variables = self.value, self.variables
        self.value, self.variables = frame.value, dict(frame.variables)
        if count == 0:
            return
        begins: List[Value] = []
        ends: List[Tuple[Optional[int], Value]] = []

        def carry(number: Optional[int], before: Optional[Value], after: Value, what: str) -> None:
            if "m" in (after.kind, before.kind if before else ""):
                self.fail(
                    f"{what} is a comparison's result, which REPEAT does not carry: SELECT by it"
                )
            if before is None:
                before = self.add("const", after.kind, data=0)
            self.graph = body
            after = self._same(after, before, f"{what} at END", "and at REPEAT")
            self.graph = around
            begins.append(before)
            ends.append((number, after._replace(loose=before.loose and after.loose)))

        for number in frame.carried:
            if number is None:
                assert value is not None and frame.value is not None
                carry(None, frame.value, value, "the value")
            else:
                carry(number, frame.variables[number], variables[number], f"VAR_{number}")
        if value is not None and frame.value is None:
            carry(None, None, value, "the value")
        for number, after in variables.items():
            if number not in frame.variables:
                carry(number, None, after, f"VAR_{number}")
        carried = tuple(self.here(after, body) for _, after in ends)
        loop = self.add("loop", "u", *begins, data=Loop(count, body, carried))
        for place, (number, after) in enumerate(ends):
            made = self.add("result", after.kind, loop, data=place, loose=after.loose)
            if number is None:
                self.value = made
            else:
                self.variables[number] = made


_FORMS: Dict[str, Any] = {
    "none": Builder.on_none, "variable": Builder.on_binary, "scalar": Builder.on_binary,
    "array": Builder.on_binary, "load": Builder.on_load, "store": Builder.on_store,
    "open": Builder.on_open, "save": Builder.on_save, "if": Builder.on_if,
    "else": Builder.on_else, "end_if": Builder.on_end_if, "count": Builder.on_repeat,
    "end": Builder.on_end, "select": Builder.on_select, "reduce": Builder.on_reduce,
}  # fmt: skip
