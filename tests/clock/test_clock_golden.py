"""Cycles of kernels, kept: a change of the clock or of a kernel shows in the diff of the golden.

``pytest --update-golden`` rewrites tests/golden/cycles.json.
"""

from __future__ import annotations

import json
import time

import numpy as np
import pytest

pytest.importorskip("numba")

from piblas.blas import qpu
from piblas.driver import Emulator
from piblas.isa.timing import SETS

SHAPES = [(16, 48, 32), (64, 64, 64), (96, 96, 100), (50, 70, 33), (192, 192, 64)]
NEEDED = 15e6


def cycles(timing, m, n, k, beta):
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal(shape).astype("f4") for shape in ((m, k), (k, n)))
    c = np.zeros((m, n), "f4", order="F")
    with Emulator(memory=8 << 20, timing=timing) as device:
        return qpu.sgemm(device, 1.0, a, b, beta, c).cycles


def test_cycles_of_sgemm(golden):
    kept = {
        f"sgemm {m}x{n}x{k} beta={beta}": {t: cycles(t, m, n, k, beta) for t in SETS}
        for m, n, k in SHAPES
        for beta in (0.0, 1.0)
    }
    golden("cycles.json", json.dumps(kept, indent=1) + "\n")
    for times in kept.values():
        assert times["pessimistic"] > times["calibrated"] > times["optimistic"]


@pytest.mark.slow
def test_speed_with_timing():
    rng = np.random.default_rng(1)
    a, b = (rng.standard_normal((512, 512)).astype("f4") for _ in range(2))
    c = np.zeros((512, 512), "f4", order="F")
    best = 0.0
    with Emulator(memory=32 << 20) as device:
        for _ in range(3):
            start = time.perf_counter()
            report = qpu.sgemm(device, 1.0, a, b, 0.0, c)
            best = max(best, report.instructions / (time.perf_counter() - start))
    assert best >= NEEDED
