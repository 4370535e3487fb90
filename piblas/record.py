"""What calls did: counters for ``piblas.stats`` and reports for ``piblas.profile``
(:mod:`piblas.profiler`).

Both belong to the process, not to a thread: a profile collects the launches of every thread that
ran while it was open.
"""

from __future__ import annotations

import itertools
import os
import threading
from typing import Any, Dict, List, Tuple

__all__ = ["Profile", "Tally", "count", "report", "reset_stats", "stats", "tally"]

_lock = threading.Lock()
_open: List["Profile"] = []
profiling = False
"""Whether a profile is open."""
_tallies: Dict[Tuple[str, str], "Tally"] = {}


class Tally:
    """A counter for calls that cost no more than a microsecond themselves.

    ``next(tally.counter)`` counts a call: it takes some 20 ns and, being one call of C code, needs
    no lock.  Reading the count steps it as well; ``_read`` knows of those steps.
    """

    def __init__(self) -> None:
        self.counter = itertools.count()
        self._read = 0

    def value(self) -> int:
        counted = next(self.counter) - self._read
        self._read += 1
        return counted

    def reset(self) -> None:
        self._read = next(self.counter) + 1


def tally(backend: str, reason: str) -> Tally:
    """The tally whose counter counts calls on ``backend`` for ``reason``."""
    key = backend, reason
    with _lock:
        if key not in _tallies:
            _tallies[key] = Tally()
        return _tallies[key]


def count(backend: str, reason: str) -> None:
    """Count a call; where many are counted, :func:`tally` is asked once."""
    next(tally(backend, reason).counter)


def stats() -> Dict[str, Dict[str, int]]:
    """How many calls ran where, and why: backend -> reason -> calls, since the process began."""
    with _lock:
        total: Dict[str, Dict[str, int]] = {}
        for (backend, reason), each in _tallies.items():
            calls = each.value()
            if calls:
                total.setdefault(backend, {})[reason] = calls
        return total


def reset_stats() -> None:
    """Set every counter of :func:`stats` back to zero."""
    with _lock:
        for each in _tallies.values():
            each.reset()


class Profile:
    """Collects one report for each launch while it is open, in order, in ``reports``."""

    def __init__(self) -> None:
        self.reports: List[Any] = []

    def __enter__(self) -> "Profile":
        global profiling
        with _lock:
            _open.append(self)
            profiling = True
        return self

    def __exit__(self, *exc: object) -> None:
        global profiling
        with _lock:
            _open.remove(self)
            profiling = bool(_open)


def report(*launches: Any) -> None:
    """Hand the reports of launches to the open profiles."""
    with _lock:
        for each in _open:
            each.reports.extend(launches)


def _after_fork() -> None:
    """In the child: a thread that held the lock is not here."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
