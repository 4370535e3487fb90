"""What scheduling and packing achieve, and what they must leave alone."""

from __future__ import annotations

import cProfile

import pytest
from plain_qpu import Machine
from random_programs import build, long_program

from piblas.codegen import Assembler
from piblas.codegen.link import link
from piblas.isa.disasm import to_text
from piblas.isa.hazards import events
from piblas.kernels import gemm


def outer_product(asm, rows=16, vectors=3):
    """A step of a matrix product: rotations into r5, products, sums."""
    sums = [
        [asm.reg(f"c{r}_{v}", file="A" if v == vectors - 1 or r % 2 and not v else "B")
         for v in range(vectors)]
        for r in range(rows)
    ]  # fmt: skip
    column, product = asm.reg("column", file="acc"), asm.reg("product")
    row = [asm.reg("row0", file="acc"), asm.reg("row1", file="acc"), asm.r4]
    return sums, column, product, row


def block_of_48(loop: bool):
    asm = Assembler("block")
    sums, column, product, row = outer_product(asm)
    count = asm.reg("count")
    asm.mov(count, asm.unif)
    for reg in [column, row[0], row[1]] + [reg for line in sums for reg in line]:
        asm.mov(reg, asm.unif)
    asm.mov(asm.t0s, column)
    asm.ldtmu(0)
    asm.label("block")
    for r, line in enumerate(sums):
        asm.rotate(asm.r5rep, column, -r % 16)
        for v, reg in enumerate(line):
            asm.fmul(product, asm.r5, row[v])
            asm.fadd(reg, reg, product)
    if loop:
        asm.sub(count, count, 1, sf=True)
        asm.branch("block", cond="any_zc")
    asm.label("rest")
    for line in sums:
        for reg in line:
            asm.mov(asm.vpm, reg)
    asm.end()
    return asm


def test_48_multiply_adds_and_16_rotations_take_65_words():
    """64 operations of the mul unit and the last sum: nothing is lost."""
    program = block_of_48(loop=False).finish()
    assert program.labels["rest"] - program.labels["block"] == 65


def test_loop_of_48_multiply_adds_takes_66_words():
    program = block_of_48(loop=True).finish()
    assert program.labels["rest"] - program.labels["block"] <= 66


def test_building_sgemm_takes_few_calls():
    """A measure of its time that no other process disturbs; ``python -m bench build`` measures."""
    profile = cProfile.Profile()
    profile.enable()
    asm = Assembler("gemm")
    gemm.generate(asm, gemm.GemmOptions(edge=4, beta=False))
    program = asm.finish()
    profile.disable()
    calls = sum(row.callcount for row in profile.getstats())
    assert program.length >= 600
    assert calls < 430 * program.length


@pytest.mark.parametrize("seed", range(3))
def test_a_word_does_what_its_operations_do(seed, monkeypatch):
    """The scheduler takes the events of a word from its operations, the checker from its fields."""
    lines = []

    def spy(name, words, placed):
        lines.extend(words)
        return link(name, words, placed)

    monkeypatch.setattr("piblas.codegen.asm.link", spy)
    build(long_program(seed)).asm.finish()
    assert len(lines) > 50
    assert [line.events for line in lines] == [events(line.instr) for line in lines]


def lines_of(write, schedule=True):
    asm = Assembler("test")
    write(asm)
    asm.end()
    program = asm.finish(schedule=schedule)
    return [to_text(instr) for instr in program.instrs[: program.length - 3]]


def test_add_mul_and_signal_share_a_word():
    def write(asm):
        asm.mov(asm.t0s, asm.r0)
        asm.label("next")
        asm.fadd(asm.r1, asm.r1, asm.r2)
        asm.fmul(asm.r3, asm.r3, asm.r2)
        asm.ldtmu(0)
        asm.mov(asm.r0, asm.r4)

    assert lines_of(write)[1:] == [
        "fadd r1, r1, r2; fmul r3, r3, r2; ldtmu0",
        "mov r0, r4",
    ]


def sums(asm, count):
    for _ in range(count):
        asm.fadd(asm.r1, asm.r1, asm.r2)


def test_pop_leaves_its_lookup_time_to_other_work():
    def write(asm):
        asm.mov(asm.t0s, asm.r0)
        asm.ldtmu(0)
        sums(asm, 40)
        asm.mov(asm.vpm, asm.r4)

    lines = lines_of(write)
    [request] = [i for i, line in enumerate(lines) if "t0s" in line]
    [pop] = [i for i, line in enumerate(lines) if "ldtmu0" in line]
    assert request == 0 and pop == 20 and len(lines) <= 41


def test_pop_of_an_earlier_lookup_does_not_wait():
    def write(asm):
        asm.mov(asm.t0s, asm.r0)
        asm.label("next")
        asm.mov(asm.t0s, asm.r3)
        asm.ldtmu(0)  # of the lookup before the label
        sums(asm, 40)
        asm.ldtmu(0)
        asm.mov(asm.r0, asm.r4)

    pops = [i for i, line in enumerate(lines_of(write)) if "ldtmu0" in line]
    assert pops[0] == 2 and pops[1] >= 21


def test_pop_does_not_wait_when_there_is_nothing_else_to_do():
    def write(asm):
        asm.mov(asm.t0s, asm.r0)
        asm.mov(asm.t1s, asm.r0)
        asm.ldtmu(0, asm.r2)
        asm.ldtmu(1, asm.r3)

    assert lines_of(write) == [
        "mov t0s, r0",
        "mov t1s, r0",
        "ldtmu0",
        "mov r2, r4; ldtmu1",
        "mov r3, r4",
    ]


def test_moves_take_the_free_unit():
    def write(asm):
        for i in range(4):
            asm.fmul(getattr(asm, f"ra{i}"), asm.r0, asm.r1)
            asm.mov(getattr(asm, f"rb{i}"), asm.r2)

    assert len(lines_of(write)) == 4


def test_temporaries_take_turns_in_the_accumulators():
    def write(asm):
        asm.mov(asm.ra31, 0)
        for _ in range(8):
            t = asm.reg("t")
            asm.fmul(t, asm.unif, 2.0)
            asm.fadd(asm.ra31, asm.ra31, t)
        asm.mov(asm.vpm, asm.ra31)

    lines = lines_of(write)
    assert {line.split("fmul r")[1][0] for line in lines if "fmul r" in line} > {"0", "1"}


def test_delay_slots_are_filled():
    def write(asm):
        asm.sub(asm.r0, asm.r0, 1, sf=True)
        for i in range(3):
            asm.add(getattr(asm, f"r{i + 1}"), asm.r0, i)
        asm.branch("out", cond="all_zs")
        asm.label("out")

    lines = lines_of(write)
    assert [line.split()[0] for line in lines] == ["sub.sf", "br.all_zs", "add", "add", "add"]


def test_delay_slots_without_work_are_nops():
    lines = lines_of(lambda asm: (asm.branch("out"), asm.label("out")))
    assert lines == ["br.always rel +0", "nop", "nop", "nop"]


def uniform_reads(line):
    """Words of a loop's reads of the stream, of which the fourth may begin a line."""
    asm = Assembler("lines")
    sums = asm.regs("sum", 6, file="A")
    for register in sums:
        asm.mov(register, 0)
    asm.label("loop")
    for i in range(6):
        scalar = asm.reg(f"scalar{i}")
        asm.mov(scalar, asm.unif, line=line and i == 3)
        asm.add(sums[0], sums[0], scalar)
    for i in range(40):
        asm.add(sums[1 + i % 5], sums[1 + i % 5], 1)
    asm.sub(sums[0], sums[0], 1, sf=True)
    asm.branch("loop", cond="any_zc")
    asm.end()
    program = asm.finish()
    texts = [to_text(instr) for instr in program.instrs[program.labels["loop"] :]]
    return [at for at, text in enumerate(texts) if "unif" in text]


def test_a_line_of_uniforms_gets_its_time():
    """The queue asks for a line with the last read but one before it."""
    plain, lines = uniform_reads(False), uniform_reads(True)
    assert len(plain) == len(lines) == 6
    assert lines[3] - lines[1] >= 15 > plain[3] - plain[1]
    others = [lines[i] - lines[i - 1] for i in (1, 2, 4, 5)]
    assert max(others) < 6  # no distance where none is needed


def test_branch_waits_for_its_flags_and_register():
    def write(asm):
        asm.mov(asm.ra2, asm.unif)
        asm.branch_reg(asm.ra2, targets=["out"])
        asm.label("out")

    assert lines_of(write)[:3] == ["mov ra2, unif", "nop", "br.always abs 0x00000000 + ra2"]


def test_without_reordering_every_operation_has_a_word():
    def write(asm):
        asm.mov(asm.ra1, asm.r0)
        asm.add(asm.r1, asm.ra1, 1)
        asm.fmul(asm.r2, asm.r0, asm.r0)

    assert lines_of(write, schedule=False) == [
        "mov ra1, r0",
        "nop",
        "add r1, ra1, 1",
        "fmul r2, r0, r0",
    ]


def test_loop_end_keeps_its_distance_to_the_loop_start():
    """The last word of the loop writes what the first one reads."""
    asm = Assembler("test")
    x = asm.reg("x", file="A")
    asm.mov(x, 5)
    asm.label("loop")
    asm.sub(x, x, 1, sf=True)
    asm.branch("loop", cond="any_zc")
    asm.mov(asm.vpm, x)
    asm.end()
    program = asm.finish()
    assert Machine(program.words, []).run() == [("write 48", [0] * 16)]


def order(write, *names):
    """The positions at which words with these texts stand."""
    lines = lines_of(write)
    return [next(i for i, line in enumerate(lines) if name in line) for name in names]


def drain(asm):
    asm.ldtmu(0)
    asm.ldtmu(0)


def is_sorted(write, *names):
    found = order(write, *names)
    return found == sorted(found) and len(set(found)) == len(found)


@pytest.mark.parametrize(
    "write, names",
    [
        (  # uniforms are read in order, whatever waits for them
            lambda a: (a.mov(a.r0, a.unif), a.fmul(a.r1, a.unif, a.r2), a.fadd(a.r1, a.unif, a.r1)),
            ("mov r0, unif", "fmul r1, unif", "fadd r1, unif"),
        ),
        (  # what was written before a store starts comes before it
            lambda a: (a.mov(a.vpm, a.r0), a.mov(a.vdw_addr, a.r1), a.read(a.vdw_wait)),
            ("vpm, r0", "vdw_addr, r1", "vdw_wait"),
        ),
        (
            lambda a: (a.ldi(a.vpm_wr_setup, 0x1A00), a.mov(a.vpm, a.r0)),
            ("vpm_wr_setup", "vpm, r0"),
        ),
        (  # nothing of the VPM or TMU crosses the mutex
            lambda a: (a.mov(a.vpm, a.r0), a.mov(a.mutex, 0), a.read(a.mutex), a.mov(a.vpm, a.r1)),
            ("vpm, r0", "mutex, 0", "-, mutex", "vpm, r1"),
        ),
        (  # nor a semaphore
            lambda a: (a.mov(a.t0s, a.r0), a.sema_up(1), a.mov(a.t0s, a.r1), drain(a)),
            ("t0s, r0", "sema_up 1", "t0s, r1"),
        ),
        (  # a lookup of what was stored waits for the end of the store
            lambda a: (a.mov(a.vdw_addr, a.r1), a.read(a.vdw_wait), a.mov(a.t0s, a.r0), a.ldtmu(0)),
            ("vdw_addr, r1", "vdw_wait", "t0s, r0"),
        ),
        (  # a lookup of what will be overwritten comes first
            lambda a: (a.mov(a.t0s, a.r0), a.mov(a.vdw_addr, a.r1), a.read(a.vdw_wait), a.ldtmu(0)),
            ("t0s, r0", "vdw_addr, r1", "vdw_wait"),
        ),
        (
            lambda a: (a.mov(a.vdr_addr, a.r1), a.read(a.vdr_wait), a.ldi(a.vpm_rd_setup, 0x101A00),
                       a.mov(a.r0, a.vpm)),
            ("vdr_addr", "vdr_wait", "vpm_rd_setup", "r0, vpm"),
        ),
        (  # the interrupt is the last thing
            lambda a: (a.mov(a.vpm, a.r0), a.mov(a.t0s, a.r0), a.ldtmu(0), a.mov(a.host_int, 1)),
            ("vpm, r0", "ldtmu0", "host_int, 1"),
        ),
        (  # noswap is set before a TMU is used
            lambda a: (a.mov(a.tmu_noswap, 1), a.mov(a.t1s, a.r0), a.ldtmu(1)),
            ("tmu_noswap", "t1s", "ldtmu1"),
        ),
        (
            lambda a: (a.mov(a.unif_addr, a.r0), a.mov(a.r1, a.unif)),
            ("unif_addr", "r1, unif"),
        ),
        (  # behind T, S takes a uniform, too
            lambda a: (a.mov(a.t0t, a.r0), a.fmul(a.t0s, a.r1, a.r2), a.mov(a.r1, a.unif),
                       a.ldtmu(0)),
            ("t0t, r0", "t0s, r1", "r1, unif"),
        ),
    ],
)  # fmt: skip
def test_order_of_peripherals(write, names):
    assert is_sorted(write, *names)


def test_vpm_read_and_later_write_may_share_a_word():
    def write(asm):
        asm.ldi(asm.vpm_rd_setup, 0x00201A00)
        asm.mov(asm.r0, asm.vpm)
        asm.mov(asm.vpm, asm.r1)
        asm.mov(asm.vpm, asm.vpm)

    lines = lines_of(write)
    assert len(lines) == 3 and sorted(lines[1].replace("m_", "").split("; ")) == [
        "mov r0, vpm",
        "mov vpm, r1",
    ]


def test_r4_is_read_before_the_next_load():
    def write(asm):
        asm.mov(asm.t0s, asm.r0)
        asm.mov(asm.t0s, asm.r1)
        asm.ldtmu(0, asm.ra0)
        asm.ldtmu(0, asm.ra1)

    lines = lines_of(write)
    assert [line for line in lines if "r4" in line] == ["mov ra0, r4; ldtmu0", "mov ra1, r4"]


def test_unpack_modes_do_not_leak_into_a_shared_word():
    """Both operations read file A, one of them unpacked: they need two words."""

    def write(asm):
        asm.add(asm.r0, asm.ra1.unpack("16a"), asm.r2)
        asm.mul24(asm.r1, asm.ra1, asm.r2)

    assert len(lines_of(write)) == 2


def test_float_and_integer_readers_of_an_unpacked_value_stay_apart():
    def write(asm):
        asm.fadd(asm.r0, asm.ra1.unpack("16a"), asm.r2)
        asm.mul24(asm.r1, asm.ra1.unpack("16a"), asm.r2)

    assert len(lines_of(write)) == 2


def test_flags_of_the_mul_unit_need_an_idle_add_unit():
    def write(asm):
        asm.mul24(asm.r0, asm.r1, asm.r2, sf=True)
        asm.add(asm.r3, asm.r1, asm.r2)

    lines = lines_of(write)
    assert len(lines) == 2 and any(line == "mul24.sf r0, r1, r2" for line in lines)


@pytest.mark.parametrize(
    "first, second",
    [
        # r4 is unpacked for everything that the word reads of it
        (
            lambda a: a.fadd(a.r0, a.r4.unpack("8a"), a.r2),
            lambda a: a.fmul(a.r1, a.r4, a.r2),
        ),
        # one bit says whether the modes are those of file A or of r4 and the mul unit
        (
            lambda a: a.fadd(a.r0, a.r4.unpack("8a"), a.r2),
            lambda a: a.fmul(a.r1, a.ra1.unpack("16a"), a.r2),
        ),
        (
            lambda a: a.fadd(a.ra0.pack("16a"), a.r1, a.r2),
            lambda a: a.fmul(a.r3.pack("8ac"), a.r1, a.r2),
        ),
        (
            lambda a: a.fadd(a.r0, a.ra1.unpack("16a"), a.r2),
            lambda a: a.fmul(a.r3.pack("8888c"), a.r1, a.r2),
        ),
        # one immediate, one address of each file
        (lambda a: a.add(a.r0, a.r1, 3), lambda a: a.mul24(a.r2, a.r1, 5)),
        (lambda a: a.add(a.r0, a.r1, 3), lambda a: a.mul24(a.r2, a.rb1, a.r1)),
        (lambda a: a.add(a.r0, a.r1, a.ra1), lambda a: a.mul24(a.r2, a.ra2, a.r1)),
        (lambda a: a.add(a.ra0, a.r1, a.r2), lambda a: a.mul24(a.ra1, a.r2, a.r1)),
        (lambda a: a.add(a.r0, a.r1, a.rb2), lambda a: a.rotate(a.r3, a.r1, 4)),
        (lambda a: a.add(a.rb0, a.r1, a.r2), lambda a: a.rotate(a.r5rep, a.r1, 4)),
    ],
)
def test_operations_that_no_word_holds_together_get_two(first, second):
    assert len(lines_of(lambda asm: (first(asm), second(asm)))) == 2


@pytest.mark.parametrize(
    "first, second, word",
    [
        (
            lambda a: a.fadd(a.r0, a.r4.unpack("8a"), a.r2),
            lambda a: a.fmul(a.r1, a.r4.unpack("8a"), a.r2),
            "fadd r0, r4.8a, r2; fmul r1, r4.8a, r2",
        ),
        (
            lambda a: a.fadd(a.r0, a.ra1.unpack("16a"), a.r2),
            lambda a: a.fmul(a.r1, a.r4, a.ra1.unpack("16a")),
            "fadd r0, ra1.16a, r2; fmul r1, r4, ra1.16a",
        ),
        (
            lambda a: a.fadd(a.ra0.pack("16b"), a.r1, a.r2),
            lambda a: a.fmul(a.r3, a.ra1.unpack("16a"), a.r2),
            "fadd ra0.16b, r1, r2; fmul r3, ra1.16a, r2",
        ),
        (
            lambda a: a.fmul(a.ra0.pack("16b"), a.r1, a.r2),
            lambda a: a.fadd(a.rb3, a.r1, a.r2),
            "fadd rb3, r1, r2; fmul ra0.16b, r1, r2",
        ),
        (
            lambda a: a.add(a.r0, a.r1, 3),
            lambda a: a.mul24(a.r2, a.ra1, 3),
            "add r0, r1, 3; mul24 r2, ra1, 3",
        ),
        (
            lambda a: a.fadd(a.ra0, a.ra1, a.r2),
            lambda a: a.rotate(a.r5rep, a.r1, 4),
            "fadd ra0, ra1, r2; m_mov r5rep, r1 rot 4",
        ),
    ],
)
def test_operations_that_share_a_word(first, second, word):
    assert lines_of(lambda asm: (first(asm), second(asm))) == [word]
