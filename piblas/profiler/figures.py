"""Sums over launches, and rates: what the summary prints and ``--json`` writes.

Flops come in two kinds.  Useful ones are those of the routine (2 m n k for a matrix product); the
caller has to know them.  Executed ones are counted: an ``fadd``, ``fsub`` or ``fmul`` is 16 flops
each time it issues, padding and flushed elements included.  The peak of a QPU is both units on
16 elements every 4 clocks: 8 flops a clock (guide, p. 15).
"""

from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Sequence

import numpy as np

from ..driver.device import RunReport
from ..errors import DecodeError, PiblasError
from ..isa.counters import COUNTERS
from ..isa.instr import decode

__all__ = ["Figures", "FLOPS_PER_CLOCK", "flops_of"]

FLOPS_PER_CLOCK = 8
_LANES = 16
_FLOAT_ADD = (1, 2)  # fadd, fsub
_FLOAT_MUL = 1


def flops_of(word: int) -> int:
    """Flops that a word stands for each time it issues."""
    try:
        instr = decode(int(word))
    except DecodeError:
        return 0
    if not instr.is_alu:
        return 0
    return _LANES * ((instr.op_add in _FLOAT_ADD) + (instr.op_mul == _FLOAT_MUL))


def _total(mappings: Sequence[Optional[Mapping[Any, int]]]) -> Optional[Dict[Any, int]]:
    """The sum of mappings, if all of them are there."""
    if not mappings or any(mapping is None for mapping in mappings):
        return None
    total: Dict[Any, int] = {}
    for mapping in mappings:
        for key, value in (mapping or {}).items():
            total[key] = total.get(key, 0) + int(value)
    return total


def _sum(values: Sequence[Any]) -> Optional[Any]:
    return None if not values or any(value is None for value in values) else sum(values)


class Figures:
    """Sums over ``reports``, which must hold at least one; a sum is None where a report lacks it.

    ``title`` says what ran; ``flops`` are the useful flops, if anybody knows them.
    """

    def __init__(
        self, reports: Sequence[RunReport], title: str = "", flops: Optional[int] = None
    ) -> None:
        if not reports:
            raise PiblasError("nothing to profile: no launch ran on a device")
        self.reports: List[RunReport] = list(reports)
        self.title = title
        self.useful_flops = flops
        self.n_qpus = max(report.n_qpus for report in reports)
        self.clock_hz = reports[0].clock_hz
        self.timing = reports[0].timing
        self.cycles = _sum([report.cycles for report in reports])
        self.seconds = _sum([report.seconds for report in reports])
        self.instructions = _sum([report.instructions for report in reports])
        self.issue_cycles = _sum([report.issue_cycles for report in reports])
        self.stalls = _total([report.stalls for report in reports])
        self.bytes = _total([report.bytes for report in reports])
        self.counters = _total([report.counters for report in reports])
        self.qpu_stalls = self._qpu_stalls()
        self.executed_flops = self._executed_flops()

    @property
    def origin(self) -> str:
        """Where the times come from: "simulated", "measured" or "counted"."""
        if self.timing is not None:
            return "simulated"
        return "counted" if self.seconds is None else "measured"

    @property
    def how(self) -> str:
        """The origin in a few words, for headings and pictures."""
        clock = f"{self.clock_hz / 1e6:g} MHz" if self.clock_hz else "unknown clock"
        if self.timing is not None:
            return f'simulated, timing set "{self.timing.name}", {clock}'
        if self.seconds is None:
            return f"counted without a clock model, {clock}"
        return f"measured, {clock}"

    @property
    def kernels(self) -> Dict[str, int]:
        """Launches of each kernel, in order of appearance."""
        kernels: Dict[str, int] = {}
        for report in self.reports:
            name = report.kernel or "?"
            kernels[name] = kernels.get(name, 0) + 1
        return kernels

    @property
    def flops(self) -> Optional[int]:
        """Useful flops where they are known, else executed ones; executed ones, too, where they
        are fewer, as in a solve, of which the host computes a part."""
        useful, executed = self.useful_flops, self.executed_flops
        if useful is None or (executed and executed < useful):
            return executed
        return useful

    @property
    def flops_kind(self) -> str:
        return "useful" if self.flops == self.useful_flops is not None else "executed"

    @property
    def flop_rate(self) -> Optional[float]:
        """Flops a second."""
        if self.flops is None or not self.seconds:
            return None
        return self.flops / self.seconds

    @property
    def peak_rate(self) -> Optional[float]:
        """What these QPUs do at most, in flops a second."""
        if self.clock_hz is None:
            return None
        return FLOPS_PER_CLOCK * self.n_qpus * self.clock_hz

    @property
    def issue_rate(self) -> Optional[float]:
        """The flop rate of these instructions if nothing ever waited."""
        if self.flops is None or not self.issue_cycles or self.clock_hz is None:
            return None
        return self.flops / (self.issue_cycles / self.clock_hz)

    def _qpu_stalls(self) -> Optional[Dict[str, np.ndarray]]:
        """Clocks by cause of each QPU."""
        total: Dict[str, np.ndarray] = {}
        for report in self.reports:
            if report.timeline is None:
                return None
            per_qpu = report.timeline.clocks.sum(axis=1)
            for cause, clocks in zip(report.timeline.causes, per_qpu.T):
                padded = np.zeros(self.n_qpus, dtype=np.int64)
                padded[: len(clocks)] = clocks
                total[cause] = total.get(cause, 0) + padded
        return total

    def _executed_flops(self) -> Optional[int]:
        total = 0
        for report in self.reports:
            if report.hot is None:
                return None
            per_word = np.array([flops_of(word) for word in report.hot.words], dtype=np.int64)
            total += int(per_word @ report.hot.issued)
        return total

    def facts(self) -> Dict[str, Any]:
        """Everything as plain values, for JSON; what is not known is missing."""
        facts = {
            "title": self.title,
            "origin": self.origin,
            "timing_set": getattr(self.timing, "name", None),
            "clock_hz": self.clock_hz,
            "n_qpus": self.n_qpus,
            "launches": len(self.reports),
            "kernels": self.kernels,
            "cycles": self.cycles,
            "seconds": self.seconds,
            "instructions": self.instructions,
            "issue_cycles": self.issue_cycles,
            "useful_flops": self.useful_flops,
            "executed_flops": self.executed_flops,
            "flops_per_second": self.flop_rate,
            "peak_flops_per_second": self.peak_rate,
            "stalls": self.stalls,
            "bytes": self.bytes,
        }
        if self.counters is not None:
            facts["counters"] = {
                str(number): {"name": counter_name(number), "value": value}
                for number, value in sorted(self.counters.items())
            }
        return {name: value for name, value in facts.items() if value is not None}


def counter_name(number: int) -> str:
    """The name of a V3D performance counter."""
    return COUNTERS[number].name if number in COUNTERS else f"counter_{number}"
