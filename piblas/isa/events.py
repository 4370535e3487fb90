"""What an instruction word does, as a set of *events* packed into an integer.

Events are registers read and written, units touched, signals, flags.  They are the common ground of
the rules (:mod:`piblas.isa.hazards`), of the dependence graph and of the checker: what a field of a
word means for other words is written down here and nowhere else (guide, p. 28-38).
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Dict, List, Tuple

from . import modes, ops, regs
from .instr import Instr

__all__ = [
    "Event",
    "EVENTS",
    "READ_BITS",
    "WRITE_BITS",
    "MUX_BITS",
    "REGISTER_READS",
    "SIGNAL_BITS",
    "mask",
    "event_names",
    "events",
    "rotation",
    "under_condition",
    "units_at_work",
]


@dataclass(frozen=True)
class Event:
    """A group of ``count`` event bits from ``offset`` on; matched groups compare bit by bit."""

    name: str
    offset: int
    count: int

    @functools.cached_property
    def mask(self) -> int:
        return ((1 << self.count) - 1) << self.offset


EVENTS: Dict[str, Event] = {}
_next_bit = 0
for _name, _count in (
    ("read_file", 64),  # A0..A31, B0..B31
    ("write_file", 64),
    ("read_acc", 4),  # r0..r3
    ("write_acc", 4),
    ("write_acc_all", 4),  # of these, the writes of every element
    ("write_acc_some", 4),  # and those under a condition, which may keep elements
    ("rotate_acc", 4),  # the accumulators that a rotated op takes
    ("read_14", 1),
    ("write_14", 1),
    ("read_r4", 1),
    ("load_r4", 1),
    ("write_sfu", 4),
    ("read_r5", 1),
    ("write_r5", 1),
    ("rotate_by_r5", 1),
    ("read_flags", 1),
    ("write_flags", 1),
    ("uniform", 1),
    ("varying", 1),
    ("write_unif_addr", 1),
    ("request_tmu0", 1),
    ("config_tmu0", 3),
    ("request_tmu1", 1),
    ("config_tmu1", 3),
    ("pop_tmu0", 1),
    ("pop_tmu1", 1),
    ("noswap", 1),
    ("tlb_read", 1),
    ("tlb_write", 1),
    ("write_tlb_z", 1),
    ("read_ms_flags", 1),
    ("read_mutex", 1),
    ("write_mutex", 1),
    ("semaphore", 1),
    ("read_vpm", 1),
    ("write_vpm", 1),
    ("rd_setup", 1),
    ("wr_setup", 1),
    ("vdr_start", 1),
    ("vdw_start", 1),
    ("vdr_wait", 1),
    ("vdw_wait", 1),
    ("vdr_busy", 1),
    ("vdw_busy", 1),
    ("vpm_read_setup", 1),  # rd_setup by a load immediate that is known to set up VPM reads
    ("vdw_setup", 1),  # wr_setup by a load immediate that is known to set up a DMA store
    ("vdr_setup", 1),
    ("host_int", 1),
    ("branch", 1),
    ("thrend", 1),
    ("thrsw", 1),
    ("lthrsw", 1),
    ("scoreboard", 1),
    ("bkpt", 1),
    ("fragment", 1),
):
    EVENTS[_name] = Event(_name, _next_bit, _count)
    _next_bit += _count

_BIT = {name: 1 << event.offset for name, event in EVENTS.items()}


def mask(names: str) -> int:
    """The bits of the events named in a space-separated list."""
    bits = 0
    for name in names.split():
        bits |= EVENTS[name].mask
    return bits


def event_names(bits: int) -> List[str]:
    """The names of the event groups in a set, for messages."""
    return [name for name, event in EVENTS.items() if bits & event.mask]


READ_BITS: Dict[Tuple[str, int], int] = {}
"""The events of a read, by file and address."""
WRITE_BITS: Dict[Tuple[str, int], int] = {}
"""The events of a write, by file and address."""


def _fill_address_bits() -> None:
    for file, base in (("A", 0), ("B", 32)):
        for addr in range(32):
            READ_BITS[file, addr] = 1 << (EVENTS["read_file"].offset + base + addr)
            WRITE_BITS[file, addr] = 1 << (EVENTS["write_file"].offset + base + addr)
        READ_BITS[file, 14] |= _BIT["read_14"]
        WRITE_BITS[file, 14] |= _BIT["write_14"]
    reads = {
        "uniform": "uniform",
        "varying": "varying",
        "vpm": "read_vpm",
        "vdr_wait": "vdr_wait",
        "vdw_wait": "vdw_wait",
        "mutex": "read_mutex",
    }
    for port in regs.READS:
        for file, name in (("A", port.name_a), ("B", port.name_b)):
            if name is None:
                continue
            bits = _BIT[reads[port.effect]] if port.effect else 0
            if port.effect == "varying":
                bits |= _BIT["write_r5"]
            if name == "ms_flags":
                bits |= _BIT["read_ms_flags"]
            if name in ("vdr_busy", "vdw_busy"):
                bits |= _BIT[name]
            READ_BITS[file, port.addr] = bits
    writes = {
        "r5": "write_r5",
        "noswap": "noswap",
        "host_int": "host_int",
        "unif_addr": "write_unif_addr",
        "fragment": "fragment",
        "tlb": "tlb_write",
        "vpm": "write_vpm",
        "vdr": "vdr_start",
        "vdw": "vdw_start",
        "mutex": "write_mutex",
    }
    for port in regs.WRITES:
        for file, name in (("A", port.name_a), ("B", port.name_b)):
            if name is None:
                continue
            bits = _BIT[writes[port.effect]] if port.effect in writes else 0
            if port.effect == "acc":
                bits = (_BIT["write_acc"] | _BIT["write_acc_all"]) << (port.addr - 32)
            elif port.effect == "setup":
                bits = _BIT["rd_setup" if file == "A" else "wr_setup"]
            elif port.effect == "sfu":
                bits = _BIT["write_sfu"] << (port.addr - 52)
            elif port.effect == "tmu":
                number, part = divmod(port.addr - 56, 4)
                if part:
                    bits = _BIT[f"config_tmu{number}"] << (part - 1)
                else:
                    bits = _BIT[f"request_tmu{number}"]
            if name == "tlb_z":
                bits |= _BIT["write_tlb_z"]
            WRITE_BITS[file, port.addr] = bits


_fill_address_bits()

SIGNAL_BITS = [0] * 16
for _code, _names in (
    (0, "bkpt"),
    (2, "thrsw"),
    (3, "thrend"),
    (4, "scoreboard"),
    (5, "scoreboard"),
    (6, "lthrsw"),
    (7, "load_r4 tlb_read"),
    (8, "load_r4 tlb_read"),
    (9, "load_r4 tlb_read thrend"),
    (10, "load_r4 pop_tmu0"),
    (11, "load_r4 pop_tmu1"),
    (12, "load_r4 tlb_read"),
    (15, "branch"),
):
    SIGNAL_BITS[_code] = mask(_names)

_READ_ACC = _BIT["read_acc"]
MUX_BITS = tuple(_READ_ACC << mux for mux in range(4)) + (_BIT["read_r4"], _BIT["read_r5"], 0, 0)
"""The events of a mux that takes r0..r5; the register files have their own."""
_ACC_READS, _ACC_ROTATIONS = EVENTS["read_acc"], EVENTS["rotate_acc"]


def rotation(reads: int, code: int) -> int:
    """What the small immediate ``code`` adds to an operation of the mul unit that ``reads``."""
    bits = (reads & _ACC_READS.mask) >> _ACC_READS.offset << _ACC_ROTATIONS.offset
    return bits | _BIT["rotate_by_r5"] | _BIT["read_r5"] if code == modes.ROTATE_BY_R5 else bits


_ALL, _SOME = EVENTS["write_acc_all"], EVENTS["write_acc_some"]
REGISTER_READS = mask("read_file read_acc rotate_acc read_14 read_r4 read_r5 rotate_by_r5")
"""Reads that matter only if the result of the operation goes anywhere."""
_REGISTER_WRITES = mask(
    "write_file write_acc write_acc_all write_acc_some write_14 write_r5 host_int"
)
"""Writes that a condition keeps from happening.  Other peripherals act whatever the condition
(measured)."""


def under_condition(bits: int, cond: int) -> int:
    """What is left, under a condition, of the events of a write."""
    if cond == modes.COND_ALWAYS:
        return bits
    if cond == modes.COND_NEVER:
        return bits & ~_REGISTER_WRITES
    return bits & ~_ALL.mask | (bits & _ALL.mask) >> _ALL.offset << _SOME.offset


def units_at_work(instr: Instr) -> Tuple[bool, bool]:
    """Whether the add and the mul unit have a result to write, under whatever condition.

    Without an operation the add unit has none (measured); the mul unit delivers an earlier result
    once more if the word gives it a condition and a destination (measured).
    """
    if not instr.is_alu:
        return True, True
    repeats = instr.cond_mul != modes.COND_NEVER and instr.waddr_mul != regs.NOP_ADDR
    return instr.op_add != 0, instr.op_mul != 0 or repeats


def events(instr: Instr) -> int:
    """Everything that an instruction does, as a set of event bits.

    A register counts as read when a mux of an operation selects it; an address with a side effect
    counts whenever it is in the word (guide, p. 37).  An operation whose condition never holds
    neither reads nor writes registers.
    """
    bits = SIGNAL_BITS[instr.sig]
    nop = regs.NOP_ADDR
    branch = instr.sig == modes.SIG_BRANCH
    adds, muls = (True, True) if branch else units_at_work(instr)
    if instr.waddr_add != nop and adds:
        result = WRITE_BITS.get((instr.file_add, instr.waddr_add), 0)
        bits |= result if branch else under_condition(result, instr.cond_add)
    if instr.waddr_mul != nop and muls:
        result = WRITE_BITS.get((instr.file_mul, instr.waddr_mul), 0)
        bits |= result if branch else under_condition(result, instr.cond_mul)
    if branch:
        if instr.reg:
            bits |= READ_BITS["A", instr.raddr_a]
            if instr.raddr_a & 1:
                bits |= _BIT["write_flags"]
        if instr.cond_br != modes.BRANCH_ALWAYS:
            bits |= _BIT["read_flags"]
        return bits
    if instr.sf:
        bits |= _BIT["write_flags"]
    if instr.cond_add > modes.COND_ALWAYS or instr.cond_mul > modes.COND_ALWAYS:
        bits |= _BIT["read_flags"]
    if instr.sig == modes.SIG_LDI:
        if instr.load_kind == modes.LOAD_SEMAPHORE:
            bits |= _BIT["semaphore"]
        elif instr.load_kind == modes.LOAD_32:
            if bits & _BIT["rd_setup"]:
                bits |= _BIT["vdr_setup" if instr.imm >> 31 else "vpm_read_setup"]
            if bits & _BIT["wr_setup"] and instr.imm >> 31:
                bits |= _BIT["vdw_setup"]
        return bits
    a, b = instr.raddr_a, instr.raddr_b
    small = instr.sig == modes.SIG_SMALL_IMM
    muxes: Tuple[int, ...] = ()
    if instr.op_add and instr.cond_add != modes.COND_NEVER:
        unary = ops.ADD_BY_CODE[instr.op_add].nsrc == 1
        muxes = (instr.add_a,) if unary else (instr.add_a, instr.add_b)
    multiplies = instr.op_mul and instr.cond_mul != modes.COND_NEVER
    if multiplies:
        muxes += (instr.mul_a, instr.mul_b)
    for mux in muxes:
        bits |= MUX_BITS[mux]
    if a >= 32:
        bits |= READ_BITS.get(("A", a), 0)
    elif regs.MUX_A in muxes:
        bits |= READ_BITS["A", a]
    if not small:
        if b >= 32:
            bits |= READ_BITS.get(("B", b), 0)
        elif regs.MUX_B in muxes:
            bits |= READ_BITS["B", b]
    elif multiplies and instr.small_imm >= modes.ROTATE_BY_R5:
        bits |= rotation(MUX_BITS[instr.mul_a] | MUX_BITS[instr.mul_b], instr.small_imm)
    return bits
