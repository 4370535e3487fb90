"""Reductions at the end of a function: state of a QPU's lanes, and the number from all of them.

Elements are cut into parts that depend on their number alone, and each lane of each vector of a
group has a state of its own, so a result has the same bits on any number of QPUs.

Sums of floats are compensated (Kahan), as those of :mod:`piblas.kernels.reduce`: the lanes are
added exactly and rounded once, so that |computed - exact| is at most
:func:`piblas.kernels.reduce.sum_bound` of the terms.  Sums of integers wrap.

Extremes begin with a value that no comparison beats; where an element has that very value it is
not taken, and neither is its number: then all lanes still have what they began with, and the first
element is the answer.  Floats are compared as the QPU does: by sign and magnitude of their bits, so
NaN lies beyond Inf, and -0 is +0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, List, Tuple

import numpy as np

from ..kernels.parts import LANES

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["State", "joined", "rows_of"]

_NONE = 0xFFFFFFFF
"""The number of no element."""

_BEGIN = {
    ("min", "f"): 0x7FFFFFFF, ("max", "f"): 0xFFFFFFFF,
    ("min", "i"): 0x7FFFFFFF, ("max", "i"): 0x80000000,
    ("min", "u"): 0xFFFFFFFF, ("max", "u"): 0x00000000,
}  # fmt: skip


def rows_of(how: str, kind: str) -> int:
    """Vectors of a state: the sum and what it lost, or the extreme and its element's number."""
    return 1 if how in ("min", "max") or (how == "sum" and kind != "f") else 2


class State:
    """The state of one reduction, for each vector of a group."""

    def __init__(self, asm: "Assembler", number: int, how: str, kind: str, unroll: int) -> None:
        self.asm, self.how, self.kind = asm, how, kind
        self.main = asm.regs(f"joined{number}_", unroll)
        second = rows_of(how, kind) == 2
        self.second = asm.regs(f"second{number}_", unroll) if second else []

    def clear(self) -> None:
        """Begin a part."""
        begin = 0 if self.how == "sum" else _BEGIN[self.how[-3:], self.kind]
        for register in self.main:
            self.asm.mov(register, begin)
        for register in self.second:
            self.asm.mov(register, 0 if self.how == "sum" else -1)

    def add(self, v: int, value: Any, element: Any, end: Any) -> None:
        """Take the elements ``value`` with the numbers ``element``, of which those below ``end``
        count."""
        asm, main = self.asm, self.main[v]
        asm.sub(asm.null, element, end, sf=True)  # C: it counts
        if self.how == "sum":
            if self.kind != "f":
                asm.add(main, main, value, cond="cs")
                return
            lost = self.second[v]
            y, new, taken = asm.reg("y"), asm.reg("new"), asm.reg("taken")
            asm.fsub(y, value, lost)
            asm.fadd(new, main, y)
            asm.fsub(taken, new, main)
            asm.fsub(lost, taken, y, cond="cs")
            asm.mov(main, new, cond="cs")
            return
        less, more = (value, main) if self.how.endswith("min") else (main, value)
        if self.kind == "u":
            asm.sub(asm.null, less, more, sf=True, cond="cs")
        else:
            (asm.fmax if self.kind == "f" else asm.max)(
                asm.null, more, less, sf=True, cond="cs"
            )
        asm.mov(main, value, cond="cs")
        for register in self.second[v : v + 1]:
            asm.mov(register, element, cond="cs")

    def vectors(self) -> List[Any]:
        """What is stored at the end of a part."""
        return self.main + self.second


def _order(words: np.ndarray, kind: str) -> np.ndarray:
    """Integers (int64) in the order of the values, as the QPU compares them."""
    if kind == "u":
        return words.astype(np.int64)
    signed = words.view(np.int32).astype(np.int64)
    if kind == "i":
        return signed
    return np.where(signed < 0, -(signed & 0x7FFFFFFF), signed)


def joined(how: str, kind: str, words: np.ndarray) -> Any:
    """The result from what all parts stored: ``words`` (uint32) of shape (parts, rows of a state,
    unroll, lanes).

    A sum of floats is a float64 of float32 precision, other values are of the kind's type, an
    argmin or argmax is an int.
    """
    main = np.ascontiguousarray(words[:, 0])
    types = {"f": np.float32, "i": np.int32, "u": np.uint32}
    if how == "sum":
        if kind != "f":
            return main.sum(dtype=np.uint64).astype(np.uint32).view(types[kind])
        return _exact_sum(main.view(np.float32), words[:, 1].copy().view(np.float32))
    keys = _order(main, kind).ravel()
    if how.endswith("max"):
        keys = -keys
    best = keys.min()
    if len(words[0]) == 1:
        return main.ravel()[int(keys.argmin())].view(types[kind])
    elements = words[:, 1].ravel()[keys == best]
    first = int(elements.min())
    return 0 if first == _NONE else first


def _exact_sum(sums: np.ndarray, lost: np.ndarray) -> np.float32:
    """The exact sum of the lanes less what they took too much, rounded once."""
    terms = np.concatenate((sums.ravel(), -lost.ravel())).astype(np.float64)
    with np.errstate(over="ignore"):
        if not np.isfinite(terms).all():  # -> Inf - Inf is NaN, as NumPy has it
            with np.errstate(invalid="ignore"):
                return np.float32(sums.astype(np.float64).sum())
        return np.float32(math.fsum(terms.tolist()))


def shape(how: str, kind: str, unroll: int) -> Tuple[int, int, int]:
    """(rows of a state, unroll, lanes) of what a part stores."""
    return rows_of(how, kind), unroll, LANES
