"""Device memory that nobody needs is freed before a device is said to be full."""

from __future__ import annotations

import gc
import mmap
import weakref

import numpy as np
import pytest

import piblas
from bench.null_device import NullDevice
from piblas import DeviceError, EmulatorFault, OutOfDeviceMemory
from piblas.driver import Emulator, hardware
from piblas.driver.hardware import Pi
from piblas.driver.memory import Block, MemoryBackend
from piblas.driver.pools import pools_for
from piblas.driver.soc import Board
from piblas.host import arrays
from piblas.host.runner import runner_of
from piblas.kernels import axpy, scal

F32 = np.float32
MIB = 1 << 20


@pytest.fixture
def small(fresh):
    """A device of 4 MiB, and a garbage collector that never looks by itself."""
    gc.collect()
    gc.disable()
    try:
        with Emulator(memory=4 * MIB, timing="off") as dev, piblas.use(dev):
            yield dev
    finally:
        gc.enable()


def garbage(nbytes):
    """An array in device memory that only a reference cycle holds."""
    cycle = [piblas.empty(nbytes, np.uint8)]
    cycle.append(cycle)


def test_arrays_in_cycles_are_freed_for_an_array(small):
    for _ in range(5):
        garbage(3 * MIB)
    made = piblas.zeros(3 * MIB // 4)
    assert made.on_device is small and not made.any()


def test_and_for_a_call(small):
    garbage(3 * MIB + MIB // 2)
    a = np.ones((400, 400), F32)  # 1.9 MB with what it is multiplied by, and the result
    np.testing.assert_array_equal(piblas.sgemm(1, a, a), np.full((400, 400), 400))
    assert piblas.stats() == {"emulator": {"the emulator was asked for": 1}}


def test_and_for_a_program(small):
    garbage(64 << 10)
    small.alloc(4096 * small._heap.largest)
    assert small._heap.largest == 0
    program = runner_of(small).program(axpy.SPEC, axpy.SPEC.defaults)
    assert list(small.kept.values()) == [program]


def test_and_for_the_uniforms_of_a_launch(small):
    program = small.load(scal.SPEC.program(scal.SPEC.defaults).words)
    garbage(64 << 10)
    small.alloc(4096 * small._heap.largest)
    with pytest.raises(EmulatorFault):  # no uniforms that this program could use, but room for them
        small.execute(program, [[0]])


def test_a_full_device_says_so(small):
    held = piblas.empty(3 * MIB, np.uint8)
    with pytest.raises(OutOfDeviceMemory, match="no room for 3145728 bytes"):
        piblas.empty(3 * MIB, np.uint8)
    assert held.on_device is small


def test_programs_make_room(small):
    """Those that no call uses; one in use stays until it is not."""
    x = np.ones(8, F32)
    piblas.sasum(x)
    arrays.collect()
    before = small._heap.free
    for k in (scal, axpy):
        runner_of(small).program(k.SPEC, k.SPEC.defaults)
    in_use = runner_of(small).program(axpy.SPEC, axpy.SPEC.defaults)
    assert small._heap.free < before
    with pytest.raises(OutOfDeviceMemory):
        small.alloc(5 * MIB)
    assert not small.kept
    # The one for sasum is gone, that in use is not.
    words = small.machine.words(in_use.bus_address, 2 * in_use.n_words)
    assert words is not None
    again = runner_of(small).program(axpy.SPEC, axpy.SPEC.defaults)
    assert again.bus_address != in_use.bus_address
    del in_use
    arrays.collect()
    assert piblas.sasum(x) == 8


def test_another_devices_memory_is_left_alone(small):
    with Emulator(memory=MIB, timing="off") as other:
        x = piblas.empty(1000, device=other)
        free = other._heap.free
        del x
        with pytest.raises(OutOfDeviceMemory):
            small.alloc(5 * MIB)
        assert other._heap.free == free
        arrays.collect()
        assert other._heap.free > free


def test_a_closed_device_is_forgotten(fresh):
    with Emulator(memory=MIB, timing="off") as dev, piblas.use(dev):
        piblas.sasum(np.ones(4, F32))
    gone = weakref.ref(dev)
    del dev
    arrays.collect()
    gc.collect()
    assert gone() is None


class Stub:
    """What a Pi has besides memory, with nothing to do."""

    longest = lost = abandoned = False

    def __getattr__(self, name):
        return lambda *args: True


class Room(MemoryBackend):
    """Blocks of one store that several backends share."""

    def __init__(self, store, cached):
        self.name, self.cached, self.store = "room", cached, store

    def take(self, nbytes):
        size = -(-nbytes // 4096) * 4096
        if size > self.store["left"]:
            raise OutOfDeviceMemory(f"no room for {nbytes} bytes")
        store = self.store
        store["left"] -= size
        store["next"] += size

        class Counted(Block):
            def release(self):
                store["left"] += size
                return True

            def begin(self):
                pass

            end = begin

        return Counted(store["next"], size, mmap.mmap(-1, size))


@pytest.fixture
def pi():
    """A Pi of 4 MiB, cached for data and not for programs and small buffers."""
    store = {"left": 4 * MIB, "next": 0xC0000000}
    pools = pools_for(Room(store, True), Room(store, False))
    board = Board("a board", "BCM2837", 0x3F000000, 0xC0000000)
    dev = Pi(board, 250e6, Stub(), pools, Stub(), Stub())
    gc.disable()
    yield dev
    gc.enable()
    dev.close()


def test_a_pi_frees_arrays_in_cycles(pi, fresh):
    with piblas.use(pi):
        for _ in range(5):
            garbage(3 * MIB)
        held = piblas.empty(3 * MIB, np.uint8)
        with pytest.raises(OutOfDeviceMemory):
            piblas.empty(3 * MIB, np.uint8)
    assert held.on_device is pi


class Blocks(Room):
    """Blocks that stay mapped as long as there are views of them."""

    def take(self, nbytes):
        block = super().take(nbytes)
        block.release = lambda: Block.release(block)
        return block


@pytest.mark.parametrize("ending", (False, True))
def test_a_pi_that_is_closed_under_its_arrays_says_so(ending, fresh, monkeypatch, caplog):
    """Not where the process ends, as all memory goes then."""
    monkeypatch.setattr(hardware, "_ending", ending)
    backend = Blocks({"left": 4 * MIB, "next": 0xC0000000}, True)
    board = Board("a board", "BCM2837", 0x3F000000, 0xC0000000)
    dev = Pi(board, 250e6, Stub(), pools_for(backend, backend), Stub(), Stub())
    x = piblas.array(np.arange(9000), device=dev)
    dev.close()
    assert ("outlive their device" in caplog.text) == (not ending)
    np.testing.assert_array_equal(x.copy(), np.arange(9000))
    assert x.copy().on_device is None


# --- how full it is ------------------------------------------------------------------------------


def test_device_memory(small):
    before = piblas.device_memory()
    assert before.total == 4 * MIB and before.used + before.free == before.total
    assert before.largest <= before.free
    x = piblas.empty(MIB, np.uint8)
    held = piblas.device_memory()
    assert held.used == before.used + MIB + 4096 and held.total == before.total
    piblas.sgemm(1.0, np.ones((100, 100), F32), np.ones((100, 100), F32))
    kept = piblas.device_memory()
    assert kept.cached >= 3 * 40_000 and kept.used >= held.used + kept.cached
    del x
    gone = piblas.device_memory()
    assert gone.cached == kept.cached + MIB and gone.used == kept.used
    runner_of(small).release()
    assert piblas.device_memory().cached < gone.cached
    piblas.empty(piblas.device_memory().largest, np.uint8)
    with pytest.raises(OutOfDeviceMemory):
        small.alloc(piblas.device_memory().total)
    assert piblas.device_memory().cached == 0


def test_device_memory_of_a_named_device(small):
    with Emulator(memory=MIB, timing="off") as other:
        assert piblas.device_memory(other).total == MIB
        assert piblas.device_memory().total == 4 * MIB
    with pytest.raises(DeviceError, match="this device was closed"):
        piblas.device_memory(other)
    with piblas.use("cpu"), pytest.raises(DeviceError, match="calls go to the CPU"):
        piblas.device_memory()


def test_device_memory_of_a_pi(pi, fresh, monkeypatch):
    """What its system tells, and what waits in its pools."""
    with piblas.use(pi):
        assert piblas.device_memory() == (None, 0, None, None, 0)
        x = piblas.empty(MIB, np.uint8)
        assert piblas.device_memory().used == MIB
        monkeypatch.setattr(Room, "room", lambda self: (4 * MIB, self.store["left"], None))
        found = piblas.device_memory()
        assert found == (4 * MIB, MIB, 3 * MIB, None, 0)
        del x
        arrays.collect()
        assert piblas.device_memory() == (4 * MIB, 0, 4 * MIB, None, 0)


def test_a_device_that_does_not_tell(fresh):
    with piblas.use(NullDevice()):
        assert piblas.device_memory() == (None, None, None, None, 0)


def test_a_pi_takes_what_waits_in_its_other_pool(pi):
    """Freed blocks for data are kept for the next buffer, which may be a program."""
    pi.alloc(4 * MIB).free()
    assert pi.load(np.zeros(8, np.uint64)).n_words == 8
