"""piblas.stats: counts by routine, times on request, the table."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest

import piblas
from piblas import record
from piblas.dispatch import choose

A = np.ones((20, 20), np.float32)
X = A[0].copy()


@pytest.fixture(autouse=True)
def untimed(fresh):
    yield
    record.set_timing(False)
    piblas.unpatch()


def test_by_routine(device):
    with piblas.use("cpu"):
        piblas.saxpy(X, X.copy())
        piblas.sdot(X, X)
        piblas.sdot(X, X)
        piblas.dgemm(1.0, A, A)
    with piblas.use(device):
        piblas.sdot(X, X)
        piblas.somatcopy(2.0, A)
    asked = choose.CPU_ASKED
    assert piblas.stats.by_routine() == {
        "saxpy": {"cpu": {asked: 1}},
        "sdot": {"cpu": {asked: 2}, "emulator": {"the emulator was asked for": 1}},
        "dgemm": {"cpu": {asked: 1}},
        "somatcopy": {"cpu": {choose.NO_KERNEL: 1}},
    }
    assert piblas.stats()["cpu"] == {asked: 4, choose.NO_KERNEL: 1}
    piblas.reset_stats()
    assert piblas.stats() == piblas.stats.by_routine() == {}


@pytest.mark.parametrize("target", ["cpu", "emulator"])
def test_times(device, target):
    """Of every kind of call, wherever it runs; calls before and after are counted only."""
    calls = (
        lambda: piblas.saxpy(X, X.copy()), lambda: piblas.sgemm(1.0, A, A),
        lambda: piblas.dgemm(1.0, A, A), lambda: A @ A, lambda: np.dot(A, A),
        lambda: piblas.sgemm_batch(1.0, [A], [A]),
    )  # fmt: skip
    with piblas.use("cpu" if target == "cpu" else device), piblas.patch():
        for call in calls:
            call()
        with piblas.stats.timing():
            for call in calls:
                call()
        for call in calls:
            call()
    rows = {row.routine: row for row in record.rows()}
    assert set(rows) == {"saxpy", "sgemm", "dgemm", "matmul", "dot", "sgemm_batch"}
    for row in rows.values():
        assert (row.calls, row.timed) == (3, 1), row
        assert 0 < row.seconds < 60
        assert (row.device > 0) == (row.backend == "emulator") == (
            target == "emulator" and row.routine != "dgemm"
        )
    assert not record.timing


def test_timing_for_good():
    piblas.stats.timing()
    assert record.timing
    with piblas.stats.timing(False):
        assert not record.timing
    assert record.timing
    piblas.stats.timing(False)
    assert not record.timing


def test_report(capsys):
    piblas.stats.report()
    assert capsys.readouterr().out == "piblas: no calls\n"
    with piblas.use("cpu"):
        piblas.sdot(X, X)
        piblas.stats.report()
        lines = capsys.readouterr().out.splitlines()
        assert lines[1].split() == ["sdot", "cpu", "1", "-", "-", *choose.CPU_ASKED.split()]
        assert lines[2] == "Calls were not timed: piblas.stats.timing() does that."
        with piblas.stats.timing():
            piblas.sdot(X, X)
    text = io.StringIO()
    piblas.stats.report(text)
    (_, row) = text.getvalue().splitlines()
    assert row.endswith(f"{choose.CPU_ASKED} (1 of the calls not timed)")
    assert float(row.split()[3]) >= 0


def test_it_is_a_function_to_its_users():
    assert pickle.loads(pickle.dumps(piblas.stats)) is copy.deepcopy(piblas.stats) is piblas.stats
    assert "backend -> reason -> calls" in piblas.stats.__doc__
