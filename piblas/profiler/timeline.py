"""The timeline picture: one lane a QPU, its height filled by what the QPU's clocks went to."""

from __future__ import annotations

from typing import Any, List, Tuple

import numpy as np

from ..driver.detail import Timeline
from ..errors import PiblasError
from . import pictures
from .figures import Figures

__all__ = ["draw", "lanes"]

_PER_SLICE = 4


def lanes(figures: Figures) -> Tuple[np.ndarray, np.ndarray, Tuple[str, ...]]:
    """(edges of the bins in clocks, clocks[qpu, bin, cause], causes), launches one after another.

    The time between launches is not part of a report, so launches follow each other without a gap.
    """
    parts: List[np.ndarray] = []
    edges: List[np.ndarray] = [np.zeros(1)]
    causes: Tuple[str, ...] = ()
    for report in figures.reports:
        timeline: Any = report.timeline
        if not isinstance(timeline, Timeline):
            raise PiblasError(
                "no timeline: profile with detail=True on an emulator that has its clock on"
            )
        causes = causes or timeline.causes
        clocks = np.zeros((figures.n_qpus, timeline.clocks.shape[1], len(causes)))
        clocks[: len(timeline.clocks)] = timeline.clocks
        if len(timeline.clocks) < figures.n_qpus:
            own = timeline.clocks[0].sum(axis=1)
            clocks[len(timeline.clocks) :, :, causes.index("idle")] = own
        parts.append(clocks)
        edges.append(edges[-1][-1] + np.cumsum(timeline.clocks[0].sum(axis=1)))
    return np.concatenate(edges), np.concatenate(parts, axis=1), causes


def _unit(seconds: float) -> Tuple[str, float]:
    return ("us", 1e6) if seconds < 2e-3 else ("ms", 1e3) if seconds < 2 else ("s", 1.0)


def draw(figures: Figures, path: Any) -> str:
    """Draw the lanes of all QPUs into a file; returns its name."""
    edges, clocks, causes = lanes(figures)
    clock_hz = figures.clock_hz or 1.0
    unit, scale = _unit(edges[-1] / clock_hz)
    times = edges / clock_hz * scale
    made = pictures.figure(11.5, 1.9 + 0.42 * figures.n_qpus)
    axes = made.add_subplot()
    shares = clocks / np.maximum(clocks.sum(axis=2, keepdims=True), 1)
    order = [cause for cause in pictures.stacked(causes) if clocks[:, :, causes.index(cause)].any()]
    height = 0.86
    for qpu in range(figures.n_qpus):
        low = np.full(len(times) - 1, qpu + height / 2)  # QPU 0 is at the top: up is smaller
        for cause in order:
            high = low - height * shares[qpu, :, causes.index(cause)]
            axes.stairs(
                high, times, baseline=low, fill=True, color=pictures.colour(cause), linewidth=0,
                rasterized=True,  # as shapes they would take megabytes
            )  # fmt: skip
            low = high
        if qpu and qpu % _PER_SLICE == 0:
            axes.axhline(qpu - 0.5, color="black", linewidth=0.8)
        total = clocks[qpu].sum() or 1
        issue = clocks[qpu, :, causes.index("issue")].sum() / total
        axes.annotate(
            f"{issue:.0%}", (1.006, qpu), xycoords=("axes fraction", "data"), va="center",
            fontsize=9,
        )  # fmt: skip
    axes.annotate("issue", (1.006, -0.85), xycoords=("axes fraction", "data"), fontsize=9)
    axes.set_xlim(0, times[-1])
    axes.set_ylim(figures.n_qpus - 0.5, -0.5)
    axes.set_yticks(range(figures.n_qpus), [f"QPU {qpu}" for qpu in range(figures.n_qpus)])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"{figures.origin} time, {unit}")
    title = f"{figures.title}: what each QPU did" if figures.title else "What each QPU did"
    made.suptitle(title, fontsize=13, weight="bold")
    axes.set_title(f"{figures.how}; kernel {', '.join(figures.kernels)}", fontsize=9.5)
    _legend(made, order, clocks, causes)
    return pictures.save(made, path)


def _legend(made: Any, order: Any, clocks: np.ndarray, causes: Tuple[str, ...]) -> None:
    from matplotlib.patches import Patch

    total = clocks.sum() or 1
    labels = {
        cause: pictures.label(cause, clocks[:, :, causes.index(cause)].sum() / total)
        for cause in order
    }
    handles = [
        Patch(facecolor=pictures.colour(cause), label=label)
        for cause, label in labels.items()
        if not label.startswith("_")
    ]
    made.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 7), frameon=False,
        fontsize=9.5,
    )  # fmt: skip
