"""What the paths of a timing set can carry: the slanted roofs of the roofline, and the least time
in which bytes can be moved, which kernels of level 1 and 2 are held against."""

from __future__ import annotations

from typing import Any, Dict, List, NamedTuple, Tuple

from ..isa.timing import memory_rate
from .figures import Figures

__all__ = ["Roof", "least_seconds", "limit", "roofs"]

_LINE = 64
_TMUS = 6


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


def least_seconds(timing: Any, clock_hz: float, read: int, written: int) -> Dict[str, float]:
    """The time that each path takes at least to bring ``read`` bytes to the QPUs, each of them once
    in whole lines, and ``written`` bytes back.

    - "memory" carries both;
    - "loads": the six TMUs, which share the port from L2, together with the DMA load engine;
    - "stores": the DMA store engine.

    The starts of DMA transfers do not count, nor does any latency: no program is faster than this.
    """
    by_tmu = max(timing.l2_port_line, (timing.tmu_rate + timing.tmu_miss_block) / _TMUS)
    loads = 1 / (1 / by_tmu + 1 / timing.dma_load_row)
    return {
        "memory": (read + written) / memory_rate(timing),
        "loads": read * loads / _LINE / clock_hz,
        "stores": written * timing.dma_store_row / _LINE / clock_hz,
    }


def limit(timing: Any, clock_hz: float, read: int, written: int) -> Tuple[str, float]:
    """The slowest path of :func:`least_seconds`, and its time: the modelled limit of a routine
    that has to read and to write so many bytes."""
    paths = least_seconds(timing, clock_hz, read, written)
    slowest = max(paths, key=lambda path: paths[path])
    return slowest, paths[slowest]
