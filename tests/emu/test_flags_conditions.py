"""Conditions of register writes and the rules by which flags change (guide, p. 27-28, 33)."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from harness import END

from piblas.errors import EmulatorFault
from piblas.isa import modes

# Operands of "add" that give every reachable combination of Z, N and C, spread over 16 elements.
A = [0x80000000, 0, 0x80000000, 1, 0x7FFFFFFF, 0xFFFFFFFF, 5, 0xFFFFFFFF] * 2
B = [0x80000000, 0, 0xFFFFFFFF, 1, 0x00000001, 0xFFFFFFFF, 3, 0x00000001] * 2
Z = [int((x + y) & ref.M32 == 0) for x, y in zip(A, B)]
N = [(x + y) >> 31 & 1 for x, y in zip(A, B)]
C = [(x + y) >> 32 for x, y in zip(A, B)]
SET = ["add.sf -, r0, r1"]
INPUTS = {"r0": A, "r1": B}
CONDS = list(modes.CONDITIONS)


def chosen(cond):
    return np.array([ref.holds(cond, *flags) for flags in zip(Z, N, C)])


def test_the_operands_reach_every_combination():
    assert set(zip(Z, N, C)) == {(1, 0, 1), (1, 0, 0), (0, 0, 1), (0, 0, 0), (0, 1, 0), (0, 1, 1)}


def flags_of(got):
    return [got[key][0].tolist() for key in "znc"]


def test_flags_of_the_operands(lab):
    assert flags_of(lab.vectors(SET, INPUTS, flags=True)) == [Z, N, C]


@pytest.mark.parametrize("cond", CONDS)
@pytest.mark.parametrize(
    "line, target",
    [
        ("mov.{} r2, r3", "r2"),
        ("mov.{} ra2, r3", "ra2"),
        ("mov.{} rb2, r3", "rb2"),
        ("m_mov.{} r2, r3", "r2"),
        ("m_mov.{} ra2, r3", "ra2"),
        ("m_mov.{} rb2, r3", "rb2"),
        ("ldi r2.{}, -, 0x77", "r2"),
        ("ldi -, rb2.{}, 0x77", "rb2"),
        ("ldi_unsigned ra2.{}, -, [3 3 3 3 3 3 3 3 3 3 3 3 3 3 3 3]", "ra2"),
    ],
)
def test_a_condition_gates_the_write_of_each_element(lab, cond, line, target):
    value = 3 if "unsigned" in line else 0x77
    got = lab.vectors(SET + [line.format(cond)], {**INPUTS, "r3": value, target: 0x11}, [target])[
        target
    ][0]
    assert np.array_equal(got, np.where(chosen(cond), value, 0x11))


@pytest.mark.parametrize("cond_add", CONDS)
def test_the_two_units_have_conditions_of_their_own(lab, cond_add):
    body = SET + ["nop"]
    outputs = []
    for index, cond_mul in enumerate(CONDS):
        body += [f"mov.{cond_add} ra{index}, r3; m_mov.{cond_mul} rb{index}, r0"]
        outputs += [f"ra{index}", f"rb{index}"]
    clear = {name: 0x11 for name in outputs}
    got = lab.vectors(body, {**INPUTS, "r3": 0x77, **clear}, outputs)
    for index, cond_mul in enumerate(CONDS):
        assert np.array_equal(got[f"ra{index}"][0], np.where(chosen(cond_add), 0x77, 0x11))
        assert np.array_equal(got[f"rb{index}"][0], np.where(chosen(cond_mul), A, 0x11))


def test_conditions_see_the_flags_from_before_the_word(lab):
    body = SET + ["sub.sf.zs r2, r0, r0; m_mov.cs r3, r1"]
    got = lab.vectors(body, {**INPUTS, "r2": 7, "r3": 9}, ["r2", "r3"])
    assert np.array_equal(got["r2"][0], np.where(chosen("zs"), 0, 7))
    assert np.array_equal(got["r3"][0], np.where(chosen("cs"), B, 9))


def test_flags_come_from_the_add_unit_if_it_has_an_op(lab):
    got = lab.vectors(["add.sf r2, r0, r1; m_mov r3, r2"], {**INPUTS, "r2": 5}, flags=True)
    assert flags_of(got) == [Z, N, C]


def test_flags_come_from_the_mul_unit_if_the_add_unit_has_none(lab):
    values = [0, 1, 0x80000000, 0xFFFFFFFF] * 4
    got = lab.vectors(SET + ["m_mov.sf r2, r3"], {**INPUTS, "r3": values}, flags=True)
    assert flags_of(got) == [[1, 0, 0, 0] * 4, [0, 0, 1, 1] * 4, [0] * 16]


def test_an_add_op_that_is_never_written_still_owns_the_flags(lab):
    body = SET + ["mov.sf.never -, r3; m_mov r2, r3"]
    assert flags_of(lab.vectors(body, {**INPUTS, "r3": 0}, flags=True)) == [Z, N, C]


@pytest.mark.parametrize("cond", CONDS[1:])
@pytest.mark.parametrize("unit", ["", "m_"])
def test_flags_change_only_where_the_condition_holds(lab, cond, unit):
    body = SET + [f"{unit}mov.sf.{cond} -, r3"]
    got = lab.vectors(body, {**INPUTS, "r3": 0x80000000}, flags=True)
    take = chosen(cond)
    assert got["z"][0].tolist() == np.where(take, 0, Z).tolist()
    assert got["n"][0].tolist() == np.where(take, 1, N).tolist()
    assert got["c"][0].tolist() == np.where(take, 0, C).tolist()


def test_flags_stay_without_the_flag_bit(lab):
    body = SET + ["sub r2, r0, r0; m_mov r3, r0"]
    assert flags_of(lab.vectors(body, INPUTS, flags=True)) == [Z, N, C]


def test_zero_and_negative_look_at_bits_of_floats_too(lab):
    got = lab.vectors(["fmin.sf r2, r0, r0"], {"r0": 0x80000000}, ["r2"], flags=True)
    assert [got[key][0, 0] for key in "zn"] == [0, 1]


def test_a_pack_mode_does_not_change_what_flags_see(lab):
    got = lab.vectors(["add.sf ra2.8a, r0, r1"], {**INPUTS, "ra2": 0}, ["ra2"], flags=True)
    assert flags_of(got) == [Z, N, C]


@pytest.mark.parametrize("value, want", [(0, (1, 0, 0)), (5, (0, 0, 0)), (0x80000001, (0, 1, 0))])
def test_flags_of_a_load(lab, value, want):
    got = lab.vectors(SET + [f"ldi.sf r2, -, {value:#x}"], INPUTS, ["r2"], flags=True)
    assert [got[key][0].tolist() for key in "znc"] == [[flag] * 16 for flag in want]
    assert (got["r2"] == value).all()


def test_flags_of_a_load_of_single_elements(lab):
    body = SET + ["ldi_signed.sf r2, -, [0 1 -2 -1 0 1 -2 -1 0 1 -2 -1 0 1 -2 -1]"]
    got = lab.vectors(body, INPUTS, ["r2"], flags=True)
    assert got["z"][0].tolist() == [1, 0, 0, 0] * 4
    assert got["n"][0].tolist() == [0, 0, 1, 1] * 4
    assert got["c"][0].tolist() == [0] * 16


def test_flags_of_a_conditional_load(lab):
    got = lab.vectors(SET + ["ldi.sf r2.ns, -, 0"], {**INPUTS, "r2": 3}, ["r2"], flags=True)
    assert got["z"][0].tolist() == np.where(N, 1, Z).tolist()
    assert got["n"][0].tolist() == [0] * 16
    assert np.array_equal(got["r2"][0], np.where(N, 0, 3))


def test_a_load_has_two_conditions_and_two_destinations(lab):
    body = ["mov.sf -, r3", "ldi ra1.zs, r2.zc, 0x55"]
    got = lab.vectors(body, {"r3": [0, 1] * 8, "ra1": 1, "r2": 2}, ["ra1", "r2"])
    assert got["ra1"][0].tolist() == [0x55, 1] * 8 and got["r2"][0].tolist() == [2, 0x55] * 8


def test_flags_of_a_load_that_the_add_unit_never_writes(lab, loose):
    body = SET + ["ldi.sf -, rb1, 0x80000000 !cond_add=0"]
    with pytest.raises(EmulatorFault, match="takes flags from a load that the add unit never"):
        lab.vectors(body, INPUTS, ["rb1"])
    got = loose.vectors(body, INPUTS, ["rb1"], flags=True)
    assert (got["rb1"] == 0x80000000).all() and (got["n"] == 1).all() and (got["z"] == 0).all()


def test_flags_at_the_start_of_a_program_are_undefined(lab):
    for line in ("mov.zs r0, 1", "m_mov.cc r0, r1", "ldi r0.ns, -, 1", "br.any_nc rel +0"):
        with pytest.raises(EmulatorFault, match="flags that no operation of the program has set"):
            lab.run([line, "nop", "nop", "nop", *END])
        lab.run(["mov.sf -, elem_num", line, "nop", "nop", "nop", *END])
    # They become defined where an element's condition holds: here one, so the others are not.
    with pytest.raises(EmulatorFault, match="flags that no operation"):
        lab.run(["mov.sf.zs -, 0", *END])


def test_flags_of_two_nops_are_undetermined(lab, loose):
    body = [*SET, "nop.sf !cond_mul=1", "mov.zs r2, 1"]
    with pytest.raises(EmulatorFault, match="flags that no operation"):
        lab.vectors(body, {**INPUTS, "r2": 0}, ["r2"])
    assert loose.vectors(body, {**INPUTS, "r2": 0}, ["r2"])["r2"][0].tolist() == Z
    # Without a condition neither of them supplies flags.
    plain = [*SET, "nop.sf", "mov.zs r2, 1"]
    assert lab.vectors(plain, {**INPUTS, "r2": 0}, ["r2"])["r2"][0].tolist() == Z


MUL24 = {
    "small": (4095, 4096, 0),  # 24 bits: all sources agree
    "middle": (4096, 4096, None),  # more than 24 bits, less than 32
    "large": (0xFFFFFF, 0xFFFFFF, 1),
}


@pytest.mark.parametrize("name", MUL24)
def test_carry_of_mul24(lab, loose, name):
    a, b, carry = MUL24[name]
    body = ["mul24.sf r2, r0, r1", "ldi r3, -, 0", "add.cs r3, r3, 1"]
    inputs = {"r0": a, "r1": b}
    if carry is None:
        with pytest.raises(EmulatorFault, match="uses flag C of a mul24 or fmul"):
            lab.vectors(body, inputs, ["r3"])
        jump = ["mul24.sf r2, r0, r1", "br.any_cs rel +0", "nop", "nop", "nop"]
        with pytest.raises(EmulatorFault, match="uses flag C of a mul24 or fmul"):
            lab.vectors(jump, inputs, ["r3"])
        # Z and N do not depend on it, and a later word's C is its own.
        plain = [body[0], "mov.zc r3, 1", "add.sf -, r0, r1", "add.cc r3, r3, 1"]
        assert (lab.vectors(plain, inputs, ["r3"])["r3"] == 2).all()
        assert (loose.vectors(body, inputs, ["r3"])["r3"] == 0).all()
    else:
        assert (lab.vectors(body, inputs, ["r3"])["r3"] == carry).all()


def test_carry_of_fmul(lab, loose):
    body = ["fmul.sf r2, r0, r1", "ldi r3, -, 0", "add.cs r3, r3, 1"]
    finite = {"r0": np.float32([3.0] * 16), "r1": np.float32([-2.0, 2.0] * 8)}
    assert (lab.vectors(body, finite, ["r3"])["r3"] == 0).all()
    infinite = {"r0": np.float32([1e30] * 16), "r1": np.float32([1e30] * 16)}
    with pytest.raises(EmulatorFault, match="uses flag C of a mul24 or fmul"):
        lab.vectors(body, infinite, ["r3"])
    assert (loose.vectors(body, infinite, ["r3"])["r3"] == 0).all()


def test_a_semaphore_word_sets_flags_and_registers_like_a_load(lab):
    body = SET + ["sema_up.sf 3, r2, - !imm=0x80000003", "sema_down 3"]
    got = lab.vectors(body, INPUTS, ["r2"], flags=True)
    assert (got["r2"] == 0x80000003).all()
    assert [got[key][0].tolist() for key in "znc"] == [[0] * 16, [1] * 16, [0] * 16]


def test_a_taken_branch_with_an_odd_register_field_sets_flags_from_its_link(loose):
    body = ["add.sf -, r0, r1", "br.always rel @on, r2, - !raddr_a=1", "nop", "nop", "nop", "on:"]
    got = loose.vectors(body, {"r0": 0, "r1": 0}, ["r2"], flags=True)
    link = int(got["r2"][0, 0])
    assert link
    assert (got["z"] == 0).all() and (got["n"] == link >> 31).all()


def test_a_branch_not_taken_with_an_odd_register_field_keeps_flags(loose):
    body = ["add.sf -, r0, r1", "br.all_ns rel @on, r2, - !raddr_a=1", "nop", "nop", "nop", "on:"]
    got = loose.vectors(body, INPUTS, ["r0"], flags=True)
    assert flags_of(got) == [Z, N, C]


@pytest.mark.parametrize(
    "line", ["or.sf -, mutex, r0", "or.sf mutex, mutex, r0", "m_mov.sf -, none"]
)
def test_flags_of_an_undefined_value_are_undefined(lab, line):
    """Whole dialects read the mutex so.  It matters where a condition looks at the flags."""
    mutex = ["mov mutex, r0"] if "-, mutex" in line else []
    free = ["mov -, mutex", "mov mutex, r0"] if "mutex, mutex" not in line else []
    body = [*free, line, *mutex, "nop"]
    lab.vectors(body, {"r0": 5}, ["r0"])
    lab.vectors([*body, "sub.sf -, r0, 5", "mov.zs r0, 7"], {"r0": 5}, ["r0"])
    for use in (["mov.zs r0, 1"], ["br.any_zs rel +8", "nop", "nop", "nop"]):
        with pytest.raises(EmulatorFault, match="a register address whose value is undefined"):
            lab.vectors([*body, *use], {"r0": 5}, ["r0"])


def test_a_value_that_is_kept_is_used(lab):
    with pytest.raises(EmulatorFault, match="a register address whose value is undefined"):
        lab.vectors(["or.sf r1, mutex, r0", "mov mutex, r0"], {"r0": 5}, ["r0"])
