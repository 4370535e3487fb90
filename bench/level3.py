"""Rates of the level-3 routines beside sgemm's, simulated, and where the clocks go.

``python -m bench level3 [--size N] [--timing SET ...]`` runs ssymm, ssyrk, ssyr2k, strmm and strsm
of order N (1024) on 12 emulated QPUs under each timing set.  A routine's time is that of its
launches by the emulator's clock, plus 100 us for each launch (sgemm has one too); staging, packing
and the CPU's share of strsm, the inverses of its diagonal blocks, are not in it.  Flops are those
that BLAS counts: 2 N^3 for sgemm, ssymm and ssyr2k, N^3 for the others.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any, Callable, Dict, List, NamedTuple

import numpy as np

import piblas
from piblas.dispatch import boards
from piblas.driver import Emulator
from piblas.routines import ROUTINES

BAR = 0.85
"""Share of sgemm's rate that each routine is to reach, under calibrated at order ORDER or more."""
ORDER = 1024

TIMINGS = ("pessimistic", "calibrated", "optimistic")
SIZES = {"sgemm": "mnk", "ssymm": "mn", "ssyrk": "nk", "ssyr2k": "nk", "strmm": "mn", "strsm": "mn"}


class Measured(NamedTuple):
    """Simulated seconds of the launches, how many there were, clocks of all QPUs by cause."""

    seconds: float
    launches: int
    clocks: "Counter[str]"
    flops: int

    @property
    def rate(self) -> float:
        """GFLOPS, launches included."""
        return self.flops / (self.seconds + self.launches * boards.LAUNCH_SECONDS) / 1e9


def calls(size: int) -> Dict[str, Callable[[], Any]]:
    """One call of each routine on square operands of that order."""
    rng = np.random.default_rng(0)
    a, b = (np.asfortranarray(rng.standard_normal((size, size), dtype=np.float32)) for _ in "ab")
    t = np.asfortranarray(a / np.float32(size) + np.eye(size, dtype=np.float32))
    return {
        "sgemm": lambda: piblas.sgemm(1.0, a, b),
        "ssymm": lambda: piblas.ssymm(1.0, a, b),
        "ssyrk": lambda: piblas.ssyrk(1.0, a),
        "ssyr2k": lambda: piblas.ssyr2k(1.0, a, b),
        "strmm": lambda: piblas.strmm(1.0, a, b),
        "strsm": lambda: piblas.strsm(1.0, t, b),
    }


def measure(size: int, timing: str, names: List[str]) -> Dict[str, Measured]:
    """Each routine once, on a device of its own timing set."""
    found = {}
    with Emulator(memory=96 << 20, timing=timing) as device, piblas.use(device):
        for name, call in calls(size).items():
            if name not in names:
                continue
            with piblas.profile() as profile:
                call()
            reports = profile.reports
            clocks: "Counter[str]" = Counter()
            for report in reports:
                clocks.update(report.stalls)
            flops = ROUTINES[name].flops(**dict.fromkeys(SIZES[name], size))
            seconds = sum(report.seconds for report in reports)
            found[name] = Measured(seconds, len(reports), clocks, flops)
    return found


def table(size: int, timing: str, found: Dict[str, Measured]) -> List[str]:
    """One line a routine: time, launches, rate, share of sgemm's, the largest causes."""
    base = found["sgemm"].rate
    lines = [f"{timing}, order {size}, 12 QPUs at 250 MHz, simulated"]
    for name, each in found.items():
        share = each.rate / base
        total = sum(each.clocks.values())
        most = each.clocks.most_common(5)
        causes = ", ".join(f"{cause} {100 * clocks / total:.1f}" for cause, clocks in most)
        met = "" if name == "sgemm" else " met" if share >= BAR else " MISSED"
        lines.append(
            f"  {name:7}{1e3 * each.seconds:8.2f} ms in {each.launches:2} launches"
            f"{each.rate:7.2f} GFLOPS {100 * share:6.1f} % of sgemm{met:8} | % of clocks: {causes}"
        )
    return lines


def main(argv: Any = None) -> int:
    """Print the table in the timing sets; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench level3", description=__doc__)
    parser.add_argument("--size", type=int, default=ORDER)
    parser.add_argument("--timing", nargs="+", choices=TIMINGS, default=list(TIMINGS))
    parser.add_argument("--routine", nargs="+", choices=list(SIZES), default=list(SIZES))
    chosen = parser.parse_args(argv)
    names = ["sgemm", *(name for name in chosen.routine if name != "sgemm")]
    missed = False
    for timing in chosen.timing:
        start = time.time()
        found = measure(chosen.size, timing, names)
        print("\n".join(table(chosen.size, timing, found)))
        if timing == "calibrated" and chosen.size >= ORDER:
            missed = min(each.rate for each in found.values()) < BAR * found["sgemm"].rate
        print(f"  ({time.time() - start:.0f} s on this computer)", flush=True)
    print(f"the bar: each at least {100 * BAR:.0f} % of sgemm's rate, under calibrated")
    return int(missed)


if __name__ == "__main__":
    main()
