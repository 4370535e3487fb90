"""Stored counts of function calls are those of today's code; the table of boards hangs together."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest

from bench import boards, counting, host
from piblas.dispatch import host_calls
from piblas.dispatch.boards import BOARDS
from piblas.dispatch.choose import Call, costs
from piblas.routines import KERNELS, ROUTINES

ANEW = "python -m bench host --update counts anew"
STORED = host_calls.stored()
NEAR = 0.2
"""Versions of CPython and NumPy differ by as much; what a call must not exceed is tested where the
call is."""
FEW = 10


def near(counted, stored):
    return abs(counted - stored) <= max(FEW, NEAR * stored)


def test_each_routine_with_a_kernel_has_an_entry():
    assert set(STORED["routines"]) == set(KERNELS), ANEW
    for routine, row in STORED["routines"].items():
        assert row["axes"] == counting.axes(routine), ANEW
        points = math.prod(map(len, row["axes"].values()))
        for name in ("resident", "staged"):
            assert len(row[name]) == points and min(row[name]) > 1
        assert row["cpu"] > 1


@pytest.mark.parametrize("routine", sorted(KERNELS))
def test_counts_are_those_of_the_code(routine, monkeypatch, fresh):
    """At the first point of each grid."""
    for level, row in counting.POINTS.items():
        first = {name: points[:1] for name, points in row.items()}
        monkeypatch.setitem(counting.POINTS, level, first)
    found, kept = counting.table(routine), STORED["routines"][routine]
    assert near(found["cpu"], kept["cpu"]), ANEW
    for name in ("resident", "staged"):
        assert near(found[name][0], kept[name][0]), (name, ANEW)


@pytest.mark.parametrize("resident", [False, True])
@pytest.mark.parametrize("routine, sizes", [
    ("sgemm", {"m": 128, "n": 128, "k": 128}),
    ("saxpy", {"n": 16384}),
    ("sgemv", {"m": 512, "n": 512}),
])  # fmt: skip
def test_counts_at_other_points(routine, sizes, resident, fresh):
    found = counting.measure(routine, sizes, resident)
    assert near(found["repeated"].calls, host_calls.calls(routine, sizes, resident)), ANEW
    assert found["repeated"].launches >= 1
    assert found["first"].calls >= found["repeated"].calls - FEW


def test_calls_of_a_launch(fresh):
    assert near(host.launch_calls(), host_calls.per_launch()), ANEW


def test_counts_are_exact():
    def three():
        return [len("a"), abs(-1)]

    assert counting.function_calls(three) == 3
    assert counting.function_calls(lambda: None) == 1


def test_between_points_by_hand(monkeypatch):
    row = {"axes": {"n": [10, 1000]}, "resident": [100, 400], "staged": [7, 7], "cpu": 3}
    monkeypatch.setattr(host_calls, "stored", lambda: {"launch": 5, "routines": {"saxpy": row}})
    asked = [host_calls.calls("saxpy", {"n": n}, True) for n in (1, 10, 100, 1000, 100000)]
    assert asked == pytest.approx([100, 100, 200, 400, 1600])
    assert host_calls.calls("saxpy", {"n": 500}, False) == pytest.approx(7)
    assert (host_calls.on_cpu("saxpy"), host_calls.per_launch()) == (3, 5)
    assert host_calls.calls("dgemm", {"m": 1}, True) == host_calls.on_cpu("dgemm") == 0


def test_the_file_is_what_the_command_writes():
    with open(host_calls.PATH, encoding="ascii") as file:
        assert file.read() == host.text(STORED)


def test_a_fresh_process(fresh):
    calls, seconds, scipy = counting.in_a_fresh_process("saxpy")
    assert calls > 1000 and seconds > 0 and scipy in (False, True)


# --- boards -------------------------------------------------------------------------------------


def test_rows_are_the_models():
    found = boards.rows(["pi1"])
    assert [row["routine"] for row in found] == list(boards.SIZES)
    for row in found:
        for n, each in row["times"].items():
            sizes = dict.fromkeys(ROUTINES[row["routine"]].sizes, n)
            assert each["cpu"] == costs(Call(row["routine"], sizes), BOARDS["pi1"])["cpu"]
            resident = costs(Call(row["routine"], sizes, resident=True), BOARDS["pi1"])
            assert each["resident"] == resident["qpu"]
            for name, n_wins in row["wins"].items():
                if n_wins is not None and n >= n_wins:
                    assert each[name].seconds < each["cpu"].seconds


def test_the_command(tmp_path):
    def run(*args):
        command = [sys.executable, "-m", "bench", "boards", *args]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    text = run("--board", "pi2")
    assert "nothing was measured" in text and "host" in text and "derived, within a factor" in text
    (first, *_) = json.loads(run("--board", "pi2", "--json"))["rows"]
    assert first["board"] == "pi2"
    assert set(first["times"]["1000"]) == {"cpu", "ordinary", "resident"}
    assert set(first["times"]["1000"]["cpu"]) == {"host", "launch", "copy", "kernel"}


def test_the_picture(tmp_path):
    pytest.importorskip("matplotlib")
    boards.draw(str(tmp_path / "boards.png"))
    assert (tmp_path / "boards.png").read_bytes().startswith(b"\x89PNG")
