"""``python -m bench sgemm`` on small sizes: what it prints, its verdicts, its picture."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

pytest.importorskip("numba")

from bench import __main__ as bench_main
from bench import sgemm
from bench.sgemm import parts, runs
from bench.sgemm.parts import Verdict
from piblas.isa.timing import timing_set
from piblas.kernels.gemm_rival_streams import Problem
from piblas.kernels.gemm_rivals import QMKL

CALIBRATED = timing_set("calibrated")


def test_all_parts(monkeypatch, capsys, tmp_path):
    figures, png = tmp_path / "f.json", tmp_path / "f.png"
    words = ["bench", "sgemm", "--quick", "--json", str(figures), "--png", str(png)]
    monkeypatch.setattr(sys, "argv", words)
    assert bench_main.main() == 0
    found = json.loads(figures.read_text())
    assert list(found) == list(parts.PARTS) and all(found.values())
    for row in found["rates"]:
        assert row["packing"] > 0 and row["packed_rate"] < row["rate"] < runs.PEAK
    assert {row["pair"] for row in found["trans"]} == {"nn", "nt", "tn", "tt"}
    assert len(found["shapes"]) == parts.QUICK.sampled
    assert png.read_bytes().startswith(b"\x89PNG")
    out = capsys.readouterr().out
    assert "bars (not judged: small sizes)" in out and "MISSED" not in out


def test_parts_are_selectable(capsys):
    assert sgemm.main(["--quick", "--part", "shapes"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("shapes:") and "rates:" not in out


@pytest.mark.parametrize("met, code", [(True, 0), (False, 1)])
def test_a_missed_bar_is_the_exit_code(monkeypatch, capsys, met, code):
    found = parts.Found([], [Verdict("a bar", "1", True), Verdict("another", "2", met)])
    monkeypatch.setitem(parts.PARTS, "rates", lambda scale: found)
    assert sgemm.main(["--part", "rates"]) == code
    assert ("MISSED another: 2" in capsys.readouterr().out) == (not met)


def test_losses_add_up():
    """Useful multiply-adds and losses are all clocks of all QPUs."""
    for run in (
        runs.product((70, 50, 90), CALIBRATED, "tn"),
        runs.call((70, 50, 90), CALIBRATED),
        runs.rival("qmkl", QMKL, Problem(70, 50, 90), CALIBRATED, 400e6),
    ):
        useful = run.rate / (runs.PEAK * run.clock_hz / runs.CLOCK_HZ)
        assert 0 < useful < 1 and min(run.lost.values()) >= 0
        assert useful + sum(run.lost.values()) == pytest.approx(1)


def test_a_wrong_result_is_noticed(monkeypatch):
    monkeypatch.setattr(
        runs.reference, "sgemm", lambda alpha, a, b, beta, c: np.ones(c.shape, np.float64)
    )
    with pytest.raises(AssertionError, match="is wrong"):
        runs.call((20, 20, 20), CALIBRATED)


def test_sampled_shapes():
    shapes = parts.sample(200, 300)
    sides = np.array(shapes)
    assert sides.min() == 1 and 250 < sides.max() <= 300 and len(set(shapes)) > 150
    assert (sides.min(axis=1) < 16).sum() > 40
    assert parts.rounded((1, 16, 17)) == (16, 16, 32)
    assert parts.aligned_cube((250, 300, 260)) == (272, 272, 272)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["rates", "trans", "shapes", "rivals"])
def test_the_bars(part, capsys):
    """A verdict for each bar: all met."""
    found = parts.PARTS[part](parts.WHOLE)
    assert found.verdicts
    missed = [verdict for verdict in found.verdicts if not verdict.met]
    assert not missed
