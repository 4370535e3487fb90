"""Processes that die, share, wait and give up: the real driver on the virtual Pi."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from .crew import Crew, faults_of
from .faults import Fault
from .pi import VirtualPi

OPEN = """
import numpy as np, os, sys, piblas
device = piblas.driver.open_device("qpu")
a = np.arange(6400, dtype=np.float32).reshape(80, 80) % 7
def product():
    with piblas.use(device):
        return bool((piblas.sgemm(1, a, a) == a @ a).all())
"""


@pytest.mark.parametrize(
    "name", [pytest.param("bookworm64", marks=pytest.mark.slow), "no-vcsm-cma"]
)
def test_kill_in_a_launch_and_start_again(name):
    """The kernel frees what it knows of, the next process what the firmware still holds."""
    with Crew(name) as crew:
        launch = "store(SRQPC)" if name == "no-vcsm-cma" else "EXECUTE_QPU"
        told = crew.run(Fault(launch, 3, signal=signal.SIGKILL), n=72)
        assert told["status"] == signal.SIGKILL
        report = told["report"]
        assert not report.files and not report.buffers and report.cma_used == 0
        assert (report.handles > 0) == (name == "no-vcsm-cma")
        assert report.enables == 1 and not report.violations
        told = crew.run(n=72)
        assert told["right"], told
        # What one process failed to hand back stays so; the next one hands back its own.
        assert told["report"].enables == 1 and told["report"].handles == 0
        assert not told["report"].violations


def test_two_processes():
    with VirtualPi("bookworm64") as pi:
        first = pi.popen([sys.executable, "-c", OPEN + "print(product(), flush=True)\ninput()"],
                         stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
        assert first.stdout.readline().strip() == "True"
        second = pi.python(OPEN)
        assert second.returncode != 0
        assert "DeviceBusy" in second.stderr and f"process {first.pid}" in second.stderr
        first.communicate("\n")
        assert pi.python(OPEN + "print(product())").stdout.strip() == "True"
        assert pi.report().clean


def test_fork():
    """The child gets an error from the device, the parent's works on, both end cleanly."""
    code = OPEN + """
buffer = device.alloc(1 << 16)
child = os.fork()
if child == 0:
    for use in (lambda: device.alloc(64), product, lambda: buffer.array(np.float32)):
        try:
            use()
        except piblas.DeviceError as error:
            print("fork" in str(error), flush=True)
    sys.exit(0)
print(os.waitpid(child, 0)[1], product(), flush=True)
buffer.free()
"""
    with VirtualPi("bookworm64") as pi:
        done = pi.python(code)
        assert done.stdout.split() == ["True", "True", "True", "0", "True"], done
        assert pi.report().clean


@pytest.mark.slow
def test_a_child_that_survives_its_parent_does_not_hold_the_gpu():
    code = OPEN + """
if os.fork() == 0:
    os.close(1)
    sys.stdin.read()
    os._exit(0)
print(product(), flush=True)
os._exit(0)
"""
    with VirtualPi("bookworm64") as pi:
        first = pi.popen([sys.executable, "-c", code], stdin=subprocess.PIPE,
                         stdout=subprocess.PIPE)  # fmt: skip
        assert first.stdout.read().strip() == "True" and first.wait() == 0
        assert pi.python(OPEN + "print(product())").stdout.strip() == "True"
        first.stdin.close()
        first.stdout.close()


@pytest.mark.slow
def test_threads_take_turns():
    code = OPEN + """
import threading
right = []
def work(seed):
    rng = np.random.default_rng(seed)
    for _ in range(3):
        x, y = (rng.integers(-9, 10, (80, 80)).astype(np.float32) for _ in range(2))
        right.append(bool((piblas.sgemm(1, x, y) == x @ y).all()))
with piblas.use(device):
    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
print(len(right), all(right), piblas.stats())
device.close()
"""
    with VirtualPi("bookworm64") as pi:
        done = pi.python(code)
        assert done.stdout.startswith("12 True {'qpu'"), done
        assert pi.report().clean


@pytest.mark.slow
def test_long_products_are_cut():
    """At 500 kHz a product of 300 x 300 takes more than a second of the chip's time."""
    with Crew("bookworm64", v3d_hz=500_000) as crew:
        told = crew.run(n=300)
        assert told["right"] and not faults_of(told), told
        assert told["calls"].count("ioctl(vcio, EXECUTE_QPU)") > 4
        assert crew.pi.kernel.gpu.longest < 1.0
    with Crew("root", v3d_hz=500_000) as crew:
        told = crew.run(n=300)
        assert told["right"] and not faults_of(told), told
        assert crew.pi.kernel.gpu.longest > 1.0  # through registers there is no limit


# --- launches that do not end -------------------------------------------------------------------


@pytest.mark.parametrize("device", [pytest.param("qpu", marks=pytest.mark.slow), "auto"])
def test_a_launch_that_hangs(device):
    """Its memory is used by nobody else, as long as it may run; then the firmware recovers."""
    with Crew("pi1") as crew:
        hang = Fault("EXECUTE_QPU", 3, launch="hang")
        told = crew.run(hang, n=300, times=2, device=device)
        assert hang.hits == 1 and told["kept"] and not told["hang"], told
        if device == "qpu":
            assert told["error"].startswith("DeviceTimeout"), told
        else:
            assert told["right"] and told["stats"] == {"cpu": 2}, told
            assert sum(row.startswith("WARNING") for row in told["log"]) >= 1
        assert not told["report"].violations, told["report"]
        assert not told["report"].buffers and not told["report"].files
        crew.reboot()
        assert crew.run(n=80)["right"]


@pytest.mark.slow
def test_a_firmware_that_stays_silent():
    """The kernel gives up on a launch, and on everything that is asked afterwards."""
    with Crew("pi1") as crew:
        hang = Fault("EXECUTE_QPU", 3, error=0, launch="hang", requests=50)
        # The driver asks the firmware to give up first; here it does not.
        crew.pi.kernel.firmware.deaf = True
        told = crew.run(hang, n=80, times=2, device="auto")
        assert told["right"] and told["kept"] and told["stats"] == {"cpu": 2}, told
        assert not told["report"].violations, told["report"]


@pytest.mark.slow
def test_a_queue_that_hangs():
    with Crew("root") as crew:
        told = crew.run(
            Fault("store(SRQPC)", 36, launch="hang"), do="limited", device="qpu"
        )
        assert told["error"].startswith("DeviceTimeout") and told["kept"], told
        assert [row for row in faults_of(told) if "enable" not in row] == [], told


@pytest.mark.slow
def test_a_canary_that_dies():
    """The first launches of a process are checked: a firmware that does nothing is found out."""
    with Crew("pi1") as crew:
        told = crew.run(Fault("EXECUTE_QPU", 0, launch="nothing"), n=80)
        assert "wrong results" in told["error"] and told["kept"] and not faults_of(told), told
        told = crew.run(Fault("EXECUTE_QPU", 0, launch="nothing"), n=80, device="auto")
        assert told["right"] and told["stats"] == {"cpu": 1} and not faults_of(told), told
        assert sum(row.startswith("WARNING") for row in told["log"]) >= 1
