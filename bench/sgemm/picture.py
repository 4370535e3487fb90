"""The picture of ``python -m bench sgemm``: a panel a part, of the parts that ran."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Tuple

import numpy as np

from piblas.profiler import pictures

from . import parts
from .runs import CLOCK_HZ, PEAK

__all__ = ["draw"]

Rows = List[Dict[str, Any]]

OURS, PACKED = "#0b4f6c", "#56b4e9"
RIVALS = {"qmkl": "#e69f00", "pyvideocore": "#cc79a7"}
NAMES = {"qmkl": "QMKL's strategy", "pyvideocore": "py-videocore's strategy"}
PAIRS = {"nn": "#0b4f6c", "nt": "#56b4e9", "tn": "#e69f00", "tt": "#cc79a7"}
OTHER_WORDS = "#7fa8b8"
GRID = dict(color="#dddddd", linewidth=0.8, zorder=0)


def _text(shape: Tuple[int, int, int]) -> str:
    m, n, k = shape
    return f"{m} x {k} x {n}"


def _of(rows: Rows, **wanted: Any) -> Rows:
    return [row for row in rows if all(row.get(key) == value for key, value in wanted.items())]


def _bar(axes: Any, at: float, rows: Rows, key: str, colour: str, name: str) -> None:
    """A bar for the set ``calibrated``, with the ends of the other sets."""
    if not rows:
        return
    by_set = {row["set"]: row[key] for row in rows}
    value = by_set["calibrated"]
    axes.bar(at, value, 0.19, color=colour, label=name, zorder=2)
    low, high = min(by_set.values()), max(by_set.values())
    axes.plot([at, at], [low, high], color="#222222", linewidth=1.4, zorder=3)
    axes.text(at, max(high, value) + 0.3, f"{value:.1f}", ha="center", fontsize=9)


def _rates(axes: Any, found: Dict[str, Rows]) -> None:
    """Rates of the kernel and with packing, and the rivals'."""
    ours = _of(found.get("rates", []), reading="memory")
    others = found.get("rivals", [])
    ours = ours or _of(others, what="piblas")
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in ours))
    for index, shape in enumerate(shapes):
        own = _of(ours, shape=shape)
        name = "_" if index else ""
        _bar(axes, index - 0.3, own, "rate", OURS, f"{name}piblas, kernel alone")
        _bar(axes, index - 0.1, own, "packed_rate", PACKED, f"{name}piblas, packing included")
        for step, (rival, colour) in enumerate(RIVALS.items()):
            best = _of(others, shape=shape, what=rival, variant="at its best")
            _bar(axes, index + 0.1 + 0.2 * step, best, "rate", colour, f"{name}{NAMES[rival]}")
        bar = parts.TABLE.get(shape)
        if bar:
            axes.plot([index - 0.42, index - 0.2], [bar[0]] * 2, color="#b2182b", lw=1.5, ls="--")
            axes.text(index - 0.44, bar[0], f"bar {bar[0]}", ha="right", va="center", fontsize=8)
    axes.axhline(PEAK, color="#444444", linewidth=1)
    axes.text(len(shapes) - 0.5, PEAK + 0.2, "peak 24", ha="right", fontsize=9)
    axes.set_xticks(range(len(shapes)), [_text(shape) for shape in shapes])
    axes.set_xlim(-0.75, len(shapes) - 0.48)
    axes.set_ylim(0, PEAK * 1.3)
    axes.set_ylabel("GFLOPS")
    axes.set_title("Rates; bars: calibrated, lines: pessimistic to optimistic", fontsize=11)
    axes.legend(fontsize=8.5, ncols=2, loc="upper left", frameon=False)


def _losses(axes: Any, found: Dict[str, Rows]) -> None:
    """What clocks x QPUs went to."""
    lines: List[Tuple[str, Dict[str, float]]] = []
    for row in _of(found.get("rates", []), reading="memory"):
        lines.append((f"{_text(row['shape'])}\n{row['set']}", row["lost"]))
    for row in _of(found.get("rivals", []), variant="at its best", set="calibrated"):
        lines.append((f"{_text(row['shape'])}\n{row['what']}", row["lost"]))
    shown: Dict[str, float] = {}
    for at, (_, lost) in enumerate(lines):
        useful = 1 - sum(lost.values())
        left = useful
        axes.barh(at, useful, color=OURS, zorder=2)
        axes.text(useful / 2, at, f"{useful:.0%}", color="white", ha="center", va="center")
        for why in ["other words", *pictures.stacked([w for w in lost if w != "other words"])]:
            share = lost.get(why, 0.0)
            colour = OTHER_WORDS if why == "other words" else pictures.colour(why)
            axes.barh(at, share, left=left, color=colour, zorder=2)
            left += share
            shown[why] = max(shown.get(why, 0.0), share)
    axes.bar(0, 0, color=OURS, label="useful multiply-adds")
    for why, share in shown.items():
        if share >= 0.005:
            colour = OTHER_WORDS if why == "other words" else pictures.colour(why)
            axes.bar(0, 0, color=colour, label=why)
    axes.set_yticks(range(len(lines)), [name for name, _ in lines], fontsize=8.5)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
    axes.set_title("Where clocks x QPUs go", fontsize=11)
    below = dict(loc="upper center", bbox_to_anchor=(0.5, -0.06))
    axes.legend(fontsize=8.5, ncols=4, frameon=False, **below)


def _trans(axes: Any, found: Dict[str, Rows]) -> None:
    """Transposes, odd sizes."""
    rows = found["trans"]
    shapes = list(dict.fromkeys(tuple(row["shape"]) for row in rows))
    for step, (pair, colour) in enumerate(PAIRS.items()):
        own = _of(rows, pair=pair)
        at = [shapes.index(tuple(row["shape"])) - 0.3 + 0.2 * step for row in own]
        axes.bar(at, [100 * row["share"] for row in own], 0.18, color=colour, label=pair, zorder=2)
    axes.axhline(100 * parts.TRANS_BAR, color="#b2182b", linewidth=1.5, linestyle="--", zorder=3)
    end = len(shapes) - 0.55
    axes.text(end, 100 * parts.TRANS_BAR + 1, "bar", color="#b2182b", fontsize=9, ha="right")
    axes.set_xlim(-0.5, len(shapes) - 0.5)
    names = [_text(shape) for shape in shapes]
    axes.set_xticks(range(len(shapes)), names, rotation=18, fontsize=8.5)
    axes.set_ylim(0, 125)
    axes.set_ylabel("% of the aligned NN cube of that volume")
    axes.set_title("Transposes and odd sizes, packing included, calibrated", fontsize=11)
    axes.legend(fontsize=8.5, ncols=4, loc="upper left", frameon=False)


def _shapes(axes: Any, found: Dict[str, Rows]) -> None:
    """Sampled shapes against the next larger aligned ones."""
    rows = found["shapes"]
    flops = [2 * float(np.prod(row["shape"], dtype=float)) for row in rows]
    ratios = [row["ratio"] for row in rows]
    axes.scatter(flops, ratios, s=16, color=OURS, alpha=0.8, zorder=2)
    axes.axhline(1, color="#888888", linewidth=1)
    axes.axhline(parts.SHAPE_BAR, color="#b2182b", linewidth=1.5, linestyle="--")
    axes.text(min(flops), parts.SHAPE_BAR + 0.02, "bar", color="#b2182b", fontsize=9)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.35)
    axes.set_xlabel("flops of the shape")
    axes.set_ylabel("clocks / clocks of the aligned shape")
    axes.set_title(
        f"{len(rows)} shapes against sides rounded up to 16, 32, ..., calibrated", fontsize=11
    )


def draw(found: Dict[str, Rows], path: str) -> None:
    """Write the panels of the parts in ``found`` to a file."""
    panels: List[Callable[[Any, Dict[str, Rows]], None]] = []
    if "rates" in found or "rivals" in found:
        panels += [_rates, _losses]
    panels += [panel for name, panel in (("trans", _trans), ("shapes", _shapes)) if name in found]
    high = -(-len(panels) // 2)
    figure = pictures.figure(14, 5.2 * high + 0.4)
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(high, min(2, len(panels)), number)
        axes.grid(axis={_shapes: "both", _losses: "x"}.get(panel, "y"), **GRID)
        axes.set_axisbelow(True)
        panel(axes, found)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.suptitle(f"sgemm on 12 QPUs, simulated at {CLOCK_HZ / 1e6:g} MHz", fontsize=13)
    pictures.save(figure, path)
