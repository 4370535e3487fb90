"""The page of ``piblas asm --syntax``: it names everything there is, and only that."""

from __future__ import annotations

import re

import pytest

from piblas import cli
from piblas.errors import DecodeError
from piblas.isa import modes, ops, regs
from piblas.isa.instr import encode
from piblas.isa.parse import OPERATIONS, parse
from piblas.isa.syntax import EXAMPLES, page


def lists():
    """The lists of names at the page's end, by title."""
    text = page()
    text = text[text.index("\nadd unit") :]
    return {
        match.group(1).strip(): re.split(r",\s+", match.group(2).strip())
        for match in re.finditer(r"^(\w.{13})((?:.|\n {14})*)", text, re.MULTILINE)
    }


def test_it_names_what_the_tables_have():
    found = lists()
    names = set(found["add unit"] + found["mul unit"])
    assert names == set(OPERATIONS) | {"nop", "mov"}
    assert {op.name for op in ops.ADD_OPS + ops.MUL_OPS} <= names
    accumulators = [f"r{i}" for i in range(6)]
    files = [f"{file}{i}" for file in ("ra", "rb") for i in range(32)]
    ports = {name for port in regs.READS for name in (port.name_a, port.name_b) if name}
    assert set(found["sources"]) == {"r0 .. r5", "ra0 .. ra31", "rb0 .. rb31"} | ports
    for name in [*accumulators, *files, *ports]:
        encode(parse(f"mov r0, {name}"))
    unmapped = re.compile(r"[ab]\d+")
    for name in regs.WRITE_ADDR:
        in_file = re.fullmatch(r"r[ab]\d+", name)
        assert in_file or unmapped.fullmatch(name) or name in found["destinations"], name
    assert set(found["fields"]) == set(parse("nop").__dataclass_fields__)


def test_every_name_on_it_can_be_used():
    found = lists()
    for name in found["add unit"] + found["mul unit"]:
        nsrc = 1 if name in ("mov", "m_mov") else max(op.nsrc for op in OPERATIONS[name].values())
        encode(parse(f"{name} " + ", ".join(["r0", "r1", "r2"][: nsrc + 1])))
    for name in found["signals"]:
        assert modes.SIGNALS[parse(f"mov r0, r1; {name}").sig].name == name
    for name in found["conditions"]:
        assert modes.CONDITIONS[parse(f"mov.{name} r0, r1").cond_add] == name
    for name in found["of a branch"]:
        assert modes.BRANCH_CONDITIONS[parse(f"br.{name} rel +0").cond_br] == name
    for name in found["destinations"]:
        if ".." not in name:
            parse(f"mov {name}, r1")
    for name in found["constants"]:
        assert modes.SMALL_IMMS[parse(f"mov r0, {name}").small_imm].text == name
    for name in found["unpack modes"]:
        assert modes.UNPACK_A[parse(f"mov r0, ra1.{name}").unpack] == name
    for name in found["pack modes"]:
        assert modes.PACK_A[parse(f"mov ra1.{name}, r0").pack] == name
    for name in found["of colours"]:
        assert modes.PACK_MUL[parse(f"fmul r0.{name}, r0, r1").pack] == name


@pytest.mark.parametrize("line", EXAMPLES)
def test_its_examples_are_instructions(line):
    assert line in page()
    encode(parse(line))


@pytest.mark.parametrize("mark", ["zs", "8a"])
def test_marks_that_it_does_not_offer_are_refused(mark):
    with pytest.raises(DecodeError):
        parse(f"br.always rel +0.{mark}")


def test_the_command_prints_it_within_100_columns(capsys):
    assert cli.main(["asm", "--syntax"]) == 0
    assert capsys.readouterr().out == page()
    assert max(map(len, page().splitlines())) <= 100
    with pytest.raises(SystemExit):
        cli.main(["asm", "--syntax", "saxpy"])
    assert "--syntax takes no kernel or file" in capsys.readouterr().err
