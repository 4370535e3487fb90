"""Simulated clocks of every kernel over sizes, for dispatch on a Pi.

``python -m bench predict [routine ...]`` simulates calls of all routines with a kernel, or of
these, under the timing set ``calibrated``, and writes piblas/blas/predictions.json.  To be run when
a kernel or the timing set has changed; a new routine needs a row in
:data:`piblas.cli.calls.CALLS`.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import pathlib
import sys
from typing import Any, Dict, List, Mapping, Tuple

import piblas
from piblas.blas import predictions
from piblas.blas.routines import ROUTINES
from piblas.cli import calls
from piblas.driver import Emulator
from piblas.isa.timing import timing_set

__all__ = ["CLOCKS", "GRIDS", "fingerprint", "main", "simulate", "table"]

CLOCKS = (250, 300, 400)
GRIDS: Dict[int, List[List[int]]] = {
    1: [[64, 1024, 16384, 262144]],
    2: [[16, 64, 256, 1024]] * 2,
    3: [[16, 64, 192, 384, 768], [16, 64, 192, 384, 768], [16, 128, 512]],
}
"""Points of a routine's axes by how many sizes it has."""


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


def simulate(routine: str, sizes: Mapping[str, int], mhz: int) -> Tuple[int, List[str]]:
    """Clocks of the launches of one call on a fresh emulator, and hashes of its programs."""
    run = calls.prepare(routine, getattr(piblas, routine), sizes, calls.Options())
    with _Recorder(clock_hz=1e6 * mhz) as device, piblas.use(device):
        with piblas.profile() as profile:
            run()
        return sum(report.cycles for report in profile.reports), device.programs


def table(routine: str) -> Dict[str, Any]:
    """The entry of a routine."""
    row = ROUTINES[routine]
    axes = dict(zip(row.sizes, GRIDS[len(row.sizes)]))
    points = [dict(zip(axes, point)) for point in itertools.product(*axes.values())]
    programs = set()
    clocks: Dict[str, List[int]] = {}
    for mhz in CLOCKS:
        for point in points:
            count, loaded = simulate(routine, point, mhz)
            clocks.setdefault(str(mhz), []).append(count)
            programs.update(loaded)
    return {"kernel": row.kernel, "programs": sorted(programs), "axes": axes, "clocks": clocks}


def text(data: Mapping[str, Any]) -> str:
    """The file's text: a list a line."""
    lines = [f' "timing": {json.dumps(data["timing"])},']
    lines += [f' "fingerprint": "{data["fingerprint"]}",', ' "routines": {']
    for routine, row in sorted(data["routines"].items()):
        lines += [f'  "{routine}": {{']
        lines += [f'   "{key}": {json.dumps(row[key])},' for key in ("kernel", "programs", "axes")]
        by_clock = [f'    "{mhz}": {json.dumps(row["clocks"][mhz])}' for mhz in row["clocks"]]
        lines += ['   "clocks": {', ",\n".join(by_clock), "   }", "  },"]
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
