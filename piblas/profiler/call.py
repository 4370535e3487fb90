"""``with piblas.profile() as p:`` and what can be asked of ``p`` afterwards."""

from __future__ import annotations

import contextlib
from typing import Any, Dict, List, Optional

from .. import record
from ..driver import collect
from ..errors import PiblasError

__all__ = ["Profile", "profile"]


class Profile(record.Profile):
    """The launches that ran while it was open: ``reports``, and what follows from them.

    ``title`` and ``flops`` (the useful flops of the calls) may be set before anything is asked.
    Launches that no routine made, of programs of one's own, can be added to ``reports`` by hand::

        with piblas.profile(detail=True) as p:
            p.reports.append(device.execute(program, uniforms))
    """

    def __init__(self, detail: bool = False) -> None:
        super().__init__()
        self.title = ""
        self.flops: Optional[int] = None
        self._kinds = collect.KINDS if detail else ()
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "Profile":
        self._stack.enter_context(collect.collecting(*self._kinds))
        super().__enter__()
        return self

    def __exit__(self, *exc: object) -> None:
        super().__exit__(*exc)
        self._stack.close()

    # What needs a reader's patience is imported when it is asked for.

    @property
    def figures(self) -> Any:
        """Sums and rates over all launches (:class:`piblas.profiler.figures.Figures`)."""
        from .figures import Figures

        return Figures(self.reports, self.title, self.flops)

    @property
    def programs(self) -> List[Any]:
        """What each program's instructions cost, the costliest first; needs ``detail``."""
        from .hot import hot_programs

        programs = hot_programs(self.reports)
        if not programs:
            raise PiblasError(
                "no instruction was counted: profile with detail=True on an emulator that has its "
                "clock on"
            )
        return programs

    def facts(self) -> Dict[str, Any]:
        """The summary as plain values, for JSON."""
        facts: Dict[str, Any] = self.figures.facts()
        return facts

    def summary(self) -> str:
        """Where the clocks and bytes went, as text."""
        from . import tables

        figures = self.figures
        return tables.text(figures, tables.summary(figures))

    def __str__(self) -> str:
        return self.summary() if self.reports else "no launch ran on a device"

    def hot(self, limit: int = 15) -> str:
        """The costliest blocks, source lines and instructions, as text; needs ``detail``."""
        from . import hot, tables

        return "\n\n".join(
            tables.plain(table)
            for program in self.programs
            for table in hot.hot_tables(program, limit)
        )

    def listing(self) -> str:
        """Every program's listing with the cost of each instruction; needs ``detail``."""
        from .hot import annotated

        return "\n".join(annotated(program) for program in self.programs)

    def roofline(self, path: Any) -> str:
        """Draw the roofline to a .png, .svg or .pdf file; returns its name."""
        from . import roofline

        return roofline.draw(self.figures, path)

    def timeline(self, path: Any) -> str:
        """Draw what each QPU did when; needs ``detail``."""
        from . import timeline

        return timeline.draw(self.figures, path)

    def heat(self, path: Any) -> str:
        """Draw the cost of each instruction of the costliest program; needs ``detail``."""
        from . import heat

        return heat.draw(self.figures, self.programs[0], path)

    def trace(self, path: Any) -> str:
        """Write a file for chrome://tracing or ui.perfetto.dev; needs ``detail``."""
        from . import trace

        return trace.write(self.figures, path)


def profile(detail: bool = False) -> Profile:
    """``with piblas.profile() as p:`` collects the ``RunReport`` of every launch in ``p.reports``.

    Each report carries the kernel's name as ``.kernel``; ``print(p)`` sums up.  With ``detail`` the
    emulator also counts what each instruction cost and what each QPU did when, for ``p.hot()``,
    ``p.timeline("file.png")`` and so on; that makes the emulation slower and changes no result.
    """
    return Profile(detail)
