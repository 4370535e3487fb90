"""Operations as they were written, combined into one instruction word.

Parts of a word are shared: one read address of each register file, one pack and one unpack mode,
one ``pm`` that says what both act on, one bit that sets flags, one rotation (guide, p. 26-32).  A
modifier is therefore kept with the operand or operation that it was written on, and the word is
built only if it does exactly that: no modifier is dropped, moved to another operand or extended to
one that was written without it.  Everything else is refused with the operand and the reason.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, Dict, List, Optional, Sequence, Tuple

from ..errors import DecodeError
from . import modes, ops, regs
from .instr import Instr

__all__ = ["Operation", "Operand", "Result", "alu_word", "load_word", "results"]


@dataclass(frozen=True)
class Operand:
    """A source as written: its text, and one of an accumulator's mux, a read address of a register
    file, or the code of a small immediate."""

    text: str
    mux: int  # 0..5: an accumulator; MUX_A or MUX_B
    addr: int = regs.NOP_ADDR
    imm: Optional[int] = None
    unpack: int = 0

    @property
    def plain(self) -> str:
        """The name without the unpack mode."""
        return self.text if self.imm is not None else self.text.partition(".")[0]


@dataclass(frozen=True)
class Result:
    """A destination as written: ``file`` is None where either register file addresses it;
    ``pack`` is (pm, code)."""

    text: str
    file: Optional[str]
    addr: int
    pack: Optional[Tuple[int, int]] = None
    cond: Optional[int] = None


@dataclass(frozen=True)
class Operation:
    """An operation as written; ``units`` maps each unit that can do it to the unit's op."""

    text: str
    units: Dict[str, ops.Op]
    dst: Result
    srcs: Tuple[Operand, ...] = ()
    cond: int = modes.COND_ALWAYS
    sf: bool = False
    rotate: Optional[int] = None

    @property
    def is_nop(self) -> bool:
        return not any(row.code for row in self.units.values())

    @property
    def is_bare(self) -> bool:
        """Whether this is a nop of the add unit without destination, condition and rotation."""
        empty = self.dst.addr == regs.NOP_ADDR and self.cond == modes.COND_NEVER
        return self.is_nop and ops.ADD in self.units and empty and self.rotate is None

    @property
    def mul_only(self) -> Optional[str]:
        """The modifier that only the mul unit has, and why."""
        if self.rotate is not None:
            return f"rot {modes.SMALL_IMMS[self.rotate].rotate}: only the mul unit rotates"
        if self.dst.pack is not None and self.dst.pack[0]:
            return f"{self.dst.text}: only the mul unit packs colours"
        return None


def _both(name: str, values: Sequence[Any], why: str) -> DecodeError:
    one, two = values
    return DecodeError(f"{why} ({name} would have to be both {one} and {two})")


# --- units ---------------------------------------------------------------------------------------


def _choices(op: Operation) -> List[str]:
    """The units that can do an operation with its modifiers, the preferred one first."""
    need = op.mul_only
    if need is None:
        return list(op.units)
    if ops.MUL not in op.units:
        [row] = op.units.values()
        raise DecodeError(f"{need}, and {row.name} is an operation of the add unit")
    return [ops.MUL]


def _assign(operations: Sequence[Operation]) -> Dict[str, Operation]:
    """Which unit does which operation."""
    if len(operations) > 2:
        raise DecodeError(
            f"{operations[2].text!r} is one too many: a word has one operation of the add unit and "
            "one of the mul unit"
        )
    choices = [_choices(op) for op in operations]
    flags = None
    for units in itertools.product(*choices):
        if len(set(units)) < len(units):
            continue
        placed = dict(zip(units, operations))
        flags = flags or _wrong_flags(placed)
        if _wrong_flags(placed) is None:
            return placed
    if flags is not None:
        raise flags
    one, two = operations
    [unit] = set(choices[0]) & set(choices[1])
    needs = "; ".join(filter(None, (one.mul_only, two.mul_only)))
    why = f" ({needs})" if needs else ""
    raise DecodeError(f"{one.text!r} and {two.text!r} both need the {unit} unit{why}")


def _wrong_flags(placed: Dict[str, Operation]) -> Optional[DecodeError]:
    """What is wrong with the place of ``.sf``: flags come from the add unit unless it has a nop."""
    add, mul = placed.get(ops.ADD), placed.get(ops.MUL)
    for op in placed.values():
        if op.sf and op.is_nop and not (op.is_bare and len(placed) == 1):
            return DecodeError(f"{op.text!r}: a nop sets no flags; .sf goes with an operation")
    if mul is not None and mul.sf and add is not None and not add.is_nop:
        return DecodeError(
            f"{mul.text!r}: .sf would take the flags from {add.text!r}: they come from the add "
            "unit's operation, and from the mul unit's only where the add unit has none"
        )
    return None


# --- destinations --------------------------------------------------------------------------------


def results(dsts: Dict[str, Result]) -> Dict[str, int]:
    """The fields ``ws``, ``waddr_*``, and ``pm`` and ``pack`` if there is one, of destinations."""
    values: Dict[str, int] = {}
    for unit, dst in dsts.items():
        values[f"waddr_{unit}"] = dst.addr
        if dst.file is None:
            continue
        ws = int((dst.file == "B") == (unit == ops.ADD))
        if values.setdefault("ws", ws) != ws:
            names = " and ".join(each.text for each in dsts.values())
            raise DecodeError(
                f"{names}: both results go to the same register file: a word writes one "
                "address of file A and one of file B"
            )
    packed = [(unit, dst) for unit, dst in dsts.items() if dst.pack is not None]
    for unit, dst in packed:
        assert dst.pack is not None
        mark = dst.text.split(".")[1]
        if dst.pack[0]:
            if unit != ops.MUL:
                raise DecodeError(
                    f"{dst.text}: only the mul unit packs colours: write it as the second "
                    "destination"
                )
            if dst.addr == regs.NOP_ADDR:
                raise DecodeError(f"{dst.text}: nothing is written, so nothing is packed")
        elif dst.file != "A" or dst.addr >= 32:
            raise DecodeError(
                f"{dst.text}: {mark} packs into ra0 .. ra31 only" + _colour_instead(dst.pack[1])
            )
        if "pack" in values:
            raise DecodeError(
                f"{packed[0][1].text} and {dst.text}: a word has one pack mode, of the result for "
                "file A or of the mul unit's colour"
            )
        values["pm"], values["pack"] = dst.pack
    return values


def _colour_instead(code: int) -> str:
    """A hint where the mul unit has the pack mode as well, as a colour for any destination."""
    name = modes.PACK_MUL[code]
    if name is None:
        return ""
    return f" (the mul unit can pack its float result as a colour anywhere: .{name})"


# --- sources -------------------------------------------------------------------------------------


def _same_unpack(operands: Sequence[Operand], what: str) -> int:
    """The unpack mode of all reads that share one."""
    for operand in operands:
        first = operands[0]
        if operand.unpack != first.unpack:
            raise _both(
                "unpack",
                (first.unpack, operand.unpack),
                f"{first.text} and {operand.text}: an unpack mode applies to all reads of {what} "
                "in a word: write it on each",
            )
    return operands[0].unpack if operands else 0


def _ports(operands: Sequence[Operand], rotated: Optional[Operation]) -> Dict[str, int]:
    """The read addresses, or the small immediate and its signal."""
    values: Dict[str, int] = {}
    of_a = [operand for operand in operands if operand.mux == regs.MUX_A]
    of_b = [each for each in operands if each.mux == regs.MUX_B and each.imm is None]
    for name, reads in (("raddr_a", of_a), ("raddr_b", of_b)):
        for read in reads:
            if values.setdefault(name, read.addr) != read.addr:
                raise _both(
                    name,
                    (values[name], read.addr),
                    f"{reads[0].plain} and {read.plain}: a word reads one address of file "
                    f"{name[-1].upper()}" + _other_file(reads),
                )
    constants = [operand for operand in operands if operand.imm is not None]
    if rotated is not None:
        assert rotated.rotate is not None
        row = modes.SMALL_IMMS[rotated.rotate]
        for constant in constants:
            assert constant.imm is not None
            if modes.SMALL_IMMS[constant.imm].bits != row.bits:
                raise DecodeError(
                    f"an operand {constant.text} cannot stand beside this rotation: rot "
                    f"{row.rotate} takes the place of the small immediate, and then reads as "
                    f"{row.text}"
                )
        values["small_imm"] = row.code
    elif constants:
        codes = [operand.imm for operand in constants if operand.imm is not None]
        for constant, code in zip(constants, codes):
            if code != codes[0]:
                raise _both(
                    "small_imm",
                    (codes[0], code),
                    f"{constants[0].text} and {constant.text}: a word has one small immediate",
                )
        values["small_imm"] = codes[0]
    if "small_imm" in values:
        values["sig"] = modes.SIG_SMALL_IMM
        if of_b:
            what = f"the constant {constants[0].text}" if rotated is None else f"rot {row.rotate}"
            raise DecodeError(
                f"{of_b[0].text}: {what} takes the place of the read address of file B"
            )
    return values


def _other_file(reads: Sequence[Operand]) -> str:
    """A hint where one of two reads has another name that goes through the other file."""
    for read in reads:
        for port in regs.READS:
            names = [port.name_a, port.name_b]
            if None not in names and read.plain in names and f"{names[0]}_b" == names[1]:
                names.remove(read.plain)
                return f" ({names[0]} reads {read.plain} through the other file)"
    return ""


# --- words ---------------------------------------------------------------------------------------


def _merge_modes(
    operands: Sequence[Operand], values: Dict[str, int], dsts: Sequence[Result]
) -> None:
    """Add the unpack mode to the fields, and the ``pm`` that pack and unpack agree on."""
    marks = [(dst.text, dst.pack[0]) for dst in dsts if dst.pack is not None]
    for mux, pm, what in ((regs.MUX_A, 0, "file A"), (regs.MUX_R4, 1, "r4")):
        reads = [operand for operand in operands if operand.mux == mux]
        code = _same_unpack(reads, what)
        if code:
            values["unpack"], values["pm"] = code, pm
            marks.append((reads[0].text, pm))
    for text, pm in marks:
        if pm != marks[0][1]:
            raise _both(
                "pm",
                (marks[0][1], pm),
                f"{marks[0][0]} and {text}: in one word either file A's reads and result have "
                "modes, or r4 and the mul unit's colour",
            )


def alu_word(operations: Sequence[Operation], signal: Optional[modes.Signal]) -> Instr:
    """The word of up to two operations and a signal."""
    placed = _assign(operations)
    values = results({unit: op.dst for unit, op in placed.items()})
    operands = [operand for op in placed.values() for operand in op.srcs]
    rotated = next((op for op in placed.values() if op.rotate is not None), None)
    values.update(_ports(operands, rotated))
    _merge_modes(operands, values, [op.dst for op in placed.values()])
    if signal is not None:
        if "sig" in values:
            what = next((each.text for each in operands if each.imm is not None), "the rotation")
            raise _both(
                "sig",
                (modes.SIG_SMALL_IMM, signal.code),
                f"{what}: a small immediate or rotation leaves no room for the signal "
                f"{signal.name}",
            )
        values["sig"] = signal.code
    for unit, op in placed.items():
        values[f"op_{unit}"] = op.units[unit].code
        values[f"cond_{unit}"] = op.cond
        if op.sf:
            values["sf"] = 1
        if op.srcs:
            values[f"{unit}_a"] = op.srcs[0].mux
            values[f"{unit}_b"] = op.srcs[-1].mux
    return Instr(**values)


def load_word(dsts: Sequence[Result], sf: bool, **values: int) -> Instr:
    """A load or semaphore word with the destinations of the add and the mul unit.

    A destination has its own condition: "never" for none, unless flags are to be set by it.
    """
    both = dict(zip((ops.ADD, ops.MUL), dsts))
    for unit, dst in both.items():
        cond = dst.cond
        if cond is None:
            unused = dst.addr == regs.NOP_ADDR and not (sf and unit == ops.ADD)
            cond = modes.COND_NEVER if unused else modes.COND_ALWAYS
        values[f"cond_{unit}"] = cond
    return Instr(sig=modes.SIG_LDI, sf=int(sf), **results(both), **values)
