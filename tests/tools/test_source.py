"""Programs as text: round trips, labels, data words, errors with their line."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from piblas.errors import AssemblerError, DecodeError
from piblas.isa.instr import Instr, decode, encode
from piblas.isa.source import assemble, branch_target, to_source
from piblas.kernels import spec


def valid_words(seed, count):
    rng = random.Random(seed)
    words = []
    while len(words) < count:
        word = rng.getrandbits(64)
        try:
            decode(word)
        except DecodeError:
            continue
        words.append(word)
    return words


def test_twenty_thousand_valid_words_round_trip():
    words = valid_words(1, 20_000)
    text = to_source(words)
    assert ".word" not in text
    assert assemble(text).words == words


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_a_million_valid_words_round_trip(seed):
    words = valid_words(100 + seed, 50_000)
    assert assemble(to_source(words)).words == words


@given(st.lists(st.integers(0, (1 << 64) - 1)), st.booleans())
def test_any_words_round_trip(words, comments):
    """Those that are no instructions are there as data."""
    assert assemble(to_source(words, comments=comments)).words == words


@given(st.lists(st.integers(-6, 40), min_size=1, max_size=30), st.data())
def test_branches_round_trip_as_labels(offsets, data):
    words = []
    for offset in offsets:
        imm = (8 * offset + data.draw(st.sampled_from([0, 0, 0, 4]))) & 0xFFFFFFFF
        extra = data.draw(st.sampled_from([{}, {"reg": 1, "raddr_a": 5}, {"waddr_add": 3}]))
        words.append(encode(Instr.branch(rel=1, imm=imm, cond_br=15, **extra)))
    text = to_source(words, comments=False)
    assert assemble(text).words == words
    lines = [line for line in text.splitlines() if line.startswith(" ")]
    for index, (word, line) in enumerate(zip(words, lines)):
        target = branch_target(decode(word), index)
        inside = target is not None and 0 <= target <= len(words)
        assert (f"rel L{target}" in line) == inside and ("rel L" in line) == inside


@pytest.mark.parametrize("name", spec.names())
def test_kernels_round_trip(name):
    program = spec.get(name).build()
    words = [int(word) for word in program.words]
    plain = to_source(words)
    named = to_source(words, program.labels)
    assert assemble(plain).words == assemble(named).words == words
    assert ".word" not in plain
    targets = {branch_target(instr, index) for index, instr in enumerate(program.instrs)} - {None}
    assert targets, "a kernel without a loop is no test of labels"
    for label, index in program.labels.items():
        if index in targets:
            assert assemble(named).labels[label] == index


def test_labels_by_hand():
    source = assemble(
        "# a comment\n"
        "start: mov r0, 3\n"
        "loop: again:\n"
        "\n"
        "  sub.sf r0, r0, 1   # one less\n"
        "  br.any_zc rel loop\n"
        "  nop\n"
        "  br.always rel end + ra2, ra3, -\n"
        "  br.always rel end\n"
        "end:"
    )
    assert source.labels == {"start": 0, "loop": 1, "again": 1, "end": 6}
    assert source.lines == [2, 5, 6, 7, 8, 9]
    assert [decode(source.words[i]).imm for i in (2, 4, 5)] == [
        (8 * (1 - 2 - 4)) & 0xFFFFFFFF,
        (8 * (6 - 4 - 4)) & 0xFFFFFFFF,
        (8 * (6 - 5 - 4)) & 0xFFFFFFFF,
    ]
    assert decode(source.words[4]).reg == 1 and decode(source.words[4]).waddr_add == 3


def test_the_text_of_a_loop():
    words = assemble("mov r0, 3\nloop: sub.sf r0, r0, 1\nbr.any_zc rel loop").words
    plain = "    mov r0, 3\nL1:\n    sub.sf r0, r0, 1\n    br.any_zc rel L1\n"
    assert to_source(words, comments=False) == plain
    assert "\nturn:\n" in to_source(words, {"turn": 1}) and "rel turn " in to_source(
        words, {"turn": 1}
    )
    assert "L1:\nL1_:" not in to_source(words, {"L1": 0})
    assert "L1_:" in to_source(words, {"L1": 0}) and "L1:" in to_source(words, {"no name!": 1})
    assert to_source([]) == ""


def test_data_words():
    source = assemble("a: .word 1, 0xffffffffffffffff,0b11\nb: nop")
    assert source.words[:3] == [1, (1 << 64) - 1, 3]
    assert source.labels == {"a": 0, "b": 3} and source.lines == [1, 1, 1, 2]
    bad = 0xE400000000000000
    assert to_source([bad]).startswith(f"    .word {bad:#018x}  # load kind")


@pytest.mark.parametrize(
    "text, message",
    [
        ("nop\nfrob r0, r1", r"prog:2: 'frob r0, r1': 'frob' is no operation"),
        ("nop\n\nbr.always rel nowhere", r"prog:3: there is no label 'nowhere'"),
        ("x: nop\nbr.always abs x", r"prog:2: label 'x' in an absolute branch: write 'rel x'"),
        ("x: nop\nx: nop", r"prog:2: label 'x' stands at two places"),
        ("nop\n.word red", r"prog:2: '.word red': 'red' is no number"),
        (".word 1,", r"prog:1: .*'' is no number"),
        (".word 0x10000000000000000", r"prog:1: 18446744073709551616 is not a 64-bit word"),
        (".word -1", r"prog:1: -1 is not a 64-bit word"),
    ],
)
def test_errors_name_the_line(text, message):
    with pytest.raises(AssemblerError, match=message) as error:
        assemble(text, "prog")
    assert error.value.where.startswith("prog:")


def test_constants():
    source = assemble(
        """
        .set N, 8
        .set FAR, -(N * 2)
        .set scale, 1.5
        .set ra_x, ra5
        .set count, ra_x
    start: add count, r0, N - 1
        mov r1, FAR
        ldi ra_x.16a, -, N << 3
        ldi r2, -, scale
        mov r2, ra_x.8a rot N/2
        .set N, 9
        .word N, 1 << 63
        br.always rel start + count
        br.always rel N * 8
        ldi_signed r0, -, [1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 0]
        nop !raddr_a = N
        """
    )
    plain = assemble(
        """
    start: add ra5, r0, 7
        mov r1, -16
        ldi ra5.16a, -, 64
        ldi r2, -, 0x3fc00000
        m_mov r2, ra5.8a rot 4
        .word 9, 0x8000000000000000
        br.always rel start + ra5
        br.always rel 72
        ldi_signed r0, -, [1 1 1 1 1 1 1 1 0 0 0 0 0 0 0 0]
        nop !raddr_a=9
        """
    )
    assert source.words == plain.words and source.labels == {"start": 0}
    assert source.lines[0] == 7 and source.lines[5:7] == [13, 13]


@pytest.mark.parametrize(
    "text, message",
    [
        (".set", "prog:1: '.set': write '.set NAME, VALUE'"),
        (".set N 3", "prog:1: '.set N 3': write '.set NAME, VALUE'"),
        (".set 3, N", "write '.set NAME, VALUE'"),
        (".set N, M", "prog:1: 'M' is no number"),
        (".set N,", "'' is no number"),
        (".set r0, 3", "r0 has a meaning already"),
        (".set fadd, 3", "fadd has a meaning already"),
        (".set ldtmu0, 3", "ldtmu0 has a meaning already"),
        (".set rot, 3", "rot has a meaning already"),
        (".set N, 3\nN: nop", "prog:2: label 'N' is a constant already"),
        ("N: nop\n.set N, 3", "prog:2: constant 'N' is a label already"),
        ("mov r0, N\n.set N, 3", "prog:1: 'mov r0, N': 'N' is no operand"),
        (".set N, 3.5\nnop\nmov r0, N", "prog:3: 'mov r0, 3.5': 3.5 is no small immediate"),
        (".global x", "prog:1: there is no directive '.global', only .set and .word"),
    ],
)
def test_refused_constants_and_directives(text, message):
    with pytest.raises(AssemblerError, match=message):
        assemble(text, "prog")


def test_names_that_only_contain_a_constant_are_left_alone():
    constants = ".set a, 1\n.set x, 2\n.set b, 3\n"
    text = constants + "mov ra1.8a, r0\nldi r0, -, 0x1a\nbr.always rel a_b\na_b: nop"
    plain = "mov ra1.8a, r0\nldi r0, -, 0x1a\nbr.always rel c\nc: nop"
    assert assemble(text).words == assemble(plain).words
