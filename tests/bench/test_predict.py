"""Stored predictions are those of today's kernels and timing set, and near a simulation."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("numba")

from bench import predict
from piblas.dispatch import predictions
from piblas.routines import KERNELS

ANEW = "python -m bench predict makes the predictions anew"
ROWS = predictions.stored()["routines"]
BETWEEN = {
    "sgemm": [{"m": 100, "n": 100, "k": 100}, {"m": 300, "n": 200, "k": 250}],
    "saxpy": [{"n": 5000}],
    "sdot": [{"n": 100000}],
    "sgemv": [{"m": 500, "n": 300}, {"m": 1500, "n": 1500}],
    "sgbmv": [{"m": 800, "n": 800, "kl": 8, "ku": 2}],
    "strmv": [{"n": 500}, {"n": 3000}],
    "ssbmv": [{"n": 700, "k": 24}],
    "sspr2": [{"n": 120}],
    "stpsv": [{"n": 700}],
}
NEAR = 0.15


def test_each_routine_with_a_kernel_has_an_entry():
    assert set(ROWS) == set(KERNELS), ANEW


def test_they_name_the_timing_set():
    assert predictions.stored()["timing"] == "calibrated"
    assert predictions.stored()["fingerprint"] == predict.fingerprint(), ANEW


@pytest.mark.parametrize("routine", sorted(KERNELS))
def test_they_are_what_the_kernels_take(routine):
    row = ROWS[routine]
    assert row["kernel"] == KERNELS[routine], ANEW
    assert row["axes"] == predict.axes(routine), ANEW
    points = list(itertools.product(*row["axes"].values()))
    second = tuple(each[1] for each in row["axes"].values())
    for index in (0, points.index(second)):
        sizes = dict(zip(row["axes"], points[index]))
        found = predict.simulate(routine, sizes, 300)
        assert found.programs and set(found.programs) <= set(row["programs"]), ANEW
        assert found.clocks == row["clocks"]["300"][index], ANEW
        assert found.launches == row["launches"][index], ANEW
    assert ("resident" in row) == (routine in predict.RESIDENT), ANEW
    if "resident" in row:
        found, kept = predict.simulate(routine, sizes, 300, resident=True), row["resident"]
        assert set(found.programs) <= set(row["programs"]), ANEW
        assert found.clocks == kept["clocks"]["300"][index], ANEW
        assert found.launches == kept["launches"][index], ANEW


@pytest.mark.parametrize(
    "routine, sizes", [(name, sizes) for name, each in BETWEEN.items() for sizes in each]
)
def test_between_the_points_they_are_near(routine, sizes):
    simulated = predict.simulate(routine, sizes, 250).clocks / 250e6
    assert predictions.seconds(routine, 250, sizes) == pytest.approx(simulated, rel=NEAR)


@pytest.mark.slow
@pytest.mark.parametrize("routine", sorted(KERNELS))
def test_the_file_is_what_the_command_writes(routine):
    assert predict.table(routine) == ROWS[routine], ANEW
