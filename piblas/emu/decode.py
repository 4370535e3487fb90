"""Instruction words to the rows that compiled code executes.

A row holds what an instruction does in resolved form: which vectors are its operands and results,
which peripherals it reads and writes.  Words that only compute on registers, unconditionally, get a
class of their own (fast), as long as no neighbour makes the delayed write of a register visible: a
word that reads what the word before it writes goes the careful way, and so does that word before.
"""

from __future__ import annotations

from typing import Dict

import numpy as np

from ..isa import fields, modes, ops, regs
from ..isa.instr import NOP, encode
from . import layout as x

__all__ = ["decode_rows"]

_ADD_CODES = np.array([code in ops.ADD_BY_CODE for code in range(32)])


def _op_table(by_code: Dict[int, ops.Op], size: int, attribute: str) -> np.ndarray:
    none = ops.Op("", "", 0)
    return np.array([getattr(by_code.get(code, none), attribute) for code in range(size)])


_ADD_UNARY = _op_table(ops.ADD_BY_CODE, 32, "nsrc") == 1
_ADD_FLOAT_IN = _op_table(ops.ADD_BY_CODE, 32, "float_in")
_ADD_FLOAT_OUT = _op_table(ops.ADD_BY_CODE, 32, "float_out")
_MUL_FLOAT_IN = _op_table(ops.MUL_BY_CODE, 8, "float_in")
_MUL_FLOAT_OUT = _op_table(ops.MUL_BY_CODE, 8, "float_out")

# Ops whose result with twice the same operand does not depend on it.
_CANCEL = ("xor", "sub", "v8subs")
_ADD_CANCELS = np.array([getattr(ops.ADD_BY_CODE.get(c), "name", "") in _CANCEL for c in range(32)])
_MUL_CANCELS = np.array([ops.MUL_BY_CODE[c].name in _CANCEL for c in range(8)])

_PACK_MUL_OK = np.array([name is not None for name in modes.PACK_MUL])
_BRANCH_OK = np.array([name is not None for name in modes.BRANCH_CONDITIONS])
_LOAD_OK = np.array([name is not None for name in modes.LOAD_KINDS])


def _read_addresses(*effects: str) -> np.ndarray:
    rows = [port.addr for port in regs.READS if port.effect in effects]
    return np.isin(np.arange(64), rows)


def _write_addresses(*effects: str) -> np.ndarray:
    rows = [port.addr for port in regs.WRITES if port.effect in effects]
    return np.isin(np.arange(64), rows)


_BUSY = [addr for (_, addr), name in regs.READ_NAME.items() if name == "vdr_busy"][0]
_ELEMENT = regs.READ_ADDR["elem_num"][1]
_IO_READ = _read_addresses("uniform", "varying", "vpm", "vdr_wait", "vdw_wait", "mutex")
_IO_READ[_BUSY] = True
# Reads whose value is defined: registers, and these.
_DEFINED = _read_addresses("uniform", "varying", "vpm")
_DEFINED[[_BUSY, _ELEMENT]] = True
_DEFINED[:32] = True

_R5 = regs.WRITE_ADDR["r5rep"][1]
_MUTEX = regs.WRITE_ADDR["mutex"][1]
_VPM = regs.WRITE_ADDR["vpm"][1]
_SETUP = regs.WRITE_ADDR["vpm_wr_setup"][1]
_READ_VPM = regs.READ_ADDR["vpm"][1]
_READ_MUTEX = regs.READ_ADDR["mutex"][1]
_TMU = _write_addresses("tmu")
_TLB = _write_addresses("tlb")
_SFU = _write_addresses("sfu")
# One register in either file, of which two writes collide.
_SHARED = np.arange(64) >= 32
_SHARED[[regs.NOP_ADDR, regs.WRITE_ADDR["host_int"][1]]] = False
for _port in regs.WRITES:
    if _port.name_a != _port.name_b and _port.addr != _R5:
        _SHARED[_port.addr] = False

_UNIFORM = regs.READ_ADDR["unif"][1]
_REQUESTS = [regs.WRITE_ADDR[name][1] for name in ("t0s", "t1s")]
_LDTMU = [modes.SIGNAL_BY_NAME[name].code for name in ("ldtmu0", "ldtmu1")]
_TLB_LOADS = [modes.SIGNAL_BY_NAME[name].code for name in ("loadcv", "loadc", "ldcend", "loadam")]
_QUIET = [modes.SIGNAL_BY_NAME[name].code for name in ("none", "sbwait", "sbdone", "small_imm")]


class _Fields(dict):
    """The fields of every word under every format that has them."""

    def __init__(self, words: np.ndarray) -> None:
        super().__init__()
        for layout in fields.FORMATS.values():
            for field in layout:
                if field.name == "raddr_a" and layout is fields.FORMATS[fields.BRANCH]:
                    name = "branch_raddr"
                else:
                    name = field.name
                if name not in self:
                    part = words >> np.uint64(field.lo) & np.uint64(field.mask)
                    self[name] = part.astype(np.int64)

    def __getattr__(self, name: str) -> np.ndarray:
        return self[name]


def decode_rows(words: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Rows (int32[n, U_WIDTH]) of n consecutive words, of which some may have no memory."""
    f = _Fields(np.where(present, words, np.uint64(encode(NOP))))
    n = len(words)
    u = np.zeros((n, x.U_WIDTH), dtype=np.int64)
    load = (f.sig == modes.SIG_LDI) & (f.load_kind != modes.LOAD_SEMAPHORE)
    semaphore = (f.sig == modes.SIG_LDI) & (f.load_kind == modes.LOAD_SEMAPHORE)
    branch = f.sig == modes.SIG_BRANCH
    alu = ~(load | semaphore | branch)
    small = f.sig == modes.SIG_SMALL_IMM
    reserved = (
        (alu & ~_ADD_CODES[f.op_add])
        | (alu | load | semaphore) & (f.pm == 1) & ~_PACK_MUL_OK[f.pack]
        | branch & (~_BRANCH_OK[f.cond_br] | (f.unused_59_56 != 0))
        | (load | semaphore) & ~_LOAD_OK[f.load_kind]
    )

    # Which units do something, and where their results go.
    adds = np.where(alu, f.op_add != 0, True)
    # A mul nop with a condition and a destination delivers an earlier result once more.
    stale = alu & (f.op_mul == 0) & (f.cond_mul != 0) & (f.waddr_mul != regs.NOP_ADDR)
    muls = np.where(alu, (f.op_mul != 0) | stale, True)
    op_add, op_mul = np.where(alu, f.op_add, 0), np.where(alu, f.op_mul, 0)
    flags = np.zeros(n, dtype=np.int64)
    for active, waddr, file_b, dest, special, quad, cond in (
        (adds, f.waddr_add, f.ws == 1, x.U_DA, x.U_WADDR_ADD, 2, f.cond_add),
        (muls, f.waddr_mul, f.ws == 0, x.U_DM, x.U_WADDR_MUL, 8, f.cond_mul),
    ):
        slot = np.where(waddr < 32, waddr + 32 * file_b, x.ACC + waddr - 32)
        register = active & (waddr < 36)
        u[:, dest] = 16 * np.where(register, slot, x.SLOT_TRASH)
        to_io = active & (waddr >= 36) & (waddr != regs.NOP_ADDR)
        u[:, special] = np.where(to_io, waddr, -1)
        r5 = to_io & (waddr == _R5)
        u[:, x.U_FILES] |= np.where(r5, np.where(file_b, 2 * quad, quad), 0)
    u[:, x.U_FILES] |= f.ws
    io_add, io_mul = u[:, x.U_WADDR_ADD], u[:, x.U_WADDR_MUL]
    both = adds & muls & (f.waddr_add == f.waddr_mul) & _SHARED[f.waddr_add]
    flags |= np.where(both, x.F_SAME, 0)
    flags |= np.where(stale, x.F_STALE_MUL, 0)

    # Operands.
    slot_a = np.where(f.raddr_a < 32, f.raddr_a, x.SLOT_ELEMENT)
    slot_a = np.where(_DEFINED[f.raddr_a] & _IO_READ[f.raddr_a], x.SLOT_PORT_A, slot_a)
    slot_b = np.where(f.raddr_b < 32, 32 + f.raddr_b, x.SLOT_QPU)
    slot_b = np.where(_DEFINED[f.raddr_b] & _IO_READ[f.raddr_b], x.SLOT_PORT_B, slot_b)
    slot_b = np.where(small, x.SLOT_CONST + f.small_imm, slot_b)
    unpacks = alu & (f.unpack != 0)
    from_mux = np.where(f.pm == 1, regs.MUX_R4, regs.MUX_A)
    any_unpacked = np.zeros(n, dtype=bool)
    float_use, int_use = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    undefined_a = alu & ~_DEFINED[f.raddr_a]
    undefined_b = alu & ~small & ~_DEFINED[f.raddr_b]
    add_kept = (f.waddr_add != regs.NOP_ADDR) & (f.waddr_add != _MUTEX)
    mul_kept = (f.waddr_mul != regs.NOP_ADDR) & (f.waddr_mul != _MUTEX)
    from_add = f.sf * (op_add != 0)
    from_mul = f.sf * (op_add == 0)
    add_used = adds & (f.cond_add != 0) & (add_kept | (from_add == 1))
    add_used &= ~(_ADD_CANCELS[op_add] & (f.add_a == f.add_b))
    mul_used = muls & (f.cond_mul != 0) & (mul_kept | (from_mul == 1))
    mul_used &= ~(_MUL_CANCELS[op_mul] & (f.mul_a == f.mul_b))
    unary = _ADD_UNARY[op_add]
    add_b = np.where(unary, f.add_a, f.add_b)
    add_float, mul_float = _ADD_FLOAT_IN[op_add], _MUL_FLOAT_IN[op_mul]
    for mux, column, used, kept, is_float in (
        (f.add_a, x.U_SA, add_used, add_kept, add_float),
        (add_b, x.U_SB, add_used, add_kept, add_float),
        (f.mul_a, x.U_SC, mul_used, mul_kept, mul_float),
        (f.mul_b, x.U_SD, mul_used, mul_kept, mul_float),
    ):
        slot = np.where(mux < 6, x.ACC + mux, np.where(mux == regs.MUX_A, slot_a, slot_b))
        unpacked = unpacks & used & (mux == from_mux)
        any_unpacked |= unpacked
        float_use |= unpacked & is_float
        int_use |= unpacked & ~is_float
        slot = np.where(unpacked, x.SLOT_UNPACKED, slot)
        u[:, column] = 16 * np.where(used & alu, slot, x.SLOT_CONST)
        for undefined, port, flag in (
            (undefined_a, regs.MUX_A, x.F_UNDEF_A), (undefined_b, regs.MUX_B, x.F_UNDEF_B)
        ):  # fmt: skip
            hit = used & undefined & (mux == port)
            flags |= np.where(hit, np.where(kept, flag, x.F_VAGUE), 0)
    u[:, x.U_FROM_A] = np.where(any_unpacked, 16 * np.where(f.pm == 1, x.R4, slot_a), -1)
    flags |= np.where(any_unpacked & (float_use | (f.pm == 1)), x.F_UNPACK_FLOAT, 0)
    mixed = float_use & int_use & (f.pm == 0) & (f.unpack != 3)
    flags |= np.where(mixed, x.F_UNPACK_MIXED, 0)

    rotate = small & (f.small_imm >= modes.ROTATE_BY_R5) & muls
    amount = np.where(f.small_imm == modes.ROTATE_BY_R5, 16, f.small_imm & 15)
    low_a, low_b = f.mul_a <= 3, f.mul_b <= 3
    kind = np.where(low_a & low_b, 0, np.where(low_a | low_b, 96, 32))
    u[:, x.U_ROT] = np.where(rotate, amount + kind, 0)

    # I/O reads happen whether a mux selects them or not.
    read_a = np.where(alu & _IO_READ[f.raddr_a], f.raddr_a, -1)
    read_b = np.where(alu & ~small & _IO_READ[f.raddr_b], f.raddr_b, -1)
    u[:, x.U_RADDR_A], u[:, x.U_RADDR_B] = read_a, read_b
    is_ldtmu = alu & np.isin(f.sig, _LDTMU)
    writes_tmu = (io_add >= 0) & _TMU[io_add], (io_mul >= 0) & _TMU[io_mul]
    blocks = (read_a >= 0) | (read_b >= 0) | is_ldtmu | writes_tmu[0] | writes_tmu[1] | semaphore
    flags |= np.where(blocks, x.F_READS_IO, 0)

    crowd = is_ldtmu.astype(int) + (alu & np.isin(f.sig, _TLB_LOADS)) + semaphore
    for io in (io_add, io_mul):
        crowd = crowd + ((io >= 0) & (_TMU[io] | _TLB[io] | _SFU[io]))
    crowd = crowd + ((read_a == _READ_MUTEX) | (read_b == _READ_MUTEX))
    flags |= np.where(crowd > 1, x.F_CROWD, 0)
    setup_add, setup_mul = io_add == _SETUP, io_mul == _SETUP
    wr_setup = np.where(f.ws == 1, setup_add, setup_mul)
    reads_vpm = (read_a == _READ_VPM) | (read_b == _READ_VPM)
    writes_vpm = (io_add == _VPM) | (io_mul == _VPM)
    vpm_crowd = (
        (setup_add & setup_mul)
        | (io_add == _VPM) & (io_mul == _VPM)
        | reads_vpm & (setup_add | setup_mul)
        | writes_vpm & wr_setup
        | is_ldtmu & (reads_vpm | writes_vpm)
    )
    flags |= np.where(vpm_crowd, x.F_VPM_CROWD, 0)

    # Pack.
    packs = (f.pm == 0) & (f.pack != 0) & ~branch
    pack_add = packs & adds & (f.ws == 0) & (f.waddr_add < 32)
    pack_mul = packs & muls & (f.ws == 1) & (f.waddr_mul < 32)
    flags |= np.where(pack_add, x.F_PACK_ADD, 0) | np.where(pack_mul, x.F_PACK_MUL, 0)
    flags |= np.where(_ADD_FLOAT_OUT[op_add], x.F_FLOAT_ADD, 0)
    flags |= np.where(_MUL_FLOAT_OUT[op_mul], x.F_FLOAT_MUL, 0)
    elsewhere = np.where(
        f.ws == 0,
        adds & (f.waddr_add >= 32) & (f.waddr_add != regs.NOP_ADDR),
        muls & (f.waddr_mul >= 32) & (f.waddr_mul != regs.NOP_ADDR),
    )
    flags |= np.where(packs & elsewhere, x.F_PACK_TARGET, 0)
    colour = (f.pm == 1) & (f.pack != 0) & muls & ~branch
    flags |= np.where(colour & (f.pack >= 4) & (io_mul >= 0), x.F_BYTE_IO, 0)
    sf = np.where(branch, f.branch_raddr & 1, f.sf)
    flags |= np.where(sf == 1, x.F_SF, 0)

    u[:, x.U_FLAGS] = flags
    u[:, x.U_OP_ADD], u[:, x.U_OP_MUL] = op_add, op_mul
    u[:, x.U_SIG] = f.sig
    u[:, x.U_COND_ADD], u[:, x.U_COND_MUL] = f.cond_add, f.cond_mul
    u[:, x.U_PM] = f.pm
    u[:, x.U_PACK] = np.where(branch, 0, f.pack)
    u[:, x.U_UNPACK] = np.where(any_unpacked, f.unpack, 0)
    u[:, x.U_IMM] = f.imm
    extra = f.cond_br | f.rel << 4 | f.reg << 5 | f.branch_raddr << 6
    u[:, x.U_EXTRA] = np.where(branch, extra, f.load_kind)

    kind = np.full(n, x.CLASS_ALU)
    kind[load], kind[semaphore], kind[branch] = x.CLASS_LOAD, x.CLASS_SEMAPHORE, x.CLASS_BRANCH
    kind[reserved] = x.CLASS_RESERVED
    kind[~present] = x.CLASS_OUTSIDE
    u[:, x.U_KIND] = kind

    # Fast words: results without a condition go to registers, and nothing else happens.
    for active, cond, dest, io in (
        (adds, f.cond_add, x.U_DA, io_add),
        (muls, f.cond_mul, x.U_DM, io_mul),
    ):
        never = active & ~branch & (cond == modes.COND_NEVER) & (io < 0)
        u[never, dest] = 16 * x.SLOT_TRASH
    quiet = (np.isin(f.sig, _QUIET) | is_ldtmu) & (kind == x.CLASS_ALU)
    quiet &= (f.sf == 0) & (f.pack == 0) & ~any_unpacked
    for read in (read_a, read_b):
        quiet &= (read < 0) | (read == _UNIFORM)
    quiet &= (flags & ~(x.F_FLOAT_ADD | x.F_FLOAT_MUL | x.F_READS_IO)) == 0
    does_io = is_ldtmu | (read_a >= 0) | (read_b >= 0)
    for active, cond, waddr, io in (
        (adds, f.cond_add, f.waddr_add, io_add),
        (muls, f.cond_mul, f.waddr_mul, io_mul),
    ):
        unconditional = (cond == modes.COND_ALWAYS) | ((cond == modes.COND_NEVER) & (io < 0))
        requests = np.isin(io, _REQUESTS)
        does_io = does_io | requests
        quiet &= ~active | (unconditional & ((io < 0) | (io == _R5) | requests))
    quiet &= u[:, x.U_ROT] < 32
    plain = quiet & (u[:, x.U_ROT] == 0) & (io_add < 0) & (io_mul < 0) & ~does_io
    moves = quiet & ~plain & ~does_io
    # With a stale mul result about, every result has to be kept, which only the careful way does.
    fast = np.where(plain, x.CLASS_FAST, np.where(moves, x.CLASS_MOVE, kind))
    fast = np.where(quiet & does_io, x.CLASS_IO, fast)

    # Words that see the delayed write of the word before.
    write_a = np.where(f.ws == 0, u[:, x.U_DA], u[:, x.U_DM])
    write_b = np.where(f.ws == 0, u[:, x.U_DM], u[:, x.U_DA])
    write_a = np.where(write_a < 16 * 32, write_a, -1)
    write_b = np.where(write_b < 16 * 64, write_b, -1)
    late = np.zeros(n, dtype=bool)
    for column in (x.U_SA, x.U_SB, x.U_SC, x.U_SD, x.U_FROM_A):
        late[:-1] |= (u[1:, column] >= 0) & (
            (u[1:, column] == write_a[:-1]) | (u[1:, column] == write_b[:-1])
        )
    late[:-1] |= branch[1:] & (f.reg[1:] == 1) & (16 * f.branch_raddr[1:] == write_a[:-1])
    rotates_r5 = rotate & (amount == 16)
    writes_r5 = (io_add == _R5) | (io_mul == _R5)
    late[:-1] |= rotates_r5[1:] & writes_r5[:-1]
    for source in (f.mul_a, f.mul_b):
        slot = 16 * (x.ACC + source)
        hit = (slot[1:] == u[:-1, x.U_DA]) | (slot[1:] == u[:-1, x.U_DM])
        late[:-1] |= rotate[1:] & (source[1:] <= 3) & hit
    late[-1] = True  # the next word is not known here
    u[:, x.U_FLAGS] |= np.where(late, x.F_RECORD, 0)
    careful = late | stale.any()
    careful[1:] |= late[:-1]
    careful[0] = True
    u[:, x.U_CLASS] = np.where(careful, kind, fast)
    return u.astype(np.uint32).view(np.int32) if n else u.astype(np.int32)
