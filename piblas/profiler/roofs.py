"""What the paths of a timing set can carry: the slanted roofs of the roofline."""

from __future__ import annotations

from typing import List, NamedTuple

from ..isa.timing import memory_rate
from .figures import Figures

__all__ = ["Roof", "roofs"]

_LINE = 64


class Roof(NamedTuple):
    """A path: its name, bytes carried, and bytes a second that it can carry at most."""

    name: str
    cause: str
    carried: int
    rate: float

    def text(self, seconds: float) -> str:
        """The rate carried over so many seconds, beside the limit."""
        carried = self.carried / seconds
        return f"{carried / 1e6:,.0f} of {self.rate / 1e6:,.0f} MB/s ({carried / self.rate:.0%})"


def roofs(figures: Figures) -> List[Roof]:
    """The paths whose traffic and rate are known."""
    timing, carried, clock_hz = figures.timing, figures.bytes, figures.clock_hz
    if timing is None or carried is None or clock_hz is None:
        return []
    paths = []
    if timing.l2_port_line:
        paths.append(
            Roof("L2", "l2_port", carried.get("l2", 0), _LINE * clock_hz / timing.l2_port_line)
        )
    memory = carried.get("sdram_read", 0) + carried.get("sdram_write", 0)
    paths.append(Roof("memory", "sdram", memory, memory_rate(timing)))
    return [path for path in paths if path.carried]
