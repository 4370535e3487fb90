"""The log of piblas, ``logging.getLogger("piblas")``, without importing :mod:`logging` before there
is something to say: that import takes longer on a small board than most calls."""

from __future__ import annotations

import sys
from typing import Any, List

__all__ = ["info", "warning"]


_loggers: List[Any] = []


def info(message: str, *values: Any) -> None:
    """Log what those who look for it may want to know."""
    # Whoever wants to see it has imported logging and asked for this level.
    if "logging" in sys.modules:
        if not _loggers:
            _loggers.append(sys.modules["logging"].getLogger("piblas"))
        if _loggers[0].isEnabledFor(20):
            _loggers[0].info(message, *values, stacklevel=2)


def warning(message: str, *values: Any) -> None:
    """Log what a user should know without asking."""
    import logging

    logging.getLogger("piblas").warning(message, *values, stacklevel=2)
