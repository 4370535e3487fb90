"""piblas tune: what it works out of times, and the command on the emulator."""

from __future__ import annotations

import json
import os

import pytest

from piblas.cli import main
from piblas.dispatch import boards, choose, devices, predictions, profiles
from piblas.dispatch.boards import Factors
from piblas.tune import STEPS, routines

PI1 = boards.BOARDS["pi1"]


@pytest.fixture
def home(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("PIBLAS_PROFILES", str(tmp_path))
    devices.figures_changed()
    yield tmp_path
    monkeypatch.undo()
    devices.figures_changed()


def tune(capsys, *argv):
    """(exit code, stdout, stderr) of a command line."""
    try:
        code = main(["tune", *argv])
    except SystemExit as end:
        code = end.code
    streams = capsys.readouterr()
    return code, streams.out, streams.err


# --- arithmetic ---------------------------------------------------------------------------------


def row(kernel, call, cpu, launches=1):
    model = {"kernel": 1e-3, "staging": 2e-3, "cpu": 4e-3}
    return {"n": 1, "kernel": kernel, "call": call, "cpu": cpu, "launches": launches,
            "model": model}  # fmt: skip


def test_factors_by_hand():
    """Two launches of 100 us are in 2.2 ms, so the kernel took 2; staging 8.2 - 2.2 = 6."""
    one = row(2.2e-3, 8.2e-3, 1e-3 + 5e-6, launches=2)
    assert routines._factors([one], PI1) == {"kernel": 2.0, "staging": 3.0, "cpu": 0.25}
    other = row(8.1e-3, 14.1e-3, 16e-3 + 5e-6)
    assert routines._factors([one, other], PI1) == {"kernel": 4.0, "staging": 3.0, "cpu": 1.0}


def test_times_too_short_to_tell_make_no_factor():
    assert routines._factors([row(1e-4, 1e-4, 5e-6)], PI1) == dict.fromkeys(Factors._fields)
    assert routines._factors([], PI1) == dict.fromkeys(Factors._fields)


def test_the_emulators_seconds_hold_no_launch():
    one = {"n": 1, "kernel": 3e-3, "launches": 2, "model": {"kernel": 1e-3}}
    assert routines._factors([one], PI1) == {"kernel": 3.0, "staging": None, "cpu": None}


@pytest.mark.parametrize("resident", [False, True])
def test_crossover_is_where_the_prediction_turns(monkeypatch, resident):
    monkeypatch.setattr(predictions, "seconds", lambda routine, mhz, sizes: 1e-3)
    n = routines.crossover("sgemm", PI1, resident)

    def wins(n):
        sizes = {"m": n, "n": n, "k": n}
        seconds = choose.predict(choose.Call("sgemm", sizes, resident), PI1)
        return seconds["qpu"] < seconds["cpu"]

    assert wins(n) and not wins(n - 1)


def test_no_crossover(monkeypatch):
    monkeypatch.setattr(predictions, "seconds", lambda routine, mhz, sizes: 1e9)
    assert routines.crossover("sgemm", PI1) is None
    monkeypatch.setattr(predictions, "seconds", lambda routine, mhz, sizes: None)
    assert routines.crossover("sgemm", PI1) is None


# --- the command --------------------------------------------------------------------------------

EMULATED = ("--device", "emulator", "--quick", "--board", "pi2")
EMULATED_ROUTINES = (*EMULATED, "--step", "routines")


def test_on_the_emulator(capsys, home):
    pytest.importorskip("numba")
    two = ("--routine", "saxpy", "--routine", "sgemm")
    code, out, _ = tune(capsys, *EMULATED_ROUTINES, *two, "--json")
    assert code == 0
    facts = json.loads(out)
    found = facts["sections"]["routines"]
    assert facts["file"] == str(home / "pi2.json") and facts["problems"] == []
    assert set(found) == {"saxpy", "sgemm"} and set(facts["sections"]) == {"routines"}
    for each in found.values():
        # Near, as the prediction is an interpolation of the same clock; no time of this machine.
        assert 0.7 < each["kernel"] < 1.4 and each["staging"] is each["cpu"] is None
        assert all("call" not in one and "cpu" not in one for one in each["rows"])
    assert profiles.load("pi2", "emulator")["routines"] == found
    assert profiles.load("pi2", "qpu") == {} and not devices.figures("pi2").tuned
    # Another routine leaves those as they are; the text says that nothing was measured.
    code, out, _ = tune(capsys, *EMULATED_ROUTINES, "--routine", "scopy")
    assert code == 0 and "SIMULATED" in out and "published" in out and "kept: " in out
    kept = profiles.load("pi2", "emulator")["routines"]
    assert set(kept) == {"saxpy", "sgemm", "scopy"} and kept["saxpy"] == found["saxpy"]
    assert tune(capsys, "--forget", "--board", "pi2")[1] == f"deleted: {home / 'pi2.json'}\n"
    assert tune(capsys, "--forget", "--board", "pi2")[1] == "pi2 has no profile\n"


def test_dry_run(capsys, home):
    pytest.importorskip("numba")
    code, out, _ = tune(capsys, *EMULATED_ROUTINES, "--routine", "sscal", "--dry-run")
    assert code == 0 and "nothing was kept" in out and os.listdir(home) == []


def test_a_routine_that_fails_is_told(capsys, home, monkeypatch):
    pytest.importorskip("numba")

    def run(name):
        raise piblas_error("no room")

    from piblas.errors import PiblasError as piblas_error

    monkeypatch.setattr(routines.generic, "function", run)
    code, out, _ = tune(capsys, *EMULATED_ROUTINES, "--routine", "saxpy")
    assert code == 1 and "FAILED saxpy: n = 1024: no room" in out


@pytest.mark.parametrize("argv, code, words", [
    ((), 1, "this is none of the boards pi0, pi1"),
    (("--device", "emulator"), 1, "name one by --board"),
    (("--board", "pi1"), 1, "--board pi1: this is none of the boards"),
    (("--device", "cpu"), 2, "invalid choice: 'cpu'"),
    (("--board", "pi4", "--device", "emulator"), 2, "invalid choice: 'pi4'"),
    ((*EMULATED, "--routine", "dgemm"), 2, "invalid choice: 'dgemm'"),
    ((*EMULATED, "--step", "figures"), 2, "with --device emulator choose routines, gemm"),
    ((*EMULATED, "--step", "x"), 2, "--step x: "),
])  # fmt: skip
def test_refusals(capsys, home, argv, code, words):
    got, out, err = tune(capsys, *argv)
    assert got == code and words in err and out == ""
    assert os.listdir(home) == []


def test_another_board_than_this(capsys, home, monkeypatch):
    monkeypatch.setattr(devices, "_detected", lambda: boards.BOARDS["pi3"])
    assert "this is a pi3, and has not its QPUs" in tune(capsys, "--board", "pi1")[2]
    assert "no VideoCore IV GPU" in tune(capsys)[2]


def test_steps_have_names_of_their_own():
    assert len({step.name for step in STEPS}) == len(STEPS)
    assert all(set(step.devices) <= set(profiles.DEVICES) for step in STEPS)


def test_info_tells_whose_figures_decide(capsys, home, monkeypatch):
    monkeypatch.setattr(devices, "_detected", lambda: boards.BOARDS["pi2"])
    assert main(["info"]) == 0
    assert f"published ones; none measured in {home / 'pi2.json'}" in capsys.readouterr().out
    profiles.save("pi2", "figures", {"launch": 1e-4}, "qpu")
    devices.figures_changed()
    assert main(["info"]) == 0 and f"measured, {home / 'pi2.json'}" in capsys.readouterr().out
