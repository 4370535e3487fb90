"""Operands that one word cannot read together once they have places, and copies that help.

A word has one read address for file A and one for file B, and the small immediate takes the place
of the latter; a rotation takes accumulators alone (guide, p. 17, 30).
"""

from __future__ import annotations

from typing import Dict, List, Optional, Tuple

from .code import ALU, Bundle, Code, fail
from .lower import move
from .operand import MASK_A, MASK_ACC, MASK_B, Const, Loc, Operand, Port, Reg

__all__ = ["Placement", "clashes_of", "resolve", "side_of", "sources_of"]

Placement = Dict[Operand, Loc]


def sources_of(bundle: Bundle) -> List[Operand]:
    """The distinct operands that take a read port of the word, rotations' immediate included."""
    return list(dict.fromkeys([src for op in bundle.ops for src in op.srcs]))


def side_of(operand: Operand, placement: Placement) -> int:
    """The read port that an operand takes: MASK_A, MASK_B, both (either will do), or 0."""
    operand = placement.get(operand, operand)
    if isinstance(operand, Loc):
        return 0 if operand.index >= 64 else MASK_A if operand.index < 32 else MASK_B
    return operand.allowed


def _clash(bundle: Bundle, placement: Placement) -> Optional[Tuple[Operand, int]]:
    """An operand that must be copied, and where the copy must not be; None if all fit."""
    if len(bundle.ops) == 1 and not bundle.ops[0].rotate:
        srcs = bundle.ops[0].srcs
        if len(srcs) < 2 or not (side_of(srcs[0], placement) and side_of(srcs[1], placement)):
            return None
    taken: Dict[int, List[Operand]] = {MASK_A: [], MASK_B: [], MASK_A | MASK_B: []}
    addresses: Dict[int, set] = {MASK_A: set(), MASK_B: set()}
    for src in sources_of(bundle):
        side = side_of(src, placement)
        if not side:
            continue
        taken[side].append(src)
        if side in addresses:
            place = placement.get(src, src)
            if isinstance(place, Const):
                addresses[side].add(("immediate", place.code))
            else:
                addresses[side].add(place)
    for op in bundle.ops:
        if op.rotate:
            addresses[MASK_B].add(("immediate", op.rotate))
            for src in op.srcs:
                place = placement.get(src, src)
                if not isinstance(place, Loc) or place.index < 64:
                    return src, MASK_A | MASK_B
    unpacked = {src for op in bundle.ops for src, code in zip(op.srcs, op.unpacks) if code}
    for side in (MASK_A, MASK_B):
        if len(addresses[side]) > 1:
            movable = [s for s in taken[side] if s not in unpacked and not isinstance(s, Const)]
            if not movable:
                fail("no word can read these operands together", bundle.where, bundle, "H6")
            ports = [s for s in movable if isinstance(s, Port)]
            return (ports or movable)[-1], side
    free = 2 - len(addresses[MASK_A]) - len(addresses[MASK_B])
    either = taken[MASK_A | MASK_B]
    if len(either) > free:
        return either[-1], MASK_A | MASK_B
    return None


def resolve(code: Code, placement: Placement) -> Tuple[Code, int]:
    """Copy one operand of every bundle whose operands clash; how many there were."""
    count = 0
    for block in code.blocks:
        bundles: List[Bundle] = []
        for bundle in block.bundles:
            if bundle.ops and bundle.ops[0].kind == ALU or len(bundle.ops) > 1:
                clash = _clash(bundle, placement)
                if clash is not None:
                    if bundle.fixed:
                        fail(
                            "hand-placed operands lie in the same register file, or a rotated"
                            " one outside the accumulators; constrain them",
                            bundle.where,
                            bundle,
                        )
                    count += 1
                    copy, bundle = _copied(bundle, *clash)
                    bundles.append(copy)
                if len(bundle.ops) > 1:
                    _check_destinations(bundle, placement)
            bundles.append(bundle)
        block.bundles = bundles
    return code, count


def clashes_of(code: Code, placement: Placement) -> List[Tuple[int, Bundle, int]]:
    """The bundles that need a copy, with their weight and the file that is asked for twice."""
    found = []
    for weight, block in zip(code.weights(), code.blocks):
        for bundle in block.bundles:
            if bundle.ops and bundle.ops[0].kind == ALU or len(bundle.ops) > 1:
                clash = _clash(bundle, placement)
                if clash is not None:
                    found.append((weight, bundle, clash[1]))
    return found


def _copied(bundle: Bundle, src: Operand, side: int) -> Tuple[Bundle, Bundle]:
    like = next(op for op in bundle.ops if src in op.srcs)
    allowed = (MASK_ACC | MASK_A | MASK_B) & ~side
    if isinstance(src, Reg) and src.soft:
        allowed = MASK_ACC  # a copy that clashes again: only accumulators never do
    temp = Reg(f"{src.name}~", allowed, where=like.where)
    temp.soft = True
    changed = [
        op.but(srcs=tuple(temp if old is src else old for old in op.srcs)) for op in bundle.ops
    ]
    return Bundle((move(temp, src, like),)), Bundle(changed, bundle.fixed, bundle.comments)


def _check_destinations(bundle: Bundle, placement: Placement) -> None:
    """The results of a pair go to different files (guide, p. 17)."""
    files = []
    for op in bundle.ops:
        if op.dst is None:
            continue
        dst = placement.get(op.dst, op.dst)
        if isinstance(dst, Loc) and dst.index < 64:
            files.append(dst.file)
        elif isinstance(dst, Port) and dst.write and dst.write[1] != "AB":
            files.append(dst.write[1])
    if len(files) != len(set(files)):
        fail(
            "the results of a pair lie in the same register file; constrain them",
            bundle.where,
            bundle,
        )
