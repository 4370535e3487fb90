"""SciPy's own tests pass with piblas's functions in place of SciPy's."""

from __future__ import annotations

import pytest

pytest.importorskip("numba")

from bench import scipy_suite


def test_new_failures():
    own = {"a": "passed", "b": "failed", "c": "skipped", "d": "passed", "e": "passed"}
    ours = {"a": "passed", "b": "failed", "c": "failed", "d": "failed"}
    assert scipy_suite.new_failures(ours, own) == ["c", "d", "e"]


def test_a_failure_is_found():
    """A function that computes something else is noticed: the plugin sees what pytest sees."""
    collected = scipy_suite._Collected()

    class Report:
        when, outcome, nodeid = "call", "failed", "x"

    collected.pytest_runtest_logreport(Report)
    assert collected.found == {"x": "failed"}


def test_of_blas_on_the_cpu():
    files = scipy_suite.FAST[:2]
    own, *_ = scipy_suite.outcomes(scipy_suite.OWN, files)
    ours, counted, _ = scipy_suite.outcomes("cpu", files)
    assert len(own) >= 290 and counted["sgemm"]["cpu"]
    assert scipy_suite.new_failures(ours, own) == []


@pytest.mark.slow
@pytest.mark.parametrize("target", scipy_suite.TARGETS)
@pytest.mark.parametrize("numpy", [False, True])
def test_whole(target, numpy):
    own, *_ = scipy_suite.outcomes(scipy_suite.OWN, scipy_suite.FILES)
    ours, counted, log = scipy_suite.outcomes(target, scipy_suite.FILES, numpy)
    assert scipy_suite.new_failures(ours, own) == [], log["log"]
    assert target == "cpu" or any("emulator" in backends for backends in counted.values())
