"""Tables and progress in a terminal.

Progress goes to stderr, so that stdout holds results alone.  It is drawn by rich where that is
installed and stderr is a terminal; elsewhere it is a plain line after a second, and again with the
time that has passed from time to time.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from typing import Any, Callable, Iterator, Sequence

__all__ = ["follow_log", "progress", "table"]

PATIENCE = 1.0
AGAIN = 15.0


def table(rows: Sequence[Sequence[Any]], indent: str = "  ") -> str:
    """Rows as aligned columns."""
    texts = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts)]
    lines = ("  ".join(cell.ljust(w) for cell, w in zip(row, widths)).rstrip() for row in texts)
    return "\n".join(indent + line for line in lines)


@contextlib.contextmanager
def progress(what: str) -> Iterator[Callable[[str], None]]:
    """Say what is being done while it takes longer than a second; yields a function that says
    what comes next."""
    if sys.stderr.isatty():
        try:
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
        except ImportError:
            pass
        else:
            columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
            with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
                task = bar.add_task(what, total=None)
                yield lambda text: bar.update(task, description=text)
            return
    with _Lines(what) as lines:
        yield lines.say


class _Follow(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self.say = say

    def emit(self, record: logging.LogRecord) -> None:
        self.say(record.getMessage())


@contextlib.contextmanager
def follow_log(say: Callable[[str], None]) -> Iterator[None]:
    """Let progress say what the library logs, such as the compilation of the emulator."""
    log = logging.getLogger("piblas")
    handler, level = _Follow(say), log.level
    log.addHandler(handler)
    log.setLevel(min(level or logging.WARNING, logging.INFO))
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)


class _Lines:
    """Prints a text that nothing has replaced for a second, and again every ``AGAIN`` seconds."""

    def __init__(self, what: str) -> None:
        self._start(what)

    def _start(self, what: str) -> None:
        self._text = what
        self._since = time.monotonic()
        self._wait(PATIENCE)

    def _wait(self, seconds: float) -> None:
        self._timer = threading.Timer(seconds, self._print)
        self._timer.daemon = True
        self._timer.start()

    def _print(self) -> None:
        passed = time.monotonic() - self._since
        more = f" {passed:.0f} s" if passed > AGAIN else ""
        print(f"{self._text} ...{more}", file=sys.stderr)
        self._wait(AGAIN)

    def say(self, what: str) -> None:
        self._timer.cancel()
        self._start(what)

    def __enter__(self) -> "_Lines":
        return self

    def __exit__(self, *exc: object) -> None:
        self._timer.cancel()
