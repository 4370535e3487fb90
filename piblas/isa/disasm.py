"""Instruction to text.

The text shows what an instruction means; fields that change nothing about it but differ from what
:func:`piblas.isa.parse.parse` would fill in follow as ``!name=value``, so that text and word are
exact images of each other.  A pack mode that the chip does not apply, such as file A's on an
accumulator, is such a field.  The grammar is in :mod:`piblas.isa.syntax`.
"""

from __future__ import annotations

from typing import List, Tuple

from . import fields, modes, ops, regs
from .instr import Instr, decode

__all__ = ["disassemble", "to_text"]


def _source(instr: Instr, mux: int) -> str:
    if mux == regs.MUX_A:
        text = regs.READ_NAME["A", instr.raddr_a]
        return text if instr.pm or not instr.unpack else f"{text}.{modes.UNPACK_A[instr.unpack]}"
    if mux == regs.MUX_B:
        if instr.format == fields.SMALL_IMM:
            return modes.SMALL_IMMS[instr.small_imm].text
        return regs.READ_NAME["B", instr.raddr_b]
    if mux == regs.MUX_R4 and instr.pm and instr.unpack:
        return f"r4.{modes.UNPACK_R4[instr.unpack]}"
    return regs.MUX_NAMES[mux]


def _destinations(instr: Instr) -> Tuple[str, str]:
    add = regs.WRITE_NAME[instr.file_add, instr.waddr_add]
    mul = regs.WRITE_NAME[instr.file_mul, instr.waddr_mul]
    if instr.pack:
        if instr.pm:
            if instr.waddr_mul != regs.NOP_ADDR:
                mul += f".{modes.PACK_MUL[instr.pack]}"
        elif instr.ws:
            if instr.waddr_mul < 32:
                mul += f".{modes.PACK_A[instr.pack]}"
        elif instr.waddr_add < 32:
            add += f".{modes.PACK_A[instr.pack]}"
    return add, mul


def _operation(
    instr: Instr, op: ops.Op, cond: int, sf: bool, dst: str, muxes: Tuple[int, int]
) -> str:
    a, b = muxes
    name, nsrc = op.name, op.nsrc
    if a == b and (op.unit, op.name) in (("add", "or"), ("mul", "v8min")):
        name, nsrc = "mov", 1
    if op.unit == ops.MUL and name in ("nop", "mov", "v8adds", "v8subs"):
        name = "m_" + name
    if sf:
        name += ".sf"
    if cond != (modes.COND_ALWAYS if op.code else modes.COND_NEVER):
        name += f".{modes.CONDITIONS[cond]}"
    operands = [dst] + [_source(instr, mux) for mux in (a, b)[:nsrc]]
    if not op.code and dst == "-":
        operands = []
    return f"{name} {', '.join(operands)}".rstrip()


def _alu(instr: Instr) -> str:
    add_op = ops.ADD_BY_CODE[instr.op_add]
    mul_op = ops.MUL_BY_CODE[instr.op_mul]
    dst_add, dst_mul = _destinations(instr)
    parts: List[str] = []
    # Without an operation of the add unit the mul unit's sets the flags.
    flags_from_add = bool(instr.sf and instr.op_add)
    flags_from_mul = bool(instr.sf and instr.op_mul) and not flags_from_add
    if instr.op_add or instr.cond_add or dst_add != "-":
        parts.append(
            _operation(
                instr,
                add_op,
                instr.cond_add,
                flags_from_add,
                dst_add,
                (instr.add_a, instr.add_b),
            )
        )
    rotate = None
    if instr.format == fields.SMALL_IMM:
        rotate = modes.SMALL_IMMS[instr.small_imm].rotate
    if instr.op_mul or instr.cond_mul or dst_mul != "-" or rotate is not None:
        text = _operation(
            instr, mul_op, instr.cond_mul, flags_from_mul, dst_mul, (instr.mul_a, instr.mul_b)
        )
        parts.append(text if rotate is None else f"{text} rot {rotate}")
    if instr.sf and not parts:
        parts.append("nop.sf")
    signal = modes.SIGNALS[instr.sig]
    if signal.code not in (modes.SIG_NONE, modes.SIG_SMALL_IMM):
        parts.append(signal.name)
    return "; ".join(parts) or "nop"


def per_element(instr: Instr) -> List[int]:
    """The 16 values of a per-element load immediate."""
    high = -2 if instr.load_kind == modes.LOAD_SIGNED else 2
    return [(instr.imm >> e & 1) + high * (instr.imm >> (16 + e) & 1) for e in range(16)]


def _load(instr: Instr) -> str:
    name = modes.LOAD_KINDS[instr.load_kind]
    texts = []
    units = ((instr.cond_add, bool(instr.sf)), (instr.cond_mul, False))
    for dst, (cond, sets_flags) in zip(_destinations(instr), units):
        default = modes.COND_NEVER if dst == "-" and not sets_flags else modes.COND_ALWAYS
        texts.append(dst if cond == default else f"{dst}.{modes.CONDITIONS[cond]}")
    if instr.load_kind == modes.LOAD_SEMAPHORE:
        name = "sema_down" if instr.imm & 16 else "sema_up"
        texts = [str(instr.imm & 15)] + (texts if texts != ["-", "-"] else [])
    elif instr.load_kind == modes.LOAD_32:
        texts.append(f"{instr.imm:#010x}")
    else:
        texts.append("[" + " ".join(str(value) for value in per_element(instr)) + "]")
    return f"{name}{'.sf' if instr.sf else ''} {', '.join(texts)}"


def _branch(instr: Instr) -> str:
    offset = instr.imm - ((instr.imm & 0x80000000) << 1)
    text = f"br.{modes.BRANCH_CONDITIONS[instr.cond_br]}"
    text += f" rel {offset:+d}" if instr.rel else f" abs {instr.imm:#010x}"
    if instr.reg:
        text += f" + ra{instr.raddr_a}"
    links = _destinations(instr)
    return text if links == ("-", "-") else f"{text}, {links[0]}, {links[1]}"


def to_text(instr: Instr) -> str:
    """The text of an instruction; :func:`piblas.isa.parse.parse` gives the instruction back."""
    from .parse import parse_plain  # the two modules mirror each other

    if instr.format in (fields.ALU, fields.SMALL_IMM):
        text = _alu(instr)
    elif instr.format == fields.BRANCH:
        text = _branch(instr)
    else:
        text = _load(instr)
    plain = parse_plain(text)
    names = [f.name for f in fields.FORMATS[instr.format] if f.must_be is None]
    residue = [
        f"!{name}={getattr(instr, name)}"
        for name in names
        if getattr(instr, name) != getattr(plain, name)
    ]
    return " ".join([text] + residue)


def disassemble(word: int) -> str:
    """The text of a 64-bit word, or ``.word`` with the reason it is no instruction."""
    from ..errors import DecodeError

    try:
        return to_text(decode(word))
    except DecodeError as error:
        return f".word {word:#018x}  # {error.reason}"
