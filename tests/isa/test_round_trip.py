"""Round trips of random instructions and random words: no bit is lost, nothing is misread."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from piblas.errors import DecodeError
from piblas.isa import fields, modes, ops
from piblas.isa.disasm import disassemble, to_text
from piblas.isa.instr import Instr, decode, encode
from piblas.isa.parse import parse

SIGNALS_OF = {
    fields.ALU: st.integers(0, 12),
    fields.SMALL_IMM: st.just(13),
    fields.LDI: st.just(14),
    fields.SEMAPHORE: st.just(14),
    fields.BRANCH: st.just(15),
}
VALID = {
    "op_add": st.sampled_from(sorted(ops.ADD_BY_CODE)),
    "cond_br": st.sampled_from([c for c, n in enumerate(modes.BRANCH_CONDITIONS) if n]),
}
PACKS_OF_MUL = [code for code, name in enumerate(modes.PACK_MUL) if name]


@st.composite
def instructions(draw):
    """Any valid instruction of any format."""
    layout = draw(st.sampled_from(sorted(fields.FORMATS)))
    values = {}
    for field in fields.FORMATS[layout]:
        if field.must_be is None:
            values[field.name] = draw(VALID.get(field.name, st.integers(0, field.mask)))
    values["sig"] = draw(SIGNALS_OF[layout])
    if layout == fields.LDI:
        values["load_kind"] = draw(st.sampled_from([0, 1, 3]))
    if layout == fields.SEMAPHORE:
        values["load_kind"] = 4
    if values.get("pm"):
        values["pack"] = draw(st.sampled_from(PACKS_OF_MUL))
    return Instr(**values)


@settings(max_examples=1500, deadline=None)
@given(instructions())
def test_any_instruction_survives_word_and_text(instr):
    word = encode(instr)
    assert 0 <= word < 1 << 64
    assert decode(word) == instr
    text = to_text(instr)
    assert parse(text) == instr
    assert disassemble(word) == text


def _valid_by_hand(word):
    """Whether the formats of the guide give a word a meaning (guide, p. 26-36)."""
    sig, kind, pm, pack = word >> 60, word >> 57 & 7, word >> 56 & 1, word >> 52 & 15
    if sig == 15:
        return word >> 56 & 15 == 0 and pack not in (12, 13, 14)
    if pm and (pack in (1, 2) or pack >= 8):
        return False
    if sig == 14:
        return kind in (0, 1, 3, 4)
    return word >> 24 & 31 not in (9, 10, 11, 25, 26, 27, 28, 29)


def _check_words(count, seed, with_text):
    rng = random.Random(seed)
    refused = 0
    for index in range(count):
        word = rng.getrandbits(64)
        if index % 4 == 3:  # branches and loads are rare among uniform words
            word |= rng.choice((14, 15)) << 60
            if word >> 60 == 15 and index % 8 == 7:
                word &= ~(15 << 56)
        try:
            instr = decode(word)
        except DecodeError as error:
            refused += 1
            assert error.word == word and error.reason
            assert not _valid_by_hand(word), f"{word:016x}: {error}"
            continue
        assert _valid_by_hand(word), f"{word:016x} decoded to {instr}"
        assert encode(instr) == word
        if with_text:
            text = disassemble(word)
            assert encode(parse(text)) == word, text
    assert 0 < refused < count


def test_random_words_decode_or_are_refused_with_a_reason():
    _check_words(20_000, seed=1, with_text=False)


def test_random_words_survive_the_text():
    _check_words(4_000, seed=2, with_text=True)


@pytest.mark.slow
def test_a_million_random_words_survive():
    _check_words(1_000_000, seed=3, with_text=True)
