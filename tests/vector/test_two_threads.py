"""Does the second hardware thread of a QPU pay for vector functions?

A thread that waits for a lookup can hand its QPU to the other one.  What it takes: half of the
registers, the values in accumulators, and three instructions for each switch.  What it gives, a
program gets as well that asks for its operands ahead: the lookups wait in the TMU's queue.  And
programs that compute run alone (guide, p. 21): only fragment shaders come in pairs.  So lowering
uses one thread.  The cycles here are what that is decided by; ``pytest -s`` prints them.
"""

from __future__ import annotations

import numpy as np
import pytest

from piblas.codegen import Assembler
from piblas.driver import Emulator
from piblas.isa import setup_words as sw
from piblas.kernels import macros

VECTORS = 192
"""Of a QPU; two threads have half of them each."""


def program(operations, ahead, threads):
    """Sums vectors, each after so many multiplications by 1 and additions of 0.

    ``ahead`` lookups wait in the TMU; with two threads each switches after its request.
    """
    asm = Assembler("threads")
    at, count, step, total, setup = asm.ra0, asm.ra1, asm.rb0, asm.rb1, asm.ra2
    asm.mov(asm.tmu_noswap, 1)
    asm.shl(asm.r0, asm.elem_num, 2)
    asm.add(at, asm.r0, asm.unif)
    asm.mov(count, asm.unif)
    asm.mov(setup, asm.unif)
    asm.ldi(step, 64)
    asm.mov(total, 0)

    def ask():
        asm.mov(asm.t0s, at)
        asm.add(at, at, step)

    for _ in range(ahead):
        ask()
    asm.label("vector")
    if not ahead:
        ask()
    if threads == 2:
        with asm.fixed():
            asm.signal("thrsw")
            asm.nop()
            asm.nop()
    asm.ldtmu(0, asm.r0)
    if ahead:
        ask()
    for i in range(operations):
        if i % 2:
            asm.fadd(asm.r0, asm.r0, 0)
        else:
            asm.fmul(asm.r0, asm.r0, 1.0)
    asm.fadd(total, total, asm.r0)
    asm.sub(count, count, 1, sf=True)
    asm.branch("vector", cond="any_zc")
    for _ in range(ahead):
        asm.ldtmu(0)
    asm.mov(asm.vpm_wr_setup, setup)
    asm.mov(asm.vpm, total)
    with macros.holding_mutex(asm):
        asm.ldi(asm.vpm_wr_setup, sw.vdw_stride(0))
        asm.mov(asm.vpm_wr_setup, asm.unif)
        asm.mov(asm.vdw_addr, asm.unif)
        asm.read(asm.vdw_wait)
    asm.end()
    return asm.finish()


@pytest.fixture(scope="module")
def device():
    with Emulator(memory=8 << 20, seed=3, timing="calibrated") as dev:
        yield dev


def cycles(device, operations, ahead, threads):
    """Simulated cycles for 12 QPUs, with the sums checked."""
    workers, each = 12 * threads, VECTORS // threads
    x, out = device.alloc(64 * (each * workers + 8)), device.alloc(64 * workers)
    values = x.array(np.float32)
    values[:] = np.arange(values.size) % 7
    x.clean()
    out.clean()
    streams = [
        np.array(
            [x.bus_address + 64 * each * w, each, sw.vpm_write(w), sw.vdw_store(1, 16, w),
             out.bus_address + 64 * w],
            np.int64,
        ).astype(np.uint32)
        for w in range(workers)
    ]  # fmt: skip
    loaded = device.load(program(operations, ahead, threads).words)
    report = device.execute(loaded, streams, threads=threads)
    out.invalidate()
    used = values[: 16 * each * workers].reshape(workers, each, 16)
    np.testing.assert_array_equal(out.array(np.float32, (workers, 16)), used.sum(axis=1))
    for buffer in (x, out, loaded):
        buffer.free()
    return report.cycles


@pytest.mark.parametrize("operations", (0, 8, 32, 128))
def test_requests_ahead_do_what_two_threads_do(device, operations):
    waiting = cycles(device, operations, 0, 1)
    pair = cycles(device, operations, 0, 2)
    ahead = cycles(device, operations, 4, 1)
    print(f"{operations} operations: one thread that waits {waiting}, two {pair}, "
          f"one that asks ahead {ahead} cycles")  # fmt: skip
    assert pair < waiting
    assert ahead <= 1.02 * pair
