"""No program gets faster when something gets slower; where one may, by how much.

A unit serves in the order of time.  While a slower part leaves that order as it is, every time in
the launch is a sum or a maximum of earlier ones, and nothing can come earlier.  So one QPU never
gets faster, not by a clock.  The exception is :data:`ALONE` for ``tmu_miss_block``, a cost of the
blocking reading alone: a TMU that stands still lets lines of code or uniforms pass.  Where one unit
at a time asks for lines, and code is in the cache, that cannot happen (:data:`ONE_CLIENT`).

With several QPUs a delay can change who comes first at a unit, with that who waits for whom and
which lines a cache still holds, and so the total.  Any fixed rule of precedence on shared machines
has such anomalies (Graham, Bounds on multiprocessing timing anomalies, 1969), even without caches;
to be rid of them units would have to serve in an order that does not depend on time, and no
hardware does.  The mutex makes them large, since it decides who works next to whom for long: 12
QPUs come out faster by at most :data:`LINES` without it, by :data:`ANOMALY` with it.  On average
over programs nothing gets faster by more than :data:`MEAN`.

Sizes of caches are not costs, and are left out.
"""

from __future__ import annotations

import random

import numpy as np
import pytest

pytest.importorskip("numba")

from piblas.driver import Emulator
from piblas.isa.instr import encode
from piblas.isa.parse import parse
from piblas.isa.timing import ROWS, timing_set

COSTS = [row for row in ROWS if row.grows and row.name not in ("issue", "icache_ahead")]
COSTS = [row for row in COSTS if not row.name.startswith("launch_")]
SLOW = pytest.mark.slow
PROGRAMS = 12
ANOMALY = 0.08
LINES = 0.02
ALONE = 0.006
MEAN = 0.005
KINDS = ("uniform", "tmu", "gather", "sfu", "vpm", "dma", "mutex", "plain")
ONE_CLIENT = {
    "uniform": ("uniform", "sfu", "plain"),
    "tmu": ("tmu", "gather", "sfu", "plain"),
    "dma": ("vpm", "dma", "mutex", "sfu", "plain"),
}
"""Pieces that one client of port and memory is enough for."""
WITHOUT_MUTEX = ("uniform", "tmu", "gather", "sfu", "plain")


def program(seed: int, kinds=KINDS):
    """A loop of pieces that each use a unit, safe for any number of QPUs at once."""
    rng = random.Random(seed)
    lines = ["mov tmu_noswap, 1", "mov ra0, unif", "mov ra1, unif", "ldi ra2, -, 6", "mov r1, 1"]
    top = len(lines)
    for _ in range(14):
        kind = rng.choice(kinds)
        if kind == "uniform":
            lines += ["mov r0, unif"] * rng.randrange(1, 12)
        elif kind in ("tmu", "gather"):
            stride = 4 if kind == "tmu" else rng.choice([8, 64, 256])
            ask = [f"ldi r3, -, {stride}", "mul24 r2, elem_num, r3", "nop", "add r2, ra0, r2"]
            ask += [f"ldi r3, -, {rng.randrange(0, 16384, 64)}", "add r2, r2, r3"]
            unit = rng.randrange(2)
            plain = ["nop"] * rng.randrange(0, 30)
            lines += [*ask, f"mov t{unit}s, r2", *plain, f"nop; ldtmu{unit}"]
        elif kind == "sfu":
            lines += ["mov recip, 1.0", "nop", "nop", "mov r0, r4"]
        elif kind == "vpm":
            lines += ["mov -, mutex", "ldi -, vpm_wr_setup, 0x1a00", "mov vpm, r1", "mov vpm, r1"]
            lines += ["ldi -, vpm_rd_setup, 0x201a00", "nop", "nop", "mov r0, vpm", "mov r0, vpm"]
            lines += ["mov mutex, 0"]
        elif kind == "dma":
            lines += ["mov -, mutex", "ldi -, vpm_rd_setup, 0x83041000", "mov vdr_addr, ra0"]
            lines += ["nop"] * rng.randrange(0, 60) + ["mov -, vdr_wait"]
            lines += ["ldi -, vpm_wr_setup, 0x81104000", "ldi -, vpm_wr_setup, 0xc0000000"]
            lines += ["mov vdw_addr, ra1", "mov -, vdw_wait", "mov mutex, 0"]
        elif kind == "mutex":
            lines += ["mov -, mutex"] + ["nop"] * rng.randrange(10) + ["mov mutex, 0"]
        else:
            lines += ["nop"] * rng.randrange(20)
    lines += ["mov r0, ra2", "nop", "sub.sf r0, r0, r1", "mov ra2, r0"]
    lines += [f"br.any_zc rel {8 * (top - len(lines) - 4):+d}", "nop", "nop", "nop"]
    return [encode(parse(line)) for line in [*lines, "nop; thrend", "nop", "nop"]]


def cycles(timing, n_qpus: int, kinds=KINDS, warm: bool = False, first: int = 0):
    """Clocks of the programs from ``first`` on under a timing; with ``warm``, of a second launch
    on other data."""
    times = []
    with Emulator(memory=1 << 20, timing=timing) as device:
        data, out = device.alloc(1 << 17), device.alloc(12 * 1024)
        for seed in range(first, first + PROGRAMS):
            loaded = device.load(program(seed, kinds))
            for base in (data.bus_address, data.bus_address + (1 << 16))[: 1 + warm]:
                streams = []
                for qpu in range(n_qpus):
                    words = np.zeros(2000, np.uint32)
                    words[:2] = base + 1024 * qpu, out.bus_address + 1024 * qpu
                    streams.append(words)
                report = device.execute(loaded, streams, clear_caches=base == data.bus_address)
            times.append(report.cycles)
            loaded.free()
    return np.array(times, dtype=float)


def slowed(base, row):
    """The timing whose row costs three times as much."""
    value = 3 * base[row.name] if row.grows > 0 else base[row.name] // 3
    return timing_set("calibrated", **{**base, row.name: value})


@pytest.fixture(scope="module")
def plain():
    base = {row.name: max(1, row.values[1]) for row in COSTS}
    timing = timing_set("calibrated", **base)
    return base, {n: cycles(timing, n) for n in (1, 5, 12)}


@pytest.fixture(scope="module")
def without_mutex(plain):
    return cycles(timing_set("calibrated", **plain[0]), 12, WITHOUT_MUTEX)


@pytest.mark.parametrize("n_qpus", [1, 5, 12])
@pytest.mark.parametrize("row", COSTS, ids=lambda row: row.name)
def test_slower_parts_make_no_program_faster(plain, row, n_qpus):
    base, times = plain
    slower = cycles(slowed(base, row), n_qpus)
    change = slower / times[n_qpus] - 1
    alone = ALONE if row.name == "tmu_miss_block" else 0
    assert change.min() >= -(alone if n_qpus == 1 else ANOMALY)
    assert change.mean() >= -MEAN


@pytest.mark.parametrize("row", COSTS, ids=lambda row: row.name)
def test_slower_parts_without_the_mutex(plain, without_mutex, row):
    slower = cycles(slowed(plain[0], row), 12, WITHOUT_MUTEX)
    assert (slower / without_mutex).min() >= 1 - LINES
    assert (slower / without_mutex).mean() >= 1


def drawn(rng):
    """A timing with every cost anywhere between the sets, and one with some costs higher."""
    base, slower = {}, {}
    for row in COSTS:
        low, high = sorted((row.values[0], row.values[2]))
        base[row.name] = rng.randint(low, high)
        slower[row.name] = base[row.name]
    kinds = [row for row in COSTS if row.name != "tmu_miss_block"]
    for row in rng.sample(kinds, rng.randint(1, 4)):
        factor, more = rng.uniform(1, 6), rng.randrange(100)
        if row.grows > 0:
            slower[row.name] = int(slower[row.name] * factor) + more
        else:
            slower[row.name] = max(1, int(slower[row.name] / factor))
    return timing_set("calibrated", **base), timing_set("calibrated", **slower)


@pytest.mark.parametrize("seed", [*range(2), *(pytest.param(n, marks=SLOW) for n in range(2, 40))])
def test_random_costs_and_programs(seed):
    """One QPU is never faster; twelve are by no more than the exception allows."""
    rng = random.Random(seed)
    base, slower = drawn(rng)
    first = 1000 + PROGRAMS * seed
    before, after = (cycles(timing, 1, first=first) for timing in (base, slower))
    assert (after >= before).all()
    before, after = (cycles(timing, 12, first=first) for timing in (base, slower))
    assert (after / before).min() >= 1 - ANOMALY
    assert (after / before).mean() >= 1 - MEAN


@pytest.mark.parametrize("kinds", ONE_CLIENT.values(), ids=ONE_CLIENT)
def test_one_client_is_never_faster(plain, kinds):
    base, _ = plain
    times = cycles(timing_set("calibrated", **base), 1, kinds, warm=True)
    longer = 0
    for row in COSTS:
        slower = cycles(slowed(base, row), 1, kinds, warm=True)
        assert (slower >= times).all(), row.name
        longer += (slower > times).any()
    assert longer >= 2
