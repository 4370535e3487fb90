"""The table of worked encodings (words.txt): word, text and back, and some fields by hand."""

from __future__ import annotations

import pathlib

import pytest

from piblas.isa import fields
from piblas.isa.disasm import disassemble
from piblas.isa.instr import NOP, Instr, decode, encode
from piblas.isa.parse import parse


def _rows():
    text = pathlib.Path(__file__).with_name("words.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(int(line[:16], 16), line[18:]) for line in lines]


ROWS = _rows()


def test_the_table_is_whole():
    assert len(ROWS) == 126
    assert len({word for word, _ in ROWS}) == len(ROWS)
    assert {decode(word).format for word, _ in ROWS} == set(fields.FORMATS)


@pytest.mark.parametrize("word, text", ROWS, ids=[f"{word:016x}" for word, _ in ROWS])
def test_word_and_text_are_images_of_each_other(word, text):
    assert encode(decode(word)) == word
    assert disassemble(word) == text
    assert encode(parse(text)) == word


# (word, fields by name) read off the statements, so that a pair of wrong encoder and decoder
# cannot agree with each other.
BY_FIELD = [
    (0x100009E7009E7000, dict(sig=1, waddr_add=39, waddr_mul=39, raddr_a=39, raddr_b=39)),
    (0x10020827019E7280, dict(op_add=1, waddr_add=32, cond_add=1, add_a=1, add_b=2)),
    (0x100217E7049DEE40, dict(op_add=4, ws=1, waddr_add=31, raddr_b=30, add_a=7, add_b=1)),
    (0x1002002702042DC0, dict(op_add=2, waddr_add=0, raddr_a=1, raddr_b=2, add_a=6, add_b=7)),
    (
        0x1009C0C3AD9E7053,
        dict(op_add=13, cond_add=4, waddr_add=3, op_mul=5, cond_mul=7, waddr_mul=3, mul_b=3),
    ),
    (0xD00208270C050DC0, dict(sig=13, small_imm=16, raddr_a=1, op_add=12, add_b=7)),
    (0x10E200270C9E7040, dict(pm=0, pack=14, waddr_add=0, op_add=12)),
    (0x1E0208270C067C40, dict(pm=0, unpack=7, raddr_a=1, add_a=6)),
    (0x1B020827019E7840, dict(pm=1, unpack=5, add_a=4, add_b=1)),
    (0x114049E0209E700A, dict(pm=1, pack=4, op_mul=1, waddr_mul=32)),
    (0xE0092862FFFFFFFF, dict(sig=14, load_kind=0, sf=1, cond_add=4, cond_mul=4, imm=0xFFFFFFFF)),
    (0xE6024821CCCCAAAA, dict(sig=14, load_kind=3, imm=0xCCCCAAAA)),
    (0xE80249E700000015, dict(sig=14, load_kind=4, imm=0x15)),
    (0xF0FC87E700000008, dict(sig=15, cond_br=15, rel=1, reg=1, raddr_a=4, waddr_add=31, imm=8)),
    (0xF0F810E700000020, dict(sig=15, cond_br=15, rel=1, ws=1, waddr_add=3, imm=32)),
    (0xA00049E0209E7021, dict(sig=10, op_mul=1, mul_a=4, mul_b=1)),
]


@pytest.mark.parametrize("word, values", BY_FIELD, ids=[f"{row[0]:016x}" for row in BY_FIELD])
def test_fields_of_a_word(word, values):
    instr = decode(word)
    assert {name: getattr(instr, name) for name in values} == values


def test_the_defaults_are_the_reference_nop():
    assert encode(NOP) == encode(Instr()) == 0x100009E7009E7000
    assert disassemble(0x100009E7009E7000) == "nop"


def test_a_reserved_word_disassembles_to_its_reason():
    word = 0x100009E7009E7000 | 9 << 24
    assert disassemble(word) == f".word {word:#018x}  # op_add 9 is reserved"


def test_a_word_directive_takes_any_valid_word():
    assert encode(parse(".word 0x10020827019e7280")) == 0x10020827019E7280
