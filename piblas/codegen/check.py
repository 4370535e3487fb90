"""Check finished words against every rule of :mod:`piblas.isa.hazards`.

The checker decodes the words and follows their branches itself: behind the third delay slot comes
the target, and the next word as well if the branch is conditional.  A branch by a register may go
anywhere, so every known label and return point is then taken as an entry with nothing known about
the state there.  A word that is no instruction is an error where it can be reached, and a warning
elsewhere: data behind a program does no harm.  Rules that count (TMU requests, vectors of a VPM
read) report only what holds on every path, so a correct program is never refused; what they cannot
count they let pass.
"""

from __future__ import annotations

import functools
import operator
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, List, Optional, Sequence, Set, Tuple

from ..errors import DecodeError
from ..isa import hazards, modes, setup_words
from ..isa.disasm import to_text
from ..isa.hazards import ERROR, EVENTS, MAX_DISTANCE, WARN, Distance, Rule, State, Structure
from ..isa.hazards import Word, collides, excluded, forbidden, mask
from ..isa.instr import NOP, Instr, decode
from .code import fail
from .program import LINE_WORDS, Program

__all__ = ["Finding", "check", "check_program"]


@dataclass(frozen=True)
class Finding:
    """A rule that a program breaks at word ``index``; ``where`` is the generator's line."""

    rule: str
    level: str
    message: str
    index: int
    instruction: str
    where: Optional[str] = None

    @property
    def address(self) -> int:
        """The byte offset of the word."""
        return 8 * self.index

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return (
            f"{place}{self.level}: {self.rule}: {self.message}"
            f" at {self.address:#06x} [{self.instruction}]"
        )


def check(
    words: Iterable[Any],
    source_map: Optional[Dict[int, str]] = None,
    labels: Iterable[int] = (),
) -> List[Finding]:
    """All findings on a program, in the order of its words.

    ``words`` are 64-bit words or ``Instr``; ``labels`` the words that branches by a register may
    go to, besides the places behind linking branches.
    """
    return _Checker(words, source_map or {}, labels).run()


def check_program(program: Program) -> Program:
    """The program with its warnings; an error-level finding is raised."""
    findings = check(program.instrs, program.source_map, program.labels.values())
    for finding in findings:
        if finding.level == ERROR:
            where = finding.where
            file, _, line = (where or "").rpartition(":")
            fail(
                f"{finding.message} (word {finding.index} of {program.name})",
                (file, int(line)) if where else None,
                finding.instruction,
                finding.rule,
            )
    program.findings = findings
    return program


_E = {name: event.mask for name, event in EVENTS.items()}
_MANY = 99
_STATE_RULES = tuple(rule for rule in hazards.RULES if isinstance(rule.form, State))
_STRUCTURE_RULES = tuple(rule for rule in hazards.RULES if isinstance(rule.form, Structure))
_WORD_RULES = tuple(rule for rule in hazards.RULES if isinstance(rule.form, Word))
_DISTANCE_RULES = tuple(rule for rule in hazards.RULES if isinstance(rule.form, Distance))
_WARN_DISTANCES = tuple(rule for rule in _DISTANCE_RULES if rule.level != ERROR)

_Span = Tuple[int, int]
_Lookups = Tuple[int, int, int]
"""The least and the greatest count on any path."""


class _Checker:
    def __init__(
        self, words: Iterable[Any], source_map: Dict[int, str], labels: Iterable[int]
    ) -> None:
        self.source_map = source_map
        self.findings: List[Finding] = []
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
        for i, (reason, text) in self.bad.items():
            level = ERROR if i in self.reached else WARN
            self.findings.append(Finding("decode", level, reason, i, text, self.source_map.get(i)))

    def run(self) -> List[Finding]:
        self._words()
        self._distances()
        self._states()
        self._structures()
        found = dict.fromkeys(self.findings)
        return sorted(found, key=lambda finding: (finding.index, finding.rule))

    def report(self, rule: Rule, index: int, detail: str = "") -> None:
        self.findings.append(
            Finding(
                rule.id,
                rule.level,
                rule.text + detail,
                index,
                self.bad[index][1] if index in self.bad else to_text(self.instrs[index]),
                self.source_map.get(index),
            )
        )

    # --- control flow --------------------------------------------------------------------------

    def _flow(self, labels: Iterable[int]) -> Tuple[List[List[int]], Set[int]]:
        """The words that may follow each word, and the entries with unknown state."""
        count = len(self.instrs)
        follow = [[i + 1] for i in range(count)]
        returns = set()
        wild = False
        for i, (instr, bits) in enumerate(zip(self.instrs, self.events)):
            if bits & _E["thrend"] and i + 2 < count:
                follow[i + 2] = []
            if not bits & _E["branch"]:
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

    def _solve(
        self,
        touching: int,
        start: Any,
        unknown: Any,
        join: Callable[[Any, Any], Any],
        step: Callable[..., Any],
    ) -> Dict[int, Any]:
        """The state before each word that can be reached.  Words without one of the events
        ``touching`` leave it as it is."""
        before: Dict[int, Any] = {root: unknown for root in self.roots}
        if self.instrs:
            before[0] = join(before[0], start) if 0 in before else start
        work = sorted(before, reverse=True)
        while work:
            i = work.pop()
            after = step(i, before[i]) if self.events[i] & touching else before[i]
            for k in self.next[i]:
                if k in before:
                    merged = join(before[k], after)
                    if merged == before[k]:
                        continue
                    before[k] = merged
                else:
                    before[k] = after
                work.append(k)
        return before

    # --- rules about words and distances -------------------------------------------------------

    def _words(self) -> None:
        for i in self.reached:
            for rule in excluded(self.events[i]):
                self.report(rule, i)
            for rule in _WORD_RULES:
                if rule.form.test(self.instrs[i]):  # type: ignore[union-attr]
                    self.report(rule, i)

    def _distances(self) -> None:
        warn_first = 0
        for rule in _WARN_DISTANCES:
            warn_first |= mask(rule.form.first)  # type: ignore[union-attr]
        for i in self.reached:
            bits = self.events[i]
            ban = forbidden(bits)
            near = [i]
            for distance in range(1, MAX_DISTANCE + 1):
                if not any(ban[distance:]) and not bits & warn_first:
                    break
                near = [k for n in near for k in self.next[n]]
                for k in near:
                    if self.events[k] & ban[distance] or bits & warn_first:
                        self._name_distance(i, k, distance)

    def _name_distance(self, i: int, k: int, distance: int) -> None:
        for rule in _DISTANCE_RULES:
            form = rule.form
            assert isinstance(form, Distance)
            if max(form.nearest, 1) <= distance < form.distance:
                if collides(form, self.events[i], self.events[k]):
                    self.report(rule, k, f" ({distance} after [{to_text(self.instrs[i])}])")

    def _states(self) -> None:
        rules = [
            (rule, mask(form.set), mask(form.clear), mask(form.fault))
            for rule, form in ((rule, rule.form) for rule in _STATE_RULES)
            if isinstance(form, State)
        ]
        every = 0
        for bits in self.events:
            every |= bits
        rules = [row for row in rules if every & row[1] and every & row[3]]
        if not rules:
            return

        def step(i: int, state: int) -> int:
            for n, (_, sets, clears, _) in enumerate(rules):
                if self.events[i] & clears:
                    state &= ~(1 << n)
                if self.events[i] & sets:
                    state |= 1 << n
            return state

        touching = 0
        for _, sets, clears, _ in rules:
            touching |= sets | clears
        before = self._solve(touching, 0, 0, operator.or_, step)
        for i, state in before.items():
            for n, (rule, _, clears, fault) in enumerate(rules):
                if state >> n & 1 and self.events[i] & fault and not self.events[i] & clears:
                    self.report(rule, i)

    # --- rules about the whole program ---------------------------------------------------------

    def _structures(self) -> None:
        for rule in _STRUCTURE_RULES:
            assert isinstance(rule.form, Structure)
            for index in _STRUCTURES[rule.form.check](self):
                self.report(rule, index)

    def _ends(self) -> List[int]:
        """The last words of the program's thread ends."""
        last = len(self.instrs) - 1
        return [min(i + 2, last) for i in self.reached if self.events[i] & _E["thrend"]]

    @functools.cached_property
    def _lookups(self) -> Dict[str, List[int]]:
        """Words that break a rule about the queues of the TMUs, by the name of its check."""
        found: Dict[str, List[int]] = {"depth": [], "pop": [], "left": []}
        for number in (0, 1):
            request, pop = _E[f"request_tmu{number}"], _E[f"pop_tmu{number}"]
            config = mask(f"config_tmu{number}")
            if not any(bits & (request | pop) for bits in self.events):
                continue

            # The least and the most results on their way, and whether S will look up a texture,
            # which may have one result or two.
            def step(i: int, state: _Lookups) -> _Lookups:
                low, high, texture = state
                if self.events[i] & pop:
                    low, high = max(low - 1, 0), max(high - 1, 0)
                if self.events[i] & config:
                    texture = 1
                if self.events[i] & request:
                    low, high, texture = min(low + 1, 9), min(high + 1 + texture, 9), 0
                return low, high, texture

            def join(one: _Lookups, two: _Lookups) -> _Lookups:
                return (*_widest(one[:2], two[:2]), one[2] | two[2])

            before = self._solve(request | pop | config, (0, 0, 0), (0, 9, 1), join, step)
            for i, span in before.items():
                bits = self.events[i]
                if bits & request and step(i, span)[0] > 4:
                    found["depth"].append(i)
                if bits & pop and span[1] == 0:
                    found["pop"].append(i)
            ends = [i for i in self._ends() if i in before]
            found["left"] += [i for i in ends if step(i, before[i])[0] > 0]
        return found

    def texture_uniform(self) -> List[int]:
        """Words that read a uniform beside an S that has T, R or B before it on every path."""
        found = []
        for number in (0, 1):
            request, config = _E[f"request_tmu{number}"], mask(f"config_tmu{number}")
            if not any(bits & config for bits in self.events):
                continue

            def step(i: int, pending: int) -> int:
                if self.events[i] & request:
                    return 0
                return 1 if self.events[i] & config else pending

            for i, pending in self._solve(request | config, 0, 0, min, step).items():
                if pending and self.events[i] & request and self.events[i] & _E["uniform"]:
                    found.append(i)
        return found

    @functools.cached_property
    def _vectors(self) -> Dict[str, List[int]]:
        """Words that break a rule about reads of the VPM, by the name of its check."""
        found: Dict[str, List[int]] = {"setup": [], "reads": [], "left": []}
        wanted = _E["read_vpm"] | _E["rd_setup"]
        if not any(bits & wanted for bits in self.events):
            return found

        def step(i: int, span: Optional[_Span]) -> Optional[_Span]:
            bits = self.events[i]
            if bits & _E["read_vpm"] and span is not None:
                span = max(span[0] - 1, 0), max(span[1] - 1, 0)
            if bits & _E["vpm_read_setup"]:
                number = setup_words.unpack("vpm_read", self.instrs[i].imm)["num"]
                span = None if span is None else (span[0] + number, min(span[1], 1) + number)
                if span is not None and span[0] > span[1]:
                    span = (number, number)
            elif bits & _E["rd_setup"] and not bits & _E["vdr_setup"]:
                span = None
            return span

        def join(one: Optional[_Span], two: Optional[_Span]) -> Optional[_Span]:
            return None if one is None or two is None else _widest(one, two)

        before = self._solve(wanted, (0, 0), None, join, step)
        for i, span in before.items():
            if span is None:
                continue
            if self.events[i] & _E["vpm_read_setup"] and span[0] > 1:
                found["setup"].append(i)
            if self.events[i] & _E["read_vpm"] and span[1] == 0:
                found["reads"].append(i)
        after = {i: step(i, before[i]) for i in self._ends() if i in before}
        found["left"] = [i for i, span in after.items() if span is not None and span[0] > 0]
        return found

    def branch_register(self) -> List[int]:
        """Branches by a register whose elements a load by element, a condition or the element
        number may have made different."""
        if not any(i.sig == modes.SIG_BRANCH and i.reg for i in self.instrs):
            return []

        def step(i: int, doubt: int) -> int:
            written = self.events[i] >> EVENTS["write_file"].offset & 0xFFFFFFFF
            instr = self.instrs[i]
            by_element = instr.sig == modes.SIG_LDI and instr.load_kind in (1, 3)
            conditional = not instr.is_alu or instr.cond_add > 1 or instr.cond_mul > 1
            if instr.sig == modes.SIG_BRANCH:
                conditional = False
            elif instr.sig == modes.SIG_LDI:
                conditional = instr.cond_add > 1 or instr.cond_mul > 1
            differs = instr.is_alu and instr.raddr_a == 38
            if by_element or conditional or differs:
                return doubt | written
            return doubt & ~written

        before = self._solve(_E["write_file"], 0, 0, operator.or_, step)
        return [
            i
            for i, doubt in before.items()
            if self.instrs[i].sig == modes.SIG_BRANCH
            and self.instrs[i].reg
            and doubt >> self.instrs[i].raddr_a & 1
        ]

    def scoreboard_start(self) -> List[int]:
        return [i for i in self.reached[:2] if i < 2 and self.events[i] & _E["scoreboard"]]

    def r4_unread(self) -> List[int]:
        defines = _E["load_r4"] | _E["write_sfu"]
        if not any(bits & defines for bits in self.events):
            return []
        wanted: Set[int] = set()  # words before which r4 holds something that is still read
        before: Dict[int, List[int]] = {}
        for i in self.reached:
            for k in self.next[i]:
                before.setdefault(k, []).append(i)
        work = [i for i in self.reached if self.events[i] & _E["read_r4"]]
        while work:
            i = work.pop()
            if i in wanted:
                continue
            wanted.add(i)
            work += [k for k in before.get(i, ()) if not self.events[k] & defines]
        return [
            i
            for i in self.reached
            if self.events[i] & defines and not any(k in wanted for k in self.next[i])
        ]

    def padding(self) -> List[int]:
        return [len(self.instrs) - 1] if len(self.instrs) % LINE_WORDS else []

    def runs_off(self) -> List[int]:
        count = len(self.instrs)
        found = [i for i in self.reached if any(not 0 <= k < count for k in self.follow[i])]
        short = [i for i in self.reached if self.events[i] & _E["thrend"] and i + 2 >= count]
        return sorted(set(found + short))


def _widest(one: _Span, two: _Span) -> _Span:
    return min(one[0], two[0]), max(one[1], two[1])


_STRUCTURES: Dict[str, Callable[[_Checker], Sequence[int]]] = {
    "vpm_setup": lambda checker: checker._vectors["setup"],
    "vpm_reads": lambda checker: checker._vectors["reads"],
    "vpm_left": lambda checker: checker._vectors["left"],
    "texture_uniform": _Checker.texture_uniform,
    "branch_register": _Checker.branch_register,
    "tmu_depth": lambda checker: checker._lookups["depth"],
    "tmu_pop": lambda checker: checker._lookups["pop"],
    "tmu_left": lambda checker: checker._lookups["left"],
    "scoreboard_start": _Checker.scoreboard_start,
    "r4_unread": _Checker.r4_unread,
    "padding": _Checker.padding,
    "runs_off": _Checker.runs_off,
}
