"""The paths through finished words, and what holds on all of them.

:class:`Flow` decodes the words and follows their branches itself: behind the third delay slot comes
the target, and the next word as well if the branch is conditional.  A branch by a register may go
anywhere, so every known label and return point is then taken as an entry with nothing known about
the state there.
"""

from __future__ import annotations

from typing import Any, Callable, Dict, Iterable, List, Optional, Set, Tuple

from ..errors import DecodeError
from ..isa import hazards, modes
from ..isa.hazards import EVENTS
from ..isa.instr import NOP, Instr, decode

__all__ = ["E", "Flow"]

E = {name: event.mask for name, event in EVENTS.items()}
"""The bits of each group of events."""
_PATIENCE = 4
"""A state may change so often before it is widened."""


class Flow:
    """The words of a program with their events and successors.

    ``words`` are 64-bit words or ``Instr``; ``labels`` the words that branches by a register may
    go to, besides the places behind linking branches.
    """

    def __init__(self, words: Iterable[Any], labels: Iterable[int]) -> None:
        self.instrs: List[Instr] = []
        self.bad: Dict[int, Tuple[str, str]] = {}  # words that are no instruction
        for i, word in enumerate(words):
            try:
                self.instrs.append(word if isinstance(word, Instr) else decode(int(word)))
            except DecodeError as error:
                self.bad[i] = str(error), f".word {int(word):#018x}"
                self.instrs.append(NOP)
        self.events = [hazards.events(instr) for instr in self.instrs]
        self.follow, self.roots = self._flow(labels)
        count = len(self.instrs)
        self.next = [[k for k in row if 0 <= k < count] for row in self.follow]
        self.reached = self._reach()
        self.join_points = self._join_points()
        """Words that more than one path comes to."""

    def _flow(self, labels: Iterable[int]) -> Tuple[List[List[int]], Set[int]]:
        """The words that may follow each word, and the entries with unknown state."""
        count = len(self.instrs)
        follow = [[i + 1] for i in range(count)]
        returns = set()
        wild = False
        for i, (instr, bits) in enumerate(zip(self.instrs, self.events)):
            if bits & E["thrend"] and i + 2 < count:
                follow[i + 2] = []
            if not bits & E["branch"]:
                continue
            if {instr.waddr_add, instr.waddr_mul} != {39}:
                returns.add(i + 4)
            last = i + 3
            if last >= count:
                continue
            row = [] if instr.cond_br == modes.BRANCH_ALWAYS else [i + 4]
            if instr.rel and not instr.reg:
                offset = instr.imm - ((instr.imm & 0x80000000) << 1)
                row.append(i + 4 + offset // 8 if offset % 8 == 0 else -1)
            else:
                wild = True
            follow[last] = row
        if not wild:
            return follow, set()
        return follow, {i for i in set(labels) | returns if i < count}

    def _reach(self) -> List[int]:
        seen: Set[int] = set()
        stack = [0] if self.instrs else []
        stack += self.roots
        while stack:
            i = stack.pop()
            if i in seen or not 0 <= i < len(self.instrs):
                continue
            seen.add(i)
            stack += self.follow[i]
        return sorted(seen)

    def _join_points(self) -> Set[int]:
        entered = {0, *self.roots}
        found = set()
        for i in self.reached:
            for k in self.next[i]:
                if k in entered:
                    found.add(k)
                entered.add(k)
        return found

    def solve(
        self,
        touching: int,
        start: Any,
        unknown: Any,
        join: Callable[[Any, Any], Any],
        step: Callable[..., Any],
        widen: Optional[Callable[[Any, Any], Any]] = None,
    ) -> Dict[int, Any]:
        """The state before each word that can be reached.  Words without one of the events
        ``touching`` leave it as it is.

        ``widen`` takes the place of ``join`` at a word whose state has changed often, so that a
        state that grows with every turn of a loop comes to an end.
        """
        changes: Dict[int, int] = {}
        before: Dict[int, Any] = {root: unknown for root in self.roots}
        if self.instrs:
            before[0] = join(before[0], start) if 0 in before else start
        work = sorted(before, reverse=True)
        while work:
            i = work.pop()
            after = step(i, before[i]) if self.events[i] & touching else before[i]
            for k in self.next[i]:
                state = after
                if k in before:
                    if before[k] == after:
                        continue
                    if k in self.join_points:
                        state = join(before[k], after)
                        if state == before[k]:
                            continue
                        if widen is not None:
                            changes[k] = changes.get(k, 0) + 1
                            if changes[k] > _PATIENCE:
                                state = widen(before[k], state)
                before[k] = state
                work.append(k)
        return before

    def ends(self) -> List[int]:
        """The last words of the program's thread ends."""
        last = len(self.instrs) - 1
        return [min(i + 2, last) for i in self.reached if self.events[i] & E["thrend"]]
