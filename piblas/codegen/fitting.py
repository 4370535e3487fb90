"""Bundles of operations as words: whether they fit, on which units, and the finished line."""

from __future__ import annotations

from typing import List, Sequence

from ..isa.hazards import excluded
from .code import Bundle, Line, fail
from .word import Need, Word

__all__ = ["grown_with", "line_of", "whole_word"]


def line_of(word: Word, bundles: Sequence[Bundle]) -> Line:
    events = 0
    wheres = {}
    for need in word.parts:
        events |= need.events
        wheres[need.op.where] = None
    comments = tuple([text for bundle in bundles for text in bundle.comments])
    return Line(word.instr(), events, tuple(wheres), comments)


def whole_word(bundle: Bundle) -> Word:
    """All operations of a bundle in a word; an error if they do not fit."""
    needs = [Need(op) for op in bundle.ops]
    for word in _ways(needs):
        return word
    fail("these operations do not fit into one word", bundle.where, bundle, _rule(needs))


def grown_with(word: Word, needs: Sequence[Need]) -> List[Word]:
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
    words = grown_with(Word(), needs)
    events = 0
    for need in needs:
        events |= need.events
    return [] if excluded(events) else words


def _rule(needs: Sequence[Need]) -> str:
    events = 0
    for need in needs:
        events |= need.events
    broken = excluded(events)
    return broken[0].id if broken else "H6"
