"""A program for a graph of very many operations (:mod:`piblas.codegen.pieces`).

It works as :mod:`.own` does.  The operations fill a hole of the frame, some hundred at a time, so
that the time to build it grows in proportion to their number.  As the code is far longer than the
instruction cache, the first QPU fetches the next lines of it into L2 by the second TMU; arrays are
read by the first TMU alone.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any, Dict, List

from ..codegen.operand import Operand
from ..codegen.pieces import TOUCHED
from ..kernels.parts import LANES, TMU_DEPTH
from .emit import Emitter
from .own import Own, Writer
from .writing import Words

if TYPE_CHECKING:
    from ..codegen import Program

__all__ = ["Long"]

PIECE = 224
"""Instructions of a piece, before add and mul ones share words."""
TOUCHES = 7
"""Touches of a piece; they fetch as many words as it has at most."""

_SHARE = (LANES // TOUCHED).bit_length() - 1


class Long(Own):
    """The kernel of a graph; see the module's text."""

    tmus = 1

    def begin_stream(self, words: Words, q: int) -> None:
        words.add(q, int(q == 0))

    def assemble(self, name: str) -> "Program":
        """The program; :meth:`streams` makes what it reads."""
        from ..codegen import Assembler
        from ..codegen.pieces import Frame

        asm = Assembler(name)
        writer = _Writer(asm, self)
        writer.begin()
        unroll = self.options.unroll
        results = [asm.regs(f"result{place}_", unroll) for place in range(len(self.graph.results))]
        frame = Frame(asm, writer.registers(), [each for row in results for each in row])
        writer.end(results.__getitem__)
        places: Dict[Operand, Any] = dict(frame.allocate())
        writer.move(places)
        results = [[places[each] for each in row] for row in results]
        collecting = gc.isenabled()
        gc.disable()  # none of a million objects is garbage; looking for some takes a third longer
        try:
            _Pieces(self, frame, writer, results).write()
            return frame.assemble("code")
        finally:
            if collecting:
                gc.enable()


class _Writer(Writer):
    """The frame."""

    def first(self) -> None:
        asm = self.asm
        self.code, link = asm.reg("code"), asm.reg("link")
        asm.branch("code", link=link)
        asm.label("code")
        line, self.lead = asm.reg("line"), asm.reg("lead")
        asm.mov(self.lead, asm.unif)
        asm.shr(line, asm.elem_num, _SHARE)
        asm.shl(line, line, 6)
        asm.mul24(line, line, self.lead)
        asm.add(self.code, link, line)
        for _ in range(TMU_DEPTH):
            asm.mov(asm.t1s, self.code)

    def last(self) -> None:
        for _ in range(TMU_DEPTH):
            self.asm.ldtmu(1)

    def registers(self) -> List[Operand]:
        """What the operations need of the frame."""
        supply, reader = self.supply, self.reader
        found = [self.code, self.lead, *supply.scalars.values(), *supply.constants.values()]
        found += self.uniform.values()
        for array in reader.arrays.values():
            found += [each for each in (array.at, array.last, array.shift) if each is not None]
        found += reader.steps.values()
        if self.kernel.body.index_used:
            found.append(self.element)
        if self.kernel.spills:
            found += [self.spilled, self.reloaded]
        return [each for each in dict.fromkeys(found) if isinstance(each, Operand)]

    def move(self, places: Dict[Operand, Any]) -> None:
        """From here on these registers have their places."""
        supply, reader = self.supply, self.reader
        self.code, self.lead = places[self.code], places[self.lead]
        for table in (supply.scalars, supply.constants, self.uniform, reader.steps):
            for key, register in table.items():
                table[key] = places.get(register, register)  # a constant stays
        for array in reader.arrays.values():
            array.at, array.last = places[array.at], places[array.last]
            if array.shift is not None:
                array.shift = places[array.shift]
        if self.element in places:
            self.element = places[self.element]
        if self.kernel.spills:
            self.spilled, self.reloaded = places[self.spilled], places[self.reloaded]


class _Pieces:
    """Writes the operations."""

    def __init__(self, kernel: Long, frame: Any, writer: _Writer, results: List[Any]) -> None:
        self.kernel, self.frame, self.writer, self.results = kernel, frame, writer, results
        self.alive: Dict[int, List[Any]] = {}
        self.touches = 0
        self.emitter = Emitter(
            None,  # type: ignore[arg-type]
            kernel.body,
            kernel.options.unroll,
            writer.supply,
            uniform=writer.uniform,
        )
        self.uniform = dict(self.emitter.values)
        self._begin()

    def _begin(self) -> None:
        from ..codegen import Assembler

        asm = Assembler(self.frame.asm.name)
        self.asm = self.emitter.asm = self.writer.asm = self.writer.reader.asm = asm
        self.emitter.flags = None
        self.touches = 0
        self._touch()

    def _touch(self) -> None:
        from ..codegen.pieces import touch

        self.asm.ldtmu(1)
        touch(self.asm, 1, self.writer.code, self.writer.lead)
        self.touches += 1

    def write(self) -> None:
        """All pieces; they leave the results where the frame wants them."""
        emitter = self.emitter
        emitter.aim(self.results)
        emitter.after_step = self._after
        emitter.spills = self.kernel.spills
        emitter.brief = bool(emitter.spills)
        emitter.write()
        for number, into in zip(self.kernel.body.results, self.results):
            for value, register in zip(emitter.value(number), into):
                if value is not register:
                    self.asm.mov(register, value)
        self.frame.piece(self.asm, [each for row in self.results for each in row])

    def _after(self, position: int) -> None:
        body = self.kernel.body
        number = body.steps[position]
        values = self.emitter.values.get(number)
        if values is not None:
            self.alive[number] = values
        if self.asm.count >= PIECE // TOUCHES * self.touches:
            if self.touches < TOUCHES:
                self._touch()
            else:
                self._cut(position)

    def _cut(self, position: int) -> None:
        """End a piece: what is alive gets a place for good."""
        last = self.kernel.body.last
        kept = {
            number: values
            for number, values in self.alive.items()
            if last.get(number, -1) > position
        }
        registers = {id(each): each for values in kept.values() for each in _flat(values)}
        keep = list(registers.values())
        places = dict(zip(registers, self.frame.piece(self.asm, keep)))
        self.alive = {number: _moved(values, places) for number, values in kept.items()}
        # Whatever else there is, is found anew when it is wanted.
        self.emitter.values = {**self.uniform, **self.alive}
        self._begin()


def _flat(values: Any) -> List[Operand]:
    """The registers among values, which may be lists of values."""
    found: List[Operand] = []
    for each in values:
        if isinstance(each, list):
            found += _flat(each)
        elif isinstance(each, Operand):
            found.append(each)
    return found


def _moved(values: Any, places: Dict[int, Operand]) -> List[Any]:
    return [
        _moved(each, places) if isinstance(each, list) else places.get(id(each), each)
        for each in values
    ]
