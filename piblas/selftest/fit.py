"""Measured turns beside the emulator's, and the timing parameters that they imply.

The emulator's clocks a turn are stored for each timing set and V3D clock (``data/cycles.json``)
together with the change of each turn with each of its parameters.  A measured turn then gives one
parameter: calibrated value + (measured - predicted) / change.  One parameter is moved at a time, so
the figures are where to look first, not a joint fit.
"""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any, Dict, List, Mapping, NamedTuple, Optional

from ..isa import timing as tm
from . import benches
from .benches import BENCHES, Bench

__all__ = ["CLOCKS", "Fitted", "Measured", "fitted", "measure", "path", "predict", "predictions"]

CLOCKS = (250, 300, 400)
"""V3D clocks of the boards in MHz."""
_EMULATED_TURNS = (64, 192)
_FEW_TURNS = (2, 6)


class Measured(NamedTuple):
    """V3D clocks a turn: measured, how far repetitions scatter, and predicted by timing set;
    ``counters`` of a launch."""

    bench: str
    what: str
    clocks: float
    scatter: float
    predicted: Mapping[str, float]
    counters: Optional[Mapping[int, int]]
    problem: str = ""

    @property
    def noisy(self) -> bool:
        """Whether something disturbed so much that the figure says nothing."""
        return not self.problem and not 0 <= self.scatter < 0.2 * self.clocks

    @property
    def inside(self) -> Optional[bool]:
        """Whether the measurement lies in the range that the sets span, with 5 % to spare."""
        if not self.predicted or self.problem or self.noisy:
            return None
        low, high = min(self.predicted.values()), max(self.predicted.values())
        return 0.95 * low <= self.clocks <= 1.05 * high


class Fitted(NamedTuple):
    """A parameter: its three values, and the one that a bench implies (None: it shows none)."""

    parameter: str
    unit: str
    values: Any
    implied: Optional[float]
    bench: str


def _emulated_turns(row: Bench) -> Any:
    return _FEW_TURNS if row.turns < 1000 else _EMULATED_TURNS


def _device(timing: Any, mhz: int) -> Any:
    from ..driver import Emulator

    return Emulator(memory=8 << 20, timing=timing, clock_hz=1e6 * mhz)


def emulated(timing: Any, mhz: int, row: Bench) -> float:
    """Clocks a turn on the emulator."""
    with _device(timing, mhz) as device:
        seconds, _, _ = benches.per_turn(device, row, _emulated_turns(row))
    return round(seconds * 1e6 * mhz, 3)


def _step(row: tm.Row) -> int:
    """A change of a parameter that is large enough to show and stays in the model's range."""
    value = row.values[tm.SETS.index("calibrated")]
    if row.name in ("uniform_cache_lines", "l2_sets"):
        return -value // 2
    if row.name in ("icache_ahead",):
        return -1
    return max(2, value // 2) if value else 30


def predict(mhz: int = 250, rows: Any = BENCHES) -> Dict[str, Dict[str, Any]]:
    """What the emulator predicts at a clock: bench -> set -> clocks, and "change" of parameters."""
    table = {row.name: row for row in tm.ROWS}
    found: Dict[str, Dict[str, Any]] = {}
    for row in rows:
        entry: Dict[str, Any] = {
            name: emulated(tm.timing_set(name), mhz, row) for name in tm.SETS
        }
        entry["change"] = {}
        for parameter in row.parameters:
            base, step = tm.timing_set("calibrated"), _step(table[parameter])
            moved = dataclasses.replace(base, **{parameter: getattr(base, parameter) + step})
            change = (emulated(moved, mhz, row) - entry["calibrated"]) / step
            entry["change"][parameter] = round(change, 6)
        found[row.name] = entry
    return found


def path() -> str:
    """Where the predictions are stored."""
    return os.path.join(os.path.dirname(__file__), "data", "cycles.json")


def predictions(clock_hz: float) -> Dict[str, Dict[str, Any]]:
    """The stored predictions for the clock that is nearest."""
    with open(path(), encoding="ascii") as file:
        stored = json.load(file)
    return stored[str(min(CLOCKS, key=lambda mhz: abs(1e6 * mhz - clock_hz)))]


def measure(device: Any, row: Bench, repeats: int, quick: bool) -> Measured:
    """One bench on a device."""
    predicted = predictions(device.clock_hz).get(row.name, {})
    sets = {name: predicted[name] for name in tm.SETS if name in predicted}
    if device.name == "emulator":
        turns, repeats = _emulated_turns(row), 1
    else:
        longer = max(8, row.turns // 10) if quick else row.turns
        turns = (longer // 4, longer)
    try:
        seconds, scatter, report = benches.per_turn(device, row, turns, repeats)
    except Exception as error:  # a bench that fails is a finding, and the next may still tell
        problem = f"{type(error).__name__}: {error}"
        return Measured(row.name, row.what, 0.0, 0.0, sets, None, problem)
    clocks, scatter = seconds * device.clock_hz, scatter * device.clock_hz
    return Measured(row.name, row.what, clocks, scatter, sets, report.counters)


def fitted(rows: List[Measured], clock_hz: float) -> List[Fitted]:
    """What the measurements say about each parameter of the timing model."""
    stored, measured = predictions(clock_hz), {row.bench: row for row in rows}
    found = []
    for parameter in tm.ROWS:
        row = benches.ROWS_OF.get(parameter.name)
        implied = None
        one = measured.get(row.name) if row is not None else None
        if one is not None and not (one.problem or one.noisy):
            entry = stored[one.bench]
            change = entry["change"].get(parameter.name, 0.0)
            if abs(change) > 1e-9:
                value = parameter.values[tm.SETS.index("calibrated")]
                off = one.clocks - entry["calibrated"]
                implied = value + off / change
        name = row.name if row is not None else ""
        found.append(Fitted(parameter.name, parameter.unit, parameter.values, implied, name))
    return found
