"""The trace file: valid Trace Event Format, nested events, sums of the launch."""

from __future__ import annotations

import json

import numpy as np
import pytest

from piblas.errors import PiblasError
from piblas.profiler import trace
from piblas.profiler.figures import Figures

from . import synthetic

MICRO = 1e6 / 250e6


@pytest.fixture(scope="module")
def launches(made, program):
    second, _ = synthetic.launch(program.words[:100], n_qpus=5, seed=9, kernel="second")
    return [made[0], second]


@pytest.fixture(scope="module")
def written(launches, tmp_path_factory):
    path = tmp_path_factory.mktemp("trace") / "t.json"
    assert trace.write(Figures(launches, "two launches"), path) == str(path)
    return json.loads(path.read_text())


def by_phase(written, phase):
    return [event for event in written["traceEvents"] if event["ph"] == phase]


def test_format(written):
    assert written["displayTimeUnit"] in ("ms", "ns")
    for event in written["traceEvents"]:
        assert event["ph"] in "XMC" and isinstance(event["pid"], int)
        assert isinstance(event["name"], str) and isinstance(event["args"], dict)
        if event["ph"] == "M":
            assert event["name"] in ("process_name", "thread_name")
            assert isinstance(event["args"]["name"], str)
        else:
            assert event["ts"] >= 0
        if event["ph"] == "X":
            assert event["dur"] >= 0 and isinstance(event["tid"], int)
        if event["ph"] == "C":
            assert all(isinstance(value, (int, float)) for value in event["args"].values())


def test_names(written):
    names = {
        (event["name"], event["pid"], event["tid"]): event["args"]["name"]
        for event in by_phase(written, "M")
    }
    assert names["process_name", 0, 0] == "GPU"
    assert names["process_name", 1, 0] == "slice 0" and names["process_name", 2, 0] == "slice 1"
    assert names["thread_name", 2, 5] == "QPU 5" and len(names) == 2 + 2 + 6
    tracks = {(pid, tid) for _, pid, tid in names}
    assert {(event["pid"], event["tid"]) for event in by_phase(written, "X")} <= tracks


def test_launches_follow_each_other(written, launches):
    events = [event for event in by_phase(written, "X") if event["cat"] == "launch"]
    assert [event["name"] for event in events] == ["gemm", "second"]
    assert events[0]["ts"] == 0
    assert events[1]["ts"] == pytest.approx(launches[0].cycles * MICRO, abs=1e-3)
    for event, report in zip(events, launches):
        assert event["dur"] == pytest.approx(report.cycles * MICRO, abs=1e-3)
        assert event["args"]["clocks"] == report.cycles


def test_programs_sum_to_the_launch(written, launches):
    events = [event for event in by_phase(written, "X") if event["cat"] == "program"]
    assert len(events) == 6 + 5
    for report, own in zip(launches, (events[:6], events[6:])):
        for cause, clocks in report.stalls.items():
            assert sum(event["args"].get(cause, 0) for event in own) == clocks


def test_waits_lie_inside_their_program(written, launches):
    events = by_phase(written, "X")
    waits = [event for event in events if event["cat"] == "wait"]
    assert len(waits) == sum(len(report.timeline.segments) for report in launches)
    programs = {}
    for event in events:
        if event["cat"] == "program":
            programs.setdefault(event["tid"], []).append(event)
    last = {}
    for wait in waits:
        assert any(
            event["ts"] - 1e-6 <= wait["ts"]
            and wait["ts"] + wait["dur"] <= event["ts"] + event["dur"] + 1e-6
            for event in programs[wait["tid"]]
        )
        assert wait["ts"] >= last.get(wait["tid"], 0) - 1e-6  # in order, not overlapping
        last[wait["tid"]] = wait["ts"] + wait["dur"]
        assert {"clocks", "offset", "instruction"} <= set(wait["args"])


def test_counter_track_sums(written, launches):
    counts = by_phase(written, "C")
    clocks = {}
    for event, after in zip(counts, counts[1:]):
        for cause, mean in event["args"].items():
            clocks[cause] = clocks.get(cause, 0) + mean * (after["ts"] - event["ts"]) / MICRO
    for cause in ("issue", "tmu", "dma", "semaphore"):
        want = sum(report.stalls[cause] for report in launches)
        assert clocks[cause] == pytest.approx(want, rel=1e-2)


def test_only_the_longest_waits(launches, monkeypatch, tmp_path):
    monkeypatch.setattr(trace, "EVENTS", 20)
    written = json.loads(open(trace.write(Figures(launches), tmp_path / "t.json")).read())
    waits = [event for event in by_phase(written, "X") if event["cat"] == "wait"]
    lengths = np.concatenate([np.diff(r.timeline.segments[:, 2:4])[:, 0] for r in launches])
    assert 10 <= len(waits) <= 20
    shown = sorted(event["args"]["clocks"] for event in waits)
    assert shown == sorted(lengths)[-len(waits):]
    facts = written["otherData"]
    assert facts["waits shown"] == len(waits)
    assert facts["waits left out"] == len(lengths) - len(waits)


def test_no_timeline(made):
    report = made[0].replaced(timeline=None)
    with pytest.raises(PiblasError, match="no trace: profile with detail=True"):
        trace.events(Figures([report]))
