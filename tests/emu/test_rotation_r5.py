"""Rotations of the mul result and the two ways to write r5 (guide, p. 18, 20, 30; measured)."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref

VECTOR = ref.random_patterns(16, 81)
FLOATS = [ref.bits(1.5 * e - 7.25) for e in range(16)]


def row(got, name="r2"):
    return got[name][0].tolist()


@pytest.mark.parametrize("amount", range(1, 16))
@pytest.mark.parametrize("source", ["r0", "r1", "r2", "r3"])
def test_rotation_by_an_immediate(lab, amount, source):
    got = lab.vectors([f"m_mov ra1, {source} rot {amount}"], {source: VECTOR}, ["ra1"])
    assert row(got, "ra1") == ref.rotate(VECTOR, amount)
    assert row(got, "ra1") == np.roll(VECTOR, amount).tolist()


@pytest.mark.parametrize("amount", list(range(16)) + [16, 17, 31, -1, -5, -16, 0x12345673])
def test_rotation_by_r5(lab, amount):
    body = ["nop", "m_mov r2, r0 rot r5"]
    got = lab.vectors(body, {"r0": VECTOR, "r5rep": amount}, ["r2"])
    assert row(got) == ref.rotate(VECTOR, amount % 16)


def test_rotation_by_r5_takes_element_0(lab):
    body = ["mov r5quad, r1", "nop", "m_mov r2, r0 rot r5"]
    got = lab.vectors(body, {"r0": VECTOR, "r1": [3, 0, 0, 0] + [9] * 12}, ["r2"])
    assert row(got) == ref.rotate(VECTOR, 3)


@pytest.mark.parametrize("op", ["fmul", "mul24", "v8muld", "v8max", "m_v8adds", "m_v8subs"])
def test_the_result_of_any_op_is_rotated(lab, op):
    other = ref.random_patterns(16, 82)
    got = lab.vectors([f"{op} r2, r0, r1 rot 5"], {"r0": VECTOR, "r1": other}, ["r2"])
    name = op.replace("m_", "")
    assert row(got) == ref.rotate([ref.mul_op(name, x, y)[0] for x, y in zip(VECTOR, other)], 5)


@pytest.mark.parametrize("amount", range(1, 16))
@pytest.mark.parametrize("source", ["r4", "ra1"])
def test_other_sources_rotate_within_their_quads(lab, amount, source):
    got = lab.vectors([f"m_mov r2, {source} rot {amount}"], {source: VECTOR}, ["r2"])
    assert row(got) == ref.rotate_quads(VECTOR, amount % 4)


@pytest.mark.parametrize("amount", range(16))
@pytest.mark.parametrize("source", ["r4", "ra1"])
def test_other_sources_rotate_within_their_quads_by_r5(lab, amount, source):
    inputs = {"r5rep": amount, source: VECTOR}
    got = lab.vectors([f"m_mov r2, {source} rot r5"], inputs, ["r2"])
    assert row(got) == ref.rotate_quads(VECTOR, amount % 4)


def test_the_add_unit_is_not_rotated(lab):
    got = lab.vectors(["mov r3, r0; m_mov r2, r0 rot 7"], {"r0": VECTOR}, ["r2", "r3"])
    assert row(got, "r3") == VECTOR and row(got) == ref.rotate(VECTOR, 7)


@pytest.mark.parametrize("amount", range(1, 16))
def test_the_rotation_code_is_also_an_operand_of_the_add_unit(lab, amount):
    got = lab.vectors(
        [f"add r3, r1, {amount - 16}; m_mov r2, r0 rot {amount}"],
        {"r0": VECTOR, "r1": 100},
        ["r2", "r3"],
    )
    assert row(got, "r3") == [100 + amount - 16] * 16 and row(got) == ref.rotate(VECTOR, amount)


def test_the_code_for_r5_reads_as_minus_16(lab):
    body = ["nop", "add r3, r1, -16; m_mov r2, r0 rot r5"]
    got = lab.vectors(body, {"r0": VECTOR, "r1": 100, "r5rep": 6}, ["r2", "r3"])
    assert row(got, "r3") == [84] * 16 and row(got) == ref.rotate(VECTOR, 6)


def test_the_condition_is_that_of_the_destination_element(lab):
    mask = [1, 0, 0, 1] * 4
    body = ["mov.sf -, r1", "m_mov.zs r2, r0 rot 6"]
    got = lab.vectors(body, {"r0": VECTOR, "r1": mask, "r2": 0x99}, ["r2"])
    want = [0x99 if bit else x for bit, x in zip(mask, ref.rotate(VECTOR, 6))]
    assert row(got) == want


def test_the_rotated_result_is_what_gets_packed(lab):
    got = lab.vectors(["m_mov ra2.16b, r0 rot 3"], {"r0": VECTOR, "ra2": 0x1111}, ["ra2"])
    assert row(got, "ra2") == [(x & 0xFFFF) << 16 | 0x1111 for x in ref.rotate(VECTOR, 3)]


def test_flags_of_a_rotated_result(loose):
    got = loose.vectors(["m_mov.sf r2, r0 rot 3"], {"r0": [0] + [1] * 15}, ["r2"], flags=True)
    assert got["z"][0].tolist() == [0, 0, 0, 1] + [0] * 12


# --- r5 --------------------------------------------------------------------------------------


def test_r5_written_through_file_b_repeats_element_0(lab):
    got = lab.vectors(["mov r5rep, r0", "mov r2, r5"], {"r0": VECTOR}, ["r2"])
    assert row(got) == [VECTOR[0]] * 16


def test_r5_written_through_file_a_repeats_the_first_element_of_each_quad(lab):
    got = lab.vectors(["mov r5quad, r0", "mov r2, r5"], {"r0": VECTOR}, ["r2"])
    assert row(got) == [VECTOR[e // 4 * 4] for e in range(16)]


@pytest.mark.parametrize("line", ["m_mov r5rep, r0", "mov r5rep, r0"])
def test_either_unit_writes_r5(lab, line):
    assert row(lab.vectors([line, "mov r2, r5"], {"r0": VECTOR}, ["r2"])) == [VECTOR[0]] * 16


@pytest.mark.parametrize("element", range(16))
def test_a_rotation_into_r5_repeats_any_element(lab, element):
    rotate = f" rot {16 - element}" if element else ""
    got = lab.vectors([f"m_mov r5rep, r0{rotate}", "mov r2, r5"], {"r0": VECTOR}, ["r2"])
    assert row(got) == [VECTOR[element]] * 16


def test_element_0_decides_on_a_conditional_write_of_all_of_r5(lab):
    for mask, taken in (([0] + [1] * 15, True), ([1] + [0] * 15, False)):
        body = ["mov.sf -, r1", "mov.zs r5rep, r0", "mov r2, r5"]
        got = lab.vectors(body, {"r0": VECTOR, "r1": mask, "r5rep": 0x77}, ["r2"])
        assert row(got) == [VECTOR[0] if taken else 0x77] * 16


def test_the_first_element_of_a_quad_decides_on_a_conditional_write_of_the_quad(lab):
    mask = [0, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1]
    body = ["mov.sf -, r1", "mov.zs r5quad, r0", "mov r2, r5"]
    got = lab.vectors(body, {"r0": VECTOR, "r1": mask, "r5rep": 0x77}, ["r2"])
    want = [VECTOR[e // 4 * 4] if mask[e // 4 * 4] == 0 else 0x77 for e in range(16)]
    assert row(got) == want


def test_r5_feeds_both_units(lab):
    body = ["add r2, r5, r1; fmul r3, r5, r0"]
    got = lab.vectors(body, {"r5rep": ref.bits(2.0), "r1": 1, "r0": FLOATS}, ["r2", "r3"])
    assert row(got) == [ref.bits(2.0) + 1] * 16
    assert row(got, "r3") == [ref.fmul(x, ref.bits(2.0)) for x in FLOATS]
