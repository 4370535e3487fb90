"""The bars of levels 1 and 2 on fewer elements than the command's, and what the command says."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("numba")

from bench import __main__ as bench_main
from bench import bars, level1, level2
from bench.bars import BAR, measure
from piblas.isa.timing import timing_set
from piblas.profiler.roofs import least_seconds, limit

SMALL = level1.cases(1 << 18)
NAMES = [case.routine for case in SMALL]


@pytest.fixture
def small(monkeypatch):
    """The command with fewer elements."""
    monkeypatch.setattr(level1, "CASES", SMALL)


@pytest.mark.parametrize("case", SMALL, ids=NAMES)
def test_near_the_limit(case):
    """At least 85 % of the rate of the slowest path, and never more than all of it."""
    result = measure(case, timing_set("calibrated"))
    assert BAR <= result.share <= 1
    assert result.share + sum(result.lost.values()) == pytest.approx(1)
    assert sum(result.qpus.values()) == pytest.approx(1)


def named(cases):
    return [case for case in cases if case.asked]


@pytest.mark.parametrize("case", named(level2.cases(1024)), ids=lambda case: case.routine)
def test_matrices_near_the_limit(case):
    result = measure(case, timing_set("calibrated"))
    assert BAR <= result.share <= 1
    assert result.share + sum(result.lost.values()) == pytest.approx(1)


@pytest.mark.parametrize("case", level2.cases(160), ids=lambda case: case.routine)
def test_every_routine_of_level_2_is_measured(case):
    """A case checks its result; a share of a small matrix says little."""
    assert 0 < measure(case, timing_set("calibrated")).share <= 1


@pytest.mark.slow
@pytest.mark.parametrize("case", named(level2.CASES), ids=lambda case: case.routine)
def test_bars_of_level_2(case):
    """4 Mi elements, all timing sets."""
    shares = {name: measure(case, timing_set(name)).share for name in bars.SETS}
    print(case.routine, shares)
    assert min(shares.values()) >= BAR


@pytest.mark.slow
@pytest.mark.parametrize("case", level1.CASES, ids=NAMES)
def test_bars(case):
    """All elements, all timing sets.  In the pessimistic one sswap and srot miss: there the reads
    of a phase come in half the time of a transfer, and hold it up."""
    shares = {name: measure(case, timing_set(name)).share for name in bars.SETS}
    print(case.routine, shares)
    assert min(shares["calibrated"], shares["optimistic"]) >= BAR
    assert shares["pessimistic"] >= (0.8 if case.routine in ("sswap", "srot") else BAR)


@pytest.mark.parametrize("changes", (
    dict(sdram_rate=1500), dict(sdram_rate=2000), dict(sdram_rate=2200),
    dict(sdram_rate=2300, l2_port_line=6), dict(l2_port_line=8, sdram_rate=2200),
))  # fmt: skip
def test_copies_are_not_tuned_to_one_rate(changes):
    """The bar holds wherever memory and store engine are the limit, or about equal."""
    for case in (SMALL[NAMES.index("scopy")], SMALL[NAMES.index("sswap")]):
        assert measure(case, timing_set("calibrated", **changes)).share >= BAR


def test_limit_by_hand():
    timing = timing_set(
        "calibrated", sdram_rate=2000, l2_port_line=8, tmu_rate=16, dma_load_row=24,
        dma_store_row=14,
    )  # fmt: skip
    line = 64 * 1000
    paths = least_seconds(timing, 250e6, line, line)
    assert paths["memory"] == pytest.approx(2 * 1000 * 64 / 2e9)
    assert paths["loads"] == pytest.approx(1000 * 6 / 250e6)  # a line in 8 clk and one in 24
    assert paths["stores"] == pytest.approx(1000 * 14 / 250e6)
    assert limit(timing, 250e6, line, line) == ("memory", paths["memory"])
    assert limit(timing, 250e6, 0, line)[0] == "stores"
    blocking = timing_set("calibrated", "blocking", sdram_rate=3600)
    assert limit(blocking, 250e6, line, 0)[0] == "loads"


def test_the_command(small, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["bench", "level1", "scopy", "--set", "calibrated"])
    assert bench_main.main() == 0
    text = capsys.readouterr().out
    assert "simulated, calibrated" in text and "starts of transfers" in text and "met" in text
    assert level1.main(["sdot", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["timing_set"] for row in rows] == ["calibrated", "pessimistic", "optimistic"]
    assert all(row["path"] == "memory" and row["share"] >= BAR for row in rows)
    with pytest.raises(SystemExit):
        level1.main(["sfoo"])


def test_all_levels_in_one_command(small, capsys, monkeypatch):
    monkeypatch.setattr(level2, "CASES", level2.cases(160)[:3])
    monkeypatch.setattr("sys.argv", ["bench", "levels", "--set", "optimistic", "--size", "48"])
    assert bench_main.main() == 0
    text = capsys.readouterr().out
    assert all(name in text for name in ("sasum ", "sgemv ", "sger ", "strsm ", "simulated"))
    assert "missed" not in text and "lost: " in text


def test_a_missed_bar_fails(small, capsys, monkeypatch):
    monkeypatch.setattr(bars, "BAR", 1.01)
    assert level1.main(["sasum", "--set", "calibrated"]) == 1
    assert "missed" in capsys.readouterr().out


def test_wrong_results_are_no_result(monkeypatch):
    """A case checks what its kernel computed."""
    wrong = level1.reference.Reference(lambda x, y: (x + 1,), lambda x, y: (0.0,))
    monkeypatch.setitem(level1.reference.LEVEL_1, "scopy", wrong)
    (case,) = [case for case in level1.cases(1 << 10) if case.routine == "scopy"]
    with pytest.raises(AssertionError):
        measure(case, timing_set("calibrated"))
