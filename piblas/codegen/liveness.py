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

from typing import Dict, Iterable, Iterator, List, Sequence, Tuple

from ..isa import hazards, modes
from .code import RAW, Bundle, Code, Operation, fail
from .operand import LOCS, Operand, Reg

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


def _mask(numbers: Iterable[int]) -> int:
    mask = 0
    for number in numbers:
        mask |= 1 << number
    return mask


def _raw_accesses(op: Operation) -> Tuple[List[Operand], List[Operand], bool]:
    """The registers that a hand-placed word reads and writes, and "only in part"."""
    assert op.instr is not None
    bits = hazards.events(op.instr)
    reads = [LOCS[i] for i in bits_in((bits & _READ_FILE.mask) >> _READ_FILE.offset)]
    reads += [LOCS[64 + i] for i in bits_in((bits & _READ_ACC.mask) >> _READ_ACC.offset)]
    writes = [LOCS[i] for i in bits_in((bits & _WRITE_FILE.mask) >> _WRITE_FILE.offset)]
    writes += [LOCS[64 + i] for i in bits_in((bits & _WRITE_ACC.mask) >> _WRITE_ACC.offset)]
    partial = bool(op.instr.pack) or op.instr.cond_add > 1 or op.instr.cond_mul > 1
    return reads, writes, partial


_Table = List[Tuple[List[int], List[Tuple[int, bool]]]]
"""For each bundle the numbers of the registers that it reads, and of those that it writes with
"only in part"."""


def _accesses(bundles: Sequence[Bundle], number: Dict[Operand, int]) -> _Table:
    """What the bundles read and write; registers that have no number yet get the next one."""
    table: _Table = []
    for bundle in bundles:
        reads: List[int] = []
        writes: List[Tuple[int, bool]] = []
        for op in bundle.ops:
            if op.kind == RAW:
                srcs, dsts, partial = _raw_accesses(op)
                reads += [number.setdefault(src, len(number)) for src in srcs]
                writes += [(number.setdefault(dst, len(number)), partial) for dst in dsts]
                continue
            for src in op.srcs:
                if src.is_register:
                    reads.append(number.setdefault(src, len(number)))
        for op in bundle.ops:
            dst = op.dst
            if dst is not None and dst.is_register and op.cond != modes.COND_NEVER:
                writes.append((number.setdefault(dst, len(number)), op.partial))
        table.append((reads, writes))
    return table


def _complete(bundles: Sequence[Bundle], table: _Table, number: Dict[Operand, int]) -> None:
    """Make conditional writes whole that the inverse condition completes: they end intervals."""
    pending: Dict[int, Tuple[int, int, int]] = {}
    flags = 0
    if not any([partial for _, writes in table for _, partial in writes]):
        return
    for i, bundle in enumerate(bundles):
        for src in table[i][0]:
            pending.pop(src, None)
        for op in bundle.ops:
            if op.dst is None or op.dst not in number:
                continue
            dst = number[op.dst]
            if op.cond < 2 or op.pack:
                pending.pop(dst, None)
            elif pending.get(dst, (0, 0, 0))[1:] == (op.cond ^ 1, flags):
                writes = table[pending.pop(dst)[0]][1]
                writes[:] = [(reg, part and reg != dst) for reg, part in writes]
            else:
                pending[dst] = (i, op.cond, flags)
        if any([op.sf or op.kind == RAW or op.srcs and op.kind == "branch" for op in bundle.ops]):
            flags += 1


class Liveness:
    """The intervals of every register of a program."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.number: Dict[Operand, int] = {loc: i for i, loc in enumerate(LOCS[:_PHYSICAL])}
        self.tables = [_accesses(block.bundles, self.number) for block in code.blocks]
        self.registers: List[Operand] = list(self.number)
        for block, table in zip(code.blocks, self.tables):
            _complete(block.bundles, table, self.number)
        self._written = [
            _mask([number for _, writes in table for number, _ in writes]) for table in self.tables
        ]
        self._follow = code.successors()
        self.live_out = self._backward()
        self._maybe, self._surely = self._forward()

    def _backward(self) -> List[int]:
        """Registers live at the end of each block."""
        use, kill = [], []
        for table in self.tables:
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
        count = len(self.tables)
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
        written = self._written
        start = (1 << _PHYSICAL) - 1
        for number, reg in enumerate(self.registers):
            if isinstance(reg, Reg) and reg.undefined:
                start |= 1 << number
        count = len(self.tables)
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
        for i, (block, table) in enumerate(zip(self.code.blocks, self.tables)):
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
        for i, table in enumerate(self.tables):
            top, bottom = 2 * base, 2 * (base + len(table)) - 1
            base += len(table)
            if not table:
                continue
            live = self.live_out[i] & (self._maybe[i] | self._written[i])
            end = dict.fromkeys(bits_in(live), bottom)
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


def split_values(code: Code) -> None:
    """Give values that live inside one block registers of their own."""
    live = Liveness(code)
    live.check_defined()
    whole_writes: Dict[int, int] = {}
    for table in live.tables:
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
        return
    parts: Dict[Operand, int] = {}
    for i, block in enumerate(code.blocks):
        table = live.tables[i]
        last_write = {
            number: k
            for k, (_, writes) in enumerate(table)
            for number, partial in writes
            if not partial and number in candidates
        }
        name: Dict[Operand, Operand] = {}
        for k, bundle in enumerate(block.bundles):
            if name:
                for op in bundle.ops:
                    op.srcs = tuple([name.get(src, src) for src in op.srcs])
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
            if name:
                for op in bundle.ops:
                    op.dst = op.dst and name.get(op.dst, op.dst)
