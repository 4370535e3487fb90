"""What a launch is asked for in detail: costs of single instructions, and what QPUs did when."""

from __future__ import annotations

from typing import Mapping, NamedTuple, Tuple

import numpy as np

__all__ = ["Hot", "Timeline"]


class Hot(NamedTuple):
    """What the instructions of a launch cost: one row for each word that was executed.

    ``addresses`` are bus addresses, ascending; ``words`` the instructions there; ``issued`` counts
    how often all QPUs together issued one; ``stalls`` maps a cause to the clocks that QPUs spent on
    one, "issue" among the causes.  A wait counts for the instruction that had to wait.  Clocks
    that belong to no instruction ("idle") are missing.  ``starts`` holds the address of the first
    word of each QPU's program.
    """

    addresses: np.ndarray
    words: np.ndarray
    issued: np.ndarray
    stalls: Mapping[str, np.ndarray]
    starts: Tuple[int, ...]


class Timeline(NamedTuple):
    """What each QPU did when.

    ``clocks[qpu, bin, cause]`` are the clocks that a QPU spent on ``causes[cause]`` in the clocks
    ``bin * width`` to ``(bin + 1) * width`` of the launch; they add up to ``width``, in the last
    bin to what is left of the launch.

    A row of ``segments`` is a single longer wait: QPU, index of its cause, first clock, clock after
    the last, bus address of the instruction.  ``dropped`` longer waits found no room there.
    """

    width: int
    clocks: np.ndarray
    causes: Tuple[str, ...]
    segments: np.ndarray
    dropped: int = 0
