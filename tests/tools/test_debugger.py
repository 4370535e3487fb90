"""Stepping through programs on the emulator's own state."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.driver import Emulator
from piblas.emu.debugger import Debugger, Stop
from piblas.errors import DeviceError, DeviceTimeout, EmulatorFault
from piblas.isa.source import assemble

from .helpers import END, PROGRAMS, words_of

COUNTDOWN = (
    """
    mov ra0, unif
    mov r0, 0
loop:
    add r0, r0, ra0
    sub.sf ra0, ra0, 1
    br.any_zc rel loop
    nop
    nop
    nop
"""
    + END
)
LABELS = assemble(COUNTDOWN).labels


@pytest.fixture
def countdown(device):
    with Debugger(device, words_of(COUNTDOWN), [[3]], labels=LABELS) as debugger:
        yield debugger


@pytest.fixture
def copy(device):
    """The copy program with room for four vectors."""
    source = assemble((PROGRAMS / "copy.qasm").read_text())
    buffers = [device.alloc(256), device.alloc(256)]
    buffers[0].array(np.float32)[:] = np.arange(64)
    buffers[1].array(np.float32)[:] = -1
    yield source, buffers
    for buffer in buffers:
        buffer.free()


# --- stepping -----------------------------------------------------------------------------------


def test_step_shows_registers_flags_and_pc(countdown):
    assert (countdown.pc(0), countdown.instruction(0)) == (0, "mov ra0, unif")
    stop = countdown.step(0, 2)
    assert stop == Stop("step", 0, 2, "add r0, r0, ra0")
    assert (countdown.registers(0)["ra0"] == 3).all()
    countdown.step(0)
    assert countdown.registers(0)["r0"].tolist() == [3] * 16
    countdown.step(0)
    assert not countdown.flags(0)["z"].any() and set(countdown.flags(0)) == {"z", "n", "c"}
    countdown.step(0, 3)
    assert countdown.pc(0) == 7 and countdown.running(0)
    assert countdown.step() == Stop("step") and countdown.pc(0) == LABELS["loop"]
    assert countdown.counters()[0]["instructions"] == 8


def test_step_to_the_end(countdown):
    assert countdown.step(0, 1000) == Stop("end", 0, countdown.pc(0), countdown.instruction(0))
    assert not countdown.running(0)
    assert countdown.step() == countdown.step(n=5) == Stop("end")
    assert countdown.registers(0)["r0"].tolist() == [6] * 16
    assert countdown.whereabouts() == ""


def test_stepping_does_what_running_does(device, copy):
    source, (a, b) = copy
    streams = [[a.bus_address + 64 * q, b.bus_address + 64 * q, 1] for q in range(4)]
    program = device.load(np.array(source.words, np.uint64))
    report = device.execute(program, streams)
    expected = b.array(np.uint32).copy()
    b.array(np.uint32)[:] = 0
    with Debugger(device, program, streams) as debugger:
        assert debugger.run() == Stop("end")
        assert debugger.counters() == report.per_qpu
    program.free()
    np.testing.assert_array_equal(b.array(np.uint32), expected)
    np.testing.assert_array_equal(b.array(np.float32), np.arange(64))


def test_finish_goes_on_at_full_speed(countdown):
    countdown.step(0, 5)
    countdown.finish()
    assert not countdown.running(0) and (countdown.registers(0)["r0"] == 6).all()
    assert countdown.run() == Stop("end")


def test_uniforms_and_programs_by_address(device, copy):
    source, (a, b) = copy
    program = device.load(np.array(source.words, np.uint64))
    stream = device.alloc(12)
    stream.array(np.uint32)[:] = a.bus_address, b.bus_address, 2
    with Debugger(device, program.bus_address, [stream.bus_address]) as debugger:
        assert debugger.n_words is None
        assert debugger.run() == Stop("end")
        assert (debugger.memory(b.bus_address, 32).view(np.float32) == np.arange(32)).all()
    stream.free()
    program.free()


def test_caches_apart_from_memory():
    """Memory is what the chip sees: the CPU's view follows when it is invalidated."""
    source = assemble((PROGRAMS / "copy.qasm").read_text())
    with Emulator(memory=1 << 20, incoherent=True) as device:
        a, b = device.alloc(128), device.alloc(128)
        a.array(np.float32)[:] = np.arange(32)
        a.clean()
        streams = [[a.bus_address, b.bus_address, 2]]
        with Debugger(device, np.array(source.words, np.uint64), streams) as debugger:
            debugger.watch(b)
            assert [debugger.run().reason for _ in range(3)] == ["watch", "watch", "end"]
            assert (debugger.memory(b.bus_address, 32).view(np.float32) == np.arange(32)).all()
        assert not b.array(np.float32).any()
        b.invalidate()
        assert (b.array(np.float32) == np.arange(32)).all()


# --- stops --------------------------------------------------------------------------------------


def test_breakpoints(countdown):
    assert countdown.break_at("loop") == 2
    for value in (3, 2, 1):
        assert countdown.run() == Stop("breakpoint", 0, 2, "add r0, r0, ra0")
        assert (countdown.registers(0)["ra0"] == value).all()
    assert countdown.run() == Stop("end")
    countdown.clear("loop")
    with pytest.raises(DeviceError, match="there is no breakpoint at loop"):
        countdown.clear("loop")


def test_breakpoint_on_one_qpu(device):
    with Debugger(device, words_of(COUNTDOWN), [[2], [2]], labels=LABELS) as debugger:
        debugger.break_at(3, qpu=1)
        stops = [debugger.run() for _ in range(3)]
        assert [(stop.reason, stop.qpu) for stop in stops] == [
            ("breakpoint", 1),
            ("breakpoint", 1),
            ("end", None),
        ]


def test_every_qpu_stops_at_a_breakpoint(device):
    with Debugger(device, words_of(COUNTDOWN), [[1]] * 3) as debugger:
        debugger.break_at(2)
        assert [debugger.run().qpu for _ in range(4)] == [0, 1, 2, None]


def test_run_until(countdown):
    assert countdown.run(until=4).instruction == "br.any_zc rel -48"
    assert countdown.run(until="loop").pc == 2
    stop = countdown.run(until=lambda debugger: debugger.registers(0)["r0"][0] == 6)
    assert stop.reason == "until" and (countdown.registers(0)["ra0"] == 1).all()
    assert countdown.run(until=2) == Stop("end")


def test_breakpoint_signal(device):
    words = words_of("mov r0, 1; bkpt".replace("1;", "r1;") + "\nmov r0, elem_num" + END)
    with Debugger(device, words, [[]]) as debugger:
        assert debugger.run() == Stop("bkpt", 0, 0, "mov r0, r1; bkpt")
        assert debugger.run() == Stop("end")
        assert (debugger.registers(0)["r0"] == np.arange(16)).all()
    with pytest.raises(EmulatorFault, match="no debugger is attached"):
        program = device.load(words)
        try:
            device.execute(program, [[]])
        finally:
            program.free()


def test_watch_stops_where_memory_changes(device, copy):
    source, (a, b) = copy
    streams = [[a.bus_address, b.bus_address, 4]]
    with Debugger(device, np.array(source.words, np.uint64), streams) as debugger:
        debugger.watch(b.bus_address + 130, 8)  # two words and a bit of the third vector
        stop = debugger.run()
        assert stop.reason == "watch" and stop.pc == 21
        assert stop.detail == (
            f"{b.bus_address + 128:#010x}: 0xbf800000 becomes 0x42000000 and 2 more words "
            "(store started by QPU 0, pc 19 [mov vdw_addr, rb1])"
        )
        assert debugger.memory(b.bus_address, 64).view(np.float32)[32:].tolist() == [
            *range(32, 48),
            *[-1] * 16,
        ]
        assert debugger.run() == Stop("end")


def test_watch_while_stepping(device, copy):
    source, (a, b) = copy
    for qpu in (0, None):
        b.array(np.float32)[:] = -1
        streams = [[a.bus_address, b.bus_address, 1]]
        with Debugger(device, np.array(source.words, np.uint64), streams) as debugger:
            debugger.watch(b)
            assert debugger.step(qpu, 1000).reason == "watch"
            debugger.clear()
            assert debugger.step(qpu, 1000).reason == "end"


def test_where(countdown):
    countdown.break_at(3)
    countdown.step(0, 4)
    assert countdown.where(0, before=2, after=1).splitlines() == [
        "loop:",
        "       2  add r0, r0, ra0",
        "  *    3  sub.sf ra0, ra0, 1",
        "->     4  br.any_zc rel -48",
        "       5  nop",
    ]
    assert len(countdown.where(0, before=0, after=100).splitlines()) == len(words_of(COUNTDOWN)) - 4


# --- waiting, faults, time ----------------------------------------------------------------------


def test_a_qpu_that_waits(device):
    text = "nop\nsema_down 3\nnop" + END
    with Debugger(device, words_of(text), [[]]) as debugger:
        assert debugger.step(0, 5) == Stop(
            "waits", 0, 1, "sema_down 3", "waits for a semaphore at 0"
        )
        for go_on in (debugger.run, debugger.step, debugger.finish):
            with pytest.raises(
                DeviceTimeout, match="every QPU waits for another one\nQPU 0, pc 1 .*at 0"
            ):
                go_on()


def test_qpus_that_wait_for_each_other(device):
    """QPU 1 goes on when QPU 0 has released it, in any order of turns."""
    text = (
        """
    mov.sf -, unif
    br.all_zc rel second
    nop
    nop
    nop
    nop
    nop
    sema_up 5
    br.always rel end
    nop
    nop
    nop
second:
    sema_down 5
end:
    nop"""
        + END
    )
    with Debugger(device, words_of(text), [[0], [1]]) as debugger:
        assert debugger.run() == Stop("end")
    with Debugger(device, words_of(text), [[1], [0]]) as debugger:
        assert debugger.step(0, 100).reason == "waits"
        assert debugger.step(1, 100).reason == "end"
        assert debugger.step(0, 100).reason == "end"


def test_a_fault_leaves_the_state_to_look_at(device, copy):
    source, (a, b) = copy
    streams = [[a.bus_address, b.bus_address, 5]]
    with Debugger(device, np.array(source.words, np.uint64), streams) as debugger:
        with pytest.raises(EmulatorFault, match="tmu: reads outside the buffers") as fault:
            debugger.run()
        assert (fault.value.qpu, fault.value.pc) == (0, 13) == (0, debugger.pc(0))
        assert fault.value.address == a.bus_address + 256
        assert (debugger.registers(0)["ra2"] == 1).all()
    assert device.execute(*_trivial(device)).instructions == 5


def _trivial(device):
    return device.load(words_of(END)), [[]]


def test_endless_loop(device):
    words = words_of("x: br.always rel x\nnop\nnop\nnop" + END)
    with Debugger(device, words, [[]], timeout=1e-5) as debugger:
        for go_on in (debugger.run, lambda: debugger.step(0, 10_000), debugger.finish):
            with pytest.raises(DeviceTimeout, match="no end after 1e-05 s of the chip's time\nQPU"):
                go_on()
        assert debugger.counters()[0]["instructions"] == 625


# --- misuse -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda debugger: debugger.step(1), "QPU 1: this launch has 1"),
        (lambda debugger: debugger.registers(-1), "QPU -1: this launch has 1"),
        (lambda debugger: debugger.break_at(99), "there is no word 99 in a program of 13"),
        (lambda debugger: debugger.break_at("x"), "there is no label 'x'"),
        (lambda debugger: debugger.run(until="x"), "there is no label 'x'"),
        (lambda debugger: debugger.watch(0xC4001000), "watch a buffer, or a bus address and"),
        (lambda debugger: debugger.watch(64, 4), "1 words at 0x00000040 are outside"),
        (lambda debugger: debugger.memory(64, 2), "2 words at 0x00000040 are outside"),
    ],
)
def test_misuse(countdown, wrong, message):
    with pytest.raises(DeviceError, match=message):
        wrong(countdown)
    assert countdown.run() == Stop("end")


def test_another_launch_ends_it(device, countdown):
    countdown.step(0)
    device.execute(*_trivial(device))
    with pytest.raises(DeviceError, match="was used for another launch while this one"):
        countdown.step(0)


def test_closed(device):
    debugger = Debugger(device, words_of(COUNTDOWN), [[3]])
    debugger.step(0)
    debugger.close()
    debugger.close()
    with pytest.raises(DeviceError, match="this debugger was closed"):
        debugger.step(0)
    assert device.machine.debugger is None
    assert not device.machine.running(0)


def test_wrong_uniforms_leave_nothing_behind(device):
    with pytest.raises(DeviceError, match="'x' is no 32-bit word"):
        Debugger(device, words_of(COUNTDOWN), [[1], ["x"]])
    assert device.machine.debugger is None


def test_emulator_only():
    with pytest.raises(DeviceError, match="runs programs on the emulator only"):
        Debugger(object(), [0], [[]])
