"""Parts of the level-1 kernels: vectors from memory through the TMUs, and back by DMA.

Operands are contiguous words at any word address; full speed needs them on lines of 64 bytes, the
size of a 16-element vector::

    x, y --TMU0/1, a line a request, `depth` waiting in each--> values -> body -> results
    elementwise:  results -> VPM --VDW--> memory, by one QPU for all (:mod:`.elementwise`)
    reduction:    accumulators, 16 lanes each -> VPM --VDW--> partial results (:mod:`.reduce`)

Nothing outside an operand is read or written.  Requests run ahead of use, and past the end of a
range of elements; so every address is clamped to that of the range's last element (one ``min``,
which is also the write to the TMU).  Stores have the length that their setup word says.

Special values: the QPUs do not follow IEEE for Inf and NaN.  The kernels keep the largest magnitude
they met, as a bit pattern (operands, products, results: one ``fmaxabs`` each, which costs no
simulated time), and store it at the end.  A value of :data:`OVERFLOW` or more tells the host to
compute the result itself.  Denormal operands and results count as +0, and -0 as +0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Sequence, Tuple, Union

import numpy as np

from ..isa import setup_words as sw
from . import macros
from .parts import LANES, LINE, SMALLEST_NORMAL, TMU_DEPTH, UNIT_ROUNDOFF

if TYPE_CHECKING:
    from ..codegen import Assembler

__all__ = [
    "LANES",
    "LINE",
    "OVERFLOW",
    "Reader",
    "SMALLEST_NORMAL",
    "TMU_DEPTH",
    "UNIT_ROUNDOFF",
    "fill",
    "from_uniforms",
    "share",
    "store",
]

OVERFLOW = 0x7F7FFFFF
"""Pattern of the largest finite float: a magnitude from here on may stand for an overflow."""


class Input:
    """An operand on its way through a TMU, or through both in turn."""

    def __init__(
        self, asm: Assembler, name: str, units: Tuple[int, ...], ahead: int, step: Any
    ) -> None:
        self.asm, self.name, self.units, self.step = asm, name, units, step
        self.at, self.last = asm.reg(f"{name}_at"), asm.reg(f"{name}_last")
        self.ahead = ahead  # vectors that a range of elements begins with asking for
        self.asked = self.taken = 0

    def start(self, lane: Any) -> None:
        """Read the addresses of the range's first and last element; ask for the first vectors."""
        asm = self.asm
        asm.add(self.at, asm.unif, lane)
        asm.mov(self.last, asm.unif)
        self.asked = self.taken = 0
        for _ in range(self.ahead):
            self.ask()

    def ask(self) -> None:
        """Ask for the next vector.

        Bus addresses of one memory have the same top bit, so the signed minimum is theirs, too.
        """
        asm, unit = self.asm, self.units[self.asked % len(self.units)]
        asm.min((asm.t0s, asm.t1s)[unit], self.at, self.last)
        asm.add(self.at, self.at, self.step)
        self.asked += 1

    def take(self) -> Any:
        """The next vector of those asked for."""
        value = self.asm.reg(self.name)
        self._pop(value)
        return value

    def drop(self, vectors: int) -> None:
        """Take what was asked for and is not needed."""
        for _ in range(vectors):
            self._pop(None)

    def _pop(self, value: Any) -> None:
        self.asm.ldtmu(self.units[self.taken % len(self.units)], value)
        self.taken += 1


class Reader:
    """All operands, the constants that their addresses need, and the watch over magnitudes.

    A QPU's vectors are ``step`` bytes apart.  At most ``depth`` of each wait in a TMU, unless
    ``ahead`` says how many vectors are asked for at first; a single operand uses both TMUs in turn.
    """

    def __init__(
        self,
        asm: Assembler,
        inputs: int,
        depth: int,
        watch: bool,
        step: int = LINE,
        ahead: int = 0,
    ) -> None:
        self.asm = asm
        self.step, self.lane = asm.reg("bytes_to_the_next"), asm.reg("lane")
        asm.ldi(self.step, step)
        asm.shl(self.lane, asm.elem_num, 2)
        units: Tuple[Tuple[int, ...], ...] = ((0, 1),) if inputs == 1 else ((0,), (1,))
        self.inputs = [
            Input(asm, name, unit, ahead or depth * len(unit), self.step)
            for name, unit in zip("xy", units)
        ]
        self.largest = asm.reg("largest") if watch else None

    def start(self) -> None:
        for each in self.inputs:
            each.start(self.lane)

    def ask(self) -> None:
        """Ask for the next vector of each operand."""
        for each in self.inputs:
            each.ask()

    def take(self, ask: bool = True) -> List[Any]:
        """The next vector of each operand; asks for one in its place."""
        values = []
        for each in self.inputs:
            values.append(each.take())
            if ask:
                each.ask()
        return values

    def drop(self, vectors: int = 0) -> None:
        """Take what was asked for in advance and is not needed."""
        for each in self.inputs:
            each.drop(vectors or each.ahead)

    def watch(self, *values: Any) -> None:
        """Let the largest magnitude take these into account."""
        if self.largest is not None:
            for value in values:
                self.asm.fmaxabs(self.largest, self.largest, value)


def fill(asm: Assembler, rows: Any, values: Sequence[Any]) -> None:
    """Write vectors to this QPU's rows of the VPM."""
    asm.mov(asm.vpm_wr_setup, rows)
    for value in values:
        asm.mov(asm.vpm, value)


def store(asm: Assembler, transfers: Sequence[Tuple[Any, Any]]) -> None:
    """Store (setup word, address) one after the other, and wait for each.

    The setup registers are the QPU's own, so they are written before it has the mutex; between two
    transfers of two QPUs the engine is idle for three instructions.
    """
    for setup, address in transfers:
        asm.ldi(asm.vpm_wr_setup, sw.vdw_stride(0))
        asm.mov(asm.vpm_wr_setup, setup)
        with asm.fixed():
            with macros.holding_mutex(asm):
                asm.mov(asm.vdw_addr, address)
                asm.read(asm.vdw_wait)


def from_uniforms(asm: Assembler, *names: str) -> List[Any]:
    """New registers that hold the next uniforms."""
    registers = [asm.reg(name) for name in names]
    for register_ in registers:
        asm.mov(register_, asm.unif)
    return registers


def words_of(values: Union[Sequence[int], np.ndarray]) -> np.ndarray:
    """Integers of up to 32 bits, of any sign and type, as the words of a stream."""
    # By way of int64: a 32-bit system's NumPy has int32, and 0xFFFFFFFF is no number of that type.
    return np.asarray(values, dtype=np.int64).astype(np.uint32)


def share(total: int, among: int) -> List[Tuple[int, int]]:
    """``total`` things dealt to ``among`` takers: (first, how many) of each, larger ones first."""
    small, more = divmod(total, among)
    return [
        (index * small + (index if index < more else more), small + (index < more))
        for index in range(among)
    ]
