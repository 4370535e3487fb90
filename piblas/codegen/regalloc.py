"""Allocate virtual registers to files A and B and to the accumulators r0..r3.

A word reads at most one address of file A and one of file B (or a small immediate), so operands
of one word should lie in different files or in accumulators.  Registers are placed greedily:
first those that a constraint ties to few places, then in order of their intervals.  Values that
live for a few words go to accumulators, in turn, since those can be read one word after their
write (files: two) and since turns leave the scheduler room; longer ones go to the file that clashes
least with the operands they meet.  Where a word still reads two registers of one file, placing one
of them in the other file is tried, and where that does not help, it is copied to a temporary and
allocation starts again.  There is no spilling.
"""

from __future__ import annotations

from typing import Dict, List, Tuple

from .code import Code, fail
from .liveness import Liveness, split_values
from .operand import LOCS, MASK_A, MASK_ACC, MASK_B, Loc, Operand, Port, Reg, mask_text
from .read_ports import Placement, clashes_of, resolve, side_of, sources_of

__all__ = ["allocate"]

SHORT = 24
"""Points (two a word) that a value may span to count as a temporary."""

_ACC, _A, _B = 0, 1, 2
_GROUPS = ((MASK_ACC, range(64, 68)), (MASK_A, range(32)), (MASK_B, range(32, 64)))
_ROUNDS = 40

SWAPS = 12
_FIRM = 10000
"""Weight of a wish that cannot be met by a copy."""

Meetings = Dict[int, List[Tuple[int, int, int]]]

Hints = Dict[Operand, int]
"""Files that registers should keep out of."""


def allocate(code: Code, swaps: int = SWAPS) -> Tuple[Code, Dict[str, str]]:
    """Code on physical registers, and the places of each declared register.

    ``swaps`` is how many registers are tried in the other file, to save copies.
    """
    split_values(code)
    hints: Hints = {}
    for attempt in range(_ROUNDS):
        placement = _place(code, hints)
        if not attempt:
            placement = _swap(code, placement, hints, swaps)
        code, clashes = resolve(code, placement)
        if not clashes:
            break
    assert not clashes, f"{code.name}: operands keep clashing"
    _substitute(code, placement)
    return code, _names(placement)


# --- placement ---------------------------------------------------------------------------------


def _meetings(code: Code, live: Liveness) -> Meetings:
    """For each register the operands it shares a word with: (number, file it takes, weight).

    A number of -1 stands for an operand whose file is settled.
    """
    table: Meetings = {}
    for weight, block in zip(code.weights(), code.blocks):
        for bundle in block.bundles:
            settled = MASK_B if any([op.rotate for op in bundle.ops]) else 0
            if len(bundle.ops) > 1 or len(bundle.ops[0].srcs) > 1 or settled:
                _meet(sources_of(bundle), settled, weight, live, table)
            if len(bundle.ops) > 1:
                # A register that is only written under the condition "never" is not live.
                dsts = [
                    op.dst
                    for op in bundle.ops
                    if op.dst is not None and (op.dst in live.number or isinstance(op.dst, Port))
                ]
                _meet(dsts, 0, _FIRM, live, table)
    return table


def _rotated(code: Code) -> set:
    """The registers that rotations take; they belong into accumulators."""
    return {
        src
        for block in code.blocks
        for bundle in block.bundles
        for op in bundle.ops
        if op.rotate
        for src in op.srcs
    }


def _meet(srcs: List[Operand], settled: int, weight: int, live: Liveness, table: Meetings) -> None:
    for one in srcs:
        if not isinstance(one, Reg):
            continue
        row = table.setdefault(live.number[one], [])
        if settled:
            row.append((-1, settled, weight))
        for other in srcs:
            if other is one:
                continue
            if isinstance(other, Reg):
                row.append((live.number[other], 0, weight))
            elif isinstance(other, Loc):
                if other.index < 64:
                    row.append((-1, MASK_A if other.file == "A" else MASK_B, weight))
            else:
                side = other.allowed
                if isinstance(other, Port) and other.write and not other.read:
                    side = {"A": MASK_A, "B": MASK_B}.get(other.write[1], 0)
                if side in (MASK_A, MASK_B):
                    row.append((-1, side, weight))


def _order(
    numbers: List[int], live: Liveness, intervals: Dict[int, int], rotated: set, tight: bool
) -> List[int]:
    def rank(number: int) -> Tuple[int, int, int]:
        reg = live.registers[number]
        assert isinstance(reg, Reg)
        span = intervals[number]
        start = (span & -span).bit_length()
        length = span.bit_length() - start
        choices = bin(reg.allowed).count("1")
        level = 0 if choices == 1 else 1 if choices <= 4 else 3 if choices <= 32 else 4
        if reg in rotated and level > 2:
            level = 2
        if tight:
            return level, -length, start
        return level, start, -length

    return sorted(numbers, key=rank)


def _place(code: Code, hints: Hints) -> Placement:
    live = Liveness(code)
    intervals = live.intervals()
    meetings = _meetings(code, live)
    rotated = _rotated(code)
    for reg, side in hints.items():
        if reg in live.number:
            meetings.setdefault(live.number[reg], []).append((-1, side, _FIRM))
    numbers = [n for n in intervals if isinstance(live.registers[n], Reg)]
    for tight in (False, True):
        placement = _try(live, intervals, meetings, rotated, numbers, tight)
        if isinstance(placement, dict):
            return placement
    _out_of_registers(live, intervals, placement, code)
    return {}


def _try(
    live: Liveness,
    intervals: Dict[int, int],
    meetings: Meetings,
    rotated: set,
    numbers: List[int],
    tight: bool,
) -> "Placement | int":
    """One pass over all registers; the number of the one that found no place, if any."""
    busy = [intervals.get(i, 0) for i in range(68)]
    placed: Dict[int, int] = {}
    turn = [0, 0, 0]
    result: Placement = {}
    for number in _order(numbers, live, intervals, rotated, tight):
        reg = live.registers[number]
        assert isinstance(reg, Reg)
        span = intervals[number]
        short = span.bit_length() - (span & -span).bit_length() <= SHORT
        cost = [0 if short or reg in rotated else 1000000, short + 0, short + 0]
        for other, settled, weight in meetings.get(number, ()):
            if other >= 0:
                where = placed.get(other)
                if where is not None:
                    settled = 0 if where >= 64 else MASK_A if where < 32 else MASK_B
                else:
                    allowed = live.registers[other].allowed
                    settled = allowed if allowed in (MASK_A, MASK_B) else 0
            if settled == MASK_A:
                cost[_A] += 2 * weight
            elif settled == MASK_B:
                cost[_B] += 2 * weight
        free: List[int] = []
        for kind in sorted((_ACC, _B, _A), key=cost.__getitem__):
            free = _free(reg, kind, busy, span)
            if free:
                break
        if kind == _B and cost[_A] == cost[_B]:
            twin = _free(reg, _A, busy, span)
            if len(twin) > len(free):
                kind, free = _A, twin
        if not free:
            return number
        chosen = free[0]
        if short and not tight:
            chosen = next((i for i in free if i >= turn[kind]), chosen)
            turn[kind] = chosen + 1
        busy[chosen] |= span
        placed[number] = chosen
        result[reg] = LOCS[chosen]
    return result


def _free(reg: Reg, kind: int, busy: List[int], span: int) -> List[int]:
    """The places of one kind that a register may get for its interval."""
    mask, group = _GROUPS[kind]
    allowed = reg.allowed & mask
    return [i for i in group if allowed >> i & 1 and not busy[i] & span] if allowed else []


def _out_of_registers(
    live: Liveness, intervals: Dict[int, int], number: "Placement | int", code: Code
) -> None:
    assert isinstance(number, int)
    reg = live.registers[number]
    assert isinstance(reg, Reg)
    rivals = []
    for other, span in sorted(intervals.items()):
        rival = live.registers[other]
        if other != number and span & intervals[number]:
            if (rival.allowed if isinstance(rival, Reg) else 1 << other) & reg.allowed:
                rivals.append(rival)
    names = list(dict.fromkeys(r.origin.name if isinstance(r, Reg) else r.name for r in rivals))
    where = reg.origin.where
    point = (intervals[number] & -intervals[number]).bit_length() - 1
    bundle = [b for block in code.blocks for b in block.bundles][point // 2]
    fail(
        f"out of registers: no place for {reg.origin.name} in {mask_text(reg.allowed)};"
        f" live beside it: {', '.join(names)}",
        bundle.where or where,
        bundle,
    )


def _swap(code: Code, placement: Placement, hints: Hints, swaps: int) -> Placement:
    """A placement with fewer clashes, found by keeping one register at a time out of its file."""
    tried = set()
    clashes = clashes_of(code, placement)
    for _ in range(swaps):
        swap = None
        for _, bundle, side in sorted(clashes, key=lambda clash: -clash[0]):
            for src in sources_of(bundle):
                free = isinstance(src, Reg) and src not in tried and src.allowed & ~MASK_ACC & ~side
                if free and side_of(src, placement) == side:
                    swap = swap or (src, side)
        if swap is None:
            break
        tried.add(swap[0])
        hints[swap[0]] = swap[1]
        other = _place(code, hints)
        fewer = clashes_of(code, other)
        if sum(clash[0] for clash in fewer) < sum(clash[0] for clash in clashes):
            placement, clashes = other, fewer
        else:
            del hints[swap[0]]
    return placement


# --- result ------------------------------------------------------------------------------------


def _substitute(code: Code, placement: Placement) -> None:
    for block in code.blocks:
        for bundle in block.bundles:
            for op in bundle.ops:
                op.srcs = tuple([placement.get(src, src) for src in op.srcs])
                op.dst = op.dst and placement.get(op.dst, op.dst)
                if isinstance(op.dst, Reg):  # never live: a write under the condition "never"
                    op.dst = None


def _names(placement: Placement) -> Dict[str, str]:
    names: Dict[str, Dict[str, None]] = {}
    for reg, loc in placement.items():
        assert isinstance(reg, Reg)
        if not reg.soft:
            names.setdefault(reg.origin.name, {})[loc.name] = None
    return {name: " ".join(sorted(found)) for name, found in sorted(names.items())}
