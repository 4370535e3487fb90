"""What a process does until it has the GPU of a Pi, and until its first call there has ended,
counted in function calls of Python (:mod:`bench.counting`).

A Pi Zero needs about 10 us for each.  NumPy is imported before the count begins.  The system calls
are those of a Pi, and so is all that the driver does: the canary's launches are part of it.
"""

from __future__ import annotations

import pytest

from .pi import VirtualPi

OPENING, FIRST_CALL = 10_000, 30_000

COUNTED = """
import cProfile, sys
import numpy
x, y = numpy.ones((2, 4096), numpy.float32)
profile = cProfile.Profile()
profile.enable()
{code}
profile.disable()
calls = sum(entry.callcount for entry in profile.getstats()) - 1
print(calls, device.launcher.name, "scipy" in sys.modules, "piblas.isa.parse" in sys.modules)
device.close()
"""


def counted(setup: str, code: str):
    with VirtualPi(setup) as pi:
        done = pi.python(COUNTED.format(code=code))
        assert done.returncode == 0, done.stderr
        assert pi.report().clean
    calls, launcher, scipy, assembler = done.stdout.split()
    return int(calls), launcher, scipy == "True", assembler == "True"


@pytest.mark.parametrize("setup, launcher", [("bookworm64", "mailbox"), ("root", "registers")])
def test_importing_piblas_and_opening_the_gpu(setup, launcher):
    code = "import piblas\ndevice = piblas.driver.open_device('qpu')"
    calls, found, scipy, assembler = counted(setup, code)
    assert calls <= OPENING
    assert found == launcher and not scipy and not assembler


def test_up_to_the_end_of_the_first_call():
    """Choosing the GPU by its name and opening it are part of it."""
    code = """
import piblas
with piblas.use("qpu"):
    piblas.saxpy(x, y, a=0.5)
from piblas.dispatch import devices
device = devices._opened["qpu"]
"""
    calls, _, scipy, assembler = counted("bookworm64", code)
    assert calls <= FIRST_CALL
    assert not scipy and not assembler
