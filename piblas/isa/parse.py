"""Text to instruction: the inverse of :mod:`piblas.isa.disasm`.

Grammar of a line (``#`` starts a comment)::

    line     = part { ";" part } { "!" field "=" value }  |  ".word" number
    part     = operation | load | branch | signal
    operation= op [".sf"] ["." cond] dst ["." pack] { "," src } ["rot" amount]
    load     = "ldi" | "ldi_signed" | "ldi_unsigned" [".sf"] dst "," dst "," value
             | ("sema_up" | "sema_down") [".sf"] number ["," dst "," dst]
    branch   = "br." cond ("rel" offset | "abs" address) ["+" "ra" n] ["," link "," link]

Ops of the mul unit that share a name with one of the add unit are written ``m_mov``, ``m_nop``,
``m_v8adds``, ``m_v8subs``; ``mov`` is ``or d, s, s``, ``m_mov`` is ``v8min d, s, s``.  In a load
the conditions stand behind the destinations.  ``!field=value`` overrides one field of the word.
"""

from __future__ import annotations

import re
from typing import Dict, List, Optional, Tuple

from ..errors import DecodeError
from . import modes, ops, regs
from .instr import Instr, decode, encode

__all__ = ["parse", "parse_plain"]

_FLAGS = {"sf"}
_CONDS = {name: code for code, name in enumerate(modes.CONDITIONS)}
_PACKS: Dict[str, Tuple[int, int]] = {
    name: (0, code) for code, name in enumerate(modes.PACK_A) if code
}
_PACKS.update({name: (1, code) for code, name in enumerate(modes.PACK_MUL) if name and code})
_UNPACKS = {name: code for code, name in enumerate(modes.UNPACK_A) if code}
_BRANCH_CONDS = {name: code for code, name in enumerate(modes.BRANCH_CONDITIONS) if name}
_LOADS = {name: code for code, name in enumerate(modes.LOAD_KINDS) if name}
_ROTATE = re.compile(r"\s*\brot (\S+)$")
_SMALL_IMM = {row.text: row.code for row in reversed(modes.SMALL_IMMS)}


class _Word:
    """The fields of one instruction while its text is read."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.values: Dict[str, int] = {}
        self.file: Dict[str, Optional[str]] = {"add": None, "mul": None}
        self.pack_of: Optional[str] = None
        self.rotate: Optional[int] = None
        self.parts = 0

    def fail(self, why: str) -> DecodeError:
        return DecodeError(f"{self.text!r}: {why}")

    def put(self, name: str, value: int) -> None:
        if self.values.setdefault(name, value) != value:
            raise self.fail(f"{name} would have to be both {self.values[name]} and {value}")

    def destination(self, unit: str, text: str, with_cond: bool = False) -> None:
        name, _, suffix = text.partition(".")
        if name not in regs.WRITE_ADDR:
            raise self.fail(f"{name!r} is no destination")
        file, addr = regs.WRITE_ADDR[name]
        self.file[unit] = file
        self.values[f"waddr_{unit}"] = addr
        if with_cond:
            self.values[f"cond_{unit}"] = (
                modes.COND_NEVER if name == "-" else modes.COND_ALWAYS
            )
        for mark in suffix.split(".") if suffix else []:
            if with_cond and mark in _CONDS:
                self.values[f"cond_{unit}"] = _CONDS[mark]
            elif mark in _PACKS:
                pm, code = _PACKS[mark]
                self.put("pm", pm)
                self.put("pack", code)
                self.pack_of = unit
            else:
                raise self.fail(f"{mark!r} is neither a pack mode nor a condition")

    def source(self, text: str) -> int:
        name, _, unpack = text.partition(".")
        if text in _SMALL_IMM:
            if self.rotate is None:
                self.put("small_imm", _SMALL_IMM[text])
            elif modes.SMALL_IMMS[self.rotate].text != text:
                raise self.fail(f"an operand {text} cannot stand beside this rotation")
            self.put("sig", modes.SIG_SMALL_IMM)
            return regs.MUX_B
        if unpack:
            if unpack not in _UNPACKS:
                raise self.fail(f"{unpack!r} is no unpack mode")
            self.put("pm", 1 if name == "r4" else 0)
            self.put("unpack", _UNPACKS[unpack])
        if name in regs.MUX_NAMES[:6]:
            return regs.MUX_NAMES.index(name)
        if name not in regs.READ_ADDR:
            raise self.fail(f"{text!r} is no operand")
        file, addr = regs.READ_ADDR[name]
        self.put("raddr_a" if file == "A" else "raddr_b", addr)
        return regs.MUX_A if file == "A" else regs.MUX_B

    def place(self) -> None:
        """Choose ws from the files that the destinations and a file-A pack ask for."""
        want = set()
        if self.file["add"]:
            want.add(0 if self.file["add"] == "A" else 1)
        if self.file["mul"]:
            want.add(1 if self.file["mul"] == "A" else 0)
        if len(want) > 1:
            raise self.fail("both results go to the same register file")
        if not want and self.pack_of and not self.values.get("pm"):
            want.add(0 if self.pack_of == "add" else 1)
        self.put("ws", want.pop() if want else 0)

    def build(self) -> Instr:
        self.place()
        if self.values.get("sig") == modes.SIG_BRANCH:
            return Instr.branch(**self.values)
        return Instr(**self.values)


def _operands(rest: str) -> List[str]:
    return [item.strip() for item in rest.split(",")] if rest.strip() else []


def _operation(word: _Word, part: str) -> None:
    head, _, rest = part.partition(" ")
    name, *marks = head.split(".")
    short = name[2:] if name.startswith("m_") else name
    unit = ops.MUL if name.startswith("m_") or (ops.ADD, name) not in ops.BY_NAME else ops.ADD
    if name == "mov":
        unit = ops.ADD
    is_mov = short == "mov"
    if is_mov:
        short = "or" if unit == ops.ADD else "v8min"
    if (unit, short) not in ops.BY_NAME:
        raise word.fail(f"{name!r} is no operation")
    op = ops.BY_NAME[unit, short]
    rest = _ROTATE.sub("", rest)
    word.put(f"op_{unit}", op.code)
    cond = modes.COND_ALWAYS if op.code else modes.COND_NEVER
    for mark in marks:
        if mark == "sf":
            word.values["sf"] = 1
        elif mark in _CONDS:
            cond = _CONDS[mark]
        else:
            raise word.fail(f"{mark!r} is no condition")
    word.put(f"cond_{unit}", cond)
    items = _operands(rest)
    nsrc = 1 if is_mov else op.nsrc
    if not op.code and not items:
        items = ["-"]
    if len(items) != nsrc + 1:
        raise word.fail(f"{name} takes a destination and {nsrc} operands, not {items}")
    word.destination(unit, items[0])
    muxes = [word.source(item) for item in items[1:]]
    if muxes:
        word.values[f"{unit}_a"] = muxes[0]
        word.values[f"{unit}_b"] = muxes[-1]


def _load(word: _Word, part: str) -> None:
    head, _, rest = part.partition(" ")
    name, *marks = head.split(".")
    if marks not in ([], ["sf"]):
        raise word.fail(f"{marks} cannot stand behind {name}")
    word.values.update(sig=modes.SIG_LDI, sf=len(marks))
    items = _operands(rest)
    if name in ("sema_up", "sema_down"):
        if len(items) == 1:
            items += ["-", "-"]
        number, items = int(items[0]), items[1:]
        if not 0 <= number <= 15:
            raise word.fail(f"there is no semaphore {number}")
        word.values["load_kind"] = modes.LOAD_SEMAPHORE
        word.values["imm"] = number | (16 if name == "sema_down" else 0)
    else:
        kind = word.values["load_kind"] = _LOADS[name]
        if len(items) != 3:
            raise word.fail(f"{name} takes two destinations and a value")
        if kind == modes.LOAD_32:
            value = int(items.pop(), 0)
            if not -(1 << 31) <= value < 1 << 32:
                raise word.fail(f"{value} does not fit 32 bits")
            word.values["imm"] = value & 0xFFFFFFFF
        else:
            word.values["imm"] = _per_element(word, kind, items.pop())
    for unit, item in zip(("add", "mul"), items):
        word.destination(unit, item, with_cond=True)


def _per_element(word: _Word, kind: int, text: str) -> int:
    values = [int(item) for item in text.strip("[] ").split()]
    low_high = {0: (0, 0), 1: (1, 0)}
    signed = kind == modes.LOAD_SIGNED
    low_high.update({-2: (0, 1), -1: (1, 1)} if signed else {2: (0, 1), 3: (1, 1)})
    if len(values) != 16 or any(value not in low_high for value in values):
        raise word.fail(f"a per-element load takes 16 values of {sorted(low_high)}")
    imm = 0
    for element, value in enumerate(values):
        low, high = low_high[value]
        imm |= low << element | high << (16 + element)
    return imm


_BRANCH = re.compile(r"(rel|abs)\s+([-+]?\w+)(?:\s*\+\s*ra(\d+))?$")


def _branch(word: _Word, part: str) -> None:
    head, _, rest = part.partition(" ")
    cond = head[3:]
    if cond not in _BRANCH_CONDS:
        raise word.fail(f"{cond!r} is no branch condition")
    target, *links = _operands(rest)
    match = _BRANCH.match(target)
    if match is None or len(links) not in (0, 2):
        raise word.fail("a branch is 'br.COND rel|abs TARGET [+ raN] [, link, link]'")
    word.values.update(
        sig=modes.SIG_BRANCH,
        cond_br=_BRANCH_CONDS[cond],
        rel=int(match.group(1) == "rel"),
        imm=int(match.group(2), 0) & 0xFFFFFFFF,
    )
    if match.group(3) is not None:
        word.values.update(reg=1, raddr_a=int(match.group(3)))
    for unit, link in zip(("add", "mul"), links):
        word.destination(unit, link)


def parse_plain(text: str) -> Instr:
    """The instruction of a line without ``!field=value`` marks."""
    word = _Word(text)
    parts = [part.strip() for part in text.split(";")]
    # The rotation must be known before an operand of the add part is read as an immediate.
    for part in parts:
        match = _ROTATE.search(part)
        if match:
            amount = match.group(1)
            word.rotate = modes.rotate_code("r5" if amount == "r5" else int(amount))
            word.values.update(sig=modes.SIG_SMALL_IMM, small_imm=word.rotate)
    for part in parts:
        head = part.split(" ")[0].split(".")[0]
        if part in modes.SIGNAL_BY_NAME and part not in ("none", "small_imm", "ldi", "branch"):
            word.put("sig", modes.SIGNAL_BY_NAME[part].code)
        elif head == "br":
            _branch(word, part)
        elif head in ("sema_up", "sema_down") or head in _LOADS:
            _load(word, part)
        else:
            _operation(word, part)
    return word.build()


def _number(text: str, line: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise DecodeError(f"{line!r}: {text!r} is no number") from None


def parse(line: str) -> Instr:
    """The instruction of a line of text.

    Raises :class:`~piblas.errors.DecodeError` with the reason where the line names none.
    """
    text = line.split("#")[0].strip()
    if not text:
        raise DecodeError(f"{line!r}: there is no instruction on this line")
    if text.startswith(".word"):
        return decode(_number(text[5:].strip(), line))
    text, *residue = [item.strip() for item in text.split("!")]
    try:
        instr = parse_plain(text)
    except ValueError as error:
        if isinstance(error, DecodeError):
            raise
        raise DecodeError(f"{text!r}: {error}") from None
    changes = {}
    for item in residue:
        name, equals, value = item.partition("=")
        if name not in Instr.__dataclass_fields__:
            raise DecodeError(f"{line!r}: no field is called {name!r}")
        if not equals:
            raise DecodeError(f"{line!r}: field {name} has no value")
        changes[name] = _number(value, line)
    instr = instr.but(**changes)
    encode(instr)  # refuses a field that this word has no place for, or a value too large
    return instr
