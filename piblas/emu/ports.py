"""I/O addresses of the register files: what a read or a write of each does (guide, p. 37-38)."""

from __future__ import annotations

import numpy as np
from numba import njit

from ..isa.regs import READ_ADDR, WRITE_ADDR
from . import dma, lanes, memory, sfu, sync, tmu, vpm
from .faults import FAULT, fault, on
from .layout import (
    G_VDW_OWNER,
    N_SFU,
    OK,
    Q_SFU,
    Q_SPECIAL,
    Q_UNDEF,
    QPU_WORDS,
    R5,
    SLOT_PORT_A,
    SLOT_PORT_B,
    SLOT_SFU,
    SLOT_X,
    SLOT_Y,
    SP_SFU,
    U_RADDR_A,
    U_RADDR_B,
    U_WADDR_ADD,
    U_WADDR_MUL,
)  # fmt: skip

ALL = 0xFFFF

R_UNIF, R_VARY, R_VPM, R_BUSY, R_WAIT, R_MUTEX = (
    READ_ADDR[name][1] for name in "unif vary vpm vdr_busy vdr_wait mutex".split()
)
(
    W_NOSWAP, W_R5, W_INTERRUPT, W_UNIF, W_TLB_FIRST, W_TLB_LAST, W_VPM, W_SETUP, W_ADDR, W_MUTEX,
    W_SFU, W_T0S, W_T1S,
) = (
    WRITE_ADDR[name][1] for name in (
        "tmu_noswap r5rep host_int unif_addr tlb_stencil tlb_alpha vpm vpm_wr_setup vdw_addr "
        "mutex recip t0s t1s"
    ).split()
)  # fmt: skip


# --- reads ---------------------------------------------------------------------------------------


@njit
def read_uniform(S, q, target):
    """The next uniform goes to all elements of ``target``."""
    if S.G[G_VDW_OWNER] >= 0:
        dma.settle(S)
    status, word = memory.next_uniform(S, q)
    if status == OK:
        lanes.store(S.R, target, lanes.splat(word))
    return status


@njit
def read_port(S, q, address, file_b, target):
    """An I/O read: its value goes to ``target``, if it has one."""
    R = S.R
    if address == R_UNIF:
        return read_uniform(S, q, target)
    if address == R_VPM:
        return vpm.read(S, q, target)
    elif address == R_BUSY:
        busy = dma.store_busy(S, q) if file_b else dma.load_busy(S, q)
        lanes.store(R, target, lanes.splat(busy))
    elif address == R_WAIT:
        dma.wait(S, q, file_b)
    elif address == R_MUTEX:
        sync.mutex_acquire(S, q)
    return OK


@njit
def read_ports(S, q, row):
    """Both I/O reads of an instruction; the same address on both files is one access."""
    base = q * QPU_WORDS
    address, address_b = S.U[row, U_RADDR_A], S.U[row, U_RADDR_B]
    if address >= 0:
        status = read_port(S, q, address, False, base + 16 * SLOT_PORT_A)
        if status != OK:
            return status
    if address_b >= 0:
        if address_b == address and (address == R_UNIF or address == R_VPM or address == R_MUTEX):
            value = lanes.load(S.R, base + 16 * SLOT_PORT_A)
            lanes.store(S.R, base + 16 * SLOT_PORT_B, value)
        else:
            return read_port(S, q, address_b, True, base + 16 * SLOT_PORT_B)
    return OK


# --- writes --------------------------------------------------------------------------------------


@njit
def look_up(S, q, row, mask_add, mask_mul):
    """A texture lookup, if an instruction whose results are in SLOT_X and SLOT_Y asks for one."""
    for mul_unit in range(2):
        address = S.U[row, U_WADDR_MUL if mul_unit else U_WADDR_ADD]
        if address >= W_T0S and address & 3 == 0 and tmu.takes_uniform(S.Q, q, address):
            if (mask_mul if mul_unit else mask_add) != ALL and on(S, FAULT.CONDITIONAL_IO):
                return fault(S, q, FAULT.CONDITIONAL_IO, -1)
            source = q * QPU_WORDS + 16 * (SLOT_Y if mul_unit else SLOT_X)
            return tmu.texture(S, q, 0 if address < W_T1S else 1, source)
    return OK


@njit
def write_r5(R, base, per_quad, source, mask):
    """A write of address 37: element 0, or element 0 of each quad, spreads if it is enabled."""
    target = base + 16 * R5
    if per_quad:
        for quad in range(0, 16, 4):
            if mask >> quad & 1:
                word = R[source + quad]
                for e in range(quad, quad + 4):
                    R[target + e] = word
    elif mask & 1:
        lanes.store(R, target, lanes.splat(np.int64(R[source])))


@njit
def write_port(S, q, address, file_b, source, mask):
    """A write to a peripheral of the vector at ``source``."""
    R, Q = S.R, S.Q
    if address == W_R5:
        write_r5(R, q * QPU_WORDS, not file_b, source, mask)
        if mask == ALL:
            Q[q, Q_UNDEF] &= ~32
        return OK
    if address == W_INTERRUPT:
        for e in range(16):
            if mask >> e & 1 and R[source + e]:
                sync.interrupt(S, q)
        return OK
    if mask != ALL and on(S, FAULT.CONDITIONAL_IO):
        return fault(S, q, FAULT.CONDITIONAL_IO, -1)
    word = np.int64(R[source])
    if address == W_VPM:
        return vpm.write(S, q, source)
    if address >= W_T0S:
        return tmu.write(S, q, 0 if address < W_T1S else 1, address & 3, source)
    if W_TLB_FIRST <= address <= W_TLB_LAST:
        return fault(S, q, FAULT.TLB, -1)
    if not mask & 1:
        return OK
    if address == W_NOSWAP:
        return tmu.noswap(S, q, word)
    if address == W_UNIF:
        if file_b and on(S, FAULT.UNIF_FILE_B):
            return fault(S, q, FAULT.UNIF_FILE_B, word)
        memory.rewrite_unif_address(S, q, word)
    elif address == W_SETUP:
        return vpm.setup_write(S, q, word) if file_b else vpm.setup_read(S, q, word)
    elif address == W_ADDR:
        return dma.start_store(S, q, word) if file_b else dma.start_load(S, q, word)
    elif address == W_MUTEX:
        sync.mutex_release(S, q)
    elif address >= W_SFU:
        if Q[q, Q_SFU] > 0 and on(S, FAULT.SFU_BUSY):
            return fault(S, q, FAULT.SFU_BUSY, -1)
        sfu.apply(R, address - W_SFU, source, q * QPU_WORDS + 16 * SLOT_SFU)
        Q[q, Q_SFU] = 3
        Q[q, Q_SPECIAL] |= SP_SFU
        Q[q, N_SFU] += 1
    return OK
