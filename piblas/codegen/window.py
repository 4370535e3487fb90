"""Which events a word forbids in the three that follow it, carried from word to word."""

from __future__ import annotations

from typing import List, Sequence, Tuple

from ..isa.hazards import MAX_DISTANCE, forbidden
from .code import Line

__all__ = ["Window", "after", "head_of", "shortfall", "step", "union"]

Window = Tuple[int, int, int]
"""Events forbidden in the next word, the one after it, and the third."""


def union(one: Window, two: Window) -> Window:
    return one[0] | two[0], one[1] | two[1], one[2] | two[2]


def step(window: Window, events: int) -> Window:
    """The window after one more word."""
    ban = forbidden(events)
    return window[1] | ban[1], window[2] | ban[2], ban[3]


def after(window: Window, lines: Sequence[Line]) -> Window:
    for line in lines[-MAX_DISTANCE:]:
        window = step(window, line.events)
    return window


def head_of(done: Sequence[List[Line]], first: int) -> List[int]:
    """Events of the first words from a block on."""
    head: List[int] = []
    for lines in done[first:]:
        head += [line.events for line in lines[: MAX_DISTANCE - len(head)]]
        if len(head) >= MAX_DISTANCE:
            break
    return head


def shortfall(window: Window, head: Sequence[int]) -> int:
    """How many words must come in between so that ``head`` may follow."""
    for extra in range(MAX_DISTANCE):
        if not any(
            events & window[extra + d] for d, events in enumerate(head) if extra + d < MAX_DISTANCE
        ):
            return extra
    return MAX_DISTANCE
