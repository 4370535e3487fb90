"""Cycles of kernels, kept: a change of the clock or of a kernel shows in the diff of the golden.

Every kernel is there, by calls of every routine that it serves.  ``pytest --update-golden``
rewrites tests/golden/cycles.json.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("numba")

import piblas
from piblas.cli import calls
from piblas.driver import Emulator
from piblas.isa.timing import SETS
from piblas.kernels import spec
from piblas.routines import ROUTINES

GEMM = [(16, 48, 32), (64, 64, 64), (96, 96, 100), (50, 70, 33), (192, 192, 64)]
SHAPES = {
    (1, "n"): [(100,), (20000,)],
    (2, "n"): [(150,), (300,)],
    (2, "m n"): [(40, 50), (200, 100)],
    (2, "n k"): [(150, 3), (300, 20)],
    (2, "m n kl ku"): [(100, 60, 3, 1), (200, 300, 4, 20)],
    (3, "m n"): [(40, 50)],
    (3, "n k"): [(50, 40)],
    (3, "m n k"): GEMM,
}
"""Sizes by a routine's level and the names of its sizes."""


def cases(routine):
    """(name, sizes, options) of the calls of a routine."""
    row = ROUTINES[routine]
    for numbers in SHAPES[row.level, " ".join(row.sizes)]:
        name = f"{routine} {'x'.join(map(str, numbers))}"
        sizes = dict(zip(row.sizes, numbers))
        if routine == "sgemm":
            for beta in (0.0, 1.0):
                yield f"{name} beta={beta}", sizes, calls.Options(beta=beta)
        else:
            yield name, sizes, calls.Options()


def launches(timing, run):
    """(kernel, cycles) of each launch of a call on a fresh emulator."""
    with Emulator(memory=8 << 20, timing=timing) as device, piblas.use(device):
        with piblas.profile() as profile:
            run()
        return [(report.kernel, report.cycles) for report in profile.reports]


def product_in_device_memory():
    """A product of operands that the QPUs pack."""
    rng = np.random.default_rng(1)
    a, b = (piblas.asarray(rng.standard_normal((90, 90)).astype("f4")) for _ in range(2))
    piblas.sgemm(1.0, a, b.T)


def test_cycles_of_every_kernel(golden):
    kept, kernels = {}, set()
    for routine in calls.routines():
        function = getattr(piblas, routine)
        for name, sizes, options in cases(routine):
            run = calls.prepare(routine, function, sizes, options)
            kept[name] = {timing: launches(timing, run) for timing in SETS}
    name = "sgemm 90x90x90 in device memory"
    kept[name] = {timing: launches(timing, product_in_device_memory) for timing in SETS}
    lines = []
    for name, by_set in kept.items():
        kernels.update(kernel for kernel, _ in by_set["calibrated"])
        times = {timing: sum(cycles for _, cycles in each) for timing, each in by_set.items()}
        assert times["pessimistic"] > times["calibrated"] > times["optimistic"] > 0, name
        lines.append(f' "{name}": {json.dumps(times)}')
    assert kernels == set(spec.names())
    golden("cycles.json", "{\n" + ",\n".join(lines) + "\n}\n")
