"""What the stages of the assembler hand on: blocks of bundles of operations.

An ``Operation`` is one thing that an instruction word can hold: an add or mul operation, a signal,
a load immediate or semaphore, a branch, or a whole hand-placed word.  A ``Bundle`` is what must
share one word (mostly a single operation).  A ``Block`` is entered at its top and left at its
bottom; its last bundle may be a branch (whose delay slots are not written out yet) or the end of
the program.  Every stage takes ``Code`` and returns ``Code``; only :mod:`.schedule` makes words.
"""

from __future__ import annotations

import copy
import sys
from typing import Any, Callable, Dict, Iterable, List, NoReturn, Optional, Sequence, Tuple, Union

from .. import config
from ..errors import AssemblerError
from ..isa import modes, ops
from ..isa.instr import Instr
from .operand import Operand, Where

__all__ = [
    "ALU",
    "LOAD",
    "SIGNAL",
    "BRANCH",
    "RAW",
    "END",
    "Operation",
    "Bundle",
    "Label",
    "Line",
    "Block",
    "Code",
    "fail",
    "debug_print",
]

ALU, LOAD, SIGNAL, BRANCH, RAW, END = "alu", "load", "signal", "branch", "raw", "end"


class Operation:
    """One operation; which fields count depends on ``kind``.

    ``choices`` are the rows of :mod:`piblas.isa.ops` that do the work, one a unit.  ``pack`` is
    (pm, code) or None, ``rotate`` a small-immediate code or 0, ``line`` whether the first word of a
    line of uniforms is read.  For a branch ``srcs`` holds its register, ``dst`` the link register,
    ``targets`` where it may go.
    """

    __slots__ = (
        "kind", "name", "where", "choices", "dst", "pack", "srcs", "unpacks", "cond", "sf",
        "rotate", "signal", "load_kind", "imm", "cond_br", "rel", "targets", "instr", "line",
    )  # fmt: skip

    def __init__(
        self,
        kind: str,
        name: str,
        where: Where,
        *,
        choices: Tuple[ops.Op, ...] = (),
        dst: Optional[Operand] = None,
        pack: Optional[Tuple[int, int]] = None,
        srcs: Tuple[Operand, ...] = (),
        unpacks: Tuple[int, ...] = (),
        cond: int = modes.COND_ALWAYS,
        sf: bool = False,
        rotate: int = 0,
        signal: int = modes.SIG_NONE,
        load_kind: int = 0,
        imm: int = 0,
        cond_br: int = modes.BRANCH_ALWAYS,
        rel: bool = True,
        targets: Optional[Tuple[str, ...]] = None,
        instr: Optional[Instr] = None,
        line: bool = False,
    ) -> None:
        self.kind, self.name, self.where = kind, name, where
        self.choices, self.dst, self.pack = choices, dst, pack
        self.srcs, self.unpacks = srcs, unpacks or (0,) * len(srcs)
        self.cond, self.sf, self.rotate = cond, sf, rotate
        self.signal, self.load_kind, self.imm = signal, load_kind, imm
        self.cond_br, self.rel, self.targets, self.instr = cond_br, rel, targets, instr
        self.line = line

    def but(self, **changes: Any) -> "Operation":
        """A copy with some fields changed."""
        twin = copy.copy(self)
        for name, value in changes.items():
            setattr(twin, name, value)
        return twin

    @property
    def partial(self) -> bool:
        """Whether the write leaves part of the destination as it was."""
        if self.cond != modes.COND_ALWAYS or self.cond_br != modes.BRANCH_ALWAYS:
            return True  # a branch that is not taken leaves its link register alone
        return bool(self.pack) and self.pack[1] not in (3, 8, 11)  # type: ignore[index]

    def __repr__(self) -> str:
        if self.kind == RAW:
            return self.name
        text = self.name + (".sf" if self.sf else "")
        if self.cond != modes.COND_ALWAYS:
            text += f".{modes.CONDITIONS[self.cond]}"
        if self.kind == BRANCH and self.cond_br != modes.BRANCH_ALWAYS:
            text += f".{modes.BRANCH_CONDITIONS[self.cond_br]}"
        items: List[str] = []
        if self.dst is not None:
            pack = ""
            if self.pack:
                pm, code = self.pack
                pack = f".{(modes.PACK_MUL if pm else modes.PACK_A)[code]}"
            items.append(f"{'-' if self.dst.name == 'null' else self.dst!r}{pack}")
        items += [
            f"{src!r}{'.' + modes.UNPACK_A[code] if code else ''}"
            for src, code in zip(self.srcs, self.unpacks)
        ]
        if self.kind == LOAD:
            semaphore = self.load_kind == modes.LOAD_SEMAPHORE
            items.append(str(self.imm & 15) if semaphore else f"{self.imm:#010x}")
        items += self.targets or ()
        text = f"{text} {', '.join(items)}".rstrip()
        if self.rotate:
            text += f" rot {modes.SMALL_IMMS[self.rotate].rotate}"
        return text


class Bundle:
    """Operations that share one word; ``fixed`` numbers the hand-placed region, 0 is none."""

    __slots__ = ("ops", "fixed", "comments")

    def __init__(
        self, ops: Sequence[Operation], fixed: int = 0, comments: Tuple[str, ...] = ()
    ) -> None:
        self.ops, self.fixed, self.comments = tuple(ops), fixed, comments

    @property
    def where(self) -> Where:
        return self.ops[0].where if self.ops else None

    def __repr__(self) -> str:
        return "; ".join(repr(op) for op in self.ops) or "nop"


class Line:
    """One finished word: the instruction, the generator's lines, labels and comments before it.

    ``target`` is the label of a branch whose offset is not known yet.
    """

    __slots__ = ("instr", "events", "wheres", "labels", "comments", "target")

    def __init__(
        self,
        instr: Instr,
        events: int,
        wheres: Tuple[Where, ...] = (),
        comments: Tuple[str, ...] = (),
        target: Optional[str] = None,
    ) -> None:
        self.instr, self.events, self.wheres = instr, events, wheres
        self.labels: List[str] = []
        self.comments, self.target = comments, target


class Label:
    """A place to branch to."""

    __slots__ = ("name", "where")

    def __init__(self, name: str, where: Where) -> None:
        self.name, self.where = name, where


class Block:
    """Bundles between two labels or branches."""

    __slots__ = ("labels", "bundles")

    def __init__(self, labels: Iterable[str] = (), bundles: Optional[List[Bundle]] = None) -> None:
        self.labels = list(labels)
        self.bundles: List[Bundle] = bundles if bundles is not None else []

    @property
    def branch(self) -> Optional[Operation]:
        """The branch that leaves the block: its last bundle, or a hand-placed one before it."""
        if not self.bundles:
            return None
        depth = 4 if self.bundles[-1].fixed else 1
        for bundle in self.bundles[-depth:]:
            for op in bundle.ops:
                if op.kind == BRANCH or (op.kind == RAW and op.signal == modes.SIG_BRANCH):
                    return op
        return None

    @property
    def ends(self) -> bool:
        """Whether the program ends with this block."""
        if not self.bundles:
            return False
        if self.bundles[-1].ops and self.bundles[-1].ops[0].kind == END:
            return True
        tail = self.bundles[-3:] if self.bundles[-1].fixed else []
        return any(op.signal in (3, 9) for bundle in tail for op in bundle.ops)


class Code:
    """A program on its way: a name and blocks in layout order."""

    __slots__ = ("name", "blocks")

    def __init__(self, name: str, blocks: List[Block]) -> None:
        self.name, self.blocks = name, blocks

    @classmethod
    def of(cls, name: str, items: Sequence[Union[Bundle, Label]]) -> "Code":
        """Cut a list of bundles and labels into blocks."""
        blocks = [Block()]
        slots = 0  # hand-placed words that still belong to a branch or an end
        pending: Where = None
        for item in items:
            if isinstance(item, Label):
                if slots:
                    fail("a label stands in the delay slots of a branch", item.where)
                if blocks[-1].bundles:
                    blocks.append(Block())
                blocks[-1].labels.append(item.name)
                continue
            if slots and not item.fixed:
                fail("a hand-placed branch or end lacks its delay slots", pending)
            blocks[-1].bundles.append(item)
            leave = _delay_slots(item)
            if slots:
                slots -= 1
                if not slots:
                    blocks.append(Block())
            elif leave is not None:
                slots, pending = (leave if item.fixed else 0), item.where
                if not slots:
                    blocks.append(Block())
        if slots:
            fail("a hand-placed branch or end lacks its delay slots", pending)
        if not blocks[-1].bundles and not blocks[-1].labels and len(blocks) > 1:
            blocks.pop()
        return cls(name, blocks)

    def labels(self) -> Dict[str, int]:
        """Label to block number."""
        return {label: i for i, block in enumerate(self.blocks) for label in block.labels}

    def successors(self) -> List[List[int]]:
        """The blocks that may follow each block.

        A branch by a register without known targets may go to every label and behind every branch
        that sets a link register.
        """
        labels = self.labels()
        count = len(self.blocks)
        anywhere = sorted(
            set(labels.values())
            | {
                i + 1
                for i, block in enumerate(self.blocks)
                if block.branch is not None and block.branch.dst is not None and i + 1 < count
            }
        )
        result = []
        for i, block in enumerate(self.blocks):
            op = block.branch
            follow = set()
            if op is None or op.cond_br != modes.BRANCH_ALWAYS:
                if not block.ends and i + 1 < count:
                    follow.add(i + 1)
            if op is not None:
                if op.targets is None:
                    follow.update(anywhere)
                for target in op.targets or ():
                    if target not in labels:
                        fail(f"there is no label {target!r}", op.where, op)
                    follow.add(labels[target])
            result.append(sorted(follow))
        return result

    def weights(self) -> List[int]:
        """How often each block may run, roughly: four times as often for each loop around it."""
        depth = [0] * len(self.blocks)
        for i, row in enumerate(self.successors()):
            for k in row:
                for inside in range(k, i + 1):
                    depth[inside] += 1
        return [4 ** min(count, 3) for count in depth]

    def __str__(self) -> str:
        lines = []
        for block in self.blocks:
            lines += [f"{label}:" for label in block.labels]
            lines += [f"    {bundle!r}" for bundle in block.bundles]
        return "\n".join(lines)


def _delay_slots(bundle: Bundle) -> Optional[int]:
    """Words that belong behind a bundle which leaves its block; None for other bundles."""
    for op in bundle.ops:
        if op.kind == BRANCH or (op.kind == RAW and op.signal == modes.SIG_BRANCH):
            return 3
        if op.kind == END:
            return 0
        if op.signal in (3, 9):
            return 2
    return None


def fail(message: str, where: Where, op: object = None, rule: Optional[str] = None) -> NoReturn:
    """Raise the assembler's error for a place in the generator."""
    raise AssemblerError(
        message,
        where=f"{where[0]}:{where[1]}" if where else None,
        instruction=str(op) if op is not None else None,
        rule=rule,
    )


def debug_print(stage: str, text: Callable[[], str]) -> None:
    """Print the code after a stage that PIBLAS_DEBUG names ("regalloc,schedule")."""
    if stage in config.get("PIBLAS_DEBUG").split(","):
        print(f"--- after {stage}\n{text()}", file=sys.stderr)
