"""Operations of the add and the mul unit, one row an op (guide, p. 35-36).

``float_in`` decides how an operand of register file A is unpacked, ``float_out`` how a result is
packed; ``ftoi`` and ``itof`` are the two ops where they differ.  Unary ops take operand a.
``commutes`` says that result and flags are the same with the operands swapped: not so for ``fadd``,
which takes the sign of an infinite b first, nor for minima and maxima, whose carry is a > b.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Tuple

__all__ = ["ADD", "MUL", "Op", "ADD_OPS", "MUL_OPS", "ADD_BY_CODE", "MUL_BY_CODE", "BY_NAME"]

ADD = "add"
MUL = "mul"


@dataclass(frozen=True)
class Op:
    """An operation: its unit, code, number of sources and operand types."""

    name: str
    unit: str
    code: int
    nsrc: int = 2
    float_in: bool = False
    float_out: bool = False
    commutes: bool = False


def _add(name: str, code: int, nsrc: int = 2, **kw: bool) -> Op:
    return Op(name, ADD, code, nsrc, **kw)


def _mul(name: str, code: int, nsrc: int = 2, **kw: bool) -> Op:
    return Op(name, MUL, code, nsrc, **kw)


_F = {"float_in": True, "float_out": True}

ADD_OPS: Tuple[Op, ...] = (
    _add("nop", 0, nsrc=0),
    _add("fadd", 1, **_F),
    _add("fsub", 2, **_F),
    _add("fmin", 3, **_F),
    _add("fmax", 4, **_F),
    _add("fminabs", 5, **_F),
    _add("fmaxabs", 6, **_F),
    _add("ftoi", 7, nsrc=1, float_in=True),
    _add("itof", 8, nsrc=1, float_out=True),
    _add("add", 12, commutes=True),
    _add("sub", 13),
    _add("shr", 14),
    _add("asr", 15),
    _add("ror", 16),
    _add("shl", 17),
    _add("min", 18),
    _add("max", 19),
    _add("and", 20, commutes=True),
    _add("or", 21, commutes=True),
    _add("xor", 22, commutes=True),
    _add("not", 23, nsrc=1),
    _add("clz", 24, nsrc=1),
    _add("v8adds", 30, commutes=True),
    _add("v8subs", 31),
)

MUL_OPS: Tuple[Op, ...] = (
    _mul("nop", 0, nsrc=0),
    _mul("fmul", 1, commutes=True, **_F),
    _mul("mul24", 2, commutes=True),
    _mul("v8muld", 3, commutes=True),
    _mul("v8min", 4, commutes=True),
    _mul("v8max", 5, commutes=True),
    _mul("v8adds", 6, commutes=True),
    _mul("v8subs", 7),
)

ADD_BY_CODE: Dict[int, Op] = {op.code: op for op in ADD_OPS}
MUL_BY_CODE: Dict[int, Op] = {op.code: op for op in MUL_OPS}
BY_NAME: Dict[Tuple[str, str], Op] = {(op.unit, op.name): op for op in ADD_OPS + MUL_OPS}
