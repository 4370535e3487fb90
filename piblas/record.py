"""What calls did: counters and times for ``piblas.stats``, reports for ``piblas.profile``
(:mod:`piblas.profiler`).

Both belong to the process, not to a thread: a profile collects the launches of every thread that
ran while it was open.

A call is always counted; it is timed only while somebody asked for times (:data:`timing`), as
reading the clock twice takes as long as a small call.
"""

from __future__ import annotations

import itertools
import os
import threading
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Sequence, Tuple

__all__ = [
    "Profile", "Row", "Tally", "count", "on_timing", "report", "reset_stats", "rows",
    "set_timing", "tally",
]  # fmt: skip

_lock = threading.Lock()
_open: List["Profile"] = []
profiling = False
"""Whether a profile is open."""
timing = False
"""Whether calls are timed."""
_on_timing: List[Callable[[], None]] = []
_tallies: Dict[Tuple[str, str, str], "Tally"] = {}


class Row(NamedTuple):
    """Calls of a routine that ran on ``backend`` for ``reason``.

    ``timed`` of the ``calls`` took ``seconds`` together, from beginning to end, ``device`` of which
    are the launches' own report: simulated ones on the emulator, measured ones on a Pi.
    """

    routine: str
    backend: str
    reason: str
    calls: int
    timed: int
    seconds: float
    device: float


class Tally:
    """A counter for calls that cost no more than a microsecond themselves.

    ``next(tally.counter)`` counts a call: it takes some 20 ns and, being one call of C code, needs
    no lock.  Reading the count steps it as well; ``_read`` knows of those steps.
    """

    def __init__(self) -> None:
        self.counter: Iterator[int] = itertools.count()
        self._read = 0
        self.timed, self.seconds, self.device = 0, 0.0, 0.0

    def value(self) -> int:
        counted = next(self.counter) - self._read
        self._read += 1
        return counted

    def reset(self) -> None:
        self._read = next(self.counter) + 1
        self.timed, self.seconds, self.device = 0, 0.0, 0.0

    def time(self, seconds: float, launches: Sequence[Any] = ()) -> None:
        """Add the time of a call that was counted."""
        with _lock:
            self.timed += 1
            self.seconds += seconds
            self.device += sum(each.seconds or 0.0 for each in launches)


def tally(routine: str, backend: str, reason: str) -> Tally:
    """The tally whose counter counts calls of a routine on ``backend`` for ``reason``."""
    key = routine, backend, reason
    with _lock:
        if key not in _tallies:
            _tallies[key] = Tally()
        return _tallies[key]


def count(routine: str, backend: str, reason: str) -> None:
    """Count a call; where many are counted, :func:`tally` is asked once."""
    next(tally(routine, backend, reason).counter)


def rows() -> List[Row]:
    """What was counted since the process began, or since the last :func:`reset_stats`."""
    with _lock:
        found = [
            Row(*key, each.value(), each.timed, each.seconds, each.device)
            for key, each in _tallies.items()
        ]
    return [row for row in found if row.calls]


def reset_stats() -> None:
    """Set every counter and time of ``piblas.stats`` back to zero."""
    with _lock:
        for each in _tallies.values():
            each.reset()


def set_timing(wanted: bool) -> None:
    """Time calls from now on, or no longer."""
    global timing
    if timing != wanted:
        timing = wanted
        for call in _on_timing:
            call()


def on_timing(call: Callable[[], None]) -> None:
    """Have ``call`` made whenever :data:`timing` changes."""
    _on_timing.append(call)


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
