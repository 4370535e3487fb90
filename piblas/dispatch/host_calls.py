"""How many function calls a repeated call of a routine makes in the Python interpreter.

On a Pi these calls take as long as many a kernel.  ``host_calls.json`` holds counts, made by
``python -m bench host --update`` on a device whose launches return at once: by routine over a small
grid of its sizes, with operands that lie in device memory ("resident") and in ordinary memory
("staged"); where the CPU computes the call after dispatch has looked at it ("cpu"); and the calls
that the driver of a Pi makes for one launch ("launch").  A test fails when the counts are no longer
what the code needs.

Between the points of the grid the logarithm is interpolated along the logarithm of each size, and
beyond the last point it goes on as between the last two.
"""

from __future__ import annotations

import functools
import os
from typing import Any, Dict, Mapping

from .. import tables
from .predictions import interpolated

__all__ = ["PATH", "calls", "on_cpu", "per_launch", "stored"]

PATH = os.path.join(os.path.dirname(__file__), "host_calls.json")


@functools.lru_cache(maxsize=None)
def stored() -> Dict[str, Any]:
    """The file: "launch", and under "routines" by name the "axes", the lists "resident" and
    "staged", the last axis fastest, and the number "cpu"."""
    data: Dict[str, Any] = tables.load(PATH)
    return data


def calls(routine: str, sizes: Mapping[str, int], resident: bool) -> float:
    """Function calls around the launches of a repeated call on the QPUs; 0 if none are stored."""
    row = stored()["routines"].get(routine)
    if row is None:
        return 0.0
    return interpolated(row["axes"], row["resident" if resident else "staged"], sizes)


def on_cpu(routine: str) -> float:
    """Function calls of a repeated call that dispatch leaves to the CPU; 0 if none are stored."""
    row = stored()["routines"].get(routine)
    return 0.0 if row is None else float(row["cpu"])


def per_launch() -> float:
    """Function calls that the driver makes for one launch through the mailbox."""
    return float(stored()["launch"])
