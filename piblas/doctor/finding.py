"""What one check found."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple

__all__ = ["Check", "FAIL", "Finding", "INFO", "OK", "Outcome", "SKIP", "WARN"]

OK, INFO, WARN, FAIL, SKIP = "ok", "info", "warn", "fail", "skip"
"""``warn``: the QPUs work, but slower or less surely; ``fail``: they do not; ``skip``: not tried,
because of another finding or because it does not apply."""


class Outcome(NamedTuple):
    """``found`` in a sentence, and what to do about it ("" where nothing is to be done)."""

    status: str
    found: str
    remedy: str = ""


class Finding(NamedTuple):
    """An outcome together with the check's name and why it matters."""

    check: str
    status: str
    found: str
    why: str
    remedy: str


class Check(NamedTuple):
    """A check: its name, why it matters, and a function of the examination so far."""

    name: str
    why: str
    run: Callable[[Any], Outcome]
