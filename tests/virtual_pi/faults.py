"""The trace of system calls, and what is to go wrong in it.

``Faults.enter`` is told of every call before it is carried out.  A rule names a call (the text in
the trace, or a part of it), says which one of those (the nth, or the one at a place in the trace),
and what happens: an error number; a signal sent to the caller before the call goes on; a launch
that hangs, or that the firmware claims to have done.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, List, NamedTuple, Optional

__all__ = ["Call", "Fault", "Faults"]


class Call(NamedTuple):
    name: str
    pid: int
    failed: int


@dataclass
class Fault:
    """The ``nth`` call (1, 2, ...; 0: all) that contains ``name``, or the call number ``at``.

    Accesses to registers do not count for ``at``.  ``error`` is raised; ``signal`` is sent to the
    caller; ``launch`` is "hang" or "nothing" for
    the launch that the call requests; a hanging one swallows ``requests`` more requests to the
    firmware before it ends (-1: never).
    """

    name: str = ""
    nth: int = 1
    at: Optional[int] = None
    error: int = 0
    signal: int = 0
    launch: str = ""
    requests: int = 0
    seen: int = 0
    hits: int = 0


class Faults:
    def __init__(self) -> None:
        self.calls: List[Call] = []
        self._places = 0
        self.rules: List[Fault] = []

    def add(self, *args: Any, **kwargs: Any) -> Fault:
        """A new rule; see :class:`Fault`."""
        rule = Fault(*args, **kwargs)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Forget rules and trace."""
        self.calls, self.rules, self._places = [], [], 0

    def names(self) -> List[str]:
        return [call.name for call in self.calls]

    def enter(self, name: str, pid: int, kernel: Any = None) -> None:
        """A call begins; raises OSError if a rule says so."""
        access = name.startswith(("load(", "store("))  # cannot fail, and their number varies
        place, failed = self._places, 0
        self._places += not access
        for rule in self.rules:
            if rule.at is not None and access:
                continue
            if rule.at is not None:
                hit = rule.at == place
            elif rule.name in name:
                rule.seen += 1
                hit = rule.nth in (0, rule.seen)
            else:
                hit = False
            if not hit:
                continue
            rule.hits += 1
            if rule.launch and kernel is not None:
                kernel.firmware.next_launch = rule.launch
                kernel.firmware.hang_requests = rule.requests
                kernel.v3d.hang = rule.launch == "hang" and name.startswith("store")
            if rule.signal:
                os.kill(pid, rule.signal)
            failed = failed or rule.error
        self.calls.append(Call(name, pid, failed))
        if failed:
            raise OSError(failed, name)
