"""Pieces that kernels share: figures of the chip, DMA of a block of rows, the end of a launch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, List, Optional, Tuple

import numpy as np

from ..isa import setup_words as sw
from . import macros

if TYPE_CHECKING:
    from ..codegen import Assembler
    from ..codegen.operand import Operand

__all__ = [
    "LANES",
    "LINE",
    "MAX_VDR_PITCH",
    "MAX_VDW_STRIDE",
    "QPUS",
    "SMALLEST_NORMAL",
    "TMU_DEPTH",
    "UNIT_ROUNDOFF",
    "barrier",
    "barrier_words",
    "blocks_load",
    "finish",
    "finish_words",
    "float_word",
    "load_words",
    "start_store",
    "store_words",
]

QPUS = 12

LANES = 16
LINE = 64
"""Bytes of a 16-element vector and of a cache line."""

TMU_DEPTH = 4
"""Requests that may wait in a TMU (measured; the guide says 8)."""

UNIT_ROUNDOFF = 2.0**-23
"""Relative error of one truncating operation of the QPU."""

SMALLEST_NORMAL = 2.0**-126
"""Smaller operands count as 0, smaller results become 0."""

MAX_VDR_PITCH = 8191
"""Bytes from row to row of a DMA load: 13 bits are documented; kernels on boards got 14 to work."""

MAX_VDW_STRIDE = 65535
"""Bytes from a stored row's end to the next row's start (16 bits, measured)."""


def load_words(
    rows: np.ndarray, columns: np.ndarray, vpm_rows: int, address: np.ndarray, pitch: np.ndarray
) -> Tuple[np.ndarray, np.ndarray]:
    """The uniforms of :func:`blocks_load` for tiles of matrices.

    A tile has ``rows`` rows, ``pitch`` bytes apart in memory from ``address``; these are integer
    arrays of one element per tile.  Its columns are cut into vectors of ``columns`` (tiles x
    vectors; 1..16 words, and 0 after a tile's last vector); vector v of row r lies in row
    ``v * vpm_rows + r`` of the VPM.  A vector column is one DMA where the pitch fits the setup
    word, else one DMA per row.  Nothing outside the tile is touched.

    Returns two words per tile (tiles x 2), and then four for each of its vectors (tiles x vectors
    x 4), of which the third is an address.
    """
    used = columns > 0
    depth = columns + ~used  # words of vectors that are left out, too, are in range
    together = np.where(pitch <= MAX_VDR_PITCH, rows, 1)
    gap = (pitch * (together > 1))[:, None]
    y = np.arange(columns.shape[1]) * vpm_rows
    blocks = np.empty((*columns.shape, 4), dtype=np.int64)
    blocks[..., 0] = sw.pack_arrays("vdr_stride", mpitchb=gap)
    blocks[..., 1] = sw.pack_arrays("vdr", rowlen=depth, nrows=together[:, None], vpitch=1, y=y)
    blocks[..., 2] = address[:, None] + 64 * np.arange(columns.shape[1])
    blocks[..., 3] = (rows // together)[:, None]
    return np.stack((pitch, used.sum(axis=1)), axis=1), blocks


def blocks_load(asm: Assembler, label: str) -> None:
    """DMA loads into the VPM as the uniforms of :func:`load_words` say; waits for the last.

    The caller holds the mutex, since there is one VDR and one VPM for all QPUs.
    """
    pitch, blocks = asm.reg(f"{label}_pitch"), asm.reg(f"{label}_blocks")
    setup, address, rows = (asm.reg(f"{label}_{part}") for part in ("setup", "address", "rows"))
    next_row = asm.reg(f"{label}_next_row")
    asm.ldi(next_row, 1 << 4)
    asm.mov(pitch, asm.unif)
    asm.mov(blocks, asm.unif)
    asm.label(f"{label}_block")
    asm.mov(asm.vpm_rd_setup, asm.unif)
    asm.mov(setup, asm.unif)
    asm.mov(address, asm.unif)
    asm.mov(rows, asm.unif)
    asm.label(f"{label}_row")
    asm.mov(asm.vpm_rd_setup, setup)
    asm.mov(asm.vdr_addr, address)
    asm.add(setup, setup, next_row)
    asm.add(address, address, pitch)
    asm.sub(rows, rows, 1, sf=True)
    asm.read(asm.vdr_wait)
    asm.branch(f"{label}_row", cond="any_zc")
    asm.sub(blocks, blocks, 1, sf=True)
    asm.branch(f"{label}_block", cond="any_zc")


def store_words(
    rows: np.ndarray, columns: np.ndarray, vpm_rows: int, address: np.ndarray, pitch: np.ndarray
) -> np.ndarray:
    """The uniforms of the :func:`start_store` calls for tiles, laid out as for :func:`load_words`.

    Returns five words for each vector (tiles x vectors x 5), of which the third is an address and
    the last says whether another vector comes.
    """
    used = columns > 0
    depth = columns + ~used
    rows, pitch = rows[:, None], pitch[:, None]
    gap = pitch - 4 * depth
    together = np.where(gap <= MAX_VDW_STRIDE, rows, 1)
    y = np.arange(columns.shape[1]) * vpm_rows
    words = np.empty((*columns.shape, 5), dtype=np.int64)
    words[..., 0] = sw.pack_arrays("vdw_stride", stride=np.where(used & (together > 1), gap, 0))
    words[..., 1] = sw.pack_arrays("vdw", units=together, depth=depth, horiz=1, y=y)
    words[..., 2] = address[:, None] + 64 * np.arange(columns.shape[1])
    words[..., 3] = rows // together
    words[:, :-1, 4] = used[:, 1:]
    words[:, -1, 4] = 0
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


def barrier_words(index: np.ndarray, n_qpus: int, turn: np.ndarray) -> List[np.ndarray]:
    """The two uniforms of :func:`barrier` for QPUs ``index`` of the ``n_qpus`` that wait for each
    other; ``turn`` counts the barriers.  Arrays of one element per barrier and QPU."""
    return [(index == 0) * (n_qpus - 1), turn % 2]


def barrier(asm: Assembler, done: str, arrived: int = 1, leave: Tuple[int, int] = (2, 3)) -> None:
    """Wait until all QPUs are here, then go on at ``done`` in step.

    The first QPU counts the arrivals of the others and then lets each of them go, by one semaphore
    and the other in turn: with one alone a fast QPU could take the leave of one that still waits.
    """
    others, waiting, odd = (asm.reg(f"barrier_{name}") for name in ("others", "waiting", "odd"))
    asm.mov(others, asm.unif)
    asm.mov(odd, asm.unif)
    asm.mov(asm.null, others, sf=True)
    asm.branch("barrier_lead", cond="all_zc")
    asm.sema_up(arrived)
    asm.mov(asm.null, odd, sf=True)
    asm.branch("barrier_odd", cond="all_zc")
    asm.sema_down(leave[0])
    asm.branch(done)
    asm.label("barrier_odd")
    asm.sema_down(leave[1])
    asm.branch(done)
    asm.label("barrier_lead")
    asm.mov(waiting, others)
    with macros.counted_loop(asm, "barrier_wait", waiting):
        asm.sema_down(arrived)
    asm.mov(asm.null, odd, sf=True)
    asm.branch("barrier_release_odd", cond="all_zc")
    with macros.counted_loop(asm, "barrier_release", others):
        asm.sema_up(leave[0])
    asm.branch(done)
    asm.label("barrier_release_odd")
    with macros.counted_loop(asm, "barrier_release_one", others):
        asm.sema_up(leave[1])
    asm.branch(done)


def finish_words(index: Any, n_qpus: int) -> List[Any]:
    """The uniforms of :func:`finish` for QPU ``index`` (a number or an array) of a launch of
    ``n_qpus``."""
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
