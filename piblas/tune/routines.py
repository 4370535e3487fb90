"""Routines at some sizes: how far off the cost model is, and from which size on the QPUs win.

On a board each call is timed on both processors.  What the QPUs took (``RunReport.seconds``)
beside the stored prediction gives a factor for the kernel, what the call took beside that one for
staging, and the CPU's time one for the CPU: geometric means over the sizes
(:class:`piblas.dispatch.boards.Factors`).  On the emulator only the kernel is known, simulated.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional

from .. import record
from ..blas import functions
from ..dispatch import choose, devices, predictions
from ..dispatch.boards import Board, Factors
from ..dispatch.choose import Call
from ..dispatch.tuned import ROUTINES as SECTION
from ..errors import PiblasError
from ..routines import ROUTINES
from .step import Bench, Step, best

__all__ = ["STEP", "crossover"]

SIZES = {1: (1024, 16384, 262144), 2: (64, 256, 1024), 3: (64, 128, 256, 512)}
QUICK_SIZES = {1: (1024, 65536), 2: (64, 512), 3: (64, 192)}
LARGEST = {1: 1 << 24, 2: 4096, 3: 4096}
"""Up to where a crossover is looked for: what fits into a board's memory."""
SHORTEST = 1e-6
"""Seconds below which a difference of two measured times says nothing."""


def _sizes(routine: str, n: int) -> Dict[str, int]:
    """All sizes n, but n / 8 diagonals at each side of a band's main one."""
    row = ROUTINES[routine]
    band = ("k", "kl", "ku") if row.level == 2 else ()
    return {name: n // 8 if name in band else n for name in row.sizes}


def _model(board: Board, routine: str, sizes: Dict[str, int]) -> Dict[str, float]:
    """The cost model's seconds by part, before factors."""
    plain = board._replace(factors={})
    kernel = predictions.seconds(routine, board.clock, sizes)
    launching = board.launch * predictions.launches(routine, sizes)
    seconds = choose.predict(Call(routine, sizes), plain)
    return {
        "kernel": kernel or 0.0,
        "staging": seconds["qpu"] - launching - (kernel or 0.0) if "qpu" in seconds else 0.0,
        "cpu": seconds["cpu"] - board.call,
    }


def _one(at: Bench, routine: str, n: int) -> Optional[Dict[str, Any]]:
    """A routine at one size: seconds, and the model's; None where the QPUs have nothing to do."""
    sizes, function = _sizes(routine, n), functions.function(routine)
    call = at.prepare(routine, function, sizes)
    row: Dict[str, Any] = {"n": n, "model": _model(at.board, routine, sizes)}
    with devices.use(at.device):
        if not at.simulated:
            call()  # loads the program and takes its memory
        with record.Profile() as profile:
            row["call"] = best(call, 1 if at.simulated else 3)
    if not profile.reports:
        return None
    share = len(profile.reports) // (1 if at.simulated else 3) or 1
    ends = range(share, len(profile.reports) + 1, share)
    row["launches"] = share
    row["kernel"] = min(sum(one.seconds for one in profile.reports[e - share : e]) for e in ends)
    if at.simulated:
        del row["call"]  # how long the emulator took is nobody's business
        return row
    with devices.use("cpu"):
        row["cpu"] = best(call, 3)
    return row


def _factor(ratios: List[float]) -> Optional[float]:
    if not ratios:
        return None
    return round(math.exp(sum(map(math.log, ratios)) / len(ratios)), 4)


def _factors(rows: List[Dict[str, Any]], board: Board) -> Dict[str, Optional[float]]:
    """Measured time by the model's, where both are long enough to say something."""
    ratios: Dict[str, List[float]] = {name: [] for name in Factors._fields}
    for row in rows:
        measured = {"kernel": row["kernel"]}
        if "call" in row:
            # A report's seconds begin and end with the launch call, so they hold the launch.
            measured["kernel"] -= row["launches"] * board.launch
            measured["staging"] = row["call"] - row["kernel"]
            measured["cpu"] = row["cpu"] - board.call
        for name, seconds in measured.items():
            if seconds > SHORTEST and row["model"][name] > SHORTEST:
                ratios[name].append(seconds / row["model"][name])
    return {name: _factor(found) for name, found in ratios.items()}


def crossover(routine: str, board: Board, resident: bool = False) -> Optional[int]:
    """The smallest n from which on a call with all sizes n is predicted faster on the QPUs; None
    where there is none."""

    def wins(n: int) -> bool:
        seconds = choose.predict(Call(routine, _sizes(routine, n), resident), board)
        return seconds.get("qpu", math.inf) < seconds["cpu"]

    low, high = 0, LARGEST[ROUTINES[routine].level]
    if not wins(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if wins(middle) else (middle, high)
    return high


def _run(at: Bench) -> Dict[str, Any]:
    found: Dict[str, Any] = {}
    for routine in at.routines:
        level = ROUTINES[routine].level
        rows: List[Dict[str, Any]] = []
        entry: Dict[str, Any] = {"problem": ""}
        for n in (QUICK_SIZES if at.quick else SIZES)[level]:
            at.say(f"{routine}, {' '.join(ROUTINES[routine].sizes)} = {n}")
            try:
                one = _one(at, routine, n)
            except PiblasError as error:
                entry["problem"] = f"n = {n}: {error}"
                break
            if one is not None:
                rows.append(one)
        if not (rows or entry["problem"]):
            entry["problem"] = "did not run on the QPUs"
        entry.update(_factors(rows, at.board))
        own = {name: entry[name] for name in Factors._fields if entry[name] is not None}
        factors = {**at.board.factors, routine: Factors(**own)}
        board = at.board._replace(factors=factors)
        entry["crossover"] = crossover(routine, board)
        entry["crossover_resident"] = crossover(routine, board, resident=True)
        entry["rows"] = rows
        found[routine] = entry
    return found


def _problems(values: Dict[str, Any]) -> List[str]:
    return [f"{name}: {row['problem']}" for name, row in values.items() if row["problem"]]


def _rate(routine: str, n: int, seconds: float) -> str:
    row, sizes = ROUTINES[routine], _sizes(routine, n)
    if row.level == 3:
        return f"{row.flops(**sizes) / seconds / 1e9:.2f} GFLOPS"
    return f"{row.staged(**sizes) / seconds / 1e6:.0f} MB/s"


def _size(n: Optional[int]) -> str:
    return "never" if n is None else str(n)


def _text(values: Dict[str, Any], at: Bench) -> str:
    head = "simulated" if at.simulated else "measured"
    whose = "; the CPU's figures are published ones" if at.simulated else ""
    lines = [
        f"  {head} kernel time by the stored prediction's, the same of staging and CPU; rate of",
        "  the kernel at the largest size; smallest n where the QPUs win, operands in ordinary",
        "  memory and in GPU memory" + whose,
        f"  {'':8} {'kernel':>8} {'staging':>8} {'cpu':>8} {'rate':>15} {'n':>7} {'resident':>9}",
    ]
    for routine, row in values.items():
        factors = "".join(
            f" {'-' if row[name] is None else format(row[name], '.3f'):>8}"
            for name in Factors._fields
        )
        last = row["rows"][-1] if row["rows"] else None
        rate = _rate(routine, last["n"], last["kernel"]) if last else "-"
        lines.append(
            f"  {routine:8}{factors} {rate:>15} {_size(row['crossover']):>7} "
            f"{_size(row['crossover_resident']):>9}"
        )
    return "\n".join(lines)


STEP = Step(
    SECTION, "how far off the cost model is, by routine", ("qpu", "emulator"), _run, _text,
    _problems,
)  # fmt: skip
