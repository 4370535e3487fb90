"""Branches, delay slots, links, program end and thread switch (guide, p. 20-21, 33-34)."""

from __future__ import annotations

import numpy as np
import pytest
import reference as ref
from harness import END, assemble, patterns_1d, store, store_uniforms

from piblas.errors import DeviceTimeout, EmulatorFault
from piblas.isa import modes

CODES = [code for code, name in enumerate(modes.BRANCH_CONDITIONS) if name]

# One element set, one clear, and others: for each of the three flags.
MASKS = {
    "none": [0] * 16,
    "all": [1] * 16,
    "first": [1] + [0] * 15,
    "last": [0] * 15 + [1],
    "all but first": [0] + [1] * 15,
    "all but last": [1] * 15 + [0],
    "mixed": [0, 1, 1, 0] * 4,
}
# (line that sets one flag from the mask in r1, which flags it gives for a mask bit of 1)
SETTERS = {
    "z": ("sub.sf -, r1, 1", lambda bit: (bit, 1 - bit, 1 - bit)),
    "n": ("sub.sf -, 0, r1", lambda bit: (1 - bit, bit, bit)),
    "c": ("shr.sf -, r1, 1", lambda bit: (1, 0, bit)),
}


@pytest.mark.parametrize("code", CODES)
def test_every_branch_condition_over_sixteen_elements(lab, code):
    name = modes.BRANCH_CONDITIONS[code]
    for setter, flags in SETTERS.values():
        rows = list(MASKS.values())
        body = [
            "ldi r2, -, 0",
            setter,
            f"br.{name} rel @on",
            "nop",
            "nop",
            "nop",
            "mov r2, 1",
            "on:",
        ]
        got = lab.vectors(body, {"r1": sum(rows, [])}, ["r2"])["r2"][:, 0]
        for mask, value in zip(rows, got):
            zeros, negatives, carries = zip(*(flags(bit) for bit in mask))
            taken = ref.branch_taken(code, zeros, negatives, carries)
            assert value == (0 if taken else 1), (name, setter, mask)


@pytest.mark.parametrize("taken", [True, False])
def test_three_delay_slots_always_execute(lab, taken):
    cond = "all_zs" if taken else "all_zc"
    body = ["mov.sf -, 0", "ldi r0, -, 0", f"br.{cond} rel @on"]
    body += ["add r0, r0, 1", "add r0, r0, 2", "add r0, r0, 4", "add r0, r0, 8", "on:"]
    body += ["nop"]
    got = lab.vectors(body, {"r1": 0}, ["r0"])["r0"]
    assert (got == (7 if taken else 15)).all()


def test_a_branch_that_skips_nothing(lab):
    body = ["ldi r0, -, 0", "br.always rel @on", "nop", "nop", "nop", "on:", "add r0, r0, 1"]
    assert (lab.vectors(body, {}, ["r0"])["r0"] == 1).all()


def test_a_backward_branch_counts(lab):
    body = ["ldi r0, -, 0", "ldi r1, -, 13", "again:", "sub.sf r1, r1, 1", "br.any_zc rel @again"]
    body += ["add r0, r0, 1", "nop", "nop"]
    assert (lab.vectors(body, {}, ["r0"])["r0"] == 13).all()


def test_a_branch_tests_the_flags_of_the_word_before(lab):
    body = ["ldi r0, -, 0", "mov.sf -, 1", "mov.sf -, 0", "br.all_zs rel @on", "mov.sf -, 1"]
    body += ["nop", "nop", "mov r0, 1", "on:", "nop"]
    assert (lab.vectors(body, {}, ["r0"])["r0"] == 0).all()


def test_flags_survive_a_branch(lab):
    body = ["mov.sf -, r1", "br.always rel @on", "nop", "nop", "nop", "on:"]
    got = lab.vectors(body, {"r1": [0, 1] * 8}, ["r0"], flags=True)
    assert got["z"][0].tolist() == [1, 0] * 8


HERE = ["br.always rel @here, ra0, -", "nop", "nop", "nop", "here:"]
"""Leaves the bus address of ``here`` in ra0."""


def test_the_link_is_the_address_after_the_delay_slots(lab):
    # Two links of two branches that stand a known number of words apart.
    body = ["br.always rel @one, ra1, rb1", "nop", "nop", "nop", "one:"]
    body += ["nop", "br.always rel @two, r2, r3", "nop", "nop", "nop", "nop", "nop", "two:"]
    got = lab.vectors(body, {}, ["ra1", "rb1", "r2", "r3"])
    first, second = int(got["ra1"][0, 0]), int(got["r2"][0, 0])
    assert second - first == 8 * 5
    assert first % 8 == 0 and first >> 30 == 3
    assert (got["ra1"] == first).all() and (got["rb1"] == first).all()
    assert (got["r2"] == second).all() and (got["r3"] == second).all()


def test_the_link_counts_from_the_start_of_the_program(lab):
    # A branch in word 1 links byte 0x28 of the program.
    lines = ["nop", "br.always rel @on, ra0, -", "nop", "nop", "nop", "on:"] + store("ra0") + END
    out = lab.device.alloc(64)
    program = lab.device.load(np.array(assemble(lines), np.uint64))
    lab.device.execute(program, [patterns_1d(store_uniforms(out.bus_address))], timeout=2.0)
    got = out.array(np.uint32, (16,)).copy()
    base = program.bus_address
    program.free()
    out.free()
    assert (got == base + 0x28).all()


def test_no_link_without_the_branch(lab):
    body = ["mov.sf -, 0", "br.all_zc rel @on, ra1, rb1", "nop", "nop", "nop", "on:"]
    got = lab.vectors(body, {"ra1": 3, "rb1": 4}, ["ra1", "rb1"])
    assert (got["ra1"] == 3).all() and (got["rb1"] == 4).all()


def test_link_through_file_b_with_the_write_swap(lab):
    body = HERE + ["br.always rel @on, rb2, ra2", "nop", "nop", "nop", "on:"]
    got = lab.vectors(body, {"ra2": 0, "rb2": 0}, ["ra0", "ra2", "rb2"])
    assert (got["rb2"] == got["ra0"] + 32).all() and (got["ra2"] == got["rb2"]).all()


def test_an_absolute_branch_to_a_register(lab):
    body = HERE + ["ldi r1, -, 72", "add ra1, ra0, r1", "ldi r0, -, 0", "br.always abs 0 + ra1"]
    body += ["nop", "nop", "nop", "mov r0, 1", "mov r0, 2", "nop"]  # here + 9 words: the nop
    got = lab.vectors(body, {}, ["r0"])
    assert (got["r0"] == 0).all()


def test_an_absolute_branch_adds_its_immediate(lab):
    body = HERE + ["mov ra1, ra0", "ldi r0, -, 0", "nop", "br.always abs 72 + ra1"]
    body += ["nop", "nop", "nop", "mov r0, 1", "mov r0, 2", "nop"]
    assert (lab.vectors(body, {}, ["r0"])["r0"] == 0).all()


@pytest.mark.parametrize("immediate", [0, 8, -8, 16])
def test_a_relative_branch_to_a_register_adds_all_three(lab, immediate):
    # The target is 16 bytes past the delay slots: one word is skipped, then another.
    body = ["ldi r0, -, 0", f"br.always rel {immediate:+d} + ra2", "nop", "nop", "nop"]
    body += ["add r0, r0, 1", "add r0, r0, 2", "add r0, r0, 4"]
    got = lab.vectors(body, {"ra2": 16 - immediate}, ["r0"])
    assert (got["r0"] == 4).all()


def test_the_branch_register_counts_in_element_15(loose):
    body = ["ldi r0, -, 0", "br.always rel 0 + ra2", "nop", "nop", "nop"]
    body += ["add r0, r0, 1", "add r0, r0, 2", "add r0, r0, 4"]
    offsets = [0] * 15 + [8]
    assert (loose.vectors(body, {"ra2": offsets}, ["r0"])["r0"] == 6).all()


def test_a_branch_register_whose_elements_differ_is_worth_a_warning(both, caplog):
    jump = ["nop", "br.always rel 0 + ra2", "nop", "nop", "nop", "nop", "nop", *END]
    both.run(["mov ra2, 8", *jump])
    assert not caplog.records
    both.run(["ldi_unsigned ra2, -, [1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0]", *jump])
    assert "QPU 0 branched by a register whose elements differ" in caplog.text


def test_a_subroutine_returns_by_its_link(lab):
    body = ["ldi r0, -, 1", "br.always rel @sub, ra5, -", "nop", "nop", "nop"]
    body += ["br.always rel @sub, ra5, -", "nop", "nop", "nop", "br.always rel @end"]
    body += ["nop", "nop", "nop", "sub:", "add r0, r0, r0", "br.always abs 0 + ra5"]
    body += ["add r0, r0, 1", "nop", "nop", "end:"]
    assert (lab.vectors(body, {}, ["r0"])["r0"] == 7).all()


def test_conditional_writes_and_signals_in_delay_slots(lab):
    body = ["mov t0s, r3", "mov.sf -, elem_num", "br.always rel @on", "mov.zs r0, 9"]
    body += ["nop; ldtmu0", "mov r1, r4", "on:"]
    data = lab.device.alloc(64)
    data.array(np.uint32, (16,))[:] = np.arange(50, 66)
    address = [data.bus_address + 4 * e for e in range(16)]
    got = lab.vectors(body, {"r0": 1, "r3": address}, ["r0", "r1"])
    data.free()
    assert got["r0"][0].tolist() == [9] + [1] * 15
    assert got["r1"][0].tolist() == list(range(50, 66))


# --- end of program ------------------------------------------------------------------------------


def _semaphores_around_the_end(ups_before, ups_in_slots, ups_after, downs):
    """QPU 0 counts semaphore 6 up around its end; QPU 1 counts it down, then stores."""
    lines = ["mov.sf -, unif", "br.all_zc rel @other", "nop", "nop", "nop"]
    lines += ["sema_up 6"] * ups_before + ["nop; thrend"]
    lines += (["sema_up 6"] * ups_in_slots + ["nop", "nop"])[:2] + ["sema_up 6"] * ups_after
    lines += END + ["other:"] + ["sema_down 6"] * downs
    lines += ["ldi r0, -, 77"] + store("r0") + END
    return lines


def test_two_words_after_the_end_signal_still_execute(lab):
    out = lab.device.alloc(64)
    lab.run(_semaphores_around_the_end(0, 2, 0, 2), [[0], [1] + store_uniforms(out.bus_address)])
    got = out.array(np.uint32, (16,)).copy()
    out.free()
    assert (got == 77).all()


def test_the_third_word_after_the_end_signal_does_not_execute(lab):
    out = lab.device.alloc(64)
    with pytest.raises(DeviceTimeout):
        lab.run(
            _semaphores_around_the_end(0, 2, 3, 3),
            [[0], [1] + store_uniforms(out.bus_address)],
            timeout=0.01,
        )
    out.free()


def test_the_end_signal_beside_two_operations(lab):
    out = lab.device.alloc(64)
    lines = (
        ["ldi r0, -, 5"] + store("r0") + ["nop", "mov r0, r0; m_mov r0, r0; thrend", "nop", "nop"]
    )
    lab.run(lines, [store_uniforms(out.bus_address)])
    got = out.array(np.uint32, (16,)).copy()
    out.free()
    assert (got == 5).all()


def test_qpus_may_end_at_different_times(lab):
    lines = ["mov ra1, unif", "nop", "turn:", "mov.sf r0, ra1", "nop", "sub ra1, ra1, 1"]
    lines += ["br.any_zc rel @turn", "nop", "nop", "nop", "mov r1, qpu_num"] + store("r1") + END
    out = lab.device.alloc(12 * 64)
    rows = [[(q * 37) % 50] + store_uniforms(out.bus_address + 64 * q, q) for q in range(12)]
    lab.run(lines, rows)
    got = out.array(np.uint32, (12, 16)).copy()
    out.free()
    assert got[:, 0].tolist() == list(range(12))


def test_registers_of_the_files_survive_a_thread_switch(lab):
    body = ["nop; thrsw", "mov ra2, 7", "mov rb2, 8", "nop", "nop"]
    got = lab.vectors(body, {"ra1": 5, "rb1": 6}, ["ra1", "rb1", "ra2", "rb2"])
    assert [got[name][0, 0] for name in ("ra1", "rb1", "ra2", "rb2")] == [5, 6, 7, 8]


def test_a_list_of_uniforms_and_code_addresses(both):
    """What the firmware's launch call takes: pairs in memory, uniforms first, for each QPU."""
    device = both.device
    out, control = device.alloc(128), device.alloc(256)
    programs = []
    for value in (5, 6):
        lines = [f"ldi r0, -, {value}", *store("r0"), *END]
        programs.append(device.load(np.array(assemble(lines), np.uint64)))
    words = control.array(np.uint32)
    for q, program in enumerate(programs):
        words[2 * q : 2 * q + 2] = control.bus_address + 64 + 16 * q, program.bus_address
        words[16 + 4 * q : 19 + 4 * q] = store_uniforms(out.bus_address + 64 * q, q)
    control.clean()
    device.execute_list(control.bus_address, 2)
    assert out.array(np.uint32, (2, 16)).tolist() == [[5] * 16, [6] * 16]
    for each in (*programs, out, control):
        each.free()


def test_loops_do_not_depend_on_the_number_of_qpus(lab):
    lines = ["ldi r0, -, 0", "ldi r1, -, 100", "turn:", "sub.sf r1, r1, 1", "br.any_zc rel @turn"]
    lines += ["add r0, r0, r1", "nop", "nop"] + store("r0") + END
    out = lab.device.alloc(12 * 64)
    for count in (1, 12):
        out.array(np.uint32, (12, 16))[:] = 0
        lab.run(lines, [store_uniforms(out.bus_address + 64 * q, q) for q in range(count)])
        assert (out.array(np.uint32, (12, 16))[:count] == sum(range(100))).all()
    out.free()


@pytest.mark.parametrize("line", ["br.always abs 0 + ra5", "br.always rel 0 + ra5"])
def test_a_branch_by_a_register_that_was_never_set_says_so(lab, line):
    lines = [line, "nop", "nop", "nop", *END]
    if "abs" in line:
        with pytest.raises(EmulatorFault, match="went by ra5, which has not been set"):
            lab.run(lines)
    set_wrong = ["ldi ra5, -, 0x40000", "nop", *lines]
    with pytest.raises(EmulatorFault, match="outside the loaded code") as info:
        lab.run(set_wrong)
    assert "ra5, which" not in str(info.value)
