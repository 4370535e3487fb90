"""The picture of a program's words: clocks of each instruction, stacked by cause."""

from __future__ import annotations

from typing import Any, List

import numpy as np

from . import pictures
from .figures import Figures
from .hot import HotProgram

__all__ = ["draw"]

_WORD = 8
_LABEL_ROOM = 0.05
_LETTER = 0.0062
"""Shares of the picture's width that a source line and a letter of a label take."""

_PEAKS = 12
"""Bars that may get their source line."""


def draw(figures: Figures, hot: HotProgram, path: Any) -> str:
    """Draw one bar a word of a program into a file; returns its name."""
    last = int(hot.words[-1].index) if hot.program is None else hot.program.length - 1
    clocks = np.zeros((last + 1, len(hot.causes)))
    for word in hot.words:
        clocks[word.index] += word.clocks
    unit, scale = ("million", 1e6) if clocks.sum(axis=1).max() >= 1e7 else ("thousand", 1e3)
    clocks /= scale
    edges = np.arange(last + 2) - 0.5
    order = [c for c in pictures.stacked(hot.causes) if clocks[:, hot.causes.index(c)].any()]
    made = pictures.figure(11.5, 4.8)
    axes = made.add_subplot()
    low = np.zeros(last + 1)
    total = clocks.sum() or 1
    for cause in order:
        own = clocks[:, hot.causes.index(cause)]
        axes.stairs(
            low + own, edges, baseline=low, fill=True, color=pictures.colour(cause),
            label=pictures.label(cause, own.sum() / total), linewidth=0,
        )  # fmt: skip
        low = low + own
    axes.set_xlim(-0.5, last + 0.5)
    axes.set_ylim(0, 1.12 * low.max() or 1)
    _labels(axes, hot)
    _peaks(axes, hot, low)
    step = max(8, -(-last // 16) // 8 * 8)
    ticks = np.arange(0, last + 1, step)
    axes.set_xticks(ticks, [f"{_WORD * tick:03x}" for tick in ticks])
    axes.set_xlabel("address of the instruction, from the program's start")
    axes.set_ylabel(f"{unit} clocks, all QPUs")
    title = f"{figures.title}: cost of each instruction" if figures.title else hot.name
    made.suptitle(title, fontsize=13, weight="bold")
    axes.set_title(f"{figures.how}; kernel {hot.name}", fontsize=9.5, pad=18)
    made.legend(
        loc="outside lower center", ncols=min(len(order) or 1, 7), frameon=False, fontsize=9.5
    )
    return pictures.save(made, path)


def _labels(axes: Any, hot: HotProgram) -> None:
    """The program's labels above the bars; a name only where there is room for it."""
    if hot.program is None:
        return
    length, free = hot.program.length, 0.0
    for name, index in sorted(hot.program.labels.items(), key=lambda item: item[1]):
        axes.axvline(index - 0.5, color="#999999", linewidth=0.7, linestyle=":")
        room = length * _LETTER * (len(name) + 1)
        if index < free or index + room > 1.02 * length:
            continue
        free = index + room
        axes.annotate(
            name, (index - 0.5, 1.0), xycoords=("data", "axes fraction"), xytext=(0, 3),
            textcoords="offset points", fontsize=8, va="bottom",
        )  # fmt: skip


def _peaks(axes: Any, hot: HotProgram, heights: np.ndarray) -> None:
    """The generator's line at the highest bars, where no other name is near."""
    room = _LABEL_ROOM * len(heights)
    named: List[int] = []
    padded = np.concatenate([[0.0], heights, [0.0]])
    around = np.maximum(padded[:-2], padded[2:])
    for index in np.argsort(-heights, kind="stable")[:_PEAKS].tolist():
        source = hot.source(index)
        near = any(abs(index - other) < 1.4 * room for other in named)
        if source and heights[index] > 1.5 * around[index] and not near:
            named.append(index)
            axes.annotate(
                source, (index, heights[index]), xytext=(0, 3), textcoords="offset points",
                ha="center", va="bottom", fontsize=8.5,
            )  # fmt: skip
