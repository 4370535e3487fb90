"""What comes out where one word meets the latency of another (guide, p. 18-25, 37; measured).

``strict`` stops only where the outcome would differ or is undefined; otherwise the documented
outcome appears.
"""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from harness import END, patterns, store, store_uniforms

from piblas.errors import EmulatorFault

VECTOR = ref.random_patterns(16, 101)


def faults(lab, body, inputs=None, match=None, **more):
    with pytest.raises(EmulatorFault, match=match) as info:
        lab.vectors(body, inputs or {}, ["r0"], **more)
    fault = info.value
    assert fault.qpu == 0 and fault.pc > 0 and fault.instruction and fault.unit and fault.reason
    for piece in ("QPU 0", f"pc {fault.pc}", fault.instruction, fault.reason):
        assert piece in str(fault)
    return fault


# --- a file register right after its write ------------------------------------------------------


@pytest.mark.parametrize("file", ["ra", "rb"])
@pytest.mark.parametrize("writer", ["mov {}1, r0", "m_mov {}1, r0", "ldi {}1, -, 0x55"])
def test_a_file_register_shows_its_old_value_to_the_next_word(loose, file, writer):
    line = writer.format(file)
    if "ldi" in line and file == "rb":
        line = "ldi -, rb1, 0x55"
    body = [line, f"mov r1, {file}1", f"mov r2, {file}1"]
    got = loose.vectors(body, {f"{file}1": 9, "r0": 0x55}, ["r1", "r2"])
    assert (got["r1"] == 9).all() and (got["r2"] == 0x55).all()


@pytest.mark.parametrize("file", ["ra", "rb"])
def test_reading_a_file_register_too_early_is_a_fault(lab, file):
    body = [f"mov {file}1, r1", f"mov r0, {file}1"]
    fault = faults(lab, body, {f"{file}1": 9, "r1": 0x55})
    assert fault.instruction == f"mov r0, {file}1"


@pytest.mark.parametrize("file", ["ra", "rb"])
def test_reading_it_early_is_harmless_if_the_value_stays(lab, file):
    body = [f"mov {file}1, r1", f"mov r0, {file}1"]
    got = lab.vectors(body, {f"{file}1": 0x55, "r1": 0x55}, ["r0"])
    assert (got["r0"] == 0x55).all()


def test_reading_it_early_is_harmless_in_elements_that_stay(lab):
    """The write reaches odd elements, and the next word takes even ones."""
    body = ["mov.sf -, r3", "mov.zs ra1, r1", "mov.zc r0, ra1; m_mov.zc r2, ra1"]
    inputs = {"ra1": 9, "r1": 7, "r3": [1, 0] * 8, "r0": 1, "r2": 2}
    got = lab.vectors(body, inputs, ["r0", "r2"])
    assert got["r0"][0].tolist() == [9, 1] * 8 and got["r2"][0].tolist() == [9, 2] * 8
    faults(lab, [*body[:2], "mov.zs r0, ra1"], inputs)


def test_the_other_file_and_other_registers_are_free(lab):
    body = ["mov ra1, r1", "add r0, ra2, rb1"]
    got = lab.vectors(body, {"r1": 7, "ra1": 1, "rb1": 20, "ra2": 300}, ["r0", "ra1"])
    assert (got["r0"] == 320).all() and (got["ra1"] == 7).all()


def test_a_branch_sees_the_old_register_too(loose):
    body = ["ldi r0, -, 0", "mov ra1, r1", "br.always rel 0 + ra1", "nop", "nop", "nop"]
    body += ["add r0, r0, 1", "add r0, r0, 2"]
    got = loose.vectors(body, {"ra1": 8, "r1": 0}, ["r0"])
    assert (got["r0"] == 2).all()


def test_a_register_written_in_the_last_delay_slot_reaches_the_target_late(loose):
    body = ["br.always rel @on", "nop", "nop", "mov ra1, r1", "nop", "on:", "mov r0, ra1"]
    got = loose.vectors(body, {"ra1": 9, "r1": 3}, ["r0", "ra1"])
    assert (got["r0"] == 9).all() and (got["ra1"] == 3).all()


# --- the special function unit --------------------------------------------------------------------

FOUR = {"r1": ref.bits(4.0), "r4": 0x11}


@pytest.mark.parametrize("distance", [1, 2])
def test_r4_is_old_in_the_two_words_after_an_sfu_write(loose, distance):
    body = ["mov recip, r1"] + ["nop"] * (distance - 1) + ["mov r0, r4", "nop", "nop", "mov r2, r4"]
    got = loose.vectors(body, FOUR, ["r0", "r2"])
    assert (got["r0"] == 0x11).all()
    assert np.allclose(got["r2"].view(np.float32), 0.25, rtol=1e-4)


@pytest.mark.parametrize("distance", [1, 2])
def test_reading_r4_too_early_is_a_fault(lab, distance):
    faults(lab, ["mov recip, r1"] + ["nop"] * (distance - 1) + ["mov r0, r4"], FOUR)


def test_reading_r4_too_early_is_harmless_where_nothing_is_written(lab):
    body = ["mov.sf -, 1", "mov recip, r1", "mov.zs r0, r4", "nop", "mov r2, r4"]
    got = lab.vectors(body, {**FOUR, "r0": 6}, ["r0", "r2"])
    assert (got["r0"] == 6).all() and np.allclose(got["r2"].view(np.float32), 0.25, rtol=1e-4)


@pytest.mark.parametrize("late", [True, False])
def test_r4_holds_what_was_put_there_last(loose, late):
    """A lookup's result behind a function's, and the other way round."""
    data = loose.device.alloc(64)
    data.array(np.uint32)[:] = 77
    body = ["mov t0s, r2", "mov recip, r1", *["nop"] * (2 if late else 0), "nop; ldtmu0"]
    body += ["nop", "nop", "mov r0, r4"]
    got = loose.vectors(body, {**FOUR, "r2": data.bus_address}, ["r0"])["r0"]
    data.free()
    if late:
        assert (got == 77).all()
    else:
        assert np.allclose(got.view(np.float32), 0.25, rtol=1e-4)


def test_an_sfu_write_behind_another_too_closely_is_a_fault(lab):
    faults(lab, ["mov recip, r1", "mov rsqrt, r1", "nop", "nop", "mov r0, r4"], FOUR)


def test_a_tmu_result_while_the_sfu_works_is_a_fault(lab):
    data = lab.device.alloc(64)
    body = ["mov t0s, r2", "mov recip, r1", "nop; ldtmu0", "nop", "mov r0, r4"]
    faults(lab, body, {"r1": ref.bits(4.0), "r2": data.bus_address})
    data.free()


# --- rotations --------------------------------------------------------------------------------


def test_rotating_an_accumulator_that_was_just_written_is_a_fault(lab):
    faults(lab, ["mov r1, r2", "m_mov r0, r1 rot 3"], {"r1": VECTOR, "r2": VECTOR[::-1]})


def test_rotating_an_accumulator_whose_value_stayed_is_harmless(lab):
    got = lab.vectors(["mov r1, r2", "m_mov r0, r1 rot 3"], {"r1": VECTOR, "r2": VECTOR}, ["r0"])
    assert got["r0"][0].tolist() == ref.rotate(VECTOR, 3)


def test_rotating_after_one_word_between(lab):
    body = ["mov r1, r2", "nop", "m_mov r0, r1 rot 3"]
    got = lab.vectors(body, {"r1": 0, "r2": VECTOR}, ["r0"])
    assert got["r0"][0].tolist() == ref.rotate(VECTOR, 3)


def test_rotating_by_an_r5_that_was_just_written_is_a_fault(lab):
    faults(lab, ["mov r5rep, r2", "m_mov r0, r1 rot r5"], {"r1": VECTOR, "r2": 3, "r5rep": 4})


def test_rotating_by_an_r5_that_stayed_is_harmless(lab):
    body = ["mov r5rep, r2", "m_mov r0, r1 rot r5"]
    got = lab.vectors(body, {"r1": VECTOR, "r2": 3, "r5rep": 3}, ["r0"])
    assert got["r0"][0].tolist() == ref.rotate(VECTOR, 3)


def test_a_rotated_sum_that_takes_an_unchanged_element_is_harmless(lab):
    # Element 10 is added to, element 14 is rotated into r5: the word in between may be missing.
    body = ["mov.sf -, r3", "add.zs r2, r2, 1", "m_mov r5rep, r2 rot 2", "mov r0, r5"]
    mask = [int(e != 10) for e in range(16)]
    got = lab.vectors(body, {"r2": VECTOR, "r3": mask}, ["r0"])
    assert got["r0"][0].tolist() == [VECTOR[14]] * 16


# --- two results for one place ------------------------------------------------------------------


def test_two_different_results_for_one_accumulator_are_a_fault(lab):
    faults(lab, ["mov r0, r1; m_mov r0, r2"], {"r1": 1, "r2": 2})


def test_two_equal_results_for_one_accumulator_are_harmless(lab):
    got = lab.vectors(["mov r0, r1; m_mov r0, r1"], {"r1": 5}, ["r0"])
    assert (got["r0"] == 5).all()


def test_inverse_conditions_share_an_accumulator(lab):
    body = ["mov.sf -, r3", "mov.zs r0, r1; m_mov.zc r0, r2"]
    got = lab.vectors(body, {"r1": 1, "r2": 2, "r3": [0, 1] * 8}, ["r0"])
    assert got["r0"][0].tolist() == [1, 2] * 8


@pytest.mark.parametrize("target", ["t0s", "vpm", "recip"])
def test_two_results_for_one_peripheral_are_a_fault(lab, target):
    faults(lab, [f"mov {target}, r1; m_mov {target}, r2"], {"r1": 1, "r2": 2})


@pytest.mark.parametrize("line", ["mov.zs vpm, r1", "mov.zs recip, r1", "mov.zs t0s, r1"])
def test_a_conditional_write_to_a_peripheral_is_a_fault(lab, line):
    data = lab.device.alloc(64)
    address = [data.bus_address] * 16
    body = ["ldi vpm_wr_setup, -, 0x1a00", "mov.sf -, r3", line, "nop", "nop", "nop"]
    faults(lab, body, {"r1": address, "r3": [0, 1] * 8})
    data.free()


# --- uniforms -----------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [1, 2])
def test_a_uniform_too_soon_after_a_new_address_is_a_fault(lab, distance):
    stream = lab.device.alloc(64)
    stream.array(np.uint32, (16,))[:] = 5
    body = ["mov unif_addr, r1"] + ["nop"] * (distance - 1) + ["mov r0, unif"]
    faults(lab, body, {"r1": stream.bus_address}, uniforms=[1, 2, 3])
    stream.free()


# --- the VPM -------------------------------------------------------------------------------------

READ = ["ldi vpm_rd_setup, -, {:#x}", "nop", "nop", "nop"]


def reads(setup, count):
    return [READ[0].format(setup), *READ[1:]] + ["mov r0, vpm"] * count


@pytest.mark.parametrize("count", [1, 3])
def test_reading_more_vectors_than_were_set_up_is_a_fault(lab, count):
    faults(lab, reads(0x1A00 | count << 20, count + 1))


def test_a_new_read_setup_over_unread_vectors_is_a_fault(lab):
    faults(lab, reads(0x301A00, 1) + reads(0x101A00, 1))


def test_a_program_that_leaves_vectors_unread_gets_the_others_right(both):
    lines = ["ldi vpm_wr_setup, -, 0x1a00", "mov vpm, r1", "mov vpm, r2"] + reads(0x201A00, 1)
    got = both.vectors(lines, {"r1": 7, "r2": 8}, ["r0"])
    assert (got["r0"] == 7).all()


def test_vectors_left_unread_are_cancelled_when_their_program_ends(both):
    both.run(reads(0x1A00, 1) + END)
    lines = ["ldi vpm_wr_setup, -, 0x1a10", "mov vpm, r1"] + reads(0x101A10, 1)
    assert (both.vectors(lines, {"r1": 7}, ["r0"])["r0"] == 7).all()


def test_reading_the_vpm_and_setting_it_up_in_one_word_is_a_fault(lab):
    body = reads(0x101A00, 0) + ["mov r0, vpm; m_mov vpm_rd_setup, r1"]
    faults(lab, body, {"r1": 0x101A00})


# --- the TMU --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [0, 1])
def test_popping_a_result_that_nobody_asked_for_is_a_fault(lab, unit):
    faults(lab, [f"nop; ldtmu{unit}"])


@pytest.mark.parametrize("unit", [0, 1])
def test_nine_requests_are_a_fault(lab, unit):
    data = lab.device.alloc(64)
    body = [f"mov t{unit}s, r1"] * 9 + [f"nop; ldtmu{unit}"] * 9
    faults(lab, body, {"r1": data.bus_address})
    data.free()


def test_results_left_behind_are_a_fault(lab):
    data = lab.device.alloc(64)
    faults(lab, ["mov t1s, r1"], {"r1": data.bus_address})
    data.free()


def test_the_mul_unit_without_an_op_delivers_its_previous_result(loose):
    body = ["m_mov r0, r1", "m_nop.always r2"]
    got = loose.vectors(body, {"r1": VECTOR, "r2": 0}, ["r2"])
    assert got["r2"][0].tolist() == VECTOR[12:] * 4


def test_patterns_of_the_harness():
    assert patterns([1.0] * 16).tolist() == [[0x3F800000] * 16]
    assert patterns(-1).tolist() == [[0xFFFFFFFF] * 16]
    assert patterns(np.arange(32)).shape == (2, 16)


# --- words whose outcome nobody knows ---------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        # two accesses to TMU, SFU, mutex or semaphores at once
        ["mov t0s, r1", "mov t0s, r1; ldtmu0", "nop; ldtmu0"],
        ["mov t0s, r1; m_mov recip, r1", "nop", "nop", "nop; ldtmu0"],
        ["mov t0s, mutex", "mov mutex, r0", "nop; ldtmu0"],
        ["sema_up 0, t0s, -", "sema_down 0", "nop; ldtmu0"],
        # VPM accesses that exclude each other
        ["ldi vpm_wr_setup, -, 0x1a00", "mov t0s, r1", "mov vpm, r1; ldtmu0"],
        ["ldi vpm_wr_setup, -, 0x1a00", "mov vpm, r1; m_mov vpm_wr_setup, r2"],
        ["mov vpm_wr_setup, r2; m_mov vpm_rd_setup, r2"],
        ["ldi vpm_wr_setup, -, 0x1a00", "mov vpm, r1; m_mov vpm, r1"],
        # packs
        ["ldi vpm_wr_setup, -, 0x1a00", "m_mov vpm.8ac, r1"],
        ["add r0, r0, r1 !pack=4"],
        # jumps in the shadow of jumps
        ["br.always rel +8", "br.always rel +8"] + ["nop"] * 5,
        ["br.always rel +0", "nop; thrsw", "nop", "nop", "nop"],
        ["br.always rel +0", "nop; thrend", "nop", "nop", "nop"],
        ["nop; thrend", "br.always rel -16", "nop", "nop"],
        # addresses and modes without a meaning for user programs
        ["mov r0, a33"],
        ["mov r0, none"],
        ["mov r0, x_coord"],
        ["mov r0, vary"],
        ["mov r0, mutex"],
        ["mov r0, vdr_wait"],
        ["mov r0, vdw_wait"],
        ["mov r0, unif.8b"],
        ["mov tlb_all, r0"],
        ["nop; loadc"],
        ["mov unif_addr_b, r1", "nop", "nop", "nop"],
        ["m_nop.always r0"],
        ["ldi vpm_wr_setup, -, 0x1b00", "mov vpm, r0"],
        # rotations of mixed sources, and an operand that is read as two types
        ["fmul r0, r1, r4 rot 3"],
        ["fadd r0, ra1.16a, r3; mul24 r2, ra1.16a, r3"],
        # rows of the VPM under a DMA that nobody waited for
        [
            "ldi vpm_rd_setup, -, 0x83011000",
            "mov vdr_addr, r1",
            "ldi vpm_rd_setup, -, 0x101a00",
            "mov r0, vpm",
        ],
        # what a thread switch loses
        ["nop; thrsw", "nop", "nop", "mov r0, r1"],
        ["mov.sf -, r3; thrsw", "nop", "nop", "mov.zs r0, 1"],
        # the VPM without a setup
        ["mov vpm, r0"],
        ["mov r0, vpm"],
        # the last three words
        ["nop; thrend", "mov r0, unif", "nop"],
        ["mov r0, ra14; thrend", "nop", "nop"],
        ["nop; thrend", "nop", "add r0, r0, rb14"],
        ["ldi vpm_wr_setup, -, 0x1a00", "nop; thrend", "mov vpm, r0", "nop"],
    ],
    ids=lambda body: "; ".join(body)[:48],
)
def test_undefined_by_the_chip(lab, body):
    data = lab.device.alloc(256)
    inputs = {"r4": VECTOR, "r1": data.bus_address, "r2": 0x1A05, "ra1": 0x3C00FFFF, "r3": 3}
    faults(lab, body, inputs, uniforms=[1, 2])
    data.free()


@pytest.mark.parametrize("name, want", [("a33", list(range(16))), ("b33", [0] * 16)])
def test_an_address_without_a_meaning_gives_the_element_or_the_qpu(loose, name, want):
    assert loose.vectors([f"mov r0, {name}"], {"r0": 99}, ["r0"])["r0"][0].tolist() == want


def test_a_file_register_written_by_the_end_word_does_no_harm(both):
    out = both.device.alloc(64)
    last = ["nop", "nop", "mov ra0, r0; thrend", "nop", "nop"]
    both.run(["ldi r0, -, 31", *store("r0"), *last], [store_uniforms(out.bus_address)])
    got = out.array(np.uint32, (16,)).copy()
    out.free()
    assert (got == 31).all()


def test_a_request_too_soon_after_the_end_of_the_swap_is_a_fault(lab):
    # QPU 2 is the first whose TMUs are swapped.
    data = lab.device.alloc(64)
    lines = ["mov r1, unif", "nop", "mov tmu_noswap, 1", "mov t0s, r1", "nop", "nop; ldtmu0"]
    lab.run(["mov r1, unif", "nop", "nop", "mov t0s, r1", "nop", "nop; ldtmu0"] + END,
            [[data.bus_address]] * 3)  # fmt: skip
    with pytest.raises(EmulatorFault) as info:
        lab.run(lines + END, [[data.bus_address]] * 3)
    data.free()
    assert info.value.qpu == 2 and info.value.unit == "tmu"


def test_a_value_used_as_two_types_is_harmless_without_an_unpack(lab):
    got = lab.vectors(["fmin r0, ra1, ra1; m_mov r2, ra1"], {"ra1": VECTOR}, ["r0", "r2"])
    assert got["r0"][0].tolist() == got["r2"][0].tolist() == VECTOR
