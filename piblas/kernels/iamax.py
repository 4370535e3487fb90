"""isamax: where |x| is largest for the first time (:mod:`.reduce`).

Each lane keeps the largest pattern of |x| it has met (magnitudes of floats order like integers,
denormals included) and the number of the element; an equal one later changes nothing.  The host
takes the lowest number among the lanes that hold the maximum.  Lanes beyond the last element repeat
it under higher numbers, which therefore never win.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List

import numpy as np

from .reduce import Reduction
from .stream import LANES, Reader

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["KERNEL", "SPEC", "first_largest"]


class _Largest:
    """The largest magnitude of each lane, and the element's number within the part."""

    def __init__(self, asm: Assembler, reader: Reader) -> None:
        self.asm, self.reader = asm, reader
        self.best, self.where, self.here = (asm.reg(name) for name in ("best", "where", "here"))
        self.magnitude, self.vector = asm.reg("magnitude_bits"), asm.reg("vector")
        asm.ldi(self.magnitude, 0x7FFFFFFF)
        asm.ldi(self.vector, LANES)

    def clear(self) -> None:
        asm = self.asm
        asm.mov(self.best, -1)  # below every magnitude
        asm.mov(self.where, asm.elem_num)
        asm.mov(self.here, asm.elem_num)

    def add(self, v: int, values: List[Any]) -> None:
        asm = self.asm
        size = asm.reg("size")
        self.reader.watch(values[0])
        asm.and_(size, values[0], self.magnitude)
        asm.sub(asm.null, self.best, size, sf=True)
        asm.mov(self.best, size, cond="ns")
        asm.mov(self.where, self.here, cond="ns")
        asm.add(self.here, self.here, self.vector)

    def vectors(self) -> List[Any]:
        return [self.best, self.where]


def _state(asm: Assembler, reader: Reader, constants: List[Any]) -> _Largest:
    return _Largest(asm, reader)


KERNEL = Reduction(inputs=1, rows=2, state=_state, masked=False)
SPEC = KERNEL.spec("iamax", ("isamax",), "first element with the largest |x|", watch=False)


def first_largest(results: np.ndarray, firsts: Any) -> "tuple[int, int]":
    """(element, pattern of its magnitude); ``firsts`` are the parts' first elements."""
    best = results[:, 0].view(np.uint32).astype(np.int64)
    where = results[:, 1].view(np.uint32).astype(np.int64) + np.array(firsts)[:, None]
    largest = int(best.max())
    return int(where[best == largest].min()), largest
