"""The command line and the sgemm tests on virtual Pis."""

from __future__ import annotations

import json
import sys

import pytest

from .pi import TREE, VirtualPi

WORKING = ["bookworm32", "bookworm64", "bullseye", "no-vcsm-cma", "root", "zero", "udev2026-root",
           "old-vcsm"]
FAILING = ["udev2026", "kms", "gpu_mem16", "pi4"]


def demo(pi, *arguments):
    return pi.run([sys.executable, "-m", "piblas", "demo", "--device", "qpu", *arguments])


def check_demo(name, size):
    with VirtualPi(name) as pi:
        done = demo(pi, "--size", str(size), "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["ok"] is True
        report = pi.report()
        assert report.clean and report.launches >= 3, report


@pytest.mark.parametrize("name", ["bookworm32"])
def test_demo(name):
    check_demo(name, 64)


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKING)
def test_demo_everywhere(name):
    check_demo(name, 256)


@pytest.mark.slow
@pytest.mark.parametrize("name", FAILING)
def test_demo_says_why_not(name):
    with VirtualPi(name) as pi:
        done = demo(pi, "--size", "16")
        assert done.returncode != 0 and "Traceback" not in done.stderr
        words = {"udev2026": "/dev/vcio: Permission denied", "pi4": "VideoCore VI"}
        assert words.get(name, "does not lend its QPUs") in done.stderr + done.stdout
        assert pi.report().clean


@pytest.mark.slow
@pytest.mark.parametrize("name", FAILING)
def test_auto_computes_on_the_cpu(name):
    code = """
import numpy as np, piblas
a = np.ones((200, 200), np.float32)
c = piblas.sgemm(1, a, a)
assert (c == 200).all() and list(piblas.stats()) == ["cpu"], piblas.stats()
"""
    with VirtualPi(name) as pi:
        done = pi.python(code)
        assert done.returncode == 0, done.stderr
        assert pi.report().clean


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKING)
def test_the_sgemm_tests(name):
    """tests/blas/test_sgemm*.py as they are, on the QPUs of the virtual Pi."""
    with VirtualPi(name) as pi:
        done = pi.run(
            [sys.executable, "-m", "pytest", "-q", "--device", "qpu", "-p", "no:cacheprovider",
             "--deselect", "tests/blas/test_sgemm.py::test_a_missing_gpu_that_was_asked_for_raises",
             "tests/blas/test_sgemm.py", "tests/blas/test_sgemm_random.py"],
            timeout=900, cwd=str(TREE),
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
        print(name, done.stdout.strip().splitlines()[-1])
        report = pi.report()
        assert report.clean and report.launches > 300, report


TUNE = """
import json, os, sys
os.environ["PIBLAS_PROFILES"] = sys.argv[1]
from piblas.cli import main
code = main(["tune", "--quick", "--routine", "saxpy", "--routine", "sgemm", "--json"])
import piblas
from piblas.dispatch import devices, host_calls
choice = piblas.why("saxpy", n=9)
board = devices.board()
print(json.dumps([
    board.tuned, board.launch, choice.seconds, choice.parts["cpu"].host, host_calls.on_cpu("saxpy")
]))
sys.exit(code)
"""


@pytest.mark.slow
@pytest.mark.parametrize("name, board", [("pi1", "pi1"), ("root", "pi3")])
def test_tune(name, board, tmp_path):
    """The figures are those of this machine's emulator; that they are kept and read is the test."""
    with VirtualPi(name) as pi:
        done = pi.python(TUNE, str(tmp_path))
        assert done.returncode == 0, done.stderr
        report = pi.report()
        assert report.clean and report.launches > 20, report
    told, after = map(json.loads, done.stdout.splitlines())
    assert told["board"] == board and told["file"] == str(tmp_path / f"{board}.json")
    figures, routines = told["sections"]["figures"], told["sections"]["routines"]
    assert figures["clock"] == pi.kernel.setup.board.v3d_hz / 1e6
    assert all(value > 0 for value in figures.values())
    for row in routines.values():
        assert row["kernel"] > 0 and row["cpu"] > 0 and row["host"] > 0 and row["problem"] == ""
    tuned, launch, seconds, host, calls = after
    assert tuned and launch == figures["launch"]
    assert host == pytest.approx(figures["call"] + calls * figures["python"])
    assert seconds["cpu"] >= host and seconds["qpu"] > launch


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bookworm64", "root"])
def test_selftest(name, tmp_path):
    """All of it but the times, which are those of this machine's emulator."""
    with VirtualPi(name, timing="off") as pi:
        command = [sys.executable, "-m", "piblas", "selftest", "--quick", "--out", str(tmp_path)]
        done = pi.run([*command, "--json"], timeout=900)
        assert done.returncode == 0, done.stderr + done.stdout
        report = pi.report()
        assert report.clean and report.launches > 300, report
    told = json.loads(done.stdout)
    assert told["conformance"]["differences"] == [] and told["conformance"]["cases"] > 100
    assert all(row["ok"] and row["ran"] for row in told["routines"])
    assert [row["bench"] for row in told["timing"] if row["problem"]] == []
    assert all(bool(row["counters"]) == (name == "root") for row in told["timing"])
    machine = told["machine"]
    assert machine["device"] == "qpu" and machine["model"] == pi.setup.board.model
    assert machine["memory"] == "heap-import" and told["host"]["launch_12_us"] > 0
    (text,) = tmp_path.glob("*.txt")
    assert "simulated" not in text.read_text() and "as on the emulator" in text.read_text()
