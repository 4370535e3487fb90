"""Every refusal of the assembler: its message, the place of the call, the rule."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from piblas.codegen import Assembler
from piblas.codegen.operand import Reg, mask_text
from piblas.errors import AssemblerError
from piblas.isa.instr import Instr


def fixed(write):
    def inside(asm):
        with asm.fixed():
            write(asm)

    return inside


def paired(write):
    def inside(asm):
        with asm.pair():
            write(asm)

    return inside


def nested(name):
    def write(asm):
        with getattr(asm, name)():
            with getattr(asm, name)():
                pass

    return write


def two_calls(first, second):
    def write(asm):
        first(asm)
        second(asm)

    return write


# A call that is refused, and what the message says.  All are refused where they stand or, from the
# comment on, by finish().
CALLS = [
    (
        lambda a: a.reg("x", file="C"),
        "register x: 'C' is neither A, B, AB, acc, any nor a register",
    ),
    (lambda a: a.signal("none"), "'none' is no signal of its own"),
    (lambda a: a.signal("thrend"), "the signal thrend needs hand-placed code"),
    (lambda a: a.ldtmu(2), "there is no TMU 2"),
    (two_calls(lambda a: a.label("x"), lambda a: a.label("x")), "label 'x' is there already"),
    (paired(lambda a: a.label("x")), "label 'x' inside a pair"),
    (lambda a: a.branch_reg(a.reg("x", file="B")), "a branch needs x in file A"),
    (lambda a: a.branch_reg(a.rb1), "a branch cannot take rb1"),
    (nested("pair"), "a pair inside a pair"),
    (nested("fixed"), "hand-placed code inside hand-placed code"),
    (lambda a: a.word("fadd r0"), "fadd takes a destination and 2 operands"),
    (lambda a: a.word("br.always rel +0"), "a branch or end as a word needs hand-placed code"),
    (lambda a: a.word("nop; thrend"), "a branch or end as a word needs hand-placed code"),
    (lambda a: a.word(Instr(op_add=9)), "op_add 9 is reserved"),
    (paired(lambda a: a.ldi(a.r0, 1)), "H6: this needs a word of its own"),
    (lambda a: a.fadd(a.r0, a.r1, "red"), "'red' is neither an operand nor a number"),
    (lambda a: a.mov(a.r0, a.ra1, line=True), "ra1 is no word of a line of uniforms"),
    (lambda a: a.mov(a.r0, 1 << 32), "4294967296 does not fit 32 bits"),
    (lambda a: a.mov(a.r0, 1e300), "does not fit a float32"),
    (lambda a: a.fadd(a.r0, a.r1, a.r2, cond="maybe"), "'maybe' is none of the conditions never"),
    (lambda a: a.fadd(a.ra0.unpack("8a"), a.r1, a.r2), "a destination is packed, not unpacked"),
    (lambda a: a.mov(a.r4, a.r0), "r4 is written through a signal or special function"),
    (lambda a: a.mov(a.r5, a.r0), "r5 is written through r5rep or r5quad"),
    (lambda a: a.mov(a.unif, a.r0), "unif is no destination"),
    (lambda a: a.mov(3, a.r0), "3 is no destination"),
    (lambda a: a.mov(a.r0, a.ra0.pack("8a")), "a source is unpacked, not packed"),
    (lambda a: a.mov(a.r0, a.t0s), "t0s cannot be read"),
    (lambda a: a.fadd(a.r0, a.r1, a.r2, unit="mul"), "fadd has no unit 'mul'"),
    (lambda a: a.fadd(a.r0, a.r1), "fadd takes 2 operands, not 1"),
    (lambda a: a.clz(a.r0, a.r1, a.r2), "clz takes 1 operands, not 2"),
    (lambda a: a.rotate(a.r0, a.r1, 16), "rotation 16 is neither 1..15 nor 'r5'"),
    (lambda a: a.fadd(a.r0, a.r1, a.r2, rotate=1), "fadd: only the mul unit rotates"),
    (lambda a: a.sema_up(16), "there is no semaphore 16"),
    (lambda a: a.ldi_signed(a.r0, [0] * 15), "a load by element takes 16 values"),
    (lambda a: a.ldi_unsigned(a.r0, [-1] * 16), "takes 16 values of [0, 1, 2, 3]"),
    (lambda a: a.branch("x", cond="zs"), "'zs' is none of the conditions all_zs"),
    (lambda a: a.branch("x", link=a.vpm), "vpm cannot hold a return address"),
    # --- refused by finish()
    (lambda a: a.branch("nowhere"), "there is no label 'nowhere'"),
    (fixed(lambda a: (a.branch("x"), a.label("x"))), "a label stands in the delay slots"),
    (fixed(lambda a: a.branch("x")), "a hand-placed branch or end lacks its delay slots"),
    (lambda a: a.add(a.r0, a.reg("x"), 1), "x is read before it is written on some path"),
    (lambda a: a.add(a.reg("x", file="B").pack("8a"), a.r0, 1), "H14: a pack mode needs"),
    (lambda a: a.add(a.reg("x", file="acc").pack("8a"), a.r0, 1), "x may only be in acc"),
    (lambda a: a.add(a.r0.pack("16a"), a.r0, 1), "H14: a pack mode needs a destination in file A"),
    (lambda a: a.or_(a.ra0.pack("32s"), a.r0, 1), "H14: 32s saturates the results of add and sub"),
    (lambda a: a.add(a.r0.pack("8ac"), a.r0, 1), "only results of the mul unit are packed as a"),
    (lambda a: a.fmul(a.vpm.pack("8ac"), a.r0, a.r1), "H13: a byte of a colour cannot go to"),
    (lambda a: a.ldi(a.r0.pack("8ac"), 1), "a load cannot be packed as a colour"),
    (fixed(lambda a: a.add(a.r0, a.r1, 1000)), "hand-placed code needs a second word here"),
    (fixed(lambda a: a.add(a.r0, a.ra1, a.ra2)), "hand-placed code needs a second word here"),
    (
        paired(lambda a: (a.fadd(a.ra0, a.r0, a.r1), a.fmul(a.ra1, a.r0, a.r1))),
        "the results of a pair lie in the same register file",
    ),
    (
        paired(lambda a: (a.fadd(a.r0, a.r0, a.r1), a.fadd(a.r2, a.r0, a.r1))),
        "H6: these operations do not fit into one word",
    ),
    (
        paired(lambda a: (a.mov(a.t0s, a.r1), a.mov(a.t1s, a.r1))),
        "H9: these operations do not fit into one word",
    ),
    (
        paired(
            lambda a: (
                a.add(a.r0, a.ra1.unpack("16a"), a.r1),
                a.mul24(a.r1, a.ra2.unpack("16a"), a.r1),
            )
        ),
        "H6: no word can read these operands together",
    ),
    (
        two_calls(lambda a: a.label("end"), lambda a: a.branch("end")),
        None,  # a loop without an end of its own is fine: END follows
    ),
    (lambda a: a.mov(a.vpm, a.r0, cond="zs"), "H12: a write to a peripheral is conditional"),
    (lambda a: a.ldtmu(0), "H25: a TMU result is popped that was never requested"),
    (
        fixed(lambda a: (a.mov(a.ra1, a.r0), a.mov(a.r1, a.ra1))),
        "H1: a register of file A or B is read in the word after its write",
    ),
]


@pytest.mark.parametrize("write, message", CALLS, ids=[str(m)[:40] for _, m in CALLS])
def test_refused(write, message):
    asm = Assembler("test")
    if message is None:
        write(asm)
        asm.end()
        asm.finish()
        return
    with pytest.raises(AssemblerError) as caught:
        write(asm)
        asm.end()
        asm.finish()
    assert message in str(caught.value)
    assert caught.value.where and caught.value.where.startswith(__file__ + ":")
    if message[0] == "H":
        assert caught.value.rule == message.split(":")[0]


def test_error_names_the_line_of_the_generator_and_the_instruction():
    asm = Assembler("test")
    x = asm.reg("x", file="B")
    line = inspect.currentframe().f_lineno + 1
    asm.add(x.pack("8a"), asm.r0, 1, cond="zs", sf=True)
    asm.end()
    with pytest.raises(AssemblerError) as caught:
        asm.finish()
    assert caught.value.where == f"{__file__}:{line}"
    assert caught.value.instruction == "add.sf.zs x.8a, r0, 1"


def test_hazard_error_names_line_instruction_and_rule():
    asm = Assembler("test")
    line = inspect.currentframe().f_lineno + 1
    asm.mov(asm.vpm, 3, cond="ns")
    asm.end()
    with pytest.raises(AssemblerError) as caught:
        asm.finish()
    assert (caught.value.where, caught.value.rule) == (f"{__file__}:{line}", "H12")
    assert caught.value.instruction == "mov.ns vpm, 3"
    assert "(word 0 of test)" in str(caught.value)


def test_constant_cannot_be_unpacked():
    asm = Assembler("test")
    three = asm._const(3)
    asm.mov(asm.r0, three.unpack("8a"))
    asm.end()
    with pytest.raises(AssemblerError, match="a constant cannot be unpacked"):
        asm.finish()


def test_a_program_needs_an_end():
    asm = Assembler("test")
    asm.mov(asm.r0, 1)
    with pytest.raises(AssemblerError, match="test has no end"):
        asm.finish()


def test_label_needs_an_instruction():
    asm = Assembler("test")
    asm.mov(asm.r0, 1)
    asm.branch("here", cond="all_zs")
    asm.end()
    asm.label("here")
    with pytest.raises(AssemblerError, match="label 'here' stands behind the last instruction"):
        asm.finish()


def test_finish_works_once():
    asm = Assembler("test")
    asm.end()
    asm.finish()
    with pytest.raises(AssemblerError, match="test is finished already"):
        asm.finish()


def test_running_past_the_end_is_found():
    asm = Assembler("test")
    asm.branch("more", cond="all_zs")
    asm.end()
    asm.label("more")
    for _ in range(8):
        asm.mov(asm.vpm, 1)
    with pytest.raises(AssemblerError) as caught:
        asm.finish()
    assert caught.value.rule == "H30"


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: Reg("x").pack("16z"), "there is no pack mode '16z'"),
        (lambda: Reg("x").unpack("16z"), "there is no unpack mode '16z'"),
        (lambda: Reg("x").unpack("8a").pack("8a"), "x.8a has a pack or unpack mode already"),
    ],
)
def test_modes_are_checked_at_once(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_out_of_registers_names_who_is_there():
    asm = Assembler("test")
    held = asm.regs("held", 5, file="acc")
    for reg in held:
        asm.mov(reg, 1)
    for reg in held:
        asm.mov(asm.vpm, reg)
    asm.end()
    with pytest.raises(AssemblerError) as caught:
        asm.finish()
    text = str(caught.value)
    assert "out of registers: no place for held4 in acc" in text
    assert "live beside it: held0, held1, held2, held3" in text


def test_too_many_values_for_all_registers():
    asm = Assembler("test")
    held = asm.regs("held", 69)
    for reg in held:
        asm.mov(reg, asm.unif)
    for reg in held:
        asm.mov(asm.vpm, reg)
    asm.end()
    with pytest.raises(AssemblerError, match="out of registers: no place for held"):
        asm.finish()


def test_one_register_asked_for_twice():
    asm = Assembler("test")
    one, two = asm.reg("one", file="ra3"), asm.reg("two", file="ra3")
    asm.mov(one, 1)
    asm.mov(two, 2)
    asm.add(asm.vpm, one, 0)
    asm.add(asm.vpm, two, 0)
    asm.end()
    with pytest.raises(AssemblerError, match="no place for two in ra3; live beside it: one"):
        asm.finish()


def test_hand_placed_operands_of_one_file():
    asm = Assembler("test")
    one, two = asm.regs("x", 2, file="A")
    asm.mov(one, 1)
    asm.mov(two, 2)
    with asm.fixed():
        asm.nop()
        asm.add(asm.r0, one, two)
    asm.end()
    with pytest.raises(AssemblerError, match="hand-placed (operands lie|code needs)"):
        asm.finish()


def test_hand_placed_registers_that_landed_in_one_file():
    asm = Assembler("test")
    values = asm.regs("x", 32, file="B")
    for reg in values:
        asm.mov(reg, 1)
    one, two = asm.regs("y", 2, file="AB")
    asm.mov(one, 1)
    asm.mov(two, 2)
    with asm.fixed():
        asm.nop()
        asm.add(asm.r0, one, two)
    for reg in values:
        asm.mov(asm.vpm, reg)
    asm.end()
    with pytest.raises(AssemblerError, match="hand-placed operands lie in the same register file"):
        asm.finish()


def test_names_of_places():
    assert mask_text(Reg("x").allowed) == "A, B, acc"
    assert mask_text(1 << 70 >> 6) == "r0"
    assert mask_text(0x55555555) == "even registers of file A"


def test_numbers_of_numpy_are_numbers():
    asm = Assembler("test")
    asm.mov(asm.vpm, np.uint32(5))
    asm.end()
    assert asm.finish().length == 4


def test_hand_placed_branch_at_the_end_lacks_its_slots():
    asm = Assembler("test")
    asm.label("here")
    with asm.fixed():
        asm.branch("here")
        asm.nop()
    with pytest.raises(AssemblerError, match="a hand-placed branch or end lacks its delay slots"):
        asm.finish()
