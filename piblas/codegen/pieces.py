"""Programs with straight code of any length: a frame around a hole, and pieces that fill it.

Allocation looks at all values of a program at once, so its time grows faster than the program.  A
generator whose innermost code may be very long writes the rest as a *frame* with a hole
(:class:`Frame`), and the code of the hole in pieces, each with an assembler of its own.  What is
alive between two pieces stays where the earlier one has put it; registers that the frame holds
across the hole are out of the pieces' reach.  So the time grows in proportion to the code.

Long code runs once from memory to the instruction cache, and would wait for every line of it.  A
:func:`touch` has a TMU fetch the lines of the next piece, which puts them into L2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Dict, List, Sequence

from ..isa.hazards import MAX_DISTANCE
from ..isa.instr import NOP
from .check import check_program
from .code import ALU, Bundle, Code, Line, Operation
from .emit import MOVE
from .link import link
from .liveness import Liveness
from .lower import lower
from .operand import LOCS, NAMED, Loc, Operand
from .program import Program
from .regalloc import allocate
from .schedule import schedule
from .window import Window, after, shortfall

if TYPE_CHECKING:
    from .asm import Assembler

__all__ = ["Frame", "TOUCHED", "touch"]

TOUCHED = 4
"""Lines of code that a touch fetches.  More at a time would keep the port from L2 busy for so long
that the code that runs waits."""

_LINE_WORDS = 8
_TOUCH = ("touch", 0)
_HOLE, _END = "the hole", "after the hole"


def _use(operand: Operand) -> Bundle:
    """A read of a register that is in no word, for the sake of its life."""
    srcs = (operand,)
    return Bundle((Operation(ALU, "use", None, choices=MOVE, dst=NAMED["null"], srcs=srcs),))


def touch(asm: "Assembler", unit: int, base: Operand, factor: Operand) -> None:
    """Ask a TMU for the next lines of the code after this piece's.

    ``base`` holds, for each element, the bus address of the label that :meth:`Frame.assemble` is
    told, plus 64 times the number of the element's line, 0 to ``TOUCHED - 1``; ``factor`` is 1.  A
    QPU with a factor of 0 asks for the first lines again.  The result has to be popped.
    """
    offset, distance = asm.reg("offset"), asm.reg("distance")
    asm.ldi(offset, 0)
    bundle = asm._items[-1]
    assert isinstance(bundle, Bundle)
    bundle.ops[0].where = _TOUCH
    asm.mul24(distance, offset, factor)
    asm.add((asm.t0s, asm.t1s)[unit], base, distance)


class Frame:
    """The hole of a program, at the place where it is made: ``asm`` goes on after it.

    The pieces read the registers ``reads`` and may change them; they write ``writes`` without
    having read them.  Accumulators do not survive the hole.
    """

    def __init__(
        self, asm: "Assembler", reads: Sequence[Operand], writes: Sequence[Operand]
    ) -> None:
        self.asm = asm
        asm.label(_HOLE)
        for register in (*writes, *(LOCS[64 + i] for i in range(4))):
            asm.mov(register, 0)
        first = len(asm._items)
        asm._items += [_use(register) for register in (*reads, *writes)]
        self._registers = [*reads, *writes]
        self._uses = asm._items[first:]
        asm.label(_END)
        self._pieces: List[List[Line]] = []
        self._window: Window = (0, 0, 0)

    def allocate(self) -> Dict[Operand, Loc]:
        """Place the frame, which is complete; where the registers of the hole are."""
        asm = self.asm
        asm._finished = True
        code = lower(Code.of(asm.name, asm._items))
        code, self._names = allocate(code)
        self._lines = schedule(code)
        hole = code.labels()[_HOLE]
        live = Liveness(code)
        before = sum(len(block.bundles) for block in code.blocks[:hole])
        end = before + len(code.blocks[hole].bundles)
        points = (1 << 2 * end + 1) - (1 << 2 * before)
        self.held = [
            LOCS[number]
            for number, span in live.intervals().items()
            if number < 64 and span & points
        ]
        """Registers that the pieces leave alone."""
        places = {}
        for register, bundle in zip(self._registers, self._uses):
            assert isinstance(bundle, Bundle)
            (place,) = bundle.ops[0].srcs
            assert isinstance(place, Loc)
            places[register] = place
        return places

    def piece(self, asm: "Assembler", keep: Sequence[Operand]) -> List[Loc]:
        """Add what an assembler has collected; where it has put the registers ``keep``, which a
        later piece reads."""
        code = lower(Code.of(asm.name, asm._items))
        uses = [_use(each) for each in keep]
        code.blocks[-1].bundles += uses + [_use(each) for each in self.held]
        for each in keep:
            if not isinstance(each, Loc):
                each.allowed &= (1 << 64) - 1  # type: ignore[attr-defined]
        code, _ = allocate(code, swaps=0)
        places = [bundle.ops[0].srcs[0] for bundle in uses]
        last = code.blocks[-1]
        last.bundles = last.bundles[: -len(uses) - len(self.held) or None]
        lines = schedule(code)
        missing = shortfall(self._window, [line.events for line in lines[:MAX_DISTANCE]])
        lines = [Line(NOP, 0) for _ in range(missing)] + lines
        self._window = after(self._window, lines)
        self._pieces.append(lines)
        return places  # type: ignore[return-value]

    def assemble(self, base: str = "") -> Program:
        """The whole program; touches count from the label ``base``."""
        lines, labels = self._lines, {}
        for i, line in enumerate(lines):
            for label in line.labels:
                labels[label] = i
        begin, end = labels[_HOLE], labels[_END]
        nops = [Line(NOP, 0) for _ in range(MAX_DISTANCE)]
        body = [line for piece in self._pieces for line in piece]
        whole = lines[:begin] + nops + body + [Line(NOP, 0) for _ in range(MAX_DISTANCE)]
        whole[begin].labels = lines[begin].labels + whole[begin].labels
        whole += lines[end:]
        self._aim_touches(begin + len(nops), labels.get(base, 0), len(whole))
        return check_program(link(self.asm.name, whole, self._names))

    def _aim_touches(self, first: int, base: int, total: int) -> None:
        """Touches of a piece fetch the next piece, those of the last the first."""
        starts = [first]
        for piece in self._pieces:
            starts.append(starts[-1] + len(piece))
        starts[-1] = first
        last = max(total // _LINE_WORDS - TOUCHED, 0) * _LINE_WORDS
        for piece, at in zip(self._pieces, starts[1:]):
            for line in piece:
                if _TOUCH in line.wheres:
                    line.wheres = ()
                    line.instr = line.instr.but(imm=8 * (min(at, last) - base) & 0xFFFFFFFF)
                    at += TOUCHED * _LINE_WORDS

