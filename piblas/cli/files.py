"""Programs from files: raw binary, hex words or text.

A file that is not all printable text is binary: 64-bit words, little-endian.  Text whose first
word is a hex number of 8 or 16 digits is a list of such numbers (of 8 digits: the low half of each
word first), as other projects keep their kernels in C headers; any other text is a source of
:mod:`piblas.isa.source`.
"""

from __future__ import annotations

import re
import sys
from typing import List, Tuple

import numpy as np

from ..errors import PiblasError
from ..isa.source import Source, assemble

__all__ = ["FORMS", "is_source", "read_program", "read_words"]

FORMS = (
    "little-endian 64-bit words, or text with 16-digit hex words or pairs of 8-digit ones, the low "
    "half first, or lines of instructions as 'piblas dis' prints them"
)

_HEX = re.compile(r"(?:0x)?([0-9a-f]{16}|[0-9a-f]{8})(?:u|ul|ull)?,?", re.ASCII | re.IGNORECASE)
_COMMENT = re.compile(r"(?://|#|;).*")


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
        source = assemble(text, name) if is_source(text) else _hex_words(text, name)
        if not source.words:
            raise PiblasError(f"{name}: no instructions in this file")
        return source
    if not data or len(data) % 8:
        raise PiblasError(f"{name}: {len(data)} bytes are no whole number of 64-bit words")
    return Source(words=[int(word) for word in np.frombuffer(data, "<u8")])


def is_source(text: str) -> bool:
    """Whether a text holds instructions, not hex words."""
    for line in text.splitlines():
        tokens = _tokens(line)
        if tokens:
            return _HEX.fullmatch(tokens[0]) is None
    return False


def _tokens(line: str) -> List[str]:
    return _COMMENT.sub("", line).replace(",", ", ").split()


def _hex_words(text: str, name: str) -> Source:
    digits: List[Tuple[str, int]] = []
    for number, line in enumerate(text.splitlines(), 1):
        for token in _tokens(line):
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
