"""A tour of piblas in seconds: from one instruction to a matrix product."""

from __future__ import annotations

import numpy as np

import piblas
from piblas.codegen import Assembler
from piblas.isa.disasm import disassemble
from piblas.isa.instr import decode, encode
from piblas.isa.parse import parse
from piblas.isa.setup_words import vdw_store, vdw_stride, vpm_write


def test_an_instruction():
    """Text, fields and the 64-bit word are three forms of the same thing."""
    instr = parse("fadd r0, ra1, rb2; fmul r1, r2, r3")
    word = encode(instr)
    assert decode(word) == instr
    assert disassemble(word) == "fadd r0, ra1, rb2; fmul r1, r2, r3"


def test_a_program(device):
    """Assemble a program, run it on the emulated chip, read what it wrote."""
    asm = Assembler("squares")
    x = asm.reg("x")
    asm.itof(x, asm.elem_num)
    asm.fmul(x, x, x)
    asm.ldi(asm.vpm_wr_setup, vpm_write(0))
    asm.mov(asm.vpm, x)
    asm.ldi(asm.vpm_wr_setup, vdw_store(1, 16))
    asm.ldi(asm.vpm_wr_setup, vdw_stride(0))
    asm.mov(asm.vdw_addr, asm.unif)
    asm.read(asm.vdw_wait)
    asm.end()
    buffer = device.alloc(64)
    report = device.execute(device.load(asm.finish().words), [[buffer.bus_address]])
    buffer.invalidate()
    assert report.n_qpus == 1
    np.testing.assert_array_equal(buffer.array(np.float32, 16), np.arange(16.0) ** 2)
    buffer.free()


def test_a_product(device):
    """The same, for a user: one call, on the device of his choice."""
    a = np.arange(12, dtype=np.float32).reshape(3, 4)
    with piblas.use(device), piblas.profile() as profile:
        c = piblas.sgemm(1.0, a, a, trans_b=1)
    np.testing.assert_array_equal(c, a @ a.T)
    assert profile.reports[0].kernel == "gemm"
    assert profile.reports[0].instructions > 0


def test_the_reason():
    """Dispatch says where a call would run, and why."""
    assert piblas.why("sgemm", m=512, n=512, k=512, board="pi1").backend == "qpu"
    assert piblas.why("sgemm", m=8, n=8, k=8, board="pi3").backend == "cpu"
