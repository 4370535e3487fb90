"""What the pictures share: matplotlib, the colours of the causes, how to save.

The colours keep their difference for colour-blind readers (they follow the palette that Okabe and
Ito published), issue is the darkest and idle the lightest, so that a picture also reads in grey.
"""

from __future__ import annotations

import os
from typing import Any, Dict, Sequence

from ..driver import needs
from ..errors import PiblasError

__all__ = ["COLOURS", "colour", "figure", "label", "save", "stacked"]

FORMATS = (".png", ".svg", ".pdf")

COLOURS: Dict[str, str] = {
    "issue": "#0b4f6c",
    "tmu": "#e69f00",
    "l2_port": "#d55e00",
    "sdram": "#b2182b",
    "uniform": "#56b4e9",
    "vpm_read": "#a6d854",
    "dma": "#009e73",
    "mutex": "#cc79a7",
    "semaphore": "#7b5aa6",
    "icache": "#f0e442",
    "sfu": "#8c6d31",
    "idle": "#e4e4e4",
}
"""A colour for each cause, in the order in which pictures stack them."""

_OTHER = "#888888"
_SEEN = 0.0001


def colour(cause: str) -> str:
    """The colour of a cause."""
    return COLOURS.get(cause, _OTHER)


def stacked(causes: Sequence[str]) -> Sequence[str]:
    """Causes in the order of :data:`COLOURS`, others at the end but before idle."""
    known = list(COLOURS)
    return sorted(causes, key=lambda c: known.index(c) if c in known else len(known) - 1.5)


def label(cause: str, share: float) -> str:
    """A cause's entry in a legend; a leading underscore hides those of which nothing shows."""
    if share < _SEEN:
        return f"_{cause}"
    return f"{cause} {share:.1%}" if share >= 0.0005 else f"{cause} < 0.1%"


def figure(width: float, height: float) -> Any:
    """An empty figure of so many inches, without any window or global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PiblasError(
            f"pictures need matplotlib ({error}): {needs.extra('matplotlib', 'bench')}"
        ) from error
    made = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(made)
    return made


def save(made: Any, path: Any) -> str:
    """Write a figure; the name's ending chooses the format."""
    name = os.fspath(path)
    if os.path.splitext(name)[1].lower() not in FORMATS:
        raise PiblasError(f"{name}: a picture's name ends in {', '.join(FORMATS)}")
    folder = os.path.dirname(name)
    if folder:
        os.makedirs(folder, exist_ok=True)
    made.savefig(name, dpi=150, facecolor="white")
    return name
