"""What single calls of the assembler become."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from plain_qpu import Machine

from piblas.codegen import Assembler, Program
from piblas.isa.disasm import to_text
from piblas.isa.ops import ADD_OPS, MUL_OPS


def texts(write, schedule=False):
    """The instructions that ``write(asm)`` becomes, without the end and the padding."""
    asm = Assembler("test")
    write(asm)
    asm.end()
    program = asm.finish(schedule=schedule)
    return [to_text(instr) for instr in program.instrs[: program.length - 3]]


@pytest.mark.parametrize("op", [op for op in ADD_OPS + MUL_OPS if op.code], ids=lambda op: op.name)
def test_every_operation_is_a_method(op):
    def write(asm):
        asm.mov(asm.ra1, 3)
        asm.mov(asm.rb2, 3)
        sources = (asm.ra1, asm.rb2)[: op.nsrc]
        getattr(asm, op.name)(asm.r0, *sources, cond="ns", unit=op.unit)

    [line] = [text for text in texts(write) if "ra1" in text and "r0" in text]
    name = op.name if op.unit == "add" or op.name not in ("v8adds", "v8subs") else f"m_{op.name}"
    assert line == f"{name}.ns r0, ra1" + (", rb2" if op.nsrc == 2 else "")


def test_names_that_are_words_of_python():
    def write(asm):
        asm.and_(asm.r0, asm.r1, asm.r2)
        asm.or_(asm.r0, asm.r1, asm.r2)
        asm.not_(asm.r0, asm.r1)

    assert texts(write) == ["and r0, r1, r2", "or r0, r1, r2", "not r0, r1"]


@pytest.mark.parametrize(
    "call, expected",
    [
        (lambda a: a.mov(a.r0, a.r1), ["mov r0, r1"]),
        (lambda a: a.mov(a.r0, a.r1, unit="mul"), ["m_mov r0, r1"]),
        (lambda a: a.mov(a.r0, a.r1, unit="v8min"), ["m_mov r0, r1"]),
        (lambda a: a.mov(a.r0, a.r1, unit="or"), ["mov r0, r1"]),
        (lambda a: a.mov(a.r0, 15), ["mov r0, 15"]),
        (lambda a: a.mov(a.r0, 0.5), ["mov r0, 0.5"]),
        (lambda a: a.mov(a.r0, np.float32(2)), ["mov r0, 2.0"]),
        (lambda a: a.mov(a.r0, np.int32(-3)), ["mov r0, -3"]),
        (lambda a: a.mov(a.r0, 1000), ["ldi r0, -, 0x000003e8"]),
        (lambda a: a.mov(a.r0, 1.5, cond="zs", sf=True), ["ldi.sf r0.zs, -, 0x3fc00000"]),
        (lambda a: a.ldi(a.r0, 1), ["ldi r0, -, 0x00000001"]),
        (lambda a: a.ldi(a.r0, -1.0), ["ldi r0, -, 0xbf800000"]),
        (lambda a: a.ldi(a.rb3, 7), ["ldi rb3, -, 0x00000007"]),
        (
            lambda a: a.ldi_signed(a.r0, [0, 1, -2, -1] * 4),
            ["ldi_signed r0, -, [0 1 -2 -1 0 1 -2 -1 0 1 -2 -1 0 1 -2 -1]"],
        ),
        (
            lambda a: a.ldi_unsigned(a.r0, [0, 1, 2, 3] * 4),
            ["ldi_unsigned r0, -, [0 1 2 3 0 1 2 3 0 1 2 3 0 1 2 3]"],
        ),
        (lambda a: a.rotate(a.r0, a.r1, 5), ["m_mov r0, r1 rot 5"]),
        (lambda a: a.rotate(a.r0, a.r1, 0), ["m_mov r0, r1"]),
        (lambda a: a.rotate(a.r0, a.r1, a.r5), ["m_mov r0, r1 rot r5"]),
        (lambda a: a.fmul(a.r0, a.r1, a.r2, rotate=3), ["fmul r0, r1, r2 rot 3"]),
        (lambda a: a.fadd(a.r0, a.r1, 2.0), ["fadd r0, r1, 2.0"]),
        (lambda a: a.fadd(a.ra0.pack("16a"), a.r1, a.r2), ["fadd ra0.16a, r1, r2"]),
        (lambda a: a.fadd(a.r0, a.ra1.unpack("8b"), a.r2), ["fadd r0, ra1.8b, r2"]),
        (lambda a: a.fadd(a.r0, a.r4.unpack("16b"), a.r2), ["fadd r0, r4.16b, r2"]),
        (lambda a: a.fmul(a.r0.pack("8ac"), a.r1, a.r2), ["fmul r0.8ac, r1, r2"]),
        (lambda a: a.fmul(a.r0.pack("32"), a.r1, a.r2), ["fmul r0, r1, r2"]),
        (lambda a: a.add(a.null, a.r0, a.r1, sf=True), ["add.sf -, r0, r1"]),
        (lambda a: a.mov(a.r5quad, a.r1), ["mov r5quad, r1"]),
        (lambda a: a.mov(a.r5rep, a.r1), ["mov r5rep, r1"]),
        (lambda a: a.mov(a.r0, a.elem_num), ["mov r0, elem_num"]),
        (lambda a: a.mov(a.r0, a.qpu_num), ["mov r0, qpu_num"]),
        (lambda a: a.add(a.r0, a.unif, a.unif), ["add r0, unif, unif"]),
        (lambda a: a.read(a.mutex), ["mov -, mutex"]),
        (lambda a: a.read(a.vdw_wait), ["mov -, vdw_wait"]),
        (lambda a: a.mov(a.mutex, 0), ["mov mutex, 0"]),
        (lambda a: a.mov(a.vpm_rd_setup, a.r0), ["mov vpm_rd_setup, r0"]),
        (lambda a: a.mov(a.vdw_addr, a.r0), ["mov vdw_addr, r0"]),
        (lambda a: a.sema_up(3), ["sema_up 3"]),
        (lambda a: a.sema_down(15), ["sema_down 15"]),
        (lambda a: a.word("fadd r0, ra1, rb2; m_mov r1, r2"), ["fadd r0, ra1, rb2; m_mov r1, r2"]),
        (lambda a: a.nop(), []),
    ],
)  # fmt: skip
def test_call_becomes(call, expected):
    assert texts(call) == expected


def test_constants_that_fit_no_word_are_loaded_first():
    def write(asm):
        asm.add(asm.r0, asm.r1, 1000)
        asm.add(asm.r0, 1, 2)

    lines = texts(write)
    assert lines[0].startswith("ldi r") and lines[0].endswith("0x000003e8")
    assert lines[1].startswith("add r0, r1, r")
    assert lines[2].startswith("ldi r") and lines[2].endswith("0x00000002")


def test_the_same_constant_twice_is_one():
    assert texts(lambda a: a.fadd(a.r0, 0.5, 0.5)) == ["fadd r0, 0.5, 0.5"]
    assert len(texts(lambda a: a.fadd(a.r0, 0.7, 0.7))) == 2


def test_operands_that_one_word_cannot_read_are_copied():
    def write(asm):
        asm.add(asm.r3, asm.ra1, asm.ra2)
        asm.add(asm.r3, asm.qpu_num, 3)
        asm.add(asm.r3, asm.ra1.unpack("16a"), asm.ra1.unpack("16b"))
        asm.rotate(asm.r3, asm.ra1, 2)

    lines = texts(write)
    assert sum("mov" in line for line in lines) == 5
    assert "rot 2" in lines[-1] and "ra1" not in lines[-1]


def test_float_unpack_is_copied_by_a_float_operation():
    lines = texts(lambda a: a.fadd(a.r3, a.ra1.unpack("16a"), a.ra2.unpack("16b")))
    assert lines[0].startswith("fmin r") and lines[0].endswith("ra2.16b, ra2.16b")


def test_ldtmu_copies_r4():
    def write(asm):
        asm.mov(asm.t0s, asm.r0)
        asm.ldtmu(0, asm.ra1)

    assert texts(write) == ["mov t0s, r0", "ldtmu0", "mov ra1, r4"]


def test_pair_shares_a_word_and_reads_old_values():
    def write(asm):
        with asm.pair():
            asm.fadd(asm.r0, asm.r0, asm.r1)
            asm.fmul(asm.r1, asm.r0, asm.r1)
            asm.signal("ldtmu0")

    with pytest.raises(Exception, match="H25"):  # nothing was requested
        texts(write)

    def legal(asm):
        asm.mov(asm.t0s, asm.r3)
        write(asm)
        asm.mov(asm.r2, asm.r4)

    assert texts(legal)[1] == "fadd r0, r0, r1; fmul r1, r0, r1; ldtmu0"


def test_pair_of_moves_takes_both_units():
    def write(asm):
        with asm.pair():
            asm.mov(asm.ra1, asm.r0)
            asm.mov(asm.rb1, asm.r1)

    assert texts(write) == ["mov ra1, r0; m_mov rb1, r1"]


def test_hand_placed_code_is_kept_word_for_word():
    def write(asm):
        asm.mov(asm.ra1, asm.r0)
        with asm.fixed():
            asm.nop()
            asm.add(asm.r1, asm.ra1, 1)
            asm.label("here")
            asm.branch("there")
            asm.nop()
            with asm.pair():
                asm.add(asm.r1, asm.r1, 1)
                asm.mov(asm.r2, asm.r1)
            asm.nop()
            asm.word("mov r0, r0")
        asm.label("there")

    for schedule in (False, True):
        lines = texts(write, schedule)
        assert lines[1:] == [
            "nop",
            "add r1, ra1, 1",
            "br.always rel +8",
            "nop",
            "add r1, r1, 1; m_mov r2, r1",
            "nop",
            "mov r0, r0",
        ]


def test_hand_placed_end():
    asm = Assembler("test")
    with asm.fixed():
        asm.end(interrupt=True)
    program = asm.finish()
    assert [to_text(i) for i in program.instrs[:4]] == ["mov host_int, 1", "thrend", "nop", "nop"]


def test_code_before_a_hand_placed_region_keeps_its_distance():
    def write(asm):
        asm.mov(asm.ra1, asm.r0)
        with asm.fixed():
            asm.add(asm.r1, asm.ra1, 1)

    assert texts(write, schedule=True) == ["mov ra1, r0", "nop", "add r1, ra1, 1"]


def test_interrupt_comes_before_the_end():
    asm = Assembler("test")
    asm.end(interrupt=True)
    program = asm.finish()
    assert [to_text(i) for i in program.instrs[:4]] == ["mov host_int, 1", "thrend", "nop", "nop"]


def test_subroutine_through_a_link_register():
    asm = Assembler("test")
    back, total = asm.reg("back"), asm.reg("total")
    asm.mov(total, 5)
    asm.branch("double", link=back)
    asm.branch("double", link=back)
    asm.mov(asm.vpm, total)
    asm.end()
    asm.label("double")
    asm.add(total, total, total)
    asm.branch_reg(back)
    program = asm.finish()
    assert program.registers["back"].startswith("ra")
    assert int(program.registers["back"][2:]) % 2 == 0  # an odd one would set the flags
    assert Machine(program.words, []).run()[-1] == ("write 48", [20] * 16)


def test_program_is_padded_pickled_and_listed():
    asm = Assembler("sum")
    x = asm.reg("x")
    asm.comment("the answer")
    asm.mov(x, 42)
    asm.label("again")
    asm.sub(x, x, 1, sf=True)
    asm.branch("again", cond="any_zc")
    asm.mov(asm.vpm, x)
    asm.end()
    program = asm.finish()
    assert program.words.dtype == np.uint64 and program.words.ndim == 1
    assert len(program.words) % 8 == 0 and len(program.instrs) == len(program.words)
    assert not program.words.flags.writeable
    copy = pickle.loads(pickle.dumps(program))
    assert isinstance(copy, Program) and copy.name == "sum"
    assert (copy.words == program.words).all() and copy.listing() == program.listing()
    assert __file__ in program.source_map[0] and program.registers == {"x": program.registers["x"]}
    lines = program.listing().splitlines()
    assert lines[0] == f"# sum: {program.length} words"
    assert "    # the answer" in lines and "again:" in lines
    assert any("# -> again" in line for line in lines)
    assert any(line.startswith("0000  e0") and "test_asm.py:" in line for line in lines)
    assert Machine(program.words, []).run() == [("write 48", [0] * 16)]


def test_the_same_program_every_time():
    def write(asm):
        regs = asm.regs("x", 20)
        for i, reg in enumerate(regs):
            asm.mov(reg, i)
        for one, two in zip(regs, regs[1:]):
            asm.add(one, one, two)
            asm.mov(asm.vpm, one)

    assert texts(write, schedule=True) == texts(write, schedule=True)


def test_debug_prints_the_stages(monkeypatch, capsys):
    monkeypatch.setattr("piblas.config.get", lambda name: "regalloc,schedule")
    texts(lambda a: a.mov(a.vpm, 3))
    shown = capsys.readouterr().err
    assert "--- after regalloc\n    mov vpm, 3" in shown
    assert "--- after schedule\n    mov vpm, 3" in shown
