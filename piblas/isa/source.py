"""Whole programs as text: lines of :mod:`piblas.isa.parse`, labels, constants and data words.

The grammar is in :mod:`piblas.isa.syntax`.  A branch to a label is relative to the fourth word
after it, where the guide counts from (p. 34), and labels have no place in an absolute branch: where
a program will be loaded is not known here.  :func:`to_source` and :func:`assemble` are exact images
of each other, word for word: what decoding refuses becomes a ``.word``, so data between
instructions survives.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Dict, Iterable, List, Optional, Tuple

from ..errors import AssemblerError, DecodeError
from . import modes, regs
from .disasm import to_text
from .expression import evaluate
from .instr import Instr, decode, encode
from .parse import OPERATIONS, data_word, parse

__all__ = ["Source", "assemble", "branch_target", "to_source"]

_LABEL = re.compile(r"\s*([A-Za-z_]\w*):")
_BRANCH_TO = re.compile(r"(br\.\w+\s+)(rel|abs)(\s+)([A-Za-z_]\w*)")
_SET = re.compile(r"\.set\s+([A-Za-z_]\w*)\s*,\s*(.*)", re.DOTALL)
_NAME = re.compile(r"(?<![\w.])[A-Za-z_]\w*(?!\w)")
_REGISTERS = {*regs.READ_ADDR, *regs.WRITE_ADDR, *regs.MUX_NAMES[:6]} - {"-"}
_RESERVED = {
    *_REGISTERS,
    *OPERATIONS,
    *modes.SIGNAL_BY_NAME,
    *filter(None, modes.LOAD_KINDS),
    *("sema_up", "sema_down", "br", "rel", "abs", "rot", "inf", "nan"),
}
"""Names that mean something in a line, and so are no names for constants."""
_OFFSET = re.compile(r"rel [-+]\d+")
_SLOTS = 4
"""A relative branch counts from this many words behind itself."""


@dataclass
class Source:
    """An assembled text: its words, where each came from, and its labels (name -> word)."""

    words: List[int] = field(default_factory=list)
    lines: List[int] = field(default_factory=list)
    labels: Dict[str, int] = field(default_factory=dict)


def branch_target(instr: Instr, index: int) -> Optional[int]:
    """The word that the branch at word ``index`` goes to, if the branch alone decides that."""
    if instr.sig != modes.SIG_BRANCH or not instr.rel or instr.reg:
        return None
    offset = instr.imm - ((instr.imm & 0x80000000) << 1)
    return None if offset % 8 else index + _SLOTS + offset // 8


# --- text to words -------------------------------------------------------------------------------


def _data(text: str) -> List[int]:
    try:
        return [data_word(item) for item in text.split(",")]
    except DecodeError as error:
        if "number" in error.reason:
            raise DecodeError(f"'.word{text}': {error.reason}") from None
        raise


def _constant(line: str, constants: Dict[str, str]) -> Tuple[str, str]:
    """Name and text of a constant: a register's name, or a number."""
    match = _SET.fullmatch(line)
    if match is None:
        raise DecodeError(f"{line!r}: write '.set NAME, VALUE'")
    name, value = match.group(1), _substitute(match.group(2), constants).strip()
    if name in _RESERVED:
        raise DecodeError(f"{line!r}: {name} has a meaning already")
    if value in _REGISTERS:
        return name, value
    number = evaluate(value)
    text = repr(number)
    return name, text if text[0].isdigit() else f"({text})"


def _substitute(text: str, constants: Dict[str, str]) -> str:
    """A line with its constants replaced by their values."""
    if not constants:
        return text
    return _NAME.sub(lambda match: constants.get(match.group(), match.group()), text)


def _resolve(text: str, index: int, labels: Dict[str, int]) -> str:
    """The instruction with the label of a branch replaced by its offset."""
    match = _BRANCH_TO.match(text)
    if match is None:
        return text
    head, kind, space, label = match.groups()
    if kind == "abs":
        raise DecodeError(f"label {label!r} in an absolute branch: write 'rel {label}'")
    if label not in labels:
        raise DecodeError(f"there is no label {label!r}")
    offset = 8 * (labels[label] - index - _SLOTS)
    return f"{head}rel{space}{offset:+d}{text[match.end() :]}"


def assemble(text: str, name: str = "<text>") -> Source:
    """The words of a text.

    An :class:`~piblas.errors.AssemblerError` names the line, as ``name``:line.
    """
    source = Source()
    constants: Dict[str, str] = {}
    pending: List[Tuple[int, int, str]] = []  # index, line number, instruction
    try:
        for number, line in enumerate(text.splitlines(), 1):
            line = line.split("#")[0]
            match = _LABEL.match(line)
            while match:
                label, line = match.group(1), line[match.end() :]
                if label in source.labels:
                    raise DecodeError(f"label {label!r} stands at two places")
                if label in constants:
                    raise DecodeError(f"label {label!r} is a constant already")
                source.labels[label] = len(source.words)
                match = _LABEL.match(line)
            line = line.strip()
            if not line:
                continue
            directive = line.split(None, 1)[0]
            if directive == ".set":
                constant, value = _constant(line, constants)
                if constant in source.labels:
                    raise DecodeError(f"constant {constant!r} is a label already")
                constants[constant] = value
                continue
            line = _substitute(line, constants)
            words = [0]
            if directive == ".word":
                words = _data(line[5:])
            elif directive[0] == ".":
                raise DecodeError(f"there is no directive {directive!r}, only .set and .word")
            else:
                pending.append((len(source.words), number, line))
            source.words += words
            source.lines += [number] * len(words)
        for index, number, line in pending:
            source.words[index] = encode(parse(_resolve(line, index, source.labels)))
    except DecodeError as error:
        raise AssemblerError(str(error), where=f"{name}:{number}") from None
    return source


# --- words to text -------------------------------------------------------------------------------


def _names(instrs: List[Optional[Instr]], labels: Dict[str, int]) -> Dict[int, List[str]]:
    """The labels of each word: the given ones, and one for every other target of a branch."""
    names: Dict[int, List[str]] = {}
    for label, index in labels.items():
        if _LABEL.fullmatch(f"{label}:"):
            names.setdefault(index, []).append(label)
    for index, instr in enumerate(instrs):
        target = None if instr is None else branch_target(instr, index)
        if target is not None and 0 <= target <= len(instrs) and target not in names:
            name = f"L{target}"
            while name in labels:
                name += "_"
            names[target] = [name]
    return names


def to_source(
    words: Iterable[int], labels: Optional[Dict[str, int]] = None, comments: bool = True
) -> str:
    """A text that :func:`assemble` turns into the same words.

    ``labels`` names words (those that are no identifiers are left out); targets of branches that
    have no name get one, such as ``L12``.  With ``comments`` each line ends in its byte offset and
    its word.
    """
    plain = [int(word) for word in words]
    instrs: List[Optional[Instr]] = []
    texts: List[str] = []
    for word in plain:
        try:
            instr = decode(word)
        except DecodeError as error:
            instrs.append(None)
            texts.append(f".word {word:#018x}" + (f"  # {error.reason}" if comments else ""))
        else:
            instrs.append(instr)
            texts.append(to_text(instr))
    names = _names(instrs, labels or {})
    lines = []
    for index, text in enumerate(texts):
        lines += [f"{label}:" for label in names.get(index, ())]
        instr_here = instrs[index]
        target = None if instr_here is None else branch_target(instr_here, index)
        if target in names:
            text = _OFFSET.sub(f"rel {names[target][0]}", text, count=1)
        if comments and instr_here is not None:
            text = f"{text:<60}  # {8 * index:04x}: {plain[index]:016x}"
        lines.append(f"    {text}")
    lines += [f"{label}:" for label in names.get(len(texts), ())]
    return "\n".join(lines) + "\n" if lines else ""
