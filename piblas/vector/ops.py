"""The operations of a :class:`~piblas.vector.Function`, one row an op.

A function is a list of operations on one *value* of each element, as in PiMD.  A row of
:data:`ROWS` names the op, its *form* (what it takes besides the value), the types that it works on
and what the value becomes.  Forms:

============  ====================================================================================
``none``      nothing
``variable``  a variable or a number written with the op: ``(FADD, VAR_0)``, ``(FADD, 2.5)`` or
              ``FADD(2.5)``.  A bare ``FADD`` takes its variable from the call's arguments, in its
              turn, as in PiMD: ``f(x, VAR_0, ...)``
``scalar``    the next argument of the call, a number: the names with S in front
``array``     the next argument of the call, an array: the names with V in front
``load``      the next argument, which becomes the value: ``SLOAD`` (a number), ``VLOAD`` (an array)
``store``     an array, the next argument or one of ``out=``
``open``      a variable, which becomes the value; ``save``: the value becomes the variable's
``if``        begins operations that are done only in elements where the comparison holds; an
              operand as of the forms variable, scalar or array
``select``    two operands, each a variable or a number
``count``     an integer: ``REPEAT(10)`` or ``(REPEAT, 10)``
``reduce``    nothing; a number comes from all elements
============  ====================================================================================

Types of operands (``takes``): ``float`` is float32; ``int`` is int32 or uint32, whichever the value
is; ``bits`` are any 32 bits, and a float value becomes bits that the next operation may take for
whatever it works on; ``same`` is the type of the value.  Arrays of uint8, int16 and float16 are
widened to int32 and float32 when they are loaded.  What is not of the type is refused, not
converted: ``ITOF`` and ``FTOI`` convert, ``ASFLOAT``, ``ASINT`` and ``ASUINT`` take the bits as
they are.
"""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

__all__ = ["BY_NAME", "Op", "ROWS", "Row", "VARIABLES", "Variable", "names"]


class Row(NamedTuple):
    """An op: ``function`` names what computes it in :mod:`.functions`; ``gives`` is the type of the
    value after it ("" as before); ``pimd`` tells PiMD's own ops."""

    name: str
    form: str
    takes: str
    gives: str
    function: str
    meaning: str
    pimd: bool = True


class Variable(int):
    """The number of a variable: ``VAR_0`` .. ``VAR_15``, or ``Variable(n)`` for any n."""

    def __new__(cls, number: int) -> "Variable":
        made = super().__new__(cls, number)
        if made < 0:
            raise ValueError(f"variables are numbered from 0, not {number}")
        return made

    def __repr__(self) -> str:
        return f"VAR_{int(self)}"


class Op(str):
    """An op's name; called with operands it is an entry of a list: ``FADD(VAR_0)``."""

    __slots__ = ()

    def __call__(self, *operands: Any) -> Tuple[Any, ...]:
        return (self, *operands)


def _binary() -> List[Row]:
    """Ops with one operand, each in three forms."""
    table = (
        # name, takes, gives, function, meaning, pimd
        ("ADD", "int", "", "add", "value + x, wraps", True),
        ("SUB", "int", "", "sub", "value - x, wraps", True),
        ("MIN", "int", "", "min", "the smaller of value and x", True),
        ("MAX", "int", "", "max", "the larger of value and x", True),
        ("AND", "bits", "", "and", "bits of both", True),
        ("OR", "bits", "", "or", "bits of either", True),
        ("XOR", "bits", "", "xor", "bits of one of the two", True),
        ("SHL", "bits", "", "shl", "value shifted left by x modulo 32", True),
        ("SHR", "bits", "", "shr", "value shifted right by x modulo 32, zeros come in", True),
        ("ASR", "bits", "", "asr", "value shifted right by x modulo 32, bit 31 stays", True),
        ("ROR", "bits", "", "ror", "value rotated right by x modulo 32", True),
        ("MUL24", "int", "", "mul24", "product of the low 24 bits, unsigned; wraps", True),
        ("MUL", "int", "", "mul", "value * x, wraps", True),
        ("FADD", "float", "", "fadd", "value + x", True),
        ("FSUB", "float", "", "fsub", "value - x", True),
        ("FMIN", "float", "", "fmin", "the smaller of value and x", True),
        ("FMAX", "float", "", "fmax", "the larger of value and x", True),
        ("FMINABS", "float", "", "fminabs", "the smaller of |value| and |x|", True),
        ("FMAXABS", "float", "", "fmaxabs", "the larger of |value| and |x|", True),
        ("FMUL", "float", "", "fmul", "value * x", True),
        ("DIV", "float", "", "div", "value / x", False),
        ("LT", "same", "mask", "lt", "whether value < x", False),
        ("LE", "same", "mask", "le", "whether value <= x", False),
        ("GT", "same", "mask", "gt", "whether value > x", False),
        ("GE", "same", "mask", "ge", "whether value >= x", False),
        ("EQ", "same", "mask", "eq", "whether value == x", False),
        ("NE", "same", "mask", "ne", "whether value != x", False),
    )
    made = []
    for prefix, form in (("", "variable"), ("S", "scalar"), ("V", "array")):
        for name, takes, gives, function, meaning, pimd in table:
            made.append(Row(prefix + name, form, takes, gives, function, meaning, pimd))
        made.append(
            Row(
                prefix + "ABS", "none" if not prefix else form, "int", "", "abs",
                "|value|" + (", whatever x is, as in PiMD" if prefix else ""),
            )
        )  # fmt: skip
        for name in ("LT", "LE", "GT", "GE", "EQ", "NE"):
            meaning = f"what follows, up to ELSE or END_IF, is for elements where {name}"
            made.append(
                Row(
                    f"{prefix}IF_{name}", "if", form, "", name.lower(), meaning,
                    pimd=name == "LT" and not prefix,
                )
            )  # fmt: skip
        made.append(
            Row(
                prefix + "DOT", "reduce", form, "", "dot", "the sum of value * x: a result", False
            )
        )
    return made


def _unary() -> List[Row]:
    table = (
        ("NOT", "bits", "", "not", "all bits inverted", True),
        ("CLZ", "int", "", "clz", "zeros before the highest bit that is set; 32 for 0", True),
        ("ITOF", "int", "float", "itof", "the integer as a float", True),
        ("FTOI", "float", "int", "ftoi", "the float as an int32, toward zero", True),
        ("EXP", "float", "", "exp2", "2 to the power of value", True),
        ("LOG", "float", "", "log2", "logarithm of |value| to base 2", True),
        ("RECIP", "float", "", "recip", "1 / value", True),
        ("RECIPSQRT", "float", "", "rsqrt", "1 / square root of |value|", True),
        ("SQRT", "float", "", "sqrt", "square root of |value|", True),
        ("EXPE", "float", "", "exp", "e to the power of value", False),
        ("LOGE", "float", "", "log", "natural logarithm of |value|", False),
        ("SIN", "float", "", "sin", "sine of value in radians", False),
        ("COS", "float", "", "cos", "cosine of value in radians", False),
        ("TANH", "float", "", "tanh", "hyperbolic tangent", False),
        ("SIGMOID", "float", "", "sigmoid", "1 / (1 + e to the power of -value)", False),
        ("FABS", "float", "", "fabs", "|value|", False),
        ("FNEG", "float", "", "fneg", "-value", False),
        ("FLOOR", "float", "", "floor", "the largest integer up to value", False),
        ("CEIL", "float", "", "ceil", "the smallest integer from value on", False),
        ("ASFLOAT", "bits", "float", "bits", "the same bits as a float32", False),
        ("ASINT", "bits", "int", "bits", "the same bits as an int32", False),
        ("ASUINT", "bits", "uint", "bits", "the same bits as a uint32", False),
    )
    return [Row(name, "none", *rest) for name, *rest in table]  # type: ignore[arg-type]


def _others() -> List[Row]:
    made = [
        Row("SLOAD", "load", "scalar", "", "", "a number becomes the value of all elements"),
        Row("VLOAD", "load", "array", "", "", "an array's elements become the value"),
        Row("STORE", "store", "", "", "", "the value goes to an array: a result"),
        Row("OPEN", "open", "", "", "", "a variable becomes the value"),
        Row("SAVE", "save", "", "", "", "the value goes to a variable"),
        Row("ELSE", "else", "", "", "", "what follows is for the other elements", False),
        Row("END_IF", "end_if", "", "", "", "what follows is for all elements again"),
        Row("REPEAT", "count", "", "", "", "what follows, up to END, is done n times", False),
        Row("END", "end", "", "", "", "end of what REPEAT repeats", False),
        Row("SELECT", "select", "", "", "", "(SELECT, a, b): a where value holds, else b", False),
    ]
    for number in range(4):
        made.append(Row(f"OPEN{number}", "open", "", "", "", f"VAR_{number} becomes the value"))
        made.append(Row(f"SAVE{number}", "save", "", "", "", f"the value goes to VAR_{number}"))
    for name, how, what in (
        ("SUM", "sum", "the sum of all elements"),
        ("REDUCE_MIN", "min", "the smallest element"),
        ("REDUCE_MAX", "max", "the largest element"),
        ("ARGMIN", "argmin", "the number of the first smallest element"),
        ("ARGMAX", "argmax", "the number of the first largest element"),
    ):
        made.append(Row(name, "reduce", "", "", how, f"{what}: a result", False))
    return made


ROWS: Tuple[Row, ...] = (*_others(), *_binary(), *_unary())
BY_NAME: Dict[str, Row] = {row.name: row for row in ROWS}
"""By name, with and without the prefix ``OP_`` of PiMD's constants; and the other names of
reductions."""
for _row in ROWS:
    BY_NAME["OP_" + _row.name] = _row
for _name in ("SUM", "ARGMIN", "ARGMAX", "DOT"):
    BY_NAME["REDUCE_" + _name] = BY_NAME["OP_REDUCE_" + _name] = BY_NAME[_name]

VARIABLES: Dict[str, Variable] = {f"VAR_{number}": Variable(number) for number in range(16)}


def names() -> Dict[str, Any]:
    """What ``from piblas.vector import *`` gives of this: ops and variables by name."""
    return {**{name: Op(name) for name in BY_NAME}, **VARIABLES}
