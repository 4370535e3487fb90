"""A board's figures as ``piblas tune`` has measured them, in place of published ones.

Only what was measured on QPUs counts: figures of the emulator are what the cost model has anyway.
Figures that cannot be true are left out, and the log says so.
"""

from __future__ import annotations

import math
from typing import Any, Dict

from .. import log
from . import profiles
from .boards import Board, Factors

__all__ = ["FIGURES", "ROUTINES", "tuned", "with_factors", "with_figures"]

FIGURES, ROUTINES = "figures", "routines"
"""Sections of a profile: clock (MHz), copy and cached (MiB/s), cpu (GFLOPS), launch, call and
python (seconds) of the board; and by routine the kernel, staging, cpu and host of
:class:`~.boards.Factors`."""

_NAMES = ("clock", "copy", "cached", "cpu", "launch", "call", "python")


def _numbers(found: Any, names: Any) -> Dict[str, float]:
    """Those of ``names`` that are there; ValueError where one is no positive number."""
    if not isinstance(found, dict):
        raise ValueError(f"{found!r} holds no figures")
    made = {}
    for name in names:
        if found.get(name) is None:
            continue
        value = found[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError(f"{name} = {value!r} is no number")
        if not (value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} = {value!r} is not above 0")
        made[name] = float(value)
    return made


def with_figures(board: Board, found: Any) -> Board:
    """The board with the values of the section :data:`FIGURES`."""
    return board._replace(**_numbers(found, _NAMES), tuned=True)


def with_factors(board: Board, found: Any) -> Board:
    """The board with the values of the section :data:`ROUTINES`."""
    factors = {name: Factors(**_numbers(row, Factors._fields)) for name, row in found.items()}
    return board._replace(factors={**board.factors, **factors}, tuned=True)


def tuned(board: Board) -> Board:
    """The board with what its profile holds; the same where it has none."""
    sections = profiles.load(board.name, "qpu")
    try:
        made = board
        if FIGURES in sections:
            made = with_figures(made, sections[FIGURES])
        if ROUTINES in sections:
            made = with_factors(made, sections[ROUTINES])
        return made
    except (ValueError, TypeError, AttributeError) as error:
        log.warning("%s is left out: %s", profiles.path(board.name), error)
        return board
