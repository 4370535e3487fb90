"""List scheduling inside each block, packing an add, a mul and a signal into one word.

Word after word, the operations whose operands are ready are tried in the order of their critical
path; one that finds no room waits for the next word.  Where that leaves a unit idle in a loop,
other first choices are tried, and a word that fills both units is preferred.  A TMU pop also waits
until its lookup can be done, as long as there is other work (:mod:`.lookups`).  Reads of the
uniform stream keep a distance and the places that the generator gave them: the queue behind them
holds two words, and a line of the stream that is asked for late stalls the QPU.

The body of a loop is scheduled a second time, in the order that the generator wrote, and the
shorter result is taken: where every word is full, as in matrix products, a generator can know a
rhythm that no greedy order finds.

The branch that leaves the block is put where its three delay slots hold the last words of the
block, or nops.  Words of blocks that were scheduled before and can come first are respected through
the events that they forbid; where a loop closes, nops are added at its end if the first words of
the loop need them.

With ``reorder`` off every bundle gets a word of its own, in program order, and nops where a
distance rule needs them.  Hand-placed regions are copied as they stand in both modes.
"""

from __future__ import annotations

from bisect import insort
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ..isa import hazards, modes, ops
from ..isa.hazards import MAX_DISTANCE, excluded, forbidden, mask
from ..isa.instr import NOP
from .code import BRANCH, END, Block, Bundle, Code, Line, debug_print, fail
from .depend import graph, resources
from .lookups import LATENCY, requests_of_pops, under_way
from .word import Need, Word

__all__ = ["schedule"]

_SLOTS = 3
_PACE = 6
"""Words between two reads of the uniform stream with which its lines arrive in time (measured)."""
_UNIFORM = mask("uniform")
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
        body, leave = _schedule_body(block, window, reorder, lookups[i], i in follow[i])
        while True:
            lines = body + [_nop() for _ in range(padding)]
            if leave is not None:
                lines = _leave(leave, lines, window, reorder)
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


def _schedule_body(
    block: Block, window: _Window, reorder: bool, lookups: Tuple[int, int], loop: bool
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
        now = _after(window, lines)
        if region:
            lines += _hand_placed(bundles[i:k], now, bool(lines))
        elif reorder:
            last = leave if k == len(bundles) else None
            lines += _pack(bundles[i:k], now, last, lookups, loop)
        else:
            lines += _in_order(bundles[i:k], now)
        i = k
    return lines, leave


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
        if events[i] & _UNIFORM and i + 1 < len(events):
            height = max(height, heights[i + 1])
        heights[i] = height
    return heights


class _Region:
    """The bundles of a block that are to be packed, and what holds for each."""

    def __init__(
        self,
        bundles: Sequence[Bundle],
        leave: Optional[Bundle],
        lookups: Tuple[int, int],
        loop: bool,
    ) -> None:
        self.bundles = bundles
        self.needs = [[Need(op) for op in bundle.ops] for bundle in bundles]
        self.events = []
        for row in self.needs:
            bits = 0
            for need in row:
                bits |= need.events
            self.events.append(bits)
        self.pace = _PACE
        if loop:  # one that wants them faster will have to wait, but need not be longer for it
            reads = sum(1 for bits in self.events if bits & _UNIFORM)
            work = sum(1 for row in self.needs for need in row if need.units)
            words = 0.51 * work  # of two units; a few stay idle
            self.pace = min(_PACE, int(words / max(reads, 1)))
        self.follow = graph(self.events)
        requests = requests_of_pops(bundles, lookups)
        self.pops = {request: pop for pop, request in requests.items()}
        self.heights = _heights(self.events, self.follow, leave, requests)


class _List:
    """The bundles of a region that are still to be placed, and the state that they have left."""

    def __init__(self, region: _Region, as_written: bool) -> None:
        count = len(region.bundles)
        self.needs, self.events, self.follow = region.needs, region.events, region.follow
        self.pops, self.pace = region.pops, region.pace
        self.heights = list(range(count, 0, -1)) if as_written else region.heights
        self.patient = [0] * count  # the time from which on a pop need not stall
        self.stalled = 0  # words that the QPU is bound to spend waiting
        self.next_uniform = 0
        self.waiting = [0] * count
        for edges in self.follow:
            for k in edges:
                self.waiting[k] += 1
        self.earliest = [0] * count
        self.ready: List[Tuple[int, int]] = sorted(
            (-self.heights[i], i) for i in range(count) if not self.waiting[i]
        )
        self.left = count
        self.demand = {ops.ADD: 0, ops.MUL: 0}
        for row in self.needs:
            self._demand(row, 1)

    def _demand(self, needs: Sequence[Need], change: int) -> None:
        for need in needs:
            if len(need.units) == 1:
                self.demand[need.units[0]] += change

    def word(self, clock: int, ban: int, without: int, swap: bool) -> "_Choice":
        """Fill a word in the order of urgency, without one of the bundles; ``swap`` turns round
        which unit the first bundle takes."""
        word, placed, bits, stalled = Word(), [], 0, self.stalled
        next_uniform, hurry, full = self.next_uniform, False, False
        ready, events, earliest, patient = self.ready, self.events, self.earliest, self.patient
        freed: Dict[int, int] = {}  # edges into bundles that this word's bundles took away
        again = True
        while again and not word.whole and not full:
            again = False
            for item in ready:
                i = item[1]
                own = events[i]
                if earliest[i] > clock or own & ban or i == without or i in placed:
                    continue
                if not hurry:
                    if patient[i] > clock + stalled:
                        continue
                    if own & _UNIFORM and clock < next_uniform:
                        continue
                first = swap and not placed
                grown = _fit(word, self.needs[i], self.demand, bits | own, first)
                if grown is None:
                    continue
                word = grown
                bits |= own
                placed.append(i)
                hurry = False
                if own & _UNIFORM:
                    next_uniform = clock + self.pace
                stalled = max(stalled, patient[i] - clock)
                for k, wait in self.follow[i].items():
                    freed[k] = freed.get(k, 0) + 1
                    if not wait and freed[k] == self.waiting[k] and self.earliest[k] <= clock:
                        if all(
                            not self.follow[other].get(k, 0) for other in placed
                        ):
                            if ready is self.ready:
                                ready = list(ready)
                            insort(ready, (-self.heights[k], k))
                            again = True
                full = word.adding is not None and word.muling is not None
                full = full and (word.imm >= 0 or word.signal != modes.SIG_NONE)
                if again or full or word.whole:
                    break  # what became ready may be more urgent than what comes next
            if not placed and not hurry:
                again = hurry = True  # nothing to do but wait for a lookup or a uniform
        return _Choice(word, placed, bits, stalled, next_uniform)

    def take(self, choice: "_Choice", clock: int) -> None:
        """Strike out what a word holds."""
        self.stalled, self.next_uniform = choice.stalled, choice.next_uniform
        for i in choice.placed:
            if i in self.pops:
                self.patient[self.pops[i]] = clock + self.stalled + LATENCY
            if (-self.heights[i], i) in self.ready:
                self.ready.remove((-self.heights[i], i))
            self.left -= 1
            self._demand(self.needs[i], -1)
            for k, wait in self.follow[i].items():
                self.earliest[k] = max(self.earliest[k], clock + wait)
                self.waiting[k] -= 1
                if not self.waiting[k] and k not in choice.placed:
                    insort(self.ready, (-self.heights[k], k))

    def first(self, clock: int, ban: int) -> "_Choice":
        """The word that begins with the most urgent bundle."""
        return self.word(clock, ban, -1, False)

    def best(self, clock: int, ban: int) -> "_Choice":
        """The word that fills both units if there is one, and of those the most urgent."""
        choice = self.first(clock, ban)
        if choice.units == 2 or not choice.placed or choice.word.whole:
            return choice
        first = choice.placed[0]
        for without, swap in ((-1, True), (first, False)):
            other = self.word(clock, ban, without, swap)
            if other.units > choice.units and not other.word.whole:
                return other
        return choice


class _Choice:
    """A word that could come next, and what it changes."""

    __slots__ = ("word", "placed", "events", "stalled", "next_uniform")

    def __init__(
        self, word: Word, placed: List[int], events: int, stalled: int, next_uniform: int
    ) -> None:
        self.word, self.placed, self.events = word, placed, events
        self.stalled, self.next_uniform = stalled, next_uniform

    @property
    def units(self) -> int:
        """How many of the two units work."""
        return (self.word.adding is not None) + (self.word.muling is not None)


def _pack(
    bundles: Sequence[Bundle],
    window: _Window,
    leave: Optional[Bundle],
    lookups: Tuple[int, int],
    loop: bool,
) -> List[Line]:
    for bundle in bundles:
        if len(bundle.ops) > 1:
            _whole_word(bundle)
    region = _Region(bundles, leave, lookups, loop)
    if not loop:
        words = _packed(_List(region, False), window, _List.first)
    else:
        ways = [_packed(_List(region, order), window, _List.best) for order in (False, True)]
        words = min(ways, key=len)
    return [_line(word.word, [bundles[i] for i in sorted(word.placed)]) for word in words]


def _packed(
    todo: _List, window: _Window, pick: Callable[[_List, int, int], _Choice]
) -> List[_Choice]:
    words: List[_Choice] = []
    most = 5 * todo.left + 16
    while todo.left:
        choice = pick(todo, len(words), window[0])
        todo.take(choice, len(words))
        words.append(choice)
        window = _step(window, choice.events)
        assert len(words) <= most, "the scheduler is stuck"
    return words


def _fit(
    word: Word, needs: Sequence[Need], demand: Dict[str, int], events: int, swap: bool
) -> Optional[Word]:
    """The word with a bundle's operations added, or None.  An operation with a choice takes the
    unit that fewer others need, or with ``swap`` the other."""
    if len(needs) == 1:
        need = needs[0]
        units: Sequence[str] = need.units or ("",)
        if len(units) > 1 and (demand[ops.MUL] < demand[ops.ADD]) != swap:
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
