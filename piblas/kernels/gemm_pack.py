"""Packs the operands of the gemm kernel, which lie in memory with any strides, on up to 4 QPUs.

A *block* is what 16 rows of the VPM hold.  Each of its 16 vectors is one TMU request, of addresses
that differ from the block's base by a fixed vector of offsets; a mask clears what is padding, and
the address of such an element is the base, which is always one of the operand's::

    operand --TMU0/1 (base + offset[j]), 8 requests ahead--> and mask[j] --> VPM --VDW--> packed

Where the operand is contiguous along its length, vectors are written horizontally, 16 packed
words each.  Where it is contiguous in k, a request is (almost) one line of 16 steps of one column,
written vertically, so that the VPM transposes.  Widths that divide 16 put several steps into a row
of the VPM, so that the store engine, the narrow place, moves whole lines; it needs 14 clocks for 16
words.

The largest magnitude at each place of the blocks of a segment is kept.  At its end these go into
the largest of the QPU, which it stores at the end of the launch, and, if asked for, to memory.

Offsets, masks, setup words and strides come from the uniforms and from tables next to them
(:mod:`.gemm_segments`), so that one program packs every operand.  Blocks that are alike and follow
each other are one *segment*.  The rows of the VPM are private; the mutex is held for a transfer.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Tuple

from ..isa import setup_words as sw
from . import macros, parts
from .gemm import LANES, LINE
from .spec import KernelSpec, register

if TYPE_CHECKING:
    from ..codegen import Assembler
    from ..codegen.operand import Reg

__all__ = ["PackOptions", "SPEC"]

AHEAD = 2 * parts.TMU_DEPTH
"""Requests on their way, in both TMUs."""


@dataclasses.dataclass(frozen=True)
class PackOptions:
    """There is one program."""


# --- program -------------------------------------------------------------------------------------


def _table(asm: Assembler, lane: object) -> Tuple[list, list]:
    """The offsets and masks of a segment, from memory."""
    values = [asm.reg(f"table{i}") for i in range(2 * LANES)]
    at, line = asm.reg("table_at"), asm.reg("line")
    asm.ldi(line, LINE)
    asm.add(at, asm.unif, lane)
    ports = asm.t0s, asm.t1s
    for i in range(2 * LANES + AHEAD):
        if i >= AHEAD:
            asm.ldtmu(i % 2, values[i - AHEAD])
        if i < 2 * LANES:
            asm.mov(ports[i % 2], at)
            asm.add(at, at, line)
    return values[:LANES], values[LANES:]


def generate(asm: Assembler, options: PackOptions) -> None:
    """Write the kernel; :func:`.gemm_segments.streams` makes what it reads."""
    asm.mov(asm.tmu_noswap, 1)
    lane, segments = asm.reg("lane"), asm.reg("segments")
    asm.shl(lane, asm.elem_num, 2)
    asm.mov(segments, asm.unif)
    watch = asm.reg("watch")
    asm.mov(watch, 0)
    ports = asm.t0s, asm.t1s
    asm.label("segment")
    offsets, masks = _table(asm, lane)
    names = (
        "fill", "gap", "setup", "base", "advance", "out", "out_advance", "look", "most", "left",
    )  # fmt: skip
    registers = [asm.reg(name) for name in names]
    fill, gap, setup, base, advance, out, out_advance, look, most, left = registers
    for register_ in registers:
        asm.mov(register_, asm.unif)
    largest = [asm.reg(f"largest{j}") for j in range(LANES)]
    for register_ in largest:
        asm.mov(register_, 0)
    for j in range(AHEAD):
        asm.add(ports[j % 2], base, offsets[j])
    asm.label("block")
    following = asm.reg("following")
    asm.mov(following, base)
    asm.sub(left, left, 1, sf=True)
    # After the last block, what is asked for ahead is that block once more.
    asm.add(following, base, advance, cond="zc")
    asm.mov(asm.vpm_wr_setup, fill)
    for j in range(LANES):
        value = asm.reg("value")
        asm.ldtmu(j % 2, value)
        masked = asm.reg("masked")
        asm.and_(masked, value, masks[j])
        asm.mov(asm.vpm, masked)
        asm.fmaxabs(largest[j], largest[j], masked)
        asked = j + AHEAD
        asm.add(ports[j % 2], base if asked < LANES else following, offsets[asked % LANES])
    asm.mov(base, following)
    _store(asm, gap, setup, out)
    asm.add(out, out, out_advance)
    asm.mov(asm.null, left, sf=True)
    asm.branch("block", cond="any_zc")
    for j in range(AHEAD):
        asm.ldtmu(j % 2)
    for register_ in largest:
        looked = asm.reg("looked")
        asm.and_(looked, register_, look)
        asm.fmaxabs(watch, watch, looked)
    asm.mov(asm.null, most, sf=True)
    asm.branch("no_most", cond="all_zs")
    asm.mov(asm.vpm_wr_setup, fill)
    for register_ in largest:
        asm.mov(asm.vpm, register_)
    _store(asm, gap, setup, most)
    asm.label("no_most")
    asm.sub(segments, segments, 1, sf=True)
    asm.branch("segment", cond="any_zc")
    asm.mov(asm.vpm_wr_setup, asm.unif)
    asm.mov(asm.vpm, watch)
    setup, out = asm.reg("report_setup"), asm.reg("report")
    asm.ldi(gap, sw.vdw_stride(0))
    asm.mov(setup, asm.unif)
    asm.mov(out, asm.unif)
    _store(asm, gap, setup, out)
    parts.finish(asm)


def _store(asm: Assembler, gap: Reg, setup: Reg, address: Reg) -> None:
    """Store rows of the VPM, and wait."""
    asm.mov(asm.vpm_wr_setup, gap)
    asm.mov(asm.vpm_wr_setup, setup)
    with asm.fixed():
        with macros.holding_mutex(asm):
            asm.mov(asm.vdw_addr, address)
            asm.read(asm.vdw_wait)


SPEC = register(
    KernelSpec(
        name="gemm_pack",
        routines=("sgemm",),
        generate=generate,
        defaults=PackOptions(),
        summary="packs operands of any strides for the gemm kernel; TMU reads, VPM, DMA stores",
    )
)
