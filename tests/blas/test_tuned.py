"""Dispatch decides by a board's own figures where tune has measured some."""

from __future__ import annotations

import logging

import pytest

import piblas
from piblas.dispatch import boards, devices, host_calls, predictions, profiles, tuned
from piblas.dispatch.choose import Call, predict

SIZES = {"m": 64, "n": 64, "k": 64}
FIGURES = {
    "clock": 300, "copy": 500.0, "cached": 900, "cpu": 0.5, "launch": 2e-5, "call": 1e-6,
    "python": 1e-7,
}  # fmt: skip


@pytest.fixture
def home(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("PIBLAS_PROFILES", str(tmp_path))
    monkeypatch.setattr(predictions, "seconds", lambda routine, mhz, sizes, resident: 0.05 / mhz)
    monkeypatch.setattr(predictions, "launches", lambda *args: 1)
    monkeypatch.setattr(host_calls, "calls", lambda *args: 90)
    monkeypatch.setattr(host_calls, "on_cpu", lambda routine: 30)
    monkeypatch.setattr(host_calls, "per_launch", lambda: 10)
    devices.figures_changed()
    yield tmp_path
    monkeypatch.undo()
    devices.figures_changed()


def why(**options):
    return piblas.why("sgemm", board="pi1", **SIZES, **options).seconds


def test_without_a_profile(home):
    assert devices.figures("pi1") == boards.BOARDS["pi1"] and not devices.figures("pi1").tuned


def test_by_hand(home):
    profiles.save("pi1", tuned.FIGURES, FIGURES, "qpu")
    factors = {"sgemm": {"kernel": 2.0, "staging": 3.0, "cpu": 0.5, "host": 4.0}}
    factors["saxpy"] = {"kernel": None}
    profiles.save("pi1", tuned.ROUTINES, factors, "qpu")
    devices.figures_changed()
    flops, staged = 2 * 64**3, 4 * 4 * 64**2
    seconds = why()
    assert seconds["cpu"] == pytest.approx(1e-6 + 30e-7 + 0.5 * flops / 0.5e9)
    around = 2e-5 + 4 * 100e-7
    assert seconds["qpu"] == pytest.approx(
        around + 3 * staged / (500 * 2**20) + 2 * 0.05 / 300
    )
    assert why(resident=True)["qpu"] == pytest.approx(around + 2 * 0.05 / 300)
    other = predict(Call("saxpy", {"n": 1000}), devices.figures("pi1"))
    assert other["cpu"] == pytest.approx(1e-6 + 30e-7 + 12000 / (2 * 900 * 2**20))
    assert other["qpu"] == pytest.approx(2e-5 + 100e-7 + 12000 / (500 * 2**20) + 0.05 / 300)
    assert devices.figures("pi1").tuned and not devices.figures("pi2").tuned


def test_figures_turn_a_decision(home):
    sizes = dict.fromkeys(SIZES, 256)
    assert piblas.why("sgemm", board="pi1", **sizes).backend == "qpu"
    for name in ("launch", "python"):
        profiles.save("pi1", tuned.FIGURES, {name: 1.0}, "qpu")
        devices.figures_changed()
        assert piblas.why("sgemm", board="pi1", **sizes).backend == "cpu"


def test_the_emulators_figures_decide_nothing(home):
    profiles.save("pi1", tuned.FIGURES, FIGURES, "emulator")
    devices.figures_changed()
    assert devices.figures("pi1") == boards.BOARDS["pi1"]


@pytest.mark.parametrize("section, values", [
    (tuned.FIGURES, {"clock": 0}), (tuned.FIGURES, {"cpu": -1}), (tuned.FIGURES, {"copy": "5"}),
    (tuned.FIGURES, {"launch": float("nan")}), (tuned.FIGURES, {"call": True}),
    (tuned.ROUTINES, {"sgemm": 2.0}), (tuned.ROUTINES, {"sgemm": {"kernel": float("inf")}}),
])  # fmt: skip
def test_what_cannot_be_true_is_left_out(home, caplog, section, values):
    profiles.save("pi1", section, values, "qpu")
    devices.figures_changed()
    with caplog.at_level(logging.WARNING, "piblas"):
        assert devices.figures("pi1") == boards.BOARDS["pi1"]
    assert "pi1.json is left out" in caplog.text
