"""Random program lines with modifiers in all places, and what a word does, read without the parser.

A :class:`Line` is what was written, as data.  :func:`reading` says what an encoded word does, field
by field, after the rules of the chip (guide, p. 26-37); :func:`expressible` searches the words that
could do what a line says.  Neither shares code with :mod:`piblas.isa.parse`.
"""

from __future__ import annotations

import itertools
import random
import re
import struct
from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from piblas.isa import modes, ops, regs
from piblas.isa.instr import Instr

SIGNALS = ("ldtmu0", "ldtmu1", "thrsw", "sbwait")
SOURCES = (
    ["r0", "r1", "r2", "r3", "r4", "r4", "r5", "ra1", "ra1", "ra1", "ra1", "ra2", "rb1", "rb1"]
    + ["rb2", "unif", "unif_b", "elem_num", "qpu_num", "vpm"]
    + ["1", "1", "2", "-3", "0x3", "0.5", "1.0", "0x3f800000", "-15", "1+1"]
)
CONSTANTS = {"0x3": 3, "1+1": 2, "0x3f800000": 0x3F800000}
DESTINATIONS = ["r0", "r1", "r2", "ra3", "ra3", "ra4", "rb3", "rb4", "-", "t0s", "vpm"] + [
    "vpm_wr_setup",
    "r5quad",
    "r5rep",
    "vdw_addr",
]
NAMES = (
    ["mov", "mov", "mov", "m_mov", "v8adds", "m_v8adds", "v8subs", "fadd", "fmin", "add", "sub"]
    + ["and", "ftoi", "not", "shl", "or", "fmul", "fmul", "mul24", "v8min", "v8muld", "m_fmul"]
    + ["nop", "m_nop"]
)
PACKS_A = [name for name in modes.PACK_A if name != "32"]
PACKS_MUL = [name for name in modes.PACK_MUL if name not in ("32", None)]
UNPACKS = [name for name in modes.UNPACK_A if name != "32"]


@dataclass(frozen=True)
class Written:
    """An operation as it was written."""

    name: str
    dst: str
    srcs: Tuple[str, ...] = ()
    sf: bool = False
    cond: Optional[str] = None
    pack: Optional[str] = None
    unpacks: Tuple[Optional[str], ...] = ()
    rot: Optional[str] = None

    @property
    def text(self) -> str:
        head = self.name + ".sf" * self.sf + (f".{self.cond}" if self.cond else "")
        items = [self.dst + (f".{self.pack}" if self.pack else "")]
        for src, unpack in zip(self.srcs, self.unpacks):
            items.append(src + (f".{unpack}" if unpack else ""))
        rot = f" rot {self.rot}" if self.rot else ""
        if self.name in ("nop", "m_nop") and items == ["-"]:
            return head + rot
        return f"{head} {', '.join(items)}{rot}"

    @property
    def is_nop(self) -> bool:
        return self.name in ("nop", "m_nop")

    @property
    def units(self) -> List[str]:
        """The units that have the operation."""
        if self.name.startswith("m_"):
            return ["mul"]
        if self.name == "mov":
            return ["add", "mul"]
        return [unit for unit in ("add", "mul") if (unit, self.name) in ops.BY_NAME]

    def effect(self):
        """What it says, as :func:`reading` puts it; None for a nop that does nothing."""
        name = self.name[2:] if self.name.startswith("m_") else self.name
        srcs = tuple(
            (CONSTANTS.get(src, src) if is_constant(src) else src, unpack)
            for src, unpack in zip(self.srcs, self.unpacks)
        )
        srcs = tuple((bits(src) if is_constant(src) else src, unpack) for src, unpack in srcs)
        if name in ("or", "v8min") and srcs[0] == srcs[1]:
            name, srcs = "mov", srcs[:1]
        cond = self.cond or ("never" if name == "nop" else "always")
        said = (name, self.sf, cond, self.dst, self.pack, srcs, self.rot)
        if said == ("nop", False, "never", "-", None, (), None):
            return None
        return said


@dataclass(frozen=True)
class Load:
    """A load or semaphore word as it was written; ``dsts`` are (name, condition, pack mode)."""

    name: str
    value: str
    dsts: Tuple[Tuple[str, Optional[str], Optional[str]], ...]
    sf: bool = False
    order: int = 0  # whether a pack mode comes before a condition

    @property
    def text(self) -> str:
        items = []
        for name, cond, pack in self.dsts:
            marks = [mark for mark in ((cond, pack) if self.order else (pack, cond)) if mark]
            items.append(".".join([name, *marks]))
        head = self.name + ".sf" * self.sf
        if self.name.startswith("sema"):
            return f"{head} {', '.join([self.value, *items])}"
        return f"{head} {', '.join([*items, self.value])}"

    def effect(self):
        dsts = []
        for unit, (name, cond, pack) in enumerate(self.dsts):
            unused = name == "-" and not (self.sf and unit == 0)
            dsts.append((name, cond or ("never" if unused else "always"), pack))
        return (self.name, self.value, tuple(dsts), self.sf)


@dataclass(frozen=True)
class Line:
    """Operations and a signal, or a load."""

    operations: Tuple[Written, ...] = ()
    signal: Optional[str] = None
    load: Optional[Load] = None
    parts: Tuple[str, ...] = field(default=(), compare=False)

    @property
    def text(self) -> str:
        return "; ".join(self.parts)

    def effects(self):
        """What the line says, without the units."""
        if self.load is not None:
            return self.load.effect()
        said = [each.effect() for each in self.operations]
        if said == [("nop", True, "never", "-", None, (), None)] and self.operations[0].units[1:]:
            said = ["flags of nothing"]
        return (sorted(filter(None, said), key=repr), self.signal)


def is_constant(text) -> bool:
    return not isinstance(text, str) or bool(re.match(r"-?\d", text))


def bits(value) -> int:
    """The 32 bits of an integer, or of a float as float32."""
    if isinstance(value, str):
        value = float(value) if "." in value else int(value, 0)
    if isinstance(value, float):
        return int(struct.unpack("<I", struct.pack("<f", value))[0])
    return value & 0xFFFFFFFF


# --- the generator -------------------------------------------------------------------------------


def _written(rng: random.Random, marks: float) -> Written:
    name = rng.choice(NAMES)
    if name in ("nop", "m_nop"):
        nsrc = 0
    elif name in ("mov", "m_mov", "ftoi", "not"):
        nsrc = 1
    else:
        nsrc = 2
    srcs = tuple(rng.choice(SOURCES) for _ in range(nsrc))
    if nsrc == 2 and rng.random() < 0.25:
        srcs = (srcs[0], srcs[0])
    unpack = rng.choice(UNPACKS)
    wanted = rng.random() < 1.5 * marks
    unpacks = tuple(
        rng.choice([unpack, unpack, rng.choice(UNPACKS)])
        if not is_constant(src)
        and (wanted and (src[:2] in ("ra", "r4") or rng.random() < 0.1) and rng.random() < 0.9)
        else None
        for src in srcs
    )
    dst = rng.choice(DESTINATIONS)
    if nsrc == 0 and rng.random() < 0.7:
        dst = "-"
    pack = None
    if rng.random() < marks or (dst[:2] == "ra" and rng.random() < marks):
        pack = rng.choice(PACKS_A if rng.random() < 0.5 else PACKS_MUL)
    return Written(
        name,
        dst,
        srcs,
        sf=rng.random() < marks,
        cond=rng.choice(modes.CONDITIONS) if rng.random() < marks else None,
        pack=pack,
        unpacks=unpacks,
        rot=rng.choice(["1", "4", "15", "r5", "1"]) if rng.random() < marks else None,
    )


def _load(rng: random.Random, marks: float) -> Load:
    dsts = []
    for _ in range(2):
        cond = rng.choice(modes.CONDITIONS) if rng.random() < marks else None
        pack = rng.choice(PACKS_A + PACKS_MUL) if rng.random() < marks else None
        dsts.append((rng.choice(DESTINATIONS), cond, pack))
    if rng.random() < 0.3:
        name, value = rng.choice(["sema_up", "sema_down"]), str(rng.randrange(16))
    else:
        name, value = "ldi", f"{rng.getrandbits(32):#010x}"
    return Load(name, value, tuple(dsts), rng.random() < marks, rng.randrange(2))


def random_line(rng: random.Random) -> Line:
    """A line; about half of those that it makes say what no word can do."""
    marks = rng.choice([0.05, 0.15, 0.3])
    if rng.random() < 0.15:
        load = _load(rng, marks)
        return Line(load=load, parts=(load.text,))
    count = rng.choice([1, 1, 1, 2, 2, 2, 2, 2, 2, 3] if rng.random() < 0.3 else [1, 2])
    operations = tuple(_written(rng, marks) for _ in range(count))
    signal = rng.choice(SIGNALS) if rng.random() < 0.1 else None
    parts = [each.text for each in operations] + ([signal] if signal else [])
    rng.shuffle(parts)
    return Line(operations, signal, None, tuple(parts))


# --- what a word does ----------------------------------------------------------------------------


def _written_to(instr: Instr):
    """Name and pack mode of both destinations, and whether a pack mode is left without effect."""
    files = ("B", "A") if instr.ws else ("A", "B")
    addrs = (instr.waddr_add, instr.waddr_mul)
    packs: List[Optional[str]] = [None, None]
    idle = False
    if instr.pack:
        if instr.pm:
            packs[1] = modes.PACK_MUL[instr.pack]
            idle = addrs[1] == 39
        else:
            unit = files.index("A")
            packs[unit] = modes.PACK_A[instr.pack]
            idle = addrs[unit] >= 32
    names = [regs.WRITE_NAME[file, addr] for file, addr in zip(files, addrs)]
    return list(zip(names, packs)), idle


def reading(instr: Instr):
    """What a word does: (effects by unit, signal), or that of a load; None where fields are left
    over that would do more, or nothing."""
    dsts, idle = _written_to(instr)
    if idle:
        return None
    if instr.sig == 14:
        conds = [modes.CONDITIONS[instr.cond_add], modes.CONDITIONS[instr.cond_mul]]
        both = tuple((name, cond, pack) for (name, pack), cond in zip(dsts, conds))
        if instr.load_kind == 4:
            name, value = ("sema_down" if instr.imm & 16 else "sema_up"), str(instr.imm & 15)
        else:
            name, value = "ldi", f"{instr.imm:#010x}"
        return (name, value, both, bool(instr.sf))
    rot = None
    if instr.sig == 13 and instr.small_imm >= 48:
        rot = "r5" if instr.small_imm == 48 else str(instr.small_imm - 48)
    used = set()

    def source(mux: int):
        used.add(mux)
        unpack = modes.UNPACK_A[instr.unpack] if instr.unpack else None
        if mux < 6:
            return (f"r{mux}", unpack if mux == 4 and instr.pm else None)
        if mux == 6:
            return (regs.READ_NAME["A", instr.raddr_a], None if instr.pm else unpack)
        if instr.sig == 13:
            return (modes.SMALL_IMMS[instr.small_imm].bits, None)
        return (regs.READ_NAME["B", instr.raddr_b], None)

    halves: Dict[str, tuple] = {}
    flags = "add" if instr.op_add else "mul"
    for unit, (dst, pack), code, cond, muxes in (
        ("add", dsts[0], instr.op_add, instr.cond_add, (instr.add_a, instr.add_b)),
        ("mul", dsts[1], instr.op_mul, instr.cond_mul, (instr.mul_a, instr.mul_b)),
    ):
        row = (ops.ADD_BY_CODE if unit == "add" else ops.MUL_BY_CODE)[code]
        srcs = tuple(source(mux) for mux in muxes[: row.nsrc])
        name = row.name
        if name in ("or", "v8min") and muxes[0] == muxes[1]:
            name, srcs = "mov", srcs[:1]
        turn = rot if unit == "mul" else None
        sf = bool(instr.sf and flags == unit and code)
        effect = (name, sf, modes.CONDITIONS[cond], dst, pack, srcs, turn)
        if effect != ("nop", False, "never", "-", None, (), None):
            halves[unit] = effect
    if instr.sf and not (instr.op_add or instr.op_mul):
        halves["none"] = "flags of nothing"  # type: ignore[assignment]
    # A read address reads, whether its value is used or not.
    if (instr.raddr_a != 39 and 6 not in used) or (
        instr.sig != 13 and instr.raddr_b != 39 and 7 not in used
    ):
        return None
    if instr.unpack and (4 if instr.pm else 6) not in used:
        return None
    signal = None if instr.sig in (1, 13) else modes.SIGNALS[instr.sig].name
    return (sorted(halves.values(), key=repr), signal)


# --- words that could do what a line says --------------------------------------------------------


def _field(name: Optional[str], table) -> int:
    return table.index(name) if name in table and name is not None else 0


def _candidates(line: Line):
    """The words that may do what a line says.  Where a word has one field for several operands,
    the first of them decides: others must agree or no word does it."""
    packs = [each.pack for each in line.operations if each.pack]
    packs += [pack for _, _, pack in (line.load.dsts if line.load else ()) if pack]
    unpacks = [unpack for each in line.operations for unpack in each.unpacks if unpack]
    srcs = [src for each in line.operations for src in each.srcs]
    addr = {"A": 39, "B": 39}
    for src in reversed(srcs):
        if src in regs.READ_ADDR:
            file, addr[file] = regs.READ_ADDR[src][0], regs.READ_ADDR[src][1]
    constants = [bits(CONSTANTS.get(src, src)) for src in srcs if is_constant(src)]
    rots = [each.rot for each in line.operations if each.rot]
    flags = [each.sf for each in line.operations] + [line.load is not None and line.load.sf]
    common = {"sf": int(any(flags))}
    if line.signal:
        common["sig"] = modes.SIGNAL_BY_NAME[line.signal].code
    elif rots or constants:
        code = next((row.code for row in modes.SMALL_IMMS if row.bits == (constants or [0])[0]), 0)
        common.update(sig=13, small_imm=code)
        if rots:
            common["small_imm"] = 48 if rots[0] == "r5" else 48 + int(rots[0])
    if common.get("sig") != 13:
        common["raddr_b"] = addr["B"]
    common["raddr_a"] = addr["A"]
    for ws, pm in itertools.product((0, 1), (0, 1)):
        values = dict(common, ws=ws, pm=pm, unpack=_field((unpacks or [None])[0], modes.UNPACK_A))
        values["pack"] = _field((packs or [None])[0], modes.PACK_MUL if pm else modes.PACK_A)
        if line.load is not None:
            yield _load_candidate(line.load, values)
            continue
        for units in itertools.product(*(each.units for each in line.operations)):
            rotated = [unit for each, unit in zip(line.operations, units) if each.rot]
            if len(set(units)) == len(units) and rotated in ([], ["mul"]):
                yield Instr(**values, **_halves(line.operations, units))


def _load_candidate(load: Load, values: Dict[str, int]) -> Instr:
    kept = {name: values[name] for name in ("sf", "ws", "pm", "pack")}
    (_, _, dsts, _) = load.effect()
    for unit, (name, cond, _) in zip(("add", "mul"), dsts):
        kept[f"waddr_{unit}"] = regs.WRITE_ADDR[name][1]
        kept[f"cond_{unit}"] = modes.CONDITIONS.index(cond)
    if load.name == "ldi":
        return Instr.load(int(load.value, 0), **kept)
    imm = int(load.value) + (16 if load.name == "sema_down" else 0)
    return Instr.load(imm, load_kind=4, **kept)


def _halves(operations, units) -> Dict[str, int]:
    values: Dict[str, int] = {}
    for each, unit in zip(operations, units):
        name = each.name[2:] if each.name.startswith("m_") else each.name
        if name == "mov":
            name = "or" if unit == "add" else "v8min"
        cond = each.cond or ("never" if name == "nop" else "always")
        muxes = []
        for src in each.srcs:
            if src in regs.READ_ADDR:
                muxes.append(6 if regs.READ_ADDR[src][0] == "A" else 7)
            else:
                muxes.append(7 if is_constant(src) else int(src[1]))
        values[f"op_{unit}"] = ops.BY_NAME[unit, name].code
        values[f"cond_{unit}"] = modes.CONDITIONS.index(cond)
        values[f"waddr_{unit}"] = regs.WRITE_ADDR[each.dst][1]
        if muxes:
            values[f"{unit}_a"], values[f"{unit}_b"] = muxes[0], muxes[-1]
    return values


def expressible(line: Line) -> bool:
    """Whether some word does exactly what a line says."""
    return any(reading(instr) == line.effects() for instr in _candidates(line))


# --- the disassembler's text ---------------------------------------------------------------------


def read_back(text: str) -> Line:
    """A line of the disassembler as data, by splitting it alone."""
    operations: List[Written] = []
    signal = None
    parts = text.split("; ")
    for part in parts:
        head, _, rest = part.partition(" ")
        name, *marks = head.split(".")
        sf = "sf" in marks
        cond = next((mark for mark in marks if mark != "sf"), None)
        if name in SIGNALS:
            signal = name
        elif name in ("ldi", "sema_up", "sema_down"):
            items = rest.split(", ")
            value = items.pop(0 if name != "ldi" else -1)
            dsts = []
            for item in items or ["-", "-"]:
                dst, *extra = item.split(".")
                pack = next((mark for mark in extra if mark not in modes.CONDITIONS), None)
                on = next((mark for mark in extra if mark in modes.CONDITIONS), None)
                dsts.append((dst, on, pack))
            return Line(load=Load(name, value, tuple(dsts), sf), parts=tuple(parts))
        else:
            rest, _, rot = rest.partition("rot ")
            items = [item.strip() for item in rest.split(",")] if rest.strip() else ["-"]
            dst, _, pack = items[0].partition(".")
            pairs = [
                (item, None) if is_constant(item) else (*item.split("."), None)[:2]
                for item in items[1:]
            ]
            srcs, unpacks = tuple(p[0] for p in pairs), tuple(p[1] for p in pairs)
            operations.append(
                Written(name, dst, srcs, sf, cond, pack or None, unpacks, rot or None)
            )
    return Line(tuple(operations), signal, None, tuple(parts))
