"""One generator, scheduled and unscheduled, on the emulated chip: the same bits."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.codegen import Assembler, check, macros
from piblas.isa.source import assemble


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


# What the checker lets pass although the word before seems to write, and what r0 is afterwards.
IDLE = {
    "nop with a destination": (
        ["mov r0, 5", "nop.always r0", "m_mov r0, r0 rot 3"], [5] * 16,
    ),
    "never to a register of file A": (
        ["mov r0, 5", "mov ra1, 6", "nop", "mov.never ra1, r0", "mov r0, ra1"], [6] * 16,
    ),
    "never from one just written": (["mov r0, 5", "mov ra1, 6", "mov.never r0, ra1"], [5] * 16),
    "never to an accumulator": (
        ["mov r0, 5", "m_mov.never r0, r1", "m_mov r0, r0 rot 3"], [5] * 16,
    ),
    "never to r5": (
        ["mov r5rep, 3", "mov r0, elem_num", "m_mov.never r5rep, r0", "m_mov r0, r0 rot r5"],
        [13, 14, 15, *range(13)],
    ),
    "never from r4 before its time": (
        ["mov r0, 5", "mov recip, r0", "mov.never r0, r4", "nop", "nop", "mov r1, r4"], [5] * 16,
    ),
    "both to r0, one never": (["mov r0, 5; m_mov.never r0, r1"], [5] * 16),
    "both to r0, one idle": (["mov r1, 7", "nop.always r0; m_mov r0, r1"], [7] * 16),
    "conditional, with the same value": (
        ["mov r1, elem_num", "mov.sf -, r1", "mov r0, 5", "nop", "mov.zs r0, r0",
         "m_mov r0, r0 rot 3"], [5] * 16,
    ),
    "tmu_noswap with its value": (
        ["mov r0, 5", "mov tmu_noswap, 1", "nop", "nop", "nop", "mov t0s, unif", "nop; ldtmu0",
         "mov r1, r4", "mov tmu_noswap, 1"], [5] * 16,
    ),
}  # fmt: skip
STORE = ["ldi -, vpm_wr_setup, 0x00001a00", "mov vpm, r0", "ldi -, vpm_wr_setup, 0x80904000",
         "mov vdw_addr, unif", "mov -, vdw_wait", "nop; thrend", "nop", "nop"]  # fmt: skip


@pytest.mark.parametrize("name", IDLE)
def test_what_writes_nothing_is_no_fault_either(device, name):
    lines, expected = IDLE[name]
    words = assemble("\n".join([*lines, *STORE])).words
    assert [str(f) for f in check(words) if f.level == "error"] == []
    program, buffer = device.load(np.array(words, np.uint64)), device.alloc(64)
    count = sum("unif" in line for line in [*lines, *STORE])
    device.execute(program, [np.full(count, buffer.bus_address, np.uint32)])
    np.testing.assert_array_equal(buffer.array(np.uint32, 16), expected)
    program.free()
    buffer.free()
