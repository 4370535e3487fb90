"""The speed of the Python interpreter, by a fixed loop in pure Python.

Times of the host's own work are given in runs of this loop, as that says more about another
computer than seconds do.
"""

from __future__ import annotations

from .step import best

__all__ = ["CALLS", "PER_CALL", "loop", "loop_seconds"]

CALLS = 1000
"""Function calls of one run of the loop."""

PER_CALL = 8.0
"""How many calls of the loop take as long as one of piblas's, with the work between calls.

``python -m bench host`` printed 8 to 9 (CPython 3.11, x86-64) when a call of BLAS made a thousand
function calls and more.  Now that it makes 40 to 200, with more of NumPy's work beside each, the
command prints about twice as much: 36 on a busy computer, where it prints 18 for the code of then.
Like other versions and computers, that is left to a routine's own factor.
"""


class _Room:
    def __init__(self) -> None:
        self.kept = {"first": 1, "second": 2}


def _step(room: _Room, number: int, name: str = "first") -> int:
    return room.kept.get(name, number)


def loop() -> int:
    """Calls a function with a keyword, which calls a method of a dict: :data:`CALLS` in all."""
    room, last = _Room(), 0
    for number in range(CALLS // 2):
        last = _step(room, number, name="second")
    return last


def loop_seconds(repeats: int = 20) -> float:
    """Seconds of the fastest of some runs of the loop."""
    return best(loop, repeats)
