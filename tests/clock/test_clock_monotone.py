"""No program gets faster when something gets slower.

With an exception: a delay can change who comes first at a unit, and with that who waits for whom,
which lines a cache still holds, and so the total; schedules of tasks on shared machines have such
anomalies even without caches.  A launch of several QPUs may therefore come out faster by
:data:`ANOMALY`.  Within one QPU the fetches of uniforms, code and TMUs share L2 and memory: a TMU
that stops at a miss lets a line of uniforms pass, which costs less; hence :data:`ALONE`.  On
average over programs nothing gets faster by more than :data:`MEAN`.

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
PROGRAMS = 12
ANOMALY = 0.03
ALONE = 0.006
MEAN = 0.002


def program(seed: int):
    """A loop of pieces that each use a unit, safe for any number of QPUs at once."""
    rng = random.Random(seed)
    lines = ["mov tmu_noswap, 1", "mov ra0, unif", "mov ra1, unif", "ldi ra2, -, 6", "mov r1, 1"]
    top = len(lines)
    for _ in range(14):
        kind = rng.choice(["uniform", "tmu", "gather", "sfu", "vpm", "dma", "mutex", "plain"])
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


def cycles(timing, n_qpus: int):
    """Clocks of all programs under a timing."""
    times = []
    with Emulator(memory=1 << 20, timing=timing) as device:
        data, out = device.alloc(1 << 16), device.alloc(12 * 1024)
        streams = []
        for qpu in range(n_qpus):
            words = np.zeros(2000, np.uint32)
            words[:2] = data.bus_address + 1024 * qpu, out.bus_address + 1024 * qpu
            streams.append(words)
        for seed in range(PROGRAMS):
            loaded = device.load(program(seed))
            times.append(device.execute(loaded, streams).cycles)
            loaded.free()
    return np.array(times, dtype=float)


@pytest.fixture(scope="module")
def plain():
    base = {row.name: max(1, row.values[1]) for row in COSTS}
    timing = timing_set("calibrated", **base)
    return base, {n: cycles(timing, n) for n in (1, 5, 12)}


@pytest.mark.parametrize("n_qpus", [1, 5, 12])
@pytest.mark.parametrize("row", COSTS, ids=lambda row: row.name)
def test_slower_parts_make_no_program_faster(plain, row, n_qpus):
    base, times = plain
    value = 3 * base[row.name] if row.grows > 0 else base[row.name] // 3
    slower = cycles(timing_set("calibrated", **{**base, row.name: value}), n_qpus)
    change = slower / times[n_qpus] - 1
    assert change.min() >= -(ALONE if n_qpus == 1 else ANOMALY)
    assert change.mean() >= -MEAN
