"""Check finished words against every rule of :mod:`piblas.isa.hazards`.

Rules about words and about pairs of them are applied here, along the paths of
:mod:`~piblas.codegen.flow`; those about the whole program are in
:mod:`~piblas.codegen.structures`.  A word that is no instruction is an error where it can be
reached, and a warning elsewhere: data after a program does no harm.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Any, Dict, Iterable, List, Optional

from ..isa import hazards
from ..isa.disasm import to_text
from ..isa.hazards import (
    ERROR,
    MAX_DISTANCE,
    WARN,
    Distance,
    Rule,
    State,
    Structure,
    Word,
    collides,
    excluded,
    forbidden,
    mask,
)
from . import structures
from .code import fail
from .flow import Flow
from .program import Program

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


_STATE_RULES = tuple(rule for rule in hazards.RULES if isinstance(rule.form, State))
_STRUCTURE_RULES = tuple(rule for rule in hazards.RULES if isinstance(rule.form, Structure))
_WORD_RULES = tuple(rule for rule in hazards.RULES if isinstance(rule.form, Word))
_DISTANCE_RULES = tuple(rule for rule in hazards.RULES if isinstance(rule.form, Distance))
_WARN_DISTANCES = tuple(rule for rule in _DISTANCE_RULES if rule.level != ERROR)


class _Checker(Flow):
    def __init__(
        self, words: Iterable[Any], source_map: Dict[int, str], labels: Iterable[int]
    ) -> None:
        super().__init__(words, labels)
        self.source_map = source_map
        self.findings: List[Finding] = []
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
        before = self.solve(touching, 0, 0, operator.or_, step)
        for i, state in before.items():
            for n, (rule, _, clears, fault) in enumerate(rules):
                if state >> n & 1 and self.events[i] & fault and not self.events[i] & clears:
                    self.report(rule, i)

    # --- rules about the whole program ---------------------------------------------------------

    def _structures(self) -> None:
        broken = structures.broken(self)
        for rule in _STRUCTURE_RULES:
            assert isinstance(rule.form, Structure)
            found = broken[rule.form.check]
            for index in found:
                self.report(rule, index, found[index] if isinstance(found, dict) else "")
