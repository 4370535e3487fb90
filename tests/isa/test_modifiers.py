"""A modifier means the operand or operation that it is written on, or its line is refused."""

from __future__ import annotations

import collections
import random

import pytest
from lines import expressible, random_line, read_back, reading

from piblas.codegen import Assembler
from piblas.errors import AssemblerError, DecodeError
from piblas.isa.disasm import to_text
from piblas.isa.instr import decode, encode
from piblas.isa.parse import parse


def _names(line):
    """What a reason can name of a line: an operation, an operand, a signal."""
    if line.load is not None:
        yield line.load.name
        for name, _, _ in line.load.dsts:
            yield name
    for each in line.operations:
        yield each.name.replace("m_", "")
        yield each.dst
        yield from each.srcs
        yield "rot"


def _check(seed, count):
    """Compare ``count`` lines with what their words do; how many of each kind were accepted."""
    rng = random.Random(seed)
    seen = collections.Counter()
    for _ in range(count):
        line = random_line(rng)
        try:
            instr = parse(line.text)
        except DecodeError as error:
            assert not expressible(line), error
            assert error.reason.startswith("'") and line.text in error.reason, error
            assert any(name in error.reason[len(line.text) :] for name in _names(line)), error
            seen["refused"] += 1
            continue
        word = encode(instr)
        assert reading(decode(word)) == line.effects(), (line.text, to_text(instr))
        assert expressible(line), line.text
        text = to_text(decode(word))
        assert "!" not in text, (line.text, text)
        assert read_back(text).effects() == line.effects(), (line.text, text)
        assert encode(parse(text)) == word, (line.text, text)
        seen["accepted"] += 1
        for each in line.operations:
            seen["rot"] += each.rot is not None
            seen["sf"] += each.sf
            seen["pack"] += each.pack is not None and each.pack[-1] != "c"
            seen["colour"] += each.pack is not None and each.pack[-1] == "c"
            seen["moved to mul"] += each.rot is not None and each.name in ("mov", "v8adds")
            for src, unpack in zip(each.srcs, each.unpacks):
                seen[f"unpack {src[:2]}"] += unpack is not None
        seen["two"] += len(line.operations) == 2
        seen["load with pack"] += line.load is not None and any(dst[2] for dst in line.load.dsts)
    return seen


KINDS = (
    "accepted", "refused", "rot", "sf", "pack", "colour", "moved to mul", "unpack ra", "unpack r4",
    "two", "load with pack",
)  # fmt: skip


def test_lines_with_modifiers_in_all_places():
    seen = _check(1, 8000)
    assert min(seen["accepted"], seen["refused"]) > 2000, seen
    assert all(seen[kind] >= 10 for kind in KINDS), seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_hundred_thousand_lines(seed):
    seen = _check(seed, 25_000)
    assert all(seen[kind] >= 60 for kind in KINDS), seen


@pytest.mark.parametrize(
    "line, text",
    [
        ("mov r0, r1 rot 1", "m_mov r0, r1 rot 1"),
        ("mov r0, r1 rot 2; mov r2, r3", "mov r2, r3; m_mov r0, r1 rot 2"),
        ("v8adds r0, r1, r2 rot r5", "m_v8adds r0, r1, r2 rot r5"),
        ("nop rot 3", "m_nop rot 3"),
        ("mov ra1.8ac, r1", "m_mov ra1.8ac, r1"),
        ("v8subs r0.8888c, r1, r2; mov r3, r1", "mov r3, r1; m_v8subs r0.8888c, r1, r2"),
        ("mov r0, r1; mov.sf r2, r3", "mov.sf r2, r3; m_mov r0, r1"),
        ("mov r0, r1; mov r2, r3", "mov r0, r1; m_mov r2, r3"),
        ("nop; m_mov.sf r2, r3", "m_mov.sf r2, r3"),
        ("mov r0, ra1.8a; v8min r1, ra1.8a, ra1.8a", "mov r0, ra1.8a; m_mov r1, ra1.8a"),
        ("mov ra0.16a, r0; m_mov rb1, r2", "mov ra0.16a, r0; m_mov rb1, r2"),
        ("mov rb0, r0; m_mov ra1.16a, r2", "mov rb0, r0; m_mov ra1.16a, r2"),
        ("mov r0, unif.8a", "mov r0, unif.8a"),
        ("ldi ra0.16a.zs, r1, 5", "ldi ra0.16a.zs, r1, 0x00000005"),
        ("ldi.sf -, rb1, 5", "ldi.sf -, rb1, 0x00000005"),
        ("ldi.sf -.never, rb1, 5", "ldi.sf -.never, rb1, 0x00000005"),
        ("ldi r0, rb1.8ac, 5", "ldi r0, rb1.8ac, 0x00000005"),
    ],
)
def test_lines_that_a_word_can_express(line, text):
    assert to_text(parse(line)) == text
    assert parse(text) == parse(line)


REFUSED = [
    ("mov r0, r1 rot 2; m_mov r2, r3", "both need the mul unit .rot 2: only the mul unit rotates"),
    ("fadd r0, r1, r2 rot 1", "only the mul unit rotates, and fadd is an operation of the add"),
    ("mov r0, rb1.8a", "rb1.8a: only reads of file A .* and of r4 can be unpacked"),
    ("mov r0, r1.8a", "r1.8a: only reads of file A .* and of r4 can be unpacked"),
    ("mov rb0.16a, r0; m_mov ra1, r2", "rb0.16a: 16a packs into ra0 .. ra31 only"),
    ("mov r0.16a, r1", "r0.16a: 16a packs into ra0 .. ra31 only"),
    ("mov t0s.8as, r1", "t0s.8as: 8as packs into ra0 .. ra31 only"),
    ("mov r0, r1; m_mov.sf r2, r3", "'m_mov.sf r2, r3': .sf would take .* from 'mov r0, r1'"),
    ("mov.sf r0, r1; m_mov.sf r2, r3", "'m_mov.sf r2, r3': .sf would take the flags"),
    ("nop.sf; m_mov r0, r1", "'nop.sf': a nop sets no flags"),
    ("mov r0, ra1.8a; v8min r1, ra1, ra1", "ra1.8a and ra1: an unpack mode applies to all reads"),
    ("add r0, ra1.8a, ra1", "ra1.8a and ra1: an unpack mode applies to all reads of file A"),
    ("fadd r0, r4.8a, r4", "r4.8a and r4: an unpack mode applies to all reads of r4"),
    ("fmul rb1.8a, r1, r2", "rb1.8a: 8a packs into .*the mul unit can pack .* anywhere: .8ac"),
    ("fadd r0.8ac, r1, r2", "r0.8ac: only the mul unit packs colours"),
    ("fmul -.8ac, r1, r2", "-.8ac: nothing is written"),
    ("fadd ra0.16a, r1, r2; fmul rb0.8ac, r1, r2", "ra0.16a and rb0.8ac: a word has one pack mode"),
    ("fadd ra0.16a, r4.8a, r1", "ra0.16a and r4.8a: in one word either file A's reads and result"),
    ("ldi r0.8ac, -, 1", "r0.8ac: only the mul unit packs colours: write it as the second"),
    ("ldi rb0.8a, -, 1", "rb0.8a: 8a packs into ra0 .. ra31 only"),
    ("br.always rel +8, ra0.16a, -", "ra0.16a: a branch packs nothing"),
    ("ldtmu0; ldi r0, -, 5", "ldi fills a word: there is no room for 'ldtmu0'"),
    ("ldi r0, -, 5; ldi r1, -, 6", "ldi fills a word: there is no room for 'ldi r1, -, 6'"),
    ("fadd r0, r1, r2; add r3, r1, r2", "both need the add unit"),
    ("mov r0, r1; mov r2, r3; nop", "'nop' is one too many"),
    ("mov.zs.zc r0, r1", "there are two conditions"),
    ("mov.sf.sf r0, r1", ".sf is there twice"),
    ("mov ra0.16a.16b, r1", "there are two pack modes"),
    ("mov r0.zs, r1", "'zs' is neither a pack mode nor a condition: write OPERATION.zs r0"),
    ("ldtmu0; ldtmu1", "a word has one signal .sig would have to be both"),
    ("mov r0, unif; add r1, ra2, r0; ldtmu0", "unif_b reads unif through the other file"),
    ("add r0, rb1, 3", "rb1: the constant 3 takes the place of the read address of file B"),
    ("fmul r0, r1, rb1 rot 3", "rb1: rot 3 takes the place of the read address of file B"),
    ("add r0, r1, r2; ; nop", "nothing between two ';'"),
]


@pytest.mark.parametrize("line, reason", REFUSED)
def test_lines_that_no_word_can_express(line, reason):
    with pytest.raises(DecodeError, match=reason):
        parse(line)
    asm = Assembler("refused")
    with pytest.raises(AssemblerError, match=reason):
        asm.word(line)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("mov r0, 3.5", "3.5 is no small immediate .*: load it .*'ldi REGISTER, -, 3.5'"),
        ("mov r0, 0x02020202", "0x02020202 is no small immediate .*'ldi REGISTER, -, 0x02020202'"),
        ("mul24 ra31, r0, 24", "24 is no small immediate .*'ldi REGISTER, -, 24'"),
        ("mov r0, -0.0", "-0.0 is no small immediate"),
        ("mov r0, 1e99", "1e99 is no small immediate"),
        ("mov r0, q", "'q' is no operand; there are r0 .. r5, ra0 .. ra31, .*unif, .*qpu_num"),
        ("mov q, r0", "'q' is no destination; there are -, ra0 .. ra31, .*recip, .*t0s"),
        ("mov r0, ra1.8e", "'8e' is no unpack mode; there are 16a, 16b, 8dr, 8a"),
        ("mov ra0.8e, r1", "'8e' is neither a pack mode .*pack modes are 16a, .*8ac"),
        ("mov.zz r0, r1", "'zz' is no condition; there are never, always, zs"),
        ("br.zs rel +0", "'zs' is no branch condition; there are all_zs"),
        ("mov r0, 1 + foo", "'foo' is no number"),
        ("ldi r0, -, 1e39", "1e[+]39 is beyond float32"),
        ("mov r0, r1 // c", "a comment starts with '#'"),
        ("mov r0, r1 /* c */", "a comment starts with '#'"),
        (".globl x", "'.globl' is no directive here"),
        ("nop !sf=1 !sf=0", "field sf is there twice"),
        ("nop !imm=1.5", "'1.5' is no integer"),
        ("m_fadd r0, r1, r2", "'m_fadd' is no operation: fadd is an operation of the add unit"),
        ("sema_up 3, r0", "sema_up takes a number, or a number and two destinations"),
        ("sema_down 16", "there is no semaphore 16"),
        ("br.always rel 1 << 33", "the target 8589934592 is not in"),
        ("mul24 r0, r1, r2 rot 1.0", "rotation 1.0 is neither 1..15 nor 'r5'"),
    ],
)
def test_reasons_name_the_way_out(line, reason):
    with pytest.raises(DecodeError, match=reason):
        parse(line)


@pytest.mark.parametrize(
    "line, text",
    [
        ("mov\tr0,\tr1", "mov r0, r1"),
        ("fmul\tr0 ,r1,\tr2\trot\t3", "fmul r0, r1, r2 rot 3"),
        ("ldi\tr0,-,0x10", "ldi r0, -, 0x00000010"),
        ("br.always\trel\t8", "br.always rel +8"),
        ("ldi r0, -, 1.5", "ldi r0, -, 0x3fc00000"),
        ("ldi r0, -, -1e-1", "ldi r0, -, 0xbdcccccd"),
        ("mov r0, 0x3f800000", "mov r0, 1.0"),
        ("mov r0, 0.0", "mov r0, 0"),
        ("mov r0, 0xfffffff0", "mov r0, -16"),
        ("mov r0, 2*(3+4)", "mov r0, 14"),
        ("add r0, r1, -(1 << 4)", "add r0, r1, -16"),
        ("m_mov r0, r1 rot 16 - 1", "m_mov r0, r1 rot 15"),
        ("sema_up 2 + 1", "sema_up 3"),
        ("br.always rel 8*-2 + ra3", "br.always rel -16 + ra3"),
        ("ldi_unsigned r0, -, [" + "1+1 " * 16 + "]",
         "ldi_unsigned r0, -, [" + " ".join("2" * 16) + "]"),
        ("nop !raddr_a = 30+2", "nop !raddr_a=32"),
    ],
)  # fmt: skip
def test_spaces_numbers_and_expressions(line, text):
    assert to_text(parse(line)) == text


def test_what_a_pack_mode_cannot_do_is_a_field_of_the_disassembly():
    """Words of other assemblers may hold modes that the chip does not apply."""
    for line, changes in (
        ("mov r0, r1", {"pack": 1}),
        ("mov rb0, r1", {"pack": 4}),
        ("fmul -, r0, r1", {"pm": 1, "pack": 4}),
        ("mov r0, r1", {"unpack": 4}),
    ):
        instr = parse(line).but(**changes)
        text = to_text(instr)
        assert text.startswith(f"{line} !") and parse(text) == instr
