"""piblas tune: what it works out of times, and the command on the emulator."""

from __future__ import annotations

import cProfile
import json
import os
import types

import pytest

import piblas.tune as tune_package
from bench.null_device import NullDevice
from piblas import record
from piblas.cli import main
from piblas.cli import tune as command
from piblas.dispatch import boards, choose, devices, predictions, profiles
from piblas.dispatch.boards import Factors
from piblas.driver.device import RunReport
from piblas.tune import STEPS, Bench, interpreter, routines
from piblas.tune import step as timed

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


MODEL = {"kernel": 1e-3, "staging": 2e-3, "cpu": 4e-3, "host": 1e-4}


def row(kernel, around, cpu=None, launches=1):
    """A row on device memory, or one on ordinary memory if it has the CPU's time."""
    found = {"n": 1, "kernel": kernel, "around": around, "launches": launches, "model": MODEL}
    if cpu is None:
        return {**found, "resident": True, "model": {**MODEL, "staging": 0.0}}
    return {**found, "resident": False, "cpu": cpu}


def test_factors_by_hand():
    """Two launches of 100 us are in 2.2 ms, so the kernel took 2.  Around it Python takes 0.3 ms,
    three times the model's 0.1; so of 6.3 ms on ordinary memory 6 are copies."""
    ordinary = row(2.2e-3, 6.3e-3, 1e-3 + 5e-6, launches=2)
    resident = row(2.2e-3, 3e-4, launches=2)
    found = {"kernel": 2.0, "staging": 3.0, "cpu": 0.25, "host": 3.0}
    assert routines._factors([ordinary, resident], PI1) == found
    more = [row(8.1e-3, 6.3e-3, 16e-3 + 5e-6), row(8.1e-3, 3e-4)]
    found = {"kernel": 4.0, "staging": 3.0, "cpu": 1.0, "host": 3.0}
    assert routines._factors([ordinary, resident, *more], PI1) == found


def test_what_always_copies_has_one_factor_for_host_and_staging():
    """4.2 ms for the model's 0.1 + 2."""
    found = routines._factors([row(1.1e-3, 4.2e-3, 4e-3 + 5e-6)], PI1)
    assert found == {"kernel": 1.0, "staging": 2.0, "cpu": 1.0, "host": 2.0}


def test_times_too_short_to_tell_make_no_factor():
    assert routines._factors([row(1e-4, 1e-7, 5e-6)], PI1) == dict.fromkeys(Factors._fields)
    assert routines._factors([], PI1) == dict.fromkeys(Factors._fields)


def test_the_emulators_seconds_hold_no_launch():
    one = {"n": 1, "resident": False, "kernel": 3e-3, "launches": 2, "model": MODEL}
    expected = {"kernel": 3.0, "staging": None, "cpu": None, "host": None}
    assert routines._factors([one], PI1) == expected


@pytest.mark.parametrize("resident", [False, True])
def test_crossover_is_where_the_prediction_turns(monkeypatch, resident):
    monkeypatch.setattr(predictions, "seconds", lambda *args: 1e-3)
    n = routines.crossover("sgemm", PI1, resident)

    def wins(n):
        sizes = {"m": n, "n": n, "k": n}
        seconds = choose.predict(choose.Call("sgemm", sizes, resident), PI1)
        return seconds["qpu"] < seconds["cpu"]

    assert wins(n) and not wins(n - 1)


def test_no_crossover(monkeypatch):
    monkeypatch.setattr(predictions, "seconds", lambda *args: 1e9)
    assert routines.crossover("sgemm", PI1) is None
    monkeypatch.setattr(predictions, "seconds", lambda *args: None)
    assert routines.crossover("sgemm", PI1) is None


# --- a wrong profile ----------------------------------------------------------------------------


class Truth:
    """A pretended Pi 2: its clock goes on by what a board of certain figures takes for a call."""

    def __init__(self, board):
        self.board, self.now = board, 0.0

    def perf_counter(self):
        return self.now

    def prepare(self, routine, function, sizes, place=None):
        asked = choose.Call(routine, sizes, resident=place is not None)

        def call():
            cost = choose.costs(asked, self.board)
            if devices.current()[0].backend == "cpu":
                self.now += self.board.call + cost["cpu"].kernel
                return
            self.now += cost["qpu"].seconds
            launched = cost["qpu"].kernel + cost["qpu"].launch
            record.report(RunReport(n_qpus=12, seconds=launched))

        return call


@pytest.mark.parametrize("step", [(), ("--step", "routines")])
def test_a_wrong_profile_is_repaired(capsys, home, monkeypatch, step):
    """With operands in device memory and in ordinary memory alike: first the profile is
    far off in everything, then dispatch is right about a board that is not as the model says."""
    published = boards.BOARDS["pi2"]
    figures = {"clock": 250, "copy": 300.0, "cached": 700.0, "cpu": 2.0, "launch": 2e-4,
               "call": 4e-6, "python": 5e-6}  # fmt: skip
    own = Factors(kernel=1.5, staging=0.5, cpu=1.25, host=3.0)
    alike = own._replace(staging=3.0)  # it always copies, so that the two cannot be told apart
    factors = {"sgemm": own, "sgemv": own, "strsm": alike}
    truth = Truth(published._replace(**figures, factors=factors))
    monkeypatch.setattr(devices, "_detected", lambda: published)
    monkeypatch.setattr(command, "open_device", lambda name, **options: NullDevice())
    monkeypatch.setattr(command, "_prepare", truth.prepare)
    monkeypatch.setattr(timed, "time", truth)
    monkeypatch.setattr(predictions, "launches", lambda *args: 1)
    wrong = {name: 10 * value for name, value in figures.items()} if not step else figures
    profiles.save("pi2", "figures", wrong, "qpu")
    off = Factors(kernel=30.0, staging=30.0, cpu=30.0, host=30.0)._asdict()
    profiles.save("pi2", "routines", dict.fromkeys(factors, off), "qpu")
    measured = STEPS[0]._replace(run=lambda at: figures)
    monkeypatch.setattr(tune_package, "STEPS", (measured, *STEPS[1:]))
    devices.figures_changed()
    asked = [
        choose.Call(routine, sizes, resident)
        for routine, sizes in (
            ("sgemm", {"m": 300, "n": 200, "k": 100}), ("sgemm", {"m": 64, "n": 64, "k": 64}),
            ("sgemv", {"m": 500, "n": 500}), ("strsm", {"m": 200, "n": 300}),
        )
        for resident in (False, True)
    ]  # fmt: skip
    for call in asked:
        known = choose.predict(call, devices.figures("pi2"))
        for name, seconds in choose.predict(call, truth.board).items():
            assert known[name] > 2 * seconds
    code, _, _ = tune(capsys, *(f"--routine={name}" for name in factors), *step)
    assert code == 0
    for call in asked:
        known = choose.predict(call, devices.figures("pi2"))
        for name, seconds in choose.predict(call, truth.board).items():
            assert known[name] == pytest.approx(seconds, rel=0.02)


@pytest.mark.parametrize("routine", ["saxpy", "sgemv", "sgemm", "strsm"])
def test_both_kinds_of_operands_are_measured(routine):
    """The calls themselves, on a device whose launches return at once."""
    device = NullDevice()
    at = Bench(device, PI1, command._prepare, (routine,), True, lambda text: None)
    found = routines.STEP.run(at)[routine]
    assert not found["problem"] and {row["resident"] for row in found["rows"]} == {False, True}
    assert all(row["around"] > 0 and row["launches"] for row in found["rows"])
    assert found["host"] > 0 and found["cpu"] is not None


def test_python_is_measured_by_a_loop(monkeypatch):
    seconds = iter(range(0, 10**6, 3))
    monkeypatch.setattr(timed, "time", types.SimpleNamespace(perf_counter=lambda: next(seconds)))
    assert interpreter.loop_seconds(3) == 3
    profile = cProfile.Profile()
    assert profile.runcall(interpreter.loop) == 2
    calls = sum(entry.callcount for entry in profile.getstats())
    assert interpreter.CALLS <= calls <= interpreter.CALLS + 3


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
        assert 0.7 < each["kernel"] < 1.4
        assert each["staging"] is each["cpu"] is each["host"] is None
        assert all("around" not in one and "cpu" not in one for one in each["rows"])
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

    monkeypatch.setattr(routines.functions, "function", run)
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
