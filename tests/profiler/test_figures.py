"""Sums, rates and flops; the summary's text."""

from __future__ import annotations

import numpy as np
import pytest

from piblas.driver.device import RunReport
from piblas.errors import PiblasError
from piblas.isa.instr import encode
from piblas.isa.parse import parse
from piblas.isa.timing import timing_set
from piblas.profiler import Profile, tables
from piblas.profiler.figures import Figures, flops_of

from . import synthetic


@pytest.mark.parametrize(
    "text, flops",
    [
        ("fadd r0, r1, r2; fmul r1, r2, r3", 32),
        ("fsub r0, r1, r2", 16),
        ("fmul r1, r2, r3", 16),
        ("fmin r0, r1, r2; m_mov r1, r2", 0),
        ("add r0, r1, r2", 0),
        ("ldi r0, -, 1", 0),
        ("nop", 0),
    ],
)
def test_flops_of(text, flops):
    assert flops_of(encode(parse(text))) == flops


def test_flops_of_no_instruction():
    assert flops_of(0xFFFFFFFFFFFFFFFF) == 0


def test_sums_of_two_launches(made, program):
    first, _ = made
    second, _ = synthetic.launch(program.words[: program.length], n_qpus=3, seed=7, kernel="x")
    figures = Figures([first, second])
    assert figures.n_qpus == 6
    assert figures.cycles == first.cycles + second.cycles
    assert figures.stalls == {c: n + second.stalls[c] for c, n in first.stalls.items()}
    assert figures.bytes["tmu"] == 12800
    assert figures.counters[29] == 100
    assert figures.kernels == {"gemm": 1, "x": 1}
    for cause, clocks in figures.qpu_stalls.items():
        assert clocks.sum() == figures.stalls[cause]


def test_stalls_of_each_qpu(made):
    report, doings = made
    per_qpu = Figures([report]).qpu_stalls
    for qpu in range(report.n_qpus):
        total = sum(clocks[qpu] for clocks in per_qpu.values())
        assert total == report.cycles
        assert per_qpu["issue"][qpu] == np.count_nonzero(doings[qpu] == synthetic.ISSUE)


def test_rates(made):
    report, _ = made
    figures = Figures([report], "t", flops=100)
    assert figures.peak_rate == 6 * 8 * 250e6
    assert figures.flop_rate == pytest.approx(100 * 250e6 / report.cycles)
    assert figures.issue_rate == pytest.approx(100 * 250e6 / report.issue_cycles)
    assert figures.flops_kind == "useful"
    executed = Figures([report])
    by_hand = sum(flops_of(w) * n for w, n in zip(report.hot.words, report.hot.issued.tolist()))
    assert executed.flops == executed.executed_flops == by_hand > 0
    assert executed.flops_kind == "executed"
    # Of a solve the host computes a part, which is no rate of the QPUs.
    solve = Figures([report], flops=2 * by_hand)
    assert solve.flops == by_hand and solve.flops_kind == "executed"
    assert "50.0% of the" in tables.plain(tables.summary(solve)[0])


def test_origins(made):
    report, _ = made
    simulated = Figures([report])
    assert simulated.origin == "simulated" and '"calibrated"' in simulated.how
    measured = Figures([RunReport(n_qpus=12, clock_hz=250e6, seconds=0.001)])
    assert measured.origin == "measured" and measured.how == "measured, 250 MHz"
    counted = Figures([RunReport(n_qpus=12, clock_hz=250e6, instructions=5, issue_cycles=20)])
    assert counted.origin == "counted"
    assert counted.flop_rate is None and counted.stalls is None


def test_facts_leave_out_what_is_unknown():
    facts = Figures([RunReport(n_qpus=1, seconds=0.5)], "t").facts()
    assert facts == {
        "title": "t",
        "origin": "measured",
        "n_qpus": 1,
        "launches": 1,
        "kernels": {"?": 1},
        "seconds": 0.5,
    }


def test_facts_sum_up(made):
    report, _ = made
    facts = Figures([report]).facts()
    assert sum(facts["stalls"].values()) == facts["cycles"] * facts["n_qpus"]
    assert facts["counters"]["17"] == {"name": "qpu_tmu_stall", "value": report.stalls["tmu"]}


def test_nothing_to_profile():
    with pytest.raises(PiblasError, match="nothing to profile: no launch ran on a device"):
        Figures([])
    assert str(Profile()) == "no launch ran on a device"


# --- the summary ---------------------------------------------------------------------------------


def test_summary(profile, made):
    report, _ = made
    text = str(profile)
    assert text.startswith(
        "sgemm 6 x 7 x 8 (NN): kernel gemm on 6 QPUs\n"
        'simulated, timing set "calibrated", 250 MHz\n'
    )
    assert f"{report.cycles:,} clocks" in text
    for cause, clocks in report.stalls.items():
        assert f"{clocks:,}" in text and tables.cause_text(cause) in text
    paths = next(t for t in tables.summary(profile.figures) if t.title == "Bytes by path")
    assert [row[0] for row in paths.rows] == ["tmu", "l2", "sdram_read", "sdram_write"]
    assert "l2_misses" in text and "lines that L2 fetched from memory" in text


def test_longest_wait_and_paths(profile, made):
    report, _ = made
    waits = {cause: clocks for cause, clocks in report.stalls.items() if cause != "issue"}
    cause = max(waits, key=waits.get)
    rows = {row[0]: row[1:] for row in tables.summary(profile.figures)[0].rows}
    share = waits[cause] / (report.cycles * report.n_qpus)
    assert rows["longest wait"] == (f"{share:.1%}", f"{cause}: {tables.cause_text(cause)}")
    rate = 3840 / report.seconds
    allowed = timing_set("calibrated").sdram_rate
    limit = f"of {allowed:,} MB/s ({rate / allowed / 1e6:.0%}) that the timing set allows"
    assert rows["memory"] == (f"{rate / 1e6:,.0f} MB/s", limit)


def test_shares_add_up(profile):
    causes = next(t for t in tables.summary(profile.figures) if "clocks of the QPUs" in t.title)
    assert sum(float(row[2].rstrip("%")) for row in causes.rows) == pytest.approx(100, abs=1)


def test_summary_without_a_clock():
    report = RunReport(
        n_qpus=2, clock_hz=250e6, instructions=100, issue_cycles=240, bytes={"tmu": 64}
    )
    profile = Profile()
    profile.reports.append(report)
    text = profile.summary()
    assert "counted without a clock model, 250 MHz" in text
    assert "at least 960 ns  if nothing ever waited" in text
    assert "simulated" not in text and "GFLOPS" not in text


def test_unknown_names_are_shown(made):
    report = made[0].replaced(
        stalls={"issue": 1, "tea": 3}, counters={16: 1, 31: 5}, timeline=None
    )
    text = tables.text(Figures([report]), tables.summary(Figures([report])))
    assert "tea" in text and "counter_31" in text


@pytest.mark.parametrize(
    "seconds, text",
    [(2.5, "2.5 s"), (0.0123456, "12.35 ms"), (4e-6, "4 us"), (16e-9, "16 ns"), (0, "0 ns")],
)
def test_time_text(seconds, text):
    assert tables.time_text(seconds) == text


def test_bar():
    assert tables.bar(0) == "" and tables.bar(1e-6) == "#" and tables.bar(0.5, 10) == "#####"
