"""The emulator as a device: buffers, programs, launches, errors."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys
import threading

import numpy as np
import pytest

pytest.importorskip("numba")

from numba.core import event

from piblas.codegen import Assembler
from piblas.driver import Emulator
from piblas.emu import machine as machine_module
from piblas.errors import DeviceError, EmulatorFault, OutOfDeviceMemory
from piblas.isa.instr import encode
from piblas.isa.parse import parse
from piblas.isa.source import assemble
from piblas.isa.timing import timing_set

END = ["nop; thrend", "nop", "nop"]
COPY = [
    "mov t0s, unif",
    "mov -, mutex",
    "ldi -, vpm_wr_setup, 0x00001a00",
    "nop; ldtmu0",
    "mov vpm, r4",
    "ldi -, vpm_wr_setup, 0x80904000",
    "ldi -, vpm_wr_setup, 0xc0000000",
    "mov vdw_addr, unif",
    "mov -, vdw_wait",
    "mov mutex, 0",
    *END,
]
"""Spreads the word at the first uniform's address over 64 bytes at the second's."""


def words(lines):
    return [encode(parse(line)) for line in lines]


@pytest.fixture
def device():
    with Emulator(memory=1 << 20) as dev:
        yield dev


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n_qpus": 0}, "n_qpus = 0: a VideoCore IV has 1 to 12"),
        ({"n_qpus": 13}, "n_qpus = 13"),
        ({"timing": "fast"}, "timing = 'fast': choose one of off, pessimistic"),
        ({"memory": 4096}, "memory = 4096: choose 8192 to"),
        ({"memory": 1 << 30}, "memory = 1073741824"),
        ({"clock_hz": 0}, "clock_hz = 0 is no frequency"),
        ({"quantum": 0}, "quantum = 0"),
        ({"timing": 3}, "timing = 3 is neither a name nor a Timing"),
        ({"seed": -1}, "seed = -1"),
    ],
)
def test_options(options, message):
    with pytest.raises(DeviceError, match=message):
        Emulator(**options)


def test_without_a_clock_no_number_is_invented():
    with Emulator(memory=1 << 20, timing="off") as dev:
        report = dev.execute(dev.load(words(END)), [[]])
    assert report.instructions == 3
    assert (report.cycles, report.seconds, report.stalls, report.timing) == (None,) * 4
    assert report.counters is None


@pytest.mark.parametrize("timing", ["pessimistic", "calibrated", timing_set("optimistic")])
def test_a_timing_set_gives_cycles(timing):
    with Emulator(memory=1 << 20, timing=timing, clock_hz=400e6) as dev:
        report = dev.execute(dev.load(words(END)), [[]])
    assert report.cycles >= 12 and report.seconds == report.cycles / 400e6
    assert sum(report.stalls.values()) == report.cycles
    assert report.timing == (timing_set(timing) if isinstance(timing, str) else timing)


def test_without_numba(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "piblas.emu.machine", None)
    with pytest.raises(DeviceError, match=r"emulator needs numba .* pip install '\.\[emulator\]'"):
        Emulator()


def test_views_of_a_buffer(device):
    buf = device.alloc(100)
    assert buf.bus_address % 4096 == 0 and buf.bus_address >> 30 == 3
    assert buf.nbytes == 100
    whole = buf.array(np.uint8)
    whole[:] = np.arange(100)
    assert buf.array(np.uint32).shape == (25,)
    part = buf.array("<u2", (2, 3), offset=10)
    assert part.tolist() == [[10 | 11 << 8, 12 | 13 << 8, 14 | 15 << 8],
                             [16 | 17 << 8, 18 | 19 << 8, 20 | 21 << 8]]  # fmt: skip
    fortran = buf.array(np.uint8, (2, 3), order="F")
    assert fortran.tolist() == [[0, 2, 4], [1, 3, 5]]
    fortran[1, 2] = 77
    assert whole[5] == 77
    assert buf.array(np.float32, (0, 7), offset=100).size == 0
    for bad in (dict(shape=26), dict(shape=25, offset=1), dict(shape=-1), dict(offset=-4)):
        with pytest.raises(DeviceError, match="does not fit a buffer of 100 bytes"):
            buf.array(np.uint32, **bad)


def test_a_freed_buffer_is_of_no_use(device):
    buf = device.alloc(64)
    buf.free()
    buf.free()
    for use in (lambda: buf.bus_address, lambda: buf.array("u1"), buf.clean, buf.invalidate):
        with pytest.raises(DeviceError, match="this buffer was freed"):
            use()


def test_a_closed_device_is_of_no_use():
    dev = Emulator(memory=1 << 20)
    buf = dev.alloc(64)
    program = dev.load(words(END))
    dev.close()
    dev.close()
    for use in (
        lambda: dev.alloc(4),
        lambda: dev.load(words(END)),
        lambda: dev.execute(program, [[]]),
        lambda: dev.execute_list(0, 1),
        dev.clear_caches,
        lambda: buf.array("u1"),
    ):
        with pytest.raises(DeviceError, match="this device was closed"):
            use()
    buf.free()


def test_load_takes_what_the_assemblers_return(device):
    asm = Assembler("tiny")
    asm.mov(asm.host_int, 1)
    asm.end()
    for program in (asm.finish(), assemble("mov host_int, 1\nnop; thrend\nnop\nnop")):
        loaded = device.load(program)
        assert loaded.n_words == len(program.words)
        assert device.execute(loaded, [[]]).interrupts == (0,)


@pytest.mark.parametrize("program", ["mov r0, r1", [1, "nop"], [1 << 64], [-1], object(), None])
def test_load_refuses_what_is_no_program(device, program):
    with pytest.raises(DeviceError, match="is no sequence of 64-bit words|a program is a sequence"):
        device.load(program)


def test_memory_runs_out_with_sizes_in_the_message(device):
    with pytest.raises(DeviceError, match="a buffer of 0 bytes"):
        device.alloc(0)
    with pytest.raises(OutOfDeviceMemory, match="no room for 1048576 bytes: 10444"):
        device.alloc(1 << 20)
    first = device.alloc(500_000)
    second = device.alloc(500_000)
    with pytest.raises(OutOfDeviceMemory, match="no room for 50000 bytes"):
        device.alloc(50_000)
    first.free()
    assert device.alloc(500_000).bus_address < second.bus_address


def test_fresh_memory_is_zero_even_where_somebody_was(device):
    buf = device.alloc(8192)
    address = buf.bus_address
    buf.array("u1")[:] = 1
    buf.free()
    again = device.alloc(8192)
    assert again.bus_address == address
    assert not again.array("u1").any()


def test_launch_arguments(device):
    program = device.load(words(END))
    for streams in ([], [[]] * 13):
        with pytest.raises(DeviceError, match=f"uniforms for {len(streams)} QPUs"):
            device.execute(program, streams)
    with pytest.raises(DeviceError, match="timeout = 0: a launch needs more than 0 seconds"):
        device.execute(program, [[]], timeout=0)
    with pytest.raises(DeviceError, match="a list of 0 launches"):
        device.execute_list(0xC4001000, 0)
    with pytest.raises(DeviceError, match="the list of launches at 0x00001000 is outside"):
        device.execute_list(0x1000, 1)


def test_uniforms_from_arrays_lists_and_device_memory(device):
    source, out, stream = device.alloc(64), device.alloc(256), device.alloc(64)
    source.array(np.float32)[:] = 2.5
    program = device.load(words(COPY))
    assert program.n_words == len(COPY)
    pairs = [[source.bus_address, out.bus_address + 64 * q] for q in range(3)]
    stream.array(np.uint32)[:2] = pairs[2]
    device.execute(program, [pairs[0], np.array(pairs[1], np.uint32), stream.bus_address])
    assert out.array(np.float32, 48).tolist() == [2.5] * 48
    program.free()
    with pytest.raises(DeviceError, match="this buffer was freed"):
        device.execute(program, pairs)


def test_launch_by_the_firmwares_list(device):
    source, out, control = device.alloc(64), device.alloc(128), device.alloc(64)
    source.array(np.uint32)[:] = 11
    program = device.load(words(["mov host_int, 1", *COPY]))
    table = control.array(np.uint32)
    for q in range(2):
        table[2 * q : 2 * q + 2] = control.bus_address + 32 + 8 * q, program.bus_address
        table[8 + 2 * q : 10 + 2 * q] = source.bus_address, out.bus_address + 64 * q
    control.clean()
    report = device.execute_list(control.bus_address, 2)
    assert out.array(np.uint32).tolist() == [11] * 32
    assert report.interrupts == (0, 1)


def test_memory_survives_a_fault_and_the_device_goes_on(device):
    source, out = device.alloc(64), device.alloc(64)
    source.array(np.uint32)[:] = 3
    bad = device.load(words(["sema_up 4", "mov -, mutex", "mov t0s, 0", *END]))
    with pytest.raises(EmulatorFault, match=r"QPU 0, pc 2 \[mov t0s, 0\]: tmu: .* 0x00000000"):
        device.execute(bad, [[]])
    assert not device.machine.semaphores.any()
    device.execute(device.load(words(COPY)), [[source.bus_address, out.bus_address]])
    assert out.array(np.uint32).tolist() == [3] * 16


def test_semaphores_keep_their_counts(device):
    device.execute(device.load(words(["sema_up 4", "nop", *END])), [[], []])
    assert device.machine.semaphores.tolist() == [0, 0, 0, 0, 2] + [0] * 11


def test_threads_share_a_device(device):
    program = device.load(words(COPY))
    wrong = []

    def work(value):
        for _ in range(10):
            source, out = device.alloc(64), device.alloc(64)
            source.array(np.uint32)[:] = value
            device.execute(program, [[source.bus_address, out.bus_address]])
            if out.array(np.uint32).tolist() != [value] * 16:
                wrong.append(value)
            source.free()
            out.free()

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_interrupted_launch_leaves_the_device_usable(device, monkeypatch):
    real = machine_module.scheduler.run
    calls = []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(machine_module.scheduler, "run", interrupted)
    loop = device.load(words(["br.always rel -32", "nop", "nop", "nop"]))
    with pytest.raises(KeyboardInterrupt):
        device.execute(loop, [[]], timeout=1e6)
    report = device.execute(device.load(words(END)), [[]])
    assert report.instructions == 3


class _Compiled:
    """A stand-in for the compiled loop that "is compiled" at its first call."""

    def __init__(self, compiles):
        self.real, self.compiles = machine_module.scheduler.run, compiles

    def __call__(self, *args):
        if self.compiles:
            self.compiles = False
            with event.trigger_event("numba:compile", data={"dispatcher": self}):
                pass
        return self.real(*args)


@pytest.mark.parametrize("compiles", [True, False])
@pytest.mark.parametrize("listens", [True, False])
def test_compiling_is_announced_once_or_is_one_warning(monkeypatch, caplog, compiles, listens):
    lines = []
    monkeypatch.setattr(machine_module, "_prepared", False)
    monkeypatch.setattr(machine_module.scheduler, "run", _Compiled(compiles))
    machine_module.prepare(lines.append if listens else None)
    machine_module.prepare(lines.append if listens else None)
    told = ["compiling the emulator, once: a minute or two"] * compiles
    assert all(len(text) < 60 for text in told)  # with a spinner and the time it fits a terminal
    assert lines == (told if listens else [])
    warned = [(r.name, r.levelname, r.getMessage()) for r in caplog.records]
    assert warned == ([] if listens else [("piblas.emu", "WARNING", text) for text in told])


def child(lines, tmp_path, **environment):
    """What a fresh interpreter prints for a few lines of Python."""
    env = {**os.environ, **environment}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, env=env,
        cwd=tmp_path, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


# Stands for a file system without a place for compiled code.
READ_ONLY = [
    "import numba.core.caching as caching",
    "class Nowhere:",
    "    @classmethod",
    "    def from_function(cls, function, path):",
    "        return None",
    "old = getattr(caching, '_UserProvidedCacheLocator', None)",
    "Given = getattr(caching, 'UserProvidedCacheLocator', old)",
    "(getattr(caching, '_CacheImpl', None) or caching.CacheImpl)._locator_classes = [%s]",
    "from piblas.emu import scheduler",
    "print(scheduler.kept_in())",
]


def test_code_is_kept_in_the_temporary_directory_for_want_of_another(tmp_path):
    lines = list(READ_ONLY)
    lines[7] %= "Given"
    out, err = child(lines, tmp_path, TMPDIR=str(tmp_path), NUMBA_CACHE_DIR="")
    place = pathlib.Path(out.strip())
    assert place.parent == tmp_path / f"piblas-{os.getuid()}" and err == ""
    assert place.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("what", ["no locator", "somebody else's"])
def test_without_any_place_the_emulator_is_compiled_each_time(tmp_path, what):
    lines = list(READ_ONLY)
    lines[7] %= "Nowhere" if what == "no locator" else "Given"
    if what != "no locator":  # others could put code there
        (tmp_path / f"piblas-{os.getuid()}").mkdir(mode=0o777)
        (tmp_path / f"piblas-{os.getuid()}").chmod(0o777)
    out, err = child(lines, tmp_path, TMPDIR=str(tmp_path), NUMBA_CACHE_DIR="")
    assert out.strip() == "None" and len(err.splitlines()) == 1
    assert "set NUMBA_CACHE_DIR to a directory that can be written to" in err


def test_whole_floats_are_sizes():
    with Emulator(memory=1e6, n_qpus=np.float32(3)) as dev:
        assert dev.n_qpus == 3
        dev.alloc(900_000)
    for options in ({"memory": 1e6 + 0.5}, {"memory": "1M"}, {"n_qpus": None}, {"seed": 1.5}):
        ((name, value),) = options.items()
        with pytest.raises(TypeError, match=re.escape(f"{name} = {value!r}: give a whole number")):
            Emulator(**options)


def test_rules_can_be_switched_off_one_by_one():
    lines = words(["mov.zs r0, r1", "mov r0, none", *END])
    with Emulator(memory=1 << 20) as dev:
        with pytest.raises(EmulatorFault) as info:
            dev.execute(dev.load(lines), [[]])
    assert info.value.rule == "flags-unset"
    with Emulator(memory=1 << 20, keep_going=["flags-unset"]) as dev:
        with pytest.raises(EmulatorFault) as info:
            dev.execute(dev.load(lines), [[]])
    assert (info.value.rule, info.value.pc) == ("undefined-read", 1)
    with Emulator(memory=1 << 20, keep_going=["undefined-read", "flags-unset"]) as dev:
        assert dev.execute(dev.load(lines), [[]]).instructions == 5
    with pytest.raises(DeviceError, match="keep_going = 'flags': choose from .*flags-unset"):
        Emulator(memory=1 << 20, keep_going="flags")


def test_a_launch_can_be_watched_and_stopped(device):
    loop = device.load(words(["br.always rel -32", "nop", "nop", "nop"]))
    seen = []

    def watch(instructions):
        seen.append(instructions)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        device.execute(loop, [[]], timeout=1e6, watch=watch)
    assert 0 < seen[0] < seen[1] < seen[2]
    assert device.execute(device.load(words(END)), [[]]).instructions == 3


# --- forks --------------------------------------------------------------------------------------

FORK = """
import os, sys, threading, time
import numpy as np
import piblas
from piblas.driver import Emulator
from piblas.errors import DeviceError

def in_child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", flush=True)
            os._exit(1)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status) if hasattr(os, "waitstatus_to_exitcode") else (
                os.WEXITSTATUS(status))
        time.sleep(0.02)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return "hangs"
"""


def test_the_child_of_a_fork_has_a_copy_of_an_idle_device(tmp_path):
    lines = FORK + """
device = Emulator(memory=1 << 22)
with piblas.use(device):
    x = np.arange(64, dtype=np.float32)
    def work():
        assert piblas.sdot(x, x) == np.dot(x, x)
        device.alloc(64).free()
    work()
    print(in_child(work))
    work()
"""
    out, _ = child([lines], tmp_path)
    assert out == "0\n"


BUSY = """
def busy(device, until):
    loop = device.load([0xF0F809E7FFFFFFE0] + 3 * [0x100009E7009E7000])
    def watch(instructions):
        started.set()
        if until.is_set():
            raise KeyboardInterrupt
    started = threading.Event()
    def run():
        try:
            device.execute(loop, [[]], timeout=1e9, watch=watch)
        except KeyboardInterrupt:
            pass
    thread = threading.Thread(target=run)
    thread.start()
    started.wait()
    return thread
until = threading.Event()
"""


def test_the_child_of_a_fork_is_told_that_the_device_was_in_use(tmp_path):
    lines = FORK + BUSY + """
device = Emulator(memory=1 << 22)
buffer = device.alloc(64)
thread = busy(device, until)
print(in_child(lambda: device.alloc(64)))
print(in_child(buffer.free))
print(in_child(device.close))
until.set()
thread.join()
buffer.free()
"""
    out, _ = child([lines], tmp_path)
    told = (
        "DeviceError: this process was forked while a thread of its parent was using this device: "
        "open one after the fork\n"
    )
    assert out == f"{told}1\n0\n0\n"


def test_calls_of_a_child_work_while_threads_of_the_parent_are_in_calls(tmp_path):
    """The device that calls have opened is opened anew; locks of the library are free."""
    lines = FORK + BUSY + """
from piblas import record
from piblas.dispatch import devices
from piblas.driver import collect
from piblas.host import plan
piblas.use("emulator")
x = np.arange(64, dtype=np.float32)
def work():
    assert piblas.sdot(x, x) == np.dot(x, x)
    piblas.stats()
work()
thread = busy(devices._opened["emulator"], until)
with plan.PLANS._lock, record._lock, collect._lock:
    held = threading.Thread(target=lambda: print(in_child(work)))
    held.start()
    held.join()
until.set()
thread.join()
work()
"""
    out, _ = child([lines], tmp_path)
    assert out == "0\n"


def test_a_fork_during_the_first_compilation_is_no_silent_wait(tmp_path):
    lines = FORK + """
from piblas.emu import machine
with machine._prepare_lock:
    held = threading.Thread(target=lambda: print(in_child(lambda: Emulator(memory=1 << 20))))
    held.start()
    held.join()
Emulator(memory=1 << 20)
"""
    out, _ = child([lines], tmp_path)
    assert out.startswith("DeviceError: this process was forked while another thread compiled")
    assert out.endswith("\n1\n")


def test_a_thread_that_flushes_denormals_is_refused(device, monkeypatch):
    monkeypatch.setattr(machine_module, "_keeps_denormals", lambda: False)
    with pytest.raises(DeviceError, match="this thread flushes denormals to zero"):
        device.execute(device.load(words(END)), [[]])
