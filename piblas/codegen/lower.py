"""Lower operations to ones that a word can hold, whatever registers they get.

Constants become small immediates where the word has room for one, else loads into a temporary.
Operands that no single word can read together (two that need file A, two unpack modes, an unpack
beside a pack of the other kind, a rotation of anything but r0..r3) are copied to a temporary
first.  Pack and unpack modes narrow the places that a virtual register may get to file A (guide,
p. 17-19, 30-32).
"""

from __future__ import annotations

from typing import List, Optional, Tuple

from ..isa import ops
from .code import ALU, LOAD, SIGNAL, Block, Bundle, Code, Operation, fail
from .operand import (
    MASK_A,
    MASK_ACC,
    MASK_ANY,
    MASK_B,
    R4,
    R5,
    Const,
    Loc,
    Operand,
    Port,
    Reg,
    mask_text,
)

__all__ = ["lower", "move"]

_MOVE = (ops.BY_NAME[ops.ADD, "or"], ops.BY_NAME[ops.MUL, "v8min"])
_FLOAT_MOVE = (ops.BY_NAME[ops.ADD, "fmin"],)


def move(dst: Operand, src: Operand, like: Operation) -> Operation:
    """A copy on either unit, at the place of another operation."""
    return Operation(ALU, "mov", like.where, choices=_MOVE, dst=dst, srcs=(src,))


def _temp(name: str, allowed: int, like: Operation) -> Reg:
    temp = Reg(name, allowed, where=like.where)
    temp.soft = True
    return temp


def _narrow(reg: Operand, allowed: int, op: Operation, why: str, rule: Optional[str]) -> None:
    if isinstance(reg, Reg):
        if not reg.allowed & allowed:
            only = mask_text(reg.allowed)
            fail(f"{why}, but {reg.name} may only be in {only}", op.where, op, rule)
        reg.allowed &= allowed
    elif not isinstance(reg, Loc) or not allowed >> reg.index & 1:
        fail(why, op.where, op, rule)


class _Lowering:
    """The operations that must come before one bundle, and the immediate that it uses."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self.before: List[Operation] = []
        self.code: Optional[int] = None
        for op in bundle.ops:
            if op.rotate:
                self.code = op.rotate

    def copy(self, op: Operation, src: Operand, unpack: int, allowed: int) -> Reg:
        """``src`` moved to a temporary that may be anywhere in ``allowed``."""
        if isinstance(src, Const):
            temp = _temp(f"#{src.name}", allowed, op)
            self.before.append(Operation(LOAD, "ldi", op.where, dst=temp, imm=src.bits))
            return temp
        temp = _temp(f"{src.name}~", allowed, op)
        if unpack and src is not R4:
            # A 16-bit float is converted only on its way into a float operation.
            is_float = any(row.float_in for row in op.choices)
            choices = _FLOAT_MOVE if is_float else _MOVE
            srcs = (src, src) if is_float else (src,)
            copy = Operation(
                ALU,
                "fmin" if is_float else "mov",
                op.where,
                choices=choices,
                dst=temp,
                srcs=srcs,
                unpacks=(unpack,) * len(srcs),
            )
        else:
            copy = move(temp, src, op)
            copy.unpacks = (unpack,)
        self.before.append(copy)
        return temp

    def constants(self, op: Operation) -> Operation:
        srcs = list(op.srcs)
        for i, src in enumerate(srcs):
            if not isinstance(src, Const):
                continue
            if op.unpacks[i]:
                fail("a constant cannot be unpacked", op.where, op)
            if src.code is None or self.code not in (None, src.code):
                srcs[i] = self.copy(op, src, 0, MASK_ACC if op.rotate else MASK_ANY)
                for k in range(i + 1, len(srcs)):
                    other = srcs[k]
                    if isinstance(other, Const) and other.bits == src.bits:
                        srcs[k] = srcs[i]
            else:
                self.code = src.code
        if tuple(srcs) == op.srcs:
            return op
        return op.but(srcs=tuple(srcs))

    def packs(self, op: Operation) -> Operation:
        assert op.dst is not None and op.pack
        pm, code = op.pack
        if pm:
            rows = tuple(row for row in op.choices if row.unit == ops.MUL)
            if not rows:
                fail("only results of the mul unit are packed as a colour", op.where, op)
            if isinstance(op.dst, Port) and op.dst.name != "null" and code >= 4:
                fail("a byte of a colour cannot go to a peripheral", op.where, op, "H13")
            return op.but(choices=rows)
        _narrow(op.dst, MASK_A, op, "a pack mode needs a destination in file A", "H14")
        if code == 8 and op.name not in ("add", "sub"):
            fail("32s saturates the results of add and sub only", op.where, op, "H14")
        return op

    def unpacks(self, op: Operation) -> Operation:
        srcs, codes = list(op.srcs), list(op.unpacks)
        for i, src in enumerate(srcs):
            if codes[i] and src is not R4 and not src.allowed & MASK_A:
                srcs[i] = self.copy(op, src, 0, MASK_A)
            elif codes[i] and isinstance(src, Port):
                srcs[i] = self.copy(op, src, 0, MASK_A)
        chosen: Optional[Tuple[int, int, Operand]] = None
        if op.pack:
            chosen = (op.pack[0], -1, R4)
        for i, src in enumerate(srcs):
            if not codes[i]:
                continue
            want = (1 if src is R4 else 0, codes[i], src)
            mixed = chosen is not None and (
                chosen[0] != want[0] or (chosen[1] != -1 and chosen != want)
            )
            if mixed or op.rotate:
                if src is not R4:
                    _narrow(src, MASK_A, op, "an unpack mode needs a source in file A", None)
                srcs[i] = self.copy(op, src, codes[i], MASK_ACC if op.rotate else MASK_ANY)
                codes[i] = 0
                continue
            chosen = want
            if src is not R4:
                _narrow(src, MASK_A, op, "an unpack mode needs a source in file A", None)
        for i, src in enumerate(srcs):
            # The mode holds for everything that the word reads from file A, or from r4.
            plain_twin = not codes[i] and any(codes[k] and srcs[k] is src for k in range(len(srcs)))
            if plain_twin:
                srcs[i] = self.copy(op, src, 0, MASK_ANY)
        return op.but(srcs=tuple(srcs), unpacks=tuple(codes))

    def rotation(self, op: Operation) -> Operation:
        srcs = list(op.srcs)
        for i, src in enumerate(srcs):
            if i and srcs[0] is not src and op.srcs[0] is src:
                srcs[i] = srcs[0]
            elif not src.allowed & MASK_ACC or src is R4 or src is R5:
                srcs[i] = self.copy(op, src, 0, MASK_ACC)
        return op.but(srcs=tuple(srcs))

    def ports(self, op: Operation) -> Operation:
        """Two sources that both need file A, or both file B or the immediate."""
        if op.srcs[0] is op.srcs[1]:
            return op
        srcs = list(op.srcs)
        for side in (MASK_A, MASK_B):
            stuck = not (srcs[0].allowed | srcs[1].allowed) & ~side
            if stuck and not (isinstance(srcs[0], Const) and isinstance(srcs[1], Const)):
                i = 0 if isinstance(srcs[0], Port) or isinstance(srcs[1], Const) else 1
                if op.unpacks[i]:
                    i = 1 - i
                srcs[i] = self.copy(op, srcs[i], 0, MASK_ANY & ~side)
                op = op.but(srcs=tuple(srcs))
        return op

    def run(self) -> List[Bundle]:
        fixed = self.bundle.fixed
        done = []
        for op in self.bundle.ops:
            if op.kind == ALU and op.choices:
                op = self.packs(op) if op.pack else op
                op = self.constants(op)
                op = self.unpacks(op) if any(op.unpacks) else op
                op = self.rotation(op) if op.rotate else op
                op = self.ports(op) if len(op.srcs) == 2 else op
            elif op.kind == LOAD:
                if op.pack and op.pack[0]:
                    fail("a load cannot be packed as a colour", op.where, op)
                op = self.packs(op) if op.pack else op
            elif op.kind == ALU and not fixed and len(self.bundle.ops) == 1:
                return []  # a nop outside hand-placed code
            done.append(op)
        if self.before and fixed:
            fail(
                "hand-placed code needs a second word here (a constant that is no small immediate,"
                " or operands that one word cannot read)",
                self.bundle.where,
                self.bundle,
            )
        # Copies may themselves need lowering (a file-A unpack that reads a register of file B).
        first: List[Bundle] = []
        for op in self.before:
            first += _Lowering(Bundle((op,))).run()
        self.bundle.ops = tuple(done)
        return first + [self.bundle]


def lower(code: Code) -> Code:
    """Code whose every bundle fits a word, given fitting registers."""
    for block in code.blocks:
        for bundle in block.bundles:
            for op in bundle.ops:
                if op.pack and not op.pack[0] and isinstance(op.dst, Reg):
                    op.dst.allowed &= MASK_A if op.dst.allowed & MASK_A else MASK_ANY
    blocks = []
    for block in code.blocks:
        bundles: List[Bundle] = []
        for bundle in block.bundles:
            simple = bundle.ops and bundle.ops[0].kind not in (ALU, LOAD, SIGNAL)
            bundles += [bundle] if simple else _Lowering(bundle).run()
        blocks.append(Block(block.labels, bundles))
    return Code(code.name, blocks)
