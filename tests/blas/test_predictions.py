"""The interpolation of stored predictions, by hand."""

from __future__ import annotations

import pytest

from piblas.blas import predictions

ROW = {
    "kernel": "k",
    "programs": [],
    "axes": {"m": [10, 1000], "n": [1, 4, 16]},
    "clocks": {"200": [100, 200, 400, 1000, 4000, 16000], "400": [200, 200, 200, 200, 200, 200]},
}


@pytest.fixture
def row(monkeypatch):
    monkeypatch.setattr(predictions, "stored", lambda: {"routines": {"r": ROW}})


@pytest.mark.parametrize("m, n, clocks", [
    (10, 1, 100), (10, 16, 400), (1000, 4, 4000), (100, 1, 10**2.5), (10, 2, 100 * 2**0.5),
    (100, 4, (200 * 4000) ** 0.5), (1, 1, 100), (0, 0, 100), (2000, 1, 2000), (10, 64, 1600),
    (3000, 32, 6 * 16000),
])  # fmt: skip
def test_points_between_and_beyond(m, n, clocks):
    assert predictions.clocks(ROW, 200, {"m": m, "n": n}) == pytest.approx(clocks)


@pytest.mark.parametrize(
    "mhz, seconds", [(200, 5e-7), (400, 5e-7), (300, 5e-7), (100, 5e-7), (900, 5e-7)]
)
def test_equal_times_at_all_clocks(row, mhz, seconds):
    assert predictions.seconds("r", mhz, {"m": 10, "n": 1}) == pytest.approx(seconds)


def test_between_clocks_and_beyond(row):
    sizes = {"m": 10, "n": 16}
    at = [predictions.seconds("r", mhz, sizes) for mhz in (100, 200, 300, 400, 500)]
    assert at == pytest.approx([2e-6, 2e-6, 1.25e-6, 5e-7, 5e-7])
    assert predictions.seconds("no", 250, sizes) is None


def test_each_entry_is_complete_and_grows():
    for name, each in predictions.stored()["routines"].items():
        count = 1
        for points in each["axes"].values():
            assert points == sorted(set(points)) and points[0] >= 1
            count *= len(points)
        for clocks in each["clocks"].values():
            assert len(clocks) == count and min(clocks) > 0
            assert clocks[-1] == max(clocks), name
