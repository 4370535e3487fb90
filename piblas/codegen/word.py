"""Merge operations on physical registers into one instruction word.

A word has one add and one mul operation, one signal, one read address of each register file (a
small immediate takes the place of file B's), one pack and one unpack mode, and ``ws``, which says
which unit writes which file (guide, p. 26-32).  ``Need`` is what an operation asks of a word;
``Word.add`` takes an operation if all of its needs agree with what is there.
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from ..isa import hazards, modes, ops, regs
from ..isa.events import REGISTER_READS, SIGNAL_BITS, rotation, under_condition
from ..isa.instr import NOP, Instr
from .code import ALU, BRANCH, END, LOAD, RAW, SIGNAL, Operation
from .operand import Const, Loc, Port

__all__ = ["Need", "Word", "ADD_SLOT", "MUL_SLOT", "SIGNAL_SLOT"]

ADD_SLOT, MUL_SLOT, SIGNAL_SLOT = 1, 2, 4
"""What a word has one of, as bits of ``Need.slots`` and ``Word.free``."""
_ANY_SLOT = ADD_SLOT | MUL_SLOT | SIGNAL_SLOT
_SLOT = {ops.ADD: ADD_SLOT, ops.MUL: MUL_SLOT}
_NULL = regs.NOP_ADDR
_READ_FLAGS, _WRITE_FLAGS = hazards.mask("read_flags"), hazards.mask("write_flags")


class Need:
    """What one operation takes of a word; -1 and None stand for "nothing".

    The stages before have made sure that the operation alone fits a word.
    """

    __slots__ = (
        "op",
        "units",
        "slots",
        "a",
        "b",
        "imm",
        "flex",
        "muxes",
        "unpack_a",
        "unpack_r4",
        "pm",
        "pack",
        "file",
        "addr",
        "is_float",
        "whole",
        "events",
    )

    def __init__(self, op: Operation) -> None:
        self.op = op
        self.units: Tuple[str, ...] = ()
        self.slots = 0  # one of which it takes
        self.is_float = False
        for row in op.choices:
            self.units += (row.unit,)
            self.slots |= _SLOT[row.unit]
            self.is_float |= row.float_in
        if not self.slots:
            self.slots = SIGNAL_SLOT if op.kind == SIGNAL else _ANY_SLOT
        self.a = self.b = self.imm = -1
        self.flex: Tuple[int, ...] = ()
        self.muxes: List[int] = []  # 0..7; -1 - address for a read through either file
        self.unpack_a = self.unpack_r4 = -1
        self.pm: Optional[int] = None
        self.pack = 0
        self.file = ""
        self.addr = _NULL
        self.whole = op.kind not in (ALU, SIGNAL)
        self.events = 0  # those of its word that the operation is the cause of
        if op.kind == ALU:
            self._sources()
        if op.kind in (ALU, LOAD, BRANCH):
            self._destination()
        if self.whole:
            self.events = hazards.events(self.instr())
        else:
            self.events |= SIGNAL_BITS[op.signal]

    def _sources(self) -> None:
        op = self.op
        reads = 0
        if op.rotate:
            self.imm = op.rotate
        for src, unpack in zip(op.srcs, op.unpacks):
            reads |= src.reads
            if isinstance(src, Const):
                assert src.code is not None
                assert self.b < 0 and self.imm in (-1, src.code), op
                self.imm = src.code
                self.muxes.append(regs.MUX_B)
                continue
            if isinstance(src, Loc):
                file, addr = src.file, src.addr
            else:
                assert isinstance(src, Port) and src.read
                addr, file = src.read
            if file == "A":
                assert self.a in (-1, addr) and self.unpack_a in (-1, unpack), op
                self.a, self.unpack_a = addr, unpack
                self.muxes.append(regs.MUX_A)
                if unpack:
                    self.pm = 0
            elif file == "B":
                assert self.b in (-1, addr) and self.imm < 0, op
                self.b = addr
                self.muxes.append(regs.MUX_B)
            elif file == "AB":
                if addr not in self.flex:
                    self.flex += (addr,)
                self.muxes.append(-1 - addr)
            else:
                self.muxes.append(addr)
                if addr == regs.MUX_R4:
                    assert self.unpack_r4 in (-1, unpack), op
                    self.unpack_r4 = unpack
                    if unpack:
                        self.pm = 1
        self.events = reads | rotation(reads, op.rotate) if op.rotate else reads
        if op.cond == modes.COND_NEVER:
            self.events &= ~REGISTER_READS
        if op.sf:
            self.events |= _WRITE_FLAGS
        if op.cond > modes.COND_ALWAYS:
            self.events |= _READ_FLAGS

    def _destination(self) -> None:
        op = self.op
        if op.dst is not None:
            bits = op.dst.writes
            if op.cond != modes.COND_ALWAYS:
                bits = under_condition(bits, op.cond)
            self.events |= bits
        if isinstance(op.dst, Loc):
            if op.dst.index < 64:
                self.file, self.addr = op.dst.file, op.dst.addr
            else:
                self.addr = 32 + op.dst.addr
        elif isinstance(op.dst, Port):
            assert op.dst.write
            self.addr, file = op.dst.write
            self.file = "" if file == "AB" else file
        if op.pack:
            pm, self.pack = op.pack
            assert self.pm in (None, pm), op
            self.pm = pm

    def instr(self) -> Instr:
        """The instruction of an operation that takes a whole word."""
        op = self.op
        if op.kind == RAW:
            assert op.instr is not None
            return op.instr
        if op.kind == END:
            return NOP.but(sig=3)
        ws = int(self.file == "B")
        if op.kind == BRANCH:
            reg = op.srcs[0] if op.srcs else None
            return Instr.branch(
                cond_br=op.cond_br,
                rel=int(op.rel),
                reg=int(reg is not None),
                raddr_a=reg.addr if isinstance(reg, Loc) else 0,
                ws=ws,
                waddr_add=self.addr,
                imm=op.imm,
            )
        silent = op.dst is None
        return Instr.load(
            op.imm,
            load_kind=op.load_kind,
            ws=ws,
            waddr_add=self.addr,
            cond_add=modes.COND_NEVER if silent else op.cond,
            sf=int(op.sf),
            pm=self.pm or 0,
            pack=self.pack,
        )


class Word:
    """An instruction word in the making."""

    __slots__ = (
        "parts",
        "free",
        "adding",
        "muling",
        "signal",
        "a",
        "b",
        "imm",
        "flex",
        "unpack_a",
        "unpack_r4",
        "pm",
        "pack",
        "ws",
        "whole",
    )

    def __init__(self) -> None:
        self.parts: List[Need] = []
        self.free = _ANY_SLOT
        self.adding: Optional[Need] = None
        self.muling: Optional[Need] = None
        self.signal = modes.SIG_NONE
        self.a = self.b = self.imm = -1
        self.flex: Tuple[int, ...] = ()
        self.unpack_a = self.unpack_r4 = -1
        self.pm: Optional[int] = None
        self.pack = 0
        self.ws = -1
        self.whole = False

    def add(self, need: Need, unit: str) -> bool:
        """Take an operation on a unit; False, and nothing changed, if the word has no room."""
        if need.whole or self.whole:
            if self.parts:
                return False
            self.whole, self.free = True, 0
            self.parts.append(need)
            return True
        op = need.op
        if op.kind == SIGNAL:
            if self.signal != modes.SIG_NONE or self.imm >= 0:
                return False
            self.signal = op.signal
            self.free &= ~SIGNAL_SLOT
            self.parts.append(need)
            return True
        if not unit:  # a nop
            self.parts.append(need)
            return True
        if unit == ops.ADD:
            other = self.muling
            if self.adding is not None or (other is not None and other.op.sf):
                return False
        else:
            other = self.adding
            if self.muling is not None or (op.sf and other is not None):
                return False
        a, b, imm, flex = self.a, self.b, self.imm, self.flex
        if need.a >= 0:
            if a not in (-1, need.a):
                return False
            a = need.a
        if need.b >= 0:
            if b not in (-1, need.b):
                return False
            b = need.b
        if need.imm >= 0:
            if imm not in (-1, need.imm) or self.signal != modes.SIG_NONE:
                return False
            imm = need.imm
        if imm >= 0 and b >= 0:
            return False
        if need.flex:
            flex += tuple(addr for addr in need.flex if addr not in flex)
        if flex:
            left = sum(1 for addr in flex if addr != a and addr != b)
            if left > (a < 0) + (b < 0 and imm < 0):
                return False
        unpack_a, unpack_r4 = self.unpack_a, self.unpack_r4
        if need.unpack_a >= 0:
            if unpack_a not in (-1, need.unpack_a):
                return False
            if need.unpack_a and unpack_a >= 0 and other is not None:
                if other.is_float != need.is_float:
                    return False  # which of the two conversions applies is not known
            unpack_a = need.unpack_a
        if need.unpack_r4 >= 0:
            if unpack_r4 not in (-1, need.unpack_r4):
                return False
            unpack_r4 = need.unpack_r4
        pm = self.pm
        if need.pm is not None:
            if pm not in (None, need.pm):
                return False
            pm = need.pm
        ws = self.ws
        if need.file:
            want = int((need.file == "B") == (unit == ops.ADD))
            if ws not in (-1, want):
                return False
            ws = want
        if unit == ops.ADD:
            self.adding = need
        else:
            self.muling = need
        self.free &= ~_SLOT[unit]
        self.a, self.b, self.imm, self.flex = a, b, imm, flex
        self.unpack_a, self.unpack_r4, self.pm, self.ws = unpack_a, unpack_r4, pm, ws
        self.pack = self.pack or need.pack
        self.parts.append(need)
        return True

    def copy(self) -> "Word":
        twin = Word.__new__(Word)
        for name in Word.__slots__:
            setattr(twin, name, getattr(self, name))
        twin.parts = list(self.parts)
        return twin

    # --- encoding ------------------------------------------------------------------------------

    def instr(self) -> Instr:
        """The instruction; the offset of a branch to a label is left to the linker."""
        if self.whole:
            return self.parts[0].instr()
        if not self.parts:
            return NOP
        a, b = self.a, self.b
        where = {}
        for addr in self.flex:
            if addr == a or (addr != b and a < 0):
                a, where[addr] = addr, regs.MUX_A
            else:
                b, where[addr] = addr, regs.MUX_B
        unpack = self.unpack_r4 if self.pm else self.unpack_a
        op_add, waddr_add, cond_add, add_a, add_b = self._half(self.adding, ops.ADD, where)
        op_mul, waddr_mul, cond_mul, mul_a, mul_b = self._half(self.muling, ops.MUL, where)
        return Instr(
            sig=modes.SIG_SMALL_IMM if self.imm >= 0 else self.signal,
            unpack=max(unpack, 0) if self.pm is not None else 0,
            pm=self.pm or 0,
            pack=self.pack,
            cond_add=cond_add,
            cond_mul=cond_mul,
            sf=int(any([need.op.sf for need in self.parts])),
            ws=max(self.ws, 0),
            waddr_add=waddr_add,
            waddr_mul=waddr_mul,
            op_mul=op_mul,
            op_add=op_add,
            raddr_a=a if a >= 0 else _NULL,
            raddr_b=b if b >= 0 else _NULL,
            add_a=add_a,
            add_b=add_b,
            mul_a=mul_a,
            mul_b=mul_b,
            small_imm=max(self.imm, 0),
        )

    @staticmethod
    def _half(
        need: Optional[Need], unit: str, where: Dict[int, int]
    ) -> Tuple[int, int, int, int, int]:
        """Code, destination, condition and the two muxes of a unit."""
        if need is None:
            return 0, _NULL, modes.COND_NEVER, 0, 0
        muxes = [mux if mux >= 0 else where[-1 - mux] for mux in need.muxes]
        row = need.op.choices[need.units.index(unit)]
        return row.code, need.addr, need.op.cond, muxes[0], muxes[-1]
