"""The roofline picture: the rate of the launches under what units and memory allow.

Horizontal roofs: the peak of the QPUs, and what these very instructions would reach if nothing ever
waited.  Slanted roofs: flops a byte times the rate of a path, for memory and for the port from L2
to the TMU caches, with the rates of the timing set.  Each path has its own point, at the flops that
it carried a byte for; all points share the rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import PiblasError
from . import pictures
from .figures import Figures
from .roofs import Roof, roofs

__all__ = ["draw"]


def draw(figures: Figures, path: Any) -> str:
    """Draw roofs and points into a file; returns its name."""
    if not figures.flop_rate or figures.peak_rate is None:
        raise PiblasError("no roofline: it needs the time and the flops of the launches")
    rate, peak = figures.flop_rate / 1e9, figures.peak_rate / 1e9
    paths = roofs(figures)
    points = [(each, (figures.flops or 0) / each.carried) for each in paths]
    corners = [peak * 1e9 / each.rate for each in paths]
    xs = [x for _, x in points] + corners or [1.0]
    left, right = min(xs) / 4, max(xs) * 4
    low = min([rate] + [left * each.rate / 1e9 for each in paths]) / 2
    made = pictures.figure(8.6, 5.6)
    axes = made.add_subplot()
    axes.set_xscale("log", base=2)
    axes.set_yscale("log", base=2)
    axes.set_xlim(left, right)
    axes.set_ylim(low, peak * 1.7)
    grid = np.geomspace(left, right, 200)
    axes.axhline(peak, color="black", linewidth=2, zorder=3)
    _label(axes, right, peak, f"peak of {figures.n_qpus} QPUs: {peak:.1f} GFLOPS", "black")
    if figures.issue_rate is not None:
        issue = figures.issue_rate / 1e9
        axes.axhline(issue, color=pictures.colour("issue"), linewidth=1.2, linestyle="--")
        below = peak / 1.2 < issue and rate < issue / 1.2
        text = f"these instructions without any wait: {issue:.2f} GFLOPS"
        _label(axes, right, issue, text, pictures.colour("issue"), below)
    for each, x in points:
        tone = pictures.colour(each.cause)
        line = np.minimum(grid * each.rate / 1e9, peak)
        axes.plot(grid, line, color=tone, linewidth=1.6, label=_name(each, figures))
        roof = min(x * each.rate / 1e9, peak)
        axes.plot([x, x], [rate, roof], color=tone, linewidth=1, linestyle=":")
        axes.plot([x], [rate], "o", color=tone, markersize=9, markeredgecolor="white")
        outer = x == max(xs[: len(points)])
        axes.annotate(
            each.name, (x, rate), xytext=(9 if outer else -9, -7), textcoords="offset points",
            ha="left" if outer else "right", va="top", fontsize=9.5, color=tone,
        )  # fmt: skip
    axes.axhline(rate, color="black", linewidth=0.9, linestyle=":")
    below = figures.issue_rate is not None and figures.issue_rate / 1e9 < 1.2 * rate
    _label(axes, right, rate, f"this run: {rate:.2f} GFLOPS", "black", below)
    _finish(made, axes, figures, bool(points))
    return pictures.save(made, path)


def _name(each: Roof, figures: Figures) -> str:
    flops = (figures.flops or 0) / each.carried
    return f"{each.name}: {flops:.2f} flops a byte, {each.text(figures.seconds or 1.0)}"


def _label(axes: Any, x: float, y: float, text: str, tone: str, below: bool = False) -> None:
    axes.annotate(
        text, (x, y), xytext=(-6, -4 if below else 4), textcoords="offset points", ha="right",
        va="top" if below else "bottom", fontsize=9, color=tone, zorder=4,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
    )  # fmt: skip


def _finish(made: Any, axes: Any, figures: Figures, legend: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    number = FuncFormatter(lambda value, _: f"{value:g}")
    axes.xaxis.set_major_formatter(number)
    axes.yaxis.set_major_formatter(number)
    axes.grid(True, which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.set_xlabel(f"{figures.flops_kind} flops a byte on the path")
    axes.set_ylabel(f"{figures.origin} GFLOPS")
    title = f"{figures.title}: roofline" if figures.title else "Roofline"
    made.suptitle(title, fontsize=13, weight="bold")
    axes.set_title(f"{figures.how}; kernel {', '.join(figures.kernels)}", fontsize=9.5)
    if legend:
        axes.legend(loc="lower right", fontsize=9, framealpha=1)
