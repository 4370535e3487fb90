"""Simulated clocks of every kernel over sizes, for dispatch on a Pi.

``python -m bench predict [routine ...]`` simulates calls of all routines with a kernel, or of
these, under the timing set ``calibrated``, and writes piblas/dispatch/predictions.json.  To be run
when a kernel or the timing set has changed.  The calls are those of :mod:`piblas.cli.calls`.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import pathlib
import sys
from typing import Any, Dict, List, Mapping, NamedTuple, Tuple

import piblas
from piblas.cli import calls
from piblas.dispatch import predictions
from piblas.driver import Emulator
from piblas.isa.timing import timing_set
from piblas.routines import ROUTINES

__all__ = ["CLOCKS", "GRIDS", "Simulated", "axes", "fingerprint", "main", "simulate", "table"]

CLOCKS = (250, 300, 400)
KEYS = ("kernel", "programs", "axes", "launches")
GRIDS: Dict[Tuple[int, str], List[List[int]]] = {
    (1, "n"): [[64, 1024, 16384, 262144]],
    # Clocks rise in steps, where the tiles no longer come out even among the QPUs.
    (2, "n"): [[16, 32, 64, 96, 128, 192, 256, 384, 512, 576, 768, 1024, 1536, 2048]],
    (2, "m n"): [[16, 64, 128, 256, 512, 1024]] * 2,
    (2, "n k"): [[64, 128, 256, 512, 1024, 2048], [1, 4, 16, 32, 64, 128]],
    (2, "m n kl ku"): [[64, 128, 512, 1024]] * 2 + [[1, 4, 16]] * 2,
    (3, "m n"): [[16, 64, 192, 576]] * 2,
    (3, "n k"): [[16, 64, 192, 576]] * 2,
    (3, "m n k"): [[16, 64, 192, 384, 768], [16, 64, 192, 384, 768], [16, 128, 512]],
}
"""Points of a routine's axes by its level and the names of its sizes."""
RESIDENT = ("sgemm",)
"""Routines that take another way with operands in device memory, as the QPUs pack them."""
SOLVED = [256, 384, 512, 768, 1024, 1536, 2048]
"""Unknowns of strsv, stbsv and stpsv, of which the QPUs see no less than a block and one."""


def fingerprint() -> str:
    """A hash of the timing set's values."""
    values = json.dumps(dataclasses.asdict(timing_set("calibrated")), sort_keys=True)
    return _hash(values)


class _Recorder(Emulator):
    """An emulator that keeps a hash of each program that it loads."""

    def load(self, words: Any) -> Any:
        text = ",".join(f"{int(word):x}" for word in words)
        self.__dict__.setdefault("programs", []).append(_hash(text))
        return super().load(words)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class Simulated(NamedTuple):
    """What the launches of one call took, how many there were, and hashes of its programs."""

    clocks: int
    launches: int
    programs: List[str]


def simulate(
    routine: str, sizes: Mapping[str, int], mhz: int, resident: bool = False
) -> Simulated:
    """One call on a fresh emulator, its operands in ordinary memory or in the device's."""
    function, place = getattr(piblas, routine), piblas.array if resident else None
    with _Recorder(clock_hz=1e6 * mhz) as device, piblas.use(device):
        run = calls.prepare(routine, function, sizes, calls.Options(), place)
        with piblas.profile() as profile:
            run()
        reports = profile.reports
        return Simulated(sum(one.cycles for one in reports), len(reports), device.programs)


def axes(routine: str) -> Dict[str, List[int]]:
    """The points of a routine's grid by the names of its sizes."""
    row = ROUTINES[routine]
    points = list(GRIDS[row.level, " ".join(row.sizes)])
    if row.kernel == "trsv":
        points[0] = SOLVED
    return dict(zip(row.sizes, points))


def table(routine: str) -> Dict[str, Any]:
    """The entry of a routine."""
    grid = axes(routine)
    points = [dict(zip(grid, point)) for point in itertools.product(*grid.values())]
    programs = set()

    def way(resident: bool) -> Dict[str, Any]:
        calls_at = {
            mhz: [simulate(routine, point, mhz, resident) for point in points] for mhz in CLOCKS
        }
        programs.update(name for each in calls_at.values() for one in each for name in one.programs)
        return {
            "launches": [one.launches for one in calls_at[CLOCKS[0]]],
            "clocks": {str(mhz): [one.clocks for one in each] for mhz, each in calls_at.items()},
        }

    made = way(False)
    if routine in RESIDENT:
        made["resident"] = way(True)
    return {
        "kernel": ROUTINES[routine].kernel, "programs": sorted(programs), "axes": grid, **made,
    }  # fmt: skip


def _clocks(row: Mapping[str, Any], indent: str) -> List[str]:
    by_clock = [f'{indent} "{mhz}": {json.dumps(row["clocks"][mhz])}' for mhz in row["clocks"]]
    return [f'{indent}"clocks": {{', ",\n".join(by_clock), f"{indent}}}"]


def text(data: Mapping[str, Any]) -> str:
    """The file's text: a list a line."""
    lines = [f' "timing": {json.dumps(data["timing"])},']
    lines += [f' "fingerprint": "{data["fingerprint"]}",', ' "routines": {']
    for routine, row in sorted(data["routines"].items()):
        lines += [f'  "{routine}": {{']
        lines += [f'   "{key}": {json.dumps(row[key])},' for key in KEYS]
        if "resident" in row:
            other = row["resident"]
            lines += ['   "resident": {', f'    "launches": {json.dumps(other["launches"])},']
            lines += [*_clocks(other, "    "), "   },"]
        lines += [*_clocks(row, "   "), "  },"]
    lines[-1] = "  }"
    return "\n".join(["{", *lines, " }", "}", ""])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench predict", description=__doc__)
    parser.add_argument("routines", nargs="*", choices=[*calls.routines(), []], metavar="routine")
    wanted = parser.parse_args().routines or calls.routines()
    data = {"timing": "calibrated", "fingerprint": fingerprint(), "routines": {}}
    path = pathlib.Path(predictions.PATH)
    if path.exists() and predictions.stored()["fingerprint"] == data["fingerprint"]:
        data["routines"] = dict(predictions.stored()["routines"])
    for routine in wanted:
        data["routines"][routine] = table(routine)
        print(routine)
        sys.stdout.flush()
    kept = {name: row for name, row in data["routines"].items() if name in calls.routines()}
    path.write_text(text({**data, "routines": kept}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
