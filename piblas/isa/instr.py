"""One unpacked instruction, and the only code that knows where its bits go.

``encode`` and ``decode`` loop over the same rows (:mod:`piblas.isa.fields`); a word that no field
value explains is refused with a reason, so decoding never loses a bit.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Optional

from ..errors import DecodeError
from . import fields, modes, ops, regs

__all__ = ["Instr", "NOP", "encode", "decode"]


@dataclass(frozen=True)
class Instr:
    """An instruction word, field by field; the defaults are the reference nop.

    Which fields count depends on ``format`` (see :data:`piblas.isa.fields.FORMATS`); the others
    must keep their defaults.  ``imm`` is an unsigned 32-bit value: the immediate of a load, the
    semaphore word, or the byte offset of a branch modulo 2**32.
    """

    sig: int = modes.SIG_NONE
    unpack: int = 0
    pm: int = 0
    pack: int = 0
    cond_add: int = modes.COND_NEVER
    cond_mul: int = modes.COND_NEVER
    sf: int = 0
    ws: int = 0
    waddr_add: int = regs.NOP_ADDR
    waddr_mul: int = regs.NOP_ADDR
    op_mul: int = 0
    op_add: int = 0
    raddr_a: int = regs.NOP_ADDR
    raddr_b: int = regs.NOP_ADDR
    add_a: int = 0
    add_b: int = 0
    mul_a: int = 0
    mul_b: int = 0
    small_imm: int = 0
    load_kind: int = 0
    imm: int = 0
    cond_br: int = 0
    rel: int = 0
    reg: int = 0

    @property
    def format(self) -> str:
        """One of the formats of :mod:`piblas.isa.fields`."""
        if self.sig == modes.SIG_BRANCH:
            return fields.BRANCH
        if self.sig == modes.SIG_LDI:
            return fields.SEMAPHORE if self.load_kind == modes.LOAD_SEMAPHORE else fields.LDI
        return fields.SMALL_IMM if self.sig == modes.SIG_SMALL_IMM else fields.ALU

    @property
    def is_alu(self) -> bool:
        """Whether the word holds an add and a mul operation."""
        return self.sig < modes.SIG_LDI

    @property
    def file_add(self) -> str:
        """The register file ("A" or "B") that ``waddr_add`` addresses."""
        return "B" if self.ws else "A"

    @property
    def file_mul(self) -> str:
        """The register file ("A" or "B") that ``waddr_mul`` addresses."""
        return "A" if self.ws else "B"

    @classmethod
    def branch(cls, **values: Any) -> "Instr":
        """A branch; unlike an ALU word's, its ``raddr_a`` has 5 bits and is 0 when unused."""
        return cls(**{"sig": modes.SIG_BRANCH, "raddr_a": 0, **values})

    @classmethod
    def load(cls, imm: int, **values: Any) -> "Instr":
        """A load immediate of the 32-bit pattern ``imm``."""
        return cls(**{"sig": modes.SIG_LDI, "imm": imm & 0xFFFFFFFF, **values})

    def but(self, **changes: Any) -> "Instr":
        """A copy with some fields changed."""
        return replace(self, **changes)


NOP = Instr()
"""The reference nop, ``100009e7009e7000``."""

_DEFAULTS = {name: getattr(NOP, name) for name in Instr.__dataclass_fields__}


def _check(instr: Instr, word: Optional[int]) -> None:
    """Refuse reserved codes."""
    if instr.format in (fields.ALU, fields.SMALL_IMM):
        if instr.op_add not in ops.ADD_BY_CODE:
            raise DecodeError(f"op_add {instr.op_add} is reserved", word)
        if instr.pm and modes.PACK_MUL[instr.pack] is None:
            raise DecodeError(f"pack {instr.pack} with pm = 1 is reserved", word)
    elif instr.format == fields.BRANCH:
        if modes.BRANCH_CONDITIONS[instr.cond_br] is None:
            raise DecodeError(f"cond_br {instr.cond_br} is reserved", word)
    else:
        if modes.LOAD_KINDS[instr.load_kind] is None:
            raise DecodeError(f"load kind {instr.load_kind} is reserved", word)
        if instr.pm and modes.PACK_MUL[instr.pack] is None:
            raise DecodeError(f"pack {instr.pack} with pm = 1 is reserved", word)


class _Layout:
    """Where the values of an instruction go in a word of one format."""

    def __init__(self, format: str) -> None:
        rows = fields.FORMATS[format]
        self.constant = sum(row.must_be << row.lo for row in rows if row.must_be is not None)
        self.fields = [row for row in rows if row.must_be is None]
        self.values = operator.attrgetter(*[row.name for row in self.fields])
        self.places = [(~row.mask, row.lo) for row in self.fields]
        used = {row.name for row in self.fields}
        self.unused = [name for name in _DEFAULTS if name not in used]
        self.others = operator.attrgetter(*self.unused)
        self.defaults = self.others(NOP)


_LAYOUTS = {format: _Layout(format) for format in fields.FORMATS}


def encode(instr: Instr) -> int:
    """The 64-bit word of an instruction; :class:`~piblas.errors.DecodeError` if it has none."""
    _check(instr, None)
    layout = _LAYOUTS[instr.format]
    word = layout.constant
    for value, (beyond, lo) in zip(layout.values(instr), layout.places):
        if value & beyond:
            _refuse(instr, layout)
        word |= value << lo
    if layout.others(instr) != layout.defaults:
        _refuse(instr, layout)
    return word


def _refuse(instr: Instr, layout: _Layout) -> NoReturn:
    """Name the first value that no word holds."""
    for field in layout.fields:
        value = getattr(instr, field.name)
        if not 0 <= value <= field.mask:
            raise DecodeError(f"{field.name} = {value} does not fit {field.width} bits")
    for name, default in zip(layout.unused, layout.defaults):
        value = getattr(instr, name)
        if value != default:
            raise DecodeError(f"{name} = {value} has no place in a word of format {instr.format}")
    raise AssertionError(instr)


def decode(word: int) -> Instr:
    """The instruction of a 64-bit word; :class:`~piblas.errors.DecodeError` if it is reserved."""
    word = int(word)
    if not 0 <= word < 1 << 64:
        raise DecodeError(f"{word} is not a 64-bit word")
    sig = word >> 60
    kind = (word >> 57) & 7
    layout_name = Instr(sig=sig, load_kind=kind if sig == modes.SIG_LDI else 0).format
    values = {}
    for field in fields.FORMATS[layout_name]:
        value = field.get(word)
        if field.must_be is None:
            values[field.name] = value
        elif value != field.must_be:
            raise DecodeError(f"bits {field.hi}:{field.lo} must be {field.must_be}", word)
    instr = Instr(**values)
    _check(instr, word)
    return instr
