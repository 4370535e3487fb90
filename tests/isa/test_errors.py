"""Every refusal of the encoder, the decoder and the text reader, with its message."""

from __future__ import annotations

import pytest

from piblas.errors import DecodeError, PiblasError
from piblas.isa.instr import NOP, Instr, decode, encode
from piblas.isa.parse import parse

WORD = 0x100009E7009E7000


@pytest.mark.parametrize("code", [9, 10, 11, 25, 26, 27, 28, 29])
def test_reserved_add_ops(code):
    for make in (lambda: decode(WORD | code << 24), lambda: encode(NOP.but(op_add=code))):
        with pytest.raises(DecodeError, match=rf"op_add {code} is reserved"):
            make()


@pytest.mark.parametrize("pack", [1, 2, 8, 9, 10, 11, 12, 13, 14, 15])
@pytest.mark.parametrize("base", [WORD, 0xE00009E700000000])
def test_reserved_packs_of_the_mul_unit(base, pack):
    with pytest.raises(DecodeError, match=rf"pack {pack} with pm = 1 is reserved"):
        decode(base | 1 << 56 | pack << 52)


@pytest.mark.parametrize("kind", [2, 5, 6, 7])
def test_reserved_load_kinds(kind):
    with pytest.raises(DecodeError, match=rf"load kind {kind} is reserved"):
        decode(0xE00009E700000000 | kind << 57)


@pytest.mark.parametrize("cond", [12, 13, 14])
def test_reserved_branch_conditions(cond):
    with pytest.raises(DecodeError, match=rf"cond_br {cond} is reserved"):
        decode(0xF00809E700000000 | cond << 52)


@pytest.mark.parametrize("bit", [56, 57, 58, 59])
def test_unused_bits_of_a_branch(bit):
    with pytest.raises(DecodeError, match="bits 59:56 must be 0") as info:
        decode(0xF0F809E700000000 | 1 << bit)
    assert info.value.word == 0xF0F809E700000000 | 1 << bit
    assert isinstance(info.value, PiblasError) and isinstance(info.value, ValueError)


@pytest.mark.parametrize("word", [-1, 1 << 64])
def test_no_64_bit_word(word):
    with pytest.raises(DecodeError, match="is not a 64-bit word"):
        decode(word)


@pytest.mark.parametrize(
    "instr, reason",
    [
        (NOP.but(waddr_add=64), "waddr_add = 64 does not fit 6 bits"),
        (NOP.but(cond_add=-1), "cond_add = -1 does not fit 3 bits"),
        (NOP.but(imm=1), "imm = 1 has no place in a word of format alu"),
        (NOP.but(sig=13, raddr_b=1), "raddr_b = 1 has no place in a word of format small_imm"),
        (Instr.load(0, op_add=1), "op_add = 1 has no place in a word of format ldi"),
        (Instr.branch(cond_br=15, unpack=1), "unpack = 1 has no place in a word of format branch"),
        (Instr.branch(cond_br=15, raddr_a=32), "raddr_a = 32 does not fit 5 bits"),
    ],
)
def test_fields_that_do_not_fit(instr, reason):
    with pytest.raises(DecodeError, match=reason):
        encode(instr)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("frob r0, r1, r2", "'frob' is no operation"),
        ("m_fadd r0, r1, r2", "'m_fadd' is no operation"),
        ("fadd.xx r0, r1, r2", "'xx' is no condition"),
        ("fadd r0, r1", "fadd takes a destination and 2 operands"),
        ("fadd r9, r1, r2", "'r9' is no destination"),
        ("fadd ra0.99, r1, r2", "'99' is neither a pack mode nor a condition"),
        ("fadd r0, r1, q", "'q' is no operand"),
        ("fadd r0, ra1, ra2", "raddr_a would have to be both 1 and 2"),
        ("add r0, r1, 3; fmul r2, r1, 0.5", "small_imm would have to be both"),
        ("add r0, r1, 3; ldtmu0", "sig would have to be both"),
        ("add r0, r1, 3; m_mov r1, r2 rot 4", "an operand 3 cannot stand beside this rotation"),
        ("add r0, r1, r2; m_mov r1, r2 rot 16", "rotation 16 is neither"),
        ("fadd ra0, r1, r2; fmul ra1, r1, r2", "both results go to the same register file"),
        ("fadd ra0, ra1.16a, ra1.16b", "unpack would have to be both"),
        ("fadd r0, ra1.16a, r4.16a", "pm would have to be both"),
        ("ldi.zs r0, -, 1", "cannot stand behind ldi"),
        ("ldi r0, 1", "ldi takes two destinations and a value"),
        ("ldi r0, -, 0x100000000", "4294967296 does not fit 32 bits"),
        ("ldi r0, -, seven", "'seven' is no number"),
        ("ldi_signed r0, -, [0 1 2]", "a per-element load takes 16 values"),
        ("ldi_signed r0, -, [" + "2 " * 16 + "]", r"a per-element load takes 16 values of"),
        ("sema_up 16", "there is no semaphore 16"),
        ("br.sometimes rel +8", "'sometimes' is no branch condition"),
        ("br.always near 8", "a branch is"),
        ("br.always rel +8, ra0", "a branch is"),
        ("br.always rel +8 + ra32", "raddr_a = 32 does not fit 5 bits"),
        ("nop !colour=1", "no field is called 'colour'"),
        ("nop !sf=2", "sf = 2 does not fit 1 bits"),
        ("nop !imm=2", "imm = 2 has no place"),
        ("nop !sf", "no value"),
        ("nop !sf=red", "red"),
        (".word 0x190009e7009e7000000", "is not a 64-bit word"),
        (".word", "number"),
        (".word red", "number"),
        ("", "no instruction"),
    ],
)
def test_lines_that_name_no_instruction(line, reason):
    with pytest.raises(DecodeError, match=reason):
        parse(line)


def test_comments_and_spaces_do_not_count():
    assert encode(parse("  fadd  r0, r1, r2   # sum")) == 0x10020827019E7280
    assert encode(parse("mov r0 , r0;  m_mov r0, r0 ; thrend")) == 0x30024820959E7000
