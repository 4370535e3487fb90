"""The examples run on the emulator, and find what they should."""

from __future__ import annotations

import runpy
import sys

import numpy as np
import pytest
from pages import ROOT

EXAMPLES = ROOT / "examples"


@pytest.fixture
def example(monkeypatch, fresh, tmp_path):
    """``example(name, *options)`` runs the main() of an example on the emulator."""
    monkeypatch.chdir(tmp_path)  # it may write pictures
    monkeypatch.syspath_prepend(str(EXAMPLES))

    def run(name, *options):
        monkeypatch.setattr(sys, "argv", [name, "--device", "emulator", *options])
        return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]()

    return run


def test_hello_qpu(example):
    a, b, c = example("hello_qpu")
    np.testing.assert_allclose(c, a + b, rtol=2e-7, atol=2e-7)


def test_counters(example, capsys):
    report = example("counters", "--size", "64")
    assert "TMU" in capsys.readouterr().out
    assert report.counters[16] > 0


def test_filter_bank(example):
    error, loudest = example("filter_bank")
    assert error < 5e-5
    assert loudest == sorted(set(loudest))  # the sweep rises


def test_kalman(example):
    errors = example("kalman", "--bodies", "60", "--steps", "12")
    assert errors[-1] < 0.6 * errors[0]


def test_digits_cnn(example):
    pytest.importorskip("sklearn", reason="its data: pip install scikit-learn")
    assert example("digits_cnn", "--train", "600", "--test", "200") > 0.93


def test_each_is_tested():
    """Every script has a test here; packages of examples have their own."""
    names = {path.stem for path in EXAMPLES.glob("*.py")} - {"common", "images"}
    assert names == {name[5:] for name in globals() if name.startswith("test_")} - {
        "each_is_tested"
    }
