"""``python -m bench level3``: the level-3 bar, and what the table says."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("numba")

from bench import __main__ as bench_main
from bench import level3


def test_every_routine_is_measured(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "level3", "--size", "96", "--timing", "calibrated"])
    assert bench_main.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "calibrated, order 96, 12 QPUs at 250 MHz, simulated"
    assert [line.split()[0] for line in lines[1:7]] == list(level3.SIZES)
    assert all("GFLOPS" in line and "issue" in line for line in lines[1:7])


def test_launches_count():
    """A second of launches and 0.2 ms for two of them."""
    found = level3.Measured(1.0, 2, level3.Counter(issue=1), 10**9)
    assert found.rate == pytest.approx(1 / (1 + 2 * 100e-6))


@pytest.mark.slow
def test_the_bar():
    """At order 1024 each routine is within 85 % of sgemm."""
    found = level3.measure(1024, "calibrated", list(level3.SIZES))
    shares = {name: each.rate / found["sgemm"].rate for name, each in found.items()}
    print(shares)
    assert min(shares.values()) >= level3.BAR
