"""Programs from files: raw binary, hex words, C arrays, bits or text.

A file that is not all printable text is binary: 64-bit words, little-endian.  Of texts,

- one whose lines have 64 digits of 0 and 1 each, in any groups, is a list of words, bit 63 first;
- one whose first word is a hex number of 8 or 16 digits is a list of such numbers (of 8 digits: the
  low half of each word first), as other projects keep their kernels;
- one with such numbers in braces is C source with an array, whatever is declared around it;
- any other is a source of :mod:`piblas.isa.source`.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import Dict, Iterable, List, Optional, Tuple

import numpy as np

from ..errors import PiblasError
from ..isa.source import Source, assemble

__all__ = ["FORMS", "check_output", "entry_word", "form", "read_program", "read_words"]

FORMS = (
    "little-endian 64-bit words, or text with 16-digit hex words or pairs of 8-digit ones, the low "
    "half first (alone or as a C array), or lines of 64 bits, or lines of instructions as "
    "'piblas dis' prints them"
)

_HEX = re.compile(r"(?:0x)?([0-9a-f]{16}|[0-9a-f]{8})(?:u|l|ul|ull)?,?", re.ASCII | re.IGNORECASE)
_COMMENT = re.compile(r"(?://|#|;).*")
_BLOCK_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_C_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*|#[^\n]*", re.DOTALL)
_BRACES = re.compile(r"(=?)\s*\{([^{}]*)\}")
_BITS = 64

Token = Tuple[str, int]


def read_program(path: str) -> Source:
    """The program in a file; ``-`` is stdin."""
    if path == "-":
        return read_words(sys.stdin.buffer.read(), "<stdin>")
    with open(path, "rb") as file:
        return read_words(file.read(), path)


def read_words(data: bytes, name: str = "<data>") -> Source:
    """The program in a file's bytes; a text knows the line of each word."""
    text = data.decode("utf-8", "replace")
    plain = "\0" not in text and "\ufffd" not in text
    if data and plain and all(char.isprintable() or char.isspace() for char in text):
        source = _READERS[form(text)](text, name)
        if not source.words:
            raise PiblasError(f"{name}: no instructions in this file")
        return source
    if not data or len(data) % 8:
        raise PiblasError(f"{name}: {len(data)} bytes are no whole number of 64-bit words")
    return Source(words=[int(word) for word in np.frombuffer(data, "<u8")])


def entry_word(text: Optional[str], source: Source) -> int:
    """The word that ``--entry`` names: by its number, or by a label of the text; 0 for None."""
    if text is None:
        return 0
    word = source.labels.get(text)
    if word is None:
        try:
            word = int(text, 0)
        except ValueError:
            known = f"; there are {', '.join(source.labels)}" if source.labels else ""
            raise PiblasError(f"--entry {text}: no number of a word and no label{known}") from None
    if not 0 <= word < len(source.words):
        raise PiblasError(f"--entry {text}: the program has words 0 to {len(source.words) - 1}")
    return word


def check_output(parser: argparse.ArgumentParser, path: str, given: str) -> None:
    """End with an error if no file can be written to ``path``, before anything is computed.

    ``given`` is how the command line names it.
    """
    folder = os.path.dirname(path) or "."
    if not os.path.isdir(folder):
        parser.error(f"{given}: there is no directory {folder}")
    if os.path.isdir(path):
        parser.error(f"{given}: this is a directory")
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        parser.error(f"{given}: no permission to write there")


def form(text: str) -> str:
    """What a text holds: "bits", "hex", "c" or "source"."""
    tokens = list(_tokens(text))
    digits = "".join(token for token, _ in tokens).replace(",", "")
    if digits and not digits.strip("01"):
        return "bits"
    if tokens and _HEX.fullmatch(tokens[0][0]):
        return "hex"
    return "c" if _arrays(text) else "source"


def _blank(match: "re.Match[str]") -> str:
    """What takes the place of a comment, so that lines keep their numbers."""
    return "\n" * match.group().count("\n") + " "


def _tokens(text: str) -> Iterable[Token]:
    """The words of a list of numbers, each with its line."""
    for number, line in enumerate(_BLOCK_COMMENT.sub(_blank, text).splitlines(), 1):
        for token in _COMMENT.sub("", line).replace(",", ", ").split():
            yield token, number


def _words(tokens: Iterable[Token], name: str) -> Source:
    """Hex words of 16 digits, or of 8 in pairs."""
    digits: List[Token] = []
    for token, number in tokens:
        if token == ",":
            continue
        match = _HEX.fullmatch(token)
        if match is None:
            raise PiblasError(f"{name}:{number}: {token!r} is no hex word of 8 or 16 digits")
        digits.append((match.group(1), number))
    if len({len(each) for each, _ in digits}) > 1:
        raise PiblasError(f"{name}: 8-digit and 16-digit hex words are mixed")
    if digits and len(digits[0][0]) == 8:
        if len(digits) % 2:
            raise PiblasError(f"{name}: an odd number of 8-digit hex words makes no 64-bit words")
        digits = [(high + low, at) for (low, at), (high, _) in zip(digits[::2], digits[1::2])]
    return Source([int(each, 16) for each, _ in digits], [at for _, at in digits])


def _hex_words(text: str, name: str) -> Source:
    return _words(_tokens(text), name)


def _bits(text: str, name: str) -> Source:
    source = Source()
    lines: Dict[int, str] = {}
    for token, number in _tokens(text):
        lines[number] = lines.get(number, "") + token.replace(",", "")
    for number, digits in lines.items():
        if len(digits) != _BITS:
            raise PiblasError(
                f"{name}:{number}: {len(digits)} digits of 0 and 1: a file of bits has {_BITS} in "
                "a line, bit 63 first; if these are hex words, write 0x before them"
            )
        source.words.append(int(digits, 2))
        source.lines.append(number)
    return source


def _arrays(text: str) -> List[List[Token]]:
    """The items, each with its line, of the braces in a C source that initialise a variable or
    hold hex words."""
    if "{" not in text:
        return []
    code = _C_COMMENT.sub(_blank, text)
    found = []
    for match in _BRACES.finditer(code):
        first = code.count("\n", 0, match.start(2)) + 1
        tokens = [
            (token, first + index)
            for index, line in enumerate(match.group(2).split("\n"))
            for token in line.replace(",", ", ").split()
        ]
        if tokens and (match.group(1) or _HEX.fullmatch(tokens[0][0])):
            found.append(tokens)
    return found


def _c_array(text: str, name: str) -> Source:
    arrays = _arrays(text)
    hexes = [tokens for tokens in arrays if _HEX.fullmatch(tokens[0][0])]
    if len(hexes) > 1:
        lines = ", ".join(str(tokens[0][1]) for tokens in hexes)
        raise PiblasError(f"{name}: {len(hexes)} arrays of hex words (lines {lines}): keep one")
    return _words((hexes or arrays)[0], name)


_READERS = {"bits": _bits, "hex": _hex_words, "c": _c_array, "source": assemble}
