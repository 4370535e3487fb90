"""The published measurements that the clock must reproduce (slow), and the table's rules."""

from __future__ import annotations

import dataclasses
import json
import sys

import pytest

pytest.importorskip("numba")

from bench import __main__ as bench_main
from bench import calibrate, loops
from bench.calibrate import POINTS
from bench.loops import Sgemm
from piblas.isa.timing import timing_set

QUICK = ("C10", "C10, 16", "C10, 32", "C11", "C12")
BY_NAME = {point.name: point for point in POINTS}


def verdict(name):
    point = BY_NAME[name]
    return point.verdict(point.values(timing_set("calibrated")))


@pytest.mark.parametrize("name", QUICK)
def test_micro_benchmarks(name):
    assert verdict(name) == "met"


@pytest.mark.slow
@pytest.mark.parametrize("name", [point.name for point in POINTS if point.name not in QUICK])
def test_published_programs(name):
    point = BY_NAME[name]
    if point.span is None:
        values = point.values(timing_set("calibrated"))
        assert values[0] == pytest.approx(point.published, rel=0.15)
    else:
        assert verdict(name) == "met"


def test_points_have_names_of_their_own():
    assert len(BY_NAME) == len(POINTS)


def test_a_band_is_met_if_it_holds_the_value():
    point = BY_NAME["C2"]
    assert point.verdict([0.7, 1.0]) == "met"
    assert point.verdict([0.81, 1.0]) == point.verdict([0.5, 0.8]) == "missed"
    assert BY_NAME["C4"].verdict([1.0]) == "-"


@pytest.mark.parametrize("case, instructions", [
    (Sgemm("uniform", 67), 67), (Sgemm("rotate", 126), 126), (Sgemm("rotate", 158), 158),
    (Sgemm("rotate", 115, gathers=False), 115), (Sgemm("rotate", 166, gathers_b=True), 166),
])  # fmt: skip
def test_loops_have_the_published_length(case, instructions):
    small = dataclasses.replace(case, columns=384)
    assert len(small.tiles(0)) == 3
    report = loops.run_sgemm(small, "off", 250e6)
    per_tile = report.per_qpu[0]["instructions"] / 3
    assert loops.K * instructions < per_tile < loops.K * instructions + 700
    requests = report.per_qpu[0]["tmu_requests"] / 3
    # A is asked for two steps ahead, B one.
    assert requests == (loops.K + 2 if case.loop == "uniform" else 5 * loops.K + 6)
    if case.loop == "uniform":
        reads = report.per_qpu[0]["uniforms"] / 3
        assert loops.K * 64 <= reads <= loops.K * 64 + 20


def test_command(monkeypatch, capsys):
    rows = [BY_NAME["C10"], BY_NAME["C11"]]
    monkeypatch.setattr(calibrate, "POINTS", rows)
    monkeypatch.setattr(sys, "argv", ["bench", "calibrate", "calibrated"])
    assert bench_main.main() == 0
    out = capsys.readouterr().out
    assert "C10" in out and "0.57 to 0.63" in out and "fitted: uniform_sdram" in out
    assert out.endswith("calibrated: 2 of 2 met\n")
    monkeypatch.setattr(sys, "argv", ["bench", "calibrate", "pessimistic", "--json"])
    assert bench_main.main() == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["C10", "C11"]
    monkeypatch.setattr(sys, "argv", ["bench"])
    assert bench_main.main() == 2
    assert "calibrate" in capsys.readouterr().out
