"""List scheduling inside each block, packing an add, a mul and a signal into one word.

Word after word, the operations whose operands are ready are tried in the order of their critical
path; one that finds no room waits for the next word.  A TMU pop also waits until its lookup can be
done, as long as there is other work (:mod:`.lookups`).  The branch that leaves the block is put
where its three delay slots hold the last words of the block, or nops.  Words of blocks that were
scheduled before and can come first are respected through the events that they forbid; where a loop
closes, nops are added at its end if the first words of the loop need them.

With ``reorder`` off every bundle gets a word of its own, in program order, and nops where a
distance rule needs them.  Hand-placed regions are copied as they stand in both modes.
"""

from __future__ import annotations

from bisect import insort
from typing import Dict, List, Optional, Sequence, Tuple

from ..isa import hazards, modes, ops
from ..isa.hazards import MAX_DISTANCE, excluded, forbidden
from ..isa.instr import NOP
from .code import BRANCH, END, Block, Bundle, Code, Line, debug_print, fail
from .depend import graph, resources
from .lookups import LATENCY, requests_of_pops, under_way
from .word import Need, Word

__all__ = ["schedule"]

_SLOTS = 3
_Window = Tuple[int, int, int]
"""Events forbidden in the next word, the one after it, and the third."""


def schedule(code: Code, reorder: bool = True) -> List[Line]:
    """The words of the program, labels in place, branch offsets open."""
    follow = code.successors()
    before: List[List[int]] = [[] for _ in code.blocks]
    for i, row in enumerate(follow):
        for k in row:
            before[k].append(i)
    lookups = under_way(code, follow)
    done: List[List[Line]] = []
    out: List[_Window] = []
    for i, block in enumerate(code.blocks):
        window: _Window = (0, 0, 0)
        for k in before[i]:
            if k < i:
                window = _union(window, out[k])
        back = [s for s in follow[i] if s <= i]
        padding = 0
        while True:
            lines = _schedule_block(block, window, reorder, padding, lookups[i])
            done[i:] = [lines]
            after = _after(window, lines)
            missing = max((_shortfall(after, _head(done, s)) for s in back), default=0)
            if not missing or (block.bundles and block.bundles[-1].fixed):
                break  # what hand-placed code lacks, the checker will say
            padding += missing
        out.append(after)
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


# --- windows -----------------------------------------------------------------------------------


def _union(one: _Window, two: _Window) -> _Window:
    return one[0] | two[0], one[1] | two[1], one[2] | two[2]


def _step(window: _Window, events: int) -> _Window:
    """The window after one more word."""
    ban = forbidden(events)
    return window[1] | ban[1], window[2] | ban[2], ban[3]


def _after(window: _Window, lines: Sequence[Line]) -> _Window:
    for line in lines:
        window = _step(window, line.events)
    return window


def _head(done: Sequence[List[Line]], first: int) -> List[int]:
    """Events of the first words from a block on."""
    head: List[int] = []
    for lines in done[first:]:
        head += [line.events for line in lines[: MAX_DISTANCE - len(head)]]
        if len(head) >= MAX_DISTANCE:
            break
    return head


def _shortfall(window: _Window, head: Sequence[int]) -> int:
    """How many words must come in between so that ``head`` may follow."""
    for extra in range(MAX_DISTANCE):
        if not any(
            events & window[extra + d] for d, events in enumerate(head) if extra + d < MAX_DISTANCE
        ):
            return extra
    return MAX_DISTANCE


# --- one block ---------------------------------------------------------------------------------


def _schedule_block(
    block: Block, window: _Window, reorder: bool, padding: int, lookups: Tuple[int, int]
) -> List[Line]:
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
        now = _after(window, lines)
        if region:
            lines += _hand_placed(bundles[i:k], now, bool(lines))
        elif reorder:
            last = leave if k == len(bundles) else None
            lines += _pack(bundles[i:k], now, last, lookups)
        else:
            lines += _in_order(bundles[i:k], now)
        i = k
    lines += [_nop() for _ in range(padding)]
    if leave is not None:
        lines = _leave(leave, lines, window, reorder)
    return lines


def _nop() -> Line:
    return Line(NOP, 0)


def _line(word: Word, bundles: Sequence[Bundle]) -> Line:
    instr = word.instr()
    wheres = dict.fromkeys(need.op.where for need in word.parts)
    comments = tuple(text for bundle in bundles for text in bundle.comments)
    return Line(instr, hazards.events(instr), tuple(wheres), comments)


def _whole_word(bundle: Bundle) -> Word:
    """All operations of a bundle in a word; an error if they do not fit."""
    needs = [Need(op) for op in bundle.ops]
    for word in _ways(needs):
        return word
    fail("these operations do not fit into one word", bundle.where, bundle, _rule_of(needs))


def _grown(word: Word, needs: Sequence[Need]) -> List[Word]:
    """Copies of a word with all of ``needs`` added, one for each choice of units that works."""
    words = [word.copy()]
    # Operations with a choice of unit come last, so that they take what is left.
    for need in sorted(needs, key=lambda n: len(n.units) if n.units else 0):
        grown = []
        for candidate in words:
            for unit in need.units or ("",):
                twin = candidate.copy()
                if twin.add(need, unit):
                    grown.append(twin)
        words = grown
    return words


def _ways(needs: Sequence[Need]) -> List[Word]:
    """The words that hold all of ``needs``, one for each choice of units that works."""
    words = _grown(Word(), needs)
    events = 0
    for need in needs:
        events |= need.events
    return [] if excluded(events) else words


def _rule_of(needs: Sequence[Need]) -> str:
    events = 0
    for need in needs:
        events |= need.events
    broken = excluded(events)
    return broken[0].id if broken else "H6"


def _hand_placed(bundles: Sequence[Bundle], window: _Window, inside: bool) -> List[Line]:
    lines = [_line(_whole_word(bundle), (bundle,)) for bundle in bundles]
    for line, bundle in zip(lines, bundles):
        for op in bundle.ops:
            if op.kind == BRANCH and op.targets and not op.srcs:
                line.target = op.targets[0]
    missing = _shortfall(window, [line.events for line in lines[:MAX_DISTANCE]])
    return [_nop() for _ in range(missing)] + lines


def _in_order(bundles: Sequence[Bundle], window: _Window) -> List[Line]:
    lines: List[Line] = []
    for bundle in bundles:
        line = _line(_whole_word(bundle), (bundle,))
        while line.events & window[0]:
            lines.append(_nop())
            window = _step(window, 0)
        lines.append(line)
        window = _step(window, line.events)
    return lines


# --- leaving a block ---------------------------------------------------------------------------


def _leave(leave: Bundle, lines: List[Line], entry: _Window, reorder: bool) -> List[Line]:
    word = _whole_word(leave)
    last = _line(word, (leave,))
    op = leave.ops[0]
    if op.kind == END:
        while last.events & _after(entry, lines)[0]:
            lines.append(_nop())
        return lines + [last, _nop(), _nop()]
    if op.targets and not op.srcs:
        last.target = op.targets[0]
    position = max(0, len(lines) - _SLOTS) if reorder else len(lines)
    reads, writes = resources(last.events)
    for i, line in enumerate(lines):
        before_reads, before_writes = resources(line.events)
        if before_writes & (reads | writes) or before_reads & writes:
            position = max(position, i + 1)
    while position <= len(lines) and last.events & _after(entry, lines[:position])[0]:
        position += 1
        if position > len(lines):
            lines.append(_nop())
    lines.insert(position, last)
    while len(lines) < position + 1 + _SLOTS:
        lines.append(_nop())
    return lines


# --- list scheduling ---------------------------------------------------------------------------


def _heights(
    events: Sequence[int],
    follow: Sequence[Dict[int, int]],
    leave: Optional[Bundle],
    requests: Dict[int, int],
) -> List[int]:
    """Words from each bundle to the end of the block along its longest path."""
    pops = {request: pop for pop, request in requests.items()}
    reads = writes = 0
    if leave is not None and leave.ops[0].kind == BRANCH:
        reads, writes = resources(Need(leave.ops[0]).events)
    heights = [0] * len(events)
    for i in reversed(range(len(events))):
        height = 0
        for k, wait in follow[i].items():
            height = max(height, heights[k] + wait)
        if i in pops:
            height = max(height, heights[pops[i]] + LATENCY)
        if reads | writes:
            before_reads, before_writes = resources(events[i])
            if before_writes & (reads | writes) or before_reads & writes:
                height = max(height, 1 + _SLOTS)
        heights[i] = height
    return heights


def _pack(
    bundles: Sequence[Bundle], window: _Window, leave: Optional[Bundle], lookups: Tuple[int, int]
) -> List[Line]:
    needs = [[Need(op) for op in bundle.ops] for bundle in bundles]
    for bundle in bundles:
        if len(bundle.ops) > 1:
            _whole_word(bundle)
    events = []
    for row in needs:
        bits = 0
        for need in row:
            bits |= need.events
        events.append(bits)
    follow = graph(events)
    requests = requests_of_pops(bundles, lookups)
    pops = {request: pop for pop, request in requests.items()}
    heights = _heights(events, follow, leave, requests)
    patient = [0] * len(bundles)  # the time from which on a pop need not stall
    stalled = 0  # words that the QPU is bound to spend waiting
    waiting = [0] * len(bundles)
    for edges in follow:
        for k in edges:
            waiting[k] += 1
    earliest = [0] * len(bundles)
    ready: List[Tuple[int, int]] = sorted(
        (-heights[i], i) for i in range(len(bundles)) if not waiting[i]
    )
    demand = {ops.ADD: 0, ops.MUL: 0}
    for row in needs:
        for need in row:
            if len(need.units) == 1:
                demand[need.units[0]] += 1
    lines: List[Line] = []
    left = len(bundles)
    clock = 0
    while left:
        word = Word()
        placed: List[int] = []
        bits = 0
        again, hurry = True, False
        while again and not word.whole:
            again = False
            for item in list(ready):
                i = item[1]
                if earliest[i] > clock or events[i] & window[0]:
                    continue
                if patient[i] > clock + stalled and not hurry:
                    continue
                grown = _fit(word, needs[i], demand, bits | events[i])
                if grown is None:
                    continue
                word = grown
                bits |= events[i]
                placed.append(i)
                hurry = False
                stalled = max(stalled, patient[i] - clock)
                if i in pops:
                    patient[pops[i]] = clock + stalled + LATENCY
                ready.remove(item)
                left -= 1
                for need in needs[i]:
                    if len(need.units) == 1:
                        demand[need.units[0]] -= 1
                for k, wait in follow[i].items():
                    earliest[k] = max(earliest[k], clock + wait)
                    waiting[k] -= 1
                    if not waiting[k]:
                        insort(ready, (-heights[k], k))
                        again = again or earliest[k] <= clock
                full = word.adding is not None and word.muling is not None
                if word.whole or full and (word.imm >= 0 or word.signal != modes.SIG_NONE):
                    again = False
                    break
                if again:
                    break  # what became ready may be more urgent than what comes next
            if not placed and not hurry:
                again = hurry = True  # nothing to do but wait for a lookup
        lines.append(_line(word, [bundles[i] for i in sorted(placed)]))
        window = _step(window, lines[-1].events)
        clock += 1
        assert clock <= 5 * len(bundles) + 16, "the scheduler is stuck"
    return lines


def _fit(word: Word, needs: Sequence[Need], demand: Dict[str, int], events: int) -> Optional[Word]:
    """The word with a bundle's operations added, or None."""
    if len(needs) == 1:
        need = needs[0]
        units: Sequence[str] = need.units or ("",)
        if len(units) > 1 and demand[ops.MUL] < demand[ops.ADD]:
            units = (ops.MUL, ops.ADD)
        if excluded(events):
            return None
        for unit in units:
            if word.add(need, unit):
                return word
        return None
    if excluded(events):
        return None
    grown = _grown(word, needs)
    return grown[0] if grown else None
