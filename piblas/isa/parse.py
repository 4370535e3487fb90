"""Text to instruction: the inverse of :mod:`piblas.isa.disasm`.

The grammar of a line is printed by :mod:`piblas.isa.syntax`.  Reading keeps every modifier with
the operand or operation that it was written on; :mod:`piblas.isa.combine` builds the word.
"""

from __future__ import annotations

import re
import struct
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

from ..errors import DecodeError
from . import combine, modes, ops, regs
from .combine import Operand, Operation, Result
from .expression import NUMBER, evaluate, integer
from .instr import Instr, decode, encode

__all__ = [
    "DESTINATIONS",
    "OPERATIONS",
    "SIGNALS",
    "SOURCES",
    "data_word",
    "parse",
    "parse_plain",
]

_CONDS = {name: code for code, name in enumerate(modes.CONDITIONS)}
_PACKS: Dict[str, Tuple[int, int]] = {
    name: (0, code) for code, name in enumerate(modes.PACK_A) if code
}
_PACKS.update({name: (1, code) for code, name in enumerate(modes.PACK_MUL) if name and code})
_UNPACKS = {name: code for code, name in enumerate(modes.UNPACK_A) if code}
_BRANCH_CONDS = {name: code for code, name in enumerate(modes.BRANCH_CONDITIONS) if name}
_LOADS = {
    name: code
    for code, name in enumerate(modes.LOAD_KINDS)
    if name and code != modes.LOAD_SEMAPHORE
}
_SEMAPHORES = {"sema_up": 0, "sema_down": 16}
_NO_SIGNALS = (modes.SIG_NONE, modes.SIG_SMALL_IMM, modes.SIG_LDI, modes.SIG_BRANCH)
SIGNALS = {row.name: row for row in modes.SIGNALS if row.code not in _NO_SIGNALS}
"""The signals that a part of a line may name."""
_ROTATE = re.compile(r"\s+rot\s+(.*)$")
_BRANCH = re.compile(r"(rel|abs)\s+(.+?)(?:\s*\+\s*ra(\d+))?$")
_NUMERIC = re.compile(rf"\s*(?:[-+~(]|{NUMBER})")
_SMALL_IMM = {row.text: row.code for row in reversed(modes.SMALL_IMMS)}


def _with_ports(registers: Sequence[str], ports: Iterable[regs.Port]) -> List[str]:
    names = (name for port in ports for name in (port.name_a, port.name_b) if name)
    return list(dict.fromkeys([*registers, *names]))


SOURCES = _with_ports(("r0 .. r5", "ra0 .. ra31", "rb0 .. rb31"), regs.READS)
"""What an operand may be, besides a constant."""
DESTINATIONS = _with_ports(("-", "ra0 .. ra31", "rb0 .. rb31"), regs.WRITES)
_CONSTANTS = "-16 .. 15, or a power of two from 0.00390625 to 128.0"

_MOV = {ops.ADD: ops.BY_NAME[ops.ADD, "or"], ops.MUL: ops.BY_NAME[ops.MUL, "v8min"]}


def _meanings() -> Dict[str, Dict[str, ops.Op]]:
    names: Dict[str, Dict[str, ops.Op]] = {"mov": dict(_MOV)}
    for row in ops.ADD_OPS + ops.MUL_OPS:
        names.setdefault(row.name, {})[row.unit] = row
    for name, units in list(names.items()):
        if ops.MUL in units:
            names[f"m_{name}"] = {ops.MUL: units[ops.MUL]}
    return names


OPERATIONS: Dict[str, Dict[str, ops.Op]] = _meanings()
"""What a name of an operation may mean: the op of each unit that has it."""


# --- operands ------------------------------------------------------------------------------------


def _split(text: str) -> List[str]:
    return [item.strip() for item in text.split(",")] if text.strip() else []


def _result(text: str, with_cond: bool = False, with_pack: bool = True) -> Result:
    name, *marks = text.split(".")
    if name not in regs.WRITE_ADDR:
        raise DecodeError(f"{name!r} is no destination; there are {', '.join(DESTINATIONS)}")
    file, addr = regs.WRITE_ADDR[name]
    pack: Optional[Tuple[int, int]] = None
    cond: Optional[int] = None
    for mark in marks:
        if with_cond and mark in _CONDS:
            if cond is not None:
                raise DecodeError(f"{text}: there are two conditions")
            cond = _CONDS[mark]
        elif mark in _PACKS:
            if not with_pack:
                raise DecodeError(f"{text}: a branch packs nothing")
            if pack is not None:
                raise DecodeError(f"{text}: there are two pack modes")
            pack = _PACKS[mark]
        else:
            where = "" if with_cond or mark not in _CONDS else f": write OPERATION.{mark} {name}"
            raise DecodeError(
                f"{text}: {mark!r} is neither a pack mode nor a condition"
                + (where or f"; pack modes are {', '.join(_PACKS)}")
            )
    if pack is not None:  # the pack mode's mark comes first, for the messages of combine
        text = f"{name}.{next(mark for mark in marks if mark in _PACKS)}"
    return Result(text, file, addr, pack, cond)


def _constant(text: str) -> Operand:
    """An operand that is a number."""
    code: Optional[int] = _SMALL_IMM.get(text)
    if code is None:
        value = evaluate(text)
        in_word = isinstance(value, float) or -(1 << 31) <= value < 1 << 32
        code = modes.small_imm_code(value) if in_word and _is_float32(value) else None
        if code is None:
            raise DecodeError(
                f"{text} is no small immediate ({_CONSTANTS}): load it by a word of its own, "
                f"'ldi REGISTER, -, {text}'"
            )
    return Operand(text, regs.MUX_B, imm=code)


def _is_float32(value: object) -> bool:
    """Whether a number is an integer or keeps its value as float32."""
    if not isinstance(value, float):
        return True
    try:
        return bool(struct.unpack("<f", struct.pack("<f", value))[0] == value)
    except OverflowError:
        return False


def _source(text: str) -> Operand:
    if text != "-" and _NUMERIC.match(text):
        return _constant(text)
    name, dot, mark = text.partition(".")
    if name in regs.MUX_NAMES[:6]:
        mux, addr = regs.MUX_NAMES.index(name), regs.NOP_ADDR
    elif name in regs.READ_ADDR:
        file, addr = regs.READ_ADDR[name]
        mux = regs.MUX_A if file == "A" else regs.MUX_B
    else:
        raise DecodeError(f"{name!r} is no operand; there are {', '.join(SOURCES)}, and constants")
    if not dot:
        return Operand(text, mux, addr)
    if mark not in _UNPACKS:
        raise DecodeError(f"{text}: {mark!r} is no unpack mode; there are {', '.join(_UNPACKS)}")
    if mux not in (regs.MUX_A, regs.MUX_R4):
        raise DecodeError(
            f"{text}: only reads of file A (ra0 .. ra31, {_names_of_a()}) and of r4 can be unpacked"
        )
    return Operand(text, mux, addr, unpack=_UNPACKS[mark])


def _names_of_a() -> str:
    return ", ".join(port.name_a for port in regs.READS if port.name_a)


# --- parts of a word -----------------------------------------------------------------------------


def _head(part: str) -> Tuple[str, List[str], str]:
    """Mnemonic, its marks and the rest of a part."""
    head, *rest = part.split(None, 1)
    name, *marks = head.split(".")
    return name, marks, rest[0] if rest else ""


def _operation(part: str) -> Operation:
    name, marks, rest = _head(part)
    units = OPERATIONS.get(name)
    if units is None:
        raise DecodeError(f"{name!r} is no operation{_of_add_unit(name)}")
    match = _ROTATE.search(f" {rest}")
    rotate: Optional[int] = None
    if match:
        amount = match.group(1).strip()
        rest = f" {rest}"[: match.start()]
        rotate = modes.rotate_code("r5" if amount == "r5" else _rotation(amount))
    is_nop = name in ("nop", "m_nop")
    cond: Optional[int] = None
    for mark in marks:
        if mark in _CONDS:
            if cond is not None:
                raise DecodeError(f"{name}.{'.'.join(marks)}: there are two conditions")
            cond = _CONDS[mark]
        elif mark != "sf":
            raise DecodeError(f"{mark!r} is no condition; there are {', '.join(_CONDS)}, and sf")
    if marks.count("sf") > 1:
        raise DecodeError(f"{name}.{'.'.join(marks)}: .sf is there twice")
    if cond is None:
        cond = modes.COND_NEVER if is_nop else modes.COND_ALWAYS
    items = _split(rest)
    nsrc = 1 if name in ("mov", "m_mov") else max(row.nsrc for row in units.values())
    if is_nop and not items:
        items = ["-"]
    if len(items) != nsrc + 1:
        raise DecodeError(f"{name} takes a destination and {nsrc} operands, not {items}")
    srcs = tuple(_source(item) for item in items[1:])
    return Operation(part, units, _result(items[0]), srcs, cond, "sf" in marks, rotate)


def _of_add_unit(name: str) -> str:
    """A hint where a name with m_ is asked for that the add unit has without it."""
    known = name.startswith("m_") and name[2:] in OPERATIONS
    return f": {name[2:]} is an operation of the add unit" if known else ""


def _rotation(text: str) -> int:
    value = evaluate(text)
    if not isinstance(value, int):
        raise DecodeError(f"rotation {text} is neither 1..15 nor 'r5'")
    return value


def _set_flags(name: str, marks: Sequence[str]) -> bool:
    if marks not in ([], ["sf"]):
        raise DecodeError(
            f".{'.'.join(marks)} cannot stand behind {name}: conditions go with its destinations"
        )
    return bool(marks)


def _load(part: str) -> Instr:
    name, marks, rest = _head(part)
    sf = _set_flags(name, marks)
    items = _split(rest)
    kind = _LOADS[name]
    if len(items) != 3:
        raise DecodeError(
            f"{name} takes two destinations and a value (of the add and the mul unit; - for none)"
        )
    imm = _word32(items[2]) if kind == modes.LOAD_32 else _per_element(kind, items[2])
    dsts = [_result(item, with_cond=True) for item in items[:2]]
    return combine.load_word(dsts, sf, load_kind=kind, imm=imm)


def _word32(text: str) -> int:
    """The 32-bit pattern of an integer, or of a float as float32."""
    value = evaluate(text)
    if isinstance(value, float):
        try:
            return int(struct.unpack("<I", struct.pack("<f", value))[0])
        except OverflowError:
            raise DecodeError(f"{value!r} is beyond float32") from None
    if not -(1 << 31) <= value < 1 << 32:
        raise DecodeError(f"{value} does not fit 32 bits")
    return value & 0xFFFFFFFF


def _per_element(kind: int, text: str) -> int:
    values = [evaluate(item) for item in text.strip("[] ").split()]
    low_high = {0: (0, 0), 1: (1, 0)}
    signed = kind == modes.LOAD_SIGNED
    low_high.update({-2: (0, 1), -1: (1, 1)} if signed else {2: (0, 1), 3: (1, 1)})
    if len(values) != 16 or any(value not in low_high for value in values):
        raise DecodeError(f"a per-element load takes 16 values of {sorted(low_high)}")
    imm = 0
    for element, value in enumerate(values):
        low, high = low_high[int(value)]
        imm |= low << element | high << (16 + element)
    return imm


def _semaphore(part: str) -> Instr:
    name, marks, rest = _head(part)
    sf = _set_flags(name, marks)
    items = _split(rest)
    if len(items) == 1:
        items += ["-", "-"]
    if len(items) != 3:
        raise DecodeError(f"{name} takes a number, or a number and two destinations, not {items}")
    number = evaluate(items[0])
    if number not in range(16):
        raise DecodeError(f"there is no semaphore {items[0]}")
    dsts = [_result(item, with_cond=True) for item in items[1:]]
    imm = int(number) | _SEMAPHORES[name]
    return combine.load_word(dsts, sf, load_kind=modes.LOAD_SEMAPHORE, imm=imm)


def _branch(part: str) -> Instr:
    name, marks, rest = _head(part)
    cond = ".".join(marks)
    if cond not in _BRANCH_CONDS:
        raise DecodeError(f"{cond!r} is no branch condition; there are {', '.join(_BRANCH_CONDS)}")
    target, *links = _split(rest) or [""]
    match = _BRANCH.match(target)
    if match is None or len(links) not in (0, 2):
        raise DecodeError("a branch is 'br.COND rel|abs TARGET [+ raN] [, link, link]'")
    values = {
        "cond_br": _BRANCH_CONDS[cond],
        "rel": int(match.group(1) == "rel"),
        "imm": integer(match.group(2), "the target", -(1 << 31), (1 << 32) - 1) & 0xFFFFFFFF,
    }
    if match.group(3) is not None:
        values.update(reg=1, raddr_a=int(match.group(3)))
    both = {unit: _result(link, with_pack=False) for unit, link in zip((ops.ADD, ops.MUL), links)}
    return Instr.branch(**combine.results(both), **values)


_WHOLE = {"br": _branch, **dict.fromkeys(_LOADS, _load), **dict.fromkeys(_SEMAPHORES, _semaphore)}
"""What fills a word by itself."""


# --- lines ---------------------------------------------------------------------------------------


def _parse_parts(text: str) -> Instr:
    parts = [part.strip() for part in text.split(";")]
    operations: List[Operation] = []
    signal: Optional[modes.Signal] = None
    for part in parts:
        if not part:
            raise DecodeError("there is nothing between two ';' or after the last")
        name = _head(part)[0]
        if name in _WHOLE:
            if len(parts) > 1:
                other = next(each for each in parts if each is not part)
                raise DecodeError(f"{name} fills a word: there is no room for {other!r}")
            return _WHOLE[name](part)
        if part in SIGNALS:
            if signal is not None:
                raise DecodeError(
                    f"{signal.name} and {part}: a word has one signal (sig would have to be both "
                    f"{signal.code} and {SIGNALS[part].code})"
                )
            signal = SIGNALS[part]
        else:
            operations.append(_operation(part))
    return combine.alu_word(operations, signal)


def parse_plain(text: str) -> Instr:
    """The instruction of a line without ``!field=value`` marks."""
    try:
        return _parse_parts(text)
    except ValueError as error:
        reason = error.reason if isinstance(error, DecodeError) else str(error)
        whole = repr(text)
        if not reason.startswith(whole):
            reason = f"{whole}: {reason}"
        raise DecodeError(reason) from None


def data_word(text: str) -> int:
    """The value of a ``.word``."""
    word = evaluate(text)
    if not isinstance(word, int) or not 0 <= word < 1 << 64:
        raise DecodeError(f"{word} is not a 64-bit word")
    return word


def parse(line: str) -> Instr:
    """The instruction of a line of text.

    Raises :class:`~piblas.errors.DecodeError` with the reason where the line names none.
    """
    text = line.split("#")[0].strip()
    if not text:
        raise DecodeError(f"{line!r}: there is no instruction on this line")
    if "//" in text or "/*" in text:
        raise DecodeError(f"{line!r}: a comment starts with '#'")
    if text.startswith("."):
        directive, *rest = text.split(None, 1)
        if directive != ".word":
            raise DecodeError(f"{line!r}: {directive!r} is no directive here")
        return decode(data_word(rest[0] if rest else ""))
    text, *residue = [item.strip() for item in text.split("!")]
    instr = parse_plain(text)
    changes: Dict[str, int] = {}
    for item in residue:
        name, equals, value = (each.strip() for each in item.partition("="))
        if name not in Instr.__dataclass_fields__:
            raise DecodeError(f"{line!r}: no field is called {name!r}")
        if not equals:
            raise DecodeError(f"{line!r}: field {name} has no value")
        if name in changes:
            raise DecodeError(f"{line!r}: field {name} is there twice")
        number = evaluate(value)
        if not isinstance(number, int):
            raise DecodeError(f"{line!r}: {value!r} is no integer")
        changes[name] = number
    instr = instr.but(**changes)
    encode(instr)  # refuses a field that this word has no place for, or a value too large
    return instr
