"""Simulated routines beside the modelled limit of the bytes that they must move.

A :class:`Case` is a routine on operands that are on the device: it says how many bytes it has to
read and to write, and makes its launch.  The limit is the slowest path of
:func:`piblas.profiler.roofs.least_seconds`.  :func:`measure` runs a case and says what is lost.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import sys
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from piblas.driver import Emulator
from piblas.isa.timing import SETS, timing_set
from piblas.profiler.roofs import least_seconds, limit

__all__ = ["BAR", "Case", "Result", "main", "measure"]

BAR = 0.85
"""The share of the limit that is asked for, in the set ``calibrated``."""

CLOCK_HZ = 250e6


@dataclasses.dataclass(frozen=True)
class Case:
    """A routine with its operands' shape as text.

    ``read`` and ``written`` are the bytes that the routine has to move; ``launch(device)`` fills
    operands on the device, runs the kernel once, checks the result and returns the report.
    ``asked``: the bar is asked of it.
    """

    routine: str
    shape: str
    read: int
    written: int
    launch: Callable[[Any], Any]
    asked: bool = True


@dataclasses.dataclass(frozen=True)
class Result:
    """A case in one timing set.  ``lost`` and ``qpus`` are shares of the launch's time: what the
    limiting path did not use, by reason, and what the QPUs did."""

    routine: str
    shape: str
    timing_set: str
    bytes_moved: int
    seconds: float
    path: str
    share: float
    lost: Dict[str, float]
    qpus: Dict[str, float]
    asked: bool = True


def _lost(report: Any, case: Case, path: str, seconds: float) -> Dict[str, float]:
    """Where the limiting path's time went, beside the bytes that had to be moved."""
    timing, whole = report.timing, report.seconds
    lost = {}
    if path == "stores":
        transfers = sum(qpu["dma_stores"] for qpu in report.per_qpu)
        lost["starts of transfers"] = transfers * timing.dma_store_start / report.cycles
        moved = least_seconds(timing, report.clock_hz, 0, report.bytes["vpm_dma_store"])[path]
        lost["bytes stored beside the result"] = (moved - seconds) / whole
    elif path == "memory":
        carried = report.bytes["sdram_read"] + report.bytes["sdram_write"]
        moved = least_seconds(timing, report.clock_hz, carried, 0)[path]
        lost["bytes moved more than once, code, uniforms"] = (moved - seconds) / whole
    lost[f"{path} idle or held up"] = 1 - seconds / whole - sum(lost.values())
    return lost


def measure(case: Case, timing: Any, memory: int = 96 << 20) -> Result:
    """Run a case on an emulated device with this timing."""
    with Emulator(memory=memory, timing=timing, clock_hz=CLOCK_HZ) as device:
        report = case.launch(device)
    path, seconds = limit(report.timing, report.clock_hz, case.read, case.written)
    total = report.cycles * report.n_qpus
    return Result(
        case.routine,
        case.shape,
        report.timing.name,
        case.read + case.written,
        report.seconds,
        path,
        seconds / report.seconds,
        _lost(report, case, path, seconds),
        {cause: clocks / total for cause, clocks in report.stalls.items() if clocks},
        case.asked,
    )


def _text(result: Result, asked: bool) -> List[str]:
    verdict = ("met" if result.share >= BAR else "missed") if asked else ""
    head = (
        f"{result.routine:8} {result.shape:20} {result.bytes_moved / 2**20:7.1f} MiB "
        f"{1e3 * result.seconds:8.2f} ms {result.bytes_moved / result.seconds / 1e6:7,.0f} MB/s  "
        f"{result.share:6.1%} of {result.path:6} {verdict}"
    )
    lost = ", ".join(f"{why} {share:.1%}" for why, share in result.lost.items() if share >= 5e-4)
    ranked = sorted(result.qpus.items(), key=lambda item: -item[1])
    qpus = ", ".join(f"{cause} {share:.0%}" for cause, share in ranked[:4])
    return [head.rstrip(), f"    lost: {lost or 'nothing'}", f"    QPUs: {qpus}"]


def main(cases: Sequence[Case], prog: str, argv: Any = None) -> int:
    """Print a table of cases, or of those named, in the timing sets; 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog=f"python -m bench {prog}")
    parser.add_argument("routines", nargs="*", help="only these")
    parser.add_argument("--set", action="append", choices=SETS, help="only this timing set")
    parser.add_argument("--reading", default="memory", help="memory, port or blocking")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(sys.argv[1:] if argv is None else argv)
    unknown = set(args.routines) - {case.routine for case in cases}
    if unknown:
        parser.error(f"no case is called {', '.join(sorted(unknown))}")
    results = []
    sets = args.set or ["calibrated", *(name for name in SETS if name != "calibrated")]
    for name in sets:
        timing = timing_set(name, args.reading)
        if not args.json:
            print(f"simulated, {timing.name}, {CLOCK_HZ / 1e6:g} MHz, launch not included")
        for case in cases:
            if args.routines and case.routine not in args.routines:
                continue
            result = measure(case, timing)
            results.append(result)
            if not args.json:
                judged = result.asked and name == "calibrated"
                print("\n".join(_text(result, judged)), flush=True)
    if args.json:
        print(json.dumps([dataclasses.asdict(result) for result in results]))
    asked = [x for x in results if x.asked and x.timing_set.startswith("calibrated")]
    return int(any(result.share < BAR for result in asked))


def filled(device: Any, values: np.ndarray) -> Any:
    """A buffer on the device that holds these values."""
    buffer = device.alloc(values.nbytes)
    buffer.array(values.dtype, values.shape)[...] = values
    buffer.clean()
    return buffer
