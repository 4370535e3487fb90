"""Where the clocks of a launch go: summary, hot instructions, pictures, trace files.

``with piblas.profile() as p:`` collects a report for each launch (:mod:`piblas.record`);
with ``detail=True`` the device also counts what every instruction cost and what every QPU did when.
From these reports come

- :mod:`.figures`: sums over launches, rates, and the flops that instructions stand for;
- :mod:`.tables`: the summary;
- :mod:`.hot`: blocks, source lines and instructions by their clocks, an annotated listing;
- :mod:`.roofs`: what the paths of the timing set can carry;
- :mod:`.roofline`, :mod:`.timeline`, :mod:`.heat`: pictures, drawn by matplotlib;
- :mod:`.trace`: a file for chrome://tracing and ui.perfetto.dev.

Figures of an emulated launch are called simulated and carry the name of their timing set.
"""

from __future__ import annotations

from .call import Profile, profile

__all__ = ["Profile", "profile"]
