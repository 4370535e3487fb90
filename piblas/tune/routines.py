"""Routines at some sizes: how far off the cost model is, and from which size on the QPUs win.

On a board each call is timed on both processors, on the QPUs with operands in device memory and in
ordinary memory.  Measured seconds by those of the model (:func:`piblas.dispatch.choose.costs`) give
a factor for each of its parts (:class:`piblas.dispatch.boards.Factors`), a geometric mean over the
sizes:

    kernel   what the launches took (``RunReport.seconds``), less what a launch takes
    host     the rest of a call whose operands lie in device memory, if nothing is copied there
    staging  the rest of other calls, less the host's part as it has just been found; of a routine
             that always copies, that rest by the model's, for host and staging alike
    cpu      the CPU's call, less what a small one takes

On the emulator only the kernel is known, and simulated.
"""

from __future__ import annotations

import math
from typing import Any, Dict, List, Optional

from .. import record
from ..blas import functions
from ..dispatch import choose, devices
from ..dispatch.boards import Board, Factors
from ..dispatch.choose import Call
from ..dispatch.tuned import ROUTINES as SECTION
from ..errors import PiblasError
from ..host import arrays
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


def _model(board: Board, routine: str, n: int, resident: bool) -> Dict[str, float]:
    """The cost model's seconds by factor, all factors being 1."""
    plain = board._replace(factors={})
    costs = choose.costs(Call(routine, _sizes(routine, n), resident), plain)
    if "qpu" not in costs:
        return dict.fromkeys(Factors._fields, 0.0)
    qpu = costs["qpu"]
    return {"kernel": qpu.kernel, "staging": qpu.copy, "host": qpu.host, "cpu": costs["cpu"].kernel}


def _one(at: Bench, routine: str, n: int, resident: bool) -> Optional[Dict[str, Any]]:
    """A routine at one size: seconds, and the model's; None where the QPUs have nothing to do.

    ``kernel`` are those of the launches, ``around`` those of the rest of the call.
    """
    function = functions.function(routine)
    place = (lambda array: arrays.array(array, device=at.device)) if resident else None
    call = at.prepare(routine, function, _sizes(routine, n), place)
    row: Dict[str, Any] = {
        "n": n, "resident": resident, "model": _model(at.board, routine, n, resident),
    }  # fmt: skip
    turns: List[Dict[str, Any]] = []
    with devices.use(at.device):
        if not at.simulated:
            call()  # loads the program and takes its memory
        for _ in range(1 if at.simulated else 5):
            with record.Profile() as profile:
                seconds = best(call, 1)
            if not profile.reports:
                return None
            kernel = sum(report.seconds for report in profile.reports)
            turns.append(
                {"launches": len(profile.reports), "kernel": kernel, "around": seconds - kernel}
            )
    for name in ("launches", "kernel", "around"):
        row[name] = min(turn[name] for turn in turns)
    if at.simulated:
        del row["around"]  # how long the emulator took is nobody's business
    elif not resident:
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

    def note(name: str, seconds: float, predicted: float) -> None:
        if seconds > SHORTEST and predicted > SHORTEST:
            ratios[name].append(seconds / predicted)

    for row in rows:
        launching = 0.0
        if "around" in row:
            # A report's seconds begin and end with the launch call, so they hold the launch.
            launching = row["launches"] * board.launch
        note("kernel", row["kernel"] - launching, row["model"]["kernel"])
        if "cpu" in row:
            note("cpu", row["cpu"] - board.call, row["model"]["cpu"])
    timed = [row for row in rows if "around" in row]
    copying = [row for row in timed if row["model"]["staging"]]
    for row in timed:
        if row not in copying:
            note("host", row["around"], row["model"]["host"])
    host = _factor(ratios["host"])
    for row in copying:
        own, copied = row["model"]["host"], row["model"]["staging"]
        if host is not None:
            note("staging", row["around"] - host * own, copied)
        else:
            for name in ("host", "staging"):
                note(name, row["around"], own + copied)
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
                # Resident ones have the emulator nothing to say that the others do not.
                for resident in (False,) if at.simulated else (True, False):
                    one = _one(at, routine, n, resident)
                    if one is not None:
                        rows.append(one)
            except PiblasError as error:
                entry["problem"] = f"n = {n}: {error}"
                break
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
        f"  {head} kernel time by the stored prediction's, the same of staging, CPU and host;",
        "  rate of the kernel at the largest size; smallest n where the QPUs win, operands in",
        "  ordinary memory and in GPU memory" + whose,
        "  " + f"{'':8}" + "".join(f" {name:>8}" for name in Factors._fields)
        + f" {'rate':>15} {'n':>7} {'resident':>9}",
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
