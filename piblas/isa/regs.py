"""Read and write addresses of register files A and B (guide, p. 37-38).

Addresses 0..31 are the physical registers of a file; 32..63 are accumulators and peripherals.
A row names an address of one file for one direction; addresses without a row are unmapped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Dict, Optional, Tuple

__all__ = [
    "Port",
    "READS",
    "WRITES",
    "READ_NAME",
    "WRITE_NAME",
    "READ_ADDR",
    "WRITE_ADDR",
    "NOP_ADDR",
    "MUX_NAMES",
    "MUX_A",
    "MUX_B",
    "MUX_R4",
    "MUX_R5",
]

NOP_ADDR = 39
"""The address of an unused operand or result."""

MUX_R4, MUX_R5, MUX_A, MUX_B = 4, 5, 6, 7
MUX_NAMES: Tuple[str, ...] = ("r0", "r1", "r2", "r3", "r4", "r5", "a", "b")


@dataclass(frozen=True)
class Port:
    """An I/O address of one or both register files, for one direction.

    ``effect``: for reads, what the address alone does, whether a mux selects it or not
    ("uniform", "varying", "vpm", "vdr_wait", "vdw_wait", "mutex"); for writes, the unit that
    receives the value ("acc", "r5", "tmu", "sfu", "vpm", "vdr", "vdw", "unif_addr", "host_int",
    "mutex", "tlb", "noswap", "fragment").
    """

    addr: int
    name_a: Optional[str]
    name_b: Optional[str]
    effect: Optional[str] = None


def _read(addr: int, a: Optional[str], b: Optional[str], effect: Optional[str] = None) -> Port:
    return Port(addr, a, b, effect)


# Where files A and B read the same thing, the name on file B ends in "_b": the text of an
# instruction then says which of its two read ports is in use.
READS: Tuple[Port, ...] = (
    _read(32, "unif", "unif_b", "uniform"),
    _read(35, "vary", "vary_b", "varying"),
    _read(38, "elem_num", "qpu_num"),
    _read(39, "none", "none_b"),
    _read(41, "x_coord", "y_coord"),
    _read(42, "ms_flags", "rev_flag"),
    _read(48, "vpm", "vpm_b", "vpm"),
    _read(49, "vdr_busy", "vdw_busy"),
    _read(50, "vdr_wait", None, "vdr_wait"),
    _read(50, None, "vdw_wait", "vdw_wait"),
    _read(51, "mutex", "mutex_b", "mutex"),
)

WRITES: Tuple[Port, ...] = (
    Port(32, "r0", "r0", "acc"),
    Port(33, "r1", "r1", "acc"),
    Port(34, "r2", "r2", "acc"),
    Port(35, "r3", "r3", "acc"),
    Port(36, "tmu_noswap", "tmu_noswap", "noswap"),
    Port(37, "r5quad", "r5rep", "r5"),
    Port(38, "host_int", "host_int", "host_int"),
    Port(39, "-", "-", None),
    Port(40, "unif_addr", "unif_addr_b", "unif_addr"),
    Port(41, "quad_x", "quad_y", "fragment"),
    Port(42, "ms_flags", "rev_flag", "fragment"),
    Port(43, "tlb_stencil", "tlb_stencil", "tlb"),
    Port(44, "tlb_z", "tlb_z", "tlb"),
    Port(45, "tlb_ms", "tlb_ms", "tlb"),
    Port(46, "tlb_all", "tlb_all", "tlb"),
    Port(47, "tlb_alpha", "tlb_alpha", "tlb"),
    Port(48, "vpm", "vpm", "vpm"),
    Port(49, "vpm_rd_setup", "vpm_wr_setup", "setup"),
    Port(50, "vdr_addr", None, "vdr"),
    Port(50, None, "vdw_addr", "vdw"),
    Port(51, "mutex", "mutex", "mutex"),
    Port(52, "recip", "recip", "sfu"),
    Port(53, "rsqrt", "rsqrt", "sfu"),
    Port(54, "exp2", "exp2", "sfu"),
    Port(55, "log2", "log2", "sfu"),
    Port(56, "t0s", "t0s", "tmu"),
    Port(57, "t0t", "t0t", "tmu"),
    Port(58, "t0r", "t0r", "tmu"),
    Port(59, "t0b", "t0b", "tmu"),
    Port(60, "t1s", "t1s", "tmu"),
    Port(61, "t1t", "t1t", "tmu"),
    Port(62, "t1r", "t1r", "tmu"),
    Port(63, "t1b", "t1b", "tmu"),
)


def _names(ports: Tuple[Port, ...]) -> Dict[Tuple[str, int], str]:
    names: Dict[Tuple[str, int], str] = {}
    for index in range(32):
        names["A", index] = f"ra{index}"
        names["B", index] = f"rb{index}"
    for port in ports:
        if port.name_a is not None:
            names["A", port.addr] = port.name_a
        if port.name_b is not None:
            names["B", port.addr] = port.name_b
    for file in "AB":
        for addr in range(32, 64):
            names.setdefault((file, addr), f"{file.lower()}{addr}")
    return names


READ_NAME: Dict[Tuple[str, int], str] = _names(READS)
"""Text of a read address: ``READ_NAME["A", 32] == "unif"``."""

WRITE_NAME: Dict[Tuple[str, int], str] = _names(WRITES)
"""Text of a write address: ``WRITE_NAME["B", 37] == "r5rep"``."""

READ_ADDR: Dict[str, Tuple[str, int]] = {name: key for key, name in READ_NAME.items()}
"""The file and address that a text names for a read."""

WRITE_ADDR: Dict[str, Tuple[Optional[str], int]] = {}
"""The file and address that a text names for a write; the file is None where either will do."""
for (_file, _addr), _name in WRITE_NAME.items():
    _either = WRITE_NAME["A", _addr] == WRITE_NAME["B", _addr]
    WRITE_ADDR[_name] = (None if _either else _file, _addr)
