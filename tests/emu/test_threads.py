"""Two threads on a QPU: what they share, what each has of its own (guide, p. 20-21, 39)."""

from __future__ import annotations

import re

import numpy as np
import pytest
from harness import END, assemble, patterns_1d, store, store_uniforms

from piblas.emu.debugger import Debugger
from piblas.errors import DeviceError, DeviceTimeout, EmulatorFault

SWITCH = ["nop; thrsw", "nop", "nop"]
LAST = ["nop; lthrsw", "nop", "nop"]


def run(lab, lines, streams, **options):
    program = lab.device.load(np.array(assemble(lines), np.uint64))
    try:
        uniforms = [patterns_1d(stream) for stream in streams]
        return lab.device.execute(program, uniforms, timeout=0.1, threads=2, **options)
    finally:
        program.free()


@pytest.fixture
def out(both):
    buffer = both.device.alloc(64 * 64)
    buffer.array(np.uint32)[:] = 0
    buffer.clean()
    yield buffer
    buffer.free()


def rows(out, count):
    out.invalidate()
    return out.array(np.uint32, (64, 16))[:count].copy()


def streams(out, count, *words):
    """For each thread: its number, the words, and three uniforms of a store into a row."""
    at = out.bus_address
    return [[n, *words, *store_uniforms(at + 64 * n, n)] for n in range(count)]


def test_each_thread_has_registers_of_its_own(both, out):
    lines = ["mov ra3, unif", "ldi r0, -, 100", "add rb5, r0, ra3", *SWITCH]
    lines += ["mov r1, ra3", "add r0, r1, rb5", *store("r0"), *LAST, *END]
    run(both, lines, streams(out, 6))
    assert (rows(out, 6) == 100 + 2 * np.arange(6)[:, None]).all()


def test_the_second_thread_begins_at_the_first_switch(both, out):
    # Each stores its number into one place, switches, and stores it into a place of its own.
    lines = ["mov ra0, unif", "nop", *store("ra0"), *SWITCH, *store("ra0"), *END]
    at = out.bus_address
    cell = store_uniforms(at, 0)
    first = [1, *cell, *store_uniforms(at + 64, 1)]
    second = [2, *cell, *store_uniforms(at + 128, 2)]
    run(both, lines, [first, second])
    assert rows(out, 3)[:, 0].tolist() == [2, 1, 2]


def test_two_delay_slots_belong_to_the_thread_that_switches(both, out):
    lines = ["mov ra0, unif", "nop; thrsw", "mov ra1, 5", "mov ra2, 6", "mov ra3, 7"]
    lines += ["nop", "add r0, ra1, 0", "add r0, r0, ra2", "add r0, r0, ra3", *store("r0"), *END]
    run(both, lines, streams(out, 2))
    assert (rows(out, 2) == 18).all()


def test_register_halves_are_those_of_the_other_thread(both, out):
    """Physical bit 4 is inverted for the second thread: its ra1 is the first one's ra17."""
    lines = ["mov ra0, unif", "ldi r1, -, 40", "add ra1, r1, ra0", *SWITCH]
    lines += ["nop", "mov r2, ra17", *store("r2"), *END]
    if both.device.machine._state.G[1]:  # strict
        with pytest.raises(EmulatorFault, match="reads a register that the other thread wrote"):
            run(both, lines, streams(out, 2))
    else:
        run(both, lines, streams(out, 2))
        assert rows(out, 2)[:, 0].tolist() == [41, 40]


def test_the_upper_half_does_as_well(both, out):
    lines = ["mov ra19, unif", "nop", "add rb25, ra19, 7", *SWITCH, "mov r0, rb25", *store("r0")]
    run(both, lines + END, streams(out, 4))
    assert (rows(out, 4) == 7 + np.arange(4)[:, None]).all()


@pytest.mark.parametrize("lost", ["mov r3, r1", "mov.zs ra5, 1", "mov r3, r5", "mov r3, r4"])
def test_accumulators_and_flags_are_lost(lab, lost):
    lines = ["mov r1, 7", "mov r5rep, 7", "sub.sf r2, r1, r1", *SWITCH, lost, *END]
    with pytest.raises(EmulatorFault, match="that a thread switch has lost") as caught:
        run(lab, lines, [[0], [0]])
    # The first thread gets there first, when the second has gone through its own switch.
    assert (caught.value.qpu, caught.value.thread, caught.value.pc) == (0, 0, 6)


def test_accumulators_and_flags_hold_what_the_other_thread_left(loose):
    out = loose.device.alloc(128)
    lines = ["mov ra0, unif", "nop", "mov r1, ra0", *SWITCH, "mov ra1, r1", "nop"]
    lines += [*store("ra1"), *END]
    run(loose, lines, streams(out, 2))
    # Thread 1 ran last before thread 0 goes on, and again before it goes on itself.
    assert out.array(np.uint32, (2, 16))[:, 0].tolist() == [1, 1]
    out.free()


def test_a_file_register_is_late_for_the_next_word_of_either_thread(lab):
    """The last delay slot writes ra1; the other thread's next word must not read it as ra17."""
    lines = ["nop; thrsw", "nop", "mov ra1, 5", "mov r0, ra1", *END]
    run(lab, lines, [[0], [0]])  # its own ra1 is another register
    loose = ["ldi ra17, -, 3", "nop; thrsw", "nop", "ldi ra1, -, 5", "mov r0, ra17", "nop", *END]
    with pytest.raises(EmulatorFault, match="register that the previous instruction writes"):
        run(lab, loose, [[0], [0]])


def test_each_thread_has_uniforms_of_its_own(both, out):
    lines = ["mov ra0, unif", *SWITCH, "mov ra1, unif", *SWITCH, "mov r0, unif", "nop"]
    lines += ["add r0, r0, ra0", "add r0, r0, ra1", *store("r0"), *END]
    at = out.bus_address
    run(
        both,
        lines,
        [[1, 2, 3, *store_uniforms(at, 0)], [10, 20, 30, *store_uniforms(at + 64, 1)]],
    )
    assert rows(out, 2)[:, 0].tolist() == [6, 60]


def test_a_thread_that_is_alone_goes_on_itself(both, out):
    lines = ["mov.sf ra0, unif", "br.all_zs rel @end", "nop", "nop", "nop"]
    lines += [*SWITCH, *SWITCH, *store("ra0"), "end:", *END]
    at = out.bus_address
    run(both, lines, [[7, *store_uniforms(at, 0)], [0]])
    assert rows(out, 1)[0, 0] == 7


def test_the_other_thread_goes_on_where_a_program_ends(both, out):
    """No switch at all: the second thread's program follows the first one's."""
    lines = ["mov r0, unif", *store("r0"), *END]
    report = run(both, lines, streams(out, 24))
    assert rows(out, 24)[:, 0].tolist() == list(range(24))
    assert report.n_qpus == 12 and report.instructions == 24 * len(lines)


def test_branches_and_links_stay_with_their_thread(both, out):
    lines = ["mov rb0, unif", "ldi ra2, -, 0", "ldi ra3, -, 3", "turn:", "add ra2, ra2, rb0"]
    lines += [*SWITCH, "sub.sf ra3, ra3, 1", "br.any_zc rel @turn", "nop", "nop", "nop"]
    lines += [*store("ra2"), *END]
    run(both, lines, streams(out, 4))
    assert rows(out, 4)[:, 0].tolist() == [0, 3, 6, 9]


@pytest.fixture
def table(lab):
    buffer = lab.device.alloc(4096)
    buffer.array(np.uint32)[:] = np.arange(1024)
    buffer.clean()
    yield buffer
    buffer.free()


ADDRESS = ["mov r0, unif", "mov r1, elem_num", "shl r1, r1, 2", "add r0, r0, r1"]


def test_results_come_in_the_order_of_both_threads_requests(lab, table):
    out = lab.device.alloc(256)
    lines = [*ADDRESS, "mov t0s, r0", *SWITCH, "nop; ldtmu0", "mov ra1, r4", "nop", *store("ra1")]
    at = out.bus_address
    rows = [[table.bus_address + 512 * n, *store_uniforms(at + 64 * n, n)] for n in range(4)]
    run(lab, lines + END, rows)
    got = out.array(np.uint32, (4, 16))
    assert (got == 128 * np.arange(4)[:, None] + np.arange(16)).all()
    out.free()


def test_results_of_an_earlier_section_must_be_taken_before_the_next_switch(lab, table):
    """Thread 0 leaves one behind, so that thread 1 meets it in front of its own."""
    take = ["nop; ldtmu0", "nop"]
    lines = [*ADDRESS, "mov t0s, r0", "mov t0s, r0", *SWITCH, *take, *SWITCH, *take, *END]
    with pytest.raises(EmulatorFault, match="takes a result that the other thread requested"):
        run(lab, lines, [[table.bus_address]] * 2)


@pytest.mark.parametrize("count, fits", [(4, True), (5, False)])
def test_each_thread_has_half_of_the_queue(lab, table, count, fits):
    lines = [*ADDRESS, *["mov t1s, r0"] * count, *SWITCH, *["nop; ldtmu1"] * count, *END]
    if fits:
        run(lab, lines, [[table.bus_address]] * 2)
        return
    with pytest.raises(EmulatorFault, match="more than its half of the queue"):
        run(lab, lines, [[table.bus_address]] * 2)


def test_a_thread_ends_with_all_of_its_results_taken(lab, table):
    lines = [*ADDRESS, "mov t0s, r0", *END]
    with pytest.raises(EmulatorFault, match="program ends with TMU results not taken"):
        run(lab, lines, [[table.bus_address]] * 2)


def test_no_switch_follows_the_last_one(lab):
    with pytest.raises(EmulatorFault, match="a thread switch behind the last one"):
        run(lab, [*LAST, *SWITCH, *END], [[0], [0]])


def test_a_thread_waits_for_itself_not_for_a_switch(lab):
    """The mutex belongs to the QPU: a thread that holds it blocks the other."""
    lines = ["mov -, mutex", *SWITCH, "mov mutex, 0", *END]
    with pytest.raises(DeviceTimeout, match="every QPU waits") as caught:
        run(lab, lines, [[0], [0]])
    assert "QPU 0, thread 1, pc 0 [" in caught.value.details


@pytest.mark.parametrize("timing", ["off", "calibrated"])
@pytest.mark.parametrize("incoherent", [False, True])
def test_a_program_of_two_threads_in_every_mode(timing, incoherent):
    from piblas.driver import Emulator

    with Emulator(memory=1 << 20, timing=timing, incoherent=incoherent, seed=3) as device:
        data, out = device.alloc(4096), device.alloc(4096)
        data.array(np.uint32)[:] = np.arange(1024) * 3
        data.clean()
        lines = ["mov ra0, unif", "mov r0, elem_num", "shl r0, r0, 2", "add ra0, ra0, r0"]
        lines += ["ldi ra1, -, 4", "ldi -, rb1, 0", "ldi -, rb2, 64", "turn:", "mov t0s, ra0"]
        lines += [*SWITCH, "nop; ldtmu0", "add rb1, rb1, r4", "add ra0, ra0, rb2"]
        lines += ["sub.sf ra1, ra1, 1", "br.any_zc rel @turn", "nop", "nop", "nop"]
        lines += [*LAST, *store("rb1"), *END]
        at = out.bus_address
        uniforms = [[data.bus_address + 256 * n, *store_uniforms(at + 64 * n, n)] for n in range(8)]
        program = device.load(np.array(assemble(lines), np.uint64))
        report = device.execute(program, uniforms, threads=2)
        out.invalidate()
        want = (np.arange(512) * 3).reshape(8, 4, 16).sum(axis=1)
        assert np.array_equal(out.array(np.uint32, (64, 16))[:8], want)
        if timing != "off":
            assert sum(report.stalls.values()) == report.cycles * report.n_qpus


def test_the_list_of_launches_may_hold_two_threads_for_a_qpu(both, out):
    lines = ["mov r0, unif", *store("r0"), *END]
    device = both.device
    program = device.load(np.array(assemble(lines), np.uint64))
    control = device.alloc(4096)
    words = control.array(np.uint32)
    for n, stream in enumerate(streams(out, 4)):
        words[100 + 8 * n : 104 + 8 * n] = stream
        words[2 * n : 2 * n + 2] = control.bus_address + 4 * (100 + 8 * n), program.bus_address
    control.clean()
    assert device.execute_list(control.bus_address, 4, threads=2).n_qpus == 2
    assert rows(out, 4)[:, 0].tolist() == [0, 1, 2, 3]
    program.free()
    control.free()


def test_wrong_numbers_of_threads(lab):
    program = lab.device.load(np.array(assemble(END), np.uint64))
    for count, threads, message in (
        (2, 3, "threads = 3: a QPU has 1 or 2"),
        (3, 2, "uniforms for 3 threads: two threads for each QPU take an even number"),
        (26, 2, "uniforms for 26 threads: this device has 1 to 12 QPUs"),
    ):
        with pytest.raises(DeviceError, match=re.escape(message)):
            lab.device.execute(program, [[0]] * count, threads=threads)
    program.free()


def test_the_debugger_and_the_trace_tell_the_threads_apart(lab):
    lines = ["mov ra0, unif", "nop; thrsw", "nop", "mov ra1, 7", "mov r0, ra0", *END]
    words = np.array(assemble(lines), np.uint64)
    told = []
    with Debugger(lab.device, words, [[5], [6]], threads=2, trace=told.append) as debugger:
        assert debugger.thread(0) == 0
        debugger.step(0, 4)
        assert (debugger.thread(0), debugger.pc(0)) == (1, 0)
        debugger.step(0, 4)
        assert (debugger.thread(0), debugger.pc(0)) == (0, 4)
        assert (debugger.registers(0)["ra0"] == 5).all()
        assert (debugger.registers(0)["ra16"] == 6).all()
        debugger.run()
    assert told[3].startswith("QPU  0.0  pc    3  mov ra1, 7") and told[3].endswith("-> ra1=7")
    assert told[4].startswith("QPU  0.1  pc    0  mov ra0, unif") and "ra0=6" in told[4]
