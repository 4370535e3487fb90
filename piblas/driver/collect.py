"""What devices should collect beside the plain counts: a wish of the whole process.

A profiler asks for "hot" (counts for each instruction) or "timeline" (what each QPU did when) while
it is open; a device that can serve the wish looks here when a launch begins.  Others ignore it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from typing import FrozenSet, Iterator, List

from ..errors import DeviceError

__all__ = ["KINDS", "collecting", "wanted"]

KINDS = ("hot", "timeline")

_lock = threading.Lock()
_wishes: List[FrozenSet[str]] = []


@contextlib.contextmanager
def collecting(*kinds: str) -> Iterator[None]:
    """Ask for some of :data:`KINDS` while the block runs; blocks may overlap."""
    for kind in kinds:
        if kind not in KINDS:
            raise DeviceError(f"nothing to collect is called {kind!r}: choose {', '.join(KINDS)}")
    wish = frozenset(kinds)
    with _lock:
        _wishes.append(wish)
    try:
        yield
    finally:
        with _lock:
            _wishes.remove(wish)


def wanted() -> FrozenSet[str]:
    """What somebody asks for now."""
    with _lock:
        return frozenset().union(*_wishes)


def _after_fork() -> None:
    """In the child: a thread that held the lock is not here."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
