"""Live intervals over the control-flow graph.

Bundle g of the program reads at point 2g and writes at point 2g + 1, so a register whose last use
is an operation may be the destination of the same operation.  The interval of a register is a set
of points, kept as the bits of an integer: two registers may share a place when their integers have
no bit in common.  A conditional or packed write keeps the rest of the old value and therefore ends
no interval, except that two writes under inverse conditions on the same flags count as one.

A register that holds several independent values inside one block is split first, so that each
value gets a place of its own.
"""

from __future__ import annotations

from typing import Dict, Iterator, List, Sequence, Tuple

from ..isa import hazards, modes
from .code import RAW, Block, Bundle, Code, Operation, fail
from .operand import LOCS, Loc, Operand, Reg

__all__ = ["Liveness", "split_values", "bits_in"]

_READ_FILE = hazards.EVENTS["read_file"]
_WRITE_FILE = hazards.EVENTS["write_file"]
_READ_ACC = hazards.EVENTS["read_acc"]
_WRITE_ACC = hazards.EVENTS["write_acc"]
_PHYSICAL = 68


def bits_in(mask: int) -> Iterator[int]:
    """The numbers of the set bits, upwards."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def _is_register(operand: object) -> bool:
    return isinstance(operand, Reg) or (isinstance(operand, Loc) and operand.index < _PHYSICAL)


def _raw_accesses(op: Operation) -> Tuple[List[Operand], List[Tuple[Operand, bool]]]:
    assert op.instr is not None
    bits = hazards.events(op.instr)
    reads = [LOCS[i] for i in bits_in((bits & _READ_FILE.mask) >> _READ_FILE.offset)]
    reads += [LOCS[64 + i] for i in bits_in((bits & _READ_ACC.mask) >> _READ_ACC.offset)]
    writes = [LOCS[i] for i in bits_in((bits & _WRITE_FILE.mask) >> _WRITE_FILE.offset)]
    writes += [LOCS[64 + i] for i in bits_in((bits & _WRITE_ACC.mask) >> _WRITE_ACC.offset)]
    partial = bool(op.instr.pack) or op.instr.cond_add > 1 or op.instr.cond_mul > 1
    return list(reads), [(loc, partial) for loc in writes]


Accesses = Tuple[List[Operand], List[Tuple[Operand, bool]]]


def accesses(bundle: Bundle) -> Accesses:
    """The registers that a bundle reads, and those it writes with "only in part"."""
    reads: List[Operand] = []
    writes: List[Tuple[Operand, bool]] = []
    for op in bundle.ops:
        if op.kind == RAW:
            more_reads, more_writes = _raw_accesses(op)
            reads += more_reads
            writes += more_writes
            continue
        reads += [src for src in op.srcs if _is_register(src)]
        if op.dst is not None and _is_register(op.dst) and op.cond != modes.COND_NEVER:
            writes.append((op.dst, op.partial))
    return reads, writes


def _completed(
    bundles: Sequence[Bundle], touched: Sequence[Accesses]
) -> Dict[int, List[Operand]]:
    """Conditional writes that the inverse condition completes, by bundle: they end intervals."""
    pending: Dict[Operand, Tuple[int, int, int]] = {}
    found: Dict[int, List[Operand]] = {}
    flags = 0
    if not any(partial for _, writes in touched for _, partial in writes):
        return found
    for i, bundle in enumerate(bundles):
        for src in touched[i][0]:
            pending.pop(src, None)
        for op in bundle.ops:
            if op.dst is None or not _is_register(op.dst):
                continue
            if op.cond < 2 or op.pack:
                pending.pop(op.dst, None)
            elif pending.get(op.dst, (0, 0, 0))[1:] == (op.cond ^ 1, flags):
                found.setdefault(pending.pop(op.dst)[0], []).append(op.dst)
            else:
                pending[op.dst] = (i, op.cond, flags)
        if any(op.sf or op.kind == RAW or op.srcs and op.kind == "branch" for op in bundle.ops):
            flags += 1
    return found


class Liveness:
    """The intervals of every register of a program."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.registers: List[Operand] = list(LOCS[:_PHYSICAL])
        self.number: Dict[Operand, int] = {loc: i for i, loc in enumerate(self.registers)}
        self._tables = [self._table(block) for block in code.blocks]
        self._follow = code.successors()
        self.live_out = self._backward()
        self._maybe, self._surely = self._forward()

    def _id(self, operand: Operand) -> int:
        number = self.number.get(operand)
        if number is None:
            number = self.number[operand] = len(self.registers)
            self.registers.append(operand)
        return number

    def _table(self, block: Block) -> List[Tuple[List[int], List[Tuple[int, bool]]]]:
        table = []
        touched = [accesses(bundle) for bundle in block.bundles]
        whole = _completed(block.bundles, touched)
        for i, (reads, writes) in enumerate(touched):
            completed = whole.get(i, ())
            table.append(
                (
                    [self._id(reg) for reg in reads],
                    [(self._id(reg), part and reg not in completed) for reg, part in writes],
                )
            )
        return table

    def _backward(self) -> List[int]:
        """Registers live at the end of each block."""
        use, kill = [], []
        for table in self._tables:
            used = killed = 0
            for reads, writes in reversed(table):
                for number, partial in writes:
                    if not partial:
                        killed |= 1 << number
                        used &= ~(1 << number)
                for number in reads:
                    used |= 1 << number
            use.append(used)
            kill.append(killed)
        count = len(self._tables)
        live_in, live_out = [0] * count, [0] * count
        changed = True
        while changed:
            changed = False
            for i in reversed(range(count)):
                out = 0
                for k in self._follow[i]:
                    out |= live_in[k]
                into = use[i] | out & ~kill[i]
                if (into, out) != (live_in[i], live_out[i]):
                    live_in[i], live_out[i], changed = into, out, True
        return live_out

    def _forward(self) -> Tuple[List[int], List[int]]:
        """Registers written on some path, and on every path, to the top of each block."""
        written = []
        for table in self._tables:
            bits = 0
            for _, writes in table:
                for number, _ in writes:
                    bits |= 1 << number
            written.append(bits)
        start = (1 << _PHYSICAL) - 1
        for number, reg in enumerate(self.registers):
            if isinstance(reg, Reg) and reg.undefined:
                start |= 1 << number
        count = len(self._tables)
        maybe = [0] * count
        surely = [-1] * count
        maybe[0], surely[0] = start, start
        changed = True
        while changed:
            changed = False
            for i in range(count):
                if surely[i] == -1:
                    continue  # not reached yet
                for k in self._follow[i]:
                    more = maybe[k] | maybe[i] | written[i]
                    less = surely[i] | written[i]
                    if surely[k] != -1:
                        less &= surely[k]
                    if (more, less) != (maybe[k], surely[k]):
                        maybe[k], surely[k], changed = more, less, True
        return maybe, surely

    def check_defined(self) -> None:
        """Refuse registers that some path reads before it writes them."""
        for i, (block, table) in enumerate(zip(self.code.blocks, self._tables)):
            known = self._surely[i]
            for bundle, (reads, writes) in zip(block.bundles, table):
                for number in reads:
                    reg = self.registers[number]
                    if not known >> number & 1 and isinstance(reg, Reg) and not reg.undefined:
                        fail(
                            f"{reg.origin.name} is read before it is written on some path",
                            bundle.where,
                            bundle,
                        )
                for number, _ in writes:
                    known |= 1 << number

    def intervals(self) -> Dict[int, int]:
        """The points at which each register is live, by number."""
        result: Dict[int, int] = {}
        base = 0
        for i, table in enumerate(self._tables):
            top, bottom = 2 * base, 2 * (base + len(table)) - 1
            base += len(table)
            if not table:
                continue
            end = {number: bottom for number in bits_in(self.live_out[i] & self._reached(i))}
            first: Dict[int, int] = {}
            for k in reversed(range(len(table))):
                reads, writes = table[k]
                point = top + 2 * k + 1
                for number, partial in writes:
                    last = end.get(number, point) if partial else end.pop(number, point)
                    result[number] = result.get(number, 0) | (2 << last) - (1 << point)
                    first[number] = point
                for number in reads:
                    end.setdefault(number, point - 1)
            for number, last in end.items():
                start = top
                if not self._maybe[i] >> number & 1:
                    start = min(first.get(number, top), last)
                result[number] = result.get(number, 0) | (2 << last) - (1 << start)
        return result

    def _reached(self, i: int) -> int:
        bits = self._maybe[i]
        for _, writes in self._tables[i]:
            for number, _ in writes:
                bits |= 1 << number
        return bits


def _renamed(op: Operation, before: Dict[Operand, Reg], after: Dict[Operand, Reg]) -> Operation:
    """The operation on the registers that its sources and its destination have become."""
    srcs: Tuple[Operand, ...] = tuple([before.get(src, src) for src in op.srcs])
    dst = op.dst and after.get(op.dst, op.dst)
    return op if srcs == op.srcs and dst is op.dst else op.but(srcs=srcs, dst=dst)


def split_values(code: Code) -> Code:
    """Code in which values that live inside one block have registers of their own."""
    live = Liveness(code)
    live.check_defined()
    whole_writes: Dict[int, int] = {}
    for table in live._tables:
        for _, writes in table:
            for number, partial in writes:
                if not partial:
                    whole_writes[number] = whole_writes.get(number, 0) + 1
    candidates = {
        number
        for number, count in whole_writes.items()
        if count > 1 and isinstance(live.registers[number], Reg)
    }
    if not candidates:
        return code
    parts: Dict[Operand, int] = {}
    blocks = []
    for i, block in enumerate(code.blocks):
        table = live._tables[i]
        last_write = {
            number: k
            for k, (_, writes) in enumerate(table)
            for number, partial in writes
            if not partial and number in candidates
        }
        name: Dict[Operand, Reg] = {}
        bundles = []
        for k, bundle in enumerate(block.bundles):
            before = dict(name) if name else {}
            for number, partial in table[k][1]:
                if partial or number not in candidates:
                    continue
                reg = live.registers[number]
                assert isinstance(reg, Reg)
                if last_write[number] == k and live.live_out[i] >> number & 1:
                    name.pop(reg, None)
                else:
                    parts[reg] = parts.get(reg, 0) + 1
                    name[reg] = reg.split(parts[reg])
            if before or name:
                bundle = Bundle(
                    [_renamed(op, before, name) for op in bundle.ops], bundle.fixed, bundle.comments
                )
            bundles.append(bundle)
        blocks.append(Block(block.labels, bundles))
    return Code(code.name, blocks)
