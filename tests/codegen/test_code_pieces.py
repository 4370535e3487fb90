"""Programs that are assembled in pieces: what lives across them, and what a touch fetches."""

from __future__ import annotations

import random

import numpy as np
import pytest

from piblas.codegen import Assembler, macros
from piblas.codegen.operand import MASK_ACC, NAMED, Loc
from piblas.codegen.pieces import TOUCHED, Frame, touch
from piblas.errors import AssemblerError

M32 = 0xFFFFFFFF


def framed(held, pieces, seed):
    """(program, what it stores): integers go through random operations in so many pieces, while the
    frame holds ``held`` registers of its own, which it adds in the end."""
    rng = random.Random(seed)
    asm = Assembler("framed")
    base = asm.reg("base")
    asm.branch("start", link=base)
    asm.label("start")
    kept = asm.regs("kept", held)
    for number, register in enumerate(kept):
        asm.ldi(register, 1000 + number)
    first, factor, out = asm.reg("first"), asm.reg("factor"), asm.reg("out")
    asm.mov(first, asm.unif)
    asm.ldi(factor, 1)
    asm.mov(out, asm.unif)
    asm.mov(asm.t0s, base)
    result = asm.reg("result")
    frame = Frame(asm, [base, factor, first], [result])
    asm.ldtmu(0)
    for register in kept:
        asm.add(result, result, register)
    macros.vpm_write_setup(asm)
    asm.mov(asm.vpm, result)
    macros.dma_store(asm, out, 1, 16)
    asm.end(interrupt=True)

    places = frame.allocate()
    values, numbers = [places[first]], [7]
    for _ in range(pieces):
        piece = Assembler("piece")
        piece.ldtmu(0)
        touch(piece, 0, places[base], places[factor])
        for _ in range(40):
            a, b = rng.randrange(len(values)), rng.randrange(len(values))
            made = piece.reg("made")
            op = rng.choice(("add", "sub", "xor"))
            getattr(piece, op)(made, values[a], values[b])
            x, y = numbers[a], numbers[b]
            number = {"add": x + y, "sub": x - y, "xor": x ^ y}[op] & M32
            if len(values) < 12:
                values.append(made)
                numbers.append(number)
            else:
                gone = rng.randrange(1, 12)
                values[gone], numbers[gone] = made, number
        values = frame.piece(piece, values)
        assert all(isinstance(each, Loc) and not each.allowed & MASK_ACC for each in values)
        assert not set(frame.held) & set(values[1:])
    last = Assembler("piece")
    last.mov(places[result], values[-1])
    frame.piece(last, [])
    return frame.assemble("start"), numbers[-1] + sum(1000 + i for i in range(held)) & M32


@pytest.mark.parametrize("held", (0, 8, 30))
@pytest.mark.parametrize("pieces", (0, 1, 5, 40))
def test_values_live_on_from_piece_to_piece(device, held, pieces):
    program, want = framed(held, pieces, held + pieces)
    out = device.alloc(64)
    out.clean()
    loaded = device.load(program.words)
    device.execute(loaded, [np.array([7, out.bus_address], np.uint32)])
    out.invalidate()
    assert out.array(np.uint32).tolist() == [want] * 16
    loaded.free()
    out.free()


def test_touches_fetch_the_piece_after_theirs():
    program, _ = framed(4, 40, 1)
    start, total = program.labels["start"], len(program.words)
    loads = [
        (i, instr.imm) for i, instr in enumerate(program.instrs)
        if instr.sig == 14 and instr.imm and 0 < instr.imm < 8 * total and not instr.imm % 8
        and i > start + 8 and instr.imm < 1 << 16 and instr.imm not in range(1000, 1040)
    ]  # fmt: skip
    aims = [start + imm // 8 for _, imm in loads]
    assert len(loads) >= 39
    for (i, _), aim in list(zip(loads, aims))[:-6]:
        assert i < aim <= i + 120
    assert max(aims) + 8 * TOUCHED <= total


def test_too_many_values_between_pieces():
    asm = Assembler("frame")
    result = asm.reg("result")
    frame = Frame(asm, [], [result])
    asm.mov(asm.host_int, result)
    asm.end()
    frame.allocate()
    piece = Assembler("piece")
    values = piece.regs("value", 70)
    for register in values:
        piece.mov(register, NAMED["elem_num"])
    with pytest.raises(AssemblerError, match="out of registers"):
        frame.piece(piece, values)
