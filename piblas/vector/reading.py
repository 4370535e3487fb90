"""Arrays read by the TMUs: general memory lookups, requested ahead of their use.

A program takes vectors in an order that is known when it is written: array after array as the
operations want them, and for each array the vectors of the group.  Arrays are dealt to the two TMUs
in turn; a single one uses both in turn.  Each TMU has up to ``TMU_DEPTH`` requests under way:
whoever takes a vector asks for one that is wanted later, in this group or in one of the next.

A lookup returns the word that holds an element.  Smaller elements are shifted down in it, by a
distance that is the same for all vectors of a lane, as vectors are whole words apart.

Requests run past the last element; every address is clamped to that of the last one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, List, Tuple

from ..kernels.parts import LANES, TMU_DEPTH
from .body import SIZES, Body

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = ["Reader", "UNPACK"]

UNPACK = {"float16": "16a", "int16": "16a", "uint8": "8a"}
"""How an element that was shifted down becomes a word."""

_SHIFT = {1: 0, 2: 1, 4: 2}


class _Array:
    """An argument: the address of each lane's next element, and of the last element."""

    def __init__(self, asm: "Assembler", number: int, dtype: str) -> None:
        self.dtype, self.size = dtype, SIZES[dtype]
        self.at, self.last = asm.reg(f"at{number}"), asm.reg(f"last{number}")
        self.shift = asm.reg(f"shift{number}") if self.size < 4 else None


def _popped(asm: "Assembler", unit: int, number: int, dtype: str, shift: Any) -> Any:
    """The oldest result of a TMU, as a word for each element."""
    value = asm.reg(f"load{number}_")
    if shift is None:
        asm.ldtmu(unit, value)
        return value
    asm.ldtmu(unit)
    word = asm.reg(f"word{number}_", "A")
    asm.shr(word, asm.r4, shift)
    source = word.unpack(UNPACK[dtype])
    if dtype == "float16":
        asm.fmin(value, source, source)
    else:
        asm.mov(value, source)
    return value


class Reader:
    """Reads the arrays that a body loads, ``unroll`` vectors of each at a time.

    ``step`` is the distance of the vectors that this QPU takes one after the other, in vectors.
    ``ahead`` requests wait in a TMU at first.  ``turn`` is how many vectors of an array the code of
    the innermost loop takes; with ``units`` of 1 the second TMU is left alone.
    """

    def __init__(
        self,
        asm: "Assembler",
        body: Body,
        unroll: int,
        step: int = 1,
        ahead: int = TMU_DEPTH,
        turn: int = 0,
        units: int = 2,
    ) -> None:
        self.asm, self.unroll = asm, unroll
        arguments = body.graph.arguments
        self.arrays: Dict[int, _Array] = {
            number: _Array(asm, number, arguments[number].dtype) for number in body.loads
        }
        both = units == 2 and len(self.arrays) == 1 and (turn or unroll) % 2 == 0
        self.units = {
            number: (i % units, (i + both) % units) for i, number in enumerate(self.arrays)
        }
        # What each TMU is asked for, again and again.
        self.queues: Tuple[List[int], List[int]] = ([], [])
        for number in self.arrays:
            for vector in range(2 if both else unroll):
                self.queues[self.units[number][vector % 2]].append(number)
        self.ahead = [ahead if queue else 0 for queue in self.queues]
        self.taken = dict.fromkeys(self.arrays, 0)
        self.popped, self.asked = [0, 0], [0, 0]
        sizes = sorted({each.size for each in self.arrays.values()})
        self.steps = {size: asm.reg(f"bytes_to_the_next_of{size}") for size in sizes}
        self.lanes = {size: asm.reg(f"lane_of{size}") for size in sizes}
        for size in sizes:
            asm.ldi(self.steps[size], LANES * size * step)
            if size == 1:
                asm.mov(self.lanes[size], asm.elem_num)
            else:
                asm.shl(self.lanes[size], asm.elem_num, _SHIFT[size])

    def start(self) -> None:
        """Read the addresses of the first and last element of each array, two uniforms each in the
        order of :attr:`arrays`; ask for the first vectors."""
        asm = self.asm
        for array in self.arrays.values():
            asm.add(array.at, asm.unif, self.lanes[array.size])
            asm.mov(array.last, asm.unif)
            if array.shift is not None:
                asm.shl(array.shift, array.at, 3)
        self.popped, self.asked = [0, 0], [0, 0]
        self.taken = dict.fromkeys(self.arrays, 0)
        for i in range(max(self.ahead)):
            for unit in (0, 1):
                if i < self.ahead[unit]:
                    self.ask(unit)

    def ask(self, unit: int) -> None:
        """Ask a TMU for the next vector of the array whose turn it is.

        Bus addresses of one memory have the same top bit, so the signed minimum is theirs, too.
        """
        asm, queue = self.asm, self.queues[unit]
        array = self.arrays[queue[self.asked[unit] % len(queue)]]
        self.asked[unit] += 1
        asm.min((asm.t0s, asm.t1s)[unit], array.at, array.last)
        asm.add(array.at, array.at, self.steps[array.size])

    def catch_up(self) -> None:
        """Ask for what was taken without asking for more."""
        behind = [
            self.popped[unit] + self.ahead[unit] - self.asked[unit] for unit in (0, 1)
        ]
        for i in range(max(behind)):
            for unit in (0, 1):
                if i < behind[unit]:
                    self.ask(unit)

    def take(self, number: int, vector: int, ask: bool = True) -> Any:
        """The next vector of an array, as a word for each element; asks for a later one."""
        asm, array = self.asm, self.arrays[number]
        unit = self.units[number][self.taken[number] % 2]
        self.taken[number] += 1
        queue = self.queues[unit]
        assert queue[self.popped[unit] % len(queue)] == number, "loads come in another order"
        self.popped[unit] += 1
        value = _popped(asm, unit, number, array.dtype, array.shift)
        if ask:
            self.ask(unit)
        return value

    def next_group(self) -> None:
        """The vectors of a group have been taken."""

    def drop(self) -> None:
        """Take what was asked for in advance and is not needed, with nothing left to catch up."""
        for unit in (0, 1):
            for _ in range(self.ahead[unit]):
                self.asm.ldtmu(unit)


class _Places:
    """Where elements of one size are, as bytes from the beginning of their arrays: those of this
    group, those of the next before and after the last element is heeded."""

    def __init__(self, asm: "Assembler", size: int) -> None:
        self.asm, self.size = asm, size
        self.now, self.next = asm.reg(f"now{size}_"), asm.reg(f"next{size}_")
        self.free, self.last = asm.reg(f"free{size}_"), asm.reg(f"last{size}_")
        self.step = asm.reg(f"bytes_of{size}_")
        asm.ldi(self.step, LANES * size)

    def start(self) -> None:
        asm = self.asm
        asm.mov(self.last, asm.unif)
        asm.shl(self.free, asm.elem_num, _SHIFT[self.size])
        asm.min(self.now, self.free, self.last)
        self._advance()

    def _advance(self) -> None:
        self.asm.add(self.free, self.free, self.step)
        self.asm.min(self.next, self.free, self.last)

    def next_group(self) -> None:
        self.asm.mov(self.now, self.next)
        self._advance()


class CompactReader:
    """Reads many arrays with few registers, a vector of each a group: an array has its address, and
    arrays of elements of one size share the rest."""

    def __init__(self, asm: "Assembler", body: Body) -> None:
        self.asm = asm
        arguments = body.graph.arguments
        self.dtypes = {number: arguments[number].dtype for number in body.loads}
        self.bases = {number: asm.reg(f"base{number}_") for number in body.loads}
        order = list(self.bases)
        self.queues = order[0::2], order[1::2]
        self.ahead = [min(TMU_DEPTH, len(queue)) for queue in self.queues]
        sizes = sorted({SIZES[dtype] for dtype in self.dtypes.values()})
        self.places = {size: _Places(asm, size) for size in sizes}
        self.popped = [0, 0]

    def start(self) -> None:
        """Read the distance of the last element for each size, then the address of each array; ask
        for the first vectors."""
        asm = self.asm
        for where in self.places.values():
            where.start()
        for number, base in self.bases.items():
            asm.mov(base, asm.unif)
        for unit in (0, 1):
            for place in range(self.ahead[unit]):
                self._ask(unit, place)

    def _ask(self, unit: int, place: int) -> None:
        """Ask for a vector of this group, or of the next."""
        asm, queue = self.asm, self.queues[unit]
        number = queue[place % len(queue)]
        where = self.places[SIZES[self.dtypes[number]]]
        offset = where.now if place < len(queue) else where.next
        asm.add((asm.t0s, asm.t1s)[unit], self.bases[number], offset)

    def take(self, number: int, vector: int) -> Any:
        """The vector of an array, as a word for each element; asks for a later one."""
        unit = 0 if number in self.queues[0] else 1
        place = self.popped[unit]
        assert self.queues[unit][place] == number, "loads come in another order"
        self.popped[unit] += 1
        value = _popped(self.asm, unit, number, self.dtypes[number], self._shift(number))
        self._ask(unit, place + self.ahead[unit])
        return value

    def _shift(self, number: int) -> Any:
        """How far elements are shifted down; it is worked out anew for each vector."""
        asm, size = self.asm, SIZES[self.dtypes[number]]
        if size == 4:
            return None
        lane, at, shift = asm.reg("lane"), asm.reg("at"), asm.reg("shift")
        asm.shl(lane, asm.elem_num, _SHIFT[size])
        asm.add(at, lane, self.bases[number])
        asm.shl(shift, at, 3)
        return shift

    def next_group(self) -> None:
        """The vectors of a group have been taken."""
        for where in self.places.values():
            where.next_group()

    def drop(self) -> None:
        """Take what was asked for in advance and is not needed."""
        for unit in (0, 1):
            for _ in range(self.ahead[unit]):
                self.asm.ldtmu(unit)
