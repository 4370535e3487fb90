"""``piblas.stats``: how many calls ran where and why, and how long they took."""

from __future__ import annotations

import sys
from typing import Any, Dict, Optional, TextIO

from . import record

__all__ = ["Stats", "stats"]


class Stats:
    """How many calls ran where, and why: ``piblas.stats()`` gives backend -> reason -> calls, since
    the process began or since ``piblas.reset_stats()``.

    ``piblas.stats.by_routine()`` gives routine -> backend -> reason -> calls, where a product of
    NumPy's that ``piblas.patch`` has redirected is counted as "matmul" or "dot".
    ``piblas.stats.report()`` prints a table.  Calls are timed between ``piblas.stats.timing(True)``
    and ``timing(False)``, or within ``with piblas.stats.timing():``; without that they are only
    counted, since reading the clock would cost as much as a small call.
    """

    __module__ = "piblas"

    def __call__(self) -> Dict[str, Dict[str, int]]:
        total: Dict[str, Dict[str, int]] = {}
        for row in record.rows():
            reasons = total.setdefault(row.backend, {})
            reasons[row.reason] = reasons.get(row.reason, 0) + row.calls
        return total

    def by_routine(self) -> Dict[str, Dict[str, Dict[str, int]]]:
        """routine -> backend -> reason -> calls."""
        total: Dict[str, Dict[str, Dict[str, int]]] = {}
        for row in record.rows():
            total.setdefault(row.routine, {}).setdefault(row.backend, {})[row.reason] = row.calls
        return total

    def timing(self, wanted: bool = True) -> "_Timing":
        """Time calls from now on (or no longer); in a ``with`` statement, until its end."""
        return _Timing(wanted)

    def report(self, file: Optional[TextIO] = None) -> None:
        """Print a table to ``file`` (standard output): a line for each routine, backend and reason.

        "host ms" is the time of the timed calls (:meth:`timing`) from beginning to end, with
        checks, copies and launches; "QPU ms" is what the device reports for their launches: on a
        Pi the time they took, on the emulator the simulated time of the chip.
        """
        print(self.text(), file=sys.stdout if file is None else file)

    def text(self) -> str:
        """What :meth:`report` prints."""
        found = record.rows()
        if not found:
            return "piblas: no calls"
        found.sort(key=lambda row: (row.routine, row.backend, -row.calls))
        width = max(7, *(len(row.routine) for row in found))
        head = f"{'routine':{width}}  {'backend':8}  {'calls':>9}  {'host ms':>10}  {'QPU ms':>10}"
        lines = [f"{head}  reason"]
        for row in found:
            times = "".join(f"  {_milliseconds(row.timed, x):>10}" for x in row[5:7])
            untimed = row.calls - row.timed
            note = f" ({untimed} of the calls not timed)" if row.timed and untimed else ""
            lines.append(
                f"{row.routine:{width}}  {row.backend:8}  {row.calls:9}{times}  {row.reason}{note}"
            )
        if not any(row.timed for row in found):
            lines.append("Calls were not timed: piblas.stats.timing() does that.")
        return "\n".join(lines)

    def __repr__(self) -> str:
        return "<function piblas.stats>"

    def __reduce__(self) -> str:
        return "stats"


class _Timing:
    """Whether calls are timed; as it was before at the end of a ``with`` statement."""

    def __init__(self, wanted: bool) -> None:
        self._before = record.timing
        record.set_timing(wanted)

    def __enter__(self) -> "_Timing":
        return self

    def __exit__(self, *exc: Any) -> None:
        record.set_timing(self._before)


def _milliseconds(timed: int, seconds: float) -> str:
    return f"{1e3 * seconds:.3f}" if timed else "-"


stats = Stats()
