"""Random programs give what their calls mean, scheduled and unscheduled."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from plain_qpu import Machine
from random_programs import build, long_program, program, streams

RELAXED = dict(deadline=None, suppress_health_check=list(HealthCheck))


def compare(drawn, schedule: bool) -> int:
    model = build(drawn)
    assembled = model.asm.finish(schedule=schedule)
    machine = Machine(assembled.words, list(model.uniforms), seed=1)
    assert streams(machine.run()) == streams(model.out)
    return assembled.length


@pytest.mark.parametrize("seed", range(25))
def test_long_program_gives_what_its_calls_mean(seed):
    scheduled = compare(long_program(seed), schedule=True)
    assert compare(long_program(seed), schedule=False) > scheduled


@settings(max_examples=60, **RELAXED)
@given(program)
def test_scheduled_program_gives_what_its_calls_mean(drawn):
    compare(drawn, schedule=True)


@settings(max_examples=30, **RELAXED)
@given(program)
def test_unscheduled_program_gives_what_its_calls_mean(drawn):
    compare(drawn, schedule=False)


@pytest.mark.slow
@settings(max_examples=1500, **RELAXED)
@given(program)
def test_many_scheduled_programs_give_what_their_calls_mean(drawn):
    compare(drawn, schedule=True)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(25, 825, 100))
def test_many_long_programs_give_what_their_calls_mean(start):
    for seed in range(start, start + 100):
        compare(long_program(seed), schedule=True)
