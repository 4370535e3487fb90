"""No fact without a test, no test that stands for nothing."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest
from facts import FACTS

from piblas.isa import ops
from piblas.isa.hazards import BY_ID

HERE = pathlib.Path(__file__).parent
# Files that are no part of the conformance suite, and what only checks the tests themselves.
OTHERS = {"test_facts.py", "test_smoke.py", "test_lanes.py"}
HELPERS = {"test_patterns_of_the_harness", "test_the_places_are_what_they_are_called"}


@pytest.fixture(scope="module")
def collected():
    """Ids of all conformance tests, "test_file.py::test_name[parameters]"."""
    files = [f"tests/emu/{name}" for name in sorted(_files())]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(
        command + ["-m", "slow or not slow", *files],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
    )
    ids = {line.split("/")[-1] for line in run.stdout.splitlines() if "::" in line}
    assert len(ids) > 1000, run.stdout[-2000:] + run.stderr[-2000:]
    return ids


def _files():
    return {test.split("::")[0] for fact in FACTS for test in fact.tests}


def test_every_fact_has_a_test_and_a_source():
    assert len(FACTS) > 150
    for fact in FACTS:
        assert fact.tests, f"{fact.key} has no test"
        assert re.search(r"\((p\. \d|measured|emulator|undetermined)[^)]*\)$", fact.sentence), fact


def test_keys_are_unique():
    keys = [fact.key for fact in FACTS]
    assert len(keys) == len(set(keys))


def test_every_named_test_exists(collected):
    plain = {name.split("[")[0] for name in collected}
    missing = [
        (fact.key, test)
        for fact in FACTS
        for test in fact.tests
        if test not in (collected if "[" in test else plain)
    ]
    assert not missing


def test_every_conformance_test_stands_for_a_fact():
    named = {test.split("[")[0] for fact in FACTS for test in fact.tests}
    for path in HERE.glob("test_*.py"):
        if path.name in OTHERS:
            continue
        for name in re.findall(r"^def (test_\w+)", path.read_text(encoding="utf-8"), re.M):
            assert name in HELPERS or f"{path.name}::{name}" in named, f"{path.name}::{name}"


ENDINGS = {"H31", "H32", "H33"}
"""Rules about what a program leaves behind, which the checker warns of; the chip goes on."""


@pytest.mark.parametrize("rule", sorted(BY_ID.keys() - ENDINGS))
def test_every_hazard_is_a_fact(rule):
    assert any(fact.key.split("-")[:2] == ["6", rule] for fact in FACTS)


@pytest.mark.parametrize("op", [op for op in ops.ADD_OPS + ops.MUL_OPS if op.code])
def test_every_op_is_a_fact(op):
    keys = {fact.key for fact in FACTS}
    assert f"2.2-{op.name}" in keys or f"2.3-{op.name}" in keys
