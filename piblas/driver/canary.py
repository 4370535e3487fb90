"""A small program whose result is checked before anybody trusts the QPUs of a board.

Each of the 12 QPUs takes 16 numbers x by its TMU and 16 numbers y by DMA, and stores alpha x + y
and behind it 16 numbers of its own, by DMA.  The numbers are small integers, so that every step is
exact.  It runs twice on the same memory with other numbers: a cache that still holds those of the
first time, on either side, shows.
"""

from __future__ import annotations

from typing import Any, List, Optional, Tuple

import numpy as np

from ..isa import setup_words as sw

__all__ = ["PROGRAM", "WORDS", "run", "streams"]

PROGRAM = """
    mov r0, unif                # x
    mov r1, elem_num
    shl r1, r1, 2
    add t0s, r0, r1
    mov ra0, unif               # y and the result
    mov rb0, unif               # alpha
    mov -, mutex
    mov vpm_rd_setup, unif      # DMA load: pitch
    mov vpm_rd_setup, unif      # a row of y
    mov vdr_addr, ra0
    mov -, vdr_wait
    mov vpm_rd_setup, unif
    mov vpm_wr_setup, unif
    nop; ldtmu0
    mov r0, elem_num
    fmul r3, r4, rb0
    mov r2, vpm
    fadd vpm, r2, r3
    add vpm, r0, unif           # numbers of this QPU
    mov vpm_wr_setup, unif      # DMA store: stride
    mov vpm_wr_setup, unif      # two rows
    mov vdw_addr, ra0
    mov -, vdw_wait
    mov mutex, 0
    mov.sf ra1, unif            # QPUs to wait for, or -1
    nop
    br.all_ns rel follow
    nop
    nop
    nop
    br.all_zs rel last
    nop
    nop
    nop
wait:
    sema_down 0
    sub.sf ra1, ra1, 1
    nop
    br.any_zc rel wait
    nop
    nop
    nop
last:
    mov host_int, 1
    nop; thrend
    nop
    nop
follow:
    sema_up 0
    nop; thrend
    nop
    nop
"""
# fmt: off
WORDS: Tuple[int, ...] = (
    0x1002082715827d80, 0x10020867159a7d80, 0xd0020867119c23c0, 0x10020e270c9e7040,
    0x1002002715827d80, 0x1002102715827d80, 0x100209e715ce7d80, 0x10020c6715827d80,
    0x10020c6715827d80, 0x10020ca715027d80, 0x100209e715ca7d80, 0x10020c6715827d80,
    0x10021c6715827d80, 0xa00009e7009e7000, 0x10020827159a7d80, 0x100049e3209c0027,
    0x100208a715c27d80, 0x10020c27019e74c0, 0x10020c270c827180, 0x10021c6715827d80,
    0x10021c6715827d80, 0x10021ca715027d80, 0x100209e7159f2fc0, 0xd0020ce7159c0fc0,
    0x1002206715827d80, 0x100009e7009e7000, 0xf04809e700000078, 0x100009e7009e7000,
    0x100009e7009e7000, 0x100009e7009e7000, 0xf00809e700000038, 0x100009e7009e7000,
    0x100009e7009e7000, 0x100009e7009e7000, 0xe80009e700000010, 0xd00220670d041dc0,
    0x100009e7009e7000, 0xf03809e7ffffffc8, 0x100009e7009e7000, 0x100009e7009e7000,
    0x100009e7009e7000, 0xd00209a7159c1fc0, 0x300009e7009e7000, 0x100009e7009e7000,
    0x100009e7009e7000, 0xe80009e700000000, 0x300009e7009e7000, 0x100009e7009e7000,
    0x100009e7009e7000,
)
# fmt: on
"""The program assembled (a test compares): most processes that open the GPU need no assembler."""
LANES = 16
QPUS = 12
_BYTES = 20 << 10
"""Of each buffer: more than it needs, so that it lies where large operands lie."""


def streams(x: int, y: int, alpha: float, n_qpus: int = QPUS) -> np.ndarray:
    """The uniforms of each QPU, a row of uint32 each; x and y are bus addresses of 16 and 32 words
    per QPU."""
    qpu = np.arange(n_qpus, dtype=np.int64)
    row = 2 * qpu
    made = np.empty((n_qpus, 11), np.uint32)
    made[:, 0] = x + 64 * qpu
    made[:, 1] = y + 128 * qpu
    made[:, 2] = np.float32(alpha).view(np.uint32)
    made[:, 3] = sw.vdr_pitch(64)
    made[:, 4] = sw.pack_arrays("vdr", nrows=1, rowlen=LANES, vpitch=1, y=row)
    made[:, 5] = sw.pack_arrays("vpm_read", num=1, stride=1, horiz=1, size=2, addr=row)
    made[:, 6] = sw.vpm_writes(row)
    made[:, 7] = LANES * qpu
    made[:, 8] = sw.vdw_stride(0)
    made[:, 9] = sw.vdw_stores(2, LANES, row)
    made[0, 10], made[1:, 10] = n_qpus - 1, 0xFFFFFFFF
    return made


def run(device: Any, timeout: float = 0.5) -> Optional[str]:
    """None if the QPUs compute what they should, else what was wrong.

    A launch that fails raises, as any other.
    """
    held: List[Any] = []
    try:
        program = device.load(WORDS)
        held.append(program)
        x_buffer = device.alloc(_BYTES)
        held.append(x_buffer)
        y_buffer = device.alloc(_BYTES)
        held.append(y_buffer)
        for turn, alpha in enumerate((2.0, -3.0)):
            problem = _once(device, program, x_buffer, y_buffer, turn, alpha, timeout)
            if problem is not None:
                return problem
        return None
    finally:
        for each in held:
            each.free()


def _once(
    device: Any, program: Any, x_buffer: Any, y_buffer: Any, turn: int, alpha: float, timeout: float
) -> Optional[str]:
    size = LANES * QPUS
    x = np.arange(size, dtype=np.float32) + 1000 * turn
    y = 5 * np.arange(size, dtype=np.float32)[::-1] + turn
    x_buffer.array(np.float32, size)[:] = x
    rows = y_buffer.array(np.float32, (QPUS, 2, LANES))
    rows[:, 0] = y.reshape(QPUS, LANES)
    rows[:, 1] = -1
    for buffer in (x_buffer, y_buffer):
        buffer.clean()
    uniforms = streams(x_buffer.bus_address, y_buffer.bus_address, alpha)
    device.execute(program, uniforms, timeout=timeout)
    y_buffer.invalidate()
    rows = y_buffer.array(np.float32, (QPUS, 2, LANES))
    numbers = rows[:, 1].view(np.int32).ravel()
    if not (numbers == np.arange(size)).all():
        missing = sorted({int(i) // LANES for i in np.flatnonzero(numbers != np.arange(size))})
        when = "at first" if turn == 0 else "the second time"
        return f"what QPUs {missing} of {QPUS} should have written did not arrive {when}"
    right = np.float32(alpha) * x + y
    wrong = np.flatnonzero(rows[:, 0].ravel() != right)
    if wrong.size:
        i = int(wrong[0])
        got = float(rows[:, 0].ravel()[i])
        kind = "" if turn == 0 else " the second time, in the same memory: old numbers from a cache"
        return f"{wrong.size} of {size} results are wrong{kind} ({got:g} for {right[i]:g})"
    return None
