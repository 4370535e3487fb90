"""Where calls are aimed: PIBLAS_DEVICE, piblas.use, and devices opened once."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import numpy as np
import pytest

import piblas
from piblas import DeviceError, PiblasError
from piblas.dispatch import devices

ONE = np.ones((2, 2), np.float32)


def aim():
    """The backend that calls are aimed at now."""
    return devices.current()[0].backend


@pytest.fixture
def opened(fresh, monkeypatch):
    """Opens stand-ins and lists their names."""
    names = []

    class Stub(devices.Device):
        n_qpus = clock_hz = None
        alloc = load = execute = execute_list = clear_caches = None

        def __init__(self, name):
            self.name = name
            names.append(name)

        def close(self):
            names.append("closed " + self.name)

    monkeypatch.setattr(devices, "open_device", Stub)
    monkeypatch.setattr(devices, "_opened", {})
    return names


def test_default_is_auto(fresh):
    target, device = devices.current()
    assert (target.backend, target.demanded, device) == ("qpu", False, None)
    assert target.missing.startswith("no VideoCore IV GPU")


def test_the_reason_is_counted(fresh):
    piblas.sgemm(1, ONE, ONE)
    ((backend, reasons),) = piblas.stats().items()
    ((reason, calls),) = reasons.items()
    assert backend == "cpu" and reason.startswith("no VideoCore IV GPU") and calls == 1


@pytest.mark.parametrize("name", ["cpu", "emulator", "qpu"])
def test_environment(opened, monkeypatch, name):
    monkeypatch.setenv("PIBLAS_DEVICE", name)
    assert aim() == name
    assert opened == ([] if name == "cpu" else [name])


def test_wrong_environment(fresh, monkeypatch):
    monkeypatch.setenv("PIBLAS_DEVICE", "gpu")
    with pytest.raises(PiblasError, match="PIBLAS_DEVICE='gpu': choose one of auto, qpu, emul"):
        piblas.sgemm(1, ONE, ONE)


@pytest.mark.parametrize("wrong", ["gpu", None, 3])
def test_wrong_use(fresh, wrong):
    with pytest.raises(DeviceError, match="choose one of auto, qpu, emulator, cpu, or an open"):
        piblas.use(wrong)


def test_use_overrides_the_environment(opened, monkeypatch):
    monkeypatch.setenv("PIBLAS_DEVICE", "emulator")
    piblas.use("cpu")
    assert aim() == "cpu"
    with piblas.use("qpu"):
        assert aim() == "qpu"
        with piblas.use("emulator"):
            assert aim() == "emulator"
        assert aim() == "qpu"
    assert aim() == "cpu"


def test_a_block_restores_after_an_exception(opened):
    piblas.use("emulator")
    with pytest.raises(KeyError), piblas.use("cpu"):
        raise KeyError
    assert aim() == "emulator"


def test_blocks_may_end_in_any_order(opened):
    first, second = piblas.use("cpu"), None
    with first:
        second = piblas.use("emulator").__enter__()
    assert aim() == "emulator"
    second.__exit__()
    assert aim() == "qpu"


def test_a_block_may_be_entered_again(opened):
    """Also by the name of the device that calls were aimed at when it was made."""
    piblas.use("emulator")
    block = piblas.use("cpu")
    for _ in range(2):
        with block:
            with piblas.use("qpu"), block:
                assert aim() == "cpu"
            assert aim() == "cpu"
        assert aim() == "emulator"
    piblas.use("cpu")
    with block:
        pass
    assert aim() == "cpu"


def test_an_inner_block_that_is_entered_again_ends_before_the_outer_one(opened):
    outer = piblas.use("cpu")
    with outer, piblas.use("emulator"):
        with outer:
            assert aim() == "cpu"
        assert aim() == "emulator"


def test_a_decorated_function(opened):
    @piblas.use("emulator")
    def work(depth, *, other="cpu"):
        """Says where calls go."""
        assert aim() == "emulator"
        with piblas.use(other):
            assert aim() == other
            if depth:
                work(depth - 1)
            assert aim() == other
        assert aim() == "emulator"
        return depth

    assert aim() == "qpu", "decorating aims no call"
    assert work(3) == work(3, other="cpu") == 3
    assert aim() == "qpu"
    assert (work.__name__, work.__doc__) == ("work", "Says where calls go.")
    piblas.use("cpu")
    assert work(0) == 0 and aim() == "cpu"


def test_a_decorated_function_that_raises(opened):
    @piblas.use("emulator")
    def fails():
        raise KeyError(aim())

    for _ in range(2):
        with pytest.raises(KeyError, match="emulator"):
            fails()
        assert aim() == "qpu"


def test_a_decorated_method_and_coroutine(opened):
    class Worker:
        @piblas.use("emulator")
        def work(self):
            return self, aim()

        @piblas.use("cpu")
        async def wait(self):
            await asyncio.sleep(0)
            return aim()

    worker = Worker()
    assert worker.work() == (worker, "emulator")
    assert asyncio.run(worker.wait()) == "cpu" and aim() == "qpu"


def test_a_decorated_function_in_threads(opened):
    together, seen = threading.Barrier(4), []

    @piblas.use("emulator")
    def work(depth):
        together.wait()
        seen.append(aim())
        if depth:
            work(depth - 1)
        together.wait()

    threads = [threading.Thread(target=work, args=(3,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == 16 * ["emulator"] and aim() == "qpu"


def test_what_cannot_be_decorated(opened):
    def generator():
        yield aim()

    async def stream():
        yield aim()

    for wrong in (generator, stream):
        with pytest.raises(DeviceError, match=f"cannot decorate the generator {wrong.__name__}"):
            piblas.use("emulator")(wrong)
    for wrong in (3, dict, None):
        with pytest.raises(DeviceError, match="decorates functions"):
            piblas.use("emulator")(wrong)
    with pytest.raises(DeviceError, match="choose one of auto, qpu, emulator, cpu"):
        piblas.use("gpu")(generator)
    assert aim() == "qpu"


def test_a_block_holds_for_other_threads(opened):
    seen = []
    with piblas.use("cpu"):
        thread = threading.Thread(target=lambda: seen.append(aim()))
        thread.start()
        thread.join()
    assert seen == ["cpu"]


def test_devices_open_once_and_close(opened):
    for _ in range(3):
        with piblas.use("emulator"):
            devices.current()
    piblas.use("auto")
    devices.current()
    assert opened == ["emulator", "qpu"]
    devices.close()
    assert opened[2:] == ["closed qpu", "closed emulator"]
    devices.current()
    assert opened[4:] == ["qpu"]


def test_a_given_device_stays_open(opened):
    mine = devices.open_device("emulator")
    with piblas.use(mine):
        assert devices.current() == (devices.Target("emulator"), mine)
    devices.close()
    assert opened == ["emulator"]


def test_one_lock_a_device(opened):
    a, b = devices.open_device("a"), devices.open_device("b")
    assert devices.lock(a) is devices.lock(a)
    assert devices.lock(a) is not devices.lock(b)


def test_board_setting(fresh, monkeypatch):
    monkeypatch.setenv("PIBLAS_BOARD", "pi2")
    assert devices.board().name == "pi2"


def test_wrong_board_setting(fresh, monkeypatch):
    monkeypatch.setenv("PIBLAS_BOARD", "pi4")
    with pytest.raises(PiblasError, match="PIBLAS_BOARD='pi4': choose one of auto, pi0"):
        piblas.sgemm(1, ONE, ONE)


def test_profiles_nest_and_end(device, fresh):
    with piblas.use(device), piblas.profile() as outer:
        piblas.sgemm(1, ONE, ONE)
        with piblas.profile() as inner:
            piblas.sgemm(1, ONE, ONE)
        piblas.sgemm(1, ONE, ONE)
    piblas.sgemm(1, ONE, ONE)
    assert (len(outer.reports), len(inner.reports)) == (3, 1)
    assert inner.reports[0] is outer.reports[1]
    assert all(report.kernel == "gemm" for report in outer.reports)


def test_stats_are_a_copy(fresh):
    with piblas.use("cpu"):
        piblas.sgemm(1, ONE, ONE)
        piblas.sgemm(0, ONE, ONE)
    counted = {"cpu": {"the CPU was asked for": 1, "nothing to multiply": 1}}
    assert piblas.stats() == counted
    piblas.stats()["cpu"].clear()
    assert piblas.stats() == counted
    piblas.reset_stats()
    assert piblas.stats() == {}


def test_threads_share_an_emulator(device, fresh):
    """Calls of several threads on one device give each its own result."""
    operands = [np.full((20, 20), i, np.float32) for i in range(1, 5)]
    results = {}

    def work(i):
        for _ in range(3):
            results[i] = piblas.sgemm(1, operands[i], operands[i])

    with piblas.use(device):
        threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for i in range(4):
        np.testing.assert_array_equal(results[i], np.full((20, 20), 20 * (i + 1) ** 2))


def test_closed_at_exit():
    """A process that used the emulator ends without noise."""
    code = (
        "import piblas\n"
        "piblas.use('emulator')\n"
        "print(piblas.sgemm(1, [[2]], [[3]]))\n"
        "import atexit\n"
        "atexit.register(lambda: print(sorted(piblas.dispatch.devices._opened)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    # Exit functions run last first: at that time the device is still open.
    assert done.stdout.splitlines() == ["[[6.]]", "['emulator']"]
