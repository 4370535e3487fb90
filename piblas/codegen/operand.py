"""Operands of the assembler: virtual registers, physical registers, peripherals, constants.

A place where a virtual register may live is a bit of a 68-bit mask: bits 0..31 are file A, 32..63
file B, 64..67 the accumulators r0..r3.  r4 (index 68) and r5 (69) are read by name and written
through signals, special functions and the r5 ports.  The names of registers and peripherals come
from the rows of :mod:`piblas.isa.regs`.
"""

from __future__ import annotations

import numbers
import struct
from typing import Dict, Optional, Tuple, Union

from ..isa import modes, regs
from ..isa.events import MUX_BITS, READ_BITS, WRITE_BITS

__all__ = [
    "Operand",
    "Reg",
    "Loc",
    "Port",
    "Const",
    "Modified",
    "Where",
    "LOCS",
    "NAMED",
    "MASK_A",
    "MASK_A_EVEN",
    "MASK_B",
    "MASK_ACC",
    "MASK_ANY",
    "R4",
    "R5",
    "allowed_mask",
    "bits_of",
    "mask_text",
]

Where = Optional[Tuple[str, int]]
"""File and line of the generator's call."""

MASK_A = (1 << 32) - 1
MASK_A_EVEN = 0x55555555
MASK_B = MASK_A << 32
MASK_ACC = 15 << 64
MASK_ANY = MASK_A | MASK_B | MASK_ACC
_MASKS = {"A": MASK_A, "B": MASK_B, "AB": MASK_A | MASK_B, "acc": MASK_ACC, "any": MASK_ANY}


class Operand:
    """Anything that an instruction reads or writes."""

    __slots__ = ()
    name = "?"
    reads = writes = 0
    """What a word does that reads or writes it (:mod:`piblas.isa.events`)."""
    is_register = False
    """Whether it is a virtual register or one that those may get."""
    allowed = 0
    """Where a word may read it: a mask of places."""

    def pack(self, mode: str) -> "Modified":
        """This destination with a pack mode ("16a", "8ds", "8888c", ...)."""
        if mode in modes.PACK_A:
            return Modified(self, pack=(0, modes.PACK_A.index(mode)))
        if mode in modes.PACK_MUL:
            return Modified(self, pack=(1, modes.PACK_MUL.index(mode)))
        raise ValueError(f"there is no pack mode {mode!r}")

    def unpack(self, mode: str) -> "Modified":
        """This source with an unpack mode ("16a", "8b", "8dr", ...)."""
        if mode not in modes.UNPACK_A:
            raise ValueError(f"there is no unpack mode {mode!r}")
        return Modified(self, unpack=modes.UNPACK_A.index(mode))

    def __repr__(self) -> str:
        return self.name


class Loc(Operand):
    """A physical register; ``index`` is its bit in a mask of places."""

    __slots__ = ("index", "file", "addr", "name", "reads", "writes", "is_register", "allowed")

    def __init__(self, index: int, file: str, addr: int, name: str) -> None:
        self.index, self.file, self.addr, self.name = index, file, addr, name
        self.is_register = index < 68
        self.allowed = MASK_ACC if file == "acc" else 1 << index
        if file != "acc":
            self.reads, self.writes = READ_BITS[file, addr], WRITE_BITS[file, addr]
        else:
            self.reads = MUX_BITS[addr]
            self.writes = WRITE_BITS["A", 32 + addr] if addr < 4 else 0

    def __reduce__(self) -> Tuple:
        return _loc, (self.index,)


def _loc(index: int) -> Loc:
    return LOCS[index]


LOCS: Tuple[Loc, ...] = tuple(
    [Loc(i, "A", i, f"ra{i}") for i in range(32)]
    + [Loc(32 + i, "B", i, f"rb{i}") for i in range(32)]
    + [Loc(64 + i, "acc", i, f"r{i}") for i in range(6)]
)
R4, R5 = LOCS[68], LOCS[69]


class Port(Operand):
    """A peripheral: for each direction its address and the files ("A", "B" or "AB") that reach
    it, or None."""

    __slots__ = ("name", "read", "write", "effect", "reads", "writes", "allowed")

    def __init__(self, name: str) -> None:
        self.name = name
        self.read: Optional[Tuple[int, str]] = None
        self.write: Optional[Tuple[int, str]] = None
        self.effect: Optional[str] = None
        self.reads = self.writes = self.allowed = 0


class Const(Operand):
    """A 32-bit constant; ``code`` is its small immediate, or None."""

    __slots__ = ("bits", "name", "code")
    allowed = MASK_B  # the small immediate

    def __init__(self, bits: int, name: str) -> None:
        self.bits, self.name = bits, name
        self.code = modes.small_imm_code(bits)


class Reg(Operand):
    """A virtual register; ``allowed`` is the mask of places that it may get."""

    __slots__ = ("name", "allowed", "undefined", "where", "origin", "soft")
    is_register = True

    def __init__(
        self, name: str, allowed: int = MASK_ANY, undefined: bool = False, where: Where = None
    ) -> None:
        self.name = name
        self.allowed = allowed
        self.undefined = undefined
        self.where = where
        self.origin = self  # the register that the generator declared
        self.soft = False  # made by the assembler, for one use

    def split(self, number: int) -> "Reg":
        """A register for one of several independent values of this one."""
        part = Reg(f"{self.name}'{number}", self.allowed, self.undefined, self.where)
        part.origin, part.soft = self.origin, self.soft
        return part


class Modified(Operand):
    """A destination with a pack mode (pm, code), or a source with an unpack mode."""

    __slots__ = ("base", "packing", "unpacking")

    def __init__(
        self, base: Operand, pack: Optional[Tuple[int, int]] = None, unpack: int = 0
    ) -> None:
        if isinstance(base, Modified):
            raise ValueError(f"{base!r} has a pack or unpack mode already")
        self.base, self.packing, self.unpacking = base, pack, unpack

    def __repr__(self) -> str:
        if self.packing:
            pm, code = self.packing
            return f"{self.base!r}.{(modes.PACK_MUL if pm else modes.PACK_A)[code]}"
        return f"{self.base!r}.{modes.UNPACK_A[self.unpacking]}"


def _named() -> Dict[str, Operand]:
    """Every name that a generator may use, as an attribute of the assembler."""
    table: Dict[str, Operand] = {loc.name: loc for loc in LOCS}

    def port(name: str, effect: Optional[str]) -> Port:
        row = table.setdefault(name, Port(name))
        assert isinstance(row, Port)
        row.effect = row.effect or effect
        return row

    for row in regs.READS:
        if row.addr == regs.NOP_ADDR:
            continue
        if row.name_a and row.name_b == row.name_a + "_b":
            port(row.name_a, row.effect).read = (row.addr, "AB")
            continue
        for file, name in (("A", row.name_a), ("B", row.name_b)):
            if name:
                port(name, row.effect).read = (row.addr, file)
    for row in regs.WRITES:
        if row.effect == "acc":
            continue
        if row.name_a == row.name_b and row.name_a:
            name = "null" if row.name_a == "-" else row.name_a
            port(name, row.effect).write = (row.addr, "AB")
            continue
        for file, name in (("A", row.name_a), ("B", row.name_b)):
            if name and not name.endswith("_b"):  # the uniforms address is set through file A
                port(name, row.effect).write = (row.addr, file)
    for operand in table.values():
        if isinstance(operand, Port):
            if operand.read:
                operand.reads = READ_BITS[operand.read[1][0], operand.read[0]]
                operand.allowed = _MASKS[operand.read[1]]
            if operand.write:
                operand.writes = WRITE_BITS[operand.write[1][0], operand.write[0]]
    return table


NAMED: Dict[str, Operand] = _named()


def allowed_mask(file: str) -> int:
    """The places that a constraint names: "A", "B", "AB", "acc", "any" or a physical register."""
    if file in _MASKS:
        return _MASKS[file]
    loc = NAMED.get(file)
    if isinstance(loc, Loc) and loc.index < 68:
        return 1 << loc.index
    raise ValueError(f"{file!r} is neither A, B, AB, acc, any nor a register")


def mask_text(allowed: int) -> str:
    """The name of a mask of places, for messages."""
    parts = []
    for name, part in (("A", MASK_A), ("B", MASK_B), ("acc", MASK_ACC)):
        if allowed & part == part:
            parts.append(name)
        else:
            parts += [loc.name for loc in LOCS[:68] if allowed & part & 1 << loc.index]
    return ", ".join(parts) if len(parts) < 8 else "even registers of file A"


def bits_of(value: Union[int, float]) -> int:
    """The 32-bit pattern of a number: an integer's own, or a float's as float32."""
    if isinstance(value, numbers.Integral):
        number = int(value)
        if not -(1 << 31) <= number < 1 << 32:
            raise ValueError(f"{number} does not fit 32 bits")
        return number & 0xFFFFFFFF
    try:
        return int(struct.unpack("<I", struct.pack("<f", float(value)))[0])
    except OverflowError:
        raise ValueError(f"{value} does not fit a float32") from None
