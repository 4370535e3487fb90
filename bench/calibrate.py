"""Published measurements beside the emulator's clock, in each timing set.

``python -m bench calibrate [set ...] [--reading memory|port|blocking]`` prints a table:
measurement, published value, what counts as met, simulated value and verdict in each set, and
whether a parameter was fitted to it or it is predicted.  :data:`POINTS` are the
rows; C1 to C15 are programs whose source is public (:mod:`bench.loops` re-creates them).

Published times of sgemms are those of a call through the firmware, so the launch is part of them
here.  C2 and C3 come from a board that was showing a media centre's menu: their rows are simulated
with the memory traffic of that (``memory_others``), which C3 fixes.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from typing import Any, Callable, List, Tuple

from piblas.isa.timing import READINGS, SETS, timing_set

from . import loops
from .loops import Sgemm

__all__ = ["POINTS", "Point", "main"]

PYVC = Sgemm("uniform", 67)
PYVC_1 = Sgemm("uniform", 67, n_qpus=1)
QMKL_164 = Sgemm("rotate", 164)
QMKL_158 = Sgemm("rotate", 158)
QMKL_126 = Sgemm("rotate", 126)
QMKL_115 = Sgemm("rotate", 115, gathers=False)
QMKL_RNT = Sgemm("rotate", 166, gathers_b=True)
MENU = 1130
"""MB/s that a media centre's menu takes: two planes of 1920 x 1080 at 60 Hz would take 996."""
ONE_SHOT = 5.2e-3
"""Seconds that a first call of qmkl takes beyond its kernel: the intercept of C8 and C9."""


@functools.lru_cache(maxsize=None)
def seconds(case: Sgemm, timing: Any, clock_hz: float) -> float:
    """Simulated time of a published sgemm, with its launch through the firmware."""
    report = loops.run_sgemm(case, timing, clock_hz)
    assert report.seconds is not None
    return report.seconds + 1e-6 * timing.launch_mailbox


def gflops(case: Sgemm, mhz: int, others: int = 0, more: float = 0.0) -> Callable[[Any], float]:
    """Rate with ``others`` MB/s of memory traffic beside it and ``more`` seconds a call."""
    def simulate(timing: Any) -> float:
        loaded = dataclasses.replace(timing, memory_others=others)
        return 1e-9 * case.flops / (seconds(case, loaded, 1e6 * mhz) + more)

    return simulate


def contiguous(case: Sgemm) -> Sgemm:
    return dataclasses.replace(case, gathers=False)


def ratio(case: Sgemm, other: Sgemm, mhz: int) -> Callable[[Any], float]:
    """How much less time the other takes."""
    return lambda t: seconds(case, t, 1e6 * mhz) / seconds(other, t, 1e6 * mhz)


def slope(timing: Any) -> float:
    """Microseconds a step, from the two sizes of C8 and C9 at 300 MHz."""
    cases = [dataclasses.replace(QMKL_126, columns=columns) for columns in (15360, 4608)]
    times = [seconds(case, timing, 300e6) for case in cases]
    return 1e6 * (times[0] - times[1]) / (cases[0].steps - cases[1].steps)


def stream(reads: int, nops: int) -> Callable[[Any], float]:
    return lambda timing: loops.uniform_stream(timing, 250e6, reads, nops)


@dataclasses.dataclass(frozen=True)
class Point:
    """A published value, the span that counts as met, and how to simulate it.

    ``simulate`` may be two functions: the value lies between what they give (a clock that is only
    known to be within a band).  ``span`` of None: nothing is asked, the row informs.
    """

    name: str
    what: str
    unit: str
    published: float
    span: Any
    simulate: Tuple[Callable[[Any], float], ...]
    fitted: str
    remark: str = ""

    def values(self, timing: Any) -> List[float]:
        return [simulate(timing) for simulate in self.simulate]

    @property
    def tolerance(self) -> str:
        """``span`` as text."""
        if self.span is None:
            return "-"
        low, high = self.span
        return "inside the band" if low == high else f"{low:.4g} to {high:.4g}"

    def verdict(self, values: List[float]) -> str:
        """"met", "missed", or "-" where nothing is asked."""
        if self.span is None:
            return "-"
        low, high = self.span
        inside = min(values) <= high and max(values) >= low
        return "met" if inside else "missed"


def _within(value: float, part: float) -> Tuple[float, float]:
    return value * (1 - part), value * (1 + part)


def _band(case: Sgemm) -> Tuple[Callable[[Any], float], ...]:
    return gflops(case, 250, MENU), gflops(case, 400, MENU)


FITTED, PREDICTED = "fitted", "predicted"
POINTS: Tuple[Point, ...] = (
    Point("C1", "py-videocore sgemm, 12 QPUs, 250 MHz", "GFLOPS", 8.32, _within(8.32, 0.15),
          (gflops(PYVC, 250),), FITTED + ": uniform_restart"),
    Point("C2", "py-videocore sgemm, 1 QPU, 250 to 400 MHz, menu on screen", "GFLOPS", 0.8034,
          (0.8034, 0.8034), _band(PYVC_1), PREDICTED),
    Point("C3", "the same, 12 QPUs", "GFLOPS", 6.7054, (6.7054, 6.7054), _band(PYVC),
          FITTED + ": memory_others of C2 and C3"),
    Point("C4", "qmkl sgemm, 164 instructions, 400 MHz", "GFLOPS", 13.0, None,
          (gflops(QMKL_164, 400),), PREDICTED, "published rounded"),
    Point("C5", "qmkl sgemm, 158 instructions, 400 MHz", "GFLOPS", 14.01, None,
          (gflops(QMKL_158, 400),), PREDICTED),
    Point("C6", "qmkl sgemm, 126 instructions, 400 MHz", "GFLOPS", 15.77, None,
          (gflops(QMKL_126, 400),), FITTED + ": sdram_rate"),
    Point("C5/C6", "time of 158 over 126 instructions", "", 1.126, (1.076, 1.176),
          (ratio(QMKL_158, QMKL_126, 400),), FITTED + ": sdram_rate"),
    Point("C7 before", "A contiguous, 158 instructions", "GFLOPS", 14.04, None,
          (gflops(contiguous(QMKL_158), 400),), PREDICTED),
    Point("C7 after", "A contiguous, 126 instructions", "GFLOPS", 15.71, None,
          (gflops(contiguous(QMKL_126), 400),), PREDICTED),
    Point("RNN = RTN", "A gathered over A contiguous, time", "", 0.996, (0.97, 1.03),
          (ratio(QMKL_126, contiguous(QMKL_126), 400),), FITTED + ": l2_port_line"),
    Point("C8 - C9", "qmkl sgemm, a step of k, 300 MHz", "us", 1.737, _within(1.737, 0.10),
          (slope,), PREDICTED),
    Point("C10", "64 uniforms and 4 nops, share of issue", "", 0.60, (0.57, 0.63),
          (stream(64, 0),), FITTED + ": uniform_sdram"),
    Point("C10, 16", "16 uniforms, 7 nops behind each", "", 1.0, (0.98, 1.0), (stream(16, 7),),
          PREDICTED),
    Point("C10, 32", "32 uniforms, 7 nops behind each", "", 1.0, (0.98, 1.0), (stream(32, 7),),
          PREDICTED),
    Point("C11", "DMA loads of 16 x 16 words, 250 MHz", "MB/s", 690, _within(690, 0.10),
          (lambda timing: 1e-6 * loops.dma_loads(timing, 250e6),), PREDICTED),
    Point("C12", "two QPUs and two semaphores, share of issue", "", 0.9999, _within(0.9999, 0.001),
          (lambda timing: loops.ping_pong(timing, 400e6),), FITTED + ": semaphore"),
    Point("C13", "A contiguous, 115 instructions, B by both TMUs", "GFLOPS", 16.65, None,
          (gflops(QMKL_115, 400),), PREDICTED, "qmkl pull request 41"),
    Point("C14", "A and B gathered, 166 instructions", "GFLOPS", 1.290, None,
          (gflops(QMKL_RNT, 400),), PREDICTED, "qmkl pull request 30, before"),
    Point("C15", "the sgemm of C1 in qmkl, 400 MHz, a first call", "GFLOPS", 8.638, None,
          (gflops(PYVC, 400, more=ONE_SHOT),), PREDICTED, "qmkl pull request 1"),
)  # fmt: skip
"""The rows of the table."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench calibrate", description=__doc__)
    parser.add_argument("sets", nargs="*", default=list(SETS), help=f"of {', '.join(SETS)}")
    parser.add_argument("--reading", choices=sorted(READINGS), default="memory")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    timings = [timing_set(name, args.reading) for name in args.sets]
    rows = []
    head = f"{'':10} {'published':>17}  {'tolerance':>15}  "
    head += "  ".join(f"{t.name:>26}" for t in timings)
    if not args.json:
        print(head)
    for point in POINTS:
        cells = []
        for timing in timings:
            values = point.values(timing)
            cells.append((values, point.verdict(values)))
        row = {
            "name": point.name, "what": point.what, "unit": point.unit,
            "published": point.published, "span": point.span, "basis": point.fitted,
            "simulated": {t.name: v for t, (v, _) in zip(timings, cells)},
            "verdict": {t.name: v for t, (_, v) in zip(timings, cells)}, "remark": point.remark,
        }  # fmt: skip
        rows.append(row)
        if not args.json:
            text = "  ".join(
                f"{' to '.join(f'{v:.4g}' for v in values):>17} {verdict:>8}"
                for values, verdict in cells
            )
            published = f"{point.published:.5g} {point.unit}"
            what = f"{point.what} ({point.fitted})" + f", {point.remark}" * bool(point.remark)
            print(f"{point.name:10} {published:>17}  {point.tolerance:>15}  {text}   {what}")
            sys.stdout.flush()
    if args.json:
        print(json.dumps(rows, indent=1))
        return 0
    for timing in timings:
        verdicts = [row["verdict"][timing.name] for row in rows]
        asked = len(verdicts) - verdicts.count("-")
        print(f"{timing.name}: {verdicts.count('met')} of {asked} met")
    return 0


if __name__ == "__main__":
    sys.exit(main())
