"""The table of costs: complete, ordered from slow to fast, and checked."""

from __future__ import annotations

import dataclasses

import pytest

from piblas.isa import timing
from piblas.isa.timing import READINGS, ROWS, SETS, TimingError, memory_rate, timing_set

# A size of a cache helps or not; and uniforms from memory are what a share of their time is not.
UNORDERED = {"uniform_sdram"}


def test_a_timing_has_an_attribute_for_each_row():
    names = [field.name for field in dataclasses.fields(timing.Timing)]
    assert names == ["name", *(row.name for row in ROWS)]
    for column, name in enumerate(SETS):
        values = timing_set(name)
        assert values.name == name
        assert all(getattr(values, row.name) == row.values[column] for row in ROWS)


def test_rows_say_where_they_come_from():
    for row in ROWS:
        assert row.source and row.unit
        assert row.confidence in ("documented", "measured", "derived", "guessed")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_sets_go_from_slow_to_fast(row):
    if row.grows and row.name not in UNORDERED:
        slow, middle, fast = (row.grows * value for value in row.values)
        assert slow >= middle >= fast


def test_a_uniform_line_from_memory_takes_what_was_fitted():
    totals = [s.uniform_l2 + s.uniform_sdram * 0.25 for s in map(timing_set, SETS)]
    assert totals == [61, 57, 54]


def test_readings():
    assert timing_set().l2_port_line == 6 and timing_set().name == "calibrated"
    blocking = timing_set("pessimistic", "blocking")
    assert (blocking.l2_port_line, blocking.tmu_miss_block) == (0, 30)
    assert blocking.name == "pessimistic, blocking"
    assert timing_set("calibrated", "port").l2_port_line == 8
    for changes in READINGS.values():
        assert set(changes) <= {row.name for row in ROWS}


def test_memory_is_shared_with_others():
    assert memory_rate(timing_set()) == 1e6 * timing_set().sdram_rate
    rates = [memory_rate(timing_set(sdram_rate=2000, memory_others=n)) for n in (500, 1000, 9000)]
    assert rates == [1.5e9, 1e9, 1e9]


def test_changes():
    changed = timing_set("optimistic", sfu=7)
    assert changed.sfu == 7 and changed.name == "optimistic, changed"
    assert changed.mutex == timing_set("optimistic").mutex
    with pytest.raises(dataclasses.FrozenInstanceError):
        changed.sfu = 8


@pytest.mark.parametrize(
    "arguments, changes, message",
    [
        (("fast",), {}, "timing = 'fast': choose off, pessimistic, calibrated, optimistic"),
        (("calibrated", "both"), {}, "reading = 'both': choose memory, port, blocking"),
        ((), {"speed": 3}, "there is no parameter 'speed'"),
        ((), {"sfu": -1}, r"sfu = -1 clk: choose an integer, 0 to"),
        ((), {"sfu": 1.5}, r"sfu = 1.5 clk: choose an integer"),
        ((), {"sfu": True}, r"sfu = True clk: choose an integer"),
        ((), {"sdram_rate": 0}, r"sdram_rate = 0 MB/s: choose an integer, 1 to"),
        ((), {"l2_sets": 1024}, "l2_sets = 1024 sets: choose an integer, 1 to 512"),
        ((), {"l2_sets": 100}, "l2_sets = 100 is no power of two"),
    ],
)
def test_what_is_refused(arguments, changes, message):
    with pytest.raises(TimingError, match=message):
        timing_set(*arguments, **changes)
