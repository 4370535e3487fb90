"""List scheduling: the bundles of a block, reordered and packed into words.

Word after word, the operations whose operands are ready are tried in the order of their critical
path; one that finds no room waits for the next word.  Where that leaves a unit idle in a loop,
other first choices are tried, and a word that fills both units is preferred.  A TMU pop also waits
until its lookup can be done, as long as there is other work (:mod:`.tmu_latency`).  Reads of the
uniform stream keep a distance and the places that the generator gave them: the queue behind them
holds two words, and a line of the stream that is asked for late stalls the QPU.

The body of a loop is scheduled first in the order that the generator wrote, and the other way only
as long as that may still take no more words: where every word is full, as in matrix products, a
generator can know a rhythm that no greedy order finds.  If it also knows where lines of the uniform
stream begin, only its own order counts, and reads keep a distance there alone.
"""

from __future__ import annotations

from bisect import insort
from typing import Callable, Dict, List, Optional, Sequence, Tuple

from ..isa import ops
from ..isa.hazards import excluded, mask
from .code import BRANCH, Bundle, Line
from .depend import graph, resources
from .fitting import grown_with, line_of, whole_word
from .tmu_latency import LATENCY, requests_of_pops
from .window import Window, step
from .word import ADD_SLOT, MUL_SLOT, SIGNAL_SLOT, Need, Word

__all__ = ["LINE_SLOTS", "SLOTS", "pack"]

SLOTS = 3
"""Delay slots of a branch."""
_PACE = 6
"""Words between two reads of the uniform stream with which its lines arrive in time (measured)."""
LINE_SLOTS = 15
"""Words between the read of a line's first uniform and the last read but one before it, which asks
for the line: 57 clocks from memory (derived, :mod:`piblas.isa.timing`)."""
_RESTART = 58
"""Words that a uniform takes to come from a new address (derived, :mod:`piblas.isa.timing`)."""
_UNIFORM, _NEW_ADDRESS = mask("uniform"), mask("write_unif_addr")


def _heights(
    events: Sequence[int],
    uses: Sequence[Tuple[int, int]],
    follow: Sequence[Dict[int, int]],
    leave: Optional[Bundle],
    pops: Dict[int, int],
    loop: bool,
) -> List[int]:
    """Words from each bundle to the end of the block along its longest path."""
    reads = writes = 0
    if leave is not None and leave.ops[0].kind == BRANCH:
        reads, writes = resources(Need(leave.ops[0]).events)
    heights = [0] * len(events)
    for i in reversed(range(len(events))):
        height = 0
        for k, wait in follow[i].items():
            if heights[k] + wait > height:
                height = heights[k] + wait
        if i in pops:
            height = max(height, heights[pops[i]] + LATENCY)
        if uses[i][1] & (reads | writes) or uses[i][0] & writes:
            height = max(height, 1 + SLOTS)
        if events[i] & _UNIFORM and i + 1 < len(events):
            height = max(height, heights[i + 1])
        if events[i] & _NEW_ADDRESS and not loop:
            height += _RESTART
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
        self.events: List[int] = []
        self.slots: List[int] = []  # of which a word needs one or more for the bundle
        self.leaning: List[int] = []  # operations that the mul unit must do, less the add unit's
        self.size: List[int] = []  # halves of a word: an operation of a unit is one
        for row in self.needs:
            bits = slots = leaning = size = 0
            for need in row:
                bits |= need.events
                slots |= need.slots
                leaning += (need.slots == MUL_SLOT) - (need.slots == ADD_SLOT)
                size += 2 if need.whole else 1 if need.units else 0
            self.events.append(bits)
            self.slots.append(slots)
            self.leaning.append(leaning)
            self.size.append(size)
        self.lines = [any(op.line for op in bundle.ops) for bundle in bundles]
        self.pace = _PACE
        if loop and any(self.lines):
            self.pace = 1
        elif loop:  # one that wants them faster will have to wait, but need not be longer for it
            reads = sum(1 for bits in self.events if bits & _UNIFORM)
            work = sum(1 for row in self.needs for need in row if need.units)
            words = 0.51 * work  # of two units; a few stay idle
            self.pace = min(_PACE, int(words / max(reads, 1)))
        uses = [resources(bits) for bits in self.events]
        self.follow = graph(self.events, uses)
        self.waiting = [0] * len(bundles)  # for how many others
        for edges in self.follow:
            for k in edges:
                self.waiting[k] += 1
        # The followers of each that may stand in the same word.
        self.beside = [[k for k, wait in edges.items() if not wait] for edges in self.follow]
        requests = requests_of_pops(bundles, lookups)
        self.pops = {request: pop for pop, request in requests.items()}
        self.heights = _heights(self.events, uses, self.follow, leave, self.pops, loop)


class _List:
    """The bundles of a region that are still to be placed, and the state that they have left."""

    def __init__(self, region: _Region, as_written: bool) -> None:
        self.region, count = region, len(region.bundles)
        heights = range(count, 0, -1) if as_written else region.heights
        self.urgency = [(-height, i) for i, height in enumerate(heights)]
        self.patient = [0] * count  # the time from which on a pop need not stall
        self.stalled = 0  # words that the QPU is bound to spend waiting
        self.uniforms = -LINE_SLOTS, -LINE_SLOTS  # when the last two uniforms were read
        self.waiting = list(region.waiting)
        self.earliest = [0] * count
        self.ready = sorted(self.urgency[i] for i in range(count) if not self.waiting[i])
        self.left = count
        self.lean = sum(region.leaning)
        self.halves = sum(region.size)

    def word(self, clock: int, ban: int, without: int, swap: bool) -> "_Choice":
        """Fill a word in the order of urgency, without one of the bundles; ``swap`` turns round
        which unit the first bundle takes."""
        word, placed, bits, stalled = Word(), [], 0, self.stalled
        hurry, full = False, False
        asked, last = self.uniforms
        region, ready, earliest, patient = self.region, self.ready, self.earliest, self.patient
        events, slots = region.events, region.slots
        freed: Dict[int, int] = {}  # edges into bundles that may still come into this word
        again = True
        while again and not word.whole and not full:
            again = False
            for item in ready:
                i = item[1]
                own = events[i]
                if not slots[i] & word.free or earliest[i] > clock or own & ban:
                    continue
                if i == without or i in placed:
                    continue
                if not hurry:
                    if patient[i] > clock + stalled:
                        continue
                    paced = own & _UNIFORM and not own & _NEW_ADDRESS  # behind it comes a wait
                    if paced and clock < last + region.pace:
                        continue
                    if region.lines[i] and clock < asked + LINE_SLOTS:
                        continue
                grown = _fit(word, region.needs[i], self.lean, bits | own, swap and not placed)
                if grown is None:
                    continue
                word = grown
                bits |= own
                placed.append(i)
                hurry = False
                if stalled < patient[i] - clock:
                    stalled = patient[i] - clock
                for k in region.beside[i]:
                    freed[k] = freed.get(k, 0) + 1
                    if freed[k] == self.waiting[k] and earliest[k] <= clock:
                        if ready is self.ready:
                            ready = list(ready)
                        insort(ready, self.urgency[k])
                        again = True
                full = not word.free or word.free == SIGNAL_SLOT and word.imm >= 0
                if again or full or word.whole:
                    break  # what became ready may be more urgent than what comes next
            if not placed and not hurry:
                again = hurry = True  # nothing to do but wait for a lookup or a uniform
        return _Choice(word, placed, bits, stalled)

    def take(self, choice: "_Choice", clock: int) -> None:
        """Strike out what a word holds."""
        self.stalled = choice.stalled
        if choice.events & _UNIFORM:
            self.uniforms = self.uniforms[1], clock
        region, earliest, waiting = self.region, self.earliest, self.waiting
        for i in choice.placed:
            if i in region.pops:
                self.patient[region.pops[i]] = clock + self.stalled + LATENCY
            if self.urgency[i] in self.ready:
                self.ready.remove(self.urgency[i])
            self.left -= 1
            self.lean -= region.leaning[i]
            self.halves -= region.size[i]
            for k, wait in region.follow[i].items():
                if earliest[k] < clock + wait:
                    earliest[k] = clock + wait
                waiting[k] -= 1
                if not waiting[k] and k not in choice.placed:
                    insort(self.ready, self.urgency[k])

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
            if swap and self.region.slots[first] != ADD_SLOT | MUL_SLOT:
                continue  # there is no other unit for it
            other = self.word(clock, ban, without, swap)
            if other.units > choice.units and not other.word.whole:
                return other
        return choice


class _Choice:
    """A word that could come next, and what it changes."""

    __slots__ = ("word", "placed", "events", "stalled")

    def __init__(self, word: Word, placed: List[int], events: int, stalled: int) -> None:
        self.word, self.placed, self.events, self.stalled = word, placed, events, stalled

    @property
    def units(self) -> int:
        """How many of the two units work."""
        return (self.word.adding is not None) + (self.word.muling is not None)


def pack(
    bundles: Sequence[Bundle],
    window: Window,
    leave: Optional[Bundle],
    lookups: Tuple[int, int],
    loop: bool,
) -> List[Line]:
    for bundle in bundles:
        if len(bundle.ops) > 1:
            whole_word(bundle)
    region = _Region(bundles, leave, lookups, loop)
    if not loop:
        words = _packed(_List(region, False), window, _List.first)
    else:
        words = _packed(_List(region, True), window, _List.best)
        if not any(region.lines):
            words = _packed(_List(region, False), window, _List.best, len(words)) or words
    return [line_of(word.word, [bundles[i] for i in sorted(word.placed)]) for word in words]


def _packed(
    todo: _List,
    window: Window,
    pick: Callable[[_List, int, int], _Choice],
    limit: Optional[int] = None,
) -> List[_Choice]:
    """The words of a region; none if they are bound to be more than ``limit``."""
    words: List[_Choice] = []
    most = 5 * todo.left + 16
    while todo.left:
        if limit is not None and len(words) + (todo.halves + 1) // 2 > limit:
            return []
        choice = pick(todo, len(words), window[0])
        todo.take(choice, len(words))
        words.append(choice)
        window = step(window, choice.events)
        assert len(words) <= most, "the scheduler is stuck"
    return words


def _fit(
    word: Word, needs: Sequence[Need], lean: int, events: int, swap: bool
) -> Optional[Word]:
    """The word with a bundle's operations added, or None.  An operation with a choice takes the
    unit that fewer others need (the mul unit where ``lean`` is below 0), or with ``swap`` the
    other."""
    if len(needs) == 1:
        need = needs[0]
        units: Sequence[str] = need.units or ("",)
        if len(units) > 1 and (lean < 0) != swap:
            units = (ops.MUL, ops.ADD)
        if excluded(events):
            return None
        for unit in units:
            if word.add(need, unit):
                return word
        return None
    if excluded(events):
        return None
    grown = grown_with(word, needs)
    return grown[0] if grown else None
