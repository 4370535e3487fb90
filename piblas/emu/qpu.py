"""One QPU executes one instruction, in every detail (guide, p. 15-38).

:func:`careful` runs any instruction; its order of events is that of the chip: wait until everything
is there, read, compute, write, set flags, handle the signal.  ``strict`` faults where the outcome
is undefined.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from ..isa.modes import LOAD_32, LOAD_SEMAPHORE, LOAD_SIGNED, SIGNAL_BY_NAME
from . import alu, dma, lanes, late, ports, sync, threads, tmu, vpm
from .faults import FAULT, fault, on
from .layout import (
    ACC,
    CLASS_BRANCH,
    CLASS_LOAD,
    CLASS_OUTSIDE,
    CLASS_RESERVED,
    CLASS_SEMAPHORE,
    END_BREAKPOINT,
    F_BYTE_IO,
    F_CROWD,
    F_FLOAT_ADD,
    F_FLOAT_MUL,
    F_PACK_ADD,
    F_PACK_MUL,
    F_PACK_TARGET,
    F_READS_IO,
    F_RECORD,
    F_SAME,
    F_SF,
    F_STALE_MUL,
    F_UNDEF_A,
    F_UNDEF_B,
    F_UNPACK_FLOAT,
    F_UNPACK_MIXED,
    F_VAGUE,
    F_VPM_CROWD,
    G_DEBUGGER,
    G_STRICT,
    G_UNEVEN,
    LOST_C,
    LOST_FLAGS,
    LOST_SFU,
    NO_FLAGS,
    OK,
    Q_AGAIN,
    Q_BR,
    Q_BRANCHED,
    Q_C,
    Q_COORDS0,
    Q_COORDS1,
    Q_COUNT,
    Q_END,
    Q_HAZ_A,
    Q_HAZ_ACC,
    Q_HAZ_B,
    Q_LAST,
    Q_N,
    Q_PASS,
    Q_PC,
    Q_SFU,
    Q_SPECIAL,
    Q_STATE,
    Q_SUSPENDED,
    Q_TAKEN,
    Q_TARGET,
    Q_THRSW,
    Q_UNDEF,
    Q_VIA,
    Q_Z,
    QPU_WORDS,
    R4,
    R5,
    SLOT_OLD_A,
    SLOT_SFU,
    SLOT_TRASH,
    SLOT_UNPACKED,
    SLOT_X,
    SLOT_Y,
    SP_END,
    SP_HAZARD,
    SP_SFU,
    SP_TEXTURE,
    SP_THREADS,
    SP_THRSW,
    SP_UNDEF,
    U_COND_ADD,
    U_COND_MUL,
    U_DA,
    U_DM,
    U_EXTRA,
    U_FILES,
    U_FLAGS,
    U_FROM_A,
    U_IMM,
    U_KIND,
    U_OP_ADD,
    U_OP_MUL,
    U_PACK,
    U_PM,
    U_RADDR_A,
    U_RADDR_B,
    U_ROT,
    U_SA,
    U_SB,
    U_SC,
    U_SD,
    U_SIG,
    U_UNPACK,
    U_WADDR_ADD,
    U_WADDR_MUL,
    VAGUE_FLAGS,
)  # fmt: skip

ALL = 0xFFFF
UNRELIABLE = LOST_FLAGS | NO_FLAGS | VAGUE_FLAGS
_FORBIDDEN = (
    F_CROWD | F_VPM_CROWD | F_STALE_MUL | F_BYTE_IO | F_PACK_TARGET | F_UNDEF_A | F_UNDEF_B
)
END_REGISTER = 14  # of either file, which the last three instructions must not touch

BKPT, THRSW, THREND, LTHRSW, LOADCV, LOADC, LDCEND, LDTMU0, LDTMU1, LOADAM = (
    SIGNAL_BY_NAME[name].code for name in
    "bkpt thrsw thrend lthrsw loadcv loadc ldcend ldtmu0 ldtmu1 loadam".split()
)  # fmt: skip


@njit
def condition(Q, q, code):
    """Elements for which a condition holds."""
    if code < 2:
        return ALL if code else 0
    flags = Q[q, Q_Z] if code < 4 else (Q[q, Q_N] if code < 6 else Q[q, Q_C])
    return ~flags & ALL if code & 1 else flags


# --- before the instruction ----------------------------------------------------------------------


@njit
def _forbidden(S, q, row):
    """Faults of combinations whose outcome is undefined."""
    flags = S.U[row, U_FLAGS]
    if flags & _FORBIDDEN == 0:
        return OK
    if flags & F_CROWD and on(S, FAULT.CROWD):
        return fault(S, q, FAULT.CROWD, -1)
    if flags & F_VPM_CROWD and on(S, FAULT.VPM_CROWD):
        return fault(S, q, FAULT.VPM_CROWD, -1)
    if flags & F_STALE_MUL and on(S, FAULT.STALE_MUL):
        return fault(S, q, FAULT.STALE_MUL, -1)
    if flags & F_BYTE_IO and on(S, FAULT.BYTE_IO):
        return fault(S, q, FAULT.BYTE_IO, -1)
    if flags & F_PACK_TARGET and on(S, FAULT.PACK_TARGET):
        return fault(S, q, FAULT.PACK_TARGET, -1)
    if flags & (F_UNDEF_A | F_UNDEF_B) and on(S, FAULT.UNDEFINED_READ):
        return fault(S, q, FAULT.UNDEFINED_READ, -1)
    return OK


@njit
def _ends_here(S, q, row):
    """Faults of what the last three instructions of a program must not do."""
    Q, U = S.Q, S.U
    sig = U[row, U_SIG]
    switches = sig == THREND or sig == THRSW or sig == LTHRSW
    busy = Q[q, Q_BR] > 0 or Q[q, Q_END] > 0 or Q[q, Q_THRSW] > 0
    if switches and busy and on(S, FAULT.END_SLOT):
        return fault(S, q, FAULT.END_SLOT, -1)
    if U[row, U_KIND] == CLASS_BRANCH and (Q[q, Q_END] > 0 or Q[q, Q_THRSW] > 0):
        if on(S, FAULT.END_SLOT):
            return fault(S, q, FAULT.END_SLOT, -1)
    if (sig == THRSW or sig == LTHRSW) and Q[q, Q_LAST] and on(S, FAULT.SWITCH_LAST):
        return fault(S, q, FAULT.SWITCH_LAST, -1)
    if Q[q, Q_END] > 0 or sig == THREND:
        for column in (U_RADDR_A, U_RADDR_B):
            address = U[row, column]
            in_vpm = ports.R_VPM <= address <= ports.R_WAIT
            hit = address == ports.R_UNIF or address == ports.R_VARY or in_vpm
            if hit and on(S, FAULT.END_ACCESS):
                return fault(S, q, FAULT.END_ACCESS, -1)
        for column in (U_SA, U_SB, U_SC, U_SD, U_FROM_A):
            place = U[row, column]
            hit = place == 16 * END_REGISTER or place == 16 * (32 + END_REGISTER)
            if hit and on(S, FAULT.END_REGISTER):
                return fault(S, q, FAULT.END_REGISTER, -1)
        for column in (U_WADDR_ADD, U_WADDR_MUL):
            address = U[row, column]
            pulls = address >= ports.W_T0S and tmu.takes_uniform(Q, q, address)
            hit = pulls or ports.W_VPM <= address <= ports.W_ADDR
            if hit and on(S, FAULT.END_ACCESS):
                return fault(S, q, FAULT.END_ACCESS, -1)
    return OK


@njit
def _ready(S, q, row):
    """OK, or what the instruction has to wait for; nothing has happened yet."""
    U = S.U
    read_a, read_b, sig = U[row, U_RADDR_A], U[row, U_RADDR_B], U[row, U_SIG]
    if read_a == ports.R_VARY or read_b == ports.R_VARY:
        return fault(S, q, FAULT.VARYING, -1)
    if U[row, U_KIND] == CLASS_SEMAPHORE:
        status = sync.semaphore_wait(S, U[row, U_IMM])
        if status != OK:
            return status
    if read_a == ports.R_MUTEX or read_b == ports.R_MUTEX:
        status = sync.mutex_wait(S, q)
        if status != OK:
            return status
    if read_a == ports.R_VPM or read_b == ports.R_VPM:
        status = vpm.read_wait(S, q)
        if status != OK:
            return status
    if sig == LDTMU0 or sig == LDTMU1:
        status = tmu.pop_wait(S, q, sig - LDTMU0)
        if status != OK:
            return status
    for column in (U_WADDR_ADD, U_WADDR_MUL):
        address = U[row, column]
        if address >= ports.W_T0S:
            reads = read_a == ports.R_UNIF or read_b == ports.R_UNIF
            crowd = reads and tmu.takes_uniform(S.Q, q, address)
            if crowd and on(S, FAULT.TEX_UNIFORM):
                return fault(S, q, FAULT.TEX_UNIFORM, -1)
            status = tmu.request_wait(S, q, 0 if address < ports.W_T1S else 1, address & 3)
            if status != OK:
                return status
    return OK


@njit
def _mul_carry(op, c, d, result, R, base):
    """(Flag C of the mul unit, the elements for which sources disagree).

    Only mul24 sets it, where the product exceeds 32 bits; others say 24 bits, and that fmul sets
    it for +Inf.
    """
    carries = doubtful = 0
    x, y = base + 16 * SLOT_X, base + 16 * SLOT_Y
    if op == alu.M_MUL24:
        lanes.store(R, x, c)
        lanes.store(R, y, d)
        for e in range(16):
            product = (np.int64(R[x + e]) & 0xFFFFFF) * (np.int64(R[y + e]) & 0xFFFFFF)
            if product >> 32:
                carries |= 1 << e
            elif product >> 24:
                doubtful |= 1 << e
    elif op == alu.M_FMUL:
        lanes.store(R, y, result)
        for e in range(16):
            if R[y + e] == 0x7F800000:
                doubtful |= 1 << e
    return carries, doubtful


# --- writing -------------------------------------------------------------------------------------


@njit
def _write_register(S, q, place, value, mask):
    """Elements of a result into a register."""
    Q = S.Q
    at = q * QPU_WORDS + place
    if mask != ALL:
        value = lanes.select(mask, value, lanes.load(S.R, at))
    elif Q[q, Q_UNDEF] and place >= 16 * ACC and place < 16 * R4:
        Q[q, Q_UNDEF] &= ~(1 << (place // 16 - ACC))
    lanes.store(S.R, at, value)


@njit
def _write_ports(S, q, row, slot_add, slot_mul, mask_add, mask_mul):
    """Both writes to peripherals, the add unit's first."""
    U = S.U
    base = q * QPU_WORDS
    file_b = U[row, U_FILES] & 1
    address = U[row, U_WADDR_ADD]
    if address >= 0:
        status = ports.write_port(S, q, address, file_b, base + 16 * slot_add, mask_add)
        if status != OK:
            return status
    address = U[row, U_WADDR_MUL]
    if address >= 0:
        return ports.write_port(S, q, address, 1 - file_b, base + 16 * slot_mul, mask_mul)
    return OK


@njit
def _set_flags(Q, q, mask, zero, negative, carry):
    keep = ~mask & ALL
    Q[q, Q_Z] = Q[q, Q_Z] & keep | zero & mask
    Q[q, Q_N] = Q[q, Q_N] & keep | negative & mask
    Q[q, Q_C] = Q[q, Q_C] & keep | carry & mask
    if mask == ALL:
        Q[q, Q_UNDEF] &= ~(UNRELIABLE | LOST_C)


@njit
def _same_destination(S, q, row, x, y, mask_add, mask_mul):
    """Fault if both units write one destination and it matters which comes last."""
    common = mask_add & mask_mul if S.U[row, U_WADDR_ADD] < 0 else ALL
    if lanes.mask_differ(x, y) & common and on(S, FAULT.SAME_DESTINATION):
        return fault(S, q, FAULT.SAME_DESTINATION, -1)
    return OK


@njit
def _used_elements(S, row, mask):
    """Which elements of the mul result end up anywhere."""
    U = S.U
    if U[row, U_FILES] & 16:
        return mask & 1
    if U[row, U_FILES] & 8:
        return mask & 0x1111
    flags_used = U[row, U_FLAGS] & F_SF and U[row, U_OP_ADD] == 0
    if U[row, U_DM] == 16 * SLOT_TRASH and U[row, U_WADDR_MUL] < 0 and not flags_used:
        return 0
    return mask


# --- after the instruction -----------------------------------------------------------------------


@njit
def _end_program(S, q):
    """The program's last instruction is done."""
    Q = S.Q
    left = OK
    if S.G[G_STRICT]:
        if (Q[q, Q_COORDS0] or Q[q, Q_COORDS1]) and on(S, FAULT.TEX_SWITCH):
            left = FAULT.TEX_SWITCH
        elif tmu.left(S, q) and on(S, FAULT.TMU_LEFT):
            left = FAULT.TMU_LEFT
    if left != OK:
        Q[q, Q_PC] -= 8  # the fault belongs to the last instruction
        return fault(S, q, left, -1)
    if Q[q, Q_SUSPENDED]:
        threads.resume(S, q)
    else:
        Q[q, Q_STATE] = 0
        dma.program_ends(S, q)
    return OK


@njit
def _records(Q, q, flags):
    """Whether the next instruction may see what this one delays; the decoder knows neighbours."""
    if flags & F_RECORD or Q[q, Q_BR] == 1 or Q[q, Q_THRSW] == 1:
        return True
    return Q[q, Q_END] == 1 and Q[q, Q_SUSPENDED] != 0


@njit
def _advance(S, q, recorded):
    """Count the instruction and find the next one."""
    R, Q = S.R, S.Q
    Q[q, Q_COUNT] += 1
    if Q[q, Q_BR] > 0:
        Q[q, Q_BR] -= 1
        Q[q, Q_PC] = Q[q, Q_TARGET] if Q[q, Q_BR] == 0 else Q[q, Q_PC] + 8
    else:
        Q[q, Q_PC] += 8
    special = Q[q, Q_SPECIAL]
    if special == 0:
        return OK
    if not recorded and special & SP_HAZARD:
        special &= ~SP_HAZARD
        Q[q, Q_HAZ_A] = Q[q, Q_HAZ_B] = late.NO_PLACE
        Q[q, Q_HAZ_ACC] = 0
    if special & SP_SFU:
        Q[q, Q_SFU] -= 1
        if Q[q, Q_SFU] == 0:
            base = q * QPU_WORDS
            lanes.store(R, base + 16 * R4, lanes.load(R, base + 16 * SLOT_SFU))
            special &= ~SP_SFU
            Q[q, Q_UNDEF] &= ~(LOST_SFU if Q[q, Q_UNDEF] & LOST_SFU else 16)
    switches = False
    if special & SP_THRSW:
        Q[q, Q_THRSW] -= 1
        if Q[q, Q_THRSW] == 0:
            special &= ~SP_THRSW
            switches = True
    if special & SP_UNDEF and Q[q, Q_UNDEF] == 0:
        special &= ~SP_UNDEF
    Q[q, Q_SPECIAL] = special
    if special & SP_END:
        Q[q, Q_END] -= 1
        if Q[q, Q_END] == 0:
            return _end_program(S, q)
    return threads.switch(S, q) if switches else OK


# --- branches ------------------------------------------------------------------------------------

_BRANCH_SLOTS = 3


@njit
def _taken(Q, q, code):
    if code == 15:
        return True
    flags = Q[q, Q_Z] if code < 4 else (Q[q, Q_N] if code < 8 else Q[q, Q_C])
    if code & 1:
        flags = ~flags & ALL
    return flags != 0 if code & 2 else flags == ALL


@njit
def _no_flags(Q, q):
    """Why there are no flags to rely on."""
    if Q[q, Q_UNDEF] & LOST_FLAGS:
        return FAULT.LOST
    return FAULT.UNDEFINED_READ if Q[q, Q_UNDEF] & VAGUE_FLAGS else FAULT.FLAGS_UNSET


@njit
def _branch(S, q, row):
    R, Q, U = S.R, S.Q, S.U
    base = q * QPU_WORDS
    extra = U[row, U_EXTRA]
    code = extra & 15
    if code < 12 and Q[q, Q_UNDEF] & UNRELIABLE and on(S, _no_flags(Q, q)):
        return fault(S, q, _no_flags(Q, q), -1)
    if 8 <= code < 12 and Q[q, Q_UNDEF] & LOST_C and on(S, FAULT.CARRY):
        return fault(S, q, FAULT.CARRY, -1)
    taken = _taken(Q, q, code)
    close = Q[q, Q_BRANCHED] >= 0 and Q[q, Q_COUNT] - Q[q, Q_BRANCHED] <= 2
    if close and (taken or Q[q, Q_TAKEN]) and on(S, FAULT.BRANCH_SLOT):
        return fault(S, q, FAULT.BRANCH_SLOT, -1)
    Q[q, Q_BRANCHED] = Q[q, Q_COUNT]
    Q[q, Q_TAKEN] = 1 if taken else 0
    target = np.int64(U[row, U_IMM])
    link = Q[q, Q_PC] + 32
    recorded = False
    if taken:
        Q[q, Q_VIA] = -1
        if extra >> 4 & 1:
            target += link
        if extra >> 5 & 1:
            # The chip takes element 15 (measured); the guide says element 0.
            place = 16 * (extra >> 6)
            Q[q, Q_VIA] = place
            for e in range(15):
                if R[base + place + e] != R[base + place + 15]:
                    S.G[G_UNEVEN] |= 1 << q
            if Q[q, Q_SPECIAL] & SP_THREADS and threads.is_others(Q, q, place):
                if on(S, FAULT.OTHER_THREAD):
                    return fault(S, q, FAULT.OTHER_THREAD, -1)
            if place == Q[q, Q_HAZ_A]:
                old = R[base + 16 * SLOT_OLD_A + 15]
                if old != R[base + place + 15] and on(S, FAULT.LATE_A):
                    return fault(S, q, FAULT.LATE_A, -1)
                place = 16 * SLOT_OLD_A
            target += np.int64(R[base + place + 15])
        value = lanes.splat(link)
        lanes.store(R, base + 16 * SLOT_X, value)
        recorded = _records(Q, q, U[row, U_FLAGS])
        if recorded:
            late.record(S, q, row)
        threads.note_writes(S, q, row)
        _write_register(S, q, U[row, U_DA], value, ALL)
        _write_register(S, q, U[row, U_DM], value, ALL)
        status = _write_ports(S, q, row, SLOT_X, SLOT_X, ALL, ALL)
        if status != OK:
            return status
        if U[row, U_FLAGS] & F_SF:
            _set_flags(Q, q, ALL, 0, ALL if link >> 31 & 1 else 0, 0)
    status = _advance(S, q, recorded)
    if taken:
        Q[q, Q_BR] = _BRANCH_SLOTS
        Q[q, Q_TARGET] = target & 0xFFFFFFFF
    return status


# --- one instruction -----------------------------------------------------------------------------


@njit
def _immediate(U, row, R, at):
    """The value of a load immediate, as a vector at ``at``."""
    imm = np.int64(U[row, U_IMM])
    kind = U[row, U_EXTRA]
    for e in range(16):
        if kind == LOAD_32 or kind == LOAD_SEMAPHORE:
            R[at + e] = imm & 0xFFFFFFFF
        else:
            high = imm >> (16 + e) & 1
            R[at + e] = (imm >> e & 1) + (-2 * high if kind == LOAD_SIGNED else 2 * high)


@njit
def careful(S, q, row):
    """Run the instruction of a decoded row: OK, why it has to wait, or a fault."""
    R, Q, G, U = S.R, S.Q, S.G, S.U
    base = q * QPU_WORDS
    flags, kind, sig = U[row, U_FLAGS], U[row, U_KIND], U[row, U_SIG]
    strict = G[G_STRICT] != 0
    if kind == CLASS_RESERVED:
        return fault(S, q, FAULT.RESERVED, -1)
    if kind == CLASS_OUTSIDE:
        return fault(S, q, FAULT.FETCH, Q[q, Q_PC])
    if sig == BKPT and not Q[q, Q_PASS]:
        return END_BREAKPOINT if G[G_DEBUGGER] else fault(S, q, FAULT.BREAKPOINT, -1)
    Q[q, Q_PASS] = 0
    if sig == LOADCV or sig == LOADC or sig == LDCEND or sig == LOADAM:
        return fault(S, q, FAULT.TLB, -1)
    if strict:
        status = _forbidden(S, q, row)
        if status == OK:
            status = _ends_here(S, q, row)
        if status != OK:
            return status
    if kind == CLASS_BRANCH:
        return _branch(S, q, row)
    again = Q[q, Q_AGAIN]
    if flags & F_READS_IO and not again:
        status = _ready(S, q, row)
        if status != OK:
            return status

    # Operands.
    sa, sb, sc, sd = U[row, U_SA], U[row, U_SB], U[row, U_SC], U[row, U_SD]
    packed_source = U[row, U_FROM_A]
    cond_add, cond_mul = U[row, U_COND_ADD], U[row, U_COND_MUL]
    special = Q[q, Q_SPECIAL]
    if special and strict:
        needed_add = condition(Q, q, cond_add)
        needed_mul = ALL if U[row, U_ROT] else condition(Q, q, cond_mul)
        for number, place in enumerate((sa, sb, sc, sd, packed_source)):
            needed = needed_add if number < 2 else needed_mul
            if number == 4:
                needed = needed_add | needed_mul
            status = late.check_operand(S, q, place, needed)
            if status != OK:
                return status
        if Q[q, Q_UNDEF] & UNRELIABLE and (cond_add > 1 or cond_mul > 1):
            if on(S, _no_flags(Q, q)):
                return fault(S, q, _no_flags(Q, q), -1)
        if Q[q, Q_UNDEF] & LOST_C and (cond_add > 5 or cond_mul > 5) and on(S, FAULT.CARRY):
            return fault(S, q, FAULT.CARRY, -1)
    if flags & F_READS_IO and not again:
        status = ports.read_ports(S, q, row)
        if status != OK:
            return status
    if special & SP_HAZARD:
        sa, sb = late.late_place(Q, q, sa), late.late_place(Q, q, sb)
        sc, sd = late.late_place(Q, q, sc), late.late_place(Q, q, sd)
        packed_source = late.late_place(Q, q, packed_source)
    if packed_source >= 0:
        unpacked = base + 16 * SLOT_UNPACKED
        mode, as_float = U[row, U_UNPACK], flags & F_UNPACK_FLOAT != 0
        if flags & F_UNPACK_MIXED and on(S, FAULT.UNPACK_MIXED):
            alu.unpack(R, base + packed_source, unpacked, mode, False)
            other = lanes.load(R, unpacked)
            alu.unpack(R, base + packed_source, unpacked, mode, True)
            if lanes.mask_differ(other, lanes.load(R, unpacked)):
                return fault(S, q, FAULT.UNPACK_MIXED, -1)
        else:
            alu.unpack(R, base + packed_source, unpacked, mode, as_float)
        if strict and not U[row, U_PM] and U[row, U_FROM_A] >= 16 * ACC:
            plain = lanes.load(R, base + packed_source)
            if lanes.mask_differ(plain, lanes.load(R, unpacked)) and on(S, FAULT.UNPACK_IO):
                return fault(S, q, FAULT.UNPACK_IO, -1)

    # Results.
    mask_add, mask_mul = condition(Q, q, cond_add), condition(Q, q, cond_mul)
    op_add, op_mul = U[row, U_OP_ADD], U[row, U_OP_MUL]
    a, b = lanes.load(R, base + sa), lanes.load(R, base + sb)
    c, d = lanes.load(R, base + sc), lanes.load(R, base + sd)
    loads = kind == CLASS_LOAD or kind == CLASS_SEMAPHORE
    carry_mul = doubtful = 0
    if loads:
        _immediate(U, row, R, base + 16 * SLOT_X)
        x = lanes.load(R, base + 16 * SLOT_X)
        y = x
    else:
        x = alu.add_result(op_add, a, b)
        y = alu.mul_result(op_mul, c, d)
        if flags & F_STALE_MUL:
            # The elements 12..15 of the latest result, in each quad (measured).
            for e in range(12):
                R[base + 16 * SLOT_Y + e] = R[base + 16 * SLOT_Y + 12 + (e & 3)]
            y = lanes.load(R, base + 16 * SLOT_Y)
        if flags & F_SF and op_add == 0:
            carry_mul, doubtful = _mul_carry(op_mul, c, d, y, R, base)
        if U[row, U_ROT]:
            plain = y
            status, y = late.rotated(S, q, row, y, sc, sd, _used_elements(S, row, mask_mul))
            if status != OK:
                return status
            if strict and flags & F_SF and op_add == 0:
                moved = lanes.mask_zero(plain) ^ lanes.mask_zero(y)
                moved |= lanes.mask_negative(plain) ^ lanes.mask_negative(y)
                if moved & mask_mul and on(S, FAULT.ROTATED_FLAGS):
                    return fault(S, q, FAULT.ROTATED_FLAGS, -1)
    lanes.store(R, base + 16 * SLOT_X, x)
    if loads or op_mul:
        lanes.store(R, base + 16 * SLOT_Y, y)
    flag_y = y
    if U[row, U_PM] and U[row, U_PACK] and (loads or op_mul):
        target = 16 * R5 if U[row, U_FILES] & 24 else U[row, U_DM]
        alu.pack_colour(R, base + target, base + 16 * SLOT_Y, U[row, U_PACK])
        y = lanes.load(R, base + 16 * SLOT_Y)
    if flags & F_SAME and strict:
        status = _same_destination(S, q, row, x, y, mask_add, mask_mul)
        if status != OK:
            return status

    if Q[q, Q_SPECIAL] & SP_TEXTURE and not again:
        status = ports.look_up(S, q, row, mask_add, mask_mul)
        if status != OK:
            return status

    # Writes.
    recorded = _records(Q, q, flags)
    if recorded:
        late.record(S, q, row)
    threads.note_writes(S, q, row)
    if loads or op_add:
        if flags & F_PACK_ADD:
            carries = alu.add_carry(op_add, a, b, x)
            overflows = alu.overflow(op_add, a, b, x)
            as_float = flags & F_FLOAT_ADD != 0
            alu.pack_a(
                R, base + U[row, U_DA], base + 16 * SLOT_X, U[row, U_PACK], as_float, overflows,
                carries, mask_add,
            )  # fmt: skip
        else:
            _write_register(S, q, U[row, U_DA], x, mask_add)
    if loads or op_mul or flags & F_STALE_MUL:
        if flags & F_PACK_MUL:
            as_float = flags & F_FLOAT_MUL != 0
            alu.pack_a(
                R, base + U[row, U_DM], base + 16 * SLOT_Y, U[row, U_PACK], as_float, 0, 0,
                mask_mul,
            )  # fmt: skip
        else:
            _write_register(S, q, U[row, U_DM], y, mask_mul)
    status = _write_ports(S, q, row, SLOT_X, SLOT_Y, mask_add, mask_mul)
    if status != OK:
        return status

    # Flags and signals.
    if flags & F_SF:
        if loads and cond_add == 0:
            if mask_mul and on(S, FAULT.LOAD_FLAGS):
                return fault(S, q, FAULT.LOAD_FLAGS, -1)
            _set_flags(Q, q, mask_mul, lanes.mask_zero(y), lanes.mask_negative(y), 0)
        elif loads or op_add:
            carry = 0 if loads else alu.add_carry(op_add, a, b, x)
            _set_flags(Q, q, mask_add, lanes.mask_zero(x), lanes.mask_negative(x), carry)
        elif op_mul:
            zero, negative = lanes.mask_zero(flag_y), lanes.mask_negative(flag_y)
            _set_flags(Q, q, mask_mul, zero, negative, carry_mul)
            if strict and doubtful & mask_mul:
                Q[q, Q_UNDEF] |= LOST_C
                Q[q, Q_SPECIAL] |= SP_UNDEF
        elif strict and mask_mul:
            # Of a nop, as which result the mul unit counts is unknown.
            Q[q, Q_UNDEF] |= NO_FLAGS
            Q[q, Q_SPECIAL] |= SP_UNDEF
        if strict and flags & F_VAGUE and (mask_add if op_add else mask_mul):
            Q[q, Q_UNDEF] |= VAGUE_FLAGS
            Q[q, Q_SPECIAL] |= SP_UNDEF
    if kind == CLASS_SEMAPHORE:
        sync.semaphore_count(S, q, U[row, U_IMM])
    elif sig == LDTMU0 or sig == LDTMU1:
        if Q[q, Q_SFU] > 0 and on(S, FAULT.SFU_BUSY):
            return fault(S, q, FAULT.SFU_BUSY, -1)
        tmu.pop(S, q, sig - LDTMU0)
        Q[q, Q_UNDEF] &= ~16
    elif sig == THREND:
        Q[q, Q_END] = 3
        Q[q, Q_SPECIAL] |= SP_END
    elif sig == THRSW or sig == LTHRSW:
        Q[q, Q_THRSW] = 3
        Q[q, Q_SPECIAL] |= SP_THRSW
        if sig == LTHRSW:
            Q[q, Q_LAST] = 1
    return _advance(S, q, recorded)
