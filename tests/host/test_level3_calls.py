"""How many Python functions a call of level 3 runs, built-in ones included, on a device whose
launches return at once: repeated calls, and first calls of a shape with programs loaded."""

from __future__ import annotations

import cProfile
import pstats

import numpy as np
import pytest

import piblas
from bench.null_device import NullDevice
from piblas.host.plan import PLANS

F32 = np.float32


def counted(call):
    """Function calls of one call."""
    profile = cProfile.Profile()
    profile.enable()
    call()
    profile.disable()
    return pstats.Stats(profile).total_calls - 1  # that of ``call`` itself


@pytest.fixture
def device(fresh):
    with NullDevice() as dev, piblas.use(dev):
        yield dev


def check(make, first, repeated):
    """``make()`` gives a call; the first one of its shape, and later ones, take at most so many."""
    make()()  # whatever is imported and loaded once
    PLANS.clear()
    with NullDevice() as dev, piblas.use(dev):
        make()()  # loads the programs
        PLANS.clear()
        piblas.use(dev)  # jobs are made anew
        call = make()
        taken = counted(call)
        again = [counted(call) for _ in range(3)]
    assert taken <= first and again[-1] <= repeated, (taken, again)
    return taken, again[-1]


SHAPES = [(n, n, n) for n in (16, 64, 256, 512, 1024)] + [(96, 3072, 363), (3072, 96, 363)]


@pytest.mark.parametrize("kind", ("staged", "into c", "resident", "resident, into c"))
@pytest.mark.parametrize("m, n, k", SHAPES)
def test_sgemm(fresh, m, n, k, kind):
    def make():
        a, b = np.ones((m, k), F32), np.ones((k, n), F32)
        c = np.ones((m, n), F32, order="F")
        if "resident" in kind:
            a, b, c = piblas.array(a), piblas.array(b), piblas.array(c)
        if "c" in kind:
            return lambda: piblas.sgemm(1.0, a, b, 2.0, c, overwrite_c=1)
        return lambda: piblas.sgemm(1.0, a, b)

    check(make, 2500, 100)


@pytest.mark.parametrize("name", ("ssymm", "ssyrk", "ssyr2k", "strmm", "strsm"))
def test_level_3(fresh, name):
    def make():
        a, b = np.eye(256, dtype=F32), np.ones((256, 256), F32)
        routine = getattr(piblas, name)
        return lambda: routine(1.0, a) if name == "ssyrk" else routine(1.0, a, b)

    check(make, 4000 if name == "strsm" else 2500, 200 if name == "strsm" else 120)


def test_launches(device):
    a, c = piblas.array(np.ones((64, 64))), piblas.array(np.ones((64, 64)), order="F")
    x = piblas.array(np.ones(100))
    for call, launches in (
        (lambda: piblas.saxpy(x, x.copy(), a=2.0), 1),
        (lambda: piblas.sdot(x, x), 1),
        (lambda: piblas.sgemm(1.0, a, a), 2),
        (lambda: piblas.sgemm(1.0, a, a, 0.5, c, overwrite_c=1), 2),
        (lambda: piblas.sgemm(1.0, np.array(a), np.array(a)), 1),
    ):
        before = device.launches
        call()
        assert device.launches - before == launches
