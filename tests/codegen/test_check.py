"""The checker on finished words: paths, places, and what it lets pass."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.codegen import Assembler, check
from piblas.codegen.check import Finding
from piblas.isa.instr import encode
from piblas.isa.parse import parse
from piblas.kernels import gemm_choice, spec

END = ["thrend", "nop", "nop"]


def errors(lines, **kw):
    words = [encode(parse(line)) for line in lines]
    return [(f.rule, f.index) for f in check(words, **kw) if f.level == "error"]


def warnings(lines, **kw):
    words = [encode(parse(line)) for line in lines]
    return [(f.rule, f.index) for f in check(words, **kw) if f.level == "warn" and f.rule != "H30"]


def test_words_may_be_numbers_arrays_or_instructions():
    lines = ["mov ra1, r0", "mov r1, ra1", *END]
    instrs = [parse(line) for line in lines]
    numbers = [encode(instr) for instr in instrs]
    expected = check(instrs)
    assert [f.rule for f in expected] == ["H1", "H30"]
    assert check(numbers) == check(np.array(numbers, dtype=np.uint64)) == expected


def test_finding_gives_address_instruction_and_source_line():
    words = [parse(line) for line in ["nop", "mov ra1, r0", "mov r1, ra1", *END]]
    finding = check(words, source_map={2: "kernel.py:7"})[0]
    assert isinstance(finding, Finding)
    assert (finding.rule, finding.level, finding.index, finding.address) == ("H1", "error", 2, 16)
    assert str(finding) == (
        "kernel.py:7: error: H1: a register of file A or B is read in the word after its write"
        " (1 after [mov ra1, r0]) at 0x0010 [mov r1, ra1]"
    )


def test_reserved_word_is_a_finding():
    finding = check([9 << 24])[-1]
    assert (finding.rule, finding.level) == ("decode", "error")
    assert "op_add 9 is reserved" in finding.message


def test_data_behind_a_program_is_a_warning_and_the_program_is_checked():
    words = [encode(parse(line)) for line in ["mov ra1, r0", "mov r1, ra1", *END]]
    findings = check([*words, 9 << 24, 9 << 24, 9 << 24])
    assert [(f.rule, f.level, f.index) for f in findings] == [
        ("H1", "error", 1),
        *[("decode", "warn", index) for index in (5, 6, 7)],
    ]


def test_distance_is_followed_over_a_taken_branch():
    """The last delay slot writes what the first word at the target reads."""
    lines = ["br.always rel +8", "nop", "nop", "mov ra1, r0", "nop", "mov r1, ra1", *END]
    assert errors(lines) == [("H1", 5)]
    lines[0] = "br.always rel +0"
    assert errors(lines) == []


def test_conditional_branch_has_two_ways():
    lines = ["br.any_zs rel +8", "nop", "nop", "mov ra1, r0", "mov r1, ra1", "mov r2, ra1", *END]
    assert errors(lines) == [("H1", 4), ("H1", 5)]


def test_words_that_are_never_reached_do_not_count():
    lines = ["br.always rel +16", "nop", "nop", "nop", "mov ra1, r0", "mov r1, ra1", *END]
    assert errors(lines) == []


def test_backward_branch_is_followed():
    lines = ["mov r1, ra1", "br.any_zs rel -40", "nop", "nop", "mov ra1, r0", *END]
    assert errors(lines) == [("H1", 0)]


def test_register_branch_reaches_labels_and_return_points():
    lines = ["mov ra2, unif", "nop", "br.always abs 0x0 + ra2", "nop", "nop", "nop",
             "mov ra1, r0", "mov r1, ra1", *END]  # fmt: skip
    assert errors(lines) == []
    assert errors(lines, labels=[6]) == [("H1", 7)]
    lines[2] = "br.always abs 0x0 + ra2, ra4, -"
    assert errors(lines) == [("H1", 7)]


def test_misaligned_branch_runs_off():
    assert ("H30", 3) in errors(["br.always rel +4", "nop", "nop", "nop", *END])


def test_branch_without_room_for_its_slots_runs_off():
    assert errors(["br.always rel -32"]) == [("H30", 0)]


def test_lookups_balanced_in_a_loop_pass():
    lines = ["mov t0s, r0", "mov t0s, r0", "ldtmu0", "mov r1, r4", "mov t0s, r0",
             "br.any_zs rel -56", "nop", "nop", "nop",
             "ldtmu0", "mov r1, r4", "ldtmu0", "mov r1, r4", *END]  # fmt: skip
    assert errors(lines) == []


def test_depth_is_counted_over_a_loop():
    lines = ["mov t0s, r0"] * 4 + ["mov t0s, r0", "ldtmu0", "br.any_zs rel -48", "mov r1, r4",
             "nop", "nop"] + ["ldtmu0", "mov r1, r4"] * 4 + END  # fmt: skip
    assert errors(lines) == [("H25", 4)]


def test_vpm_reads_in_a_counted_loop_pass():
    lines = ["ldi vpm_rd_setup, -, 0x00001a00", "nop", "nop", "nop",
             "mov r0, vpm", "br.any_zs rel -40", "nop", "nop", "nop", *END]  # fmt: skip
    assert errors(lines) == []


def test_vpm_setup_of_unknown_size_lets_reads_pass():
    lines = ["mov vpm_rd_setup, r0", "nop", "nop", "nop"] + ["mov r0, vpm"] * 20 + END
    assert errors(lines) == []


def test_dma_load_setup_is_no_read_setup():
    lines = ["ldi vpm_rd_setup, -, 0x83011000", "mov r0, vpm", *END]
    assert errors(lines) == [("H18", 1)]


def test_warnings_are_kept_in_the_program():
    asm = Assembler("test")
    asm.mov(asm.t0s, 0)
    asm.ldtmu(0)
    asm.end()
    program = asm.finish()
    assert [f.rule for f in program.findings] == ["H29"]
    assert program.findings[0].where and "test_check.py:" in program.findings[0].where


def test_kernels_keep_the_rules():
    """But for a VPM read that may stall, and pops of lookups whose value nobody wants."""
    programs = [spec.get(name).build() for name in spec.names()]
    for beta in (False, True):
        family = gemm_choice._family(beta).options
        programs += [spec.get("gemm").program(options) for options in family]
    assert len(programs) > 50
    for program in programs:
        assert {finding.rule for finding in program.findings} <= {"H16", "H29"}, program.name
        assert {finding.level for finding in program.findings} <= {"warn"}, program.name


@pytest.mark.parametrize("count, rules", [(5, []), (6, ["H30"])])
def test_padding(count, rules):
    assert [f.rule for f in check([parse(line) for line in ["nop"] * count + END])] == rules


def test_a_texture_may_have_two_results():
    look = ["mov t0t, r0", "mov t0s, r1"]
    pop = ["nop; ldtmu0", "mov r2, r4"]
    assert errors([*look, *pop, *END]) == []
    assert errors([*look, *pop, *pop, *END]) == []
    assert errors([*look, *pop, *pop, *pop, *END]) == [("H25", 6)]
    # A lookup of an address has one.
    assert errors(["mov t0s, r1", *pop, *pop, *END]) == [("H25", 3)]


# --- what writes nothing --------------------------------------------------------------------------

ROTATE = "m_mov r1, r0 rot 3"


@pytest.mark.parametrize("idle", ["nop.always r0", "mov.never r0, r2", "m_mov.never r0, r2"])
def test_rotation_after_a_word_that_writes_nothing(idle):
    """py-videocore's nop names r0 as its destination, and writes it not."""
    assert errors(["mov r0, unif", idle, ROTATE, *END]) == []
    assert warnings(["mov r0, unif", idle, ROTATE, *END]) == []
    assert errors(["mov r0, unif", "mov r0, r2", ROTATE, *END]) == [("H3", 2)]


@pytest.mark.parametrize(
    "first, later, rule",
    [
        ("mov.always ra1, r0", "mov r2, ra1", "H1"),
        ("m_mov.always rb1, r0", "mov r2, rb1", "H1"),
        ("m_mov.always r5rep, r0", "m_mov r2, r1 rot r5", "H4"),
        ("mov.always r1, r0", "m_mov r2, r1 rot 1", "H3"),
        ("ldi ra1.always, -, 0", "mov r2, ra1", "H1"),
    ],
)
def test_a_condition_that_never_holds_writes_no_register(first, later, rule):
    assert errors([first, later, *END]) == [(rule, 1)]
    assert errors([first.replace("always", "never"), later, *END]) == []


@pytest.mark.parametrize(
    "first, later",
    [
        ("mov ra1, r0", "mov.always r2, ra1"),
        ("mov recip, r0", "mov.always r1, r4"),
        ("mov r1, r0", "m_mov.always r2, r1 rot 1"),
        ("m_mov r5rep, r0", "m_mov.always r2, r1 rot r5"),
    ],
)
def test_a_condition_that_never_holds_reads_no_register(first, later):
    assert errors([first, later, "nop", "nop", *END])
    assert errors([first, later.replace("always", "never"), "nop", "nop", *END]) == []


def test_a_condition_that_never_holds_does_not_keep_peripherals_from_acting():
    """As measured on boards: a uniform is taken, and a write to the VPM goes out."""
    assert errors(["mov unif_addr, r0", "mov.never r1, unif", *END]) == [("H7", 1)]
    assert errors(["mov.never vpm, r1", *END]) == [("H12", 0)]
    assert errors(["thrend", "mov.never vpm, r1", "nop"]) == [("H12", 1), ("H19", 1)]


@pytest.mark.parametrize("unit, rule", [("add", "H12"), ("mul", "H13")])
def test_a_unit_without_an_operation_reaches_no_peripheral(unit, rule):
    instr = parse("nop" if unit == "add" else "fmul vpm.8ac, r1, r2")
    if unit == "add":
        instr = instr.but(waddr_add=48, cond_add=2)
        working = instr.but(op_add=21)
    else:
        working = instr
        instr = instr.but(op_mul=0, cond_mul=0)
    end = [parse(line) for line in END]
    assert rule in {f.rule for f in check([working, *end])}
    assert {f.rule for f in check([instr, *end])} == {"H30"}


def test_small_immediates_of_rotations_are_plain_where_nothing_is_multiplied():
    """Code 49 is also the operand -15, which says nothing about r0."""
    assert errors(["mov r0, unif", "mov r1, -15", *END]) == []


def test_mul_nop_with_a_destination_repeats_a_result():
    """As measured on boards; an add nop writes nothing."""
    repeat = parse("nop").but(cond_mul=1, waddr_mul=1)
    words = [repeat, *[parse(line) for line in ["mov r0, rb1", *END]]]
    assert [f.rule for f in check(words) if f.level == "error"] == ["H1"]


def test_both_units_on_one_destination_of_which_one_does_nothing():
    assert errors(["mov r0, r1; m_mov r0, r2", *END]) == [("H11", 0)]
    for line in ["nop.always r0; m_mov r0, r2", "mov r0, r1; m_mov.never r0, r2"]:
        assert errors([line, *END]) == []


# --- conditional writes, packs --------------------------------------------------------------------


@pytest.mark.parametrize("cond", ["zs", "zc", "ns", "nc", "cs", "cc"])
def test_rotation_after_a_conditional_write_is_a_warning(cond):
    lines = [f"mov.{cond} r0, r2", ROTATE, *END]
    assert (errors(lines), warnings(lines)) == ([], [("H3", 1)])
    lines = [f"mov.{cond} r0, r2; m_mov r3, r2", "m_mov r1, r3 rot 3", *END]
    assert (errors(lines), warnings(lines)) == ([("H3", 1)], [])


def test_the_scheduler_keeps_a_conditional_write_and_a_rotation_apart():
    asm = Assembler("test")
    asm.mov(asm.r0, asm.r1, sf=True)
    asm.mov(asm.r2, asm.r1, cond="zs")
    asm.mov(asm.r3, asm.r2, rotate=3)
    asm.mov(asm.vpm, asm.r3)
    asm.end()
    assert not [f for f in asm.finish().findings if f.rule == "H3"]


@pytest.mark.parametrize("op", ["and", "or", "shl", "min", "clz", "v8adds", "ftoi", "add", "sub"])
def test_32s_after_any_operation(op):
    sources = "r0" if op in ("clz", "ftoi") else "r0, r1"
    lines = [f"{op} ra4.32s, {sources}", *END]
    assert (errors(lines), warnings(lines)) == ([], [])


def test_a_pack_of_what_goes_nowhere_is_no_fault():
    instr = parse("nop").but(pack=4)
    assert [f.rule for f in check([instr, *[parse(line) for line in END]])] == ["H30"]


# --- tmu_noswap -----------------------------------------------------------------------------------

LOOKUP = ["mov t0s, r0", "ldtmu0", "mov r1, r4"]


@pytest.mark.parametrize(
    "first, second, level",
    [
        ("mov tmu_noswap, 1", "mov tmu_noswap, 1", "warn"),
        ("mov tmu_noswap, 1", "m_mov tmu_noswap, 7", "warn"),  # any value but 0 is the same
        ("ldi tmu_noswap, -, 0x1", "mov tmu_noswap, 1", "warn"),
        ("mov tmu_noswap, 0", "ldi tmu_noswap, -, 0x0", "warn"),
        ("mov tmu_noswap, ra3", "mov tmu_noswap, ra3", "warn"),
        ("mov tmu_noswap, r2", "m_mov tmu_noswap, r2", "warn"),
        ("mov tmu_noswap, 1", "mov tmu_noswap, 0", "error"),
        ("mov tmu_noswap, r1", "mov tmu_noswap, r1", "error"),  # written in between
        ("mov tmu_noswap, ra3", "mov tmu_noswap, rb3", "error"),
        ("mov tmu_noswap, unif", "mov tmu_noswap, unif", "error"),
        ("mov tmu_noswap, r2", "m_mov tmu_noswap, r2 rot 1", "error"),
        ("add tmu_noswap, r2, r2", "add tmu_noswap, r2, r2", "error"),
        ("nop", "mov tmu_noswap, 1", "error"),  # what it was at the start is not known
    ],
)
def test_tmu_noswap_after_a_lookup(first, second, level):
    lines = [first, "nop", "nop", "nop", *LOOKUP, second, *END]
    found = {"error": errors(lines), "warn": warnings(lines)}
    other = {"error": "warn", "warn": "error"}[level]
    assert found == {level: [("H8", 7)], other: []}


def test_tmu_noswap_in_a_loop():
    """Set again by every turn."""
    lines = ["mov tmu_noswap, 1", "nop", "nop", "nop", *LOOKUP, "br.any_zc rel -88", "nop", "nop",
             "nop", *END]  # fmt: skip
    assert (errors(lines), warnings(lines)) == ([], [("H8", 0)])
    lines[7] = "br.any_zc rel -56"  # to the lookup
    assert (errors(lines), warnings(lines)) == ([], [])


# --- what is left at the end ----------------------------------------------------------------------

STORE = ["ldi -, vpm_wr_setup, 0x80904000", "mov vdw_addr, r0"]
UNLESS = ["br.all_zs rel +{}", "nop", "nop", "nop"]


def unless(lines):
    """The lines, skipped under a condition."""
    return [UNLESS[0].format(8 * len(lines)), *UNLESS[1:], *lines]


def test_end_while_a_store_runs():
    assert warnings([*STORE, *END]) == [("H31", 2)]
    assert warnings([*STORE, "mov host_int, 1", *END]) == [("H31", 2), ("H31", 3)]
    assert warnings([*STORE, "mov -, vdw_wait", "mov host_int, 1", *END]) == []
    # A wait for the load is none for the store, and one on another path is not enough.
    assert warnings([*STORE, "mov -, vdr_wait", *END]) == [("H31", 3)]
    assert warnings([*STORE, *unless(["mov -, vdw_wait"]), *END]) == [("H31", 7)]
    assert warnings([*unless([*STORE, "mov -, vdw_wait"]), *END]) == []


def test_end_after_a_poll_of_the_store():
    poll = ["mov.sf -, vdw_busy", "br.any_zc rel -40", "nop", "nop", "nop"]
    assert warnings([*STORE, *poll, *END]) == []
    assert warnings([*STORE, *poll, *STORE, *poll, *END]) == []
    other = [line.replace("vdw", "vdr") for line in poll]
    assert warnings([*STORE, *other, *END]) == [("H31", 7)]


LOCK, UNLOCK = "mov -, mutex", "mov mutex, r0"


def test_end_with_the_mutex():
    assert warnings([LOCK, "nop", UNLOCK, *END]) == []
    assert warnings([LOCK, *END]) == [("H32", 3)]
    assert warnings([LOCK, UNLOCK, LOCK, *END]) == [("H32", 5)]
    assert warnings([LOCK, *unless([UNLOCK]), *END]) == [("H32", 8)]
    # Released in the last words, and taken and released by every turn of a loop.
    assert warnings([LOCK, "thrend", UNLOCK, "nop"]) == []
    loop = [LOCK, "nop", UNLOCK, "br.any_zc rel -56", "nop", "nop", "nop"]
    assert warnings([*loop, *END]) == []


def test_a_read_of_the_mutex_by_its_address_alone_takes_it():
    words = [parse("nop").but(raddr_a=51), *[parse(line) for line in END]]
    assert "H32" in {f.rule for f in check(words)}


UP, DOWN = "sema_up 3", "sema_down 3"


@pytest.mark.parametrize(
    "lines, change",
    [
        ([UP, DOWN], ""),
        ([DOWN, UP, UP, DOWN], ""),
        ([UP], "+1"),
        ([DOWN, DOWN, UP], "-1"),
        ([UP, "sema_down 4"], "semaphore 3: +1; semaphore 4: -1"),
        # Of two ways, one counts up and one down: QPUs may take either.
        (unless([UP]), ""),
        ([*unless([DOWN, DOWN]), UP], ""),
        ([*unless([UP]), UP], "+1 or more"),
        # A loop turns as often as data say.
        ([UP, "br.any_zc rel -40", "nop", "nop", "nop"], "+1 or more"),
        ([DOWN, UP, "br.any_zc rel -48", "nop", "nop", "nop"], ""),
        ([UP, "br.any_zc rel -40", *["nop"] * 3, DOWN, "br.any_zc rel -40", *["nop"] * 3], ""),
        ([*unless([DOWN, "br.any_zc rel -40", "nop", "nop", "nop"]), UP], ""),
    ],
)
def test_semaphores_at_the_end(lines, change):
    words = [encode(parse(line)) for line in [*lines, *END]]
    found = [f for f in check(words) if f.rule == "H33"]
    assert [f.level for f in found] == (["warn"] if change else [])
    if change:
        assert change in found[0].message and found[0].index == len(words) - 1


def test_semaphores_at_the_last_words_and_at_two_ends():
    assert warnings([UP, "thrend", DOWN, "nop"]) == []
    worker, waiter = [UP, *END], [DOWN, DOWN, *END]
    assert warnings([*unless(worker), *waiter]) == []
    assert warnings([*unless(worker), UP, *END]) == [("H33", 11)]


def test_semaphores_of_a_program_without_an_end_or_with_branches_by_registers_are_not_judged():
    assert warnings([UP, "br.always rel -40", "nop", "nop", "nop"]) == []
    lines = ["br.always rel +24, ra0, -", "nop", "nop", "nop", *END,
             UP, "br.always abs 0x0 + ra0", "nop", "nop", "nop"]  # fmt: skip
    assert warnings(lines) == []
