"""Idioms that kernels share, as functions over an assembler.

None of them hides state: each writes the few instructions that its text names, through the public
methods of :class:`piblas.codegen.Assembler`.
"""

from __future__ import annotations

import contextlib
from typing import Any, Iterator, Optional

from ..isa import setup_words
from .asm import Assembler
from .emit import Source
from .operand import Operand

__all__ = [
    "lane_addresses",
    "tmu_request",
    "tmu_load",
    "dma_load",
    "dma_store",
    "vpm_read_setup",
    "vpm_write_setup",
    "reduce",
    "broadcast",
    "holding_mutex",
    "counted_loop",
]


def lane_addresses(asm: Assembler, dst: Operand, base: Source) -> None:
    """dst = base + 4 * element: the addresses of 16 consecutive words."""
    lane = asm.reg("lane")
    asm.shl(lane, asm.elem_num, 2)
    asm.add(dst, base, lane)


def tmu_request(asm: Assembler, unit: int, address: Source) -> None:
    """Ask TMU ``unit`` for the words at 16 addresses; at most 4 requests may wait (measured)."""
    asm.mov(asm.t1s if unit else asm.t0s, address)


def tmu_load(asm: Assembler, unit: int, dst: Operand, address: Source) -> None:
    """dst = the words at 16 addresses, waiting for them."""
    tmu_request(asm, unit, address)
    asm.ldtmu(unit, dst)


def vpm_read_setup(asm: Assembler, count: int, y: int = 0, **layout: Any) -> None:
    """Let the next ``count`` reads of ``asm.vpm`` deliver vectors from row ``y`` on."""
    asm.ldi(asm.vpm_rd_setup, setup_words.vpm_read(count, y, **layout))


def vpm_write_setup(asm: Assembler, y: int = 0, **layout: Any) -> None:
    """Let writes of ``asm.vpm`` fill vectors from row ``y`` on."""
    asm.ldi(asm.vpm_wr_setup, setup_words.vpm_write(y, **layout))


def dma_load(
    asm: Assembler, address: Source, rows: int, row_length: int, y: int = 0, pitch: int = 64
) -> None:
    """Load ``rows`` rows of words, ``pitch`` bytes apart, into the VPM, and wait (guide, p. 58)."""
    asm.ldi(asm.vpm_rd_setup, setup_words.vdr_pitch(pitch))
    asm.ldi(asm.vpm_rd_setup, setup_words.vdr_load(rows, row_length, y))
    asm.mov(asm.vdr_addr, address)
    asm.read(asm.vdr_wait)


def dma_store(
    asm: Assembler, address: Source, rows: int, row_length: int, y: int = 0, gap: int = 0
) -> None:
    """Store ``rows`` rows of words from the VPM, ``gap`` bytes between them in memory, and wait
    (guide, p. 57)."""
    asm.ldi(asm.vpm_wr_setup, setup_words.vdw_stride(gap))
    asm.ldi(asm.vpm_wr_setup, setup_words.vdw_store(rows, row_length, y))
    asm.mov(asm.vdw_addr, address)
    asm.read(asm.vdw_wait)


def reduce(asm: Assembler, dst: Operand, src: Operand, op: str = "fadd") -> None:
    """dst = ``op`` over all 16 elements of src, in every element; four rotations and four ops.

    The order of a float sum is fixed: halves, quarters, eighths, neighbours.
    """
    partial = src
    for amount in (8, 4, 2, 1):
        turned, joined = asm.reg("turned"), asm.reg("joined")
        asm.rotate(turned, partial, amount)
        target = dst if amount == 1 else joined
        getattr(asm, op)(target, partial, turned)
        partial = joined


def broadcast(asm: Assembler, dst: Optional[Operand], src: Operand, element: int) -> None:
    """r5, and ``dst`` if given, = element ``element`` of src, in every element."""
    if element % 16:
        asm.rotate(asm.r5rep, src, -element % 16)
    else:
        asm.mov(asm.r5rep, src)  # r5rep takes element 0, so either unit will do
    if dst is not None:
        asm.mov(dst, asm.r5)


@contextlib.contextmanager
def holding_mutex(asm: Assembler) -> Iterator[None]:
    """The code inside runs on one QPU at a time."""
    asm.read(asm.mutex)
    yield
    asm.mov(asm.mutex, 0)


@contextlib.contextmanager
def counted_loop(asm: Assembler, name: str, counter: Operand) -> Iterator[None]:
    """Run the code inside ``counter`` times (at least once); counts the register down to 0."""
    asm.label(name)
    yield
    asm.sub(counter, counter, 1, sf=True)
    asm.branch(name, cond="any_zc")
