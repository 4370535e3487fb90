"""The selftest of a board, tried on the emulator: its stored words and cycles, what it finds."""

from __future__ import annotations

import dataclasses
import json
import pathlib

import numpy as np
import pytest

pytest.importorskip("numba")

from piblas.cli import main
from piblas.codegen.check import check
from piblas.driver import Emulator
from piblas.errors import EmulatorFault
from piblas.isa import timing
from piblas.selftest import benches, conformance, failures, fit, routines


def hex_words(words):
    return np.ascontiguousarray(words).astype(">u4").tobytes().hex()


def stored(request, path, made):
    """Compare what was made with a data file, or rewrite the file."""
    text = "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in made.items())
    text += "\n}\n"
    file = pathlib.Path(path)
    if request.config.getoption("--update-golden"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    assert file.read_text() == text, "run pytest --update-golden -m 'slow or not slow' and look"


@pytest.fixture(scope="module")
def untimed():
    open_rules = tuple(case.open_rule for case in conformance.CASES if case.open_rule)
    options = dict(timing="off", incoherent=True, seed=4, keep_going=open_rules)
    with Emulator(memory=4 << 20, **options) as device:
        yield device


def test_stored_words_are_the_emulators(request, untimed):
    made = {case.name: hex_words(conformance.run_case(untimed, case)) for case in conformance.CASES}
    stored(request, conformance.path(), made)
    assert len(made) == len(conformance.CASES)


def test_stores_whose_places_are_open_tell_the_readings_apart():
    """Words of the VPM by number, row by row from row 16 on."""
    words = {name: row.ravel()[:32].tolist() for name, row in conformance.expected().items()}
    row_a_unit, without_gaps = [16 * u for u in range(32)], list(range(32))
    assert words["VPM store block mode"] == row_a_unit != without_gaps
    assert words["VPM store column of 32"] == 2 * [16 * d + 3 for d in range(16)]
    corner = [16 * d + 15 for d in range(16)] + [16 * d for d in range(16, 32)]
    assert words["VPM store beyond column 15"] == corner


def test_a_strict_emulator_refuses_what_is_open():
    with Emulator(memory=4 << 20, timing="off") as device:
        for case in conformance.CASES:
            if case.open_rule:
                with pytest.raises(EmulatorFault) as info:
                    conformance.run_case(device, case)
                assert info.value.rule == case.open_rule


@pytest.mark.slow
def test_stored_cycles_are_the_emulators(request):
    made = {str(mhz): fit.predict(mhz) for mhz in fit.CLOCKS}
    stored(request, fit.path(), made)


NAMES = ("issue", "tmu_l2", "uniform_hit", "dma_store_words", "semaphore")


def test_some_stored_cycles():
    """The fast part of the above."""
    kept = fit.predictions(300e6)
    for name in NAMES:
        row = benches.bench(name)
        assert fit.emulated(timing.timing_set("calibrated"), 300, row) == kept[name]["calibrated"]


def test_programs_break_no_rule():
    programs = [conformance.words(case) for case in conformance.CASES]
    programs += [benches.words(row) for row in benches.BENCHES if row.turns > 1000]
    for words in programs:
        assert [str(f) for f in check(words) if f.level == "error"] == []


def test_every_parameter_has_a_bench_that_moves_with_it():
    """But for those of which it is said why no loop on a QPU can show them."""
    assert not set(benches.NOT_SHOWN) & set(benches.ROWS_OF)
    for mhz in fit.CLOCKS:
        kept = fit.predictions(1e6 * mhz)
        for row in timing.ROWS:
            if row.name in benches.NOT_SHOWN:
                continue
            shown = benches.ROWS_OF[row.name]
            assert abs(kept[shown.name]["change"][row.name]) > 1e-9, (mhz, row.name)


def test_a_wrong_word_is_found():
    case = conformance.CASES[0]
    wanted = conformance.expected()[case.name]
    assert conformance.compare(case, wanted, wanted) is None
    got = wanted.copy()
    got[1, 0, 3] ^= 1
    found = conformance.compare(case, got, wanted)
    assert (found.name, found.words) == (case.name, 1)
    assert "turn 1, vector 0, lane 3" in found.first and f"{int(got[1, 0, 3]):08x}" in found.first


def test_special_functions_have_a_tolerance():
    case = next(case for case in conformance.CASES if case.name == "sfu recip")
    wanted = conformance.expected()[case.name]
    near = wanted.view(np.float32) * np.float32(1 + 2.0**-12)
    far = wanted.view(np.float32) * np.float32(1 + 2.0**-8)
    assert conformance.compare(case, near.view(np.uint32), wanted) is None
    assert conformance.compare(case, far.view(np.uint32), wanted) is not None


def test_a_changed_parameter_is_implied():
    """A chip whose L2 answers 10 clk later: the fit says so."""
    base = timing.timing_set("calibrated")
    changed = dataclasses.replace(base, tmu_l2=base.tmu_l2 + 10)
    with Emulator(memory=8 << 20, timing=changed, clock_hz=250e6) as device:
        row = fit.measure(device, benches.bench("tmu_l2"), 1, True)
    implied = {one.parameter: one.implied for one in fit.fitted([row], 250e6)}
    assert implied["tmu_l2"] == pytest.approx(base.tmu_l2 + 10, abs=0.5)
    assert implied["tmu_hit"] is None


@pytest.mark.parametrize("clocks, scatter", [(-5.0, 0.1), (100.0, 30.0)])
def test_noise_implies_nothing(clocks, scatter):
    predicted = {"calibrated": 296.0}
    row = fit.Measured("tmu_l2", "", clocks, scatter, predicted, None)
    assert row.noisy and row.inside is None
    assert all(one.implied is None for one in fit.fitted([row], 250e6))


def test_a_wrong_routine_is_found(untimed, monkeypatch):
    monkeypatch.setattr(routines, "LENGTHS", (17,))
    monkeypatch.setattr(routines, "SHAPES", ())
    only = {"saxpy": routines.reference.LEVEL_1["saxpy"]}
    monkeypatch.setattr(routines.reference, "LEVEL_1", only)
    (good,) = routines.check(untimed)
    assert good.ok and good.ran
    real = routines.functions.function
    monkeypatch.setattr(
        routines.functions, "function", lambda name: lambda *a, **k: real(name)(*a, **k) + 1e-3
    )
    (bad,) = routines.check(untimed)
    assert bad.ran and not bad.ok


def test_a_routine_that_does_not_reach_the_qpus_is_found(untimed, monkeypatch):
    monkeypatch.setattr(routines, "LENGTHS", (17,))
    monkeypatch.setattr(routines, "SHAPES", ())
    only = {"saxpy": routines.reference.LEVEL_1["saxpy"]}
    monkeypatch.setattr(routines.reference, "LEVEL_1", only)
    real = routines.functions.function("saxpy")

    def on_the_cpu(*args, **kwargs):
        with routines.devices.use("cpu"):
            return real(*args, **kwargs)

    monkeypatch.setattr(routines.functions, "function", lambda name: on_the_cpu)
    (row,) = routines.check(untimed)
    assert row.error <= 1 and not row.ran and not row.ok


@pytest.mark.slow
def test_the_command(tmp_path, capsys):
    assert main(["selftest", "--device", "emulator", "--out", str(tmp_path), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    (written,) = tmp_path.glob("*.json")
    assert json.loads(written.read_text()) == facts
    report = written.with_suffix(".txt").read_text()
    assert "simulated" in report.splitlines()[0] and failures(facts) == []
    assert f"{len(conformance.CASES)} of {len(conformance.CASES)} as on the emulator" in report
    for row in facts["timing"]:
        assert row["clocks"] == pytest.approx(row["predicted"]["calibrated"], abs=0.01)


def test_the_command_says_where_it_cannot_write(capsys):
    assert main(["selftest", "--device", "emulator", "--out", "/nowhere"]) == 1
    assert "there is no such directory" in capsys.readouterr().err
