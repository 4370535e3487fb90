"""Python's signal handlers held back while a launch is under way.

A handler that raises (Ctrl-C) between the launch and the note of its result would leave nobody
knowing whether QPUs still run on this memory.  Only the main thread runs handlers, so only there is
anything to hold back.
"""

from __future__ import annotations

import _signal as signal  # without the enum members that the public module makes of everything
import threading
from types import FrameType
from typing import Any, List, Optional, Tuple

__all__ = ["Deferred"]

_SIGNALS = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGALRM", "SIGUSR1", "SIGUSR2")
    if hasattr(signal, name)
)


class Deferred:
    """A block during which handlers wait; ``pending`` tells whether a signal has come.

    Of blocks inside each other the outermost holds the handlers back, and runs them at its end.
    """

    _outermost: Optional["Deferred"] = None
    """In the main thread, the only one that runs handlers."""

    def __init__(self) -> None:
        self._came: List[Tuple[int, Optional[FrameType]]] = []
        self._handlers: List[Tuple[int, Any]] = []

    @property
    def pending(self) -> bool:
        return bool(self._came)

    def _note(self, number: int, frame: Optional[FrameType]) -> None:
        self._came.append((number, frame))

    def __enter__(self) -> "Deferred":
        if threading.current_thread() is threading.main_thread():
            outer = Deferred._outermost
            if outer is not None:
                self._came = outer._came
                return self
            Deferred._outermost = self
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):
                    self._handlers.append((number, handler))
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        if Deferred._outermost is not self:
            return
        for number, handler in self._handlers:
            signal.signal(number, handler)
        Deferred._outermost = None
        handlers = dict(self._handlers)
        for number, frame in self._came:
            handlers[number](number, frame)
