"""What calls did: counters for ``piblas.stats`` and reports for ``piblas.profile``.

Both belong to the process, not to a thread: a profile collects the launches of every thread that
ran while it was open.
"""

from __future__ import annotations

import logging
import threading
from typing import Any, Dict, List

__all__ = ["Profile", "count", "log", "profile", "report", "reset_stats", "stats"]

log = logging.getLogger("piblas")

_lock = threading.Lock()
_counts: Dict[str, Dict[str, int]] = {}
_open: List["Profile"] = []


def count(backend: str, reason: str) -> None:
    with _lock:
        reasons = _counts.setdefault(backend, {})
        reasons[reason] = reasons.get(reason, 0) + 1


def stats() -> Dict[str, Dict[str, int]]:
    """How many calls ran where, and why: backend -> reason -> calls, since the process began."""
    with _lock:
        return {backend: dict(reasons) for backend, reasons in _counts.items()}


def reset_stats() -> None:
    """Set every counter of :func:`stats` back to zero."""
    with _lock:
        _counts.clear()


class Profile:
    """Collects one report for each launch while it is open, in order, in ``reports``."""

    def __init__(self) -> None:
        self.reports: List[Any] = []

    def __enter__(self) -> "Profile":
        with _lock:
            _open.append(self)
        return self

    def __exit__(self, *exc: object) -> None:
        with _lock:
            _open.remove(self)


def profile() -> Profile:
    """``with piblas.profile() as p:`` collects the ``RunReport`` of every launch in ``p.reports``.

    Each report carries the kernel's name as ``.kernel``.
    """
    return Profile()


def report(launch: Any) -> None:
    """Hand a launch's report to the open profiles."""
    with _lock:
        for each in _open:
            each.reports.append(launch)
