"""The interpolation of stored predictions, by hand."""

from __future__ import annotations

import pytest

from piblas.dispatch import predictions

ROW = {
    "kernel": "k",
    "programs": [],
    "axes": {"m": [10, 1000], "n": [1, 4, 16]},
    "launches": [1, 1, 1, 3, 6, 12],
    "clocks": {"200": [100, 200, 400, 1000, 4000, 16000], "400": [200, 200, 200, 200, 200, 200]},
}


@pytest.fixture
def row(monkeypatch):
    monkeypatch.setattr(predictions, "stored", lambda: {"routines": {"sgemv": ROW}})


@pytest.mark.parametrize("m, n, launches", [
    (10, 1, 1), (1, 1, 1), (1000, 2, 18**0.5), (1000, 16, 12), (1000, 64, 24), (100000, 1, 9),
])  # fmt: skip
def test_launches(row, m, n, launches):
    assert predictions.launches("sgemv", {"m": m, "n": n}) == pytest.approx(launches)


def test_another_way_for_resident_operands(row, monkeypatch):
    sizes = {"m": 10, "n": 1}
    other = {"launches": 6 * [4], "clocks": {mhz: 6 * [800] for mhz in ROW["clocks"]}}
    monkeypatch.setitem(ROW, "resident", other)
    assert predictions.launches("sgemv", sizes, True) == pytest.approx(4)
    assert predictions.seconds("sgemv", 200, sizes, True) == pytest.approx(4e-6)
    assert predictions.launches("sgemv", sizes) == 1
    assert predictions.seconds("sgemv", 200, sizes) == pytest.approx(5e-7)
    monkeypatch.delitem(ROW, "resident")
    assert predictions.launches("sgemv", sizes, True) == 1


def test_launches_of_nobody_knows_whom(row):
    assert predictions.launches("sger", {"m": 1, "n": 1}) == 1.0


@pytest.mark.parametrize("m, n, times", [(2000, 1, 10 * 2), (10, 64, 4 * 4), (3000, 32, 160 * 6)])
def test_beyond_the_grid_time_grows_as_the_arithmetic(row, m, n, times):
    near = predictions.seconds("sgemv", 200, {"m": 10, "n": 1})
    assert predictions.seconds("sgemv", 200, {"m": m, "n": n}) == pytest.approx(times * near)


def test_growth_of_a_square_and_of_a_routine_without_arithmetic(monkeypatch):
    axis = {"axes": {"n": [10, 100]}, "clocks": {"200": [1, 5], "400": [1, 5]}}
    monkeypatch.setattr(predictions, "entry", lambda routine: axis)
    for routine, times in (("ssymv", 900), ("scopy", 30)):
        at = [predictions.seconds(routine, 200, {"n": n}) for n in (100, 3000)]
        assert at[1] / at[0] == pytest.approx(times)


@pytest.mark.parametrize("m, n, clocks", [
    (10, 1, 100), (10, 16, 400), (1000, 4, 4000), (100, 1, 10**2.5), (10, 2, 100 * 2**0.5),
    (100, 4, (200 * 4000) ** 0.5), (1, 1, 100), (0, 0, 100),
])  # fmt: skip
def test_points_between_and_before(m, n, clocks):
    assert predictions.clocks(ROW, 200, {"m": m, "n": n}) == pytest.approx(clocks)


@pytest.mark.parametrize(
    "mhz, seconds", [(200, 5e-7), (400, 5e-7), (300, 5e-7), (100, 5e-7), (900, 5e-7)]
)
def test_equal_times_at_all_clocks(row, mhz, seconds):
    assert predictions.seconds("sgemv", mhz, {"m": 10, "n": 1}) == pytest.approx(seconds)


def test_between_clocks_and_beyond(row):
    sizes = {"m": 10, "n": 16}
    at = [predictions.seconds("sgemv", mhz, sizes) for mhz in (100, 200, 300, 400, 500)]
    assert at == pytest.approx([2e-6, 2e-6, 1.25e-6, 5e-7, 5e-7])
    assert predictions.seconds("no", 250, sizes) is None


def test_each_entry_is_complete_and_grows():
    for name, each in predictions.stored()["routines"].items():
        count = 1
        for points in each["axes"].values():
            assert points == sorted(set(points)) and points[0] >= 1
            count *= len(points)
        for way in (each, each.get("resident", each)):
            assert len(way["launches"]) == count and min(way["launches"]) >= 1
            assert way["clocks"].keys() == each["clocks"].keys()
            for clocks in way["clocks"].values():
                assert len(clocks) == count and min(clocks) > 0
                assert clocks[-1] == max(clocks), name
