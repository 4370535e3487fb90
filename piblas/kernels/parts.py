"""Pieces that kernels share: DMA of a block of rows, the end of a launch."""

from __future__ import annotations

from typing import Any, List, Optional, Sequence, Tuple

import numpy as np

from ..codegen import Assembler, macros
from ..codegen.operand import Operand
from ..isa import setup_words as sw

__all__ = [
    "MAX_VDR_PITCH",
    "MAX_VDW_STRIDE",
    "block_words",
    "blocks_load",
    "blocks_store",
    "finish",
    "finish_words",
    "float_word",
    "meet",
    "meet_words",
    "start_store",
    "store_words",
]

MAX_VDR_PITCH = 8191
"""Bytes from row to row of a DMA load: 13 bits are documented; kernels on boards got 14 to work."""

MAX_VDW_STRIDE = 65535
"""Bytes from a stored row's end to the next row's start (16 bits, measured)."""


def block_words(
    store: bool, rows: int, columns: Sequence[int], vpm_rows: int, address: int, pitch: int
) -> List[int]:
    """The uniforms of :func:`blocks_load` or :func:`blocks_store` for one tile of a matrix.

    The tile has ``rows`` rows, ``pitch`` bytes apart in memory from the bus address ``address``.
    Its columns are cut into vectors of ``columns[v]`` (1..16) words; vector v of row r lies in row
    ``v * vpm_rows + r`` of the VPM.  A vector column is one DMA where the pitch fits the setup
    word, else one DMA a row.  Nothing outside the tile is touched.
    """
    words: List[int] = []
    blocks: List[int] = []
    fits = pitch <= MAX_VDR_PITCH if not store else pitch - 4 * min(columns) <= MAX_VDW_STRIDE
    for v, width in enumerate(columns):
        together, times = (rows, 1) if fits or rows == 1 else (1, rows)
        y = v * vpm_rows
        if store:
            blocks.append(sw.vdw_stride(pitch - 4 * width if together > 1 else 0))
            blocks.append(sw.vdw_store(together, width, y))
        else:
            blocks.append(sw.vdr_pitch(pitch if together > 1 else 0))
            blocks.append(sw.vdr_load(together, width, y))
        blocks += [(address + 64 * v) & 0xFFFFFFFF, times]
    words += [pitch, len(columns)]
    return words + blocks


def _blocks(asm: Assembler, label: str, store: bool) -> None:
    setup_port = asm.vpm_wr_setup if store else asm.vpm_rd_setup
    start_port = asm.vdw_addr if store else asm.vdr_addr
    wait_port = asm.vdw_wait if store else asm.vdr_wait
    pitch, blocks = asm.reg(f"{label}_pitch"), asm.reg(f"{label}_blocks")
    setup, address, rows = (asm.reg(f"{label}_{part}") for part in ("setup", "address", "rows"))
    next_row = asm.reg(f"{label}_next_row")
    asm.ldi(next_row, 1 << 7 if store else 1 << 4)
    asm.mov(pitch, asm.unif)
    asm.mov(blocks, asm.unif)
    asm.label(f"{label}_block")
    asm.mov(setup_port, asm.unif)
    asm.mov(setup, asm.unif)
    asm.mov(address, asm.unif)
    asm.mov(rows, asm.unif)
    asm.label(f"{label}_row")
    asm.mov(setup_port, setup)
    asm.mov(start_port, address)
    asm.add(setup, setup, next_row)
    asm.add(address, address, pitch)
    asm.sub(rows, rows, 1, sf=True)
    asm.read(wait_port)
    asm.branch(f"{label}_row", cond="any_zc")
    asm.sub(blocks, blocks, 1, sf=True)
    asm.branch(f"{label}_block", cond="any_zc")


def blocks_load(asm: Assembler, label: str) -> None:
    """DMA loads into the VPM as the uniforms of :func:`block_words` say; waits for the last.

    The caller holds the mutex, since there is one VDR and one VPM for all QPUs.
    """
    _blocks(asm, label, store=False)


def blocks_store(asm: Assembler, label: str) -> None:
    """DMA stores from the VPM as the uniforms of :func:`block_words` say; waits for the last."""
    _blocks(asm, label, store=True)


def store_words(
    rows: int, columns: Sequence[int], vpm_rows: int, address: int, pitch: int
) -> List[int]:
    """The uniforms of the :func:`start_store` calls for one tile, laid out as for
    :func:`block_words`; the word behind each call but the last says whether another comes."""
    words: List[int] = []
    for v, width in enumerate(columns):
        together = rows if pitch - 4 * width <= MAX_VDW_STRIDE else 1
        words += [
            sw.vdw_stride(pitch - 4 * width if together > 1 else 0),
            sw.vdw_store(together, width, v * vpm_rows),
            (address + 64 * v) & 0xFFFFFFFF,
            rows // together,
            int(v + 1 < len(columns)),
        ]
    return words


def start_store(asm: Assembler, label: str, pitch: Operand, done: Optional[str]) -> None:
    """Start the DMA store of a vector's rows, and wait only for the one before.

    ``pitch`` is the distance of rows in memory.  With ``done`` one more word is read, and if it is
    0 the program goes on there.
    """
    setup, address, rows = (asm.reg(f"{label}_{part}") for part in ("setup", "address", "rows"))
    stride = asm.reg(f"{label}_stride")
    asm.mov(stride, asm.unif)
    asm.mov(setup, asm.unif)
    asm.mov(address, asm.unif)
    asm.mov(rows, asm.unif)
    asm.label(f"{label}_row")
    asm.read(asm.vdw_wait)
    asm.mov(asm.vpm_wr_setup, stride)
    asm.mov(asm.vpm_wr_setup, setup)
    asm.mov(asm.vdw_addr, address)
    next_row = asm.reg(f"{label}_next_row")
    asm.ldi(next_row, 1 << 7)
    asm.add(setup, setup, next_row)
    asm.add(address, address, pitch)
    asm.sub(rows, rows, 1, sf=True)
    asm.branch(f"{label}_row", cond="any_zc")
    more = asm.reg(f"{label}_more")
    asm.mov(more, asm.unif, sf=True)
    if done is not None:
        asm.branch(done, cond="all_zs")


def meet_words(index: int, n_qpus: int, turn: int) -> List[int]:
    """The uniforms of :func:`meet` for QPU ``index`` of the ``n_qpus`` that meet; ``turn`` counts
    the meetings."""
    return [0 if index else n_qpus - 1, turn % 2]


def meet(asm: Assembler, done: str, arrived: int = 1, leave: Tuple[int, int] = (2, 3)) -> None:
    """Wait until all QPUs are here, then go on at ``done`` in step.

    The first QPU counts the arrivals of the others and then lets each of them go, by one semaphore
    and the other in turn: with one alone a fast QPU could take the leave of one that still waits.
    """
    others, waiting, odd = (asm.reg(f"meet_{name}") for name in ("others", "waiting", "odd"))
    asm.mov(others, asm.unif)
    asm.mov(odd, asm.unif)
    asm.mov(asm.null, others, sf=True)
    asm.branch("meet_lead", cond="all_zc")
    asm.sema_up(arrived)
    asm.mov(asm.null, odd, sf=True)
    asm.branch("meet_odd", cond="all_zc")
    asm.sema_down(leave[0])
    asm.branch(done)
    asm.label("meet_odd")
    asm.sema_down(leave[1])
    asm.branch(done)
    asm.label("meet_lead")
    asm.mov(waiting, others)
    with macros.counted_loop(asm, "meet_wait", waiting):
        asm.sema_down(arrived)
    asm.mov(asm.null, odd, sf=True)
    asm.branch("meet_release_odd", cond="all_zc")
    with macros.counted_loop(asm, "meet_release", others):
        asm.sema_up(leave[0])
    asm.branch(done)
    asm.label("meet_release_odd")
    with macros.counted_loop(asm, "meet_release_one", others):
        asm.sema_up(leave[1])
    asm.branch(done)


def finish_words(index: int, n_qpus: int) -> List[int]:
    """The uniforms of :func:`finish` for QPU ``index`` of a launch of ``n_qpus``."""
    return [index, n_qpus - 1]


def finish(asm: Assembler, semaphore: int = 0) -> None:
    """End the program; the first QPU waits for the others and then interrupts the host.

    The firmware's launch call returns at the first interrupt, so it must come from the last QPU at
    work.  Every other QPU raises the semaphore once and the first lowers it as often, which leaves
    it at 0 for the next launch.
    """
    index, others = asm.reg("qpu_index"), asm.reg("other_qpus")
    asm.mov(index, asm.unif)
    asm.mov(others, asm.unif)
    asm.mov(asm.null, index, sf=True)
    asm.branch("finish_leader", cond="all_zs")
    asm.sema_up(semaphore)
    asm.end()
    asm.label("finish_leader")
    asm.mov(asm.null, others, sf=True)
    asm.branch("finish_last", cond="all_zs")
    with macros.counted_loop(asm, "finish_wait", others):
        asm.sema_down(semaphore)
    asm.label("finish_last")
    asm.end(interrupt=True)


def float_word(value: Any) -> int:
    """The 32-bit pattern of a float32."""
    return int(np.float32(value).view(np.uint32))
