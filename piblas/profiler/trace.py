"""A trace file: the launches as events for chrome://tracing and ui.perfetto.dev.

The file is JSON in the Trace Event Format.  A slice of the GPU is a process, a QPU a thread.  On a
QPU's track one event spans its program, and the single longer waits lie inside it; what is blank
between them is issue, or shorter waits.  A counter track of the process "GPU" says how many QPUs
were issuing, or waiting for what, over time; it is made from the bins and leaves nothing out.

Time stamps are microseconds of the chip, in whole nanoseconds, which is what the viewers keep: so
events that follow each other never overlap by rounding.  Launches follow each other without a gap,
because the time between them is not part of a report.
"""

from __future__ import annotations

import json
import os
from typing import Any, Dict, Iterator, List, NamedTuple

import numpy as np

from ..driver.detail import Timeline
from ..driver.device import RunReport
from ..errors import PiblasError
from .figures import Figures
from .hot import Places

__all__ = ["EVENTS", "events", "write"]

EVENTS = 100_000
"""Waits that a file holds at most; beyond it the shorter ones are left out."""

_PER_SLICE = 4
_GPU = 0  # process numbers: the GPU, then slice s as 1 + s
_COLOURS = {  # names of the viewers' own palette
    "tmu": "bad",
    "l2_port": "terrible",
    "sdram": "terrible",
    "uniform": "thread_state_iowait",
    "dma": "thread_state_uninterruptible",
    "mutex": "thread_state_sleeping",
    "semaphore": "thread_state_sleeping",
}


class _Clock(NamedTuple):
    """Turns a launch's clocks into time stamps: its begin, and a clock's length, in ns."""

    begin: float
    period: float

    def at(self, clock: int) -> float:
        return round(self.begin + clock * self.period) / 1000

    def span(self, start: int, end: int) -> Dict[str, float]:
        first, last = (round(self.begin + clock * self.period) for clock in (start, end))
        return {"ts": first / 1000, "dur": (last - first) / 1000}


def _names(n_qpus: int) -> Iterator[Dict[str, Any]]:
    def name(what: str, pid: int, tid: int, text: str) -> Dict[str, Any]:
        return {"name": what, "ph": "M", "pid": pid, "tid": tid, "args": {"name": text}}

    yield name("process_name", _GPU, 0, "GPU")
    yield name("thread_name", _GPU, 0, "launches")
    for pid in range(-(-n_qpus // _PER_SLICE)):
        yield name("process_name", 1 + pid, 0, f"slice {pid}")
    for qpu in range(n_qpus):
        yield name("thread_name", 1 + qpu // _PER_SLICE, qpu, f"QPU {qpu}")


def _shown(figures: Figures) -> List[np.ndarray]:
    """The waits of each launch that go into the file: the longest of all, in order of time."""
    segments = [report.timeline.segments for report in figures.reports if report.timeline]
    lengths = np.concatenate([rows[:, 3] - rows[:, 2] for rows in segments])
    if len(lengths) <= EVENTS:
        return segments
    least = np.partition(lengths, -EVENTS)[-EVENTS]
    return [rows[rows[:, 3] - rows[:, 2] > least] for rows in segments]


def events(figures: Figures) -> List[Dict[str, Any]]:
    """All events of the launches."""
    for report in figures.reports:
        if report.timeline is None or not report.clock_hz:
            raise PiblasError(
                "no trace: profile with detail=True on an emulator that has its clock on"
            )
    out = list(_names(figures.n_qpus))
    places = Places(figures.reports)
    begin = 0.0
    for number, (report, shown) in enumerate(zip(figures.reports, _shown(figures))):
        assert report.timeline is not None and report.clock_hz is not None
        clock = _Clock(begin, 1e9 / report.clock_hz)
        out += _launch(number, report, report.timeline, clock)
        out += _waits(report.timeline, shown, places, clock)
        out += _counts(report.timeline, clock)
        begin += _cycles(report.timeline) * clock.period
    return out


def _cycles(timeline: Timeline) -> int:
    return int(timeline.clocks[0].sum())


def _launch(
    number: int, report: RunReport, timeline: Timeline, clock: _Clock
) -> Iterator[Dict[str, Any]]:
    name, cycles = report.kernel or "program", _cycles(timeline)
    facts = {"launch": number, "clocks": cycles, "instructions": report.instructions}
    yield {
        "name": name, "cat": "launch", "ph": "X", "pid": _GPU, "tid": 0,
        **clock.span(0, cycles), "args": facts,
    }  # fmt: skip
    per_qpu = timeline.clocks.sum(axis=1)
    for qpu, clocks in enumerate(per_qpu):
        by_cause = dict(zip(timeline.causes, clocks.tolist()))
        alive = cycles - by_cause.get("idle", 0)
        yield {
            "name": name, "cat": "program", "ph": "X", "pid": 1 + qpu // _PER_SLICE, "tid": qpu,
            **clock.span(0, alive), "args": {k: v for k, v in by_cause.items() if v},
        }  # fmt: skip


def _waits(
    timeline: Timeline, shown: np.ndarray, places: Places, clock: _Clock
) -> Iterator[Dict[str, Any]]:
    for qpu, cause_index, start, end, address in shown.tolist():
        cause = timeline.causes[cause_index]
        event = {
            "name": cause, "cat": "wait", "ph": "X", "pid": 1 + qpu // _PER_SLICE, "tid": qpu,
            **clock.span(start, end), "args": {"clocks": end - start, **places.at(address)},
        }  # fmt: skip
        if cause in _COLOURS:
            event["cname"] = _COLOURS[cause]
        yield event


def _counts(timeline: Timeline, clock: _Clock) -> Iterator[Dict[str, Any]]:
    """How many QPUs did what, bin by bin, as the mean over the bin."""
    used = [i for i in range(len(timeline.causes)) if timeline.clocks[:, :, i].any()]
    widths = timeline.clocks[0].sum(axis=1)
    means = timeline.clocks.sum(axis=0) / np.maximum(widths, 1)[:, None]
    at = 0
    for width, row in zip(widths.tolist(), means):
        args = {timeline.causes[i]: round(float(row[i]), 3) for i in used}
        yield {"name": "QPUs", "ph": "C", "pid": _GPU, "ts": clock.at(at), "args": args}
        at += width
    if used:
        last = {timeline.causes[i]: 0 for i in used}
        yield {"name": "QPUs", "ph": "C", "pid": _GPU, "ts": clock.at(at), "args": last}


def write(figures: Figures, path: Any) -> str:
    """Write the trace file; returns its name."""
    made = events(figures)
    waits = sum(event.get("cat") == "wait" for event in made)
    dropped = sum(report.timeline.dropped for report in figures.reports if report.timeline)
    kept = sum(len(report.timeline.segments) for report in figures.reports if report.timeline)
    facts = {
        "title": figures.title,
        "origin": figures.how,
        "waits shown": waits,
        "waits left out": dropped + kept - waits,
    }
    name = os.fspath(path)
    with open(name, "w", encoding="utf-8") as file:
        json.dump({"traceEvents": made, "displayTimeUnit": "ns", "otherData": facts}, file)
    return name
