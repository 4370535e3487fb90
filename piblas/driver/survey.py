"""What each memory backend answers on this board, for ``piblas doctor``."""

from __future__ import annotations

from typing import List, NamedTuple, Optional

from ..errors import DeviceError
from .mailbox import Mailbox
from .memory import BACKENDS, PAGE, MemoryBackend, WrongAlias, reason
from .soc import Board

__all__ = ["Surveyed", "survey"]


class Surveyed(NamedTuple):
    """What one backend answered: the bus address of a page, or why there is none."""

    name: str
    cached: bool
    bus: Optional[int]
    problem: Optional[str]
    wrong_alias: bool = False


def survey(board: Board, mailbox: Mailbox) -> List[Surveyed]:
    """Every backend, tried by a page."""
    rows = []
    for name, opener in BACKENDS:
        backend: Optional[MemoryBackend] = None
        try:
            backend = opener(board, mailbox)
            block = backend.take(PAGE)
            rows.append(Surveyed(name, backend.cached, block.bus, None))
            block.release()
        except (DeviceError, OSError) as error:
            wrong = isinstance(error, WrongAlias)
            rows.append(Surveyed(name, False, None, reason(name, error), wrong))
        finally:
            if backend is not None:
                backend.close()
    return rows
