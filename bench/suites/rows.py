"""A routine's row: simulated under the timing sets, or measured on a Pi, with what a reader needs.

The figures go into ``extra_info`` of pytest-benchmark's own JSON.  On the emulator the time that
pytest-benchmark takes is that of emulating, and no property of the chip: read ``cycles``.
"""

from __future__ import annotations

import contextlib
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple

import numpy as np

import piblas
from piblas.cli import calls as samples
from piblas.dispatch import boards
from piblas.dispatch.choose import Call, costs
from piblas.driver import Emulator, open_device
from piblas.host import arrays
from piblas.isa.timing import SETS, timing_set
from piblas.profiler.roofs import limit
from piblas.routines import ROUTINES

__all__ = ["CLOCK_HZ", "Simulated", "predicted", "row", "simulate"]

CLOCK_HZ = 250e6
PEAK = 24e9
"""Flops a second of 12 QPUs at that clock."""


class Simulated(NamedTuple):
    """Clocks of all launches of a call, how many there were, and its residual: the largest
    deviation from the CPU's result in float64, relative to its largest element.  ``written``: bytes
    of its results, if they are arrays."""

    cycles: int
    launches: int
    residual: float
    written: int


def _values(result: Any) -> List[np.ndarray]:
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(part, np.float64) for part in parts]


def _prepared(routine: str, sizes: Mapping[str, int], resident: bool, device: Any) -> Any:
    """A call of the routine that gives the same operands whenever it is made."""

    def place(value: np.ndarray) -> np.ndarray:
        return arrays.array(value, device=device) if resident else np.array(value, order="K")

    return samples.prepare(routine, getattr(piblas, routine), sizes, samples.Options(), place)


def _residual(result: Any, routine: str, sizes: Mapping[str, int]) -> float:
    """Beside the routine of double precision, on the same operands."""
    double = getattr(piblas, "idamax" if routine == "isamax" else f"d{routine[1:]}", None)
    if double is None or routine == "saxpby":
        return float("nan")

    def place(value: np.ndarray) -> np.ndarray:
        return np.array(value, np.float64, order="K")

    with piblas.use("cpu"):
        exact = samples.prepare(routine, double, sizes, samples.Options(), place)()
    worst = 0.0
    for got, want in zip(_values(result), _values(exact)):
        size = np.abs(want).max(initial=0.0) or 1.0
        worst = max(worst, float(np.abs(got - want).max(initial=0.0) / size))
    return worst


def simulate(
    routine: str, sizes: Mapping[str, int], resident: bool, timing: Any, memory: int = 128 << 20
) -> Simulated:
    """A call on an emulator of its own, so that nothing that ran before plays a part."""
    with Emulator(memory=memory, timing=timing, clock_hz=CLOCK_HZ) as device:
        with piblas.use(device), piblas.profile() as profile:
            result = _prepared(routine, sizes, resident, device)()
            residual = _residual(result, routine, sizes)
        cycles = sum(report.cycles or 0 for report in profile.reports)
        parts = result if isinstance(result, tuple) else (result,)
        written = sum(part.nbytes for part in parts if isinstance(part, np.ndarray))
        return Simulated(cycles, len(profile.reports), residual, written)


def predicted(routine: str, sizes: Mapping[str, int], resident: bool) -> Dict[str, Dict[str, Any]]:
    """Seconds of a repeated call from beginning to end, by board and processor."""
    made: Dict[str, Dict[str, Any]] = {}
    for name, board in boards.BOARDS.items():
        found = costs(Call(routine, sizes, resident), board)
        made[name] = {backend: cost.seconds for backend, cost in found.items()}
    return made


def _rates(routine: str, sizes: Mapping[str, int], seconds: float) -> Dict[str, float]:
    row_ = ROUTINES[routine]
    return {
        "gflops": row_.flops(**sizes) / seconds / 1e9,
        "gbytes_per_second": row_.staged(**sizes) / seconds / 1e9,
    }


def _share(
    routine: str, sizes: Mapping[str, int], seconds: float, written: int, timing: Any
) -> float:
    """Of the peak at level 3, else of what memory and engines can move: operands and results, each
    once."""
    row_ = ROUTINES[routine]
    if row_.level == 3:
        return row_.flops(**sizes) / seconds / PEAK
    _, least = limit(timing, CLOCK_HZ, row_.staged(**sizes) - written, written)
    return least / seconds


@contextlib.contextmanager
def _board() -> Iterator[Any]:
    with open_device("qpu") as device, piblas.use(device):
        yield device


def row(
    benchmark: Any, config: Any, routine: str, sizes: Mapping[str, int], resident: bool = True
) -> None:
    """Run a row and note its figures."""
    info = benchmark.extra_info
    info.update(routine=routine, sizes=dict(sizes), resident=resident)
    info["predicted_seconds"] = predicted(routine, sizes, resident)
    if config.getoption("--target") == "qpu":
        with _board() as device:
            call = _prepared(routine, sizes, resident, device)
            benchmark(call)
            info["source"] = "measured, end to end"
            if benchmark.stats:
                info["rates"] = _rates(routine, sizes, benchmark.stats.stats.median)
        return
    info["source"] = f"simulated at {CLOCK_HZ / 1e6:g} MHz, all launches, no host time"
    sets = config.getoption("--timing") or list(SETS)
    found: Dict[str, Any] = {}

    def all_sets() -> None:
        for name in sets:
            found[name] = simulate(routine, sizes, resident, timing_set(name))

    benchmark.pedantic(all_sets, rounds=1)
    info["cycles"] = {name: each.cycles for name, each in found.items()}
    info["launches"] = {name: each.launches for name, each in found.items()}
    info["residual"] = max(each.residual for each in found.values())
    for name, each in found.items():
        seconds = each.cycles / CLOCK_HZ
        rates = _rates(routine, sizes, seconds)
        rates["share_of_limit"] = _share(
            routine, sizes, seconds, each.written, timing_set(name)
        )
        info.setdefault("rates", {})[name] = rates
