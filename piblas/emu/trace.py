"""One line an instruction: what it read, what it wrote.

A line looks like this::

    QPU  0  pc    7  fadd.sf r0, ra1, rb2  |  ra1=1.5 rb2=2 -> r0=3.5 z=0000 n=0000 c=ffff

- With two threads on a QPU, ``QPU  0.1`` is the second one.
- Vectors are short: one value if all 16 elements are equal, ``first+step*e`` if they rise evenly,
  else the first three and the last (or all of them, on demand).
- Operands and results of float operations are floats; others are decimal from -65536 to 65535 and
  hexadecimal outside.  Moves, loads and peripherals do not say what they carry, so they show the
  pattern.
- An operand is the value that the instruction really used: unpacked, and the old one where a
  register was written too late.  A result is what the destination holds afterwards; ``@00f0`` are
  the elements for which the condition held, if not all.
- Flags are masks: bit e is element e.

The values are taken from the machine's state before and after the compiled code has executed the
instruction; nothing is computed here.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import numpy as np

from ..errors import DecodeError
from ..isa import fields, modes, ops, regs
from ..isa.instr import Instr, decode
from . import layout as x

__all__ = ["Tracer", "show"]

_ALL = 0xFFFF
# Peripherals that an operand can read, and where the machine keeps what they gave.
_PORTS = {"elem_num": x.SLOT_ELEMENT, "qpu_num": x.SLOT_QPU}
for _name in ("unif", "vpm", "vdr_busy"):
    _PORTS[_name] = x.SLOT_PORT_A
for _name in ("unif_b", "vpm_b", "vdw_busy"):
    _PORTS[_name] = x.SLOT_PORT_B


def _number(word: int, as_float: bool) -> str:
    if as_float:
        return f"{np.uint32(word).view(np.float32):.9g}"
    signed = word - ((word & 0x80000000) << 1)
    return str(signed) if -65536 <= signed <= 65535 else f"{word:#x}"


def show(vector: np.ndarray, as_float: bool = False, full: bool = False) -> str:
    """16 words (uint32) as a short text; ``full`` spells out all that differ."""
    words = [int(word) for word in vector]
    if len(set(words)) == 1:
        return _number(words[0], as_float)
    step = (words[1] - words[0]) & 0xFFFFFFFF
    step -= (step & 0x80000000) << 1
    even = all((b - a - step) & 0xFFFFFFFF == 0 for a, b in zip(words, words[1:]))
    if even and not as_float and not full:
        return f"{_number(words[0], False)}{step:+d}*e"
    texts = [_number(word, as_float) for word in words]
    if not full:
        texts[3:15] = [".."]
    return "[" + " ".join(texts) + "]"


class Tracer:
    """Lines about the steps of a machine: call ``before``, let it step, call ``after``."""

    def __init__(self, machine: Any, full: bool = False) -> None:
        self._machine = machine
        self._full = full

    def before(self, qpu: int) -> None:
        """Keep what the next instruction of a QPU will find."""
        s = self._machine._state
        self._qpu = qpu
        self._pc, self._text = self._machine.instruction(qpu)
        self._thread = self._machine.thread(qpu)
        words = self._machine.words(int(s.Q[qpu, x.Q_PC]) & ~7, 2)
        self._instr: Optional[Instr] = None
        if words is not None:
            try:
                self._instr = decode(int(words[0]) | int(words[1]) << 32)
            except DecodeError:
                pass
        self._vectors = self._slots(qpu).copy()
        self._row = s.Q[qpu].copy()

    def after(self) -> str:
        """The line of the instruction that was executed."""
        instr = self._instr
        assert instr is not None  # a word that is no instruction does not execute
        self._now = self._slots(self._qpu)
        self._now_row = self._machine._state.Q[self._qpu]
        if self._machine.thread(self._qpu) != self._thread:
            # The other thread runs now: what was written is in its half of the files.
            self._now = self._now.copy()
            for file in (0, x.FILE_B):
                self._now[file : file + 32] = np.roll(self._now[file : file + 32], 16, axis=0)
        inputs = self._inputs(instr)
        outputs = self._outputs(instr)
        text = self.head()
        if inputs or outputs:
            text += "  | "
        if inputs:
            text += " " + " ".join(inputs)
        if outputs:
            text += " -> " + " ".join(outputs)
        return text

    def head(self) -> str:
        """QPU, pc and text of the instruction."""
        thread = "" if self._thread is None else f".{self._thread}"
        return f"QPU {self._qpu:2d}{thread}  pc {self._pc:4d}  {self._text}"

    def _slots(self, qpu: int) -> np.ndarray:
        return self._machine._state.R.reshape(-1, x.SLOTS, 16)[qpu]

    def _show(self, name: str, vector: np.ndarray, as_float: bool) -> str:
        return f"{name}={show(vector, as_float, self._full)}"

    # --- operands ------------------------------------------------------------------------------

    def _inputs(self, instr: Instr) -> List[str]:
        texts: List[str] = []
        if instr.is_alu:
            for op, muxes in (
                (ops.ADD_BY_CODE[instr.op_add], (instr.add_a, instr.add_b)),
                (ops.MUL_BY_CODE[instr.op_mul], (instr.mul_a, instr.mul_b)),
            ):
                for mux in muxes[: op.nsrc]:
                    operand = self._operand(instr, mux)
                    if operand is not None:
                        texts.append(self._show(*operand, op.float_in))
        elif instr.format == fields.BRANCH and instr.reg:
            operand = self._operand(instr, regs.MUX_A)
            if operand is not None:
                texts.append(self._show(*operand, False))
        return list(dict.fromkeys(texts))

    def _operand(self, instr: Instr, mux: int) -> Optional[Tuple[str, np.ndarray]]:
        """Name and value of an operand; None for one without a value, and for an immediate, which
        the text shows already."""
        if mux == regs.MUX_B and instr.format == fields.SMALL_IMM:
            return None
        if mux >= regs.MUX_A:
            file, address = ("A", instr.raddr_a) if mux == regs.MUX_A else ("B", instr.raddr_b)
            name, vector = regs.READ_NAME[file, address], self._register(file, address)
            if vector is None:
                return None
        else:
            name, vector = regs.MUX_NAMES[mux], self._vectors[x.ACC + mux]
        if instr.unpack and mux == (regs.MUX_R4 if instr.pm else regs.MUX_A):
            name = f"{name}.{modes.UNPACK_A[instr.unpack]}"
            vector = self._now[x.SLOT_UNPACKED]
        return name, vector

    def _register(self, file: str, address: int) -> Optional[np.ndarray]:
        """What a read address gave; None where that is undefined, as behind a wait."""
        if address >= 32:
            slot = _PORTS.get(regs.READ_NAME[file, address])
            return None if slot is None else self._now[slot]
        slot = address if file == "A" else x.FILE_B + address
        if self._row[x.Q_SPECIAL] & x.SP_HAZARD:
            if self._row[x.Q_HAZ_A] == 16 * slot:
                return self._vectors[x.SLOT_OLD_A]
            if self._row[x.Q_HAZ_B] == 16 * slot:
                return self._vectors[x.SLOT_OLD_B]
        return self._vectors[slot]

    # --- results -------------------------------------------------------------------------------

    def _outputs(self, instr: Instr) -> List[str]:
        texts = []
        add_float = mul_float = False
        active_add = active_mul = True
        taken = True
        if instr.is_alu:
            add_float = ops.ADD_BY_CODE[instr.op_add].float_out
            mul_float = ops.MUL_BY_CODE[instr.op_mul].float_out
            active_add, active_mul = instr.op_add != 0, instr.op_mul != 0
        elif instr.format == fields.BRANCH:
            taken = active_add = active_mul = bool(self._now_row[x.Q_TAKEN])
            start = self._row[x.Q_PC] - 8 * self._pc
            target = int(self._now_row[x.Q_TARGET] - start) // 8
            texts.append(f"pc {target}" if taken else "not taken")
        for active, cond, file, address, as_float, slot in (
            (active_add, instr.cond_add, instr.file_add, instr.waddr_add, add_float, x.SLOT_X),
            (active_mul, instr.cond_mul, instr.file_mul, instr.waddr_mul, mul_float, x.SLOT_Y),
        ):
            if not active or address == regs.NOP_ADDR:
                continue
            mask = _ALL if instr.format == fields.BRANCH else self._mask(cond)
            name = regs.WRITE_NAME[file, address]
            if name == "mutex":  # a release takes no value
                texts.append(name)
                continue
            vector = self._written(file, address, slot)
            text = self._show(name, vector, as_float and not instr.pack)
            texts.append(text if mask == _ALL else f"{text}@{mask:04x}")
        loads_r4 = instr.is_alu and modes.SIGNALS[instr.sig].loads_r4
        if loads_r4 or (self._row[x.Q_SFU] and not self._now_row[x.Q_SFU]):
            texts.append(self._show("r4", self._now[x.R4], not loads_r4))
        if instr.format == fields.SEMAPHORE:
            number = instr.imm & 15
            count = int(self._machine.semaphores[number])
            texts.append(f"semaphore {number}={count}")
        if instr.raddr_a & 1 and taken if instr.format == fields.BRANCH else instr.sf:
            row = self._now_row
            texts += [f"{n}={int(row[i]):04x}" for n, i in zip("znc", (x.Q_Z, x.Q_N, x.Q_C))]
        return texts

    def _mask(self, cond: int) -> int:
        """The elements for which a condition held before the instruction."""
        if cond < 2:
            return _ALL if cond else 0
        flags = int(self._row[(x.Q_Z, x.Q_N, x.Q_C)[cond // 2 - 1]])
        return ~flags & _ALL if cond & 1 else flags

    def _written(self, file: str, address: int, slot: int) -> np.ndarray:
        """What a destination holds now; for a peripheral, what it was given."""
        if address < 32:
            return self._now[address if file == "A" else x.FILE_B + address]
        if address < 36:
            return self._now[x.ACC + address - 32]
        if regs.WRITE_NAME[file, address] in ("r5rep", "r5quad"):
            return self._now[x.R5]
        return self._now[slot]
