"""The checker on finished words: paths, places, and what it lets pass."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.codegen import Assembler, check
from piblas.codegen.check import Finding
from piblas.isa.instr import encode
from piblas.isa.parse import parse

END = ["thrend", "nop", "nop"]


def errors(lines, **kw):
    words = [encode(parse(line)) for line in lines]
    return [(f.rule, f.index) for f in check(words, **kw) if f.level == "error"]


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
