"""DMA between memory and VPM: loads (VDR) and stores (VDW), one of each at a time.

Formats: guide, p. 56-59.

A transfer is checked when it starts and carried out when it ends: when some QPU waits for it, when
another transfer of its kind starts (which stalls until then), when its QPU's program ends, or when
its QPU has issued as many instructions as a slow transfer takes.  A program that does not wait
therefore sees old data, as on the chip; with ``strict`` it faults, because what it sees depends on
timing (:mod:`piblas.emu.races`).

Transfers go past every cache.  Readings where the guide leaves room (no measurement known): the
half-word or byte select of a load names a sub-vector of the row (``strict`` faults unless it is 0),
that of a store an offset in the first word; bytes and half-words of a column follow each other
downwards (``strict`` faults); rows and columns outside the VPM are skipped by loads
and read whatever is there by stores; a store runs on into the next row.  Columns of stores run on
as measured (see :func:`_store_place`), and each unit of a store is in the next row or column, with
BLOCKMODE too, as programs that ran on boards need; ``strict`` faults where other readings differ.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from . import races
from .faults import FAULT, fault, on
from .fields import field
from .layout import (
    G_BASE,
    G_BYTES_LOADED,
    G_BYTES_STORED,
    G_INCOHERENT,
    G_SIZE,
    G_STRICT,
    G_TRAP,
    G_VDR_ADDR,
    G_VDR_DUE,
    G_VDR_OWNER,
    G_VDR_PITCH,
    G_VDR_SETUP,
    G_VDW_ADDR,
    G_VDW_DUE,
    G_VDW_OWNER,
    G_VDW_SETUP,
    G_VDW_STRIDE,
    N_VDR,
    N_VDW,
    OK,
    Q_COUNT,
    Q_VDR_PITCH,
    Q_VDR_SETUP,
    Q_VDW_SETUP,
    Q_VDW_STRIDE,
    Q_VDW_STRIDE_SET,
    VPM_ROWS,
    VPM_STORE_ROWS,
)  # fmt: skip
from .memory import live, poison

_vdr_modew = field("vdr", "modew")
_vdr_mpitch = field("vdr", "mpitch")
_vdr_rowlen = field("vdr", "rowlen")
_vdr_nrows = field("vdr", "nrows")
_vdr_vpitch = field("vdr", "vpitch")
_vdr_vert = field("vdr", "vert")
_vdr_y = field("vdr", "y")
_vdr_x = field("vdr", "x")
_vdw_units = field("vdw", "units")
_vdw_depth = field("vdw", "depth")
_vdw_laned = field("vdw", "laned")
_vdw_horiz = field("vdw", "horiz")
_vdw_y = field("vdw", "y")
_vdw_x = field("vdw", "x")
_vdw_modew = field("vdw", "modew")
_stride_bytes = field("vdw_stride", "stride")
_stride_block = field("vdw_stride", "blockmode")


@njit
def _element_bytes(modew):
    """Size of a transferred element."""
    if modew >= 4:
        return 1
    return 2 if modew >= 2 else 4


# --- loads ---------------------------------------------------------------------------------------


@njit
def _load_place(setup, r, i):
    """(row, column, byte) of element i of row r of a load."""
    modew = _vdr_modew(setup)
    y, x, vertical = _vdr_y(setup), _vdr_x(setup), _vdr_vert(setup)
    step = r * _vdr_vpitch(setup)
    if modew < 2:
        return (y + step + i, x, 0) if vertical else (y + step, x + i, 0)
    if modew < 4:
        vector = y * 2 + (modew - 2) + step
        row, word, byte = vector >> 1, 8 * (vector & 1) + i // 2, 2 * (i & 1)
    else:
        vector = y * 4 + (modew - 4) + step
        row, word, byte = vector >> 2, 4 * (vector & 3) + i // 4, i & 3
    return (row + word, x, byte) if vertical else (row, x + word, byte)


@njit
def start_load(S, q, address):
    """Begin a DMA load: a write to LD_ADDR."""
    Q, G = S.Q, S.G
    finish_load(S)
    settle(S)
    setup, pitch_word = Q[q, Q_VDR_SETUP], Q[q, Q_VDR_PITCH]
    strict = G[G_STRICT] != 0
    if setup < 0:
        if on(S, FAULT.VDR_SETUP):
            return fault(S, q, FAULT.VDR_SETUP, address)
        setup = 0
    if _vdr_modew(setup) & (3 if _vdr_modew(setup) >= 4 else 1) and on(S, FAULT.VDR_SELECT):
        return fault(S, q, FAULT.VDR_SELECT, address)
    if _vdr_modew(setup) >= 2 and _vdr_vert(setup) and on(S, FAULT.VDR_COLUMN):
        return fault(S, q, FAULT.VDR_COLUMN, address)
    nrows, rowlen = _vdr_nrows(setup), _vdr_rowlen(setup)
    size = _element_bytes(_vdr_modew(setup))
    mpitch = _vdr_mpitch(setup)
    pitch = 8 << mpitch
    if mpitch == 0:
        if pitch_word < 0 and nrows > 1 and on(S, FAULT.VDR_SETUP):
            return fault(S, q, FAULT.VDR_SETUP, address)
        pitch = max(pitch_word, 0)
    rows = columns = 0
    for r in range(nrows):
        first = address + r * pitch
        if strict:
            if first & (size - 1) and on(S, FAULT.VDR_ALIGN):
                return fault(S, q, FAULT.VDR_ALIGN, first)
            if not live(S, first, size * rowlen) and on(S, FAULT.VDR):
                return fault(S, q, FAULT.VDR, _first_outside(S, first, size))
        for i in range(rowlen):
            y, x, _ = _load_place(setup, r, i)
            if y >= VPM_ROWS or x >= 16:
                if on(S, FAULT.VDR_ROWS):
                    return fault(S, q, FAULT.VDR_ROWS, first)
                continue
            rows |= 1 << y
            columns |= 1 << x
            if G[G_TRAP] and size == 4:
                at = first + 4 * i
                if np.int64(S.M[(at - G[G_BASE]) >> 2]) == poison(at):
                    return fault(S, q, FAULT.UNINITIALISED, at)
    if strict:
        status = races.transfer(
            S, q, races.LOAD, address, pitch, nrows, size * rowlen, rows, columns
        )
        if status != OK:
            return status
    Q[q, N_VDR] += 1
    G[G_BYTES_LOADED] += nrows * rowlen * size
    G[G_VDR_OWNER] = q
    G[G_VDR_DUE] = Q[q, Q_COUNT] + 2 * (5 * nrows + 6)
    G[G_VDR_SETUP], G[G_VDR_PITCH], G[G_VDR_ADDR] = setup, pitch, address
    return OK


@njit
def _first_outside(S, address, size):
    """The first element from an address on that is in no buffer."""
    while live(S, address, size):
        address += size
    return address


@njit
def finish_load(S):
    """Carry out the DMA load in flight, if there is one."""
    G = S.G
    if G[G_VDR_OWNER] < 0:
        return
    G[G_VDR_OWNER] = -1
    setup = G[G_VDR_SETUP]
    size = _element_bytes(_vdr_modew(setup))
    for r in range(_vdr_nrows(setup)):
        offset = G[G_VDR_ADDR] + r * G[G_VDR_PITCH] - G[G_BASE] & ~(size - 1)
        for i in range(_vdr_rowlen(setup)):
            y, x, byte = _load_place(setup, r, i)
            at = offset + size * i
            if y >= VPM_ROWS or x >= 16 or at < 0 or at + size > G[G_SIZE]:
                continue
            cell = 16 * y + x
            if size == 4:
                S.V[cell] = S.M[at >> 2]
                continue
            value = np.int64(S.M8[at])
            if size == 2:
                value |= np.int64(S.M8[at + 1]) << 8
            mask = (0xFFFF if size == 2 else 0xFF) << 8 * byte
            S.V[cell] = np.int64(S.V[cell]) & ~mask | value << 8 * byte


# --- stores --------------------------------------------------------------------------------------


@njit
def _store_place(setup, u, d):
    """(row, column, byte) of element d of unit u of a store."""
    modew = _vdw_modew(setup)
    y, x = _vdw_y(setup), _vdw_x(setup)
    byte = 0
    word = d
    if modew >= 2:
        size = _element_bytes(modew)
        start = modew - 4 if size == 1 else 2 * (modew - 2)
        if _vdw_laned(setup):
            byte = start
        else:
            byte = start + size * d
            word, byte = byte >> 2, byte & 3
    if _vdw_horiz(setup):
        cell = 16 * (y + u) + x + word
        return cell >> 4, cell & 15, byte
    # Both measured: a column starts again at the top of its 16 rows, and behind column 15 comes
    # column 0 of the next 16 rows.
    return (y & ~15) + (y + word & 15) + 16 * (x + u >> 4), x + u & 15, byte


@njit
def _packed_elsewhere(setup, stride_word):
    """Whether BLOCKMODE makes a difference if units follow each other without gaps in the VPM.

    The guide says that they do; programs that ran on boards need each unit in the next row.
    """
    units, depth = _vdw_units(setup), _vdw_depth(setup)
    if units == 1 or not _stride_block(stride_word):
        return False
    size = _element_bytes(_vdw_modew(setup))
    return not _vdw_horiz(setup) or size * depth != 64


@njit
def start_store(S, q, address):
    """Begin a DMA store: a write to ST_ADDR."""
    Q, G = S.Q, S.G
    finish_store(S)
    settle(S)
    setup, stride_word = Q[q, Q_VDW_SETUP], Q[q, Q_VDW_STRIDE]
    strict = G[G_STRICT] != 0
    if setup < 0:
        if on(S, FAULT.VDW_SETUP):
            return fault(S, q, FAULT.VDW_SETUP, address)
        setup = 0
    units, depth = _vdw_units(setup), _vdw_depth(setup)
    size = _element_bytes(_vdw_modew(setup))
    if strict:
        undefined = _vdw_modew(setup) == 1 or (_vdw_laned(setup) and size < 4)
        if undefined and on(S, FAULT.SETUP):
            return fault(S, q, FAULT.SETUP, address)
        if size < 4 and not _vdw_horiz(setup) and on(S, FAULT.VDW_COLUMN):
            return fault(S, q, FAULT.VDW_COLUMN, address)
        foreign = not Q[q, Q_VDW_STRIDE_SET] and stride_word & 0x1FFFF
        if units > 1 and foreign and on(S, FAULT.VDW_SETUP):
            return fault(S, q, FAULT.VDW_SETUP, address)
        if _packed_elsewhere(setup, stride_word) and on(S, FAULT.VDW_BLOCK):
            return fault(S, q, FAULT.VDW_BLOCK, address)
        deep = (_vdw_y(setup) & 15) + depth > 16
        if deep and not _vdw_horiz(setup) and on(S, FAULT.VDW_DEEP):
            return fault(S, q, FAULT.VDW_DEEP, address)
    pitch = size * depth + _stride_bytes(stride_word)
    rows = columns = 0
    for u in range(units):
        first = address + u * pitch
        if strict:
            if first & (size - 1) and on(S, FAULT.VDW_ALIGN):
                return fault(S, q, FAULT.VDW_ALIGN, first)
            if not live(S, first, size * depth) and on(S, FAULT.VDW):
                return fault(S, q, FAULT.VDW, _first_outside(S, first, size))
        start_row, _, _ = _store_place(setup, u, 0)
        for d in range(depth):
            y, x, _ = _store_place(setup, u, d)
            if _vdw_horiz(setup):
                beyond = y != start_row
            else:
                beyond = _vdw_x(setup) + u > 15
            if strict and (y >= VPM_ROWS or beyond) and on(S, FAULT.VDW_ROWS):
                return fault(S, q, FAULT.VDW_ROWS, first)
            rows |= 1 << (y & 63)
            columns |= 1 << (x & 15)
    if strict:
        status = races.transfer(
            S, q, races.STORE, address, pitch, units, size * depth, rows, columns
        )
        if status != OK:
            return status
    Q[q, N_VDW] += 1
    G[G_BYTES_STORED] += units * depth * size
    G[G_VDW_OWNER] = q
    G[G_VDW_DUE] = Q[q, Q_COUNT] + 2 * (4 * units * ((size * depth + 63) >> 6) + 10)
    G[G_VDW_SETUP], G[G_VDW_STRIDE], G[G_VDW_ADDR] = setup, stride_word, address
    return OK


@njit
def finish_store(S):
    """Carry out the DMA store in flight, if there is one."""
    G = S.G
    if G[G_VDW_OWNER] < 0:
        return
    G[G_VDW_OWNER] = -1
    setup, stride_word = G[G_VDW_SETUP], G[G_VDW_STRIDE]
    depth = _vdw_depth(setup)
    size = _element_bytes(_vdw_modew(setup))
    pitch = size * depth + _stride_bytes(stride_word)
    for u in range(_vdw_units(setup)):
        offset = G[G_VDW_ADDR] + u * pitch - G[G_BASE] & ~(size - 1)
        for d in range(depth):
            y, x, byte = _store_place(setup, u, d)
            at = offset + size * d
            if at < 0 or at + size > G[G_SIZE]:
                continue
            word = np.int64(S.V[16 * (y % VPM_STORE_ROWS) + (x & 15)]) >> 8 * byte
            if size == 4:
                S.M[at >> 2] = word
            else:
                S.M8[at] = word & 0xFF
                if size == 2:
                    S.M8[at + 1] = word >> 8 & 0xFF
        if not G[G_INCOHERENT]:
            # New code must be decoded again; in the incoherent mode the instruction cache decides.
            end = min(offset + size * depth, G[G_SIZE])
            for page in range(max(offset, 0) >> 12, (end + 4095) >> 12):
                S.P[page] = -1


# --- both ----------------------------------------------------------------------------------------


@njit
def settle(S):
    """Carry out transfers that are over by now."""
    Q, G = S.Q, S.G
    owner = G[G_VDR_OWNER]
    if owner >= 0 and Q[owner, Q_COUNT] >= G[G_VDR_DUE]:
        finish_load(S)
    owner = G[G_VDW_OWNER]
    if owner >= 0 and Q[owner, Q_COUNT] >= G[G_VDW_DUE]:
        finish_store(S)


@njit
def wait(S, q, store):
    """A read of LD_WAIT or ST_WAIT."""
    if store:
        finish_store(S)
        races.completed(S, q, races.STORE)
    else:
        finish_load(S)
        races.completed(S, q, races.LOAD)


@njit
def load_busy(S, q):
    """What a read of LD_BUSY gives; polling by other QPUs makes time pass, too."""
    settle(S)
    owner = S.G[G_VDR_OWNER]
    if owner < 0:
        races.completed(S, q, races.LOAD)
    elif owner != q:
        S.G[G_VDR_DUE] -= 1
    return 1 if owner >= 0 else 0


@njit
def store_busy(S, q):
    """What a read of ST_BUSY gives."""
    settle(S)
    owner = S.G[G_VDW_OWNER]
    if owner < 0:
        races.completed(S, q, races.STORE)
    elif owner != q:
        S.G[G_VDW_DUE] -= 1
    return 1 if owner >= 0 else 0


@njit
def program_ends(S, q):
    """Carry out what an ending program has in flight."""
    if S.G[G_VDR_OWNER] == q:
        finish_load(S)
    if S.G[G_VDW_OWNER] == q:
        finish_store(S)
