"""Scheduling: the words of each block (:mod:`.pack`), put together into a program.

The branch that leaves the block is put where its three delay slots hold the last words of the
block, or nops.  Words of blocks that were scheduled before and can come first are respected through
the events that they forbid; where a loop closes, nops are added at its end if the first words of
the loop need them.

With ``reorder`` off every bundle gets a word of its own, in program order, and nops where a
distance rule needs them.  Hand-placed regions are copied as they stand in both modes.
"""

from __future__ import annotations

from typing import List, Optional, Sequence, Tuple

from ..isa.hazards import MAX_DISTANCE
from ..isa.instr import NOP
from .code import BRANCH, END, Block, Bundle, Code, Line, debug_print, fail
from .depend import resources
from .fitting import line_of, whole_word
from .pack import SLOTS, pack
from .tmu_latency import under_way
from .window import Window, after, head_of, shortfall, step, union

__all__ = ["schedule"]


def schedule(code: Code, reorder: bool = True) -> List[Line]:
    """The words of the program, labels in place, branch offsets open."""
    follow = code.successors()
    before: List[List[int]] = [[] for _ in code.blocks]
    for i, row in enumerate(follow):
        for k in row:
            before[k].append(i)
    lookups = under_way(code, follow)
    done: List[List[Line]] = []
    out: List[Window] = []
    for i, block in enumerate(code.blocks):
        window: Window = (0, 0, 0)
        for k in before[i]:
            if k < i:
                window = union(window, out[k])
        back = [s for s in follow[i] if s <= i]
        padding = 0
        body, leave = _schedule_body(block, window, reorder, lookups[i], i in follow[i])
        while True:
            lines = body + [_nop() for _ in range(padding)]
            if leave is not None:
                lines = _leave(leave, lines, window, reorder)
            done[i:] = [lines]
            left = after(window, lines)
            missing = max((shortfall(left, head_of(done, s)) for s in back), default=0)
            if not missing or (block.bundles and block.bundles[-1].fixed):
                break  # what hand-placed code lacks, the checker will say
            padding += missing
        out.append(left)
    lines = []
    labels: List[str] = []
    for block, words in zip(code.blocks, done):
        labels += block.labels
        if words:
            words[0].labels, labels = labels, []
            lines += words
    if labels:
        fail(f"label {labels[0]!r} stands behind the last instruction", None)
    debug_print("schedule", lambda: "\n".join(_texts(lines)))
    return lines


def _texts(lines: Sequence[Line]) -> List[str]:
    from ..isa.disasm import to_text

    texts = []
    for line in lines:
        texts += [f"{label}:" for label in line.labels]
        texts.append(f"    {to_text(line.instr)}{f'  -> {line.target}' if line.target else ''}")
    return texts


# --- one block ---------------------------------------------------------------------------------


def _schedule_body(
    block: Block, window: Window, reorder: bool, lookups: Tuple[int, int], loop: bool
) -> Tuple[List[Line], Optional[Bundle]]:
    """The words of a block but for the branch or end that leaves it, and that."""
    lines: List[Line] = []
    bundles = list(block.bundles)
    leave: Optional[Bundle] = None
    if bundles and not bundles[-1].fixed and bundles[-1].ops[0].kind in (BRANCH, END):
        leave = bundles.pop()
    i = 0
    while i < len(bundles):
        region = bundles[i].fixed
        k = i
        while k < len(bundles) and bundles[k].fixed == region:
            k += 1
        now = after(window, lines)
        if region:
            lines += _hand_placed(bundles[i:k], now, bool(lines))
        elif reorder:
            last = leave if k == len(bundles) else None
            lines += pack(bundles[i:k], now, last, lookups, loop)
        else:
            lines += _in_order(bundles[i:k], now)
        i = k
    return lines, leave


def _nop() -> Line:
    return Line(NOP, 0)


def _hand_placed(bundles: Sequence[Bundle], window: Window, inside: bool) -> List[Line]:
    lines = [line_of(whole_word(bundle), (bundle,)) for bundle in bundles]
    for line, bundle in zip(lines, bundles):
        for op in bundle.ops:
            if op.kind == BRANCH and op.targets and not op.srcs:
                line.target = op.targets[0]
    missing = shortfall(window, [line.events for line in lines[:MAX_DISTANCE]])
    return [_nop() for _ in range(missing)] + lines


def _in_order(bundles: Sequence[Bundle], window: Window) -> List[Line]:
    lines: List[Line] = []
    for bundle in bundles:
        line = line_of(whole_word(bundle), (bundle,))
        while line.events & window[0]:
            lines.append(_nop())
            window = step(window, 0)
        lines.append(line)
        window = step(window, line.events)
    return lines


# --- leaving a block ---------------------------------------------------------------------------


def _leave(leave: Bundle, lines: List[Line], entry: Window, reorder: bool) -> List[Line]:
    word = whole_word(leave)
    last = line_of(word, (leave,))
    op = leave.ops[0]
    if op.kind == END:
        while last.events & after(entry, lines)[0]:
            lines.append(_nop())
        return lines + [last, _nop(), _nop()]
    if op.targets and not op.srcs:
        last.target = op.targets[0]
    position = max(0, len(lines) - SLOTS) if reorder else len(lines)
    reads, writes = resources(last.events)
    for i in range(len(lines) - 1, position - 1, -1):
        before_reads, before_writes = resources(lines[i].events)
        if before_writes & (reads | writes) or before_reads & writes:
            position = i + 1
            break
    while position <= len(lines) and last.events & after(entry, lines[:position])[0]:
        position += 1
        if position > len(lines):
            lines.append(_nop())
    lines.insert(position, last)
    while len(lines) < position + 1 + SLOTS:
        lines.append(_nop())
    return lines
