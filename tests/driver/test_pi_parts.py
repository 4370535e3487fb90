"""Parts of the driver that need no board: pools, lock, board, kernel's limit, signals, forks.

The whole driver, system calls and all, is tested on virtual Pis (tests/virtual_pi).
"""

from __future__ import annotations

import mmap
import os
import random
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from piblas.driver import launchers, lock, memory, opening, pools, signals, soc
from piblas.errors import DeviceBusy, DeviceError, DeviceMissing, OutOfDeviceMemory

# --- pools ----------------------------------------------------------------------------------------


class Plain(memory.MemoryBackend):
    """Blocks of ordinary memory at invented addresses, ``room`` bytes in all."""

    name = "plain"

    def __init__(self, room=1 << 24, cached=False):
        self.cached, self.room, self.live, self.log = cached, room, {}, []
        self.next = 0xC0000000

    def take(self, nbytes):
        size = -(-nbytes // memory.PAGE) * memory.PAGE
        if size > self.room:
            raise OutOfDeviceMemory(f"no room for {size}")
        self.room -= size
        bus, self.next = self.next, self.next + size
        backend = self

        class Counted(memory.Block):
            def release(self):
                if self._unmap():
                    backend.room += size
                    del backend.live[bus]
                    return True
                return False

            def begin(self):
                backend.log.append(("begin", bus))

            def end(self):
                backend.log.append(("end", bus))

        self.live[bus] = block = Counted(bus, size, mmap.mmap(-1, size))
        return block


@pytest.mark.parametrize("cached", [False, True])
def test_no_byte_belongs_to_two_pieces(cached):
    rng = random.Random(7)
    backend = Plain(cached=cached)
    pool, held = pools.pool_for(backend), []
    for turn in range(2000):
        if held and rng.random() < 0.5:
            pool.give_back(held.pop(rng.randrange(len(held))))
        else:
            nbytes = rng.choice((1, 64, 4096, 4097, 70000, 300000))
            try:
                piece = pool.take(nbytes)
            except OutOfDeviceMemory:
                continue
            assert piece.bus % 4096 == 0 and piece.bytes.size == nbytes
            held.append(piece)
        if turn % 20 == 0:
            spans = sorted((piece.bus, piece.bus + piece.nbytes) for piece in held)
            assert all(end <= start for (_, end), (start, _) in zip(spans, spans[1:]))
    for piece in held:
        pool.give_back(piece)
    pool.trim()
    assert not backend.live and backend.room == 1 << 24
    assert pool.close()


def test_freed_neighbours_become_one_piece():
    backend = Plain(room=4 << 20)
    pool = pools.ArenaPool(backend, chunk=4 << 20)
    small = [pool.take(4096) for _ in range(100)]
    for piece in random.Random(1).sample(small, 100):
        pool.give_back(piece)
    whole = pool.take((4 << 20) - 4096)
    assert len(backend.live) == 1 and whole.bus == small[0].bus


def test_an_arena_shrinks_to_what_fits():
    """No room for a whole chunk, but for what is wanted."""
    pool = pools.ArenaPool(Plain(room=64 << 10), chunk=4 << 20)
    assert pool.take(32 << 10).nbytes == 32 << 10
    with pytest.raises(OutOfDeviceMemory):
        pool.take(64 << 10)


def test_cached_blocks_are_one_buffer_each_and_used_again():
    backend = Plain(cached=True)
    pool = pools.BlockPool(backend, most=1 << 20, kept=2)
    one, other = pool.take(100_000), pool.take(100_000)
    assert one.block is not other.block
    one.clean()
    other.invalidate()
    assert backend.log == [("end", one.bus), ("begin", other.bus)]
    pool.give_back(one)
    assert pool.take(90_000).block is one.block  # a little too large: taken again
    pool.give_back(other)
    assert pool.take(20_000).block is not other.block  # much too large: not
    for piece in [pool.take(100_000) for _ in range(5)]:
        pool.give_back(piece)
    assert len(backend.live) == 2 + 2  # in use, and kept


def test_a_full_backend_gets_the_waiting_blocks_back():
    pool = pools.BlockPool(Plain(room=64 << 10, cached=True))
    pool.give_back(pool.take(16 << 10))
    assert pool.take(64 << 10).nbytes == 64 << 10


def test_memory_with_views_stays():
    backend = Plain()
    pool = pools.ArenaPool(backend)
    view = pool.take(4096).bytes[:10]
    assert not pool.close() and len(backend.live) == 1
    view[:] = 3  # still mapped


# --- addresses, boards ----------------------------------------------------------------------------

PI1 = soc.Board("Raspberry Pi Model B Rev 2", "BCM2835", 0x20000000, 0x80000000)
PI3 = soc.Board("Raspberry Pi 3 Model B", "BCM2837", 0x3F000000, 0xC0000000)


@pytest.mark.parametrize("alias", [0x40000000, 0x80000000, 0xC0000000])
def test_aliases_of_a_bcm2835(alias):
    memory.check_address("x", alias | 0x1000, PI1)


@pytest.mark.parametrize("bus", [0x1000, 0x40001000, 0x80001000])
def test_wrong_aliases(bus):
    with pytest.raises(memory.WrongAlias, match="results would be stale"):
        memory.check_address("x", bus, PI3)


@pytest.mark.parametrize("bus", [0, 0xC0000001, 0x1C0000000])
def test_no_addresses(bus):
    with pytest.raises(DeviceError, match="is no bus address of a page"):
        memory.check_address("x", bus, PI3)


def cells(*words):
    return b"".join(word.to_bytes(4, "big") for word in words)


def tree(monkeypatch, tmp_path, compatible, ranges=b"", dma=b"", name=b"A board\0"):
    (tmp_path / "soc").mkdir()
    (tmp_path / "compatible").write_bytes(compatible)
    (tmp_path / "model").write_bytes(name)
    if ranges:
        (tmp_path / "soc" / "ranges").write_bytes(ranges)
    if dma:
        (tmp_path / "soc" / "dma-ranges").write_bytes(dma)
    monkeypatch.setattr(soc, "TREE", str(tmp_path))


def test_a_board_of_the_device_tree(monkeypatch, tmp_path):
    tree(
        monkeypatch, tmp_path, b"raspberrypi,model-zero\0brcm,bcm2835\0",
        cells(0x7E000000, 0x20000000, 0x02000000), cells(0x80000000, 0, 0x20000000),
        b"Raspberry Pi Zero Rev 1.3\0",
    )  # fmt: skip
    found = soc.require()
    assert found == ("Raspberry Pi Zero Rev 1.3", "BCM2835", 0x20000000, 0x80000000, "")
    assert found.v3d == 0x20C00000


def test_a_tree_of_mainline(monkeypatch, tmp_path):
    """Two words of parent address, another alias."""
    tree(
        monkeypatch, tmp_path, b"raspberrypi,3-model-b\0brcm,bcm2837\0",
        cells(0x7E000000, 0, 0x3F000000, 0x1000000), cells(0xC0000000, 0, 0x3F000000),
    )  # fmt: skip
    assert soc.require()[1:4] == ("BCM2837", 0x3F000000, 0xC0000000)


def test_a_tree_without_ranges(monkeypatch, tmp_path):
    tree(monkeypatch, tmp_path, b"raspberrypi,2-model-b\0brcm,bcm2836\0")
    assert soc.require()[1:4] == ("BCM2836", 0x3F000000, 0xC0000000)


@pytest.mark.parametrize(
    "chip, gpu", [(b"bcm2711", "VideoCore VI "), (b"bcm2712", "VideoCore VII")]
)
def test_other_gpus(monkeypatch, tmp_path, chip, gpu):
    tree(monkeypatch, tmp_path, b"raspberrypi,x\0brcm," + chip + b"\0", name=b"Raspberry Pi X\0")
    with pytest.raises(DeviceMissing, match=f"Raspberry Pi X .* has a {gpu}"):
        soc.require()


def test_other_computers(monkeypatch, tmp_path):
    tree(monkeypatch, tmp_path, b"acme,board\0acme,soc\0", name=b"Acme One\0")
    with pytest.raises(DeviceMissing, match="this is a 'Acme One'"):
        soc.require()
    monkeypatch.setattr(soc, "TREE", str(tmp_path / "nowhere"))
    with pytest.raises(DeviceMissing, match="no VideoCore IV GPU: .* no device tree"):
        soc.require()


@pytest.mark.parametrize(
    "version, seconds",
    [
        ("#1 SMP PREEMPT Debian 1:6.6.31-1+rpt1 (2024-05-29)", 1),
        ("#1 SMP PREEMPT Debian 1:6.12.25-1+rpt1 (2025-04-30)", 1),
        ("#1 SMP PREEMPT Debian 1:6.12.34-1+rpt1~bookworm (2025-06-26)", 3),
        ("#1 SMP PREEMPT Debian 1:6.18.3-1+rpt1 (2026-08-04)", 3),
        ("#1642 SMP Mon Apr  3 17:20:52 BST 2023", 1),
        ("#1878 SMP PREEMPT Fri Jun 20 15:59:14 BST 2025", 3),
        ("#1 SMP of nobody knows when", 1),
        ("#7 of 2025-June in a May", 1),
        ("", 1),
    ],
)
def test_the_kernels_patience(monkeypatch, version, seconds):
    real = os.uname()
    made = os.uname_result((real.sysname, real.nodename, real.release, version, real.machine))
    monkeypatch.setattr(launchers.os, "uname", lambda: made)
    assert launchers.kernel_limit() == seconds


@pytest.mark.parametrize("options", [{"memory": "x"}, {"launch": "x"}])
def test_wrong_options(options):
    with pytest.raises(DeviceError, match="= 'x': choose auto, "):
        opening.open_pi(**options)


# --- the lock -------------------------------------------------------------------------------------


@pytest.fixture
def place(monkeypatch, tmp_path):
    monkeypatch.setattr(lock, "directory", lambda: str(tmp_path))
    return tmp_path


def test_one_holder(place):
    assert lock.holder() is None
    first = lock.GpuLock()
    assert f"process {os.getpid()}" in lock.holder()
    with pytest.raises(DeviceBusy, match=f"in use by process {os.getpid()} .*piblas-gpu.lock"):
        lock.GpuLock()
    first.release()
    first.release()
    assert lock.holder() is None
    second = lock.GpuLock()
    assert not second.abandoned
    second.release()


def test_everybody_may_lock(place):
    old = os.umask(0o077)
    try:
        lock.GpuLock().release()
    finally:
        os.umask(old)
    assert (place / lock.NAME).stat().st_mode & 0o777 == 0o666


def test_a_link_is_refused(place, tmp_path):
    (place / lock.NAME).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeviceError, match="the GPU's lock file"):
        lock.GpuLock()
    assert not (tmp_path / "elsewhere").exists()


def test_a_killed_holder_holds_nothing(place):
    code = (
        "import sys, time\n"
        "from piblas.driver import lock\n"
        f"lock.directory = lambda: {str(place)!r}\n"
        "kept = lock.GpuLock()\n"
        "print('mine', flush=True)\n"
        "time.sleep(60)\n"
    )
    other = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "mine\n"
    with pytest.raises(DeviceBusy, match=f"process {other.pid} "):
        lock.GpuLock()
    other.kill()
    other.communicate()
    mine = lock.GpuLock()
    assert mine.abandoned
    mine.release()


def test_a_fork_leaves_the_lock_with_the_parent(place):
    mine = lock.GpuLock()
    child = os.fork()
    if child == 0:
        mine.forget()
        os._exit(0 if lock.holder() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lock.holder() is not None
    mine.release()
    assert lock.holder() is None


# --- signals --------------------------------------------------------------------------------------


@pytest.fixture
def raising():
    """Python's own handler of SIGINT, which a process started in the background has not got."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_waits_for_the_end_of_the_block(raising):
    steps = []
    with pytest.raises(KeyboardInterrupt):
        with signals.Deferred() as outer:
            with signals.Deferred() as inner:
                os.kill(os.getpid(), signal.SIGINT)
                steps.append(inner.pending)
            steps.append(outer.pending)
        steps.append("not reached")
    assert steps == [True, True]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_come_back_after_an_exception():
    seen = []
    old = signal.signal(signal.SIGUSR1, lambda *_: seen.append(1))
    try:
        with pytest.raises(ValueError), signals.Deferred():
            os.kill(os.getpid(), signal.SIGUSR1)
            assert seen == []
            raise ValueError
        assert seen == [1]
        os.kill(os.getpid(), signal.SIGUSR1)
        assert seen == [1, 1]
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_other_threads_defer_nothing():
    done = []

    def work():
        with signals.Deferred() as deferred:
            done.append(deferred.pending)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]


# --- the canary -----------------------------------------------------------------------------------


def test_the_canary_passes_on_an_incoherent_chip_and_breaks_no_rule():
    pytest.importorskip("numba")
    from piblas.codegen.check import check
    from piblas.driver import Emulator, canary

    assert [str(f) for f in check(canary.WORDS) if f.level == "error"] == []
    with Emulator(memory=1 << 20, incoherent=True, seed=3) as device:
        assert canary.run(device) is None


def test_the_words_of_the_canary_are_its_program():
    from piblas.driver import canary
    from piblas.isa.source import assemble

    assert list(canary.WORDS) == assemble(canary.PROGRAM, "canary").words


def test_the_uniforms_of_the_canary_are_those_of_single_setup_words():
    from piblas.driver import canary
    from piblas.isa import setup_words as sw

    x, y = 0xC0001000, 0xFFFF0000
    for qpu, row in enumerate(canary.streams(x, y, -3.0).tolist()):
        assert row == [
            x + 64 * qpu, y + 128 * qpu, 0xC0400000,
            sw.vdr_pitch(64), sw.vdr_load(1, 16, 2 * qpu), sw.vpm_read(1, 2 * qpu),
            sw.vpm_write(2 * qpu), 16 * qpu, sw.vdw_stride(0), sw.vdw_store(2, 16, 2 * qpu),
            0xFFFFFFFF if qpu else 11,
        ]  # fmt: skip


@pytest.mark.parametrize("call", ["clean", "invalidate"])
def test_the_canary_notices_a_cache_that_nobody_minds(call, monkeypatch):
    pytest.importorskip("numba")
    from piblas.driver import Emulator, canary, emulated

    monkeypatch.setattr(emulated._EmulatedBuffer, call, lambda self: None)
    with Emulator(memory=1 << 20, incoherent=True, strict=False) as device:
        # Code that was never cleaned does nothing, or anything.
        try:
            assert canary.run(device, timeout=0.01)
        except DeviceError:
            assert call == "clean"


def test_the_canary_notices_caches_that_are_not_cleared(monkeypatch):
    pytest.importorskip("numba")
    from piblas.driver import Emulator, canary

    with Emulator(memory=1 << 20, incoherent=True) as device:
        real = device.execute

        def execute(program, uniforms, timeout):
            return real(program, uniforms, timeout, clear_caches=False)

        monkeypatch.setattr(device, "execute", execute)
        assert "the second time" in canary.run(device)


def test_numbers_of_one_wrong_element(monkeypatch):
    pytest.importorskip("numba")
    from piblas.driver import Emulator, canary

    with Emulator(memory=1 << 20) as device:
        real = device.execute

        def execute(*args, **kwargs):
            report = real(*args, **kwargs)
            words = device.machine.cpu.view(np.float32)
            words[np.flatnonzero(words == np.float32(955 + 2 * 0))[0]] = 7  # y of element 0
            return report

        monkeypatch.setattr(device, "execute", execute)
        assert "1 of 192 results are wrong (7 for 955)" == canary.run(device)
