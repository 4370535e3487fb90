"""One generator, scheduled and unscheduled, on the emulated chip: the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.codegen import Assembler, macros


def polynomial(count: int) -> Assembler:
    """y = ((x + 1) * x + 2) * x ... for ``count`` vectors; the dot product with x in the last."""
    asm = Assembler("polynomial")
    source, target, left = asm.regs("argument", 3)
    asm.mov(asm.tmu_noswap, 1)
    macros.lane_addresses(asm, source, asm.unif)
    asm.mov(target, asm.unif)
    asm.mov(left, asm.unif)
    dot = asm.reg("dot")
    asm.mov(dot, 0)
    macros.tmu_request(asm, 0, source)
    with macros.counted_loop(asm, "vector", left):
        x, y, product = asm.reg("x"), asm.reg("y"), asm.reg("product")
        asm.ldtmu(0, x)
        asm.add(source, source, 64)
        macros.tmu_request(asm, 0, source)
        asm.mov(y, 1.0)
        for constant in (1.0, 2.0, 4.0):
            asm.fmul(product, y, x)
            asm.fadd(y, product, constant)
        asm.fmul(product, x, y)
        asm.fadd(dot, dot, product)
        macros.vpm_write_setup(asm)
        asm.mov(asm.vpm, y)
        macros.dma_store(asm, target, 1, 16)
        asm.add(target, target, 64)
    asm.ldtmu(0)
    macros.reduce(asm, dot, dot)
    macros.vpm_write_setup(asm)
    asm.mov(asm.vpm, dot)
    macros.dma_store(asm, target, 1, 16)
    asm.end(interrupt=True)
    return asm


@pytest.mark.parametrize("count", [1, 7])
def test_scheduling_changes_no_bit(device, count):
    rng = np.random.default_rng(count)
    results = []
    x = rng.uniform(-1, 1, 16 * (count + 1)).astype(np.float32)
    for schedule in (False, True):
        program = device.load(polynomial(count).finish(schedule=schedule).words)
        given, out = device.alloc(x.nbytes), device.alloc(64 * (count + 1))
        given.array(np.float32, x.shape)[:] = x
        given.clean()
        uniforms = np.array([given.bus_address, out.bus_address, count], dtype=np.uint32)
        device.execute(program, [uniforms])
        out.invalidate()
        results.append(out.array(np.uint32, (count + 1, 16)).copy())
        given.free()
        out.free()
    assert (results[0] == results[1]).all()
    values = results[1].view(np.float32)
    used = x[: 16 * count].reshape(count, 16).astype(np.float64)
    expected = ((used + 1) * used + 2) * used + 4
    assert np.allclose(values[:-1], expected, rtol=1e-5)
    assert np.allclose(values[-1], (used * expected).sum(), rtol=1e-4)
