"""Access of the QPUs to the VPM: setups, reads and writes (guide, p. 53-57).

Each QPU has its own setups, all share the 64 rows of 16 words.  A read setup hands out NUM vectors;
a second one waits if at most one of these is outstanding, and is lost otherwise (measured).
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import lanes, races
from .dma import settle
from .faults import FAULT, fault, on
from .fields import field
from .layout import (
    G_STRICT,
    G_VDR_OWNER,
    G_VDW_OWNER,
    N_VPM_READ,
    N_VPM_WRITE,
    OK,
    Q_RD_ADDR,
    Q_RD_LEFT,
    Q_RD_NEXT,
    Q_RD_SETUP,
    Q_VDR_PITCH,
    Q_VDR_SETUP,
    Q_VDW_SETUP,
    Q_VDW_STRIDE,
    Q_VDW_STRIDE_SET,
    Q_WR_ADDR,
    Q_WR_SETUP,
    WAIT_VPM,
)  # fmt: skip

_num = field("vpm_read", "num")
_stride = field("vpm_write", "stride")
_horiz = field("vpm_write", "horiz")
_laned = field("vpm_write", "laned")
_size = field("vpm_write", "size")
_addr = field("vpm_write", "addr")
_pitch = field("vdr_stride", "mpitchb")


@njit
def _place(setup, address, e):
    """(row, column, shift, mask) of element e of the vector at a generic address."""
    size = _size(setup)
    if size >= 2:
        sub, width, mask = 0, 0, 0xFFFFFFFF
    elif size == 1:
        sub, width, mask = address & 1, 1, 0xFFFF
    else:
        sub, width, mask = address & 3, 2, 0xFF
    address >>= width
    if _laned(setup) or width == 0:
        word, shift = e, sub * (32 >> width)
    else:
        word, shift = sub * (16 >> width) + (e >> width), (e & ((1 << width) - 1)) * (32 >> width)
    if _horiz(setup):
        return address & 63, word, shift, mask
    return (address & 48) + word, address & 15, shift, mask


@njit
def _span(setup, address):
    """Bits of the rows and of the columns that a vector touches."""
    rows = columns = 0
    for e in range(16):
        y, x, _, _ = _place(setup, address, e)
        rows |= 1 << y
        columns |= 1 << x
    return rows, columns


@njit
def _next(setup, address):
    """The generic address of the following vector."""
    return address + _stride(setup) & 255


@njit
def _whole_rows(setup):
    return _size(setup) >= 2 and _horiz(setup) != 0


@njit
def _in_order(S, q, setup, address, writes):
    """Transfers that are over are carried out; OK, or a race with one that may not be."""
    G = S.G
    if G[G_VDR_OWNER] >= 0 or G[G_VDW_OWNER] >= 0:
        settle(S)
    if G[G_STRICT] == 0:
        return OK
    if _whole_rows(setup):
        rows, columns = 1 << (address & 63), 0xFFFF
    else:
        rows, columns = _span(setup, address)
    return races.vpm_access(S, q, rows, columns, _horiz(setup) == 0, writes)


# --- setups --------------------------------------------------------------------------------------


@njit
def setup_write(S, q, word):
    """A write to VPMVCD_WR_SETUP."""
    Q = S.Q
    kind = word >> 30
    if kind == 0:
        if _size(word) == 3 and on(S, FAULT.SETUP):
            return fault(S, q, FAULT.SETUP, -1)
        Q[q, Q_WR_SETUP] = word
        Q[q, Q_WR_ADDR] = _addr(word)
    elif kind == 2:
        Q[q, Q_VDW_SETUP] = word
    elif kind == 3:
        Q[q, Q_VDW_STRIDE] = word & 0x1FFFF
        Q[q, Q_VDW_STRIDE_SET] = 1
    elif on(S, FAULT.SETUP):
        return fault(S, q, FAULT.SETUP, -1)
    return OK


@njit
def _begin_read(Q, q, word):
    Q[q, Q_RD_SETUP] = word
    Q[q, Q_RD_ADDR] = _addr(word)
    Q[q, Q_RD_LEFT] = _num(word)


@njit
def setup_read(S, q, word):
    """A write to VPMVCD_RD_SETUP."""
    Q = S.Q
    if word >> 28 == 9:
        Q[q, Q_VDR_PITCH] = _pitch(word)
    elif word >> 31:
        Q[q, Q_VDR_SETUP] = word
    elif word >> 30 or _size(word) == 3:
        if on(S, FAULT.SETUP):
            return fault(S, q, FAULT.SETUP, -1)
    elif Q[q, Q_RD_LEFT] == 0:
        _begin_read(Q, q, word)
    elif Q[q, Q_RD_LEFT] == 1 and Q[q, Q_RD_NEXT] < 0:
        Q[q, Q_RD_NEXT] = word
    elif on(S, FAULT.VPM_DROPPED):
        return fault(S, q, FAULT.VPM_DROPPED, -1)
    return OK


# --- vectors -------------------------------------------------------------------------------------


@njit
def read_wait(S, q):
    """Whether a read has no vector to return."""
    if S.Q[q, Q_RD_LEFT] > 0:
        return OK
    code = FAULT.VPM_NO_SETUP if S.Q[q, Q_RD_SETUP] < 0 else FAULT.VPM_EXTRA
    if on(S, code):
        return fault(S, q, code, -1)
    return WAIT_VPM


@njit
def read(S, q, target):
    """Pop the next vector into ``S.R`` at ``target``."""
    Q = S.Q
    setup, address = Q[q, Q_RD_SETUP], Q[q, Q_RD_ADDR]
    status = _in_order(S, q, setup, address, 0)
    if status != OK:
        return status
    if _whole_rows(setup):
        lanes.store(S.R, target, lanes.load(S.V, 16 * (address & 63)))
    else:
        for e in range(16):
            y, x, shift, mask = _place(setup, address, e)
            S.R[target + e] = np.int64(S.V[16 * y + x]) >> shift & mask
    Q[q, Q_RD_ADDR] = _next(setup, address)
    Q[q, Q_RD_LEFT] -= 1
    Q[q, N_VPM_READ] += 1
    if Q[q, Q_RD_LEFT] == 0 and Q[q, Q_RD_NEXT] >= 0:
        _begin_read(Q, q, Q[q, Q_RD_NEXT])
        Q[q, Q_RD_NEXT] = -1
    return OK


@njit
def write(S, q, source):
    """Write the vector at ``source`` of ``S.R``."""
    Q = S.Q
    setup, address = Q[q, Q_WR_SETUP], Q[q, Q_WR_ADDR]
    if setup < 0:
        if on(S, FAULT.VPM_NO_SETUP):
            return fault(S, q, FAULT.VPM_NO_SETUP, -1)
        setup = address = 0
    status = _in_order(S, q, setup, address, 1)
    if status != OK:
        return status
    if _whole_rows(setup):
        lanes.store(S.V, 16 * (address & 63), lanes.load(S.R, source))
    else:
        for e in range(16):
            y, x, shift, mask = _place(setup, address, e)
            old = np.int64(S.V[16 * y + x])
            value = np.int64(S.R[source + e]) & mask
            S.V[16 * y + x] = old & ~(mask << shift) | value << shift
    Q[q, Q_WR_ADDR] = _next(setup, address)
    Q[q, N_VPM_WRITE] += 1
    return OK
