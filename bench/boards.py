"""Predicted times of calls from beginning to end, QPUs beside the CPU, on every board.

    python -m bench boards                       a table, and from which size on the QPUs win
    python -m bench boards --board pi1           of one board, with the parts of each time
    python -m bench boards --png docs/boards.png a picture
    python -m bench boards --json                all of it for programs

Nothing here was measured on a board.  Kernels are simulated (timing set calibrated); what Python
does is counted here (python -m bench host) and timed by the board's published or derived speed;
launches, copies and the CPU's rates are published figures or derived from such
(piblas/dispatch/boards.py).  A time is that of a repeated call, with all that belongs to it:
checks, Python, launches, copies and results.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any, Dict, List, Optional, Sequence

from piblas.dispatch.boards import BOARDS, PYTHON, Board
from piblas.dispatch.choose import Call, Cost, costs
from piblas.routines import ROUTINES
from piblas.tune.routines import crossover

__all__ = ["SIZES", "draw", "main", "rows"]

SIZES: Dict[str, Sequence[int]] = {
    "saxpy": (1000, 100_000, 10_000_000),
    "sdot": (1000, 100_000, 10_000_000),
    "sgemv": (64, 256, 1024, 2048),
    "sgemm": (32, 64, 128, 256, 512, 1024),
    "strsm": (64, 256, 512, 1024),
}
"""Sizes of calls, all of a call's being the same."""

DRAWN = ("saxpy", "sgemv", "sgemm", "strsm")
DRAWN_BOARDS = ("pi0", "pi1", "pi2", "pi3-32", "pi3")
LINES = (
    ("cpu", "CPU", "#444444", (0, 0)),
    ("ordinary", "QPUs, operands in ordinary memory", "#e69f00", (-5, 6)),
    ("resident", "QPUs, operands in GPU memory", "#0b4f6c", (5, -11)),
)
"""Key, label, colour, and where the label of the size is from which on the QPUs win."""
RANGE = {1: (1e2, 1e7), 2: (16, 4096), 3: (16, 2048)}


def times(board: Board, routine: str, n: int) -> Dict[str, Optional[Cost]]:
    """The cost of a call on the CPU, and on the QPUs with "ordinary" and "resident" operands."""
    sizes = dict.fromkeys(ROUTINES[routine].sizes, n)
    found = {
        name: costs(Call(routine, sizes, resident), board)
        for name, resident in (("ordinary", False), ("resident", True))
    }
    return {
        "cpu": found["ordinary"]["cpu"],
        **{name: each.get("qpu") for name, each in found.items()},
    }


def rows(names: Sequence[str]) -> List[Dict[str, Any]]:
    """A row a board and routine: times by size, and the sizes from which on the QPUs win."""
    return [
        {
            "board": name,
            "routine": routine,
            "times": {n: times(BOARDS[name], routine, n) for n in sizes},
            "wins": {
                "ordinary": crossover(routine, BOARDS[name]),
                "resident": crossover(routine, BOARDS[name], resident=True),
            },
        }
        for name in names
        for routine, sizes in SIZES.items()
    ]


def _short(seconds: float) -> str:
    for unit, scale in (("s ", 1.0), ("ms", 1e-3)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-6:.3g} us"


def _wins(n: Optional[int]) -> str:
    return "never" if n is None else f"n >= {n:,}"


def _table(found: Sequence[Dict[str, Any]], parts: bool) -> str:
    lines = ["predicted seconds of a repeated call from beginning to end; nothing was measured", ""]
    lines.append(
        f"{'board':10}{'routine':8}{'n':>11}{'CPU':>11}{'QPUs':>11}{'resident':>11}"
        "   QPUs win: from ordinary, from GPU memory"
    )
    for row in found:
        for index, (n, each) in enumerate(row["times"].items()):
            wins = ", ".join(_wins(n) for n in row["wins"].values()) if not index else ""
            cells = "".join(
                f"{'-' if cost is None else _short(cost.seconds):>11}" for cost in each.values()
            )
            head = (row["board"], row["routine"]) if not index else ("", "")
            lines.append(f"{head[0]:10}{head[1]:8}{n:11,}{cells}   {wins}".rstrip())
            if parts:
                lines += [f"{'':29}{name}: {cost}" for name, cost in each.items()]
    return "\n".join(lines)


def _speeds(names: Sequence[str]) -> str:
    lines = ["", "seconds of a function call in Python, by processor"]
    used = {BOARDS[name].python for name in names}
    for processor, speed in PYTHON.items():
        if speed.seconds in used:
            lines.append(f"  {processor}: {1e6 * speed.seconds:g} us, {speed.confidence}")
            lines.append(f"    {speed.source}")
    return "\n".join(lines)


def _points(level: int) -> List[int]:
    low, high = RANGE[level]
    ratio = (high / low) ** (1 / 60)
    return sorted({round(low * ratio**step) for step in range(61)})


def _of(found: Dict[str, Optional[Cost]], key: str) -> Cost:
    cost = found[key]
    assert cost is not None, "every routine drawn has a prediction"
    return cost


def draw(path: str) -> None:
    """Write the picture: a panel a routine and board, time against size."""
    from piblas.profiler import pictures

    figure = pictures.figure(3.1 * len(DRAWN_BOARDS), 2.9 * len(DRAWN) + 1.4)
    places = figure.subplots(len(DRAWN), len(DRAWN_BOARDS), sharex="row", sharey="row")
    for across, routine in enumerate(DRAWN):
        points = _points(ROUTINES[routine].level)
        for down, name in enumerate(DRAWN_BOARDS):
            axes, board = places[across][down], BOARDS[name]
            found = [times(board, routine, n) for n in points]
            for key, label, colour, below in LINES:
                seconds = [1e3 * _of(each, key).seconds for each in found]
                # Wider below, so that both lines show where they are the same.
                width = 3.6 if key == "ordinary" else 1.6
                axes.plot(points, seconds, color=colour, label=label, linewidth=width)
                n = None if key == "cpu" else crossover(routine, board, key == "resident")
                if n is not None and points[0] <= n <= points[-1]:
                    at = n, 1e3 * _of(times(board, routine, n), key).seconds
                    axes.plot(*at, "o", color=colour, markersize=5)
                    axes.annotate(
                        f"{float(f'{n:.2g}'):,.0f}", at, textcoords="offset points", fontsize=8,
                        xytext=below, color=colour, ha="left" if below[0] > 0 else "right",
                    )  # fmt: skip
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.grid(color="#dddddd", linewidth=0.7)
            axes.set_axisbelow(True)
            for side in ("top", "right"):
                axes.spines[side].set_visible(False)
            if not across:
                axes.set_title(board.model.replace("Raspberry ", ""), fontsize=9.5)
            if not down:
                axes.set_ylabel(f"{routine}, ms")
            axes.set_xlabel("n", fontsize=8)
    handles, labels = places[0][0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=3, frameon=False, fontsize=10)
    figure.suptitle(
        "Predicted time of a repeated call from beginning to end, all sizes n; dots: from there on "
        "the QPUs win.\nKernels simulated (calibrated); Python, launches, copies and CPU by "
        "published or derived figures. Nothing was measured on a board.",
        fontsize=11,
    )
    figure.get_layout_engine().set(rect=(0, 0.035, 1, 0.965))
    pictures.save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench boards", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--board", choices=list(BOARDS), help="one board, with the parts of times")
    parser.add_argument("--png", metavar="FILE", help="write the picture")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    args = parser.parse_args()
    names = [args.board] if args.board else list(BOARDS)
    if args.png:
        draw(args.png)
        print(args.png)
        return 0
    found = rows(names)
    if args.json:
        for row in found:
            row["times"] = {
                n: {name: cost and cost._asdict() for name, cost in each.items()}
                for n, each in row["times"].items()
            }
        print(json.dumps({"python": {name: BOARDS[name].python for name in names}, "rows": found}))
        return 0
    print(_table(found, args.board is not None))
    print(_speeds(names))
    return 0


if __name__ == "__main__":
    sys.exit(main())
