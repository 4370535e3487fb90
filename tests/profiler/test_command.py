"""``piblas profile`` and ``with piblas.profile()`` on the emulator."""

from __future__ import annotations

import builtins
import json
import re
import sys

import numpy as np
import pytest

import piblas
from piblas import cli
from piblas.cli import profile as command
from piblas.driver import Emulator
from piblas.isa.instr import encode
from piblas.isa.parse import parse
from piblas.isa.timing import timing_set

SIZES = ("50", "60", "37")


def run(capsys, *argv):
    """(exit code, stdout, stderr) of a command line."""
    try:
        code = cli.main(["profile", *map(str, argv)])
    except SystemExit as end:
        code = end.code
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_help(capsys):
    code, out, _ = run(capsys, "--help")
    assert code == 0 and out.startswith("usage: piblas profile")


@pytest.mark.parametrize(
    "argv, message",
    [
        (["sgemm", "1", "2"], "sgemm has the sizes m n k"),
        (["sgemm", "1", "2", "0"], "a size of 0 leaves nothing to profile"),
        (["sgemm", "1", "2", "x"], "'x' is not an integer of at least 0"),
        (["dgemm", "1", "2", "3"], "invalid choice: 'dgemm'"),
        (["sgemm", *SIZES, "--qpus", "13"], "--qpus 13: there are 1 to 12"),
        (["sgemm", *SIZES, "--trans", "xx"], "invalid choice: 'xx'"),
        (["sgemm", "5"], "sgemm has the sizes m n k"),
        (["sgemm", *SIZES, "--timing", "wrong"], "invalid choice: 'wrong'"),
        (["sgemm", *SIZES, "--hot", "-1"], "--hot -1: a number of lines"),
        (["sgemm", *SIZES, "--timing", "off", "--png", "x"], "--png needs a clock"),
        (["sgemm", *SIZES, "--timing", "off", "--svg", "x"], "--svg needs a clock"),
        (["sgemm", *SIZES, "--timing", "off", "--trace", "x"], "--trace needs a clock"),
        (["sgemm", *SIZES, "--timing", "off", "--band"], "--band needs a clock"),
        (["sgemm", *SIZES, "--timing", "off", "--listing"], "--listing needs a clock"),
    ],
)
def test_wrong_arguments(capsys, argv, message):
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err and "usage: piblas profile" in err


def test_nothing_ran(capsys):
    code, out, err = run(capsys, "sgemm", *SIZES, "--alpha", "0", "--timing", "off")
    assert (code, out) == (1, "")
    assert err.endswith("piblas profile: sgemm 50 x 60 x 37 (NN): nothing ran on the QPUs\n")


def test_impossible_clock(capsys):
    code, _, err = run(capsys, "sgemm", *SIZES, "--clock", "-3", "--timing", "off")
    assert code == 1 and "clock_hz = -3000000.0 is no frequency" in err


def test_without_a_clock(capsys):
    code, out, _ = run(capsys, "sgemm", *SIZES, "--timing", "off", "--qpus", "3")
    assert code == 0
    assert out.startswith("sgemm 50 x 60 x 37 (NN): kernel gemm on 3 QPUs\ncounted without a clock")
    assert "simulated" not in out


# --- with the clock ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def timed():
    """A profile with detail of two products on a device with its clock on."""
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 70, 70), dtype=np.float32)
    with Emulator(memory=16 << 20, timing="calibrated") as device, piblas.use(device):
        with piblas.profile(detail=True) as profile:
            piblas.sgemm(1.0, a, b)
            piblas.sgemm(1.0, a[:33], b[:, :20])
    return profile


def test_conservation(timed):
    for report in timed.reports:
        assert sum(report.stalls.values()) == report.cycles * report.n_qpus
        for cause, clocks in report.hot.stalls.items():
            assert clocks.sum() == report.stalls[cause]
        assert report.hot.issued.sum() == report.instructions
        by_cause = report.timeline.clocks.sum(axis=(0, 1))
        for cause, clocks in zip(report.timeline.causes, by_cause):
            assert clocks == report.stalls[cause]
        widths = report.timeline.clocks.sum(axis=2)
        assert (widths[:, :-1] == report.timeline.width).all()
        assert (widths.sum(axis=1) == report.cycles).all()


def test_segments_are_on_their_words(timed):
    for report in timed.reports:
        timeline = report.timeline
        for qpu, cause, start, end, address in timeline.segments.tolist():
            assert 0 <= qpu < report.n_qpus and 0 <= start < end <= report.cycles
            index = np.searchsorted(report.hot.addresses, address)
            assert report.hot.addresses[index] == address
            assert report.hot.stalls[timeline.causes[cause]][index] >= end - start


def test_every_executed_word_has_its_source(timed):
    assert all(each.program is not None and each.name == "gemm" for each in timed.programs)
    assert sum(word.issued for each in timed.programs for word in each.words) == sum(
        report.instructions for report in timed.reports
    )
    rows = [line for line in timed.listing().splitlines() if "gemm.py:" in line]
    assert len(rows) > 100


def test_detail_changes_nothing(timed):
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 70, 70), dtype=np.float32)
    with Emulator(memory=16 << 20, timing="calibrated") as device, piblas.use(device):
        with piblas.profile() as plain:
            piblas.sgemm(1.0, a, b)
    (report,) = plain.reports
    assert report.hot is None and report.timeline is None
    assert report.cycles == timed.reports[0].cycles
    assert report.stalls == timed.reports[0].stalls
    assert report.timing == timing_set("calibrated")


def test_a_program_of_ones_own():
    """A launch that no routine made: counted, without a generator's lines."""
    words = [encode(parse(text)) for text in ("mov r0, unif", "fadd r0, r0, r0", "nop; thrend")]
    words += [encode(parse("nop"))] * 2
    with Emulator(memory=1 << 20, timing="calibrated") as device:
        with piblas.profile(detail=True) as profile:
            profile.reports.append(device.execute(device.load(words), [[1.5], [2.5]]))
    (program,) = profile.programs
    assert program.program is None
    assert [word.issued for word in program.words] == [2] * 5
    assert profile.figures.executed_flops == 2 * 16
    assert "fadd r0, r0, r0" in profile.listing() and "Source lines" not in profile.hot()
    assert "kernel ? on 2 QPUs" in profile.summary()


def test_everything(capsys, tmp_path):
    code, out, err = run(
        capsys, "sgemm", *SIZES, "--trans", "tn", "--beta", "0.5", "--png", tmp_path / "p",
        "--trace", tmp_path / "t.json", "--listing", "--hot", "3", "--timing", "pessimistic",
    )  # fmt: skip
    assert code == 0
    assert out.startswith("sgemm 50 x 60 x 37 (TN): kernel gemm on ")
    assert 'simulated, timing set "pessimistic", 250 MHz' in out
    for title in ("Result", "Where the clocks", "Bytes by path", "Blocks of", "Source lines of"):
        assert title in out
    assert re.search(r"^ +00[0-9a-f]{2}  .* gemm\.py:\d+", out, re.MULTILINE)
    names = ["p/timeline.png", "p/roofline.png", "p/heat.png", "t.json"]
    assert err.splitlines()[-4:] == [f"wrote {tmp_path / name}" for name in names]
    assert all((tmp_path / name).stat().st_size > 5000 for name in names)
    assert json.loads((tmp_path / "t.json").read_text())["traceEvents"]


def test_json(capsys):
    code, out, _ = run(capsys, "sgemm", *SIZES, "--json", "--band", "--clock", "300")
    facts = json.loads(out)
    assert code == 0 and facts["origin"] == "simulated" and facts["clock_hz"] == 300e6
    assert facts["timing_set"] == "calibrated"
    assert sum(facts["stalls"].values()) == facts["cycles"] * facts["n_qpus"]
    (program,) = facts["hot"]
    assert sum(word["issued"] for word in program["words"]) == facts["instructions"]
    band = {(row["timing_set"], row["reading"]): row["cycles"] for row in facts["band"]}
    assert len(band) == 9 and band["calibrated", "memory"] == facts["cycles"]
    pessimistic, calibrated, optimistic = (
        band[timing, "memory"] for timing in ("pessimistic", "calibrated", "optimistic")
    )
    assert pessimistic > calibrated > optimistic


# --- in a terminal -------------------------------------------------------------------------------


def in_a_terminal(monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm-256color")


def test_rich_tables(profile, capsys, monkeypatch):
    in_a_terminal(monkeypatch)
    command._show("what ran", command.tables.summary(profile.figures))
    out = capsys.readouterr().out
    assert "what ran" in out and "\u2588" in out and "#####" not in out
    assert f"{profile.reports[0].cycles:,}" in out


def test_plain_without_rich(profile, capsys, monkeypatch):
    in_a_terminal(monkeypatch)
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith("rich"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refuse)
    command._show("what ran", command.tables.summary(profile.figures))
    assert "#####" in capsys.readouterr().out
