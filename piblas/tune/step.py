"""What a step of tuning is, and what it is given."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

from ..dispatch.boards import Board
from ..driver.device import Device

__all__ = ["Bench", "Step", "best"]


class Bench(NamedTuple):
    """What a step works on.

    - ``board``: its figures so far, those that earlier steps have measured included;
    - ``prepare(routine, function, sizes, place)``, given sizes by name, makes a call of
      ``function``, which has the signature of ``routine``, with its operands ready; ``place``, if
      it is not None, makes an operand of each array;
    - ``routines``: those to measure;
    - ``quick``: fewer and smaller sizes; ``say`` is told what comes next.
    """

    device: Device
    board: Board
    prepare: Callable[..., Callable[[], Any]]
    routines: Tuple[str, ...]
    quick: bool
    say: Callable[[str], None]

    @property
    def simulated(self) -> bool:
        return self.device.name == "emulator"


class Step(NamedTuple):
    """``run`` returns the values of the profile's section ``name``, ``text`` shows them.

    ``devices``: "qpu", "emulator", where the step says something; ``problems`` lists what went
    wrong, a line each.
    """

    name: str
    what: str
    devices: Tuple[str, ...]
    run: Callable[[Bench], Dict[str, Any]]
    text: Callable[[Dict[str, Any], Bench], str]
    problems: Callable[[Dict[str, Any]], List[str]] = lambda values: []
    board: Callable[[Board, Dict[str, Any]], Board] = lambda board, values: board


def best(call: Callable[[], Any], repeats: int) -> float:
    """Seconds of the fastest of some calls: what disturbs only adds."""
    times = []
    for _ in range(repeats):
        begin = time.perf_counter()
        call()
        times.append(time.perf_counter() - begin)
    return min(times)
